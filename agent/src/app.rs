//! The running agent: built from settings, a clock and a disk; then run until somebody stops it.
//!
//! [`build`] takes the state folder, opens the spool and binds the sockets; [`App::run`] starts the tasks and answers
//! signals. Nothing here decides: it wires. Whoever passes another [`Clock`] or [`Disk`] drives the same agent, which is
//! how the tests of the whole system do it.
//!
//! **Stop.** The runner ends first, then `agent.stop` is written, then what is left is handed in once, lines before samples; all
//! within `STOP_WITHIN`, after which the process ends anyway: everything that must survive is on disk by then.
//! **Reload.** New settings are read beside the running ones and take their place only if nothing is wrong with them.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{oneshot, watch},
    task::AbortHandle,
};
use tracing::{error, info, warn};
use vigie_checks::KINDS;
use vigie_core::{
    entry::Draft,
    observation::{Facts, Object},
    reason::vigie,
    time::Wall,
};
use vigie_machine::Context;
use vigie_platform::{
    clock::Clock,
    disk::Disk,
    file_watch::FileWatch,
    process::{Drain, Signal, Signals, Systemd},
    scrape_guard::ScrapeGuard,
    settings_file::{Mistakes, Url},
    supervise::{Supervisor, TaskLost},
    telemetry::{LOG_VARIABLE, Level, Telemetry},
};

use crate::{
    admin::{self, SocketError},
    fallback::{Fallback, Webhook},
    join::identity::{Identity, LoadError},
    ledger::{CheckpointFile, Ledger, lane::Lane},
    metrics::{
        DeclareError, Metrics, Reload,
        server::{self, ListenError},
    },
    metrics_lane::{self, MetricsLane},
    push::{self, Push},
    renewal,
    runner::{Runner, RunnerHandle},
    settings::{self, Settings},
    spool::{self, Spool},
    way::{Targets, Way},
};

/// How long a stop may take; systemd waits 90 s by default before it kills.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How much of that the last lines have for themselves before the last samples go too.
const LINES_ALONE_FOR: Duration = Duration::from_secs(5);

/// The kernel's name for this boot.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// A scheduler that has not moved for this long is not alive as systemd understands it.
const ALIVE_WITHIN_MS: u64 = 10_000;

/// Only the agent's account enters its state.
const STATE_DIR_MODE: u32 = 0o700;

