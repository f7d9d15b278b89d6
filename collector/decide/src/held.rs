//! What waits for a receiver's morning, and the digest that it becomes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::alert::{AlertKey, Ended};
use vigie_core::{
    id::{NodeName, ReceiverName, ServiceName},
    status::{Criticality, Environment, Family, Status},
    time::Wall,
};

/// How many objects one receiver's digest keeps. What comes beyond is counted.
pub const HELD_MAX: usize = 10_000;

/// Under what a held alert is kept: for whom, and what. An object that comes and goes is one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeferredKey {
    /// Whose digest it waits for.
    pub receiver: ReceiverName,
    /// Which.
    pub alert: AlertKey,
}

/// What a digest says about one object. Also the row that is kept until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// The number of its last alert.
    pub number: u64,
    /// When the first one was held.
    pub held_since: Wall,
    /// Since when it has failed, or had, the last time.
    pub since: Wall,
    /// How often it failed meanwhile; 1 for most.
    pub times: u64,
    /// The loudest it was.
    pub worst: Status,
    /// How it stands; how it stood, once ended.
    pub status: Status,
    /// Family of the check.
    pub family: Family,
    /// Services concerned.
    pub services: BTreeSet<ServiceName>,
    /// Highest criticality of these.
    pub criticality: Criticality,
    /// Where the node serves.
    pub environment: Environment,
    /// Why.
    pub reason: String,
    /// Details.
    pub facts: Map<String, Value>,
    /// When and why it ended by itself; `None` while it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Wall, Ended)>,
    /// Who was woken by it, and when first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paged: BTreeMap<ReceiverName, Wall>,
    /// Somebody said that they are on it.
    #[serde(default)]
    pub acknowledged: bool,
}

/// When a receiver's next digest is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DigestDue {
    /// At its calendar's opening. `None`: nothing waits.
    pub due: Option<Wall>,
    /// When the last one was made.
    pub last: Option<Wall>,
    /// How many rows are kept for it.
    #[serde(default)]
    pub rows: u64,
    /// How many did not fit.
    #[serde(default)]
    pub left_out: u64,
}

impl DigestDue {
    /// Whether something waits for it.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.rows > 0 || self.left_out > 0
    }
}

/// One line of a digest: which alert, and what is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestLine {
    /// Which.
    pub alert: AlertKey,
    /// What.
    pub held: Deferred,
}

/// What a digest says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DigestNotice {
    /// When it should have gone out.
    pub due: Wall,
    /// It goes out more than five minutes later, because the collector did not run then or its clock was in doubt.
    pub is_late: bool,
    /// When the last one went out.
    pub since: Option<Wall>,
    /// Held and still on, most urgent first.
    pub still_on: Vec<DigestLine>,
    /// Held and ended by itself.
    pub ended: Vec<DigestLine>,
    /// Open alerts of other receivers that a morning must know of: backups and certificates.
    pub attention: Vec<DigestLine>,
    /// Silences and maintenance that run: the reason and the end of each.
    pub mutes: Vec<MuteLine>,
    /// Nodes that are not heard.
    pub silent: Vec<NodeName>,
    /// Nodes named in the settings that never joined.
    pub missing: Vec<NodeName>,
    /// How many rows did not fit.
    pub left_out: u64,
}

/// A silence or maintenance that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteLine {
    /// Number of the mute, or name of the window.
    pub name: String,
    /// Whether it is maintenance.
    pub is_maintenance: bool,
    /// Why.
    pub reason: String,
    /// Until when; `None` for a window whose end is unknown.
    pub until: Option<Wall>,
}

impl DigestNotice {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.still_on.is_empty()
            && self.ended.is_empty()
            && self.attention.is_empty()
            && self.mutes.is_empty()
            && self.silent.is_empty()
            && self.missing.is_empty()
            && self.left_out == 0
    }
}
