//! The receiver cases of the public compliance suite for remote write (`prometheus/compliance`, `remotewrite/receiver`),
//! told again with a look at what was kept. The suite accepts any 400 for most of its cases and never reads back; here
//! what was answered as written has to be there, and what was refused has to be missing. Names follow the suite's.
//!
//! Two of its cases are answered with a 400 that says so, which the suite takes as well: native histograms and exemplars
//! are not kept, and an answer that everything was written would be a lie.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use vigie_core::remote_write::STALE_NAN_BITS;

use super::{
    fixture::{
        Answer, Bench, NOW, Series, bytes, message, number, origin, packed, request, sender,
    },
    *,
};

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

/// The values that the suite sends of every metric.
const VALUES: [f64; 5] = [
    1.0,
    f64::from_bits(STALE_NAN_BITS),
    f64::from_bits(0x7ff8_0000_0000_0001),
    f64::INFINITY,
    f64::NEG_INFINITY,
];

const UP: [(&str, &str); 3] = [
    ("__name__", "up"),
    ("instance", "localhost:9090"),
    ("job", "testjob"),
];

/// A collector as the suite's sender sees it.
struct Suite {
    bench: Bench,
    peer: Peer,
}

impl Suite {
    async fn new() -> Self {
        Self {
            bench: Bench::new().await,
            peer: sender("prom"),
        }
    }

    /// A series with one sample of now.
    fn series<'t>(&self, labels: &[(&'t str, &'t str)], value: f64) -> Series<'t> {
        Series::new(labels, self.bench.sample(value))
    }

    async fn send(&self, version: Version, series: &[Series<'_>]) -> Answer {
        let body = message(version, series);
        self.bench.write(&self.peer, version, &body).await
    }

    /// Sends `good` and `bad` in one request: the good ones are written and can be read back, the bad ones cannot.
    async fn judge(&self, version: Version, good: &[Series<'_>], bad: &[Series<'_>]) -> Answer {
        self.bench.clock.advance(Duration::from_millis(10));
        let now = self.bench.ingest.clock.wall().0;
        let mut all: Vec<Series<'_>> = [good, bad].concat();
        for sample in all.iter_mut().flat_map(|series| &mut series.samples) {
            sample.timestamp_ms += 10;
        }
        let answer = self.send(version, &all).await;
        let written: usize = good.iter().map(|series| series.samples.len()).sum();
        let status = if bad.is_empty() {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::BAD_REQUEST
        };
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.text.is_empty(), bad.is_empty());
        let header = (version == Version::V2).then_some([written as u64, 0, 0]);
        assert_eq!(answer.written(), header);
        for series in &all[..good.len()] {
            let kept = self.bench.value(&self.peer, &series.labels);
            let Some(sample) = series
                .samples
                .iter()
                .max_by_key(|sample| sample.timestamp_ms)
            else {
                continue;
            };
            if sample.is_stale() {
                assert_eq!(kept, None, "an ended series has no value");
                continue;
            }
            let kept = kept.unwrap();
            assert_eq!(kept.value.to_bits(), sample.value.to_bits());
            assert_eq!(kept.timestamp_ms, sample.timestamp_ms);
        }
        for series in &all[good.len()..] {
            let kept = self.bench.value(&self.peer, &series.labels);
            assert!(
                kept.is_none_or(|kept| kept.timestamp_ms < now),
                "{series:?}"
            );
        }
        answer
    }
}

// metric_test.go

