//! What becomes of samples while nobody takes them, the agent is killed, or its disk is full?

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use vigie_tests::harness::{
    Agent, Collector, DrivenClock, Filling, Pushed, Recorder, SmallDisk, Webhook, eventually,
};

use crate::fleet::fleet;

/// From one sample of a series to the next.
const CYCLE_MS: i64 = 15_000;

const OUTAGE: Duration = Duration::from_secs(3_600);

/// Before this the agent's buffers have not all had their size.
const EARLY: Duration = Duration::from_secs(300);

/// How much more the agent may hold after the outage, in KiB: the heap's own fragments, not samples, of which an hour's
/// would be several times this.
const GROWTH_MAX_KIB: u64 = 1_024;

/// Long enough for more records than one cursor covers.
const SHORT_OUTAGE: Duration = Duration::from_secs(2_400);

/// Most requests of the backlog whose end is not remembered when the agent is killed: the cursor is written once a
/// minute, with the record of a cycle; a backlog has a request each second of this clock at most, and the fresh ones
/// beside them.
const REPEATED_MAX: usize = 60 + 15 + 6;

/// Room for the lines' own spool with its reserve, one segment of samples, and little else.
const DISK_SIZE: &str = "24m";

/// Checks whose samples fill the memory for them quickly.
const MANY: usize = 150;

/// A service, and an agent's settings that watch it and send samples to `recorder` too.
fn watches(service: &Webhook, recorder: &Recorder) -> String {
    format!(
        r#"
        remote_write = [{{ name = "recorder", url = "{}" }}]
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{}"
        every = "15s"
        timeout = "14s"
        [check.memoire]
        kind = "memory"
        every = "15s"
        timeout = "14s"
        "#,
        recorder.write_url(),
        service.url()
    )
}

/// What the agent says of its destination `name`.
fn destination(status: &Value, name: &str) -> Value {
    status["samples"]["destinations"][name].clone()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Waits until nothing waits for any of `names` any more. The clock has to fly, or to stand still after the last cycle.
async fn drained(agent: &Agent, names: &[&str]) -> Value {
    eventually("all samples are taken", async || {
        let status = agent.status()?;
        let waiting = |name: &&str| destination(&status, name)["spool"]["records"] != 0;
        match names.iter().find(|name| waiting(name)) {
            None => Ok(status),
            Some(name) => Err(destination(&status, name).to_string()),
        }
    })
    .await
}

/// Moves the clock, which must not fly, to where the next cycle is well away: until the agent has had one.
async fn just_after_a_cycle(clock: &DrivenClock, agent: &Agent) {
    let mut before = None;
    eventually("the agent has a cycle", async || {
        // Each step is followed by an answer of the agent's, so that it cannot lag behind by many.
        clock.fly(Duration::from_secs(1)).await;
        let cycles = agent.status()?["samples"]["cycles"].as_u64();
        if cycles > *before.get_or_insert(cycles) {
            Ok(())
        } else {
            Err(format!("{cycles:?}"))
        }
    })
    .await;
}

/// The time of a request: its samples were all taken at once.
fn time_of(request: &[Pushed]) -> i64 {
    let first = request.first().expect("a request has samples");
    for pushed in request {
        assert_eq!(pushed.timestamp_ms, first.timestamp_ms, "{pushed:?}");
    }
    first.timestamp_ms
}

/// Expects one request for each cycle and no more than one, `cycles` of them, and no holes between.
fn expect_complete(times: &[i64], cycles: u64, missed: u64) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), times.len(), "one came twice: {times:?}");
    assert_eq!(sorted.len() as u64, cycles, "one is missing: {sorted:?}");
    let span = sorted.last().unwrap_or(&0) - sorted.first().unwrap_or(&0);
    // The clock moves a second at a time, and so a cycle may be a second late.
    let expected = (span + CYCLE_MS / 2) / CYCLE_MS + 1;
    assert_eq!(
        u64::try_from(expected).expect("time goes on"),
        cycles + missed,
        "the time from the first to the last is covered: {sorted:?}"
    );
}

