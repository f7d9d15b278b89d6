//! The plan: which checks a node says it runs, and how a new plan differs from the one before.
//!
//! An attacker who owns a node would rather edit its settings than fight its agent, so every difference that makes the
//! node quieter is an alarm until an operator confirms it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    canonical,
    digest::Digest,
    id::{CheckName, ServiceName},
    status::Family,
};

/// How many checks one node may plan: ten times the largest configuration seen in the field.
pub const CHECKS_MAX: usize = 1_000;

/// One planned check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCheck {
    /// The kind, such as `http`.
    pub kind: String,
    /// The kind's family.
    pub family: Family,
    /// The service it counts for; absent: all of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Interval between runs, in milliseconds.
    pub every_ms: u64,
    /// Deadline of a run, in milliseconds.
    pub timeout_ms: u64,
    /// Bad runs in a row before the status changes.
    pub failures: u64,
    /// Good runs in a row before it changes back.
    pub recoveries: u64,
    /// Digest of all its settings.
    pub settings_sha256: Digest,
}

/// All planned checks.
pub type Plan = BTreeMap<CheckName, PlannedCheck>;

/// The digest that `plan.complete` and every contact carry.
#[must_use]
pub fn digest(plan: &Plan) -> Digest {
    Digest::of(canonical::write(plan).as_bytes())
}

/// How one check differs between two plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Other settings, as quick to notice as before.
    Changed,
    /// Slower to notice, or speaks for something else.
    Weakened,
    /// Planned no more.
    Removed,
}

/// Every check of `before` that `after` treats otherwise. New checks are no difference: more watching needs no consent.
#[must_use]
pub fn differences(before: &Plan, after: &Plan) -> Vec<(CheckName, Difference)> {
    before
        .iter()
        .filter_map(|(check, was)| {
            let difference = match after.get(check) {
                None => Difference::Removed,
                Some(is) if is == was => return None,
                Some(is) if is_weaker(was, is) => Difference::Weakened,
                Some(_) => Difference::Changed,
            };
            Some((check.clone(), difference))
        })
        .collect()
}

fn is_weaker(was: &PlannedCheck, is: &PlannedCheck) -> bool {
    is.every_ms > was.every_ms
        || is.timeout_ms > was.timeout_ms
        || is.failures > was.failures
        || is.recoveries < was.recoveries
        || is.service != was.service
        || is.kind != was.kind
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check() -> PlannedCheck {
        PlannedCheck {
            kind: "http".to_owned(),
            family: Family::Availability,
            service: Some("dossier-patient".parse().unwrap()),
            every_ms: 30_000,
            timeout_ms: 5_000,
            failures: 2,
            recoveries: 2,
            settings_sha256: Digest::ZERO,
        }
    }

    #[test]
    fn every_way_to_become_quieter_is_seen() {
        type Edit = fn(&mut PlannedCheck);
        let table: [(Edit, Option<Difference>); 9] = [
            (|_| {}, None),
            (|c| c.failures = 9_999, Some(Difference::Weakened)),
            (|c| c.every_ms = 86_400_000, Some(Difference::Weakened)),
            (|c| c.timeout_ms = 6_000, Some(Difference::Weakened)),
            (|c| c.recoveries = 1, Some(Difference::Weakened)),
            (|c| c.service = None, Some(Difference::Weakened)),
            (|c| c.kind = "tcp".to_owned(), Some(Difference::Weakened)),
            (
                |c| c.settings_sha256 = Digest::of(b"x"),
                Some(Difference::Changed),
            ),
            (|c| c.every_ms = 15_000, Some(Difference::Changed)),
        ];
        let name: CheckName = "portail".parse().unwrap();
        let before = Plan::from([(name.clone(), check())]);
        for (index, (edit, expected)) in table.into_iter().enumerate() {
            let mut edited = check();
            edit(&mut edited);
            let after = Plan::from([(name.clone(), edited)]);
            let found = differences(&before, &after).first().map(|(_, d)| *d);
            assert_eq!(found, expected, "row {index}");
        }
        assert_eq!(
            differences(&before, &Plan::new()),
            [(name, Difference::Removed)]
        );
        assert!(differences(&Plan::new(), &before).is_empty());
    }
}
