//! `admin.sock`: whoever may connect is written the agent's state as one JSON object. It is never read from.
//!
//! A socket that takes no input cannot be talked into anything: the agent accepts no commands. Mode 0600, in a folder
//! of mode 0700. Holds nothing; dropping the future closes the socket, and the file is replaced at the next start.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{net::UnixListener, sync::watch, time::timeout};
use tracing::{debug, warn};
use vigie_core::time::Wall;
use vigie_platform::{
    admin_socket::{self, Bounds, SocketError},
    clock::Clock,
};

use crate::{
    join::identity::Identity, ledger::View, metrics_lane::Board, push::LastPush,
    runner::RunnerHandle,
};

/// The socket's name in the state folder.
pub const SOCKET: &str = "admin.sock";

/// The agent's account alone.
const MODE: u32 = 0o600;

const BOUNDS: Bounds = Bounds {
    // An operator and a script.
    callers_max: 4,
    accept_pause: Duration::from_secs(1),
    not_accepted: |error| warn!(%error, "cannot accept a reader of the state"),
};

/// How long a reader may take. What it is written fits the socket's buffer in all but the largest plans.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the state is read.
#[derive(Clone)]
pub struct Sources {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// When the process started.
    pub started: Wall,
    /// Every check.
    pub runner: RunnerHandle,
    /// The chain and its spool.
    pub ledger: watch::Receiver<View>,
    /// The last request to the collector.
    pub push: watch::Receiver<Option<LastPush>>,
    /// The metrics lane.
    pub samples: watch::Receiver<Board>,
    /// Who this node is.
    pub identity: watch::Receiver<Arc<Identity>>,
}

/// Opens the socket in `state_dir`, replacing one that a process before left.
///
/// # Errors
/// When it can be neither made nor kept to its owner.
pub fn listen(state_dir: &Path) -> Result<UnixListener, SocketError> {
    admin_socket::listen(&state_dir.join(SOCKET), MODE)
}

/// Serves until dropped.
pub async fn serve(listener: UnixListener, sources: Sources) {
    admin_socket::serve(listener, BOUNDS, |caller| {
        let sources = sources.clone();
        async move {
            let telling = async { caller.write_line(state(&sources).await.to_string()).await };
            match timeout(WRITE_TIMEOUT, telling).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a reader of the state went away"),
                Err(_) => debug!("a reader of the state does not read"),
            }
        }
    })
    .await;
}

async fn state(sources: &Sources) -> Value {
    let checks = sources.runner.describe().await;
    let ledger = sources.ledger.borrow().clone();
    let push = sources.push.borrow().clone();
    let samples = sources.samples.borrow().clone();
    let identity = Arc::clone(&sources.identity.borrow());
    let now = sources.clock.now();
    let tick_age_ms = now.elapsed.since_ms(sources.runner.heartbeat().last());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": identity.node(),
        "collector_id": identity.collector_id(),
        "certificate": {
            "not_after": identity.not_after(),
            "renewal_due_at": identity.renewal_due_at(),
            "key_sha256": identity.key_sha256(),
        },
        "started_at": sources.started,
        "now": now.wall,
        "scheduler_tick_age_ms": tick_age_ms,
        "checks": checks,
        "ledger": {
            "head": ledger.head,
            "confirmed": ledger.acknowledged,
            "plan": ledger.plan,
            "not_ok": ledger.not_ok,
            "unsent_bytes": ledger.unsent_bytes,
            "lines_in_memory": ledger.ring_len,
            "is_degraded": ledger.is_degraded,
            "lines_written": ledger.lines_written,
            "lines_lost": ledger.lines_lost,
            "lines_refused": ledger.lines_refused,
        },
        "push": push,
        "samples": samples,
    })
}
