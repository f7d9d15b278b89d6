//! Alertmanager's API v2, for senders: Prometheus' own alerts get the hours, holds and durability of ours.
//!
//! | what | answer |
//! |---|---|
//! | `POST /api/v2/alerts` | 200 once all of it is in the log; 400 with what was refused, the others being taken |
//! | `GET /api/v2/alerts` | what this sender has open ([`query`]) |
//! | `GET /api/v2/status` | what `amtool` asks first |
//! | `/api/v2/silences`, `/api/v2/silence/…` | 501: silences are an operator's, with a reason in the log |
//! | `GET /-/healthy`, `GET /-/ready` | 200 |
//!
//! All of it with the client certificate of a sender; nodes are answered 403. A sender sees, opens and ends only what is
//! its own: the name in its certificate is part of each alert's key. With an expired certificate it may open alerts and
//! end none, as a node.
//!
//! Like Alertmanager, one alert that cannot be read keeps none of the others out. Prometheus never repeats a request that
//! failed, but says everything that is firing anew each minute, which makes up for a 503. What is firing is in the log
//! before its sender is answered; what [`desk`] remembers only spares the log the repeats, so a crash forgets nothing
//! that counts. Cancelled (the peer hung up), events that are with the engine are written, those that are not will come
//! again, and none of them counts as written.
//!
//! | what | bound |
//! |---|---|
//! | a request | [`BODY_LEN_MAX`] bytes, [`ALERTS_MAX`] alerts |
//! | requests of one sender | [`desk::REQUESTS_MAX`] waiting, one after the other; more are answered 429 |
//! | its alerts with the engine | [`UNDER_WAY_MAX`] |
//! | an answer | [`ANSWER_WITHIN`], then 503 |
//! | its alerts that are remembered | [`desk::KNOWN_MAX`]; new ones beyond are refused, so that labels that never repeat cannot fill the log |

