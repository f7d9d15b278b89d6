//! Tells when a settings file, or a `*.toml` in the `conf.d` beside it, has changed.
//!
//! inotify gives hints; what counts is that the files differ from those seen last (inode, size, times, mode). So a file
//! replaced by rename, a queue overflow, a swapped symbolic link and a hint that means nothing all come out right. Where
//! inotify fails, looking at intervals remains; a wait that is cancelled does not begin an interval anew. It reads metadata only, never contents, off the runtime's threads; it
//! writes nothing. Cancelling [`FileWatch::changed`] loses no change.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::EventKind;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use crate::settings_file::conf_d;

/// An editor or a configuration tool writes several files in one go; they are one change.
const QUIET: Duration = Duration::from_millis(500);

/// Somebody who writes without end is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look where inotify gives hints: only for what it cannot see, such as a folder that was moved away.
const LOOK_WITH_HINTS: Duration = Duration::from_secs(60);

/// How often to look where there are no hints.
const LOOK_WITHOUT_HINTS: Duration = Duration::from_secs(5);

/// One hint waiting says as much as many.
const HINTS_MAX: usize = 1;

/// A few more than the settings reader accepts, so that one file too many is seen to come and go.
const FILES_MAX: usize = 1_024;

/// A watch on a settings file and its `conf.d`.
#[derive(Debug)]
pub struct FileWatch {
    file: Arc<Path>,
    seen: Vec<Seen>,
    /// A hint was taken from the queue and not yet followed by a look.
    is_hinted: bool,
    /// When to look without a hint. Kept here, because callers drop [`FileWatch::changed`] more often than it looks.
    look_at: Instant,
    /// A look under way. Kept when the wait is cancelled, so that on a dead disk one thread hangs and not one a tick.
    looking: Option<JoinHandle<Vec<Seen>>>,
    hints: mpsc::Receiver<()>,
    watcher: Option<Arc<Mutex<RecommendedWatcher>>>,
}

/// A file as it was seen; a change of any of these is a change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    /// `None` if it could not be looked at.
    state: Option<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    /// Changes with every write, rename and chmod, whatever the other times are set to.
    changed: (i64, i64),
}

impl FileWatch {
    /// Watches `file` and the `conf.d` beside it. Begun before the settings are read, so that nothing falls between.
    pub async fn start(file: &Path) -> Self {
        let file: Arc<Path> = file.into();
        let (sender, hints) = mpsc::channel(HINTS_MAX);
        let watched = file.clone();
        let begun = spawn_blocking(move || {
            let watcher = match watch(&watched, sender) {
                Ok(watcher) => Some(Arc::new(Mutex::new(watcher))),
                Err(error) => {
                    warn!(%error, "cannot watch the settings through inotify; looking at intervals instead");
                    None
                }
            };
            (watcher, look(&watched))
        });
        // The blocking task neither panics nor is cancelled while the runtime lives; after that nobody asks.
        let (watcher, seen) = begun.await.unwrap_or_default();
        Self {
            file,
            seen,
            is_hinted: false,
            look_at: Instant::now() + interval(watcher.is_some()),
            looking: None,
            hints,
            watcher,
        }
    }

    /// Waits until the files differ from those seen at the start or at the last return, and are quiet.
    pub async fn changed(&mut self) {
        loop {
            if self.looking.is_none() {
                if !self.is_hinted {
                    tokio::select! {
                        Some(()) = self.hints.recv() => self.is_hinted = true,
                        () = sleep_until(self.look_at) => {}
                    }
                }
                if self.is_hinted {
                    self.until_quiet().await;
                }
            }
            let (file, watcher) = (&self.file, &self.watcher);
            let looking = self
                .looking
                .get_or_insert_with(|| begin_look(file.clone(), watcher.clone()));
            let looked = looking.await;
            self.looking = None;
            let Ok(now) = looked else {
                // Only when the runtime is going away.
                return std::future::pending().await;
            };
            self.is_hinted = false;
            self.look_at = Instant::now() + interval(self.watcher.is_some());
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    async fn until_quiet(&mut self) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let quiet = (Instant::now() + QUIET).min(patience);
            match timeout_at(quiet, self.hints.recv()).await {
                Ok(Some(())) if Instant::now() < patience => {}
                // The sender lives as long as the watcher; without one there is nothing to wait for.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

const fn interval(has_hints: bool) -> Duration {
    if has_hints {
        LOOK_WITH_HINTS
    } else {
        LOOK_WITHOUT_HINTS
    }
}

fn begin_look(
    file: Arc<Path>,
    watcher: Option<Arc<Mutex<RecommendedWatcher>>>,
) -> JoinHandle<Vec<Seen>> {
    spawn_blocking(move || {
        if let Some(watcher) = watcher {
            watch_conf_d(
                &mut watcher.lock().unwrap_or_else(PoisonError::into_inner),
                &file,
            );
        }
        look(&file)
    })
}

fn watch(file: &Path, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Our own reading of the files is an access, too. An error may stand for events that were lost.
        if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)) && !event.need_rescan())
        {
            // Full means that a hint is waiting already.
            let _ = sender.try_send(());
        }
    })?;
    // The folder, not the file: a file replaced by rename is another inode.
    watcher.watch(folder_of(file), RecursiveMode::NonRecursive)?;
    watch_conf_d(&mut watcher, file);
    Ok(watcher)
}

