//! How both programs speak TLS: one provider, certificates and keys read from disk, and whom a client trusts.
//!
//! Owns the choice of cryptography (rustls with aws-lc-rs and nothing else), reading of PEM files with errors that name
//! the file, and the three kinds of client this project needs: one that trusts given CAs and may show a certificate,
//! one that trusts exactly the CA whose digest a join token carries, and one that trusts what the system trusts.
//! Never turns verification off, never lets a key be printed, and never takes trust from the peer: a CA that arrives in
//! a handshake counts only if its digest was known before.
//!
//! Session resumption is off in every client and server built here. An identity is proved at each handshake; a resumed
//! session would show the certificate of the first one, also after it was renewed. The price is a P-256 signature and
//! its verification on either side of each new connection, and connections are long.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore,
    SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};
use vigie_core::digest::Digest;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest PEM file read, in bytes: a bundle of all public CAs is about 220 KiB.
pub const PEM_LEN_MAX: u64 = 1024 * 1024;

/// Why certificates, keys or a client could not be had. Each names the file, or what stood for it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is longer than [`PEM_LEN_MAX`].
    #[error("{path} is longer than 1 MiB; it should hold certificates or a key as PEM")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The text is not well-formed PEM.
    #[error("{origin} is not well-formed PEM")]
    Pem {
        /// The file, or what the text is.
        origin: String,
        /// Why. Does not hold key material: see [`PemMistake`].
        #[source]
        source: PemMistake,
    },
    /// No certificate in it.
    #[error("{origin} holds no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate {
        /// The file, or what the text is.
        origin: String,
    },
    /// No private key in it.
    #[error("{origin} holds no private key (-----BEGIN PRIVATE KEY-----)")]
    NoKey {
        /// The file, or what the text is.
        origin: String,
    },
    /// A certificate's DER is not X.509.
    #[error("{origin} holds a certificate that cannot be read as X.509")]
    NotX509 {
        /// The file, or what the text is.
        origin: String,
    },
    /// A certificate cannot serve as a root of trust.
    #[error("{origin} holds a certificate that cannot be a root of trust")]
    Root {
        /// The file, or what the text is.
        origin: String,
        /// Why.
        #[source]
        source: RustlsError,
    },
    /// Key and certificate do not belong together, or the key's kind is not supported.
    #[error("the private key does not fit the certificate {subject}")]
    Pair {
        /// Which pair.
        subject: String,
        /// Why.
        #[source]
        source: RustlsError,
    },
    /// The system has no trusted CAs.
    #[error("the system's store of trusted CAs is empty; install ca-certificates")]
    NoNativeRoots,
    /// The provider refuses the configuration: a mistake of ours, not of the operator.
    #[error("cannot build a TLS configuration")]
    Build {
        /// Why.
        #[source]
        source: RustlsError,
    },
}

/// What is wrong with a PEM text, without quoting it: a line quoted from a key file could be the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemMistake {
    /// A section begins and does not end.
    #[error("a section has no END line")]
    NoEnd,
    /// A BEGIN line is malformed.
    #[error("a BEGIN line is malformed")]
    Begin,
    /// The content of a section is not base64.
    #[error("a section is not base64")]
    Base64,
    /// Another mistake.
    #[error("a section cannot be read")]
    Other,
}

/// A private key. Its `Debug` says nothing.
pub struct SecretKey(PrivateKeyDer<'static>);

impl SecretKey {
    /// Takes a key from DER.
    #[must_use]
    pub const fn new(der: PrivateKeyDer<'static>) -> Self {
        Self(der)
    }

    /// Reads the first private key of a PEM text; `origin` names the text in errors.
    ///
    /// # Errors
    /// When the text is not PEM or holds no private key.
    pub fn parse(pem: &[u8], origin: &str) -> Result<Self, TlsError> {
        match PrivateKeyDer::from_pem_slice(pem) {
            Ok(der) => Ok(Self(der)),
            Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey {
                origin: origin.to_owned(),
            }),
            Err(error) => Err(pem_error(origin, &error)),
        }
    }

    /// Reads the first private key of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read, is not PEM or holds no private key.
    pub fn load(path: &Path) -> Result<Self, TlsError> {
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// The DER of the key, for those who sign with it.
    #[must_use]
    pub const fn der(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// The only provider of cryptography: aws-lc-rs, with rustls's default suites (TLS 1.3, and 1.2 with ECDHE and AEAD).
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Reads all certificates of a PEM file, in the file's order.
///
/// # Errors
/// When the file cannot be read, is not PEM or holds no certificate.
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_certificates(&read(path)?, &path.display().to_string())
}

/// Reads all certificates of a PEM text, in its order; `origin` names the text in errors.
///
/// # Errors
/// When the text is not PEM or holds no certificate.
pub fn parse_certificates(
    pem: &[u8],
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(origin, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            origin: origin.to_owned(),
        });
    }
    Ok(certificates)
}

