//! What waits in the outbox: one message to one destination, and the key by which a receiver knows it again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Actor, AlertKey, Ended, Notice};
use crate::{destination::Destination, held::DigestNotice};
use vigie_core::{
    digest::Digest,
    id::{ReceiverName, ServiceName},
    status::{Criticality, Environment, Family, Need, Status},
    time::Wall,
};

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
    Alert(Box<Notification>),
    /// What waited for a receiver's opening.
    Digest(Box<DigestNotice>),
}

/// What a message says about one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// What happened.
    pub notice: Notice,
    /// The alert's number.
    pub number: u64,
    /// What identifies this opening of the alert, as in [`super::Alert::opening`].
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
    pub fn telling(&self) -> Option<&Notification> {
        match &self.body {
            Body::Alert(telling) => Some(telling),
            Body::Digest(_) => None,
        }
    }
}

/// The idempotency key of a message about an alert. Two tries of one commit give the same key, so that nobody is told
/// twice. `telling` is [`super::Alert::tellings`]: no two messages of one opening share it.
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
            alert.node(),
            alert.check(),
            alert.object(),
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
