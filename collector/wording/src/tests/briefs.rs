use proptest::prelude::*;

use super::*;

fn septets(text: &str) -> usize {
    gsm::septets(text).unwrap_or_else(|| panic!("not in the alphabet: {text:?}"))
}

fn with_link(link: &str, batch: &[Message]) -> String {
    let paris = paris();
    let voice = Voice {
        link: Some(link),
        ..voice(Language::French, &paris)
    };
    brief(voice, batch)
}

#[test]
fn one_alert_is_number_service_state_since_and_link() {
    assert_eq!(
        with_link(LINK, &[message(telling())]),
        "[vigie #1841] dossier-patient : en panne depuis 20:04 https://vigie.gradest.example/a/7F3kq-9_x"
    );
    assert_eq!(
        with_link(LINK, &[message(noticed(Notice::Close))]),
        "[vigie #1841] dossier-patient : rétabli à 20:18",
        "what is over is nobody's to take on"
    );
    let ungrouped = Notification {
        services: BTreeSet::new(),
        ended: Some(Ended::Retired),
        ..noticed(Notice::Close)
    };
    assert_eq!(
        with_link(LINK, &[message(ungrouped)]),
        "[vigie #1841] service non déclaré : clos, le noeud est retiré à 20:18"
    );
}

#[test]
fn a_link_is_whole_or_left_out() {
    let text = "[vigie #1841] dossier-patient : en panne depuis 20:04";
    for link in [
        format!("https://vigie.example/{}", "x".repeat(120)),
        "https://vigie.example/é`".to_owned(),
        "https://vigie.example/ç".to_owned(),
        "https://vigie.example/a b".to_owned(),
        String::new(),
    ] {
        assert_eq!(with_link(&link, &[message(telling())]), text, "{link}");
    }
    // What takes two septets counts for two.
    let link = |ending: &str| {
        let room = BRIEF_LEN_MAX - septets(text) - 1 - septets(ending);
        format!("{}{ending}", "x".repeat(room))
    };
    let fits = link("~~");
    assert_eq!(
        with_link(&fits, &[message(telling())]),
        format!("{text} {fits}")
    );
    assert_eq!(with_link(&format!("{fits}x"), &[message(telling())]), text);
}

#[test]
fn services_give_way_to_the_link() {
    let many = Notification {
        services: ["a", "b", "c"]
            .map(|letter| letter.repeat(30).parse().unwrap())
            .into(),
        ..telling()
    };
    assert_eq!(
        with_link(LINK, &[message(many)]),
        format!(
            "[vigie #1841] {} +2 : en panne depuis 20:04 {LINK}",
            "a".repeat(30)
        )
    );
}

#[test]
fn several_are_counted_first_and_the_most_urgent_named() {
    let batch: Vec<Message> = (0..9)
        .map(|index| message(lesser(index)))
        .chain([
            message(telling()),
            message(Notification {
                number: 9,
                ..noticed(Notice::Close)
            }),
        ])
        .collect();
    assert_eq!(
        with_link(LINK, &batch),
        "[vigie] 11 alertes, 1 terminée : #1841 dossier-patient en panne, #0 messagerie à surveiller, +9 https://vigie.gradest.example/a/7F3kq-9_x"
    );
    let few = [message(telling()), message(lesser(2))];
    assert_eq!(
        with_link("", &few),
        "[vigie] 2 alertes : #1841 dossier-patient en panne, #2 messagerie à surveiller"
    );
}

#[test]
fn one_broken_service_does_not_hide_another() {
    let mut batch: Vec<Message> = (1..9)
        .map(|number| {
            message(Notification {
                number,
                ..telling()
            })
        })
        .collect();
    batch.push(message(Notification {
        number: 40,
        services: ["imagerie".parse().unwrap()].into(),
        status: Status::Unknown,
        ..telling()
    }));
    batch.push(message(lesser(41)));
    assert_eq!(
        with_link(LINK, &batch),
        "[vigie] 10 alertes : #1 dossier-patient en panne, #40 imagerie sans mesure, #2 dossier-patient en panne, +7 https://vigie.gradest.example/a/7F3kq-9_x"
    );
}

fn any_telling() -> impl Strategy<Value = Notification> {
    let names = proptest::collection::btree_set("[a-z0-9][a-z0-9._-]{0,62}", 0..5);
    let ended = proptest::option::of(prop_oneof![
        Just(Ended::Recovered),
        Just(Ended::Confirmed),
        Just(Ended::Retired),
        Just(Ended::Replaced),
        Just(Ended::Exercised),
    ]);
    let when = prop_oneof![any::<i64>(), 1_700_000_000_000..1_900_000_000_000_i64];
    (
        (0..NOTICES.len(), any::<u64>(), names, ended, any::<bool>()),
        (
            0..Status::ALL.len(),
            0..Family::ALL.len(),
            0..Criticality::ALL.len(),
            when,
            ".*",
            "[a-z0-9][a-z0-9._-]{0,62}",
        ),
    )
        .prop_map(
            |(
                (notice, number, services, ended, is_exercise),
                (status, family, criticality, since, object, node),
            )| {
                let alert = if is_exercise {
                    exercise().alert
                } else {
                    key(&node, &format!("@{object}"), &object)
                };
                Notification {
                    notice: NOTICES[notice],
                    number,
                    services: services.iter().map(|name| name.parse().unwrap()).collect(),
                    ended,
                    status: Status::ALL[status],
                    family: Family::ALL[family],
                    criticality: Criticality::ALL[criticality],
                    since: Wall(since),
                    alert,
                    ..telling()
                }
            },
        )
}

proptest! {
    #[test]
    fn a_brief_never_needs_a_second_message(
        tellings in proptest::collection::vec(any_telling(), 0..12),
        link in prop_oneof![Just(None), ".{0,200}".prop_map(Some), "https://[a-z]{1,30}/[A-Za-z0-9_~-]{0,120}".prop_map(Some)],
        is_french: bool,
        in_paris: bool,
    ) {
        let paris = paris();
        let voice = Voice {
            language: if is_french { Language::French } else { Language::English },
            zone: in_paris.then_some(&paris),
            link: link.as_deref(),
            now: None,
        };
        let batch: Vec<Message> = tellings.into_iter().map(message).collect();
        let text = brief(voice, &batch);
        let septets = gsm::septets(&text);
        prop_assert!(septets.is_some_and(|septets| septets <= BRIEF_LEN_MAX), "{text:?}");
        if let Some(start) = text.find("https://") {
            prop_assert_eq!(&text[start..], link.as_deref().unwrap_or_default());
        }
        if let [message] = batch.as_slice() && let Some(telling) = message.telling() {
            prop_assert!(text.contains(&format!("#{}]", telling.number)), "{text}");
        }
    }
}
