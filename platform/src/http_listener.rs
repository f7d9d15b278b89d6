//! The HTTP listener: TCP connections in, HTTP/1.1 requests out to a service of the owner's.
//!
//! Owns the listening socket and every connection, and what these may cost ([`Bounds`]). Whose they are is the owner's to
//! say, in two steps, so that nothing is spent on a peer before it had to show what it can:
//!
//! ```text
//! accept ── open(address) ─→ Terms { tls, admit } ── handshake ── admit(certificates) ─→ Admitted { service, … } ── requests
//!    │                                                   │               │
//!    └ no place: refused, or waits in the kernel         └ failed, cut   └ refused
//! ```
//!
//! Never decides what an address or a certificate is worth, never reads the wall clock, and never lets a connection speak
//! that was not admitted.
//!
//! Asked to stop, it takes no new connection, lets requests under way finish for [`Bounds::drain_timeout`], then cuts the
//! rest. Cancelled (the `serve` future dropped), the socket is closed and connections are asked to end in order in the same
//! way, each bounded by its age; nobody waits for them. A full descriptor table slows accepting down
//! ([`Bounds::accept_pause`]) and ends nothing.

use std::{
    convert::Infallible,
    error::Error,
    future::pending,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

/// How long after the [idle limit](Bounds::idle_timeout) hyper's own limit cuts whoever is in the middle of a head.
const HARD_STOP_AFTER: Duration = Duration::from_secs(1);

/// What connections may cost. There is no default: each owner says for each bound why it is what it is.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at a time, handshakes included.
    pub connections_max: usize,
    /// What becomes of one more.
    pub excess: Excess,
    /// Most TLS handshakes at a time.
    pub handshakes_max: usize,
    /// Longest TLS handshake. Where one more connection is [refused](Excess::Refused), waiting for a turn counts too.
    pub handshake_timeout: Duration,
    /// Longest wait for a request, the reading of its head included.
    pub idle_timeout: Duration,
    /// Longest time from a request's head to the end of its body.
    pub body_timeout: Duration,
    /// Longest life of a connection, from being accepted until it is asked to end.
    pub age_max: Duration,
    /// Longest time that a request under way has beyond that.
    pub finish_timeout: Duration,
    /// Longest time that a connection which waits for no answer any more may take to get the last one across and end.
    pub close_timeout: Duration,
    /// Longest time that requests under way have at shutdown.
    pub drain_timeout: Duration,
    /// How many requests a connection carries.
    pub requests: Requests,
    /// Largest buffer of one connection in hyper and in rustls each, and so the longest head of a request, in bytes. hyper
    /// takes no less than 8 KiB.
    pub buffer_len_max: usize,
    /// Most header lines of a request.
    pub headers_max: usize,
    /// How long accepting pauses when the system refuses another descriptor, which does not pass at once.
    pub accept_pause: Duration,
}

/// What becomes of a connection when there are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It is closed at once and counted, so that its peer tries elsewhere or later.
    Refused,
    /// It waits in the kernel until there is a place and a turn for a handshake.
    Waits,
}

/// How many requests a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// One, then it is closed.
    One,
    /// One after another.
    Many,
}

/// What happened at a listener, for its owner's metrics. All only grow, except [`Counters::open`].
#[derive(Debug, Default)]
pub struct Counters {
    /// TCP connections taken.
    pub accepted: AtomicU64,
    /// Connections open now, handshakes included.
    pub open: AtomicU64,
    /// Connections closed at once because too many were open, of all or of their kind.
    pub refused: AtomicU64,
    /// Handshakes that failed: no TLS, another CA, a wrong purpose, a peer that left.
    pub handshake_failed: AtomicU64,
    /// Handshakes cut for taking too long.
    pub handshake_timeout: AtomicU64,
    /// Request bodies cut for taking too long.
    pub body_timeout: AtomicU64,
    /// Times the system refused to accept (out of descriptors, for one).
    pub accept_failed: AtomicU64,
    /// Connections cut at shutdown because their request did not finish in time.
    pub cut_at_shutdown: AtomicU64,
}

/// Under what a connection begins: said when its address is known and nothing was read yet.
pub struct Terms<A> {
    tls: Option<Arc<ServerConfig>>,
    admit: A,
}

