//! `data-inventory`: every field that can reach the collector and every field that leaves it, from the schema itself.

use serde_json::{Value, json};
use vigie_core::reason::Reason;
use vigie_platform::process::Exit;

/// Fields of a message to a receiver.
const MESSAGE_FIELDS: [(&str, &str); 20] = [
    ("key", "digest of what the message is about"),
    ("notice", "open, worse or close"),
    ("number", "the alert's number"),
    ("status", "ok, warning, critical or unknown"),
    ("criticality", "of the services concerned"),
    ("environment", "of the node's group"),
    ("services", "configured names"),
    ("node", "configured name"),
    ("check", "configured name"),
    (
        "object",
        "mount point, unit, public name, configured name or pseudonym",
    ),
    ("family", "of the check"),
    ("reason", "code of a closed list"),
    ("message", "the reason in words, from code and facts"),
    ("facts", "only those that the reason declares"),
    ("since", "time"),
    ("at", "time"),
    ("ended", "why it ended"),
    ("runbook", "address from the settings"),
    ("title", "number, service and the reason in words"),
    (
        "mail",
        "subject and body, made of the fields above; addresses from the settings",
    ),
];

/// What senders of metrics may hand in.
const SENDER_FIELDS: [(&str, &str); 4] = [
    (
        "series",
        "names and labels as that program has them; none is vigie's to choose, so see its own settings",
    ),
    ("samples", "value and time of each"),
    ("metadata", "type, unit and help text of a name"),
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
            .map(|(field, meaning)| json!({"field": field, "meaning": meaning}))
            .collect();
        let of_senders: Vec<Value> = SENDER_FIELDS
            .iter()
            .map(|(field, meaning)| json!({"field": field, "meaning": meaning}))
            .collect();
        println!(
            "{:#}",
            json!({"received": reasons, "received_of_senders": of_senders, "told": leaving})
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
    println!("\nWhat senders of metrics may hand in (`vigie-collector sender list`):");
    for (field, meaning) in SENDER_FIELDS {
        println!("  {field:<28} {meaning}");
    }
    println!("\nWhat receivers are told:");
    for (field, meaning) in MESSAGE_FIELDS {
        println!("  {field:<28} {meaning}");
    }
    Exit::Ok
}
