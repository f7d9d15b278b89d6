//! `clock`: whether something keeps the clock right, and by how much it is off.
//!
//! **Who is asked.** chrony if it runs, through `chronyc`; else systemd-timesyncd, through `timedatectl` and the file that
//! it touches at each synchronisation; else the kernel's own word (adjtimex(2), told by `timedatectl`; no wrapper of that
//! call without `unsafe` of ours reads it). What runs and does not answer is `unknown`: nobody else is asked in its place,
//! for the kernel's word outlives a daemon that hangs by hours. Steps of the clock are the runner's to tell.
//!
//! **What is judged.** First, whether the clock is synchronised. It is not for some minutes after every boot and whenever
//! the network is away, which nobody should be woken for; a clock drifts 50 to 100 µs a second at worst, so that an hour is
//! some 0.3 s and begins to cost: certificates, one-time passwords and the order of lines in a log. Hence not being
//! synchronised is a warning, and critical after `unsynchronised_for`. Then the offset against its limits. Then whether
//! any source was heard within that time: a daemon goes on counting the clock as right for hours without one, so that
//! alone is a warning.
//!
//! The offset is the machine's clock less the true time, so that more than 0 is fast. Where only the kernel tells there is
//! none: written limits are then `unknown`, and the default ones do not apply. No name or address of a source leaves the
//! node: internal ones tell of the network.

mod chrony;
#[cfg(test)]
mod tests;
mod timedate;

use std::{path::PathBuf, time::Duration};

use vigie_core::{
    observation::{Fact, MetricId, Observation},
    reason::host::{
        CLOCK_NO_SOURCE, CLOCK_OFFSET, CLOCK_OFFSET_UNTOLD, CLOCK_OK, CLOCK_SILENT,
        CLOCK_UNSYNCHRONISED, CLOCK_UNTOLD,
    },
    status::{Family, Status},
    time::{Elapsed, Now, Wall},
};
use vigie_machine::{
    Context,
    commands::{Command, CommandError, CommandOutput},
};
use vigie_platform::{clock::whole_ms, settings_file::Section};

use super::{
    limits::{self, Limits},
    numbers::as_metric,
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const OFFSET: MetricId = MetricId("vigie_clock_offset_seconds");
const SYNCHRONISED: MetricId = MetricId("vigie_clock_synchronised");
const SOURCES: MetricId = MetricId("vigie_clock_sources");
const STRATUM: MetricId = MetricId("vigie_clock_stratum");
const ROOT_DELAY: MetricId = MetricId("vigie_clock_root_delay_seconds");
const ROOT_DISPERSION: MetricId = MetricId("vigie_clock_root_dispersion_seconds");
const LAST_SYNC: MetricId = MetricId("vigie_clock_last_sync_timestamp_seconds");

/// The kind `clock`.
pub static KIND: Kind = Kind {
    name: "clock",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: OFFSET,
            metric_type: MetricType::Gauge,
            help: "The clock less the true time, as the daemon that keeps it estimates.",
            label: "",
        },
        MetricSpec {
            id: SYNCHRONISED,
            metric_type: MetricType::Gauge,
            help: "Whether the clock is synchronised (1) or not (0).",
            label: "",
        },
        MetricSpec {
            id: SOURCES,
            metric_type: MetricType::Gauge,
            help: "Sources of time that answer and agree.",
            label: "",
        },
        MetricSpec {
            id: STRATUM,
            metric_type: MetricType::Gauge,
            help: "Steps between this clock and a reference clock.",
            label: "",
        },
        MetricSpec {
            id: ROOT_DELAY,
            metric_type: MetricType::Gauge,
            help: "Round trip to the reference clock.",
            label: "",
        },
        MetricSpec {
            id: ROOT_DISPERSION,
            metric_type: MetricType::Gauge,
            help: "Uncertainty gathered on the way from the reference clock.",
            label: "",
        },
        MetricSpec {
            id: LAST_SYNC,
            metric_type: MetricType::Gauge,
            help: "When the clock was last compared with a source.",
            label: "",
        },
    ],
    target_key: "",
    example: r#"[check.horloge]
kind = "clock"
every = "1m"
warning = { offset = "100ms" }
critical = { offset = "1s" }
unsynchronised_for = "1h"
"#,
    build,
};

