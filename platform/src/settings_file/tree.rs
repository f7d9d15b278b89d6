//! Parsed settings with the place of every key and value.

use std::collections::BTreeMap;

use super::mistake::Place;

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What TOML can hold; no setting is a decimal number or a bare date, so only their kind is kept. No `Debug`: a value in the wrong place may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float,
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
    /// Already noted as a mistake; readers say nothing more about it.
    Unreadable,
}

/// Keys in order of name, so that every reader sees the same order.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key's value, and where the key itself stands: what is unknown or missing is told there.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) node: Node,
}

impl Value {
    /// The kind in the administrator's words, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Float => "a decimal number",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date or time without quotes",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A dotted path from the root, for messages and for the index of second sights.
pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
