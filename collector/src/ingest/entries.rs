//! `POST /v1/entries`: reads what a node hands in, checks who says it, and queues it for the engine.
//!
//! Everything that costs processor time and needs no state of the engine is done here, on the connection's own task:
//! the signature, the reading of lines. A node may have [`IN_FLIGHT_MAX`] requests under way; more are answered 429, for
//! that node alone, so that one that floods takes no turn from the others.
//!
//! | answer | when |
//! |---|---|
//! | 200 | everything is durable |
//! | 400 | the first line is no contact, or there are too many lines |
//! | 403 | not in the fleet, denied, an unknown key, expired for too long, a wrong signature, another node's name |
//! | 429 | too many requests under way |
//! | 503 | the log cannot be written now; critical pages went out |

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::oneshot;
use tracing::{info, warn};
use vigie_core::{
    contact::Signed,
    hand_in::LINES_MAX,
    id::NodeName,
    time::{Elapsed, Now, Wall},
};
use vigie_decide::fleet::{Event, TroubleEvent};

use super::{Ingest, authenticate::Peer, refuse};
use crate::{
    directory::Member,
    engine::{HandIn, ReceivedLine, Refusal},
    ingest::authenticate::{Credential, Standing},
};

/// How many requests of one node may be under way: one being written, one on the way.
const IN_FLIGHT_MAX: u32 = 2;

/// A certificate that ended longer ago than this is good for nothing: a machine that was off for a season may still come
/// back and renew, an old disk image may not.
pub const EXPIRED_MAX_MS: u64 = 90 * 86_400_000;

/// At most one entry an hour about what a node can repeat at will.
const REPEAT_AFTER_MS: u64 = 3_600_000;

/// Refused requests within a minute before it is called a flood.
const FLOOD_REFUSED: u64 = 10;

/// How long a node must be good before the flood is over.
const CALM_AFTER_MS: u64 = 60_000;

/// Requests by how they ended.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answered 200.
    pub accepted: AtomicU64,
    /// Not a hand-in.
    pub malformed: AtomicU64,
    /// Not in the fleet, denied or an unknown key.
    pub foreign: AtomicU64,
    /// Expired for too long.
    pub expired: AtomicU64,
    /// Signature wrong.
    pub forged: AtomicU64,
    /// Claimed to be another node.
    pub impostor: AtomicU64,
    /// Too many under way.
    pub flooding: AtomicU64,
    /// Could not be written.
    pub unavailable: AtomicU64,
}

/// What is remembered of each node between requests.
#[derive(Debug, Default)]
pub struct PeerLimits {
    nodes: Mutex<HashMap<NodeName, NodeManners>>,
}

#[derive(Debug, Default)]
struct NodeManners {
    in_flight: u32,
    refused: u64,
    refused_last: Option<Elapsed>,
    is_flooding: bool,
    impostor_last: Option<Elapsed>,
    forged_last: Option<Elapsed>,
}

/// A request under way; counts down when dropped, also when the peer hangs up.
struct UnderWay<'a> {
    peer_limits: &'a PeerLimits,
    node: NodeName,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.peer_limits
            .with(&self.node, |node| node.in_flight -= 1);
    }
}

impl PeerLimits {
    fn with<T>(&self, node: &NodeName, change: impl FnOnce(&mut NodeManners) -> T) -> T {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        change(nodes.entry(node.clone()).or_default())
    }

    /// Lets one more request in (`None`: too many are under way), and says what is to be noted about a flood.
    fn enter(&self, node: &NodeName, now: Elapsed) -> (Option<UnderWay<'_>>, Option<Event>) {
        self.with(node, |manners| {
            let was_refused = |within_ms| {
                let last = manners.refused_last;
                last.is_some_and(|last| now.since_ms(last) < within_ms)
            };
            if manners.in_flight >= IN_FLIGHT_MAX {
                let goes_on = was_refused(CALM_AFTER_MS);
                manners.refused = if goes_on { manners.refused + 1 } else { 1 };
                manners.refused_last = Some(now);
                let begins = manners.refused >= FLOOD_REFUSED && !manners.is_flooding;
                manners.is_flooding |= begins;
                let event = begins.then(|| {
                    Event::Trouble(TroubleEvent::NodeFlooding {
                        node: node.clone(),
                        refused: manners.refused,
                    })
                });
                return (None, event);
            }
            let ends = manners.is_flooding && !was_refused(CALM_AFTER_MS);
            manners.is_flooding &= !ends;
            manners.in_flight += 1;
            let under_way = UnderWay {
                peer_limits: self,
                node: node.clone(),
            };
            let event = ends.then(|| Event::Trouble(TroubleEvent::NodeCalm { node: node.clone() }));
            (Some(under_way), event)
        })
    }
}

