#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use vigie_core::{
    digest::Digest,
    id::MaintenanceName,
    status::{Criticality, Environment, Family, Status},
    time::{Deadline, Elapsed, Now},
};
use vigie_decide::{
    alert::{self, Acknowledgement, AlertKey, Notified, Reached},
    calendar::recurring::Recurring,
    fleet::{self, State},
    held::{Deferred, DeferredKey, DigestDue},
    mute::{Mute, Muted, MutedBy, Nodes, Scope, SilenceMatch},
    routing::Policy,
    rules::{EscalationStep, Maintenance, Match, Person, Receiver, Rules},
    view::Basis,
};

use super::*;

pub(crate) const NOW: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

pub(crate) fn alert(number: u64, status: Status) -> alert::Alert {
    alert::Alert {
        number,
        family: Family::Availability,
        claimed: BTreeSet::new(),
        status,
        reason: "http.status".to_owned(),
        facts: serde_json::Map::new(),
        since: NOW.wall,
        opening: 1,
        told: BTreeMap::new(),
        tellings: 0,
        until_confirmed: false,
        unknown_counts: None,
        acknowledged: None,
        muted: None,
        folded_into: None,
        good_until: None,
        eases: None,
    }
}

pub(crate) fn key(node: &str, check: &str, object: &str) -> AlertKey {
    AlertKey::from_parts(node, check, object).unwrap()
}

pub(crate) fn told(to: &[(&str, u64, u64)]) -> Notified {
    Notified {
        status: Status::Critical,
        to: to
            .iter()
            .map(|(to, first, last)| {
                let reached = Reached {
                    first: *first,
                    last: *last,
                    thread: Digest::of(b""),
                    newest: Digest::of(b""),
                };
                (to.parse().unwrap(), reached)
            })
            .collect(),
        progress: Default::default(),
    }
}

pub(crate) fn policy() -> Policy {
    let mut rules = Rules::default();
    let steps = vec![EscalationStep::default()];
    for (name, steps) in [("equipe", Vec::new()), ("astreinte", steps)] {
        let receiver = Receiver {
            steps,
            ..Receiver::default()
        };
        rules.receivers.insert(name.parse().unwrap(), receiver);
    }
    let person = Person {
        channels: vec!["sms".parse().unwrap(), "mail".parse().unwrap()],
    };
    rules.people.insert("am".parse().unwrap(), person);
    Policy {
        rules: rules.into(),
        ..Policy::default()
    }
}

pub(crate) fn shown(state: &State, policy: &Policy) -> Fleet {
    Fleet::of(&Basis {
        state,
        policy,
        heard: &BTreeMap::new(),
        at: NOW.wall,
    })
}

