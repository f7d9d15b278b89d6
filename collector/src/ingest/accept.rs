//! The door: TCP connections in, HTTP requests with a known [`Peer`] out.
//!
//! Our own loop on tokio-rustls and hyper, because a handler has to know the certificate of its connection. Owns the
//! listening socket and every connection, and bounds what a connection may cost before and after it is known:
//!
//! | what | bound |
//! |---|---|
//! | connections | [`Limits::connections_max`]; one more is closed at once and counted |
//! | connections without certificate | [`Limits::anonymous_max`] of those, one request each |
//! | handshakes at a time | [`Limits::handshakes_max`]; waiting counts towards the time below |
//! | handshake | [`Limits::handshake_timeout`] |
//! | waiting for a request and reading its head | [`Limits::idle_timeout`]; without certificate [`Limits::handshake_timeout`] |
//! | reading a request's body | [`Limits::body_timeout`] |
//! | age of a connection | [`Limits::age_max`]: identities are proved anew, and nothing can hang for ever |
//! | memory | [`BUFFER_LEN_MAX`] each for hyper and rustls |
//!
//! A peer without certificate reaches `POST /v1/join` only; everything else is answered 403 here, before any handler.
//! Never decides what a certificate is worth beyond that, and never reads the wall clock.
//!
//! Cancelled (the `serve` future dropped), every connection is cut. Asked to stop through its channel, it takes no new
//! connection, lets requests under way finish for [`Limits::drain_timeout`], then cuts the rest. A full descriptor
//! table ([`ACCEPT_PAUSE`]) slows accepting down and ends nothing.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower_service::Service as _;
use tracing::{debug, warn};
use vigie_core::wire::{ErrorBody, JOIN_PATH};

use super::authenticate::Peer;

/// Largest buffer of one connection in hyper and in rustls, in bytes: one TLS record. Thousands of connections are kept
/// open, and request heads are short.
pub const BUFFER_LEN_MAX: usize = 16 * 1024;

/// Most header lines of a request: agents send under ten.
const HEADERS_MAX: usize = 32;

/// How long accepting pauses when the system refuses another descriptor: time for some to come free.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at a time, handshakes included.
    pub connections_max: usize,
    /// Most connections at a time whose peer showed no certificate.
    pub anonymous_max: usize,
    /// Most handshakes at a time.
    pub handshakes_max: usize,
    /// Longest handshake, and longest request head of a peer without certificate.
    pub handshake_timeout: Duration,
    /// Longest pause between two requests of a peer with certificate, the next one's head included.
    pub idle_timeout: Duration,
    /// Longest time from a request's head to the end of its body.
    pub body_timeout: Duration,
    /// Longest life of a connection.
    pub age_max: Duration,
    /// Longest time a connection that is being closed may take to end by itself.
    pub close_timeout: Duration,
    /// Longest time requests under way have at shutdown.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 3,000 nodes with their two lanes on one connection each, and as many again while they reconnect.
            connections_max: 8192,
            // Joining is rare; a machine holds one for well under a second.
            anonymous_max: 64,
            // A storm of reconnects is served in slices, so that the first ones finish before they give up.
            handshakes_max: 256,
            handshake_timeout: Duration::from_secs(10),
            // Agents post every 20 s; three missed posts and some slack.
            idle_timeout: Duration::from_secs(75),
            // 4 MiB in 30 s is 1.1 Mbit/s.
            body_timeout: Duration::from_secs(30),
            age_max: Duration::from_secs(3600),
            close_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// What happened at the door, for metrics. All only grow, except [`Counters::open`].
