//! `POST /api/v1/write`: takes in samples by Prometheus remote write, 1.0 and 2.0, from nodes and senders.
//!
//! Who speaks is asked first, then the form, then for room ([`intake`]); only then is the body read, unpacked, walked as
//! a whole and applied to the newest values ([`Latest`]). A length is judged before room is made for it, at each of these
//! steps. Nothing is decided by samples and nothing of them is logged; a node's contact is not stamped by them either.
//!
//! | answer | when |
//! |---|---|
//! | 204 | everything was written |
//! | 400 | the body cannot be read, or some samples were refused and the others written; the text says which |
//! | 403 | not in the fleet, denied, an unknown key, an expired certificate, another node's name |
//! | 408 | the body did not arrive in time |
//! | 413 | the body is too long, as sent or unpacked, or says too much for one request |
//! | 415 | neither of the two versions, or not in snappy's block format |
//! | 429 | too many requests or bytes under way |
//! | 503 | the collector is stopping |
//!
//! Every answer to a 2.0 request, and to one whose version cannot be told, says how much was written in three headers;
//! without them a sender takes us for a receiver of 1.0. A 1.0 answer has none: that version does not know them, and
//! the public compliance suite wants none there.
//!
//! A repeated request changes nothing, so one whose answer was lost may be sent again. Cancelled (the peer hung up),
//! a request gives back what it held; a body that is being applied is applied to its end.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use vigie_core::{
    remote_write::{Batch, Malformed, Version},
    time::Now,
};
use vigie_platform::random;

use super::{
    Ingest,
    authenticate::{Peer, Standing},
    entries::{self, note_impostor},
    refuse, senders,
};
use crate::latest::{Applied, Origin, Refusal};

mod body;
mod intake;

pub use intake::{ADMIT_WAIT_MAX, INLINE_LEN_MAX, Intake, KEPT_LEN_MAX, LARGE_MAX, Limits};

use body::Unread;
use intake::{Pass, Workspace, is_usual};

/// Snappy's densest element writes 64 bytes for 3, so a block that claims to hold more than this is lying.
const SNAPPY_RATIO: (usize, usize) = (64, 3);

/// A sender that was refused for being too much comes again after this and up to [`RETRY_SPREAD_S`] more seconds: a
/// round number for everybody would bring them all back at once.
const RETRY_AFTER_S: u64 = 2;

/// See [`RETRY_AFTER_S`].
const RETRY_SPREAD_S: u64 = 9;

const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// What came in, for metrics. All only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes of bodies, as sent.
    pub body_bytes: AtomicU64,
    /// Samples written.
    pub written: AtomicU64,
    refused: [AtomicU64; Refusal::COUNT],
    results: [AtomicU64; Ending::ALL.len()],
}

impl Counters {
    /// Requests by how they ended.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &AtomicU64)> {
        Ending::ALL
            .iter()
            .map(|ending| ending.as_str())
            .zip(&self.results)
    }

    /// Samples (and histograms, and exemplars) refused, by reason. Those of a request that could not be read at all are
    /// not among them: nobody can tell how many they were.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, &AtomicU64)> {
        Refusal::ALL
            .iter()
            .map(|why| why.as_str())
            .zip(&self.refused)
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Accepted,
    Partial,
    Malformed,
    Foreign,
    Expired,
    Impostor,
    TooLarge,
    Unsupported,
    Flooding,
    TimedOut,
    Broken,
    Unavailable,
}

