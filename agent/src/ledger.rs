//! The only writer of this node's chain: gives every line its place, keeps it in the spool, and knows what is not ok.
//!
//! Everything here blocks on the disk and runs on one thread of its own ([`lane`]). What is on the wire is decided
//! here and sent elsewhere ([`crate::push`]): [`Ledger::batch`] says what to send next, [`Ledger::answered`] takes in
//! what the collector said of it.
//!
//! **The first request of a process carries no lines.** Its answer tells where the collector stands. Only if that is a
//! place in this node's own chain do lines follow; otherwise the state was lost, restored or copied, and sending first
//! would put other bytes under numbers the collector already has. Then the chain is written anew after the collector's
//! head, led by `agent.amnesia`.
//!
//! A disk that fails costs durability, never a line that fits the ring ([`crate::spool`]); the chain says so
//! (`spool.degraded`, `entries.lost`, `spool.recovered`). A crash at any moment loses no line that was durable and at
//! worst sends some twice, which the collector counts once.

use std::{collections::BTreeMap, sync::Arc};

use tracing::{error, info, warn};
use vigie_core::{
    contact::{NOT_OK_MAX, NotOk},
    digest::Digest,
    entry::{Draft, Entry, Head, Kind, Line},
    hand_in::EntriesAnswer,
    id::{CheckName, NodeName},
    observation::{Fact, Facts},
    plan::{self, Plan},
    reason::vigie,
    status::Status,
};
use vigie_platform::clock::Clock;

use crate::spool::{Appended, Lost, Rewrite, Spool};

mod checkpoint;
pub mod lane;
mod line;
#[cfg(test)]
mod tests;

pub use checkpoint::CheckpointFile;
use line::{planned, rewrite_after, why};

/// Lines read at a time when the spool's backlog is searched at start: bounds memory, whatever the backlog.
const SEED_LINES: usize = 256;

/// And their bytes.
const SEED_BYTES: usize = 256 * 1024;

/// Ranges of lost lines that wait to be said; further ones widen the last.
const LOSSES_MAX: usize = 16;

/// What an object is known by in the contact.
type Key = (CheckName, Option<Box<str>>);

/// What others may know of the ledger without asking its thread.
#[derive(Debug, Clone)]
pub struct View {
    /// The last line of the chain.
    pub head: Head,
    /// The last line the collector has confirmed.
    pub acknowledged: Head,
    /// Digest of the plan in force.
    pub plan: Option<Digest>,
    /// Everything that is not ok now.
    pub not_ok: Arc<[NotOk]>,
    /// Bytes that wait to be sent.
    pub unsent_bytes: u64,
    /// Lines that are only in memory.
    pub ring_len: usize,
    /// Whether new lines are only in memory.
    pub is_degraded: bool,
    /// Lines written since start.
    pub lines_written: u64,
    /// Lines known to be lost unsent since start.
    pub lines_lost: u64,
    /// Lines the collector refused since start.
    pub lines_refused: u64,
}

/// What to send next.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The moment it was made: what the contact says.
    pub view: View,
    /// Lines, oldest first; none in the first request and when there are none.
    pub lines: Vec<Line>,
}

/// What follows from an answer, for those outside the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consequence {
    /// There are more lines to send, so ask again at once.
    pub has_more: bool,
    /// The collector may not have what was said before: every settled status is to be said again.
    pub must_restate: bool,
    /// The collector's log is shorter than it was, or another one.
    pub rollback: Option<Rollback>,
}

/// The collector's log as it was seen and as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollback {
    /// Lines it had.
    pub had_size: u64,
    /// Lines it has.
    pub size: u64,
}

/// The chain and all that goes with it.
pub struct Ledger {
    spool: Spool,
    checkpoint: CheckpointFile,
    node: NodeName,
    boot: Box<str>,
    clock: Arc<dyn Clock>,
    plan: Plan,
    plan_sha256: Option<Digest>,
    not_ok: BTreeMap<Key, (Status, u64)>,
    not_ok_list: Arc<[NotOk]>,
    /// Where the collector stands; `None` until it has answered once in this process's life.
    durable: Option<Head>,
    was_degraded: bool,
    losses: Vec<Lost>,
    lines_written: u64,
    lines_lost: u64,
    lines_refused: u64,
    ack_trouble_is_known: bool,
    read_trouble_is_known: bool,
}

