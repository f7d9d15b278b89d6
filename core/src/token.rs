//! The join token: the one line that lets a new machine introduce itself, once.
//!
//! ```text
//! vigie-join_<id>_<secret>_<ca>_<url>
//!            │    │        │    └ https address of the collector, without path
//!            │    │        └ SHA-256 of the server CA's certificate (DER), 64 hexadecimal digits
//!            │    └ 256 random bits, 64 hexadecimal digits
//!            └ public name of the token, 1 to 32 of a-z and 0-9
//! ```
//!
//! The collector keeps only the id and the SHA-256 of the secret, so neither its disk nor its backups hold a token
//! that works. The CA's digest travels with the secret so that the first contact is authenticated before the secret
//! is sent. Owns the text form, nothing else: who may use a token, how often and until when is the collector's state.
//! Never prints a secret: `Debug` says nothing of it, there is no `Display`, and no error repeats the text it refused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    digest::{Digest, from_hex, to_hex},
    id::{NodeName, SenderName},
};

/// The longest token id, in bytes.
pub const TOKEN_ID_LEN_MAX: usize = 32;

/// The longest address a token carries, in bytes: a DNS name is at most 253, and scheme and port add 14.
pub const TOKEN_URL_LEN_MAX: usize = 300;

/// What the holder of a token, and later of the certificate, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A machine with an agent: metrics and entries.
    Node,
    /// Another program that sends metrics (Prometheus, vmagent, Alloy): metrics only.
    Sender,
}

impl Role {
    /// The word used in certificates, logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Sender => "sender",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whom a token is for, and whom a certificate names: a role and a name in that role. Nodes and senders have name spaces
/// of their own.
///
/// As JSON it is one key beside others (`#[serde(flatten)]`): `"node":"app-01"` or `"sender":"prometheus-01"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// A machine with an agent.
    Node(NodeName),
    /// Another program that sends metrics.
    Sender(SenderName),
}

impl Holder {
    /// What it is.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Node(_) => Role::Node,
            Self::Sender(_) => Role::Sender,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) => name.as_str(),
            Self::Sender(name) => name.as_str(),
        }
    }
}

/// `node app-01`, `sender prometheus-01`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role(), self.name())
    }
}

/// The secret half of a token: 256 random bits. Its `Debug` says nothing.
#[derive(Clone)]
pub struct TokenSecret([u8; 32]);

impl TokenSecret {
    /// Takes 32 bytes of a cryptographic random source as a secret.
    #[must_use]
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the collector stores: the SHA-256 of the 32 bytes. A secret of 256 random bits needs no slow hash.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Whether this is the secret whose SHA-256 is `stored`, in time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, stored: &Digest) -> bool {
        let own = self.sha256();
        own.0
            .iter()
            .zip(stored.0)
            .fold(0_u8, |difference, (left, right)| {
                difference | (left ^ right)
            })
            == 0
    }

    /// The secret as 64 hexadecimal digits. Call only to write the token or to send it to an authenticated peer.
    #[must_use]
    pub fn reveal(&self) -> String {
        to_hex(&self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        from_hex(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

impl Serialize for TokenSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for TokenSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a secret is 64 hexadecimal digits"))
    }
}

/// A join token, whole. Its `Debug` shows the public parts only.
#[derive(Debug, Clone)]
pub struct JoinToken {
    id: Box<str>,
    secret: TokenSecret,
    ca_sha256: Digest,
    url: Box<str>,
}

/// Why a text is not a join token. Names the part, never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another prefix, or fewer than five parts.
    #[error("not a join token: it reads vigie-join_<id>_<secret>_<ca>_<url>, on one line")]
    Shape,
    /// The id is empty, too long or has other characters.
    #[error("the join token's id is not 1 to 32 of a-z and 0-9; copy the whole line again")]
    Id,
    /// The secret is not 64 lowercase hexadecimal digits.
    #[error("the join token's secret is not 64 hexadecimal digits; copy the whole line again")]
    Secret,
    /// The CA's digest is not 64 lowercase hexadecimal digits.
    #[error("the join token's CA digest is not 64 hexadecimal digits; copy the whole line again")]
    Ca,
    /// The address is not `https://host` or `https://host:port`.
    #[error(
        "the join token's address is not https://host[:port]; make a new token on the collector"
    )]
    Url,
}

impl JoinToken {
    /// Puts a token together.
    ///
    /// # Errors
    /// When the id or the address is not of the form the module describes.
    pub fn new(
        id: &str,
        secret: TokenSecret,
        ca_sha256: Digest,
        url: &str,
    ) -> Result<Self, TokenError> {
        if !is_token_id(id) {
            return Err(TokenError::Id);
        }
        if !is_collector_url(url) {
            return Err(TokenError::Url);
        }
        Ok(Self {
            id: id.into(),
            secret,
            ca_sha256,
            url: url.trim_end_matches('/').into(),
        })
    }

    /// The token's public name, fit for logs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret half.
    #[must_use]
    pub const fn secret(&self) -> &TokenSecret {
        &self.secret
    }

    /// What the collector stores instead of the secret.
    #[must_use]
    pub fn secret_sha256(&self) -> Digest {
        self.secret.sha256()
    }

    /// SHA-256 of the DER of the CA certificate that the collector's chain must lead up to.
    #[must_use]
    pub const fn ca_sha256(&self) -> Digest {
        self.ca_sha256
    }

