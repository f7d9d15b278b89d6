//! This machine's identity, under `<state_dir>/identity/` (mode 0700):
//!
//! | file | holds |
//! |---|---|
//! | `tls.key`, `tls.pem` | ECDSA P-256 key and the certificate over it |
//! | `tls.next.key` | the key of a renewal under way |
//! | `signing.key` | Ed25519 key that signs contacts; lives as long as the identity |
//! | `server-ca.pem` | the CAs that may vouch for the collector, old and new |
//! | `collector-id`, `node` | the collector's id, pinned at join; this machine's name |
//!
//! **Join.** Everything is made in `identity.joining/`, which takes the name `identity` in one step (exchanged with the old
//! one if there is one).
//!
//! **Renewal.** `tls.next.key` is written, the certificate over it asked for, then `tls.pem` replaced: that is the moment of
//! change. Renaming the key afterwards is tidying up, for [`Identity::load`] takes whichever of the two keys the certificate
//! is over. A crash, a full disk or a cancellation at any point leaves a pair that works.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use rustls_pki_types::CertificateDer;
use vigie_core::{
    id::NodeName,
    token::{Holder, Role},
    wire::{PublicKeyDer, SigningKey},
};
use vigie_platform::tls::SecretKey;

use super::{
    Asked, KeepError, Layout, Member, RenewError, Version,
    files::{self, ComingKeys, generate, rename, spki, sync_dir, write},
    identity::{
        Identity, LoadError, certificates, is_pair, leaf, missing, public_half, read_file, read_key,
    },
    sender::FolderError,
};

/// A machine with an agent, at its folder. Nobody else writes there: the agent's state folder is locked while it runs.
#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
}

/// Which file the certificate's key is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFile {
    Current,
    /// A renewal was interrupted between its certificate and the renaming of its key.
    Next,
}

impl KeyFile {
    const fn name(self) -> &'static str {
        match self {
            Self::Current => Node::LAYOUT.key,
            Self::Next => "tls.next.key",
        }
    }
}

/// Gets a certificate over a new key from the collector at `url` (`https://host[:port]`), and stores both. The identity
/// given works until the new one is first used, also when this fails or is cancelled.
///
/// # Errors
/// When the collector does not answer or says no, or the disk does.
pub async fn renew(
    identity: &Identity,
    url: &str,
    proxy: Option<&str>,
) -> Result<Identity, RenewError> {
    let dir = identity.dir.clone();
    super::renew(Node { dir }, identity, url, proxy).await
}

impl Member for Node {
    type Name = NodeName;
    type Own = Ed25519KeyPair;
    const ROLE: Role = Role::Node;
    const LAYOUT: Layout = Layout {
        key: "tls.key",
        signing_key: Some("signing.key"),
        certificate: "tls.pem",
        ca: "server-ca.pem",
        url: None,
    };

    fn holder(name: &NodeName) -> Holder {
        Holder::Node(name.clone())
    }

    fn open(state_dir: &Path, _: Asked) -> Result<Self, FolderError> {
        let dir = state_dir.join("identity");
        Ok(Self { dir })
    }

    fn joined(&self) -> Option<&Path> {
        let certificate = self.dir.join(Self::LAYOUT.certificate);
        certificate.exists().then_some(&self.dir)
    }

    fn load(&self) -> Result<Identity, LoadError> {
        let dir = &self.dir;
        let (chain, tls_key, _) = pair_in_use(dir)?;
        let signing_path = dir.join("signing.key");
        let signing = read_key(&signing_path)?.ok_or_else(|| missing(&signing_path))?;
        let signer = Ed25519KeyPair::from_pkcs8(signing.der().secret_der());
        let signer = signer.map_err(|_| LoadError::Content {
            path: signing_path,
            what: "an Ed25519 key",
        })?;
        Identity::read(dir, chain, tls_key, signer)
    }

    fn coming_keys(&self, asked: Asked) -> Result<ComingKeys, KeepError> {
        match asked {
            Asked::Join => files::coming_keys(&self.making(), &Self::LAYOUT),
            Asked::Renewal => Ok(ComingKeys {
                tls_key_spki: next_key(&self.dir)?,
                signing_key: None,
            }),
        }
    }

