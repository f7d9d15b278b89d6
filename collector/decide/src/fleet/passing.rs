//! What time alone brings: edges of calendars and windows, steps, digests, the end of mutes and acknowledgements.

use super::{ClockEvent, State, Transition, decision::UnacknowledgedBecause, telling::Cause};
use crate::alert::{Alert, AlertKey};
use vigie_core::time::{Elapsed, Now, StoredNow, Wall};

/// The next moment at which [`ClockEvent::Deadline`] would change something.
#[must_use]
pub fn next_deadline(state: &State, now: Now) -> Option<Elapsed> {
    let on_the_wall = |at: Wall| {
        let away = u64::try_from(at.0.saturating_sub(now.wall.0)).unwrap_or(0);
        now.elapsed.plus_ms(away).0
    };
    let tokens = state.tokens.values().map(|token| token.expires.elapsed_ms);
    let alerts = state
        .alerts
        .values()
        .filter_map(|alert| alert.next_deadline());
    let mutes = state.mutes.values().map(|mute| mute.until.elapsed_ms);
    let digests = state.digests.values().filter_map(|digest| digest.due);
    let edges = digests.chain(state.meta.next_edge).map(on_the_wall);
    tokens
        .chain(alerts)
        .chain(mutes)
        .chain(edges)
        .min()
        .map(Elapsed)
}

impl Transition<'_> {
    /// After a start: deadlines go on by this boot's clock.
    pub(super) fn anchor_deadlines(&mut self, before: StoredNow) {
        let now = self.now;
        for (id, token) in &self.state.tokens {
            let mut token = token.clone();
            token.expires = token.expires.anchored(before, now);
            self.delta.tokens.insert(id.clone(), Some(token));
        }
        for key in self.alert_keys() {
            let has_any = self
                .alert(&key)
                .is_some_and(|alert| alert.next_deadline().is_some());
            if has_any {
                self.edit_alert(&key, |alert| alert.anchor(before, now));
            }
        }
        let mutes: Vec<_> = self
            .running_mutes()
            .map(|(number, mute)| (*number, mute.clone()))
            .collect();
        for (number, mut mute) in mutes {
            mute.until = mute.until.anchored(before, now);
            self.delta.mutes.insert(number, Some(mute));
        }
    }

    /// Rules, zones or trust in the clock changed: everything by the clock on the wall is reckoned anew.
    pub(super) fn policy_changed(&mut self) {
        let is_closing = self.has_closed();
        self.make_digests();
        self.reschedule_digests();
        for key in self.alert_keys() {
            let acknowledged = self
                .alert(&key)
                .is_some_and(|alert| alert.acknowledged.is_some());
            let cause = if acknowledged && is_closing {
                Cause::Edge { is_closing }
            } else {
                Cause::Released
            };
            self.route(&key, cause);
        }
        self.find_next_edge();
    }

    fn find_next_edge(&mut self) {
        let edge = self.policy.next_edge(self.now.wall);
        self.meta().next_edge = edge;
    }

    /// The edge that was waited for, if it has come.
    fn edge_passed(&self) -> Option<Wall> {
        let meta = self.delta.meta.as_ref().unwrap_or(&self.state.meta);
        meta.next_edge.filter(|edge| *edge <= self.now.wall)
    }

    /// Whether a team has gone home since the edge before which everything was as it was last decided.
    fn has_closed(&self) -> bool {
        let Some(edge) = self.edge_passed() else {
            return false;
        };
        let before = edge.plus_ms(-1_000);
        self.rules.calendars.keys().any(|calendar| {
            let is_open = |at| {
                self.policy
                    .why(calendar, at)
                    .is_some_and(|why| why.is_open())
            };
            is_open(before) && !is_open(self.now.wall)
        })
    }

    pub(super) fn time_passed(&mut self, event: &ClockEvent) {
        let now = self.now;
        let expired: Vec<String> = self
            .state
            .tokens
            .iter()
            .filter(|(id, token)| match self.delta.tokens.get(*id) {
                // A start in the same commit has put it on this boot's clock.
                Some(token) => token.as_ref().is_some_and(|t| t.expires.is_past(now)),
                None => token.expires.is_past(now),
            })
            .map(|(id, _)| id.clone())
            .collect();
        let is_alert_due = |alert: &Alert| {
            alert
                .next_deadline()
                .is_some_and(|deadline| deadline <= now.elapsed.0)
        };
        let due: Vec<AlertKey> = self
            .alerts()
            .filter(|(_, alert)| is_alert_due(alert))
            .map(|(key, _)| key.clone())
            .collect();
        let over: Vec<u64> = self
            .running_mutes()
            .filter(|(_, mute)| mute.until.is_past(now))
            .map(|(number, _)| *number)
            .collect();
        let is_digest_due = self
            .state
            .digests
            .keys()
            .chain(self.delta.digests.keys())
            .filter_map(|receiver| self.digest_due(receiver)?.due)
            .any(|due| due <= now.wall);
        let is_edge = self.edge_passed().is_some();
        if expired.is_empty() && due.is_empty() && over.is_empty() && !is_digest_due && !is_edge {
            return;
        }
        self.record(event);
        for id in expired {
            self.delta.tokens.insert(id, None);
        }
        // Digests first: what they say is told, and is not told once more by itself at the same opening.
        self.make_digests();
        for number in &over {
            self.end_mute(*number);
        }
        if is_edge {
            let is_closing = self.has_closed();
            for key in self.alert_keys() {
                self.route(&key, Cause::Edge { is_closing });
            }
            self.find_next_edge();
        } else if !over.is_empty() {
            self.release_muted();
        }
        for key in due {
            self.alert_due(&key);
        }
    }

    /// What time brings to one alert.
    fn alert_due(&mut self, key: &AlertKey) {
        let now = self.now;
        let is_past = |deadline: Option<vigie_core::time::Deadline>| {
            deadline.is_some_and(|deadline| deadline.is_past(now))
        };
        if self
            .alert(key)
            .is_some_and(|alert| is_past(alert.good_until))
        {
            self.no_longer_good(key);
        }
        if self
            .alert(key)
            .is_some_and(|alert| is_past(alert.unknown_counts))
        {
            self.edit_alert(key, |alert| alert.unknown_counts = None);
            self.route(key, Cause::Released);
        }
        if self.alert(key).is_some_and(|alert| is_past(alert.eases)) {
            self.edit_alert(key, Alert::ease);
        }
        let expires = self
            .alert(key)
            .and_then(|alert| alert.acknowledged.as_ref())
            .and_then(|acknowledged| acknowledged.until);
        if is_past(expires) {
            self.forget_acknowledgement(key, UnacknowledgedBecause::Expired);
            self.route(key, Cause::Reopened);
            return;
        }
        self.steps_due(key);
    }
}
