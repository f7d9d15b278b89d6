//! Where time enters the programs: one trait, read by everything that is not `core`.
//!
//! Two clocks are read apart and never mixed: [`Clock::wall`] is civil time and may step, [`Clock::elapsed`] is
//! CLOCK_BOOTTIME and only moves forward, suspend included. [`wait_until`] is the only way to sleep towards a
//! deadline, because a timer of the runtime counts CLOCK_MONOTONIC: it stands still while the machine is suspended and
//! knows nothing of a clock that a test drives.
//!
//! Cancelling [`wait_until`] is dropping its future; nothing is left behind. [`ManualClock`] and [`FileClock`] are for
//! tests (in one process, and in real processes with mains of the tests' own); no shipped binary builds one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};
use vigie_core::time::{Elapsed, Now, Wall};

/// How long a sleep towards a deadline may go by the runtime's own timers without looking at CLOCK_BOOTTIME again: after
/// a resume a deadline that passed during the suspend is noticed within this time. Longer sleeps are left to the kernel
/// ([`BootAlarm`]), which wakes nobody in between: a dozen tasks that look once a second cost more than what they do.
const SYSTEM_SLICE: Duration = Duration::from_secs(1);

/// Ten thousand years.
const NEVER_S: i64 = 10_000 * 366 * 86_400;

/// How often a sleeper looks at a clock that a test drives.
const DRIVEN_POLL: Duration = Duration::from_millis(10);

/// Both clocks of the machine.
pub trait Clock: Send + Sync {
    /// Civil time. May step either way at any moment.
    fn wall(&self) -> Wall;

    /// Time since boot, suspend included. Never steps back.
    fn elapsed(&self) -> Elapsed;

    /// The longest real time that may pass before a sleeper reads this clock again.
    fn poll_every(&self) -> Duration;

    /// An alarm of the kernel at `deadline`, if this clock is the kernel's own and it gives one.
    fn alarm(&self, deadline: Elapsed) -> Option<BootAlarm> {
        let _ = deadline;
        None
    }

    /// Both clocks, read one right after the other.
    fn now(&self) -> Now {
        Now {
            wall: self.wall(),
            elapsed: self.elapsed(),
        }
    }
}

/// A duration in whole milliseconds, the unit that clocks, settings and facts count in; what is too long is [`u64::MAX`].
#[must_use]
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns once `clock` has reached `deadline`; at once if it already has.
///
/// Needs a runtime with time enabled. Cancel-safe.
pub async fn wait_until(clock: &dyn Clock, deadline: Elapsed) {
    loop {
        let left_ms = deadline.since_ms(clock.elapsed());
        if left_ms == 0 {
            return;
        }
        let left = Duration::from_millis(left_ms);
        if left > clock.poll_every()
            && let Some(alarm) = clock.alarm(deadline)
        {
            alarm.rings().await;
            continue;
        }
        tokio::time::sleep(left.min(clock.poll_every())).await;
    }
}

/// A timer of the kernel on CLOCK_BOOTTIME (timerfd_create(2)): it goes on counting while the machine is suspended, and
/// one whose time passed rings at the resume.
#[derive(Debug)]
pub struct BootAlarm(AsyncFd<OwnedFd>);

