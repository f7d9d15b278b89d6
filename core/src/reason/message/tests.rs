use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Every message of one language: id to its whole text.
fn messages(language: Language) -> BTreeMap<String, String> {
    let mut messages = BTreeMap::new();
    let mut current = String::new();
    let texts = SOURCES
        .iter()
        .filter(|(of, _)| *of == language)
        .flat_map(|(_, texts)| *texts);
    for line in texts.flat_map(|text| text.lines()) {
        let starts_message = line.starts_with(|first: char| first.is_ascii_alphabetic());
        if starts_message && let Some((id, text)) = line.split_once(" = ") {
            current = id.to_owned();
            let earlier = messages.insert(current.clone(), text.to_owned());
            assert_eq!(earlier, None, "{language}: message {id} stands twice");
        } else if let Some(text) = messages.get_mut(&current)
            && !line.starts_with('#')
        {
            text.push_str(line);
        }
    }
    messages
}

fn variables(text: &str) -> BTreeSet<&str> {
    text.split('$')
        .skip(1)
        .filter_map(|after| {
            after
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
        })
        .collect()
}

fn sample(fact_type: FactType) -> Value {
    match fact_type {
        FactType::Integer => json!(1_234),
        FactType::Integers => json!([200, 204]),
        FactType::Word => json!("connect"),
        FactType::Time => json!("2026-11-22T19:04:31.207Z"),
        FactType::CodePoint => json!("U+00E9"),
        FactType::Digest => json!("9f".repeat(32)),
        FactType::Name => json!("app-01"),
        FactType::Names => json!(["app-01", "app-02"]),
    }
}

fn facts(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(facts) => facts,
        other => panic!("not an object: {other}"),
    }
}

#[test]
fn every_reason_has_a_message_in_both_languages_and_every_message_a_reason() {
    let ids: BTreeSet<String> = Reason::all().map(message_id).collect();
    for language in Language::ALL {
        let written: BTreeSet<String> = messages(language).into_keys().collect();
        let missing: Vec<_> = ids.difference(&written).collect();
        let orphaned: Vec<_> = written.difference(&ids).collect();
        assert!(
            missing.is_empty(),
            "{language}: reasons without a message: {missing:?}"
        );
        assert!(
            orphaned.is_empty(),
            "{language}: messages without a reason: {orphaned:?}"
        );
    }
}

#[test]
fn the_resources_have_no_syntax_error() {
    for (language, texts) in SOURCES {
        for text in texts {
            let errors = FluentResource::try_new((*text).to_owned())
                .err()
                .map(|(_, errors)| errors);
            assert_eq!(errors, None, "{language}");
        }
    }
}

#[test]
fn messages_use_only_facts_that_their_reason_declares() {
    for reason in Reason::all() {
        for (key, _) in reason.spec().facts {
            assert!(
                !key.starts_with("with_"),
                "{reason}: {key} is taken by the message's own argument"
            );
        }
    }
    for language in Language::ALL {
        let messages = messages(language);
        for reason in Reason::all() {
            let text = messages.get(&message_id(reason)).map_or("", String::as_str);
            for variable in variables(text) {
                let fact = variable.strip_prefix("with_").unwrap_or(variable);
                assert!(
                    reason.fact_type(fact).is_some(),
                    "{language}: the message of {reason} uses ${variable}, which it does not declare"
                );
            }
        }
    }
}

#[test]
fn every_reason_with_all_its_facts_is_a_whole_sentence() {
    for language in Language::ALL {
        for reason in Reason::all() {
            let facts = reason
                .spec()
                .facts
                .iter()
                .map(|(key, fact_type)| ((*key).to_owned(), sample(*fact_type)))
                .collect();
            let text = render(language, reason.code(), &facts);
            assert!(
                !text.is_empty() && !text.contains(['?', '{', '}', '$', '\n', '\u{2068}']),
                "{language} {reason}: {text}"
            );
            assert!(
                !text.contains("  ") && text.trim() == text,
                "{language} {reason}: {text}"
            );
            assert!(!text.ends_with('.'), "{language} {reason}: {text}");
        }
    }
}

#[test]
fn every_reason_renders_without_any_fact() {
    for language in Language::ALL {
        for reason in Reason::all() {
            let text = render(language, reason.code(), &Map::new());
            assert!(
                !text.is_empty() && !text.contains(['{', '$']),
                "{language} {reason}: {text}"
            );
            assert!(
                !text.contains(reason.code()),
                "{language} {reason} has no words: {text}"
            );
        }
    }
}

