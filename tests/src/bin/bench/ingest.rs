//! What does it cost to take samples in, beside VictoriaMetrics and Prometheus under the same load?
//!
//! A fixed number of senders, each with a connection of its own, and never more than a few requests under way. Ours are
//! joined nodes that speak mutual TLS; the peers get plain HTTP, which is in their favour. Against us stands that they
//! also store history, and ours keeps the newest value only.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet};
use vigie_core::remote_write::Version;
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{Collector, HandAgent, Program, Prometheus, VictoriaMetrics};

use crate::{
    figures::{self, Megabytes},
    fleet::group,
    load::{Load, SENDERS, SERIES, sender},
    meter::Meter,
};

/// Requests under way.
const IN_FLIGHT: usize = 4;

/// Bodies made in advance for each of them, so that nobody waits for one to be made.
const AHEAD: usize = 4;

/// The first rounds, in which every series is new.
const NEW: usize = 2;

/// Rounds after those, enough for more than a second of processor time.
const ROUNDS_OURS: usize = 150;

/// The same for the peers, which need longer for each.
const ROUNDS_PEERS: usize = 40;

/// How far back the samples begin: all receivers take them, and all rounds fit in between.
const BEGINS_AGO_MS: i64 = 3_600_000;

/// How long a program rests before its memory is read.
const RESTS: Duration = Duration::from_secs(3);

/// What one receiver needed.
struct Cost {
    /// Seconds of processor time for a million samples of known series.
    known_s: f64,
    /// The same in the first rounds.
    new_s: f64,
    /// RssAnon that a series takes.
    series_bytes: f64,
    /// The same after all rounds.
    series_bytes_after: f64,
    /// RssAnon at the end.
    anonymous_mb: f64,
    /// Samples a second by the clock on the wall, with the senders on the same processors.
    rate: f64,
}

pub async fn measure() {
    let load = Arc::new(Load::new(SystemClock.wall().0 - BEGINS_AGO_MS));
    println!(
        "ingest: {SENDERS} senders of {SERIES} series in a request, {IN_FLIGHT} requests in flight, {:.0} bytes of labels a series",
        load.labels_len()
    );
    println!(
        "  {:36} {:>14} {:>14} {:>13} {:>13} {:>11} {:>10}",
        "", "CPU-s/million", "new series", "bytes/series", "after all", "RssAnon MB", "samples/s"
    );
    let ours = ours(&load, Version::V1).await;
    let victoria = {
        let peer = VictoriaMetrics::start().await;
        let cost = peer_cost(peer.program(), &peer.write_url(), &load).await;
        cost.row("victoria-metrics, 1.0, plain");
        cost
    };
    let prometheus = {
        let peer = Prometheus::start("global: {}\n").await;
        let cost = peer_cost(peer.program(), &peer.write_url(), &load).await;
        cost.row("prometheus, 1.0, plain");
        cost
    };
    for (name, peer) in [("victoria-metrics", &victoria), ("prometheus", &prometheus)] {
        println!(
            "  {name} to ours: {:.1}x processor time, {:.1}x memory a series  (it also stores history)",
            peer.known_s / ours.known_s,
            peer.series_bytes / ours.series_bytes,
        );
    }
    figures::show("taking in a million samples", ours.known_s, "CPU-s", 0.30);
    figures::show("an active series", ours.series_bytes, "bytes", 300.0);
    self::ours(&load, Version::V2).await;
}

async fn ours(load: &Arc<Load>, version: Version) -> Cost {
    let names: Vec<String> = (0..SENDERS).map(sender).collect();
    // Samples do not count as contact, and a silent node loses its series.
    let settings = format!("silent_after = \"1h\"\n{}", group(&names));
    let collector = Collector::with(settings).start().await;
    let mut ways = Vec::new();
    for name in &names {
        let mut agent = HandAgent::join(&collector, name).await;
        let lines = agent.plans(&["porte"], Some("dossier"));
        agent.hands_in(&lines).await;
        ways.push(Way::Node(Box::new(agent)));
    }
    let rounds = figures::times(ROUNDS_OURS);
    let cost = cost(collector.program(), ways, load, version, rounds).await;
    match version {
        Version::V1 => cost.row("vigie-collector, 1.0, mutual TLS"),
        Version::V2 => cost.row("vigie-collector, 2.0, mutual TLS"),
    }
    let sent = (SENDERS + (NEW + rounds) * SENDERS * SERIES) as f64;
    let written = collector.metric("vigie_samples_written_total").await;
    let series = collector.metric("vigie_series{origin=\"node\"}").await;
    let bytes = collector.metric("vigie_series_bytes").await;
    println!(
        "    it says: {written} of {sent} samples written, {series} series, {:.0} bytes each",
        bytes / series
    );
    cost
}