impl BootAlarm {
    /// Set to ring once, at `deadline`.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    fn at(deadline: Elapsed) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                // No deadline is further away than the kernel can count; "never" is.
                tv_sec: i64::try_from(deadline.0 / 1_000)
                    .unwrap_or(i64::MAX)
                    .min(NEVER_S),
                tv_nsec: (deadline.0 % 1_000) as i64 * 1_000_000,
            },
        };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        #[expect(
            deprecated,
            reason = "sound with an owned descriptor, which no call changes; what replaces it is `unsafe`"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Returns when it rings, or when the runtime cannot say: then the caller looks at the clock.
    async fn rings(self) {
        let _ = self.0.readable().await;
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Wall {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
        Wall(
            tv_sec
                .saturating_mul(1000)
                .saturating_add(tv_nsec / 1_000_000),
        )
    }

    fn elapsed(&self) -> Elapsed {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
        let ms = tv_sec
            .saturating_mul(1000)
            .saturating_add(tv_nsec / 1_000_000);
        Elapsed(u64::try_from(ms).unwrap_or(0))
    }

    fn poll_every(&self) -> Duration {
        SYSTEM_SLICE
    }

    fn alarm(&self, deadline: Elapsed) -> Option<BootAlarm> {
        // Without one, the sleeper looks at the clock once a slice.
        BootAlarm::at(deadline).ok()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn at(now: Now) -> Self {
        Self {
            wall_ms: AtomicI64::new(now.wall.0),
            elapsed_ms: AtomicU64::new(now.elapsed.0),
        }
    }

    /// Lets time pass: moves both clocks.
    pub fn advance(&self, duration: Duration) {
        let ms = whole_ms(duration);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms
            .fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Steps civil time alone, as an administrator or a time server does.
    pub fn set_wall(&self, wall: Wall) {
        self.wall_ms.store(wall.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Wall {
        Wall(self.wall_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed(self.elapsed_ms.load(Ordering::SeqCst))
    }

    fn poll_every(&self) -> Duration {
        DRIVEN_POLL
    }
}

/// A clock that another process drives: a text file `wall_ms elapsed_ms`, read anew each time.
///
/// Replace the file with a rename. While it cannot be read or understood the last values stand, and elapsed time never
/// goes back even if the file does.
#[derive(Debug)]
pub struct FileClock {
    path: PathBuf,
    last: Mutex<Now>,
}

/// Why a [`FileClock`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FileClockError {
    /// The file cannot be read.
    #[error("cannot read clock file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file does not hold two whole numbers.
    #[error("clock file {path} does not hold `wall_ms elapsed_ms`")]
    Parse {
        /// The file.
        path: PathBuf,
    },
}

impl FileClock {
    /// Opens the clock; the file must exist and be readable now.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold two whole numbers.
    pub fn open(path: PathBuf) -> Result<Self, FileClockError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(FileClockError::Read { path, source }),
        };
        match parse_now(&text) {
            Some(now) => Ok(Self {
                path,
                last: Mutex::new(now),
            }),
            None => Err(FileClockError::Parse { path }),
        }
    }
}

impl Clock for FileClock {
    fn wall(&self) -> Wall {
        self.now().wall
    }

    fn elapsed(&self) -> Elapsed {
        self.now().elapsed
    }

    fn poll_every(&self) -> Duration {
        DRIVEN_POLL
    }

    fn now(&self) -> Now {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = fs::read_to_string(&self.path)
            .ok()
            .as_deref()
            .and_then(parse_now)
        {
            last.wall = read.wall;
            last.elapsed = last.elapsed.max(read.elapsed);
        }
        *last
    }
}

fn parse_now(text: &str) -> Option<Now> {
    let (wall, elapsed) = text.trim().split_once(' ')?;
    Some(Now {
        wall: Wall(wall.parse().ok()?),
        elapsed: Elapsed(elapsed.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const START: Now = Now {
        wall: Wall(1_000_000),
        elapsed: Elapsed(5_000),
    };

    #[test]
    fn the_system_clock_reads_both_clocks() {
        let before = SystemClock.now();
        let after = SystemClock.now();
        assert!(before.wall > Wall::parse("2020-01-01T00:00:00Z").unwrap());
        assert!(after.elapsed >= before.elapsed);
    }

    #[tokio::test]
    async fn the_kernels_alarm_rings_at_its_deadline_and_not_before() {
        let start = SystemClock.elapsed();
        let past = BootAlarm::at(Elapsed(1)).unwrap();
        past.rings().await;
        let soon = start.plus_ms(40);
        BootAlarm::at(soon).unwrap().rings().await;
        assert!(SystemClock.elapsed() >= soon);
        let never = BootAlarm::at(Elapsed(u64::MAX)).unwrap();
        let mut rings = pin!(never.rings());
        let polled = rings.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Pending);
    }

    #[tokio::test]
    async fn a_long_sleep_is_left_to_the_kernel() {
        let deadline = SystemClock.elapsed().plus_ms(1_200);
        wait_until(&SystemClock, deadline).await;
        assert!(SystemClock.elapsed() >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reached_deadline_does_not_sleep() {
        let clock = ManualClock::at(START);
        let mut wait = pin!(wait_until(&clock, Elapsed(5_000)));
        let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(()));
    }

    #[tokio::test(start_paused = true)]
    async fn moving_the_clock_wakes_the_sleeper_and_real_time_does_not() {
        let clock = ManualClock::at(START);
        let mut wait = pin!(wait_until(&clock, Elapsed(65_000)));
        let hour = Duration::from_secs(3_600);
        let slept = tokio::time::timeout(hour, wait.as_mut()).await;
        assert!(slept.is_err(), "the runtime's time is not this clock's");
        clock.advance(Duration::from_secs(60));
        wait.await;
        assert_eq!(clock.elapsed(), Elapsed(65_000));
    }

    #[test]
    fn a_step_of_civil_time_leaves_elapsed_time_alone() {
        let clock = ManualClock::at(START);
        clock.set_wall(Wall(0));
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.now().wall, Wall(7));
        assert_eq!(clock.now().elapsed, Elapsed(5_007));
    }

    #[test]
    fn a_file_drives_the_clock_and_an_unreadable_file_stops_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        fs::write(&path, "1000 20\n").unwrap();
        let clock = FileClock::open(path.clone()).unwrap();
        assert_eq!((clock.wall(), clock.elapsed()), (Wall(1000), Elapsed(20)));
        fs::write(&path, "-5 30").unwrap();
        assert_eq!((clock.wall(), clock.elapsed()), (Wall(-5), Elapsed(30)));
        fs::write(&path, "").unwrap();
        assert_eq!((clock.wall(), clock.elapsed()), (Wall(-5), Elapsed(30)));
        fs::write(&path, "7 10").unwrap();
        assert_eq!(clock.elapsed(), Elapsed(30), "elapsed time never goes back");
    }

    #[test]
    fn a_clock_file_that_says_nothing_is_refused_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        assert!(matches!(
            FileClock::open(path.clone()),
            Err(FileClockError::Read { .. })
        ));
        fs::write(&path, "soon").unwrap();
        assert!(matches!(
            FileClock::open(path),
            Err(FileClockError::Parse { .. })
        ));
    }
}
