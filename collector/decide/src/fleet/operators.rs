//! What operators do about alerts, and what programs in front of vigie say of theirs.

use std::collections::BTreeSet;

use super::{
    Answered, Decision, HandInEvent, OperatorEvent, Transition, alerts::Finding,
    decision::UnacknowledgedBecause, event::SenderAlert, telling::Cause,
};
use crate::alert::{Acknowledgement, Actor, AlertKey, BuiltIn, Ended};
use vigie_core::{
    id::{ReceiverName, SenderName},
    observation::Facts,
    reason::vigie,
    status::Status,
    time::Deadline,
};

/// How long an exercise waits for somebody.
pub const EXERCISE_MS: u64 = 30 * 60_000;

/// How many alerts of one sender may be open at a time: what comes beyond would only hide the others.
const SENDER_ALERTS_MAX: usize = 5_000;

impl Transition<'_> {
    pub(super) fn operator(&mut self, event: OperatorEvent) {
        let answered = match &event {
            OperatorEvent::Acknowledged {
                numbers,
                by,
                for_ms,
            } => {
                let meant = numbers.iter().copied().collect();
                let (by, for_ms) = (by.clone(), *for_ms);
                self.acknowledge(&event, &meant, &by, for_ms)
            }
            OperatorEvent::Unacknowledged { number, .. } => self.unacknowledge(&event, *number),
            OperatorEvent::AlertEnded { number, .. } => self.end_by_hand(&event, *number),
            OperatorEvent::ExerciseStarted { receiver, .. } => {
                let receiver = receiver.clone();
                self.exercise(&event, &receiver)
            }
        };
        self.outcome.answered = Some(answered);
    }

    fn find(&self, number: u64) -> Option<AlertKey> {
        self.alerts()
            .find(|(_, alert)| alert.number == number)
            .map(|(key, _)| key.clone())
    }

    fn acknowledge(
        &mut self,
        event: &OperatorEvent,
        meant: &BTreeSet<u64>,
        by: &Actor,
        for_ms: Option<u64>,
    ) -> Answered {
        let (mut numbers, mut before) = (Vec::new(), Vec::new());
        let mut new = Vec::new();
        for (key, alert) in self.alerts() {
            if !meant.contains(&alert.number) {
                continue;
            }
            match &alert.acknowledged {
                // Whoever came first is on it; a second one is told so.
                Some(acknowledged) => before.push((alert.number, acknowledged.by.clone())),
                None => {
                    numbers.push(alert.number);
                    new.push(key.clone());
                }
            }
        }
        if numbers.is_empty() && before.is_empty() {
            return Answered::NothingThere;
        }
        if !new.is_empty() {
            self.record(event);
        }
        for key in new {
            self.take_on(&key, by, for_ms);
        }
        Answered::Acknowledged { numbers, before }
    }

    fn take_on(&mut self, key: &AlertKey, by: &Actor, for_ms: Option<u64>) {
        let Some((number, status)) = self.alert(key).map(|alert| (alert.number, alert.status))
        else {
            return;
        };
        self.decide(Decision::AlertAcknowledged {
            number,
            by: by.clone(),
        });
        let acknowledged = Acknowledgement {
            by: by.clone(),
            at: self.now.wall,
            status,
            until: for_ms.map(|ms| Deadline::after(self.now, ms)),
        };
        self.edit_alert(key, |alert| {
            alert.acknowledged = Some(acknowledged);
            alert.stop_steps();
        });
        self.refine_held(key);
        if key.is_exercise() {
            self.close(key, Ended::Exercised);
        }
    }

    /// Nobody is on an alert any more. Whether somebody is told is the caller's to decide.
    pub(super) fn forget_acknowledgement(&mut self, key: &AlertKey, why: UnacknowledgedBecause) {
        let Some(number) = self.alert(key).map(|alert| alert.number) else {
            return;
        };
        self.decide(Decision::AlertUnacknowledged { number, why });
        self.edit_alert(key, |alert| alert.acknowledged = None);
        self.refine_held(key);
    }

    fn unacknowledge(&mut self, event: &OperatorEvent, number: u64) -> Answered {
        let key = self.find(number).filter(|key| {
            self.alert(key)
                .is_some_and(|alert| alert.acknowledged.is_some())
        });
        let Some(key) = key else {
            return Answered::NothingThere;
        };
        self.record(event);
        self.forget_acknowledgement(&key, UnacknowledgedBecause::Withdrawn);
        self.route(&key, Cause::Reopened);
        Answered::Done
    }

    fn end_by_hand(&mut self, event: &OperatorEvent, number: u64) -> Answered {
        let Some(key) = self.find(number) else {
            return Answered::NothingThere;
        };
        if key.is_exercise() || key.sender().is_some() {
            self.record(event);
            let ended = if key.is_exercise() {
                Ended::Exercised
            } else {
                Ended::Confirmed
            };
            self.close(&key, ended);
            Answered::Done
        } else {
            Answered::NotYours
        }
    }

    fn exercise(&mut self, event: &OperatorEvent, receiver: &ReceiverName) -> Answered {
        if !self.rules.receivers.contains_key(receiver) {
            return Answered::NoSuchReceiver;
        }
        self.record(event);
        let key = AlertKey::exercise(receiver);
        self.close(&key, Ended::Exercised);
        let mut finding = Finding::own(
            Status::Critical,
            vigie::EXERCISE,
            Facts::new(),
            self.now.wall,
        );
        finding
            .facts
            .insert("receiver".to_owned(), receiver.as_str().into());
        self.raise(&key, finding);
        let ends = Deadline::after(self.now, EXERCISE_MS);
        self.edit_alert(&key, |alert| alert.good_until = Some(ends));
        let number = self.alert(&key).map_or(0, |alert| alert.number);
        Answered::Exercise { number }
    }

    /// A sender says how one of its alerts stands. That one is over which is not open is no news, and leaves no line.
    pub(super) fn sender_alert(&mut self, sender: SenderName, alert: Box<SenderAlert>) {
        let key = AlertKey::of_sender(&sender, &alert.name, &alert.fingerprint);
        if alert.status == Status::Ok && self.alert(&key).is_none() {
            return;
        }
        let event = HandInEvent::SenderAlert { sender, alert };
        self.record(&event);
        let HandInEvent::SenderAlert { sender, alert } = event else {
            return;
        };
        self.sender_says(&key, &sender, *alert);
    }

    fn sender_says(&mut self, key: &AlertKey, sender: &SenderName, said: SenderAlert) {
        if said.status == Status::Ok {
            self.close(key, Ended::Recovered);
            return;
        }
        let mut finding = Finding::own(
            said.status,
            vigie::SENDER_ALERT,
            Facts::new(),
            said.since.min(self.now.wall),
        );
        finding.claimed = said.service.into_iter().collect();
        // Names that mean something here keep that meaning, as `exported_` does for Prometheus' own labels.
        let labels = said
            .labels
            .into_iter()
            .map(|(label, value)| match label.as_str() {
                "name" | "sender" => (format!("exported_{label}"), value.into()),
                _ => (label, value.into()),
            });
        finding.facts.extend(labels);
        finding
            .facts
            .insert("name".to_owned(), said.name.clone().into());
        finding
            .facts
            .insert("sender".to_owned(), sender.as_str().into());
        if self.alert(key).is_none() && self.open_alerts(key.source()) >= SENDER_ALERTS_MAX {
            self.too_many_of(sender);
            return;
        }
        self.raise(key, finding);
        let good_until = Deadline::after(self.now, said.good_for_ms);
        self.edit_alert(key, |alert| alert.good_until = Some(good_until));
    }

    /// What a sender has beyond bounds is told as one alarm, which an operator ends.
    fn too_many_of(&mut self, sender: &SenderName) {
        let what = BuiltIn::TooManyAlerts;
        let key = AlertKey::of_sender(sender, what.check(), &what.object());
        if self.alert(&key).is_some() {
            return;
        }
        let facts = [("max", SENDER_ALERTS_MAX.into())];
        let mut finding = self.finding(&what, Status::Critical, vigie::OBJECTS_TOO_MANY, facts);
        // `vigie-collector end` ends it, as any alert of a sender: `plan confirm` is for nodes.
        finding.until_confirmed = false;
        self.raise(&key, finding);
    }

    /// A sender has not said for too long how its alert stands, or an exercise is over.
    pub(super) fn no_longer_good(&mut self, key: &AlertKey) {
        self.edit_alert(key, |alert| alert.good_until = None);
        if key.is_exercise() {
            self.close(key, Ended::Exercised);
            return;
        }
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        let mut finding = Finding::own(
            Status::Unknown,
            vigie::SENDER_SILENT,
            Facts::new(),
            alert.since,
        );
        finding.family = alert.family;
        finding.facts = alert.facts;
        self.raise(key, finding);
    }
}
