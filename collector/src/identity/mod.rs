//! Who is who: the collector's two authorities, its own certificate, and the certificates and tokens it gives out.
//!
//! On disk, under `<data_dir>/pki/` (mode 0700, every file 0600, each written whole or not at all):
//!
//! | file | holds |
//! |---|---|
//! | `server-ca.pem`, `server-ca.key` | the CA that vouches for the collector; others trusted too may follow in the `.pem` |
//! | `agent-ca.pem`, `agent-ca.key` | the CA that vouches for nodes and senders; likewise |
//! | `server.pem` | the collector's key and certificate chain, in one file so that they cannot come apart |
//! | `names` | the names and addresses the collector is reached by, one a line |
//! | `domain` | the trust domain of the SPIFFE ids |
//!
//! The folder is made beside its place and renamed into it, so a crash or a full disk during [`Pki::create`] leaves no
//! folder of that name. A renewal of the collector's certificate that cannot be written changes nothing: the old one
//! stays on disk and in use, and the next call tries again.
//!
//! Owns no state about nodes: which tokens are out, which keys are known and which are denied is the engine's. Never
//! reads a clock: `now` is an argument.

pub mod authority;
pub mod certificate;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use vigie_core::{
    time::Wall,
    token::{JoinToken, TokenError, TokenSecret},
};
use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::RealDisk,
    random,
    tls::{HotCredential, SecretKey, TlsError, parse_certificates, provider},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use self::{
    authority::{Authority, AuthorityError, BACKDATED_MS, ServerNameError, ServerNames},
    certificate::{IssueError, Issued, Subject},
};

/// Life of the collector's own certificate: 90 days.
pub const SERVER_LIFE_MS: i64 = 90 * 86_400_000;

/// How long before its end the collector's certificate is replaced: 30 days, so that weeks of failed attempts are seen
/// before a node notices.
pub const SERVER_RENEWAL_LEAD_MS: i64 = 30 * 86_400_000;

/// Mode of every file here: the collector's account alone.
const PRIVATE: u32 = 0o600;

/// Why the authorities could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// There is a folder already: a second `init` must not orphan every node.
    #[error("{dir} exists already; its authorities are kept")]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// There is no such folder.
    #[error("{dir} does not exist; run `vigie-collector init` first")]
    NotInitialised {
        /// The folder.
        dir: PathBuf,
    },
    /// The trust domain cannot stand in a SPIFFE id.
    #[error("{domain:?} is not a trust domain: 1 to 253 of a-z, 0-9, '.', '_', '-'")]
    Domain {
        /// The text.
        domain: String,
    },
    /// The names in the folder cannot be used.
    #[error("cannot use the names in {path}")]
    Names {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ServerNameError,
    },
    /// A file can be read by other accounts.
    #[error("{path} can be read by other accounts (mode {mode:03o}); run `chmod 600` on it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot keep a certificate or key")]
    Write {
        /// Why; names the file.
        #[source]
        source: ReplaceError,
    },
    /// The folder cannot be made.
    #[error("cannot make {path}")]
    MakeDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate or key on disk is damaged.
    #[error("cannot take up a certificate or key")]
    Tls {
        /// Why; names the file.
        #[source]
        source: TlsError,
    },
    /// An authority cannot be made or used.
    #[error("cannot use a certificate authority")]
    Authority {
        /// Why.
        #[source]
        source: AuthorityError,
    },
    /// The server CA may not vouch for one of the collector's names.
    #[error(
        "the server CA may not vouch for {name}; it is constrained to the names given at `init`"
    )]
    Constrained {
        /// The name.
        name: String,
        /// What a client would say.
        #[source]
        source: rustls::Error,
    },
}

/// What [`Pki::renew_if_due`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The certificate has long enough to live.
    NotDue,
    /// A new certificate, over a new key, is on disk and shown from the next handshake on.
    Renewed,
}

/// The collector's authorities and its own certificate.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    domain: Box<str>,
    names: ServerNames,
    server: Authority,
    agent: Authority,
    own: Arc<HotCredential>,
}

