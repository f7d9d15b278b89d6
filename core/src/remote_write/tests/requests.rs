//! Requests of arbitrary content, in any of the encodings that protobuf allows: fields in any order, any number of
//! times, unknown ones between them, numbers longer than they need be, packed or not.

use proptest::{collection::vec, prelude::*};

use super::super::{STALE_NAN_BITS, wire};

/// A number in more bytes than it needs, never in more than 10.
fn varint() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![0..4u64, any::<u32>().prop_map(u64::from), any::<u64>()];
    (value, 0..3usize).prop_map(|(value, more)| padded(value, more))
}

fn padded(value: u64, more: usize) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(value, &mut out);
    for _ in 0..more.min(10 - out.len()) {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
    out
}

/// A field: its tag, then its value as it is.
fn field(tag: u32, value: &[u8], more: usize) -> Vec<u8> {
    [&padded(u64::from(tag), more), value].concat()
}

fn number(number: u32, value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (value, 0..20usize).prop_map(move |(value, more)| {
        field(wire::varint_tag(number), &value, more.saturating_sub(17))
    })
}

fn double(number: u32) -> impl Strategy<Value = Vec<u8>> {
    let bits = prop_oneof![
        any::<u64>(),
        any::<f64>().prop_map(f64::to_bits),
        Just(STALE_NAN_BITS),
        Just(0x7ff8_0000_0000_0001),
        Just(0)
    ];
    bits.prop_map(move |bits| field(wire::fixed64_tag(number), &bits.to_le_bytes(), 0))
}

fn bytes(number: u32, value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (value, 0..20usize).prop_map(move |(value, more)| {
        let more = more.saturating_sub(17);
        let mut content = padded(value.len() as u64, more);
        content.extend_from_slice(&value);
        field(wire::len_tag(number), &content, more)
    })
}

fn text(number: u32) -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![8 => "\\PC{0,12}", 1 => "[a-z]{120,140}"];
    bytes(number, text.prop_map(String::into_bytes))
}

/// A field that no message has.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    (prop_oneof![9..16u32, 16..4000u32, Just((1 << 29) - 1)]).prop_flat_map(|number| {
        prop_oneof![
            varint().prop_map(move |value| field(wire::varint_tag(number), &value, 0)),
            any::<[u8; 8]>().prop_map(move |value| field(wire::fixed64_tag(number), &value, 0)),
            any::<[u8; 4]>().prop_map(move |value| field(number << 3 | 5, &value, 0)),
            bytes(number, vec(any::<u8>(), 0..20)),
        ]
    })
}

fn message(
    field: impl Strategy<Value = Vec<u8>>,
    fields_max: usize,
) -> impl Strategy<Value = Vec<u8>> {
    vec(field, 0..=fields_max).prop_map(|fields| fields.concat())
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    message(prop_oneof![6 => text(1), 6 => text(2), 1 => unknown()], 3)
}

fn timestamp() -> impl Strategy<Value = Vec<u8>> {
    let usual = (0..1u64 << 42).prop_map(|value| padded(value, 0));
    let negative = any::<i64>().prop_map(|value| padded(value.cast_unsigned(), 0));
    prop_oneof![usual, negative, varint()]
}

fn sample(start_timestamp: bool) -> impl Strategy<Value = Vec<u8>> {
    let usual = (double(1), number(2, timestamp())).prop_map(|(value, at)| [value, at].concat());
    let start = if start_timestamp { 3 } else { 12 };
    let any_order = message(
        prop_oneof![
            4 => double(1),
            4 => number(2, timestamp()),
            2 => number(start, timestamp()),
            1 => unknown()
        ],
        4,
    );
    prop_oneof![usual, any_order]
}

fn exemplar() -> impl Strategy<Value = Vec<u8>> {
    message(prop_oneof![double(2), number(3, timestamp())], 3)
}

fn histogram() -> impl Strategy<Value = Vec<u8>> {
    message(
        prop_oneof![number(1, varint()), double(3), number(4, varint())],
        3,
    )
}

fn metric_metadata() -> impl Strategy<Value = Vec<u8>> {
    message(
        prop_oneof![number(1, varint()), text(2), text(4), text(5), unknown()],
        5,
    )
}

/// A `prometheus.WriteRequest`.
pub(super) fn v1() -> impl Strategy<Value = Vec<u8>> {
    let labels_first = (
        message(bytes(1, label()), 6),
        message(bytes(2, sample(false)), 3),
    )
        .prop_map(|(labels, samples)| [labels, samples].concat());
    let any_order = message(
        prop_oneof![
            6 => bytes(1, label()),
            4 => bytes(2, sample(false)),
            1 => bytes(3, exemplar()),
            1 => bytes(4, histogram()),
            1 => unknown()
        ],
        10,
    );
    message(
        prop_oneof![
            4 => bytes(1, labels_first),
            4 => bytes(1, any_order),
            1 => bytes(3, metric_metadata()),
            1 => unknown()
        ],
        8,
    )
}

/// References to symbols that mostly exist.
fn reference() -> impl Strategy<Value = Vec<u8>> {
    let existing =
        (0..5u64, 0..20usize).prop_map(|(value, more)| padded(value, more.saturating_sub(17)));
    prop_oneof![20 => existing, 1 => varint()]
}

/// An `io.prometheus.write.v2.Request`.
pub(super) fn v2() -> impl Strategy<Value = Vec<u8>> {
    let metadata = message(
        prop_oneof![
            4 => number(1, varint()),
            4 => number(3, reference()),
            4 => number(4, reference()),
            1 => unknown()
        ],
        3,
    );
    let packed = || vec(reference(), 0..8).prop_map(|values| values.concat());
    let usual = (
        bytes(1, packed()),
        bytes(2, sample(true)),
        bytes(5, metadata),
    )
        .prop_map(|(labels, sample, metadata)| [labels, sample, metadata].concat());
    let metadata = message(prop_oneof![number(1, varint()), number(3, reference())], 2);
    let any_order = message(
        prop_oneof![
            2 => bytes(1, packed()),
            4 => number(1, reference()),
            4 => bytes(2, sample(true)),
            1 => bytes(3, histogram()),
            1 => bytes(4, exemplar()),
            2 => bytes(5, metadata),
            1 => unknown()
        ],
        10,
    );
    let fields = message(
        prop_oneof![
            4 => text(4),
            3 => bytes(5, usual),
            3 => bytes(5, any_order),
            1 => unknown()
        ],
        12,
    );
    fields.prop_map(|fields| [&[0x22, 0], fields.as_slice()].concat())
}
