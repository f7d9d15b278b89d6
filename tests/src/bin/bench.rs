//! `make bench`: vigie's own figures, measured on this machine with the shipped programs.
//!
//! Prints one line per figure with what it should be. It asserts nothing: a slow machine is not a defect, and a figure
//! is worth reading with its machine beside it. Ratios against peers come with the lane they compare.

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use vigie_core::{status::Status, time::Wall};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{Agent, Collector, HandAgent, Webhook, shipped};

/// Rounds of 200 entries.
const ROUNDS: usize = 100;

/// Entries a round.
const ENTRIES: usize = 200;

/// Failures that are timed.
const FAILURES: usize = 60;

/// Nodes that make contact with one collector.
const NODES: usize = 500;

/// How often each does, as agents do.
const CONTACT_EVERY: Duration = Duration::from_secs(20);

/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(60);

/// How long the agent settles before its memory is read.
const SETTLES: Duration = Duration::from_secs(60);

/// Clock ticks a second in /proc/PID/stat (USER_HZ, the same on every Linux architecture vigie is built for).
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be built").block_on(measure());
}

async fn measure() {
    println!("vigie bench: {ROUNDS} x {ENTRIES} entries, {FAILURES} failures, {NODES} nodes");
    size("vigie-agent", Some(8.0));
    size("vigie-collector", None);
    entries().await;
    failure_to_webhook().await;
    agent_memory().await;
    contacts().await;
}

fn size(name: &str, limit_mib: Option<f64>) {
    let bytes = fs::metadata(shipped(name)).map_or(0, |file| file.len());
    let mib = bytes as f64 / (1024.0 * 1024.0);
    let limit = limit_mib.map_or(String::new(), |limit| format!("  (at most {limit} MiB)"));
    println!("{name} binary: {mib:.2} MiB{limit}");
}

fn group(nodes: &[String]) -> String {
    format!(
        "[service.dossier]\ncriticality = \"critical\"\nneeds = {{ D = 4, I = 4, C = 4, T = 3 }}\n\
         [group.app]\nnodes = {nodes:?}\nservices = [\"dossier\"]\n"
    )
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent)
        .div_ceil(100)
        .clamp(1, sorted.len().max(1))
        - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

fn report(what: &str, mut samples_ms: Vec<f64>, limit: &str) {
    samples_ms.sort_by(f64::total_cmp);
    println!(
        "{what}: median {:.1} ms, p99 {:.1} ms, max {:.1} ms over {}  ({limit})",
        percentile(&samples_ms, 50),
        percentile(&samples_ms, 99),
        samples_ms.last().copied().unwrap_or(f64::NAN),
        samples_ms.len(),
    );
}

async fn entries() {
    let collector = Collector::with(group(&["n-0".to_owned()])).start().await;
    let mut agent = HandAgent::join(&collector, "n-0").await;
    let mut whole = Vec::new();
    let mut commits = Vec::new();
    for round in 0..ROUNDS {
        let status = if round % 2 == 0 {
            Status::Critical
        } else {
            Status::Ok
        };
        let lines: Vec<_> = (0..ENTRIES)
            .map(|n| agent.finds(&format!("check-{n}"), None, status))
            .collect();
        let before = collector
            .metric("vigie_commit_duration_seconds_total")
            .await;
        let started = Instant::now();
        agent.hands_in(&lines).await;
        whole.push(started.elapsed().as_secs_f64() * 1000.0);
        let after = collector
            .metric("vigie_commit_duration_seconds_total")
            .await;
        commits.push((after - before) * 1000.0);
    }
    report(
        "commit of 200 entries, all opening or ending an alert",
        commits,
        "p99 at most 20 ms",
    );
    report("the same from request to answer", whole, "reported");
}

