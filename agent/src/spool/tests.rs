//! The spool on a disk that does its worst.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;
use vigie_platform::disk::{Disk, Fault, FaultyDisk, File, RealDisk};

use super::*;

const DIR: &str = "/var/spool";
const LIMITS: Limits = Limits {
    log: append_log::Limits {
        segment_bytes: 4096,
        live_bytes_max: 16 * 4096,
        reserve_bytes: 3 * 4096,
        payload_len_max: 700,
    },
    ring_lines_max: 8,
    ring_bytes_max: 6000,
    quarantine_files_max: 2,
};

/// A disk on which a file cannot be opened while the process has too many open.
#[derive(Debug, Clone)]
pub(crate) struct FewFiles {
    disk: FaultyDisk,
    are_out: Arc<AtomicBool>,
}

impl FewFiles {
    pub(crate) fn new(disk: FaultyDisk) -> Self {
        Self {
            disk,
            are_out: Arc::default(),
        }
    }

    pub(crate) fn run_out_of_files(&self, are_out: bool) {
        self.are_out.store(are_out, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.are_out.load(Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        Ok(())
    }
}

impl Disk for FewFiles {
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        self.disk.create_dir(dir, mode)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        self.check()?;
        self.disk.create(path, mode)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.check()?;
        self.disk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.disk.unlink(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check()?;
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check()?;
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.size_bytes(path)
    }
}

fn new_disk(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed, 128 * 4096);
    disk.create_dir(Path::new(DIR), 0o700).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> (Spool, Recovery) {
    Spool::open(Arc::new(disk.clone()), Path::new(DIR), LIMITS)
}

/// A line as far as the spool is concerned; `chain` keeps the lines of two chains apart.
fn line_in(chain: &str, seq: u64) -> Line {
    let filler = "x".repeat((seq * 97 % 400) as usize);
    let bytes = format!("{chain}-{seq}-{filler}").into_bytes();
    Line {
        seq,
        sha256: Digest::of(&bytes),
        bytes,
    }
}

fn line(seq: u64) -> Line {
    line_in("a", seq)
}

fn append(spool: &mut Spool, seqs: impl IntoIterator<Item = u64>) -> Appended {
    let mut last = Appended::Durable;
    for seq in seqs {
        last = spool.append(line(seq)).unwrap();
    }
    last
}

fn unsent(spool: &Spool) -> Vec<Line> {
    let mut all = Vec::new();
    let mut after = spool.acknowledged().seq;
    loop {
        let lines = spool.lines_after(after, 3, 900).unwrap();
        let Some(last) = lines.last() else {
            return all;
        };
        after = last.seq;
        all.extend(lines);
    }
}

fn unsent_seqs(spool: &Spool) -> Vec<u64> {
    unsent(spool).iter().map(|line| line.seq).collect()
}

#[test]
fn lines_come_out_as_they_went_in_across_a_restart() {
    let disk = new_disk(1);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(spool.head(), Head::EMPTY);
    assert_eq!(append(&mut spool, 1..=20), Appended::Durable);
    spool.acknowledge(5).unwrap();
    drop(spool);
    let (spool, recovery) = open(&disk);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(spool.head(), line(20).head());
    assert_eq!(spool.acknowledged(), line(5).head());
    assert_eq!(unsent(&spool), (6..=20).map(line).collect::<Vec<_>>());
    assert_eq!(spool.unsent(2, usize::MAX).unwrap().len(), 2);
    assert_eq!(spool.unsent(9, 0).unwrap().len(), 1);
}

#[test]
fn the_head_survives_draining_restarts_and_the_loss_of_the_head_file() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=60);
    spool.acknowledge(60).unwrap();
    assert!(unsent(&spool).is_empty());
    drop(spool);
    assert_eq!(open(&disk).0.head(), line(60).head());
    disk.plant(&Path::new(DIR).join("head"), &[3; 8192]);
    let (spool, recovery) = open(&disk);
    assert!(recovery.is_head_lost);
    assert_eq!(spool.head(), line(60).head());
    assert!(unsent(&spool).is_empty());
}