    /// Address of the collector: `https://host[:port]`, no trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The whole token as text, secret included. Call only to hand it to the operator.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!(
            "vigie-join_{}_{}_{}_{}",
            self.id,
            self.secret.reveal(),
            self.ca_sha256,
            self.url
        )
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads a token; white space around it (the line end of its file) is ignored.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text
            .trim()
            .strip_prefix("vigie-join_")
            .ok_or(TokenError::Shape)?;
        // The address comes last because a host name may hold underscores; the parts before it cannot.
        let mut parts = rest.splitn(4, '_');
        let mut part = || parts.next().ok_or(TokenError::Shape);
        let (id, secret, ca, url) = (part()?, part()?, part()?, part()?);
        Self::new(
            id,
            TokenSecret::parse(secret).ok_or(TokenError::Secret)?,
            ca.parse().map_err(|_| TokenError::Ca)?,
            url,
        )
    }
}

fn is_token_id(text: &str) -> bool {
    (1..=TOKEN_ID_LEN_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether `text` is `https://host[:port]`, at most one trailing slash, no user, path, query or fragment: a token must
/// not be able to steer the agent anywhere but to a host.
fn is_collector_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else {
        return false;
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if text.len() > TOKEN_URL_LEN_MAX {
        return false;
    }
    let (host_is_good, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let Some((address, after)) = bracketed.split_once(']') else {
                return false;
            };
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return false,
            };
            (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let good = !host.is_empty()
                && !host.starts_with(['.', '-'])
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
            (good, port)
        }
    };
    let port_is_good = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n != 0)
    });
    host_is_good && port_is_good
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn token(url: &str) -> JoinToken {
        JoinToken::new(
            "k3x9",
            TokenSecret::from_random([0xab; 32]),
            Digest::of(b"ca"),
            url,
        )
        .unwrap()
    }

    #[test]
    fn the_text_form_is_the_documented_one() {
        let secret = "ab".repeat(32);
        let ca = Digest::of(b"ca");
        let text = format!("vigie-join_k3x9_{secret}_{ca}_https://vigie.gradest.example:9443");
        assert_eq!(token("https://vigie.gradest.example:9443").reveal(), text);
        assert_eq!(text.parse::<JoinToken>().unwrap().reveal(), text);
    }

    #[test]
    fn debug_shows_neither_secret_nor_its_digits() {
        let token = token("https://a_b.example");
        let shown = format!("{token:?} {:?}", token.secret());
        assert!(shown.contains("k3x9"));
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn only_a_bare_https_host_is_an_address() {
        for good in [
            "https://a",
            "https://a/",
            "https://a_b.example:1",
            "https://192.0.2.1:9443",
            "https://[2001:db8::1]",
            "https://[2001:db8::1]:9443",
        ] {
            assert!(is_collector_url(good), "{good}");
        }
        for bad in [
            "",
            "http://a",
            "https://",
            "https:///",
            "https://a//",
            "https://u@a",
            "https://u:p@a",
            "https://a/x",
            "https://a?x",
            "https://a#x",
            "https://a:",
            "https://a:0",
            "https://a:+1",
            "https://a:65536",
            "https://a:1:2",
            "https://[::1",
            "https://[::1]x",
            "https://[a]",
            "https://é",
            "https://a b",
            "https://-a",
        ] {
            assert!(!is_collector_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_damaged_token_names_the_part_and_repeats_nothing() {
        let text = token("https://a").reveal();
        let cases = [
            (
                text.replacen("vigie-join", "vigie-jion", 1),
                TokenError::Shape,
            ),
            (
                text.rsplit_once('_').unwrap().0.to_owned(),
                TokenError::Shape,
            ),
            (text.replacen("k3x9", "K3X9", 1), TokenError::Id),
            (text.replacen("k3x9", "", 1), TokenError::Id),
            (text.replacen("abab", "ab", 1), TokenError::Secret),
            (text.replacen("abab", "ABAB", 1), TokenError::Secret),
            (text.replacen("https", "http", 1), TokenError::Url),
            (format!("{text}\n{text}"), TokenError::Url),
        ];
        for (damaged, expected) in cases {
            let error = damaged.parse::<JoinToken>().unwrap_err();
            assert_eq!(error, expected, "{damaged}");
            assert!(!error.to_string().contains("abab"));
        }
    }

    #[test]
    fn a_secret_matches_its_own_digest_only() {
        let secret = TokenSecret::from_random([7; 32]);
        assert!(secret.matches(&secret.sha256()));
        let mut other = secret.sha256();
        other.0[31] ^= 1;
        assert!(!secret.matches(&other));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            id in "[a-z0-9]{1,32}",
            secret: [u8; 32],
            ca: [u8; 32],
            host in "[a-z0-9][a-z0-9._-]{0,40}",
            port in proptest::option::of(1_u16..),
        ) {
            let url = match port {
                Some(port) => format!("https://{host}:{port}"),
                None => format!("https://{host}"),
            };
            let token =
                JoinToken::new(&id, TokenSecret::from_random(secret), Digest(ca), &url).unwrap();
            let back: JoinToken = format!(" {}\n", token.reveal()).parse().unwrap();
            prop_assert_eq!(back.id(), id);
            prop_assert_eq!(back.secret_sha256(), Digest::of(&secret));
            prop_assert_eq!(back.ca_sha256(), Digest(ca));
            prop_assert_eq!(back.url(), url);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(vigie-join_)?.{0,200}") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
