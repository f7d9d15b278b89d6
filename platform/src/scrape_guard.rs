//! What a port for metrics demands of those who read them, and how it is served to them.
//!
//! Metrics of a hospital's servers say what runs where and what is broken: nobody reads them over a network without
//! proving who they are. So on the loopback address nothing is demanded unless the settings say so; elsewhere a listener
//! speaks TLS under a certificate of its own, and asks for a client certificate of a given CA, for a bearer token, or for
//! both. All that is configured is demanded, wherever it listens.
//!
//! ```text
//! [scrape]
//! certificate_file = "/etc/vigie/scrape/cert.pem"     # the listener's certificate, with the chain up to its CA
//! key_file         = "/etc/vigie/scrape/key.pem"      # its key, mode 0600
//! client_ca_file   = "/etc/vigie/scrape/clients.pem"  # who may read: holders of a certificate of this CA …
//! bearer_file      = "/etc/vigie/secrets/scrape"      # … and of this token, mode 0600
//! ```
//!
//! Owns the reading and the judging of that section, the comparison of tokens, and who may speak on a [listener](Listener)
//! under a guard that may be replaced. What is answered to those who may is the caller's. Files are read when settings are
//! read, so that `check-config` finds what is wrong with them, a reload takes up new ones, and a refused reload leaves the
//! old ones in force.
//!
//! It must never let a connection or a request pass because something could not be judged.

use std::{error::Error, fmt, future::pending, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Body;
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use vigie_core::digest::Digest;

use crate::{
    error_chain,
    http_listener::{
        Admitted, BodyError, Bounds, Excess, Listener, Refused, RequestBody, Requests, Terms,
    },
    settings_file::{Complaint, SecretFile, Section},
    tls::{self, HotCredential, SecretKey, TlsError},
};

/// The value of `WWW-Authenticate` beside a 401 (RFC 6750 section 3).
pub const CHALLENGE: &str = "Bearer realm=\"metrics\"";

/// What somebody may guess is no token; 16 characters of base64 are 96 bits.
const TOKEN_LEN_MIN: usize = 16;

/// A token travels in a header, and the smallest buffers for those hold 8 KiB.
const TOKEN_LEN_MAX: usize = 1024;

/// Handshakes at a time. Scrapers are few; more are somebody who knocks without a key.
const HANDSHAKES_MAX: usize = 16;

/// What a listener for metrics demands. Two are equal if they were read from the same certificates, key and token.
#[derive(Clone)]
pub struct ScrapeGuard {
    tls: Option<Tls>,
    /// Of the token, so that comparing takes as long whatever is wrong with what is shown.
    token_sha256: Option<Digest>,
}

#[derive(Clone)]
struct Tls {
    config: Arc<ServerConfig>,
    asks_for_certificate: bool,
    /// Of everything that `config` was made from.
    sha256: Digest,
}

/// What was shown does not do: the answer is 401 with [`CHALLENGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no bearer token, or not the right one")]
pub struct Unauthorised;

impl ScrapeGuard {
    /// Demands nothing.
    #[must_use]
    pub const fn open() -> Self {
        Self {
            tls: None,
            token_sha256: None,
        }
    }

    /// Reads the section `[scrape]` of `root` and every file that it names; without that section, demands nothing.
    ///
    /// `None` if something is wrong, which is noted.
    #[must_use]
    pub fn read(root: &Section<'_>) -> Option<Self> {
        let section = root.sub_or_empty("scrape");
        let tls = read_tls(&section);
        let token = section
            .secret_file("bearer_file")
            .try_map(|f| read_token(&f));
        let token = unless_wrong(&section, "bearer_file", token.optional());
        section.finish();
        Some(Self {
            tls: tls?,
            token_sha256: token?,
        })
    }

    /// Notes a mistake at `key` of `section`, where `address` was read, if other machines could read metrics there without
    /// proving who they are.
    pub fn judge_address(&self, section: &Section<'_>, key: &str, address: SocketAddr) {
        let proves = self.token_sha256.is_some()
            || self
                .tls
                .as_ref()
                .is_some_and(|tls| tls.asks_for_certificate);
        let (what, mend) = match &self.tls {
            _ if address.ip().is_loopback() => return,
            Some(_) if proves => return,
            Some(_) => (
                "metrics would be open to whoever asks, though encrypted",
                "write `client_ca_file` or `bearer_file` into `[scrape]` too",
            ),
            None => (
                "metrics would be open to other machines",
                "write an address of this machine alone, such as 127.0.0.1, or a section `[scrape]` with \
                 `certificate_file`, `key_file`, and `client_ca_file` or `bearer_file`",
            ),
        };
        section.mistake(key, format!("`{key}`: {what}"), mend);
    }

    /// How an address begins that a scraper is given.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Whether a request with this `Authorization` header may be answered.
    ///
    /// # Errors
    /// When a token is demanded and this is not it.
    pub fn authorise(&self, authorization: Option<&[u8]>) -> Result<(), Unauthorised> {
        let Some(expected) = &self.token_sha256 else {
            return Ok(());
        };
        let shown = Digest::of(authorization.and_then(bearer).ok_or(Unauthorised)?);
        aws_lc_rs::constant_time::verify_slices_are_equal(&shown.0, &expected.0)
            .map_err(|_| Unauthorised)
    }
}

impl PartialEq for ScrapeGuard {
    fn eq(&self, other: &Self) -> bool {
        let tls = |guard: &Self| guard.tls.as_ref().map(|tls| tls.sha256);
        tls(self) == tls(other) && self.token_sha256 == other.token_sha256
    }
}

impl Eq for ScrapeGuard {}

impl fmt::Debug for ScrapeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrapeGuard")
            .field("tls", &self.tls.is_some())
            .field(
                "certificate",
                &self
                    .tls
                    .as_ref()
                    .is_some_and(|tls| tls.asks_for_certificate),
            )
            .field("token", &self.token_sha256.is_some())
            .finish()
    }
}