/// One alert of each kind of handling, and what waits.
pub(crate) fn busy() -> State {
    let mut state = State::default();
    let mut acknowledged = alert(1, Status::Critical);
    acknowledged.acknowledged = Some(Acknowledgement {
        by: Actor::Link("am/sms".parse().unwrap()),
        at: NOW.wall,
        status: Status::Critical,
        until: Some(Deadline::after(NOW, 3_600_000)),
    });
    acknowledged.told.insert(
        "astreinte".parse().unwrap(),
        told(&[("am/sms", 5, 9), ("am/mail", 6, 6)]),
    );
    acknowledged.told.insert(
        "equipe".parse().unwrap(),
        told(&[("am/sms", 3, 4), ("equipe", 7, 7)]),
    );
    let mut muted = alert(2, Status::Critical);
    muted.muted = Some(MutedBy::Mute(12));
    let mut folded = alert(3, Status::Critical);
    folded.folded_into = Some(1);
    let mut windowed = alert(4, Status::Warning);
    windowed.muted = Some(MutedBy::Window("correctifs".parse().unwrap()));
    let held = key("app-01", "disques", "/var\u{1b}[2J");
    state
        .alerts
        .insert(key("app-01", "portail", ""), acknowledged);
    state.alerts.insert(key("app-02", "portail", ""), muted);
    state.alerts.insert(key("app-03", "portail", ""), folded);
    state.alerts.insert(key("app-04", "portail", ""), windowed);
    state.alerts.insert(held.clone(), alert(5, Status::Warning));
    let row = Deferred {
        number: 5,
        held_since: NOW.wall,
        since: NOW.wall,
        times: 1,
        worst: Status::Warning,
        status: Status::Warning,
        family: Family::Host,
        services: BTreeSet::new(),
        criticality: Criticality::Standard,
        environment: Environment::Production,
        reason: "x".to_owned(),
        facts: serde_json::Map::new(),
        ended: None,
        paged: BTreeMap::new(),
        acknowledged: false,
    };
    let held_key = |alert| DeferredKey {
        receiver: "equipe".parse().unwrap(),
        alert,
    };
    let ended = Deferred {
        ended: Some((NOW.wall, alert::Ended::Recovered)),
        ..row.clone()
    };
    state.held.insert(held_key(held), row);
    state
        .held
        .insert(held_key(key("app-02", "portail", "")), ended);
    let due = DigestDue {
        due: Some(NOW.wall.plus_ms(1_000)),
        ..DigestDue::default()
    };
    state.digests.insert("equipe".parse().unwrap(), due);
    let silence = SilenceMatch {
        check: Some("portail".to_owned()),
        matches: Match {
            node: ["app-02".parse().unwrap()].into(),
            ..Match::default()
        },
        ..SilenceMatch::default()
    };
    let mute = |what| Mute {
        what,
        reason: "travaux\u{1b}[31m".to_owned(),
        uid: 1_000,
        from: NOW.wall,
        until: Deadline::after(NOW, 60_000),
    };
    state
        .mutes
        .insert(12, mute(Muted::Silence(Box::new(silence))));
    let place = Nodes {
        groups: ["app".parse().unwrap()].into(),
        ..Nodes::default()
    };
    state.mutes.insert(13, mute(Muted::Maintenance(place)));
    state
}

fn by_number(snapshot: &Value, number: u64) -> &Value {
    let alerts = snapshot["alerts"].as_array().unwrap();
    alerts.iter().find(|row| row["number"] == number).unwrap()
}

#[test]
fn alerts_say_who_was_told_where_and_what_is_being_done() {
    let snapshot = json!(shown(&busy(), &policy()));
    let first = by_number(&snapshot, 1);
    assert_eq!(first["told"], json!(["astreinte", "equipe"]));
    assert_eq!(
        first["to"],
        json!({
            "am/mail": { "first": 6, "last": 6 },
            "am/sms": { "first": 3, "last": 9 },
            "equipe": { "first": 7, "last": 7 },
        })
    );
    assert_eq!(
        first["acknowledged"],
        json!({
            "by": { "link": "am/sms" },
            "at": "2026-11-22T19:04:31.207Z",
            "until": "2026-11-22T20:04:31.207Z",
        })
    );
    assert_eq!(by_number(&snapshot, 2)["muted"], json!({ "mute": 12 }));
    assert_eq!(
        by_number(&snapshot, 4)["muted"],
        json!({ "window": "correctifs" })
    );
    assert_eq!(by_number(&snapshot, 3)["folded_into"], 1);
    assert_eq!(by_number(&snapshot, 5)["held_for"], json!(["equipe"]));
    // What ended waits for the digest and is no longer an alert that is held.
    assert_eq!(by_number(&snapshot, 2)["held_for"], json!([]));
    let held = json!([{ "receiver": "equipe", "waiting": 2, "due": "2026-11-22T19:04:32.207Z", "last": null, "left_out": 0 }]);
    assert_eq!(snapshot["held"], held);
    assert_eq!(snapshot["mutes"][0]["hits"], json!([2]));
    assert_eq!(snapshot["mutes"][1]["kind"], "maintenance");
}

#[test]
fn the_table_says_how_each_alert_is_handled_and_moves_no_cursor() {
    let snapshot = shown(&busy(), &policy());
    let table = table(&snapshot, Language::English);
    for wanted in [
        "acknowledged by am/sms until 2026-11-22T20:04:31.207Z",
        "muted by 12",
        "muted by window correctifs",
        "part of #1",
        "held for equipe",
        "2 held for equipe, whose next digest is due 2026-11-22T19:04:32.207Z",
        "check=portail node=app-02",
        "groups=app",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "{table}");
    let turned = printable("/srv/\u{202e}txt.exe\u{9b}31m");
    assert_eq!(turned, "/srv/txt.exe");
    assert!(printable(&"x".repeat(300)).ends_with('…'));
    let silences = mute_table(&snapshot.mutes, Some(Kind::Silence));
    assert!(silences.contains("app-02") && !silences.contains("groups=app"));
    assert_eq!(mute_table(&[], None), "");
}

