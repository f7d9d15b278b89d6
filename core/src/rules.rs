//! The rules: what the collector's settings say about services, groups and who is told.
//!
//! Plain data without addresses or secrets, so that the whole of it can be kept beside the log and a later reader can
//! decide again exactly as the collector did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    canonical,
    digest::Digest,
    id::{GroupName, NodeName, ReceiverName, ServiceName, SiteName},
    status::{Criticality, Environment, Family, Need, Needs, Status},
};

/// Everything that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How long a node may be unheard, in milliseconds.
    pub silent_after_ms: u64,
    /// The services; the built-in `vigie` is always there ([`Rules::service`]).
    pub services: BTreeMap<ServiceName, Service>,
    /// The groups.
    pub groups: BTreeMap<GroupName, Group>,
    /// Who can be told.
    pub receivers: BTreeSet<ReceiverName>,
    /// In order; the first match decides.
    pub routes: Vec<Route>,
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
    /// Who is told, all of them.
    pub notify: Vec<ReceiverName>,
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
    /// The highest level of the need in question.
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
            })
        };
        self.services.get(name).cloned().or_else(built_in)
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
    pub fn subject(&self, node: &NodeName, claimed: &BTreeSet<ServiceName>, need: Need) -> Subject {
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
        let (criticality, need) = highest(
            known
                .iter()
                .map(|s| s.criticality)
                .max()
                .unwrap_or(Criticality::Critical),
            known.iter().map(|s| s.needs.level(need)).max().unwrap_or(4),
        );
        Subject {
            services,
            criticality,
            need,
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
            need: 4,
            environment: Environment::Production,
            sites: BTreeSet::new(),
            groups: BTreeSet::new(),
            undeclared: BTreeSet::new(),
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

    /// The first route that takes the alert, with its position. `None` only when the settings end without a route for
    /// all, which the settings reader refuses.
    #[must_use]
    pub fn route(
        &self,
        subject: &Subject,
        node: &str,
        family: Family,
        status: Status,
    ) -> Option<(usize, &Route)> {
        fn any<T: Ord>(wanted: &BTreeSet<T>, found: &BTreeSet<T>) -> bool {
            wanted.is_empty() || !wanted.is_disjoint(found)
        }
        fn one<T: Ord>(wanted: &BTreeSet<T>, found: &T) -> bool {
            wanted.is_empty() || wanted.contains(found)
        }
        self.routes.iter().enumerate().find(|(_, route)| {
            let m = &route.matches;
            one(&m.criticality, &subject.criticality)
                && any(&m.service, &subject.services)
                && one(&m.family, &family)
                && one(&m.status, &status)
                && (m.node.is_empty() || m.node.contains(node))
                && any(&m.group, &subject.groups)
                && any(&m.site, &subject.sites)
                && one(&m.environment, &subject.environment)
                && one(&m.need, &subject.need)
        })
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
            receivers: ["night".parse().unwrap(), "day".parse().unwrap()].into(),
            routes: vec![
                Route {
                    matches: Match {
                        criticality: [Criticality::Critical].into(),
                        status: [Status::Critical, Status::Unknown].into(),
                        ..Match::default()
                    },
                    notify: vec!["night".parse().unwrap()],
                },
                Route {
                    notify: vec!["day".parse().unwrap()],
                    ..Route::default()
                },
            ],
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

    #[test]
    fn the_first_matching_route_decides() {
        let rules = rules();
        let route = |criticality, status| {
            let subject = Subject {
                criticality,
                ..rules.own_subject()
            };
            rules
                .route(&subject, "app-01", Family::Host, status)
                .unwrap()
                .0
        };
        assert_eq!(route(Criticality::Critical, Status::Critical), 0);
        assert_eq!(route(Criticality::Critical, Status::Warning), 1);
        assert_eq!(route(Criticality::Standard, Status::Critical), 1);
    }
}
