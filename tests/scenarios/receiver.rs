//! What if the receiver is there and does not do its work?

use vigie_core::status::Status;
use vigie_tests::harness::{Collector, Manner, Webhook};

use crate::fleet::{fleet, hand_agent};

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_an_alarm_for_the_other_and_gets_all_of_it_when_it_works_again() {
    let failing = Webhook::start().await;
    let working = Webhook::start().await;
    let receivers = format!(
        r#"
        [receiver.night]
        webhook = {{ url = "{}" }}
        [receiver.own]
        webhook = {{ url = "{}" }}
        [[route]]
        match = {{ service = ["vigie"] }}
        notify = ["own"]
        [[route]]
        notify = ["night"]
        "#,
        failing.url(),
        working.url()
    );
    let collector = Collector::with(fleet(&["app-01"]) + &receivers)
        .start()
        .await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    failing.behave(Manner::Answers(500));
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    let alarm = working.hears_reason("@collector", "delivery.failing").await;
    assert_eq!(alarm.body["facts"]["receiver"], "night");
    assert_eq!(alarm.body["facts"]["http_status"], 500);

    failing.behave(Manner::Accepts);
    failing.hears_line("open app-01 portail critical").await;
    working.hears_line("close @collector @delivery/night").await;
    failing.expect_each_once();
    working.expect_each_once();
}
