//! `cpu`: how busy the processors were since the last run, from /proc/stat (proc_stat(5)).
//!
//! The shares of a run cover the whole time since the run before, so that no tick falls between two samples. Used is
//! all time but `idle` and `iowait`; `steal` counts as used, since the machine did not have it.
//!
//! The first run has nothing to compare with: it reads twice, [`FIRST_WINDOW`] apart. That is long enough to say that a
//! machine is not busy, and too short to say that it is (the agent's own start would be seen), so that a first run above
//! a limit is `unknown` and the next one decides.
//!
//! Beside the shares it gives the kernel's totals, from which a graph makes shares over any time it likes.

use std::time::Duration;

use vigie_core::{
    observation::{MetricId, Observation},
    reason::host::{CPU_BUSY, CPU_FIRST, CPU_OK},
    status::{Family, Status},
};
use vigie_machine::Context;
use vigie_platform::settings_file::{Percent, Section};

use super::{
    limits::{self, Limits, Share, limit_permille},
    source,
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const USED: MetricId = MetricId("vigie_host_cpu_used_ratio");
const MODE: MetricId = MetricId("vigie_host_cpu_mode_ratio");
const SECONDS: MetricId = MetricId("vigie_host_cpu_seconds_total");

/// The kind `cpu`.
pub static KIND: Kind = Kind {
    name: "cpu",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: USED,
            metric_type: MetricType::Gauge,
            help: "Share of processor time that was not idle since the check's last run.",
            label: "",
        },
        MetricSpec {
            id: MODE,
            metric_type: MetricType::Gauge,
            help: "Share of processor time spent in a mode since the check's last run.",
            label: "mode",
        },
        MetricSpec {
            id: SECONDS,
            metric_type: MetricType::Counter,
            help: "Processor time spent in a mode since the machine started, of all processors together.",
            label: "mode",
        },
    ],
    target_key: "",
    example: r#"[check.processeur]
kind = "cpu"
warning = { used = "90%" }
critical = { used = "98%" }
"#,
    build,
};

const STAT: &str = "/proc/stat";

/// How far apart the two readings of a first run are: 20 ticks of the kernel's accounting.
const FIRST_WINDOW: Duration = Duration::from_millis(200);

/// The columns of the `cpu` line. `guest` and `guest_nice` follow, but are contained in `user` and `nice`.
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];
const IDLE: [usize; 2] = [3, 4];

/// Ticks since boot by mode.
type Ticks = [u64; MODES.len()];

struct Cpu {
    used: Limits<Percent>,
    earlier: Option<Ticks>,
    totals: Ticks,
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let [used] = limits::read(section, ["used"], |table, key| table.percent(key));
    Some(Box::new(Cpu {
        used,
        earlier: None,
        totals: Ticks::default(),
    }))
}

impl Check for Cpu {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move { vec![self.look(context).await.unwrap_or_else(|unknown| unknown)] })
    }
}

impl Cpu {
    async fn look(&mut self, context: &Context) -> Result<Observation, Observation> {
        let is_first = self.earlier.is_none();
        let earlier = match self.earlier {
            Some(earlier) => earlier,
            None => {
                let earlier = read(context).await?;
                tokio::time::sleep(FIRST_WINDOW).await;
                earlier
            }
        };
        let now = read(context).await?;
        self.earlier = Some(now);
        self.totals = totals(&self.totals, &now);
        let observation = self.judge(&elapsed(&earlier, &now), is_first);
        let hz = rustix::param::clock_ticks_per_second();
        Ok(MODES
            .iter()
            .zip(self.totals)
            .fold(observation, |observation, (mode, ticks)| {
                observation.measure_labelled(SECONDS, mode, seconds(ticks, hz))
            }))
    }

