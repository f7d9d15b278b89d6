//! Whose turn it is, and who comes next.

use serde::{Deserialize, Serialize};

use super::Basis;
use crate::rota::Rota;
use vigie_core::{
    id::{PersonName, RotaName},
    time::Wall,
};

/// How many changes of a rota are looked through for the first that puts somebody else on call: an override of a person by
/// themselves changes nobody, and nobody writes many of those in a row.
const CHANGES_MAX: usize = 16;

/// A rota as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnCall {
    /// Which.
    pub rota: RotaName,
    /// Who is on call. Two while a hand-off's time is shown twice; all of them where the rota's zone is not known here,
    /// because nobody can say whose turn it is.
    pub now: Vec<PersonName>,
    /// Until when; `None`: for good, or its zone is not known here.
    pub until: Option<Wall>,
    /// Who is on call then.
    pub next: Vec<PersonName>,
}

/// Every rota, by name.
#[must_use]
pub fn all(basis: &Basis<'_>) -> Vec<OnCall> {
    let rotas = basis.policy.rules.rotas.iter();
    rotas.map(|(name, rota)| one(basis, name, rota)).collect()
}

fn one(basis: &Basis<'_>, name: &RotaName, rota: &Rota) -> OnCall {
    let Some(zone) = basis.policy.zones.find(&rota.handoff.time_zone) else {
        return OnCall {
            rota: name.clone(),
            now: rota.people.clone(),
            until: None,
            next: Vec::new(),
        };
    };
    let people = |at| -> Vec<PersonName> {
        let people = rota.on_call(zone, at).into_iter();
        people.cloned().collect()
    };
    let now = people(basis.at);
    let changes = std::iter::successors(rota.next_change(zone, basis.at), |change| {
        rota.next_change(zone, *change)
    });
    let next = changes
        .take(CHANGES_MAX)
        .map(|change| (change, people(change)))
        .find(|(_, next)| *next != now);
    let (until, next) = next.unzip();
    OnCall {
        rota: name.clone(),
        now,
        until,
        next: next.unwrap_or_default(),
    }
}
