//! What the runner knows of one check: how each of its objects has settled, and what has not been said of it yet.
//!
//! Pure: `now` comes in as a value, lines go out as [`Draft`]s. A status is *said* once the ledger has taken its line;
//! until then it is offered again, so a ledger that takes nothing for a while costs intermediate statuses and never the
//! last one.
//!
//! The check itself is an object too (key `None`): troubles of running it (late, timeout, fault) settle there, and so
//! does what a kind reports without naming an object. A run that does not mention it says that it is fine. Any other
//! object that was there and is absent is observed as `object.gone`, unless the run said that it could not measure.

use std::collections::BTreeMap;

use vigie_core::{
    entry::{Draft, Kind},
    id::{CheckName, ServiceName},
    observation::{Facts, Object, Observation},
    reason::{Reason, vigie},
    settle::{Damping, Settling},
    status::Status,
    time::{Now, Wall},
};

/// The most objects one check may report: more than any machine has mounts or units, and few enough for one request. What is
/// beyond is not judged, and that is said.
pub const OBJECTS_MAX: usize = 1_000;

/// A check is late when it gave no result for this many times its interval.
pub const LATE_AFTER_INTERVALS: u64 = 3;

/// How lateness settles: at once, because there are no runs to count.
const AT_ONCE: Damping = Damping {
    failures: 1,
    recoveries: 1,
};

/// The settled objects of one check.
#[derive(Debug)]
pub struct CheckState {
    check: CheckName,
    service: Option<ServiceName>,
    patience: Damping,
    every_ms: u64,
    objects: BTreeMap<Option<Object>, ObjectState>,
    last_result: Now,
    has_result: bool,
    is_late: bool,
    has_unsaid: bool,
}

/// One object.
#[derive(Debug, Clone)]
pub struct ObjectState {
    settling: Settling,
    /// Why the settled status is what it is.
    settled_for: Cause,
    /// The loudest observation that speaks against the settled status and has not changed it yet.
    against: Option<Cause>,
    /// When the settled status came into force.
    since: Wall,
    is_unsaid: bool,
}

/// An observation without its object and measurements.
#[derive(Debug, Clone)]
struct Cause {
    status: Status,
    reason: Reason,
    facts: Facts,
}

/// What a status page shows of one object.
#[derive(Debug, Clone)]
pub struct ObjectView<'a> {
    /// The object; `None` is the check itself.
    pub object: Option<&'a Object>,
    /// Its settled status, if it has one.
    pub status: Option<Status>,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Wall,
}

impl CheckState {
    /// A check that has not run yet; it counts as late from `now` on.
    #[must_use]
    pub const fn new(
        check: CheckName,
        service: Option<ServiceName>,
        patience: Damping,
        every_ms: u64,
        now: Now,
    ) -> Self {
        Self {
            check,
            service,
            patience,
            every_ms,
            objects: BTreeMap::new(),
            last_result: now,
            has_result: false,
            is_late: false,
            has_unsaid: false,
        }
    }

    /// Takes in what a run found.
    pub fn result(&mut self, observations: Vec<Observation>, now: Now) {
        self.has_come(now);
        self.forget_gone(&observations);
        let found = self.by_object(observations);
        let whole = found.get(&None);
        let is_empty = found.is_empty();
        let could_measure = !is_empty && whole.is_none_or(|cause| cause.status != Status::Unknown);

        let absent: Vec<Option<Object>> = self
            .objects
            .keys()
            .filter(|object| !found.contains_key(*object))
            .cloned()
            .collect();
        for object in absent {
            match object {
                None if is_empty => {}
                None => self.is_fine(now),
                Some(object) if could_measure => {
                    let cause = Cause::new(Status::Unknown, vigie::OBJECT_GONE);
                    self.observe(Some(object), cause, self.patience, now);
                }
                Some(_) => {}
            }
        }
        if is_empty {
            // A check that found nothing at all has measured nothing.
            let cause = Cause::new(Status::Unknown, vigie::CHECK_FAULT);
            self.observe(None, cause, self.patience, now);
        }
        for (object, cause) in found {
            self.observe(object, cause, self.patience, now);
        }
    }

