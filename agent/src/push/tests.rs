//! The pusher, the ledger and a real TLS connection against a collector that misbehaves.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use vigie_core::{
    digest::Digest,
    entry::{Draft, Kind},
    observation::{Facts, Object},
    reason::availability::{NET_TIMEOUT, TCP_OK},
    status::Status,
    time::Now,
};
use vigie_machine::Context;
use vigie_platform::{clock::ManualClock, disk::RealDisk};

use super::{
    fixture::{Answer, Collector, Seen},
    *,
};
use crate::{
    fallback::Fallback,
    ledger::{CheckpointFile, Ledger},
    runner::Runner,
    spool::{self, Spool},
    uplink::Targets,
};

/// A node's pusher at work.
struct Node {
    clock: Arc<ManualClock>,
    lane: EntryWriter,
    last: watch::Receiver<Option<LastPush>>,
    stop: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
}

#[derive(Clone, Copy)]
enum Scheduler {
    Moves,
    StandsStill,
}

fn now() -> Now {
    Now {
        wall: Wall(1_795_374_271_207),
        elapsed: Elapsed(1_000_000),
    }
}

fn start_lane(dir: &TempDir, clock: &Arc<ManualClock>) -> EntryWriter {
    let (spool, _) = Spool::open(
        Arc::new(RealDisk),
        &dir.path().join("entries"),
        small_limits(),
    );
    let checkpoint = CheckpointFile::open(&RealDisk, &dir.path().join("checkpoint"));
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let ledger = Ledger::new(spool, checkpoint, "app-01".parse().unwrap(), "b007", clock);
    EntryWriter::start(ledger).unwrap()
}

fn small_limits() -> spool::Limits {
    let mut limits = spool::Limits::default();
    limits.log.segment_bytes = 64 * 1024;
    limits.log.reserve_bytes = 0;
    limits
}

impl Node {
    /// Starts on the identity and spool of `dir`, with a jitter of nothing.
    fn start(dir: &TempDir, collectors: &[std::net::SocketAddr]) -> Self {
        let clock = Arc::new(ManualClock::at(now()));
        let lane = start_lane(dir, &clock);
        Self::start_on(dir, collectors, clock, lane, Scheduler::Moves)
    }

    fn start_on(
        dir: &TempDir,
        collectors: &[std::net::SocketAddr],
        clock: Arc<ManualClock>,
        lane: EntryWriter,
        scheduler: Scheduler,
    ) -> Self {
        let identity = Arc::new(Identity::load(dir.path()).unwrap());
        let node = identity.node().clone();
        let metrics = Arc::new(Metrics::new(Some(&node), &[]).unwrap());
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let (runner, handle) = Runner::new(
            node.clone(),
            Context::of_this_machine(Arc::clone(&shared)),
            Vec::new(),
            lane.clone(),
            Arc::clone(&metrics),
        );
        match scheduler {
            Scheduler::Moves => drop(tokio::spawn(runner.run())),
            Scheduler::StandsStill => {}
        }
        let (_fallback, alarm) = Fallback::new(
            Arc::clone(&shared),
            node,
            watch::Sender::new(None).subscribe(),
            Arc::clone(&metrics),
            || 0,
        );
        let targets = Targets {
            collectors: collectors.iter().map(|a| format!("https://{a}")).collect(),
            proxy: None,
        };
        let identity = watch::Sender::new(identity).subscribe();
        let way = Uplink::new(
            watch::Sender::new(targets).subscribe(),
            identity.clone(),
            Arc::clone(&shared),
        );
        let push = Push::new(Parts {
            clock: shared,
            lane: lane.clone(),
            runner: handle,
            identity,
            way,
            alarm,
            metrics,
            random: || 0,
        });
        let last = push.last();
        let stop = watch::Sender::new(false);
        let (sender, stopped) = oneshot::channel();
        tokio::spawn(push.run(stop.subscribe(), sender));
        Self {
            clock,
            lane,
            last,
            stop,
            stopped,
        }
    }

    async fn says(&self, check: &str, status: Status) {
        self.lane.write(line(check, status)).await.unwrap();
        self.lane.settle().await.unwrap();
    }

