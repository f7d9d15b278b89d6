//! What nodes hand in: lines and contacts, in the order of their chain.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Decision, HandInEvent, KeptBecause, Transition,
    alerts::Finding,
    state::{NodePlan, StoredLine},
    telling::Cause,
};
use crate::alert::{AgentTrouble, AlertKey, BuiltIn, Ended, Ends, Source};
use vigie_core::{
    canonical::INTEGER_MAX,
    contact::{Contact, NotOk},
    digest::Digest,
    entry::{Entry, Head},
    id::{CheckName, NodeName, ServiceName, is_configured_name},
    log,
    plan::{self, Difference, PlannedCheck},
    reason::{Reason, vigie},
    status::{Family, Need, Status},
    time::Wall,
};

/// A node's own clock step beyond this is an alarm: backups, certificates and logs then carry wrong times.
const CLOCK_STEP_ALARM_MS: i64 = 600_000;

/// How many alerts of one node may be open at a time: a check may report 1,000 objects, so two checks that fail in
/// every object. What comes beyond is told as one alarm.
const ALERTS_PER_NODE_MAX: usize = 2_000;

/// How a line stands to the moment it is read.
struct Reading {
    seq: u64,
    doubt: bool,
    history: bool,
    in_chain: bool,
}

impl Transition<'_> {
    pub(super) fn handed_in(&mut self, event: HandInEvent) {
        match event {
            HandInEvent::Entry {
                node,
                doubt,
                history,
                line,
            } => {
                if self.node(&node).is_none() {
                    return; // The caller drops lines of nodes that left.
                }
                self.write(|n, now| log::write_entry(n, now, &node, doubt, history, &line));
                self.hear(&node);
                self.entry(&node, doubt, history, line.entry());
            }
            HandInEvent::EntryRefused {
                ref node, sha256, ..
            } => {
                let node = node.clone();
                if let Some(head) = self.node(&node).map(|node| node.head) {
                    self.record(&event);
                    let head = Head {
                        seq: head.seq + 1,
                        sha256,
                    };
                    self.store_line(&node, head);
                    self.edit_node(&node, |node| node.head = head);
                    self.raise_line(&node, BuiltIn::LineRefused, Status::Warning, head.seq);
                }
            }
            HandInEvent::Contact {
                ref node,
                doubt,
                ref contact,
            } => {
                let (node, contact) = (node.clone(), contact.clone());
                let listed: BTreeSet<NotOk> = contact.not_ok.iter().cloned().collect();
                let Some(row) = self.node(&node) else {
                    return;
                };
                let was_unheard = row.unheard;
                if *row.listed != listed || was_unheard {
                    self.record(&event);
                    self.edit_node(&node, |node| {
                        node.dismissed.retain(|item| listed.contains(item));
                        node.listed = Arc::new(listed);
                        node.unheard = false;
                    });
                    self.contact(&node, &contact);
                }
                if was_unheard {
                    self.release_from_silence(&node, doubt, &contact);
                }
            }
            HandInEvent::SenderAlert { sender, alert } => self.sender_alert(sender, alert),
        }
    }

    /// From now on its silence explains nothing of it, see [`super::state::Node::unheard`].
    pub(super) fn hear(&mut self, node: &NodeName) {
        if self.node(node).is_some_and(|row| row.unheard) {
            self.edit_node(node, |row| row.unheard = false);
        }
    }

    /// Opens and worsens what the node says is wrong now. Ends nothing.
    fn contact(&mut self, node: &NodeName, contact: &Contact) {
        let dismissed = self.node(node).map(|node| node.dismissed.clone());
        let dismissed = dismissed.unwrap_or_default();
        let wrong = |item: &&NotOk| item.status != Status::Ok && !dismissed.contains(item);
        for item in contact.not_ok.iter().filter(wrong) {
            let key = AlertKey::of_check(node, &item.check, item.object.as_deref());
            let open_rank = self.alert(&key).map_or(0, |alert| alert.status.rank());
            if item.status.rank() > open_rank {
                let (family, service) = self.planned(node, &item.check);
                self.raise_of_node(
                    node,
                    &key,
                    Finding {
                        family: family.unwrap_or(Family::Availability),
                        claimed: service.into_iter().collect(),
                        status: item.status,
                        reason: vigie::CONTACT_LISTED.code().to_owned(),
                        facts: Map::new(),
                        since: contact.at,
                        opening: Some(item.seq),
                        until_confirmed: false,
                    },
                );
            }
        }
    }

    /// What the silence of a node, or of its site, stood for and the node now says itself has to stand for itself. Where
    /// the contact is in doubt that is all of it: no line of such a node will end what it does not list.
    fn release_from_silence(&mut self, node: &NodeName, doubt: bool, contact: &Contact) {
        for key in self.alert_keys_of(&Source::Node(node.clone())) {
            let is_said = contact
                .not_ok
                .iter()
                .any(|item| key.is_of(&item.check, item.object.as_deref()));
            if (doubt || is_said) && self.is_explained_by_silence(node, &key) {
                self.route(&key, Cause::Released);
            }
        }
    }

    /// Raises what a node found, unless it has so many alerts already that the next one would only hide them.
    fn raise_of_node(&mut self, node: &NodeName, key: &AlertKey, finding: Finding) {
        let is_new = self.alert(key).is_none();
        let open = if is_new {
            self.open_alerts(&Source::Node(node.clone()))
        } else {
            0
        };
        if open < ALERTS_PER_NODE_MAX {
            self.raise(key, finding);
            return;
        }
        if self.is_open(node, BuiltIn::TooManyAlerts) {
            return;
        }
        self.raise_built_in(
            node,
            BuiltIn::TooManyAlerts,
            Status::Critical,
            vigie::OBJECTS_TOO_MANY,
            [("max", ALERTS_PER_NODE_MAX.into())],
        );
    }

    fn entry(&mut self, node: &NodeName, doubt: bool, history: bool, entry: &Entry) {
        let in_chain = self.place_in_chain(node, entry);
        if entry.malformed {
            self.raise_line(node, BuiltIn::LineMalformed, Status::Critical, entry.seq);
        }
        let reading = Reading {
            seq: entry.seq,
            doubt,
            history,
            in_chain,
        };
        match entry.kind.as_str() {
            "check.status" => self.check_status(node, entry, &reading),
            // What does not stand in the chain changes nothing but alarms.
            "check.planned" | "plan.complete" | "agent.start" if !in_chain => {}
            "check.planned" => self.check_planned(node, entry),
            "plan.complete" => self.plan_complete(node, entry, &reading),
            "agent.start" => {
                self.edit_plan(node, |plan| plan.coming = Arc::default());
                self.edit_node(node, |node| node.settled.clear());
            }
            _ => self.own_line(node, entry, &reading),
        }
    }

    /// Checks the line against the head and moves the head. False when it does not stand in the chain.
    fn place_in_chain(&mut self, node: &NodeName, entry: &Entry) -> bool {
        let Some(head) = self.node(node).map(|node| node.head) else {
            return false;
        };
        self.store_line(node, entry.head());
        if entry.follows(head) {
            self.edit_node(node, |node| {
                node.head = entry.head();
                // A rejoined machine says at once that it had to start anew, or it never had to.
                node.rejoined &= entry.kind == "agent.amnesia";
            });
            return true;
        }
        let seq = ("seq", entry.seq.into());
        if entry.seq <= head.seq {
            let (what, reason) = (BuiltIn::ChainFork, vigie::CHAIN_FORK);
            self.raise_built_in(node, what, Status::Critical, reason, [seq]);
        } else {
            // Going on from here keeps what comes next readable; the gap itself stays an alarm.
            self.edit_node(node, |node| node.head = entry.head());
            let expected = ("expected_seq", (head.seq + 1).into());
            let (what, reason) = (BuiltIn::ChainBroken, vigie::CHAIN_BROKEN);
            self.raise_built_in(node, what, Status::Critical, reason, [seq, expected]);
        }
        false
    }

    fn store_line(&mut self, node: &NodeName, head: Head) {
        let n = self.meta().frontier.size() - 1;
        self.delta.lines.push(StoredLine {
            node: node.clone(),
            seq: head.seq,
            sha256: head.sha256,
            n,
        });
    }

    fn check_status(&mut self, node: &NodeName, entry: &Entry, reading: &Reading) {
        let (Some(check), Some(status)) = (&entry.check, entry.status) else {
            return;
        };
        if reading.in_chain && self.plan(node).is_some_and(|plan| plan.has(check)) {
            self.edit_node(node, |node| {
                node.settled.insert(check.clone());
            });
        }
        let key = AlertKey::of_check(node, check, entry.object.as_deref());
        let (family, planned_service) = self.planned(node, check);
        let claimed: BTreeSet<ServiceName> = planned_service
            .into_iter()
            .chain(entry.service.clone())
            .collect();
        self.judge_claims(node, &claimed, entry.seq);
        if status == Status::Ok {
            if self.is_from_before(node, &key, entry.at) {
                let number = self.alert(&key).map_or(0, |alert| alert.number);
                let why = KeptBecause::FromBefore;
                self.decide(Decision::Kept { number, why });
            } else {
                self.recovered(&key, reading);
            }
            return;
        }
        if let Some(why) = self.would_soften(&key, status, reading) {
            let number = self.alert(&key).map_or(0, |alert| alert.number);
            self.decide(Decision::Kept { number, why });
            return;
        }
        // History opens nothing; it only tells the story of what the contact already opened.
        let refines = self.alert(&key).is_some_and(|alert| {
            alert.opening == entry.seq || alert.reason == vigie::CONTACT_LISTED.code()
        });
        let listed_so = self.node(node).is_some_and(|row| {
            row.listed.iter().any(|item| {
                item.seq == entry.seq && item.check == *check && item.object == entry.object
            })
        });
        if reading.history && !(refines && listed_so) {
            return;
        }
        let reason = entry.reason.clone().unwrap_or_default();
        let family = family
            .or_else(|| Reason::find(&reason).map(|reason| reason.spec().family))
            .unwrap_or(Family::Availability);
        self.raise_of_node(
            node,
            &key,
            Finding {
                family,
                claimed,
                status,
                reason,
                facts: entry.facts.clone(),
                since: entry.at,
                opening: Some(entry.seq),
                until_confirmed: false,
            },
        );
    }

    /// Why a line that is in doubt or out of its chain may not make an open alert quieter.
    fn would_soften(
        &self,
        key: &AlertKey,
        status: Status,
        reading: &Reading,
    ) -> Option<KeptBecause> {
        let is_softer = self
            .alert(key)
            .is_some_and(|alert| status.rank() < alert.status.rank());
        match (is_softer, reading) {
            (false, _) => None,
            (
                true,
                Reading {
                    in_chain: false, ..
                },
            ) => Some(KeptBecause::ChainFault),
            (true, Reading { doubt: true, .. }) => Some(KeptBecause::Doubt),
            (true, _) => None,
        }
    }

    fn recovered(&mut self, key: &AlertKey, reading: &Reading) {
        let Some(alert) = self.alert(key) else {
            return;
        };
        let number = alert.number;
        let until_confirmed = alert.until_confirmed;
        let kept = if !reading.in_chain {
            Some(KeptBecause::ChainFault)
        } else if reading.doubt {
            Some(KeptBecause::Doubt)
        } else if until_confirmed {
            Some(KeptBecause::UntilConfirmed)
        } else if self.is_still_listed(key, reading) {
            Some(KeptBecause::StillListed)
        } else {
            None
        };
        match kept {
            Some(why) => self.decide(Decision::Kept { number, why }),
            None => self.close(key, Ended::Recovered),
        }
    }

    /// Whether a node that lost its memory says of something what it found before that failed: lines it had not handed
    /// in when the copy was made that it was restored from.
    fn is_from_before(&self, node: &NodeName, key: &AlertKey, at: Wall) -> bool {
        self.is_open(node, BuiltIn::Agent(AgentTrouble::Amnesia))
            && self.alert(key).is_some_and(|alert| at < alert.since)
    }

    /// Whether the contact lists what a line of history calls ok.
    fn is_still_listed(&self, key: &AlertKey, reading: &Reading) -> bool {
        let Some(node) = self.node_of(key) else {
            return false;
        };
        reading.history
            && node.listed.iter().any(|item| {
                key.is_of(&item.check, item.object.as_deref()) && item.seq > reading.seq
            })
    }

    fn node_of(&self, key: &AlertKey) -> Option<&super::state::Node> {
        self.node(key.node_name()?)
    }

    /// Family and service of a check by the node's plan.
    fn planned(&self, node: &NodeName, check: &CheckName) -> (Option<Family>, Option<ServiceName>) {
        let planned = self.plan(node).and_then(|plan| plan.find(check));
        (
            planned.map(|check| check.family),
            planned.and_then(|check| check.service.clone()),
        )
    }

    /// Raises an alarm for services that the node's groups do not carry.
    fn judge_claims(&mut self, node: &NodeName, claimed: &BTreeSet<ServiceName>, seq: u64) {
        if self.rules.groups_of(node).next().is_none() {
            return; // `node.ungrouped` already says that nobody declared anything.
        }
        let subject = self.rules.subject(node, claimed, Need::Traceability);
        for service in subject.undeclared {
            let what = BuiltIn::ServiceUndeclared(service.clone());
            let facts = [("service", service.as_str().into())];
            let finding = self
                .finding(&what, Status::Warning, vigie::SERVICE_UNDECLARED, facts)
                .opened_by(seq);
            self.raise(&AlertKey::of_node(node, what), finding);
        }
    }

    fn check_planned(&mut self, node: &NodeName, entry: &Entry) {
        let Some(check) = entry.check.clone() else {
            return;
        };
        let integer = |key: &str| {
            entry
                .facts
                .get(key)
                .and_then(Value::as_u64)
                .unwrap_or(INTEGER_MAX.unsigned_abs())
        };
        let word = |key: &str| entry.facts.get(key).and_then(Value::as_str);
        let planned = PlannedCheck {
            // A kind is one of our words; anything else would only take room.
            kind: word("check_kind")
                .filter(|kind| is_configured_name(kind))
                .unwrap_or_default()
                .to_owned(),
            family: word("family")
                .and_then(|f| f.parse().ok())
                .unwrap_or(Family::Availability),
            service: entry.service.clone(),
            every_ms: integer("every_ms"),
            timeout_ms: integer("timeout_ms"),
            failures: integer("failures"),
            recoveries: integer("recoveries"),
            settings_sha256: word("settings_sha256")
                .and_then(|d| d.parse().ok())
                .unwrap_or_default(),
        };
        self.judge_claims(node, &entry.service.iter().cloned().collect(), entry.seq);
        self.edit_plan(node, |plan| {
            if plan.coming.len() < plan::CHECKS_MAX {
                Arc::make_mut(&mut plan.coming).insert(check, planned);
            }
        });
    }

    fn plan_complete(&mut self, node: &NodeName, entry: &Entry, reading: &Reading) {
        let NodePlan { agreed, coming, .. } = self.plan(node).cloned().unwrap_or_default();
        let said: Option<Digest> = entry
            .facts
            .get("sha256")
            .and_then(Value::as_str)
            .and_then(|digest| digest.parse().ok());
        let has = plan::digest(&coming);
        if said != Some(has) {
            let what = BuiltIn::PlanLines;
            let facts = [("has", has.to_string().into())];
            let mut finding = self
                .finding(&what, Status::Critical, vigie::PLAN_MISMATCH, facts)
                .opened_by(entry.seq);
            if let Some(said) = said {
                finding
                    .facts
                    .insert("said".to_owned(), said.to_string().into());
            }
            self.raise(&AlertKey::of_node(node, what), finding);
            self.edit_plan(node, |plan| plan.coming = Arc::default());
            return;
        }
        let agreed = agreed.unwrap_or_else(|| Arc::clone(&coming));
        for (check, difference) in plan::differences(&agreed, &coming) {
            self.raise_plan_difference(node, &check, difference, &agreed, &coming, entry.seq);
        }
        // More watching needs no consent, but from now on it may not be taken back without it.
        let mut agreed = Arc::unwrap_or_clone(agreed);
        for (check, planned) in coming.iter() {
            if !agreed.contains_key(check) {
                agreed.insert(check.clone(), planned.clone());
            }
        }
        self.edit_node(node, |node| {
            node.settled.retain(|check| coming.contains_key(check))
        });
        self.edit_plan(node, |plan| {
            plan.coming = Arc::default();
            plan.complete = Some((has, coming));
            plan.agreed = Some(Arc::new(agreed));
        });
        let settings = BuiltIn::Agent(AgentTrouble::SettingsRefused);
        self.recovered(&AlertKey::of_node(node, BuiltIn::PlanLines), reading);
        self.recovered(&AlertKey::of_node(node, settings), reading);
    }

    fn raise_plan_difference(
        &mut self,
        node: &NodeName,
        check: &CheckName,
        difference: Difference,
        agreed: &plan::Plan,
        coming: &plan::Plan,
        seq: u64,
    ) {
        let mut facts: Map<String, Value> = Map::new();
        let reason = match (difference, agreed.get(check), coming.get(check)) {
            (Difference::Weakened, Some(was), Some(is)) => {
                for (key, was_value, is_value) in [
                    ("every_ms", was.every_ms, is.every_ms),
                    ("failures", was.failures, is.failures),
                    ("timeout_ms", was.timeout_ms, is.timeout_ms),
                ] {
                    facts.insert(key.to_owned(), is_value.into());
                    facts.insert(format!("was_{key}"), was_value.into());
                }
                vigie::CHECK_WEAKENED
            }
            (Difference::Changed, Some(was), Some(is)) => {
                facts.insert(
                    "settings_sha256".to_owned(),
                    is.settings_sha256.to_string().into(),
                );
                facts.insert(
                    "was_settings_sha256".to_owned(),
                    was.settings_sha256.to_string().into(),
                );
                vigie::CHECK_CHANGED
            }
            _ => {
                let worst = self
                    .alerts_of(&Source::Node(node.clone()))
                    .filter(|(key, _)| key.check() == check.as_str())
                    .map(|(_, alert)| alert.status)
                    .max_by_key(|status| status.rank());
                facts.insert(
                    "last_status".to_owned(),
                    worst.unwrap_or(Status::Ok).as_str().into(),
                );
                vigie::CHECK_REMOVED
            }
        };
        let service = agreed.get(check).and_then(|was| was.service.clone());
        let what = BuiltIn::PlanCheck(check.clone());
        let mut finding = self
            .finding(&what, Status::Warning, reason, [])
            .opened_by(seq);
        finding.facts = facts;
        finding.claimed = service.into_iter().collect();
        self.raise(&AlertKey::of_node(node, what), finding);
    }

    /// A line about the agent itself.
    fn own_line(&mut self, node: &NodeName, entry: &Entry, reading: &Reading) {
        enum Meaning {
            Alarm(AgentTrouble, Status),
            Ends(AgentTrouble),
            Nothing,
        }
        let meaning = match entry.kind.as_str() {
            // The operator let the node take over its name, so it had to take the collector's head.
            "agent.amnesia" if self.node(node).is_some_and(|node| node.rejoined) => {
                self.edit_node(node, |node| node.rejoined = false);
                Meaning::Nothing
            }
            "agent.amnesia" => Meaning::Alarm(AgentTrouble::Amnesia, Status::Critical),
            "entries.lost" => Meaning::Alarm(AgentTrouble::EntriesLost, Status::Critical),
            "entries.refused" => Meaning::Alarm(AgentTrouble::EntriesRefused, Status::Warning),
            "collector.rollback" => {
                Meaning::Alarm(AgentTrouble::CollectorRollback, Status::Critical)
            }
            "agent.settings_refused" => {
                Meaning::Alarm(AgentTrouble::SettingsRefused, Status::Warning)
            }
            "spool.degraded" => Meaning::Alarm(AgentTrouble::SpoolDegraded, Status::Critical),
            "spool.recovered" => Meaning::Ends(AgentTrouble::SpoolDegraded),
            "clock.step" => {
                let by_ms = entry
                    .facts
                    .get("by_ms")
                    .and_then(Value::as_i64)
                    .unwrap_or(i64::MAX);
                if by_ms.saturating_abs() > CLOCK_STEP_ALARM_MS {
                    Meaning::Alarm(AgentTrouble::ClockStep, Status::Warning)
                } else {
                    Meaning::Nothing
                }
            }
            "agent.stop" | "agent.pause" => Meaning::Nothing,
            // A newer agent's line: it alerts by its status.
            _ => match entry.status {
                Some(Status::Ok) | None => Meaning::Nothing,
                Some(status) => Meaning::Alarm(AgentTrouble::Newer, status),
            },
        };
        match meaning {
            Meaning::Alarm(trouble, status) => {
                let what = BuiltIn::Agent(trouble);
                let reason = entry.reason.clone().unwrap_or_else(|| entry.kind.clone());
                let finding = Finding {
                    family: Family::Vigie,
                    claimed: BTreeSet::new(),
                    status,
                    reason,
                    facts: entry.facts.clone(),
                    since: entry.at,
                    opening: Some(entry.seq),
                    until_confirmed: what.ends() == Ends::ByConfirmation,
                };
                self.raise(&AlertKey::of_node(node, what), finding);
            }
            Meaning::Ends(trouble) => {
                let key = AlertKey::of_node(node, BuiltIn::Agent(trouble));
                self.recovered(&key, reading);
            }
            Meaning::Nothing => {}
        }
    }

    /// An alarm about a line that cannot be taken as it is. Not identified by the line's number: the same number forged
    /// again after a confirmation is told again.
    fn raise_line(&mut self, node: &NodeName, what: BuiltIn, status: Status, seq: u64) {
        let reason = vigie::ENTRY_MALFORMED;
        self.raise_built_in(node, what, status, reason, [("seq", seq.into())]);
    }
}
