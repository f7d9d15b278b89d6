//! What one request says, as positions in its bytes, and the rooms that are used again for the next.

use super::{BadLabel, Labels, Limits, Malformed, Metadata, Sample, Version, v1, v2, wire::Reader};

/// The longest body: positions in it and in what was joined from it (never more than it) fit 32 bits.
pub(super) const BODY_LEN_MAX: usize = i32::MAX as usize;

/// Reads requests, one after another. Reusable: after the first requests of a size it allocates nothing; it keeps the
/// room that the largest one took, which [`Limits`] and the length of the body bound.
#[derive(Debug, Default)]
pub struct Decoder {
    tables: Tables,
}

impl Decoder {
    /// Reads a whole, uncompressed request.
    ///
    /// # Errors
    /// When its structure is not that of the message, or it is over a limit. Nothing of it is handed out then.
    pub fn decode<'a>(
        &'a mut self,
        version: Version,
        body: &'a [u8],
        limits: &Limits,
    ) -> Result<Batch<'a>, Malformed> {
        self.tables.clear();
        if body.len() > BODY_LEN_MAX {
            return Err(Malformed::BodyTooLong {
                len: body.len(),
                max: BODY_LEN_MAX,
            });
        }
        match version {
            Version::V1 => v1::decode(body, limits, &mut self.tables)?,
            Version::V2 => v2::decode(body, limits, &mut self.tables)?,
        }
        Ok(Batch {
            version,
            content: Content {
                body,
                tables: &self.tables,
            },
        })
    }
}

#[cfg(test)]
impl Decoder {
    /// Bytes of the room it keeps.
    pub(super) fn room(&self) -> usize {
        let tables = &self.tables;
        tables.series.capacity() * size_of::<Entry>()
            + tables.samples.capacity() * size_of::<Sample>()
            + (tables.symbols.capacity() + tables.metadata.capacity()) * size_of::<Span>()
            + tables.joined.capacity()
    }
}

/// Where bytes stand: positions run through the body and on through what was joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `start` and `end` are positions in a body of at most [`BODY_LEN_MAX`] bytes, or in what was joined from it.
    #[inline]
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(super) const fn start(self) -> usize {
        self.start as usize
    }

    pub(super) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// One series. 2.0 has `metadata` in it; a series without has an empty one, which says the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) metadata: Option<Span>,
    pub(super) samples: Span,
    pub(super) histograms: u32,
    pub(super) exemplars: u32,
}

/// What was read of the last request.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) series: Vec<Entry>,
    pub(super) samples: Vec<Sample>,
    /// 2.0: each symbol, without tag and length.
    pub(super) symbols: Vec<Span>,
    /// 2.0: all symbols, with tags and lengths.
    pub(super) symbol_bytes: Span,
    /// 1.0: the request's metadata, each already read once without a mistake.
    pub(super) metadata: Vec<Span>,
    /// Fields that belong together and did not stand together.
    pub(super) joined: Vec<u8>,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Tables {
    fn clear(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.symbols.clear();
        self.symbol_bytes = Span::default();
        self.metadata.clear();
        self.joined.clear();
        self.histograms = 0;
        self.exemplars = 0;
    }

    /// The bytes that stand there, in `body` or among what was joined.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, body: &'a [u8], span: Span) -> &'a [u8] {
        let (start, end) = (span.start as usize, span.end as usize);
        if end <= body.len() {
            &body[start..end]
        } else {
            &self.joined[start - body.len()..end - body.len()]
        }
    }

    /// Appends a series, unless there are too many.
    #[inline]
    pub(super) fn push_series(&mut self, entry: Entry, limits: &Limits) -> Result<(), Malformed> {
        push(&mut self.series, entry, limits.series_max, "series")?;
        self.histograms += u64::from(entry.histograms);
        self.exemplars += u64::from(entry.exemplars);
        Ok(())
    }

    /// Appends a sample, unless there are too many.
    #[inline]
    pub(super) fn push_sample(&mut self, sample: Sample, limits: &Limits) -> Result<(), Malformed> {
        push(&mut self.samples, sample, limits.samples_max, "samples")
    }

    /// Joins what `run` found apart: all fields of `message` with that number. `message` was walked before.
    #[cold]
    pub(super) fn join(
        &mut self,
        mut message: Reader<'_>,
        field: u32,
        part: Part,
        body_len: usize,
    ) -> Result<Span, Malformed> {
        let bytes = message.bytes();
        let start = self.joined.len();
        loop {
            let tag_offset = message.pos();
            let Some(tag) = message.tag()? else { break };
            let value = message.skip(tag, tag_offset)?;
            if tag >> 3 == field {
                self.joined.extend_from_slice(match part {
                    Part::Field => &bytes[tag_offset..value.end],
                    Part::Value => &bytes[value],
                });
            }
        }
        Ok(Span::new(body_len + start, body_len + self.joined.len()))
    }
}

