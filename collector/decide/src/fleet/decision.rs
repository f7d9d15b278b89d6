//! What is decided about an event: a line of the log after it, and what an operator or a machine that asks is told.

use serde::{Deserialize, Serialize};

use crate::{
    alert::{Actor, AlertKey, Ended, Notice},
    destination::Destination,
    mute::MutedBy,
};
use vigie_core::{
    digest::Digest,
    id::{NodeName, PersonName, ReceiverName, SenderName},
    status::Status,
    time::Wall,
    token::Role,
};

/// Something that was decided; a line of the log after the event that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decided")]
pub enum Decision {
    /// An alert began.
    #[serde(rename = "alert.opened")]
    Opened {
        /// Its number.
        number: u64,
        /// Which.
        alert: AlertKey,
        /// How it stands.
        status: Status,
        /// Why.
        reason: String,
    },
    /// An alert's status changed.
    #[serde(rename = "alert.changed")]
    Changed {
        /// Its number.
        number: u64,
        /// From.
        from: Status,
        /// To.
        to: Status,
        /// Why.
        reason: String,
    },
    /// An alert ended.
    #[serde(rename = "alert.closed")]
    Closed {
        /// Its number.
        number: u64,
        /// Why.
        ended: Ended,
    },
    /// Somebody is to be told.
    #[serde(rename = "told")]
    Told {
        /// The alert's number.
        number: u64,
        /// Whom.
        receiver: ReceiverName,
        /// Where.
        to: Destination,
        /// At which step of the receiver, from 0.
        #[serde(default)]
        step: u32,
        /// What.
        notice: Notice,
        /// The message's key.
        key: Digest,
        /// Which route said so, by position; absent for a close, which follows those told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route: Option<u64>,
    },
    /// A line would have ended an alert, and does not.
    #[serde(rename = "kept")]
    Kept {
        /// The alert's number.
        number: u64,
        /// Why not.
        why: KeptBecause,
    },
    /// An alert waits for a receiver's opening.
    #[serde(rename = "held")]
    Deferred {
        /// The alert's number.
        number: u64,
        /// For whom.
        receiver: ReceiverName,
        /// Until when, as it looks now; absent where no opening is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Wall>,
        /// Which route said so, by position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route: Option<u64>,
    },
    /// A receiver's digest goes out.
    #[serde(rename = "digest")]
    DigestMade {
        /// Whose.
        receiver: ReceiverName,
        /// When it was due.
        due: Wall,
        /// Later than it should.
        is_late: bool,
        /// The message's key.
        key: Digest,
        /// How many lines it has.
        lines: u64,
    },
    /// Nobody is told of an alert, although a route says so.
    #[serde(rename = "muted")]
    Muted {
        /// The alert's number.
        number: u64,
        /// By what.
        by: MutedBy,
        /// Who would have been told at once.
        would_tell: Vec<ReceiverName>,
        /// For whom it would have been held.
        would_hold: Vec<ReceiverName>,
    },
    /// Another alert explains this one, and everybody concerned knows of that.
    #[serde(rename = "folded")]
    Inhibited {
        /// The alert's number.
        number: u64,
        /// The other's.
        into: u64,
    },
    /// Somebody is on it.
    #[serde(rename = "alert.acknowledged")]
    AlertAcknowledged {
        /// The alert's number.
        number: u64,
        /// Who.
        by: Actor,
    },
    /// Nobody is on it any more.
    #[serde(rename = "alert.unacknowledged")]
    AlertUnacknowledged {
        /// The alert's number.
        number: u64,
        /// Why.
        why: UnacknowledgedBecause,
    },
    /// Somebody should be told and cannot be.
    #[serde(rename = "skipped")]
    Skipped {
        /// The alert's number.
        number: u64,
        /// The receiver whose step it is.
        receiver: ReceiverName,
        /// Which step, from 0.
        step: u32,
        /// Who; absent when the step has nobody at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// A machine may be a node.
    #[serde(rename = "join.accepted")]
    JoinAccepted {
        /// The node.
        node: NodeName,
    },
    /// A program may be a sender.
    #[serde(rename = "sender.accepted")]
    SenderAccepted {
        /// The sender.
        sender: SenderName,
    },
}

/// Why an acknowledgement counts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnacknowledgedBecause {
    /// Its time is over.
    Expired,
    /// The alert got louder than what was acknowledged.
    Worse,
    /// An operator said so.
    Withdrawn,
}

/// What an operator's event came to, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Alerts that are acknowledged now, and those that were already (by whom).
    Acknowledged {
        /// Now.
        numbers: Vec<u64>,
        /// Already.
        before: Vec<(u64, Actor)>,
    },
    /// A silence or maintenance runs.
    Muted {
        /// Its number.
        mute: u64,
        /// Open alerts that it keeps quiet.
        hits: Vec<u64>,
    },
    /// An exercise runs as this alert.
    Exercise {
        /// Its number.
        number: u64,
    },
    /// It is done; there is nothing more to say.
    Done,
    /// No open alert has this number, none of a message is open any more, or no mute has it.
    NothingThere,
    /// Only its node, or `plan confirm`, ends this alert.
    NotYours,
    /// No such receiver.
    NoSuchReceiver,
    /// As many mutes run as may.
    TooMany,
}

/// Why an ok line ended nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBecause {
    /// Its certificate has expired.
    Doubt,
    /// It is history and the contact lists the object as not ok.
    StillListed,
    /// It does not stand in the node's chain.
    ChainFault,
    /// Only an operator ends this alert.
    UntilConfirmed,
    /// Its node lost its memory, and it is older than the failure.
    FromBefore,
}

/// Why a join was refused. Not in the log: anybody can cause it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// No such token, or not this secret.
    #[error("the token is unknown, was used already, or has expired")]
    UnknownToken,
    /// The token is for another node or sender.
    #[error("the token is for another {0}")]
    OtherName(Role),
    /// The token is for a node and a sender used it, or the other way round.
    #[error("the token is for a {0}")]
    OtherRole(Role),
    /// The name is in use.
    #[error(
        "a {0} of this name has joined already; make a token with --replace to take over its name"
    )]
    NameInUse(Role),
    /// The node or sender is shut out.
    #[error("the {0} is denied")]
    Denied(Role),
}
