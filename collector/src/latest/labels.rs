//! Which sets of labels may stand, and the one form in which each is kept.
//!
//! That form, the *canonical* one, is what remote write 1.0 has in a series: the label fields, shortest encoding,
//! sorted by name. It is what an ordinary sender sends, so a series is mostly recognised without looking into it. The
//! protocol demands sorted labels; a sender that sorts otherwise is put right here rather than refused, as Prometheus
//! does, since its series are no less well named. Any UTF-8 is a name (Prometheus 3, remote write 2.0).
//!
//! Symbols of remote write 2.0 make a short request say a great deal: each byte read through one is counted against
//! what one request may say, before anything is copied.

use std::borrow::Cow;

use vigie_core::remote_write::{BadLabel, Series, v1};

use super::{Limits, Origin, Refusal};

/// The label that holds a series' name.
pub(super) const NAME: &str = "__name__";

/// The label that says which node a series is of.
pub(super) const NODE: &str = "node";

/// The label that says which sender a series came from.
pub(super) const SENDER: &str = "sender";

/// What the names of a sender's series may not begin with, as they are shown: the collector and its nodes do so.
const RESERVED_PREFIX: &str = "vigie_";

/// Written by the collector on a node's page, from what it knows itself.
const NODE_UP: &str = "vigie_node_up";

/// Why a series is not taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong<'a> {
    #[error("{0}")]
    Label(BadLabel),
    #[error("there is no label __name__")]
    NoName,
    #[error("there are more than {max} labels")]
    TooMany { max: usize },
    #[error("a label has an empty name")]
    EmptyName,
    #[error("label {name:?} has an empty value")]
    EmptyValue { name: &'a str },
    #[error("there are two labels {name:?}")]
    Twice { name: &'a str },
    #[error("the name of a label has {len} bytes, at most {max} are taken")]
    NameTooLong { len: usize, max: usize },
    #[error("the value of label {name:?} has {len} bytes, at most {max} are taken")]
    ValueTooLong {
        name: &'a str,
        len: usize,
        max: usize,
    },
    #[error("label node is {node:?}")]
    OtherNode { node: &'a str },
    #[error("the name {name:?} is reserved")]
    Reserved { name: &'a str },
    #[error("{}", Refusal::Expanded.sentence())]
    Expanded,
}

impl Wrong<'_> {
    pub(super) const fn refusal(&self) -> Refusal {
        match self {
            Self::Reserved { .. } => Refusal::Reserved,
            Self::Expanded => Refusal::Expanded,
            Self::Label(_)
            | Self::NoName
            | Self::TooMany { .. }
            | Self::EmptyName
            | Self::EmptyValue { .. }
            | Self::Twice { .. }
            | Self::NameTooLong { .. }
            | Self::ValueTooLong { .. }
            | Self::OtherNode { .. } => Refusal::Labels,
        }
    }
}

/// How much of a request may still be read through its symbols.
pub(super) struct Expansion {
    left: usize,
    symbols_len: usize,
}

impl Expansion {
    /// `symbols_len` is zero for remote write 1.0, whose labels are no longer than the request is.
    pub(super) const fn new(symbols_len: usize, limits: &Limits) -> Self {
        Self {
            left: limits.expanded_len,
            symbols_len,
        }
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Counts `len` bytes that were read. False, and spent for good, if that is too much.
    pub(super) fn spend(&mut self, len: usize) -> bool {
        if self.symbols_len > 0 {
            self.left = self.left.saturating_sub(len);
        }
        self.left > 0
    }

    /// Counts a text that could not be read: it may have been read to its end before that showed.
    pub(super) fn spend_unreadable(&mut self) -> bool {
        self.spend(self.symbols_len)
    }
}

/// Reads the labels of a series into `labels`, sorted by name, if they may stand.
pub(super) fn read<'a>(
    series: &Series<'a>,
    origin: &Origin,
    limits: &Limits,
    expansion: &mut Expansion,
    labels: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), Wrong<'a>> {
    labels.clear();
    if expansion.is_spent() {
        return Err(Wrong::Expanded);
    }
    for label in series.labels() {
        let (name, value) = match label {
            Ok(label) => label,
            Err(_) if !expansion.spend_unreadable() => return Err(Wrong::Expanded),
            Err(bad) => return Err(Wrong::Label(bad)),
        };
        if !expansion.spend(name.len() + value.len()) {
            return Err(Wrong::Expanded);
        }
        check(name, value, limits)?;
        if labels.len() == limits.labels_per_series {
            let max = limits.labels_per_series;
            return Err(Wrong::TooMany { max });
        }
        labels.push((name, value));
    }
    if !labels.is_sorted_by(|a, b| a.0 < b.0) {
        labels.sort_unstable_by_key(|(name, _)| *name);
        if let Some(twice) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Wrong::Twice { name: twice[0].0 });
        }
    }
    let value_of = |wanted: &str| {
        let label = labels.iter().find(|(name, _)| *name == wanted)?;
        Some(label.1)
    };
    let name = value_of(NAME).ok_or(Wrong::NoName)?;
    match origin {
        Origin::Node(own) => {
            // Another node's name is found before anything is applied; this holds even where that look was cut short.
            if let Some(node) = value_of(NODE).filter(|node| *node != own.as_str()) {
                return Err(Wrong::OtherNode { node });
            }
            if is_node_up(name) {
                return Err(Wrong::Reserved { name });
            }
        }
        Origin::Sender(_) if shown_name(name, true).starts_with(RESERVED_PREFIX) => {
            return Err(Wrong::Reserved { name });
        }
        Origin::Sender(_) => {}
    }
    Ok(())
}

