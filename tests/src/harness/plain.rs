//! Plain HTTP to a loopback port: how Prometheus reads metrics, and how a browser or a mail scanner follows a link.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it was sent.
    pub body: Bytes,
}

/// What is at `path` of `address` for whoever sends `headers`.
///
/// # Errors
/// When there is no answer.
pub async fn fetch(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Page, String> {
    ask(address, Method::GET, path, headers).await
}

/// What `path` of `address` answers to a request without a body.
///
/// # Errors
/// When there is no answer.
pub async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Page, String> {
    let failed = |cause: &dyn std::error::Error| cause.to_string();
    let stream = TcpStream::connect(address)
        .await
        .map_err(|cause| failed(&cause))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| failed(&cause))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|cause| failed(&cause))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|cause| failed(&cause))?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|cause| failed(&cause))?;
    connection.abort();
    Ok(Page {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
    })
}

/// The text at `path` of `address`.
///
/// # Errors
/// When there is no answer, or another than 200.
pub async fn read(address: SocketAddr, path: &str) -> Result<String, String> {
    let page = fetch(address, path, &[]).await?;
    if page.status != 200 {
        return Err(page.status.to_string());
    }
    String::from_utf8(page.body.into()).map_err(|cause| cause.to_string())
}

/// The value of one series in a page of metrics, by name and labels as written.
#[must_use]
pub fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        line.strip_prefix(series)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}