#[test]
fn an_exercise_is_no_trouble_and_everything_else_is() {
    let mut state = State::default();
    let receiver = "astreinte".parse().unwrap();
    state
        .alerts
        .insert(AlertKey::exercise(&receiver), alert(7, Status::Critical));
    let snapshot = shown(&state, &policy());
    assert!(snapshot.is_fine(), "{snapshot:#?}");
    assert!(table(&snapshot, Language::French).contains("exercise"));
    state
        .alerts
        .insert(key("app-01", "portail", ""), alert(8, Status::Warning));
    assert!(!shown(&state, &policy()).is_fine());
    // What says nothing is not fine: it is no fleet at all.
    assert!(serde_json::from_value::<Fleet>(json!({})).is_err());
}

#[test]
fn a_preview_covers_what_the_silence_itself_covers() {
    let state = busy();
    let policy = policy();
    let snapshot = shown(&state, &policy);
    let silences = [
        SilenceMatch {
            number: Some(3),
            ..SilenceMatch::default()
        },
        SilenceMatch {
            check: Some("portail".to_owned()),
            ..SilenceMatch::default()
        },
        SilenceMatch {
            object: Some("/var\u{1b}[2J".to_owned()),
            ..SilenceMatch::default()
        },
        SilenceMatch {
            matches: Match {
                status: [Status::Critical].into(),
                criticality: [Criticality::Critical].into(),
                environment: [Environment::Production].into(),
                need: [4].into(),
                ..Match::default()
            },
            ..SilenceMatch::default()
        },
        SilenceMatch {
            matches: Match {
                site: ["elsewhere".parse().unwrap()].into(),
                ..Match::default()
            },
            ..SilenceMatch::default()
        },
    ];
    let mut hit = 0;
    for silence in &silences {
        let wanted: BTreeSet<u64> = state
            .alerts
            .iter()
            .filter(|(key, alert)| {
                let subject = fleet::subject(&policy.rules, None, key, alert);
                silence.covers(key, alert.number, &subject, alert.family, alert.status)
            })
            .map(|(_, alert)| alert.number)
            .collect();
        let found: BTreeSet<u64> = snapshot.hits(silence).map(|alert| alert.number).collect();
        assert_eq!(found, wanted, "{silence:?}");
        hit += found.len();
    }
    assert!(hit > 4, "the silences of this test hit nothing");
}

#[test]
fn windows_of_the_settings_are_listed() {
    let Ok(window) = Recurring::try_from("Tue 22:00-02:00 Europe/Paris".to_owned()) else {
        panic!("a window");
    };
    let mut rules = Rules::default();
    let name: MaintenanceName = "correctifs".parse().unwrap();
    let maintenance = Maintenance {
        place: Nodes {
            groups: ["app".parse().unwrap()].into(),
            ..Nodes::default()
        },
        window,
        scope: Scope::Reachability,
        reason: "correctifs".to_owned(),
    };
    rules.maintenance.insert(name, maintenance);
    let zone = jiff::tz::TimeZone::get("Europe/Paris").unwrap();
    let policy = Policy {
        rules: rules.into(),
        zones: [("Europe/Paris".to_owned(), zone)].into_iter().collect(),
    };
    let fleet = shown(&State::default(), &policy);
    let snapshot = json!(fleet);
    let window = &snapshot["windows"][0];
    assert_eq!(window["is_on"], false);
    // The Tuesday after Sunday 22 November 2026, 22:00 in winter.
    assert_eq!(window["next_edge"], "2026-11-24T21:00:00.000Z");
    let table = window_table(&fleet.windows);
    assert!(
        table.contains("next") && table.contains("groups=app"),
        "{table}"
    );
}
