//! What would happen to an alert at a moment, told without doing it: by the same code that does it.
//!
//! Where an alert belongs is [`Ground::place`]'s, whom a step reaches is [`reach`]'s, when it is told again is
//! [`repeat_ms`]'s: the engine acts on their answers, this strings them together over the hours to come, for an alert that
//! nobody acknowledges and that stays as it is. A test lets the engine do what is explained here, ten thousand times.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    destination::Destination,
    escalation::{reach, repeat_ms},
    fleet::LOOKED_AT_MS,
    mute::Place,
    routing::{Case, Civil, Ground, Placement, Standing, UNKNOWN_COUNTS_AFTER_MS},
    rules::{Step, Subject, When},
};
use vigie_core::{
    id::{MaintenanceName, PersonName, ReceiverName},
    status::{Family, Status},
    time::Wall,
};

/// How far is looked ahead for who is told later: until the same time of the next day every team has come and gone.
pub const AHEAD_MS: i64 = 86_400_000;

/// An alert that begins at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it concerns.
    pub subject: Subject,
    /// Its node; empty: one that no settings name.
    pub node: String,
    /// Family of the check.
    pub family: Family,
    /// How it stands. `unknown` is taken to last.
    pub status: Status,
    /// When it begins.
    pub at: Wall,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The route that takes it, by position; `None`: none does, and every receiver is told.
    pub route: Option<usize>,
    /// The calendar on which that depended: the route's own, else the one for which something is held.
    pub calendar: Option<Standing>,
    /// A window of maintenance that keeps it quiet, and when that ends. What follows is then what would be without it.
    pub muted: Option<(MaintenanceName, Option<Wall>)>,
    /// Who is told at once, or as soon as not knowing counts.
    pub told_now: Vec<First>,
    /// What the steps of these do, in order of time.
    pub steps: Vec<Planned>,
    /// For whom it is held, and until when.
    pub held: Vec<(ReceiverName, Wall)>,
    /// Who is told at the edges of the coming [`AHEAD_MS`], if it is still on then and nobody has acknowledged it.
    pub later: Vec<Later>,
    /// A window of maintenance that begins meanwhile, and when: nothing of what is said here happens from then on.
    pub quiet_from: Option<(MaintenanceName, Wall)>,
    /// How long it has to last before the route takes it: not knowing counts only after a while.
    pub counts_after_ms: u64,
}

/// Somebody who is told for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Who.
    pub receiver: ReceiverName,
    /// When.
    pub at: Wall,
    /// By which route.
    pub route: Option<usize>,
}

/// Somebody who is told at a later edge, and what their steps do from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Who and when.
    pub told: First,
    /// What follows, in order of time.
    pub steps: Vec<Planned>,
}

/// What one step of a receiver would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Whose.
    pub receiver: ReceiverName,
    /// Which, from 0.
    pub step: usize,
    /// When it begins if nobody acknowledges.
    pub at: Wall,
    /// How long after the step before it that reached somebody, in milliseconds; 0 for the first, and for one that stands
    /// in for a step that reaches nobody.
    pub after_ms: u64,
    /// Whom it reaches.
    pub to: Vec<Destination>,
    /// Who should be reached and cannot be.
    pub unreachable: Vec<PersonName>,
    /// How often they are told again, in milliseconds; `None`: once.
    pub repeat_ms: Option<u64>,
}

impl Explanation {
    /// Whether anybody is reached at once: by a receiver's own way, or by a step that does not wait.
    #[must_use]
    pub fn reaches_somebody(&self) -> bool {
        self.told_now.iter().any(|first| {
            let mut steps = self
                .steps
                .iter()
                .filter(|step| step.receiver == first.receiver)
                .peekable();
            // A receiver without steps has a way of its own.
            steps.peek().is_none() || steps.any(|step| !step.to.is_empty())
        })
    }

    /// Until when it is held: the first digest that says it.
    #[must_use]
    pub fn held_until(&self) -> Option<Wall> {
        self.held.iter().map(|(_, until)| *until).min()
    }
}

/// Explains what would happen.
#[must_use]
pub fn explain(ground: &Ground, asked: &Asked) -> Explanation {
    explained(ground, asked, AHEAD_MS)
}

