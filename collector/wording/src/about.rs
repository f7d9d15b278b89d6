//! What is said of an alert wherever it is said: in a message of its own, in a list, in a digest.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Detail, clock::Clock, words};
use vigie_core::{
    id::{SenderName, ServiceName},
    reason::message::{self, Language, TEXT_LEN_MAX, sanitised},
    status::{Criticality, Family, Status},
};
use vigie_decide::{
    alert::{AlertKey, Notification},
    held::DigestLine,
};

/// How many characters of an object a line says: what stands behind it, how it stands, must be read too.
const OBJECT_SAID_LEN_MAX: usize = 64;

/// How many labels of a sender's alert stand in a sentence; the body of a mail has them all.
const LABELS_SAID_MAX: usize = 6;

/// Labels that are said otherwise: as the check, the service, the state, and who sent it.
const LABELS_UNSAID: [&str; 5] = ["alertname", "name", "sender", "service", "severity"];

/// How many services a title names, if there is room; the body names them all.
pub(super) const TITLE_SERVICES_MAX: usize = 3;

/// What messages and digests know alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) number: u64,
    pub(super) alert: &'a AlertKey,
    pub(super) services: &'a BTreeSet<ServiceName>,
    pub(super) criticality: Criticality,
    pub(super) family: Family,
    pub(super) status: Status,
    pub(super) reason: &'a str,
    pub(super) facts: &'a Map<String, Value>,
}

impl<'a> From<&'a Notification> for About<'a> {
    fn from(telling: &'a Notification) -> Self {
        Self {
            number: telling.number,
            alert: &telling.alert,
            services: &telling.services,
            criticality: telling.criticality,
            family: telling.family,
            status: telling.status,
            reason: &telling.reason,
            facts: &telling.facts,
        }
    }
}

impl<'a> From<&'a DigestLine> for About<'a> {
    fn from(line: &'a DigestLine) -> Self {
        Self {
            number: line.held.number,
            alert: &line.alert,
            services: &line.held.services,
            criticality: line.held.criticality,
            family: line.held.family,
            status: line.held.status,
            reason: &line.held.reason,
            facts: &line.held.facts,
        }
    }
}

impl<'a> About<'a> {
    /// Nothing has failed: somebody wants to see whether a receiver can be told.
    pub(super) fn is_exercise(&self) -> bool {
        self.alert.is_exercise()
    }

    /// A critical service is down, or it is not known whether it is. Whether it has ended, others say.
    pub(super) fn is_urgent(&self) -> bool {
        self.criticality == Criticality::Critical
            && matches!(self.status, Status::Critical | Status::Unknown)
            && !self.is_exercise()
    }

    /// The reason is a sentence of its own: the names of built-in checks say nothing to a reader.
    pub(super) fn speaks_for_itself(&self) -> bool {
        self.alert.is_built_in()
    }

    /// The sender, if it is an alert of one.
    pub(super) fn sender(&self) -> Option<&'a str> {
        self.alert.sender().map(SenderName::as_str)
    }

    /// Whom it concerns: the services, or the node where it speaks for none.
    pub(super) fn who(&self, language: Language, detail: Detail) -> String {
        self.who_of(language, detail, TITLE_SERVICES_MAX)
    }

    /// As [`Self::who`], naming at most so many services.
    pub(super) fn who_of(&self, language: Language, detail: Detail, services_max: usize) -> String {
        if self.services.is_empty() {
            return match detail {
                Detail::Full => self.place(),
                Detail::Minimal if self.alert.is_of_collector() => self.place(),
                Detail::Minimal => {
                    words::either(language, "service non déclaré", "no service declared").to_owned()
                }
            };
        }
        let named: Vec<&str> = self
            .services
            .iter()
            .take(services_max)
            .map(ServiceName::as_str)
            .collect();
        let more = self.services.len() - named.len();
        let mut who = named.join(", ");
        if more > 0 {
            who.push_str(&format!(" +{more}"));
        }
        who
    }

    /// The node, the sender, or vigie's own name for what is about the collector.
    pub(super) fn place(&self) -> String {
        if self.alert.is_of_collector() {
            return "vigie".to_owned();
        }
        sanitised(self.sender().unwrap_or(&self.alert.node()), TEXT_LEN_MAX)
    }

    /// The check.
    pub(super) fn check(&self) -> String {
        sanitised(self.alert.check(), TEXT_LEN_MAX)
    }

    /// The object; empty where there is none, or only a digest that tells a sender's alerts apart.
    pub(super) fn object(&self) -> String {
        match self.sender() {
            Some(_) => String::new(),
            None => sanitised(&self.alert.object(), TEXT_LEN_MAX),
        }
    }

    /// The check with its object, short enough for a line.
    pub(super) fn what(&self) -> String {
        let mut what = self.check();
        let object = self.object();
        if !object.is_empty() {
            what.push(' ');
            what.push_str(&shortened(object));
        }
        what
    }

    /// What was found, in words.
    pub(super) fn finding(&self, clock: Clock<'_>) -> String {
        let mut finding = message::render_in(clock.language, clock.zone, self.reason, self.facts);
        let mut labels: Vec<String> = self.labels().take(LABELS_SAID_MAX + 1).collect();
        if labels.len() > LABELS_SAID_MAX {
            labels.truncate(LABELS_SAID_MAX);
            labels.push("…".to_owned());
        }
        if !labels.is_empty() {
            finding.push_str(&format!(" ({})", labels.join(", ")));
        }
        finding
    }

    /// The labels of a sender's alert, `job=node`; none for others.
    pub(super) fn labels(&self) -> impl Iterator<Item = String> {
        let facts = self.sender().map(|_| self.facts.iter());
        facts
            .into_iter()
            .flatten()
            .filter(|(label, _)| !LABELS_UNSAID.contains(&label.as_str()))
            .filter_map(|(label, value)| {
                let text = format!("{label}={}", value.as_str()?);
                Some(sanitised(&text, TEXT_LEN_MAX))
            })
    }

    /// How it stands, in words.
    pub(super) const fn standing(&self, language: Language) -> &'static str {
        words::standing(language, self.family, self.status)
    }
}

/// A long object without its middle: what tells two paths apart is at their ends.
fn shortened(object: String) -> String {
    let len = object.chars().count();
    if len <= OBJECT_SAID_LEN_MAX {
        return object;
    }
    let kept = (OBJECT_SAID_LEN_MAX - 1) / 2;
    let start: String = object.chars().take(kept).collect();
    let end: String = object.chars().skip(len - kept).collect();
    format!("{start}…{end}")
}
