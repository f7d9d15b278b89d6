//! `data-inventory`: every field that can leave this node, from the schema itself.
//!
//! Reasons and facts come from the closed list in core, metrics from the kinds and from what this agent registers. The
//! members of lines and contacts are listed here; tests hold the lists to what is really written.

use std::fmt::Write as _;

use serde_json::{Value, json};
use vigie_checks::KINDS;
use vigie_core::reason::{FactType, Reason};
use vigie_platform::process::Exit;

use super::show;
use crate::metrics::labels_of;

/// Every member of a line of evidence, with its type and what it says.
pub(super) const ENTRY_FIELDS: [Field; 13] = [
    (
        "at",
        "time",
        "when the line was written, by this node's clock",
    ),
    (
        "boot",
        "identifier",
        "the kernel's random name for this boot",
    ),
    ("check", "configured name", "the check"),
    (
        "facts",
        "see facts",
        "details of the reason, only those listed below",
    ),
    ("kind", "word", "what the line is about"),
    ("node", "configured name", "this node"),
    (
        "object",
        "configured name, unit, mount point, public name or pseudonym",
        "what the check judged",
    ),
    ("prev", "digest", "SHA-256 of the line before"),
    ("reason", "word", "why, one of the reasons below"),
    ("seq", "integer", "the line's number"),
    (
        "service",
        "configured name",
        "the service the check counts for",
    ),
    ("status", "word", "ok, warning, critical or unknown"),
    ("v", "integer", "version of the format"),
];

/// Every member of a contact.
pub(super) const CONTACT_FIELDS: [Field; 9] = [
    ("contact.at", "time", "this node's clock"),
    ("contact.head.seq", "integer", "number of the last line"),
    ("contact.head.sha256", "digest", "SHA-256 of the last line"),
    ("contact.plan", "digest", "SHA-256 of the plan in force"),
    (
        "contact.not_ok[].check",
        "configured name",
        "a check with something that is not ok",
    ),
    ("contact.not_ok[].object", "as in lines", "what is not ok"),
    (
        "contact.not_ok[].status",
        "word",
        "warning, critical or unknown",
    ),
    (
        "contact.not_ok[].seq",
        "integer",
        "number of the line that said so",
    ),
    (
        "signature",
        "signature",
        "Ed25519 over the contact and the collector's id",
    ),
];

/// Every member of the requests that win and renew this node's identity.
const IDENTITY_FIELDS: [Field; 5] = [
    ("token_id", "word", "public name of the join token"),
    (
        "secret",
        "secret",
        "secret of the join token, to the collector that the token pins and only once",
    ),
    ("node", "configured name", "this node"),
    (
        "tls_key_spki",
        "public key",
        "public half of the TLS key; also at each renewal",
    ),
    (
        "signing_key",
        "public key",
        "public half of the key that signs contacts",
    ),
];

/// Every member of a message to the fallback webhook, if the settings name one.
const FALLBACK_FIELDS: [Field; 3] = [
    ("node", "configured name", "this node"),
    (
        "event",
        "word",
        "collector.unreachable, collector.back or collector.rollback",
    ),
    ("since", "time", "since when"),
];

/// Every member of a sample, and who is sent samples.
const SAMPLE_FIELDS: [Field; 4] = [
    (
        "name",
        "word",
        "a metric of checks listed below, or of this agent itself; its help and type go along",
    ),
    (
        "labels",
        "configured name, unit, mount point, public name, pseudonym or word",
        "this node, and the labels listed with each metric",
    ),
    ("value", "number", "what was measured or counted"),
    ("timestamp", "time", "when, by this node's clock"),
];

/// Who is sent samples.
const SAMPLES_GO_TO: &str = "the collector, each receiver that `remote_write` in the settings names, and whoever reads /metrics";

/// Name, type and meaning.
type Field = (&'static str, &'static str, &'static str);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn inventory(arguments: &Arguments) -> Exit {
    if arguments.json {
        show(&as_json().to_string());
    } else {
        show(&as_text());
    }
    Exit::Ok
}

fn as_json() -> Value {
    let fields = |fields: &[Field]| -> Value {
        fields
            .iter()
            .map(|(name, value_type, meaning)| {
                json!({ "name": name, "type": value_type, "meaning": meaning })
            })
            .collect()
    };
    let reasons: Value = Reason::all()
        .map(|reason| {
            let facts: Value = reason
                .spec()
                .facts
                .iter()
                .map(|(name, fact_type)| json!({ "name": name, "type": words(*fact_type) }))
                .collect();
            json!({
                "code": reason.code(),
                "family": reason.spec().family,
                "meaning": reason.spec().meaning.trim(),
                "facts": facts,
            })
        })
        .collect();
    let metrics: Value = KINDS
        .iter()
        .flat_map(|kind| kind.metrics.iter().map(move |metric| (kind, metric)))
        .map(|(kind, metric)| {
            json!({
                "name": metric.id.0,
                "kind": kind.name,
                "labels": labels_of(metric),
                "meaning": metric.help,
            })
        })
        .collect();
    json!({
        "entry": fields(&ENTRY_FIELDS),
        "contact": fields(&CONTACT_FIELDS),
        "identity": fields(&IDENTITY_FIELDS),
        "fallback": fields(&FALLBACK_FIELDS),
        "samples": { "go_to": SAMPLES_GO_TO, "fields": fields(&SAMPLE_FIELDS) },
        "reasons": reasons,
        "metrics": metrics,
    })
}

