//! Who is told when much falls silent at once?

use std::{sync::Arc, time::Duration};

use vigie_tests::harness::{Agent, Collector, DrivenClock, Nginx, Told, Webhook, eventually};

use crate::fleet::{fleet, hand_agent};

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_falls_silent_is_one_alarm_and_names_its_services() {
    let clock = Arc::new(DrivenClock::new());
    let webhook = Webhook::start().await;
    let nodes = ["app-01", "app-02", "app-03", "app-04"];
    let collector = Collector::with(fleet(&nodes) + &webhook.as_only_receiver())
        .clock(&clock)
        .start()
        .await;
    let mut agents = Vec::new();
    for node in nodes {
        agents.push(hand_agent(&collector, node, &["portail"]).await);
    }
    let contacts = async || {
        for agent in &agents {
            assert_eq!(agent.hand_in(&[]).await.status, 200);
        }
    };
    for _ in 0..9 {
        clock.fly(Duration::from_secs(20)).await;
        contacts().await;
    }
    assert_eq!(webhook.told().len(), 0, "{:?}", webhook.told());

    let flight = clock.keep_flying();
    let cut = webhook
        .hears("the site is cut", |told| told.word("check") == "@site")
        .await;
    assert_eq!(cut.word("status"), "critical");
    assert_eq!(cut.body["facts"]["nodes_count"], 4);
    assert_eq!(
        cut.body["facts"]["services"],
        serde_json::json!(["dossier-patient"])
    );
    drop(flight);
    eventually("the site is heard again", async || {
        contacts().await;
        clock.fly(Duration::from_secs(1)).await;
        let is_over = webhook.lines().is_empty()
            && webhook
                .told()
                .iter()
                .any(|told| told.word("notice") == "close");
        if is_over {
            Ok(())
        } else {
            Err(format!(
                "{:?}",
                webhook.told().iter().map(Told::line).collect::<Vec<_>>()
            ))
        }
    })
    .await;
    let singly = webhook
        .told()
        .iter()
        .filter(|told| told.word("reason") == "node.silent")
        .count();
    assert_eq!(singly, 0, "nobody is told of each node");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_alone_tells_its_fallback_once_and_when_the_collector_is_back() {
    let clock = Arc::new(DrivenClock::new());
    let nginx = Nginx::start().await;
    let fallback = Webhook::start().await;
    let mut collector = Collector::with(fleet(&["app-01"]))
        .clock(&clock)
        .start()
        .await;
    let settings = format!(
        r#"
        [fallback]
        webhook = {{ url = "{}" }}
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{}"
        every = "20s"
        timeout = "19s"
        "#,
        fallback.url(),
        nginx.url()
    );
    let _agent = Agent::with(settings)
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let _flight = clock.keep_flying();
    collector.is_fine("app-01").await;
    assert_eq!(fallback.told().len(), 0);
    collector.kill();
    eventually("the fallback is told", async || {
        match fallback.told().len() {
            0 => Err("nothing".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    clock.fly(Duration::from_secs(900)).await;
    assert_eq!(
        fallback.told().len(),
        1,
        "once is enough: {:?}",
        fallback.told()
    );
    collector.restart().await;
    eventually(
        "the fallback is told of the return",
        async || match fallback.told().len() {
            2.. => Ok(()),
            count => Err(count.to_string()),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_whose_log_went_back_is_found_out_by_its_agents() {
    let mut nginx = Nginx::start().await;
    let webhook = Webhook::start().await;
    let mut collector = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver())
        .start()
        .await;
    let agent = Agent::with(crate::fleet::watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;
    collector.stop().await;
    let backup = collector.snapshot();
    collector.restart().await;
    nginx.stop().await;
    webhook.hears_line("open app-01 portail").await;
    collector.kill();

    collector.restore(&backup);
    collector.restart().await;
    webhook.hears_reason("app-01", "collector.rollback").await;
    eventually("what is wrong is known to it again", async || {
        let alerts = collector.alerts().await;
        if alerts
            .iter()
            .any(|alert| alert.starts_with("app-01 portail"))
        {
            Ok(())
        } else {
            Err(format!("{alerts:?}"))
        }
    })
    .await;
    drop(agent);
}
