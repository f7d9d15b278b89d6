//! What a store promises, tried on SQLite.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use serde_json::{Map, json};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use vigie_core::{
    digest::Digest,
    entry::Head,
    id::{NodeName, ReceiverName},
    log,
    plan::PlannedCheck,
    status::{Criticality, Environment, Family, Need, Status},
    time::{Deadline, Now, Wall},
    token::Holder,
};
use vigie_decide::{
    alert::{Alert, AlertKey, Body, Message, Notice, Notification, Notified, Reached, message_key},
    destination::Destination,
    fleet::{
        Delta, NodeKeys, State,
        state::{Key, Node, NodePlan, Sender, StoredLine, Token},
    },
    held::{Deferred, DeferredKey, DigestDue},
    mute::{Mute, Muted, Nodes},
    rules::{Receiver, Route, Rules},
};

use super::{
    CommitError, LineKey, LoadError, SqliteStore, Store,
    migrations::STEPS,
    sqlite::{FILE_NAME, OpenError, RESERVE_NAME},
};

pub(super) fn name(index: u8) -> NodeName {
    format!("app-{index:02}").parse().unwrap()
}

fn alert_key(index: u8) -> AlertKey {
    // Whatever a node may call an object must come back as it was.
    let object = format!("é\u{0}\"\\{{}}[]',\n{index}");
    AlertKey::from_parts(name(index).as_str(), "portail", &object).unwrap()
}

fn node(value: u64) -> Node {
    let keys = NodeKeys {
        tls_key_sha256: Digest::of(b"key"),
        signing_key: "00ff".to_owned(),
        not_after: Wall(1_795_374_271_207),
    };
    Node {
        head: Head {
            seq: value,
            sha256: Digest::of(&value.to_be_bytes()),
        },
        denied: value.is_multiple_of(2),
        ..Node::joined(keys, Now::default())
    }
}

fn alert(value: u64) -> Alert {
    let alert = json!({
        "number": value, "family": "tls", "claimed": ["dossier-patient"], "status": "critical",
        "reason": "http.status", "facts": facts(value), "since": Wall(5), "opening": value,
        "told": {"night": told(value)}, "tellings": 1, "until_confirmed": false, "folded_into": 7,
    });
    serde_json::from_value(alert).unwrap()
}

pub(super) fn night() -> ReceiverName {
    "night".parse().unwrap()
}

fn told(value: u64) -> Notified {
    let reached = Reached {
        first: value,
        last: value,
        thread: Digest::of(b"first"),
        newest: Digest::of(b"last"),
    };
    Notified {
        status: Status::Unknown,
        to: [("am/sms".parse().unwrap(), reached)].into(),
        progress: Default::default(),
    }
}

fn facts(value: u64) -> Map<String, serde_json::Value> {
    let facts = json!({"got": value, "text": "l'été \u{202e}\u{7f}\"", "list": [1, [], {}]});
    facts.as_object().unwrap().clone()
}

fn message(index: u8, order: u64) -> Message {
    let alert = alert_key(index);
    let to = Destination::from(night());
    let telling = Notification {
        notice: Notice::Open,
        number: 12,
        opening: 7,
        alert: alert.clone(),
        services: Default::default(),
        criticality: Criticality::Critical,
        environment: Environment::Production,
        family: Family::Host,
        need: (Need::Availability, 3),
        status: Status::Critical,
        reason: "http.status".to_owned(),
        facts: facts(order),
        since: Wall(5),
        ended: None,
        runbook: None,
        step: 1,
        others_told: Default::default(),
        acknowledged_by: None,
        explains: 0,
        thread: None,
    };
    Message {
        key: message_key(&alert, 7, &to, 0, u64::from(index), Notice::Open),
        order,
        to,
        receiver: night(),
        at: Wall(6),
        body: Body::Alert(Box::new(telling)),
    }
}

fn held_key(index: u8) -> DeferredKey {
    DeferredKey {
        receiver: night(),
        alert: alert_key(index),
    }
}

fn held(value: u64) -> Deferred {
    Deferred {
        number: value,
        held_since: Wall(4),
        since: Wall(5),
        times: 2,
        worst: Status::Critical,
        status: Status::Warning,
        family: Family::Backup,
        services: Default::default(),
        criticality: Criticality::Important,
        environment: Environment::Production,
        reason: "http.status".to_owned(),
        facts: facts(value),
        ended: None,
        paged: [(night(), Wall(9))].into(),
        acknowledged: false,
    }
}

