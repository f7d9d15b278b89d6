//! When a team is at work: weekly hours in a time zone, public holidays, and dated exceptions. Pure.
//!
//! A [`Calendar`] is what the settings say; with a zone's rules, handed in as a value, it answers for any instant whether
//! it is open, why, and when that changes next ([`InZone`]). Everything is reckoned in civil dates and times of day, and
//! only then turned into instants: a day is not 24 hours.
//!
//! **What counts.** The more precise line wins: a dated part of a day, then a dated day, then a holiday, then the week. A
//! window belongs to the date on which it starts; a closed date or a holiday takes away the windows that start on it, and
//! leaves alone what began the evening before.
//!
//! **Where the clock changes.** A span of times of day is open from the first instant whose clock shows one of them to
//! the last, without holes. So in the fold of autumn, when 02:00 to 03:00 is shown twice, `22:00-02:30` closes at the
//! second 02:30, and `22:00-02:00` at the first 02:00; in the gap of spring, a start that no clock shows is the end of
//! the gap, and `02:10-02:50` is nothing at all.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use serde::{Deserialize, Serialize};

use crate::time::Wall;

pub mod holidays;
pub mod rule;
#[cfg(test)]
mod tests;

use holidays::{Holiday, HolidaySet};
use rule::{Dated, Hours, Window};

const DAY_SECONDS: i64 = 86_400;

/// How far apart civil time and elapsed time may go within a day: the largest change of any zone is a whole day.
const SHIFT_SECONDS: i64 = DAY_SECONDS;

/// How far [`InZone::next_edge`] looks beyond the last dated line, in days. Weeks and holidays come round within a year, so a
/// calendar that has not changed by then never will.
const HORIZON_DAYS: i64 = 400;

/// When a team is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// IANA name of the zone that its times are of.
    pub time_zone: String,
    /// Weekly windows.
    pub open: Vec<Window>,
    /// Public holidays, on which no window starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holidays: Option<HolidaySet>,
    /// Dates, or parts of them, that are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Dated>,
    /// Dates that are as any such weekday although they are holidays, or parts of dates that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<Dated>,
}

/// Why a calendar is open or closed at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Open: a weekly window that started on this date.
    Window(Date),
    /// Open: hours named for this date.
    OpenedHours(Date),
    /// Closed: hours named for this date.
    ClosedHours(Date),
    /// Closed: the date is named as closed.
    ClosedDate(Date),
    /// Closed: a public holiday.
    Holiday(Date, Holiday),
    /// Closed: no window is on at this time of the week.
    OutsideHours,
}

impl Why {
    /// Whether it means open.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Window(_) | Self::OpenedHours(_) => true,
            Self::ClosedHours(_) | Self::ClosedDate(_) | Self::Holiday(..) | Self::OutsideHours => {
                false
            }
        }
    }
}

/// A calendar with the rules of its zone.
#[derive(Debug, Clone, Copy)]
pub struct InZone<'c> {
    calendar: &'c Calendar,
    zone: &'c TimeZone,
}

/// Seconds of a clock on the wall, counted as if the zone were UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CivilSecond(i64);

/// What a span of a date does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Opened,
    Closed,
    Window,
}

impl Calendar {
    /// The calendar by the rules of `zone`, which is the one that [`Calendar::time_zone`] names.
    #[must_use]
    pub const fn in_zone<'c>(&'c self, zone: &'c TimeZone) -> InZone<'c> {
        InZone {
            calendar: self,
            zone,
        }
    }

    /// The last day that a dated line is about, counted from 1970.
    fn last_dated_day(&self) -> Option<i64> {
        let lines = self.closed.iter().chain(&self.opened);
        lines.map(|line| CivilSecond::of(line.last()).day()).max()
    }

    /// Why no window starts on `day`; `None` if they do.
    fn shut(&self, day: Date) -> Option<Why> {
        let names = |lines: &[Dated]| {
            lines
                .iter()
                .any(|line| line.hours().is_none() && line.covers(day))
        };
        if names(&self.opened) {
            return None;
        }
        if names(&self.closed) {
            return Some(Why::ClosedDate(day));
        }
        let holiday = self.holidays.and_then(|set| set.on(day));
        holiday.map(|holiday| Why::Holiday(day, holiday))
    }

    /// Everything that starts on `day`, open or closed.
    fn spans(&self, day: Date) -> impl Iterator<Item = (Effect, Hours)> {
        let parts = move |lines: &'_ [Dated], effect| {
            lines
                .iter()
                .filter(move |line| line.covers(day))
                .filter_map(move |line| Some((effect, line.hours()?)))
                .collect::<Vec<_>>()
        };
        let opened = parts(&self.opened, Effect::Opened);
        let closed = parts(&self.closed, Effect::Closed);
        let windows = self
            .open
            .iter()
            .filter(move |window| window.starts_on(day.weekday()))
            .map(|window| (Effect::Window, window.hours()));
        let is_shut = self.shut(day).is_some();
        opened
            .into_iter()
            .chain(closed)
            .chain(windows.filter(move |_| !is_shut))
    }
}

