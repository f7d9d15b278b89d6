//! `GET /metrics` for Prometheus, and nothing else.
//!
//! Who may connect and ask is the [guard](vigie_platform::scrape_guard)'s to say: anybody on this machine, others only with
//! what the settings demand. A guard that is replaced ends the connections that were made under it once what they ask is
//! answered. A scrape never fails the agent; dropping the future closes the socket, and its connections in the same way.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::watch;
use vigie_platform::{
    http_listener::{Listener, RequestBody},
    scrape_guard::{self, ScrapeGuard},
};

use super::Metrics;

/// A Prometheus pair and somebody with curl.
const SPEAKING_MAX: usize = 8;

/// How long a connection may live: a scraper that keeps it alive comes back, one that hangs is gone.
const CONNECTION_MAX: Duration = Duration::from_secs(600);

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
pub async fn listen(address: SocketAddr) -> Result<Listener, ListenError> {
    let bounds = scrape_guard::bounds(SPEAKING_MAX, CONNECTION_MAX);
    let listener = Listener::bind("metrics", address, bounds).await;
    listener.map_err(|error| ListenError {
        address: error.address,
        source: error.source,
    })
}

/// Serves until dropped, under the guard in force at each moment.
pub async fn serve(
    listener: Listener,
    metrics: Arc<Metrics>,
    guard: watch::Receiver<Arc<ScrapeGuard>>,
) {
    let service = move |request| std::future::ready(answer(&request, &metrics));
    scrape_guard::serve(listener, guard, service).await;
}

fn answer(request: &Request<RequestBody>, metrics: &Metrics) -> Response<Full<Bytes>> {
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
