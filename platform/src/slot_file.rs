//! A tiny value that is overwritten often and must be writable on a full disk: two slots, written in turn.
//!
//! ```text
//! offset     0  one frame (seq = number of the write, payload = the value), zeros
//! offset  4096  the same
//! ```
//! The file is allocated when it is made, so a later write needs no space, no new name and one fdatasync. A write
//! goes to the slot that does not hold the last value known to be durable; whatever becomes of it, that value stays
//! readable. The slots lie in different pages and sectors, so a torn write cannot hit both.
//!
//! Opening never fails because of what the file holds: a damaged file reads as "no value" and says so. After a crash
//! during a write the value is the one before or the one written.

use std::io;
use std::path::{Path, PathBuf};

use vigie_core::frame::{self, Encoding, HEADER_LEN, Item};

use crate::disk::{Disk, File};

/// Bytes of one slot: a page, and at least a sector on every disk there is.
const SLOT_LEN: usize = 4096;

/// The longest value.
pub const VALUE_LEN_MAX: usize = SLOT_LEN - HEADER_LEN;

/// Only the owner reads and writes the file.
const MODE: u32 = 0o600;

/// The open file and its last durable value.
#[derive(Debug)]
pub struct SlotFile {
    path: PathBuf,
    file: Box<dyn File>,
    /// Number of the newest write, durable or not.
    writes: u64,
    /// The slot that holds the last value known to be durable.
    durable_slot: u64,
}

/// What opening found in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There was no value: the file is new, or a crash came before its first value.
    Nothing,
    /// The newest value.
    Value(Vec<u8>),
    /// The file holds bytes, and neither slot is intact.
    Damaged,
}

/// Why a slot file could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} slot file {path}")]
pub struct SlotError {
    /// `open` or `write`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl SlotFile {
    /// Opens the file, or makes and allocates it. The directory must exist.
    ///
    /// The value found is written once more, in its place: after a failed sync and a restart of the process the page
    /// cache may show a value that the disk does not have. The other slot is not touched before that has succeeded,
    /// for it may be the only one the disk has.
    ///
    /// # Errors
    /// When the file can be neither opened nor made, or the value cannot be made durable again.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<(Self, Found), SlotError> {
        let failed = |source| SlotError {
            action: "open",
            path: path.to_path_buf(),
            source,
        };
        let (file, content) = open_or_create(disk, path).map_err(failed)?;
        let newest = (0..2)
            .filter_map(|slot| Some((slot, read_slot(&content, slot)?)))
            .max_by_key(|(_, (writes, _))| *writes);
        let mut slots = Self {
            path: path.to_path_buf(),
            file,
            writes: 0,
            durable_slot: 1,
        };
        let found = match newest {
            Some((slot, (writes, value))) => {
                slots.writes = writes;
                slots.write_slot(slot, &value).map_err(failed)?;
                slots.durable_slot = slot;
                Found::Value(value)
            }
            None if content.iter().any(|&byte| byte != 0) => Found::Damaged,
            None => Found::Nothing,
        };
        Ok((slots, found))
    }

    /// The newest value, without touching the file: for a disk that cannot be written.
    #[must_use]
    pub fn peek(disk: &dyn Disk, path: &Path) -> Option<Vec<u8>> {
        let content = read_content(&*disk.open(path).ok()?).ok()?;
        (0..2)
            .filter_map(|slot| read_slot(&content, slot))
            .max_by_key(|(writes, _)| *writes)
            .map(|(_, value)| value)
    }

    /// Makes `value`, of at most [`VALUE_LEN_MAX`] bytes, the durable one.
    ///
    /// # Errors
    /// When it could not be written and synced; then the value after a crash is this one or the last durable one.
    pub fn write(&mut self, value: &[u8]) -> Result<(), SlotError> {
        let slot = 1 - self.durable_slot;
        self.writes += 1;
        self.write_slot(slot, value).map_err(|source| SlotError {
            action: "write",
            path: self.path.clone(),
            source,
        })?;
        self.durable_slot = slot;
        Ok(())
    }

    fn write_slot(&self, slot: u64, value: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SLOT_LEN);
        if value.len() > VALUE_LEN_MAX
            || frame::encode(self.writes, Encoding::PLAIN, value, &mut bytes).is_err()
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_at(&bytes, slot * SLOT_LEN as u64)?;
        self.file.sync()
    }
}

fn open_or_create(disk: &dyn Disk, path: &Path) -> io::Result<(Box<dyn File>, Vec<u8>)> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path, MODE)?,
        Err(error) => return Err(error),
    };
    let content = read_content(&*file)?;
    if content.len() < 2 * SLOT_LEN {
        // New, or a crash came between creating and allocating.
        file.preallocate(2 * SLOT_LEN as u64)?;
        file.sync()?;
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir)?;
        }
    }
    Ok((file, content))
}

