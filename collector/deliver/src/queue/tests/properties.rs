//! The promise of delivery, against a receiver that does what it likes: each message arrives once, in order, or its
//! exception is one that is documented.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::queue::paced::Subject;

/// What happens to the queue.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// A message about this alert is committed and offered.
    Commit { number: u64, notice: Notice },
    /// A page goes out that cannot be written down, and perhaps is written down later.
    FailOpen { number: u64, is_logged_later: bool },
    /// Killed and started again. What is under way was perhaps received.
    Restart { is_received: bool },
    /// New settings.
    Settings,
}

/// A try.
#[derive(Debug, Clone, Copy)]
struct Reply {
    answer: Answer,
    takes_ms: u64,
}

fn reply() -> impl Strategy<Value = Reply> {
    let answer = prop_oneof![
        4 => Just(Answer::Accepted),
        3 => Just(BUSY),
        1 => (0..400_000_u64).prop_map(|asked| Answer::Busy {
            http_status: 429,
            retry_after_ms: Some(asked),
        }),
        3 => Just(REFUSED),
        3 => Just(Answer::None),
    ];
    (answer, 0..12_000_u64).prop_map(|(answer, takes_ms)| Reply { answer, takes_ms })
}

fn op() -> impl Strategy<Value = Op> {
    let notice = prop_oneof![
        Just(Notice::Open),
        Just(Notice::Worse),
        Just(Notice::Again),
        Just(Notice::Close)
    ];
    prop_oneof![
        12 => (1..6_u64, notice).prop_map(|(number, notice)| Op::Commit { number, notice }),
        2 => (1..6_u64, any::<bool>()).prop_map(|(number, is_logged_later)| Op::FailOpen {
            number,
            is_logged_later,
        }),
        1 => any::<bool>().prop_map(|is_received| Op::Restart { is_received }),
        1 => Just(Op::Settings),
    ]
}

/// What is known of a message from the outside, within one run of the program.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    was_begun: bool,
    tries: u32,
    /// Tries since another was accepted.
    tries_since: u32,
    is_passed: bool,
    /// Machine: the last answer was a refusal. Person: it was refused alone.
    is_refused: bool,
    /// It failed alone while others arrived.
    fails_alone: bool,
}

impl Known {
    const fn lets_pass(&self) -> bool {
        self.is_refused || self.fails_alone
    }
}

struct Try {
    ends: Elapsed,
    answer: Answer,
    batch: Vec<Message>,
}

struct World {
    pacing: Pacing,
    queue: Queue,
    now: Elapsed,
    outbox: BTreeMap<u64, Message>,
    unlogged: BTreeMap<u64, Message>,
    under_way: Vec<Try>,
    replies: std::vec::IntoIter<Reply>,
    jitter: u64,
    known: BTreeMap<u64, Known>,
    /// How often each was received.
    received: BTreeMap<u64, u32>,
    /// Received, and nobody lived to tell.
    untold: BTreeSet<u64>,
    refusals_told: BTreeSet<Digest>,
    failures_in_row: u32,
    accepted_at: Option<Elapsed>,
    next_order: u64,
}

impl World {
    fn new(pacing: Pacing, replies: Vec<Reply>, jitter: u64) -> Self {
        Self {
            pacing,
            queue: Queue::new(pacing),
            now: NOW,
            outbox: BTreeMap::new(),
            unlogged: BTreeMap::new(),
            under_way: Vec::new(),
            replies: replies.into_iter(),
            jitter,
            known: BTreeMap::new(),
            received: BTreeMap::new(),
            untold: BTreeSet::new(),
            refusals_told: BTreeSet::new(),
            failures_in_row: 0,
            accepted_at: None,
            next_order: 1,
        }
    }

