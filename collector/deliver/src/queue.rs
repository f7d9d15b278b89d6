//! What waits for one destination, and which of it goes next. Decides and does nothing else: `now` and jitter come in.
//!
//! ```text
//!               offered         accepted
//!   (outbox) ───────────► waiting ─────► gone
//!                          ▲   │
//!    no answer, busy:      └───┤  tried again after a growing delay, at most RETRY.max_ms (or Retry-After, capped)
//!    refused:                  └─ refused: tried again every few minutes, and holds nobody back any more
//! ```
//! Machines are told message by message, several at once ([`abreast`]). People are told in few transmissions, each of
//! which says everything that waits ([`paced`]). For both:
//!
//! - **Nothing is given up.** A message leaves only by being accepted, or with its destination.
//! - **Order.** An end never overtakes its beginning, except one that its receiver will not read.
//! - **What was refused** is tried again, and its first refusal is told ([`Verdict::Refused`]): whoever comes next need
//!   not wait for the second.
//! - **Failing** is said of a destination while a message waits that was refused, was tried [`FAILING_TRIES`] times, or
//!   was tried first [`FAILING_AFTER_MS`] ago. Two answers in turn do not make it flap.
//! - **A restart** forgets delays and when something was accepted last: what waits goes at once, under the same keys.

mod abreast;
mod paced;

use std::collections::{BTreeMap, HashMap};

use vigie_core::{backoff::Backoff, digest::Digest, time::Elapsed};
use vigie_decide::alert::Message;

use self::{abreast::Abreast, paced::Paced};
pub use self::{
    abreast::IN_FLIGHT_MAX,
    paced::{PAGE_SPACING_MS, PART_EVERY, SPACING_MS, is_page},
};

/// How many messages of one destination that is not paced are held here, and how many of any destination are asked for
/// at a time; the rest wait in the outbox. With what is left when more comes this is at most 1,500 of about 2 KiB, and
/// minutes of work for the receiver.
pub const QUEUE_LEN_MAX: usize = 1_000;

/// How many messages of one paced destination are held here: a storm of 10,000 alerts, beginnings and ends, must be told
/// in one transmission. At about 2 KiB each 40 MiB, and while they are under way as much again for the copy; only a
/// storm fills it, and one transmission empties it.
pub const PACED_LEN_MAX: usize = 20_000;

/// How many messages that could not be written down are held for one destination, beside as many others as may be. They
/// are in no outbox, so what does not fit is lost, and counted; the engine tells of critical alerts only.
pub const UNLOGGED_LEN_MAX: usize = 10_000;

/// An answer to asking for more that does not come is asked for again after this.
const REFILL_AGAIN_MS: u64 = 60_000;

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

/// How a destination is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// A machine: one message each, at once, several under way.
    Abreast,
    /// A person: everything that waits in one transmission, with time to read it before the next.
    Paced,
}

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

/// What an answer means for one message of the transmission that it was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived, and is gone from here.
    Accepted {
        /// The message.
        key: Digest,
        /// Whether it is in the log.
        logged: Logged,
        /// The message under whose name it travelled, if not its own.
        carried_by: Option<Digest>,
    },
    /// It is in the log, and was refused for the first time. It is tried again all the same.
    Refused {
        /// The message.
        key: Digest,
        /// The status or reply code.
        http_status: u16,
    },
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
    /// Not paced: no try before this.
    due: Elapsed,
    /// The last answer was a refusal.
    is_refused: bool,
    /// Its first refusal was told.
    is_refusal_told: bool,
    /// Something else was accepted since `first_try`.
    is_passed: bool,
    /// It was refused or failed by itself, while the receiver read others: it holds nobody back.
    is_apart: bool,
    is_in_flight: bool,
    /// Paced: failed tries as the only alert of a part.
    probed: u32,
}

/// Position in the queue. Messages that were never logged may share an `order`, hence the key.
type Place = (u64, Digest);

