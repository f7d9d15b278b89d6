//! The metrics lane: every 15 seconds one remote write request of every series, to the collector and to whoever else the
//! settings name.
//!
//! Owns when samples are taken and where they go. A cycle's samples are encoded and compressed once, kept
//! in a spool for each destination by one thread ([`store`]), and sent at once, from memory, by one task for each
//! destination ([`destination`]): what is fresh never waits for what is old ([`order`]), nor for the disk.
//!
//! It decides nothing and no decision reads it: what wakes somebody is in the entries lane, which never waits for this
//! one ([`crate::uplink`]). A cycle that could not take place is counted and not made up for: a sample says how things were
//! at its time. Cancel-safe: whatever was not delivered is in the spools, and a repeat changes nothing at a receiver.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
};
use tracing::{error, warn};
use vigie_core::{
    due::Grid,
    id::{CheckName, NodeName},
    time::Now,
};
use vigie_platform::{
    clock::{Clock, wait_until},
    disk::Disk,
};

use crate::{metrics::Metrics, uplink::Uplink};

mod answer;
pub mod board;
mod config;
mod destination;
mod order;
mod quarantine;
mod ranges;
mod record;
mod remote;
mod spool;
mod store;
#[cfg(test)]
mod tests;

pub use board::Board;
pub use config::{Credential, Limits, Plan, RemoteWrite};
pub use store::StoreClosed;

use destination::{Destination, Fresh};
use record::{Reason, Record};
use remote::Remote;
use spool::BODY_LEN_MAX;
use store::Store;

/// What the collector is called among the destinations.
pub const COLLECTOR: &str = "collector";

/// From one cycle to the next: four samples a minute, so that Prometheus' usual `rate(…[1m])` has points to work with.
const CYCLE_MS: u64 = 15_000;

/// Metadata goes along once a minute, and whenever a receiver may have lost it.
const METADATA_EVERY: u64 = 4;

/// Decides where in the 15 seconds this node's cycle is, so that a fleet is spread over them. No check runs under it.
const GRID_NAME: &str = "metrics";

/// Fresh records on their way to a task: it takes each at once, or it is busy with a request of at most 10 s.
const FRESH_MAX: usize = 8;

/// How long a stop waits for what is fresh; then the cursors are written. A part of what the whole stop may take.
const LAST_SEND_WITHIN: Duration = Duration::from_secs(3);

/// Name of the folder of the collector's spool, and beginning of the others'.
const FOLDER: &str = "metrics";

/// What the lane works with.
pub struct Parts {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The disk under the state folder.
    pub disk: Arc<dyn Disk>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// This node.
    pub node: NodeName,
    /// What is measured, and counted here.
    pub metrics: Arc<Metrics>,
    /// The way to the collector, shared with the entries lane.
    pub way: Uplink,
    /// Who is sent samples.
    pub plan: watch::Receiver<Plan>,
    /// Fresh random numbers.
    pub random: fn() -> u64,
}

/// The lane.
pub struct MetricsLane {
    parts: Parts,
    store: Store,
    board: watch::Sender<Board>,
    wants_metadata: Arc<AtomicBool>,
    destinations: BTreeMap<Arc<str>, Running>,
    tasks: JoinSet<Result<(), StoreClosed>>,
    stop: watch::Sender<bool>,
    encoder: Encoder,
}

/// A destination at work.
struct Running {
    settings: Option<RemoteWrite>,
    /// The number of its last record.
    newest: u64,
    records: mpsc::Sender<Fresh>,
    task: AbortHandle,
}

/// Reused from cycle to cycle.
struct Encoder {
    request: Vec<u8>,
    block: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl MetricsLane {
    /// Starts the thread of the spools; nothing is read or sent yet.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let board = watch::Sender::new(Board::default());
        let store = Store::start(
            Arc::clone(&parts.disk),
            Arc::clone(&parts.metrics),
            board.clone(),
        )?;
        Ok(Self {
            parts,
            store,
            board,
            wants_metadata: Arc::new(AtomicBool::new(true)),
            destinations: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
            encoder: Encoder {
                request: Vec::new(),
                block: Vec::new(),
                snappy: snap::raw::Encoder::new(),
            },
        })
    }

