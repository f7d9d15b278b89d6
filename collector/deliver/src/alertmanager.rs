//! The form that receivers of Prometheus Alertmanager's webhook understand (its payload version 4), so that what teams
//! have already, on-call software above all, can be pointed at vigie as it is.
//!
//! One message is one group with one alert. `groupKey` and `fingerprint` name the alert for its whole life, so that its
//! end finds its beginning; the label `severity` may change between the two when it gets worse. An alert that is told again
//! or handed over is `firing` like one that opens: that form has no word for it.
//!
//! That form has no digests either. One comes as an alert of the severity `info` that ends by itself a day later.
//!
//! With `detail = "minimal"` the labels are the number, the services and how it stands; the name is `vigie`.

use serde_json::{Map, Value, json};
use vigie_core::{
    digest::{Digest, to_hex},
    reason::message::{self, TEXT_LEN_MAX, sanitised},
};
use vigie_decide::alert::{Body, Message, Notice, Notification};
use vigie_wording::Voice;

use super::webhook;
use crate::config::Detail;

/// What Alertmanager writes for an end that has not come.
const NOT_YET: &str = "0001-01-01T00:00:00Z";

/// How many bytes of a digest are a fingerprint there (a 64-bit hash).
const FINGERPRINT_LEN: usize = 8;

/// After what time the alert that a digest became ends, in milliseconds.
pub(super) const DIGEST_LASTS_MS: i64 = 24 * 3_600_000;

/// The body of the POST. Annotations are in the voice's language.
#[must_use]
pub fn body(message: &Message, voice: Voice<'_>, detail: Detail) -> Vec<u8> {
    let (labels, annotations) = described(message, voice, detail);
    let (status, starts_at, ends_at) = match &message.body {
        Body::Alert(telling) if telling.notice == Notice::Close => {
            // `since` is by the node's clock: an end before the beginning would be taken for no alert at all.
            let end = message.at.max(telling.since);
            ("resolved", telling.since, end.to_string())
        }
        Body::Alert(telling) => ("firing", telling.since, NOT_YET.to_owned()),
        Body::Digest(_) => {
            let end = message.at.plus_ms(DIGEST_LASTS_MS);
            ("firing", message.at, end.to_string())
        }
    };
    let mut group_labels = labels.clone();
    group_labels.retain(|name, _| matches!(name.as_str(), "alertname" | "node" | "number"));
    let fingerprint = fingerprint(message, detail);
    let group_key = match &message.body {
        Body::Alert(telling) => format!("vigie/{}/{fingerprint}", telling.number),
        Body::Digest(_) => format!("vigie/digest/{fingerprint}"),
    };
    json!({
        "version": "4",
        "groupKey": group_key,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": message.receiver,
        "groupLabels": group_labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": starts_at,
            "endsAt": ends_at,
            "generatorURL": "",
            "fingerprint": fingerprint,
        }],
    })
    .to_string()
    .into_bytes()
}

/// Labels and annotations of a message, as this form and Alertmanager's own interface have them.
pub(super) fn described(
    message: &Message,
    voice: Voice<'_>,
    detail: Detail,
) -> (Map<String, Value>, Map<String, Value>) {
    let said = webhook::said(message, voice, detail);
    let mut annotations = Map::new();
    annotations.insert("summary".to_owned(), said.title.into());
    let mut labels = Map::new();
    let mut label = |name: &str, value: String| {
        // There an empty label is an absent one.
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.into());
        }
    };
    match (&message.body, detail) {
        (Body::Alert(telling), Detail::Full) => {
            let check = sanitised(telling.alert.check(), TEXT_LEN_MAX);
            label("alertname", check.clone());
            label("check", check);
            label("node", sanitised(&telling.alert.node(), TEXT_LEN_MAX));
            label("object", webhook::object(telling).unwrap_or_default());
            label("service", services(telling));
            label("severity", telling.status.to_string());
            label("criticality", telling.criticality.to_string());
            label("family", telling.family.to_string());
            label("environment", telling.environment.to_string());
            let words = message::render(voice.language, &telling.reason, &telling.facts);
            annotations.insert("description".to_owned(), words.into());
            if let Some(runbook) = &telling.runbook {
                annotations.insert("runbook_url".to_owned(), runbook.clone().into());
            }
        }
        (Body::Alert(telling), Detail::Minimal) => {
            label("alertname", "vigie".to_owned());
            label("number", telling.number.to_string());
            label("service", services(telling));
            label("severity", telling.status.to_string());
            label("criticality", telling.criticality.to_string());
        }
        (Body::Digest(_), _) => {
            label("alertname", "vigie-digest".to_owned());
            label("receiver", message.receiver.to_string());
            label("severity", "info".to_owned());
            annotations.insert("description".to_owned(), said.text.into());
        }
    }
    if message.telling().is_some_and(webhook::is_exercise) {
        label("exercise", "true".to_owned());
    }
    (labels, annotations)
}

fn services(telling: &Notification) -> String {
    let names: Vec<&str> = telling.services.iter().map(|name| name.as_str()).collect();
    names.join(",")
}

/// The same for the whole life of an alert. Says nothing of it: even short names cannot be guessed from a number.
fn fingerprint(message: &Message, detail: Detail) -> String {
    let digest = match (&message.body, detail) {
        (Body::Alert(telling), Detail::Full) => {
            let key = &telling.alert;
            let text = format!(
                "vigie alert v1\n{}\n{}\n{}",
                key.node(),
                key.check(),
                key.object()
            );
            Digest::of(text.as_bytes())
        }
        (Body::Alert(telling), Detail::Minimal) => {
            Digest::of(format!("vigie alert number v1\n{}", telling.number).as_bytes())
        }
        (Body::Digest(_), _) => message.key,
    };
    to_hex(&digest.0[..FINGERPRINT_LEN])
}
