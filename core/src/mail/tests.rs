#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::alert::AlertKey;

/// 22 November 2026, 19:04:31 UTC.
const SINCE: Wall = Wall(1_795_374_271_207);

fn message() -> Message {
    let facts = json!({"expected": [200], "got": 503});
    Message {
        key: Digest::of(b"message"),
        order: 1,
        receiver: "chefs".parse().unwrap(),
        notice: Notice::Open,
        number: 1841,
        opening: 7,
        alert: AlertKey {
            node: "app-01".to_owned(),
            check: "portail".to_owned(),
            object: String::new(),
        },
        services: ["dossier-patient".parse().unwrap()].into(),
        criticality: Criticality::Critical,
        environment: Environment::Production,
        family: Family::Availability,
        status: Status::Critical,
        reason: "http.status".to_owned(),
        facts: facts.as_object().unwrap().clone(),
        since: SINCE,
        at: Wall(SINCE.0 + 793),
        ended: None,
        runbook: Some("https://wiki.example/dossier?a=1&b=2".to_owned()),
    }
}

fn closed(ended: Ended) -> Message {
    Message {
        notice: Notice::Close,
        ended: Some(ended),
        at: Wall(SINCE.0 + 14 * 60_000),
        ..message()
    }
}

fn subjects(message: &Message) -> [String; 2] {
    Language::ALL.map(|language| subject(language, message))
}

#[test]
fn a_subject_says_whom_what_and_since_when() {
    let worse = |status| Message {
        notice: Notice::Worse,
        status,
        ..message()
    };
    let disk = Message {
        family: Family::Host,
        alert: AlertKey {
            check: "disques".to_owned(),
            object: "/var".to_owned(),
            ..message().alert
        },
        services: BTreeSet::new(),
        status: Status::Warning,
        ..message()
    };
    let many = Message {
        services: ["a", "b", "c", "d", "e"]
            .map(|name| name.parse().unwrap())
            .into(),
        status: Status::Unknown,
        ..message()
    };
    let yesterday = Message {
        at: Wall(SINCE.0 + 86_400_000),
        ..message()
    };
    let silent = Message {
        alert: AlertKey {
            check: "@silence".to_owned(),
            ..message().alert
        },
        family: Family::Vigie,
        reason: "node.silent".to_owned(),
        facts: json!({"last_contact": "2026-11-22T19:02:31.000Z"})
            .as_object()
            .unwrap()
            .clone(),
        ..message()
    };
    let own = Message {
        alert: AlertKey::of_collector("@delivery", "night"),
        services: ["vigie".parse().unwrap()].into(),
        family: Family::Vigie,
        reason: "delivery.failing".to_owned(),
        facts: json!({"receiver": "night", "waiting": 3, "http_status": 550})
            .as_object()
            .unwrap()
            .clone(),
        ..message()
    };
    for (message, french, english) in [
        (
            message(),
            "[vigie #1841] dossier-patient : portail en panne depuis 19:04 UTC",
            "[vigie #1841] dossier-patient: portail down since 19:04 UTC",
        ),
        (
            worse(Status::Critical),
            "[vigie #1841] dossier-patient : aggravé, portail en panne depuis 19:04 UTC",
            "[vigie #1841] dossier-patient: worse, portail down since 19:04 UTC",
        ),
        (
            disk,
            "[vigie #1841] app-01 : disques /var à surveiller depuis 19:04 UTC",
            "[vigie #1841] app-01: disques /var needs attention since 19:04 UTC",
        ),
        (
            many,
            "[vigie #1841] a, b, c +2 : portail sans mesure depuis 19:04 UTC",
            "[vigie #1841] a, b, c +2: portail not measured since 19:04 UTC",
        ),
        (
            yesterday,
            "[vigie #1841] dossier-patient : portail en panne depuis 22/11/2026 19:04 UTC",
            "[vigie #1841] dossier-patient: portail down since 2026-11-22 19:04 UTC",
        ),
        (
            silent,
            "[vigie #1841] dossier-patient : app-01 : plus aucune nouvelle du nœud depuis le 22/11/2026 19:02 UTC",
            "[vigie #1841] dossier-patient: app-01: no news of the node since 2026-11-22 19:02 UTC",
        ),
        (
            Message {
                notice: Notice::Close,
                ended: Some(Ended::Recovered),
                ..own.clone()
            },
            "[vigie #1841] vigie : rétabli à 19:04 UTC : les messages n'arrivent plus à night, 3 en attente (réponse 550)",
            "[vigie #1841] vigie: recovered at 19:04 UTC: messages no longer reach night, 3 waiting (answer 550)",
        ),
        (
            own,
            "[vigie #1841] vigie : les messages n'arrivent plus à night, 3 en attente (réponse 550)",
            "[vigie #1841] vigie: messages no longer reach night, 3 waiting (answer 550)",
        ),
        (
            closed(Ended::Recovered),
            "[vigie #1841] dossier-patient : portail rétabli à 19:18 UTC",
            "[vigie #1841] dossier-patient: portail recovered at 19:18 UTC",
        ),
        (
            closed(Ended::Confirmed),
            "[vigie #1841] dossier-patient : portail clos par un opérateur à 19:18 UTC",
            "[vigie #1841] dossier-patient: portail closed by an operator at 19:18 UTC",
        ),
        (
            closed(Ended::Retired),
            "[vigie #1841] dossier-patient : portail clos, le nœud est retiré à 19:18 UTC",
            "[vigie #1841] dossier-patient: portail closed, the node is retired at 19:18 UTC",
        ),
        (
            closed(Ended::Replaced),
            "[vigie #1841] dossier-patient : portail repris par une autre alerte à 19:18 UTC",
            "[vigie #1841] dossier-patient: portail taken over by another alert at 19:18 UTC",
        ),
    ] {
        assert_eq!(subjects(&message), [french, english]);
    }
}

