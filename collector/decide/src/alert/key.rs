//! What an alert is keyed by: who it is about ([`Source`]) and what of it is judged ([`Judged`]).
//!
//! Stored, logged and told it is three texts, `node`, `check` and `object`; they and their order are frozen, since logs are
//! replayed and rows are read by them. What is not a node, and what is not an administrator's check, starts with `@`, which
//! no configured name can:
//!
//! ```text
//! source      node             judged                      check        object
//! Node        app-01           a check                     portail      192.0.2.7
//! Node        app-01           BuiltIn::NodeSilent         @node        silent
//! Site        @collector       BuiltIn::SiteSilent         @site        strasbourg
//! Sender      @sender/prom     an alert of the sender      HighLatency  9f3a…
//! Collector   @collector       BuiltIn::DeliveryFailing    @delivery    am/sms
//! ```

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use vigie_core::id::{CheckName, NodeName, ReceiverName, SenderName, SiteName};

use super::built_in::BuiltIn;

/// The node part of alerts about the collector itself, and about sites.
const COLLECTOR: &str = "@collector";

/// What the node part of a sender's alerts begins with; its name follows.
const SENDER: &str = "@sender/";

/// Who or what an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A node, by its certificate.
    Node(NodeName),
    /// Nodes that stand together.
    Site(SiteName),
    /// A program that posts alerts of its own, by its certificate.
    Sender(SenderName),
    /// The collector itself.
    Collector,
}

/// What of a source is judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Judged {
    /// An object of a node's check, or an alert of a sender. `object` is empty where a check has one thing to judge.
    Check {
        /// The check; of a sender the alert's name, which is text of the sender's choosing.
        name: Box<str>,
        /// The object; of a sender the alert's fingerprint.
        object: Box<str>,
    },
    /// What vigie itself watches.
    BuiltIn(BuiltIn),
}

/// What an alert is keyed by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AlertKey {
    source: Source,
    judged: Judged,
}

/// Three texts that are no key: the first names neither a node nor anything else that can have alerts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{node:?} is neither a node's name nor a sender nor the collector")]
pub struct NotAKey {
    node: String,
}

