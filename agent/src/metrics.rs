//! What the agent counts and measures, as Prometheus sees it: every name it exports stands here or in a check's kind.
//!
//! Handles to the series of a check are kept ([`CheckMetrics`]), so that a cycle without news allocates nothing. A
//! series that means nothing any more (an object that is gone, a number the last run did not give, a check that is
//! planned no more) is removed rather than left at its old value. Decides nothing: statuses are set in the step that
//! gives their line to the ledger.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use prometheus::{
    Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use vigie_core::{
    id::{CheckName, NodeName, ServiceName},
    observation::{Measurement, MetricId, Object},
    status::Status,
    time::{Now, Wall},
};

use crate::{
    checks::{Kind, MetricSpec},
    ledger::View,
};

pub mod server;

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

    /// The handles of one check.
    #[must_use]
    pub fn check(
        self: &Arc<Self>,
        check: &CheckName,
        kind: &Kind,
        service: Option<&ServiceName>,
    ) -> CheckMetrics {
        let name = check.as_str();
        let service = service.map_or("", ServiceName::as_str);
        let labels = [service, name, kind.name];
        CheckMetrics {
            duration: self.check_duration.with_label_values(&labels),
            missed: self.check_missed.with_label_values(&[name]),
            overruns: self.check_overruns.with_label_values(&[name]),
            runs: Ended::ALL.map(|end| self.check_runs.with_label_values(&[name, end.as_str()])),
            labels: labels.map(Box::from),
            last_ok: None,
            last_run: None,
            status: None,
            objects: BTreeMap::new(),
            run: 0,
            metrics: Arc::clone(self),
        }
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

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a result.
    Result,
    /// At its deadline.
    Timeout,
    /// With a fault of the check.
    Fault,
}

impl Ended {
    const ALL: [Self; 3] = [Self::Result, Self::Timeout, Self::Fault];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Timeout => "timeout",
            Self::Fault => "fault",
        }
    }
}

/// The series of one check. Dropping it removes them.
#[derive(Debug)]
pub struct CheckMetrics {
    metrics: Arc<Metrics>,
    /// Service, check, kind.
    labels: [Box<str>; 3],
    duration: Gauge,
    missed: IntCounter,
    overruns: IntCounter,
    runs: [IntCounter; 3],
    /// Made when there is something to show: a series that begins at zero would be a lie.
    last_ok: Option<Gauge>,
    last_run: Option<Gauge>,
    status: Option<IntGauge>,
    objects: BTreeMap<Option<Object>, Vec<Cell>>,
    /// Number of the run whose measurements are being shown.
    run: u64,
}

/// One series of one object.
#[derive(Debug)]
struct Cell {
    metric: MetricId,
    label: &'static str,
    gauge: Gauge,
    run: u64,
}

impl CheckMetrics {
    /// A run ended.
    pub fn show_run(&mut self, ended: Ended, took_ms: u64, missed: u64, now: Now) {
        self.runs[ended as usize].inc();
        self.duration.set(ms_to_seconds(took_ms));
        self.missed.inc_by(missed);
        let labels = self.labels.each_ref().map(|label| &**label);
        let last_run = &self.metrics.check_last_run;
        self.last_run
            .get_or_insert_with(|| last_run.with_label_values(&labels))
            .set(seconds(now.wall));
    }

    /// A run was still going when the next one was due.
    pub fn count_overrun(&self) {
        self.overruns.inc();
    }

    /// A run found everything ok.
    pub fn show_ok(&mut self, now: Now) {
        let labels = self.labels.each_ref().map(|label| &**label);
        let last_ok = &self.metrics.check_last_ok;
        self.last_ok
            .get_or_insert_with(|| last_ok.with_label_values(&labels))
            .set(seconds(now.wall));
    }

    /// A settled status went to the ledger.
    pub fn show_status(&mut self, worst: Status) {
        let labels = self.labels.each_ref().map(|label| &**label);
        let status = &self.metrics.check_status;
        self.status
            .get_or_insert_with(|| status.with_label_values(&labels))
            .set(worst.code().into());
    }

    /// Begins the measurements of another run.
    pub const fn begin_measurements(&mut self) {
        self.run += 1;
    }

    /// Shows what the run measured of one object.
    pub fn measure(&mut self, object: &Option<Object>, measurements: &[Measurement]) {
        if measurements.is_empty() {
            return;
        }
        // Nothing is cloned in the steady state.
        if !self.objects.contains_key(object) {
            self.objects.insert(object.clone(), Vec::new());
        }
        let Some(cells) = self.objects.get_mut(object) else {
            return;
        };
        for measured in measurements {
            let known = cells
                .iter_mut()
                .find(|cell| cell.metric == measured.metric && cell.label == measured.label);
            if let Some(cell) = known {
                cell.gauge.set(measured.value);
                cell.run = self.run;
                continue;
            }
            // A metric that no kind declares is a fault of the check; its number is not shown.
            let Some(family) = self.metrics.measurements.get(&measured.metric) else {
                debug_assert!(false, "{} is not declared", measured.metric.0);
                continue;
            };
            let gauge = labelled(family, &self.labels, object.as_ref(), measured.label);
            gauge.set(measured.value);
            cells.push(Cell {
                metric: measured.metric,
                label: measured.label,
                gauge,
                run: self.run,
            });
        }
    }

