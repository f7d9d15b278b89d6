//! The series of one check: what its runs came to and what they measured.
//!
//! Handles are kept, so that a run without news allocates nothing. What the last run did not measure is removed, and so
//! is everything when the check is planned no more.

use std::{collections::BTreeMap, sync::Arc};

use prometheus::{
    Gauge, IntCounter, IntGauge,
    core::{Atomic, GenericGauge, GenericGaugeVec},
};
use vigie_checks::Kind;
use vigie_core::{
    id::{CheckName, ServiceName},
    observation::{Measurement, MetricId, Object},
    status::Status,
    time::Now,
};

use super::{
    Metrics,
    declare::{Family, Number, Vector},
    seconds,
};

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
    missed: IntCounter,
    overruns: IntCounter,
    runs: [IntCounter; 3],
    /// Made when there is something to show: a series that begins at zero would be a lie.
    duration: Option<Gauge>,
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
    number: Number,
    run: u64,
}

impl CheckMetrics {
    /// The handles of one check.
    #[must_use]
    pub fn new(
        metrics: &Arc<Metrics>,
        check: &CheckName,
        kind: &Kind,
        service: Option<&ServiceName>,
    ) -> Self {
        let name = check.as_str();
        let service = service.map_or("", ServiceName::as_str);
        let labels = [service, name, kind.name];
        Self {
            missed: metrics.check_missed.series(&[name]),
            overruns: metrics.check_overruns.series(&[name]),
            runs: Ended::ALL.map(|end| metrics.check_runs.series(&[name, end.as_str()])),
            labels: labels.map(Box::from),
            duration: None,
            last_ok: None,
            last_run: None,
            status: None,
            objects: BTreeMap::new(),
            run: 0,
            metrics: Arc::clone(metrics),
        }
    }

    /// A run ended.
    pub fn show_run(&mut self, ended: Ended, took_ms: u64, missed: u64, now: Now) {
        self.runs[ended as usize].inc();
        self.missed.inc_by(missed);
        let metrics = &self.metrics;
        let labels = self.labels.each_ref().map(|label| &**label);
        let took = ms_to_seconds(took_ms);
        show(&mut self.duration, &metrics.check_duration, &labels, took);
        let at = seconds(now.wall);
        show(&mut self.last_run, &metrics.check_last_run, &labels, at);
    }

    /// A run was still going when the next one was due.
    pub fn count_overrun(&self) {
        self.overruns.inc();
    }

    /// A run found everything ok.
    pub fn show_ok(&mut self, now: Now) {
        let labels = self.labels.each_ref().map(|label| &**label);
        let at = seconds(now.wall);
        show(&mut self.last_ok, &self.metrics.check_last_ok, &labels, at);
    }

    /// A settled status went to the ledger.
    pub fn show_status(&mut self, worst: Status) {
        let labels = self.labels.each_ref().map(|label| &**label);
        let code = worst.code().into();
        show(&mut self.status, &self.metrics.check_status, &labels, code);
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
            // A metric that no kind declares, or a total below zero, is a fault of the check; its number is not shown.
            let Some(family) = self.metrics.measurements.get(&measured.metric) else {
                debug_assert!(false, "{} is not declared", measured.metric.0);
                continue;
            };
            if !family.takes(measured.value) {
                continue;
            }
            if let Some(cell) = known {
                cell.number.show(measured.value);
                cell.run = self.run;
                continue;
            }
            let place = place(&self.labels, object.as_ref(), measured.label);
            cells.push(Cell {
                metric: measured.metric,
                label: measured.label,
                number: family.show(&place, measured.value),
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
                if cell.run != run
                    && let Some(family) = metrics.measurements.get(&cell.metric)
                {
                    family.remove(&place(labels, object.as_ref(), cell.label));
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
        let metrics = &self.metrics;
        metrics.check_status.remove(&labels);
        metrics.check_duration.remove(&labels);
        metrics.check_last_ok.remove(&labels);
        metrics.check_last_run.remove(&labels);
        let [_, check, _] = labels;
        metrics.check_missed.remove(&[check]);
        metrics.check_overruns.remove(&[check]);
        for end in Ended::ALL {
            metrics.check_runs.remove(&[check, end.as_str()]);
        }
    }
}

/// Shows a value, in a series that is made for the first one.
fn show<P: Atomic>(
    kept: &mut Option<GenericGauge<P>>,
    family: &Family<GenericGaugeVec<P>>,
    labels: &[&str; 3],
    value: P::T,
) where
    GenericGaugeVec<P>: Vector<Metric = GenericGauge<P>>,
{
    match kept {
        Some(gauge) => gauge.set(value),
        None => *kept = Some(family.series_at(labels, |gauge| gauge.set(value))),
    }
}

/// What tells one measured number from all others of its metric.
fn place<'a>(
    labels: &'a [Box<str>; 3],
    object: Option<&'a Object>,
    extra: &'a str,
) -> [&'a str; 5] {
    let [service, check, kind] = labels;
    [
        service,
        check,
        kind,
        object.map_or("", Object::as_str),
        extra,
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a run lasts minutes, not aeons")]
fn ms_to_seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
