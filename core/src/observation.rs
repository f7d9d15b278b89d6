//! What one run of a check found about one object, in types that cannot carry free text.
//!
//! Everything that may leave a node is one of the closed set of types in [`Fact`]; there is no variant for a string of
//! somebody's choosing. A reason declares which facts it carries ([`crate::reason`]); others are dropped here, before
//! anything is written, so that a careless check cannot leak.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde_json::Value;

use crate::{
    canonical::INTEGER_MAX,
    digest::Digest,
    id::is_configured_name,
    reason::{FactType, Reason},
    status::Status,
    time::Wall,
};

/// The longest object or public name, in bytes (RFC 1035 §2.3.4 gives 255 for a domain name; PATH_MAX would not fit
/// a line, so longer mount points travel as pseudonyms).
pub const OBJECT_LEN_MAX: usize = 255;

/// One value that may leave a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A whole number within ±(2^53 - 1); others are clamped when written.
    Integer(i64),
    /// A word of a closed list in our code.
    Word(&'static str),
    /// An instant.
    Time(Wall),
    /// One character, written as `U+00E9`.
    CodePoint(char),
    /// A SHA-256.
    Digest(Digest),
    /// A name the administrator wrote, a unit, a mount point, a public name or a pseudonym.
    Name(Object),
    /// Several of one type.
    List(Vec<Fact>),
}

/// What one check judges apart. Also the type of facts that are names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(Box<str>, ObjectType);

/// Where an object's text comes from, which is what makes it safe to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectType {
    /// Written by the administrator in the settings.
    Configured,
    /// A systemd unit, from unit files on disk.
    Unit,
    /// A mount point as in fstab or the check's settings.
    Mount,
    /// A validated DNS name or an IP address, with or without a port.
    Public,
    /// A keyed hash made on the node.
    Pseudonym,
}

/// The text does not belong to the type it was offered as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct NotAnObject(&'static str);

impl Object {
    /// A configured name (`[a-z0-9][a-z0-9._-]{0,62}`).
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn configured(text: &str) -> Result<Self, NotAnObject> {
        is_configured_name(text)
            .then(|| Self(text.into(), ObjectType::Configured))
            .ok_or(NotAnObject("configured name"))
    }

    /// A systemd unit name (systemd.unit(5): `[A-Za-z0-9:_.\\@-]+\.type`).
    ///
    /// # Errors
    /// When the text is no unit name.
    pub fn unit(text: &str) -> Result<Self, NotAnObject> {
        const SUFFIXES: [&str; 11] = [
            "service",
            "socket",
            "device",
            "mount",
            "automount",
            "swap",
            "target",
            "path",
            "timer",
            "slice",
            "scope",
        ];
        let ends_well = text
            .rsplit_once('.')
            .is_some_and(|(stem, suffix)| !stem.is_empty() && SUFFIXES.contains(&suffix));
        let all_allowed = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":_.\\@-".contains(&byte));
        (ends_well && all_allowed && text.len() <= OBJECT_LEN_MAX)
            .then(|| Self(text.into(), ObjectType::Unit))
            .ok_or(NotAnObject("systemd unit name"))
    }

    /// An absolute mount point without control characters.
    ///
    /// # Errors
    /// When the text is relative, too long or holds a control character.
    pub fn mount(text: &str) -> Result<Self, NotAnObject> {
        (text.starts_with('/') && text.len() <= OBJECT_LEN_MAX && !text.contains(char::is_control))
            .then(|| Self(text.into(), ObjectType::Mount))
            .ok_or(NotAnObject("mount point"))
    }

    /// A DNS name in lowercase ASCII (RFC 1123 §2.1), as it is written in a certificate or a URL.
    ///
    /// # Errors
    /// When the text is no such name.
    pub fn host(text: &str) -> Result<Self, NotAnObject> {
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let name = text.to_ascii_lowercase();
        let stem = name.strip_prefix("*.").unwrap_or(&name);
        (stem.len() <= 253 && stem.split('.').all(label_ok))
            .then(|| Self(name.as_str().into(), ObjectType::Public))
            .ok_or(NotAnObject("DNS name"))
    }

    /// An IP address in its shortest form (RFC 5952).
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self(address.to_string().into(), ObjectType::Public)
    }

    /// A pseudonym made by the node's key; `hex` is that keyed hash.
    ///
    /// # Errors
    /// When the text is not `~` and lowercase hexadecimal digits, with an optional `/` between two such parts.
    pub fn pseudonym(text: &str) -> Result<Self, NotAnObject> {
        let part_ok = |part: &str| {
            (8..=64).contains(&part.len())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        text.strip_prefix('~')
            .is_some_and(|parts| parts.split('/').count() <= 2 && parts.split('/').all(part_ok))
            .then(|| Self(text.into(), ObjectType::Pseudonym))
            .ok_or(NotAnObject("pseudonym"))
    }

    /// The object as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind of text it is.
    #[must_use]
    pub const fn object_type(&self) -> ObjectType {
        self.1
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fact {
    /// The JSON form that an entry carries.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Integer(number) => (*number).clamp(-INTEGER_MAX, INTEGER_MAX).into(),
            Self::Word(word) => (*word).into(),
            Self::Time(instant) => instant.to_string().into(),
            Self::CodePoint(character) => format!("U+{:04X}", u32::from(*character)).into(),
            Self::Digest(digest) => digest.to_string().into(),
            Self::Name(name) => name.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
        }
    }

    fn is_of(&self, fact_type: FactType) -> bool {
        match (self, fact_type) {
            (Self::Integer(_), FactType::Integer)
            | (Self::Word(_), FactType::Word)
            | (Self::Time(_), FactType::Time)
            | (Self::CodePoint(_), FactType::CodePoint)
            | (Self::Digest(_), FactType::Digest)
            | (Self::Name(_), FactType::Name) => true,
            (Self::List(items), FactType::Integers) => {
                items.iter().all(|item| item.is_of(FactType::Integer))
            }
            (Self::List(items), FactType::Names) => {
                items.iter().all(|item| item.is_of(FactType::Name))
            }
            _ => false,
        }
    }
}

