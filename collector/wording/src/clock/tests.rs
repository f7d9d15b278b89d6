use super::*;
use crate::tests::paris;

/// 22 November 2026, 19:04:31 UTC.
const EVENING: Wall = Wall(1_795_374_271_207);
const HOUR_MS: i64 = 3_600_000;

fn clock(language: Language, zone: Option<&TimeZone>, today: Wall) -> Clock<'_> {
    Clock {
        language,
        zone,
        today,
    }
}

#[test]
fn the_day_is_said_when_it_is_not_todays() {
    let paris = paris();
    let tomorrow = EVENING.plus_ms(10 * HOUR_MS);
    let next_year = EVENING.plus_ms(60 * 24 * HOUR_MS);
    let table = [
        (EVENING, "depuis 20:04", "at 20:04", "until 20:04"),
        (
            tomorrow,
            "depuis le 22/11 à 20:04",
            "on 22 Nov at 20:04",
            "until 22 Nov 20:04",
        ),
        (
            next_year,
            "depuis le 22/11/2026 à 20:04",
            "on 22 Nov 2026 at 20:04",
            "until 22 Nov 2026 20:04",
        ),
    ];
    for (today, since, at, until) in table {
        let french = clock(Language::French, Some(&paris), today);
        let english = clock(Language::English, Some(&paris), today);
        assert_eq!(french.since(EVENING), since);
        assert_eq!(english.at(EVENING), at);
        assert_eq!(english.until(EVENING), until);
    }
    let french = clock(Language::French, Some(&paris), EVENING);
    let later = EVENING.plus_ms(6 * HOUR_MS);
    assert_eq!(
        french.span(EVENING, EVENING.plus_ms(60_000)),
        "de 20:04 à 20:05"
    );
    assert_eq!(
        french.span(EVENING, later),
        "du 22/11 à 20:04 au 23/11 à 02:04"
    );
    assert_eq!(french.until(later), "jusqu'au 23/11 à 02:04");
    assert_eq!(french.full(EVENING), "22/11/2026 20:04");
}

#[test]
fn without_a_zone_each_time_says_that_it_is_utc() {
    let clock = clock(Language::French, None, EVENING);
    assert_eq!(clock.since(EVENING), "depuis 19:04 UTC");
    assert_eq!(clock.full(EVENING), "22/11/2026 19:04 UTC");
    assert_eq!(clock.zone_line(), None);
}

#[test]
fn the_zone_is_said_once_with_its_offset_of_the_day() {
    let paris = paris();
    let summer = EVENING.plus_ms(-120 * 24 * HOUR_MS);
    let lines = [
        (Language::French, EVENING, "Heures : Europe/Paris (UTC+1)."),
        (Language::English, summer, "Times: Europe/Paris (UTC+2)."),
    ];
    for (language, today, line) in lines {
        let clock = clock(language, Some(&paris), today);
        assert_eq!(clock.zone_line().as_deref(), Some(line));
    }
}

#[test]
fn the_hour_that_comes_twice_says_which_it_is() {
    let paris = paris();
    // 25 October 2026, 00:30 and 01:30 UTC: 02:30 in Paris, twice.
    let first = Wall(1_792_888_200_000);
    let clock = clock(Language::French, Some(&paris), first);
    assert_eq!(clock.since(first), "depuis 02:30 (UTC+2)");
    assert_eq!(clock.since(first.plus_ms(HOUR_MS)), "depuis 02:30 (UTC+1)");
    assert_eq!(clock.since(first.plus_ms(2 * HOUR_MS)), "depuis 03:30");
}

#[test]
fn dates_are_written_as_each_language_does() {
    let paris = paris();
    let of = |language| clock(language, Some(&paris), EVENING);
    let first_of_december = EVENING.plus_ms(9 * 24 * HOUR_MS);
    assert_eq!(of(Language::French).date(EVENING), "22 novembre");
    assert_eq!(of(Language::French).date(first_of_december), "1er décembre");
    assert_eq!(of(Language::English).date(EVENING), "22 November");
}

#[test]
fn an_instant_that_no_calendar_has_is_a_question_mark() {
    let paris = paris();
    let clock = clock(Language::English, Some(&paris), Wall(i64::MAX));
    assert_eq!(clock.since(Wall(i64::MIN)), "since ?");
    assert_eq!(clock.full(Wall(i64::MAX)), "?");
    assert_eq!(clock.date(Wall(i64::MAX)), "?");
    assert_eq!(clock.zone_line(), None);
}
