//! Processor time of a process, finer than the ticks of 10 ms in proc_pid_stat(5).
//!
//! The kernel counts nanoseconds for each thread (`/proc/PID/task/TID/schedstat`, first field) and forgets them with it.
//! So all threads are looked at all the time, and one that has ended keeps what was last seen of it. One that came and
//! went between two looks is only in the ticks, which hold all that ever was: those are the check on this. Commands that
//! a program runs are counted apart, in ticks, when they have ended.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::JoinHandle;
use vigie_tests::harness::Program;

/// Clock ticks a second in /proc/PID/stat (USER_HZ, the same on every Linux architecture vigie is built for).
const TICKS_PER_SECOND: f64 = 100.0;

/// How often threads are looked at; what one does between the last look and its end is not seen.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Watches a process from now on.
pub struct Meter<'a> {
    program: &'a Program,
    from_ticks: u64,
    from_children_ticks: u64,
    threads: Arc<Mutex<Threads>>,
    sampler: JoinHandle<()>,
    from_ns: u64,
}

struct Threads {
    folder: PathBuf,
    /// By thread id, what was last seen of it.
    seen_ns: HashMap<String, u64>,
    /// Of threads whose id another has taken over.
    replaced_ns: u64,
}

impl<'a> Meter<'a> {
    /// Begins.
    pub fn start(program: &'a Program) -> Self {
        let mut threads = Threads {
            folder: format!("/proc/{}/task", program.pid()).into(),
            seen_ns: HashMap::new(),
            replaced_ns: 0,
        };
        let from_ns = threads.look();
        assert!(
            !threads.seen_ns.is_empty(),
            "this kernel tells no schedstat of threads (CONFIG_SCHED_INFO)"
        );
        let threads = Arc::new(Mutex::new(threads));
        let shared = Arc::clone(&threads);
        let sampler = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                shared.lock().expect("no holder panics").look();
            }
        });
        Self {
            program,
            from_ticks: program.cpu_ticks(),
            from_children_ticks: children_ticks(program),
            threads,
            sampler,
            from_ns,
        }
    }

    /// Milliseconds of processor time since it began.
    pub fn milliseconds(&self) -> f64 {
        let total_ns = self.threads.lock().expect("no holder panics").look();
        (total_ns - self.from_ns) as f64 / 1e6
    }

    /// The same by the ticks, for a long time.
    pub fn milliseconds_in_ticks(&self) -> f64 {
        (self.program.cpu_ticks() - self.from_ticks) as f64 / TICKS_PER_SECOND * 1e3
    }

    /// Milliseconds of the commands that it has run meanwhile, for a long time.
    pub fn children_milliseconds(&self) -> f64 {
        let ticks = children_ticks(self.program) - self.from_children_ticks;
        ticks as f64 / TICKS_PER_SECOND * 1e3
    }
}

/// Of children that have ended and were waited for: fields 16 and 17 of proc_pid_stat(5).
fn children_ticks(program: &Program) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid()));
    let stat = stat.expect("a running process has a stat");
    let (_, fields) = stat
        .rsplit_once(')')
        .expect("the name, field 2, is in brackets");
    let fields = fields.split_whitespace().skip(13).take(2);
    fields
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum()
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

impl Threads {
    fn look(&mut self) -> u64 {
        // Whatever cannot be read has ended meanwhile.
        for thread in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let run_ns = text.split(' ').next().and_then(|field| field.parse().ok());
            let (Ok(id), Some(run_ns)) = (thread.file_name().into_string(), run_ns) else {
                continue;
            };
            let earlier_ns = self.seen_ns.insert(id, run_ns).unwrap_or(0);
            if earlier_ns > run_ns {
                self.replaced_ns += earlier_ns;
            }
        }
        self.replaced_ns + self.seen_ns.values().sum::<u64>()
    }
}
