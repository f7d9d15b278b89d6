//! A delta as rows of SQLite's tables, and the statements that write them. Opens and commits nothing itself.
//!
//! A commit sends one statement per table, whatever the number of rows, as a list of `VALUES`. The rejected alternative,
//! all rows as one JSON value that SQLite takes apart (`json_each`), keeps the statements few and constant, but measured
//! twelve times slower on lines of the log (400 of 600 bytes: 8 ms against 0.7 ms), because each byte is escaped, parsed
//! and unescaped again.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Serialize, de::Error as _};
use sqlx::{AssertSqlSafe, SqliteConnection};
use vigie_core::{
    canonical,
    digest::Digest,
    id::{NodeName, ReceiverName, SenderName},
};
use vigie_decide::{
    alert::AlertKey,
    fleet::{Delta, state::StoredLine},
    held::DeferredKey,
};

/// Most rows of one statement. With four columns this is well under SQLite's 32,766 variables.
pub(super) const ROWS_MAX: usize = 5_000;

/// Statements of up to this many rows are kept prepared: those of quiet times. Larger ones come in too many lengths to
/// keep, and preparing them is lost in writing their rows.
pub(super) const ROWS_PREPARED: usize = 8;

/// A delta as statements, made once for all tries.
pub(super) struct Rows<'d> {
    /// The number of the first new line of the log.
    pub(super) begins_at: Option<u64>,
    pub(super) statements: Vec<Statement<'d>>,
}

/// What is done to one table: a statement repeated over rows.
pub(super) struct Statement<'d> {
    /// For the error.
    pub(super) attempted: &'static str,
    /// What stands before the rows.
    head: &'static str,
    /// What stands after them.
    tail: &'static str,
    columns: usize,
    /// Row after row.
    cells: Vec<Cell<'d>>,
}

