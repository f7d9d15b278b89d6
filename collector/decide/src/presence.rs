//! Who is being heard: absence, and the other troubles that only show over time.
//!
//! Kept in memory only: what it concludes becomes events ([`TroubleEvent::NodeSilent`] and others), and those are in the log.
//! It counts silence from the last contact or the collector's own start, whichever is later, so that a restart neither
//! forgets a silent node for long nor accuses the fleet at once. The caller polls it about once a second, and hands in
//! contacts as they were accepted, not as they were processed: a slow disk must not make nodes look silent.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    alert::{AlertKey, BuiltIn},
    fleet::{ClockEvent, Event, State, TroubleEvent},
    rules::Rules,
};
use vigie_core::{
    contact::Contact,
    digest::Digest,
    id::{NodeName, SiteName},
    time::{Elapsed, Now, Wall},
};

/// How long a node may say that it has lines without handing any in.
const WITHHELD_AFTER_MS: u64 = 5 * 60_000;

/// How long a node's plan may differ from what its contact says: lines need a moment to follow.
const PLAN_DIFFERS_AFTER_MS: u64 = 2 * 60_000;

/// A node's clock is an alarm beyond this.
const NODE_CLOCK_ALARM_MS: u64 = 5 * 60_000;

/// And fine again below this.
const NODE_CLOCK_FINE_MS: u64 = 60_000;

/// The collector's clock agrees with the fleet's when the median of offsets is below this: a few nodes with wrong clocks
/// do not move a median, and calendars are written in minutes.
const CLOCK_AGREES_MS: u64 = 2 * 60_000;

/// How many nodes must be heard for their clocks to say anything about the collector's.
const CLOCK_WITNESSES_MIN: usize = 3;

/// How recent such a contact must be.
const CLOCK_WITNESS_AGE_MAX_MS: u64 = 60_000;

/// A site needs this many nodes for its silence to be told as one.
const SITE_NODES_MIN: usize = 3;

/// What is known of every node's contact.
#[derive(Debug)]
pub struct Presence {
    started: Now,
    nodes: BTreeMap<NodeName, Heard>,
    cut: BTreeMap<SiteName, BTreeSet<NodeName>>,
    /// Nodes of which readers are to be told anew.
    changed: BTreeSet<NodeName>,
}

/// What readers are told of a node's contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastHeard {
    /// When it was last heard; `None`: not since the collector's start.
    pub at: Option<Wall>,
    /// Whether it counts as silent.
    pub is_silent: bool,
}

impl LastHeard {
    /// Whether it has been heard, and is still.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.at.is_some() && !self.is_silent
    }
}

#[derive(Debug, Default)]
struct Heard {
    last: Option<Now>,
    /// When it joined, if that was after the collector's start: it has the usual time for its first contact.
    joined: Option<Elapsed>,
    offset_ms: Option<i64>,
    /// Its clock at its last contact, and when that was.
    said_at: Option<(Wall, Elapsed)>,
    said_seq: u64,
    said_plan: Option<Digest>,
    owes_since: Option<(Elapsed, u64)>,
    plan_differs_since: Option<Elapsed>,
    silent: bool,
    withheld: bool,
    plan_differs: bool,
    clock_off: bool,
}

impl Presence {
    /// Starts listening. Troubles that are open alerts are known, so that their end will be noticed.
    #[must_use]
    pub fn new(state: &State, rules: &Rules, now: Now) -> Self {
        let mut presence = Self {
            started: now,
            nodes: BTreeMap::new(),
            cut: BTreeMap::new(),
            changed: state.nodes.keys().cloned().collect(),
        };
        for name in state.nodes.keys() {
            let is_open = |what| {
                let key = AlertKey::of_node(name, what);
                state.alerts.contains_key(&key)
            };
            let site = rules.site_of(name);
            let is_cut = state.alerts.contains_key(&AlertKey::of_site(&site));
            if is_cut {
                presence.cut.entry(site).or_default().insert(name.clone());
            }
            let heard = Heard {
                silent: is_open(BuiltIn::NodeSilent) || is_cut,
                withheld: is_open(BuiltIn::EntriesWithheld),
                plan_differs: is_open(BuiltIn::PlanDiffers),
                clock_off: is_open(BuiltIn::NodeClock),
                ..Heard::default()
            };
            presence.nodes.insert(name.clone(), heard);
        }
        presence
    }

