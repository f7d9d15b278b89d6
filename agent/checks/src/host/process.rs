//! `process`: do as many processes of a name run as should, and what do they use together?
//!
//! **What counts.** A process counts for a name when the kernel's name of it (`comm`, cut to 15 bytes) or the file name in
//! its first argument is that name, whatever the case: configured names are lower case. Threads and zombies do not count.
//! Command lines are looked at for that file name and go no further.
//!
//! **What is bad.** Fewer than `min` (1 where nothing is written) or more than `max` is critical. Processes that hide
//! (`hidepid`) make it `unknown`: what cannot be seen is not absent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vigie_core::{
    id::CheckName,
    observation::{MetricId, Object, Observation},
    reason::host::{PROCESS_FEW, PROCESS_MANY, PROCESS_OK},
    status::{Family, Status},
    time::Now,
};
use vigie_machine::{Context, processes::Process};
use vigie_platform::settings_file::Section;

use super::{numbers::as_metric, source};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const COUNT: MetricId = MetricId("vigie_processes");
const MEMORY: MetricId = MetricId("vigie_process_resident_memory_bytes");
const CPU: MetricId = MetricId("vigie_process_cpu_seconds_total");
const FILES: MetricId = MetricId("vigie_process_open_files");
const START: MetricId = MetricId("vigie_process_start_timestamp_seconds");

/// The kind `process`.
pub static KIND: Kind = Kind {
    name: "process",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: COUNT,
            metric_type: MetricType::Gauge,
            help: "Processes of that name that run.",
            label: "",
        },
        MetricSpec {
            id: MEMORY,
            metric_type: MetricType::Gauge,
            help: "Resident memory of all of them; pages that they share count for each.",
            label: "",
        },
        MetricSpec {
            id: CPU,
            metric_type: MetricType::Counter,
            help: "Processor time spent by processes of that name, as far as the check saw it.",
            label: "",
        },
        MetricSpec {
            id: FILES,
            metric_type: MetricType::Gauge,
            help: "Files that all of them have open, where the system tells it.",
            label: "",
        },
        MetricSpec {
            id: START,
            metric_type: MetricType::Gauge,
            help: "When the oldest of them started.",
            label: "",
        },
    ],
    target_key: "name",
    example: r#"[check.processus]
kind = "process"
names = ["postgres", "java"]         # or one: name = "postgres"
min = 1
max = 200
"#,
    build,
};

/// The most names of one check. Each is compared with every process.
const NAMES_MAX: usize = 32;

/// The most processes that a limit can ask for: Linux's own bound on 64-bit machines.
const LIMIT_MAX: u64 = 4_194_304;

/// The kernel cuts names to this many bytes (TASK_COMM_LEN without its zero).
const COMM_LEN_MAX: usize = 15;

/// Above this many processes of one name their open files are not counted: each would cost a call.
const FILES_COUNTED_MAX: usize = 512;

/// The source named when processes cannot be listed.
const SOURCE: &str = "/proc";

struct Processes {
    names: Vec<Object>,
    min: u64,
    max: Option<u64>,
    spent: Spent,
}

/// Processor time of each name since the check began: what the processes of its first run had spent, and what was spent
/// since. A sum over those that run would fall when one ends, and whoever reads a counter takes that for a new beginning.
#[derive(Debug, Default)]
struct Spent(BTreeMap<Object, Total>);

#[derive(Debug, Default)]
struct Total {
    ticks: u64,
    /// What each process had spent at the last run, by its number and start: numbers come again.
    earlier: HashMap<(u32, u64), u64>,
}

