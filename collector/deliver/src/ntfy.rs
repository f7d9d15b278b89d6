//! ntfy: a topic on a server that pushes to telephones. Messages are published as JSON at the server's root.
//!
//! The priority is 5, which passes "do not disturb", for what wakes people (a critical service down or unmeasured); 2,
//! without a sound, for what has only ended; else 3. The link becomes a button.
//!
//! Accepted is an answer that names the message it became (`"id"`): a login page says 200 too.

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use vigie_core::{
    reason::message::Language,
    status::{Criticality, Status},
};
use vigie_decide::{
    alert::{Message, Notice, Notification},
    destination::Destination,
};
use vigie_platform::settings_file::SecretFile;

use super::{
    attempt::{Occasion, TargetError, newest},
    http::{self as outside, Endpoint, Reply, Request},
    queue::Answer,
};
use crate::config::{self, is_token_text};

/// The priorities of ntfy that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    /// Without a sound.
    Low = 2,
    Default = 3,
    /// Wakes.
    Urgent = 5,
}

/// One topic.
pub(super) struct Ntfy {
    endpoint: Endpoint,
    topic: config::To,
}

impl Ntfy {
    /// Reads everything that telling it needs. Blocks on files.
    pub(super) fn open(
        settings: &config::NtfyContact,
        to: &Destination,
    ) -> Result<Self, TargetError> {
        let server = &settings.server;
        let url = outside::url(Some(&server.url), to)?;
        let headers = match &server.token_file {
            Some(file) => HeaderMap::from_iter([(header::AUTHORIZATION, bearer(file, to)?)]),
            None => HeaderMap::new(),
        };
        Ok(Self {
            endpoint: Endpoint::open(url, headers, server.ca_file.as_deref(), to)?,
            topic: settings.topic.clone(),
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, told: &Occasion<'_>, batch: &[Message]) -> Answer {
        let Some(lead) = batch.first() else {
            return Answer::Accepted;
        };
        let said = told.chat(batch);
        let priority = priority(batch);
        let mut body = json!({
            "topic": self.topic.expose(),
            "title": said.title,
            "message": said.text,
            "priority": priority as u8,
            "tags": [tag(priority)],
        });
        if let Some(link) = told.voice.link {
            let label = match told.voice.language {
                Language::French => "S'en charger",
                Language::English => "Take it on",
            };
            body["actions"] = json!([{"action": "view", "label": label, "url": link}]);
        }
        let request = Request::json(body.to_string().into_bytes(), lead.key);
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

fn bearer(file: &SecretFile, to: &Destination) -> Result<HeaderValue, TargetError> {
    let token = outside::secret(file, to)?;
    let wrong = || TargetError::Token {
        to: to.to_string(),
        path: file.path().to_owned(),
    };
    let text = token
        .expose_str()
        .filter(|text| is_token_text(text.as_bytes()))
        .ok_or_else(wrong)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_invalid| wrong())?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_accepted(reply: &Reply<'_>) -> bool {
    serde_json::from_slice::<Value>(reply.body).is_ok_and(|body| body["id"].is_string())
}

/// The most urgent alert of a batch decides, as it stands in the end.
fn priority(batch: &[Message]) -> Priority {
    let has_ended = |telling: &Notification| telling.notice == Notice::Close;
    let wakes = |telling: &Notification| {
        !has_ended(telling)
            && telling.criticality == Criticality::Critical
            && matches!(telling.status, Status::Critical | Status::Unknown)
    };
    let has_digest = batch.iter().any(|message| message.telling().is_none());
    if newest(batch).any(wakes) {
        Priority::Urgent
    } else if !has_digest && newest(batch).all(has_ended) {
        Priority::Low
    } else {
        Priority::Default
    }
}

/// ntfy shows these as a sign before the title.
const fn tag(priority: Priority) -> &'static str {
    match priority {
        Priority::Urgent => "rotating_light",
        Priority::Default => "warning",
        Priority::Low => "white_check_mark",
    }
}

#[cfg(test)]
mod tests;
