//! vigie-deliver: telling people. Takes messages of the outbox and posts each until its receiver has accepted it.
//!
//! Who can be told, by what channel and where is plain data ([`config`]), filled in by whoever reads settings; a [`Target`]
//! is opened from it. Nothing here knows settings, the engine, the store or who watches that this still works: it is given
//! messages and a pulse to beat, and gives back reports.
//!
//! [`Delivery::run`] is one task for all destinations; [`queue`] decides what goes when and what goes together, [`target`]
//! makes one try. It owns no memory that matters: what is not accepted is in the outbox, on disk, and is offered again
//! after a restart under the same key, so that a receiver can drop what it has already. It never writes the outbox; it
//! *reports* ([`Report`]), and the engine writes.
//!
//! - Machines get one message each, side by side; people get all that waits at once, and not too often; see [`queue`].
//! - One destination that hangs or refuses costs the others nothing.
//! - What does not fit into memory stays in the outbox and is asked for ([`Report::Refill`]).
//! - A message whose destination is not in the settings any more cannot be told: [`Report::Undeliverable`].
//!
//! Cancelled ([`Delivery::run`] dropped), tries under way are cut, and nobody knows what became of them. Asked to stop,
//! it begins no more tries and waits for those under way. A full disk does not concern it: [`Dispatcher::take_unlogged`]
//! is how pages go out when nothing can be written.

pub mod alertmanager;
mod alertmanager_api;
pub mod attempt;
mod chat;
pub mod config;
pub mod counters;
mod email;
pub mod http;
mod http_template;
mod ntfy;
mod pagerduty;
#[cfg(test)]
mod provider;
pub mod queue;
mod smtp;
pub mod target;
#[cfg(test)]
mod tests;
pub mod webhook;

use std::{
    collections::{BTreeMap, VecDeque},
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tracing::{error, info, warn};
use vigie_core::{
    digest::Digest,
    time::{Elapsed, Wall},
};
use vigie_decide::{
    alert::Message,
    destination::Destination,
    fleet::{DeliveryEvent, Event},
};
use vigie_platform::{
    clock::{Clock, wait_until},
    pulse::Pulse,
};

use self::{
    attempt::REQUEST_TIMEOUT,
    queue::{Logged, Pacing, Queue, Turned, Verdict},
};
pub use self::{
    attempt::{Outcome, TargetError},
    counters::Counters,
    target::Target,
};

/// How many reports may wait in the channel. More wait beside it, at most one for each try and each message.
pub const REPORTS_MAX: usize = 256;

/// At least this often the task shows that it lives.
const HEARTBEAT_MS: u64 = 5_000;

/// What the engine has to know. An event that could not be committed must be kept and committed later: it is not said
/// twice, and until it is committed a restart sends its message again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are events, and thousands of them a few MiB for a moment"
)]
pub enum Report {
    /// [`DeliveryEvent::Delivered`], [`DeliveryEvent::Refused`], [`DeliveryEvent::DeliveryFailing`] or [`DeliveryEvent::DeliveryWorks`].
    Event(Event),
    /// Wanted: the next [`queue::QUEUE_LEN_MAX`] messages of the outbox for this destination with an order above this
    /// one, in their order, by [`Dispatcher::refill`]. Also when there are none.
    Refill {
        /// For whom.
        to: Destination,
        /// Above which order.
        after_order: u64,
    },
    /// The message's destination is not in the settings any more. It will never be told, and the outbox still holds it.
    Undeliverable {
        /// The message.
        key: Digest,
        /// Where it should have gone.
        to: Destination,
    },
    /// A message that was never logged was accepted.
    ToldUnlogged {
        /// The message.
        key: Digest,
        /// Where it went.
        to: Destination,
    },
}

/// Everything delivery is made of.
pub struct Parts {
    /// Who can be told.
    pub targets: Vec<Target>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Beats while delivering works and no receiver fails.
    pub pulse: Arc<Pulse>,
    /// Fresh random numbers, for delays.
    pub jitter: fn() -> u64,
}

