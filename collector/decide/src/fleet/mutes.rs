//! What keeps an alert from being told: silences, maintenance, and another alert that explains it.

use std::{collections::BTreeSet, ops::Bound};

use super::{Answered, Decision, MuteEvent, Transition, telling::Cause};
use crate::{
    alert::{Alert, AlertKey, BuiltIn, Source},
    mute::{MUTES_MAX, Mute, Muted, MutedBy, Scope},
    routing::Routing,
    rules::Subject,
};
use vigie_core::{
    id::{NodeName, ServiceName},
    status::{Family, Status},
    time::Deadline,
};

/// How long a chain of services that need each other is followed.
const DEPENDS_DEPTH_MAX: usize = 16;

impl Transition<'_> {
    pub(super) fn mute(&mut self, event: MuteEvent) {
        match &event {
            MuteEvent::SilenceStarted {
                matches,
                reason,
                for_ms,
                uid,
            } => {
                let what = Muted::Silence(Box::new(matches.clone()));
                self.begin_mute(&event, what, reason.clone(), *for_ms, *uid);
            }
            MuteEvent::MaintenanceStarted {
                place,
                reason,
                for_ms,
                uid,
            } => {
                let what = Muted::Maintenance(place.clone());
                self.begin_mute(&event, what, reason.clone(), *for_ms, *uid);
            }
            MuteEvent::MuteEnded { mute, .. } => {
                if super::row(&self.delta.mutes, &self.state.mutes, mute).is_none() {
                    self.outcome.answered = Some(Answered::NothingThere);
                    return;
                }
                let mute = *mute;
                self.record(&event);
                self.end_mute(mute);
                self.release_muted();
                self.outcome.answered = Some(Answered::Done);
            }
        }
    }

    fn begin_mute(
        &mut self,
        event: &MuteEvent,
        what: Muted,
        reason: String,
        for_ms: u64,
        uid: u32,
    ) {
        if self.running_mutes().count() >= MUTES_MAX {
            self.outcome.answered = Some(Answered::TooMany);
            return;
        }
        self.record(event);
        let meta = self.meta();
        meta.last_mute += 1;
        let number = meta.last_mute;
        self.delta.mutes.insert(
            number,
            Some(Mute {
                what,
                reason,
                uid,
                from: self.now.wall,
                until: Deadline::after(self.now, for_ms),
            }),
        );
        self.decide(Decision::MuteBegan { mute: number });
        let is_hit = |key: &AlertKey, alert: &Alert| {
            let subject = self.subject_of(key, alert);
            self.muted_by(key, alert, &subject) == Some(MutedBy::Mute(number))
        };
        let (keys, hits): (Vec<AlertKey>, Vec<u64>) = self
            .alerts()
            .filter(|(key, alert)| is_hit(key, alert))
            .map(|(key, alert)| (key.clone(), alert.number))
            .unzip();
        for key in keys {
            self.route(&key, Cause::Released);
        }
        self.outcome.answered = Some(Answered::Muted { mute: number, hits });
    }

    pub(super) fn end_mute(&mut self, number: u64) {
        self.delta.mutes.insert(number, None);
        self.decide(Decision::MuteOver { mute: number });
    }

    /// Routes everything anew that something kept quiet. What is still kept quiet stays so.
    pub(super) fn release_muted(&mut self) {
        let muted: Vec<AlertKey> = self
            .alerts()
            .filter(|(_, alert)| alert.muted.is_some())
            .map(|(key, _)| key.clone())
            .collect();
        for key in muted {
            self.route(&key, Cause::Released);
        }
    }

    /// Silences and maintenance that commands began, by number.
    pub(super) fn running_mutes(&self) -> impl Iterator<Item = (&u64, &Mute)> {
        super::rows(&self.delta.mutes, &self.state.mutes, Bound::Unbounded)
    }

    /// What keeps an alert quiet now.
    pub(super) fn muted_by(
        &self,
        key: &AlertKey,
        alert: &Alert,
        subject: &Subject,
    ) -> Option<MutedBy> {
        if key.is_exercise() || self.supposed(key).is_some() {
            return None;
        }
        let is_silence = key.is_node_silence() || key.is_site_silence();
        for (number, mute) in self.running_mutes() {
            let covers = match &mute.what {
                Muted::Silence(silence) => {
                    silence.covers(key, alert.number, subject, alert.family, alert.status)
                }
                Muted::Maintenance(place) => {
                    Scope::Reachability.covers(alert.family, is_silence)
                        && self.is_work_at(key, subject, place)
                }
            };
            if covers && !mute.until.is_past(self.now) {
                return Some(MutedBy::Mute(*number));
            }
        }
        let is_there = |place: &crate::mute::Nodes| self.is_work_at(key, subject, place);
        let window = self
            .policy
            .window_over(alert.family, is_silence, self.civil(), is_there);
        window.map(|name| MutedBy::Window(name.clone()))
    }

    /// Whether an alert is about nodes that are worked at. That a site is silent is explained only if all are.
    fn is_work_at(&self, key: &AlertKey, subject: &Subject, place: &crate::mute::Nodes) -> bool {
        if let Some(site) = key.site() {
            let of_site = self
                .state
                .nodes
                .keys()
                .filter(|node| self.rules.site_of(node) == *site);
            let mut is_any = false;
            for node in of_site {
                is_any = true;
                let groups = self.rules.groups_of(node);
                let groups = groups.map(|(group, _)| group.clone()).collect();
                if !place.covers(node.as_str(), &groups) {
                    return false;
                }
            }
            return is_any;
        }
        key.node_name()
            .is_some_and(|node| place.covers(node.as_str(), &subject.groups))
    }

    /// Notes that an alert is kept quiet, and what would have been said of it.
    pub(super) fn keep_quiet(
        &mut self,
        key: &AlertKey,
        alert: &Alert,
        by: MutedBy,
        placement: Routing,
        cause: Cause,
    ) {
        let is_news = matches!(cause, Cause::Opened | Cause::Worse);
        if alert.muted.as_ref() == Some(&by) && !is_news {
            return;
        }
        let untold = |receiver: &vigie_core::id::ReceiverName| {
            alert
                .told
                .get(receiver)
                .is_none_or(|told| alert.status.rank() > told.status.rank())
        };
        self.decide(Decision::Muted {
            number: alert.number,
            by: by.clone(),
            would_tell: placement.tell.into_iter().filter(untold).collect(),
            would_hold: placement.hold.into_iter().filter(untold).collect(),
        });
        self.edit_alert(key, |alert| {
            alert.muted = Some(by);
            alert.stop_steps();
        });
        if alert.muted.is_none() {
            self.release_explained(key, alert);
        }
    }

    /// The alert that explains this one, if everybody who would be told of this one knows of that: a silent node for what
    /// nobody can report of it, a site that took its node's place, a service for those that need it.
    ///
    /// A node that hands in something is heard, whatever its silence is still called: a certificate in doubt, or a silence
    /// that was judged a moment before the request came, must not make what it says nobody's.
    pub(super) fn explained_by(
        &self,
        key: &AlertKey,
        alert: &Alert,
        placement: &Routing,
    ) -> Option<u64> {
        if !matches!(alert.family, Family::Host | Family::Availability) || key.is_node_silence() {
            return None;
        }
        let of_node = key.node_name().and_then(|node| {
            if !self.node(node).is_some_and(|node| node.unheard) {
                return None;
            }
            let silence = self.alert(&AlertKey::of_node(node, BuiltIn::NodeSilent));
            let is_known = |parent: &&Alert| stands_for(parent, alert, placement);
            silence.filter(is_known).or_else(|| {
                // A site stands for what its nodes' silence stood for. What other nodes there say is their own.
                let site = self.rules.site_of(node);
                let site = self.alert(&AlertKey::of_site(&site));
                site.filter(|site| alert.folded_into == Some(site.number))
                    .filter(is_known)
            })
        });
        of_node
            .or_else(|| self.needed_that_fails(alert, placement))
            .map(|parent| parent.number)
    }

    /// Whether an alert of a node is kept quiet by the node's silence, or by that of its site.
    pub(super) fn is_explained_by_silence(&self, node: &NodeName, key: &AlertKey) -> bool {
        let site = self.rules.site_of(node);
        let silences = [
            AlertKey::of_node(node, BuiltIn::NodeSilent),
            AlertKey::of_site(&site),
        ];
        let parent = self.alert(key).and_then(|alert| alert.folded_into);
        parent.is_some()
            && silences
                .iter()
                .any(|silence| self.alert(silence).map(|silence| silence.number) == parent)
    }

    /// The alert of a service without which those of this one cannot work.
    fn needed_that_fails(&self, alert: &Alert, placement: &Routing) -> Option<&Alert> {
        let needed = self.needed_by(&alert.claimed);
        if needed.is_empty() || placement.tell.is_empty() {
            return None;
        }
        let groups = self.rules.groups.values();
        // Only of nodes that may speak for them: what others say of a service is in doubt, and explains nothing.
        let nodes: BTreeSet<&NodeName> = groups
            .filter(|group| !group.services.is_disjoint(&needed))
            .flat_map(|group| &group.nodes)
            .collect();
        nodes
            .into_iter()
            .flat_map(|node| self.alerts_of(&Source::Node(node.clone())))
            .map(|(_, parent)| parent)
            .find(|parent| {
                parent.family == Family::Availability
                    && parent.status == Status::Critical
                    && !parent.claimed.is_disjoint(&needed)
                    && stands_for(parent, alert, placement)
            })
    }

    /// Folds an alert into the one that explains it. What it explained itself looks for another; its steps stand still.
    pub(super) fn fold(&mut self, key: &AlertKey, alert: &Alert, into: u64) {
        if alert.folded_into == Some(into) {
            return;
        }
        self.decide(Decision::Inhibited {
            number: alert.number,
            into,
        });
        self.edit_alert(key, |alert| {
            alert.folded_into = Some(into);
            alert.stop_steps();
        });
        self.release_explained(key, alert);
    }

    /// A site is silent, and its alert takes the place of its nodes': what these explained, it explains.
    pub(super) fn fold_into_site(&mut self, nodes: &[NodeName], site: &AlertKey) {
        let Some(site) = self.alert(site).cloned() else {
            return;
        };
        for node in nodes {
            let silence = self.alert(&AlertKey::of_node(node, BuiltIn::NodeSilent));
            let Some(silence) = silence.map(|silence| silence.number) else {
                continue;
            };
            for key in self.alert_keys_of(&Source::Node(node.clone())) {
                let Some(alert) = self.alert(&key).cloned() else {
                    continue;
                };
                let subject = self.subject_of(&key, &alert);
                let placement = self.placement(&key, &alert, &subject);
                if alert.folded_into == Some(silence) && stands_for(&site, &alert, &placement) {
                    self.fold(&key, &alert, site.number);
                }
            }
        }
    }

    /// All services without which these cannot work, themselves not among them.
    fn needed_by(&self, services: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        let mut needed = BTreeSet::new();
        let mut next: BTreeSet<ServiceName> = services.clone();
        for _ in 0..DEPENDS_DEPTH_MAX {
            next = next
                .iter()
                .filter_map(|service| self.rules.services.get(service))
                .flat_map(|service| service.depends_on.iter().cloned())
                .filter(|service| !needed.contains(service) && !services.contains(service))
                .collect();
            if next.is_empty() {
                break;
            }
            needed.extend(next.iter().cloned());
        }
        needed
    }

    /// How many alerts this one explains.
    pub(super) fn explains(&self, key: &AlertKey, alert: &Alert) -> u64 {
        if !self.may_explain(key, alert) {
            return 0;
        }
        let others = self.alerts();
        let explained = others.filter(|(_, other)| other.folded_into == Some(alert.number));
        explained.count() as u64
    }

    /// Whether others can be folded into it.
    fn may_explain(&self, key: &AlertKey, alert: &Alert) -> bool {
        let is_needed = || {
            self.rules
                .services
                .values()
                .any(|service| !service.depends_on.is_disjoint(&alert.claimed))
        };
        key.is_node_silence()
            || key.is_site_silence()
            || (alert.family == Family::Availability && is_needed())
    }

    /// What an alert explained, now that it is over, kept quiet, quieter or explained itself, has to stand for itself or
    /// find another.
    pub(super) fn release_explained(&mut self, key: &AlertKey, alert: &Alert) {
        if !self.may_explain(key, alert) {
            return;
        }
        let explained: Vec<AlertKey> = self
            .alerts()
            .filter(|(_, child)| child.folded_into == Some(alert.number))
            .map(|(key, _)| key.clone())
            .collect();
        for child in explained {
            self.route(&child, Cause::Released);
        }
    }
}

/// Whether everybody who would be told of an alert was told of `parent`, and of nothing quieter.
fn stands_for(parent: &Alert, alert: &Alert, placement: &Routing) -> bool {
    let knows = |receiver| {
        let told = parent.told.get(receiver);
        told.is_some_and(|told| !told.to.is_empty() && told.status.rank() >= alert.status.rank())
    };
    parent.number != alert.number
        && parent.muted.is_none()
        && parent.folded_into.is_none()
        && !placement.tell.is_empty()
        && placement.tell.iter().all(knows)
}
