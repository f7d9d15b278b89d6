//! Each rule of pacing, by a table or a story.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use vigie_decide::alert::Ended;

use super::*;
use crate::{
    queue::{
        FAILING_AFTER_MS, Logged, PACED_LEN_MAX, Pacing, QUEUE_LEN_MAX, Queue, RETRY_AFTER_MAX_MS,
        Turned, UNLOGGED_LEN_MAX, Verdict,
        tests::{BUSY, DRAWN, NOW, REFUSED, answer, key},
    },
    tests::message,
};

/// A message that wakes nobody.
fn quiet(order: u64, number: u64) -> Message {
    let mut message = message(order, number, Notice::Open);
    if let Body::Alert(telling) = &mut message.body {
        telling.status = Status::Warning;
    }
    message
}

fn digest(order: u64) -> Message {
    let mut message = message(order, 0, Notice::Open);
    message.body = Body::Digest(Box::default());
    message
}

fn queue(messages: impl IntoIterator<Item = Message>) -> Queue {
    let mut queue = Queue::new(Pacing::Paced);
    for message in messages {
        queue.offer(message, NOW);
    }
    queue
}

fn take(queue: &mut Queue, now: Elapsed) -> Vec<u64> {
    let batch = queue.next(now).unwrap_or_default();
    assert_eq!(queue.next(now), None, "one transmission at a time");
    batch.iter().map(|message| message.order).collect()
}

/// A queue that has just had something accepted, and holds `messages`.
fn told(messages: impl IntoIterator<Item = Message>) -> Queue {
    let mut queue = queue([message(1, 1, Notice::Open)]);
    assert_eq!(take(&mut queue, NOW), [1]);
    assert_eq!(answer(&mut queue, 1, Answer::Accepted, NOW).len(), 1);
    for message in messages {
        queue.offer(message, NOW);
    }
    queue
}

/// When the next transmission goes, and what.
fn next(queue: &mut Queue) -> (u64, Vec<u64>) {
    let at = queue.wake_at().unwrap();
    (at.since_ms(NOW), take(queue, at))
}

#[test]
fn the_first_goes_at_once_and_what_comes_then_goes_together() {
    let mut queue = queue([message(1, 1, Notice::Open)]);
    assert_eq!(take(&mut queue, NOW), [1]);
    for order in 2..=4 {
        queue.offer(message(order, order, Notice::Open), NOW);
    }
    assert!(take(&mut queue, NOW).is_empty(), "one is under way");
    let accepted = NOW.plus_ms(700);
    answer(&mut queue, 1, Answer::Accepted, accepted);
    assert_eq!(next(&mut queue), (700 + PAGE_SPACING_MS, vec![2, 3, 4]));
    let carried = |order| Verdict::Accepted {
        key: key(order),
        logged: Logged::Yes,
        carried_by: (order != 2).then_some(key(2)),
    };
    let much_later = accepted.plus_ms(PAGE_SPACING_MS);
    assert_eq!(
        answer(&mut queue, 2, Answer::Accepted, much_later),
        [carried(2), carried(3), carried(4)]
    );
    // A quiet time later it goes at once again.
    let quiet_over = much_later.plus_ms(SPACING_MS);
    queue.offer(quiet(5, 5), quiet_over);
    assert_eq!(take(&mut queue, quiet_over), [5]);
}

#[test]
fn only_what_somebody_is_woken_for_goes_after_half_a_minute() {
    let with = |notice, status, criticality| {
        let mut message = message(2, 2, notice);
        if let Body::Alert(telling) = &mut message.body {
            telling.status = status;
            telling.criticality = criticality;
        }
        message
    };
    let on = [
        Notice::Open,
        Notice::Worse,
        Notice::Still,
        Notice::Again,
        Notice::HandOver,
    ];
    for status in [Status::Warning, Status::Critical, Status::Unknown] {
        for &criticality in Criticality::ALL {
            let pages = criticality == Criticality::Critical && status != Status::Warning;
            for notice in on {
                let message = with(notice, status, criticality);
                assert_eq!(is_page(&message), pages, "{message:?}");
                let spacing = if pages { PAGE_SPACING_MS } else { SPACING_MS };
                assert_eq!(next(&mut told([message])), (spacing, vec![2]));
            }
            assert!(!is_page(&with(Notice::Close, status, criticality)));
        }
    }
    assert_eq!(next(&mut told([digest(2)])), (SPACING_MS, vec![2]));
}

