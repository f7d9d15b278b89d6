#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vigie_checks::{KINDS, MetricType};
use vigie_core::{
    entry::Head,
    observation::{Measurement, Object},
    status::Status,
    time::{Elapsed, Now},
};

use super::{
    fixture::{Labels, Request, read_text},
    *,
};

fn new() -> Arc<Metrics> {
    Arc::new(Metrics::new(Some(&"app-01".parse().unwrap()), KINDS).unwrap())
}

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.text()).unwrap()
}

const NOW: Now = Now {
    wall: Wall(1_500),
    elapsed: Elapsed(0),
};

#[test]
fn every_kind_declares_metrics_that_fit_together_and_have_good_names() {
    let metrics = new();
    assert!(text(&metrics).contains("vigie_build_info"));
    for spec in KINDS.iter().flat_map(|kind| kind.metrics) {
        let name = spec.id.0;
        assert!(name.starts_with("vigie_"), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            spec.metric_type == MetricType::Counter,
            "{name}: counters, and they alone, end in _total"
        );
        assert!(!spec.help.is_empty(), "{name}");
        let labels: BTreeSet<_> = labels_of(spec).into_iter().collect();
        assert_eq!(
            labels.len(),
            labels_of(spec).len(),
            "{name}: a label stands twice"
        );
    }
}