/// The handle: hands messages over and never waits.
#[derive(Clone)]
pub struct Dispatcher(Arc<Shared>);

/// The task.
pub struct Delivery {
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
    jitter: fn() -> u64,
    reports: mpsc::Sender<Report>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    changed: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lanes: BTreeMap<Destination, Lane>,
    reports: VecDeque<Report>,
}

/// One destination.
struct Lane {
    target: Target,
    queue: Queue,
}

/// One finished try.
struct Tried {
    to: Destination,
    /// The key of the first message.
    lead: Digest,
    outcome: Outcome,
}

/// What is to be done now, and when to look again.
struct Plan {
    tries: Vec<(Target, Vec<Message>)>,
    wake_at: Elapsed,
    is_any_failing: bool,
    has_reports: bool,
}

/// Puts delivery together; nothing is sent before [`Delivery::run`].
#[must_use]
pub fn build(parts: Parts) -> (Dispatcher, Delivery, mpsc::Receiver<Report>) {
    let (sender, reports) = mpsc::channel(REPORTS_MAX);
    let dispatcher = Dispatcher(Arc::new(Shared {
        clock: parts.clock,
        counters: Arc::default(),
        changed: Notify::new(),
        inner: Mutex::default(),
    }));
    dispatcher.replace_targets(parts.targets);
    let delivery = Delivery {
        shared: Arc::clone(&dispatcher.0),
        pulse: parts.pulse,
        jitter: parts.jitter,
        reports: sender,
    };
    (dispatcher, delivery, reports)
}

impl Dispatcher {
    /// Takes messages that are in the outbox, in their order. Each is reported as [`DeliveryEvent::Delivered`] one day.
    pub fn take(&self, messages: Vec<Message>) {
        let now = self.0.clock.elapsed();
        let mut inner = self.0.lock();
        for message in messages {
            match inner.lanes.get_mut(&message.to) {
                Some(lane) => lane.queue.offer(message, now),
                None => self.0.undeliverable(&mut inner, &message),
            }
        }
        drop(inner);
        self.0.changed.notify_one();
    }

    /// Takes messages that could not be written down. Tried like all others, and until the program ends; each is
    /// reported as [`Report::ToldUnlogged`], which is no event.
    pub fn take_unlogged(&self, messages: Vec<Message>) {
        let now = self.0.clock.elapsed();
        let mut inner = self.0.lock();
        for message in messages {
            let (to, key) = (message.to.clone(), message.key);
            let is_held = inner
                .lanes
                .get_mut(&to)
                .is_some_and(|lane| lane.queue.offer_unlogged(message, now));
            if !is_held {
                error!(receiver = %to, %key, "a page that is in no log cannot be told either");
                self.0.counters.of(&to).lost();
            }
        }
        drop(inner);
        self.0.changed.notify_one();
    }

    /// Answers [`Report::Refill`] with what the outbox held at some moment since.
    pub fn refill(&self, to: &Destination, messages: Vec<Message>) {
        let now = self.0.clock.elapsed();
        let mut inner = self.0.lock();
        if let Some(lane) = inner.lanes.get_mut(to) {
            lane.queue.refill(messages, now);
        } else {
            // It left the settings, and so does everything that waits for it.
            for message in &messages {
                self.0.undeliverable(&mut inner, message);
            }
            if let Some(last) = messages.last() {
                inner.reports.push_back(Report::Refill {
                    to: to.clone(),
                    after_order: last.order,
                });
            }
        }
        drop(inner);
        self.0.changed.notify_one();
    }