    fn happens(&mut self, op: Op) {
        match op {
            Op::Commit { number, notice } => {
                let one = message(self.next_order, number, notice);
                self.next_order += 1;
                self.outbox.insert(one.order, one.clone());
                self.queue.offer(one, self.now);
            }
            Op::FailOpen {
                number,
                is_logged_later,
            } => {
                let one = message(self.next_order, number, Notice::Open);
                self.next_order += 1;
                assert!(self.queue.offer_unlogged(one.clone(), self.now));
                if is_logged_later {
                    self.outbox.insert(one.order, one.clone());
                    self.queue.offer(one, self.now);
                } else {
                    self.unlogged.insert(one.order, one);
                }
            }
            Op::Restart { is_received } => {
                for gone in self.under_way.drain(..).filter(|_| is_received) {
                    for one in gone.batch {
                        *self.received.entry(one.order).or_default() += 1;
                        self.untold.insert(one.order);
                    }
                }
                self.queue = Queue::new(self.pacing);
                for one in self.outbox.values() {
                    self.queue.offer(one.clone(), self.now);
                }
                // In no outbox: they went with the program.
                self.unlogged.clear();
                self.known.clear();
                self.refusals_told.clear();
                self.failures_in_row = 0;
                self.accepted_at = None;
            }
            Op::Settings => {
                self.queue.retry_now(self.pacing, self.now);
                self.failures_in_row = 0;
                if self.pacing == Pacing::Paced {
                    // Perhaps everything is read now.
                    for known in self.known.values_mut().filter(|known| known.lets_pass()) {
                        (known.is_refused, known.fails_alone) = (false, false);
                        known.tries_since = 0;
                    }
                }
            }
        }
    }

    /// What an accepted message may not have left behind.
    fn may_arrive(&self, batch: &[Message]) {
        for one in batch {
            let waiting = self.outbox.values().chain(self.unlogged.values());
            for before in waiting.filter(|before| before.order < one.order) {
                let is_same = Subject::of(before) == Subject::of(one);
                let goes_along = batch.iter().any(|other| other.order == before.order);
                let known = self.known.get(&before.order).copied().unwrap_or_default();
                assert!(
                    !is_same || goes_along || known.lets_pass(),
                    "{} overtook {}: {known:?}",
                    one.order,
                    before.order
                );
            }
        }
    }

    fn send(&mut self) {
        while let Some(batch) = self.queue.next(self.now) {
            assert!(batch.is_sorted_by_key(|one| one.order));
            match self.pacing {
                Pacing::Abreast => assert_eq!(batch.len(), 1),
                Pacing::Paced => {
                    assert!(self.under_way.is_empty());
                    let since = self.accepted_at.map(|last| self.now.since_ms(last));
                    assert!(since.is_none_or(|since| since >= PAGE_SPACING_MS));
                }
            }
            self.may_arrive(&batch);
            for one in &batch {
                self.known.entry(one.order).or_default().was_begun = true;
            }
            let reply = self.replies.next().unwrap_or(Reply {
                answer: Answer::Accepted,
                takes_ms: 1,
            });
            self.under_way.push(Try {
                ends: self.now.plus_ms(reply.takes_ms),
                answer: reply.answer,
                batch,
            });
        }
        assert!(self.under_way.len() <= IN_FLIGHT_MAX);
    }

