//! Declares metrics in a registry, with errors that name the metric.

use std::collections::{HashMap, hash_map::Entry};

use prometheus::{
    Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use vigie_core::observation::MetricId;

use super::DeclareError;
use crate::checks::{Kind, MetricSpec};

/// Declares metrics in a registry.
pub(super) struct Declare<'r>(pub(super) &'r Registry);

impl Declare<'_> {
    pub(super) fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, DeclareError> {
        self.keep(name, IntGauge::new(name, help))
    }

    pub(super) fn int_counter(&self, name: &str, help: &str) -> Result<IntCounter, DeclareError> {
        self.keep(name, IntCounter::new(name, help))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<Gauge, DeclareError> {
        self.keep(name, Gauge::new(name, help))
    }

    pub(super) fn int_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, DeclareError> {
        self.keep(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, DeclareError> {
        self.keep(name, GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn int_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, DeclareError> {
        self.keep(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge family for each metric of the kinds; one that several kinds share is declared once.
    pub(super) fn of_kinds(
        &self,
        kinds: &[&Kind],
    ) -> Result<HashMap<MetricId, GaugeVec>, DeclareError> {
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