    /// A request of this node was accepted.
    pub fn stamp(&mut self, node: &NodeName, now: Now) {
        let heard = self.nodes.entry(node.clone()).or_default();
        if heard.last.is_none_or(|last| last.elapsed < now.elapsed) {
            heard.last = Some(now);
            self.changed.insert(node.clone());
        }
    }

    /// What its contact said, once its signature was found good.
    pub fn said(&mut self, node: &NodeName, contact: &Contact, received: Now) {
        let heard = self.nodes.entry(node.clone()).or_default();
        heard.said_at = Some((contact.at, received.elapsed));
        heard.offset_ms = Some(contact.at.0.saturating_sub(received.wall.0));
        heard.said_seq = contact.head.seq;
        heard.said_plan = contact.plan;
    }

    /// Whether a contact is one that was overtaken: older than the last, and of a chain that has gone on since. What it
    /// says is wrong was wrong then, and nothing would ever end it.
    #[must_use]
    pub fn is_overtaken(&self, node: &NodeName, contact: &Contact, head_seq: u64) -> bool {
        let last = self.nodes.get(node).and_then(|heard| heard.said_at);
        contact.head.seq < head_seq && last.is_some_and(|(at, _)| contact.at < at)
    }

    /// The node left the fleet.
    pub fn forget(&mut self, node: &NodeName) {
        self.nodes.remove(node);
        self.changed.insert(node.clone());
        for nodes in self.cut.values_mut() {
            nodes.remove(node);
        }
    }

    /// When the node was last heard, if since the collector's start.
    #[must_use]
    pub fn last_contact(&self, node: &NodeName) -> Option<Wall> {
        Some(self.nodes.get(node)?.last?.wall)
    }