/// What surrounds the agent, read or made once by `main`.
pub struct Surroundings {
    /// The settings file, read again at a reload.
    pub config: PathBuf,
    /// Watches it, from before it was first read, so that no change falls between.
    pub watch: FileWatch,
    /// The environment, as it was at start.
    pub variables: Vec<(OsString, OsString)>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// The disk under the state folder.
    pub disk: Arc<dyn Disk>,
    /// The line to systemd.
    pub systemd: Systemd,
    /// The log, whose level a reload may change.
    pub telemetry: Option<Telemetry>,
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The state folder cannot be made or used.
    #[error("cannot use the state folder {dir}")]
    StateDir {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another agent uses it.
    #[error("another agent is running with the state folder {dir}")]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// There is no identity, or it cannot be used.
    #[error("cannot take up this machine's identity")]
    Identity {
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The metrics contradict each other.
    #[error("cannot declare the metrics")]
    Metrics {
        /// Which.
        #[source]
        source: DeclareError,
    },
    /// The address for metrics cannot be had.
    #[error("cannot show metrics")]
    Listen {
        /// Why.
        #[source]
        source: ListenError,
    },
    /// The socket for operators cannot be had.
    #[error("cannot show the state")]
    Admin {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// No thread for the ledger or the metrics spools.
    #[error("cannot start a thread that writes to disk")]
    Thread {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An agent that is ready to run.
pub struct App {
    surroundings: Surroundings,
    /// Held until the process ends, so that no other agent writes the same chain.
    _lock: std::fs::File,
    state_dir: PathBuf,
    settings_in_force: InForce,
    started: Wall,
    lane: Lane,
    runner: Runner,
    runner_handle: RunnerHandle,
    metrics: Arc<Metrics>,
    metrics_listener: Option<(SocketAddr, TcpListener)>,
    /// What those must show who read the metrics.
    scrape: Arc<ScrapeGuard>,
    admin_listener: UnixListener,
    identity: watch::Sender<Arc<Identity>>,
    way: Way,
    samples: MetricsLane,
}

/// What of the settings can change while running.
struct InForce {
    targets: watch::Sender<Targets>,
    samples: watch::Sender<metrics_lane::Plan>,
    webhook: watch::Sender<Option<Webhook>>,
    plan: vigie_core::plan::Plan,
}

/// Prepares an agent. Needs a runtime; blocks on the disk, so nothing else should run yet.
///
/// # Errors
/// When the state folder, the identity or a socket cannot be had.
pub async fn build(settings: Settings, surroundings: Surroundings) -> Result<App, BuildError> {
    let state_dir = settings.state_dir.clone();
    let lock = take_state_dir(&*surroundings.disk, &state_dir)?;
    let identity = Identity::load(&state_dir).map_err(|source| BuildError::Identity { source })?;
    let node = identity.node().clone();
    let metrics =
        Metrics::new(Some(&node), KINDS).map_err(|source| BuildError::Metrics { source })?;
    let metrics = Arc::new(metrics);
    let metrics_listener = match settings.listen {
        Some(address) => {
            let listener = server::listen(address)
                .await
                .map_err(|source| BuildError::Listen { source })?;
            Some((address, listener))
        }
        None => None,
    };
    let admin_listener =
        admin::listen(&state_dir).map_err(|source| BuildError::Admin { source })?;

    let clock = Arc::clone(&surroundings.clock);
    let spool = open_spool(Arc::clone(&surroundings.disk), &state_dir);
    let checkpoint = CheckpointFile::open(&*surroundings.disk, &state_dir.join("checkpoint"));
    let ledger = Ledger::new(
        spool,
        checkpoint,
        node.clone(),
        &boot_id(),
        Arc::clone(&clock),
    );
    let lane = Lane::start(ledger).map_err(|source| BuildError::Thread { source })?;

    let in_force = InForce {
        targets: watch::Sender::new(targets_of(&settings)),
        samples: watch::Sender::new(samples_plan_of(&settings)),
        webhook: watch::Sender::new(settings.fallback.as_ref().map(|f| f.webhook.clone())),
        plan: settings.plan(),
    };
    let identity = watch::Sender::new(Arc::new(identity));
    let way = Way::new(
        in_force.targets.subscribe(),
        identity.subscribe(),
        Arc::clone(&clock),
    );
    let samples = MetricsLane::start(metrics_lane::Parts {
        clock: Arc::clone(&clock),
        disk: Arc::clone(&surroundings.disk),
        state_dir: state_dir.clone(),
        node: node.clone(),
        metrics: Arc::clone(&metrics),
        way: way.clone(),
        plan: in_force.samples.subscribe(),
        random,
    })
    .map_err(|source| BuildError::Thread { source })?;
    let started = clock.wall();
    metrics.show_reload(Reload::Taken, started);
    let (runner, runner_handle) = Runner::new(
        node,
        Context::of_this_machine(clock).with_state(Arc::clone(&surroundings.disk), &state_dir),
        settings.checks,
        lane.clone(),
        Arc::clone(&metrics),
    );
    Ok(App {
        surroundings,
        _lock: lock,
        state_dir,
        settings_in_force: in_force,
        started,
        lane,
        runner,
        runner_handle,
        metrics,
        metrics_listener,
        scrape: Arc::new(settings.scrape),
        admin_listener,
        identity,
        way,
        samples,
    })
}

impl App {
    /// Where the metrics are shown, with the port that the system chose if the settings left it open.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        let (_, listener) = self.metrics_listener.as_ref()?;
        listener.local_addr().ok()
    }

    /// Runs until a signal says stop.
    ///
    /// # Errors
    /// When a task ends that must not; then the process should end too, for systemd to start it again.
    pub async fn run(self, mut signals: Signals) -> Result<(), TaskLost> {
        let mut running = self.start().await;
        running.surroundings.systemd.ready();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            node = %running.identity.borrow().node(),
            "vigie-agent runs"
        );
        let watchdog = running.surroundings.systemd.watchdog_interval();
        // Without a watchdog this only costs a wake-up an hour.
        let mut alive = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => Box::pin(running.reload()).await,
                },
                lost = running.supervisor.lost() => return Err(lost),
                () = running.surroundings.watch.changed() => Box::pin(running.reload()).await,
                _ = alive.tick() => running.feed_watchdog(),
            }
        }
        running.stop().await;
        Ok(())
    }