async fn peer_cost(program: &Program, url: &str, load: &Arc<Load>) -> Cost {
    // Plain HTTP, and yet a client wants to know how it would do TLS. An error says that it knows already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let way = |_| Way::Plain {
        // Each has its own connection.
        client: reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client can be built"),
        url: url.to_owned(),
    };
    let ways = (0..SENDERS).map(way).collect();
    let rounds = figures::times(ROUNDS_PEERS);
    cost(program, ways, load, Version::V1, rounds).await
}

async fn cost(
    program: &Program,
    ways: Vec<Way>,
    load: &Arc<Load>,
    version: Version,
    rounds: usize,
) -> Cost {
    let ways = Arc::new(ways);
    drive(&ways, load, version, 0..1, 1).await;
    tokio::time::sleep(RESTS).await;
    let connected = Megabytes::of(program).anonymous;

    let meter = Meter::start(program);
    drive(&ways, load, version, 1..1 + NEW, SERIES).await;
    let new_ms = meter.milliseconds();
    tokio::time::sleep(RESTS).await;
    let active = Megabytes::of(program).anonymous;

    let before_ms = meter.milliseconds();
    let started = Instant::now();
    let last = 1 + NEW + rounds;
    drive(&ways, load, version, 1 + NEW..last, SERIES).await;
    let took = started.elapsed();
    let known_ms = meter.milliseconds() - before_ms;
    tokio::time::sleep(RESTS).await;
    let after = Megabytes::of(program).anonymous;

    let samples = |rounds: usize| (rounds * SENDERS * SERIES) as f64;
    // One series of each sender was there before.
    let new_series = (SENDERS * (SERIES - 1)) as f64;
    let per_million = |ms: f64, rounds: usize| ms / 1e3 / (samples(rounds) / 1e6);
    Cost {
        known_s: per_million(known_ms, rounds),
        new_s: per_million(new_ms, NEW),
        series_bytes: (active - connected) * 1e6 / new_series,
        series_bytes_after: (after - connected) * 1e6 / new_series,
        anonymous_mb: after,
        rate: samples(rounds) / took.as_secs_f64(),
    }
}

impl Cost {
    fn row(&self, name: &str) {
        println!(
            "  {name:36} {:14.3} {:14.3} {:13.0} {:13.0} {:11.1} {:10.0}",
            self.known_s,
            self.new_s,
            self.series_bytes,
            self.series_bytes_after,
            self.anonymous_mb,
            self.rate
        );
    }
}

/// How a sender reaches the receiver.
enum Way {
    Node(Box<HandAgent>),
    Plain {
        client: reqwest::Client,
        url: String,
    },
}

impl Way {
    /// # Panics
    /// When the answer is another than "all of it was written": the figures would be of something else.
    async fn send(&self, version: Version, body: Vec<u8>, samples: usize) {
        let headers = [
            ("content-encoding", "snappy"),
            ("content-type", version.content_type()),
            ("x-prometheus-remote-write-version", version.header()),
        ];
        match self {
            Self::Node(agent) => {
                let answer = agent.post_samples(&headers, body).await;
                let answer = answer.expect("the collector answers");
                assert_eq!(answer.status, 204, "{answer:?}");
                if version == Version::V2 {
                    assert_eq!(answer.count("samples"), Some(samples as u64), "{answer:?}");
                }
            }
            Self::Plain { client, url } => {
                let mut request = client.post(url).body(body);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let answer = request.send().await.expect("the peer answers");
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                assert_eq!(status, 204, "{text}");
            }
        }
    }
}

/// Every sender sends each of these rounds, one after another.
async fn drive(
    ways: &Arc<Vec<Way>>,
    load: &Arc<Load>,
    version: Version,
    rounds: Range<usize>,
    series: usize,
) {
    let mut work = JoinSet::new();
    for first in 0..IN_FLIGHT {
        let (made, mut bodies) = mpsc::channel(AHEAD);
        let load = Arc::clone(load);
        let rounds = rounds.clone();
        work.spawn(async move {
            for round in rounds {
                for n in (first..SENDERS).step_by(IN_FLIGHT) {
                    let body = load.body(version, n, round, series);
                    made.send((n, body)).await.expect("somebody sends it");
                }
            }
        });
        let ways = Arc::clone(ways);
        work.spawn(async move {
            while let Some((n, body)) = bodies.recv().await {
                ways[n].send(version, body, series).await;
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.expect("every request was answered");
    }
}