/// Everything that waits, in its order.
type Line = BTreeMap<Place, Waiting>;

/// What goes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All that may go.
    Whole,
    /// Some of it, because the whole did not arrive.
    Part,
    /// What was never tried, beside what is sorted out.
    Fresh,
    /// One alert that is apart.
    Apart,
}

#[derive(Debug)]
struct Transmission {
    places: Vec<Place>,
    kind: Kind,
}

#[derive(Debug)]
enum Schedule {
    Abreast(Abreast),
    Paced(Paced),
}

/// The messages of one destination.
#[derive(Debug)]
pub struct Queue {
    line: Line,
    places: HashMap<Digest, Place>,
    /// What is under way, by its first message.
    in_flight: HashMap<Digest, Transmission>,
    way: Schedule,
    /// The highest `order` ever held here; what is asked for comes after it.
    reached: u64,
    /// Messages beyond `reached` may be in the outbox and not here.
    has_more: bool,
    /// The highest `order` that was offered and left in the outbox.
    left: u64,
    /// When more was asked for, and what `left` was then: whatever was left before is in the answer.
    refill_asked: Option<(Elapsed, u64)>,
    last_http_status: u16,
    /// The earliest first try of what waits.
    first_try: Option<Elapsed>,
    /// Something waits that was refused or tried too often.
    is_in_vain: bool,
    standing: Standing,
    was_accepted: bool,
    /// A message changed that waits: what is counted by alerts has to be counted anew.
    is_renumbered: bool,
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

impl Schedule {
    fn new(pacing: Pacing) -> Self {
        match pacing {
            Pacing::Abreast => Self::Abreast(Abreast::default()),
            Pacing::Paced => Self::Paced(Paced::default()),
        }
    }

    const fn pacing(&self) -> Pacing {
        match self {
            Self::Abreast(_) => Pacing::Abreast,
            Self::Paced(_) => Pacing::Paced,
        }
    }
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new(pacing: Pacing) -> Self {
        Self {
            line: Line::new(),
            places: HashMap::new(),
            in_flight: HashMap::new(),
            way: Schedule::new(pacing),
            reached: 0,
            has_more: false,
            left: 0,
            refill_asked: None,
            last_http_status: 0,
            first_try: None,
            is_in_vain: false,
            standing: Standing::Unsaid,
            was_accepted: false,
            is_renumbered: false,
        }
    }

    /// How many messages are here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.len()
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

    const fn len_max(&self) -> usize {
        match self.way {
            Schedule::Abreast(_) => QUEUE_LEN_MAX,
            Schedule::Paced(_) => PACED_LEN_MAX,
        }
    }

    /// Takes a message of the outbox that has just been committed. Messages come in their order; one that does not fit
    /// is left in the outbox, and so are all after it until [`Queue::refill`].
    pub fn offer(&mut self, message: Message, now: Elapsed) {
        if self.has_more || self.line.len() >= self.len_max() {
            self.has_more = true;
            self.left = self.left.max(message.order);
        } else {
            self.hold(message, Logged::Yes, now);
        }
    }

    /// Takes a message that could not be written down; `false` if it does not fit.
    pub fn offer_unlogged(&mut self, message: Message, now: Elapsed) -> bool {
        if self.line.len() >= self.len_max() + UNLOGGED_LEN_MAX {
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
            // Sent before it was logged, and logged since. Only now its alert has its number for life, and what comes
            // after it waits for it by that number.
            if let (Logged::Yes, Some(same)) = (logged, self.line.get_mut(place)) {
                same.logged = Logged::Yes;
                same.message.body = message.body;
                self.is_renumbered = true;
            }
            return;
        }
        let place = (message.order, message.key);
        let waiting = Waiting {
            message,
            logged,
            tries: 0,
            first_try: None,
            due: now,
            is_refused: false,
            is_refusal_told: false,
            is_passed: false,
            is_apart: false,
            is_in_flight: false,
            probed: 0,
        };
        if let Schedule::Paced(paced) = &mut self.way {
            paced.held(place, &waiting);
        }
        self.places.insert(place.1, place);
        self.line.insert(place, waiting);
    }