/// What the processes of one name come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    pids: Vec<u32>,
    resident_pages: u64,
    start_ticks: Option<u64>,
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    // A configured name like those of checks: whatever is written here may leave the node.
    let one = section.name::<CheckName>("name").optional();
    let named = section.names::<CheckName>("names").or(Vec::new());
    let is_named = section.has("name") || section.has("names");
    let names: BTreeSet<CheckName> = named.into_iter().chain(one).collect();
    if !is_named {
        // Notes what is missing.
        let _ = section.name::<CheckName>("name").required();
    } else if names.len() > NAMES_MAX {
        section.mistake(
            "names",
            format!("more than {NAMES_MAX} names in one check"),
            "divide them among several checks",
        );
    }
    let min = section.integer("min", 0..=LIMIT_MAX).optional();
    let max = section.integer("max", 0..=LIMIT_MAX).optional();
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        section.mistake(
            "min",
            "`min` is above `max`",
            "write the smaller number as `min`",
        );
    }
    // `max = 0` alone asks for a program that must not run.
    let min_default = u64::from(max != Some(0));
    Some(Box::new(Processes {
        names: names
            .iter()
            .filter_map(|name| Object::configured(name.as_str()).ok())
            .collect(),
        min: min.unwrap_or(min_default),
        max,
        spent: Spent::default(),
    }))
}

impl Check for Processes {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            match self.look(context).await {
                Ok(seen) => seen,
                Err(unknown) => self
                    .names
                    .iter()
                    .map(|name| unknown.clone().of(name.clone()))
                    .collect(),
            }
        })
    }
}

impl Processes {
    async fn look(&mut self, context: &Context) -> Result<Vec<Observation>, Observation> {
        let listed = context.processes.list().await;
        let list = listed.map_err(|error| source::unreadable(SOURCE, &error))?;
        let now = context.clock.now();
        let sums: Vec<Sum> = self
            .names
            .iter()
            .map(|name| sum(name.as_str().as_bytes(), &list))
            .collect();
        let is_counted = |sum: &Sum| (1..=FILES_COUNTED_MAX).contains(&sum.pids.len());
        let groups = sums.iter().filter(|sum| is_counted(sum));
        let groups = groups.map(|sum| sum.pids.clone()).collect();
        let mut open_files = context.processes.open_files(groups).await.into_iter();
        let mut seen = Vec::with_capacity(self.names.len());
        for (name, sum) in self.names.iter().zip(sums) {
            let files = if is_counted(&sum) {
                open_files.next().flatten()
            } else {
                None
            };
            let spent_ticks = self.spent.add(name, &list);
            let mut observation =
                measured(self.judge(&sum), &sum, spent_ticks, now).of(name.clone());
            if let Some(files) = files {
                observation = observation.measure(FILES, as_metric(files));
            }
            seen.push(observation);
        }
        Ok(seen)
    }

    fn judge(&self, sum: &Sum) -> Observation {
        let count = sum.pids.len() as u64;
        let (reason, limit) = match self.max {
            _ if count < self.min => (PROCESS_FEW, self.min),
            Some(max) if count > max => (PROCESS_MANY, max),
            _ => return Observation::new(Status::Ok, PROCESS_OK).fact("count", count),
        };
        Observation::new(Status::Critical, reason)
            .fact("count", count)
            .fact("limit", limit)
    }
}

impl Spent {
    /// The processor time of this name by now, in clock ticks.
    fn add(&mut self, name: &Object, list: &[Process]) -> u64 {
        let total = self.0.entry(name.clone()).or_default();
        let name = name.as_str().as_bytes();
        let mut now = HashMap::with_capacity(total.earlier.len());
        for process in list.iter().filter(|process| is_called(process, name)) {
            let this = (process.pid, process.start_ticks);
            let earlier = total.earlier.get(&this).copied().unwrap_or(0);
            let since = process.cpu_ticks.saturating_sub(earlier);
            total.ticks = total.ticks.saturating_add(since);
            now.insert(this, process.cpu_ticks);
        }
        total.earlier = now;
        total.ticks
    }
}

