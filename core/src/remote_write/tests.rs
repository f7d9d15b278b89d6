#![expect(clippy::unwrap_used, reason = "tests")]

mod mistakes;
mod properties;
mod requests;
mod truth;
mod write;

use super::*;

/// What a `Content-Type` says, and what is taken from it.
#[test]
fn content_type_says_the_version() {
    for (text, version) in [
        ("application/x-protobuf", Some(Version::V1)),
        ("Application/X-Protobuf", Some(Version::V1)),
        (
            "application/x-protobuf;proto=prometheus.WriteRequest",
            Some(Version::V1),
        ),
        (
            "application/x-protobuf; charset=utf-8; Proto = io.prometheus.write.v2.Request",
            Some(Version::V2),
        ),
        (
            "application/x-protobuf;proto=\"io.prometheus.write.v2.Request\"",
            Some(Version::V2),
        ),
        ("application/x-protobuf;proto=", None),
        ("application/x-protobuf;proto=prometheus.Other", None),
        ("application/json", None),
        ("application/x-protobuf2", None),
        ("", None),
        (";", None),
    ] {
        assert_eq!(Version::from_content_type(text), version, "{text}");
    }
    for version in [Version::V1, Version::V2] {
        assert_eq!(
            Version::from_content_type(version.content_type()),
            Some(version)
        );
    }
}

#[test]
fn only_one_nan_is_stale() {
    assert!(Sample::stale(1).is_stale());
    for value in [f64::NAN, f64::INFINITY, 0.0, -f64::NAN] {
        let sample = Sample {
            value,
            timestamp_ms: 1,
        };
        assert!(!sample.is_stale(), "{value}");
    }
}

#[test]
fn metric_types_come_back_from_their_numbers() {
    for number in 0..8 {
        let metric_type = MetricType::from_number(number);
        assert_eq!(u64::from(metric_type.number()), number);
    }
    for unknown in [8, 1 << 31, u64::MAX] {
        assert_eq!(MetricType::from_number(unknown), MetricType::Unknown);
    }
    // Enums have 32 bits: the rest is cut.
    assert_eq!(MetricType::from_number(1 << 32 | 1), MetricType::Counter);
}

/// Reads everything that a request holds, mistakes included: what the tests with arbitrary bytes do.
fn read_all(version: Version, body: &[u8], limits: &Limits) -> Result<(), Malformed> {
    let mut decoder = Decoder::default();
    let batch = decoder.decode(version, body, limits)?;
    let mut samples = 0;
    for series in batch.series() {
        samples += series.samples().len() as u64;
        assert!(series.samples().len() <= limits.samples_max);
        for label in series.labels() {
            if let Err(bad) = label {
                assert!(!bad.to_string().is_empty());
            }
        }
        if let Some(Err(bad)) = series.metadata() {
            assert!(!bad.to_string().is_empty());
        }
    }
    assert_eq!(samples, batch.sample_count());
    assert!(batch.series().len() <= limits.series_max);
    assert!(batch.symbol_bytes().len() <= body.len());
    assert!(batch.metadata().count() <= limits.series_max);
    Ok(())
}
