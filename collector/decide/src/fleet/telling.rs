//! Who is told of an alert, and what: routes applied at a moment, and the messages that follow.

use std::collections::BTreeSet;

use super::{Decision, Transition, decision::UnacknowledgedBecause};
use crate::{
    alert::{
        Alert, AlertKey, Body, Ended, Message, Notice, Notification, Notified, Reached, message_key,
    },
    destination::Destination,
    escalation::reach,
    routing::{RouteInput, Routing, WallTime},
    rules::Subject,
};
use vigie_core::{digest::Digest, id::ReceiverName, time::Now};

/// Why it is asked where an alert belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It has just begun.
    Opened,
    /// It has just become louder.
    Worse,
    /// Working hours began or ended somewhere; at a closing edge whoever was on an alert goes home.
    Edge { is_closing: bool },
    /// Something that kept it quiet does so no more, or other rules count.
    Released,
    /// Whoever was on it is not: those who know of it are told again.
    Reopened,
}

/// A message that is to be written.
struct Draft<'a> {
    receiver: &'a ReceiverName,
    to: Destination,
    step: u32,
    notice: Notice,
    route: Option<u64>,
    ended: Option<Ended>,
}

impl Transition<'_> {
    /// The clock on the wall as calendars may use it.
    pub(super) fn civil(&self) -> WallTime {
        let meta = self.delta.meta.as_ref().unwrap_or(&self.state.meta);
        WallTime {
            at: self.now.wall,
            is_in_doubt: meta.clock_in_doubt,
        }
    }

    /// Where an alert belongs now.
    pub(super) fn placement(&self, key: &AlertKey, alert: &Alert, subject: &Subject) -> Routing {
        if let Some(receiver) = key.exercise_for() {
            // An exercise is for one receiver, whatever the hour.
            return Routing {
                route: None,
                tell: [receiver.clone()].into(),
                hold: Vec::new(),
            };
        }
        let case = RouteInput {
            subject,
            node: &key.node(),
            family: alert.family,
            status: alert.status,
            is_newly_unknown: alert.unknown_counts.is_some(),
        };
        self.policy.place(case, self.civil())
    }

    /// Tells and holds what is not yet told or held of an alert, by the rules and the clocks of this moment.
    pub(super) fn route(&mut self, key: &AlertKey, cause: Cause) {
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        let subject = self.subject_of(key, &alert);
        let placement = self.placement(key, &alert, &subject);
        if let Some(by) = self.muted_by(key, &alert, &subject) {
            self.keep_quiet(key, &alert, by, placement, cause);
            return;
        }
        if alert.muted.is_some() {
            self.edit_alert(key, |alert| alert.muted = None);
        }
        let route = placement.route.and_then(|route| u64::try_from(route).ok());
        for receiver in &placement.hold {
            self.hold(key, receiver, &subject, route);
        }
        let mut is_nobodys = cause == Cause::Reopened;
        if let Some(acknowledgement) = &alert.acknowledged {
            if alert.status.rank() > acknowledgement.status.rank() {
                // Whoever knew it as loud as this before took it that somebody is on it.
                is_nobodys = true;
                self.forget_acknowledgement(key, UnacknowledgedBecause::Worse);
            } else {
                if cause == (Cause::Edge { is_closing: true }) {
                    self.hand_over(key, &placement, route);
                }
                return;
            }
        }
        let explained = self.explained_by(key, &alert, &placement);
        if let Some(parent) = explained {
            self.fold(key, &alert, parent);
            return;
        }
        if alert.folded_into.is_some() {
            self.edit_alert(key, |alert| alert.folded_into = None);
        }
        for receiver in &placement.tell {
            match alert.told.get(receiver) {
                None => {
                    let notice = match cause {
                        Cause::Opened => Notice::Open,
                        Cause::Worse => Notice::Worse,
                        Cause::Edge { .. } | Cause::Released | Cause::Reopened => Notice::Still,
                    };
                    self.begin_telling(key, receiver, notice, route);
                }
                Some(told) if alert.status.rank() > told.status.rank() => {
                    self.begin_telling(key, receiver, Notice::Worse, route);
                }
                Some(_) if is_nobodys => {
                    self.begin_telling(key, receiver, Notice::Again, route);
                }
                Some(told) if told.to.is_empty() => {
                    // Its steps reached nobody. Perhaps they do now.
                    self.begin_telling(key, receiver, Notice::Still, route);
                }
                // Steps that something stopped go on, also when that ended at an hour at which nobody was to be woken.
                Some(_) => self.resume_steps(key, receiver, route),
            }
        }
    }

    /// Tells whoever is on call from now on of what somebody else was on.
    fn hand_over(&mut self, key: &AlertKey, placement: &Routing, route: Option<u64>) {
        for receiver in &placement.tell {
            if !self.knows(key, receiver) {
                self.begin_telling(key, receiver, Notice::HandOver, route);
                // Somebody is on it, so it is one message and no steps.
                self.stop_steps(key, receiver);
            }
        }
    }

    /// Whether those who stand for a receiver now have been told.
    fn knows(&self, key: &AlertKey, receiver: &ReceiverName) -> bool {
        let told = self.alert(key).and_then(|alert| alert.told.get(receiver));
        let Some(told) = told else {
            return false;
        };
        let rules = self.rules.receivers.get(receiver);
        rules
            .and_then(|rules| rules.steps.first())
            .is_none_or(|step| {
                let (reached, _) = reach(self.policy, step, 0, self.now.wall);
                reached.iter().all(|to| told.to.contains_key(to))
            })
    }

    /// Tells a receiver: by its own way, or from its first step on.
    pub(super) fn begin_telling(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        notice: Notice,
        route: Option<u64>,
    ) {
        let has_steps = self
            .rules
            .receivers
            .get(receiver)
            .is_some_and(|receiver| !receiver.steps.is_empty());
        if has_steps {
            self.begin_steps(key, receiver, notice, route);
        } else {
            self.tell(
                key,
                receiver,
                Destination::Receiver(receiver.clone()),
                0,
                notice,
                route,
            );
        }
    }

    /// Writes one message and notes whom it goes to.
    pub(super) fn tell(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        to: Destination,
        step: u32,
        notice: Notice,
        route: Option<u64>,
    ) {
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        let (message, order) = self.send(
            key,
            &alert,
            Draft {
                receiver,
                to: to.clone(),
                step,
                notice,
                route,
                ended: None,
            },
        );
        self.edit_alert(key, |alert| {
            alert.note_told(receiver, to, message, order);
            alert.tellings += 1;
        });
        self.refine_held(key);
    }

    /// Tells the end wherever anything was told.
    pub(super) fn tell_end(&mut self, key: &AlertKey, alert: &Alert, ended: Ended) {
        for (receiver, told) in &alert.told {
            for to in told.to.keys() {
                self.send(
                    key,
                    alert,
                    Draft {
                        receiver,
                        to: to.clone(),
                        step: 0,
                        notice: Notice::Close,
                        route: None,
                        ended: Some(ended),
                    },
                );
            }
        }
    }

    fn send(&mut self, key: &AlertKey, alert: &Alert, draft: Draft<'_>) -> (Digest, u64) {
        let Draft {
            receiver,
            to,
            step,
            notice,
            route,
            ended,
        } = draft;
        let message = message_key(key, alert.opening, &to, step, alert.tellings, notice);
        self.decide(Decision::Told {
            number: alert.number,
            receiver: receiver.clone(),
            to: to.clone(),
            step,
            notice,
            key: message,
            route,
        });
        let subject = self.subject_of(key, alert);
        let runbook = subject
            .services
            .iter()
            .find_map(|service| self.rules.service(service)?.runbook);
        let others_told: BTreeSet<ReceiverName> = alert
            .told
            .keys()
            .filter(|other| *other != receiver)
            .cloned()
            .collect();
        let thread = alert
            .told
            .get(receiver)
            .and_then(|told| told.to.get(&to))
            .map(|reached| reached.thread);
        let explains = self.explains(key, alert);
        let meta = self.meta();
        meta.last_message += 1;
        let order = meta.last_message;
        let telling = Notification {
            notice,
            number: alert.number,
            opening: alert.opening,
            alert: key.clone(),
            services: subject.services,
            criticality: subject.criticality,
            environment: subject.environment,
            family: alert.family,
            need: (subject.serves, subject.need),
            status: alert.status,
            reason: alert.reason.clone(),
            facts: alert.facts.clone(),
            since: alert.since,
            ended,
            runbook,
            step,
            others_told,
            acknowledged_by: alert.acknowledged.as_ref().map(|ack| ack.by.clone()),
            explains,
            thread,
        };
        self.delta.outbox.insert(
            message,
            Some(Message {
                key: message,
                order,
                to,
                receiver: receiver.clone(),
                at: self.now.wall,
                body: Body::Alert(Box::new(telling)),
            }),
        );
        (message, order)
    }

    /// Details of a finding that come after it was told travel with its message, if that waits still. A contact says that
    /// something is wrong, and the line that says what follows it in the same request.
    pub(super) fn refine_messages(&mut self, alert: &Alert) {
        let told = alert.told.values().flat_map(|told| told.to.values());
        for key in told.map(|reached| reached.newest) {
            let Some(mut message) = self.message(&key).cloned() else {
                continue;
            };
            if let Body::Alert(telling) = &mut message.body
                && telling.number == alert.number
                && telling.status == alert.status
                && (telling.reason != alert.reason || telling.facts != alert.facts)
            {
                telling.reason.clone_from(&alert.reason);
                telling.facts.clone_from(&alert.facts);
                self.delta.outbox.insert(key, Some(message));
            }
        }
    }

    /// A message travelled under the name of another: what follows belongs into that one's thread.
    pub(super) fn continue_thread_of(&mut self, message: &Message, lead: Digest) {
        let Some(telling) = message.telling() else {
            return;
        };
        let (receiver, to, number) = (&message.receiver, &message.to, telling.number);
        if self
            .alert(&telling.alert)
            .is_none_or(|alert| alert.number != number)
        {
            return;
        }
        self.edit_alert(&telling.alert, |alert| {
            let told = alert.told.get_mut(receiver);
            let reached = told.and_then(|told| told.to.get_mut(to));
            if let Some(reached) = reached.filter(|reached| reached.thread == message.key) {
                reached.thread = lead;
            }
        });
    }
}