/// Limits of the offset where none are written.
const OFFSET_DEFAULT: Limits<Duration> =
    Limits::new(Duration::from_millis(100), Duration::from_secs(1));

const UNSYNCHRONISED_FOR_DEFAULT: Duration = Duration::from_secs(3_600);

/// What these programs print is a page at most; a thousand sources fit.
const OUTPUT_LEN_MAX: usize = 256 * 1024;

struct Clock {
    offset: Limits<Duration>,
    /// Whether the limits are the administrator's.
    is_offset_written: bool,
    unsynchronised_for: Duration,
    /// Since when this check has seen the clock unsynchronised, run for run.
    unsynchronised_since: Option<Elapsed>,
    /// What is asked; tests ask others.
    machine: Machine,
}

/// Where the answers come from.
#[derive(Debug, Clone)]
struct Machine {
    root: PathBuf,
    chronyc: PathBuf,
    /// Arguments before chronyc's own.
    chronyc_arguments: Vec<String>,
    timedatectl: PathBuf,
}

impl Machine {
    fn this() -> Self {
        Self {
            root: "/".into(),
            chronyc: "/usr/bin/chronyc".into(),
            chronyc_arguments: Vec::new(),
            timedatectl: "/usr/bin/timedatectl".into(),
        }
    }
}

/// How the clock stands, as one of the three tells it.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    /// Who told.
    source: &'static str,
    is_synchronised: bool,
    /// The clock less the true time, in seconds.
    offset_seconds: Option<f64>,
    /// Sources that answer and agree.
    sources: Option<u64>,
    stratum: Option<u64>,
    root_delay_seconds: Option<f64>,
    root_dispersion_seconds: Option<f64>,
    /// When the clock was last compared with a source.
    last_sync: Option<Wall>,
}

impl Reading {
    const fn of(source: &'static str, is_synchronised: bool) -> Self {
        Self {
            source,
            is_synchronised,
            offset_seconds: None,
            sources: None,
            stratum: None,
            root_delay_seconds: None,
            root_dispersion_seconds: None,
            last_sync: None,
        }
    }
}

/// What one of the three answered.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    /// How the clock stands.
    Reading(Reading),
    /// It runs and does not tell.
    Silent(&'static str),
    /// It does not run here.
    Absent,
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let [offset] = limits::read(section, ["offset"], |table, key| table.duration(key));
    let unsynchronised_for = section
        .duration("unsynchronised_for")
        .or(UNSYNCHRONISED_FOR_DEFAULT);
    Some(Box::new(Clock {
        is_offset_written: offset.or(OFFSET_DEFAULT) == offset,
        offset: offset.or(OFFSET_DEFAULT),
        unsynchronised_for,
        unsynchronised_since: None,
        machine: Machine::this(),
    }))
}

impl Check for Clock {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            let told = self.machine.ask(context).await;
            let now = context.clock.now();
            vec![match told {
                Told::Reading(reading) => self.judge(&reading, now),
                Told::Silent(source) => {
                    Observation::new(Status::Unknown, CLOCK_SILENT).fact("source", source)
                }
                Told::Absent => Observation::new(Status::Unknown, CLOCK_UNTOLD),
            }]
        })
    }
}

impl Machine {
    async fn ask(&self, context: &Context) -> Told {
        match chrony::ask(self, context).await {
            Told::Absent => {}
            told => return told,
        }
        match timedate::ask_timesyncd(self, context).await {
            Told::Absent => {}
            told => return told,
        }
        timedate::ask_kernel(self, context).await
    }
}

impl Clock {
    fn judge(&mut self, reading: &Reading, now: Now) -> Observation {
        if reading.is_synchronised {
            self.unsynchronised_since = None;
            return with_numbers(self.judge_synchronised(reading, now.wall), reading);
        }
        let seen_since = *self.unsynchronised_since.get_or_insert(now.elapsed);
        let seen_ms = now.elapsed.since_ms(seen_since);
        // How long ago by the clock in question: of the two answers the longer one counts.
        let told_ms = reading
            .last_sync
            .and_then(|last| u64::try_from(now.wall.0.saturating_sub(last.0)).ok());
        let for_ms = told_ms.map_or(seen_ms, |told| told.max(seen_ms));
        let limit_ms = whole_ms(self.unsynchronised_for);
        let status = if for_ms >= limit_ms {
            Status::Critical
        } else {
            Status::Warning
        };
        let mut seen = Observation::new(status, CLOCK_UNSYNCHRONISED)
            .fact("source", reading.source)
            .fact("for_ms", for_ms)
            .fact("limit_ms", limit_ms);
        if let Some(last) = reading.last_sync {
            seen = seen.fact("since", Fact::Time(last));
        }
        with_numbers(seen, reading)
    }