    /// What may be known of the lane.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    /// Takes and sends samples until `stop` says so; then sends what is fresh, once, and reports to `stopped`.
    ///
    /// # Errors
    /// When the spools' thread is gone.
    pub async fn run(
        mut self,
        mut stop: watch::Receiver<bool>,
        stopped: oneshot::Sender<()>,
    ) -> Result<(), StoreClosed> {
        let clock = Arc::clone(&self.parts.clock);
        let name: CheckName = GRID_NAME.parse().expect("it is a configured name");
        let grid = Grid::new(&self.parts.node, &name, CYCLE_MS);
        let mut due = grid.next_after(clock.elapsed());
        self.remove_leftovers().await?;
        self.follow_plan().await?;
        let mut has_plan = true;
        loop {
            tokio::select! {
                biased;
                // Its guard must not live through the other branches. A sender that is gone is a stop too.
                () = async { drop(stop.wait_for(|is_stopping| *is_stopping).await) } => break,
                Some(ended) = self.tasks.join_next() => judge_end(ended)?,
                changed = self.parts.plan.changed(), if has_plan => match changed {
                    Ok(()) => self.follow_plan().await?,
                    Err(_) => has_plan = false,
                },
                () = wait_until(&*clock, due) => {
                    let now = clock.now();
                    self.cycle(now, grid.missed(due, now.elapsed));
                    due = grid.next_after(now.elapsed);
                }
            }
        }
        self.stop.send_replace(true);
        let ends = async {
            while let Some(ended) = self.tasks.join_next().await {
                judge_end(ended)?;
            }
            Ok(())
        };
        match tokio::time::timeout(LAST_SEND_WITHIN, ends).await {
            Ok(ended) => ended?,
            // What hangs is in the spool.
            Err(_) => self.tasks.abort_all(),
        }
        self.store.persist().await?;
        // Nobody waits any more if the time for stopping is over.
        let _ = stopped.send(());
        Ok(())
    }

    /// One request of every series.
    fn cycle(&mut self, now: Now, missed: u64) {
        let cycles = self.board.borrow().cycles;
        self.parts.metrics.count_cycles_missed(missed);
        let with_metadata = self.wants_metadata.swap(false, Ordering::Relaxed)
            || cycles.is_multiple_of(METADATA_EVERY);
        self.encoder.request.clear();
        let samples =
            self.parts
                .metrics
                .write_request(now.wall, with_metadata, &mut self.encoder.request);
        self.board.send_modify(|board| {
            board.cycles += 1;
            board.cycles_missed += missed;
            board.samples = samples as u64;
        });
        let Some(body) = self.encoder.compressed() else {
            error!(
                bytes = self.encoder.request.len(),
                "more samples than one request can hold"
            );
            return;
        };
        for (name, running) in &mut self.destinations {
            running.newest += 1;
            let record = Record {
                id: running.newest,
                at: now.wall,
                body: body.clone(),
            };
            let is_kept = record.body.len() <= BODY_LEN_MAX
                && self.store.append(Arc::clone(name), record.clone(), now);
            let fresh = Fresh { record, is_kept };
            if running.records.try_send(fresh).is_err() && !is_kept {
                let reason = Reason::Memory.as_str();
                self.parts
                    .metrics
                    .count_samples_dropped(label_of(name), reason, 1);
                self.board.send_modify(|board| {
                    *board.of(name).dropped.entry(reason).or_default() += 1;
                });
            }
        }
    }

