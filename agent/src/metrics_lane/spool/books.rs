//! The books of a spool: which records are done with, and which were dropped, each counted once and by its reason.

use super::Spool;
use crate::metrics_lane::record::Reason;

impl Spool {
    /// Gives up one record.
    pub(super) fn drop_one(&mut self, id: u64, reason: Reason) {
        if self.in_flight == Some(id) {
            self.in_flight = None;
            self.dropped_in_flight = Some((id, reason));
        } else if id > self.passed && self.done.end_of(id).is_none() {
            self.count(reason, 1);
        }
        self.pass(id);
    }

    /// Whoever asks for the next record has given the last one back. If that was dropped meanwhile, it is lost now.
    pub(super) fn settle_in_flight(&mut self) {
        self.in_flight = None;
        if let Some((_, reason)) = self.dropped_in_flight.take() {
            self.count(reason, 1);
        }
    }

    pub(super) fn count(&mut self, reason: Reason, records: u64) {
        if records == 0 {
            return;
        }
        match self.drops.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, count)) => *count += records,
            None => self.drops.push((reason, records)),
        }
    }

    /// Records from `first` to `last` are not where they must be.
    pub(super) fn miss(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        self.missing += self.done.insert(first, last);
        self.missing_last = self.missing_last.max(last);
        self.advance();
    }

    pub(super) fn pass(&mut self, id: u64) {
        if id <= self.passed || id > self.newest {
            return;
        }
        if let Some(index) = self.ring.iter().position(|record| record.id == id)
            && let Some(record) = self.ring.remove(index)
        {
            self.ring_bytes -= record.body.len();
        }
        self.done.insert(id, id);
        self.advance();
    }

    /// Moves the cursor behind the last record of the row that is done with.
    pub(super) fn advance(&mut self) {
        let Some(end) = self.done.end_of(self.passed + 1) else {
            return;
        };
        self.passed = end;
        self.done.remove_up_to(end);
        if self.oldest.is_some_and(|(id, _)| id <= end) {
            self.oldest = None;
        }
        let Some(log) = &mut self.log else { return };
        log.acknowledge(end - self.base);
        let places = log.damage().places;
        if places > self.damaged_places {
            self.damaged_places = places;
            let missing = std::mem::take(&mut self.missing);
            self.count(Reason::Damage, missing);
        } else if end > self.missing_last {
            // Numbers that never reached the disk; they were counted when they were dropped from memory.
            self.missing = 0;
        }
    }
}
