//! What civil times mean, minute by minute and without any reckoning of zones: for tests.
//!
//! All that is asked of a zone is what its clock shows at a minute. An event of a civil time has happened, by its first
//! showing, once the clock has been as far; by its last, once it will never go back to before it. That holds in folds and
//! in gaps alike.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::CivilSecond;
use vigie_core::time::Wall;

pub(crate) const MINUTE_MS: i64 = 60_000;

pub(crate) const DAY_MINUTES: i64 = 1_440;

/// A clock on the wall from one midnight in UTC to another.
pub(crate) struct Clock {
    from: i64,
    furthest: Vec<i64>,
    earliest_left: Vec<i64>,
}

/// Zones are values in core; a test takes them from the machine like the programs do.
#[expect(clippy::disallowed_methods, reason = "the test plays the program")]
pub(crate) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

pub(crate) fn at(text: &str) -> Wall {
    Wall::parse(text).unwrap()
}

pub(crate) fn day(date: Date) -> i64 {
    CivilSecond::of(date.into()).day()
}

/// Minutes of the clock with which a date begins.
pub(crate) fn midnight(date: Date) -> i64 {
    day(date) * DAY_MINUTES
}

/// The minute that an instant lies in.
pub(crate) fn minute(at: Wall) -> i64 {
    at.0.div_euclid(MINUTE_MS)
}

impl Clock {
    pub(crate) fn new(zone: &TimeZone, from: Date, to: Date) -> Self {
        let (from, to) = (midnight(from), midnight(to));
        let shown = |minute: i64| {
            let instant = Timestamp::from_second(minute * 60).unwrap();
            minute + i64::from(zone.to_offset(instant).seconds()).div_euclid(60)
        };
        let shown: Vec<i64> = (from..to).map(shown).collect();
        let mut furthest = shown.clone();
        for at in 1..furthest.len() {
            furthest[at] = furthest[at].max(furthest[at - 1]);
        }
        let mut earliest_left = shown;
        for at in (1..earliest_left.len()).rev() {
            earliest_left[at - 1] = earliest_left[at - 1].min(earliest_left[at]);
        }
        Self {
            from,
            furthest,
            earliest_left,
        }
    }

    /// Its minutes, counted from 1970 in UTC.
    pub(crate) fn minutes(&self) -> Range<i64> {
        self.from..self.from + self.furthest.len() as i64
    }

    /// The latest time that it has shown by this minute.
    pub(crate) fn furthest(&self, minute: i64) -> i64 {
        self.furthest[(minute - self.from) as usize]
    }

    /// The earliest time that it shows in this minute or will later.
    pub(crate) fn earliest_left(&self, minute: i64) -> i64 {
        self.earliest_left[(minute - self.from) as usize]
    }

    /// The minutes from the first that shows a time from `from` on, to the last that shows one before `to`.
    pub(crate) fn span(&self, from: i64, to: i64) -> Range<i64> {
        let start = self.furthest.partition_point(|shown| *shown < from) as i64;
        let end = self.earliest_left.partition_point(|shown| *shown < to) as i64;
        self.from + start..self.from + end.max(start)
    }
}
