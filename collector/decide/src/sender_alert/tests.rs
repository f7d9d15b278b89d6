#![expect(clippy::unwrap_used, reason = "tests")]

use std::error::Error as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// 2026-11-21T19:00:00Z.
const NOW: Wall = Wall(1_795_287_600_000);
const MINUTE_MS: i64 = 60_000;

fn posted(labels: serde_json::Value, starts_at: Option<i64>, ends_at: Option<i64>) -> Posted {
    let time = |minutes: Option<i64>| minutes.map(|minutes| NOW.plus_ms(minutes * MINUTE_MS));
    let json = json!({"labels": labels, "startsAt": time(starts_at), "endsAt": time(ends_at)});
    Posted::read(&json.to_string()).unwrap()
}

fn down(starts_at: Option<i64>, ends_at: Option<i64>) -> Posted {
    posted(
        json!({"alertname": "InstanceDown", "instance": "db-01:9100", "severity": "page"}),
        starts_at,
        ends_at,
    )
}

#[test]
fn what_prometheus_posts_is_read_and_its_annotations_are_not_kept() {
    // As Prometheus 2.42 sends it.
    let posted = Posted::read(
        r#"{"annotations":{"summary":"Mme Martin's server"},"endsAt":"2026-11-21T19:04:00.207Z",
            "startsAt":"2026-11-21T18:58:00.207Z","generatorURL":"http://prom:9090/graph?g0.expr=up",
            "labels":{"alertname":"InstanceDown","empty":"","instance":"db-01:9100","service":"dossier-patient",
            "severity":"page","__meta":"x"}}"#,
    )
    .unwrap();
    let said = posted.judged(NOW, None);
    assert_eq!(said.name, "instancedown");
    assert_eq!(said.status, Status::Critical);
    assert_eq!(said.service.unwrap().as_str(), "dossier-patient");
    assert_eq!(said.since.to_string(), "2026-11-21T18:58:00.207Z");
    assert_eq!(said.good_for_ms, 240_207);
    let kept: Vec<&str> = said.labels.keys().map(String::as_str).collect();
    assert_eq!(kept, ["alertname", "instance", "service", "severity"]);
    assert!(!format!("{:?}", said.labels).contains("Martin"));
}

