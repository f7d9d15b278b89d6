//! How a node is: its worst alert, whether it is heard, whether everything that it planned has spoken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Basis;
use crate::fleet::state;
use vigie_core::{
    id::{GroupName, NodeName},
    status::Status,
    time::Wall,
};

/// A node that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub node: NodeName,
    /// Its loudest open alert; `ok` without one only once every check it planned has spoken and while it is heard.
    pub status: Status,
    /// Whether it is heard.
    pub up: bool,
    /// When it was last heard, if since the collector's start.
    pub last_contact: Option<Wall>,
    /// How many checks it planned; `None`: no plan of it is complete.
    pub checks: Option<usize>,
    /// How many lines it has handed in: the number of its last one.
    pub seq: u64,
    /// Shut out by an operator.
    pub denied: bool,
    /// When its newest certificate ends.
    pub certificate_not_after: Option<Wall>,
    /// Its groups.
    pub groups: Vec<GroupName>,
}

/// Every node, by name.
#[must_use]
pub fn all(basis: &Basis<'_>) -> Vec<Node> {
    let worst = worst(basis);
    let mut groups: BTreeMap<&NodeName, Vec<GroupName>> = BTreeMap::new();
    for (name, group) in &basis.policy.rules.groups {
        for node in &group.nodes {
            groups.entry(node).or_default().push(name.clone());
        }
    }
    let nodes = basis.state.nodes.iter();
    nodes
        .map(|(name, node)| {
            let heard = basis.last_heard(name);
            let plan = plan(basis, name);
            let status = match worst.get(name.as_str()) {
                Some(worst) => *worst,
                // Never shown as ok before every check it planned has spoken.
                None if is_measured(basis, name, node) => Status::Ok,
                None => Status::Unknown,
            };
            Node {
                node: name.clone(),
                status,
                up: heard.is_heard(),
                last_contact: heard.at,
                checks: plan.map(|plan| plan.len()),
                seq: node.head.seq,
                denied: node.denied,
                certificate_not_after: node.keys.last().map(|key| key.not_after),
                groups: groups.get(name).cloned().unwrap_or_default(),
            }
        })
        .collect()
}

/// Whether silence about a node means that all is well: it is let in and heard, and every check it planned has spoken.
pub(super) fn is_measured(basis: &Basis<'_>, name: &NodeName, node: &state::Node) -> bool {
    let is_settled = plan(basis, name).is_some_and(|plan| {
        !plan.is_empty() && plan.keys().all(|check| node.settled.contains(check))
    });
    is_settled && !node.denied && basis.last_heard(name).is_heard()
}

fn plan<'a>(basis: &Basis<'a>, name: &NodeName) -> Option<&'a vigie_core::plan::Plan> {
    let plan = basis.state.plans.get(name)?;
    plan.complete.as_ref().map(|(_, plan)| &**plan)
}

/// The loudest status among each node's alerts.
fn worst<'a>(basis: &Basis<'a>) -> BTreeMap<&'a str, Status> {
    let mut worst: BTreeMap<&str, Status> = BTreeMap::new();
    for (key, alert) in &basis.state.alerts {
        let Some(node) = key.node_name() else {
            continue;
        };
        let known = worst.entry(node.as_str()).or_insert(alert.status);
        if alert.status.rank() > known.rank() {
            *known = alert.status;
        }
    }
    worst
}
