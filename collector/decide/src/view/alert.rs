//! One open alert: what, since when, who was told by which step, what comes next and when, and what keeps it quiet.
//!
//! When somebody was told is known here of messages that wait; of those that were accepted the log knows ([`super::story`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Basis, mute::on_the_wall};
use crate::{
    alert::{self as open, Actor, AlertKey, Message, Notice, Source},
    destination::Destination,
    escalation::reach,
    fleet,
    mute::{MutedBy, SilenceMatch},
    routing::Policy,
    rules::Subject,
};
use vigie_core::{
    id::{GroupName, MaintenanceName, PersonName, ReceiverName, RotaName, ServiceName, SiteName},
    status::{Criticality, Environment, Family, Need, Status},
    time::{Deadline, Wall},
};

/// An open alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its number.
    pub number: u64,
    /// Which: `node`, `check` and `object` in JSON.
    #[serde(flatten)]
    pub key: AlertKey,
    /// How it stands.
    pub status: Status,
    /// The highest criticality of the services concerned.
    pub criticality: Criticality,
    /// Services concerned.
    pub services: BTreeSet<ServiceName>,
    /// Where its node serves.
    pub environment: Environment,
    /// Sites of its node's groups.
    pub sites: BTreeSet<SiteName>,
    /// Its node's groups.
    pub groups: BTreeSet<GroupName>,
    /// The need in question.
    pub serves: Need,
    /// The highest level of that need, 1 to 4.
    pub need: u8,
    /// Family of the check.
    pub family: Family,
    /// Why; a code.
    pub reason: String,
    /// Details.
    pub facts: Map<String, Value>,
    /// What tells this opening from others of the same key.
    pub opening: u64,
    /// Since when.
    pub since: Wall,
    /// Receivers that were told.
    pub told: Vec<ReceiverName>,
    /// Where messages about it went, or possibly went, for whatever receiver.
    pub to: BTreeMap<Destination, Span>,
    /// How far each receiver is.
    pub notified: Vec<Notified>,
    /// What comes if it stays as it is, soonest first.
    pub next: Vec<Next>,
    /// Somebody is on it.
    pub acknowledged: Option<Acknowledged>,
    /// What mutes it.
    pub muted: Option<MutedBy>,
    /// The number of the alert that explains it.
    pub folded_into: Option<u64>,
    /// Receivers for whose digest it waits.
    pub held_for: Vec<ReceiverName>,
    /// Nothing is really wrong.
    pub exercise: bool,
    /// Only an operator's word ends it.
    pub until_confirmed: bool,
}

/// Messages to one destination, by their order in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Somebody is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: Actor,
    /// Since when.
    pub at: Wall,
    /// Until when; `None`: until it ends.
    pub until: Option<Wall>,
}

/// What one receiver was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notified {
    /// Who.
    pub receiver: ReceiverName,
    /// The loudest that was said.
    pub status: Status,
    /// Where messages went, or possibly went.
    pub to: Vec<Destination>,
    /// Steps that have begun, in order; none for a receiver without steps.
    pub steps: Vec<StepTold>,
    /// Messages that were not accepted yet, in order.
    pub waiting: Vec<WaitingMessage>,
}

/// A step that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTold {
    /// Which, from 0.
    pub step: usize,
    /// How often its people were told.
    pub rounds: u32,
    /// When they are told again; `None`: not as things are.
    pub again: Option<Wall>,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingMessage {
    /// Where to.
    pub to: Destination,
    /// Of which step, from 0.
    pub step: u32,
    /// What it says.
    pub notice: Notice,
    /// When it was decided.
    pub at: Wall,
}

