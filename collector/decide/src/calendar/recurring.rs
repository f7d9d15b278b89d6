//! Windows of maintenance as people write them, each with its zone.
//!
//! ```text
//! Tue 22:00-02:00 Europe/Paris                           every week; also "Mon-Fri" and "Sat,Sun"
//! 2nd Tue 22:00-02:00 Europe/Paris                       of the month: 1st, 2nd, 3rd, 4th, last
//! 2026-12-01 22:00..2026-12-07 08:00 Europe/Paris        once
//! ```
//! They are reckoned like the windows of a calendar ([`super`]): one belongs to the date on which it starts, begins with
//! the first showing of its start, and ends with the last showing of what is before its end. Those that touch are one.

use std::fmt;

use jiff::{
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::rule::{self, Hours, Window};
use crate::civil::{self, CivilSecond};
use vigie_core::time::Wall;

/// How many days one looks ahead for the next window: from the second Tuesday of a month to that of the next are 35 days
/// at most, and one that falls into a gap of the clock does not take place.
const AHEAD_DAYS: i64 = 100;

/// A window that comes back, or comes once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recurring {
    when: When,
    time_zone: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Weekly(Window),
    Monthly(Nth, Weekday, Hours),
    Once(DateTime, DateTime),
}

/// Which of a month's days of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nth {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

/// Why a window cannot be read. Says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no window; write \"2nd Tue 22:00-02:00 Europe/Paris\" or \"2026-12-01 22:00..2026-12-07 08:00 Europe/Paris\""
)]
pub struct NotAWindow(pub String);

impl Recurring {
    /// IANA name of its zone.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// Whether it comes once and then never again.
    #[must_use]
    pub fn has_end(&self) -> bool {
        matches!(self.when, When::Once(..))
    }

    /// Whether it is on at `at`, by the rules of `zone`, which is the one that [`Recurring::time_zone`] names.
    #[must_use]
    pub fn is_on(&self, zone: &TimeZone, at: Wall) -> bool {
        self.end_of_running(zone, civil::second(at)).is_some()
    }

    /// The first instant after `at` at which it begins or ends; `None` if there is none any more.
    #[must_use]
    pub fn next_edge(&self, zone: &TimeZone, at: Wall) -> Option<Wall> {
        let second = civil::second(at);
        let edge = match self.end_of_running(zone, second) {
            Some(end) => self.end_of_chain(zone, end)?,
            None => self.next_start(zone, second)?,
        };
        Some(civil::instant(edge)).filter(|edge| *edge > at)
    }

    /// When the window ends that runs at `second`, if one does.
    fn end_of_running(&self, zone: &TimeZone, second: i64) -> Option<i64> {
        self.near(zone, CivilSecond::shown(zone, second).day())
            .filter(|(start, end)| (*start..*end).contains(&second))
            .map(|(_, end)| end)
            .max()
    }

    /// When the last of those ends that touch the one that ends at `end`; `None` if never.
    fn end_of_chain(&self, zone: &TimeZone, mut end: i64) -> Option<i64> {
        // What has not ended by then is on every day, all day.
        for _ in 0..AHEAD_DAYS {
            match self.end_of_running(zone, end) {
                Some(later) => end = later,
                None => return Some(end),
            }
        }
        None
    }

    fn next_start(&self, zone: &TimeZone, second: i64) -> Option<i64> {
        let today = CivilSecond::shown(zone, second).day();
        // The clock may be set back to before a midnight: so one day more on either side.
        let (from, to) = match self.when {
            When::Once(from, _) => {
                let day = CivilSecond::of(from).day();
                (day, day)
            }
            When::Weekly(_) | When::Monthly(..) => (today - 1, today + AHEAD_DAYS),
        };
        (from..=to)
            .filter_map(|day| self.starting_on(zone, day))
            .find(|(start, end)| *start > second && start < end)
            .map(|(start, _)| start)
    }

