//! The lines of a calendar as people write them: weekly windows and dated exceptions.
//!
//! ```text
//! Mon-Fri 08:30-18:00          a weekly window; days are a list of names and ranges: "Mon,Wed-Fri"
//! Sat 22:00-06:00              it may cross midnight, and belongs to the day on which it starts
//! 2027-05-07                   a date
//! 2026-12-24..2027-01-02       several, the last one included
//! 2026-12-24 12:30-24:00       a part of a day
//! ```
//! Owns the text form, nothing else: what a line means at an instant is [`super`]'s.

use std::{fmt, str::FromStr};

use jiff::civil::{Date, DateTime, Time, Weekday};
use serde::{Deserialize, Serialize};

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// Days that one dated line may cover: two years of closing for works; more is a mistake in a year.
const RANGE_DAYS_MAX: i32 = 731;

/// The names of the days, Monday first.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// From a time of day to a later one, perhaps of the next day. Never empty, never longer than a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hours {
    from: u16,
    to: u16,
}

/// A window that is open every week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Bit n is day n of the week, Monday 0.
    days: u8,
    hours: Hours,
}

/// A date, or several, or the same part of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dated {
    first: Date,
    last: Date,
    hours: Option<Hours>,
}

/// Why a line of a calendar cannot be read. Says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such day.
    #[error(
        "{0:?} is no day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun, as in \"Mon-Fri 08:30-18:00\""
    )]
    Day(String),
    /// No times, or not of this form.
    #[error("{0:?} is no span of time; write \"08:30-18:00\"")]
    Hours(String),
    /// It begins when it ends.
    #[error("{0:?} is empty; write \"00:00-24:00\" for a whole day")]
    Empty(String),
    /// No such date.
    #[error(
        "{0:?} is no date; write \"2027-05-07\", \"2026-12-24..2027-01-02\" or \"2026-12-24 12:30-24:00\""
    )]
    Date(String),
    /// The range is backwards or longer than two years.
    #[error("{0:?} is no range of at most two years; write the earlier date first")]
    Range(String),
}

impl Hours {
    /// Minute of the day on which it starts.
    #[must_use]
    pub const fn from(self) -> u16 {
        self.from
    }

    /// The first minute after it, counted from the midnight before [`Hours::from`]: more than a day where it crosses
    /// midnight.
    #[must_use]
    pub const fn to(self) -> u16 {
        self.to
    }
}

impl Window {
    /// Whether it starts on this day of the week.
    #[must_use]
    pub fn starts_on(self, day: Weekday) -> bool {
        self.days & bit(day) != 0
    }

    /// From when to when.
    #[must_use]
    pub const fn hours(self) -> Hours {
        self.hours
    }
}

impl Dated {
    /// Whether it is about this date.
    #[must_use]
    pub fn covers(self, day: Date) -> bool {
        self.first <= day && day <= self.last
    }

    /// The first date it is about.
    #[must_use]
    pub const fn first(self) -> Date {
        self.first
    }

    /// The last date it is about.
    #[must_use]
    pub const fn last(self) -> Date {
        self.last
    }

    /// The part of each day; `None`: the whole.
    #[must_use]
    pub const fn hours(self) -> Option<Hours> {
        self.hours
    }

    /// Whether both say something of one moment, at the same precision.
    #[must_use]
    pub fn conflicts_with(self, other: Self) -> bool {
        if self.last < other.first || other.last < self.first {
            return false;
        }
        match (self.hours, other.hours) {
            (None, None) => true,
            (Some(one), Some(two)) => one.from < two.to && two.from < one.to,
            // The part is the more precise one, and counts.
            _ => false,
        }
    }
}

impl FromStr for Hours {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Hours(text.to_owned());
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let from = minute(from).filter(|from| *from < DAY_MINUTES);
        let (from, to) = from.zip(minute(to)).ok_or_else(wrong)?;
        match to {
            to if to == from => Err(RuleError::Empty(text.to_owned())),
            to if to > from => Ok(Self { from, to }),
            to => Ok(Self {
                from,
                to: to + DAY_MINUTES,
            }),
        }
    }
}

/// `HH:MM`, up to 24:00.
pub(crate) fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| -> Option<u16> {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY_MINUTES).then_some(hour * 60 + minute)
}

/// The name of a day of the week, in any case.
pub(crate) fn weekday(name: &str) -> Option<Weekday> {
    let day = DAYS
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))?;
    Weekday::from_monday_zero_offset(day as i8).ok()
}

/// How a day of the week is written.
pub(crate) fn weekday_name(day: Weekday) -> &'static str {
    DAYS[usize::from(day.to_monday_zero_offset().unsigned_abs())]
}

/// `YYYY-MM-DD`: jiff reads more forms than a settings file should have.
pub(crate) fn date(text: &str) -> Option<Date> {
    let is_plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_plain.then(|| text.parse().ok())?
}

/// `YYYY-MM-DD HH:MM`, as overrides and windows that come once are written.
#[must_use]
pub fn date_time(text: &str) -> Option<DateTime> {
    let (day, time) = text.trim().split_once(' ')?;
    let minute = minute(time.trim()).filter(|minute| *minute < DAY_MINUTES)?;
    let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
    Some(date(day)?.to_datetime(time))
}

/// A day of the week in [`Window::days`].
fn bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

impl FromStr for Window {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (names, hours) = text
            .trim()
            .split_once(' ')
            .ok_or_else(|| RuleError::Hours(text.to_owned()))?;
        let day = |name: &str| weekday(name).ok_or_else(|| RuleError::Day(name.to_owned()));
        let mut days = 0;
        for part in names.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (mut at, last) = (day(first)?, day(last)?);
            days |= bit(at);
            while at != last {
                // "Sat-Mon" goes over the weekend.
                at = at.next();
                days |= bit(at);
            }
        }
        Ok(Self {
            days,
            hours: hours.trim().parse()?,
        })
    }
}

impl FromStr for Dated {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        let (dates, hours) = match text.split_once(' ') {
            Some((dates, hours)) => (dates, Some(hours.trim().parse()?)),
            None => (text, None),
        };
        let date = |text: &str| date(text).ok_or_else(|| RuleError::Date(text.to_owned()));
        let (first, last) = match dates.split_once("..") {
            Some((first, last)) => (date(first)?, date(last)?),
            None => (date(dates)?, date(dates)?),
        };
        let days = first.until(last).map_or(-1, |span| span.get_days());
        if !(0..=RANGE_DAYS_MAX).contains(&days) {
            return Err(RuleError::Range(dates.to_owned()));
        }
        Ok(Self { first, last, hours })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = if self.to > DAY_MINUTES {
            self.to - DAY_MINUTES
        } else {
            self.to
        };
        let (from_hour, from_minute) = (self.from / 60, self.from % 60);
        let (to_hour, to_minute) = (to / 60, to % 60);
        write!(
            f,
            "{from_hour:02}:{from_minute:02}-{to_hour:02}:{to_minute:02}"
        )
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = DAYS.iter().enumerate();
        let mut separator = "";
        for (_, name) in names.filter(|(day, _)| self.days & (1 << day) != 0) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        write!(f, " {}", self.hours)
    }
}

impl fmt::Display for Dated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "..{}", self.last)?;
        }
        match self.hours {
            Some(hours) => write!(f, " {hours}"),
            None => Ok(()),
        }
    }
}

macro_rules! text_form {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = RuleError;

            fn try_from(text: String) -> Result<Self, RuleError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(line: $name) -> Self {
                line.to_string()
            }
        }
    )*};
}

text_form! { Window Dated }
