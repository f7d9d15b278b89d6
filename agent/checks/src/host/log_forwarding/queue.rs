//! rsyslog's disk queues: files `<name>.<eight digits>` in its working folder, filled while what they are for cannot be
//! handed on.

use std::{io, path::Path, str::FromStr};

use vigie_core::time::Wall;
use vigie_machine::Context;

use crate::host::daemon::is_missing;

/// The working folders of the Debian and the RHEL family.
const FOLDERS: [&str; 2] = ["var/spool/rsyslog", "var/lib/rsyslog"];

/// A queue file is 1 MB by default.
const FILES_MAX: usize = 64 * 1024;

/// What waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) bytes: u64,
    /// When the oldest file was last written to: what is in it is older.
    pub(super) oldest: Option<Wall>,
}

/// A size as settings write it: a whole number and `B`, `kB`, `MB` or `GB`, in powers of 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(u64);

/// The text is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a size")]
pub(super) struct NotASize;

impl Size {
    pub(super) const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        const UNITS: [(&str, u64); 4] = [
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("B", 1),
        ];
        UNITS
            .iter()
            .find_map(|(unit, bytes)| {
                let digits = text.strip_suffix(unit)?;
                let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                let number: u64 = digits.parse().ok().filter(|_| is_number)?;
                number.checked_mul(*bytes).map(Self)
            })
            .ok_or(NotASize)
    }
}

/// Looks at all queues together.
pub(super) async fn look(context: &Context, root: &Path) -> io::Result<Queue> {
    let mut queue = Queue::default();
    let mut is_there = false;
    for folder in FOLDERS {
        let listed = context.files.list(&root.join(folder), FILES_MAX).await;
        if is_missing(&listed) {
            continue;
        }
        is_there = true;
        for file in listed? {
            if !file.stamp.is_file || !file.name.to_str().is_some_and(is_queue_file) {
                continue;
            }
            queue.bytes = queue.bytes.saturating_add(file.stamp.len_bytes);
            let at = file.stamp.modified;
            queue.oldest = Some(queue.oldest.map_or(at, |oldest| oldest.min(at)));
        }
    }
    if is_there {
        Ok(queue)
    } else {
        Err(io::Error::from_raw_os_error(
            rustix::io::Errno::NOENT.raw_os_error(),
        ))
    }
}

fn is_queue_file(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, digits)| {
        !stem.is_empty() && digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_files_and_sizes_are_told_from_others() {
        assert!(is_queue_file("forward.00000001"));
        for other in [
            "forward.qi",
            "imjournal.state",
            "imfile-state:12345678",
            ".00000001",
            "a.0000001",
        ] {
            assert!(!is_queue_file(other), "{other}");
        }
        let table = [
            ("100MB", Some(100_000_000)),
            ("2GB", Some(2_000_000_000)),
            ("500kB", Some(500_000)),
            ("7B", Some(7)),
            ("7", None),
            ("MB", None),
            ("-1MB", None),
            ("1MiB", None),
            ("99999999999999999999GB", None),
            ("18446744073709551615GB", None),
        ];
        for (text, bytes) in table {
            assert_eq!(text.parse::<Size>().ok().map(Size::bytes), bytes, "{text}");
        }
    }
}
