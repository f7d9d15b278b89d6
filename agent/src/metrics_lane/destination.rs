//! The task of one destination: sends it what [`Order`] says is next, one request at a time.
//!
//! A fresh record is sent from memory as soon as it comes; the store keeps it meanwhile. What is delivered or refused is
//! told to the store. It logs changes only: the first failure, and the first record that is taken again.
//!
//! Cancel-safe: a request that is cut off leaves its record in the spool, and a repeat changes nothing at a receiver.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use vigie_core::time::Wall;
use vigie_platform::clock::{Clock, wait_until};

use super::{
    board::{Board, Last},
    label_of,
    order::{Fate, From, Order, Step, Verdict},
    record::{Reason, Record},
    remote::Remote,
    store::{Opened, Store, StoreClosed},
};
use crate::metrics::Metrics;

/// A record on its way from the cycle.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    pub(super) record: Record,
    /// Whether the store has it too. If not, it is lost unless it is delivered.
    pub(super) is_kept: bool,
}

/// What a destination works with.
pub(super) struct Parts {
    pub(super) name: Arc<str>,
    pub(super) remote: Remote,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    pub(super) board: watch::Sender<Board>,
    /// Set when samples are taken again: the next record brings the metadata, which a receiver that was begun anew
    /// does not have. Not at each failure: every record of an outage would carry it.
    pub(super) wants_metadata: Arc<AtomicBool>,
    pub(super) random: fn() -> u64,
}

/// One destination.
pub(super) struct Destination {
    parts: Parts,
    order: Order,
    fresh: Option<Fresh>,
    /// Number of the last record that came.
    newest: u64,
    /// The spool was in memory only when it was last looked at. What is on disk comes in sight when that ends.
    was_degraded: bool,
    /// Set while requests fail; counts them.
    failures: u64,
    /// Set while records are refused; counts them.
    refusals: u64,
}

impl Destination {
    pub(super) fn new(parts: Parts, opened: Opened) -> Self {
        let mut order = Order::default();
        if opened.has_backlog {
            order.has_backlog();
        }
        Self {
            parts,
            order,
            fresh: None,
            newest: opened.newest,
            was_degraded: opened.is_degraded,
            failures: 0,
            refusals: 0,
        }
    }

