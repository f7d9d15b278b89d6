#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use serde_json::Value;
use vigie_core::{
    entry::LINE_LEN_MAX,
    hand_in::RefusedLine,
    log::Checkpoint,
    observation::Object,
    plan::PlannedCheck,
    reason::availability::{NET_TIMEOUT, TCP_OK},
    status::Family,
    time::{Elapsed, Now, Wall},
};
use vigie_platform::{
    append_log,
    clock::ManualClock,
    disk::{Disk, Fault, FaultyDisk},
};

use super::*;
use crate::spool::{self, tests::FewFiles};

const DIR: &str = "/state";

fn new_disk() -> FaultyDisk {
    let disk = FaultyDisk::new(7, 8 * 1024 * 1024);
    disk.create_dir(Path::new(DIR), 0o700).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk
}

fn limits() -> spool::Limits {
    spool::Limits {
        log: append_log::Limits {
            segment_bytes: 64 * 1024,
            live_bytes_max: 1024 * 1024,
            reserve_bytes: 0,
            payload_len_max: LINE_LEN_MAX,
        },
        ring_lines_max: 8,
        ring_bytes_max: 64 * 1024,
        quarantine_files_max: 4,
    }
}

fn open(disk: &FaultyDisk) -> Ledger {
    open_on(Arc::new(disk.clone()))
}

fn open_on(disk: Arc<dyn Disk>) -> Ledger {
    let dir = Path::new(DIR);
    let (spool, _) = Spool::open(Arc::clone(&disk), &dir.join("entries"), limits());
    let checkpoint = CheckpointFile::open(&*disk, &dir.join("checkpoint"));
    let clock = Arc::new(ManualClock::at(Now {
        wall: Wall(1_795_374_271_207),
        elapsed: Elapsed(1_000),
    }));
    Ledger::new(spool, checkpoint, "app-01".parse().unwrap(), "b007", clock)
}

