//! `memory`: how much memory new work could still get, from /proc/meminfo (proc_meminfo(5)).
//!
//! Used is all but `MemAvailable`, the kernel's own estimate of what is free or can be freed without swapping; a page
//! cache full of files is not memory in use. Swap in use is measured and judged only where a limit is written, since
//! pages that nobody needs belong there. Pressure stall information is measured where the kernel offers it.

use vigie_core::{
    observation::{MetricId, Observation},
    reason::host::{MEMORY_LOW, MEMORY_OK, MEMORY_SWAP},
    status::{Family, Status},
};
use vigie_machine::Context;
use vigie_platform::settings_file::{Percent, Section};

use super::{
    limits::{self, Limits, Share, limit_permille},
    numbers::as_metric,
    source,
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const SIZE: MetricId = MetricId("vigie_host_memory_size_bytes");
const AVAILABLE: MetricId = MetricId("vigie_host_memory_available_bytes");
const USED: MetricId = MetricId("vigie_host_memory_used_ratio");
const SWAP_SIZE: MetricId = MetricId("vigie_host_swap_size_bytes");
const SWAP_USED: MetricId = MetricId("vigie_host_swap_used_bytes");
const PRESSURE: MetricId = MetricId("vigie_host_memory_pressure_ratio");

/// The kind `memory`.
pub static KIND: Kind = Kind {
    name: "memory",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: SIZE,
            metric_type: MetricType::Gauge,
            help: "Memory of the machine.",
            label: "",
        },
        MetricSpec {
            id: AVAILABLE,
            metric_type: MetricType::Gauge,
            help: "Memory that new work could get without swapping.",
            label: "",
        },
        MetricSpec {
            id: USED,
            metric_type: MetricType::Gauge,
            help: "Share of memory that is not available.",
            label: "",
        },
        MetricSpec {
            id: SWAP_SIZE,
            metric_type: MetricType::Gauge,
            help: "Swap space.",
            label: "",
        },
        MetricSpec {
            id: SWAP_USED,
            metric_type: MetricType::Gauge,
            help: "Swap space in use.",
            label: "",
        },
        MetricSpec {
            id: PRESSURE,
            metric_type: MetricType::Gauge,
            help: "Share of the last 10 seconds in which some or all tasks waited for memory.",
            label: "tasks",
        },
    ],
    target_key: "",
    example: r#"[check.memoire]
kind = "memory"
warning = { used = "90%", swap = "60%" }
critical = { used = "95%" }
"#,
    build,
};

const MEMINFO: &str = "/proc/meminfo";
const PRESSURE_SOURCE: &str = "/proc/pressure/memory";

/// Limits of `used` where none are written.
const USED_DEFAULT: Limits<Percent> = Limits::new(Percent::whole(90), Percent::whole(95));

struct Memory {
    used: Limits<Percent>,
    swap: Limits<Percent>,
}

/// What /proc/meminfo says, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meminfo {
    total_bytes: u64,
    available_bytes: u64,
    swap_total_bytes: u64,
    swap_free_bytes: u64,
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let [used, swap] = limits::read(section, ["used", "swap"], |table, key| table.percent(key));
    Some(Box::new(Memory {
        used: used.or(USED_DEFAULT),
        swap,
    }))
}

impl Check for Memory {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move { vec![self.look(context).await.unwrap_or_else(|unknown| unknown)] })
    }
}

impl Memory {
    async fn look(&self, context: &Context) -> Result<Observation, Observation> {
        let text = source::read_text(context, MEMINFO).await?;
        let mut seen = parse(&text)
            .and_then(|meminfo| self.judge(&meminfo))
            .ok_or_else(|| source::unintelligible(MEMINFO))?;
        // Kernels without PSI, or with it switched off, have no such file or refuse to read it.
        if let Ok(pressure) = source::read_text(context, PRESSURE_SOURCE).await {
            for tasks in ["some", "full"] {
                if let Some(percent) = pressure_percent(&pressure, tasks) {
                    seen = seen.measure_labelled(PRESSURE, tasks, percent / 100.0);
                }
            }
        }
        Ok(seen)
    }

    fn judge(&self, meminfo: &Meminfo) -> Option<Observation> {
        let used_bytes = meminfo.total_bytes.saturating_sub(meminfo.available_bytes);
        let used = Share::of(used_bytes, meminfo.total_bytes)?;
        let swap_used_bytes = meminfo
            .swap_total_bytes
            .saturating_sub(meminfo.swap_free_bytes);
        let swap = Share::of(swap_used_bytes, meminfo.swap_total_bytes);

        let low = used.judge(self.used);
        let swapping = swap.map(|swap| (swap, swap.judge(self.swap)));
        let seen = match (low.limit(), swapping) {
            (low_limit, Some((swap, verdict)))
                if verdict.status().rank() > low.status().rank() || low_limit.is_none() =>
            {
                match verdict.limit() {
                    Some(limit) => Observation::new(verdict.status(), MEMORY_SWAP)
                        .fact("swap_used_permille", swap.permille())
                        .fact("limit_permille", limit_permille(limit)),
                    None => Observation::new(Status::Ok, MEMORY_OK)
                        .fact("used_permille", used.permille())
                        .fact("swap_used_permille", swap.permille()),
                }
            }
            (Some(limit), _) => Observation::new(low.status(), MEMORY_LOW)
                .fact("used_permille", used.permille())
                .fact("limit_permille", limit_permille(limit))
                .fact("available_bytes", meminfo.available_bytes),
            (None, _) => {
                Observation::new(Status::Ok, MEMORY_OK).fact("used_permille", used.permille())
            }
        };
        Some(
            seen.measure(SIZE, as_metric(meminfo.total_bytes))
                .measure(AVAILABLE, as_metric(meminfo.available_bytes))
                .measure(USED, used.ratio())
                .measure(SWAP_SIZE, as_metric(meminfo.swap_total_bytes))
                .measure(SWAP_USED, as_metric(swap_used_bytes)),
        )
    }
}

