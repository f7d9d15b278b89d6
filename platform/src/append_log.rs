//! A log of framed records on a [`Disk`]: appended at one end, read from a cursor, removed at the other end.
//!
//! # Design constraints
//!
//! 1. **What was committed stays.** A record is committed once [`AppendLog::append`] and then [`AppendLog::sync`]
//!    returned `Ok`. It survives any crash until the cursor has passed it. Damage to a file costs the records it hit
//!    and no other.
//! 2. **Opening always succeeds** if the directory can be listed, whatever the files hold, and so does reading. A torn
//!    tail is cut, a damaged middle is skipped to the next intact header and counted, an unreadable sector reads as
//!    damage. No loop depends on what a file says: each pass moves forward.
//! 3. **Cursor before unlink.** A segment is removed only after a cursor beyond it is durable ([`SlotFile`]), so a
//!    crash never leaves a cursor that points before the first segment, and a lost cursor only means that records are
//!    read again.
//! 4. **A failed write or sync is never retried as clean.** Its segment is closed at the last committed byte, and the
//!    next record opens a new one. What was not committed is the caller's to append again; a part of it may still come
//!    back after a restart, always with the same number and bytes, because numbers are never given twice.
//! 5. **Room is kept for bad days.** Besides the live segments there are spare ones, allocated when the disk had
//!    space. New segments are allocated while that works and come from the spares when it does not. Spares are wiped
//!    before use, so no record of a former life is ever read.
//! 6. **Bounded.** Live segments never exceed [`Limits::live_bytes_max`]; then appending fails and the caller decides
//!    ([`AppendLog::drop_oldest`] or keeping the record elsewhere). Memory does not depend on the backlog: files are
//!    read through a window of one record.
//! 7. One writer. The log takes no lock; the owner of the directory does.
//!
//! # Files
//!
//! ```text
//! cursor                                   SlotFile: number of the last record that is done with, u64 little endian
//! 000000000007-00000000000000001841.log    a segment: its ordinal, and a number no record in it is below
//! 000000000009.spare                       an allocated segment without content
//! ```
//! A segment is frames ([`vigie_core::frame`]) one after the other from byte 0, then zeros. Numbers rise strictly
//! through a log; gaps are fine. Calls block; a crash or a dropped log at any moment is harmless.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vigie_core::frame::{self, Encoding, HEADER_LEN};

use crate::{
    disk::{Disk, File},
    error_chain::chain,
    slot_file::{Found, SlotError, SlotFile},
};

mod segment;
#[cfg(test)]
mod tests;

use segment::{Seen, Segment, wipe};

/// Only the owner reads and writes what is in the log.
const FILE_MODE: u32 = 0o600;
/// Only the owner enters the directory.
const DIR_MODE: u32 = 0o700;

/// How big a log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of one segment; space is given back in this unit.
    pub segment_bytes: u64,
    /// Most bytes of segments that hold records.
    pub live_bytes_max: u64,
    /// Bytes kept allocated in spare segments for when the disk is full.
    pub reserve_bytes: u64,
    /// The longest record; at most a segment without a header.
    pub payload_len_max: usize,
}

/// What opening found and did. A log that was never damaged has only `last_seq` and `acknowledged` to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Number of the last intact record, if the newest segments hold one.
    pub last_seq: Option<u64>,
    /// Number of the last record that is done with; 0 if none is known.
    pub acknowledged: u64,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// The cursor was damaged: all records still in the log will be read again.
    pub is_cursor_lost: bool,
    /// Why something that opening wants to repair could not be repaired; the log works without.
    pub unrepaired: Vec<String>,
}

/// What damage cost so far, counted when the cursor passes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// Places where records were skipped.
    pub places: u64,
    /// Bytes skipped there.
    pub bytes: u64,
}

/// One record, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// How `payload` is encoded.
    pub encoding: Encoding,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

