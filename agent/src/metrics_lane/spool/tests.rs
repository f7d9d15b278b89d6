//! The metrics spool on a disk that does its worst, and the books it keeps.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use vigie_platform::disk::{Fault, FaultyDisk};

use super::*;

const DIR: &str = "/state/metrics";
const DISK_BYTES: u64 = 64 * 1024 * 1024;
const HOUR_MS: i64 = 3_600_000;

fn new_disk(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed, DISK_BYTES);
    disk.create_dir(Path::new("/state"), 0o700).unwrap();
    disk.sync_dir(Path::new("/state")).unwrap();
    disk
}

fn open_with(disk: &FaultyDisk, limits: Limits) -> (Spool, Recovery) {
    Spool::open(Arc::new(disk.clone()), Path::new(DIR), limits)
}

fn open(disk: &FaultyDisk) -> Spool {
    open_with(disk, Limits::default()).0
}

/// Both clocks, a cycle of 15 s apart.
fn cycle(number: u64) -> Now {
    Now {
        wall: Wall(1_795_374_000_000 + 15_000 * number as i64),
        elapsed: Elapsed(1_000_000 + 15_000 * number),
    }
}

fn record_of(id: u64, len: usize) -> Record {
    Record {
        id,
        at: cycle(id).wall,
        body: Bytes::from(vec![id as u8; len]),
    }
}

/// The next record, taken at its own cycle.
fn put(spool: &mut Spool, len: usize) -> u64 {
    let id = spool.newest() + 1;
    spool.append(record_of(id, len), cycle(id));
    id
}

fn dropped(spool: &mut Spool) -> Vec<(&'static str, u64)> {
    let drops = spool.take_drops().into_iter();
    drops
        .map(|(reason, count)| (reason.as_str(), count))
        .collect()
}

/// Everything that waits, oldest first, delivered.
fn drain(spool: &mut Spool) -> Vec<u64> {
    let wall = cycle(spool.newest()).wall;
    let mut ids = Vec::new();
    while let Some(record) = spool.next(&[], wall).unwrap() {
        assert_eq!(record.at, cycle(record.id).wall);
        assert!(record.body.iter().all(|byte| *byte == record.id as u8));
        spool.done(record.id);
        ids.push(record.id);
    }
    ids
}

#[test]
fn records_come_out_as_they_went_in_and_what_was_sent_ahead_is_passed_over() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    for _ in 0..6 {
        put(&mut spool, 900);
    }
    for id in [2, 3, 6] {
        spool.done(id);
    }
    assert_eq!(spool.waiting(), 3);
    let wall = cycle(6).wall;
    assert_eq!(spool.next(&[1], wall).unwrap().unwrap().id, 4);
    assert_eq!(spool.next(&[1, 4], wall).unwrap().unwrap().id, 5);
    assert_eq!(spool.next(&[1, 4, 5], wall).unwrap(), None);
    assert_eq!(spool.view().oldest_at, Some(cycle(1).wall));
    assert_eq!(drain(&mut spool), [1, 4, 5]);
    assert_eq!(spool.view(), View::default());
    put(&mut spool, 900);
    assert_eq!(spool.view().oldest_at, Some(cycle(7).wall));
    assert_eq!(spool.view().records, 1);
    assert!(dropped(&mut spool).is_empty());
}

#[test]
fn a_crash_sends_a_little_again_and_a_stop_nothing() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    for _ in 0..20 {
        put(&mut spool, 500);
    }
    for id in 1..=18 {
        spool.done(id);
    }
    drop(spool);
    disk.cut_power();
    let mut spool = open(&disk);
    assert_eq!(spool.waiting(), 20, "the cursor was not due yet");
    put(&mut spool, 500);
    assert_eq!(drain(&mut spool), (1..=21).collect::<Vec<_>>());
    spool.persist();
    drop(spool);
    disk.cut_power();
    let mut spool = open(&disk);
    assert_eq!((spool.newest(), spool.waiting()), (21, 0));
    assert_eq!(put(&mut spool, 500), 22);
}

