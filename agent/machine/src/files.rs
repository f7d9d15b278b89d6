//! Files and the fill of file systems, read off the runtime.
//!
//! Small files are read whole. Great ones (a package list of 50 MB) are walked line by line in one buffer, decoded on
//! the way where they are compressed; what is looked for is kept by the caller, the file never is. A walk that nobody
//! waits for any more ends at its next line.
//!
//! A read holds one of [`READS_MAX`] permits while somebody waits for it. One that nobody waits for any more, because it hung
//! until the deadline, gives its permit back, and until it returns nothing else below the same folder of the root is read:
//! a dead network mount of homes holds some threads, and neither all of them nor the reads of anything else.
//! The kernel's own counters are read where the caller stands ([`COUNTERS`]).
//! `statvfs` on a dead network mount does not return at all: each mount has at most one thread in it, nobody waits for
//! that thread longer than [`STATVFS_PATIENCE`], and the call is not made again before it has returned. Those threads are
//! the agent's own and not the runtime's, so that a hung mount does not hold up the end of the process either.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use vigie_core::time::{Elapsed, Wall};
use vigie_platform::clock::Clock;

use crate::Answer;

/// Reads at a time. Files of /proc take microseconds; more threads would only cost memory.
const READS_MAX: usize = 4;

/// What the kernel writes from its own counters, without a disk, a lock of a file system or another process to wait for.
/// Reading these takes less than handing the read to another thread.
const COUNTERS: [&str; 4] = [
    "/proc/stat",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/net/dev",
];

/// Reads that hang and gave their permits back. More of them keep theirs: threads are bounded.
const HANGING_MAX: usize = 6;

/// How long a caller waits for a mount that does not answer. Network file systems under load take up to a second.
const STATVFS_PATIENCE: Duration = Duration::from_secs(2);

/// Mounts that may hang at a time. A machine with more of them dead has no use for further threads.
const STATVFS_THREADS_MAX: usize = 64;

/// The stack of a thread that makes one system call, in bytes.
const STATVFS_STACK_LEN: usize = 64 * 1024;

/// Reads of the machine's files.
pub trait Files: Send + Sync {
    /// The whole content of a file of at most `max_bytes`.
    ///
    /// A longer file is an error of kind [`io::ErrorKind::FileTooLarge`]; what was read of it is thrown away.
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>>;

    /// The first `len` bytes of a file, fewer where it is shorter.
    fn read_start<'a>(&'a self, path: &'a Path, len: usize) -> Answer<'a, io::Result<Vec<u8>>>;

    /// What stat(2) says of the file that `path` leads to.
    fn stamp<'a>(&'a self, path: &'a Path) -> Answer<'a, io::Result<Stamp>>;

    /// What stands in a directory, in no order; links are told as links. Entries that vanish meanwhile are left out.
    ///
    /// More than `entries_max` of them is an error of kind [`io::ErrorKind::FileTooLarge`].
    fn list<'a>(
        &'a self,
        path: &'a Path,
        entries_max: usize,
    ) -> Answer<'a, io::Result<Vec<Listed>>>;

    /// Gives every line of a file to `each`, without its line feed, until one breaks or the file ends.
    ///
    /// Dropping the future ends the walk at the next line; `each` may be called once more meanwhile.
    fn walk_lines<'a>(
        &'a self,
        path: &'a Path,
        walk: Walk,
        each: EachLine,
    ) -> Answer<'a, io::Result<()>>;

    /// How full the file system mounted at `path` is.
    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs>;
}

/// What is called for each line of a walk, off the runtime.
pub type EachLine = Box<dyn FnMut(&[u8]) -> ControlFlow<()> + Send>;

/// How a file is walked, and how much of it at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// How the file is compressed.
    pub encoding: Encoding,
    /// The longest content walked, in bytes after decoding. More is an error of kind
    /// [`io::ErrorKind::FileTooLarge`], after the lines up to there were given.
    pub len_max: u64,
    /// The longest line, in bytes. Of a longer one only so much is given.
    pub line_len_max: usize,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// RFC 1952, one or more members.
    Gzip,
    /// The LZ4 frame format, one or more frames.
    Lz4,
}

/// What stat(2) says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Its length in bytes.
    pub len_bytes: u64,
    /// When its content was last written (mtime).
    pub modified: Wall,
    /// When its content, name or rights were last changed (ctime), which nobody can set.
    pub changed: Wall,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without the directory.
    pub name: OsString,
    /// What lstat(2) says of it.
    pub stamp: Stamp,
}