#[test]
fn sentences_read_as_a_person_would_write_them() {
    use Language::{English, French};
    let table = [
        (
            French,
            "http.status",
            json!({"got": 503, "expected": [200]}),
            "réponse HTTP 503 au lieu de 200",
        ),
        (
            English,
            "http.status",
            json!({"got": 503, "expected": [200, 204]}),
            "HTTP answer 503 instead of 200, 204",
        ),
        (
            French,
            "filesystem.full",
            json!({"used_permille": 953, "limit_permille": 950, "available_bytes": 1_234_567_890_i64}),
            "disque rempli à 95,3 %, limite 95 % ; il reste 1,2 Go",
        ),
        (
            English,
            "filesystem.full",
            json!({"used_permille": 953, "limit_permille": 950, "available_bytes": 1_234_567_890_i64}),
            "disk 95.3% full, limit 95%; 1.2 GB left",
        ),
        (
            French,
            "load.high",
            json!({"load_milli": 3750, "limit_milli": 2000, "cpus": 1}),
            "charge 3,75 par processeur, limite 2 (1 processeur)",
        ),
        (
            French,
            "net.timeout",
            json!({"phase": "tls", "after_ms": 5000}),
            "pas de réponse en 5 s, arrêt à la négociation TLS",
        ),
        (
            English,
            "net.timeout",
            json!({"phase": "quantum", "after_ms": 5000}),
            "no answer in 5 s, stopped (phase quantum)",
        ),
        (
            French,
            "node.silent",
            json!({"last_contact": "2026-11-22T19:04:31.207Z", "checks": ["disques", "portail"], "checks_count": 2}),
            "plus aucune nouvelle du nœud depuis le 22/11/2026 19:04 UTC ; sans surveillance (2) : disques, portail",
        ),
        (
            French,
            "node.silent",
            json!({"checks": []}),
            "aucune nouvelle du nœud",
        ),
        (
            English,
            "node.silent",
            json!({"last_contact": "2026-11-22T19:04:31.207Z", "checks_count": 0}),
            "no news of the node since 2026-11-22 19:04 UTC",
        ),
        (
            French,
            "agent.settings_refused",
            json!({"mistakes": 1}),
            "nouveaux réglages refusés (1 erreur), les anciens restent en vigueur",
        ),
        (
            English,
            "tls.certificate",
            json!({"why": "expired", "not_after": "2026-11-20T00:00:00Z"}),
            "certificate expired, valid until 2026-11-20 00:00 UTC",
        ),
        (
            French,
            "tls.certificate",
            json!({"why": "wrong_name"}),
            "certificat établi pour un autre nom",
        ),
        (
            French,
            "clock.step",
            json!({"by_ms": -3_600_000}),
            "l'horloge a sauté de -1 h",
        ),
        (
            French,
            "http.status",
            json!({"got": 503}),
            "réponse HTTP 503 au lieu de ?",
        ),
        (
            French,
            "vigie.exercise",
            json!({"receiver": "astreinte"}),
            "exercice pour le destinataire astreinte : rien n'est en panne",
        ),
        (
            English,
            "receiver.unreachable",
            json!({"receiver": "astreinte"}),
            "nobody of receiver astreinte can be reached",
        ),
        (
            English,
            "sender.alert",
            json!({"name": "HighLatency", "sender": "prometheus", "job": "portail"}),
            "alert HighLatency of prometheus",
        ),
        (
            French,
            "sender.silent",
            json!({"name": "HighLatency", "sender": "prometheus"}),
            "prometheus ne dit plus rien de son alerte HighLatency : peut-être finie, peut-être pas",
        ),
    ];
    for (language, reason, given, expected) in table {
        assert_eq!(render(language, reason, &facts(given)), expected);
    }
}

#[test]
fn numbers_units_and_times_follow_the_language() {
    use Language::{English, French};
    let durations = [
        (0, "0 ms", "0 ms"),
        (850, "850 ms", "850 ms"),
        (1_500, "1,5 s", "1.5 s"),
        (5_000, "5 s", "5 s"),
        (59_999, "59 s", "59 s"),
        (60_000, "1 min", "1 min"),
        (125_000, "2 min 5 s", "2 min 5 s"),
        (11_520_000, "3 h 12 min", "3 h 12 min"),
        (187_200_000, "2 j 4 h", "2 d 4 h"),
        (-2_000, "-2 s", "-2 s"),
    ];
    for (ms, french, english) in durations {
        assert_eq!(
            (&*duration(French, ms), &*duration(English, ms)),
            (french, english)
        );
    }
    let sizes = [
        (0, "0 octet", "0 byte"),
        (1, "1 octet", "1 byte"),
        (999, "999 octets", "999 bytes"),
        (1_000, "1 ko", "1 kB"),
        (99_999, "99,9 ko", "99.9 kB"),
        (950_400_000, "950 Mo", "950 MB"),
        (1_999_999_999, "1,9 Go", "1.9 GB"),
        (i64::MAX, "9223 Po", "9223 PB"),
    ];
    for (size, french, english) in sizes {
        assert_eq!(
            (&*bytes(French, size), &*bytes(English, size)),
            (french, english)
        );
    }
    assert_eq!(permille(French, 1_000), "100 %");
    assert_eq!(permille(English, 5), "0.5%");
    assert_eq!(milli(English, 45), "0.05");
    assert_eq!(milli(French, 12_000), "12");
    assert_eq!(milli(English, i64::MIN).chars().next(), Some('-'));
    assert_eq!(time(French, None, Wall(i64::MAX)), None);
}

