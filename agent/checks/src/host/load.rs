//! `load`: how many tasks want a processor, per processor, over 1, 5 and 15 minutes (proc_loadavg(5)).
//!
//! Limits are per processor (`load5 = "2"` on four processors is a load average of 8), so that one settings file fits a
//! whole group. There are none unless they are written: what load is too high depends on the work.

use std::str::FromStr;

use vigie_core::{
    observation::{MetricId, Observation},
    reason::host::{LOAD_HIGH, LOAD_OK},
    status::{Family, Status},
};
use vigie_machine::Context;
use vigie_platform::settings_file::Section;

use super::{
    cpu::processors,
    limits::{self, Limits},
    source,
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const AVERAGE: MetricId = MetricId("vigie_host_load_average");
const PROCESSORS: MetricId = MetricId("vigie_host_processors");

/// The kind `load`.
pub static KIND: Kind = Kind {
    name: "load",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: AVERAGE,
            metric_type: MetricType::Gauge,
            help: "Load average of the whole machine over a window.",
            label: "window",
        },
        MetricSpec {
            id: PROCESSORS,
            metric_type: MetricType::Gauge,
            help: "Processors online.",
            label: "",
        },
    ],
    target_key: "",
    example: r#"[check.charge]
kind = "load"
warning = { load5 = "2" }
critical = { load5 = "4", load15 = "3.5" }
"#,
    build,
};

const LOADAVG: &str = "/proc/loadavg";
const STAT: &str = "/proc/stat";

/// Settings keys and label values of the three windows.
const KEYS: [&str; 3] = ["load1", "load5", "load15"];
const WINDOWS: [&str; 3] = ["1m", "5m", "15m"];

/// The window named while all is well: the one that neither jumps nor lags.
const FIVE_MINUTES: usize = 1;

/// A load, or a load per processor, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Milli(u64);

struct Load {
    limits: [Limits<Milli>; 3],
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let limits = limits::read(section, KEYS, |table, key| {
        table.parsed::<Milli>(
            key,
            "write the load per processor in quotes, such as \"2\" or \"1.5\"",
        )
    });
    Some(Box::new(Load { limits }))
}

impl Check for Load {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move { vec![self.look(context).await.unwrap_or_else(|unknown| unknown)] })
    }
}

impl Load {
    async fn look(&self, context: &Context) -> Result<Observation, Observation> {
        let text = source::read_text(context, LOADAVG).await?;
        let loads = parse(&text).ok_or_else(|| source::unintelligible(LOADAVG))?;
        let stat = source::read_text(context, STAT).await?;
        match u64::try_from(processors(&stat)) {
            Ok(cpus @ 1..) => Ok(self.judge(loads, cpus)),
            _ => Err(source::unintelligible(STAT)),
        }
    }

    fn judge(&self, loads: [Milli; 3], cpus: u64) -> Observation {
        let per_processor = loads.map(|Milli(load)| Milli(load / cpus));
        let mut worst = Observation::new(Status::Ok, LOAD_OK)
            .fact("load_milli", per_processor[FIVE_MINUTES].0)
            .fact("cpus", cpus);
        for (limits, load) in self.limits.iter().zip(per_processor) {
            let verdict = limits.judge(|limit| load >= limit);
            if let Some(limit) = verdict.limit()
                && verdict.status().rank() > worst.status.rank()
            {
                worst = Observation::new(verdict.status(), LOAD_HIGH)
                    .fact("load_milli", load.0)
                    .fact("cpus", cpus)
                    .fact("limit_milli", limit.0);
            }
        }
        for (window, Milli(load)) in WINDOWS.into_iter().zip(loads) {
            worst = worst.measure_labelled(AVERAGE, window, from_milli(load));
        }
        worst.measure(PROCESSORS, from_milli(cpus.saturating_mul(1_000)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "loads are small")]
fn from_milli(milli: u64) -> f64 {
    milli as f64 / 1_000.0
}

/// The three averages at the start of /proc/loadavg.
fn parse(loadavg: &str) -> Option<[Milli; 3]> {
    let mut columns = loadavg.split_ascii_whitespace();
    let mut next = || columns.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

/// The text is no load.
#[derive(Debug, thiserror::Error)]
#[error("not a number with at most three decimals")]
struct NotALoad;

impl FromStr for Milli {
    type Err = NotALoad;

    fn from_str(text: &str) -> Result<Self, NotALoad> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |text: &str, len_max: usize| {
            (1..=len_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !are_digits(whole, 9) || !are_digits(decimals, 3) {
            return Err(NotALoad);
        }
        let milli: u64 = format!("{whole}{decimals:0<3}")
            .parse()
            .map_err(|_| NotALoad)?;
        Ok(Self(milli))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::fixture::{Machine, settings};

    #[test]
    fn averages_are_read_exactly() {
        let table = [
            ("0.78 0.66 0.46 1/88 18148\n", Some([780, 660, 460])),
            ("123.05 7.00 0.01 5/9999 1\n", Some([123_050, 7_000, 10])),
            ("0.78 0.66", None),
            ("-1.00 0.66 0.46 1/88 18148", None),
            ("nan 0.66 0.46 1/88 18148", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(
                parse(text),
                expected.map(|loads| loads.map(Milli)),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn the_worst_window_decides_and_limits_are_per_processor() {
        let table = [
            ("7.99 7.99 7.99", Status::Ok, 1_997),
            ("8.00 0.10 0.10", Status::Warning, 2_000),
            ("9.00 16.00 0.10", Status::Critical, 4_000),
            ("99.00 0.10 14.00", Status::Critical, 3_500),
        ];
        let machine = Machine::default();
        machine.file(
            STAT,
            "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu1 1 2 3 4\ncpu2 1 2 3 4\ncpu3 1 2 3 4\n",
        );
        let text = "warning = { load1 = \"2\" }\ncritical = { load5 = \"4\", load15 = \"3.5\" }";
        let mut check = settings(&KIND, text).unwrap();
        for (loadavg, status, load_milli) in table {
            machine.file(LOADAVG, format!("{loadavg} 1/88 18148\n"));
            let seen = check.run(&machine.context()).await.remove(0);
            assert_eq!(
                (seen.status, &seen.facts["load_milli"]),
                (status, &u64::into(load_milli)),
                "{loadavg}"
            );
            assert_eq!(seen.facts["cpus"], 4_u64.into());
        }
    }

    #[tokio::test]
    async fn without_processors_nothing_can_be_said() {
        let machine = Machine::default();
        machine.file(LOADAVG, "0.78 0.66 0.46 1/88 18148\n");
        machine.file(STAT, "intr 1\n");
        let mut check = settings(&KIND, "").unwrap();
        assert_eq!(
            check.run(&machine.context()).await.remove(0).status,
            Status::Unknown
        );
        assert_eq!(check.run(&Machine::real()).await.remove(0).reason, LOAD_OK);
    }

    #[test]
    fn a_limit_that_is_no_number_is_a_mistake() {
        assert!(settings(&KIND, "warning = { load5 = \"2,5\" }").is_err());
        assert!(settings(&KIND, "warning = { load5 = 2 }").is_err());
        assert!(settings(&KIND, "warning = { load5 = \"2.5\" }").is_ok());
    }
}
