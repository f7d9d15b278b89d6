//! One line of evidence and the chain it stands in.
//!
//! ```json
//! {"at":"…","boot":"…","check":"portail","facts":{…},"kind":"check.status","node":"app-01","object":"192.0.2.7",
//!  "prev":"9f2c…","reason":"http.status","seq":1841,"service":"dossier-patient","status":"critical","v":1}
//! ```
//! A line is canonical JSON ([`crate::canonical`]) of at most [`LINE_LEN_MAX`] bytes, hashed as bytes and never
//! re-serialised. `seq` starts at 1 and never restarts; `prev` is the SHA-256 of the node's previous line.
//!
//! Writing ([`Draft`]) is strict: only our own types. Reading ([`Entry::read`]) is lenient: a reason, fact or key that
//! this version does not know is kept, because a newer agent may send it, and refusing it would lose evidence.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Map, Value, json};

use crate::{
    canonical::{self, NotCanonical},
    digest::Digest,
    id::{CheckName, NodeName, ServiceName},
    observation::{Facts, Object},
    reason::Reason,
    status::Status,
    time::Wall,
};

/// The longest line, in bytes: room for the largest list of facts, small enough that a thousand fit one request.
pub const LINE_LEN_MAX: usize = 16 * 1024;

/// The version of the line's format.
pub const VERSION: u64 = 1;

/// Where a chain stands: its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last line; 0 before the first.
    pub seq: u64,
    /// SHA-256 of its bytes; zeroes before the first.
    pub sha256: Digest,
}

impl Head {
    /// A chain without lines.
    pub const EMPTY: Self = Self {
        seq: 0,
        sha256: Digest::ZERO,
    };
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object's status settled anew.
    CheckStatus,
    /// Something about the agent itself; the reason's code is also the kind.
    Own(Reason),
}

impl Kind {
    /// The word in the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CheckStatus => "check.status",
            Self::Own(reason) => reason.code(),
        }
    }
}

/// A line before it has its place in the chain.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it is about.
    pub kind: Kind,
    /// The check, where there is one.
    pub check: Option<CheckName>,
    /// What the check judged.
    pub object: Option<Object>,
    /// The service the check serves; absent where it counts for all of the node.
    pub service: Option<ServiceName>,
    /// How it stands.
    pub status: Option<Status>,
    /// Why; always present for a status.
    pub reason: Reason,
    /// Details.
    pub facts: Facts,
}

/// A finished line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// SHA-256 of its bytes: the next line's `prev`.
    pub sha256: Digest,
    /// The bytes, without a newline.
    pub bytes: Vec<u8>,
}

impl Line {
    /// The chain's head once this line is its last.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            seq: self.seq,
            sha256: self.sha256,
        }
    }
}

impl Draft {
    /// A line about the agent itself.
    #[must_use]
    pub const fn own(reason: Reason, facts: Facts) -> Self {
        Self {
            kind: Kind::Own(reason),
            check: None,
            object: None,
            service: None,
            status: None,
            reason,
            facts,
        }
    }

    /// Gives the line its place after `head`. Facts that would make it too long are left out, largest first: a line
    /// must never fail to be written because a list grew.
    #[must_use]
    pub fn chain(&self, head: Head, node: &NodeName, boot: &str, at: Wall) -> Line {
        let mut facts: Map<String, Value> = self
            .facts
            .iter()
            .map(|(key, fact)| ((*key).to_owned(), fact.to_json()))
            .collect();
        let seq = head.seq + 1;
        loop {
            let mut line = json!({
                "at": at.to_string(),
                "boot": boot,
                "facts": facts,
                "kind": self.kind.as_str(),
                "node": node.as_str(),
                "prev": head.sha256.to_string(),
                "reason": self.reason.code(),
                "seq": seq,
                "v": VERSION,
            });
            let optional = [
                ("check", self.check.as_ref().map(CheckName::as_str)),
                ("object", self.object.as_ref().map(Object::as_str)),
                ("service", self.service.as_ref().map(ServiceName::as_str)),
                ("status", self.status.map(Status::as_str)),
            ];
            for (key, value) in optional {
                if let Some(value) = value {
                    line[key] = value.into();
                }
            }
            let bytes = canonical::write(&line).into_bytes();
            if bytes.len() <= LINE_LEN_MAX {
                return Line {
                    seq,
                    sha256: Digest::of(&bytes),
                    bytes,
                };
            }
            let longest = facts
                .iter()
                .max_by_key(|(_, fact)| fact.to_string().len())
                .map(|(key, _)| key.clone())
                .expect("a line without facts is shorter than 16 KiB: all else is bounded");
            facts.remove(&longest);
        }
    }
}

