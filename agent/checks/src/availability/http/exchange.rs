//! One request and its answer over one new connection.
//!
//! No connection is kept: a probe must notice a listener that takes no new ones. Cancelling drops the socket. What is
//! read is bounded ([`HEAD_LEN_MAX`], [`BODY_LEN_MAX`]), and stays in memory until it is judged.

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use vigie_machine::{
    Context,
    tls::{Shown, TlsClient},
};

use super::endpoint::{Endpoint, Scheme};
use crate::availability::{
    failure::Failure,
    phase::{Phase, Progress},
};

/// The longest head of an answer read, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// How much of a body is read, in bytes. A health page that needs more is not one.
pub(super) const BODY_LEN_MAX: usize = 1024 * 1024;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) tls: Option<&'a TlsClient>,
    pub(super) keep: Keep,
}

/// What is kept of a body. It is read either way: an answer that breaks off is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Bytes,
    Length,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<HeaderValue>,
    pub(super) body: Body,
}

/// As much of the body as was read.
pub(super) struct Body {
    /// Empty where only the length is kept.
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
    pub(super) extent: Extent,
}

/// Whether all of the body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Beginning,
}

/// Asks `address`. `progress` and `shown` tell how far it came, also after a failure.
pub(super) async fn ask(
    question: &Question<'_>,
    address: SocketAddr,
    context: &Context,
    progress: &mut Progress,
    shown: &Shown,
) -> Result<Answer, Failure> {
    progress.enter(Phase::Connect);
    let failed = |error: io::Error, progress: &Progress| {
        Failure::of_io(&error, progress.phase(), progress.total_ms())
    };
    let stream = context
        .net
        .connect(address)
        .await
        .map_err(|error| failed(error, progress))?;
    match (question.endpoint.scheme, question.tls) {
        (Scheme::Http, _) => Box::pin(converse(question, stream, progress)).await,
        (Scheme::Https, Some(tls)) => {
            progress.enter(Phase::Tls);
            let name = question.endpoint.server_name.clone();
            let stream = tls
                .connect(stream, name, context.clock.wall(), shown)
                .await
                .map_err(|error| match failed(error, progress) {
                    Failure::Certificate { why, .. } => Failure::Certificate {
                        why,
                        not_after: shown.not_after(),
                    },
                    other => other,
                })?;
            Box::pin(converse(question, stream, progress)).await
        }
        (Scheme::Https, None) => Err(Failure::NoRoots),
    }
}

async fn converse(
    question: &Question<'_>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    progress: &mut Progress,
) -> Result<Answer, Failure> {
    progress.enter(Phase::FirstByte);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LEN_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failure(&error, progress))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question.endpoint.target.clone();
    *request.headers_mut() = question.headers.clone();
    let host = question.endpoint.authority.clone();
    request.headers_mut().insert(header::HOST, host);

    drive(connection, async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failure(&error, progress))?;
        progress.enter(Phase::Body);
        let (head, body) = response.into_parts();
        let body = read(body, question.keep)
            .await
            .map_err(|error| failure(&error, progress))?;
        Ok(Answer {
            status: head.status,
            location: head.headers.get(header::LOCATION).cloned(),
            body,
        })
    })
    .await
}

async fn read(mut body: hyper::body::Incoming, keep: Keep) -> Result<Body, hyper::Error> {
    let mut read = Body {
        bytes: Vec::new(),
        len: 0,
        extent: Extent::Whole,
    };
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let taken = data.len().min(BODY_LEN_MAX - read.len);
        read.len += taken;
        if keep == Keep::Bytes {
            read.bytes.extend_from_slice(&data[..taken]);
        }
        if taken < data.len() {
            read.extent = Extent::Beginning;
            break;
        }
    }
    Ok(read)
}

/// Lets the connection work while `work` waits for it. What goes wrong with it reaches `work` as an error.
async fn drive<T>(connection: impl Future, work: impl Future<Output = T>) -> T {
    let (mut connection, mut work) = (pin!(connection), pin!(work));
    let mut is_open = true;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            if !is_open || connection.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // Its end is news to `work`, which may have been polled too early to be woken by it.
            is_open = false;
        }
    })
    .await
}

/// The I/O error at the bottom of hyper's, else a breach of the protocol.
fn failure(error: &hyper::Error, progress: &Progress) -> Failure {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Failure::of_io(error, progress.phase(), progress.total_ms());
        }
        cause = error.source();
    }
    Failure::Protocol {
        phase: progress.phase(),
    }
}
