//! The log against a model, on a disk that does its worst.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::disk::{Fault, FaultyDisk, RealDisk};

const DIR: &str = "/log";
const LIMITS: Limits = Limits {
    segment_bytes: 4096,
    live_bytes_max: 16 * 4096,
    reserve_bytes: 3 * 4096,
    payload_len_max: 700,
};
const DISK_BYTES: u64 = 64 * 4096;

/// The one payload a number ever has, so that every record read can be checked by itself.
fn payload(seq: u64) -> Vec<u8> {
    let len = 40 + (seq * 97 % 600) as usize;
    (0..len).map(|i| (seq as usize * 31 + i) as u8).collect()
}

fn open(disk: &FaultyDisk) -> (AppendLog, Recovery) {
    AppendLog::open(Arc::new(disk.clone()), Path::new(DIR), LIMITS).unwrap()
}

fn new_disk(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed, DISK_BYTES);
    disk.create_dir(Path::new(DIR), 0o700).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk
}

fn append(log: &mut AppendLog, seq: u64) -> Result<(), AppendError> {
    log.append(seq, Encoding::PLAIN, &payload(seq))
}

fn commit(log: &mut AppendLog, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        append(log, seq).unwrap();
    }
    log.sync().unwrap();
}

/// Everything unread, in small bites, each record checked.
fn read_all(log: &AppendLog) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut after = log.acknowledged();
    loop {
        let records = log.read(after, 5, 2000).unwrap();
        let Some(last) = records.last() else {
            return seqs;
        };
        assert!(records.len() <= 5);
        after = last.seq;
        for record in records {
            assert!(seqs.last().is_none_or(|&last| last < record.seq));
            assert_eq!(record.payload, payload(record.seq));
            seqs.push(record.seq);
        }
    }
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| path.extension().is_some_and(|e| e == "log"));
    files
}

/// A log and what it must hold.
struct Modelled {
    disk: FaultyDisk,
    log: Option<AppendLog>,
    /// Numbers given so far; none is given twice unless its commit failed in the same life.
    given: u64,
    /// Appended, commit not yet tried.
    pending: Vec<u64>,
    committed: BTreeSet<u64>,
    acknowledged: u64,
    acknowledged_durably: u64,
}

#[derive(Debug, Clone)]
enum Op {
    Append,
    Sync,
    Acknowledge(prop::sample::Index),
    PersistCursor,
    Restart,
    CutPower,
    CutPowerAfter(u64),
    Fault(Fault),
}

impl Modelled {
    fn new(seed: u64) -> Self {
        let disk = new_disk(seed);
        let log = Some(open(&disk).0);
        Self {
            disk,
            log,
            given: 0,
            pending: Vec::new(),
            committed: BTreeSet::new(),
            acknowledged: 0,
            acknowledged_durably: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        let Some(log) = &mut self.log else {
            // The directory could not be used at all under a fault; only what mends that matters.
            match op {
                Op::Fault(fault) => self.disk.set_fault(*fault),
                Op::CutPower => self.restart(true),
                _ => self.restart(false),
            }
            return;
        };
        match op {
            Op::Append => {
                self.given += 1;
                self.pending.push(self.given);
                if append(log, self.given).is_err() {
                    self.append_pending_again();
                }
            }
            Op::Sync => match log.sync() {
                Ok(()) => self.committed.extend(self.pending.drain(..)),
                Err(_) => self.append_pending_again(),
            },
            Op::Acknowledge(which) => {
                if !self.committed.is_empty() {
                    let seq = *which.get(&self.committed.iter().collect::<Vec<_>>());
                    self.acknowledged = self.acknowledged.max(*seq);
                    log.acknowledge(*seq);
                }
            }
            Op::PersistCursor => {
                if log.persist_cursor().is_ok() {
                    self.acknowledged_durably = self.acknowledged;
                }
            }
            Op::Restart => self.restart(false),
            Op::CutPower => self.restart(true),
            Op::CutPowerAfter(changes) => self.disk.fail_power_after(*changes),
            Op::Fault(fault) => self.disk.set_fault(*fault),
        }
        self.check();
    }

    /// After a failure: once more, as the log asks, and then it is up to later operations.
    fn append_pending_again(&mut self) {
        let Some(log) = &mut self.log else { return };
        let pending = std::mem::take(&mut self.pending);
        let (done, again): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|&seq| seq <= log.last_seq());
        self.committed.extend(done);
        for seq in again {
            if append(log, seq).is_err() {
                // Whatever the log committed on the way (a segment was full) is committed; the rest was given up.
                let last = log.last_seq();
                let pending = std::mem::take(&mut self.pending);
                self.committed
                    .extend(pending.into_iter().filter(|&seq| seq <= last));
                return;
            }
            self.pending.push(seq);
        }
    }

