//! The form that the module describes, and what holds for whatever a node says.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use vigie_decide::alert::{Actor, AlertKey, Notice};

use super::{
    super::{
        alertmanager,
        provider::{about, digest},
        tests::message,
    },
    *,
};

const VOICE: Voice<'static> = Voice {
    language: Language::French,
    zone: None,
    link: None,
    now: None,
};

fn posted(message: &Message, detail: Detail) -> Value {
    serde_json::from_slice(&body(message, VOICE, detail)).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let members = value.as_object().unwrap();
    members.keys().map(String::as_str).collect()
}

#[test]
fn every_member_is_documented_and_true() {
    let mut message = message(1, 1841, Notice::Again);
    if let Body::Alert(telling) = &mut message.body {
        telling.step = 2;
        telling.others_told = ["equipe-sis".parse().unwrap()].into();
        telling.acknowledged_by = Some(Actor::Uid(1000));
        telling.explains = 7;
    }
    let body = posted(&message, Detail::Full);
    let expected = json!({
        "version": 1,
        "key": message.key,
        "notice": "again",
        "number": 1841,
        "title": body["title"],
        "exercise": false,
        "status": "critical",
        "criticality": "critical",
        "services": ["dossier-patient"],
        "node": "app-01",
        "check": "portail",
        "object": "192.0.2.7",
        "family": "availability",
        "environment": "production",
        "need": {"D": 4},
        "reason": "http.status",
        "message": body["message"],
        "facts": {"expected": [200], "got": 503},
        "since": "2026-11-22T19:04:31.207Z",
        "at": "2026-11-22T19:04:32.000Z",
        "ended": null,
        "runbook": "https://wiki.example/dossier-patient",
        "step": 2,
        "told": ["equipe-sis"],
        "acknowledged_by": {"uid": 1000},
        "explains": 7,
    });
    assert_eq!(body, expected);
    assert!(
        body["title"]
            .as_str()
            .unwrap()
            .starts_with("[vigie #1841] dossier-patient")
    );
    let said = &body["message"];
    assert!(said["fr"].is_string() && said["en"].is_string() && said["fr"] != said["en"]);
}

#[test]
fn minimal_has_only_what_is_minimal() {
    let body = posted(&message(1, 1841, Notice::Close), Detail::Minimal);
    let expected = [
        "at",
        "criticality",
        "ended",
        "exercise",
        "key",
        "notice",
        "number",
        "services",
        "since",
        "status",
        "title",
        "version",
    ];
    assert_eq!(keys(&body), BTreeSet::from(expected));
    assert_eq!(body["ended"], "recovered");
}

#[test]
fn an_exercise_says_that_it_is_one() {
    let mut exercise = message(1, 1841, Notice::Open);
    if let Body::Alert(telling) = &mut exercise.body {
        telling.alert = AlertKey::exercise(&"night".parse().unwrap());
        telling.reason = "vigie.exercise".to_owned();
    }
    for detail in [Detail::Full, Detail::Minimal] {
        let body = posted(&exercise, detail);
        assert_eq!(body["exercise"], true);
        assert!(
            body["title"].as_str().unwrap().contains("[EXERCICE]"),
            "{body}"
        );
        let other = alertmanager::body(&exercise, VOICE, detail);
        let other: Value = serde_json::from_slice(&other).unwrap();
        assert_eq!(other["commonLabels"]["exercise"], "true");
    }
}

#[test]
fn a_digest_is_whole_and_minimal_only_counts() {
    let whole = posted(&digest(), Detail::Full);
    assert_eq!(whole["notice"], "digest");
    let line = &whole["digest"]["still_on"][0];
    assert_eq!(line["alert"]["node"], "db-01");
    assert_eq!(line["alert"]["object"], "/var");
    assert_eq!(line["held"]["times"], 3);
    assert_eq!(whole["digest"]["silent"], json!(["app-02"]));
    let read: DigestNotice = serde_json::from_value(whole["digest"].clone()).unwrap();
    assert_eq!(read.mutes.len(), 1);

    let minimal = posted(&digest(), Detail::Minimal);
    assert_eq!(keys(&minimal), keys(&whole));
    assert_eq!(minimal["digest"]["silent"], 1);
    let line = &minimal["digest"]["still_on"][0];
    assert_eq!(
        keys(line),
        BTreeSet::from([
            "criticality",
            "ended",
            "number",
            "services",
            "since",
            "status",
            "times"
        ])
    );
}

#[test]
fn to_alertmanagers_readers_all_that_is_on_is_firing() {
    for notice in [
        Notice::Open,
        Notice::Worse,
        Notice::Still,
        Notice::Again,
        Notice::HandOver,
        Notice::Close,
    ] {
        let body = alertmanager::body(&message(1, 1841, notice), VOICE, Detail::Full);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let expected = if notice == Notice::Close {
            "resolved"
        } else {
            "firing"
        };
        assert_eq!(body["status"], expected);
    }
}

proptest! {
    #[test]
    fn any_text_of_a_node_is_text(object in any::<String>()) {
        let message = about(message(1, 1841, Notice::Open), &object);
        for detail in [Detail::Full, Detail::Minimal] {
            let posted = posted(&message, detail);
            prop_assert_eq!(&posted["number"], 1841);
            let other = alertmanager::body(&message, VOICE, detail);
            prop_assert!(serde_json::from_slice::<Value>(&other).is_ok());
        }
    }
}
