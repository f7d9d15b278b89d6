#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
};

use super::*;
use crate::host::fixture::{Machine, machine_at, measured, settings, write_below, written_at};

const NOW: Wall = Wall(1_795_380_000_000);
const HOUR_MS: i64 = 3_600_000;
/// Limits that nothing reaches.
const FAR: Limits<u64> = Limits::new(u64::MAX, u64::MAX);

fn check(root: &Path) -> LogForwarding {
    LogForwarding {
        silent: SILENT_DEFAULT,
        queue_age: FAR,
        queue_size: FAR,
        is_queue_limited: false,
        keep: None,
        target: None,
        root: root.to_owned(),
    }
}

fn object<'o>(seen: &'o [Observation], word: &str) -> &'o Observation {
    seen.iter()
        .find(|seen| seen.object.as_ref().unwrap().as_str() == word)
        .unwrap()
}

const ID: &str = "0123456789abcdef0123456789abcdef";
const JOURNALD_UNIT: &str = "sys/fs/cgroup/system.slice/systemd-journald.service/cgroup.procs";

/// A machine whose journal has been kept for ten days, and was written to a minute ago.
fn journal(root: &Path, folder: &str, number: u64) -> String {
    write_below(root, "etc/machine-id", format!("{ID}\n"));
    write_below(root, JOURNALD_UNIT, "211\n");
    let active = format!("{folder}/{ID}/system.journal");
    write_below(root, &active, "");
    written_at(root, &active, Wall(NOW.0 - 60_000));
    let first_us = (NOW.0 - 240 * HOUR_MS) * 1_000;
    let archived = format!("{folder}/{ID}/system@{ID}-{number:016x}-{first_us:016x}.journal");
    write_below(root, &archived, "");
    written_at(root, &archived, Wall(NOW.0 - 100 * HOUR_MS));
    active
}

#[tokio::test]
async fn a_journal_that_is_written_is_fine_and_a_silent_or_dead_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let active = journal(root, "var/log/journal", 9);
    let (context, _clock) = machine_at(NOW);
    let mut check = check(root);
    let seen = check.run(&context).await;
    assert_eq!(seen.len(), 1);
    let log = object(&seen, "journald");
    assert_eq!((log.status, log.reason), (Status::Ok, LOG_OK), "{log:?}");
    assert_eq!(log.facts["storage"], Fact::Word("persistent"));
    assert_eq!(log.facts["silent_ms"], Fact::Integer(60_000));
    let oldest = measured(log, OLDEST);
    assert!(
        (oldest - (NOW.0 - 240 * HOUR_MS) as f64 / 1e3).abs() < 1.0,
        "{oldest}"
    );

    for (hours, status) in [
        (1, Status::Ok),
        (2, Status::Warning),
        (24, Status::Critical),
    ] {
        written_at(root, &active, Wall(NOW.0 - hours * HOUR_MS));
        let seen = check.run(&context).await;
        assert_eq!(object(&seen, "journald").status, status, "{hours}");
    }
    written_at(root, &active, NOW);
    write_below(root, JOURNALD_UNIT, "");
    let seen = check.run(&context).await;
    let log = object(&seen, "journald");
    assert_eq!((log.status, log.reason), (Status::Critical, LOG_STOPPED));
}

#[tokio::test]
async fn how_far_the_journal_reaches_back_counts_once_something_was_thrown_away() {
    let (context, _clock) = machine_at(NOW);
    let reach = async |folder: &str, number: u64, keep_hours: u64| {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), folder, number);
        let mut check = check(dir.path());
        check.keep = Some(Duration::from_secs(keep_hours * 3_600));
        let seen = check.run(&context).await;
        object(&seen, "journald").reason
    };
    assert_eq!(reach("var/log/journal", 9, 240).await, LOG_OK);
    assert_eq!(reach("var/log/journal", 9, 241).await, LOG_SHORT);
    assert_eq!(
        reach("var/log/journal", 1, 241).await,
        LOG_OK,
        "all of it is there"
    );
    assert_eq!(reach("run/log/journal", 1, 1).await, LOG_VOLATILE);
}

#[tokio::test]
async fn without_any_sign_of_a_log_it_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let (context, _clock) = machine_at(NOW);
    let seen = check(dir.path()).run(&context).await;
    let log = object(&seen, "journald");
    assert_eq!((log.status, log.reason), (Status::Unknown, LOG_UNTOLD));
    // It lives, and what it writes cannot be seen.
    write_below(dir.path(), JOURNALD_UNIT, "211\n");
    let seen = check(dir.path()).run(&context).await;
    assert_eq!(object(&seen, "journald").status, Status::Unknown);
}

