//! Opening, worsening and ending alerts, and the messages that follow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Decision, Transition, state::NodePlan, telling::Cause};
use crate::{
    alert::{Alert, AlertKey, Body, BuiltIn, Ended, Ends, Message, Notification, Source},
    rules::{Rules, Subject},
};
use vigie_core::{
    id::{NodeName, ServiceName},
    observation::{Fact, Facts},
    reason::Reason,
    status::{Family, Need, Status},
    time::Wall,
};

/// Something that is not ok.
pub(super) struct Finding {
    pub family: Family,
    pub claimed: BTreeSet<ServiceName>,
    pub status: Status,
    pub reason: String,
    pub facts: Map<String, Value>,
    pub since: Wall,
    /// What identifies this opening; `None` where only the alert's own number can.
    pub opening: Option<u64>,
    pub until_confirmed: bool,
}

impl Finding {
    /// A finding of the collector's own.
    pub(super) fn own(status: Status, reason: Reason, facts: Facts, since: Wall) -> Self {
        Self {
            family: reason.spec().family,
            claimed: BTreeSet::new(),
            status,
            reason: reason.code().to_owned(),
            facts: facts_json(&facts),
            since,
            opening: None,
            until_confirmed: false,
        }
    }

    /// Identified by the number of the line that says so.
    pub(super) fn opened_by(mut self, seq: u64) -> Self {
        self.opening = Some(seq);
        self
    }
}

/// What routes see of an alert. `plan` is that of its node, where there is one.
#[must_use]
pub fn subject(rules: &Rules, plan: Option<&NodePlan>, key: &AlertKey, alert: &Alert) -> Subject {
    let node = match key.source() {
        Source::Node(node) => node,
        Source::Site(site) => return rules.site_subject(site.as_str()),
        Source::Sender(_) => return rules.sender_subject(&alert.claimed),
        Source::Collector => return rules.own_subject(),
    };
    let check = key.check().parse().ok();
    let planned = plan
        .zip(check.as_ref())
        .and_then(|(plan, check)| plan.find(check));
    let need = Need::served_by(alert.family, planned.map(|check| check.kind.as_str()));
    let subject = rules.subject(node, &alert.claimed, need);
    if alert.family != Family::Host || planned.is_some() {
        return subject;
    }
    // Its kind is not known (any more): doubt raises, so it counts as whichever of the two needs is higher.
    let traced = rules.subject(node, &alert.claimed, Need::Traceability);
    Subject {
        need: subject.need.max(traced.need),
        ..subject
    }
}

/// Facts as a line of evidence writes them.
pub(super) fn facts_json(facts: &Facts) -> Map<String, Value> {
    facts
        .iter()
        .map(|(key, fact): (&&str, &Fact)| ((*key).to_owned(), fact.to_json()))
        .collect()
}