fn status(check: &str, status: Status) -> Draft {
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

fn plan_of(check: &str) -> Plan {
    let planned = PlannedCheck {
        kind: "tcp".to_owned(),
        family: Family::Availability,
        service: Some("dossier-patient".parse().unwrap()),
        every_ms: 30_000,
        timeout_ms: 5_000,
        failures: 2,
        recoveries: 2,
        settings_sha256: Digest::of(b"settings"),
    };
    Plan::from([(check.parse().unwrap(), planned)])
}

fn answer(durable: Head, size: u64) -> EntriesAnswer {
    EntriesAnswer {
        durable,
        refused: Vec::new(),
        log: Checkpoint {
            size,
            root: Digest::of(&size.to_be_bytes()),
        },
        statements: Vec::new(),
    }
}

/// Everything the collector would be sent next.
fn lines(ledger: &mut Ledger) -> Vec<Line> {
    ledger.batch(512, 1024 * 1024).lines
}

fn kinds(lines: &[Line]) -> Vec<String> {
    lines
        .iter()
        .map(|line| Entry::read(&line.bytes).unwrap().kind)
        .collect()
}

fn fact(line: &Line, key: &str) -> Value {
    Entry::read(&line.bytes).unwrap().facts[key].clone()
}

/// Whether the lines follow `head` and one another.
fn assert_chain(mut head: Head, lines: &[Line]) {
    for line in lines {
        let entry = Entry::read(&line.bytes).unwrap();
        assert!(entry.follows(head), "{entry:?} after {head:?}");
        assert!(!entry.malformed, "{entry:?}");
        head = entry.head();
    }
}

fn listed(ledger: &Ledger) -> Vec<(String, u64)> {
    ledger
        .view()
        .not_ok
        .iter()
        .map(|item| (format!("{} {}", item.check, item.status), item.seq))
        .collect()
}

#[test]
fn the_first_request_carries_no_lines_and_the_answer_lets_them_follow() {
    let mut ledger = open(&new_disk());
    ledger.write(&status("portail", Status::Critical));
    ledger.write(&status("portail", Status::Ok));
    assert!(lines(&mut ledger).is_empty());
    let consequence = ledger.answered(&answer(Head::EMPTY, 1));
    assert!(consequence.has_more && !consequence.must_restate);
    let sent = lines(&mut ledger);
    assert_eq!(sent.len(), 2);
    assert_chain(Head::EMPTY, &sent);
    let consequence = ledger.answered(&answer(sent[1].head(), 5));
    assert_eq!(consequence, Consequence::default());
    assert!(lines(&mut ledger).is_empty());
    assert_eq!(ledger.view().acknowledged, ledger.view().head);
}

#[test]
fn the_contact_lists_what_is_not_ok_with_the_line_that_said_so() {
    let disk = new_disk();
    let mut ledger = open(&disk);
    ledger.write(&status("a", Status::Critical));
    ledger.write(&status("b", Status::Warning));
    ledger.write(&status("b", Status::Ok));
    ledger.write(&status("c", Status::Unknown));
    let expected = [("a critical".to_owned(), 1), ("c unknown".to_owned(), 4)];
    assert_eq!(listed(&ledger), expected);
    drop(ledger);
    let mut again = open(&disk);
    assert_eq!(listed(&again), expected, "known from the unsent lines");
    again.write_plan(plan_of("c"));
    assert_eq!(
        listed(&again),
        expected[1..],
        "a check that is planned no more has no status"
    );
}

#[test]
fn a_plan_is_a_line_for_each_check_and_one_that_closes_it() {
    let mut ledger = open(&new_disk());
    ledger.answered(&answer(Head::EMPTY, 0));
    ledger.write_plan(plan_of("portail"));
    let sent = lines(&mut ledger);
    assert_eq!(kinds(&sent), ["check.planned", "plan.complete"]);
    let entry = Entry::read(&sent[0].bytes).unwrap();
    assert_eq!(entry.check.unwrap().as_str(), "portail");
    assert_eq!(entry.service.unwrap().as_str(), "dossier-patient");
    assert_eq!(entry.facts["check_kind"], "tcp");
    assert_eq!(entry.facts.len(), 7, "{:?}", entry.facts);
    assert_eq!(fact(&sent[1], "count"), 1);
    let sha256 = plan::digest(&plan_of("portail"));
    assert_eq!(fact(&sent[1], "sha256"), sha256.to_string());
    assert_eq!(ledger.view().plan, Some(sha256));
}

#[test]
fn what_a_check_said_with_other_settings_is_not_listed_any_more() {
    let mut ledger = open(&new_disk());
    let mut plan = plan_of("a");
    plan.extend(plan_of("b"));
    ledger.write_plan(plan.clone());
    ledger.write(&status("a", Status::Critical));
    ledger.write(&status("b", Status::Critical));
    ledger.write(&status("removed", Status::Critical));
    for planned in plan.values_mut().take(1) {
        planned.settings_sha256 = Digest::of(b"others");
    }
    ledger.write_plan(plan);
    assert_eq!(listed(&ledger), [("b critical".to_owned(), 5)]);
}

#[test]
fn a_collector_that_stands_elsewhere_is_followed_and_the_lines_are_written_anew() {
    let mut ledger = open(&new_disk());
    ledger.write_plan(plan_of("portail"));
    ledger.write(&status("portail", Status::Critical));
    let theirs = Head {
        seq: 40,
        sha256: Digest::of(b"theirs"),
    };
    let consequence = ledger.answered(&answer(theirs, 90));
    assert!(consequence.must_restate && consequence.has_more);
    let sent = lines(&mut ledger);
    assert_chain(theirs, &sent);
    assert_eq!(
        kinds(&sent),
        [
            "agent.amnesia",
            "check.planned",
            "plan.complete",
            "check.status",
            "check.planned",
            "plan.complete"
        ]
    );
    assert_eq!(fact(&sent[0], "had_seq"), 3);
    assert_eq!(fact(&sent[0], "took_seq"), 40);
    assert_eq!(fact(&sent[0], "rewritten"), 3);
    assert_eq!(listed(&ledger), [("portail critical".to_owned(), 44)]);
    let consequence = ledger.answered(&answer(sent[5].head(), 100));
    assert_eq!(consequence, Consequence::default());
}

#[test]
fn a_collector_that_is_behind_gets_what_it_lacks_without_amnesia() {
    let mut ledger = open(&new_disk());
    ledger.answered(&answer(Head::EMPTY, 0));
    for _ in 0..4 {
        ledger.write(&status("a", Status::Critical));
    }
    let sent = lines(&mut ledger);
    ledger.answered(&answer(sent[3].head(), 9));
    let consequence = ledger.answered(&answer(sent[1].head(), 9));
    assert!(consequence.has_more && !consequence.must_restate);
    assert_eq!(lines(&mut ledger), sent[2..]);
}

#[test]
fn an_answer_that_comes_while_the_spool_cannot_be_read_is_not_taken_for_amnesia() {
    let disk = FewFiles::new(new_disk());
    let mut ledger = open_on(Arc::new(disk.clone()));
    ledger.answered(&answer(Head::EMPTY, 0));
    for _ in 0..4 {
        ledger.write(&status("a", Status::Critical));
    }
    let sent = lines(&mut ledger);
    let head = ledger.view().head;
    let mut second = answer(sent[1].head(), 9);
    second.refused = vec![RefusedLine {
        seq: 1,
        sha256: sent[0].sha256,
    }];
    disk.run_out_of_files(true);
    for _ in 0..2 {
        assert_eq!(ledger.answered(&second), Consequence::default());
    }
    assert_eq!(ledger.view().head, head, "no line about it, none refused");
    assert_eq!(ledger.view().acknowledged, Head::EMPTY);
    disk.run_out_of_files(false);
    assert_eq!(lines(&mut ledger), sent, "asked for again");
    let consequence = ledger.answered(&second);
    assert!(consequence.has_more && !consequence.must_restate);
    assert_eq!(ledger.view().acknowledged, sent[1].head());
}

#[test]
fn a_shorter_log_is_told_in_the_chain_also_after_a_restart() {
    let disk = new_disk();
    let mut ledger = open(&disk);
    assert!(ledger.answered(&answer(Head::EMPTY, 50)).rollback.is_none());
    drop(ledger);
    let mut ledger = open(&disk);
    let consequence = ledger.answered(&answer(Head::EMPTY, 20));
    assert_eq!(
        consequence.rollback,
        Some(Rollback {
            had_size: 50,
            size: 20
        })
    );
    assert!(consequence.must_restate);
    assert_eq!(kinds(&lines(&mut ledger)), ["collector.rollback"]);
    let mut other = answer(Head::EMPTY, 20);
    other.log.root = Digest::of(b"another log of the same size");
    assert!(ledger.answered(&other).rollback.is_some());
    assert!(ledger.answered(&other).rollback.is_none(), "told once");
}

#[test]
fn a_refused_line_is_kept_aside_and_told_once() {
    let disk = new_disk();
    let mut ledger = open(&disk);
    ledger.answered(&answer(Head::EMPTY, 0));
    ledger.write(&status("a", Status::Critical));
    ledger.write(&status("b", Status::Critical));
    let sent = lines(&mut ledger);
    let mut refusing = answer(sent[1].head(), 3);
    refusing.refused = vec![RefusedLine {
        seq: 1,
        sha256: sent[0].sha256,
    }];
    ledger.answered(&refusing);
    ledger.answered(&refusing);
    let next = lines(&mut ledger);
    assert_eq!(kinds(&next), ["entries.refused"]);
    assert_eq!(fact(&next[0], "refused_seq"), 1);
    let kept: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("quarantine/0"))
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(disk.content(&kept[0]).unwrap(), sent[0].bytes);
}

