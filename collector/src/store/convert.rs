//! Rows as earlier versions wrote them, brought into the form of today, so that nothing that waits in an old data folder
//! is lost. What is done here is frozen with the step it belongs to: it works on plain JSON, and never on types that
//! change later. The log and the texts of rules beside it are evidence, and stay as they were written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sqlx::SqliteConnection;
use vigie_core::digest::Digest;

use super::LOG_LINES_MAX;

#[cfg(test)]
pub(super) mod tests;

/// Why old rows could not be brought into the form of today.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The database refused.
    #[error("cannot convert table {table}")]
    Database {
        /// The table.
        table: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// A row is not what the version before wrote.
    #[error("cannot understand row {key} of table {table}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// What a level of need is where nobody can say any more: doubt raises.
const NEED_LEVEL_IN_DOUBT: u64 = 4;

/// The messages of an alert to a receiver, by the alert's number and the receiver's name.
type Threads = BTreeMap<(u64, String), Thread>;

/// Messages of one alert to one receiver.
#[derive(Debug, Clone, Default)]
struct Thread {
    /// The first message's key, as text.
    key: Option<String>,
    /// The least and the greatest order of those that still wait.
    waiting: Option<(u64, u64)>,
}

/// Version 3: messages go to destinations and say something about an alert, or are a digest; an alert knows of each
/// receiver where messages went. Until then a message was flat and went to a receiver, and an alert knew only of which
/// status each receiver was told.
pub(super) async fn to_destinations(connection: &mut SqliteConnection) -> Result<(), ConvertError> {
    let messages = rows(connection, "outbox", "SELECT key, value FROM outbox").await?;
    let alerts = rows(connection, "alerts", "SELECT key, value FROM alerts").await?;
    if messages.is_empty() && alerts.is_empty() {
        return Ok(());
    }
    let mut threads = threads_in_log(connection, &alerts).await?;
    for (_, message) in &messages {
        note_waiting(&mut threads, message);
    }
    let needs = needs_of_services(connection).await?;
    let messages = messages
        .into_iter()
        .map(|(key, message)| (key, message_with_destination(message, &needs)));
    let write = "UPDATE outbox SET value = ?2 WHERE key = ?1";
    write_rows(connection, "outbox", write, messages).await?;
    let alerts = alerts
        .into_iter()
        .map(|(key, alert)| (key, alert_with_destinations(alert, &threads)));
    let write = "UPDATE alerts SET value = ?2 WHERE key = ?1";
    write_rows(connection, "alerts", write, alerts).await
}

/// The text of rules in the form of today: until version 3 `receivers` was a list of names.
pub(super) fn rules(mut rules: Value) -> Value {
    if let Some(Value::Array(names)) = rules.get("receivers") {
        let receivers = names
            .iter()
            .filter_map(|name| Some((name.as_str()?.to_owned(), json!({}))))
            .collect::<Map<_, _>>();
        rules["receivers"] = Value::Object(receivers);
    }
    rules
}

/// Which message to each receiver was the first, as the log says.
async fn threads_in_log(
    connection: &mut SqliteConnection,
    alerts: &[(String, Value)],
) -> Result<Threads, ConvertError> {
    let open: BTreeSet<u64> = alerts
        .iter()
        .filter_map(|(_, alert)| number(alert, "number"))
        .collect();
    let mut threads = Threads::new();
    let mut from = 0;
    while !open.is_empty() {
        let lines: Vec<(i64, String)> = sqlx::query_as(
            r#"SELECT n, line FROM log WHERE n >= ?1 AND line LIKE '%"decided":"told"%' ORDER BY n LIMIT ?2"#,
        )
        .bind(from)
        .bind(LOG_LINES_MAX)
        .fetch_all(&mut *connection)
        .await
        .map_err(|source| ConvertError::Database {
            table: "log",
            source,
        })?;
        let Some((last, _)) = lines.last() else {
            break;
        };
        from = *last + 1;
        for (_, line) in &lines {
            // A line that is no JSON is not ours to judge here; the alert's thread begins anew then.
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            note_told(&mut threads, &open, &line["event"]);
        }
    }
    Ok(threads)
}

fn note_told(threads: &mut Threads, open: &BTreeSet<u64>, told: &Value) {
    let (Some(alert), Some(receiver), Some(key)) = (
        number(told, "number"),
        told["receiver"].as_str(),
        told["key"].as_str(),
    ) else {
        return;
    };
    if open.contains(&alert) {
        let thread = threads.entry((alert, receiver.to_owned())).or_default();
        thread.key.get_or_insert_with(|| key.to_owned());
    }
}

fn note_waiting(threads: &mut Threads, message: &Value) {
    let (Some(alert), Some(receiver), Some(order)) = (
        number(message, "number"),
        message["receiver"].as_str(),
        number(message, "order"),
    ) else {
        return;
    };
    let thread = threads.entry((alert, receiver.to_owned())).or_default();
    let (first, last) = thread.waiting.unwrap_or((order, order));
    thread.waiting = Some((first.min(order), last.max(order)));
}

/// The needs of each service by the rules in force when these rows were written.
async fn needs_of_services(connection: &mut SqliteConnection) -> Result<Value, ConvertError> {
    let text: Option<String> = sqlx::query_scalar(
        "SELECT text FROM rules WHERE sha256 =
         (SELECT value ->> '$.rules_sha256' FROM meta WHERE key = 'state')",
    )
    .fetch_optional(connection)
    .await
    .map_err(|source| ConvertError::Database {
        table: "rules",
        source,
    })?;
    let rules = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    Ok(rules.map_or(Value::Null, |mut rules| rules["services"].take()))
}

fn message_with_destination(message: Value, services: &Value) -> Value {
    let Value::Object(mut telling) = message else {
        return message;
    };
    if telling.contains_key("body") {
        return Value::Object(telling);
    }
    let mut take = |member| telling.remove(member).unwrap_or_default();
    let (key, order, receiver, at) = (take("key"), take("order"), take("receiver"), take("at"));
    let need = need_of(&telling, services);
    telling.insert("need".to_owned(), need);
    json!({
        "key": key, "order": order, "to": receiver, "receiver": receiver, "at": at, "body": {"alert": telling},
    })
}

/// The need that the message's family serves, and the highest level that its services have of it.
fn need_of(telling: &Map<String, Value>, services: &Value) -> Value {
    let letter = match telling.get("family").and_then(Value::as_str) {
        Some("host" | "availability") => "D",
        Some("integrity" | "backup") => "I",
        Some("tls") => "C",
        _ => "T",
    };
    let concerned = telling.get("services").and_then(Value::as_array);
    let level = concerned
        .into_iter()
        .flatten()
        .map(|service| {
            let needs = service.as_str().map(|name| &services[name]["needs"]);
            needs
                .and_then(|needs| needs[letter].as_u64())
                .unwrap_or(NEED_LEVEL_IN_DOUBT)
        })
        .max();
    json!([letter, level.unwrap_or(NEED_LEVEL_IN_DOUBT)])
}

fn alert_with_destinations(mut alert: Value, threads: &Threads) -> Value {
    let number = number(&alert, "number").unwrap_or(0);
    if let Some(told) = alert.get_mut("told").and_then(Value::as_object_mut) {
        for (receiver, told) in told {
            if !told.is_string() {
                continue;
            }
            let thread = threads
                .get(&(number, receiver.clone()))
                .cloned()
                .unwrap_or_default();
            // Orders of what went out already are not kept anywhere; nothing refers to them.
            let (first, last) = thread.waiting.unwrap_or_default();
            let key = thread
                .key
                .unwrap_or_else(|| unknown_thread(number, receiver));
            let reached = json!({"first": first, "last": last, "thread": key});
            *told = json!({"status": told.take(), "to": {receiver.as_str(): reached}});
        }
    }
    alert
}

/// Stands for a first message that nobody knows any more: one for each alert and receiver, so that no two threads become
/// one.
fn unknown_thread(number: u64, receiver: &str) -> String {
    Digest::of(format!("vigie thread before v3\n{number}\n{receiver}").as_bytes()).to_string()
}

fn number(value: &Value, member: &str) -> Option<u64> {
    value.get(member)?.as_u64()
}

async fn rows(
    connection: &mut SqliteConnection,
    table: &'static str,
    sql: &'static str,
) -> Result<Vec<(String, Value)>, ConvertError> {
    let rows: Vec<(String, String)> = sqlx::query_as(sql)
        .fetch_all(connection)
        .await
        .map_err(|source| ConvertError::Database { table, source })?;
    rows.into_iter()
        .map(|(key, value)| match serde_json::from_str(&value) {
            Ok(value) => Ok((key, value)),
            Err(source) => Err(ConvertError::Row { table, key, source }),
        })
        .collect()
}

async fn write_rows(
    connection: &mut SqliteConnection,
    table: &'static str,
    sql: &'static str,
    rows: impl Iterator<Item = (String, Value)>,
) -> Result<(), ConvertError> {
    for (key, value) in rows {
        sqlx::query(sql)
            .bind(key)
            .bind(value.to_string())
            .execute(&mut *connection)
            .await
            .map_err(|source| ConvertError::Database { table, source })?;
    }
    Ok(())
}
