//! Civil times as instants, and instants as civil times. Pure; seconds.
//!
//! A clock on the wall shows most times of a zone once, some twice (the fold of autumn) and some never (the gap of
//! spring). Who asks when a time *is* says which showing is meant: a span begins with the first and ends with the last,
//! so that of two who meet at a time neither leaves before the other has come. A time that the clock jumps over is the end
//! of the jump.
//!
//! Every function is total: far beyond the years that jiff knows, where no calendar has a line, civil time runs on with
//! the last offset that is known.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use vigie_core::time::Wall;

pub(crate) const DAY_SECONDS: i64 = 86_400;

/// Seconds of a clock on the wall, counted as if the zone were UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CivilSecond(pub(crate) i64);

/// The second that an instant lies in, within the years that jiff knows.
pub(crate) fn second(at: Wall) -> i64 {
    let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    at.0.div_euclid(1_000).clamp(*range.start(), *range.end())
}

/// The instant with which a second begins.
pub(crate) const fn instant(second: i64) -> Wall {
    Wall(second.saturating_mul(1_000))
}

impl CivilSecond {
    pub(crate) const fn midnight(day: i64) -> Self {
        Self(day * DAY_SECONDS)
    }

    /// A minute of a day, or of the days after it.
    pub(crate) const fn minute_of(day: i64, minute: u16) -> Self {
        Self(day * DAY_SECONDS + minute as i64 * 60)
    }

    pub(crate) fn of(civil: DateTime) -> Self {
        Self(
            civil
                .duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0))
                .as_secs(),
        )
    }

    /// What the clock shows at an instant.
    pub(crate) fn shown(zone: &TimeZone, second: i64) -> Self {
        let instant = Timestamp::from_second(second).unwrap_or_default();
        Self(second + i64::from(zone.to_offset(instant).seconds()))
    }

    /// Days since 1970-01-01.
    pub(crate) const fn day(self) -> i64 {
        self.0.div_euclid(DAY_SECONDS)
    }

    pub(crate) fn date(self) -> Date {
        self.to_datetime().date()
    }

    /// The first instant at which the clock shows this, or would have.
    pub(crate) fn first_showing(self, zone: &TimeZone) -> i64 {
        match self.offset(zone) {
            AmbiguousOffset::Unambiguous { offset } => self.with(offset),
            AmbiguousOffset::Fold { before, .. } => self.with(before),
            AmbiguousOffset::Gap { after, .. } => self.end_of_gap(zone, after),
        }
    }

    /// The last instant at which the clock shows this, or would have.
    pub(crate) fn last_showing(self, zone: &TimeZone) -> i64 {
        match self.offset(zone) {
            AmbiguousOffset::Unambiguous { offset } => self.with(offset),
            AmbiguousOffset::Fold { after, .. } => self.with(after),
            AmbiguousOffset::Gap { after, .. } => self.end_of_gap(zone, after),
        }
    }

    /// The first instant after which the clock shows no earlier time than this any more.
    pub(crate) fn after_earlier(self, zone: &TimeZone) -> i64 {
        let before = Self(self.0 - 1);
        match before.offset(zone) {
            AmbiguousOffset::Unambiguous { offset } => before.with(offset) + 1,
            AmbiguousOffset::Fold { after, .. } => before.with(after) + 1,
            AmbiguousOffset::Gap { after, .. } => before.end_of_gap(zone, after),
        }
    }

    fn offset(self, zone: &TimeZone) -> AmbiguousOffset {
        zone.to_ambiguous_timestamp(self.to_datetime()).offset()
    }

    /// The instant of the change that makes the clock jump over this.
    fn end_of_gap(self, zone: &TimeZone, after: Offset) -> i64 {
        // With the offset of after the change, a time within the gap is before it.
        let before = self.with(after);
        Timestamp::from_second(before)
            .ok()
            .and_then(|before| zone.following(before).next())
            .map_or(before, |change| change.timestamp().as_second())
    }

    fn to_datetime(self) -> DateTime {
        let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        let second = self.0.clamp(*range.start(), *range.end());
        Offset::UTC.to_datetime(Timestamp::from_second(second).unwrap_or_default())
    }

    const fn with(self, offset: Offset) -> i64 {
        self.0 - offset.seconds() as i64
    }
}

#[cfg(test)]
pub(crate) mod oracle;
