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
    collections::{HashMap, HashSet, VecDeque},
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
    contact::Contact,
    digest::Digest,
    entry::EntryLine,
    hand_in::{EntriesAnswer, RefusedLine},
    id::NodeName,
    log::Checkpoint,
    reason::vigie,
    status::{Criticality, Family, Status},
    time::{Elapsed, Now, Wall},
};
use vigie_decide::{
    alert::{AlertKey, Body, BuiltIn, Message, Notice, Notification, message_key},
    destination::Destination,
    escalation,
    fleet::{
        self, Answered, ClockEvent, DeliveryEvent, Delta, Event, HandInEvent, JoinRefused,
        MembershipEvent, Outcome, State, TroubleEvent, state::Node,
    },
    presence::Presence,
    routing::{Policy, RouteInput, WallTime},
    view::{Basis, fleet::Fleet},
};
use vigie_deliver::queue::QUEUE_LEN_MAX;
use vigie_platform::clock::{Clock, wait_until};

use crate::{
    directory::Directory,
    mirror::{Change, Mirror},
    outside_watch::Health,
    store::{CommitError, LineKey, Store},
};

mod notifier;

pub use self::notifier::Notifier;

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

/// How many pages that went out unlogged are remembered: twice a storm of a thousand alerts, and a few megabytes.
const TOLD_MAX: usize = 2_000;

/// A request of a node, authenticated and read.
#[derive(Debug)]
pub struct HandIn {
    /// From the certificate.
    pub node: NodeName,
    /// The key it used.
    pub key_sha256: Digest,
    /// When its certificate ended, if it has.
    pub expired: Option<Wall>,
    /// What it says is wrong; its signature is good.
    pub contact: Contact,
    /// Its lines, in order.
    pub lines: Vec<ReceivedLine>,
    /// When the request was accepted.
    pub received: Now,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<EntriesAnswer, Refusal>>,
}

/// A line as it came.
#[derive(Debug)]
pub enum ReceivedLine {
    /// One that can be taken, and what it says.
    Entry(EntryLine),
    /// Bytes that cannot be taken as a line; their digest stands for them.
    Refused {
        /// Their SHA-256.
        sha256: Digest,
        /// How many.
        len: u64,
    },
}

impl ReceivedLine {
    /// Reads a line, once for all who come after.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        match EntryLine::read(bytes) {
            Ok(line) => Self::Entry(line),
            Err(_) => Self::Refused {
                sha256: Digest::of(bytes),
                len: bytes.len() as u64,
            },
        }
    }

    fn key(&self, node: &NodeName) -> LineKey {
        match self {
            Self::Entry(line) => {
                let entry = line.entry();
                LineKey::of(node, Some(entry.seq), entry.sha256)
            }
            Self::Refused { sha256, .. } => LineKey::of(node, None, *sha256),
        }
    }
}

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

/// Pages that went out while the log could not be written; oldest forgotten first.
#[derive(Default)]
struct ToldUnlogged {
    keys: HashSet<Digest>,
    messages: VecDeque<Message>,
    /// Those that their receiver has accepted.
    accepted: HashSet<Digest>,
}

impl ToldUnlogged {
    fn insert(&mut self, message: &Message) -> bool {
        if !self.keys.insert(message.key) {
            return false;
        }
        self.messages.push_back(message.clone());
        if self.messages.len() > TOLD_MAX
            && let Some(oldest) = self.messages.pop_front()
        {
            self.keys.remove(&oldest.key);
            self.accepted.remove(&oldest.key);
        }
        true
    }
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

    /// Which of the lines at or below their node's head are stored already. `None` when the store does not answer.
    async fn known_lines(&self, hand_ins: &[HandIn]) -> Option<HashSet<LineKey>> {
        let mut asked = Vec::new();
        for hand_in in hand_ins {
            let head_seq = self
                .state
                .nodes
                .get(&hand_in.node)
                .map_or(0, |node| node.head.seq);
            let keys = hand_in.lines.iter().map(|line| line.key(&hand_in.node));
            asked.extend(keys.filter(|key| key.seq.is_none_or(|seq| seq <= head_seq)));
        }
        if asked.is_empty() {
            return Some(HashSet::new());
        }
        match timeout(COMMIT_TIMEOUT, self.parts.store.stored_lines(&asked)).await {
            Ok(Ok(stored)) => Some(stored),
            Ok(Err(cause)) => {
                error!(
                    cause = &cause as &dyn std::error::Error,
                    "cannot look up lines"
                );
                None
            }
            Err(_) => {
                error!("looking up lines took too long");
                None
            }
        }
    }