impl Ending {
    const ALL: [Self; 12] = [
        Self::Accepted,
        Self::Partial,
        Self::Malformed,
        Self::Foreign,
        Self::Expired,
        Self::Impostor,
        Self::TooLarge,
        Self::Unsupported,
        Self::Flooding,
        Self::TimedOut,
        Self::Broken,
        Self::Unavailable,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Partial => "partial",
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::Impostor => "impostor",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Flooding => "flooding",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why nothing of a request was written.
enum Refused {
    /// Who speaks may not; the answer is ready.
    Foreign(Box<Response>),
    Expired,
    Encoding,
    ContentType,
    BodyTooLong {
        len_max: usize,
    },
    DecodedTooLong {
        len: usize,
        len_max: usize,
    },
    Flooding,
    TimedOut,
    Broken,
    Snappy(snap::Error),
    /// The block claims more than its bytes can hold.
    SnappyClaim {
        len: usize,
        claimed: usize,
    },
    Malformed(Malformed),
    Impostor,
    Stopping,
}

/// The handler.
pub async fn write(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request,
) -> Response {
    let now = ingest.clock.now();
    let (head, body) = request.into_parts();
    let version = version(&head.headers);
    let (ending, written, mut response) =
        match take(&ingest, &peer, &head.headers, version, body, now).await {
            Ok(applied) => answer(&ingest.samples, &applied),
            Err(refused) => {
                let (ending, response) = refused.answer();
                (ending, 0, response)
            }
        };
    ingest.samples.results[ending as usize].fetch_add(1, Relaxed);
    if version != Some(Version::V1) {
        let headers = response.headers_mut();
        headers.insert(SAMPLES_WRITTEN, HeaderValue::from(written));
        // Neither is kept: newest values are plain numbers, and exemplars are examples of what nobody asked about.
        headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(0));
        headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(0));
    }
    response
}

/// Which version the request says it is. `Content-Type` alone decides, as the specification of 2.0 wants it; a missing
/// `X-Prometheus-Remote-Write-Version` is no mistake.
fn version(headers: &HeaderMap) -> Option<Version> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Version::from_content_type(content_type)
}

/// From the first look to the newest values.
async fn take(
    ingest: &Arc<Ingest>,
    peer: &Peer,
    headers: &HeaderMap,
    version: Option<Version>,
    body: Body,
    now: Now,
) -> Result<Applied, Refused> {
    let body_len = body_len(headers);
    let (origin, version, pass) = match admit(ingest, peer, headers, version, body_len, now).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            body::discard(body, body_len).await;
            return Err(refused);
        }
    };
    let len_max = pass.limits.body_len_max;
    let body = body::read(body, body_len, len_max)
        .await
        .map_err(|why| match why {
            Unread::TooLong => Refused::BodyTooLong { len_max },
            Unread::TimedOut => Refused::TimedOut,
            Unread::Broken => Refused::Broken,
        })?;
    let len = body.len() as u64;
    ingest.samples.body_bytes.fetch_add(len, Relaxed);
    let batch = Packed {
        origin,
        version,
        decoded_len: decoded_len(&body, pass.limits.decoded_len_max)?,
        body,
        pass,
    };
    let is_large = batch.decoded_len > INLINE_LEN_MAX;
    let at_once = if is_large {
        None
    } else {
        let (latest, now) = (&ingest.latest, ingest.clock.now());
        batch.read(&ingest.intake, |read| {
            latest.try_apply(&batch.origin, read, now)
        })?
    };
    let applied = match at_once {
        Some(applied) => applied,
        None => apply_elsewhere(ingest, batch, is_large).await?,
    };
    match (&applied.impostor, peer) {
        (Some(claimed), Peer::Node { name, .. }) => {
            note_impostor(ingest, name, claimed, now.elapsed).await;
            Err(Refused::Impostor)
        }
        _ => Ok(applied),
    }
}

/// Takes in what is large, or has to wait for another request of the same origin, where nobody waits for the thread.
async fn apply_elsewhere(
    ingest: &Arc<Ingest>,
    batch: Packed,
    is_large: bool,
) -> Result<Applied, Refused> {
    let turn = if is_large {
        ingest.intake.large_turn().await
    } else {
        // What it unpacks to is little, and its origin may have but a few requests under way.
        None
    };
    let ingest = Arc::clone(ingest);
    let work = move || {
        let _turn = turn;
        let now = ingest.clock.now();
        batch.read(&ingest.intake, |read| {
            ingest.latest.apply(&batch.origin, read, now)
        })
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(applied) => applied,
        Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
        Err(_) => Err(Refused::Stopping),
    }
}

