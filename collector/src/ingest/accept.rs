//! The door: the [listener](http_listener) that nodes and senders come to, each request with a known [`Peer`].
//!
//! Says who is let in, from the certificate of the connection, and what each may cost. What a certificate is worth beyond
//! that is for the handlers to say. A peer without certificate reaches `POST /v1/join` only, once for each connection, and
//! such connections have a bound of their own ([`Limits::anonymous_max`]); everything else is answered 403 here, before any
//! handler.
//!
//! Stopped, cancelled or out of descriptors, it does as the listener does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Method, Request, Response, StatusCode, header};
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_service::Service as _;
use tracing::debug;
use vigie_core::wire::{ErrorBody, JOIN_PATH};
use vigie_platform::http_listener::{
    self, Admitted, BindError, Bounds, Excess, Listener, Refused, RequestBody, Requests, Terms,
};

use super::authenticate::Peer;

/// What connections may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of each connection, and of all.
    pub bounds: Bounds,
    /// Most connections at a time whose peer showed no certificate.
    pub anonymous_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bounds: BOUNDS,
            // Joining is rare; a machine holds one for well under a second.
            anonymous_max: 64,
        }
    }
}

const BOUNDS: Bounds = Bounds {
    // 3,000 nodes with their two lanes on one connection each, and as many again while they reconnect.
    connections_max: 8192,
    // Agents come again by themselves; left waiting, they would take the network for dead.
    excess: Excess::Refused,
    // A storm of reconnects is served in slices, so that the first ones finish before they give up.
    handshakes_max: 256,
    handshake_timeout: Duration::from_secs(10),
    // Agents post every 20 s; three missed posts and some slack.
    idle_timeout: Duration::from_secs(75),
    // 4 MiB in 30 s is 1.1 Mbit/s.
    body_timeout: Duration::from_secs(30),
    requests: Requests::Many,
    // Identities are proved anew, and nothing can hang for ever.
    age_max: Duration::from_secs(3600),
    // A body that has just begun.
    finish_timeout: Duration::from_secs(30),
    close_timeout: Duration::from_secs(5),
    drain_timeout: Duration::from_secs(10),
    // One TLS record. Thousands of connections are kept open, and request heads are short.
    buffer_len_max: 16 * 1024,
    // Agents send under ten.
    headers_max: 32,
    // Time for some descriptors to come free.
    accept_pause: Duration::from_millis(100),
};

/// Of a peer without certificate: one request, whose head may take as long as the handshake.
fn anonymous(bounds: &Bounds) -> Bounds {
    Bounds {
        idle_timeout: bounds.handshake_timeout,
        age_max: bounds.handshake_timeout * 2 + bounds.body_timeout,
        requests: Requests::One,
        ..*bounds
    }
}

/// What happened at the door, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections.
    pub connections: Arc<http_listener::Counters>,
    /// Requests of peers without certificate to anything but `POST /v1/join`.
    pub certificate_required: AtomicU64,
}

/// The listening socket, bound and not yet served.
#[derive(Debug)]
pub struct Door {
    listener: Listener,
    tls: Arc<ServerConfig>,
    domain: Arc<str>,
    limits: Limits,
    counters: Arc<Counters>,
}

impl Door {
    /// Binds `address` (port 0 takes any free one). `domain` is the trust domain of the peers' certificates.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        domain: &str,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let listener = Listener::bind("agents", address, limits.bounds).await?;
        let counters = Counters {
            connections: listener.counters(),
            ..Counters::default()
        };
        Ok(Self {
            listener,
            tls,
            domain: domain.into(),
            limits,
            counters: Arc::new(counters),
        })
    }

    /// The address bound.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// What happens at the door, counted.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves `router` until `stop` turns true or its sender is gone, then drains. Handlers find an `Arc<Peer>` in the
    /// extensions of each request, and the remote address as [`ConnectInfo`].
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.limits.anonymous_max));
        let open = |remote| {
            let (places, domain) = (Arc::clone(&places), Arc::clone(&self.domain));
            let (router, counters) = (router.clone(), Arc::clone(&self.counters));
            let anonymous = anonymous(&self.limits.bounds);
            Terms::new(Some(Arc::clone(&self.tls)), move |certificates| {
                let peer = Peer::from_verified(certificates, &domain).map_err(|error| {
                    debug!(%remote, %error, "certificate not understood");
                    Refused::Unproven
                })?;
                let is_anonymous = peer == Peer::None;
                let place = is_anonymous.then(|| places.try_acquire_owned());
                let guest = Guest {
                    remote,
                    peer: Arc::new(peer),
                    router,
                    counters,
                    _place: place.transpose().map_err(|_| Refused::Full)?,
                };
                let admitted = Admitted::to(move |request| guest.ask(request));
                Ok(if is_anonymous {
                    admitted.under(anonymous)
                } else {
                    admitted
                })
            })
        };
        let stopped = async move {
            // An error means that the sender is gone: whoever ran us is gone too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        self.listener.serve(stopped, open).await;
    }
}

/// Who speaks over a connection.
struct Guest {
    remote: SocketAddr,
    peer: Arc<Peer>,
    router: Router,
    counters: Arc<Counters>,
    /// Of those without certificate.
    _place: Option<OwnedSemaphorePermit>,
}

impl Guest {
    fn ask(
        &self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Body>> + use<> {
        let is_join = request.method() == Method::POST && request.uri().path() == JOIN_PATH;
        let is_refused = *self.peer == Peer::None && !is_join;
        if is_refused {
            self.counters.certificate_required.fetch_add(1, Relaxed);
        }
        request.extensions_mut().insert(ConnectInfo(self.remote));
        request.extensions_mut().insert(Arc::clone(&self.peer));
        let mut router = self.router.clone();
        async move {
            if is_refused {
                return certificate_required();
            }
            // A router is always ready (axum documents it).
            let Ok(answer) = router.call(request).await;
            answer
        }
    }
}

fn certificate_required() -> Response<Body> {
    let body = ErrorBody {
        error: "certificate.required".to_owned(),
        mend: "show the certificate this machine got when it joined, or join with a token first"
            .to_owned(),
    };
    let text = serde_json::to_vec(&body).expect("two strings always serialise");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("close"),
    );
    response
}

#[cfg(test)]
mod tests;