use std::{collections::HashMap, error::Error as _, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;
use serde_json::{json, value::RawValue};
use tokio::{task::JoinSet, time::timeout};
use vigie_core::{id::SenderName, status::Status, time::Now};
use vigie_decide::{
    alert::Source,
    fleet::{Event, HandInEvent, event::SenderAlert},
    sender_alert::{Posted, Span},
    view::alert::open_of,
};
use vigie_platform::http_listener::BodyTimeout;

use super::{
    Ingest,
    authenticate::{Peer, Standing},
    senders,
};
use crate::engine::Refusal;

mod desk;
mod query;

pub use desk::{AlertsBySender, Counters};

use desk::{Heard, SenderAlerts};

/// Longest body, in bytes. Prometheus posts 64 alerts at a time (256 in version 3), of about one KiB each.
pub const BODY_LEN_MAX: usize = 1024 * 1024;

/// Most alerts of a request.
pub const ALERTS_MAX: usize = 1_000;

/// Alerts of one request that are with the engine at a time: it writes down what waits in one commit, and a quarter of
/// its queue leaves room for others.
const UNDER_WAY_MAX: usize = 256;

/// How long a request may take once its body is read, the wait for its turn included. Prometheus gives up after 10 s and
/// would not see why.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// How many refused alerts an answer explains; the rest is counted.
const EXPLAINED_MAX: usize = 10;

/// Why nothing of a request was taken. As text: what is wrong, and what to do.
enum Refused {
    /// Who speaks may not; the answer is ready.
    Foreign(Box<Response>),
    TooManyRequests,
    Encoded,
    TooLong,
    TimedOut,
    Broken,
    NoArray(serde_json::Error),
    TooMany(usize),
    Unavailable,
}

/// `POST /api/v2/alerts`.
pub async fn post(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request,
) -> Response {
    match take(&ingest, &peer, request).await {
        Ok(refused) if refused.is_empty() => StatusCode::OK.into_response(),
        Ok(refused) => said(StatusCode::BAD_REQUEST, &explained(&refused)),
        Err(refused) => refused.into_response(),
    }
}

/// An alert of a request that was not taken: where it stands, and why not.
struct NotTaken {
    index: usize,
    why: String,
}

async fn take(
    ingest: &Arc<Ingest>,
    peer: &Peer,
    request: Request,
) -> Result<Vec<NotTaken>, Refused> {
    let (head, body) = request.into_parts();
    let recognised = recognise(ingest, peer);
    let (sender, may_end) = match recognised {
        Ok(recognised) => recognised,
        Err(refused) => {
            // Read and forgotten, so that the sender sees why and not a connection that broke.
            let _ = to_bytes(body, BODY_LEN_MAX).await;
            return Err(refused);
        }
    };
    let desk = ingest.alerts.of(&sender);
    let _place = desk.place().ok_or(Refused::TooManyRequests)?;
    if is_encoded(&head.headers) {
        return Err(Refused::Encoded);
    }
    let body = read(body).await?;
    let alerts: Vec<&RawValue> = serde_json::from_slice(&body).map_err(Refused::NoArray)?;
    if alerts.len() > ALERTS_MAX {
        return Err(Refused::TooMany(alerts.len()));
    }
    let written = write(ingest, sender, &desk, may_end, alerts);
    timeout(ANSWER_WITHIN, written)
        .await
        .unwrap_or(Err(Refused::Unavailable))
}

/// Has what is news written down, in the order in which it was posted.
async fn write(
    ingest: &Arc<Ingest>,
    sender: SenderName,
    desk: &SenderAlerts,
    may_end: bool,
    alerts: Vec<&RawValue>,
) -> Result<Vec<NotTaken>, Refused> {
    let _turn = desk.turn().await;
    let now = ingest.clock.now();
    let mut batch = Batch {
        ingest,
        sender,
        desk,
        may_end,
        now,
        under_way: JoinSet::new(),
        sent: HashMap::new(),
        not_taken: Vec::new(),
        is_unavailable: false,
    };
    desk.make_room(alerts.len(), now.elapsed);
    for (index, alert) in alerts.into_iter().enumerate() {
        batch.take(index, alert.get()).await;
    }
    batch.settled().await;
    let Batch {
        not_taken,
        is_unavailable,
        ..
    } = batch;
    desk.counters().refused(not_taken.len());
    if is_unavailable {
        return Err(Refused::Unavailable);
    }
    Ok(not_taken)
}

/// Whose alerts they are, and whether it may end any: not with a certificate that has expired, unless our own clock is in
/// doubt.
fn recognise(ingest: &Ingest, peer: &Peer) -> Result<(SenderName, bool), Refused> {
    let now = ingest.clock.now().wall;
    let sender = senders::recognise(ingest, peer, now).map_err(Refused::Foreign)?;
    let is_expired = matches!(peer.standing(now), Some(Standing::Expired { .. }));
    Ok((sender, !is_expired || ingest.directory.is_clock_in_doubt()))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

async fn read(body: Body) -> Result<Bytes, Refused> {
    to_bytes(body, BODY_LEN_MAX).await.map_err(|error| {
        let mut cause = error.source();
        while let Some(error) = cause {
            if error.is::<LengthLimitError>() {
                return Refused::TooLong;
            }
            if error.is::<BodyTimeout>() {
                return Refused::TimedOut;
            }
            cause = error.source();
        }
        Refused::Broken
    })
}

/// The alerts of one request on their way into the log.
struct Batch<'a> {
    ingest: &'a Arc<Ingest>,
    sender: SenderName,
    desk: &'a SenderAlerts,
    may_end: bool,
    now: Now,
    under_way: JoinSet<(String, Result<(), Refusal>)>,
    /// What is with the engine, by fingerprint.
    sent: HashMap<String, (SenderAlert, Span)>,
    not_taken: Vec<NotTaken>,
    is_unavailable: bool,
}

impl Batch<'_> {
    /// Reads one alert, and has it written down if it says anything new.
    async fn take(&mut self, index: usize, json: &str) {
        let posted = match Posted::read(json) {
            Ok(posted) => posted,
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}"));
                let why = format!("{error}{}", cause.unwrap_or_default());
                self.not_taken.push(NotTaken { index, why });
                return;
            }
        };
        let fingerprint = posted.fingerprint();
        if self.sent.contains_key(&fingerprint) || self.under_way.len() >= UNDER_WAY_MAX {
            // The same one twice: one after the other, as they stand.
            self.settled().await;
        }
        let before = self.desk.span(&fingerprint);
        let alert = posted.judged(self.now.wall, before);
        if alert.status == Status::Ok && !self.may_end {
            let why = "the sender's certificate has ended, so it ends no alert; renew it \
                       (`vigie-agent sender renew`)";
            let why = why.to_owned();
            self.not_taken.push(NotTaken { index, why });
            return;
        }
        match self
            .desk
            .hears(&fingerprint, &alert, posted.span, self.now.elapsed)
        {
            Heard::Known => {}
            Heard::News => self.send(fingerprint, alert, posted.span),
            Heard::Full => {
                let why = format!(
                    "{} alerts of this sender are on already; do not put what never repeats into labels",
                    desk::KNOWN_MAX
                );
                self.not_taken.push(NotTaken { index, why });
            }
        }
    }

    fn send(&mut self, fingerprint: String, alert: SenderAlert, span: Span) {
        let event = Event::HandedIn(HandInEvent::SenderAlert {
            sender: self.sender.clone(),
            alert: Box::new(alert.clone()),
        });
        self.sent.insert(fingerprint.clone(), (alert, span));
        let engine = self.ingest.engine.clone();
        self.under_way
            .spawn(async move { (fingerprint, engine.perform(event).await.map(|_| ())) });
    }

    /// Waits until everything that is with the engine is in the log, or is known not to be.
    async fn settled(&mut self) {
        while let Some(done) = self.under_way.join_next().await {
            let Ok((fingerprint, result)) = done else {
                self.is_unavailable = true;
                continue;
            };
            let sent = self.sent.remove(&fingerprint);
            match (result, sent) {
                (Ok(()), Some((alert, span))) => {
                    self.desk
                        .written(fingerprint, &alert, span, self.now.elapsed);
                }
                _ => self.is_unavailable = true,
            }
        }
        self.sent.clear();
    }
}

