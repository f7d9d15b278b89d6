//! Randomness: the only place where it is drawn from the system.
//!
//! Everything above takes what was drawn as a value, or `fn() -> u64` for delays, so that a test can choose it. Secrets and
//! serial numbers must not be made without it ([`fill`] fails); delays are merely less spread ([`drawn`] does not).

use aws_lc_rs::rand;

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Fills `bytes` with random ones, good enough for keys.
///
/// # Errors
/// When the system gives none; what `bytes` holds then is nothing to build on.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    rand::fill(bytes).map_err(|_| NoRandomness)
}

/// A fresh random number, for delays only: without randomness they are the same for everybody.
#[must_use]
pub fn drawn() -> u64 {
    let mut bytes = [0; 8];
    let _weak = fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn no_two_keys_are_alike() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        fill(&mut one).unwrap();
        fill(&mut other).unwrap();
        assert_ne!(one, other);
        assert_ne!(one, [0; 32]);
    }
}
