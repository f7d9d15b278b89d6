//! The table behind the metrics lane: every series that this agent exports, ready to be written as remote write 1.0.
//!
//! Owns which series are live, in which order they are sent, and which have ended since the last request. A series'
//! labels are encoded once, when it is made; from then on a request costs a copy of those bytes and a look at the value,
//! and allocates nothing but the room in the caller's buffer. The values themselves belong to the metrics: the table
//! keeps handles to them.
//!
//! It must never show what `/metrics` does not, nor leave out what it does: so every series is made and removed through
//! the families of [`declare`](super::declare) alone, which asks both.
//!
//! **Order.** Series are sent in the order in which they were made, and that of the others stays when one ends, so that
//! a receiver which expects the next series after the last is nearly always right. One that ends and comes back before
//! the next request keeps its place and was never gone.
//!
//! **Ends.** A series that was sent and ended is told once, by the value that Prometheus takes for "no longer there".
//! Should the request that carries the word be dropped unsent, it is not said again: readers take a series for ended
//! that has had no sample for five minutes, our collector and Prometheus alike, and a second word would be a sample too.
//! One that was never sent needs no such word, so that nothing piles up in an agent whose requests nobody asks for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{Counter, Gauge, IntCounter, IntGauge};
use vigie_core::{
    id::NodeName,
    remote_write::{Metadata, MetricType, Sample, v1},
    time::Wall,
};

/// The label that holds a series' name (the data model of Prometheus).
const NAME: &str = "__name__";

/// The label that every series of an agent has.
const NODE: &str = "node";

/// Where a series' value is read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// A gauge.
    Gauge(Gauge),
    /// A gauge of whole numbers.
    IntGauge(IntGauge),
    /// A counter.
    Counter(Counter),
    /// A counter of whole numbers.
    IntCounter(IntCounter),
}

impl Reading {
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus knows 64-bit floats only; its own text shows these numbers the same way"
    )]
    fn value(&self) -> f64 {
        match self {
            Self::Gauge(gauge) => gauge.get(),
            Self::IntGauge(gauge) => gauge.get() as f64,
            Self::Counter(counter) => counter.get(),
            Self::IntCounter(counter) => counter.get() as f64,
        }
    }
}

/// One kind of metric whose value can be read.
pub trait Readable: prometheus::core::Metric {
    /// What its values are, whether or not there is one yet.
    const TYPE: MetricType;

    /// A handle to the value.
    fn reading(&self) -> Reading;
}

macro_rules! readable {
    ($($metric:ident is $type:ident),*) => {$(
        impl Readable for $metric {
            const TYPE: MetricType = MetricType::$type;

            fn reading(&self) -> Reading {
                Reading::$metric(self.clone())
            }
        }
    )*};
}

readable!(Gauge is Gauge, IntGauge is Gauge, Counter is Counter, IntCounter is Counter);

/// The series of this agent and what is known of their families.
#[derive(Debug)]
pub struct Series {
    node: Option<Box<str>>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By the number that each was given when it was made.
    series: BTreeMap<u64, Slot>,
    /// The number of every series in the table, live or ended.
    numbers: HashMap<Arc<[u8]>, u64>,
    next: u64,
    /// Whether some slot has ended.
    has_ended: bool,
    /// Fields `metadata` of a request: name, help and type of every family.
    metadata: Vec<u8>,
}

#[derive(Debug)]
struct Slot {
    /// Fields `labels` of a TimeSeries.
    labels: Arc<[u8]>,
    /// `None` once it ended.
    reading: Option<Reading>,
    was_sent: bool,
}

impl Series {
    /// An empty table; every series will carry the node's name.
    #[must_use]
    pub fn new(node: Option<&NodeName>) -> Self {
        Self {
            node: node.map(|node| node.as_str().into()),
            table: Mutex::default(),
        }
    }

    /// Makes a family known: what a receiver shows beside its series.
    pub fn declare(&self, family: &str, metric_type: MetricType, help: &str) {
        let metadata = Metadata {
            metric_type,
            family,
            help,
            unit: "",
        };
        v1::write_metadata(&metadata, &mut self.table().metadata);
    }

    /// Makes the series `family` with `labels`, or takes it up again. `make` has to make it in the registry and give it
    /// its first value, which no request sees it without.
    pub fn start<M: Readable>(
        &self,
        family: &str,
        labels: &[(&str, &str)],
        make: impl FnOnce() -> M,
    ) -> M {
        let encoded = self.encode(family, labels);
        let mut table = self.table();
        let metric = make();
        table.start(encoded, metric.reading());
        metric
    }

    /// Ends the series `family` with `labels`, if it is live. `remove` has to remove it from the registry.
    pub fn end(&self, family: &str, labels: &[(&str, &str)], remove: impl FnOnce()) {
        let encoded = self.encode(family, labels);
        let mut table = self.table();
        remove();
        table.end(&encoded);
    }

    /// Appends a WriteRequest to `out`: every live series with its value at `at`, a marker for each that ended since the
    /// last call, and the metadata of all families if asked. Returns how many samples were written.
    pub fn write_request(&self, at: Wall, with_metadata: bool, out: &mut Vec<u8>) -> usize {
        let mut table = self.table();
        let table = &mut *table;
        for slot in table.series.values_mut() {
            let sample = match &slot.reading {
                Some(reading) => Sample {
                    value: reading.value(),
                    timestamp_ms: at.0,
                },
                None => Sample::stale(at.0),
            };
            v1::write_series(&slot.labels, sample, out);
            slot.was_sent = true;
        }
        let written = table.series.len();
        if table.has_ended {
            table.has_ended = false;
            table.series.retain(|_, slot| {
                if slot.reading.is_none() {
                    table.numbers.remove(&slot.labels);
                }
                slot.reading.is_some()
            });
        }
        if with_metadata {
            out.extend_from_slice(&table.metadata);
        }
        written
    }

    /// The labels as they are sent: in order of name, the node's among them, without those that are empty, which is what
    /// an absent label is.
    fn encode(&self, family: &str, labels: &[(&str, &str)]) -> Vec<u8> {
        let own = [(NAME, family), (NODE, self.node.as_deref().unwrap_or(""))];
        let mut all: Vec<(&str, &str)> = own.into_iter().chain(labels.iter().copied()).collect();
        all.sort_unstable();
        let mut encoded = Vec::new();
        v1::write_labels(all, &mut encoded);
        encoded
    }

    /// A panic elsewhere leaves a table that is whole: nothing in here fails half way.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn start(&mut self, labels: Vec<u8>, reading: Reading) {
        if let Some(number) = self.numbers.get(&*labels)
            && let Some(slot) = self.series.get_mut(number)
        {
            slot.reading = Some(reading);
            return;
        }
        let labels: Arc<[u8]> = labels.into();
        self.numbers.insert(Arc::clone(&labels), self.next);
        let slot = Slot {
            labels,
            reading: Some(reading),
            was_sent: false,
        };
        self.series.insert(self.next, slot);
        self.next += 1;
    }

    fn end(&mut self, labels: &[u8]) {
        let Some(&number) = self.numbers.get(labels) else {
            return;
        };
        let Some(slot) = self.series.get_mut(&number) else {
            return;
        };
        if slot.was_sent {
            slot.reading = None;
            self.has_ended = true;
        } else {
            self.series.remove(&number);
            self.numbers.remove(labels);
        }
    }
}

#[cfg(test)]
mod tests;