impl Source {
    /// As it is stored and told. Nodes' names are as they are, all others start with `@`.
    #[must_use]
    pub fn as_node(&self) -> Cow<'_, str> {
        match self {
            Self::Node(node) => node.as_str().into(),
            Self::Sender(sender) => format!("{SENDER}{sender}").into(),
            Self::Site(_) | Self::Collector => COLLECTOR.into(),
        }
    }

    /// The part before the name, and the name: together [`Source::as_node`], without a copy.
    fn parts(&self) -> (&str, &str) {
        match self {
            Self::Node(node) => ("", node.as_str()),
            Self::Sender(sender) => (SENDER, sender.as_str()),
            Self::Site(_) | Self::Collector => (COLLECTOR, ""),
        }
    }

    /// Whether their alerts stand together in the order of keys.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl AlertKey {
    /// The key of an object of a node's check.
    #[must_use]
    pub fn of_check(node: &NodeName, check: &CheckName, object: Option<&str>) -> Self {
        Self {
            source: Source::Node(node.clone()),
            judged: Judged::Check {
                name: check.as_str().into(),
                object: object.unwrap_or_default().into(),
            },
        }
    }

    /// The key of what vigie watches of a node.
    #[must_use]
    pub fn of_node(node: &NodeName, what: BuiltIn) -> Self {
        Self {
            source: Source::Node(node.clone()),
            judged: Judged::BuiltIn(what),
        }
    }

    /// The key of a site's silence.
    #[must_use]
    pub fn of_site(site: &SiteName) -> Self {
        Self {
            source: Source::Site(site.clone()),
            judged: Judged::BuiltIn(BuiltIn::SiteSilent),
        }
    }

    /// A key about the collector itself.
    #[must_use]
    pub fn of_collector(what: BuiltIn) -> Self {
        Self {
            source: Source::Collector,
            judged: Judged::BuiltIn(what),
        }
    }

    /// The key of an exercise for a receiver.
    #[must_use]
    pub fn exercise(receiver: &ReceiverName) -> Self {
        Self::of_collector(BuiltIn::Exercise(receiver.clone()))
    }

    /// The key of what a sender says of one of its own alerts.
    #[must_use]
    pub fn of_sender(sender: &SenderName, name: &str, fingerprint: &str) -> Self {
        Self::read(Source::Sender(sender.clone()), name, fingerprint)
    }

    /// No key is before it.
    #[must_use]
    pub fn first() -> Self {
        let least = "0"
            .parse()
            .expect("the shortest of names, of the first letter");
        Self::first_of(Source::Node(least))
    }

    /// Before the first key of a source in the order of keys.
    #[must_use]
    pub fn first_of(source: Source) -> Self {
        let judged = Judged::Check {
            name: Box::default(),
            object: Box::default(),
        };
        Self { source, judged }
    }

    /// Reads the three texts that [`AlertKey::node`], [`AlertKey::check`] and [`AlertKey::object`] give. Built-in checks
    /// of another version are kept as they are.
    ///
    /// # Errors
    /// When the first names nothing that can have alerts.
    pub fn from_parts(node: &str, check: &str, object: &str) -> Result<Self, NotAKey> {
        let not_a_key = || NotAKey {
            node: node.to_owned(),
        };
        let source = if let Some(sender) = node.strip_prefix(SENDER) {
            Source::Sender(sender.parse().map_err(|_| not_a_key())?)
        } else if node == COLLECTOR {
            match object.parse() {
                Ok(site) if check == BuiltIn::SiteSilent.check() => Source::Site(site),
                _ => Source::Collector,
            }
        } else {
            Source::Node(node.parse().map_err(|_| not_a_key())?)
        };
        Ok(Self::read(source, check, object))
    }

    /// Two texts have one key only, whoever made it.
    fn read(source: Source, check: &str, object: &str) -> Self {
        let judged = match BuiltIn::read(&source, check, object) {
            Some(what) => Judged::BuiltIn(what),
            None => Judged::Check {
                name: check.into(),
                object: object.into(),
            },
        };
        Self { source, judged }
    }

    /// Who or what it is about.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What of it is judged.
    #[must_use]
    pub fn judged(&self) -> &Judged {
        &self.judged
    }

    /// What vigie itself watches, where it is that.
    #[must_use]
    pub fn built_in(&self) -> Option<&BuiltIn> {
        match &self.judged {
            Judged::BuiltIn(what) => Some(what),
            Judged::Check { .. } => None,
        }
    }

    /// As text: the node's name, or what starts with `@`.
    #[must_use]
    pub fn node(&self) -> Cow<'_, str> {
        self.source.as_node()
    }

    /// As text: the check's name, or what starts with `@`; of a sender the alert's name.
    #[must_use]
    pub fn check(&self) -> &str {
        match &self.judged {
            Judged::Check { name, .. } => name,
            Judged::BuiltIn(what) => what.check(),
        }
    }

    /// As text: the object; empty where the check has one thing to judge.
    #[must_use]
    pub fn object(&self) -> Cow<'_, str> {
        match (&self.judged, &self.source) {
            (Judged::Check { object, .. }, _) => Cow::Borrowed(object),
            (Judged::BuiltIn(BuiltIn::SiteSilent), Source::Site(site)) => site.as_str().into(),
            (Judged::BuiltIn(what), _) => what.object(),
        }
    }

    /// The node it is about, if it is about one.
    #[must_use]
    pub fn node_name(&self) -> Option<&NodeName> {
        match &self.source {
            Source::Node(node) => Some(node),
            Source::Site(_) | Source::Sender(_) | Source::Collector => None,
        }
    }

    /// The site it is about, if it says that one is silent, cut off or out of sight.
    #[must_use]
    pub fn site(&self) -> Option<&SiteName> {
        match &self.source {
            Source::Site(site) => Some(site),
            Source::Node(_) | Source::Sender(_) | Source::Collector => None,
        }
    }

    /// The sender that it is from.
    #[must_use]
    pub fn sender(&self) -> Option<&SenderName> {
        match &self.source {
            Source::Sender(sender) => Some(sender),
            Source::Node(_) | Source::Site(_) | Source::Collector => None,
        }
    }

    /// Whether it is about the collector itself, or what it can see.
    #[must_use]
    pub fn is_of_collector(&self) -> bool {
        matches!(self.source, Source::Collector | Source::Site(_))
    }

    /// The receiver that it is an exercise for: nothing has failed.
    #[must_use]
    pub fn exercise_for(&self) -> Option<&ReceiverName> {
        match &self.judged {
            Judged::BuiltIn(BuiltIn::Exercise(receiver)) => Some(receiver),
            Judged::BuiltIn(_) | Judged::Check { .. } => None,
        }
    }

    /// Whether it is an exercise: nothing has failed.
    #[must_use]
    pub fn is_exercise(&self) -> bool {
        self.exercise_for().is_some()
    }

    /// Whether it says that its node is silent.
    #[must_use]
    pub fn is_node_silence(&self) -> bool {
        self.judged == Judged::BuiltIn(BuiltIn::NodeSilent)
    }

    /// Whether it says that a site is silent, cut off or out of sight.
    #[must_use]
    pub fn is_site_silence(&self) -> bool {
        self.site().is_some()
    }

    /// Whether it is what a node says of an object of a check.
    #[must_use]
    pub fn is_of(&self, check: &CheckName, object: Option<&str>) -> bool {
        match &self.judged {
            Judged::Check { name, object: of } => {
                **name == *check.as_str() && **of == *object.unwrap_or_default()
            }
            Judged::BuiltIn(_) => false,
        }
    }

    /// Whether it is one of vigie's own.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.built_in().is_some()
    }
}

/// As the three texts one after the other: the order in which rows are decided on, and so that of lines in the log.
impl Ord for AlertKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((prefix, name), (other_prefix, other_name)) =
            (self.source.parts(), other.source.parts());
        let by_source = if prefix == other_prefix {
            name.cmp(other_name)
        } else {
            let bytes = prefix.bytes().chain(name.bytes());
            bytes.cmp(other_prefix.bytes().chain(other_name.bytes()))
        };
        by_source
            .then_with(|| self.check().cmp(other.check()))
            .then_with(|| self.object().cmp(&other.object()))
    }
}

impl PartialOrd for AlertKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    check: Cow<'a, str>,
    #[serde(borrow)]
    object: Cow<'a, str>,
}

impl Serialize for AlertKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = Stored {
            node: self.node(),
            check: self.check().into(),
            object: self.object(),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AlertKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored {
            node,
            check,
            object,
        } = Stored::deserialize(deserializer)?;
        Self::from_parts(&node, &check, &object).map_err(de::Error::custom)
    }
}

/// `app-01 portail/192.0.2.7`, for our own log.
impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.node(), self.check(), self.object())
    }
}

#[cfg(test)]
mod tests;
