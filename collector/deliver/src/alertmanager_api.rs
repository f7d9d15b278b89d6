//! An Alertmanager that is told alerts as Prometheus tells it: `POST …/api/v2/alerts`, a list of alerts with labels.
//!
//! - **Identity.** There an alert is its labels. `severity` is one of them, because its users route by it; when it changes,
//!   that is another alert, and the one before must end. A message does not say what was told before it, so each ends
//!   every severity that could have been ([`severities`]). One that never was is then listed as resolved beside the one
//!   that was, and nobody is told of it alone.
//! - **Its end.** Whoever posts there is expected to say again every few minutes that an alert is still on; one that is not
//!   ends by itself at its `endsAt`. vigie keeps what it has to say until it is accepted and says each thing once, so an
//!   alert is given [`LASTS_MS`]; its end is a message of its own. One that is on for longer ends there too early.
//! - **What it forgets.** Alertmanager keeps alerts in memory: restarted, it knows of an open one only when vigie has
//!   something new to say of it.
//!
//! Accepted is any 2xx that is not a page for people, which is what a proxy's login would be.

use serde_json::{Map, Value, json};
use vigie_core::{status::Status, time::Wall};
use vigie_decide::{
    alert::{Body, Message, Notice},
    destination::Destination,
};

use super::{
    alertmanager::{DIGEST_LASTS_MS, described},
    attempt::{Occasion, TargetError},
    http::{self, Endpoint, Reply, Request},
    queue::Answer,
};
use crate::config;

/// For how long an alert is on without another word, in milliseconds: 30 days.
pub const LASTS_MS: i64 = 30 * 24 * 3_600_000;

/// Severities that an alert can have had.
const SEVERITIES: [Status; 3] = [Status::Warning, Status::Unknown, Status::Critical];

/// One Alertmanager.
#[derive(Debug)]
pub(super) struct AlertmanagerApi {
    endpoint: Endpoint,
}

impl AlertmanagerApi {
    /// Reads everything that telling it needs. Blocks on files.
    pub(super) fn open(
        settings: &config::AlertmanagerApi,
        to: &Destination,
    ) -> Result<Self, TargetError> {
        let base = settings.url.trim_end_matches('/');
        let url = http::url(Some(&format!("{base}/api/v2/alerts")), to)?;
        let headers = http::header_of(settings.header_file.as_ref(), to)?;
        let endpoint = Endpoint::open(url, headers, settings.ca_file.as_deref(), to)?;
        Ok(Self { endpoint })
    }

    /// Tries once.
    pub(super) async fn send(&self, told: &Occasion<'_>, message: &Message) -> Answer {
        let request = Request::json(body(told, message), message.key);
        self.endpoint
            .send(
                request,
                Some(&|reply: &Reply<'_>| !reply.is_page),
                told.destination,
                told.now,
                told.limit,
            )
            .await
    }
}

fn body(told: &Occasion<'_>, message: &Message) -> Vec<u8> {
    let (labels, annotations) = described(message, told.voice, told.detail);
    let alert = |labels: Map<String, Value>, from: Wall, until: Wall| {
        json!({
            "labels": labels,
            "annotations": annotations,
            "startsAt": from,
            // It refuses an end before the beginning, which is by the node's clock.
            "endsAt": until.max(from),
        })
    };
    let alerts: Vec<Value> = match &message.body {
        Body::Digest(_) => {
            let until = message.at.plus_ms(DIGEST_LASTS_MS);
            vec![alert(labels, message.at, until)]
        }
        Body::Alert(telling) => severities(telling.notice, telling.status)
            .map(|severity| {
                let mut labels = labels.clone();
                labels.insert("severity".to_owned(), severity.as_str().into());
                let is_on = telling.notice != Notice::Close && severity == telling.status;
                let until = if is_on {
                    told.now.plus_ms(LASTS_MS)
                } else {
                    message.at
                };
                alert(labels, telling.since, until)
            })
            .collect(),
    };
    Value::Array(alerts).to_string().into_bytes()
}

/// The severities that a message speaks of: the one that is on, and those that may have been told before and have ended.
/// What got quieter, or louder while it was muted, was not told: an alert may stand there as anything.
fn severities(notice: Notice, status: Status) -> impl Iterator<Item = Status> {
    let is_first = matches!(notice, Notice::Open | Notice::Still);
    SEVERITIES
        .into_iter()
        .filter(move |severity| !is_first || *severity == status)
}

#[cfg(test)]
mod tests;