    fn put_in_use(&self, version: &Version, asked: Asked) -> Result<(), KeepError> {
        match asked {
            Asked::Join => {
                files::complete(&self.making(), &Self::LAYOUT, version)?;
                self.take_name()
            }
            Asked::Renewal => {
                // CAs first: a bundle with more CAs suits the old certificate too.
                write(&self.dir.join(Self::LAYOUT.ca), &version.server_ca_pem)?;
                let certificate = self.dir.join(Self::LAYOUT.certificate);
                write(&certificate, &version.certificate_pem)?;
                settle_key(&self.dir)
            }
        }
    }
}

impl Node {
    /// Where an identity is made.
    fn making(&self) -> PathBuf {
        self.dir.with_file_name("identity.joining")
    }

    /// Gives the complete folder its name, in one step also when there is one of that name.
    fn take_name(&self) -> Result<(), KeepError> {
        let (making, dir) = (&self.making(), &self.dir);
        if dir.exists() {
            let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
            rustix::fs::renameat_with(cwd, making, cwd, dir, exchange)
                .map_err(|error| KeepError::change(dir, error.into()))?;
            // What is called `identity.joining` now is the old identity.
            fs::remove_dir_all(making).map_err(|error| KeepError::change(making, error))?;
        } else {
            rename(making, dir)?;
        }
        sync_dir(dir.parent().unwrap_or(dir))
    }
}

impl Identity {
    /// Takes up the identity under `state_dir`. Writes nothing.
    ///
    /// # Errors
    /// [`LoadError::NotJoined`] when there is none; otherwise what is wrong with it.
    pub fn load(state_dir: &Path) -> Result<Self, LoadError> {
        let dir = state_dir.join("identity");
        Node { dir }.load()
    }

    /// This machine's name, as its certificate has it.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.name
    }

    /// Signs `message` (Ed25519, RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.own.sign(message);
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        bytes
    }

    /// Public half of the signing key.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        public_half(&self.own)
    }
}

/// The certificate on disk and its key, and where that is now, whatever it was when an [`Identity`] was taken up: a renewal
/// since then may have come any way, reported or not.
///
/// # Errors
/// [`LoadError::NoPair`] when neither file has it; otherwise why it cannot be told.
pub(super) fn pair_in_use(
    dir: &Path,
) -> Result<(Vec<CertificateDer<'static>>, SecretKey, KeyFile), LoadError> {
    let pem_path = dir.join(Node::LAYOUT.certificate);
    let pem = read_file(&pem_path)?.ok_or_else(|| LoadError::NotJoined {
        dir: dir.to_owned(),
    })?;
    let chain = certificates(&pem, &pem_path)?;
    let leaf = leaf(&chain, &pem_path)?;
    for file in [KeyFile::Current, KeyFile::Next] {
        if let Some(key) = read_key(&dir.join(file.name()))?
            && is_pair(&key, &leaf)
        {
            return Ok((chain, key, file));
        }
    }
    Err(LoadError::NoPair {
        dir: dir.to_owned(),
    })
}

/// Makes the key of a renewal and stores it beside the present one.
///
/// What is present is asked of the disk. What was true when the identity was taken up may be so no more: an earlier try
/// may have settled the key, or have replaced the certificate and been told that it did not.
pub(super) fn next_key(dir: &Path) -> Result<PublicKeyDer, KeepError> {
    match pair_in_use(dir) {
        Ok((.., KeyFile::Next)) => {
            // Such a certificate may not be durable yet. It must be before the key of the one before it goes.
            sync_dir(dir)?;
            settle_key(dir)?;
        }
        // Without a pair there is none to lose, and the identity in memory can make one.
        Ok((.., KeyFile::Current)) | Err(LoadError::NoPair { .. }) => {}
        Err(source) => return Err(KeepError::KeyInUse { source }),
    }
    let key = generate(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    write(&dir.join(KeyFile::Next.name()), &key.serialize_pem())?;
    spki(&key)
}

/// After `tls.pem` names the next key: gives that key its lasting name.
fn settle_key(dir: &Path) -> Result<(), KeepError> {
    let next = dir.join(KeyFile::Next.name());
    fs::rename(&next, dir.join(KeyFile::Current.name()))
        .map_err(|source| KeepError::change(&next, source))?;
    sync_dir(dir)
}