    fn restart(&mut self, with_power_cut: bool) {
        self.log = None;
        self.pending.clear();
        if with_power_cut {
            self.disk.cut_power();
        }
        let opened = AppendLog::open(Arc::new(self.disk.clone()), Path::new(DIR), LIMITS);
        let Ok((log, recovery)) = opened else { return };
        // Only a cursor's very first write can tear without an older one to fall back to.
        assert!(!recovery.is_cursor_lost || self.acknowledged_durably == 0);
        assert!(log.acknowledged() >= self.acknowledged_durably);
        assert!(log.acknowledged() <= self.acknowledged);
        self.acknowledged = log.acknowledged();
        assert!(log.last_seq() <= self.given);
        self.log = Some(log);
        self.check();
    }

    fn check(&self) {
        let Some(log) = &self.log else { return };
        if self.disk.list(Path::new(DIR)).is_err() {
            return; // no power
        }
        let read = read_all(log);
        let due = self.committed.range(self.acknowledged + 1..);
        let missing: Vec<_> = due.filter(|seq| !read.contains(seq)).collect();
        assert!(missing.is_empty(), "missing {missing:?} of {read:?}");
        assert!(read.iter().all(|&seq| seq <= self.given));
        let live = segments(&self.disk).len() as u64 * LIMITS.segment_bytes;
        assert!(
            live <= LIMITS.live_bytes_max + LIMITS.segment_bytes,
            "{live}"
        );
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Append),
        8 => Just(Op::Sync),
        3 => any::<prop::sample::Index>().prop_map(Op::Acknowledge),
        3 => Just(Op::PersistCursor),
        1 => Just(Op::Restart),
        1 => Just(Op::CutPower),
        1 => (0..12_u64).prop_map(Op::CutPowerAfter),
        1 => prop_oneof![
            2 => Just(Fault::None),
            1 => Just(Fault::SyncFails),
            1 => Just(Fault::WriteFails),
            1 => Just(Fault::ReadOnly),
            1 => Just(Fault::Full),
        ].prop_map(Op::Fault),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_committed_and_unread_is_ever_lost(
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut modelled = Modelled::new(seed);
        for op in &ops {
            modelled.apply(op);
        }
        modelled.disk.set_fault(Fault::None);
        modelled.restart(true);
        prop_assert!(modelled.log.is_some(), "opening always succeeds on a disk that works");
        // And it works again.
        modelled.apply(&Op::Append);
        modelled.apply(&Op::Sync);
    }

    #[test]
    fn one_flipped_bit_costs_at_most_the_record_it_hit(
        seed in any::<u64>(),
        count in 1..60_u64,
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let disk = new_disk(seed);
        commit(&mut open(&disk).0, 1..=count);
        let path = place.get(&segments(&disk)).clone();
        let byte = place.index(LIMITS.segment_bytes as usize);
        let hit = frame::decode(&disk.content(&path).unwrap(), LIMITS.payload_len_max)
            .find_map(|item| match item {
                frame::Item::Record(record) if (record.offset..record.end()).contains(&byte) => Some(record.seq),
                _ => None,
            });
        disk.flip_bit(&path, byte, bit);

        let (mut log, recovery) = open(&disk);
        let expected: Vec<u64> = (1..=count).filter(|seq| Some(*seq) != hit).collect();
        prop_assert_eq!(read_all(&log), expected);
        commit(&mut log, [count + 1]);
        log.acknowledge(count + 1);
        if hit.is_some() {
            prop_assert!(recovery.cut_bytes > 0 || log.damage().places == 1);
        }
    }

