//! The entries lane on disk: every line of evidence from the moment it has its place in the chain until the collector
//! has confirmed it.
//!
//! # Design constraints
//!
//! 1. **Synced before anything else happens.** [`Spool::append`] returns [`Appended::Durable`] only once the line would
//!    survive a power failure; nothing takes it away before [`Spool::acknowledge`].
//! 2. **The chain goes on when the disk does not.** If a line cannot be made durable (full, read-only, failing, at its
//!    bound) it waits in a bounded ring in memory, is sent from there like any other, and is written to disk, in order
//!    and before newer lines, as soon as that works again. When the ring overflows the oldest lines go and
//!    [`Spool::take_lost`] says which, so that the caller can leave a line about it in the chain.
//! 3. **The head outlives the lines.** `head` is written with each line, also with one that is only in memory, so a
//!    restart never gives a number twice. On opening the higher of `head` and the last line on disk counts.
//! 4. **Opening never fails.** A directory that cannot be used gives a spool in memory and the reason. It stays in
//!    memory until the next start: lines that turned up later would belong to another part of the chain.
//! 5. **Writing the chain anew is atomic.** [`Spool::rebase`] writes the lines to a log beside the old one; the write
//!    of `head` decides which one counts.
//! 6. Lines are opaque bytes here, hashed and never re-serialised.
//!
//! # Files
//!
//! ```text
//! head                       slot file: generation u64 | head: seq u64, sha256 | last acknowledged line: seq u64, sha256
//! lines-00000001/            append log of generation 1: a record's payload is the line
//! quarantine/<seq>-<sha256>  lines the collector refused
//! ```
//! Every call blocks on the disk; the caller runs the spool on a blocking thread. It may be dropped at any moment.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use vigie_core::{
    digest::Digest,
    entry::{Head, LINE_LEN_MAX, Line},
    frame::Encoding,
};
use vigie_platform::{
    append_log::{self, AppendLog, Damage, ReadError},
    disk::Disk,
    error_chain::chain,
    slot_file::SlotFile,
};

mod head_file;
mod quarantine;
mod rebase;
mod recovery;
mod ring;
#[cfg(test)]
pub(crate) mod tests;

pub use quarantine::QuarantineError;
pub use rebase::Rewrite;
pub use recovery::Recovery;
pub use ring::Lost;

use head_file::State;
use ring::Ring;

/// Only the agent enters its directories.
const DIR_MODE: u32 = 0o700;

/// Lines written between two syncs when the ring is brought to disk: bounds what a failing sync makes us repeat.
const FLUSH_LINES: usize = 64;

/// How big the spool may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of the lines on disk.
    pub log: append_log::Limits,
    /// Most lines in the ring.
    pub ring_lines_max: usize,
    /// Most bytes in the ring.
    pub ring_bytes_max: usize,
    /// Most files in quarantine; the oldest go first.
    pub quarantine_files_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log: append_log::Limits {
                segment_bytes: 1024 * 1024,
                // Some 150,000 lines: months of a flapping node without a collector.
                live_bytes_max: 64 * 1024 * 1024,
                // Some 40,000 lines on a disk that somebody else has filled.
                reserve_bytes: 16 * 1024 * 1024,
                payload_len_max: LINE_LEN_MAX,
            },
            ring_lines_max: 4096,
            // Usual lines are 400 bytes; this keeps 4,096 of the longest from taking 64 MiB of the agent's memory.
            ring_bytes_max: 4 * 1024 * 1024,
            quarantine_files_max: 64,
        }
    }
}

/// Whether a line would survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk.
    Durable,
    /// It is in the ring only; [`Spool::degraded`] says why.
    InMemory,
}

/// A line the spool does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendLineError {
    /// It does not come after the head.
    #[error("line {seq} does not come after line {head}, the chain's head")]
    NotAfterHead {
        /// Its number.
        seq: u64,
        /// The head's.
        head: u64,
    },
    /// It is longer than a line may be.
    #[error("line {seq} has {len} bytes, more than {max}")]
    TooLong {
        /// Its number.
        seq: u64,
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
}

/// Why an acknowledgement was not taken, or not made durable.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// Nobody can have received what was never written.
    #[error("line {seq} was acknowledged, but the last one written is {head}")]
    BeyondHead {
        /// The number acknowledged.
        seq: u64,
        /// The head's.
        head: u64,
    },
    /// It counts until the next start, when the lines are sent again; space is not given back before it is durable.
    #[error("cannot make the acknowledgement of line {seq} durable")]
    NotDurable {
        /// The number acknowledged.
        seq: u64,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The entries lane.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Limits,
    /// `None` when the spool is in memory only.
    store: Option<Store>,
    head: Head,
    acknowledged: Head,
    ring: Ring,
    lost: VecDeque<Lost>,
    degraded: Option<String>,
}

