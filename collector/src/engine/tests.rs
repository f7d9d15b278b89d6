#![expect(clippy::unwrap_used, reason = "tests")]

use crate::store::LineKey;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use vigie_core::contact::Contact;
use vigie_core::status::Criticality;
use vigie_core::status::Status;
use vigie_core::time::Wall;
use vigie_decide::alert::Notice;

use vigie_core::{
    contact::NotOk,
    entry::{Draft, Head, Kind, Line},
    observation::Facts,
    reason::availability,
    status::{Environment, Needs},
};
use vigie_decide::{
    fleet::NodeKeys,
    rules::{Group, Receiver, Route, Rules, Service},
};
use vigie_platform::clock::ManualClock;

use super::*;
use crate::store::{CommitError, LoadError, ReadError};

/// A store in memory whose disk can break.
#[derive(Default)]
struct Memory {
    disk: Mutex<(State, HashSet<LineKey>)>,
    broken: AtomicBool,
    commits: AtomicU64,
}

impl Store for Arc<Memory> {
    async fn load(&self) -> Result<State, LoadError> {
        Ok(self.disk.lock().unwrap().0.clone())
    }

    async fn commit(&self, delta: &Delta) -> Result<(), CommitError> {
        if self.broken.load(Relaxed) {
            return Err(CommitError::Full {
                path: "memory".into(),
                source: crate::store::DatabaseError::new(std::fmt::Error),
            });
        }
        self.commits.fetch_add(1, Relaxed);
        let mut disk = self.disk.lock().unwrap();
        for line in &delta.lines {
            disk.1
                .insert(LineKey::of(&line.node, Some(line.seq), line.sha256));
            disk.1.insert(LineKey::of(&line.node, None, line.sha256));
        }
        disk.0.merge(delta.clone());
        Ok(())
    }

    async fn stored_lines(&self, lines: &[LineKey]) -> Result<HashSet<LineKey>, ReadError> {
        let disk = self.disk.lock().unwrap();
        Ok(lines
            .iter()
            .filter(|line| disk.1.contains(line))
            .cloned()
            .collect())
    }

    async fn log_lines(&self, _: u64, _: u32) -> Result<Vec<(u64, String)>, ReadError> {
        Ok(Vec::new())
    }

    async fn rules(&self, _: Digest) -> Result<Option<Rules>, ReadError> {
        Ok(None)
    }
}

#[derive(Default)]
struct Recorder {
    logged: Mutex<Vec<Message>>,
    unlogged: Mutex<Vec<Message>>,
}

impl Notifier for Arc<Recorder> {
    fn take(&self, messages: Vec<Message>) {
        self.logged.lock().unwrap().extend(messages);
    }

    fn take_unlogged(&self, messages: Vec<Message>) {
        self.unlogged.lock().unwrap().extend(messages);
    }

    fn refill(&self, _: &Destination, _: Vec<Message>) {}
}

/// An engine that does nothing of itself.
fn engine(
    memory: &Arc<Memory>,
    recorder: &Arc<Recorder>,
    clock: &Arc<ManualClock>,
) -> (Engine<Arc<Memory>>, Handle) {
    let (_, probes) = watch::channel(None);
    let (engine, handle, _) = Engine::new(Parts {
        store: Arc::clone(memory),
        state: State::default(),
        policy: Policy {
            rules: Arc::new(rules()),
            ..Policy::default()
        },
        tzdata: String::new(),
        collector: "c".to_owned(),
        clock: Arc::clone(clock) as _,
        notifier: Arc::new(Arc::clone(recorder)),
        directory: Arc::default(),
        health: Arc::default(),
        probes,
    });
    (engine, handle)
}

struct Bench {
    memory: Arc<Memory>,
    recorder: Arc<Recorder>,
    clock: Arc<ManualClock>,
    handle: Handle,
    stop: watch::Sender<bool>,
    node: NodeName,
    head: Head,
    not_ok: Vec<NotOk>,
}

fn rules() -> Rules {
    let service = Service {
        criticality: Criticality::Critical,
        needs: Needs::HIGHEST,
        runbook: None,
        depends_on: Default::default(),
    };
    let group = Group {
        nodes: ["app-01".parse().unwrap()].into(),
        services: ["dossier".parse().unwrap()].into(),
        site: "sxb".parse().unwrap(),
        environment: Environment::Production,
    };
    Rules {
        silent_after_ms: 120_000,
        services: [("dossier".parse().unwrap(), service)].into(),
        groups: [("app".parse().unwrap(), group)].into(),
        receivers: [("night".parse().unwrap(), Receiver::default())].into(),
        routes: vec![Route {
            notify: vec!["night".parse().unwrap()],
            ..Route::default()
        }],
        ..Rules::default()
    }
}

