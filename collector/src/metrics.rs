//! The collector's own metrics and the fleet's, as Prometheus text.
//!
//! Counters live as atomics where things happen; this file alone knows their names. A scrape ([`scrape`](crate::scrape))
//! gathers them, with a view of the fleet. A silent node keeps `vigie_node_up 0`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::{Encoder as _, IntGaugeVec, Opts, Registry, TextEncoder};
use vigie_core::status::{Criticality, Status};
use vigie_decide::view::{alert::Quiet, fleet::Fleet};

use crate::{
    engine::{self, Handle},
    ingest::{self, accept, entries},
    latest::Latest,
    outside_watch,
};

/// Where the numbers come from.
pub struct Sources {
    /// The engine, for the fleet.
    pub engine: Handle,
    /// The engine's counters.
    pub engine_counters: Arc<engine::Counters>,
    /// Requests by how they ended.
    pub requests: Arc<entries::Counters>,
    /// Connections.
    pub door: Arc<accept::Counters>,
    /// Settings that could not be loaded again.
    pub reloads_failed: Arc<AtomicU64>,
    /// Deliveries, by receiver.
    pub deliveries: Arc<vigie_deliver::Counters>,
    /// Alerts that senders posted.
    pub alerts: Arc<ingest::alerts::AlertsBySender>,
    /// Pings to the outside watch.
    pub outside_watch: Arc<outside_watch::Counters>,
}

struct Page(Registry);

impl Page {
    fn gauge(&self, name: &str, help: &str, value: i64) -> prometheus::Result<()> {
        let gauge = prometheus::IntGauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    fn counter(&self, name: &str, help: &str, value: &AtomicU64) -> prometheus::Result<()> {
        let counter = prometheus::IntCounter::new(name, help)?;
        counter.inc_by(value.load(Relaxed));
        self.0.register(Box::new(counter))
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, &AtomicU64)],
    ) -> prometheus::Result<()> {
        let counter = prometheus::IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            counter
                .with_label_values(&[value])
                .inc_by(count.load(Relaxed));
        }
        self.0.register(Box::new(counter))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        Ok(text)
    }
}

/// The collector's own metrics, and what is known of the fleet.
///
/// # Errors
/// When two metrics have the same name, which no input can bring about.
pub fn text(sources: &Sources, fleet: Option<&Fleet>) -> prometheus::Result<Vec<u8>> {
    let page = Page(Registry::new());
    let build = page.gauges(
        "vigie_build_info",
        "Version of this program; always 1",
        &["program", "version"],
    )?;
    build
        .with_label_values(&["vigie-collector", env!("CARGO_PKG_VERSION")])
        .set(1);

    let engine = &sources.engine_counters;
    page.counter("vigie_commits_total", "Commits to the log", &engine.commits)?;
    page.counter(
        "vigie_commits_failed_total",
        "Commits that failed or took too long",
        &engine.commits_failed,
    )?;
    let seconds = prometheus::Counter::new(
        "vigie_commit_duration_seconds_total",
        "Time spent in commits",
    )?;
    seconds.inc_by(micros_to_seconds(engine.commit_micros.load(Relaxed)));
    page.0.register(Box::new(seconds))?;
    let longest = prometheus::Gauge::new(
        "vigie_commit_duration_seconds_max",
        "Longest commit since the start",
    )?;
    longest.set(micros_to_seconds(engine.commit_micros_max.load(Relaxed)));
    page.0.register(Box::new(longest))?;
    page.counter(
        "vigie_entries_stored_total",
        "Lines of nodes stored",
        &engine.lines,
    )?;
    page.counter(
        "vigie_entries_replayed_total",
        "Lines of nodes that were stored already",
        &engine.replays,
    )?;
    page.counter(
        "vigie_pages_unlogged_total",
        "Pages sent although the log could not be written",
        &engine.pages_unlogged,
    )?;
    page.counter(
        "vigie_settings_reload_failed_total",
        "Settings that could not be loaded again",
        &sources.reloads_failed,
    )?;

    let requests = &sources.requests;
    page.counters(
        "vigie_requests_total",
        "Requests of nodes by how they ended",
        "result",
        &[
            ("accepted", &requests.accepted),
            ("malformed", &requests.malformed),
            ("foreign", &requests.foreign),
            ("expired", &requests.expired),
            ("forged", &requests.forged),
            ("impostor", &requests.impostor),
            ("flooding", &requests.flooding),
            ("unavailable", &requests.unavailable),
        ],
    )?;
    let connections = &sources.door.connections;
    page.counters(
        "vigie_connections_total",
        "Connections of nodes by what became of them",
        "result",
        &[
            ("accepted", &connections.accepted),
            ("refused", &connections.refused),
            ("handshake_failed", &connections.handshake_failed),
            ("handshake_timeout", &connections.handshake_timeout),
            ("certificate_required", &sources.door.certificate_required),
            ("body_timeout", &connections.body_timeout),
            ("accept_failed", &connections.accept_failed),
        ],
    )?;
    page.gauge(
        "vigie_connections_open",
        "Connections of nodes that are open",
        to_i64(connections.open.load(Relaxed)),
    )?;
    let deliveries = prometheus::IntCounterVec::new(
        Opts::new(
            "vigie_deliveries_total",
            "Tries to deliver a message, by receiver and result",
        ),
        &["receiver", "result"],
    )?;
    for (receiver, counters) in sources.deliveries.all() {
        for (result, count) in counters.results() {
            deliveries
                .with_label_values(&[receiver.to_string().as_str(), result])
                .inc_by(count);
        }
    }
    page.0.register(Box::new(deliveries))?;
    let posted = prometheus::IntCounterVec::new(
        Opts::new(
            "vigie_sender_alerts_total",
            "Alerts that senders posted, by result: repeated ones said nothing new",
        ),
        &["sender", "result"],
    )?;
    for (sender, desk) in sources.alerts.all() {
        for (result, count) in desk.counters().results() {
            posted
                .with_label_values(&[sender.as_str(), result])
                .inc_by(count);
        }
    }
    page.0.register(Box::new(posted))?;
    let watch = &sources.outside_watch;
    page.counters(
        "vigie_outside_watch_pings_total",
        "Pings to the outside watch by result",
        "result",
        &[
            ("sent", &watch.sent),
            ("failed", &watch.failed),
            ("withheld", &watch.withheld),
        ],
    )?;
    if let Some(fleet) = fleet {
        gather_fleet(&page, fleet)?;
    }
    page.text()
}

