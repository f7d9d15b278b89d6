//! What becomes of alerts that were accepted: are they told although the program ends, how often, and how fast if not?

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;
use vigie_core::status::Status;
use vigie_tests::harness::{Collector, HandAgent};

use crate::{
    figures::{spread, time, times},
    fleet::group,
    parties::{End, Party, TELLS_WITHIN, posted},
    sink::Sink,
};

/// Alerts that are accepted before the end.
const ACCEPTED: usize = 200;

/// Alerts that are timed, one after the other.
const TIMED: usize = 200;

/// How long the receiver stays away after the restart.
const STAYS_AWAY: Duration = Duration::from_secs(2);

/// How long repeats are waited for once all was told.
const REPEATS_WITHIN: Duration = Duration::from_secs(3);

/// How long a slow receiver thinks, so that a program can be killed while it tells.
const SLOW: Duration = Duration::from_millis(20);

pub async fn measure() {
    println!("accepted: {ACCEPTED} alerts answered 200, and then the program ends");
    println!(
        "  {:58} {:>12} {:>16} {:>12}",
        "", "vigie", "alertmanager", "asked"
    );
    for (what, end, kind) in [
        (
            "receiver away, kill -9, restart, receiver back",
            End::Killed,
            Trial::Away,
        ),
        (
            "receiver away, SIGTERM, restart, receiver back",
            End::Stopped,
            Trial::Away,
        ),
        (
            "kill -9 when half was told, restart",
            End::Killed,
            Trial::HalfWay,
        ),
        (
            "all told, kill -9, restart, the sender repeats itself",
            End::Killed,
            Trial::Repeats,
        ),
    ] {
        let ours = ended(Peer::Vigie, end, kind).await;
        let theirs = ended(Peer::Alertmanager, end, kind).await;
        println!(
            "  {what:58} {:>12} {:>16} {:>12}",
            format!("{} of {ACCEPTED}", ours.told),
            format!("{} of {ACCEPTED}", theirs.told),
            format!("{ACCEPTED} of {ACCEPTED}")
        );
        println!(
            "  {:58} {:>12} {:>16} {:>12}",
            "  told more than once (at most so often)",
            format!("{} ({}x)", ours.repeated, ours.most),
            format!("{} ({}x)", theirs.repeated, theirs.most),
            kind.repeats_asked()
        );
        if ours.repeated > 0 {
            println!(
                "    vigie's repeats with the key of the first: {} of {}",
                ours.same_key, ours.repeated
            );
        }
    }
    println!(
        "accept to send: one alert after the other, fsync before the answer (ours), group_wait 0s (alertmanager)"
    );
    through_api(Peer::Vigie, "p99 at most 20 ms").await;
    through_entries().await;
    through_api(Peer::Alertmanager, "keeps nothing on disk").await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Vigie,
    Alertmanager,
}

impl Peer {
    async fn start(self, sink: &Sink) -> Party {
        match self {
            Self::Vigie => Party::vigie(sink).await,
            Self::Alertmanager => Party::alertmanager(sink).await,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Vigie => "vigie, API v2 over mutual TLS",
            Self::Alertmanager => "alertmanager, plain",
        }
    }
}

/// When the end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// Before anything could be told.
    Away,
    /// While the receiver, a slow one, is being told.
    HalfWay,
    /// After everything was told; the sender then says all of it again.
    Repeats,
}

impl Trial {
    const fn repeats_asked(self) -> &'static str {
        match self {
            Self::Away | Self::Repeats => "0",
            Self::HalfWay => "same key",
        }
    }
}

/// What came of one trial.
#[derive(Debug, Default)]
struct Outcome {
    /// Alerts of which the receiver heard.
    told: usize,
    /// Those of which it heard more than once.
    repeated: usize,
    /// Those of these where each time had the same key.
    same_key: usize,
    /// How often at most.
    most: usize,
}

