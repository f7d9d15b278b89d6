#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::{Span, civil::date};
use proptest::prelude::*;

use super::*;
use crate::civil::oracle::{Clock, MINUTE_MS, at, midnight, zone};

fn window(text: &str) -> Recurring {
    Recurring::try_from(text.to_owned()).unwrap()
}

/// Every edge from `from` to `to`, as `+` or `-` and the instant in UTC.
fn edges(text: &str, from: &str, to: &str) -> Vec<String> {
    let window = window(text);
    let zone = zone(window.time_zone());
    let mut edges = Vec::new();
    let mut now = at(from);
    while let Some(edge) = window.next_edge(&zone, now) {
        if edge > at(to) {
            break;
        }
        assert_ne!(
            window.is_on(&zone, edge),
            window.is_on(&zone, now),
            "{edge}"
        );
        let sign = if window.is_on(&zone, edge) { '+' } else { '-' };
        edges.push(format!("{sign}{}", &edge.to_string()[..16]));
        now = edge;
    }
    edges
}

/// Whether a window starts on a date, by what jiff knows of months.
fn starts(when: When, date: Date) -> Option<Hours> {
    match when {
        When::Weekly(window) => window.starts_on(date.weekday()).then(|| window.hours()),
        When::Monthly(nth, weekday, hours) => {
            let nth = match nth {
                Nth::First => 1,
                Nth::Second => 2,
                Nth::Third => 3,
                Nth::Fourth => 4,
                Nth::Last => -1,
            };
            (date.nth_weekday_of_month(nth, weekday).unwrap() == date).then_some(hours)
        }
        When::Once(..) => None,
    }
}

/// Every minute at which a window is on, by the clock on the wall.
fn minutes_on(when: When, clock: &Clock, from: Date, to: Date) -> Vec<bool> {
    let minutes = clock.minutes();
    let mut is_on = vec![false; usize::try_from(minutes.end - minutes.start).unwrap()];
    let mut paint = |from: i64, to: i64| {
        for minute in clock.span(from, to) {
            is_on[usize::try_from(minute - minutes.start).unwrap()] = true;
        }
    };
    if let When::Once(from, to) = when {
        let civil =
            |at: DateTime| midnight(at.date()) + i64::from(at.hour()) * 60 + i64::from(at.minute());
        paint(civil(from), civil(to));
    }
    for date in from.series(Span::new().days(1)).take_while(|day| *day < to) {
        if let Some(hours) = starts(when, date) {
            let midnight = midnight(date);
            paint(
                midnight + i64::from(hours.from()),
                midnight + i64::from(hours.to()),
            );
        }
    }
    is_on
}

fn compare(window: &Recurring, zone: &TimeZone, clock: &Clock, from: Date, to: Date) {
    let expected = minutes_on(window.when, clock, from, to);
    let minutes = clock.minutes();
    // Windows that start before the clock does are not painted.
    let start = minutes.start + 3 * 1_440;
    let mut is_on = window.is_on(zone, Wall(start * MINUTE_MS));
    let mut next = window.next_edge(zone, Wall(start * MINUTE_MS));
    for minute in start..minutes.end - 3 * 1_440 {
        let now = Wall(minute * MINUTE_MS);
        if next == Some(now) {
            is_on = !is_on;
            next = window.next_edge(zone, now);
        }
        let expected = expected[usize::try_from(minute - minutes.start).unwrap()];
        assert_eq!(is_on, expected, "{window} {now}");
    }
}

#[test]
fn windows_equal_a_naive_clock_at_every_minute_of_three_years() {
    // 29 February 2028 is the fifth Tuesday of its month.
    let (from, to) = (date(2025, 12, 25), date(2029, 1, 5));
    for name in ["Europe/Paris", "America/Miquelon"] {
        let zone = zone(name);
        let clock = Clock::new(&zone, from, to);
        for text in [
            "Tue 22:00-02:00",
            "Mon-Fri 22:00-06:00",
            "Sat,Sun 02:10-02:50",
            "Mon-Sun 23:00-22:00",
            "1st Sun 01:30-02:30",
            "2nd Tue 22:00-02:00",
            "3rd Wed 00:00-24:00",
            "4th Sun 02:00-03:00",
            "last Tue 22:00-02:00",
            "last Sun 00:00-02:30",
            "last Sat 22:00-02:30",
            "2026-12-01 22:00..2026-12-07 08:00",
            "2026-03-29 02:30..2026-10-25 02:30",
            "2027-10-31 02:10..2027-10-31 02:20",
        ] {
            compare(&window(&format!("{text} {name}")), &zone, &clock, from, to);
        }
    }
}

#[test]
fn the_last_tuesday_may_be_the_fifth_and_the_29th_of_february() {
    assert_eq!(
        edges(
            "last Tue 22:00-02:00 Europe/Paris",
            "2028-01-26T12:00:00Z",
            "2028-04-01T00:00:00Z"
        ),
        [
            "+2028-02-29T21:00",
            "-2028-03-01T01:00",
            "+2028-03-28T20:00",
            "-2028-03-29T00:00"
        ]
    );
    // The longest way from one to the next.
    assert_eq!(
        edges(
            "4th Sat 22:00-02:00 Europe/Paris",
            "2026-11-29T12:00:00Z",
            "2027-01-20T00:00:00Z"
        ),
        ["+2026-12-26T21:00", "-2026-12-27T01:00"]
    );
}