/// What came in over the metrics lane, and what is kept of it.
///
/// # Errors
/// When two metrics have the same name, which no input can bring about.
pub fn lane_text(
    samples: &ingest::metrics::Counters,
    latest: &Latest,
) -> prometheus::Result<Vec<u8>> {
    let page = Page(Registry::new());
    page.counters(
        "vigie_samples_requests_total",
        "Requests that brought samples by how they ended",
        "result",
        &samples.requests().collect::<Vec<_>>(),
    )?;
    page.counter(
        "vigie_samples_received_bytes_total",
        "Bytes of requests that brought samples, as sent",
        &samples.body_bytes,
    )?;
    page.counter(
        "vigie_samples_written_total",
        "Samples taken in",
        &samples.written,
    )?;
    page.counters(
        "vigie_samples_refused_total",
        "Samples, native histograms and exemplars refused by reason",
        "reason",
        &samples.refused().collect::<Vec<_>>(),
    )?;
    let totals = latest.totals();
    let series = page.gauges(
        "vigie_series",
        "Series whose newest value is kept",
        &["origin"],
    )?;
    for (origin, count) in [
        ("node", totals.node_series),
        ("sender", totals.sender_series),
    ] {
        series.with_label_values(&[origin]).set(to_i64(count));
    }
    page.gauge(
        "vigie_series_bytes",
        "Memory that series and their newest values take",
        to_i64(totals.bytes),
    )?;
    page.counter(
        "vigie_series_labels_read_total",
        "Series of requests whose labels had to be read because they were not known",
        &AtomicU64::new(totals.shape_misses),
    )?;
    page.text()
}

fn gather_fleet(page: &Page, fleet: &Fleet) -> prometheus::Result<()> {
    let up = page.gauges("vigie_node_up", "Whether the node is heard", &["node"])?;
    let contact = page.gauges(
        "vigie_node_last_contact_timestamp_seconds",
        "When the node was last heard",
        &["node"],
    )?;
    let status = page.gauges(
        "vigie_node_status",
        "Worst status of the node: 0 ok, 1 warning, 2 critical, 3 unknown",
        &["node"],
    )?;
    for node in &fleet.nodes {
        let name = node.node.as_str();
        up.with_label_values(&[name]).set(i64::from(node.up));
        let code = node.status.code();
        status.with_label_values(&[name]).set(i64::from(code));
        if let Some(at) = node.last_contact {
            contact
                .with_label_values(&[name])
                .set(at.0.div_euclid(1000));
        }
    }
    let alerts = page.gauges("vigie_alerts", "Open alerts", &["state", "criticality"])?;
    for state in Status::ALL.iter().filter(|status| **status != Status::Ok) {
        for criticality in Criticality::ALL {
            alerts
                .with_label_values(&[state.as_str(), criticality.as_str()])
                .set(0);
        }
    }
    let quiet = page.gauges(
        "vigie_alerts_quiet",
        "Open alerts that nobody is told of any more, or not now, by why",
        &["why"],
    )?;
    for why in QUIET {
        quiet.with_label_values(&[why]).set(0);
    }
    // An exercise is no alert.
    for alert in fleet.alerts.iter().filter(|alert| !alert.exercise) {
        alerts
            .with_label_values(&[alert.status.as_str(), alert.criticality.as_str()])
            .inc();
        for why in alert.quiet().filter_map(quiet_word) {
            quiet.with_label_values(&[why]).inc();
        }
    }
    let held = page.gauges(
        "vigie_alerts_held",
        "Alerts that wait for a receiver's digest, ended ones included",
        &["receiver"],
    )?;
    for row in &fleet.held {
        held.with_label_values(&[row.receiver.as_str()])
            .set(to_i64(row.waiting));
    }
    page.gauge(
        "vigie_mutes",
        "Silences and maintenance that commands began and that run",
        count(fleet.mutes.len()),
    )?;
    page.gauge(
        "vigie_messages_waiting",
        "Messages not yet accepted by their receiver",
        count(fleet.messages_waiting),
    )?;
    page.gauge(
        "vigie_log_lines",
        "Lines of the log",
        to_i64(fleet.log.size),
    )?;
    page.gauge(
        "vigie_clock_in_doubt",
        "Whether the collector's clock stepped so far that calendars are in doubt",
        i64::from(fleet.clock_in_doubt),
    )
}

fn micros_to_seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Every word of [`quiet_word`].
const QUIET: [&str; 3] = ["acknowledged", "muted", "explained"];

/// Why nobody is told of an alert. What waits for a digest is counted by receiver.
const fn quiet_word(quiet: Quiet<'_>) -> Option<&'static str> {
    match quiet {
        Quiet::Acknowledged(_) => Some(QUIET[0]),
        Quiet::MutedBy(_) | Quiet::InWindow(_) => Some(QUIET[1]),
        Quiet::PartOf(_) => Some(QUIET[2]),
        Quiet::HeldFor(_) => None,
    }
}
