//! What a destination is sent next, and when. Pure.
//!
//! ```text
//!   fresh record there? ──yes──► send it                     (a delay after a failure holds back everything)
//!         │ no
//!   backlog, and its pause over? ──yes──► send its oldest    (the pause is at least as long as the last request took)
//!         │ no
//!   wait
//! ```
//! So the backlog has at most half of the time, and fresh samples never wait behind it. A record that fails by itself (a
//! 500 for ever, a body that never gets through) is put aside for a growing pause, while others go on; it is given up
//! only after [`STRIKES_MAX`] failures between which other records were taken. If nothing is taken it is not the record.

use vigie_core::{backoff::Backoff, time::Elapsed};

/// Bounds of the delay between tries while nothing is taken.
pub(super) const BACKOFF: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 30_000,
};

/// Least pause between two requests of a backlog: a day is caught up within ten minutes, and a thousand nodes that come
/// back together ask ten thousand times a second at most before their requests take longer.
const BACKLOG_PAUSE_MIN_MS: u64 = 100;

/// Records put aside at a time. More that fail at once are not the records' fault.
const ASIDE_MAX: usize = 8;

/// Pause of a record put aside; doubles with each strike.
const ASIDE_FIRST_MS: u64 = 30_000;
const ASIDE_MAX_MS: u64 = 600_000;

/// Failures of one record, others being taken in between, after which it is given up: about half an hour.
pub(super) const STRIKES_MAX: u32 = 8;

/// What an answer means for the record it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done with.
    Taken,
    /// It will never be taken; others may.
    Refused,
    /// Nothing is taken now: too much was sent, or the destination does not know this node, or is being repaired.
    Later {
        /// The floor of the delay.
        retry_after_ms: Option<u64>,
    },
    /// Something failed; it may be this record.
    Failed {
        /// Whether the destination answered at all.
        is_answer: bool,
    },
}

/// Which lane within the lane a record came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Sent from memory as soon as it was made.
    Fresh,
    /// Read back.
    Backlog,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the fresh record.
    Fresh,
    /// Send the oldest of the backlog but these.
    Backlog {
        /// Put aside, and not due.
        skip: Vec<u64>,
    },
    /// Until then, or until there is a fresh record if no time is given.
    Wait(Option<Elapsed>),
}

/// What becomes of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Done with.
    Done,
    /// Quarantine.
    Refuse,
    /// Stays where it is; a fresh one stays the next to be sent.
    Keep,
    /// Stays in the backlog.
    PutAside,
}

#[derive(Debug, Clone, Copy)]
struct Aside {
    id: u64,
    strikes: u32,
    /// How much had been taken when it failed last.
    taken: u64,
    not_before: Elapsed,
}

/// The state of sending to one destination.
#[derive(Debug, Default)]
pub(super) struct Order {
    not_before: Elapsed,
    tries: u32,
    backlog_not_before: Elapsed,
    may_have_backlog: bool,
    aside: Vec<Aside>,
    taken: u64,
}

impl Order {
    /// There is, or may be, something to read back.
    pub(super) const fn has_backlog(&mut self) {
        self.may_have_backlog = true;
    }

    /// Nothing was there to read back but `skip`. What else is put aside is not there any more.
    pub(super) fn has_no_backlog(&mut self, skip: &[u64]) {
        self.may_have_backlog = false;
        self.aside.retain(|aside| skip.contains(&aside.id));
    }

    /// Records up to `id` are gone from the backlog, however that came.
    pub(super) fn gone_up_to(&mut self, id: u64) {
        self.aside.retain(|aside| aside.id > id);
    }

    /// Reading back failed; not again for a while.
    pub(super) const fn cannot_read(&mut self, now: Elapsed) {
        self.backlog_not_before = now.plus_ms(ASIDE_FIRST_MS);
    }

