//! The lane, its spools and real connections against receivers that misbehave.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;
use vigie_core::{
    remote_write::STALE_NAN_BITS,
    time::{Elapsed, Wall},
};
use vigie_platform::{
    clock::ManualClock,
    disk::RealDisk,
    settings_file::{self, SecretFile},
};

use super::{board::Shown, *};
use crate::{
    join::identity::Identity,
    push::fixture::{Collector, Write, WriteAnswer},
    uplink::Targets,
};

/// A node's metrics lane at work.
struct Node {
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    way: Uplink,
    plan: watch::Sender<Plan>,
    board: watch::Receiver<Board>,
    writes: mpsc::Receiver<Write>,
    stop: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
    running: tokio::task::JoinHandle<Result<(), StoreClosed>>,
    _targets: watch::Sender<Targets>,
    _identity: watch::Sender<Arc<Identity>>,
}

const START: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(1_000_000),
};

impl Node {
    /// Starts on the identity and spools of `dir`, `cycles` after the beginning, with a jitter of nothing.
    fn start(dir: &TempDir, collector: &Collector, address: SocketAddr, cycles: u64) -> Self {
        Self::start_with(dir, collector, address, cycles, Plan::default())
    }

    fn start_with(
        dir: &TempDir,
        seen_by: &Collector,
        address: SocketAddr,
        cycles: u64,
        plan: Plan,
    ) -> Self {
        let identity = Arc::new(Identity::load(dir.path()).unwrap());
        let node = identity.node().clone();
        let clock = Arc::new(ManualClock::at(START));
        clock.advance(Duration::from_millis(cycles * CYCLE_MS));
        let metrics = Arc::new(Metrics::new(Some(&node), &[]).unwrap());
        let targets = watch::Sender::new(Targets {
            collectors: vec![format!("https://{address}")],
            proxy: None,
        });
        let identity = watch::Sender::new(identity);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let way = Uplink::new(
            targets.subscribe(),
            identity.subscribe(),
            Arc::clone(&shared),
        );
        let plan = watch::Sender::new(plan);
        let lane = MetricsLane::start(Parts {
            clock: shared,
            disk: Arc::new(RealDisk),
            state_dir: dir.path().to_owned(),
            node,
            metrics: Arc::clone(&metrics),
            way: way.clone(),
            plan: plan.subscribe(),
            random: || 0,
        })
        .unwrap();
        let board = lane.board();
        let stop = watch::Sender::new(false);
        let (sender, stopped) = oneshot::channel();
        let running = tokio::spawn(lane.run(stop.subscribe(), sender));
        Self {
            clock,
            metrics,
            way,
            plan,
            board,
            writes: seen_by.writes(),
            stop,
            stopped,
            running,
            _targets: targets,
            _identity: identity,
        }
    }

    /// Lets the time of one cycle pass, and waits until it has taken place.
    async fn cycle(&mut self) {
        self.is_open().await;
        let before = self.board.borrow().cycles;
        self.clock.advance(Duration::from_millis(CYCLE_MS));
        self.board
            .wait_for(|board| board.cycles > before)
            .await
            .unwrap();
    }

    /// Waits until the spools are open: from then on a cycle is due 15 s ahead at most.
    async fn is_open(&mut self) {
        let is_open = |board: &Board| board.destinations.contains_key(COLLECTOR);
        self.board.wait_for(is_open).await.unwrap();
    }

    /// The next request, as time passes.
    async fn next(&mut self) -> Write {
        loop {
            tokio::select! {
                biased;
                write = self.writes.recv() => return write.unwrap(),
                // Real time only paces how fast the clock is moved; nothing is asserted about it.
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    self.clock.advance(Duration::from_millis(100));
                }
            }
        }
    }

    async fn until(&mut self, is_so: impl Fn(&Shown) -> bool) {
        loop {
            if self
                .board
                .borrow_and_update()
                .destinations
                .get(COLLECTOR)
                .is_some_and(&is_so)
            {
                return;
            }
            tokio::select! {
                biased;
                changed = self.board.changed() => changed.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    self.clock.advance(Duration::from_millis(100));
                }
            }
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.stopped.await.unwrap();
        self.running.await.unwrap().unwrap();
    }
}

