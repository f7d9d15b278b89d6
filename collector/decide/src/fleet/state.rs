//! What the collector remembers, and a change to it.
//!
//! [`State`] is what the store loads; [`Delta`] is what one commit writes: new values of whole rows, `None` for a row
//! that goes. While a batch of events is decided the delta lies over the state, and it is merged into memory only once
//! it is on disk, so that memory never knows more than the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::event::{NodeKeys, SenderKeys};
use crate::{
    alert::{Alert, AlertKey, Message},
    held::{Deferred, DeferredKey, DigestDue},
    mute::Mute,
    rules::Rules,
};
use vigie_core::{
    contact::NotOk,
    digest::Digest,
    entry::Head,
    id::{CheckName, NodeName, ReceiverName, SenderName},
    log::Frontier,
    plan::{Plan, PlannedCheck},
    time::{Deadline, Now, StoredNow, Wall},
    token::Holder,
};

/// Everything that decisions depend on, besides the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Single values.
    pub meta: Meta,
    /// Nodes that joined.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Their plans.
    pub plans: BTreeMap<NodeName, NodePlan>,
    /// Open alerts.
    pub alerts: BTreeMap<AlertKey, Alert>,
    /// Messages not yet accepted.
    pub outbox: BTreeMap<Digest, Message>,
    /// Join tokens not yet used.
    pub tokens: BTreeMap<String, Token>,
    /// Senders of metrics that joined.
    pub senders: BTreeMap<SenderName, Sender>,
    /// What waits for the digests of receivers.
    pub held: BTreeMap<DeferredKey, Deferred>,
    /// When these are due. At most one row for each receiver.
    pub digests: BTreeMap<ReceiverName, DigestDue>,
    /// Silences and maintenance that commands began, by number.
    pub mutes: BTreeMap<u64, Mute>,
}

/// Values that exist once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The log's right edge; its size is the next line's number.
    pub frontier: Frontier,
    /// The last alert's number.
    pub last_alert: u64,
    /// The last message's order.
    pub last_message: u64,
    /// The rules in force.
    pub rules_sha256: Option<Digest>,
    /// Both clocks at the last event.
    pub last_now: StoredNow,
    /// Heads of nodes that were retired: a name that joins again goes on from there, because numbers never repeat.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retired: BTreeMap<NodeName, Head>,
    /// Whether the wall clock stepped so far that calendars cannot be trusted.
    pub clock_in_doubt: bool,
    /// The number of the last silence or maintenance.
    #[serde(default)]
    pub last_mute: u64,
    /// The next instant, on the wall, at which a calendar or a window of maintenance opens or closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_edge: Option<Wall>,
}

/// A node that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// When it joined first.
    pub joined_at: Wall,
    /// The last line of its chain here.
    pub head: Head,
    /// Keys it may use; the last is the newest. More than one only while a new one has not been used.
    pub keys: Vec<Key>,
    /// Ed25519 key that signs contacts, hexadecimal.
    pub signing_key: String,
    /// Planned checks of which some object has settled since the agent's start. Until all have, nobody knows how the
    /// node is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub settled: BTreeSet<CheckName>,
    /// What it listed as not ok in the last contact that was logged.
    pub listed: Arc<BTreeSet<NotOk>>,
    /// Of these, what an operator has confirmed: no longer an alert unless it is said anew.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dismissed: BTreeSet<NotOk>,
    /// It was judged silent and has handed in nothing since. As long as this holds its silence may stand for other alerts:
    /// it explains what nobody can report, and nothing that the node says itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
    /// Shut out by an operator.
    pub denied: bool,
    /// An operator let it take over its own name, so that its coming amnesia is no surprise.
    pub rejoined: bool,
}

/// A sender of metrics that joined. It has no chain and no contact, and no silence is noticed: who stops sending metrics
/// leaves series that end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// When it joined first.
    pub joined_at: Wall,
    /// Keys it may use; the last is the newest. More than one only while a new one has not been used.
    pub keys: Vec<Key>,
    /// Shut out by an operator.
    pub denied: bool,
}

/// A TLS key of a node or sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub tls_key_sha256: Digest,
    /// When its certificate ends.
    pub not_after: Wall,
}

/// A node's plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodePlan {
    /// The last complete one; the digest it was closed with.
    pub complete: Option<(Digest, Arc<Plan>)>,
    /// The last one that an operator knows of (the first complete one, or what was confirmed): differences are
    /// measured from here, so that many small steps are no way around.
    pub agreed: Option<Arc<Plan>>,
    /// Lines of the one being sent.
    pub coming: Arc<Plan>,
}

/// A join token: its public half is its key in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Digest of the secret half.
    pub secret_sha256: Digest,
    /// The only node or sender it may be used for. Beside the other keys as `node` or `sender`, so that a token from before
    /// there were senders reads as a node's.
    #[serde(flatten)]
    pub holder: Holder,
    /// Whether it may take over a name in use.
    pub replace: bool,
    /// When it ends.
    pub expires: Deadline,
    /// Who used it. A machine that lost the answer may ask again, with the same keys only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<UsedBy>,
}