#[test]
fn what_ended_untried_wakes_nobody_and_is_said() {
    let open = |order, number| message(order, number, Notice::Open);
    let close = |order, number| message(order, number, Notice::Close);
    let cases: [(Vec<Message>, u64); 6] = [
        (vec![open(2, 7), close(3, 7)], SPACING_MS),
        (
            vec![open(2, 7), message(3, 7, Notice::Worse), close(4, 7)],
            SPACING_MS,
        ),
        // Its end is about something else.
        (vec![open(2, 7), close(3, 8)], PAGE_SPACING_MS),
        // One of two is still on.
        (vec![open(2, 7), open(3, 8), close(4, 7)], PAGE_SPACING_MS),
        (
            vec![open(2, 7), open(3, 8), close(4, 7), close(5, 8)],
            SPACING_MS,
        ),
        // On again.
        (vec![open(2, 7), close(3, 7), open(4, 7)], PAGE_SPACING_MS),
    ];
    for (messages, spacing) in cases {
        let orders: Vec<u64> = messages.iter().map(|one| one.order).collect();
        assert_eq!(next(&mut told(messages)), (spacing, orders));
    }
}

#[test]
fn an_end_that_comes_after_a_try_makes_nothing_less_urgent() {
    let mut queue = told([message(2, 7, Notice::Open)]);
    assert_eq!(next(&mut queue), (PAGE_SPACING_MS, vec![2]));
    let failed = NOW.plus_ms(PAGE_SPACING_MS);
    // Perhaps it was received all the same.
    answer(&mut queue, 2, Answer::None, failed);
    queue.offer(message(3, 7, Notice::Close), failed);
    let (at, orders) = next(&mut queue);
    assert!(at <= PAGE_SPACING_MS + RETRY.first_ms);
    assert_eq!(orders, [2, 3]);
}

#[test]
fn a_try_in_vain_is_repeated_with_whatever_has_come_and_without_spacing() {
    for vain in [BUSY, Answer::None] {
        let mut queue = queue([message(1, 1, Notice::Open)]);
        assert_eq!(take(&mut queue, NOW), [1]);
        answer(&mut queue, 1, vain, NOW);
        queue.offer(quiet(2, 2), NOW);
        assert!(take(&mut queue, NOW).is_empty());
        let (second, orders) = next(&mut queue);
        assert!(second <= RETRY.first_ms, "{second}");
        assert_eq!(orders, [1, 2]);
        answer(&mut queue, 1, vain, NOW.plus_ms(second));
        queue.offer(message(3, 3, Notice::Open), NOW.plus_ms(second));
        let (third, orders) = next(&mut queue);
        assert!(third <= second + 2 * RETRY.first_ms, "{third}");
        assert_eq!(orders, [1, 2, 3]);
    }
}

#[test]
fn a_retry_after_is_kept_and_a_silly_one_cut() {
    let busy = |asked| Answer::Busy {
        http_status: 429,
        retry_after_ms: Some(asked),
    };
    for (asked, at_least) in [(120_000, 120_000), (u64::MAX, RETRY_AFTER_MAX_MS)] {
        let mut queue = queue([message(1, 1, Notice::Open)]);
        take(&mut queue, NOW);
        answer(&mut queue, 1, busy(asked), NOW);
        queue.offer(message(2, 2, Notice::Open), NOW);
        let (at, orders) = next(&mut queue);
        assert_eq!(
            (at, orders),
            (FAILING_AFTER_MS, vec![]),
            "it is only said to fail"
        );
        assert!(matches!(
            queue.turned(NOW.plus_ms(at)),
            Some(Turned::Failing {
                http_status: 429,
                ..
            })
        ));
        let (at, orders) = next(&mut queue);
        assert!((at_least..=at_least + RETRY.first_ms).contains(&at), "{at}");
        assert_eq!(orders, [1, 2]);
    }
}

