//! What does it cost to show a large fleet, and does the engine notice?
//!
//! The engine of this very program decides on alerts of senders, one a turn, with a store that keeps nothing: what is left of
//! a turn is deciding, merging and saying so to the copy that readers have. Then the same while views are built one after
//! the other. These are figures of code in this program, so they say something only where it is built as the collector is.

use std::{
    collections::HashSet,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use vigie_collector::{
    engine::{Engine, Handle, Notifier, Parts},
    mirror::{Change, Mirror},
    store::{CommitError, LineKey, LoadError, ReadError, Store},
};
use vigie_core::{digest::Digest, entry::Head, status::Status, time::Now};
use vigie_decide::{
    alert::Message,
    destination::Destination,
    fleet::{self, Delta, Event, HandInEvent, State, TroubleEvent, state::Node},
    routing::Policy,
    rules::{Group, Rules},
    view::{Basis, fleet::Fleet},
};
use vigie_platform::clock::{Clock as _, SystemClock};

use crate::{
    decisions::{begins, house},
    figures,
};

const NODES: usize = 3_000;

const ALERTS: usize = 10_000;

/// Nodes in a group: a hundred groups, as many as a large house has.
const IN_GROUP: usize = 30;

/// Turns that are timed.
const TURNS: usize = 2_000;

/// Alerts that get quieter and louder in turns.
const TOGGLED: usize = 100;

/// How often a small commit is said to the copy.
const SAID: usize = 2_000;

/// Views that are built with nobody else about.
const VIEWS: usize = 20;

/// A store that keeps nothing, at once.
struct Nowhere;

impl Store for Nowhere {
    async fn load(&self) -> Result<State, LoadError> {
        Ok(State::default())
    }

    async fn commit(&self, _: &Delta) -> Result<(), CommitError> {
        Ok(())
    }

    async fn stored_lines(&self, _: &[LineKey]) -> Result<HashSet<LineKey>, ReadError> {
        Ok(HashSet::new())
    }

    async fn log_lines(&self, _: u64, _: u32) -> Result<Vec<(u64, String)>, ReadError> {
        Ok(Vec::new())
    }

    async fn rules(&self, _: Digest) -> Result<Option<Rules>, ReadError> {
        Ok(None)
    }
}

/// Tells nobody.
struct Silent;

impl Notifier for Silent {
    fn take(&self, _: Vec<Message>) {}
    fn take_unlogged(&self, _: Vec<Message>) {}
    fn refill(&self, _: &Destination, _: Vec<Message>) {}
}

pub async fn measure() {
    println!("views of {NODES} nodes and {ALERTS} alerts");
    if cfg!(debug_assertions) {
        println!("  built without optimisation: these figures mean nothing");
    }
    let policy = large(house());
    let (state, now) = busy(&policy);
    println!(
        "    {} alerts open, {} messages in the outbox, {} held",
        state.alerts.len(),
        state.outbox.len(),
        state.held.len()
    );
    alone(&state, &policy, now);
    follows(&state, &policy, now);
    beside(state, policy).await;
}

/// The house with three thousand nodes more.
fn large(policy: Policy) -> Policy {
    let mut rules = (*policy.rules).clone();
    let pattern = rules.groups.values().next().cloned();
    let pattern = pattern.expect("the house has a group");
    for number in 0..NODES / IN_GROUP {
        let nodes = number * IN_GROUP..(number + 1) * IN_GROUP;
        let group = Group {
            nodes: nodes
                .map(|n| name(n).parse().expect("a good name"))
                .collect(),
            ..pattern.clone()
        };
        let called = format!("groupe-{number:03}");
        rules
            .groups
            .insert(called.parse().expect("a good name"), group);
    }
    Policy {
        rules: Arc::new(rules),
        ..policy
    }
}

fn name(node: usize) -> String {
    format!("node-{node:04}")
}

/// A fleet that has a bad day: half of the alerts are the nodes' own, half are of a sender.
fn busy(policy: &Policy) -> (State, Now) {
    let now = Now {
        wall: SystemClock.wall(),
        elapsed: SystemClock.elapsed(),
    };
    let mut state = State::default();
    for node in 0..NODES {
        let row = Node {
            joined_at: now.wall,
            head: Head::EMPTY,
            keys: Vec::new(),
            signing_key: String::new(),
            settled: Default::default(),
            listed: Default::default(),
            dismissed: Default::default(),
            unheard: false,
            denied: false,
            rejoined: false,
        };
        state
            .nodes
            .insert(name(node).parse().expect("a good name"), row);
    }
    let own = (0..NODES).map(|node| {
        Event::Trouble(TroubleEvent::NodeExpired {
            node: name(node).parse().expect("a good name"),
            not_after: now.wall,
        })
    });
    let posted = (0..ALERTS - NODES).map(|n| begins(n, now.wall));
    let events: Vec<Event> = own.chain(posted).collect();
    for events in events.chunks(200) {
        let mut delta = Delta::default();
        for event in events {
            fleet::step(&state, &mut delta, policy, event.clone(), now);
        }
        state.merge(delta);
    }
    (state, now)
}

/// One view after the other, and what they would be copied for.
fn alone(state: &State, policy: &Policy, now: Now) {
    let heard = Default::default();
    let basis = Basis {
        state,
        policy,
        heard: &heard,
        at: now.wall,
    };
    let views = figures::times(VIEWS);
    let built = (0..views).map(|_| milliseconds(|| drop(black_box(Fleet::of(&basis)))));
    figures::spread("view::Fleet, built", built.collect(), "off the engine");
    let fleet = Fleet::of(&basis);
    let written = milliseconds(|| {
        let json = serde_json::to_string(&fleet).expect("a fleet is JSON");
        println!("    its JSON: {:.1} MB", json.len() as f64 / 1e6);
    });
    println!("  view::Fleet, written as JSON: {written:.1} ms");
    let copied = (0..views).map(|_| milliseconds(|| drop(black_box(state.clone()))));
    figures::spread(
        "a copy of all that is known",
        copied.collect(),
        "what copy-on-write would cost each turn with a reader",
    );
}

/// What it costs the engine to say what it committed, without and with somebody who reads all the time.
#[expect(
    clippy::disallowed_methods,
    reason = "it stands in for the engine's waiting, and nothing else runs here"
)]
fn follows(state: &State, policy: &Policy, now: Now) {
    for (what, alerts, said) in [("one alert", 1, SAID), ("2,000 alerts", 2_000, SAID / 100)] {
        let rows = state.alerts.iter().take(alerts);
        let delta = Delta {
            alerts: rows
                .map(|(key, alert)| (key.clone(), Some(alert.clone())))
                .collect(),
            ..Delta::default()
        };
        let mirror = Mirror::new(state.clone(), policy.clone());
        let say = || {
            let said = (0..figures::times(said)).map(|_| {
                let took = milliseconds(|| {
                    mirror.follow(Change::Committed(Box::new(delta.rows())));
                });
                // As a turn leaves time for others.
                std::thread::sleep(Duration::from_micros(500));
                took
            });
            said.collect()
        };
        let shown = |who: &str| format!("a commit of {what} said to the copy, {who}");
        figures::spread(&shown("nobody reads"), say(), "in the engine's turn");
        let goes_on = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while goes_on.load(Relaxed) {
                    drop(black_box(mirror.read(now.wall, Fleet::of)));
                }
            });
            let with = say();
            goes_on.store(false, Relaxed);
            figures::spread(
                &shown("somebody reads all the time"),
                with,
                "in the engine's turn",
            );
        });
    }
}

