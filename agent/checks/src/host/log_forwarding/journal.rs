//! The journal's files: where they stand, when they were last written, how far they reach back.
//!
//! The first entry's time stands in the head of each file (systemd's JOURNAL_FILE_FORMAT, "Header") and in the name of each
//! archived one (`system@<sequence>-<number>-<microseconds>.journal`, hexadecimal). The heads can be read by the group
//! `systemd-journal` only, the names by everybody; either will do.

use std::path::Path;

use vigie_core::time::Wall;
use vigie_machine::Context;

/// Where journald keeps what should survive, and what need not.
const FOLDERS: [(Storage, &str); 2] = [
    (Storage::Persistent, "var/log/journal"),
    (Storage::Volatile, "run/log/journal"),
];

const MACHINE_ID: &str = "etc/machine-id";
const MACHINE_ID_LEN: usize = 32;

/// The journal of the system's services, as it is being written.
const ACTIVE: &str = "system.journal";

/// Files of one journal: journald keeps 100 of each user and of the system.
const FILES_MAX: usize = 16 * 1024;

const SIGNATURE: &[u8] = b"LPKSHHRH";
const HEAD_ENTRY_SEQUENCE_AT: usize = 168;
const HEAD_ENTRY_REALTIME_AT: usize = 184;
const HEAD_LEN: usize = 192;

/// Whether a journal survives a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// On disk.
    Persistent,
    /// In memory.
    Volatile,
}

/// What is known of the journal of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) storage: Storage,
    pub(super) written: Wall,
    pub(super) oldest: Option<Wall>,
    /// Whether the oldest entry is the first that was ever written.
    pub(super) is_whole: bool,
}

/// The first entry of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct First {
    realtime: Wall,
    /// Counted from 1 over all files of one sequence.
    number: u64,
}

impl Storage {
    /// Its word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Volatile => "volatile",
        }
    }
}

/// Looks for the journal that is being written: the persistent one where there is one.
pub(super) async fn look(context: &Context, root: &Path) -> Option<Journal> {
    let id = context
        .files
        .read_start(&root.join(MACHINE_ID), MACHINE_ID_LEN)
        .await
        .ok()?;
    let id = String::from_utf8(id).ok()?;
    let is_id = id.len() == MACHINE_ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return None;
    }
    for (storage, folder) in FOLDERS {
        let folder = root.join(folder).join(&id);
        let Ok(listed) = context.files.list(&folder, FILES_MAX).await else {
            continue;
        };
        let files: Vec<(&str, Wall)> = listed
            .iter()
            .filter_map(|file| Some((file.name.to_str()?, file.stamp.modified)))
            .filter(|(name, _)| name.ends_with(".journal"))
            .collect();
        let Some(written) = files.iter().map(|(_, at)| *at).max() else {
            continue;
        };
        let head = context
            .files
            .read_start(&folder.join(ACTIVE), HEAD_LEN)
            .await;
        let first = files
            .iter()
            .filter_map(|(name, _)| first_by_name(name))
            .chain(head.ok().as_deref().and_then(first_by_head))
            .min_by_key(|first| first.realtime);
        return Some(Journal {
            storage,
            written,
            oldest: first.map(|first| first.realtime),
            is_whole: first.is_some_and(|first| first.number <= 1),
        });
    }
    None
}

fn first_by_name(name: &str) -> Option<First> {
    let parts = name.strip_prefix("system@")?.strip_suffix(".journal")?;
    let mut parts = parts.split('-');
    let (_sequence, number, realtime) = (parts.next()?, parts.next()?, parts.next()?);
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
    Some(First {
        realtime: as_wall(hexadecimal(realtime)?)?,
        number: hexadecimal(number)?,
    })
}

fn first_by_head(head: &[u8]) -> Option<First> {
    let number_at = |at: usize| {
        let bytes = head.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    head.starts_with(SIGNATURE).then_some(())?;
    Some(First {
        realtime: as_wall(number_at(HEAD_ENTRY_REALTIME_AT)?)?,
        number: number_at(HEAD_ENTRY_SEQUENCE_AT)?,
    })
}

/// Microseconds since 1970; 0 stands for no entry.
fn as_wall(microseconds: u64) -> Option<Wall> {
    (microseconds > 0).then_some(())?;
    i64::try_from(microseconds / 1_000).ok().map(Wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_stands_in_names_and_heads() {
        let name =
            "system@0005f8a1b2c3d4e5f60718293a4b5c6d-00000000000004d2-00060df6a2c4e5a0.journal";
        let first = first_by_name(name);
        assert_eq!(first.map(|first| first.number), Some(1_234));
        assert_eq!(
            first.map(|first| first.realtime),
            Some(Wall(0x0006_0df6_a2c4_e5a0 / 1_000))
        );
        for other in [
            "system.journal",
            "user-1000@0005-01-00060df6a2c4e5a0.journal",
            "system@0005f8a1b2c3d4e5-0006.journal~",
            "system@a-b.journal",
            "system@a-1-0.journal",
        ] {
            assert_eq!(first_by_name(other), None, "{other}");
        }
        let mut head = [0; HEAD_LEN];
        assert_eq!(first_by_head(&head), None);
        head[..8].copy_from_slice(SIGNATURE);
        assert_eq!(first_by_head(&head), None, "no entry yet");
        head[168] = 7;
        head[184..192].copy_from_slice(&1_700_000_000_000_000_u64.to_le_bytes());
        let first = First {
            realtime: Wall(1_700_000_000_000),
            number: 7,
        };
        assert_eq!(first_by_head(&head), Some(first));
        assert_eq!(first_by_head(&head[..190]), None);
    }
}
