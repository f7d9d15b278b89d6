//! How full file systems are.
//!
//! `statvfs` on a dead network mount does not return at all: each mount has at most one thread in it, nobody waits for
//! that thread longer than [`STATVFS_PATIENCE`], and the call is not made again before it has returned. Those threads are
//! the agent's own and not the runtime's, so that a hung mount does not hold up the end of the process either.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;
use vigie_core::time::Elapsed;

use super::{LocalFiles, lock};

/// How long a caller waits for a mount that does not answer. Network file systems under load take up to a second.
const STATVFS_PATIENCE: Duration = Duration::from_secs(2);

/// Mounts that may hang at a time. A machine with more of them dead has no use for further threads.
const STATVFS_THREADS_MAX: usize = 64;

/// The stack of a thread that makes one system call, in bytes.
const STATVFS_STACK_LEN: usize = 64 * 1024;

/// What a file system said about itself.
#[derive(Debug)]
pub enum Statvfs {
    /// It answered.
    Measured(Usage),
    /// It cannot be asked.
    Failed(io::Error),
    /// It has not answered since then; the call still hangs.
    Stuck {
        /// When the call that hangs was made.
        since: Elapsed,
    },
}

/// How full a file system is (statvfs(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free, with what is reserved for root.
    pub free_bytes: u64,
    /// Free for everybody.
    pub available_bytes: u64,
    /// Inodes; 0 where the file system has no fixed number of them.
    pub total_inodes: u64,
    /// Inodes not used.
    pub free_inodes: u64,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
}

/// The system call, replaced in tests by one that hangs when told to.
pub(super) type StatvfsCall = fn(&Path) -> io::Result<Usage>;

/// The calls that have not returned yet, with the moment each was made.
pub(super) type Calls = HashMap<PathBuf, Elapsed>;

impl LocalFiles {
    /// Asks for the fill of the file system mounted at `path`, and waits so long and no longer.
    pub(super) async fn fill_of(&self, path: &Path) -> Statvfs {
        let (since, answer) = match self.start(path) {
            Ok(started) => started,
            Err(answer) => return answer,
        };
        match tokio::time::timeout(STATVFS_PATIENCE, answer).await {
            Ok(Ok(Ok(usage))) => Statvfs::Measured(usage),
            Ok(Ok(Err(error))) => Statvfs::Failed(error),
            // The thread is gone without an answer: it panicked, which its call has no reason to.
            Ok(Err(gone)) => Statvfs::Failed(io::Error::other(gone)),
            Err(_) => Statvfs::Stuck { since },
        }
    }

    /// Makes the call in a thread of its own, unless one for this mount is still on its way.
    pub(super) fn start(
        &self,
        path: &Path,
    ) -> Result<(Elapsed, oneshot::Receiver<io::Result<Usage>>), Statvfs> {
        let now = self.clock.elapsed();
        {
            let mut calls = lock(&self.calls);
            if let Some(since) = calls.get(path) {
                return Err(Statvfs::Stuck { since: *since });
            }
            if calls.len() >= STATVFS_THREADS_MAX {
                return Err(Statvfs::Failed(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "too many file systems do not answer",
                )));
            }
            calls.insert(path.to_owned(), now);
        }
        let (sender, receiver) = oneshot::channel();
        let (calls, mount, call) = (Arc::clone(&self.calls), path.to_owned(), self.statvfs);
        let spawned = std::thread::Builder::new()
            .name("statvfs".to_owned())
            .stack_size(STATVFS_STACK_LEN)
            .spawn(move || {
                let answer = call(&mount);
                lock(&calls).remove(&mount);
                // Nobody waits any more when the answer came too late; the next call asks anew.
                let _ = sender.send(answer);
            });
        match spawned {
            Ok(_) => Ok((now, receiver)),
            Err(error) => {
                lock(&self.calls).remove(path);
                Err(Statvfs::Failed(error))
            }
        }
    }
}

pub(super) fn system_statvfs(path: &Path) -> io::Result<Usage> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Usage {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_bytes: found.f_bfree.saturating_mul(found.f_frsize),
        available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_inodes: found.f_files,
        free_inodes: found.f_ffree,
        is_read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}
