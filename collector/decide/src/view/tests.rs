#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use vigie_core::{
    digest::Digest,
    entry::Head,
    id::ServiceName,
    plan::{Plan, PlannedCheck},
    status::{Criticality, Environment, Family, Needs, Status},
    time::{Deadline, Elapsed, Now},
};

use super::{
    alert::{self as alert_view, Coming, Quiet},
    fleet::Fleet,
    story::{Decided, Happened, Said},
    *,
};
use crate::{
    alert::{
        self as open, Acknowledgement, Actor, AlertKey, Begun, Ended, Notice, Notified, Progress,
    },
    fleet::{
        Decision, DeliveryEvent, Event,
        decision::KeptBecause,
        state::{Node, NodePlan},
    },
    held::{Deferred, DeferredKey, DigestDue},
    mute::{Mute, Muted, MutedBy, Nodes},
    rota::{Override, Rota},
    rules::{EscalationStep, Group, Person, Receiver, Rules, Service},
};

/// A Sunday evening: 22 November 2026, 20:04 in Paris.
const NOW: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap()
}

fn key(node: &str, check: &str) -> AlertKey {
    AlertKey::from_parts(node, check, "").unwrap()
}

fn alert(number: u64, status: Status) -> open::Alert {
    open::Alert {
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

fn rules() -> Rules {
    let service = Service {
        criticality: Criticality::Important,
        needs: Needs {
            availability: 3,
            integrity: 2,
            confidentiality: 1,
            traceability: 4,
        },
        runbook: None,
        depends_on: BTreeSet::new(),
    };
    let group = Group {
        nodes: [name("app-01"), name("app-02")].into(),
        services: [name("portail")].into(),
        site: name("sxb"),
        environment: Environment::Production,
    };
    let rota = Rota {
        people: vec![name("am"), name("jb")],
        handoff: "Mon 08:30 Europe/Paris".to_owned().try_into().unwrap(),
        first: "2026-11-16".parse().unwrap(),
        overrides: Vec::new(),
    };
    let by_sms = Person {
        channels: vec![name("sms")],
    };
    let step = |after_ms| EscalationStep {
        after_ms,
        ..EscalationStep::default()
    };
    let astreinte = Receiver {
        steps: vec![
            EscalationStep {
                rota: Some(name("astreinte")),
                ..step(0)
            },
            EscalationStep {
                rota: Some(name("astreinte")),
                people: vec![name("chef")],
                ..step(900_000)
            },
        ],
        ..Receiver::default()
    };
    Rules {
        services: [
            (name("portail"), service.clone()),
            (name("annuaire"), service),
        ]
        .into(),
        groups: [(name("app"), group)].into(),
        people: [(name("am"), by_sms.clone()), (name("jb"), by_sms)].into(),
        rotas: [(name("astreinte"), rota)].into(),
        receivers: [(name("astreinte"), astreinte)].into(),
        ..Rules::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "tests hand zones in")]
fn policy(rules: Rules) -> Policy {
    let paris = jiff::tz::TimeZone::get("Europe/Paris").unwrap();
    Policy {
        rules: Arc::new(rules),
        zones: [("Europe/Paris".to_owned(), paris)].into_iter().collect(),
    }
}

fn shown(state: &State, policy: &Policy, heard: &BTreeMap<NodeName, LastHeard>) -> Fleet {
    Fleet::of(&Basis {
        state,
        policy,
        heard,
        at: NOW.wall,
    })
}

/// Two nodes of one group that are heard, and each of whose checks has spoken.
fn two_nodes() -> (State, BTreeMap<NodeName, LastHeard>) {
    let mut state = State::default();
    let mut heard = BTreeMap::new();
    for node in ["app-01", "app-02"] {
        let planned = PlannedCheck {
            kind: "http".to_owned(),
            family: Family::Availability,
            service: None,
            every_ms: 60_000,
            timeout_ms: 10_000,
            failures: 1,
            recoveries: 1,
            settings_sha256: Digest::of(b""),
        };
        let plan: Plan = [(name("portail"), planned)].into();
        let row = Node {
            joined_at: NOW.wall,
            head: Head::EMPTY,
            keys: Vec::new(),
            signing_key: String::new(),
            settled: [name("portail")].into(),
            listed: Arc::default(),
            dismissed: BTreeSet::new(),
            unheard: false,
            denied: false,
            rejoined: false,
        };
        state.nodes.insert(name(node), row);
        let plan = NodePlan {
            complete: Some((Digest::of(b""), Arc::new(plan))),
            ..NodePlan::default()
        };
        state.plans.insert(name(node), plan);
        let last = LastHeard {
            at: Some(NOW.wall),
            is_silent: false,
        };
        heard.insert(name(node), last);
    }
    (state, heard)
}

#[test]
fn a_node_and_its_service_are_ok_only_where_all_is_measured_and_heard() {
    use Status::{Critical, Ok, Unknown, Warning};
    type Change = fn(&mut State, &mut BTreeMap<NodeName, LastHeard>);
    // What changes about app-02; how it stands then, and how its service does.
    let cases: [(&str, Change, Status, Status); 8] = [
        ("nothing", |_, _| {}, Ok, Ok),
        (
            "it has a warning",
            |state, _| {
                state
                    .alerts
                    .insert(key("app-02", "portail"), alert(1, Warning));
            },
            Warning,
            Warning,
        ),
        (
            "it has two alerts",
            |state, _| {
                state
                    .alerts
                    .insert(key("app-02", "disques"), alert(1, Critical));
                state
                    .alerts
                    .insert(key("app-02", "portail"), alert(2, Unknown));
            },
            Critical,
            Critical,
        ),
        (
            "it is silent",
            |_, heard| {
                heard.get_mut("app-02").unwrap().is_silent = true;
            },
            Unknown,
            Unknown,
        ),
        (
            "it was not heard since the start",
            |_, heard| {
                heard.remove("app-02");
            },
            Unknown,
            Unknown,
        ),
        (
            "a check of it has not spoken",
            |state, _| {
                state.nodes.get_mut("app-02").unwrap().settled.clear();
            },
            Unknown,
            Unknown,
        ),
        (
            "it is shut out",
            |state, _| {
                state.nodes.get_mut("app-02").unwrap().denied = true;
            },
            Unknown,
            Unknown,
        ),
        (
            "it has sent no plan",
            |state, _| {
                state.plans.remove("app-02");
            },
            Unknown,
            Unknown,
        ),
    ];
    for (what, change, of_node, of_service) in cases {
        let (mut state, mut heard) = two_nodes();
        change(&mut state, &mut heard);
        let fleet = shown(&state, &policy(rules()), &heard);
        let status = |wanted: &str| {
            let mut services = fleet.service_status.iter();
            let service = services.find(|service| service.service.as_str() == wanted);
            service.unwrap().status
        };
        assert_eq!(fleet.nodes[0].status, Ok, "{what}");
        assert_eq!(fleet.nodes[1].status, of_node, "{what}");
        assert_eq!(status("portail"), of_service, "{what}");
        // Nobody carries it, so nobody knows.
        assert_eq!(status("annuaire"), Unknown, "{what}");
        assert_eq!(status("vigie"), Ok, "{what}");
        assert_eq!(fleet.is_fine(), what == "nothing", "{what}");
    }
}

#[test]
fn a_service_says_what_it_needs_and_which_alerts_concern_it_and_no_exercise_does() {
    let (mut state, heard) = two_nodes();
    state
        .alerts
        .insert(key("app-01", "portail"), alert(7, Status::Warning));
    state
        .alerts
        .insert(key("app-02", "portail"), alert(9, Status::Critical));
    state.alerts.insert(
        AlertKey::exercise(&name("astreinte")),
        alert(8, Status::Critical),
    );
    let fleet = shown(&state, &policy(rules()), &heard);
    let names: Vec<&str> = fleet
        .service_status
        .iter()
        .map(|service| service.service.as_str())
        .collect();
    assert_eq!(names, ["annuaire", "portail", "vigie"]);
    let portail = &fleet.service_status[1];
    assert_eq!(portail.alerts, [9, 7]);
    assert_eq!(
        (portail.needs.availability, portail.needs.traceability),
        (3, 4)
    );
    assert_eq!(fleet.service_status[2].service, ServiceName::vigie());
    assert_eq!(fleet.service_status[2].status, Status::Ok);
}

#[test]
fn what_comes_next_is_told_in_its_order_with_whom_a_step_reaches_then() {
    let mut state = State::default();
    let mut told = alert(1, Status::Unknown);
    let progress = Progress {
        begun: vec![Begun {
            rounds: 2,
            again: Some(Deadline::after(NOW, 300_000)),
        }],
        next: Some(Deadline::after(NOW, 120_000)),
    };
    told.told.insert(
        name("astreinte"),
        Notified {
            status: Status::Critical,
            to: BTreeMap::new(),
            progress,
        },
    );
    told.unknown_counts = Some(Deadline::after(NOW, 60_000));
    // After the hand-off of Monday morning.
    let mut later = alert(2, Status::Critical);
    let after_handoff = Progress {
        begun: vec![Begun::default()],
        next: Some(Deadline::after(NOW, 14 * 3_600_000)),
    };
    later.told.insert(
        name("astreinte"),
        Notified {
            status: Status::Critical,
            to: BTreeMap::new(),
            progress: after_handoff,
        },
    );
    let mut quiet = alert(3, Status::Warning);
    quiet.muted = Some(MutedBy::Mute(12));
    quiet.acknowledged = Some(Acknowledgement {
        by: Actor::Uid(1_000),
        at: NOW.wall,
        status: Status::Warning,
        until: Some(Deadline::after(NOW, 30_000)),
    });
    state.mutes.insert(
        12,
        Mute {
            what: Muted::Maintenance(Nodes::default()),
            reason: "travaux".to_owned(),
            uid: 1_000,
            from: NOW.wall,
            until: Deadline::after(NOW, 10_000),
        },
    );
    state.alerts.insert(key("app-01", "a"), told);
    state.alerts.insert(key("app-01", "b"), later);
    state.alerts.insert(key("app-01", "c"), quiet);
    let held = DeferredKey {
        receiver: name("equipe"),
        alert: key("app-01", "c"),
    };
    let row: Deferred = serde_json::from_value(json!({
        "number": 3, "held_since": NOW.wall, "since": NOW.wall, "times": 1, "worst": "warning",
        "status": "warning", "family": "host", "services": [], "criticality": "standard",
        "environment": "production", "reason": "x", "facts": {},
    }))
    .unwrap();
    state.held.insert(held, row);
    let due = DigestDue {
        due: Some(NOW.wall.plus_ms(20_000)),
        ..DigestDue::default()
    };
    state.digests.insert(name("equipe"), due);
    let fleet = shown(&state, &policy(rules()), &BTreeMap::new());
    let of = |number: u64| {
        let mut alerts = fleet.alerts.iter();
        alerts.find(|alert| alert.number == number).unwrap()
    };
    let next = |number: u64| -> Vec<(i64, &Coming)> {
        let next = of(number).next.iter();
        next.map(|next| (next.at.0 - NOW.wall.0, &next.what))
            .collect()
    };
    let step = |to: &str| Coming::Step {
        receiver: name("astreinte"),
        step: 1,
        to: vec![name(to)],
        unreachable: vec![name("chef")],
    };
    let again = Coming::Again {
        receiver: name("astreinte"),
        step: 0,
    };
    assert_eq!(
        next(1),
        [
            (60_000, &Coming::UnknownCounts),
            (120_000, &step("am/sms")),
            (300_000, &again),
        ]
    );
    assert_eq!(next(2), [(14 * 3_600_000, &step("jb/sms"))]);
    let digest = Coming::Digest {
        receiver: name("equipe"),
    };
    assert_eq!(
        next(3),
        [
            (10_000, &Coming::Unmuted),
            (20_000, &digest),
            (30_000, &Coming::AcknowledgementEnds),
        ]
    );
    assert_eq!(of(1).notified[0].steps[0].rounds, 2);
    assert!(of(1).quiet().next().is_none());
    let why: Vec<Quiet<'_>> = of(3).quiet().collect();
    assert!(
        matches!(
            why[..],
            [
                Quiet::Acknowledged(_),
                Quiet::MutedBy(12),
                Quiet::HeldFor([_])
            ]
        ),
        "{why:?}"
    );
}

#[test]
fn who_is_on_call_and_who_comes_next_is_said_until_somebody_else_is() {
    let on_call = |change: fn(&mut Rota), zone: bool| {
        let mut rules = rules();
        change(rules.rotas.get_mut("astreinte").unwrap());
        let mut policy = policy(rules);
        if !zone {
            policy.zones = std::iter::empty().collect();
        }
        let mut on_call = shown(&State::default(), &policy, &BTreeMap::new()).on_call;
        let on_call = on_call.remove(0);
        let names = |people: Vec<vigie_core::id::PersonName>| {
            let people: Vec<String> = people.iter().map(ToString::to_string).collect();
            people.join(" ")
        };
        let until = on_call.until.map(|until| until.to_string());
        (names(on_call.now), until, names(on_call.next))
    };
    let monday = Some("2026-11-23T07:30:00.000Z".to_owned());
    let said = |now: &str, until: &Option<String>, next: &str| {
        (now.to_owned(), until.clone(), next.to_owned())
    };
    assert_eq!(on_call(|_| {}, true), said("am", &monday, "jb"));
    // Alone: nobody comes next.
    assert_eq!(
        on_call(|rota| rota.people.truncate(1), true),
        said("am", &None, "")
    );
    // A change that changes nobody is passed over.
    let herself = |rota: &mut Rota| {
        rota.overrides.push(Override {
            from: "2026-11-22T22:00".parse().unwrap(),
            to: "2026-11-22T23:00".parse().unwrap(),
            person: name("am"),
        });
    };
    assert_eq!(on_call(herself, true), said("am", &monday, "jb"));
    // Nobody can say whose turn it is.
    assert_eq!(on_call(|_| {}, false), said("am jb", &None, ""));
}

#[test]
fn alerts_of_one_node_are_its_own_and_no_namesake_s() {
    let mut state = State::default();
    for (number, node) in [
        (1, "@sender/prom"),
        (2, "@sender/prometheus"),
        (3, "prom"),
        (4, "@sender/prom"),
    ] {
        let key = key(node, &format!("check-{number}"));
        state.alerts.insert(key, alert(number, Status::Critical));
    }
    let policy = policy(rules());
    let basis = Basis {
        state: &state,
        policy: &policy,
        heard: &BTreeMap::new(),
        at: NOW.wall,
    };
    let numbers = |node: &str| -> Vec<u64> {
        let of = AlertKey::from_parts(node, "", "").unwrap();
        let alerts = alert_view::open_of(&basis, of.source());
        alerts.iter().map(|alert| alert.number).collect()
    };
    assert_eq!(numbers("@sender/prom"), [1, 4]);
    assert_eq!(numbers("prom"), [3]);
    assert_eq!(numbers("nobody"), [0; 0]);
}

/// Users' scripts read these; a name that goes away here goes away under them.
#[test]
fn the_names_in_json_stay_and_what_is_printed_reads_back() {
    let (mut state, heard) = two_nodes();
    state
        .alerts
        .insert(key("app-01", "portail"), alert(7, Status::Warning));
    let fleet = shown(&state, &policy(rules()), &heard);
    let printed = json!(fleet);
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        names(&printed),
        [
            "alerts",
            "at",
            "clock_in_doubt",
            "destinations",
            "groups",
            "held",
            "last_message",
            "log",
            "messages_waiting",
            "mutes",
            "nodes",
            "on_call",
            "receivers",
            "senders",
            "service_status",
            "services",
            "sites",
            "v",
            "version",
            "windows",
        ]
    );
    assert_eq!(
        names(&printed["alerts"][0]),
        [
            "acknowledged",
            "check",
            "criticality",
            "environment",
            "exercise",
            "facts",
            "family",
            "folded_into",
            "groups",
            "held_for",
            "muted",
            "need",
            "next",
            "node",
            "notified",
            "number",
            "object",
            "opening",
            "reason",
            "serves",
            "services",
            "since",
            "sites",
            "status",
            "to",
            "told",
            "until_confirmed",
        ]
    );
    assert_eq!(
        names(&printed["nodes"][0]),
        [
            "certificate_not_after",
            "checks",
            "denied",
            "groups",
            "last_contact",
            "node",
            "seq",
            "status",
            "up",
        ]
    );
    assert_eq!(names(&printed["log"]), ["root", "size"]);
    assert_eq!((&printed["v"], &printed["version"]), (&json!(1), &json!(1)));
    let read: Fleet = serde_json::from_value(printed.clone()).unwrap();
    assert_eq!(read, fleet);
    let mut newer = printed;
    newer["v"] = json!(2);
    let refused = serde_json::from_value::<Fleet>(newer)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("version 2"), "{refused}");
}

