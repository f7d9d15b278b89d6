//! `GET /metrics` for Prometheus, and nothing else.
//!
//! HTTP/1.1 over hyper, a few connections at a time, each with a deadline for its headers. Who may connect and ask is the
//! [guard](vigie_platform::scrape_guard)'s to say: anybody on this machine, others only with what the settings demand. A
//! guard that is replaced ends the connections that were made under it once what they ask is answered. A scrape never
//! fails the agent; dropping the future closes the socket, and dropping the guard's sender the connections.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};
use tracing::debug;
use vigie_platform::scrape_guard::{
    Accepted, CHALLENGE, GuardedListener, ScrapeGuard, Unauthorised, replaced,
};

use super::Metrics;

/// Connections at a time: a Prometheus pair and somebody with curl.
const CONNECTIONS_MAX: usize = 8;

/// How long a client may take to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live: a scraper that keeps it alive comes back, one that hangs is gone.
const CONNECTION_MAX: Duration = Duration::from_secs(600);

/// hyper's smallest buffer; a scrape's request takes a few hundred bytes.
const BUFFER_BYTES: usize = 8 * 1024;

/// Why the metrics cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for metrics")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Opens the socket.
///
/// # Errors
/// When the address is in use or not this machine's.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Serves until dropped, under the guard in force at each moment.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    guard: watch::Receiver<Arc<ScrapeGuard>>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut listener = GuardedListener::new(listener, guard);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = listener.accept().await;
        let metrics = Arc::clone(&metrics);
        let in_force = listener.guard();
        tokio::spawn(async move {
            let _permit = permit;
            // Ends by itself; bounded, so that idle clients cannot use up the permits.
            let _ = timeout(CONNECTION_MAX, converse(accepted, metrics, in_force)).await;
        });
    }
}

async fn converse(
    accepted: Accepted,
    metrics: Arc<Metrics>,
    in_force: watch::Receiver<Arc<ScrapeGuard>>,
) {
    let current = in_force.clone();
    let service = service_fn(move |request| {
        let guard = Arc::clone(&current.borrow());
        let response = answer(&request, &guard, &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(accepted.stream), service)
    );
    let served = tokio::select! {
        served = &mut connection => served,
        () = replaced(&accepted.guard, in_force) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(peer = %accepted.peer, %error, "a connection for metrics ended badly");
    }
}

fn answer(
    request: &Request<Incoming>,
    guard: &ScrapeGuard,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    if let Err(Unauthorised) = guard.authorise(authorization.map(HeaderValue::as_bytes)) {
        let mut refusal = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
        let headers = refusal.headers_mut();
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(CHALLENGE),
        );
        // Who does not have the token does not keep a connection from those who do.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        return refusal;
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => response(
            StatusCode::OK,
            prometheus::TEXT_FORMAT,
            metrics.text().into(),
        ),
        (&Method::GET | &Method::HEAD, _) => plain(StatusCode::NOT_FOUND, "see /metrics\n"),
        _ => {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            // Required beside this status (RFC 9110 section 15.5.6).
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(header::ALLOW, allowed);
            refusal
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain", Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
