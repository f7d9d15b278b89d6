//! What would happen to an alert at a moment, told without doing it: by the same code that does it.
//!
//! The alert is supposed in a fleet of which nothing else is known, the engine's decisions are taken for it at each instant
//! that may bring something, and what they say is read. Nobody acknowledges it, it stays as it is, and windows of maintenance
//! are said and not applied. A test compares it with what the engine does once a node reports it, ten thousand times.

use std::iter;

use crate::{
    alert::{Notice, Notified},
    destination::Destination,
    escalation::repeat_ms,
    fleet::{Decision, Delta, State, Supposed, next_deadline},
    mute::Nodes,
    routing::{CalendarStatus, Policy, RouteInput, Routing, UNKNOWN_COUNTS_AFTER_MS, WallTime},
    rules::{Subject, When},
};
use vigie_core::{
    id::{MaintenanceName, PersonName, ReceiverName},
    status::{Family, Status},
    time::{Elapsed, Now, Wall},
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
    pub calendar: Option<CalendarStatus>,
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
pub fn explain(policy: &Policy, asked: &Asked) -> Explanation {
    explained(policy, asked, AHEAD_MS)
}

/// As [`explain`], without looking ahead.
pub(crate) fn at_once(policy: &Policy, asked: &Asked) -> Explanation {
    explained(policy, asked, 0)
}

fn explained(policy: &Policy, asked: &Asked, ahead_ms: i64) -> Explanation {
    let (counts_at, end) = (asked.counts_at(policy), asked.at.plus_ms(ahead_ms));
    let muted = [asked.at, counts_at]
        .into_iter()
        .find_map(|at| asked.window_at(policy, at));
    let quiet_from = edges(policy, counts_at, end)
        .filter(|_| muted.is_none())
        .find_map(|at| Some((asked.window_at(policy, at)?.0, at)));
    let placement = asked.place(policy, counts_at);
    let mut course = Course::begins(policy, asked, ahead_ms);
    course.goes_on_until(counts_at);
    let held = course.held(&placement.hold);
    let told_at_once = course.told.len();
    course.goes_on_until(end);
    let last_told = course.told.last().map_or(asked.at, |later| later.told.at);
    course.goes_on_until(last_told.plus_ms(ahead_ms));
    let mut told_now = course.told;
    let mut later = told_now.split_off(told_at_once);
    let quiet_at = quiet_from.as_ref().map_or(Wall(i64::MAX), |(_, at)| *at);
    later.retain(|Later { told, .. }| muted.is_none() && told.at <= end && told.at < quiet_at);
    let (told_now, steps): (Vec<First>, Vec<Vec<Planned>>) = told_now
        .into_iter()
        .map(|told| (told.told, told.steps))
        .unzip();
    let mut steps = steps.concat();
    steps.sort_by_key(|planned| planned.at);
    Explanation {
        route: placement.route,
        calendar: calendar_of(policy, &placement, counts_at),
        muted,
        told_now,
        steps,
        held,
        later,
        quiet_from,
        counts_after_ms: ms_between(asked.at, counts_at),
    }
}

/// The calendar on which a placement depended.
fn calendar_of(policy: &Policy, placement: &Routing, at: Wall) -> Option<CalendarStatus> {
    let route = policy.rules.routes.get(placement.route?)?;
    let of_receiver = |receiver: &ReceiverName| {
        let receiver = policy.rules.receivers.get(receiver)?;
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
    policy.standing(calendar?, at)
}

impl Asked {
    /// Where it belongs at an instant.
    pub(crate) fn place(&self, policy: &Policy, at: Wall) -> Routing {
        let is_newly_unknown = self.status == Status::Unknown && at < self.settles_at();
        self.place_as(policy, at, is_newly_unknown)
    }

    fn place_as(&self, policy: &Policy, at: Wall, is_newly_unknown: bool) -> Routing {
        let case = RouteInput {
            subject: &self.subject,
            node: &self.node,
            family: self.family,
            status: self.status,
            is_newly_unknown,
        };
        policy.place(case, civil(at))
    }

    /// When not knowing has lasted.
    fn settles_at(&self) -> Wall {
        self.at.plus_ms(UNKNOWN_COUNTS_AFTER_MS.cast_signed())
    }

    /// From when on the alert counts for every route; at once where that makes no difference.
    fn counts_at(&self, policy: &Policy) -> Wall {
        let (at, settles_at) = (self.at, self.settles_at());
        let matters = |at| self.place_as(policy, at, true) != self.place_as(policy, at, false);
        let mut moments = iter::once(at).chain(edges(policy, at, settles_at));
        let waits = self.status == Status::Unknown && moments.any(matters);
        if waits { settles_at } else { at }
    }

    /// The window of maintenance that keeps the alert quiet, and when that one ends.
    fn window_at(&self, policy: &Policy, at: Wall) -> Option<(MaintenanceName, Option<Wall>)> {
        let is_there = |place: &Nodes| place.covers(&self.node, &self.subject.groups);
        let name = policy.window_over(self.family, false, civil(at), is_there)?;
        let ends = policy.rules.maintenance.get(name).and_then(|window| {
            let zone = policy.zones.find(window.window.time_zone())?;
            window.window.next_edge(zone, at)
        });
        Some((name.clone(), ends))
    }
}

/// The instants after `from`, up to `to`, at which something changes by the clock on the wall.
fn edges(policy: &Policy, from: Wall, to: Wall) -> impl Iterator<Item = Wall> {
    iter::successors(policy.next_edge(from), |at| policy.next_edge(*at))
        .take_while(move |at| *at <= to)
}

/// An alert on its way through the hours, in a fleet of which nothing else is known.
struct Course<'a> {
    policy: &'a Policy,
    supposed: Supposed<'a>,
    asked: &'a Asked,
    state: State,
    now: Now,
    /// How far it is looked at what steps do, from when their receiver is told.
    ahead_ms: i64,
    /// Who was told, in order, and what their steps did.
    told: Vec<Later>,
}

impl<'a> Course<'a> {
    fn begins(policy: &'a Policy, asked: &'a Asked, ahead_ms: i64) -> Self {
        let mut state = State::default();
        state.meta.next_edge = policy.next_edge(asked.at);
        let mut course = Self {
            policy,
            supposed: Supposed {
                key: Supposed::key_on(&asked.node),
                subject: &asked.subject,
                family: asked.family,
                status: asked.status,
            },
            asked,
            state,
            now: Now::default(),
            ahead_ms,
            told: Vec::new(),
        };
        course.passes(asked.at);
        course
    }

    fn goes_on_until(&mut self, end: Wall) {
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.passes(at);
        }
    }

    /// The next instant that may bring a receiver or a step: not the hundreds at which the same are told again.
    fn next(&self) -> Option<Wall> {
        let alert = self.state.alerts.get(&self.supposed.key)?;
        if alert.unknown_counts.is_none() && alert.told.values().all(is_over) {
            return self.state.meta.next_edge;
        }
        let due = next_deadline(&self.state, self.now)?;
        Some(self.asked.at.plus_ms(due.0.cast_signed()))
    }

    /// Lets an instant bring what it brings.
    fn passes(&mut self, at: Wall) {
        self.now = Now {
            wall: at,
            elapsed: Elapsed(ms_between(self.asked.at, at)),
        };
        let mut delta = Delta::default();
        let supposed = &self.supposed;
        let decisions = supposed.step(&self.state, &mut delta, self.policy, self.now);
        self.state.merge(delta);
        for decision in decisions {
            self.note(decision);
        }
        for Later { steps, .. } in &mut self.told {
            // Steps that reached nobody are begun anew at each edge. If they reach nobody again, that has been said.
            let begun = steps.iter().rposition(|planned| planned.step == 0);
            let begun = begun.filter(|begun| *begun > 0).unwrap_or(steps.len());
            let mut anew = steps.iter().skip(begun);
            if anew.all(|planned| planned.to.is_empty()) {
                steps.truncate(begun);
            }
        }
    }

    /// Notes whom a decision tells for the first time, and which step it begins.
    fn note(&mut self, decision: Decision) {
        let (receiver, step, to, unreachable, route) = match decision {
            Decision::Told {
                number: NUMBER,
                receiver,
                to,
                step,
                notice,
                route,
                ..
            } if notice != Notice::Again => (receiver, step, Some(to), None, route),
            Decision::Skipped {
                number: NUMBER,
                receiver,
                step,
                person,
            } => (receiver, step, None, person, None),
            _ => return,
        };
        let (at, step) = (self.now.wall, usize::try_from(step).unwrap_or(usize::MAX));
        let is_it = |later: &Later| later.told.receiver == receiver;
        if !self.told.iter().any(is_it) {
            let route = route.and_then(|route| usize::try_from(route).ok());
            let told = First {
                receiver: receiver.clone(),
                at,
                // Steps that reach nobody do not say it.
                route: route.or_else(|| self.asked.place(self.policy, at).route),
            };
            let steps = Vec::new();
            self.told.push(Later { told, steps });
        }
        let rules = self.policy.rules.receivers.get(&receiver);
        let is_it = |later: &&mut Later| later.told.receiver == receiver;
        let Some((rules, Later { told, steps })) = rules.zip(self.told.iter_mut().find(is_it))
        else {
            return;
        };
        if rules.steps.is_empty() || at > told.at.plus_ms(self.ahead_ms) {
            return;
        }
        match steps.last_mut() {
            Some(planned) if planned.at == at && planned.step == step => {
                planned.to.extend(to);
                planned.unreachable.extend(unreachable);
            }
            before => {
                let before = before.map_or(at, |planned| planned.at);
                steps.push(Planned {
                    receiver,
                    step,
                    at,
                    after_ms: ms_between(before, at),
                    to: to.into_iter().collect(),
                    unreachable: unreachable.into_iter().collect(),
                    repeat_ms: repeat_ms(&rules.steps, step),
                });
            }
        }
    }

    /// For whom it waits, and until when; those first for whom it is held now.
    fn held(&self, now: &[ReceiverName]) -> Vec<(ReceiverName, Wall)> {
        let rows = self.state.held.keys();
        let rows = rows.filter(|row| row.alert == self.supposed.key);
        let mut held: Vec<_> = rows
            .filter_map(|row| {
                let due = self.state.digests.get(&row.receiver)?.due?;
                Some((row.receiver.clone(), due))
            })
            .collect();
        held.sort_by_key(|(receiver, _)| {
            let place = now.iter().position(|one| one == receiver);
            place.unwrap_or(usize::MAX)
        });
        held
    }
}

/// Whether no step will begin any more: all have, and somebody was reached.
fn is_over(told: &Notified) -> bool {
    told.progress.next.is_none() && !told.to.is_empty()
}

fn ms_between(from: Wall, to: Wall) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

const fn civil(at: Wall) -> WallTime {
    WallTime {
        at,
        is_in_doubt: false,
    }
}

/// The number of the first alert of a fleet.
const NUMBER: u64 = 1;

#[cfg(test)]
pub(crate) mod tests;