fn check<'a>(name: &'a str, value: &str, limits: &Limits) -> Result<(), Wrong<'a>> {
    if name.is_empty() {
        return Err(Wrong::EmptyName);
    }
    if name.len() > limits.label_name_len {
        return Err(Wrong::NameTooLong {
            len: name.len(),
            max: limits.label_name_len,
        });
    }
    if value.is_empty() {
        return Err(Wrong::EmptyValue { name });
    }
    if value.len() > limits.label_value_len {
        return Err(Wrong::ValueTooLong {
            name,
            len: value.len(),
            max: limits.label_value_len,
        });
    }
    Ok(())
}

/// Whether the collector alone says what is called so, however it is written: it is what is shown that others read.
pub(super) fn is_node_up(name: &str) -> bool {
    shown_name(name, true) == NODE_UP
}

/// `name` in the old grammar, `[a-zA-Z_][a-zA-Z0-9_]*`, for metrics with `:`.
pub(super) fn shown_name(name: &str, is_metric: bool) -> Cow<'_, str> {
    let is_shown = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic()
            || c == '_'
            || (at > 0 && c.is_ascii_digit())
            || (is_metric && c == ':')
    };
    if name.char_indices().all(is_shown) {
        return Cow::Borrowed(name);
    }
    let shown = |(at, c)| if is_shown((at, c)) { c } else { '_' };
    Cow::Owned(name.char_indices().map(shown).collect())
}

/// The name of another node that the series carries, as far as its labels can be read.
pub(super) fn other_node<'a>(
    series: &Series<'a>,
    own: &str,
    limits: &Limits,
    expansion: &mut Expansion,
) -> Option<&'a str> {
    if expansion.is_spent() {
        return None;
    }
    for label in series.labels().take(limits.labels_per_series) {
        let Ok((name, value)) = label else {
            expansion.spend_unreadable();
            return None;
        };
        if !expansion.spend(name.len() + value.len()) {
            return None;
        }
        if name == NODE && value != own {
            return Some(value);
        }
    }
    None
}

/// The canonical form of labels in any order.
pub(super) fn canonical(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut labels = labels.to_vec();
    labels.sort_unstable_by_key(|(name, _)| *name);
    let mut out = Vec::new();
    v1::write_labels(labels, &mut out);
    out
}

/// The name of a series whose labels may be anything, short and fit for a line of a log.
pub(super) fn name_for_people(series: &Series<'_>) -> String {
    /// Names are looked for this far only; further ones are refused for their number anyway.
    const LABELS_MAX: usize = 8;
    const CHARS_MAX: usize = 80;
    let labels = series.labels().take(LABELS_MAX).map_while(Result::ok);
    let name = labels
        .filter(|(name, _)| *name == NAME)
        .map(|(_, name)| name)
        .next();
    name.map_or_else(
        || "a series without a name".to_owned(),
        |name| {
            let shown: String = name
                .chars()
                .take(CHARS_MAX)
                .flat_map(char::escape_debug)
                .collect();
            format!("series {shown}")
        },
    )
}
