//! A collector's log, read when the collector is gone, and decided once more.

use std::{path::Path, sync::Arc};

use serde_json::Value;
use vigie_collector::store::{LOG_LINES_MAX, SqliteStore, Store as _};
use vigie_core::{
    digest::Digest,
    entry::Entry,
    fleet::{Delta, Event, State, step},
    log::Frontier,
    rules::Rules,
    time::{Elapsed, Now, Wall},
};

/// Feeds the events of the log in `data_dir` to a new collector's mind, under the rules kept beside it, and expects the
/// same decisions, line for line and byte for byte. Returns how many lines there are. The collector must not run.
///
/// # Panics
/// When a line differs or the log cannot be read.
pub async fn replays(data_dir: &Path) -> usize {
    let store = open(data_dir).await;
    let log = read(&store).await;
    let mut state = State::default();
    let mut again = Vec::new();
    let values = log
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("the log holds JSON"));
    let events: Vec<(Value, Event)> = values
        .filter(|value| value["event"]["kind"] != "decision")
        .map(|value| {
            let event =
                serde_json::from_value(value["event"].clone()).expect("the log holds known events");
            (value, event)
        })
        .collect();
    // `rules.loaded` names the rules that count from its own line on; only a start precedes the first.
    let first = events
        .iter()
        .find_map(|(_, event)| loaded(event))
        .expect("a collector starts with rules");
    let mut rules = rules_named(&store, first).await;
    for (value, event) in events {
        if let Some(sha256) = loaded(&event) {
            rules = rules_named(&store, sha256).await;
        }
        let now = Now {
            wall: Wall::parse(value["at"].as_str().unwrap_or_default())
                .expect("each line has its instant"),
            elapsed: Elapsed(
                value["elapsed_ms"]
                    .as_u64()
                    .expect("each line has its elapsed time"),
            ),
        };
        let mut delta = Delta::default();
        step(&state, &mut delta, &rules, event, now);
        again.extend(delta.log.iter().map(|(_, line)| line.clone()));
        state.merge(delta);
    }
    for (n, (written, decided)) in log.iter().zip(&again).enumerate() {
        assert_eq!(
            written, decided,
            "line {n} is decided otherwise the second time"
        );
    }
    assert_eq!(log.len(), again.len(), "as many lines as were written");
    let stored = store.load().await.expect("the store loads");
    let mut frontier = Frontier::default();
    for line in &log {
        frontier.push(line.as_bytes());
    }
    assert_eq!(
        stored.meta.frontier, frontier,
        "the kept root is that of the lines"
    );
    assert_eq!(
        stored.alerts, state.alerts,
        "the kept alerts follow from the log"
    );
    log.len()
}

/// The events and decisions in the log of `data_dir`, in order. The collector must not run.
///
/// # Panics
/// When the log cannot be read.
pub async fn events_of(data_dir: &Path) -> Vec<Value> {
    let store = open(data_dir).await;
    let log = read(&store).await;
    log.iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("the log holds JSON")["event"].take()
        })
        .collect()
}

/// The lines of `node` as the log in `data_dir` holds them, in the log's order. The collector must not run.
///
/// # Panics
/// When the log cannot be read.
pub async fn entries_of(data_dir: &Path, node: &str) -> Vec<Entry> {
    let events = events_of(data_dir).await;
    events
        .iter()
        .filter(|event| event["kind"] == "entry" && event["node"] == node)
        .map(|event| {
            Entry::read(event["line"].to_string().as_bytes()).expect("only lines are entries")
        })
        .collect()
}

async fn open(data_dir: &Path) -> SqliteStore {
    SqliteStore::open(data_dir).await.expect("the store opens")
}

async fn read(store: &SqliteStore) -> Vec<String> {
    let mut log = Vec::new();
    loop {
        let lines = store
            .log_lines(log.len() as u64, LOG_LINES_MAX)
            .await
            .expect("the log can be read");
        if lines.is_empty() {
            return log;
        }
        for (n, line) in lines {
            assert_eq!(n, log.len() as u64, "the log has no holes");
            log.push(line);
        }
    }
}

/// The rules that an event puts in force.
fn loaded(event: &Event) -> Option<Digest> {
    match event {
        Event::RulesLoaded { sha256, .. } => Some(*sha256),
        _ => None,
    }
}

async fn rules_named(store: &SqliteStore, sha256: Digest) -> Arc<Rules> {
    let rules = store.rules(sha256).await.expect("rules can be read");
    Arc::new(rules.expect("the rules of a log are kept beside it"))
}
