//! Certificates of nodes and senders: what they say, and nothing that the holder asked for.
//!
//! | field | value |
//! |---|---|
//! | subject | empty: nobody may be tempted to read a name there |
//! | SAN (critical) | one URI, `spiffe://<domain>/node/<name>` or `…/sender/<name>` |
//! | basicConstraints | CA:FALSE |
//! | keyUsage, extendedKeyUsage | digitalSignature, clientAuth |
//! | serial | 127 random bits |
//! | validity | from now, [`NODE_LIFE_MS`] |
//!
//! The holder contributes a public key (ECDSA P-256, a point of the curve) and no more. Never makes or sees a private
//! key of a node.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use vigie_core::{digest::Digest, id::is_configured_name, time::Wall, token::Role};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::authority::{Authority, AuthorityError, serial, set_validity};

/// Life of a node's or sender's certificate: 30 days. It renews from day 10, so a collector may be away for 20.
pub const NODE_LIFE_MS: i64 = 30 * 86_400_000;

/// The DER before the point in the SubjectPublicKeyInfo of every P-256 key (RFC 5480 §2.1.1, uncompressed).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Whom a certificate names: a role and a name under the trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Node or sender.
    pub role: Role,
    /// A configured name.
    name: Box<str>,
}

/// The name is not a configured name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not a name: 1 to 63 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"
)]
pub struct NotASubject {
    name: String,
}

impl Subject {
    /// A subject of this role and name.
    ///
    /// # Errors
    /// When the name is not a configured name.
    pub fn new(role: Role, name: &str) -> Result<Self, NotASubject> {
        if !is_configured_name(name) {
            return Err(NotASubject {
                name: name.chars().take(80).collect(),
            });
        }
        Ok(Self {
            role,
            name: name.into(),
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SPIFFE id: `spiffe://<domain>/<role>/<name>`.
    #[must_use]
    pub fn uri(&self, domain: &str) -> String {
        format!("spiffe://{domain}/{}/{}", self.role, self.name)
    }

    /// Reads a SPIFFE id of `domain`; `None` for another domain, another path, or a name outside the grammar.
    #[must_use]
    pub fn parse_uri(uri: &str, domain: &str) -> Option<Self> {
        let path = uri
            .strip_prefix("spiffe://")?
            .strip_prefix(domain)?
            .strip_prefix('/')?;
        let (role, name) = path.split_once('/')?;
        let role = match role {
            "node" => Role::Node,
            "sender" => Role::Sender,
            _ => return None,
        };
        Self::new(role, name).ok()
    }
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key is not an ECDSA P-256 key in its usual DER form. The asker's fault.
    #[error("the public key offered is not ECDSA P-256 (91 bytes of DER, uncompressed point)")]
    Key,
    /// Signing failed. Ours.
    #[error("cannot issue a certificate for {subject}")]
    Sign {
        /// Whom it was for.
        subject: String,
        /// Why.
        #[source]
        source: AuthorityError,
    },
}

/// A certificate just issued, and what the collector's state needs to know of it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate as PEM.
    pub pem: String,
    /// SHA-256 of the certificate.
    pub certificate_sha256: Digest,
    /// SHA-256 of its SubjectPublicKeyInfo: what `known keys` and `deny` go by.
    pub key_sha256: Digest,
    /// Serial number, lowercase hexadecimal.
    pub serial: String,
    /// End of its validity, milliseconds since 1970.
    pub not_after: Wall,
}

/// Issues a certificate to `subject` over the key `spki` (DER of a SubjectPublicKeyInfo), valid from `now`.
///
/// # Errors
/// [`IssueError::Key`] when the key is not P-256.
pub fn issue(
    authority: &Authority,
    domain: &str,
    subject: &Subject,
    spki: &[u8],
    now: Wall,
) -> Result<Issued, IssueError> {
    let key = p256_key(spki)?;
    let not_after = now.plus_ms(NODE_LIFE_MS);
    let uri = subject.uri(domain);
    let sign_error = |source| IssueError::Sign {
        subject: uri.clone(),
        source,
    };

    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names =
        vec![SanType::URI(uri.as_str().try_into().map_err(|source| {
            sign_error(AuthorityError::Create { source })
        })?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, not_after).map_err(sign_error)?;
    let (serial_number, serial) = serial().map_err(sign_error)?;
    params.serial_number = Some(serial_number);

    let certificate = authority.sign(&params, &key).map_err(sign_error)?;
    Ok(Issued {
        pem: certificate.pem(),
        certificate_sha256: Digest::of(certificate.der()),
        key_sha256: Digest::of(spki),
        serial,
        not_after: whole_seconds(not_after),
    })
}

/// What a certificate of ours says of its holder. Reading verifies nothing: see `ingest::authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whom it names.
    pub subject: Subject,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_sha256: Digest,
    /// Serial number, lowercase hexadecimal.
    pub serial: String,
    /// Start of its validity.
    pub not_before: Wall,
    /// End of its validity.
    pub not_after: Wall,
}

/// Why a certificate is none of those that [`issue`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// Not X.509.
    #[error("the certificate cannot be read as X.509")]
    NotX509,
    /// Its purpose is not exactly clientAuth, or it is a CA's.
    #[error("the certificate is not for client authentication alone")]
    Purpose,
    /// It does not hold exactly one name, or not one of this domain.
    #[error("the certificate does not name one node or sender of this collector")]
    Name,
}

/// Reads what a certificate says of its holder.
///
/// # Errors
/// When it has another form than [`issue`] gives.
pub fn holder(certificate: &CertificateDer<'_>, domain: &str) -> Result<Holder, HolderError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| HolderError::NotX509)?;
    let purpose = parsed
        .extended_key_usage()
        .ok()
        .flatten()
        .ok_or(HolderError::Purpose)?
        .value;
    let others = purpose.any
        || purpose.server_auth
        || purpose.code_signing
        || purpose.email_protection
        || purpose.time_stamping
        || purpose.ocsp_signing
        || !purpose.other.is_empty();
    if !purpose.client_auth || others || parsed.is_ca() {
        return Err(HolderError::Purpose);
    }
    let names = parsed
        .subject_alternative_name()
        .ok()
        .flatten()
        .ok_or(HolderError::Name)?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        return Err(HolderError::Name);
    };
    Ok(Holder {
        subject: Subject::parse_uri(uri, domain).ok_or(HolderError::Name)?,
        key_sha256: Digest::of(parsed.public_key().raw),
        serial: vigie_core::digest::to_hex(parsed.raw_serial()),
        not_before: seconds(parsed.validity().not_before.timestamp()),
        not_after: seconds(parsed.validity().not_after.timestamp()),
    })
}

/// Certificates count whole seconds (RFC 5280 §4.1.2.5).
const fn whole_seconds(at: Wall) -> Wall {
    Wall(at.0.div_euclid(1000) * 1000)
}

const fn seconds(timestamp: i64) -> Wall {
    Wall(timestamp.saturating_mul(1000))
}

/// Takes a P-256 key in its one usual form. The prefix rules out other curves and RSA before anything parses them;
/// the library then checks that the point lies on the curve.
fn p256_key(spki: &[u8]) -> Result<SubjectPublicKeyInfo, IssueError> {
    let point = spki
        .strip_prefix(P256_SPKI_PREFIX.as_slice())
        .ok_or(IssueError::Key)?;
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| IssueError::Key)?;
    SubjectPublicKeyInfo::from_der(spki).map_err(|_| IssueError::Key)
}