fn as_text() -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let mut section = |title: &str, fields: &[Field]| {
        let _ = writeln!(text, "{title}");
        for (name, value_type, meaning) in fields {
            let _ = writeln!(text, "  {name:<26} {value_type}: {meaning}");
        }
        let _ = writeln!(text);
    };
    section("A line of evidence", &ENTRY_FIELDS);
    section("A contact, every 20 seconds", &CONTACT_FIELDS);
    section("Joining and renewing", &IDENTITY_FIELDS);
    section("The fallback webhook, if there is one", &FALLBACK_FIELDS);
    section(
        &format!("A sample, every 15 seconds for each series; to {SAMPLES_GO_TO}"),
        &SAMPLE_FIELDS,
    );
    let _ = writeln!(text, "Reasons and their facts");
    for reason in Reason::all() {
        let facts: Vec<String> = reason
            .spec()
            .facts
            .iter()
            .map(|(name, fact_type)| format!("{name} ({})", words(*fact_type)))
            .collect();
        let facts = if facts.is_empty() {
            "no facts".to_owned()
        } else {
            facts.join(", ")
        };
        let _ = writeln!(text, "  {:<26} {facts}", reason.code());
    }
    let _ = writeln!(text, "\nMetrics of checks");
    for kind in KINDS {
        for metric in kind.metrics {
            let labels = labels_of(metric).join(", ");
            let _ = writeln!(text, "  {} {{{labels}}}: {}", metric.id.0, metric.help);
        }
    }
    text
}

const fn words(fact_type: FactType) -> &'static str {
    match fact_type {
        FactType::Integer => "integer",
        FactType::Integers => "integers",
        FactType::Word => "word",
        FactType::Time => "time",
        FactType::CodePoint => "one character",
        FactType::Digest => "digest",
        FactType::Name => "configured name, unit, mount point, public name or pseudonym",
        FactType::Names => "several such names",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use vigie_core::{
        contact::{Contact, NotOk},
        digest::Digest,
        entry::{Draft, Head, Kind},
        observation::{Facts, Object},
        reason::vigie,
        status::Status,
        time::Wall,
    };

    use super::*;

    /// Every path of a JSON value, with `[]` for lists.
    fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let path = if prefix.is_empty() {
                        key.clone()
                    } else {
                        format!("{prefix}.{key}")
                    };
                    paths(member, &path, found);
                }
            }
            Value::Array(items) => items
                .iter()
                .for_each(|item| paths(item, &format!("{prefix}[]"), found)),
            _ => {
                found.insert(prefix.to_owned());
            }
        }
    }

    fn listed(fields: &[Field]) -> BTreeSet<String> {
        fields
            .iter()
            .map(|(name, _, _)| (*name).to_owned())
            .collect()
    }

    #[test]
    fn a_line_has_the_members_that_the_inventory_lists() {
        let draft = Draft {
            kind: Kind::CheckStatus,
            check: Some("a".parse().unwrap()),
            object: Some(Object::configured("o").unwrap()),
            service: Some("s".parse().unwrap()),
            status: Some(Status::Critical),
            reason: vigie::CHECK_FAULT,
            facts: Facts::new(),
        };
        let line = draft.chain(Head::EMPTY, &"app-01".parse().unwrap(), "b", Wall(0));
        let line: Value = serde_json::from_slice(&line.bytes).unwrap();
        let members: BTreeSet<String> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, listed(&ENTRY_FIELDS));
    }

    #[test]
    fn a_contact_has_the_members_that_the_inventory_lists() {
        let contact = Contact {
            at: Wall(0),
            head: Head::EMPTY,
            plan: Some(Digest::ZERO),
            not_ok: vec![NotOk {
                check: "a".parse().unwrap(),
                object: Some("o".to_owned()),
                status: Status::Critical,
                seq: 1,
            }],
        };
        let line = contact.to_line("c", &"app-01".parse().unwrap(), |_| vec![0; 64]);
        let mut found = BTreeSet::new();
        paths(&serde_json::from_str(&line).unwrap(), "", &mut found);
        assert_eq!(found, listed(&CONTACT_FIELDS));
    }

    #[test]
    fn every_reason_and_every_metric_of_a_kind_is_listed() {
        let (json, text) = (as_json(), as_text());
        assert_eq!(
            json["reasons"].as_array().unwrap().len(),
            Reason::all().count()
        );
        for reason in Reason::all() {
            assert!(text.contains(reason.code()), "{reason}");
        }
        assert!(text.contains("`remote_write`"));
        assert!(
            json["samples"]["go_to"]
                .as_str()
                .unwrap()
                .contains("remote_write")
        );
        for metric in KINDS.iter().flat_map(|kind| kind.metrics) {
            assert!(text.contains(metric.id.0), "{}", metric.id.0);
        }
    }
}