/// What a file system said about itself.
#[derive(Debug)]
pub enum Statvfs {
    /// It answered.
    Measured(Usage),
    /// It cannot be asked.
    Failed(io::Error),
    /// It has not answered since then; the call still hangs.
    Stuck {
        /// When the call that hangs was made.
        since: Elapsed,
    },
}

/// How full a file system is (statvfs(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free, with what is reserved for root.
    pub free_bytes: u64,
    /// Free for everybody.
    pub available_bytes: u64,
    /// Inodes; 0 where the file system has no fixed number of them.
    pub total_inodes: u64,
    /// Inodes not used.
    pub free_inodes: u64,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
}

/// The system call, replaced in tests by one that hangs when told to.
type StatvfsCall = fn(&Path) -> io::Result<Usage>;

/// Opens the files of this machine directly.
pub struct LocalFiles {
    reads: Arc<Semaphore>,
    hanging: Arc<Mutex<Hanging>>,
    clock: Arc<dyn Clock>,
    calls: Arc<Mutex<Calls>>,
    statvfs: StatvfsCall,
}

/// How many reads hang below each place, see [`place_of`].
type Hanging = HashMap<PathBuf, usize>;

/// The calls that have not returned yet, with the moment each was made.
type Calls = HashMap<PathBuf, Elapsed>;

impl LocalFiles {
    /// Files of this machine.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(READS_MAX)),
            hanging: Arc::default(),
            clock,
            calls: Arc::default(),
            statvfs: system_statvfs,
        }
    }

    /// Makes the call in a thread of its own, unless one for this mount is still on its way.
    fn start(
        &self,
        path: &Path,
    ) -> Result<(Elapsed, oneshot::Receiver<io::Result<Usage>>), Statvfs> {
        let now = self.clock.elapsed();
        {
            let mut calls = lock(&self.calls);
            if let Some(since) = calls.get(path) {
                return Err(Statvfs::Stuck { since: *since });
            }
            if calls.len() >= STATVFS_THREADS_MAX {
                return Err(Statvfs::Failed(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "too many file systems do not answer",
                )));
            }
            calls.insert(path.to_owned(), now);
        }
        let (sender, receiver) = oneshot::channel();
        let (calls, mount, call) = (Arc::clone(&self.calls), path.to_owned(), self.statvfs);
        let spawned = std::thread::Builder::new()
            .name("statvfs".to_owned())
            .stack_size(STATVFS_STACK_LEN)
            .spawn(move || {
                let answer = call(&mount);
                lock(&calls).remove(&mount);
                // Nobody waits any more when the answer came too late; the next call asks anew.
                let _ = sender.send(answer);
            });
        match spawned {
            Ok(_) => Ok((now, receiver)),
            Err(error) => {
                lock(&self.calls).remove(path);
                Err(Statvfs::Failed(error))
            }
        }
    }
}

impl LocalFiles {
    /// Makes `call` off the runtime, under one of the permits.
    fn off_the_runtime<'a, T: Send + 'static>(
        &'a self,
        path: &Path,
        call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Answer<'a, io::Result<T>> {
        let path = path.to_owned();
        Box::pin(async move {
            let permit = Arc::clone(&self.reads)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let place = place_of(&path);
            if lock(&self.hanging).contains_key(&place) {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "an earlier read below the same folder hangs",
                ));
            }
            let going = Arc::new(Going {
                permit: Mutex::new(Some(permit)),
                hanging: Arc::clone(&self.hanging),
                place,
            });
            let returned = Returned(Arc::clone(&going));
            let _waiting = Waiting(going);
            tokio::task::spawn_blocking(move || {
                let _returned = returned;
                call(&path)
            })
            .await
            .map_err(io::Error::other)?
        })
    }
}

/// One read on its way.
struct Going {
    /// `None` once it returned, or hangs without one.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    hanging: Arc<Mutex<Hanging>>,
    place: PathBuf,
}

/// Held by the thread that reads; dropped when the system calls have returned.
struct Returned(Arc<Going>);

impl Drop for Returned {
    fn drop(&mut self) {
        let mut hanging = lock(&self.0.hanging);
        if lock(&self.0.permit).take().is_some() {
            return;
        }
        if let Some(count) = hanging.get_mut(&self.0.place) {
            *count -= 1;
            if *count == 0 {
                hanging.remove(&self.0.place);
            }
        }
    }
}

