//! This machine's identity as it is on disk: read, never written here.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rcgen::PublicKeyData as _;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use vigie_core::{
    digest::Digest,
    id::NodeName,
    time::Wall,
    wire::{JOIN_ANSWER_LEN_MAX, SigningKey},
};
use vigie_platform::{
    atomic_file,
    disk::RealDisk,
    tls::{HotCredential, SecretKey, TlsError, client_config, parse_certificates},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest file read back from the identity's folder, in bytes.
const FILE_LEN_MAX: usize = JOIN_ANSWER_LEN_MAX;

/// A certificate is renewed after one part in this many of its life: on day 10 of 30.
const RENEWAL_AFTER_PART: i64 = 3;

/// Renewals of nodes that joined together are spread over one part in this many of the life: one day of 30.
const RENEWAL_SPREAD_PART: i64 = 30;

/// This machine's identity, as it is on disk.
pub struct Identity {
    pub(super) dir: PathBuf,
    pub(super) node: NodeName,
    collector_id: Box<str>,
    server_ca: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    tls_key: SecretKey,
    signer: Ed25519KeyPair,
    key_sha256: Digest,
    pub(super) not_before: Wall,
    pub(super) not_after: Wall,
}

/// Which file the certificate's key is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFile {
    Current,
    /// A renewal was interrupted between its certificate and the renaming of its key.
    Next,
}

impl KeyFile {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Current => "tls.key",
            Self::Next => "tls.next.key",
        }
    }
}

impl Identity {
    /// Takes up the identity under `state_dir`. Writes nothing.
    ///
    /// # Errors
    /// [`LoadError::NotJoined`] when there is none; otherwise what is wrong with it.
    pub fn load(state_dir: &Path) -> Result<Self, LoadError> {
        Self::load_from(&state_dir.join("identity"))
    }

    pub(super) fn load_from(dir: &Path) -> Result<Self, LoadError> {
        let pem_path = dir.join("tls.pem");
        let chain = own_chain(dir, &pem_path)?;
        let leaf = leaf(&chain, &pem_path)?;
        let (tls_key, _) = find_key(dir, leaf.public_key().raw)?;
        let ca_path = dir.join("server-ca.pem");
        let signing_path = dir.join("signing.key");
        let signing = read_key(&signing_path)?.ok_or_else(|| missing(&signing_path))?;
        Ok(Self {
            node: read_word(&dir.join("node"))?
                .parse()
                .map_err(|_| LoadError::Content {
                    path: dir.join("node"),
                    what: "a node's name",
                })?,
            collector_id: read_word(&dir.join("collector-id"))?.into(),
            server_ca: certificates(&read_required(&ca_path)?, &ca_path)?,
            signer: Ed25519KeyPair::from_pkcs8(signing.der().secret_der()).map_err(|_| {
                LoadError::Content {
                    path: signing_path,
                    what: "an Ed25519 key",
                }
            })?,
            key_sha256: Digest::of(leaf.public_key().raw),
            not_before: Wall(leaf.validity().not_before.timestamp().saturating_mul(1000)),
            not_after: Wall(leaf.validity().not_after.timestamp().saturating_mul(1000)),
            dir: dir.to_owned(),
            chain,
            tls_key,
        })
    }

    /// This machine's name, as its certificate has it.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// The id of the one collector this machine belongs to.
    #[must_use]
    pub fn collector_id(&self) -> &str {
        &self.collector_id
    }

    /// SHA-256 of the TLS key's SubjectPublicKeyInfo, as the collector knows it.
    #[must_use]
    pub const fn key_sha256(&self) -> Digest {
        self.key_sha256
    }

    /// End of the certificate.
    #[must_use]
    pub const fn not_after(&self) -> Wall {
        self.not_after
    }

    /// A TLS client that shows this identity and trusts the collector's CAs. After a renewal make a new one and drop the
    /// old: an open connection keeps the certificate it began with.
    ///
    /// # Errors
    /// When certificate and key, or the CAs, cannot be used.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let credential = HotCredential::new(self.chain.clone(), &self.tls_key)?;
        let origin = self.dir.join("server-ca.pem").display().to_string();
        client_config(&self.server_ca, &origin, Some(Arc::new(credential)))
    }

    /// Signs `message` (Ed25519, RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.signer.sign(message);
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        bytes
    }

    /// Public half of the signing key.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        public_half(&self.signer)
    }

    /// When to renew, by the wall clock: after a third of the certificate's life, plus up to a thirtieth that depends on
    /// the key, so that nodes which joined together do not renew together and a restart changes nothing.
    #[must_use]
    pub fn renewal_due_at(&self) -> Wall {
        renewal_due_at(self.not_before, self.not_after, self.key_sha256)
    }
}

