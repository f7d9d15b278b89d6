#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::civil::date;
use proptest::prelude::*;

use super::{
    holidays::{Territory, easter},
    *,
};

const MINUTE_MS: i64 = 60_000;

/// Zones are values in core; a test takes them from the machine like the programs do.
#[expect(clippy::disallowed_methods, reason = "the test plays the program")]
fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn alsace(good_friday: bool) -> HolidaySet {
    HolidaySet {
        territory: Territory::Metropole,
        alsace_moselle: true,
        good_friday,
    }
}

fn lines<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn calendar(zone: &str, open: &[&str], closed: &[&str], opened: &[&str]) -> Calendar {
    Calendar {
        time_zone: zone.to_owned(),
        open: lines(open),
        holidays: Some(alsace(true)),
        closed: lines(closed),
        opened: lines(opened),
    }
}

fn office() -> Calendar {
    calendar("Europe/Paris", &["Mon-Fri 08:30-18:00"], &[], &[])
}

fn at(text: &str) -> Wall {
    Wall::parse(text).unwrap()
}

/// Every edge from `from` to `to`, as `+` or `-` and the instant in UTC.
fn edges(calendar: &Calendar, from: &str, to: &str) -> Vec<String> {
    let zone = zone(&calendar.time_zone);
    let calendar = calendar.in_zone(&zone);
    let mut edges = Vec::new();
    let mut now = at(from);
    while let Some(edge) = calendar.next_edge(now) {
        if edge > at(to) {
            break;
        }
        let sign = if calendar.is_open(edge) { '+' } else { '-' };
        edges.push(format!("{sign}{}", &edge.to_string()[..16]));
        now = edge;
    }
    edges
}

// -- holidays ---------------------------------------------------------------------------------------------------------

/// Gauss's algorithm with its two exceptions: another road to the same Sunday.
fn easter_by_gauss(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y % 4, y % 7);
    let k = y / 100;
    let p = (13 + 8 * k) / 25;
    let q = k / 4;
    let m = (15 - p + k - q) % 30;
    let n = (4 + k - q) % 7;
    let d = (19 * a + m) % 30;
    let e = (2 * b + 4 * c + 6 * d + n) % 7;
    let days = match 22 + d + e {
        57 => 50,
        56 if d == 28 && (11 * m + 11) % 30 < 19 => 49,
        days => days,
    };
    if days <= 31 {
        date(year, 3, days as i8)
    } else {
        date(year, 4, (days - 31) as i8)
    }
}

#[test]
fn easter_is_the_same_by_two_algorithms() {
    for year in 1886..=2299 {
        assert_eq!(easter(year), easter_by_gauss(year), "{year}");
    }
    assert_eq!(easter(2027), date(2027, 3, 28));
}

#[test]
fn the_holidays_of_a_year_are_those_of_the_law() {
    let days = |set: HolidaySet, year| -> Vec<String> {
        let days = date(year, 1, 1).series(jiff::Span::new().days(1));
        days.take_while(|day| day.year() == year)
            .filter_map(|day| {
                Some(format!(
                    "{:02}-{:02} {}",
                    day.month(),
                    day.day(),
                    set.on(day)?.as_str()
                ))
            })
            .collect()
    };
    assert_eq!(
        days(alsace(true), 2027),
        [
            "01-01 new_year",
            "03-26 good_friday",
            "03-29 easter_monday",
            "05-01 labour_day",
            "05-06 ascension",
            "05-08 victory",
            "05-17 whit_monday",
            "07-14 national_day",
            "08-15 assumption",
            "11-01 all_saints",
            "11-11 armistice",
            "12-25 christmas",
            "12-26 second_christmas_day",
        ]
    );
    let metropole = HolidaySet {
        territory: Territory::Metropole,
        alsace_moselle: false,
        good_friday: false,
    };
    assert_eq!(days(metropole, 2026).len(), 11);
    // Ascension on 1 May, and on 8 May.
    assert_eq!(days(metropole, 2008).len(), 10);
    assert_eq!(days(metropole, 2059).len(), 10);
    for (territory, own) in [
        (Territory::Guadeloupe, "05-27"),
        (Territory::Guyane, "06-10"),
        (Territory::Martinique, "05-22"),
        (Territory::Mayotte, "04-27"),
        (Territory::LaReunion, "12-20"),
        (Territory::SaintBarthelemy, "10-09"),
        (Territory::SaintMartin, "05-28"),
    ] {
        let set = HolidaySet {
            territory,
            ..metropole
        };
        let days = days(set, 2026);
        assert_eq!(days.len(), 12, "{territory:?}");
        let own = format!("{own} abolition_of_slavery");
        assert!(days.contains(&own), "{territory:?}: {days:?}");
    }
}

