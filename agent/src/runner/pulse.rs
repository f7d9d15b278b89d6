//! Notices from one tick to the next that the process stood still, or that civil time was stepped.
//!
//! Pure. A tick is expected about every second; elapsed time counts through a suspend, so a jump of it between two
//! ticks is a pause. Civil and elapsed time that went apart since they were last compared are a step.

use vigie_core::time::Now;

/// No tick for this long is a pause worth a line: far above what a busy machine does to a scheduler, far below the
/// shortest silence that a collector reports.
pub const PAUSE_MIN_MS: u64 = 30_000;

/// Civil and elapsed time further apart than this are a clock step: NTP slews what is less.
pub const STEP_MIN_MS: u64 = 5_000;

/// What happened between two ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beat {
    /// The process stood still for this long.
    pub paused_ms: Option<u64>,
    /// Civil time was stepped by this much.
    pub stepped_ms: Option<i64>,
}

/// The last tick, and the moment at which both clocks were last taken for agreeing.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    last: Now,
    anchor: Now,
}

impl Pulse {
    /// Starts with the clocks as they are.
    #[must_use]
    pub const fn new(now: Now) -> Self {
        Self {
            last: now,
            anchor: now,
        }
    }

    /// One tick.
    pub fn beat(&mut self, now: Now) -> Beat {
        let gap_ms = now.elapsed.since_ms(self.last.elapsed);
        self.last = now;
        let civil_ms = now.wall.0.saturating_sub(self.anchor.wall.0);
        let passed_ms =
            i64::try_from(now.elapsed.since_ms(self.anchor.elapsed)).unwrap_or(i64::MAX);
        let apart_ms = civil_ms.saturating_sub(passed_ms);
        let is_step = apart_ms.unsigned_abs() > STEP_MIN_MS;
        if is_step {
            self.anchor = now;
        }
        Beat {
            paused_ms: (gap_ms >= PAUSE_MIN_MS).then_some(gap_ms),
            stepped_ms: is_step.then_some(apart_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use vigie_core::time::{Elapsed, Wall};

    use super::*;

    const fn at(wall_ms: i64, elapsed_ms: u64) -> Now {
        Now {
            wall: Wall(wall_ms),
            elapsed: Elapsed(elapsed_ms),
        }
    }

    #[test]
    fn pauses_and_steps_are_told_apart() {
        let quiet = Beat::default();
        let table = [
            (at(1_000, 1_000), quiet),
            (at(30_900, 30_900), quiet),
            (
                at(60_900, 60_900),
                Beat {
                    paused_ms: Some(30_000),
                    ..quiet
                },
            ),
            (at(65_900, 61_000), quiet),
            (
                at(66_100, 61_000),
                Beat {
                    stepped_ms: Some(5_100),
                    ..quiet
                },
            ),
            (at(67_100, 62_000), quiet),
            (
                at(-3_000, 63_000),
                Beat {
                    stepped_ms: Some(-71_100),
                    ..quiet
                },
            ),
            (
                at(9_997_000, 163_000),
                Beat {
                    paused_ms: Some(100_000),
                    stepped_ms: Some(9_900_000),
                },
            ),
        ];
        let mut pulse = Pulse::new(at(0, 0));
        for (index, (now, expected)) in table.into_iter().enumerate() {
            assert_eq!(pulse.beat(now), expected, "row {index}");
        }
    }
}