    /// Waits until the collector has confirmed the whole chain.
    async fn is_confirmed(&self) {
        let mut view = self.lane.view();
        view.wait_for(|view| view.head.seq > 0 && view.acknowledged == view.head)
            .await
            .unwrap();
    }
}

fn line(check: &str, status: Status) -> Draft {
    Draft {
        kind: Kind::CheckStatus,
        check: Some(check.parse().unwrap()),
        object: Some(Object::configured("o").unwrap()),
        service: None,
        status: Some(status),
        reason: if status == Status::Ok {
            TCP_OK
        } else {
            NET_TIMEOUT
        },
        facts: Facts::new(),
    }
}

async fn next(requests: &mut Receiver<Seen>) -> Seen {
    requests.recv().await.unwrap()
}

/// Numbers 1, 2, 3 … up to `last`, each once.
fn assert_exactly_once(collector: &Collector, last: u64) {
    let seqs: Vec<u64> = collector.lines().iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    assert_eq!(collector.forks(), 0);
}

#[tokio::test]
async fn a_contact_comes_first_then_lines_at_once_then_a_contact_every_twenty_seconds() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let node = Node::start(&dir, &[address]);
    let first = next(&mut requests).await;
    assert!(first.lines.is_empty() && first.contact.head == Head::EMPTY);
    node.says("portail", Status::Critical).await;
    let second = next(&mut requests).await;
    assert_eq!(second.lines.len(), 1);
    assert_eq!(second.contact.head, second.lines[0].head());
    assert_eq!(second.contact.not_ok[0].check.as_str(), "portail");
    assert_eq!(second.contact.not_ok[0].seq, 1);
    node.is_confirmed().await;
    node.clock.advance(Duration::from_secs(20));
    let third = next(&mut requests).await;
    assert!(third.lines.is_empty());
    assert_eq!(third.contact.not_ok, second.contact.not_ok);
    assert_exactly_once(&collector, 1);
}

#[tokio::test]
async fn lost_answers_and_refusals_cost_no_line_and_double_none() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let node = Node::start(&dir, &[address]);
    next(&mut requests).await;
    collector.will_say([
        Answer::Lost,
        Answer::Status(500, None),
        Answer::Lost,
        Answer::Status(503, None),
        Answer::Status(403, None),
    ]);
    for number in 0..20 {
        node.says(&format!("c{number}"), Status::Critical).await;
    }
    node.is_confirmed().await;
    assert_exactly_once(&collector, 20);
}

#[tokio::test]
async fn retry_after_is_a_floor() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.will_say([Answer::Status(429, Some(7))]);
    let mut node = Node::start(&dir, &[address]);
    next(&mut requests).await;
    node.last.wait_for(Option::is_some).await.unwrap();
    let said = node.last.borrow_and_update().clone().unwrap();
    assert_eq!(said.result, "it says 429: test.says_no; wait");
    node.clock.advance(Duration::from_millis(6_999));
    // The runner has seen the new time, so the pusher has had its chance as well.
    node.says("a", Status::Critical).await;
    tokio::task::yield_now().await;
    assert!(requests.try_recv().is_err());
    node.clock.advance(Duration::from_millis(1));
    next(&mut requests).await;
    node.is_confirmed().await;
}

#[tokio::test]
async fn another_address_takes_over_when_one_is_gone() {
    let (collector, mut requests, dir) = Collector::new();
    let (first, serving) = collector.serve().await;
    let (second, _serving) = collector.serve().await;
    let mut node = Node::start(&dir, &[first, second]);
    next(&mut requests).await;
    node.says("a", Status::Critical).await;
    node.is_confirmed().await;
    serving.abort();
    node.says("a", Status::Ok).await;
    node.is_confirmed().await;
    assert_exactly_once(&collector, 2);
    let second = format!("https://{second}");
    let is_second = |last: &Option<LastPush>| {
        last.as_ref()
            .is_some_and(|last| last.collector == second && last.result == "ok")
    };
    node.last.wait_for(is_second).await.unwrap();
}

