//! The running agent: built from settings, a clock and a disk; then run until somebody stops it.
//!
//! [`build()`] takes the state folder, opens the spool and binds the sockets; [`App::run`] starts the tasks and answers
//! signals. Nothing here decides: it wires. Whoever passes another [`Clock`] or [`Disk`] drives the same agent, which is
//! how the tests of the whole system do it.
//!
//! **Stop.** The runner ends first, then `agent.stop` is written, then what is left is handed in once, lines before samples; all
//! within `STOP_WITHIN`, after which the process ends anyway: everything that must survive is on disk by then.
//! **Reload.** New settings are read beside the running ones and take their place only if nothing is wrong with them.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    net::UnixListener,
    sync::{oneshot, watch},
    task::AbortHandle,
};
use vigie_core::time::Wall;
use vigie_platform::{
    clock::Clock, disk::Disk, file_watch::FileWatch, http_listener::Listener, process::Systemd,
    scrape_guard::ScrapeGuard, supervise::Supervisor, telemetry::Telemetry,
};

use crate::{
    join::identity::Identity,
    ledger::lane::EntryWriter,
    metrics::Metrics,
    metrics_lane::MetricsLane,
    runner::{Runner, RunnerHandle},
    uplink::Uplink,
};

mod build;
mod in_force;
mod metrics_server;
mod reload;
mod run;
mod stop;

pub use build::{BuildError, build};

use in_force::InForce;
use metrics_server::MetricsServer;

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

/// An agent that is ready to run.
pub struct App {
    surroundings: Surroundings,
    /// Held until the process ends, so that no other agent writes the same chain.
    _lock: std::fs::File,
    state_dir: PathBuf,
    settings_in_force: InForce,
    started: Wall,
    lane: EntryWriter,
    runner: Runner,
    runner_handle: RunnerHandle,
    metrics: Arc<Metrics>,
    metrics_listener: Option<(SocketAddr, Listener)>,
    /// What those must show who read the metrics.
    scrape: Arc<ScrapeGuard>,
    admin_listener: UnixListener,
    identity: watch::Sender<Arc<Identity>>,
    way: Uplink,
    samples: MetricsLane,
}

/// An agent at work.
struct Running {
    surroundings: Surroundings,
    _lock: std::fs::File,
    state_dir: PathBuf,
    settings_in_force: InForce,
    lane: EntryWriter,
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
