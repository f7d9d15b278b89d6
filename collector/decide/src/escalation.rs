//! Escalation, as far as it is a function of rules and the hour: whom a step of a receiver reaches, and when it is told
//! again. Pure. What has begun, and when the next step comes, is the alert's own ([`crate::fleet`]).

use std::collections::BTreeSet;

use crate::{destination::Destination, routing::Policy, rules::EscalationStep};
use vigie_core::{id::PersonName, time::Wall};

/// When the last step is told again if the settings do not say.
pub const LAST_REPEAT_MS: u64 = 15 * 60_000;

/// Whom a step reaches in its nth round, and who of its people cannot be reached by it.
#[must_use]
pub fn reach(
    policy: &Policy,
    step: &EscalationStep,
    round: u32,
    at: Wall,
) -> (Vec<Destination>, Vec<PersonName>) {
    let mut people: Vec<&PersonName> = Vec::new();
    if let Some(rota) = step
        .rota
        .as_ref()
        .and_then(|rota| policy.rules.rotas.get(rota))
    {
        match policy.zones.find(&rota.handoff.time_zone) {
            Some(zone) => people.extend(rota.on_call(zone, at)),
            // Nobody can say whose turn it is: rather all of them than the wrong one.
            None => people.extend(&rota.people),
        }
    }
    people.extend(&step.people);
    let mut seen = BTreeSet::new();
    people.retain(|person| seen.insert(*person));
    let (mut reached, mut unreachable) = (Vec::new(), Vec::new());
    for person in people {
        let has = policy
            .rules
            .people
            .get(person)
            .map(|person| person.channels.as_slice());
        let has = has.unwrap_or_default();
        let by: Vec<_> = if step.via.is_empty() {
            let turn = usize::try_from(round).unwrap_or(usize::MAX) % has.len().max(1);
            has.get(turn).into_iter().collect()
        } else {
            step.via
                .iter()
                .filter(|channel| has.contains(channel))
                .collect()
        };
        if by.is_empty() {
            unreachable.push(person.clone());
        }
        reached.extend(by.into_iter().map(|channel| Destination::Person {
            person: person.clone(),
            channel: channel.clone(),
        }));
    }
    (reached, unreachable)
}

/// How long until a step is told again. The last one always is.
#[must_use]
pub fn repeat_ms(steps: &[EscalationStep], index: usize) -> Option<u64> {
    let step = steps.get(index)?;
    step.repeat_ms
        .or((index + 1 == steps.len()).then_some(LAST_REPEAT_MS))
}
