//! Who is at the other end of a connection: from its certificate, and from nothing else.
//!
//! Two moments. In the handshake, [`AgentVerifier`] asks for a certificate without insisting; one that is shown must be
//! signed by the agent CA, be for client authentication alone and name one node or sender of this collector's domain,
//! or the handshake fails. **Its dates decide nothing there.** Nodes are away for weeks, and their clocks and ours lie;
//! a handshake that fails for a date leaves the node no way to say so. After the handshake [`Peer`] holds who it is and
//! from when until when, and each route decides with the collector's `now` what that is worth ([`Peer::standing`]).
//!
//! Denied keys are not looked up here: the engine's state is asked at every request, so that a denial also reaches
//! connections that are open. Sessions are never resumed, so every connection has proved its key. Never reads a clock.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as RustlsError, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{verify_tls12_signature, verify_tls13_signature},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use vigie_core::{digest::Digest, id::NodeName, time::Wall, token::Role};
use vigie_platform::tls::{HotCredential, provider};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::identity::certificate::{self, Holder, HolderError};

/// The DER content of the OID id-kp-clientAuth, 1.3.6.1.5.5.7.3.2 (RFC 5280 §4.2.1.12).
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// How a certificate's dates stand to an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Within its validity.
    Valid,
    /// Its validity begins later: a clock was set back, ours or that of whoever issued it.
    NotYetValid {
        /// Milliseconds until it begins.
        begins_in_ms: u64,
    },
    /// Its validity is over.
    Expired {
        /// Milliseconds since it ended.
        expired_by_ms: u64,
    },
}

/// What a certificate says beside the name. Its issuer and the holder's possession of the key are proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// SHA-256 of the SubjectPublicKeyInfo: the key as the engine knows or denies it.
    pub key_sha256: Digest,
    /// Serial number, lowercase hexadecimal.
    pub serial: String,
    /// Start of its validity.
    pub not_before: Wall,
    /// End of its validity.
    pub not_after: Wall,
}

impl Credential {
    /// How its dates stand to `now`.
    #[must_use]
    pub fn standing(&self, now: Wall) -> Standing {
        if now < self.not_before {
            Standing::NotYetValid {
                begins_in_ms: now.0.abs_diff(self.not_before.0),
            }
        } else if now > self.not_after {
            Standing::Expired {
                expired_by_ms: now.0.abs_diff(self.not_after.0),
            }
        } else {
            Standing::Valid
        }
    }
}

/// Who is at the other end. One per connection, in the extensions of each of its requests as `Arc<Peer>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Showed no certificate: may call `POST /v1/join` and nothing else.
    None,
    /// A machine with an agent.
    Node {
        /// Its name: the only one its lines and samples may carry.
        name: NodeName,
        /// The certificate it was recognised by.
        credential: Credential,
    },
    /// Another program that sends metrics.
    Sender {
        /// Its name: a configured name.
        name: Box<str>,
        /// The certificate it was recognised by.
        credential: Credential,
    },
}

impl Peer {
    /// Reads who a verified chain (leaf first, as rustls gives it after the handshake) belongs to.
    ///
    /// # Errors
    /// When the leaf has another form than this collector issues; [`AgentVerifier`] lets none such through.
    pub fn from_verified(
        chain: Option<&[CertificateDer<'_>]>,
        domain: &str,
    ) -> Result<Self, HolderError> {
        let Some(leaf) = chain.and_then(<[_]>::first) else {
            return Ok(Self::None);
        };
        let Holder {
            subject,
            key_sha256,
            serial,
            not_before,
            not_after,
        } = certificate::holder(leaf, domain)?;
        let credential = Credential {
            key_sha256,
            serial,
            not_before,
            not_after,
        };
        Ok(match subject.role {
            Role::Node => Self::Node {
                name: subject.name().parse().map_err(|_| HolderError::Name)?,
                credential,
            },
            Role::Sender => Self::Sender {
                name: subject.name().into(),
                credential,
            },
        })
    }

    /// The certificate it was recognised by, if any.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        match self {
            Self::None => None,
            Self::Node { credential, .. } | Self::Sender { credential, .. } => Some(credential),
        }
    }

    /// How its certificate's dates stand to `now`; `None` without certificate.
    #[must_use]
    pub fn standing(&self, now: Wall) -> Option<Standing> {
        self.credential().map(|credential| credential.standing(now))
    }
}

/// Verifies client certificates by issuer and purpose, whatever their dates.
pub struct AgentVerifier {
    roots: Vec<TrustAnchor<'static>>,
    hints: Vec<DistinguishedName>,
    domain: Box<str>,
}

/// A CA certificate cannot be a root of trust.
#[derive(Debug, thiserror::Error)]
#[error("the agent CA {sha256} cannot be a root of trust")]
pub struct RootError {
    sha256: Digest,
    #[source]
    source: webpki::Error,
}

impl AgentVerifier {
    /// Trusts the given agent CAs (old and new) to vouch for nodes and senders of `domain`.
    ///
    /// # Errors
    /// When one cannot be a root of trust.
    pub fn new(roots: &[CertificateDer<'_>], domain: &str) -> Result<Self, RootError> {
        let roots = roots
            .iter()
            .map(|root| {
                anchor_from_trusted_cert(root)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|source| RootError {
                        sha256: Digest::of(root),
                        source,
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let hints = roots
            .iter()
            .map(|root| DistinguishedName::in_sequence(root.subject.as_ref()))
            .collect();
        Ok(Self {
            roots,
            hints,
            domain: domain.into(),
        })
    }

    fn verify(&self, leaf: &CertificateDer<'_>) -> Result<(), CertificateError> {
        // Form first: a server's certificate, a CA's, or one of another domain ends here.
        let holder = certificate::holder(leaf, &self.domain).map_err(|error| match error {
            HolderError::NotX509 => CertificateError::BadEncoding,
            HolderError::Purpose => CertificateError::InvalidPurpose,
            HolderError::Name => CertificateError::ApplicationVerificationFailure,
        })?;
        // An instant at which the certificate is valid, so that only the issuer is in question. A certificate that is
        // never valid (ends before it begins) is still refused.
        let seconds = u64::try_from(holder.not_after.0.div_euclid(1000)).unwrap_or(0);
        let within = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        // No intermediates: the agent CA signs holders directly (path length 0), so whatever a peer adds is ignored.
        parsed
            .verify_for_usage(
                provider().signature_verification_algorithms.all,
                &self.roots,
                &[],
                within,
                KeyUsage::required(CLIENT_AUTH),
                None,
                None,
            )
            .map_err(|error| match error {
                webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
                webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
                webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
                other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
            })?;
        Ok(())
    }
}

impl fmt::Debug for AgentVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentVerifier")
            .field("domain", &self.domain)
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        self.verify(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The listener's TLS: shows `own`, asks for certificates that `verifier` takes, resumes no session.
///
/// # Errors
/// When the provider refuses the configuration: a mistake of ours.
pub fn server_config(
    own: Arc<HotCredential>,
    verifier: AgentVerifier,
) -> Result<ServerConfig, RustlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(own);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
