//! When a status counts: several runs in a row must agree before an object's status changes.
//!
//! ```text
//!            failures runs in a row worse than settled
//!   settled ───────────────────────────────────────────► settled anew, with the last run's status
//!            recoveries runs in a row better than settled
//!           ───────────────────────────────────────────► settled anew, with the worst of those runs
//! ```
//! A run that equals the settled status, or lies on the other side of it, starts the count again. The first status of
//! an object settles the same way, as if it had been neither good nor bad before.

use crate::status::Status;

/// How many runs must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damping {
    /// Bad runs in a row before the status gets worse; at least 1.
    pub failures: u32,
    /// Good runs in a row before it gets better; at least 1.
    pub recoveries: u32,
}

/// One object's settled status and what speaks against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settling {
    settled: Option<Status>,
    candidate: Option<Candidate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    direction: Direction,
    runs: u32,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Worse,
    Better,
}

impl Settling {
    /// The settled status, once there is one.
    #[must_use]
    pub const fn settled(&self) -> Option<Status> {
        self.settled
    }

    /// Takes in one run. `Some` when the status settles anew just now.
    pub fn observe(&mut self, seen: Status, patience: Damping) -> Option<Status> {
        let direction = match self.settled {
            Some(settled) if seen == settled => {
                self.candidate = None;
                return None;
            }
            Some(settled) if seen.rank() > settled.rank() => Direction::Worse,
            Some(_) => Direction::Better,
            None if seen == Status::Ok => Direction::Better,
            None => Direction::Worse,
        };
        let candidate = match self.candidate {
            Some(so_far) if so_far.direction == direction => Candidate {
                direction,
                runs: so_far.runs.saturating_add(1),
                status: match direction {
                    Direction::Worse => seen,
                    Direction::Better if seen.rank() > so_far.status.rank() => seen,
                    Direction::Better => so_far.status,
                },
            },
            _ => Candidate {
                direction,
                runs: 1,
                status: seen,
            },
        };
        let needed = match direction {
            Direction::Worse => patience.failures,
            Direction::Better => patience.recoveries,
        };
        if candidate.runs >= needed {
            self.settled = Some(candidate.status);
            self.candidate = None;
            Some(candidate.status)
        } else {
            self.candidate = Some(candidate);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Status::*, *};

    fn run(patience: (u32, u32), seen: &[Status]) -> Vec<Option<Status>> {
        let patience = Damping {
            failures: patience.0,
            recoveries: patience.1,
        };
        let mut settling = Settling::default();
        seen.iter()
            .map(|s| settling.observe(*s, patience))
            .collect()
    }

    #[test]
    fn statuses_settle_after_enough_runs_in_a_row() {
        assert_eq!(
            run((1, 1), &[Ok, Critical, Ok]),
            [Some(Ok), Some(Critical), Some(Ok)]
        );
        assert_eq!(
            run(
                (2, 2),
                &[
                    Ok, Ok, Critical, Ok, Critical, Critical, Ok, Critical, Ok, Ok
                ]
            ),
            [
                None,
                Some(Ok),
                None,
                None,
                None,
                Some(Critical),
                None,
                None,
                None,
                Some(Ok)
            ]
        );
        // Two bad runs of different kinds are two bad runs; the last one names the status.
        assert_eq!(
            run((2, 1), &[Ok, Warning, Critical]),
            [Some(Ok), None, Some(Critical)]
        );
        // Getting better by half a way settles at the worst of the better runs.
        assert_eq!(
            run((1, 2), &[Critical, Warning, Ok, Ok, Ok]),
            [Some(Critical), None, Some(Warning), None, Some(Ok)]
        );
        // Not knowing is worse than a warning and better than critical.
        assert_eq!(
            run((1, 3), &[Warning, Unknown, Critical]),
            [Some(Warning), Some(Unknown), Some(Critical)]
        );
    }

    #[test]
    fn a_first_status_needs_as_many_runs() {
        assert_eq!(
            run((3, 2), &[Critical, Critical, Critical]),
            [None, None, Some(Critical)]
        );
        assert_eq!(run((3, 2), &[Critical, Ok, Ok]), [None, None, Some(Ok)]);
    }
}
