//! The labels of one series, read when somebody asks for them.

use super::{Malformed, batch::Content, v1, wire::Reader};

/// Why labels, or the metadata of a series, cannot be read. Counted from 1, as people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// Its bytes are not those of a label.
    #[error("label {label}: {malformed}")]
    Malformed {
        /// Which label of the series.
        label: usize,
        /// What is wrong with it; offsets count from the first label of the series.
        malformed: Malformed,
    },
    /// 2.0: it points to no symbol.
    #[error("label {label}: reference {reference} is to none of the request's {symbols} symbols")]
    Reference {
        /// Which label of the series.
        label: usize,
        /// The reference.
        reference: u32,
        /// How many symbols there are.
        symbols: usize,
    },
    /// 2.0: it points to a symbol that is not UTF-8.
    #[error("label {label}: symbol {reference} is not UTF-8")]
    Symbol {
        /// Which label of the series.
        label: usize,
        /// The reference.
        reference: u32,
    },
    /// 2.0: the last label has a name and no value.
    #[error("label {label}: has a name, but no value; references must come in pairs")]
    NoValue {
        /// Which label of the series.
        label: usize,
    },
    /// 2.0: the metadata's bytes are not those of metadata.
    #[error("{malformed}")]
    Metadata {
        /// What is wrong with it; offsets count from the beginning of the metadata.
        malformed: Malformed,
    },
    /// 2.0: the metadata points to no symbol, or to one that is not UTF-8.
    #[error(
        "metadata: reference {reference} is to no readable one of the request's {symbols} symbols"
    )]
    MetadataReference {
        /// The reference.
        reference: u32,
        /// How many symbols there are.
        symbols: usize,
    },
}

/// Names and values of one series' labels, in the order they were sent. After the first mistake it ends.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    form: Form<'a>,
    /// How many were handed out.
    read: usize,
}

#[derive(Debug, Clone)]
enum Form<'a> {
    /// Label fields one after another.
    Fields(Reader<'a>),
    /// Packed references, in pairs.
    References(Reader<'a>, Content<'a>),
    /// After a mistake.
    Over,
}

impl<'a> Labels<'a> {
    pub(super) const fn of_fields(fields: Reader<'a>) -> Self {
        Self {
            form: Form::Fields(fields),
            read: 0,
        }
    }

    pub(super) const fn of_references(references: Reader<'a>, content: Content<'a>) -> Self {
        Self {
            form: Form::References(references, content),
            read: 0,
        }
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = Result<(&'a str, &'a str), BadLabel>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.read + 1;
        let next = match &mut self.form {
            Form::Fields(fields) => v1::next_label(fields)
                .map_err(|malformed| BadLabel::Malformed { label, malformed })
                .transpose(),
            Form::References(references, content) => {
                next_pair(references, *content, label).transpose()
            }
            Form::Over => None,
        };
        match &next {
            Some(Ok(_)) => self.read = label,
            Some(Err(_)) => self.form = Form::Over,
            None => {}
        }
        next
    }
}

impl std::iter::FusedIterator for Labels<'_> {}

fn next_pair<'a>(
    references: &mut Reader<'a>,
    content: Content<'a>,
    label: usize,
) -> Result<Option<(&'a str, &'a str)>, BadLabel> {
    if references.is_at_end() {
        return Ok(None);
    }
    let name = next_symbol(references, content, label)?;
    if references.is_at_end() {
        return Err(BadLabel::NoValue { label });
    }
    let value = next_symbol(references, content, label)?;
    Ok(Some((name, value)))
}

fn next_symbol<'a>(
    references: &mut Reader<'a>,
    content: Content<'a>,
    label: usize,
) -> Result<&'a str, BadLabel> {
    let reference = references
        .uint32()
        .map_err(|malformed| BadLabel::Malformed { label, malformed })?;
    let bytes = content.symbol(reference).ok_or(BadLabel::Reference {
        label,
        reference,
        symbols: content.symbols(),
    })?;
    std::str::from_utf8(bytes).map_err(|_| BadLabel::Symbol { label, reference })
}
