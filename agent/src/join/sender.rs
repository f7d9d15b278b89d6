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
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use vigie_core::{
    digest::{Digest, to_hex},
    id::SenderName,
    time::Wall,
    token::{Holder, Role},
    wire::PublicKeyDer,
};

use super::{
    Asked, KeepError, Layout, Member, RenewError, Version,
    files::{self, ComingKeys, absent, rename, sync_dir},
    identity::{
        Identity, LoadError, certificates, is_pair, leaf, missing, read_key, read_required,
        read_word,
    },
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

/// Another program that sends metrics, at its folder, which is locked as long as this lives.
#[derive(Debug)]
pub struct Sender {
    path: PathBuf,
    _lock: fs::File,
}

/// What came of a renewal.
#[derive(Debug)]
pub enum Renewal {
    /// It is not time yet; nothing was asked and nothing changed.
    NotDue(Identity<Sender>),
    /// The new identity, in use.
    Renewed(Identity<Sender>),
}

/// Why the folder cannot be worked on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum FolderError {
    #[error("cannot open the sender's folder {dir}")]
    Open { dir: PathBuf, source: io::Error },
    /// It is another account's: that one could not read what is written here.
    #[error(
        "{dir} belongs to the account with uid {owner}; run this command under that account, which must be the one the \
         sender runs under"
    )]
    Owner { dir: PathBuf, owner: u32 },
    #[error(
        "other accounts may write in {dir} (mode {mode:03o}), and so could put a key of their own there; run \
         `chmod go-w` on it"
    )]
    Writable { dir: PathBuf, mode: u32 },
    #[error("another command is working on {dir}; try again when it has ended")]
    Busy { dir: PathBuf },
}

/// Gets a certificate over a new key, if it is time by `now`, and puts both in use.
///
/// # Errors
/// When there is no identity, the folder is not this account's, the collector does not answer or says no, or the disk
/// does.
pub async fn renew(dir: &Path, now: Wall) -> Result<Renewal, RenewError> {
    let folder =
        Sender::open(dir, Asked::Renewal).map_err(|source| RenewError::Folder { source })?;
    if folder.path.join(CURRENT).read_link().is_err() {
        return Err(RenewError::NotJoined { dir: folder.path });
    }
    let identity = folder.load().map_err(|source| RenewError::Load {
        role: Role::Sender,
        source,
    })?;
    if now < identity.renewal_due_at() {
        return Ok(Renewal::NotDue(identity));
    }
    super::renew(folder, &identity, identity.url(), None)
        .await
        .map(Renewal::Renewed)
}

impl Identity<Sender> {
    /// The sender's name, as its certificate has it.
    #[must_use]
    pub const fn name(&self) -> &SenderName {
        &self.name
    }

    /// Address of the collector: `https://host[:port]`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.own
    }
}

impl Member for Sender {
    type Name = SenderName;
    /// Address of the collector: what a node has in its settings.
    type Own = String;
    const ROLE: Role = Role::Sender;
    const LAYOUT: Layout = Layout {
        key: "key.pem",
        signing_key: None,
        certificate: "certificate.pem",
        ca: "ca.pem",
        url: Some("collector"),
    };

    fn holder(name: &SenderName) -> Holder {
        Holder::Sender(name.clone())
    }

    fn open(dir: &Path, asked: Asked) -> Result<Self, FolderError> {
        let error = |source| FolderError::Open {
            dir: dir.to_owned(),
            source,
        };
        if asked == Asked::Join {
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

    fn joined(&self) -> Option<&Path> {
        let certificate = self.path.join(CERTIFICATE_FILE);
        certificate.exists().then_some(&self.path)
    }

    /// Reads the version in use: where `current` points is looked up once, so that all files are of one version.
    fn load(&self) -> Result<Identity<Self>, LoadError> {
        let link = self.path.join(CURRENT);
        let target = link
            .read_link()
            .map_err(|source| LoadError::Read { path: link, source })?;
        let version = self.path.join(target);
        let pem_path = version.join(Self::LAYOUT.certificate);
        let chain = certificates(&read_required(&pem_path)?, &pem_path)?;
        let key_path = version.join(Self::LAYOUT.key);
        let key = read_key(&key_path)?.ok_or_else(|| missing(&key_path))?;
        if !is_pair(&key, &leaf(&chain, &pem_path)?) {
            return Err(LoadError::NoPair { dir: version });
        }
        let url = read_word(&version.join("collector"))?;
        Identity::read(&version, chain, key, url)
    }

    fn coming_keys(&self, _: Asked) -> Result<ComingKeys, KeepError> {
        files::coming_keys(&self.path.join(COMING), &Self::LAYOUT)
    }

    /// Completes the coming version and lets `current` point to it.
    fn put_in_use(&self, version: &Version, _: Asked) -> Result<(), KeepError> {
        let coming = self.path.join(COMING);
        files::complete(&coming, &Self::LAYOUT, version)?;
        let name = version_name(&version.tls_key_spki);
        rename(&coming, &self.path.join(&name))?;
        sync_dir(&self.path)?;

        let (current, link) = (self.path.join(CURRENT), self.path.join(CURRENT_NEW));
        let before = current.read_link().ok();
        absent(fs::remove_file(&link))
            .and_then(|()| symlink(&name, &link))
            .map_err(|source| KeepError::change(&link, source))?;
        rename(&link, &current)?;
        sync_dir(&self.path)?;
        self.remove_versions_but(&[Path::new(&name), before.as_deref().unwrap_or(Path::new(""))]);
        Ok(())
    }
}

impl Sender {
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

fn version_name(spki: &PublicKeyDer) -> String {
    to_hex(&Digest::of(spki.as_bytes()).0[..VERSION_LEN])
}

fn is_version_name(name: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 2 * VERSION_LEN && name.bytes().all(is_hex)
}

#[cfg(test)]
mod tests;