    /// Whether the node counts as silent.
    #[must_use]
    pub fn is_silent(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|heard| heard.silent)
    }

    /// What readers are to be told of the nodes of which something changed since this was last asked; `None` for one that
    /// left. The first time: of all of them.
    pub fn take_changed(&mut self) -> Vec<(NodeName, Option<LastHeard>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .map(|name| {
                let heard = self.nodes.get(&name).map(|heard| LastHeard {
                    at: heard.last.map(|last| last.wall),
                    is_silent: heard.silent,
                });
                (name, heard)
            })
            .collect()
    }

    /// What has become true since the last poll. `probes_answer`: whether the collector's own probes reach anything;
    /// `None` where none are configured, and then other nodes being heard has to do.
    pub fn poll(
        &mut self,
        state: &State,
        rules: &Rules,
        probes_answer: Option<bool>,
        now: Now,
    ) -> Vec<Event> {
        for name in state.nodes.keys() {
            if !self.nodes.contains_key(name) {
                let heard = Heard {
                    joined: Some(now.elapsed),
                    ..Heard::default()
                };
                self.nodes.insert(name.clone(), heard);
            }
        }
        let mut events = Vec::new();
        self.poll_silence(state, rules, probes_answer, now, &mut events);
        for (name, heard) in &mut self.nodes {
            if let (false, Some(node)) = (heard.silent, state.nodes.get(name)) {
                heard.poll_withheld(name, node.head.seq, now, &mut events);
                let complete = state
                    .plans
                    .get(name)
                    .and_then(|plan| plan.complete.as_ref().map(|(digest, _)| *digest));
                heard.poll_plan(name, complete, now, &mut events);
                heard.poll_clock(name, &mut events);
            }
        }
        if state.meta.clock_in_doubt && self.fleet_agrees(now) {
            events.push(Event::Clock(ClockEvent::ClockTrusted { uid: None }));
        }
        events
    }

    fn poll_silence(
        &mut self,
        state: &State,
        rules: &Rules,
        probes_answer: Option<bool>,
        now: Now,
        events: &mut Vec<Event>,
    ) {
        let silent_after = rules.silent_after_ms;
        let started = self.started;
        let overdue = |heard: &Heard| {
            let heard_at = heard.last.map(|last| last.elapsed).max(heard.joined);
            now.elapsed
                .since_ms(heard_at.unwrap_or_default().max(started.elapsed))
        };
        let mut newly_silent = Vec::new();
        let mut newly_heard = Vec::new();
        for (name, heard) in &self.nodes {
            match state.nodes.get(name) {
                Some(node) if !node.denied => {}
                _ => continue,
            }
            let is_overdue = overdue(heard) >= silent_after;
            if is_overdue && !heard.silent {
                newly_silent.push(name.clone());
            } else if heard.silent && !is_overdue && heard.last.is_some() {
                newly_heard.push(name.clone());
            }
        }
        for name in newly_heard {
            self.set_silent(&name, false);
            // Also inside a site that is cut: it may have an alert of its own, from before or between.
            events.push(Event::Trouble(TroubleEvent::NodeHeard { node: name }));
        }
        self.end_cuts(&mut newly_silent, events);
        if newly_silent.is_empty() {
            return;
        }
        // Whoever has missed half of its time by the moment the first is silent fell silent with it.
        let sites: BTreeSet<SiteName> = newly_silent
            .iter()
            .map(|name| rules.site_of(name))
            .collect();
        for site in sites
            .into_iter()
            .filter(|site| !self.cut.contains_key(site))
            .collect::<Vec<_>>()
        {
            let members: Vec<&NodeName> = state
                .nodes
                .iter()
                .filter(|(name, node)| !node.denied && rules.site_of(name) == site)
                .map(|(name, _)| name)
                .collect();
            let together: Vec<NodeName> = members
                .iter()
                .filter(|name| {
                    self.nodes
                        .get(**name)
                        .is_some_and(|heard| !heard.silent && overdue(heard) >= silent_after / 2)
                })
                .map(|name| (*name).clone())
                .collect();
            if together.len() >= SITE_NODES_MIN && together.len() * 2 > members.len() {
                let others_heard = self.nodes.iter().any(|(name, heard)| {
                    !together.contains(name) && overdue(heard) < silent_after / 2
                });
                for name in &together {
                    self.set_silent(name, true);
                }
                newly_silent.retain(|name| !together.contains(name));
                self.cut
                    .insert(site.clone(), together.iter().cloned().collect());
                events.push(Event::Trouble(TroubleEvent::SiteSilent {
                    site,
                    nodes: together,
                    probes_answer: probes_answer.unwrap_or(others_heard),
                }));
            }
        }
        for name in newly_silent {
            self.set_silent(&name, true);
            events.push(self.silent_event(name));
        }
    }

    /// A site of which half is heard again is no longer cut; who is still silent there is so on its own.
    fn end_cuts(&mut self, newly_silent: &mut Vec<NodeName>, events: &mut Vec<Event>) {
        let ended: Vec<SiteName> = self
            .cut
            .iter()
            .filter(|(_, nodes)| {
                let still = nodes.iter().filter(|name| self.is_silent(name)).count();
                still * 2 <= nodes.len()
            })
            .map(|(site, _)| site.clone())
            .collect();
        for site in ended {
            let nodes = self.cut.remove(&site).unwrap_or_default();
            events.push(Event::Trouble(TroubleEvent::SiteHeard { site }));
            for name in nodes
                .into_iter()
                .filter(|name| self.is_silent(name))
                .collect::<Vec<_>>()
            {
                self.set_silent(&name, true);
                events.push(self.silent_event(name.clone()));
                newly_silent.retain(|other| *other != name);
            }
        }
    }

    fn silent_event(&self, node: NodeName) -> Event {
        let last_contact = self.last_contact(&node).unwrap_or(self.started.wall);
        Event::Trouble(TroubleEvent::NodeSilent { node, last_contact })
    }

    fn set_silent(&mut self, name: &NodeName, silent: bool) {
        if let Some(heard) = self.nodes.get_mut(name) {
            heard.silent = silent;
            self.changed.insert(name.clone());
        }
    }

    /// Whether the median offset of nodes heard just now says that the collector's wall clock is right.
    fn fleet_agrees(&self, now: Now) -> bool {
        let mut offsets: Vec<i64> = self
            .nodes
            .values()
            .filter(|heard| {
                heard.last.is_some_and(|last| {
                    now.elapsed.since_ms(last.elapsed) <= CLOCK_WITNESS_AGE_MAX_MS
                })
            })
            .filter_map(|heard| {
                // Its clock as it is now against ours as it is now: an offset from before our step says nothing.
                let (at, received) = heard.said_at?;
                let passed_ms = i64::try_from(now.elapsed.since_ms(received)).ok()?;
                Some(at.0.saturating_add(passed_ms).saturating_sub(now.wall.0))
            })
            .collect();
        offsets.sort_unstable();
        offsets.len() >= CLOCK_WITNESSES_MIN
            && offsets[offsets.len() / 2].unsigned_abs() < CLOCK_AGREES_MS
    }
}

