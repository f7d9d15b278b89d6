//! The alerts that an Alertmanager is sent.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    super::{
        provider::{self, NOW, Provider, digest, reply, secret, tell},
        tests::message,
    },
    *,
};
use crate::config::{ContactChannel, Detail};

async fn posted(message: Message, detail: Detail) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(vec![reply("200 OK", &[], "")]).await;
    let way = ContactChannel::Alertmanager(config::AlertmanagerApi {
        url: format!("{}/alerts/", provider.url),
        header_file: Some(secret(
            dir.path(),
            "header",
            "Authorization: Basic czNjcmV0\n",
        )),
        ca_file: None,
    });
    let target = provider::target(way, detail);
    assert_eq!(tell(&target, &[message]).await, Answer::Accepted);
    let asked = provider.asked().await;
    assert_eq!(asked.line, "POST /alerts/api/v2/alerts");
    assert_eq!(asked.headers["authorization"], "Basic czNjcmV0");
    asked.json().as_array().unwrap().clone()
}

fn ends(alerts: &[Value]) -> Vec<(&str, Wall)> {
    alerts
        .iter()
        .map(|alert| {
            let severity = alert["labels"]["severity"].as_str().unwrap();
            let end = alert["endsAt"].as_str().unwrap();
            (severity, Wall::parse(end).unwrap())
        })
        .collect()
}

fn with(order: u64, notice: Notice, status: Status) -> Message {
    let mut message = message(order, 1841, notice);
    if let Body::Alert(telling) = &mut message.body {
        telling.status = status;
    }
    message
}

#[tokio::test]
async fn what_opens_is_one_alert_with_its_labels() {
    let alerts = posted(message(1, 1841, Notice::Open), Detail::Full).await;
    assert_eq!(ends(&alerts), [("critical", NOW.plus_ms(LASTS_MS))]);
    let labels = &alerts[0]["labels"];
    assert_eq!(labels["alertname"], "portail");
    assert_eq!(labels["node"], "app-01");
    assert_eq!(labels["service"], "dossier-patient");
    let annotations = &alerts[0]["annotations"];
    assert!(annotations["summary"].as_str().unwrap().contains("1841"));
    assert_eq!(alerts[0]["startsAt"], "2026-11-22T19:04:31.207Z");
}

#[tokio::test]
async fn what_gets_worse_ends_what_it_was() {
    let worse = with(2, Notice::Worse, Status::Unknown);
    let at = worse.at;
    let alerts = posted(worse, Detail::Full).await;
    let until = NOW.plus_ms(LASTS_MS);
    assert_eq!(
        ends(&alerts),
        [("warning", at), ("unknown", until), ("critical", at)]
    );
}

#[tokio::test]
async fn an_end_ends_whatever_may_stand_there_and_never_before_the_beginning() {
    let mut closed = with(3, Notice::Close, Status::Warning);
    let at = closed.at;
    let alerts = posted(closed.clone(), Detail::Full).await;
    assert_eq!(
        ends(&alerts),
        [("warning", at), ("unknown", at), ("critical", at)]
    );
    // The node's clock is ahead.
    let ahead = at.plus_ms(5_000);
    if let Body::Alert(telling) = &mut closed.body {
        telling.since = ahead;
    }
    let alerts = posted(closed, Detail::Full).await;
    assert!(ends(&alerts).iter().all(|(_, end)| *end == ahead));
}

#[tokio::test]
async fn what_is_minimal_is_still_known_apart() {
    let one = posted(message(1, 1841, Notice::Open), Detail::Minimal).await;
    let other = posted(message(2, 1842, Notice::Open), Detail::Minimal).await;
    assert_ne!(one[0]["labels"], other[0]["labels"]);
    let names: Vec<&String> = one[0]["labels"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["alertname", "criticality", "number", "service", "severity"]
    );
}

#[tokio::test]
async fn a_digest_ends_by_itself() {
    let alerts = posted(digest(), Detail::Full).await;
    assert_eq!(ends(&alerts), [("info", NOW.plus_ms(DIGEST_LASTS_MS))]);
    assert_eq!(alerts[0]["labels"]["alertname"], "vigie-digest");
}
