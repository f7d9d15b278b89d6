#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use vigie_decide::mute::MutedBy;

use super::*;

const NOW: Now = Now {
    wall: Wall(1_795_374_000_000),
    elapsed: Elapsed(1_000_000),
};

fn open() -> Vec<Alert> {
    let alert = |name: &str, labels: Value| -> Alert {
        let mut facts = labels;
        facts["name"] = name.into();
        facts["sender"] = "prom".into();
        serde_json::from_value(json!({
            "number": 7, "node": "@sender/prom", "check": name, "object": format!("{name}-fingerprint"),
            "status": "critical", "criticality": "critical", "services": [], "environment": "production",
            "sites": [], "groups": [], "serves": "D", "need": 4, "family": "availability", "reason": "x",
            "facts": facts, "opening": 1, "since": "2026-11-22T18:00:00.000Z", "told": ["night"], "to": {},
            "notified": [], "next": [], "held_for": [], "exercise": false, "until_confirmed": false,
        }))
        .unwrap()
    };
    let mut silenced = alert("disk", json!({"alertname": "Disk"}));
    silenced.muted = Some(MutedBy::Mute(3));
    let mut folded = alert("ping", json!({"alertname": "Ping"}));
    folded.folded_into = Some(12);
    let down = json!({"alertname": "InstanceDown", "expr": "up{a=\"b\"}", "job": "a"});
    vec![alert("instancedown", down), silenced, folded]
}

/// What is answered.
fn answered(wanted: &Wanted) -> Value {
    json!(alerts(open(), &desk(), wanted, NOW))
}

/// The names of what a query finds.
fn found(query: &str) -> Vec<String> {
    let wanted = Wanted::parse(query).unwrap();
    let alerts = answered(&wanted);
    alerts
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
        .collect()
}

fn desk() -> std::sync::Arc<SenderAlerts> {
    super::super::desk::AlertsBySender::new(NOW.wall).of(&"prom".parse().unwrap())
}

#[test]
fn an_alert_has_every_member_that_the_form_demands() {
    let wanted = Wanted::parse("").unwrap();
    let alerts = answered(&wanted);
    assert_eq!(
        alerts[0],
        json!({
            "labels": {"alertname": "InstanceDown", "expr": "up{a=\"b\"}", "job": "a"},
            "annotations": {},
            "fingerprint": "instancedown-fingerprint",
            "startsAt": "2026-11-22T18:00:00.000Z",
            "updatedAt": "2026-11-22T18:00:00.000Z",
            "endsAt": NOW.wall.plus_ms(300_000),
            "receivers": [{"name": "night"}],
            "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
        })
    );
    assert_eq!(alerts[1]["status"]["state"], "suppressed");
    assert_eq!(alerts[1]["status"]["silencedBy"], json!(["3"]));
    assert_eq!(alerts[2]["status"]["inhibitedBy"], json!(["12"]));
}

#[test]
fn a_query_finds_what_it_asks_for_among_what_is_the_senders() {
    let all = ["InstanceDown", "Disk", "Ping"];
    for (query, names) in [
        ("", &all[..]),
        ("unprocessed=true&limit=5", &all),
        ("silenced=false&inhibited=false", &all[..1]),
        ("active=false", &all[1..]),
        ("active=false&silenced=false", &all[2..]),
        ("receiver=nig.t", &all),
        ("receiver=nig", &[]),
        // As amtool writes it.
        ("filter=alertname%3D%22InstanceDown%22", &all[..1]),
        ("filter=alertname%3DDisk", &all[1..2]),
        (
            "filter=alertname%21%3D%22Disk%22&filter=job%3D%22%22",
            &all[2..],
        ),
        ("filter=alertname%3D~%22D.*%7CP.*%22", &all[1..]),
        ("filter=alertname%3D~%22D%22", &[]),
        ("filter=job%21~%22.%2B%22", &all[1..]),
        ("filter=expr+%3D+%22up%7Ba%3D%5C%22b%5C%22%7D%22", &all[..1]),
        ("filter=alertname%3D~%22Instance%5C.%3FDown%22", &all[..1]),
    ] {
        assert_eq!(found(query), names, "{query}");
    }
}

#[test]
fn what_is_no_question_is_refused() {
    let long = format!("filter={}", "a".repeat(QUERY_LEN_MAX));
    for (query, said) in [
        ("active=yes", "active is true or false"),
        ("filter=alertname", "is no matcher"),
        ("filter=%3Da", "is no matcher"),
        ("filter=a%3D%22b", "is no matcher"),
        ("filter=a%3D~%22(%22", "is no pattern"),
        ("filter=a%3D~%22(a%7B1000%7D)%7B1000%7D%22", "is no pattern"),
        ("filter=%ff", "is not URL-encoded text"),
        ("filter=%4", "is not URL-encoded text"),
        (&long, "longer than 4096 bytes"),
    ] {
        let why = Wanted::parse(query).unwrap_err();
        assert!(why.contains(said), "{query}: {why}");
    }
}
