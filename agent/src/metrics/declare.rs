//! Declares metrics and makes their series: the one place that a series comes from.
//!
//! Two parties have to know of every series: the registry that `/metrics` is written from, and the table that the metrics
//! lane is written from. Nobody else holds the registry's own vectors, so that no series can be made or removed for one of
//! them alone. Errors name the metric.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
};

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};
use vigie_checks::{Kind, MetricSpec, MetricType};
use vigie_core::observation::MetricId;

use super::{
    DeclareError,
    series::{Readable, Series},
};

/// Declares metrics in a registry and a table.
pub struct Declare<'r> {
    /// Where `/metrics` is written from.
    pub registry: &'r Registry,
    /// Where the metrics lane is written from.
    pub series: &'r Arc<Series>,
}

/// The series of one name.
pub struct Family<V> {
    name: Box<str>,
    labels: Box<[Box<str>]>,
    vector: V,
    series: Arc<Series>,
}

/// A vector of the registry, whatever its metrics are.
pub trait Vector: Collector + Clone + 'static {
    /// What each of its series is.
    type Metric: Readable;

    /// The metric with these label values, made if need be.
    fn make(&self, values: &[&str]) -> Self::Metric;

    /// Forgets the metric with these label values.
    fn forget(&self, values: &[&str]);
}

impl<B: MetricVecBuilder + 'static> Vector for MetricVec<B>
where
    B::M: Readable,
{
    type Metric = B::M;

    fn make(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }

    fn forget(&self, values: &[&str]) {
        // What was never made is not there to be removed.
        let _ = self.remove_label_values(values);
    }
}

impl<V: Vector> Family<V> {
    /// The series with these label values, made if need be. For those that may begin at zero: counts.
    ///
    /// # Panics
    /// When the values are not as many as the labels that were declared: a fault of the program.
    pub fn series(&self, values: &[&str]) -> V::Metric {
        self.series_at(values, |_| {})
    }

    /// The series with these label values, made if need be and given a value by `show` before the metrics lane sees it.
    ///
    /// # Panics
    /// When the values are not as many as the labels that were declared: a fault of the program.
    pub fn series_at(&self, values: &[&str], show: impl FnOnce(&V::Metric)) -> V::Metric {
        self.series.start(&self.name, &self.pairs(values), || {
            let metric = self.vector.make(values);
            show(&metric);
            metric
        })
    }

    /// Removes the series with these label values, if there is one.
    pub fn remove(&self, values: &[&str]) {
        self.series.end(&self.name, &self.pairs(values), || {
            self.vector.forget(values);
        });
    }

    /// Removes every series whose `label` is `value`.
    pub fn remove_all(&self, label: &str, value: &str) {
        for metric in self.vector.collect().iter().flat_map(|f| f.get_metric()) {
            let found = |name: &str| {
                let mut pairs = metric.get_label().iter();
                pairs.find(|p| p.name() == name).map_or("", |p| p.value())
            };
            if found(label) == value {
                let values: Vec<&str> = self.labels.iter().map(|name| found(name)).collect();
                self.remove(&values);
            }
        }
    }

    fn pairs<'a>(&'a self, values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
        let names = self.labels.iter().map(|label| &**label);
        names.zip(values.iter().copied()).collect()
    }
}

impl<V> fmt::Debug for Family<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.name).finish()
    }
}

/// The numbers that checks measure under one name.
#[derive(Debug)]
pub struct Measured {
    family: MeasuredFamily,
    /// Whether its series have a label beside those that every measurement has.
    has_label: bool,
}

#[derive(Debug)]
enum MeasuredFamily {
    Gauges(Family<GaugeVec>),
    Counters(Family<CounterVec>),
}

/// One measured number, as it is shown.
#[derive(Debug)]
pub enum Number {
    /// The number itself.
    Gauge(Gauge),
    /// A running total.
    Counter {
        /// What is shown.
        shown: Counter,
        /// The last total, which what is shown may miss by a rounding.
        total: f64,
    },
}

impl Number {
    /// Shows what was measured last.
    pub fn show(&mut self, value: f64) {
        match self {
            Self::Gauge(gauge) => gauge.set(value),
            Self::Counter { shown, total } => {
                if value < *total {
                    // It began anew. Whoever reads between these two sees an even newer beginning.
                    shown.reset();
                }
                raise(shown, value);
                *total = value;
            }
        }
    }
}

/// Brings a counter up to `total`; it never goes back, not even by a rounding, which would look like a new beginning.
fn raise(counter: &Counter, total: f64) {
    counter.inc_by((total - counter.get()).max(0.0));
}

