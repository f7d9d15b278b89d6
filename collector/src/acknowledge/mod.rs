//! Acknowledging from where a message is read: a port that serves the page behind its link, and nothing else.
//!
//! | request | answer |
//! |---|---|
//! | `GET /a/TOKEN` | what the link is about, with a button; changes nothing, however often a mail scanner follows it |
//! | `POST /a/TOKEN` | says that whoever reads that destination is on it, and shows what became of it |
//! | all else | 404 |
//!
//! The port may be open to the world, so what a stranger can have of it is one hash for each guess: a token that this
//! collector did not write is refused before anything is asked ([`link`]). The engine is asked for valid links only, a few
//! at a time. Connections are few and short, each carries one request, and no body is read.
//!
//! Until there are accounts, the link is the proof of who acts: whoever can read the messages of a destination can
//! acknowledge what it was told, and nothing more. Tokens are not logged. Nothing is kept here; dropping the future closes
//! the port, and an acknowledgement under way has the rest of its connection's time.

pub mod config;
pub mod link;
mod page;
pub mod told;

use std::{future::pending, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, Uri};
use rustls::{ServerConfig, server::NoServerSessionStorage};
use tokio::sync::{Mutex, Semaphore};
use tower_service::Service as _;
use tracing::info;
use vigie_core::{reason::message::Language, time::Elapsed};
use vigie_decide::{
    alert::Actor,
    fleet::{Answered, Event, OperatorEvent},
    view::fleet::Fleet,
};
use vigie_platform::{
    clock::{Clock, whole_ms},
    http_listener::{Admitted, Bounds, Excess, Listener, Requests, Terms},
    settings_file::ReadSecretError,
    tls::{HotCredential, SecretKey, TlsError, load_certificates, provider},
};

use self::{
    config::{Config, TlsFiles},
    link::{LinkRefused, Linked, Links, PATH},
    page::{Page, Row, Said},
    told::{NotTold, ToldAlert, told_by},
};
use crate::engine::{Handle, Refusal};

const BOUNDS: Bounds = Bounds {
    // A whole team and its mail scanners.
    connections_max: 128,
    excess: Excess::Waits,
    // Each holds one of the places above anyway.
    handshakes_max: 128,
    // Two round trips, even on a telephone in a cellar.
    handshake_timeout: Duration::from_secs(5),
    // How long a client may take to say what it wants.
    idle_timeout: Duration::from_secs(5),
    // No body is read.
    body_timeout: CONNECTION_MAX,
    age_max: CONNECTION_MAX,
    finish_timeout: Duration::ZERO,
    close_timeout: CONNECTION_MAX,
    // It is dropped at shutdown, not stopped.
    drain_timeout: Duration::ZERO,
    // An idle browser does not keep somebody else out.
    requests: Requests::One,
    buffer_len_max: HEAD_LEN_MAX,
    // Browsers send about twenty.
    headers_max: 64,
    accept_pause: Duration::from_millis(500),
};

/// How long a connection may live: one request, of which the engine may take up to a commit's five seconds.
const CONNECTION_MAX: Duration = Duration::from_secs(20);

/// Room for a request's head; hyper takes no less.
const HEAD_LEN_MAX: usize = 8 * 1024;

/// Questions at a time: views of a large fleet cost tens of milliseconds each, acknowledgements the engine a commit.
const QUESTIONS_MAX: usize = 2;

/// How long a view is used for pages that change nothing.
const VIEW_KEPT_MS: u64 = 1_000;

/// Who knows what was told, and decides what an acknowledgement comes to: the engine, or a stand-in in tests.
pub trait AckBackend: Send + Sync + 'static {
    /// The fleet as it is; `None` when it cannot be said now.
    fn view(&self) -> impl Future<Output = Option<Fleet>> + Send;

    /// Has something done and waits until it is in the log.
    ///
    /// # Errors
    /// When it cannot be written.
    fn perform(
        &self,
        event: Event,
    ) -> impl Future<Output = Result<Option<Answered>, Refusal>> + Send;
}

impl AckBackend for Handle {
    async fn view(&self) -> Option<Fleet> {
        Self::view(self).await
    }

