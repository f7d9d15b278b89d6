//! What does one question to a web service cost the agent, with TLS and without?

use std::time::Duration;

use vigie_tests::harness::{Agent, Collector, Nginx};

use crate::{figures, fleet::group, meter::Meter};

/// Checks of one agent, each asking once a second. Between few probes the processor sleeps and forgets, so that each
/// costs more than one of many.
const FEW: usize = 50;

/// The same for an agent that is hardly ever idle.
const MANY: usize = 500;

/// How long they ask.
const WATCHED: Duration = Duration::from_secs(30);

/// How long they settle before: each has found its status, which costs a line.
const SETTLES: Duration = Duration::from_secs(10);

pub async fn measure() {
    let nginx = Nginx::start().await;
    let nodes = [
        "n-idle",
        "n-http-50",
        "n-http-500",
        "n-https-50",
        "n-https-500",
    ];
    let nodes = nodes.map(str::to_owned);
    let collector = Collector::with(group(&nodes)).start().await;
    let trust = format!("ca_file = {:?}\n", nginx.ca_file());
    println!(
        "probes: every check asks once a second, over {} s",
        figures::time(WATCHED).as_secs()
    );
    // One after another: they shall not wait for each other's nginx.
    let idle = cost(&collector, "n-idle", 0, "").await;
    println!("  an agent without them: {:.3} ms a second", idle.second_ms);
    let http = format!("url = \"{}\"\n", nginx.url());
    let https = format!("url = \"{}\"\n{trust}", nginx.tls_url());
    for (what, node, settings, at_most) in [
        ("http", "n-http", &http, 0.15),
        ("HTTPS", "n-https", &https, 0.7),
    ] {
        for checks in [FEW, MANY] {
            let cost = cost(&collector, &format!("{node}-{checks}"), checks, settings).await;
            let each_ms = (cost.second_ms - idle.second_ms) / cost.probes_a_second;
            let what = format!("one of {:.0} {what} probes a second", cost.probes_a_second);
            figures::show(&what, each_ms, "ms", at_most);
        }
    }
}

struct Cost {
    second_ms: f64,
    probes_a_second: f64,
}

async fn cost(collector: &Collector, node: &str, checks: usize, settings: &str) -> Cost {
    let sites: String = (0..checks)
        .map(|n| {
            format!(
                "[check.site-{n:03}]\nkind = \"http\"\nevery = \"1s\"\ntimeout = \"900ms\"\n{settings}"
            )
        })
        .collect();
    let settings = format!("[check.charge]\nkind = \"load\"\nevery = \"15s\"\n{sites}");
    let agent = Agent::with(settings).start(collector, node).await;
    for n in [0, checks.saturating_sub(1)] {
        if n < checks {
            agent.settles(&format!("site-{n:03}"), "ok").await;
        }
    }
    tokio::time::sleep(figures::time(SETTLES)).await;
    let before = probes(&agent).await;
    let meter = Meter::start(agent.program());
    let watched = figures::time(WATCHED);
    tokio::time::sleep(watched).await;
    let total_ms = meter.milliseconds();
    let probes = probes(&agent).await - before;
    Cost {
        second_ms: total_ms / watched.as_secs_f64(),
        probes_a_second: probes / watched.as_secs_f64(),
    }
}

/// How many runs there were. One that was cut off did not ask its question, or not all of it, which is told.
async fn probes(agent: &Agent) -> f64 {
    let page = agent.metrics().await.expect("the agent shows metrics");
    let runs = page
        .lines()
        .filter(|line| line.starts_with("vigie_check_runs_total{check=\"site-"));
    let (mut all, mut cut) = (0.0, 0.0);
    for line in runs {
        let count = line.rsplit(' ').next().and_then(|text| text.parse().ok());
        let count: f64 = count.expect("a series ends with its value");
        all += count;
        if !line.contains("result=\"result\"") {
            cut += count;
        }
    }
    if cut > 0.0 {
        println!("  {cut} of {all} probes so far did not come to their end");
    }
    all
}