#[test]
fn a_full_disk_is_met_by_reserve_then_ring_and_the_ring_reaches_the_disk_in_order() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, [1]);
    disk.set_fault(Fault::Full);
    let mut seq = 1;
    while append(&mut spool, [seq + 1]) == Appended::Durable {
        seq += 1;
    }
    assert!(seq > 20, "the reserve held {seq} lines");
    append(&mut spool, seq + 2..=seq + 4);
    assert!(spool.degraded().is_some());
    assert_eq!(spool.ring_len(), 4);
    assert_eq!(unsent_seqs(&spool), (1..=seq + 4).collect::<Vec<_>>());

    disk.set_fault(Fault::None);
    assert_eq!(append(&mut spool, [seq + 5]), Appended::Durable);
    assert_eq!((spool.ring_len(), spool.degraded()), (0, None));
    disk.cut_power();
    let (mut spool, _) = open(&disk);
    assert_eq!(unsent_seqs(&spool), (1..=seq + 5).collect::<Vec<_>>());
    assert_eq!(spool.take_lost(), None);
}

#[test]
fn an_overflowing_ring_drops_the_oldest_and_says_which() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=3);
    disk.set_fault(Fault::ReadOnly);
    append(&mut spool, 4..=14);
    assert_eq!(unsent_seqs(&spool), [1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert_eq!(spool.take_lost(), Some(Lost { from: 4, to: 6 }));
    assert_eq!(spool.take_lost(), None);
    disk.set_fault(Fault::None);
    assert_eq!(spool.flush(), Appended::Durable);
    assert_eq!(spool.degraded(), None);
}

#[test]
fn a_number_given_on_a_failing_disk_is_never_given_again() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=2);
    // Every segment is full and no new one can be had, but the head file was allocated long ago.
    disk.set_fault(Fault::Full);
    let mut seq = 2;
    while append(&mut spool, [seq + 1]) == Appended::Durable {
        seq += 1;
    }
    append(&mut spool, [seq + 2]);
    drop(spool);
    disk.cut_power();
    let (mut spool, _) = open(&disk);
    assert_eq!(spool.head(), line(seq + 2).head());
    let lost = Lost {
        from: seq + 1,
        to: seq + 2,
    };
    assert_eq!(spool.take_lost(), Some(lost));
    let again = spool.append(line(seq + 2));
    assert!(matches!(again, Err(AppendLineError::NotAfterHead { .. })));
}

#[test]
fn lines_in_memory_are_sent_and_acknowledged_like_others() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    disk.set_fault(Fault::SyncFails);
    assert_eq!(append(&mut spool, 1..=3), Appended::InMemory);
    assert_eq!(unsent_seqs(&spool), [1, 2, 3]);
    let error = spool.acknowledge(2).unwrap_err();
    assert!(matches!(error, AcknowledgeError::NotDurable { seq: 2, .. }));
    assert_eq!(unsent_seqs(&spool), [3]);
    disk.set_fault(Fault::None);
    assert_eq!(append(&mut spool, [4]), Appended::Durable);
    disk.cut_power();
    let (spool, _) = open(&disk);
    assert_eq!(spool.head(), line(4).head());
    assert_eq!(unsent_seqs(&spool), [3, 4]);
}

#[test]
fn an_unusable_directory_gives_a_spool_in_memory_with_the_reason() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=3);
    drop(spool);
    disk.set_fault(Fault::ReadOnly);
    let (mut spool, recovery) = open(&disk);
    assert!(recovery.memory_only.unwrap().contains("head"));
    assert_eq!(spool.head(), line(3).head(), "what can be read is read");
    assert_eq!(append(&mut spool, 4..=5), Appended::InMemory);
    assert_eq!(unsent_seqs(&spool), [4, 5]);
    disk.set_fault(Fault::None);
    assert_eq!(append(&mut spool, [6]), Appended::InMemory);
}

#[test]
fn an_impossible_acknowledgement_is_refused() {
    let (mut spool, _) = open(&new_disk(1));
    append(&mut spool, 1..=3);
    let error = spool.acknowledge(4).unwrap_err();
    assert!(matches!(
        error,
        AcknowledgeError::BeyondHead { seq: 4, head: 3 }
    ));
    assert_eq!(unsent_seqs(&spool), [1, 2, 3]);
    spool.acknowledge(2).unwrap();
    spool.acknowledge(1).unwrap();
    assert_eq!(spool.acknowledged(), line(2).head());
}

#[test]
fn the_collectors_head_is_recognised_or_not() {
    let (mut spool, _) = open(&new_disk(1));
    assert!(
        spool.contains(Head::EMPTY).unwrap(),
        "nothing and nothing agree"
    );
    append(&mut spool, 1..=60);
    assert!(
        spool.contains(Head::EMPTY).unwrap(),
        "all lines can still be sent"
    );
    spool.acknowledge(50).unwrap();
    for (head, expected, why) in [
        (line(60).head(), true, "my head"),
        (line(50).head(), true, "confirmed"),
        (line(55).head(), true, "below mine, unconfirmed"),
        (
            line_in("b", 55).head(),
            false,
            "another line of that number",
        ),
        (line(61).head(), false, "beyond mine"),
        (line(2).head(), false, "so old that it is gone"),
        (Head::EMPTY, false, "the first lines are gone"),
    ] {
        assert_eq!(spool.contains(head).unwrap(), expected, "{why}");
    }
}

