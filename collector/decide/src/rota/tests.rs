#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::civil::oracle::{Clock, DAY_MINUTES as DAY, MINUTE_MS, at, midnight, minute, zone};

/// Zones and the days on which their clocks change in 2026 and 2027: Miquelon on the dates of North America.
const CHANGES: [(&str, [Date; 4]); 2] = [
    (
        "Europe/Paris",
        [
            date(2026, 3, 29),
            date(2026, 10, 25),
            date(2027, 3, 28),
            date(2027, 10, 31),
        ],
    ),
    (
        "America/Miquelon",
        [
            date(2026, 3, 8),
            date(2026, 11, 1),
            date(2027, 3, 14),
            date(2027, 11, 7),
        ],
    ),
];

fn rota(people: &[&str], handoff: &str, first: Date) -> Rota {
    Rota {
        people: people.iter().map(|name| name.parse().unwrap()).collect(),
        handoff: handoff.to_owned().try_into().unwrap(),
        first,
        overrides: Vec::new(),
    }
}

fn stands_in(person: &str, from: &str, to: &str) -> Override {
    Override {
        from: rule::date_time(from).unwrap(),
        to: rule::date_time(to).unwrap(),
        person: person.parse().unwrap(),
    }
}

fn names(people: Vec<&PersonName>) -> Vec<&str> {
    people.into_iter().map(PersonName::as_str).collect()
}

/// Whoever is on call at each change from `from` to `to`: `18:00 am+jb`, in UTC.
fn story(rota: &Rota, from: &str, to: &str) -> Vec<String> {
    let zone = zone(&rota.handoff.time_zone);
    let tell = |now: Wall| names(rota.on_call(&zone, now)).join("+");
    let mut now = at(from);
    let mut last = tell(now);
    let mut story = vec![last.clone()];
    while let Some(next) = rota.next_change(&zone, now) {
        assert!(next > now);
        if next > at(to) {
            break;
        }
        now = next;
        let people = tell(now);
        if people != last {
            story.push(format!("{} {people}", &now.to_string()[11..16]));
            last = people;
        }
    }
    story
}

// -- the oracle -------------------------------------------------------------------------------------------------------

/// A rota in minutes of the clock.
struct Naive<'r> {
    rota: &'r Rota,
    first: i64,
    period: i64,
    overrides: Vec<(i64, i64, &'r PersonName)>,
}

impl<'r> Naive<'r> {
    fn of(rota: &'r Rota) -> Self {
        let shown = |civil: jiff::civil::DateTime| {
            midnight(civil.date()) + i64::from(civil.hour()) * 60 + i64::from(civil.minute())
        };
        let overrides = rota.overrides.iter().filter(|one| one.from < one.to);
        Self {
            rota,
            first: midnight(rota.first) + i64::from(rota.handoff.minute),
            period: if rota.handoff.day.is_some() {
                7 * DAY
            } else {
                DAY
            },
            overrides: overrides
                .map(|one| (shown(one.from), shown(one.to), &one.person))
                .collect(),
        }
    }

    /// Who is on call by a clock that never goes back: `covers` says whether an override does.
    fn by_clock(&self, shown: i64, covers: impl Fn(i64, i64) -> bool) -> &'r PersonName {
        let mut overrides = self.overrides.iter().rev();
        if let Some((.., person)) = overrides.find(|(from, to, _)| covers(*from, *to)) {
            return person;
        }
        let turn = (shown - self.first).div_euclid(self.period);
        &self.rota.people[turn.rem_euclid(self.rota.people.len() as i64) as usize]
    }

    /// By the clock that has been furthest, and by the one that will not go back any more. An override counts also
    /// between the two readings of its ends.
    fn on_call(&self, clock: &Clock, minute: i64) -> [&'r PersonName; 2] {
        let early = clock.furthest(minute);
        // What the clock will show again has not been shown for the last time; what it has not yet shown, neither.
        let late = early.min(clock.earliest_left(minute + 1) - 1);
        [
            self.by_clock(early, |from, to| from <= early && early < to),
            self.by_clock(late, |from, to| {
                from <= late && late < to || to <= early && late < from
            }),
        ]
    }
}