impl Alert {
    /// Notes that a message about it went somewhere.
    pub(super) fn note_told(
        &mut self,
        receiver: &ReceiverName,
        to: Destination,
        message: Digest,
        order: u64,
    ) {
        let status = self.status;
        let told = self
            .told
            .entry(receiver.clone())
            .or_insert_with(|| Notified::of(status));
        if status.rank() > told.status.rank() {
            told.status = status;
        }
        told.to
            .entry(to)
            .and_modify(|reached| {
                reached.last = order;
                reached.newest = message;
            })
            .or_insert(Reached {
                first: order,
                last: order,
                thread: message,
                newest: message,
            });
    }

    /// The next moment at which time alone changes something about it.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let own = [
            self.unknown_counts,
            self.eases,
            self.good_until,
            self.acknowledged.as_ref().and_then(|ack| ack.until),
        ];
        let steps = self.told.values().flat_map(|told| {
            let again = told.progress.begun.iter().map(|begun| begun.again);
            again.chain([told.progress.next])
        });
        own.into_iter()
            .chain(steps)
            .flatten()
            .map(|deadline| deadline.elapsed_ms)
            .min()
    }

    /// Puts its deadlines on the clock of a new boot.
    pub(super) fn anchor(&mut self, before: vigie_core::time::StoredNow, now: Now) {
        let anchor = |deadline: &mut Option<vigie_core::time::Deadline>| {
            if let Some(deadline) = deadline {
                *deadline = deadline.anchored(before, now);
            }
        };
        anchor(&mut self.unknown_counts);
        anchor(&mut self.eases);
        anchor(&mut self.good_until);
        if let Some(acknowledged) = &mut self.acknowledged {
            anchor(&mut acknowledged.until);
        }
        for told in self.told.values_mut() {
            anchor(&mut told.progress.next);
            for begun in &mut told.progress.begun {
                anchor(&mut begun.again);
            }
        }
    }
}
