//! What keeps a spool within its bounds: the oldest records go, by segment for bytes and free disk, one by one for their age.

use vigie_core::time::{Now, Wall};
use vigie_platform::{append_log::AppendLog, error_chain::chain};

use super::{SEGMENT_BYTES, Spool};
use crate::metrics_lane::record::Reason;

/// How often records are looked at for their age.
const AGE_EVERY_MS: u64 = 60_000;

/// Records dropped for their age at one look; a node that was off for days is spread over some minutes.
const AGED_MAX: usize = 256;

/// Less free space than this, or than a twentieth of the file system if that is less, and the spool stops growing.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

impl Spool {
    /// A clock that went back makes nothing old.
    pub(super) fn is_too_old(&self, at: Wall, wall: Wall) -> bool {
        let age_ms = u64::try_from(wall.0.saturating_sub(at.0)).unwrap_or(0);
        age_ms > self.limits.age_ms
    }

    pub(super) fn mind_age(&mut self, now: Now) {
        if self.waiting() == 0
            || self
                .aged_at
                .is_some_and(|at| now.elapsed.since_ms(at) < AGE_EVERY_MS)
        {
            return;
        }
        self.aged_at = Some(now.elapsed);
        for _ in 0..AGED_MAX {
            // Its time is known without reading it again, mostly.
            if let Some((_, at)) = self.oldest
                && !self.is_too_old(at, now.wall)
            {
                return;
            }
            let Ok(Some(record)) = self.oldest_but(&[]) else {
                return;
            };
            self.oldest = Some((record.id, record.at));
            if self.is_too_old(record.at, now.wall) {
                self.drop_one(record.id, Reason::Age);
            }
        }
    }

    /// Free space decides whether the log may grow, and whether it gives some back.
    pub(super) fn mind_free_space(&mut self) {
        let (Ok(free), Ok(size)) = (
            self.disk.free_bytes(&self.dir),
            self.disk.size_bytes(&self.dir),
        ) else {
            return;
        };
        let floor = FREE_BYTES_MIN.min(size / 20);
        let Some(log) = &self.log else { return };
        let used = log.used_bytes();
        if free >= floor {
            self.growth_cap = None;
            return;
        }
        if self.growth_cap.is_none() {
            self.persist();
        }
        self.growth_cap.get_or_insert(used.max(SEGMENT_BYTES));
        if free < floor / 2 && used > SEGMENT_BYTES && self.drop_segment(Reason::DiskFree) {
            self.growth_cap = self
                .log
                .as_ref()
                .map(|log| log.used_bytes().max(SEGMENT_BYTES));
        }
    }

    /// While free space is short, the oldest segment goes before another is begun.
    pub(super) fn keep_under_cap(&mut self, len: u64) {
        let is_over = |spool: &Self| {
            let used = spool.log.as_ref().map_or(0, AppendLog::used_bytes);
            spool
                .growth_cap
                .is_some_and(|cap| used > SEGMENT_BYTES && used + len > cap)
        };
        if is_over(self) {
            self.persist();
        }
        if is_over(self) {
            self.drop_segment(Reason::DiskFree);
        }
    }

    /// Gives up the oldest segment; false if there is none or the disk does not let it go.
    pub(super) fn drop_segment(&mut self, reason: Reason) -> bool {
        let Some(log) = &mut self.log else {
            return false;
        };
        let dropped = match log.drop_oldest() {
            Ok(Some(dropped)) => dropped,
            Ok(None) => return false,
            Err(error) => {
                self.degraded = Some(chain(&error));
                return false;
            }
        };
        let first = self.passed + 1;
        let last = log.acknowledged() + self.base;
        if last < first {
            return true;
        }
        self.persisted = last;
        let done = self.done.count_within(first, last);
        let mut count = dropped.records.min(last - self.passed - done);
        if let Some(id) = self.in_flight
            && (first..=last).contains(&id)
            && self.done.end_of(id).is_none()
            && count > 0
        {
            self.dropped_in_flight = Some((id, reason));
            self.in_flight = None;
            count -= 1;
        }
        self.count(reason, count);
        self.done.insert(first, last);
        self.advance();
        true
    }
}