fn are_the_same(people: &[&PersonName], naive: [&PersonName; 2]) -> bool {
    match people {
        [one] => naive == [*one; 2],
        [one, two] => one != two && (naive == [*one, *two] || naive == [*two, *one]),
        _ => false,
    }
}

/// Every minute of the clock: the answer, and that it changes only where `next_change` said.
fn compare(rota: &Rota, zone: &TimeZone, clock: &Clock) {
    let naive = Naive::of(rota);
    let mut minutes = clock.minutes();
    // So that the oracle's clock knows the change before and after.
    (minutes.start, minutes.end) = (minutes.start + DAY, minutes.end - DAY);
    let mut people = rota.on_call(zone, Wall(minutes.start * MINUTE_MS));
    let mut next = rota.next_change(zone, Wall(minutes.start * MINUTE_MS));
    for minute in minutes {
        let now = Wall(minute * MINUTE_MS);
        if next == Some(now) {
            people = rota.on_call(zone, now);
            next = rota.next_change(zone, now);
        }
        let expected = naive.on_call(clock, minute);
        assert!(
            are_the_same(&people, expected),
            "{now} {people:?} {expected:?} {rota:?}"
        );
    }
}

#[test]
fn rotas_equal_a_naive_clock_at_every_minute_of_2026_and_2027() {
    for (name, _) in CHANGES {
        let zone = zone(name);
        let clock = Clock::new(&zone, date(2025, 12, 31), date(2028, 1, 2));
        for (handoff, first) in [
            ("Mon 08:30", date(2026, 11, 23)),
            ("Sun 02:30", date(2026, 10, 25)),
            ("Sun 02:00", date(2030, 6, 2)),
            ("02:30", date(2026, 11, 23)),
        ] {
            let mut rota = rota(&["am", "jb", "lk"], &format!("{handoff} {name}"), first);
            rota.overrides = vec![
                stands_in("sd", "2026-03-29 02:30", "2026-10-25 02:30"),
                stands_in("am", "2026-12-24 18:00", "2026-12-26 08:30"),
                stands_in("sd", "2027-03-28 01:00", "2027-03-28 02:30"),
                stands_in("jb", "2027-10-31 02:10", "2027-10-31 02:20"),
                stands_in("lk", "2027-11-07 01:10", "2027-11-07 01:50"),
            ];
            compare(&rota, &zone, &clock);
        }
    }
}

