//! Who is on call: people who take turns, handed off at a civil time of day. Pure.
//!
//! A shift begins at the *first* instant at which the clock shows its hand-off and ends at the *last* at which it shows
//! the next one: in the fold of autumn two people are on call for an hour, and never nobody. A hand-off that the clock
//! jumps over in spring happens at the end of the jump.
//!
//! Put otherwise: there are two ways to read a time that is shown twice. By either of them exactly one
//! person is on call at any instant, and whoever is by one of them is called. Overrides are read like shifts. So where
//! one begins or ends in a fold, both who leaves and who comes are called until the last showing, whichever of the two
//! hours each of them had in mind.

use std::fmt;

use jiff::{
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use crate::{
    calendar::rule::{self, DAY_MINUTES},
    civil::{self, CivilSecond},
};
use vigie_core::{id::PersonName, time::Wall};

/// How many shifts before and after the one that the date tells are looked at: a zone may skip or repeat a whole day.
const NEIGHBOURS: i64 = 3;

/// People who take turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rota {
    /// In order; each has one shift, then the first again. Never empty.
    pub people: Vec<PersonName>,
    /// When shifts change.
    pub handoff: Handoff,
    /// The date on which the first person's first shift begins. Before it the rota is as if it had always been running.
    pub first: Date,
    /// Who stands in for whoever's turn it is; a later one wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// When shifts change: `Mon 08:30 Europe/Paris`, or `08:30 Europe/Paris` for every day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handoff {
    /// The day of the week; `None`: every day.
    pub day: Option<Weekday>,
    /// Minute of the day.
    pub minute: u16,
    /// IANA name.
    pub time_zone: String,
}

/// Somebody stands in: `2026-12-24 18:00..2026-12-26 08:30` in the rota's zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// From when; the first showing of this civil time.
    pub from: jiff::civil::DateTime,
    /// Until when; the last showing of this civil time.
    pub to: jiff::civil::DateTime,
    /// Who.
    pub person: PersonName,
}

/// Why a hand-off cannot be read. Says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no hand-off; write \"Mon 08:30 Europe/Paris\", or \"08:30 Europe/Paris\" for every day"
)]
pub struct NotAHandoff(pub String);

/// Which instant a civil time is that the clock shows twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    First,
    Last,
}

impl Rota {
    /// Everybody who is on call at `at` by the rules of `zone`, which is the one that [`Handoff::time_zone`] names: one
    /// person, or two where the time of a hand-off, or of an override's beginning or end, is shown twice. In the rota's
    /// order, then who only stands in; without repetition; never empty.
    #[must_use]
    pub fn on_call(&self, zone: &TimeZone, at: Wall) -> Vec<&PersonName> {
        let second = civil::second(at);
        let by = |reading| self.on_call_by(reading, zone, second);
        let mut people: Vec<_> = by(Reading::First)
            .into_iter()
            .chain(by(Reading::Last))
            .collect();
        let place = |person: &PersonName| {
            let place = self.people.iter().position(|one| one == person);
            place.unwrap_or(self.people.len())
        };
        people.sort_by_key(|person| place(person));
        people.dedup();
        people
    }

    /// The first instant after `at` at which [`Rota::on_call`] may give another answer; `None` if it never will.
    #[must_use]
    pub fn next_change(&self, zone: &TimeZone, at: Wall) -> Option<Wall> {
        let second = civil::second(at);
        let around = self.turn_on(CivilSecond::shown(zone, second).day());
        let turns = (around - NEIGHBOURS..=around + NEIGHBOURS).flat_map(|turn| {
            let handoff = self.handoff_of(turn);
            [Reading::First, Reading::Last].map(|reading| reading.of(handoff, zone))
        });
        let overrides = self.overrides.iter().flat_map(|one| {
            let [first, last] =
                [Reading::First, Reading::Last].map(|reading| one.span(reading, zone));
            [first.0, first.1, last.0, last.1]
        });
        // One person hands off to nobody.
        turns
            .filter(|_| self.people.len() > 1)
            .chain(overrides)
            .filter(|instant| *instant > second)
            .min()
            .map(civil::instant)
            .filter(|change| *change > at)
    }

