//! Files and the fill of file systems, read off the runtime.
//!
//! Small files are read whole. Great ones (a package list of 50 MB) are walked line by line ([`walk`]). Reads that hang hold
//! up nobody else ([`hanging`]), nor do mounts that do not say how full they are ([`fill`]). The kernel's own counters are
//! read where the caller stands ([`COUNTERS`]).

use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;
use vigie_core::time::Wall;
use vigie_platform::clock::Clock;

use self::{
    fill::{Calls, StatvfsCall, system_statvfs},
    hanging::{Hanging, READS_MAX},
};
use crate::Answer;

mod fill;
mod hanging;
#[cfg(test)]
mod tests;
mod walk;

pub use self::{
    fill::{Statvfs, Usage},
    walk::{EachLine, Encoding, Walk},
};

/// What the kernel writes from its own counters, without a disk, a lock of a file system or another process to wait for.
/// Reading these takes less than handing the read to another thread.
const COUNTERS: [&str; 4] = [
    "/proc/stat",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/net/dev",
];

/// Reads of the machine's files.
pub trait Files: Send + Sync {
    /// The whole content of a file of at most `max_bytes`.
    ///
    /// A longer file is an error of kind [`io::ErrorKind::FileTooLarge`]; what was read of it is thrown away.
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>>;

    /// The first `len` bytes of a file, fewer where it is shorter.
    fn read_start<'a>(&'a self, path: &'a Path, len: usize) -> Answer<'a, io::Result<Vec<u8>>>;

    /// What stat(2) says of the file that `path` leads to.
    fn stamp<'a>(&'a self, path: &'a Path) -> Answer<'a, io::Result<Stamp>>;

    /// What stands in a directory, in no order; links are told as links. Entries that vanish meanwhile are left out.
    ///
    /// More than `entries_max` of them is an error of kind [`io::ErrorKind::FileTooLarge`].
    fn list<'a>(
        &'a self,
        path: &'a Path,
        entries_max: usize,
    ) -> Answer<'a, io::Result<Vec<Listed>>>;

    /// Gives every line of a file to `each`, without its line feed, until one breaks or the file ends.
    ///
    /// Dropping the future ends the walk at the next line; `each` may be called once more meanwhile.
    fn walk_lines<'a>(
        &'a self,
        path: &'a Path,
        walk: Walk,
        each: EachLine,
    ) -> Answer<'a, io::Result<()>>;

    /// How full the file system mounted at `path` is.
    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs>;
}

/// What stat(2) says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Its length in bytes.
    pub len_bytes: u64,
    /// When its content was last written (mtime).
    pub modified: Wall,
    /// When its content, name or rights were last changed (ctime), which nobody can set.
    pub changed: Wall,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without the directory.
    pub name: OsString,
    /// What lstat(2) says of it.
    pub stamp: Stamp,
}

/// Opens the files of this machine directly.
pub struct LocalFiles {
    reads: Arc<Semaphore>,
    hanging: Arc<Mutex<Hanging>>,
    clock: Arc<dyn Clock>,
    calls: Arc<Mutex<Calls>>,
    statvfs: StatvfsCall,
}

impl LocalFiles {
    /// Files of this machine.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(READS_MAX)),
            hanging: Arc::default(),
            clock,
            calls: Arc::default(),
            statvfs: system_statvfs,
        }
    }
}

impl Files for LocalFiles {
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        if COUNTERS.iter().any(|counters| path == Path::new(counters)) {
            return Box::pin(async move { read_bounded(path, max_bytes) });
        }
        self.off_the_runtime(path, move |path| read_bounded(path, max_bytes))
    }

    fn read_start<'a>(&'a self, path: &'a Path, len: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        self.off_the_runtime(path, move |path| {
            let mut content = Vec::new();
            let limit = u64::try_from(len).unwrap_or(u64::MAX);
            File::open(path)?.take(limit).read_to_end(&mut content)?;
            Ok(content)
        })
    }

    fn stamp<'a>(&'a self, path: &'a Path) -> Answer<'a, io::Result<Stamp>> {
        self.off_the_runtime(path, |path| Ok(Stamp::of(&fs::metadata(path)?)))
    }

    fn list<'a>(
        &'a self,
        path: &'a Path,
        entries_max: usize,
    ) -> Answer<'a, io::Result<Vec<Listed>>> {
        self.off_the_runtime(path, move |path| list(path, entries_max))
    }

    fn walk_lines<'a>(
        &'a self,
        path: &'a Path,
        walk: Walk,
        each: EachLine,
    ) -> Answer<'a, io::Result<()>> {
        self.walk_off_the_runtime(path, walk, each)
    }

    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs> {
        Box::pin(self.fill_of(path))
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

impl Stamp {
    fn of(found: &Metadata) -> Self {
        let wall = |seconds: i64, nanoseconds: i64| {
            Wall(
                seconds
                    .saturating_mul(1_000)
                    .saturating_add(nanoseconds / 1_000_000),
            )
        };
        Self {
            len_bytes: found.len(),
            modified: wall(found.mtime(), found.mtime_nsec()),
            changed: wall(found.ctime(), found.ctime_nsec()),
            is_dir: found.is_dir(),
            is_file: found.is_file(),
        }
    }
}

fn list(path: &Path, entries_max: usize) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let stamp = match entry.metadata() {
            Ok(found) => Stamp::of(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if listed.len() == entries_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        listed.push(Listed {
            name: entry.file_name(),
            stamp,
        });
    }
    Ok(listed)
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
