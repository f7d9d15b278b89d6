//! The collector's log as this node last saw it, kept across restarts, so that a shorter one is noticed.
//!
//! A slot file: it changes with every answer and must stay writable on a full disk. Where it cannot be had at all the
//! checkpoint lives as long as the process. Blocks on the disk.

use std::path::Path;

use tracing::warn;
use vigie_core::log::Checkpoint;
use vigie_platform::{
    disk::Disk,
    slot_file::{Found, SlotFile},
};

use super::Rollback;

/// The last checkpoint and its file.
#[derive(Debug)]
pub struct CheckpointFile {
    file: Option<SlotFile>,
    last: Option<Checkpoint>,
    trouble_is_known: bool,
}

impl CheckpointFile {
    /// Opens the file, or does without.
    #[must_use]
    pub fn open(disk: &dyn Disk, path: &Path) -> Self {
        let (file, last) = match SlotFile::open(disk, path) {
            Ok((file, Found::Value(value))) => (Some(file), serde_json::from_slice(&value).ok()),
            Ok((file, Found::Nothing | Found::Damaged)) => (Some(file), None),
            Err(error) => {
                warn!(%error, "the collector's checkpoint is kept in memory only");
                (None, None)
            }
        };
        Self {
            file,
            last,
            trouble_is_known: false,
        }
    }

    /// Whether a log that stands at `now` is not a continuation of the one seen before, as far as its size tells.
    #[must_use]
    pub fn rollback_to(&self, now: Checkpoint) -> Option<Rollback> {
        let last = self.last?;
        let is_other = now.size == last.size && now.root != last.root;
        (now.size < last.size || is_other).then_some(Rollback {
            had_size: last.size,
            size: now.size,
        })
    }

    /// Remembers `now`, durably if the disk allows.
    pub fn remember(&mut self, now: Checkpoint) {
        if self.last == Some(now) {
            return;
        }
        self.last = Some(now);
        let (Some(file), Ok(value)) = (&mut self.file, serde_json::to_vec(&now)) else {
            return;
        };
        match file.write(&value) {
            Ok(()) => self.trouble_is_known = false,
            Err(error) if !self.trouble_is_known => {
                self.trouble_is_known = true;
                warn!(%error, "the collector's checkpoint cannot be written");
            }
            Err(_) => {}
        }
    }

    /// The last checkpoint, if there is one.
    #[must_use]
    pub const fn last(&self) -> Option<Checkpoint> {
        self.last
    }
}
