#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::{
    calendar::Calendar,
    rules::{Match, Receiver},
};
use vigie_core::status::{Criticality, Environment, Need};

const STATUSES: [Status; 3] = [Status::Warning, Status::Unknown, Status::Critical];

/// Monday, 2026-11-23 00:00 UTC.
const MONDAY: Wall = Wall(1_795_392_000_000);

fn subset<T: Ord + Copy + std::fmt::Debug + 'static>(
    of: &'static [T],
) -> impl Strategy<Value = BTreeSet<T>> {
    prop::sample::subsequence(of, 0..=of.len()).prop_map(|some| some.into_iter().collect())
}

/// Whatever routes somebody may write: about all that they may ask of an alert's status, in hours or out of them.
fn route() -> impl Strategy<Value = Route> {
    let when = prop::option::of(any::<bool>().prop_map(|is_inside| {
        let calendar = "bureau".parse().unwrap();
        if is_inside {
            When::Inside(calendar)
        } else {
            When::Outside(calendar)
        }
    }));
    let receivers = || subset(&["call", "team", "hook"]);
    let family = subset(&[Family::Availability, Family::Backup]);
    let matches = (subset(&STATUSES), family);
    (matches, when, receivers(), receivers(), any::<bool>()).prop_map(
        |((status, family), when, notify, digest, hold)| Route {
            matches: Match {
                status,
                family,
                ..Match::default()
            },
            when,
            notify: notify
                .into_iter()
                .map(|name| name.parse().unwrap())
                .collect(),
            digest: digest
                .into_iter()
                .map(|name| name.parse().unwrap())
                .collect(),
            hold,
        },
    )
}

fn policy(routes: Vec<Route>) -> Policy {
    let bureau = Calendar {
        time_zone: "UTC".to_owned(),
        open: vec!["Mon-Fri 08:30-18:00".parse().unwrap()],
        holidays: None,
        closed: Vec::new(),
        opened: Vec::new(),
    };
    let receiver = |name: &str, calendar: Option<&str>| {
        let calendar = calendar.map(|name| name.parse().unwrap());
        let receiver = Receiver {
            calendar,
            ..Receiver::default()
        };
        (name.parse().unwrap(), receiver)
    };
    let receivers = [
        receiver("call", None),
        receiver("team", Some("bureau")),
        receiver("hook", Some("bureau")),
    ];
    Policy {
        rules: Arc::new(Rules {
            calendars: [("bureau".parse().unwrap(), bureau)].into(),
            receivers: receivers.into(),
            routes,
            ..Rules::default()
        }),
        zones: [("UTC".to_owned(), TimeZone::UTC)].into_iter().collect(),
    }
}

/// From the quietest to the loudest.
fn ways_to_stand() -> [(Status, bool); 4] {
    [
        (Status::Warning, false),
        (Status::Unknown, true),
        (Status::Unknown, false),
        (Status::Critical, false),
    ]
}

proptest! {
    #[test]
    fn worse_is_never_quieter(
        routes in prop::collection::vec(route(), 0..6),
        minutes in 0..14 * 24 * 60_i64,
        is_in_doubt: bool,
    ) {
        let policy = policy(routes);
        let subject = Subject {
            criticality: Criticality::Standard,
            serves: Need::Availability,
            environment: Environment::Production,
            ..policy.rules.own_subject()
        };
        let civil = WallTime { at: MONDAY.plus_ms(minutes * 60_000), is_in_doubt };
        let placed = ways_to_stand().map(|(status, is_newly_unknown)| {
            let case = RouteInput {
                subject: &subject,
                node: "app-01",
                family: Family::Availability,
                status,
                is_newly_unknown,
            };
            policy.place(case, civil)
        });
        for pair in placed.windows(2) {
            prop_assert!(
                pair[0].tell.is_empty() || !pair[1].tell.is_empty(),
                "{:?} then {:?}", pair[0], pair[1]
            );
        }
        for placement in &placed {
            prop_assert!(placement.tell.iter().all(|told| !placement.hold.contains(told)));
        }
    }
}
