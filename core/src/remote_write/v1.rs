//! Remote write 1.0: reading a `prometheus.WriteRequest`, and writing one.
//!
//! ```text
//! WriteRequest    1 timeseries*   3 metadata*
//! TimeSeries      1 labels*       2 samples*             3 exemplars*   4 histograms*
//! Label           1 name          2 value
//! Sample          1 value         2 timestamp (ms)
//! MetricMetadata  1 type          2 metric_family_name   4 help         5 unit
//! ```

use super::{
    Labels, Limits, Malformed, Metadata, MetricType, Sample,
    batch::{Entry, Part, Run, Span, Tables, push},
    wire::{
        Message, Reader, bytes_field_len, fixed64_tag, len_tag, put_bytes, put_varint, varint_len,
        varint_tag,
    },
};

const REQUEST: Message = Message {
    name: "request",
    fields: &[TIMESERIES, METADATA],
};
const TIMESERIES: u32 = 1;
const METADATA: u32 = 3;

const SERIES: Message = Message {
    name: "timeseries",
    fields: &[LABELS, SAMPLES, EXEMPLARS, HISTOGRAMS],
};
const LABELS: u32 = 1;
const SAMPLES: u32 = 2;
const EXEMPLARS: u32 = 3;
const HISTOGRAMS: u32 = 4;

/// The label fields of one series, without anything between them.
const LABEL_RUN: Message = Message {
    name: "labels",
    fields: &[LABELS],
};

const LABEL: Message = Message {
    name: "label",
    fields: &[NAME, VALUE],
};
const NAME: u32 = 1;
const VALUE: u32 = 2;

/// 2.0 has one field more (`start_timestamp`), which nothing here asks for.
pub(super) const SAMPLE: Message = Message {
    name: "sample",
    fields: &[SAMPLE_VALUE, SAMPLE_TIMESTAMP],
};
const SAMPLE_VALUE: u32 = 1;
const SAMPLE_TIMESTAMP: u32 = 2;

const METRIC_METADATA: Message = Message {
    name: "metadata",
    fields: &[TYPE, FAMILY, HELP, UNIT],
};
const TYPE: u32 = 1;
const FAMILY: u32 = 2;
const HELP: u32 = 4;
const UNIT: u32 = 5;

const LABELS_TAG: u32 = len_tag(LABELS);

/// Walks a whole request.
pub(super) fn decode(body: &[u8], limits: &Limits, tables: &mut Tables) -> Result<(), Malformed> {
    const TIMESERIES_TAG: u32 = len_tag(TIMESERIES);
    const METADATA_TAG: u32 = len_tag(METADATA);

    let mut request = Reader::new(body, &REQUEST);
    loop {
        let at = request.pos();
        match request.tag()? {
            Some(TIMESERIES_TAG) => {
                let entry = series(request.nested(&SERIES)?, body.len(), limits, tables)?;
                tables.push_series(entry, limits)?;
            }
            Some(METADATA_TAG) => {
                let message = request.nested(&METRIC_METADATA)?;
                let (start, end) = (message.pos(), request.pos());
                read_metadata(message)?;
                let span = Span::new(start, end);
                push(
                    &mut tables.metadata,
                    span,
                    limits.series_max,
                    "metrics with metadata",
                )?;
            }
            Some(tag) => request.skip_unknown(tag, at)?,
            None => return Ok(()),
        }
    }
}