    /// Whether [`Rota::first`] is a day on which shifts change. Settings refuse a rota of which it is not; its first shift
    /// is then the one that is on at the end of that date.
    #[must_use]
    pub fn begins_with_a_handoff(&self) -> bool {
        self.handoff
            .day
            .is_none_or(|day| day == self.first.weekday())
    }

    fn on_call_by(&self, reading: Reading, zone: &TimeZone, second: i64) -> Option<&PersonName> {
        let stands_in = self.overrides.iter().rev().find(|one| {
            let (from, to) = one.span(reading, zone);
            (from..to).contains(&second)
        });
        if let Some(stands_in) = stands_in {
            return Some(&stands_in.person);
        }
        let around = self.turn_on(CivilSecond::shown(zone, second).day());
        let turn = (around - NEIGHBOURS..=around + NEIGHBOURS)
            .rev()
            .find(|turn| reading.of(self.handoff_of(*turn), zone) <= second)
            .unwrap_or(around);
        let people = i64::try_from(self.people.len()).ok()?;
        let place = turn.checked_rem_euclid(people)?;
        self.people.get(usize::try_from(place).ok()?)
    }

    /// Days from one hand-off to the next.
    const fn period(&self) -> i64 {
        match self.handoff.day {
            Some(_) => 7,
            None => 1,
        }
    }

    /// The day on which shift 0 begins, since 1970-01-01.
    fn first_day(&self) -> i64 {
        let first = CivilSecond::of(self.first.into()).day();
        let late = self
            .handoff
            .day
            .map_or(0, |day| day.until(self.first.weekday()));
        first - i64::from(late)
    }

    /// The number of the shift that begins on `day`, or was the last to.
    fn turn_on(&self, day: i64) -> i64 {
        (day - self.first_day()).div_euclid(self.period())
    }

    /// When a shift begins.
    fn handoff_of(&self, turn: i64) -> CivilSecond {
        CivilSecond::minute_of(self.first_day() + turn * self.period(), self.handoff.minute)
    }
}

impl Override {
    /// From when to when it counts by one reading. By one of the two it counts at every instant from the first showing of
    /// its beginning to the last of its end.
    fn span(&self, reading: Reading, zone: &TimeZone) -> (i64, i64) {
        if self.to <= self.from {
            return (0, 0);
        }
        let [from, to] = [self.from, self.to].map(CivilSecond::of);
        match reading {
            Reading::First => (from.first_showing(zone), to.first_showing(zone)),
            // Within one fold its two readings may leave a hole between them.
            Reading::Last => (
                from.last_showing(zone).min(to.first_showing(zone)),
                to.last_showing(zone),
            ),
        }
    }
}

impl Reading {
    fn of(self, civil: CivilSecond, zone: &TimeZone) -> i64 {
        match self {
            Self::First => civil.first_showing(zone),
            Self::Last => civil.last_showing(zone),
        }
    }
}

impl TryFrom<String> for Handoff {
    type Error = NotAHandoff;

    fn try_from(text: String) -> Result<Self, NotAHandoff> {
        let read = || {
            let words: Vec<_> = text.split_whitespace().collect();
            let (day, time, time_zone) = match words[..] {
                [time, zone] => (None, time, zone),
                [day, time, zone] => (Some(rule::weekday(day)?), time, zone),
                _ => return None,
            };
            let is_name = time_zone.starts_with(|first: char| first.is_ascii_alphabetic());
            is_name.then_some(())?;
            Some(Self {
                day,
                minute: rule::minute(time).filter(|minute| *minute < DAY_MINUTES)?,
                time_zone: time_zone.to_owned(),
            })
        };
        read().ok_or(NotAHandoff(text))
    }
}

impl fmt::Display for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(day) = self.day {
            write!(f, "{} ", rule::weekday_name(day))?;
        }
        let (hour, minute) = (self.minute / 60, self.minute % 60);
        write!(f, "{hour:02}:{minute:02} {}", self.time_zone)
    }
}

impl From<Handoff> for String {
    fn from(handoff: Handoff) -> Self {
        handoff.to_string()
    }
}

#[cfg(test)]
mod tests;
