//! Calendars beside a clock on the wall, minute by minute.

use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::civil::oracle::{Clock, MINUTE_MS, midnight, minute};

/// Walks every minute of a century with civil time kept by hand, and compares with the edges.
fn compare_with_every_minute(name: &str, holidays: HolidaySet, from: &str, to: &str) {
    let calendar = Calendar {
        holidays: Some(holidays),
        ..calendar(
            name,
            &[
                "Mon-Fri 08:30-12:00",
                "Mon-Fri 13:30-18:00",
                "Sat 22:00-01:00",
            ],
            &[],
            &[],
        )
    };
    let zone = zone(name);
    let ours = calendar.in_zone(&zone);
    let (mut minute, end) = (at(from).0 / MINUTE_MS, at(to).0 / MINUTE_MS);
    let offset_at = |minute: i64| {
        let instant = Timestamp::from_second(minute * 60).unwrap();
        let next = zone.following(instant).next();
        let until = next.map_or(i64::MAX, |change| change.timestamp().as_second() / 60);
        (i64::from(zone.to_offset(instant).seconds()) / 60, until)
    };
    let (mut offset, mut until) = offset_at(minute);
    let mut is_open = ours.is_open(Wall(minute * MINUTE_MS));
    let mut next = ours.next_edge(Wall(minute * MINUTE_MS)).unwrap().0 / MINUTE_MS;
    // What the week and the year say of a day, found once a day: is it worked, and did Saturday's night begin before?
    let mut known = (i64::MIN, false, false, false);
    while minute < end {
        if minute >= until {
            (offset, until) = offset_at(minute);
        }
        if minute == next {
            is_open = !is_open;
            next = ours.next_edge(Wall(minute * MINUTE_MS)).unwrap().0 / MINUTE_MS;
        }
        let civil = minute + offset;
        let (day, time) = (civil.div_euclid(1440), civil.rem_euclid(1440));
        if known.0 != day {
            let works = |day: i64, weekdays: std::ops::RangeInclusive<i64>| {
                let date = CivilSecond::midnight(day).date();
                // 1970-01-01 was a Thursday; Monday is 0.
                weekdays.contains(&(day + 3).rem_euclid(7)) && holidays.on(date).is_none()
            };
            known = (
                day,
                works(day, 0..=4),
                works(day, 5..=5),
                works(day - 1, 5..=5),
            );
        }
        let (_, weekday, saturday, night) = known;
        let expected = weekday && ((510..720).contains(&time) || (810..1080).contains(&time))
            || saturday && time >= 1320
            || night && time < 60;
        assert_eq!(is_open, expected, "{name} {}", Wall(minute * MINUTE_MS));
        minute += 1;
    }
}

#[test]
fn paris_equals_a_naive_clock_at_every_minute_of_a_century() {
    compare_with_every_minute(
        "Europe/Paris",
        alsace(true),
        "2000-01-01T00:00:00Z",
        "2100-01-01T00:00:00Z",
    );
}

#[test]
fn overseas_zones_equal_a_naive_clock_at_every_minute() {
    for (name, territory) in [
        ("America/Cayenne", Territory::Guyane),
        ("America/Guadeloupe", Territory::Guadeloupe),
        ("America/Marigot", Territory::SaintMartin),
        ("America/Martinique", Territory::Martinique),
        // Changes on North American dates.
        ("America/Miquelon", Territory::Metropole),
        ("America/St_Barthelemy", Territory::SaintBarthelemy),
        ("Indian/Mayotte", Territory::Mayotte),
        ("Indian/Reunion", Territory::LaReunion),
        ("Pacific/Gambier", Territory::Metropole),
        // Half an hour off.
        ("Pacific/Marquesas", Territory::Metropole),
        ("Pacific/Noumea", Territory::Metropole),
        ("Pacific/Tahiti", Territory::Metropole),
        ("Pacific/Wallis", Territory::Metropole),
    ] {
        let holidays = HolidaySet {
            territory,
            alsace_moselle: false,
            good_friday: false,
        };
        compare_with_every_minute(
            name,
            holidays,
            "2025-01-01T00:00:00Z",
            "2031-01-01T00:00:00Z",
        );
    }
}

/// Where and when random calendars are looked at, for [`SEASON_DAYS`].
const SEASONS: [(&str, Date); 11] = [
    ("Europe/Paris", date(2026, 3, 1)),
    ("Europe/Paris", date(2026, 8, 20)),
    ("Europe/Paris", date(2027, 3, 1)),
    ("Europe/Paris", date(2027, 9, 20)),
    ("America/Miquelon", date(2026, 2, 20)),
    ("America/Miquelon", date(2027, 9, 1)),
    // The gap and the fold are on either side of midnight.
    ("Asia/Beirut", date(2026, 3, 1)),
    ("Asia/Beirut", date(2026, 9, 20)),
    // The fold goes over midnight: from 00:01 back to 23:01.
    ("America/St_Johns", date(2010, 9, 1)),
    // Half an hour.
    ("Australia/Lord_Howe", date(2026, 9, 10)),
    // 30 December 2011 was skipped.
    ("Pacific/Apia", date(2011, 12, 1)),
];

const SEASON_DAYS: i32 = 100;

/// Windows that began before a season are not known to the oracle.
const MARGIN: i64 = 3 * 1_440;

static CLOCKS: LazyLock<Vec<Clock>> = LazyLock::new(|| {
    let clocks = SEASONS.iter().map(|(name, from)| {
        let to = *from + Days::new().days(SEASON_DAYS);
        Clock::new(&zone(name), *from, to)
    });
    clocks.collect()
});