/// As [`explain`], without looking ahead: for whoever asks of many instants.
pub(crate) fn at_once(ground: &Ground, asked: &Asked) -> Explanation {
    explained(ground, asked, 0)
}

fn explained(ground: &Ground, asked: &Asked, ahead_ms: i64) -> Explanation {
    let mut course = Course {
        ground,
        asked,
        ahead_ms,
        known: BTreeSet::new(),
        held: BTreeMap::new(),
    };
    let counts_at = course.counts_at();
    let muted = [asked.at, counts_at]
        .into_iter()
        .find_map(|at| course.window_at(at));
    let (mut told_now, mut placement) = course.passes(asked.at);
    for at in course.moments(asked.at, counts_at) {
        let (told, placed) = course.passes(at);
        told_now.extend(told);
        placement = placed;
    }
    let held: Vec<_> = placement
        .hold
        .iter()
        .chain(course.held.keys())
        .filter_map(|receiver| Some((receiver.clone(), *course.held.get(receiver)?)))
        .collect();
    let held = without_repetition(held);
    let mut steps: Vec<Planned> = told_now
        .iter()
        .flat_map(|first| course.steps_of(&first.receiver, first.at))
        .collect();
    steps.sort_by_key(|planned| planned.at);
    let calendar = calendar_of(ground, &placement, counts_at);
    let (mut later, mut quiet_from) = (Vec::new(), None);
    if muted.is_none() {
        for at in course.moments(counts_at, asked.at.plus_ms(ahead_ms)) {
            if let Some((window, _)) = course.window_at(at) {
                quiet_from = Some((window, at));
                break;
            }
            let (told, _) = course.passes(at);
            later.extend(told.into_iter().map(|told| Later {
                steps: course.steps_of(&told.receiver, told.at),
                told,
            }));
        }
    }
    Explanation {
        route: placement.route,
        calendar,
        muted,
        told_now,
        steps,
        held,
        later,
        quiet_from,
        counts_after_ms: u64::try_from(counts_at.0.saturating_sub(asked.at.0)).unwrap_or(0),
    }
}

/// The calendar on which a placement depended.
fn calendar_of(ground: &Ground, placement: &Placement, at: Wall) -> Option<Standing> {
    let route = ground.rules.routes.get(placement.route?)?;
    let of_receiver = |receiver: &ReceiverName| {
        let receiver = ground.rules.receivers.get(receiver)?;
        receiver.calendar.as_ref()
    };
    let calendar = match &route.when {
        Some(When::Inside(calendar) | When::Outside(calendar)) => Some(calendar),
        // Whoever it is held for, or would have been at another hour.
        None => placement.hold.first().and_then(of_receiver).or_else(|| {
            let would_hold = route.notify.first().filter(|_| route.hold);
            would_hold.and_then(of_receiver)
        }),
    };
    ground.standing(calendar?, at)
}

fn without_repetition<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(list.len());
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// An alert on its way through the hours.
struct Course<'a> {
    ground: &'a Ground,
    asked: &'a Asked,
    /// How far is looked ahead.
    ahead_ms: i64,
    /// Who has been told, at once or by a digest.
    known: BTreeSet<ReceiverName>,
    /// For whom it waits, and until when.
    held: BTreeMap<ReceiverName, Wall>,
}

