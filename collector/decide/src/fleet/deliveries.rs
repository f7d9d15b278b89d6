//! What became of messages.

use std::collections::BTreeSet;

use super::{DeliveryEvent, Transition, telling::Cause};
use crate::alert::{AlertKey, BuiltIn, Ended, Message};
use vigie_core::{reason::vigie, status::Status};

impl Transition<'_> {
    /// What is said of a message that is not in the outbox any more is no news, and leaves no line.
    pub(super) fn delivery(&mut self, event: DeliveryEvent) {
        match event {
            DeliveryEvent::Delivered { key, carried_by } => {
                if let Some(message) = self.message(&key).cloned() {
                    self.record(&event);
                    self.delta.outbox.insert(key, None);
                    if let Some(lead) = carried_by {
                        self.continue_thread_of(&message, lead);
                    }
                }
            }
            DeliveryEvent::Undeliverable { key } => {
                if self.message(&key).is_some() {
                    self.record(&event);
                    self.delta.outbox.insert(key, None);
                }
            }
            DeliveryEvent::Refused { key, .. } => {
                if let Some(message) = self.message(&key).cloned() {
                    self.record(&event);
                    self.refused(&message);
                }
            }
            DeliveryEvent::DeliveryFailing {
                ref receiver,
                waiting,
                http_status,
            } => {
                let receiver = receiver.clone();
                self.record(&event);
                let facts = [
                    ("receiver", receiver.to_string().into()),
                    ("waiting", waiting.into()),
                    ("http_status", http_status.into()),
                ];
                let what = BuiltIn::DeliveryFailing(receiver);
                let reason = vigie::DELIVERY_FAILING;
                let finding = self.finding(&what, Status::Critical, reason, facts);
                self.raise(&AlertKey::of_collector(what), finding);
            }
            DeliveryEvent::DeliveryWorks { ref receiver } => {
                let receiver = receiver.clone();
                self.record(&event);
                let key = AlertKey::of_collector(BuiltIn::DeliveryFailing(receiver));
                self.close(&key, Ended::Recovered);
            }
            DeliveryEvent::CommitFailed { .. } => {
                self.record(&event);
                if let DeliveryEvent::CommitFailed { told, .. } = event {
                    self.commits_failed(told);
                }
            }
        }
    }

    /// Commits work again. Who was told meanwhile is now in the log as told, so that the end reaches them too.
    fn commits_failed(&mut self, told: Vec<Message>) {
        let alarm = AlertKey::of_collector(BuiltIn::CommitFailing);
        let alerts = told.iter().filter_map(|m| Some(m.telling()?.alert.clone()));
        let alerts: BTreeSet<AlertKey> = alerts.filter(|key| *key != alarm).collect();
        for message in told {
            self.adopt(message);
        }
        self.close(&alarm, Ended::Recovered);
        // Only pages went out. What is held, and whoever must know by the hour that it is now, follows.
        for key in &alerts {
            self.route(key, Cause::Released);
        }
    }
}