/// What a calendar is by definition at every minute of a season: what is more precise is painted over the rest.
fn painted(calendar: &Calendar, clock: &Clock, from: Date) -> Vec<bool> {
    let start = clock.minutes().start;
    let mut levels = vec![0_u8; clock.minutes().count()];
    let covers = |lines: &[Dated], day: Date| {
        let mut whole = lines.iter().filter(|line| line.hours().is_none());
        whole.any(|line| line.covers(day))
    };
    for day in from.series(Days::new().days(1)).take(SEASON_DAYS as usize) {
        let mut paint = |hours: Hours, level: u8| {
            let from = midnight(day) + i64::from(hours.from());
            let to = midnight(day) + i64::from(hours.to());
            for minute in clock.span(from, to) {
                let painted = &mut levels[(minute - start) as usize];
                *painted = level.max(*painted);
            }
        };
        let is_holiday = calendar.holidays.is_some_and(|set| set.on(day).is_some());
        if covers(&calendar.opened, day) || !covers(&calendar.closed, day) && !is_holiday {
            for window in &calendar.open {
                if window.starts_on(day.weekday()) {
                    paint(window.hours(), 1);
                }
            }
        }
        for (lines, level) in [(&calendar.closed, 2), (&calendar.opened, 3)] {
            for line in lines.iter().filter(|line| line.covers(day)) {
                if let Some(hours) = line.hours() {
                    paint(hours, level);
                }
            }
        }
    }
    levels.into_iter().map(|level| level % 2 == 1).collect()
}

fn hours() -> impl Strategy<Value = String> {
    let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
    let any = (0_u32..96, 1_u32..96).prop_map(move |(from, length)| {
        let (from, to) = (from * 15, (from + length) * 15);
        let to = if to > 1_440 { to - 1_440 } else { to };
        format!("{}-{}", time(from), time(to))
    });
    // Where the clock changes, and whole days.
    let night = (0_u32..16, 1_u32..12).prop_map(move |(from, length)| {
        format!("{}-{}", time(from * 15), time((from + length) * 15))
    });
    let day = proptest::sample::select(vec!["00:00-24:00", "00:00-12:00", "12:00-24:00"]);
    prop_oneof![4 => any, 3 => night, 2 => day.prop_map(str::to_owned)]
}

fn random_window() -> impl Strategy<Value = Window> {
    let days =
        prop_oneof![3 => 1_u8..128, 2 => Just(127_u8), 2 => (0_u8..7).prop_map(|day| 1 << day)];
    (days, hours()).prop_map(|(days, hours)| {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<_> = (0..7)
            .filter(|day| days & (1 << day) != 0)
            .map(|day| names[day])
            .collect();
        format!("{} {hours}", days.join(",")).parse().unwrap()
    })
}

fn random_dated(from: Date) -> impl Strategy<Value = Dated> {
    let length = prop_oneof![3 => 0_i32..3, 1 => 0_i32..60];
    let first = -5_i32..SEASON_DAYS;
    (first, length, proptest::option::of(hours())).prop_map(move |(first, more, hours)| {
        let first = from + Days::new().days(first);
        let last = first + Days::new().days(more);
        let hours = hours.map_or(String::new(), |hours| format!(" {hours}"));
        format!("{first}..{last}{hours}").parse().unwrap()
    })
}

fn random_calendar() -> impl Strategy<Value = (usize, Calendar)> {
    (0..SEASONS.len()).prop_flat_map(|season| {
        let (name, from) = SEASONS[season];
        let lines = move || proptest::collection::vec(random_dated(from), 0..4);
        (
            proptest::collection::vec(random_window(), 0..4),
            proptest::option::of(any::<bool>()),
            lines(),
            lines(),
        )
            .prop_map(move |(open, holidays, closed, opened)| {
                let calendar = Calendar {
                    time_zone: name.to_owned(),
                    open,
                    holidays: holidays.map(alsace),
                    closed,
                    opened,
                };
                (season, calendar)
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn random_calendars_equal_the_definition(
        (season, calendar) in random_calendar(),
        asked in proptest::collection::vec(0.0_f64..1.0, 8),
    ) {
        let (name, from) = SEASONS[season];
        let (zone, clock) = (zone(name), &CLOCKS[season]);
        let ours = calendar.in_zone(&zone);
        let painted = painted(&calendar, clock, from);
        let (start, end) = (clock.minutes().start, clock.minutes().end);
        let is_open = |minute: i64| painted[(minute - start) as usize];
        let edges: Vec<i64> = (start + MARGIN + 1..end - MARGIN)
            .filter(|minute| is_open(*minute) != is_open(minute - 1))
            .collect();
        // From edge to edge, and from instants between them.
        let mut asked: Vec<i64> = asked
            .into_iter()
            .map(|part| start + MARGIN + ((end - start - 2 * MARGIN) as f64 * part) as i64)
            .chain(edges.iter().copied())
            .collect();
        asked.push(start + MARGIN);
        for minute_asked in asked {
            // The last millisecond of a minute is of it.
            for now in [minute_asked * MINUTE_MS, minute_asked * MINUTE_MS + MINUTE_MS - 1] {
                let now = Wall(now);
                prop_assert_eq!(ours.is_open(now), is_open(minute_asked), "{}", now);
                let expected = edges[edges.partition_point(|edge| *edge <= minute_asked)..].first();
                let edge = ours.next_edge(now);
                match expected {
                    Some(expected) => prop_assert_eq!(edge, Some(Wall(expected * MINUTE_MS)), "{}", now),
                    None => prop_assert!(edge.is_none_or(|edge| minute(edge) >= end - MARGIN), "{}", now),
                }
            }
        }
    }

    #[test]
    fn a_calendar_reads_back((_, calendar) in random_calendar()) {
        let text = serde_json::to_string(&calendar).unwrap();
        prop_assert_eq!(serde_json::from_str::<Calendar>(&text).unwrap(), calendar);
    }
}
