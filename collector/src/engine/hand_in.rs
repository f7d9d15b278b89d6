//! What a node handed in, in a turn: which of it is new, and what each line of it means.

use std::{collections::HashSet, sync::atomic::Ordering::Relaxed};

use tokio::{sync::oneshot, time::timeout};
use tracing::error;
use vigie_core::{
    contact::Contact,
    digest::Digest,
    entry::{EntryLine, Head},
    hand_in::{EntriesAnswer, RefusedLine},
    id::NodeName,
    log::Checkpoint,
    time::{Now, Wall},
};
use vigie_decide::{
    alert::{AlertKey, BuiltIn},
    fleet::{self, Delta, Event, HandInEvent, MembershipEvent, State, TroubleEvent, state::Node},
};

use super::{COMMIT_TIMEOUT, Engine, Refusal, Turn, Waiting};
use crate::store::{LineKey, Store};

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

    pub(super) fn key(&self, node: &NodeName) -> LineKey {
        match self {
            Self::Entry(line) => {
                let entry = line.entry();
                LineKey::of(node, Some(entry.seq), entry.sha256)
            }
            Self::Refused { sha256, .. } => LineKey::of(node, None, *sha256),
        }
    }
}

impl<S: Store> Engine<S> {
    /// Which of the lines at or below their node's head are stored already. `None` when the store does not answer.
    pub(super) async fn known_lines(&self, hand_ins: &[HandIn]) -> Option<HashSet<LineKey>> {
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

    pub(super) fn step_hand_in(
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
    pub(super) fn entries_answer(
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
}

fn overlaid_head(state: &State, delta: &Delta, node: &NodeName) -> Head {
    let row = match delta.nodes.get(node) {
        Some(row) => row.as_ref(),
        None => state.nodes.get(node),
    };
    row.map_or(Head::EMPTY, |row| row.head)
}