/// Something that comes if the alert stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// When.
    pub at: Wall,
    /// What.
    #[serde(flatten)]
    pub what: Coming,
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Coming {
    /// The next step of a receiver begins.
    Step {
        /// Whose.
        receiver: ReceiverName,
        /// Which, from 0.
        step: usize,
        /// Whom it reaches by the rules of today.
        to: Vec<Destination>,
        /// Who should be reached and cannot be.
        unreachable: Vec<PersonName>,
    },
    /// A step that has begun is told again.
    Again {
        /// Whose.
        receiver: ReceiverName,
        /// Which, from 0.
        step: usize,
    },
    /// The digest goes out for which it waits.
    Digest {
        /// Whose.
        receiver: ReceiverName,
    },
    /// What mutes it is over.
    Unmuted,
    /// The acknowledgement counts no more.
    AcknowledgementEnds,
    /// Not knowing counts.
    UnknownCounts,
    /// It has been quieter for so long that getting louder is told anew.
    Eases,
    /// It is not known any more how it stands: its sender has not repeated it.
    Stale,
}

/// What keeps an alert quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet<'a> {
    /// Somebody is on it.
    Acknowledged(&'a Acknowledged),
    /// A silence or maintenance that a command began, by its number.
    MutedBy(u64),
    /// A window of the settings.
    InWindow(&'a MaintenanceName),
    /// Another alert explains it, by its number.
    PartOf(u64),
    /// It waits for these receivers' digests.
    HeldFor(&'a [ReceiverName]),
}

impl Alert {
    /// Everything that keeps it quiet, in the order in which it is shown.
    pub fn quiet(&self) -> impl Iterator<Item = Quiet<'_>> {
        let muted = self.muted.as_ref().map(|by| match by {
            MutedBy::Mute(number) => Quiet::MutedBy(*number),
            MutedBy::Window(window) => Quiet::InWindow(window),
        });
        let held = Some(self.held_for.as_slice()).filter(|held| !held.is_empty());
        let acknowledged = self.acknowledged.as_ref().map(Quiet::Acknowledged);
        acknowledged
            .into_iter()
            .chain(muted)
            .chain(self.folded_into.map(Quiet::PartOf))
            .chain(held.map(Quiet::HeldFor))
    }

    /// Whether a silence would be for it.
    #[must_use]
    pub fn is_covered_by(&self, matches: &SilenceMatch) -> bool {
        let subject = Subject {
            services: self.services.clone(),
            criticality: self.criticality,
            serves: self.serves,
            need: self.need,
            environment: self.environment,
            sites: self.sites.clone(),
            groups: self.groups.clone(),
            undeclared: BTreeSet::new(),
        };
        matches.covers(&self.key, self.number, &subject, self.family, self.status)
    }
}

/// The open alerts, loudest first, then by number.
#[must_use]
pub fn open(basis: &Basis<'_>) -> Vec<Alert> {
    let mut builder = Builder::new(basis);
    let rows = basis.state.alerts.iter();
    in_order(rows.map(|(key, alert)| builder.row(key, alert)).collect())
}

/// As [`open`], of one source: keys are in order of sources.
#[must_use]
pub fn open_of(basis: &Basis<'_>, source: &Source) -> Vec<Alert> {
    let mut builder = Builder::new(basis);
    let first = AlertKey::first_of(source.clone());
    let rows = basis
        .state
        .alerts
        .range(first..)
        .take_while(|(key, _)| key.source().is_beside(source));
    in_order(rows.map(|(key, alert)| builder.row(key, alert)).collect())
}

fn in_order(mut alerts: Vec<Alert>) -> Vec<Alert> {
    alerts.sort_by_key(|alert| (std::cmp::Reverse(alert.status.rank()), alert.number));
    alerts
}

/// What many alerts have in common, looked up once.
struct Builder<'a> {
    basis: Basis<'a>,
    held_for: BTreeMap<&'a AlertKey, Vec<&'a ReceiverName>>,
    waiting: BTreeMap<(u64, &'a ReceiverName), Vec<&'a Message>>,
    window_ends: BTreeMap<&'a MaintenanceName, Option<Wall>>,
    reaches: Reaches<'a>,
}

impl<'a> Builder<'a> {
    fn new(basis: &Basis<'a>) -> Self {
        let (state, policy) = (basis.state, basis.policy);
        let mut held_for: BTreeMap<&AlertKey, Vec<&ReceiverName>> = BTreeMap::new();
        for (key, held) in &state.held {
            if held.ended.is_none() {
                held_for.entry(&key.alert).or_default().push(&key.receiver);
            }
        }
        let mut waiting: BTreeMap<(u64, &ReceiverName), Vec<&Message>> = BTreeMap::new();
        for message in state.outbox.values() {
            if let Some(telling) = message.telling() {
                let of = (telling.number, &message.receiver);
                waiting.entry(of).or_default().push(message);
            }
        }
        for messages in waiting.values_mut() {
            messages.sort_by_key(|message| message.order);
        }
        let windows = policy.rules.maintenance.iter();
        let window_ends = windows.map(|(name, maintenance)| {
            let zone = policy.zones.find(maintenance.window.time_zone());
            let end = zone.and_then(|zone| maintenance.window.next_edge(zone, basis.at));
            (name, end)
        });
        Self {
            basis: *basis,
            held_for,
            waiting,
            window_ends: window_ends.collect(),
            reaches: Reaches {
                policy,
                at: basis.at,
                changes: BTreeMap::new(),
                known: BTreeMap::new(),
            },
        }
    }

    fn row(&mut self, key: &'a AlertKey, alert: &'a open::Alert) -> Alert {
        let node = key.node_name();
        let plan = node.and_then(|node| self.basis.state.plans.get(node));
        let subject = fleet::subject(&self.basis.policy.rules, plan, key, alert);
        let next = self.next(key, alert);
        let held_for = self.held_for.get(key).map(Vec::as_slice);
        Alert {
            number: alert.number,
            key: key.clone(),
            status: alert.status,
            criticality: subject.criticality,
            services: subject.services,
            environment: subject.environment,
            sites: subject.sites,
            groups: subject.groups,
            serves: subject.serves,
            need: subject.need,
            family: alert.family,
            reason: alert.reason.clone(),
            facts: alert.facts.clone(),
            opening: alert.opening,
            since: alert.since,
            told: alert.told.keys().cloned().collect(),
            to: spans(alert),
            notified: self.notified(alert),
            next,
            acknowledged: alert
                .acknowledged
                .as_ref()
                .map(|acknowledged| Acknowledged {
                    by: acknowledged.by.clone(),
                    at: acknowledged.at,
                    until: acknowledged.until.map(on_the_wall),
                }),
            muted: alert.muted.clone(),
            folded_into: alert.folded_into,
            held_for: held_for
                .unwrap_or_default()
                .iter()
                .map(|receiver| (*receiver).clone())
                .collect(),
            exercise: key.is_exercise(),
            until_confirmed: alert.until_confirmed,
        }
    }

    fn notified(&self, alert: &'a open::Alert) -> Vec<Notified> {
        let told = alert.told.iter();
        told.map(|(receiver, told)| {
            let begun = told.progress.begun.iter().enumerate();
            let waiting = self.waiting.get(&(alert.number, receiver));
            let waiting = waiting.into_iter().flatten().filter_map(|message| {
                let telling = message.telling()?;
                Some(WaitingMessage {
                    to: message.to.clone(),
                    step: telling.step,
                    notice: telling.notice,
                    at: message.at,
                })
            });
            Notified {
                receiver: receiver.clone(),
                status: told.status,
                to: told.to.keys().cloned().collect(),
                steps: begun
                    .map(|(step, begun)| StepTold {
                        step,
                        rounds: begun.rounds,
                        again: begun.again.map(on_the_wall),
                    })
                    .collect(),
                waiting: waiting.collect(),
            }
        })
        .collect()
    }

    fn next(&mut self, key: &'a AlertKey, alert: &'a open::Alert) -> Vec<Next> {
        let state = self.basis.state;
        let mut next = Vec::new();
        let mut add = |at: Option<Wall>, what: Coming| {
            next.extend(at.map(|at| Next { at, what }));
        };
        let wall = |deadline: Option<Deadline>| deadline.map(on_the_wall);
        for (receiver, told) in &alert.told {
            let progress = &told.progress;
            if let Some(at) = wall(progress.next) {
                let step = progress.begun.len();
                let (to, unreachable) = self.reaches.of(receiver, step, at);
                let receiver = receiver.clone();
                add(
                    Some(at),
                    Coming::Step {
                        receiver,
                        step,
                        to,
                        unreachable,
                    },
                );
            }
            for (step, begun) in progress.begun.iter().enumerate() {
                let receiver = receiver.clone();
                add(wall(begun.again), Coming::Again { receiver, step });
            }
        }
        for receiver in self.held_for.get(key).into_iter().flatten() {
            let due = state.digests.get(*receiver).and_then(|digest| digest.due);
            let receiver = (*receiver).clone();
            add(due, Coming::Digest { receiver });
        }
        let unmuted = match &alert.muted {
            Some(MutedBy::Mute(number)) => {
                let mute = state.mutes.get(number);
                mute.map(|mute| on_the_wall(mute.until))
            }
            Some(MutedBy::Window(name)) => self.window_ends.get(name).copied().flatten(),
            None => None,
        };
        add(unmuted, Coming::Unmuted);
        let acknowledged = alert.acknowledged.as_ref();
        add(
            wall(acknowledged.and_then(|acknowledged| acknowledged.until)),
            Coming::AcknowledgementEnds,
        );
        add(wall(alert.unknown_counts), Coming::UnknownCounts);
        add(wall(alert.eases), Coming::Eases);
        add(wall(alert.good_until), Coming::Stale);
        next.sort_by_key(|next| next.at);
        next
    }
}

/// One destination may be reached for several receivers: it was told first what it was told first for any of them.
fn spans(alert: &open::Alert) -> BTreeMap<Destination, Span> {
    let mut spans: BTreeMap<Destination, Span> = BTreeMap::new();
    for (to, reached) in alert.told.values().flat_map(|told| &told.to) {
        let span = spans.entry(to.clone()).or_insert(Span {
            first: reached.first,
            last: reached.last,
        });
        span.first = reached.first.min(span.first);
        span.last = reached.last.max(span.last);
    }
    spans
}

/// Whom a step reaches, and who cannot be.
type Reached = (Vec<Destination>, Vec<PersonName>);

/// Whom steps reach, kept for as long as the same people are on call: ten thousand alerts ask for the same few steps.
struct Reaches<'a> {
    policy: &'a Policy,
    at: Wall,
    /// The first instant at which each rota may say otherwise than now.
    changes: BTreeMap<&'a RotaName, Option<Wall>>,
    known: BTreeMap<(&'a ReceiverName, usize), Reached>,
}

impl<'a> Reaches<'a> {
    fn of(&mut self, receiver: &'a ReceiverName, step: usize, at: Wall) -> Reached {
        let policy = self.policy;
        let steps = policy.rules.receivers.get(receiver);
        let Some(wanted) = steps.and_then(|receiver| receiver.steps.get(step)) else {
            return Reached::default();
        };
        let at = at.max(self.at);
        if let Some(rota) = &wanted.rota
            && self.change_of(rota).is_some_and(|change| change <= at)
        {
            return reach(policy, wanted, 0, at);
        }
        let now = self.at;
        let known = self.known.entry((receiver, step));
        known
            .or_insert_with(|| reach(policy, wanted, 0, now))
            .clone()
    }

    fn change_of(&mut self, name: &'a RotaName) -> Option<Wall> {
        let (policy, at) = (self.policy, self.at);
        *self.changes.entry(name).or_insert_with(|| {
            let rota = policy.rules.rotas.get(name)?;
            let zone = policy.zones.find(&rota.handoff.time_zone)?;
            rota.next_change(zone, at)
        })
    }
}