#[test]
fn a_check_that_is_planned_no_more_leaves_no_series() {
    let metrics = new();
    let kind = KINDS[0];
    let mut check = CheckMetrics::new(&metrics, &"portail".parse().unwrap(), kind, None);
    check.show_run(Ended::Timeout, 1_500, 2, NOW);
    check.show_ok(NOW);
    check.show_status(Status::Critical);
    check.count_overrun();
    check.begin_measurements();
    let spec = kind.metrics[0];
    let measured = Measurement {
        metric: spec.id,
        value: 1.0,
        label: if spec.label.is_empty() { "" } else { "x" },
    };
    check.measure(&Some(Object::configured("o").unwrap()), &[measured]);
    check.end_measurements();
    let shown = text(&metrics);
    for line in [
        "vigie_check_missed_runs_total{check=\"portail\",node=\"app-01\"} 2",
        "vigie_check_runs_total{check=\"portail\",result=\"timeout\",node=\"app-01\"} 1",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(shown.contains("object=\"o\""));
    drop(check);
    assert!(!text(&metrics).contains("portail"), "{}", text(&metrics));
}

#[test]
fn totals_of_the_ledger_are_counters() {
    let metrics = new();
    let mut view = View {
        head: Head::EMPTY,
        acknowledged: Head::EMPTY,
        plan: None,
        not_ok: Arc::new([]),
        unsent_bytes: 400,
        ring_len: 0,
        is_degraded: true,
        lines_written: 5,
        lines_lost: 2,
        lines_refused: 0,
    };
    metrics.show_ledger(&view);
    view.lines_written = 7;
    metrics.show_ledger(&view);
    let shown = text(&metrics);
    for line in [
        "vigie_entries_written_total{node=\"app-01\"} 7",
        "vigie_spool_dropped_total{lane=\"entries\",reason=\"lost\",node=\"app-01\"} 2",
        "vigie_spool_bytes{lane=\"entries\",node=\"app-01\"} 400",
        "vigie_spool_degraded{lane=\"entries\",node=\"app-01\"} 1",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

/// Everything but what changes by itself.
fn steady(series: BTreeMap<Labels, f64>) -> BTreeMap<Labels, f64> {
    let mut series = series;
    for ((_, name), value) in series.iter_mut().map(|(labels, v)| (&labels[0], v)) {
        if name.starts_with("vigie_agent_") {
            *value = 0.0;
        }
    }
    series
}

fn request(metrics: &Metrics) -> Request {
    let mut bytes = Vec::new();
    let written = metrics.write_request(NOW.wall, true, &mut bytes);
    let request = Request::read(&bytes);
    assert_eq!(request.series.len(), written);
    request
}

#[test]
fn the_metrics_lane_sends_what_a_scrape_shows() {
    let metrics = new();
    let mut checks: Vec<_> = KINDS
        .iter()
        .enumerate()
        .map(|(number, kind)| {
            let name = format!("c{number}").parse().unwrap();
            let mut check = CheckMetrics::new(&metrics, &name, kind, None);
            check.begin_measurements();
            for (object, value) in [(None, 0.25), (Some(Object::configured("o").unwrap()), 3.0)] {
                let measured = kind.metrics.iter().map(|spec| Measurement {
                    metric: spec.id,
                    value,
                    label: if spec.label.is_empty() { "" } else { "x" },
                });
                check.measure(&object, &measured.collect::<Vec<_>>());
            }
            check.end_measurements();
            check.show_run(Ended::Result, 1_500, 0, NOW);
            check.show_status(Status::Warning);
            check
        })
        .collect();
    metrics.count_push("ok");
    metrics.count_samples_push("", "ok");
    metrics.count_samples_push("victoria", "refused");
    metrics.show_samples_spool("", 4_096, 3, true);
    metrics.show_samples_spool("victoria", 10, 0, false);
    metrics.count_samples_dropped("", "age", 7);
    metrics.count_fallback("ok");
    let sent = request(&metrics);
    let shown = text(&metrics);
    assert_eq!(steady(sent.live()), steady(read_text(&shown)));
    for line in [
        "vigie_pushes_total{lane=\"entries\",result=\"ok\",node=\"app-01\"} 1",
        "vigie_pushes_total{lane=\"metrics\",result=\"ok\",node=\"app-01\"} 1",
        "vigie_pushes_total{destination=\"victoria\",lane=\"metrics\",result=\"refused\",node=\"app-01\"} 1",
        "vigie_spool_bytes{lane=\"metrics\",node=\"app-01\"} 4096",
        "vigie_spool_degraded{lane=\"metrics\",node=\"app-01\"} 1",
        "vigie_spool_dropped_total{lane=\"metrics\",reason=\"age\",node=\"app-01\"} 7",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    // Type and help say the same in both forms.
    for (family, (metric_type, help)) in &sent.metadata {
        let told = format!(
            "# HELP {family} {help}\n# TYPE {family} {}\n",
            metric_type.as_str()
        );
        let has_series = shown.contains(&format!("\n{family}{{"));
        assert!(!has_series || shown.contains(&told), "{told}");
    }
    let families = |series: &BTreeMap<Labels, f64>| -> BTreeSet<String> {
        series.keys().map(|labels| labels[0].1.clone()).collect()
    };
    let declared: BTreeSet<_> = sent.metadata.keys().cloned().collect();
    assert!(declared.is_superset(&families(&sent.live())));

    metrics.forget_destination("victoria");
    metrics.forget_destination("");
    checks.truncate(1);
    let after = request(&metrics);
    assert_eq!(steady(after.live()), steady(read_text(&text(&metrics))));
    assert_eq!(
        after.ended().len(),
        sent.series.len() - after.live().len(),
        "each that is gone is told"
    );
    assert!(!text(&metrics).contains("victoria"));
    assert!(text(&metrics).contains("vigie_spool_bytes{lane=\"metrics\",node=\"app-01\"}"));
    assert!(request(&metrics).ended().is_empty());
}

#[test]
fn the_process_own_numbers_are_fresh_in_a_request() {
    let sent = request(&new());
    let memory = sent
        .live()
        .into_iter()
        .find(|(labels, _)| labels[0].1 == "vigie_agent_resident_memory_bytes");
    assert!(memory.unwrap().1 > 0.0);
}

#[test]
fn a_total_that_cannot_be_one_is_not_shown() {
    let metrics = new();
    let kind = KINDS.iter().find(|kind| kind.name == "cpu").unwrap();
    let spec = kind.metrics.iter();
    let spec = spec
        .clone()
        .find(|spec| spec.metric_type == MetricType::Counter)
        .unwrap();
    let mut check = CheckMetrics::new(&metrics, &"cpu".parse().unwrap(), kind, None);
    let measure = |check: &mut CheckMetrics, value| {
        check.begin_measurements();
        let measured = Measurement {
            metric: spec.id,
            value,
            label: "user",
        };
        check.measure(&None, &[measured]);
        check.end_measurements();
        let shown = read_text(&text(&metrics)).into_iter();
        let of_metric = shown.filter(|(labels, _)| labels[0].1 == spec.id.0);
        of_metric.map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(measure(&mut check, 5.5), [5.5]);
    assert_eq!(measure(&mut check, 6.0), [6.0]);
    assert_eq!(measure(&mut check, f64::NAN), Vec::<f64>::new());
    assert_eq!(measure(&mut check, 7.0), [7.0]);
    assert_eq!(measure(&mut check, -1.0), Vec::<f64>::new());
    assert_eq!(measure(&mut check, 2.0), [2.0]);
}