#[test]
fn the_cursor_is_written_at_most_once_a_minute() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    let mut changes = Vec::new();
    for _ in 0..40 {
        let id = put(&mut spool, 500);
        let before = disk.changes();
        spool.done(id);
        assert_eq!(disk.changes(), before, "an answer costs no write");
        changes.push(before);
    }
    let costs: Vec<u64> = changes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = *costs.iter().min().unwrap();
    let dearer = costs.iter().filter(|cost| **cost > least).count();
    assert_eq!(least, 2, "a write and a sync");
    assert!(dearer <= 10, "{costs:?}");
}

#[test]
fn at_its_size_the_oldest_go_and_are_counted_once() {
    let disk = new_disk(1);
    let limits = Limits {
        bytes: 3 * SEGMENT_BYTES,
        ..Limits::default()
    };
    let (mut spool, _) = open_with(&disk, limits);
    let offered = 90;
    for _ in 0..offered {
        put(&mut spool, 100 * 1024);
    }
    spool.done(89);
    let counted = dropped(&mut spool);
    let delivered = drain(&mut spool);
    let [("bytes", lost)] = counted[..] else {
        panic!("{counted:?}");
    };
    assert_eq!(lost + delivered.len() as u64 + 1, offered);
    assert!(delivered.len() >= 20, "{delivered:?}");
    assert_eq!(delivered.last(), Some(&90));
}

#[test]
fn the_old_go_by_age_and_a_clock_that_went_back_makes_nothing_old() {
    let disk = new_disk(1);
    let limits = Limits {
        age_ms: 24 * HOUR_MS as u64,
        ..Limits::default()
    };
    let (mut spool, _) = open_with(&disk, limits);
    for _ in 0..10 {
        put(&mut spool, 100);
    }
    let back = Wall(cycle(0).wall.0 - 400 * 24 * HOUR_MS);
    assert_eq!(spool.next(&[], back).unwrap().unwrap().id, 1);
    // Half of them are over their age once this one comes.
    let late = Now {
        wall: Wall(cycle(5).wall.0 + 24 * HOUR_MS + 1),
        elapsed: Elapsed(cycle(0).elapsed.0 + 24 * HOUR_MS as u64),
    };
    let newest = Record {
        at: late.wall,
        ..record_of(11, 100)
    };
    spool.append(newest, late);
    // The first is under way: it counts only if it is not delivered.
    assert_eq!(dropped(&mut spool), [("age", 4)]);
    spool.done(1);
    assert_eq!(dropped(&mut spool), []);
    assert_eq!(spool.waiting(), 6);
    assert_eq!(spool.next(&[], late.wall).unwrap().unwrap().id, 6);
    // Read after a longer while: too old on the way out.
    let later = Wall(late.wall.0 + HOUR_MS);
    assert_eq!(spool.next(&[], later).unwrap().unwrap().id, 11);
    assert_eq!(dropped(&mut spool), [("age", 5)]);
}

#[test]
fn a_nearly_full_disk_is_given_space_back_and_filled_by_nobody_here() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    for _ in 0..100 {
        put(&mut spool, 100 * 1024);
    }
    let used = DISK_BYTES - disk.free_bytes(Path::new(DIR)).unwrap();
    assert!(used > 9 * SEGMENT_BYTES);
    // Somebody else takes all but one part in fifty.
    disk.set_capacity(used + used / 50);
    for _ in 0..60 {
        put(&mut spool, 100 * 1024);
        let used_now =
            disk.size_bytes(Path::new(DIR)).unwrap() - disk.free_bytes(Path::new(DIR)).unwrap();
        assert!(used_now <= used);
    }
    let counted = dropped(&mut spool);
    let [("disk_free", lost)] = counted[..] else {
        panic!("{counted:?}");
    };
    assert_eq!(lost + drain(&mut spool).len() as u64, 160);
    assert_eq!(spool.view().degraded, None);
}

