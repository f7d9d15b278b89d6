//! Runs the checks: each on its own grid of elapsed time, a bounded number at once, every run with a deadline.
//!
//! One task owns all of it and never waits for the ledger, the collector or the disk: a line that the ledger does not
//! take stays unsaid and is offered at the next tick. A run that overruns its next points makes them missed, which is
//! counted; nothing piles up. Whoever needs to know that the scheduler moves reads [`Heartbeat`].
//!
//! Dropping the runner's future drops every run where it waits; checks are cancel-safe.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tracing::{error, info, warn};
use vigie_checks::Check;
use vigie_core::{
    due::Grid,
    entry::Draft,
    id::{CheckName, NodeName},
    observation::{Facts, Object, Observation},
    reason::vigie,
    status::Status,
    time::{Elapsed, Now},
};
use vigie_machine::Context;
use vigie_platform::clock::wait_until;

use crate::{
    ledger::lane::EntryWriter,
    metrics::{CheckMetrics, Ended, Metrics},
};

mod planned;
mod pulse;
mod state;
#[cfg(test)]
mod tests;

use pulse::Pulse;
use state::CheckState;

pub use planned::PlannedCheck;
pub use pulse::PAUSE_MIN_MS;
pub use state::{LATE_AFTER_INTERVALS, OBJECTS_MAX};

/// Runs at once. Most wait for the network; more would only contend for the one core the agent may use.
const RUNS_MAX: usize = 32;

/// The longest time between two ticks. Pauses and clock steps are noticed within this.
const TICK_MAX_MS: u64 = 1_000;

/// Every check runs within this after start, whatever its interval, so that a fresh agent soon has something to say.
const FIRST_RUN_WITHIN_MS: u64 = 10_000;

/// Lines about the agent itself that wait for the ledger: pauses and clock steps are rare.
const OWN_LINES_MAX: usize = 64;

/// Orders that wait for the runner; it takes them at once.
const ORDERS_MAX: usize = 8;

/// When the scheduler last moved, for those that must fall silent when it does not.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    fn beat(&self, now: Elapsed) {
        self.0.store(now.0, Ordering::Release);
    }

    /// Elapsed time of the last tick.
    #[must_use]
    pub fn last(&self) -> Elapsed {
        Elapsed(self.0.load(Ordering::Acquire))
    }
}

enum Order {
    Replace(Vec<PlannedCheck>),
    Restate,
    Describe(oneshot::Sender<Value>),
}

/// A handle to the running runner.
#[derive(Clone)]
pub struct RunnerHandle {
    orders: mpsc::Sender<Order>,
    heartbeat: Heartbeat,
}

impl RunnerHandle {
    /// Runs these checks from now on. A check whose settings are the same goes on as if nothing had happened.
    pub async fn replace(&self, checks: Vec<PlannedCheck>) {
        self.order(Order::Replace(checks)).await;
    }

    /// Says every settled status once more.
    pub async fn restate(&self) {
        self.order(Order::Restate).await;
    }

    /// Every check and how its objects stand, for a status page; `None` if the runner is gone.
    pub async fn describe(&self) -> Option<Value> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Describe(reply)).await;
        answer.await.ok()
    }

    /// When the scheduler last moved.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    async fn order(&self, order: Order) {
        // A runner that is gone ends the program; nobody is left to be told.
        let _ = self.orders.send(order).await;
    }
}

/// One check and all that goes with it.
struct Slot {
    id: u64,
    planned: Planned,
    /// `None` while it runs.
    check: Option<Box<dyn Check>>,
    /// What runs next in its place: built by a reload while a run was going.
    rebuilt: Option<Box<dyn Check>>,
    grid: Grid,
    /// The next run, or the one that is going or waiting for its turn.
    due: Elapsed,
    is_waiting: bool,
    state: CheckState,
    metrics: CheckMetrics,
}

/// A check without what runs.
struct Planned {
    name: CheckName,
    kind: &'static vigie_checks::Kind,
    plan: vigie_core::plan::PlannedCheck,
    patience: vigie_core::settle::Damping,
}

/// A run that ended.
struct Finished {
    slot: u64,
    check: Box<dyn Check>,
    started: Elapsed,
    outcome: Outcome,
}

enum Outcome {
    Observed(Vec<Observation>),
    TimedOut,
    Panicked,
}

/// The scheduler.
pub struct Runner {
    node: NodeName,
    context: Context,
    lane: EntryWriter,
    metrics: Arc<Metrics>,
    orders: mpsc::Receiver<Order>,
    heartbeat: Heartbeat,
    slots: Vec<Slot>,
    next_id: u64,
    /// Due and waiting for one of [`RUNS_MAX`] places, in order of becoming due.
    waiting: VecDeque<u64>,
    runs: JoinSet<Finished>,
    pulse: Pulse,
    own_lines: VecDeque<Draft>,
}