#[test]
fn a_disk_that_cannot_be_read_now_does_not_say_no_to_the_collectors_head() {
    let disk = FewFiles::new(new_disk(1));
    let (mut spool, _) = Spool::open(Arc::new(disk.clone()), Path::new(DIR), LIMITS);
    append(&mut spool, 1..=5);
    disk.run_out_of_files(true);
    assert!(spool.contains(line(3).head()).is_err());
    assert!(spool.contains(Head::EMPTY).is_err());
    assert!(spool.contains(line(5).head()).unwrap(), "known by heart");
    disk.run_out_of_files(false);
    assert!(spool.contains(line(3).head()).unwrap());
    assert!(spool.contains(Head::EMPTY).unwrap());
}

#[test]
fn refused_lines_are_kept_within_bounds() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=5);
    for seq in [1, 2, 2, 4] {
        spool.quarantine(seq).unwrap();
    }
    let dir = Path::new(DIR).join("quarantine");
    let names = disk.list(&dir).unwrap();
    assert_eq!(names.len(), 2);
    assert_eq!(disk.content(&dir.join(&names[1])).unwrap(), line(4).bytes);
    let gone = spool.quarantine(9).unwrap_err();
    assert!(matches!(gone, QuarantineError::NotHere { seq: 9 }));
}

/// The rewriting an agent does: one line that says why, then each old line after it.
fn rewrite(head: Head, _old: Rewrite<'_>) -> Option<Line> {
    Some(line_in("b", head.seq + 1))
}

#[test]
fn amnesia_writes_the_unacknowledged_lines_after_the_collectors_head() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=10);
    spool.acknowledge(7).unwrap();
    let collector = line_in("c", 4).head();
    let mut seen = Vec::new();
    let rebased = spool.rebase(collector, &mut |head, old| {
        if let Rewrite::Line(old) = old {
            seen.push(old.clone());
        }
        rewrite(head, old)
    });
    assert_eq!(rebased, Appended::Durable);
    assert_eq!(seen, [line(8), line(9), line(10)]);
    let expected: Vec<Line> = (5..=8).map(|seq| line_in("b", seq)).collect();
    assert_eq!(unsent(&spool), expected);
    assert!(spool.contains(collector).unwrap());
    assert_eq!(spool.append(line_in("b", 9)), Ok(Appended::Durable));
    disk.cut_power();
    let (spool, recovery) = open(&disk);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(spool.head(), line_in("b", 9).head());
    assert_eq!(unsent(&spool).len(), 5);
    assert_eq!(spool.acknowledged(), collector);
}

#[test]
fn power_loss_during_amnesia_leaves_the_old_chain_or_the_new_one() {
    let old: Vec<Line> = (8..=20).map(line).collect();
    let new: Vec<Line> = (31..=44).map(|seq| line_in("b", seq)).collect();
    let collector = line_in("c", 30).head();
    let mut outcomes = [0, 0];
    for seed in 0..12 {
        for changes in 0..90 {
            let disk = new_disk(seed);
            let (mut spool, _) = open(&disk);
            append(&mut spool, 1..=20);
            spool.acknowledge(7).unwrap();
            disk.fail_power_after(changes);
            let rebased = spool.rebase(collector, &mut rewrite);
            drop(spool);
            disk.cut_power();
            let (spool, recovery) = open(&disk);
            assert_eq!(recovery.memory_only, None);
            let found = unsent(&spool);
            if spool.head() == line(20).head() {
                assert_eq!(found, old);
                assert_eq!(rebased, Appended::InMemory);
                outcomes[0] += 1;
            } else {
                assert_eq!(found, new);
                assert_eq!(spool.head(), new[13].head());
                outcomes[1] += 1;
            }
        }
    }
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}

#[test]
fn amnesia_on_a_full_disk_is_written_into_the_reserve() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=5);
    let used = 128 * 4096 - disk.free_bytes(Path::new(DIR)).unwrap();
    disk.set_capacity(used);
    let collector = line_in("c", 30).head();
    assert_eq!(spool.rebase(collector, &mut rewrite), Appended::Durable);
    disk.cut_power();
    let (spool, recovery) = open(&disk);
    assert_eq!(recovery.memory_only, None);
    assert_eq!(unsent_seqs(&spool), (31..=36).collect::<Vec<_>>());
}

