//! Ten thousand alerts in a minute: does the person on call read of every critical one in time, and what does it cost?
//!
//! Ten nodes and a sender of Prometheus say that something is wrong, twenty times as many of ordinary services as of a
//! critical one, and nobody acknowledges. One person is told by mail, and a webhook of everything. Beside it, Debian's
//! Alertmanager gets as many by its API and tells a webhook of each; what a person would read is then the webhook's affair.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinSet;
use vigie_core::{status::Status, time::Wall};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{Collector, HandAgent, MailServer, Program};

use crate::{
    figures::{self, Megabytes, spread},
    meter::Meter,
    parties::{Party, Poster, posted},
    sink::Sink,
};

/// Nodes that find something.
const NODES: usize = 10;

/// What each of them finds every second.
const LINES: usize = 12;

/// What the sender says every second.
const POSTED: usize = 47;

/// How long the storm lasts, in seconds.
const SECONDS: usize = 60;

/// One of so many is of a critical service.
const CRITICAL_EVERY: usize = 20;

/// How long everything that was said may still be told afterwards before it counts as lost.
const TOLD_WITHIN: Duration = Duration::from_secs(120);

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was said, and when it was accepted.
#[derive(Debug, Default)]
struct Said {
    accepted: BTreeMap<String, (Instant, Wall)>,
    answers: BTreeMap<u16, usize>,
}

impl Said {
    fn answered(&mut self, status: u16, names: Vec<String>) {
        *self.answers.entry(status).or_default() += 1;
        if status == 200 {
            let now = (Instant::now(), SystemClock.wall());
            let names = names.into_iter().map(|name| (name, now));
            self.accepted.extend(names);
        }
    }

    fn add(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
    }
}

/// The most that a program held while it was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    resident: f64,
    anonymous: f64,
}

impl Peak {
    fn look(&mut self, program: &Program) {
        let now = Megabytes::of(program);
        self.resident = self.resident.max(now.resident);
        self.anonymous = self.anonymous.max(now.anonymous);
    }
}

/// What a storm cost.
struct Cost {
    peak: Peak,
    cpu_s: f64,
}

pub async fn measure() {
    let seconds = figures::times(SECONDS);
    let alerts = seconds * (NODES * LINES + POSTED);
    println!(
        "storm: {alerts} alerts in {seconds} s, one of {CRITICAL_EVERY} of a critical service"
    );
    let ours = ours(seconds).await;
    let theirs = theirs(seconds).await;
    println!(
        "  {:24} {:>10} {:>10} {:>10}",
        "", "RSS MB", "RssAnon", "CPU-s"
    );
    for (name, cost) in [
        ("vigie-collector", &ours),
        ("alertmanager, webhook", &theirs),
    ] {
        println!(
            "  {name:24} {:10.1} {:10.1} {:10.1}",
            cost.peak.resident, cost.peak.anonymous, cost.cpu_s
        );
    }
    println!(
        "  {:24} {:9.2}x {:9.2}x {:9.2}x",
        "alertmanager to ours",
        theirs.peak.resident / ours.peak.resident,
        theirs.peak.anonymous / ours.peak.anonymous,
        theirs.cpu_s / ours.cpu_s,
    );
}

fn is_critical(n: usize) -> bool {
    n.is_multiple_of(CRITICAL_EVERY)
}

fn name(n: usize) -> String {
    if is_critical(n) {
        format!("crit{n:05}")
    } else {
        format!("ordi{n:05}")
    }
}

