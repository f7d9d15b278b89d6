//! How long to wait before another try: exponential with full jitter, `Retry-After` as a floor.
//!
//! Full jitter (a uniform draw between zero and the exponential bound) keeps a fleet that lost its collector at one
//! moment from coming back at one moment. A `Retry-After` copied by all would be such a moment too, so it is a floor
//! and the draw comes on top.

/// Bounds of the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first delay, in milliseconds.
    pub first_ms: u64,
    /// Bound of every later delay, in milliseconds.
    pub max_ms: u64,
}

impl Backoff {
    /// The delay before try number `tries + 1` after `tries` failures (1 or more). `jitter` is a fresh random number,
    /// of which all bits are used; `retry_after_ms` is what the peer asked for.
    #[must_use]
    pub fn delay_ms(self, tries: u32, jitter: u64, retry_after_ms: Option<u64>) -> u64 {
        let doublings = tries.saturating_sub(1).min(32);
        let bound = self
            .first_ms
            .saturating_mul(1 << doublings)
            .min(self.max_ms);
        let drawn = jitter % bound.saturating_add(1);
        retry_after_ms.unwrap_or(0).saturating_add(drawn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_stay_in_bounds_and_above_what_was_asked(
            tries in 1..u32::MAX, jitter: u64, asked in prop::option::of(0..600_000_u64),
        ) {
            let backoff = Backoff { first_ms: 1_000, max_ms: 30_000 };
            let delay = backoff.delay_ms(tries, jitter, asked);
            let floor = asked.unwrap_or(0);
            prop_assert!(delay >= floor && delay <= floor + 30_000);
            if tries == 1 { prop_assert!(delay <= floor + 1_000); }
        }
    }
}
