#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, sync::Arc};

use vigie_core::{
    entry::Head,
    observation::{Measurement, Object},
    status::Status,
    time::{Elapsed, Now},
};

use super::*;
use crate::checks::KINDS;

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
        assert!(!name.ends_with("_total"), "{name}: measurements are gauges");
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
