//! One segment file: walking its records through a bounded window, and finding and cutting its tail.

use std::io;
use std::path::PathBuf;

use vigie_core::frame::{self, HEADER_LEN, Item};

use super::ReadError;
use crate::disk::{Disk, File};

/// Unit in which an unreadable file is read: the page, which is what one bad sector costs.
const PAGE: usize = 4096;

/// Least bytes read at a time, so that small records do not mean many reads.
const WINDOW_LEN_MIN: usize = 32 * 1024;

/// What is known of a segment without reading it.
#[derive(Debug)]
pub(super) struct Segment {
    /// Segments are read in this order; never given twice.
    pub(super) ordinal: u64,
    /// No record in it is below this.
    pub(super) first_seq: u64,
    /// Its file.
    pub(super) path: PathBuf,
    /// Bytes that may be read: committed, or found by recovery.
    pub(super) end: u64,
    /// Bytes written; beyond `end` while a commit is under way.
    pub(super) written: u64,
    /// Records from this number on are in later segments; what this one holds of them is left from a failed commit.
    pub(super) ceiling: u64,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// An intact record and where it ends in the segment.
    Record { record: frame::Record<'a>, end: u64 },
    /// Bytes skipped in front of something intact.
    Damage { bytes: u64, end: u64 },
    /// Bytes at the end, not all zero, that are no record.
    Tail { bytes: u64, end: u64 },
}

/// Where the intact part of a segment ends, learnt from a walk over all of it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Behind the last intact record.
    pub(super) end: u64,
    /// Number of that record.
    pub(super) last_seq: Option<u64>,
    /// Bytes after it that are no record.
    pub(super) torn_bytes: u64,
    /// Behind those.
    pub(super) torn_end: u64,
}

impl Tail {
    /// Takes the next thing of the walk into account.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Record { record, end } => {
                *self = Self {
                    end: *end,
                    last_seq: self.last_seq.max(Some(record.seq)),
                    torn_bytes: 0,
                    torn_end: *end,
                };
            }
            Seen::Damage { bytes, end } | Seen::Tail { bytes, end } => {
                self.torn_bytes += bytes;
                self.torn_end = *end;
            }
        }
    }
}

