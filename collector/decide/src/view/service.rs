//! How a service is: the worst of what is wrong with it, and what it needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Basis, alert::Alert, node::is_measured};
use vigie_core::{
    id::{NodeName, ServiceName},
    status::{Criticality, Needs, Status},
};

/// A service of the settings, or the built-in `vigie`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub service: ServiceName,
    /// The loudest open alert that concerns it, exercises left out. `ok` without one only while every node that carries it
    /// is heard and all checks planned there have spoken; a service that no node carries is `unknown`.
    pub status: Status,
    /// How much it matters.
    pub criticality: Criticality,
    /// Its four needs (DICT), 1 to 4 each.
    pub needs: Needs,
    /// Numbers of the open alerts that concern it, loudest first.
    pub alerts: Vec<u64>,
}

/// Every service, by name. `alerts` are those of [`super::alert::open`], loudest first.
#[must_use]
pub fn all(basis: &Basis<'_>, alerts: &[Alert]) -> Vec<Service> {
    let rules = &basis.policy.rules;
    let mut concerned: BTreeMap<&ServiceName, (Status, Vec<u64>)> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| !alert.exercise) {
        for service in &alert.services {
            let (worst, numbers) = concerned
                .entry(service)
                .or_insert((alert.status, Vec::new()));
            if alert.status.rank() > worst.rank() {
                *worst = alert.status;
            }
            numbers.push(alert.number);
        }
    }
    let measured = measured(basis);
    let vigie = ServiceName::vigie();
    let names = rules.services.keys().chain([&vigie]);
    let mut services: Vec<Service> = names
        .filter_map(|name| {
            let service = rules.service(name)?;
            let (worst, alerts) = concerned.remove(name).unzip();
            let is_measured = *name == vigie || measured.get(name).copied().unwrap_or(false);
            Some(Service {
                service: name.clone(),
                status: worst.unwrap_or(if is_measured {
                    Status::Ok
                } else {
                    Status::Unknown
                }),
                criticality: service.criticality,
                needs: service.needs,
                alerts: alerts.unwrap_or_default(),
            })
        })
        .collect();
    services.sort_by(|one, other| one.service.cmp(&other.service));
    services.dedup_by(|one, other| one.service == other.service);
    services
}

/// Whether all nodes that carry a service are measured; not there: none carries it.
fn measured<'a>(basis: &Basis<'a>) -> BTreeMap<&'a ServiceName, bool> {
    let mut known: BTreeMap<&NodeName, bool> = BTreeMap::new();
    let mut measured: BTreeMap<&ServiceName, bool> = BTreeMap::new();
    let groups = basis.policy.rules.groups.values();
    for group in groups.filter(|group| !group.nodes.is_empty()) {
        let are_all = group.nodes.iter().all(|name| {
            *known.entry(name).or_insert_with(|| {
                let node = basis.state.nodes.get(name);
                node.is_some_and(|node| is_measured(basis, name, node))
            })
        });
        for service in &group.services {
            *measured.entry(service).or_insert(true) &= are_all;
        }
    }
    measured
}
