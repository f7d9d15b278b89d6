//! What the collector itself notices: silence, floods, impostors, clocks, receivers that refuse.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Transition, TroubleEvent};
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

impl Transition<'_> {
    pub(super) fn trouble(&mut self, event: TroubleEvent) {
        self.record(&event);
        match event {
            TroubleEvent::NodeSilent { node, last_contact } => {
                self.node_silent(&node, last_contact)
            }
            TroubleEvent::NodeHeard { node } => {
                self.hear(&node);
                self.end(&node, BuiltIn::NodeSilent)
            }
            TroubleEvent::SiteSilent {
                site,
                nodes,
                probes_answer,
            } => self.site_silent(&site, &nodes, probes_answer),
            TroubleEvent::SiteHeard { site } => {
                self.close(&AlertKey::of_site(&site), Ended::Recovered);
            }
            TroubleEvent::NodeFlooding { node, refused } => {
                self.raise_built_in(
                    &node,
                    BuiltIn::NodeFlooding,
                    Status::Warning,
                    vigie::NODE_FLOODING,
                    [("refused", refused.into())],
                );
            }
            TroubleEvent::NodeCalm { node } => self.end(&node, BuiltIn::NodeFlooding),
            TroubleEvent::NodeImpostor { node, claimed } => {
                self.raise_built_in(
                    &node,
                    BuiltIn::NodeImpostor,
                    Status::Critical,
                    vigie::NODE_IMPOSTOR,
                    [("claimed", claimed.into())],
                );
            }
            TroubleEvent::ContactForged { node } => {
                let (what, reason) = (BuiltIn::ContactForged, vigie::CONTACT_FORGED);
                self.raise_built_in(&node, what, Status::Critical, reason, []);
            }
            TroubleEvent::NodeClock { node, by_ms } => {
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
            TroubleEvent::EntriesWithheld {
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
            TroubleEvent::EntriesHandedIn { node } => {
                self.end(&node, BuiltIn::EntriesWithheld);
            }
            TroubleEvent::PlanDiffers { node, said } => {
                self.plan_differs(&node, said.map(|said| said.to_string()))
            }
            TroubleEvent::PlanAgrees { node } => self.end(&node, BuiltIn::PlanDiffers),
            TroubleEvent::NodeExpired { node, not_after } => self.raise_built_in(
                &node,
                BuiltIn::NodeExpired,
                Status::Warning,
                vigie::NODE_EXPIRED,
                [("not_after", not_after.to_string().into())],
            ),
            TroubleEvent::NodeValid { node } => {
                self.end(&node, BuiltIn::NodeExpired);
            }
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
}