fn is_drained(shown: &Shown) -> bool {
    shown.spool.records == 0 && shown.taken > 0
}

/// In the order of their times, each once.
fn assert_each_once(collector: &Collector, count: usize) {
    let mut taken = collector.taken();
    assert_eq!(taken.len(), count, "{taken:?}");
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), count, "one came twice");
}

#[tokio::test]
async fn a_request_is_what_the_specification_wants() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    let write = node.next().await;
    assert_eq!(write.path, "/api/v1/write");
    let header = |name: &str| write.headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(header("content-encoding"), "snappy");
    assert_eq!(header("content-type"), "application/x-protobuf");
    assert_eq!(header("x-prometheus-remote-write-version"), "0.1.0");
    assert!(header("user-agent").starts_with("vigie-agent/"));
    assert!(!write.series.is_empty());
    let mut shapes = std::collections::BTreeSet::new();
    for (labels, value) in &write.series {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        assert!(names.contains(&"__name__"));
        assert!(labels.iter().all(|(_, value)| !value.is_empty()));
        assert!(labels.contains(&("node".to_owned(), "app-01".to_owned())));
        assert!(shapes.insert(labels.clone()), "{labels:?} twice");
        assert_ne!(value.to_bits(), STALE_NAN_BITS, "nothing has ended");
    }
    node.stop().await;
}

#[tokio::test]
async fn metadata_goes_with_the_first_request_every_fourth_and_after_a_failure() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut requests = 0;
    collector.judges_writes(move |_| {
        requests += 1;
        if requests == 6 {
            WriteAnswer::Status(503, None)
        } else {
            WriteAnswer::Taken
        }
    });
    let mut node = Node::start(&dir, &collector, address, 0);
    let mut with_metadata = Vec::new();
    for cycle in 0..8 {
        node.cycle().await;
        let write = node.next().await;
        with_metadata.push(write.metadata > 0);
        if cycle == 5 {
            // It is repeated as it was.
            assert_eq!(node.next().await.at_ms, write.at_ms);
        }
        node.until(is_drained).await;
    }
    let expected = [true, false, false, false, true, false, true, false];
    assert_eq!(with_metadata, expected);
    node.stop().await;
    assert_each_once(&collector, 8);
}

#[tokio::test]
async fn after_an_outage_the_newest_comes_first_then_the_oldest_and_each_once() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(503, Some(60)));
    let mut node = Node::start(&dir, &collector, address, 0);
    for _ in 0..10 {
        node.cycle().await;
    }
    node.until(|shown| shown.spool.records >= 10).await;
    collector.judges_writes(|_| WriteAnswer::Taken);
    node.until(is_drained).await;
    let taken = collector.taken();
    let newest = taken.iter().max().unwrap();
    assert_eq!(&taken[0], newest, "{taken:?}");
    let count = taken.len();
    assert!(count >= 10, "{taken:?}");
    assert!(taken[1..9].is_sorted(), "{taken:?}");
    node.stop().await;
    assert_each_once(&collector, count);
}

#[tokio::test]
async fn a_fresh_record_overtakes_the_backlog() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(503, None));
    let mut node = Node::start(&dir, &collector, address, 0);
    for _ in 0..12 {
        node.cycle().await;
    }
    node.until(|shown| shown.spool.records >= 12).await;
    collector.judges_writes(|_| WriteAnswer::Taken);
    node.until(|shown| shown.taken >= 3).await;
    node.cycle().await;
    let fresh = node.clock.wall().0;
    node.until(is_drained).await;
    let taken = collector.taken();
    let place = taken.iter().position(|at| *at == fresh).unwrap();
    // One of the backlog may have been under way.
    assert!((3..=6).contains(&place), "{place} of {taken:?}");
    node.stop().await;
}

