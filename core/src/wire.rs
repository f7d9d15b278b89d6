//! The JSON that agent and collector exchange to agree on an identity: join and renewal.
//!
//! | request | who may | body | answer |
//! |---|---|---|---|
//! | `POST /v1/join` | anyone with a token | [`JoinRequest`] | 200 [`JoinAnswer`] |
//! | `POST /v1/renew` | the holder of a certificate, also one lately expired | [`RenewRequest`] | 200 [`RenewAnswer`] |
//!
//! Any refusal is an [`ErrorBody`]. Binary values are lowercase hexadecimal, so that one reader serves all. Keys that
//! a reader does not know are ignored: a newer peer may say more. The wishes of a node end at its two public keys, those
//! of a sender at its one; name, validity and purpose of a certificate are the collector's to set.

use serde::{Deserialize, Serialize};

use crate::{
    entry::Head,
    token::{Holder, TokenSecret},
};

/// Where a machine joins: the only path open to a connection without certificate.
pub const JOIN_PATH: &str = "/v1/join";

/// Where a machine renews its certificate.
pub const RENEW_PATH: &str = "/v1/renew";

/// The largest body of either request, in bytes: two keys, a token and a name take under 700.
pub const JOIN_BODY_LEN_MAX: usize = 4096;

/// The largest answer to either request, in bytes: a certificate takes 900, a bundle of CAs some more.
pub const JOIN_ANSWER_LEN_MAX: usize = 65_536;

/// A machine, or a program that sends metrics, introduces itself. `Debug` does not show the secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token's public name.
    pub token_id: String,
    /// The token's secret.
    pub secret: TokenSecret,
    /// Who it believes to be; must be who the token is bound to. `"node":"app-01"` or `"sender":"prometheus-01"`.
    #[serde(flatten)]
    pub holder: Holder,
    /// Public half of the TLS key: the DER of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), ECDSA P-256.
    pub tls_key_spki: PublicKeyDer,
    /// Public half of the key that signs contacts: Ed25519, 32 bytes (RFC 8032). A node must have one; a sender signs
    /// nothing and has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<SigningKey>,
}

/// The collector takes it in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// Its certificate.
    pub certificate_pem: String,
    /// The CAs that may vouch for the collector, old and new.
    pub server_ca_pem: String,
    /// The collector's id, pinned from now on.
    pub collector_id: String,
    /// Head of the node's chain as the collector has it; absent when the name has never written a line, and for
    /// senders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
}

/// A node or sender asks for a certificate over a new key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Public half of the new TLS key, as in [`JoinRequest::tls_key_spki`].
    pub tls_key_spki: PublicKeyDer,
}

/// The new certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewAnswer {
    /// Its certificate over the new key.
    pub certificate_pem: String,
    /// The CAs that may vouch for the collector, old and new.
    pub server_ca_pem: String,
}

/// A refusal: what is wrong and what to do about it, both for an operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong: a stable code, lowercase words joined by dots.
    pub error: String,
    /// What to do about it, one sentence.
    pub mend: String,
}

/// The longest SubjectPublicKeyInfo taken, in bytes: P-256 has 91. Keeps hostile keys small before they are parsed.
pub const PUBLIC_KEY_LEN_MAX: usize = 512;

/// The DER of a SubjectPublicKeyInfo, of bounded length and otherwise unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKeyDer(Vec<u8>);

/// An Ed25519 public key, not yet known to be a point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningKey(pub [u8; 32]);

/// The text is not the hexadecimal form of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// Not hexadecimal, empty, or longer than [`PUBLIC_KEY_LEN_MAX`].
    #[error("a TLS key is the DER of its SubjectPublicKeyInfo in hexadecimal, at most 512 bytes")]
    Tls,
    /// Not 32 bytes of hexadecimal.
    #[error("a signing key is 64 hexadecimal digits")]
    Signing,
}

impl PublicKeyDer {
    /// Takes the DER bytes.
    ///
    /// # Errors
    /// When there are none or more than [`PUBLIC_KEY_LEN_MAX`].
    pub fn new(der: Vec<u8>) -> Result<Self, NotAKey> {
        if der.is_empty() || der.len() > PUBLIC_KEY_LEN_MAX {
            return Err(NotAKey::Tls);
        }
        Ok(Self(der))
    }

    /// The DER bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for PublicKeyDer {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        Self::new(crate::digest::from_hex(&text).ok_or(NotAKey::Tls)?)
    }
}

impl From<PublicKeyDer> for String {
    fn from(key: PublicKeyDer) -> Self {
        crate::digest::to_hex(&key.0)
    }
}

impl TryFrom<String> for SigningKey {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        crate::digest::from_hex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(NotAKey::Signing)
    }
}

impl From<SigningKey> for String {
    fn from(key: SigningKey) -> Self {
        crate::digest::to_hex(&key.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_join_request_reads_as_documented_and_ignores_unknown_keys() {
        let text = format!(
            r#"{{"token_id":"k3","secret":"{}","node":"app-01","tls_key_spki":"3059","signing_key":"{}","later":1}}"#,
            "01".repeat(32),
            "02".repeat(32)
        );
        let request: JoinRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(request.tls_key_spki.as_bytes(), [0x30, 0x59]);
        assert_eq!(request.signing_key, Some(SigningKey([2; 32])));
        assert_eq!(request.holder, Holder::Node("app-01".parse().unwrap()));
        assert!(!format!("{request:?}").contains("0101"));
        let written = serde_json::to_string(&request).unwrap();
        assert_eq!(written, text.replace(r#","later":1"#, ""));
        assert!(written.len() < JOIN_BODY_LEN_MAX);
    }

    #[test]
    fn a_senders_join_request_names_a_sender_and_has_no_signing_key() {
        let text = format!(
            r#"{{"token_id":"k3","secret":"{}","sender":"prometheus-01","tls_key_spki":"3059"}}"#,
            "01".repeat(32),
        );
        let request: JoinRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(
            request.holder,
            Holder::Sender("prometheus-01".parse().unwrap())
        );
        assert_eq!(request.signing_key, None);
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        for bad in [
            text.replace("prometheus-01", "-"),
            text.replace(r#""sender":"prometheus-01","#, ""),
            text.replace("sender", "admin"),
        ] {
            assert!(serde_json::from_str::<JoinRequest>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_of_the_wrong_length_or_alphabet_are_refused() {
        for (key, good) in [
            ("3059", true),
            ("", false),
            ("305", false),
            ("zz", false),
            (&*"00".repeat(PUBLIC_KEY_LEN_MAX), true),
            (&*"00".repeat(PUBLIC_KEY_LEN_MAX + 1), false),
        ] {
            let body = format!(r#"{{"tls_key_spki":"{key}"}}"#);
            assert_eq!(
                serde_json::from_str::<RenewRequest>(&body).is_ok(),
                good,
                "{key}"
            );
        }
        assert_eq!(SigningKey::try_from("00".repeat(31)), Err(NotAKey::Signing));
    }
}
