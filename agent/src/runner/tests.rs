//! The scheduler with checks that misbehave, on a clock that the tests move.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    future::pending,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use vigie_checks::{Kind, MetricSpec, MetricType, Run};
use vigie_core::{
    digest::Digest,
    entry::Entry,
    observation::{MetricId, Object},
    reason::availability::{NET_REFUSED, TCP_OK},
    settle::Damping,
    status::Family,
    time::Wall,
};
use vigie_platform::{
    clock::{Clock, ManualClock},
    disk::RealDisk,
    settings_file::Section,
};

use super::*;
use crate::{
    ledger::{CheckpointFile, Ledger},
    spool::{self, Spool},
};

const LATENCY: MetricId = MetricId("vigie_test_latency_seconds");

static KIND: Kind = Kind {
    name: "tcp",
    family: Family::Availability,
    metrics: &[MetricSpec {
        id: LATENCY,
        metric_type: MetricType::Gauge,
        help: "Test.",
        label: "",
    }],
    target_key: "target",
    example: "",
    build: no_build,
};

fn no_build(_: &mut Section<'_>) -> Option<Box<dyn Check>> {
    None
}

/// What a check does next.
#[derive(Clone, Copy)]
enum Does {
    Ok,
    Fails,
    Hangs,
    Panics,
}

/// A check that does as it is told and counts its runs.
#[derive(Clone)]
struct Puppet(Arc<Mutex<(Does, u32)>>);

impl Puppet {
    fn new(does: Does) -> Self {
        Self(Arc::new(Mutex::new((does, 0))))
    }

    fn strings(&self) -> MutexGuard<'_, (Does, u32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn will(&self, does: Does) {
        self.strings().0 = does;
    }

    fn runs(&self) -> u32 {
        self.strings().1
    }
}

impl Check for Puppet {
    fn run<'a>(&'a mut self, _: &'a Context) -> Run<'a> {
        let does = {
            let mut strings = self.strings();
            strings.1 += 1;
            strings.0
        };
        Box::pin(async move {
            let object = Object::configured("o").unwrap();
            match does {
                Does::Ok => vec![
                    Observation::new(Status::Ok, TCP_OK)
                        .of(object)
                        .measure(LATENCY, 0.25),
                ],
                Does::Fails => vec![Observation::new(Status::Critical, NET_REFUSED).of(object)],
                Does::Hangs => pending().await,
                Does::Panics => panic!("on purpose"),
            }
        })
    }
}

fn planned(name: &str, every_s: u64, puppet: &Puppet) -> PlannedCheck {
    PlannedCheck {
        name: name.parse().unwrap(),
        kind: &KIND,
        service: None,
        every: Duration::from_secs(every_s),
        timeout: Duration::from_secs(5),
        patience: Damping {
            failures: 1,
            recoveries: 1,
        },
        settings_sha256: Digest::of(name.as_bytes()),
        check: Box::new(puppet.clone()),
    }
}

struct Stage {
    clock: Arc<ManualClock>,
    lane: EntryWriter,
    handle: RunnerHandle,
    metrics: Arc<Metrics>,
    _dir: TempDir,
}