#[inline]
fn series(
    whole: Reader<'_>,
    body_len: usize,
    limits: &Limits,
    tables: &mut Tables,
) -> Result<Entry, Malformed> {
    const SAMPLES_TAG: u32 = len_tag(SAMPLES);
    const EXEMPLARS_TAG: u32 = len_tag(EXEMPLARS);
    const HISTOGRAMS_TAG: u32 = len_tag(HISTOGRAMS);

    let mut series = whole;
    let mut key = Run::None;
    let samples_start = tables.samples.len();
    let mut histograms = 0;
    let mut exemplars = 0;

    let first = series.pos();
    let mut labels = series.skip_short(LABELS_TAG as u8);
    if labels > 0 {
        key.add(first, series.pos());
    }
    loop {
        let at = series.pos();
        match series.tag()? {
            Some(LABELS_TAG) => {
                labels += 1;
                let end = series.content()?.end;
                key.add(at, end);
            }
            Some(SAMPLES_TAG) => {
                let sample = sample(series.nested(&SAMPLE)?)?;
                tables.push_sample(sample, limits)?;
            }
            Some(EXEMPLARS_TAG) => {
                exemplars += 1;
                series.content()?;
            }
            Some(HISTOGRAMS_TAG) => {
                histograms += 1;
                series.content()?;
            }
            Some(tag) => series.skip_unknown(tag, at)?,
            None => break,
        }
    }
    if labels > limits.labels_max {
        return Err(Malformed::TooMany {
            what: "labels in one series",
            max: limits.labels_max,
        });
    }
    Ok(Entry {
        key: match key {
            Run::None => Span::default(),
            Run::One(span) => span,
            Run::Apart => tables.join(whole, LABELS, Part::Field, body_len)?,
        },
        metadata: None,
        samples: Span::new(samples_start, tables.samples.len()),
        histograms,
        exemplars,
    })
}

/// A sample of either version.
#[inline(always)]
pub(super) fn sample(message: Reader<'_>) -> Result<Sample, Malformed> {
    match usual_sample(message.rest()) {
        Some(sample) => Ok(sample),
        None => unusual_sample(message),
    }
}

#[inline(never)]
fn unusual_sample(mut message: Reader<'_>) -> Result<Sample, Malformed> {
    const VALUE_TAG: u32 = fixed64_tag(SAMPLE_VALUE);
    const TIMESTAMP_TAG: u32 = varint_tag(SAMPLE_TIMESTAMP);

    let mut sample = Sample::default();
    loop {
        let at = message.pos();
        match message.tag()? {
            Some(VALUE_TAG) => sample.value = message.double()?,
            Some(TIMESTAMP_TAG) => sample.timestamp_ms = message.varint()?.cast_signed(),
            Some(tag) => message.skip_unknown(tag, at)?,
            None => return Ok(sample),
        }
    }
}

/// What nearly all samples look like: a value, then a timestamp between 1971 and 2109, which takes 6 bytes. Anything else
/// is `None`, and read field by field.
#[inline(always)]
fn usual_sample(message: &[u8]) -> Option<Sample> {
    const VALUE_TAG: u8 = fixed64_tag(SAMPLE_VALUE) as u8;
    const TIMESTAMP_TAG: u8 = varint_tag(SAMPLE_TIMESTAMP) as u8;

    let &[
        VALUE_TAG,
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        TIMESTAMP_TAG,
        i,
        j,
        k,
        l,
        m,
        n,
    ] = message
    else {
        return None;
    };
    let varint = u64::from_le_bytes([i, j, k, l, m, n, 0, 0]);
    // Every byte but the last says that another follows.
    if varint & 0x8080_8080_8080 != 0x0080_8080_8080 {
        return None;
    }
    let group = |index: u32| (varint >> (8 * index) & 0x7f) << (7 * index);
    let timestamp = group(0) | group(1) | group(2) | group(3) | group(4) | group(5);
    Some(Sample {
        value: f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        timestamp_ms: timestamp.cast_signed(),
    })
}

/// Metadata whose bytes `decode` has been through.
pub(super) fn metadata(bytes: &[u8]) -> Result<Metadata<'_>, Malformed> {
    read_metadata(Reader::new(bytes, &METRIC_METADATA))
}

fn read_metadata<'a>(mut message: Reader<'a>) -> Result<Metadata<'a>, Malformed> {
    const TYPE_TAG: u32 = varint_tag(TYPE);
    const FAMILY_TAG: u32 = len_tag(FAMILY);
    const HELP_TAG: u32 = len_tag(HELP);
    const UNIT_TAG: u32 = len_tag(UNIT);

    let mut metadata = Metadata::default();
    loop {
        let at = message.pos();
        match message.tag()? {
            Some(TYPE_TAG) => metadata.metric_type = MetricType::from_number(message.varint()?),
            Some(FAMILY_TAG) => metadata.family = message.text()?,
            Some(HELP_TAG) => metadata.help = message.text()?,
            Some(UNIT_TAG) => metadata.unit = message.text()?,
            Some(tag) => message.skip_unknown(tag, at)?,
            None => return Ok(metadata),
        }
    }
}

