//! Real processes: found or built, started, killed, stopped, and never left behind.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// Names a folder with finished binaries, so that none are built (a package's own tests).
const BINARIES_VARIABLE: &str = "VIGIE_TEST_BINARIES";

/// How much of a log is shown when a scenario fails, in lines.
const LOG_LINES_SHOWN: usize = 150;

/// Where the shipped binary `name` is. Cargo builds no binaries of other packages for a test, so the harness asks it
/// to, once per process; when nothing changed that takes no time.
///
/// # Panics
/// When they cannot be built.
#[must_use]
pub fn shipped(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| match std::env::var_os(BINARIES_VARIABLE) {
            Some(folder) => folder.into(),
            None => build(),
        })
        .join(name)
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    // target/<profile>/deps/scenarios-… or target/<profile>/bench
    let folder = own
        .ancestors()
        .find(|folder| folder.join("deps").is_dir())
        .expect("tests run from cargo's target folder");
    // The folder of profile `dev` is `debug`; every other profile's is called like itself.
    let profile = match folder.file_name() {
        Some(name) if name != "debug" => name,
        _ => OsStr::new("dev"),
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--locked", "--bins"])
        .args(["-p", "vigie-agent", "-p", "vigie-collector"])
        .arg("--profile")
        .arg(profile)
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder.parent().expect("a profile's folder is in target"));
    let output = run(&mut command);
    assert!(
        output.status.success(),
        "cannot build the binaries: {output:?}"
    );
    folder.to_owned()
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|cause| panic!("cannot run {command:?}: {cause}"))
}

/// A running process. Killed when dropped; if the scenario failed, the end of its log is printed.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a process holds of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that is in memory, shared and mapped files included, in KiB.
    pub rss_kib: u64,
    /// What it has allocated, in KiB.
    pub rss_anon_kib: u64,
}

impl Program {
    /// Starts `command`; what it says is appended to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let open = || -> File {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(log)
                .unwrap_or_else(|cause| panic!("cannot open {}: {cause}", log.display()))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap_or_else(|cause| panic!("cannot start {command:?}: {cause}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`: it gets no chance to do anything.
    pub fn kill(&mut self) {
        // Both fail only if it has ended and been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} has ended"), async || {
            let status = self.child.try_wait().map_err(|cause| cause.to_string())?;
            status.ok_or_else(|| "it runs".to_owned())
        })
        .await
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Makes it stand still (SIGSTOP), as a hung machine or a debugger does.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to read its settings again (SIGHUP).
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the system's process ids are positive");
        kill_process(pid, signal)
            .unwrap_or_else(|cause| panic!("cannot signal {}: {cause}", self.name));
    }

    /// What it holds of the machine's memory (proc_pid_status(5)).
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("a running process has a status");
        let kib = |key: &str| {
            status
                .lines()
                .find_map(|line| {
                    line.strip_prefix(key)?
                        .trim()
                        .strip_suffix("kB")?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or_else(|| panic!("no {key} in the status of {}", self.name))
        };
        Memory {
            rss_kib: kib("VmRSS:"),
            rss_anon_kib: kib("RssAnon:"),
        }
    }

    /// Processor time it has used, in clock ticks of 10 ms (proc_pid_stat(5)).
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .expect("a running process has a stat");
        let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // utime and stime are fields 14 and 15; the name was field 2.
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!(
                "---- {} (last {} lines)\n{}",
                self.name,
                shown.len(),
                shown.join("\n")
            );
        }
    }
}

/// A command with an environment of its own: nothing of the developer's reaches the program.
#[must_use]
pub fn command(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("RUST_BACKTRACE", "1");
    command
}

/// Copies what is in a folder with `cp`, which keeps modes: both programs refuse secrets that others can read.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    let output = run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to));
    assert!(output.status.success(), "cannot copy: {output:?}");
}
