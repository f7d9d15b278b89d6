//! When the next request is due, and how many lines it may carry.
//!
//! Pure. A request whose lines the collector cannot digest (an error that is about the body) is halved at each try,
//! down to a mere contact; from there it grows again. So one line that makes a collector fail never keeps the contact
//! from arriving, and lines before it still get through.

use vigie_core::{contact::CONTACT_EVERY_MS, hand_in::LINES_MAX, time::Elapsed};

/// The state of sending.
#[derive(Debug)]
pub(super) struct Pace {
    last_sent: Option<Elapsed>,
    not_before: Elapsed,
    tries: u32,
    lines_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            last_sent: None,
            not_before: Elapsed(0),
            tries: 0,
            lines_max: LINES_MAX,
        }
    }
}

impl Pace {
    /// When the next request is due.
    pub(super) fn due(&self, now: Elapsed, has_news: bool) -> Elapsed {
        let wanted = match self.last_sent {
            // A failure is repeated when its delay is over, whether or not there is news.
            _ if self.tries > 0 || has_news => now,
            None => now,
            Some(last) => last.plus_ms(CONTACT_EVERY_MS),
        };
        wanted.max(self.not_before)
    }

    /// How many lines the next request may carry.
    pub(super) const fn lines_max(&self) -> usize {
        self.lines_max
    }

    /// A request was sent.
    pub(super) const fn sent(&mut self, now: Elapsed) {
        self.last_sent = Some(now);
    }

    /// It was answered; `carried` lines went with it.
    pub(super) fn succeeded(&mut self, carried: usize) {
        self.tries = 0;
        self.not_before = Elapsed(0);
        if carried >= self.lines_max {
            self.lines_max = (self.lines_max * 2).clamp(1, LINES_MAX);
        }
    }

    /// It failed; returns how many times in a row.
    pub(super) const fn failed(&mut self) -> u32 {
        self.tries = self.tries.saturating_add(1);
        self.tries
    }

    /// The next one waits at least until then.
    pub(super) const fn not_before(&mut self, then: Elapsed) {
        self.not_before = then;
    }

    /// What it carried may be why it failed.
    pub(super) const fn carry_less(&mut self, carried: usize) {
        self.lines_max = carried / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_due_after_its_interval_and_news_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(Elapsed(5), false), Elapsed(5), "the first at once");
        pace.sent(Elapsed(5));
        pace.succeeded(0);
        assert_eq!(pace.due(Elapsed(6), false), Elapsed(5 + CONTACT_EVERY_MS));
        assert_eq!(pace.due(Elapsed(6), true), Elapsed(6));
        pace.sent(Elapsed(6));
        assert_eq!(pace.failed(), 1);
        pace.not_before(Elapsed(900));
        assert_eq!(
            pace.due(Elapsed(7), true),
            Elapsed(900),
            "news does not shorten a delay"
        );
        assert_eq!(pace.due(Elapsed(1_000), false), Elapsed(1_000));
    }

    #[test]
    fn a_poisonous_line_lets_the_contact_pass_and_those_before_it() {
        let mut pace = Pace::default();
        // Line 3 of many cannot be digested.
        let mut handed_in = 0_usize;
        let mut contacts = 0;
        for _ in 0..40 {
            let carried = pace.lines_max().min(600 - handed_in);
            if handed_in + carried >= 3 {
                pace.failed();
                pace.carry_less(carried);
            } else {
                handed_in += carried;
                contacts += 1;
                pace.succeeded(carried);
            }
        }
        assert_eq!(handed_in, 2);
        assert!(contacts >= 10, "{contacts}");
    }
}
