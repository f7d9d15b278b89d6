//! Serves the metrics port: connections in, each request with what the guard in force demands of it.
//!
//! A few connections at a time, each with deadlines, so that whoever hangs uses up nothing. When another guard comes into
//! force, requests are judged by it at once and connections end in order. Dropping the future closes everything.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Semaphore, time::timeout};
use tower_service::Service as _;
use tracing::debug;
use vigie_platform::scrape_guard::{Accepted, CHALLENGE, GuardedListener, ScrapeGuard, replaced};

/// Connections at a time. A Prometheus pair keeps one for each page it reads often; the rest queue in the kernel.
const CONNECTIONS_MAX: usize = 512;

/// How long a client may take to say what it wants, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a connection may live: a scraper comes back, one that hangs is gone.
const CONNECTION_MAX: Duration = Duration::from_secs(3_600);

/// A page is read and written in pieces of this size.
const BUFFER_LEN: usize = 16 * 1024;

/// Serves `routes` until dropped.
pub async fn serve(mut listener: GuardedListener, routes: Router) {
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