/// A line as the collector reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// SHA-256 of the line before it.
    pub prev: Digest,
    /// SHA-256 of this line's bytes.
    pub sha256: Digest,
    /// The node's wall clock when it was written.
    pub at: Wall,
    /// The node the line claims to be of.
    pub node: String,
    /// What it is about.
    pub kind: String,
    /// The check, if it has one and it is a well-formed name.
    pub check: Option<CheckName>,
    /// What the check judged.
    pub object: Option<String>,
    /// The service spoken for.
    pub service: Option<ServiceName>,
    /// How it stands. A word that this version does not know is `unknown`: doubt never removes an alarm.
    pub status: Option<Status>,
    /// Why.
    pub reason: Option<String>,
    /// Details.
    pub facts: Map<String, Value>,
    /// Whether a member had the wrong type or grammar and was left out above.
    pub malformed: bool,
}

/// Why a line cannot be taken as one; then its digest alone stands for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEntry {
    /// Longer than [`LINE_LEN_MAX`].
    #[error("the line has {0} bytes, more than {LINE_LEN_MAX}")]
    TooLong(usize),
    /// Not its own canonical form.
    #[error("the line is {0}")]
    NotCanonical(#[from] NotCanonical),
    /// Without its place in the chain nothing can be done with it.
    #[error("the line lacks a well-formed `{0}`")]
    Lacks(&'static str),
}

impl Entry {
    /// Reads a line's bytes.
    ///
    /// # Errors
    /// Only when the line is too long, not canonical, or without `v`, `seq`, `prev`, `node`, `kind` or `at`.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        if bytes.len() > LINE_LEN_MAX {
            return Err(NotAnEntry::TooLong(bytes.len()));
        }
        let value = canonical::read(bytes)?;
        let text = |key: &'static str| value.get(key).and_then(Value::as_str);
        let seq = value
            .get("seq")
            .and_then(Value::as_u64)
            .filter(|seq| *seq > 0);
        if value.get("v").and_then(Value::as_u64).is_none() {
            return Err(NotAnEntry::Lacks("v"));
        }
        let mut entry = Self {
            seq: seq.ok_or(NotAnEntry::Lacks("seq"))?,
            prev: text("prev")
                .and_then(|prev| prev.parse().ok())
                .ok_or(NotAnEntry::Lacks("prev"))?,
            sha256: Digest::of(bytes),
            at: text("at")
                .and_then(|at| Wall::parse(at).ok())
                .ok_or(NotAnEntry::Lacks("at"))?,
            node: text("node").ok_or(NotAnEntry::Lacks("node"))?.to_owned(),
            kind: text("kind").ok_or(NotAnEntry::Lacks("kind"))?.to_owned(),
            check: None,
            object: None,
            service: None,
            status: None,
            reason: None,
            facts: Map::new(),
            malformed: false,
        };
        let malformed = &mut entry.malformed;
        let mut optional = |key: &'static str| {
            let member = value.get(key)?;
            *malformed |= member.as_str().is_none();
            member.as_str()
        };
        let check = optional("check");
        let service = optional("service");
        let status = optional("status");
        entry.object = optional("object").map(str::to_owned);
        entry.reason = optional("reason").map(str::to_owned);
        entry.check = check.and_then(|check| check.parse().ok());
        entry.service = service.and_then(|service| service.parse().ok());
        entry.status = status.map(|status| status.parse().unwrap_or(Status::Unknown));
        entry.malformed |= check.is_some() != entry.check.is_some();
        entry.malformed |= service.is_some() != entry.service.is_some();
        match value.get("facts") {
            Some(Value::Object(facts)) => entry.facts.clone_from(facts),
            Some(_) => entry.malformed = true,
            None => {}
        }
        entry.malformed |=
            entry.kind == "check.status" && (entry.check.is_none() || entry.status.is_none());
        Ok(entry)
    }

    /// The head of the chain once this line is its last.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            seq: self.seq,
            sha256: self.sha256,
        }
    }

    /// Whether this line follows `head`.
    #[must_use]
    pub fn follows(&self, head: Head) -> bool {
        self.seq == head.seq + 1 && self.prev == head.sha256
    }
}

