//! Remote write 2.0: reading an `io.prometheus.write.v2.Request`, as of release candidate 4.
//!
//! ```text
//! Request     4 symbols*      5 timeseries*
//! TimeSeries  1 labels_refs*  2 samples*        3 histograms*  4 exemplars*  5 metadata
//! Sample      1 value         2 timestamp (ms)  3 start_timestamp (ms; since 2025-11, 0: not said)
//! Metadata    1 type          3 help_ref        4 unit_ref
//! ```
//!
//! `labels_refs` are numbers of symbols: name, value, name, value. Symbol 0 is the empty text. Symbols may stand in any
//! place of the request, so references can only be followed when all of it was walked.

use super::{
    BadLabel, Labels, Limits, Malformed, Metadata, MetricType,
    batch::{Content, Entry, Part, Run, Span, Tables, push},
    v1::{self, SAMPLE},
    wire::{Message, Reader, len_tag, varint_tag},
};

const REQUEST: Message = Message {
    name: "request",
    fields: &[SYMBOLS, TIMESERIES],
};
const SYMBOLS: u32 = 4;
const TIMESERIES: u32 = 5;

const SERIES: Message = Message {
    name: "timeseries",
    fields: &[LABELS_REFS, SAMPLES, HISTOGRAMS, EXEMPLARS, METADATA],
};
const LABELS_REFS: u32 = 1;
const SAMPLES: u32 = 2;
const HISTOGRAMS: u32 = 3;
const EXEMPLARS: u32 = 4;
const METADATA: u32 = 5;

/// The packed references of one series.
const REFERENCES: Message = Message {
    name: "labels_refs",
    fields: &[],
};

const SERIES_METADATA: Message = Message {
    name: "metadata",
    fields: &[TYPE, HELP_REF, UNIT_REF],
};
const TYPE: u32 = 1;
const HELP_REF: u32 = 3;
const UNIT_REF: u32 = 4;

/// Walks a whole request.
pub(super) fn decode(body: &[u8], limits: &Limits, tables: &mut Tables) -> Result<(), Malformed> {
    const SYMBOLS_TAG: u32 = len_tag(SYMBOLS);
    const TIMESERIES_TAG: u32 = len_tag(TIMESERIES);

    let whole = Reader::new(body, &REQUEST);
    let mut request = whole;
    let mut symbol_fields = Run::None;
    loop {
        let at = request.pos();
        match request.tag()? {
            Some(TIMESERIES_TAG) => {
                let entry = series(request.nested(&SERIES)?, body, limits, tables)?;
                tables.push_series(entry, limits)?;
            }
            Some(SYMBOLS_TAG) => {
                let symbol = request.content()?;
                if tables.symbols.is_empty() && !symbol.is_empty() {
                    return Err(Malformed::FirstSymbol {
                        offset: symbol.start,
                    });
                }
                symbol_fields.add(at, symbol.end);
                let span = Span::new(symbol.start, symbol.end);
                push(&mut tables.symbols, span, limits.symbols_max, "symbols")?;
            }
            Some(tag) => request.skip_unknown(tag, at)?,
            None => break,
        }
    }
    tables.symbol_bytes = match symbol_fields {
        Run::None => Span::default(),
        Run::One(span) => span,
        Run::Apart => tables.join(whole, SYMBOLS, Part::Field, body.len())?,
    };
    Ok(())
}