impl Pki {
    /// Makes both authorities and the collector's first certificate under `<data_dir>/pki/`.
    ///
    /// # Errors
    /// When the folder exists, cannot be written, or the domain cannot stand in a SPIFFE id.
    pub fn create(
        data_dir: &Path,
        names: ServerNames,
        domain: &str,
        now: Wall,
    ) -> Result<Self, PkiError> {
        let dir = data_dir.join("pki");
        if dir.exists() {
            return Err(PkiError::Exists { dir });
        }
        check_domain(domain)?;
        let authority_error = |source| PkiError::Authority { source };
        let server = Authority::create_server(&names, now).map_err(authority_error)?;
        let agent = Authority::create_agent(now).map_err(authority_error)?;
        let own = own_pem(&server, &names, now)?;

        let making = data_dir.join("pki.making");
        let make_error = |path: &Path| {
            let path = path.to_owned();
            move |source| PkiError::MakeDir { path, source }
        };
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(make_error(&making)(error));
            }
            _ => {}
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&making)
            .map_err(make_error(&making))?;
        let files = [
            ("server-ca.key", server.key_pem()),
            ("server-ca.pem", server.bundle_pem().to_owned()),
            ("agent-ca.key", agent.key_pem()),
            ("agent-ca.pem", agent.bundle_pem().to_owned()),
            ("server.pem", own),
            ("names", names.to_strings().join("\n") + "\n"),
            ("domain", format!("{domain}\n")),
        ];
        for (name, text) in &files {
            write_private(&making.join(name), text)?;
        }
        fs::rename(&making, &dir).map_err(make_error(&dir))?;
        fs::File::open(data_dir)
            .and_then(|parent| parent.sync_all())
            .map_err(make_error(data_dir))?;
        Self::open(data_dir, now)
    }

    /// Takes up what [`Pki::create`] made, and renews the collector's certificate if it is due, damaged or missing.
    ///
    /// # Errors
    /// When an authority cannot be read, or any file here can be read by others.
    pub fn open(data_dir: &Path, now: Wall) -> Result<Self, PkiError> {
        let dir = data_dir.join("pki");
        if !dir.exists() {
            return Err(PkiError::NotInitialised { dir });
        }
        let domain: Box<str> = read_private(&dir.join("domain"))?.trim().into();
        check_domain(&domain)?;
        let names_path = dir.join("names");
        let text = read_private(&names_path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let names = ServerNames::parse(lines).map_err(|source| PkiError::Names {
            path: names_path,
            source,
        })?;
        let server = read_authority(&dir, "server-ca")?;
        let agent = read_authority(&dir, "agent-ca")?;

        let own_path = dir.join("server.pem");
        let own = match read_private(&own_path).and_then(|pem| credential(&pem, &own_path)) {
            Ok(own) => own,
            // Only this file can be made anew without harm: nodes trust the CA, not the certificate.
            Err(PkiError::Tls { .. } | PkiError::Read { .. }) => {
                let pem = own_pem(&server, &names, now)?;
                write_private(&own_path, &pem)?;
                credential(&pem, &own_path)?
            }
            Err(error) => return Err(error),
        };
        let pki = Self {
            dir,
            domain,
            names,
            server,
            agent,
            own: Arc::new(own),
        };
        pki.renew_if_due(now)?;
        Ok(pki)
    }

    /// The trust domain of the SPIFFE ids.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The CA that vouches for the collector.
    #[must_use]
    pub const fn server_ca(&self) -> &Authority {
        &self.server
    }

    /// The CA that vouches for nodes and senders.
    #[must_use]
    pub const fn agent_ca(&self) -> &Authority {
        &self.agent
    }

    /// The server CAs, old and new, as PEM: what joins and renewals answer with.
    #[must_use]
    pub fn server_ca_bundle_pem(&self) -> &str {
        self.server.bundle_pem()
    }

    /// The collector's own certificate and key, for the listener. The chain holds the CA too: a joining node knows only
    /// its digest.
    #[must_use]
    pub fn own(&self) -> Arc<HotCredential> {
        Arc::clone(&self.own)
    }

    /// End of the collector's own certificate; `None` if it cannot be read.
    #[must_use]
    pub fn own_not_after(&self) -> Option<Wall> {
        let chain = self.own.chain();
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(Wall(leaf.validity().not_after.timestamp() * 1000))
    }

    /// Replaces the collector's certificate, over a new key, when less than [`SERVER_RENEWAL_LEAD_MS`] of its life is
    /// left, when it begins in the future (the clock was set back) or when its names are not those of the folder.
    ///
    /// # Errors
    /// When the new one cannot be made or written; the old one stays in use.
    pub fn renew_if_due(&self, now: Wall) -> Result<Renewal, PkiError> {
        if !self.is_renewal_due(now) {
            return Ok(Renewal::NotDue);
        }
        let pem = own_pem(&self.server, &self.names, now)?;
        let path = self.dir.join("server.pem");
        write_private(&path, &pem)?;
        let (chain, key) = chain_and_key(&pem, &path)?;
        self.own
            .replace(chain, &key)
            .map_err(|source| PkiError::Tls { source })?;
        Ok(Renewal::Renewed)
    }

    /// Issues a certificate to a node or sender over its public key.
    ///
    /// # Errors
    /// [`IssueError::Key`] when the key is not ECDSA P-256.
    pub fn issue(&self, subject: &Subject, spki: &[u8], now: Wall) -> Result<Issued, IssueError> {
        certificate::issue(&self.agent, &self.domain, subject, spki, now)
    }

    /// Makes a join token with a fresh id and secret for the collector at `url`. The caller stores its id and
    /// [`JoinToken::secret_sha256`], and shows it once.
    ///
    /// # Errors
    /// When `url` is not `https://host[:port]`, or the system gives no random bytes.
    pub fn make_token(&self, url: &str) -> Result<JoinToken, MakeTokenError> {
        let (mut id, mut secret) = ([0_u8; 8], [0_u8; 32]);
        random::fill(&mut id).map_err(|_| MakeTokenError::Random)?;
        random::fill(&mut secret).map_err(|_| MakeTokenError::Random)?;
        JoinToken::new(
            &vigie_core::digest::to_hex(&id),
            TokenSecret::from_random(secret),
            self.server.sha256(),
            url,
        )
        .map_err(|source| MakeTokenError::Url {
            url: url.to_owned(),
            source,
        })
    }

    fn is_renewal_due(&self, now: Wall) -> bool {
        let chain = self.own.chain();
        let Some((_, leaf)) = chain
            .first()
            .and_then(|leaf| X509Certificate::from_der(leaf).ok())
        else {
            return true;
        };
        let until = Wall(leaf.validity().not_after.timestamp() * 1000);
        let from = Wall(leaf.validity().not_before.timestamp() * 1000);
        let is_ending = until <= now.plus_ms(SERVER_RENEWAL_LEAD_MS);
        is_ending || from > now || check_names(&chain, &self.server, &self.names, now).is_err()
    }
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeTokenError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The collector's address cannot stand in a token.
    #[error("{url:?} is not an address for a join token")]
    Url {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: TokenError,
    },
}