fn read_content(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut content = vec![0; 2 * SLOT_LEN];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

fn read_slot(content: &[u8], slot: u64) -> Option<(u64, Vec<u8>)> {
    let start = usize::try_from(slot).ok()? * SLOT_LEN;
    let bytes = content.get(start..)?;
    match frame::decode(&bytes[..bytes.len().min(SLOT_LEN)], VALUE_LEN_MAX).next()? {
        Item::Record(record) => Some((record.seq, record.payload.to_vec())),
        Item::Damage { .. } | Item::TornTail { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::disk::{Fault, FaultyDisk};

    const PATH: &str = "/d/head";

    fn disk(seed: u64) -> FaultyDisk {
        let disk = FaultyDisk::new(seed, 1 << 20);
        disk.create_dir(Path::new("/d"), 0o700).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk
    }

    fn open(disk: &FaultyDisk) -> (SlotFile, Found) {
        SlotFile::open(disk, Path::new(PATH)).unwrap()
    }

    fn value(n: u8) -> Vec<u8> {
        vec![n; 1 + usize::from(n) * 40]
    }

    #[test]
    fn power_loss_at_any_change_leaves_the_durable_value_or_the_one_being_written() {
        for seed in 0..50 {
            for changes in 0..30 {
                let disk = disk(seed);
                disk.fail_power_after(changes);
                let mut durable = None;
                let mut tried = None;
                if let Ok((mut slots, _)) = SlotFile::open(&disk, Path::new(PATH)) {
                    for n in 1..10 {
                        tried = Some(n);
                        if slots.write(&value(n)).is_err() {
                            break;
                        }
                        durable = Some(n);
                    }
                }
                disk.cut_power();
                let (_, found) = open(&disk);
                let allowed: Vec<Found> = match (durable, tried) {
                    (Some(n), Some(m)) => {
                        vec![Found::Value(value(n)), Found::Value(value(m))]
                    }
                    (_, Some(m)) => vec![Found::Nothing, Found::Damaged, Found::Value(value(m))],
                    _ => vec![Found::Nothing],
                };
                assert!(
                    allowed.contains(&found),
                    "seed {seed} changes {changes}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn failed_syncs_never_cost_the_last_durable_value() {
        for seed in 0..50 {
            let disk = disk(seed);
            let (mut slots, _) = open(&disk);
            slots.write(&value(1)).unwrap();
            disk.set_fault(Fault::SyncFails);
            for n in 2..6 {
                slots.write(&value(n)).unwrap_err();
            }
            disk.cut_power();
            disk.set_fault(Fault::None);
            assert!(matches!(open(&disk).1, Found::Value(_)), "seed {seed}");
        }
    }

    #[test]
    fn opening_again_after_failed_syncs_does_not_trust_what_the_page_cache_shows() {
        for seed in 0..50 {
            let disk = disk(seed);
            let (mut slots, _) = open(&disk);
            slots.write(&value(1)).unwrap();
            disk.set_fault(Fault::SyncFails);
            slots.write(&value(2)).unwrap_err();
            for _ in 0..3 {
                SlotFile::open(&disk, Path::new(PATH)).unwrap_err();
            }
            disk.set_fault(Fault::None);
            disk.cut_power();
            let found = open(&disk).1;
            assert!(matches!(found, Found::Value(_)), "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn a_full_disk_can_be_written() {
        let disk = disk(1);
        let (mut slots, _) = open(&disk);
        disk.set_capacity(0);
        slots.write(&value(3)).unwrap();
        slots.write(&value(4)).unwrap();
        assert_eq!(open(&disk).1, Found::Value(value(4)));
    }

    #[test]
    fn one_damaged_slot_gives_the_other_and_two_say_damaged() {
        let disk = disk(1);
        let (mut slots, found) = open(&disk);
        assert_eq!(found, Found::Nothing);
        slots.write(&value(1)).unwrap();
        slots.write(&value(2)).unwrap();
        let newest = SLOT_LEN * usize::try_from(slots.durable_slot).unwrap();
        disk.flip_bit(Path::new(PATH), newest + HEADER_LEN, 3);
        assert_eq!(SlotFile::peek(&disk, Path::new(PATH)), Some(value(1)));
        disk.flip_bit(Path::new(PATH), SLOT_LEN - newest + HEADER_LEN, 3);
        assert_eq!(open(&disk).1, Found::Damaged);
    }
}
