//! The metrics port: what a Prometheus reads from the collector.
//!
//! | path | what |
//! |---|---|
//! | `/metrics` | the collector's own metrics and the fleet's ([`metrics`]) |
//! | `/nodes/NODE/metrics` | `vigie_node_up`, and of a node that is heard the newest value of each of its series |
//! | `/senders/SENDER/metrics` | the newest value of each series of another sender |
//! | `/sd` | all of these as targets, for `http_sd_configs` |
//!
//! A silent node's page says that it is not up and nothing else: a scrape succeeds, and its other series end. Who is
//! known, and heard, is read beside the engine, at most once in [`FLEET_KEPT_MS`], however many pages are read.
//! Pages are written and compressed off the runtime, a few at a time, so that scrapes cost entries nothing but time on
//! a core. Whoever hangs up leaves nothing behind.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use vigie_core::{
    id::NodeName,
    time::{Elapsed, Now},
};
use vigie_decide::view::Basis;
use vigie_platform::clock::Clock;

use crate::{
    ingest,
    latest::{Latest, Origin},
    metrics::{self, Sources},
};

mod serve;

pub use serve::{Guard, Port};

/// The content type of the text format (Prometheus refuses a scrape without a valid one).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `http_sd_configs` demands.
const JSON: &str = "application/json";

/// How long it is used who is in the fleet. Pages of 3,000 nodes are read hundreds of times a second.
const FLEET_KEPT_MS: u64 = 2_000;

/// Pages written at a time. One of half a million series takes hundreds of megabytes while it is written.
const WRITERS_MAX: usize = 2;

/// Below this a page fits one packet anyway.
const COMPRESSED_LEN_MIN: usize = 1024;

/// Where the pages come from.
pub struct Pages {
    /// The collector's own metrics.
    pub sources: Arc<Sources>,
    /// The newest values.
    pub latest: Arc<Latest>,
    /// What came in over the metrics lane.
    pub samples: Arc<ingest::metrics::Counters>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Where the port is, for a client that does not say whom it asks.
    pub listen: SocketAddr,
    fleet: Mutex<Option<(Elapsed, Arc<Fleet>)>>,
    writers: Arc<Semaphore>,
}

impl Pages {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(
        sources: Arc<Sources>,
        latest: Arc<Latest>,
        samples: Arc<ingest::metrics::Counters>,
        clock: Arc<dyn Clock>,
        listen: SocketAddr,
    ) -> Self {
        Self {
            sources,
            latest,
            samples,
            clock,
            listen,
            fleet: Mutex::new(None),
            writers: Arc::new(Semaphore::new(WRITERS_MAX)),
        }
    }

    /// Who is in the fleet, as of at most [`FLEET_KEPT_MS`] ago. `None` when the engine does not answer.
    async fn fleet(&self) -> Option<Arc<Fleet>> {
        // Held while it is read: the others want the same answer.
        let mut kept = self.fleet.lock().await;
        let now = self.clock.elapsed();
        if let Some((at, fleet)) = &*kept
            && now.since_ms(*at) < FLEET_KEPT_MS
        {
            return Some(Arc::clone(fleet));
        }
        let fleet = Arc::new(self.sources.engine.read(Fleet::of).await?);
        *kept = Some((now, Arc::clone(&fleet)));
        Some(fleet)
    }

    /// Lets `write` fill a page, and answers with it.
    async fn answer(
        &self,
        headers: &HeaderMap,
        content_type: &'static str,
        write: impl FnOnce() -> Result<Vec<u8>, prometheus::Error> + Send + 'static,
    ) -> Response {
        let is_gzip = takes_gzip(headers);
        let Ok(permit) = Arc::clone(&self.writers).acquire_owned().await else {
            return unavailable();
        };
        let written = tokio::task::spawn_blocking(move || -> Result<_, String> {
            // Given back when the page is written, even if nobody waits for it any more.
            let _permit = permit;
            let page = write().map_err(|cause| cause.to_string())?;
            if is_gzip && page.len() >= COMPRESSED_LEN_MIN {
                let page = gzip(&page).map_err(|cause| cause.to_string())?;
                return Ok((page, true));
            }
            Ok((page, false))
        })
        .await;
        let (page, is_compressed) = match written {
            Ok(Ok(written)) => written,
            Ok(Err(cause)) => return (StatusCode::INTERNAL_SERVER_ERROR, cause).into_response(),
            Err(_) => return unavailable(),
        };
        let mut response = page.into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(content_type);
        headers.insert(header::CONTENT_TYPE, content_type);
        let vary = HeaderValue::from_static("accept-encoding");
        headers.insert(header::VARY, vary);
        if is_compressed {
            let encoding = HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, encoding);
        }
        response
    }
}

/// Who is in the fleet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fleet {
    /// Each node, and whether it is heard.
    nodes: BTreeMap<String, bool>,
    senders: Vec<String>,
}

