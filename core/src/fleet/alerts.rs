//! Opening, worsening and ending alerts, and the messages that follow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Decision, Step, state::NodePlan};
use crate::{
    alert::{Alert, AlertKey, Ended, Message, Notice, message_key},
    id::{NodeName, ReceiverName, ServiceName},
    observation::{Fact, Facts},
    reason::Reason,
    rules::{Rules, Subject},
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

    /// Ends only by an operator's word.
    pub(super) fn until_confirmed(mut self) -> Self {
        self.until_confirmed = true;
        self
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
    let Ok(node) = key.node.parse::<NodeName>() else {
        return if key.check == "@site" {
            rules.site_subject(&key.object)
        } else {
            rules.own_subject()
        };
    };
    let check = key.check.parse().ok();
    let planned = plan
        .zip(check.as_ref())
        .and_then(|(plan, check)| plan.find(check));
    let need = Need::served_by(alert.family, planned.map(|check| check.kind.as_str()));
    let subject = rules.subject(&node, &alert.claimed, need);
    if alert.family != Family::Host || planned.is_some() {
        return subject;
    }
    // Its kind is not known (any more): doubt raises, so it counts as whichever of the two needs is higher.
    let traced = rules.subject(&node, &alert.claimed, Need::Traceability);
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

impl Step<'_> {
    /// Opens an alert, or takes what was found into the one that is open.
    pub(super) fn raise(&mut self, key: &AlertKey, finding: Finding) {
        let Some(mut alert) = self.alert(key).cloned() else {
            self.open(key, finding);
            return;
        };
        let from = alert.status;
        let louder = finding.status.rank() > from.rank();
        alert.claimed.extend(finding.claimed);
        alert.status = finding.status;
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
        self.delta.alerts.insert(key.clone(), Some(alert));
        if louder {
            self.tell_route(key, Notice::Worse);
        }
    }

    fn open(&mut self, key: &AlertKey, finding: Finding) {
        let alert = self.begin(key, finding);
        self.delta.alerts.insert(key.clone(), Some(alert));
        self.tell_route(key, Notice::Open);
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
        Alert {
            number,
            family: finding.family,
            claimed: finding.claimed,
            status: finding.status,
            reason: finding.reason,
            facts: finding.facts,
            since: finding.since,
            opening: finding.opening.unwrap_or(number),
            told: BTreeMap::new(),
            tellings: 0,
            until_confirmed: finding.until_confirmed,
        }
    }

    /// Details that came in the same commit as the opening travel with its message.
    fn refine_messages(&mut self, alert: &Alert) {
        for message in self.delta.outbox.values_mut().flatten() {
            if message.number == alert.number && message.notice != Notice::Close {
                message.status = alert.status;
                message.reason.clone_from(&alert.reason);
                message.facts.clone_from(&alert.facts);
            }
        }
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
        let told: Vec<ReceiverName> = alert.told.keys().cloned().collect();
        for receiver in told {
            self.send(key, &alert, &receiver, Notice::Close, None, Some(ended));
        }
        self.delta.alerts.insert(key.clone(), None);
    }

    /// What routes see of an alert.
    pub(super) fn subject_of(&self, key: &AlertKey, alert: &Alert) -> Subject {
        let node = key.node.parse().ok();
        let plan = node.as_ref().and_then(|node| self.plan(node));
        subject(self.rules, plan, key, alert)
    }

    /// Takes in a page that went out while the log could not be written: the alert as it was told, and the message, so
    /// that both have their end.
    pub(super) fn adopt(&mut self, message: Message) {
        let key = message.alert.clone();
        let mut alert = match self.alert(&key).cloned() {
            Some(alert) => alert,
            None => {
                let told = Finding {
                    family: message.family,
                    claimed: if key.is_of_collector() {
                        BTreeSet::new()
                    } else {
                        message.services.clone()
                    },
                    status: message.status,
                    reason: message.reason.clone(),
                    facts: message.facts.clone(),
                    since: message.since,
                    opening: Some(message.opening),
                    until_confirmed: false,
                };
                self.begin(&key, told)
            }
        };
        if message.status.rank() > alert.status.rank() {
            alert.status = message.status;
        }
        alert.told.insert(message.receiver.clone(), message.status);
        alert.tellings += 1;
        self.decide(Decision::Told {
            number: alert.number,
            receiver: message.receiver.clone(),
            notice: message.notice,
            key: message.key,
            route: None,
        });
        let meta = self.meta();
        meta.last_message += 1;
        let (number, order) = (alert.number, meta.last_message);
        self.delta.alerts.insert(key, Some(alert));
        let logged = Message {
            number,
            order,
            ..message
        };
        self.delta.outbox.insert(logged.key, Some(logged));
    }

    /// Tells all receivers of the alert's route.
    fn tell_route(&mut self, key: &AlertKey, notice: Notice) {
        for (receiver, route) in self.receivers_for(key) {
            self.tell(key, &receiver, notice, route);
        }
    }

    /// Tells receivers of the alert's route who have not been told of it at all.
    pub(super) fn tell_those_not_told(&mut self, key: &AlertKey) {
        for (receiver, route) in self.receivers_for(key) {
            let told = self
                .alert(key)
                .is_some_and(|alert| alert.told.contains_key(&receiver));
            if !told {
                self.tell(key, &receiver, Notice::Open, route);
            }
        }
    }

    /// Receivers and the route that named them. An alert that no route takes goes to every receiver: settings that
    /// could cause this are refused, and if one slips through, too many being told beats nobody.
    fn receivers_for(&self, key: &AlertKey) -> Vec<(ReceiverName, Option<u64>)> {
        let Some(alert) = self.alert(key) else {
            return Vec::new();
        };
        let subject = self.subject_of(key, alert);
        match self
            .rules
            .route(&subject, &key.node, alert.family, alert.status)
        {
            Some((index, route)) => {
                let index = u64::try_from(index).ok();
                route
                    .notify
                    .iter()
                    .map(|receiver| (receiver.clone(), index))
                    .collect()
            }
            None => self
                .rules
                .receivers
                .iter()
                .map(|receiver| (receiver.clone(), None))
                .collect(),
        }
    }

    fn tell(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        notice: Notice,
        route: Option<u64>,
    ) {
        let Some(mut alert) = self.alert(key).cloned() else {
            return;
        };
        self.send(key, &alert, receiver, notice, route, None);
        alert.told.insert(receiver.clone(), alert.status);
        alert.tellings += 1;
        self.delta.alerts.insert(key.clone(), Some(alert));
    }

    fn send(
        &mut self,
        key: &AlertKey,
        alert: &Alert,
        receiver: &ReceiverName,
        notice: Notice,
        route: Option<u64>,
        ended: Option<Ended>,
    ) {
        let message = message_key(
            key,
            alert.opening,
            receiver.as_str(),
            alert.tellings,
            notice,
        );
        self.decide(Decision::Told {
            number: alert.number,
            receiver: receiver.clone(),
            notice,
            key: message,
            route,
        });
        let subject = self.subject_of(key, alert);
        let runbook = subject
            .services
            .iter()
            .find_map(|service| self.rules.service(service)?.runbook);
        let meta = self.meta();
        meta.last_message += 1;
        let order = meta.last_message;
        self.delta.outbox.insert(
            message,
            Some(Message {
                key: message,
                order,
                receiver: receiver.clone(),
                notice,
                number: alert.number,
                opening: alert.opening,
                alert: key.clone(),
                services: subject.services,
                criticality: subject.criticality,
                environment: subject.environment,
                family: alert.family,
                status: alert.status,
                reason: alert.reason.clone(),
                facts: alert.facts.clone(),
                since: alert.since,
                at: self.now.wall,
                ended,
                runbook,
            }),
        );
    }
}