#[test]
fn an_outage_ends_with_one_transmission_that_says_everything() {
    let mut queue = queue([message(1, 1, Notice::Open)]);
    let mut now = NOW;
    for order in 2..=u64::from(PART_EVERY) {
        assert_eq!(take(&mut queue, now).len() as u64, order - 1);
        answer(&mut queue, 1, Answer::None, now);
        queue.offer(message(order, order, Notice::Open), now);
        now = now.plus_ms(RETRY.max_ms);
    }
    assert_eq!(take(&mut queue, now), [1, 2, 3, 4]);
    assert!(matches!(queue.turned(now), Some(Turned::Failing { .. })));
    assert_eq!(answer(&mut queue, 1, Answer::Accepted, now).len(), 4);
    assert_eq!(queue.turned(now), Some(Turned::Working));
}

#[test]
fn a_refused_transmission_is_halved_until_the_one_that_is_not_read_is_apart() {
    let mut queue = queue((1..=8).map(|order| message(order, order, Notice::Open)));
    let poison = 3;
    let mut now = NOW;
    let mut seen = Vec::new();
    while queue.waiting() > 1 {
        now = now.max(queue.wake_at().unwrap());
        let orders = take(&mut queue, now);
        let Some(&lead) = orders.first() else {
            queue.turned(now);
            continue;
        };
        let reply = if orders.contains(&poison) {
            REFUSED
        } else {
            Answer::Accepted
        };
        answer(&mut queue, lead, reply, now);
        seen.push(orders);
    }
    let all: Vec<u64> = (1..=8).collect();
    assert_eq!(
        seen,
        [
            all,
            vec![1, 2, 3, 4],
            vec![1, 2],
            // Accepted, and half a minute later:
            vec![3, 4, 5, 6, 7, 8],
            vec![3, 4, 5],
            vec![3],
            vec![4, 5, 6, 7, 8],
        ]
    );
    assert!(now.since_ms(NOW) < 2 * PAGE_SPACING_MS + 15_000);
    // It is tried again, and holds nobody back, not what is about the same alert either.
    let later = now.plus_ms(SPACING_MS);
    queue.offer(message(9, poison, Notice::Worse), later);
    assert_eq!(take(&mut queue, later), [poison]);
    answer(&mut queue, poison, REFUSED, later);
    assert_eq!(take(&mut queue, later), [9]);
    answer(&mut queue, 9, Answer::Accepted, later);
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn every_member_of_a_refused_transmission_is_told_as_refused_once() {
    let mut queue = queue((1..=4).map(|order| message(order, order, Notice::Open)));
    take(&mut queue, NOW);
    let refused = |order| Verdict::Refused {
        key: key(order),
        http_status: 400,
    };
    assert_eq!(
        answer(&mut queue, 1, REFUSED, NOW),
        [refused(1), refused(2), refused(3), refused(4)]
    );
    let later = NOW.plus_ms(RETRY.max_ms);
    queue.offer(message(5, 5, Notice::Open), later);
    assert_eq!(
        take(&mut queue, later),
        [5],
        "it does not wait for the others"
    );
    assert_eq!(answer(&mut queue, 5, REFUSED, later), [refused(5)]);
    let later = later.plus_ms(RETRY.max_ms);
    assert_eq!(take(&mut queue, later), [1, 2]);
    assert_eq!(answer(&mut queue, 1, REFUSED, later), []);
}

#[test]
fn pages_are_tried_before_the_rest_and_the_order_within_stays() {
    let mut queue = queue([
        quiet(1, 1),
        quiet(2, 2),
        quiet(3, 3),
        message(4, 4, Notice::Open),
        message(5, 1, Notice::Worse),
    ]);
    take(&mut queue, NOW);
    answer(&mut queue, 1, REFUSED, NOW);
    assert_eq!(take(&mut queue, NOW.plus_ms(RETRY.max_ms)), [1, 4, 5]);
}

#[test]
fn a_channel_that_refuses_everything_is_tried_ever_less_and_gets_all_when_it_reads_again() {
    let mut queue = queue((1..=100).map(|order| message(order, order, Notice::Open)));
    let mut now = NOW;
    let mut tries = 0;
    let hours = 6;
    while now.since_ms(NOW) < hours * 3_600_000 {
        now = now.max(queue.wake_at().unwrap());
        queue.turned(now);
        if let [lead, ..] = take(&mut queue, now)[..] {
            answer(&mut queue, lead, REFUSED, now);
            tries += 1;
        }
    }
    assert!(tries <= hours * 120, "{tries} tries");
    // A page that comes does not wait for all that to be sorted out.
    queue.offer(message(101, 101, Notice::Open), now);
    let later = now.plus_ms(RETRY.first_ms);
    let fresh = take(&mut queue, later);
    assert!(matches!(fresh[..], [101] | [_]), "{fresh:?}");
    if fresh != [101] {
        answer(&mut queue, fresh[0], REFUSED, later);
        assert_eq!(take(&mut queue, later.plus_ms(RETRY.first_ms)), [101]);
    }
    assert_eq!(answer(&mut queue, 101, REFUSED, later).len(), 1);
    // New settings: everything at once, and in one.
    queue.retry_now(Pacing::Paced, now);
    assert_eq!(take(&mut queue, now), (1..=101).collect::<Vec<_>>());
    answer(&mut queue, 1, Answer::Accepted, now);
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn what_is_read_after_all_frees_the_rest() {
    let mut queue = queue([message(1, 1, Notice::Open)]);
    let mut now = NOW;
    for order in 2..=4 {
        let alone = take(&mut queue, now);
        assert_eq!(alone, [order - 1]);
        answer(&mut queue, order - 1, REFUSED, now);
        now = now.plus_ms(RETRY.max_ms / 10);
        queue.offer(message(order, order, Notice::Open), now);
    }
    answer(&mut queue, 0, REFUSED, now);
    assert_eq!(take(&mut queue, now), [4], "what was refused waits");
    answer(&mut queue, 4, REFUSED, now);
    now = now.plus_ms(RETRY_REFUSED.max_ms);
    assert_eq!(take(&mut queue, now), [1]);
    answer(&mut queue, 1, Answer::Accepted, now);
    now = now.plus_ms(PAGE_SPACING_MS);
    assert_eq!(take(&mut queue, now), [2, 3, 4]);
}

#[test]
fn new_settings_while_a_later_message_is_under_way_do_not_let_it_pass() {
    let mut queue = queue([message(1, 7, Notice::Open)]);
    take(&mut queue, NOW);
    answer(&mut queue, 1, REFUSED, NOW);
    let later = NOW.plus_ms(RETRY.first_ms);
    queue.offer(message(2, 7, Notice::Close), later);
    assert_eq!(take(&mut queue, later), [2]);
    // The beginning is not apart any more.
    queue.retry_now(Pacing::Paced, later);
    answer(&mut queue, 2, REFUSED, later);
    assert_eq!(take(&mut queue, later.plus_ms(RETRY.max_ms)), [1, 2]);
}

#[test]
fn what_is_only_ever_too_busy_for_one_message_gets_the_others() {
    let mut queue = queue((1..=8).map(|order| message(order, order, Notice::Open)));
    let poison = 6;
    let mut now = NOW;
    let mut offered = 8;
    while queue.waiting() > 1 || offered == 8 {
        now = now.max(queue.wake_at().unwrap());
        queue.turned(now);
        let orders = take(&mut queue, now);
        let Some(&lead) = orders.first() else {
            continue;
        };
        let reply = if orders.contains(&poison) {
            BUSY
        } else {
            Answer::Accepted
        };
        answer(&mut queue, lead, reply, now);
        if queue.waiting() == 1 && offered == 8 {
            // It is tried by itself a few times more before it is known to be the cause.
            offered = 9;
            queue.offer(message(9, 9, Notice::Open), now);
        }
        assert!(now.since_ms(NOW) < 3_600_000, "{} wait", queue.waiting());
    }
    // The next page does not wait for it any more.
    now = now.plus_ms(SPACING_MS);
    for order in 10..14 {
        queue.offer(message(order, order, Notice::Open), now);
        let mut orders = take(&mut queue, now);
        if orders == [poison] {
            answer(&mut queue, poison, BUSY, now);
            orders = take(&mut queue, now);
        }
        assert_eq!(orders, [order]);
        answer(&mut queue, order, Answer::Accepted, now);
        now = now.plus_ms(SPACING_MS);
    }
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn a_restart_sends_at_once_and_so_does_what_is_in_no_log() {
    let mut before = told([message(2, 2, Notice::Open)]);
    assert!(take(&mut before, NOW).is_empty());
    let mut after = queue(before.abandon());
    assert!(after.offer_unlogged(message(3, 3, Notice::Open), NOW));
    assert_eq!(take(&mut after, NOW), [2, 3]);
    let verdict = |order, logged, carried_by| Verdict::Accepted {
        key: key(order),
        logged,
        carried_by,
    };
    assert_eq!(
        answer(&mut after, 2, Answer::Accepted, NOW),
        [
            verdict(2, Logged::Yes, None),
            verdict(3, Logged::No, Some(key(2)))
        ]
    );
    assert!(after.offer_unlogged(message(4, 4, Notice::Open), NOW));
    assert_eq!(next(&mut after), (PAGE_SPACING_MS, vec![4]));
}

#[test]
fn a_storm_that_does_not_fit_is_asked_for_and_pages_in_no_log_still_fit() {
    let all: Vec<Message> = (1..=PACED_LEN_MAX as u64 + 2_500)
        .map(|order| message(order, order, Notice::Open))
        .collect();
    let mut queue = queue(all.clone());
    assert_eq!(queue.waiting(), PACED_LEN_MAX);
    for order in 0..UNLOGGED_LEN_MAX as u64 {
        let unlogged = message(1_000_000 + order, 1_000_000 + order, Notice::Open);
        assert!(queue.offer_unlogged(unlogged, NOW));
    }
    assert!(!queue.offer_unlogged(message(2_000_000, 1, Notice::Open), NOW));
    assert_eq!(queue.wants_more(NOW), None);
    let lead = queue.next(NOW).unwrap()[0].order;
    answer(&mut queue, lead, Answer::Accepted, NOW);
    // It is all here long before the next transmission.
    let mut asked = 0;
    while let Some(after) = queue.wants_more(NOW) {
        asked += 1;
        let more = all.iter().filter(|one| one.order > after);
        let more = more.take(QUEUE_LEN_MAX).cloned().collect();
        queue.refill(more, NOW);
    }
    assert_eq!((asked, queue.waiting()), (3, 2_500));
}

#[test]
fn ten_thousand_alerts_in_a_minute_become_four_transmissions() {
    let mut queue = Queue::new(Pacing::Paced);
    let mut transmissions = 0;
    let mut offered_at = HashMap::new();
    let mut latest = 0;
    let mut step = |queue: &mut Queue, offered_at: &HashMap<u64, Elapsed>, now: Elapsed| {
        if let Some(batch) = queue.next(now) {
            transmissions += 1;
            for one in &batch {
                latest = latest.max(now.since_ms(offered_at[&one.order]));
            }
            queue.answered(batch[0].key, Answer::Accepted, DRAWN, now);
        }
    };
    for n in 0..10_000 {
        let now = NOW.plus_ms(n * 6);
        // What should have gone between this one and the last.
        while let Some(wake) = queue.wake_at().filter(|wake| *wake < now) {
            queue.turned(wake);
            step(&mut queue, &offered_at, wake);
        }
        let mut one = message(n, n, Notice::Open);
        if n % 10 != 0
            && let Body::Alert(telling) = &mut one.body
        {
            telling.criticality = Criticality::Standard;
        }
        offered_at.insert(n, now);
        queue.offer(one, now);
        step(&mut queue, &offered_at, now);
        queue.turned(now);
    }
    while let Some(wake) = queue.wake_at() {
        step(&mut queue, &offered_at, wake);
        queue.turned(wake);
    }
    assert_eq!(queue.waiting(), 0);
    assert!(latest <= PAGE_SPACING_MS, "{latest}");
    assert_eq!(transmissions, 4);
}

proptest! {
    /// Whatever comes, a person who can be told is told of a page within its spacing and of all else within the other,
    /// and never sooner after the last time than either.
    #[test]
    fn while_all_is_accepted_nothing_waits_longer_or_less_than_its_spacing(
        comes in prop::collection::vec((0..40_000_u64, 1..6_u64, 0..3_u8), 1..60),
        takes_ms in 0..5_000_u64,
    ) {
        let mut queue = Queue::new(Pacing::Paced);
        let mut now = NOW;
        let mut under_way: Option<(Elapsed, Vec<Message>)> = None;
        let mut accepted_at: Option<Elapsed> = None;
        let mut waits: Vec<(Message, Elapsed)> = Vec::new();
        let mut comes = (1..).zip(comes).map(|(order, (gap, number, kind))| {
            let mut one = message(order, number, if kind == 2 { Notice::Close } else { Notice::Open });
            if kind == 1 {
                one = quiet(order, number);
            }
            if let Body::Alert(telling) = &mut one.body {
                telling.ended = (kind == 2).then_some(Ended::Recovered);
            }
            (gap, one)
        }).peekable();
        let mut comes_at = now;
        loop {
            let arrival = comes.peek().map(|(gap, _)| comes_at.plus_ms(*gap));
            let answer_at = under_way.as_ref().map(|(at, _)| *at);
            let Some(at) = [arrival, answer_at, queue.wake_at()].into_iter().flatten().min() else {
                break;
            };
            now = now.max(at);
            if answer_at == Some(now) && let Some((_, batch)) = under_way.take() {
                accepted_at = Some(now);
                waits.retain(|(one, _)| !batch.contains(one));
                queue.answered(batch[0].key, Answer::Accepted, DRAWN, now);
            } else if arrival == Some(now) && let Some((_, one)) = comes.next() {
                comes_at = now;
                waits.push((one.clone(), now));
                queue.offer(one, now);
            }
            queue.turned(now);
            let ends_later = |one: &Message| waits.iter().any(|(other, _)| {
                is_end(other) && other.order > one.order && Subject::of(other) == Subject::of(one)
            });
            let is_urgent = waits.iter().any(|(one, _)| is_page(one) && !ends_later(one));
            let spacing = if is_urgent { PAGE_SPACING_MS } else { SPACING_MS };
            match queue.next(now) {
                Some(batch) => {
                    prop_assert!(under_way.is_none());
                    let expected: Vec<&Message> = waits.iter().map(|(one, _)| one).collect();
                    prop_assert_eq!(batch.iter().collect::<Vec<_>>(), expected, "all that waits");
                    prop_assert!(accepted_at.is_none_or(|last| now.since_ms(last) >= spacing));
                    under_way = Some((now.plus_ms(takes_ms), batch));
                }
                None if under_way.is_none() && !waits.is_empty() => {
                    prop_assert!(now.since_ms(accepted_at.unwrap()) < spacing);
                }
                None => {}
            }
        }
        prop_assert_eq!(queue.waiting(), 0);
    }
}
