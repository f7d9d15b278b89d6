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
    destination::Destination, held::DigestNotice, mute::MutedBy, routing::UNKNOWN_COUNTS_AFTER_MS,
};
use vigie_core::{
    digest::Digest,
    id::{ReceiverName, SenderName, ServiceName},
    status::{Criticality, Environment, Family, Need, Status},
    time::{Deadline, Now, Wall},
};

/// The node part of alerts about the collector itself. No node can have this name.
pub const COLLECTOR: &str = "@collector";

/// What the node part of a sender's alerts begins with; its name follows.
const SENDER: &str = "@sender/";

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
    /// Who was told, or possibly told, and how.
    pub told: BTreeMap<ReceiverName, Told>,
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
pub struct Told {
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

/// One message to one destination, as it waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The idempotency key: a receiver that sees it twice may drop the second.
    pub key: Digest,
    /// Position in the outbox: messages to one destination go out in this order.
    pub order: u64,
    /// Where to.
    pub to: Destination,
    /// For which receiver.
    pub receiver: ReceiverName,
    /// When it was decided.
    pub at: Wall,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Something about one alert.
    Alert(Box<Telling>),
    /// What waited for a receiver's opening.
    Digest(Box<DigestNotice>),
}

/// What a message says about one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// What happened.
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
    /// The need that the check serves, and its level for the services concerned.
    pub need: (Need, u8),
    /// How it stands; for a close how it stood.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// Details.
    pub facts: Map<String, Value>,
    /// Since when.
    pub since: Wall,
    /// Why it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Where to read what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Which step of the receiver, from 0.
    #[serde(default)]
    pub step: u32,
    /// The other receivers that were told until now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub others_told: BTreeSet<ReceiverName>,
    /// Who is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<Actor>,
    /// How many alerts this one explains, which nobody is told of besides.
    #[serde(default)]
    pub explains: u64,
    /// [`Message::key`] of the message with which its thread began at this destination; `None`: it begins with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Digest>,
}

impl Message {
    /// What it says about an alert, if it is about one.
    #[must_use]
    pub fn telling(&self) -> Option<&Telling> {
        match &self.body {
            Body::Alert(telling) => Some(telling),
            Body::Digest(_) => None,
        }
    }
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

    /// The key of an exercise for a receiver.
    #[must_use]
    pub fn exercise(receiver: &ReceiverName) -> Self {
        Self::of_collector("@exercise", receiver.as_str())
    }

    /// Whether it is an exercise: nothing has failed.
    #[must_use]
    pub fn is_exercise(&self) -> bool {
        self.is_of_collector() && self.check == "@exercise"
    }

    /// The key of what a sender says of one of its own alerts.
    #[must_use]
    pub fn of_sender(sender: &SenderName, name: &str, fingerprint: &str) -> Self {
        Self {
            node: format!("{SENDER}{sender}"),
            check: name.to_owned(),
            object: fingerprint.to_owned(),
        }
    }

    /// The sender that it is from.
    #[must_use]
    pub fn sender(&self) -> Option<&str> {
        self.node.strip_prefix(SENDER)
    }

    /// Whether it says that its node is silent.
    #[must_use]
    pub fn is_node_silence(&self) -> bool {
        self.check == "@node" && self.object == "silent"
    }

    /// Whether it says that a site is silent, cut off or out of sight.
    #[must_use]
    pub fn is_site_silence(&self) -> bool {
        self.is_of_collector() && self.check == "@site"
    }

    /// Whether the check is one of vigie's own.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.check.starts_with('@')
    }
}

/// The idempotency key of a message about an alert. Two tries of one commit give the same key, so that nobody is told
/// twice. `telling` is [`Alert::tellings`]: no two messages of one opening share it.
#[must_use]
pub fn message_key(
    alert: &AlertKey,
    opening: u64,
    to: &Destination,
    step: u32,
    telling: u64,
    notice: Notice,
) -> Digest {
    Digest::of(
        format!(
            "vigie message v1\n{}\n{}\n{}\n{opening}\n{to}\n{step}\n{telling}\n{}",
            alert.node,
            alert.check,
            alert.object,
            notice.as_str()
        )
        .as_bytes(),
    )
}

/// The idempotency key of a digest. `order` is [`Message::order`]: where the clock is set back, one opening has two.
#[must_use]
pub fn digest_key(receiver: &ReceiverName, due: Wall, order: u64) -> Digest {
    Digest::of(format!("vigie digest v1\n{receiver}\n{due}\n{order}").as_bytes())
}