    fn judge(&self, spent: &Ticks, is_first: bool) -> Observation {
        let all: u64 = spent.iter().sum();
        let idle: u64 = IDLE.iter().map(|mode| spent[*mode]).sum();
        let Some(used) = Share::of(all - idle, all) else {
            // Less than a tick went by.
            return Observation::new(Status::Unknown, CPU_FIRST);
        };
        let verdict = used.judge(self.used);
        let observation = match verdict.limit() {
            Some(_) if is_first => Observation::new(Status::Unknown, CPU_FIRST),
            Some(limit) => Observation::new(verdict.status(), CPU_BUSY)
                .fact("used_permille", used.permille())
                .fact("limit_permille", limit_permille(limit)),
            None => Observation::new(Status::Ok, CPU_OK).fact("used_permille", used.permille()),
        };
        let observation = observation.measure(USED, used.ratio());
        MODES
            .iter()
            .zip(spent)
            .fold(observation, |observation, (mode, ticks)| {
                let ratio = Share::of(*ticks, all).map_or(0.0, Share::ratio);
                observation.measure_labelled(MODE, mode, ratio)
            })
    }
}

async fn read(context: &Context) -> Result<Ticks, Observation> {
    let stat = source::read_text(context, STAT).await?;
    parse(&stat).ok_or_else(|| source::unintelligible(STAT))
}

/// The ticks of all processors together.
fn parse(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut columns = line.split_ascii_whitespace();
    let mut ticks = Ticks::default();
    for (position, mode) in ticks.iter_mut().enumerate() {
        *mode = match columns.next() {
            Some(column) => column.parse().ok()?,
            // `steal` came with Linux 2.6.11, and some virtual /proc have only the first four.
            None if position >= 4 => 0,
            None => return None,
        };
    }
    Some(ticks)
}

/// How many processors are online.
pub(super) fn processors(stat: &str) -> usize {
    stat.lines()
        .filter_map(|line| line.strip_prefix("cpu"))
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        .count()
}

/// The ticks between two readings. Single modes may go back (`iowait` does, and all when a processor goes offline):
/// that counts as nothing spent.
fn elapsed(earlier: &Ticks, now: &Ticks) -> Ticks {
    std::array::from_fn(|mode| now[mode].saturating_sub(earlier[mode]))
}

