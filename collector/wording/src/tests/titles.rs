use super::*;

fn titles(batch: &[Message]) -> [String; 2] {
    let paris = paris();
    Language::ALL.map(|language| mail(voice(language, &paris), batch).subject)
}

#[test]
fn each_notice_has_its_title_in_each_language_and_detail() {
    let table = [
        (
            Notice::Open,
            "portail en panne depuis 20:04",
            "portail down since 20:04",
            "en panne depuis 20:04",
        ),
        (
            Notice::Worse,
            "aggravé, portail en panne depuis 20:04",
            "worse, portail down since 20:04",
            "aggravé, en panne depuis 20:04",
        ),
        (
            Notice::Still,
            "portail toujours en panne depuis 20:04",
            "portail still down since 20:04",
            "toujours en panne depuis 20:04",
        ),
        (
            Notice::Again,
            "rappel : portail en panne depuis 20:04",
            "reminder: portail down since 20:04",
            "rappel : en panne depuis 20:04",
        ),
        (
            Notice::HandOver,
            "à reprendre : portail en panne depuis 20:04",
            "handed over to you: portail down since 20:04",
            "à reprendre : en panne depuis 20:04",
        ),
        (
            Notice::Close,
            "portail rétabli à 20:18",
            "portail recovered at 20:18",
            "rétabli à 20:18",
        ),
    ];
    let paris = paris();
    for (notice, french, english, minimal) in table {
        let batch = [message(noticed(notice))];
        assert_eq!(
            titles(&batch),
            [
                format!("[vigie #1841] dossier-patient : {french}"),
                format!("[vigie #1841] dossier-patient: {english}"),
            ]
        );
        let french = voice(Language::French, &paris);
        let minimal = format!("[vigie #1841] dossier-patient : {minimal}");
        assert_eq!(minimal_mail(french, &batch).subject, minimal);
        assert_eq!(minimal_chat(french, &batch).title, minimal);
        assert_eq!(brief(french, &batch), minimal);
        assert_eq!(chat(french, &batch).title, mail(french, &batch).subject);
    }
}

#[test]
fn each_end_has_its_words() {
    let table = [
        (Ended::Recovered, "rétabli", "recovered"),
        (
            Ended::Confirmed,
            "clos par un opérateur",
            "closed by an operator",
        ),
        (
            Ended::Retired,
            "clos, le nœud est retiré",
            "closed, the node is retired",
        ),
        (
            Ended::Replaced,
            "repris par une autre alerte",
            "taken over by another alert",
        ),
        (Ended::Exercised, "exercice terminé", "exercise over"),
    ];
    for (ended, french, english) in table {
        let closed = Notification {
            ended: Some(ended),
            ..noticed(Notice::Close)
        };
        assert_eq!(
            titles(&[message(closed)]),
            [
                format!("[vigie #1841] dossier-patient : portail {french} à 20:18"),
                format!("[vigie #1841] dossier-patient: portail {english} at 20:18"),
            ]
        );
    }
}

#[test]
fn whom_it_concerns_stands_first() {
    let disk = Notification {
        services: BTreeSet::new(),
        ..lesser(1841)
    };
    let many = Notification {
        services: ["a", "b", "c", "d", "e"]
            .map(|name| name.parse().unwrap())
            .into(),
        status: Status::Unknown,
        ..telling()
    };
    let sender = Notification {
        alert: AlertKey::of_sender(&"prometheus".parse().unwrap(), "HighLatency", "9f3a"),
        reason: "sender.alert".to_owned(),
        facts: facts(
            json!({"name": "HighLatency", "sender": "prometheus", "alertname": "HighLatency", "job": "portail"}),
        ),
        ..telling()
    };
    for (telling, french, english) in [
        (
            disk,
            "[vigie #1841] mail-01 : disques /var à surveiller depuis 20:04",
            "[vigie #1841] mail-01: disques /var needs attention since 20:04",
        ),
        (
            many,
            "[vigie #1841] a, b, c +2 : portail sans mesure depuis 20:04",
            "[vigie #1841] a, b, c +2: portail not measured since 20:04",
        ),
        (
            sender,
            "[vigie #1841] dossier-patient : HighLatency en panne depuis 20:04",
            "[vigie #1841] dossier-patient: HighLatency down since 20:04",
        ),
    ] {
        assert_eq!(titles(&[message(telling)]), [french, english]);
    }
}

