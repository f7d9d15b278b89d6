//! What a line of the log says, as far as a reader of an alert's story needs to understand it.
//!
//! [`fleet::Event`](crate::fleet::Event) and [`fleet::Decision`](crate::fleet::Decision) are what is decided by, whole and
//! strict; this is for whoever tells a story from lines that another version may have written: members that came later
//! may be absent, and a line that this version has no words for is [`Happened::Other`] or [`Decided::Other`] and is told
//! by its members. Nothing is decided by it.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::mute::Kind;
use crate::{
    alert::{Actor, AlertKey, Notice},
    destination::Destination,
    mute::MutedBy,
};
use vigie_core::{
    digest::Digest,
    id::{PersonName, ReceiverName},
    status::Status,
    time::Wall,
};

/// A line of the log: when, and what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Line {
    /// When it was written.
    pub at: Wall,
    /// What it says.
    pub event: Said,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Something happened.
    Event(Happened),
    /// Something was decided.
    Decision(Decision),
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The log's word for it.
    pub word: String,
    /// The alert that it is about.
    pub number: Option<u64>,
    /// What.
    pub what: Decided,
}

/// What happened. Words of the log as in [`crate::fleet::Event`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind")]
pub enum Happened {
    /// The collector started.
    #[serde(rename = "collector.started")]
    Started,
    /// Settings were read.
    #[serde(rename = "rules.loaded")]
    RulesLoaded {
        /// Digest of the rules, which are kept beside the log.
        sha256: Digest,
    },
    /// A node handed in a line.
    #[serde(rename = "entry")]
    Entry(Entry),
    /// A node said what is wrong.
    #[serde(rename = "contact")]
    Contact {
        /// The node.
        node: String,
        /// What it said.
        contact: Contact,
    },
    /// A node is not heard.
    #[serde(rename = "node.silent")]
    NodeSilent {
        /// The node.
        node: String,
        /// When it was last heard.
        last_contact: Wall,
    },
    /// A silent node is heard.
    #[serde(rename = "node.heard")]
    NodeHeard {
        /// The node.
        node: String,
    },
    /// A site is not heard.
    #[serde(rename = "site.silent")]
    SiteSilent {
        /// The site.
        site: String,
    },
    /// A silent site is heard.
    #[serde(rename = "site.heard")]
    SiteHeard {
        /// The site.
        site: String,
    },
    /// An operator settled what only a person can.
    #[serde(rename = "plan.confirmed")]
    Confirmed {
        /// The node.
        node: String,
        /// Who.
        uid: u32,
    },
    /// An operator removed a node for good.
    #[serde(rename = "node.retired")]
    NodeRetired {
        /// The node.
        node: String,
        /// Who.
        uid: u32,
    },
    /// Commits failed and work again.
    #[serde(rename = "commit.failed")]
    CommitFailed {
        /// How many failed.
        count: u64,
    },
    /// Somebody says that they are on it.
    #[serde(rename = "acknowledged")]
    Acknowledged {
        /// Who.
        by: Actor,
    },
    /// An operator says that nobody is.
    #[serde(rename = "unacknowledged")]
    Unacknowledged {
        /// Who.
        uid: u32,
    },
    /// An operator ends an alert.
    #[serde(rename = "alert.ended")]
    AlertEnded {
        /// Why, in their words.
        reason: String,
        /// Who.
        uid: u32,
    },
    /// An operator silences alerts.
    #[serde(rename = "silence.started")]
    SilenceStarted(Begun),
    /// Maintenance begins.
    #[serde(rename = "maintenance.started")]
    MaintenanceStarted(Begun),
    /// An operator ends one of these.
    #[serde(rename = "mute.ended")]
    MuteEnded {
        /// Its number.
        mute: u64,
        /// Who.
        uid: u32,
    },
    /// An operator wants to see whether a receiver can be told.
    #[serde(rename = "exercise.started")]
    ExerciseStarted {
        /// The receiver.
        receiver: String,
        /// Who.
        uid: u32,
    },
    /// A sender says how one of its alerts stands.
    #[serde(rename = "sender.alert")]
    SenderAlert {
        /// The sender.
        sender: String,
        /// What it says.
        alert: SenderAlert,
    },
    /// A provider took a message.
    #[serde(rename = "delivered")]
    Delivered {
        /// The message.
        key: Digest,
        /// The one under whose name it travelled.
        #[serde(default)]
        carried_by: Option<Digest>,
    },
    /// A provider refused a message for good.
    #[serde(rename = "refused")]
    Refused {
        /// The message.
        key: Digest,
        /// What it answered.
        http_status: u64,
    },
    /// The settings have no way any more for a message.
    #[serde(rename = "undeliverable")]
    Undeliverable {
        /// The message.
        key: Digest,
    },
    /// A destination does not take messages.
    #[serde(rename = "delivery.failing")]
    DeliveryFailing {
        /// The destination.
        receiver: Destination,
        /// How many wait for it.
        waiting: u64,
        /// Its last answer; 0 when there was none.
        #[serde(default)]
        http_status: u64,
    },
    /// It takes them again.
    #[serde(rename = "delivery.works")]
    DeliveryWorks {
        /// The destination.
        receiver: Destination,
    },
    /// The collector's clock is trusted again.
    #[serde(rename = "clock.trusted")]
    ClockTrusted,
    /// Time passed.
    #[serde(rename = "deadline")]
    Deadline,
    /// Something that this version has no words for.
    #[serde(other)]
    Other,
}

