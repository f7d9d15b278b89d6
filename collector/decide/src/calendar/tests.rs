#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::{
    Span as Days,
    civil::{Weekday, date},
};

use super::{
    holidays::{Territory, easter},
    *,
};
use crate::civil::oracle::{at, zone};

mod every_minute;

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
        let days = date(year, 1, 1).series(Days::new().days(1));
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
fn that_easter_is_95_hours_where_good_friday_is_kept_and_71_where_it_is_not() {
    let zone = zone("Europe/Paris");
    for (good_friday, closing, hours) in [
        (true, "2027-03-25T23:00:00Z", 95),
        (false, "2027-03-26T23:00:00Z", 71),
    ] {
        let calendar = Calendar {
            holidays: Some(alsace(good_friday)),
            ..calendar("Europe/Paris", &["Mon-Fri 00:00-24:00"], &[], &[])
        };
        let calendar = calendar.in_zone(&zone);
        let from = calendar.next_edge(at("2027-03-25T12:00:00Z")).unwrap();
        let to = calendar.next_edge(from).unwrap();
        assert_eq!((from, calendar.is_open(from)), (at(closing), false));
        assert_eq!((to.0 - from.0) / 3_600_000, hours);
        assert_eq!(to, at("2027-03-29T22:00:00Z"));
    }
}

/// Of every holiday of a century: it is closed, and the day after it is what it would be in any week.
#[test]
fn the_day_after_a_holiday_is_ordinary_unless_it_is_closed_itself() {
    let paris = zone("Europe/Paris");
    let on = |day: Date, hour: i8, minute: i8| {
        let civil = day.at(hour, minute, 0, 0).to_zoned(paris.clone());
        Wall(civil.unwrap().timestamp().as_millisecond())
    };
    let mut sets = vec![alsace(true), alsace(false)];
    sets.extend(Territory::ALL.map(|territory| HolidaySet {
        territory,
        alsace_moselle: false,
        good_friday: false,
    }));
    let mut seen = 0;
    for set in sets {
        let office = Calendar {
            holidays: Some(set),
            ..office()
        };
        let nights = Calendar {
            open: lines(&["Mon-Sun 20:00-06:00"]),
            ..office.clone()
        };
        let (office, nights) = (office.in_zone(&paris), nights.in_zone(&paris));
        let is_worked = |day: Date| {
            let is_weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
            !is_weekend && set.on(day).is_none()
        };
        let days = date(2000, 1, 1).series(Days::new().days(1));
        for day in days.take_while(|day| day.year() < 2100) {
            let Some(holiday) = set.on(day) else { continue };
            seen += 1;
            assert_eq!(office.why(on(day, 12, 0)), Why::Holiday(day, holiday));
            assert!(!nights.is_open(on(day, 23, 0)), "{day}");
            let next = day.tomorrow().unwrap();
            // The night before the holiday lasts into it; its own is none; that of the day after is one again.
            assert!(!nights.is_open(on(next, 1, 0)), "{day}");
            assert_eq!(nights.is_open(on(next, 23, 0)), set.on(next).is_none());
            assert_eq!(office.is_open(on(next, 8, 30)), is_worked(next), "{day}");
            assert!(!office.is_open(on(next, 8, 29)) && !office.is_open(on(next, 18, 0)));
            let mut worked = next;
            while !is_worked(worked) {
                worked = worked.tomorrow().unwrap();
            }
            let opening = on(worked, 8, 30);
            assert_eq!(office.next_edge(on(day, 0, 0)), Some(opening), "{day}");
            assert_eq!(office.next_edge(opening), Some(on(worked, 18, 0)));
        }
    }
    assert!(seen > 10_000, "{seen}");
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
fn what_comes_once_a_week_or_after_years_is_found() {
    // Easter Monday takes one of them away.
    assert_eq!(
        edges(
            &calendar("Europe/Paris", &["Mon 08:00-09:00"], &[], &[]),
            "2026-03-31T00:00:00Z",
            "2026-04-14T00:00:00Z"
        ),
        ["+2026-04-13T06:00", "-2026-04-13T07:00"]
    );
    // Works that close it for years, line after line, and a night that began before them.
    let works = ["2026-12-02..2028-12-01", "2028-12-02..2030-06-02"];
    let nights = calendar("Europe/Paris", &["Mon-Fri 22:00-06:00"], &works, &[]);
    assert_eq!(
        edges(&nights, "2026-12-01T12:00:00Z", "2030-06-04T12:00:00Z"),
        [
            "+2026-12-01T21:00",
            "-2026-12-02T05:00",
            "+2030-06-03T20:00",
            "-2030-06-04T04:00"
        ]
    );
    // Always open, but for a holiday a season ahead.
    assert_eq!(
        edges(
            &calendar("Europe/Paris", &["Mon-Sun 00:00-24:00"], &[], &[]),
            "2026-08-16T00:00:00Z",
            "2026-11-02T12:00:00Z"
        ),
        ["-2026-10-31T23:00", "+2026-11-01T23:00"]
    );
    // The last day of all years, from the first instant and from the last.
    let end = calendar(
        "Europe/Paris",
        &[],
        &["9999-12-31"],
        &["9999-12-30 09:00-10:00"],
    );
    let zone = zone("Europe/Paris");
    let end = end.in_zone(&zone);
    assert_eq!(
        end.next_edge(at("2026-01-01T00:00:00Z")),
        Some(at("9999-12-30T08:00:00Z"))
    );
    for calendar in [office().in_zone(&zone), end] {
        for now in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            let next = calendar.next_edge(Wall(now));
            assert!(next.is_none_or(|next| next > Wall(now)));
        }
    }
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
fn a_fold_over_midnight_lets_the_evening_run_into_the_next_day() {
    // At 00:01 the clock of Newfoundland went back to 23:01, of the day before.
    let calendar = calendar(
        "America/St_Johns",
        &["Mon-Sun 00:00-24:00"],
        &["2010-11-06 23:10-23:40"],
        &["2010-11-06 23:20-23:30"],
    );
    assert_eq!(
        edges(&calendar, "2010-11-06T12:00:00Z", "2010-11-07T12:00:00Z"),
        [
            "-2010-11-07T01:40",
            "+2010-11-07T01:50",
            "-2010-11-07T03:00",
            "+2010-11-07T03:10"
        ]
    );
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
