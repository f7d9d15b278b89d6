//! What keeps alerts quiet: silences and maintenance that commands began, and the windows of the settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Basis;
use crate::{
    calendar::recurring::Recurring,
    mute::{Muted, MutedBy, Nodes, Scope, SilenceMatch},
};
use vigie_core::{
    id::MaintenanceName,
    time::{Deadline, Wall},
};

/// A silence or maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Of alerts.
    Silence,
    /// Of nodes.
    Maintenance,
}

impl Kind {
    /// The word in commands, JSON and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One that a command began and that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Its number.
    pub mute: u64,
    /// Which of the two it is, and what it is about.
    #[serde(flatten)]
    pub what: What,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who began it.
    pub uid: u32,
    /// Since when.
    pub from: Wall,
    /// Until when.
    pub until: Wall,
    /// Numbers of the open alerts that it keeps quiet.
    pub hits: Vec<u64>,
}

/// What a mute is about: `kind` and `about` in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "about", rename_all = "snake_case")]
pub enum What {
    /// Alerts that meet all of these.
    Silence(Box<SilenceMatch>),
    /// These nodes.
    Maintenance(Nodes),
}

impl What {
    /// Which of the two it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Silence(_) => Kind::Silence,
            Self::Maintenance(_) => Kind::Maintenance,
        }
    }
}

/// A window of maintenance that stands in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its name.
    pub window: MaintenanceName,
    /// Of which nodes.
    pub place: Nodes,
    /// What it keeps quiet.
    pub scope: Scope,
    /// When.
    pub when: Recurring,
    /// Why.
    pub reason: String,
    /// Whether it is on.
    pub is_on: bool,
    /// When that changes; `None`: never, or its zone is not known here.
    pub next_edge: Option<Wall>,
}

/// Every silence and maintenance that runs, by number.
#[must_use]
pub fn all(basis: &Basis<'_>) -> Vec<Mute> {
    let mut hits: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for alert in basis.state.alerts.values() {
        if let Some(MutedBy::Mute(mute)) = alert.muted {
            hits.entry(mute).or_default().push(alert.number);
        }
    }
    let mutes = basis.state.mutes.iter();
    mutes
        .map(|(number, mute)| Mute {
            mute: *number,
            what: match &mute.what {
                Muted::Silence(matches) => What::Silence(matches.clone()),
                Muted::Maintenance(place) => What::Maintenance(place.clone()),
            },
            reason: mute.reason.clone(),
            uid: mute.uid,
            from: mute.from,
            until: on_the_wall(mute.until),
            hits: hits.remove(number).unwrap_or_default(),
        })
        .collect()
}

/// Every window of the settings, by name.
#[must_use]
pub fn windows(basis: &Basis<'_>) -> Vec<Window> {
    let windows = basis.policy.rules.maintenance.iter();
    windows
        .map(|(name, maintenance)| {
            let window = &maintenance.window;
            let zone = basis.policy.zones.find(window.time_zone());
            Window {
                window: name.clone(),
                place: maintenance.place.clone(),
                scope: maintenance.scope,
                when: window.clone(),
                reason: maintenance.reason.clone(),
                is_on: zone.is_some_and(|zone| window.is_on(zone, basis.at)),
                next_edge: zone.and_then(|zone| window.next_edge(zone, basis.at)),
            }
        })
        .collect()
}

/// When a deadline is, if no clock steps.
pub(super) const fn on_the_wall(deadline: Deadline) -> Wall {
    Wall(deadline.wall_ms)
}
