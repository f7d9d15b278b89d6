//! Small files and the fill of file systems, read off the runtime.
//!
//! A read holds one of [`READS_MAX`] permits until its system calls return, also when nobody waits for it any more.
//! `statvfs` on a dead network mount does not return at all: each mount has at most one thread in it, nobody waits for
//! that thread longer than [`STATVFS_PATIENCE`], and the call is not made again before it has returned. Those threads are
//! the agent's own and not the runtime's, so that a hung mount does not hold up the end of the process either.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};
use vigie_core::time::Elapsed;
use vigie_platform::clock::Clock;

use super::Answer;

/// Reads at a time. Files of /proc take microseconds; more threads would only cost memory.
const READS_MAX: usize = 4;

/// How long a caller waits for a mount that does not answer. Network file systems under load take up to a second.
const STATVFS_PATIENCE: Duration = Duration::from_secs(2);

/// Mounts that may hang at a time. A machine with more of them dead has no use for further threads.
const STATVFS_THREADS_MAX: usize = 64;

/// The stack of a thread that makes one system call, in bytes.
const STATVFS_STACK_LEN: usize = 64 * 1024;

/// Reads of the machine's files.
pub trait Files: Send + Sync {
    /// The whole content of a file of at most `max_bytes`.
    ///
    /// A longer file is an error of kind [`io::ErrorKind::FileTooLarge`]; what was read of it is thrown away.
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>>;

    /// How full the file system mounted at `path` is.
    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs>;
}

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
type StatvfsCall = fn(&Path) -> io::Result<Usage>;

/// Opens the files of this machine directly.
pub struct LocalFiles {
    reads: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    calls: Arc<Mutex<Calls>>,
    statvfs: StatvfsCall,
}

/// The calls that have not returned yet, with the moment each was made.
type Calls = HashMap<PathBuf, Elapsed>;

impl LocalFiles {
    /// Files of this machine.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(READS_MAX)),
            clock,
            calls: Arc::default(),
            statvfs: system_statvfs,
        }
    }

    /// Makes the call in a thread of its own, unless one for this mount is still on its way.
    fn start(
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

impl Files for LocalFiles {
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        let path = path.to_owned();
        Box::pin(async move {
            let permit = Arc::clone(&self.reads)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            tokio::task::spawn_blocking(move || {
                let content = read_bounded(&path, max_bytes);
                drop(permit);
                content
            })
            .await
            .map_err(io::Error::other)?
        })
    }

    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs> {
        Box::pin(async move {
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
        })
    }
}

fn read_bounded(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut content = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut content)?;
    if content.len() > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

fn system_statvfs(path: &Path) -> io::Result<Usage> {
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

fn lock(calls: &Mutex<Calls>) -> std::sync::MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    };

    use vigie_platform::clock::SystemClock;

    use super::*;

    fn files() -> LocalFiles {
        LocalFiles::new(Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn a_file_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stat");
        std::fs::write(&path, b"12345678").unwrap();
        let files = files();
        assert_eq!(files.read(&path, 8).await.unwrap(), b"12345678");
        let too_long = files.read(&path, 7).await.unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
        let missing = files.read(&dir.path().join("none"), 8).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(
            !files
                .read(Path::new("/proc/stat"), 1 << 20)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_file_system_tells_its_fill() {
        let files = files();
        let Statvfs::Measured(root) = files.statvfs(Path::new("/")).await else {
            panic!("the root file system did not answer");
        };
        assert!(root.total_bytes > 0 && root.available_bytes <= root.free_bytes);
        assert!(matches!(
            files.statvfs(Path::new("/no/such/mount")).await,
            Statvfs::Failed(error) if error.kind() == io::ErrorKind::NotFound
        ));
    }

    static HUNG_CALLS: AtomicUsize = AtomicUsize::new(0);
    static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn hangs_until_released(_: &Path) -> io::Result<Usage> {
        HUNG_CALLS.fetch_add(1, Ordering::SeqCst);
        let (released, signal) = &RELEASED;
        drop(signal.wait_while(released.lock().unwrap(), |released| !*released));
        Err(io::ErrorKind::StaleNetworkFileHandle.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_mount_holds_one_thread_and_is_not_asked_again_until_it_answered() {
        let files = LocalFiles {
            statvfs: hangs_until_released,
            ..files()
        };
        let mount = Path::new("/mnt/dead");
        let Statvfs::Stuck { since } = files.statvfs(mount).await else {
            panic!("the mount hangs");
        };
        for _ in 0..3 {
            let again = files.statvfs(mount).await;
            assert!(matches!(again, Statvfs::Stuck { since: s } if s == since));
        }
        // The runtime's time runs ahead of the thread.
        while HUNG_CALLS.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(HUNG_CALLS.load(Ordering::SeqCst), 1);

        *RELEASED.0.lock().unwrap() = true;
        RELEASED.1.notify_all();
        while !lock(&files.calls).is_empty() {
            tokio::task::yield_now().await;
        }
        let (_, answer) = files
            .start(mount)
            .expect("once it returned it is asked again");
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
        assert_eq!(HUNG_CALLS.load(Ordering::SeqCst), 2);
    }
}