    /// The order after which more messages are wanted from the outbox, if any are and nobody was asked lately.
    pub fn wants_more(&mut self, now: Elapsed) -> Option<u64> {
        let was_asked = self
            .refill_asked
            .is_some_and(|(asked, _)| now.since_ms(asked) < REFILL_AGAIN_MS);
        if !self.has_more || was_asked || self.line.len() > self.len_max() / 2 {
            return None;
        }
        self.refill_asked = Some((now, self.left));
        Some(self.reached)
    }

    /// The transmission to make now, its messages in their order. It then counts as under way, under the key of the
    /// first, until [`Queue::answered`]. Exactly one message where the destination is not paced.
    pub fn next(&mut self, now: Elapsed) -> Option<Vec<Message>> {
        if std::mem::take(&mut self.is_renumbered)
            && let Schedule::Paced(paced) = &mut self.way
        {
            paced.recount(&self.line);
        }
        let (places, kind) = match &mut self.way {
            Schedule::Abreast(abreast) => {
                let place = abreast.next(&self.line, self.in_flight.len(), now)?;
                (vec![place], Kind::Whole)
            }
            Schedule::Paced(_) if !self.in_flight.is_empty() => return None,
            Schedule::Paced(paced) => paced.next(&self.line, now)?,
        };
        let mut batch = Vec::with_capacity(places.len());
        for place in &places {
            if let Some(waiting) = self.line.get_mut(place) {
                waiting.is_in_flight = true;
                waiting.first_try.get_or_insert(now);
                batch.push(waiting.message.clone());
            }
        }
        let lead = batch.first()?.key;
        self.in_flight.insert(lead, Transmission { places, kind });
        self.first_try.get_or_insert(now);
        Some(batch)
    }

    /// When [`Queue::next`] or [`Queue::turned`] may have something new to say, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Elapsed> {
        let next = match &self.way {
            Schedule::Abreast(abreast) => abreast.wake_at(&self.line, self.in_flight.len()),
            Schedule::Paced(paced) => paced.wake_at().filter(|_| self.in_flight.is_empty()),
        };
        let failing = self
            .first_try
            .filter(|_| !self.is_failing())
            .map(|first| first.plus_ms(FAILING_AFTER_MS));
        let refill = self
            .refill_asked
            .filter(|_| self.has_more)
            .map(|(asked, _)| asked.plus_ms(REFILL_AGAIN_MS));
        [next, failing, refill].into_iter().flatten().min()
    }

    /// Takes the answer to the transmission that began with `lead`, as [`Queue::next`] gave it.
    pub fn answered(
        &mut self,
        lead: Digest,
        answer: Answer,
        jitter: u64,
        now: Elapsed,
    ) -> Vec<Verdict> {
        let Some(transmission) = self.in_flight.remove(&lead) else {
            return Vec::new();
        };
        let verdicts = match answer {
            Answer::Accepted => self.accepted(lead, &transmission, now),
            Answer::Refused { .. } | Answer::Busy { .. } | Answer::None => {
                self.failed(&transmission, answer, jitter, now)
            }
        };
        if let Schedule::Paced(paced) = &mut self.way {
            paced.recount(&self.line);
        }
        self.first_try = None;
        self.is_in_vain = false;
        for waiting in self.line.values() {
            let firsts = self.first_try.into_iter().chain(waiting.first_try);
            self.first_try = firsts.min();
            self.is_in_vain |= waiting.is_refused || waiting.tries >= FAILING_TRIES;
        }
        verdicts
    }

