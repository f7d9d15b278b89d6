//! What keeps alerts from being told for a while: silences, and maintenance. Both have a reason and an end.
//!
//! A muted alert is an alert: it opens, changes and ends in the log, stands in `status` and in digests. Nobody is told of
//! it while it is muted; whoever was told before is told its end. What still fails when the mute ends is told then.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    alert::AlertKey,
    rules::{Match, Subject},
};
use vigie_core::{
    id::{GroupName, MaintenanceName, NodeName},
    status::{Family, Status},
    time::{Deadline, Wall},
};

/// The longest silence: a night. What lasts longer is maintenance, or a change of settings.
pub const SILENCE_MAX_MS: u64 = 8 * 3_600_000;

/// The longest maintenance that a command may begin; a longer one stands in the settings.
pub const MAINTENANCE_MAX_MS: u64 = 7 * 24 * 3_600_000;

/// The longest reason, in characters.
pub const REASON_LEN_MAX: usize = 200;

/// How many mutes may run at a time.
pub const MUTES_MAX: usize = 200;

/// A mute that a command began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// What it keeps quiet.
    pub what: Muted,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub uid: u32,
    /// Since when.
    pub from: Wall,
    /// Until when.
    pub until: Deadline,
}

/// What a mute keeps quiet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Muted {
    /// Alerts that meet all of these.
    Silence(Box<SilenceMatch>),
    /// Whether nodes, and what runs on them, can be reached.
    Maintenance(Nodes),
}

/// Which alerts a silence is for. Never empty: that would be everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SilenceMatch {
    /// One alert by its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// A check, on whatever node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// An object of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// As a route matches.
    pub matches: Match,
}

/// Nodes, named one by one or by their groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Nodes {
    /// Nodes.
    pub nodes: BTreeSet<NodeName>,
    /// Groups, whatever nodes they have at the moment.
    pub groups: BTreeSet<GroupName>,
}

/// What a maintenance window of the settings keeps quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Host, availability and node silence: what work on a machine disturbs.
    Reachability,
    /// Everything of these nodes: they are being brought in, and nobody is to be woken by them yet.
    Everything,
}

/// What mutes an alert, as the log says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MutedBy {
    /// A silence or maintenance that a command began, by its number.
    Mute(u64),
    /// A window of the settings.
    Window(MaintenanceName),
}

impl SilenceMatch {
    /// Whether it has no condition.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is for this alert.
    #[must_use]
    pub fn covers(
        &self,
        key: &AlertKey,
        number: u64,
        subject: &Subject,
        family: Family,
        status: Status,
    ) -> bool {
        self.number.is_none_or(|wanted| wanted == number)
            && self.check.as_ref().is_none_or(|check| check == key.check())
            && self
                .object
                .as_ref()
                .is_none_or(|object| *object == *key.object())
            && self.matches.covers(subject, &key.node(), family, status)
    }
}

impl Nodes {
    /// Whether a node is one of them.
    #[must_use]
    pub fn covers(&self, node: &str, groups: &BTreeSet<GroupName>) -> bool {
        self.nodes.contains(node) || !self.groups.is_disjoint(groups)
    }
}

impl Scope {
    /// Whether alerts of this family are kept quiet. `is_silence`: the alert is that its node is silent.
    #[must_use]
    pub const fn covers(self, family: Family, is_silence: bool) -> bool {
        match self {
            Self::Everything => true,
            Self::Reachability => {
                is_silence || matches!(family, Family::Host | Family::Availability)
            }
        }
    }
}
