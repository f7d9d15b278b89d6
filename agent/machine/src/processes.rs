//! The processes of this machine, read from /proc/PID/stat (proc_pid_stat(5)) in one go for all checks that ask.
//!
//! One read for each process and none for threads; a list that is younger than [`FRESH_MS`] answers again. A command line
//! is read once in the life of a process, for the name in its first argument, and only that name is kept: arguments may
//! hold secrets. Works in one blocking thread, with at most one scan at a time; a caller that gives up leaves the scan to
//! end by itself, and until it does the others hear that it hangs.

use std::{
    collections::HashMap,
    fs, io,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
};

use vigie_core::time::Elapsed;
use vigie_platform::clock::Clock;

/// How long a list answers: checks that are due together share one.
const FRESH_MS: u64 = 1_000;

/// The most processes listed; above it the list says so and nothing is counted.
const PROCESSES_MAX: usize = 65_536;

/// The longest first argument that is looked at, in bytes.
const ARGUMENT_LEN_MAX: u64 = 4_096;

/// Entries of one fd folder counted where the kernel does not know the number by itself (before Linux 6.2).
const FDS_MAX: usize = 100_000;

/// A reader of processes; clones share its list.
#[derive(Clone)]
pub struct Processes {
    shared: Arc<Shared>,
}

struct Shared {
    proc: PathBuf,
    clock: Arc<dyn Clock>,
    scan: tokio::sync::Mutex<Option<Scan>>,
    /// Names from first arguments, kept from list to list.
    names: Mutex<Names>,
}

#[derive(Clone)]
struct Scan {
    at: Elapsed,
    list: Arc<[Process]>,
}

/// By process: what it was when its first argument was read, and the name in it where that is another.
type Names = HashMap<u32, (u64, Box<[u8]>, Option<Arc<[u8]>>)>;

/// One process that runs; zombies are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name that the kernel keeps, at most 15 bytes.
    pub comm: Box<[u8]>,
    /// The file name in its first argument, where that is not `comm`.
    pub argument_name: Option<Arc<[u8]>>,
    /// Processor time in user and system mode, in clock ticks.
    pub cpu_ticks: u64,
    /// When it started, in clock ticks since the machine did.
    pub start_ticks: u64,
    /// Memory that is resident, in pages.
    pub resident_pages: u64,
}

impl Processes {
    /// Processes as `proc` shows them.
    #[must_use]
    pub fn at(proc: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                proc: proc.into(),
                clock,
                scan: tokio::sync::Mutex::new(None),
                names: Mutex::default(),
            }),
        }
    }

    /// Every process that runs.
    ///
    /// # Errors
    /// When processes are hidden from this one (`hidepid`), there are more than [`PROCESSES_MAX`], or there is no /proc.
    pub async fn list(&self) -> io::Result<Arc<[Process]>> {
        let mut scan = self.shared.scan.lock().await;
        let now = self.shared.clock.elapsed();
        if let Some(scan) = scan
            .as_ref()
            .filter(|scan| now.since_ms(scan.at) < FRESH_MS)
        {
            return Ok(Arc::clone(&scan.list));
        }
        let shared = Arc::clone(&self.shared);
        let list = tokio::task::spawn_blocking(move || shared.scan())
            .await
            .map_err(io::Error::other)??;
        let fresh = Scan {
            at: now,
            list: list.into(),
        };
        Ok(Arc::clone(&scan.insert(fresh).list))
    }

    /// How many files the processes of each group have open together; `None` where the system does not tell it of one
    /// that still runs. All groups in one go: each call is a change of threads.
    pub async fn open_files(&self, groups: Vec<Vec<u32>>) -> Vec<Option<u64>> {
        let shared = Arc::clone(&self.shared);
        let unknown = vec![None; groups.len()];
        let count = move |pids: &Vec<u32>| {
            pids.iter().try_fold(0_u64, |total, pid| {
                match open_files_of(&shared.proc.join(pid.to_string()).join("fd")) {
                    Ok(count) => Some(total.saturating_add(count)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Some(total),
                    Err(_) => None,
                }
            })
        };
        tokio::task::spawn_blocking(move || groups.iter().map(count).collect())
            .await
            .unwrap_or(unknown)
    }
}

