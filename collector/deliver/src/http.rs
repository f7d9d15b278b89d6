//! One request to somebody outside, bounded in time and size, and what its answer means.
//!
//! ```text
//!   no connection, no trust, no end in time ──► no answer        429, 5xx ──► busy, with what Retry-After asks for
//!   2xx ──► accepted; where the receiver says more in its body,   anything else, redirects too ──► refused
//!           busy unless the body says that it has the message
//! ```
//! The last is for what stands between: a proxy's login page or a gateway's `{"error":"no credit"}` comes with status 200
//! too, and a page that nobody was sent must be tried again.
//!
//! It never follows a redirect, never prints where it points (the address may be the secret), and reads no more of an
//! answer than it needs. Dropped half way, nobody knows whether the receiver has the message; it goes again under the same
//! key.

use std::{fmt, path::Path, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::redirect;
use tokio::time::timeout;
use vigie_core::{digest::Digest, time::Wall};
use vigie_decide::destination::Destination;
use vigie_platform::{
    settings_file::{Secret, SecretFile},
    tls::{self, TlsError},
};

use super::{attempt::TargetError, queue::Answer};

/// How much of an answer is read whose body means nothing to us, in bytes: enough that the connection can be used again.
pub const ANSWER_LEN_MAX: usize = 4 * 1024;

/// How much of an answer is read that must say that it has the message, in bytes. Gateways say it in less than one.
pub const JUDGED_LEN_MAX: usize = 16 * 1024;

/// How long the body of an answer may take that means nothing to us; by then the answer itself is known.
const ANSWER_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The header by which a receiver can tell a repeated message.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) content_type: HeaderValue,
    pub(super) body: Vec<u8>,
    /// The same for each try.
    pub(super) key: Digest,
}

impl Request {
    /// A POST of JSON, which is what most receivers take.
    pub(super) fn json(body: Vec<u8>, key: Digest) -> Self {
        Self {
            method: Method::POST,
            content_type: HeaderValue::from_static("application/json"),
            body,
            key,
        }
    }
}

/// An answer of the kind 2xx.
pub(super) struct Reply<'r> {
    pub(super) status: u16,
    /// It is a page for people to look at. No interface of a program answers with one.
    pub(super) is_page: bool,
    /// At most [`JUDGED_LEN_MAX`] of it.
    pub(super) body: &'r [u8],
}

/// Which 2xx means that the receiver has the message.
pub(super) type Accepts<'a> = &'a (dyn Fn(&Reply<'_>) -> bool + Send + Sync);

/// Where requests of one destination go, with whom is trusted and what goes with each.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: reqwest::Url,
    client: reqwest::Client,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(..)")
    }
}

impl Endpoint {
    /// Reads the certificate authorities. Blocks.
    pub(super) fn open(
        url: reqwest::Url,
        headers: HeaderMap,
        ca_file: Option<&Path>,
        to: &Destination,
    ) -> Result<Self, TargetError> {
        let tls = trust(url.scheme(), ca_file).map_err(|source| TargetError::Trust {
            to: to.to_string(),
            source,
        })?;
        let client = client(tls)
            .default_headers(headers)
            .build()
            .map_err(|source| TargetError::Client {
                to: to.to_string(),
                source,
            })?;
        Ok(Self { url, client })
    }

    /// Tries once; ends within `limit` and a little for a body without meaning. Any 2xx is accepted, or, with `accepts`,
    /// the one it says.
    pub(super) async fn send(
        &self,
        request: Request,
        accepts: Option<Accepts<'_>>,
        to: &Destination,
        now: Wall,
        limit: Duration,
    ) -> Answer {
        let sent = self
            .client
            .request(request.method, self.url.clone())
            .header(header::CONTENT_TYPE, request.content_type)
            .header(IDEMPOTENCY_KEY, request.key.to_string())
            .body(request.body)
            .send();
        let tried = timeout(limit, async {
            let mut response = sent.await?;
            let answer = judge(response.status(), response.headers(), now);
            let accepted = match accepts {
                Some(accepts) if answer == Answer::Accepted => {
                    let body = read(&mut response).await?;
                    accepts(&Reply {
                        status: response.status().as_u16(),
                        is_page: is_page(response.headers()),
                        body: &body,
                    })
                }
                Some(_) | None => true,
            };
            Ok::<_, reqwest::Error>((response, answer, accepted))
        });
        match tried.await {
            Ok(Ok((response, Answer::Accepted, false))) => {
                let http_status = response.status().as_u16();
                tracing::debug!(%to, http_status, "the answer does not say that the message is accepted");
                Answer::Busy {
                    http_status,
                    retry_after_ms: None,
                }
            }
            Ok(Ok((response, answer, _))) => {
                if accepts.is_none() || answer != Answer::Accepted {
                    drain(response).await;
                }
                answer
            }
            Ok(Err(error)) => {
                // The address is taken out: it may be the secret.
                let error = error.without_url();
                tracing::debug!(%to, cause = &error as &dyn std::error::Error, "no answer");
                Answer::None
            }
            Err(_) => {
                tracing::debug!(%to, "no answer in time");
                Answer::None
            }
        }
    }
}