impl Stage {
    fn start(checks: Vec<PlannedCheck>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(1_795_374_271_207),
            elapsed: Elapsed(1_000_000),
        }));
        let node: NodeName = "app-01".parse().unwrap();
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let mut limits = spool::Limits::default();
        limits.log.reserve_bytes = 0;
        let (spool, _) = Spool::open(Arc::new(RealDisk), dir.path(), limits);
        let checkpoint = CheckpointFile::open(&RealDisk, &dir.path().join("checkpoint"));
        let mut ledger = Ledger::new(spool, checkpoint, node.clone(), "b007", Arc::clone(&shared));
        ledger.answered(&vigie_core::hand_in::EntriesAnswer {
            durable: vigie_core::entry::Head::EMPTY,
            refused: Vec::new(),
            log: vigie_core::log::Checkpoint {
                size: 0,
                root: Digest::ZERO,
            },
            statements: Vec::new(),
        });
        let lane = EntryWriter::start(ledger).unwrap();
        let metrics = Arc::new(Metrics::new(Some(&node), &[&KIND]).unwrap());
        let (runner, handle) = Runner::new(
            node,
            Context::of_this_machine(shared),
            checks,
            lane.clone(),
            Arc::clone(&metrics),
        );
        tokio::spawn(runner.run());
        Self {
            clock,
            lane,
            handle,
            metrics,
            _dir: dir,
        }
    }

    /// Lets time pass in steps that a scheduler does not take for a pause.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.has_ticked().await;
        }
    }

    /// Waits until the scheduler has seen the present time, and the runs that it started have had their turn.
    async fn has_ticked(&self) {
        let now = self.clock.elapsed();
        while self.handle.heartbeat().last() < now {
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    /// Every line so far, as `kind object status reason`.
    async fn lines(&self) -> Vec<String> {
        // A description is answered between two ticks; what was decided before it has been offered.
        self.handle.describe().await.unwrap();
        let batch = self.lane.batch(512, 1 << 20).await.unwrap();
        batch
            .lines
            .iter()
            .map(|line| Entry::read(&line.bytes).unwrap())
            .map(|entry| match entry.status {
                Some(status) => format!(
                    "{} {} {status} {}",
                    entry.check.unwrap(),
                    entry.object.as_deref().unwrap_or("-"),
                    entry.reason.unwrap()
                ),
                None => entry.kind,
            })
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_check_runs_soon_after_start_and_then_on_its_grid() {
    let (fast, slow) = (Puppet::new(Does::Ok), Puppet::new(Does::Ok));
    let stage = Stage::start(vec![
        planned("fast", 10, &fast),
        planned("slow", 3600, &slow),
    ]);
    stage.pass(11).await;
    assert!(fast.runs() >= 1 && slow.runs() == 1);
    let before = fast.runs();
    stage.pass(60).await;
    assert_eq!(fast.runs() - before, 6);
    assert!(slow.runs() <= 2);
    let mut lines = stage.lines().await;
    lines.sort();
    assert_eq!(lines, ["fast o ok tcp.ok", "slow o ok tcp.ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_run_is_stopped_at_its_deadline_and_is_unknown() {
    let puppet = Puppet::new(Does::Hangs);
    let stage = Stage::start(vec![planned("a", 10, &puppet)]);
    stage.pass(20).await;
    assert_eq!(stage.lines().await, ["a - unknown check.timeout"]);
    puppet.will(Does::Ok);
    stage.pass(11).await;
    assert_eq!(
        stage.lines().await[1..],
        ["a - ok check.ran", "a o ok tcp.ok"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_fault_and_the_check_runs_on() {
    let puppet = Puppet::new(Does::Panics);
    let stage = Stage::start(vec![planned("a", 10, &puppet)]);
    stage.pass(11).await;
    puppet.will(Does::Fails);
    stage.pass(11).await;
    assert_eq!(
        stage.lines().await,
        [
            "a - unknown check.fault",
            "a - ok check.ran",
            "a o critical net.refused"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_suspend_is_a_pause_a_step_is_a_step_and_nothing_is_late_or_piles_up() {
    let puppet = Puppet::new(Does::Ok);
    let stage = Stage::start(vec![planned("a", 10, &puppet)]);
    stage.pass(11).await;
    let before = puppet.runs();
    stage.clock.advance(Duration::from_secs(3600));
    stage.has_ticked().await;
    stage.pass(1).await;
    assert!(puppet.runs() - before <= 2, "missed runs do not pile up");
    let wall = stage.clock.wall();
    stage.clock.set_wall(wall.plus_ms(-3_600_000));
    stage.pass(2).await;
    assert_eq!(
        stage.lines().await,
        ["a o ok tcp.ok", "agent.pause", "clock.step"]
    );
    let text = String::from_utf8(stage.metrics.text()).unwrap();
    let missed = text
        .lines()
        .find(|line| line.starts_with("vigie_check_missed_runs_total{"))
        .unwrap();
    assert!(
        missed.ends_with("359") || missed.ends_with("360"),
        "{missed}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_the_same_and_restating_says_it_again() {
    let (kept, gone, new) = (
        Puppet::new(Does::Ok),
        Puppet::new(Does::Ok),
        Puppet::new(Does::Fails),
    );
    let stage = Stage::start(vec![planned("kept", 10, &kept), planned("gone", 10, &gone)]);
    stage.pass(11).await;
    // The same settings, perhaps with another secret behind them: built anew, and what was settled is kept.
    let rebuilt = Puppet::new(Does::Ok);
    stage
        .handle
        .replace(vec![
            planned("kept", 10, &rebuilt),
            planned("new", 10, &new),
        ])
        .await;
    let (kept_runs, gone_runs) = (kept.runs(), gone.runs());
    stage.pass(11).await;
    assert_eq!((kept.runs(), gone.runs()), (kept_runs, gone_runs));
    assert!(rebuilt.runs() > 0);
    let mut lines = stage.lines().await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "gone o ok tcp.ok",
            "kept o ok tcp.ok",
            "new o critical net.refused"
        ]
    );
    let text = String::from_utf8(stage.metrics.text()).unwrap();
    assert!(!text.contains("\"gone\""), "{text}");
    stage.handle.restate().await;
    stage.pass(1).await;
    assert_eq!(stage.lines().await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn measurements_are_shown_and_vanish_with_their_object() {
    let puppet = Puppet::new(Does::Ok);
    let stage = Stage::start(vec![planned("a", 10, &puppet)]);
    stage.pass(11).await;
    let series =
        "vigie_test_latency_seconds{check=\"a\",kind=\"tcp\",object=\"o\",node=\"app-01\"} 0.25";
    let text = String::from_utf8(stage.metrics.text()).unwrap();
    assert!(text.contains(series), "{text}");
    assert!(text.contains("vigie_check_status{check=\"a\",kind=\"tcp\",node=\"app-01\"} 0"));
    puppet.will(Does::Fails);
    stage.pass(11).await;
    let text = String::from_utf8(stage.metrics.text()).unwrap();
    assert!(!text.contains("vigie_test_latency_seconds"), "{text}");
    assert!(text.contains("vigie_check_status{check=\"a\",kind=\"tcp\",node=\"app-01\"} 2"));
}
