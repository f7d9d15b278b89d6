//! Where a receiver is told: by what, address, secret, whom to trust, language; and one try to tell it something.
//!
//! Everything a request needs is read when the settings are, so that a missing file is found by the person who changes
//! it. A target prints neither its address nor its header: both may be the secret.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::redirect;
use tokio::time::timeout;
use vigie_core::{
    alert::Message, digest::Digest, id::ReceiverName, reason::message::Language, time::Wall,
};
use vigie_platform::{
    settings_file::{ReadSecretError, Secret, SecretFile},
    tls::{self, TlsError},
};

use super::{alertmanager, email::Email, queue::Answer, webhook};
use crate::settings;

/// How long one try may take, from connecting to the answer's head.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer's body is read, in bytes: enough that the connection can be used again. Its text means nothing
/// to us, and a body without end must cost nothing.
pub const ANSWER_LEN_MAX: usize = 4 * 1024;

/// How long the body of an answer may take; by then the answer itself is known.
const ANSWER_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The header by which a receiver can tell a repeated message.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a message looks like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// [`webhook`]
    Vigie,
    /// [`alertmanager`]
    Alertmanager,
}

/// Where the address stands.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// In the settings. Holds no secret, but is not printed either.
    Url(String),
    /// In a file of its own, because it is the secret.
    File(SecretFile),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

/// What the settings say about one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// The receiver.
    pub receiver: ReceiverName,
    /// By what it is told.
    pub way: WaySettings,
    /// Language of titles and mails.
    pub language: Language,
    /// [`REQUEST_TIMEOUT`], or less in tests.
    pub request_timeout: Duration,
}

/// By what a receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaySettings {
    /// A POST.
    Webhook(WebhookSettings),
    /// A mail.
    Email(settings::Email),
}

/// What the settings say about one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to.
    pub address: Address,
    /// In which form.
    pub format: Format,
    /// Holds one header line, `Name: value`.
    pub header_file: Option<SecretFile>,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// For the message.
    pub answer: Answer,
    /// How many of its recipients will never get it, though others did.
    pub recipients_refused: u64,
}

impl Outcome {
    pub(super) const fn of(answer: Answer) -> Self {
        Self {
            answer,
            recipients_refused: 0,
        }
    }
}

/// A receiver that can be told.
#[derive(Clone)]
pub struct Target {
    receiver: ReceiverName,
    way: Way,
    language: Language,
    request_timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Webhook(Webhook),
    Email(Arc<Email>),
}

#[derive(Clone)]
struct Webhook {
    url: reqwest::Url,
    format: Format,
    client: reqwest::Client,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

/// Why a receiver cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A file with a secret cannot be read.
    #[error("cannot use receiver {receiver}")]
    Secret {
        /// Who.
        receiver: String,
        /// Why. Names the file.
        #[source]
        source: ReadSecretError,
    },
    /// The address is none that a message can be posted to. Does not say which: it may be a secret.
    #[error(
        "cannot use receiver {receiver}: its address is not a URL that starts with https:// or http://"
    )]
    Url {
        /// Who.
        receiver: String,
    },
    /// The header file does not hold a header.
    #[error("cannot use receiver {receiver}: {path} does not hold one header line `Name: value`")]
    Header {
        /// Who.
        receiver: String,
        /// The file.
        path: PathBuf,
    },
    /// The certificate authorities cannot be used.
    #[error("cannot use receiver {receiver}")]
    Trust {
        /// Who.
        receiver: String,
        /// Why. Names the file.
        #[source]
        source: TlsError,
    },
    /// The mail server's name is none that a certificate can show.
    #[error("cannot use receiver {receiver}: {host} is neither a DNS name nor an IP address")]
    Host {
        /// Who.
        receiver: String,
        /// The mail server.
        host: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client for receiver {receiver}")]
    Client {
        /// Who.
        receiver: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl Target {
    /// Reads everything that telling this receiver needs. Blocks on files.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn open(settings: &TargetSettings) -> Result<Self, TargetError> {
        let way = match &settings.way {
            WaySettings::Webhook(webhook) => {
                Way::Webhook(Webhook::open(webhook, &settings.receiver)?)
            }
            WaySettings::Email(email) => {
                Way::Email(Arc::new(Email::open(email, &settings.receiver)?))
            }
        };
        Ok(Self {
            receiver: settings.receiver.clone(),
            way,
            language: settings.language,
            request_timeout: settings.request_timeout,
        })
    }

    /// Who is told.
    #[must_use]
    pub const fn receiver(&self) -> &ReceiverName {
        &self.receiver
    }

    /// Takes over what was known of messages under way when `before` was in force.
    pub(super) fn carry_on(&mut self, before: &Self) {
        if let (Way::Email(email), Way::Email(before)) = (&mut self.way, &before.way)
            // Nothing else holds a target that is not in force yet.
            && let Some(email) = Arc::get_mut(email)
        {
            email.carry_on(before);
        }
    }

    /// Tries once to hand over `message`, at `now`. Ends within twice [`TargetSettings::request_timeout`] and a little
    /// for a goodbye. Dropped half way, nobody knows whether the receiver has it; it goes again under the same key.
    pub async fn send(&self, message: &Message, now: Wall) -> Outcome {
        let (receiver, language, limit) = (&self.receiver, self.language, self.request_timeout);
        match &self.way {
            Way::Webhook(webhook) => {
                Outcome::of(webhook.post(receiver, language, message, limit).await)
            }
            Way::Email(email) => email.send(receiver, language, message, now, limit).await,
        }
    }
}

impl Webhook {
    fn open(settings: &WebhookSettings, receiver: &ReceiverName) -> Result<Self, TargetError> {
        let receiver = || receiver.to_string();
        let secret = |file: &SecretFile| {
            file.read().map_err(|source| TargetError::Secret {
                receiver: receiver(),
                source,
            })
        };
        let url = match &settings.address {
            Address::Url(url) => parse_url(url),
            Address::File(file) => secret(file)?.expose_str().and_then(parse_url),
        }
        .ok_or_else(|| TargetError::Url {
            receiver: receiver(),
        })?;
        let mut headers = HeaderMap::new();
        if let Some(file) = &settings.header_file {
            let (name, value) =
                parse_header(&secret(file)?).ok_or_else(|| TargetError::Header {
                    receiver: receiver(),
                    path: file.path().to_owned(),
                })?;
            headers.insert(name, value);
        }
        let tls = trust(url.scheme(), settings.ca_file.as_deref()).map_err(|source| {
            TargetError::Trust {
                receiver: receiver(),
                source,
            }
        })?;
        let client = client(tls)
            .default_headers(headers)
            .build()
            .map_err(|source| TargetError::Client {
                receiver: receiver(),
                source,
            })?;
        Ok(Self {
            url,
            format: settings.format,
            client,
        })
    }

    async fn post(
        &self,
        receiver: &ReceiverName,
        language: Language,
        message: &Message,
        request_timeout: Duration,
    ) -> Answer {
        let body = match self.format {
            Format::Vigie => webhook::body(message, language),
            Format::Alertmanager => alertmanager::body(message, language),
        };
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, message.key.to_string())
            .body(body)
            .send();
        match timeout(request_timeout, request).await {
            Ok(Ok(response)) => {
                let answer = judge(response.status(), response.headers());
                drain(response).await;
                answer
            }
            Ok(Err(error)) => {
                // The address is taken out: it may be the secret.
                let error = error.without_url();
                tracing::debug!(%receiver, cause = &error as &dyn std::error::Error, "no answer");
                Answer::None
            }
            Err(_) => {
                tracing::debug!(%receiver, "no answer in time");
                Answer::None
            }
        }
    }
}