fn mute(value: u64) -> Mute {
    Mute {
        what: Muted::Maintenance(Nodes {
            nodes: [name(1)].into(),
            groups: Default::default(),
        }),
        reason: "l'été \"\u{202e}".to_owned(),
        uid: 0,
        from: Wall(5),
        until: Deadline {
            wall_ms: -5,
            elapsed_ms: value,
        },
    }
}

fn plan(value: u64) -> NodePlan {
    let check = PlannedCheck {
        kind: "http".to_owned(),
        family: Family::Availability,
        service: None,
        every_ms: value,
        timeout_ms: 5,
        failures: 2,
        recoveries: 2,
        settings_sha256: Digest::ZERO,
    };
    let plan = [("portail".parse().unwrap(), check)];
    NodePlan {
        complete: Some((Digest::ZERO, Arc::new(plan.clone().into()))),
        agreed: None,
        coming: Arc::new(plan.into()),
    }
}

fn token(value: u64) -> Token {
    Token {
        secret_sha256: Digest::ZERO,
        holder: if value.is_multiple_of(2) {
            Holder::Node(name(1))
        } else {
            Holder::Sender("app-01".parse().unwrap())
        },
        replace: true,
        expires: Deadline {
            wall_ms: -5,
            elapsed_ms: value,
        },
        used_by: None,
    }
}

fn sender(value: u64) -> Sender {
    Sender {
        joined_at: Wall(7),
        keys: vec![Key {
            tls_key_sha256: Digest::of(&value.to_be_bytes()),
            not_after: Wall(1_795_374_271_207),
        }],
        denied: value.is_multiple_of(2),
    }
}

/// Writes lines as `step` does, so that log and state fit together.
fn add_lines(state: &State, delta: &mut Delta, count: u64) {
    let mut meta = delta.meta.clone().unwrap_or_else(|| state.meta.clone());
    for _ in 0..count {
        let n = meta.frontier.size();
        let line = log::write_line(
            n,
            Now::default(),
            &json!({"kind": "test", "text": "\"é\\\n"}),
        );
        meta.frontier.push(line.as_bytes());
        delta.log.push((n, line));
        delta.lines.push(StoredLine {
            node: name((n % 3) as u8),
            seq: n + 1,
            sha256: Digest::of(&n.to_be_bytes()),
            n,
        });
    }
    delta.meta = Some(meta);
}

/// What one random change does: which table, which row, set or removed.
type Change = (u8, u8, bool, u64);

pub(super) fn delta(state: &State, changes: &[Change]) -> Delta {
    let mut delta = Delta::default();
    for &(table, index, is_set, value) in changes {
        match table {
            0 => drop(delta.nodes.insert(name(index), is_set.then(|| node(value)))),
            1 => drop(delta.plans.insert(name(index), is_set.then(|| plan(value)))),
            2 => drop(
                delta
                    .alerts
                    .insert(alert_key(index), is_set.then(|| alert(value))),
            ),
            3 => {
                let message = message(index, value);
                let key = message.key;
                delta.outbox.insert(key, is_set.then_some(message));
            }
            4 => drop(delta.senders.insert(
                name(index).as_str().parse().unwrap(),
                is_set.then(|| sender(value)),
            )),
            5 => drop(
                delta
                    .held
                    .insert(held_key(index), is_set.then(|| held(value))),
            ),
            6 => {
                let due = DigestDue {
                    due: Some(Wall(i64::from(index))),
                    ..DigestDue::default()
                };
                let receiver = name(index).as_str().parse().unwrap();
                delta.digests.insert(receiver, is_set.then_some(due));
            }
            7 => drop(
                delta
                    .mutes
                    .insert(u64::from(index), is_set.then(|| mute(value))),
            ),
            _ => drop(
                delta
                    .tokens
                    .insert(format!("t{index}"), is_set.then(|| token(value))),
            ),
        }
    }
    add_lines(state, &mut delta, u64::try_from(changes.len()).unwrap());
    delta
}

pub(super) async fn opened(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(dir.path()).await.unwrap()
}

/// Commits and merges, as the engine does.
pub(super) async fn commit(store: &SqliteStore, state: &mut State, delta: Delta) {
    store.commit(&delta).await.unwrap();
    state.merge(delta);
}

pub(super) async fn by_hand(dir: &Path, sql: &'static str) {
    let mut connection = SqliteConnectOptions::new()
        .filename(dir.join(FILE_NAME))
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_is_loaded_again(
        commits in prop::collection::vec(
            prop::collection::vec((0..9_u8, 0..4_u8, any::<bool>(), 0..(1_u64 << 53)), 0..12), 1..6,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut state = State::default();
            for changes in &commits {
                // Dropped without being closed, as a killed process leaves it.
                let store = opened(&dir).await;
                assert_eq!(store.load().await.unwrap(), state);
                let delta = delta(&state, changes);
                commit(&store, &mut state, delta).await;
                assert_eq!(store.load().await.unwrap(), state);
            }
            assert_eq!(opened(&dir).await.load().await.unwrap(), state);
        });
    }
}