fn measured(observation: Observation, sum: &Sum, spent_ticks: u64, now: Now) -> Observation {
    let page_bytes = rustix::param::page_size() as u64;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let seconds = |ticks: u64| as_metric(ticks) / as_metric(ticks_per_second);
    let observation = observation
        .measure(COUNT, as_metric(sum.pids.len() as u64))
        .measure(
            MEMORY,
            as_metric(sum.resident_pages.saturating_mul(page_bytes)),
        )
        .measure(CPU, seconds(spent_ticks));
    match sum.start_ticks {
        Some(ticks) => {
            // Both count from the start of the machine, through suspend.
            let age_seconds = as_metric(now.elapsed.0) / 1_000.0 - seconds(ticks);
            let wall_seconds = as_metric(u64::try_from(now.wall.0).unwrap_or(0)) / 1_000.0;
            observation.measure(START, wall_seconds - age_seconds.max(0.0))
        }
        None => observation,
    }
}

fn sum(name: &[u8], list: &[Process]) -> Sum {
    let mut sum = Sum::default();
    for process in list.iter().filter(|process| is_called(process, name)) {
        sum.pids.push(process.pid);
        sum.resident_pages = sum.resident_pages.saturating_add(process.resident_pages);
        let oldest = sum.start_ticks.unwrap_or(u64::MAX).min(process.start_ticks);
        sum.start_ticks = Some(oldest);
    }
    sum
}