/// A client for addresses outside, without redirects: following one would turn a POST into something else, or carry a
/// secret to somebody else. Proxies named by the environment are not used; what is not in the settings does not count.
pub fn client(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
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
///
/// # Errors
/// When there are none, or `ca_file` cannot be read.
pub fn trust(scheme: &str, ca_file: Option<&Path>) -> Result<rustls::ClientConfig, TlsError> {
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
#[must_use]
pub fn parse_url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text.trim()).ok()?;
    (matches!(url.scheme(), "https" | "http") && url.has_host()).then_some(url)
}

/// What a file with a secret holds.
pub(super) fn secret(file: &SecretFile, to: &Destination) -> Result<Secret, TargetError> {
    file.read().map_err(|source| TargetError::Secret {
        to: to.to_string(),
        source,
    })
}

/// The address that `text` is.
pub(super) fn url(text: Option<&str>, to: &Destination) -> Result<reqwest::Url, TargetError> {
    text.and_then(parse_url)
        .ok_or_else(|| TargetError::Url { to: to.to_string() })
}

/// The header that `file` holds, if there is one: one line `Name: value`.
pub(super) fn header_of(
    file: Option<&SecretFile>,
    to: &Destination,
) -> Result<HeaderMap, TargetError> {
    let Some(file) = file else {
        return Ok(HeaderMap::new());
    };
    let header = parse_header(&secret(file, to)?).ok_or_else(|| TargetError::Header {
        to: to.to_string(),
        path: file.path().to_owned(),
    })?;
    Ok(HeaderMap::from_iter([header]))
}

fn parse_header(secret: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = secret.expose_str()?.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Wall) -> Answer {
    let http_status = status.as_u16();
    match status {
        _ if status.is_success() => Answer::Accepted,
        StatusCode::TOO_MANY_REQUESTS => Answer::Busy {
            http_status,
            retry_after_ms: retry_after_ms(headers, now),
        },
        _ if status.is_server_error() => Answer::Busy {
            http_status,
            retry_after_ms: retry_after_ms(headers, now),
        },
        _ => Answer::Refused { http_status },
    }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date. A date is by the receiver's clock, and so is its header `Date`:
/// between the two no other clock has to agree. Without that header it is reckoned from `now`.
fn retry_after_ms(headers: &HeaderMap, now: Wall) -> Option<u64> {
    let asked = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = http_date(asked)?;
    let from = headers
        .get(header::DATE)
        .and_then(|date| http_date(date.to_str().ok()?.trim()))
        .unwrap_or(now.0);
    // A date in the past asks for nothing.
    Some(u64::try_from(until.saturating_sub(from)).unwrap_or(0))
}

/// An HTTP date (RFC 9110 §5.6.7, the form that may be sent) in milliseconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    let instant = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(instant.as_millisecond())
}

fn is_page(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.get(..9)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"))
    })
}

/// The body, or the first [`JUDGED_LEN_MAX`] bytes of it.
async fn read(response: &mut reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < JUDGED_LEN_MAX
        && let Some(chunk) = response.chunk().await?
    {
        let room = JUDGED_LEN_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(body)
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

    /// 2026-11-22T19:04:33Z.
    const NOW: Wall = Wall(1_795_374_273_000);

    fn judged(status: u16, headers: &[(HeaderName, &str)]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        judge(StatusCode::from_u16(status).unwrap(), &headers, NOW)
    }

    const fn busy(http_status: u16, retry_after_ms: Option<u64>) -> Answer {
        Answer::Busy {
            http_status,
            retry_after_ms,
        }
    }

    #[test]
    fn answers_are_judged() {
        let asks = |text| [(header::RETRY_AFTER, text)];
        for status in [200, 202, 204] {
            assert_eq!(judged(status, &[]), Answer::Accepted);
        }
        assert_eq!(judged(429, &asks("7")), busy(429, Some(7_000)));
        assert_eq!(judged(429, &asks("soon")), busy(429, None));
        assert_eq!(judged(503, &asks("0")), busy(503, Some(0)));
        assert_eq!(judged(500, &asks("99999999999999999999")), busy(500, None));
        for http_status in [301, 302, 400, 401, 404, 410] {
            assert_eq!(judged(http_status, &[]), Answer::Refused { http_status });
        }
    }

    #[test]
    fn a_date_to_wait_for_is_read_by_the_clock_that_wrote_it() {
        let until = (header::RETRY_AFTER, "Sun, 22 Nov 2026 19:06:33 GMT");
        assert_eq!(
            judged(429, std::slice::from_ref(&until)),
            busy(429, Some(120_000))
        );
        // Its clock is an hour ahead of ours.
        let date = (header::DATE, "Sun, 22 Nov 2026 19:06:03 GMT");
        assert_eq!(judged(429, &[until.clone(), date]), busy(429, Some(30_000)));
        let date = (header::DATE, "Sun, 22 Nov 2026 20:00:00 GMT");
        assert_eq!(judged(503, &[until, date]), busy(503, Some(0)));
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
