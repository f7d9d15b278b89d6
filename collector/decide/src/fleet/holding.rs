//! What waits for a receiver's opening, and the digest that it becomes there.

use std::ops::Bound;

use super::{Decision, Transition};
use crate::{
    alert::{Alert, AlertKey, Body, Ended, Message, Notified, Reached, digest_key},
    destination::Destination,
    held::{Deferred, DeferredKey, DigestDue, DigestLine, DigestNotice, HELD_MAX, MuteLine},
    mute::Muted,
    rules::Subject,
};
use vigie_core::{
    id::{NodeName, ReceiverName},
    status::Family,
    time::Wall,
};

/// Later than this a digest says that it is late.
const LATE_AFTER_MS: i64 = 5 * 60_000;

impl Transition<'_> {
    pub(super) fn held(&self, key: &DeferredKey) -> Option<&Deferred> {
        super::row(&self.delta.held, &self.state.held, key)
    }

    pub(super) fn digest_due(&self, receiver: &ReceiverName) -> Option<&DigestDue> {
        super::row(&self.delta.digests, &self.state.digests, receiver)
    }

    /// Keeps an alert for a receiver's next digest.
    pub(super) fn hold(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        subject: &Subject,
        route: Option<u64>,
    ) {
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        let for_digest_only = self.is_digest_of(route, receiver);
        let has_told = alert.told.get(receiver);
        if has_told
            .is_some_and(|told| !for_digest_only && alert.status.rank() <= told.status.rank())
        {
            // It has been told here, and is nothing new.
            return;
        }
        let row = DeferredKey {
            receiver: receiver.clone(),
            alert: key.clone(),
        };
        let before = self.held(&row).cloned();
        if before
            .as_ref()
            .is_some_and(|held| held.number == alert.number && held.ended.is_none())
        {
            self.keep_current(&row, &alert);
            return;
        }
        let mut due = self.digest_due(receiver).copied().unwrap_or_default();
        let opening = self.policy.next_opening(receiver, self.now.wall);
        due.due = due.due.into_iter().chain(opening).min();
        if due.due.is_none() {
            // A row that waits for no morning would wait for ever.
            return;
        }
        if before.is_none() {
            if due.rows >= HELD_MAX as u64 {
                due.left_out += 1;
                self.delta.digests.insert(receiver.clone(), Some(due));
                return;
            }
            due.rows += 1;
        }
        self.delta.digests.insert(receiver.clone(), Some(due));
        self.decide(Decision::Deferred {
            number: alert.number,
            receiver: receiver.clone(),
            until: due.due,
            route,
        });
        let mut held = before.unwrap_or_else(|| Deferred {
            number: alert.number,
            held_since: self.now.wall,
            since: alert.since,
            times: 0,
            worst: alert.status,
            status: alert.status,
            family: alert.family,
            services: subject.services.clone(),
            criticality: subject.criticality,
            environment: subject.environment,
            reason: String::new(),
            facts: Default::default(),
            ended: None,
            paged: Default::default(),
            acknowledged: false,
        });
        held.number = alert.number;
        held.since = alert.since;
        held.times += 1;
        held.ended = None;
        self.delta.held.insert(row.clone(), Some(held));
        self.keep_current(&row, &alert);
    }

    fn is_digest_of(&self, route: Option<u64>, receiver: &ReceiverName) -> bool {
        route
            .and_then(|route| self.rules.routes.get(usize::try_from(route).ok()?))
            .is_some_and(|route| route.digest.contains(receiver))
    }

    /// Brings one row up to its alert.
    fn keep_current(&mut self, row: &DeferredKey, alert: &Alert) {
        let Some(mut held) = self.held(row).cloned() else {
            return;
        };
        held.status = alert.status;
        if alert.status.rank() > held.worst.rank() {
            held.worst = alert.status;
        }
        held.reason.clone_from(&alert.reason);
        held.facts.clone_from(&alert.facts);
        held.acknowledged = alert.acknowledged.is_some();
        for receiver in alert.told.keys().filter(|told| **told != row.receiver) {
            held.paged.entry(receiver.clone()).or_insert(self.now.wall);
        }
        if self.held(row) != Some(&held) {
            self.delta.held.insert(row.clone(), Some(held));
        }
    }

    /// Receivers for whom a digest may wait.
    fn holders(&self) -> Vec<ReceiverName> {
        let changed = self.delta.digests.keys();
        let mut holders: Vec<_> = self.state.digests.keys().chain(changed).cloned().collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    /// Rows about an alert that are kept anywhere.
    fn rows_about(&self, key: &AlertKey, number: u64) -> Vec<DeferredKey> {
        let rows = self.holders().into_iter().map(|receiver| DeferredKey {
            receiver,
            alert: key.clone(),
        });
        rows.filter(|row| self.held(row).is_some_and(|held| held.number == number))
            .collect()
    }

    /// Takes changes of an alert into what is kept of it.
    pub(super) fn refine_held(&mut self, key: &AlertKey) {
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        for row in self.rows_about(key, alert.number) {
            self.keep_current(&row, &alert);
        }
    }

    /// Notes in what is kept of an alert that it ended.
    pub(super) fn held_ended(&mut self, key: &AlertKey, number: u64, ended: Ended) {
        for row in self.rows_about(key, number) {
            if let Some(mut held) = self.held(&row).cloned() {
                held.ended = Some((self.now.wall, ended));
                self.delta.held.insert(row, Some(held));
            }
        }
    }

    /// Makes the digests that are due.
    pub(super) fn make_digests(&mut self) {
        let now = self.now.wall;
        self.make_digests_if(|due| due.due.is_some_and(|due| due <= now));
    }

    /// Makes the digests that have something to say, whatever the hour.
    pub(super) fn flush_digests(&mut self) {
        self.make_digests_if(DigestDue::is_wanted);
    }

    fn make_digests_if(&mut self, is_it: impl Fn(&DigestDue) -> bool) {
        for receiver in self.holders() {
            let due = self.digest_due(&receiver).copied();
            if let Some(due) = due.filter(&is_it) {
                self.make_digest(&receiver, due);
            }
        }
    }

    fn make_digest(&mut self, receiver: &ReceiverName, due: DigestDue) {
        let rules = self.rules.receivers.get(receiver);
        let is_always = rules.is_some_and(|receiver| receiver.digest_always);
        let promised = due.due.unwrap_or(self.now.wall).min(self.now.wall);
        let mut notice = DigestNotice {
            due: promised,
            is_late: self.now.wall.0 - promised.0 > LATE_AFTER_MS,
            since: due.last,
            left_out: due.left_out,
            ..DigestNotice::default()
        };
        let mut rows = Vec::new();
        for row in self.held_rows(receiver) {
            let Some(held) = self.held(&row).cloned() else {
                continue;
            };
            let is_on = self
                .alert(&row.alert)
                .is_some_and(|alert| alert.number == held.number);
            let line = DigestLine {
                alert: row.alert.clone(),
                held,
            };
            if is_on {
                notice.still_on.push(line);
            } else {
                notice.ended.push(line);
            }
            rows.push(row);
        }
        notice.still_on.sort_by_key(urgency);
        notice
            .ended
            .sort_by_key(|line| line.held.ended.map(|(at, _)| at));
        let has_news = !rows.is_empty() || due.left_out > 0;
        if has_news || is_always {
            self.describe_fleet(&mut notice);
            self.send_digest(receiver, notice);
        }
        for row in rows {
            self.delta.held.insert(row, None);
        }
        let next = DigestDue {
            due: is_always
                .then(|| self.policy.next_opening(receiver, self.now.wall))
                .flatten(),
            last: if has_news || is_always {
                Some(self.now.wall)
            } else {
                due.last
            },
            rows: 0,
            left_out: 0,
        };
        self.delta.digests.insert(receiver.clone(), Some(next));
    }

    fn held_rows(&self, receiver: &ReceiverName) -> Vec<DeferredKey> {
        let first = DeferredKey {
            receiver: receiver.clone(),
            alert: AlertKey::first(),
        };
        let wanted = |row: &&DeferredKey| row.receiver == *receiver;
        let from = Bound::Included(&first);
        super::rows(&self.delta.held, &self.state.held, from)
            .map(|(row, _)| row)
            .take_while(wanted)
            .cloned()
            .collect()
    }

    /// What a morning must know besides what was held.
    fn describe_fleet(&self, notice: &mut DigestNotice) {
        let held: std::collections::BTreeSet<AlertKey> = notice
            .still_on
            .iter()
            .map(|line| line.alert.clone())
            .collect();
        for (key, alert) in self.alerts() {
            notice.silent.extend(silent_node(key));
            if matches!(alert.family, Family::Backup | Family::Tls) && !held.contains(key) {
                let subject = self.subject_of(key, alert);
                notice.attention.push(DigestLine {
                    alert: key.clone(),
                    held: Deferred {
                        number: alert.number,
                        held_since: self.now.wall,
                        since: alert.since,
                        times: 1,
                        worst: alert.status,
                        status: alert.status,
                        family: alert.family,
                        services: subject.services,
                        criticality: subject.criticality,
                        environment: subject.environment,
                        reason: alert.reason.clone(),
                        facts: alert.facts.clone(),
                        ended: None,
                        paged: Default::default(),
                        acknowledged: alert.acknowledged.is_some(),
                    },
                });
            }
        }
        let named = self.rules.groups.values().flat_map(|group| &group.nodes);
        notice.missing = named
            .filter(|node| self.node(node).is_none())
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        for (number, mute) in self.running_mutes() {
            notice.mutes.push(MuteLine {
                name: number.to_string(),
                is_maintenance: matches!(mute.what, Muted::Maintenance(_)),
                reason: mute.reason.clone(),
                until: Some(Wall(mute.until.wall_ms)),
            });
        }
        for (name, window) in &self.rules.maintenance {
            let Some(zone) = self.policy.zones.find(window.window.time_zone()) else {
                continue;
            };
            if window.window.is_on(zone, self.now.wall) {
                notice.mutes.push(MuteLine {
                    name: name.to_string(),
                    is_maintenance: true,
                    reason: window.reason.clone(),
                    until: window.window.next_edge(zone, self.now.wall),
                });
            }
        }
    }

    fn send_digest(&mut self, receiver: &ReceiverName, notice: DigestNotice) {
        let meta = self.meta();
        meta.last_message += 1;
        let order = meta.last_message;
        let key = digest_key(receiver, notice.due, order);
        self.decide(Decision::DigestMade {
            receiver: receiver.clone(),
            due: notice.due,
            is_late: notice.is_late,
            key,
            lines: (notice.still_on.len() + notice.ended.len()) as u64,
        });
        let to = Destination::Receiver(receiver.clone());
        // Whoever reads of it here hears of its end here.
        for line in &notice.still_on {
            self.edit_alert(&line.alert, |alert| {
                let status = alert.status;
                let told = alert.told.entry(receiver.clone());
                let told = told.or_insert_with(|| Notified::of(status));
                if status.rank() > told.status.rank() {
                    told.status = status;
                }
                let reached = told.to.entry(to.clone()).or_insert(Reached {
                    first: order,
                    last: order,
                    thread: key,
                    newest: key,
                });
                reached.last = order;
                reached.newest = key;
            });
        }
        self.delta.outbox.insert(
            key,
            Some(Message {
                key,
                order,
                to,
                receiver: receiver.clone(),
                at: self.now.wall,
                body: Body::Digest(Box::new(notice)),
            }),
        );
    }

    /// Reckons anew when digests are due: rules or zones may have changed. What waits for a morning that will not come any
    /// more is said now; what waits for a receiver that is no more is routed anew by the caller.
    pub(super) fn reschedule_digests(&mut self) {
        for receiver in self.holders() {
            let Some(mut due) = self.digest_due(&receiver).copied() else {
                continue;
            };
            let is_known = self.rules.receivers.contains_key(&receiver);
            let opening = self.policy.next_opening(&receiver, self.now.wall);
            if is_known && opening.is_none() && due.is_wanted() {
                self.make_digest(&receiver, due);
                continue;
            }
            if !is_known {
                for row in self.held_rows(&receiver) {
                    self.delta.held.insert(row, None);
                }
                self.delta.digests.insert(receiver, None);
                continue;
            }
            let is_coming = due.due.is_some_and(|due| due > self.now.wall);
            if is_coming || (due.due.is_none() && due.is_wanted()) {
                due.due = opening;
                self.delta.digests.insert(receiver, Some(due));
            }
        }
        let always: Vec<ReceiverName> = self
            .rules
            .receivers
            .iter()
            .filter(|(_, rules)| rules.digest_always)
            .map(|(receiver, _)| receiver.clone())
            .collect();
        for receiver in always {
            let due = self.digest_due(&receiver).copied().unwrap_or_default();
            if due.due.is_none() {
                let due = DigestDue {
                    due: self.policy.next_opening(&receiver, self.now.wall),
                    ..due
                };
                self.delta.digests.insert(receiver, Some(due));
            }
        }
    }
}

/// Most urgent first.
fn urgency(line: &DigestLine) -> impl Ord + use<> {
    let held = &line.held;
    (
        std::cmp::Reverse(held.criticality),
        std::cmp::Reverse(held.status.rank()),
        held.since,
        held.number,
    )
}

/// The node of an alert that says that it is silent.
fn silent_node(key: &AlertKey) -> Option<NodeName> {
    key.node_name().filter(|_| key.is_node_silence()).cloned()
}
