//! Opening: which log counts, what was damaged, and one truth of head file and log.
//!
//! What cannot be repaired is told and left; it is tried again at the next start.

use std::sync::Arc;

use vigie_core::{digest::Digest, entry::Head};
use vigie_platform::{
    append_log::AppendLog,
    error_chain::chain,
    slot_file::{Found, SlotFile},
};

use super::{
    DIR_MODE, Spool, Store,
    head_file::State,
    ring::{Lost, note_lost},
};

/// What opening found. `Recovery::default()` plus a head is an uneventful start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Why the spool is in memory only, if it is.
    pub memory_only: Option<String>,
    /// The head file was damaged; the head is the last line on disk, or unknown.
    pub is_head_lost: bool,
    /// The cursor was damaged: lines the collector may know will be sent again.
    pub is_cursor_lost: bool,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// What could not be repaired, in words for the agent's log; the spool works without.
    pub unrepaired: Vec<String>,
}

impl Spool {
    /// Opens head file and log; the error is the reason the spool stays in memory.
    pub(super) fn open_store(&mut self, recovery: &mut Recovery) -> Result<(), String> {
        self.disk
            .create_dir(&self.dir, DIR_MODE)
            .map_err(|error| format!("cannot make {}: {error}", self.dir.display()))?;
        let (state_file, found) =
            SlotFile::open(&*self.disk, &self.head_path()).map_err(|error| chain(&error))?;
        let state = match &found {
            Found::Value(value) => State::decode(value),
            Found::Nothing | Found::Damaged => None,
        };
        recovery.is_head_lost = state.is_none() && found != Found::Nothing;
        let generations = self.generations();
        let generation = match &state {
            Some(state) => state.generation,
            None => self.newest_with_lines(&generations),
        };
        let (log, log_recovery) = AppendLog::open(
            Arc::clone(&self.disk),
            &self.generation_dir(generation),
            self.limits.log,
        )
        .map_err(|error| chain(&error))?;
        // The log's directory must be there after a crash, before a line in it is called durable.
        self.disk
            .sync_dir(&self.dir)
            .map_err(|error| format!("cannot sync {}: {error}", self.dir.display()))?;
        recovery.is_cursor_lost = log_recovery.is_cursor_lost;
        recovery.cut_bytes = log_recovery.cut_bytes;
        recovery.unrepaired = log_recovery.unrepaired;
        self.store = Some(Store {
            state: state_file,
            generation,
            log,
        });
        self.settle_heads(state, log_recovery.last_seq);
        if state.is_some() {
            // Only now that the head file is known to be durable: it says that the others do not count.
            for other in generations.into_iter().filter(|other| *other != generation) {
                self.remove_generation(other);
            }
        }
        Ok(())
    }

    /// Makes one truth of the head file and the log.
    fn settle_heads(&mut self, state: Option<State>, last_seq: Option<u64>) {
        let (head, acknowledged) = state.map_or((Head::EMPTY, Head::EMPTY), |state| {
            (state.head, state.acknowledged)
        });
        self.head = head;
        self.acknowledged = acknowledged;
        let Some(store) = &mut self.store else { return };
        store.log.acknowledge(acknowledged.seq);
        if store.log.acknowledged() > acknowledged.seq {
            self.acknowledged = Head {
                seq: store.log.acknowledged(),
                sha256: Digest::ZERO,
            };
        }
        let on_disk = store.log.last_seq();
        if last_seq.is_some_and(|seq| seq > head.seq)
            && let Ok(Some(line)) = self.line(on_disk)
        {
            self.head = line.head();
        }
        if self.head.seq > on_disk {
            // They were in memory only, or damage took them.
            let lost = Lost {
                from: on_disk + 1,
                to: self.head.seq,
            };
            note_lost(&mut self.lost, lost);
        }
    }

    pub(super) fn generations(&self) -> Vec<u64> {
        let names = self.disk.list(&self.dir).unwrap_or_default();
        names
            .iter()
            .filter_map(|name| name.strip_prefix("lines-")?.parse().ok())
            .collect()
    }

    /// Which log counts when the head file does not say.
    fn newest_with_lines(&self, generations: &[u64]) -> u64 {
        let mut limits = self.limits.log;
        limits.reserve_bytes = 0;
        let mut newest_first = generations.to_vec();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        newest_first
            .iter()
            .copied()
            .find(|generation| {
                let dir = self.generation_dir(*generation);
                AppendLog::open(Arc::clone(&self.disk), &dir, limits)
                    .is_ok_and(|(log, _)| log.last_seq() > 0)
            })
            .or_else(|| newest_first.first().copied())
            .unwrap_or(1)
    }

    /// Best effort: what stays is removed at a later start.
    fn remove_generation(&self, generation: u64) {
        let dir = self.generation_dir(generation);
        for name in self.disk.list(&dir).unwrap_or_default() {
            let _ = self.disk.unlink(&dir.join(name));
        }
        let _ = self.disk.remove_dir(&dir);
    }
}