/// Appends `item`, unless `max` are there.
#[inline]
pub(super) fn push<T>(
    items: &mut Vec<T>,
    item: T,
    max: usize,
    what: &'static str,
) -> Result<(), Malformed> {
    if items.len() >= max {
        return Err(Malformed::TooMany { what, max });
    }
    items.push(item);
    Ok(())
}

/// What of each field is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Tag, length and value.
    Field,
    /// The value alone: packed numbers then are one run of packed numbers, pieces of a message one message.
    Value,
}

/// Fields that mostly stand together, as one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    None,
    One(Span),
    /// They do not stand together: see [`Tables::join`].
    Apart,
}

impl Run {
    /// One more field, or value, from `start` to `end`.
    #[inline]
    pub(super) fn add(&mut self, start: usize, end: usize) {
        *self = match *self {
            Self::None => Self::One(Span::new(start, end)),
            Self::One(span) if span.end as usize == start => {
                Self::One(Span::new(span.start(), end))
            }
            Self::One(_) | Self::Apart => Self::Apart,
        };
    }
}

/// A request as it was read: its bytes, and where in them what stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    body: &'a [u8],
    tables: &'a Tables,
}

impl<'a> Content<'a> {
    #[inline]
    fn bytes(self, span: Span) -> &'a [u8] {
        self.tables.bytes(self.body, span)
    }

    /// The bytes of a symbol. 0 is the empty text, even in a request that has no symbol at all.
    #[inline]
    pub(super) fn symbol(self, reference: u32) -> Option<&'a [u8]> {
        if reference == 0 {
            return Some(&[]);
        }
        let span = self.tables.symbols.get(reference as usize)?;
        Some(self.bytes(*span))
    }

    pub(super) fn symbols(self) -> usize {
        self.tables.symbols.len()
    }
}

/// A whole request whose structure is valid: nothing is handed out before all of it was walked.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    version: Version,
    content: Content<'a>,
}

impl<'a> Batch<'a> {
    /// Which message it was.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Its series, in the order they were sent. The same series may come more than once.
    #[must_use]
    pub fn series(&self) -> impl ExactSizeIterator<Item = Series<'a>> + '_ {
        let Self { version, content } = *self;
        content.tables.series.iter().map(move |entry| Series {
            version,
            content,
            entry,
        })
    }

    /// 1.0: what it says about metrics as a whole. 2.0: nothing, for there each series says it ([`Series::metadata`]).
    pub fn metadata(&self) -> impl Iterator<Item = Metadata<'a>> + '_ {
        let content = self.content;
        // `decode` read each once, so each can be read.
        content
            .tables
            .metadata
            .iter()
            .filter_map(move |span| v1::metadata(content.bytes(*span)).ok())
    }

    /// 2.0: bytes that stand for the table of symbols. Equal bytes mean equal tables, so that with them, equal
    /// [`Series::key`]s of two requests mean equal labels. 1.0 needs none: empty.
    #[must_use]
    pub fn symbol_bytes(&self) -> &'a [u8] {
        self.content.bytes(self.content.tables.symbol_bytes)
    }

    /// Samples of all series.
    #[must_use]
    pub fn sample_count(&self) -> u64 {
        self.content.tables.samples.len() as u64
    }

    /// Native histograms of all series.
    #[must_use]
    pub fn histogram_count(&self) -> u64 {
        self.content.tables.histograms
    }

    /// Exemplars of all series.
    #[must_use]
    pub fn exemplar_count(&self) -> u64 {
        self.content.tables.exemplars
    }
}

/// One series of a request.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    version: Version,
    content: Content<'a>,
    entry: &'a Entry,
}

impl<'a> Series<'a> {
    /// The bytes that say which series it is: in 1.0 its label fields as they were sent, tags included; in 2.0 its
    /// packed references, which mean something only together with [`Batch::symbol_bytes`]. Equal keys are equal labels;
    /// unequal keys may be, too, since a sender is free in how it encodes them.
    #[must_use]
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.content.bytes(self.entry.key)
    }

    /// Its samples, in the order they were sent.
    #[must_use]
    #[inline]
    pub fn samples(&self) -> &'a [Sample] {
        let Span { start, end } = self.entry.samples;
        &self.content.tables.samples[start as usize..end as usize]
    }

    /// How many native histograms it has.
    #[must_use]
    pub const fn histograms(&self) -> u32 {
        self.entry.histograms
    }

    /// How many exemplars it has.
    #[must_use]
    pub const fn exemplars(&self) -> u32 {
        self.entry.exemplars
    }

    /// Its labels as they were sent: not necessarily sorted, distinct or filled. Texts and references are checked here.
    #[must_use]
    pub fn labels(&self) -> Labels<'a> {
        match self.version {
            Version::V1 => v1::labels(self.key()),
            Version::V2 => v2::labels(self.key(), self.content),
        }
    }

    /// 2.0: what it says about its metric, `None` if it says nothing. 1.0: `None`, see [`Batch::metadata`].
    #[must_use]
    pub fn metadata(&self) -> Option<Result<Metadata<'a>, BadLabel>> {
        let span = self.entry.metadata?;
        Some(v2::metadata(self.content.bytes(span), self.content))
    }
}
