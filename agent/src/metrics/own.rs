//! What the agent itself costs its machine: memory and processor time, read from the kernel when somebody scrapes.
//!
//! Through sysinfo, for this one process and without its tasks: a refresh of everything leaks descriptors. Reads a few
//! files of /proc/self; what cannot be read keeps its last value.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Counter, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Reads this process at every scrape.
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
    /// When sysinfo does not know this system, or a name is malformed: faults of the program.
    pub fn new(pid: u32) -> prometheus::Result<Self> {
        let system = System::new().map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        Ok(Self {
            pid: Pid::from_u32(pid),
            system: Mutex::new(system),
            memory: IntGauge::new(
                "vigie_agent_resident_memory_bytes",
                "Memory that the agent has resident, shared files included.",
            )?,
            cpu: Counter::new(
                "vigie_agent_cpu_seconds_total",
                "Processor time that the agent has used, user and system.",
            )?,
        })
    }
}

impl Collector for OwnProcess {
    fn desc(&self) -> Vec<&Desc> {
        [self.memory.desc(), self.cpu.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
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
        [self.memory.collect(), self.cpu.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn this_process_has_memory_and_its_time_only_grows() {
        let own = OwnProcess::new(std::process::id()).unwrap();
        own.collect();
        let (memory, before) = (own.memory.get(), own.cpu.get());
        // The kernel's own word for it, in pages.
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: i64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let truth = pages * 4096;
        assert!(
            (truth / 2..truth * 2).contains(&memory),
            "{memory} against {truth}"
        );
        own.collect();
        assert!(own.cpu.get() >= before);
    }

    #[test]
    fn a_process_that_is_gone_keeps_its_last_values() {
        let own = OwnProcess::new(u32::MAX / 2).unwrap();
        assert_eq!(own.collect().len(), 2);
        assert_eq!(own.memory.get(), 0);
    }
}