impl Bench {
    async fn start() -> Self {
        let memory = Arc::new(Memory::default());
        let recorder = Arc::new(Recorder::default());
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(1_795_374_000_000),
            elapsed: Elapsed(1_000_000),
        }));
        let (engine, handle) = engine(&memory, &recorder, &clock);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(engine.run(stopped));
        let node: NodeName = "app-01".parse().unwrap();
        let bench = Self {
            memory,
            recorder,
            clock,
            handle,
            stop,
            node: node.clone(),
            head: Head::EMPTY,
            not_ok: Vec::new(),
        };
        bench
            .handle
            .perform(Event::Membership(MembershipEvent::TokenIssued {
                id: "t".to_owned(),
                secret_sha256: Digest::ZERO,
                holder: vigie_core::token::Holder::Node(node.clone()),
                replace: false,
                valid_ms: 1_000,
                uid: 0,
            }))
            .await
            .unwrap();
        let join = Event::Membership(MembershipEvent::Join {
            token: "t".to_owned(),
            secret_sha256: Digest::ZERO,
            node,
            keys: NodeKeys {
                tls_key_sha256: Digest::ZERO,
                signing_key: String::new(),
                not_after: Wall(i64::MAX),
            },
        });
        bench.handle.perform(join).await.unwrap();
        bench
    }

    fn line(&mut self, check: &str, status: Status) -> Line {
        let draft = Draft {
            kind: Kind::CheckStatus,
            check: Some(check.parse().unwrap()),
            object: None,
            service: Some("dossier".parse().unwrap()),
            status: Some(status),
            reason: availability::NET_REFUSED,
            facts: Facts::new(),
        };
        let line = draft.chain(self.head, &self.node, "b", self.clock.wall());
        self.head = line.head();
        self.not_ok.retain(|item| item.check.as_str() != check);
        if status != Status::Ok {
            self.not_ok.push(NotOk {
                check: check.parse().unwrap(),
                object: None,
                status,
                seq: line.seq,
            });
        }
        line
    }

    async fn hand_in(&self, lines: &[Line]) -> Result<EntriesAnswer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let lines = lines
            .iter()
            .map(|line| ReceivedLine::read(&line.bytes))
            .collect();
        let queued = self.handle.hand_in(HandIn {
            node: self.node.clone(),
            key_sha256: Digest::ZERO,
            expired: None,
            contact: Contact {
                at: self.clock.wall(),
                head: self.head,
                plan: None,
                not_ok: self.not_ok.clone(),
            },
            lines,
            received: self.clock.now(),
            reply,
        });
        assert!(queued);
        answer.await.unwrap()
    }

    fn logged(&self) -> usize {
        self.recorder.logged.lock().unwrap().len()
    }

    fn unlogged(&self) -> Vec<String> {
        let told = self.recorder.unlogged.lock().unwrap();
        told.iter()
            .filter_map(Message::telling)
            .map(|telling| format!("{} {}", telling.alert.check(), telling.reason))
            .collect()
    }
}

#[tokio::test]
async fn an_answer_comes_only_once_the_line_is_on_disk_and_a_replay_counts_once() {
    let mut bench = Bench::start().await;
    let down = bench.line("portail", Status::Critical);
    let answer = bench.hand_in(std::slice::from_ref(&down)).await.unwrap();
    assert_eq!(answer.durable, down.head());
    assert_eq!(
        bench.memory.disk.lock().unwrap().0.nodes[&bench.node].head,
        down.head()
    );
    assert_eq!(
        answer.log,
        bench
            .memory
            .disk
            .lock()
            .unwrap()
            .0
            .meta
            .frontier
            .checkpoint()
    );
    assert_eq!(bench.logged(), 1);
    let commits = bench.memory.commits.load(Relaxed);
    let again = bench.hand_in(&[down]).await.unwrap();
    assert_eq!(again, answer);
    assert_eq!(
        bench.memory.commits.load(Relaxed),
        commits,
        "a replay and an unchanged contact write nothing"
    );
    assert_eq!(bench.logged(), 1);
}