async fn ended(peer: Peer, end: End, trial: Trial) -> Outcome {
    let mut sink = match trial {
        Trial::HalfWay => Sink::away(SLOW),
        Trial::Away | Trial::Repeats => Sink::away(Duration::ZERO),
    };
    if trial != Trial::Away {
        sink.come_back().await;
    }
    let mut party = peer.start(&sink).await;
    let names: Vec<String> = (0..ACCEPTED).map(|n| format!("Alerte{n:03}")).collect();
    let alerts: Vec<Value> = names.iter().map(|name| posted(name, "dossier")).collect();
    assert_eq!(party.poster().post(&alerts).await, 200, "all are accepted");
    match trial {
        Trial::Away => {}
        Trial::HalfWay => {
            while sink.count() < ACCEPTED / 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Trial::Repeats => {
            sink.hears_of(ACCEPTED, TELLS_WITHIN).await;
            // What was told is noted a moment later.
            tokio::time::sleep(REPEATS_WITHIN).await;
        }
    }
    party.end(end).await;
    party.restart().await;
    match trial {
        Trial::Away => {
            tokio::time::sleep(STAYS_AWAY).await;
            sink.come_back().await;
        }
        Trial::HalfWay => {}
        Trial::Repeats => {
            assert_eq!(party.poster().post(&alerts).await, 200, "all are accepted");
        }
    }
    sink.hears_of(ACCEPTED, time(TELLS_WITHIN)).await;
    tokio::time::sleep(REPEATS_WITHIN).await;
    let mut outcome = Outcome::default();
    for told in sink.told().values() {
        outcome.told += 1;
        outcome.most = outcome.most.max(told.keys.len());
        if told.keys.len() > 1 {
            let keys: BTreeSet<&String> = told.keys.iter().collect();
            outcome.repeated += 1;
            outcome.same_key += usize::from(keys.len() == 1);
        }
    }
    outcome
}

/// What one alert took, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    /// From its answer until the receiver had it; nothing if the receiver was faster.
    from_answer: Vec<f64>,
    /// From the request that said it.
    from_request: Vec<f64>,
}

impl Times {
    fn add(&mut self, asked: Instant, answered: Instant, arrived: Instant) {
        let milliseconds = |since| arrived.saturating_duration_since(since).as_secs_f64() * 1e3;
        self.from_answer.push(milliseconds(answered));
        self.from_request.push(milliseconds(asked));
    }

    fn show(self, what: &str, limit: &str) {
        spread(
            &format!("{what}: accepted to received"),
            self.from_answer,
            limit,
        );
        spread(
            &format!("{what}: request to received"),
            self.from_request,
            limit,
        );
    }
}

async fn through_api(peer: Peer, limit: &str) {
    let sink = Sink::start().await;
    let party = peer.start(&sink).await;
    let mut all = Times::default();
    for n in 0..times(TIMED) {
        let alerts = [posted(&format!("Alerte{n:03}"), "dossier")];
        let (seen, asked) = (sink.count(), Instant::now());
        assert_eq!(party.poster().post(&alerts).await, 200);
        let answered = Instant::now();
        all.add(asked, answered, arrival(&sink, seen).await);
    }
    all.show(peer.name(), limit);
    if let Party::Vigie(collector, _) = &party {
        let total = collector
            .metric("vigie_commit_duration_seconds_total")
            .await;
        let commits = collector.metric("vigie_commits_total").await;
        println!(
            "    a commit with its fsync: {:.2} ms on average",
            total / commits * 1e3
        );
    }
}

async fn through_entries() {
    let sink = Sink::start().await;
    let settings =
        group(&["n-0".to_owned()]) + &sink.as_receiver() + "[[route]]\nnotify = [\"tableau\"]\n";
    let collector = Collector::with(settings).start().await;
    let mut agent = HandAgent::join(&collector, "n-0").await;
    let lines = agent.plans(&["porte"], Some("dossier"));
    agent.hands_in(&lines).await;
    let mut all = Times::default();
    for n in 0..times(TIMED) {
        let line = agent.finds("porte", Some(&format!("porte-{n:03}")), Status::Critical);
        let (seen, asked) = (sink.count(), Instant::now());
        agent.hands_in(&[line]).await;
        let answered = Instant::now();
        all.add(asked, answered, arrival(&sink, seen).await);
    }
    all.show("vigie, a node's line over mutual TLS", "p99 at most 20 ms");
}

/// When the next request after these came.
async fn arrival(sink: &Sink, seen: usize) -> Instant {
    assert!(
        sink.hears_more_than(seen, TELLS_WITHIN).await,
        "an alert was not told"
    );
    sink.arrived(seen)
}
