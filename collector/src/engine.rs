//! The single writer: takes what was handed in, asks core what it means, commits, and only then answers.
//!
//! ```text
//!   hand-ins (one small share per node) ─┐
//!   operators, joins, deliveries ────────┼─► turn: step, step, step → one delta → one commit ─► answers, messages
//!   presence, deadlines, clock ──────────┘
//! ```
//! One turn takes a bounded number of requests from each queue, so operators and deadlines always have theirs, and puts
//! everything into one transaction (group commit). Nothing is ended, held or silenced before it is in the log.
//!
//! When a commit fails or takes longer than [`COMMIT_TIMEOUT`], the delta is dropped, senders are asked to come again,
//! and its critical pages go out all the same ([`Engine::fail_open`]); their keys are remembered so that the same line,
//! sent again, tells nobody twice. The state is then read anew from the store before the next commit, because nobody
//! knows whether the last one reached the disk.
//!
//! Whoever shows what is known reads a second copy of it ([`mirror`](crate::mirror)) and never takes part in a turn.
//!
//! Dropping the engine's future between turns loses nothing: what was answered is on disk, what was not will come again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{error, info, warn};
use vigie_core::{
    digest::Digest,
    hand_in::{EntriesAnswer, RefusedLine},
    id::NodeName,
    time::{Elapsed, Now},
};
use vigie_decide::{
    alert::Message,
    destination::Destination,
    fleet::{
        self, Answered, ClockEvent, DeliveryEvent, Delta, Event, JoinRefused, MembershipEvent,
        Outcome, State,
    },
    presence::Presence,
    routing::Policy,
    view::{Basis, fleet::Fleet},
};
use vigie_deliver::queue::QUEUE_LEN_MAX;
use vigie_platform::clock::{Clock, wait_until};

use crate::{
    directory::Directory,
    mirror::{Change, Mirror},
    outside_watch::Health,
    store::{CommitError, Store},
};

mod fail_open;
mod hand_in;
mod notifier;

pub use self::{
    hand_in::{HandIn, ReceivedLine},
    notifier::Notifier,
};
use fail_open::ToldUnlogged;

/// How long a commit may take before pages go out without it.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many requests may wait for the engine: two for each of 500 nodes, and a node may hold only two.
pub const HAND_INS_MAX: usize = 1_024;

/// How many commands, joins and delivery reports may wait.
pub const COMMANDS_MAX: usize = 1_024;

/// How many lines one turn takes: about 10 ms of work, so that the next command never waits for long.
const LINES_PER_TURN: usize = 2_048;

/// How many commands one turn takes.
const COMMANDS_PER_TURN: usize = 256;

/// How often absence is judged.
const POLL_EVERY_MS: u64 = 1_000;

/// Wall and elapsed clock apart by more than this is a step: NTP slews what is less, and no calendar minds five seconds.
const CLOCK_STEP_MS: i64 = 5_000;

/// How long one pair of clock readings is compared with.
const ANCHOR_EVERY_MS: i64 = 60_000;

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log cannot be written now.
    #[error("the collector cannot write its log now")]
    Unavailable,
    /// The node or sender is not, or no longer, in the fleet, or not with this key.
    #[error("no such node")]
    UnknownNode,
    /// A join that may not be.
    #[error(transparent)]
    Join(#[from] JoinRefused),
}

/// Work for the engine beside hand-ins.
#[derive(Debug)]
pub enum Command {
    /// Something happened; nobody waits.
    Note(Event),
    /// Something is to be done, and somebody waits until it is in the log.
    Do(Event, oneshot::Sender<Result<Option<Answered>, Refusal>>),
    /// New rules, or new rules of zones.
    Policy(Policy, String),
    /// A page that went out unlogged was accepted.
    Accepted(Digest),
    /// The courier has room again for messages to this receiver that come after this order.
    Refill(Destination, u64),
}