    async fn perform(&self, event: Event) -> Result<Option<Answered>, Refusal> {
        Self::perform(self, event).await
    }
}

/// The port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses it.
    #[error("cannot listen for acknowledgements on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key cannot be read.
    #[error("cannot read the key for acknowledgements")]
    Key {
        /// Why; names the file.
        #[source]
        source: ReadSecretError,
    },
    /// Certificate and key cannot be used.
    #[error("cannot prove on the port for acknowledgements who we are")]
    Tls {
        /// Why; names the file.
        #[source]
        source: TlsError,
    },
}

/// The port, bound and not yet served.
pub struct Acknowledge<D = Handle> {
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    counter: Arc<Counter<D>>,
}

/// What answers requests.
struct Counter<D> {
    links: Arc<Links>,
    for_ms: Option<u64>,
    backend: D,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<(Elapsed, Arc<Fleet>)>>,
    questions: Semaphore,
}

impl<D: AckBackend> Acknowledge<D> {
    /// Opens the port as the settings say. Changing them takes a restart.
    ///
    /// # Errors
    /// When the system refuses the port, or certificate and key cannot be used.
    pub async fn bind(
        settings: &Config,
        links: Arc<Links>,
        backend: D,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BindError> {
        let tls = settings.tls.as_ref().map(tls_config).transpose()?;
        let listener = Listener::bind("acknowledgements", settings.listen, BOUNDS).await;
        Ok(Self {
            listener: listener.map_err(|error| BindError::Listen {
                address: error.address,
                source: error.source,
            })?,
            tls: tls.map(Arc::new),
            counter: Arc::new(Counter {
                links,
                for_ms: settings.expires.map(whole_ms),
                backend,
                clock,
                kept: Mutex::new(None),
                questions: Semaphore::new(QUESTIONS_MAX),
            }),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        let routes = router(self.counter);
        let open = |_| {
            let routes = routes.clone();
            Terms::new(self.tls.clone(), move |_| {
                Ok(Admitted::to(move |request| {
                    let mut routes = routes.clone();
                    async move {
                        let Ok(response) = routes.call(request).await;
                        response
                    }
                }))
            })
        };
        self.listener.serve(pending(), open).await;
    }
}

fn tls_config(tls: &TlsFiles) -> Result<ServerConfig, BindError> {
    let error = |source| BindError::Tls { source };
    let chain = load_certificates(&tls.certificate_file).map_err(error)?;
    let pem = tls
        .key_file
        .read()
        .map_err(|source| BindError::Key { source })?;
    let path = tls.key_file.path().display().to_string();
    let key = SecretKey::parse(pem.expose(), &path).map_err(error)?;
    let own = Arc::new(HotCredential::new(chain, &key).map_err(error)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| BindError::Tls {
            source: TlsError::Build { source },
        })?
        .with_no_client_auth()
        .with_cert_resolver(own);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn router<D: AckBackend>(counter: Arc<Counter<D>>) -> Router {
    let nothing = || async { StatusCode::NOT_FOUND };
    Router::new()
        .route(&format!("{PATH}{{token}}"), get(look::<D>).post(press::<D>))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(counter)
}

/// The token as it stands in the path. Percent-encoded it is another text, and no link.
fn token(uri: &Uri) -> &str {
    uri.path().strip_prefix(PATH).unwrap_or_default()
}

/// What a link is about. Changes nothing. Also answers HEAD, without the page.
async fn look<D: AckBackend>(
    State(counter): State<Arc<Counter<D>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let language = page::language(&headers);
    let linked = match counter.read(token(&uri)) {
        Ok(linked) => linked,
        Err(said) => return Page::bare(language, said).into_response(),
    };
    let told = match counter.told(&linked, Freshness::Recent).await {
        Ok(told) => told,
        Err(said) => return Page::bare(language, said).into_response(),
    };
    let said = if told.is_empty() {
        Said::Over
    } else if told.iter().all(|alert| alert.acknowledged_by.is_some()) {
        Said::Taken
    } else {
        Said::Asked
    };
    counter.page(language, said, told).into_response()
}

/// Acknowledges what a link is about.
async fn press<D: AckBackend>(
    State(counter): State<Arc<Counter<D>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let language = page::language(&headers);
    let linked = match counter.read(token(&uri)) {
        Ok(linked) => linked,
        Err(said) => return Page::bare(language, said).into_response(),
    };
    let mut told = match counter.told(&linked, Freshness::Now).await {
        Ok(told) => told,
        Err(said) => return Page::bare(language, said).into_response(),
    };
    let said = counter.acknowledge(&linked, &mut told).await;
    counter.page(language, said, told).into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// At most [`VIEW_KEPT_MS`] old.
    Recent,
    /// As it is.
    Now,
}

impl<D: AckBackend> Counter<D> {
    fn read(&self, token: &str) -> Result<Linked, Said> {
        self.links
            .read(token, self.clock.wall())
            .map_err(|refused| match refused {
                LinkRefused::Forged => Said::Void,
                LinkRefused::Expired => Said::Expired,
            })
    }

    /// What a link is about and is still open.
    async fn told(&self, linked: &Linked, freshness: Freshness) -> Result<Vec<ToldAlert>, Said> {
        let fleet = self.fleet(freshness).await.ok_or(Said::Unavailable)?;
        told_by(&fleet, linked).map_err(|why| match why {
            NotTold::Retired => Said::Void,
            NotTold::Unwritten => Said::Unavailable,
        })
    }

    async fn fleet(&self, freshness: Freshness) -> Option<Arc<Fleet>> {
        let _permit = self.questions.acquire().await.ok()?;
        // Held while the view is built: the others want the same one.
        let mut kept = self.kept.lock().await;
        let now = self.clock.elapsed();
        if freshness == Freshness::Recent
            && let Some((at, fleet)) = &*kept
            && now.since_ms(*at) < VIEW_KEPT_MS
        {
            return Some(Arc::clone(fleet));
        }
        let fleet = Arc::new(self.backend.view().await?);
        *kept = Some((now, Arc::clone(&fleet)));
        Some(fleet)
    }

    /// Says that whoever reads the link's destination is on these, and notes in them who is.
    async fn acknowledge(&self, linked: &Linked, told: &mut [ToldAlert]) -> Said {
        if told.is_empty() {
            return Said::Over;
        }
        let by = Actor::Link(linked.to.clone());
        let event = Event::Operator(OperatorEvent::Acknowledged {
            // As the page shows them, and not by the link: what is told meanwhile was not seen by whoever pressed.
            numbers: told.iter().map(|alert| alert.number).collect(),
            by: by.clone(),
            for_ms: self.for_ms,
        });
        let permit = self.questions.acquire().await;
        let answered = self.backend.perform(event).await;
        drop(permit);
        // What was kept says nothing of this yet.
        *self.kept.lock().await = None;
        match answered {
            Ok(Some(Answered::Acknowledged { numbers, before })) => {
                for alert in told {
                    if numbers.contains(&alert.number) {
                        alert.acknowledged_by = Some(by.clone());
                    } else if let Some((_, first)) =
                        before.iter().find(|(number, _)| *number == alert.number)
                    {
                        alert.acknowledged_by = Some(first.clone());
                    }
                }
                if numbers.is_empty() {
                    return Said::Before;
                }
                info!(to = %linked.to, ?numbers, "acknowledged by a link");
                Said::Now
            }
            Ok(Some(Answered::NothingThere)) => Said::Over,
            // Anything else is no acknowledgement, and must not look like one.
            Ok(_) | Err(_) => Said::Unavailable,
        }
    }

    fn page(&self, language: Language, said: Said, told: Vec<ToldAlert>) -> Page {
        let rows = match said {
            // They are over, or it is not known how they stand.
            Said::Over | Said::Unavailable => Vec::new(),
            _ => told.into_iter().map(Row::from).collect(),
        };
        Page {
            language,
            said,
            rows,
            for_ms: self.for_ms,
        }
    }
}

impl From<ToldAlert> for Row {
    fn from(told: ToldAlert) -> Self {
        Self {
            number: told.number,
            services: told.services,
            status: told.status,
            is_exercise: told.is_exercise,
            by: told.acknowledged_by,
        }
    }
}

#[cfg(test)]
mod tests;
