//! Bombs and floods: the right answer, flat memory, nobody else affected.

use vigie_core::remote_write::{MetricType, Sample, Version};

use super::fixture::{
    NOW, Said, at, bytes_field, gauge, labelled, node, sender, take_in, take_in_body, varint,
};
use crate::latest::{Latest, Limits, Refusal};

#[test]
fn samples_outside_the_window_are_refused_one_by_one() {
    let latest = Latest::new(Limits::default());
    let day_ms = 86_400_000;
    let said = [Said {
        samples: [3 * day_ms, 1000, 0, -9 * 60_000, -11 * 60_000]
            .map(|ago| Sample {
                value: ago as f64,
                timestamp_ms: NOW - ago,
            })
            .to_vec(),
        ..gauge("a", 0.0)
    }];
    for version in [Version::V1, Version::V2] {
        let applied = take_in(&latest, &node("app-01"), version, &said, at(0));
        assert_eq!(applied.written, 3);
        assert_eq!(applied.refused_for(Refusal::TooOld), 1);
        assert_eq!(applied.refused_for(Refusal::TooNew), 1);
        let kept = latest.value(&node("app-01"), &[("__name__", "a")]).unwrap();
        assert_eq!(kept.timestamp_ms, NOW + 9 * 60_000);
    }
    let old = [Said {
        samples: vec![Sample {
            value: 1.0,
            timestamp_ms: NOW - 3 * day_ms,
        }],
        ..gauge("b", 0.0)
    }];
    take_in(&latest, &node("app-01"), Version::V1, &old, at(0));
    assert_eq!(latest.totals().node_series, 1, "no slot for nothing");
}

#[test]
fn labels_that_are_no_set_of_labels_cost_their_series_alone() {
    let long = "x".repeat(1025);
    let bad: [&[(&str, &str)]; 8] = [
        &[],
        &[("job", "a")],
        &[("__name__", "a"), ("", "b")],
        &[("__name__", "a"), ("b", "")],
        &[("__name__", "")],
        &[("__name__", "a"), ("b", "1"), ("b", "2")],
        &[("__name__", "a"), ("b", &long)],
        &[("__name__", "a"), (&long[..257], "b")],
    ];
    for version in [Version::V1, Version::V2] {
        let latest = Latest::new(Limits::default());
        for bad in bad {
            let said = [gauge("good", 1.0), labelled(bad, 1.0)];
            let applied = take_in(&latest, &sender("prom"), version, &said, at(0));
            assert_eq!(applied.refused_for(Refusal::Labels), 1, "{bad:?}");
            assert_eq!(applied.written, 1);
            assert!(applied.example.is_some());
        }
        let names: Vec<String> = (0..64).map(|n| format!("l{n:02}")).collect();
        let mut many = gauge("many", 1.0);
        many.labels
            .extend(names.iter().map(|name| (name.clone(), "v".to_owned())));
        let applied = take_in(&latest, &sender("prom"), version, &[many.clone()], at(0));
        assert!(applied.example.unwrap().contains("more than 64 labels"));
        many.labels.pop();
        let applied = take_in(&latest, &sender("prom"), version, &[many], at(0));
        assert_eq!(applied.written, 1);
    }
}

#[test]
fn a_flood_of_new_series_fills_its_own_share_and_no_more() {
    let latest = Latest::new(Limits {
        series_per_node: 100,
        ..Limits::default()
    });
    let good: Vec<Said> = (0..50).map(|n| gauge(&format!("good_{n}"), 1.0)).collect();
    take_in(&latest, &node("app-01"), Version::V1, &good, at(0));
    let mut full = 0;
    for round in 0..200 {
        let flood: Vec<Said> = (0..500)
            .map(|n| {
                labelled(
                    &[("__name__", "flood"), ("id", &format!("{round}-{n}"))],
                    1.0,
                )
            })
            .collect();
        let version = if round % 2 == 0 {
            Version::V1
        } else {
            Version::V2
        };
        let applied = take_in(&latest, &node("app-01"), version, &flood, at(0));
        let expected = if round == 0 { 50 } else { 0 };
        assert_eq!(applied.written, expected);
        assert_eq!(applied.refused_for(Refusal::SeriesMax), 500 - expected);
        if round == 20 {
            full = latest.totals().bytes;
        }
        assert!(latest.totals().bytes < 2 << 20);
        let applied = take_in(&latest, &node("app-01"), Version::V1, &good, at(0));
        assert_eq!(applied.written, 50, "what is known goes on");
    }
    assert!(full > 0);
    assert_eq!(latest.totals().node_series, 100);
    let applied = take_in(&latest, &node("app-02"), Version::V1, &good, at(0));
    assert_eq!(applied.written, 50, "others are unaffected");
}

#[test]
fn a_refusal_for_want_of_room_ends_when_there_is_room() {
    for version in [Version::V1, Version::V2] {
        let latest = Latest::new(Limits {
            series_per_node: 1,
            ..Limits::default()
        });
        let origin = node("app-01");
        let both = [gauge("a", 1.0), gauge("b", 1.0)];
        for _ in 0..3 {
            let applied = take_in(&latest, &origin, version, &both, at(0));
            assert_eq!(applied.refused_for(Refusal::SeriesMax), 1);
        }
        latest.set_limits(Limits {
            series_per_node: 2,
            ..Limits::default()
        });
        let applied = take_in(&latest, &origin, version, &both, at(0));
        assert_eq!(applied.written, 2);
    }
}