impl Course<'_> {
    fn place(&self, at: Wall) -> Placement {
        let is_new = self.asked.status == Status::Unknown && at < self.settles_at();
        self.place_as(at, is_new)
    }

    fn place_as(&self, at: Wall, is_newly_unknown: bool) -> Placement {
        let case = Case {
            subject: &self.asked.subject,
            node: &self.asked.node,
            family: self.asked.family,
            status: self.asked.status,
            is_newly_unknown,
        };
        self.ground.place(case, civil(at))
    }

    /// When not knowing has lasted.
    fn settles_at(&self) -> Wall {
        self.asked.at.plus_ms(UNKNOWN_COUNTS_AFTER_MS.cast_signed())
    }

    /// From when on the alert counts for every route; at once where that makes no difference.
    fn counts_at(&self) -> Wall {
        let (at, settles_at) = (self.asked.at, self.settles_at());
        let matters = |at: &Wall| self.place_as(*at, true) != self.place_as(*at, false);
        let waits = self.asked.status == Status::Unknown
            && (matters(&at) || self.moments(at, settles_at).iter().any(matters));
        if waits { settles_at } else { at }
    }

    /// The instants after `from`, up to `to`, at which something may change: edges, and `to` itself.
    fn moments(&self, from: Wall, to: Wall) -> Vec<Wall> {
        let mut moments = Vec::new();
        let mut at = from;
        while at < to {
            at = self.ground.next_edge(at).unwrap_or(to).min(to);
            moments.push(at);
        }
        moments
    }

    /// The window of maintenance that keeps the alert quiet, and when that one ends.
    fn window_at(&self, at: Wall) -> Option<(MaintenanceName, Option<Wall>)> {
        let is_there = |place: &Place| place.covers(&self.asked.node, &self.asked.subject.groups);
        let name = self
            .ground
            .window_over(self.asked.family, false, civil(at), is_there)?;
        let ends = self.ground.rules.maintenance.get(name).and_then(|window| {
            let zone = self.ground.zones.find(window.window.time_zone())?;
            window.window.next_edge(zone, at)
        });
        Some((name.clone(), ends))
    }

    /// What an instant brings: who is told for the first time, and where the alert belongs.
    fn passes(&mut self, at: Wall) -> (Vec<First>, Placement) {
        // Digests first: what they say is told.
        let due: Vec<ReceiverName> = self
            .held
            .iter()
            .filter(|(_, until)| **until <= at)
            .map(|(receiver, _)| receiver.clone())
            .collect();
        for receiver in due {
            self.held.remove(&receiver);
            self.known.insert(receiver);
        }
        let placement = self.place(at);
        let in_digest = placement
            .route
            .and_then(|route| self.ground.rules.routes.get(route))
            .map(|route| route.digest.as_slice())
            .unwrap_or_default();
        for receiver in &placement.hold {
            if !self.held.contains_key(receiver)
                && (!self.known.contains(receiver) || in_digest.contains(receiver))
            {
                // What would wait for no morning does not wait.
                if let Some(until) = self.ground.next_opening(receiver, at) {
                    self.held.insert(receiver.clone(), until);
                }
            }
        }
        let mut told = Vec::new();
        for receiver in &placement.tell {
            if self.known.insert(receiver.clone()) {
                told.push(First {
                    receiver: receiver.clone(),
                    at,
                    route: placement.route,
                });
            }
        }
        (told, placement)
    }

    /// Whether steps go on at `at`: a warning wakes only where a route says so.
    fn wakes(&self, receiver: &ReceiverName, at: Wall) -> bool {
        matches!(self.asked.status, Status::Critical | Status::Unknown)
            || self.place(at).tell.contains(receiver)
    }

    /// What a receiver's steps would do from `at` on.
    fn steps_of(&self, receiver: &ReceiverName, at: Wall) -> Vec<Planned> {
        let rules = self.ground.rules.receivers.get(receiver);
        let mut walk = Walk {
            course: self,
            receiver,
            steps: rules
                .map(|rules| rules.steps.as_slice())
                .unwrap_or_default(),
            begun: Vec::new(),
            next: None,
            is_anybody_told: false,
            planned: Vec::new(),
        };
        walk.begin_next(at);
        walk.goes_on(at, at.plus_ms(self.ahead_ms));
        walk.planned
    }
}

/// The steps of one receiver, one after the other.
struct Walk<'a> {
    course: &'a Course<'a>,
    receiver: &'a ReceiverName,
    steps: &'a [Step],
    /// When each that has begun is told again, and how often it has been told.
    begun: Vec<(Option<Wall>, u32)>,
    /// When the next one begins.
    next: Option<Wall>,
    is_anybody_told: bool,
    planned: Vec<Planned>,
}