impl InZone<'_> {
    /// Whether the team is at work.
    #[must_use]
    pub fn is_open(&self, at: Wall) -> bool {
        self.why(at).is_open()
    }

    /// Whether the team is at work, and what makes it so.
    #[must_use]
    pub fn why(&self, at: Wall) -> Why {
        self.why_at(at.0.div_euclid(1_000))
    }

    /// The first instant after `at` at which open becomes closed or the other way round, a whole second; `None` if there
    /// is none any more.
    #[must_use]
    pub fn next_edge(&self, at: Wall) -> Option<Wall> {
        let after = at.0.div_euclid(1_000);
        let is_open = self.why_at(after).is_open();
        let today = self.civil(after).day();
        let horizon = self.calendar.last_dated_day().unwrap_or(today).max(today) + HORIZON_DAYS;
        // Spans of the two days before may still run; one of a later day cannot begin before its day does.
        let mut from = today - 2;
        let mut days = 4;
        while from <= horizon {
            let to = from + days;
            let mut candidates: Vec<i64> = (from..=to)
                .flat_map(|day| {
                    let spans = self.calendar.spans(CivilSecond::midnight(day).date());
                    spans.flat_map(move |(_, hours)| {
                        let (start, end) = self.instants(day, hours);
                        [start, end]
                    })
                })
                .filter(|instant| *instant > after)
                .collect();
            candidates.sort_unstable();
            // Beyond the last day but one, days not looked at yet may have their say.
            let certain = self.first_showing(CivilSecond::midnight(to - 1));
            let edge = candidates
                .into_iter()
                .take_while(|instant| *instant < certain)
                .find(|instant| self.why_at(*instant).is_open() != is_open);
            if let Some(edge) = edge {
                return Some(Wall(edge * 1_000));
            }
            from = to - 3;
            days = (days * 2).min(64);
        }
        None
    }

    fn why_at(&self, second: i64) -> Why {
        let now = self.civil(second);
        let today = now.day();
        let mut window = None;
        let mut closed = None;
        for day in today - 2..=today + 1 {
            let date = CivilSecond::midnight(day).date();
            for (effect, hours) in self.calendar.spans(date) {
                let [start, end] = [hours.from(), hours.to()]
                    .map(|minute| CivilSecond::midnight(day).0 + i64::from(minute) * 60);
                // Far off on the clock is far off; only what is near needs the zone's rules.
                if now.0 < start - SHIFT_SECONDS || now.0 > end + SHIFT_SECONDS {
                    continue;
                }
                let (start, end) = self.instants(day, hours);
                if !(start..end).contains(&second) {
                    continue;
                }
                match effect {
                    Effect::Opened => return Why::OpenedHours(date),
                    Effect::Closed => closed = Some(Why::ClosedHours(date)),
                    Effect::Window => window = Some(Why::Window(date)),
                }
            }
        }
        closed
            .or(window)
            .or_else(|| self.calendar.shut(now.date()))
            .unwrap_or(Why::OutsideHours)
    }

    /// The first second of a span, and the first one after it. Empty where no clock ever shows it.
    fn instants(&self, day: i64, hours: Hours) -> (i64, i64) {
        let at = |minute: u16| CivilSecond(CivilSecond::midnight(day).0 + i64::from(minute) * 60);
        let start = self.first_showing(at(hours.from()));
        let end = self.after_last_showing(CivilSecond(at(hours.to()).0 - 1));
        (start, end.max(start))
    }

    /// The first instant at which the clock shows `civil`, or would have.
    fn first_showing(&self, civil: CivilSecond) -> i64 {
        match self
            .zone
            .to_ambiguous_timestamp(civil.to_datetime())
            .offset()
        {
            AmbiguousOffset::Unambiguous { offset } => civil.with(offset),
            AmbiguousOffset::Fold { before, .. } => civil.with(before),
            AmbiguousOffset::Gap { after, .. } => self.end_of_gap(civil, after),
        }
    }

    /// The instant after the last at which the clock shows `civil`, or would have.
    fn after_last_showing(&self, civil: CivilSecond) -> i64 {
        match self
            .zone
            .to_ambiguous_timestamp(civil.to_datetime())
            .offset()
        {
            AmbiguousOffset::Unambiguous { offset } => civil.with(offset) + 1,
            AmbiguousOffset::Fold { after, .. } => civil.with(after) + 1,
            AmbiguousOffset::Gap { after, .. } => self.end_of_gap(civil, after),
        }
    }

    /// The instant of the change that makes the clock jump over `civil`.
    fn end_of_gap(&self, civil: CivilSecond, after: Offset) -> i64 {
        // With the offset of after the change, a time within the gap is before it.
        let before = civil.with(after);
        Timestamp::from_second(before)
            .ok()
            .and_then(|before| self.zone.following(before).next())
            .map_or(before, |change| change.timestamp().as_second())
    }

    fn civil(&self, second: i64) -> CivilSecond {
        let offset = Timestamp::from_second(second)
            .map_or(Offset::UTC, |instant| self.zone.to_offset(instant));
        CivilSecond(second + i64::from(offset.seconds()))
    }
}

impl CivilSecond {
    const fn midnight(day: i64) -> Self {
        Self(day * DAY_SECONDS)
    }

    /// The midnight with which a date begins.
    fn of(date: Date) -> Self {
        let midnight = Offset::UTC.to_timestamp(DateTime::from(date));
        // As below: only dates that no calendar has are out of range.
        Self(midnight.map_or(0, |midnight| midnight.as_second()))
    }

    /// Days since 1970-01-01.
    const fn day(self) -> i64 {
        self.0.div_euclid(DAY_SECONDS)
    }

    fn to_datetime(self) -> DateTime {
        // Out of jiff's range only for a wall clock that is thousands of years off: then any answer is as good.
        let instant = Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Offset::UTC.to_datetime(instant)
    }

    fn date(self) -> Date {
        self.to_datetime().date()
    }

    fn with(self, offset: Offset) -> i64 {
        self.0 - i64::from(offset.seconds())
    }
}
