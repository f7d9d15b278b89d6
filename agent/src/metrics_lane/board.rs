//! What may be known of the lane without asking it: one place per destination, for the status page.

use std::collections::BTreeMap;

use serde::Serialize;
use vigie_core::time::Wall;

use super::spool::View;

/// Every destination by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Board {
    /// Cycles since the start.
    pub cycles: u64,
    /// Cycles that were due and did not take place, because the machine stood still.
    pub cycles_missed: u64,
    /// Samples of the last cycle.
    pub samples: u64,
    /// The destinations.
    pub destinations: BTreeMap<Box<str>, Shown>,
}

/// One destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// What waits.
    pub spool: View,
    /// What was lost unsent, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Requests that were taken.
    pub taken: u64,
    /// The last request.
    pub last: Option<Last>,
    /// When something was last taken.
    pub taken_at: Option<Wall>,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Last {
    /// When it ended.
    pub at: Wall,
    /// Where it went.
    pub address: String,
    /// A word, or the reason it failed.
    pub result: String,
}

impl Board {
    /// The place of a destination, made if need be.
    pub(super) fn of(&mut self, name: &str) -> &mut Shown {
        self.destinations.entry(name.into()).or_default()
    }
}
