#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;
mod limits;
mod model;
mod page;

use fixture::{NOW, Said, at, gauge, node, sender, take_in};
use vigie_core::remote_write::{Sample, Version};

use vigie_core::time::Wall;

use super::*;

#[test]
fn the_newest_sample_of_each_series_is_kept() {
    let latest = Latest::new(Limits::default());
    let said = [gauge("a", 1.0), gauge("b", 2.0)];
    let applied = take_in(&latest, &node("app-01"), Version::V1, &said, at(0));
    assert_eq!((applied.written, applied.refused_total()), (2, 0));
    let older = [Said {
        samples: vec![Sample {
            value: 9.0,
            timestamp_ms: NOW - 1,
        }],
        ..gauge("a", 0.0)
    }];
    let applied = take_in(&latest, &node("app-01"), Version::V1, &older, at(0));
    assert_eq!(applied.written, 1, "what is superseded counts as written");
    let value = |name| {
        let sample = latest.value(&node("app-01"), &[("__name__", name)]);
        sample.map(|sample| sample.value)
    };
    assert_eq!(
        (value("a"), value("b"), value("c")),
        (Some(1.0), Some(2.0), None)
    );
    let again = [gauge("a", 5.0)];
    take_in(&latest, &node("app-01"), Version::V1, &again, at(0));
    assert_eq!(
        value("a"),
        Some(5.0),
        "what was answered as written is there"
    );
}

#[test]
fn an_ended_series_is_not_brought_back_by_a_backlog() {
    for version in [Version::V1, Version::V2] {
        let latest = Latest::new(Limits::default());
        let origin = node("app-01");
        let of = |value, timestamp_ms| Said {
            samples: vec![Sample {
                value,
                timestamp_ms,
            }],
            ..gauge("a", 0.0)
        };
        let end = Said {
            samples: vec![Sample::stale(NOW)],
            ..gauge("a", 0.0)
        };
        let value = || latest.value(&origin, &[("__name__", "a")]);
        take_in(&latest, &origin, version, &[of(1.0, NOW - 1000)], at(0));
        assert!(value().is_some());
        take_in(&latest, &origin, version, &[end], at(0));
        assert_eq!(value(), None);
        for older in [NOW - 500, NOW] {
            let applied = take_in(&latest, &origin, version, &[of(2.0, older)], at(1000));
            assert_eq!((applied.written, value()), (1, None));
        }
        take_in(&latest, &origin, version, &[of(3.0, NOW + 1)], at(1000));
        assert_eq!(value().map(|sample| sample.value), Some(3.0));
    }
}

#[test]
fn a_known_shape_reads_no_labels() {
    let said: Vec<Said> = (0..300)
        .map(|n| gauge(&format!("metric_{n}"), 1.0))
        .collect();
    for (version, learnt_after) in [(Version::V1, 1), (Version::V2, 2)] {
        let latest = Latest::new(Limits::default());
        for _ in 0..learnt_after {
            take_in(&latest, &node("app-01"), version, &said, at(0));
        }
        let misses = latest.totals().shape_misses;
        assert_eq!(misses, 300 * learnt_after);
        let mut reordered = said.clone();
        reordered.reverse();
        // In another order, and with one missing, 1.0 still knows each series; 2.0 has other symbols then.
        let known = match version {
            Version::V1 => vec![&said[..], &reordered[..], &said[7..]],
            Version::V2 => vec![&said[..]; 3],
        };
        for said in known {
            let applied = take_in(&latest, &node("app-01"), version, said, at(0));
            assert_eq!(applied.written, said.len() as u64);
        }
        assert_eq!(latest.totals().shape_misses, misses, "{version:?}");
    }
}

#[test]
fn what_is_refused_or_sorted_otherwise_is_remembered_too() {
    let latest = Latest::new(Limits::default());
    let mut unsorted = gauge("a", 1.0);
    unsorted.labels.push(("Z".to_owned(), "1".to_owned()));
    let said = [gauge("vigie_check_status", 1.0), unsorted];
    for round in 0..3 {
        let applied = take_in(&latest, &sender("prom"), Version::V1, &said, at(0));
        assert_eq!(applied.refused_for(Refusal::Reserved), 1, "round {round}");
        assert_eq!(applied.written, 1);
        assert!(applied.example.unwrap().contains("vigie_check_status"));
        assert_eq!(latest.totals().shape_misses, 2);
    }
    let sorted = [("Z", "1"), ("__name__", "a")];
    assert_eq!(latest.value(&sender("prom"), &sorted).unwrap().value, 1.0);
    assert_eq!(latest.totals().sender_series, 1);
}