#[test]
fn what_is_no_alert_is_refused_with_its_place() {
    for (json, said) in [
        ("5", "invalid type"),
        ("{}", "missing field `labels`"),
        (r#"{"labels":{}}"#, "labels: none has a value"),
        (r#"{"labels":{"alertname":""}}"#, "labels: none has a value"),
        (r#"{"labels":null}"#, "labels: an object of texts"),
        (r#"{"labels":["a"]}"#, "labels: an object of texts"),
        (r#"{"labels":{"a":{"b":1}}}"#, "labels.a is not a text"),
        (r#"{"labels":{"a":"b","n":5}}"#, "labels.n is not a text"),
        (
            r#"{"labels":{"a":"b"},"endsAt":"soon"}"#,
            "\"soon\" is not a time",
        ),
        (r#"{"labels":{"a":"b"},"startsAt":5}"#, "expected a string"),
        (
            r#"{"labels":{"a":"b"},"startsAt":"2026-11-21T19:00:01Z","endsAt":"2026-11-21T19:00:00Z"}"#,
            "endsAt 2026-11-21T19:00:00.000Z is before startsAt",
        ),
    ] {
        let error = Posted::read(json).unwrap_err();
        let cause = error.source().map(ToString::to_string);
        let error = format!("{error}: {}", cause.unwrap_or_default());
        assert!(error.contains(said), "{json}: {error}");
    }
}

#[test]
fn a_severity_that_is_absent_or_unknown_raises() {
    for (severity, status) in [
        ("critical", Status::Critical),
        ("page", Status::Critical),
        ("Disaster", Status::Critical),
        ("high", Status::Critical),
        ("P1", Status::Critical),
        ("sévère", Status::Critical),
        ("", Status::Critical),
        ("warning", Status::Warning),
        ("WARN", Status::Warning),
        (" info ", Status::Warning),
        ("none", Status::Warning),
        ("low", Status::Warning),
    ] {
        let labels = json!({"alertname": "a", "severity": severity});
        let said = posted(labels, None, None).judged(NOW, None);
        assert_eq!(said.status, status, "{severity}");
    }
    let said = posted(json!({"alertname": "a"}), None, None).judged(NOW, None);
    assert_eq!(said.status, Status::Critical);
}

#[test]
fn a_name_becomes_a_configured_name() {
    for (alertname, name) in [
        ("InstanceDown", "instancedown"),
        ("Disque plein à 90 %", "disque-plein---90--"),
        ("__internal", "internal"),
        ("node.load_1-m", "node.load_1-m"),
        ("", "alert"),
        ("!?", "alert"),
        ("é", "alert"),
        (&"A".repeat(90), &"a".repeat(63)),
    ] {
        let labels = json!({"alertname": alertname, "job": "a"});
        let said = posted(labels, None, None).judged(NOW, None);
        assert_eq!(said.name, name, "{alertname}");
    }
}

#[test]
fn a_service_is_named_by_a_configured_name_only() {
    for (service, is_named) in [("dossier-patient", true), ("Dossier patient", false)] {
        let labels = json!({"alertname": "a", "service": service});
        let said = posted(labels, None, None).judged(NOW, None);
        assert_eq!(said.service.is_some(), is_named);
    }
}

#[test]
fn it_is_good_until_its_end_within_bounds_and_over_once_that_has_come() {
    const HOUR_MS: u64 = 3_600_000;
    for (ends_at, good_for_ms) in [
        (None, GOOD_FOR_DEFAULT_MS),
        (Some(4), 4 * 60_000),
        (Some(1), GOOD_FOR_MIN_MS),
        (Some(24 * 60), 24 * HOUR_MS),
        (Some(365 * 24 * 60), 24 * HOUR_MS),
    ] {
        let said = down(Some(-10), ends_at).judged(NOW, None);
        assert_eq!(said.good_for_ms, good_for_ms, "{ends_at:?}");
        assert_eq!(said.status, Status::Critical);
    }
    let mut soon = down(None, None);
    soon.span.ends_at = Some(NOW.plus_ms(1));
    assert_eq!(soon.judged(NOW, None).good_for_ms, GOOD_FOR_MIN_MS);
    for ends_at in [0, -1, -600] {
        let said = down(Some(-700), Some(ends_at)).judged(NOW, None);
        assert_eq!(said.status, Status::Ok, "{ends_at}");
    }
}

#[test]
fn it_began_when_its_sender_says_but_not_later_than_now() {
    let since = |starts_at| down(starts_at, None).judged(NOW, None).since;
    assert_eq!(since(Some(-3)), NOW.plus_ms(-3 * MINUTE_MS));
    assert_eq!(since(Some(3)), NOW);
    assert_eq!(since(None), NOW);
    // Go's zero time, as amtool sends it, is none.
    let json = r#"{"labels":{"a":"b"},"startsAt":"0001-01-01T00:00:00.000Z","endsAt":"0001-01-01T00:00:00Z"}"#;
    let posted = Posted::read(json).unwrap();
    assert_eq!(posted.span, Span::default());
    assert_eq!(posted.judged(NOW, None).since, NOW);
}

#[test]
fn one_whose_end_keeps_moving_is_not_over_although_its_senders_clock_is_slow() {
    // Ten minutes slow, good for four: every end is in our past.
    let first = down(Some(-30), Some(-6));
    assert_eq!(first.judged(NOW, None).status, Status::Ok);
    let second = down(Some(-30), Some(-5));
    let said = second.judged(NOW.plus_ms(MINUTE_MS), Some(first.span));
    assert_eq!(said.status, Status::Critical);
    assert_eq!(said.good_for_ms, GOOD_FOR_DEFAULT_MS);
    // Then it is over: the end is when that was, before what was promised, and stays.
    let over = down(Some(-30), Some(-8));
    let said = over.judged(NOW, Some(second.span));
    assert_eq!(said.status, Status::Ok);
    assert_eq!(over.judged(NOW, Some(over.span)).status, Status::Ok);
    // Another outbreak is another matter.
    let again = down(Some(-4), Some(-3));
    assert_eq!(again.judged(NOW, Some(over.span)).status, Status::Ok);
    // Without a start nobody can tell.
    let (one, other) = (down(None, Some(-6)), down(None, Some(-5)));
    assert_eq!(other.judged(NOW, Some(one.span)).status, Status::Ok);
}

#[test]
fn many_and_long_labels_are_cut_and_refuse_nothing() {
    let mut labels = serde_json::Map::new();
    for number in 0..200 {
        labels.insert(format!("a{number:03}"), "x".repeat(20).into());
    }
    labels.insert("severity".to_owned(), "warning".into());
    labels.insert("service.name".to_owned(), "otel".into());
    labels.insert("n".repeat(64), "long".into());
    labels.insert(
        "text".to_owned(),
        format!("\u{1b}[31m{}\u{202e}", "é".repeat(2000)).into(),
    );
    let said = posted(labels.clone().into(), None, None).judged(NOW, None);
    assert_eq!(said.labels.len(), LABELS_MAX);
    assert_eq!(said.labels["severity"], "warning");
    assert_eq!(said.status, Status::Warning);

    labels.retain(|name, _| !name.starts_with('a'));
    let said = posted(labels.clone().into(), None, None).judged(NOW, None);
    let kept: Vec<&str> = said.labels.keys().map(String::as_str).collect();
    assert_eq!(kept, ["severity", "text"]);
    assert_eq!(said.labels["text"].chars().count(), TEXT_LEN_MAX);
    assert!(said.labels["text"].starts_with('é'));

    // What is not kept still tells one alert from another.
    let before = said.fingerprint;
    labels["service.name"] = "other".into();
    let said = posted(labels.into(), None, None).judged(NOW, None);
    assert_ne!(said.fingerprint, before);
}

#[test]
fn a_repeat_is_written_down_when_it_says_something_new_or_half_its_time_is_gone() {
    // As Prometheus does it: every minute, good for four.
    let said_at = |minute: i64| {
        let posted = down(Some(-1), Some(minute + 4));
        let said = posted.judged(NOW.plus_ms(minute * MINUTE_MS), None);
        (said, posted.span)
    };
    let at = |minute: u64| Elapsed(1_000).plus_ms(minute * 60_000);
    let (said, span) = said_at(0);
    let written = Written::new(&said, span, at(0));
    assert!(written.is_lasting());
    assert_eq!(written.good_until(), at(4));
    let covers = |minute: i64, now: Elapsed| {
        let (said, span) = said_at(minute);
        written.covers(&said, span, now)
    };
    assert!(covers(0, at(0)));
    assert!(covers(1, at(1)));
    assert!(!covers(2, at(2).plus_ms(1)));
    assert!(!covers(3, at(3)));

    let differs = |change: &dyn Fn(&mut SenderAlert, &mut Span)| {
        let (mut said, mut span) = said_at(0);
        change(&mut said, &mut span);
        !written.covers(&said, span, at(0))
    };
    assert!(differs(&|said, _| said.status = Status::Ok));
    assert!(differs(&|said, _| said.service = "messagerie".parse().ok()));
    assert!(differs(&|_, span| span.starts_at = Some(NOW)));
    // It is promised for much longer, or much shorter, than was written.
    assert!(differs(&|said, _| said.good_for_ms *= 3));
    assert!(differs(&|said, _| said.good_for_ms /= 3));
}

#[test]
fn even_what_says_nothing_new_is_written_down_again_after_a_while() {
    let posted = down(Some(-1), Some(24 * 60));
    let said = posted.judged(NOW, None);
    let written = Written::new(&said, posted.span, Elapsed(0));
    let covers = |now| written.covers(&said, posted.span, Elapsed(now));
    assert!(covers(WRITTEN_AGAIN_AFTER_MS - 1));
    assert!(!covers(WRITTEN_AGAIN_AFTER_MS));

    let over = down(Some(-5), Some(-1));
    let said = over.judged(NOW, None);
    let written = Written::new(&said, over.span, Elapsed(0));
    assert!(!written.is_lasting());
    assert!(written.covers(&said, over.span, Elapsed(60_000)));
    assert!(!written.covers(&said, over.span, Elapsed(WRITTEN_AGAIN_AFTER_MS)));
}

proptest! {
    #[test]
    fn whatever_is_posted_becomes_something_bounded_that_we_can_name(
        labels in prop::collection::btree_map("\\PC{0,80}|[a-z_]{1,8}", any::<String>(), 0..80),
        starts_at in any::<Option<i32>>(),
        ends_at in any::<Option<i32>>(),
        now in any::<i32>(),
    ) {
        let time = |seconds: Option<i32>| seconds.map(|seconds| Wall(i64::from(seconds) * 1000));
        let json = json!({"labels": labels, "startsAt": time(starts_at), "endsAt": time(ends_at)});
        let now = Wall(i64::from(now) * 1000);
        if let Ok(posted) = Posted::read(&json.to_string()) {
            let said = posted.judged(now, None);
            prop_assert!(is_configured_name(&said.name));
            prop_assert_eq!(said.fingerprint.len(), 16);
            prop_assert!(said.labels.len() <= LABELS_MAX);
            let len: usize = said.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            prop_assert!(len <= LABELS_LEN_MAX);
            prop_assert!(said.since <= now);
            let is_over = said.status == Status::Ok;
            prop_assert_eq!(is_over, posted.span.ends_at.is_some_and(|at| at <= now));
            let bounds = GOOD_FOR_MIN_MS..=GOOD_FOR_MAX_MS;
            prop_assert!(is_over || bounds.contains(&said.good_for_ms));
        } else {
            let has_a_label = labels.values().any(|value| !value.is_empty());
            let ends_before = matches!((starts_at, ends_at), (Some(start), Some(end)) if end < start);
            prop_assert!(!has_a_label || ends_before);
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(text in any::<String>()) {
        let _ = Posted::read(&text);
    }

    #[test]
    fn a_fingerprint_is_the_labels_and_nothing_else(
        one in prop::collection::btree_map("[a-c]{1,2}", "[a-c]{1,2}", 1..4),
        other in prop::collection::btree_map("[a-c]{1,2}", "[a-c]{1,2}", 1..4),
    ) {
        let posted = |labels: &BTreeMap<String, String>, span| Posted { labels: labels.clone(), span };
        let span = Span { starts_at: Some(NOW), ends_at: Some(NOW) };
        let same = posted(&one, Span::default()).fingerprint() == posted(&other, span).fingerprint();
        prop_assert_eq!(same, one == other);
    }
}
