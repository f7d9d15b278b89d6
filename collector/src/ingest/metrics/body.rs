//! Reads a request's body into memory that was asked for before, and not a byte more.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use vigie_platform::http_listener::BodyTimeout;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Longer than it may be.
    TooLong,
    /// It did not arrive in time.
    TimedOut,
    /// The peer hung up, or broke the protocol.
    Broken,
}

/// Reads all of `body`, of at most `len_max` bytes. `len` is what its head says; room is made for it once. A body that
/// came in one piece, as most do, is not copied.
pub(super) async fn read(
    mut body: Body,
    len: Option<usize>,
    len_max: usize,
) -> Result<Bytes, Unread> {
    let mut first = Bytes::new();
    let mut joined: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| why(&error))?.into_data() else {
            // Trailers.
            continue;
        };
        if first.len().max(joined.len()) + piece.len() > len_max {
            return Err(Unread::TooLong);
        }
        if first.is_empty() && joined.is_empty() {
            first = piece;
            continue;
        }
        if joined.is_empty() {
            // The door hands out pieces of a larger buffer: many small ones kept would hold many large ones.
            joined.reserve_exact(len.unwrap_or(0).min(len_max).max(first.len() + piece.len()));
            joined.extend_from_slice(&first);
            first = Bytes::new();
        }
        joined.extend_from_slice(&piece);
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.into()
    })
}

/// Reads and forgets a short body that nobody wants, so that the answer is not lost: a connection closed over unread
/// bytes is reset, and the sender would see a network error instead of what is wrong. A long one is left to that.
pub(super) async fn discard(mut body: Body, len: Option<usize>) {
    if len.is_none_or(|len| len > DISCARDED_LEN_MAX) {
        return;
    }
    while let Some(Ok(_)) = body.frame().await {}
}

/// Longest body that is read only to be forgotten: most requests are shorter, and it costs less than a handshake.
const DISCARDED_LEN_MAX: usize = 256 * 1024;

fn why(error: &axum::Error) -> Unread {
    let mut causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| {
            error.source()
        });
    if causes.any(|cause| cause.is::<BodyTimeout>()) {
        Unread::TimedOut
    } else {
        Unread::Broken
    }
}
