//! A certificate authority of one purpose: its certificate, its key, and what it may sign.
//!
//! There are two, made apart so that neither can play the other's part even if its key is lost:
//!
//! | authority | signs | name constraints (RFC 5280 §4.2.1.10) |
//! |---|---|---|
//! | server | the collector's own certificate | permitted: the collector's names and addresses, nothing else |
//! | agent | certificates of nodes and senders | excluded: every DNS name and every IP address |
//!
//! The agent CA is not constrained to URIs of the trust domain: common verifiers refuse any URI constraint outright, so
//! the collector checks the domain itself. Both are ECDSA P-256, path length 0, ten years.
//!
//! A CA's file may hold more certificates than its own: the first signs, all are trusted. A successor stands second
//! until every node has renewed and so has learnt of it, then takes the first place and the key file.
//!
//! Never gives its key out except to write it to disk.

use std::{fmt, net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use vigie_core::{
    digest::{Digest, to_hex},
    time::Wall,
};
use vigie_platform::{
    random,
    tls::{SecretKey, TlsError, parse_certificates},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Life of a CA: ten years. Its replacement is a matter of bundles (old and new), not of this date.
pub const CA_LIFE_MS: i64 = 3_653 * 86_400_000;

/// How far back certificates of CAs and of the collector begin, for nodes whose clock is slow: a day.
pub const BACKDATED_MS: i64 = 86_400_000;

/// The last second that certificates can express: 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Why an authority could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The instant cannot stand in a certificate.
    #[error("the clock says {at}, which no certificate can express")]
    Time {
        /// The instant.
        at: Wall,
    },
    /// The certificates cannot be read.
    #[error("cannot read the CA's certificates")]
    Pem {
        /// Why; names the file.
        #[source]
        source: TlsError,
    },
    /// The CA's certificate or key is of a kind that cannot sign.
    #[error("the CA in {origin} cannot be used")]
    Unusable {
        /// The file.
        origin: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The key is another certificate's.
    #[error("the key beside {origin} is not the key of its first certificate")]
    Mismatch {
        /// The file.
        origin: String,
    },
    /// The library refuses names, keys or parameters.
    #[error("cannot put the certificate together")]
    Create {
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// The names under which nodes reach the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNames {
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// A name under which no client could reach the collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerNameError {
    /// Neither a DNS name nor an IP address.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    Name {
        /// The text.
        name: String,
    },
    /// No name at all.
    #[error("the collector needs at least one name or address that nodes can reach")]
    Empty,
}

impl ServerNames {
    /// Reads DNS names and IP addresses.
    ///
    /// # Errors
    /// When there are none, or one is neither.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, ServerNameError> {
        let (mut dns, mut addresses) = (Vec::new(), Vec::new());
        for name in names {
            match rustls_pki_types::ServerName::try_from(name) {
                Ok(rustls_pki_types::ServerName::DnsName(valid)) => {
                    let valid = valid.as_ref().trim_end_matches('.').to_ascii_lowercase();
                    if !dns.contains(&valid) {
                        dns.push(valid);
                    }
                }
                Ok(rustls_pki_types::ServerName::IpAddress(address)) => {
                    let address = IpAddr::from(address);
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                _ => {
                    return Err(ServerNameError::Name {
                        name: name.to_owned(),
                    });
                }
            }
        }
        if dns.is_empty() && addresses.is_empty() {
            return Err(ServerNameError::Empty);
        }
        Ok(Self { dns, addresses })
    }

    /// All of them as text, DNS names first.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.dns.iter().cloned().chain(addresses).collect()
    }

    fn constraints(&self) -> NameConstraints {
        let mut constraints = NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: Vec::new(),
        };
        for name in &self.dns {
            constraints
                .permitted_subtrees
                .push(GeneralSubtree::DnsName(name.clone()));
        }
        for address in &self.addresses {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            constraints
                .permitted_subtrees
                .push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                    *address, prefix,
                )));
        }
        // A form of name without permitted subtree is unrestricted, so it is excluded as a whole.
        if self.dns.is_empty() {
            constraints.excluded_subtrees.push(every_dns_name());
        }
        if self.addresses.is_empty() {
            constraints.excluded_subtrees.extend(every_address());
        }
        constraints
    }
}

/// A CA: its certificate, its key, and the CAs trusted beside it. `Debug` shows its digest only.
pub struct Authority {
    /// Its own certificate first; never empty.
    trusted: Vec<CertificateDer<'static>>,
    bundle_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the CA that vouches for the collector under `names` and nobody else.
    ///
    /// # Errors
    /// When the system gives no random bytes, or `now` cannot stand in a certificate.
    pub fn create_server(names: &ServerNames, now: Wall) -> Result<Self, AuthorityError> {
        Self::create("vigie server CA", names.constraints(), now)
    }