#[tokio::test]
async fn rsyslog_is_judged_where_it_runs_or_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (context, _clock) = machine_at(NOW);
    write_below(
        root,
        "sys/fs/cgroup/system.slice/rsyslog.service/cgroup.procs",
        "300\n",
    );
    write_below(root, "var/log/syslog", "");
    written_at(root, "var/log/syslog", Wall(NOW.0 - 60_000));
    let seen = check(root).run(&context).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(object(&seen, "rsyslog").reason, LOG_OK);
    write_below(
        root,
        "sys/fs/cgroup/system.slice/rsyslog.service/cgroup.procs",
        "",
    );
    write_below(
        root,
        "etc/systemd/system/multi-user.target.wants/rsyslog.service",
        "",
    );
    let seen = check(root).run(&context).await;
    assert_eq!(object(&seen, "rsyslog").reason, LOG_STOPPED);
}

#[tokio::test]
async fn a_queue_is_measured_and_judged_where_a_limit_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (context, _clock) = machine_at(NOW);
    let mut check = check(root);
    check.is_queue_limited = true;
    let seen = check.run(&context).await;
    let queue = object(&seen, "queue");
    assert_eq!((queue.status, queue.reason), (Status::Unknown, LOG_UNTOLD));

    for (number, age_hours) in [(1, 3), (2, 1)] {
        let file = format!("var/spool/rsyslog/forward.0000000{number}");
        write_below(root, &file, [b'x'; 1_000]);
        written_at(root, &file, Wall(NOW.0 - age_hours * HOUR_MS));
    }
    write_below(root, "var/spool/rsyslog/forward.qi", [b'x'; 9_000]);
    let table = [
        (FAR, FAR, Status::Ok),
        (Limits::new(3 * 3_600_000, u64::MAX), FAR, Status::Warning),
        (Limits::new(1, 3 * 3_600_000), FAR, Status::Critical),
        (FAR, Limits::new(2_000, 2_001), Status::Warning),
        (
            Limits::new(1, u64::MAX),
            Limits::new(1, 2_000),
            Status::Critical,
        ),
    ];
    for (queue_age, queue_size, status) in table {
        check.queue_age = queue_age;
        check.queue_size = queue_size;
        let seen = check.run(&context).await;
        let queue = object(&seen, "queue");
        assert_eq!(queue.status, status, "{queue:?}");
        assert_eq!(queue.facts["queue_bytes"], Fact::Integer(2_000));
    }
}

/// Real sockets in the kernel's own table.
#[tokio::test]
async fn an_open_connection_to_the_receiver_is_seen_in_both_families() {
    let context = Machine::real();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(receiver) = TcpListener::bind(address) else {
            continue;
        };
        let target = receiver.local_addr().unwrap();
        let look = async || {
            let target: Target = target.to_string().parse().unwrap();
            look_at_target(&context, Path::new("/"), &target)
                .await
                .status
        };
        assert_eq!(look().await, Status::Critical, "{address}");
        let daemon = TcpStream::connect(target).unwrap();
        let (_accepted, _) = receiver.accept().unwrap();
        assert_eq!(look().await, Status::Ok, "{address}");
        drop(daemon);
    }
    let dir = tempfile::tempdir().unwrap();
    let target: Target = "127.0.0.1:514".parse().unwrap();
    let seen = look_at_target(&context, dir.path(), &target).await;
    assert_eq!((seen.status, seen.reason), (Status::Unknown, LOG_UNTOLD));
}

#[tokio::test]
async fn this_machine_is_looked_at_without_a_guess() {
    let seen = settings(&KIND, "").unwrap().run(&Machine::real()).await;
    let has_journal = Path::new("/var/log/journal")
        .read_dir()
        .is_ok_and(|mut found| found.next().is_some())
        || Path::new("/run/log/journal")
            .read_dir()
            .is_ok_and(|mut found| found.next().is_some());
    if !has_journal {
        assert!(seen.iter().all(|seen| seen.status != Status::Ok
            || seen.object.as_ref().unwrap().as_str() != "journald"));
    }
    assert!(!seen.is_empty());
}

#[test]
fn settings_are_read_and_their_mistakes_told() {
    assert!(settings(&KIND, "").is_ok());
    assert!(
        settings(
            &KIND,
            "warning = { queue_size = \"5MB\" }\nkeep = \"30d\"\ntarget = \"[::1]:6514\""
        )
        .is_ok()
    );
    for wrong in [
        "target = \"logs.example\"",
        "warning = { queue_size = \"5\" }",
        "warning = { silent = \"2d\" }\ncritical = { silent = \"1d\" }",
    ] {
        assert!(settings(&KIND, wrong).is_err(), "{wrong}");
    }
}