impl<A> Terms<A> {
    /// `admit` is asked once the handshake is done, with the certificates that the peer showed and the configuration of TLS
    /// found good; without TLS at once.
    pub fn new<S>(tls: Option<Arc<ServerConfig>>, admit: A) -> Self
    where
        A: FnOnce(Option<&[CertificateDer<'static>]>) -> Result<Admitted<S>, Refused>,
    {
        Self { tls, admit }
    }
}

/// A connection that may speak.
pub struct Admitted<S> {
    service: S,
    bounds: Option<Bounds>,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Admitted<S> {
    /// Its requests are answered by `service`, which is dropped with the connection.
    pub fn to(service: S) -> Self {
        Self {
            service,
            bounds: None,
            until: Box::pin(pending()),
        }
    }

    /// From here on other bounds count for this connection than the listener's.
    #[must_use]
    pub const fn under(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// The connection is asked to end when `until` is ready.
    #[must_use]
    pub fn until(mut self, until: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Box::pin(until);
        self
    }
}

/// Why a connection may not speak. It is closed without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There are enough of its kind: counted as [refused](Counters::refused).
    Full,
    /// What it showed does not do: counted as a [failed handshake](Counters::handshake_failed).
    Unproven,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The listening socket, bound and not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    purpose: &'static str,
    bounds: Bounds,
    counters: Arc<Counters>,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Listener {
    /// Binds `address` (port 0 takes any free one). `purpose` is what or whom it is for, as the log says it.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        purpose: &'static str,
        address: SocketAddr,
        bounds: Bounds,
    ) -> Result<Self, BindError> {
        let error = |source| BindError { address, source };
        let socket = TcpListener::bind(address).await.map_err(error)?;
        Ok(Self {
            address: socket.local_addr().map_err(error)?,
            socket,
            shared: Arc::new(Shared {
                purpose,
                places: Arc::new(Semaphore::new(bounds.connections_max)),
                turns: Arc::new(Semaphore::new(bounds.handshakes_max)),
                bounds,
                counters: Arc::default(),
            }),
        })
    }

    /// The address bound.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What happens here, counted.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until `stop` is ready, then drains. `open` says under what a connection from an address begins.
    pub async fn serve<A, S, F, B>(
        self,
        stop: impl Future<Output = ()> + Send,
        open: impl Fn(SocketAddr) -> Terms<A> + Send,
    ) where
        A: FnOnce(Option<&[CertificateDer<'static>]>) -> Result<Admitted<S>, Refused>
            + Send
            + 'static,
        S: Fn(Request<RequestBody>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    {
        let Self { socket, shared, .. } = self;
        let counters = &shared.counters;
        let mut connections = Connections(JoinSet::new());
        // Dropped, it asks every connection to end.
        let (going_on, ending) = watch::channel(());
        let mut stop = pin!(stop);
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = stop.as_mut() => break,
                Some(_) = connections.0.join_next() => {}
                accepted = shared.accept(&socket) => match accepted {
                    Ok(Accepted { stream, peer, place, turn }) => {
                        is_failing = false;
                        counters.accepted.fetch_add(1, Relaxed);
                        let place = place.or_else(|| Arc::clone(&shared.places).try_acquire_owned().ok());
                        let Some(place) = place else {
                            counters.refused.fetch_add(1, Relaxed);
                            continue;
                        };
                        let place = Open::new(counters, place);
                        let serve = connection(Arc::clone(&shared), stream, peer, open(peer), turn, ending.clone());
                        connections.0.spawn(async move {
                            serve.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        counters.accept_failed.fetch_add(1, Relaxed);
                        if !is_failing {
                            warn!(%error, "cannot accept a connection for {}", shared.purpose);
                        }
                        is_failing = true;
                        if timeout(shared.bounds.accept_pause, stop.as_mut()).await.is_ok() {
                            break;
                        }
                    }
                },
            }
        }
        drop((socket, going_on));
        let drained = timeout(shared.bounds.drain_timeout, async {
            while connections.0.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            let left = connections.0.len() as u64;
            counters.cut_at_shutdown.fetch_add(left, Relaxed);
            warn!(left, "connections cut at shutdown");
            connections.0.shutdown().await;
        }
    }
}

/// The connections of a listener. Dropped with it they go on, and end as they are asked to.
struct Connections(JoinSet<()>);

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.detach_all();
    }
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Both are there already where one more connection waits in the kernel.
    place: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Shared {
    /// Cancel-safe.
    async fn accept(&self, socket: &TcpListener) -> io::Result<Accepted> {
        let (place, turn) = match self.bounds.excess {
            Excess::Refused => (None, None),
            Excess::Waits => (
                Some(acquire(&self.places).await),
                Some(acquire(&self.turns).await),
            ),
        };
        let (stream, peer) = socket.accept().await?;
        Ok(Accepted {
            stream,
            peer,
            place,
            turn,
        })
    }

    /// The TLS of a connection, or why there is none to be counted and forgotten.
    async fn shake_hands(
        &self,
        tls: Arc<ServerConfig>,
        stream: TcpStream,
        turn: Option<OwnedSemaphorePermit>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let _turn = match turn {
            Some(turn) => turn,
            None => acquire(&self.turns).await,
        };
        TlsAcceptor::from(tls)
            .accept_with(stream, |connection| {
                connection.set_buffer_limit(Some(self.bounds.buffer_len_max));
            })
            .await
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    permit.expect("nobody closes these semaphores")
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open {
    counters: Arc<Counters>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(counters: &Arc<Counters>, place: OwnedSemaphorePermit) -> Self {
        counters.open.fetch_add(1, Relaxed);
        Self {
            counters: Arc::clone(counters),
            _place: place,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

/// The bytes of a connection, with TLS between or not: one type, so that HTTP over it is compiled once.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection from its first byte to its last.
async fn connection<A, S, F, B>(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    terms: Terms<A>,
    turn: Option<OwnedSemaphorePermit>,
    mut ending: watch::Receiver<()>,
) where
    A: FnOnce(Option<&[CertificateDer<'static>]>) -> Result<Admitted<S>, Refused>,
    S: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Error: Into<BodyError>> + 'static,
{
    let (counters, purpose, opened) = (&shared.counters, shared.purpose, Instant::now());
    // Answers are written whole: waiting for more to send would only delay their last packet.
    let _ = stream.set_nodelay(true);
    let (admitted, stream): (_, Box<dyn Stream>) = if let Some(tls) = terms.tls {
        let handshake = timeout(
            shared.bounds.handshake_timeout,
            shared.shake_hands(tls, stream, turn),
        );
        let shaken = tokio::select! {
            _ = ending.changed() => return,
            shaken = handshake => shaken,
        };
        // Not warnings: whoever reaches the port could fill the log.
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                counters.handshake_failed.fetch_add(1, Relaxed);
                debug!(%peer, %error, "a TLS handshake for {purpose} failed");
                return;
            }
            Err(_) => {
                counters.handshake_timeout.fetch_add(1, Relaxed);
                debug!(%peer, "a TLS handshake for {purpose} took too long");
                return;
            }
        };
        let admitted = (terms.admit)(stream.get_ref().1.peer_certificates());
        (admitted, Box::new(stream))
    } else {
        drop(turn);
        ((terms.admit)(None), Box::new(stream))
    };
    let counter = match admitted {
        Ok(admitted) => return converse(&shared, stream, peer, opened, admitted, ending).await,
        Err(Refused::Full) => &counters.refused,
        Err(Refused::Unproven) => &counters.handshake_failed,
    };
    counter.fetch_add(1, Relaxed);
}

/// The requests of one connection.
async fn converse<S, F, B>(
    shared: &Shared,
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    opened: Instant,
    admitted: Admitted<S>,
    mut ending: watch::Receiver<()>,
) where
    S: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Error: Into<BodyError>> + 'static,
{
    let Admitted { service, until, .. } = admitted;
    let bounds = admitted.bounds.unwrap_or(shared.bounds);
    let purpose = shared.purpose;
    // Changes when a request comes in (true) and when its answer is ready (false).
    let (busy, mut is_busy) = watch::channel(false);
    let service = service_fn(|request: Request<Incoming>| {
        let under_way = UnderWay::new(busy.clone());
        let answer = service(request.map(|inner| RequestBody {
            inner,
            deadline: Box::pin(sleep(bounds.body_timeout)),
            counters: Arc::clone(&shared.counters),
        }));
        async move {
            let _under_way = under_way;
            Ok::<_, Infallible>(answer.await)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper's timer runs from when it begins to wait, so it can only be the hard stop behind our own idle limit,
            // which closes TLS properly: without close_notify the far side would have to suspect a truncation.
            .header_read_timeout(bounds.idle_timeout + HARD_STOP_AFTER)
            .max_buf_size(bounds.buffer_len_max)
            .max_headers(bounds.headers_max)
            .keep_alive(bounds.requests == Requests::Many)
            .serve_connection(TokioIo::new(stream), service)
    );
    let old = opened + bounds.age_max;
    let last = old + bounds.finish_timeout;
    let cut = tokio::select! {
        ended = connection.as_mut() => {
            // The peer left, broke off or broke the protocol: nobody else's concern.
            if let Err(error) = ended {
                debug!(%peer, %error, "a connection for {purpose} ended badly");
            }
            return;
        }
        () = idle_for(&mut is_busy, bounds.idle_timeout) => last.min(Instant::now() + bounds.close_timeout),
        () = sleep_until(old) => last,
        // The drain of all connections has a limit of its own and counts those that reach it.
        _ = ending.changed() => last,
        () = until => last,
    };
    connection.as_mut().graceful_shutdown();
    match timeout_at(cut, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%peer, %error, "a connection for {purpose} ended badly"),
        Err(_) => debug!(%peer, "a connection for {purpose} took too long"),
    }
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

/// Whatever went wrong with a body.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// A request's body, which ends in a [`BodyTimeout`] at its deadline.
pub struct RequestBody {
    inner: Incoming,
    deadline: Pin<Box<Sleep>>,
    counters: Arc<Counters>,
}

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the request's body did not arrive in time")]
pub struct BodyTimeout;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The deadline first: a body that trickles always has a little more.
        if self.deadline.as_mut().poll(cx).is_ready() {
            self.counters.body_timeout.fetch_add(1, Relaxed);
            return Poll::Ready(Some(Err(BodyTimeout.into())));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
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