/// The token of an `Authorization` header (RFC 6750 section 2.1); the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = authorization.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii())
}

/// A key's value that may be absent, but not wrong.
fn unless_wrong<T>(section: &Section<'_>, key: &str, value: Option<T>) -> Option<Option<T>> {
    (value.is_some() || !section.has(key)).then_some(value)
}

/// `None` if something is wrong, `Some(None)` if there is to be no TLS.
fn read_tls(section: &Section<'_>) -> Option<Option<Tls>> {
    let chain = section.path("certificate_file").try_map(|path| {
        tls::load_certificates(&path)
            .map_err(|error| unusable(&error, "put the certificate there as PEM"))
    });
    let key = section.secret_file("key_file").try_map(|file| {
        read_key(&file).map_err(|error| {
            let mend =
                "put the key there as PEM, in a file of mode 0600 that the program's account owns";
            unusable(&*error, mend)
        })
    });
    let clients = section.path("client_ca_file").try_map(|path| {
        let read = tls::load_certificates(&path).and_then(|authorities| {
            let verifier = client_verifier(&authorities, &path.display().to_string())?;
            Ok((authorities, verifier))
        });
        read.map_err(|error| unusable(&error, "put the certificate of a CA there as PEM"))
    });
    let clients = unless_wrong(section, "client_ca_file", clients.optional());
    let wants_tls = ["certificate_file", "key_file", "client_ca_file"]
        .iter()
        .any(|key| section.has(key));
    if !wants_tls {
        return Some(None);
    }
    let (chain, key) = (chain.required(), key.required());
    let (chain, key, clients) = (chain?, key?, clients?);

    let authorities = clients.iter().flat_map(|(authorities, _)| authorities);
    let mut parts: Vec<&[u8]> = vec![key.der().secret_der()];
    parts.extend(chain.iter().map(|certificate| &**certificate));
    // Between the chain and the CAs, so that one is never taken for the other.
    parts.push(b"clients");
    parts.extend(authorities.map(|certificate| &**certificate));
    let sha256 = Digest::of_parts(&parts);
    let asks_for_certificate = clients.is_some();
    let verifier = clients.map(|(_, verifier)| verifier);
    match server_config(chain, &key, verifier) {
        Ok(config) => Some(Some(Tls {
            config: Arc::new(config),
            asks_for_certificate,
            sha256,
        })),
        Err(error) => {
            let what = format!("`key_file`: {}", error_chain::chain(&error));
            let mend = "write the key that belongs to `certificate_file`";
            section.mistake("key_file", what, mend);
            None
        }
    }
}

fn read_key(file: &SecretFile) -> Result<SecretKey, Box<dyn Error>> {
    let pem = file.read()?;
    Ok(SecretKey::parse(
        pem.expose(),
        &file.path().display().to_string(),
    )?)
}