#[tokio::test]
async fn when_the_log_cannot_be_written_pages_go_out_once_and_nothing_is_answered() {
    let mut bench = Bench::start().await;
    bench.memory.broken.store(true, Relaxed);
    let down = bench.line("portail", Status::Critical);
    assert_eq!(
        bench.hand_in(std::slice::from_ref(&down)).await,
        Err(Refusal::Unavailable)
    );
    assert_eq!(
        bench.unlogged(),
        ["@commit commit.failed", "portail net.refused"]
    );
    // The node tries again, as it must.
    for _ in 0..3 {
        assert_eq!(
            bench.hand_in(std::slice::from_ref(&down)).await,
            Err(Refusal::Unavailable)
        );
    }
    assert_eq!(bench.unlogged().len(), 2, "nobody is told twice");
    let quiet = bench.line("autre", Status::Warning);
    assert_eq!(
        bench.hand_in(&[down.clone(), quiet.clone()]).await,
        Err(Refusal::Unavailable)
    );
    assert_eq!(bench.unlogged().len(), 2, "a warning can wait for the log");
    bench.memory.broken.store(false, Relaxed);
    let answer = bench.hand_in(&[down, quiet.clone()]).await.unwrap();
    assert_eq!(answer.durable, quiet.head());
    // The courier holds the page and the alarm already, unlogged; now it takes them as logged, under the same keys.
    let logged = bench.recorder.logged.lock().unwrap().clone();
    let checks: Vec<_> = logged
        .iter()
        .filter_map(Message::telling)
        .map(|telling| (telling.notice, telling.alert.check()))
        .collect();
    assert_eq!(
        checks,
        [
            (Notice::Open, "portail"),
            (Notice::Open, "@commit"),
            (Notice::Close, "@commit"),
            (Notice::Open, "autre"),
        ]
    );
    let unlogged = bench.recorder.unlogged.lock().unwrap().clone();
    assert!(
        unlogged
            .iter()
            .all(|page| logged.iter().any(|message| message.key == page.key))
    );
}

#[tokio::test]
async fn a_page_that_was_accepted_during_the_outage_is_struck_off_and_gets_its_end() {
    let mut bench = Bench::start().await;
    bench.memory.broken.store(true, Relaxed);
    let down = bench.line("portail", Status::Critical);
    assert_eq!(
        bench.hand_in(std::slice::from_ref(&down)).await,
        Err(Refusal::Unavailable)
    );
    let keys: Vec<Digest> = bench
        .recorder
        .unlogged
        .lock()
        .unwrap()
        .iter()
        .map(|page| page.key)
        .collect();
    for key in keys {
        bench.handle.accepted(key).await;
    }
    // It recovers before the log does.
    let up = bench.line("portail", Status::Ok);
    assert_eq!(
        bench.hand_in(&[down.clone(), up.clone()]).await,
        Err(Refusal::Unavailable)
    );
    bench.memory.broken.store(false, Relaxed);
    bench.hand_in(&[down, up]).await.unwrap();
    bench.hand_in(&[]).await.unwrap();
    let logged = bench.recorder.logged.lock().unwrap().clone();
    let told: Vec<_> = logged
        .iter()
        .filter_map(Message::telling)
        .map(|telling| (telling.notice, telling.alert.check()))
        .collect();
    assert_eq!(
        told,
        [(Notice::Close, "@commit"), (Notice::Close, "portail")]
    );
    let disk = bench.memory.disk.lock().unwrap();
    assert!(disk.0.outbox.values().all(|message| {
        message
            .telling()
            .is_some_and(|telling| telling.notice == Notice::Close)
    }));
    assert!(disk.0.alerts.is_empty());
}

#[tokio::test]
async fn an_end_is_never_told_before_it_is_in_the_log() {
    let mut bench = Bench::start().await;
    let down = bench.line("portail", Status::Critical);
    bench.hand_in(&[down]).await.unwrap();
    bench.memory.broken.store(true, Relaxed);
    let up = bench.line("portail", Status::Ok);
    assert_eq!(
        bench.hand_in(std::slice::from_ref(&up)).await,
        Err(Refusal::Unavailable)
    );
    assert_eq!(bench.unlogged(), ["@commit commit.failed"]);
    bench.memory.broken.store(false, Relaxed);
    bench.hand_in(&[up]).await.unwrap();
    assert!(bench.memory.disk.lock().unwrap().0.alerts.is_empty());
}

#[tokio::test]
async fn silence_that_could_not_be_written_is_written_later() {
    let mut bench = Bench::start().await;
    bench.hand_in(&[]).await.unwrap();
    bench.memory.broken.store(true, Relaxed);
    bench.clock.advance(Duration::from_secs(121));
    assert_eq!(
        fixture::one_turn(&bench.handle).await,
        Err(Refusal::Unavailable)
    );
    while bench.unlogged().len() < 2 {
        bench.clock.advance(Duration::from_millis(1_000));
        assert_eq!(
            fixture::one_turn(&bench.handle).await,
            Err(Refusal::Unavailable)
        );
    }
    assert_eq!(
        bench.unlogged(),
        ["@commit commit.failed", "@node node.silent"]
    );
    bench.memory.broken.store(false, Relaxed);
    let up = bench.line("portail", Status::Ok);
    bench.hand_in(&[up]).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    bench.hand_in(&[]).await.unwrap();
    // Opened by the event that was kept, ended because the node is heard again.
    let disk = bench.memory.disk.lock().unwrap();
    // Besides the alarm about the log itself.
    assert_eq!(disk.0.meta.last_alert, 2);
    assert!(disk.0.alerts.is_empty());
    drop(disk);
    bench.stop.send_replace(true);
}