    /// Writes the first lines and starts every task.
    async fn start(self) -> Running {
        let clock = Arc::clone(&self.surroundings.clock);
        let mut facts = Facts::new();
        if let Ok(version) = Object::configured(env!("CARGO_PKG_VERSION")) {
            facts.insert("version", version.into());
        }
        // The thread has just been started; if it is gone, the pusher ends and the supervisor says so.
        let _ = self.lane.write(Draft::own(vigie::AGENT_START, facts)).await;
        let _ = self
            .lane
            .write_plan(self.settings_in_force.plan.clone())
            .await;

        let (fallback, alarm) = Fallback::new(
            Arc::clone(&clock),
            self.identity.borrow().node().clone(),
            self.settings_in_force.webhook.subscribe(),
            Arc::clone(&self.metrics),
            random,
        );
        let push = Push::new(push::Parts {
            clock: Arc::clone(&clock),
            lane: self.lane.clone(),
            runner: self.runner_handle.clone(),
            identity: self.identity.subscribe(),
            way: self.way,
            alarm,
            metrics: Arc::clone(&self.metrics),
            random,
        });
        let sources = admin::Sources {
            clock: Arc::clone(&clock),
            started: self.started,
            runner: self.runner_handle.clone(),
            ledger: self.lane.view(),
            push: push.last(),
            samples: self.samples.board(),
            identity: self.identity.subscribe(),
        };
        let stop = watch::Sender::new(false);
        let (stopped_sender, stopped) = oneshot::channel();
        let stopping = stop.subscribe();
        let (samples_stopped_sender, samples_stopped) = oneshot::channel();
        let samples = self.samples;
        let stop_samples = watch::Sender::new(false);
        let samples_stopping = stop_samples.subscribe();

        let mut supervisor = Supervisor::new();
        let runner = supervisor.spawn("runner", self.runner.run());
        supervisor.spawn("push", async move {
            match push.run(stopping, stopped_sender).await {
                // It has done its last; its end is waited for elsewhere.
                Ok(()) => std::future::pending().await,
                Err(error) => error!(%error, "nothing can be handed in any more"),
            }
        });
        supervisor.spawn("metrics lane", async move {
            match samples.run(samples_stopping, samples_stopped_sender).await {
                // As above.
                Ok(()) => std::future::pending().await,
                Err(error) => error!(%error, "no samples can be sent any more"),
            }
        });
        supervisor.spawn(
            "renewal",
            renewal::run(
                clock,
                self.identity.clone(),
                self.settings_in_force.targets.subscribe(),
                Arc::clone(&self.metrics),
                random,
            ),
        );
        supervisor.spawn("fallback", fallback.run());
        supervisor.spawn("admin socket", admin::serve(self.admin_listener, sources));
        let mut view = self.lane.view();
        let metrics = Arc::clone(&self.metrics);
        supervisor.spawn("ledger gauges", async move {
            loop {
                metrics.show_ledger(&view.borrow_and_update());
                if view.changed().await.is_err() {
                    return;
                }
            }
        });
        let server = self.metrics_listener.map(|(address, listener)| {
            let guard = watch::Sender::new(self.scrape);
            let serve = server::serve(listener, Arc::clone(&self.metrics), guard.subscribe());
            MetricsServer {
                address,
                guard,
                task: supervisor.spawn("metrics server", serve),
            }
        });
        Running {
            surroundings: self.surroundings,
            _lock: self._lock,
            state_dir: self.state_dir,
            settings_in_force: self.settings_in_force,
            lane: self.lane,
            runner,
            runner_handle: self.runner_handle,
            metrics: self.metrics,
            server,
            identity: self.identity,
            supervisor,
            stop,
            stop_samples,
            stopped,
            samples_stopped,
        }
    }
}

/// Where the metrics are shown, and to whom. Each address has a guard of its own, so that what one demands never counts at
/// another, not even while a reload goes from one to the other.
struct MetricsServer {
    address: SocketAddr,
    guard: watch::Sender<Arc<ScrapeGuard>>,
    task: AbortHandle,
}

/// An agent at work.
struct Running {
    surroundings: Surroundings,
    _lock: std::fs::File,
    state_dir: PathBuf,
    settings_in_force: InForce,
    lane: Lane,
    runner: AbortHandle,
    runner_handle: RunnerHandle,
    metrics: Arc<Metrics>,
    server: Option<MetricsServer>,
    identity: watch::Sender<Arc<Identity>>,
    supervisor: Supervisor,
    stop: watch::Sender<bool>,
    stop_samples: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
    samples_stopped: oneshot::Receiver<()>,
}

impl Running {
    fn feed_watchdog(&self) {
        let now = self.surroundings.clock.elapsed();
        if now.since_ms(self.runner_handle.heartbeat().last()) <= ALIVE_WITHIN_MS {
            self.surroundings.systemd.alive();
        }
    }

