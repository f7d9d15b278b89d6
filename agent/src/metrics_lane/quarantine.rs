//! Bodies that a destination refused, for somebody to look at: the newest few, and never much of them.
//!
//! A file is the snappy block as it was sent, named `<record>-<time of its samples in ms>.snappy`. Nothing ever reads
//! one back. Failing to keep one changes nothing else: it is counted as refused all the same.

use std::{io, path::Path, path::PathBuf};

use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::Disk,
};

use super::record::Record;

/// Bodies kept: enough to see what they have in common.
const FILES_MAX: usize = 8;

/// And their bytes.
const BYTES_MAX: u64 = 1024 * 1024;

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why a refused body was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// The directory cannot be used.
    #[error("cannot use quarantine directory {dir}")]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot quarantine a refused body")]
    Write(#[source] ReplaceError),
}

/// Keeps `record` in `dir`; the oldest go.
pub(super) fn keep(disk: &dyn Disk, dir: &Path, record: &Record) -> Result<(), KeepError> {
    let unusable = |source| KeepError::Dir {
        dir: dir.to_owned(),
        source,
    };
    disk.create_dir(dir, DIR_MODE).map_err(unusable)?;
    let name = format!("{:020}-{}.snappy", record.id, record.at.0);
    let mut files = Vec::new();
    let mut bytes = record.body.len() as u64;
    for name in disk.list(dir).map_err(unusable)? {
        let path = dir.join(name);
        let len = disk.open(&path).and_then(|file| file.len()).unwrap_or(0);
        bytes += len;
        files.push((path, len));
    }
    // Sorted by name, and so by number.
    let mut kept = files.len() + 1;
    for (path, len) in files {
        if kept <= FILES_MAX && bytes <= BYTES_MAX {
            break;
        }
        disk.unlink(&path).map_err(unusable)?;
        kept -= 1;
        bytes -= len;
    }
    atomic_file::replace(disk, &dir.join(name), &record.body, FILE_MODE).map_err(KeepError::Write)
}

/// Removes all of it.
pub(super) fn clear(disk: &dyn Disk, dir: &Path) {
    for name in disk.list(dir).unwrap_or_default() {
        let _ = disk.unlink(&dir.join(name));
    }
    let _ = disk.remove_dir(dir);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use vigie_core::time::Wall;
    use vigie_platform::disk::FaultyDisk;

    use super::*;

    fn record(id: u64, len: usize) -> Record {
        Record {
            id,
            at: Wall(1_000 * id as i64),
            body: Bytes::from(vec![7; len]),
        }
    }

    #[test]
    fn the_newest_eight_are_kept_and_never_more_than_a_mebibyte() {
        let disk = FaultyDisk::new(1, 64 * 1024 * 1024);
        let dir = Path::new("/state/metrics/quarantine");
        for id in 1..=11 {
            keep(&disk, dir, &record(id, 100)).unwrap();
        }
        let names = disk.list(dir).unwrap();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], "00000000000000000004-4000.snappy");
        for id in 12..=14 {
            keep(&disk, dir, &record(id, 500 * 1024)).unwrap();
        }
        let names = disk.list(dir).unwrap();
        assert_eq!(names.len(), 2, "{names:?}");
        clear(&disk, dir);
        assert!(disk.files().is_empty());
    }
}
