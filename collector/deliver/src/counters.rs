//! What became of tries, by destination, for metrics. Counts and decides nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use vigie_decide::destination::Destination;

use super::{attempt::Outcome, queue::Answer};

/// The destinations' counters. One that leaves the settings keeps its own until the program ends.
#[derive(Debug, Default)]
pub struct Counters(RwLock<BTreeMap<Destination, Arc<ReceiverCounters>>>);

/// Counters of one destination.
#[derive(Debug, Default)]
pub struct ReceiverCounters {
    accepted: AtomicU64,
    busy: AtomicU64,
    refused: AtomicU64,
    no_answer: AtomicU64,
    undeliverable: AtomicU64,
    lost: AtomicU64,
    recipient_refused: AtomicU64,
    waiting: AtomicU64,
    is_failing: AtomicBool,
}

impl Counters {
    /// The counters of one destination, which begin with the first sight of it.
    #[must_use]
    pub fn of(&self, to: &Destination) -> Arc<ReceiverCounters> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = known.get(to) {
            return Arc::clone(counters);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(to.clone()).or_default())
    }

    /// Destination, result and count of everything so far; see [`ReceiverCounters::results`].
    #[must_use]
    pub fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let of_one = |(name, counters): (Destination, Arc<ReceiverCounters>)| {
            counters
                .results()
                .map(|(result, count)| (name.to_string(), result, count))
        };
        self.all().into_iter().flat_map(of_one).collect()
    }

    /// Everything, in the order of destinations.
    #[must_use]
    pub fn all(&self) -> Vec<(Destination, Arc<ReceiverCounters>)> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .map(|(name, counters)| (name.clone(), Arc::clone(counters)))
            .collect()
    }
}

impl ReceiverCounters {
    /// Tries (each of one or more messages) and messages by result, for `vigie_deliveries_total{receiver,result}`: `accepted`, `busy` (HTTP 429 and 5xx,
    /// SMTP 4yz), `refused` (any other answer) and `no_answer` count tries; `undeliverable` (no such receiver any more)
    /// and `lost` (unlogged, and no room or no receiver) count messages; `recipient_refused` counts recipients of mail
    /// whom the server refused for good while others of the same receiver got it.
    #[must_use]
    pub fn results(&self) -> [(&'static str, u64); 7] {
        [
            ("accepted", self.accepted.load(Relaxed)),
            ("busy", self.busy.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
            ("no_answer", self.no_answer.load(Relaxed)),
            ("undeliverable", self.undeliverable.load(Relaxed)),
            ("lost", self.lost.load(Relaxed)),
            ("recipient_refused", self.recipient_refused.load(Relaxed)),
        ]
    }

    /// Messages held in memory for it. The outbox may hold more.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Whether it was last said not to accept messages.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Relaxed)
    }

    pub(super) fn answered(&self, outcome: Outcome) {
        self.recipient_refused
            .fetch_add(outcome.recipients_refused, Relaxed);
        let counter = match outcome.answer {
            Answer::Accepted => &self.accepted,
            Answer::Busy { .. } => &self.busy,
            Answer::Refused { .. } => &self.refused,
            Answer::None => &self.no_answer,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn undeliverable(&self) {
        self.undeliverable.fetch_add(1, Relaxed);
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    pub(super) fn stands(&self, waiting: u64, is_failing: bool) {
        self.waiting.store(waiting, Relaxed);
        self.is_failing.store(is_failing, Relaxed);
    }
}
