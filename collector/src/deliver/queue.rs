//! What waits for one receiver, and which of it goes next. Decides and does nothing else: `now` and jitter come in.
//!
//! ```text
//!               offered         accepted
//!   (outbox) ───────────► waiting ─────► gone
//!                          ▲   │
//!    no answer, busy:      └───┤  tried again after a growing delay, at most RETRY.max_ms (or Retry-After, capped)
//!    refused:                  └─ refused: tried again every few minutes, and holds nobody back any more
//! ```
//! - **Order.** Of one alert's messages the next goes only when the one before is accepted, so that an end never
//!   overtakes its beginning. A *refused* message lets the later ones pass: what the receiver will not read must not
//!   keep it from hearing that things got worse. So does one that *fails alone*: tried [`FAILING_TRIES`] times, the last
//!   time in vain while the receiver was not down and had accepted another since the first. What failed only because
//!   the receiver was down is tried once more in its place before it lets others pass.
//! - **Nothing is given up.** A message leaves only by being accepted, or with its receiver.
//! - **A receiver that is down** (failures in a row, [`DOWN_AFTER`]) is tried with one message at a time, a different one
//!   each time; the first that is accepted sets free at once those that waited for it. What was refused or fails alone
//!   waits for something else, and keeps its own delay and `Retry-After`.
//! - **Failing** is said of a receiver while a message waits that was refused, was tried [`FAILING_TRIES`] times, or was
//!   tried first [`FAILING_AFTER_MS`] ago. Two answers in turn do not make it flap.

use std::collections::{BTreeMap, HashMap, HashSet};

use vigie_core::{alert::Message, backoff::Backoff, digest::Digest, time::Elapsed};

/// How many messages of one receiver are held here, and asked for at a time; the rest wait in the outbox. With what is
/// left when more comes this is at most 1,500 of about 1 KiB, and minutes of work for the receiver.
pub const QUEUE_LEN_MAX: usize = 1_000;

/// How many messages that could not be written down are held for one receiver. They are in no outbox, so what does not
/// fit is lost, and counted; the engine tells of critical alerts only.
pub const UNLOGGED_LEN_MAX: usize = 10_000;

/// When this few are left, more are asked for.
const REFILL_BELOW: usize = QUEUE_LEN_MAX / 2;

/// An answer to asking for more that does not come is asked for again after this.
const REFILL_AGAIN_MS: u64 = 60_000;

/// How many requests to one receiver may be under way: as many as make it quick and do not hurt a small one.
pub const IN_FLIGHT_MAX: usize = 4;

/// After so many failures in a row a receiver counts as down.
pub const DOWN_AFTER: u32 = 3;

/// A receiver fails when one message was tried this often; with others accepted beside it, the message fails alone.
pub const FAILING_TRIES: u32 = 3;

/// A receiver fails when one message was tried first this long ago.
pub const FAILING_AFTER_MS: u64 = 30_000;

/// Delays between tries of what may be accepted the next time.
pub const RETRY: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 60_000,
};

/// Delays between tries of what was refused: somebody has to change a setting first.
pub const RETRY_REFUSED: Backoff = Backoff {
    first_ms: 60_000,
    max_ms: 300_000,
};

/// A `Retry-After` beyond this is cut: a silly or hostile one must not lose a page.
pub const RETRY_AFTER_MAX_MS: u64 = 300_000;

/// Whether a message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// Its outbox row goes when it is accepted.
    Yes,
    /// It goes out before it could be written down.
    No,
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// HTTP 2xx, SMTP 250: the receiver has it.
    Accepted,
    /// HTTP 429 or 5xx, SMTP 4yz.
    Busy {
        /// The status or reply code.
        http_status: u16,
        /// What it asked for.
        retry_after_ms: Option<u64>,
    },
    /// HTTP: a redirect, or a 4xx that says this request will never do. SMTP: 5yz.
    Refused {
        /// The status or reply code.
        http_status: u16,
    },
    /// None: no connection, no trust, no end in time.
    None,
}

/// What the receiver's state became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// It does not accept messages.
    Failing {
        /// How many wait here.
        waiting: u64,
        /// Its last answer, 0 when there was none.
        http_status: u16,
    },
    /// It accepts them again.
    Working,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    logged: Logged,
    tries: u32,
    first_try: Option<Elapsed>,
    due: Elapsed,
    is_refused: bool,
    /// Something else was accepted since `first_try`.
    is_passed: bool,
    /// It was tried often while the receiver accepted others; once true, always.
    fails_alone: bool,
    is_in_flight: bool,
}

impl Waiting {
    /// Whether its delay is about itself and not about the receiver.
    const fn has_own_delay(&self) -> bool {
        self.is_refused || self.fails_alone
    }

    const fn holds_back(&self, is_down: bool) -> bool {
        let lets_pass = self.is_refused || (self.fails_alone && !is_down);
        self.is_in_flight || !lets_pass
    }
}

/// Position in the queue. Messages that were never logged may share an `order`, hence the key.
type Place = (u64, Digest);

