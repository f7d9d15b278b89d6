//! A disk in memory that keeps what POSIX promises and nothing more. For tests only.
//!
//! Each file has two contents: what readers see (the page cache) and what survives (durable), with the writes that
//! are in one and not yet in the other between them. Names are kept the same way.
//!
//! - [`FaultyDisk::cut_power`]: of the writes not synced, each survives whole, not at all, or torn, by the seed; of
//!   the renames and unlinks not synced, a prefix survives (file systems keep their journal in order). Files opened
//!   before are dead.
//! - A failed sync drops the dirty pages: they stay visible, become durable only partly (by the seed), and no later
//!   sync brings them.
//! - A write without space may leave a part of itself behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, File};

/// Space is counted in blocks of this size.
const BLOCK: u64 = 4096;

/// Unit of a torn write: a sector is written whole or not at all.
const SECTOR: u64 = 512;

/// What the disk does to the operations that change it, until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Works.
    #[default]
    None,
    /// Every change fails with EROFS. Reading works.
    ReadOnly,
    /// Every sync fails with EIO and drops the dirty pages.
    SyncFails,
    /// Every change fails with EIO. Reading works.
    WriteFails,
    /// Allocating fails with ENOSPC, whatever is free.
    Full,
}

/// The disk. Clones share it.
#[derive(Debug, Clone)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    capacity_bytes: u64,
    fault: Fault,
    /// Changes still allowed before the power goes.
    changes_left: Option<u64>,
    powered: bool,
    changes: u64,
    /// Counts power cuts; files opened before the last one are dead.
    life: u64,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    durable_names: Names,
    name_changes: Vec<NameChange>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum NameChange {
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    allocated: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Len(usize),
}

