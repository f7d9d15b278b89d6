//! The fleet as it is, for operators: a JSON snapshot made by the engine, and its rendering as a table.

use std::fmt::Write as _;

use serde_json::{Value, json};
use vigie_core::{
    fleet::{self, State},
    id::NodeName,
    presence::Presence,
    reason::message::{self, Language},
    rules::Rules,
    status::Status,
    time::Now,
};

/// The snapshot's format version.
const VERSION: u64 = 1;

/// Everything `status --json` prints. Alerts come loudest first.
#[must_use]
pub fn snapshot(state: &State, rules: &Rules, presence: &Presence, now: Now) -> Value {
    let nodes: Vec<Value> = state
        .nodes
        .iter()
        .map(|(name, node)| {
            let worst = state
                .alerts
                .iter()
                .filter(|(key, _)| key.node == name.as_str())
                .map(|(_, alert)| alert.status)
                .max_by_key(|status| status.rank());
            let plan = state.plans.get(name).and_then(|plan| plan.complete.as_ref());
            let last_contact = presence.last_contact(name);
            let is_heard = last_contact.is_some() && !presence.is_silent(name);
            let is_settled = plan.is_some_and(|(_, plan)| {
                !plan.is_empty() && plan.keys().all(|check| node.settled.contains(check))
            });
            let status = match worst {
                Some(worst) => worst,
                // Never shown as ok before every check it planned has spoken.
                None if is_settled && is_heard && !node.denied => Status::Ok,
                None => Status::Unknown,
            };
            json!({
                "node": name.as_str(),
                "status": status.as_str(),
                "up": is_heard,
                "last_contact": last_contact.map(|at| at.to_string()),
                "checks": plan.map(|(_, plan)| plan.len()),
                "seq": node.head.seq,
                "denied": node.denied,
                "certificate_not_after": node.keys.last().map(|key| key.not_after.to_string()),
                "groups": rules.groups_of(name).map(|(group, _)| group.as_str()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let senders: Vec<Value> = state
        .senders
        .iter()
        .map(|(name, sender)| {
            json!({
                "sender": name.as_str(),
                "joined_at": sender.joined_at.to_string(),
                "denied": sender.denied,
                "certificate_not_after": sender.keys.last().map(|key| key.not_after.to_string()),
            })
        })
        .collect();
    let mut alerts: Vec<_> = state.alerts.iter().collect();
    alerts.sort_by_key(|(_, alert)| (std::cmp::Reverse(alert.status.rank()), alert.number));
    let alerts: Vec<Value> = alerts
        .into_iter()
        .map(|(key, alert)| {
            let node = key.node.parse::<NodeName>().ok();
            let plan = node.as_ref().and_then(|node| state.plans.get(node));
            let subject = fleet::subject(rules, plan, key, alert);
            json!({
                "number": alert.number,
                "node": key.node,
                "check": key.check,
                "object": key.object,
                "status": alert.status.as_str(),
                "criticality": subject.criticality.as_str(),
                "services": subject.services.iter().map(|service| service.as_str()).collect::<Vec<_>>(),
                "family": alert.family.as_str(),
                "reason": alert.reason,
                "facts": alert.facts,
                "since": alert.since.to_string(),
                "told": alert.told.keys().map(|receiver| receiver.as_str()).collect::<Vec<_>>(),
                "until_confirmed": alert.until_confirmed,
            })
        })
        .collect();
    json!({
        "version": VERSION,
        "at": now.wall.to_string(),
        "log": state.meta.frontier.checkpoint(),
        "clock_in_doubt": state.meta.clock_in_doubt,
        "nodes": nodes,
        "senders": senders,
        "alerts": alerts,
        "messages_waiting": state.outbox.len(),
    })
}

/// The snapshot as a table for a terminal, worst first.
#[must_use]
pub fn table(snapshot: &Value, language: Language) -> String {
    let mut out = node_table(snapshot);
    let empty = Vec::new();
    if snapshot["senders"]
        .as_array()
        .is_some_and(|senders| !senders.is_empty())
    {
        out.push('\n');
        out.push_str(&sender_table(snapshot));
    }
    let alerts = snapshot["alerts"].as_array().unwrap_or(&empty);
    out.push('\n');
    if alerts.is_empty() {
        out.push_str("No alerts.\n");
    } else {
        let mut rows = vec![
            [
                "ALERT",
                "STATUS",
                "CRITICALITY",
                "NODE",
                "CHECK",
                "SINCE",
                "WHY",
            ]
            .map(str::to_owned),
        ];
        for alert in alerts {
            let object = text(alert, "object");
            let check = text(alert, "check");
            let facts = alert["facts"].as_object().cloned().unwrap_or_default();
            rows.push([
                format!("#{}", alert["number"]),
                status(alert).as_str().to_owned(),
                text(alert, "criticality"),
                text(alert, "node"),
                printable(&if object.is_empty() {
                    check
                } else {
                    format!("{check} {object}")
                }),
                text(alert, "since"),
                message::render(language, &text(alert, "reason"), &facts),
            ]);
        }
        write_rows(&mut out, &rows);
    }
    let log = &snapshot["log"];
    let _ = writeln!(
        out,
        "\nlog: {} lines, root {}; {} message(s) waiting",
        log["size"],
        text(log, "root").get(..16).unwrap_or("-"),
        snapshot["messages_waiting"],
    );
    if snapshot["clock_in_doubt"] == true {
        out.push_str("The collector's clock is in doubt; see `vigie-collector clock confirm`.\n");
    }
    out
}

/// The nodes of a snapshot as a table, worst first.
#[must_use]
pub fn node_table(snapshot: &Value) -> String {
    let mut out = String::new();
    let empty = Vec::new();
    let mut nodes: Vec<&Value> = snapshot["nodes"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(status(node).rank()));
    let mut rows =
        vec![["STATUS", "NODE", "UP", "LAST CONTACT", "CHECKS", "LINES"].map(str::to_owned)];
    for node in nodes {
        let number = |key: &str| node[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
        let up = if node["denied"] == true {
            "denied"
        } else if node["up"] == true {
            "yes"
        } else {
            "no"
        };
        rows.push([
            status(node).as_str().to_owned(),
            text(node, "node"),
            up.to_owned(),
            text(node, "last_contact"),
            number("checks"),
            number("seq"),
        ]);
    }
    write_rows(&mut out, &rows);
    out
}

/// The senders of a snapshot as a table, by name.
#[must_use]
pub fn sender_table(snapshot: &Value) -> String {
    let mut out = String::new();
    let empty = Vec::new();
    let mut rows = vec![["SENDER", "JOINED", "CERTIFICATE UNTIL", "ADMITTED"].map(str::to_owned)];
    for sender in snapshot["senders"].as_array().unwrap_or(&empty) {
        let admitted = if sender["denied"] == true {
            "denied"
        } else {
            "yes"
        };
        rows.push([
            text(sender, "sender"),
            text(sender, "joined_at"),
            text(sender, "certificate_not_after"),
            admitted.to_owned(),
        ]);
    }
    write_rows(&mut out, &rows);
    out
}

/// Names come from nodes; none may move the cursor of an operator's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(80)
        .collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or("-").to_owned()
}

fn status(value: &Value) -> Status {
    let word = value["status"].as_str();
    word.and_then(|word| word.parse().ok())
        .unwrap_or(Status::Unknown)
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

/// The worst status of a snapshot, for the exit code.
#[must_use]
pub fn is_fine(snapshot: &Value) -> bool {
    let empty = Vec::new();
    let nodes = snapshot["nodes"].as_array().unwrap_or(&empty);
    snapshot["alerts"].as_array().is_some_and(Vec::is_empty)
        && nodes
            .iter()
            .all(|node| node["status"] == Status::Ok.as_str())
}
