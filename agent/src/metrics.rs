//! What the agent counts and measures, as Prometheus sees it: every name it exports stands here or in a check's kind.
//!
//! Handles to the series of a check are kept ([`CheckMetrics`]), so that a cycle without news allocates nothing. A
//! series that means nothing any more (an object that is gone, a number the last run did not give, a check that is
//! planned no more) is removed rather than left at its old value. Decides nothing: statuses are set in the step that
//! gives their line to the ledger.

use std::collections::HashMap;

use prometheus::{
    Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use vigie_core::{id::NodeName, observation::MetricId, time::Wall};

use crate::{checks::Kind, ledger::View};

mod check;
mod declare;
mod own;
pub mod server;

pub use self::check::{CheckMetrics, Ended};
pub(crate) use self::declare::labels_of;
use self::{declare::Declare, own::OwnProcess};

/// The lane of the lines of evidence, as the label `lane` has it.
const ENTRIES: &str = "entries";

/// Every metric of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    check_status: IntGaugeVec,
    check_duration: GaugeVec,
    check_last_ok: GaugeVec,
    check_last_run: GaugeVec,
    check_runs: IntCounterVec,
    check_missed: IntCounterVec,
    check_overruns: IntCounterVec,
    measurements: HashMap<MetricId, GaugeVec>,
    lines: IntCounter,
    lines_refused: IntCounter,
    spool_bytes: IntGauge,
    spool_lines_in_memory: IntGauge,
    spool_lost: IntCounter,
    spool_degraded: IntGauge,
    not_ok: IntGauge,
    pushes: IntCounterVec,
    last_durable: Gauge,
    reload_success: IntGauge,
    reload_last: Gauge,
    certificate_expiry: Gauge,
    fallback: IntCounterVec,
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
        let own = OwnProcess::new(std::process::id()).map(Box::new);
        own.and_then(|own| registry.register(own))
            .map_err(|source| DeclareError {
                name: "vigie_agent".to_owned(),
                source,
            })?;
        let declare = Declare(&registry);
        let check = ["service", "check", "kind"];
        let build = declare.int_gauges(
            "vigie_build_info",
            "The version of this program; always 1.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let metrics = Self {
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
            spool_bytes: declare
                .int_gauges(
                    "vigie_spool_bytes",
                    "Bytes that wait to be sent.",
                    &["lane"],
                )?
                .with_label_values(&[ENTRIES]),
            spool_lines_in_memory: declare
                .int_gauges(
                    "vigie_spool_memory_records",
                    "Records that are only in memory because the disk does not take them.",
                    &["lane"],
                )?
                .with_label_values(&[ENTRIES]),
            spool_lost: declare
                .int_counters(
                    "vigie_spool_dropped_total",
                    "Records that are lost unsent.",
                    &["lane", "reason"],
                )?
                .with_label_values(&[ENTRIES, "lost"]),
            spool_degraded: declare
                .int_gauges(
                    "vigie_spool_degraded",
                    "1 while new records are only in memory.",
                    &["lane"],
                )?
                .with_label_values(&[ENTRIES]),
            not_ok: declare.int_gauge(
                "vigie_objects_not_ok",
                "Objects whose settled status is not ok.",
            )?,
            pushes: declare.int_counters(
                "vigie_pushes_total",
                "Requests to the collector by what became of them.",
                &["lane", "result"],
            )?,
            last_durable: declare.gauge(
                "vigie_last_durable_answer_timestamp_seconds",
                "When the collector last confirmed what it was sent.",
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
            registry,
        };
        metrics.reload_success.set(1);
        Ok(metrics)
    }

    /// Takes over what the ledger says of itself.
    pub fn show_ledger(&self, view: &View) {
        raise(&self.lines, view.lines_written);
        raise(&self.lines_refused, view.lines_refused);
        raise(&self.spool_lost, view.lines_lost);
        self.spool_bytes.set(signed(view.unsent_bytes));
        self.spool_lines_in_memory.set(signed(view.ring_len as u64));
        self.spool_degraded.set(view.is_degraded.into());
        self.not_ok.set(signed(view.not_ok.len() as u64));
    }

    /// Counts a request to the collector.
    pub fn count_push(&self, result: &str) {
        self.pushes.with_label_values(&[ENTRIES, result]).inc();
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
        self.fallback.with_label_values(&[result]).inc();
    }

    /// Everything in the text format, version 0.0.4.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing into memory fails only for a family without metrics, and the registry leaves those out.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
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
mod tests;
