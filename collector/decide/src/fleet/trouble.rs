//! What the collector itself notices: silence, floods, impostors, clocks, receivers that refuse.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Event, Step, alerts::Finding, lines::built_in, telling::Cause};
use crate::{
    alert::{AlertKey, COLLECTOR, Ended},
    destination::Destination,
};
use vigie_core::{
    id::{NodeName, ReceiverName, ServiceName},
    observation::Facts,
    reason::{Reason, vigie},
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
                self.close(&built_in(&node, "@node", "silent"), Ended::Recovered)
            }
            Event::SiteSilent {
                site,
                nodes,
                probes_answer,
            } => self.site_silent(site.as_str(), &nodes, probes_answer),
            Event::SiteHeard { site } => {
                self.close(
                    &AlertKey::of_collector("@site", site.as_str()),
                    Ended::Recovered,
                );
            }
            Event::NodeFlooding { node, refused } => {
                self.raise_about(
                    &node,
                    "flooding",
                    Status::Warning,
                    vigie::NODE_FLOODING,
                    [("refused", refused.into())],
                );
            }
            Event::NodeCalm { node } => {
                self.close(&built_in(&node, "@node", "flooding"), Ended::Recovered)
            }
            Event::NodeImpostor { node, claimed } => {
                let key = built_in(&node, "@node", "impostor");
                let mut finding = self
                    .own(Status::Critical, vigie::NODE_IMPOSTOR)
                    .until_confirmed();
                finding.facts.insert("claimed".to_owned(), claimed.into());
                self.raise(&key, finding);
            }
            Event::ContactForged { node } => {
                let finding = self
                    .own(Status::Critical, vigie::CONTACT_FORGED)
                    .until_confirmed();
                self.raise(&built_in(&node, "@chain", "contact"), finding);
            }
            Event::NodeClock { node, by_ms } => {
                if by_ms.saturating_abs() <= NODE_CLOCK_FINE_MS {
                    self.close(&built_in(&node, "@node", "clock"), Ended::Recovered);
                } else {
                    self.raise_about(
                        &node,
                        "clock",
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
            } => self.raise_about(
                &node,
                "withheld",
                Status::Critical,
                vigie::ENTRIES_WITHHELD,
                [("said_seq", said_seq.into()), ("has_seq", has_seq.into())],
            ),
            Event::EntriesHandedIn { node } => {
                self.close(&built_in(&node, "@node", "withheld"), Ended::Recovered);
            }
            Event::PlanDiffers { node, said } => {
                self.plan_differs(&node, said.map(|said| said.to_string()))
            }
            Event::PlanAgrees { node } => {
                self.close(&built_in(&node, "@plan", ""), Ended::Recovered)
            }
            Event::NodeExpired { node, not_after } => self.raise_about(
                &node,
                "expired",
                Status::Warning,
                vigie::NODE_EXPIRED,
                [("not_after", not_after.to_string().into())],
            ),
            Event::NodeValid { node } => {
                self.close(&built_in(&node, "@node", "expired"), Ended::Recovered);
            }
            Event::ClockStep { by_ms } => self.clock_step(by_ms),
            Event::ClockTrusted { .. } => {
                self.meta().clock_in_doubt = false;
                self.close(&AlertKey::of_collector("@clock", ""), Ended::Recovered);
                self.ground_changed();
            }
            Event::DeliveryFailing {
                receiver,
                waiting,
                http_status,
            } => {
                let mut finding = self.own(Status::Critical, vigie::DELIVERY_FAILING);
                finding.facts.extend([
                    ("receiver".to_owned(), Value::from(receiver.to_string())),
                    ("waiting".to_owned(), waiting.into()),
                    ("http_status".to_owned(), http_status.into()),
                ]);
                self.raise(
                    &AlertKey::of_collector("@delivery", &receiver.to_string()),
                    finding,
                );
            }
            Event::DeliveryWorks { receiver } => {
                self.close(
                    &AlertKey::of_collector("@delivery", &receiver.to_string()),
                    Ended::Recovered,
                );
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
        let alarm = AlertKey::of_collector("@commit", "");
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
        for key in self.alert_keys(Some(COLLECTOR)) {
            let ended = if key.is_exercise() {
                Ended::Exercised
            } else {
                Ended::Replaced
            };
            let is_dropped = match key.check.as_str() {
                "@delivery" => !self.can_be_told(&key.object),
                "@exercise" => !self.knows_receiver(&key.object),
                // Whether somebody can be reached under the new rules, the next page shows.
                "@receiver" => true,
                "@site" => !self
                    .state
                    .nodes
                    .keys()
                    .any(|node| self.rules.site_of(node).as_str() == key.object),
                _ => false,
            };
            if is_dropped {
                self.close(&key, ended);
            }
        }
    }

    fn knows_receiver(&self, receiver: &str) -> bool {
        let receiver = receiver.parse();
        receiver.is_ok_and(|receiver| self.rules.receivers.contains_key::<ReceiverName>(&receiver))
    }

    /// Whether the rules know a destination.
    fn can_be_told(&self, destination: &str) -> bool {
        match destination.parse() {
            Ok(Destination::Receiver(receiver)) => self.rules.receivers.contains_key(&receiver),
            Ok(Destination::Person { person, channel }) => self
                .rules
                .people
                .get(&person)
                .is_some_and(|person| person.channels.contains(&channel)),
            Err(_) => false,
        }
    }

    fn own(&self, status: Status, reason: Reason) -> Finding {
        Finding::own(status, reason, Facts::new(), self.now.wall)
    }

    fn raise_about<const N: usize>(
        &mut self,
        node: &NodeName,
        object: &str,
        status: Status,
        reason: Reason,
        facts: [(&str, Value); N],
    ) {
        let mut finding = self.own(status, reason);
        finding
            .facts
            .extend(facts.map(|(key, value)| (key.to_owned(), value)));
        self.raise(&built_in(node, "@node", object), finding);
    }

    fn node_silent(&mut self, node: &NodeName, last_contact: Wall) {
        let checks: Vec<Value> = self
            .plan(node)
            .and_then(|plan| plan.complete.as_ref())
            .map(|(_, plan)| plan.keys().map(|check| check.as_str().into()).collect())
            .unwrap_or_default();
        self.edit_node(node, |node| node.unheard = true);
        let mut finding = self.own(Status::Critical, vigie::NODE_SILENT);
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
        self.raise(&built_in(node, "@node", "silent"), finding);
    }

    fn site_silent(&mut self, site: &str, nodes: &[NodeName], probes_answer: bool) {
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
        let mut finding = self.own(Status::Critical, reason);
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
        let key = AlertKey::of_collector("@site", site);
        self.raise(&key, finding);
        self.fold_into_site(nodes, &key);
        for node in nodes {
            self.close(&built_in(node, "@node", "silent"), Ended::Replaced);
        }
    }

    fn plan_differs(&mut self, node: &NodeName, said: Option<String>) {
        let has = self
            .plan(node)
            .and_then(|plan| plan.complete.as_ref().map(|(digest, _)| *digest));
        let mut finding = match has {
            None => self.own(Status::Critical, vigie::PLAN_MISSING),
            Some(has) => {
                let mut finding = self.own(Status::Critical, vigie::PLAN_MISMATCH);
                finding
                    .facts
                    .insert("has".to_owned(), has.to_string().into());
                finding
            }
        };
        if let (Some(said), Some(_)) = (said, has) {
            finding.facts.insert("said".to_owned(), said.into());
        }
        self.raise(&built_in(node, "@plan", ""), finding);
    }

    fn clock_step(&mut self, by_ms: i64) {
        if by_ms.saturating_abs() > CLOCK_DOUBT_MS {
            if !self.civil().is_in_doubt {
                self.meta().clock_in_doubt = true;
                // What waits for a morning cannot know when that is. Said once: later steps of the clock change nothing.
                self.flush_digests();
            }
            let mut finding = self.own(Status::Critical, vigie::CLOCK_STEP);
            finding.facts.insert("by_ms".to_owned(), by_ms.into());
            self.raise(&AlertKey::of_collector("@clock", ""), finding);
        }
        self.ground_changed();
    }
}