#[tokio::test]
async fn retry_after_is_a_floor() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(429, Some(7)));
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    node.writes.recv().await.unwrap();
    node.board
        .wait_for(|board| board.destinations[COLLECTOR].last.is_some())
        .await
        .unwrap();
    let asked_at = node.clock.elapsed();
    node.next().await;
    assert!(node.clock.elapsed().since_ms(asked_at) >= 7_000);
    node.running.abort();
}

#[tokio::test]
async fn a_refused_record_is_quarantined_and_the_next_one_goes() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut first = true;
    collector.judges_writes(move |_| {
        if std::mem::take(&mut first) {
            WriteAnswer::Status(400, None)
        } else {
            WriteAnswer::Taken
        }
    });
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    node.until(|shown| shown.dropped.get("refused") == Some(&1))
        .await;
    node.cycle().await;
    node.until(is_drained).await;
    let kept = fs::read_dir(dir.path().join("metrics/quarantine")).unwrap();
    let [kept] = kept.collect::<Vec<_>>().try_into().unwrap();
    let body = fs::read(kept.unwrap().path()).unwrap();
    assert!(snap::raw::Decoder::new().decompress_vec(&body).is_ok());
    let text = String::from_utf8(node.metrics.text()).unwrap();
    assert!(
        text.contains("vigie_spool_dropped_total{lane=\"metrics\","),
        "{text}"
    );
    node.stop().await;
    assert_each_once(&collector, 1);
}

#[tokio::test]
async fn a_poison_record_blocks_neither_the_fresh_nor_the_old() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut poison = None;
    collector.judges_writes(move |write| {
        if *poison.get_or_insert(write.at_ms) == write.at_ms {
            WriteAnswer::Status(500, None)
        } else {
            WriteAnswer::Taken
        }
    });
    let mut node = Node::start(&dir, &collector, address, 0);
    for _ in 0..4 {
        node.cycle().await;
    }
    node.until(|shown| shown.taken >= 3 && shown.spool.records == 1)
        .await;
    // In the end it is given up.
    for _ in 0..200 {
        if node.board.borrow().destinations[COLLECTOR]
            .dropped
            .contains_key("refused")
        {
            break;
        }
        node.cycle().await;
    }
    node.until(|shown| shown.dropped.get("refused") == Some(&1))
        .await;
    node.until(is_drained).await;
    node.stop().await;
    let count = collector.taken().len();
    assert_each_once(&collector, count);
}

#[tokio::test]
async fn a_collector_that_does_not_know_the_node_gets_everything_once_it_does() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(403, None));
    let mut node = Node::start(&dir, &collector, address, 0);
    for _ in 0..3 {
        node.cycle().await;
    }
    node.until(|shown| {
        shown
            .last
            .as_ref()
            .is_some_and(|last| last.result.contains("403"))
    })
    .await;
    collector.judges_writes(|_| WriteAnswer::Taken);
    node.until(is_drained).await;
    assert!(
        node.board.borrow().destinations[COLLECTOR]
            .dropped
            .is_empty()
    );
    node.stop().await;
    assert!(collector.taken().len() >= 3);
}

#[tokio::test]
async fn what_was_not_sent_before_a_crash_is_sent_after_it_and_nothing_after_a_stop() {
    let (collector, _requests, dir) = Collector::new();
    let (address, serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(503, None));
    let mut node = Node::start(&dir, &collector, address, 0);
    for _ in 0..5 {
        node.cycle().await;
    }
    node.until(|shown| shown.spool.records >= 5).await;
    node.running.abort();
    let _ = node.running.await;
    serving.abort();

    let (collector, _requests, other_dir) = Collector::new();
    // The identity of the second collector, the spool of the first node.
    fs::rename(dir.path().join("metrics"), other_dir.path().join("metrics")).unwrap();
    let (address, _serving) = collector.serve().await;
    let mut node = Node::start(&other_dir, &collector, address, 6);
    node.until(is_drained).await;
    let count = collector.taken().len();
    assert!(count >= 5, "{count}");
    node.stop().await;
    assert_each_once(&collector, count);
    assert_eq!(
        fs::read_dir(other_dir.path().join("metrics"))
            .unwrap()
            .count(),
        2
    );
}

