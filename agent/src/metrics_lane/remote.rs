//! The connection to a destination: the collector's, shared with the entries lane, or a receiver's own.
//!
//! A receiver's client is made anew every five minutes and after a failure that another connection may mend, so that names are looked up and secrets are
//! read again; its certificate authorities are read again after an hour, or after a failure that is more than five
//! minutes from the last reading, because a system's store is large. No address and no secret ever stands in a text.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use rustls::ClientConfig;
use vigie_core::{
    remote_write::{Version, WRITE_PATH},
    time::Elapsed,
};
use vigie_platform::{clock::Clock, error_chain::chain, tls};

use super::{
    answer::{Answer, Receiver, judge},
    config::{Credential, RemoteWrite},
    order::Verdict,
};
use crate::uplink::{CLIENT_LIFE_MS, Lookups, Uplink, client_builder};

/// Longest time for a request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer read; of more nothing is wanted.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// How long certificate authorities are believed to be those on disk.
const TRUST_LIFE_MS: u64 = 3_600_000;

/// Says which version of remote write a request is.
const VERSION_HEADER: &str = "x-prometheus-remote-write-version";

/// Where a destination is.
pub(super) enum Remote {
    /// The collector, over the way of both lanes.
    Collector(Uplink),
    /// Another receiver.
    Other(Box<Other>),
}

/// A receiver besides the collector.
pub(super) struct Other {
    settings: RemoteWrite,
    clock: Arc<dyn Clock>,
    client: Option<(reqwest::Client, Elapsed)>,
    trust: Option<(ClientConfig, Elapsed)>,
    lookups: Lookups,
    has_failed: bool,
}

impl Remote {
    /// A receiver of the settings.
    pub(super) fn other(settings: RemoteWrite, clock: Arc<dyn Clock>) -> Self {
        Self::Other(Box::new(Other {
            settings,
            clock,
            client: None,
            trust: None,
            lookups: Lookups::at_most(1),
            has_failed: false,
        }))
    }

    /// Where requests go, for a status page.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Collector(way) => way.address(),
            Self::Other(other) => other.settings.url.as_str().to_owned(),
        }
    }

    /// Returns when a request may be sent: at once, or, to the collector, when no line of evidence is under way.
    pub(super) async fn quiet(&self) {
        if let Self::Collector(way) = self {
            way.quiet().await;
        }
    }

    /// Sends one body.
    pub(super) async fn send(&mut self, body: Bytes) -> Answer {
        match self {
            Self::Collector(way) => {
                let stretch = match way.stretch() {
                    Ok(stretch) => stretch,
                    Err(why) => return no_answer(why),
                };
                let url = format!("{}{WRITE_PATH}", stretch.address);
                let request = stretch.client.post(url);
                match exchange(request, body).await {
                    Ok((status, headers, body)) => {
                        judge(Receiver::Collector, status, &headers, &body)
                    }
                    Err(why) => {
                        way.renew(&stretch);
                        no_answer(why)
                    }
                }
            }
            Self::Other(other) => other.send(body).await,
        }
    }
}

impl Other {
    async fn send(&mut self, body: Bytes) -> Answer {
        let client = match self.client().await {
            Ok(client) => client,
            Err(why) => {
                self.has_failed = true;
                return no_answer(why);
            }
        };
        let request = client.post(self.settings.url.as_str());
        let (answer, is_about_connection) = match exchange(request, body).await {
            Ok((status, headers, body)) => {
                let answer = judge(Receiver::Other, status, &headers, &body);
                (answer, is_about_connection(status))
            }
            Err(why) => (no_answer(why), true),
        };
        self.has_failed = is_about_connection;
        if is_about_connection {
            // The next one looks the name up and reads the secret again.
            self.client = None;
        }
        answer
    }

    async fn client(&mut self) -> Result<reqwest::Client, String> {
        let now = self.clock.elapsed();
        if let Some((client, made)) = &self.client
            && now.since_ms(*made) < CLIENT_LIFE_MS
        {
            return Ok(client.clone());
        }
        let life_ms = if self.has_failed {
            CLIENT_LIFE_MS
        } else {
            TRUST_LIFE_MS
        };
        let known = self
            .trust
            .take()
            .filter(|(_, read)| now.since_ms(*read) < life_ms);
        let settings = self.settings.clone();
        // Reading files blocks, and a system's store takes its time.
        let read = tokio::task::spawn_blocking(move || {
            let trust = match known {
                Some(known) => known,
                None => (trust(&settings)?, now),
            };
            let mut headers = HeaderMap::new();
            let header = settings.credential.as_ref().map(Credential::read);
            let headers = header.transpose().map(|header| {
                headers.extend(header.map(|(name, value)| (Some(name), value)));
                headers
            });
            Ok::<_, String>((trust, headers))
        });
        let (trust, headers) = read
            .await
            .map_err(|_| "the program is stopping".to_owned())??;
        // A secret that cannot be read is no reason to read a system's store again with each try.
        let trust = &*self.trust.insert(trust);
        let client = client_builder(trust.0.clone(), &self.lookups)
            .https_only(self.settings.url.scheme() == "https")
            .default_headers(headers?)
            .build()
            .map_err(|error| chain(&error))?;
        self.client = Some((client.clone(), now));
        Ok(client)
    }
}

/// Whether another connection, or another secret, may be answered otherwise. What a receiver says of the samples or of how
/// many there are is no reason to shake hands again for each of a backlog.
fn is_about_connection(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::MISDIRECTED_REQUEST
        )
}

/// Whom to trust: the system's certificate authorities, or those of `ca_file` instead. Nobody for addresses without TLS,
/// which must work where the system trusts no authority at all.
fn trust(settings: &RemoteWrite) -> Result<ClientConfig, String> {
    let config = match (settings.url.scheme(), &settings.ca_file) {
        // No certificate has this digest.
        ("http", _) => tls::pinned_client_config(vigie_core::digest::Digest::ZERO),
        (_, None) => tls::native_client_config(),
        (_, Some(path)) => tls::load_certificates(path)
            .and_then(|roots| tls::client_config(&roots, &path.display().to_string(), None)),
    };
    config.map_err(|error| chain(&error))
}

/// One request and its answer, or why there is none.
async fn exchange(
    request: reqwest::RequestBuilder,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
    // Addresses are told beside it; in the text they would only be in the way, or tell a secret.
    let failed = |error: reqwest::Error| chain(&error.without_url());
    let sent = request
        .timeout(REQUEST_TIMEOUT)
        .header(header::CONTENT_TYPE, Version::V1.content_type())
        .header(header::CONTENT_ENCODING, "snappy")
        .header(VERSION_HEADER, Version::V1.header())
        .body(body)
        .send()
        .await;
    let mut response = sent.map_err(failed)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut bytes = Vec::new();
    // The answer is its status; the rest is read so that the connection can be used again.
    while let Ok(Some(chunk)) = response.chunk().await {
        if bytes.len() + chunk.len() > ANSWER_LEN_MAX {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, headers, bytes))
}

const fn no_answer(why: String) -> Answer {
    Answer {
        verdict: Verdict::Failed { is_answer: false },
        why,
    }
}
