//! What a gateway is sent, and what it must say to be believed.

#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_decide::alert::Notice;

use super::{
    super::{
        provider::{self, Provider, about, busy, digest, reply, secret, tell},
        tests::message,
    },
    *,
};
use crate::config::{ContactChannel, Encoding, HttpContact, Template};

fn gateway(provider: &Provider, content_type: &str, body: &str) -> config::HttpGateway {
    config::HttpGateway {
        address: Address::Url(format!("{}/send?from=vigie", provider.url)),
        method: HttpMethod::Put,
        header_file: None,
        content_type: content_type.to_owned(),
        body: Template::parse(body, Encoding::of(content_type)).unwrap(),
        accepted: AcceptedWhen {
            status: vec![200, 202],
            body_contains: Some("\"queued\"".to_owned()),
        },
        ca_file: None,
    }
}

fn way(gateway: config::HttpGateway) -> ContactChannel {
    ContactChannel::Http(Box::new(HttpContact {
        gateway,
        to: "+33600000000".to_owned().into(),
    }))
}

#[tokio::test]
async fn a_text_message_says_little_and_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(vec![reply("202 Yes", &[], r#"["queued"]"#)]).await;
    let body = r#"{"to":"{to}","text":"{text}","id":"{key}","n":{number},"opt":{}}"#;
    let mut written = gateway(&provider, "application/json; charset=utf-8", body);
    written.header_file = Some(secret(dir.path(), "header", "X-Api-Key: s3cret\n"));
    let target = provider::target(way(written), Detail::Minimal);
    let batch = [message(1, 1841, Notice::Open)];
    assert_eq!(tell(&target, &batch).await, Answer::Accepted);
    let asked = provider.asked().await;
    assert_eq!(asked.line, "PUT /send?from=vigie");
    assert_eq!(asked.headers["x-api-key"], "s3cret");
    assert_eq!(
        asked.headers["content-type"],
        "application/json; charset=utf-8"
    );
    let body = asked.json();
    assert_eq!(body["to"], "+33600000000");
    assert_eq!(body["n"], 1841);
    assert_eq!(body["id"], batch[0].key.to_string());
    let text = body["text"].as_str().unwrap();
    assert!(
        text.chars().count() <= 160 && text.contains("1841"),
        "{text}"
    );
}

#[tokio::test]
async fn everything_may_be_told_where_the_settings_say_so() {
    let mut provider = Provider::start(vec![reply("200 OK", &[], r#"{"s":"queued"}"#)]).await;
    let kind = "application/x-www-form-urlencoded";
    let written = gateway(
        &provider,
        kind,
        "a=b&to={to}&text={text}&title={title}&n={number}",
    );
    let target = provider::target(way(written), Detail::Full);
    let hostile = about(message(1, 1841, Notice::Open), "x&to=+336\u{e9}%00 =\"");
    assert_eq!(tell(&target, &[hostile]).await, Answer::Accepted);
    let asked = provider.asked().await;
    let pairs: Vec<(&str, &str)> = asked
        .body
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["a", "to", "text", "title", "n"]);
    assert_eq!(pairs[1].1, "%2B33600000000");
    assert!(pairs[2].1.contains("app-01"), "{asked:?}");
}

#[tokio::test]
async fn a_body_that_lies_is_not_believed() {
    for (status, body, expected) in [
        ("200 OK", r#"{"error":"no credit"}"#, busy(200)),
        ("201 Created", r#"["queued"]"#, busy(201)),
        ("204 No Content", "", busy(204)),
        ("202 Yes", r#"["queued"]"#, Answer::Accepted),
    ] {
        let provider = Provider::start(vec![reply(status, &[], body)]).await;
        let written = gateway(&provider, "application/json", r#"["{text}"]"#);
        let target = provider::target(way(written), Detail::Minimal);
        assert_eq!(tell(&target, &[digest()]).await, expected, "{status}");
    }
}

#[tokio::test]
async fn a_yes_is_found_wherever_it_stands_in_what_is_read() {
    let far = format!("{}\"queued\"", "x".repeat(10_000));
    let too_far = format!("{}\"queued\"", "x".repeat(outside::JUDGED_LEN_MAX));
    for (body, expected) in [(far, Answer::Accepted), (too_far, busy(200))] {
        let provider = Provider::start(vec![reply("200 OK", &[], &body)]).await;
        let written = gateway(&provider, "application/json", r#"["{text}"]"#);
        let target = provider::target(way(written), Detail::Minimal);
        assert_eq!(tell(&target, &[digest()]).await, expected);
    }
}