fn read_token(file: &SecretFile) -> Result<Digest, Complaint> {
    const MEND: &str = "put a long random word there, such as `openssl rand -hex 32` prints, in a file of mode 0600 that \
                        the program's account owns";
    let token = file.read().map_err(|error| unusable(&error, MEND))?;
    let complaint = |what: String| {
        let path = file.path().display();
        Err(Complaint::new(format!("{what} in {path}"), MEND))
    };
    // The grammar of a token in a header: RFC 6750 section 2.1.
    let is_of_token = |c: &u8| c.is_ascii_alphanumeric() || b"-._~+/=".contains(c);
    match token.expose() {
        token if token.len() < TOKEN_LEN_MIN => complaint("too short a token".to_owned()),
        token if token.len() > TOKEN_LEN_MAX => complaint("too long a token".to_owned()),
        token if !token.iter().all(is_of_token) => {
            complaint("characters that no token has".to_owned())
        }
        token => Ok(Digest::of(token)),
    }
}

fn unusable(error: &dyn Error, mend: &str) -> Complaint {
    Complaint::new(error_chain::chain(error), mend)
}

fn client_verifier(
    authorities: &[CertificateDer<'static>],
    origin: &str,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|source| TlsError::Root {
                origin: origin.to_owned(),
                source,
            })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| TlsError::Root {
            origin: origin.to_owned(),
            source: rustls::Error::General(error.to_string()),
        })
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: &SecretKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let own = Arc::new(HotCredential::new(chain, key)?);
    let builder = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Build { source })?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(own);
    // Who reads proves it at each handshake; see `tls`.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What connections for metrics may cost, `speaking_max` of them beside those that are shaking hands. A request here has no
/// body and is a few hundred bytes long.
#[must_use]
pub const fn bounds(speaking_max: usize, age_max: Duration) -> Bounds {
    Bounds {
        // The rest wait in the kernel: a scraper has time.
        connections_max: speaking_max + HANDSHAKES_MAX,
        excess: Excess::Waits,
        handshakes_max: HANDSHAKES_MAX,
        // Two round trips, even on a bad line.
        handshake_timeout: Duration::from_secs(5),
        // To say what it wants.
        idle_timeout: Duration::from_secs(5),
        body_timeout: age_max,
        // A scraper that keeps its connection alive comes back, one that hangs is gone.
        age_max,
        finish_timeout: Duration::ZERO,
        // A page may be read slowly.
        close_timeout: age_max,
        // It is dropped at shutdown, not stopped.
        drain_timeout: Duration::ZERO,
        requests: Requests::Many,
        // hyper's smallest.
        buffer_len_max: 8 * 1024,
        // What hyper takes by itself.
        headers_max: 100,
        accept_pause: Duration::from_secs(1),
    }
}

/// Lets `service` answer whoever shows what the guard in force demands, until dropped. When another guard comes into force,
/// requests are judged by it at once, and connections that were made under the old one end in order.
pub async fn serve<S, F, B>(
    listener: Listener,
    in_force: watch::Receiver<Arc<ScrapeGuard>>,
    service: S,
) where
    S: Fn(Request<RequestBody>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<BodyError>> + From<&'static str> + Send + 'static,
{
    let open = |_| {
        let guard = Arc::clone(&in_force.borrow());
        let tls = guard.tls.as_ref().map(|tls| Arc::clone(&tls.config));
        let (in_force, service) = (in_force.clone(), service.clone());
        Terms::new(tls, move |_| {
            // One that began under another guard has not shown what is demanded now.
            if !Arc::ptr_eq(&guard, &in_force.borrow()) {
                return Err(Refused::Unproven);
            }
            let judged_by = in_force.clone();
            let judged = move |request: Request<RequestBody>| {
                let shown = request.headers().get(header::AUTHORIZATION);
                let verdict = judged_by
                    .borrow()
                    .authorise(shown.map(HeaderValue::as_bytes));
                let answer = verdict.map(|()| service(request));
                async move {
                    match answer {
                        Ok(answer) => answer.await,
                        Err(Unauthorised) => refusal(),
                    }
                }
            };
            Ok(Admitted::to(judged).until(replaced(guard, in_force)))
        })
    };
    listener.serve(pending(), open).await;
}

/// Returns when another guard than `guard` is in force, or nobody can change it any more: the port is gone.
async fn replaced(guard: Arc<ScrapeGuard>, mut in_force: watch::Receiver<Arc<ScrapeGuard>>) {
    let _ = in_force
        .wait_for(|current| !Arc::ptr_eq(current, &guard))
        .await;
}

fn refusal<B: From<&'static str>>() -> Response<B> {
    let mut refusal = Response::new("a bearer token is needed\n".into());
    *refusal.status_mut() = StatusCode::UNAUTHORIZED;
    for (name, value) in [
        (header::WWW_AUTHENTICATE, CHALLENGE),
        // Who does not have the token does not keep a connection from those who do.
        (header::CONNECTION, "close"),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    ] {
        refusal
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    refusal
}

#[cfg(test)]
mod tests;
