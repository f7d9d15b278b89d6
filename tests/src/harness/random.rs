//! Chance, where a scenario is to meet another moment each time.

/// A number below `bound`, another one each time. What is chosen must show when a scenario fails.
///
/// # Panics
/// When `bound` is 0.
#[must_use]
pub fn random(bound: usize) -> usize {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    usize::from_le_bytes(bytes) % bound
}
