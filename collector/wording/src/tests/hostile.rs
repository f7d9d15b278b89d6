use proptest::prelude::*;

use super::*;

const HOSTILE: &str =
    "x\r\nBcc: all@example.org\r\n\r\n<script>alert(\"1\")</script>\u{202e}'&\u{1b}[31m";

/// What a node, a sender or an operator may have chosen is chosen by somebody who means harm.
fn hostile(notice: Notice, is_of_sender: bool) -> Notification {
    let node = if is_of_sender {
        "@sender/prometheus"
    } else {
        "app-01"
    };
    let mut labels = Map::new();
    labels.insert(HOSTILE.to_owned(), HOSTILE.into());
    Notification {
        notice,
        reason: HOSTILE.to_owned(),
        facts: labels,
        runbook: Some(format!("javascript:{HOSTILE}")),
        alert: key(node, &format!("@{HOSTILE}"), HOSTILE),
        ..telling()
    }
}

#[test]
fn nothing_that_a_node_chose_ends_a_header_or_becomes_markup() {
    let paris = paris();
    for notice in NOTICES {
        for is_of_sender in [false, true] {
            let told = hostile(notice, is_of_sender);
            let other = Notification {
                number: 2,
                alert: key(&told.alert.node(), HOSTILE, &told.alert.object()),
                ..told.clone()
            };
            for batch in [
                vec![message(told.clone())],
                vec![message(told), message(other)],
            ] {
                for language in Language::ALL {
                    let voice = Voice {
                        link: Some("javascript:alert(1)"),
                        ..voice(language, &paris)
                    };
                    for mail in [mail(voice, &batch), minimal_mail(voice, &batch)] {
                        assert!(!mail.subject.contains(char::is_control), "{}", mail.subject);
                        assert!(mail.subject.chars().count() <= TITLE_LEN_MAX);
                        for line in mail.text.lines() {
                            assert!(!line.starts_with("Bcc"), "{line}");
                            assert!(!line.contains(['\r', '\u{1b}', '\u{202e}']), "{line:?}");
                        }
                        assert!(!mail.html.contains("<script"), "{}", mail.html);
                        assert!(!mail.html.contains("href"), "{}", mail.html);
                    }
                    let chat = chat(voice, &batch);
                    assert!(!chat.title.contains(char::is_control), "{}", chat.title);
                    assert!(chat.text.len() <= CHAT_LEN_MAX);
                    assert!(!chat.text.contains(['\r', '\u{1b}', '\u{202e}']));
                }
            }
        }
    }
}

#[test]
fn a_finding_of_any_length_leaves_a_chat_its_link() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::French, &paris)
    };
    let names: Vec<String> = (0..20)
        .map(|index| format!("{index}{}", "é".repeat(240)))
        .collect();
    let long = Notification {
        reason: "site.cut".to_owned(),
        facts: facts(json!({"nodes": names, "nodes_count": 20})),
        ..telling()
    };
    let text = chat(voice, &[message(long)]).text;
    assert!(text.len() <= CHAT_LEN_MAX, "{}", text.len());
    assert!(
        text.contains(LINK) && text.contains("https://wiki.example"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn minimal_texts_name_no_node_check_object_or_fact(
        notices in proptest::collection::vec(0..NOTICES.len(), 1..8),
        is_built_in: bool,
        has_services: bool,
        language in 0..2_usize,
    ) {
        let paris = paris();
        let voice = Voice { link: Some(LINK), ..voice(Language::ALL[language], &paris) };
        let batch: Vec<Message> = (1_u64..).zip(notices).map(|(number, notice)| {
            let built_in = if is_built_in { "@" } else { "" };
            let telling = noticed(NOTICES[notice]);
            message(Notification {
                number,
                alert: key("zzz-node", &format!("{built_in}zzz-check"), "zzz-object"),
                services: if has_services { telling.services.clone() } else { BTreeSet::new() },
                reason: "node.impostor".to_owned(),
                facts: facts(json!({"claimed": "zzz-fact"})),
                runbook: Some("https://zzz-runbook.example".to_owned()),
                others_told: ["zzz-other".parse().unwrap()].into(),
                ..telling
            })
        }).collect();
        for text in everything_minimal(voice, &batch) {
            prop_assert!(!text.contains("zzz"), "{text}");
        }
        // The same at full detail names them, or this would show nothing.
        prop_assert!(everything(voice, &batch)[1].contains("zzz-node"));
    }

    #[test]
    fn no_text_has_a_control_character_but_its_ends_of_line(text in ".*", link in ".*") {
        let paris = paris();
        let voice = Voice { link: Some(&link), ..voice(Language::French, &paris) };
        let told = Notification {
            alert: key("app-01", &text, &text),
            runbook: Some(text.clone()),
            reason: text,
            ..telling()
        };
        let batch = [message(told), message(lesser(3))];
        for part in [everything(voice, &batch), everything_minimal(voice, &batch)].concat() {
            prop_assert!(!part.contains(|c: char| c.is_control() && c != '\n'), "{part:?}");
        }
    }
}
