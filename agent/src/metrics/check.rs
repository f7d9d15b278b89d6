//! The series of one check: what its runs came to and what they measured.
//!
//! Handles are kept, so that a run without news allocates nothing. What the last run did not measure is removed, and so
//! is everything when the check is planned no more.

use std::{collections::BTreeMap, sync::Arc};

use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge};
use vigie_core::{
    id::{CheckName, ServiceName},
    observation::{Measurement, MetricId, Object},
    status::Status,
    time::Now,
};

use super::{Metrics, seconds};
use crate::checks::Kind;

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
            duration: metrics.check_duration.with_label_values(&labels),
            missed: metrics.check_missed.with_label_values(&[name]),
            overruns: metrics.check_overruns.with_label_values(&[name]),
            runs: Ended::ALL.map(|end| metrics.check_runs.with_label_values(&[name, end.as_str()])),
            labels: labels.map(Box::from),
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
            let Some(gauge) = labelled(family, &self.labels, object.as_ref(), measured.label)
            else {
                continue;
            };
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

/// The series of one object; `None` for a kind that measures with labels it does not declare.
fn labelled(
    family: &GaugeVec,
    labels: &[Box<str>; 3],
    object: Option<&Object>,
    extra: &str,
) -> Option<Gauge> {
    let [service, check, kind] = labels;
    let object = object.map_or("", Object::as_str);
    family
        .get_metric_with_label_values(&[&**service, &**check, &**kind, object, extra])
        .or_else(|_| family.get_metric_with_label_values(&[&**service, &**check, &**kind, object]))
        .ok()
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

#[expect(clippy::cast_precision_loss, reason = "a run lasts minutes, not aeons")]
fn ms_to_seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
