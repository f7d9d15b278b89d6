//! What ntfy is sent.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    super::{
        provider::{self, Provider, digest, reply, secret, tell},
        tests::message,
    },
    *,
};
use crate::config::{ContactChannel, Detail, NtfyContact};

const YES: &str = r#"{"id":"x","time":1,"event":"message","topic":"astreinte"}"#;

#[tokio::test]
async fn a_page_is_loud_and_has_its_button() {
    let dir = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(vec![reply("200 OK", &[], YES)]).await;
    let way = ContactChannel::Ntfy(NtfyContact {
        server: config::Ntfy {
            url: format!("{}/", provider.url),
            token_file: Some(secret(dir.path(), "token", "tk_s3cret\n")),
            ca_file: None,
        },
        topic: "astreinte".to_owned().into(),
    });
    let target = provider::target(way, Detail::Full);
    let batch = [
        message(1, 1841, Notice::Open),
        message(2, 1842, Notice::Close),
    ];
    assert_eq!(tell(&target, &batch).await, Answer::Accepted);
    let asked = provider.asked().await;
    assert_eq!(asked.line, "POST /");
    assert_eq!(asked.headers["authorization"], "Bearer tk_s3cret");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["idempotency-key"], batch[0].key.to_string());
    let body = asked.json();
    assert_eq!(body["topic"], "astreinte");
    assert_eq!(body["priority"], 5);
    assert_eq!(body["tags"], json!(["rotating_light"]));
    let link = body["actions"][0]["url"].as_str().unwrap();
    assert!(link.contains("/am/sms.1."), "{link}");
    assert!(!body["title"].as_str().unwrap().is_empty());
    let text = body["message"].as_str().unwrap();
    assert!(text.contains("1841") && text.contains("1842"), "{text}");
}

#[test]
fn only_what_wakes_is_loud() {
    let with = |criticality, status, notice| {
        let mut message = message(1, 1, notice);
        if let vigie_decide::alert::Body::Alert(telling) = &mut message.body {
            telling.criticality = criticality;
            telling.status = status;
        }
        message
    };
    let open = |criticality, status| with(criticality, status, Notice::Open);
    for (batch, expected) in [
        (
            vec![open(Criticality::Critical, Status::Unknown)],
            Priority::Urgent,
        ),
        (
            vec![with(Criticality::Critical, Status::Critical, Notice::Again)],
            Priority::Urgent,
        ),
        (
            vec![open(Criticality::Critical, Status::Warning)],
            Priority::Default,
        ),
        (
            vec![open(Criticality::Important, Status::Critical)],
            Priority::Default,
        ),
        (vec![message(1, 1, Notice::Close)], Priority::Low),
        // It ended before anybody heard of it.
        (
            vec![message(1, 1, Notice::Open), message(2, 1, Notice::Close)],
            Priority::Low,
        ),
        (
            vec![message(1, 1, Notice::Close), digest()],
            Priority::Default,
        ),
    ] {
        assert_eq!(priority(&batch), expected, "{batch:?}");
    }
}
