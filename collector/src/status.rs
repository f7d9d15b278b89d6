//! The fleet as it is, as tables for a terminal: the words of [`view`](vigie_decide::view) for people.
//!
//! Names come from nodes, and reasons from operators: nothing of them reaches a terminal that could move its cursor.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use vigie_core::{
    reason::message::{self, Language},
    time::Wall,
};
use vigie_decide::{
    alert::Actor,
    mute::REASON_LEN_MAX,
    view::{
        alert::{Alert, Quiet},
        fleet::Fleet,
        mute::{Kind, Mute, What, Window},
        node::Node,
        sender::Sender,
    },
};

/// How much of a name or reason stands in a table: the longest reason of a silence, whole.
const CELL_LEN_MAX: usize = REASON_LEN_MAX;

/// How much of the log's root is shown, in characters: enough to compare by eye.
const ROOT_LEN_SHOWN: usize = 16;

/// The fleet as a table, worst first.
#[must_use]
pub fn table(fleet: &Fleet, language: Language) -> String {
    let mut out = node_table(&fleet.nodes);
    if !fleet.senders.is_empty() {
        out.push('\n');
        out.push_str(&sender_table(&fleet.senders));
    }
    out.push('\n');
    out.push_str(&alert_table(&fleet.alerts, language));
    for held in &fleet.held {
        let _infallible = writeln!(
            out,
            "{} held for {}, whose next digest is due {}",
            held.waiting,
            held.receiver,
            instant(held.due),
        );
    }
    let running = mute_table(&fleet.mutes, None);
    if !running.is_empty() {
        out.push('\n');
        out.push_str(&running);
    }
    let root = fleet.log.root.to_string();
    let _infallible = writeln!(
        out,
        "\nlog: {} lines, root {}; {} message(s) waiting",
        fleet.log.size,
        root.get(..ROOT_LEN_SHOWN).unwrap_or("-"),
        fleet.messages_waiting,
    );
    if fleet.clock_in_doubt {
        out.push_str("The collector's clock is in doubt; see `vigie-collector clock confirm`.\n");
    }
    out
}

/// Alerts as a table, in their order.
#[must_use]
pub fn alert_table<'a>(alerts: impl IntoIterator<Item = &'a Alert>, language: Language) -> String {
    let mut rows = vec![
        [
            "ALERT",
            "STATUS",
            "CRITICALITY",
            "NODE",
            "CHECK",
            "SINCE",
            "HANDLING",
            "WHY",
        ]
        .map(str::to_owned),
    ];
    for alert in alerts {
        let key = &alert.key;
        rows.push([
            format!("#{}", alert.number),
            alert.status.to_string(),
            alert.criticality.to_string(),
            printable(&key.node()),
            printable(&if key.object().is_empty() {
                key.check().to_owned()
            } else {
                format!("{} {}", key.check(), key.object())
            }),
            alert.since.to_string(),
            handling(alert),
            message::render(language, &alert.reason, &alert.facts),
        ]);
    }
    if rows.len() == 1 {
        return "No alerts.\n".to_owned();
    }
    let mut out = String::new();
    write_rows(&mut out, &rows);
    out
}

/// What is being done about an alert, or keeps it from being told.
fn handling(alert: &Alert) -> String {
    let exercise = alert.exercise.then(|| "exercise".to_owned());
    let quiet = alert.quiet().map(|quiet| match quiet {
        Quiet::Acknowledged(acknowledged) => {
            let until = match acknowledged.until {
                Some(until) => format!(" until {until}"),
                None => String::new(),
            };
            format!("acknowledged by {}{until}", actor(&acknowledged.by))
        }
        Quiet::MutedBy(number) => format!("muted by {number}"),
        Quiet::InWindow(window) => format!("muted by window {window}"),
        Quiet::PartOf(number) => format!("part of #{number}"),
        Quiet::HeldFor(receivers) => {
            let receivers: Vec<&str> = receivers.iter().map(|name| name.as_str()).collect();
            format!("held for {}", receivers.join(", "))
        }
    });
    let marks: Vec<String> = exercise.into_iter().chain(quiet).collect();
    if marks.is_empty() {
        return "-".to_owned();
    }
    printable(&marks.join("; "))
}