#[test]
fn amnesia_on_a_dead_disk_goes_on_in_memory() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=5);
    disk.set_fault(Fault::WriteFails);
    let collector = line_in("c", 30).head();
    assert_eq!(spool.rebase(collector, &mut rewrite), Appended::InMemory);
    let expected: Vec<Line> = (31..=36).map(|seq| line_in("b", seq)).collect();
    assert_eq!(unsent(&spool), expected);
    assert_eq!(spool.head(), expected[5].head());
    assert!(spool.degraded().is_some());
    let again = spool.rebase(line_in("d", 1).head(), &mut rewrite);
    assert_eq!(again, Appended::InMemory);
    assert_eq!(unsent(&spool).len(), 7);
}

#[test]
fn amnesia_on_a_dead_disk_keeps_the_newest_of_a_long_backlog_and_says_what_is_lost() {
    let disk = new_disk(1);
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1..=60);
    disk.set_fault(Fault::WriteFails);
    let collector = line_in("c", 100).head();
    assert_eq!(spool.rebase(collector, &mut rewrite), Appended::InMemory);
    assert_eq!(unsent_seqs(&spool), (154..=161).collect::<Vec<_>>());
    let lost = Lost { from: 101, to: 153 };
    assert_eq!((spool.take_lost(), spool.take_lost()), (Some(lost), None));
}

#[test]
fn the_same_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("spool");
    let open = || Spool::open(Arc::new(RealDisk), &dir, LIMITS);
    let (mut spool, recovery) = open();
    assert_eq!(recovery, Recovery::default());
    append(&mut spool, 1..=40);
    spool.acknowledge(30).unwrap();
    drop(spool);
    let (mut spool, recovery) = open();
    assert_eq!(recovery, Recovery::default());
    assert_eq!(unsent_seqs(&spool), (31..=40).collect::<Vec<_>>());
    assert_eq!(
        spool.rebase(line_in("c", 50).head(), &mut rewrite),
        Appended::Durable
    );
    drop(spool);
    assert_eq!(unsent_seqs(&open().0), (51..=61).collect::<Vec<_>>());
}

#[derive(Debug, Clone)]
enum Op {
    Append,
    Acknowledge(prop::sample::Index),
    Restart,
    CutPower,
    CutPowerAfter(u64),
    Fault(Fault),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Append),
        3 => any::<prop::sample::Index>().prop_map(Op::Acknowledge),
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
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_called_durable_comes_out_until_it_is_acknowledged(
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..100),
    ) {
        let disk = new_disk(seed);
        let (mut spool, _) = open(&disk);
        let mut durable: Vec<u64> = Vec::new();
        let mut acknowledged = 0;
        for op in ops.into_iter().chain([Op::Fault(Fault::None), Op::CutPower]) {
            match op {
                Op::Append => {
                    let seq = spool.head().seq + 1;
                    let before = unsent(&spool).iter().map(|line| line.seq).collect::<Vec<_>>();
                    if spool.append(line(seq)).unwrap() == Appended::Durable {
                        // Then all that waited in memory is durable too.
                        durable.extend(before.into_iter().filter(|seq| *seq > acknowledged));
                        durable.push(seq);
                        durable.sort_unstable();
                        durable.dedup();
                    }
                }
                Op::Acknowledge(which) => {
                    let seqs = unsent_seqs(&spool);
                    if !seqs.is_empty() {
                        let seq = *which.get(&seqs);
                        acknowledged = acknowledged.max(seq);
                        let _ = spool.acknowledge(seq);
                    }
                }
                Op::Restart | Op::CutPower => {
                    drop(spool);
                    if matches!(op, Op::CutPower) {
                        disk.cut_power();
                    }
                    spool = open(&disk).0;
                }
                Op::CutPowerAfter(changes) => disk.fail_power_after(changes),
                Op::Fault(fault) => disk.set_fault(fault),
            }
        }
        let found = unsent(&spool);
        for line_found in &found {
            prop_assert_eq!(line_found, &line(line_found.seq));
        }
        for seq in durable.iter().filter(|seq| **seq > acknowledged) {
            prop_assert!(found.iter().any(|line| line.seq == *seq), "line {} of {:?}", seq, found.len());
        }
        prop_assert!(spool.head().seq >= durable.last().copied().unwrap_or(0));
        let next = spool.head().seq + 1;
        prop_assert_eq!(append(&mut spool, [next]), Appended::Durable);
    }
}
