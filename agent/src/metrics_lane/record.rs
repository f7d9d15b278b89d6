//! One cycle's samples on their way to a destination: what spools keep, tasks send and a quarantine shows.

use bytes::Bytes;
use serde::Serialize;
use vigie_core::time::Wall;

/// One cycle's samples, encoded and compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number in this destination's spool; rises by one.
    pub id: u64,
    /// When its samples were taken.
    pub at: Wall,
    /// A snappy block.
    pub body: Bytes,
}

/// Why a record went unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The spool had reached its size.
    Bytes,
    /// It was too old.
    Age,
    /// The file system was nearly full.
    DiskFree,
    /// It could not be read back.
    Damage,
    /// The destination does not take it.
    Refused,
    /// The disk did not take it, and the memory for such records was full.
    Memory,
    /// Its destination is not in the settings any more.
    Removed,
}

impl Reason {
    /// As the label `reason` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::DiskFree => "disk_free",
            Self::Damage => "damage",
            Self::Refused => "refused",
            Self::Memory => "memory",
            Self::Removed => "removed",
        }
    }
}