impl Ledger {
    /// Takes over an opened spool. What its unsent lines say is not ok counts until it settles anew.
    #[must_use]
    pub fn new(
        spool: Spool,
        checkpoint: CheckpointFile,
        node: NodeName,
        boot: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut ledger = Self {
            spool,
            checkpoint,
            node,
            boot: boot.into(),
            clock,
            plan: Plan::new(),
            plan_sha256: None,
            not_ok: BTreeMap::new(),
            not_ok_list: Arc::new([]),
            durable: None,
            was_degraded: false,
            losses: Vec::new(),
            lines_written: 0,
            lines_lost: 0,
            lines_refused: 0,
            ack_trouble_is_known: false,
            read_trouble_is_known: false,
        };
        ledger.seed();
        ledger
    }

    /// Writes a line.
    pub fn write(&mut self, draft: &Draft) {
        let line = self.chain(draft);
        if let (Kind::CheckStatus, Some(check), Some(status)) =
            (draft.kind, &draft.check, draft.status)
        {
            // A last word of a check that a reload has just removed would be listed for ever.
            if self.plan_sha256.is_none() || self.plan.contains_key(check) {
                let object = draft.object.as_ref().map(|object| object.as_str().into());
                self.note((check.clone(), object), status, line.seq);
            }
        }
        self.append(line);
        self.tell_trouble();
    }

    /// Writes the plan: a line per check, then the line that closes it.
    pub fn write_plan(&mut self, new_plan: Plan) {
        let is_first = self.plan_sha256.is_none();
        let plan = &self.plan;
        // With other settings a check may judge other objects, so what it said before is not known to be so now. Its
        // alert stays open all the same: a contact ends none.
        self.not_ok.retain(|(check, _), _| {
            new_plan
                .get(check)
                .is_some_and(|planned| is_first || plan.get(check) == Some(planned))
        });
        self.list_not_ok();
        self.plan = new_plan;
        self.plan_sha256 = Some(plan::digest(&self.plan));
        self.write_plan_again();
    }

    /// What to send next: at most `lines_max` lines and about `bytes_max` bytes of them.
    pub fn batch(&mut self, lines_max: usize, bytes_max: usize) -> Batch {
        if self.spool.degraded().is_some() {
            self.spool.flush();
            self.tell_trouble();
        }
        let lines = match self.durable {
            Some(durable) if lines_max > 0 => self.read_after(durable.seq, lines_max, bytes_max),
            _ => Vec::new(),
        };
        Batch {
            view: self.view(),
            lines,
        }
    }

    /// Takes in the collector's answer. While the spool cannot be read nothing follows from it and nothing changes: the
    /// same is sent, and so asked, again.
    pub fn answered(&mut self, answer: &EntriesAnswer) -> Consequence {
        let is_ours = match self.spool.contains(answer.durable) {
            Ok(is_ours) => is_ours,
            Err(error) => {
                // Taken for a no, too many open files would be told as amnesia and every line written anew.
                if !self.read_trouble_is_known {
                    self.read_trouble_is_known = true;
                    warn!(%error, "the spool cannot be read now; the collector's answer is not taken in");
                }
                return Consequence::default();
            }
        };
        self.read_trouble_is_known = false;
        self.set_aside(answer);
        let mut must_restate = false;
        if is_ours {
            self.acknowledge(answer.durable);
        } else {
            self.take_over(answer.durable);
            must_restate = true;
        }
        self.durable = Some(answer.durable);
        let rollback = self.checkpoint.rollback_to(answer.log);
        if let Some(rollback) = rollback {
            warn!(
                had_size = rollback.had_size,
                size = rollback.size,
                "the collector's log is not the one seen before"
            );
            let facts = Facts::from([
                ("had_size", rollback.had_size.into()),
                ("size", rollback.size.into()),
            ]);
            // The line before the checkpoint: a crash between them tells it twice rather than never.
            self.write(&Draft::own(vigie::COLLECTOR_ROLLBACK, facts));
            must_restate = true;
        }
        self.checkpoint.remember(answer.log);
        if must_restate && self.plan_sha256.is_some() {
            self.write_plan_again();
        }
        self.tell_trouble();
        Consequence {
            has_more: answer.durable.seq < self.spool.head().seq,
            must_restate,
            rollback,
        }
    }