impl Heard {
    fn poll_withheld(&mut self, name: &NodeName, has_seq: u64, now: Now, events: &mut Vec<Event>) {
        if self.said_at.is_none() {
            return; // It has said nothing since the collector's start.
        }
        if self.said_seq <= has_seq {
            self.owes_since = None;
            if std::mem::take(&mut self.withheld) {
                events.push(Event::Trouble(TroubleEvent::EntriesHandedIn {
                    node: name.clone(),
                }));
            }
            return;
        }
        // A debt is paid when what was promised then has come, not when some of it has: a trickle of old lines would
        // keep everything new in the past.
        match self.owes_since {
            Some((since, promised)) if has_seq < promised => {
                if !self.withheld && now.elapsed.since_ms(since) >= WITHHELD_AFTER_MS {
                    self.withheld = true;
                    events.push(Event::Trouble(TroubleEvent::EntriesWithheld {
                        node: name.clone(),
                        said_seq: self.said_seq,
                        has_seq,
                    }));
                }
            }
            _ => self.owes_since = Some((now.elapsed, self.said_seq)),
        }
    }

    fn poll_plan(
        &mut self,
        name: &NodeName,
        complete: Option<Digest>,
        now: Now,
        events: &mut Vec<Event>,
    ) {
        if complete.is_some() && complete == self.said_plan {
            self.plan_differs_since = None;
            if std::mem::take(&mut self.plan_differs) {
                events.push(Event::Trouble(TroubleEvent::PlanAgrees {
                    node: name.clone(),
                }));
            }
            return;
        }
        if self.offset_ms.is_none() {
            return; // No contact since the collector's start: nothing was said yet.
        }
        let since = *self.plan_differs_since.get_or_insert(now.elapsed);
        if !self.plan_differs && now.elapsed.since_ms(since) >= PLAN_DIFFERS_AFTER_MS {
            self.plan_differs = true;
            events.push(Event::Trouble(TroubleEvent::PlanDiffers {
                node: name.clone(),
                said: self.said_plan,
            }));
        }
    }

    fn poll_clock(&mut self, name: &NodeName, events: &mut Vec<Event>) {
        let Some(by_ms) = self.offset_ms else {
            return;
        };
        let off = by_ms.unsigned_abs();
        let changes = if self.clock_off {
            off <= NODE_CLOCK_FINE_MS
        } else {
            off > NODE_CLOCK_ALARM_MS
        };
        if changes {
            self.clock_off = !self.clock_off;
            events.push(Event::Trouble(TroubleEvent::NodeClock {
                node: name.clone(),
                by_ms,
            }));
        }
    }
}

#[cfg(test)]
mod tests;