    /// The windows that can run at an instant of `today`: none is longer than a day, but one that comes once.
    fn near(&self, zone: &TimeZone, today: i64) -> impl Iterator<Item = (i64, i64)> {
        let days = match self.when {
            When::Once(from, _) => {
                let day = CivilSecond::of(from).day();
                day..=day
            }
            When::Weekly(_) | When::Monthly(..) => today - 2..=today + 1,
        };
        days.filter_map(|day| self.starting_on(zone, day))
    }

    /// The first second of the window that starts on `day`, and the first one after it. Empty where no clock shows it.
    fn starting_on(&self, zone: &TimeZone, day: i64) -> Option<(i64, i64)> {
        let hours = match self.when {
            When::Weekly(window) => {
                let date = CivilSecond::midnight(day).date();
                window.starts_on(date.weekday()).then(|| window.hours())
            }
            When::Monthly(nth, weekday, hours) => {
                let date = CivilSecond::midnight(day).date();
                (date.weekday() == weekday && nth.is(date)).then_some(hours)
            }
            When::Once(from, to) => {
                return Some(between(zone, CivilSecond::of(from), CivilSecond::of(to)));
            }
        }?;
        let [from, to] =
            [hours.from(), hours.to()].map(|minute| CivilSecond::minute_of(day, minute));
        Some(between(zone, from, to))
    }
}

fn between(zone: &TimeZone, from: CivilSecond, to: CivilSecond) -> (i64, i64) {
    (from.first_showing(zone), to.after_earlier(zone))
}

impl Nth {
    const ALL: [Self; 5] = [
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Last,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "1st",
            Self::Second => "2nd",
            Self::Third => "3rd",
            Self::Fourth => "4th",
            Self::Last => "last",
        }
    }

    /// Whether `date` is this one among the days of its name in its month.
    fn is(self, date: Date) -> bool {
        let before = (date.day() - 1) / 7;
        match self {
            Self::First => before == 0,
            Self::Second => before == 1,
            Self::Third => before == 2,
            Self::Fourth => before == 3,
            Self::Last => date.day() + 7 > date.days_in_month(),
        }
    }
}

impl TryFrom<String> for Recurring {
    type Error = NotAWindow;

    fn try_from(text: String) -> Result<Self, NotAWindow> {
        let read = || {
            let (when, time_zone) = text.trim().rsplit_once(' ')?;
            // A time where the zone should be is a zone forgotten.
            let is_name = time_zone.starts_with(|first: char| first.is_ascii_alphabetic());
            is_name.then_some(())?;
            Some(Self {
                when: When::parse(when.trim())?,
                time_zone: time_zone.to_owned(),
            })
        };
        read().ok_or(NotAWindow(text))
    }
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (rule::date_time(from)?, rule::date_time(to)?);
            return (from < to).then_some(Self::Once(from, to));
        }
        let (first, rest) = text.split_once(' ')?;
        let nth = Nth::ALL
            .into_iter()
            .find(|nth| nth.as_str().eq_ignore_ascii_case(first));
        let Some(nth) = nth else {
            return text.parse().ok().map(Self::Weekly);
        };
        let (weekday, hours) = rest.trim().split_once(' ')?;
        Some(Self::Monthly(
            nth,
            rule::weekday(weekday)?,
            hours.trim().parse().ok()?,
        ))
    }
}

impl fmt::Display for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Weekly(window) => write!(f, "{window}")?,
            When::Monthly(nth, weekday, hours) => {
                let (nth, weekday) = (nth.as_str(), rule::weekday_name(weekday));
                write!(f, "{nth} {weekday} {hours}")?;
            }
            When::Once(from, to) => {
                let [from, to] = [from, to].map(|at| {
                    let (date, time) = (at.date(), at.time());
                    format!("{date} {:02}:{:02}", time.hour(), time.minute())
                });
                write!(f, "{from}..{to}")?;
            }
        }
        write!(f, " {}", self.time_zone)
    }
}

impl From<Recurring> for String {
    fn from(window: Recurring) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests;
