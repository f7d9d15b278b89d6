//! The thread that owns the spools of all destinations, and the handle through which the lane gives it work.
//!
//! One thread, one bounded queue in order of arrival. What is only news to the spool ([`Store::append`],
//! [`Store::done`]) never waits for room: if a disk hangs, the queue fills and records are sent from memory or not at
//! all, counted. It shows each spool on the [`Board`] and in the metrics after each piece of work. It ends when the last
//! handle is dropped.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, thread};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};
use vigie_core::time::{Now, Wall};
use vigie_platform::{disk::Disk, error_chain::chain};

use super::{
    board::Board,
    config::Limits,
    label_of,
    record::{Reason, Record},
    spool::Spool,
};
use crate::metrics::Metrics;

/// Pieces of work that wait for the disk: some minutes of all destinations. If it hangs, this many bodies are in memory, and
/// that is within what a spool keeps there itself.
const QUEUE_MAX: usize = 64;

/// The thread keeps no large value on its stack; the file system's calls need far less.
const STACK_BYTES: usize = 256 * 1024;

enum Work {
    Open {
        name: Arc<str>,
        dir: PathBuf,
        limits: Limits,
        reply: oneshot::Sender<Opened>,
    },
    Append(Arc<str>, Record, Now),
    Next {
        name: Arc<str>,
        skip: Vec<u64>,
        wall: Wall,
        reply: oneshot::Sender<Next>,
    },
    Done(Arc<str>, u64),
    Refuse(Arc<str>, Record),
    Limits(Limits),
    Remove(Arc<str>),
    Persist(oneshot::Sender<()>),
}

/// Where a spool stands that was just opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// The last number given.
    pub(super) newest: u64,
    /// Whether something waits.
    pub(super) has_backlog: bool,
    /// Whether what is on disk is not known yet.
    pub(super) is_degraded: bool,
}

/// The next of a backlog.
#[derive(Debug)]
pub(super) struct Next {
    /// The record, if there is one.
    pub(super) record: Option<Record>,
    /// The backlog cannot be read now.
    pub(super) is_unreadable: bool,
    /// Records up to here are gone.
    pub(super) passed: u64,
}

/// The thread is gone, which only a fault of the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread of the metrics spools has ended")]
pub struct StoreClosed;

/// A handle to the thread.
#[derive(Debug, Clone)]
pub(super) struct Store {
    work: mpsc::Sender<Work>,
}

impl Store {
    /// Starts the thread, without spools.
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        metrics: Arc<Metrics>,
        board: watch::Sender<Board>,
    ) -> io::Result<Self> {
        let (work, mut queue) = mpsc::channel(QUEUE_MAX);
        let mut keeper = Keeper {
            disk,
            metrics,
            board,
            spools: HashMap::new(),
        };
        thread::Builder::new()
            .name("metrics spool".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Some(work) = queue.blocking_recv() {
                    keeper.perform(work);
                }
            })?;
        Ok(Self { work })
    }

    /// Opens the spool of a destination.
    pub(super) async fn open(
        &self,
        name: Arc<str>,
        dir: PathBuf,
        limits: Limits,
    ) -> Result<Opened, StoreClosed> {
        let (reply, opened) = oneshot::channel();
        let work = Work::Open {
            name,
            dir,
            limits,
            reply,
        };
        self.work.send(work).await.map_err(|_| StoreClosed)?;
        opened.await.map_err(|_| StoreClosed)
    }

    /// Gives a record to keep; false if the queue is full, and then it is not kept.
    #[must_use]
    pub(super) fn append(&self, name: Arc<str>, record: Record, now: Now) -> bool {
        self.work.try_send(Work::Append(name, record, now)).is_ok()
    }

    /// A record is delivered; false if the queue is full, and then it comes again.
    #[must_use]
    pub(super) fn done(&self, name: Arc<str>, id: u64) -> bool {
        self.work.try_send(Work::Done(name, id)).is_ok()
    }

    /// A record is refused; false if the queue is full, and then it comes again.
    #[must_use]
    pub(super) fn refuse(&self, name: Arc<str>, record: Record) -> bool {
        self.work.try_send(Work::Refuse(name, record)).is_ok()
    }

    /// The oldest record that waits and is not in `skip`.
    pub(super) async fn next(
        &self,
        name: Arc<str>,
        skip: Vec<u64>,
        wall: Wall,
    ) -> Result<Next, StoreClosed> {
        let (reply, next) = oneshot::channel();
        let work = Work::Next {
            name,
            skip,
            wall,
            reply,
        };
        self.work.send(work).await.map_err(|_| StoreClosed)?;
        next.await.map_err(|_| StoreClosed)
    }

    /// Takes other limits.
    pub(super) async fn set_limits(&self, limits: Limits) -> Result<(), StoreClosed> {
        let work = Work::Limits(limits);
        self.work.send(work).await.map_err(|_| StoreClosed)
    }

    /// Removes the spool of a destination and all that waits in it.
    pub(super) async fn remove(&self, name: Arc<str>) -> Result<(), StoreClosed> {
        let work = Work::Remove(name);
        self.work.send(work).await.map_err(|_| StoreClosed)
    }

    /// Makes everything that was given before durable, the cursors included.
    pub(super) async fn persist(&self) -> Result<(), StoreClosed> {
        let (reply, done) = oneshot::channel();
        let work = Work::Persist(reply);
        self.work.send(work).await.map_err(|_| StoreClosed)?;
        done.await.map_err(|_| StoreClosed)
    }
}