/// What [`AppendLog::drop_oldest`] gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Records that had not been acknowledged.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// Why a directory cannot hold a log.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The limits contradict each other.
    #[error(
        "limits of append log {dir}: a record of {payload_len_max} bytes does not fit a segment of {segment_bytes}"
    )]
    Limits {
        /// The log's directory.
        dir: PathBuf,
        /// The longest record asked for.
        payload_len_max: usize,
        /// The segment size asked for.
        segment_bytes: u64,
    },
    /// The directory cannot be made or listed.
    #[error("cannot use directory {dir} for an append log")]
    Dir {
        /// The log's directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The cursor file can be neither read nor made.
    #[error("cannot open the cursor of an append log")]
    Cursor(#[source] SlotError),
}

/// Why a record was not appended or not committed.
///
/// After any error but [`AppendError::NotAfter`] and [`AppendError::TooLong`] everything since the last `Ok` of
/// [`AppendLog::sync`] is uncommitted; [`AppendLog::last_seq`] says where to go on.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Numbers rise strictly.
    #[error("record {seq} does not come after {last}")]
    NotAfter {
        /// The number that was refused.
        seq: u64,
        /// The last number in the log.
        last: u64,
    },
    /// Longer than the limits allow.
    #[error("record {seq} has {len} bytes, more than {max}")]
    TooLong {
        /// The record's number.
        seq: u64,
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The log has reached its bound; the disk may have space.
    #[error("append log {dir} holds {live_bytes} bytes, its limit")]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// Bytes of its live segments.
        live_bytes: u64,
    },
    /// No new segment could be had, neither new nor spare.
    #[error("cannot open a new segment in {dir}")]
    NewSegment {
        /// The log's directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write to segment {path}")]
    Write {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Syncing failed.
    #[error("cannot sync segment {path}")]
    Sync {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why records could not be read now; nothing is lost by it.
#[derive(Debug, thiserror::Error)]
#[error("cannot open segment {path} for reading")]
pub struct ReadError {
    /// The segment.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Why the cursor was not made durable; no segment was removed then.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the cursor of an append log durable")]
pub struct CursorError(#[source] pub SlotError);

/// The log.
#[derive(Debug)]
pub struct AppendLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Limits,
    /// Oldest first. The last one is being written if `active` is open.
    segments: VecDeque<Segment>,
    /// The last segment's file; `None` after a failure and before the first record.
    active: Option<Box<dyn File>>,
    spares: Vec<PathBuf>,
    next_ordinal: u64,
    cursor: SlotFile,
    acknowledged: u64,
    /// Where reading begins: the first record after `acknowledged` is not before this.
    position: Position,
    /// Number of the last record written, committed or not.
    written_seq: u64,
    /// Number of the last committed record.
    committed_seq: u64,
    damage: Damage,
}

/// A place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Position {
    ordinal: u64,
    offset: u64,
}

impl AppendLog {
    /// Opens the log in `dir`, making the directory if need be, and repairs what a crash left.
    ///
    /// # Errors
    /// Only when the directory or the cursor file cannot be used at all; never because of what the files hold.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        limits: Limits,
    ) -> Result<(Self, Recovery), OpenLogError> {
        if limits.segment_bytes < (limits.payload_len_max + HEADER_LEN) as u64 {
            return Err(OpenLogError::Limits {
                dir: dir.to_path_buf(),
                payload_len_max: limits.payload_len_max,
                segment_bytes: limits.segment_bytes,
            });
        }
        let unusable = |source| OpenLogError::Dir {
            dir: dir.to_path_buf(),
            source,
        };
        disk.create_dir(dir, DIR_MODE).map_err(unusable)?;
        let names = disk.list(dir).map_err(unusable)?;
        let (cursor, found) =
            SlotFile::open(&*disk, &dir.join("cursor")).map_err(OpenLogError::Cursor)?;
        let acknowledged = match &found {
            Found::Value(value) => value.as_slice().try_into().ok().map(u64::from_le_bytes),
            Found::Nothing | Found::Damaged => None,
        };

        let mut log = Self {
            disk,
            dir: dir.to_path_buf(),
            limits,
            segments: VecDeque::new(),
            active: None,
            spares: Vec::new(),
            next_ordinal: 1,
            cursor,
            acknowledged: acknowledged.unwrap_or(0),
            position: Position::default(),
            written_seq: 0,
            committed_seq: 0,
            damage: Damage::default(),
        };
        for name in &names {
            log.adopt(name);
        }
        let segments = log.segments.make_contiguous();
        segments.sort_unstable_by_key(|segment| segment.ordinal);
        for index in 1..segments.len() {
            segments[index - 1].ceiling = segments[index].first_seq;
        }

        let mut recovery = Recovery {
            acknowledged: log.acknowledged,
            is_cursor_lost: acknowledged.is_none() && found != Found::Nothing,
            ..Recovery::default()
        };
        log.recover_tail(&mut recovery);
        log.committed_seq = recovery.last_seq.unwrap_or(0).max(log.acknowledged);
        log.written_seq = log.committed_seq;
        log.skip_acknowledged();
        if let Err(error) = log.fill_reserve() {
            recovery
                .unrepaired
                .push(format!("reserve is short: {error}"));
        }
        Ok((log, recovery))
    }

    /// Adds a record; it is committed by the next [`Self::sync`] that returns `Ok`.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(
        &mut self,
        seq: u64,
        encoding: Encoding,
        payload: &[u8],
    ) -> Result<(), AppendError> {
        if seq <= self.written_seq {
            return Err(AppendError::NotAfter {
                seq,
                last: self.written_seq,
            });
        }
        let too_long = AppendError::TooLong {
            seq,
            len: payload.len(),
            max: self.limits.payload_len_max,
        };
        if payload.len() > self.limits.payload_len_max {
            return Err(too_long);
        }
        let mut bytes = Vec::new();
        if frame::encode(seq, encoding, payload, &mut bytes).is_err() {
            return Err(too_long);
        }
        let fits = self.active.is_some()
            && self
                .segments
                .back()
                .is_some_and(|last| last.written + bytes.len() as u64 <= self.limits.segment_bytes);
        if !fits {
            // The old segment is committed before a record can stand in the new one, so a crash cannot leave a hole.
            self.sync()?;
            self.start_segment(seq)?;
        }
        let (Some(file), Some(segment)) = (&self.active, self.segments.back_mut()) else {
            return Err(AppendError::NewSegment {
                dir: self.dir.clone(),
                source: io::ErrorKind::NotFound.into(),
            });
        };
        if let Err(source) = file.write_at(&bytes, segment.written) {
            let path = segment.path.clone();
            self.abandon_uncommitted();
            return Err(AppendError::Write { path, source });
        }
        segment.written += bytes.len() as u64;
        self.written_seq = seq;
        Ok(())
    }

    /// Commits every record appended so far.
    ///
    /// # Errors
    /// When the disk did not confirm; then the records since the last `Ok` are uncommitted and must be appended again.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        let (Some(file), Some(segment)) = (&self.active, self.segments.back_mut()) else {
            return Ok(());
        };
        if segment.written == segment.end {
            return Ok(());
        }
        if let Err(source) = file.sync() {
            let path = segment.path.clone();
            self.abandon_uncommitted();
            return Err(AppendError::Sync { path, source });
        }
        segment.end = segment.written;
        self.committed_seq = self.written_seq;
        Ok(())
    }

    /// Committed records after number `after`, oldest first: at most `records_max`, and no more once their payloads
    /// exceed `bytes_max`, but at least one if there is one.
    ///
    /// Fast for `after` at or beyond the cursor. Records that are already acknowledged are found as long as their
    /// segment exists.
    ///
    /// # Errors
    /// When a segment cannot be opened for a reason that may pass (no descriptors, no memory).
    pub fn read(
        &self,
        after: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let mut records: Vec<Record> = Vec::new();
        if records_max == 0 {
            return Ok(records);
        }
        let mut bytes = 0;
        let mut floor = after;
        let start = if after >= self.acknowledged {
            self.position
        } else {
            Position::default()
        };
        for (index, segment) in self.segments.iter().enumerate() {
            let is_before = self
                .segments
                .get(index + 1)
                .is_some_and(|next| next.first_seq <= after.saturating_add(1));
            if segment.ordinal < start.ordinal || is_before {
                continue;
            }
            let offset = if segment.ordinal == start.ordinal {
                start.offset
            } else {
                0
            };
            let mut is_enough = false;
            segment.walk(
                &*self.disk,
                offset,
                self.limits.payload_len_max,
                &mut |seen| {
                    let Seen::Record { record, .. } = seen else {
                        return true;
                    };
                    if record.seq <= floor {
                        return true;
                    }
                    bytes += record.payload.len();
                    if records.len() == records_max || (bytes > bytes_max && !records.is_empty()) {
                        is_enough = true;
                        return false;
                    }
                    floor = record.seq;
                    records.push(Record {
                        seq: record.seq,
                        encoding: record.encoding,
                        payload: record.payload.to_vec(),
                    });
                    true
                },
            )?;
            if is_enough {
                break;
            }
        }
        Ok(records)
    }

    /// Moves the cursor in memory: records up to `seq` are done with. Going back is ignored.
    ///
    /// Space is given back by the next [`Self::persist_cursor`].
    pub fn acknowledge(&mut self, seq: u64) {
        if seq > self.acknowledged {
            self.acknowledged = seq;
            self.written_seq = self.written_seq.max(seq);
            self.committed_seq = self.committed_seq.max(seq);
            self.skip_acknowledged();
        }
    }

    /// Makes the cursor durable and then removes the segments before it.
    ///
    /// # Errors
    /// When the cursor could not be written; then nothing is removed, and the records before it may be read again
    /// after a restart.
    pub fn persist_cursor(&mut self) -> Result<(), CursorError> {
        self.cursor
            .write(&self.acknowledged.to_le_bytes())
            .map_err(CursorError)?;
        self.remove_passed_segments();
        Ok(())
    }

    /// Gives up the oldest segment, read or not, and makes that durable; `None` if there is no segment.
    ///
    /// # Errors
    /// When the cursor could not be written; then nothing is dropped.
    pub fn drop_oldest(&mut self) -> Result<Option<Dropped>, CursorError> {
        // Records under way are committed or given back to the caller before anything is counted.
        let _ = self.sync();
        let Some(oldest) = self.segments.front() else {
            return Ok(None);
        };
        let mut dropped = Dropped {
            records: 0,
            bytes: 0,
        };
        let mut floor = self.acknowledged;
        // An unreadable segment is dropped all the same: that is what the caller asked for.
        let _ = oldest.walk(&*self.disk, 0, self.limits.payload_len_max, &mut |seen| {
            if let Seen::Record { record, .. } = seen
                && record.seq > floor
            {
                floor = record.seq;
                dropped.records += 1;
                dropped.bytes += record.payload.len() as u64;
            }
            true
        });
        if self.segments.len() == 1 {
            self.active = None;
            let floor_all = floor.max(self.committed_seq);
            self.cursor
                .write(&floor_all.to_le_bytes())
                .map_err(CursorError)?;
            self.acknowledge(floor_all);
            self.written_seq = self.committed_seq;
        } else {
            self.cursor
                .write(&floor.to_le_bytes())
                .map_err(CursorError)?;
            self.acknowledge(floor);
        }
        if let Some(segment) = self.segments.pop_front() {
            self.retire(&segment);
        }
        self.skip_acknowledged();
        Ok(Some(dropped))
    }

    /// Number of the last committed record, or of the cursor if that is beyond; 0 for an empty log.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.committed_seq
    }

    /// Number up to which records are done with.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Bytes in use by records, acknowledged ones in a segment that still exists included.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// Bytes between the cursor and the end.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        let unread = self.segments.iter().map(|segment| {
            if segment.ordinal < self.position.ordinal {
                0
            } else if segment.ordinal == self.position.ordinal {
                segment.end.saturating_sub(self.position.offset)
            } else {
                segment.end
            }
        });
        unread.sum()
    }

    /// Bytes allocated and waiting for a full disk.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        self.spares.len() as u64 * self.limits.segment_bytes
    }

    /// What damage has cost since the log was opened.
    #[must_use]
    pub const fn damage(&self) -> Damage {
        self.damage
    }

    /// Takes spare segments of another log until this one's reserve is whole, for when a log is written anew on a
    /// full disk.
    pub fn take_reserve_of(&mut self, other: &mut Self) {
        while self.reserve_bytes() < self.limits.reserve_bytes
            && other.limits.segment_bytes == self.limits.segment_bytes
        {
            let Some(from) = other.spares.pop() else {
                return;
            };
            let to = self.next_spare_path();
            if self.disk.rename(&from, &to).is_err() {
                other.spares.push(from);
                return;
            }
            self.spares.push(to);
        }
    }

    /// Gives one spare segment back to the disk; `false` if there is none that can be given.
    pub fn release_spare(&mut self) -> bool {
        self.spares
            .pop()
            .is_some_and(|spare| self.disk.unlink(&spare).is_ok())
    }

    /// Removes everything the log has on disk. What cannot be removed stays; the caller's directory listing shows it.
    pub fn destroy(self) {
        let cursor = self.dir.join("cursor");
        let paths = self
            .segments
            .iter()
            .map(|segment| &segment.path)
            .chain(&self.spares)
            .chain([&cursor]);
        for path in paths {
            let _ = self.disk.unlink(path);
        }
        let _ = self.disk.remove_dir(&self.dir);
    }

    /// Registers a file found in the directory; names that are not ours are left alone.
    fn adopt(&mut self, name: &str) {
        let path = self.dir.join(name);
        let ordinal = if let Some(stem) = name.strip_suffix(".log") {
            let Some((ordinal, first_seq)) = stem.split_once('-') else {
                return;
            };
            let (Ok(ordinal), Ok(first_seq)) = (ordinal.parse(), first_seq.parse()) else {
                return;
            };
            self.segments.push_back(Segment {
                ordinal,
                first_seq,
                path,
                // All of it, until its true end is known.
                end: u64::MAX,
                written: u64::MAX,
                ceiling: u64::MAX,
            });
            ordinal
        } else if let Some(stem) = name.strip_suffix(".spare") {
            let Ok(ordinal) = stem.parse() else {
                return;
            };
            // A crash while it was being allocated leaves a spare that reserves nothing.
            let len = self.disk.open(&path).and_then(|file| file.len());
            if len.is_ok_and(|len| len >= self.limits.segment_bytes) {
                self.spares.push(path);
            } else {
                let _ = self.disk.unlink(&path);
            }
            ordinal
        } else {
            return;
        };
        self.next_ordinal = self.next_ordinal.max(ordinal.saturating_add(1));
    }

    /// Finds the last record, cuts what is after it, and makes the last segment writable again.
    fn recover_tail(&mut self, recovery: &mut Recovery) {
        let last_index = self.segments.len().saturating_sub(1);
        // Before a segment is resumed: a removal of a later, failed segment that is not durable could be undone by a
        // power failure, and that segment's number would then hide what is appended now.
        let names_synced = self.disk.sync_dir(&self.dir);
        for (index, segment) in self.segments.iter_mut().enumerate().rev() {
            let mut tail = segment::Tail::default();
            let walked = segment.walk(&*self.disk, 0, self.limits.payload_len_max, &mut |seen| {
                tail.see(&seen);
                true
            });
            if let Err(error) = walked {
                recovery.unrepaired.push(chain(&error));
                continue;
            }
            if index == last_index {
                let reopened = match &names_synced {
                    Ok(()) => segment.reopen(&*self.disk, &tail, self.limits.segment_bytes),
                    Err(error) => Err(error.kind().into()),
                };
                match reopened {
                    Ok(file) => {
                        self.active = Some(file);
                        recovery.cut_bytes = tail.torn_bytes;
                    }
                    Err(error) => recovery.unrepaired.push(format!(
                        "segment {} is not appended to: {error}",
                        segment.path.display()
                    )),
                }
            }
            segment.end = tail.end;
            segment.written = tail.end;
            if tail.last_seq.is_some() {
                recovery.last_seq = tail.last_seq;
                break;
            }
        }
        // A segment that was never read has its whole length as its end; reading stops at its zeros.
        for segment in &mut self.segments {
            if segment.end == u64::MAX {
                let len = self.disk.open(&segment.path).and_then(|file| file.len());
                segment.end = len.unwrap_or(self.limits.segment_bytes);
                segment.written = segment.end;
            }
        }
    }

    /// Moves the reading position behind the last acknowledged record and counts the damage it passes.
    fn skip_acknowledged(&mut self) {
        for (index, segment) in self.segments.iter().enumerate() {
            if segment.ordinal < self.position.ordinal {
                continue;
            }
            let from = if segment.ordinal == self.position.ordinal {
                self.position.offset
            } else {
                0
            };
            self.position = Position {
                ordinal: segment.ordinal,
                offset: from,
            };
            let mut is_at_unread = false;
            let mut passed = from;
            let mut skipped = Damage::default();
            let mut damage = self.damage;
            let acknowledged = self.acknowledged;
            let walked = segment.walk(
                &*self.disk,
                from,
                self.limits.payload_len_max,
                &mut |seen| {
                    match seen {
                        Seen::Record { record, end } => {
                            if record.seq > acknowledged {
                                is_at_unread = true;
                                return false;
                            }
                            passed = end;
                            damage.places += std::mem::take(&mut skipped.places);
                            damage.bytes += std::mem::take(&mut skipped.bytes);
                        }
                        Seen::Damage { bytes, .. } | Seen::Tail { bytes, .. } => {
                            skipped.places += 1;
                            skipped.bytes += bytes;
                        }
                    }
                    true
                },
            );
            let is_last = index + 1 == self.segments.len();
            let is_passed = walked.is_ok() && !is_at_unread;
            // Damage right before the first unread record is passed once that record is.
            if is_passed && !is_last {
                damage.places += skipped.places;
                damage.bytes += skipped.bytes;
            }
            self.damage = damage;
            self.position.offset = passed;
            if !is_passed || is_last {
                return;
            }
            self.position = Position {
                ordinal: segment.ordinal + 1,
                offset: 0,
            };
        }
    }

    /// Closes the segment being written at its last committed byte.
    fn abandon_uncommitted(&mut self) {
        self.active = None;
        self.written_seq = self.committed_seq;
        if let Some(segment) = self.segments.back_mut() {
            segment.written = segment.end;
        }
    }

    fn start_segment(&mut self, first_seq: u64) -> Result<(), AppendError> {
        self.active = None;
        if self.segments.back().is_some_and(|last| last.end == 0)
            && let Some(failed) = self.segments.pop_back()
        {
            // Nothing in it was committed; repeated failures must not fill the log with empty segments.
            self.retire(&failed);
        }
        let live_bytes = self.segments.len() as u64 * self.limits.segment_bytes;
        if live_bytes + self.limits.segment_bytes > self.limits.live_bytes_max {
            return Err(AppendError::Full {
                dir: self.dir.clone(),
                live_bytes,
            });
        }
        let failed = |dir: &Path, source| AppendError::NewSegment {
            dir: dir.to_path_buf(),
            source,
        };
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let path = self.dir.join(format!("{ordinal:012}-{first_seq:020}.log"));
        let file = match self.allocate(&path) {
            Ok(file) => Ok(file),
            Err(error) => self.wake_spare(&path).unwrap_or(Err(error)),
        }
        .map_err(|source| failed(&self.dir, source))?;
        let segment = Segment {
            ordinal,
            first_seq,
            path,
            end: 0,
            written: 0,
            ceiling: u64::MAX,
        };
        if let Err(source) = self.disk.sync_dir(&self.dir) {
            self.retire(&segment);
            return Err(failed(&self.dir, source));
        }
        if let Some(last) = self.segments.back_mut() {
            last.ceiling = first_seq;
        }
        self.active = Some(file);
        self.segments.push_back(segment);
        Ok(())
    }

    /// Makes a segment's file with all its space, or leaves nothing behind.
    fn allocate(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = self.disk.create(path, FILE_MODE)?;
        let allocated = file
            .preallocate(self.limits.segment_bytes)
            .and_then(|()| file.sync());
        match allocated {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = self.disk.unlink(path);
                Err(error)
            }
        }
    }

    /// Turns a spare into a segment; `None` if there is no spare.
    fn wake_spare(&mut self, path: &Path) -> Option<io::Result<Box<dyn File>>> {
        let spare = self.spares.pop()?;
        let woken = self.disk.open(&spare).and_then(|file| {
            // Under its old name: a segment never shows records of a former life, whatever moment the power goes.
            wipe(&*file, 0, self.limits.segment_bytes)?;
            self.disk.rename(&spare, path)?;
            Ok(file)
        });
        if woken.is_err() {
            self.spares.push(spare);
        }
        Some(woken)
    }

    /// Allocates spares until the reserve is whole.
    fn fill_reserve(&mut self) -> io::Result<()> {
        while self.reserve_bytes() + self.limits.segment_bytes <= self.limits.reserve_bytes {
            let path = self.next_spare_path();
            self.allocate(&path)?;
            self.spares.push(path);
        }
        Ok(())
    }

    fn next_spare_path(&mut self) -> PathBuf {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.dir.join(format!("{ordinal:012}.spare"))
    }

    /// Removes the leading segments whose records all lie before the (durable) cursor. The newest segment with a
    /// record stays: it tells where the numbers stand.
    fn remove_passed_segments(&mut self) {
        let is_passed = |first: &Segment, second: &Segment| {
            first.ordinal < self.position.ordinal
                && second.first_seq <= self.acknowledged.saturating_add(1)
        };
        let newest = self.segments.iter().rposition(|segment| segment.end > 0);
        let passed = self
            .segments
            .iter()
            .zip(self.segments.iter().skip(1))
            .take(newest.unwrap_or(0))
            .take_while(|(first, second)| is_passed(first, second))
            .count();
        let removed: Vec<Segment> = self.segments.drain(..passed).collect();
        for segment in &removed {
            self.retire(segment);
        }
        if passed > 0 {
            // A reserve that was short because the disk was full is filled as soon as it can be.
            let _ = self.fill_reserve();
        }
    }

    /// Makes a segment a spare if the reserve wants one, else removes it. If that fails, it is found again, passed and
    /// retired at a later start.
    fn retire(&mut self, segment: &Segment) {
        if self.reserve_bytes() + self.limits.segment_bytes <= self.limits.reserve_bytes {
            let spare = self.next_spare_path();
            if self.disk.rename(&segment.path, &spare).is_ok() {
                self.spares.push(spare);
            }
        } else {
            let _ = self.disk.unlink(&segment.path);
        }
    }
}
