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

use jiff::{civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::civil::{self, CivilSecond, DAY_SECONDS};
use vigie_core::time::Wall;

pub mod holidays;
pub mod recurring;
pub mod rule;
#[cfg(test)]
mod tests;

use holidays::{Holiday, HolidaySet};
use rule::{DAY_MINUTES, Dated, Hours, Window};

/// How far apart civil time and elapsed time may go within a day: the largest change of any zone is a whole day.
const SHIFT_SECONDS: i64 = DAY_SECONDS;

/// How far [`InZone::next_edge`] looks beyond the last dated line, in days. Weeks and holidays come round within a year, so a
/// calendar that has not changed by then never will.
const HORIZON_DAYS: i64 = 400;

/// After as many days in a row without a change, none of them special, a calendar has shown each pair of neighbours in
/// its week, and stays as it is until something special comes.
const SETTLED_DAYS: u32 = 8;

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

/// A day of a calendar, as far as the zone's rules have no say in it.
#[derive(Debug, Clone, Copy)]
struct Day<'c> {
    calendar: &'c Calendar,
    /// Since 1970-01-01.
    number: i64,
    date: Date,
    /// Whether weekly windows start on it: neither a holiday nor a closed date, or opened all the same.
    has_windows: bool,
    /// Whether it may differ from the same day of the week before: a dated line begins or has ended, or a holiday takes
    /// windows away.
    is_special: bool,
    /// Whether a dated line is about a part of it.
    has_parts: bool,
}

/// What a span of a date does; the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Window,
    Closed,
    Opened,
}

/// From when to when something holds; in minutes or in seconds, as its user counts.
#[derive(Debug, Clone, Copy)]
struct Span {
    effect: Effect,
    from: i64,
    to: i64,
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

    fn dated(&self) -> impl Iterator<Item = &Dated> {
        self.closed.iter().chain(&self.opened)
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

    fn day(&self, number: i64) -> Day<'_> {
        Day::new(self, number, CivilSecond::midnight(number).date())
    }

    /// The first day from `number` on that may differ from the same day of the week before.
    fn next_special(&self, number: i64) -> Option<i64> {
        let day = |date: Date| CivilSecond::of(date.into()).day();
        let dated = self
            .dated()
            .flat_map(|line| [day(line.first()), day(line.last()) + 1]);
        // They close windows, and nothing else.
        let set = self.holidays.filter(|_| !self.open.is_empty());
        let holiday = set.and_then(|set| set.next(CivilSecond::midnight(number).date()));
        dated
            .chain(holiday.map(day))
            .filter(|special| *special >= number)
            .min()
    }

    /// The last day that a dated line is about.
    fn last_dated(&self) -> Option<i64> {
        let last = self.dated().map(|line| line.last()).max()?;
        Some(CivilSecond::of(last.into()).day())
    }
}

impl<'c> Day<'c> {
    fn new(calendar: &'c Calendar, number: i64, date: Date) -> Self {
        let starts = |window: &Window| window.starts_on(date.weekday());
        let can_open = calendar.open.iter().any(starts);
        let shut = if can_open { calendar.shut(date) } else { None };
        let yesterday = date.yesterday().unwrap_or(date);
        let mut dated = calendar.dated();
        Self {
            calendar,
            number,
            date,
            has_windows: can_open && shut.is_none(),
            has_parts: dated.any(|line| line.covers(date) && line.hours().is_some()),
            is_special: matches!(shut, Some(Why::Holiday(..)))
                || calendar
                    .dated()
                    .any(|line| line.first() == date || line.last() == yesterday),
        }
    }

    fn next(self) -> Self {
        // On the last day that jiff knows, time stands still.
        let date = self.date.tomorrow().unwrap_or(self.date);
        Self::new(self.calendar, self.number + 1, date)
    }

    /// Everything that starts on this day.
    fn starts(self) -> impl Iterator<Item = (Effect, Hours)> + 'c {
        let windows = self
            .calendar
            .open
            .iter()
            .filter(move |window| self.has_windows && window.starts_on(self.date.weekday()));
        windows
            .map(|window| (Effect::Window, window.hours()))
            .chain(self.parts(&self.calendar.closed, Effect::Closed))
            .chain(self.parts(&self.calendar.opened, Effect::Opened))
    }

    fn parts(
        self,
        lines: &'c [Dated],
        effect: Effect,
    ) -> impl Iterator<Item = (Effect, Hours)> + 'c {
        // Most days have none: then nothing is read twice.
        let lines = if self.has_parts { lines } else { &[] };
        lines
            .iter()
            .filter(move |line| line.covers(self.date))
            .filter_map(move |line| Some((effect, line.hours()?)))
    }

    /// Whether a clock without changes shows the calendar open, or closed, all through this day; `None` if it opens or
    /// closes.
    fn all_through(self, yesterday: Self) -> Option<bool> {
        let is_empty = |day: Self| !day.has_windows && !day.has_parts;
        if is_empty(self) && is_empty(yesterday) {
            return Some(false);
        }
        let mut minute = 0;
        let mut all = None;
        loop {
            let spans = [(yesterday, -1), (self, 0)].into_iter();
            let spans = spans.flat_map(|(day, midnight)| {
                day.starts().map(move |(effect, hours)| Span {
                    effect,
                    from: i64::from(hours.from()) + midnight * i64::from(DAY_MINUTES),
                    to: i64::from(hours.to()) + midnight * i64::from(DAY_MINUTES),
                })
            });
            let (is_open, next) = glance(spans, minute);
            if *all.get_or_insert(is_open) != is_open {
                return None;
            }
            if next >= i64::from(DAY_MINUTES) {
                return all;
            }
            minute = next;
        }
    }
}