/// Makes a key and certificate for the collector: key, leaf and CA as one PEM text.
fn own_pem(server: &Authority, names: &ServerNames, now: Wall) -> Result<String, PkiError> {
    let fail = |source| PkiError::Authority { source };
    let create = |source| fail(AuthorityError::Create { source });
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|_| fail(AuthorityError::Random))?;
    let mut params = CertificateParams::new(names.to_strings()).map_err(create)?;
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let until = now.plus_ms(SERVER_LIFE_MS);
    authority::set_validity(&mut params, now.plus_ms(-BACKDATED_MS), until).map_err(fail)?;
    params.serial_number = Some(authority::serial().map_err(fail)?.0);
    let leaf = server.sign(&params, &key).map_err(fail)?;
    check_names(&[leaf.der().clone()], server, names, now)?;
    let ca_pem = server
        .bundle_pem()
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap_or_default();
    Ok(key.serialize_pem() + &leaf.pem() + ca_pem)
}

/// Whether a client that trusts the server CA would take this chain for each of the names.
fn check_names(
    chain: &[CertificateDer<'static>],
    server: &Authority,
    names: &ServerNames,
    now: Wall,
) -> Result<(), PkiError> {
    let seconds = u64::try_from(now.0.div_euclid(1000)).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    for name in names.to_strings() {
        let check = || {
            let mut roots = RootCertStore::empty();
            roots.add(server.certificate().clone())?;
            let leaf = chain
                .first()
                .ok_or(rustls::Error::NoCertificatesPresented)?;
            let leaf = ParsedCertificate::try_from(leaf)?;
            let algorithms = provider().signature_verification_algorithms;
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, algorithms.all)?;
            let wanted = ServerName::try_from(name.as_str())
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            verify_server_name(&leaf, &wanted)
        };
        check().map_err(|source| PkiError::Constrained {
            name: name.clone(),
            source,
        })?;
    }
    Ok(())
}

fn credential(pem: &str, path: &Path) -> Result<HotCredential, PkiError> {
    let (chain, key) = chain_and_key(pem, path)?;
    HotCredential::new(chain, &key).map_err(|source| PkiError::Tls { source })
}

fn chain_and_key(
    pem: &str,
    path: &Path,
) -> Result<(Vec<CertificateDer<'static>>, SecretKey), PkiError> {
    let origin = path.display().to_string();
    let tls = |source| PkiError::Tls { source };
    let chain = parse_certificates(pem.as_bytes(), &origin).map_err(tls)?;
    let key = SecretKey::parse(pem.as_bytes(), &origin).map_err(tls)?;
    Ok((chain, key))
}

fn read_authority(dir: &Path, name: &str) -> Result<Authority, PkiError> {
    let key_path = dir.join(format!("{name}.key"));
    let path = dir.join(format!("{name}.pem"));
    let key = read_private(&key_path)?;
    let key = SecretKey::parse(key.as_bytes(), &key_path.display().to_string())
        .map_err(|source| PkiError::Tls { source })?;
    Authority::from_pem(read_private(&path)?, &key, &path.display().to_string())
        .map_err(|source| PkiError::Authority { source })
}

/// Reads a text file that no other account may read.
fn read_private(path: &Path) -> Result<String, PkiError> {
    let read_error = |source| PkiError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(read_error)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PkiError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    fs::read_to_string(path).map_err(read_error)
}

fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    atomic_file::replace(&RealDisk, path, text.as_bytes(), PRIVATE)
        .map_err(|source| PkiError::Write { source })
}

fn check_domain(domain: &str) -> Result<(), PkiError> {
    let is_good = (1..=253).contains(&domain.len())
        && domain.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        });
    is_good.then_some(()).ok_or_else(|| PkiError::Domain {
        domain: domain.chars().take(80).collect(),
    })
}

#[cfg(test)]
mod tests;