    #[test]
    fn whatever_the_files_hold_the_log_opens_and_works(
        noise in prop::collection::vec(prop_oneof![Just(0_u8), Just(frame::MAGIC[0]), any::<u8>()], 0..6000),
        name in prop_oneof![Just("000000000002-00000000000000000001.log"), Just("cursor"), Just("000000000009.spare"),
            Just("x.log"), Just("99999999999999999999-1.log"), Just("y.spare"), Just("other")],
        at in 0..3000_usize,
    ) {
        let disk = new_disk(1);
        commit(&mut open(&disk).0, 1..20);
        let path = Path::new(DIR).join(name);
        let mut content = disk.content(&path).unwrap_or_default();
        content.truncate(at);
        content.extend(&noise);
        disk.plant(&path, &content);
        let (mut log, _) = open(&disk);
        let next = log.last_seq() + 1;
        commit(&mut log, [next]);
        prop_assert!(read_all(&log).ends_with(&[next]));
        drop(log);
        prop_assert!(read_all(&open(&disk).0).ends_with(&[next]));
    }
}

#[test]
fn power_may_go_at_every_single_change() {
    let script = |modelled: &mut Modelled| {
        for round in 0..12 {
            for _ in 0..4 {
                modelled.apply(&Op::Append);
            }
            modelled.apply(&Op::Sync);
            if round % 3 == 2 {
                let last = *modelled.committed.last().unwrap_or(&0);
                if let Some(log) = &mut modelled.log {
                    log.acknowledge(last - last.min(2));
                    modelled.acknowledged = modelled.acknowledged.max(last - last.min(2));
                }
                modelled.apply(&Op::PersistCursor);
            }
        }
    };
    let mut whole = Modelled::new(0);
    let before = whole.disk.changes();
    script(&mut whole);
    let changes = whole.disk.changes() - before;
    assert!(changes > 60, "{changes}");
    for seed in 0..8 {
        for cut in 0..changes {
            let mut modelled = Modelled::new(seed);
            modelled.disk.fail_power_after(cut);
            script(&mut modelled);
            modelled.restart(true);
            assert!(modelled.log.is_some());
        }
    }
}

#[test]
fn a_full_disk_is_met_by_the_reserve_and_then_by_an_error() {
    let disk = new_disk(1);
    let (mut log, _) = open(&disk);
    assert_eq!(log.reserve_bytes(), LIMITS.reserve_bytes);
    disk.set_fault(Fault::Full);
    let mut committed = 0;
    let error = loop {
        match append(&mut log, committed + 1).and_then(|()| log.sync()) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::NewSegment { .. }), "{error:?}");
    assert!(committed >= 15, "the reserve holds {committed} records");
    assert_eq!(log.reserve_bytes(), 0);

    // Still full, but what was read makes room for what comes.
    log.acknowledge(committed);
    log.persist_cursor().unwrap();
    assert!(log.reserve_bytes() > 0);
    commit(&mut log, [committed + 1]);
    drop(log);
    assert_eq!(read_all(&open(&disk).0), [committed + 1]);
}

#[test]
fn a_log_at_its_bound_refuses_and_dropping_the_oldest_is_counted() {
    let disk = new_disk(1);
    let (mut log, _) = open(&disk);
    let mut last = 0;
    while append(&mut log, last + 1).and_then(|()| log.sync()).is_ok() {
        last += 1;
    }
    let full = append(&mut log, last + 1).unwrap_err();
    assert!(matches!(full, AppendError::Full { .. }), "{full:?}");
    assert_eq!(log.last_seq(), last);

    let dropped = log.drop_oldest().unwrap().unwrap();
    assert!(dropped.records > 0 && dropped.bytes > 0);
    assert_eq!(read_all(&log).first(), Some(&(dropped.records + 1)));
    commit(&mut log, [last + 1]);
    drop(log);
    let (mut log, _) = open(&disk);
    assert_eq!(log.acknowledged(), dropped.records);

    let mut all = 0;
    while let Some(dropped) = log.drop_oldest().unwrap() {
        all += dropped.records;
    }
    assert_eq!(all + dropped.records, last + 1);
    assert_eq!(log.used_bytes(), 0);
    commit(&mut log, [last + 2]);
    assert_eq!(read_all(&log), [last + 2]);
}

#[test]
fn a_failed_sync_is_never_taken_for_clean() {
    for seed in 0..100 {
        let disk = new_disk(seed);
        let (mut log, _) = open(&disk);
        commit(&mut log, [1, 2]);
        append(&mut log, 3).unwrap();
        append(&mut log, 4).unwrap();
        disk.set_fault(Fault::SyncFails);
        log.sync().unwrap_err();
        disk.set_fault(Fault::None);
        assert_eq!(read_all(&log), [1, 2]);
        assert_eq!(log.last_seq(), 2);
        log.sync().unwrap();
        commit(&mut log, [3, 4, 5]);
        disk.cut_power();
        assert_eq!(read_all(&open(&disk).0), [1, 2, 3, 4, 5], "seed {seed}");
    }
}

