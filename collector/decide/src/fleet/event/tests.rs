//! The kinds of events are frozen: logs are replayed by them.

#![expect(clippy::unwrap_used, reason = "tests")]

use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

/// The kinds that a group reads, by its own word: serde names them all where it knows none.
fn kinds<E: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_value::<E>(json!({"kind": "?"})).err();
    let error = error.unwrap().to_string();
    let (_, expected) = error.split_once("expected one of ").unwrap();
    expected
        .split(", ")
        .map(|kind| kind.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_kind_is_of_the_one_group_that_reads_it() {
    let groups = [
        (Group::HandedIn, kinds::<HandInEvent>()),
        (Group::Membership, kinds::<MembershipEvent>()),
        (Group::Trouble, kinds::<TroubleEvent>()),
        (Group::Delivery, kinds::<DeliveryEvent>()),
        (Group::Operator, kinds::<OperatorEvent>()),
        (Group::Mute, kinds::<MuteEvent>()),
        (Group::Clock, kinds::<ClockEvent>()),
    ];
    let mut all = Vec::new();
    for (of, kinds) in groups {
        for kind in kinds {
            assert_eq!(group(&kind), Some(of), "{kind}");
            all.push(kind);
        }
    }
    all.sort();
    // In the order of the alphabet; no kind is ever given another meaning.
    let frozen = [
        "acknowledged",
        "alert.ended",
        "clock.step",
        "clock.trusted",
        "collector.started",
        "commit.failed",
        "contact",
        "contact.forged",
        "deadline",
        "delivered",
        "delivery.failing",
        "delivery.works",
        "entries.handed_in",
        "entries.withheld",
        "entry",
        "entry.refused",
        "exercise.started",
        "joined",
        "key.used",
        "maintenance.started",
        "mute.ended",
        "node.calm",
        "node.clock",
        "node.denied",
        "node.expired",
        "node.flooding",
        "node.heard",
        "node.impostor",
        "node.retired",
        "node.silent",
        "node.valid",
        "plan.agrees",
        "plan.confirmed",
        "plan.differs",
        "refused",
        "renewed",
        "rules.loaded",
        "sender.alert",
        "sender.denied",
        "sender.joined",
        "sender.key_used",
        "sender.renewed",
        "sender.retired",
        "silence.started",
        "site.heard",
        "site.silent",
        "token.issued",
        "unacknowledged",
        "undeliverable",
    ];
    assert_eq!(all, frozen);
}

#[test]
fn an_event_is_written_flat_and_read_back() {
    for stored in [
        json!({"kind": "node.silent", "node": "app-01", "last_contact": "2026-11-22T19:04:31.207Z"}),
        json!({"kind": "deadline"}),
        json!({"kind": "mute.ended", "mute": 3, "uid": 0}),
    ] {
        let event: Event = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), stored);
    }
    let unknown = serde_json::from_value::<Event>(json!({"kind": "node.abducted"}));
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "no event is of kind \"node.abducted\""
    );
}