/// `conf.d` may come later or be replaced; watching it again when it is watched changes nothing.
fn watch_conf_d(watcher: &mut RecommendedWatcher, file: &Path) {
    // Absent is the common case, and the folder above tells when it comes.
    let _ = watcher.watch(&conf_d(file), RecursiveMode::NonRecursive);
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The files as they are now, the main one first, the others by name.
fn look(file: &Path) -> Vec<Seen> {
    let folder = conf_d(file);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().as_bytes();
            name.ends_with(b".toml") && !name.starts_with(b".")
        })
        .take(FILES_MAX)
        .collect();
    paths.sort();
    let state = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some(State {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    std::iter::once(file.to_owned())
        .chain(paths)
        .map(|path| Seen {
            state: state(&path),
            path,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use tokio::time::timeout;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        fs::write(&file, "a = 1").unwrap();
        (folder, file)
    }

    /// A watch without inotify, and the end through which the test gives hints.
    fn deaf(file: &Path) -> (FileWatch, mpsc::Sender<()>) {
        let (sender, hints) = mpsc::channel(HINTS_MAX);
        let watch = FileWatch {
            file: file.into(),
            seen: look(file),
            is_hinted: false,
            look_at: Instant::now() + LOOK_WITHOUT_HINTS,
            looking: None,
            hints,
            watcher: None,
        };
        (watch, sender)
    }

    fn replace(file: &Path, text: &str) {
        let new = file.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, file).unwrap();
    }

    #[tokio::test]
    async fn inotify_hints_at_a_replaced_file_and_at_a_new_conf_d() {
        let (folder, file) = folder();
        let mut watch = FileWatch::start(&file).await;
        assert!(watch.watcher.is_some());
        replace(&file, "a = 2");
        watch.hints.recv().await.unwrap();
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        watch.hints.recv().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_inotify_every_kind_of_change_is_seen_by_looking() {
        let (folder, file) = folder();
        let (mut watch, _sender) = deaf(&file);
        let conf_d = folder.path().join("conf.d");
        let changes: [&dyn Fn(); 6] = [
            &|| fs::write(&file, "a = 22").unwrap(),
            &|| replace(&file, "a = 33"),
            &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap(),
            &|| {
                fs::create_dir(&conf_d).unwrap();
                fs::write(conf_d.join("x.toml"), "").unwrap();
            },
            &|| fs::remove_file(conf_d.join("x.toml")).unwrap(),
            &|| fs::remove_file(&file).unwrap(),
        ];
        for change in changes {
            change();
            let begun = Instant::now();
            watch.changed().await;
            assert_eq!(begun.elapsed().as_secs(), LOOK_WITHOUT_HINTS.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_without_a_change_tells_nothing() {
        let (folder, file) = folder();
        let (mut watch, sender) = deaf(&file);
        fs::write(folder.path().join("other"), "").unwrap();
        sender.try_send(()).unwrap();
        assert!(
            timeout(Duration::from_secs(60), watch.changed())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn several_writes_are_one_change_told_when_they_end() {
        let (_folder, file) = folder();
        let (mut watch, sender) = deaf(&file);
        let begun = Instant::now();
        let writer = async {
            for text in ["a = 22", "a = 333", "a = 4444"] {
                fs::write(&file, text).unwrap();
                let _ = sender.try_send(());
                tokio::time::sleep(QUIET / 2).await;
            }
            begun.elapsed()
        };
        let ((), last) = tokio::join!(watch.changed(), writer);
        assert_eq!(watch.seen, look(&file));
        assert!(begun.elapsed() >= last);
        assert!(
            timeout(Duration::from_secs(60), watch.changed())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn writing_without_end_is_not_waited_for() {
        let (_folder, file) = folder();
        let (mut watch, sender) = deaf(&file);
        let begun = Instant::now();
        let writer = async {
            for n in 0_u32.. {
                fs::write(&file, "x".repeat(n as usize)).unwrap();
                let _ = sender.try_send(());
                tokio::time::sleep(QUIET / 2).await;
            }
        };
        tokio::select! {
            () = watch.changed() => {}
            () = writer => {}
        }
        assert!(begun.elapsed() <= PATIENCE + QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_cancelled_again_and_again_still_looks_at_intervals() {
        const TICK: Duration = Duration::from_secs(15);
        let (_folder, file) = folder();
        let (_sender, hints) = mpsc::channel(HINTS_MAX);
        let mut watch = FileWatch {
            hints,
            ..FileWatch::start(&file).await
        };
        assert!(watch.watcher.is_some());
        for text in ["a = 22", "a = 333"] {
            fs::write(&file, text).unwrap();
            let begun = Instant::now();
            while timeout(TICK, watch.changed()).await.is_err() {
                assert!(begun.elapsed() <= LOOK_WITH_HINTS, "nobody looks");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_loses_no_change() {
        let (_folder, file) = folder();
        let (mut watch, sender) = deaf(&file);
        fs::write(&file, "a = 22").unwrap();
        sender.try_send(()).unwrap();
        assert!(timeout(QUIET / 2, watch.changed()).await.is_err());
        let begun = Instant::now();
        watch.changed().await;
        assert!(begun.elapsed() < LOOK_WITHOUT_HINTS);
    }
}
