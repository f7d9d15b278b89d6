#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_core::{
    digest::Digest,
    id::MaintenanceName,
    status::{Criticality, Environment, Family},
    time::Elapsed,
};
use vigie_decide::{
    alert::{Acknowledgement, Reached, Told},
    calendar::recurring::Recurring,
    held::{DigestDue, Held, HeldKey},
    mute::{Mute, Place, Scope},
    rules::{Maintenance, Match, Person, Receiver, Step},
};

use super::*;

const NOW: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

fn alert(number: u64, status: Status) -> Alert {
    Alert {
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

fn key(node: &str, check: &str, object: &str) -> AlertKey {
    AlertKey::from_parts(node, check, object).unwrap()
}

fn told(to: &[(&str, u64, u64)]) -> Told {
    Told {
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

fn ground() -> Ground {
    let mut rules = Rules::default();
    let steps = vec![Step::default()];
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
    Ground {
        rules: rules.into(),
        ..Ground::default()
    }
}

fn shown(state: &State, ground: &Ground) -> Value {
    let presence = Presence::new(state, &ground.rules, NOW);
    snapshot(state, ground, &presence, NOW)
}

/// One alert of each kind of handling, and what waits.
fn busy() -> State {
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
    let row = Held {
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
    let held_key = |alert| HeldKey {
        receiver: "equipe".parse().unwrap(),
        alert,
    };
    let ended = Held {
        ended: Some((NOW.wall, vigie_decide::alert::Ended::Recovered)),
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
    let place = Place {
        groups: ["app".parse().unwrap()].into(),
        ..Place::default()
    };
    state.mutes.insert(13, mute(Muted::Maintenance(place)));
    state
}

fn by_number(snapshot: &Value, number: u64) -> &Value {
    rows_of(snapshot, "alerts")
        .iter()
        .find(|row| row["number"] == number)
        .unwrap()
}

#[test]
fn alerts_say_who_was_told_where_and_what_is_being_done() {
    let snapshot = shown(&busy(), &ground());
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
    let snapshot = shown(&busy(), &ground());
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
    let silences = mute_table(&snapshot, Some("silence"));
    assert!(silences.contains("app-02") && !silences.contains("groups=app"));
    assert_eq!(mute_table(&json!({}), None), "");
}

#[test]
fn an_exercise_is_no_trouble_and_everything_else_is() {
    let mut state = State::default();
    let receiver = "astreinte".parse().unwrap();
    state
        .alerts
        .insert(AlertKey::exercise(&receiver), alert(7, Status::Critical));
    let snapshot = shown(&state, &ground());
    assert!(is_fine(&snapshot), "{snapshot:#}");
    assert!(table(&snapshot, Language::French).contains("exercise"));
    state
        .alerts
        .insert(key("app-01", "portail", ""), alert(8, Status::Warning));
    assert!(!is_fine(&shown(&state, &ground())));
    assert!(!is_fine(&json!({})));
}

fn since(to: &str, first: u64, last: u64) -> Linked {
    Linked {
        to: to.parse().unwrap(),
        last,
        about: About::Since(first),
    }
}

fn numbers(state: &State, linked: &Linked) -> Result<Vec<u64>, NotTold> {
    let told = told_by(&shown(state, &ground()), linked)?;
    Ok(told.into_iter().map(|alert| alert.number).collect())
}

#[test]
fn a_link_to_many_is_about_what_its_destination_was_told_within_its_span_and_is_open() {
    let mut state = busy();
    state.meta.last_message = 99;
    let about = |to, first, last| numbers(&state, &since(to, first, last));
    assert_eq!(about("am/sms", 1, 2), Ok(vec![]));
    assert_eq!(about("am/sms", 1, 3), Ok(vec![1]));
    assert_eq!(about("am/sms", 9, 99), Ok(vec![1]));
    // Told of it before, and never since.
    assert_eq!(about("am/sms", 10, 99), Ok(vec![]));
    assert_eq!(about("am/mail", 1, 5), Ok(vec![]));
    assert_eq!(about("equipe", 1, 7), Ok(vec![1]));
    // Not in the settings: gone, or told by steps and never itself.
    for gone in ["jb/sms", "am/voice", "astreinte"] {
        assert_eq!(about(gone, 1, 99), Err(NotTold::Retired), "{gone}");
    }
    // Its message is not in the log yet: that is not the same as being over.
    for unwritten in [0, 100] {
        assert_eq!(about("am/sms", 0, unwritten), Err(NotTold::Unwritten));
    }
    let first = &told_by(&shown(&state, &ground()), &since("am/sms", 1, 3)).unwrap()[0];
    assert_eq!(
        first.acknowledged_by,
        Some(Actor::Link("am/sms".parse().unwrap()))
    );
    assert_eq!((first.status, first.is_exercise), (Status::Critical, false));
}

#[test]
fn the_link_of_an_exercise_is_about_no_older_alert_and_no_span_about_an_exercise() {
    let mut state = State::default();
    state.meta.last_message = 99;
    let exercise = AlertKey::exercise(&"equipe".parse().unwrap());
    let real = key("app-01", "portail", "");
    // Told before the exercise, and reminded of after it.
    for (key, number, reached) in [
        (&real, 1, ("am/sms", 1, 9)),
        (&exercise, 2, ("am/sms", 5, 5)),
    ] {
        let mut alert = alert(number, Status::Critical);
        alert
            .told
            .insert("equipe".parse().unwrap(), told(&[reached]));
        state.alerts.insert(key.clone(), alert);
    }
    let of = |key: &AlertKey, opening| Linked {
        to: "am/sms".parse().unwrap(),
        last: 5,
        about: About::Alerts(vec![Mark::of(key, opening)]),
    };
    assert_eq!(numbers(&state, &of(&exercise, 1)), Ok(vec![2]));
    assert_eq!(numbers(&state, &of(&real, 1)), Ok(vec![1]));
    // Another opening of the same alert was another alert.
    assert_eq!(numbers(&state, &of(&real, 2)), Ok(vec![]));
    assert_eq!(numbers(&state, &since("am/sms", 5, 5)), Ok(vec![1]));
}

#[test]
fn a_preview_covers_what_the_silence_itself_covers() {
    let state = busy();
    let ground = ground();
    let snapshot = shown(&state, &ground);
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
                let subject = fleet::subject(&ground.rules, None, key, alert);
                silence.covers(key, alert.number, &subject, alert.family, alert.status)
            })
            .map(|(_, alert)| alert.number)
            .collect();
        let found: BTreeSet<u64> = hits(&snapshot, silence)
            .iter()
            .filter_map(|row| row["number"].as_u64())
            .collect();
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
        place: Place {
            groups: ["app".parse().unwrap()].into(),
            ..Place::default()
        },
        window,
        scope: Scope::Reachability,
        reason: "correctifs".to_owned(),
    };
    rules.maintenance.insert(name, maintenance);
    let zone = jiff::tz::TimeZone::get("Europe/Paris").unwrap();
    let ground = Ground {
        rules: rules.into(),
        zones: [("Europe/Paris".to_owned(), zone)].into_iter().collect(),
    };
    let snapshot = shown(&State::default(), &ground);
    let window = &snapshot["windows"][0];
    assert_eq!(window["is_on"], false);
    // The Tuesday after Sunday 22 November 2026, 22:00 in winter.
    assert_eq!(window["next_edge"], "2026-11-24T21:00:00.000Z");
    let table = window_table(&snapshot);
    assert!(
        table.contains("next") && table.contains("groups=app"),
        "{table}"
    );
}
