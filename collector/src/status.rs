//! The fleet as it is, for operators: a JSON snapshot made by the engine, and its rendering as a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vigie_core::{
    id::{NodeName, ReceiverName},
    reason::message::{self, Language},
    status::{Need, Status},
    time::{Deadline, Now, Wall},
};
use vigie_decide::{
    alert::{Actor, Alert, AlertKey},
    destination::Destination,
    fleet::{self, State},
    mute::{Muted, MutedBy, REASON_LEN_MAX, SilenceMatch},
    presence::Presence,
    routing::Ground,
    rules::{Rules, Subject},
};

use crate::acknowledge::link::{About, Linked, Mark};

/// The snapshot's format version.
const VERSION: u64 = 1;

/// How much of a name or reason stands in a table: the longest reason of a silence, whole.
const CELL_LEN_MAX: usize = REASON_LEN_MAX;

/// Everything `status --json` prints. Alerts come loudest first.
#[must_use]
pub fn snapshot(state: &State, ground: &Ground, presence: &Presence, now: Now) -> Value {
    let rules = &*ground.rules;
    let nodes: Vec<Value> = state
        .nodes
        .iter()
        .map(|(name, node)| {
            let worst = state
                .alerts
                .iter()
                .filter(|(key, _)| key.node() == name.as_str())
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
    json!({
        "version": VERSION,
        "at": now.wall.to_string(),
        "log": state.meta.frontier.checkpoint(),
        "clock_in_doubt": state.meta.clock_in_doubt,
        "nodes": nodes,
        "senders": senders,
        "alerts": alerts(state, rules),
        "held": held(state),
        "mutes": mutes(state),
        "windows": windows(ground, now.wall),
        "groups": rules.groups.iter().map(|(name, group)| (name.to_string(), json!(group.nodes))).collect::<BTreeMap<_, _>>(),
        "services": rules.services.keys().collect::<Vec<_>>(),
        "sites": rules.groups.values().map(|group| &group.site).collect::<BTreeSet<_>>(),
        "receivers": rules.receivers.keys().collect::<Vec<_>>(),
        "destinations": destinations(rules),
        "messages_waiting": state.outbox.len(),
        "last_message": state.meta.last_message,
    })
}

/// The open alerts, loudest first.
fn alerts(state: &State, rules: &Rules) -> Vec<Value> {
    let mut held_for: BTreeMap<&AlertKey, Vec<&ReceiverName>> = BTreeMap::new();
    for (key, held) in &state.held {
        if held.ended.is_none() {
            held_for.entry(&key.alert).or_default().push(&key.receiver);
        }
    }
    let mut alerts: Vec<_> = state.alerts.iter().collect();
    alerts.sort_by_key(|(_, alert)| (std::cmp::Reverse(alert.status.rank()), alert.number));
    alerts
        .into_iter()
        .map(|(key, alert)| {
            let held_for = held_for.get(key).map(Vec::as_slice).unwrap_or_default();
            alert_row(state, rules, key, alert, held_for)
        })
        .collect()
}

fn alert_row(
    state: &State,
    rules: &Rules,
    key: &AlertKey,
    alert: &Alert,
    held_for: &[&ReceiverName],
) -> Value {
    let node = key.node().parse::<NodeName>().ok();
    let plan = node.as_ref().and_then(|node| state.plans.get(node));
    let subject = fleet::subject(rules, plan, key, alert);
    // One destination may be reached for several receivers: it was told first what it was told first for any of them.
    let mut to: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (destination, reached) in alert.told.values().flat_map(|told| &told.to) {
        let (first, last) = to
            .entry(destination.to_string())
            .or_insert((reached.first, reached.last));
        *first = reached.first.min(*first);
        *last = reached.last.max(*last);
    }
    let to: BTreeMap<String, Value> = to
        .into_iter()
        .map(|(to, (first, last))| (to, json!({"first": first, "last": last})))
        .collect();
    let acknowledged = alert.acknowledged.as_ref().map(|acknowledgement| {
        json!({
            "by": acknowledgement.by,
            "at": acknowledgement.at,
            "until": acknowledgement.until.map(on_the_wall),
        })
    });
    json!({
        "number": alert.number,
        "node": key.node(),
        "check": key.check(),
        "object": key.object(),
        "status": alert.status.as_str(),
        "criticality": subject.criticality.as_str(),
        "services": subject.services.iter().map(|service| service.as_str()).collect::<Vec<_>>(),
        "environment": subject.environment.as_str(),
        "sites": subject.sites,
        "groups": subject.groups,
        "serves": subject.serves.as_str(),
        "need": subject.need,
        "family": alert.family.as_str(),
        "reason": alert.reason,
        "facts": alert.facts,
        "opening": alert.opening,
        "since": alert.since.to_string(),
        "told": alert.told.keys().map(|receiver| receiver.as_str()).collect::<Vec<_>>(),
        "to": to,
        "acknowledged": acknowledged,
        "muted": alert.muted,
        "folded_into": alert.folded_into,
        "held_for": held_for,
        "exercise": key.is_exercise(),
        "until_confirmed": alert.until_confirmed,
    })
}

/// What waits for the digest of each receiver.
fn held(state: &State) -> Vec<Value> {
    let mut waiting: BTreeMap<&ReceiverName, u64> = BTreeMap::new();
    for key in state.held.keys() {
        *waiting.entry(&key.receiver).or_default() += 1;
    }
    let receivers: BTreeSet<&ReceiverName> = waiting
        .keys()
        .copied()
        .chain(state.digests.keys())
        .collect();
    receivers
        .into_iter()
        .map(|receiver| {
            let digest = state.digests.get(receiver).copied().unwrap_or_default();
            json!({
                "receiver": receiver,
                "waiting": waiting.get(receiver).copied().unwrap_or_default(),
                "due": digest.due,
                "last": digest.last,
                "left_out": digest.left_out,
            })
        })
        .collect()
}

/// Silences and maintenance that commands began.
fn mutes(state: &State) -> Vec<Value> {
    state
        .mutes
        .iter()
        .map(|(number, mute)| {
            let (kind, about) = match &mute.what {
                Muted::Silence(matches) => ("silence", json!(matches)),
                Muted::Maintenance(place) => ("maintenance", json!(place)),
            };
            let hits = state
                .alerts
                .values()
                .filter(|alert| alert.muted == Some(MutedBy::Mute(*number)));
            json!({
                "mute": number,
                "kind": kind,
                "about": about,
                "reason": mute.reason,
                "uid": mute.uid,
                "from": mute.from,
                "until": on_the_wall(mute.until),
                "hits": hits.map(|alert| alert.number).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// Windows of maintenance that stand in the settings.
fn windows(ground: &Ground, at: Wall) -> Vec<Value> {
    ground
        .rules
        .maintenance
        .iter()
        .map(|(name, maintenance)| {
            let window = &maintenance.window;
            let zone = ground.zones.find(window.time_zone());
            json!({
                "window": name,
                "place": maintenance.place,
                "scope": maintenance.scope,
                "when": window,
                "reason": maintenance.reason,
                "is_on": zone.is_some_and(|zone| window.is_on(zone, at)),
                "next_edge": zone.and_then(|zone| window.next_edge(zone, at)),
            })
        })
        .collect()
}

/// Everywhere that these rules can send a message.
fn destinations(rules: &Rules) -> Vec<Destination> {
    let receivers = rules
        .receivers
        .iter()
        .filter(|(_, receiver)| receiver.steps.is_empty())
        .map(|(name, _)| Destination::Receiver(name.clone()));
    let people = rules.people.iter().flat_map(|(name, person)| {
        person.channels.iter().map(|channel| Destination::Person {
            person: name.clone(),
            channel: channel.clone(),
        })
    });
    receivers.chain(people).collect()
}

const fn on_the_wall(deadline: Deadline) -> Wall {
    Wall(deadline.wall_ms)
}

/// What a transmission to a destination said is on, and is on still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldAlert {
    /// Its number.
    pub number: u64,
    /// Services concerned.
    pub services: Vec<String>,
    /// How it stands.
    pub status: Status,
    /// Nothing is really wrong.
    pub is_exercise: bool,
    /// Who is on it.
    pub acknowledged_by: Option<Actor>,
}

/// Why nothing can be said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTold {
    /// The settings send nothing there any more.
    Retired,
    /// It went out while the log could not be written, and is not in it yet.
    Unwritten,
}

/// The open alerts of a snapshot that a link is about, and that an acknowledgement by it is for. Loudest first; none: all
/// of them are over.
///
/// # Errors
/// See [`NotTold`].
pub fn told_by(snapshot: &Value, linked: &Linked) -> Result<Vec<ToldAlert>, NotTold> {
    let Linked { to, last, about } = linked;
    let to = to.to_string();
    if !rows_of(snapshot, "destinations")
        .iter()
        .any(|row| *row == to)
    {
        return Err(NotTold::Retired);
    }
    if *last == 0 || Some(*last) > snapshot["last_message"].as_u64() {
        return Err(NotTold::Unwritten);
    }
    let is_told = |row: &&Value| {
        let reached = &row["to"][&to];
        let (Some(told_first), Some(told_last)) =
            (reached["first"].as_u64(), reached["last"].as_u64())
        else {
            return false;
        };
        match about {
            // Orders decide nothing here: those of messages that could not be written down at once are others by now.
            About::Alerts(marks) => mark(row).is_some_and(|mark| marks.contains(&mark)),
            About::Since(first) => {
                row["exercise"] != true && told_first <= *last && told_last >= *first
            }
        }
    };
    let told = rows_of(snapshot, "alerts").iter().filter(is_told);
    let told = told.map(|row| ToldAlert {
        number: row["number"].as_u64().unwrap_or_default(),
        services: read(&row["services"]).unwrap_or_default(),
        status: status(row),
        is_exercise: row["exercise"] == true,
        acknowledged_by: read(&row["acknowledged"]["by"]),
    });
    Ok(told.collect())
}

/// The open alerts of a snapshot that a silence would be for.
#[must_use]
pub fn hits<'s>(snapshot: &'s Value, matches: &SilenceMatch) -> Vec<&'s Value> {
    let is_hit = |row: &&Value| row["exercise"] != true && covers(row, matches).unwrap_or_default();
    rows_of(snapshot, "alerts").iter().filter(is_hit).collect()
}

/// Whether a silence would be for the alert of this row. `None` for a row of another version.
fn covers(row: &Value, matches: &SilenceMatch) -> Option<bool> {
    let key = key(row)?;
    let subject = Subject {
        services: read(&row["services"])?,
        criticality: read(&row["criticality"])?,
        serves: read::<Need>(&row["serves"])?,
        need: read(&row["need"])?,
        environment: read(&row["environment"])?,
        sites: read(&row["sites"])?,
        groups: read(&row["groups"])?,
        undeclared: BTreeSet::new(),
    };
    let (number, family) = (row["number"].as_u64()?, read(&row["family"])?);
    Some(matches.covers(&key, number, &subject, family, status(row)))
}

fn key(row: &Value) -> Option<AlertKey> {
    serde_json::from_value(row.clone()).ok()
}

fn mark(row: &Value) -> Option<Mark> {
    Some(Mark::of(&key(row)?, row["opening"].as_u64()?))
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Rows of a snapshot: `alerts`, `nodes`, `senders`, `mutes` …
#[must_use]
pub fn rows_of<'s>(snapshot: &'s Value, key: &str) -> &'s [Value] {
    snapshot[key]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The snapshot as a table for a terminal, worst first.
#[must_use]
pub fn table(snapshot: &Value, language: Language) -> String {
    let mut out = node_table(snapshot);
    if !rows_of(snapshot, "senders").is_empty() {
        out.push('\n');
        out.push_str(&sender_table(snapshot));
    }
    out.push('\n');
    out.push_str(&alert_table(rows_of(snapshot, "alerts"), language));
    for held in rows_of(snapshot, "held") {
        let _ = writeln!(
            out,
            "{} held for {}, whose next digest is due {}",
            held["waiting"],
            text(held, "receiver"),
            text(held, "due"),
        );
    }
    let running = mute_table(snapshot, None);
    if !running.is_empty() {
        out.push('\n');
        out.push_str(&running);
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

/// Alerts of a snapshot as a table, in the snapshot's order.
#[must_use]
pub fn alert_table<'s>(alerts: impl IntoIterator<Item = &'s Value>, language: Language) -> String {
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
        let object = text(alert, "object");
        let check = text(alert, "check");
        let facts = alert["facts"].as_object().cloned().unwrap_or_default();
        rows.push([
            format!("#{}", alert["number"]),
            status(alert).as_str().to_owned(),
            text(alert, "criticality"),
            printable(&text(alert, "node")),
            printable(&if object.is_empty() {
                check
            } else {
                format!("{check} {object}")
            }),
            text(alert, "since"),
            handling(alert),
            message::render(language, &text(alert, "reason"), &facts),
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
fn handling(alert: &Value) -> String {
    let mut marks = Vec::new();
    if alert["exercise"] == true {
        marks.push("exercise".to_owned());
    }
    let acknowledged = &alert["acknowledged"];
    if let Some(by) = read::<Actor>(&acknowledged["by"]) {
        let until = match acknowledged["until"].as_str() {
            Some(until) => format!(" until {until}"),
            None => String::new(),
        };
        marks.push(format!("acknowledged by {}{until}", actor(&by)));
    }
    if let Some(number) = alert["muted"]["mute"].as_u64() {
        marks.push(format!("muted by {number}"));
    }
    if let Some(window) = alert["muted"]["window"].as_str() {
        marks.push(format!("muted by window {window}"));
    }
    if let Some(number) = alert["folded_into"].as_u64() {
        marks.push(format!("part of #{number}"));
    }
    let held_for: Vec<String> = read(&alert["held_for"]).unwrap_or_default();
    if !held_for.is_empty() {
        marks.push(format!("held for {}", held_for.join(", ")));
    }
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
pub fn mute_table(snapshot: &Value, kind: Option<&str>) -> String {
    let mut table = vec![["ID", "KIND", "UNTIL", "BY", "WHAT", "WHY"].map(str::to_owned)];
    for mute in rows_of(snapshot, "mutes") {
        if kind.is_none_or(|kind| mute["kind"] == kind) {
            table.push([
                mute["mute"].to_string(),
                text(mute, "kind"),
                text(mute, "until"),
                format!("uid {}", mute["uid"]),
                printable(&conditions(&mute["about"])),
                printable(&text(mute, "reason")),
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
pub fn window_table(snapshot: &Value) -> String {
    let mut table = vec![["WINDOW", "STATE", "CHANGES", "WHAT", "WHY"].map(str::to_owned)];
    for window in rows_of(snapshot, "windows") {
        let state = if window["is_on"] == true {
            "running"
        } else {
            "next"
        };
        table.push([
            text(window, "window"),
            state.to_owned(),
            text(window, "next_edge"),
            printable(&conditions(&window["place"])),
            printable(&text(window, "reason")),
        ]);
    }
    let mut out = String::new();
    if table.len() > 1 {
        write_rows(&mut out, &table);
    }
    out
}

/// The conditions of a silence, or the place of maintenance, in one line: those that are set.
fn conditions(about: &Value) -> String {
    let mut set = Vec::new();
    let mut left = vec![about];
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

/// The nodes of a snapshot as a table, worst first.
#[must_use]
pub fn node_table(snapshot: &Value) -> String {
    let mut out = String::new();
    let mut nodes: Vec<&Value> = rows_of(snapshot, "nodes").iter().collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(status(node).rank()));
    let mut table =
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
        table.push([
            status(node).as_str().to_owned(),
            text(node, "node"),
            up.to_owned(),
            text(node, "last_contact"),
            number("checks"),
            number("seq"),
        ]);
    }
    write_rows(&mut out, &table);
    out
}

/// The senders of a snapshot as a table, by name.
#[must_use]
pub fn sender_table(snapshot: &Value) -> String {
    let mut out = String::new();
    let mut table = vec![["SENDER", "JOINED", "CERTIFICATE UNTIL", "ADMITTED"].map(str::to_owned)];
    for sender in rows_of(snapshot, "senders") {
        let admitted = if sender["denied"] == true {
            "denied"
        } else {
            "yes"
        };
        table.push([
            text(sender, "sender"),
            text(sender, "joined_at"),
            text(sender, "certificate_not_after"),
            admitted.to_owned(),
        ]);
    }
    write_rows(&mut out, &table);
    out
}

/// Names come from nodes; none may move the cursor of an operator's terminal, or turn its text around. What is cut off
/// is marked.
fn printable(text: &str) -> String {
    message::sanitised(text, CELL_LEN_MAX)
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

/// Whether all is well, for the exit code. Exercises are no trouble.
#[must_use]
pub fn is_fine(snapshot: &Value) -> bool {
    let is_exercise = |alert: &Value| alert["exercise"] == true;
    snapshot["alerts"].is_array()
        && rows_of(snapshot, "alerts").iter().all(is_exercise)
        && rows_of(snapshot, "nodes")
            .iter()
            .all(|node| node["status"] == Status::Ok.as_str())
}

#[cfg(test)]
mod tests;
