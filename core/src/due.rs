//! When a check is due: a fixed grid, shifted by a stable hash of node and check.
//!
//! The hash spreads checks over their interval, so that a thousand nodes started by one deployment do not all strike
//! one service in the same second; being stable, a restart does not shift them. The grid stands on elapsed time, so
//! that neither a clock step nor a suspend makes a check run twice or pile up: after a gap the next due time is the next
//! point of the grid, and what was missed is counted.

use crate::{
    digest::Digest,
    id::{CheckName, NodeName},
    time::Elapsed,
};

/// A check's grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    every_ms: u64,
    offset_ms: u64,
}

impl Grid {
    /// The grid of `check` on `node`; `every_ms` of 0 counts as 1.
    #[must_use]
    pub fn new(node: &NodeName, check: &CheckName, every_ms: u64) -> Self {
        let every_ms = every_ms.max(1);
        let hash = Digest::of_parts(&[node.as_str().as_bytes(), b"\n", check.as_str().as_bytes()]);
        let (first, _) = hash
            .0
            .split_first_chunk::<8>()
            .expect("a digest has 32 bytes");
        Self {
            every_ms,
            offset_ms: u64::from_be_bytes(*first) % every_ms,
        }
    }

    /// The first point of the grid strictly after `now`.
    #[must_use]
    pub const fn next_after(self, now: Elapsed) -> Elapsed {
        // Shifted by one interval so that the subtraction cannot go below zero.
        let since_offset = now.0 + self.every_ms - self.offset_ms;
        let point = (since_offset / self.every_ms) * self.every_ms + self.offset_ms;
        Elapsed(if point <= now.0 {
            point + self.every_ms
        } else {
            point
        })
    }

    /// How many points lie strictly between `due` and `now`: the runs that were missed.
    #[must_use]
    pub const fn missed(self, due: Elapsed, now: Elapsed) -> u64 {
        now.since_ms(due) / self.every_ms
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_next_point_is_the_first_after_now(every in 1..200_000_u64, now in 0..10_000_000_u64, name in "[a-z]{1,8}") {
            let grid = Grid::new(&"app-01".parse().unwrap(), &name.parse().unwrap(), every);
            let next = grid.next_after(Elapsed(now));
            prop_assert!(next.0 > now && next.0 <= now + every);
            prop_assert_eq!(next.0 % every, grid.offset_ms);
            prop_assert_eq!(grid.next_after(next), Elapsed(next.0 + every));
            prop_assert_eq!(grid.missed(next, Elapsed(next.0 + 3 * every)), 3);
        }
    }

    #[test]
    fn a_thousand_checks_spread_over_their_interval() {
        let node = "app-01".parse().unwrap();
        let mut tenths = [0; 10];
        for number in 0..1000 {
            let check = format!("c{number}").parse().unwrap();
            let grid = Grid::new(&node, &check, 30_000);
            tenths[usize::try_from(grid.offset_ms / 3_000).unwrap()] += 1;
        }
        assert!(
            tenths.iter().all(|count| (60..140).contains(count)),
            "{tenths:?}"
        );
    }
}
