//! Do the host checks say what the machine's own tools say?
//!
//! What is measured moves: each comparison is made again until both were looked at in the same moment, and then has to
//! hold within what a second changes.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use tempfile::TempDir;
use vigie_tests::harness::{
    Agent, Collector, Program, command, eventually, own_address, read_plain, run, value_in,
};

use crate::fleet::fleet;

/// As quick as checks can be.
const QUICK: &str = "[defaults]\nevery = \"1s\"\ntimeout = \"900ms\"\n";

/// What a tool prints.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = run(command(program).env("LC_ALL", "C").args(arguments));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The numbers in one line of what a tool prints, units and percent signs left out.
fn numbers(line: &str) -> Vec<f64> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The part of labels that says what measured it.
fn of(check: &str, kind: &str) -> String {
    format!("check=\"{check}\",kind=\"{kind}\"")
}

/// Waits until the agent's `series` is `truth`, give or take `tolerance`, both looked at anew each time.
async fn agrees(agent: &Agent, series: &str, tolerance: f64, truth: impl AsyncFn() -> f64) {
    eventually(&format!("{series} is true"), async || {
        let truth = truth().await;
        let page = agent.metrics().await?;
        let measured = value_in(&page, series).ok_or(page)?;
        if (measured - truth).abs() <= tolerance {
            Ok(())
        } else {
            Err(format!("{measured}, and it is {truth}"))
        }
    })
    .await;
}

/// Debian's node exporter, whose numbers of the kernel's counters are somebody else's.
struct NodeExporter {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    _program: Program,
    _dir: TempDir,
    address: SocketAddr,
}

impl NodeExporter {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address: SocketAddr = (own_address(), 9100).into();
        let mut exporter = command("prometheus-node-exporter");
        exporter
            .arg(format!("--web.listen-address={address}"))
            .arg("--collector.disable-defaults")
            .args(["--collector.cpu", "--collector.netdev"])
            // Debian leaves loopback out.
            .arg("--collector.netdev.device-exclude=^none$");
        let log = dir.path().join("node-exporter.log");
        let program = Program::start("node exporter", exporter, &log);
        eventually("the node exporter answers", async || {
            read_plain(address, "/metrics").await
        })
        .await;
        Self {
            _program: program,
            _dir: dir,
            address,
        }
    }

    /// The sum of all series of `name` with this label.
    async fn sum(&self, name: &str, label: &str) -> f64 {
        let page = read_plain(self.address, "/metrics").await;
        let page = page.expect("the node exporter answers");
        page.lines()
            .filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_of_the_machine_is_what_df_free_uptime_and_node_exporter_say() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let exporter = NodeExporter::start().await;
    let settings = format!(
        r#"{QUICK}
        [check.disques]
        kind = "filesystem"
        mounts = ["/"]
        [check.memoire]
        kind = "memory"
        [check.charge]
        kind = "load"
        [check.processeur]
        kind = "cpu"
        [check.reseau]
        kind = "network"
        interfaces = ["lo"]
        "#
    );
    let agent = Agent::with(settings).start(&collector, "app-01").await;

    // df counts in its own way what is used, and rounds it up.
    let df = |column: &str| {
        let column = format!("--output={column}");
        let said = said("df", &["--block-size=1", &column, "/"]);
        let last = said.lines().last().unwrap_or_default().to_owned();
        numbers(&last).first().copied().expect("a number")
    };
    let root = of("disques", "filesystem") + ",object=\"/\"";
    let size = df("size");
    for (name, column, unit, tolerance) in [
        ("vigie_host_filesystem_size_bytes", "size", 1.0, 0.0),
        (
            "vigie_host_filesystem_available_bytes",
            "avail",
            1.0,
            size / 200.0,
        ),
        ("vigie_host_filesystem_used_ratio", "pcent", 0.01, 0.015),
        ("vigie_host_filesystem_inodes", "itotal", 1.0, 0.0),
        ("vigie_host_filesystem_inodes_free", "iavail", 1.0, 20_000.0),
    ] {
        let series = format!("{name}{{{root},node=\"app-01\"}}");
        agrees(&agent, &series, tolerance, async || unit * df(column)).await;
    }

    let free = |line: &str, column: usize| {
        let said = said("free", &["--bytes"]);
        let line = said.lines().find(|found| found.starts_with(line));
        let line = line.expect("it has such a line").to_owned();
        numbers(&line)[column]
    };
    let memory = of("memoire", "memory");
    let total = free("Mem:", 0);
    for (name, line, column, tolerance) in [
        ("vigie_host_memory_size_bytes", "Mem:", 0, 0.0),
        ("vigie_host_memory_available_bytes", "Mem:", 5, total / 50.0),
        ("vigie_host_swap_size_bytes", "Swap:", 0, 0.0),
        ("vigie_host_swap_used_bytes", "Swap:", 1, total / 100.0),
    ] {
        let series = format!("{name}{{{memory},node=\"app-01\"}}");
        agrees(&agent, &series, tolerance, async || free(line, column)).await;
    }

    let load = of("charge", "load");
    for (column, window) in ["1m", "5m", "15m"].into_iter().enumerate() {
        let series =
            format!("vigie_host_load_average{{{load},window=\"{window}\",node=\"app-01\"}}");
        agrees(&agent, &series, 0.2, async || {
            let said = said("uptime", &[]);
            let (_, averages) = said.split_once("load average:").expect("it says the load");
            numbers(averages)[column]
        })
        .await;
    }
    let series = format!("vigie_host_processors{{{load},node=\"app-01\"}}");
    agrees(&agent, &series, 0.0, async || {
        numbers(&said("nproc", &["--all"]))[0]
    })
    .await;

    let cpu = of("processeur", "cpu");
    for mode in ["user", "system", "idle", "iowait"] {
        let series =
            format!("vigie_host_cpu_seconds_total{{{cpu},mode=\"{mode}\",node=\"app-01\"}}");
        let label = format!("mode=\"{mode}\"");
        agrees(&agent, &series, 5.0, async || {
            exporter.sum("node_cpu_seconds_total", &label).await
        })
        .await;
    }
    let lo = of("reseau", "network") + ",object=\"lo\"";
    for (name, theirs) in [
        ("receive_bytes", "node_network_receive_bytes_total"),
        ("transmit_bytes", "node_network_transmit_bytes_total"),
    ] {
        let series = format!("vigie_network_{name}_total{{{lo},node=\"app-01\"}}");
        let all = exporter.sum(theirs, "device=\"lo\"").await;
        assert!(all > 0.0, "this scenario itself speaks over it");
        agrees(&agent, &series, all / 50.0, async || {
            exporter.sum(theirs, "device=\"lo\"").await
        })
        .await;
    }
    let series = format!("vigie_network_receive_packets_total{{{lo},node=\"app-01\"}}");
    let all = exporter
        .sum("node_network_receive_packets_total", "device=\"lo\"")
        .await;
    agrees(&agent, &series, all / 50.0, async || {
        exporter
            .sum("node_network_receive_packets_total", "device=\"lo\"")
            .await
    })
    .await;
}

