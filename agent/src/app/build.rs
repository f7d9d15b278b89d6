//! Prepares an agent: takes the state folder, opens the spools, binds the sockets. Blocks on the disk; no task runs yet.

use std::{
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;
use tracing::{error, warn};
use vigie_checks::KINDS;
use vigie_machine::Context;
use vigie_platform::{admin_socket::SocketError, disk::Disk};

use super::{
    App, Surroundings,
    in_force::{InForce, samples_plan_of, targets_of},
    random,
};
use crate::{
    admin,
    join::identity::{Identity, LoadError},
    ledger::{CheckpointFile, Ledger, lane::EntryWriter},
    metrics::{
        DeclareError, Metrics, Reload,
        server::{self, ListenError},
    },
    metrics_lane::{self, MetricsLane},
    runner::Runner,
    settings::Settings,
    spool::{self, Spool},
    uplink::Uplink,
};

/// Only the agent's account enters its state.
const STATE_DIR_MODE: u32 = 0o700;

/// The kernel's name for this boot.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

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
    let lane = EntryWriter::start(ledger).map_err(|source| BuildError::Thread { source })?;

    let in_force = InForce {
        targets: watch::Sender::new(targets_of(&settings)),
        samples: watch::Sender::new(samples_plan_of(&settings)),
        webhook: watch::Sender::new(settings.fallback.as_ref().map(|f| f.webhook.clone())),
        plan: settings.plan(),
    };
    let identity = watch::Sender::new(Arc::new(identity));
    let way = Uplink::new(
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

/// Makes the folder and keeps other agents out of it.
pub(super) fn take_state_dir(disk: &dyn Disk, dir: &Path) -> Result<std::fs::File, BuildError> {
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