/// Counters of the engine.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commits that succeeded.
    pub commits: AtomicU64,
    /// Commits that failed.
    pub commits_failed: AtomicU64,
    /// Time spent in commits, in microseconds.
    pub commit_micros: AtomicU64,
    /// Longest commit, in microseconds.
    pub commit_micros_max: AtomicU64,
    /// Lines stored.
    pub lines: AtomicU64,
    /// Lines that were stored already.
    pub replays: AtomicU64,
    /// Pages that went out unlogged.
    pub pages_unlogged: AtomicU64,
}

/// How the rest of the collector talks to the engine.
#[derive(Clone)]
pub struct Handle {
    hand_ins: mpsc::Sender<HandIn>,
    commands: mpsc::Sender<Command>,
    stamps: Stamps,
    mirror: Arc<Mirror>,
    clock: Arc<dyn Clock>,
}

/// When each node was last accepted, between two turns.
type Stamps = Arc<Mutex<HashMap<NodeName, Now>>>;

impl Handle {
    /// Hands a request over; `false` when the queue is full.
    #[must_use]
    pub fn hand_in(&self, hand_in: HandIn) -> bool {
        self.hand_ins.try_send(hand_in).is_ok()
    }

    /// Notes that a request of `node` was accepted, however long the engine takes to read it.
    pub fn stamp(&self, node: &NodeName, now: Now) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.insert(node.clone(), now);
    }

    /// Notes an event, waiting for room.
    pub async fn note(&self, event: Event) {
        // The engine ends only when the whole collector does.
        let _ = self.commands.send(Command::Note(event)).await;
    }

    /// Notes an event if there is room; for what will be noticed again.
    pub fn try_note(&self, event: Event) {
        let _ = self.commands.try_send(Command::Note(event));
    }

    /// Has something done and waits until it is in the log. What it came to, where that is for an operator.
    ///
    /// # Errors
    /// When it may not be, or cannot be written.
    pub async fn perform(&self, event: Event) -> Result<Option<Answered>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Do(event, reply)).await;
        sent.map_err(|_| Refusal::Unavailable)?;
        answer.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// A page that went out unlogged was accepted by its receiver.
    pub async fn accepted(&self, key: Digest) {
        let _ = self.commands.send(Command::Accepted(key)).await;
    }

    /// Puts new rules and zones in force.
    pub async fn load_ground(&self, policy: Policy, tzdata: String) {
        let _ = self.commands.send(Command::Policy(policy, tzdata)).await;
    }

    /// Has the outbox give the courier more messages for `to`.
    pub async fn refill(&self, to: Destination, after_order: u64) {
        let _ = self.commands.send(Command::Refill(to, after_order)).await;
    }

    /// The fleet as it is on disk. Whoever was answered before sees what that came to. `None`: the engine has ended.
    pub async fn view(&self) -> Option<Fleet> {
        self.read(Fleet::of).await
    }

    /// Has a part of what is known read, beside the engine. `None`: the engine has ended.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Basis<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        if self.commands.is_closed() {
            return None;
        }
        let (mirror, at) = (Arc::clone(&self.mirror), self.clock.wall());
        let read = tokio::task::spawn_blocking(move || mirror.read(at, read));
        read.await.ok()
    }
}

/// Everything the engine needs to start.
pub struct Parts<S> {
    /// Where the log is.
    pub store: S,
    /// What the store held.
    pub state: State,
    /// The rules in force, and the zones that they name.
    pub policy: Policy,
    /// Version of the time zone data.
    pub tzdata: String,
    /// The collector's id.
    pub collector: String,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Who tells people.
    pub notifier: Arc<dyn Notifier>,
    /// Who may speak, kept current by the engine.
    pub directory: Arc<Directory>,
    /// Whether the collector does its work.
    pub health: Arc<Health>,
    /// The last answer of the collector's own probes.
    pub probes: watch::Receiver<Option<bool>>,
}

/// The single writer.
pub struct Engine<S> {
    parts: Parts<S>,
    state: State,
    presence: Presence,
    /// When absence is judged next.
    poll_at: Elapsed,
    hand_ins: mpsc::Receiver<HandIn>,
    commands: mpsc::Receiver<Command>,
    stamps: Stamps,
    mirror: Arc<Mirror>,
    counters: Arc<Counters>,
    anchor: Now,
    /// Events that nobody waits for and that are not in the log yet.
    carried: Vec<Event>,
    told: ToldUnlogged,
    /// The last commit failed: what is on disk must be read before the next one.
    is_uncertain: bool,
    /// Another process opened the store and decides now.
    is_superseded: bool,
    failed_since_success: u64,
    /// The last commit, if it failed.
    attempt: Option<Attempt>,
}