/// A client for addresses outside, without redirects: following one would turn a POST into something else, or carry a
/// secret to somebody else. Proxies named by the environment are not used; what is not in the settings does not count.
pub(crate) fn client(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("vigie-collector/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(super::queue::IN_FLIGHT_MAX)
        .no_proxy()
}

/// Whom to trust: the system's certificate authorities, or those of `ca_file` instead. Nobody for addresses without TLS,
/// which must work where the system trusts no authority at all.
pub(crate) fn trust(
    scheme: &str,
    ca_file: Option<&Path>,
) -> Result<rustls::ClientConfig, TlsError> {
    match (scheme, ca_file) {
        // No certificate has this digest.
        ("http", _) => tls::pinned_client_config(Digest::ZERO),
        (_, None) => tls::native_client_config(),
        (_, Some(path)) => {
            let roots = tls::load_certificates(path)?;
            tls::client_config(&roots, &path.display().to_string(), None)
        }
    }
}

/// `None` for anything that nothing can be posted to.
pub(crate) fn parse_url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text.trim()).ok()?;
    (matches!(url.scheme(), "https" | "http") && url.has_host()).then_some(url)
}

fn parse_header(secret: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = secret.expose_str()?.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Answer {
    let http_status = status.as_u16();
    match status {
        _ if status.is_success() => Answer::Accepted,
        StatusCode::TOO_MANY_REQUESTS => Answer::Busy {
            http_status,
            retry_after_ms: retry_after_ms(headers),
        },
        _ if status.is_server_error() => Answer::Busy {
            http_status,
            retry_after_ms: retry_after_ms(headers),
        },
        _ => Answer::Refused { http_status },
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). The other form, a date, would need two clocks to agree.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.saturating_mul(1_000))
}

/// Reads the answer's body if that is worth it; how that goes changes nothing.
async fn drain(mut response: reqwest::Response) {
    let is_long = response
        .content_length()
        .is_some_and(|len| len > ANSWER_LEN_MAX as u64);
    if is_long {
        return;
    }
    let read = async {
        let mut len = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            len += chunk.len();
            if len > ANSWER_LEN_MAX {
                break;
            }
        }
    };
    let _too_slow = timeout(ANSWER_BODY_TIMEOUT, read).await;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn answers_are_judged() {
        let judged = |status: u16, retry_after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = retry_after {
                headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            }
            judge(StatusCode::from_u16(status).unwrap(), &headers)
        };
        let busy = |http_status, retry_after_ms| Answer::Busy {
            http_status,
            retry_after_ms,
        };
        for status in [200, 202, 204] {
            assert_eq!(judged(status, None), Answer::Accepted);
        }
        assert_eq!(judged(429, Some("7")), busy(429, Some(7_000)));
        assert_eq!(judged(503, None), busy(503, None));
        assert_eq!(
            judged(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
            busy(503, None)
        );
        assert_eq!(judged(500, Some("99999999999999999999")), busy(500, None));
        for http_status in [301, 302, 400, 401, 404, 410] {
            assert_eq!(judged(http_status, None), Answer::Refused { http_status });
        }
    }

    #[test]
    fn only_addresses_that_can_be_posted_to_are_taken() {
        for good in ["https://a.example/x?y=z", "http://127.0.0.1:9\n"] {
            assert!(parse_url(good).is_some(), "{good}");
        }
        for bad in [
            "a.example/x",
            "ftp://a.example",
            "file:///etc/passwd",
            "https:",
            "",
        ] {
            assert!(parse_url(bad).is_none(), "{bad}");
        }
    }
}
