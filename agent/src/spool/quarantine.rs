//! Lines that the collector refused, kept for somebody to look at: the newest few.

use std::{io, path::PathBuf};

use vigie_platform::{
    append_log::ReadError,
    atomic_file::{self, ReplaceError},
};

use super::{DIR_MODE, Spool};

/// Only the agent reads its lines.
const FILE_MODE: u32 = 0o600;

/// Why a refused line was not set aside.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The spool does not have it (any more).
    #[error("line {seq} is not in the spool")]
    NotHere {
        /// Its number.
        seq: u64,
    },
    /// It could not be read.
    #[error("cannot read line {seq} to quarantine it")]
    Read {
        /// Its number.
        seq: u64,
        /// What failed.
        #[source]
        source: ReadError,
    },
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
    #[error("cannot quarantine line {seq}")]
    Write {
        /// Its number.
        seq: u64,
        /// What failed.
        #[source]
        source: ReplaceError,
    },
}

impl Spool {
    /// Keeps a copy of a line the collector refused, before it is acknowledged away. Doing it twice changes nothing.
    ///
    /// # Errors
    /// When the line is gone or the copy could not be written.
    pub fn quarantine(&mut self, seq: u64) -> Result<(), QuarantineError> {
        let line = self
            .line(seq)
            .map_err(|source| QuarantineError::Read { seq, source })?
            .ok_or(QuarantineError::NotHere { seq })?;
        let dir = self.dir.join("quarantine");
        let unusable = |source| QuarantineError::Dir {
            dir: dir.clone(),
            source,
        };
        self.disk.create_dir(&dir, DIR_MODE).map_err(unusable)?;
        let name = format!("{seq:020}-{}", line.sha256);
        let mut names = self.disk.list(&dir).map_err(unusable)?;
        names.retain(|other| *other != name);
        let kept = self.limits.quarantine_files_max.saturating_sub(1);
        for old in names.iter().take(names.len().saturating_sub(kept)) {
            self.disk.unlink(&dir.join(old)).map_err(unusable)?;
        }
        atomic_file::replace(&*self.disk, &dir.join(name), &line.bytes, FILE_MODE)
            .map_err(|source| QuarantineError::Write { seq, source })
    }
}
