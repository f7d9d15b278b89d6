//! This machine's identity: how it is won with a join token, kept on disk, and renewed.
//!
//! On disk, under `<state_dir>/identity/` (mode 0700, every file 0600, each replaced as a whole):
//!
//! | file | holds |
//! |---|---|
//! | `tls.key`, `tls.pem` | ECDSA P-256 key and the certificate over it |
//! | `tls.next.key` | the key of a renewal under way |
//! | `signing.key` | Ed25519 key that signs contacts; lives as long as the identity |
//! | `server-ca.pem` | the CAs that may vouch for the collector, old and new |
//! | `collector-id`, `node` | the collector's id, pinned at join; this machine's name |
//!
//! **Join.** Both keys are made and stored in `identity.joining/` first. The connection is made with the CA pinned by
//! the token's digest; only then do the secret and the public halves leave. The answer is checked, stored beside the
//! keys, and the folder takes the name `identity` in one step (exchanged with the old one if there is one). If the
//! answer is lost, joining again sends the same keys, so that a collector can tell a repetition from a thief.
//!
//! **Renewal.** `tls.next.key` is written, the certificate over it asked for, then `tls.pem` replaced: that is the
//! moment of change. Renaming the key afterwards is tidying up, for [`Identity::load`] takes whichever of the two keys
//! the certificate is over. A crash, a full disk or a cancellation at any point leaves a pair that works.
//!
//! Programs that send metrics and cannot join by themselves get theirs from [`sender`], in a form they can read.
//!
//! Owns no timer and no retry. Private keys never leave this module but into rustls and a signature.

pub mod identity;
pub mod request;
pub mod sender;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::PublicKeyData as _;
use rustls_pki_types::CertificateDer;
use vigie_core::{
    digest::Digest,
    entry::Head,
    id::{NodeName, is_configured_name},
    token::{Holder, JoinToken, TokenError},
    wire::{
        JoinAnswer, JoinRequest, PublicKeyDer, RENEW_PATH, RenewAnswer, RenewRequest, SigningKey,
    },
};
use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::RealDisk,
    tls::{TlsError, parse_certificates},
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use self::{
    identity::{Identity, KeyFile, LoadError, key_file_in_use, public_half, read_key, read_text},
    request::{RequestError, ask_to_join, post},
};

/// Longest token file, in bytes: a token takes under 500.
const TOKEN_FILE_LEN_MAX: usize = 1024;

/// Mode of every file: the agent's account alone.
const PRIVATE: u32 = 0o600;

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
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read the join token from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} does not hold a join token")]
    Token {
        /// The file.
        path: PathBuf,
        /// Which part is wrong.
        #[source]
        source: TokenError,
    },
}

/// What to do about an identity that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to join.
    Keep,
    /// Replace it, once the new one is complete.
    Replace,
}

/// How to join.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// The token.
    pub token: &'a JoinToken,
    /// This machine's name; the token must be bound to it.
    pub node: &'a NodeName,
    /// The agent's state folder, which exists.
    pub state_dir: &'a Path,
    /// `http://` address of a proxy that CONNECTs. The environment is not asked.
    pub proxy: Option<&'a str>,
    /// What to do about an identity that is there already.
    pub existing: Existing,
}

/// A join that worked.
#[derive(Debug)]
pub struct Joined {
    /// The new identity, on disk.
    pub identity: Identity,
    /// Head of the node's chain as the collector has it; `None` for a name that has never written a line.
    pub head: Option<Head>,
}

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is an identity and it is to be kept.
    #[error("this machine has joined already ({dir}); to join anew, say so")]
    AlreadyJoined {
        /// The folder.
        dir: PathBuf,
    },
    /// Keys cannot be made or stored, or the new identity cannot be.
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