/// When a certificate with these dates over this key is to be renewed: see [`Identity::renewal_due_at`].
pub(super) fn renewal_due_at(not_before: Wall, not_after: Wall, key_sha256: Digest) -> Wall {
    let life_ms = not_after.0.saturating_sub(not_before.0).max(0);
    let spread_ms = (life_ms / RENEWAL_SPREAD_PART).max(1);
    let [a, b, c, d, ..] = key_sha256.0;
    let jitter_ms = i64::from(u32::from_be_bytes([a, b, c, d])) % spread_ms;
    not_before
        .plus_ms(life_ms / RENEWAL_AFTER_PART)
        .plus_ms(jitter_ms)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.node)
            .field("collector_id", &self.collector_id)
            .field("key_sha256", &self.key_sha256)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Why the identity cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This machine has not joined.
    #[error(
        "this machine has not joined a collector ({dir} holds no certificate); run `vigie-agent join`"
    )]
    NotJoined {
        /// The folder.
        dir: PathBuf,
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
    /// A key can be read by other accounts.
    #[error(
        "{path} can be read by other accounts (mode {mode:03o}); join anew, its key may be known"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate or key is damaged.
    #[error("cannot take up a certificate or key")]
    Tls {
        /// Why; names the file.
        #[source]
        source: TlsError,
    },
    /// Neither key is that of the certificate.
    #[error("no key in {dir} is that of the certificate")]
    NoPair {
        /// The folder.
        dir: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
}

pub(super) fn public_half(signer: &Ed25519KeyPair) -> SigningKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(signer.public_key().as_ref());
    SigningKey(bytes)
}

/// Where the key of the certificate on disk is now, whatever it was when an [`Identity`] was taken up: a renewal since
/// then may have come any way, reported or not.
///
/// # Errors
/// [`LoadError::NoPair`] when neither file has it; otherwise why it cannot be told.
pub(super) fn key_file_in_use(dir: &Path) -> Result<KeyFile, LoadError> {
    let pem_path = dir.join("tls.pem");
    let chain = own_chain(dir, &pem_path)?;
    let (_, file) = find_key(dir, leaf(&chain, &pem_path)?.public_key().raw)?;
    Ok(file)
}

fn own_chain(dir: &Path, pem_path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let pem = read_file(pem_path)?.ok_or_else(|| LoadError::NotJoined {
        dir: dir.to_owned(),
    })?;
    certificates(&pem, pem_path)
}

pub(super) fn leaf<'a>(
    chain: &'a [CertificateDer<'static>],
    pem_path: &Path,
) -> Result<X509Certificate<'a>, LoadError> {
    X509Certificate::from_der(&chain[0])
        .map(|(_, leaf)| leaf)
        .map_err(|_| LoadError::Content {
            path: pem_path.to_owned(),
            what: "an X.509 certificate",
        })
}

fn find_key(dir: &Path, spki: &[u8]) -> Result<(SecretKey, KeyFile), LoadError> {
    for file in [KeyFile::Current, KeyFile::Next] {
        let Some(key) = read_key(&dir.join(file.name()))? else {
            continue;
        };
        let is_pair = rcgen::KeyPair::try_from(key.der())
            .is_ok_and(|pair| pair.subject_public_key_info() == spki);
        if is_pair {
            return Ok((key, file));
        }
    }
    Err(LoadError::NoPair {
        dir: dir.to_owned(),
    })
}

/// Reads a key that no other account may read; `None` if there is no such file.
pub(super) fn read_key(path: &Path) -> Result<Option<SecretKey>, LoadError> {
    let read_error = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read_error(error)),
    };
    if mode & 0o077 != 0 {
        return Err(LoadError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let Some(pem) = read_file(path)? else {
        return Ok(None);
    };
    SecretKey::parse(pem.as_bytes(), &path.display().to_string())
        .map(Some)
        .map_err(|source| LoadError::Tls { source })
}

pub(super) fn certificates(
    pem: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    parse_certificates(pem.as_bytes(), &path.display().to_string())
        .map_err(|source| LoadError::Tls { source })
}

pub(super) fn read_word(path: &Path) -> Result<String, LoadError> {
    Ok(read_required(path)?.trim().to_owned())
}

pub(super) fn read_required(path: &Path) -> Result<String, LoadError> {
    read_file(path)?.ok_or_else(|| missing(path))
}

fn missing(path: &Path) -> LoadError {
    LoadError::Read {
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    }
}

fn read_file(path: &Path) -> Result<Option<String>, LoadError> {
    read_text(path, FILE_LEN_MAX).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn read_text(path: &Path, len_max: usize) -> io::Result<Option<String>> {
    let Some(bytes) = atomic_file::read(&RealDisk, path, len_max)? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| io::ErrorKind::InvalidData.into())
}
