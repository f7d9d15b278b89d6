//! What holds for any request: it says what prost says it says, and no bytes at all make the decoder panic.

use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::{
    super::{BadLabel, Decoder, Limits, Malformed, MetricType, Version},
    read_all, requests, truth,
};

fn same_samples(ours: &[super::Sample], theirs: impl ExactSizeIterator<Item = (f64, i64)>) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, (value, timestamp)) in ours.iter().zip(theirs) {
        assert_eq!(ours.value.to_bits(), value.to_bits());
        assert_eq!(ours.timestamp_ms, timestamp);
    }
}

fn metric_type(number: i32) -> MetricType {
    MetricType::from_number(u64::from(number.cast_unsigned()))
}

/// What prost reads, we read alike, except for groups, which we do not take.
fn v1_is_as_prost_reads_it(body: &[u8]) {
    let Ok(truth) = truth::WriteRequest::decode(body) else {
        return;
    };
    let mut decoder = Decoder::default();
    let batch = match decoder.decode(Version::V1, body, &Limits::default()) {
        Ok(batch) => batch,
        Err(Malformed::Group { .. }) => return,
        Err(malformed) => panic!("{malformed}"),
    };
    assert_eq!(batch.series().len(), truth.timeseries.len());
    assert!(batch.symbol_bytes().is_empty());
    for (ours, theirs) in batch.series().zip(&truth.timeseries) {
        let labels: Result<Vec<_>, _> = ours.labels().collect();
        match labels {
            Ok(labels) => assert!(
                labels.into_iter().eq(theirs
                    .labels
                    .iter()
                    .map(|label| (label.name.as_str(), label.value.as_str())))
            ),
            Err(BadLabel::Malformed {
                malformed: Malformed::Group { .. },
                ..
            }) => {}
            Err(bad) => panic!("{bad}"),
        }
        same_samples(
            ours.samples(),
            theirs.samples.iter().map(|s| (s.value, s.timestamp)),
        );
        assert_eq!(ours.histograms() as usize, theirs.histograms.len());
        assert_eq!(ours.exemplars() as usize, theirs.exemplars.len());
        assert_eq!(ours.metadata(), None);
    }
    assert_eq!(batch.metadata().count(), truth.metadata.len());
    for (ours, theirs) in batch.metadata().zip(&truth.metadata) {
        assert_eq!(ours.metric_type, metric_type(theirs.metric_type));
        assert_eq!(
            (ours.family, ours.help, ours.unit),
            (&*theirs.family, &*theirs.help, &*theirs.unit)
        );
    }
}

fn v2_is_as_prost_reads_it(body: &[u8]) {
    let Ok(truth) = truth::Request::decode(body) else {
        return;
    };
    let mut decoder = Decoder::default();
    let batch = match decoder.decode(Version::V2, body, &Limits::default()) {
        Ok(batch) => batch,
        Err(Malformed::Group { .. } | Malformed::FirstSymbol { .. }) => return,
        Err(malformed) => panic!("{malformed}"),
    };
    assert_eq!(batch.series().len(), truth.timeseries.len());
    assert_eq!(batch.metadata().count(), 0);
    let symbol = |reference: u32| match reference {
        0 => Some(""),
        _ => truth.symbols.get(reference as usize).map(String::as_str),
    };
    for (ours, theirs) in batch.series().zip(&truth.timeseries) {
        let mut labels = ours.labels();
        for (index, pair) in theirs.labels_refs.chunks(2).enumerate() {
            let label = index + 1;
            let next = labels.next().expect("as many as in truth");
            let missing = pair.iter().find(|reference| symbol(**reference).is_none());
            match (pair, missing) {
                (&[name, value], None) => {
                    assert_eq!(next, Ok((symbol(name).unwrap(), symbol(value).unwrap())));
                }
                (_, Some(&reference)) => {
                    let symbols = truth.symbols.len();
                    let bad = BadLabel::Reference {
                        label,
                        reference,
                        symbols,
                    };
                    assert_eq!(next, Err(bad));
                    break;
                }
                (_, None) => assert_eq!(next, Err(BadLabel::NoValue { label })),
            }
        }
        assert_eq!(labels.next(), None);
        same_samples(
            ours.samples(),
            theirs.samples.iter().map(|s| (s.value, s.timestamp)),
        );
        assert_eq!(ours.histograms() as usize, theirs.histograms.len());
        assert_eq!(ours.exemplars() as usize, theirs.exemplars.len());
        assert_eq!(ours.metadata().is_some(), theirs.metadata.is_some());
        let (Some(ours), Some(theirs)) = (ours.metadata(), &theirs.metadata) else {
            continue;
        };
        match (ours, symbol(theirs.help_ref), symbol(theirs.unit_ref)) {
            (Ok(ours), Some(help), Some(unit)) => {
                assert_eq!(ours.metric_type, metric_type(theirs.metric_type));
                assert_eq!((ours.family, ours.help, ours.unit), ("", help, unit));
            }
            (Err(BadLabel::MetadataReference { .. }), help, unit) => {
                assert!(help.is_none() || unit.is_none());
            }
            (
                Err(BadLabel::Metadata {
                    malformed: Malformed::Group { .. },
                }),
                ..,
            ) => {}
            (ours, ..) => panic!("{ours:?} is not {theirs:?}"),
        }
    }
}

