//! The clock of real processes, driven by a scenario. The test mains read it from a file; shipped binaries cannot.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use vigie_core::time::{Elapsed, Now, Wall};
use vigie_platform::clock::{Clock as _, SystemClock};

/// How far the clock moves at a time while it flies.
const STEP: Duration = Duration::from_secs(1);

/// Real time for each step: as often as the processes look.
const STEP_TAKES: Duration = Duration::from_millis(10);

/// Real time for each step of a walk: long enough that the processes do in each second what is due in it, on a loaded
/// machine too.
const WALK_TAKES: Duration = Duration::from_millis(50);

/// Time flies, or walks, until this is dropped.
#[derive(Debug)]
pub struct Flight(JoinHandle<()>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A clock that stands still until it is moved. Shared by all processes that are given it.
#[derive(Debug)]
pub struct DrivenClock {
    dir: TempDir,
    now: Mutex<Now>,
}

impl DrivenClock {
    /// A clock that shows the present: certificates are judged by the machine's own clock, and must be good by both.
    ///
    /// # Panics
    /// When its file cannot be written.
    #[must_use]
    pub fn new() -> Self {
        Self::at(SystemClock.wall())
    }

    /// A clock that shows `wall`: a moment of the last few days, for the sake of certificates.
    ///
    /// # Panics
    /// When its file cannot be written.
    #[must_use]
    pub fn at(wall: Wall) -> Self {
        let clock = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            now: Mutex::new(Now {
                wall,
                elapsed: Elapsed(1_000_000),
            }),
        };
        clock.change(|_| {});
        clock
    }

    /// The file that processes read.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("clock")
    }

    /// Lets `duration` pass in an instant, as a suspend does.
    pub fn jump(&self, duration: Duration) {
        let ms = whole_ms(duration);
        self.change(|now| {
            now.elapsed = now.elapsed.plus_ms(ms);
            now.wall = Wall(now.wall.0 + i64::try_from(ms).expect("scenarios are short"));
        });
    }

    /// Lets `duration` pass a second at a time, fast: every process sees every second.
    pub async fn fly(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.jump(step);
            left -= step;
            tokio::time::sleep(STEP_TAKES).await;
        }
    }

    /// Lets time fly until the guard is dropped, for what happens while a scenario waits.
    #[must_use]
    pub fn keep_flying(self: &Arc<Self>) -> Flight {
        let clock = Arc::clone(self);
        Flight(tokio::spawn(async move {
            loop {
                clock.fly(STEP).await;
            }
        }))
    }

    /// Lets time walk until the guard is dropped, for what needs some of it and must not be overtaken by it.
    #[must_use]
    pub fn keep_walking(self: &Arc<Self>) -> Flight {
        let clock = Arc::clone(self);
        Flight(tokio::spawn(async move {
            loop {
                clock.jump(STEP);
                tokio::time::sleep(WALK_TAKES).await;
            }
        }))
    }

    /// Steps civil time alone, as an administrator or a time server does.
    pub fn step_wall(&self, by_ms: i64) {
        self.change(|now| now.wall = Wall(now.wall.0 + by_ms));
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Now {
        *self.now.lock().expect("no holder panics")
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.now.lock().expect("no holder panics");
        change(&mut now);
        let new = self.dir.path().join("clock.new");
        write(&new, *now);
        std::fs::rename(new, self.path()).expect("the clock's file can be replaced");
    }
}

impl Default for DrivenClock {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, now: Now) {
    std::fs::write(path, format!("{} {}", now.wall.0, now.elapsed.0))
        .expect("the clock's file can be written");
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("scenarios are short")
}