#[tokio::test]
async fn a_stop_sends_what_is_fresh_once() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(503, Some(600)));
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    node.until(|shown| shown.last.is_some()).await;
    collector.judges_writes(|_| WriteAnswer::Taken);
    node.stop().await;
    assert_each_once(&collector, 1);
}

#[tokio::test]
async fn cycles_that_did_not_take_place_are_counted_and_not_made_up_for() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    node.clock.advance(Duration::from_millis(10 * CYCLE_MS));
    node.board
        .wait_for(|board| board.cycles == 2)
        .await
        .unwrap();
    assert_eq!(node.board.borrow().cycles_missed, 9);
    let text = String::from_utf8(node.metrics.text()).unwrap();
    let counted = "vigie_samples_cycles_missed_total{node=\"app-01\"} 9\n";
    assert!(text.contains(counted), "{text}");
    node.until(|shown| shown.taken == 2).await;
    node.stop().await;
    assert_each_once(&collector, 2);
}

#[tokio::test]
async fn one_connection_serves_both_lanes_and_samples_wait_for_evidence() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    node.until(is_drained).await;
    for _ in 0..3 {
        let turn = node.way.turn();
        let stretch = node.way.stretch().unwrap();
        node.cycle().await;
        let taken = collector.taken().len();
        let answer = stretch
            .client
            .post(format!("{}/api/v1/write", stretch.address))
            .body(one_sample())
            .send()
            .await
            .unwrap();
        answer.bytes().await.unwrap();
        assert_eq!(collector.taken().len(), taken + 1, "the samples waited");
        drop(turn);
        node.until(is_drained).await;
    }
    assert_eq!(collector.connections(), 1);
    node.stop().await;
}

/// The least request that there is.
fn one_sample() -> Vec<u8> {
    use vigie_core::remote_write::{Sample, v1};
    let (mut labels, mut request) = (Vec::new(), Vec::new());
    v1::write_labels([("__name__", "up")], &mut labels);
    let sample = Sample {
        value: 1.0,
        timestamp_ms: 1,
    };
    v1::write_series(&labels, sample, &mut request);
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

#[tokio::test]
async fn evidence_does_not_wait_for_samples_that_hang() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let mut node = Node::start(&dir, &collector, address, 0);
    let mut is_first = true;
    collector.judges_writes(move |_| {
        if std::mem::take(&mut is_first) {
            WriteAnswer::Hang
        } else {
            WriteAnswer::Taken
        }
    });
    node.cycle().await;
    node.writes.recv().await.unwrap();
    let _turn = node.way.turn();
    let stretch = node.way.stretch().unwrap();
    let url = format!("{}/api/v1/write", stretch.address);
    let answer = stretch.client.post(url).body(one_sample()).send().await;
    assert_eq!(answer.unwrap().status(), 204);
    assert_eq!(collector.connections(), 2);
    node.running.abort();
}