    fn judge_synchronised(&self, reading: &Reading, now: Wall) -> Observation {
        let limit_ms = i64::try_from(whole_ms(self.unsynchronised_for)).unwrap_or(i64::MAX);
        let is_unheard = reading.sources == Some(0)
            || reading
                .last_sync
                .is_some_and(|last| now.0.saturating_sub(last.0) >= limit_ms);
        let Some(offset_seconds) = reading.offset_seconds else {
            if self.is_offset_written {
                return Observation::new(Status::Unknown, CLOCK_OFFSET_UNTOLD)
                    .fact("source", reading.source);
            }
            return Observation::new(Status::Ok, CLOCK_OK);
        };
        let verdict = self
            .offset
            .judge(|limit| offset_seconds.abs() >= limit.as_secs_f64());
        let seen = match verdict.limit() {
            Some(limit) => Observation::new(verdict.status(), CLOCK_OFFSET)
                .fact("offset_ms", scaled(offset_seconds, 1e3))
                .fact("limit_ms", whole_ms(limit)),
            None if is_unheard => {
                let seen = Observation::new(Status::Warning, CLOCK_NO_SOURCE);
                match reading.last_sync {
                    Some(last) => seen.fact("since", Fact::Time(last)),
                    None => seen,
                }
            }
            None => Observation::new(Status::Ok, CLOCK_OK),
        };
        seen.fact("offset_us", scaled(offset_seconds, 1e6))
    }
}

/// `seen` with what every reading may tell.
fn with_numbers(mut seen: Observation, reading: &Reading) -> Observation {
    let declares = |seen: &Observation, key: &str| seen.reason.fact_type(key).is_some();
    if declares(&seen, "source") {
        seen = seen.fact("source", reading.source);
    }
    if let Some(sources) = reading.sources {
        if declares(&seen, "sources") {
            seen = seen.fact("sources", sources);
        }
        seen = seen.measure(SOURCES, as_metric(sources));
    }
    if let Some(stratum) = reading.stratum {
        if declares(&seen, "stratum") {
            seen = seen.fact("stratum", stratum);
        }
        seen = seen.measure(STRATUM, as_metric(stratum));
    }
    seen = seen.measure(SYNCHRONISED, f64::from(u8::from(reading.is_synchronised)));
    let last_sync = reading
        .last_sync
        .map(|last| Duration::from_millis(u64::try_from(last.0).unwrap_or(0)));
    let measured = [
        (OFFSET, reading.offset_seconds),
        (ROOT_DELAY, reading.root_delay_seconds),
        (ROOT_DISPERSION, reading.root_dispersion_seconds),
        (LAST_SYNC, last_sync.map(|last| last.as_secs_f64())),
    ];
    for (metric, value) in measured {
        if let Some(value) = value {
            seen = seen.measure(metric, value);
        }
    }
    seen
}

/// Runs one of the programs, within two thirds of the time left, so that there is time to say that it hung.
async fn run_program(
    context: &Context,
    program: &std::path::Path,
    arguments: impl IntoIterator<Item = &str>,
) -> Result<CommandOutput, CommandError> {
    let command = Command {
        program: program.to_owned(),
        arguments: arguments.into_iter().map(Into::into).collect(),
        output_len_max: OUTPUT_LEN_MAX,
    };
    let now = context.clock.elapsed();
    let left_ms = context.own_deadline().since_ms(now);
    context
        .commands
        .run(&command, now.plus_ms(left_ms - left_ms / 3))
        .await
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an offset beyond 290,000 years stops at the type's end"
)]
fn scaled(seconds: f64, scale: f64) -> i64 {
    (seconds * scale).round() as i64
}