fn milliseconds(what: impl FnOnce()) -> f64 {
    let began = Instant::now();
    what();
    began.elapsed().as_secs_f64() * 1e3
}

/// Turns of an engine, without and with somebody who reads all the time.
async fn beside(state: State, policy: Policy) {
    let (_, probes) = watch::channel(None);
    let (engine, handle, _) = Engine::new(Parts {
        store: Nowhere,
        state,
        policy,
        tzdata: String::new(),
        collector: "bench".to_owned(),
        clock: Arc::new(SystemClock),
        notifier: Arc::new(Silent),
        directory: Arc::default(),
        health: Arc::default(),
        probes,
    });
    let (stop, stopped) = watch::channel(false);
    let engine = tokio::spawn(engine.run(stopped));
    turns(&handle).await;
    let without = turns(&handle).await;
    figures::spread(
        "a turn of the engine, nobody reads",
        without,
        "one alert each",
    );
    let (goes_on, built) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let reader = {
        let (handle, goes_on, built) = (handle.clone(), Arc::clone(&goes_on), Arc::clone(&built));
        tokio::spawn(async move {
            while goes_on.load(Relaxed) {
                drop(black_box(handle.view().await));
                built.fetch_add(1, Relaxed);
            }
        })
    };
    let began = Instant::now();
    let with = turns(&handle).await;
    let took = began.elapsed();
    goes_on.store(false, Relaxed);
    figures::spread(
        "a turn of the engine, somebody reads all the time",
        with,
        "one alert each",
    );
    let views = built.load(Relaxed);
    println!(
        "    {views} views meanwhile, in {:.1} s",
        took.as_secs_f64()
    );
    // It ends with what it began.
    let _ = reader.await;
    stop.send_replace(true);
    let _ = engine.await;
}

/// How long each of many turns takes, from asking to being answered.
async fn turns(handle: &Handle) -> Vec<f64> {
    let mut each = Vec::new();
    for n in 0..figures::times(TURNS) {
        // Each time it stands otherwise than before, so that every turn has something to write down.
        let mut event = begins(n % TOGGLED, SystemClock.wall());
        if let Event::HandedIn(HandInEvent::SenderAlert { alert, .. }) = &mut event
            && (n / TOGGLED).is_multiple_of(2)
        {
            alert.status = Status::Warning;
        }
        let began = Instant::now();
        let _ = handle.perform(event).await;
        each.push(began.elapsed().as_secs_f64() * 1e3);
        // Nobody asks without a pause.
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    each
}