/// Expects that no sample, which is a series and a time, came with two values, and counts those that came again.
fn repeated(requests: &[Vec<Pushed>]) -> usize {
    let mut seen = HashMap::new();
    let mut repeated = 0;
    for pushed in requests.iter().flatten() {
        let key = (Arc::clone(&pushed.series), pushed.timestamp_ms);
        match seen.insert(key, pushed.value_bits) {
            None => {}
            Some(before) if before == pushed.value_bits => repeated += 1,
            Some(before) => panic!("{pushed:?} was {before:x} before"),
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hours_samples_cost_no_memory_and_arrive_once_each_the_newest_first() {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let mut recorder = Recorder::start().await;
    let mut collector = Collector::with(fleet(&["app-01"]))
        .clock(&clock)
        .start()
        .await;
    let agent = Agent::with(watches(&service, &recorder))
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let both = ["collector", "recorder"];
    {
        let _flight = clock.keep_flying();
        collector.is_fine("app-01").await;
        for check in ["portail", "memoire"] {
            agent.settles(check, "ok").await;
        }
        eventually("samples arrive", async || match recorder.count() {
            2.. => Ok(()),
            few => Err(few.to_string()),
        })
        .await;
    }
    // Nothing is under way when everybody leaves, so that no answer is lost.
    just_after_a_cycle(&clock, &agent).await;
    let before = drained(&agent, &both).await;
    recorder.leave().await;
    collector.kill();
    let known = recorder.count();

    clock.fly(EARLY).await;
    let early = agent.program().memory();
    clock.fly(OUTAGE - EARLY).await;
    let late = agent.program().memory();
    let status = agent.status().expect("the agent shows its state");
    let waiting = number(&destination(&status, "recorder")["spool"]["records"]);
    println!("memory early {early:?}, late {late:?}; {waiting} records wait");
    assert!(
        late.rss_anon_kib <= early.rss_anon_kib + GROWTH_MAX_KIB,
        "early {early:?}, late {late:?}"
    );
    assert!(waiting > 200, "an hour of cycles waits: {waiting}");

    recorder.come_back().await;
    collector.restart().await;
    let _flight = clock.keep_flying();
    let after = drained(&agent, &both).await;
    for name in both {
        let shown = destination(&after, name);
        assert_eq!(shown["dropped"], serde_json::json!({}), "{name}");
        assert_eq!(
            number(&shown["taken"]),
            number(&after["samples"]["cycles"]),
            "{name} took each cycle once"
        );
    }
    // The collector's own count says the same: it has counted anew since it came back.
    let accepted = collector
        .metric("vigie_samples_requests_total{result=\"accepted\"}")
        .await;
    let taken = |status: &Value| number(&destination(status, "collector")["taken"]);
    #[expect(clippy::cast_precision_loss, reason = "they are hundreds")]
    let expected = (taken(&after) - taken(&before)) as f64;
    assert!(accepted >= expected, "{accepted} of {expected}");
    let refused = collector
        .metric("vigie_samples_requests_total{result=\"partial\"}")
        .await;
    assert_eq!(refused, 0.0);

    let requests = recorder.requests();
    let times: Vec<i64> = requests.iter().map(|request| time_of(request)).collect();
    let seen = times.len() as u64;
    let missed = number(&after["samples"]["cycles_missed"]);
    let status = agent.status().expect("the agent shows its state");
    assert!(seen <= number(&status["samples"]["cycles"]), "none twice");
    expect_complete(&times, seen, missed);
    assert!(seen >= number(&after["samples"]["cycles"]), "none missing");
    assert_eq!(repeated(&requests), 0);

    // What was newest at the return comes first, then what is old in its order, and what is newer still in between.
    let (_, returned) = times.split_at(known);
    let mut newest = returned[0];
    let mut backlog = Vec::new();
    for time in &returned[1..] {
        if *time > newest {
            newest = *time;
        } else {
            backlog.push(*time);
        }
    }
    assert!(backlog.len() as u64 + 5 >= waiting, "{backlog:?}");
    assert!(
        backlog.iter().all(|time| *time < returned[0]),
        "the newest came first"
    );
    assert!(backlog.is_sorted(), "{backlog:?}");
    let fresh_in_between = returned[..backlog.len()]
        .iter()
        .filter(|time| **time > returned[0]);
    assert!(
        fresh_in_between.count() >= 3,
        "what is fresh does not wait for what is old"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_in_an_outage_and_again_while_it_catches_up_loses_no_sample() {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let mut recorder = Recorder::start().await;
    let collector = Collector::with(fleet(&["app-01"]))
        .clock(&clock)
        .start()
        .await;
    let mut agent = Agent::with(watches(&service, &recorder))
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    recorder.leave().await;
    // A cycle that was under way when it was killed may be lost. The clock stands still, so none is.
    let stands_still = async |agent: &Agent| -> u64 {
        eventually("the last cycle is on disk", async || {
            let status = agent.status()?;
            let cycles = number(&status["samples"]["cycles"]);
            let shown = destination(&status, "recorder");
            let done = number(&shown["spool"]["records"]) + number(&shown["taken"]);
            if status["samples"]["cycles_missed"] != 0 {
                return Err("a cycle was missed".to_owned());
            }
            if done >= cycles {
                Ok(cycles)
            } else {
                Err(shown.to_string())
            }
        })
        .await
    };
    clock.fly(SHORT_OUTAGE).await;
    let mut cycles = stands_still(&agent).await;
    assert!(cycles > 90, "{cycles}");

    agent.kill();
    agent.restart().await;
    clock.fly(Duration::from_secs(60)).await;
    recorder.come_back().await;
    eventually("three quarters of it are taken", async || {
        clock.fly(Duration::from_secs(1)).await;
        match recorder.count() as u64 {
            count if count * 4 > cycles * 3 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    let status = agent.status().expect("the agent shows its state");
    cycles += number(&status["samples"]["cycles"]);
    agent.kill();
    let killed_at = recorder.count();

    agent.restart().await;
    let _flight = clock.keep_flying();
    let status = drained(&agent, &["recorder"]).await;
    cycles += number(&status["samples"]["cycles"]);

    let requests = recorder.requests();
    let times: HashSet<i64> = requests.iter().map(|request| time_of(request)).collect();
    let again = requests.len() - times.len();
    println!(
        "{} requests, {again} again; killed after {killed_at}; {cycles} cycles",
        requests.len()
    );
    assert!(
        times.len() as u64 >= cycles,
        "{} of {cycles} cycles arrived",
        times.len()
    );
    assert!(again <= REPEATED_MAX, "{again} came again");
    // A repeat is one to the bit.
    let samples = repeated(&requests);
    assert_eq!(samples == 0, again == 0, "{samples} samples again");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_samples_go_on_from_memory_and_what_it_cannot_hold_is_counted() {
    let disk = SmallDisk::mount(DISK_SIZE).expect("who runs this may mount: it is run by root");
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let mut recorder = Recorder::start().await;
    let collector = Collector::with(fleet(&["app-01"]))
        .clock(&clock)
        .start()
        .await;
    let mut checks = format!(
        "[defaults]\nevery = \"15s\"\ntimeout = \"14s\"\n[check.portail]\nkind = \"http\"\nservice = \"dossier-patient\"\nurl = \"{}\"\n",
        service.url()
    );
    for n in 0..MANY {
        // Writing to a text cannot fail.
        let _ = write!(
            checks,
            "[check.memoire-{n:03}]\nkind = \"memory\"\nevery = \"5m\"\n"
        );
    }
    let agent = Agent::with(&*checks)
        .clock(&clock)
        .state_on(disk.path())
        .start(&collector, "app-01")
        .await;
    let flight = clock.keep_flying();
    agent.settles("portail", "ok").await;
    drop(flight);

    // Full before the second destination has a place on it.
    let mut filling = Filling::of(disk.path());
    filling.insist();
    recorder.leave().await;
    let with_recorder = format!(
        "remote_write = [{{ name = \"recorder\", url = \"{}\" }}]\n{checks}",
        recorder.write_url()
    );
    agent.write_settings(&with_recorder);
    let spool = async || -> Result<Value, String> {
        let status = agent.status()?;
        Ok(destination(&status, "recorder"))
    };
    let flight = clock.keep_flying();
    eventually("samples wait in memory, and some are lost", async || {
        filling.insist();
        let shown = spool().await?;
        let is_lost = shown["dropped"]["memory"]
            .as_u64()
            .is_some_and(|lost| lost > 0);
        let waits = shown["spool"]["memory_records"].as_u64() > Some(0);
        if is_lost && waits && shown["spool"]["degraded"].is_string() {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    let early = agent.program().memory();

    // Whatever the disk does, what is fresh is sent, and what memory held comes after it.
    recorder.come_back().await;
    eventually("samples arrive although the disk is full", async || {
        filling.insist();
        let shown = spool().await?;
        if shown["spool"]["records"] == 0 && recorder.count() > 3 {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    let arrived = recorder.count();
    let late = agent.program().memory();
    assert!(
        late.rss_anon_kib <= early.rss_anon_kib + GROWTH_MAX_KIB,
        "{early:?}, then {late:?}"
    );

    // There is room again, and nobody has to do anything.
    drop(filling);
    eventually("the disk takes samples again", async || {
        let shown = spool().await?;
        if shown["spool"]["degraded"].is_null() && recorder.count() > arrived {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    drop(flight);
    let status = drained(&agent, &["recorder"]).await;

    // Every cycle since the recorder was named has come once or is counted as lost.
    let requests = recorder.requests();
    assert_eq!(repeated(&requests), 0);
    let times: HashSet<i64> = requests.iter().map(|request| time_of(request)).collect();
    assert_eq!(times.len(), requests.len());
    let shown = destination(&status, "recorder");
    let lost = number(&shown["dropped"]["memory"]);
    assert_eq!(
        shown["dropped"].as_object().map(serde_json::Map::len),
        Some(1),
        "{shown}"
    );
    let counted = agent
        .metric("vigie_spool_dropped_total{destination=\"recorder\",lane=\"metrics\",reason=\"memory\",node=\"app-01\"}")
        .await
        .expect("what is lost is counted");
    #[expect(clippy::cast_precision_loss, reason = "they are dozens")]
    let lost_shown = lost as f64;
    assert_eq!(counted, lost_shown);
    let span = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
    let covered = u64::try_from((span + CYCLE_MS / 2) / CYCLE_MS + 1).expect("time goes on");
    let missed = number(&status["samples"]["cycles_missed"]);
    // The lost ones are older than the oldest that came.
    assert_eq!(times.len() as u64 + missed, covered, "{lost} lost before");
}
