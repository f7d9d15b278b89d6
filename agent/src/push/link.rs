//! The way to the collector: one HTTPS connection with this node's certificate, to one address at a time.
//!
//! The client is made anew after every failure, every five minutes and after a renewal: a connection kept alive pins an
//! address that DNS may have moved, and the certificate it began with. It knows nothing of chains or pacing.
//! Follows no redirect, reads no proxy from the environment, and reads at most `ANSWER_LEN_MAX` of an answer.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use tokio::sync::watch;
use vigie_core::{
    hand_in::{ENTRIES_PATH, EntriesAnswer},
    time::Elapsed,
    wire::ErrorBody,
};
use vigie_platform::clock::Clock;

use crate::join::identity::Identity;

/// Longest time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for a request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client serves before names are looked up anew.
const CLIENT_LIFE_MS: u64 = 5 * 60 * 1_000;

/// The longest answer read, in bytes: 512 refused lines take 60 KiB.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// The longest `Retry-After` that is believed: an hour of maintenance; more would hide the node.
const RETRY_AFTER_MAX_MS: u64 = 3_600_000;

/// Where the collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Addresses of one collector (`https://host[:port]`), never empty.
    pub collectors: Vec<String>,
    /// The proxy that is asked to CONNECT.
    pub proxy: Option<String>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is durable.
    Answered(Box<EntriesAnswer>),
    /// The collector asks for patience: this node sends too much (429), or it cannot take anything now (503).
    Later {
        /// The floor of the delay.
        retry_after_ms: Option<u64>,
        /// In words.
        why: String,
        /// Whether it is about this node, which another address would not change.
        is_about_us: bool,
    },
    /// The collector says no.
    Refused {
        /// In words.
        why: String,
        /// Whether what was sent may be the cause, rather than who sent it.
        is_about_body: bool,
    },
    /// No answer, or none that a collector gives.
    NoAnswer {
        /// In words.
        why: String,
    },
}

/// The connection, or the next one.
pub(super) struct Link {
    targets: watch::Receiver<Targets>,
    identity: watch::Receiver<Arc<Identity>>,
    clock: Arc<dyn Clock>,
    current: Targets,
    index: usize,
    client: Option<(reqwest::Client, Elapsed)>,
}

impl Link {
    pub(super) fn new(
        targets: watch::Receiver<Targets>,
        identity: watch::Receiver<Arc<Identity>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let current = targets.borrow().clone();
        Self {
            targets,
            identity,
            clock,
            current,
            index: 0,
            client: None,
        }
    }

    /// The address in use.
    pub(super) fn address(&self) -> &str {
        // The settings name at least one.
        self.current
            .collectors
            .get(self.index)
            .map_or("", String::as_str)
    }

    /// The next request goes to the next address, over a new connection.
    pub(super) fn try_another(&mut self) {
        self.client = None;
        self.index = (self.index + 1) % self.current.collectors.len().max(1);
    }

    /// Sends one body.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> Outcome {
        let client = match self.client() {
            Ok(client) => client,
            Err(why) => return Outcome::NoAnswer { why },
        };
        let url = format!("{}{ENTRIES_PATH}", self.address().trim_end_matches('/'));
        let sent = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(body)
            .send()
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return no_answer(error),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= ANSWER_LEN_MAX => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let why = format!("its answer is longer than {ANSWER_LEN_MAX} bytes");
                    return Outcome::NoAnswer { why };
                }
                Ok(None) => return judge(status, &headers, &bytes),
                Err(error) => return no_answer(error),
            }
        }
    }

    fn client(&mut self) -> Result<reqwest::Client, String> {
        let now = self.clock.elapsed();
        if self.targets.has_changed().unwrap_or(false) {
            self.current = self.targets.borrow_and_update().clone();
            self.index = 0;
            self.client = None;
        }
        if self.identity.has_changed().unwrap_or(false) {
            self.identity.mark_unchanged();
            self.client = None;
        }
        if let Some((client, made)) = &self.client
            && now.since_ms(*made) < CLIENT_LIFE_MS
        {
            return Ok(client.clone());
        }
        let identity = self.identity.borrow().clone();
        let tls = identity.client_config().map_err(|error| chain(&error))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .no_proxy();
        if let Some(proxy) = &self.current.proxy {
            let proxy = reqwest::Proxy::https(proxy).map_err(|error| chain(&error))?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        self.client = Some((client.clone(), now));
        Ok(client)
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Outcome {
    match status {
        StatusCode::OK => match serde_json::from_slice(bytes) {
            Ok(answer) => Outcome::Answered(Box::new(answer)),
            Err(error) => Outcome::NoAnswer {
                why: format!("its answer is not that of a collector: {error}"),
            },
        },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Later {
            retry_after_ms: retry_after_ms(headers),
            why: said(status, bytes),
            is_about_us: status == StatusCode::TOO_MANY_REQUESTS,
        },
        status => Outcome::Refused {
            why: said(status, bytes),
            is_about_body: status.is_server_error()
                || matches!(
                    status,
                    StatusCode::BAD_REQUEST
                        | StatusCode::PAYLOAD_TOO_LARGE
                        | StatusCode::UNPROCESSABLE_ENTITY
                ),
        },
    }
}

/// `Retry-After` in its form of seconds (RFC 9110 §10.2.3); dates would need the collector's clock.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MAX_MS))
}

fn said(status: StatusCode, bytes: &[u8]) -> String {
    let clean = |text: String| -> String {
        text.chars()
            .filter(|character| !character.is_control())
            .take(300)
            .collect()
    };
    match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) => format!(
            "it says {}: {}; {}",
            status.as_u16(),
            clean(body.error),
            clean(body.mend)
        ),
        Err(_) => format!("it says {}", status.as_u16()),
    }
}

fn no_answer(error: reqwest::Error) -> Outcome {
    // The address is told beside it; in the text it would only be in the way.
    Outcome::NoAnswer {
        why: chain(&error.without_url()),
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_to_do_next() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        let body = br#"{"error":"node.flooding","mend":"wait"}"#;
        let judged = judge(StatusCode::TOO_MANY_REQUESTS, &headers, body);
        assert!(
            matches!(judged, Outcome::Later { retry_after_ms: Some(7_000), ref why, is_about_us: true }
                if why == "it says 429: node.flooding; wait")
        );
        headers.insert(header::RETRY_AFTER, "99999999".parse().unwrap());
        let judged = judge(StatusCode::SERVICE_UNAVAILABLE, &headers, b"");
        assert!(matches!(
            judged,
            Outcome::Later {
                retry_after_ms: Some(RETRY_AFTER_MAX_MS),
                ..
            }
        ));
        for (status, about_body) in [
            (400, true),
            (500, true),
            (401, false),
            (403, false),
            (302, false),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap(), &headers, b"<html>");
            assert!(
                matches!(judged, Outcome::Refused { is_about_body, .. } if is_about_body == about_body),
                "{status}"
            );
        }
        assert!(matches!(
            judge(StatusCode::OK, &headers, b"{}"),
            Outcome::NoAnswer { .. }
        ));
    }
}
