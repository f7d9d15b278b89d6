//! The metrics lane on disk: what one destination has not taken yet.
//!
//! # Design constraints
//!
//! 1. **Bounded by bytes, age and free disk.** The oldest records go first, and each is counted once, by the reason it
//!    went ([`Reason`]). A record is delivered, counted as dropped, or still here: exactly one of the three.
//! 2. **Samples are not evidence.** Whatever the disk does, nothing waits for it for ever and starting never fails: a
//!    record that cannot be made durable waits in a bounded ring in memory and is written, in order, once the disk takes
//!    it. A directory that cannot be used is tried again with each record.
//! 3. **Sent ahead is remembered.** Fresh records are sent before the backlog. Those that were taken are remembered as
//!    ranges, so that the backlog passes them over.
//! 4. **The cursor is lazy.** It is written at most once a minute and at the stop. A crash sends a little again, which
//!    changes nothing at a receiver: a sample is its series and its time.
//! 5. Bodies are opaque here, compressed once for all destinations and never opened.
//!
//! # Files, in `metrics` or `metrics-<name>`
//!
//! ```text
//! *.log, cursor   append log; a record's payload is: wall clock of its samples, ms, i64 little endian | snappy block
//! quarantine/     bodies that the destination refused
//! ```
//! Every call blocks on the disk; the caller runs it on a thread of its own. It may be dropped at any moment.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::Serialize;
use vigie_core::{
    frame::Encoding,
    time::{Elapsed, Now, Wall},
};
use vigie_platform::{
    append_log::{self, AppendError, AppendLog, ReadError},
    disk::Disk,
    error_chain::chain,
};

use super::{
    config::Limits,
    quarantine,
    ranges::Ranges,
    record::{Reason, Record},
};

mod books;
mod bounds;
#[cfg(test)]
mod tests;

/// Size of a segment: what is allocated ahead, and the unit in which the oldest records go.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// The longest body kept on disk: ten thousand series take about half of it. Reading works through a window this long.
pub(super) const BODY_LEN_MAX: usize = 512 * 1024;

/// In front of each body: its time.
const PREFIX_LEN: usize = 8;

/// Bodies kept in memory while the disk takes none: half an hour of five hundred series.
const RING_BYTES_MAX: usize = 1024 * 1024;

/// Numbers of a spool that could not be opened begin here, above any that a directory can hold.
const MEMORY_BASE: u64 = 1 << 40;

/// The cursor is written no more often than this.
const PERSIST_EVERY_MS: u64 = 60_000;

impl Limits {
    const fn log(self) -> append_log::Limits {
        append_log::Limits {
            segment_bytes: SEGMENT_BYTES,
            live_bytes_max: self.bytes,
            reserve_bytes: 0,
            payload_len_max: BODY_LEN_MAX + PREFIX_LEN,
        }
    }
}

/// What the spool holds, for a status page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct View {
    /// Records that wait.
    pub records: u64,
    /// Their bytes, on disk and in memory.
    pub bytes: u64,
    /// Records that are only in memory.
    pub memory_records: u64,
    /// When the oldest that waits was taken, as far as known.
    pub oldest_at: Option<Wall>,
    /// Why records are in memory only, if they are.
    pub degraded: Option<String>,
}

/// What opening had to repair; all of it is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Recovery {
    /// Why records are in memory only for now.
    pub(super) memory_only: Option<String>,
    /// What was cut or could not be repaired, in words.
    pub(super) repaired: Vec<String>,
}

