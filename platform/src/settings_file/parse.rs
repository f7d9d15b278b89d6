//! One file's text to a tree with places. Strict TOML; every syntax error is noted, and what can still be read is kept,
//! so that one typing error does not hide the mistakes below it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::mistake::{Notebook, Place};
use super::tree::{Entry, Node, Table, Value};

/// What could be read of a file.
pub(super) struct Parsed {
    pub(super) table: Table,
    /// Some of the text could not be read, so an absent key proves nothing.
    pub(super) is_partial: bool,
}

/// Reads `text`, whose first character is at `file` line 1, column 1.
pub(super) fn document(file: &Place, text: &str, notebook: &Notebook) -> Parsed {
    let lines = Lines::of(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut broken = Vec::new();
    let mut end = text.len() + 1;
    let opened = unclosed(&errors);
    for (i, error) in errors.iter().enumerate() {
        let offset = error.span().map_or(0, |span| span.start);
        let line = lines.span_of_line(offset);
        let message = match &opened {
            // The cascade is one mistake, told where it was noticed.
            Some((cascade, message)) if cascade.start == i => Some(*message),
            Some((cascade, _)) if cascade.contains(&i) => None,
            _ => Some(error.message()),
        };
        // What follows on the same line is mostly the echo of the first.
        if let Some(message) = message.filter(|_| !broken.contains(&line)) {
            let (what, mend) = explained(message);
            notebook.note(lines.place(offset), what, mend);
        }
        // After a broken header nobody knows which table the keys below belong to.
        if text[line.start..line.end.min(text.len())]
            .trim_start()
            .starts_with('[')
        {
            end = end.min(line.start);
        }
        broken.push(line);
    }
    // A header repeated further down may have taken the place of the first; what stands before it is read by itself.
    let root = if end < text.len() {
        DeTable::parse_recoverable(&text[..end]).0
    } else {
        root
    };
    let kept = |offset: usize| offset < end && !broken.iter().any(|line| line.contains(&offset));
    Parsed {
        table: table(root.into_inner(), &lines, &kept, notebook),
        is_partial: !errors.is_empty(),
    }
}

/// Reads the value of a variable written as TOML (a list, a table, quoted text); `None` with a note if it is not TOML.
pub(super) fn variable(place: &Place, text: &str, notebook: &Notebook) -> Option<Node> {
    match DeValue::parse(text) {
        Ok(parsed) => {
            let lines = Lines::of(place, text);
            let mut node = value(
                parsed.into_inner(),
                place.clone(),
                &lines,
                &|_| true,
                notebook,
            );
            stand_at(&mut node, place);
            Some(node)
        }
        Err(error) => {
            let (what, mend) = explained(error.message());
            notebook.note(place.clone(), what, mend);
            None
        }
    }
}

/// A line inside a variable says nothing: everything stands at its name.
fn stand_at(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| stand_at(item, place)),
        Value::Table(table) => {
            for entry in table.values_mut() {
                entry.key = place.clone();
                stand_at(&mut entry.node, place);
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float
        | Value::Boolean(_)
        | Value::Datetime
        | Value::Unreadable => {}
    }
}

/// An unclosed list makes every line after it look wrong: the errors from the first that is about a list to the one
/// that says so, and what that one says.
fn unclosed(errors: &[Error]) -> Option<(Range<usize>, &str)> {
    let last = errors
        .iter()
        .position(|error| error.message().starts_with("unclosed"))?;
    let is_about_a_list = |error: &Error| {
        ["array", "inline table"]
            .iter()
            .any(|word| error.message().contains(word))
    };
    let first = errors[..last].iter().position(is_about_a_list)?;
    Some((first..last + 1, errors[last].message()))
}

/// `toml` says "what, expected this"; the second half is the mend.
fn explained(message: &str) -> (String, String) {
    let (what, mend) = match message.split_once(", expected ") {
        // It takes a bare word for a misspelt `true` or `false`.
        Some(("invalid boolean", _)) => (
            "this is no value",
            "put text in quotes, or write true or false".to_owned(),
        ),
        Some((what, "literal string")) => (what, "put it in quotes".to_owned()),
        Some((what, "nothing")) => (what, "remove it".to_owned()),
        Some((what, expected)) => (what, format!("write {expected} here")),
        None if message.contains("duplicate key") => (message, "keep one of the two".to_owned()),
        None => (message, "write valid TOML here".to_owned()),
    };
    (what.to_owned(), mend)
}

fn table(
    source: DeTable<'_>,
    lines: &Lines<'_>,
    kept: &dyn Fn(usize) -> bool,
    notebook: &Notebook,
) -> Table {
    let mut table = Table::new();
    for (key, item) in source {
        let (key_span, span) = (key.span(), item.span());
        let item = item.into_inner();
        let is_table = matches!(item, DeValue::Table(_));
        // A header's table may begin before a broken line and go on after it; its keys are judged one by one.
        if !kept(key_span.start) || (!is_table && !kept(span.start)) {
            continue;
        }
        let key_place = lines.place(key_span.start);
        // What is missing in a table is missing at its name.
        let place = if is_table {
            key_place.clone()
        } else {
            lines.place(span.start)
        };
        let node = value(item, place, lines, kept, notebook);
        table.insert(
            key.into_inner().into_owned(),
            Entry {
                key: key_place,
                node,
            },
        );
    }
    table
}

fn value(
    source: DeValue<'_>,
    place: Place,
    lines: &Lines<'_>,
    kept: &dyn Fn(usize) -> bool,
    notebook: &Notebook,
) -> Node {
    let value = match source {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                notebook.note(
                    place.clone(),
                    "the number is too large",
                    format!("write a number up to {}", i64::MAX),
                );
                Value::Unreadable
            }
        },
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .filter(|item: &Spanned<DeValue<'_>>| kept(item.span().start))
                .map(|item| {
                    let place = lines.place(item.span().start);
                    value(item.into_inner(), place, lines, kept, notebook)
                })
                .collect(),
        ),
        DeValue::Table(source) => Value::Table(table(source, lines, kept, notebook)),
    };
    Node { value, place }
}

/// Byte offsets to lines and columns.
pub(super) struct Lines<'a> {
    file: &'a Place,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(file: &'a Place, text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i + 1))
            .collect();
        Self { file, text, starts }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = &self.text.as_bytes()[self.starts[line]..offset];
        // Continuation bytes are not characters; the offset may also point into the middle of one.
        let column = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        let one_based = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        self.file.at(one_based(line), one_based(column))
    }

    /// The line that holds `offset`, its end of line included; the last line reaches past the end of the text.
    fn span_of_line(&self, offset: usize) -> Range<usize> {
        let line = self
            .starts
            .partition_point(|start| *start <= offset.min(self.text.len()))
            - 1;
        let end = self
            .starts
            .get(line + 1)
            .copied()
            .unwrap_or(self.text.len() + 1);
        self.starts[line]..end
    }
}
