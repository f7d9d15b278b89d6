//! Everything at once: what `status --json` prints.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Basis, Version,
    alert::{self, Alert},
    digest::{self, Waiting},
    mute::{self, Mute, Window},
    node::{self, Node},
    on_call::{self, OnCall},
    sender::{self, Sender},
    service::{self, Service},
};
use crate::{destination::Destination, mute::SilenceMatch, rules::Rules};
use vigie_core::{
    id::{GroupName, NodeName, ReceiverName, ServiceName, SiteName},
    log::Checkpoint,
    status::Status,
    time::Wall,
};

/// The fleet as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The version of this form.
    pub v: Version,
    /// The same, by the name that it had before other forms had a version.
    pub version: Version,
    /// As of when, by the collector's clock.
    pub at: Wall,
    /// How long the log is, and the root of all of it.
    pub log: Checkpoint,
    /// Whether the collector's clock stepped so far that calendars cannot be trusted.
    pub clock_in_doubt: bool,
    /// Nodes, by name.
    pub nodes: Vec<Node>,
    /// Other senders of metrics, by name.
    pub senders: Vec<Sender>,
    /// Open alerts, loudest first.
    pub alerts: Vec<Alert>,
    /// What waits for digests, by receiver.
    pub held: Vec<Waiting>,
    /// Silences and maintenance that commands began, by number.
    pub mutes: Vec<Mute>,
    /// Windows of maintenance of the settings, by name.
    pub windows: Vec<Window>,
    /// The groups of the settings, and the nodes that these name, joined or not.
    pub groups: BTreeMap<GroupName, BTreeSet<NodeName>>,
    /// Names of the services of the settings.
    pub services: Vec<ServiceName>,
    /// How each service is, the built-in `vigie` included, by name.
    pub service_status: Vec<Service>,
    /// Whose turn it is, by rota.
    pub on_call: Vec<OnCall>,
    /// Sites of the groups.
    pub sites: BTreeSet<SiteName>,
    /// Receivers of the settings.
    pub receivers: Vec<ReceiverName>,
    /// Everywhere that these settings can send a message.
    pub destinations: Vec<Destination>,
    /// Messages that no receiver has accepted yet.
    pub messages_waiting: usize,
    /// The order of the last message that is in the log.
    pub last_message: u64,
}

impl Fleet {
    /// The fleet as `basis` has it.
    #[must_use]
    pub fn of(basis: &Basis<'_>) -> Self {
        let (state, rules) = (basis.state, &*basis.policy.rules);
        let alerts = alert::open(basis);
        let groups = rules.groups.iter();
        Self {
            v: Version,
            version: Version,
            at: basis.at,
            log: state.meta.frontier.checkpoint(),
            clock_in_doubt: state.meta.clock_in_doubt,
            nodes: node::all(basis),
            senders: sender::all(basis),
            held: digest::all(basis),
            mutes: mute::all(basis),
            windows: mute::windows(basis),
            groups: groups
                .map(|(name, group)| (name.clone(), group.nodes.clone()))
                .collect(),
            services: rules.services.keys().cloned().collect(),
            service_status: service::all(basis, &alerts),
            on_call: on_call::all(basis),
            sites: rules
                .groups
                .values()
                .map(|group| group.site.clone())
                .collect(),
            receivers: rules.receivers.keys().cloned().collect(),
            destinations: destinations(rules),
            messages_waiting: state.outbox.len(),
            last_message: state.meta.last_message,
            alerts,
        }
    }

    /// Whether all is well. Exercises are no trouble.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.alerts.iter().all(|alert| alert.exercise)
            && self.nodes.iter().all(|node| node.status == Status::Ok)
    }

    /// The open alerts that a silence would be for, loudest first. Exercises are never silenced.
    pub fn hits<'f>(&'f self, matches: &SilenceMatch) -> impl Iterator<Item = &'f Alert> {
        let alerts = self.alerts.iter();
        alerts.filter(|alert| !alert.exercise && alert.is_covered_by(matches))
    }
}

/// Everywhere that these rules can send a message.
fn destinations(rules: &Rules) -> Vec<Destination> {
    let receivers = rules
        .receivers
        .iter()
        .filter(|(_, receiver)| receiver.steps.is_empty())
        .map(|(name, _)| Destination::Receiver(name.clone()));
    let people = rules.people.iter().flat_map(|(name, person)| {
        person.channels.iter().map(|channel| Destination::Person {
            person: name.clone(),
            channel: channel.clone(),
        })
    });
    receivers.chain(people).collect()
}
