//! Checks of the availability family: does a service answer, and as it should?
//!
//! Every failure has its own reason, and those that say nothing about the service (no resolver, no socket) are
//! `unknown`. What a peer sends is compared here and never leaves the node.

mod failure;
#[cfg(test)]
mod fixture;
pub(crate) mod http;
mod phase;
mod target;
pub(crate) mod tcp;

/// Whether `bytes` holds `part`.
fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
