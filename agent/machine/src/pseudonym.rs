//! Names that stay on the node: a path leaves as `~dirhex/namehex`, keyed hashes of its folder and of its name.
//!
//! HMAC-SHA-256 (RFC 2104) under a key made at first start, mode 0600, that never leaves. The two halves are apart so
//! that a reader of alerts sees which findings lie in one folder. What was handed out is kept in a bounded table beside
//! the key, so that `vigie-agent reveal` can say on the node which path it was.
//!
//! Blocks on the disk. A table that cannot be written costs the way back and never the pseudonym.

use std::{
    collections::{HashSet, VecDeque},
    ffi::OsStr,
    fmt, fs, io,
    io::Write as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use aws_lc_rs::{hmac, rand};
use vigie_core::{
    digest::{from_hex, to_hex},
    observation::Object,
};
use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::Disk,
};

/// The key's file in the state folder.
const KEY_FILE: &str = "pseudonym.key";

/// The table's file in the state folder.
const TABLE_FILE: &str = "pseudonyms";

/// Bytes of the key: as many as the hash has (RFC 2104 §3).
const KEY_LEN: usize = 32;

/// Bytes kept of each hash: 128 bits, far from any collision among the files of one machine.
const PART_LEN: usize = 16;

/// Pseudonyms kept; the older half goes when there are more. A node that hands out more has other worries.
const ENTRIES_MAX: usize = 10_000;

/// The longest table read, in bytes: every entry with a long path.
const TABLE_LEN_MAX: usize = 8 * 1024 * 1024;

/// Only the agent's account.
const MODE: u32 = 0o600;

/// Makes pseudonyms and remembers them.
pub struct Pseudonyms {
    key: hmac::Key,
    table: PathBuf,
    known: HashSet<[u8; PART_LEN]>,
    lines: usize,
}

/// Why there are no pseudonyms.
#[derive(Debug, thiserror::Error)]
pub enum PseudonymError {
    /// The key cannot be read.
    #[error("cannot read the pseudonym key {path}")]
    ReadKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key's file holds something else. It is not replaced: earlier pseudonyms would lose their meaning.
    #[error("{path} does not hold a pseudonym key of {KEY_LEN} bytes")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system makes no pseudonym key")]
    Generate,
    /// The key cannot be kept.
    #[error("cannot keep the pseudonym key")]
    Keep {
        /// Why.
        #[source]
        source: ReplaceError,
    },
}

impl Pseudonyms {
    /// Takes up the key in `state_dir`, or makes one.
    ///
    /// # Errors
    /// When there is no key and none can be kept, or the file holds something else.
    pub fn open(disk: &dyn Disk, state_dir: &Path) -> Result<Self, PseudonymError> {
        let path = state_dir.join(KEY_FILE);
        let read = atomic_file::read(disk, &path, KEY_LEN).map_err(|source| {
            let path = path.clone();
            PseudonymError::ReadKey { path, source }
        })?;
        let bytes = match read {
            Some(bytes) if bytes.len() == KEY_LEN => bytes,
            Some(_) => return Err(PseudonymError::NotAKey { path }),
            None => {
                let mut bytes = vec![0; KEY_LEN];
                rand::fill(&mut bytes).map_err(|_| PseudonymError::Generate)?;
                atomic_file::replace(disk, &path, &bytes, MODE)
                    .map_err(|source| PseudonymError::Keep { source })?;
                bytes
            }
        };
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            table: state_dir.join(TABLE_FILE),
            known: HashSet::new(),
            lines: 0,
        })
    }

    /// The pseudonym of `path`, remembered for [`reveal`].
    pub fn of(&mut self, path: &Path) -> Object {
        let folder = path.parent().unwrap_or(Path::new("")).as_os_str();
        let name = path.file_name().unwrap_or(OsStr::new("/"));
        let folder_hash = self.hash(b"folder\n", folder);
        let name_hash = self.hash(b"name\n", name);
        let text = format!("~{}/{}", to_hex(&folder_hash), to_hex(&name_hash));
        let whole = self.hash(b"path\n", path.as_os_str());
        if self.known.insert(whole) {
            if self.known.len() > ENTRIES_MAX {
                self.known.clear();
                self.known.insert(whole);
            }
            if let Err(error) = self.remember(&text, path) {
                // No path in the log: it goes to the journal, which others may read.
                tracing::warn!(%error, "a pseudonym cannot be kept for `reveal`");
            }
        }
        Object::pseudonym(&text).expect("two hexadecimal parts of 32 digits after a tilde")
    }

    /// A keyed digest of what is compared on this node and named nowhere, nor remembered for [`reveal`].
    #[must_use]
    pub fn member(&self, member: &[u8]) -> [u8; PART_LEN] {
        self.hash(b"member\n", OsStr::from_bytes(member))
    }

    fn hash(&self, use_of_key: &[u8], text: &OsStr) -> [u8; PART_LEN] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(use_of_key);
        context.update(text.as_bytes());
        let tag = context.sign();
        let mut part = [0; PART_LEN];
        part.copy_from_slice(&tag.as_ref()[..PART_LEN]);
        part
    }

    fn remember(&mut self, pseudonym: &str, path: &Path) -> io::Result<()> {
        if self.lines == 0 || self.lines >= ENTRIES_MAX {
            self.lines = self.shorten()?;
        }
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.table)?;
        // Hexadecimal, because a path may hold any byte, line ends included.
        let line = format!("{pseudonym} {}\n", to_hex(path.as_os_str().as_bytes()));
        file.write_all(line.as_bytes())?;
        self.lines += 1;
        Ok(())
    }

    /// Counts the lines, and drops the older half of too many.
    fn shorten(&self) -> io::Result<usize> {
        let text = read_table(&self.table)?;
        let mut lines: VecDeque<&str> = text.lines().collect();
        if lines.len() < ENTRIES_MAX {
            return Ok(lines.len());
        }
        let kept: Vec<&str> = lines.drain(ENTRIES_MAX / 2..).collect();
        let mut shorter = kept.join("\n");
        shorter.push('\n');
        atomic_file::replace(
            &vigie_platform::disk::RealDisk,
            &self.table,
            shorter.as_bytes(),
            MODE,
        )
        .map_err(io::Error::other)?;
        Ok(kept.len())
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

/// The path that `pseudonym` stands for; `None` if it was not handed out here, or too long ago.
///
/// # Errors
/// When the table cannot be read.
pub fn reveal(state_dir: &Path, pseudonym: &str) -> io::Result<Option<PathBuf>> {
    let text = read_table(&state_dir.join(TABLE_FILE))?;
    let path = text.lines().rev().find_map(|line| {
        let (known, hex) = line.split_once(' ')?;
        (known == pseudonym).then(|| from_hex(hex)).flatten()
    });
    Ok(path.map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes))))
}

