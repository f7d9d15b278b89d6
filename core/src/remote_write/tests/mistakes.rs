//! Each way in which a request can be wrong, and what is said about it.

use super::super::*;

fn refused(version: Version, body: &[u8]) -> Malformed {
    let mut decoder = Decoder::default();
    match decoder.decode(version, body, &Limits::default()) {
        Ok(batch) => panic!("{body:x?} was read as {} series", batch.series().len()),
        Err(malformed) => malformed,
    }
}

#[test]
fn each_mistake_has_its_name_and_place() {
    use Malformed as M;
    let long = [&[0x0a], [0xff; 10].as_slice(), &[0x01]].concat();
    let past_64_bits = [&[0x0a], [0xff; 9].as_slice(), &[0x02]].concat();
    let message = "request";
    #[rustfmt::skip]
    let table: &[(&[u8], M)] = &[
        (&[0x0a], M::VarintCutOff { message, offset: 1 }),
        (&[0x0a, 0x80], M::VarintCutOff { message, offset: 1 }),
        (&[0x8a], M::VarintCutOff { message, offset: 0 }),
        (&long, M::VarintTooLong { message, offset: 1 }),
        (&past_64_bits, M::VarintTooLong { message, offset: 1 }),
        (&[0x0a, 5, 0x0a, 0], M::PastEnd { message, offset: 2, len: 5, left: 2 }),
        // A length that would wrap around.
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], M::PastEnd { message, offset: 11, len: u64::MAX, left: 0 }),
        (&[0x00, 0x00], M::Tag { message, offset: 0, tag: 0 }),
        (&[0x02, 0x00], M::Tag { message, offset: 0, tag: 2 }),
        // A tag of 33 bits.
        (&[0x82, 0x80, 0x80, 0x80, 0x10, 0x00], M::Tag { message, offset: 0, tag: 1 << 32 | 2 }),
        (&[0x4b, 0x4c], M::Group { message, offset: 0, field: 9 }),
        (&[0x4c], M::Group { message, offset: 0, field: 9 }),
        (&[0x4e], M::WireType { message, offset: 0, field: 9, wire_type: 6 }),
        (&[0x4f], M::WireType { message, offset: 0, field: 9, wire_type: 7 }),
        // `timeseries` as a number.
        (&[0x08, 0x01], M::WireType { message, offset: 0, field: 1, wire_type: 0 }),
        // A known field as a group.
        (&[0x0b, 0x0c], M::WireType { message, offset: 0, field: 1, wire_type: 3 }),
        // Unknown fields that are cut off.
        (&[0x49, 1, 2, 3], M::PastEnd { message, offset: 1, len: 8, left: 3 }),
        (&[0x4d, 1, 2, 3], M::PastEnd { message, offset: 1, len: 4, left: 3 }),
        // Inside messages: places are those of the request.
        (&[0x0a, 2, 0x0a, 5], M::PastEnd { message: "timeseries", offset: 4, len: 5, left: 0 }),
        (&[0x0a, 4, 0x0a, 0, 0x0a, 1], M::PastEnd { message: "timeseries", offset: 6, len: 1, left: 0 }),
        (&[0x0a, 2, 0x08, 5], M::WireType { message: "timeseries", offset: 2, field: 1, wire_type: 0 }),
        (&[0x0a, 4, 0x12, 2, 0x09, 1], M::PastEnd { message: "sample", offset: 5, len: 8, left: 1 }),
        (&[0x0a, 4, 0x12, 2, 0x10, 0x80], M::VarintCutOff { message: "sample", offset: 5 }),
        (&[0x0a, 4, 0x12, 2, 0x08, 1], M::WireType { message: "sample", offset: 4, field: 1, wire_type: 0 }),
        // The series ends, the request does not: its sample may not read on.
        (&[0x0a, 3, 0x12, 9, 0x09, 0x49, 0, 0, 0, 0, 0, 0, 0, 0], M::PastEnd { message: "timeseries", offset: 4, len: 9, left: 1 }),
        (&[0x1a, 3, 0x22, 1, 0xff], M::Utf8 { message: "metadata", offset: 4 }),
    ];
    for (body, expected) in table {
        let found = refused(Version::V1, body);
        assert_eq!(found, *expected, "{body:x?}");
        assert!(!found.to_string().is_empty());
    }

    #[rustfmt::skip]
    let table: &[(&[u8], M)] = &[
        (&[0x22, 1, b'a'], M::FirstSymbol { offset: 2 }),
        (&[0x2a, 0, 0x22, 1, b'a'], M::FirstSymbol { offset: 4 }),
        (&[0x20, 1], M::WireType { message, offset: 0, field: 4, wire_type: 0 }),
        (&[0x2a, 4, 0x0a, 2, 1, 0x80], M::VarintCutOff { message: "timeseries", offset: 4 }),
        (&[0x2a, 2, 0x08, 0x80], M::VarintCutOff { message: "timeseries", offset: 3 }),
        (&[0x2a, 2, 0x28, 0], M::WireType { message: "timeseries", offset: 2, field: 5, wire_type: 0 }),
    ];
    for (body, expected) in table {
        assert_eq!(refused(Version::V2, body), *expected, "{body:x?}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let text = refused(Version::V1, &[0x0a, 4, 0x12, 2, 0x09, 1]).to_string();
    assert_eq!(
        text,
        "sample, byte 5: the field should have 8 bytes, but only 1 are left"
    );
}

fn limits(series_max: usize, samples_max: usize, labels_max: usize, symbols_max: usize) -> Limits {
    Limits {
        series_max,
        samples_max,
        labels_max,
        symbols_max,
    }
}

#[test]
fn limits_are_met_exactly_and_not_passed() {
    let two_series = [0x0a, 0, 0x0a, 0];
    let two_samples = [0x0a, 4, 0x12, 0, 0x12, 0];
    let two_labels = [0x0a, 4, 0x0a, 0, 0x0a, 0];
    let two_labels_apart = [0x0a, 6, 0x0a, 0, 0x12, 0, 0x0a, 0];
    let two_metadata = [0x1a, 0, 0x1a, 0];
    let two_symbols = [0x22, 0, 0x22, 0];
    let two_series_v2 = [0x2a, 0, 0x2a, 0];
    let packed = [0x2a, 6, 0x0a, 4, 0, 0, 0, 0];
    // Four numbers in eight bytes.
    let padded = [0x2a, 10, 0x0a, 8, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0];
    let unpacked = [0x2a, 8, 0x08, 0, 0x08, 0, 0x08, 0, 0x08, 0];
    let (v1, v2) = (Version::V1, Version::V2);
    let series = "series";
    let labels = "labels in one series";
    type Case<'a> = (Version, &'a [u8], fn(usize) -> Limits, &'static str);
    let table: &[Case<'_>] = &[
        (v1, &two_series, |max| limits(max, 9, 9, 9), series),
        (v2, &two_series_v2, |max| limits(max, 9, 9, 9), series),
        (v1, &two_samples, |max| limits(9, max, 9, 9), "samples"),
        (v1, &two_labels, |max| limits(9, 9, max, 9), labels),
        (v1, &two_labels_apart, |max| limits(9, 9, max, 9), labels),
        (v2, &packed, |max| limits(9, 9, max, 9), labels),
        (v2, &padded, |max| limits(9, 9, max, 9), labels),
        (v2, &unpacked, |max| limits(9, 9, max, 9), labels),
        (v2, &two_symbols, |max| limits(9, 9, 9, max), "symbols"),
        (
            v1,
            &two_metadata,
            |max| limits(max, 9, 9, 9),
            "metrics with metadata",
        ),
    ];
    for (version, body, limits, what) in table {
        let mut decoder = Decoder::default();
        assert!(decoder.decode(*version, body, &limits(2)).is_ok(), "{what}");
        let refused = decoder.decode(*version, body, &limits(1)).err();
        assert_eq!(refused, Some(Malformed::TooMany { what, max: 1 }));
    }
}

/// Series of two bytes and samples of two: a body of a megabyte names half a million, room is made for ten.
#[test]
fn room_is_made_only_up_to_the_limit() {
    let tight = limits(10, 10, 10, 10);
    for (version, unit) in [
        (Version::V1, [0x0a, 0]),
        (Version::V1, [0x1a, 0]),
        (Version::V2, [0x2a, 0]),
        (Version::V2, [0x22, 0]),
    ] {
        let mut decoder = Decoder::default();
        assert!(
            decoder
                .decode(version, &unit.repeat(500_000), &tight)
                .is_err()
        );
        assert!(decoder.room() < 4096, "{} bytes", decoder.room());
    }
    let samples = [0x12, 0].repeat(500_000);
    let body = [&[0x0a, 0xc0, 0x84, 0x3d], samples.as_slice()].concat();
    let mut decoder = Decoder::default();
    let refused = decoder.decode(Version::V1, &body, &tight).err();
    let what = "samples";
    assert_eq!(refused, Some(Malformed::TooMany { what, max: 10 }));
    assert!(decoder.room() < 4096, "{} bytes", decoder.room());
}

/// Bodies of 2.0 with the symbols "", "a", "b" and \xff, and one series.
fn with_series(series: &[u8]) -> Vec<u8> {
    let symbols = [0x22, 0, 0x22, 1, b'a', 0x22, 1, b'b', 0x22, 1, 0xff];
    let len = u8::try_from(series.len()).unwrap();
    [&symbols, [0x2a, len].as_slice(), series].concat()
}

#[test]
fn a_bad_reference_costs_its_series_only() {
    #[rustfmt::skip]
    let table: &[(&[u8], Result<(), BadLabel>)] = &[
        (&[0x0a, 2, 1, 2], Ok(())),
        (&[0x0a, 2, 1, 4], Err(BadLabel::Reference { label: 1, reference: 4, symbols: 4 })),
        (&[0x0a, 6, 1, 2, 0xff, 0xff, 0xff, 0x7f], Err(BadLabel::Reference { label: 2, reference: 0x0fff_ffff, symbols: 4 })),
        (&[0x0a, 3, 1, 2, 1], Err(BadLabel::NoValue { label: 2 })),
        (&[0x0a, 2, 3, 2], Err(BadLabel::Symbol { label: 1, reference: 3 })),
        (&[0x0a, 12, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            Err(BadLabel::Malformed { label: 1, malformed: Malformed::VarintTooLong { message: "labels_refs", offset: 1 } })),
    ];
    for (series, expected) in table {
        let body = with_series(series);
        let mut decoder = Decoder::default();
        let batch = decoder
            .decode(Version::V2, &body, &Limits::default())
            .unwrap();
        let series = batch.series().next().unwrap();
        let found = series.labels().find_map(Result::err);
        assert_eq!(found, expected.err());
        // After a mistake there is nothing more.
        let mut labels = series.labels();
        while labels.next().is_some_and(|label| label.is_ok()) {}
        assert_eq!(labels.next(), None);
    }
}

#[test]
fn bad_metadata_of_a_series_is_told_when_asked_for() {
    #[rustfmt::skip]
    let table: &[(&[u8], BadLabel)] = &[
        (&[0x2a, 2, 0x18, 9], BadLabel::MetadataReference { reference: 9, symbols: 4 }),
        (&[0x2a, 2, 0x20, 3], BadLabel::MetadataReference { reference: 3, symbols: 4 }),
        (&[0x2a, 1, 0x18], BadLabel::Metadata { malformed: Malformed::VarintCutOff { message: "metadata", offset: 1 } }),
    ];
    for (series, expected) in table {
        let body = with_series(series);
        let mut decoder = Decoder::default();
        let batch = decoder
            .decode(Version::V2, &body, &Limits::default())
            .unwrap();
        let series = batch.series().next().unwrap();
        assert_eq!(series.metadata(), Some(Err(*expected)));
    }
}

#[test]
fn a_bad_label_of_1_0_costs_its_series_only() {
    let truncated = [0x0a, 1, 0x0a];
    let not_utf8 = [0x0a, 3, 0x12, 1, 0xff];
    for raw in [truncated.as_slice(), &not_utf8] {
        let len = u8::try_from(raw.len()).unwrap();
        let body = [[0x0a, len].as_slice(), raw, &[0x0a, 0]].concat();
        let mut decoder = Decoder::default();
        let batch = decoder
            .decode(Version::V1, &body, &Limits::default())
            .unwrap();
        let labels: Vec<_> = batch.series().map(|s| s.labels().next()).collect();
        assert!(matches!(
            labels[..],
            [Some(Err(BadLabel::Malformed { label: 1, .. })), None]
        ));
    }
}

/// Equal bytes mean equal tables, wherever in the request the symbols stand.
#[test]
fn symbol_bytes_stand_for_the_table() {
    let together = [0x22, 0, 0x22, 1, b'a', 0x2a, 0];
    let around = [0x22, 0, 0x2a, 0, 0x22, 1, b'a'];
    let other = [0x22, 0, 0x2a, 0, 0x22, 1, b'b'];
    let shifted = [0x22, 0, 0x22, 0, 0x22, 1, b'a', 0x2a, 0];
    let bytes = |body: &[u8]| {
        let mut decoder = Decoder::default();
        let batch = decoder
            .decode(Version::V2, body, &Limits::default())
            .unwrap();
        batch.symbol_bytes().to_vec()
    };
    assert_eq!(bytes(&together), [0x22, 0, 0x22, 1, b'a']);
    assert_eq!(bytes(&together), bytes(&around));
    assert_ne!(bytes(&together), bytes(&other));
    assert_ne!(bytes(&together), bytes(&shifted));
    assert!(bytes(&[]).is_empty());
}

/// The same labels, however they are spread over the series, have the same key.
#[test]
fn keys_do_not_depend_on_what_stands_between_labels() {
    let key = |version, body: &[u8]| {
        let mut decoder = Decoder::default();
        let batch = decoder.decode(version, body, &Limits::default()).unwrap();
        batch.series().next().unwrap().key().to_vec()
    };
    let together = [0x0a, 8, 0x0a, 0, 0x0a, 2, 0x12, 0, 0x12, 0];
    let apart = [0x0a, 8, 0x0a, 0, 0x12, 0, 0x0a, 2, 0x12, 0];
    assert_eq!(key(Version::V1, &together), key(Version::V1, &apart));
    assert_eq!(key(Version::V1, &apart), [0x0a, 0, 0x0a, 2, 0x12, 0]);
    let packed = [0x2a, 5, 0x0a, 3, 1, 2, 3];
    let unpacked = [0x2a, 9, 0x08, 1, 0x12, 0, 0x0a, 1, 2, 0x08, 3];
    assert_eq!(key(Version::V2, &packed), [1, 2, 3]);
    assert_eq!(key(Version::V2, &unpacked), [1, 2, 3]);
}
