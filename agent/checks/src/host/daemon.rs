//! Whether a daemon of the machine is alive, told by what the machine keeps about it: its unit's control group, which
//! systemd removes when the last process of the unit ends, and its pid file, which counts only while the process of that
//! number bears the daemon's name.
//!
//! Never walks all of /proc: on a busy machine that would cost more than the check that asks. A daemon started by hand,
//! without a unit and without a pid file, is therefore not seen; where there are no control groups of services to look at
//! (a container, another init), the answer is [`Life::Untold`] and never [`Life::Gone`].

use std::{io, path::Path};

use vigie_machine::Context;

/// One daemon under the names that distributions give it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    /// Its name as the kernel tells it, cut to 15 bytes (proc_pid_comm(5)).
    pub(super) process: &'static str,
    /// Its units.
    pub(super) units: &'static [&'static str],
    /// Its pid files.
    pub(super) pid_files: &'static [&'static str],
}

/// Whether a daemon is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It has a process.
    Alive,
    /// It has none.
    Gone,
    /// Nothing here tells.
    Untold,
}

/// Where the services of the system stand: control groups of version 2, of version 1 with systemd's own hierarchy, and
/// of both at once.
const SLICES: [&str; 3] = [
    "sys/fs/cgroup/system.slice",
    "sys/fs/cgroup/systemd/system.slice",
    "sys/fs/cgroup/unified/system.slice",
];

/// A unit's list of processes, or a pid file. A daemon has few processes.
const SMALL_LEN_MAX: usize = 64 * 1024;

impl Daemon {
    /// Whether it is alive on the machine whose files stand below `root`.
    pub(super) async fn life(&self, context: &Context, root: &Path) -> Life {
        let (mut are_services_told, mut is_hidden) = (false, false);
        for slice in SLICES {
            let slice = root.join(slice);
            for unit in self.units {
                let processes = slice.join(unit).join("cgroup.procs");
                match context.files.read(&processes, SMALL_LEN_MAX).await {
                    Ok(processes) if !processes.trim_ascii().is_empty() => return Life::Alive,
                    // Whatever refuses is no sign that there are none.
                    answer => is_hidden |= answer.is_err() && !is_missing(&answer),
                }
            }
            are_services_told |= !is_missing(&context.files.stamp(&slice).await);
        }
        for file in self.pid_files {
            if self.owns_pid_file(context, root, file).await {
                return Life::Alive;
            }
        }
        if are_services_told && !is_hidden {
            Life::Gone
        } else {
            Life::Untold
        }
    }

    async fn owns_pid_file(&self, context: &Context, root: &Path, file: &str) -> bool {
        let Ok(content) = context.files.read(&root.join(file), SMALL_LEN_MAX).await else {
            return false;
        };
        let Some(pid) = std::str::from_utf8(&content)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok())
        else {
            return false;
        };
        let comm = root.join(format!("proc/{pid}/comm"));
        context
            .files
            .read(&comm, SMALL_LEN_MAX)
            .await
            .is_ok_and(|name| name.trim_ascii() == self.process.as_bytes())
    }
}

/// Whether the system said that there is no such thing.
pub(super) fn is_missing<T>(answer: &io::Result<T>) -> bool {
    matches!(answer, Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::fixture::{Machine, write_below};

    const SYSLOG: Daemon = Daemon {
        process: "rsyslogd",
        units: &["rsyslog.service"],
        pid_files: &["run/rsyslogd.pid"],
    };

    #[tokio::test]
    async fn a_unit_with_processes_or_a_pid_file_of_the_right_process_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let (root, context) = (dir.path(), Machine::real());
        assert_eq!(SYSLOG.life(&context, root).await, Life::Untold);

        write_below(root, "run/rsyslogd.pid", "77\n");
        write_below(root, "proc/77/comm", "bash\n");
        assert_eq!(SYSLOG.life(&context, root).await, Life::Untold);
        write_below(root, "proc/77/comm", "rsyslogd\n");
        assert_eq!(SYSLOG.life(&context, root).await, Life::Alive);

        write_below(root, "run/rsyslogd.pid", "not a number");
        write_below(root, "sys/fs/cgroup/system.slice/cgroup.procs", "");
        assert_eq!(SYSLOG.life(&context, root).await, Life::Gone);
        let unit = "sys/fs/cgroup/system.slice/rsyslog.service/cgroup.procs";
        write_below(root, unit, "");
        assert_eq!(SYSLOG.life(&context, root).await, Life::Gone);
        write_below(root, unit, "812\n");
        assert_eq!(SYSLOG.life(&context, root).await, Life::Alive);
    }

    #[tokio::test]
    async fn a_list_of_processes_that_cannot_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let unit = "sys/fs/cgroup/system.slice/rsyslog.service/cgroup.procs";
        std::fs::create_dir_all(dir.path().join(unit)).unwrap();
        let life = SYSLOG.life(&Machine::real(), dir.path()).await;
        assert_eq!(life, Life::Untold);
    }
}