/// Everything that is asked before the first byte of the body is read.
async fn admit(
    ingest: &Ingest,
    peer: &Peer,
    headers: &HeaderMap,
    version: Option<Version>,
    body_len: Option<usize>,
    now: Now,
) -> Result<(Origin, Version, Pass), Refused> {
    let origin = recognise(ingest, peer, now)?;
    let is_snappy = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"snappy")
    });
    if !is_snappy {
        return Err(Refused::Encoding);
    }
    let version = version.ok_or(Refused::ContentType)?;
    let len_max = ingest.intake.limits().body_len_max;
    if body_len.is_some_and(|len| len > len_max) {
        return Err(Refused::BodyTooLong { len_max });
    }
    let pass = ingest.intake.admit(&origin, body_len).await;
    Ok((origin, version, pass.ok_or(Refused::Flooding)?))
}

/// Whose samples they are.
fn recognise(ingest: &Ingest, peer: &Peer, now: Now) -> Result<Origin, Refused> {
    let origin = match peer {
        Peer::Sender { .. } => senders::recognise(ingest, peer, now.wall)
            .map(|name| Origin::Sender(name.as_str().into())),
        Peer::Node { .. } | Peer::None => {
            entries::recognise(ingest, peer, now.wall).map(|(name, ..)| Origin::Node(name.clone()))
        }
    }
    .map_err(Refused::Foreign)?;
    let is_expired = matches!(peer.standing(now.wall), Some(Standing::Expired { .. }));
    // Entries of an expired node are taken in doubt, since they may be an alarm. Nothing is lost without its samples.
    if is_expired && !ingest.directory.is_clock_in_doubt() {
        return Err(Refused::Expired);
    }
    Ok(origin)
}