impl Walk<'_> {
    /// Begins steps until one reaches somebody.
    fn begin_next(&mut self, at: Wall) {
        loop {
            let index = self.begun.len();
            let Some(step) = self.steps.get(index) else {
                self.next = None;
                return;
            };
            let (to, unreachable) = reach(self.course.ground, step, 0, at);
            let before = self.planned.last().map_or(at, |planned| planned.at);
            let repeat_ms = repeat_ms(self.steps, index);
            let is_reached = !to.is_empty();
            self.planned.push(Planned {
                receiver: self.receiver.clone(),
                step: index,
                at,
                after_ms: u64::try_from(at.0.saturating_sub(before.0)).unwrap_or(0),
                to,
                unreachable,
                repeat_ms,
            });
            self.begun.push((repeat_ms.map(|ms| later(at, ms)), 1));
            let next = self.steps.get(index + 1);
            self.next = next.map(|step| later(at, step.after_ms));
            if is_reached {
                self.is_anybody_told = true;
                return;
            }
        }
    }

    /// Lets time pass until every step has begun and somebody is told.
    fn goes_on(&mut self, from: Wall, to: Wall) {
        let is_over = |walk: &Self| walk.next.is_none() && walk.is_anybody_told;
        let mut edge = None;
        let mut at = from;
        while !is_over(self) {
            // Who has been told is not told anew at an edge.
            if !self.is_anybody_told && edge.is_none_or(|edge| edge <= at) {
                edge = self.routed_anew_after(at);
            }
            let again = self.begun.iter().filter_map(|(again, _)| *again);
            let anew = edge.filter(|edge| *edge > at);
            let Some(due) = again.chain(self.next).chain(anew).min() else {
                return;
            };
            if due > to {
                return;
            }
            at = due;
            if anew == Some(at) {
                self.is_routed_anew(at);
            }
            self.is_due(at);
        }
    }

    /// The next instant at which the alert is routed anew.
    fn routed_anew_after(&self, at: Wall) -> Option<Wall> {
        let asked = self.course.asked;
        let settles_at = Some(self.course.settles_at());
        let settles_at = settles_at.filter(|_| asked.status == Status::Unknown);
        let settles_at = settles_at.filter(|settles_at| *settles_at > at);
        let edge = self.course.ground.next_edge(at);
        edge.into_iter().chain(settles_at).min()
    }

    /// Steps that reached nobody are begun anew: perhaps they do now.
    fn is_routed_anew(&mut self, at: Wall) {
        if self.is_anybody_told || !self.course.place(at).tell.contains(self.receiver) {
            return;
        }
        self.begun.clear();
        let kept = self.planned.len();
        self.begin_next(at);
        if !self.is_anybody_told {
            // The same has been said.
            self.planned.truncate(kept);
        }
    }

    /// What is due is told again, and the next step begins; it does not wait for one that reaches nobody any more.
    fn is_due(&mut self, at: Wall) {
        let is_past = |due: Option<Wall>| due.is_some_and(|due| due <= at);
        let due: Vec<usize> = (0..)
            .zip(&self.begun)
            .filter(|(_, (again, _))| is_past(*again))
            .map(|(index, _)| index)
            .collect();
        let is_next_due = is_past(self.next);
        let wakes = self.course.wakes(self.receiver, at);
        for index in due {
            let is_last = self.next.is_none() && index + 1 == self.begun.len();
            let again = repeat_ms(self.steps, index).map(|ms| later(at, ms));
            let mut round = 0;
            if let Some(begun) = self.begun.get_mut(index) {
                round = begun.1;
                *begun = (again, begun.1 + u32::from(wakes));
            }
            let reaches = |index: usize| {
                let step = self.steps.get(index);
                step.is_some_and(|step| !reach(self.course.ground, step, round, at).0.is_empty())
            };
            if !wakes {
                continue;
            }
            if reaches(index) || (is_last && (0..index).rev().any(reaches)) {
                self.is_anybody_told = true;
            } else if self.next.is_some() {
                self.begin_next(at);
            }
        }
        if is_next_due && wakes {
            self.begin_next(at);
        } else if is_next_due {
            let next = self.steps.get(self.begun.len());
            self.next = next.map(|step| later(at, step.after_ms.max(LOOKED_AT_MS)));
        }
    }
}

const fn later(at: Wall, ms: u64) -> Wall {
    Wall(at.0.saturating_add_unsigned(ms))
}

const fn civil(at: Wall) -> Civil {
    Civil {
        at,
        is_in_doubt: false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