/// Whether it is open at `at`, and the next moment at which one of the spans begins or ends.
fn glance(spans: impl Iterator<Item = Span>, at: i64) -> (bool, i64) {
    let mut strongest = None;
    let mut next = i64::MAX;
    for span in spans {
        if at < span.from {
            next = next.min(span.from);
        } else if at < span.to {
            next = next.min(span.to);
            strongest = strongest.max(Some(span.effect));
        }
    }
    let is_open = matches!(strongest, Some(Effect::Window | Effect::Opened));
    (is_open, next)
}

impl<'c> InZone<'c> {
    /// Whether the team is at work.
    #[must_use]
    pub fn is_open(&self, at: Wall) -> bool {
        self.why(at).is_open()
    }

    /// Whether the team is at work, and what makes it so.
    #[must_use]
    pub fn why(&self, at: Wall) -> Why {
        self.why_at(civil::second(at))
    }

    /// The first instant after `at` at which open becomes closed or the other way round, a whole second; `None` if there
    /// is none any more.
    ///
    /// Days are looked at one by one, each from the first showing of its midnight to that of the next. Spans touch in
    /// elapsed time where they touch in civil time, fold and gap included: so a day that is open (or closed) all through
    /// by the clock, after one that is, has no edge, and only the others are reckoned in the zone.
    #[must_use]
    pub fn next_edge(&self, at: Wall) -> Option<Wall> {
        let after = civil::second(at);
        let is_open = self.why_at(after).is_open();
        let mut number = CivilSecond::shown(self.zone, after).day();
        let horizon = self.calendar.last_dated().unwrap_or(number).max(number) + HORIZON_DAYS;
        let mut settled = 0;
        let mut days = self.up_to(number);
        let mut was = days[1].all_through(days[0]);
        while number <= horizon {
            let today = days[2];
            let is = today.all_through(days[1]);
            if (was, is) != (Some(is_open), Some(is_open)) {
                settled = 0;
                if let Some(edge) = self.edge_on(days, after, is_open) {
                    return Some(civil::instant(edge)).filter(|edge| *edge > at);
                }
            } else if today.is_special {
                settled = 0;
            } else {
                settled += 1;
            }
            number += 1;
            if settled >= SETTLED_DAYS {
                number = self.calendar.next_special(number)?;
                settled = 0;
                days = self.up_to(number);
                was = days[1].all_through(days[0]);
            } else {
                days = [days[1], today, today.next()];
                was = is;
            }
        }
        None
    }

    /// The first instant on the last of three days, and after `after`, at which it is open and was not, or the other way
    /// round.
    fn edge_on(&self, days: [Day<'_>; 3], after: i64, is_open: bool) -> Option<i64> {
        let midnight = |number| CivilSecond::midnight(number).first_showing(self.zone);
        let start = after.max(midnight(days[2].number) - 1);
        let end = midnight(days[2].number + 1);
        let mut at = start;
        while at < end {
            // What began before these days is over, and what begins after them has not begun before their end.
            let spans = days.into_iter().flat_map(|day| {
                day.starts()
                    .map(move |(effect, hours)| self.span(day.number, effect, hours))
            });
            let (is_open_now, next) = glance(spans, at);
            if at > start && is_open_now != is_open {
                return Some(at);
            }
            at = next;
        }
        None
    }

    /// A day and the two before it, whose spans may still run.
    fn up_to(&self, number: i64) -> [Day<'c>; 3] {
        [number - 2, number - 1, number].map(|number| self.calendar.day(number))
    }

    fn why_at(&self, second: i64) -> Why {
        let now = CivilSecond::shown(self.zone, second);
        let today = now.day();
        let mut strongest = None;
        for number in today - 2..=today + 1 {
            let day = self.calendar.day(number);
            for (effect, hours) in day.starts() {
                let [start, end] =
                    [hours.from(), hours.to()].map(|minute| CivilSecond::minute_of(number, minute));
                // Far off on the clock is far off; only what is near needs the zone's rules.
                if now.0 < start.0 - SHIFT_SECONDS || now.0 > end.0 + SHIFT_SECONDS {
                    continue;
                }
                let span = self.span(number, effect, hours);
                if (span.from..span.to).contains(&second) {
                    strongest = strongest.max(Some((effect, day.date)));
                }
            }
        }
        match strongest {
            Some((Effect::Opened, date)) => Why::OpenedHours(date),
            Some((Effect::Closed, date)) => Why::ClosedHours(date),
            Some((Effect::Window, date)) => Why::Window(date),
            None => self.calendar.shut(now.date()).unwrap_or(Why::OutsideHours),
        }
    }

    /// The first second of a span, and the first one after it. Empty where no clock ever shows it.
    fn span(&self, day: i64, effect: Effect, hours: Hours) -> Span {
        let from = CivilSecond::minute_of(day, hours.from()).first_showing(self.zone);
        let to = CivilSecond::minute_of(day, hours.to()).after_earlier(self.zone);
        Span {
            effect,
            from,
            to: to.max(from),
        }
    }
}
