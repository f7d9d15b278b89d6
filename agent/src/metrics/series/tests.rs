#![expect(clippy::unwrap_used, reason = "tests")]

use prometheus::{CounterVec, GaugeVec, Registry, TextEncoder};
use proptest::prelude::*;

use super::*;
use crate::metrics::{
    declare::{Declare, Family},
    fixture::{Labels, Request, read_text},
};

const AT: Wall = Wall(1_795_374_271_207);

/// Two families in a registry and a table.
struct Shown {
    registry: Registry,
    series: Arc<Series>,
    gauges: Family<GaugeVec>,
    counters: Family<prometheus::IntCounterVec>,
}

impl Shown {
    fn new() -> Self {
        let registry = Registry::new_custom(
            None,
            Some(HashMap::from([("node".to_owned(), "app-01".to_owned())])),
        );
        let registry = registry.unwrap();
        let series = Arc::new(Series::new(Some(&"app-01".parse().unwrap())));
        let declare = Declare {
            registry: &registry,
            series: &series,
        };
        let gauges = declare.gauges("vigie_level", "How high.", &["object", "zone"]);
        let counters = declare.int_counters("vigie_events_total", "How many.", &["object"]);
        Self {
            gauges: gauges.unwrap(),
            counters: counters.unwrap(),
            registry,
            series,
        }
    }

    fn request(&self) -> Request {
        let mut bytes = Vec::new();
        let written = self.series.write_request(AT, false, &mut bytes);
        let request = Request::read(&bytes);
        assert_eq!(request.series.len(), written);
        assert!(
            request
                .series
                .iter()
                .all(|(_, sample)| sample.timestamp_ms == AT.0)
        );
        request
    }

    fn text(&self) -> BTreeMap<Labels, f64> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        let mut shown = BTreeMap::new();
        for (mut labels, value) in read_text(&text.unwrap()) {
            labels.retain(|(_, value)| !value.is_empty());
            shown.insert(labels, value);
        }
        shown
    }

    fn level(&self, object: &str, value: f64) {
        self.gauges
            .series_at(&[object, ""], |gauge| gauge.set(value));
    }
}

fn level(object: &str) -> Labels {
    let labels = [
        ("__name__", "vigie_level"),
        ("node", "app-01"),
        ("object", object),
    ];
    labels.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec()
}

fn objects(request: &Request) -> Vec<&str> {
    let objects = request.series.iter().map(|(labels, _)| &*labels[2].1);
    objects.collect()
}

#[test]
fn a_series_that_ended_is_told_once_and_the_others_stay_in_order() {
    let shown = Shown::new();
    for object in ["a", "b", "c"] {
        shown.level(object, 1.0);
    }
    assert_eq!(objects(&shown.request()), ["a", "b", "c"]);
    shown.gauges.remove(&["b", ""]);
    shown.level("d", 1.0);
    let request = shown.request();
    assert_eq!(request.ended(), [&level("b")]);
    assert_eq!(objects(&request), ["a", "b", "c", "d"]);
    let request = shown.request();
    assert!(request.ended().is_empty());
    assert_eq!(objects(&request), ["a", "c", "d"]);
}

#[test]
fn a_series_that_came_back_before_the_next_request_was_never_gone() {
    let shown = Shown::new();
    shown.level("a", 1.0);
    shown.level("b", 1.0);
    shown.request();
    shown.gauges.remove(&["a", ""]);
    shown.level("a", 2.0);
    let request = shown.request();
    assert_eq!(objects(&request), ["a", "b"]);
    assert!(request.ended().is_empty());
    assert_eq!(request.live()[&level("a")], 2.0);
    assert!(shown.request().ended().is_empty());
}

#[test]
fn a_series_that_came_back_later_is_a_new_one() {
    let shown = Shown::new();
    shown.level("a", 1.0);
    shown.level("b", 1.0);
    shown.request();
    shown.gauges.remove(&["a", ""]);
    assert_eq!(shown.request().ended(), [&level("a")]);
    shown.level("a", 2.0);
    assert_eq!(objects(&shown.request()), ["b", "a"]);
}

#[test]
fn what_was_never_sent_needs_no_end_and_leaves_nothing() {
    let shown = Shown::new();
    for round in 0..100 {
        let object = format!("o{round}");
        shown.level(&object, 1.0);
        shown.gauges.remove(&[&object, ""]);
    }
    let table = shown.series.table();
    assert!(table.series.is_empty() && table.numbers.is_empty());
    drop(table);
    assert!(shown.request().series.is_empty());
}

#[test]
fn a_series_made_twice_is_one() {
    let shown = Shown::new();
    let first = shown.counters.series(&["a"]);
    let second = shown.counters.series(&["a"]);
    first.inc();
    second.inc();
    let request = shown.request();
    assert_eq!(request.live().into_values().collect::<Vec<_>>(), [2.0]);
    shown.counters.remove(&["a"]);
    shown.counters.remove(&["a"]);
    assert_eq!(shown.request().ended().len(), 1);
    assert!(shown.request().series.is_empty());
}

#[test]
fn the_metadata_names_every_family_whether_or_not_it_has_series() {
    let shown = Shown::new();
    let mut bytes = Vec::new();
    assert_eq!(shown.series.write_request(AT, true, &mut bytes), 0);
    let metadata = Request::read(&bytes).metadata;
    assert_eq!(
        metadata["vigie_level"],
        (MetricType::Gauge, "How high.".to_owned())
    );
    assert_eq!(
        metadata["vigie_events_total"],
        (MetricType::Counter, "How many.".to_owned())
    );
    assert_eq!(metadata.len(), 2);
}

