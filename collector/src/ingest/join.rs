//! `POST /v1/join` and `POST /v1/renew`: certificates for nodes and senders, given only once the engine has written it
//! down.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::StatusCode;
use tracing::{error, info};
use vigie_core::{
    token::{Holder, Role},
    wire::{JoinAnswer, JoinRequest, RenewAnswer, RenewRequest},
};
use vigie_decide::fleet::{Event, JoinRefused, MembershipEvent, NodeKeys, SenderKeys};

use super::{Ingest, authenticate::Peer, entries, refuse, senders};
use crate::{
    engine::Refusal,
    identity::certificate::{IssueError, Issued, Subject},
};

/// Takes a machine in, or a program that sends metrics.
pub async fn join(State(ingest): State<Arc<Ingest>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<JoinRequest>(&body) else {
        ingest.counters.malformed.fetch_add(1, Relaxed);
        return malformed();
    };
    let holder = request.holder;
    let issued = match issue(&ingest, &holder, request.tls_key_spki.as_bytes()) {
        Ok(issued) => issued,
        Err(refusal) => return *refusal,
    };
    let secret_sha256 = request.secret.sha256();
    let event = match (&holder, request.signing_key) {
        (Holder::Node(node), Some(signing_key)) => Event::Membership(MembershipEvent::Join {
            token: request.token_id,
            secret_sha256,
            node: node.clone(),
            keys: NodeKeys {
                tls_key_sha256: issued.key_sha256,
                signing_key: String::from(signing_key),
                not_after: issued.not_after,
            },
        }),
        (Holder::Node(_), None) => {
            ingest.counters.malformed.fetch_add(1, Relaxed);
            return malformed();
        }
        (Holder::Sender(sender), _) => Event::Membership(MembershipEvent::SenderJoin {
            token: request.token_id,
            secret_sha256,
            sender: sender.clone(),
            keys: SenderKeys {
                tls_key_sha256: issued.key_sha256,
                not_after: issued.not_after,
            },
        }),
    };
    match ingest.engine.perform(event).await {
        Ok(_) => {
            info!(%holder, serial = issued.serial, "joined");
            let head = match &holder {
                Holder::Node(node) => ingest.directory.find(node).map(|member| member.head),
                Holder::Sender(_) => None,
            };
            axum::Json(JoinAnswer {
                certificate_pem: issued.pem,
                server_ca_pem: ingest.pki.server_ca_bundle_pem().to_owned(),
                collector_id: ingest.collector_id.clone(),
                head: head.filter(|head| head.seq > 0),
            })
            .into_response()
        }
        Err(Refusal::Join(why)) => {
            ingest.counters.foreign.fetch_add(1, Relaxed);
            info!(%holder, %why, "a join was refused");
            let mend = match (why, holder.role()) {
                (JoinRefused::UnknownToken, Role::Node) => {
                    "make a new token with `vigie-collector token --node NAME`"
                }
                (JoinRefused::UnknownToken, Role::Sender) => {
                    "make a new token with `vigie-collector token --sender NAME`"
                }
                (JoinRefused::OtherName(_), Role::Node) => "make a token for this node's name",
                (JoinRefused::OtherName(_), Role::Sender) => {
                    "make a token for this sender's name, or join with `--name` as the token says"
                }
                (JoinRefused::OtherRole(Role::Node), _) => {
                    "use it with `vigie-agent join`, or make a token with --sender"
                }
                (JoinRefused::OtherRole(Role::Sender), _) => {
                    "use it with `vigie-agent sender join`, or make a token with --node"
                }
                (JoinRefused::NameInUse(_), _) => {
                    "make a token with --replace, if this one is to take over the name"
                }
                (JoinRefused::Denied(_), _) => "an operator has to allow it again",
            };
            refuse(StatusCode::FORBIDDEN, &format!("join.refused: {why}"), mend)
        }
        Err(Refusal::Unavailable | Refusal::UnknownNode) => {
            ingest.counters.unavailable.fetch_add(1, Relaxed);
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "log.unavailable",
                "try again",
            )
        }
    }
}