    async fn reload(&mut self) {
        self.surroundings.systemd.reloading();
        let config = self.surroundings.config.clone();
        let variables = self.surroundings.variables.clone();
        let read = tokio::task::spawn_blocking(move || settings::load(&config, variables)).await;
        match read {
            Ok(Ok(settings)) => self.take(settings).await,
            Ok(Err(mistakes)) => self.refuse(&mistakes).await,
            Err(error) => error!(%error, "the settings could not be read again"),
        }
        self.surroundings.systemd.ready();
    }

    async fn refuse(&mut self, mistakes: &Mistakes) {
        for mistake in mistakes {
            error!(%mistake, "mistake in the settings");
        }
        let count = mistakes.iter().count();
        warn!(
            mistakes = count,
            "the settings are refused; those before stay in force"
        );
        self.metrics
            .show_reload(Reload::Refused, self.surroundings.clock.wall());
        let facts = Facts::from([("mistakes", (count as u64).into())]);
        let line = Draft::own(vigie::AGENT_SETTINGS_REFUSED, facts);
        if self.lane.write(line).await.is_err() {
            error!("the refusal cannot be written: the ledger is gone");
        }
    }

    async fn take(&mut self, settings: Settings) {
        if settings.state_dir != self.state_dir {
            warn!("another `state_dir` counts from the next start on");
        }
        if let Some(telemetry) = &self.surroundings.telemetry {
            let variable = self
                .surroundings
                .variables
                .iter()
                .find(|(name, _)| name == LOG_VARIABLE)
                .and_then(|(_, value)| value.to_str());
            let setting = settings.log_level.as_ref().map(Level::to_string);
            // Both were understood before: the variable at start, the setting just now.
            if let Ok(level) = Level::chosen(variable, setting.as_deref()) {
                telemetry.change_level(&level);
            }
        }
        self.listen_on(settings.listen, &settings.scrape).await;
        let targets = targets_of(&settings);
        self.settings_in_force.targets.send_if_modified(|current| {
            let is_other = *current != targets;
            *current = targets;
            is_other
        });
        let samples = samples_plan_of(&settings);
        if samples.limits.bytes != self.settings_in_force.samples.borrow().limits.bytes {
            warn!("another size of the metrics spools counts from the next start on");
        }
        self.settings_in_force.samples.send_if_modified(|current| {
            let is_other = *current != samples;
            *current = samples;
            is_other
        });
        let webhook = settings.fallback.as_ref().map(|f| f.webhook.clone());
        self.settings_in_force.webhook.send_replace(webhook);
        self.settings_in_force.plan = settings.plan();
        // The plan before the first line of a check that only it names.
        if self
            .lane
            .write_plan(self.settings_in_force.plan.clone())
            .await
            .is_err()
        {
            error!("the plan cannot be written: the ledger is gone");
        }
        self.runner_handle.replace(settings.checks).await;
        self.metrics
            .show_reload(Reload::Taken, self.surroundings.clock.wall());
        info!("settings taken into force");
    }