/// What the thread works on.
struct Keeper {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    board: watch::Sender<Board>,
    spools: HashMap<Arc<str>, Kept>,
}

struct Kept {
    spool: Spool,
    is_degraded: bool,
}

impl Keeper {
    // Who asked may have gone; the work counts all the same.
    fn perform(&mut self, work: Work) {
        match work {
            Work::Open {
                name,
                dir,
                limits,
                reply,
            } => {
                let _ = reply.send(self.open(&name, &dir, limits));
                self.show(&name);
            }
            Work::Append(name, record, now) => {
                self.with(&name, |spool| spool.append(record, now));
            }
            Work::Next {
                name,
                skip,
                wall,
                reply,
            } => {
                let mut next = Next {
                    record: None,
                    is_unreadable: false,
                    passed: 0,
                };
                self.with(&name, |spool| {
                    match spool.next(&skip, wall) {
                        Ok(record) => next.record = record,
                        Err(error) => {
                            next.is_unreadable = true;
                            warn!(
                                why = chain(&error),
                                "the backlog of samples cannot be read now"
                            );
                        }
                    }
                    next.passed = spool.passed();
                });
                let _ = reply.send(next);
            }
            Work::Done(name, id) => self.with(&name, |spool| spool.done(id)),
            Work::Refuse(name, record) => self.with(&name, |spool| {
                if let Err(error) = spool.refuse(&record) {
                    warn!(why = chain(&error), "refused samples are not kept");
                }
            }),
            Work::Limits(limits) => {
                for kept in self.spools.values_mut() {
                    kept.spool.set_limits(limits);
                }
            }
            Work::Remove(name) => self.remove(&name),
            Work::Persist(reply) => {
                for kept in self.spools.values_mut() {
                    kept.spool.persist();
                }
                let _ = reply.send(());
            }
        }
    }

    fn open(&mut self, name: &Arc<str>, dir: &std::path::Path, limits: Limits) -> Opened {
        let (spool, recovery) = Spool::open(Arc::clone(&self.disk), dir, limits);
        if let Some(reason) = &recovery.memory_only {
            warn!(destination = %name, reason, "samples are kept in memory only for now");
        }
        for reason in &recovery.repaired {
            warn!(destination = %name, reason, "the metrics spool was repaired");
        }
        let is_degraded = recovery.memory_only.is_some();
        let opened = Opened {
            newest: spool.newest(),
            has_backlog: spool.waiting() > 0,
            is_degraded,
        };
        self.spools
            .insert(Arc::clone(name), Kept { spool, is_degraded });
        opened
    }

    fn with(&mut self, name: &Arc<str>, work: impl FnOnce(&mut Spool)) {
        if let Some(kept) = self.spools.get_mut(name) {
            work(&mut kept.spool);
            self.show(name);
        }
    }

    fn remove(&mut self, name: &Arc<str>) {
        let Some(kept) = self.spools.remove(name) else {
            return;
        };
        let records = kept.spool.destroy();
        warn!(destination = %name, records, "a destination of samples is gone from the settings, and its backlog with it");
        let label = label_of(name);
        if records == 0 {
            self.metrics.forget_destination(label);
        } else {
            // Its series stay until the next start, so that the loss can be seen.
            let reason = Reason::Removed.as_str();
            self.metrics.count_samples_dropped(label, reason, records);
            self.metrics.show_samples_spool(label, 0, 0, false);
        }
        self.board.send_modify(|board| {
            board.destinations.remove(&**name);
        });
    }

    /// Tells what has changed: to metrics, to the board, and to the log if it is news.
    fn show(&mut self, name: &Arc<str>) {
        let Some(kept) = self.spools.get_mut(name) else {
            return;
        };
        let view = kept.spool.view();
        let drops = kept.spool.take_drops();
        let label = label_of(name);
        self.metrics.show_samples_spool(
            label,
            view.bytes,
            view.memory_records,
            view.degraded.is_some(),
        );
        for (reason, records) in &drops {
            self.metrics
                .count_samples_dropped(label, reason.as_str(), *records);
        }
        match (&view.degraded, kept.is_degraded) {
            (Some(reason), false) => {
                error!(destination = %name, reason, "the disk does not take samples; they wait in memory");
            }
            (None, true) => info!(destination = %name, "the disk takes samples again"),
            _ => {}
        }
        kept.is_degraded = view.degraded.is_some();
        self.board.send_modify(|board| {
            let shown = board.of(name);
            shown.spool = view;
            for (reason, records) in drops {
                *shown.dropped.entry(reason.as_str()).or_default() += records;
            }
        });
    }
}
