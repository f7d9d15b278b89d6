//! What the agent counts and measures, as Prometheus sees it: every name it exports stands here or in a check's kind.
//!
//! They are shown twice: as text to whoever scrapes ([`Metrics::text`]), and as a request of the metrics lane
//! ([`Metrics::write_request`]); both hold the same series with the same values. Handles to the series of a check are
//! kept ([`CheckMetrics`]), so that a cycle without news allocates nothing. A series that means nothing any more (an object that is gone, a number the last run did not give, a check that is
//! planned no more) is removed rather than left at its old value. Decides nothing: statuses are set in the step that
//! gives their line to the ledger.

use std::{collections::HashMap, sync::Arc};

use prometheus::{
    Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use vigie_checks::Kind;
use vigie_core::{id::NodeName, observation::MetricId, time::Wall};

use crate::ledger::View;

mod check;
mod declare;
mod own;
mod series;
pub mod server;

pub use self::check::{CheckMetrics, Ended};
pub(crate) use self::declare::labels_of;
use self::{
    declare::{Declare, Family, Measured},
    own::OwnProcess,
    series::Series,
};

/// The lane of the lines of evidence, as the label `lane` has it.
const ENTRIES: &str = "entries";

/// The lane of the samples.
const SAMPLES: &str = "metrics";

/// The destination that needs no name: the collector. Lines of evidence have no other.
const COLLECTOR: &str = "";

/// Every metric of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    series: Arc<Series>,
    own: OwnProcess,
    check_status: Family<IntGaugeVec>,
    check_duration: Family<GaugeVec>,
    check_last_ok: Family<GaugeVec>,
    check_last_run: Family<GaugeVec>,
    check_runs: Family<IntCounterVec>,
    check_missed: Family<IntCounterVec>,
    check_overruns: Family<IntCounterVec>,
    measurements: HashMap<MetricId, Measured>,
    lines: IntCounter,
    lines_refused: IntCounter,
    spools: Spools,
    lines_waiting: Waiting,
    lines_lost: IntCounter,
    not_ok: IntGauge,
    pushes: Family<IntCounterVec>,
    last_durable: Gauge,
    cycles_missed: IntCounter,
    reload_success: IntGauge,
    reload_last: Gauge,
    certificate_expiry: Gauge,
    fallback: Family<IntCounterVec>,
}

/// What waits to be sent, by lane and destination.
#[derive(Debug)]
struct Spools {
    bytes: Family<IntGaugeVec>,
    memory_records: Family<IntGaugeVec>,
    degraded: Family<IntGaugeVec>,
    dropped: Family<IntCounterVec>,
}

/// The gauges of one spool.
#[derive(Debug)]
struct Waiting {
    bytes: IntGauge,
    memory_records: IntGauge,
    degraded: IntGauge,
}

/// Why the metrics could not be declared: two of them have one name.
#[derive(Debug, thiserror::Error)]
#[error("cannot declare metric {name}")]
pub struct DeclareError {
    name: String,
    #[source]
    source: prometheus::Error,
}