    async fn listen_on(&mut self, address: Option<SocketAddr>, guard: &ScrapeGuard) {
        if let Some(server) = &self.server
            && Some(server.address) == address
        {
            server.guard.send_if_modified(|current| {
                let is_other = **current != *guard;
                if is_other {
                    *current = Arc::new(guard.clone());
                }
                is_other
            });
            return;
        }
        let Some(address) = address else {
            self.close_server().await;
            return;
        };
        let mut listener = server::listen(address).await;
        // All addresses of this machine and one of them cannot be had at once on one port.
        let before = self.server.as_ref().map(|server| server.address);
        let before = before.filter(|before| listener.is_err() && before.port() == address.port());
        let mut old_guard = None;
        if before.is_some() {
            old_guard = self.close_server().await;
            listener = server::listen(address).await;
        }
        match listener {
            Ok(listener) => {
                self.close_server().await;
                self.server = Some(self.serve_metrics(address, listener, Arc::new(guard.clone())));
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "metrics stay where they were"
                );
                if let (Some(before), Some(guard)) = (before, old_guard) {
                    match server::listen(before).await {
                        Ok(listener) => {
                            self.server = Some(self.serve_metrics(before, listener, guard));
                        }
                        Err(error) => error!(
                            error = &error as &dyn std::error::Error,
                            "metrics are shown nowhere until the next reload"
                        ),
                    }
                }
            }
        }
    }

    fn serve_metrics(
        &mut self,
        address: SocketAddr,
        listener: TcpListener,
        guard: Arc<ScrapeGuard>,
    ) -> MetricsServer {
        let guard = watch::Sender::new(guard);
        let serve = server::serve(listener, Arc::clone(&self.metrics), guard.subscribe());
        MetricsServer {
            address,
            guard,
            task: self.supervisor.spawn("metrics server", serve),
        }
    }

    /// Ends the listener for metrics, and its connections, whose guard goes with it; gives that back. Returns once its
    /// address is free.
    async fn close_server(&mut self) -> Option<Arc<ScrapeGuard>> {
        let old = self.server.take()?;
        old.task.abort();
        while !old.task.is_finished() {
            // It only has to be dropped, at its next turn.
            tokio::task::yield_now().await;
        }
        let guard = Arc::clone(&old.guard.borrow());
        Some(guard)
    }

    async fn stop(self) {
        self.surroundings.systemd.stopping();
        info!("stopping");
        self.runner.abort();
        let (stop, stop_samples) = (&self.stop, &self.stop_samples);
        let lane = &self.lane;
        let mut stopped = self.stopped;
        let samples_stopped = self.samples_stopped;
        let drained = Drain::new()
            .step("the ledger", async move {
                let facts = Facts::from([("signal", "term".into())]);
                // Without a ledger there is nothing to write and nothing to wait for.
                let _ = lane.write(Draft::own(vigie::AGENT_STOP, facts)).await;
                let _ = lane.settle().await;
            })
            .step("the last lines to the collector", async move {
                stop.send_replace(true);
                let ended = tokio::time::timeout(LINES_ALONE_FOR, &mut stopped).await;
                // If nobody answers the lines, the spools of samples still need their time.
                stop_samples.send_replace(true);
                if ended.is_err() {
                    let _ = stopped.await;
                }
            })
            .step("the last samples", async move {
                let _ = samples_stopped.await;
            })
            .run(STOP_WITHIN)
            .await;
        if !drained.is_complete() {
            warn!(unfinished = ?drained.unfinished, "stopped all the same; what is left is sent after the next start");
        }
        // A leftover file would only make a reader wait for nobody.
        let _ = std::fs::remove_file(self.state_dir.join(admin::SOCKET));
    }
}

/// Makes the folder and keeps other agents out of it.
fn take_state_dir(disk: &dyn Disk, dir: &Path) -> Result<std::fs::File, BuildError> {
    let failed = |source| BuildError::StateDir {
        dir: dir.to_owned(),
        source,
    };
    disk.create_dir(dir, STATE_DIR_MODE).map_err(failed)?;
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(failed)?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BuildError::InUse {
            dir: dir.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

fn open_spool(disk: Arc<dyn Disk>, state_dir: &Path) -> Spool {
    let (spool, recovery) = Spool::open(disk, &state_dir.join("entries"), spool::Limits::default());
    if let Some(reason) = &recovery.memory_only {
        error!(reason, "lines of evidence are kept in memory only");
    }
    if recovery.is_head_lost || recovery.is_cursor_lost || recovery.cut_bytes > 0 {
        warn!(
            is_head_lost = recovery.is_head_lost,
            is_cursor_lost = recovery.is_cursor_lost,
            cut_bytes = recovery.cut_bytes,
            "the spool was repaired"
        );
    }
    for reason in &recovery.unrepaired {
        warn!(reason, "the spool works without");
    }
    spool
}

fn targets_of(settings: &Settings) -> Targets {
    Targets {
        collectors: settings
            .collectors
            .iter()
            .map(|url| url.as_str().trim_end_matches('/').to_owned())
            .collect(),
        proxy: settings.proxy.as_ref().map(Url::to_string),
    }
}

fn samples_plan_of(settings: &Settings) -> metrics_lane::Plan {
    metrics_lane::Plan {
        others: settings.remote_write.clone(),
        limits: settings.metrics_spool,
    }
}

fn boot_id() -> String {
    let text = std::fs::read_to_string(BOOT_ID_FILE).unwrap_or_default();
    let id: String = text
        .chars()
        .filter(|c| c.is_ascii_hexdigit() || *c == '-')
        .take(36)
        .collect();
    if id.is_empty() {
        "unknown".to_owned()
    } else {
        id
    }
}

/// A fresh random number, for jitter only: if the system gives none, a fleet loses its spread and nothing else.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}

#[cfg(test)]
mod tests;
