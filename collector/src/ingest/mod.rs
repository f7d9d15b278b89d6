//! What comes in from nodes: the door, who is at it, and what they bring.

pub mod accept;
pub mod alerts;
pub mod authenticate;
pub mod entries;
pub mod join;
pub mod metrics;
mod senders;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::StatusCode;
use vigie_core::{
    hand_in::{BODY_LEN_MAX, ENTRIES_PATH},
    remote_write::WRITE_PATH,
    wire::{ErrorBody, JOIN_BODY_LEN_MAX, JOIN_PATH, RENEW_PATH},
};
use vigie_decide::sender_alert::ALERTS_PATH;
use vigie_platform::clock::Clock;

use crate::{directory::Directory, engine::Handle, identity::Pki, latest::Latest};

/// What request handlers share.
pub struct Ingest {
    /// Where everything goes.
    pub engine: Handle,
    /// Who may speak.
    pub directory: Arc<Directory>,
    /// Who makes certificates.
    pub pki: Arc<Pki>,
    /// The collector's id, which contacts are signed for.
    pub collector_id: String,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Requests by how they ended.
    pub counters: Arc<entries::Counters>,
    /// What is remembered of nodes between requests.
    pub peer_limits: entries::PeerLimits,
    /// Where samples go.
    pub latest: Arc<Latest>,
    /// What came in by remote write.
    pub samples: Arc<metrics::Counters>,
    /// How much of it may come in at once.
    pub intake: Arc<metrics::Intake>,
    /// What is remembered of senders' alerts between requests.
    pub alerts: Arc<alerts::AlertsBySender>,
}

/// The routes of the agents' port.
pub fn router(ingest: Arc<Ingest>) -> Router {
    let small = || DefaultBodyLimit::max(JOIN_BODY_LEN_MAX);
    Router::new()
        .route(
            ENTRIES_PATH,
            post(entries::hand_in).layer(DefaultBodyLimit::max(BODY_LEN_MAX)),
        )
        // Its body is not extracted but read piece by piece, once there is room for it.
        .route(WRITE_PATH, post(metrics::write))
        .route(ALERTS_PATH, post(alerts::post).get(alerts::list))
        .route("/api/v2/status", get(alerts::status))
        .route("/api/v2/silences", any(alerts::no_silences))
        .route("/api/v2/silence/{id}", any(alerts::no_silences))
        .route("/-/healthy", get(alerts::healthy))
        .route("/-/ready", get(alerts::healthy))
        .route(JOIN_PATH, post(join::join).layer(small()))
        .route(RENEW_PATH, post(join::renew).layer(small()))
        .with_state(ingest)
}

/// A refusal that says what is wrong and what to do about it.
fn refuse(status: StatusCode, error: &str, mend: &str) -> Response {
    let body = ErrorBody {
        error: error.to_owned(),
        mend: mend.to_owned(),
    };
    (status, axum::Json(body)).into_response()
}
