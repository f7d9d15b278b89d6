//! The read model: what is known of the fleet, in types, for whoever shows it: `status`, the page behind a link, metrics,
//! previews, one day pages and an API.
//!
//! A view is a value, built by a pure function from a [`Basis`]; it decides nothing and nothing decides by it. One question
//! per file: [`fleet`] (everything at once), [`node`], [`sender`], [`alert`], [`service`], [`on_call`], [`mute`],
//! [`digest`]; [`story`] is what the log says of an alert, as far as a reader needs to understand it. Building one costs
//! time in proportion to nodes plus alerts, times the groups of the rules, and never to their product.
//!
//! Their JSON is what `--json` prints and what travels over `admin.sock`. Users' scripts read it: a member keeps its name
//! and its meaning, new ones may come, and [`Version`] grows when that cannot be kept.

pub mod alert;
pub mod digest;
pub mod fleet;
pub mod mute;
pub mod node;
pub mod on_call;
pub mod sender;
pub mod service;
pub mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{fleet::State, presence::LastHeard, routing::Policy};
use vigie_core::{id::NodeName, time::Wall};

/// The version of the views' JSON.
pub const VERSION: u64 = 1;

/// [`VERSION`], as it stands in each form by the name `v`. No other version reads as this one, so that what an older or
/// newer collector says is refused rather than understood by half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            VERSION => Ok(Self),
            other => Err(de::Error::custom(format!(
                "version {other} of a form of which this program knows version {VERSION}"
            ))),
        }
    }
}

/// What views are built from: what is in the log, the rules in force, who is heard, and the time.
#[derive(Debug, Clone, Copy)]
pub struct Basis<'a> {
    /// What is known, as it is on disk.
    pub state: &'a State,
    /// The rules in force, and their zones.
    pub policy: &'a Policy,
    /// When nodes were heard. One that is missing here has not been heard since the collector's start.
    pub heard: &'a BTreeMap<NodeName, LastHeard>,
    /// As of when.
    pub at: Wall,
}

impl Basis<'_> {
    /// When a node was last heard, and whether it counts as silent.
    #[must_use]
    pub fn last_heard(&self, node: &NodeName) -> LastHeard {
        self.heard.get(node).copied().unwrap_or_default()
    }
}