fn decision(decision: &Decision) -> Value {
    let mut event = serde_json::to_value(decision).unwrap();
    event["kind"] = "decision".into();
    event
}

#[test]
fn a_line_is_read_as_it_is_written_now_and_as_it_was_before_there_were_steps() {
    let told = Decision::Told {
        number: 7,
        receiver: name("astreinte"),
        to: name("am/sms"),
        step: 1,
        notice: Notice::Open,
        key: Digest::of(b"x"),
        route: Some(2),
    };
    let mut line = decision(&told);
    let Said::Decision(read) = Said::read(&line) else {
        panic!("a decision");
    };
    assert_eq!((read.number, read.word.as_str()), (Some(7), "told"));
    let Decided::Told(said) = read.what else {
        panic!("told");
    };
    assert_eq!((said.destination(), said.step), (name("am/sms"), Some(1)));
    let members = line.as_object_mut().unwrap();
    members.remove("to");
    members.remove("step");
    let Said::Decision(old) = Said::read(&line) else {
        panic!("a decision");
    };
    let Decided::Told(said) = old.what else {
        panic!("told");
    };
    assert_eq!((said.destination(), said.step), (name("astreinte"), None));
}

#[test]
fn what_this_version_has_no_words_for_keeps_its_word_and_its_number() {
    let line = json!({ "kind": "decision", "decided": "newer", "number": 9 });
    let Said::Decision(read) = Said::read(&line) else {
        panic!("a decision");
    };
    assert_eq!((read.word.as_str(), read.number), ("newer", Some(9)));
    assert_eq!(read.what, Decided::Other);
    for line in [
        json!({ "kind": "newer" }),
        json!({ "kind": "node.heard" }),
        json!(7),
    ] {
        assert_eq!(Said::read(&line), Said::Event(Happened::Other), "{line}");
    }
}