/// One turn with these commands and these hand-ins.
async fn turn(
    engine: &mut Engine<Arc<Memory>>,
    mut commands: Vec<Command>,
    mut hand_ins: Vec<HandIn>,
) {
    engine.turn(&mut commands, &mut hand_ins).await;
}

#[tokio::test]
async fn what_every_request_notices_again_is_not_kept_while_the_log_cannot_be_written() {
    let (memory, recorder) = (Arc::new(Memory::default()), Arc::new(Recorder::default()));
    let clock = Arc::new(ManualClock::at(Now {
        wall: Wall(1_795_374_000_000),
        elapsed: Elapsed(1_000_000),
    }));
    let (mut engine, _handle) = engine(&memory, &recorder, &clock);
    memory.broken.store(true, Relaxed);
    let noticed = || {
        Command::Note(Event::Membership(MembershipEvent::SenderKeyUsed {
            sender: "prom".parse().unwrap(),
            tls_key_sha256: Digest::ZERO,
        }))
    };
    for _ in 0..10 {
        let requests = (0..10).map(|_| noticed()).collect();
        turn(&mut engine, requests, Vec::new()).await;
    }
    let kept: Vec<&Event> = engine.carried.iter().collect();
    assert!(
        matches!(
            kept.as_slice(),
            [
                Event::Clock(ClockEvent::Started { .. }),
                Event::Clock(ClockEvent::RulesLoaded { .. })
            ]
        ),
        "{} events are kept",
        kept.len()
    );
}

#[tokio::test]
async fn a_request_decided_after_its_node_was_replaced_or_denied_is_refused() {
    let (memory, recorder) = (Arc::new(Memory::default()), Arc::new(Recorder::default()));
    let clock = Arc::new(ManualClock::at(Now {
        wall: Wall(1_795_374_000_000),
        elapsed: Elapsed(1_000_000),
    }));
    let (mut engine, _handle) = engine(&memory, &recorder, &clock);
    let node: NodeName = "app-01".parse().unwrap();
    let key = |name: &str| Digest::of(name.as_bytes());
    let token = |id: &str| {
        Command::Note(Event::Membership(MembershipEvent::TokenIssued {
            id: id.to_owned(),
            secret_sha256: Digest::ZERO,
            holder: vigie_core::token::Holder::Node(node.clone()),
            replace: true,
            valid_ms: 60_000,
            uid: 0,
        }))
    };
    let join = |token: &str, name: &str| {
        Command::Note(Event::Membership(MembershipEvent::Join {
            token: token.to_owned(),
            secret_sha256: Digest::ZERO,
            node: node.clone(),
            keys: NodeKeys {
                tls_key_sha256: key(name),
                signing_key: String::new(),
                not_after: Wall(i64::MAX),
            },
        }))
    };
    let hand_in = |name: &str| {
        let (reply, answer) = oneshot::channel();
        let hand_in = HandIn {
            node: node.clone(),
            key_sha256: key(name),
            expired: None,
            contact: Contact {
                at: clock.wall(),
                head: Head::EMPTY,
                plan: None,
                not_ok: Vec::new(),
            },
            lines: Vec::new(),
            received: clock.now(),
            reply,
        };
        (hand_in, answer)
    };
    // The old machine has a new key that it has not used; the first hand-in with it comes as another takes its name.
    let renewed = Command::Note(Event::Membership(MembershipEvent::Renewed {
        node: node.clone(),
        tls_key_sha256: key("old, renewed"),
        asked_with: Some(key("old")),
        not_after: Wall(i64::MAX),
    }));
    turn(&mut engine, vec![token("a"), token("b")], Vec::new()).await;
    turn(&mut engine, vec![join("a", "old"), renewed], Vec::new()).await;
    assert_eq!(engine.state.nodes[&node].keys.len(), 2);
    let (late, answer) = hand_in("old, renewed");
    turn(&mut engine, vec![join("b", "new")], vec![late]).await;
    assert_eq!(answer.await.unwrap(), Err(Refusal::UnknownNode));
    let keys = &engine.state.nodes[&node].keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].tls_key_sha256, key("new"));

    let denied = Command::Note(Event::Membership(MembershipEvent::NodeDenied {
        node: node.clone(),
        denied: true,
        uid: 0,
    }));
    let (late, answer) = hand_in("new");
    turn(&mut engine, vec![denied], vec![late]).await;
    assert_eq!(answer.await.unwrap(), Err(Refusal::UnknownNode));
}
