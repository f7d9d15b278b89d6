//! Who goes next, as tables and as a simulated receiver.

use proptest::prelude::*;

use super::*;

const TAKEN: Verdict = Verdict::Taken;
const NO_ANSWER: Verdict = Verdict::Failed { is_answer: false };
const FAILED: Verdict = Verdict::Failed { is_answer: true };

fn backlog(order: &Order, now: u64) -> Option<Vec<u64>> {
    match order.next(Elapsed(now), false) {
        Step::Backlog { skip } => Some(skip),
        Step::Fresh | Step::Wait(_) => None,
    }
}

#[test]
fn a_fresh_record_goes_before_the_backlog_and_the_backlog_pauses_as_long_as_it_took() {
    let mut order = Order::default();
    assert_eq!(order.next(Elapsed(5), false), Step::Wait(None));
    order.has_backlog();
    assert_eq!(order.next(Elapsed(5), true), Step::Fresh);
    assert_eq!(backlog(&order, 5), Some(vec![]));
    let fate = order.answered((From::Backlog, 1), TAKEN, Elapsed(1_000), 700, 0);
    assert_eq!(fate, Fate::Done);
    assert_eq!(
        order.next(Elapsed(1_001), false),
        Step::Wait(Some(Elapsed(1_700)))
    );
    assert_eq!(order.next(Elapsed(1_001), true), Step::Fresh);
    order.answered((From::Fresh, 9), TAKEN, Elapsed(1_050), 49, 0);
    assert_eq!(backlog(&order, 1_700), Some(vec![]));
    order.has_no_backlog(&[]);
    assert_eq!(order.next(Elapsed(9_000), false), Step::Wait(None));
}

#[test]
fn retry_after_is_a_floor_for_everything_and_jitter_comes_on_top() {
    let mut order = Order::default();
    order.has_backlog();
    let later = Verdict::Later {
        retry_after_ms: Some(7_000),
    };
    let fate = order.answered((From::Fresh, 1), later, Elapsed(0), 1, 400);
    assert_eq!(fate, Fate::Keep);
    for has_fresh in [true, false] {
        let step = order.next(Elapsed(7_399), has_fresh);
        assert_eq!(step, Step::Wait(Some(Elapsed(7_400))));
    }
    assert_eq!(order.next(Elapsed(7_400), true), Step::Fresh);
}

#[test]
fn a_fresh_record_without_an_answer_is_tried_again_and_one_that_is_answered_500_is_put_aside() {
    let mut order = Order::default();
    assert_eq!(
        order.answered((From::Fresh, 1), NO_ANSWER, Elapsed(0), 1, 0),
        Fate::Keep
    );
    assert_eq!(
        order.answered((From::Fresh, 1), FAILED, Elapsed(10), 1, 0),
        Fate::PutAside
    );
    assert_eq!(
        backlog(&order, 10),
        Some(vec![1]),
        "others are tried at once"
    );
    assert_eq!(backlog(&order, 30_010), Some(vec![]));
}

#[test]
fn a_poison_record_is_given_up_only_while_others_are_taken() {
    let mut order = Order::default();
    order.has_backlog();
    let mut now = 0;
    // Nothing is taken: it can fail for ever.
    for _ in 0..100 {
        now += 700_000;
        let fate = order.answered((From::Backlog, 1), FAILED, Elapsed(now), 1, 0);
        assert_eq!(fate, Fate::PutAside);
    }
    // Others are taken.
    let mut failures = 1;
    loop {
        order.answered((From::Fresh, 100 + failures), TAKEN, Elapsed(now), 1, 0);
        now += 700_000;
        assert_eq!(backlog(&order, now), Some(vec![]));
        failures += 1;
        match order.answered((From::Backlog, 1), FAILED, Elapsed(now), 1, 0) {
            Fate::PutAside => {}
            fate => {
                assert_eq!(fate, Fate::Refuse);
                break;
            }
        }
    }
    assert_eq!(failures, u64::from(STRIKES_MAX));
    assert_eq!(backlog(&order, now + 1_000), Some(vec![]));
}

#[test]
fn when_everything_fails_no_more_than_a_few_are_put_aside_and_they_come_first_afterwards() {
    let mut order = Order::default();
    order.has_backlog();
    for id in 1..=20 {
        order.answered((From::Backlog, id), FAILED, Elapsed(id), 1, 0);
    }
    assert_eq!(order.aside.len(), ASIDE_MAX);
    assert_eq!(backlog(&order, 1_000), None, "full: only those are tried");
    order.answered((From::Fresh, 99), TAKEN, Elapsed(1_000), 1, 0);
    assert_eq!(backlog(&order, 1_000), Some(vec![]));
}

#[test]
fn what_is_gone_is_not_waited_for() {
    let mut order = Order::default();
    order.answered((From::Backlog, 3), FAILED, Elapsed(0), 1, 0);
    order.has_no_backlog(&[3]);
    assert!(matches!(
        order.next(Elapsed(500), false),
        Step::Wait(Some(_))
    ));
    order.gone_up_to(3);
    assert_eq!(order.next(Elapsed(500), false), Step::Wait(None));
}

proptest! {
    /// One request at a time to a receiver whose speed varies: fresh records leave at once or right after the request
    /// under way, and the backlog never has more than half of the time.
    #[test]
    fn the_backlog_never_takes_more_than_half(times in prop::collection::vec(1..4_000_u64, 40..120)) {
        let mut order = Order::default();
        order.has_backlog();
        let (mut now, mut next_fresh) = (0_u64, 15_000_u64);
        let (mut spent, mut begun_at) = (0_u64, None);
        let mut fresh = 0_u64;
        for took in times {
            let has_fresh = next_fresh <= now;
            match order.next(Elapsed(now), has_fresh) {
                Step::Fresh => {
                    prop_assert!(now - next_fresh <= 4_000);
                    now += took;
                    fresh += 1;
                    next_fresh += 15_000;
                    order.answered((From::Fresh, fresh), TAKEN, Elapsed(now), took, 0);
                }
                Step::Backlog { .. } => {
                    begun_at.get_or_insert(now);
                    now += took;
                    spent += took;
                    order.answered((From::Backlog, 0), TAKEN, Elapsed(now), took, 0);
                }
                Step::Wait(until) => {
                    let until = until.map_or(next_fresh, |until| until.0.min(next_fresh));
                    now = until.max(now + 1);
                }
            }
            let Step::Wait(_) = order.next(Elapsed(now), false) else { continue };
        }
        if let Some(begun_at) = begun_at {
            // The last request's pause is still to come.
            prop_assert!(spent <= (now - begun_at) / 2 + 4_000, "{spent} of {}", now - begun_at);
        }
    }
}
