//! An identity with a certificate: how it is won with a join token and how its certificate is renewed, for whoever holds it.
//!
//! **Join.** The keys are made and stored in a folder of their own first. The connection is made with the CA pinned by the
//! token's digest; only then do the secret and the public halves leave. The answer is checked, stored beside the keys, and
//! the whole takes the place of the old in one step. If the answer is lost, joining again sends the same keys, so that a
//! collector can tell a repetition from a thief.
//!
//! **Renewal.** A new key is stored, the certificate over it asked for, then both are put in use in one step. The identity
//! that was there works until then, also when the renewal fails or is cancelled.
//!
//! Who holds the certificate is a [`Member`]: this machine ([`node`]) or another program on it that sends metrics
//! ([`sender`]). They differ in their files, in how new ones take the place of old, and in two rules. **Keys:** a node has a
//! signing key beside its TLS key, a sender has none. **Old keys:** a node's is void once its new one is used, so it is
//! renamed into the place of the old; a sender keeps connections open, so its version before stays on disk, and good to the
//! collector for a while.
//!
//! Owns no timer and no retry. Private keys never leave this module but into rustls and a signature.

mod answer;
mod files;
pub mod identity;
pub mod node;
pub mod request;
pub mod sender;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use vigie_core::{
    entry::Head,
    token::{Holder, JoinToken, Role, TokenError},
    wire::{JoinRequest, PublicKeyDer, RENEW_PATH, RenewAnswer, RenewRequest},
};
use vigie_platform::tls::TlsError;

pub use self::{answer::AnswerError, files::KeepError};
use self::{
    files::{ComingKeys, off_thread},
    identity::{Identity, LoadError, read_text},
    request::{RequestError, ask_to_join, post},
    sender::FolderError,
};

/// Longest token file, in bytes: a token takes under 500.
const TOKEN_FILE_LEN_MAX: usize = 1024;

/// Reads a join token from its file. Tokens are never taken from the command line, which every account can read.
///
/// # Errors
/// When the file cannot be read or is not a token.
pub fn read_token(path: &Path) -> Result<JoinToken, TokenFileError> {
    let text = read_text(path, TOKEN_FILE_LEN_MAX)
        .and_then(|text| text.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|source| TokenFileError::Read {
            path: path.to_owned(),
            source,
        })?;
    text.parse().map_err(|source| TokenFileError::Token {
        path: path.to_owned(),
        source,
    })
}

/// Why a file gives no token. Never repeats its content.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum TokenFileError {
    #[error("cannot read the join token from {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} does not hold a join token")]
    Token { path: PathBuf, source: TokenError },
}

/// What to do about an identity that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to join.
    Keep,
    /// Replace it, once the new one is complete.
    Replace,
}

/// Who holds a certificate, at the folder of its identity: which files there are and how new ones take the place of old.
pub trait Member: Sized + Send + Sync + 'static {
    /// Its name, as its certificate has it.
    type Name: Clone + fmt::Debug + FromStr + Send + Sync;
    /// What its identity has and that of the other kind has not.
    type Own: Send + Sync;
    /// Its files. One more is called like its role and holds its name, and `collector-id` the id of its collector.
    const LAYOUT: Layout;

    /// What it is.
    const ROLE: Role;

    /// The name with its role.
    fn holder(name: &Self::Name) -> Holder;

    /// Takes the folder, as long as this lives; a join may make it.
    ///
    /// # Errors
    /// When it cannot be used.
    fn open(dir: &Path, asked: Asked) -> Result<Self, FolderError>;

    /// The folder that holds an identity already.
    fn joined(&self) -> Option<&Path>;

    /// Takes up the identity in use.
    ///
    /// # Errors
    /// When there is none or it is damaged.
    fn load(&self) -> Result<Identity<Self>, LoadError>;

    /// Stores the keys to ask with. What is in use stays so.
    ///
    /// # Errors
    /// When they cannot be made or stored.
    fn coming_keys(&self, asked: Asked) -> Result<ComingKeys, KeepError>;

    /// Stores what was answered and puts it in use, with the key it was asked for.
    ///
    /// # Errors
    /// When it cannot be stored. What was in use stays so.
    fn put_in_use(&self, version: &Version, asked: Asked) -> Result<(), KeepError>;
}

/// Names of a member's files in the folder of a complete identity; each has mode 0600 and is replaced as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The TLS key.
    key: &'static str,
    /// The Ed25519 key that signs contacts.
    signing_key: Option<&'static str>,
    /// The certificate over the TLS key. Written last: its presence says that the folder is complete.
    certificate: &'static str,
    /// The CAs that may vouch for the collector, old and new.
    ca: &'static str,
    /// The collector's address.
    url: Option<&'static str>,
}

/// What the collector is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To be taken in.
    Join,
    /// A certificate over a new key.
    Renewal,
}

/// What is put in use beside the keys.
#[derive(Debug)]
pub struct Version {
    holder: Holder,
    url: String,
    collector_id: String,
    server_ca_pem: String,
    certificate_pem: String,
    tls_key_spki: PublicKeyDer,
}

/// How to join.
#[derive(Debug)]
pub struct Join<'a, M: Member> {
    /// The token.
    pub token: &'a JoinToken,
    /// Who joins; the token must be bound to it.
    pub name: &'a M::Name,
    /// Of a node the agent's state folder, which exists; of a sender its own, which is made if the one around it exists.
    pub dir: &'a Path,
    /// `http://` address of a proxy that CONNECTs. The environment is not asked.
    pub proxy: Option<&'a str>,
    /// What to do about an identity that is there already.
    pub existing: Existing,
}