/// Zones are values in core; a test takes them from the machine like the programs do.
#[expect(clippy::disallowed_methods, reason = "the test plays the program")]
fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

#[test]
fn times_are_told_in_the_readers_zone() {
    let given = facts(json!({"last_contact": "2026-11-22T23:04:31.207Z"}));
    let table = [
        (None, "2026-11-22 23:04 UTC"),
        (zone("Europe/Paris"), "2026-11-23 00:04"),
        (zone("America/Martinique"), "2026-11-22 19:04"),
    ];
    for (zone, told) in table {
        assert_eq!(
            render_in(Language::English, zone.as_ref(), "node.silent", &given),
            format!("no news of the node since {told}")
        );
    }
    // 25 October 2026, 00:30 UTC: 02:30 in Paris for the first time.
    let paris = zone("Europe/Paris");
    assert_eq!(
        time(Language::French, paris.as_ref(), Wall(1_792_888_200_000)).as_deref(),
        Some("25/10/2026 02:30 (UTC+2)")
    );
}

#[test]
fn offsets_are_written_from_utc() {
    let table = [
        (0, "UTC"),
        (3_600, "UTC+1"),
        (-10_800, "UTC-3"),
        (-12_600, "UTC-3:30"),
        (20_700, "UTC+5:45"),
    ];
    for (seconds, text) in table {
        let of = jiff::tz::Offset::from_seconds(seconds).ok();
        assert_eq!(of.map(offset).as_deref(), Some(text));
    }
}

#[test]
fn what_a_hostile_node_writes_acts_on_nothing() {
    let table = [
        ("app\u{1b}[31m-01\u{1b}[0m", "app-01"),
        ("a\u{1b}]0;title\u{7}b", "ab"),
        ("a\u{1b}]8;;http://x\u{1b}\\b", "ab"),
        ("a\u{9b}2Jb", "ab"),
        ("app\u{202e}10-\u{2066}ppa\u{200b}", "app10-ppa"),
        ("line\r\nnew\u{2028}er", "linenewer"),
        ("\u{1b}", ""),
        ("Émile", "Émile"),
    ];
    for (hostile, kept) in table {
        assert_eq!(sanitised(hostile, 40), kept, "{hostile:?}");
    }
    assert_eq!(sanitised("abcdef", 6), "abcdef");
    assert_eq!(sanitised("abcdefg", 6), "abcde…");
}

#[test]
fn a_fact_of_another_type_than_declared_is_not_repeated() {
    let given = facts(json!({"got": "tout va bien", "expected": {"a": 1}}));
    assert_eq!(
        render(Language::French, "http.status", &given),
        "réponse HTTP ? au lieu de ?"
    );
    let given = facts(json!({"phase": "all is well, sleep on", "after_ms": 1.5}));
    assert_eq!(
        render(Language::English, "net.timeout", &given),
        "no answer in ?, stopped (phase ?)"
    );
}

#[test]
fn long_lists_and_names_are_cut() {
    let names: Vec<_> = (0..25).map(|n| format!("n{n}")).collect();
    let given = facts(json!({"nodes": names, "nodes_count": 25}));
    let text = render(Language::English, "site.cut", &given);
    assert!(text.contains("n19, +5)") && !text.contains("n20"), "{text}");
    let given = facts(json!({"claimed": "x".repeat(100_000)}));
    assert!(render(Language::English, "node.impostor", &given).len() < 400);
}

#[test]
fn an_unknown_code_is_named_and_cleaned() {
    let code = "quantum.decay\u{202e}\n";
    assert_eq!(
        render(Language::French, code, &Map::new()),
        "motif « quantum.decay », inconnu de cette version de vigie"
    );
    assert_eq!(
        render(Language::English, code, &Map::new()),
        "reason \"quantum.decay\", unknown to this version of vigie"
    );
}

#[test]
fn languages_read_back() {
    for language in Language::ALL {
        assert_eq!(language.as_str().parse(), Ok(language));
        assert_eq!(
            serde_json::to_value(language).ok(),
            Some(json!(language.as_str()))
        );
    }
    assert_eq!("de".parse::<Language>(), Err(NotALanguage));
}

#[test]
fn languages_differ_where_a_word_is_not_shared() {
    for of in Status::ALL {
        assert_ne!(
            status(Language::French, *of),
            status(Language::English, *of)
        );
    }
    assert_eq!(family(Language::French, Family::Backup), "sauvegarde");
}

proptest! {
    #[test]
    fn no_fact_breaks_a_sentence(text in ".*", number: i64, index in 0_usize..60) {
        let reasons: Vec<_> = Reason::all().collect();
        let reason = reasons[index % reasons.len()];
        for value in [json!(text), json!(number), json!([text, number])] {
            let facts = reason
                .spec()
                .facts
                .iter()
                .map(|(key, _)| ((*key).to_owned(), value.clone()))
                .collect();
            for language in Language::ALL {
                let rendered = render(language, reason.code(), &facts);
                prop_assert!(!rendered.contains(|c: char| c.is_control() || is_invisible(c)));
            }
        }
    }
}
