//! The events that PagerDuty is sent.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    super::{
        provider::{self, Provider, digest, reply, secret, tell},
        tests::message,
    },
    *,
};
use crate::config::ContactChannel;

const YES: &str = r#"{"status":"success","message":"Event processed","dedup_key":"x"}"#;

/// The events that these messages become.
async fn events(messages: &[Message], detail: Detail) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let script = vec![reply("202 Accepted", &[], YES); messages.len()];
    let mut provider = Provider::start(script).await;
    let way = ContactChannel::Pagerduty(config::Pagerduty {
        url: format!("{}/v2/enqueue", provider.url),
        routing_key_file: secret(dir.path(), "key", "0123456789abcdef\n"),
        ca_file: None,
    });
    let target = provider::target(way, detail);
    let mut events = Vec::new();
    for message in messages {
        let answer = tell(&target, std::slice::from_ref(message)).await;
        assert_eq!(answer, Answer::Accepted);
        let asked = provider.asked().await;
        assert_eq!(asked.line, "POST /v2/enqueue");
        let event = asked.json();
        assert_eq!(event["routing_key"], "0123456789abcdef");
        events.push(event);
    }
    events
}

#[tokio::test]
async fn an_end_finds_its_beginning_and_another_opening_is_another_incident() {
    let mut again = message(4, 1850, Notice::Open);
    if let Body::Alert(telling) = &mut again.body {
        telling.opening += 1;
    }
    let messages = [
        message(1, 1841, Notice::Open),
        message(2, 1841, Notice::Worse),
        message(3, 1841, Notice::Close),
        again,
    ];
    let events = events(&messages, Detail::Full).await;
    let actions: Vec<&str> = events
        .iter()
        .map(|event| event["event_action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve", "trigger"]);
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    assert_eq!(events[0]["dedup_key"], events[2]["dedup_key"]);
    assert_ne!(events[0]["dedup_key"], events[3]["dedup_key"]);
    let payload = &events[0]["payload"];
    assert_eq!(payload["severity"], "critical");
    assert_eq!(payload["source"], "app-01");
    assert_eq!(payload["component"], "portail");
    assert_eq!(payload["group"], "dossier-patient");
    assert_eq!(payload["class"], "http.status");
    assert_eq!(payload["timestamp"], "2026-11-22T19:04:31.207Z");
    assert_eq!(payload["custom_details"]["need"], json!({"D": 4}));
    assert_eq!(payload["custom_details"]["number"], 1841);
    assert!(payload["summary"].as_str().unwrap().contains("1841"));
    assert_eq!(events[0]["links"][0]["text"], "runbook");
}

#[tokio::test]
async fn a_digest_is_for_information() {
    let events = events(&[digest()], Detail::Full).await;
    assert_eq!(events[0]["payload"]["severity"], "info");
    assert_eq!(events[0]["event_action"], "trigger");
}

#[test]
fn not_knowing_is_worse_than_a_warning() {
    let words = Status::ALL.iter().map(|status| severity(*status));
    assert_eq!(
        words.collect::<Vec<_>>(),
        ["info", "warning", "critical", "error"]
    );
}
