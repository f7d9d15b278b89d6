//! A file system with little room, and what fills it.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::run;

/// A small file system of its own. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one of `size`, as mount(8) writes it (`48m`). `None` where this user may not mount.
    ///
    /// # Panics
    /// When there is no folder to mount it on.
    #[must_use]
    pub fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700")])
            .arg("vigie-test")
            .arg(dir.path());
        run(&mut mount).status.success().then(|| Self(dir))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program that is being killed may still hold it.
        run(Command::new("umount").arg("-l").arg(self.0.path()));
    }
}

/// Fills a disk to the last byte, again and again: what others delete is taken too. Gives it back when dropped.
#[derive(Debug)]
pub struct Filling {
    path: PathBuf,
    file: File,
}

impl Filling {
    /// Nothing is filled yet.
    ///
    /// # Panics
    /// When no file can be made on `disk`.
    #[must_use]
    pub fn of(disk: &Path) -> Self {
        let path = disk.join("filling");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .expect("a file can be made");
        Self { path, file }
    }

    /// Takes whatever room there is again.
    pub fn insist(&mut self) {
        for len in [65_536, 4_096, 1] {
            while self.file.write_all(&vec![0; len]).is_ok() {}
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // The disk may be gone before it.
        let _ = std::fs::remove_file(&self.path);
    }
}
