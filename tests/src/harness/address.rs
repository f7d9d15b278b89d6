//! Addresses that nobody else uses: each party gets a loopback address of its own, so that ports can be fixed and a
//! party that is away keeps its port free for its return.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// Parties of one process so far. A scenario has a handful.
static PARTIES: AtomicU8 = AtomicU8::new(1);

/// An address of 127.0.0.0/8 that no other party of this machine's test runs has: two bytes from the process, one
/// counted.
///
/// # Panics
/// When one process has more than 253 parties.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    let pid = std::process::id();
    let [.., high, low] = pid.to_be_bytes();
    let party = PARTIES.fetch_add(1, Relaxed);
    assert!((1..254).contains(&party), "too many parties in one process");
    // 127.0.x.y is what other programs use.
    Ipv4Addr::new(127, 1 + high % 254, low, party)
}