/// Reads back what [`write_labels`] wrote, or any series' labels as they were sent.
#[must_use]
pub fn labels(raw: &[u8]) -> Labels<'_> {
    Labels::of_fields(Reader::new(raw, &LABEL_RUN))
}

/// The next of a run of label fields.
pub(super) fn next_label<'a>(
    fields: &mut Reader<'a>,
) -> Result<Option<(&'a str, &'a str)>, Malformed> {
    loop {
        let at = fields.pos();
        match fields.tag()? {
            Some(LABELS_TAG) => return label(fields.nested(&LABEL)?).map(Some),
            Some(tag) => fields.skip_unknown(tag, at)?,
            None => return Ok(None),
        }
    }
}

fn label<'a>(mut message: Reader<'a>) -> Result<(&'a str, &'a str), Malformed> {
    const NAME_TAG: u32 = len_tag(NAME);
    const VALUE_TAG: u32 = len_tag(VALUE);

    let mut name = "";
    let mut value = "";
    loop {
        let at = message.pos();
        match message.tag()? {
            Some(NAME_TAG) => name = message.text()?,
            Some(VALUE_TAG) => value = message.text()?,
            Some(tag) => message.skip_unknown(tag, at)?,
            None => return Ok((name, value)),
        }
    }
}

/// Appends the label fields of a series, for [`write_series`]. The caller has sorted them by name, as the protocol
/// demands; a label with an empty value is the same as none and is left out.
pub fn write_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
    for (name, value) in labels {
        if value.is_empty() {
            continue;
        }
        put_varint(u64::from(LABELS_TAG), out);
        let len = bytes_field_len(name.len()) + bytes_field_len(value.len());
        put_varint(len as u64, out);
        put_bytes(NAME, name.as_bytes(), out);
        put_bytes(VALUE, value.as_bytes(), out);
    }
}

/// Appends to a request one series with one sample. `labels` are from [`write_labels`].
///
/// A value of zero is written, too, where protobuf would let it be left out: all samples of a sender then look alike,
/// which is what decoders are quickest at.
pub fn write_series(labels: &[u8], sample: Sample, out: &mut Vec<u8>) {
    let timestamp = sample.timestamp_ms.cast_unsigned();
    let sample_len = 1 + size_of::<f64>() + 1 + varint_len(timestamp);
    let len = labels.len() + bytes_field_len(sample_len);
    put_varint(u64::from(len_tag(TIMESERIES)), out);
    put_varint(len as u64, out);
    out.extend_from_slice(labels);
    put_varint(u64::from(len_tag(SAMPLES)), out);
    put_varint(sample_len as u64, out);
    put_varint(u64::from(fixed64_tag(SAMPLE_VALUE)), out);
    out.extend_from_slice(&sample.value.to_le_bytes());
    put_varint(u64::from(varint_tag(SAMPLE_TIMESTAMP)), out);
    put_varint(timestamp, out);
}

/// Appends to a request what it says about one metric.
pub fn write_metadata(metadata: &Metadata<'_>, out: &mut Vec<u8>) {
    let texts = [
        (FAMILY, metadata.family),
        (HELP, metadata.help),
        (UNIT, metadata.unit),
    ];
    let texts = texts.iter().filter(|(_, text)| !text.is_empty());
    let texts_len: usize = texts
        .clone()
        .map(|(_, text)| bytes_field_len(text.len()))
        .sum();
    // The type: a tag and a number below 8.
    let len = 2 + texts_len;
    put_varint(u64::from(len_tag(METADATA)), out);
    put_varint(len as u64, out);
    put_varint(u64::from(varint_tag(TYPE)), out);
    out.push(metadata.metric_type.number());
    for (field, text) in texts {
        put_bytes(*field, text.as_bytes(), out);
    }
}
