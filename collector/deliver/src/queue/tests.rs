#![expect(clippy::unwrap_used, reason = "tests")]

mod properties;

use vigie_decide::alert::Notice;

use super::*;
use crate::tests::message;

pub(super) const NOW: Elapsed = Elapsed(1_000_000);

/// What is drawn for delays.
pub(super) const DRAWN: u64 = u64::MAX;

pub(super) const BUSY: Answer = Answer::Busy {
    http_status: 503,
    retry_after_ms: None,
};

pub(super) const REFUSED: Answer = Answer::Refused { http_status: 400 };

pub(super) fn key(order: u64) -> Digest {
    message(order, 0, Notice::Open).key
}

/// A queue of a machine.
fn queue(messages: impl IntoIterator<Item = Message>) -> Queue {
    let mut queue = Queue::new(Pacing::Abreast);
    for message in messages {
        queue.offer(message, NOW);
    }
    queue
}

/// All that goes now, one message each.
fn take(queue: &mut Queue, now: Elapsed) -> Vec<u64> {
    let next = || queue.next(now);
    std::iter::from_fn(next)
        .map(|batch| match &batch[..] {
            [message] => message.order,
            _ => panic!("{} messages go together", batch.len()),
        })
        .collect()
}

pub(super) fn answer(queue: &mut Queue, lead: u64, answer: Answer, now: Elapsed) -> Vec<Verdict> {
    queue.answered(key(lead), answer, DRAWN, now)
}

fn accepted(order: u64) -> Verdict {
    Verdict::Accepted {
        key: key(order),
        logged: Logged::Yes,
        carried_by: None,
    }
}

#[test]
fn alerts_go_side_by_side_and_one_alert_in_order() {
    let mut queue = queue([
        message(1, 7, Notice::Open),
        message(2, 7, Notice::Close),
        message(3, 8, Notice::Open),
    ]);
    assert_eq!(take(&mut queue, NOW), [1, 3]);
    assert_eq!(answer(&mut queue, 1, Answer::Accepted, NOW), [accepted(1)]);
    assert_eq!(take(&mut queue, NOW), [2]);
}

#[test]
fn no_more_than_four_are_under_way_and_one_when_the_receiver_is_down() {
    let mut queue = queue((1..=10).map(|order| message(order, order, Notice::Open)));
    assert_eq!(take(&mut queue, NOW), [1, 2, 3, 4]);
    for order in 1..=4 {
        answer(&mut queue, order, Answer::None, NOW);
    }
    assert!(take(&mut queue, NOW).is_empty(), "it is given a pause");
    let wake = queue.wake_at().unwrap();
    assert!(wake > NOW);
    assert_eq!(take(&mut queue, wake), [5], "another one each time");
    answer(&mut queue, 5, Answer::Accepted, wake);
    assert_eq!(
        take(&mut queue, wake).len(),
        IN_FLIGHT_MAX,
        "all are free again"
    );
}

#[test]
fn an_end_waits_for_its_beginning_unless_the_beginning_was_refused() {
    let mut queue = queue([message(1, 7, Notice::Open), message(2, 7, Notice::Worse)]);
    assert_eq!(take(&mut queue, NOW), [1]);
    answer(&mut queue, 1, BUSY, NOW);
    assert!(take(&mut queue, NOW).is_empty());
    let later = queue.wake_at().unwrap();
    assert_eq!(take(&mut queue, later), [1]);
    answer(&mut queue, 1, REFUSED, later);
    assert_eq!(take(&mut queue, later), [2]);
    // And the refused one is never given up.
    let much_later = later.plus_ms(RETRY_REFUSED.max_ms);
    answer(&mut queue, 2, Answer::Accepted, later);
    assert_eq!(take(&mut queue, much_later), [1]);
}

#[test]
fn what_fails_again_and_again_beside_others_that_arrive_holds_nobody_back() {
    let mut queue = queue([
        message(1, 7, Notice::Open),
        message(2, 7, Notice::Worse),
        message(3, 8, Notice::Open),
    ]);
    assert_eq!(take(&mut queue, NOW), [1, 3]);
    answer(&mut queue, 1, BUSY, NOW);
    answer(&mut queue, 3, Answer::Accepted, NOW);
    let mut now = NOW;
    for _ in 1..FAILING_TRIES {
        now = now.plus_ms(RETRY.max_ms);
        assert_eq!(take(&mut queue, now), [1]);
        answer(&mut queue, 1, Answer::None, now);
    }
    assert_eq!(take(&mut queue, now), [2]);
    answer(&mut queue, 2, Answer::Accepted, now);
    // And it is never given up.
    assert_eq!(take(&mut queue, now.plus_ms(RETRY.max_ms)), [1]);
}

