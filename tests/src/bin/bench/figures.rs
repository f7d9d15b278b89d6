//! How a figure is shown: with its unit, beside what it should be, and beside what others need for the same.

use std::{env, fs, path::Path, process::Command, time::Duration};

use vigie_tests::harness::{Program, run};

/// Set, everything is measured for a tenth of the time: for work on the measuring itself. Its figures mean nothing.
const SHORT_VARIABLE: &str = "VIGIE_BENCH_SHORT";

/// How much shorter.
const SHORTER: u32 = 10;

/// Whether the figures will mean nothing.
pub fn is_short() -> bool {
    env::var_os(SHORT_VARIABLE).is_some()
}

/// How long something is watched.
pub fn time(full: Duration) -> Duration {
    if is_short() { full / SHORTER } else { full }
}

/// How often something is done.
pub fn times(full: usize) -> usize {
    if is_short() {
        full.div_ceil(SHORTER as usize)
    } else {
        full
    }
}

/// Shows one figure and the most that it should be.
pub fn show(what: &str, value: f64, unit: &str, at_most: f64) {
    let missed = if value > at_most { ", MISSED" } else { "" };
    println!("  {what}: {value:.3} {unit}  (at most {at_most}{missed})");
}

/// Shows the spread of many measurements.
pub fn spread(what: &str, mut samples_ms: Vec<f64>, limit: &str) {
    samples_ms.sort_by(f64::total_cmp);
    println!(
        "  {what}: median {:.2} ms, p99 {:.2} ms, max {:.2} ms over {}  ({limit})",
        percentile(&samples_ms, 50),
        percentile(&samples_ms, 99),
        samples_ms.last().copied().unwrap_or(f64::NAN),
        samples_ms.len(),
    );
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent)
        .div_ceil(100)
        .clamp(1, sorted.len().max(1))
        - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Shows the size of a shipped program.
pub fn size(program: &Path, limit_mib: Option<f64>) {
    let name = program.file_name().unwrap_or_default().display();
    let bytes = fs::metadata(program).map_or(0, |file| file.len());
    let mib = bytes as f64 / (1024.0 * 1024.0);
    match limit_mib {
        Some(limit) => show(&format!("{name}, the file"), mib, "MiB", limit),
        None => println!("  {name}, the file: {mib:.3} MiB"),
    }
}

/// Shows which releases are measured beside ours, as their packages say: one of them does not know its own version.
pub fn versions(packages: &[&str]) {
    let mut question = Command::new("dpkg-query");
    question
        .args(["--show", "--showformat=  ${Package} ${Version}\n"])
        .args(packages);
    print!("{}", String::from_utf8_lossy(&run(&mut question).stdout));
}

/// What a process holds, in megabytes of a million bytes.
pub struct Megabytes {
    /// All that is in memory, mapped files included.
    pub resident: f64,
    /// What it has allocated.
    pub anonymous: f64,
}

impl Megabytes {
    /// Of this process, now.
    pub fn of(program: &Program) -> Self {
        let memory = program.memory();
        let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
        Self {
            resident: megabytes(memory.rss_kib),
            anonymous: megabytes(memory.rss_anon_kib),
        }
    }
}