    /// Removes the series that the run just shown did not measure.
    pub fn end_measurements(&mut self) {
        let run = self.run;
        let (metrics, labels) = (&self.metrics, &self.labels);
        self.objects.retain(|object, cells| {
            cells.retain(|cell| {
                if cell.run != run {
                    remove(metrics, labels, object.as_ref(), cell);
                }
                cell.run == run
            });
            !cells.is_empty()
        });
    }

    /// The numbers are old: removes all of them.
    pub fn drop_measurements(&mut self) {
        self.begin_measurements();
        self.end_measurements();
    }
}

impl Drop for CheckMetrics {
    fn drop(&mut self) {
        self.drop_measurements();
        let labels = self.labels.each_ref().map(|label| &**label);
        // What was never shown is not there to be removed.
        let _ = self.metrics.check_status.remove_label_values(&labels);
        let _ = self.metrics.check_duration.remove_label_values(&labels);
        let _ = self.metrics.check_last_ok.remove_label_values(&labels);
        let _ = self.metrics.check_last_run.remove_label_values(&labels);
        let [_, check, _] = labels;
        let _ = self.metrics.check_missed.remove_label_values(&[check]);
        let _ = self.metrics.check_overruns.remove_label_values(&[check]);
        for end in Ended::ALL {
            let labels = [check, end.as_str()];
            let _ = self.metrics.check_runs.remove_label_values(&labels);
        }
    }
}

/// Declares metrics in a registry.
struct Declare<'r>(&'r Registry);

impl Declare<'_> {
    fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, DeclareError> {
        self.keep(name, IntGauge::new(name, help))
    }

    fn int_counter(&self, name: &str, help: &str) -> Result<IntCounter, DeclareError> {
        self.keep(name, IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, DeclareError> {
        self.keep(name, Gauge::new(name, help))
    }

    fn int_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, DeclareError> {
        self.keep(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, DeclareError> {
        self.keep(name, GaugeVec::new(Opts::new(name, help), labels))
    }

    fn int_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, DeclareError> {
        self.keep(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge family for each metric of the kinds; one that several kinds share is declared once.
    fn of_kinds(&self, kinds: &[&Kind]) -> Result<HashMap<MetricId, GaugeVec>, DeclareError> {
        let mut families = HashMap::new();
        for spec in kinds.iter().flat_map(|kind| kind.metrics) {
            if let Entry::Vacant(vacant) = families.entry(spec.id) {
                vacant.insert(self.gauges(spec.id.0, spec.help, &labels_of(spec))?);
            }
        }
        Ok(families)
    }

    fn keep<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        name: &str,
        made: prometheus::Result<C>,
    ) -> Result<C, DeclareError> {
        let failed = |source| DeclareError {
            name: name.to_owned(),
            source,
        };
        let collector = made.map_err(failed)?;
        self.0
            .register(Box::new(collector.clone()))
            .map_err(failed)?;
        Ok(collector)
    }
}

/// The labels of a kind's metric, apart from the node.
pub(crate) fn labels_of(spec: &MetricSpec) -> Vec<&'static str> {
    let mut labels = vec!["service", "check", "kind", "object"];
    if !spec.label.is_empty() {
        labels.push(spec.label);
    }
    labels
}

fn labelled(
    family: &GaugeVec,
    labels: &[Box<str>; 3],
    object: Option<&Object>,
    extra: &str,
) -> Gauge {
    let [service, check, kind] = labels;
    let object = object.map_or("", Object::as_str);
    // Whether there is an extra label was declared by the kind, and its measurements follow that.
    family
        .get_metric_with_label_values(&[&**service, &**check, &**kind, object, extra])
        .or_else(|_| family.get_metric_with_label_values(&[&**service, &**check, &**kind, object]))
        .unwrap_or_else(|_| unreachable_gauge())
}

/// A gauge that belongs to nobody: what is set there is seen nowhere.
fn unreachable_gauge() -> Gauge {
    Gauge::new("vigie_undeclared", "-").expect("a valid name and help")
}

fn remove(metrics: &Metrics, labels: &[Box<str>; 3], object: Option<&Object>, cell: &Cell) {
    let [service, check, kind] = labels;
    let object = object.map_or("", Object::as_str);
    if let Some(family) = metrics.measurements.get(&cell.metric) {
        let _ = family
            .remove_label_values(&[&**service, &**check, &**kind, object, cell.label])
            .or_else(|_| family.remove_label_values(&[&**service, &**check, &**kind, object]));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit 53 bits for 285,000 years"
)]
fn seconds(instant: Wall) -> f64 {
    instant.0 as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a run lasts minutes, not aeons")]
fn ms_to_seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
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
