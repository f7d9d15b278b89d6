//! The decision: what a change to the fleet means, and who is told.
//!
//! [`step`] takes what is known, one event and the moment it happened, and puts into a [`Delta`] everything that
//! follows: lines of the log, changed rows, messages. It has no clock, no randomness and no memory of its own, so that
//! replaying the log's events gives the same decisions, line for line; a test does that over long random runs.
//!
//! One rule above all: doubt may add an alarm, never remove one.

mod alerts;
pub mod event;
mod lines;
mod members;
pub mod state;
#[cfg(test)]
mod tests;
mod trouble;

use std::{borrow::Borrow, collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

pub use self::{
    alerts::subject,
    event::{Decision, Event, JoinRefused, KeptBecause, NodeKeys, SenderKeys},
    state::{Deadline, Delta, State},
};
use crate::{
    alert::{Alert, AlertKey},
    id::{NodeName, SenderName},
    log,
    rules::Rules,
    time::{Elapsed, Now},
};

/// What came of one event.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was decided, in order. Also in the delta, as lines of the log.
    pub decisions: Vec<Decision>,
    /// For [`Event::Join`] and [`Event::SenderJoin`]: why not.
    pub join_refused: Option<JoinRefused>,
    /// For [`Event::Renewed`] and [`Event::SenderRenewed`]: whoever asked is not in the fleet any more, is denied, or asked
    /// with a key that is void by now. Nothing was written.
    pub renewal_refused: bool,
}

/// Decides what `event` means. `delta` holds the events before it in the same commit.
///
/// An event that changes nothing leaves no line. Precondition for [`Event::Entry`] and [`Event::EntryRefused`]: the
/// caller has dropped lines that are stored already, byte for byte, because a replay counts once.
pub fn step(
    state: &State,
    delta: &mut Delta,
    rules: &Arc<Rules>,
    event: Event,
    now: Now,
) -> Outcome {
    let mut step = Step {
        state,
        delta,
        rules,
        now,
        outcome: Outcome::default(),
    };
    step.handle(event);
    step.outcome
}

/// The next moment at which [`Event::Deadline`] would change something.
#[must_use]
pub fn next_deadline(state: &State) -> Option<Elapsed> {
    state
        .tokens
        .values()
        .map(|token| Elapsed(token.expires.elapsed_ms))
        .min()
}

struct Step<'a> {
    state: &'a State,
    delta: &'a mut Delta,
    rules: &'a Arc<Rules>,
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

impl Step<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Started { .. } => self.started(&event),
            Event::RulesLoaded { .. } => self.rules_loaded(&event),
            Event::Entry { .. } | Event::EntryRefused { .. } | Event::Contact { .. } => {
                self.handed_in(event);
            }
            Event::TokenIssued { .. }
            | Event::Join { .. }
            | Event::Renewed { .. }
            | Event::KeyUsed { .. }
            | Event::NodeRetired { .. }
            | Event::NodeDenied { .. }
            | Event::SenderJoin { .. }
            | Event::SenderRenewed { .. }
            | Event::SenderKeyUsed { .. }
            | Event::SenderRetired { .. }
            | Event::SenderDenied { .. }
            | Event::Confirmed { .. } => self.membership(event),
            Event::Delivered { key } | Event::Undeliverable { key } => {
                if row(&self.delta.outbox, &self.state.outbox, &key).is_some() {
                    self.record(&event);
                    self.delta.outbox.insert(key, None);
                }
            }
            Event::Deadline => self.deadline(&event),
            Event::CommitFailed { .. } => self.commits_failed(event),
            Event::ContactForged { .. }
            | Event::NodeSilent { .. }
            | Event::NodeHeard { .. }
            | Event::SiteSilent { .. }
            | Event::SiteHeard { .. }
            | Event::NodeFlooding { .. }
            | Event::NodeCalm { .. }
            | Event::NodeImpostor { .. }
            | Event::NodeClock { .. }
            | Event::EntriesWithheld { .. }
            | Event::EntriesHandedIn { .. }
            | Event::PlanDiffers { .. }
            | Event::PlanAgrees { .. }
            | Event::NodeExpired { .. }
            | Event::NodeValid { .. }
            | Event::ClockStep { .. }
            | Event::ClockTrusted { .. }
            | Event::DeliveryFailing { .. }
            | Event::DeliveryWorks { .. } => self.trouble(event),
        }
    }

    /// Writes the event's line.
    fn record(&mut self, event: &Event) {
        let value = serde_json::to_value(event).expect("events serialise to JSON");
        self.write(&value);
    }

    /// Writes a decision's line.
    fn decide(&mut self, decision: Decision) {
        let mut value = json!({"kind": "decision"});
        let decided = serde_json::to_value(&decision).expect("decisions serialise to JSON");
        if let (Value::Object(members), Value::Object(decided)) = (&mut value, decided) {
            members.extend(decided);
        }
        self.write(&value);
        self.outcome.decisions.push(decision);
    }

    fn write(&mut self, event: &Value) {
        let now = self.now;
        let meta = self.meta();
        let n = meta.frontier.size();
        let line = log::write_line(n, now, event);
        meta.frontier.push(line.as_bytes());
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

    /// Keys of open alerts, of one node or of all.
    fn alert_keys(&self, node: Option<&str>) -> Vec<AlertKey> {
        // Keys are in order of nodes, so one node's stand together.
        let first = AlertKey {
            node: node.unwrap_or_default().to_owned(),
            check: String::new(),
            object: String::new(),
        };
        let wanted = |key: &&AlertKey| node.is_none_or(|node| key.node == node);
        let in_base = self.state.alerts.range(&first..).map(|(key, _)| key);
        let in_delta = self.delta.alerts.range(&first..).map(|(key, _)| key);
        let mut keys: Vec<AlertKey> = in_base
            .take_while(wanted)
            .chain(in_delta.take_while(wanted))
            .cloned()
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| self.alert(key).is_some());
        keys
    }

    /// How many alerts of a node are open.
    fn open_alerts(&self, node: &NodeName) -> usize {
        self.alert_keys(Some(node.as_str())).len()
    }

    fn started(&mut self, event: &Event) {
        self.meta();
        let before = self.state.meta.last_now;
        self.record(event);
        for (id, token) in &self.state.tokens {
            let mut token = token.clone();
            token.expires = token.expires.anchored(before, self.now);
            self.delta.tokens.insert(id.clone(), Some(token));
        }
    }

    fn deadline(&mut self, event: &Event) {
        let expired: Vec<String> = self
            .state
            .tokens
            .iter()
            .filter(|(id, token)| {
                token.expires.is_past(self.now) && self.delta.tokens.get(*id) != Some(&None)
            })
            .map(|(id, _)| id.clone())
            .collect();
        if !expired.is_empty() {
            self.record(event);
            for id in expired {
                self.delta.tokens.insert(id, None);
            }
        }
    }

    fn rules_loaded(&mut self, event: &Event) {
        let Event::RulesLoaded { sha256, .. } = event else {
            return;
        };
        self.record(event);
        self.meta().rules_sha256 = Some(*sha256);
        self.delta.rules.push((*sha256, Arc::clone(self.rules)));
        let nodes: Vec<NodeName> = self.state.nodes.keys().cloned().collect();
        for node in &nodes {
            self.judge_grouping(node);
        }
        self.end_what_rules_dropped();
        // An alert that new rules send elsewhere must not stay with those the old rules knew.
        for key in self.alert_keys(None) {
            self.tell_those_not_told(&key);
        }
    }
}