// -- the text form ----------------------------------------------------------------------------------------------------

#[test]
fn lines_read_back_and_mistakes_say_what_to_write() {
    for text in [
        "Mon,Tue,Wed,Thu,Fri 08:30-18:00",
        "Sat 22:00-06:00",
        "Sun 00:00-24:00",
    ] {
        assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
    }
    assert_eq!(
        "sat-mon 08:00-09:00".parse::<Window>().unwrap().to_string(),
        "Mon,Sat,Sun 08:00-09:00"
    );
    for text in [
        "2027-05-07",
        "2026-12-24..2027-01-02",
        "2026-12-24 12:30-24:00",
    ] {
        assert_eq!(text.parse::<Dated>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "Mon",
        "Mon 8:30-18:00",
        "Mon 08:30-24:01",
        "Mon 08:30-08:30",
        "Mon 24:00-08:00",
        "Lun 08:30-18:00",
        "Mon- 08:30-18:00",
        "Mon 08:60-09:00",
        "Mon 0830-1800",
    ] {
        assert!(text.parse::<Window>().is_err(), "{text:?}");
    }
    for text in [
        "2027-02-30",
        "20270507",
        "2027-05-07..2027-05-06",
        "2020-01-01..2026-01-01",
        "2027-05-07 25:00-26:00",
        "demain",
    ] {
        assert!(text.parse::<Dated>().is_err(), "{text:?}");
    }
}

#[test]
fn two_dated_lines_conflict_only_at_the_same_precision() {
    let line = |text: &str| text.parse::<Dated>().unwrap();
    assert!(line("2027-05-07").conflicts_with(line("2027-05-01..2027-05-09")));
    assert!(!line("2027-05-07").conflicts_with(line("2027-05-08")));
    assert!(!line("2027-05-07").conflicts_with(line("2027-05-07 09:00-12:00")));
    assert!(line("2027-05-07 08:00-10:00").conflicts_with(line("2027-05-07 09:00-12:00")));
    assert!(!line("2027-05-07 08:00-09:00").conflicts_with(line("2027-05-07 09:00-12:00")));
}

// -- meaning ----------------------------------------------------------------------------------------------------------

#[test]
fn the_strasbourg_easter_of_2027_is_closed_for_95_hours_and_more() {
    // Thursday's evening to Tuesday's morning; Sunday has 23 hours.
    assert_eq!(
        edges(&office(), "2027-03-25T12:00:00Z", "2027-03-30T12:00:00Z"),
        ["-2027-03-25T17:00", "+2027-03-30T06:30"]
    );
    let zone = zone("Europe/Paris");
    let midnight = |day| {
        let day = date(2027, 3, day).to_zoned(zone.clone()).unwrap();
        day.timestamp().as_second()
    };
    assert_eq!((midnight(30) - midnight(26)) / 3_600, 95);
    let calendar = office();
    let calendar = calendar.in_zone(&zone);
    let why = |text| calendar.why(at(text));
    assert_eq!(
        why("2027-03-26T10:00:00Z"),
        Why::Holiday(date(2027, 3, 26), Holiday::GoodFriday)
    );
    assert_eq!(why("2027-03-28T10:00:00Z"), Why::OutsideHours);
    assert_eq!(
        why("2027-03-29T10:00:00Z"),
        Why::Holiday(date(2027, 3, 29), Holiday::EasterMonday)
    );
    assert_eq!(why("2027-03-30T10:00:00Z"), Why::Window(date(2027, 3, 30)));
}

#[test]
fn the_friday_after_ascension_is_an_ordinary_day() {
    assert_eq!(
        edges(&office(), "2026-05-13T12:00:00Z", "2026-05-15T23:00:00Z"),
        [
            "-2026-05-13T16:00",
            "+2026-05-15T06:30",
            "-2026-05-15T16:00"
        ]
    );
}

#[test]
fn a_dated_line_beats_a_holiday_and_a_part_beats_a_day() {
    let calendar = calendar(
        "Europe/Paris",
        &["Mon-Fri 08:30-18:00"],
        &["2027-05-07", "2026-12-24 12:30-24:00"],
        &["2027-05-17", "2027-05-07 10:00-11:00"],
    );
    // Christmas Eve ends at noon; the bridge is closed but for an hour; Whit Monday is worked.
    assert_eq!(
        edges(&calendar, "2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z"),
        ["+2026-12-24T07:30", "-2026-12-24T11:30"]
    );
    assert_eq!(
        edges(&calendar, "2027-05-05T17:00:00Z", "2027-05-08T00:00:00Z"),
        ["+2027-05-07T08:00", "-2027-05-07T09:00"]
    );
    assert_eq!(
        edges(&calendar, "2027-05-17T00:00:00Z", "2027-05-17T23:00:00Z"),
        ["+2027-05-17T06:30", "-2027-05-17T16:00"]
    );
}

#[test]
fn a_window_belongs_to_the_date_on_which_it_starts() {
    let nights = calendar("Europe/Paris", &["Mon-Fri 22:00-06:00"], &[], &[]);
    // Wednesday's night runs into Ascension; the one of Ascension itself does not take place.
    assert_eq!(
        edges(&nights, "2026-05-13T12:00:00Z", "2026-05-16T12:00:00Z"),
        [
            "+2026-05-13T20:00",
            "-2026-05-14T04:00",
            "+2026-05-15T20:00",
            "-2026-05-16T04:00"
        ]
    );
}

#[test]
fn windows_that_touch_are_one() {
    let whole = calendar("Europe/Paris", &["Mon-Fri 00:00-24:00"], &[], &[]);
    assert_eq!(
        edges(&whole, "2026-11-21T00:00:00Z", "2026-11-29T00:00:00Z"),
        ["+2026-11-22T23:00", "-2026-11-27T23:00"]
    );
    let always = Calendar {
        holidays: None,
        ..calendar("Europe/Paris", &["Mon-Sun 00:00-24:00"], &[], &[])
    };
    let zone = zone("Europe/Paris");
    assert_eq!(
        always.in_zone(&zone).next_edge(at("2026-01-01T00:00:00Z")),
        None
    );
    assert!(always.in_zone(&zone).is_open(at("2026-10-25T00:30:00Z")));
}

#[test]
fn an_exception_years_ahead_is_the_next_edge_of_a_calendar_without_any() {
    let never = Calendar {
        holidays: None,
        ..calendar("Europe/Paris", &[], &[], &["2033-03-01 09:00-10:00"])
    };
    assert_eq!(
        edges(&never, "2026-01-01T00:00:00Z", "2040-01-01T00:00:00Z"),
        ["+2033-03-01T08:00", "-2033-03-01T09:00"]
    );
}

#[test]
fn both_changes_of_the_clock_lose_and_double_nothing() {
    // The fold of 2026: 01:00Z is the second 02:00.
    for (window, expected) in [
        (
            "Sun 02:30-04:00",
            ["+2026-10-25T00:30", "-2026-10-25T03:00"],
        ),
        (
            "Sun 01:00-02:30",
            ["+2026-10-24T23:00", "-2026-10-25T01:30"],
        ),
        (
            "Sun 01:00-02:00",
            ["+2026-10-24T23:00", "-2026-10-25T00:00"],
        ),
        (
            "Sun 01:00-03:00",
            ["+2026-10-24T23:00", "-2026-10-25T02:00"],
        ),
        (
            "Sat 22:00-02:30",
            ["+2026-10-24T20:00", "-2026-10-25T01:30"],
        ),
    ] {
        let calendar = calendar("Europe/Paris", &[window], &[], &[]);
        assert_eq!(
            edges(&calendar, "2026-10-24T12:00:00Z", "2026-10-26T00:00:00Z"),
            expected,
            "{window}"
        );
    }
    // The gap of 2027: at 01:00Z the clock jumps from 02:00 to 03:00.
    for (window, expected) in [
        (
            "Sun 02:30-04:00",
            vec!["+2027-03-28T01:00", "-2027-03-28T02:00"],
        ),
        (
            "Sun 01:00-02:30",
            vec!["+2027-03-28T00:00", "-2027-03-28T01:00"],
        ),
        ("Sun 02:10-02:50", vec![]),
        (
            "Sat 22:00-06:00",
            vec!["+2027-03-27T21:00", "-2027-03-28T04:00"],
        ),
    ] {
        let calendar = calendar("Europe/Paris", &[window], &[], &[]);
        assert_eq!(
            edges(&calendar, "2027-03-27T12:00:00Z", "2027-03-29T00:00:00Z"),
            expected,
            "{window}"
        );
    }
}

#[test]
fn an_edge_is_exact_to_the_millisecond() {
    let zone = zone("Europe/Paris");
    let calendar = office();
    let calendar = calendar.in_zone(&zone);
    let opening = at("2026-11-23T07:30:00Z");
    assert!(!calendar.is_open(Wall(opening.0 - 1)));
    assert!(calendar.is_open(opening));
    assert_eq!(calendar.next_edge(Wall(opening.0 - 1)), Some(opening));
    assert_eq!(
        calendar.next_edge(opening),
        Some(at("2026-11-23T17:00:00Z"))
    );
}

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
        ("Indian/Reunion", Territory::LaReunion),
        ("America/Cayenne", Territory::Guyane),
        ("America/Martinique", Territory::Martinique),
        ("Indian/Mayotte", Territory::Mayotte),
        ("Pacific/Noumea", Territory::Metropole),
        // Changes on North American dates.
        ("America/Miquelon", Territory::Metropole),
    ] {
        let holidays = HolidaySet {
            territory,
            alsace_moselle: false,
            good_friday: false,
        };
        compare_with_every_minute(
            name,
            holidays,
            "2020-01-01T00:00:00Z",
            "2032-01-01T00:00:00Z",
        );
    }
}

