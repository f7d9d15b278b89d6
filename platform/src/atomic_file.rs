//! Replaces a small file as a whole: after any crash it holds the old bytes or the new ones, never a mixture.
//!
//! Temporary file, fsync, rename, fsync of the directory, in that order. The temporary name is fixed
//! (`.<name>.tmp`), so a crash leaves at most one behind and the next write clears it; therefore two writers must not
//! replace the same file at once.
//!
//! On a full disk the old file stands and the error says so. This needs free space: state that must still be written
//! on a full disk belongs in a [`crate::slot_file`].

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// Why a file was not replaced. Unless `step` is [`Step::SyncDir`] the old content stands; then either may.
#[derive(Debug, thiserror::Error)]
#[error("cannot replace {path}: {step} failed")]
pub struct ReplaceError {
    /// The file that was to be replaced.
    pub path: PathBuf,
    /// What failed.
    pub step: Step,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The steps of a replacement, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Making the temporary file.
    Create,
    /// Writing it.
    Write,
    /// Making its bytes durable.
    Sync,
    /// Giving it the final name.
    Rename,
    /// Making the name durable.
    SyncDir,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "creating the temporary file",
            Self::Write => "writing the temporary file",
            Self::Sync => "syncing the temporary file",
            Self::Rename => "renaming the temporary file",
            Self::SyncDir => "syncing the directory",
        })
    }
}

/// Makes `path` hold exactly `bytes`, durably, with `mode`.
///
/// # Errors
/// When a step fails; see [`ReplaceError`] for what then stands in the file.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> Result<(), ReplaceError> {
    let failed = |step: Step| {
        move |source: io::Error| ReplaceError {
            path: path.to_path_buf(),
            step,
            source,
        }
    };
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(Step::Create)(io::ErrorKind::InvalidInput.into()));
    };
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(".tmp");
    let temporary = dir.join(temporary_name);

    let file = match disk.create(&temporary, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk
            .unlink(&temporary)
            .and_then(|()| disk.create(&temporary, mode)),
        other => other,
    }
    .map_err(failed(Step::Create))?;
    let written = file
        .write_at(bytes, 0)
        .map_err(failed(Step::Write))
        .and_then(|()| file.sync().map_err(failed(Step::Sync)))
        .and_then(|()| disk.rename(&temporary, path).map_err(failed(Step::Rename)));
    if let Err(error) = written {
        // Best effort: gives the space back. What is left is cleared by the next replacement.
        let _ = disk.unlink(&temporary);
        return Err(error);
    }
    disk.sync_dir(dir).map_err(failed(Step::SyncDir))
}

/// Reads a file of at most `len_max` bytes whole; `None` if there is none.
///
/// # Errors
/// What the system said; `FileTooLarge` if it is longer.
pub fn read(disk: &dyn Disk, path: &Path, len_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::disk::{FaultyDisk, RealDisk};

    const PATH: &str = "/d/state";

    fn disk_with_old(seed: u64) -> FaultyDisk {
        let disk = FaultyDisk::new(seed, 1 << 20);
        disk.create_dir(Path::new("/d"), 0o700).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        replace(&disk, Path::new(PATH), b"old", 0o600).unwrap();
        disk
    }

    #[test]
    fn power_loss_at_any_step_leaves_the_old_bytes_or_the_new() {
        for seed in 0..100 {
            for changes in 0..8 {
                let disk = disk_with_old(seed);
                disk.fail_power_after(changes);
                let replaced = replace(&disk, Path::new(PATH), b"newer", 0o600);
                disk.cut_power();
                let found = read(&disk, Path::new(PATH), 100).unwrap().unwrap();
                if replaced.is_ok() {
                    assert_eq!(found, b"newer");
                } else {
                    assert!(found == b"old" || found == b"newer", "{found:?}");
                }
                replace(&disk, Path::new(PATH), b"last", 0o600).unwrap();
                assert_eq!(disk.content(Path::new(PATH)).unwrap(), b"last");
            }
        }
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_no_temporary_one() {
        let disk = disk_with_old(1);
        disk.set_capacity(0);
        let error = replace(&disk, Path::new(PATH), b"newer", 0o600).unwrap_err();
        assert_eq!(error.step, Step::Write);
        assert_eq!(disk.content(Path::new(PATH)).unwrap(), b"old");
        assert_eq!(disk.list(Path::new("/d")).unwrap(), ["state"]);
    }

    #[test]
    fn reading_is_bounded_and_a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(read(&RealDisk, &path, 3).unwrap().is_none());
        replace(&RealDisk, &path, b"abcd", 0o600).unwrap();
        assert_eq!(
            read(&RealDisk, &path, 3).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(read(&RealDisk, &path, 4).unwrap().unwrap(), b"abcd");
    }
}
