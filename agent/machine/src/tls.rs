//! TLS towards what is checked: whom a probe trusts, and what the peer showed even when it is not trusted.
//!
//! Owns the system's roots, read once, and the client configuration of each check, built once. Verification is
//! rustls's own and is never weakened; the verifier here only writes down the certificate before it judges. Sessions
//! are never resumed: each probe sees the certificate that is served now. No certificate of ours is shown.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use vigie_core::time::Wall;
use vigie_platform::tls::provider;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a check cannot judge certificates.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nothing to trust.
    #[error("the system trusts no certificate authority")]
    NoRoots,
    /// A certificate of the check's own file.
    #[error("a certificate cannot serve as a root of trust")]
    Root(#[source] rustls::Error),
    /// The library refuses the configuration.
    #[error("cannot build a TLS client")]
    Build(#[source] rustls::Error),
}

/// A client that trusts the system's roots and perhaps some more.
#[derive(Debug, Clone)]
pub struct TlsClient {
    /// Complete but for the verifier that each connection gets of its own.
    config: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
}

/// What a peer showed in a handshake, whether or not it was trusted.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<Mutex<Option<Wall>>>);

impl Shown {
    /// Until when the peer's own certificate is valid; `None` if none came that could be read.
    #[must_use]
    pub fn not_after(&self) -> Option<Wall> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, certificate: &CertificateDer<'_>) {
        let not_after = X509Certificate::from_der(certificate)
            .ok()
            .map(|(_, parsed)| parsed.validity().not_after.timestamp())
            .map(|seconds| Wall(seconds.saturating_mul(1000)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = not_after;
    }
}

impl TlsClient {
    /// A client that trusts the system's roots and `also`, and speaks the protocols of `alpn`.
    ///
    /// # Errors
    /// When there is nothing to trust, or a certificate of `also` cannot be trusted.
    pub fn trusting(also: &[CertificateDer<'static>], alpn: &[&[u8]]) -> Result<Self, TrustError> {
        static SYSTEM: LazyLock<Option<Arc<WebPkiServerVerifier>>> =
            LazyLock::new(|| verifier(Arc::clone(&SYSTEM_ROOTS)).ok());
        let verifier = if also.is_empty() {
            // Shared: the roots weigh some 100 KiB.
            SYSTEM.clone().ok_or(TrustError::NoRoots)?
        } else {
            let mut roots = RootCertStore::clone(&SYSTEM_ROOTS);
            for certificate in also {
                roots.add(certificate.clone()).map_err(TrustError::Root)?;
            }
            verifier(Arc::new(roots))?
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Build)?
            // "Dangerous" is rustls's name for every verifier that is not its default; this one is its default.
            .dangerous()
            .with_custom_certificate_verifier(Arc::<WebPkiServerVerifier>::clone(&verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { config, verifier })
    }

    /// Shakes hands over `stream` with the server called `name`, judging validity at `now`. `shown` tells afterwards,
    /// also after a failure and after this future was dropped, what the server showed.
    ///
    /// # Errors
    /// An I/O error, or one of kind `InvalidData` that holds the [`rustls::Error`].
    pub async fn connect(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
        now: Wall,
        shown: &Shown,
    ) -> io::Result<TlsStream<TcpStream>> {
        let now_ms = u64::try_from(now.0).unwrap_or(0);
        let mut config = self.config.clone();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Recorder {
                judge: Arc::clone(&self.verifier),
                now: UnixTime::since_unix_epoch(Duration::from_millis(now_ms)),
                shown: shown.clone(),
            }));
        // Boxed: the handshake's buffers would make every probe's future large while it does something else.
        Box::pin(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }
}

/// Single unreadable files of the system's store are passed over.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(store)
});

fn verifier(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    // With neither revocation lists nor an odd provider, only an empty store can be refused.
    WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|_| TrustError::NoRoots)
}

/// Writes down the peer's certificate, then lets rustls judge it.
#[derive(Debug)]
struct Recorder {
    judge: Arc<WebPkiServerVerifier>,
    now: UnixTime,
    shown: Shown,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        // The library's clock; ours decides, as everywhere.
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.shown.note(end_entity);
        self.judge.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            self.now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// Why a certificate was not accepted, as a word of a closed list.
#[must_use]
pub fn certificate_word(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not_yet_valid"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "wrong_name"
        }
        CertificateError::UnknownIssuer => "unknown_issuer",
        CertificateError::BadSignature => "bad_signature",
        CertificateError::Revoked => "revoked",
        CertificateError::BadEncoding => "bad_encoding",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "wrong_purpose"
        }
        CertificateError::UnhandledCriticalExtension => "unknown_critical_extension",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "unsupported_algorithm"
        }
        // webpki's own findings have no variant of rustls; CaUsedAsEndEntity is what a self-signed CA gives.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "ca_as_server"
        }
        _ => "invalid",
    }
}

/// Why a handshake failed, as a word of a closed list: the peer's alert (RFC 8446 §6), or what was wrong with what it
/// sent. `None` for a certificate that was not accepted.
#[must_use]
pub fn handshake_word(error: &rustls::Error) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    Some(match error {
        rustls::Error::InvalidCertificate(_) => return None,
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::HandshakeFailure => "alert_handshake_failure",
            Alert::ProtocolVersion => "alert_protocol_version",
            Alert::UnrecognisedName => "alert_unrecognized_name",
            Alert::CertificateRequired => "alert_certificate_required",
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnknownCA => {
                "alert_client_certificate"
            }
            Alert::NoApplicationProtocol => "alert_no_application_protocol",
            Alert::InsufficientSecurity => "alert_insufficient_security",
            Alert::InternalError => "alert_internal_error",
            Alert::AccessDenied => "alert_access_denied",
            Alert::DecodeError => "alert_decode_error",
            Alert::IllegalParameter => "alert_illegal_parameter",
            Alert::CloseNotify => "alert_close_notify",
            Alert::UnexpectedMessage => "alert_unexpected_message",
            _ => "alert_other",
        },
        rustls::Error::InvalidMessage(_) => "not_tls",
        rustls::Error::PeerIncompatible(_) => "nothing_in_common",
        rustls::Error::PeerMisbehaved(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. } => "peer_misbehaved",
        rustls::Error::NoCertificatesPresented => "no_certificate",
        rustls::Error::DecryptError => "cannot_decrypt",
        _ => "other",
    })
}