/// A line that a node handed in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Entry {
    /// The node.
    pub node: String,
    /// Its certificate has expired: the line ends nothing.
    #[serde(default)]
    pub doubt: bool,
    /// It says nothing about now.
    #[serde(default)]
    pub history: bool,
    /// The line, as it came.
    pub line: Value,
}

/// What a node's line says, for a reader.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Its number there.
    pub seq: Option<u64>,
    /// The check.
    pub check: Option<String>,
    /// The object.
    pub object: Option<String>,
    /// How it stands.
    pub status: Option<String>,
    /// Why; a code.
    pub reason: Option<String>,
    /// Details.
    pub facts: Map<String, Value>,
}

/// What a node says is wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Contact {
    /// Its objects that are not ok.
    #[serde(default)]
    pub not_ok: Vec<Listed>,
}

/// An object that is not ok.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Listed {
    /// The check.
    pub check: String,
    /// The object; empty where there is one.
    #[serde(default)]
    pub object: String,
    /// How it stands.
    pub status: String,
    /// The line that says so.
    pub seq: u64,
}

/// A silence or maintenance that begins.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Begun {
    /// Why, in the operator's words.
    pub reason: String,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Who.
    pub uid: u32,
}

/// How an alert of a sender stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SenderAlert {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: String,
}