impl Metrics {
    /// Declares every metric of the agent and of the given kinds; all carry the node's name.
    ///
    /// # Errors
    /// When two kinds declare one name with different labels: a fault of the program, found by any test that starts it.
    pub fn new(node: Option<&NodeName>, kinds: &[&Kind]) -> Result<Self, DeclareError> {
        let labels =
            node.map(|node| HashMap::from([("node".to_owned(), node.as_str().to_owned())]));
        let registry = Registry::new_custom(None, labels).map_err(|source| DeclareError {
            name: "vigie".to_owned(),
            source,
        })?;
        let series = Arc::new(Series::new(node));
        let declare = Declare {
            registry: &registry,
            series: &series,
        };
        let check = ["service", "check", "kind"];
        let build = declare.int_gauges(
            "vigie_build_info",
            "The version of this program; always 1.",
            &["version"],
        )?;
        build.series_at(&[env!("CARGO_PKG_VERSION")], |build| build.set(1));
        let spools = Spools::declare(&declare)?;
        let metrics = Self {
            own: OwnProcess::new(std::process::id(), &declare)?,
            check_status: declare.int_gauges(
                "vigie_check_status",
                "The loudest settled status of a check: 0 ok, 1 warning, 2 critical, 3 unknown.",
                &check,
            )?,
            check_duration: declare.gauges(
                "vigie_check_duration_seconds",
                "How long the last run of a check took.",
                &check,
            )?,
            check_last_ok: declare.gauges(
                "vigie_check_last_ok_timestamp_seconds",
                "When a run of a check last found everything ok.",
                &check,
            )?,
            check_last_run: declare.gauges(
                "vigie_check_last_run_timestamp_seconds",
                "When a check last ran to its end.",
                &check,
            )?,
            check_runs: declare.int_counters(
                "vigie_check_runs_total",
                "Runs of a check by how they ended.",
                &["check", "result"],
            )?,
            check_missed: declare.int_counters(
                "vigie_check_missed_runs_total",
                "Runs that were due and did not take place, because one before was still going or the machine stood still.",
                &["check"],
            )?,
            check_overruns: declare.int_counters(
                "vigie_check_overruns_total",
                "Runs that were still going when the next one was due.",
                &["check"],
            )?,
            measurements: declare.of_kinds(kinds)?,
            lines: declare.int_counter(
                "vigie_entries_written_total",
                "Lines of evidence written.",
            )?,
            lines_refused: declare.int_counter(
                "vigie_entries_refused_total",
                "Lines that the collector refused; they are in quarantine.",
            )?,
            lines_waiting: spools.waiting(ENTRIES, COLLECTOR),
            lines_lost: spools.dropped.series(&[ENTRIES, COLLECTOR, "lost"]),
            spools,
            not_ok: declare.int_gauge(
                "vigie_objects_not_ok",
                "Objects whose settled status is not ok.",
            )?,
            pushes: declare.int_counters(
                "vigie_pushes_total",
                "Requests to the collector and to other destinations by what became of them.",
                &["lane", "destination", "result"],
            )?,
            last_durable: declare.gauge(
                "vigie_last_durable_answer_timestamp_seconds",
                "When the collector last confirmed what it was sent.",
            )?,
            cycles_missed: declare.int_counter(
                "vigie_samples_cycles_missed_total",
                "Cycles of the metrics lane that were due and did not take place, because the machine stood still.",
            )?,
            reload_success: declare.int_gauge(
                "vigie_settings_reload_successful",
                "1 if the settings in force are those of the last reload, 0 if it was refused.",
            )?,
            reload_last: declare.gauge(
                "vigie_settings_reload_timestamp_seconds",
                "When settings were last taken into force.",
            )?,
            certificate_expiry: declare.gauge(
                "vigie_certificate_expiry_timestamp_seconds",
                "End of this node's certificate.",
            )?,
            fallback: declare.int_counters(
                "vigie_fallback_messages_total",
                "Messages to the fallback webhook by what became of them.",
                &["result"],
            )?,
            series,
            registry,
        };
        metrics.reload_success.set(1);
        Ok(metrics)
    }

    /// Takes over what the ledger says of itself.
    pub fn show_ledger(&self, view: &View) {
        raise(&self.lines, view.lines_written);
        raise(&self.lines_refused, view.lines_refused);
        raise(&self.lines_lost, view.lines_lost);
        self.lines_waiting.bytes.set(signed(view.unsent_bytes));
        let in_memory = signed(view.ring_len as u64);
        self.lines_waiting.memory_records.set(in_memory);
        self.lines_waiting.degraded.set(view.is_degraded.into());
        self.not_ok.set(signed(view.not_ok.len() as u64));
    }

    /// Counts a request of the lines' lane to the collector.
    pub fn count_push(&self, result: &str) {
        let pushes = self.pushes.series(&[ENTRIES, COLLECTOR, result]);
        pushes.inc();
    }

    /// Counts a request of the samples' lane to `destination`: its name in the settings, `""` for the collector.
    pub fn count_samples_push(&self, destination: &str, result: &str) {
        let pushes = self.pushes.series(&[SAMPLES, destination, result]);
        pushes.inc();
    }

    /// Shows what waits in the samples' lane for `destination` (`""`: the collector): bytes on disk and in memory,
    /// records that are only in memory, and whether that is so because the disk takes none.
    pub fn show_samples_spool(
        &self,
        destination: &str,
        bytes: u64,
        memory_records: u64,
        degraded: bool,
    ) {
        let labels = [SAMPLES, destination];
        let spools = &self.spools;
        let show = |family: &Family<IntGaugeVec>, value: i64| {
            family.series_at(&labels, |gauge| gauge.set(value));
        };
        show(&spools.bytes, signed(bytes));
        show(&spools.memory_records, signed(memory_records));
        show(&spools.degraded, degraded.into());
    }