/// Why renewing failed. The old identity works on.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The new key or certificate cannot be stored.
    #[error("cannot keep the renewed identity")]
    Keep {
        /// Why.
        #[source]
        source: KeepError,
    },
    /// The identity's own files make no TLS client.
    #[error("cannot use the present identity")]
    Tls {
        /// Why.
        #[source]
        source: TlsError,
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
    /// The renewed identity cannot be read back.
    #[error("the renewed identity cannot be read back")]
    Load {
        /// Why.
        #[source]
        source: LoadError,
    },
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A certificate in it cannot be read.
    #[error("a certificate in it cannot be read")]
    Certificate {
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The certificate is over another key.
    #[error("the certificate is not over the key that was sent")]
    OtherKey,
    /// The certificate names someone else.
    #[error("the certificate does not name {holder}")]
    OtherHolder {
        /// Who asked.
        holder: Holder,
    },
    /// The CAs do not include the one of the token.
    #[error("the collector's CAs do not include the one of the join token")]
    OtherCa,
    /// The collector's id is not a name.
    #[error("the collector's id is not a name")]
    CollectorId,
}

/// Why something of the identity cannot be stored. What was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system gives no random bytes.
    #[error("the system makes no key")]
    Generate {
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the identity")]
    Write {
        /// Why; names the file.
        #[source]
        source: ReplaceError,
    },
    /// A folder or file cannot be made, renamed or removed.
    #[error("cannot change {path}")]
    Change {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be told which key must be kept.
    #[error("cannot tell which key the present certificate is over")]
    KeyInUse {
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The program is stopping.
    #[error("stopped before the identity was written")]
    Stopped,
}

/// Joins the collector of the token.
///
/// # Errors
/// When there is an identity to keep, the collector is not the token's or says no, or the disk does.
pub async fn join(join: &Join<'_>) -> Result<Joined, JoinError> {
    let keep = |source| JoinError::Keep { source };
    let dir = join.state_dir.join("identity");
    if join.existing == Existing::Keep && dir.join("tls.pem").exists() {
        return Err(JoinError::AlreadyJoined { dir });
    }
    let making = join.state_dir.join("identity.joining");
    let keys = keys_for_joining(&making).map_err(keep)?;

    let body = JoinRequest {
        token_id: join.token.id().to_owned(),
        secret: join.token.secret().clone(),
        holder: Holder::Node(join.node.clone()),
        tls_key_spki: keys.tls_key_spki.clone(),
        signing_key: Some(keys.signing_key),
    };
    let answer = ask_to_join(join.token, join.proxy, &body)
        .await
        .map_err(|source| JoinError::Request { source })?;
    check_join(&answer, join.token, &body.holder, &keys.tls_key_spki)
        .map_err(|source| JoinError::Answer { source })?;

    for (name, text) in [
        ("server-ca.pem", answer.server_ca_pem.as_str()),
        ("collector-id", &answer.collector_id),
        ("node", join.node.as_str()),
        // Last: its presence says that the folder is complete.
        ("tls.pem", &answer.certificate_pem),
    ] {
        write(&making.join(name), text).map_err(keep)?;
    }
    take_name(&making, &dir, join.state_dir).map_err(keep)?;
    Ok(Joined {
        identity: Identity::load(join.state_dir).map_err(|source| JoinError::Load { source })?,
        head: answer.head,
    })
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
    let keep = |source| RenewError::Keep { source };
    let tls = identity
        .client_config()
        .map_err(|source| RenewError::Tls { source })?;
    let dir = identity.dir.clone();
    let tls_key_spki = off_thread(move || next_key(&dir)).await.map_err(keep)?;

    let body = RenewRequest {
        tls_key_spki: tls_key_spki.clone(),
    };
    let answer: RenewAnswer = post(tls, proxy, url, RENEW_PATH, &body)
        .await
        .map_err(|source| RenewError::Request { source })?;
    let holder = Holder::Node(identity.node.clone());
    check_certificate(&answer.certificate_pem, &holder, &tls_key_spki)
        .and_then(|()| answer_certificates(&answer.server_ca_pem).map(drop))
        .map_err(|source| RenewError::Answer { source })?;

    let dir = identity.dir.clone();
    off_thread(move || {
        // CAs first: a bundle with more CAs suits the old certificate too.
        write(&dir.join("server-ca.pem"), &answer.server_ca_pem)?;
        write(&dir.join("tls.pem"), &answer.certificate_pem)?;
        settle_key(&dir)
    })
    .await
    .map_err(keep)?;
    Identity::load_from(&identity.dir).map_err(|source| RenewError::Load { source })
}

/// The public halves of the keys of a join under way.
struct JoiningKeys {
    tls_key_spki: PublicKeyDer,
    signing_key: SigningKey,
}

/// Makes both keys in `making`, or takes up those of a join whose answer was lost.
fn keys_for_joining(making: &Path) -> Result<JoiningKeys, KeepError> {
    if let Some(keys) = leftover_keys(making) {
        return Ok(keys);
    }
    let change = |source| KeepError::Change {
        path: making.to_owned(),
        source,
    };
    match fs::remove_dir_all(making) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(change(error)),
        _ => {}
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(making)
        .map_err(change)?;
    let tls = generate(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let signing = generate(&rcgen::PKCS_ED25519)?;
    write(&making.join("tls.key"), &tls.serialize_pem())?;
    write(&making.join("signing.key"), &signing.serialize_pem())?;
    let unreadable = || KeepError::Generate {
        source: rcgen::Error::CouldNotParseKeyPair,
    };
    leftover_keys(making).ok_or_else(unreadable)
}

/// The keys of a join that did not get its answer; `None` if there are none, or they have served.
fn leftover_keys(making: &Path) -> Option<JoiningKeys> {
    if making.join("tls.pem").exists() {
        return None;
    }
    let tls = read_key(&making.join("tls.key")).ok()??;
    let signing = read_key(&making.join("signing.key")).ok()??;
    let tls = rcgen::KeyPair::try_from(tls.der()).ok()?;
    let signer = Ed25519KeyPair::from_pkcs8(signing.der().secret_der()).ok()?;
    Some(JoiningKeys {
        tls_key_spki: PublicKeyDer::new(tls.subject_public_key_info()).ok()?,
        signing_key: public_half(&signer),
    })
}

/// Gives the complete folder its name, in one step also when there is one of that name.
fn take_name(making: &Path, dir: &Path, state_dir: &Path) -> Result<(), KeepError> {
    let change = |path: &Path| {
        let path = path.to_owned();
        move |source| KeepError::Change { path, source }
    };
    if dir.exists() {
        let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
        rustix::fs::renameat_with(cwd, making, cwd, dir, exchange)
            .map_err(|error| change(dir)(error.into()))?;
        // What is called `identity.joining` now is the old identity.
        fs::remove_dir_all(making).map_err(change(making))?;
    } else {
        fs::rename(making, dir).map_err(change(dir))?;
    }
    sync_dir(state_dir)
}

/// Makes the key of a renewal and stores it beside the present one.
///
/// What is present is asked of the disk. What was true when the identity was taken up may be so no more: an earlier try
/// may have settled the key, or have replaced the certificate and been told that it did not.
fn next_key(dir: &Path) -> Result<PublicKeyDer, KeepError> {
    match key_file_in_use(dir) {
        Ok(KeyFile::Next) => {
            // Such a certificate may not be durable yet. It must be before the key of the one before it goes.
            sync_dir(dir)?;
            settle_key(dir)?;
        }
        // Without a pair there is none to lose, and the identity in memory can make one.
        Ok(KeyFile::Current) | Err(LoadError::NoPair { .. }) => {}
        Err(source) => return Err(KeepError::KeyInUse { source }),
    }
    let key = generate(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    write(&dir.join(KeyFile::Next.name()), &key.serialize_pem())?;
    PublicKeyDer::new(key.subject_public_key_info()).map_err(|_| KeepError::Generate {
        source: rcgen::Error::CouldNotParseKeyPair,
    })
}

/// After `tls.pem` names the next key: gives that key its lasting name.
fn settle_key(dir: &Path) -> Result<(), KeepError> {
    let next = dir.join(KeyFile::Next.name());
    fs::rename(&next, dir.join(KeyFile::Current.name()))
        .map_err(|source| KeepError::Change { path: next, source })?;
    sync_dir(dir)
}

fn generate(kind: &'static rcgen::SignatureAlgorithm) -> Result<rcgen::KeyPair, KeepError> {
    rcgen::KeyPair::generate_for(kind).map_err(|source| KeepError::Generate { source })
}

fn write(path: &Path, text: &str) -> Result<(), KeepError> {
    atomic_file::replace(&RealDisk, path, text.as_bytes(), PRIVATE)
        .map_err(|source| KeepError::Write { source })
}

fn sync_dir(dir: &Path) -> Result<(), KeepError> {
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| KeepError::Change {
            path: dir.to_owned(),
            source,
        })
}

/// Runs what waits for the disk where it holds nobody up.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeepError> + Send + 'static,
) -> Result<T, KeepError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(KeepError::Stopped))
}

fn check_join(
    answer: &JoinAnswer,
    token: &JoinToken,
    holder: &Holder,
    spki: &PublicKeyDer,
) -> Result<(), AnswerError> {
    check_certificate(&answer.certificate_pem, holder, spki)?;
    let cas = answer_certificates(&answer.server_ca_pem)?;
    if !cas.iter().any(|ca| Digest::of(ca) == token.ca_sha256()) {
        return Err(AnswerError::OtherCa);
    }
    if !is_configured_name(&answer.collector_id) {
        return Err(AnswerError::CollectorId);
    }
    Ok(())
}

/// Whether the certificate is over our key and names its holder. What it may be used for is the collector's affair.
fn check_certificate(pem: &str, holder: &Holder, spki: &PublicKeyDer) -> Result<(), AnswerError> {
    let chain = answer_certificates(pem)?;
    let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|_| AnswerError::Certificate {
        source: TlsError::NotX509 {
            origin: "the answer".to_owned(),
        },
    })?;
    if leaf.public_key().raw != spki.as_bytes() {
        return Err(AnswerError::OtherKey);
    }
    let names = leaf.subject_alternative_name().ok().flatten();
    let names_us = names.is_some_and(|names| {
        names.value.general_names.iter().any(|name| {
            matches!(name, GeneralName::URI(uri) if uri
                .strip_prefix("spiffe://")
                .and_then(|rest| rest.split_once('/'))
                .and_then(|(_, path)| path.split_once('/'))
                == Some((holder.role().as_str(), holder.name())))
        })
    });
    if !names_us {
        return Err(AnswerError::OtherHolder {
            holder: holder.clone(),
        });
    }
    Ok(())
}

fn answer_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, AnswerError> {
    parse_certificates(pem.as_bytes(), "the answer")
        .map_err(|source| AnswerError::Certificate { source })
}

#[cfg(test)]
mod tests;