/// `None` when `MemTotal` is missing, or any way to tell what is available.
fn parse(meminfo: &str) -> Option<Meminfo> {
    let value_bytes = |key: &str| {
        let value = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        // "kB" in this file are 1,024 bytes.
        value
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1_024)
    };
    let estimated = || {
        // What `free` did before Linux 3.14.
        let parts = [
            value_bytes("MemFree")?,
            value_bytes("Buffers")?,
            value_bytes("Cached")?,
        ];
        parts.into_iter().try_fold(0_u64, u64::checked_add)
    };
    Some(Meminfo {
        total_bytes: value_bytes("MemTotal")?,
        available_bytes: value_bytes("MemAvailable").or_else(estimated)?,
        swap_total_bytes: value_bytes("SwapTotal").unwrap_or(0),
        swap_free_bytes: value_bytes("SwapFree").unwrap_or(0),
    })
}

/// The `avg10` of the line that starts with `tasks`.
fn pressure_percent(pressure: &str, tasks: &str) -> Option<f64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix(tasks))?;
    let average = line
        .split_ascii_whitespace()
        .find_map(|column| column.strip_prefix("avg10="))?;
    average
        .parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::fixture::{Machine, measured, settings};

    const NO_SWAP: &str = "MemTotal:       24684096 kB\nMemFree:        23226472 kB\nMemAvailable:   24315692 kB\n\
        Buffers:            3468 kB\nCached:          1261060 kB\nSwapCached:            0 kB\n\
        SwapTotal:             0 kB\nSwapFree:              0 kB\nHugePages_Total:       0\n";

    fn meminfo(available: u64, swap_free: u64) -> String {
        format!(
            "MemTotal: 1000 kB\nMemAvailable: {available} kB\nSwapTotal: 100 kB\nSwapFree: {swap_free} kB\n"
        )
    }

    #[test]
    fn a_real_file_is_read_and_an_old_kernel_estimated() {
        let read = parse(NO_SWAP).unwrap();
        assert_eq!(read.total_bytes, 24_684_096 * 1_024);
        assert_eq!(read.available_bytes, 24_315_692 * 1_024);
        let old =
            parse("MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 3 kB\n").unwrap();
        assert_eq!(old.available_bytes, 123 * 1_024);
        assert_eq!(parse("MemTotal: 1000 kB\n"), None);
        assert_eq!(parse("MemTotal: 1000\nMemAvailable: 1 kB\n"), None);
        assert_eq!(
            parse(&format!("MemTotal: {} kB\nMemAvailable: 1 kB", u64::MAX)),
            None
        );
        assert_eq!(parse(""), None);
    }

    #[tokio::test]
    async fn memory_and_swap_are_judged_and_the_worse_is_told() {
        let table = [
            (101, 100, Status::Ok, "memory.ok"),
            (100, 100, Status::Warning, "memory.low"),
            (50, 100, Status::Critical, "memory.low"),
            (500, 20, Status::Critical, "memory.swap"),
            (500, 50, Status::Warning, "memory.swap"),
            (100, 50, Status::Warning, "memory.low"),
            (100, 20, Status::Critical, "memory.swap"),
            (50, 20, Status::Critical, "memory.low"),
        ];
        let machine = Machine::default();
        let text = "warning = { used = \"90%\", swap = \"50%\" }\ncritical = { used = \"95%\", swap = \"80%\" }";
        let mut check = settings(&KIND, text).unwrap();
        for (available, swap_free, status, reason) in table {
            machine.file(MEMINFO, meminfo(available, swap_free));
            let seen = check.run(&machine.context()).await.remove(0);
            assert_eq!(
                (seen.status, seen.reason.code()),
                (status, reason),
                "{available} {swap_free}"
            );
        }
    }

    #[tokio::test]
    async fn limits_have_defaults_and_swap_has_none() {
        let machine = Machine::default();
        let mut check = settings(&KIND, "").unwrap();
        machine.file(MEMINFO, meminfo(40, 0));
        assert_eq!(
            check.run(&machine.context()).await.remove(0).status,
            Status::Critical
        );
        machine.file(MEMINFO, meminfo(900, 0));
        assert_eq!(
            check.run(&machine.context()).await.remove(0).status,
            Status::Ok
        );
        machine.file(MEMINFO, NO_SWAP);
        let seen = check.run(&machine.context()).await.remove(0);
        assert!(!seen.facts.contains_key("swap_used_permille"));
        machine.file(MEMINFO, "");
        assert_eq!(
            check.run(&machine.context()).await.remove(0).status,
            Status::Unknown
        );
    }

    #[tokio::test]
    async fn pressure_is_measured_where_there_is_some() {
        let machine = Machine::default();
        machine.file(MEMINFO, NO_SWAP);
        machine.file(
            PRESSURE_SOURCE,
            "some avg10=12.50 avg60=0.00 avg300=0.00 total=0\nfull avg10=nan avg60=0.00 avg300=0.00 total=0\n",
        );
        let mut check = settings(&KIND, "").unwrap();
        let seen = check.run(&machine.context()).await.remove(0);
        let pressures: Vec<_> = seen
            .measurements
            .iter()
            .filter(|m| m.metric == PRESSURE)
            .collect();
        assert_eq!(pressures.len(), 1);
        assert_eq!((pressures[0].label, pressures[0].value), ("some", 0.125));
        let real = check.run(&Machine::real()).await.remove(0);
        assert!(measured(&real, SIZE) > measured(&real, AVAILABLE));
    }
}