#[test]
fn what_failed_while_the_receiver_was_down_keeps_its_place() {
    let mut queue = queue([message(1, 7, Notice::Open), message(2, 7, Notice::Close)]);
    let mut now = NOW;
    for _ in 0..2 * FAILING_TRIES {
        assert_eq!(take(&mut queue, now), [1]);
        answer(&mut queue, 1, Answer::None, now);
        now = now.plus_ms(RETRY.max_ms);
    }
    queue.offer(message(3, 8, Notice::Open), NOW);
    assert_eq!(take(&mut queue, now), [3]);
    answer(&mut queue, 3, Answer::Accepted, now);
    assert_eq!(take(&mut queue, now), [1], "freed, and before its end");
    answer(&mut queue, 1, Answer::Accepted, now);
    assert_eq!(take(&mut queue, now), [2]);
}

#[test]
fn a_retry_after_outlasts_the_success_of_others() {
    let mut queue = queue((1..=3).map(|order| message(order, order, Notice::Open)));
    take(&mut queue, NOW);
    let wait_ms = 2 * RETRY_REFUSED.max_ms / 3;
    let busy = Answer::Busy {
        http_status: 429,
        retry_after_ms: Some(wait_ms),
    };
    answer(&mut queue, 1, busy, NOW);
    answer(&mut queue, 2, Answer::Accepted, NOW);
    answer(&mut queue, 3, REFUSED, NOW);
    let refused_again = NOW.plus_ms(RETRY_REFUSED.first_ms);
    assert_eq!(take(&mut queue, refused_again), [3]);
    answer(&mut queue, 3, Answer::Accepted, refused_again);
    assert!(take(&mut queue, NOW.plus_ms(wait_ms - 1)).is_empty());
    let over = NOW.plus_ms(wait_ms + RETRY.first_ms);
    assert_eq!(take(&mut queue, over), [1]);
}

#[test]
fn a_silly_retry_after_does_not_lose_a_page() {
    let mut queue = queue([message(1, 7, Notice::Open)]);
    take(&mut queue, NOW);
    let silly = Answer::Busy {
        http_status: 429,
        retry_after_ms: Some(u64::MAX),
    };
    answer(&mut queue, 1, silly, NOW);
    let soon = NOW.plus_ms(RETRY_AFTER_MAX_MS - 1);
    assert!(
        take(&mut queue, soon).is_empty(),
        "what it asks for is a floor"
    );
    let cut = NOW.plus_ms(RETRY_AFTER_MAX_MS + RETRY.first_ms);
    assert_eq!(take(&mut queue, cut), [1]);
}

#[test]
fn delays_grow_to_a_minute_and_no_further() {
    let mut queue = queue([message(1, 7, Notice::Open)]);
    let mut now = NOW;
    let mut longest = 0;
    for _ in 0..50 {
        assert_eq!(take(&mut queue, now), [1]);
        answer(&mut queue, 1, Answer::None, now);
        let failing = queue.turned(now);
        let next = queue.wake_at().unwrap();
        longest = longest.max(next.since_ms(now));
        assert!(next > now || failing.is_some());
        now = now.plus_ms(RETRY.max_ms);
    }
    assert!(longest <= RETRY.max_ms, "{longest}");
}

#[test]
fn failing_is_said_once_and_so_is_working_again() {
    let mut queue = queue([message(1, 7, Notice::Open), message(2, 8, Notice::Open)]);
    let mut now = NOW;
    let mut said = Vec::new();
    for _ in 0..10 {
        for order in take(&mut queue, now) {
            answer(&mut queue, order, BUSY, now);
        }
        said.extend(queue.turned(now));
        now = now.plus_ms(RETRY.max_ms);
    }
    let failing = Turned::Failing {
        waiting: 2,
        http_status: 503,
    };
    assert_eq!(said, [failing]);
    assert!(queue.is_failing());
    for order in [1, 2] {
        assert_eq!(queue.turned(now), None);
        assert_eq!(take(&mut queue, now), [order]);
        answer(&mut queue, order, Answer::Accepted, now);
    }
    assert_eq!(queue.turned(now), Some(Turned::Working));
    assert_eq!(queue.turned(now), None);
}

#[test]
fn a_refusal_and_half_a_minute_are_said_at_once() {
    let mut refused = queue([message(1, 7, Notice::Open)]);
    take(&mut refused, NOW);
    answer(&mut refused, 1, REFUSED, NOW);
    let failing = |http_status| {
        Some(Turned::Failing {
            waiting: 1,
            http_status,
        })
    };
    assert_eq!(refused.turned(NOW), failing(400));
    let mut hanging = queue([message(1, 7, Notice::Open)]);
    take(&mut hanging, NOW);
    let at = NOW.plus_ms(FAILING_AFTER_MS);
    assert_eq!(
        hanging.wake_at(),
        Some(at),
        "it is noticed without an answer"
    );
    assert_eq!(hanging.turned(at), failing(0));
}