    /// Makes the CA that vouches for nodes and senders and can vouch for no host.
    ///
    /// # Errors
    /// As [`Authority::create_server`].
    pub fn create_agent(now: Wall) -> Result<Self, AuthorityError> {
        let [v4, v6] = every_address();
        let constraints = NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: vec![every_dns_name(), v4, v6],
        };
        Self::create("vigie agent CA", constraints, now)
    }

    fn create(name: &str, constraints: NameConstraints, now: Wall) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| AuthorityError::Random)?;
        let (serial_number, serial) = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Two CAs of one purpose (old and new in a bundle) need names apart, or verifiers try both keys.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{name} {}", &serial[..8]));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(constraints);
        set_validity(
            &mut params,
            now.plus_ms(-BACKDATED_MS),
            now.plus_ms(CA_LIFE_MS),
        )?;
        params.serial_number = Some(serial_number);
        let certificate = params
            .self_signed(&key)
            .map_err(|source| AuthorityError::Create { source })?;
        Ok(Self {
            bundle_pem: certificate.pem(),
            trusted: vec![certificate.into()],
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up a CA from its files: the first certificate of `bundle_pem` signs with `key`, the others are
    /// trusted beside it. `origin` names the file in errors.
    ///
    /// # Errors
    /// When the files cannot be read or the key is not the first certificate's.
    pub fn from_pem(
        bundle_pem: String,
        key: &SecretKey,
        origin: &str,
    ) -> Result<Self, AuthorityError> {
        let unusable = |source| AuthorityError::Unusable {
            origin: origin.to_owned(),
            source,
        };
        let trusted = parse_certificates(bundle_pem.as_bytes(), origin)
            .map_err(|source| AuthorityError::Pem { source })?;
        let key = KeyPair::try_from(key.der()).map_err(unusable)?;
        let (_, parsed) = X509Certificate::from_der(&trusted[0])
            .map_err(|_| unusable(rcgen::Error::CouldNotParseCertificate))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Mismatch {
                origin: origin.to_owned(),
            });
        }
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&trusted[0], key).map_err(unusable)?,
            trusted,
            bundle_pem,
        })
    }

    /// The CA's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.trusted[0]
    }

    /// The CA's certificate, and those of its predecessor or successor.
    #[must_use]
    pub fn trusted(&self) -> &[CertificateDer<'static>] {
        &self.trusted
    }

    /// [`Authority::trusted`] as PEM.
    #[must_use]
    pub fn bundle_pem(&self) -> &str {
        &self.bundle_pem
    }

    /// SHA-256 of the CA's certificate, as join tokens carry it.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Digest::of(self.certificate())
    }

    /// The CA's key as PEM (PKCS#8), to be written to a file of mode 0600.
    #[must_use]
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Certificate, AuthorityError> {
        params
            .signed_by(key, &self.issuer)
            .map_err(|source| AuthorityError::Create { source })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("sha256", &self.sha256())
            .finish_non_exhaustive()
    }
}

/// A serial number of 127 random bits (RFC 5280 §4.1.2.2 wants it positive and at most 20 bytes), and its hexadecimal.
pub(super) fn serial() -> Result<(SerialNumber, String), AuthorityError> {
    let mut bytes = [0_u8; 16];
    random::fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    // Neither negative nor shorter than it looks.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok((SerialNumber::from(bytes.to_vec()), to_hex(&bytes)))
}

/// Sets the validity of a certificate to be, cut to seconds (RFC 5280 §4.1.2.5).
pub(crate) fn set_validity(
    params: &mut CertificateParams,
    from: Wall,
    until: Wall,
) -> Result<(), AuthorityError> {
    let since_1970 = |at: Wall| {
        u64::try_from(at.0.div_euclid(1000))
            .ok()
            .filter(|seconds| *seconds <= SECONDS_MAX)
            .map(Duration::from_secs)
            .ok_or(AuthorityError::Time { at })
    };
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(from)?;
    params.not_after = epoch + since_1970(until)?;
    Ok(())
}

/// The subtree of all DNS names: an empty name stands above every other (RFC 5280 §4.2.1.10).
fn every_dns_name() -> GeneralSubtree {
    GeneralSubtree::DnsName(String::new())
}

/// The subtrees of all addresses of either kind.
fn every_address() -> [GeneralSubtree; 2] {
    [
        GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
        GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
    ]
}