    fn accepted(
        &mut self,
        lead: Digest,
        transmission: &Transmission,
        now: Elapsed,
    ) -> Vec<Verdict> {
        let mut was_refused = false;
        let mut verdicts = Vec::with_capacity(transmission.places.len());
        for place in &transmission.places {
            let (_, key) = *place;
            self.places.remove(&key);
            if let Some(gone) = self.line.remove(place) {
                was_refused |= gone.is_refused;
                verdicts.push(Verdict::Accepted {
                    key,
                    logged: gone.logged,
                    carried_by: (key != lead).then_some(lead),
                });
            }
        }
        self.was_accepted = true;
        for waiting in self.line.values_mut() {
            waiting.is_passed |= waiting.first_try.is_some();
        }
        match &mut self.way {
            Schedule::Abreast(abreast) => abreast.accepted(&mut self.line, was_refused, now),
            Schedule::Paced(paced) => paced.accepted(&mut self.line, transmission.kind, now),
        }
        verdicts
    }

    fn failed(
        &mut self,
        transmission: &Transmission,
        answer: Answer,
        jitter: u64,
        now: Elapsed,
    ) -> Vec<Verdict> {
        self.last_http_status = match answer {
            Answer::Refused { http_status } | Answer::Busy { http_status, .. } => http_status,
            Answer::None | Answer::Accepted => 0,
        };
        let mut verdicts = Vec::new();
        for place in &transmission.places {
            let Some(waiting) = self.line.get_mut(place) else {
                continue;
            };
            waiting.is_in_flight = false;
            waiting.tries = waiting.tries.saturating_add(1);
            waiting.is_refused = false;
            if let Answer::Refused { http_status } = answer {
                waiting.is_refused = true;
                if waiting.logged == Logged::Yes && !waiting.is_refusal_told {
                    waiting.is_refusal_told = true;
                    let key = waiting.message.key;
                    verdicts.push(Verdict::Refused { key, http_status });
                }
            }
        }
        match &mut self.way {
            Schedule::Abreast(abreast) => {
                abreast.failed(&mut self.line, &transmission.places, answer, jitter, now);
            }
            Schedule::Paced(paced) => {
                paced.failed(&mut self.line, transmission, answer, jitter, now);
            }
        }
        verdicts
    }

    /// Tries everything again at once: the destination's settings have changed, perhaps its pacing too.
    pub fn retry_now(&mut self, pacing: Pacing, now: Elapsed) {
        for waiting in self.line.values_mut() {
            waiting.due = waiting.due.min(now);
        }
        if self.way.pacing() != pacing {
            self.way = Schedule::new(pacing);
        }
        match &mut self.way {
            Schedule::Abreast(abreast) => abreast.retry_now(),
            Schedule::Paced(paced) => {
                paced.retry_now(&mut self.line);
                paced.recount(&self.line);
            }
        }
    }

    /// Whether the receiver has begun to fail or works again since this was last asked.
    pub fn turned(&mut self, now: Elapsed) -> Option<Turned> {
        let is_failing = self.is_in_vain
            || self
                .first_try
                .is_some_and(|first| now.since_ms(first) >= FAILING_AFTER_MS);
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
                waiting: self.line.len() as u64,
                http_status: self.last_http_status,
            }
        } else {
            Turned::Working
        })
    }

    /// Empties the queue of a destination that is no more: what was logged, with its keys.
    pub fn abandon(self) -> Vec<Message> {
        self.line
            .into_values()
            .filter(|waiting| waiting.logged == Logged::Yes)
            .map(|waiting| waiting.message)
            .collect()
    }
}

/// What the receiver asked for, as far as it is followed.
fn asked_ms(answer: Answer) -> Option<u64> {
    match answer {
        Answer::Busy { retry_after_ms, .. } => {
            retry_after_ms.map(|asked| asked.min(RETRY_AFTER_MAX_MS))
        }
        Answer::Accepted | Answer::Refused { .. } | Answer::None => None,
    }
}

#[cfg(test)]
mod tests;