impl Segment {
    /// Shows `visit` what stands from `offset` on, until it returns `false` or the segment ends.
    ///
    /// A file that is gone or broken for good has no records; that is no error, so it cannot block the log.
    pub(super) fn walk(
        &self,
        disk: &dyn Disk,
        offset: u64,
        payload_len_max: usize,
        visit: &mut dyn FnMut(Seen<'_>) -> bool,
    ) -> Result<(), ReadError> {
        if offset >= self.end {
            return Ok(());
        }
        let opened = disk.open(&self.path).and_then(|file| {
            let len = file.len()?;
            Ok((file, len))
        });
        let (file, len) = match opened {
            Ok(opened) => opened,
            Err(source) if may_pass(&source) => {
                return Err(ReadError {
                    path: self.path.clone(),
                    source,
                });
            }
            Err(_) => {
                visit(Seen::Damage {
                    bytes: if self.end == u64::MAX {
                        0
                    } else {
                        self.end - offset
                    },
                    end: offset,
                });
                return Ok(());
            }
        };
        let end = self.end.min(len);
        let window_len = (payload_len_max + HEADER_LEN).max(WINDOW_LEN_MIN);
        let mut window = Vec::new();
        let mut at = offset;
        let mut gap = Gap::at(offset);
        while at < end {
            let wanted = usize::try_from(end - at).map_or(window_len, |rest| rest.min(window_len));
            read_window(&*file, at, wanted, &mut window);
            let place = Window {
                bytes: &window,
                at,
                is_last: at + wanted as u64 >= end,
            };
            let mut below_ceiling = |seen: Seen<'_>| match seen {
                Seen::Record { record, .. } if record.seq >= self.ceiling => true,
                seen => visit(seen),
            };
            match place.walk(payload_len_max, &mut gap, &mut below_ceiling) {
                Some(next) => at = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Opens the segment for appending behind its last record.
    ///
    /// What a power failure left behind that record is wiped, so that it is not met again. The records themselves are
    /// written once more: after a failed sync and a restart the page cache may show some that the disk does not have.
    pub(super) fn reopen(
        &self,
        disk: &dyn Disk,
        tail: &Tail,
        segment_bytes: u64,
    ) -> io::Result<Box<dyn File>> {
        let file = disk.open(&self.path)?;
        file.preallocate(segment_bytes)?;
        let mut window = vec![0; WINDOW_LEN_MIN];
        let mut at = 0;
        while at < tail.end {
            let wanted =
                usize::try_from(tail.end - at).map_or(window.len(), |n| n.min(window.len()));
            let read = file.read_at(&mut window[..wanted], at)?;
            if read == 0 {
                break;
            }
            file.write_at(&window[..read], at)?;
            at += read as u64;
        }
        if tail.torn_end > tail.end {
            wipe(&*file, tail.end, tail.torn_end)?;
        }
        file.sync()?;
        Ok(file)
    }
}

/// Bytes since the last record that are none themselves, gathered over windows: one place is one place, however long.
#[derive(Debug, Clone, Copy)]
struct Gap {
    start: u64,
    /// Behind its last byte that is not zero; `start` while there is none. Zeros at the end of a segment are no damage.
    noise_end: u64,
}

impl Gap {
    const fn at(start: u64) -> Self {
        Self {
            start,
            noise_end: start,
        }
    }
}

/// A part of a segment in memory.
#[derive(Debug)]
struct Window<'a> {
    bytes: &'a [u8],
    /// Where it begins in the segment.
    at: u64,
    /// Whether it ends where the segment ends.
    is_last: bool,
}

impl Window<'_> {
    /// Decodes the window. Returns where the next one begins, or `None` when there is none or `visit` has seen enough.
    fn walk(
        &self,
        payload_len_max: usize,
        gap: &mut Gap,
        visit: &mut dyn FnMut(Seen<'_>) -> bool,
    ) -> Option<u64> {
        let mut next = self.at;
        for item in frame::decode(self.bytes, payload_len_max) {
            match item {
                Item::Record(record) => {
                    let start = self.at + record.offset as u64;
                    let end = self.at + record.end() as u64;
                    let gap_bytes = start - gap.start;
                    *gap = Gap::at(end);
                    let damage = Seen::Damage {
                        bytes: gap_bytes,
                        end: start,
                    };
                    if (gap_bytes > 0 && !visit(damage)) || !visit(Seen::Record { record, end }) {
                        return None;
                    }
                    next = end;
                }
                Item::Damage {
                    offset,
                    skipped_bytes,
                    ..
                } => {
                    next = self.at + (offset + skipped_bytes) as u64;
                    gap.noise_end = next;
                }
                // In a window that is not the last it is looked at again, from `next`.
                Item::TornTail { .. } => {}
            }
        }
        if !self.is_last && next > self.at {
            return Some(next);
        }
        let rest = usize::try_from(next - self.at).unwrap_or(usize::MAX);
        let noise = self.bytes.iter().rposition(|&byte| byte != 0);
        if let Some(last) = noise.filter(|&last| last >= rest) {
            gap.noise_end = self.at + last as u64 + 1;
        }
        if !self.is_last {
            // A window is long enough for any record, so this one holds only noise or zeros; a header may still begin
            // in its last bytes.
            return Some(self.at + (self.bytes.len() - (HEADER_LEN - 1)) as u64);
        }
        if gap.noise_end > gap.start {
            visit(Seen::Tail {
                bytes: gap.noise_end - gap.start,
                end: gap.noise_end,
            });
        }
        None
    }
}

/// Fills `window` with `len` bytes at `at`. What the disk cannot read reads as zeros, which no checksum accepts.
fn read_window(file: &dyn File, at: u64, len: usize, window: &mut Vec<u8>) {
    window.clear();
    window.resize(len, 0);
    if file.read_at(window, at).is_ok() {
        return;
    }
    window.fill(0);
    let mut done = 0;
    while done < len {
        let page_rest = PAGE - usize::try_from((at + done as u64) % PAGE as u64).unwrap_or(0);
        let chunk_end = len.min(done + page_rest);
        if file
            .read_at(&mut window[done..chunk_end], at + done as u64)
            .is_err()
        {
            window[done..chunk_end].fill(0);
        }
        done = chunk_end;
    }
}

/// Overwrites a range with zeros, durably.
pub(super) fn wipe(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; PAGE];
    let mut at = from;
    while at < to {
        let chunk = usize::try_from(to - at).map_or(PAGE, |rest| rest.min(PAGE));
        file.write_at(&zeros[..chunk], at)?;
        at += chunk as u64;
    }
    file.sync()
}

/// Whether opening may succeed later without anybody repairing the file.
fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::AGAIN)
    )
}
