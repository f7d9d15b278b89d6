//! What an earlier version kept is read by this one, and decided the same.
//!
//! `fixtures/before_partition` was written by the programs of commit a9a35f1 on a real machine: a check of a port that
//! nobody listens on, receivers that nobody answers for, a silence, an exercise, an acknowledgement, a weakened plan;
//! then both programs were killed, the agent after lines that nobody took. A file of it is never written anew: what
//! changes here breaks what stands on disks.

use std::{fs, io::Read as _, path::Path, sync::Arc};

use flate2::read::GzDecoder;
use vigie_agent::spool::{Limits, Spool};
use vigie_collector::store::{SqliteStore, Store as _};
use vigie_core::entry::{Entry, Head};
use vigie_platform::disk::RealDisk;
use vigie_tests::harness::replays;

fn unpack(name: &str, to: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/before_partition");
    let packed = fs::File::open(fixtures.join(format!("{name}.gz"))).expect("the fixture is there");
    let mut bytes = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .expect("it unpacks");
    fs::create_dir_all(to).expect("a temporary folder");
    fs::write(to.join(name), bytes).expect("a temporary folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_version_is_read_and_its_log_decided_the_same() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    unpack("vigie.db", dir.path());
    let store = SqliteStore::open(dir.path()).await.expect("it opens");
    let state = store.load().await.expect("it loads");
    let alerts: Vec<String> = state
        .alerts
        .iter()
        .map(|(key, alert)| format!("#{} {key} {}", alert.number, alert.status))
        .collect();
    assert_eq!(
        alerts,
        [
            "#5 @collector @delivery/me critical",
            "#6 @collector @exercise/me critical",
            "#8 vm @plan/cpu warning",
            "#9 vm @plan/memory warning",
            "#1 vm absent/127.0.0.1 critical",
            "#7 vm disks// warning",
        ]
    );
    let held: Vec<String> = state
        .held
        .keys()
        .map(|row| format!("{} {}", row.receiver, row.alert))
        .collect();
    assert_eq!(
        held,
        [
            "equipe @collector @delivery/me",
            "equipe vm @plan/cpu",
            "equipe vm @plan/memory",
            "equipe vm absent/127.0.0.1",
        ]
    );
    assert_eq!(state.outbox.len(), 3);
    store.close().await.expect("it closes");
    assert_eq!(replays(dir.path()).await, 91);
}

#[test]
fn a_spool_of_an_earlier_version_is_read_to_the_line_that_nobody_took() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lines = dir.path().join("lines-00000001");
    unpack("head", dir.path());
    unpack("cursor", &lines);
    unpack("000000000017-00000000000000000001.log", &lines);
    let (spool, recovery) = Spool::open(Arc::new(RealDisk), dir.path(), Limits::default());
    assert_eq!(spool.degraded(), None, "{recovery:?}");
    let unsent = spool
        .unsent(usize::MAX, usize::MAX)
        .expect("it can be read");
    assert_eq!(unsent.len(), 16);
    let mut entries = unsent
        .iter()
        .map(|line| Entry::read(&line.bytes).expect("a line is one"));
    let mut head: Head = entries.next().expect("there are some").head();
    for entry in entries {
        assert!(entry.follows(head), "line {} follows", entry.seq);
        head = entry.head();
    }
}
