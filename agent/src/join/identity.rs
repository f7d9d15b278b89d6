//! A member's identity as it is on disk: read, never written here.

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
    time::Wall,
    token::Role,
    wire::{JOIN_ANSWER_LEN_MAX, SigningKey},
};
use vigie_platform::{
    atomic_file,
    disk::RealDisk,
    tls::{HotCredential, SecretKey, TlsError, client_config, parse_certificates},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Member, node::Node};

/// Longest file read back from the identity's folder, in bytes.
const FILE_LEN_MAX: usize = JOIN_ANSWER_LEN_MAX;

/// A certificate is renewed after one part in this many of its life: on day 10 of 30.
const RENEWAL_AFTER_PART: i64 = 3;

/// Renewals of nodes that joined together are spread over one part in this many of the life: one day of 30.
const RENEWAL_SPREAD_PART: i64 = 30;

/// An identity as it is on disk: by default this machine's.
pub struct Identity<M: Member = Node> {
    /// The folder it was read from.
    pub(super) dir: PathBuf,
    pub(super) name: M::Name,
    pub(super) collector_id: String,
    server_ca: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    tls_key: SecretKey,
    key_sha256: Digest,
    pub(super) not_before: Wall,
    pub(super) not_after: Wall,
    pub(super) own: M::Own,
}

impl<M: Member> Identity<M> {
    /// Reads what is in `dir` beside the certificate and the keys.
    pub(super) fn read(
        dir: &Path,
        chain: Vec<CertificateDer<'static>>,
        tls_key: SecretKey,
        own: M::Own,
    ) -> Result<Self, LoadError> {
        let (name_path, ca_path) = (dir.join(M::ROLE.as_str()), dir.join(M::LAYOUT.ca));
        let leaf = leaf(&chain, &dir.join(M::LAYOUT.certificate))?;
        Ok(Self {
            name: read_word(&name_path)?
                .parse()
                .map_err(|_| LoadError::Content {
                    path: name_path,
                    what: match M::ROLE {
                        Role::Node => "a node's name",
                        Role::Sender => "a sender's name",
                    },
                })?,
            collector_id: read_word(&dir.join("collector-id"))?,
            server_ca: certificates(&read_required(&ca_path)?, &ca_path)?,
            key_sha256: Digest::of(leaf.public_key().raw),
            not_before: Wall(leaf.validity().not_before.timestamp().saturating_mul(1000)),
            not_after: Wall(leaf.validity().not_after.timestamp().saturating_mul(1000)),
            dir: dir.to_owned(),
            chain,
            tls_key,
            own,
        })
    }

    /// The id of the one collector it belongs to.
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
        let origin = self.dir.join(M::LAYOUT.ca).display().to_string();
        client_config(&self.server_ca, &origin, Some(Arc::new(credential)))
    }

    /// When to renew, by the wall clock: after a third of the certificate's life, plus up to a thirtieth that depends on
    /// the key, so that nodes which joined together do not renew together and a restart changes nothing.
    #[must_use]
    pub fn renewal_due_at(&self) -> Wall {
        let life_ms = self.not_after.0.saturating_sub(self.not_before.0).max(0);
        let spread_ms = (life_ms / RENEWAL_SPREAD_PART).max(1);
        let [a, b, c, d, ..] = self.key_sha256.0;
        let jitter_ms = i64::from(u32::from_be_bytes([a, b, c, d])) % spread_ms;
        self.not_before
            .plus_ms(life_ms / RENEWAL_AFTER_PART)
            .plus_ms(jitter_ms)
    }
}

impl<M: Member> fmt::Debug for Identity<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("collector_id", &self.collector_id)
            .field("key_sha256", &self.key_sha256)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Why the identity cannot be taken up.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum LoadError {
    #[error(
        "this machine has not joined a collector ({dir} holds no certificate); run `vigie-agent join`"
    )]
    NotJoined { dir: PathBuf },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} can be read by other accounts (mode {mode:03o}); join anew, its key may be known"
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error("cannot take up a certificate or key")]
    Tls { source: TlsError },
    #[error("no key in {dir} is that of the certificate")]
    NoPair { dir: PathBuf },
    #[error("{path} does not hold {what}")]
    Content { path: PathBuf, what: &'static str },
}

pub(super) fn public_half(signer: &Ed25519KeyPair) -> SigningKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(signer.public_key().as_ref());
    SigningKey(bytes)
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

pub(super) fn is_pair(key: &SecretKey, leaf: &X509Certificate<'_>) -> bool {
    rcgen::KeyPair::try_from(key.der())
        .is_ok_and(|pair| pair.subject_public_key_info() == leaf.public_key().raw)
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

pub(super) fn missing(path: &Path) -> LoadError {
    LoadError::Read {
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    }
}

pub(super) fn read_file(path: &Path) -> Result<Option<String>, LoadError> {
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
