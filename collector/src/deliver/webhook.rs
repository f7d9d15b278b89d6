//! vigie's own form of a message: one JSON object per POST.
//!
//! ```json
//! {"version":1, "key":"9f2c…", "notice":"open", "number":1841, "title":"[vigie #1841] dossier-patient : …",
//!  "status":"critical", "criticality":"critical", "services":["dossier-patient"], "node":"app-01",
//!  "check":"portail", "object":"192.0.2.7", "family":"availability", "environment":"production",
//!  "reason":"http.status", "message":{"fr":"…","en":"…"}, "facts":{"got":503}, "since":"…", "at":"…",
//!  "ended":null, "runbook":"https://…"}
//! ```
//! `notice` is `open`, `worse` or `close`; for a close, `status` is how it stood and `ended` says why it ended. `key` is
//! also the header `Idempotency-Key`. Keys may be added within version 1. Text that a node chose (object, facts) comes
//! without characters that could act on a terminal or a reader's eye.

use serde_json::{Map, Value, json};
use vigie_core::{
    alert::{Message, Notice},
    reason::message::{self, Language, TEXT_LEN_MAX, sanitised},
};

/// The version of the format.
pub const VERSION: u64 = 1;

/// How many services a title names; the list is beside it.
const TITLE_SERVICES_MAX: usize = 3;

/// The body of the POST. `language` is that of the title.
#[must_use]
pub fn body(message: &Message, language: Language) -> Vec<u8> {
    let said: Map<String, Value> = Language::ALL
        .into_iter()
        .map(|language| {
            let text = message::render(language, &message.reason, &message.facts);
            (language.to_string(), text.into())
        })
        .collect();
    json!({
        "version": VERSION,
        "key": message.key,
        "notice": message.notice,
        "number": message.number,
        "title": title(message, language),
        "status": message.status,
        "criticality": message.criticality,
        "services": message.services,
        "node": message.alert.node,
        "check": message.alert.check,
        "object": object(message),
        "family": message.family,
        "environment": message.environment,
        "reason": sanitised(&message.reason, TEXT_LEN_MAX),
        "message": said,
        "facts": plain(&Value::Object(message.facts.clone())),
        "since": message.since,
        "at": message.at,
        "ended": message.ended,
        "runbook": message.runbook,
    })
    .to_string()
    .into_bytes()
}

/// One line that says it all: `[vigie #1841] dossier-patient : critique : app-01 portail 192.0.2.7 : …`.
#[must_use]
pub fn title(message: &Message, language: Language) -> String {
    let colon = match language {
        Language::French => " : ",
        Language::English => ": ",
    };
    let standing = match (message.notice, language) {
        (Notice::Open, _) => message::status(language, message.status).to_owned(),
        (Notice::Worse, Language::French) => {
            format!("aggravé, {}", message::status(language, message.status))
        }
        (Notice::Worse, Language::English) => {
            format!("worse, {}", message::status(language, message.status))
        }
        (Notice::Close, Language::French) => "terminé".to_owned(),
        (Notice::Close, Language::English) => "ended".to_owned(),
    };
    let mut place = format!("{} {}", message.alert.node, message.alert.check);
    if let Some(object) = object(message) {
        place.push(' ');
        place.push_str(&object);
    }
    let mut parts = Vec::new();
    if !message.services.is_empty() {
        parts.push(services(message));
    }
    parts.push(standing);
    parts.push(place);
    parts.push(message::render(language, &message.reason, &message.facts));
    format!("[vigie #{}] {}", message.number, parts.join(colon))
}

/// The first services, and how many more.
fn services(message: &Message) -> String {
    let names: Vec<&str> = message
        .services
        .iter()
        .take(TITLE_SERVICES_MAX)
        .map(|service| service.as_str())
        .collect();
    let more = message.services.len() - names.len();
    let names = names.join(", ");
    if more == 0 {
        names
    } else {
        format!("{names} +{more}")
    }
}

/// What the check judges, where it judges several things.
pub(super) fn object(message: &Message) -> Option<String> {
    let object = &message.alert.object;
    (!object.is_empty()).then(|| sanitised(object, TEXT_LEN_MAX))
}

/// A value whose texts show what they are.
fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => sanitised(text, TEXT_LEN_MAX).into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (sanitised(key, TEXT_LEN_MAX), plain(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
