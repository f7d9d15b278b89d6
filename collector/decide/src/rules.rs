//! The rules: what the collector's settings say about services, groups and who is told.
//!
//! Plain data without addresses or secrets, so that the whole of it can be kept beside the log and a later reader can
//! decide again exactly as the collector did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    calendar::{Calendar, recurring::Recurring},
    mute::{Nodes, Scope},
    rota::Rota,
};
use vigie_core::{
    canonical,
    digest::Digest,
    id::{
        CalendarName, ChannelName, GroupName, MaintenanceName, NodeName, PersonName, ReceiverName,
        RotaName, ServiceName, SiteName,
    },
    status::{Criticality, Environment, Family, Need, Needs, Status},
};

/// Everything that decides. The default decides nothing: no services, and nobody to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// How long a node may be unheard, in milliseconds.
    pub silent_after_ms: u64,
    /// The services; the built-in `vigie` is always there ([`Rules::service`]).
    pub services: BTreeMap<ServiceName, Service>,
    /// The groups.
    pub groups: BTreeMap<GroupName, Group>,
    /// When teams are at work.
    #[serde(default)]
    pub calendars: BTreeMap<CalendarName, Calendar>,
    /// Who can be on call.
    #[serde(default)]
    pub people: BTreeMap<PersonName, Person>,
    /// Whose turn it is.
    #[serde(default)]
    pub rotas: BTreeMap<RotaName, Rota>,
    /// Who can be told.
    pub receivers: BTreeMap<ReceiverName, Receiver>,
    /// Windows of maintenance.
    #[serde(default)]
    pub maintenance: BTreeMap<MaintenanceName, Maintenance>,
    /// In order; the first match decides.
    pub routes: Vec<Route>,
}

/// Somebody who can be on call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// By what they can be reached, the first to try first. Empty: not at all.
    pub channels: Vec<ChannelName>,
}

/// Who is told: a team by one way, or people step by step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Receiver {
    /// Where its holds and digests wait for an opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarName>,
    /// Whether a digest goes out even when there is nothing to say: a missing morning mail is itself a sign.
    #[serde(default)]
    pub digest_always: bool,
    /// Whom to tell, one after the other. Empty: the receiver has one way of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<EscalationStep>,
}

/// One step of a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EscalationStep {
    /// How long after the step before it this one is added, in milliseconds. Of no meaning for the first.
    pub after_ms: u64,
    /// Whoever is on call there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rota: Option<RotaName>,
    /// These people, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<PersonName>,
    /// By these channels, all of them. Empty: by each person's own, the next one at each repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<ChannelName>,
    /// How long until they are told again, in milliseconds; `None`: once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_ms: Option<u64>,
}

/// A window of maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Of which nodes.
    pub place: Nodes,
    /// When.
    pub window: Recurring,
    /// What it keeps quiet.
    pub scope: Scope,
    /// Why.
    pub reason: String,
}

/// What users care about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// How much it matters.
    pub criticality: Criticality,
    /// Its four needs.
    pub needs: Needs,
    /// Where to read what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Services without which it cannot work: their failures explain its own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub depends_on: BTreeSet<ServiceName>,
}

/// Nodes that belong together and may speak for the same services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its nodes.
    pub nodes: BTreeSet<NodeName>,
    /// The services they may speak for.
    pub services: BTreeSet<ServiceName>,
    /// Where they stand.
    pub site: SiteName,
    /// Where they serve.
    pub environment: Environment,
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Route {
    /// Which alerts it takes.
    pub matches: Match,
    /// When it counts; `None`: at all times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Who is told, all of them.
    pub notify: Vec<ReceiverName>,
    /// In whose next digest it stands besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digest: Vec<ReceiverName>,
    /// Told at once only while the receiver's calendar is open, else in its next digest.
    #[serde(default)]
    pub hold: bool,
}

/// When a route counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// While this calendar is open.
    Inside(CalendarName),
    /// While it is closed.
    Outside(CalendarName),
}

/// Conditions of a route; an empty one holds for all, a list for any of its values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// Highest criticality of the services concerned.
    pub criticality: BTreeSet<Criticality>,
    /// Any of the services concerned.
    pub service: BTreeSet<ServiceName>,
    /// Family of the check.
    pub family: BTreeSet<Family>,
    /// How it stands.
    pub status: BTreeSet<Status>,
    /// The node.
    pub node: BTreeSet<NodeName>,
    /// Any of the node's groups.
    pub group: BTreeSet<GroupName>,
    /// Where the node stands.
    pub site: BTreeSet<SiteName>,
    /// Where the node serves.
    pub environment: BTreeSet<Environment>,
    /// Level of the need that the check serves.
    pub need: BTreeSet<u8>,
}

impl Match {
    /// Whether it has no condition.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        *self == Self::default()
    }
}