/// What was decided. Words of the log as in [`crate::fleet::Decision`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "decided")]
pub enum Decided {
    /// An alert began.
    #[serde(rename = "alert.opened")]
    Opened {
        /// Which.
        alert: AlertKey,
        /// How it stands.
        status: Status,
        /// Why; a code.
        reason: String,
    },
    /// Its status changed.
    #[serde(rename = "alert.changed")]
    Changed {
        /// From.
        from: Status,
        /// To.
        to: Status,
        /// Why; a code.
        reason: String,
    },
    /// It ended.
    #[serde(rename = "alert.closed")]
    Closed {
        /// Why.
        ended: String,
    },
    /// Somebody is to be told.
    #[serde(rename = "told")]
    Told(Told),
    /// It waits for a receiver's opening.
    #[serde(rename = "held")]
    Deferred {
        /// Whose.
        receiver: ReceiverName,
        /// Until when, as it looked then.
        #[serde(default)]
        until: Option<Wall>,
        /// The route that said so, by position.
        #[serde(default)]
        route: Option<u64>,
    },
    /// A receiver's digest goes out.
    #[serde(rename = "digest")]
    Digest {
        /// Whose.
        receiver: ReceiverName,
        /// When it was due.
        due: Wall,
        /// Later than it should.
        #[serde(default)]
        is_late: bool,
        /// The message.
        key: Digest,
    },
    /// It is kept quiet.
    #[serde(rename = "muted")]
    Muted {
        /// By what.
        by: MutedBy,
        /// Who would have been told.
        #[serde(default)]
        would_tell: Vec<ReceiverName>,
        /// For whom it would have been held.
        #[serde(default)]
        would_hold: Vec<ReceiverName>,
    },
    /// Another one explains it.
    #[serde(rename = "folded")]
    Folded {
        /// The other's number.
        into: u64,
    },
    /// Somebody is on it.
    #[serde(rename = "alert.acknowledged")]
    Acknowledged {
        /// Who.
        by: Actor,
    },
    /// Nobody is on it any more.
    #[serde(rename = "alert.unacknowledged")]
    Unacknowledged {
        /// Why.
        why: String,
    },
    /// A line would have ended it, and does not.
    #[serde(rename = "kept")]
    Kept {
        /// Why not.
        why: String,
    },
    /// Somebody should be told and cannot be.
    #[serde(rename = "skipped")]
    Skipped {
        /// Whose step it is.
        receiver: ReceiverName,
        /// Which, from 0.
        #[serde(default)]
        step: u64,
        /// Who; `None`: the step has nobody at all.
        #[serde(default)]
        person: Option<PersonName>,
    },
    /// A silence or maintenance began.
    #[serde(rename = "mute.began")]
    MuteBegan {
        /// Its number.
        mute: u64,
    },
    /// A silence or maintenance is over.
    #[serde(rename = "mute.over")]
    MuteOver {
        /// Its number.
        mute: u64,
    },
    /// Something that this version has no words for.
    #[serde(other)]
    Other,
}

/// Somebody is to be told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Told {
    /// Whom.
    pub receiver: ReceiverName,
    /// Where; `None`: until there were steps, a message went to its receiver.
    #[serde(default)]
    pub to: Option<Destination>,
    /// At which step, from 0.
    #[serde(default)]
    pub step: Option<u64>,
    /// What.
    pub notice: Notice,
    /// The message.
    pub key: Digest,
    /// The route that said so, by position.
    #[serde(default)]
    pub route: Option<u64>,
}

impl Said {
    /// Reads the `event` of a line.
    #[must_use]
    pub fn read(event: &Value) -> Self {
        #[derive(Deserialize)]
        struct Head {
            kind: String,
            #[serde(default)]
            decided: String,
            #[serde(default)]
            number: Option<u64>,
        }
        match Head::deserialize(event) {
            Ok(head) if head.kind == "decision" => Self::Decision(Decision {
                word: head.decided,
                number: head.number,
                what: Decided::deserialize(event).unwrap_or(Decided::Other),
            }),
            Ok(_) | Err(_) => Self::Event(Happened::deserialize(event).unwrap_or(Happened::Other)),
        }
    }

    /// The alert that was decided about.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Decision(decision) => decision.number,
            Self::Event(_) => None,
        }
    }

    /// Whether it says what became of a message, or of a destination of messages, for the worse.
    #[must_use]
    pub const fn is_about_message(&self) -> bool {
        matches!(
            self,
            Self::Event(
                Happened::Delivered { .. }
                    | Happened::Refused { .. }
                    | Happened::Undeliverable { .. }
                    | Happened::DeliveryFailing { .. }
            )
        )
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|event| Self::read(&event))
    }
}

impl Happened {
    /// The silence or maintenance that it begins.
    #[must_use]
    pub const fn begun(&self) -> Option<(Kind, &Begun)> {
        match self {
            Self::SilenceStarted(begun) => Some((Kind::Silence, begun)),
            Self::MaintenanceStarted(begun) => Some((Kind::Maintenance, begun)),
            _ => None,
        }
    }
}

impl Entry {
    /// What the line says; nothing, where it is no line that this version understands.
    #[must_use]
    pub fn measured(&self) -> Measured {
        Measured::deserialize(&self.line).unwrap_or_default()
    }
}

impl Told {
    /// Where it went.
    #[must_use]
    pub fn destination(&self) -> Destination {
        let own = || Destination::Receiver(self.receiver.clone());
        self.to.clone().unwrap_or_else(own)
    }
}
