//! What the agent itself costs its machine: memory and processor time, read from the kernel when somebody looks.
//!
//! Through sysinfo, for this one process and without its tasks: a refresh of everything leaks descriptors. Reads a few
//! files of /proc/self; what cannot be read keeps its last value.

use std::sync::{Mutex, PoisonError};

use prometheus::{Counter, IntGauge};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{DeclareError, declare::Declare};

/// This process, as the metrics show it.
pub struct OwnProcess {
    pid: Pid,
    system: Mutex<System>,
    memory: IntGauge,
    cpu: Counter,
}

impl OwnProcess {
    /// The metrics of process `pid`, which is this one.
    ///
    /// # Errors
    /// When sysinfo does not know this system, or a name is taken: faults of the program.
    pub fn new(pid: u32, declare: &Declare<'_>) -> Result<Self, DeclareError> {
        let memory = "vigie_agent_resident_memory_bytes";
        let system = System::new().map_err(|error| DeclareError {
            name: memory.to_owned(),
            source: prometheus::Error::Msg(error.to_string()),
        })?;
        Ok(Self {
            pid: Pid::from_u32(pid),
            system: Mutex::new(system),
            memory: declare.int_gauge(
                memory,
                "Memory that the agent has resident, shared files included.",
            )?,
            cpu: declare.counter(
                "vigie_agent_cpu_seconds_total",
                "Processor time that the agent has used, user and system.",
            )?,
        })
    }

    /// Reads the kernel's numbers, before they are shown to anybody.
    pub fn refresh(&self) {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = ProcessRefreshKind::nothing()
            .with_memory()
            .with_cpu()
            .without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, wanted);
        if let Some(process) = system.process(self.pid) {
            self.memory
                .set(i64::try_from(process.memory()).unwrap_or(i64::MAX));
            let used_ms = process.accumulated_cpu_time();
            let used = std::time::Duration::from_millis(used_ms).as_secs_f64();
            // A counter only grows; the kernel's own number does too.
            self.cpu.inc_by((used - self.cpu.get()).max(0.0));
        }
    }
}

impl std::fmt::Debug for OwnProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnProcess").field(&self.pid).finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use prometheus::Registry;

    use super::*;
    use crate::metrics::series::Series;

    fn of(pid: u32) -> OwnProcess {
        let declare = Declare {
            registry: &Registry::new(),
            series: &Arc::new(Series::new(None)),
        };
        OwnProcess::new(pid, &declare).unwrap()
    }

    #[test]
    fn this_process_has_memory_and_its_time_only_grows() {
        let own = of(std::process::id());
        own.refresh();
        let (memory, before) = (own.memory.get(), own.cpu.get());
        // The kernel's own word for it, in pages.
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: i64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let truth = pages * 4096;
        assert!(
            (truth / 2..truth * 2).contains(&memory),
            "{memory} against {truth}"
        );
        own.refresh();
        assert!(own.cpu.get() >= before);
    }

    #[test]
    fn a_process_that_is_gone_keeps_its_last_values() {
        let own = of(u32::MAX / 2);
        own.refresh();
        assert_eq!(own.memory.get(), 0);
    }
}