async fn ours(seconds: usize) -> Cost {
    let sink = Sink::start().await;
    let mail = MailServer::start().await;
    let nodes: Vec<String> = (0..NODES).map(|n| format!("n-{n}")).collect();
    let mut collector = Collector::with(settings(&nodes, &sink, &mail)).prepare();
    collector.write_people(
        "[person.am]\ncontacts = [{ channel = \"mail\", to = \"am@chu.example\" }]\n",
    );
    collector.restart().await;
    let mut agents = Vec::new();
    for node in &nodes {
        let mut agent = HandAgent::join(&collector, node).await;
        agent.adds_to_plan(&["critique"], Some("dossier"));
        agent.adds_to_plan(&["ordinaire"], Some("intranet"));
        let lines = agent.says_plan();
        agent.hands_in(&lines).await;
        agents.push(agent);
    }
    let poster = Poster::of_sender(&collector, "prom-01").await;

    let meter = Meter::start(collector.program());
    let began = Instant::now();
    let mut work = JoinSet::new();
    for (index, agent) in agents.into_iter().enumerate() {
        work.spawn(finds(agent, index, seconds));
    }
    work.spawn(posts(poster, NODES * LINES * seconds, POSTED, seconds));
    let mut peak = Peak::default();
    let said = outlast(&mut work, collector.program(), &mut peak).await;
    println!(
        "  {} accepted within {:.1} s of their first; answers by status: {:?}",
        said.accepted.len(),
        began.elapsed().as_secs_f64(),
        said.answers
    );
    let critical: BTreeSet<&String> = said
        .accepted
        .keys()
        .filter(|name| name.starts_with("crit"))
        .collect();

    // Both are to have heard of all they are to hear of.
    let ended = Instant::now();
    let mut named = BTreeMap::new();
    loop {
        peak.look(collector.program());
        if ended.elapsed() > TOLD_WITHIN {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let is_webhook_told = sink.count() >= said.accepted.len();
        if named.len() < critical.len() {
            named = named_in(&mail, &critical);
        }
        if is_webhook_told && named.len() >= critical.len() {
            break;
        }
    }
    let cpu_s = meter.milliseconds() / 1e3;
    let told = sink.told();
    by_webhook(&said, &told);
    let delays: Vec<f64> = named
        .iter()
        .map(|(name, at)| {
            let (_, accepted) = said.accepted[*name];
            (at.0 - accepted.0) as f64
        })
        .collect();
    println!(
        "  mail to the person on call: {} of {} critical alerts named",
        named.len(),
        critical.len()
    );
    let longest_s = delays.iter().copied().fold(0.0, f64::max) / 1e3;
    spread(
        "critical alert accepted to named in an accepted mail",
        delays,
        "at most 30 s each",
    );
    figures::show("the longest of these", longest_s, "s", 30.0);
    let mails = mail.taken();
    let longest = mails.iter().map(|mail| mail.word("text").len()).max();
    println!(
        "  mails to them: {} (at most {} in that time at one a half minute), the longest of {:.1} kB",
        mails.len(),
        2 + (ended.elapsed().as_secs() as usize + seconds) / 25,
        longest.unwrap_or(0) as f64 / 1e3
    );
    peak.resident = peak.resident.max(high_water(collector.program()));
    figures::show("peak RSS", peak.resident, "MB", 150.0);
    println!("  peak RssAnon: {:.1} MB", peak.anonymous);
    println!(
        "  processor time: {cpu_s:.1} s, {:.2} ms an alert; commits: {:.0}, {:.2} ms each, at most {:.1} ms",
        cpu_s * 1e3 / said.accepted.len() as f64,
        collector.metric("vigie_commits_total").await,
        collector
            .metric("vigie_commit_duration_seconds_total")
            .await
            * 1e3
            / collector.metric("vigie_commits_total").await,
        collector.metric("vigie_commit_duration_seconds_max").await * 1e3,
    );
    Cost { peak, cpu_s }
}

fn settings(nodes: &[String], sink: &Sink, mail: &MailServer) -> String {
    // Between two of their requests nodes are not expected to say anything.
    format!(
        "silent_after = \"1h\"\n\
         [service.dossier]\ncriticality = \"critical\"\nneeds = {{ D = 4, I = 4, C = 4, T = 3 }}\n\
         [service.intranet]\ncriticality = \"standard\"\nneeds = {{ D = 2, I = 2, C = 2, T = 2 }}\n\
         [group.app]\nnodes = {nodes:?}\nservices = [\"dossier\", \"intranet\"]\n\
         {}{}\
         [receiver.garde]\nsteps = [{{ people = [\"am\"], via = [\"mail\"] }}]\n\
         [[route]]\nnotify = [\"garde\", \"tableau\"]\n",
        mail.as_channel(),
        sink.as_receiver(),
    )
}

async fn theirs(seconds: usize) -> Cost {
    let sink = Sink::start().await;
    let Party::Alertmanager(program, poster) = Party::alertmanager(&sink).await else {
        unreachable!("an Alertmanager was asked for");
    };
    let meter = Meter::start(program.program());
    let mut work = JoinSet::new();
    work.spawn(posts(poster, 0, NODES * LINES + POSTED, seconds));
    let mut peak = Peak::default();
    let said = outlast(&mut work, program.program(), &mut peak).await;
    sink.hears_of(said.accepted.len(), TOLD_WITHIN).await;
    let cpu_s = meter.milliseconds() / 1e3;
    println!(
        "  alertmanager: {} accepted; answers by status: {:?}",
        said.accepted.len(),
        said.answers
    );
    by_webhook(&said, &sink.told());
    peak.resident = peak.resident.max(high_water(program.program()));
    Cost { peak, cpu_s }
}

/// Waits until all has been said.
async fn outlast(work: &mut JoinSet<Said>, program: &Program, peak: &mut Peak) -> Said {
    let mut said = Said::default();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            done = work.join_next() => match done {
                Some(done) => said.add(done.expect("nobody panics")),
                None => return said,
            },
            _ = looks.tick() => peak.look(program),
        }
    }
}

