//! What a chat is sent, and that text stays text there.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use vigie_decide::alert::Notice;

use super::{
    super::{
        provider::{self, Provider, about, reply, secret, tell},
        tests::message,
    },
    *,
};
use crate::config::{ContactChannel, Detail, MattermostContact};

#[tokio::test]
async fn a_hostile_object_mentions_nobody_and_makes_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(vec![reply("200 OK", &[], "ok")]).await;
    let way = ContactChannel::Mattermost(MattermostContact {
        hook: config::Mattermost {
            url_file: secret(
                dir.path(),
                "hook",
                &format!("{}/hooks/s3cret\n", provider.url),
            ),
            ca_file: None,
        },
        channel: Some("astreinte".to_owned()),
    });
    let target = provider::target(way, Detail::Full);
    let hostile = "<!channel> @here [Login](https://evil.example) `x`";
    let batch = [about(message(1, 1841, Notice::Open), hostile)];
    assert_eq!(tell(&target, &batch).await, Answer::Accepted);
    let asked = provider.asked().await;
    assert_eq!(asked.line, "POST /hooks/s3cret");
    let body = asked.json();
    assert_eq!(body["channel"], "astreinte");
    assert_eq!(body["username"], "vigie");
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with("[vigie \\#1841]") || text.starts_with("[vigie #1841]"),
        "{text}"
    );
    for harm in ["<!", "@here", "n](", " `x`"] {
        assert!(!text.contains(harm), "{harm}: {text}");
    }
    assert!(text.contains("&lt;!channel&gt;"), "{text}");
    // Our own link is whole.
    let (_, link) = text
        .split_once("<https://vigie.example/a/am/sms.1.")
        .unwrap();
    let at = link.split_once("_x_>").unwrap().0;
    assert!(at.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
}

#[test]
fn what_is_no_markup_stays_as_it_is() {
    for (text, expected) in [
        (
            "[vigie #1841] dossier-patient : x",
            "[vigie #1841] dossier-patient : x",
        ),
        ("base_patients_2", "base_patients_2"),
        ("_base_", "\\_base\\_"),
        ("# titre\n- a\n+ b", "\\# titre\n- a\n\\+ b"),
        ("a*b*c ~x~ a|b", "a\\*b\\*c \\~x\\~ a\\|b"),
        ("R&D <3", "R&amp;D &lt;3"),
        ("jb@here", "jb@\u{200b}here"),
        ("![x](y)", "\\![x\\](y)"),
        ("C:\\temp", "C:\\\\temp"),
    ] {
        assert_eq!(escaped(text, None), expected);
    }
}

proptest! {
    #[test]
    fn nothing_but_our_link_is_in_angle_brackets(text in any::<String>()) {
        let link = "https://vigie.example/a/1";
        let shown = escaped(&format!("{text}{link}{text}"), Some(link));
        let without = shown.replace(&format!("<{link}>"), "");
        prop_assert!(!without.contains(['<', '>']));
        for (at, _) in without.match_indices("](") {
            prop_assert!(without[..at].ends_with('\\'));
        }
        for (at, _) in without.match_indices('@') {
            let follows = without[at + 1..].starts_with('\u{200b}');
            prop_assert!(follows);
        }
    }
}