#[inline]
fn series(
    whole: Reader<'_>,
    body: &[u8],
    limits: &Limits,
    tables: &mut Tables,
) -> Result<Entry, Malformed> {
    const PACKED_TAG: u32 = len_tag(LABELS_REFS);
    const UNPACKED_TAG: u32 = varint_tag(LABELS_REFS);
    const SAMPLES_TAG: u32 = len_tag(SAMPLES);
    const HISTOGRAMS_TAG: u32 = len_tag(HISTOGRAMS);
    const EXEMPLARS_TAG: u32 = len_tag(EXEMPLARS);
    const METADATA_TAG: u32 = len_tag(METADATA);

    let mut series = whole;
    let mut key = Run::None;
    let mut metadata = Run::None;
    let samples_start = tables.samples.len();
    let mut histograms = 0;
    let mut exemplars = 0;
    loop {
        let at = series.pos();
        match series.tag()? {
            Some(PACKED_TAG) => {
                let packed = series.packed()?;
                key.add(packed.start, packed.end);
            }
            Some(UNPACKED_TAG) => {
                let start = series.pos();
                series.varint()?;
                key.add(start, series.pos());
            }
            Some(SAMPLES_TAG) => {
                let sample = v1::sample(series.nested(&SAMPLE)?)?;
                tables.push_sample(sample, limits)?;
            }
            Some(HISTOGRAMS_TAG) => {
                histograms += 1;
                series.content()?;
            }
            Some(EXEMPLARS_TAG) => {
                exemplars += 1;
                series.content()?;
            }
            Some(METADATA_TAG) => {
                let value = series.content()?;
                metadata.add(value.start, value.end);
            }
            Some(tag) => series.skip_unknown(tag, at)?,
            None => break,
        }
    }
    let key = match key {
        Run::None => Span::default(),
        Run::One(span) => span,
        Run::Apart => tables.join(whole, LABELS_REFS, Part::Value, body.len())?,
    };
    // No reference takes less than a byte, so short keys need no counting.
    let key_len_plenty = limits.labels_max.saturating_mul(2);
    if key.len() > key_len_plenty && count_packed(tables.bytes(body, key)) > key_len_plenty {
        return Err(Malformed::TooMany {
            what: "labels in one series",
            max: limits.labels_max,
        });
    }
    Ok(Entry {
        key,
        metadata: match metadata {
            Run::None => None,
            Run::One(span) => Some(span),
            // Pieces of one message, one after another, are that message.
            Run::Apart => Some(tables.join(whole, METADATA, Part::Value, body.len())?),
        },
        samples: Span::new(samples_start, tables.samples.len()),
        histograms,
        exemplars,
    })
}

/// How many numbers stand in packed ones, of which the last is whole.
fn count_packed(packed: &[u8]) -> usize {
    packed.iter().filter(|&&byte| byte < 0x80).count()
}

/// The labels that packed references stand for.
pub(super) fn labels<'a>(key: &'a [u8], content: Content<'a>) -> Labels<'a> {
    Labels::of_references(Reader::new(key, &REFERENCES), content)
}

/// What a series says about its metric.
pub(super) fn metadata<'a>(
    bytes: &'a [u8],
    content: Content<'a>,
) -> Result<Metadata<'a>, BadLabel> {
    let (metric_type, help, unit) =
        read_metadata(bytes).map_err(|malformed| BadLabel::Metadata { malformed })?;
    Ok(Metadata {
        metric_type,
        family: "",
        help: metadata_text(help, content)?,
        unit: metadata_text(unit, content)?,
    })
}

fn read_metadata(bytes: &[u8]) -> Result<(MetricType, u32, u32), Malformed> {
    const TYPE_TAG: u32 = varint_tag(TYPE);
    const HELP_REF_TAG: u32 = varint_tag(HELP_REF);
    const UNIT_REF_TAG: u32 = varint_tag(UNIT_REF);

    let mut message = Reader::new(bytes, &SERIES_METADATA);
    let mut metric_type = MetricType::Unknown;
    let mut help = 0;
    let mut unit = 0;
    loop {
        let at = message.pos();
        match message.tag()? {
            Some(TYPE_TAG) => metric_type = MetricType::from_number(message.varint()?),
            Some(HELP_REF_TAG) => help = message.uint32()?,
            Some(UNIT_REF_TAG) => unit = message.uint32()?,
            Some(tag) => message.skip_unknown(tag, at)?,
            None => return Ok((metric_type, help, unit)),
        }
    }
}

fn metadata_text<'a>(reference: u32, content: Content<'a>) -> Result<&'a str, BadLabel> {
    content
        .symbol(reference)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or(BadLabel::MetadataReference {
            reference,
            symbols: content.symbols(),
        })
}