async fn failure_to_webhook() {
    let webhook = Webhook::start().await;
    let settings = group(&["n-0".to_owned()]) + &webhook.as_only_receiver();
    let collector = Collector::with(settings).start().await;
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = target.local_addr().expect("a bound port");
    let mut target = Some(target);
    let checks = format!(
        "[defaults]\nevery = \"1s\"\ntimeout = \"500ms\"\nfailures = 1\nrecoveries = 1\n\
         [check.porte]\nkind = \"tcp\"\nservice = \"dossier\"\ntarget = \"{address}\"\n"
    );
    let agent = Agent::with(checks).start(&collector, "n-0").await;
    agent.settles("porte", "ok").await;
    let mut delays = Vec::new();
    for _ in 0..FAILURES {
        drop(target.take());
        delays.push(arrival(&webhook, "open").await);
        target = Some(std::net::TcpListener::bind(address).expect("the port is free again"));
        arrival(&webhook, "close").await;
    }
    report(
        "status settled on the node to webhook called",
        delays,
        "p99 at most 1 s beyond the interval",
    );
}

/// Waits for the next message of this kind; milliseconds between the line it tells of and now.
async fn arrival(webhook: &Webhook, notice: &str) -> f64 {
    let seen = webhook.told().len();
    loop {
        let told = webhook.told();
        if let Some(told) = told
            .iter()
            .skip(seen)
            .find(|told| told.word("notice") == notice)
        {
            let since = Wall::parse(told.word("since")).map_or(0, |since| since.0);
            return (SystemClock.wall().0 - since) as f64;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn agent_memory() {
    let collector = Collector::with(group(&["n-0".to_owned()])).start().await;
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = target.local_addr().expect("a bound port");
    let checks = format!(
        "[defaults]\nevery = \"15s\"\n[check.cpu]\nkind = \"cpu\"\n[check.memoire]\nkind = \"memory\"\n\
         [check.charge]\nkind = \"load\"\n[check.disques]\nkind = \"filesystem\"\n\
         [check.porte]\nkind = \"tcp\"\ntarget = \"{address}\"\n"
    );
    let agent = Agent::with(checks).start(&collector, "n-0").await;
    let ticks = agent.program().cpu_ticks();
    tokio::time::sleep(SETTLES).await;
    let memory = agent.program().memory();
    let cpu_ms = (agent.program().cpu_ticks() - ticks) as f64 / TICKS_PER_SECOND * 1000.0;
    let cycles = SETTLES.as_secs_f64() / 15.0;
    println!(
        "agent with five checks every 15 s: RSS {:.1} MB (at most 12), RssAnon {:.1} MB (at most 4), {:.1} ms of processor a cycle",
        memory.rss_kib as f64 * 1024.0 / 1e6,
        memory.rss_anon_kib as f64 * 1024.0 / 1e6,
        cpu_ms / cycles,
    );
}

async fn contacts() {
    let names: Vec<String> = (0..NODES).map(|n| format!("n-{n}")).collect();
    let collector = Collector::with(group(&names)).start().await;
    let mut agents = Vec::new();
    for name in &names {
        let mut agent = HandAgent::join(&collector, name).await;
        let lines = agent.plans(&["porte", "disques"], Some("dossier"));
        agent.hands_in(&lines).await;
        agents.push(agent);
    }
    let started = Instant::now();
    let ticks = collector.program().cpu_ticks();
    let mut work = JoinSet::new();
    for (index, agent) in agents.into_iter().enumerate() {
        let share = CONTACT_EVERY.mul_f64(index as f64 / NODES as f64);
        work.spawn(async move {
            tokio::time::sleep(share).await;
            while started.elapsed() < WATCHED {
                let answer = agent.hand_in(&[]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                tokio::time::sleep(CONTACT_EVERY).await;
            }
        });
    }
    tokio::time::sleep(WATCHED).await;
    let cpu = (collector.program().cpu_ticks() - ticks) as f64 / TICKS_PER_SECOND;
    let share = cpu / started.elapsed().as_secs_f64() * 100.0;
    let memory = collector.program().memory();
    println!(
        "contacts of {NODES} nodes every 20 s: {share:.1} % of a core (at most 5), collector RSS {:.0} MB",
        memory.rss_kib as f64 * 1024.0 / 1e6,
    );
    work.abort_all();
}
