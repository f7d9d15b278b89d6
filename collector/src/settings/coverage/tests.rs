#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use jiff::tz::TimeZone;
use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use vigie_core::{status::Need, time::Wall};
use vigie_decide::{
    calendar::Calendar,
    routing::{Policy, RouteInput, WallTime},
    rules::{Rules, Subject},
    zones::Zones,
};

use super::*;

/// Half past midnight of a Monday; the hours after it have every combination of two open calendars.
const MONDAY_MS: i64 = 1_795_393_800_000;

const CALENDARS: [(&str, &[&str]); 2] = [
    ("c0", &["Mon 01:00-02:00", "Mon 03:00-04:00"]),
    ("c1", &["Mon 02:00-04:00"]),
];

fn set<T: Ord + std::str::FromStr<Err: std::fmt::Debug>>(names: &[&str]) -> BTreeSet<T> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Some of the values, or no condition.
fn some_of<T: Ord + Clone + std::fmt::Debug + 'static>(
    is_asked: bool,
    values: Vec<T>,
) -> BoxedStrategy<BTreeSet<T>> {
    if !is_asked {
        return Just(BTreeSet::new()).boxed();
    }
    let len = values.len();
    prop_oneof![
        1 => Just(BTreeSet::new()),
        2 => subsequence(values, 1..=len).prop_map(|some| some.into_iter().collect()),
    ]
    .boxed()
}

fn names<T: std::str::FromStr<Err: std::fmt::Debug>>(names: &[&str]) -> Vec<T> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// In what the routes of one run differ: few properties, so that all cases can be looked at.
type Asked = [bool; 10];

fn asked() -> impl Strategy<Value = Asked> {
    subsequence((0..10).collect::<Vec<usize>>(), 1..=4).prop_map(|some| {
        let mut asked = [false; 10];
        for property in some {
            asked[property] = true;
        }
        asked
    })
}

fn route(asked: Asked) -> impl Strategy<Value = Route> {
    let alarms = vec![Status::Warning, Status::Critical, Status::Unknown];
    let matches = (
        some_of(asked[0], Criticality::ALL.to_vec()),
        some_of(asked[1], names(&["a", "b"])),
        some_of(asked[2], Family::ALL.to_vec()),
        some_of(asked[3], alarms),
        some_of(asked[4], names(&["n", "m"])),
        some_of(asked[5], names(&["g", "h"])),
        some_of(asked[6], names(&["s"])),
        some_of(asked[7], Environment::ALL.to_vec()),
        some_of(asked[8], vec![1, 2, 3, 4]),
    )
        .prop_map(
            |(criticality, service, family, status, node, group, site, environment, need)| Match {
                criticality,
                service,
                family,
                status,
                node,
                group,
                site,
                environment,
                need,
            },
        );
    let when = (0..2_usize, any::<bool>()).prop_map(|(calendar, is_inside)| {
        let calendar = CALENDARS[calendar].0.parse().unwrap();
        if is_inside {
            When::Inside(calendar)
        } else {
            When::Outside(calendar)
        }
    });
    let when = if asked[9] {
        option::of(when).boxed()
    } else {
        Just(None).boxed()
    };
    (matches, when).prop_map(|(matches, when)| Route {
        matches,
        when,
        ..Route::default()
    })
}

fn policy(routes: &[Route]) -> Policy {
    let calendar = |lines: &[&str]| Calendar {
        time_zone: "UTC".to_owned(),
        open: lines.iter().map(|line| line.parse().unwrap()).collect(),
        holidays: None,
        closed: Vec::new(),
        opened: Vec::new(),
    };
    let calendars = CALENDARS.map(|(name, lines)| (name.parse().unwrap(), calendar(lines)));
    Policy {
        rules: Arc::new(Rules {
            routes: routes.to_vec(),
            calendars: calendars.into(),
            ..Rules::default()
        }),
        zones: Zones::from_iter([("UTC".to_owned(), TimeZone::UTC)]),
    }
}

