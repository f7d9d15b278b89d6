//! The contact: what a node says of itself every 20 seconds, first in the body of every request.
//!
//! It names the head of the node's chain and everything that is not ok *now*, so that the present is decided before a
//! backlog of history is read. It is signed with the node's Ed25519 key (RFC 8032) together with the collector's id,
//! so that it can be shown later and cannot be replayed to another collector. A contact may open or worsen alerts; it
//! never ends one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    canonical::{self, NotCanonical},
    digest::{Digest, from_hex, to_hex},
    entry::Head,
    id::{CheckName, NodeName},
    status::Status,
    time::Wall,
};

/// How often an agent makes contact, in milliseconds. With `silent_after = 2m` five are missed before an alarm.
pub const CONTACT_EVERY_MS: u64 = 20_000;

/// How many objects one contact lists: 1,000 objects for ten checks. What is beyond is still in the lines.
pub const NOT_OK_MAX: usize = 10_000;

/// The longest contact line, in bytes.
pub const CONTACT_LEN_MAX: usize = 2 * 1024 * 1024;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The node's wall clock.
    pub at: Wall,
    /// The last line of the node's chain, sent or not.
    pub head: Head,
    /// Digest of the plan in force; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// Everything that is not ok now.
    pub not_ok: Vec<NotOk>,
}

/// One object that is not ok.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotOk {
    /// The check.
    pub check: CheckName,
    /// What it judges, where it judges several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// How it stands.
    pub status: Status,
    /// The line that said so.
    pub seq: u64,
}

/// Why a line is no contact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAContact {
    /// Longer than [`CONTACT_LEN_MAX`] or more than [`NOT_OK_MAX`] objects.
    #[error("the contact is longer than allowed")]
    TooLong,
    /// Not canonical JSON.
    #[error("the contact line is {0}")]
    NotCanonical(#[from] NotCanonical),
    /// A member is missing or of the wrong type.
    #[error(
        "the contact line has another shape than {{\"contact\":{{at,head,not_ok}},\"signature\":hex}}"
    )]
    Shape,
}

/// A contact as it came, with what its signature covers.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What is said.
    pub contact: Contact,
    /// The contact's canonical bytes.
    bytes: Vec<u8>,
    /// Ed25519 signature over [`signed_bytes`].
    pub signature: Vec<u8>,
}

/// What the signature covers: a name for this use of the key, the collector, the node, the contact.
#[must_use]
pub fn signed_bytes(collector: &str, node: &NodeName, contact: &[u8]) -> Vec<u8> {
    [
        b"vigie contact v1\n".as_slice(),
        collector.as_bytes(),
        b"\n",
        node.as_str().as_bytes(),
        b"\n",
        contact,
    ]
    .concat()
}

impl Contact {
    /// The line to send; `sign` signs the bytes it is given.
    pub fn to_line(
        &self,
        collector: &str,
        node: &NodeName,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> String {
        let contact = canonical::write(self);
        let signature = sign(&signed_bytes(collector, node, contact.as_bytes()));
        // Both members are canonical and in order, so the whole is.
        format!(
            r#"{{"contact":{contact},"signature":"{}"}}"#,
            to_hex(&signature)
        )
    }
}

impl Signed {
    /// Reads a contact line; the signature is not checked yet.
    ///
    /// # Errors
    /// When the bytes are not such a line.
    pub fn read(line: &[u8]) -> Result<Self, NotAContact> {
        if line.len() > CONTACT_LEN_MAX {
            return Err(NotAContact::TooLong);
        }
        let mut value = canonical::read(line)?;
        let signature = value
            .get("signature")
            .and_then(Value::as_str)
            .and_then(from_hex)
            .ok_or(NotAContact::Shape)?;
        let contact = value
            .get_mut("contact")
            .map(Value::take)
            .ok_or(NotAContact::Shape)?;
        let bytes = contact.to_string().into_bytes();
        let contact: Contact = serde_json::from_value(contact).map_err(|_| NotAContact::Shape)?;
        if contact.not_ok.len() > NOT_OK_MAX {
            return Err(NotAContact::TooLong);
        }
        Ok(Self {
            contact,
            bytes,
            signature,
        })
    }

    /// The bytes that the signature must cover.
    #[must_use]
    pub fn signed_bytes(&self, collector: &str, node: &NodeName) -> Vec<u8> {
        signed_bytes(collector, node, &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_contact_line_reads_back_with_the_bytes_that_were_signed() {
        let contact = Contact {
            at: Wall(1_795_374_271_207),
            head: Head {
                seq: 7,
                sha256: Digest::of(b"seven"),
            },
            plan: None,
            not_ok: vec![NotOk {
                check: "portail".parse().unwrap(),
                object: Some("192.0.2.7".to_owned()),
                status: Status::Critical,
                seq: 7,
            }],
        };
        let node: NodeName = "app-01".parse().unwrap();
        let mut covered = Vec::new();
        let line = contact.to_line("c1", &node, |bytes| {
            covered = bytes.to_vec();
            vec![1, 2, 3]
        });
        let signed = Signed::read(line.as_bytes()).unwrap();
        assert_eq!(signed.contact, contact);
        assert_eq!(signed.signature, [1, 2, 3]);
        assert_eq!(signed.signed_bytes("c1", &node), covered);
        assert_ne!(signed.signed_bytes("c2", &node), covered);
    }

    #[test]
    fn keys_of_a_newer_agent_are_ignored_and_wrong_shapes_refused() {
        let newer = r#"{"contact":{"at":"2026-11-22T19:04:31.207Z","head":{"seq":0,"sha256":"Z"},"not_ok":[],"zest":1},"signature":"00"}"#
            .replace('Z', &Digest::ZERO.to_string());
        let newer = newer.replace(&format!("31.207{}", Digest::ZERO), "31.207Z");
        assert!(Signed::read(newer.as_bytes()).is_ok(), "{newer}");
        for bad in [r#"{"contact":{}}"#, r#"{"contact":{},"signature":"0"}"#] {
            assert_eq!(
                Signed::read(bad.as_bytes()).unwrap_err(),
                NotAContact::Shape
            );
        }
    }
}