    fn answers(&mut self, over: Try) {
        let Try { answer, batch, .. } = over;
        let (lead, now) = (batch[0].key, self.now);
        let verdicts = self.queue.answered(lead, answer, self.jitter, now);
        if answer == Answer::Accepted {
            let expected: Vec<Verdict> = batch
                .iter()
                .map(|one| Verdict::Accepted {
                    key: one.key,
                    logged: if self.outbox.contains_key(&one.order) {
                        Logged::Yes
                    } else {
                        Logged::No
                    },
                    carried_by: (one.key != lead).then_some(lead),
                })
                .collect();
            assert_eq!(verdicts, expected);
            self.accepts(&batch);
            return;
        }
        let first_refusal = |one: &&Message| {
            matches!(answer, Answer::Refused { .. })
                && self.outbox.contains_key(&one.order)
                && !self.refusals_told.contains(&one.key)
        };
        let expected: Vec<Digest> = batch
            .iter()
            .filter(first_refusal)
            .map(|one| one.key)
            .collect();
        let told = verdicts.iter().map(|verdict| match verdict {
            Verdict::Refused { key, http_status } => {
                assert_eq!(*http_status, 400);
                *key
            }
            Verdict::Accepted { .. } => panic!("{verdict:?} after {answer:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
        self.refusals_told.extend(expected);
        self.fails(&batch, answer);
    }

    fn accepts(&mut self, batch: &[Message]) {
        let was_apart = batch
            .iter()
            .any(|one| self.known.get(&one.order).is_some_and(Known::lets_pass));
        for one in batch {
            self.outbox.remove(&one.order);
            self.unlogged.remove(&one.order);
            self.known.remove(&one.order);
            *self.received.entry(one.order).or_default() += 1;
        }
        for known in self.known.values_mut() {
            known.is_passed |= known.was_begun;
            if self.pacing == Pacing::Paced {
                known.tries_since = 0;
                if was_apart {
                    (known.is_refused, known.fails_alone) = (false, false);
                }
            }
        }
        self.failures_in_row = 0;
        self.accepted_at = Some(self.now);
    }

    fn fails(&mut self, batch: &[Message], answer: Answer) {
        let is_refused = matches!(answer, Answer::Refused { .. });
        self.failures_in_row = if is_refused {
            0
        } else {
            self.failures_in_row + 1
        };
        let subject = Subject::of(&batch[0]);
        // What was before it and waits in the line keeps it there, too.
        let has_earlier = self
            .outbox
            .values()
            .chain(self.unlogged.values())
            .filter(|one| one.order < batch[0].order && Subject::of(one) == subject)
            .any(|one| !self.known.get(&one.order).is_some_and(Known::lets_pass));
        let is_alone = batch.iter().all(|one| Subject::of(one) == subject) && !has_earlier;
        for one in batch {
            let known = self.known.entry(one.order).or_default();
            known.tries += 1;
            known.tries_since += 1;
        }
        // An alert is apart as far as it was in one transmission.
        let all =
            |holds: fn(&Known) -> bool| batch.iter().all(|one| holds(&self.known[&one.order]));
        let is_tried_often = !all(|known| known.tries_since < FAILING_TRIES);
        let is_its_own_fault = is_alone && all(|known| known.is_passed) && is_tried_often;
        for one in batch {
            let known = self.known.entry(one.order).or_default();
            match self.pacing {
                Pacing::Abreast => {
                    known.is_refused = is_refused;
                    known.fails_alone |= !is_refused
                        && known.is_passed
                        && known.tries >= FAILING_TRIES
                        && self.failures_in_row < DOWN_AFTER;
                }
                Pacing::Paced => {
                    known.is_refused |= is_alone && is_refused;
                    known.fails_alone |= is_its_own_fault;
                }
            }
        }
    }

    /// Lets time pass until `until`, or if it is `None` until nothing waits any more.
    fn passes(&mut self, until: Option<Elapsed>) {
        let mut steps = 0;
        loop {
            self.send();
            self.queue.turned(self.now);
            let answer_at = self.under_way.iter().map(|one| one.ends).min();
            let next = [answer_at, self.queue.wake_at(), until];
            let Some(next) = next.into_iter().flatten().min() else {
                break;
            };
            assert!(next >= self.now || self.queue.wake_at() == Some(next));
            self.now = self.now.max(next);
            if answer_at.is_some_and(|at| at <= self.now)
                && let Some(index) = self.under_way.iter().position(|one| one.ends <= self.now)
            {
                let over = self.under_way.remove(index);
                self.answers(over);
            } else if until.is_some_and(|until| until <= self.now) {
                break;
            }
            steps += 1;
            assert!(
                steps < 10_000,
                "it does not come to an end: {:?}",
                self.queue
            );
        }
    }
}

fn lives(pacing: Pacing, ops: Vec<(u64, Op)>, replies: Vec<Reply>, jitter: u64) {
    let mut world = World::new(pacing, replies, jitter);
    for (after_ms, op) in ops {
        let until = world.now.plus_ms(after_ms);
        world.passes(Some(until));
        world.happens(op);
    }
    let committed: Vec<u64> = world.outbox.keys().copied().collect();
    world.passes(None);
    assert!(world.outbox.is_empty() && world.queue.waiting() == 0);
    for order in committed {
        assert!(world.received.contains_key(&order), "{order} is lost");
    }
    for (order, times) in &world.received {
        assert!(
            *times == 1 || world.untold.contains(order),
            "{order} was received {times} times"
        );
    }
}

/// Tries and time until everything but the poison has arrived. Later tries of what is known to be poison do not count.
fn sorts(alerts: u64, poison: &BTreeSet<u64>, refusal: Answer, jitter: u64) -> (u64, u64) {
    let mut queue = Queue::new(Pacing::Paced);
    for order in 0..alerts {
        queue.offer(message(order, order, Notice::Open), NOW);
    }
    let (mut now, mut tries) = (NOW, 0);
    let mut known = BTreeSet::new();
    while queue.waiting() > poison.len() {
        queue.turned(now);
        let Some(batch) = queue.next(now) else {
            now = now.max(queue.wake_at().unwrap());
            continue;
        };
        let is_known = matches!(&batch[..], [one] if poison.contains(&one.order))
            && !known.insert(batch[0].order);
        tries += u64::from(!is_known);
        assert!(tries < 100_000, "it does not come to an end");
        let is_poisoned = batch.iter().any(|one| poison.contains(&one.order));
        let answer = if is_poisoned {
            refusal
        } else {
            Answer::Accepted
        };
        queue.answered(batch[0].key, answer, jitter, now);
    }
    (tries, now.since_ms(NOW))
}

proptest! {
    /// Whatever happens, a machine gets each message once, and of one alert in order unless it would not read one.
    #[test]
    fn every_message_arrives_once_at_a_machine(
        ops in prop::collection::vec((0..90_000_u64, op()), 1..40),
        replies in prop::collection::vec(reply(), 0..120),
        jitter: u64,
    ) {
        lives(Pacing::Abreast, ops, replies, jitter);
    }

    /// The same for a person, who moreover is left the time to read.
    #[test]
    fn every_message_arrives_once_at_a_person(
        ops in prop::collection::vec((0..90_000_u64, op()), 1..40),
        replies in prop::collection::vec(reply(), 0..120),
        jitter: u64,
    ) {
        lives(Pacing::Paced, ops, replies, jitter);
    }

    /// Whatever is not read, refused or choked on, the rest arrives after a bounded number of tries.
    #[test]
    fn poison_does_not_keep_the_rest_from_arriving(
        alerts in 1..40_u64,
        poison in prop::collection::btree_set(0..40_u64, 0..6),
        is_refused: bool,
        jitter: u64,
    ) {
        let poison: BTreeSet<u64> = poison.into_iter().filter(|one| *one < alerts).collect();
        let halvings = u64::from(alerts.ilog2()) + 2;
        let bad = poison.len() as u64;
        let (tries, _) = sorts(alerts, &poison, if is_refused { REFUSED } else { BUSY }, jitter);
        // Each refusal but the last of a row makes the part smaller, each row ends with an acceptance or with one apart.
        // What is only busy is tried as a whole several times before it is cut.
        let rows = (halvings + 1) * (bad + 1) + bad;
        let a_row = if is_refused { halvings } else { u64::from(PART_EVERY) * (halvings + bad) };
        prop_assert!(tries <= rows * a_row, "{tries} tries for {bad} of {alerts}");
    }
}

#[test]
fn one_poison_message_among_a_hundred_costs_the_others_minutes_at_most() {
    for poison in 0..100 {
        let (_, took_ms) = sorts(100, &BTreeSet::from([poison]), REFUSED, DRAWN);
        assert!(took_ms <= 6 * 60_000, "{poison}: {took_ms}");
    }
}
