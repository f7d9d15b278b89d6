use super::*;
use vigie_decide::alert::Actor;

/// Everything that a message may know besides.
fn told_to_many() -> Notification {
    Notification {
        step: 1,
        others_told: ["chefs", "equipe-sis"]
            .map(|name| name.parse().unwrap())
            .into(),
        acknowledged_by: Some(Actor::Link("am/sms".parse().unwrap())),
        explains: 1_200,
        ..noticed(Notice::HandOver)
    }
}

fn to_a_person(telling: Notification) -> Message {
    Message {
        to: "am/sms".parse().unwrap(),
        receiver: "astreinte".parse().unwrap(),
        ..message(telling)
    }
}

#[test]
fn a_body_says_everything_that_is_known() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::French, &paris)
    };
    let mail = mail(voice, &[to_a_person(told_to_many())]);
    assert_eq!(
        mail.text,
        "À reprendre, qui s'en occupait a passé la main : réponse HTTP 503 au lieu de 200.

Services           : dossier-patient
Criticité          : service critique
Nœud               : app-01
Contrôle           : portail
État               : en panne
Besoin             : disponibilité 4
Famille            : disponibilité
Environnement      : production
Depuis             : 22/11/2026 20:04
Étape              : 2
Aussi prévenus     : chefs, equipe-sis
Pris en charge par : am/sms, par le lien d'un message
Explique           : 1 200 autres alertes
Que faire          : https://wiki.example/dossier?a=1&b=2
Voir de près       : vigie-collector why 1841
S'en charger       : vigie-collector ack 1841

Pour dire que vous vous en chargez (une page s'ouvre, puis un bouton) : https://vigie.gradest.example/a/7F3kq-9_x

Heures : Europe/Paris (UTC+1).

-- 
Alerte 1841, dite par vigie au destinataire astreinte (am/sms).
"
    );
    let link = format!("<a href=\"{LINK}\">{LINK}</a>");
    for part in [
        "<html lang=\"fr\">",
        "<title>[vigie #1841] dossier-patient : à reprendre : portail en panne depuis 20:04</title>",
        "<th scope=\"row\" align=\"left\">Besoin</th><td>disponibilité 4</td>",
        "<a href=\"https://wiki.example/dossier?a=1&amp;b=2\">",
        &link,
    ] {
        assert!(mail.html.contains(part), "{part} in {}", mail.html);
    }
    for fetched in ["src=", "url(", "<img", "<link", "<script", "<style"] {
        assert!(!mail.html.contains(fetched), "{fetched} in {}", mail.html);
    }
}

#[test]
fn the_end_of_an_alert_says_how_it_stood_and_asks_for_nothing() {
    let voice = Voice {
        language: Language::English,
        zone: None,
        link: Some(LINK),
        now: None,
    };
    let mail = mail(voice, &[message(noticed(Notice::Close))]);
    assert_eq!(
        mail.text,
        "Over; the last finding was: HTTP answer 503 instead of 200.

Services    : dossier-patient
Criticality : critical service
Node        : app-01
Check       : portail
State before: down
Need        : availability 4
Family      : availability
Environment : production
Since       : 2026-11-22 19:04 UTC
End         : 2026-11-22 19:18 UTC (recovered)
What to do  : https://wiki.example/dossier?a=1&b=2
Look closer : vigie-collector why 1841

-- 
Alert 1841, told by vigie to the receiver chefs.
"
    );
}

#[test]
fn a_minimal_body_says_number_service_state_since_and_link() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::French, &paris)
    };
    let batch = [to_a_person(told_to_many())];
    assert_eq!(
        minimal_mail(voice, &batch).text,
        "dossier-patient : à reprendre : en panne depuis 20:04.

Alerte   : #1841
Services : dossier-patient
État     : en panne
Depuis   : 22/11/2026 20:04

Pour dire que vous vous en chargez (une page s'ouvre, puis un bouton) : https://vigie.gradest.example/a/7F3kq-9_x

Heures : Europe/Paris (UTC+1).
"
    );
    assert_eq!(
        minimal_chat(voice, &batch).text,
        "#1841 dossier-patient : à reprendre : en panne depuis 20:04
S'en charger : https://vigie.gradest.example/a/7F3kq-9_x
Heures : Europe/Paris (UTC+1)."
    );
}

