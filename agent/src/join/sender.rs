//! The identity of another program that sends metrics (Prometheus, vmagent, Alloy), in files which that program reads.
//!
//! Such a program cannot join by itself, and its account is not the agent's. So everything is in one folder that belongs
//! to the account it runs under; nothing of the agent's own identity or settings is touched:
//!
//! | in the folder | what |
//! |---|---|
//! | `current` | symbolic link to the version in use |
//! | `<16 hexadecimal digits>/` | one version, never changed once it is complete |
//! | `…/key.pem`, `…/certificate.pem` | ECDSA P-256 key (PKCS #8) and the certificate over it |
//! | `…/ca.pem` | the CAs that may vouch for the collector, old and new |
//! | `…/sender`, `…/collector`, `…/collector-id` | its name; the collector's address and id: what a renewal needs |
//! | `coming/` | the next version while it is made |
//!
//! Every file has mode 0600, every folder made here 0700. A folder in which other accounts may write is refused: they could
//! put a key of their own there, to be certified.
//!
//! **Key and certificate change together.** A version is made complete and durable under another name; then `current` is
//! replaced by one rename(2). Whoever opens both files below `current` gets them from one version, except in the moment
//! between its two opens. Then they do not fit, that one connection is not made, and the next try reads them anew: senders
//! of remote write try again. A crash, a full disk or a cancellation at any point leaves the old version in use; what it
//! leaves half made is taken up or removed by the next join or renewal.
//!
//! **The old key** is still good to the collector for a while after the change, because senders keep connections open.
//!
//! Two commands at once would spoil each other's `coming`: the folder is locked (flock(2)) meanwhile. Owns no timer and no
//! retry: a timer of the system runs the renewal, once and again.

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::PublicKeyData as _;
use rustix::fs::{FlockOperation, flock};
use rustls_pki_types::CertificateDer;
use vigie_core::{
    digest::{Digest, to_hex},
    id::SenderName,
    time::Wall,
    token::{Holder, JoinToken},
    wire::{JoinRequest, PublicKeyDer, RENEW_PATH, RenewAnswer, RenewRequest},
};
use vigie_platform::tls::{HotCredential, SecretKey, TlsError, client_config};

use super::{
    AnswerError, Existing, KeepError, answer_certificates, check_certificate, check_join, generate,
    identity::{LoadError, certificates, leaf, read_key, read_required, read_word, renewal_due_at},
    request::{RequestError, ask_to_join, post},
    sync_dir, write,
};

/// The link to the version in use.
const CURRENT: &str = "current";

/// A link on its way to that name.
const CURRENT_NEW: &str = "current.new";

/// The version that is being made.
const COMING: &str = "coming";

/// Bytes of a key's digest that name its version: enough that no two of one folder are the same.
const VERSION_LEN: usize = 8;

/// The file that holds the key, in every version.
pub const KEY_FILE: &str = "current/key.pem";

/// The file that holds the certificate.
pub const CERTIFICATE_FILE: &str = "current/certificate.pem";

/// The file that holds the CAs of the collector.
pub const CA_FILE: &str = "current/ca.pem";

/// How to join.
#[derive(Debug, Clone, Copy)]
pub struct JoinSender<'a> {
    /// The token.
    pub token: &'a JoinToken,
    /// The sender's name; the token must be bound to it.
    pub name: &'a SenderName,
    /// The sender's folder. Made if it is not there; the one around it must be.
    pub dir: &'a Path,
    /// What to do about an identity that is there already.
    pub existing: Existing,
}

/// A sender's identity, as it is on disk.
pub struct Sender {
    name: SenderName,
    url: String,
    collector_id: String,
    version: PathBuf,
    server_ca: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: SecretKey,
    key_sha256: Digest,
    not_before: Wall,
    not_after: Wall,
}

/// What came of a renewal.
#[derive(Debug)]
pub enum Renewal {
    /// It is not time yet; nothing was asked and nothing changed.
    NotDue(Sender),
    /// The new identity, in use.
    Renewed(Sender),
}

/// Why the folder cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or opened.
    #[error("cannot open the sender's folder {dir}")]
    Open {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is another account's: that one could not read what is written here.
    #[error(
        "{dir} belongs to the account with uid {owner}; run this command under that account, which must be the one the \
         sender runs under"
    )]
    Owner {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Other accounts may write in it.
    #[error(
        "other accounts may write in {dir} (mode {mode:03o}), and so could put a key of their own there; run \
         `chmod go-w` on it"
    )]
    Writable {
        /// The folder.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another command works on it.
    #[error("another command is working on {dir}; try again when it has ended")]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
}

