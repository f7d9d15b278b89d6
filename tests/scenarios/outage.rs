//! Does a failing service reach somebody, and its return too, whatever is killed in between?

use std::collections::HashSet;

use vigie_tests::harness::{Agent, Collector, Nginx, Webhook};

use crate::fleet::{fleet, watches};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_nginx_is_told_once_and_its_return_once_whoever_is_killed_in_between() {
    let mut nginx = Nginx::start().await;
    let webhook = Webhook::start().await;
    let settings = fleet(&["app-01"]) + &webhook.as_only_receiver();
    let mut collector = Collector::with(settings).start().await;
    let mut agent = Agent::with(watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;

    nginx.stop().await;
    let open = webhook.hears_line("open app-01 portail").await;
    assert_eq!(open.word("criticality"), "critical");
    assert_eq!(
        open.body["services"],
        serde_json::json!(["dossier-patient"])
    );

    agent.kill();
    collector.kill();
    agent.launch();
    collector.restart().await;
    nginx.restart().await;
    collector.kill();
    agent.kill();
    collector.restart().await;
    agent.restart().await;

    let close = webhook.hears_line("close app-01 portail").await;
    assert_eq!(close.word("ended"), "recovered");
    assert_eq!(close.body["number"], open.body["number"]);
    collector.is_fine("app-01").await;

    // A collector killed between the receiver's yes and its own note of it tells once more, under the same key.
    let mut keys = HashSet::new();
    let told = webhook
        .told()
        .into_iter()
        .filter(|told| told.is_about_a_check());
    let lines: Vec<String> = told
        .filter(|told| keys.insert(told.key.clone()))
        .map(|told| told.line())
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
}