impl Transition<'_> {
    /// What vigie itself found, as of now.
    pub(super) fn finding<'f>(
        &self,
        what: &BuiltIn,
        status: Status,
        reason: Reason,
        facts: impl IntoIterator<Item = (&'f str, Value)>,
    ) -> Finding {
        let facts = facts.into_iter();
        Finding {
            facts: facts.map(|(key, fact)| (key.to_owned(), fact)).collect(),
            until_confirmed: what.ends() == Ends::ByConfirmation,
            ..Finding::own(status, reason, Facts::new(), self.now.wall)
        }
    }

    /// Raises what vigie itself found of a node.
    pub(super) fn raise_built_in<'f>(
        &mut self,
        node: &NodeName,
        what: BuiltIn,
        status: Status,
        reason: Reason,
        facts: impl IntoIterator<Item = (&'f str, Value)>,
    ) {
        let finding = self.finding(&what, status, reason, facts);
        self.raise(&AlertKey::of_node(node, what), finding);
    }

    /// Whether something that vigie itself found of a node is open.
    pub(super) fn is_open(&self, node: &NodeName, what: BuiltIn) -> bool {
        self.alert(&AlertKey::of_node(node, what)).is_some()
    }

    /// Its cause is gone.
    pub(super) fn end(&mut self, node: &NodeName, what: BuiltIn) {
        self.close(&AlertKey::of_node(node, what), Ended::Recovered);
    }

    /// Opens an alert, or takes what was found into the one that is open.
    pub(super) fn raise(&mut self, key: &AlertKey, finding: Finding) {
        let Some(mut alert) = self.alert(key).cloned() else {
            self.open(key, finding);
            return;
        };
        let from = alert.status;
        let is_louder = finding.status.rank() > from.rank();
        let claimed = alert.claimed.len();
        alert.claimed.extend(finding.claimed);
        let concerns_more = alert.claimed.len() > claimed;
        alert.set_status(finding.status, self.now);
        alert.reason = finding.reason;
        alert.facts = finding.facts;
        alert.until_confirmed |= finding.until_confirmed;
        let number = alert.number;
        if from != alert.status {
            self.decide(Decision::Changed {
                number,
                from,
                to: alert.status,
                reason: alert.reason.clone(),
            });
        }
        self.refine_messages(&alert);
        let is_quiet = alert.muted.is_some() || alert.folded_into.is_some();
        self.delta.alerts.insert(key.clone(), Some(alert.clone()));
        self.refine_held(key);
        if is_louder {
            self.route(key, Cause::Worse);
        } else if concerns_more || (is_quiet && from != alert.status) {
            // Other services are other routes, and what kept it quiet may not be for how it stands now.
            self.route(key, Cause::Released);
        }
        if alert.status.rank() < from.rank() {
            self.release_explained(key, &alert);
        }
    }

    fn open(&mut self, key: &AlertKey, finding: Finding) {
        let alert = self.begin(key, finding);
        self.delta.alerts.insert(key.clone(), Some(alert));
        self.route(key, Cause::Opened);
    }

    /// Numbers a new alert and decides that it is open. Nobody is told yet.
    fn begin(&mut self, key: &AlertKey, finding: Finding) -> Alert {
        let meta = self.meta();
        meta.last_alert += 1;
        let number = meta.last_alert;
        self.decide(Decision::Opened {
            number,
            alert: key.clone(),
            status: finding.status,
            reason: finding.reason.clone(),
        });
        let mut alert = Alert {
            number,
            family: finding.family,
            claimed: finding.claimed,
            status: Status::Ok,
            reason: finding.reason,
            facts: finding.facts,
            since: finding.since,
            opening: finding.opening.unwrap_or(number),
            told: BTreeMap::new(),
            tellings: 0,
            until_confirmed: finding.until_confirmed,
            unknown_counts: None,
            eases: None,
            acknowledged: None,
            muted: None,
            folded_into: None,
            good_until: None,
        };
        alert.set_status(finding.status, self.now);
        alert
    }

    /// Ends an alert, if it is open, and tells everybody who was told of it.
    pub(super) fn close(&mut self, key: &AlertKey, ended: Ended) {
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        self.decide(Decision::Closed {
            number: alert.number,
            ended,
        });
        self.tell_end(key, &alert, ended);
        self.held_ended(key, alert.number, ended);
        self.delta.alerts.insert(key.clone(), None);
        self.release_explained(key, &alert);
    }

    /// What routes see of an alert.
    pub(super) fn subject_of(&self, key: &AlertKey, alert: &Alert) -> Subject {
        if let Some(supposed) = self.supposed(key) {
            return supposed.subject.clone();
        }
        let plan = key.node_name().and_then(|node| self.plan(node));
        subject(self.rules, plan, key, alert)
    }

    /// Takes in a page that went out while the log could not be written: the alert as it was told, and the message, so
    /// that both have their end.
    pub(super) fn adopt(&mut self, message: Message) {
        if self.message(&message.key).is_some() {
            // The commit that failed reached the disk after all, or the same was decided once more just now.
            return;
        }
        let Message { receiver, to, .. } = message.clone();
        let Body::Alert(telling) = message.body.clone() else {
            // A digest is no page, and does not go out unlogged.
            return;
        };
        let key = telling.alert.clone();
        let mut alert = match self.alert(&key).cloned() {
            Some(alert) => alert,
            None => {
                let told = Finding {
                    family: telling.family,
                    claimed: if key.is_of_collector() {
                        BTreeSet::new()
                    } else {
                        telling.services.clone()
                    },
                    status: telling.status,
                    reason: telling.reason.clone(),
                    facts: telling.facts.clone(),
                    since: telling.since,
                    opening: Some(telling.opening),
                    until_confirmed: false,
                };
                self.begin(&key, told)
            }
        };
        if telling.status.rank() > alert.status.rank() {
            alert.set_status(telling.status, self.now);
        }
        let meta = self.meta();
        meta.last_message += 1;
        let order = meta.last_message;
        alert.note_told(&receiver, to.clone(), message.key, order);
        alert.tellings += 1;
        self.decide(Decision::Told {
            number: alert.number,
            receiver: receiver.clone(),
            to,
            step: telling.step,
            notice: telling.notice,
            key: message.key,
            route: None,
        });
        let number = alert.number;
        self.delta.alerts.insert(key.clone(), Some(alert));
        let told = (telling.step, telling.notice);
        self.adopt_steps(&key, &receiver, told, message.at);
        let logged = Message {
            order,
            body: Body::Alert(Box::new(Notification { number, ..*telling })),
            ..message
        };
        self.delta.outbox.insert(logged.key, Some(logged));
    }
}
