//! When a part last did its work, so that somebody else can see that it still does.
//!
//! The part beats, whoever watches asks whether the last beat is recent; neither knows the other. A pulse only goes
//! forward, is read and written without waiting, and is in no file: after a start nothing has been done yet.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use vigie_core::time::Elapsed;

/// When something was last done, in milliseconds of elapsed time. Begins as never.
#[derive(Debug, Default)]
pub struct Pulse {
    last_ms: AtomicU64,
}

impl Pulse {
    /// It was done at `at`. An earlier moment than the last one changes nothing.
    pub fn beat(&self, at: Elapsed) {
        self.last_ms.fetch_max(at.0, Relaxed);
    }

    /// Whether it was done at most `within_ms` before `now`.
    #[must_use]
    pub fn is_recent(&self, now: Elapsed, within_ms: u64) -> bool {
        let last_ms = self.last_ms.load(Relaxed);
        last_ms != 0 && now.since_ms(Elapsed(last_ms)) <= within_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_begins_as_never_is_recent_to_the_millisecond_and_never_goes_back() {
        let pulse = Pulse::default();
        assert!(!pulse.is_recent(Elapsed(5), 10), "never is not recent");
        pulse.beat(Elapsed(100));
        assert!(pulse.is_recent(Elapsed(110), 10));
        assert!(!pulse.is_recent(Elapsed(111), 10));
        pulse.beat(Elapsed(50));
        assert!(pulse.is_recent(Elapsed(110), 10));
    }
}