    /// Starts, restarts and ends destinations as the settings say.
    async fn follow_plan(&mut self) -> Result<(), StoreClosed> {
        let plan = self.parts.plan.borrow_and_update().clone();
        self.store.set_limits(plan.limits).await?;
        let gone: Vec<Arc<str>> = self
            .destinations
            .iter()
            .filter(|(name, running)| {
                running.settings.is_some() && plan.others.iter().all(|other| other.name != **name)
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            if let Some(running) = self.destinations.remove(&name) {
                running.task.abort();
            }
            self.store.remove(name).await?;
        }
        let collector = (Arc::from(COLLECTOR), None);
        let others = plan
            .others
            .into_iter()
            .map(|other| (Arc::clone(&other.name), Some(other)));
        for (name, settings) in std::iter::once(collector).chain(others) {
            self.start_destination(name, settings, plan.limits).await?;
        }
        Ok(())
    }

    async fn start_destination(
        &mut self,
        name: Arc<str>,
        settings: Option<RemoteWrite>,
        limits: Limits,
    ) -> Result<(), StoreClosed> {
        let before = self.destinations.get(&name);
        if before.is_some_and(|running| running.settings == settings) {
            return Ok(());
        }
        let opened = match before {
            // Another address for the same spool.
            Some(running) => {
                running.task.abort();
                store::Opened {
                    newest: running.newest,
                    has_backlog: true,
                    is_degraded: true,
                }
            }
            None => {
                let dir = self.parts.state_dir.join(folder_of(&name));
                self.store.open(Arc::clone(&name), dir, limits).await?
            }
        };
        let clock = Arc::clone(&self.parts.clock);
        let remote = match &settings {
            None => Remote::Collector(self.parts.way.clone()),
            Some(other) => Remote::other(other.clone(), Arc::clone(&clock)),
        };
        let destination = Destination::new(
            destination::Parts {
                name: Arc::clone(&name),
                remote,
                clock,
                store: self.store.clone(),
                metrics: Arc::clone(&self.parts.metrics),
                board: self.board.clone(),
                wants_metadata: Arc::clone(&self.wants_metadata),
                random: self.parts.random,
            },
            opened,
        );
        let (records, receiver) = mpsc::channel(FRESH_MAX);
        let task = self
            .tasks
            .spawn(destination.run(receiver, self.stop.subscribe()));
        self.wants_metadata.store(true, Ordering::Relaxed);
        self.destinations.insert(
            name,
            Running {
                settings,
                newest: opened.newest,
                records,
                task,
            },
        );
        Ok(())
    }

    /// Spools of destinations that left the settings while the agent did not run.
    async fn remove_leftovers(&self) -> Result<(), StoreClosed> {
        let plan = self.parts.plan.borrow().clone();
        let disk = Arc::clone(&self.parts.disk);
        let state_dir = self.parts.state_dir.clone();
        let listed = tokio::task::spawn_blocking(move || disk.list(&state_dir)).await;
        let Ok(Ok(names)) = listed else {
            warn!("the state folder cannot be listed for spools that nobody needs any more");
            return Ok(());
        };
        for folder in names {
            let Some(name) = folder.strip_prefix("metrics-") else {
                continue;
            };
            if plan.others.iter().all(|other| &*other.name != name) {
                let name: Arc<str> = name.into();
                let dir = self.parts.state_dir.join(&folder);
                self.store.open(Arc::clone(&name), dir, plan.limits).await?;
                self.store.remove(name).await?;
            }
        }
        Ok(())
    }
}

impl Encoder {
    /// The request as one snappy block of its own, shared by all destinations.
    fn compressed(&mut self) -> Option<Bytes> {
        let len_max = snap::raw::max_compress_len(self.request.len());
        if len_max == 0 {
            return None;
        }
        if self.block.len() < len_max {
            self.block.resize(len_max, 0);
        }
        let len = self.snappy.compress(&self.request, &mut self.block).ok()?;
        Some(Bytes::copy_from_slice(self.block.get(..len)?))
    }
}

fn folder_of(name: &str) -> PathBuf {
    if name == COLLECTOR {
        PathBuf::from(FOLDER)
    } else {
        PathBuf::from(format!("{FOLDER}-{name}"))
    }
}

/// As the label `destination` of the metrics has it: empty for the collector.
fn label_of(name: &str) -> &str {
    if name == COLLECTOR { "" } else { name }
}

fn judge_end(
    ended: Result<Result<(), StoreClosed>, tokio::task::JoinError>,
) -> Result<(), StoreClosed> {
    match ended {
        Ok(ended) => ended,
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