enum Cell<'d> {
    Number(u64),
    Text(&'d str),
    OwnText(String),
    Bytes(&'d [u8]),
}

/// How a row of a table of keys and values is written over an older one.
const OR_UPDATE: &str = " ON CONFLICT (key) DO UPDATE SET value = excluded.value";

impl<'d> Rows<'d> {
    pub(super) fn of(delta: &'d Delta) -> Self {
        debug_assert!(
            delta.log.is_sorted_by(|(a, _), (b, _)| a + 1 == *b),
            "the engine numbers lines without holes"
        );
        let mut rows = Self {
            begins_at: delta.log.first().map(|(n, _)| *n),
            statements: Vec::new(),
        };
        rows.push(
            "add lines to the log",
            "INSERT INTO log (n, line) VALUES ",
            "",
            delta
                .log
                .iter()
                .map(|(n, line)| [Cell::Number(*n), Cell::Text(line)]),
        );
        rows.push(
            "add lines of nodes",
            "INSERT INTO lines (node, seq, sha256, n) VALUES ",
            " ON CONFLICT (node, seq, sha256) DO NOTHING",
            delta.lines.iter().map(
                |StoredLine {
                     node,
                     seq,
                     sha256,
                     n,
                 }| {
                    [
                        Cell::Text(node.as_str()),
                        Cell::Number(*seq),
                        Cell::Bytes(&sha256.0),
                        Cell::Number(*n),
                    ]
                },
            ),
        );
        rows.push(
            "keep rules",
            "INSERT INTO rules (sha256, text) VALUES ",
            " ON CONFLICT (sha256) DO NOTHING",
            delta.rules.iter().map(|(sha256, rules)| {
                [
                    Cell::OwnText(sha256.to_string()),
                    Cell::OwnText(canonical::write(&**rules)),
                ]
            }),
        );
        rows.table(
            ["write nodes", "remove nodes"],
            "INSERT INTO nodes (key, value) VALUES ",
            "DELETE FROM nodes WHERE key IN (",
            &delta.nodes,
        );
        rows.table(
            ["write plans", "remove plans"],
            "INSERT INTO plans (key, value) VALUES ",
            "DELETE FROM plans WHERE key IN (",
            &delta.plans,
        );
        rows.table(
            ["write alerts", "remove alerts"],
            "INSERT INTO alerts (key, value) VALUES ",
            "DELETE FROM alerts WHERE key IN (",
            &delta.alerts,
        );
        rows.table(
            ["write messages", "remove messages"],
            "INSERT INTO outbox (key, value) VALUES ",
            "DELETE FROM outbox WHERE key IN (",
            &delta.outbox,
        );
        rows.table(
            ["write tokens", "remove tokens"],
            "INSERT INTO tokens (key, value) VALUES ",
            "DELETE FROM tokens WHERE key IN (",
            &delta.tokens,
        );
        rows.table(
            ["write senders", "remove senders"],
            "INSERT INTO senders (key, value) VALUES ",
            "DELETE FROM senders WHERE key IN (",
            &delta.senders,
        );
        rows.table(
            ["write what is held", "remove what is held"],
            "INSERT INTO held (key, value) VALUES ",
            "DELETE FROM held WHERE key IN (",
            &delta.held,
        );
        rows.table(
            ["write dues of digests", "remove dues of digests"],
            "INSERT INTO digests (key, value) VALUES ",
            "DELETE FROM digests WHERE key IN (",
            &delta.digests,
        );
        rows.table(
            ["write mutes", "remove mutes"],
            "INSERT INTO mutes (key, value) VALUES ",
            "DELETE FROM mutes WHERE key IN (",
            &delta.mutes,
        );
        rows.push(
            "write single values",
            "INSERT INTO meta (key, value) VALUES ",
            OR_UPDATE,
            delta
                .meta
                .iter()
                .map(|meta| [Cell::Text("state"), Cell::OwnText(json(meta))]),
        );
        rows
    }

    fn push<const COLUMNS: usize>(
        &mut self,
        attempted: &'static str,
        head: &'static str,
        tail: &'static str,
        rows: impl Iterator<Item = [Cell<'d>; COLUMNS]>,
    ) {
        let cells: Vec<Cell<'d>> = rows.flatten().collect();
        if !cells.is_empty() {
            self.statements.push(Statement {
                attempted,
                head,
                tail,
                columns: COLUMNS,
                cells,
            });
        }
    }

    fn table<K: Key, V: Serialize>(
        &mut self,
        [write, remove]: [&'static str; 2],
        insert: &'static str,
        delete: &'static str,
        changed: &'d BTreeMap<K, Option<V>>,
    ) {
        let kept = changed.iter().filter_map(|(key, row)| {
            let row = row.as_ref()?;
            Some([Cell::OwnText(key.to_text()), Cell::OwnText(json(row))])
        });
        self.push(write, insert, OR_UPDATE, kept);
        let gone = changed
            .iter()
            .filter(|(_, row)| row.is_none())
            .map(|(key, _)| [Cell::OwnText(key.to_text())]);
        self.push(remove, delete, ")", gone);
    }
}

impl Statement<'_> {
    pub(super) async fn execute(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        for cells in self.cells.chunks(ROWS_MAX * self.columns) {
            let rows = cells.len() / self.columns;
            // The text is made of constants and placeholders.
            let sql = format!(
                "{}{}{}",
                self.head,
                placeholders(rows, self.columns),
                self.tail
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(rows <= ROWS_PREPARED);
            for cell in cells {
                query = match cell {
                    Cell::Number(number) => query.bind(signed(*number)),
                    Cell::Text(text) => query.bind(*text),
                    Cell::OwnText(text) => query.bind(text.as_str()),
                    Cell::Bytes(bytes) => query.bind(*bytes),
                };
            }
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// `(?,?),(?,?)` for two rows of two columns.
pub(super) fn placeholders(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row.as_str(); rows].join(",")
}

/// A key of a map of the state, as the text that is a table's primary key.
pub(super) trait Key: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Result<Self, serde_json::Error>;
}

impl Key for AlertKey {
    fn to_text(&self) -> String {
        json(&(self.node(), self.check(), self.object()))
    }

    fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let (node, check, object): (String, String, String) = serde_json::from_str(text)?;
        alert_key(&node, &check, &object)
    }
}

impl Key for DeferredKey {
    fn to_text(&self) -> String {
        let Self { receiver, alert } = self;
        json(&(receiver, alert.node(), alert.check(), alert.object()))
    }

    fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let (receiver, node, check, object): (_, String, String, String) =
            serde_json::from_str(text)?;
        let alert = alert_key(&node, &check, &object)?;
        Ok(Self { receiver, alert })
    }
}

fn alert_key(node: &str, check: &str, object: &str) -> Result<AlertKey, serde_json::Error> {
    AlertKey::from_parts(node, check, object).map_err(serde_json::Error::custom)
}

macro_rules! plain_keys {
    ($($key:ty),*) => {$(
        impl Key for $key {
            fn to_text(&self) -> String {
                self.to_string()
            }

            fn from_text(text: &str) -> Result<Self, serde_json::Error> {
                <$key>::from_str(text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

plain_keys!(NodeName, SenderName, ReceiverName, Digest, u64, String);

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("our own rows have text keys and no other obstacle to JSON")
}

/// SQLite's integers are signed. Numbers of lines never get there: canonical JSON ends at 2^53.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
