//! Plain HTTP to a loopback port: how Prometheus reads metrics.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The text at `path` of `address`.
///
/// # Errors
/// When there is no answer, or another than 200.
pub async fn read(address: SocketAddr, path: &str) -> Result<String, String> {
    let failed = |cause: &dyn std::error::Error| cause.to_string();
    let stream = TcpStream::connect(address)
        .await
        .map_err(|cause| failed(&cause))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| failed(&cause))?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|cause| failed(&cause))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|cause| failed(&cause))?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|cause| failed(&cause))?
        .to_bytes();
    connection.abort();
    if status != 200 {
        return Err(status.to_string());
    }
    String::from_utf8(body.into()).map_err(|cause| failed(&cause))
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