impl Shared {
    fn scan(&self) -> io::Result<Vec<Process>> {
        let mut names = match self.names.try_lock() {
            Ok(names) => names,
            Err(TryLockError::Poisoned(names)) => names.into_inner(),
            // A scan that hangs (a process that the kernel holds may hold its command line too) takes one thread.
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
        };
        let mut known = std::mem::take(&mut *names);
        let (mut list, mut content) = (Vec::with_capacity(known.len()), Vec::new());
        let mut has_init = false;
        for entry in fs::read_dir(&self.proc)? {
            let file_name = entry?.file_name();
            let Some(pid) = file_name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if list.len() >= PROCESSES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let dir = self.proc.join(&file_name);
            content.clear();
            match fs::File::open(dir.join("stat"))
                .and_then(|mut file| file.read_to_end(&mut content))
            {
                Ok(_) => {}
                // Denied is `hidepid=noaccess`: what cannot be seen must not count as absent.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                // It ended meanwhile.
                Err(_) => continue,
            }
            has_init |= pid == 1;
            let Some(mut process) = parse(pid, &content) else {
                continue;
            };
            let earlier = known
                .remove(&pid)
                .filter(|(start, comm, _)| *start == process.start_ticks && *comm == process.comm);
            process.argument_name = match earlier {
                Some((.., name)) => name,
                None => argument_name(&dir).filter(|name| **name != *process.comm),
            };
            names.insert(
                pid,
                (
                    process.start_ticks,
                    process.comm.clone(),
                    process.argument_name.clone(),
                ),
            );
            list.push(process);
        }
        // With `hidepid=invisible` the processes of others, the first of all among them, are not even listed.
        if has_init {
            Ok(list)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

/// `None` of what is no such line, and of a zombie.
fn parse(pid: u32, stat: &[u8]) -> Option<Process> {
    // The name stands in parentheses and may hold any byte, parentheses and spaces included: the last one ends it.
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let comm = stat.get(open + 1..close)?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // Numbered as in proc_pid_stat(5), where the state is column 3.
    let columns: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    let column = |number: usize| columns.get(number - 3).copied();
    let number = |place: usize| column(place)?.parse::<u64>().ok();
    if matches!(column(3)?, "Z" | "X" | "x") {
        return None;
    }
    Some(Process {
        pid,
        comm: comm.into(),
        argument_name: None,
        cpu_ticks: number(14)?.saturating_add(number(15)?),
        start_ticks: number(22)?,
        resident_pages: number(24)?,
    })
}

/// The file name in the first argument. A process may write anything there, as `nginx: worker process` does.
fn argument_name(dir: &Path) -> Option<Arc<[u8]>> {
    let mut content = Vec::new();
    fs::File::open(dir.join("cmdline"))
        .ok()?
        .take(ARGUMENT_LEN_MAX)
        .read_to_end(&mut content)
        .ok()?;
    let first = content.split(|byte| *byte == 0).next()?;
    let name = Path::new(std::ffi::OsStr::from_bytes(first)).file_name()?;
    Some(name.as_bytes().into())
}

fn open_files_of(dir: &Path) -> io::Result<u64> {
    // Since Linux 6.2 the size of the folder is the number of its entries.
    let size = fs::metadata(dir)?.size();
    let mut entries = fs::read_dir(dir)?;
    if size > 0 {
        return Ok(size);
    }
    entries.by_ref().take(FDS_MAX).try_fold(0, |count, entry| {
        entry?;
        Ok(count + 1)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::FutureExt as _;
    use vigie_core::time::{Now, Wall};
    use vigie_platform::clock::{ManualClock, SystemClock};

    use super::*;

    fn stat(pid: u32, comm: &str, state: char) -> String {
        format!(
            "{pid} ({comm}) {state} 1 {pid} {pid} 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 12345 1000000 300 18446744073709551615 1 1 0 0\n"
        )
    }

    fn add(proc: &Path, pid: u32, stat: &str, cmdline: &[u8]) {
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("cmdline"), cmdline).unwrap();
    }

    #[test]
    fn a_line_is_read_whatever_the_name_holds() {
        let process = parse(42, stat(42, "a) R (b c", 'S').as_bytes()).unwrap();
        assert_eq!(&*process.comm, b"a) R (b c");
        assert_eq!(
            (
                process.cpu_ticks,
                process.start_ticks,
                process.resident_pages
            ),
            (300, 12_345, 300)
        );
        assert_eq!(parse(42, stat(42, "sh", 'Z').as_bytes()), None);
        for broken in ["", "42", "42 (sh", "42 (sh) S 1", "42 ) S (sh 1"] {
            assert_eq!(parse(42, broken.as_bytes()), None, "{broken}");
        }
    }

    #[tokio::test]
    async fn one_list_serves_all_who_ask_within_a_second() {
        let proc = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(0),
            elapsed: Elapsed(10_000),
        }));
        let processes = Processes::at(proc.path(), Arc::clone(&clock) as Arc<dyn Clock>);
        add(proc.path(), 1, &stat(1, "systemd", 'S'), b"/sbin/init\0");
        add(
            proc.path(),
            7,
            &stat(7, "a-very-long-nam", 'S'),
            b"/opt/a-very-long-name\0secret\0",
        );
        let list = processes.list().await.unwrap();
        assert_eq!(list.len(), 2);
        let long = list.iter().find(|process| process.pid == 7).unwrap();
        assert_eq!(
            long.argument_name.as_deref(),
            Some(&b"a-very-long-name"[..])
        );

        add(proc.path(), 8, &stat(8, "new", 'R'), b"");
        assert_eq!(processes.clone().list().await.unwrap().len(), 2);
        clock.advance(std::time::Duration::from_secs(1));
        // The command line is not read again while it is the same process under the same name.
        fs::remove_file(proc.path().join("7/cmdline")).unwrap();
        let list = processes.list().await.unwrap();
        assert_eq!(list.len(), 3);
        let long = list.iter().find(|process| process.pid == 7).unwrap();
        assert!(long.argument_name.is_some());
    }

    #[tokio::test]
    async fn hidden_processes_are_not_absent_ones() {
        let proc = tempfile::tempdir().unwrap();
        add(proc.path(), 7, &stat(7, "mine", 'S'), b"");
        let processes = Processes::at(proc.path(), Arc::new(SystemClock));
        let error = processes.list().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[tokio::test]
    async fn a_scan_that_hangs_is_waited_for_by_nobody_else() {
        let proc = tempfile::tempdir().unwrap();
        add(proc.path(), 1, &stat(1, "systemd", 'S'), b"/sbin/init\0");
        let stuck = proc.path().join("9");
        fs::create_dir(&stuck).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            stuck.join("stat"),
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        let processes = Processes::at(proc.path(), Arc::new(SystemClock));
        {
            let mut hung = std::pin::pin!(processes.list());
            while processes.shared.names.try_lock().is_ok() {
                assert!(hung.as_mut().now_or_never().is_none());
                tokio::task::yield_now().await;
            }
        }
        let error = processes.list().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        // Lets go.
        drop(fs::File::options().write(true).open(stuck.join("stat")));
    }

    #[tokio::test]
    async fn this_process_is_in_the_list_and_its_files_are_counted() {
        let processes = Processes::at("/proc", Arc::new(SystemClock));
        let own = std::process::id();
        let list = processes.list().await.unwrap();
        let this = list.iter().find(|process| process.pid == own).unwrap();
        assert!(this.resident_pages > 0);
        let dir = tempfile::tempdir().unwrap();
        let before = processes.open_files(vec![vec![own]]).await[0].unwrap();
        let held: Vec<_> = (0..50)
            .map(|n| fs::File::create(dir.path().join(n.to_string())).unwrap())
            .collect();
        let after = processes.open_files(vec![vec![own]]).await[0].unwrap();
        assert!(after >= before + 40, "{before} {after}");
        drop(held);
    }
}
