//! How fast is what nodes find: entries into the log, and from a failure to the one who is called?

use std::time::{Duration, Instant};

use vigie_core::{status::Status, time::Wall};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{Agent, Collector, HandAgent, Webhook};

use crate::{
    figures::{spread, times},
    fleet::group,
};

/// Rounds of entries.
const ROUNDS: usize = 100;

/// Entries a round.
const ENTRIES: usize = 200;

/// Failures that are timed.
const FAILURES: usize = 60;

pub async fn measure() {
    println!("alerts");
    entries().await;
    failure_to_webhook().await;
}

async fn entries() {
    let collector = Collector::with(group(&["n-0".to_owned()])).start().await;
    let mut agent = HandAgent::join(&collector, "n-0").await;
    let mut whole = Vec::new();
    let mut commits = Vec::new();
    for round in 0..times(ROUNDS) {
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
    spread(
        &format!("commit of {ENTRIES} entries, all opening or ending an alert"),
        commits,
        "p99 at most 20 ms",
    );
    spread("the same from request to answer", whole, "reported");
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
    for _ in 0..times(FAILURES) {
        drop(target.take());
        delays.push(arrival(&webhook, "open").await);
        target = Some(std::net::TcpListener::bind(address).expect("the port is free again"));
        arrival(&webhook, "close").await;
    }
    spread(
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