/// Held by whoever waits for the answer.
struct Waiting(Arc<Going>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut hanging = lock(&self.0.hanging);
        let mut permit = lock(&self.0.permit);
        if permit.is_some() && hanging.values().sum::<usize>() < HANGING_MAX {
            *permit = None;
            *hanging.entry(self.0.place.clone()).or_default() += 1;
        }
    }
}

/// What a read that hangs takes with it: the folder of the root that it is below. In the kernel's own file systems each
/// file is apart.
fn place_of(path: &Path) -> PathBuf {
    if path.starts_with("/proc") || path.starts_with("/sys") {
        return path.to_owned();
    }
    path.components().take(2).collect()
}

impl Files for LocalFiles {
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        if COUNTERS.iter().any(|counters| path == Path::new(counters)) {
            return Box::pin(async move { read_bounded(path, max_bytes) });
        }
        self.off_the_runtime(path, move |path| read_bounded(path, max_bytes))
    }

    fn read_start<'a>(&'a self, path: &'a Path, len: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        self.off_the_runtime(path, move |path| {
            let mut content = Vec::new();
            let limit = u64::try_from(len).unwrap_or(u64::MAX);
            File::open(path)?.take(limit).read_to_end(&mut content)?;
            Ok(content)
        })
    }

    fn stamp<'a>(&'a self, path: &'a Path) -> Answer<'a, io::Result<Stamp>> {
        self.off_the_runtime(path, |path| Ok(Stamp::of(&fs::metadata(path)?)))
    }

    fn list<'a>(
        &'a self,
        path: &'a Path,
        entries_max: usize,
    ) -> Answer<'a, io::Result<Vec<Listed>>> {
        self.off_the_runtime(path, move |path| list(path, entries_max))
    }

    fn walk_lines<'a>(
        &'a self,
        path: &'a Path,
        walk: Walk,
        mut each: EachLine,
    ) -> Answer<'a, io::Result<()>> {
        let is_unwanted = Arc::new(AtomicBool::new(false));
        let wanted = Wanted(Arc::clone(&is_unwanted));
        Box::pin(async move {
            let _wanted = wanted;
            self.off_the_runtime(path, move |path| {
                let mut each_wanted = |line: &[u8]| {
                    if is_unwanted.load(Ordering::Relaxed) {
                        return ControlFlow::Break(());
                    }
                    each(line)
                };
                walk_file(File::open(path)?, walk, &mut each_wanted)
            })
            .await
        })
    }

    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs> {
        Box::pin(async move {
            let (since, answer) = match self.start(path) {
                Ok(started) => started,
                Err(answer) => return answer,
            };
            match tokio::time::timeout(STATVFS_PATIENCE, answer).await {
                Ok(Ok(Ok(usage))) => Statvfs::Measured(usage),
                Ok(Ok(Err(error))) => Statvfs::Failed(error),
                // The thread is gone without an answer: it panicked, which its call has no reason to.
                Ok(Err(gone)) => Statvfs::Failed(io::Error::other(gone)),
                Err(_) => Statvfs::Stuck { since },
            }
        })
    }
}

fn read_bounded(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut content = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut content)?;
    if content.len() > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// Somebody waits for a walk; dropped, nobody does.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        let wall = |seconds: i64, nanoseconds: i64| {
            Wall(
                seconds
                    .saturating_mul(1_000)
                    .saturating_add(nanoseconds / 1_000_000),
            )
        };
        Self {
            len_bytes: found.len(),
            modified: wall(found.mtime(), found.mtime_nsec()),
            changed: wall(found.ctime(), found.ctime_nsec()),
            is_dir: found.is_dir(),
            is_file: found.is_file(),
        }
    }
}

fn list(path: &Path, entries_max: usize) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let stamp = match entry.metadata() {
            Ok(found) => Stamp::of(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if listed.len() == entries_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        listed.push(Listed {
            name: entry.file_name(),
            stamp,
        });
    }
    Ok(listed)
}