#[derive(Debug, Default)]
pub struct Counters {
    /// TCP connections taken.
    pub accepted: AtomicU64,
    /// Connections open now, handshakes included.
    pub open: AtomicU64,
    /// Connections closed at once because too many were open, with or without certificate.
    pub refused: AtomicU64,
    /// Handshakes that failed: no TLS, another CA, a wrong purpose, a peer that left.
    pub handshake_failed: AtomicU64,
    /// Handshakes cut for taking too long.
    pub handshake_timeout: AtomicU64,
    /// Requests of peers without certificate to anything but `POST /v1/join`.
    pub certificate_required: AtomicU64,
    /// Request bodies cut for taking too long.
    pub body_timeout: AtomicU64,
    /// Times the system refused to accept (out of descriptors, for one).
    pub accept_failed: AtomicU64,
    /// Connections cut at shutdown because their request did not finish in time.
    pub cut_at_shutdown: AtomicU64,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// The listening socket, bound and not yet served.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    local_address: SocketAddr,
    shared: Arc<Shared>,
}

/// What every connection needs.
struct Shared {
    tls: TlsAcceptor,
    domain: Box<str>,
    limits: Limits,
    counters: Arc<Counters>,
    connections: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
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
        let bind_error = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        Ok(Self {
            local_address: listener.local_addr().map_err(bind_error)?,
            listener,
            shared: Arc::new(Shared {
                tls: TlsAcceptor::from(tls),
                domain: domain.into(),
                connections: Arc::new(Semaphore::new(limits.connections_max)),
                anonymous: Arc::new(Semaphore::new(limits.anonymous_max)),
                handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
                limits,
                counters: Arc::default(),
            }),
        })
    }

    /// The address bound.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// What happens at the door, counted.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves `router` until `stop` turns true or its sender is gone, then drains. Handlers find an `Arc<Peer>` in the
    /// extensions of each request, and the remote address as [`ConnectInfo`].
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let Self {
            listener, shared, ..
        } = self;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => {
                        shared.counters.accepted.fetch_add(1, Relaxed);
                        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
                            shared.counters.refused.fetch_add(1, Relaxed);
                            continue;
                        };
                        let open = Open::new(&shared.counters, permit);
                        let serve = connection(
                            Arc::clone(&shared), stream, remote, router.clone(), stop.clone(),
                        );
                        connections.spawn(async move {
                            serve.await;
                            drop(open);
                        });
                    }
                    Err(error) => {
                        if shared.counters.accept_failed.fetch_add(1, Relaxed) == 0 {
                            warn!(%error, "the system refuses a connection; counted from now on");
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let drained = timeout(shared.limits.drain_timeout, async {
            while connections.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            let left = connections.len() as u64;
            shared.counters.cut_at_shutdown.fetch_add(left, Relaxed);
            warn!(left, "connections cut at shutdown");
            connections.shutdown().await;
        }
    }
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open {
    counters: Arc<Counters>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(counters: &Arc<Counters>, permit: OwnedSemaphorePermit) -> Self {
        counters.open.fetch_add(1, Relaxed);
        Self {
            counters: Arc::clone(counters),
            _permit: permit,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

/// One connection from its first byte to its last.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    remote: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let counters = &shared.counters;
    let handshake = timeout(shared.limits.handshake_timeout, handshake(&shared, stream));
    let stream = tokio::select! {
        () = stopped(&mut stop) => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                counters.handshake_failed.fetch_add(1, Relaxed);
                debug!(%remote, %error, "handshake failed");
                return;
            }
            Err(_) => {
                counters.handshake_timeout.fetch_add(1, Relaxed);
                return;
            }
        },
    };
    let peer = match Peer::from_verified(stream.get_ref().1.peer_certificates(), &shared.domain) {
        Ok(peer) => Arc::new(peer),
        Err(error) => {
            counters.handshake_failed.fetch_add(1, Relaxed);
            debug!(%remote, %error, "certificate not understood");
            return;
        }
    };
    let is_anonymous = *peer == Peer::None;
    let _anonymous = if is_anonymous {
        let Ok(permit) = Arc::clone(&shared.anonymous).try_acquire_owned() else {
            counters.refused.fetch_add(1, Relaxed);
            return;
        };
        Some(permit)
    } else {
        None
    };
    serve_http(&shared, stream, remote, peer, router, stop).await;
}

async fn handshake(shared: &Shared, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let _turn = shared
        .handshakes
        .acquire()
        .await
        .map_err(|_| io::Error::other("the listener is closing"))?;
    stream.set_nodelay(true)?;
    shared
        .tls
        .accept_with(stream, |connection| {
            connection.set_buffer_limit(Some(BUFFER_LEN_MAX));
        })
        .await
}

async fn serve_http(
    shared: &Arc<Shared>,
    stream: TlsStream<TcpStream>,
    remote: SocketAddr,
    peer: Arc<Peer>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let is_anonymous = *peer == Peer::None;
    let limits = &shared.limits;
    let (idle_max, age_max) = if is_anonymous {
        let head_max = limits.handshake_timeout;
        (head_max, head_max + limits.body_timeout)
    } else {
        (limits.idle_timeout, limits.age_max)
    };
    // Changes when a request comes in (true) and when its answer is ready (false).
    let (busy, mut is_busy) = watch::channel(false);
    let service = service_fn(|request: Request<Incoming>| {
        let (peer, mut router, shared) = (Arc::clone(&peer), router.clone(), Arc::clone(shared));
        let under_way = UnderWay::new(busy.clone());
        async move {
            let _under_way = under_way;
            let is_join = request.method() == Method::POST && request.uri().path() == JOIN_PATH;
            if *peer == Peer::None && !is_join {
                shared.counters.certificate_required.fetch_add(1, Relaxed);
                return Ok::<_, Infallible>(certificate_required());
            }
            let deadline = Instant::now() + shared.limits.body_timeout;
            let mut request = request.map(|body| {
                Body::new(TimedBody {
                    inner: body,
                    deadline: Box::pin(tokio::time::sleep_until(deadline)),
                    counters: Arc::clone(&shared.counters),
                })
            });
            request.extensions_mut().insert(ConnectInfo(remote));
            request.extensions_mut().insert(peer);
            // A router is always ready (axum documents it) and cannot fail.
            router.call(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper's timer runs from when it begins to wait, so it can only be the hard stop behind our own idle limit,
        // which closes TLS properly: without close_notify the far side would have to suspect a truncation.
        .header_read_timeout(idle_max + limits.close_timeout)
        .max_buf_size(BUFFER_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(!is_anonymous)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let grace = tokio::select! {
        // The peer left, broke off or broke the protocol: nobody else's concern.
        _ = connection.as_mut() => return,
        () = idle_for(&mut is_busy, idle_max) => limits.close_timeout,
        () = sleep(age_max) => limits.close_timeout.max(limits.body_timeout),
        // The drain of all connections has the same limit and counts those that reach it.
        () = stopped(&mut stop) => limits.drain_timeout + limits.close_timeout,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(grace, connection).await;
}

/// Resolves once no request has been under way for `idle_max`.
async fn idle_for(is_busy: &mut watch::Receiver<bool>, idle_max: Duration) {
    loop {
        // The sender lives as long as the connection, which is polled beside this.
        let _ = is_busy.wait_for(|busy| !*busy).await;
        tokio::select! {
            () = sleep(idle_max) => return,
            // Any change: a request that came and went at once has begun the wait anew.
            _ = is_busy.changed() => {}
        }
    }
}

/// Marks a connection as busy for as long as it lives.
struct UnderWay(watch::Sender<bool>);

impl UnderWay {
    fn new(busy: watch::Sender<bool>) -> Self {
        busy.send_replace(true);
        Self(busy)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// Resolves when `stop` is true or nobody can set it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: whoever ran us is gone too.
    let _ = stop.wait_for(|stop| *stop).await;
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

/// A request body that ends in an error at its deadline.
struct TimedBody {
    inner: Incoming,
    deadline: Pin<Box<Sleep>>,
    counters: Arc<Counters>,
}

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the request's body did not arrive in time")]
pub struct BodyTimeout;

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The deadline first: a body that trickles always has a little more.
        if self.deadline.as_mut().poll(cx).is_ready() {
            self.counters.body_timeout.fetch_add(1, Relaxed);
            return Poll::Ready(Some(Err(axum::Error::new(BodyTimeout))));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