/// SHA-256 of a whole certificate: how a CA is pinned.
#[must_use]
pub fn certificate_sha256(certificate: &CertificateDer<'_>) -> Digest {
    Digest::of(certificate)
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo: how a key is known across renewals of its certificate.
///
/// # Errors
/// When the certificate is not X.509.
pub fn key_sha256(certificate: &CertificateDer<'_>) -> Result<Digest, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::NotX509 {
        origin: "the certificate".to_owned(),
    })?;
    Ok(Digest::of(parsed.public_key().raw))
}

/// A certificate with its key that can be replaced while connections are being made: new handshakes show the new one,
/// established connections keep what they were made with. Serves clients and servers.
pub struct HotCredential(ArcSwap<CertifiedKey>);

impl HotCredential {
    /// Starts with this chain (leaf first) and key.
    ///
    /// # Errors
    /// When key and leaf do not belong together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &SecretKey) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(certified_key(chain, key)?)))
    }

    /// Shows this chain and key from the next handshake on. On error the old ones stay.
    ///
    /// # Errors
    /// When key and leaf do not belong together.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &SecretKey,
    ) -> Result<(), TlsError> {
        self.0.store(Arc::new(certified_key(chain, key)?));
        Ok(())
    }

    /// The chain shown now, leaf first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.load().cert.clone()
    }
}

impl fmt::Debug for HotCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HotCredential(…)")
    }
}

impl ResolvesClientCert for HotCredential {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let credential = self.0.load_full();
        credential
            .key
            .choose_scheme(schemes)
            .is_some()
            .then_some(credential)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for HotCredential {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A client that trusts the given CAs, and shows `identity` to servers that ask.
///
/// # Errors
/// When a CA cannot be a root of trust; `origin` names where they came from.
pub fn client_config(
    roots: &[CertificateDer<'static>],
    origin: &str,
    identity: Option<Arc<HotCredential>>,
) -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|source| TlsError::Root {
            origin: origin.to_owned(),
            source,
        })?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
        .build()
        .map_err(|error| TlsError::Root {
            origin: origin.to_owned(),
            source: RustlsError::General(error.to_string()),
        })?;
    client(verifier, identity)
}

/// A client that trusts exactly the CA whose certificate has this SHA-256: the server must send that certificate along,
/// its chain must lead up to it, and the host name must match. Shows no certificate of its own.
///
/// # Errors
/// When the provider refuses the configuration.
pub fn pinned_client_config(ca_sha256: Digest) -> Result<ClientConfig, TlsError> {
    client(Arc::new(PinnedCa { ca_sha256 }), None)
}

/// A client that trusts what the system trusts, for addresses outside (webhooks, the outside watch).
///
/// Single unreadable files of the system's store are passed over; an empty store is an error.
///
/// # Errors
/// When the system's store yields no CA.
pub fn native_client_config() -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    let (added, _) =
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(TlsError::NoNativeRoots);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
        .build()
        .map_err(|error| TlsError::Build {
            source: RustlsError::General(error.to_string()),
        })?;
    client(verifier, None)
}

fn client(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<HotCredential>>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Build { source })?
        // "Dangerous" is rustls's name for any verifier that is not its default; ours are its own, or stricter.
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: &SecretKey,
) -> Result<CertifiedKey, TlsError> {
    let subject = chain
        .first()
        .map_or_else(|| "(none)".to_owned(), |leaf| Digest::of(leaf).to_string());
    CertifiedKey::from_der(chain, key.der().clone_key(), &provider())
        .map_err(|source| TlsError::Pair { subject, source })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use io::Read as _;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(PEM_LEN_MAX + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > PEM_LEN_MAX {
        return Err(TlsError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

fn pem_error(origin: &str, error: &pem::Error) -> TlsError {
    TlsError::Pem {
        origin: origin.to_owned(),
        source: match error {
            pem::Error::MissingSectionEnd { .. } => PemMistake::NoEnd,
            pem::Error::IllegalSectionStart { .. } => PemMistake::Begin,
            pem::Error::Base64Decode(_) => PemMistake::Base64,
            _ => PemMistake::Other,
        },
    }
}

/// Verifies a server whose CA is known by its digest only.
#[derive(Debug)]
struct PinnedCa {
    ca_sha256: Digest,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let ca = intermediates
            .iter()
            .find(|certificate| Digest::of(certificate) == self.ca_sha256)
            .ok_or(CertificateError::UnknownIssuer)?;
        // A root of trust is taken as it is: nobody else would notice that the pinned certificate is not a CA's.
        if !is_ca(ca) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots,
            intermediates,
            now,
            algorithms.all,
        )?;
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
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

fn is_ca(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.is_ca())
}

#[cfg(test)]
mod tests;