/// A commit of which nobody knows whether it reached the disk.
struct Attempt {
    /// How long the log is if it did.
    log_len: u64,
    /// Whether it says what was told before it.
    says_told: bool,
    /// How many of the events that are carried it holds; they are the first.
    carried: usize,
}

/// What waits for the end of a turn.
enum Waiting {
    HandIn {
        node: NodeName,
        refused: Vec<RefusedLine>,
        reply: oneshot::Sender<Result<EntriesAnswer, Refusal>>,
    },
    Done(
        Option<Answered>,
        oneshot::Sender<Result<Option<Answered>, Refusal>>,
    ),
}

/// What one turn puts together.
#[derive(Default)]
struct Turn {
    delta: Delta,
    waiting: Vec<Waiting>,
    noted: Vec<Event>,
}

impl<S: Store> Engine<S> {
    /// An engine that starts from `parts.state`.
    #[must_use]
    pub fn new(mut parts: Parts<S>) -> (Self, Handle, Arc<Counters>) {
        let (hand_in_sender, hand_ins) = mpsc::channel(HAND_INS_MAX);
        let (command_sender, commands) = mpsc::channel(COMMANDS_MAX);
        let stamps = Stamps::default();
        let counters = Arc::new(Counters::default());
        let state = std::mem::take(&mut parts.state);
        let now = parts.clock.now();
        let presence = Presence::new(&state, &parts.policy.rules, now);
        parts.directory.replace_all(&state);
        let mirror = Arc::new(Mirror::new(state.clone(), parts.policy.clone()));
        let carried = vec![
            Event::Clock(ClockEvent::Started {
                collector: parts.collector.clone(),
            }),
            Event::Clock(ClockEvent::RulesLoaded {
                sha256: parts.policy.rules.digest(),
                tzdata: parts.tzdata.clone(),
            }),
        ];
        let handle = Handle {
            hand_ins: hand_in_sender,
            commands: command_sender,
            stamps: Arc::clone(&stamps),
            mirror: Arc::clone(&mirror),
            clock: Arc::clone(&parts.clock),
        };
        let engine = Self {
            state,
            presence,
            poll_at: Elapsed(0),
            hand_ins,
            commands,
            stamps,
            mirror,
            counters: Arc::clone(&counters),
            anchor: now,
            carried,
            told: ToldUnlogged::default(),
            is_uncertain: false,
            is_superseded: false,
            failed_since_success: 0,
            attempt: None,
            parts,
        };
        (engine, handle, counters)
    }