/// What is shown after `shown` when the kernel says `now`: no mode goes back, since that would look like a restart of the
/// machine and add all its time anew, unless all of them together do.
fn totals(shown: &Ticks, now: &Ticks) -> Ticks {
    if now.iter().sum::<u64>() < shown.iter().sum() {
        return *now;
    }
    std::array::from_fn(|mode| now[mode].max(shown[mode]))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of a machine up for a thousand years fit 53 bits"
)]
fn seconds(ticks: u64, hz: u64) -> f64 {
    ticks as f64 / hz as f64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::fixture::{Machine, measured, settings};

    const EARLIER: &str =
        "cpu  45553 13644 9475 304369 481 0 40 45 0 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5 0\n";
    /// 900 ticks busy, 100 idle later.
    const LATER: &str = "cpu  46353 13644 9575 304459 491 0 40 45 700 0\ncpu0 1 2 3 4\n";

    #[test]
    fn the_line_of_all_processors_is_read() {
        assert_eq!(
            parse(EARLIER),
            Some([45553, 13644, 9475, 304_369, 481, 0, 40, 45])
        );
        assert_eq!(parse("cpu  1 2 3 4\n"), Some([1, 2, 3, 4, 0, 0, 0, 0]));
        assert_eq!(parse("cpu  1 2 3\n"), None);
        assert_eq!(parse("cpu  1 2 x 4\n"), None);
        assert_eq!(parse("cpu0 1 2 3 4\n"), None);
        assert_eq!(parse(""), None);
        assert_eq!(processors(EARLIER), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_first_run_is_unknown_and_the_next_one_decides() {
        let machine = Machine::default();
        machine.file_then(STAT, [EARLIER, LATER]);
        let mut check = settings(
            &KIND,
            "warning = { used = \"85%\" }\ncritical = { used = \"95%\" }",
        )
        .unwrap();
        let context = machine.context();

        let first = check.run(&context).await.remove(0);
        assert_eq!((first.status, first.reason), (Status::Unknown, CPU_FIRST));
        assert!((measured(&first, USED) - 0.9).abs() < 1e-9);

        machine.file(STAT, "cpu  46363 13644 9575 304449 491 0 40 45 700 0\n");
        let second = check.run(&context).await.remove(0);
        assert_eq!((second.status, second.reason), (Status::Critical, CPU_BUSY));
        assert_eq!(second.facts["used_permille"], 1_000_u64.into());
        assert_eq!(second.facts["limit_permille"], 950_u64.into());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_first_run_is_ok_and_modes_add_up() {
        let machine = Machine::default();
        machine.file_then(STAT, [EARLIER, LATER]);
        let mut check = settings(&KIND, "critical = { used = \"95%\" }").unwrap();
        let seen = check.run(&machine.context()).await.remove(0);
        assert_eq!((seen.status, seen.reason), (Status::Ok, CPU_OK));
        assert_eq!(seen.facts["used_permille"], 900_u64.into());
        let modes: f64 = seen
            .measurements
            .iter()
            .filter(|m| m.metric == MODE)
            .map(|m| m.value)
            .sum();
        assert!((modes - 1.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn totals_are_the_kernels_in_seconds() {
        let machine = Machine::default();
        machine.file(STAT, EARLIER);
        let mut check = settings(&KIND, "").unwrap();
        let seen = check.run(&machine.context()).await.remove(0);
        assert_eq!(
            seen.reason, CPU_FIRST,
            "no tick went by, and totals are there"
        );
        let hz = rustix::param::clock_ticks_per_second();
        let totals: Vec<_> = seen
            .measurements
            .iter()
            .filter(|measured| measured.metric == SECONDS)
            .map(|measured| (measured.label, measured.value))
            .collect();
        let truth = [45_553, 13_644, 9_475, 304_369, 481, 0, 40, 45];
        let truth = truth.map(|ticks| seconds(ticks, hz));
        assert_eq!(totals, MODES.into_iter().zip(truth).collect::<Vec<_>>());
        assert!((seconds(12_345, 100) - 123.45).abs() < 1e-9);
    }

    #[test]
    fn a_mode_that_goes_back_stands_still_and_a_machine_that_begins_anew_begins_anew() {
        let shown = [100, 0, 50, 1_000, 30, 0, 0, 0];
        let iowait_back = [110, 0, 50, 1_090, 20, 0, 0, 0];
        assert_eq!(
            totals(&shown, &iowait_back),
            [110, 0, 50, 1_090, 30, 0, 0, 0]
        );
        let anew = [1, 0, 1, 20, 0, 0, 0, 0];
        assert_eq!(totals(&shown, &anew), anew);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_unknown() {
        let machine = Machine::default();
        let mut check = settings(&KIND, "").unwrap();
        let missing = check.run(&machine.context()).await.remove(0);
        assert_eq!(
            (missing.status, missing.reason.code()),
            (Status::Unknown, "host.unreadable")
        );
        machine.file(STAT, "nonsense");
        let nonsense = check.run(&machine.context()).await.remove(0);
        assert_eq!(nonsense.status, Status::Unknown);
        machine.file(STAT, EARLIER);
        let still = check.run(&machine.context()).await.remove(0);
        assert_eq!(
            (still.status, still.reason),
            (Status::Unknown, CPU_FIRST),
            "no tick went by"
        );
    }

    #[tokio::test]
    async fn this_machine_is_measured() {
        let mut check = settings(&KIND, "").unwrap();
        let seen = check.run(&Machine::real()).await.remove(0);
        assert_eq!(seen.reason, CPU_OK);
        assert!((0.0..=1.0).contains(&measured(&seen, USED)));
    }

    #[test]
    fn limits_in_the_wrong_order_and_unknown_keys_are_mistakes() {
        let mistakes = settings(
            &KIND,
            "warning = { used = \"95%\" }\ncritical = { used = \"90%\", steal = \"1%\" }",
        );
        let mistakes = mistakes.err().unwrap().to_string();
        assert!(
            mistakes.contains("above the critical one") && mistakes.contains("`steal`"),
            "{mistakes}"
        );
    }
}