    /// Puts new settings in force. What waits is tried at once, but for the time that people are given to read what they
    /// got; what waits for a destination that is gone is reported.
    pub fn replace_targets(&self, targets: Vec<Target>) {
        let now = self.0.clock.elapsed();
        let mut inner = self.0.lock();
        let mut before = std::mem::take(&mut inner.lanes);
        for mut target in targets {
            let to = target.destination().clone();
            let pacing = if target.is_paced() {
                Pacing::Paced
            } else {
                Pacing::Abreast
            };
            let mut queue = Queue::new(pacing);
            if let Some(same) = before.remove(&to) {
                target.carry_on(&same.target);
                queue = same.queue;
            }
            queue.retry_now(pacing, now);
            inner.lanes.insert(to, Lane { target, queue });
        }
        for (to, gone) in before {
            self.0.abandon(&mut inner, &to, gone.queue);
        }
        drop(inner);
        self.0.changed.notify_one();
    }

    /// What happened so far, for metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.0.counters)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked holding it has ended the program through the supervisor, or will.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports everything that waits for a destination that left the settings.
    fn abandon(&self, inner: &mut Inner, to: &Destination, queue: Queue) {
        self.counters.of(to).stands(0, false);
        if queue.is_failing() {
            // Nobody waits for it any more, so nothing of it fails.
            let receiver = to.clone();
            let works = Event::Delivery(DeliveryEvent::DeliveryWorks { receiver });
            inner.reports.push_back(Report::Event(works));
        }
        let more_after = queue.more_after();
        for message in queue.abandon() {
            self.undeliverable(inner, &message);
        }
        if let Some(after_order) = more_after {
            let to = to.clone();
            let refill = Report::Refill { to, after_order };
            inner.reports.push_back(refill);
        }
    }

    fn undeliverable(&self, inner: &mut Inner, message: &Message) {
        let (to, key) = (message.to.clone(), message.key);
        warn!(receiver = %to, %key, "cannot tell a receiver that is not in the settings");
        self.counters.of(&to).undeliverable();
        inner.reports.push_back(Report::Undeliverable { key, to });
    }

    /// Looks at every destination once.
    fn plan(&self, now: Elapsed) -> Plan {
        let mut inner = self.lock();
        let Inner { lanes, reports } = &mut *inner;
        let mut plan = Plan {
            tries: Vec::new(),
            wake_at: now.plus_ms(HEARTBEAT_MS),
            is_any_failing: false,
            has_reports: false,
        };
        for (to, lane) in lanes.iter_mut() {
            let queue = &mut lane.queue;
            if let Some(turned) = queue.turned(now) {
                reports.push_back(Report::Event(said(to, turned)));
            }
            if let Some(after_order) = queue.wants_more(now) {
                let to = to.clone();
                reports.push_back(Report::Refill { to, after_order });
            }
            while let Some(batch) = queue.next(now) {
                plan.tries.push((lane.target.clone(), batch));
            }
            if let Some(wake_at) = queue.wake_at() {
                plan.wake_at = plan.wake_at.min(wake_at);
            }
            plan.is_any_failing |= queue.is_failing();
            let counters = self.counters.of(to);
            counters.stands(queue.waiting() as u64, queue.is_failing());
        }
        plan.has_reports = !reports.is_empty();
        plan
    }

    fn tried(&self, tried: Tried, jitter: u64, now: Elapsed) {
        let Tried { to, lead, outcome } = tried;
        let answer = outcome.answer;
        self.counters.of(&to).answered(outcome);
        let mut inner = self.lock();
        let Inner { lanes, reports } = &mut *inner;
        if let Some(lane) = lanes.get_mut(&to) {
            let verdicts = lane.queue.answered(lead, answer, jitter, now);
            reports.extend(verdicts.into_iter().map(|verdict| told(&to, verdict)));
        }
    }
}

