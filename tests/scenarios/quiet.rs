//! Can whoever owns a node make it quiet? Each try has to end as an alarm.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use vigie_core::{
    digest::Digest,
    entry::Head,
    observation::{Fact, Facts},
    reason::vigie,
    status::Status,
};
use vigie_tests::harness::{Agent, Collector, DrivenClock, Nginx, Webhook, eventually, replays};

use crate::fleet::{fleet, hand_agent, watches};

/// Between two contacts of an agent.
const CONTACT: Duration = Duration::from_secs(20);

/// A collector and its receiver, for nodes `app-01` and `app-02`.
async fn stage() -> (Collector, Webhook) {
    let webhook = Webhook::start().await;
    let settings = fleet(&["app-01", "app-02"]) + &webhook.as_only_receiver();
    (Collector::with(settings).start().await, webhook)
}

/// The same by a driven clock.
async fn stage_with(clock: &Arc<DrivenClock>) -> (Collector, Webhook) {
    let webhook = Webhook::start().await;
    let settings = fleet(&["app-01", "app-02"]) + &webhook.as_only_receiver();
    (
        Collector::with(settings).clock(clock).start().await,
        webhook,
    )
}

/// Confirms as an operator does, with the command.
fn confirm(collector: &Collector, node: &str) {
    let output = collector.command(&["plan", "confirm", node]);
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_dropped_is_an_alarm_and_its_own_alert_stays_until_an_operator_confirms() {
    let mut nginx = Nginx::start().await;
    let (mut collector, webhook) = stage().await;
    let agent = Agent::with(watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;
    nginx.stop().await;
    webhook.hears_line("open app-01 portail").await;

    agent.write_settings("[check.charge]\nkind = \"load\"\n");
    webhook.hears_reason("app-01", "check.removed").await;
    assert!(
        collector
            .alerts()
            .await
            .iter()
            .any(|alert| alert.starts_with("app-01 portail")),
        "it is still down"
    );

    confirm(&collector, "app-01");
    webhook.hears_line("close app-01 portail").await;
    collector
        .settles("an operator has confirmed", |alerts| {
            !alerts.iter().any(|alert| alert.contains("portail"))
        })
        .await;
    collector.stop().await;
    replays(&collector.data_dir()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patience_without_end_is_refused_by_the_agent_and_the_most_it_takes_is_an_alarm() {
    let nginx = Nginx::start().await;
    let (collector, webhook) = stage().await;
    let agent = Agent::with(watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;

    agent.write_settings(&watches(&nginx.url()).replace("failures = 2", "failures = 9999"));
    webhook
        .hears_reason("app-01", "agent.settings_refused")
        .await;
    agent.write_settings(&watches(&nginx.url()).replace("failures = 2", "failures = 100"));
    let weakened = webhook.hears_reason("app-01", "check.weakened").await;
    assert_eq!(weakened.word("check"), "@plan");
    assert_eq!(weakened.body["facts"]["failures"], 100);
    assert_eq!(weakened.body["facts"]["was_failures"], 2);

    confirm(&collector, "app-01");
    collector.is_fine("app-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_its_own_making_cannot_weaken_a_check_either() {
    let (collector, webhook) = stage().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail", "base"]).await;
    collector.is_fine("app-01").await;
    for planned in agent.plan.values_mut() {
        planned.failures = 9_999;
    }
    let plan = agent.says_plan();
    agent.hands_in(&plan).await;
    let weakened = webhook.hears_reason("app-01", "check.weakened").await;
    assert_eq!(weakened.body["facts"]["failures"], 9_999);

    // Nor say one plan in its lines and another in its contact.
    let mut contact = agent.contact();
    contact.plan = Some(Digest::of(b"another"));
    let answer = agent
        .post(agent.body_with(&contact, &[]))
        .await
        .expect("the collector answers");
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_in_order_falls_silent_and_that_is_told() {
    let clock = Arc::new(DrivenClock::new());
    let nginx = Nginx::start().await;
    let (collector, webhook) = stage_with(&clock).await;
    let mut agent = Agent::with(slowly_watches(&nginx.url()))
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let _flight = clock.keep_flying();
    collector.is_fine("app-01").await;
    agent.stop().await;
    let silent = webhook.hears_reason("app-01", "node.silent").await;
    assert_eq!(silent.word("status"), "critical");
    assert_eq!(
        silent.body["facts"]["checks"],
        serde_json::json!(["portail"])
    );
    agent.restart().await;
    webhook.hears_line("close app-01 @node/silent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_hangs_is_silence_and_silence_is_told() {
    let clock = Arc::new(DrivenClock::new());
    let nginx = Nginx::start().await;
    let (collector, webhook) = stage_with(&clock).await;
    let agent = Agent::with(slowly_watches(&nginx.url()))
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let _flight = clock.keep_flying();
    collector.is_fine("app-01").await;
    agent.program().freeze();
    webhook.hears_reason("app-01", "node.silent").await;
    assert_eq!(collector.node("app-01").await["up"], false);
    agent.program().thaw();
    webhook.hears_line("close app-01 @node/silent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_spool_was_deleted_says_so() {
    let nginx = Nginx::start().await;
    let (collector, webhook) = stage().await;
    let mut agent = Agent::with(watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;
    agent.kill();
    agent.forget_spool();
    agent.restart().await;
    let amnesia = webhook.hears_reason("app-01", "agent.amnesia").await;
    assert_eq!(amnesia.word("status"), "critical");
    // The chain goes on behind the collector's head; what is wrong then is told as ever.
    let mut nginx = nginx;
    nginx.stop().await;
    webhook.hears_line("open app-01 portail").await;
    assert!(
        !collector
            .alerts()
            .await
            .iter()
            .any(|alert| alert.contains("@chain")),
        "the chain itself is whole"
    );
    confirm(&collector, "app-01");
    nginx.restart().await;
    collector.is_fine("app-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_snapshot_of_the_state_is_noticed() {
    let mut nginx = Nginx::start().await;
    let (collector, webhook) = stage().await;
    let mut agent = Agent::with(watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;
    agent.kill();
    let snapshot = agent.snapshot();
    agent.restart().await;
    nginx.stop().await;
    webhook.hears_line("open app-01 portail").await;
    agent.kill();

    // As if nothing had happened since.
    agent.restore(&snapshot);
    agent.restart().await;
    eventually("a restored snapshot is an alarm", async || {
        let alerts = collector.try_status().await?["alerts"].clone();
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        let is_noticed = alerts.iter().any(|alert| {
            let reason = alert["reason"].as_str().unwrap_or_default();
            alert["status"] == "critical"
                && (reason == "agent.amnesia" || reason.starts_with("chain."))
        });
        if is_noticed {
            Ok(())
        } else {
            Err(format!("{alerts:?}"))
        }
    })
    .await;
    assert!(
        collector
            .alerts()
            .await
            .iter()
            .any(|alert| alert.starts_with("app-01 portail")),
        "still down"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_a_node_has_and_keeps_to_itself_are_asked_for_aloud() {
    let clock = Arc::new(DrivenClock::new());
    let (collector, webhook) = stage_with(&clock).await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    collector.is_fine("app-01").await;
    let withheld = [
        agent.finds("portail", None, Status::Ok),
        agent.finds("portail", None, Status::Ok),
    ];
    // It goes on making contact, and is heard all the time.
    eventually("what is withheld is an alarm", async || {
        assert_eq!(agent.hand_in(&[]).await.status, 200);
        clock.fly(CONTACT).await;
        let alerts = collector.alerts().await;
        if alerts
            .iter()
            .any(|alert| alert.ends_with("critical entries.withheld"))
        {
            Ok(())
        } else {
            Err(format!("{alerts:?}"))
        }
    })
    .await;
    webhook.hears_reason("app-01", "entries.withheld").await;
    let _flight = clock.keep_flying();
    agent.hands_in(&withheld).await;
    webhook.hears_line("close app-01 @node/withheld").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_a_rewritten_line_and_a_cloned_machine_are_faults_of_the_chain_and_end_no_alert() {
    let (mut collector, webhook) = stage().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    webhook.hears_line("open app-01 portail").await;
    let mut clone = agent.clone_machine();

    // A number is left out, and what follows says that all is well.
    agent.head = Head {
        seq: agent.head.seq + 1,
        sha256: Digest::of(b"a line that nobody has seen"),
    };
    let up = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[up]).await;
    webhook.hears_reason("app-01", "chain.broken").await;

    // A number is used a second time.
    let up = clone.finds("portail", None, Status::Ok);
    clone.hands_in(&[up]).await;
    let other = clone.finds("portail", None, Status::Warning);
    clone.hands_in(&[other]).await;
    webhook.hears_reason("app-01", "chain.fork").await;

    let alerts = collector.alerts().await;
    assert!(
        alerts.contains(&"app-01 portail critical http.status".to_owned()),
        "nothing made it quieter: {alerts:?}"
    );
    assert!(!webhook.lines().iter().any(|line| line.starts_with("close")));
    collector.stop().await;
    replays(&collector.data_dir()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_speaks_for_its_own_services_and_for_itself_alone() {
    let (collector, webhook) = stage().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let mut other = hand_agent(&collector, "app-02", &["portail"]).await;
    collector.is_fine("app-01").await;
    let down = other.finds("portail", None, Status::Critical);
    other.hands_in(&[down]).await;
    webhook.hears_line("open app-02 portail critical").await;

    let foreign = agent.plans(&["portail"], Some("paie"));
    agent.hands_in(&foreign).await;
    webhook.hears_reason("app-01", "service.undeclared").await;

    // A line in the name of another node: refused, counted, and an alarm about who tried.
    let forged = other.finds("portail", None, Status::Ok);
    let answer = agent.hand_in(&[forged]).await;
    assert_eq!((answer.status, answer.error()), (403, "node.impostor"));
    let impostor = webhook.hears_reason("app-01", "node.impostor").await;
    assert_eq!(impostor.body["facts"]["claimed"], "app-02");
    assert_eq!(
        collector
            .metric("vigie_requests_total{result=\"impostor\"}")
            .await,
        1.0
    );
    assert!(
        collector
            .alerts()
            .await
            .contains(&"app-02 portail critical http.status".to_owned()),
        "nothing ended it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_somebody_else_signed_is_refused_and_an_alarm() {
    let (collector, webhook) = stage().await;
    let agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let other = hand_agent(&collector, "app-02", &["portail"]).await;
    let body = format!("{}\n", other.signed(&agent.contact()));
    let answer = agent
        .post(body.into_bytes())
        .await
        .expect("the collector answers");
    assert_eq!((answer.status, answer.error()), (403, "contact.forged"));
    webhook.hears_reason("app-01", "contact.forged").await;
    assert_eq!(
        collector
            .metric("vigie_requests_total{result=\"forged\"}")
            .await,
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_object_that_fails_while_the_first_is_critical_is_told() {
    let (collector, webhook) = stage().await;
    let mut agent = hand_agent(&collector, "app-01", &["disques"]).await;
    for object in ["root", "data"] {
        let line = agent.finds("disques", Some(object), Status::Critical);
        agent.hands_in(&[line]).await;
        webhook
            .hears_line(&format!("open app-01 disques/{object} critical"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_lines_and_lines_that_cannot_be_read_are_alarms() {
    let (collector, webhook) = stage().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let lost = agent.says(
        vigie::ENTRIES_LOST,
        Facts::from([("from", Fact::Integer(3)), ("to", Fact::Integer(9))]),
    );
    agent.hands_in(&[lost]).await;
    webhook.hears_reason("app-01", "entries.lost").await;

    let mut body = agent.body(&[]);
    body.extend_from_slice(b"{ \"not\": \"canonical\" }\n");
    let answer = agent.post(body).await.expect("the collector answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = answer.body["refused"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(
        refused[0]["seq"],
        Value::from(agent.head.seq + 1),
        "it has its place in the chain all the same"
    );
    webhook.hears_reason("app-01", "entry.malformed").await;
}

/// A check at a pace that leaves time for real answers while the clock flies.
fn slowly_watches(url: &str) -> String {
    format!(
        r#"
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{url}"
        every = "20s"
        timeout = "19s"
        "#
    )
}