    fn step_hand_in(
        &mut self,
        turn: &mut Turn,
        hand_in: HandIn,
        known: Option<&HashSet<LineKey>>,
        now: Now,
    ) {
        let HandIn {
            node,
            key_sha256,
            expired,
            contact,
            lines,
            received,
            reply,
        } = hand_in;
        // It was recognised when it came in. Since then, perhaps in this very turn, another machine may have taken over the
        // name, or an operator have shut it out.
        let overlaid = match turn.delta.nodes.get(&node) {
            Some(row) => row.as_ref(),
            None => self.state.nodes.get(&node),
        };
        let may_speak = |row: &&Node| !row.denied && row.may_use(&key_sha256);
        let (Some(row), Some(overlaid)) = (self.state.nodes.get(&node), overlaid.filter(may_speak))
        else {
            let _ = reply.send(Err(Refusal::UnknownNode));
            return;
        };
        let newest = overlaid.keys.last().map(|key| key.tls_key_sha256);
        let uses_new_key = overlaid.keys.len() > 1 && newest == Some(key_sha256);
        let policy = self.parts.policy.clone();
        let mut step = |event| fleet::step(&self.state, &mut turn.delta, &policy, event, now);
        if uses_new_key {
            step(Event::Membership(MembershipEvent::KeyUsed {
                node: node.clone(),
                tls_key_sha256: key_sha256,
            }));
        }
        let expired_alert = AlertKey::of_node(&node, BuiltIn::NodeExpired);
        if let Some(not_after) = expired
            && !self.state.alerts.contains_key(&expired_alert)
        {
            step(Event::Trouble(TroubleEvent::NodeExpired {
                node: node.clone(),
                not_after,
            }));
        }
        if expired.is_none() && self.state.alerts.contains_key(&expired_alert) {
            step(Event::Trouble(TroubleEvent::NodeValid {
                node: node.clone(),
            }));
        }
        self.presence.stamp(&node, received);
        let doubt = expired.is_some();
        let head_seq = contact.head.seq;
        if self.presence.is_overtaken(&node, &contact, row.head.seq) {
            // It hung in the network while a later one was taken: its lines are stored or will come again.
            let log = self.state.meta.frontier.checkpoint();
            let _ = reply.send(self.entries_answer(&node, Vec::new(), log));
            return;
        }
        self.presence.said(&node, &contact, received);
        step(Event::HandedIn(HandInEvent::Contact {
            node: node.clone(),
            doubt,
            contact,
        }));
        let mut refused = Vec::new();
        for line in lines {
            let key = line.key(&node);
            let (seq, sha256) = (key.seq, key.sha256);
            // Only a line at or below the head can be one that came earlier in this very turn.
            let head = overlaid_head(&self.state, &turn.delta, &node);
            let is_old = seq.is_none_or(|seq| seq <= head.seq);
            // Without the store a replay cannot be told from a fork. Nothing is answered then, so the line comes again.
            let is_replay = known.map_or(is_old, |known| known.contains(&key))
                || is_old
                    && turn.delta.lines.iter().any(|stored| {
                        stored.sha256 == sha256
                            && stored.node == node
                            && seq.is_none_or(|seq| seq == stored.seq)
                    });
            if is_replay {
                self.counters.replays.fetch_add(1, Relaxed);
                continue;
            }
            self.counters.lines.fetch_add(1, Relaxed);
            let event = match line {
                ReceivedLine::Entry(line) => Event::HandedIn(HandInEvent::Entry {
                    node: node.clone(),
                    doubt,
                    history: seq.is_some_and(|seq| seq < head_seq),
                    line,
                }),
                ReceivedLine::Refused { sha256, len } => {
                    Event::HandedIn(HandInEvent::EntryRefused {
                        node: node.clone(),
                        sha256,
                        len,
                    })
                }
            };
            let is_refused = matches!(event, Event::HandedIn(HandInEvent::EntryRefused { .. }));
            fleet::step(&self.state, &mut turn.delta, &policy, event, now);
            if is_refused {
                let seq = overlaid_head(&self.state, &turn.delta, &node).seq;
                refused.push(RefusedLine { seq, sha256 });
            }
        }
        turn.waiting.push(Waiting::HandIn {
            node,
            refused,
            reply,
        });
    }

