//! Does everybody rest once somebody is on it, and nobody before?

use std::time::Duration;

use http::Method;
use serde_json::json;
use vigie_core::status::Status;
use vigie_tests::harness::HandAgent;

use crate::on_call::{AM, CHEF, House};

const MINUTE: Duration = Duration::from_secs(60);

/// The critical service is down, and whoever is on call has been told.
async fn down(house: &House) -> HandAgent {
    let mut node = house.node("app-01").await;
    let down = node.finds("portail", None, Status::Critical);
    node.hands_in(&[down]).await;
    house.gateway.sends(AM, "dossier-patient").await;
    house.is_delivered().await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_that_follows_the_link_changes_nothing_and_a_press_ends_the_calls() {
    let house = House::open().await;
    let node = down(&house).await;
    let link = house.gateway.has_sent(AM, 1).await.link().to_owned();
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let (status, page) = house.follows(&link, method.clone()).await;
        assert_eq!(status, 200);
        assert_eq!(page.contains("<button"), method == Method::GET, "{page}");
    }
    assert_eq!(house.alert("portail").await["acknowledged"], json!(null));

    // So the phone rings again, and after a quarter of an hour the second step's, with a mail.
    house.passes(5 * MINUTE, &[&node]).await;
    house.gateway.has_sent(AM, 2).await;
    house.is_delivered().await;
    house.passes(11 * MINUTE, &[&node]).await;
    house.gateway.sends(CHEF, "dossier-patient").await;
    let mail = house.mail.takes("portail toujours en panne").await;
    assert_eq!(mail.seen["to"], json!(["chef@chu.example"]));
    assert!(
        mail.word("text").contains("app-01"),
        "a mail may say it: {mail:?}"
    );

    // Whoever reads the mail takes it on.
    let in_mail = mail
        .word("text")
        .split_whitespace()
        .find(|word| word.contains("/a/"));
    let in_mail = in_mail.unwrap_or_else(|| panic!("no link: {mail:?}"));
    let page = house.presses(in_mail).await;
    assert!(page.contains("dossier-patient"), "{page}");
    let acknowledged = house.alert("portail").await["acknowledged"].clone();
    assert_eq!(acknowledged["by"], json!({ "link": "chef/mail" }));

    // The first one, late, is told who is on it.
    let page = house.presses(&link).await;
    assert!(page.contains("chef"), "{page}");
    assert_eq!(house.alert("portail").await["acknowledged"], acknowledged);

    house.is_delivered().await;
    // Hours later nobody has been called again, and the link of last night opens nothing.
    let (texts, mails) = (house.gateway.asked().len(), house.mail.taken().len());
    house.passes(8 * 60 * MINUTE, &[&node]).await;
    assert_eq!(
        house.gateway.asked().len(),
        texts,
        "{:?}",
        house.gateway.asked()
    );
    assert_eq!(house.mail.taken().len(), mails, "{:?}", house.mail.taken());
    for method in [Method::GET, Method::POST] {
        assert_eq!(house.follows(&link, method).await.0, 410);
    }
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_link_and_every_other_page_open_nothing() {
    let house = House::open().await;
    let _node = down(&house).await;
    let link = house.gateway.has_sent(AM, 1).await.link().to_owned();
    let (beginning, token) = link.rsplit_once('/').expect("a link has a token");
    let mut forged: Vec<char> = token.chars().collect();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == 'A' { 'B' } else { 'A' };
    let forged: String = forged.into_iter().collect();
    let root = beginning.trim_end_matches("/a");
    for wrong in [
        format!("{beginning}/{forged}"),
        format!("{root}/"),
        format!("{root}/metrics"),
        format!("{root}/api/v2/alerts"),
    ] {
        for method in [Method::GET, Method::POST] {
            assert_eq!(house.follows(&wrong, method).await.0, 404, "{wrong}");
        }
    }
    assert_eq!(house.alert("portail").await["acknowledged"], json!(null));
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_acknowledges_at_the_console_for_a_while_and_it_is_told_again_when_that_is_over()
 {
    let house = House::open().await;
    let node = down(&house).await;
    let number = house.alert("portail").await["number"].to_string();
    let output = house.collector.command(&["ack", &number, "--for", "2h"]);
    assert!(output.status.success(), "{output:?}");
    let again = house.collector.command(&["ack", &number]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(said.contains("before"), "{again:?}");

    house.passes(119 * MINUTE, &[&node]).await;
    assert_eq!(
        house.gateway.asked().len(),
        1,
        "{:?}",
        house.gateway.asked()
    );
    // Two hours are over, and it is still down.
    house.passes(2 * MINUTE, &[&node]).await;
    house.gateway.has_sent(AM, 2).await;
    let nobody = house.collector.command(&["ack", "99999"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weekend_that_nobody_answers_calls_on_until_the_team_is_told() {
    let house = House::open().await;
    let node = down(&house).await;
    house.passes_until(house.opening(), &[&node]).await;
    assert!(house.gateway.count_for(CHEF) > 10, "it goes on all weekend");
    // The team is told at its opening, and finds it in its digest.
    let digest = house.mail.takes("point du matin").await;
    assert!(
        digest.word("text").contains("dossier-patient"),
        "{digest:?}"
    );
    house.closes().await;
}
