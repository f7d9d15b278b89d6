//! Is somebody woken although the gateway is broken, lies, or takes its time?

use std::{collections::BTreeSet, time::Duration};

use vigie_core::status::Status;
use vigie_tests::harness::{GatewayManner, HandAgent, eventually};

use crate::on_call::{AM, CHEF, House};

const MINUTE: Duration = Duration::from_secs(60);

async fn goes_down(house: &House) -> HandAgent {
    let mut node = house.node("app-01").await;
    let down = node.finds("portail", None, Status::Critical);
    node.hands_in(&[down]).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_refuses_for_good_brings_on_the_second_step_at_once() {
    let house = House::open().await;
    house.gateway.behave(GatewayManner::Refuses(400));
    let _node = goes_down(&house).await;
    house.gateway.is_asked(AM).await;
    // The clock has not moved: a quarter of an hour is not waited for.
    house.gateway.is_asked(CHEF).await;
    let mail = house.mail.takes("portail toujours en panne").await;
    assert_eq!(mail.seen["to"], serde_json::json!(["chef@chu.example"]));
    // That the gateway fails is told as well, and its failure is over when it works.
    house.gateway.behave(GatewayManner::Accepts);
    let walk = house.clock.keep_walking();
    house.gateway.sends(AM, "dossier-patient").await;
    house.is_delivered().await;
    drop(walk);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_gateway_that_hangs_the_second_step_comes_by_another_way() {
    let house = House::open().await;
    house.gateway.behave(GatewayManner::Hangs);
    let node = goes_down(&house).await;
    let asked = house.gateway.is_asked(AM).await;
    house.passes(14 * MINUTE, &[&node]).await;
    assert_eq!(house.mail.taken().len(), 0, "{:?}", house.mail.taken());
    house.passes(MINUTE, &[&node]).await;
    let mail = house.mail.takes("portail toujours en panne").await;
    assert_eq!(mail.seen["to"], serde_json::json!(["chef@chu.example"]));

    // It wakes up: what hung is answered, and is not sent a second time under another name.
    house.gateway.behave(GatewayManner::Accepts);
    let first = house.gateway.sends(AM, "dossier-patient").await;
    assert_eq!(first.text, asked.text);
    let walk = house.clock.keep_walking();
    house.is_delivered().await;
    drop(walk);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_busy_is_left_alone_as_long_as_it_asks() {
    let house = House::open().await;
    house.gateway.behave(GatewayManner::IsBusy(120));
    let node = goes_down(&house).await;
    house.gateway.is_asked(AM).await;
    eventually("its answer has come in", async || {
        let series = r#"vigie_deliveries_total{receiver="am/sms",result="busy"}"#;
        match house.collector.metric(series).await {
            1.0.. => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    house.gateway.behave(GatewayManner::Accepts);
    house.passes(Duration::from_secs(100), &[&node]).await;
    assert_eq!(
        house.gateway.asked().len(),
        1,
        "{:?}",
        house.gateway.asked()
    );
    house.passes(Duration::from_secs(25), &[&node]).await;
    house.gateway.sends(AM, "dossier-patient").await;
    // That the gateway was away for so long may be told as well, after the usual pause.
    let walk = house.clock.keep_walking();
    house.is_delivered().await;
    drop(walk);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_says_200_and_no_credit_has_sent_nothing_and_is_asked_again_under_the_same_key()
 {
    let house = House::open().await;
    house.gateway.behave(GatewayManner::Lies);
    let _node = goes_down(&house).await;
    house.gateway.is_asked(AM).await;
    let walk = house.clock.keep_walking();
    // After a while it counts as broken, and that is an alert of its own.
    house
        .collector
        .shows("@collector", "delivery.failing")
        .await;
    house.gateway.behave(GatewayManner::Accepts);
    house.gateway.sends(AM, "dossier-patient").await;
    house.is_delivered().await;
    drop(walk);
    let asked = house.gateway.asked();
    let about = asked
        .iter()
        .filter(|text| text.to == AM && text.text.contains("dossier-patient"));
    let keys: BTreeSet<&str> = about.map(|text| &*text.key).collect();
    assert_eq!(keys.len(), 1, "{asked:?}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exercise_goes_all_the_way_to_acceptance_and_to_a_press_of_its_button() {
    let house = House::open().await;
    let output = house
        .collector
        .command(&["test-receiver", "astreinte", "--wait", "60s"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("am/sms") && said.contains("Accepted"),
        "{said}"
    );
    let text = house.gateway.sends(AM, "[EXERCICE]").await;

    // The second time somebody reacts. The command follows in a thread of its own.
    let number = house.exercise().await["number"].to_string();
    let over = house
        .collector
        .command(&["end", &number, "--reason", "exercice terminé"]);
    assert!(over.status.success(), "{over:?}");
    let _walk = house.clock.keep_walking();
    let arguments = [
        "test-receiver",
        "astreinte",
        "--until-acknowledged",
        "--wait",
        "100s",
    ];
    let following = house.collector.begins(&arguments);
    let link = eventually("the second exercise is sent", async || {
        let texts = house.gateway.texts();
        let second = texts.iter().rev().find(|other| {
            other.key != text.key && other.text.contains("[EXERCICE]") && other.text.contains("/a/")
        });
        match second {
            Some(second) => Ok(second.link().to_owned()),
            None => Err(format!("{texts:?}")),
        }
    })
    .await;
    house.presses(&link).await;
    let output = following.await.expect("the command ends");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Acknowledged"), "{said}");
    assert_eq!(
        house.mail.taken().len(),
        0,
        "nobody but the receiver is bothered"
    );
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exercise_that_no_gateway_takes_says_what_happened_and_fails() {
    let mut house = House::open().await;
    house.gateway.leave().await;
    let walk = house.clock.keep_walking();
    let output = house
        .collector
        .command(&["test-receiver", "astreinte", "--wait", "5s"]);
    drop(walk);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("am/sms"), "{said}");
    assert!(said.contains("no answer"), "{said}");
    house.closes().await;
}