    /// What others may know.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            head: self.spool.head(),
            acknowledged: self.spool.acknowledged(),
            plan: self.plan_sha256,
            not_ok: Arc::clone(&self.not_ok_list),
            unsent_bytes: self.spool.unsent_bytes(),
            ring_len: self.spool.ring_len(),
            is_degraded: self.spool.degraded().is_some(),
            lines_written: self.lines_written,
            lines_lost: self.lines_lost,
            lines_refused: self.lines_refused,
        }
    }

    fn chain(&self, draft: &Draft) -> Line {
        draft.chain(self.spool.head(), &self.node, &self.boot, self.clock.wall())
    }

    fn append(&mut self, line: Line) -> Option<Appended> {
        self.lines_written += 1;
        match self.spool.append(line) {
            Ok(appended) => Some(appended),
            // `chain` gives each line the number after the head and bounds its length.
            Err(error) => {
                error!(%error, "a line has no place in the chain");
                None
            }
        }
    }

    fn write_plan_again(&mut self) {
        let drafts: Vec<Draft> = self
            .plan
            .iter()
            .map(|(name, check)| planned(name, check))
            .collect();
        for draft in &drafts {
            self.write(draft);
        }
        if let Some(sha256) = self.plan_sha256 {
            let facts = Facts::from([
                ("count", (drafts.len() as u64).into()),
                ("sha256", Fact::Digest(sha256)),
            ]);
            self.write(&Draft::own(vigie::PLAN_COMPLETE, facts));
        }
    }

    /// Says in the chain what became of the spool.
    fn tell_trouble(&mut self) {
        let degraded = self.spool.degraded().map(why);
        match (degraded, self.was_degraded) {
            (Some(why), false) => {
                self.was_degraded = true;
                warn!(
                    reason = self.spool.degraded(),
                    "lines of evidence are kept in memory: the spool cannot be written"
                );
                let line = self.chain(&Draft::own(
                    vigie::SPOOL_DEGRADED,
                    Facts::from([("why", why.into())]),
                ));
                self.append(line);
            }
            (None, true) => {
                self.was_degraded = false;
                info!("the spool is written again");
                let lines = self.spool.head().seq - self.spool.acknowledged().seq;
                let line = self.chain(&Draft::own(
                    vigie::SPOOL_RECOVERED,
                    Facts::from([("lines", lines.into())]),
                ));
                self.append(line);
            }
            (Some(_), true) | (None, false) => {}
        }
        self.tell_losses();
    }

    fn tell_losses(&mut self) {
        let mut is_overflowing = false;
        while let Some(lost) = self.spool.take_lost() {
            is_overflowing = true;
            self.lines_lost += lost.to - lost.from + 1;
            if self.losses.is_empty() {
                error!(from = lost.from, "lines of evidence are being lost");
            }
            let is_full = self.losses.len() == LOSSES_MAX;
            match self.losses.last_mut() {
                Some(last) if is_full || last.to.saturating_add(1) == lost.from => {
                    last.to = lost.to;
                }
                _ => self.losses.push(lost),
            }
        }
        if is_overflowing && self.spool.degraded().is_some() {
            // A line about it would only push out another one. It waits until there is room.
            return;
        }
        for lost in std::mem::take(&mut self.losses) {
            error!(from = lost.from, to = lost.to, "lines of evidence are lost");
            let facts = Facts::from([("from", lost.from.into()), ("to", lost.to.into())]);
            let line = self.chain(&Draft::own(vigie::ENTRIES_LOST, facts));
            self.append(line);
        }
    }

    fn read_after(&self, seq: u64, lines_max: usize, bytes_max: usize) -> Vec<Line> {
        self.spool
            .lines_after(seq, lines_max, bytes_max)
            .unwrap_or_else(|error| {
                warn!(%error, "the spool cannot be read now");
                Vec::new()
            })
    }

    /// Copies refused lines away before they are acknowledged.
    fn set_aside(&mut self, answer: &EntriesAnswer) {
        for refused in &answer.refused {
            // An answer that comes again repeats what it refused.
            if refused.seq <= self.spool.acknowledged().seq || refused.seq > self.spool.head().seq {
                continue;
            }
            self.lines_refused += 1;
            match self.spool.quarantine(refused.seq) {
                Ok(()) => warn!(
                    seq = refused.seq,
                    "the collector refused a line; it is in quarantine"
                ),
                Err(error) => {
                    warn!(seq = refused.seq, %error, "the collector refused a line; it is not kept")
                }
            }
            let facts = Facts::from([
                ("refused_seq", refused.seq.into()),
                ("sha256", Fact::Digest(refused.sha256)),
            ]);
            self.write(&Draft::own(vigie::ENTRIES_REFUSED, facts));
        }
    }

    fn acknowledge(&mut self, durable: Head) {
        match self.spool.acknowledge(durable.seq) {
            Ok(()) => self.ack_trouble_is_known = false,
            // The lines are sent again after a restart and count once.
            Err(error) if !self.ack_trouble_is_known => {
                self.ack_trouble_is_known = true;
                warn!(%error, "what the collector confirmed cannot be noted");
            }
            Err(_) => {}
        }
    }

    /// Continues after the collector's head, which is none of ours: unacknowledged lines are written anew behind it.
    fn take_over(&mut self, head: Head) {
        let had = self.spool.head();
        warn!(
            had_seq = had.seq,
            took_seq = head.seq,
            "this node's chain does not lead to the collector's; it goes on from the collector's"
        );
        let rewritten = had.seq.saturating_sub(self.spool.acknowledged().seq);
        let amnesia = Draft::own(
            vigie::AGENT_AMNESIA,
            Facts::from([
                ("had_seq", had.seq.into()),
                ("had_sha256", Fact::Digest(had.sha256)),
                ("took_seq", head.seq.into()),
                ("rewritten", rewritten.into()),
            ]),
        );
        let (node, boot, at) = (&self.node, &self.boot, self.clock.wall());
        let mut moved: BTreeMap<u64, u64> = BTreeMap::new();
        self.spool
            .rebase(head, &mut |after, rewrite| match rewrite {
                Rewrite::Start => {
                    moved.clear();
                    Some(amnesia.chain(after, node, boot, at))
                }
                Rewrite::Line(line) => {
                    let rewritten = rewrite_after(line, after, node);
                    if let Some(rewritten) = &rewritten {
                        moved.insert(line.seq, rewritten.seq);
                    }
                    rewritten
                }
            });
        for (_, seq) in self.not_ok.values_mut() {
            if let Some(new) = moved.get(seq) {
                *seq = *new;
            }
        }
        self.list_not_ok();
        // What was lost had numbers of the chain that counts no more.
        self.losses.clear();
    }

    /// Learns from the unsent lines what was not ok when the agent stopped.
    fn seed(&mut self) {
        let mut after = self.spool.acknowledged().seq;
        loop {
            let lines = self.read_after(after, SEED_LINES, SEED_BYTES);
            let Some(last) = lines.last() else { break };
            after = last.seq;
            for line in &lines {
                let Ok(entry) = Entry::read(&line.bytes) else {
                    continue;
                };
                if let (Some(check), Some(status)) = (entry.check, entry.status) {
                    let key = (check, entry.object.map(String::into_boxed_str));
                    self.note_unlisted(key, status, entry.seq);
                }
            }
        }
        self.list_not_ok();
    }

    fn note(&mut self, key: Key, status: Status, seq: u64) {
        self.note_unlisted(key, status, seq);
        self.list_not_ok();
    }

    fn note_unlisted(&mut self, key: Key, status: Status, seq: u64) {
        if status == Status::Ok {
            self.not_ok.remove(&key);
        } else {
            self.not_ok.insert(key, (status, seq));
        }
    }

    fn list_not_ok(&mut self) {
        let mut list: Vec<NotOk> = self
            .not_ok
            .iter()
            .map(|((check, object), (status, seq))| NotOk {
                check: check.clone(),
                object: object.as_deref().map(str::to_owned),
                status: *status,
                seq: *seq,
            })
            .collect();
        if list.len() > NOT_OK_MAX {
            // The loudest matter most; the rest is still in the lines.
            list.sort_by_key(|item| std::cmp::Reverse(item.status.rank()));
            list.truncate(NOT_OK_MAX);
            list.sort();
        }
        self.not_ok_list = list.into();
    }
}