/// What a span of a date is by definition: from the first to the last minute whose clock shows a time of it.
fn shown(zone: &TimeZone, day: i64, hours: Hours) -> Option<(i64, i64)> {
    let from = day * 1440 + i64::from(hours.from());
    let to = day * 1440 + i64::from(hours.to());
    let minutes = (from - 1600..to + 1600).filter(|minute| {
        let offset = zone.to_offset(Timestamp::from_second(minute * 60).unwrap());
        (from..to).contains(&(minute + i64::from(offset.seconds()) / 60))
    });
    let (mut first, mut last) = (None, None);
    for minute in minutes {
        first.get_or_insert(minute);
        last = Some(minute);
    }
    first.zip(last.map(|last| last + 1))
}

fn naive(calendar: &Calendar, zone: &TimeZone, minute: i64) -> bool {
    let offset = zone.to_offset(Timestamp::from_second(minute * 60).unwrap());
    let today = (minute + i64::from(offset.seconds()) / 60).div_euclid(1440);
    let is_on = |day: i64, hours: Hours| {
        shown(zone, day, hours).is_some_and(|(first, end)| (first..end).contains(&minute))
    };
    let days = || (today - 2..=today + 1).map(|day| (day, CivilSecond::midnight(day).date()));
    let part_on = |lines: &[Dated]| {
        days().any(|(day, date)| {
            lines.iter().any(|line| {
                line.covers(date) && line.hours().is_some_and(|hours| is_on(day, hours))
            })
        })
    };
    let whole = |lines: &[Dated], date| {
        lines
            .iter()
            .any(|line| line.hours().is_none() && line.covers(date))
    };
    if part_on(&calendar.opened) {
        return true;
    }
    if part_on(&calendar.closed) {
        return false;
    }
    days().any(|(day, date)| {
        let works = whole(&calendar.opened, date)
            || !whole(&calendar.closed, date)
                && calendar.holidays.is_none_or(|set| set.on(date).is_none());
        works
            && calendar
                .open
                .iter()
                .any(|window| window.starts_on(date.weekday()) && is_on(day, window.hours()))
    })
}