/// Whether something that can be repeated at will is to be noted again.
fn is_due(last: &mut Option<Elapsed>, now: Elapsed) -> bool {
    let due = last.is_none_or(|last| now.since_ms(last) >= REPEAT_AFTER_MS);
    if due {
        *last = Some(now);
    }
    due
}

/// Who a peer is to the fleet, or why it may not speak.
pub(super) fn recognise<'p>(
    ingest: &Ingest,
    peer: &'p Peer,
    now: Wall,
) -> Result<(&'p NodeName, &'p Credential, Member, Option<Wall>), Box<Response>> {
    let Peer::Node { name, credential } = peer else {
        return Err(Box::new(refuse(
            StatusCode::FORBIDDEN,
            "peer.not_a_node",
            "join this machine as a node first",
        )));
    };
    let count = |counter: &AtomicU64| counter.fetch_add(1, Relaxed);
    let Some(member) = ingest.directory.find(name) else {
        count(&ingest.counters.foreign);
        return Err(Box::new(refuse(
            StatusCode::FORBIDDEN,
            "node.unknown",
            "this node was retired; join it again with a new token",
        )));
    };
    if member.denied {
        count(&ingest.counters.foreign);
        return Err(Box::new(refuse(
            StatusCode::FORBIDDEN,
            "node.denied",
            "an operator denied this node",
        )));
    }
    if !member.keys.contains(&credential.key_sha256) {
        count(&ingest.counters.foreign);
        return Err(Box::new(refuse(
            StatusCode::FORBIDDEN,
            "key.unknown",
            "another machine took over this name, or a newer key is in use; join again with a new token",
        )));
    }
    let expired = match credential.standing(now) {
        // A clock that is in doubt itself says nothing about how long ago; what such a node says is in doubt anyway.
        Standing::Expired { expired_by_ms }
            if expired_by_ms > EXPIRED_MAX_MS && !ingest.directory.is_clock_in_doubt() =>
        {
            count(&ingest.counters.expired);
            return Err(Box::new(refuse(
                StatusCode::FORBIDDEN,
                "certificate.expired",
                "the certificate ended more than 90 days ago; join again with a new token",
            )));
        }
        Standing::Expired { .. } => Some(credential.not_after),
        // Whose clock is wrong cannot be known here; the key is known and the issuer is ours.
        Standing::Valid | Standing::NotYetValid { .. } => None,
    };
    Ok((name, credential, member, expired))
}