#[test]
fn the_clock_changes_within_a_window() {
    let fold = |text| edges(text, "2026-10-24T12:00:00Z", "2026-10-26T00:00:00Z");
    assert_eq!(
        fold("last Sat 22:00-02:30 Europe/Paris"),
        Vec::<String>::new(),
        "the last Saturday of October 2026 is the 31st"
    );
    assert_eq!(
        fold("4th Sat 22:00-02:30 Europe/Paris"),
        ["+2026-10-24T20:00", "-2026-10-25T01:30"]
    );
    assert_eq!(
        fold("2026-10-25 02:30..2026-10-25 06:00 Europe/Paris"),
        ["+2026-10-25T00:30", "-2026-10-25T05:00"]
    );
    let gap = |text| edges(text, "2027-03-27T12:00:00Z", "2027-03-29T00:00:00Z");
    assert_eq!(
        gap("last Sun 02:30-04:00 Europe/Paris"),
        ["+2027-03-28T01:00", "-2027-03-28T02:00"]
    );
    assert!(gap("last Sun 02:10-02:50 Europe/Paris").is_empty());
    assert!(gap("2027-03-28 02:10..2027-03-28 02:50 Europe/Paris").is_empty());
}

#[test]
fn windows_that_touch_are_one_and_what_never_ends_has_no_edge() {
    assert_eq!(
        edges(
            "Mon-Fri 00:00-24:00 Europe/Paris",
            "2026-11-21T00:00:00Z",
            "2026-11-29T00:00:00Z"
        ),
        ["+2026-11-22T23:00", "-2026-11-27T23:00"]
    );
    let always = window("Mon-Sun 00:00-24:00 Europe/Paris");
    let zone = zone("Europe/Paris");
    assert!(always.is_on(&zone, at("2026-10-25T00:30:00Z")));
    assert_eq!(always.next_edge(&zone, at("2026-10-25T00:30:00Z")), None);
}

#[test]
fn only_one_that_comes_once_has_an_end() {
    let zone = zone("Europe/Paris");
    let once = window("2026-12-01 22:00..2026-12-07 08:00 Europe/Paris");
    assert!(once.has_end());
    assert_eq!(
        edges(
            &once.to_string(),
            "2020-01-01T00:00:00Z",
            "2100-01-01T00:00:00Z"
        ),
        ["+2026-12-01T21:00", "-2026-12-07T07:00"]
    );
    assert_eq!(once.next_edge(&zone, at("2026-12-07T07:00:00Z")), None);
    assert!(!window("2nd Tue 22:00-02:00 Europe/Paris").has_end());
    assert!(!window("Tue 22:00-02:00 Europe/Paris").has_end());
}

#[test]
fn windows_read_back_and_mistakes_say_what_to_write() {
    for text in [
        "Tue 22:00-02:00 Europe/Paris",
        "Sat,Sun 00:00-24:00 UTC",
        "1st Mon 22:00-02:00 Europe/Paris",
        "4th Sun 22:00-02:00 America/Miquelon",
        "last Fri 08:00-09:00 Europe/Paris",
        "2026-12-01 22:00..2026-12-07 08:00 Europe/Paris",
    ] {
        let read = window(text);
        assert_eq!(String::from(read.clone()), text);
        assert!(text.ends_with(read.time_zone()));
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<Recurring>(&json).unwrap(), read);
    }
    assert_eq!(
        window(" LAST  fri  08:00-09:00  Europe/Paris").to_string(),
        "last Fri 08:00-09:00 Europe/Paris"
    );
    assert_eq!(
        window("2026-12-01 22:00 .. 2026-12-07 08:00 Europe/Paris").to_string(),
        "2026-12-01 22:00..2026-12-07 08:00 Europe/Paris"
    );
    for text in [
        "",
        "Europe/Paris",
        "Tue 22:00-02:00",
        "2nd Tue 22:00-02:00",
        "5th Tue 22:00-02:00 Europe/Paris",
        "2nd Mon-Fri 22:00-02:00 Europe/Paris",
        "2nd 22:00-02:00 Europe/Paris",
        "Tue 22:00-22:00 Europe/Paris",
        "2026-12-01 22:00..2026-12-07 08:00",
        "2026-12-07 08:00..2026-12-01 22:00 Europe/Paris",
        "2026-12-01 22:00..2026-12-01 22:00 Europe/Paris",
        "2026-12-01..2026-12-07 Europe/Paris",
        "2026-12-01 22:00..2026-12-07 24:00 Europe/Paris",
        "2026-02-30 22:00..2026-12-07 08:00 Europe/Paris",
    ] {
        let error = Recurring::try_from(text.to_owned()).unwrap_err();
        assert!(error.to_string().contains("2nd Tue"), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_window_answers_at_any_instant(at in any::<i64>(), which in 0_usize..4) {
        let window = window([
            "Mon-Sun 02:00-01:00 Europe/Paris",
            "last Sun 02:10-02:50 Europe/Paris",
            "2026-12-01 22:00..2026-12-07 08:00 Europe/Paris",
            "9999-12-30 22:00..9999-12-31 23:00 Europe/Paris",
        ][which]);
        let zone = zone(window.time_zone());
        for at in [at, at >> 16, at >> 24, i64::MIN, i64::MAX] {
            let is_on = window.is_on(&zone, Wall(at));
            if let Some(edge) = window.next_edge(&zone, Wall(at)) {
                prop_assert!(edge > Wall(at));
                prop_assert_ne!(window.is_on(&zone, edge), is_on);
            }
        }
    }
}
