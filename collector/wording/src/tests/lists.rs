use super::*;

/// So many alerts of which the first ones are urgent, each of an app server of its own.
fn flood(urgent: u64, others: u64) -> Vec<Message> {
    let urgent = (0..urgent).map(|index| Notification {
        number: 10_000 + index,
        alert: at(&format!("app-{index:05}"), &telling().alert),
        ..telling()
    });
    let others = (0..others).map(|index| Notification {
        alert: at(&format!("mail-{index:05}"), &lesser(0).alert),
        ..lesser(50_000 + index)
    });
    others.chain(urgent).map(message).collect()
}

#[test]
fn a_list_is_in_order_of_urgency() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::French, &paris)
    };
    let closed = Notification {
        number: 1839,
        ..noticed(Notice::Close)
    };
    let unmeasured = Notification {
        number: 1842,
        status: Status::Unknown,
        ..noticed(Notice::Again)
    };
    let batch = [
        message(closed),
        message(lesser(1840)),
        message(unmeasured),
        message(telling()),
    ];
    let written = mail(voice, &batch);
    assert_eq!(
        written.text,
        "4 alertes, 1 terminée, 2 urgentes.

Urgent, services critiques :
- #1841 dossier-patient : portail (app-01) en panne depuis 20:04 ; réponse HTTP 503 au lieu de 200
- #1842 dossier-patient : rappel : portail (app-01) sans mesure depuis 20:04 ; réponse HTTP 503 au lieu de 200

En cours :
- #1840 messagerie : disques /var (mail-01) à surveiller depuis 20:04 ; disque rempli à 87 %, limite 85 % ; il reste 1,2 Go

Terminées :
- #1839 dossier-patient : portail (app-01) rétabli à 20:18

Pour dire que vous vous chargez de tout ce qui précède (une page s'ouvre, puis un bouton) : https://vigie.gradest.example/a/7F3kq-9_x

Heures : Europe/Paris (UTC+1).

-- 
Dit par vigie au destinataire chefs.
"
    );
    for part in [
        "<h2>Urgent, services critiques</h2>",
        "<th scope=\"col\" align=\"left\">Numéro</th>",
        "<tr><th scope=\"row\" align=\"left\">#1841</th><td>dossier-patient</td><td>portail (app-01) en panne depuis 20:04</td><td>réponse HTTP 503 au lieu de 200</td></tr>",
    ] {
        assert!(written.html.contains(part), "{part} in {}", written.html);
    }
    assert_eq!(
        minimal_chat(voice, &batch).text,
        "- #1841 dossier-patient : en panne depuis 20:04
- #1842 dossier-patient : rappel : sans mesure depuis 20:04
- #1840 messagerie : à surveiller depuis 20:04
- #1839 dossier-patient : rétabli à 20:18
S'en charger : https://vigie.gradest.example/a/7F3kq-9_x
Heures : Europe/Paris (UTC+1)."
    );
}

#[test]
fn every_urgent_alert_of_ten_thousand_is_named_and_the_rest_is_counted() {
    let paris = paris();
    let voice = voice(Language::French, &paris);
    let batch = flood(600, 9_400);
    let mail = mail(voice, &batch);
    assert_eq!(
        mail.subject,
        "[vigie] 10 000 alertes : dossier-patient : portail en panne depuis 20:04, +9 999"
    );
    for part in [&mail.text, &mail.html] {
        for index in 0..600 {
            assert!(part.contains(&format!("app-{index:05}")), "app-{index:05}");
        }
        assert_eq!(part.matches("mail-0").count(), 200);
        assert!(part.contains("et 9 200 autres : vigie-collector status"));
    }
    assert!(mail.text.len() < 100_000, "{}", mail.text.len());
    assert!(mail.html.len() < 150_000, "{}", mail.html.len());
}

#[test]
fn ten_thousand_urgent_alerts_are_all_named() {
    let paris = paris();
    let mail = mail(voice(Language::English, &paris), &flood(10_000, 0));
    let named = mail.text.matches("#1").count() + mail.text.matches("#2").count();
    assert!(named >= 10_000, "{named}");
    assert!(mail.text.contains("#19999 ") && mail.html.contains("app-09999"));
    assert!(!mail.text.contains("others"));
    assert!(mail.html.len() < 2_000_000, "{}", mail.html.len());
}

#[test]
fn a_chat_message_has_an_end_and_names_every_service_that_is_down() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::French, &paris)
    };
    let mut batch = flood(3_000, 5_000);
    batch.extend((0..20_u64).map(|index| {
        message(Notification {
            number: 100 + 2 * index,
            services: [format!("service-{index}").parse().unwrap()].into(),
            status: Status::Unknown,
            ..telling()
        })
    }));
    let text = chat(voice, &batch).text;
    assert!(text.len() <= CHAT_LEN_MAX, "{}", text.len());
    assert!(text.contains("- dossier-patient en panne : "), "{text}");
    assert!(text.contains("-#12999)"), "{text}");
    for index in 0..20 {
        let line = format!("- service-{index} sans mesure : 1 (#{})", 100 + 2 * index);
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(
        text.contains("et 5 000 autres : vigie-collector status"),
        "{text}"
    );
    assert!(text.contains(LINK), "{text}");
    // What fits is told line by line.
    let text = chat(voice, &flood(5, 2)).text;
    assert_eq!(text.matches("- #1000").count(), 5, "{text}");
    assert_eq!(text.matches("- #5000").count(), 2, "{text}");
}

#[test]
fn what_vigie_finds_itself_is_short_in_a_long_list() {
    let paris = paris();
    let checks: Vec<String> = (0..20)
        .map(|index| format!("{index}{}", "x".repeat(60)))
        .collect();
    let silent: Vec<Message> = (0..1_000)
        .map(|number| {
            message(Notification {
                number,
                alert: key(&format!("app-{number:05}"), "@node", "silent"),
                reason: "node.silent".to_owned(),
                facts: facts(json!({"checks": checks, "checks_count": 20})),
                ..telling()
            })
        })
        .collect();
    let text = mail(voice(Language::French, &paris), &silent).text;
    assert!(
        text.contains("app-00999 : aucune nouvelle du nœud"),
        "{text}"
    );
    assert!(text.len() < 500_000, "{}", text.len());
}

#[test]
fn a_batch_may_be_a_digest_and_alerts() {
    let paris = paris();
    let voice = Voice {
        link: Some(LINK),
        ..voice(Language::French, &paris)
    };
    let digest = mornings::nothing();
    let batch = [message(telling()), digest];
    let mail = mail(voice, &batch);
    assert_eq!(
        mail.subject,
        "[vigie #1841] dossier-patient : portail en panne depuis le 22/11 à 20:04 ; point du matin du 23 novembre : rien à signaler"
    );
    let alert = mail.text.find("Constat : réponse HTTP 503");
    let report = mail
        .text
        .find("Point du matin du 23 novembre : rien à signaler.");
    // The link is for the alert only, so it does not stand below the report.
    let link = mail.text.find(LINK);
    assert!(
        alert.is_some() && alert < link && link < report,
        "{}",
        mail.text
    );
}