    /// Takes in that a run ended without a result, for a reason of running it.
    pub fn trouble(&mut self, trouble: Observation, now: Now) {
        self.has_come(now);
        self.observe(None, Cause::of(trouble).1, self.patience, now);
    }

    /// Judges lateness; true if the check is late just now.
    pub fn judge_lateness(&mut self, now: Now) -> bool {
        let since_ms = now.elapsed.since_ms(self.last_result.elapsed);
        if self.is_late || since_ms <= self.every_ms.saturating_mul(LATE_AFTER_INTERVALS) {
            return false;
        }
        self.is_late = true;
        let mut late =
            Observation::new(Status::Unknown, vigie::CHECK_LATE).fact("every_ms", self.every_ms);
        if self.has_result {
            late = late.fact(
                "last_run",
                vigie_core::observation::Fact::Time(self.last_result.wall),
            );
        }
        self.observe(None, Cause::of(late).1, AT_ONCE, now);
        true
    }

    /// The process stood still: the time that passed is not the check's fault.
    pub fn resume(&mut self, now: Now) {
        self.last_result.elapsed = now.elapsed;
    }

    /// Every settled status is to be said once more: the collector may not have it.
    pub fn restate(&mut self) {
        for object in self.objects.values_mut() {
            if object.settling.settled().is_some() {
                object.is_unsaid = true;
                self.has_unsaid = true;
            }
        }
    }

    /// Offers every unsaid status to `take`, which says whether the ledger took it. Stops at the first refusal.
    /// True if anything was said.
    pub fn say(&mut self, mut take: impl FnMut(Draft) -> bool) -> bool {
        if !self.has_unsaid {
            return false;
        }
        let mut is_said = false;
        for (object, state) in &mut self.objects {
            if !state.is_unsaid {
                continue;
            }
            let Some(status) = state.settling.settled() else {
                continue;
            };
            let is_taken = take(Draft {
                kind: Kind::CheckStatus,
                check: Some(self.check.clone()),
                object: object.clone(),
                service: self.service.clone(),
                status: Some(status),
                reason: state.settled_for.reason,
                facts: state.settled_for.facts.clone(),
            });
            if !is_taken {
                return is_said;
            }
            state.is_unsaid = false;
            is_said = true;
        }
        self.has_unsaid = false;
        is_said
    }

    /// The loudest settled status of all objects; `None` before the first has settled.
    #[must_use]
    pub fn worst(&self) -> Option<Status> {
        self.objects
            .values()
            .filter_map(|object| object.settling.settled())
            .max_by_key(|status| status.rank())
    }

    /// When the last result came, if one did.
    #[must_use]
    pub fn last_result(&self) -> Option<Now> {
        self.has_result.then_some(self.last_result)
    }