impl From<i64> for Fact {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(INTEGER_MAX))
    }
}

impl From<&'static str> for Fact {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<Object> for Fact {
    fn from(object: Object) -> Self {
        Self::Name(object)
    }
}

/// The facts of one observation, by key.
pub type Facts = BTreeMap<&'static str, Fact>;

/// One measured number of one object, for the metrics lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Index into the kind's declared metrics.
    pub metric: MetricId,
    /// In the metric's base unit.
    pub value: f64,
    /// The value of the metric's one extra label (a phase, a cpu mode), or `""`.
    pub label: &'static str,
}

/// The name of a metric that a check kind declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub &'static str);

/// What one run found about one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// What was judged; `None` where the check has one thing to judge.
    pub object: Option<Object>,
    /// How it stands.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// Details of the reason, only keys that it declares.
    pub facts: Facts,
    /// Numbers for the metrics lane, in declaration order.
    pub measurements: Vec<Measurement>,
}

impl Observation {
    /// An observation without object, facts or measurements yet.
    #[must_use]
    pub const fn new(status: Status, reason: Reason) -> Self {
        Self {
            object: None,
            status,
            reason,
            facts: Facts::new(),
            measurements: Vec::new(),
        }
    }

    /// Names the object judged.
    #[must_use]
    pub fn of(mut self, object: Object) -> Self {
        self.object = Some(object);
        self
    }

    /// Adds a fact. A key or type that the reason does not declare is a programming error: it stops a test, and in
    /// the field the fact is left out rather than sent.
    #[must_use]
    pub fn fact(mut self, key: &'static str, value: impl Into<Fact>) -> Self {
        let value = value.into();
        let declared = self.reason.fact_type(key).is_some_and(|t| value.is_of(t));
        debug_assert!(
            declared,
            "{} declares no such fact: {key} = {value:?}",
            self.reason
        );
        if declared {
            self.facts.insert(key, value);
        }
        self
    }

    /// Adds a number for the metrics lane.
    #[must_use]
    pub fn measure(mut self, metric: MetricId, value: f64) -> Self {
        self.measurements.push(Measurement {
            metric,
            value,
            label: "",
        });
        self
    }

    /// Adds a number whose metric has one extra label.
    #[must_use]
    pub fn measure_labelled(mut self, metric: MetricId, label: &'static str, value: f64) -> Self {
        self.measurements.push(Measurement {
            metric,
            value,
            label,
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_take_only_what_their_type_allows() {
        assert!(Object::mount("/var/lib").is_ok());
        assert!(Object::mount("var").is_err());
        assert!(Object::mount("/a\u{1b}[31m").is_err());
        assert!(Object::unit("nginx@a\\x2db.service").is_ok());
        assert!(Object::unit("nginx").is_err());
        assert!(Object::unit("a b.service").is_err());
        assert_eq!(
            Object::host("Portail.GRADEST.example").map(|o| o.to_string()),
            Ok("portail.gradest.example".to_owned())
        );
        assert!(Object::host("a..b").is_err());
        assert!(Object::host("marie dupont").is_err());
        assert!(Object::pseudonym("~0123456789abcdef/00ff00ff00ff00ff").is_ok());
        assert!(Object::pseudonym("~marie").is_err());
    }

    #[test]
    fn integers_are_clamped_to_what_json_keeps_exact() {
        assert_eq!(Fact::from(u64::MAX).to_json(), Value::from(INTEGER_MAX));
        assert_eq!(Fact::Integer(i64::MIN).to_json(), Value::from(-INTEGER_MAX));
        assert_eq!(Fact::CodePoint('é').to_json(), Value::from("U+00E9"));
    }
}