/// xorshift64*: the seed decides everything, on every platform alike.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Len(len) => content.resize(*len, 0),
        }
    }

    /// Applies whatever part of it the power cut let through.
    fn apply_torn(&self, content: &mut Vec<u8>, random: &mut Random) {
        match (self, random.below(4)) {
            (_, 0) => {}
            (Self::Bytes { offset, bytes }, 1) => {
                let keep = random.below(bytes.len() as u64 + 1) as usize;
                Self::Bytes {
                    offset: *offset,
                    bytes: bytes[..keep].to_vec(),
                }
                .apply(content);
            }
            (Self::Bytes { offset, bytes }, 2) => {
                for (index, sector) in bytes.chunks(SECTOR as usize).enumerate() {
                    if random.below(2) == 0 {
                        Self::Bytes {
                            offset: offset + index * SECTOR as usize,
                            bytes: sector.to_vec(),
                        }
                        .apply(content);
                    }
                }
            }
            _ => self.apply(content),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::MakeDir(dir) => {
                names.dirs.insert(dir.clone());
            }
            Self::RemoveDir(dir) => {
                names.dirs.remove(dir);
            }
            Self::Link(path, inode) => {
                names.files.insert(path.clone(), *inode);
            }
            Self::Unlink(path) => {
                names.files.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.files.remove(from) {
                    names.files.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl FaultyDisk {
    /// An empty disk. The same seed tears the same writes.
    #[must_use]
    pub fn new(seed: u64, capacity_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            capacity_bytes,
            fault: Fault::None,
            changes_left: None,
            powered: true,
            changes: 0,
            life: 0,
            next_inode: 0,
            inodes: BTreeMap::new(),
            names: Names::default(),
            durable_names: Names::default(),
            name_changes: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the disk behaves like this.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// How big the disk is from now on.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// How many changing operations there have been.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Lets the power fail at the changing operation after the next `changes`; everything fails from there on, until
    /// [`Self::cut_power`] brings the machine up again.
    pub fn fail_power_after(&self, changes: u64) {
        self.state().changes_left = Some(changes);
    }

    /// Cuts the power and brings the machine up again: what was not synced survives as the seed says.
    pub fn cut_power(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let survivors = state.random.below(state.name_changes.len() as u64 + 1) as usize;
        for change in &state.name_changes[..survivors] {
            change.apply(&mut state.durable_names);
        }
        state.name_changes.clear();
        state.names = state.durable_names.clone();
        for inode in state.inodes.values_mut() {
            for write in std::mem::take(&mut inode.pending) {
                write.apply_torn(&mut inode.durable, &mut state.random);
            }
            inode.seen.clone_from(&inode.durable);
        }
        let linked: BTreeSet<u64> = state.names.files.values().copied().collect();
        state.inodes.retain(|inode, _| linked.contains(inode));
        state.life += 1;
        state.powered = true;
        state.changes_left = None;
    }

    /// Flips one bit of a file, in the page cache and on the platter.
    ///
    /// # Panics
    /// When there is no such bit: the test is wrong.
    pub fn flip_bit(&self, path: &Path, byte: usize, bit: u8) {
        let mut state = self.state();
        let inode = state.names.files[path];
        let inode = state.inodes.get_mut(&inode).expect("named files exist");
        inode.seen[byte] ^= 1 << bit;
        if let Some(byte) = inode.durable.get_mut(byte) {
            *byte ^= 1 << bit;
        }
    }

    /// What a reader of the file sees, or nothing if there is no such file.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.names.files.get(path)?;
        Some(state.inodes[inode].seen.clone())
    }

    /// Puts a durable file there, whatever was there before.
    pub fn plant(&self, path: &Path, content: &[u8]) {
        let mut guard = self.state();
        let state = &mut *guard;
        let inode = state.new_inode();
        if let Some(inode) = state.inodes.get_mut(&inode) {
            inode.seen = content.to_vec();
            inode.durable = content.to_vec();
        }
        state.names.files.insert(path.to_path_buf(), inode);
        state.durable_names.files.insert(path.to_path_buf(), inode);
    }

    /// Every file there is, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.files.keys().cloned().collect()
    }
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    fn check_power(&self) -> io::Result<()> {
        if self.powered {
            Ok(())
        } else {
            Err(Errno::IO.into())
        }
    }

    /// Called by everything that changes the disk; says whether it may.
    fn change(&mut self) -> io::Result<()> {
        self.check_power()?;
        if self.changes_left == Some(0) {
            self.powered = false;
            return Err(Errno::IO.into());
        }
        self.changes_left = self.changes_left.map(|left| left - 1);
        self.changes += 1;
        match self.fault {
            Fault::ReadOnly => Err(Errno::ROFS.into()),
            Fault::WriteFails => Err(Errno::IO.into()),
            Fault::None | Fault::SyncFails | Fault::Full => Ok(()),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn used_bytes(&self) -> u64 {
        let blocks: usize = self.inodes.values().map(|i| i.allocated.len()).sum();
        blocks as u64 * BLOCK
    }

    /// Allocates the blocks of a range one by one; says how many bytes of the range have space.
    fn allocate(&mut self, inode: u64, offset: u64, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let full = self.fault == Fault::Full;
        let mut free = self.capacity_bytes.saturating_sub(self.used_bytes()) / BLOCK;
        let Some(inode) = self.inodes.get_mut(&inode) else {
            return 0;
        };
        for block in offset / BLOCK..=(offset + len - 1) / BLOCK {
            if inode.allocated.contains(&block) {
                continue;
            }
            if full || free == 0 {
                return (block * BLOCK).saturating_sub(offset);
            }
            free -= 1;
            inode.allocated.insert(block);
        }
        len
    }

    fn drop_unnamed(&mut self, inode: u64) {
        let named = self.names.files.values().any(|&other| other == inode);
        if !named && let Some(inode) = self.inodes.get_mut(&inode) {
            inode.allocated.clear();
        }
    }
}

fn not_found() -> io::Error {
    Errno::NOENT.into()
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path, _mode: u32) -> io::Result<()> {
        let mut state = self.state();
        let missing: Vec<PathBuf> = dir
            .ancestors()
            .filter(|dir| !dir.as_os_str().is_empty() && !state.names.dirs.contains(*dir))
            .map(Path::to_path_buf)
            .collect();
        for dir in missing.into_iter().rev() {
            state.change()?;
            state.change_names(NameChange::MakeDir(dir));
        }
        state.check_power()
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        if state.names.files.keys().any(|path| path.starts_with(dir)) {
            return Err(Errno::NOTEMPTY.into());
        }
        if !state.names.dirs.contains(dir) {
            return Err(not_found());
        }
        state.change_names(NameChange::RemoveDir(dir.to_path_buf()));
        Ok(())
    }

    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.change()?;
        if state.names.files.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        if !path
            .parent()
            .is_some_and(|dir| state.names.dirs.contains(dir))
        {
            return Err(not_found());
        }
        let inode = state.new_inode();
        state.change_names(NameChange::Link(path.to_path_buf(), inode));
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            inode,
            life: state.life,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let state = self.state();
        state.check_power()?;
        let inode = *state.names.files.get(path).ok_or_else(not_found)?;
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            inode,
            life: state.life,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        if !state.names.files.contains_key(from) {
            return Err(not_found());
        }
        let replaced = state.names.files.get(to).copied();
        state.change_names(NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
        if let Some(inode) = replaced {
            state.drop_unnamed(inode);
        }
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = *state.names.files.get(path).ok_or_else(not_found)?;
        state.change_names(NameChange::Unlink(path.to_path_buf()));
        state.drop_unnamed(inode);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        if !state.names.dirs.contains(dir) {
            return Err(not_found());
        }
        let children = state.names.files.keys().chain(&state.names.dirs);
        let mut names: Vec<String> = children
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.change()?;
        if state.fault == Fault::SyncFails {
            return Err(Errno::IO.into());
        }
        if !state.names.dirs.contains(dir) {
            return Err(not_found());
        }
        for change in std::mem::take(&mut state.name_changes) {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn size_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.capacity_bytes)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
    life: u64,
}

impl FaultyFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check_power()?;
        if state.life == self.life {
            Ok(state)
        } else {
            Err(Errno::IO.into())
        }
    }
}

fn inode_mut(state: &mut State, inode: u64) -> io::Result<&mut Inode> {
    state.inodes.get_mut(&inode).ok_or_else(not_found)
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        Ok(inode_mut(&mut state, self.inode)?.seen.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let seen = &inode_mut(&mut state, self.inode)?.seen;
        let rest = seen.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        let fits = state.allocate(self.inode, offset, bytes.len() as u64) as usize;
        let write = Write::Bytes {
            offset: offset as usize,
            bytes: bytes[..fits].to_vec(),
        };
        let inode = inode_mut(&mut state, self.inode)?;
        write.apply(&mut inode.seen);
        inode.pending.push(write);
        if fits < bytes.len() {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        state.change()?;
        let fails = state.fault == Fault::SyncFails;
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(not_found)?;
        for write in std::mem::take(&mut inode.pending) {
            if fails {
                write.apply_torn(&mut inode.durable, &mut state.random);
            } else {
                write.apply(&mut inode.durable);
            }
        }
        if fails {
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        let inode = inode_mut(&mut state, self.inode)?;
        let write = Write::Len(len as usize);
        write.apply(&mut inode.seen);
        inode.pending.push(write);
        inode.allocated.retain(|block| block * BLOCK < len);
        Ok(())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        if state.allocate(self.inode, 0, len) < len {
            return Err(Errno::NOSPC.into());
        }
        let inode = inode_mut(&mut state, self.inode)?;
        let write = Write::Len(inode.seen.len().max(len as usize));
        write.apply(&mut inode.seen);
        inode.pending.push(write);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn disk(seed: u64) -> FaultyDisk {
        let disk = FaultyDisk::new(seed, 1 << 20);
        disk.create_dir(Path::new("/d"), 0o700).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk
    }

    fn contents_after_cut(prepare: impl Fn(&FaultyDisk)) -> BTreeSet<Option<Vec<u8>>> {
        (0..200)
            .map(|seed| {
                let disk = disk(seed);
                prepare(&disk);
                disk.cut_power();
                disk.content(Path::new("/d/x"))
            })
            .collect()
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_go_or_tear() {
        let synced = contents_after_cut(|disk| {
            let file = disk.create(Path::new("/d/x"), 0o600).unwrap();
            file.write_at(b"abcd", 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
        });
        assert_eq!(synced, BTreeSet::from([Some(b"abcd".to_vec())]));

        let unsynced = contents_after_cut(|disk| {
            let file = disk.create(Path::new("/d/x"), 0o600).unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(b"abcd", 0).unwrap();
        });
        for expected in ["", "ab", "abcd"] {
            assert!(unsynced.contains(&Some(expected.into())), "{expected:?}");
        }
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone() {
        let found = contents_after_cut(|disk| {
            let file = disk.create(Path::new("/d/x"), 0o600).unwrap();
            file.write_at(b"a", 0).unwrap();
            file.sync().unwrap();
        });
        assert!(found.contains(&None) && found.contains(&Some(b"a".to_vec())));
    }

    #[test]
    fn a_later_good_sync_does_not_bring_what_a_failed_one_dropped() {
        let found = contents_after_cut(|disk| {
            let file = disk.create(Path::new("/d/x"), 0o600).unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(b"a", 0).unwrap();
            disk.set_fault(Fault::SyncFails);
            file.sync().unwrap_err();
            disk.set_fault(Fault::None);
            assert_eq!(disk.content(Path::new("/d/x")), Some(b"a".to_vec()));
            file.sync().unwrap();
        });
        assert!(found.contains(&Some(Vec::new())));
    }

    #[test]
    fn preallocated_space_can_be_written_on_a_full_disk() {
        let disk = disk(1);
        let file = disk.create(Path::new("/d/x"), 0o600).unwrap();
        file.preallocate(8192).unwrap();
        disk.set_capacity(8192);
        file.write_at(&[1; 8192], 0).unwrap();
        let error = file.write_at(&[1; 1], 8192).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.unlink(Path::new("/d/x")).unwrap();
        assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 8192);
    }

    #[test]
    fn power_fails_at_the_chosen_change_and_old_files_stay_dead() {
        let disk = disk(1);
        let file = disk.create(Path::new("/d/x"), 0o600).unwrap();
        disk.fail_power_after(1);
        file.write_at(b"a", 0).unwrap();
        file.sync().unwrap_err();
        file.len().unwrap_err();
        disk.cut_power();
        file.len().unwrap_err();
        disk.create_dir(Path::new("/d/e"), 0o700).unwrap();
    }
}