/// The keys a token was used with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBy {
    /// SHA-256 of the TLS key.
    pub tls_key_sha256: Digest,
    /// Signing key, hexadecimal; a sender has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<String>,
}

impl NodePlan {
    /// The check as it is planned now, or else in the plan that is coming.
    #[must_use]
    pub fn find(&self, check: &CheckName) -> Option<&PlannedCheck> {
        let complete = self.complete.as_ref().and_then(|(_, plan)| plan.get(check));
        complete.or_else(|| self.coming.get(check))
    }

    /// Whether the check is planned, now or in the plan that is coming.
    #[must_use]
    pub fn has(&self, check: &CheckName) -> bool {
        self.find(check).is_some()
    }
}

impl Node {
    /// A node that has just joined.
    #[must_use]
    pub fn joined(keys: NodeKeys, now: Now) -> Self {
        Self {
            joined_at: now.wall,
            head: Head::EMPTY,
            keys: vec![Key {
                tls_key_sha256: keys.tls_key_sha256,
                not_after: keys.not_after,
            }],
            signing_key: keys.signing_key,
            listed: Arc::default(),
            settled: BTreeSet::new(),
            dismissed: BTreeSet::new(),
            unheard: false,
            denied: false,
            rejoined: false,
        }
    }

    /// Whether the node may use this TLS key.
    #[must_use]
    pub fn may_use(&self, tls_key_sha256: &Digest) -> bool {
        self.keys
            .iter()
            .any(|key| key.tls_key_sha256 == *tls_key_sha256)
    }
}

impl Sender {
    /// A sender that has just joined.
    #[must_use]
    pub fn joined(keys: &SenderKeys, now: Now) -> Self {
        Self {
            joined_at: now.wall,
            keys: vec![Key {
                tls_key_sha256: keys.tls_key_sha256,
                not_after: keys.not_after,
            }],
            denied: false,
        }
    }
}

/// What one commit writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// New single values, if anything changed.
    pub meta: Option<Meta>,
    /// Changed nodes.
    pub nodes: BTreeMap<NodeName, Option<Node>>,
    /// Changed plans.
    pub plans: BTreeMap<NodeName, Option<NodePlan>>,
    /// Changed alerts.
    pub alerts: BTreeMap<AlertKey, Option<Alert>>,
    /// Changed messages.
    pub outbox: BTreeMap<Digest, Option<Message>>,
    /// Changed tokens.
    pub tokens: BTreeMap<String, Option<Token>>,
    /// Changed senders.
    pub senders: BTreeMap<SenderName, Option<Sender>>,
    /// Changed rows of what waits for digests.
    pub held: BTreeMap<DeferredKey, Option<Deferred>>,
    /// Changed dues of digests.
    pub digests: BTreeMap<ReceiverName, Option<DigestDue>>,
    /// Changed silences and maintenance.
    pub mutes: BTreeMap<u64, Option<Mute>>,
    /// New lines of the log, with their numbers.
    pub log: Vec<(u64, String)>,
    /// New lines of nodes: which line of the log holds them.
    pub lines: Vec<StoredLine>,
    /// Rules to keep beside the log.
    pub rules: Vec<(Digest, Arc<Rules>)>,
}

/// A node's line in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    /// The node.
    pub node: NodeName,
    /// Its number there.
    pub seq: u64,
    /// Its digest.
    pub sha256: Digest,
    /// The line of the log that holds it.
    pub n: u64,
}

impl Delta {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.meta.is_none()
    }

    /// A copy of what [`State::merge`] takes in, without the lines that only a store keeps.
    #[must_use]
    pub fn rows(&self) -> Self {
        Self {
            meta: self.meta.clone(),
            nodes: self.nodes.clone(),
            plans: self.plans.clone(),
            alerts: self.alerts.clone(),
            outbox: self.outbox.clone(),
            tokens: self.tokens.clone(),
            senders: self.senders.clone(),
            held: self.held.clone(),
            digests: self.digests.clone(),
            mutes: self.mutes.clone(),
            ..Self::default()
        }
    }
}

impl State {
    /// Takes in what is now on disk.
    pub fn merge(&mut self, delta: Delta) {
        fn rows<K: Ord, V>(base: &mut BTreeMap<K, V>, changed: BTreeMap<K, Option<V>>) {
            for (key, row) in changed {
                match row {
                    Some(row) => base.insert(key, row),
                    None => base.remove(&key),
                };
            }
        }
        if let Some(meta) = delta.meta {
            self.meta = meta;
        }
        rows(&mut self.nodes, delta.nodes);
        rows(&mut self.plans, delta.plans);
        rows(&mut self.alerts, delta.alerts);
        rows(&mut self.outbox, delta.outbox);
        rows(&mut self.tokens, delta.tokens);
        rows(&mut self.senders, delta.senders);
        rows(&mut self.held, delta.held);
        rows(&mut self.digests, delta.digests);
        rows(&mut self.mutes, delta.mutes);
    }
}
