//! Whether somebody can be reached at every instant to come: proof before the night, not in it.
//!
//! Every instant is looked at: between two of them at which a calendar, a window or a rota changes, nothing else does. What
//! is asked at each is where a critical service that goes down then belongs, and whether a step reaches somebody: the functions
//! by which the engine tells, so that this cannot believe in a route that it does not take. How a gap begins is explained.

use std::collections::BTreeSet;

use crate::{
    escalation::reach,
    explain::{Asked, Explanation, at_once},
    routing::Policy,
    rules::{Rules, Subject},
};
use vigie_core::{
    id::{GroupName, ServiceName},
    status::{Criticality, Environment, Family, Need, Status},
    time::Wall,
};

/// How far is looked ahead, in days: a year, its holidays, and a month to put things right.
pub const DAYS: u32 = 400;

/// How many gaps are told; whoever has more has one cause.
pub const GAPS_MAX: usize = 100;

const DAY_MS: i64 = 86_400_000;

/// A span of time in which nobody could be told of a critical service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which service.
    pub service: ServiceName,
    /// Only if it fails on this node, which a route names, or on any other of this group. `None`: wherever it fails.
    pub place: Option<String>,
    /// From when.
    pub from: Wall,
    /// Until when.
    pub to: Wall,
    /// What would happen at its beginning; who is told later is not looked at.
    pub instead: Explanation,
}

/// All spans in the `days` from `from` on in which a critical service of production could fail and nobody would be told,
/// in order of their beginnings, at most [`GAPS_MAX`].
#[must_use]
pub fn gaps(policy: &Policy, from: Wall, days: u32) -> Vec<Gap> {
    let end = from.plus_ms(i64::from(days) * DAY_MS);
    let cases = cases(&policy.rules);
    let mut gaps: Vec<Gap> = Vec::new();
    // For each case the gap that lasted until now.
    let mut lasting: Vec<Option<usize>> = vec![None; cases.len()];
    let mut at = from;
    while at < end && gaps.len() < GAPS_MAX {
        let next = next_change(policy, at).unwrap_or(end).min(end);
        for (case, lasting) in cases.iter().zip(&mut lasting) {
            if case.reaches_somebody(policy, at) {
                *lasting = None;
                continue;
            }
            match lasting.and_then(|index| gaps.get_mut(index)) {
                Some(gap) => gap.to = next,
                None => {
                    *lasting = Some(gaps.len());
                    gaps.push(Gap {
                        service: case.service.clone(),
                        place: case.place.clone(),
                        from: at,
                        to: next,
                        instead: at_once(policy, &case.asked(at)),
                    });
                }
            }
        }
        at = next;
    }
    gaps.truncate(GAPS_MAX);
    gaps
}

/// A critical service that could fail somewhere.
struct Failing {
    service: ServiceName,
    place: Option<String>,
    family: Family,
    subject: Subject,
    node: String,
}

impl Failing {
    fn asked(&self, at: Wall) -> Asked {
        Asked {
            subject: self.subject.clone(),
            node: self.node.clone(),
            family: self.family,
            status: Status::Critical,
            at,
        }
    }

    /// Whether somebody is reached at once: by a receiver's own way, or by any step, since one that reaches nobody is not
    /// waited for.
    fn reaches_somebody(&self, policy: &Policy, at: Wall) -> bool {
        let placement = self.asked(at).place(policy, at);
        placement.tell.iter().any(|receiver| {
            let rules = policy.rules.receivers.get(receiver);
            let reaches = |step| !reach(policy, step, 0, at).0.is_empty();
            rules.is_none_or(|rules| rules.steps.is_empty() || rules.steps.iter().any(reaches))
        })
    }
}

/// Every critical service, in each place that routes can tell from another: what is told on one node of it proves nothing of
/// the next.
fn cases(rules: &Rules) -> Vec<Failing> {
    let critical = rules
        .services
        .iter()
        .filter(|(_, service)| service.criticality == Criticality::Critical);
    let mut cases: Vec<Failing> = critical
        .flat_map(|(service, _)| cases_of(rules, service))
        .collect();
    cases.push(Failing {
        service: ServiceName::vigie(),
        place: None,
        family: Family::Vigie,
        subject: rules.own_subject(),
        node: String::new(),
    });
    cases
}

fn cases_of(rules: &Rules, service: &ServiceName) -> Vec<Failing> {
    let Some(whole) = rules.service_subject(service, Need::Availability, Environment::Production)
    else {
        return Vec::new();
    };
    let case = |subject: Subject, place: Option<String>, node: String| Failing {
        service: service.clone(),
        place,
        family: Family::Availability,
        subject,
        node,
    };
    let tells_groups_apart = rules.routes.iter().any(|route| {
        let matches = &route.matches;
        !(matches.group.is_empty() && matches.site.is_empty() && matches.node.is_empty())
    });
    if whole.groups.is_empty() || !tells_groups_apart {
        return vec![case(whole, None, String::new())];
    }
    let named: BTreeSet<&str> = rules
        .routes
        .iter()
        .flat_map(|route| route.matches.node.iter().map(|node| node.as_str()))
        .collect();
    let of_group = |name: &GroupName| {
        let group = rules.groups.get(name)?;
        let subject = Subject {
            groups: [name.clone()].into(),
            sites: [group.site.clone()].into(),
            ..whole.clone()
        };
        let mut cases = Vec::new();
        if group.nodes.is_empty()
            || group
                .nodes
                .iter()
                .any(|node| !named.contains(node.as_str()))
        {
            cases.push(case(subject.clone(), Some(name.to_string()), String::new()));
        }
        for node in group
            .nodes
            .iter()
            .filter(|node| named.contains(node.as_str()))
        {
            let name = node.to_string();
            cases.push(case(subject.clone(), Some(name.clone()), name));
        }
        Some(cases)
    };
    whole.groups.iter().filter_map(of_group).flatten().collect()
}

/// The first instant after `at` at which the answer may be another.
fn next_change(policy: &Policy, at: Wall) -> Option<Wall> {
    let rotas = policy
        .rules
        .rotas
        .values()
        .filter_map(|rota| rota.next_change(policy.zones.find(&rota.handoff.time_zone)?, at));
    policy.next_edge(at).into_iter().chain(rotas).min()
}

#[cfg(test)]
mod tests;
