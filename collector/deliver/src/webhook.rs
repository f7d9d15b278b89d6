//! vigie's own form of a message: one JSON object per POST.
//!
//! ```json
//! {"version":1, "key":"9f2c…", "notice":"open", "number":1841, "title":"[vigie #1841] dossier-patient : …",
//!  "exercise":false, "status":"critical", "criticality":"critical", "services":["dossier-patient"], "node":"app-01",
//!  "check":"portail", "object":"192.0.2.7", "family":"availability", "environment":"production", "need":{"D":4},
//!  "reason":"http.status", "message":{"fr":"…","en":"…"}, "facts":{"got":503}, "since":"…", "at":"…",
//!  "ended":null, "runbook":"https://…", "step":0, "told":["equipe-sis"], "acknowledged_by":null, "explains":0}
//! ```
//! - `notice` is what happened: `open`, `worse`, `still` (on for a while, told here for the first time), `again` (still on,
//!   and nobody is on it), `handover` (still on, and whoever was on it hands it over) or `close`. A program that knows
//!   `open`, `worse` and `close` takes the others for `open`: the number tells whether it has it.
//! - For a close, `status` is how it stood and `ended` says why it ended: `recovered`, `confirmed`, `retired`, `replaced` or
//!   `exercised`.
//! - `exercise`: somebody tries out whether a receiver can be told. Nothing is wrong, and the title says so too.
//! - `need` is the letter of the need that the check serves, and its level. `step` counts from 0, `told` are the other
//!   receivers that know, `acknowledged_by` is `{"uid":1000}` or `{"link":"am/sms"}`, `explains` is how many alerts nobody
//!   is told of because this one explains them.
//! - `key` is also the header `Idempotency-Key`.
//!
//! A digest is another object, whose lines are as they are kept:
//!
//! ```json
//! {"version":1, "key":"…", "notice":"digest", "title":"…", "text":"…", "at":"…",
//!  "digest":{"due":"…", "is_late":false, "since":"…", "still_on":[{"alert":{…}, "held":{…}}], "ended":[…],
//!            "attention":[…], "mutes":[…], "silent":["app-02"], "missing":[], "left_out":0}}
//! ```
//! With `detail = "minimal"` an alert has `version` to `services`, `since`, `at` and `ended`, without node, check, object or
//! finding; a digest's lines have `number`, `services`, `criticality`, `status`, `since`, `times` and `ended`, and the rest
//! is counted.
//!
//! Keys may be added within version 1. Text that a node chose (object, facts) comes without characters that could act on a
//! terminal or a reader's eye.

use std::slice;

use serde_json::{Map, Value, json};
use vigie_core::reason::message::{self, Language, TEXT_LEN_MAX, sanitised};
use vigie_decide::{
    alert::{Body, Message, Notification},
    held::{DigestLine, DigestNotice},
};
use vigie_wording::{Chat, Voice};

use crate::config::Detail;

/// The version of the format.
pub const VERSION: u64 = 1;

/// The body of the POST. The title is in the voice's language, the message in all.
#[must_use]
pub fn body(message: &Message, voice: Voice<'_>, detail: Detail) -> Vec<u8> {
    let said = said(message, voice, detail);
    let mut body = Map::new();
    body.insert("version".to_owned(), VERSION.into());
    body.insert("key".to_owned(), json!(message.key));
    body.insert("at".to_owned(), json!(message.at));
    body.insert("title".to_owned(), said.title.into());
    let of_kind = match (&message.body, detail) {
        (Body::Alert(telling), Detail::Minimal) => minimal(telling),
        (Body::Alert(telling), Detail::Full) => full(telling),
        (Body::Digest(digest), detail) => json!({
            "notice": "digest",
            "text": said.text,
            "digest": match detail {
                Detail::Full => plain(&json!(digest)),
                Detail::Minimal => minimal_digest(digest),
            },
        }),
    };
    if let Value::Object(members) = of_kind {
        body.extend(members);
    }
    Value::Object(body).to_string().into_bytes()
}

fn minimal(telling: &Notification) -> Value {
    json!({
        "notice": telling.notice,
        "number": telling.number,
        "exercise": is_exercise(telling),
        "status": telling.status,
        "criticality": telling.criticality,
        "services": telling.services,
        "since": telling.since,
        "ended": telling.ended,
    })
}

fn full(telling: &Notification) -> Value {
    let words: Map<String, Value> = Language::ALL
        .into_iter()
        .map(|language| {
            let text = message::render(language, &telling.reason, &telling.facts);
            (language.to_string(), text.into())
        })
        .collect();
    let (need, level) = telling.need;
    json!({
        "notice": telling.notice,
        "number": telling.number,
        "exercise": is_exercise(telling),
        "status": telling.status,
        "criticality": telling.criticality,
        "services": telling.services,
        "node": sanitised(&telling.alert.node(), TEXT_LEN_MAX),
        "check": sanitised(telling.alert.check(), TEXT_LEN_MAX),
        "object": object(telling),
        "family": telling.family,
        "environment": telling.environment,
        "need": {need.as_str(): level},
        "reason": sanitised(&telling.reason, TEXT_LEN_MAX),
        "message": words,
        "facts": plain(&Value::Object(telling.facts.clone())),
        "since": telling.since,
        "ended": telling.ended,
        "runbook": telling.runbook,
        "step": telling.step,
        "told": telling.others_told,
        "acknowledged_by": telling.acknowledged_by,
        "explains": telling.explains,
    })
}

fn minimal_digest(digest: &DigestNotice) -> Value {
    let lines = |lines: &[DigestLine]| -> Value {
        lines
            .iter()
            .map(|DigestLine { held, .. }| {
                json!({
                    "number": held.number,
                    "services": held.services,
                    "criticality": held.criticality,
                    "status": held.status,
                    "since": held.since,
                    "times": held.times,
                    "ended": held.ended,
                })
            })
            .collect()
    };
    json!({
        "due": digest.due,
        "is_late": digest.is_late,
        "since": digest.since,
        "still_on": lines(&digest.still_on),
        "ended": lines(&digest.ended),
        "attention": lines(&digest.attention),
        "mutes": digest.mutes.len(),
        "silent": digest.silent.len(),
        "missing": digest.missing.len(),
        "left_out": digest.left_out,
    })
}

/// A message in words.
pub(super) fn said(message: &Message, voice: Voice<'_>, detail: Detail) -> Chat {
    let batch = slice::from_ref(message);
    match detail {
        Detail::Full => vigie_wording::chat(voice, batch),
        Detail::Minimal => vigie_wording::minimal_chat(voice, batch),
    }
}

/// Whether nothing is wrong and somebody only tries out whether a receiver can be told.
pub(super) fn is_exercise(telling: &Notification) -> bool {
    telling.alert.is_exercise()
}

/// What the check judges, where it judges several things.
pub(super) fn object(telling: &Notification) -> Option<String> {
    let object = telling.alert.object();
    (!object.is_empty()).then(|| sanitised(&object, TEXT_LEN_MAX))
}

/// A value whose texts show what they are.
pub(super) fn plain(value: &Value) -> Value {
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

#[cfg(test)]
mod tests;