    /// Works until `stop` says so; then does one more turn with what is queued.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // What the last run left in the outbox goes out first.
        self.parts
            .notifier
            .take(in_order(self.state.outbox.values().cloned().collect()));
        let mut commands = Vec::new();
        let mut hand_ins = Vec::new();
        loop {
            self.turn(&mut commands, &mut hand_ins).await;
            if self.is_superseded {
                error!("another collector took over this data folder; this one ends");
                return;
            }
            if *stop.borrow() {
                self.collect(&mut commands, &mut hand_ins);
                self.turn(&mut commands, &mut hand_ins).await;
                return;
            }
            let now = self.parts.clock.now();
            // What is due already has just had its turn: if it could not be written, it waits for the next poll.
            let wake = fleet::next_deadline(&self.state, now)
                .filter(|deadline| *deadline > now.elapsed)
                .map_or(self.poll_at, |deadline| deadline.min(self.poll_at));
            tokio::select! {
                command = self.commands.recv() => commands.extend(command),
                hand_in = self.hand_ins.recv() => hand_ins.extend(hand_in),
                () = wait_until(&*self.parts.clock, wake) => {}
                _ = stop.changed() => {}
            }
            self.collect(&mut commands, &mut hand_ins);
        }
    }

    /// Takes what waits, up to one turn's worth of each kind.
    fn collect(&mut self, commands: &mut Vec<Command>, hand_ins: &mut Vec<HandIn>) {
        while commands.len() < COMMANDS_PER_TURN
            && let Ok(command) = self.commands.try_recv()
        {
            commands.push(command);
        }
        let mut lines: usize = hand_ins.iter().map(|hand_in| hand_in.lines.len()).sum();
        while lines < LINES_PER_TURN
            && let Ok(hand_in) = self.hand_ins.try_recv()
        {
            lines += hand_in.lines.len();
            hand_ins.push(hand_in);
        }
    }

    async fn turn(&mut self, commands: &mut Vec<Command>, hand_ins: &mut Vec<HandIn>) {
        let now = self.parts.clock.now();
        if self.is_uncertain {
            self.reload().await;
        }
        let mut turn = Turn::default();
        self.step_what_time_brings(&mut turn, now);
        for command in commands.drain(..) {
            self.step_command(&mut turn, command, now);
        }
        let known = self.known_lines(hand_ins).await;
        for hand_in in hand_ins.drain(..) {
            self.step_hand_in(&mut turn, hand_in, known.as_ref(), now);
        }
        self.parts.health.stepped(now.elapsed);
        let heard = self.presence.take_changed();
        if !heard.is_empty() {
            self.mirror.follow(Change::Heard(heard));
        }
        if known.is_none() || self.is_uncertain {
            self.fail_open(turn, now);
        } else if turn.delta.is_empty() {
            if self.failed_since_success == 0 {
                self.parts.health.committed(now.elapsed);
            }
            self.answer(turn);
        } else {
            self.commit(turn, now).await;
        }
    }

    /// Presence, deadlines, clocks, and what an earlier turn could not write.
    fn step_what_time_brings(&mut self, turn: &mut Turn, now: Now) {
        let mut events = Vec::new();
        if matches!(
            self.carried.first(),
            Some(Event::Clock(ClockEvent::Started { .. }))
        ) {
            // Deadlines go over to this boot's clock before anything is reckoned by it, under the rules that follow.
            let rules = matches!(
                self.carried.get(1),
                Some(Event::Clock(ClockEvent::RulesLoaded { .. }))
            );
            events.extend(self.carried.drain(..1 + usize::from(rules)));
        }
        if self.failed_since_success > 0 {
            // What was told must be known before what follows is decided.
            events.push(Event::Delivery(DeliveryEvent::CommitFailed {
                count: self.failed_since_success,
                told: self.told.messages.iter().cloned().collect(),
            }));
        }
        events.append(&mut self.carried);
        let wall_ms = now.wall.0 - self.anchor.wall.0;
        let elapsed_ms =
            i64::try_from(now.elapsed.since_ms(self.anchor.elapsed)).unwrap_or(i64::MAX);
        let by_ms = wall_ms.saturating_sub(elapsed_ms);
        if by_ms.saturating_abs() > CLOCK_STEP_MS {
            warn!(by_ms, "the wall clock stepped");
            self.anchor = now;
            events.push(Event::Clock(ClockEvent::ClockStep { by_ms }));
        } else if elapsed_ms > ANCHOR_EVERY_MS {
            // A clock that is slewed drifts by seconds over weeks; that is no step.
            self.anchor = now;
        }
        let stamps =
            std::mem::take(&mut *self.stamps.lock().unwrap_or_else(PoisonError::into_inner));
        for (node, at) in stamps {
            if self.state.nodes.contains_key(&node) {
                self.presence.stamp(&node, at);
            }
        }
        if self.poll_at <= now.elapsed {
            self.poll_at = now.elapsed.plus_ms(POLL_EVERY_MS);
            let probes = *self.parts.probes.borrow();
            let (state, rules) = (&self.state, &self.parts.policy.rules);
            events.extend(self.presence.poll(state, rules, probes, now));
        }
        if fleet::next_deadline(&self.state, now).is_some_and(|deadline| deadline <= now.elapsed) {
            events.push(Event::Clock(ClockEvent::Deadline));
        }
        for event in events {
            self.step(turn, event, now);
        }
    }

    /// The rules in force, as an event.
    fn rules_loaded(&self) -> Event {
        Event::Clock(ClockEvent::RulesLoaded {
            sha256: self.parts.policy.rules.digest(),
            tzdata: self.parts.tzdata.clone(),
        })
    }

    fn step(&self, turn: &mut Turn, event: Event, now: Now) -> Outcome {
        // What follows from the state will follow again, and what every request notices will be noticed again; only what
        // happened once has to be kept.
        let follows_again = matches!(
            event,
            Event::Delivery(DeliveryEvent::CommitFailed { .. })
                | Event::Clock(ClockEvent::Deadline)
                | Event::Clock(ClockEvent::ClockTrusted { uid: None })
                | Event::Membership(MembershipEvent::SenderKeyUsed { .. })
        );
        let kept = (!follows_again).then(|| event.clone());
        let outcome = fleet::step(&self.state, &mut turn.delta, &self.parts.policy, event, now);
        turn.noted.extend(kept);
        outcome
    }

    fn step_command(&mut self, turn: &mut Turn, command: Command, now: Now) {
        match command {
            Command::Note(event) => {
                self.step(turn, event, now);
            }
            Command::Do(event, reply) => {
                let outcome =
                    fleet::step(&self.state, &mut turn.delta, &self.parts.policy, event, now);
                let renewal_refused = outcome.renewal_refused.then_some(Refusal::UnknownNode);
                match outcome.join_refused.map(Refusal::from).or(renewal_refused) {
                    // Whoever asked may be gone: then nobody is told, and nothing was changed.
                    Some(why) => drop(reply.send(Err(why))),
                    None => turn.waiting.push(Waiting::Done(outcome.answered, reply)),
                }
            }
            Command::Policy(policy, tzdata) => {
                self.mirror.follow(Change::Ruled(policy.clone()));
                self.parts.policy = policy;
                self.parts.tzdata = tzdata;
                let loaded = self.rules_loaded();
                self.step(turn, loaded, now);
            }
            Command::Accepted(key) => {
                if self.state.outbox.contains_key(&key) {
                    let carried_by = None;
                    self.step(
                        turn,
                        Event::Delivery(DeliveryEvent::Delivered { key, carried_by }),
                        now,
                    );
                } else if self.told.keys.contains(&key) {
                    self.told.accepted.insert(key);
                }
            }
            Command::Refill(to, after_order) => {
                let waiting = self.state.outbox.values();
                let wanted = waiting.filter(|m| m.to == to && m.order > after_order);
                let mut messages = in_order(wanted.cloned().collect());
                messages.truncate(QUEUE_LEN_MAX);
                self.parts.notifier.refill(&to, messages);
            }
        }
    }

    async fn commit(&mut self, turn: Turn, now: Now) {
        let started = std::time::Instant::now();
        let result = timeout(COMMIT_TIMEOUT, self.parts.store.commit(&turn.delta)).await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        match result {
            Ok(Ok(())) => {
                self.counters.commits.fetch_add(1, Relaxed);
                self.counters.commit_micros.fetch_add(micros, Relaxed);
                self.counters.commit_micros_max.fetch_max(micros, Relaxed);
                self.committed(turn, now);
            }
            Ok(Err(cause)) => {
                error!(cause = &cause as &dyn std::error::Error, "cannot commit");
                self.is_superseded |= matches!(cause, CommitError::Superseded { .. });
                self.failed(turn, now);
            }
            Err(_) => {
                error!(
                    after_ms = COMMIT_TIMEOUT.as_millis(),
                    "the commit took too long"
                );
                self.failed(turn, now);
            }
        }
    }

    /// A commit failed, or so it seems.
    fn failed(&mut self, turn: Turn, now: Now) {
        let log_len = turn.delta.log.last().map(|(n, _)| n + 1);
        let says_told = self.failed_since_success > 0;
        self.fail_open(turn, now);
        self.attempt = log_len.map(|log_len| Attempt {
            log_len,
            says_told,
            carried: self.carried.len(),
        });
    }

    /// The commit that failed reached the disk after all: what it says is not said again.
    fn reached(&mut self, attempt: &Attempt) {
        let carried = attempt.carried.min(self.carried.len());
        self.carried.drain(..carried);
        if attempt.says_told {
            self.told.messages.clear();
            self.failed_since_success = 0;
        } else {
            // All but the alarm about the log itself, which is told beside every decision and has no number.
            let is_alarm = |message: &Message| message.telling().is_some_and(|t| t.number == 0);
            self.told.messages.retain(is_alarm);
        }
    }

    fn committed(&mut self, mut turn: Turn, now: Now) {
        if self.failed_since_success > 0 {
            info!(failed = self.failed_since_success, "commits work again");
            self.failed_since_success = 0;
        }
        self.parts.health.committed(now.elapsed);
        // What was there before the courier has; taken once more after it was accepted it would go twice.
        let changed = turn.delta.outbox.values().flatten();
        let is_new = |message: &&Message| !self.state.outbox.contains_key(&message.key);
        let messages: Vec<Message> = changed.filter(is_new).cloned().collect();
        let delta = std::mem::take(&mut turn.delta);
        for (node, row) in &delta.nodes {
            self.parts.directory.set(node, row.as_ref());
            if row.is_none() {
                self.presence.forget(node);
            }
        }
        for (sender, row) in &delta.senders {
            self.parts.directory.set_sender(sender, row.as_ref());
        }
        let rows = Box::new(delta.rows());
        self.mirror.follow(Change::Committed(rows));
        self.state.merge(delta);
        self.parts
            .directory
            .set_clock_in_doubt(self.state.meta.clock_in_doubt);
        self.hand_over(messages);
        self.told = ToldUnlogged::default();
        self.answer(turn);
    }

    /// Gives messages of the outbox to the courier, but for those that were accepted before they were written down. What
    /// the courier has unlogged and unaccepted it takes as logged from now on.
    fn hand_over(&mut self, messages: Vec<Message>) {
        let (accepted, waiting): (Vec<Message>, Vec<Message>) = messages
            .into_iter()
            .partition(|message| self.told.accepted.contains(&message.key));
        let delivered = accepted.into_iter().map(|message| {
            Event::Delivery(DeliveryEvent::Delivered {
                key: message.key,
                carried_by: None,
            })
        });
        self.carried.extend(delivered);
        self.parts.notifier.take(in_order(waiting));
    }

    /// Answers everybody who waits, from a state that is on disk.
    fn answer(&self, turn: Turn) {
        let log = self.state.meta.frontier.checkpoint();
        for waiting in turn.waiting {
            // A sender that is gone will come again and find its lines stored.
            match waiting {
                Waiting::HandIn {
                    node,
                    refused,
                    reply,
                } => {
                    let _ = reply.send(self.entries_answer(&node, refused, log));
                }
                Waiting::Done(answered, reply) => {
                    let _ = reply.send(Ok(answered));
                }
            }
        }
    }

    async fn reload(&mut self) {
        match timeout(COMMIT_TIMEOUT, self.parts.store.load()).await {
            Ok(Ok(state)) => {
                // The failed commit may have reached the disk after all: then its messages are in the outbox.
                let unsent: Vec<Message> = state
                    .outbox
                    .iter()
                    .filter(|(key, _)| !self.state.outbox.contains_key(key))
                    .map(|(_, message)| message.clone())
                    .collect();
                self.state = state;
                let loaded = Box::new(self.state.clone());
                self.mirror.follow(Change::Loaded(loaded));
                self.is_uncertain = false;
                self.parts.directory.replace_all(&self.state);
                if let Some(attempt) = self.attempt.take()
                    && self.state.meta.frontier.size() == attempt.log_len
                {
                    self.reached(&attempt);
                }
                self.hand_over(unsent);
            }
            Ok(Err(cause)) => {
                error!(
                    cause = &cause as &dyn std::error::Error,
                    "cannot read the store"
                );
            }
            Err(_) => error!("reading the store took too long"),
        }
    }
}

fn in_order(mut messages: Vec<Message>) -> Vec<Message> {
    messages.sort_by_key(|message| message.order);
    messages
}

#[cfg(test)]
mod crash;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