/// Who did something, as operators are shown it.
#[must_use]
pub fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Uid(uid) => format!("uid {uid}"),
        Actor::Link(to) => to.to_string(),
    }
}

/// Silences and maintenance that run, of one `kind` or of both; empty when there is none.
#[must_use]
pub fn mute_table(mutes: &[Mute], kind: Option<Kind>) -> String {
    let mut table = vec![["ID", "KIND", "UNTIL", "BY", "WHAT", "WHY"].map(str::to_owned)];
    for mute in mutes {
        if kind.is_none_or(|kind| mute.what.kind() == kind) {
            table.push([
                mute.mute.to_string(),
                mute.what.kind().as_str().to_owned(),
                mute.until.to_string(),
                format!("uid {}", mute.uid),
                printable(&match &mute.what {
                    What::Silence(matches) => conditions(matches),
                    What::Maintenance(place) => conditions(place),
                }),
                printable(&mute.reason),
            ]);
        }
    }
    let mut out = String::new();
    if table.len() > 1 {
        write_rows(&mut out, &table);
    }
    out
}

/// Windows of maintenance of the settings: those that are on and when they end, the others and when they begin next.
#[must_use]
pub fn window_table(windows: &[Window]) -> String {
    let mut table = vec![["WINDOW", "STATE", "CHANGES", "WHAT", "WHY"].map(str::to_owned)];
    for window in windows {
        let state = if window.is_on { "running" } else { "next" };
        table.push([
            window.window.to_string(),
            state.to_owned(),
            instant(window.next_edge),
            printable(&conditions(&window.place)),
            printable(&window.reason),
        ]);
    }
    let mut out = String::new();
    if table.len() > 1 {
        write_rows(&mut out, &table);
    }
    out
}

/// The conditions of a silence, or the place of maintenance, in one line: those that are set, by the names that they have
/// in JSON.
fn conditions(about: &impl Serialize) -> String {
    let about = serde_json::to_value(about).unwrap_or_default();
    let mut set = Vec::new();
    let mut left = vec![&about];
    while let Some(members) = left.pop().and_then(Value::as_object) {
        for (name, value) in members {
            match value {
                Value::Object(_) => left.push(value),
                Value::Array(values) if values.is_empty() => {}
                Value::Array(values) => {
                    let values: Vec<String> = values.iter().map(plain).collect();
                    set.push(format!("{name}={}", values.join(",")));
                }
                value => set.push(format!("{name}={}", plain(value))),
            }
        }
    }
    set.join(" ")
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Nodes as a table, worst first.
#[must_use]
pub fn node_table(nodes: &[Node]) -> String {
    let mut out = String::new();
    let mut nodes: Vec<&Node> = nodes.iter().collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(node.status.rank()));
    let mut table =
        vec![["STATUS", "NODE", "UP", "LAST CONTACT", "CHECKS", "LINES"].map(str::to_owned)];
    for node in nodes {
        let up = match (node.denied, node.up) {
            (true, _) => "denied",
            (false, true) => "yes",
            (false, false) => "no",
        };
        table.push([
            node.status.to_string(),
            node.node.to_string(),
            up.to_owned(),
            instant(node.last_contact),
            node.checks
                .map_or("-".to_owned(), |checks| checks.to_string()),
            node.seq.to_string(),
        ]);
    }
    write_rows(&mut out, &table);
    out
}

/// Senders as a table, in their order.
#[must_use]
pub fn sender_table(senders: &[Sender]) -> String {
    let mut out = String::new();
    let mut table = vec![["SENDER", "JOINED", "CERTIFICATE UNTIL", "ADMITTED"].map(str::to_owned)];
    for sender in senders {
        let admitted = if sender.denied { "denied" } else { "yes" };
        table.push([
            sender.sender.to_string(),
            sender.joined_at.to_string(),
            instant(sender.certificate_not_after),
            admitted.to_owned(),
        ]);
    }
    write_rows(&mut out, &table);
    out
}

/// None of these may move the cursor of an operator's terminal, or turn its text around. What is cut off is marked.
fn printable(text: &str) -> String {
    message::sanitised(text, CELL_LEN_MAX)
}

fn instant(at: Option<Wall>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

fn write_rows<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
pub(crate) mod tests;
