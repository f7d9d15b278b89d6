//! When the log cannot be written: nothing is answered, ended or held, but who must be woken is woken.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::Ordering::Relaxed,
};

use tracing::warn;
use vigie_core::{
    digest::Digest,
    reason::vigie,
    status::{Criticality, Family, Status},
    time::Now,
};
use vigie_decide::{
    alert::{AlertKey, Body, BuiltIn, Message, Notice, Notification, message_key},
    destination::Destination,
    escalation,
    fleet::{ClockEvent, Event},
    routing::{RouteInput, WallTime},
};

use super::{Engine, Refusal, Turn, Waiting, in_order};
use crate::store::Store;

/// How many pages that went out unlogged are remembered: twice a storm of a thousand alerts, and a few megabytes.
const TOLD_MAX: usize = 2_000;

/// Pages that went out while the log could not be written; oldest forgotten first.
#[derive(Default)]
pub(super) struct ToldUnlogged {
    pub(super) keys: HashSet<Digest>,
    pub(super) messages: VecDeque<Message>,
    /// Those that their receiver has accepted.
    pub(super) accepted: HashSet<Digest>,
}

impl ToldUnlogged {
    pub(super) fn insert(&mut self, message: &Message) -> bool {
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

impl<S: Store> Engine<S> {
    /// The log cannot be written: nothing is answered, ended or held, but who must be woken is woken.
    pub(super) fn fail_open(&mut self, turn: Turn, now: Now) {
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