fn read_table(path: &Path) -> io::Result<String> {
    let bytes = atomic_file::read(&vigie_platform::disk::RealDisk, path, TABLE_LEN_MAX)?;
    // Only hexadecimal digits are ever written; a damaged line is found by nobody.
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use vigie_platform::disk::RealDisk;

    use super::*;

    #[test]
    fn a_pseudonym_is_stable_shows_its_folder_and_is_revealed_here_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut pseudonyms = Pseudonyms::open(&RealDisk, dir.path()).unwrap();
        let path = Path::new("/srv/dossiers/dupont\n.pdf");
        let first = pseudonyms.of(path);
        let neighbour = pseudonyms.of(Path::new("/srv/dossiers/martin.pdf"));
        assert_eq!(pseudonyms.of(path), first);
        let folder = |object: &Object| object.as_str().split('/').next().unwrap().to_owned();
        assert_eq!(folder(&first), folder(&neighbour));
        assert_ne!(first, neighbour);
        assert_eq!(reveal(dir.path(), first.as_str()).unwrap().unwrap(), path);
        assert_eq!(reveal(dir.path(), "~00000000").unwrap(), None);

        let mut again = Pseudonyms::open(&RealDisk, dir.path()).unwrap();
        assert_eq!(again.of(path), first, "the key is kept");
        let other_dir = tempfile::tempdir().unwrap();
        let mut other = Pseudonyms::open(&RealDisk, other_dir.path()).unwrap();
        assert_ne!(other.of(path), first, "another node has another key");
        for file in [KEY_FILE, TABLE_FILE] {
            let mode = fs::metadata(dir.path().join(file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_newer_ones() {
        let dir = tempfile::tempdir().unwrap();
        let old: String = (0..ENTRIES_MAX).map(|n| format!("~{n:08} 2f\n")).collect();
        fs::write(dir.path().join(TABLE_FILE), old).unwrap();
        let mut pseudonyms = Pseudonyms::open(&RealDisk, dir.path()).unwrap();
        let object = pseudonyms.of(Path::new("/etc/x"));
        let text = fs::read_to_string(dir.path().join(TABLE_FILE)).unwrap();
        assert_eq!(text.lines().count(), ENTRIES_MAX / 2 + 1);
        assert!(reveal(dir.path(), "~00009999").unwrap().is_some());
        assert!(reveal(dir.path(), "~00000000").unwrap().is_none());
        assert!(reveal(dir.path(), object.as_str()).unwrap().is_some());
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY_FILE), b"short").unwrap();
        assert!(matches!(
            Pseudonyms::open(&RealDisk, dir.path()),
            Err(PseudonymError::NotAKey { .. })
        ));
    }
}
