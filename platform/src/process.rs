//! The life of a process as systemd and operators see it: signals, readiness, exit codes, and an orderly, bounded stop.
//!
//! It must never hang: telling systemd is best effort, and a [`Drain`] ends at its deadline and names the step that did
//! not. It reads no environment; `main` reads it once and hands it in. Writes no file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::Pin;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

/// How a program of vigie ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok,
    /// The program worked and found something that is not well.
    Finding,
    /// A command line or settings that cannot be followed.
    Usage,
    /// The collector, the agent or a target could not be reached.
    Unreachable,
    /// A defect of vigie (`EX_SOFTWARE` of sysexits.h).
    Internal,
}

impl Exit {
    /// The code that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Finding => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Internal => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

/// What somebody asks of the running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in order.
    Stop,
    /// SIGHUP: read the settings again.
    Reload,
}

/// The signals of this process, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixSignal,
    interrupt: UnixSignal,
    hangup: UnixSignal,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. Done before anything slow, so that none of them kills a half-started process.
    ///
    /// # Errors
    ///
    /// If the system refuses a handler. Needs a runtime with its I/O driver.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal. Cancelling loses none; signals of one kind that arrive together count as one.
    pub async fn next(&mut self) -> Signal {
        let received = tokio::select! {
            // A stop is never kept waiting by a storm of reloads.
            biased;
            received = self.terminate.recv() => received.map(|()| Signal::Stop),
            received = self.interrupt.recv() => received.map(|()| Signal::Stop),
            received = self.hangup.recv() => received.map(|()| Signal::Reload),
        };
        // A closed stream means that the runtime is going away.
        received.unwrap_or(Signal::Stop)
    }
}

/// What systemd handed over in the environment, read once by `main`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemdEnvironment {
    notify_socket: Option<OsString>,
    watchdog_usec: Option<String>,
    watchdog_pid: Option<String>,
}

impl SystemdEnvironment {
    /// Picks `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` out of the environment (`std::env::vars_os()`).
    pub fn from_variables<K, V>(variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: AsRef<OsStr>,
        V: Into<OsString>,
    {
        let mut found = Self::default();
        for (name, value) in variables {
            let text = |value: V| value.into().into_string().ok();
            match name.as_ref().as_bytes() {
                b"NOTIFY_SOCKET" => found.notify_socket = Some(value.into()),
                b"WATCHDOG_USEC" => found.watchdog_usec = text(value),
                b"WATCHDOG_PID" => found.watchdog_pid = text(value),
                _ => {}
            }
        }
        found
    }
}

/// The line to systemd (`sd_notify(3)`). Silent when the process was not started by it.
///
/// Sending never blocks and never fails the program: what systemd does not hear is logged at debug level.
#[derive(Debug)]
pub struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Opens the socket named by the environment. `pid` is this process's own (`std::process::id()`).
    ///
    /// # Errors
    ///
    /// If `NOTIFY_SOCKET` is set and cannot be used; a unit of `Type=notify` would then wait for nothing.
    pub fn connect(environment: &SystemdEnvironment, pid: u32) -> Result<Self, NotifySocketError> {
        let socket = match environment
            .notify_socket
            .as_deref()
            .filter(|name| !name.is_empty())
        {
            Some(name) => Some(open(name).map_err(|source| NotifySocketError {
                name: name.to_owned(),
                source,
            })?),
            None => None,
        };
        let is_ours = environment
            .watchdog_pid
            .as_ref()
            .is_none_or(|wanted| wanted.parse() == Ok(pid));
        let watchdog = environment
            .watchdog_usec
            .as_deref()
            .filter(|_| is_ours)
            .and_then(|usec| usec.parse().ok())
            .filter(|usec| *usec > 0)
            .map(Duration::from_micros);
        Ok(Self { socket, watchdog })
    }

    /// A line to nobody, for tests and commands.
    pub const fn absent() -> Self {
        Self {
            socket: None,
            watchdog: None,
        }
    }

    /// How often to call [`Self::alive`]: half of what systemd waits before it kills the process.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.socket
            .as_ref()
            .and(self.watchdog)
            .map(|limit| limit / 2)
    }

    /// The program is up, or up again after a reload.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The settings are being read again; [`Self::ready`] ends it.
    ///
    /// `Type=notify-reload` also wants the monotonic time of its beginning.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now
            .tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The program is going down in order.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        // A line end would begin another assignment.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.send(&format!("STATUS={text}"));
    }

    /// The program does its work. To be called only when work has moved, never from a bare timer.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            debug!(%error, "systemd did not take a notification");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is neither an absolute path nor an abstract name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Why the line to systemd could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the notification socket {name:?} of NOTIFY_SOCKET")]
pub struct NotifySocketError {
    name: OsString,
    #[source]
    source: io::Error,
}

/// The steps of an orderly stop, run one after the other in the order they were added.
///
/// All share one deadline, and a step that overruns it is dropped where it waits: what must survive that is on disk before.
/// The steps after it are still polled once, so that those that need no waiting are done.
#[derive(Default)]
pub struct Drain<'a> {
    steps: Vec<(&'static str, Step<'a>)>,
}