#[test]
fn a_chat_message_is_a_few_lines() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::English, &paris)
    };
    assert_eq!(
        chat(voice, &[to_a_person(told_to_many())]).text,
        "Handed over to you by whoever was on it: HTTP answer 503 instead of 200.
app-01, portail
critical service, production; need: availability 4
Told as well: chefs, equipe-sis
On it: am/sms, by the link in a message
Explains: 1,200 other alerts
What to do: https://wiki.example/dossier?a=1&b=2
Take it on: https://vigie.gradest.example/a/7F3kq-9_x
Times: Europe/Paris (UTC+1)."
    );
}

#[test]
fn the_alert_of_a_sender_shows_its_labels() {
    let sender = Notification {
        alert: AlertKey::of_sender(&"prometheus".parse().unwrap(), "HighLatency", "9f3a"),
        reason: "sender.alert".to_owned(),
        facts: facts(json!({
            "name": "HighLatency", "sender": "prometheus", "alertname": "HighLatency",
            "severity": "critical", "instance": "10.0.0.7:9100", "job": "portail",
        })),
        ..telling()
    };
    let paris = paris();
    let mail = mail(voice(Language::French, &paris), &[message(sender)]);
    for line in [
        "Constat : alerte HighLatency de prometheus (instance=10.0.0.7:9100, job=portail).",
        "Émetteur      : prometheus",
        "Étiquettes    : instance=10.0.0.7:9100, job=portail",
    ] {
        assert!(mail.text.contains(line), "{}", mail.text);
    }
    assert!(!mail.text.contains("9f3a"), "{}", mail.text);
}

#[test]
fn how_a_check_stands_is_never_said_in_the_words_of_criticality() {
    let paris = paris();
    for language in Language::ALL {
        for status in Status::ALL {
            for family in Family::ALL {
                for word in [
                    words::standing(language, *family, *status),
                    words::still_standing(language, *family, *status),
                    vigie_core::reason::message::status(language, *status),
                ] {
                    assert!(!word.contains("criti"), "{language} {word}");
                }
            }
        }
        // So the only "critical" of a message is that of the service.
        for notice in NOTICES {
            let standard = Notification {
                criticality: Criticality::Standard,
                ..noticed(notice)
            };
            let batch = [message(standard)];
            let voice = voice(language, &paris);
            for part in [everything(voice, &batch), everything_minimal(voice, &batch)].concat() {
                let part = part.replace("Criticité", "").replace("Criticality", "");
                assert!(!part.contains("criti"), "{part}");
            }
        }
    }
}

#[test]
fn mails_of_one_alert_are_one_thread() {
    let open = message(telling());
    let first = MailIds::of(std::slice::from_ref(&open));
    assert_eq!(first.own, format!("vigie.message.{}", open.key));
    assert!(first.thread.is_empty());

    let close = message(Notification {
        thread: Some(open.key),
        ..noticed(Notice::Close)
    });
    let ids = MailIds::of(std::slice::from_ref(&close));
    assert_eq!(ids.thread.first(), Some(&first.own));
    assert_ne!(ids.own, first.own);

    // A mail of several continues each thread once, and none that begins with itself.
    let other = message(Notification {
        thread: Some(Digest::of(b"another")),
        ..lesser(3)
    });
    let ids = MailIds::of(&[open.clone(), close.clone(), close, other]);
    assert_eq!(ids.own, first.own);
    assert_eq!(ids.thread.len(), 1);

    let many: Vec<Message> = (0..50)
        .map(|number| {
            message(Notification {
                thread: Some(Digest::of(&[number])),
                ..lesser(number.into())
            })
        })
        .collect();
    let ids = MailIds::of(&many);
    let first_ten: Vec<String> = (0..10_u8)
        .map(|number| format!("vigie.message.{}", Digest::of(&[number])))
        .collect();
    assert_eq!(ids.thread, first_ten);
    for id in ids.thread.iter().chain([&ids.own]) {
        let is_atom_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        assert!(id.bytes().all(is_atom_byte), "{id}");
    }
}