impl Measured {
    /// The series of what `place` names (service, check, kind, object, extra label), made if need be.
    pub fn show(&self, place: &[&str; 5], value: f64) -> Number {
        let values = self.values(place);
        match &self.family {
            MeasuredFamily::Gauges(family) => {
                Number::Gauge(family.series_at(values, |gauge| gauge.set(value)))
            }
            MeasuredFamily::Counters(family) => Number::Counter {
                shown: family.series_at(values, |counter| raise(counter, value)),
                total: value,
            },
        }
    }

    /// Removes the series of what `place` names.
    pub fn remove(&self, place: &[&str; 5]) {
        let values = self.values(place);
        match &self.family {
            MeasuredFamily::Gauges(family) => family.remove(values),
            MeasuredFamily::Counters(family) => family.remove(values),
        }
    }

    /// Whether a check can have measured this: a total is a number that is not negative.
    pub fn takes(&self, value: f64) -> bool {
        match self.family {
            MeasuredFamily::Gauges(_) => true,
            MeasuredFamily::Counters(_) => value >= 0.0 && value.is_finite(),
        }
    }

    fn values<'p, 'v>(&self, place: &'p [&'v str; 5]) -> &'p [&'v str] {
        let [all_but_the_extra @ .., _] = place;
        if self.has_label {
            place
        } else {
            all_but_the_extra
        }
    }
}

impl Declare<'_> {
    /// A whole number that goes up and down. The name must be free, and a name of Prometheus'.
    pub fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, DeclareError> {
        self.alone(name, help, IntGauge::new(name, help))
    }

    /// A whole number that only goes up. The name must be free, and a name of Prometheus'.
    pub fn int_counter(&self, name: &str, help: &str) -> Result<IntCounter, DeclareError> {
        self.alone(name, help, IntCounter::new(name, help))
    }

    /// A number that goes up and down. The name must be free, and a name of Prometheus'.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, DeclareError> {
        self.alone(name, help, Gauge::new(name, help))
    }

    /// A number that only goes up. The name must be free, and a name of Prometheus'.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, DeclareError> {
        self.alone(name, help, Counter::new(name, help))
    }

    /// Whole numbers that go up and down, one for each set of `labels`. The name must be free, and a name of Prometheus'.
    pub fn int_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Family<IntGaugeVec>, DeclareError> {
        self.family(name, help, labels, IntGaugeVec::new)
    }

    /// Numbers that go up and down, one for each set of `labels`. The name must be free, and a name of Prometheus'.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Family<GaugeVec>, DeclareError> {
        self.family(name, help, labels, GaugeVec::new)
    }

    /// Whole numbers that only go up, one for each set of `labels`. The name must be free, and a name of Prometheus'.
    pub fn int_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Family<IntCounterVec>, DeclareError> {
        self.family(name, help, labels, IntCounterVec::new)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Family<CounterVec>, DeclareError> {
        self.family(name, help, labels, CounterVec::new)
    }

    /// A family for each metric of the kinds; one that several kinds share is declared once.
    pub fn of_kinds(&self, kinds: &[&Kind]) -> Result<HashMap<MetricId, Measured>, DeclareError> {
        let mut families = HashMap::new();
        for spec in kinds.iter().flat_map(|kind| kind.metrics) {
            if let Entry::Vacant(vacant) = families.entry(spec.id) {
                let labels = labels_of(spec);
                let family = match spec.metric_type {
                    MetricType::Gauge => {
                        MeasuredFamily::Gauges(self.gauges(spec.id.0, spec.help, &labels)?)
                    }
                    MetricType::Counter => {
                        MeasuredFamily::Counters(self.counters(spec.id.0, spec.help, &labels)?)
                    }
                };
                vacant.insert(Measured {
                    family,
                    has_label: !spec.label.is_empty(),
                });
            }
        }
        Ok(families)
    }

    fn family<V: Vector>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        new: impl FnOnce(Opts, &[&str]) -> prometheus::Result<V>,
    ) -> Result<Family<V>, DeclareError> {
        let vector = self.register(name, new(Opts::new(name, help), labels))?;
        self.series.declare(name, V::Metric::TYPE, help);
        Ok(Family {
            name: name.into(),
            labels: labels.iter().map(|label| Box::from(*label)).collect(),
            vector,
            series: Arc::clone(self.series),
        })
    }

    /// A metric without labels: its one series begins here.
    fn alone<M: Readable + Collector + 'static>(
        &self,
        name: &str,
        help: &str,
        made: prometheus::Result<M>,
    ) -> Result<M, DeclareError> {
        let metric = self.register(name, made)?;
        self.series.declare(name, M::TYPE, help);
        Ok(self.series.start(name, &[], || metric))
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        made: prometheus::Result<C>,
    ) -> Result<C, DeclareError> {
        let failed = |source| DeclareError {
            name: name.to_owned(),
            source,
        };
        let collector = made.map_err(failed)?;
        self.registry
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