fn hours() -> impl Strategy<Value = String> {
    let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
    // Mostly quarters of the night, where the clock changes.
    (0_u32..96, 1_u32..96).prop_map(move |(from, length)| {
        let (from, to) = (from * 15, (from + length) * 15);
        let to = if to > 1440 { to - 1440 } else { to };
        format!("{}-{}", time(from), time(to))
    })
}

fn random_calendar() -> impl Strategy<Value = Calendar> {
    let window = (1_u8..128, hours()).prop_map(|(days, hours)| {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<_> = (0..7)
            .filter(|day| days & (1 << day) != 0)
            .map(|day| names[day])
            .collect();
        format!("{} {hours}", days.join(","))
            .parse::<Window>()
            .unwrap()
    });
    // Within the week of the change that the test looks at.
    let dated = move || {
        (20_i8..31, 0_i8..3, proptest::option::of(hours())).prop_map(|(day, more, hours)| {
            let last = (day + more).min(31);
            let hours = hours.map_or(String::new(), |hours| format!(" {hours}"));
            format!("2027-03-{day}..2027-03-{last}{hours}")
                .parse::<Dated>()
                .unwrap()
        })
    };
    (
        proptest::collection::vec(window, 0..4),
        proptest::option::of(any::<bool>()),
        proptest::collection::vec(dated(), 0..3),
        proptest::collection::vec(dated(), 0..3),
    )
        .prop_map(|(open, holidays, closed, opened)| Calendar {
            time_zone: "Europe/Paris".to_owned(),
            open,
            holidays: holidays.map(alsace),
            closed,
            opened,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_calendars_equal_the_definition(calendar in random_calendar(), start in 0_i64..5 * 1440) {
        let zone = zone("Europe/Paris");
        let ours = calendar.in_zone(&zone);
        // From Wednesday before Easter 2027, whose Sunday has 23 hours.
        let start = at("2027-03-24T00:00:00Z").0 / MINUTE_MS + start;
        for minute in (start..start + 240).step_by(5) {
            let wall = Wall(minute * MINUTE_MS);
            prop_assert_eq!(ours.is_open(wall), naive(&calendar, &zone, minute), "{}", wall);
        }
        // And the next edge is the first minute at which it differs.
        let now = Wall(start * MINUTE_MS);
        if let Some(edge) = ours.next_edge(now) {
            prop_assert!(edge > now);
            prop_assert_ne!(ours.is_open(edge), ours.is_open(now));
            prop_assert_eq!(ours.is_open(Wall(edge.0 - 1)), ours.is_open(now));
            let step = ((edge.0 - now.0) / 64).max(1);
            for wall in (now.0..edge.0).step_by(usize::try_from(step).unwrap()) {
                prop_assert_eq!(ours.is_open(Wall(wall)), ours.is_open(now));
            }
        }
    }

    #[test]
    fn a_calendar_reads_back(calendar in random_calendar()) {
        let text = serde_json::to_string(&calendar).unwrap();
        prop_assert_eq!(serde_json::from_str::<Calendar>(&text).unwrap(), calendar);
    }
}