/// A node that finds something each second.
async fn finds(mut agent: HandAgent, index: usize, seconds: usize) -> Said {
    let mut said = Said::default();
    let mut each = tokio::time::interval(Duration::from_secs(1));
    // They do not all speak at the same instant.
    tokio::time::sleep(Duration::from_secs(1).mul_f64(index as f64 / NODES as f64)).await;
    for second in 0..seconds {
        each.tick().await;
        let first = (second * NODES + index) * LINES;
        let names: Vec<(usize, String)> = (first..first + LINES).map(|n| (n, name(n))).collect();
        let lines: Vec<_> = names
            .iter()
            .map(|(n, name)| {
                let check = if is_critical(*n) {
                    "critique"
                } else {
                    "ordinaire"
                };
                agent.finds(check, Some(name), Status::Critical)
            })
            .collect();
        let answer = agent.hand_in(&lines).await;
        let names = names.into_iter().map(|(_, name)| name).collect();
        said.answered(answer.status, names);
    }
    said
}

/// A sender that posts so many new alerts each second, numbered from `first`.
async fn posts(poster: Poster, first: usize, count: usize, seconds: usize) -> Said {
    let mut said = Said::default();
    let mut each = tokio::time::interval(Duration::from_secs(1));
    for second in 0..seconds {
        each.tick().await;
        let first = first + second * count;
        let names: Vec<String> = (first..first + count).map(name).collect();
        let alerts: Vec<Value> = names
            .iter()
            .map(|name| {
                let is_critical = name.starts_with("crit");
                posted(name, if is_critical { "dossier" } else { "intranet" })
            })
            .collect();
        let status = poster.post(&alerts).await;
        said.answered(status, names);
    }
    said
}

fn by_webhook(said: &Said, told: &BTreeMap<String, crate::sink::Told>) {
    let told_of = |name: &String| told.get(name).and_then(|told| told.at.first());
    let delays: Vec<f64> = said
        .accepted
        .iter()
        .filter_map(|(name, (accepted, _))| {
            let at = told_of(name)?;
            Some(at.saturating_duration_since(*accepted).as_secs_f64() * 1e3)
        })
        .collect();
    let more = told.values().filter(|told| told.at.len() > 1).count();
    println!(
        "    webhook: {} of {} told, {more} of them more than once",
        delays.len(),
        said.accepted.len()
    );
    spread("  accepted to webhook called", delays, "reported");
}

/// When each of these was first named in a mail that was taken.
fn named_in<'n>(mail: &MailServer, names: &BTreeSet<&'n String>) -> BTreeMap<&'n String, Wall> {
    let mut named = BTreeMap::new();
    for mail in mail.taken() {
        let at = Wall(mail.seen["at_ms"].as_i64().expect("the server says when"));
        let text = format!("{} {}", mail.header("subject"), mail.word("text"));
        for word in text.split(|character: char| !character.is_ascii_alphanumeric()) {
            if let Some(name) = names.get(&word.to_owned()) {
                named.entry(*name).or_insert(at);
            }
        }
    }
    named
}

/// The most that was ever resident, in megabytes (`VmHWM`, proc_pid_status(5)). Where the kernel reclaims pages by itself
/// it misses some of what looking finds, and looking misses what came and went between two looks: the greater one counts.
fn high_water(program: &Program) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid()));
    let status = status.expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kib: f64 = kib
        .and_then(|kib| kib.trim().parse().ok())
        .expect("a number of KiB");
    kib * 1024.0 / 1e6
}