/// A join that worked.
#[derive(Debug)]
pub struct Joined<M: Member> {
    /// The new identity, on disk.
    pub identity: Identity<M>,
    /// Head of the node's chain as the collector has it; `None` for a name that has never written a line.
    pub head: Option<Head>,
}

/// Why joining failed. What was there before still is.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum JoinError {
    #[error("{}", already_joined(*.role, .dir))]
    AlreadyJoined { role: Role, dir: PathBuf },
    #[error("cannot join")]
    Folder { source: FolderError },
    #[error("cannot keep the new identity")]
    Keep { source: KeepError },
    #[error("cannot join")]
    Request { source: RequestError },
    #[error("the collector's answer cannot be used")]
    Answer { source: AnswerError },
    #[error("the new identity cannot be read back")]
    Load { source: LoadError },
}

/// Why renewing failed. The old identity works on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum RenewError {
    #[error("{dir} holds no identity of a sender; run `vigie-agent sender join`")]
    NotJoined { dir: PathBuf },
    #[error("cannot renew the certificate")]
    Folder { source: FolderError },
    #[error("cannot keep the renewed identity")]
    Keep { source: KeepError },
    #[error("cannot use the present identity")]
    Tls { source: TlsError },
    #[error("cannot renew the certificate")]
    Request { source: RequestError },
    #[error("the collector's answer cannot be used")]
    Answer { source: AnswerError },
    /// The identity cannot be read: a sender's before or after its renewal, a node's after.
    #[error("{}", match role {
        Role::Node => "the renewed identity cannot be read back",
        Role::Sender => "cannot take up the sender's identity",
    })]
    Load { role: Role, source: LoadError },
}

/// Joins the collector of the token.
///
/// # Errors
/// When there is an identity to keep, the folder cannot be used, the collector is not the token's or says no, or the disk
/// does.
pub async fn join<M: Member>(join: &Join<'_, M>) -> Result<Joined<M>, JoinError> {
    let keep = |source| JoinError::Keep { source };
    let folder = M::open(join.dir, Asked::Join).map_err(|source| JoinError::Folder { source })?;
    let folder = Arc::new(folder);
    let holder = M::holder(join.name);
    if join.existing == Existing::Keep
        && let Some(dir) = folder.joined()
    {
        let (role, dir) = (M::ROLE, dir.to_owned());
        return Err(JoinError::AlreadyJoined { role, dir });
    }
    let keys = off_thread(&folder, |folder| folder.coming_keys(Asked::Join));
    let keys = keys.await.map_err(keep)?;
    let body = JoinRequest {
        token_id: join.token.id().to_owned(),
        secret: join.token.secret().clone(),
        holder,
        tls_key_spki: keys.tls_key_spki,
        signing_key: keys.signing_key,
    };
    let answer = ask_to_join(join.token, join.proxy, &body)
        .await
        .map_err(|source| JoinError::Request { source })?;
    answer::check_join(&answer, join.token, &body)
        .map_err(|source| JoinError::Answer { source })?;

    let version = Version {
        holder: body.holder,
        url: join.token.url().to_owned(),
        collector_id: answer.collector_id,
        server_ca_pem: answer.server_ca_pem,
        certificate_pem: answer.certificate_pem,
        tls_key_spki: body.tls_key_spki,
    };
    off_thread(&folder, move |folder| {
        folder.put_in_use(&version, Asked::Join)
    })
    .await
    .map_err(keep)?;
    Ok(Joined {
        identity: folder.load().map_err(|source| JoinError::Load { source })?,
        head: answer.head,
    })
}

/// Gets a certificate over a new key from the collector at `url` (`https://host[:port]`), and puts both in use.
async fn renew<M: Member>(
    folder: M,
    identity: &Identity<M>,
    url: &str,
    proxy: Option<&str>,
) -> Result<Identity<M>, RenewError> {
    let keep = |source| RenewError::Keep { source };
    let tls = identity
        .client_config()
        .map_err(|source| RenewError::Tls { source })?;
    let folder = Arc::new(folder);
    let keys = off_thread(&folder, |folder| folder.coming_keys(Asked::Renewal));
    let body = RenewRequest {
        tls_key_spki: keys.await.map_err(keep)?.tls_key_spki,
    };
    let answer: RenewAnswer = post(tls, proxy, url, RENEW_PATH, &body)
        .await
        .map_err(|source| RenewError::Request { source })?;
    let holder = M::holder(&identity.name);
    answer::check_renewal(&answer, &holder, &body)
        .map_err(|source| RenewError::Answer { source })?;

    let version = Version {
        holder,
        url: url.to_owned(),
        collector_id: identity.collector_id.clone(),
        server_ca_pem: answer.server_ca_pem,
        certificate_pem: answer.certificate_pem,
        tls_key_spki: body.tls_key_spki,
    };
    off_thread(&folder, move |folder| {
        folder.put_in_use(&version, Asked::Renewal)
    })
    .await
    .map_err(keep)?;
    folder.load().map_err(|source| RenewError::Load {
        role: M::ROLE,
        source,
    })
}

fn already_joined(role: Role, dir: &Path) -> String {
    let dir = dir.display();
    match role {
        Role::Node => format!("this machine has joined already ({dir}); to join anew, say so"),
        Role::Sender => {
            format!("{dir} holds an identity already; to replace it, write `--replace`")
        }
    }
}

#[cfg(test)]
mod tests;