#[test]
fn new_label_names_are_bounded_and_counted_down_again() {
    let latest = Latest::new(Limits {
        label_names: 10,
        ..Limits::default()
    });
    let origin = node("app-01");
    let named = |n: usize, t: i64| {
        let mut said = labelled(&[("__name__", "a"), (&format!("l{n}"), "v")], 1.0);
        said.samples[0].timestamp_ms += t;
        said
    };
    let said: Vec<Said> = (0..50).map(|n| named(n, 0)).collect();
    for _ in 0..3 {
        let applied = take_in(&latest, &origin, Version::V1, &said, at(0));
        assert_eq!(applied.written, 9);
        assert_eq!(applied.refused_for(Refusal::LabelNamesMax), 41);
    }
    assert_eq!(latest.totals().shape_misses, 50);
    let t = 3_700_000;
    take_in(&latest, &origin, Version::V1, &[named(8, t)], at(t));
    let said: Vec<Said> = (20..40).map(|n| named(n, t)).collect();
    let applied = take_in(&latest, &origin, Version::V1, &said, at(t));
    assert_eq!(applied.written, 8);
}

/// One symbol of 1 MB, pointed at by a million series.
#[test]
fn a_symbol_bomb_is_refused_with_flat_memory() {
    let megabyte = vec![b'x'; 1 << 20];
    let mut unreadable = megabyte.clone();
    *unreadable.last_mut().unwrap() = 0xff;
    for symbol in [megabyte, unreadable] {
        let mut body = Vec::new();
        bytes_field(4, b"", &mut body);
        bytes_field(4, b"__name__", &mut body);
        bytes_field(4, &symbol, &mut body);
        let mut series = Vec::new();
        bytes_field(1, &[1, 2, 2, 2], &mut series);
        let mut sample = vec![2 << 3];
        varint(NOW.cast_unsigned(), &mut sample);
        bytes_field(2, &sample, &mut series);
        for _ in 0..200_000 {
            bytes_field(5, &series, &mut body);
        }
        for origin in [node("app-01"), sender("prom")] {
            let latest = Latest::new(Limits::default());
            let applied = take_in_body(&latest, &origin, Version::V2, &body, at(0));
            assert_eq!(applied.written, 0);
            assert!(applied.refused_for(Refusal::Expanded) > 199_900);
            assert!(latest.totals().bytes < 64 << 10);
            // Where such long labels are legal, only their sum is in the way.
            latest.set_limits(Limits {
                label_value_len: usize::MAX,
                label_name_len: usize::MAX,
                ..Limits::default()
            });
            let applied = take_in_body(&latest, &origin, Version::V2, &body, at(0));
            assert!(applied.written < 32);
            assert!(latest.totals().bytes < 8 << 20);
        }
    }
}

#[test]
fn label_bytes_are_bounded_beside_their_number() {
    let latest = Latest::new(Limits {
        series_per_node: 50,
        ..Limits::default()
    });
    let value = "v".repeat(1024);
    let fat: Vec<Said> = (0..50)
        .map(|n| {
            let mut said = gauge(&format!("fat_{n:02}"), 1.0);
            let labels = (0..20).map(|l| (format!("l{l:02}"), value.clone()));
            said.labels.extend(labels);
            said
        })
        .collect();
    let applied = take_in(&latest, &node("app-01"), Version::V1, &fat, at(0));
    assert_eq!(applied.written, 3, "3 x 20 KiB pass 50 KiB");
    assert_eq!(applied.refused_for(Refusal::SeriesMax), 47);
}

/// What the design promises, measured on what an agent sends: 250 series with some 130 bytes of labels each.
#[test]
fn a_series_takes_no_more_than_300_bytes() {
    let latest = Latest::new(Limits::default());
    let checks = [
        "disques",
        "portail-patient",
        "sauvegarde-base",
        "horloge",
        "tls-portail",
    ];
    let said = |node: &str| -> Vec<Said> {
        let series = (0..250).map(|n: usize| {
            let mut said = labelled(
                &[
                    ("__name__", &format!("vigie_measurement_{}_seconds", n % 40)),
                    ("check", checks[n % checks.len()]),
                    ("kind", "filesystem"),
                    ("mount", &format!("/srv/donnees/volume-{n:04}")),
                    ("node", node),
                    ("service", "dossier-patient"),
                ],
                n as f64,
            );
            if n < 40 {
                said.metadata = Some((MetricType::Gauge, "How long the check took".to_owned()));
            }
            said
        });
        series.collect()
    };
    for node_number in 0..40 {
        let name = format!("app-{node_number:02}");
        for _ in 0..3 {
            take_in(&latest, &node(&name), Version::V1, &said(&name), at(0));
        }
    }
    let totals = latest.totals();
    assert_eq!(totals.node_series, 10_000);
    let labels_len: usize = said("app-01")
        .iter()
        .flat_map(|said| &said.labels)
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(
        (120..=140).contains(&(labels_len / 250)),
        "{}",
        labels_len / 250
    );
    let each = totals.bytes / totals.node_series;
    assert!(each <= 300, "{each}");
}