/// Puts arbitrary bytes in the place of some.
fn mutated(mut body: Vec<u8>, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (index, byte) in changes {
        if !body.is_empty() {
            let index = index.index(body.len());
            body[index] = *byte;
        }
    }
    body
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

/// Small enough that arbitrary requests meet them.
const TIGHT: Limits = Limits {
    series_max: 2,
    samples_max: 3,
    labels_max: 2,
    symbols_max: 3,
};

proptest! {
    #[test]
    fn v1_equals_prost(body in requests::v1()) {
        prop_assert!(truth::WriteRequest::decode(body.as_slice()).is_ok());
        v1_is_as_prost_reads_it(&body);
    }

    #[test]
    fn v2_equals_prost(body in requests::v2()) {
        prop_assert!(truth::Request::decode(body.as_slice()).is_ok());
        v2_is_as_prost_reads_it(&body);
    }

    #[test]
    fn damaged_v1_that_prost_reads_is_read_alike(body in requests::v1(), changes in changes()) {
        let body = mutated(body, &changes);
        v1_is_as_prost_reads_it(&body);
        let _ = read_all(Version::V1, &body, &TIGHT);
        let _ = read_all(Version::V1, &body, &Limits::default());
    }

    #[test]
    fn damaged_v2_that_prost_reads_is_read_alike(body in requests::v2(), changes in changes()) {
        let body = mutated(body, &changes);
        v2_is_as_prost_reads_it(&body);
        let _ = read_all(Version::V2, &body, &TIGHT);
        let _ = read_all(Version::V2, &body, &Limits::default());
    }

    #[test]
    fn cut_off_requests_are_read_as_prost_reads_them(one in requests::v1(), two in requests::v2()) {
        for len in 0..one.len() {
            v1_is_as_prost_reads_it(&one[..len]);
            let _ = read_all(Version::V1, &one[..len], &Limits::default());
        }
        for len in 0..two.len() {
            v2_is_as_prost_reads_it(&two[..len]);
            let _ = read_all(Version::V2, &two[..len], &Limits::default());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in vec(any::<u8>(), 0..200)) {
        for version in [Version::V1, Version::V2] {
            let _ = read_all(version, &body, &TIGHT);
            let _ = read_all(version, &body, &Limits::default());
        }
    }

    #[test]
    fn a_used_decoder_reads_like_a_new_one(first in requests::v2(), second in requests::v1()) {
        let limits = Limits::default();
        let mut used = Decoder::default();
        let _ = used.decode(Version::V2, &first, &limits);
        let again = used.decode(Version::V1, &second, &limits).unwrap();
        let mut new = Decoder::default();
        let fresh = new.decode(Version::V1, &second, &limits).unwrap();
        prop_assert_eq!(again.series().len(), fresh.series().len());
        prop_assert_eq!(again.histogram_count(), fresh.histogram_count());
        prop_assert_eq!(again.exemplar_count(), fresh.exemplar_count());
        prop_assert!(again.symbol_bytes().is_empty());
        for (again, fresh) in again.series().zip(fresh.series()) {
            prop_assert_eq!(again.key(), fresh.key());
            prop_assert_eq!(again.samples().len(), fresh.samples().len());
        }
    }
}