#[test]
fn a_lost_cursor_means_reading_again_and_says_so() {
    let disk = new_disk(1);
    let (mut log, _) = open(&disk);
    commit(&mut log, 1..=5);
    log.acknowledge(3);
    log.persist_cursor().unwrap();
    drop(log);
    assert_eq!(read_all(&open(&disk).0), [4, 5]);
    disk.plant(&Path::new(DIR).join("cursor"), &[7; 8192]);
    let (log, recovery) = open(&disk);
    assert!(recovery.is_cursor_lost);
    assert_eq!(read_all(&log), [1, 2, 3, 4, 5]);
    drop(log);
    disk.plant(&Path::new(DIR).join("cursor"), &[]);
    assert_eq!(read_all(&open(&disk).0), [1, 2, 3, 4, 5]);
}

#[test]
fn passed_segments_go_back_to_the_disk_and_the_newest_stays() {
    let disk = new_disk(1);
    let (mut log, _) = open(&disk);
    commit(&mut log, 1..=60);
    assert!(segments(&disk).len() > 3);
    log.acknowledge(60);
    assert!(
        segments(&disk).len() > 3,
        "nothing goes before the cursor is durable"
    );
    log.persist_cursor().unwrap();
    assert_eq!(segments(&disk).len(), 1);
    assert_eq!(log.unread_bytes(), 0);
    assert_eq!(log.last_seq(), 60);
    assert_eq!(log.read(59, 1, 1).unwrap()[0].seq, 60);
    drop(log);
    assert_eq!(open(&disk).0.last_seq(), 60);
}

#[test]
fn a_torn_tail_is_cut_once_and_not_met_again() {
    let disk = new_disk(1);
    commit(&mut open(&disk).0, 1..=3);
    let path = segments(&disk)[0].clone();
    let mut content = disk.content(&path).unwrap();
    let end = content.iter().rposition(|&b| b != 0).unwrap() + 1;
    let mut torn = Vec::new();
    frame::encode(4, Encoding::PLAIN, &payload(4), &mut torn).unwrap();
    torn[4..8].copy_from_slice(&3_000_000_000_u32.to_le_bytes());
    content[end..end + 60].copy_from_slice(&torn[..60]);
    disk.plant(&path, &content);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.cut_bytes, 60);
    assert_eq!(log.last_seq(), 3);
    drop(log);
    let (mut log, recovery) = open(&disk);
    assert_eq!(recovery.cut_bytes, 0);
    commit(&mut log, [4]);
    assert_eq!(read_all(&log), [1, 2, 3, 4]);
    assert_eq!(log.damage(), Damage::default());
}

#[test]
fn the_same_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("log");
    let open = || AppendLog::open(Arc::new(RealDisk), &dir, LIMITS).unwrap().0;
    let mut log = open();
    commit(&mut log, 1..=60);
    log.acknowledge(30);
    log.persist_cursor().unwrap();
    drop(log);
    let mut log = open();
    assert_eq!(read_all(&log), (31..=60).collect::<Vec<_>>());
    assert_eq!(log.reserve_bytes(), LIMITS.reserve_bytes);
    commit(&mut log, [61]);
    log.destroy();
    assert!(!dir.exists());
}

#[test]
fn impossible_requests_are_refused_with_a_reason() {
    let disk = new_disk(1);
    let limits = Limits {
        payload_len_max: 4096,
        ..LIMITS
    };
    let opened = AppendLog::open(Arc::new(disk.clone()), Path::new(DIR), limits);
    assert!(matches!(opened, Err(OpenLogError::Limits { .. })));
    let (mut log, _) = open(&disk);
    commit(&mut log, [5]);
    let again = append(&mut log, 5);
    assert!(matches!(
        again,
        Err(AppendError::NotAfter { seq: 5, last: 5 })
    ));
    let long = log.append(6, Encoding::PLAIN, &[0; 701]);
    assert!(matches!(long, Err(AppendError::TooLong { len: 701, .. })));
    commit(&mut log, [6]);
}
