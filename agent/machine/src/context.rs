//! What a check may touch: files, the network, commands and the clock, each bounded, and the time it has left.
//!
//! Owns nothing but handles; cloning is cheap. Everything behind it is shared by all checks of the agent, so that its
//! bounds hold for the whole process. Nothing in here blocks the runtime, and dropping any of its futures is safe: what
//! a system call still holds (a thread, a lookup) stays counted until the call returns. No check opens a file or a
//! socket any other way: later the same calls will be answered by a process with fewer rights.

use std::{future::Future, path::Path, sync::Arc};

use vigie_core::{id::CheckName, time::Elapsed};
use vigie_platform::{
    clock::{Clock, wait_until},
    disk::Disk,
};

use crate::{
    bus::Bus,
    commands::Commands,
    files::{Files, LocalFiles},
    net::Net,
    processes::Processes,
    state::CheckState,
};

/// How long before the runner's deadline a check gives up by itself, so that it still says what it was waiting for.
const MARGIN_MS: u64 = 100;

/// The handles of one run.
#[derive(Clone)]
pub struct Context {
    /// Files and file systems.
    pub files: Arc<dyn Files>,
    /// Names and connections.
    pub net: Net,
    /// Child processes.
    pub commands: Commands,
    /// The system bus.
    pub bus: Bus,
    /// The processes that run.
    pub processes: Processes,
    /// What the check keeps from one life of the agent to the next.
    pub state: CheckState,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// When the runner drops the run.
    pub deadline: Elapsed,
}

impl Context {
    /// The machine itself, without a deadline yet.
    #[must_use]
    pub fn of_this_machine(clock: Arc<dyn Clock>) -> Self {
        Self {
            files: Arc::new(LocalFiles::new(Arc::clone(&clock))),
            net: Net::of_this_machine(),
            commands: Commands::new(Arc::clone(&clock)),
            bus: Bus::of_this_machine(),
            processes: Processes::at("/proc", Arc::clone(&clock)),
            state: CheckState::default(),
            clock,
            deadline: Elapsed(u64::MAX),
        }
    }

    /// The same handles, with the state folder of an agent, so that checks can remember.
    #[must_use]
    pub fn with_state(self, disk: Arc<dyn Disk>, state_dir: &Path) -> Self {
        Self {
            state: CheckState::of_agent(disk, state_dir),
            ..self
        }
    }

    /// The same handles for a run of `check` that ends at `deadline`.
    #[must_use]
    pub fn of_run(&self, check: &CheckName, deadline: Elapsed) -> Self {
        Self {
            state: self.state.of_check(check),
            ..self.until(deadline)
        }
    }

    /// The same handles for a run that ends at `deadline`.
    #[must_use]
    pub fn until(&self, deadline: Elapsed) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// When a check should stop waiting by itself: 100 ms before the deadline, less where little time is left.
    #[must_use]
    pub fn own_deadline(&self) -> Elapsed {
        let now = self.clock.elapsed();
        let left_ms = self.deadline.since_ms(now);
        now.plus_ms(left_ms - MARGIN_MS.min(left_ms / 10))
    }

    /// Runs `work` until `deadline`; `None` if that came first, and then `work` is dropped.
    pub async fn within<F: Future>(&self, deadline: Elapsed, work: F) -> Option<F::Output> {
        tokio::select! {
            // An answer that is there counts, also when the deadline passed while this task waited for its turn.
            biased;
            output = work => Some(output),
            () = wait_until(&*self.clock, deadline) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vigie_core::time::{Now, Wall};
    use vigie_platform::clock::ManualClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_gives_up_shortly_before_the_runner_does() {
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(0),
            elapsed: Elapsed(1_000),
        }));
        let machine = Context::of_this_machine(Arc::clone(&clock) as Arc<dyn Clock>);
        let context = machine.until(Elapsed(6_000));
        assert_eq!(context.own_deadline(), Elapsed(5_900));
        assert_eq!(machine.until(Elapsed(1_200)).own_deadline(), Elapsed(1_180));
        assert_eq!(machine.until(Elapsed(500)).own_deadline(), Elapsed(1_000));

        let nothing = context.within(context.own_deadline(), std::future::pending::<()>());
        let moved = async {
            clock.advance(Duration::from_secs(5));
        };
        assert_eq!(tokio::join!(nothing, moved).0, None);
        let late = context.within(Elapsed(0), async { 7 }).await;
        assert_eq!(late, Some(7), "what is known is told");
    }
}
