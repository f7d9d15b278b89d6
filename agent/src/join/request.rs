//! One request to the collector, before there is a session with it: a join or a renewal.
//!
//! Bounded in time and size, follows no redirect, and reads no proxy from the environment: what is sent is meant for
//! one address. Says in its errors whether the far side was the right one, for that is what an operator must know.

use std::{error::Error as StdError, io, time::Duration};

use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
use vigie_core::{
    token::JoinToken,
    wire::{ErrorBody, JOIN_ANSWER_LEN_MAX, JOIN_PATH, JoinAnswer, JoinRequest},
};
use vigie_platform::tls::{TlsError, pinned_client_config};

/// Longest time for one request, connection included. The collector answers in milliseconds once it has committed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time to connect, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request to the collector failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum RequestError {
    #[error("cannot make a client for {url}")]
    Client { url: String, source: reqwest::Error },
    #[error("cannot make a TLS client for {url}")]
    Tls { url: String, source: TlsError },
    /// Whoever answers is not the collector that made the token. Nothing was sent.
    #[error(
        "{url} is not the collector this machine was told to trust; nothing was sent. Check the address, this machine's \
         clock, and whether something between here and there intercepts TLS"
    )]
    Untrusted { url: String, source: reqwest::Error },
    #[error("no answer from {url}")]
    NoAnswer { url: String, source: reqwest::Error },
    #[error("the collector says no ({status}, {error}): {mend}")]
    Refused {
        status: u16,
        error: String,
        mend: String,
    },
    #[error("the answer of {url} is longer than {JOIN_ANSWER_LEN_MAX} bytes")]
    TooLong { url: String },
    #[error("the answer of {url} is not that of a collector")]
    NotAnAnswer {
        url: String,
        source: serde_json::Error,
    },
}

impl RequestError {
    /// Whether the same request may work later without anybody doing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => matches!(*status, 429 | 500..=599),
            Self::Client { .. }
            | Self::Tls { .. }
            | Self::Untrusted { .. }
            | Self::TooLong { .. }
            | Self::NotAnAnswer { .. } => false,
        }
    }
}

/// Sends one request and reads its answer, both bounded. Follows no redirect and reads no proxy from the environment:
/// what is sent is meant for one address.
pub(super) async fn post<Answer: DeserializeOwned>(
    tls: ClientConfig,
    proxy: Option<&str>,
    url: &str,
    path: &str,
    body: &impl Serialize,
) -> Result<Answer, RequestError> {
    let url = url.trim_end_matches('/').to_owned();
    let not_an_answer = |source| RequestError::NotAnAnswer {
        url: url.clone(),
        source,
    };
    let client_error = |source| RequestError::Client {
        url: url.clone(),
        source,
    };
    let no_answer = |source: reqwest::Error| {
        let url = url.clone();
        if is_certificate_refused(&source) {
            RequestError::Untrusted { url, source }
        } else {
            RequestError::NoAnswer { url, source }
        }
    };

    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .no_proxy();
    if let Some(proxy) = proxy {
        builder = builder.proxy(reqwest::Proxy::https(proxy).map_err(client_error)?);
    }
    let client = builder.build().map_err(client_error)?;
    let body = serde_json::to_vec(body).map_err(not_an_answer)?;
    let mut response = client
        .post(format!("{url}{path}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .send()
        .await
        .map_err(no_answer)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if bytes.len() + chunk.len() > JOIN_ANSWER_LEN_MAX {
            return Err(RequestError::TooLong { url });
        }
        bytes.extend_from_slice(&chunk);
    }
    let status = response.status();
    if status != http::StatusCode::OK {
        return Err(refused(status.as_u16(), &bytes));
    }
    serde_json::from_slice(&bytes).map_err(not_an_answer)
}

fn refused(status: u16, body: &[u8]) -> RequestError {
    let said = serde_json::from_slice(body).unwrap_or(ErrorBody {
        error: "unknown".to_owned(),
        mend: "it gave no reason; see its log".to_owned(),
    });
    // Shown on a terminal: no control characters, and not without end.
    let clean = |text: &str| {
        text.chars()
            .filter(|character| !character.is_control())
            .take(300)
            .collect()
    };
    RequestError::Refused {
        status,
        error: clean(&said.error),
        mend: clean(&said.mend),
    }
}

/// Whether TLS ended because we did not accept the server's certificate.
fn is_certificate_refused(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        // An io::Error hides what it wraps from `source()`, which goes one further.
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}
/// Asks the collector of `token` for a certificate, over a connection whose far side proves that it is the token's before
/// the secret is sent.
///
/// # Errors
/// When the collector is not the token's, cannot be reached or says no.
pub(super) async fn ask_to_join(
    token: &JoinToken,
    proxy: Option<&str>,
    body: &JoinRequest,
) -> Result<JoinAnswer, RequestError> {
    let url = token.url();
    let tls = pinned_client_config(token.ca_sha256()).map_err(|source| RequestError::Tls {
        url: url.to_owned(),
        source,
    })?;
    post(tls, proxy, url, JOIN_PATH, body).await
}