impl Delivery {
    /// Delivers until `stopping` holds `true` (or its sender is gone), and then until the tries under way have ended
    /// and their reports are taken, at most twice [`REQUEST_TIMEOUT`]. The engine should still run then, else what is
    /// accepted meanwhile is sent again after the next start.
    ///
    /// # Panics
    /// When a try panicked: its message would stay under way for ever.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut tries: JoinSet<Tried> = JoinSet::new();
        let clock = Arc::clone(&self.shared.clock);
        loop {
            let now = clock.elapsed();
            let plan = self.shared.plan(now);
            if !plan.is_any_failing {
                self.pulse.beat(now);
            }
            for (target, batch) in plan.tries {
                tries.spawn(try_once(target, batch, clock.wall()));
            }
            tokio::select! {
                () = self.shared.changed.notified() => {}
                Some(tried) = tries.join_next() => self.joined(tried),
                permit = self.reports.reserve(), if plan.has_reports => self.report(permit),
                () = wait_until(&*clock, plan.wake_at) => {}
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        let drain = self.drain(&mut tries);
        if timeout(REQUEST_TIMEOUT * 2, drain).await.is_err() {
            warn!("stopped with messages under way; they go again after the start");
        }
    }

    async fn drain(&self, tries: &mut JoinSet<Tried>) {
        while let Some(tried) = tries.join_next().await {
            self.joined(tried);
        }
        while !self.shared.lock().reports.is_empty() {
            self.report(self.reports.reserve().await);
        }
    }

    fn joined(&self, tried: Result<Tried, JoinError>) {
        match tried {
            Ok(tried) => {
                let now = self.shared.clock.elapsed();
                self.shared.tried(tried, (self.jitter)(), now);
            }
            Err(error) => {
                if let Ok(payload) = error.try_into_panic() {
                    panic::resume_unwind(payload);
                }
            }
        }
    }

    fn report(&self, permit: Result<mpsc::Permit<'_, Report>, mpsc::error::SendError<()>>) {
        let mut inner = self.shared.lock();
        match permit {
            Ok(permit) => {
                // Thousands may have travelled together: as many as there is room for.
                let mut permit = Some(permit);
                while let Some(room) = permit.take() {
                    let Some(report) = inner.reports.pop_front() else {
                        break;
                    };
                    room.send(report);
                    permit = self.reports.try_reserve().ok();
                }
            }
            // The engine is gone; after the start the outbox says what is still to be told.
            Err(_) => inner.reports.clear(),
        }
    }
}

/// What the engine hears of one message.
fn told(to: &Destination, verdict: Verdict) -> Report {
    match verdict {
        Verdict::Accepted {
            key,
            logged: Logged::Yes,
            carried_by,
        } => Report::Event(Event::Delivery(DeliveryEvent::Delivered {
            key,
            carried_by,
        })),
        Verdict::Accepted {
            key,
            logged: Logged::No,
            carried_by: _,
        } => {
            let to = to.clone();
            Report::ToldUnlogged { key, to }
        }
        Verdict::Refused { key, http_status } => {
            Report::Event(Event::Delivery(DeliveryEvent::Refused { key, http_status }))
        }
    }
}

/// Logs a destination's change of state and makes the event of it.
fn said(to: &Destination, turned: Turned) -> Event {
    let receiver = to.clone();
    match turned {
        Turned::Failing {
            waiting,
            http_status,
        } => {
            warn!(%receiver, waiting, http_status, "the receiver does not accept messages");
            Event::Delivery(DeliveryEvent::DeliveryFailing {
                receiver,
                waiting,
                http_status,
            })
        }
        Turned::Working => {
            info!(%receiver, "the receiver accepts messages");
            Event::Delivery(DeliveryEvent::DeliveryWorks { receiver })
        }
    }
}

/// One try with what goes together; [`Queue::next`] gives at least one message.
async fn try_once(target: Target, batch: Vec<Message>, now: Wall) -> Tried {
    let outcome = target.send(&batch, now).await;
    Tried {
        to: target.destination().clone(),
        lead: batch.first().map_or(Digest::ZERO, |first| first.key),
        outcome,
    }
}