/// A line as it came, with what it says: read once, at the door, and nested in the collector's log as it is.
///
/// Cheap to clone. As JSON it is the line itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryLine {
    text: Arc<str>,
    entry: Arc<Entry>,
}

impl EntryLine {
    /// Reads a line's bytes.
    ///
    /// # Errors
    /// As [`Entry::read`].
    pub fn read(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        let entry = Entry::read(bytes)?;
        // Canonical JSON is text; what is not has been refused already.
        let text = str::from_utf8(bytes).map_err(|_| NotCanonical::NotAnObject)?;
        Ok(Self {
            text: text.into(),
            entry: Arc::new(entry),
        })
    }

    /// The line, byte for byte.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Serialize for EntryLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(&self.text).map_err(ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EntryLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(value.to_string().as_bytes()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{observation::Fact, reason::availability::HTTP_STATUS};

    fn draft() -> Draft {
        Draft {
            kind: Kind::CheckStatus,
            check: Some("portail".parse().unwrap()),
            object: Some(Object::address([192, 0, 2, 7].into())),
            service: Some("dossier-patient".parse().unwrap()),
            status: Some(Status::Critical),
            reason: HTTP_STATUS,
            facts: [
                ("got", Fact::Integer(503)),
                ("expected", Fact::List(vec![Fact::Integer(200)])),
            ]
            .into(),
        }
    }

    #[test]
    fn a_line_is_the_documented_bytes() {
        let head = Head {
            seq: 1840,
            sha256: Digest::of(b"before"),
        };
        let line = draft().chain(
            head,
            &"app-01".parse().unwrap(),
            "5b1c",
            Wall(1_795_374_271_207),
        );
        let expected = format!(
            r#"{{"at":"2026-11-22T19:04:31.207Z","boot":"5b1c","check":"portail","facts":{{"expected":[200],"got":503}},"kind":"check.status","node":"app-01","object":"192.0.2.7","prev":"{}","reason":"http.status","seq":1841,"service":"dossier-patient","status":"critical","v":1}}"#,
            head.sha256
        );
        assert_eq!(String::from_utf8(line.bytes.clone()).unwrap(), expected);
        let entry = Entry::read(&line.bytes).unwrap();
        assert!(entry.follows(head) && !entry.malformed);
        assert_eq!(entry.head(), line.head());
        assert_eq!(entry.facts["got"], 503);
    }

    #[test]
    fn a_line_that_would_be_too_long_loses_facts_and_is_written() {
        let mut long = draft();
        long.facts
            .insert("expected", Fact::List(vec![Fact::Integer(200); 8000]));
        let line = long.chain(Head::EMPTY, &"app-01".parse().unwrap(), "5b1c", Wall(0));
        let entry = Entry::read(&line.bytes).unwrap();
        assert_eq!(entry.facts.keys().collect::<Vec<_>>(), ["got"]);
    }

    #[test]
    fn what_a_newer_agent_sends_is_kept_and_what_is_wrong_is_marked() {
        let base = r#"{"at":"2026-11-22T19:04:31.207Z",KEY"kind":"check.status","node":"n","prev":"PREV","seq":2,"status":"STATUS","v":2}"#
            .replace("PREV", &Digest::ZERO.to_string());
        let newer = base
            .replace("KEY", r#""check":"a","facts":{"x":[1]},"#)
            .replace("STATUS", "critical");
        let entry = Entry::read(newer.as_bytes()).unwrap();
        assert!(!entry.malformed);
        let odd = base
            .replace("KEY", r#""check":"@node","#)
            .replace("STATUS", "splendid");
        let entry = Entry::read(odd.as_bytes()).unwrap();
        assert!(entry.malformed && entry.check.is_none());
        assert_eq!(entry.status, Some(Status::Unknown));
        assert_eq!(Entry::read(b"{}"), Err(NotAnEntry::Lacks("v")));
        assert!(matches!(
            Entry::read(&vec![b' '; LINE_LEN_MAX + 1]),
            Err(NotAnEntry::TooLong(_))
        ));
    }
}
