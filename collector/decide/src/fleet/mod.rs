//! The decision: what a change to the fleet means, and who is told.
//!
//! [`step`] takes what is known, one event and the moment it happened, and puts into a [`Delta`] everything that
//! follows: lines of the log, changed rows, messages. It has no clock, no randomness and no memory of its own, so that
//! replaying the log's events gives the same decisions, line for line; a test does that over long random runs.
//!
//! One rule above all: doubt may add an alarm, never remove one.

mod alerts;
mod clock;
pub mod decision;
mod deliveries;
pub mod event;
mod holding;
mod lines;
mod members;
mod mutes;
mod operators;
mod passing;
pub mod state;
mod steps;
mod supposed;
mod telling;
#[cfg(test)]
mod tests;
mod trouble;

use std::{borrow::Borrow, collections::BTreeMap, iter, ops::Bound, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::supposed::Supposed;
pub use self::{
    alerts::subject,
    decision::{Answered, Decision, JoinRefused, KeptBecause},
    event::{
        ClockEvent, DeliveryEvent, Event, HandInEvent, MembershipEvent, MuteEvent, NodeKeys,
        OperatorEvent, SenderKeys, TroubleEvent,
    },
    passing::next_deadline,
    state::{Delta, State},
};
use crate::{
    alert::{Alert, AlertKey, Message, Source},
    routing::Policy,
    rules::Rules,
};
use vigie_core::{
    digest::Digest,
    id::{NodeName, SenderName},
    log,
    time::Now,
};

/// What came of one event.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was decided, in order. Also in the delta, as lines of the log.
    pub decisions: Vec<Decision>,
    /// For [`MembershipEvent::Join`] and [`MembershipEvent::SenderJoin`]: why not.
    pub join_refused: Option<JoinRefused>,
    /// For [`MembershipEvent::Renewed`] and [`MembershipEvent::SenderRenewed`]: whoever asked is not in the fleet any more, is denied, or asked
    /// with a key that is void by now. Nothing was written.
    pub renewal_refused: bool,
    /// For what an operator asked: what it came to.
    pub answered: Option<Answered>,
}

/// Decides what `event` means. `delta` holds the events before it in the same commit.
///
/// An event that changes nothing leaves no line. Precondition for [`HandInEvent::Entry`] and [`HandInEvent::EntryRefused`]: the
/// caller has dropped lines that are stored already, byte for byte, because a replay counts once.
pub fn step(state: &State, delta: &mut Delta, policy: &Policy, event: Event, now: Now) -> Outcome {
    let mut step = Transition {
        state,
        delta,
        policy,
        rules: &policy.rules,
        supposed: None,
        now,
        outcome: Outcome::default(),
    };
    step.handle(event);
    step.outcome
}

struct Transition<'a> {
    state: &'a State,
    delta: &'a mut Delta,
    policy: &'a Policy,
    rules: &'a Arc<Rules>,
    /// An alert that nobody reported: the engine has none.
    supposed: Option<&'a Supposed<'a>>,
    now: Now,
    outcome: Outcome,
}

/// A row as the events before this one left it.
fn row<'r, K, Q, V>(
    changed: &'r BTreeMap<K, Option<V>>,
    base: &'r BTreeMap<K, V>,
    key: &Q,
) -> Option<&'r V>
where
    K: Ord + Borrow<Q>,
    Q: Ord + ?Sized,
{
    match changed.get(key) {
        Some(row) => row.as_ref(),
        None => base.get(key),
    }
}

/// The rows from `first` on as the events before this one left them, in order of their keys: the same whether what
/// changed them is committed already or not.
fn rows<'r, K: Ord, V>(
    changed: &'r BTreeMap<K, Option<V>>,
    base: &'r BTreeMap<K, V>,
    first: Bound<&K>,
) -> impl Iterator<Item = (&'r K, &'r V)> + use<'r, K, V> {
    let mut base = base.range((first, Bound::Unbounded)).peekable();
    let mut changed = changed.range((first, Bound::Unbounded)).peekable();
    iter::from_fn(move || {
        loop {
            let is_changed = match (base.peek(), changed.peek()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some((as_was, _)), Some((as_is, _))) => as_is <= as_was,
            };
            if !is_changed {
                return base.next();
            }
            let (key, row) = changed.next()?;
            base.next_if(|(as_was, _)| *as_was == key);
            if let Some(row) = row {
                return Some((key, row));
            }
        }
    })
}