fn walk_file(
    file: File,
    walk: Walk,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    // One byte more than allowed, so that a content of just that length is not too long.
    let limit = walk.len_max.saturating_add(1);
    match walk.encoding {
        Encoding::Plain => walk_content(BufReader::new(file.take(limit)), walk, each),
        Encoding::Gzip => {
            let decoded = flate2::read::MultiGzDecoder::new(file).take(limit);
            walk_content(BufReader::new(decoded), walk, each)
        }
        Encoding::Lz4 => {
            let decoded = lz4_flex::frame::FrameDecoder::new(BufReader::new(file)).take(limit);
            walk_content(BufReader::new(decoded), walk, each)
        }
    }
}

fn walk_content(
    mut content: impl BufRead,
    walk: Walk,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut read_len = 0_u64;
    let mut is_in_line = false;
    loop {
        let chunk = match content.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            if is_in_line {
                let _last = each(&line);
            }
            return Ok(());
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let kept = part.len().min(walk.line_len_max - line.len());
        line.extend_from_slice(&part[..kept]);
        let used = part.len() + usize::from(end.is_some());
        content.consume(used);
        read_len += u64::try_from(used).unwrap_or(u64::MAX);
        if read_len > walk.len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        is_in_line = end.is_none();
        if !is_in_line {
            if each(&line).is_break() {
                return Ok(());
            }
            line.clear();
        }
    }
}

