//! A machine made of texts, for the tests of this family.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use vigie_core::{
    observation::{MetricId, Observation},
    time::Elapsed,
};
use vigie_machine::{
    Answer, Context,
    files::{EachLine, Files, Listed, Stamp, Statvfs, Usage, Walk},
};
use vigie_platform::{
    clock::SystemClock,
    settings_file::{self, Mistakes},
};

use crate::{Check, Kind};

/// What `statvfs` of a mount answers.
#[derive(Clone, Copy)]
pub(super) enum Mounted {
    Is(Usage),
    Fails(i32),
    HangsSince(Elapsed),
}

/// Files and file systems that a test wrote.
#[derive(Default, Clone)]
pub(super) struct Machine(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Contents one after the other; the last one stays.
    files: HashMap<PathBuf, VecDeque<Vec<u8>>>,
    mounts: HashMap<PathBuf, Mounted>,
    asked: Vec<PathBuf>,
}

impl Machine {
    /// The machine that the test runs on.
    pub(super) fn real() -> Context {
        Context::of_this_machine(Arc::new(SystemClock))
    }

    pub(super) fn context(&self) -> Context {
        Context {
            files: Arc::new(self.clone()),
            ..Self::real()
        }
    }

    pub(super) fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        self.file_then(path, [content]);
    }

    pub(super) fn file_then<T: AsRef<[u8]>>(
        &self,
        path: &str,
        contents: impl IntoIterator<Item = T>,
    ) {
        let contents = contents
            .into_iter()
            .map(|content| content.as_ref().to_vec())
            .collect();
        self.0.lock().unwrap().files.insert(path.into(), contents);
    }

    pub(super) fn mount(&self, path: impl Into<PathBuf>, mounted: Mounted) {
        self.0.lock().unwrap().mounts.insert(path.into(), mounted);
    }

    /// The mounts that were asked, in order of path.
    pub(super) fn asked(&self) -> Vec<PathBuf> {
        let mut asked = std::mem::take(&mut self.0.lock().unwrap().asked);
        asked.sort();
        asked
    }
}

impl Files for Machine {
    fn read<'a>(&'a self, path: &'a Path, max_bytes: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        let mut inner = self.0.lock().unwrap();
        let content = match inner.files.get_mut(path) {
            Some(contents) if contents.len() > 1 => contents.pop_front(),
            Some(contents) => contents.front().cloned(),
            None => None,
        };
        let not_found = || io::Error::from_raw_os_error(2);
        let content = content
            .filter(|content| content.len() <= max_bytes)
            .ok_or_else(not_found);
        Box::pin(std::future::ready(content))
    }

    fn read_start<'a>(&'a self, path: &'a Path, len: usize) -> Answer<'a, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let mut content = self.read(path, usize::MAX).await?;
            content.truncate(len);
            Ok(content)
        })
    }

    fn stamp<'a>(&'a self, _path: &'a Path) -> Answer<'a, io::Result<Stamp>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn list<'a>(
        &'a self,
        _path: &'a Path,
        _entries_max: usize,
    ) -> Answer<'a, io::Result<Vec<Listed>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn walk_lines<'a>(
        &'a self,
        path: &'a Path,
        _walk: Walk,
        mut each: EachLine,
    ) -> Answer<'a, io::Result<()>> {
        Box::pin(async move {
            let content = self.read(path, usize::MAX).await?;
            let _whole = content.split(|byte| *byte == b'\n').try_for_each(&mut each);
            Ok(())
        })
    }

    fn statvfs<'a>(&'a self, path: &'a Path) -> Answer<'a, Statvfs> {
        let mut inner = self.0.lock().unwrap();
        inner.asked.push(path.to_owned());
        let answer = match inner.mounts.get(path) {
            Some(Mounted::Is(usage)) => Statvfs::Measured(*usage),
            Some(Mounted::Fails(errno)) => Statvfs::Failed(io::Error::from_raw_os_error(*errno)),
            Some(Mounted::HangsSince(since)) => Statvfs::Stuck { since: *since },
            None => Statvfs::Failed(io::Error::from_raw_os_error(2)),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// The check of `kind` with these lines in its section.
pub(super) fn settings(kind: &Kind, text: &str) -> Result<Box<dyn Check>, Mistakes> {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(
        &file,
        format!("[check.x]\nkind = \"{}\"\n{text}\n", kind.name),
    )
    .unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let loaded = settings_file::load(&file, [] as [(&str, &str); 0]);
    let check = {
        let root = loaded.root();
        let mut sections = root.tables("check");
        let section = sections.first_mut().unwrap();
        assert!(section.has("kind"));
        (kind.build)(section)
    };
    loaded.finish(check)
}

/// The value measured under `metric`.
pub(super) fn measured(observation: &Observation, metric: MetricId) -> f64 {
    observation
        .measurements
        .iter()
        .find(|m| m.metric == metric)
        .unwrap()
        .value
}

/// Writes one file of a machine whose files stand below `root`.
pub(super) fn write_below(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Sets when a file below `root` was last written.
pub(super) fn written_at(root: &Path, path: &str, at: vigie_core::time::Wall) {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at.0.try_into().unwrap());
    std::fs::File::open(root.join(path))
        .unwrap()
        .set_modified(at)
        .unwrap();
}

/// The machine that the test runs on, at a moment of the test's choosing.
pub(super) fn machine_at(
    now: vigie_core::time::Wall,
) -> (Context, Arc<vigie_platform::clock::ManualClock>) {
    let clock = Arc::new(vigie_platform::clock::ManualClock::at(
        vigie_core::time::Now {
            wall: now,
            elapsed: Elapsed(1_000_000),
        },
    ));
    let context =
        Context::of_this_machine(Arc::clone(&clock) as Arc<dyn vigie_platform::clock::Clock>);
    (context, clock)
}

/// Writes a program of the test's own.
pub(super) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
