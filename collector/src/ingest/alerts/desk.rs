//! What is remembered of each sender between two of its requests: what of its alerts is in the log.
//!
//! In memory alone. A crash forgets it, and everything that is said next is written down once more; so does an alert that
//! is being written, until it is known that it was. Nothing here decides how an alert stands.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::{self, OwnedSemaphorePermit, Semaphore};
use vigie_core::{
    id::SenderName,
    time::{Elapsed, Wall},
};
use vigie_decide::{
    fleet::event::SenderAlert,
    sender_alert::{Span, Written},
};

/// How many requests of one sender may be under way, the one that is being taken included: each holds its body.
pub const REQUESTS_MAX: usize = 4;

/// How many alerts of one sender are remembered: twice the storm that we promise to tell in half a minute, and a few
/// megabytes.
pub const KNOWN_MAX: usize = 20_000;

/// Nobody repeats an alert that is over for as long as this, in milliseconds (Prometheus: 15 minutes).
const KEPT_AFTER_END_MS: u64 = 3_600_000;

/// Everything that is remembered, by sender.
#[derive(Debug)]
pub struct AlertsBySender {
    senders: Mutex<HashMap<SenderName, Arc<SenderAlerts>>>,
    since: Wall,
}

/// What is remembered of one sender.
#[derive(Debug)]
pub struct SenderAlerts {
    places: Arc<Semaphore>,
    /// Held while a request is being taken: what it says must not overtake what was said before.
    turn: sync::Mutex<()>,
    known: Mutex<HashMap<String, Known>>,
    counters: Counters,
}

/// Alerts of one sender by what became of them. All only grow.
#[derive(Debug, Default)]
pub struct Counters {
    written: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
}

/// One of its alerts.
#[derive(Debug, Clone)]
struct Known {
    /// As it was posted last.
    span: Span,
    /// When that was.
    heard: Elapsed,
    /// What is in the log; `None` while that is not known.
    written: Option<Written>,
}

/// What to do with an alert that was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is in the log as it is.
    Known,
    /// It is to be written down.
    News,
    /// There is no room for another one.
    Full,
}

/// When an alert was heard of last, and until when that is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freshness {
    pub(super) heard: Elapsed,
    pub(super) good_until: Elapsed,
}

impl AlertsBySender {
    /// Nobody has posted anything, from `since` on.
    #[must_use]
    pub fn new(since: Wall) -> Self {
        Self {
            senders: Mutex::default(),
            since,
        }
    }

    /// Since when things are remembered.
    #[must_use]
    pub const fn since(&self) -> Wall {
        self.since
    }

    /// What is remembered of `sender`.
    #[must_use]
    pub fn of(&self, sender: &SenderName) -> Arc<SenderAlerts> {
        let mut desks = self.lock();
        if let Some(desk) = desks.get(sender) {
            return Arc::clone(desk);
        }
        let desk = Arc::new(SenderAlerts::new());
        desks.insert(sender.clone(), Arc::clone(&desk));
        desk
    }

    /// Everybody who has posted, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<(SenderName, Arc<SenderAlerts>)> {
        let desks = self.lock();
        desks
            .iter()
            .map(|(sender, desk)| (sender.clone(), Arc::clone(desk)))
            .collect()
    }

    /// Forgets those who are no longer in the fleet.
    pub fn keep(&self, is_here: impl Fn(&SenderName) -> bool) {
        self.lock().retain(|sender, _| is_here(sender));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SenderName, Arc<SenderAlerts>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SenderAlerts {
    fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            turn: sync::Mutex::default(),
            known: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// What became of its alerts.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Lets a request in; `None` when too many are under way.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for the requests before this one.
    pub(super) async fn turn(&self) -> sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// What was posted of an alert last.
    pub(super) fn span(&self, fingerprint: &str) -> Option<Span> {
        self.lock().get(fingerprint).map(|known| known.span)
    }

    /// An alert was posted that says this. If it is news, nothing counts as written until [`SenderAlerts::written`] says so: a
    /// request that is given up half way leaves an event with the engine that may or may not come into the log.
    pub(super) fn hears(
        &self,
        fingerprint: &str,
        said: &SenderAlert,
        span: Span,
        now: Elapsed,
    ) -> Heard {
        let mut known = self.lock();
        let is_full = known.len() >= KNOWN_MAX;
        let Some(alert) = known.get_mut(fingerprint) else {
            if is_full {
                return Heard::Full;
            }
            let alert = Known {
                span,
                heard: now,
                written: None,
            };
            known.insert(fingerprint.to_owned(), alert);
            return Heard::News;
        };
        alert.span = span;
        alert.heard = now;
        let is_written = |written: &Written| written.covers(said, span, now);
        if alert.written.as_ref().is_some_and(is_written) {
            self.counters.repeated.fetch_add(1, Relaxed);
            return Heard::Known;
        }
        alert.written = None;
        Heard::News
    }

    /// What was said is in the log.
    pub(super) fn written(
        &self,
        fingerprint: String,
        said: &SenderAlert,
        span: Span,
        now: Elapsed,
    ) {
        self.counters.written.fetch_add(1, Relaxed);
        let alert = Known {
            span,
            heard: now,
            written: Some(Written::new(said, span, now)),
        };
        self.lock().insert(fingerprint, alert);
    }

    /// How fresh the news of an alert is that lasts.
    pub(super) fn freshness(&self, fingerprint: &str) -> Option<Freshness> {
        let known = self.lock();
        let alert = known.get(fingerprint)?;
        let written = alert.written.as_ref()?;
        written.is_lasting().then(|| Freshness {
            heard: alert.heard,
            good_until: written.good_until(),
        })
    }

    /// Forgets what nobody repeats any more, once half of the room is taken; and, if there would not be room for this many
    /// new ones, all that is not known to last.
    pub(super) fn make_room(&self, coming: usize, now: Elapsed) {
        let mut known = self.lock();
        if known.len() < KNOWN_MAX / 2 {
            return;
        }
        let kept_ms = if known.len() + coming <= KNOWN_MAX {
            KEPT_AFTER_END_MS
        } else {
            0
        };
        known.retain(|_, alert| {
            let is_on = |written: &Written| written.is_lasting() && written.good_until() > now;
            alert.written.as_ref().is_some_and(is_on) || now.since_ms(alert.heard) < kept_ms
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    /// Their values, by result.
    #[must_use]
    pub fn results(&self) -> [(&'static str, u64); 3] {
        [
            ("written", self.written.load(Relaxed)),
            ("repeated", self.repeated.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
        ]
    }

    pub(super) fn refused(&self, count: usize) {
        self.refused.fetch_add(count as u64, Relaxed);
    }
}