impl Transition<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::HandedIn(event) => self.handed_in(event),
            Event::Membership(event) => self.membership(event),
            Event::Trouble(event) => self.trouble(event),
            Event::Delivery(event) => self.delivery(event),
            Event::Operator(event) => self.operator(event),
            Event::Mute(event) => self.mute(event),
            Event::Clock(event) => self.clock(event),
        }
    }

    /// Writes the event's line.
    fn record<E: Serialize>(&mut self, event: &E) {
        self.write(|n, now| log::write_line(n, now, event));
    }

    /// Writes a decision's line.
    fn decide(&mut self, decision: Decision) {
        let mut value = json!({"kind": "decision"});
        let decided = serde_json::to_value(&decision).expect("decisions serialise to JSON");
        if let (Value::Object(members), Value::Object(decided)) = (&mut value, decided) {
            members.extend(decided);
        }
        self.write(|n, now| log::write_line(n, now, &value));
        self.outcome.decisions.push(decision);
    }

    /// Writes a line of the log, which is given its number.
    fn write(&mut self, line: impl FnOnce(u64, Now) -> String) {
        let now = self.now;
        let policy = self.policy;
        let meta = self.meta();
        let n = meta.frontier.size();
        let line = line(n, now);
        meta.frontier.push(line.as_bytes());
        if now.wall.0 < meta.last_now.wall_ms {
            // The clock was set back a little, perhaps to before an edge that was passed: it comes once more.
            let edge = policy.next_edge(now.wall);
            meta.next_edge = edge.into_iter().chain(meta.next_edge).min();
        }
        meta.last_now = now.into();
        self.delta.log.push((n, line));
    }

    fn meta(&mut self) -> &mut state::Meta {
        self.delta
            .meta
            .get_or_insert_with(|| self.state.meta.clone())
    }

    fn node(&self, name: &NodeName) -> Option<&state::Node> {
        row(&self.delta.nodes, &self.state.nodes, name)
    }

    /// Changes a node that exists.
    fn edit_node(&mut self, name: &NodeName, edit: impl FnOnce(&mut state::Node)) {
        if let Some(mut node) = self.node(name).cloned() {
            edit(&mut node);
            self.delta.nodes.insert(name.clone(), Some(node));
        }
    }

    fn sender(&self, name: &SenderName) -> Option<&state::Sender> {
        row(&self.delta.senders, &self.state.senders, name)
    }

    /// Changes a sender that exists.
    fn edit_sender(&mut self, name: &SenderName, edit: impl FnOnce(&mut state::Sender)) {
        if let Some(mut sender) = self.sender(name).cloned() {
            edit(&mut sender);
            self.delta.senders.insert(name.clone(), Some(sender));
        }
    }

    fn plan(&self, name: &NodeName) -> Option<&state::NodePlan> {
        row(&self.delta.plans, &self.state.plans, name)
    }

    fn edit_plan(&mut self, name: &NodeName, edit: impl FnOnce(&mut state::NodePlan)) {
        let mut plan = self.plan(name).cloned().unwrap_or_default();
        edit(&mut plan);
        self.delta.plans.insert(name.clone(), Some(plan));
    }

    fn alert(&self, key: &AlertKey) -> Option<&Alert> {
        row(&self.delta.alerts, &self.state.alerts, key)
    }

    /// Changes an alert that is open.
    fn edit_alert(&mut self, key: &AlertKey, edit: impl FnOnce(&mut Alert)) {
        if let Some(mut alert) = self.alert(key).cloned() {
            edit(&mut alert);
            self.delta.alerts.insert(key.clone(), Some(alert));
        }
    }

    fn message(&self, key: &Digest) -> Option<&Message> {
        row(&self.delta.outbox, &self.state.outbox, key)
    }

    /// Open alerts, in order of their keys.
    fn alerts(&self) -> impl Iterator<Item = (&AlertKey, &Alert)> {
        rows(&self.delta.alerts, &self.state.alerts, Bound::Unbounded)
    }

    /// Open alerts of one source: keys are in order of sources, so one's stand together. Those of sites and of the collector
    /// are beside one another.
    fn alerts_of<'s>(
        &'s self,
        source: &Source,
    ) -> impl Iterator<Item = (&'s AlertKey, &'s Alert)> + use<'s> {
        let first = AlertKey::first_of(source.clone());
        let from = Bound::Included(&first);
        let found = rows(&self.delta.alerts, &self.state.alerts, from);
        found.take_while(move |(key, _)| key.source().is_beside(first.source()))
    }

    /// Keys of all open alerts.
    fn alert_keys(&self) -> Vec<AlertKey> {
        self.alerts().map(|(key, _)| key.clone()).collect()
    }

    /// Keys of the open alerts of one source.
    fn alert_keys_of(&self, source: &Source) -> Vec<AlertKey> {
        let alerts = self.alerts_of(source);
        alerts.map(|(key, _)| key.clone()).collect()
    }

    /// How many alerts of a source are open.
    fn open_alerts(&self, source: &Source) -> usize {
        self.alerts_of(source).count()
    }
}