#[test]
fn every_decision_about_an_alert_and_every_end_of_a_message_has_a_type() {
    let number = 7;
    let receiver = || name("astreinte");
    let decisions = [
        Decision::Opened {
            number,
            alert: key("app-01", "portail"),
            status: Status::Critical,
            reason: "x".to_owned(),
        },
        Decision::Changed {
            number,
            from: Status::Warning,
            to: Status::Critical,
            reason: "x".to_owned(),
        },
        Decision::Closed {
            number,
            ended: Ended::Recovered,
        },
        Decision::Kept {
            number,
            why: KeptBecause::Doubt,
        },
        Decision::Deferred {
            number,
            receiver: receiver(),
            until: None,
            route: None,
        },
        Decision::Muted {
            number,
            by: MutedBy::Mute(12),
            would_tell: vec![receiver()],
            would_hold: Vec::new(),
        },
        Decision::Inhibited { number, into: 3 },
        Decision::AlertAcknowledged {
            number,
            by: Actor::Uid(0),
        },
        Decision::Skipped {
            number,
            receiver: receiver(),
            step: 0,
            person: None,
        },
    ];
    for one in &decisions {
        let Said::Decision(read) = Said::read(&decision(one)) else {
            panic!("a decision");
        };
        assert_eq!(read.number, Some(number), "{one:?}");
        assert_ne!(read.what, Decided::Other, "{one:?}");
    }
    let key = Digest::of(b"x");
    let events = [
        Event::Delivery(DeliveryEvent::Delivered {
            key,
            carried_by: Some(key),
        }),
        Event::Delivery(DeliveryEvent::Refused {
            key,
            http_status: 550,
        }),
        Event::Delivery(DeliveryEvent::Undeliverable { key }),
        Event::Delivery(DeliveryEvent::DeliveryFailing {
            receiver: name("am/sms"),
            waiting: 3,
            http_status: 0,
        }),
    ];
    for event in &events {
        let read = Said::read(&serde_json::to_value(event).unwrap());
        assert!(read.is_about_message(), "{event:?}: {read:?}");
    }
}
