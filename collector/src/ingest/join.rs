//! `POST /v1/join` and `POST /v1/renew`: certificates for machines, given only once the engine has written it down.

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
    fleet::{Event, JoinRefused, NodeKeys},
    token::Role,
    wire::{JoinAnswer, JoinRequest, RenewAnswer, RenewRequest},
};

use super::{Ingest, authenticate::Peer, entries::recognise, refuse};
use crate::{
    engine::Refusal,
    identity::certificate::{IssueError, Issued, Subject},
};

/// Takes a machine in.
pub async fn join(State(ingest): State<Arc<Ingest>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<JoinRequest>(&body) else {
        ingest.counters.malformed.fetch_add(1, Relaxed);
        return refuse(
            StatusCode::BAD_REQUEST,
            "join.malformed",
            "update the agent: its join request cannot be read",
        );
    };
    let issued = match issue(
        &ingest,
        request.node.as_str(),
        request.tls_key_spki.as_bytes(),
    ) {
        Ok(issued) => issued,
        Err(refusal) => return *refusal,
    };
    let node = request.node.clone();
    let event = Event::Join {
        token: request.token_id,
        secret_sha256: request.secret.sha256(),
        node: request.node,
        keys: NodeKeys {
            tls_key_sha256: issued.key_sha256,
            signing_key: String::from(request.signing_key),
            not_after: issued.not_after,
        },
    };
    match ingest.engine.perform(event).await {
        Ok(()) => {
            info!(%node, serial = issued.serial, "the node joined");
            let head = ingest
                .directory
                .find(&node)
                .map(|member| member.head)
                .filter(|head| head.seq > 0);
            axum::Json(JoinAnswer {
                certificate_pem: issued.pem,
                server_ca_pem: ingest.pki.server_ca_bundle_pem().to_owned(),
                collector_id: ingest.collector_id.clone(),
                head,
            })
            .into_response()
        }
        Err(Refusal::Join(why)) => {
            ingest.counters.foreign.fetch_add(1, Relaxed);
            info!(%node, %why, "a join was refused");
            let mend = match why {
                JoinRefused::UnknownToken => {
                    "make a new token with `vigie-collector token --node NAME`"
                }
                JoinRefused::OtherNode => "make a token for this node's name",
                JoinRefused::NameInUse => {
                    "make a token with --replace, if this machine is to take over the name"
                }
                JoinRefused::Denied => "an operator has to allow the node again",
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

/// Gives a node a new certificate over a new key. The old one is good until the new one is first used.
pub async fn renew(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
    body: Bytes,
) -> Response {
    let now = ingest.clock.now();
    let node = match recognise(&ingest, &peer, now.wall) {
        Ok((node, ..)) => node.clone(),
        Err(refusal) => return *refusal,
    };
    let Ok(request) = serde_json::from_slice::<RenewRequest>(&body) else {
        ingest.counters.malformed.fetch_add(1, Relaxed);
        return refuse(
            StatusCode::BAD_REQUEST,
            "renew.malformed",
            "update the agent: its request cannot be read",
        );
    };
    let issued = match issue(&ingest, node.as_str(), request.tls_key_spki.as_bytes()) {
        Ok(issued) => issued,
        Err(refusal) => return *refusal,
    };
    let event = Event::Renewed {
        node: node.clone(),
        tls_key_sha256: issued.key_sha256,
        not_after: issued.not_after,
    };
    match ingest.engine.perform(event).await {
        Ok(()) => {
            info!(%node, serial = issued.serial, "the node's certificate was renewed");
            axum::Json(RenewAnswer {
                certificate_pem: issued.pem,
                server_ca_pem: ingest.pki.server_ca_bundle_pem().to_owned(),
            })
            .into_response()
        }
        Err(_) => {
            ingest.counters.unavailable.fetch_add(1, Relaxed);
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "log.unavailable",
                "try again",
            )
        }
    }
}

fn issue(ingest: &Ingest, node: &str, spki: &[u8]) -> Result<Issued, Box<Response>> {
    let bad = |code: &str, mend: &str| Box::new(refuse(StatusCode::BAD_REQUEST, code, mend));
    let subject = Subject::new(Role::Node, node).map_err(|_| {
        bad(
            "node.name",
            "a node's name is 1 to 63 of a-z, 0-9, '.', '_', '-'",
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