/// Gives a node or sender a new certificate over a new key. The old one is good until the new one is first used.
pub async fn renew(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
    body: Bytes,
) -> Response {
    let now = ingest.clock.now();
    let holder = match &*peer {
        Peer::Sender { .. } => match senders::recognise(&ingest, &peer, now.wall) {
            Ok(sender) => Holder::Sender(sender),
            Err(refusal) => return *refusal,
        },
        Peer::Node { .. } | Peer::None => match entries::recognise(&ingest, &peer, now.wall) {
            Ok((node, ..)) => Holder::Node(node.clone()),
            Err(refusal) => return *refusal,
        },
    };
    let Ok(request) = serde_json::from_slice::<RenewRequest>(&body) else {
        ingest.counters.malformed.fetch_add(1, Relaxed);
        return refuse(
            StatusCode::BAD_REQUEST,
            "renew.malformed",
            "update the agent: its request cannot be read",
        );
    };
    let issued = match issue(&ingest, &holder, request.tls_key_spki.as_bytes()) {
        Ok(issued) => issued,
        Err(refusal) => return *refusal,
    };
    let (tls_key_sha256, not_after) = (issued.key_sha256, issued.not_after);
    let asked_with = peer.credential().map(|credential| credential.key_sha256);
    let event = match &holder {
        Holder::Node(node) => Event::Membership(MembershipEvent::Renewed {
            node: node.clone(),
            tls_key_sha256,
            asked_with,
            not_after,
        }),
        Holder::Sender(sender) => Event::Membership(MembershipEvent::SenderRenewed {
            sender: sender.clone(),
            tls_key_sha256,
            asked_with,
            not_after,
        }),
    };
    match ingest.engine.perform(event).await {
        Ok(_) => {
            info!(%holder, serial = issued.serial, "the certificate was renewed");
            axum::Json(RenewAnswer {
                certificate_pem: issued.pem,
                server_ca_pem: ingest.pki.server_ca_bundle_pem().to_owned(),
            })
            .into_response()
        }
        // Its key was good when it asked. It was denied, retired or replaced since.
        Err(Refusal::UnknownNode) => {
            ingest.counters.foreign.fetch_add(1, Relaxed);
            refuse(
                StatusCode::FORBIDDEN,
                "key.unknown",
                "an operator denied or retired it, or another one took over its name; join again with a new token",
            )
        }
        Err(Refusal::Unavailable | Refusal::Join(_)) => {
            ingest.counters.unavailable.fetch_add(1, Relaxed);
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "log.unavailable",
                "try again",
            )
        }
    }
}

fn malformed() -> Response {
    refuse(
        StatusCode::BAD_REQUEST,
        "join.malformed",
        "update the agent: its join request cannot be read",
    )
}

fn issue(ingest: &Ingest, holder: &Holder, spki: &[u8]) -> Result<Issued, Box<Response>> {
    let bad = |code: &str, mend: &str| Box::new(refuse(StatusCode::BAD_REQUEST, code, mend));
    let subject = Subject::new(holder.role(), holder.name()).map_err(|_| {
        bad(
            "join.name",
            "a name is 1 to 63 of a-z, 0-9, '.', '_', '-', and starts with a letter or digit",
        )
    })?;
    ingest
        .pki
        .issue(&subject, spki, ingest.clock.wall())
        .map_err(|cause| match cause {
            IssueError::Key => {
                ingest.counters.malformed.fetch_add(1, Relaxed);
                bad("key.type", "offer an ECDSA P-256 key")
            }
            IssueError::Sign { .. } => {
                error!(
                    cause = &cause as &dyn std::error::Error,
                    "cannot issue a certificate"
                );
                Box::new(refuse(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "certificate",
                    "see the collector's log",
                ))
            }
        })
}

#[cfg(test)]
mod tests;
