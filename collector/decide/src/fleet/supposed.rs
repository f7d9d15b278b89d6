//! An alert that is only supposed, for whoever asks what would follow ([`crate::explain`]): it may concern what no node and no
//! settings stand for, and no mute covers it. All else is decided as for any other alert, by the same code.
//!
//! Its state is nobody's memory: whoever supposes something begins with a state of their own, and throws it away.

use super::{ClockEvent, Decision, Delta, Event, Outcome, State, Transition, alerts::Finding};
use crate::{
    alert::{AlertKey, Source},
    routing::Policy,
    rules::Subject,
};
use vigie_core::{
    id::NodeName,
    observation::Facts,
    reason::vigie,
    status::{Family, Status},
    time::Now,
};

/// An alert that is only supposed.
#[derive(Debug)]
pub(crate) struct Supposed<'a> {
    /// Under which it stands in the state.
    pub key: AlertKey,
    /// What it concerns, whatever the settings say of its node.
    pub subject: &'a Subject,
    /// Family of its check.
    pub family: Family,
    /// How it stands.
    pub status: Status,
}

impl Supposed<'_> {
    /// The key of one on this node. What is no name of a node is none that a route names, like the collector.
    pub(crate) fn key_on(node: &str) -> AlertKey {
        let node = node.parse::<NodeName>();
        AlertKey::first_of(node.map_or(Source::Collector, Source::Node))
    }

    /// What an instant brings: it begins, and from then on time passes.
    pub(crate) fn step(
        &self,
        state: &State,
        delta: &mut Delta,
        policy: &Policy,
        now: Now,
    ) -> Vec<Decision> {
        let mut step = Transition {
            state,
            delta,
            policy,
            rules: &policy.rules,
            supposed: Some(self),
            now,
            outcome: Outcome::default(),
        };
        if state.alerts.contains_key(&self.key) {
            step.handle(Event::Clock(ClockEvent::Deadline));
        } else {
            // Nobody reads why it stands as it does.
            let finding = Finding::own(self.status, vigie::EXERCISE, Facts::new(), now.wall);
            let family = self.family;
            step.raise(&self.key, Finding { family, ..finding });
        }
        step.outcome.decisions
    }
}

impl<'a> Transition<'a> {
    /// What is supposed of this alert, if it is one of which something is.
    pub(super) fn supposed(&self, key: &AlertKey) -> Option<&'a Supposed<'a>> {
        self.supposed.filter(|supposed| supposed.key == *key)
    }
}