#[tokio::test]
async fn a_process_that_dies_leaves_whole_commits_only() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let first = delta(&state, &[(2, 1, true, 5), (3, 1, true, 6)]);
    commit(&store, &mut state, first).await;
    // The files as they lie while the process still runs are what a crash leaves.
    for suffix in ["", "-wal"] {
        let file = format!("{FILE_NAME}{suffix}");
        std::fs::copy(dir.path().join(&file), copy.path().join(&file)).unwrap();
    }
    assert_eq!(opened(&copy).await.load().await.unwrap(), state);
    // And with the end of the last commit torn off, it is as if that commit had not been.
    let before = state.clone();
    let second = delta(&state, &[(2, 1, false, 5), (3, 1, false, 6)]);
    commit(&store, &mut state, second).await;
    let torn = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join(FILE_NAME), torn.path().join(FILE_NAME)).unwrap();
    let wal = std::fs::read(dir.path().join(format!("{FILE_NAME}-wal"))).unwrap();
    std::fs::write(
        torn.path().join(format!("{FILE_NAME}-wal")),
        &wal[..wal.len() - 1000],
    )
    .unwrap();
    assert_eq!(opened(&torn).await.load().await.unwrap(), before);
}

#[tokio::test]
async fn a_full_disk_refuses_the_commit_and_leaves_all_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let small = delta(&state, &[(0, 1, true, 1)]);
    commit(&store, &mut state, small).await;
    assert!(store.is_reserve_held());
    store.limit_pages(1).await;
    let mut large = Delta::default();
    add_lines(&state, &mut large, 3_000);
    let error = store.commit(&large).await.unwrap_err();
    assert!(matches!(error, CommitError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains(FILE_NAME));
    assert_eq!(store.load().await.unwrap(), state);
    assert!(!store.is_reserve_held() && !dir.path().join(RESERVE_NAME).exists());
    // Room again: the same delta goes through, on the same store.
    store.limit_pages(u32::MAX).await;
    commit(&store, &mut state, large).await;
    assert_eq!(store.load().await.unwrap(), state);
}

#[tokio::test]
async fn whoever_opens_later_fences_out_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let first = opened(&dir).await;
    let second = opened(&dir).await;
    assert!(second.epoch() > first.epoch());
    let mut state = State::default();
    let change = delta(&state, &[(0, 1, true, 1)]);
    let error = first.commit(&change).await.unwrap_err();
    assert!(matches!(
        error,
        CommitError::Superseded { epoch, current, .. }
            if (epoch, current) == (first.epoch(), second.epoch())
    ));
    assert_eq!(second.load().await.unwrap(), state);
    commit(&second, &mut state, change).await;
    assert_eq!(first.load().await.unwrap(), state);
}

#[tokio::test]
async fn a_commit_that_does_not_continue_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let change = delta(&state, &[(0, 1, true, 1), (0, 2, true, 1)]);
    commit(&store, &mut state, change.clone()).await;
    let error = store.commit(&change).await.unwrap_err();
    assert!(matches!(
        error,
        CommitError::OutOfStep {
            stored: 2,
            given: 0,
            ..
        }
    ));
    assert_eq!(store.load().await.unwrap(), state);
}

#[tokio::test]
async fn a_commit_dropped_half_way_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    for polls in 1..12 {
        let mut large = Delta::default();
        add_lines(&state, &mut large, 200);
        let mut commit = Box::pin(store.commit(&large));
        for _ in 0..polls {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(commit.as_mut().poll(context).is_ready())
            });
            if polled.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(commit);
        // Either it happened or it did not, and the store says which.
        match store.commit(&large).await {
            Ok(()) | Err(CommitError::OutOfStep { given: _, .. }) => state.merge(large),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(store.load().await.unwrap(), state);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    opened(&dir).await.close().await.unwrap();
    by_hand(dir.path(), "INSERT INTO migrations (version) VALUES (4711)").await;
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    let OpenError::Schema { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        source.to_string(),
        format!(
            "its schema is version 4711 and this program knows {}; use the program that wrote it, or a newer one",
            STEPS.len()
        )
    );
}