/// What an alert concerns, as far as routes can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Services concerned; none known for a node without a group.
    pub services: BTreeSet<ServiceName>,
    /// The highest of their criticalities.
    pub criticality: Criticality,
    /// The need in question.
    pub serves: Need,
    /// The highest level of it.
    pub need: u8,
    /// The most exposed of the groups' environments.
    pub environment: Environment,
    /// Sites of the groups.
    pub sites: BTreeSet<SiteName>,
    /// The node's groups.
    pub groups: BTreeSet<GroupName>,
    /// Services that the node spoke for without being allowed to.
    pub undeclared: BTreeSet<ServiceName>,
}

impl Rules {
    /// The digest under which these rules are kept beside the log.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(canonical::write(self).as_bytes())
    }

    /// A service by name, the built-in one included.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<Service> {
        let built_in = || {
            (*name == ServiceName::vigie()).then_some(Service {
                criticality: Criticality::Critical,
                needs: Needs::HIGHEST,
                runbook: None,
                depends_on: BTreeSet::new(),
            })
        };
        self.services.get(name).cloned().or_else(built_in)
    }

    /// Whether a route or a window of maintenance names `node`: else it is told apart by its groups alone.
    #[must_use]
    pub fn names_node(&self, node: &str) -> bool {
        let mut routes = self.routes.iter();
        let mut windows = self.maintenance.values();
        routes.any(|route| route.matches.node.contains(node))
            || windows.any(|window| window.place.nodes.contains(node))
    }

    /// The groups that `node` belongs to.
    pub fn groups_of<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> impl Iterator<Item = (&'a GroupName, &'a Group)> {
        self.groups
            .iter()
            .filter(move |(_, group)| group.nodes.contains(node))
    }

    /// The site of `node`: its first group's, else `default`.
    #[must_use]
    pub fn site_of(&self, node: &NodeName) -> SiteName {
        self.groups_of(node)
            .next()
            .map_or_else(SiteName::default_site, |(_, group)| group.site.clone())
    }

    /// What an alert of `node` concerns, when its check speaks for `claimed` (none: all services of the node).
    /// Doubt raises: an undeclared service, an unknown one, or a node without group counts as the highest.
    #[must_use]
    pub fn subject(
        &self,
        node: &NodeName,
        claimed: &BTreeSet<ServiceName>,
        serves: Need,
    ) -> Subject {
        let groups: BTreeMap<_, _> = self.groups_of(node).collect();
        let carried: BTreeSet<ServiceName> = groups
            .values()
            .flat_map(|group| group.services.iter().cloned())
            .collect();
        let undeclared: BTreeSet<ServiceName> = claimed.difference(&carried).cloned().collect();
        let services = if claimed.is_empty() {
            carried.clone()
        } else {
            claimed.clone()
        };
        let weighed = if undeclared.is_empty() {
            &services
        } else {
            &carried
        };
        let known: Vec<Service> = weighed
            .iter()
            .filter_map(|name| self.service(name))
            .collect();
        let in_doubt = known.is_empty() || known.len() < weighed.len();
        let highest = |criticality: Criticality, need: u8| {
            if in_doubt {
                (Criticality::Critical, 4)
            } else {
                (criticality, need)
            }
        };
        let (criticality, level) = highest(
            known
                .iter()
                .map(|s| s.criticality)
                .max()
                .unwrap_or(Criticality::Critical),
            known
                .iter()
                .map(|s| s.needs.level(serves))
                .max()
                .unwrap_or(4),
        );
        Subject {
            services,
            criticality,
            serves,
            need: level,
            // Declared from most to least exposed, so the least value is the most exposed.
            environment: groups
                .values()
                .map(|group| group.environment)
                .min()
                .unwrap_or(Environment::Production),
            sites: if groups.is_empty() {
                [SiteName::default_site()].into()
            } else {
                groups.values().map(|group| group.site.clone()).collect()
            },
            groups: groups.into_keys().cloned().collect(),
            undeclared,
        }
    }

    /// What an alert of the collector itself concerns.
    #[must_use]
    pub fn own_subject(&self) -> Subject {
        Subject {
            services: [ServiceName::vigie()].into(),
            criticality: Criticality::Critical,
            serves: Need::Traceability,
            need: 4,
            environment: Environment::Production,
            sites: BTreeSet::new(),
            groups: BTreeSet::new(),
            undeclared: BTreeSet::new(),
        }
    }

    /// What an alert about `service` concerns, on a node that carries nothing else, in the groups that carry it there.
    /// `None`: no such service.
    #[must_use]
    pub fn service_subject(
        &self,
        service: &ServiceName,
        serves: Need,
        environment: Environment,
    ) -> Option<Subject> {
        let known = self.service(service)?;
        let groups = self.groups.iter().filter(|(_, group)| {
            group.environment == environment && group.services.contains(service)
        });
        let groups: BTreeMap<_, _> = groups.collect();
        Some(Subject {
            services: [service.clone()].into(),
            criticality: known.criticality,
            serves,
            need: known.needs.level(serves),
            environment,
            sites: groups.values().map(|group| group.site.clone()).collect(),
            groups: groups.into_keys().cloned().collect(),
            undeclared: BTreeSet::new(),
        })
    }

    /// What an alert of a sender concerns. One that names no service of these rules counts as the highest.
    #[must_use]
    pub fn sender_subject(&self, claimed: &BTreeSet<ServiceName>) -> Subject {
        let known: Option<Vec<Service>> = claimed.iter().map(|name| self.service(name)).collect();
        let known = known.unwrap_or_default();
        let criticality = known.iter().map(|service| service.criticality).max();
        let level = known
            .iter()
            .map(|s| s.needs.level(Need::Availability))
            .max();
        Subject {
            services: claimed.clone(),
            criticality: criticality.unwrap_or(Criticality::Critical),
            serves: Need::Availability,
            need: level.unwrap_or(4),
            ..self.own_subject()
        }
    }

    /// What the alert that a whole site is silent concerns: everything its groups stand for, and vigie itself.
    #[must_use]
    pub fn site_subject(&self, site: &str) -> Subject {
        let groups: BTreeMap<_, _> = self
            .groups
            .iter()
            .filter(|(_, group)| group.site.as_str() == site)
            .collect();
        let mut subject = self.own_subject();
        let services = groups
            .values()
            .flat_map(|group| group.services.iter().cloned());
        subject.services.extend(services);
        subject.sites = groups.values().map(|group| group.site.clone()).collect();
        subject.groups = groups.into_keys().cloned().collect();
        subject
    }

    /// IANA names of all zones that civil times here are of.
    #[must_use]
    pub fn zone_names(&self) -> BTreeSet<&str> {
        let calendars = self.calendars.values().map(|c| c.time_zone.as_str());
        let rotas = self.rotas.values().map(|r| r.handoff.time_zone.as_str());
        let windows = self.maintenance.values().map(|m| m.window.time_zone());
        calendars.chain(rotas).chain(windows).collect()
    }
}

