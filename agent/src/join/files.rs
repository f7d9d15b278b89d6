//! Keys and files of an identity on their way to disk: made in a folder of their own, each file replaced as a whole.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::PublicKeyData as _;
use vigie_core::wire::{PublicKeyDer, SigningKey};
use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::RealDisk,
};

use super::{
    Layout, Member, Version,
    identity::{LoadError, public_half, read_key},
};

/// Mode of every file: the account alone that holds the identity.
const PRIVATE: u32 = 0o600;

/// Why something of the identity cannot be stored. What was there before still is.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum KeepError {
    #[error("the system makes no key")]
    Generate { source: rcgen::Error },
    #[error("cannot write the identity")]
    Write { source: ReplaceError },
    #[error("cannot change {path}")]
    Change { path: PathBuf, source: io::Error },
    #[error("cannot tell which key the present certificate is over")]
    KeyInUse { source: LoadError },
    #[error("stopped before the identity was written")]
    Stopped,
}

/// The public halves of the keys of a request under way.
#[derive(Debug)]
pub struct ComingKeys {
    /// Of the TLS key.
    pub(super) tls_key_spki: PublicKeyDer,
    /// Of the signing key, which a sender has not, and a node keeps through renewals.
    pub(super) signing_key: Option<SigningKey>,
}

/// Makes a member's keys in the folder `coming`, or takes up those of a request whose answer was lost, so that the
/// collector can tell a repetition from a thief.
pub(super) fn coming_keys(coming: &Path, layout: &Layout) -> Result<ComingKeys, KeepError> {
    if let Some(keys) = leftover_keys(coming, layout) {
        return Ok(keys);
    }
    let change = |source| KeepError::change(coming, source);
    absent(fs::remove_dir_all(coming)).map_err(change)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(coming)
        .map_err(change)?;
    let tls = generate(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    write(&coming.join(layout.key), &tls.serialize_pem())?;
    if let Some(name) = layout.signing_key {
        let signing = generate(&rcgen::PKCS_ED25519)?;
        write(&coming.join(name), &signing.serialize_pem())?;
    }
    leftover_keys(coming, layout).ok_or(KeepError::UNREADABLE)
}

/// The keys of a request that did not get its answer; `None` if there are none, or they have served.
fn leftover_keys(coming: &Path, layout: &Layout) -> Option<ComingKeys> {
    if coming.join(layout.certificate).exists() {
        return None;
    }
    let tls = read_key(&coming.join(layout.key)).ok()??;
    let tls = rcgen::KeyPair::try_from(tls.der()).ok()?;
    let signing_key = match layout.signing_key {
        Some(name) => {
            let signing = read_key(&coming.join(name)).ok()??;
            let signer = Ed25519KeyPair::from_pkcs8(signing.der().secret_der()).ok()?;
            Some(public_half(&signer))
        }
        None => None,
    };
    Some(ComingKeys {
        tls_key_spki: PublicKeyDer::new(tls.subject_public_key_info()).ok()?,
        signing_key,
    })
}

/// Makes the folder `coming`, which holds the keys, complete.
pub(super) fn complete(coming: &Path, layout: &Layout, version: &Version) -> Result<(), KeepError> {
    let url = layout.url.map(|name| (name, version.url.as_str()));
    let files = [
        (layout.ca, version.server_ca_pem.as_str()),
        ("collector-id", &version.collector_id),
        (version.holder.role().as_str(), version.holder.name()),
    ];
    // The certificate last: keys beside it are no leftover to be taken up.
    let certificate = (layout.certificate, version.certificate_pem.as_str());
    for (name, text) in files.into_iter().chain(url).chain([certificate]) {
        write(&coming.join(name), text)?;
    }
    Ok(())
}

/// The public half of a key that was just made.
pub(super) fn spki(key: &rcgen::KeyPair) -> Result<PublicKeyDer, KeepError> {
    PublicKeyDer::new(key.subject_public_key_info()).map_err(|_| KeepError::UNREADABLE)
}

pub(super) fn generate(
    kind: &'static rcgen::SignatureAlgorithm,
) -> Result<rcgen::KeyPair, KeepError> {
    rcgen::KeyPair::generate_for(kind).map_err(|source| KeepError::Generate { source })
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), KeepError> {
    atomic_file::replace(&RealDisk, path, text.as_bytes(), PRIVATE)
        .map_err(|source| KeepError::Write { source })
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), KeepError> {
    fs::rename(from, to).map_err(|source| KeepError::change(to, source))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), KeepError> {
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| KeepError::change(dir, source))
}

/// What came of a removal, if what is not there counts as removed.
pub(super) fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Runs what waits for the disk where it holds nobody up.
pub(super) async fn off_thread<M: Member, T: Send + 'static>(
    folder: &Arc<M>,
    work: impl FnOnce(&M) -> Result<T, KeepError> + Send + 'static,
) -> Result<T, KeepError> {
    let folder = Arc::clone(folder);
    tokio::task::spawn_blocking(move || work(&folder))
        .await
        .unwrap_or(Err(KeepError::Stopped))
}

impl KeepError {
    const UNREADABLE: Self = Self::Generate {
        source: rcgen::Error::CouldNotParseKeyPair,
    };

    pub(super) fn change(path: &Path, source: io::Error) -> Self {
        Self::Change {
            path: path.to_owned(),
            source,
        }
    }
}
