//! What becomes of an agent while its collector is away, and of the collector when everything comes at once?

use std::{sync::Arc, time::Duration};

use vigie_core::{entry::Head, status::Status};
use vigie_tests::harness::{
    Agent, Collector, DrivenClock, Manner, Webhook, entries_of, events_of, eventually, replays,
};

use crate::fleet::fleet;

/// How long the service is bad and good again, in turns, while the collector is away.
const TURN: Duration = Duration::from_secs(90);

/// Turns of both kinds in an hour.
const TURNS: usize = 20;

/// How much more the agent may hold after an hour, in KiB: the heap's own fragments, not lines.
const GROWTH_MAX_KIB: u64 = 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_a_collector_costs_no_memory_and_afterwards_the_present_is_told_and_the_past_is_kept()
 {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let webhook = Webhook::start().await;
    let mut collector = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver())
        .clock(&clock)
        .start()
        .await;
    let settings = format!(
        r#"
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{0}"
        every = "15s"
        timeout = "14s"
        [check.annexe]
        kind = "http"
        service = "dossier-patient"
        url = "{0}"
        method = "POST"
        every = "15s"
        timeout = "14s"
        "#,
        service.url()
    );
    let agent = Agent::with(settings)
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    {
        let _flight = clock.keep_flying();
        collector.is_fine("app-01").await;
        agent.settles("portail", "ok").await;
        agent.settles("annexe", "ok").await;
    }
    collector.kill();

    let mut early = None;
    let mut spooled = Vec::new();
    for turn in 0..TURNS {
        service.behave(Manner::Answers(503));
        clock.fly(TURN).await;
        service.behave(Manner::Accepts);
        clock.fly(TURN).await;
        let status = agent.status().expect("the agent shows its state");
        spooled.push(status["ledger"]["unsent_bytes"].as_u64().expect("a number"));
        if turn == TURNS / 10 {
            early = Some(agent.program().memory());
        }
    }
    let (early, late) = (early.expect("there are turns"), agent.program().memory());
    println!("memory early {early:?}, late {late:?}; spool {spooled:?}");
    assert!(
        late.rss_anon_kib <= early.rss_anon_kib + GROWTH_MAX_KIB,
        "early {early:?}, late {late:?}"
    );
    assert!(
        spooled.is_sorted() && spooled[0] < spooled[TURNS - 1],
        "the spool grows: {spooled:?}"
    );

    service.behave(Manner::Answers(503));
    clock.fly(TURN).await;
    collector.restart().await;
    let _flight = clock.keep_flying();
    for check in ["portail", "annexe"] {
        webhook.hears_line(&format!("open app-01 {check}")).await;
    }
    eventually("the spool is drained", async || {
        let ledger = agent.status()?["ledger"].clone();
        let is_drained = ledger["head"] == ledger["confirmed"] && ledger["unsent_bytes"] == 0;
        if is_drained {
            Ok(())
        } else {
            Err(ledger.to_string())
        }
    })
    .await;
    let lines = webhook.lines();
    assert_eq!(
        lines.len(),
        2,
        "what began and ended meanwhile wakes nobody: {lines:?}"
    );
    webhook.expect_each_once();

    let mut agent = agent;
    agent.stop().await;
    collector.stop().await;
    let events = events_of(&collector.data_dir()).await;
    let position = |wanted: &dyn Fn(&serde_json::Value) -> bool| events.iter().position(wanted);
    let opened = position(&|event| event["decided"] == "alert.opened");
    let past = position(&|event| event["kind"] == "entry" && event["line"]["status"] == "critical");
    assert!(
        opened.is_some() && opened < past,
        "the present is decided before the past is read: {opened:?} {past:?}"
    );

    let entries = entries_of(&collector.data_dir(), "app-01").await;
    let mut head = Head::EMPTY;
    for entry in &entries {
        assert!(entry.follows(head), "{entry:?} does not follow {head:?}");
        head = entry.head();
    }
    let fell = entries
        .iter()
        .filter(|entry| entry.status == Some(Status::Critical))
        .count();
    assert!(fell >= TURNS, "the past is on record: {fell}");
    replays(&collector.data_dir()).await;
}