/// The spool of one destination.
#[derive(Debug)]
pub(super) struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Limits,
    /// `None` while the directory cannot be used.
    log: Option<AppendLog>,
    /// A record's number here is its number in the log plus this.
    base: u64,
    /// Records that are not on disk, oldest first.
    ring: VecDeque<Record>,
    ring_bytes: usize,
    /// The last number given.
    newest: u64,
    /// Every record up to here is done with.
    passed: u64,
    /// Records above that are done with too.
    done: Ranges,
    /// The record that was handed out last and is neither done with nor given back.
    in_flight: Option<u64>,
    /// That record, if it was dropped meanwhile: it counts only if it is not delivered.
    dropped_in_flight: Option<(u64, Reason)>,
    /// Records not found where they must be, and the last of them: damage, if the log says so.
    missing: u64,
    missing_last: u64,
    damaged_places: u64,
    /// The oldest that waits.
    oldest: Option<(u64, Wall)>,
    drops: Vec<(Reason, u64)>,
    degraded: Option<String>,
    /// Bytes on disk beyond which nothing grows while free space is short.
    growth_cap: Option<u64>,
    /// `passed` as the cursor has it.
    persisted: u64,
    persisted_at: Elapsed,
    aged_at: Option<Elapsed>,
    /// Reused for each payload.
    payload: Vec<u8>,
}