/// What the head says about the length of the body. hyper has checked it.
fn body_len(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// What the body claims to hold, unpacked, if that can be true.
fn decoded_len(body: &[u8], len_max: usize) -> Result<usize, Refused> {
    let claimed = snap::raw::decompress_len(body).map_err(Refused::Snappy)?;
    if claimed > len_max {
        return Err(Refused::DecodedTooLong {
            len: claimed,
            len_max,
        });
    }
    let (out, from) = SNAPPY_RATIO;
    if claimed / out * from > body.len() {
        return Err(Refused::SnappyClaim {
            len: body.len(),
            claimed,
        });
    }
    Ok(claimed)
}

/// A body that was received whole and is still packed.
struct Packed {
    origin: Origin,
    version: Version,
    decoded_len: usize,
    body: Bytes,
    pass: Pass,
}

impl Packed {
    /// Unpacks and reads, and has it applied. Synchronous, and without an allocation when the request is like those
    /// before it.
    fn read<T>(&self, intake: &Intake, apply: impl FnOnce(&Batch<'_>) -> T) -> Result<T, Refused> {
        let mut workspace = intake.workspace();
        let Workspace { decoded, decoder } = &mut workspace;
        if decoded.len() < self.decoded_len {
            decoded.resize(self.decoded_len, 0);
        }
        let mut is_worth_keeping = true;
        let applied = snap::raw::Decoder::new()
            .decompress(&self.body, decoded)
            .map_err(Refused::Snappy)
            .and_then(|len| {
                let request = &self.pass.limits.request;
                let batch = decoder.decode(self.version, &decoded[..len], request);
                // A request that was refused may have filled the tables as well.
                is_worth_keeping = batch.as_ref().is_ok_and(is_usual);
                Ok(apply(&batch.map_err(Refused::Malformed)?))
            });
        intake.give_back(workspace, is_worth_keeping);
        applied
    }
}

/// How a request ended that was read, what to say about it, and what was written.
fn answer(counters: &Counters, applied: &Applied) -> (Ending, u64, Response) {
    counters.written.fetch_add(applied.written, Relaxed);
    let refused = || {
        let counts = Refusal::ALL.iter().zip(applied.refused);
        counts.filter(|(_, count)| *count > 0)
    };
    for (why, count) in refused() {
        counters.refused[*why as usize].fetch_add(count, Relaxed);
    }
    let total = applied.refused_total();
    if total == 0 {
        return (
            Ending::Accepted,
            applied.written,
            StatusCode::NO_CONTENT.into_response(),
        );
    }
    let mut text = format!("{} written, {total} refused:", applied.written);
    for (index, (why, count)) in refused().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a text cannot fail.
        let _ = write!(text, "{comma} {count} {}", why.as_str());
    }
    if let Some(example) = &applied.example {
        let _ = write!(text, "; first: {example}");
    }
    text.push('\n');
    (
        Ending::Partial,
        applied.written,
        (StatusCode::BAD_REQUEST, text).into_response(),
    )
}

impl Refused {
    fn answer(self) -> (Ending, Response) {
        let plain = |ending, status: StatusCode, text: String| {
            (ending, (status, text + "\n").into_response())
        };
        match self {
            Self::Foreign(response) => (Ending::Foreign, *response),
            Self::Expired => (
                Ending::Expired,
                refuse(
                    StatusCode::FORBIDDEN,
                    "certificate.expired",
                    "a node that runs renews it by itself within the hour; a sender renews or joins again",
                ),
            ),
            Self::Impostor => (
                Ending::Impostor,
                refuse(
                    StatusCode::FORBIDDEN,
                    "node.impostor",
                    "the samples name another node than the certificate does",
                ),
            ),
            Self::Encoding => plain(
                Ending::Unsupported,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Encoding must be snappy (the block format)".to_owned(),
            ),
            Self::ContentType => plain(
                Ending::Unsupported,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "Content-Type must be {} (remote write 1.0) or {} (2.0)",
                    Version::V1.content_type(),
                    Version::V2.content_type()
                ),
            ),
            Self::BodyTooLong { len_max } => plain(
                Ending::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is longer than {len_max} bytes: send fewer samples a request"),
            ),
            Self::DecodedTooLong { len, len_max } => plain(
                Ending::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body would unpack to {len} bytes, and at most {len_max} are taken: send fewer samples a request"
                ),
            ),
            Self::Malformed(
                cause @ (Malformed::TooMany { .. } | Malformed::BodyTooLong { .. }),
            ) => plain(
                Ending::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{cause}: send fewer samples a request"),
            ),
            Self::Malformed(cause) => plain(
                Ending::Malformed,
                StatusCode::BAD_REQUEST,
                format!("nothing written: {cause}"),
            ),
            Self::Snappy(cause) => plain(
                Ending::Malformed,
                StatusCode::BAD_REQUEST,
                format!("nothing written: the body is not in snappy's block format: {cause}"),
            ),
            Self::SnappyClaim { len, claimed } => plain(
                Ending::Malformed,
                StatusCode::BAD_REQUEST,
                format!(
                    "nothing written: a snappy block of {len} bytes cannot hold the {claimed} that it claims"
                ),
            ),
            Self::Flooding => {
                let (ending, mut response) = plain(
                    Ending::Flooding,
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many requests under way: send one at a time, or fewer bytes".to_owned(),
                );
                let after = RETRY_AFTER_S + random::drawn() % RETRY_SPREAD_S;
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
                (ending, response)
            }
            Self::TimedOut => plain(
                Ending::TimedOut,
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time".to_owned(),
            ),
            // Nobody reads this.
            Self::Broken => plain(
                Ending::Broken,
                StatusCode::BAD_REQUEST,
                "the body broke off".to_owned(),
            ),
            Self::Stopping => plain(
                Ending::Unavailable,
                StatusCode::SERVICE_UNAVAILABLE,
                "the collector is stopping".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod compliance;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