#[derive(Debug)]
struct Store {
    state: SlotFile,
    generation: u64,
    log: AppendLog,
}

impl Spool {
    /// Opens the spool in `dir`, made if need be. Never fails; see [`Recovery`] for what it had to do.
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, limits: Limits) -> (Self, Recovery) {
        let mut spool = Self {
            disk,
            dir: dir.to_path_buf(),
            limits,
            store: None,
            head: Head::EMPTY,
            acknowledged: Head::EMPTY,
            ring: Ring::default(),
            lost: VecDeque::new(),
            degraded: None,
        };
        let mut recovery = Recovery::default();
        if let Err(reason) = spool.open_store(&mut recovery) {
            // Even where nothing can be written, the head may be readable, and knowing it avoids a break in the chain.
            let state = SlotFile::peek(&*spool.disk, &spool.head_path())
                .as_deref()
                .and_then(State::decode);
            if let Some(state) = state {
                spool.head = state.head;
                spool.acknowledged = state.acknowledged;
            }
            spool.degraded = Some(reason.clone());
            recovery.memory_only = Some(reason);
        }
        (spool, recovery)
    }

    /// The last line of the chain, wherever it is; [`Head::EMPTY`] before the first.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The last line the collector has confirmed. Its digest is [`Digest::ZERO`] if the line itself was damaged.
    #[must_use]
    pub const fn acknowledged(&self) -> Head {
        self.acknowledged
    }

    /// Why the last attempt to make lines durable failed; nothing once one has succeeded.
    #[must_use]
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Lines waiting in memory.
    #[must_use]
    pub fn ring_len(&self) -> usize {
        self.ring.lines.len()
    }

    /// Bytes that wait to be sent, on disk and in memory.
    #[must_use]
    pub fn unsent_bytes(&self) -> u64 {
        let on_disk = self
            .store
            .as_ref()
            .map_or(0, |store| store.log.unread_bytes());
        on_disk + self.ring.bytes as u64
    }

    /// What damage on disk has cost since opening.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.store
            .as_ref()
            .map_or_else(Damage::default, |store| store.log.damage())
    }

    /// The oldest range of lines that are gone unsent and not yet taken.
    pub fn take_lost(&mut self) -> Option<Lost> {
        self.lost.pop_front()
    }

    /// Puts a line at the end of the chain. The head moves even if the disk fails.
    ///
    /// # Errors
    /// Only for a line that can have no place in the chain; a failing disk is [`Appended::InMemory`].
    pub fn append(&mut self, line: Line) -> Result<Appended, AppendLineError> {
        if line.seq <= self.head.seq {
            return Err(AppendLineError::NotAfterHead {
                seq: line.seq,
                head: self.head.seq,
            });
        }
        if line.bytes.len() > self.limits.log.payload_len_max {
            return Err(AppendLineError::TooLong {
                seq: line.seq,
                len: line.bytes.len(),
                max: self.limits.log.payload_len_max,
            });
        }
        self.head = line.head();
        self.ring.push(line);
        self.flush_ring();
        self.ring.bound(&self.limits, &mut self.lost);
        // The log is the authority while it holds the line; a head that could not be written is written again with
        // the next line, and before anything is removed.
        if let Err(error) = self.write_state()
            && self.degraded.is_none()
            && !self.ring.lines.is_empty()
        {
            self.degraded = Some(chain(&*error));
        }
        Ok(if self.ring.lines.is_empty() {
            Appended::Durable
        } else {
            Appended::InMemory
        })
    }

    /// Tries to bring the lines in memory to disk; for a caller that has no new line to append.
    pub fn flush(&mut self) -> Appended {
        self.flush_ring();
        if self.ring.lines.is_empty() && self.store.is_some() {
            Appended::Durable
        } else {
            Appended::InMemory
        }
    }

    /// The oldest lines the collector has not confirmed: at most `lines_max`, and no more once they exceed
    /// `bytes_max`, but at least one if there is one.
    ///
    /// # Errors
    /// When the disk cannot be read now; nothing is lost by it.
    pub fn unsent(&self, lines_max: usize, bytes_max: usize) -> Result<Vec<Line>, ReadError> {
        self.lines_after(self.acknowledged.seq, lines_max, bytes_max)
    }

    /// Like [`Self::unsent`], but after line `seq`: for a collector whose head is behind what it has confirmed.
    /// Confirmed lines are here until their segment is removed.
    ///
    /// # Errors
    /// When the disk cannot be read now.
    pub fn lines_after(
        &self,
        seq: u64,
        lines_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Line>, ReadError> {
        let mut lines: Vec<Line> = Vec::new();
        if let Some(store) = &self.store {
            let records = store.log.read(seq, lines_max, bytes_max)?;
            lines.extend(records.into_iter().map(line_of));
            let after = lines.last().map_or(seq, |line| line.seq);
            if !store.log.read(after, 1, 0)?.is_empty() {
                return Ok(lines);
            }
        }
        let mut bytes: usize = lines.iter().map(|line| line.bytes.len()).sum();
        for line in self.ring.lines.iter().filter(|line| line.seq > seq) {
            bytes += line.bytes.len();
            if lines.len() >= lines_max || (bytes > bytes_max && !lines.is_empty()) {
                break;
            }
            lines.push(line.clone());
        }
        Ok(lines)
    }

    /// Whether a chain that ends with `head` is a beginning of this one, as far as this node can still tell.
    ///
    /// # Errors
    /// When the disk cannot be read now: then it is not known, which is not a no.
    pub fn contains(&self, head: Head) -> Result<bool, ReadError> {
        if head == self.head || (head == self.acknowledged && head != Head::EMPTY) {
            return Ok(true);
        }
        if head == Head::EMPTY {
            // Then everything has to be sent, so the first line must still be here.
            let first = self.lines_after(0, 1, 0)?;
            return Ok(first.first().is_some_and(|line| line.seq == 1));
        }
        let line = self.line(head.seq)?;
        Ok(line.is_some_and(|line| line.head() == head))
    }

    /// The collector has everything up to line `seq`.
    ///
    /// # Errors
    /// When that is impossible, or could not be made durable.
    pub fn acknowledge(&mut self, seq: u64) -> Result<(), AcknowledgeError> {
        if seq > self.head.seq {
            return Err(AcknowledgeError::BeyondHead {
                seq,
                head: self.head.seq,
            });
        }
        if seq <= self.acknowledged.seq {
            return Ok(());
        }
        let sha256 = if seq == self.head.seq {
            self.head.sha256
        } else {
            let line = self.line(seq).ok().flatten();
            line.map_or(Digest::ZERO, |line| line.sha256)
        };
        self.acknowledged = Head { seq, sha256 };
        self.ring.drop_up_to(seq);
        if let Some(store) = &mut self.store {
            store.log.acknowledge(seq);
        }
        let not_durable = |source| AcknowledgeError::NotDurable { seq, source };
        // First the head file, which must know the head before the line that proves it may go.
        self.write_state().map_err(not_durable)?;
        if let Some(store) = &mut self.store {
            store
                .log
                .persist_cursor()
                .map_err(|error| not_durable(Box::new(error)))?;
        }
        Ok(())
    }

    fn head_path(&self) -> PathBuf {
        self.dir.join("head")
    }

    fn generation_dir(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("lines-{generation:08}"))
    }

    /// The line with number `seq`, confirmed or not, if it is still here and intact.
    fn line(&self, seq: u64) -> Result<Option<Line>, ReadError> {
        if let Some(line) = self.ring.lines.iter().find(|line| line.seq == seq) {
            return Ok(Some(line.clone()));
        }
        let (Some(store), Some(before)) = (&self.store, seq.checked_sub(1)) else {
            return Ok(None);
        };
        let found = store
            .log
            .read(before, 1, 0)?
            .into_iter()
            .map(line_of)
            .next();
        Ok(found.filter(|line| line.seq == seq))
    }

    fn flush_ring(&mut self) {
        let Some(store) = &mut self.store else { return };
        while !self.ring.lines.is_empty() {
            let written = self
                .ring
                .lines
                .iter()
                .take(FLUSH_LINES)
                .try_for_each(|line| store.log.append(line.seq, Encoding::PLAIN, &line.bytes))
                .and_then(|()| store.log.sync());
            // Also after an error some may have been committed, where a segment was full.
            self.ring.drop_up_to(store.log.last_seq());
            if let Err(error) = written {
                self.degraded = Some(chain(&error));
                return;
            }
        }
        self.degraded = None;
    }

    fn write_state(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        let state = State {
            generation: store.generation,
            head: self.head,
            acknowledged: self.acknowledged,
        };
        Ok(store.state.write(&state.encode())?)
    }
}

fn line_of(record: append_log::Record) -> Line {
    Line {
        seq: record.seq,
        sha256: Digest::of(&record.payload),
        bytes: record.payload,
    }
}