/// The messages of one receiver.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<Place, Waiting>,
    places: HashMap<Digest, Place>,
    /// The highest `order` ever held here; what is asked for comes after it.
    reached: u64,
    /// Messages beyond `reached` may be in the outbox and not here.
    has_more: bool,
    /// The highest `order` that was offered and left in the outbox.
    left: u64,
    /// When more was asked for, and what `left` was then: whatever was left before is in the answer.
    refill_asked: Option<(Elapsed, u64)>,
    failures_in_row: u32,
    /// While down: no try before this.
    resume: Elapsed,
    last_http_status: u16,
    standing: Standing,
    was_accepted: bool,
}

/// What was last said of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// Nothing since the start. A run before may have said that it fails, so the first success is worth a word.
    #[default]
    Unsaid,
    Failing,
    Working,
}

impl Queue {
    /// How many messages are here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the receiver was last said to fail.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        matches!(self.standing, Standing::Failing)
    }

    /// The order after which messages of the outbox are not here, if there may be such.
    #[must_use]
    pub fn more_after(&self) -> Option<u64> {
        self.has_more.then_some(self.reached)
    }

    /// Takes a message of the outbox that has just been committed. Messages come in their order; one that does not fit
    /// is left in the outbox, and so are all after it until [`Queue::refill`].
    pub fn offer(&mut self, message: Message, now: Elapsed) {
        if self.has_more || self.waiting.len() >= QUEUE_LEN_MAX {
            self.has_more = true;
            self.left = self.left.max(message.order);
        } else {
            self.hold(message, Logged::Yes, now);
        }
    }

    /// Takes a message that could not be written down; `false` if it does not fit.
    pub fn offer_unlogged(&mut self, message: Message, now: Elapsed) -> bool {
        if self.waiting.len() >= UNLOGGED_LEN_MAX {
            return false;
        }
        self.hold(message, Logged::No, now);
        true
    }

    /// Takes what was asked for: messages after [`Queue::wants_more`]'s order, in their order. Fewer than
    /// [`QUEUE_LEN_MAX`] mean that the outbox had no more when it was looked at.
    pub fn refill(&mut self, messages: Vec<Message>, now: Elapsed) {
        let left_before = self.refill_asked.take().map_or(0, |(_, left)| left);
        let is_whole = messages.len() < QUEUE_LEN_MAX;
        for message in messages {
            if message.order > self.reached {
                self.hold(message, Logged::Yes, now);
            }
        }
        // What was offered and left while the answer was on its way is perhaps not in it.
        self.has_more = !is_whole || self.left > self.reached.max(left_before);
    }

    fn hold(&mut self, message: Message, logged: Logged, now: Elapsed) {
        if logged == Logged::Yes {
            self.reached = self.reached.max(message.order);
        }
        if let Some(place) = self.places.get(&message.key) {
            // Sent before it was logged, and logged since.
            if let (Logged::Yes, Some(same)) = (logged, self.waiting.get_mut(place)) {
                same.logged = Logged::Yes;
            }
            return;
        }
        self.places
            .insert(message.key, (message.order, message.key));
        self.waiting.insert(
            (message.order, message.key),
            Waiting {
                message,
                logged,
                tries: 0,
                first_try: None,
                due: now,
                is_refused: false,
                is_passed: false,
                fails_alone: false,
                is_in_flight: false,
            },
        );
    }

    /// The order after which more messages are wanted from the outbox, if any are and nobody was asked lately.
    pub fn wants_more(&mut self, now: Elapsed) -> Option<u64> {
        let was_asked = self
            .refill_asked
            .is_some_and(|(asked, _)| now.since_ms(asked) < REFILL_AGAIN_MS);
        if !self.has_more || was_asked || self.waiting.len() > REFILL_BELOW {
            return None;
        }
        self.refill_asked = Some((now, self.left));
        Some(self.reached)
    }

    /// The message to send now, which then counts as under way until [`Queue::answered`].
    pub fn next(&mut self, now: Elapsed) -> Option<Message> {
        let is_down = self.is_down();
        let in_flight = self.in_flight().count();
        if in_flight >= self.in_flight_max() || (is_down && self.resume > now) {
            return None;
        }
        let place = self
            .candidates()
            // The pause of a receiver that is down stands for those of its messages that have no delay of their own.
            .filter(|(_, waiting)| waiting.due <= now || (is_down && !waiting.has_own_delay()))
            .min_by_key(|(place, waiting)| (waiting.due, **place))
            .map(|(place, _)| *place)?;
        let waiting = self.waiting.get_mut(&place)?;
        waiting.is_in_flight = true;
        waiting.first_try.get_or_insert(now);
        Some(waiting.message.clone())
    }

    /// When [`Queue::next`] or [`Queue::turned`] may have something new to say, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Elapsed> {
        let is_down = self.is_down();
        let has_room = self.in_flight().count() < self.in_flight_max();
        let next = self
            .candidates()
            .map(|(_, waiting)| match (is_down, waiting.has_own_delay()) {
                (true, false) => self.resume,
                (true, true) => self.resume.max(waiting.due),
                (false, _) => waiting.due,
            })
            .min()
            .filter(|_| has_room);
        let failing = self
            .waiting
            .values()
            .filter_map(|waiting| waiting.first_try)
            .min()
            .filter(|_| !self.is_failing())
            .map(|first| first.plus_ms(FAILING_AFTER_MS));
        let refill = self
            .refill_asked
            .filter(|_| self.has_more)
            .map(|(asked, _)| asked.plus_ms(REFILL_AGAIN_MS));
        [next, failing, refill].into_iter().flatten().min()
    }

    /// Takes the answer to a message that [`Queue::next`] gave. Returns whether it was in the log, if it is gone now.
    pub fn answered(
        &mut self,
        key: Digest,
        answer: Answer,
        jitter: u64,
        now: Elapsed,
    ) -> Option<Logged> {
        let place = *self.places.get(&key)?;
        if answer == Answer::Accepted {
            self.places.remove(&key);
            let gone = self.waiting.remove(&place)?;
            let was_down = self.is_down();
            self.failures_in_row = 0;
            self.was_accepted = true;
            for waiting in self.waiting.values_mut() {
                waiting.is_passed |= waiting.first_try.is_some();
                let is_freed = if waiting.is_refused {
                    // Whatever it would not read before, it reads now.
                    gone.is_refused
                } else {
                    was_down && !waiting.fails_alone
                };
                if is_freed {
                    waiting.due = waiting.due.min(now);
                }
            }
            return Some(gone.logged);
        }
        let waiting = self.waiting.get_mut(&place)?;
        waiting.is_in_flight = false;
        waiting.tries = waiting.tries.saturating_add(1);
        let (backoff, http_status, asked) = match answer {
            Answer::Refused { http_status } => (RETRY_REFUSED, http_status, None),
            Answer::Busy {
                http_status,
                retry_after_ms,
            } => (RETRY, http_status, retry_after_ms),
            Answer::None | Answer::Accepted => (RETRY, 0, None),
        };
        let asked = asked.map(|asked| asked.min(RETRY_AFTER_MAX_MS));
        waiting.is_refused = matches!(answer, Answer::Refused { .. });
        waiting.due = now.plus_ms(backoff.delay_ms(waiting.tries, jitter, asked));
        self.last_http_status = http_status;
        if waiting.is_refused {
            // It is there and reads what it is sent.
            self.failures_in_row = 0;
        } else {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            let tries = self.failures_in_row;
            self.resume = self
                .resume
                .max(now.plus_ms(RETRY.delay_ms(tries, jitter, asked)));
            waiting.fails_alone |= waiting.is_passed
                && waiting.tries >= FAILING_TRIES
                && self.failures_in_row < DOWN_AFTER;
        }
        None
    }

    /// Tries everything again at once: the receiver's settings have changed.
    pub fn retry_now(&mut self, now: Elapsed) {
        self.failures_in_row = 0;
        for waiting in self.waiting.values_mut() {
            waiting.due = waiting.due.min(now);
        }
    }

    /// Whether the receiver has begun to fail or works again since this was last asked.
    pub fn turned(&mut self, now: Elapsed) -> Option<Turned> {
        let is_failing = self.waiting.values().any(|waiting| {
            waiting.is_refused
                || waiting.tries >= FAILING_TRIES
                || waiting
                    .first_try
                    .is_some_and(|first| now.since_ms(first) >= FAILING_AFTER_MS)
        });
        let standing = match (is_failing, self.standing) {
            (true, _) => Standing::Failing,
            (false, Standing::Unsaid) if !self.was_accepted => Standing::Unsaid,
            (false, _) => Standing::Working,
        };
        if standing == self.standing {
            return None;
        }
        self.standing = standing;
        Some(if is_failing {
            Turned::Failing {
                waiting: self.waiting.len() as u64,
                http_status: self.last_http_status,
            }
        } else {
            Turned::Working
        })
    }

    /// Empties the queue of a receiver that is no more: what was logged, with its keys.
    pub fn abandon(self) -> Vec<Message> {
        self.waiting
            .into_values()
            .filter(|waiting| waiting.logged == Logged::Yes)
            .map(|waiting| waiting.message)
            .collect()
    }

    const fn is_down(&self) -> bool {
        self.failures_in_row >= DOWN_AFTER
    }

    const fn in_flight_max(&self) -> usize {
        if self.is_down() { 1 } else { IN_FLIGHT_MAX }
    }

    fn in_flight(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values().filter(|waiting| waiting.is_in_flight)
    }

    /// Messages that no earlier one of the same alert holds back.
    fn candidates(&self) -> impl Iterator<Item = (&Place, &Waiting)> {
        let is_down = self.is_down();
        let mut held_back = HashSet::new();
        self.waiting.iter().filter(move |(_, waiting)| {
            let number = waiting.message.number;
            let is_free = !waiting.is_in_flight && !held_back.contains(&number);
            if waiting.holds_back(is_down) {
                held_back.insert(number);
            }
            is_free
        })
    }
}

#[cfg(test)]
mod tests;