    /// Sends until `stop` says so; then tries once what is fresh.
    ///
    /// # Errors
    /// When the store is gone.
    pub(super) async fn run(
        mut self,
        mut records: mpsc::Receiver<Fresh>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StoreClosed> {
        let clock = Arc::clone(&self.parts.clock);
        loop {
            while let Ok(fresh) = records.try_recv() {
                self.take(fresh);
            }
            let step = self.order.next(clock.elapsed(), self.fresh.is_some());
            tokio::select! {
                biased;
                // Its guard must not live through the other branches. A sender that is gone is a stop too.
                () = async { drop(stop.wait_for(|is_stopping| *is_stopping).await) } => break,
                fresh = records.recv(), if step != Step::Fresh => match fresh {
                    Some(fresh) => self.take(fresh),
                    None => break,
                },
                prepared = self.prepare(&step) => if let Some((from, fresh)) = prepared? {
                    if from == From::Backlog && !records.is_empty() {
                        // It stays where it is; what is fresh goes first.
                        self.order.has_backlog();
                        continue;
                    }
                    // Not to be cut off: nobody else remembers what was asked.
                    self.send(from, fresh).await;
                },
            }
        }
        while let Ok(fresh) = records.try_recv() {
            self.take(fresh);
        }
        if let Some(fresh) = self.fresh.take() {
            self.send(From::Fresh, fresh).await;
        }
        if let Some(fresh) = self.fresh.take() {
            self.lose_unless_kept(&fresh);
        }
        Ok(())
    }

    /// A record comes. The one before, if it is still here, becomes part of the backlog.
    fn take(&mut self, fresh: Fresh) {
        if fresh.record.id > self.newest + 1 {
            self.order.has_backlog();
        }
        self.newest = fresh.record.id;
        let is_degraded = self.is_degraded();
        if std::mem::replace(&mut self.was_degraded, is_degraded) && !is_degraded {
            self.order.has_backlog();
        }
        if let Some(old) = self.fresh.replace(fresh) {
            self.order.has_backlog();
            self.lose_unless_kept(&old);
        }
    }

    fn is_degraded(&self) -> bool {
        let board = self.parts.board.borrow();
        let shown = board.destinations.get(&*self.parts.name);
        shown.is_some_and(|shown| shown.spool.degraded.is_some())
    }

    /// Waits until `step` can be done, and fetches what it is done with. Cancel-safe.
    async fn prepare(&mut self, step: &Step) -> Result<Option<(From, Fresh)>, StoreClosed> {
        match step {
            Step::Wait(None) => std::future::pending().await,
            Step::Wait(Some(until)) => {
                wait_until(&*self.parts.clock, *until).await;
                Ok(None)
            }
            Step::Fresh => {
                self.parts.remote.quiet().await;
                Ok(self.fresh.take().map(|fresh| (From::Fresh, fresh)))
            }
            Step::Backlog { skip } => {
                self.parts.remote.quiet().await;
                let name = Arc::clone(&self.parts.name);
                let wall = self.parts.clock.wall();
                let next = self.parts.store.next(name, skip.clone(), wall).await?;
                self.order.gone_up_to(next.passed);
                if next.is_unreadable {
                    self.order.cannot_read(self.parts.clock.elapsed());
                } else if next.record.is_none() {
                    self.order.has_no_backlog(skip);
                }
                let is_kept = true;
                let fresh = next.record.map(|record| Fresh { record, is_kept });
                Ok(fresh.map(|fresh| (From::Backlog, fresh)))
            }
        }
    }

    async fn send(&mut self, from: From, fresh: Fresh) {
        let id = fresh.record.id;
        let begun = self.parts.clock.elapsed();
        let answer = self.parts.remote.send(fresh.record.body.clone()).await;
        let now = self.parts.clock.now();
        let took_ms = now.elapsed.since_ms(begun);
        let jitter = (self.parts.random)();
        let fate = self
            .order
            .answered((from, id), answer.verdict, now.elapsed, took_ms, jitter);
        self.note(answer.verdict, answer.why, now.wall);
        let name = Arc::clone(&self.parts.name);
        match fate {
            Fate::Done => {
                if fresh.is_kept && !self.parts.store.done(name, id) {
                    self.order.has_backlog();
                }
            }
            Fate::Refuse => {
                self.refusals += 1;
                if self.refusals == 1 {
                    warn!(destination = %name, receiver = self.parts.remote.address(), "samples are refused for good and kept apart");
                }
                if !fresh.is_kept {
                    self.lose(Reason::Refused);
                } else if !self.parts.store.refuse(name, fresh.record) {
                    self.order.has_backlog();
                }
            }
            Fate::Keep => {
                if from == From::Fresh {
                    self.fresh = Some(fresh);
                }
            }
            Fate::PutAside => self.lose_unless_kept(&fresh),
        }
    }

    fn lose_unless_kept(&self, fresh: &Fresh) {
        if !fresh.is_kept {
            self.lose(Reason::Memory);
        }
    }

    fn lose(&self, reason: Reason) {
        let name = &self.parts.name;
        let label = label_of(name);
        self.parts
            .metrics
            .count_samples_dropped(label, reason.as_str(), 1);
        self.parts.board.send_modify(|board| {
            *board.of(name).dropped.entry(reason.as_str()).or_default() += 1;
        });
    }

    fn note(&mut self, verdict: Verdict, why: String, at: Wall) {
        let name = &self.parts.name;
        let word = match verdict {
            Verdict::Taken => "ok",
            Verdict::Refused => "refused",
            Verdict::Later { .. } | Verdict::Failed { is_answer: true } => "retry",
            Verdict::Failed { is_answer: false } => "no_answer",
        };
        self.parts.metrics.count_samples_push(label_of(name), word);
        let is_taken = verdict == Verdict::Taken;
        if is_taken {
            if self.failures > 0 {
                let (failures, refused) = (self.failures, self.refusals);
                info!(destination = %name, failures, refused, "samples are taken");
                self.parts.wants_metadata.store(true, Ordering::Relaxed);
            }
            self.failures = 0;
            self.refusals = 0;
        } else {
            self.failures += 1;
            if self.failures == 1 {
                let receiver = self.parts.remote.address();
                warn!(destination = %name, receiver, why, "samples are not taken");
            }
        }
        let result = if is_taken { word.to_owned() } else { why };
        let address = self.parts.remote.address();
        self.parts.board.send_modify(|board| {
            let shown = board.of(name);
            shown.last = Some(Last {
                at,
                address,
                result,
            });
            if is_taken {
                shown.taken += 1;
                shown.taken_at = Some(at);
            }
        });
    }
}