fn system_statvfs(path: &Path) -> io::Result<Usage> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Usage {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_bytes: found.f_bfree.saturating_mul(found.f_frsize),
        available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_inodes: found.f_files,
        free_inodes: found.f_ffree,
        is_read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::FutureExt as _;
    use vigie_platform::clock::SystemClock;

    use super::*;

    fn files() -> LocalFiles {
        LocalFiles::new(Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn a_file_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stat");
        fs::write(&path, b"12345678").unwrap();
        let files = files();
        assert_eq!(files.read(&path, 8).await.unwrap(), b"12345678");
        let too_long = files.read(&path, 7).await.unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
        let missing = files.read(&dir.path().join("none"), 8).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(
            !files
                .read(Path::new("/proc/stat"), 1 << 20)
                .await
                .unwrap()
                .is_empty()
        );
    }

    /// The lines that a walk gives.
    async fn walked(path: &Path, walk: Walk) -> (Vec<String>, io::Result<()>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let each = Box::new(move |line: &[u8]| {
            let line = String::from_utf8(line.to_vec()).unwrap();
            let is_last = line == "stop";
            kept.lock().unwrap().push(line);
            if is_last {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let result = files().walk_lines(path, walk, each).await;
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        (lines, result)
    }

    const WALK: Walk = Walk {
        encoding: Encoding::Plain,
        len_max: 1 << 20,
        line_len_max: 8,
    };

    #[tokio::test]
    async fn lines_are_walked_to_the_end_or_the_break_and_long_ones_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let table: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("\n", &[""]),
            ("one\n\ntwo\n", &["one", "", "two"]),
            ("one\ntwo", &["one", "two"]),
            ("123456789\nnext", &["12345678", "next"]),
            ("12345678\nnext", &["12345678", "next"]),
            ("one\nstop\nnever\n", &["one", "stop"]),
        ];
        for (content, expected) in table {
            fs::write(&path, content).unwrap();
            let (lines, result) = walked(&path, WALK).await;
            result.unwrap();
            assert_eq!(lines, expected, "{content:?}");
        }
        // A line across many buffers.
        let long = format!("{}\nend\n", "x".repeat(100_000));
        fs::write(&path, long).unwrap();
        assert_eq!(walked(&path, WALK).await.0, ["xxxxxxxx", "end"]);
    }

    #[tokio::test]
    async fn a_walk_is_bounded_also_where_the_file_is_compressed() {
        use std::io::Write as _;

        let dir = tempfile::tempdir().unwrap();
        let content = "0123456\n".repeat(1_000);
        let plain = dir.path().join("list");
        fs::write(&plain, &content).unwrap();
        let gzip = dir.path().join("list.gz");
        let mut encoder = flate2::write::GzEncoder::new(
            File::create(&gzip).unwrap(),
            flate2::Compression::fast(),
        );
        encoder.write_all(content.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let lz4 = dir.path().join("list.lz4");
        let mut encoder = lz4_flex::frame::FrameEncoder::new(File::create(&lz4).unwrap());
        encoder.write_all(content.as_bytes()).unwrap();
        encoder.finish().unwrap();

        for (path, encoding) in [
            (&plain, Encoding::Plain),
            (&gzip, Encoding::Gzip),
            (&lz4, Encoding::Lz4),
        ] {
            let whole = Walk {
                encoding,
                len_max: 8_000,
                ..WALK
            };
            let (lines, result) = walked(path, whole).await;
            result.unwrap();
            assert_eq!(lines.len(), 1_000, "{encoding:?}");
            let short = Walk {
                len_max: 7_999,
                ..whole
            };
            let (lines, result) = walked(path, short).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(lines.len(), 999, "{encoding:?}");
        }
        for encoding in [Encoding::Gzip, Encoding::Lz4] {
            let walk = Walk { encoding, ..WALK };
            walked(&plain, walk)
                .await
                .1
                .expect_err("it is not compressed");
        }
    }

    #[tokio::test]
    async fn directories_are_listed_within_their_bound_and_files_stamped() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"1234").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let files = files();
        let mut listed = files.list(dir.path(), 3).await.unwrap();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let told: Vec<_> = listed
            .iter()
            .map(|entry| {
                (
                    entry.name.to_str().unwrap(),
                    entry.stamp.is_file,
                    entry.stamp.is_dir,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("file", true, false),
                ("folder", false, true),
                ("link", false, false)
            ]
        );
        let error = files.list(dir.path(), 2).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);

        let path = dir.path().join("file");
        let then = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(then)
            .unwrap();
        let stamp = files.stamp(&path).await.unwrap();
        assert_eq!(
            (stamp.len_bytes, stamp.modified),
            (4, Wall(1_700_000_000_123))
        );
        assert!(stamp.changed > stamp.modified);
        assert_eq!(files.read_start(&path, 2).await.unwrap(), b"12");
        assert_eq!(files.read_start(&path, 9).await.unwrap(), b"1234");
    }

    #[tokio::test]
    async fn files_that_hang_hold_up_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        let files = files();
        for _ in 0..2 * READS_MAX {
            let mut hung = files.read(&fifo, 8);
            for _ in 0..10 {
                // Once one hangs the others are refused.
                if hung.as_mut().now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let version = files.read(Path::new("/proc/version"), 4_096);
        let mut version = std::pin::pin!(version);
        let mut answer = None;
        for _ in 0..1_000_000 {
            answer = version.as_mut().now_or_never();
            if answer.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // Lets go of all that hang.
        let writer = File::options().read(true).write(true).open(&fifo).unwrap();
        io::Write::write_all(&mut &writer, &[b'x'; 1_000]).unwrap();
        while !lock(&files.hanging).is_empty() {
            tokio::task::yield_now().await;
        }
        drop(writer);
        assert!(!answer.expect("another file answers").unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_system_tells_its_fill() {
        let files = files();
        let Statvfs::Measured(root) = files.statvfs(Path::new("/")).await else {
            panic!("the root file system did not answer");
        };
        assert!(root.total_bytes > 0 && root.available_bytes <= root.free_bytes);
        assert!(matches!(
            files.statvfs(Path::new("/no/such/mount")).await,
            Statvfs::Failed(error) if error.kind() == io::ErrorKind::NotFound
        ));
    }

    static HUNG_CALLS: AtomicUsize = AtomicUsize::new(0);
    static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn hangs_until_released(_: &Path) -> io::Result<Usage> {
        HUNG_CALLS.fetch_add(1, Ordering::SeqCst);
        let (released, signal) = &RELEASED;
        drop(signal.wait_while(released.lock().unwrap(), |released| !*released));
        Err(io::ErrorKind::StaleNetworkFileHandle.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_mount_holds_one_thread_and_is_not_asked_again_until_it_answered() {
        let files = LocalFiles {
            statvfs: hangs_until_released,
            ..files()
        };
        let mount = Path::new("/mnt/dead");
        let Statvfs::Stuck { since } = files.statvfs(mount).await else {
            panic!("the mount hangs");
        };
        for _ in 0..3 {
            let again = files.statvfs(mount).await;
            assert!(matches!(again, Statvfs::Stuck { since: s } if s == since));
        }
        // The runtime's time runs ahead of the thread.
        while HUNG_CALLS.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(HUNG_CALLS.load(Ordering::SeqCst), 1);

        *RELEASED.0.lock().unwrap() = true;
        RELEASED.1.notify_all();
        while !lock(&files.calls).is_empty() {
            tokio::task::yield_now().await;
        }
        let (_, answer) = files
            .start(mount)
            .expect("once it returned it is asked again");
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
        assert_eq!(HUNG_CALLS.load(Ordering::SeqCst), 2);
    }
}
