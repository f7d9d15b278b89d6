//! Who else sends metrics: Prometheus and the like, which have a certificate and no checks of their own.

use serde::{Deserialize, Serialize};

use super::Basis;
use vigie_core::{id::SenderName, time::Wall};

/// A sender that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its name; a node may have the same.
    pub sender: SenderName,
    /// When it joined first.
    pub joined_at: Wall,
    /// Shut out by an operator.
    pub denied: bool,
    /// When its newest certificate ends.
    pub certificate_not_after: Option<Wall>,
}

/// Every sender, by name.
#[must_use]
pub fn all(basis: &Basis<'_>) -> Vec<Sender> {
    let senders = basis.state.senders.iter();
    senders
        .map(|(name, sender)| Sender {
            sender: name.clone(),
            joined_at: sender.joined_at,
            denied: sender.denied,
            certificate_not_after: sender.keys.last().map(|key| key.not_after),
        })
        .collect()
}
