#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_decide::fleet::State;

use crate::store::{
    LogReader,
    convert::tests::of_version_2,
    sqlite::{FILE_NAME, OpenError},
    tests::{by_hand, commit, delta, opened},
};

#[tokio::test]
async fn a_reader_sees_commits_of_a_running_collector_and_takes_nothing_over() {
    let dir = tempfile::tempdir().unwrap();
    let error = LogReader::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Absent { .. }), "{error}");
    assert!(!dir.path().join(FILE_NAME).exists());
    let store = opened(&dir).await;
    let reader = LogReader::open(dir.path()).await.unwrap();
    assert_eq!(reader.line_count().await.unwrap(), 0);
    let mut state = State::default();
    let change = delta(&state, &[(0, 1, true, 1), (0, 2, true, 1)]);
    let lines = change.log.clone();
    // The store's epoch is still in force.
    commit(&store, &mut state, change).await;
    assert_eq!(reader.line_count().await.unwrap(), 2);
    assert_eq!(reader.lines(0, u32::MAX).await.unwrap(), lines);
    // And what a collector left that was killed.
    let killed = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let file = format!("{FILE_NAME}{suffix}");
        std::fs::copy(dir.path().join(&file), killed.path().join(&file)).unwrap();
    }
    let of_killed = LogReader::open(killed.path()).await.unwrap();
    assert_eq!(of_killed.lines(0, u32::MAX).await.unwrap(), lines);
    // And when it ended in order.
    reader.close().await.unwrap();
    store.close().await.unwrap();
    let reader = LogReader::open(dir.path()).await.unwrap();
    assert_eq!(reader.lines(1, 1).await.unwrap(), lines[1..]);
}

#[tokio::test]
async fn a_reader_refuses_a_newer_schema_and_reads_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    of_version_2(&dir).await;
    let reader = LogReader::open(dir.path()).await.unwrap();
    assert_eq!(reader.line_count().await.unwrap(), 3);
    by_hand(dir.path(), "INSERT INTO migrations (version) VALUES (4711)").await;
    let error = LogReader::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Schema { .. }), "{error}");
}