fn explained(refused: &[NotTaken]) -> String {
    let shown: Vec<String> = refused
        .iter()
        .take(EXPLAINED_MAX)
        .map(|NotTaken { index, why }| format!("[{index}]: {why}"))
        .collect();
    let more = refused.len() - shown.len();
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(
        "{} refused, all others taken: {}{more}",
        refused.len(),
        shown.join("; ")
    )
}

/// `GET /api/v2/alerts`.
pub async fn list(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
    RawQuery(query): RawQuery,
) -> Response {
    let found = async {
        let (sender, _) = recognise(&ingest, &peer)?;
        let desk = ingest.alerts.of(&sender);
        let _place = desk.place().ok_or(Refused::TooManyRequests)?;
        let source = Source::Sender(sender);
        let open = ingest.engine.read(move |basis| open_of(basis, &source));
        Ok((desk, open.await.ok_or(Refused::Unavailable)?))
    };
    let (desk, open) = match found.await {
        Ok(found) => found,
        Err(refused) => return Refused::into_response(refused),
    };
    match query::Wanted::parse(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => {
            let now = ingest.clock.now();
            let alerts = query::alerts(open, &desk, &wanted, now);
            axum::Json(alerts).into_response()
        }
        Err(why) => said(StatusCode::BAD_REQUEST, &why),
    }
}

/// `GET /api/v2/status`: as much as the form demands.
pub async fn status(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
) -> Response {
    if let Err(refused) = recognise(&ingest, &peer) {
        return refused.into_response();
    }
    axum::Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {
            "version": env!("CARGO_PKG_VERSION"),
            "revision": "",
            "branch": "vigie",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "config": {"original": ""},
        "uptime": ingest.alerts.since().to_string(),
    }))
    .into_response()
}

/// `GET /-/healthy`, `GET /-/ready`: whoever can ask is served.
pub async fn healthy(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
) -> Response {
    match recognise(&ingest, &peer) {
        Ok(_) => "OK\n".into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Whatever is asked about silences.
pub async fn no_silences(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Arc<Peer>>,
) -> Response {
    match recognise(&ingest, &peer) {
        Ok(_) => said(
            StatusCode::NOT_IMPLEMENTED,
            "no sender can silence alerts; an operator does, on the collector, with `vigie-collector silence`",
        ),
        Err(refused) => refused.into_response(),
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text, retry_after) = match self {
            Self::Foreign(response) => return *response,
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests of this sender are under way; send one at a time".to_owned(),
                Some("2"),
            ),
            Self::Encoded => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is compressed; send it as it is".to_owned(),
                None,
            ),
            Self::TooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is longer than {BODY_LEN_MAX} bytes; post fewer alerts at a time"
                ),
                None,
            ),
            Self::TimedOut => (
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time; try again".to_owned(),
                None,
            ),
            Self::Broken => (
                StatusCode::BAD_REQUEST,
                "the body could not be read to its end; try again".to_owned(),
                None,
            ),
            Self::NoArray(why) => (
                StatusCode::BAD_REQUEST,
                format!("the body is no JSON array of alerts ({why}); post [{{\"labels\": …}}, …]"),
                None,
            ),
            Self::TooMany(count) => (
                StatusCode::BAD_REQUEST,
                format!("{count} alerts in one request; post at most {ALERTS_MAX} at a time"),
                None,
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the collector cannot write its log now; try again".to_owned(),
                Some("1"),
            ),
        };
        let mut response = said(status, &text);
        if let Some(seconds) = retry_after {
            let seconds = HeaderValue::from_static(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// An answer in the form of Alertmanager's errors: a text, as JSON.
fn said(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(text)).into_response()
}

#[cfg(test)]
mod tests;