#[test]
fn a_request_is_appended_and_needs_no_more_room_than_the_one_before() {
    let shown = Shown::new();
    for object in 0..500 {
        shown.level(&object.to_string(), f64::from(object));
    }
    let mut bytes = b"before".to_vec();
    shown.series.write_request(AT, true, &mut bytes);
    assert!(bytes.starts_with(b"before"));
    let (len, capacity) = (bytes.len(), bytes.capacity());
    bytes.truncate(6);
    shown.series.write_request(AT, true, &mut bytes);
    assert_eq!((bytes.len(), bytes.capacity()), (len, capacity));
    assert_eq!(Request::read(&bytes[6..]).series.len(), 500);
}

#[test]
fn all_series_with_one_label_can_be_removed() {
    let shown = Shown::new();
    for (object, zone) in [("a", "x"), ("a", ""), ("b", "x")] {
        shown.gauges.series_at(&[object, zone], |g| g.set(1.0));
    }
    shown.gauges.remove_all("zone", "x");
    assert_eq!(
        shown.request().live().keys().collect::<Vec<_>>(),
        [&level("a")]
    );
    assert_eq!(shown.text().len(), 1);
}

#[test]
fn one_family_may_be_declared_once_only() {
    let shown = Shown::new();
    let declare = Declare {
        registry: &shown.registry,
        series: &shown.series,
    };
    assert!(declare.gauge("vigie_level", "Other.").is_err());
    let mut bytes = Vec::new();
    assert_eq!(shown.series.write_request(AT, true, &mut bytes), 0);
    assert_eq!(Request::read(&bytes).metadata.len(), 2);
}

#[derive(Debug, Clone)]
enum Act {
    Level(u8, f64),
    EndLevel(u8),
    Count(u8),
    EndCount(u8),
    Send,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let object = 0..6_u8;
    let act = prop_oneof![
        (object.clone(), -1e9..1e9).prop_map(|(o, v)| Act::Level(o, v)),
        object.clone().prop_map(Act::EndLevel),
        object.clone().prop_map(Act::Count),
        object.prop_map(Act::EndCount),
        Just(Act::Send),
    ];
    prop::collection::vec(act, 0..60)
}

proptest! {
    /// What is scraped and what is sent are the same, series that were sent before and are gone are told in exactly the
    /// next request, and those sent twice in a row stand in the same order.
    #[test]
    fn both_forms_show_the_same_whatever_comes_and_goes(acts in acts()) {
        let shown = Shown::new();
        let mut before = Request::default();
        for act in acts.into_iter().chain([Act::Send]) {
            match act {
                Act::Level(object, value) => shown.level(&object.to_string(), value),
                Act::EndLevel(object) => shown.gauges.remove(&[&object.to_string(), ""]),
                Act::Count(object) => shown.counters.series(&[&object.to_string()]).inc(),
                Act::EndCount(object) => shown.counters.remove(&[&object.to_string()]),
                Act::Send => {
                    let request = shown.request();
                    let live = request.live();
                    prop_assert_eq!(&live, &shown.text());

                    let was = before.live();
                    let gone = was.keys().filter(|labels| !live.contains_key(*labels));
                    let ended: std::collections::BTreeSet<_> = request.ended().into_iter().collect();
                    prop_assert_eq!(ended.len(), request.ended().len());
                    prop_assert_eq!(ended, gone.collect());

                    let order = |request: &Request, other: &Request| -> Vec<Labels> {
                        let other: std::collections::BTreeSet<_> =
                            other.series.iter().map(|(labels, _)| labels).collect();
                        let series = request.series.iter().filter(|(_, s)| !s.is_stale());
                        let labels = series.map(|(labels, _)| labels.clone());
                        labels.filter(|labels| other.contains(labels)).collect()
                    };
                    let kept = order(&request, &before);
                    let kept_before: Vec<_> = order(&before, &request)
                        .into_iter()
                        .filter(|labels| live.contains_key(labels))
                        .collect();
                    let kept: Vec<_> = kept.into_iter().filter(|l| was.contains_key(l)).collect();
                    prop_assert_eq!(kept, kept_before);
                    before = request;
                }
            }
        }
    }

    /// A running total is shown as it is, and one that began anew is shown as it is too.
    #[test]
    fn a_measured_total_never_goes_back_but_when_it_begins_anew(
        first in 0.0..1e12_f64,
        steps in prop::collection::vec(prop_oneof![Just(0.0), 0.0..1e-3_f64, 0.0..1e6_f64], 1..40),
        anew in 0.0..1e3_f64,
    ) {
        use crate::metrics::declare::Number;

        let shown = CounterVec::new(prometheus::Opts::new("c_total", "C."), &[]).unwrap();
        let shown = shown.with_label_values::<&str>(&[]);
        let mut number = Number::Counter { shown: shown.clone(), total: 0.0 };
        let mut total = first;
        number.show(total);
        for step in steps {
            let before = shown.get();
            total += step;
            number.show(total);
            prop_assert!(shown.get() >= before);
            prop_assert!((shown.get() - total).abs() <= total * 1e-15);
        }
        if anew < total {
            number.show(anew);
            prop_assert_eq!(shown.get(), anew);
        }
    }
}
