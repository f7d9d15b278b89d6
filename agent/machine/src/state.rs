//! What a check must remember between two lives of the agent: one small file each, `checks/<check>.json` in the state
//! folder, and keyed digests of what may not be written down in clear.
//!
//! **Accepting.** A check writes what it last saw beside what is accepted. `vigie-agent accept CHECK` copies that into a
//! file of its own (`<check>.accepted`), which the check takes over at its next run and removes: each file has one writer,
//! and what is accepted is what an administrator was told of, not what came in between.
//!
//! Blocks nothing: every call works in a blocking thread. A call whose future is dropped still ends there, as a whole. On a
//! full disk the old file stands and the caller hears of it; a check that cannot keep its state must say `unknown`.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use vigie_core::{
    digest::{Digest, to_hex},
    id::CheckName,
};
use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::{Disk, RealDisk},
};

use crate::pseudonym::{PseudonymError, Pseudonyms};

/// The folder in the state folder.
const DIR: &str = "checks";

/// Only the agent's account.
const DIR_MODE: u32 = 0o700;

/// Only the agent's account.
const MODE: u32 = 0o600;

/// The longest state of one check, in bytes: some thousand digests.
pub const STATE_LEN_MAX: usize = 1024 * 1024;

/// The state of one check; of none, where there is no state folder (`probe`).
#[derive(Clone, Default)]
pub struct CheckState {
    folder: Option<Arc<Folder>>,
    check: Option<CheckName>,
}

struct Folder {
    disk: Arc<dyn Disk>,
    state_dir: PathBuf,
}

/// Why a state cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("cannot read the state {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its folder cannot be made or used.
    #[error("cannot use the folder {dir}")]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot keep the state")]
    Keep {
        /// Why.
        #[source]
        source: ReplaceError,
    },
    /// There is no key to make digests with.
    #[error("cannot make keyed digests")]
    Key {
        /// Why.
        #[source]
        source: PseudonymError,
    },
    /// The thread that worked on it is gone.
    #[error("the work on a state was not done")]
    Lost,
}

/// Both files of one check, as they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What the check itself wrote last.
    pub own: Option<Vec<u8>>,
    /// What an administrator accepted since.
    pub accepted: Option<Vec<u8>>,
}

impl CheckState {
    /// The states of all checks of the agent whose state folder this is.
    #[must_use]
    pub fn of_agent(disk: Arc<dyn Disk>, state_dir: &Path) -> Self {
        Self {
            folder: Some(Arc::new(Folder {
                disk,
                state_dir: state_dir.to_owned(),
            })),
            check: None,
        }
    }

    /// The state of this check.
    #[must_use]
    pub fn of_check(&self, check: &CheckName) -> Self {
        Self {
            folder: self.folder.clone(),
            check: Some(check.clone()),
        }
    }

    /// Whether anything can be kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.folder.is_some() && self.check.is_some()
    }

    /// What was kept; nothing where nothing can be.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub async fn read(&self) -> Result<Kept, StateError> {
        self.work(Kept::default(), |folder, check| {
            Ok(Kept {
                own: folder.read(&folder.own(check))?,
                accepted: folder.read(&folder.accepted(check))?,
            })
        })
        .await
    }

    /// Keeps `bytes` in place of what was kept. `settled` says that they hold what was accepted, which is then removed.
    ///
    /// # Errors
    /// When they cannot be kept; what was accepted stays then.
    pub async fn write(&self, bytes: Vec<u8>, settled: bool) -> Result<(), StateError> {
        self.work((), move |folder, check| {
            let dir = folder.state_dir.join(DIR);
            folder
                .disk
                .create_dir(&dir, DIR_MODE)
                .map_err(|source| StateError::Folder { dir, source })?;
            atomic_file::replace(&*folder.disk, &folder.own(check), &bytes, MODE)
                .map_err(|source| StateError::Keep { source })?;
            if settled {
                // If it stays it is taken over once more, which changes nothing.
                let _ = folder.disk.unlink(&folder.accepted(check));
            }
            Ok(())
        })
        .await
    }

    /// Digests of `members` under this node's key, and under no key (of this process alone) where there is no state folder.
    ///
    /// # Errors
    /// When the key cannot be had.
    pub async fn digests(&self, members: Vec<Vec<u8>>) -> Result<Vec<String>, StateError> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || {
            let Some(folder) = folder else {
                // A probe compares nothing and sends nothing.
                let unkeyed = |member: &Vec<u8>| to_hex(&Digest::of(member).0[..16]);
                return Ok(members.iter().map(unkeyed).collect());
            };
            let key = Pseudonyms::open(&*folder.disk, &folder.state_dir)
                .map_err(|source| StateError::Key { source })?;
            Ok(members
                .iter()
                .map(|member| to_hex(&key.member(member)))
                .collect())
        })
        .await
        .map_err(|_| StateError::Lost)?
    }

    async fn work<T: Send + 'static>(
        &self,
        without: T,
        work: impl FnOnce(&Folder, &CheckName) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (Some(folder), Some(check)) = (self.folder.clone(), self.check.clone()) else {
            return Ok(without);
        };
        tokio::task::spawn_blocking(move || work(&folder, &check))
            .await
            .map_err(|_| StateError::Lost)?
    }
}