#[test]
fn whatever_the_disk_does_records_wait_in_memory_and_reach_it_in_order_later() {
    for fault in [
        Fault::Full,
        Fault::ReadOnly,
        Fault::SyncFails,
        Fault::WriteFails,
    ] {
        let disk = new_disk(1);
        let mut spool = open(&disk);
        put(&mut spool, 400 * 1024);
        put(&mut spool, 400 * 1024);
        disk.set_fault(fault);
        for _ in 0..3 {
            // Does not fit the segment, so that a full disk is met as well.
            put(&mut spool, 300 * 1024);
        }
        assert_eq!(spool.view().memory_records, 3, "{fault:?}");
        assert!(spool.view().degraded.is_some(), "{fault:?}");
        disk.set_fault(Fault::None);
        put(&mut spool, 100);
        assert_eq!(spool.view().memory_records, 0, "{fault:?}");
        assert_eq!(spool.view().degraded, None, "{fault:?}");
        disk.cut_power();
        let mut spool = open(&disk);
        assert_eq!(drain(&mut spool), (1..=6).collect::<Vec<_>>(), "{fault:?}");
    }
}

#[test]
fn the_memory_is_bounded_and_the_oldest_go() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    put(&mut spool, 1_000);
    disk.set_fault(Fault::WriteFails);
    for _ in 0..30 {
        put(&mut spool, 100 * 1024);
        assert!(spool.ring_bytes <= RING_BYTES_MAX);
    }
    assert_eq!(dropped(&mut spool), [("memory", 20)]);
    let mut expected = vec![1];
    expected.extend(22..=31);
    assert_eq!(drain(&mut spool), expected);
    assert_eq!(dropped(&mut spool), []);
}

#[test]
fn a_start_without_a_disk_works_in_memory_and_takes_up_what_is_on_disk_later() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    for _ in 0..5 {
        put(&mut spool, 100);
    }
    spool.done(1);
    spool.persist();
    drop(spool);
    disk.set_fault(Fault::ReadOnly);
    // Damaged, so that opening must write.
    disk.plant(&Path::new(DIR).join("cursor"), b"");
    let (mut spool, recovery) = open_with(&disk, Limits::default());
    if recovery.memory_only.is_none() {
        // A disk that cannot be written can be read; nothing to take up later then.
        assert_eq!(spool.waiting(), 5);
        return;
    }
    let first = spool.newest() + 1;
    for id in first..first + 4 {
        spool.append(record_of(id, 100), cycle(6));
    }
    spool.done(first);
    assert_eq!(spool.waiting(), 3);
    disk.set_fault(Fault::None);
    spool.append(record_of(first + 4, 100), cycle(7));
    assert_eq!(spool.waiting(), 5 + 4);
    let wall = cycle(7).wall;
    let mut times = 0;
    while let Some(record) = spool.next(&[], wall).unwrap() {
        spool.done(record.id);
        times += 1;
    }
    assert_eq!(times, 9);
    assert_eq!(dropped(&mut spool), []);
}

#[test]
fn a_damaged_record_is_counted_and_costs_no_other() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    for _ in 0..10 {
        put(&mut spool, 1_000);
    }
    let segment = disk
        .files()
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let frame = 1_000 + PREFIX_LEN + vigie_core::frame::HEADER_LEN;
    disk.flip_bit(&segment, 3 * frame + 500, 3);
    let delivered = drain(&mut spool);
    assert_eq!(delivered, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
    assert_eq!(dropped(&mut spool), [("damage", 1)]);
    assert_eq!(spool.waiting(), 0);
}

#[test]
fn a_refused_record_is_kept_apart_counted_and_passed() {
    let disk = new_disk(1);
    let mut spool = open(&disk);
    put(&mut spool, 100);
    put(&mut spool, 100);
    let record = spool.next(&[], cycle(2).wall).unwrap().unwrap();
    spool.refuse(&record).unwrap();
    assert_eq!(dropped(&mut spool), [("refused", 1)]);
    assert_eq!(drain(&mut spool), [2]);
    let names = disk.list(&Path::new(DIR).join("quarantine")).unwrap();
    assert_eq!(names, [format!("{:020}-{}.snappy", 1, cycle(1).wall.0)]);
    assert_eq!(spool.destroy(), 0);
    assert!(disk.files().is_empty());
}