impl Match {
    /// Whether it takes an alert of `node` that is about `subject`. Says nothing of when.
    #[must_use]
    pub fn covers(&self, subject: &Subject, node: &str, family: Family, status: Status) -> bool {
        fn any<T: Ord>(wanted: &BTreeSet<T>, found: &BTreeSet<T>) -> bool {
            wanted.is_empty() || !wanted.is_disjoint(found)
        }
        fn one<T: Ord>(wanted: &BTreeSet<T>, found: &T) -> bool {
            wanted.is_empty() || wanted.contains(found)
        }
        one(&self.criticality, &subject.criticality)
            && any(&self.service, &subject.services)
            && one(&self.family, &family)
            && one(&self.status, &status)
            && (self.node.is_empty() || self.node.contains(node))
            && any(&self.group, &subject.groups)
            && any(&self.site, &subject.sites)
            && one(&self.environment, &subject.environment)
            && one(&self.need, &subject.need)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn rules() -> Rules {
        let service = |criticality, level| Service {
            criticality,
            needs: Needs {
                availability: level,
                integrity: 1,
                confidentiality: 1,
                traceability: 1,
            },
            runbook: None,
            depends_on: BTreeSet::new(),
        };
        Rules {
            silent_after_ms: 120_000,
            services: [
                (
                    "dossier".parse().unwrap(),
                    service(Criticality::Critical, 4),
                ),
                ("mail".parse().unwrap(), service(Criticality::Important, 3)),
            ]
            .into(),
            groups: [(
                "app".parse().unwrap(),
                Group {
                    nodes: ["app-01".parse().unwrap()].into(),
                    services: ["mail".parse().unwrap()].into(),
                    site: "sxb".parse().unwrap(),
                    environment: Environment::Staging,
                },
            )]
            .into(),
            ..Rules::default()
        }
    }

    fn weight(node: &str, services: &[&str]) -> (Criticality, u8, Environment) {
        let claimed = services.iter().map(|s| s.parse().unwrap()).collect();
        let subject = rules().subject(&node.parse().unwrap(), &claimed, Need::Availability);
        (subject.criticality, subject.need, subject.environment)
    }

    #[test]
    fn doubt_raises_what_an_alert_weighs() {
        use Criticality::*;
        use Environment::*;
        assert_eq!(weight("app-01", &["mail"]), (Important, 3, Staging));
        assert_eq!(weight("app-01", &[]), (Important, 3, Staging));
        // Not carried by its group: the highest of what the group carries, never the lower claim.
        assert_eq!(weight("app-01", &["dossier"]), (Important, 3, Staging));
        assert_eq!(weight("stranger", &["mail"]), (Critical, 4, Production));
        assert_eq!(weight("stranger", &[]), (Critical, 4, Production));
    }
}