/// The handler.
pub async fn hand_in(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
    body: Bytes,
) -> Response {
    let now = ingest.clock.now();
    let (node, credential, member, expired) = match recognise(&ingest, &peer, now.wall) {
        Ok(recognised) => recognised,
        Err(refusal) => return *refusal,
    };
    let (under_way, event) = ingest.peer_limits.enter(node, now.elapsed);
    if let Some(event) = event {
        info!(%node, ?event, "the node's manners changed");
        ingest.engine.note(event).await;
    }
    let Some(_under_way) = under_way else {
        ingest.counters.flooding.fetch_add(1, Relaxed);
        return too_many();
    };
    let mut lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let signed = match lines.next().map(Signed::read) {
        Some(Ok(signed)) => signed,
        Some(Err(_)) | None => {
            ingest.counters.malformed.fetch_add(1, Relaxed);
            return refuse(
                StatusCode::BAD_REQUEST,
                "contact.malformed",
                "the first line of the body is the contact line",
            );
        }
    };
    let covered = signed.signed_bytes(&ingest.collector_id, node);
    let key = UnparsedPublicKey::new(&ED25519, &member.signing_key);
    if key.verify(&covered, &signed.signature).is_err() {
        ingest.counters.forged.fetch_add(1, Relaxed);
        if ingest.peer_limits.with(node, |manners| {
            is_due(&mut manners.forged_last, now.elapsed)
        }) {
            warn!(%node, "the contact's signature is wrong");
            ingest
                .engine
                .note(Event::Trouble(TroubleEvent::ContactForged {
                    node: node.clone(),
                }))
                .await;
        }
        return refuse(
            StatusCode::FORBIDDEN,
            "contact.forged",
            "the contact is not signed with this node's key",
        );
    }
    let lines: Vec<ReceivedLine> = lines.take(LINES_MAX + 1).map(ReceivedLine::read).collect();
    if lines.len() > LINES_MAX {
        ingest.counters.malformed.fetch_add(1, Relaxed);
        return refuse(
            StatusCode::BAD_REQUEST,
            "entries.too_many",
            "hand in at most 512 lines a request",
        );
    }
    if let Some(claimed) = foreign_name(&lines, node) {
        return impostor(&ingest, node, claimed, now).await;
    }
    // Accepted: from here on it counts as heard, however long the engine takes.
    ingest.engine.stamp(node, now);
    let (reply, answer) = oneshot::channel();
    let queued = ingest.engine.hand_in(HandIn {
        node: node.clone(),
        key_sha256: credential.key_sha256,
        expired,
        contact: signed.contact,
        lines,
        received: now,
        reply,
    });
    if !queued {
        return unavailable(&ingest);
    }
    match answer.await {
        Ok(Ok(answer)) => {
            ingest.counters.accepted.fetch_add(1, Relaxed);
            axum::Json(answer).into_response()
        }
        Ok(Err(Refusal::UnknownNode)) => refuse(
            StatusCode::FORBIDDEN,
            "node.unknown",
            "this node was retired; join it again with a new token",
        ),
        Ok(Err(Refusal::Unavailable | Refusal::Join(_))) | Err(_) => unavailable(&ingest),
    }
}

/// The first name in the lines that is not the certificate's. Lines that cannot be read claim nothing.
fn foreign_name(lines: &[ReceivedLine], node: &NodeName) -> Option<String> {
    let mut read = lines.iter().filter_map(|line| match line {
        ReceivedLine::Entry(line) => Some(line.entry()),
        ReceivedLine::Refused { .. } => None,
    });
    read.find(|entry| entry.node != node.as_str())
        .map(|entry| entry.node.clone())
}

async fn impostor(ingest: &Ingest, node: &NodeName, claimed: String, now: Now) -> Response {
    ingest.counters.impostor.fetch_add(1, Relaxed);
    note_impostor(ingest, node, &claimed, now.elapsed).await;
    refuse(
        StatusCode::FORBIDDEN,
        "node.impostor",
        "the lines name another node than the certificate does",
    )
}

/// Has it written down, at most once an hour, that `node` claims to be another, in lines or in samples.
pub(super) async fn note_impostor(ingest: &Ingest, node: &NodeName, claimed: &str, now: Elapsed) {
    if !ingest
        .peer_limits
        .with(node, |manners| is_due(&mut manners.impostor_last, now))
    {
        return;
    }
    info!(%node, "the node claims to be another");
    // A name that is no name is not repeated.
    let claimed = claimed
        .parse::<NodeName>()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string());
    ingest
        .engine
        .note(Event::Trouble(TroubleEvent::NodeImpostor {
            node: node.clone(),
            claimed,
        }))
        .await;
}

fn too_many() -> Response {
    let mut response = refuse(
        StatusCode::TOO_MANY_REQUESTS,
        "node.flooding",
        "send one request at a time",
    );
    response.headers_mut().insert(
        http::header::RETRY_AFTER,
        http::HeaderValue::from_static("5"),
    );
    response
}

fn unavailable(ingest: &Ingest) -> Response {
    ingest.counters.unavailable.fetch_add(1, Relaxed);
    let mut response = refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "log.unavailable",
        "try again",
    );
    response.headers_mut().insert(
        http::header::RETRY_AFTER,
        http::HeaderValue::from_static("1"),
    );
    response
}
