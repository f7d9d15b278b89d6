//! `log_forwarding`: whether the machine's log is written, reaches back far enough, and leaves the machine.
//!
//! Judged apart, each an object in this check's own words: `journald`, and `rsyslog` or `syslog-ng` where one of them runs or
//! is enabled; `queue`, what rsyslog keeps on disk because it could not hand it on; `target`, the receiver of the log.
//!
//! **Written.** A daemon without a process is critical. One that lives and has written nothing for `silent` is a warning
//! at first: a quiet machine logs something each hour through cron and timers, hence two hours, where a full or broken
//! disk is silent for good. Both daemons touch their files at each write, journald too (it truncates its file to the length
//! that it has, after writing through memory).
//!
//! **Kept.** With `keep`, a journal in memory only, or one whose beginning was already thrown away and is younger than that,
//! is a warning. A machine that is itself younger than `keep` is not: its journal still holds its first entry.
//!
//! **Forwarded.** Only what the machine itself shows: sizes and ages of rsyslog's queue files, judged where a limit is
//! written (a queue of the type Disk keeps a drained file), and whether a TCP connection to `target` is open. What the
//! receiver did with the lines is the receiver's to tell.
//!
//! No line of any log is read, only names, lengths and times of files and the heads of journals.

mod connection;
mod journal;
mod queue;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, time::Duration};

use vigie_core::{
    observation::{Fact, MetricId, Object, Observation},
    reason::host::{
        LOG_CONNECTED, LOG_DISCONNECTED, LOG_OK, LOG_QUEUE, LOG_QUEUE_OK, LOG_SHORT, LOG_SILENT,
        LOG_STOPPED, LOG_UNTOLD, LOG_VOLATILE,
    },
    status::{Family, Status},
    time::Wall,
};
use vigie_machine::Context;
use vigie_platform::{clock::whole_ms, settings_file::Section};

use self::{connection::Target, journal::Storage, queue::Size};
use super::{
    daemon::{Daemon, Life},
    limits::{self, Limits},
    numbers::{as_metric, since_ms},
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const WRITTEN: MetricId = MetricId("vigie_log_last_write_timestamp_seconds");
const OLDEST: MetricId = MetricId("vigie_log_oldest_entry_timestamp_seconds");
const QUEUE_SIZE: MetricId = MetricId("vigie_log_queue_size_bytes");
const QUEUE_AGE: MetricId = MetricId("vigie_log_queue_age_seconds");
const CONNECTED: MetricId = MetricId("vigie_log_target_connected");

/// The kind `log_forwarding`.
pub static KIND: Kind = Kind {
    name: "log_forwarding",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: WRITTEN,
            metric_type: MetricType::Gauge,
            help: "When the log was last written to.",
            label: "",
        },
        MetricSpec {
            id: OLDEST,
            metric_type: MetricType::Gauge,
            help: "The oldest entry of the journal.",
            label: "",
        },
        MetricSpec {
            id: QUEUE_SIZE,
            metric_type: MetricType::Gauge,
            help: "What waits on disk to be forwarded.",
            label: "",
        },
        MetricSpec {
            id: QUEUE_AGE,
            metric_type: MetricType::Gauge,
            help: "How long ago the oldest file of what waits was last written to.",
            label: "",
        },
        MetricSpec {
            id: CONNECTED,
            metric_type: MetricType::Gauge,
            help: "Whether a connection to the receiver of the log is open (1) or not (0).",
            label: "",
        },
    ],
    target_key: "target",
    example: r#"[check.journaux]
kind = "log_forwarding"
every = "1m"
warning = { silent = "2h", queue_age = "15m", queue_size = "100MB" }
critical = { silent = "1d", queue_age = "4h" }
keep = "90d"
target = "logs.example:6514"
"#,
    build,
};

/// Limits of the silence where none are written, in milliseconds.
const SILENT_DEFAULT: Limits<u64> = Limits::new(2 * 3_600_000, 24 * 3_600_000);

const JOURNALD: Daemon = Daemon {
    process: "systemd-journal",
    units: &["systemd-journald.service"],
    pid_files: &[],
};

/// A daemon that writes text files.
struct Syslog {
    /// Its word and its object.
    word: &'static str,
    daemon: Daemon,
    /// Links that say that it should run.
    enabled: &'static [&'static str],
}

const SYSLOGS: [Syslog; 2] = [
    Syslog {
        word: "rsyslog",
        daemon: Daemon {
            process: "rsyslogd",
            units: &["rsyslog.service"],
            pid_files: &["run/rsyslogd.pid"],
        },
        enabled: &["etc/systemd/system/multi-user.target.wants/rsyslog.service"],
    },
    Syslog {
        word: "syslog-ng",
        daemon: Daemon {
            process: "syslog-ng",
            units: &["syslog-ng.service"],
            pid_files: &["run/syslog-ng.pid", "run/syslog-ng/syslog-ng.pid"],
        },
        enabled: &["etc/systemd/system/multi-user.target.wants/syslog-ng.service"],
    },
];