impl Runner {
    /// A runner of these checks; nothing runs before [`Self::run`].
    #[must_use]
    pub fn new(
        node: NodeName,
        context: Context,
        checks: Vec<PlannedCheck>,
        lane: EntryWriter,
        metrics: Arc<Metrics>,
    ) -> (Self, RunnerHandle) {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let now = context.clock.now();
        let heartbeat = Heartbeat::default();
        heartbeat.beat(now.elapsed);
        let mut runner = Self {
            node,
            context,
            lane,
            metrics,
            orders,
            heartbeat: heartbeat.clone(),
            slots: Vec::new(),
            next_id: 0,
            waiting: VecDeque::new(),
            runs: JoinSet::new(),
            pulse: Pulse::new(now),
            own_lines: VecDeque::new(),
        };
        runner.replace(checks);
        let handle = RunnerHandle {
            orders: sender,
            heartbeat,
        };
        (runner, handle)
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let clock = Arc::clone(&self.context.clock);
        loop {
            let wake = self.tick(clock.now());
            tokio::select! {
                biased;
                Some(order) = self.orders.recv() => self.obey(order),
                Some(ended) = self.runs.join_next() => match ended {
                    Ok(finished) => self.finish(finished, clock.now()),
                    // Panics are caught inside the task and nothing aborts it.
                    Err(error) => error!(%error, "a run is lost"),
                },
                () = wait_until(&*clock, wake) => {}
            }
        }
    }

    /// Does all that is due at `now`; returns when to look again at the latest.
    fn tick(&mut self, now: Now) -> Elapsed {
        self.feel_pulse(now);
        for slot in &mut self.slots {
            if slot.check.is_some() && !slot.is_waiting && slot.due <= now.elapsed {
                slot.is_waiting = true;
                self.waiting.push_back(slot.id);
            }
        }
        while self.runs.len() < RUNS_MAX
            && let Some(id) = self.waiting.pop_front()
        {
            self.start(id, now);
        }
        self.speak(now);
        self.heartbeat.beat(now.elapsed);
        let next_due = self
            .slots
            .iter()
            .filter(|slot| slot.check.is_some() && !slot.is_waiting)
            .map(|slot| slot.due)
            .min();
        let latest = now.elapsed.plus_ms(TICK_MAX_MS);
        next_due.map_or(latest, |due| due.min(latest))
    }

    fn feel_pulse(&mut self, now: Now) {
        let beat = self.pulse.beat(now);
        if let Some(for_ms) = beat.paused_ms {
            warn!(for_ms, "the agent stood still");
            for slot in &mut self.slots {
                slot.state.resume(now);
            }
            let facts = Facts::from([("for_ms", for_ms.into())]);
            self.say_own(Draft::own(vigie::AGENT_PAUSE, facts));
        }
        if let Some(by_ms) = beat.stepped_ms {
            warn!(by_ms, "the clock was stepped");
            let facts = Facts::from([("by_ms", by_ms.into())]);
            self.say_own(Draft::own(vigie::CLOCK_STEP, facts));
        }
    }

