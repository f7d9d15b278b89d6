//! What does the agent cost its node, beside node_exporter and vmagent, which together do a part of the same?

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use vigie_tests::harness::{
    Agent, Collector, Program, VictoriaMetrics, command, eventually, own_address, read_plain,
};

use crate::{
    figures::{self, Megabytes},
    fleet::group,
    meter::Meter,
};

/// How long all of them are watched, beside one another.
const WATCHED: Duration = Duration::from_secs(300);

/// How long they settle before: what happens once at the start is no cost of a cycle.
const SETTLES: Duration = Duration::from_secs(60);

/// From one run of each check to the next, and from one scrape to the next.
const CYCLE: Duration = Duration::from_secs(15);

/// Series that the agent is to show.
const SERIES: usize = 500;

/// The most names that one `process` check takes.
const NAMES_MAX: usize = 32;

/// A program that runs under a name of its own, so that a `process` check finds it on every machine.
struct Worker(Child);

impl Worker {
    fn start(name: &str) -> Self {
        let mut sleep = Command::new("sleep");
        sleep.arg0(name).arg("infinity").stdin(Stdio::null());
        Self(sleep.spawn().expect("sleep can be started"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn measure() {
    let few = few_checks().await;
    println!("agent with five checks every 15 s");
    figures::show("RSS", few.memory.resident, "MB", 12.0);
    figures::show("RssAnon", few.memory.anonymous, "MB", 4.0);
    figures::show("processor time", few.cycle_ms, "ms a cycle", 2.0);

    let workers = workers().await;
    let collector = Collector::with(group(&["n-0".to_owned()])).start().await;
    let agent = Agent::with(host_checks(workers.len()))
        .start(&collector, "n-0")
        .await;
    let scraped = Scraped::start().await;
    let programs = [agent.program(), &scraped.exporter, &scraped.vmagent];
    tokio::time::sleep(figures::time(SETTLES)).await;
    let written = collector.metric("vigie_samples_written_total").await;
    let meters = programs.map(Meter::start);
    let watched = figures::time(WATCHED);
    tokio::time::sleep(watched).await;
    let cycles = watched.as_secs_f64() / CYCLE.as_secs_f64();
    let [ours, exporter, vmagent] = [0, 1, 2].map(|index| Cost {
        cycle_ms: meters[index].milliseconds() / cycles,
        cycle_ms_in_ticks: meters[index].milliseconds_in_ticks() / cycles,
        children_ms: meters[index].children_milliseconds() / cycles,
        memory: Megabytes::of(programs[index]),
    });

    let written = collector.metric("vigie_samples_written_total").await - written;

    // Only now: the pages cost their programs something.
    let own_series = series(&agent.metrics().await.expect("the agent shows metrics"));
    let page = read_plain(scraped.exporter_address, "/metrics").await;
    let scraped_series = series(&page.expect("node_exporter shows metrics"));
    println!(
        "agent with host checks (15 s; clock, logs and processes 1 m, accounts 10 m, updates 1 h, as shipped), over {} s: {own_series} series, {:.0} samples at the collector a cycle",
        watched.as_secs(),
        written / cycles,
    );
    figures::show("RSS", ours.memory.resident, "MB", 12.0);
    figures::show("RssAnon", ours.memory.anonymous, "MB", 4.0);
    figures::show("processor time", ours.cycle_ms, "ms a cycle", 2.0);
    println!(
        "  {:24} {:>8} {:>8} {:>12}",
        "", "RSS", "RssAnon", "ms a cycle"
    );
    ours.row("vigie-agent");
    exporter.row("node_exporter");
    vmagent.row("vmagent");
    println!(
        "  {:24} {:7.2}x {:7.2}x {:11.2}x   ({scraped_series} series: {:.2}x a series)",
        "both to ours",
        (exporter.memory.resident + vmagent.memory.resident) / ours.memory.resident,
        (exporter.memory.anonymous + vmagent.memory.anonymous) / ours.memory.anonymous,
        (exporter.cycle_ms + vmagent.cycle_ms) / ours.cycle_ms,
        (exporter.cycle_ms + vmagent.cycle_ms)
            / scraped_series as f64
            / (ours.cycle_ms / own_series as f64),
    );
}

struct Cost {
    cycle_ms: f64,
    /// As a check, and by a much coarser measure.
    cycle_ms_in_ticks: f64,
    /// What the commands that it ran took besides.
    children_ms: f64,
    memory: Megabytes,
}

impl Cost {
    fn row(&self, name: &str) {
        println!(
            "  {name:24} {:8.1} {:8.1} {:12.3}   (by ticks {:.1}; its commands {:.1})",
            self.memory.resident,
            self.memory.anonymous,
            self.cycle_ms,
            self.cycle_ms_in_ticks,
            self.children_ms
        );
    }
}

async fn few_checks() -> Cost {
    let collector = Collector::with(group(&["n-0".to_owned()])).start().await;
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = target.local_addr().expect("a bound port");
    let checks = format!(
        "[defaults]\nevery = \"15s\"\n[check.cpu]\nkind = \"cpu\"\n[check.memoire]\nkind = \"memory\"\n\
         [check.charge]\nkind = \"load\"\n[check.disques]\nkind = \"filesystem\"\n\
         [check.porte]\nkind = \"tcp\"\ntarget = \"{address}\"\n"
    );
    let agent = Agent::with(checks).start(&collector, "n-0").await;
    // What happens once at the start is no cost of a cycle.
    tokio::time::sleep(CYCLE).await;
    let meter = Meter::start(agent.program());
    let watched = figures::time(SETTLES);
    tokio::time::sleep(watched).await;
    let cycles = watched.as_secs_f64() / CYCLE.as_secs_f64();
    Cost {
        cycle_ms: meter.milliseconds() / cycles,
        cycle_ms_in_ticks: meter.milliseconds_in_ticks() / cycles,
        children_ms: meter.children_milliseconds() / cycles,
        memory: Megabytes::of(agent.program()),
    }
}

/// As many programs as a `process` check must look for so that the agent has [`SERIES`], found with an agent for this
/// alone: machines differ in what else there is to measure.
async fn workers() -> Vec<Worker> {
    let mut workers = vec![Worker::start(&worker_name(0))];
    let collector = Collector::with(group(&["n-0".to_owned()])).start().await;
    let agent = Agent::with(host_checks(workers.len()))
        .start(&collector, "n-0")
        .await;
    // Each check has run once, and its samples were handed in once.
    tokio::time::sleep(CYCLE * 2).await;
    let page = agent.metrics().await.expect("the agent shows metrics");
    let object = format!("\"{}\"", worker_name(0));
    let each = page.lines().filter(|line| line.contains(&object)).count();
    assert!(each > 0, "no series of {object} in:\n{page}");
    let wanted = 1 + SERIES.saturating_sub(series(&page)) / each;
    workers.extend((1..wanted).map(|n| Worker::start(&worker_name(n))));
    workers
}

fn worker_name(n: usize) -> String {
    format!("ouvrier-{n:02}")
}

fn series(page: &str) -> usize {
    let is_series = |line: &&str| !line.is_empty() && !line.starts_with('#');
    page.lines().filter(is_series).count()
}

/// Every check of the host itself but `systemd_unit`, which needs a systemd.
fn host_checks(workers: usize) -> String {
    let interfaces: Vec<String> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let names: Vec<String> = (0..workers).map(worker_name).collect();
    let processes: String = names
        .chunks(NAMES_MAX)
        .enumerate()
        .map(|(n, names)| {
            format!(
                "[check.processus-{n}]\nkind = \"process\"\nevery = \"1m\"\nnames = {names:?}\n"
            )
        })
        .collect();
    format!(
        "[defaults]\nevery = \"15s\"\n\
         [check.processeur]\nkind = \"cpu\"\n\
         [check.memoire]\nkind = \"memory\"\n\
         [check.charge]\nkind = \"load\"\n\
         [check.disques]\nkind = \"filesystem\"\n\
         [check.horloge]\nkind = \"clock\"\nevery = \"1m\"\n\
         [check.reseau]\nkind = \"network\"\ninterfaces = {interfaces:?}\n\
         [check.journaux]\nkind = \"log_forwarding\"\nevery = \"1m\"\n\
         [check.comptes]\nkind = \"admin_accounts\"\nevery = \"10m\"\n\
         [check.mises-a-jour]\nkind = \"updates\"\nevery = \"1h\"\ntimeout = \"1m\"\n\
         {processes}"
    )
}

/// node_exporter, scraped by a vmagent that pushes to a VictoriaMetrics.
struct Scraped {
    vmagent: Program,
    exporter: Program,
    exporter_address: SocketAddr,
    _sink: VictoriaMetrics,
    _dir: TempDir,
}

impl Scraped {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let sink = VictoriaMetrics::start().await;
        let exporter_address: SocketAddr = (own_address(), 9100).into();
        let mut exporter = command("prometheus-node-exporter");
        exporter.arg(format!("--web.listen-address={exporter_address}"));
        let settings = format!(
            "global: {{ scrape_interval: {}s }}\n\
             scrape_configs: [{{ job_name: node, static_configs: [{{ targets: [\"{exporter_address}\"] }}] }}]\n",
            CYCLE.as_secs()
        );
        let settings_file = dir.path().join("vmagent.yml");
        fs::write(&settings_file, settings).expect("settings can be written");
        let mut vmagent = command("vmagent");
        vmagent
            .arg(format!("-promscrape.config={}", settings_file.display()))
            .arg(format!("-remoteWrite.url={}", sink.write_url()))
            .arg(format!(
                "-remoteWrite.tmpDataPath={}",
                dir.path().join("queue").display()
            ))
            .arg(format!("-httpListenAddr={}:8429", own_address()));
        let started = Self {
            exporter: Program::start("node_exporter", exporter, &dir.path().join("exporter.log")),
            vmagent: Program::start("vmagent", vmagent, &dir.path().join("vmagent.log")),
            exporter_address,
            _sink: sink,
            _dir: dir,
        };
        eventually("what vmagent scrapes arrives", async || {
            let page = read_plain(started._sink.address(), "/api/v1/label/job/values").await?;
            if page.contains("node") {
                Ok(())
            } else {
                Err(page)
            }
        })
        .await;
        started
    }
}