    /// What a node is answered, from a state that is on disk.
    fn entries_answer(
        &self,
        node: &NodeName,
        refused: Vec<RefusedLine>,
        log: Checkpoint,
    ) -> Result<EntriesAnswer, Refusal> {
        let row = self.state.nodes.get(node).ok_or(Refusal::UnknownNode)?;
        Ok(EntriesAnswer {
            durable: row.head,
            refused,
            log,
            statements: Vec::new(),
        })
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

    /// The log cannot be written: nothing is answered, ended or held, but who must be woken is woken.
    fn fail_open(&mut self, turn: Turn, now: Now) {
        self.counters.commits_failed.fetch_add(1, Relaxed);
        self.is_uncertain = true;
        let mut pages: Vec<Message> = turn
            .delta
            .outbox
            .into_values()
            .flatten()
            .filter(is_page)
            .collect();
        if self.failed_since_success == 0 {
            pages.extend(self.own_alarm(now));
        }
        pages.retain(|message| self.told.insert(message));
        self.failed_since_success += 1;
        if !pages.is_empty() {
            warn!(
                pages = pages.len(),
                "telling people although the log cannot be written"
            );
            self.counters
                .pages_unlogged
                .fetch_add(pages.len() as u64, Relaxed);
            self.parts.notifier.take_unlogged(in_order(pages));
        }
        // Rules that were loaded several times meanwhile are loaded once, as they are now, and before all else.
        let (rules_loaded, others): (Vec<Event>, Vec<Event>) = turn
            .noted
            .into_iter()
            .partition(|event| matches!(event, Event::Clock(ClockEvent::RulesLoaded { .. })));
        self.carried = others;
        if !rules_loaded.is_empty() {
            let at = usize::from(matches!(
                self.carried.first(),
                Some(Event::Clock(ClockEvent::Started { .. }))
            ));
            self.carried.insert(at, self.rules_loaded());
        }
        for waiting in turn.waiting {
            match waiting {
                Waiting::HandIn { reply, .. } => drop(reply.send(Err(Refusal::Unavailable))),
                Waiting::Done(_, reply) => drop(reply.send(Err(Refusal::Unavailable))),
            }
        }
    }

    /// "The log cannot be written", to the receivers of the built-in service.
    fn own_alarm(&self, now: Now) -> Vec<Message> {
        let policy = &self.parts.policy;
        let subject = policy.rules.own_subject();
        let alert = AlertKey::of_collector(BuiltIn::CommitFailing);
        let case = RouteInput {
            subject: &subject,
            node: &alert.node(),
            family: Family::Vigie,
            status: Status::Critical,
            is_newly_unknown: false,
        };
        let civil = WallTime {
            at: now.wall,
            is_in_doubt: self.state.meta.clock_in_doubt,
        };
        let opening = u64::try_from(now.wall.0).unwrap_or(0);
        let placement = policy.place(case, civil);
        let told = placement.tell.iter().flat_map(|receiver| {
            let steps = policy.rules.receivers.get(receiver);
            let first = steps.and_then(|receiver| receiver.steps.first());
            let to = match first {
                Some(step) => escalation::reach(policy, step, 0, now.wall).0,
                None => vec![Destination::Receiver(receiver.clone())],
            };
            to.into_iter().map(move |to| (receiver, to))
        });
        told.map(|(receiver, to)| Message {
            key: message_key(&alert, opening, &to, 0, 0, Notice::Open),
            order: 0,
            to,
            receiver: receiver.clone(),
            at: now.wall,
            body: Body::Alert(Box::new(Notification {
                notice: Notice::Open,
                number: 0,
                opening,
                alert: alert.clone(),
                services: subject.services.clone(),
                criticality: subject.criticality,
                environment: subject.environment,
                family: Family::Vigie,
                need: (subject.serves, subject.need),
                status: Status::Critical,
                reason: vigie::COMMIT_FAILED.code().to_owned(),
                facts: serde_json::Map::new(),
                since: now.wall,
                ended: None,
                runbook: None,
                step: 0,
                others_told: std::collections::BTreeSet::new(),
                acknowledged_by: None,
                explains: 0,
                thread: None,
            })),
        })
        .collect()
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

/// Whether a message must go out even if it cannot be written down.
fn is_page(message: &Message) -> bool {
    let Some(telling) = message.telling() else {
        return false;
    };
    let wakes = match telling.status {
        Status::Critical => true,
        Status::Unknown => telling.criticality == Criticality::Critical,
        Status::Warning | Status::Ok => false,
    };
    wakes && telling.notice != Notice::Close
}

fn in_order(mut messages: Vec<Message>) -> Vec<Message> {
    messages.sort_by_key(|message| message.order);
    messages
}

fn overlaid_head(state: &State, delta: &Delta, node: &NodeName) -> vigie_core::entry::Head {
    let row = match delta.nodes.get(node) {
        Some(row) => row.as_ref(),
        None => state.nodes.get(node),
    };
    row.map_or(vigie_core::entry::Head::EMPTY, |row| row.head)
}

#[cfg(test)]
mod crash;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
