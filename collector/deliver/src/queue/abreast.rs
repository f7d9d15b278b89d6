//! Which message a machine is told next: one message each, several under way.
//!
//! - **Order.** Of one alert's messages the next goes only when the one before is accepted. A *refused* message lets the
//!   later ones pass: what the receiver will not read must not keep it from hearing that things got worse. So does one
//!   that *fails alone*: tried [`FAILING_TRIES`] times, the last time in vain while the receiver was not down and had
//!   accepted another since the first. What failed only because the receiver was down is tried once more in its place
//!   before it lets others pass.
//! - **A receiver that is down** (failures in a row, [`DOWN_AFTER`]) is tried with one message at a time, a different one
//!   each time; the first that is accepted sets free at once those that waited for it. What was refused or fails alone
//!   waits for something else, and keeps its own delay and `Retry-After`.

use std::collections::HashSet;

use vigie_core::time::Elapsed;

use super::{
    Answer, DOWN_AFTER, FAILING_TRIES, Line, Place, RETRY, RETRY_REFUSED, Waiting, asked_ms,
    paced::Subject,
};

/// How many requests to one receiver may be under way: as many as make it quick and do not hurt a small one.
pub const IN_FLIGHT_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Abreast {
    failures_in_row: u32,
    /// While down: no try before this.
    resume: Elapsed,
}

impl Waiting {
    /// Whether its delay is about itself and not about the receiver.
    const fn has_own_delay(&self) -> bool {
        self.is_refused || self.is_apart
    }

    const fn holds_back(&self, is_down: bool) -> bool {
        let lets_pass = self.is_refused || (self.is_apart && !is_down);
        self.is_in_flight || !lets_pass
    }
}

impl Abreast {
    const fn is_down(&self) -> bool {
        self.failures_in_row >= DOWN_AFTER
    }

    const fn in_flight_max(&self) -> usize {
        if self.is_down() { 1 } else { IN_FLIGHT_MAX }
    }

    pub(super) fn next(&self, line: &Line, in_flight: usize, now: Elapsed) -> Option<Place> {
        let is_down = self.is_down();
        if in_flight >= self.in_flight_max() || (is_down && self.resume > now) {
            return None;
        }
        candidates(line, is_down)
            // The pause of a receiver that is down stands for those of its messages that have no delay of their own.
            .filter(|(_, waiting)| waiting.due <= now || (is_down && !waiting.has_own_delay()))
            .min_by_key(|(place, waiting)| (waiting.due, **place))
            .map(|(place, _)| *place)
    }

    pub(super) fn wake_at(&self, line: &Line, in_flight: usize) -> Option<Elapsed> {
        if in_flight >= self.in_flight_max() {
            return None;
        }
        let is_down = self.is_down();
        candidates(line, is_down)
            .map(|(_, waiting)| match (is_down, waiting.has_own_delay()) {
                (true, false) => self.resume,
                (true, true) => self.resume.max(waiting.due),
                (false, _) => waiting.due,
            })
            .min()
    }

    /// A message was accepted, and is not in the line any more.
    pub(super) fn accepted(&mut self, line: &mut Line, was_refused: bool, now: Elapsed) {
        let was_down = self.is_down();
        self.failures_in_row = 0;
        for waiting in line.values_mut() {
            let is_freed = if waiting.is_refused {
                // Whatever it would not read before, it reads now.
                was_refused
            } else {
                was_down && !waiting.is_apart
            };
            if is_freed {
                waiting.due = waiting.due.min(now);
            }
        }
    }

    pub(super) fn failed(
        &mut self,
        line: &mut Line,
        places: &[Place],
        answer: Answer,
        jitter: u64,
        now: Elapsed,
    ) {
        let asked = asked_ms(answer);
        let is_refused = matches!(answer, Answer::Refused { .. });
        if is_refused {
            // It is there and reads what it is sent.
            self.failures_in_row = 0;
        } else {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            let tries = self.failures_in_row;
            self.resume = self
                .resume
                .max(now.plus_ms(RETRY.delay_ms(tries, jitter, asked)));
        }
        let backoff = if is_refused { RETRY_REFUSED } else { RETRY };
        let is_down = self.is_down();
        for place in places {
            if let Some(waiting) = line.get_mut(place) {
                waiting.due = now.plus_ms(backoff.delay_ms(waiting.tries, jitter, asked));
                waiting.is_apart |=
                    !is_refused && waiting.is_passed && waiting.tries >= FAILING_TRIES && !is_down;
            }
        }
    }

    pub(super) const fn retry_now(&mut self) {
        self.failures_in_row = 0;
    }
}

/// Messages that no earlier one of the same alert holds back.
fn candidates(line: &Line, is_down: bool) -> impl Iterator<Item = (&Place, &Waiting)> {
    let mut held_back = HashSet::new();
    line.iter().filter(move |(_, waiting)| {
        let subject = Subject::of(&waiting.message);
        let is_free = !waiting.is_in_flight && !held_back.contains(&subject);
        if waiting.holds_back(is_down) {
            held_back.insert(subject);
        }
        is_free
    })
}