#[test]
fn what_vigie_finds_itself_is_said_in_a_sentence() {
    let silent = Notification {
        alert: key(&telling().alert.node(), "@node", "silent"),
        family: Family::Vigie,
        reason: "node.silent".to_owned(),
        facts: facts(json!({"last_contact": "2026-11-22T19:02:31.000Z"})),
        ..telling()
    };
    let own = Notification {
        alert: key("@collector", "@delivery", "night"),
        services: ["vigie".parse().unwrap()].into(),
        family: Family::Vigie,
        reason: "delivery.failing".to_owned(),
        facts: facts(json!({"receiver": "night", "waiting": 3, "http_status": 550})),
        ..telling()
    };
    let still = Notification {
        notice: Notice::Still,
        ..own.clone()
    };
    let closed = Notification {
        notice: Notice::Close,
        ended: Some(Ended::Recovered),
        ..own.clone()
    };
    for (telling, french, english) in [
        (
            silent,
            "dossier-patient : app-01 : plus aucune nouvelle du nœud depuis le 22/11/2026 20:02",
            "dossier-patient: app-01: no news of the node since 2026-11-22 20:02",
        ),
        (
            own,
            "vigie : les messages n'arrivent plus à night, 3 en attente (réponse 550)",
            "vigie: messages no longer reach night, 3 waiting (answer 550)",
        ),
        (
            still,
            "vigie : toujours en cours : les messages n'arrivent plus à night, 3 en attente (réponse 550)",
            "vigie: still on: messages no longer reach night, 3 waiting (answer 550)",
        ),
        (
            closed,
            "vigie : rétabli à 20:18 : les messages n'arrivent plus à night, 3 en attente (réponse 550)",
            "vigie: recovered at 20:18: messages no longer reach night, 3 waiting (answer 550)",
        ),
    ] {
        assert_eq!(
            titles(&[message(telling)]),
            [
                format!("[vigie #1841] {french}"),
                format!("[vigie #1841] {english}"),
            ]
        );
    }
}

#[test]
fn an_exercise_is_marked_at_the_front_of_everything() {
    let paris = paris();
    for notice in NOTICES {
        let told = Notification {
            notice,
            ended: (notice == Notice::Close).then_some(Ended::Exercised),
            ..exercise()
        };
        for (language, mark, nothing) in [
            (Language::French, "[EXERCICE] [vigie", "rien n'est en panne"),
            (Language::English, "[EXERCISE] [vigie", "nothing has failed"),
        ] {
            let voice = Voice {
                link: Some(LINK),
                ..voice(language, &paris)
            };
            let batch = [message(told.clone())];
            let (mail, minimal_mail) = (mail(voice, &batch), minimal_mail(voice, &batch));
            let (chat, minimal_chat) = (chat(voice, &batch), minimal_chat(voice, &batch));
            let brief = brief(voice, &batch);
            for title in [
                &mail.subject,
                &minimal_mail.subject,
                &chat.title,
                &minimal_chat.title,
                &brief,
            ] {
                assert!(title.starts_with(mark), "{notice:?}: {title}");
            }
            for text in [
                &mail.text,
                &minimal_mail.text,
                &chat.text,
                &minimal_chat.text,
            ] {
                assert!(text.contains(nothing), "{notice:?}: {text}");
                for other in ["en défaut", "failing", "en panne depuis", "rétabli"] {
                    assert!(!text.contains(other), "{notice:?}: {text}");
                }
            }
        }
    }
}

#[test]
fn a_real_alert_among_exercises_is_not_taken_for_one() {
    let paris = paris();
    let batch = [message(exercise()), message(telling())];
    let mail = mail(voice(Language::French, &paris), &batch);
    assert_eq!(
        mail.subject,
        "[vigie] 2 alertes : dossier-patient : portail en panne depuis 20:04, +1"
    );
    assert!(
        mail.text
            .contains("- #12 vigie : [EXERCICE] exercice pour le destinataire astreinte"),
        "{}",
        mail.text
    );
    let both = [
        message(exercise()),
        message(Notification {
            number: 13,
            ..exercise()
        }),
    ];
    assert_eq!(
        brief(voice(Language::French, &paris), &both),
        "[EXERCICE] [vigie] 2 exercices : #12 vigie exercice, #13 vigie exercice"
    );
}

#[test]
fn several_alerts_are_counted_and_the_most_urgent_is_named() {
    let closed = Notification {
        number: 1839,
        ..noticed(Notice::Close)
    };
    let batch = [
        message(closed.clone()),
        message(lesser(1840)),
        message(telling()),
    ];
    assert_eq!(
        titles(&batch),
        [
            "[vigie] 3 alertes, 1 terminée : dossier-patient : portail en panne depuis 20:04, +2",
            "[vigie] 3 alerts, 1 ended: dossier-patient: portail down since 20:04, +2",
        ]
    );
    let another = Notification {
        number: 1838,
        ..closed.clone()
    };
    assert_eq!(
        titles(&[message(closed), message(another)]),
        [
            "[vigie] 2 alertes terminées : dossier-patient : portail rétabli à 20:18, +1",
            "[vigie] 2 alerts ended: dossier-patient: portail recovered at 20:18, +1",
        ]
    );
}

