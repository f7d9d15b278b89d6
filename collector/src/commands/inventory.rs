//! `data-inventory`: every field that can reach the collector and every field that leaves it, from the schema itself.

use serde_json::{Value, json};
use vigie_core::reason::Reason;
use vigie_platform::process::Exit;

/// Fields of a message to a receiver or person. A channel whose `detail` is "minimal" carries those marked so and no other.
const MESSAGE_FIELDS: [(&str, &str, Minimal); 29] = [
    ("key", "digest of what the message is about", Minimal::Yes),
    (
        "notice",
        "open, worse, still, again, handover, close or digest",
        Minimal::Yes,
    ),
    ("number", "the alert's number", Minimal::Yes),
    ("exercise", "whether nothing is wrong", Minimal::Yes),
    ("status", "ok, warning, critical or unknown", Minimal::Yes),
    ("criticality", "of the services concerned", Minimal::Yes),
    ("services", "configured names", Minimal::Yes),
    ("since", "time", Minimal::Yes),
    ("at", "time", Minimal::Yes),
    ("ended", "why it ended", Minimal::Yes),
    (
        "title",
        "number, service and state; with detail the check and its object too",
        Minimal::Yes,
    ),
    (
        "link",
        "to say that one is on it: names the destination and digests of alerts, signed; in what people read only",
        Minimal::Yes,
    ),
    ("environment", "of the node's group", Minimal::No),
    ("need", "letter and level", Minimal::No),
    ("node", "configured name", Minimal::No),
    ("check", "configured name", Minimal::No),
    (
        "object",
        "mount point, unit, public name, configured name or pseudonym",
        Minimal::No,
    ),
    ("family", "of the check", Minimal::No),
    ("reason", "code of a closed list", Minimal::No),
    (
        "message",
        "the reason in words, from code and facts",
        Minimal::No,
    ),
    (
        "facts",
        "only those that the reason declares; for what a sender opened its labels",
        Minimal::No,
    ),
    ("runbook", "address from the settings", Minimal::No),
    ("step", "of the receiver", Minimal::No),
    ("told", "names of other receivers that know", Minimal::No),
    (
        "acknowledged_by",
        "user number, or code name of a person",
        Minimal::No,
    ),
    (
        "explains",
        "how many alerts nobody is told of besides",
        Minimal::No,
    ),
    (
        "digest",
        "the fields above for each alert that waited, how often it failed and who was woken; silences and maintenance with \
         their reasons, names of silent and missing nodes. Minimal: numbers, services, states, times and counts",
        Minimal::Yes,
    ),
    (
        "mail, chat, text message, call",
        "the fields above in words; addresses, numbers and topics of people from the settings",
        Minimal::Yes,
    ),
    (
        "PagerDuty, Alertmanager",
        "the fields above under their names there",
        Minimal::Yes,
    ),
];

/// Whether a field is told where detail is minimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Minimal {
    Yes,
    No,
}

/// What whoever has a link is shown, and what the collector takes from them.
const PAGE_FIELDS: [(&str, &str); 6] = [
    ("number", "of each alert that the link is about"),
    ("services", "configured names"),
    ("status", "ok, warning, critical or unknown"),
    ("exercise", "whether nothing is wrong"),
    (
        "acknowledged_by",
        "code name of a person or receiver, or user number",
    ),
    (
        "taken",
        "the link itself and the languages that the browser asks for; no cookie, no body, no address is kept",
    ),
];

/// What senders of metrics and alerts may hand in.
const SENDER_FIELDS: [(&str, &str); 5] = [
    (
        "series",
        "names and labels as that program has them; none is vigie's to choose, so see its own settings",
    ),
    ("samples", "value and time of each"),
    ("metadata", "type, unit and help text of a name"),
    (
        "alerts",
        "labels of each that may be shown, its service, since when, and how long it is good for",
    ),
    ("sender", "its name, from its certificate"),
];

pub(super) fn print(json: bool) -> Exit {
    let reasons: Vec<Value> = Reason::all()
        .map(|reason| {
            let facts: Vec<Value> = reason
                .spec()
                .facts
                .iter()
                .map(|(fact, fact_type)| json!({"fact": fact, "type": format!("{fact_type:?}").to_lowercase()}))
                .collect();
            json!({"reason": reason.code(), "family": reason.spec().family.as_str(), "facts": facts})
        })
        .collect();
    if json {
        let leaving: Vec<Value> = MESSAGE_FIELDS
            .iter()
            .map(|(field, meaning, minimal)| {
                json!({"field": field, "meaning": meaning, "minimal": *minimal == Minimal::Yes})
            })
            .collect();
        let of_senders = fields(&SENDER_FIELDS);
        println!(
            "{:#}",
            json!({
                "received": reasons,
                "received_of_senders": of_senders,
                "told": leaving,
                "shown_behind_links": fields(&PAGE_FIELDS),
            })
        );
        return Exit::Ok;
    }
    println!("What nodes may hand in (see also `vigie-agent data-inventory`):");
    for reason in &reasons {
        let facts: Vec<&str> = reason["facts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|fact| fact["fact"].as_str())
            .collect();
        println!(
            "  {:<28} {}",
            reason["reason"].as_str().unwrap_or_default(),
            facts.join(", ")
        );
    }
    println!("\nWhat senders of metrics and alerts may hand in (`vigie-collector sender list`):");
    for (field, meaning) in SENDER_FIELDS {
        println!("  {field:<28} {meaning}");
    }
    println!("\nWhat receivers are told (*: also by a channel with `detail = \"minimal\"`):");
    for (field, meaning, minimal) in MESSAGE_FIELDS {
        let mark = if minimal == Minimal::Yes { '*' } else { ' ' };
        println!("{mark} {field:<30} {meaning}");
    }
    println!("\nWhat the page behind a link shows, and what it takes (`[acknowledge]`):");
    for (field, meaning) in PAGE_FIELDS {
        println!("  {field:<28} {meaning}");
    }
    Exit::Ok
}

fn fields(fields: &[(&str, &str)]) -> Vec<Value> {
    fields
        .iter()
        .map(|(field, meaning)| json!({"field": field, "meaning": meaning}))
        .collect()
}