impl Fleet {
    fn of(basis: &Basis<'_>) -> Self {
        let nodes = basis.state.nodes.keys();
        let senders = basis.state.senders.keys();
        Self {
            nodes: nodes
                .map(|name| (name.to_string(), basis.last_heard(name).is_heard()))
                .collect(),
            senders: senders.map(ToString::to_string).collect(),
        }
    }
}

/// The routes of the metrics port.
pub fn router(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/metrics", get(own))
        .route("/nodes/{node}/metrics", get(node))
        .route("/senders/{sender}/metrics", get(sender))
        .route("/sd", get(targets))
        .with_state(pages)
}

async fn own(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let fleet = pages.sources.engine.view().await;
    let at = Arc::clone(&pages);
    let write = move || {
        let mut page = metrics::text(&at.sources, fleet.as_ref())?;
        page.extend(metrics::lane_text(&at.samples, &at.latest)?);
        Ok(page)
    };
    pages.answer(&headers, TEXT, write).await
}

async fn node(
    State(pages): State<Arc<Pages>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(fleet) = pages.fleet().await else {
        return unavailable();
    };
    let is_up = fleet.nodes.get(&name).copied();
    let (Some(is_up), Ok(name)) = (is_up, name.parse::<NodeName>()) else {
        return (StatusCode::NOT_FOUND, "no such node\n").into_response();
    };
    let latest = Arc::clone(&pages.latest);
    let now = pages.clock.now();
    let write = move || Ok(node_page(&latest, name, is_up, now));
    pages.answer(&headers, TEXT, write).await
}

async fn sender(
    State(pages): State<Arc<Pages>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(fleet) = pages.fleet().await else {
        return unavailable();
    };
    if !fleet.senders.contains(&name) {
        return (StatusCode::NOT_FOUND, "no such sender\n").into_response();
    }
    let latest = Arc::clone(&pages.latest);
    let now = pages.clock.now();
    let write = move || {
        let mut page = Vec::new();
        latest.text(&Origin::Sender(name.into()), now, &mut page);
        Ok(page)
    };
    pages.answer(&headers, TEXT, write).await
}

async fn targets(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let Some(fleet) = pages.fleet().await else {
        // Prometheus then keeps the targets that it has.
        return unavailable();
    };
    let address = asked_address(&headers, pages.listen);
    let write = move || Ok(target_list(&fleet, &address).to_string().into_bytes());
    pages.answer(&headers, JSON, write).await
}

fn unavailable() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the engine does not answer\n",
    )
        .into_response()
}

/// What is shown of a node: of a silent one nothing but that.
fn node_page(latest: &Latest, name: NodeName, is_up: bool, now: Now) -> Vec<u8> {
    // No node may send a series of this name ([`latest`](crate::latest)), so the page has the family once.
    let mut page = format!(
        "# HELP vigie_node_up Whether the node is heard\n\
         # TYPE vigie_node_up gauge\n\
         vigie_node_up{{node=\"{name}\"}} {}\n",
        u8::from(is_up),
    )
    .into_bytes();
    if is_up {
        latest.text(&Origin::Node(name), now, &mut page);
    }
    page
}

/// All pages as targets. There is no label `node` or `sender` among them: a target's label would push the samples' own
/// aside. They can be had from the `__meta_` labels by relabelling.
fn target_list(fleet: &Fleet, address: &str) -> Value {
    let target = |path: String, instance: String, meta: &str, name: &str| {
        json!({
            "targets": [address],
            "labels": { "__metrics_path__": path, "instance": instance, meta: name },
        })
    };
    let own = json!({
        "targets": [address],
        "labels": { "__metrics_path__": "/metrics", "__meta_vigie_collector": "true" },
    });
    let nodes = fleet.nodes.keys();
    let nodes = nodes.map(|name| {
        target(
            format!("/nodes/{name}/metrics"),
            name.clone(),
            "__meta_vigie_node",
            name,
        )
    });
    let senders = fleet.senders.iter().map(|name| {
        let path = format!("/senders/{name}/metrics");
        // It may have a node's name; `up` of the two must not be one series.
        target(path, format!("sender/{name}"), "__meta_vigie_sender", name)
    });
    std::iter::once(own).chain(nodes).chain(senders).collect()
}

/// The address by which the client reached this port: behind a tunnel or a proxy it is not ours.
fn asked_address(headers: &HeaderMap, listen: SocketAddr) -> String {
    headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<Authority>().ok())
        .filter(|host| !host.as_str().contains('@'))
        .map_or_else(|| listen.to_string(), |host| host.as_str().to_owned())
}

/// Whether the client takes gzip, and no less gladly than no encoding (RFC 9110 section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    for coding in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = coding.split(';').map(str::trim);
        let Some(name) = parts.next() else { continue };
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1.0), |quality| quality.parse::<f32>().ok())
            // What cannot be read is not taken.
            .unwrap_or(0.0);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(quality);
        } else if name.eq_ignore_ascii_case("identity") {
            identity = Some(quality);
        } else if name == "*" {
            any = Some(quality);
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

fn gzip(page: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::fast());
    encoder.write_all(page)?;
    encoder.finish()
}

#[cfg(test)]
pub(crate) mod tests;