/// What the engine makes of every case in which the asked properties differ: the routes reached, those reached by
/// warnings, and whether an alert is left out.
fn by_force(routes: &[Route], asked: Asked) -> (BTreeSet<usize>, BTreeSet<usize>, bool) {
    fn values<T: Copy>(is_asked: bool, all: &[T]) -> &[T] {
        if is_asked { all } else { &all[..1] }
    }
    let policy = policy(routes);
    let (mut reached, mut by_warnings, mut is_left_out) = (BTreeSet::new(), BTreeSet::new(), false);
    // Sets of two names are there to show that they bring nothing new.
    let pairs = |a, b| -> [&[&str]; 4] { [&[], a, b, &["a", "b", "g", "h"]] };
    let fresh = (Status::Unknown, true);
    for (status, is_newly_unknown) in STATUSES
        .map(|status| (status, false))
        .into_iter()
        .chain([fresh])
    {
        for criticality in values(asked[0], Criticality::ALL) {
            for services in values(asked[1], &pairs(&["a"], &["b"])) {
                for family in values(asked[2], Family::ALL) {
                    for node in values(asked[4], &["other", "n", "m"]) {
                        for groups in values(asked[5], &pairs(&["g"], &["h"])) {
                            for sites in values(asked[6], &[&[][..], &["s"]]) {
                                for environment in values(asked[7], Environment::ALL) {
                                    for need in values(asked[8], &[1, 2, 3, 4]) {
                                        for hour in values(asked[9], &[0, 1, 2, 3]) {
                                            let subject = Subject {
                                                services: set(services),
                                                criticality: *criticality,
                                                serves: Need::Availability,
                                                need: *need,
                                                environment: *environment,
                                                sites: set(sites),
                                                groups: set(groups),
                                                undeclared: BTreeSet::new(),
                                            };
                                            let case = RouteInput {
                                                subject: &subject,
                                                node,
                                                family: *family,
                                                status,
                                                is_newly_unknown,
                                            };
                                            let civil = WallTime {
                                                at: Wall(MONDAY_MS + hour * 3_600_000),
                                                is_in_doubt: false,
                                            };
                                            let Some(route) = policy.place(case, civil).route
                                            else {
                                                is_left_out = true;
                                                continue;
                                            };
                                            reached.insert(route);
                                            if status == Status::Warning {
                                                by_warnings.insert(route);
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    (reached, by_warnings, is_left_out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_walk_finds_what_the_engine_does_with_every_case(
        (asked, routes) in asked().prop_flat_map(|asked| (Just(asked), vec(route(asked), 1..8)))
    ) {
        let coverage = judge(&routes).unwrap();
        let (reached, by_warnings, is_left_out) = by_force(&routes, asked);
        prop_assert_eq!(coverage.reached, reached);
        prop_assert_eq!(coverage.reached_by_warnings, by_warnings);
        prop_assert_eq!(coverage.left_out.is_some(), is_left_out);
    }
}

#[test]
fn a_last_route_without_conditions_takes_all_the_rest() {
    let critical = Route {
        matches: Match {
            criticality: [Criticality::Critical].into(),
            ..Match::default()
        },
        ..Route::default()
    };
    let coverage = judge(&[critical.clone(), Route::default()]).unwrap();
    assert_eq!(coverage.left_out, None);
    assert_eq!(coverage.reached, [0, 1].into());
    let coverage = judge(&[Route::default(), critical]).unwrap();
    assert_eq!(coverage.reached, [0].into());
}

#[test]
fn many_routes_of_the_kind_that_people_write_are_judged() {
    let mut routes: Vec<Route> = (0..300)
        .map(|n| Route {
            matches: Match {
                node: [format!("node-{n}").parse().unwrap()].into(),
                service: [format!("service-{}", n % 20).parse().unwrap()].into(),
                criticality: [Criticality::ALL[n % 3]].into(),
                ..Match::default()
            },
            when: Some(When::Outside(format!("team-{}", n % 6).parse().unwrap())),
            ..Route::default()
        })
        .collect();
    routes.push(Route::default());
    let coverage = judge(&routes).unwrap();
    assert_eq!(coverage.left_out, None);
    assert_eq!(coverage.reached.len(), 301);
}

#[test]
fn routes_that_differ_in_too_many_ways_are_not_judged() {
    let routes: Vec<Route> = (0..40)
        .map(|n| Route {
            matches: Match {
                node: [format!("node-{n}").parse().unwrap()].into(),
                ..Match::default()
            },
            when: Some(When::Inside(format!("team-{n}").parse().unwrap())),
            ..Route::default()
        })
        .collect();
    assert_eq!(judge(&routes), None);
}
