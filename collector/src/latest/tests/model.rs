//! The table held to a naive model: a map from sorted labels to the newest sample.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use vigie_core::remote_write::{Sample, Version};

use super::fixture::{NOW, Said, at, node, take_in_body, v1_request, v2_request};
use crate::latest::{Latest, Limits, Refusal};

/// As many series as there are, so that each sweep is a whole one.
const SERIES: usize = 48;

/// One series of a random request.
#[derive(Debug, Clone)]
struct Drawn {
    series: usize,
    reversed: bool,
    /// Milliseconds before the time of the request, and a value; `None` is an end.
    samples: Vec<(i64, Option<i32>)>,
}

#[derive(Debug, Clone)]
struct Request {
    version: Version,
    /// Whether its table of symbols is that of all series.
    common_symbols: bool,
    after_s: i64,
    series: Vec<Drawn>,
}

fn request() -> impl Strategy<Value = Request> {
    let ago = prop_oneof![
        8 => 0..20_000i64,
        1 => Just(49 * 3_600_000i64),
        1 => Just(-601_000i64),
    ];
    let sample = (ago, prop::option::weighted(0.85, any::<i32>()));
    let drawn = (
        0..SERIES,
        prop::bool::weighted(0.1),
        prop::collection::vec(sample, 0..3),
    )
        .prop_map(|(series, reversed, samples)| Drawn {
            series,
            reversed,
            samples,
        });
    // All series in their order are what a real sender sends; random ones are what breaks guesses.
    let whole = prop::collection::vec(any::<i32>(), SERIES).prop_map(|values| {
        let values = values.into_iter().enumerate();
        let drawn = values.map(|(series, value)| Drawn {
            series,
            reversed: false,
            samples: vec![(0, Some(value))],
        });
        drawn.collect()
    });
    let series = prop_oneof![prop::collection::vec(drawn, 0..40), whole];
    let version = prop_oneof![Just(Version::V1), Just(Version::V2)];
    let after_s = prop_oneof![8 => 1..30i64, 1 => 1_000..4_000i64];
    (version, any::<bool>(), after_s, series).prop_map(
        |(version, common_symbols, after_s, series)| Request {
            version,
            common_symbols,
            after_s,
            series,
        },
    )
}

/// Every sixth set of labels is not valid, each in its own way.
fn labels(series: usize) -> Vec<(String, String)> {
    let mut labels = vec![
        ("__name__".to_owned(), format!("metric_{}", series % 7)),
        ("n".to_owned(), format!("{series:0180}")),
        ("region".to_owned(), "é\n\"".to_owned()),
    ];
    match series {
        5 => {
            labels.remove(0);
        }
        11 => labels[1].1.clear(),
        17 => labels[1].0.clear(),
        23 => labels.push(labels[2].clone()),
        29 => labels[1].1 = "x".repeat(1025),
        35 => labels[0].1 = "vigie_node_up".to_owned(),
        41 => labels.clear(),
        47 => labels[2].0 = "x".repeat(257),
        _ => {}
    }
    labels
}

fn is_valid(series: usize) -> bool {
    series % 6 != 5
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    value: f64,
    timestamp_ms: i64,
    has_ended: bool,
    seen_ms: i64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_keeps_what_a_plain_map_keeps(requests in prop::collection::vec(request(), 1..30)) {
        let latest = Latest::new(Limits::default());
        let origin = node("app-01");
        let mut model: HashMap<BTreeMap<String, String>, Kept> = HashMap::new();
        let common: Vec<String> = (0..SERIES)
            .flat_map(labels)
            .flat_map(|(name, value)| [name, value])
            .collect();
        let mut now_ms = 0;
        for request in requests {
            now_ms += request.after_s * 1000;
            let mut said = Vec::new();
            let (mut written, mut refused) = (0, 0);
            let mut refused_window = 0;
            for drawn in &request.series {
                let mut labels = labels(drawn.series);
                let samples: Vec<Sample> = drawn.samples.iter().map(|(ago, value)| {
                    let timestamp_ms = NOW + now_ms - ago;
                    match value {
                        Some(value) => Sample { value: f64::from(*value), timestamp_ms },
                        None => Sample::stale(timestamp_ms),
                    }
                }).collect();
                let is_outside = |sample: &&Sample| {
                    let ago = NOW + now_ms - sample.timestamp_ms;
                    !(-600_000..=48 * 3_600_000).contains(&ago)
                };
                let outside = samples.iter().filter(is_outside).count();
                if is_valid(drawn.series) {
                    written += samples.len() - outside;
                    refused_window += outside;
                } else if outside < samples.len() {
                    refused += samples.len();
                } else {
                    refused_window += outside;
                }
                let key: BTreeMap<_, _> = labels.iter().cloned().collect();
                if is_valid(drawn.series) && outside < samples.len() {
                    let kept = model.entry(key).or_insert(Kept {
                        value: 0.0,
                        timestamp_ms: i64::MIN,
                        has_ended: false,
                        seen_ms: 0,
                    });
                    kept.seen_ms = now_ms;
                    for sample in samples.iter().filter(|sample| !is_outside(sample)) {
                        let is_newer = sample.timestamp_ms > kept.timestamp_ms;
                        let is_same = sample.timestamp_ms == kept.timestamp_ms;
                        if is_newer || (is_same && !kept.has_ended) {
                            kept.value = sample.value;
                            kept.timestamp_ms = sample.timestamp_ms;
                            kept.has_ended = sample.is_stale();
                        }
                    }
                }
                if drawn.reversed {
                    labels.reverse();
                }
                said.push(Said { labels, samples, ..Said::default() });
            }
            model.retain(|_, kept| (now_ms - kept.seen_ms) / 1000 <= 3600);
            let body = match request.version {
                Version::V1 => v1_request(&said),
                Version::V2 if request.common_symbols => v2_request(&said, &common),
                Version::V2 => v2_request(&said, &[]),
            };
            let applied = take_in_body(&latest, &origin, request.version, &body, at(now_ms));
            prop_assert_eq!(applied.written, written as u64);
            let by_labels =
                applied.refused_for(Refusal::Labels) + applied.refused_for(Refusal::Reserved);
            prop_assert_eq!(by_labels, refused as u64);
            let by_time =
                applied.refused_for(Refusal::TooOld) + applied.refused_for(Refusal::TooNew);
            prop_assert_eq!(by_time, refused_window as u64);
            prop_assert_eq!(latest.totals().node_series, model.len() as u64);
            for series in (0..SERIES).filter(|series| is_valid(*series)) {
                let labels = labels(series);
                let wanted: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                let key: BTreeMap<_, _> = labels.iter().cloned().collect();
                let modelled = model.get(&key).filter(|kept| !kept.has_ended);
                let kept = latest.value(&origin, &wanted);
                prop_assert_eq!(
                    kept.map(|kept| (kept.value, kept.timestamp_ms)),
                    modelled.map(|kept| (kept.value, kept.timestamp_ms)),
                    "series {}", series
                );
            }
        }
    }
}
