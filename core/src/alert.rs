//! An alert: an object whose status is not ok, from the moment it is noticed until it ends. A finding is nothing else.
//!
//! ```text
//!             not ok (live line, contact, collector's own finding)
//!   (none) ─────────────────────────────────────────────────────────► open ──┐ louder: told as worse
//!      ▲                                                               │  ◄──┘ quieter: noted, nobody told
//!      └───────────────────────────────────────────────────────────────┘
//!             ok (live line in order, no doubt), confirmed, retired, replaced: whoever was told is told the end
//! ```
//! The transitions are made by [`crate::fleet`]; this file says what an alert and a message about it are made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    digest::Digest,
    id::{ReceiverName, ServiceName},
    status::{Criticality, Environment, Family, Status},
    time::Wall,
};

/// The node part of alerts about the collector itself. No node can have this name.
pub const COLLECTOR: &str = "@collector";

/// What an alert is keyed by. Built-in checks start with `@`, which no configured name can.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    /// The node, from its certificate; [`COLLECTOR`] for the collector's own.
    pub node: String,
    /// The check.
    pub check: String,
    /// The object; empty where the check has one thing to judge.
    pub object: String,
}

/// An open alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its short number, for life.
    pub number: u64,
    /// The family of the check.
    pub family: Family,
    /// The services its node spoke for; empty: all of the node.
    pub claimed: BTreeSet<ServiceName>,
    /// How it stands.
    pub status: Status,
    /// Why; a code, perhaps of a newer version.
    pub reason: String,
    /// Details.
    pub facts: Map<String, Value>,
    /// Since when, by the clock of who noticed.
    pub since: Wall,
    /// What identifies this opening among others of the same key: the number of the line that opened it.
    pub opening: u64,
    /// Who was told, or possibly told, and of which status.
    pub told: BTreeMap<ReceiverName, Status>,
    /// How often somebody was told.
    pub tellings: u64,
    /// Ends only by an operator's word, because its cause leaves no good state behind (a forged line, lost lines).
    pub until_confirmed: bool,
}

/// What a message says about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// It began.
    Open,
    /// It got louder.
    Worse,
    /// It ended.
    Close,
}

impl Notice {
    /// The word used in messages and keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Worse => "worse",
            Self::Close => "close",
        }
    }
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Measured and good again.
    Recovered,
    /// An operator confirmed it.
    Confirmed,
    /// The node was retired.
    Retired,
    /// Another alert stands for it now.
    Replaced,
}

/// One message to one receiver, as it waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The idempotency key: a receiver that sees it twice may drop the second.
    pub key: Digest,
    /// Position in the outbox: messages to one receiver go out in this order.
    pub order: u64,
    /// To whom.
    pub receiver: ReceiverName,
    /// What it says.
    pub notice: Notice,
    /// The alert's number.
    pub number: u64,
    /// What identifies this opening of the alert, as in [`Alert::opening`].
    pub opening: u64,
    /// Which alert.
    pub alert: AlertKey,
    /// Services concerned.
    pub services: BTreeSet<ServiceName>,
    /// Highest criticality of these.
    pub criticality: Criticality,
    /// Where the node serves.
    pub environment: Environment,
    /// Family of the check.
    pub family: Family,
    /// How it stands; for a close how it stood.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// Details.
    pub facts: Map<String, Value>,
    /// Since when.
    pub since: Wall,
    /// When the message was decided.
    pub at: Wall,
    /// For a close, why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Where to read what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

impl AlertKey {
    /// A key about the collector itself.
    #[must_use]
    pub fn of_collector(check: &str, object: &str) -> Self {
        Self {
            node: COLLECTOR.to_owned(),
            check: check.to_owned(),
            object: object.to_owned(),
        }
    }

    /// Whether it is about the collector itself.
    #[must_use]
    pub fn is_of_collector(&self) -> bool {
        self.node == COLLECTOR
    }

    /// Whether the check is one of vigie's own.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.check.starts_with('@')
    }
}

/// The idempotency key of a message. Two tries of one commit give the same key, so that nobody is told twice.
#[must_use]
pub fn message_key(
    alert: &AlertKey,
    opening: u64,
    receiver: &str,
    telling: u64,
    notice: Notice,
) -> Digest {
    // The step of a receiver (always the first for now) has its place between receiver and repeat.
    Digest::of(
        format!(
            "vigie message v1\n{}\n{}\n{}\n{opening}\n{receiver}\n0\n{telling}\n{}",
            alert.node,
            alert.check,
            alert.object,
            notice.as_str()
        )
        .as_bytes(),
    )
}