#[tokio::test]
async fn single_metric() {
    let suite = Suite::new().await;
    let accepted: [&[(&str, &str)]; 5] = [
        &[("__name__", "up")],
        &UP,
        &[
            ("__name__", "up"),
            ("instance", "localhost:9090"),
            ("job", "test\njob\n"),
        ],
        &[
            ("__name__", "resource.cpu.usage"),
            ("instance.name", "localhost:9090"),
            ("job.name", "testjob"),
        ],
        &[
            ("__name__", "resource cpu usage"),
            ("instance name", "localhost:9090"),
            ("job name", "testjob"),
        ],
    ];
    let refused: [&[(&str, &str)]; 2] =
        [&[("instance", "localhost:9090"), ("job", "testjob")], &[]];
    for version in VERSIONS {
        for value in VALUES {
            for labels in accepted {
                suite
                    .judge(version, &[suite.series(labels, value)], &[])
                    .await;
            }
            for labels in refused {
                let answer = suite
                    .judge(version, &[], &[suite.series(labels, value)])
                    .await;
                assert!(answer.text.contains("1 labels"), "{}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn multiple_metrics() {
    let suite = Suite::new().await;
    let instances = [
        "localhost:9090",
        "localhost:9091",
        "localhost:9092",
        "localhost:9093",
    ];
    for version in VERSIONS {
        for value in VALUES {
            let named = instances.map(|instance| {
                let labels = [
                    ("__name__", "up"),
                    ("instance", instance),
                    ("job", "testjob"),
                ];
                suite.series(&labels, value)
            });
            let nameless = instances
                .map(|instance| suite.series(&[("instance", instance), ("job", "testjob")], value));
            suite.judge(version, &named, &[]).await;
            suite.judge(version, &[], &nameless).await;
            let answer = suite.judge(version, &named[1..], &nameless[..1]).await;
            assert!(
                answer.text.starts_with("3 written, 1 refused: 1 labels"),
                "{}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn counter_with_created_timestamp() {
    let suite = Suite::new().await;
    let created_ms = suite.bench.ingest.clock.wall().0 - 3_600_000;
    let series = Series {
        created_ms: Some(created_ms),
        ..suite.series(
            &[("__name__", "http_requests_total"), ("job", "api")],
            100.0,
        )
    };
    suite.judge(Version::V2, &[series], &[]).await;
}

// request_test.go

#[tokio::test]
async fn bad_content_types() {
    refuses_head(header::CONTENT_TYPE, &["application/json", "image/png"]).await;
}

#[tokio::test]
async fn bad_content_encodings() {
    refuses_head(header::CONTENT_ENCODING, &["gzip", "deflate"]).await;
}

async fn refuses_head(name: HeaderName, values: &[&'static str]) {
    let suite = Suite::new().await;
    for version in VERSIONS {
        for value in values {
            let body = packed(&message(version, &[suite.series(&UP, 1.0)]));
            let mut request = request(version, body);
            request
                .headers_mut()
                .insert(&name, HeaderValue::from_static(value));
            let answer = suite.bench.call(&suite.peer, request).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert!(!answer.text.is_empty());
            assert_eq!(suite.bench.value(&suite.peer, &UP), None);
        }
    }
}

#[tokio::test]
async fn corrupt_request_body() {
    let suite = Suite::new().await;
    for version in VERSIONS {
        for corrupt in [b'0', 0xff] {
            let mut body = packed(&message(version, &[suite.series(&UP, 1.0)]));
            body[0] = corrupt;
            let answer = suite.bench.call(&suite.peer, request(version, body)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(!answer.text.is_empty());
            assert!(answer.written().is_none_or(|written| written == [0, 0, 0]));
            assert_eq!(suite.bench.value(&suite.peer, &UP), None);
        }
    }
}

// rw1_compat_test.go

#[tokio::test]
async fn rw1_basic_compatibility() {
    let suite = Suite::new().await;
    let requests = [("__name__", "http_requests_total")];
    let series = [suite.series(&UP, 1.0), suite.series(&requests, 100.0)];
    let mut request = request(Version::V1, packed(&message(Version::V1, &series)));
    request
        .headers_mut()
        .remove("x-prometheus-remote-write-version");
    let answer = suite.bench.call(&suite.peer, request).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    // The suite wants no headers in an answer to 1.0.
    assert_eq!(answer.written(), None);
    assert_eq!(
        suite.bench.value(&suite.peer, &UP),
        Some(suite.bench.sample(1.0))
    );
    assert_eq!(
        suite.bench.value(&suite.peer, &requests),
        Some(suite.bench.sample(100.0))
    );
}

// metadata_test.go

#[tokio::test]
async fn metadata() {
    let suite = Suite::new().await;
    let cases = [
        (
            "http_requests_total",
            1,
            "Total number of HTTP requests",
            "requests",
        ),
        (
            "cpu_usage_percent",
            2,
            "Current CPU usage percentage",
            "percent",
        ),
        ("simple_counter", 1, "", ""),
        (
            "test_metric",
            2,
            "Test metric with\nnewlines and \"quotes\"",
            "bytes/sec",
        ),
        ("unknown_metric", 0, "Unknown metric type", ""),
        ("build_info", 6, "Build information", ""),
        ("node_state", 7, "Node state information", ""),
        (
            "request_latency_summary",
            5,
            "Request latency summary",
            "seconds",
        ),
        (
            "temperature_histogram",
            4,
            "Temperature distribution gauge histogram",
            "celsius",
        ),
    ];
    let all = cases.map(|(name, kind, help, unit)| Series {
        metadata: Some((kind, help, unit)),
        ..suite.series(&[("__name__", name), ("job", "test")], 1.0)
    });
    for series in &all {
        suite
            .judge(Version::V2, std::slice::from_ref(series), &[])
            .await;
    }
    suite.judge(Version::V2, &all, &[]).await;
    let mut page = Vec::new();
    let now = suite.bench.ingest.clock.now();
    let origin = origin(&suite.peer);
    suite.bench.ingest.latest.text(&origin, now, &mut page);
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("# TYPE http_requests_total counter"),
        "{page}"
    );
    assert!(
        page.contains(r#"# HELP test_metric Test metric with\nnewlines and "quotes""#),
        "{page}"
    );
}

#[tokio::test]
async fn metadata_validation() {
    let suite = Suite::new().await;
    for (labels, is_good) in [
        ([("job", "test")], false),
        ([("__name__", "")], false),
        ([("__name__", "valid_metric_name")], true),
    ] {
        let series = [Series {
            metadata: Some((1, "Test help", "unit")),
            ..suite.series(&labels, 1.0)
        }];
        let (good, bad): (&[_], &[_]) = if is_good {
            (&series, &[])
        } else {
            (&[], &series)
        };
        suite.judge(Version::V2, good, bad).await;
    }
}

// combined_test.go

#[tokio::test]
async fn metadata_without_data() {
    let suite = Suite::new().await;
    let series = Series {
        labels: vec![("__name__", "orphan_metric")],
        metadata: Some((1, "Orphaned metric metadata", "count")),
        ..Series::default()
    };
    let answer = suite.send(Version::V2, &[series]).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    assert_eq!(answer.written(), Some([0, 0, 0]));
}

#[tokio::test]
async fn mixed_timestamp_data() {
    let suite = Suite::new().await;
    let mut old = suite.series(&[("__name__", "old_metric")], 1.0);
    old.samples[0].timestamp_ms -= 3_600_000;
    let new = suite.series(&[("__name__", "new_metric")], 2.0);
    for version in VERSIONS {
        suite.judge(version, &[old.clone(), new.clone()], &[]).await;
    }
}

#[tokio::test]
async fn samples_of_one_series_at_several_times() {
    let suite = Suite::new().await;
    for version in VERSIONS {
        let labels = [("__name__", "latency_hist")];
        suite.bench.clock.advance(Duration::from_secs(15));
        let at = |value, ago_ms| {
            let mut series = suite.series(&labels, value);
            series.samples[0].timestamp_ms -= ago_ms;
            series
        };
        let newest = at(0.08, 0).samples[0];
        let series = [at(0.05, 3_600_000), at(0.15, 60_000), at(0.08, 0)];
        let answer = suite.send(version, &series).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(suite.bench.value(&suite.peer, &labels), Some(newest));
        // All in one series say the same.
        suite.bench.clock.advance(Duration::from_secs(15));
        let samples = [at(0.5, 3_600_000), at(0.8, 0)].map(|series| series.samples[0]);
        let one = Series {
            labels: labels.to_vec(),
            samples: samples.to_vec(),
            ..Series::default()
        };
        suite.judge(version, &[one], &[]).await;
    }
}

#[tokio::test]
async fn many_samples() {
    let suite = Suite::new().await;
    let texts: Vec<_> = (0..50)
        .map(|number| {
            let help = format!("Counter metric number {number}");
            (
                format!("counter_metric_{number}"),
                format!("series_{number}"),
                help,
            )
        })
        .collect();
    for version in VERSIONS {
        let series: Vec<_> = texts
            .iter()
            .map(|(name, series, help)| Series {
                metadata: Some((1, help, "count")),
                ..suite.series(&[("__name__", name), ("series", series)], 100.0)
            })
            .collect();
        suite.judge(version, &series, &[]).await;
    }
}

#[tokio::test]
async fn special_characters_combined() {
    let suite = Suite::new().await;
    let labels = [
        ("__name__", "test_metric"),
        ("environment", "test🚀"),
        ("instance", "localhost:9090"),
        ("job", "test-job_with.special@chars"),
    ];
    for version in VERSIONS {
        let series = Series {
            metadata: Some((
                2,
                "Test metric: äöü, newlines\nand \"quotes\"",
                "special/units",
            )),
            ..suite.series(&labels, 42.0)
        };
        suite.judge(version, &[series], &[]).await;
    }
}

// exemplar_test.go, and the cases of combined_test.go with exemplars

#[tokio::test]
async fn exemplars_are_said_to_be_missing_and_their_samples_are_written() {
    let suite = Suite::new().await;
    let exemplars: [&[(&str, &str)]; 5] = [
        &[("trace_id", "abc123def456")],
        &[("span_id", "span123"), ("trace_id", "xyz789")],
        &[("user_id", "user123")],
        &[],
        &[("trace_id", "unicode_trace_测试")],
    ];
    let values = [
        0.0,
        -123.456,
        1e10,
        1e-10,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    for version in VERSIONS {
        for (exemplar, value) in exemplars.iter().zip(values) {
            suite.bench.clock.advance(Duration::from_millis(10));
            let before = suite.bench.refused("exemplar");
            let series = Series {
                exemplars: vec![exemplar.to_vec()],
                ..suite.series(&UP, value)
            };
            let answer = suite.send(version, &[series]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(
                answer.text.contains("1 written, 1 refused: 1 exemplar"),
                "{}",
                answer.text
            );
            let header = (version == Version::V2).then_some([1, 0, 0]);
            assert_eq!(answer.written(), header);
            let kept = suite.bench.value(&suite.peer, &UP).unwrap();
            assert_eq!(kept.value.to_bits(), value.to_bits());
            assert_eq!(suite.bench.refused("exemplar"), before + 1);
        }
    }
}

#[tokio::test]
async fn exemplar_validation() {
    let suite = Suite::new().await;
    for version in VERSIONS {
        for labels in [[("job", "test")], [("__name__", "")]] {
            let series = Series {
                exemplars: vec![vec![("trace_id", "test_trace")]],
                ..suite.series(&labels, 1.0)
            };
            let answer = suite.send(version, &[series]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(
                answer.text.starts_with("0 written, 2 refused"),
                "{}",
                answer.text
            );
            assert_eq!(suite.bench.value(&suite.peer, &labels), None);
        }
    }
}

#[tokio::test]
async fn exemplars_without_data() {
    let suite = Suite::new().await;
    for version in VERSIONS {
        let series = Series {
            labels: vec![("__name__", "orphan_metric")],
            exemplars: vec![vec![("trace_id", "orphan_trace")]],
            ..Series::default()
        };
        let answer = suite.send(version, &[series]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.text.starts_with("0 written, 1 refused: 1 exemplar"),
            "{}",
            answer.text
        );
        assert_eq!(
            suite
                .bench
                .value(&suite.peer, &[("__name__", "orphan_metric")]),
            None
        );
    }
}

// histograms_test.go, and the cases of combined_test.go with histograms

#[tokio::test]
async fn native_histograms_are_said_to_be_missing() {
    let suite = Suite::new().await;
    let labels = [
        ("__name__", "request_duration_seconds"),
        ("service", "auth"),
    ];
    for version in VERSIONS {
        for (histograms, exemplars) in [(1, 0), (2, 0), (1, 1)] {
            let series = Series {
                labels: labels.to_vec(),
                histograms,
                exemplars: vec![vec![("trace_id", "slow")]; exemplars],
                metadata: Some((3, "HTTP request duration distribution", "seconds")),
                ..Series::default()
            };
            let before = suite.bench.refused("histogram");
            let answer = suite.send(version, &[series, suite.series(&UP, 1.0)]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let start = format!(
                "1 written, {} refused: {histograms} histogram",
                histograms + exemplars
            );
            assert!(answer.text.starts_with(&start), "{}", answer.text);
            assert!(
                answer.text.contains("native histograms are not kept"),
                "{}",
                answer.text
            );
            let header = (version == Version::V2).then_some([1, 0, 0]);
            assert_eq!(answer.written(), header);
            assert_eq!(suite.bench.refused("histogram"), before + histograms as u64);
            assert_eq!(suite.bench.value(&suite.peer, &labels), None);
        }
    }
}

// What the specification says and the suite leaves out.

#[tokio::test]
async fn labels_that_the_specification_forbids_cost_their_series_alone() {
    let suite = Suite::new().await;
    let bad: [&[(&str, &str)]; 3] = [
        &[("__name__", "twice"), ("job", "a"), ("job", "b")],
        &[("", "nameless label"), ("__name__", "empty_label_name")],
        &[("__name__", "reserved"), ("__name__", "reserved")],
    ];
    for version in VERSIONS {
        let good = [suite.series(&UP, 1.0)];
        let bad = bad.map(|labels| suite.series(labels, 1.0));
        suite.judge(version, &good, &bad).await;
    }
}

#[tokio::test]
async fn a_reference_past_the_symbols_costs_its_series_alone() {
    let suite = Suite::new().await;
    let mut body = message(Version::V2, &[suite.series(&UP, 1.0)]);
    // A series whose one label is the symbols 1 and 200, with a sample of now.
    let mut sample = Vec::new();
    number(2, NOW.0.cast_unsigned(), &mut sample);
    let mut series = Vec::new();
    bytes(1, &[1, 200, 1], &mut series);
    bytes(2, &sample, &mut series);
    bytes(5, &series, &mut body);
    let answer = suite.bench.write(&suite.peer, Version::V2, &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.text.starts_with("1 written, 1 refused: 1 labels"),
        "{}",
        answer.text
    );
    assert_eq!(answer.written(), Some([1, 0, 0]));
    assert_eq!(
        suite.bench.value(&suite.peer, &UP),
        Some(suite.bench.sample(1.0))
    );
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let suite = Suite::new().await;
    for version in VERSIONS {
        for _ in 0..2 {
            let series = [suite.series(&UP, 1.0)];
            let answer = suite.send(version, &series).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
            assert_eq!(
                suite.bench.value(&suite.peer, &UP),
                Some(suite.bench.sample(1.0))
            );
        }
    }
    assert_eq!(suite.bench.ingest.latest.totals().sender_series, 1);
}