#[test]
fn a_failing_disk_is_told_and_its_recovery_and_nothing_is_missing() {
    let disk = new_disk();
    let mut ledger = open(&disk);
    ledger.answered(&answer(Head::EMPTY, 0));
    ledger.write(&status("a", Status::Critical));
    disk.set_fault(Fault::SyncFails);
    ledger.write(&status("b", Status::Critical));
    assert!(ledger.view().is_degraded);
    let sent = lines(&mut ledger);
    assert_chain(Head::EMPTY, &sent);
    assert_eq!(
        kinds(&sent),
        ["check.status", "check.status", "spool.degraded"]
    );
    disk.set_fault(Fault::None);
    let sent = lines(&mut ledger);
    assert_chain(Head::EMPTY, &sent);
    assert_eq!(kinds(&sent)[3..], ["spool.recovered"]);
    assert!(!ledger.view().is_degraded);
}

#[test]
fn lines_that_do_not_fit_memory_are_told_as_lost_once_there_is_room() {
    let disk = new_disk();
    let mut ledger = open(&disk);
    ledger.answered(&answer(Head::EMPTY, 0));
    disk.set_fault(Fault::SyncFails);
    for _ in 0..30 {
        ledger.write(&status("a", Status::Critical));
    }
    assert!(ledger.view().lines_lost > 0);
    disk.set_fault(Fault::None);
    let sent = lines(&mut ledger);
    let last = sent.last().unwrap().head();
    ledger.answered(&answer(last, 1));
    ledger.write(&status("a", Status::Ok));
    let told: u64 = sent
        .iter()
        .chain(&lines(&mut ledger))
        .filter(|line| Entry::read(&line.bytes).unwrap().kind == "entries.lost")
        .map(|line| fact(line, "to").as_u64().unwrap() - fact(line, "from").as_u64().unwrap() + 1)
        .sum();
    assert_eq!(told, ledger.view().lines_lost);
}

#[test]
fn a_line_written_anew_keeps_all_but_its_place() {
    let mut ledger = open(&new_disk());
    ledger.write(&status("portail", Status::Critical));
    ledger.durable = Some(Head::EMPTY);
    let line = lines(&mut ledger).remove(0);
    let head = Head {
        seq: 99,
        sha256: Digest::of(b"x"),
    };
    let rewritten = rewrite_after(&line, head, &"db-02".parse().unwrap()).unwrap();
    let (mut old, new): (Value, Value) = (
        serde_json::from_slice(&line.bytes).unwrap(),
        serde_json::from_slice(&rewritten.bytes).unwrap(),
    );
    old["seq"] = 100.into();
    old["node"] = "db-02".into();
    old["prev"] = head.sha256.to_string().into();
    assert_eq!(old, new);
    assert!(Entry::read(&rewritten.bytes).unwrap().follows(head));
}