#[test]
fn the_first_success_after_a_start_is_said_because_nobody_knows_what_was_said_before() {
    let mut queue = queue([message(1, 7, Notice::Open)]);
    take(&mut queue, NOW);
    assert_eq!(queue.turned(NOW), None);
    answer(&mut queue, 1, Answer::Accepted, NOW);
    assert_eq!(queue.turned(NOW), Some(Turned::Working));
}

#[test]
fn what_does_not_fit_is_asked_for_in_order_and_nothing_is_lost() {
    let mut outbox: Vec<Message> = (1..=2_600)
        .map(|order| message(order, order, Notice::Open))
        .collect();
    let mut queue = queue(outbox.clone());
    assert_eq!(queue.waiting(), QUEUE_LEN_MAX);
    let mut asked = Vec::new();
    let mut sent = Vec::new();
    while queue.waiting() > 0 {
        if let Some(after) = queue.wants_more(NOW) {
            assert_eq!(queue.wants_more(NOW), None, "asked once");
            asked.push(after);
            let wanted = outbox.iter().filter(|message| message.order > after);
            let found = wanted.take(QUEUE_LEN_MAX).cloned().collect();
            if after == 2_000 {
                // Committed while the answer is on its way.
                let late = message(2_601, 2_601, Notice::Open);
                queue.offer(late.clone(), NOW);
                outbox.push(late);
            }
            queue.refill(found, NOW);
            assert!(queue.waiting() <= QUEUE_LEN_MAX * 3 / 2);
        }
        for order in take(&mut queue, NOW) {
            answer(&mut queue, order, Answer::Accepted, NOW);
            sent.push(order);
        }
    }
    assert_eq!(sent, (1..=2_601).collect::<Vec<_>>());
    assert_eq!(asked, [1_000, 2_000, 2_600]);
    assert_eq!(queue.more_after(), None);
}

#[test]
fn a_message_that_was_sent_before_it_was_logged_is_sent_once() {
    let mut queue = queue([]);
    assert!(queue.offer_unlogged(message(1, 7, Notice::Open), NOW));
    queue.offer(message(1, 7, Notice::Open), NOW);
    assert_eq!(take(&mut queue, NOW), [1]);
    assert_eq!(answer(&mut queue, 1, Answer::Accepted, NOW), [accepted(1)]);
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn new_settings_end_all_waiting() {
    let mut queue = queue([message(1, 7, Notice::Open)]);
    take(&mut queue, NOW);
    answer(&mut queue, 1, REFUSED, NOW);
    assert!(take(&mut queue, NOW).is_empty());
    queue.retry_now(Pacing::Abreast, NOW);
    assert_eq!(take(&mut queue, NOW), [1]);
}

#[test]
fn the_first_refusal_of_a_message_is_told_and_no_other() {
    let mut queue = queue([message(1, 7, Notice::Open)]);
    queue.offer_unlogged(message(2, 8, Notice::Open), NOW);
    take(&mut queue, NOW);
    let first = Verdict::Refused {
        key: key(1),
        http_status: 400,
    };
    assert_eq!(answer(&mut queue, 1, REFUSED, NOW), [first]);
    // Nothing in the log could be looked up by it.
    assert_eq!(answer(&mut queue, 2, REFUSED, NOW), []);
    let again = NOW.plus_ms(RETRY_REFUSED.max_ms);
    assert_eq!(take(&mut queue, again), [1, 2]);
    assert_eq!(answer(&mut queue, 1, REFUSED, again), []);
    assert_eq!(
        answer(&mut queue, 2, Answer::Accepted, again),
        [Verdict::Accepted {
            key: key(2),
            logged: Logged::No,
            carried_by: None
        }]
    );
}

#[test]
fn a_destination_may_become_another_kind_while_something_is_under_way() {
    let mut queue = queue((1..=3).map(|order| message(order, order, Notice::Open)));
    assert_eq!(take(&mut queue, NOW), [1, 2, 3]);
    queue.offer(message(4, 4, Notice::Open), NOW);
    queue.retry_now(Pacing::Paced, NOW);
    assert_eq!(queue.next(NOW), None, "one at a time");
    answer(&mut queue, 1, BUSY, NOW);
    answer(&mut queue, 2, Answer::Accepted, NOW);
    assert_eq!(answer(&mut queue, 3, REFUSED, NOW).len(), 1);
    let later = NOW.plus_ms(PAGE_SPACING_MS);
    let orders = |batch: Vec<Message>| batch.iter().map(|one| one.order).collect::<Vec<_>>();
    assert_eq!(queue.next(later).map(orders), Some(vec![1, 4]));
    queue.retry_now(Pacing::Abreast, later);
    assert_eq!(take(&mut queue, later), [3]);
    assert_eq!(answer(&mut queue, 1, Answer::Accepted, later).len(), 2);
    assert_eq!(
        answer(&mut queue, 3, Answer::Accepted, later),
        [accepted(3)]
    );
    assert_eq!(queue.waiting(), 0);
}
