#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    escalation::reach,
    explain::tests::{Dice, at, example, random},
    routing::{RouteInput, WallTime},
    rules::{Person, When},
};

const MINUTE_MS: i64 = 60_000;

fn edited(edit: impl FnOnce(&mut Rules)) -> Policy {
    let mut policy = example();
    let mut rules = (*policy.rules).clone();
    edit(&mut rules);
    policy.rules = Arc::new(rules);
    policy
}

fn said(gaps: &[Gap]) -> Vec<(&str, Wall, Wall)> {
    gaps.iter()
        .map(|gap| (gap.service.as_str(), gap.from, gap.to))
        .collect()
}

#[test]
fn the_example_has_no_gap() {
    assert_eq!(gaps(&example(), at("2026-11-23 00:00"), DAYS), []);
}

#[test]
fn a_person_without_a_channel_is_a_gap_of_their_nights_unless_somebody_comes_after() {
    let without_channel = |rules: &mut Rules| {
        rules.people.insert(
            "jb".parse().unwrap(),
            Person {
                channels: Vec::new(),
            },
        );
    };
    // The next step stands in at once.
    let from = at("2026-11-23 00:00");
    assert_eq!(gaps(&edited(without_channel), from, DAYS), []);
    let alone = edited(|rules| {
        without_channel(rules);
        let receiver = rules.receivers.get_mut("astreinte").unwrap();
        receiver.steps.truncate(1);
        // Nobody is ever at work: the whole of the week is on call.
        rules.calendars.get_mut("bureau").unwrap().open.clear();
        for route in &mut rules.routes {
            route.hold = false;
            route.notify = vec!["astreinte".parse().unwrap()];
        }
    });
    // The second of four weeks, and each fourth from then on.
    let found = gaps(&alone, from, 28);
    let (begins, ends) = (at("2026-11-30 08:30"), at("2026-12-07 08:30"));
    assert_eq!(
        said(&found),
        [("dossier-patient", begins, ends), ("vigie", begins, ends)]
    );
    assert_eq!(
        found[0].instead.steps[0].unreachable,
        ["jb".parse().unwrap()]
    );
    assert_eq!(said(&gaps(&alone, at("2026-12-01 00:00"), 1)).len(), 2);
}

#[test]
fn one_night_for_which_nothing_is_told_at_once_is_a_gap() {
    // The night of the critical route is that of another calendar, which is open on one Saturday.
    let policy = edited(|rules| {
        let mut other = rules.calendars["bureau"].clone();
        other.opened = vec!["2026-12-05 10:00-11:00".parse().unwrap()];
        rules.calendars.insert("autre".parse().unwrap(), other);
        rules.routes[0].when = Some(When::Outside("autre".parse().unwrap()));
    });
    let (begins, ends) = (at("2026-12-05 10:00"), at("2026-12-05 11:00"));
    let found = gaps(&policy, at("2026-11-23 00:00"), DAYS);
    assert_eq!(
        said(&found),
        [("dossier-patient", begins, ends), ("vigie", begins, ends)]
    );
    assert_eq!(found[0].instead.held.len(), 1);
}

#[test]
fn a_node_that_a_route_names_is_a_case_of_its_own() {
    let policy = edited(|rules| {
        let mut quiet = rules.routes[2].clone();
        quiet.matches.node = ["db-01".parse().unwrap()].into();
        rules.routes.insert(0, quiet);
    });
    let found = gaps(&policy, at("2026-11-28 00:00"), 1);
    let places: Vec<_> = found.iter().map(|gap| gap.place.as_deref()).collect();
    assert_eq!(places, [Some("db-01")]);
}

/// Minute by minute, without any knowledge of edges.
fn by_force(
    policy: &Policy,
    from: Wall,
    days: u32,
) -> BTreeMap<(ServiceName, Option<String>), Vec<Wall>> {
    let mut dark: BTreeMap<_, Vec<Wall>> = BTreeMap::new();
    for minute in 0..i64::from(days) * 1_440 {
        let at = from.plus_ms(minute * MINUTE_MS);
        for failing in cases(&policy.rules) {
            let case = RouteInput {
                subject: &failing.subject,
                node: &failing.node,
                family: failing.family,
                status: Status::Critical,
                is_newly_unknown: false,
            };
            let civil = WallTime {
                at,
                is_in_doubt: false,
            };
            let is_reached = policy.place(case, civil).tell.iter().any(|receiver| {
                let steps = &policy.rules.receivers[receiver].steps;
                let has_one = |step| !reach(policy, step, 0, at).0.is_empty();
                steps.is_empty() || steps.iter().any(has_one)
            });
            if minute % 60 == 0 {
                let explanation = at_once(policy, &failing.asked(at));
                assert_eq!(explanation.reaches_somebody(), is_reached, "{at}");
            }
            if !is_reached {
                dark.entry((failing.service, failing.place))
                    .or_default()
                    .push(at);
            }
        }
    }
    dark
}

#[test]
fn gaps_are_those_that_looking_at_every_minute_finds() {
    let mut dice = Dice(400);
    let (mut with_gaps, mut without) = (0, 0);
    for day in ["2026-10-24 00:00", "2026-12-24 00:00", "2027-03-27 00:00"] {
        for _ in 0..6 {
            let policy = random(&mut dice);
            let (from, days) = (at(day), 2);
            let found = gaps(&policy, from, days);
            let mut minutes: BTreeMap<_, Vec<Wall>> = BTreeMap::new();
            for gap in &found {
                let row = minutes
                    .entry((gap.service.clone(), gap.place.clone()))
                    .or_default();
                let mut at = gap.from;
                while at < gap.to {
                    row.push(at);
                    at = at.plus_ms(MINUTE_MS);
                }
            }
            assert_eq!(
                minutes,
                by_force(&policy, from, days),
                "{:#?}",
                policy.rules
            );
            if found.is_empty() {
                without += 1;
            } else {
                with_gaps += 1;
            }
        }
    }
    assert!(with_gaps > 0 && without > 0, "{with_gaps} {without}");
}