fn random_rota() -> impl Strategy<Value = (Rota, Date)> {
    let change = (0_usize..2, 0_usize..4);
    // Mostly where the clock changes.
    let handoff = prop_oneof![3 => 0_u16..16, 1 => 0_u16..96];
    let one = (
        prop_oneof![-8_i64..16, -200_i64..300],
        prop_oneof![1_i64..8, 1_i64..200],
        0_usize..5,
    );
    (
        change,
        (any::<bool>(), handoff, 1_usize..5, -30_i64..30),
        proptest::collection::vec(one, 0..4),
    )
        .prop_map(
            |((zone, change), (is_weekly, quarter, people, turn), overrides)| {
                let (zone, changes) = CHANGES[zone];
                let change = changes[change];
                let name = |at: usize| ["am", "jb", "lk", "sd", "vt"][at].parse().unwrap();
                let days = if is_weekly { 7 } else { 1 };
                let civil = |quarters: i64| {
                    change.to_datetime(jiff::civil::Time::midnight())
                        + jiff::SignedDuration::from_mins(quarters * 15)
                };
                let rota = Rota {
                    people: (0..people).map(name).collect(),
                    handoff: Handoff {
                        day: is_weekly.then(|| change.weekday()),
                        minute: quarter * 15,
                        time_zone: zone.to_owned(),
                    },
                    first: change + jiff::Span::new().days(days * turn),
                    overrides: overrides
                        .into_iter()
                        .map(|(from, length, person)| Override {
                            from: civil(from),
                            to: civil(from + length),
                            person: name(person),
                        })
                        .collect(),
                };
                (rota, change)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn random_rotas_equal_a_naive_clock((rota, change) in random_rota()) {
        let zone = zone(&rota.handoff.time_zone);
        let days = |days| change + jiff::Span::new().days(days);
        let clock = Clock::new(&zone, days(-3), days(4));
        compare(&rota, &zone, &clock);
        // And asked straight away, without having walked there.
        let naive = Naive::of(&rota);
        let start = midnight(change) - 60;
        for minute in (start..start + 12 * 60).step_by(7) {
            let people = rota.on_call(&zone, Wall(minute * MINUTE_MS + 59_999));
            prop_assert!(are_the_same(&people, naive.on_call(&clock, minute)));
        }
    }

    #[test]
    fn any_rota_answers_at_any_instant((rota, _) in random_rota(), at in any::<i64>()) {
        let zone = zone(&rota.handoff.time_zone);
        for at in [at, at >> 16, at >> 24] {
            prop_assert!(!rota.on_call(&zone, Wall(at)).is_empty());
            if let Some(next) = rota.next_change(&zone, Wall(at)) {
                prop_assert!(next > Wall(at));
                prop_assert_eq!(next.0 % 1_000, 0);
            }
        }
    }

    #[test]
    fn a_rota_reads_back((rota, _) in random_rota()) {
        let text = serde_json::to_string(&rota).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rota>(&text).unwrap(), rota);
    }
}

// -- cases ------------------------------------------------------------------------------------------------------------

#[test]
fn a_handoff_at_half_past_two_on_25_october_2026_leaves_nobody_alone() {
    let zone = zone("Europe/Paris");
    for (handoff, first) in [
        ("Sun 02:30 Europe/Paris", date(2026, 10, 18)),
        ("02:30 Europe/Paris", date(2026, 10, 24)),
    ] {
        let rota = rota(&["am", "jb"], handoff, first);
        let start = minute(at("2026-10-25T00:00:00Z"));
        // 02:00 to 03:00 by summer time, then 02:00 to 03:00 by winter time.
        for ambiguous in 0..120 {
            let on_call = rota.on_call(&zone, Wall((start + ambiguous) * MINUTE_MS));
            let expected: &[&str] = match ambiguous {
                ..30 => &["am"],
                30..90 => &["am", "jb"],
                _ => &["jb"],
            };
            assert_eq!(names(on_call), expected, "{handoff} minute {ambiguous}");
        }
    }
}

#[test]
fn a_handoff_at_half_past_two_on_28_march_2027_that_does_not_exist_happens_once() {
    for (handoff, first) in [
        ("Sun 02:30 Europe/Paris", date(2027, 3, 21)),
        ("02:30 Europe/Paris", date(2027, 3, 27)),
    ] {
        let rota = rota(&["am", "jb"], handoff, first);
        assert_eq!(
            story(&rota, "2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z"),
            ["am", "01:00 jb"],
            "{handoff}"
        );
    }
}

#[test]
fn a_later_override_wins_and_turns_go_on_beneath() {
    let mut rota = rota(&["am", "jb"], "Mon 08:30 Europe/Paris", date(2026, 11, 23));
    rota.overrides = vec![
        stands_in("lk", "2026-11-29 18:00", "2026-11-30 20:00"),
        stands_in("sd", "2026-11-30 00:00", "2026-11-30 12:00"),
    ];
    assert_eq!(
        story(&rota, "2026-11-29T00:00:00Z", "2026-12-01T00:00:00Z"),
        ["am", "17:00 lk", "23:00 sd", "11:00 lk", "19:00 jb"]
    );
}

#[test]
fn an_override_that_meets_a_handoff_in_the_fold_loses_nobody() {
    let mut rota = rota(&["am", "jb"], "Sun 02:30 Europe/Paris", date(2026, 10, 18));
    let (from, to) = ("2026-10-24T21:00:00Z", "2026-10-25T06:00:00Z");
    // The last hours of the shift: whoever takes over is called with her until the second 02:30.
    rota.overrides = vec![stands_in("lk", "2026-10-24 18:00", "2026-10-25 02:30")];
    assert_eq!(story(&rota, from, to), ["lk", "00:30 jb+lk", "01:30 jb"]);
    // The first hours of the next one.
    rota.overrides = vec![stands_in("lk", "2026-10-25 02:30", "2026-10-25 05:00")];
    assert_eq!(
        story(&rota, from, to),
        ["am", "00:30 am+lk", "01:30 lk", "04:00 jb"]
    );
    // It ends in the midst of the overlap.
    rota.overrides = vec![stands_in("lk", "2026-10-24 18:00", "2026-10-25 02:15")];
    assert_eq!(
        story(&rota, from, to),
        [
            "lk",
            "00:15 am+lk",
            "00:30 jb+lk",
            "01:15 am+jb",
            "01:30 jb"
        ]
    );
    // One hands over to another, whichever stands first in the list.
    rota.overrides = vec![
        stands_in("lk", "2026-10-25 02:15", "2026-10-25 05:00"),
        stands_in("sd", "2026-10-24 23:30", "2026-10-25 02:15"),
    ];
    assert_eq!(
        story(&rota, from, to),
        ["am", "21:30 sd", "00:15 lk+sd", "01:15 lk", "04:00 jb"]
    );
    // From the first showing of its beginning to the last of its end, without a hole.
    rota.overrides = vec![stands_in("lk", "2026-10-25 02:10", "2026-10-25 02:20")];
    assert_eq!(
        story(&rota, from, to),
        [
            "am",
            "00:10 am+lk",
            "00:30 jb+lk",
            "01:20 am+jb",
            "01:30 jb"
        ]
    );
    // One that the clock jumps over is not.
    rota.overrides = vec![stands_in("lk", "2027-03-28 02:10", "2027-03-28 02:50")];
    assert_eq!(
        story(&rota, "2027-03-27T20:00:00Z", "2027-03-28T08:00:00Z").len(),
        2
    );
}

#[test]
fn weeks_alternate_through_a_year_of_53_weeks_and_before_the_first() {
    let zone = zone("Europe/Paris");
    let rota = rota(
        &["am", "jb", "lk"],
        "Mon 08:30 Europe/Paris",
        date(2026, 11, 23),
    );
    let monday = |weeks: i64| {
        let day = date(2026, 11, 23) + jiff::Span::new().days(7 * weeks);
        let noon = day.at(12, 0, 0, 0).to_zoned(zone.clone()).unwrap();
        Wall(noon.timestamp().as_millisecond())
    };
    // 2020 and 2026 have an ISO week 53: nothing here counts weeks of a year.
    for weeks in -400..400_i64 {
        let expected = ["am", "jb", "lk"][weeks.rem_euclid(3) as usize];
        assert_eq!(names(rota.on_call(&zone, monday(weeks))), [expected]);
    }
}

#[test]
fn a_first_date_that_is_no_day_of_the_handoff_is_seen_and_still_answers() {
    let zone = zone("Europe/Paris");
    let rota = rota(&["am", "jb"], "Mon 08:30 Europe/Paris", date(2026, 11, 25));
    assert!(!rota.begins_with_a_handoff());
    // The shift of that date is the first person's.
    assert_eq!(
        story(&rota, "2026-11-20T00:00:00Z", "2026-12-01T00:00:00Z"),
        ["jb", "07:30 am", "07:30 jb"]
    );
    for first in [date(2026, 11, 23), date(2026, 11, 30)] {
        let rota = Rota {
            first,
            ..rota.clone()
        };
        assert!(rota.begins_with_a_handoff());
        assert_eq!(names(rota.on_call(&zone, Wall(0))).len(), 1);
    }
}

#[test]
fn one_person_hands_off_to_nobody() {
    let zone = zone("Europe/Paris");
    let mut rota = rota(&["am"], "08:30 Europe/Paris", date(2026, 11, 23));
    assert_eq!(rota.next_change(&zone, at("2026-11-23T00:00:00Z")), None);
    rota.overrides = vec![stands_in("jb", "2026-12-24 18:00", "2026-12-26 08:30")];
    assert_eq!(
        story(&rota, "2026-11-23T00:00:00Z", "2027-11-23T00:00:00Z"),
        ["am", "17:00 jb", "07:30 am"]
    );
    // Somebody who stands in for herself, and an override that ends before it begins.
    rota.overrides = vec![
        stands_in("am", "2026-12-24 18:00", "2026-12-26 08:30"),
        stands_in("jb", "2026-12-26 08:30", "2026-12-24 18:00"),
    ];
    assert_eq!(
        story(&rota, "2026-11-23T00:00:00Z", "2027-11-23T00:00:00Z"),
        ["am"]
    );
}

#[test]
fn no_instant_and_no_rota_panics() {
    let zones = [
        "Europe/Paris",
        "Pacific/Apia",
        "America/Juneau",
        "Asia/Beirut",
    ]
    .map(zone);
    let daily = rota(&["am", "jb"], "23:59 Europe/Paris", date(2026, 11, 23));
    let weekly = rota(&["am", "jb"], "Sun 02:30 Europe/Paris", Date::MAX);
    let nobody = rota(&[], "Sun 02:30 Europe/Paris", Date::MIN);
    for zone in &zones {
        for edge in [
            i64::MIN,
            jiff::Timestamp::MIN.as_millisecond(),
            0,
            jiff::Timestamp::MAX.as_millisecond(),
            i64::MAX,
        ] {
            for offset in [-1, 0, 1] {
                let now = Wall(edge.saturating_add(offset));
                for rota in [&daily, &weekly] {
                    assert!(!rota.on_call(zone, now).is_empty());
                    assert!(rota.next_change(zone, now).is_none_or(|next| next > now));
                }
                assert!(nobody.on_call(zone, now).is_empty());
                assert_eq!(nobody.next_change(zone, now), None);
            }
        }
    }
}

// -- the text form ----------------------------------------------------------------------------------------------------

#[test]
fn handoffs_read_back_and_mistakes_say_what_to_write() {
    let read = |text: &str| Handoff::try_from(text.to_owned());
    for text in [
        "Mon 08:30 Europe/Paris",
        "Sun 00:00 UTC",
        "08:30 America/Miquelon",
        "23:59 America/Argentina/Buenos_Aires",
    ] {
        assert_eq!(String::from(read(text).unwrap()), text);
    }
    assert_eq!(
        String::from(read(" fri  17:00   Europe/Paris ").unwrap()),
        "Fri 17:00 Europe/Paris"
    );
    for text in [
        "",
        "Mon",
        "Mon 08:30",
        "08:30",
        "Lun 08:30 Europe/Paris",
        "Mon 8:30 Europe/Paris",
        "Mon 24:00 Europe/Paris",
        "Mon 08:60 Europe/Paris",
        "Mon,Tue 08:30 Europe/Paris",
        "Mon 08:30-18:00 Europe/Paris",
        "Mon 08:30 Europe/Paris please",
        "Mon 08:30 +01:00",
    ] {
        let error = read(text).unwrap_err();
        assert!(
            error.to_string().contains("Mon 08:30 Europe/Paris"),
            "{text:?}"
        );
    }
}