/// What they write on the Debian and RHEL families.
const SYSLOG_FILES: [&str; 2] = ["var/log/syslog", "var/log/messages"];

struct LogForwarding {
    /// In milliseconds.
    silent: Limits<u64>,
    /// In milliseconds; none where none is written.
    queue_age: Limits<u64>,
    /// In bytes; none where none is written.
    queue_size: Limits<u64>,
    is_queue_limited: bool,
    keep: Option<Duration>,
    target: Option<Target>,
    /// Where the files stand; tests have their own.
    root: PathBuf,
}

/// What was found of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Log {
    writer: &'static str,
    life: Life,
    /// Where it stands, for a journal.
    storage: Option<Storage>,
    /// When it was last written to.
    written: Option<Wall>,
    oldest: Option<Wall>,
    /// Whether its first entries are known to be still there.
    is_whole: bool,
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let keys = ["silent", "queue_age", "queue_size"];
    let [silent, queue_age, queue_size] = limits::read(section, keys, |table, key| match key {
        "queue_size" => table
            .parsed::<Size>(key, "write a size such as \"500kB\", \"100MB\" or \"2GB\"")
            .try_map(|size| Ok(size.bytes())),
        _ => table
            .duration(key)
            .try_map(|duration| Ok(whole_ms(duration))),
    });
    let target_mend =
        "write the receiver's name or address and its port, such as \"logs.example:6514\"";
    Some(Box::new(LogForwarding {
        silent: silent.or(SILENT_DEFAULT),
        is_queue_limited: [queue_age, queue_size]
            .iter()
            .any(|limits| limits.judge(|_| true).limit().is_some()),
        queue_age,
        queue_size,
        keep: section.duration("keep").optional(),
        target: section.parsed("target", target_mend).optional(),
        root: "/".into(),
    }))
}

impl Check for LogForwarding {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            let now = context.clock.wall();
            let mut observations = Vec::new();
            let mut see = |word: &str, seen: Observation| {
                let object = Object::configured(word).expect("a word of this file");
                observations.push(seen.of(object));
            };
            let syslog = self.look_at_syslog(context).await;
            // Without any log, the journal is what is missing.
            if let Some(log) = self.look_at_journal(context, syslog.is_none()).await {
                see(log.writer, self.judge(&log, now));
            }
            if let Some(log) = syslog {
                see(log.writer, self.judge(&log, now));
            }
            if let Some(seen) = self.look_at_queue(context, now).await {
                see("queue", seen);
            }
            if let Some(target) = &self.target {
                see("target", look_at_target(context, &self.root, target).await);
            }
            observations
        })
    }
}

impl LogForwarding {
    async fn look_at_journal(&self, context: &Context, is_wanted: bool) -> Option<Log> {
        let life = JOURNALD.life(context, &self.root).await;
        let journal = journal::look(context, &self.root).await;
        if journal.is_none() && life != Life::Alive && !is_wanted {
            return None;
        }
        Some(Log {
            writer: "journald",
            life,
            storage: journal.map(|journal| journal.storage),
            written: journal.map(|journal| journal.written),
            oldest: journal.and_then(|journal| journal.oldest),
            is_whole: journal.is_some_and(|journal| journal.is_whole),
        })
    }

    async fn look_at_syslog(&self, context: &Context) -> Option<Log> {
        let mut written = None;
        for file in SYSLOG_FILES {
            let stamp = context.files.stamp(&self.root.join(file)).await.ok();
            written = written.max(stamp.map(|stamp| stamp.modified));
        }
        for syslog in &SYSLOGS {
            let life = syslog.daemon.life(context, &self.root).await;
            let mut should_run = life == Life::Alive;
            for link in syslog.enabled {
                should_run |= context.files.stamp(&self.root.join(link)).await.is_ok();
            }
            if should_run {
                return Some(Log {
                    writer: syslog.word,
                    life,
                    storage: None,
                    written,
                    oldest: None,
                    is_whole: false,
                });
            }
        }
        None
    }

    async fn look_at_queue(&self, context: &Context, now: Wall) -> Option<Observation> {
        match queue::look(context, &self.root).await {
            Ok(queue) => Some(self.judge_queue(&queue, now)),
            // Where nobody wrote a limit, a queue that is not there or not ours to see is nothing to tell.
            Err(_) if !self.is_queue_limited => None,
            Err(error) => Some(untold("queue", Some(&error))),
        }
    }

