//! What is written is what was meant, as prost and our own decoder read it.

use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::{super::*, truth};

fn sample() -> impl Strategy<Value = Sample> {
    let bits = prop_oneof![any::<u64>(), Just(STALE_NAN_BITS), Just(0)];
    (bits, any::<i64>()).prop_map(|(bits, timestamp_ms)| Sample {
        value: f64::from_bits(bits),
        timestamp_ms,
    })
}

type Written = Vec<(Vec<(String, String)>, Sample)>;

fn series() -> impl Strategy<Value = Written> {
    let value = prop_oneof!["\\PC{0,10}", "[a-z]{100,200}"];
    vec((vec(("[a-z_]{1,8}", value), 0..6), sample()), 0..6)
}

proptest! {
    #[test]
    fn prost_reads_what_is_written(
        series in series(),
        texts in vec(("[a-z]{0,8}", "\\PC{0,20}", "[a-z]{0,6}", 0..8u64), 0..4),
    ) {
        let mut body = Vec::new();
        for (labels, sample) in &series {
            let mut raw = Vec::new();
            let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let filled: Vec<_> = labels.clone().filter(|(_, value)| !value.is_empty()).collect();
            v1::write_labels(labels, &mut raw);
            let back: Vec<_> = v1::labels(&raw).map(Result::unwrap).collect();
            prop_assert_eq!(back, filled);
            v1::write_series(&raw, *sample, &mut body);
        }
        for (family, help, unit, metric_type) in &texts {
            let metric_type = MetricType::from_number(*metric_type);
            v1::write_metadata(&Metadata { metric_type, family, help, unit }, &mut body);
        }

        let truth = truth::WriteRequest::decode(body.as_slice()).unwrap();
        prop_assert_eq!(truth.timeseries.len(), series.len());
        for (theirs, (labels, sample)) in truth.timeseries.iter().zip(&series) {
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            prop_assert!(theirs.labels.iter().map(|l| (&l.name, &l.value)).eq(labels.map(|(n, v)| (n, v))));
            prop_assert_eq!(theirs.samples.len(), 1);
            prop_assert_eq!(theirs.samples[0].value.to_bits(), sample.value.to_bits());
            prop_assert_eq!(theirs.samples[0].timestamp, sample.timestamp_ms);
        }
        prop_assert_eq!(truth.metadata.len(), texts.len());
        for (theirs, (family, help, unit, metric_type)) in truth.metadata.iter().zip(&texts) {
            prop_assert_eq!((&theirs.family, &theirs.help, &theirs.unit), (family, help, unit));
            prop_assert_eq!(theirs.metric_type as u64, *metric_type);
        }
    }
}

#[test]
fn what_was_written_comes_back_with_its_labels_as_key() {
    let mut labels = Vec::new();
    v1::write_labels(
        [("__name__", "up"), ("empty", ""), ("job", "node")],
        &mut labels,
    );
    let mut body = Vec::new();
    v1::write_series(&labels, Sample::stale(1_795_000_000_000), &mut body);

    let mut decoder = Decoder::default();
    let batch = decoder
        .decode(Version::V1, &body, &Limits::default())
        .unwrap();
    let series = batch.series().next().unwrap();
    assert_eq!(series.key(), labels);
    assert!(series.samples()[0].is_stale());
    assert_eq!(series.samples()[0].timestamp_ms, 1_795_000_000_000);
}
