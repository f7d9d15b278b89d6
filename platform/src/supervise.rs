//! Tasks by name: no task of a program ends without the program learning which one and why.
//!
//! A task either ends the program (`Restart::Never`) or is begun again within bounds. Release builds abort on a panic, so
//! there a panic ends the process at once; test and development builds unwind and it arrives here as [`TaskEnd::Panicked`].
//! Dropping the [`Supervisor`] ends all tasks where they wait, so an orderly stop drains them first.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument, error, error_span, warn};

/// Whether a task may be begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Its end is the end of the program.
    Never,
    /// Begun again after `delay`, unless it has ended more than `times` within `window`.
    Within {
        /// How many ends are borne.
        times: usize,
        /// The time in which they are counted.
        window: Duration,
        /// How long to wait before each new beginning, so that a fault at start does not spin.
        delay: Duration,
    },
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// It returned, which no supervised task does by itself.
    Returned,
    /// It panicked, with this message.
    Panicked(String),
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => f.write_str("it returned"),
            Self::Panicked(message) => write!(f, "it panicked: {message}"),
        }
    }
}

/// The task whose end is the end of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {name:?} ended ({end}) and may not be restarted{}", if *.restarts > 0 { " any more" } else { "" })]
pub struct TaskLost {
    /// The task.
    pub name: &'static str,
    /// How it ended the last time.
    pub end: TaskEnd,
    /// How often it had been begun again before.
    pub restarts: u64,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    name: &'static str,
    restart: Restart,
    begin: Box<dyn FnMut() -> Option<Work> + Send>,
    /// The ends within the window; never longer than the policy's `times` and one.
    ends: VecDeque<Instant>,
    restarts: u64,
}

/// The running tasks of a program.
#[derive(Default)]
pub struct Supervisor {
    running: JoinSet<()>,
    tasks: HashMap<Id, Task>,
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task whose end is the end of the program.
    pub fn spawn(
        &mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let mut work: Option<Work> = Some(Box::pin(work));
        self.begin(
            Task {
                name,
                restart: Restart::Never,
                begin: Box::new(move || work.take()),
                ends: VecDeque::new(),
                restarts: 0,
            },
            Duration::ZERO,
        )
    }

    /// Runs a task that is begun anew by calling `begin` when it ends, as far as `restart` allows.
    pub fn spawn_restartable<W>(
        &mut self,
        name: &'static str,
        restart: Restart,
        begin: impl Fn() -> W + Send + Sync + 'static,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        let begin = Arc::new(begin);
        let task = Task {
            name,
            restart,
            begin: Box::new(move || {
                let begin = begin.clone();
                // Called inside the new task, so that a panic in `begin` is the task's own end as well.
                Some(Box::pin(async move { begin().await }))
            }),
            ends: VecDeque::new(),
            restarts: 0,
        };
        self.begin(task, Duration::ZERO);
    }

    /// Waits until a task ends that may not be begun again; restarts the others meanwhile. Without tasks it waits forever.
    ///
    /// Cancelling is safe: the tasks go on, and an end that happens between two calls is found by the next.
    /// A task ended through its [`AbortHandle`] is no loss.
    pub async fn lost(&mut self) -> TaskLost {
        loop {
            let Some(ended) = self.running.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (id, end) = match ended {
                Ok((id, ())) => (id, Some(TaskEnd::Returned)),
                Err(error) => (error.id(), panicked(error)),
            };
            let (Some(mut task), Some(end)) = (self.tasks.remove(&id), end) else {
                continue;
            };
            match task.delay_after(Instant::now()) {
                Some(delay) => {
                    task.restarts += 1;
                    warn!(task = task.name, %end, restarts = task.restarts, "task begun again");
                    self.begin(task, delay);
                }
                None => {
                    error!(task = task.name, %end, restarts = task.restarts, "task lost");
                    return TaskLost {
                        name: task.name,
                        end,
                        restarts: task.restarts,
                    };
                }
            }
        }
    }

    fn begin(&mut self, mut task: Task, delay: Duration) -> AbortHandle {
        let span = error_span!("task", name = task.name);
        let work = (task.begin)();
        let handle = self.running.spawn(
            async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                if let Some(work) = work {
                    work.await;
                }
            }
            .instrument(span),
        );
        self.tasks.insert(handle.id(), task);
        handle
    }
}

impl Task {
    /// How long to wait before the next beginning; `None` if there is none.
    fn delay_after(&mut self, now: Instant) -> Option<Duration> {
        let Restart::Within {
            times,
            window,
            delay,
        } = self.restart
        else {
            return None;
        };
        self.ends.push_back(now);
        while self
            .ends
            .front()
            .is_some_and(|end| now.duration_since(*end) > window)
        {
            self.ends.pop_front();
        }
        (self.ends.len() <= times).then_some(delay)
    }
}

/// `None` if the task was ended from outside.
fn panicked(error: JoinError) -> Option<TaskEnd> {
    let payload: Box<dyn Any + Send> = error.try_into_panic().ok()?;
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    Some(TaskEnd::Panicked(
        message.unwrap_or_else(|| "no message".to_owned()),
    ))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const TWICE: Restart = Restart::Within {
        times: 2,
        window: Duration::from_secs(60),
        delay: Duration::from_secs(1),
    };

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_an_early_return_are_learnt_by_name() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn("steady", pending());
        supervisor.spawn("engine", async { panic!("no disk") });
        let lost = supervisor.lost().await;
        assert_eq!(
            (lost.name, &lost.end),
            ("engine", &TaskEnd::Panicked("no disk".to_owned()))
        );
        assert_eq!(
            lost.to_string(),
            "the task \"engine\" ended (it panicked: no disk) and may not be restarted"
        );
        supervisor.spawn("push", async {});
        let lost = supervisor.lost().await;
        assert_eq!((lost.name, lost.end), ("push", TaskEnd::Returned));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restartable_task_is_lost_when_it_ends_too_often() {
        let begun = Arc::new(AtomicU32::new(0));
        let mut supervisor = Supervisor::new();
        let count = begun.clone();
        supervisor.spawn_restartable("watch", TWICE, move || {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        });
        let start = Instant::now();
        let lost = supervisor.lost().await;
        assert_eq!((lost.name, lost.restarts), ("watch", 2));
        assert_eq!(begun.load(Ordering::SeqCst), 3);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_outside_the_window_are_forgotten() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn_restartable("watch", TWICE, || {
            tokio::time::sleep(Duration::from_secs(50))
        });
        let lost = tokio::time::timeout(Duration::from_secs(3600), supervisor.lost()).await;
        assert!(lost.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_ended_on_purpose_is_no_loss() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn("watch", pending()).abort();
        assert!(
            tokio::time::timeout(Duration::from_secs(1), supervisor.lost())
                .await
                .is_err()
        );
    }
}