/// The settings of one more receiver.
fn other(dir: &TempDir, name: &str, address: SocketAddr) -> Plan {
    let token = dir.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("http://{address}/push/api/v1/write");
    let words = settings_file::from_words("a test", [("url", &*url)]);
    let section = words.root();
    let url = section.url("url", &["http"]).required().unwrap();
    section.finish();
    let receiver = RemoteWrite {
        name: name.into(),
        url,
        ca_file: None,
        credential: Some(Credential::Bearer(SecretFile::at(token))),
    };
    Plan {
        others: vec![receiver],
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn another_receiver_has_its_own_spool_its_own_trouble_and_goes_with_its_settings() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let (receiver, _, _other_dir) = Collector::new();
    let (plain, _serving) = receiver.serve_plain().await;
    let mut is_first = true;
    receiver.judges_writes(move |_| {
        if std::mem::take(&mut is_first) {
            WriteAnswer::Status(401, None)
        } else {
            WriteAnswer::Taken
        }
    });
    let plan = other(&dir, "mimir", plain);
    let mut node = Node::start_with(&dir, &collector, address, 0, plan);
    let both = |board: &Board| board.destinations.len() == 2;
    node.board.wait_for(both).await.unwrap();
    let mut theirs = receiver.writes();
    for _ in 0..3 {
        node.cycle().await;
        let seen = theirs.recv().await.unwrap();
        assert_eq!(seen.path, "/push/api/v1/write");
        assert_eq!(seen.headers["authorization"], "Bearer s3cret");
    }
    node.until(|shown| shown.taken == 3).await;
    let is_done = |board: &Board| {
        let theirs = &board.destinations["mimir"];
        theirs.taken == 2 && theirs.dropped.get("refused") == Some(&1) && theirs.spool.records == 0
    };
    node.board.wait_for(is_done).await.unwrap();
    assert!(dir.path().join("metrics-mimir").is_dir());
    // Its settings go, and its spool with them.
    node.plan.send_replace(Plan::default());
    let is_alone = |board: &Board| board.destinations.len() == 1;
    node.board.wait_for(is_alone).await.unwrap();
    assert!(!dir.path().join("metrics-mimir").exists());
    node.stop().await;
    assert_each_once(&collector, 3);
    assert_each_once(&receiver, 2);
}

#[tokio::test]
async fn the_spool_of_a_receiver_that_left_the_settings_in_between_is_removed_at_the_start() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    fs::create_dir(dir.path().join("metrics-gone")).unwrap();
    let mut node = Node::start(&dir, &collector, address, 0);
    node.cycle().await;
    node.until(is_drained).await;
    assert!(!dir.path().join("metrics-gone").exists());
    node.stop().await;
}

#[tokio::test]
async fn what_is_on_disk_is_sent_once_the_disk_can_be_used_again() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    collector.judges_writes(|_| WriteAnswer::Status(503, None));
    let mut node = Node::start(&dir, &collector, address, 0);
    for _ in 0..3 {
        node.cycle().await;
    }
    node.until(|shown| shown.spool.records >= 3).await;
    let waited = node.board.borrow().destinations[COLLECTOR].spool.records;
    node.stop().await;

    // Something else stands where the spool must be.
    let (collector, _requests, other_dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    fs::write(other_dir.path().join("metrics"), "").unwrap();
    let mut node = Node::start(&other_dir, &collector, address, 10);
    for cycles in 1..=2 {
        node.cycle().await;
        node.until(|shown| shown.taken == cycles).await;
    }
    fs::remove_file(other_dir.path().join("metrics")).unwrap();
    fs::rename(dir.path().join("metrics"), other_dir.path().join("metrics")).unwrap();
    for cycles in 3..=4 {
        node.cycle().await;
        node.until(|shown| shown.taken >= cycles).await;
    }
    for _ in 0..100 {
        if node.board.borrow().destinations[COLLECTOR].taken >= waited + 4 {
            break;
        }
        node.clock.advance(Duration::from_millis(1_000));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        node.board.borrow().destinations[COLLECTOR].taken,
        waited + 4
    );
    node.stop().await;
    assert_each_once(&collector, waited as usize + 4);
}

#[tokio::test]
async fn a_receiver_that_refuses_keeps_its_connection() {
    let (collector, _requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let (receiver, _, _other_dir) = Collector::new();
    let (plain, _serving) = receiver.serve_plain().await;
    receiver.judges_writes(|_| WriteAnswer::Status(400, None));
    let plan = other(&dir, "mimir", plain);
    let mut node = Node::start_with(&dir, &collector, address, 0, plan);
    for refused in 1..=4 {
        node.cycle().await;
        let is_refused = |board: &Board| {
            let theirs = board.destinations.get("mimir");
            theirs.is_some_and(|theirs| theirs.dropped.get("refused") == Some(&refused))
        };
        node.board.wait_for(is_refused).await.unwrap();
    }
    assert_eq!(receiver.connections(), 1);
    node.stop().await;
}