    /// Every object, for a status page.
    pub fn objects(&self) -> impl Iterator<Item = ObjectView<'_>> {
        self.objects.iter().map(|(object, state)| ObjectView {
            object: object.as_ref(),
            status: state.settling.settled(),
            reason: state.settled_for.reason,
            since: state.since,
        })
    }

    const fn has_come(&mut self, now: Now) {
        self.last_result = now;
        self.has_result = true;
        self.is_late = false;
    }

    /// One cause per object, the loudest where a run named an object twice; at most [`OBJECTS_MAX`] named objects.
    fn by_object(&self, observations: Vec<Observation>) -> BTreeMap<Option<Object>, Cause> {
        let mut found: BTreeMap<Option<Object>, Cause> = BTreeMap::new();
        let count = observations.len();
        let mut new_left = OBJECTS_MAX.saturating_sub(self.objects.len());
        let mut is_too_many = false;
        for observation in observations {
            let (object, cause) = Cause::of(observation);
            let is_new = object.is_some()
                && !found.contains_key(&object)
                && !self.objects.contains_key(&object);
            if is_new && new_left == 0 {
                is_too_many = true;
                continue;
            }
            new_left -= usize::from(is_new);
            insert_louder(&mut found, object, cause);
        }
        if is_too_many {
            let trouble = Observation::new(Status::Unknown, vigie::OBJECTS_TOO_MANY)
                .fact("count", count as u64)
                .fact("max", OBJECTS_MAX as u64);
            insert_louder(&mut found, None, Cause::of(trouble).1);
        }
        found
    }

    /// Makes room for new objects: names that come and go (a pool of addresses) must not crowd out those there are now.
    /// The oldest that are gone, and said so, are forgotten first; their alerts are the collector's to keep.
    fn forget_gone(&mut self, observations: &[Observation]) {
        let is_here =
            |object: &Option<Object>| observations.iter().any(|seen| seen.object == *object);
        let new = observations
            .iter()
            .filter(|seen| seen.object.is_some() && !self.objects.contains_key(&seen.object))
            .count();
        let excess = (self.objects.len() + new).saturating_sub(OBJECTS_MAX);
        if excess == 0 {
            return;
        }
        let mut gone: Vec<(Wall, Option<Object>)> = self
            .objects
            .iter()
            .filter(|(object, state)| {
                state.settled_for.reason == vigie::OBJECT_GONE
                    && !state.is_unsaid
                    && !is_here(object)
            })
            .map(|(object, state)| (state.since, object.clone()))
            .collect();
        gone.sort_by_key(|(since, _)| *since);
        for (_, object) in gone.into_iter().take(excess) {
            self.objects.remove(&object);
        }
    }

    /// The run did not mention the check itself: whatever was wrong with it is over.
    fn is_fine(&mut self, now: Now) {
        if self.objects.contains_key(&None) {
            let cause = Cause::new(Status::Ok, vigie::CHECK_RAN);
            self.observe(None, cause, self.patience, now);
        }
    }

    fn observe(&mut self, object: Option<Object>, cause: Cause, patience: Damping, now: Now) {
        let state = self.objects.entry(object).or_insert_with(|| ObjectState {
            settling: Settling::default(),
            settled_for: cause.clone(),
            against: None,
            since: now.wall,
            is_unsaid: false,
        });
        if state.observe(cause, patience, now.wall) {
            self.has_unsaid = true;
        }
    }
}

impl ObjectState {
    /// True when the status settled anew.
    fn observe(&mut self, cause: Cause, patience: Damping, now: Wall) -> bool {
        let before = self.settling.settled();
        let Some(settled) = self.settling.observe(cause.status, patience) else {
            if before == Some(cause.status) {
                self.settled_for = cause;
                self.against = None;
            } else {
                self.speak_against(cause, before);
            }
            return false;
        };
        // Getting better settles at the worst of the better runs, which need not be this one.
        let earlier = self
            .against
            .take()
            .filter(|earlier| cause.status != settled && earlier.status == settled);
        self.settled_for = earlier.unwrap_or(Cause {
            status: settled,
            ..cause
        });
        self.since = now;
        self.is_unsaid = true;
        true
    }

    fn speak_against(&mut self, cause: Cause, settled: Option<Status>) {
        let is_worse = |status: Status| status.rank() > settled.map_or(0, Status::rank);
        let is_quieter_than_earlier = self.against.as_ref().is_some_and(|earlier| {
            is_worse(earlier.status) == is_worse(cause.status)
                && earlier.status.rank() > cause.status.rank()
        });
        if !is_quieter_than_earlier {
            self.against = Some(cause);
        }
    }
}

impl Cause {
    const fn new(status: Status, reason: Reason) -> Self {
        Self {
            status,
            reason,
            facts: Facts::new(),
        }
    }

    fn of(observation: Observation) -> (Option<Object>, Self) {
        let cause = Self {
            status: observation.status,
            reason: observation.reason,
            facts: observation.facts,
        };
        (observation.object, cause)
    }
}

fn insert_louder(
    found: &mut BTreeMap<Option<Object>, Cause>,
    object: Option<Object>,
    cause: Cause,
) {
    let is_quieter = found
        .get(&object)
        .is_some_and(|earlier| earlier.status.rank() > cause.status.rank());
    if !is_quieter {
        found.insert(object, cause);
    }
}

#[cfg(test)]
mod tests;