impl Folder {
    fn own(&self, check: &CheckName) -> PathBuf {
        self.state_dir.join(DIR).join(format!("{check}.json"))
    }

    fn accepted(&self, check: &CheckName) -> PathBuf {
        self.state_dir.join(DIR).join(format!("{check}.accepted"))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StateError> {
        atomic_file::read(&*self.disk, path, STATE_LEN_MAX).map_err(|source| StateError::Read {
            path: path.to_owned(),
            source,
        })
    }
}

/// Accepts what `check` last saw. Returns those bytes; `None` if it has kept nothing yet.
///
/// May be called by root: the folder belongs to the agent's account, so nothing in it is followed that is a link, and
/// what is made is given to the folder's owner. Blocks on the disk.
///
/// # Errors
/// When the check's state cannot be read, or the acceptance not be written.
pub fn accept(state_dir: &Path, check: &CheckName) -> io::Result<Option<Vec<u8>>> {
    use rustix::fs::{AtFlags, Mode, OFlags, fchown, fsync, openat, renameat, unlinkat};

    let folder = Folder {
        disk: Arc::new(RealDisk),
        state_dir: state_dir.to_owned(),
    };
    let no_links = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(
        state_dir.join(DIR),
        OFlags::RDONLY | OFlags::DIRECTORY | no_links,
        Mode::empty(),
    ) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let file_name = |path: PathBuf| path.file_name().map(std::ffi::OsStr::to_owned);
    let (Some(own), Some(accepted)) = (
        file_name(folder.own(check)),
        file_name(folder.accepted(check)),
    ) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let bytes = match openat(&dir, &own, OFlags::RDONLY | no_links, Mode::empty()) {
        Ok(file) => {
            use io::Read as _;
            let mut bytes = Vec::new();
            std::fs::File::from(file)
                .take(STATE_LEN_MAX as u64)
                .read_to_end(&mut bytes)?;
            bytes
        }
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut temporary = accepted.clone();
    temporary.push(".tmp");
    // Left by an acceptance that was cut short.
    let _ = unlinkat(&dir, &temporary, AtFlags::empty());
    let file = openat(
        &dir,
        &temporary,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | no_links,
        Mode::RUSR | Mode::WUSR,
    )?;
    let file = std::fs::File::from(file);
    let owner = std::fs::File::from(rustix::io::dup(&dir)?).metadata()?;
    if owner.uid() != file.metadata()?.uid() {
        let (user, group) = (
            rustix::fs::Uid::from_raw(owner.uid()),
            rustix::fs::Gid::from_raw(owner.gid()),
        );
        fchown(&file, Some(user), Some(group))?;
    }
    io::Write::write_all(&mut &file, &bytes)?;
    file.sync_all()?;
    renameat(&dir, &temporary, &dir, &accepted)?;
    fsync(&dir)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn check() -> CheckName {
        "comptes".parse().unwrap()
    }

    #[tokio::test]
    async fn a_state_is_kept_for_its_check_and_an_acceptance_is_taken_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let agent = CheckState::of_agent(Arc::new(RealDisk), dir.path());
        let state = agent.of_check(&check());
        assert_eq!(state.read().await.unwrap(), Kept::default());
        assert_eq!(accept(dir.path(), &check()).unwrap(), None);

        state.write(b"first".to_vec(), false).await.unwrap();
        let other = agent.of_check(&"autre".parse().unwrap());
        assert_eq!(other.read().await.unwrap(), Kept::default());
        assert_eq!(accept(dir.path(), &check()).unwrap().unwrap(), b"first");
        let kept = state.read().await.unwrap();
        assert_eq!(kept.accepted.as_deref(), Some(&b"first"[..]));

        state.write(b"second".to_vec(), true).await.unwrap();
        let kept = state.read().await.unwrap();
        assert_eq!(
            (kept.own.as_deref(), kept.accepted),
            (Some(&b"second"[..]), None)
        );
        let mode = |name: &str| {
            let path = dir.path().join(DIR).join(name);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("comptes.json"), 0o600);
    }

    #[test]
    fn accepting_follows_no_link_that_the_agents_account_may_have_made() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("comptes.json"), b"x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(DIR)).unwrap();
        accept(dir.path(), &check()).unwrap_err();

        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        let secret = elsewhere.path().join("comptes.json");
        std::os::unix::fs::symlink(secret, dir.path().join(DIR).join("comptes.json")).unwrap();
        accept(dir.path(), &check()).unwrap_err();
    }

    #[tokio::test]
    async fn digests_are_keyed_by_the_node_and_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let agent = CheckState::of_agent(Arc::new(RealDisk), dir.path());
        let of = |state: CheckState| async move {
            state
                .digests(vec![b"root".to_vec(), b"x".to_vec()])
                .await
                .unwrap()
        };
        let first = of(agent.clone()).await;
        assert_eq!(of(agent.of_check(&check())).await, first);
        assert_ne!(first[0], first[1]);
        let other_dir = tempfile::tempdir().unwrap();
        let other = of(CheckState::of_agent(Arc::new(RealDisk), other_dir.path())).await;
        assert_ne!(other, first);
        let probe = of(CheckState::default()).await;
        assert_ne!(probe, first);
    }
}