#[tokio::test]
async fn a_database_from_before_there_were_senders_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // What the first step left, with a token as it was stored then.
    std::fs::write(dir.path().join(FILE_NAME), []).unwrap();
    by_hand(dir.path(), STEPS[0]).await;
    by_hand(
        dir.path(),
        r#"CREATE TABLE migrations (version INTEGER PRIMARY KEY) STRICT;
           INSERT INTO migrations (version) VALUES (1);
           INSERT INTO tokens (key, value) VALUES ('t1',
               '{"secret_sha256":"0000000000000000000000000000000000000000000000000000000000000000",
                 "node":"app-01","replace":true,"expires":{"wall_ms":-5,"elapsed_ms":4},
                 "used_by":{"tls_key_sha256":"0000000000000000000000000000000000000000000000000000000000000000",
                            "signing_key":"00ff"}}');"#,
    )
    .await;
    let store = opened(&dir).await;
    let mut state = store.load().await.unwrap();
    assert_eq!(state.tokens["t1"].holder, Holder::Node(name(1)));
    let used_by = state.tokens["t1"].used_by.clone().unwrap();
    assert_eq!(used_by.signing_key.as_deref(), Some("00ff"));
    assert!(state.senders.is_empty());
    let change = delta(&state, &[(4, 1, true, 1), (8, 1, true, 1)]);
    commit(&store, &mut state, change).await;
    let loaded = opened(&dir).await.load().await.unwrap();
    assert_eq!(loaded, state);
    assert_eq!(loaded.senders["app-01"], sender(1));
}

#[tokio::test]
async fn a_log_that_somebody_shortened_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let change = delta(&state, &[(0, 1, true, 1), (0, 2, true, 1)]);
    commit(&store, &mut state, change).await;
    by_hand(dir.path(), "DELETE FROM log WHERE n = 1").await;
    assert!(matches!(
        store.load().await,
        Err(LoadError::Log {
            lines: 1,
            expected: 2,
            ..
        })
    ));
}

#[tokio::test]
async fn a_row_that_cannot_be_understood_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    by_hand(
        dir.path(),
        "INSERT INTO outbox (key, value) VALUES ('zz', '{}')",
    )
    .await;
    let error = store.load().await.unwrap_err();
    assert!(
        matches!(&error, LoadError::Row { table: "outbox", key, .. } if key == "zz"),
        "{error}"
    );
}

#[tokio::test]
async fn stored_lines_are_found_by_number_and_digest_or_by_digest_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let mut change = Delta::default();
    add_lines(&state, &mut change, 9);
    commit(&store, &mut state, change).await;
    let key = |index, seq, n: u64| LineKey::of(&name(index), seq, Digest::of(&n.to_be_bytes()));
    // Line n belongs to node n mod 3 and has number n + 1 there.
    let stored = [
        key(0, Some(4), 3),
        key(1, Some(5), 4),
        key(0, None, 6),
        key(2, None, 8),
        key(0, Some(1), 0),
    ];
    let not_stored = [
        key(0, Some(5), 3),
        key(0, Some(5), 4),
        key(0, None, 7),
        key(0, Some(u64::MAX), 3),
        key(9, Some(4), 3),
        key(9, None, 6),
    ];
    let wanted = [stored.as_slice(), &not_stored].concat();
    let found = store.stored_lines(&wanted).await.unwrap();
    assert_eq!(found, stored.into());
    assert!(store.stored_lines(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_log_is_read_in_order_and_in_slices() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let mut change = Delta::default();
    add_lines(&state, &mut change, 1_500);
    let lines = change.log.clone();
    commit(&store, &mut state, change).await;
    assert_eq!(store.log_lines(7, 5).await.unwrap(), lines[7..12]);
    assert_eq!(store.log_lines(0, u32::MAX).await.unwrap(), lines[..1000]);
    assert!(store.log_lines(1_500, 5).await.unwrap().is_empty());
}

#[tokio::test]
async fn rules_are_kept_beside_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let rules = Arc::new(Rules {
        silent_after_ms: 120_000,
        receivers: [(night(), Receiver::default())].into(),
        routes: vec![Route::default()],
        ..Rules::default()
    });
    let sha256 = rules.digest();
    let mut state = State::default();
    for _ in 0..2 {
        let mut change = Delta::default();
        add_lines(&state, &mut change, 1);
        change.rules.push((sha256, Arc::clone(&rules)));
        commit(&store, &mut state, change).await;
    }
    assert_eq!(store.rules(sha256).await.unwrap(), Some((*rules).clone()));
    assert_eq!(store.rules(Digest::ZERO).await.unwrap(), None);
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir).await;
    let mut state = State::default();
    let change = delta(&state, &[(0, 1, true, 1)]);
    commit(&store, &mut state, change).await;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}
