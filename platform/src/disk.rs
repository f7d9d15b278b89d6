//! The file operations durable storage is built on, and no others, so that a test can put a hostile disk in their place.
//!
//! [`RealDisk`] is the machine's; `FaultyDisk` (for tests, feature `faulty-disk`) loses power, tears writes, fills up
//! and fails to sync. Callers must assume the weaker of the two:
//!
//! - What was written is durable only after [`File::sync`] returned `Ok`; a name only after [`Disk::sync_dir`] did.
//! - After a failed [`File::sync`] the written pages may be gone although reading still shows them (Linux marks them
//!   clean). Syncing again and getting `Ok` proves nothing: what is still wanted must be written again.
//!
//! All calls block; asynchronous callers go through a blocking thread. Paths are never logged here.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

#[cfg(any(test, feature = "faulty-disk"))]
mod faulty;

#[cfg(any(test, feature = "faulty-disk"))]
pub use faulty::{Fault, FaultyDisk};

/// Zeros written at a time where the file system cannot preallocate.
const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Directory operations, and the way to [`File`]s.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory and its parents with `mode`; fine if it exists.
    ///
    /// # Errors
    /// What the system said.
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the system said.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file that must not exist yet, open for reading and writing.
    ///
    /// # Errors
    /// What the system said; `AlreadyExists` if it exists.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>>;

    /// Opens an existing file for reading and writing, or for reading only where the disk is read-only.
    ///
    /// # Errors
    /// What the system said; `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Gives a file another name, replacing what bore it.
    ///
    /// # Errors
    /// What the system said.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system said.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory that are UTF-8, sorted; the others are none of ours.
    ///
    /// # Errors
    /// What the system said.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the directory's names durable.
    ///
    /// # Errors
    /// What the system said.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes an unprivileged writer can still allocate beside `path`.
    ///
    /// # Errors
    /// What the system said.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Bytes of the whole file system that `path` is on.
    ///
    /// # Errors
    /// What the system said.
    fn size_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// One open file. Positions are always given; there is no cursor to get wrong.
#[expect(
    clippy::len_without_is_empty,
    reason = "a length in bytes that costs a system call, not a collection"
)]
pub trait File: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system said.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to `buf.len()` bytes at `offset`, fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system said.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// What the system said.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all written bytes and the length durable (fdatasync).
    ///
    /// # Errors
    /// What the system said. See the module on what an error means.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or lengthens it with a hole.
    ///
    /// # Errors
    /// What the system said.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Allocates space for the first `len` bytes, so that writing there cannot fail for want of it. New bytes are
    /// zero; the length becomes at least `len`.
    ///
    /// # Errors
    /// What the system said.
    fn preallocate(&self, len: u64) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let writable = fs::OpenOptions::new().read(true).write(true).open(path);
        let file = match writable {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                fs::File::open(path)?
            }
            other => other?,
        };
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = statvfs(path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // ZFS, NFS before 4.2 and others cannot; writing zeros is the closest there is.
            Err(Errno::OPNOTSUPP) => {
                let mut at = self.len()?;
                while at < len {
                    let chunk =
                        usize::try_from(len - at).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
                    self.write_at(&ZEROS[..chunk], at)?;
                    at += chunk as u64;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_real_file_is_preallocated_written_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("a/b");
        RealDisk.create_dir(&sub, 0o700).unwrap();
        RealDisk.create_dir(&sub, 0o700).unwrap();
        let path = sub.join("x");
        let file = RealDisk.create(&path, 0o600).unwrap();
        file.preallocate(10_000).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        file.write_at(b"hello", 100).unwrap();
        file.sync().unwrap();
        RealDisk.sync_dir(&sub).unwrap();
        let mut buf = [1; 8];
        assert_eq!(file.read_at(&mut buf, 99).unwrap(), 8);
        assert_eq!(&buf, b"\0hello\0\0");
        assert_eq!(file.read_at(&mut buf, 9_999).unwrap(), 1);
        assert_eq!(RealDisk.list(&sub).unwrap(), ["x"]);
        assert_eq!(
            RealDisk.create(&path, 0o600).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let free_bytes = RealDisk.free_bytes(&sub).unwrap();
        assert!(free_bytes > 0 && free_bytes <= RealDisk.size_bytes(&sub).unwrap());
    }
}