    /// Counts records of the samples' lane that `destination` (`""`: the collector) will never get.
    pub fn count_samples_dropped(&self, destination: &str, reason: &str, records: u64) {
        let dropped = &self.spools.dropped;
        let dropped = dropped.series(&[SAMPLES, destination, reason]);
        dropped.inc_by(records);
    }

    /// Counts cycles of the samples' lane that were due and did not take place.
    pub fn count_cycles_missed(&self, missed: u64) {
        self.cycles_missed.inc_by(missed);
    }

    /// Removes the series of a destination that the settings name no more. Never the collector's.
    pub fn forget_destination(&self, destination: &str) {
        if destination == COLLECTOR {
            return;
        }
        self.spools.bytes.remove_all("destination", destination);
        let memory_records = &self.spools.memory_records;
        memory_records.remove_all("destination", destination);
        self.spools.degraded.remove_all("destination", destination);
        self.spools.dropped.remove_all("destination", destination);
        self.pushes.remove_all("destination", destination);
    }

    /// The collector confirmed something.
    pub fn show_durable(&self, now: Wall) {
        self.last_durable.set(seconds(now));
    }

    /// Settings were taken into force, or refused.
    pub fn show_reload(&self, outcome: Reload, now: Wall) {
        self.reload_success.set((outcome == Reload::Taken).into());
        if outcome == Reload::Taken {
            self.reload_last.set(seconds(now));
        }
    }

    /// End of the certificate in use.
    pub fn show_certificate_expiry(&self, not_after: Wall) {
        self.certificate_expiry.set(seconds(not_after));
    }

    /// Counts a message to the fallback webhook.
    pub fn count_fallback(&self, result: &str) {
        self.fallback.series(&[result]).inc();
    }

    /// Everything in the text format, version 0.0.4.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.own.refresh();
        let mut families = self.registry.gather();
        // An empty label is an absent one, in the text as in the requests of the metrics lane.
        for metric in families.iter_mut().flat_map(|family| family.mut_metric()) {
            let mut labels = metric.take_label();
            labels.retain(|label| !label.value().is_empty());
            metric.set_label(labels);
        }
        let mut text = Vec::new();
        // Writing into memory fails only for a family without metrics, and the registry leaves those out.
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }

    /// Appends one uncompressed remote write 1.0 WriteRequest to `out`: every series at `at`, a stale marker for each that
    /// ended since the last call, and name, help and type of every family if asked. Returns how many samples it wrote.
    ///
    /// Allocates nothing once `out` has room. Reads this process' own numbers from /proc.
    pub fn write_request(&self, at: Wall, with_metadata: bool, out: &mut Vec<u8>) -> usize {
        self.own.refresh();
        self.series.write_request(at, with_metadata, out)
    }
}

impl Spools {
    fn declare(declare: &Declare<'_>) -> Result<Self, DeclareError> {
        let labels = ["lane", "destination"];
        Ok(Self {
            bytes: declare.int_gauges(
                "vigie_spool_bytes",
                "Bytes that wait to be sent.",
                &labels,
            )?,
            memory_records: declare.int_gauges(
                "vigie_spool_memory_records",
                "Records that are only in memory because the disk does not take them.",
                &labels,
            )?,
            degraded: declare.int_gauges(
                "vigie_spool_degraded",
                "1 while new records are only in memory.",
                &labels,
            )?,
            dropped: declare.int_counters(
                "vigie_spool_dropped_total",
                "Records that are lost unsent.",
                &["lane", "destination", "reason"],
            )?,
        })
    }

    fn waiting(&self, lane: &str, destination: &str) -> Waiting {
        let labels = [lane, destination];
        Waiting {
            bytes: self.bytes.series(&labels),
            memory_records: self.memory_records.series(&labels),
            degraded: self.degraded.series(&labels),
        }
    }
}

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The new settings are in force.
    Taken,
    /// The old ones stay.
    Refused,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit 53 bits for 285,000 years"
)]
fn seconds(instant: Wall) -> f64 {
    instant.0 as f64 / 1000.0
}

/// Brings a counter to a total that somebody else keeps.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
