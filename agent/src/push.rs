//! Hands in what this node has to say: the signed contact every 20 seconds, new lines at once.
//!
//! Owns when to send and what to do with an answer; what to send is the ledger's ([`crate::ledger`]), how it travels is
//! [`link`]'s over [`crate::uplink`]. A request that fails is repeated from the next address with full jitter, at most 30 s apart; no line is
//! ever dropped here, and `Retry-After` is a floor. A contact is written only while the scheduler moves: a node whose
//! checks stand still falls silent, and that is the alarm.
//!
//! Cancel-safe: a request cut off in the middle is sent again, and the collector counts its lines once.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tracing::{info, warn};
use vigie_core::{
    backoff::Backoff,
    contact::Contact,
    entry::Head,
    hand_in::EntriesAnswer,
    time::{Elapsed, Wall},
};
use vigie_platform::clock::{Clock, wait_until};

use crate::{
    fallback::Alarm,
    join::identity::Identity,
    ledger::{
        Batch,
        lane::{EntryWriter, EntryWriterClosed},
    },
    metrics::Metrics,
    runner::{Heartbeat, RunnerHandle},
    uplink::Uplink,
};

#[cfg(test)]
pub(crate) mod fixture;
pub mod link;
mod pace;
#[cfg(test)]
mod tests;

use link::Outcome;
use pace::Pace;

/// About how many bytes of lines one request carries: a second on a slow line, and little memory.
const BYTES_MAX: usize = 1024 * 1024;

/// Bounds of the delay between tries: the contact is due every 20 s, so that waiting longer would look like silence.
const BACKOFF: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 30_000,
};

/// A scheduler that has not moved for three cycles of 15 s is taken for hung. Then no contact is written: silence is an alarm,
/// a lively agent that checks nothing is none.
const HUNG_AFTER_MS: u64 = 45_000;

/// How often to look whether a hung scheduler moves again.
const HUNG_LOOK_MS: u64 = 1_000;

/// What the last request came to, for a status page.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LastPush {
    /// Where it went.
    pub collector: String,
    /// When it ended.
    pub at: Wall,
    /// What became of it: a word, or the reason it failed.
    pub result: String,
    /// When something was last confirmed.
    pub confirmed_at: Option<Wall>,
}

/// What the pusher works with.
pub struct Parts {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The chain.
    pub lane: EntryWriter,
    /// Whose statuses are said again when the collector lost them.
    pub runner: RunnerHandle,
    /// This node, renewed hot.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// The way to the collector.
    pub way: Uplink,
    /// Who is told when the collector cannot be reached.
    pub alarm: Alarm,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Fresh random numbers.
    pub random: fn() -> u64,
}

/// The pusher.
pub struct Push {
    clock: Arc<dyn Clock>,
    lane: EntryWriter,
    runner: RunnerHandle,
    heartbeat: Heartbeat,
    identity: watch::Receiver<Arc<Identity>>,
    way: Uplink,
    alarm: Alarm,
    metrics: Arc<Metrics>,
    random: fn() -> u64,
    pace: Pace,
    /// Where the collector stands.
    durable: Option<Head>,
    last: watch::Sender<Option<LastPush>>,
    confirmed_at: Option<Wall>,
    /// The trouble that was logged last; logged again only when it changes.
    trouble: Option<String>,
}

