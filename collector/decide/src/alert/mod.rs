//! An alert: an object whose status is not ok, from the moment it is noticed until it ends. A finding is nothing else.
//!
//! ```text
//!             not ok (live line, contact, collector's own finding)
//!   (none) ─────────────────────────────────────────────────────────► open ──┐ louder: told as worse
//!      ▲                                                               │  ◄──┘ quieter: noted, nobody told
//!      └───────────────────────────────────────────────────────────────┘
//!             ok (live line in order, no doubt), confirmed, retired, replaced: whoever was told is told the end
//! ```
//! The transitions are made by [`crate::fleet`]; [`AlertKey`] says which one it is, [`Message`] what is told of it.

mod built_in;
mod key;
mod message;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::{
    built_in::{AgentTrouble, BuiltIn, Ends},
    key::{AlertKey, Judged, NotAKey, Source},
    message::{Body, Message, Notification, digest_key, message_key},
};
use crate::{destination::Destination, mute::MutedBy, routing::UNKNOWN_COUNTS_AFTER_MS};
use vigie_core::{
    digest::Digest,
    id::{ReceiverName, ServiceName},
    status::{Family, Status},
    time::{Deadline, Now, Wall},
};

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
    /// Who was told, or possibly told, and how.
    pub told: BTreeMap<ReceiverName, Notified>,
    /// How often somebody was told.
    pub tellings: u64,
    /// Ends only by an operator's word, because its cause leaves no good state behind (a forged line, lost lines).
    pub until_confirmed: bool,
    /// While it is `unknown` and routes do not count it as such yet: when they will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_counts: Option<Deadline>,
    /// While it is quieter than what was said of it: when that counts, so that getting louder again is told again. What
    /// comes and goes is not told each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eases: Option<Deadline>,
    /// Somebody is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// What keeps it quiet at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<MutedBy>,
    /// The number of the alert that explains it, as long as nobody is told of it besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded_into: Option<u64>,
    /// For one that a sender opened: when it is no longer known how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_until: Option<Deadline>,
}

/// How long an alert is quieter before everybody may be told again that it got louder.
pub const EASES_AFTER_MS: u64 = 10 * 60_000;

impl Alert {
    /// The loudest that was said of it, or acknowledged.
    fn said(&self) -> u8 {
        let told = self.told.values().map(|told| told.status.rank());
        let acknowledged = self.acknowledged.iter().map(|ack| ack.status.rank());
        told.chain(acknowledged).max().unwrap_or(0)
    }

    /// It has been quieter than what was said for long enough.
    pub fn ease(&mut self) {
        self.eases = None;
        let status = self.status;
        let told = self.told.values_mut().map(|told| &mut told.status);
        let acknowledged = self.acknowledged.iter_mut().map(|ack| &mut ack.status);
        for said in told.chain(acknowledged) {
            if said.rank() > status.rank() {
                *said = status;
            }
        }
    }

    /// Takes in how it stands. Not knowing counts only after a while, and so does getting better.
    pub fn set_status(&mut self, status: Status, now: Now) {
        if status.rank() >= self.said() {
            self.eases = None;
        } else if self.eases.is_none() {
            self.eases = Some(Deadline::after(now, EASES_AFTER_MS));
        }
        if status != Status::Unknown {
            self.unknown_counts = None;
        } else if self.status != Status::Unknown {
            self.unknown_counts = Some(Deadline::after(now, UNKNOWN_COUNTS_AFTER_MS));
        }
        self.status = status;
    }
}

/// What one receiver was told of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notified {
    /// The loudest that was said.
    pub status: Status,
    /// Where messages went, or possibly went: the end goes there too.
    pub to: BTreeMap<Destination, Reached>,
    /// How far its steps are; empty for a receiver without.
    #[serde(default, skip_serializing_if = "Progress::is_empty")]
    pub progress: Progress,
}

/// Messages about one alert to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// [`Message::order`] of the first.
    pub first: u64,
    /// And of the last.
    pub last: u64,
    /// [`Message::key`] of the one that a thread begins with there.
    pub thread: Digest,
    /// [`Message::key`] of the last.
    #[serde(default)]
    pub newest: Digest,
}

/// How far the steps of a receiver are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Steps that have begun, in order.
    pub begun: Vec<Begun>,
    /// When the next one begins; `None`: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Deadline>,
}

/// A step that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Begun {
    /// How often its people were told.
    pub rounds: u32,
    /// When they are told again; `None`: not again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Deadline>,
}

impl Progress {
    /// Whether no step has begun.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }
}

/// Somebody is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Wall,
    /// How loud the alert was then. What gets louder is nobody's yet.
    pub status: Status,
    /// When it counts no more; `None`: with the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Deadline>,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A user of the collector's machine.
    Uid(u32),
    /// Whoever reads the messages that go there, by the link in one of them.
    Link(Destination),
}

/// What a message says about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// It began.
    Open,
    /// It got louder.
    Worse,
    /// It has been on for a while, and is told here for the first time: working hours began or ended, a mute ended, rules
    /// changed.
    Still,
    /// It is still on, and nobody has said that they are on it.
    Again,
    /// It is still on; whoever was on it goes home, and hands it over.
    HandOver,
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
            Self::Still => "still",
            Self::Again => "again",
            Self::HandOver => "handover",
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
    /// It was an exercise.
    Exercised,
}