#[test]
fn a_node_that_speaks_for_another_is_not_heard_at_all() {
    for version in [Version::V1, Version::V2] {
        let latest = Latest::new(Limits::default());
        let with_node = |name: &str, node: &str| {
            let mut said = gauge(name, 1.0);
            said.labels.push(("node".to_owned(), node.to_owned()));
            said
        };
        let said = [
            gauge("a", 1.0),
            with_node("b", "app-01"),
            with_node("c", "app-02"),
        ];
        for _ in 0..3 {
            let applied = take_in(&latest, &node("app-01"), version, &said, at(0));
            assert_eq!(applied.impostor.as_deref(), Some("app-02"));
            assert_eq!((applied.written, applied.refused_total()), (0, 0));
        }
        assert_eq!(latest.value(&node("app-01"), &[("__name__", "a")]), None);
        assert_eq!(latest.totals().node_series, 0);
        let applied = take_in(&latest, &node("app-01"), version, &said[..2], at(0));
        assert_eq!((applied.written, applied.impostor), (2, None));
        let applied = take_in(&latest, &sender("prom"), version, &said, at(0));
        assert_eq!((applied.written, applied.impostor), (3, None));
    }
}

#[test]
fn histograms_and_exemplars_are_never_claimed_to_be_kept() {
    let latest = Latest::new(Limits::default());
    let said = [
        Said {
            exemplars: 2,
            ..gauge("a", 1.0)
        },
        Said {
            histograms: 3,
            samples: Vec::new(),
            ..gauge("b", 1.0)
        },
    ];
    for version in [Version::V1, Version::V2] {
        let applied = take_in(&latest, &sender("prom"), version, &said, at(0));
        assert_eq!(applied.written, 1);
        assert_eq!(applied.refused_for(Refusal::Exemplar), 2);
        assert_eq!(applied.refused_for(Refusal::Histogram), 3);
        assert!(applied.example.unwrap().contains("exemplars are not kept"));
    }
    assert_eq!(latest.totals().sender_series, 1);
}

#[test]
fn origins_are_known_apart_and_can_be_forgotten() {
    let latest = Latest::new(Limits::default());
    let (node, sender) = (node("x"), sender("x"));
    assert!(latest.origins().is_empty());
    take_in(&latest, &node, Version::V1, &[gauge("a", 1.0)], at(0));
    take_in(&latest, &sender, Version::V1, &[gauge("a", 2.0)], at(0));
    assert_eq!(latest.origins(), [node.clone(), sender.clone()]);
    assert_eq!(
        latest.value(&node, &[("__name__", "a")]).unwrap().value,
        1.0
    );
    let totals = latest.totals();
    assert_eq!(
        (totals.origins, totals.node_series, totals.sender_series),
        (2, 1, 1)
    );
    latest.forget(&node);
    assert_eq!(latest.origins(), [sender]);
}

#[test]
fn a_series_that_nobody_mentions_is_freed_after_an_hour() {
    const HOUR_MS: i64 = 3_600_000;
    for version in [Version::V1, Version::V2] {
        let latest = Latest::new(Limits::default());
        let origin = node("app-01");
        let shown = |name, t: i64| {
            let mut said = gauge(name, 1.0);
            said.samples[0].timestamp_ms += t;
            said
        };
        for t in [0, 1000, 2000] {
            let both = [shown("a", t), shown("b", t)];
            take_in(&latest, &origin, version, &both, at(t));
        }
        let t = HOUR_MS + 10_000;
        take_in(&latest, &origin, version, &[shown("b", t)], at(t));
        assert_eq!(latest.totals().node_series, 1);
        assert_eq!(latest.value(&origin, &[("__name__", "a")]), None);
        // Its slot went to another series: what was remembered must not mix them up.
        take_in(&latest, &origin, version, &[shown("c", t)], at(t));
        take_in(
            &latest,
            &origin,
            version,
            &[shown("a", t), shown("b", t)],
            at(t),
        );
        let value = |name| latest.value(&origin, &[("__name__", name)]).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(value(name).timestamp_ms, NOW + t);
        }
        assert_eq!(latest.totals().node_series, 3);
    }
}

#[test]
fn a_clock_set_back_does_not_freeze_what_was_received_before() {
    const HOUR_MS: i64 = 3_600_000;
    for version in [Version::V1, Version::V2] {
        let latest = Latest::new(Limits::default());
        let origin = node("app-01");
        let of = |name, sample| Said {
            samples: vec![sample],
            ..gauge(name, 0.0)
        };
        let value = |value, timestamp_ms| Sample {
            value,
            timestamp_ms,
        };
        let said = [
            of("a", value(1.0, NOW)),
            of("b", value(1.0, NOW)),
            of("ended", Sample::stale(NOW)),
        ];
        take_in(&latest, &origin, version, &said, at(0));
        // Both clocks were an hour fast, and somebody noticed.
        let back = Now {
            wall: Wall(NOW - HOUR_MS),
            elapsed: at(15_000).elapsed,
        };
        let said = [
            of("a", value(2.0, NOW - HOUR_MS)),
            of("ended", value(2.0, NOW - HOUR_MS)),
        ];
        let applied = take_in(&latest, &origin, version, &said, back);
        assert_eq!(applied.written, 2);
        for name in ["a", "ended"] {
            let kept = latest.value(&origin, &[("__name__", name)]);
            assert_eq!(kept.map(|sample| sample.value), Some(2.0), "{name}");
        }
        let mut text = Vec::new();
        latest.text(&origin, back, &mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("a{"), "{text}");
        assert!(!text.contains("b{"), "from a future that was none: {text}");
    }
}