    fn judge(&self, log: &Log, now: Wall) -> Observation {
        let silent_ms = log.written.map(|written| since_ms(written, now));
        let told = self.judge_life(log, silent_ms).unwrap_or_else(|| {
            self.judge_reach(log, now).unwrap_or_else(|| {
                let mut seen = Observation::new(Status::Ok, LOG_OK).fact("writer", log.writer);
                if let Some(storage) = log.storage {
                    seen = seen.fact("storage", storage.word());
                }
                if let Some(silent_ms) = silent_ms {
                    seen = seen.fact("silent_ms", silent_ms);
                }
                if let Some(oldest) = log.oldest {
                    seen = seen.fact("oldest", Fact::Time(oldest));
                }
                seen
            })
        });
        let measured = [(WRITTEN, log.written), (OLDEST, log.oldest)];
        measured
            .into_iter()
            .fold(told, |seen, (metric, at)| match at {
                Some(at) => seen.measure(metric, as_metric(since_ms(Wall(0), at)) / 1e3),
                None => seen,
            })
    }

    /// What is wrong with the writing, if anything is.
    fn judge_life(&self, log: &Log, silent_ms: Option<u64>) -> Option<Observation> {
        if log.life == Life::Gone {
            let seen = Observation::new(Status::Critical, LOG_STOPPED).fact("writer", log.writer);
            return Some(match silent_ms {
                Some(silent_ms) => seen.fact("silent_ms", silent_ms),
                None => seen,
            });
        }
        let Some(silent_ms) = silent_ms else {
            return Some(untold(log.writer, None));
        };
        let verdict = self.silent.judge(|limit| silent_ms >= limit);
        let limit = verdict.limit()?;
        Some(
            Observation::new(verdict.status(), LOG_SILENT)
                .fact("writer", log.writer)
                .fact("silent_ms", silent_ms)
                .fact("limit_ms", limit),
        )
    }

    /// What is wrong with how far a journal reaches back, if anything is.
    fn judge_reach(&self, log: &Log, now: Wall) -> Option<Observation> {
        let limit_ms = whole_ms(self.keep?);
        if log.storage? == Storage::Volatile {
            let seen = Observation::new(Status::Warning, LOG_VOLATILE);
            return Some(seen.fact("writer", log.writer).fact("limit_ms", limit_ms));
        }
        let Some(oldest) = log.oldest else {
            return Some(untold(log.writer, None));
        };
        let kept_ms = since_ms(oldest, now);
        (kept_ms < limit_ms && !log.is_whole).then(|| {
            Observation::new(Status::Warning, LOG_SHORT)
                .fact("writer", log.writer)
                .fact("kept_ms", kept_ms)
                .fact("limit_ms", limit_ms)
                .fact("oldest", Fact::Time(oldest))
        })
    }

    fn judge_queue(&self, queue: &queue::Queue, now: Wall) -> Observation {
        let age_ms = queue.oldest.map_or(0, |oldest| since_ms(oldest, now));
        let by_age = self.queue_age.judge(|limit| age_ms >= limit);
        let by_size = self.queue_size.judge(|limit| queue.bytes >= limit);
        let status = if by_size.status().rank() > by_age.status().rank() {
            by_size.status()
        } else {
            by_age.status()
        };
        let mut seen = match status {
            Status::Ok => Observation::new(Status::Ok, LOG_QUEUE_OK),
            bad => {
                let mut seen = Observation::new(bad, LOG_QUEUE);
                if let Some(limit) = by_age.limit() {
                    seen = seen.fact("limit_ms", limit);
                }
                if let Some(limit) = by_size.limit() {
                    seen = seen.fact("limit_bytes", limit);
                }
                seen
            }
        };
        seen = seen
            .fact("queue_bytes", queue.bytes)
            .fact("queue_age_ms", age_ms);
        seen.measure(QUEUE_SIZE, as_metric(queue.bytes))
            .measure(QUEUE_AGE, as_metric(age_ms) / 1e3)
    }
}

async fn look_at_target(context: &Context, root: &std::path::Path, target: &Target) -> Observation {
    match target.is_connected(context, root).await {
        Ok(true) => Observation::new(Status::Ok, LOG_CONNECTED).measure(CONNECTED, 1.0),
        // Whoever names a receiver wants each line to leave the machine before somebody can change it there.
        Ok(false) => Observation::new(Status::Critical, LOG_DISCONNECTED).measure(CONNECTED, 0.0),
        Err(error) => untold("target", error.as_ref()),
    }
}

fn untold(what: &'static str, error: Option<&io::Error>) -> Observation {
    let seen = Observation::new(Status::Unknown, LOG_UNTOLD).fact("writer", what);
    match error.and_then(io::Error::raw_os_error) {
        Some(errno) => seen.fact("errno", i64::from(errno)),
        None => seen,
    }
}