#[test]
fn an_opening_and_its_end_become_one_line() {
    let open = message(telling());
    let close = message_at(1, noticed(Notice::Close));
    for batch in [[open.clone(), close.clone()], [close.clone(), open.clone()]] {
        assert_eq!(
            titles(&batch),
            [
                "[vigie #1841] dossier-patient : portail en panne de 20:04 à 20:05, rétabli",
                "[vigie #1841] dossier-patient: portail down from 20:04 to 20:05, recovered",
            ]
        );
    }
    // Who was told before of its beginning is told its end.
    let worse = message(noticed(Notice::Worse));
    assert_eq!(
        titles(&[worse, close])[0],
        "[vigie #1841] dossier-patient : portail rétabli à 20:05"
    );
}

#[test]
fn what_is_folded_says_what_matters_to_who_has_read_nothing() {
    let opened = Notification {
        status: Status::Warning,
        ..telling()
    };
    let worse = message_at(1, noticed(Notice::Worse));
    assert_eq!(
        titles(&[message(opened), worse])[0],
        "[vigie #1841] dossier-patient : portail en panne depuis 20:04",
        "as it stands now"
    );
    let again = |minutes| message_at(minutes, noticed(Notice::Again));
    assert_eq!(
        titles(&[again(5), again(10)])[0],
        "[vigie #1841] dossier-patient : rappel : portail en panne depuis 20:04"
    );
    let handed_over = message_at(5, noticed(Notice::HandOver));
    assert_eq!(
        titles(&[handed_over, again(10)])[0],
        "[vigie #1841] dossier-patient : à reprendre : portail en panne depuis 20:04"
    );
}

#[test]
fn long_names_do_not_hide_how_it_stands() {
    let long = Notification {
        services: ["a", "b"]
            .map(|letter| letter.repeat(63).parse().unwrap())
            .into(),
        alert: key(
            &telling().alert.node(),
            telling().alert.check(),
            &format!("/opt/dossier/{}/conf.xml", "x".repeat(230)),
        ),
        ..telling()
    };
    let [french, _] = titles(&[message(long.clone())]);
    assert!(french.chars().count() <= TITLE_LEN_MAX, "{french}");
    assert!(
        french.contains("aaa +1 : portail /opt/dossier/xx"),
        "{french}"
    );
    let short = Notification {
        services: telling().services,
        ..long
    };
    let [french, _] = titles(&[message(short)]);
    assert!(
        french.ends_with("xx/conf.xml en panne depuis 20:04"),
        "{french}"
    );
}

#[test]
fn a_long_title_keeps_its_counts() {
    let long = Notification {
        services: [
            "a".repeat(63).parse().unwrap(),
            "b".repeat(63).parse().unwrap(),
        ]
        .into(),
        alert: key(
            &telling().alert.node(),
            &"x".repeat(63),
            &telling().alert.object(),
        ),
        ..telling()
    };
    let batch = [message(long), message(lesser(1))];
    for title in titles(&batch) {
        assert_eq!(title.chars().count(), TITLE_LEN_MAX, "{title}");
        assert!(title.ends_with("…, +1"), "{title}");
    }
}

#[test]
fn an_empty_batch_is_no_panic() {
    let paris = paris();
    let voice = voice(Language::French, &paris);
    assert_eq!(mail(voice, &[]).subject, "[vigie]");
    assert_eq!(brief(voice, &[]), "[vigie]");
    assert_eq!(chat(voice, &[]).title, "[vigie]");
}

#[test]
fn a_page_that_comes_the_day_after_says_the_day() {
    let paris = paris();
    let batch = [message(telling())];
    // Thirteen hours late: the provider was down.
    let late = Voice {
        now: Some(SINCE.plus_ms(13 * 60 * MINUTE_MS)),
        ..voice(Language::French, &paris)
    };
    let title = "[vigie #1841] dossier-patient : portail en panne depuis le 22/11 à 20:04";
    assert_eq!(mail(late, &batch).subject, title);
    assert_eq!(chat(late, &batch).title, title);
    assert_eq!(
        brief(late, &batch),
        "[vigie #1841] dossier-patient : en panne depuis le 22/11 à 20:04"
    );
    let same_day = Voice {
        now: Some(SINCE.plus_ms(3 * 60 * MINUTE_MS)),
        ..late
    };
    assert_eq!(
        mail(same_day, &batch),
        mail(voice(Language::French, &paris), &batch)
    );
}
