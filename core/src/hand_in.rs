//! `POST /v1/entries`: how a node hands in what it has to say.
//!
//! The body is lines ended by `\n`: first the contact line ([`crate::contact`]), then lines of evidence in the order of
//! their chain, as the node stored them, byte for byte. It may hold no line of evidence at all: that is a contact.
//! The answer comes once everything is durable. 429 and 5xx may be tried again; `Retry-After` is a floor.

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, entry::Head, log::Checkpoint};

/// Where entries are handed in.
pub const ENTRIES_PATH: &str = "/v1/entries";

/// How many lines of evidence one request may carry: one commit's worth at its usual speed.
pub const LINES_MAX: usize = 512;

/// The largest body, in bytes: the longest contact and 128 lines of the longest kind.
pub const BODY_LEN_MAX: usize = 4 * 1024 * 1024;

/// The answer: 200, once durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesAnswer {
    /// Head of the node's chain as the collector has it on disk: all lines up to it may be forgotten by the node.
    /// When it is neither the node's own head nor a line of its spool, the node takes it over (`agent.amnesia`).
    pub durable: Head,
    /// Lines of this request that could not be taken as lines; `durable` has moved past them all the same.
    #[serde(default)]
    pub refused: Vec<RefusedLine>,
    /// The collector's log: a smaller size than seen before is `collector.rollback`.
    pub log: Checkpoint,
    /// What the collector states; a closed list that runs nothing. None exist yet, and a node ignores those it does not
    /// know.
    #[serde(default)]
    pub statements: Vec<serde_json::Value>,
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLine {
    /// Its number, which the collector gave it by its place.
    pub seq: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}