#[test]
fn a_body_says_everything_that_is_known_as_text_and_as_html() {
    let mail = compose(Language::French, &message());
    assert_eq!(
        mail.text,
        "Constat : réponse HTTP 503 au lieu de 200.

Services      : dossier-patient
Criticité     : service critique
Nœud          : app-01
Contrôle      : portail
État          : en panne
Famille       : disponibilité
Environnement : production
Depuis        : 22/11/2026 19:04 UTC
Voir de près  : vigie-collector status, sur le collecteur
Que faire     : https://wiki.example/dossier?a=1&b=2

-- 
Alerte 1841, dite par vigie au destinataire chefs.
"
    );
    assert!(mail.html.contains("<html lang=\"fr\">"), "{}", mail.html);
    assert!(
        mail.html
            .contains("<a href=\"https://wiki.example/dossier?a=1&amp;b=2\">"),
        "{}",
        mail.html
    );
    let mail = compose(Language::English, &closed(Ended::Recovered));
    assert_eq!(
        mail.text,
        "Over; the last finding was: HTTP answer 503 instead of 200.

Services    : dossier-patient
Criticality : critical service
Node        : app-01
Check       : portail
State before: down
Family      : availability
Environment : production
Since       : 2026-11-22 19:04 UTC
End         : 2026-11-22 19:18 UTC (recovered)
Look closer : vigie-collector status, on the collector
What to do  : https://wiki.example/dossier?a=1&b=2

-- 
Alert 1841, told by vigie to the receiver chefs.
"
    );
}

#[test]
fn how_a_check_stands_is_never_said_in_the_words_of_criticality() {
    let statuses = [
        Status::Ok,
        Status::Warning,
        Status::Critical,
        Status::Unknown,
    ];
    let families = [
        Family::Host,
        Family::Availability,
        Family::Tls,
        Family::Backup,
        Family::Integrity,
        Family::Vigie,
    ];
    for language in Language::ALL {
        for status in statuses {
            for family in families {
                let word = standing(language, family, status);
                assert!(!word.contains("criti"), "{language} {word}");
            }
        }
        // So the only "critical" of a mail is that of the service.
        let standard = Message {
            criticality: Criticality::Standard,
            ..message()
        };
        let mail = compose(language, &standard);
        for part in [mail.subject, mail.text, mail.html] {
            let part = part.replace("Criticité", "").replace("Criticality", "");
            assert!(!part.contains("criti"), "{part}");
        }
    }
}

#[test]
fn nothing_that_a_node_chose_ends_a_header_or_becomes_markup() {
    let hostile =
        "x\r\nBcc: all@example.org\r\n\r\n<script>alert(\"1\")</script>\u{202e}'&\u{1b}[31m";
    for notice in [Notice::Open, Notice::Worse, Notice::Close] {
        let mut told = Message {
            notice,
            reason: hostile.to_owned(),
            runbook: Some(format!("javascript:{hostile}")),
            ..message()
        };
        told.alert.node = hostile.to_owned();
        told.alert.object = hostile.to_owned();
        told.alert.check = format!("@{hostile}");
        for language in Language::ALL {
            let mail = compose(language, &told);
            assert!(
                !mail.subject.contains(char::is_control),
                "{:?}",
                mail.subject
            );
            assert!(mail.subject.chars().count() <= SUBJECT_LEN_MAX);
            for line in mail.text.lines() {
                assert!(!line.starts_with("Bcc"), "{line}");
                assert!(!line.contains(['\r', '\u{1b}', '\u{202e}']), "{line:?}");
            }
            assert!(!mail.html.contains("<script"), "{}", mail.html);
            assert!(!mail.html.contains("href"), "{}", mail.html);
        }
    }
}

#[test]
fn mails_of_one_alert_and_receiver_are_one_thread() {
    let open = MailIds::of(&message());
    assert_eq!(open.opening, None);
    assert_eq!(open, MailIds::of(&message()), "sent again it is the same");
    let close = Message {
        key: Digest::of(b"close"),
        ..closed(Ended::Recovered)
    };
    let close = MailIds::of(&close);
    assert_eq!(close.opening.as_ref(), Some(&open.own));
    assert_ne!(close.own, open.own);

    let another = |change: fn(&mut Message)| {
        let mut message = message();
        change(&mut message);
        MailIds::of(&message).own
    };
    for other in [
        another(|message| message.opening += 1),
        another(|message| message.receiver = "others".parse().unwrap()),
        another(|message| message.alert.object = "x".to_owned()),
    ] {
        assert_ne!(other, open.own);
    }
    for id in [open.own, close.own] {
        let is_atom_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        assert!(id.bytes().all(is_atom_byte), "{id}");
    }
}