#[tokio::test]
async fn a_node_that_lost_its_state_goes_on_from_the_collectors_head_without_a_fork() {
    let (collector, mut requests, dir) = Collector::new();
    let theirs = Head {
        seq: 40,
        sha256: Digest::of(b"before"),
    };
    collector.stands_at(theirs);
    let (address, _serving) = collector.serve().await;
    let clock = Arc::new(ManualClock::at(now()));
    let lane = start_lane(&dir, &clock);
    lane.write(line("a", Status::Critical)).await.unwrap();
    let node = Node::start_on(&dir, &[address], clock, lane, Scheduler::Moves);
    assert!(next(&mut requests).await.lines.is_empty());
    node.is_confirmed().await;
    let kinds: Vec<String> = collector.lines().iter().map(|l| l.kind.clone()).collect();
    assert_eq!(kinds, ["agent.amnesia", "check.status"]);
    assert_eq!(collector.forks(), 0);
    let with_lines = next(&mut requests).await;
    assert_eq!(with_lines.contact.not_ok[0].seq, 42);
}

#[tokio::test]
async fn a_backlog_of_several_requests_arrives_in_order_also_across_a_restart() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let clock = Arc::new(ManualClock::at(now()));
    let lane = start_lane(&dir, &clock);
    for number in 0..600 {
        lane.write(line(&format!("c{}", number % 7), Status::Critical))
            .await
            .unwrap();
    }
    lane.settle().await.unwrap();
    let node = Node::start_on(&dir, &[address], clock, lane, Scheduler::Moves);
    node.is_confirmed().await;
    assert_exactly_once(&collector, 600);
    let sizes: Vec<usize> = std::iter::from_fn(|| requests.try_recv().ok())
        .map(|seen| seen.lines.len())
        .collect();
    assert_eq!(sizes, [0, 512, 88]);
}

#[tokio::test]
async fn a_refused_line_is_passed_and_told() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let node = Node::start(&dir, &[address]);
    next(&mut requests).await;
    collector.will_say([Answer::RefuseFirst]);
    node.says("a", Status::Critical).await;
    let refused = next(&mut requests).await;
    assert_eq!(refused.lines.len(), 1);
    next(&mut requests).await;
    node.is_confirmed().await;
    let kinds: Vec<String> = collector.lines().iter().map(|l| l.kind.clone()).collect();
    assert_eq!(kinds, ["entries.refused"]);
}

#[tokio::test]
async fn a_shorter_log_is_told_to_the_collector_itself() {
    let (collector, mut requests, dir) = Collector::new();
    collector.has_log_of(100);
    let (address, _serving) = collector.serve().await;
    let node = Node::start(&dir, &[address]);
    next(&mut requests).await;
    collector.has_log_of(10);
    node.says("a", Status::Critical).await;
    next(&mut requests).await;
    let third = next(&mut requests).await;
    assert_eq!(third.lines[0].kind, "collector.rollback");
    assert_eq!(third.lines[0].facts["had_size"], 100);
}

#[tokio::test]
async fn a_stop_hands_in_what_is_left() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut node = Node::start(&dir, &[address]);
    next(&mut requests).await;
    collector.will_say([Answer::Status(503, Some(60))]);
    node.says("a", Status::Critical).await;
    next(&mut requests).await;
    node.stop.send_replace(true);
    (&mut node.stopped).await.unwrap();
    assert_exactly_once(&collector, 1);
}

#[tokio::test]
async fn a_node_whose_scheduler_stands_still_falls_silent() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let clock = Arc::new(ManualClock::at(now()));
    let lane = start_lane(&dir, &clock);
    let mut node = Node::start_on(&dir, &[address], clock, lane, Scheduler::StandsStill);
    next(&mut requests).await;
    node.last.wait_for(Option::is_some).await.unwrap();
    node.clock.advance(Duration::from_secs(46));
    node.says("a", Status::Critical).await;
    let is_silent = |last: &Option<LastPush>| {
        last.as_ref()
            .is_some_and(|last| last.result.contains("stands still"))
    };
    node.last.wait_for(is_silent).await.unwrap();
    assert!(requests.try_recv().is_err());
}