/// Starts a program that does nothing under a name of its own.
fn sleeper(dir: &Path, name: &str) -> Program {
    let path = dir.join(name);
    if !path.exists() {
        fs::copy("/usr/bin/sleep", &path).expect("a program can be copied");
    }
    let mut sleeper = command(path);
    sleeper.arg("3600");
    Program::start(name, sleeper, &dir.join("log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_counted_as_pgrep_counts_them_and_a_missing_one_is_told() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let place = tempfile::tempdir().expect("a temporary folder");
    // No other process of this machine is called so.
    let name = format!("vigie-{}", std::process::id());
    let start = || sleeper(place.path(), &name);
    let mut sleepers = vec![start(), start(), start()];
    let settings =
        format!("{QUICK}[check.processus]\nkind = \"process\"\nname = \"{name}\"\nmin = 2\n");
    let agent = Agent::with(settings).start(&collector, "app-01").await;
    let series = format!(
        "vigie_processes{{{},object=\"{name}\",node=\"app-01\"}}",
        of("processus", "process")
    );
    // pgrep's exit says whether there are any; what it prints is what counts.
    let pgrep = || {
        let output = run(command("pgrep").args(["--count", "--exact", &name]));
        numbers(&String::from_utf8_lossy(&output.stdout))[0]
    };
    assert_eq!(pgrep(), 3.0);
    agrees(&agent, &series, 0.0, async || pgrep()).await;
    agent.settles("processus", "ok").await;

    sleepers.pop();
    assert_eq!(pgrep(), 2.0);
    agrees(&agent, &series, 0.0, async || pgrep()).await;
    sleepers.pop();
    agrees(&agent, &series, 0.0, async || pgrep()).await;
    let alert = collector.shows("app-01", "process.few").await;
    assert_eq!(alert["object"], *name);
    assert_eq!(alert["facts"]["count"], 1);
    sleepers.push(start());
    agent.settles("processus", "ok").await;
    collector.is_fine("app-01").await;
}

/// A chronyd that steers no clock.
fn chronyd(name: &str, dir: &Path, inside: &[&str], settings: &str) -> Program {
    let file = dir.join(format!("{name}.conf"));
    fs::write(&file, settings).expect("settings can be written");
    let daemon = ["chronyd", "-x", "-n", "-u", "root", "-f"];
    let words = [inside, daemon.as_slice()].concat();
    let [program, arguments @ ..] = &*words else {
        unreachable!("it has words");
    };
    let mut chronyd = command(program);
    chronyd.args(arguments).arg(file);
    Program::start(name, chronyd, &dir.join(format!("{name}.log")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_half_a_second_slow_is_told_as_chronyc_tells_it() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let place = tempfile::tempdir().expect("a temporary folder");
    let dir = place.path();
    let address = own_address();
    let pid_file = dir.join("server.pid");
    let _server = chronyd(
        "chrony-server",
        dir,
        &[],
        &format!(
            "local stratum 4\nport 11123\nbindaddress {address}\nallow 127.0.0.0/8\ncmdport 0\nbindcmdaddress /\npidfile {}\n",
            pid_file.display()
        ),
    );
    // It and the agent have a /run of their own: no other chronyd answers there, nor a D-Bus.
    let own_run = "mount -t tmpfs own /run && mkdir -m 0750 /run/chrony && exec \"$@\"";
    let client = chronyd(
        "chrony-client",
        dir,
        &[
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            own_run,
            "sh",
        ],
        // By what the server says the clock is half a second slow.
        &format!(
            "server {address} port 11123 iburst minpoll -6 maxpoll -6 offset 0.5\nport 0\ncmdport 0\n"
        ),
    );
    let target = format!("--target={}", client.pid());
    let inside = ["nsenter", "--mount", &*target];
    let chronyc = |arguments: &[&str]| {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--mount", &*target, "chronyc", "-n"]);
        let output = run(nsenter.args(arguments));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let tracking = |key: &str| {
        let said = chronyc(&["tracking"]);
        let line = said.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    eventually("chrony has heard its server", async || {
        match tracking("Stratum") {
            stratum if stratum == "5" => Ok(()),
            stratum => Err(stratum),
        }
    })
    .await;

    let settings = format!(
        "{QUICK}[check.horloge]\nkind = \"clock\"\n[check.unites]\nkind = \"systemd_unit\"\nunits = [\"nginx.service\"]\n"
    );
    let agent = Agent::with(settings)
        .inside(&inside)
        .start(&collector, "app-01")
        .await;
    let clock = of("horloge", "clock");
    let series = |name: &str| format!("vigie_clock_{name}{{{clock},node=\"app-01\"}}");
    agrees(&agent, &series("offset_seconds"), 0.001, async || {
        let said = tracking("System time");
        let slow = numbers(&said).first().copied().unwrap_or_default();
        assert!(said.contains("slow of NTP time"), "{said}");
        -slow
    })
    .await;
    let offset = agent.metric(&series("offset_seconds")).await;
    assert!(
        offset
            .as_ref()
            .is_ok_and(|offset| (-0.51..-0.49).contains(offset)),
        "{offset:?}"
    );
    agrees(&agent, &series("stratum"), 0.0, async || {
        numbers(&tracking("Stratum"))[0]
    })
    .await;
    agrees(&agent, &series("root_delay_seconds"), 0.01, async || {
        numbers(&tracking("Root delay"))[0]
    })
    .await;
    agrees(&agent, &series("sources"), 0.0, async || {
        let said = chronyc(&["-c", "sources"]);
        f64::from(u8::from(said.starts_with("^,*,")))
    })
    .await;
    agrees(&agent, &series("synchronised"), 0.0, async || {
        f64::from(u8::from(tracking("Leap status") == "Normal"))
    })
    .await;
    let alert = collector.shows("app-01", "clock.offset").await;
    assert_eq!(alert["status"], "warning");

    // Nobody here knows of units, and that is not told as well.
    let alert = collector.shows("app-01", "unit.no_bus").await;
    assert_eq!(alert["status"], "unknown");
}
