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

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vigie_core::digest::Digest;
use vigie_core::entry::{Head, LINE_LEN_MAX, Line};
use vigie_core::frame::Encoding;
use vigie_platform::append_log::{self, AppendLog, Damage, ReadError};
use vigie_platform::atomic_file::{self, ReplaceError};
use vigie_platform::disk::Disk;
use vigie_platform::slot_file::{Found, SlotFile};

#[cfg(test)]
pub(crate) mod tests;

/// Only the agent enters its directories.
const DIR_MODE: u32 = 0o700;
/// Only the agent reads its lines.
const FILE_MODE: u32 = 0o600;

/// Ranges of lost lines remembered apart; further ones widen the last. The caller takes them at every append.
const LOST_RANGES_MAX: usize = 16;

/// Lines written between two syncs when the ring is brought to disk: bounds what a failing sync makes us repeat.
const FLUSH_LINES: usize = 64;

/// Lines read at a time when the chain is written anew: bounds memory, whatever the backlog.
const REBASE_LINES: usize = 256;
/// And their bytes.
const REBASE_BYTES: usize = 256 * 1024;

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

/// Lines that are gone unsent, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

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

/// A line given to `rewrite` of [`Spool::rebase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite<'a> {
    /// Before the first line: the place to say why the chain is written anew.
    Start,
    /// An unacknowledged line of the old chain.
    Line(&'a Line),
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

/// Why a refused line was not set aside.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The spool does not have it (any more).
    #[error("line {seq} is not in the spool")]
    NotHere {
        /// Its number.
        seq: u64,
    },
    /// It could not be read.
    #[error("cannot read line {seq} to quarantine it")]
    Read {
        /// Its number.
        seq: u64,
        /// What failed.
        #[source]
        source: ReadError,
    },
    /// The directory cannot be used.
    #[error("cannot use quarantine directory {dir}")]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot quarantine line {seq}")]
    Write {
        /// Its number.
        seq: u64,
        /// What failed.
        #[source]
        source: ReplaceError,
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

/// What the head file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    generation: u64,
    head: Head,
    acknowledged: Head,
}

impl State {
    const LEN: usize = 88;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(self.generation.to_le_bytes());
        for head in [self.head, self.acknowledged] {
            bytes.extend(head.seq.to_le_bytes());
            bytes.extend(head.sha256.0);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let head = |at: usize| {
            Some(Head {
                seq: number(at)?,
                sha256: Digest(*bytes.get(at + 8..)?.first_chunk()?),
            })
        };
        Some(Self {
            generation: number(0)?,
            head: head(8)?,
            acknowledged: head(48)?,
        })
    }
}

/// Lines that are not on disk, oldest first.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, line: Line) {
        self.bytes += line.bytes.len();
        self.lines.push_back(line);
    }

    fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.bytes.len();
        Some(line)
    }

    /// Drops the oldest lines of an overfull ring and remembers them.
    fn bound(&mut self, limits: &Limits, lost: &mut VecDeque<Lost>) {
        while self.lines.len() > limits.ring_lines_max || self.bytes > limits.ring_bytes_max {
            let Some(line) = self.pop() else { return };
            let (from, to) = (line.seq, line.seq);
            note_lost(lost, Lost { from, to });
        }
    }

    fn drop_up_to(&mut self, seq: u64) {
        while self.lines.front().is_some_and(|line| line.seq <= seq) {
            self.pop();
        }
    }
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

    /// Keeps a copy of a line the collector refused, before it is acknowledged away. Doing it twice changes nothing.
    ///
    /// # Errors
    /// When the line is gone or the copy could not be written.
    pub fn quarantine(&mut self, seq: u64) -> Result<(), QuarantineError> {
        let line = self
            .line(seq)
            .map_err(|source| QuarantineError::Read { seq, source })?
            .ok_or(QuarantineError::NotHere { seq })?;
        let dir = self.dir.join("quarantine");
        let unusable = |source| QuarantineError::Dir {
            dir: dir.clone(),
            source,
        };
        self.disk.create_dir(&dir, DIR_MODE).map_err(unusable)?;
        let name = format!("{seq:020}-{}", line.sha256);
        let mut names = self.disk.list(&dir).map_err(unusable)?;
        names.retain(|other| *other != name);
        let kept = self.limits.quarantine_files_max.saturating_sub(1);
        for old in names.iter().take(names.len().saturating_sub(kept)) {
            self.disk.unlink(&dir.join(old)).map_err(unusable)?;
        }
        atomic_file::replace(&*self.disk, &dir.join(name), &line.bytes, FILE_MODE)
            .map_err(|source| QuarantineError::Write { seq, source })
    }

    /// Continues the chain after `head`, which is the collector's: every unacknowledged line is given to `rewrite`
    /// with the head it has to follow, and what it returns takes its place. [`Rewrite::Start`] comes first.
    ///
    /// After a crash the spool holds the old chain or the new one. If the new one cannot be written to disk it is kept
    /// in memory until the next start and [`Appended::InMemory`] is returned; `rewrite` is then called from the start
    /// again, so it must not keep count. A line it returns that does not follow is left out.
    pub fn rebase(
        &mut self,
        head: Head,
        rewrite: &mut dyn FnMut(Head, Rewrite<'_>) -> Option<Line>,
    ) -> Appended {
        match self.rebase_on_disk(head, rewrite) {
            Ok(()) => {
                self.degraded = None;
                Appended::Durable
            }
            Err(reason) => {
                let mut ring = Ring::default();
                // Bounded line by line: the backlog on disk is many times what the ring may take of memory.
                let limits = self.limits;
                let mut lost = std::mem::take(&mut self.lost);
                // If even reading fails, the rest of the lines stays in the old chain on disk for the next start.
                let new_head = self
                    .rewrite_lines(head, rewrite, &mut |line| {
                        ring.push(line);
                        ring.bound(&limits, &mut lost);
                        Ok(())
                    })
                    .unwrap_or_else(|_| ring.lines.back().map_or(head, Line::head));
                self.store = None;
                self.head = new_head;
                self.acknowledged = head;
                self.ring = ring;
                self.lost = lost;
                self.degraded = Some(reason);
                Appended::InMemory
            }
        }
    }

    fn head_path(&self) -> PathBuf {
        self.dir.join("head")
    }

    fn generation_dir(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("lines-{generation:08}"))
    }

    /// Opens head file and log; the error is the reason the spool stays in memory.
    fn open_store(&mut self, recovery: &mut Recovery) -> Result<(), String> {
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

    fn generations(&self) -> Vec<u64> {
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

    /// Feeds `rewrite` and hands each resulting line to `keep`; returns the new chain's head.
    fn rewrite_lines(
        &self,
        head: Head,
        rewrite: &mut dyn FnMut(Head, Rewrite<'_>) -> Option<Line>,
        keep: &mut dyn FnMut(Line) -> Result<(), String>,
    ) -> Result<Head, String> {
        let mut new_head = head;
        let mut put = |rewritten: Option<Line>, new_head: &mut Head| match rewritten {
            Some(line) if line.seq > new_head.seq => {
                *new_head = line.head();
                keep(line)
            }
            _ => Ok(()),
        };
        put(rewrite(new_head, Rewrite::Start), &mut new_head)?;
        let mut after = self.acknowledged.seq;
        loop {
            let lines = self
                .lines_after(after, REBASE_LINES, REBASE_BYTES)
                .map_err(|error| chain(&error))?;
            let Some(last) = lines.last() else {
                return Ok(new_head);
            };
            after = last.seq;
            for line in &lines {
                put(rewrite(new_head, Rewrite::Line(line)), &mut new_head)?;
            }
        }
    }

    fn rebase_on_disk(
        &mut self,
        head: Head,
        rewrite: &mut dyn FnMut(Head, Rewrite<'_>) -> Option<Line>,
    ) -> Result<(), String> {
        let Some(mut old) = self.store.as_ref().map(|store| store.generation) else {
            return Err(self
                .degraded
                .clone()
                .unwrap_or_else(|| "the spool is in memory only".to_owned()));
        };
        // Leftovers of an earlier attempt hold numbers of another chain.
        old = old.max(self.generations().into_iter().max().unwrap_or(0));
        let generation = old + 1;
        let dir = self.generation_dir(generation);
        let open = || AppendLog::open(Arc::clone(&self.disk), &dir, self.limits.log);
        let mut opened = open();
        while opened.is_err()
            && self
                .store
                .as_mut()
                .is_some_and(|store| store.log.release_spare())
        {
            opened = open();
        }
        let (mut log, _) = opened.map_err(|error| chain(&error))?;
        if let Some(store) = &mut self.store {
            // A full disk has no room for a second log beside the first, except for the room kept for such days; its
            // first bytes came from a spare given up above.
            log.take_reserve_of(&mut store.log);
        }
        log.acknowledge(head.seq);
        let mut unsynced = 0;
        let written = self
            .rewrite_lines(head, rewrite, &mut |line| {
                log.append(line.seq, Encoding::PLAIN, &line.bytes)
                    .map_err(|error| chain(&error))?;
                unsynced += 1;
                if unsynced % FLUSH_LINES == 0 {
                    log.sync().map_err(|error| chain(&error))?;
                }
                Ok(())
            })
            .and_then(|new_head| log.sync().map(|()| new_head).map_err(|error| chain(&error)))
            .and_then(|new_head| {
                log.persist_cursor()
                    .map(|()| new_head)
                    .map_err(|error| chain(&error))
            })
            .and_then(|new_head| {
                self.disk
                    .sync_dir(&self.dir)
                    .map(|()| new_head)
                    .map_err(|error| format!("cannot sync {}: {error}", self.dir.display()))
            });
        let new_head = match written {
            Ok(new_head) => new_head,
            Err(reason) => {
                log.destroy();
                return Err(reason);
            }
        };
        let Some(mut store) = self.store.take() else {
            return Err("the spool is in memory only".to_owned());
        };
        let state = State {
            generation,
            head: new_head,
            acknowledged: head,
        };
        if let Err(error) = store.state.write(&state.encode()) {
            // It may be durable all the same: both logs stay, and the head file decides at the next start.
            self.store = Some(store);
            return Err(chain(&error));
        }
        self.head = new_head;
        self.acknowledged = head;
        self.ring = Ring::default();
        self.store = Some(Store {
            state: store.state,
            generation,
            log,
        });
        store.log.destroy();
        Ok(())
    }
}

fn note_lost(known: &mut VecDeque<Lost>, lost: Lost) {
    let is_full = known.len() >= LOST_RANGES_MAX;
    match known.back_mut() {
        Some(last) if is_full || last.to.saturating_add(1) == lost.from => last.to = lost.to,
        _ => known.push_back(lost),
    }
}

fn line_of(record: append_log::Record) -> Line {
    Line {
        seq: record.seq,
        sha256: Digest::of(&record.payload),
        bytes: record.payload,
    }
}

/// An error and its causes on one line, for reasons that outlive the error.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
