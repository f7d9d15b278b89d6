//! What holds for all channels over HTTP, each against a provider that misbehaves.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use tokio::time::Instant;

use super::{
    super::{
        provider::{
            self, Asked, LIMIT, NOW, Provider, Reply, busy, digest, open, reply, secret, settings,
            tell,
        },
        tests::message,
    },
    *,
};
use crate::config::{
    self as written, AcceptedWhen, HttpContact, HttpMethod, MattermostContact, NtfyContact,
    Pagerduty as PagerdutySettings, Template,
};

/// One channel, with an answer of its provider that says yes.
struct Channel {
    name: &'static str,
    by: By,
    yes: &'static str,
    /// What a 2xx that says nothing of the message comes to.
    to_a_login_page: Answer,
}

fn channels(url: &str, dir: &Path) -> Vec<Channel> {
    let lies = busy(200);
    let contact = |name, way, yes, to_a_login_page| Channel {
        name,
        by: provider::contact(way),
        yes,
        to_a_login_page,
    };
    let gateway = |accepted| {
        ContactChannel::Http(Box::new(HttpContact {
            gateway: written::HttpGateway {
                address: Address::Url(format!("{url}/send")),
                method: HttpMethod::Post,
                header_file: None,
                content_type: "application/json".to_owned(),
                body: Template::parse(r#"{"t":"{text}"}"#, written::Encoding::Json).unwrap(),
                accepted,
                ca_file: None,
            },
            to: "+33600000000".to_owned().into(),
        }))
    };
    let webhook = |format| {
        By::Webhook(written::Webhook {
            address: Address::Url(format!("{url}/hook")),
            format,
            detail: Detail::Full,
            header_file: None,
            ca_file: None,
        })
    };
    vec![
        Channel {
            name: "webhook",
            by: webhook(WebhookFormat::Vigie),
            yes: "",
            to_a_login_page: Answer::Accepted,
        },
        Channel {
            name: "webhook of Alertmanager",
            by: webhook(WebhookFormat::Alertmanager),
            yes: "",
            to_a_login_page: Answer::Accepted,
        },
        contact(
            "http",
            gateway(AcceptedWhen::default()),
            "whatever",
            Answer::Accepted,
        ),
        contact(
            "http that says what it takes",
            gateway(AcceptedWhen {
                status: vec![200],
                body_contains: Some("queued".to_owned()),
            }),
            r#"{"state":"queued"}"#,
            lies,
        ),
        contact(
            "ntfy",
            ContactChannel::Ntfy(NtfyContact {
                server: written::Ntfy {
                    url: url.to_owned(),
                    token_file: None,
                    ca_file: None,
                },
                topic: "astreinte".to_owned().into(),
            }),
            r#"{"id":"x","event":"message"}"#,
            lies,
        ),
        contact(
            "mattermost",
            ContactChannel::Mattermost(MattermostContact {
                hook: written::Mattermost {
                    url_file: secret(dir, "hook", &format!("{url}/hooks/s3cret\n")),
                    ca_file: None,
                },
                channel: None,
            }),
            "ok",
            lies,
        ),
        contact(
            "pagerduty",
            ContactChannel::Pagerduty(PagerdutySettings {
                url: format!("{url}/v2/enqueue"),
                routing_key_file: secret(dir, "key", "s3cret\n"),
                ca_file: None,
            }),
            r#"{"status":"success","dedup_key":"x"}"#,
            lies,
        ),
        contact(
            "alertmanager",
            ContactChannel::Alertmanager(written::AlertmanagerApi {
                url: format!("{url}/prefix/"),
                header_file: None,
                ca_file: None,
            }),
            "",
            lies,
        ),
    ]
}

/// What each channel makes of one reply.
async fn each(made: impl Fn(&Channel) -> (Reply, Answer)) {
    let dir = tempfile::tempdir().unwrap();
    let count = channels("http://127.0.0.1:1", dir.path()).len();
    for index in 0..count {
        let (reply, expected) = made(&channels("http://127.0.0.1:1", dir.path())[index]);
        let provider = Provider::start(vec![reply]).await;
        let channel = channels(&provider.url, dir.path()).swap_remove(index);
        let target = open(&settings(channel.by, Detail::Full));
        let began = Instant::now();
        let answer = tell(&target, &[message(1, 1841, Notice::Open)]).await;
        assert_eq!(answer, expected, "{}", channel.name);
        assert!(began.elapsed() <= LIMIT * 2, "{}", channel.name);
    }
}

#[tokio::test]
async fn what_says_yes_is_accepted() {
    each(|channel| (reply("200 OK", &[], channel.yes), Answer::Accepted)).await;
}

#[tokio::test]
async fn a_login_page_is_no_yes_where_a_yes_is_known() {
    let page = |channel: &Channel| {
        let html = "content-type: text/html; charset=utf-8";
        let page = reply("200 OK", &[html], "<html>Log in</html>");
        (page, channel.to_a_login_page)
    };
    each(page).await;
}

#[tokio::test]
async fn what_a_provider_asks_for_is_given() {
    each(|_| {
        let slower = reply("429 Too Many Requests", &["retry-after: 7"], "");
        let asked = Answer::Busy {
            http_status: 429,
            retry_after_ms: Some(7_000),
        };
        (slower, asked)
    })
    .await;
    each(|_| {
        let until = "retry-after: Sun, 22 Nov 2026 19:05:03 GMT";
        let asked = Answer::Busy {
            http_status: 503,
            retry_after_ms: Some(30_000),
        };
        (reply("503 Later", &[until], ""), asked)
    })
    .await;
}

#[tokio::test]
async fn broken_and_refusing_are_told_apart() {
    each(|_| (reply("500 Broken", &[], "{}"), busy(500))).await;
    let refused = Answer::Refused { http_status: 400 };
    each(|_| (reply("400 No", &[], "{\"status\":\"invalid\"}"), refused)).await;
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let refused = Answer::Refused { http_status: 307 };
    each(|_| {
        let elsewhere = reply("307 There", &["location: http://192.0.2.1/"], "");
        (elsewhere, refused)
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_closes_is_no_answer() {
    each(|_| (Reply::Nothing, Answer::None)).await;
}

#[tokio::test(start_paused = true)]
async fn a_yes_after_29_seconds_comes_too_late() {
    each(|channel| {
        let Reply::Text(yes) = reply("200 OK", &[], channel.yes) else {
            unreachable!();
        };
        let late = Reply::Late(Duration::from_secs(29), yes);
        (late, Answer::None)
    })
    .await;
}

#[tokio::test]
async fn a_body_without_end_costs_little() {
    // Where the body means nothing the answer is known before it; the others read so much of it, and no yes is in it.
    let flood = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
    each(|channel| {
        let means_something = channel.to_a_login_page != Answer::Accepted;
        let answer = match channel.name {
            "alertmanager" => Answer::Accepted,
            _ if means_something => busy(200),
            _ => Answer::Accepted,
        };
        (Reply::Flood(flood), answer)
    })
    .await;
}

#[tokio::test]
async fn every_channel_tells_a_digest_and_no_secret_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..channels("http://127.0.0.1:1", dir.path()).len() {
        for detail in [Detail::Full, Detail::Minimal] {
            let yes = channels("http://127.0.0.1:1", dir.path())[index].yes;
            let mut provider = Provider::start(vec![reply("200 OK", &[], yes)]).await;
            let channel = channels(&provider.url, dir.path()).swap_remove(index);
            let written = settings(channel.by, detail);
            let target = open(&written);
            let answer = tell(&target, &[digest()]).await;
            assert_eq!(answer, Answer::Accepted, "{}", channel.name);
            let asked = provider.asked().await;
            assert_eq!(asked.headers["idempotency-key"], digest().key.to_string());
            if detail == Detail::Minimal {
                for finding in [
                    "db-01",
                    "disques",
                    "/var",
                    "http.status",
                    "app-02",
                    "travaux",
                ] {
                    assert!(!asked.body.contains(finding), "{}: {asked:?}", channel.name);
                }
            }
            assert!(!asked.body.contains('\u{202e}'), "{}", channel.name);
            let shown = format!("{written:?} {target:?}");
            for hidden in ["s3cret", "+336", "hooks", "astreinte"] {
                assert!(!shown.contains(hidden), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn minimal_leaves_out_what_was_found_and_where() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..channels("http://127.0.0.1:1", dir.path()).len() {
        for notice in [Notice::Open, Notice::Again, Notice::Close] {
            let yes = channels("http://127.0.0.1:1", dir.path())[index].yes;
            let mut provider = Provider::start(vec![reply("200 OK", &[], yes)]).await;
            let channel = channels(&provider.url, dir.path()).swap_remove(index);
            let target = open(&settings(channel.by, Detail::Minimal));
            tell(&target, &[message(1, 1841, notice)]).await;
            let Asked { body, .. } = provider.asked().await;
            for finding in [
                "app-01",
                "portail",
                "192.0.2.7",
                "503",
                "http.status",
                "wiki",
            ] {
                assert!(!body.contains(finding), "{}: {body}", channel.name);
            }
            let says_only_its_key = channel.name == "pagerduty" && notice == Notice::Close;
            assert!(
                body.contains("1841") || says_only_its_key,
                "{}: {body}",
                channel.name
            );
        }
    }
}

#[test]
fn people_are_paced_and_programs_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let paced: Vec<&str> = channels("http://127.0.0.1:1", dir.path())
        .into_iter()
        .filter(|channel| {
            let written = settings(channel.by.clone(), Detail::Full);
            open(&written).is_paced()
        })
        .map(|channel| channel.name)
        .collect();
    assert_eq!(
        paced,
        ["http", "http that says what it takes", "ntfy", "mattermost"]
    );
}

#[test]
fn a_link_is_for_people_and_for_what_is_on() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let channel = channels("http://127.0.0.1:1", dir.path())
            .into_iter()
            .find(|channel| channel.name == name)
            .unwrap();
        open(&settings(channel.by, Detail::Full))
    };
    let (ntfy, webhook) = (open("ntfy"), open("webhook"));
    let opened = message(3, 1841, Notice::Open);
    let closed = message(7, 1842, Notice::Close);
    let link = ntfy.link(&[opened.clone(), closed.clone()], NOW).unwrap();
    assert!(link.contains("/am/sms.3."), "{link}");
    assert_eq!(ntfy.link(&[closed.clone(), digest()], NOW), None);
    assert_eq!(webhook.link(&[opened], NOW), None);
    assert_eq!(ntfy.link(&[closed], NOW), None);
}

#[test]
fn a_link_is_the_same_when_a_message_is_tried_again_and_good_when_it_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let channel = channels("http://127.0.0.1:1", dir.path())
        .into_iter()
        .find(|channel| channel.name == "ntfy")
        .unwrap();
    let ntfy = open(&settings(channel.by, Detail::Full));
    let opened = message(3, 1841, Notice::Open);
    let at = |ms| ntfy.link(std::slice::from_ref(&opened), opened.at.plus_ms(ms));
    let first = at(0);
    assert!(first.is_some());
    for ms in [-3_600_000, 1, 61_000, LINK_STEP_MS - 1] {
        assert_eq!(at(ms), first, "{ms}");
    }
    assert_ne!(at(13 * 3_600_000), first);
    // What began and ended before anybody read of it asks for nobody.
    let closed = message(4, 1841, Notice::Close);
    assert_eq!(ntfy.link(&[opened.clone(), closed], NOW), None);
}
