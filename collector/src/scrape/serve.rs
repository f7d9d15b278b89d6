//! Opens and serves the metrics port: connections in, each request with what the guard in force demands of it.
//!
//! A few connections at a time, each with deadlines, so that whoever hangs uses up nothing. When another guard comes into
//! force, requests are judged by it at once and connections end in order. Dropping the future closes everything.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};
use tower_service::Service as _;
use tracing::debug;
use vigie_platform::scrape_guard::{Accepted, CHALLENGE, GuardedListener, ScrapeGuard, replaced};

use super::{Pages, router};

/// Connections at a time. A Prometheus pair keeps one for each page it reads often; the rest queue in the kernel.
const CONNECTIONS_MAX: usize = 512;

/// How long a client may take to say what it wants, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a connection may live: a scraper comes back, one that hangs is gone.
const CONNECTION_MAX: Duration = Duration::from_secs(3_600);

/// A page is read and written in pieces of this size.
const BUFFER_LEN: usize = 16 * 1024;

/// The port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// The port, bound and not yet served.
pub struct Port {
    listener: GuardedListener,
    address: Option<SocketAddr>,
    routes: Router,
}

/// What those must show who read the port, replaced while it is served.
pub struct Guard(watch::Sender<Arc<ScrapeGuard>>);

impl Guard {
    /// Puts another guard in force. The same one again changes nothing, and ends no connection.
    pub fn replace(&self, guard: &ScrapeGuard) {
        self.0.send_if_modified(|in_force| {
            let is_other = **in_force != *guard;
            if is_other {
                *in_force = Arc::new(guard.clone());
            }
            is_other
        });
    }
}

impl Port {
    /// Opens the port. `pages` makes what it serves from where it is.
    ///
    /// # Errors
    /// When the system refuses the address.
    pub async fn bind(
        address: SocketAddr,
        guard: ScrapeGuard,
        pages: impl FnOnce(SocketAddr) -> Pages,
    ) -> Result<(Self, Guard), BindError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BindError { address, source })?;
        let local = listener.local_addr().ok();
        let (guard, in_force) = watch::channel(Arc::new(guard));
        let port = Self {
            listener: GuardedListener::new(listener, in_force),
            address: local,
            routes: router(Arc::new(pages(local.unwrap_or(address)))),
        };
        Ok((port, Guard(guard)))
    }

    /// Where it listens, if the system says so.
    #[must_use]
    pub const fn local_address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Serves until dropped.
    pub async fn serve(self) {
        serve(self.listener, self.routes).await;
    }
}

async fn serve(mut listener: GuardedListener, routes: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = listener.accept().await;
        let (routes, in_force) = (routes.clone(), listener.guard());
        tokio::spawn(async move {
            let _permit = permit;
            let current = in_force.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let verdict = judge(&current.borrow(), &request);
                let mut routes = routes.clone();
                async move {
                    match verdict {
                        Some(refusal) => Ok::<_, Infallible>(refusal),
                        None => routes.call(request.map(Body::new)).await,
                    }
                }
            });
            let Accepted {
                stream,
                peer,
                guard,
            } = accepted;
            let mut connection = pin!(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .max_buf_size(BUFFER_LEN)
                    .serve_connection(TokioIo::new(stream), service)
            );
            let served = timeout(CONNECTION_MAX, async {
                tokio::select! {
                    served = &mut connection => served,
                    () = replaced(&guard, in_force) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            });
            if let Ok(Err(error)) = served.await {
                debug!(%peer, %error, "a connection for metrics ended badly");
            }
        });
    }
}

/// The answer to a request that does not show what is demanded.
fn judge(guard: &ScrapeGuard, request: &Request<Incoming>) -> Option<Response> {
    let shown = request.headers().get(header::AUTHORIZATION);
    guard.authorise(shown.map(HeaderValue::as_bytes)).err()?;
    let headers = [
        (header::WWW_AUTHENTICATE, CHALLENGE),
        // Who does not have the token does not keep a connection from those who do.
        (header::CONNECTION, "close"),
    ];
    let refusal = (
        StatusCode::UNAUTHORIZED,
        headers,
        "a bearer token is needed\n",
    );
    Some(refusal.into_response())
}