    /// What to do now.
    pub(super) fn next(&self, now: Elapsed, has_fresh: bool) -> Step {
        let aside_due = self.aside.iter().map(|aside| aside.not_before).min();
        let is_full = self.aside.len() >= ASIDE_MAX;
        let backlog_due = match (self.may_have_backlog && !is_full, aside_due) {
            (true, _) => Some(self.backlog_not_before),
            (false, Some(due)) => Some(due.max(self.backlog_not_before)),
            (false, None) => None,
        };
        let due = if has_fresh {
            Some(self.not_before)
        } else {
            backlog_due.map(|due| due.max(self.not_before))
        };
        match due {
            Some(due) if due <= now => {
                if has_fresh {
                    return Step::Fresh;
                }
                let not_due = self.aside.iter().filter(|aside| aside.not_before > now);
                Step::Backlog {
                    skip: not_due.map(|aside| aside.id).collect(),
                }
            }
            other => Step::Wait(other),
        }
    }

    /// An answer came at `now`, `took_ms` after record `id` was sent.
    pub(super) fn answered(
        &mut self,
        (from, id): (From, u64),
        verdict: Verdict,
        now: Elapsed,
        took_ms: u64,
        jitter: u64,
    ) -> Fate {
        if from == From::Backlog {
            self.backlog_not_before = now.plus_ms(took_ms.max(BACKLOG_PAUSE_MIN_MS));
        }
        match verdict {
            Verdict::Taken => {
                self.taken += 1;
                if self.tries > 0 {
                    // What failed once while everything failed is not to blame.
                    for aside in self.aside.iter_mut().filter(|aside| aside.strikes == 1) {
                        aside.not_before = now;
                    }
                }
                self.works_again(id);
                Fate::Done
            }
            Verdict::Refused => {
                self.works_again(id);
                Fate::Refuse
            }
            Verdict::Later { retry_after_ms } => {
                self.delay(now, jitter, retry_after_ms);
                self.kept(from)
            }
            Verdict::Failed { is_answer: false } if from == From::Fresh => {
                self.delay(now, jitter, None);
                Fate::Keep
            }
            Verdict::Failed { .. } => {
                if self.strike(id, now) >= STRIKES_MAX {
                    self.works_again(id);
                    return Fate::Refuse;
                }
                self.delay(now, jitter, None);
                Fate::PutAside
            }
        }
    }

    const fn kept(&mut self, from: From) -> Fate {
        if matches!(from, From::Backlog) {
            self.may_have_backlog = true;
        }
        Fate::Keep
    }

    fn works_again(&mut self, id: u64) {
        self.tries = 0;
        self.not_before = Elapsed(0);
        self.aside.retain(|aside| aside.id != id);
    }

    fn delay(&mut self, now: Elapsed, jitter: u64, retry_after_ms: Option<u64>) {
        self.tries = self.tries.saturating_add(1);
        self.not_before = now.plus_ms(BACKOFF.delay_ms(self.tries, jitter, retry_after_ms));
    }

    /// Puts a record aside; says how often it failed while others were taken.
    fn strike(&mut self, id: u64, now: Elapsed) -> u32 {
        self.may_have_backlog = true;
        let taken = self.taken;
        let at = match self.aside.iter().position(|aside| aside.id == id) {
            Some(at) => at,
            None if self.aside.len() >= ASIDE_MAX => return 0,
            None => {
                self.aside.push(Aside {
                    id,
                    strikes: 0,
                    taken,
                    not_before: now,
                });
                self.aside.len() - 1
            }
        };
        let Some(aside) = self.aside.get_mut(at) else {
            return 0;
        };
        if aside.strikes == 0 || taken > aside.taken {
            aside.strikes += 1;
        }
        aside.taken = taken;
        let pause_ms = ASIDE_FIRST_MS
            .saturating_mul(1 << (aside.strikes - 1).min(16))
            .min(ASIDE_MAX_MS);
        aside.not_before = now.plus_ms(pause_ms);
        aside.strikes
    }
}

#[cfg(test)]
mod tests;