/// What may happen to a spool.
#[derive(Debug, Clone, Copy)]
enum Event {
    Put {
        kib: usize,
    },
    /// The newest is delivered ahead of the others.
    DeliverNewest,
    /// The oldest is sent, and this becomes of it.
    SendOldest {
        is_taken: bool,
    },
    Refuse,
    Disk(Fault),
    Hours(i64),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1..300_usize).prop_map(|kib| Event::Put { kib }),
        3 => Just(Event::DeliverNewest),
        6 => any::<bool>().prop_map(|is_taken| Event::SendOldest { is_taken }),
        1 => Just(Event::Refuse),
        2 => prop::sample::select(vec![
            Fault::None, Fault::None, Fault::Full, Fault::ReadOnly, Fault::SyncFails, Fault::WriteFails,
        ]).prop_map(Event::Disk),
        1 => (1..30_i64).prop_map(Event::Hours),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every record is delivered, dropped and counted, or still there: exactly one of the three, whatever happens.
    #[test]
    fn every_record_is_accounted_for_once(seed: u64, steps in prop::collection::vec(events(), 1..120)) {
        let disk = new_disk(seed);
        let limits = Limits { bytes: 2 * SEGMENT_BYTES, age_ms: 24 * HOUR_MS as u64 };
        let (mut spool, _) = open_with(&disk, limits);
        let mut now = cycle(0);
        let mut delivered = BTreeSet::new();
        let mut lost = 0;
        for step in steps {
            now.wall.0 += 15_000;
            now.elapsed.0 += 15_000;
            match step {
                Event::Put { kib } => {
                    let id = spool.newest() + 1;
                    spool.append(Record { at: now.wall, ..record_of(id, kib * 1024) }, now);
                }
                Event::DeliverNewest => {
                    let id = spool.newest();
                    let waits = id > spool.passed && spool.done.end_of(id).is_none();
                    if waits {
                        spool.done(id);
                        prop_assert!(delivered.insert(id), "{} twice", id);
                    }
                }
                Event::SendOldest { is_taken } => {
                    if let Some(record) = spool.next(&[], now.wall).unwrap() {
                        // While it is under way, another comes.
                        let id = spool.newest() + 1;
                        spool.append(Record { at: now.wall, ..record_of(id, 200 * 1024) }, now);
                        if is_taken {
                            spool.done(record.id);
                            prop_assert!(delivered.insert(record.id), "{} twice", record.id);
                        }
                    }
                }
                Event::Refuse => {
                    if let Some(record) = spool.next(&[], now.wall).unwrap() {
                        let _ = spool.refuse(&record);
                    }
                }
                Event::Disk(fault) => disk.set_fault(fault),
                Event::Hours(hours) => {
                    now.wall.0 += hours * HOUR_MS;
                    now.elapsed.0 += (hours * HOUR_MS) as u64;
                }
            }
            spool.settle_in_flight();
            for (_, count) in spool.take_drops() {
                lost += count;
            }
            prop_assert!(spool.ring_bytes <= RING_BYTES_MAX);
            prop_assert_eq!(delivered.len() as u64 + lost + spool.waiting(), spool.newest());
        }
    }

    /// Power fails at any change: what was kept and not passed comes back, in order; a little is sent again.
    #[test]
    fn a_power_failure_at_any_change_costs_nothing_that_was_kept(seed: u64, after in 0..160_u64) {
        let disk = new_disk(seed);
        let mut spool = open(&disk);
        let mut kept = Vec::new();
        let mut delivered = BTreeSet::new();
        disk.fail_power_after(after);
        for number in 0..60 {
            let id = put(&mut spool, 30 * 1024);
            if spool.view().memory_records == 0 {
                kept.push(id);
            }
            if number % 3 != 0 {
                spool.done(id);
                delivered.insert(id);
            }
        }
        drop(spool);
        disk.cut_power();
        let (mut spool, recovery) = open_with(&disk, Limits::default());
        prop_assert_eq!(recovery.memory_only, None);
        let again = drain(&mut spool);
        prop_assert!(again.windows(2).all(|pair| pair[0] < pair[1]));
        for id in kept {
            prop_assert!(delivered.contains(&id) || again.contains(&id), "{} is lost", id);
        }
    }
}
