//! Who may speak: the part of the engine's state that every request needs before it is queued.
//!
//! Written by the engine alone, after each commit; read by request handlers. It lags behind the log by no more than the
//! time between a commit and its answer, so a node or sender that was denied is refused from its next request on.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use vigie_core::{
    digest::{Digest, from_hex},
    id::{NodeName, SenderName},
};
use vigie_decide::fleet::{
    State,
    state::{Node, Sender},
};

/// What a request handler knows of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Shut out by an operator.
    pub denied: bool,
    /// TLS keys it may use.
    pub keys: Vec<Digest>,
    /// Ed25519 key that signs its contacts.
    pub signing_key: Vec<u8>,
    /// Last line of its chain that is on disk.
    pub head: vigie_core::entry::Head,
}

/// What a request handler knows of a sender of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderMember {
    /// Shut out by an operator.
    pub denied: bool,
    /// TLS keys it may use; the last is the newest.
    pub keys: Vec<Digest>,
}

/// All members.
#[derive(Debug, Default)]
pub struct Directory {
    members: RwLock<HashMap<NodeName, Member>>,
    senders: RwLock<HashMap<SenderName, SenderMember>>,
    clock_in_doubt: AtomicBool,
}

impl Directory {
    /// What is known of `node`.
    #[must_use]
    pub fn find(&self, node: &NodeName) -> Option<Member> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(node).cloned()
    }

    /// What is known of the sender called `name`.
    #[must_use]
    pub fn find_sender(&self, name: &str) -> Option<SenderMember> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        senders.get(name).cloned()
    }

    /// The names of all senders, denied ones too, in no order.
    #[must_use]
    pub fn senders(&self) -> Vec<SenderName> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        senders.keys().cloned().collect()
    }

    /// Whether the collector's own wall clock is in doubt: then it says nothing about what has expired.
    #[must_use]
    pub fn is_clock_in_doubt(&self) -> bool {
        self.clock_in_doubt.load(Relaxed)
    }

    /// Takes in whether the wall clock is in doubt.
    pub fn set_clock_in_doubt(&self, in_doubt: bool) {
        self.clock_in_doubt.store(in_doubt, Relaxed);
    }

    /// Takes in one node's row; `None` when it left.
    pub fn set(&self, name: &NodeName, row: Option<&Node>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        match row {
            Some(row) => members.insert(name.clone(), member(row)),
            None => members.remove(name),
        };
    }

    /// Takes in one sender's row; `None` when it left.
    pub fn set_sender(&self, name: &SenderName, row: Option<&Sender>) {
        let mut senders = self.senders.write().unwrap_or_else(PoisonError::into_inner);
        match row {
            Some(row) => senders.insert(name.clone(), sender_member(row)),
            None => senders.remove(name),
        };
    }

    /// Takes in the whole state.
    pub fn replace_all(&self, state: &State) {
        self.set_clock_in_doubt(state.meta.clock_in_doubt);
        let all = state
            .nodes
            .iter()
            .map(|(name, row)| (name.clone(), member(row)))
            .collect();
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = all;
        let senders = state
            .senders
            .iter()
            .map(|(name, row)| (name.clone(), sender_member(row)))
            .collect();
        *self.senders.write().unwrap_or_else(PoisonError::into_inner) = senders;
    }
}

fn sender_member(row: &Sender) -> SenderMember {
    SenderMember {
        denied: row.denied,
        keys: row.keys.iter().map(|key| key.tls_key_sha256).collect(),
    }
}

fn member(row: &Node) -> Member {
    Member {
        denied: row.denied,
        keys: row.keys.iter().map(|key| key.tls_key_sha256).collect(),
        signing_key: from_hex(&row.signing_key).unwrap_or_default(),
        head: row.head,
    }
}
