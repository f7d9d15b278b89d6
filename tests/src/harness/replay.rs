//! A collector's log, read when the collector is gone, and decided once more.

use std::path::Path;

use serde_json::Value;
use vigie_collector::{
    app::tzdata,
    replay::Replay,
    store::{LOG_LINES_MAX, LogReader, SqliteStore, Store as _},
};
use vigie_core::entry::Entry;

/// Feeds the events of the log in `data_dir` to a new collector's mind, under the rules kept beside it, and expects the
/// same decisions, line for line and byte for byte, and the state that is kept beside them. Returns how many lines there
/// are. The collector must not run.
///
/// # Panics
/// When a line differs or the log cannot be read.
pub async fn replays(data_dir: &Path) -> usize {
    let log = open(data_dir).await;
    let replay = Replay::begin(&log, tzdata()).await;
    let mut replay = replay.expect("the log can be read");
    while replay
        .next()
        .await
        .expect("the log holds lines of a collector")
        .is_some()
    {}
    let verdict = replay.verdict();
    assert_eq!(
        verdict.difference, None,
        "each line is decided the same the second time"
    );
    let store = SqliteStore::open(data_dir).await;
    let stored = store.expect("the store opens").load().await;
    let stored = stored.expect("the store loads");
    let state = replay.state();
    assert_eq!(
        stored.meta.frontier, state.meta.frontier,
        "the kept root is that of the lines"
    );
    assert_eq!(
        stored.alerts, state.alerts,
        "the kept alerts follow from the log"
    );
    assert_eq!(stored.outbox, state.outbox, "so do the messages that wait");
    assert_eq!(stored.held, state.held, "what is held");
    assert_eq!(stored.digests, state.digests, "when digests are due");
    assert_eq!(stored.mutes, state.mutes, "and what is kept quiet");
    usize::try_from(verdict.lines).expect("a test's log is short")
}

/// The events and decisions in the log of `data_dir`, in order. The collector must not run.
///
/// # Panics
/// When the log cannot be read.
pub async fn events_of(data_dir: &Path) -> Vec<Value> {
    let log = open(data_dir).await;
    read(&log)
        .await
        .iter()
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

async fn open(data_dir: &Path) -> LogReader {
    LogReader::open(data_dir).await.expect("the log opens")
}

async fn read(log: &LogReader) -> Vec<String> {
    let mut read = Vec::new();
    loop {
        let lines = log
            .lines(read.len() as u64, LOG_LINES_MAX)
            .await
            .expect("the log can be read");
        if lines.is_empty() {
            return read;
        }
        for (n, line) in lines {
            assert_eq!(n, read.len() as u64, "the log has no holes");
            read.push(line);
        }
    }
}