/// Why a sender could not join. What was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum SenderJoinError {
    /// There is an identity and it is to be kept.
    #[error("{dir} holds an identity already; to replace it, write `--replace`")]
    AlreadyJoined {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be used.
    #[error("cannot join")]
    Folder {
        /// Why.
        #[source]
        source: FolderError,
    },
    /// The key or the answer cannot be stored.
    #[error("cannot keep the new identity")]
    Keep {
        /// Why.
        #[source]
        source: KeepError,
    },
    /// The request failed.
    #[error("cannot join")]
    Request {
        /// Why.
        #[source]
        source: RequestError,
    },
    /// The collector's answer does not fit what was asked.
    #[error("the collector's answer cannot be used")]
    Answer {
        /// Why.
        #[source]
        source: AnswerError,
    },
    /// The new identity cannot be read back.
    #[error("the new identity cannot be read back")]
    Load {
        /// Why.
        #[source]
        source: LoadError,
    },
}

/// Why a sender's certificate could not be renewed. The old identity works on.
#[derive(Debug, thiserror::Error)]
pub enum SenderRenewError {
    /// There is no identity.
    #[error("{dir} holds no identity of a sender; run `vigie-agent sender join`")]
    NotJoined {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be used.
    #[error("cannot renew the certificate")]
    Folder {
        /// Why.
        #[source]
        source: FolderError,
    },
    /// The identity cannot be read.
    #[error("cannot take up the sender's identity")]
    Load {
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The identity's own files make no TLS client.
    #[error("cannot use the present identity")]
    Tls {
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The new key or certificate cannot be stored.
    #[error("cannot keep the renewed identity")]
    Keep {
        /// Why.
        #[source]
        source: KeepError,
    },
    /// The request failed.
    #[error("cannot renew the certificate")]
    Request {
        /// Why.
        #[source]
        source: RequestError,
    },
    /// The collector's answer does not fit what was asked.
    #[error("the collector's answer cannot be used")]
    Answer {
        /// Why.
        #[source]
        source: AnswerError,
    },
}

/// Joins the collector of the token as a sender.
///
/// # Errors
/// When there is an identity to keep, the folder is not this account's, the collector is not the token's or says no, or
/// the disk does.
pub async fn join(join: &JoinSender<'_>) -> Result<Sender, SenderJoinError> {
    let keep = |source| SenderJoinError::Keep { source };
    let folder = Folder::open(join.dir, IfMissing::Make)
        .map_err(|source| SenderJoinError::Folder { source })?;
    if join.existing == Existing::Keep && folder.path.join(CERTIFICATE_FILE).exists() {
        return Err(SenderJoinError::AlreadyJoined { dir: folder.path });
    }
    let tls_key_spki = folder.coming_key().map_err(keep)?;

    let body = JoinRequest {
        token_id: join.token.id().to_owned(),
        secret: join.token.secret().clone(),
        holder: Holder::Sender(join.name.clone()),
        tls_key_spki,
        signing_key: None,
    };
    let answer = ask_to_join(join.token, None, &body)
        .await
        .map_err(|source| SenderJoinError::Request { source })?;
    check_join(&answer, join.token, &body.holder, &body.tls_key_spki)
        .map_err(|source| SenderJoinError::Answer { source })?;

    folder
        .put_in_use(&Version {
            name: join.name,
            url: join.token.url(),
            collector_id: &answer.collector_id,
            server_ca_pem: &answer.server_ca_pem,
            certificate_pem: &answer.certificate_pem,
            spki: &body.tls_key_spki,
        })
        .map_err(keep)?;
    folder
        .load()
        .map_err(|source| SenderJoinError::Load { source })
}

/// Gets a certificate over a new key, if it is time by `now`, and puts both in use.
///
/// # Errors
/// When there is no identity, the folder is not this account's, the collector does not answer or says no, or the disk
/// does.
pub async fn renew(dir: &Path, now: Wall) -> Result<Renewal, SenderRenewError> {
    let keep = |source| SenderRenewError::Keep { source };
    let load = |source| SenderRenewError::Load { source };
    let folder = Folder::open(dir, IfMissing::Refuse)
        .map_err(|source| SenderRenewError::Folder { source })?;
    if folder.path.join(CURRENT).read_link().is_err() {
        return Err(SenderRenewError::NotJoined { dir: folder.path });
    }
    let sender = folder.load().map_err(load)?;
    if now < sender.renewal_due_at() {
        return Ok(Renewal::NotDue(sender));
    }
    let tls = sender
        .client_config()
        .map_err(|source| SenderRenewError::Tls { source })?;
    let body = RenewRequest {
        tls_key_spki: folder.coming_key().map_err(keep)?,
    };
    let answer: RenewAnswer = post(tls, None, &sender.url, RENEW_PATH, &body)
        .await
        .map_err(|source| SenderRenewError::Request { source })?;
    let holder = Holder::Sender(sender.name.clone());
    check_certificate(&answer.certificate_pem, &holder, &body.tls_key_spki)
        .and_then(|()| answer_certificates(&answer.server_ca_pem).map(drop))
        .map_err(|source| SenderRenewError::Answer { source })?;

    folder
        .put_in_use(&Version {
            name: &sender.name,
            url: &sender.url,
            collector_id: &sender.collector_id,
            server_ca_pem: &answer.server_ca_pem,
            certificate_pem: &answer.certificate_pem,
            spki: &body.tls_key_spki,
        })
        .map_err(keep)?;
    folder.load().map(Renewal::Renewed).map_err(load)
}

impl Sender {
    /// Its name, as its certificate has it.
    #[must_use]
    pub const fn name(&self) -> &SenderName {
        &self.name
    }

    /// Address of the collector: `https://host[:port]`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
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

    /// When to renew, by the same rule as a node's identity.
    #[must_use]
    pub fn renewal_due_at(&self) -> Wall {
        renewal_due_at(self.not_before, self.not_after, self.key_sha256)
    }

    /// A TLS client that shows this identity and trusts the collector's CAs.
    ///
    /// # Errors
    /// When certificate and key, or the CAs, cannot be used.
    pub fn client_config(&self) -> Result<rustls::ClientConfig, TlsError> {
        let credential = HotCredential::new(self.chain.clone(), &self.key)?;
        let origin = self.version.join("ca.pem").display().to_string();
        client_config(&self.server_ca, &origin, Some(Arc::new(credential)))
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("key_sha256", &self.key_sha256)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfMissing {
    Make,
    Refuse,
}

/// The sender's folder, locked as long as this lives.
struct Folder {
    path: PathBuf,
    _lock: fs::File,
}

/// What a complete version holds beside its key.
struct Version<'a> {
    name: &'a SenderName,
    url: &'a str,
    collector_id: &'a str,
    server_ca_pem: &'a str,
    certificate_pem: &'a str,
    spki: &'a PublicKeyDer,
}

impl Folder {
    fn open(dir: &Path, if_missing: IfMissing) -> Result<Self, FolderError> {
        let error = |source| FolderError::Open {
            dir: dir.to_owned(),
            source,
        };
        if if_missing == IfMissing::Make {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error(cause));
                }
                _ => {}
            }
        }
        let lock = fs::File::open(dir).map_err(error)?;
        let metadata = lock.metadata().map_err(error)?;
        if !metadata.is_dir() {
            return Err(error(io::ErrorKind::NotADirectory.into()));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(FolderError::Owner {
                dir: dir.to_owned(),
                owner: metadata.uid(),
            });
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(FolderError::Writable {
                dir: dir.to_owned(),
                mode,
            });
        }
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: dir.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Busy {
                dir: dir.to_owned(),
            }),
            Err(cause) => Err(error(cause.into())),
        }
    }

    /// Reads the version in use: where `current` points is looked up once, so that all files are of one version.
    fn load(&self) -> Result<Sender, LoadError> {
        let link = self.path.join(CURRENT);
        let target = link
            .read_link()
            .map_err(|source| LoadError::Read { path: link, source })?;
        let version = self.path.join(target);
        let pem_path = version.join("certificate.pem");
        let chain = certificates(&read_required(&pem_path)?, &pem_path)?;
        let leaf = leaf(&chain, &pem_path)?;
        let key_path = version.join("key.pem");
        let key = read_key(&key_path)?.ok_or_else(|| LoadError::Read {
            path: key_path,
            source: io::ErrorKind::NotFound.into(),
        })?;
        let is_pair = rcgen::KeyPair::try_from(key.der())
            .is_ok_and(|pair| pair.subject_public_key_info() == leaf.public_key().raw);
        if !is_pair {
            return Err(LoadError::NoPair { dir: version });
        }
        let name_path = version.join("sender");
        let ca_path = version.join("ca.pem");
        Ok(Sender {
            name: read_word(&name_path)?
                .parse()
                .map_err(|_| LoadError::Content {
                    path: name_path,
                    what: "a sender's name",
                })?,
            url: read_word(&version.join("collector"))?,
            collector_id: read_word(&version.join("collector-id"))?,
            server_ca: certificates(&read_required(&ca_path)?, &ca_path)?,
            key_sha256: Digest::of(leaf.public_key().raw),
            not_before: Wall(leaf.validity().not_before.timestamp().saturating_mul(1000)),
            not_after: Wall(leaf.validity().not_after.timestamp().saturating_mul(1000)),
            version,
            chain,
            key,
        })
    }

    /// Makes the key of the coming version, or takes up that of a request whose answer was lost, so that the collector
    /// can tell a repetition from a thief. Its public half.
    fn coming_key(&self) -> Result<PublicKeyDer, KeepError> {
        let coming = self.path.join(COMING);
        if let Some(spki) = leftover_key(&coming) {
            return Ok(spki);
        }
        let change = |source| KeepError::Change {
            path: coming.clone(),
            source,
        };
        match fs::remove_dir_all(&coming) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(change(cause)),
            _ => {}
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&coming)
            .map_err(change)?;
        let key = generate(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        write(&coming.join("key.pem"), &key.serialize_pem())?;
        PublicKeyDer::new(key.subject_public_key_info()).map_err(|_| KeepError::Generate {
            source: rcgen::Error::CouldNotParseKeyPair,
        })
    }

    /// Completes the coming version and lets `current` point to it.
    fn put_in_use(&self, version: &Version<'_>) -> Result<(), KeepError> {
        let coming = self.path.join(COMING);
        for (name, text) in [
            ("ca.pem", version.server_ca_pem),
            ("sender", version.name.as_str()),
            ("collector", version.url),
            ("collector-id", version.collector_id),
            // Last: a key beside a certificate is no leftover to be taken up.
            ("certificate.pem", version.certificate_pem),
        ] {
            write(&coming.join(name), text)?;
        }
        let change = |path: &Path| {
            let path = path.to_owned();
            move |source| KeepError::Change { path, source }
        };
        let name = version_name(version.spki);
        let place = self.path.join(&name);
        fs::rename(&coming, &place).map_err(change(&place))?;
        sync_dir(&self.path)?;

        let (current, link) = (self.path.join(CURRENT), self.path.join(CURRENT_NEW));
        let before = current.read_link().ok();
        match fs::remove_file(&link) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(change(&link)(cause));
            }
            _ => {}
        }
        symlink(&name, &link).map_err(change(&link))?;
        fs::rename(&link, &current).map_err(change(&current))?;
        sync_dir(&self.path)?;
        self.remove_versions_but(&[Path::new(&name), before.as_deref().unwrap_or(Path::new(""))]);
        Ok(())
    }

    /// Removes versions that are in use no more. The one before the last change stays, for a reader that is at it.
    fn remove_versions_but(&self, kept: &[&Path]) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            if is_version_name(&name.to_string_lossy()) && !kept.contains(&Path::new(&name)) {
                // Nothing depends on it; the next change tries again.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// The public half of a key that was made and has not got its certificate.
fn leftover_key(coming: &Path) -> Option<PublicKeyDer> {
    if coming.join("certificate.pem").exists() {
        return None;
    }
    let key = read_key(&coming.join("key.pem")).ok()??;
    let pair = rcgen::KeyPair::try_from(key.der()).ok()?;
    PublicKeyDer::new(pair.subject_public_key_info()).ok()
}

fn version_name(spki: &PublicKeyDer) -> String {
    to_hex(&Digest::of(spki.as_bytes()).0[..VERSION_LEN])
}

fn is_version_name(name: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 2 * VERSION_LEN && name.bytes().all(is_hex)
}

#[cfg(test)]
mod tests;