impl Spool {
    /// Opens the spool in `dir`, made if need be. Never fails.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, limits: Limits) -> (Self, Recovery) {
        let mut spool = Self {
            disk,
            dir: dir.to_path_buf(),
            limits,
            log: None,
            base: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            newest: MEMORY_BASE,
            passed: MEMORY_BASE,
            done: Ranges::default(),
            in_flight: None,
            dropped_in_flight: None,
            missing: 0,
            missing_last: 0,
            damaged_places: 0,
            oldest: None,
            drops: Vec::new(),
            degraded: None,
            growth_cap: None,
            persisted: 0,
            persisted_at: Elapsed(0),
            aged_at: None,
            payload: Vec::new(),
        };
        let mut recovery = Recovery::default();
        match AppendLog::open(Arc::clone(&spool.disk), dir, limits.log()) {
            Ok((log, found)) => {
                recovery.repaired = found.unrepaired;
                if found.cut_bytes > 0 {
                    let text = format!("{} bytes of a torn tail were cut", found.cut_bytes);
                    recovery.repaired.push(text);
                }
                if found.is_cursor_lost {
                    let text = "the cursor was damaged, records are sent again".to_owned();
                    recovery.repaired.push(text);
                }
                spool.newest = log.last_seq();
                spool.passed = log.acknowledged();
                spool.persisted = spool.passed;
                spool.damaged_places = log.damage().places;
                spool.log = Some(log);
            }
            Err(error) => {
                let reason = chain(&error);
                spool.degraded = Some(reason.clone());
                recovery.memory_only = Some(reason);
            }
        }
        (spool, recovery)
    }

    /// The last number given; the next record has one more.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// Records up to here are done with.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes other limits from now on, as far as they can change while the log is open: its size at the next start.
    pub(super) const fn set_limits(&mut self, limits: Limits) {
        self.limits.age_ms = limits.age_ms;
    }

    /// Records that wait.
    pub(super) fn waiting(&self) -> u64 {
        (self.newest - self.passed).saturating_sub(self.done.len())
    }

    /// What there is.
    pub(super) fn view(&self) -> View {
        let on_disk = self.log.as_ref().map_or(0, AppendLog::unread_bytes);
        let records = self.waiting();
        View {
            records,
            bytes: if records == 0 {
                0
            } else {
                on_disk + self.ring_bytes as u64
            },
            memory_records: self.ring.len() as u64,
            oldest_at: self.oldest.filter(|_| records > 0).map(|(_, at)| at),
            degraded: self.degraded.clone(),
        }
    }

    /// Takes what was dropped since the last time, by reason.
    pub(super) fn take_drops(&mut self) -> Vec<(Reason, u64)> {
        std::mem::take(&mut self.drops)
    }

    /// Keeps a record: on disk, or in memory while the disk does not work. Numbers left out are done with.
    pub(super) fn append(&mut self, record: Record, now: Now) {
        if record.id <= self.newest {
            return;
        }
        if record.id > self.newest + 1 {
            self.done.insert(self.newest + 1, record.id - 1);
        }
        self.newest = record.id;
        self.advance();
        if self.waiting() == 1 {
            self.oldest = Some((record.id, record.at));
        }
        self.ring_bytes += record.body.len();
        self.ring.push_back(record);
        self.mind_free_space();
        self.flush();
        while self.ring_bytes > RING_BYTES_MAX
            && let Some(oldest) = self.pop_ring()
        {
            self.drop_one(oldest.id, Reason::Memory);
        }
        self.mind_age(now);
        self.persist_now_and_then(now.elapsed);
    }

    /// The oldest record that waits and is not in `skip`.
    ///
    /// # Errors
    /// When the disk cannot be read now; nothing is lost by it.
    pub(super) fn next(&mut self, skip: &[u64], wall: Wall) -> Result<Option<Record>, ReadError> {
        self.settle_in_flight();
        loop {
            let Some(record) = self.oldest_but(skip)? else {
                return Ok(None);
            };
            if skip.is_empty() {
                self.oldest = Some((record.id, record.at));
            }
            if self.is_too_old(record.at, wall) {
                self.drop_one(record.id, Reason::Age);
                continue;
            }
            self.in_flight = Some(record.id);
            return Ok(Some(record));
        }
    }

    /// A record was taken by its destination, or set aside for good.
    pub(super) fn done(&mut self, id: u64) {
        if self.in_flight == Some(id) {
            self.in_flight = None;
        }
        if self.dropped_in_flight.is_some_and(|(other, _)| other == id) {
            self.dropped_in_flight = None;
        }
        self.pass(id);
    }

    /// A record that its destination refuses: kept apart for somebody to look at, and counted.
    pub(super) fn refuse(&mut self, record: &Record) -> Result<(), quarantine::KeepError> {
        let dir = self.dir.join("quarantine");
        let kept = quarantine::keep(&*self.disk, &dir, record);
        let was_dropped = self
            .dropped_in_flight
            .is_some_and(|(id, _)| id == record.id);
        let waits = record.id > self.passed && self.done.end_of(record.id).is_none();
        if waits || was_dropped {
            self.count(Reason::Refused, 1);
        }
        self.done(record.id);
        kept
    }

    /// Writes the cursor if it is due.
    pub(super) fn persist_now_and_then(&mut self, now: Elapsed) {
        if now.since_ms(self.persisted_at) >= PERSIST_EVERY_MS {
            self.persist();
            self.persisted_at = now;
        }
    }

    /// Writes the cursor, and gives back the space before it.
    pub(super) fn persist(&mut self) {
        let Some(log) = self.log.as_mut().filter(|_| self.persisted != self.passed) else {
            return;
        };
        match log.persist_cursor() {
            Ok(()) => self.persisted = self.passed,
            // Tried again in a minute; until then no space is given back, and nothing is lost.
            Err(error) => self.degraded = Some(chain(&error)),
        }
    }

    /// Removes the spool with all it holds.
    pub(super) fn destroy(mut self) -> u64 {
        let waiting = self.waiting();
        quarantine::clear(&*self.disk, &self.dir.join("quarantine"));
        if let Some(log) = self.log.take() {
            log.destroy();
        }
        waiting
    }

    /// The oldest record that waits and is not in `skip`, whatever its age.
    fn oldest_but(&mut self, skip: &[u64]) -> Result<Option<Record>, ReadError> {
        let mut after = self.passed;
        loop {
            if let Some(end) = self.done.end_of(after + 1) {
                after = end;
                continue;
            }
            if skip.contains(&(after + 1)) {
                after += 1;
                continue;
            }
            let (Some(log), Some(last)) = (&self.log, self.last_on_disk()) else {
                return Ok(self.oldest_in_ring(after, skip));
            };
            if after >= last {
                return Ok(self.oldest_in_ring(after, skip));
            }
            let read = log.read(after - self.base, 1, usize::MAX)?;
            let Some(found) = read.into_iter().next() else {
                // All that is left on disk cannot be read.
                self.miss(after + 1, last);
                after = last;
                continue;
            };
            let id = found.seq + self.base;
            self.miss(after + 1, id - 1);
            if skip.contains(&id) || self.done.end_of(id).is_some() || id <= self.passed {
                after = id;
                continue;
            }
            let Some(at) = found.payload.first_chunk::<PREFIX_LEN>() else {
                self.drop_one(id, Reason::Damage);
                after = id;
                continue;
            };
            if found.encoding != Encoding::SNAPPY {
                self.drop_one(id, Reason::Damage);
                after = id;
                continue;
            }
            let at = Wall(i64::from_le_bytes(*at));
            let body = Bytes::from(found.payload).slice(PREFIX_LEN..);
            return Ok(Some(Record { id, at, body }));
        }
    }

    fn oldest_in_ring(&self, after: u64, skip: &[u64]) -> Option<Record> {
        let waits = |record: &&Record| record.id > after && !skip.contains(&record.id);
        self.ring.iter().find(waits).cloned()
    }

    fn last_on_disk(&self) -> Option<u64> {
        Some(self.log.as_ref()?.last_seq() + self.base)
    }

    /// Brings what is in memory to disk, one record and one sync at a time, so that a sync that fails leaves no doubt
    /// about which records it was.
    fn flush(&mut self) {
        if let Err(reason) = self.open_late() {
            self.degraded = Some(reason);
            return;
        }
        while let Some(record) = self.ring.front() {
            let (id, at, body) = (record.id, record.at, record.body.clone());
            if let Err(error) = self.write(id, at, &body) {
                self.degraded = Some(chain(&error));
                return;
            }
            self.pop_ring();
        }
        self.degraded = None;
    }

    fn write(&mut self, id: u64, at: Wall, body: &[u8]) -> Result<(), AppendError> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        payload.extend_from_slice(&at.0.to_le_bytes());
        payload.extend_from_slice(body);
        let written = self.write_payload(id, &payload);
        self.payload = payload;
        written
    }

    fn write_payload(&mut self, id: u64, payload: &[u8]) -> Result<(), AppendError> {
        self.keep_under_cap(payload.len() as u64);
        let mut is_cursor_written = false;
        loop {
            let Some(log) = &mut self.log else {
                return Ok(());
            };
            match log.append(id - self.base, Encoding::SNAPPY, payload) {
                Ok(()) => return log.sync(),
                Err(AppendError::Full { .. }) if !is_cursor_written => {
                    is_cursor_written = true;
                    self.persist();
                }
                Err(error @ AppendError::Full { .. }) => {
                    if !self.drop_segment(Reason::Bytes) {
                        return Err(error);
                    }
                }
                // It stands there already, or can never stand there: nothing to try again.
                Err(AppendError::NotAfter { .. } | AppendError::TooLong { .. }) => {
                    self.drop_one(id, Reason::Damage);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the log if that failed before. What it holds comes before what is in memory.
    fn open_late(&mut self) -> Result<(), String> {
        if self.log.is_some() {
            return Ok(());
        }
        let opened = AppendLog::open(Arc::clone(&self.disk), &self.dir, self.limits.log());
        let (log, _) = opened.map_err(|error| chain(&error))?;
        let first = self
            .ring
            .front()
            .map_or(self.newest + 1, |record| record.id);
        self.base = (first - 1).saturating_sub(log.last_seq());
        self.passed = log.acknowledged() + self.base;
        self.persisted = self.passed;
        self.damaged_places = log.damage().places;
        self.log = Some(log);
        Ok(())
    }

    fn pop_ring(&mut self) -> Option<Record> {
        let record = self.ring.pop_front()?;
        self.ring_bytes -= record.body.len();
        Some(record)
    }
}
