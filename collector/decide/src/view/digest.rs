//! What waits for the digest of each receiver, and when that is due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Basis;
use vigie_core::{id::ReceiverName, time::Wall};

/// A receiver that something waits for, or has waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Whose digest.
    pub receiver: ReceiverName,
    /// How many alerts wait, ended ones included.
    pub waiting: u64,
    /// When it is due; `None`: nothing waits, or no opening is known.
    pub due: Option<Wall>,
    /// When the last one was made.
    pub last: Option<Wall>,
    /// How many alerts did not fit.
    pub left_out: u64,
}

/// Every such receiver, by name.
#[must_use]
pub fn all(basis: &Basis<'_>) -> Vec<Waiting> {
    let state = basis.state;
    let mut waiting: BTreeMap<&ReceiverName, u64> = BTreeMap::new();
    for key in state.held.keys() {
        *waiting.entry(&key.receiver).or_default() += 1;
    }
    let receivers: BTreeSet<&ReceiverName> = waiting
        .keys()
        .copied()
        .chain(state.digests.keys())
        .collect();
    receivers
        .into_iter()
        .map(|receiver| {
            let digest = state.digests.get(receiver).copied().unwrap_or_default();
            Waiting {
                receiver: receiver.clone(),
                waiting: waiting.get(receiver).copied().unwrap_or_default(),
                due: digest.due,
                last: digest.last,
                left_out: digest.left_out,
            }
        })
        .collect()
}