    fn start(&mut self, id: u64, now: Now) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else {
            return; // Replaced while it waited.
        };
        slot.is_waiting = false;
        let Some(check) = slot.check.take() else {
            return;
        };
        let timeout_ms = slot.planned.plan.timeout_ms;
        let deadline = now.elapsed.plus_ms(timeout_ms);
        let context = self.context.of_run(&slot.planned.name, deadline);
        self.runs.spawn(run_once(id, check, context, now.elapsed));
    }

    fn finish(&mut self, finished: Finished, now: Now) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == finished.slot) else {
            return; // Replaced while it ran.
        };
        // What a reload built meanwhile has read its files anew.
        slot.check = slot.rebuilt.take().or(Some(finished.check));
        let missed = slot.grid.missed(slot.due, now.elapsed);
        slot.due = slot.grid.next_after(now.elapsed);
        let took_ms = now.elapsed.since_ms(finished.started);
        let ended = match finished.outcome {
            Outcome::Observed(observations) => {
                slot.observed(observations, now);
                Ended::Result
            }
            Outcome::TimedOut => {
                let timeout_ms = slot.planned.plan.timeout_ms;
                let timeout = Observation::new(Status::Unknown, vigie::CHECK_TIMEOUT)
                    .fact("after_ms", timeout_ms);
                slot.state.trouble(timeout, now);
                Ended::Timeout
            }
            Outcome::Panicked => {
                error!(check = %slot.planned.name, "a check has a fault: its run panicked");
                slot.state
                    .trouble(Observation::new(Status::Unknown, vigie::CHECK_FAULT), now);
                Ended::Fault
            }
        };
        slot.metrics.show_run(ended, took_ms, missed, now);
        if took_ms > slot.planned.plan.every_ms {
            slot.metrics.count_overrun();
        }
    }

    /// Judges lateness and offers the ledger what it does not have yet.
    fn speak(&mut self, now: Now) {
        while let Some(draft) = self.own_lines.front() {
            if !self.lane.offer(draft.clone()) {
                return;
            }
            self.own_lines.pop_front();
        }
        for slot in &mut self.slots {
            if slot.state.judge_lateness(now) {
                slot.metrics.drop_measurements();
            }
            let lane = &self.lane;
            if slot.state.say(|draft| lane.offer(draft))
                && let Some(worst) = slot.state.worst()
            {
                slot.metrics.show_status(worst);
            }
        }
    }

    fn say_own(&mut self, draft: Draft) {
        if self.own_lines.len() < OWN_LINES_MAX {
            self.own_lines.push_back(draft);
        } else {
            warn!("the ledger takes nothing; a line about the agent itself is not written");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Replace(checks) => self.replace(checks),
            Order::Restate => self.slots.iter_mut().for_each(|slot| slot.state.restate()),
            // Who asked may have gone.
            Order::Describe(reply) => drop(reply.send(self.describe())),
        }
    }

    fn replace(&mut self, checks: Vec<PlannedCheck>) {
        let now = self.context.clock.now();
        let mut old = std::mem::take(&mut self.slots);
        let mut kept = 0;
        for planned in checks {
            let plan = planned.planned();
            let same = old
                .iter()
                .position(|slot| slot.planned.name == planned.name && slot.planned.plan == plan);
            if let Some(index) = same {
                kept += 1;
                // The settings are the same, but a secret or an authority they name may be new: what was settled is
                // kept, and what runs was built just now.
                let mut slot = old.swap_remove(index);
                match &mut slot.check {
                    Some(check) => *check = planned.check,
                    None => slot.rebuilt = Some(planned.check),
                }
                self.slots.push(slot);
            } else {
                // The handles of a check of that name remove its series when they go, so they go first.
                old.retain(|slot| slot.planned.name != planned.name);
                let slot = self.new_slot(planned, plan, now);
                self.slots.push(slot);
            }
        }
        drop(old);
        info!(checks = self.slots.len(), kept, "checks planned");
    }

    fn new_slot(
        &mut self,
        planned: PlannedCheck,
        plan: vigie_core::plan::PlannedCheck,
        now: Now,
    ) -> Slot {
        self.next_id += 1;
        let first = Grid::new(
            &self.node,
            &planned.name,
            plan.every_ms.min(FIRST_RUN_WITHIN_MS),
        );
        Slot {
            id: self.next_id,
            check: Some(planned.check),
            rebuilt: None,
            grid: Grid::new(&self.node, &planned.name, plan.every_ms),
            due: first.next_after(now.elapsed),
            is_waiting: false,
            state: CheckState::new(
                planned.name.clone(),
                planned.service.clone(),
                planned.patience,
                plan.every_ms,
                now,
            ),
            metrics: CheckMetrics::new(
                &self.metrics,
                &planned.name,
                planned.kind,
                planned.service.as_ref(),
            ),
            planned: Planned {
                name: planned.name,
                kind: planned.kind,
                plan,
                patience: planned.patience,
            },
        }
    }

    fn describe(&self) -> Value {
        let mut checks: Vec<&Slot> = self.slots.iter().collect();
        checks.sort_by(|a, b| a.planned.name.cmp(&b.planned.name));
        checks.into_iter().map(Slot::describe).collect()
    }
}

impl Slot {
    fn observed(&mut self, observations: Vec<Observation>, now: Now) {
        let all_ok = !observations.is_empty()
            && observations
                .iter()
                .all(|observation| observation.status == Status::Ok);
        self.metrics.begin_measurements();
        for observation in observations.iter().take(OBJECTS_MAX) {
            self.metrics
                .measure(&observation.object, &observation.measurements);
        }
        self.metrics.end_measurements();
        if all_ok {
            self.metrics.show_ok(now);
        }
        self.state.result(observations, now);
    }

    fn describe(&self) -> Value {
        let objects: Vec<Value> = self
            .state
            .objects()
            .map(|view| {
                json!({
                    "object": view.object.map(Object::as_str),
                    "status": view.status,
                    "reason": view.reason.code(),
                    "since": view.since,
                })
            })
            .collect();
        json!({
            "name": self.planned.name,
            "kind": self.planned.kind.name,
            "family": self.planned.plan.family,
            "service": self.planned.plan.service,
            "every_ms": self.planned.plan.every_ms,
            "failures": self.planned.patience.failures,
            "recoveries": self.planned.patience.recoveries,
            "status": self.state.worst(),
            "last_run": self.state.last_result().map(|now| now.wall),
            "objects": objects,
        })
    }
}

/// One run with its deadline. The check comes back whatever happens.
async fn run_once(
    slot: u64,
    mut check: Box<dyn Check>,
    context: Context,
    started: Elapsed,
) -> Finished {
    let work = caught(async { check.run(&context).await });
    let outcome = match context.within(context.deadline, work).await {
        Some(Ok(observations)) => Outcome::Observed(observations),
        Some(Err(Panicked)) => Outcome::Panicked,
        None => Outcome::TimedOut,
    };
    Finished {
        slot,
        check,
        started,
        outcome,
    }
}

struct Panicked;

/// Turns a panic of `work` into a value where the build unwinds; release builds abort, and systemd starts them again.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = Box::pin(work);
    std::future::poll_fn(move |context| {
        let work: Pin<&mut _> = work.as_mut();
        // The future is dropped after a panic and never polled again; the check itself starts each run afresh.
        match std::panic::catch_unwind(AssertUnwindSafe(|| work.poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}
