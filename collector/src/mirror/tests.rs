#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, mpsc};

use vigie_core::time::{Deadline, Elapsed, Now};
use vigie_decide::mute::{Mute, Muted, Nodes};

use super::*;

const NOW: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

/// A commit that begins a mute of this number, or ends it.
fn mute(number: u64, begins: bool) -> Change {
    let mute = begins.then(|| Mute {
        what: Muted::Maintenance(Nodes::default()),
        reason: "travaux".to_owned(),
        uid: 1_000,
        from: NOW.wall,
        until: Deadline::after(NOW, 60_000),
    });
    Change::Committed(Box::new(Delta {
        mutes: [(number, mute)].into(),
        ..Delta::default()
    }))
}

fn mutes(mirror: &Mirror) -> Vec<u64> {
    mirror.read(NOW.wall, |basis| {
        basis.state.mutes.keys().copied().collect()
    })
}

#[test]
fn what_is_committed_while_somebody_reads_is_seen_by_the_next_in_its_order() {
    let mirror = Arc::new(Mirror::default());
    mirror.follow(mute(1, true));
    let (reading, is_reading) = mpsc::sync_channel(1);
    let (go_on, may_go_on) = mpsc::sync_channel::<()>(1);
    let reader = {
        let mirror = Arc::clone(&mirror);
        std::thread::spawn(move || {
            mirror.read(NOW.wall, |basis| {
                reading.send(()).unwrap();
                may_go_on.recv().unwrap();
                basis.state.mutes.len()
            })
        })
    };
    is_reading.recv().unwrap();
    // None of these waits, although the copy is being read: this thread is the one that lets the reader go on.
    for change in [mute(2, true), mute(1, false), mute(3, true), mute(2, false)] {
        mirror.follow(change);
    }
    assert_eq!(lock(&mirror.queue).len(), 4);
    go_on.send(()).unwrap();
    assert_eq!(reader.join().unwrap(), 1);
    assert_eq!(mutes(&mirror), [3]);
    assert!(lock(&mirror.queue).is_empty());
}

#[test]
fn nothing_is_left_in_the_queue_while_nobody_reads() {
    let mirror = Mirror::default();
    for number in 0..100 {
        mirror.follow(mute(number, true));
        assert!(lock(&mirror.queue).is_empty());
    }
    assert_eq!(mutes(&mirror).len(), 100);
}

#[test]
fn what_a_reader_made_wait_is_worked_off_little_by_little() {
    let mirror = Mirror::default();
    {
        let _held_by_a_reader = lock(&mirror.copy);
        for number in 0..10 {
            mirror.follow(mute(number, true));
        }
        assert_eq!(lock(&mirror.queue).len(), 10);
    }
    for left in (0..10).rev() {
        mirror.follow(mute(0, false));
        assert_eq!(lock(&mirror.queue).len(), left);
    }
    // All of them, and the first was ended last.
    assert_eq!(mutes(&mirror), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn what_was_loaded_anew_replaces_all_and_who_left_is_forgotten() {
    let mirror = Mirror::default();
    mirror.follow(mute(1, true));
    let node: NodeName = "app-01".parse().unwrap();
    let heard = LastHeard {
        at: Some(NOW.wall),
        is_silent: false,
    };
    mirror.follow(Change::Heard(vec![(node.clone(), Some(heard))]));
    mirror.follow(Change::Loaded(Box::default()));
    assert_eq!(mutes(&mirror), [0; 0]);
    let last = |mirror: &Mirror| mirror.read(NOW.wall, |basis| basis.last_heard(&node));
    assert_eq!(last(&mirror), heard);
    mirror.follow(Change::Heard(vec![(node.clone(), None)]));
    assert_eq!(last(&mirror), LastHeard::default());
}