fn is_called(process: &Process, name: &[u8]) -> bool {
    let argument_name = process.argument_name.as_deref();
    if argument_name.is_some_and(|argument_name| argument_name.eq_ignore_ascii_case(name)) {
        return true;
    }
    // A cut name stands for any that begins so; where the first argument tells more, that decides.
    let says_another = argument_name.is_some_and(|argument_name| {
        argument_name.len() > COMM_LEN_MAX && argument_name.starts_with(&process.comm)
    });
    let comm = &name[..name.len().min(COMM_LEN_MAX)];
    !says_another && process.comm.eq_ignore_ascii_case(comm)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        process::{Child, Command, Stdio},
        sync::Arc,
    };

    use vigie_machine::processes;
    use vigie_platform::clock::SystemClock;

    use super::*;
    use crate::host::fixture::{Machine, measured, settings};

    fn process(pid: u32, comm: &str, argument_name: Option<&str>) -> Process {
        Process {
            pid,
            comm: comm.as_bytes().into(),
            argument_name: argument_name.map(|name| name.as_bytes().into()),
            cpu_ticks: 10,
            start_ticks: u64::from(pid) * 100,
            resident_pages: 5,
        }
    }

    #[test]
    fn a_process_counts_by_the_name_that_the_kernel_or_its_first_argument_gives() {
        let table = [
            (("postgres", None), "postgres", true),
            (("postgres", Some("postgres:")), "postgres", true),
            (("NetworkManager", None), "networkmanager", true),
            (("java", Some("java")), "jav", false),
            (
                ("systemd-timesyn", Some("systemd-timesyncd")),
                "systemd-timesyncd",
                true,
            ),
            (
                ("systemd-timesyn", Some("systemd-timesyncx")),
                "systemd-timesyncd",
                false,
            ),
            (("systemd-timesyn", None), "systemd-timesyncd", true),
            (("python3", Some("tomcat")), "tomcat", true),
        ];
        for ((comm, argument), name, expected) in table {
            let is = is_called(&process(2, comm, argument), name.as_bytes());
            assert_eq!(is, expected, "{comm} {argument:?} {name}");
        }
    }

    #[test]
    fn what_processes_use_is_added_up_and_the_oldest_tells_since_when() {
        let list = [
            process(7, "java", None),
            process(3, "java", None),
            process(9, "sh", None),
        ];
        let sum = sum(b"java", &list);
        assert_eq!(
            (sum.pids.len(), sum.resident_pages, sum.start_ticks),
            (2, 10, Some(300))
        );
    }

    #[test]
    fn processor_time_only_grows_while_processes_come_and_go() {
        let mut spent = Spent::default();
        let with = |pid, ticks| Process {
            cpu_ticks: ticks,
            ..process(pid, "php-fpm", None)
        };
        let names = [Object::configured("php-fpm").unwrap()];
        let mut add = |list: &[Process]| spent.add(&names[0], list);
        assert_eq!(add(&[with(1, 100), with(2, 50)]), 150);
        assert_eq!(add(&[with(1, 110)]), 160);
        assert_eq!(add(&[with(1, 111), with(3, 5)]), 166);
        assert_eq!(add(&[]), 166);
    }

    #[test]
    fn too_few_and_too_many_are_critical() {
        let judged = |min, max, count: u32| {
            let check = Processes {
                names: Vec::new(),
                min,
                max,
                spent: Spent::default(),
            };
            let sum = Sum {
                pids: (0..count).collect(),
                ..Sum::default()
            };
            check.judge(&sum).reason.code()
        };
        assert_eq!(judged(1, None, 0), "process.few");
        assert_eq!(judged(1, None, 1), "process.ok");
        assert_eq!(judged(2, Some(3), 1), "process.few");
        assert_eq!(judged(2, Some(3), 3), "process.ok");
        assert_eq!(judged(2, Some(3), 4), "process.many");
        assert_eq!(judged(0, Some(0), 0), "process.ok");
    }

    #[test]
    fn settings_are_told_what_is_wrong() {
        for (text, told) in [
            ("", "missing"),
            ("names = [\"a b\"]", "name"),
            ("name = \"a\"\nmin = 3\nmax = 2", "`min` is above `max`"),
        ] {
            let mistakes = settings(&KIND, text).err().unwrap().to_string();
            assert!(mistakes.contains(told), "{text}: {mistakes}");
        }
        assert!(settings(&KIND, "name = \"spyware\"\nmax = 0").is_ok());
    }

    #[tokio::test]
    async fn hidden_processes_are_unknown_for_every_name() {
        let proc = tempfile::tempdir().unwrap();
        let context = Context {
            processes: processes::Processes::at(proc.path(), Arc::new(SystemClock)),
            ..Machine::real()
        };
        let mut check = settings(&KIND, "names = [\"a\", \"b\"]").unwrap();
        let seen = check.run(&context).await;
        let told: Vec<_> = seen
            .iter()
            .map(|seen| (seen.object.as_ref().unwrap().as_str(), seen.status))
            .collect();
        assert_eq!(told, [("a", Status::Unknown), ("b", Status::Unknown)]);
    }

    /// A child under a name of the test's own, that runs until it is dropped.
    struct Named(Child);

    impl Named {
        fn start(dir: &std::path::Path, name: &str) -> Self {
            let program = dir.join(name);
            std::fs::copy("/bin/sleep", &program).unwrap();
            let child = Command::new(program)
                .arg("1000")
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            Self(child)
        }
    }

    impl Drop for Named {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn a_real_child_is_counted_with_what_it_uses_and_missed_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("vigie-test-a-long-name-{}", std::process::id());
        let mut check = settings(&KIND, &format!("name = \"{name}\"")).unwrap();
        let child = Named::start(dir.path(), &name);
        let context = Machine::real();
        let seen = check.run(&context).await.remove(0);
        assert_eq!(
            (seen.status, seen.reason.code()),
            (Status::Ok, "process.ok")
        );
        assert!(measured(&seen, MEMORY) > 0.0);
        assert!(measured(&seen, FILES) >= 3.0);
        let now = as_metric(u64::try_from(context.clock.wall().0).unwrap()) / 1_000.0;
        let age = now - measured(&seen, START);
        assert!((-1.0..60.0).contains(&age), "{age}");

        drop(child);
        let seen = check.run(&Machine::real()).await.remove(0);
        assert_eq!(
            (seen.status, seen.reason.code()),
            (Status::Critical, "process.few")
        );
    }
}