type Step<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl<'a> Drain<'a> {
    /// A stop without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step. `name` says what is ended ("the metrics spool").
    pub fn step(mut self, name: &'static str, step: impl Future<Output = ()> + Send + 'a) -> Self {
        self.steps.push((name, Box::pin(step)));
        self
    }

    /// Runs the steps; gives back what each came to, within `limit` for all of them together.
    pub async fn run(self, limit: Duration) -> Drained {
        let begun = Instant::now();
        let deadline = begun + limit;
        let mut unfinished = Vec::new();
        for (name, step) in self.steps {
            match timeout_at(deadline, step).await {
                Ok(()) => debug!(step = name, "stopped"),
                Err(_) => {
                    warn!(
                        step = name,
                        waited_ms = begun.elapsed().as_millis(),
                        "not stopped in time"
                    );
                    unfinished.push(name);
                }
            }
        }
        if unfinished.is_empty() {
            info!(waited_ms = begun.elapsed().as_millis(), "stopped in order");
        }
        Drained { unfinished }
    }
}

impl fmt::Debug for Drain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.steps.iter().map(|(name, _)| name))
            .finish()
    }
}

/// What a [`Drain`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a step may not have ended in time"]
pub struct Drained {
    /// The steps that had not ended at the deadline, in order.
    pub unfinished: Vec<&'static str>,
}

impl Drained {
    /// Whether every step ended in time.
    pub fn is_complete(&self) -> bool {
        self.unfinished.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> SystemdEnvironment {
        SystemdEnvironment::from_variables(pairs.iter().copied())
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    fn tell_all(systemd: &Systemd, socket: &UnixDatagram) {
        systemd.ready();
        assert_eq!(received(socket), "READY=1");
        systemd.reloading();
        let reloading = received(socket);
        let usec = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
        systemd.status("3 checks\nSTOPPING=1");
        assert_eq!(received(socket), "STATUS=3 checks STOPPING=1");
        systemd.alive();
        assert_eq!(received(socket), "WATCHDOG=1");
        systemd.stopping();
        assert_eq!(received(socket), "STOPPING=1");
    }

    #[test]
    fn systemd_hears_through_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let systemd = Systemd::connect(
            &environment(&[("NOTIFY_SOCKET", path.to_str().unwrap())]),
            1,
        )
        .unwrap();
        tell_all(&systemd, &socket);

        let name = format!("vigie-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let systemd =
            Systemd::connect(&environment(&[("NOTIFY_SOCKET", &format!("@{name}"))]), 1).unwrap();
        tell_all(&systemd, &socket);
    }

    #[test]
    fn without_systemd_nothing_is_told_and_nothing_fails() {
        let systemd = Systemd::connect(&environment(&[("WATCHDOG_USEC", "30000000")]), 1).unwrap();
        systemd.ready();
        assert_eq!(systemd.watchdog_interval(), None);
        let gone =
            Systemd::connect(&environment(&[("NOTIFY_SOCKET", "/nonexistent/notify")]), 1).unwrap();
        gone.ready();
        assert!(Systemd::connect(&environment(&[("NOTIFY_SOCKET", "vsock:2:1")]), 1).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_systemd_looks() {
        for (usec, pid, expected) in [
            ("30000000", "7", Some(Duration::from_secs(15))),
            ("30000000", "8", None),
            ("0", "7", None),
            ("soon", "7", None),
        ] {
            let environment = environment(&[
                ("NOTIFY_SOCKET", "@x"),
                ("WATCHDOG_USEC", usec),
                ("WATCHDOG_PID", pid),
            ]);
            assert_eq!(
                Systemd::connect(&environment, 7)
                    .unwrap()
                    .watchdog_interval(),
                expected
            );
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let all = [
            Exit::Ok,
            Exit::Finding,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Internal,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 70]);
    }

    #[tokio::test]
    async fn signals_become_what_they_ask_for() {
        use rustix::process::{Signal as Number, getpid, kill_process};
        let mut signals = Signals::listen().unwrap();
        for (number, asked) in [
            (Number::HUP, Signal::Reload),
            (Number::TERM, Signal::Stop),
            (Number::INT, Signal::Stop),
        ] {
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn steps_run_in_order_under_one_deadline_and_the_late_one_is_named() {
        let order = Mutex::new(Vec::new());
        let step = |name: &'static str, seconds: u64| {
            let order = &order;
            async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                order.lock().unwrap().push(name);
            }
        };
        let at_once = async { order.lock().unwrap().push("lock") };
        let begun = Instant::now();
        let drained = Drain::new()
            .step("ingest", step("ingest", 2))
            .step("engine", step("engine", 2))
            .step("deliver", step("deliver", 60))
            .step("store", step("store", 1))
            .step("lock", at_once)
            .run(Duration::from_secs(10))
            .await;
        assert_eq!(drained.unfinished, ["deliver", "store"]);
        assert!(!drained.is_complete());
        assert_eq!(*order.lock().unwrap(), ["ingest", "engine", "lock"]);
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }
}
