//! What the collector itself notices: silence, floods, impostors, clocks, receivers that refuse.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Event, Step, telling::Cause};
use crate::{
    alert::{AlertKey, BuiltIn, Ended, Judged, Source},
    destination::Destination,
};
use vigie_core::{
    id::{NodeName, ServiceName, SiteName},
    reason::vigie,
    status::{Criticality, Family, Status},
    time::Wall,
};

/// How many names a message lists; the count says how many there are.
const NAMES_LISTED_MAX: usize = 50;

/// A node's clock is fine again when it is this close to the collector's.
const NODE_CLOCK_FINE_MS: i64 = 60_000;

/// A step of the collector's own clock beyond this puts calendars in doubt (DESIGN §3).
pub const CLOCK_DOUBT_MS: i64 = 600_000;

impl Step<'_> {
    pub(super) fn trouble(&mut self, event: Event) {
        self.record(&event);
        match event {
            Event::NodeSilent { node, last_contact } => self.node_silent(&node, last_contact),
            Event::NodeHeard { node } => {
                self.hear(&node);
                self.end(&node, BuiltIn::NodeSilent)
            }
            Event::SiteSilent {
                site,
                nodes,
                probes_answer,
            } => self.site_silent(&site, &nodes, probes_answer),
            Event::SiteHeard { site } => {
                self.close(&AlertKey::of_site(&site), Ended::Recovered);
            }
            Event::NodeFlooding { node, refused } => {
                self.raise_built_in(
                    &node,
                    BuiltIn::NodeFlooding,
                    Status::Warning,
                    vigie::NODE_FLOODING,
                    [("refused", refused.into())],
                );
            }
            Event::NodeCalm { node } => self.end(&node, BuiltIn::NodeFlooding),
            Event::NodeImpostor { node, claimed } => {
                self.raise_built_in(
                    &node,
                    BuiltIn::NodeImpostor,
                    Status::Critical,
                    vigie::NODE_IMPOSTOR,
                    [("claimed", claimed.into())],
                );
            }
            Event::ContactForged { node } => {
                let (what, reason) = (BuiltIn::ContactForged, vigie::CONTACT_FORGED);
                self.raise_built_in(&node, what, Status::Critical, reason, []);
            }
            Event::NodeClock { node, by_ms } => {
                if by_ms.saturating_abs() <= NODE_CLOCK_FINE_MS {
                    self.end(&node, BuiltIn::NodeClock);
                } else {
                    self.raise_built_in(
                        &node,
                        BuiltIn::NodeClock,
                        Status::Warning,
                        vigie::NODE_CLOCK,
                        [("by_ms", by_ms.into())],
                    );
                }
            }
            Event::EntriesWithheld {
                node,
                said_seq,
                has_seq,
            } => self.raise_built_in(
                &node,
                BuiltIn::EntriesWithheld,
                Status::Critical,
                vigie::ENTRIES_WITHHELD,
                [("said_seq", said_seq.into()), ("has_seq", has_seq.into())],
            ),
            Event::EntriesHandedIn { node } => {
                self.end(&node, BuiltIn::EntriesWithheld);
            }
            Event::PlanDiffers { node, said } => {
                self.plan_differs(&node, said.map(|said| said.to_string()))
            }
            Event::PlanAgrees { node } => self.end(&node, BuiltIn::PlanDiffers),
            Event::NodeExpired { node, not_after } => self.raise_built_in(
                &node,
                BuiltIn::NodeExpired,
                Status::Warning,
                vigie::NODE_EXPIRED,
                [("not_after", not_after.to_string().into())],
            ),
            Event::NodeValid { node } => {
                self.end(&node, BuiltIn::NodeExpired);
            }
            Event::ClockStep { by_ms } => self.clock_step(by_ms),
            Event::ClockTrusted { .. } => {
                self.meta().clock_in_doubt = false;
                self.close(
                    &AlertKey::of_collector(BuiltIn::ClockStep),
                    Ended::Recovered,
                );
                self.ground_changed();
            }
            Event::DeliveryFailing {
                receiver,
                waiting,
                http_status,
            } => {
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
            Event::DeliveryWorks { receiver } => {
                let key = AlertKey::of_collector(BuiltIn::DeliveryFailing(receiver));
                self.close(&key, Ended::Recovered);
            }
            _ => {}
        }
    }

    /// Commits work again. Who was told meanwhile is now in the log as told, so that the end reaches them too.
    pub(super) fn commits_failed(&mut self, event: Event) {
        self.record(&event);
        let Event::CommitFailed { told, .. } = event else {
            return;
        };
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

    /// Ends alerts whose cause the new rules do not know any more: a receiver, a site.
    pub(super) fn end_what_rules_dropped(&mut self) {
        for key in self.alert_keys_of(&Source::Collector) {
            let ended = if key.is_exercise() {
                Ended::Exercised
            } else {
                Ended::Replaced
            };
            let is_dropped = match (key.source(), key.judged()) {
                (Source::Site(site), _) => {
                    let mut nodes = self.state.nodes.keys();
                    !nodes.any(|node| self.rules.site_of(node) == *site)
                }
                (_, Judged::BuiltIn(BuiltIn::DeliveryFailing(to))) => !self.can_be_told(to),
                (_, Judged::BuiltIn(BuiltIn::Exercise(receiver))) => {
                    !self.rules.receivers.contains_key(receiver)
                }
                // Whether somebody can be reached under the new rules, the next page shows.
                (_, Judged::BuiltIn(BuiltIn::ReceiverUnreachable(_))) => true,
                (_, Judged::BuiltIn(_) | Judged::Check { .. }) => false,
            };
            if is_dropped {
                self.close(&key, ended);
            }
        }
    }

    /// Whether the rules know a destination.
    fn can_be_told(&self, destination: &Destination) -> bool {
        match destination {
            Destination::Receiver(receiver) => self.rules.receivers.contains_key(receiver),
            Destination::Person { person, channel } => self
                .rules
                .people
                .get(person)
                .is_some_and(|person| person.channels.contains(channel)),
        }
    }

    fn node_silent(&mut self, node: &NodeName, last_contact: Wall) {
        let checks: Vec<Value> = self
            .plan(node)
            .and_then(|plan| plan.complete.as_ref())
            .map(|(_, plan)| plan.keys().map(|check| check.as_str().into()).collect())
            .unwrap_or_default();
        self.edit_node(node, |node| node.unheard = true);
        let what = BuiltIn::NodeSilent;
        let mut finding = self.finding(&what, Status::Critical, vigie::NODE_SILENT, []);
        finding.family = Family::Host;
        finding.since = last_contact;
        // The last contact tells one silence from another, also when a commit fails and the event comes again.
        finding.opening = u64::try_from(last_contact.0).ok();
        finding.facts.extend([
            ("last_contact".to_owned(), last_contact.to_string().into()),
            ("checks_count".to_owned(), checks.len().into()),
            (
                "checks".to_owned(),
                checks.into_iter().take(NAMES_LISTED_MAX).collect(),
            ),
        ]);
        self.raise(&AlertKey::of_node(node, what), finding);
    }

    fn site_silent(&mut self, site: &SiteName, nodes: &[NodeName], probes_answer: bool) {
        let without_witness: BTreeSet<ServiceName> = nodes
            .iter()
            .flat_map(|node| self.rules.groups_of(node))
            .flat_map(|(_, group)| group.services.iter())
            .filter(|service| {
                self.rules
                    .service(service)
                    .is_none_or(|service| service.criticality == Criticality::Critical)
            })
            .cloned()
            .collect();
        for node in nodes {
            self.edit_node(node, |node| node.unheard = true);
        }
        let reason = if probes_answer {
            vigie::SITE_CUT
        } else {
            vigie::SITE_BLIND
        };
        let mut finding = self.finding(&BuiltIn::SiteSilent, Status::Critical, reason, []);
        let names = |names: &mut dyn Iterator<Item = &str>| -> Value {
            names.take(NAMES_LISTED_MAX).map(Value::from).collect()
        };
        finding.facts.extend([
            (
                "nodes".to_owned(),
                names(&mut nodes.iter().map(NodeName::as_str)),
            ),
            ("nodes_count".to_owned(), nodes.len().into()),
            (
                "services".to_owned(),
                names(&mut without_witness.iter().map(ServiceName::as_str)),
            ),
        ]);
        let key = AlertKey::of_site(site);
        self.raise(&key, finding);
        self.fold_into_site(nodes, &key);
        for node in nodes {
            let silence = AlertKey::of_node(node, BuiltIn::NodeSilent);
            self.close(&silence, Ended::Replaced);
        }
    }

    fn plan_differs(&mut self, node: &NodeName, said: Option<String>) {
        let has = self
            .plan(node)
            .and_then(|plan| plan.complete.as_ref().map(|(digest, _)| *digest));
        let what = BuiltIn::PlanDiffers;
        let (reason, facts) = match (has, said) {
            (None, _) => (vigie::PLAN_MISSING, Vec::new()),
            (Some(has), said) => {
                let has = Some(("has", has.to_string().into()));
                let said = said.map(|said| ("said", said.into()));
                (vigie::PLAN_MISMATCH, has.into_iter().chain(said).collect())
            }
        };
        self.raise_built_in(node, what, Status::Critical, reason, facts);
    }

    fn clock_step(&mut self, by_ms: i64) {
        if by_ms.saturating_abs() > CLOCK_DOUBT_MS {
            if !self.civil().is_in_doubt {
                self.meta().clock_in_doubt = true;
                // What waits for a morning cannot know when that is. Said once: later steps of the clock change nothing.
                self.flush_digests();
            }
            let what = BuiltIn::ClockStep;
            let facts = [("by_ms", by_ms.into())];
            let finding = self.finding(&what, Status::Critical, vigie::CLOCK_STEP, facts);
            self.raise(&AlertKey::of_collector(what), finding);
        }
        self.ground_changed();
    }
}
