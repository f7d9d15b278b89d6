//! The form that receivers of Prometheus Alertmanager's webhook understand (its payload version 4), so that what teams
//! have already, on-call software above all, can be pointed at vigie as it is.
//!
//! One message is one group with one alert. `groupKey` and `fingerprint` name the alert for its whole life, so that its
//! end finds its beginning; the label `severity` may change between the two when it gets worse.

use serde_json::{Map, Value, json};
use vigie_core::{
    alert::{Message, Notice},
    digest::{Digest, to_hex},
    reason::message::{self, Language, TEXT_LEN_MAX, sanitised},
};

use super::webhook;

/// What Alertmanager writes for an end that has not come.
const NOT_YET: &str = "0001-01-01T00:00:00Z";

/// How many bytes of a digest are a fingerprint there (a 64-bit hash).
const FINGERPRINT_LEN: usize = 8;

/// The body of the POST. `language` is that of the annotations.
#[must_use]
pub fn body(message: &Message, language: Language) -> Vec<u8> {
    let (status, ends_at) = match message.notice {
        Notice::Open | Notice::Worse => ("firing", NOT_YET.to_owned()),
        // `since` is by the node's clock: an end before the beginning would be taken for no alert at all.
        Notice::Close => ("resolved", message.at.max(message.since).to_string()),
    };
    let labels = labels(message);
    let annotations = annotations(message, language);
    let group_labels = json!({"alertname": labels["alertname"], "node": labels["node"]});
    json!({
        "version": "4",
        "groupKey": format!("vigie/{}/{}", message.number, fingerprint(message)),
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
            "startsAt": message.since,
            "endsAt": ends_at,
            "generatorURL": "",
            "fingerprint": fingerprint(message),
        }],
    })
    .to_string()
    .into_bytes()
}

fn labels(message: &Message) -> Map<String, Value> {
    let services: Vec<&str> = message.services.iter().map(|name| name.as_str()).collect();
    let mut labels = Map::new();
    let mut label = |name: &str, value: String| {
        // There an empty label is an absent one.
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.into());
        }
    };
    let check = sanitised(&message.alert.check, TEXT_LEN_MAX);
    label("alertname", check.clone());
    label("check", check);
    label("node", sanitised(&message.alert.node, TEXT_LEN_MAX));
    label("object", webhook::object(message).unwrap_or_default());
    label("service", services.join(","));
    label("severity", message.status.to_string());
    label("criticality", message.criticality.to_string());
    label("family", message.family.to_string());
    label("environment", message.environment.to_string());
    labels
}

fn annotations(message: &Message, language: Language) -> Map<String, Value> {
    let mut annotations = Map::new();
    annotations.insert(
        "summary".to_owned(),
        webhook::title(message, language).into(),
    );
    annotations.insert(
        "description".to_owned(),
        message::render(language, &message.reason, &message.facts).into(),
    );
    if let Some(runbook) = &message.runbook {
        annotations.insert("runbook_url".to_owned(), runbook.clone().into());
    }
    annotations
}

fn fingerprint(message: &Message) -> String {
    let key = &message.alert;
    let digest = Digest::of(
        format!(
            "vigie alert v1\n{}\n{}\n{}",
            key.node, key.check, key.object
        )
        .as_bytes(),
    );
    to_hex(&digest.0[..FINGERPRINT_LEN])
}
