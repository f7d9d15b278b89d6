//! PagerDuty's Events API v2, which others understand too: one event for each message.
//!
//! `dedup_key` names one opening of an alert, so that a repeated event changes nothing, an alert that gets worse changes
//! its incident, and its end finds it. A digest is an incident of the severity `info`, for which services there have their
//! own urgency; nothing resolves it.
//!
//! | answer | means |
//! |---|---|
//! | 2xx with `"status":"success"` in its JSON | accepted |
//! | any other 2xx | busy: something else answered |
//! | 400 and other 4xx | refused |
//! | 429, 5xx | busy |

use serde_json::{Value, json};
use vigie_core::{
    digest::{Digest, to_hex},
    reason::message::{TEXT_LEN_MAX, sanitised},
    status::Status,
};
use vigie_decide::{
    alert::{Body, Message, Notice, Notification},
    destination::Destination,
};
use vigie_platform::settings_file::Secret;

use super::{
    attempt::{Occasion, TargetError},
    http::{self, Endpoint, Reply, Request},
    queue::Answer,
    webhook,
};
use crate::config::{self, Detail, is_token_text};

/// How many bytes of a digest name an alert there; the limit is 255 characters.
const DEDUP_LEN: usize = 16;

/// One service there.
pub(super) struct Pagerduty {
    endpoint: Endpoint,
    routing_key: Secret,
}

impl Pagerduty {
    /// Reads everything that telling it needs. Blocks on files.
    pub(super) fn open(
        settings: &config::Pagerduty,
        to: &Destination,
    ) -> Result<Self, TargetError> {
        let url = http::url(Some(&settings.url), to)?;
        let routing_key = http::secret(&settings.routing_key_file, to)?;
        if !is_token_text(routing_key.expose()) {
            return Err(TargetError::Token {
                to: to.to_string(),
                path: settings.routing_key_file.path().to_owned(),
            });
        }
        let headers = http::header_of(None, to)?;
        let endpoint = Endpoint::open(url, headers, settings.ca_file.as_deref(), to)?;
        Ok(Self {
            endpoint,
            routing_key,
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, told: &Occasion<'_>, message: &Message) -> Answer {
        let mut event = event(told, message);
        // The one place where the key is; nothing prints a request.
        event["routing_key"] = self.routing_key.expose_str().into();
        let request = Request::json(event.to_string().into_bytes(), message.key);
        self.endpoint
            .send(
                request,
                Some(&is_accepted),
                told.destination,
                told.now,
                told.limit,
            )
            .await
    }
}

fn is_accepted(reply: &Reply<'_>) -> bool {
    serde_json::from_slice::<Value>(reply.body).is_ok_and(|body| body["status"] == "success")
}

fn event(told: &Occasion<'_>, message: &Message) -> Value {
    let dedup_key = dedup_key(message);
    let said = webhook::said(message, told.voice, told.detail);
    match &message.body {
        Body::Alert(telling) if telling.notice == Notice::Close => {
            json!({"event_action": "resolve", "dedup_key": dedup_key})
        }
        Body::Alert(telling) => {
            let mut payload = json!({
                "summary": said.title,
                "source": "vigie",
                "severity": severity(telling.status),
                "timestamp": telling.since,
                "group": services(telling),
                "custom_details": details(telling, told.detail),
            });
            let mut links = Vec::new();
            if told.detail == Detail::Full {
                payload["source"] = sanitised(&telling.alert.node(), TEXT_LEN_MAX).into();
                payload["component"] = sanitised(telling.alert.check(), TEXT_LEN_MAX).into();
                payload["class"] = sanitised(&telling.reason, TEXT_LEN_MAX).into();
                payload["custom_details"]["text"] = said.text.into();
                links.extend(
                    telling
                        .runbook
                        .as_ref()
                        .map(|runbook| json!({"href": runbook, "text": "runbook"})),
                );
            }
            json!({
                "event_action": "trigger",
                "dedup_key": dedup_key,
                "client": "vigie",
                "payload": payload,
                "links": links,
            })
        }
        Body::Digest(_) => json!({
            "event_action": "trigger",
            "dedup_key": dedup_key,
            "client": "vigie",
            "payload": {
                "summary": said.title,
                "source": "vigie",
                "severity": "info",
                "timestamp": message.at,
                "custom_details": {"text": said.text},
            },
        }),
    }
}

fn details(telling: &Notification, detail: Detail) -> Value {
    let mut details = json!({
        "number": telling.number,
        "notice": telling.notice,
        "criticality": telling.criticality,
        "exercise": webhook::is_exercise(telling),
    });
    if detail == Detail::Full {
        let (need, level) = telling.need;
        details["environment"] = telling.environment.as_str().into();
        details["family"] = telling.family.as_str().into();
        details["need"] = json!({need.as_str(): level});
        details["object"] = webhook::object(telling).into();
        details["facts"] = webhook::plain(&Value::Object(telling.facts.clone()));
    }
    details
}

fn services(telling: &Notification) -> String {
    let names: Vec<&str> = telling.services.iter().map(|name| name.as_str()).collect();
    names.join(",")
}

/// PagerDuty's words. Not knowing is an error, and never as little as a warning.
const fn severity(status: Status) -> &'static str {
    match status {
        Status::Critical => "critical",
        Status::Unknown => "error",
        Status::Warning => "warning",
        Status::Ok => "info",
    }
}

/// The same for all messages about one opening of an alert, and no two openings share it.
fn dedup_key(message: &Message) -> String {
    let digest = match &message.body {
        Body::Alert(telling) => {
            let key = &telling.alert;
            let text = format!(
                "vigie incident v1\n{}\n{}\n{}\n{}",
                key.node(),
                key.check(),
                key.object(),
                telling.opening
            );
            Digest::of(text.as_bytes())
        }
        Body::Digest(_) => message.key,
    };
    format!("vigie-{}", to_hex(&digest.0[..DEDUP_LEN]))
}

#[cfg(test)]
mod tests;