impl Push {
    /// A pusher that has not sent anything.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let heartbeat = parts.runner.heartbeat();
        Self {
            way: parts.way,
            clock: parts.clock,
            lane: parts.lane,
            runner: parts.runner,
            heartbeat,
            identity: parts.identity,
            alarm: parts.alarm,
            metrics: parts.metrics,
            random: parts.random,
            pace: Pace::default(),
            durable: None,
            last: watch::Sender::new(None),
            confirmed_at: None,
            trouble: None,
        }
    }

    /// What the last request came to.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<Option<LastPush>> {
        self.last.subscribe()
    }

    /// Hands in until `stop` says so; then hands in what is left, once, and reports to `stopped`.
    ///
    /// # Errors
    /// When the ledger is gone.
    pub async fn run(
        mut self,
        mut stop: watch::Receiver<bool>,
        stopped: oneshot::Sender<()>,
    ) -> Result<(), EntryWriterClosed> {
        let mut view = self.lane.view();
        let clock = Arc::clone(&self.clock);
        loop {
            let now = clock.elapsed();
            let has_news = self.durable != Some(view.borrow_and_update().head);
            let due = self.pace.due(now, has_news);
            tokio::select! {
                biased;
                // Its guard must not live through the other branches. A sender that is gone is a stop too.
                () = async { drop(stop.wait_for(|is_stopping| *is_stopping).await) } => break,
                () = wait_until(&*clock, due) => {
                    if self.is_hung() {
                        self.pace.not_before(clock.elapsed().plus_ms(HUNG_LOOK_MS));
                    } else {
                        self.hand_in().await?;
                    }
                }
                // A new line may make it due earlier.
                _ = view.changed() => {}
            }
        }
        while self.hand_in().await? == Next::More {}
        // Nobody waits any more if the time for stopping is over.
        let _ = stopped.send(());
        Ok(())
    }

    fn is_hung(&mut self) -> bool {
        let still_ms = self.clock.elapsed().since_ms(self.heartbeat.last());
        let is_hung = still_ms > HUNG_AFTER_MS;
        if is_hung {
            let why = "the scheduler stands still, so no contact is made".to_owned();
            self.note_last(why.clone());
            self.log_trouble(why);
        }
        is_hung
    }

    /// One request and what follows from its answer.
    async fn hand_in(&mut self) -> Result<Next, EntryWriterClosed> {
        let batch = self.lane.batch(self.pace.lines_max(), BYTES_MAX).await?;
        self.metrics.show_ledger(&batch.view);
        let body = self.body(&batch);
        let outcome = link::post(&self.way, body).await;
        let now = self.clock.now();
        self.pace.sent(now.elapsed);
        let next = match outcome {
            Outcome::Answered(answer) => self.answered(&batch, *answer).await?,
            Outcome::Later {
                retry_after_ms,
                why,
                is_about_us,
            } => {
                self.failed("retry", why, retry_after_ms, now.elapsed);
                if !is_about_us {
                    self.way.try_another();
                }
                Next::Wait
            }
            Outcome::Refused { why, is_about_body } => {
                if is_about_body {
                    self.pace.carry_less(batch.lines.len());
                }
                self.failed("refused", why, None, now.elapsed);
                self.way.try_another();
                Next::Wait
            }
            Outcome::NoAnswer { why } => {
                // A body too large for the path would time out for ever, and the contact travels in it.
                if !batch.lines.is_empty() {
                    self.pace.carry_less(batch.lines.len());
                }
                self.failed("no_answer", why, None, now.elapsed);
                self.way.try_another();
                Next::Wait
            }
        };
        Ok(next)
    }

    fn body(&self, batch: &Batch) -> Vec<u8> {
        let identity = self.identity.borrow().clone();
        let contact = Contact {
            at: self.clock.wall(),
            head: batch.view.head,
            plan: batch.view.plan,
            not_ok: batch.view.not_ok.to_vec(),
        };
        let line = contact.to_line(identity.collector_id(), identity.node(), |bytes| {
            identity.sign(bytes).to_vec()
        });
        let lines_len: usize = batch.lines.iter().map(|line| line.bytes.len() + 1).sum();
        let mut body = Vec::with_capacity(line.len() + 1 + lines_len);
        body.extend_from_slice(line.as_bytes());
        body.push(b'\n');
        for line in &batch.lines {
            body.extend_from_slice(&line.bytes);
            body.push(b'\n');
        }
        body
    }

    async fn answered(
        &mut self,
        batch: &Batch,
        answer: EntriesAnswer,
    ) -> Result<Next, EntryWriterClosed> {
        let durable = answer.durable;
        let is_stuck = !batch.lines.is_empty() && self.durable == Some(durable);
        let consequence = self.lane.answered(answer).await?;
        let now = self.clock.now();
        self.durable = Some(durable);
        self.alarm.durable(now);
        if let Some(rollback) = consequence.rollback {
            self.alarm.rollback(rollback);
        }
        if consequence.must_restate {
            self.runner.restate().await;
        }
        if is_stuck {
            // It says that all is well and takes no line. Asking again at once would ask for ever.
            let why = "it answers and takes no line".to_owned();
            self.pace.carry_less(batch.lines.len());
            self.failed("refused", why, None, now.elapsed);
            return Ok(Next::Wait);
        }
        if self.trouble.take().is_some() {
            info!(collector = self.way.address(), "the collector answers");
        }
        self.pace.succeeded(batch.lines.len());
        self.confirmed_at = Some(now.wall);
        self.metrics.count_push("ok");
        self.metrics.show_durable(now.wall);
        self.note_last("ok".to_owned());
        Ok(if consequence.has_more {
            Next::More
        } else {
            Next::Wait
        })
    }

    fn failed(&mut self, result: &str, why: String, retry_after_ms: Option<u64>, now: Elapsed) {
        self.metrics.count_push(result);
        let tries = self.pace.failed();
        let delay_ms = BACKOFF.delay_ms(tries, (self.random)(), retry_after_ms);
        self.pace.not_before(now.plus_ms(delay_ms));
        self.note_last(why.clone());
        self.log_trouble(why);
    }

    fn note_last(&self, result: String) {
        self.last.send_replace(Some(LastPush {
            collector: self.way.address(),
            at: self.clock.wall(),
            result,
            confirmed_at: self.confirmed_at,
        }));
    }

    fn log_trouble(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            warn!(collector = self.way.address(), why, "nothing is handed in");
            self.trouble = Some(why);
        }
    }
}

/// Whether to ask again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There are more lines.
    More,
    /// Until something is due.
    Wait,
}
