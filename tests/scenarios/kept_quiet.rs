//! Does quiet that people asked for keep what it promises: short, with a reason, never a loss?

use std::{process::Output, time::Duration};

use serde_json::json;
use vigie_core::status::Status;
use vigie_tests::harness::{Agent, Nginx, eventually};

use crate::on_call::{AM, House};

const MINUTE: Duration = Duration::from_secs(60);

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_shows_what_it_hits_is_refused_without_a_reason_or_beyond_eight_hours_and_ends_aloud()
 {
    let house = House::open().await;
    let mut node = house.node("app-01").await;
    let down = node.finds("portail", None, Status::Critical);
    node.hands_in(&[down]).await;
    house.gateway.sends(AM, "dossier-patient").await;
    let silence = |rest: &[&str]| {
        let words: Vec<&str> = ["silence", "--service", "dossier-patient"]
            .iter()
            .chain(rest)
            .copied()
            .collect();
        house.collector.command(&words)
    };

    let preview = silence(&["--preview"]);
    assert!(preview.status.success(), "{preview:?}");
    assert!(
        out(&preview).contains("1 of the open alerts would be"),
        "{preview:?}"
    );
    assert!(out(&preview).contains("portail"), "{preview:?}");
    for (refused, mend) in [
        (silence(&["--for", "2h"]), "--reason"),
        (silence(&["--for", "9h", "--reason", "certificat"]), "8h"),
        (silence(&["--reason", "certificat"]), "--for"),
        (
            house
                .collector
                .command(&["silence", "--for", "2h", "--reason", "tout"]),
            "everything",
        ),
    ] {
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(err(&refused).contains(mend), "{mend}: {refused:?}");
    }
    assert_eq!(house.alert("portail").await["muted"], json!(null));

    let begun = silence(&["--for", "2h", "--reason", "certificat en cours"]);
    assert!(begun.status.success(), "{begun:?}");
    house.passes(119 * MINUTE, &[&node]).await;
    assert_eq!(
        house.gateway.asked().len(),
        1,
        "{:?}",
        house.gateway.asked()
    );
    house.passes(MINUTE, &[&node]).await;
    house.gateway.has_sent(AM, 2).await;

    // What ends under a silence is told to those who know of its beginning.
    let begun = silence(&["--for", "1h", "--reason", "encore"]);
    assert!(begun.status.success(), "{begun:?}");
    let up = node.finds("portail", None, Status::Ok);
    node.hands_in(&[up]).await;
    house.passes(MINUTE, &[&node]).await;
    house.gateway.sends(AM, "rétabli").await;
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_under_maintenance_is_told_in_the_moment_in_which_that_ends() {
    let house = House::open().await;
    let mut portal = Nginx::start().await;
    let walk = house.clock.keep_walking();
    let agent = Agent::with(watches(&portal))
        .clock(&house.clock)
        .start(&house.collector, "app-01")
        .await;
    house.collector.is_fine("app-01").await;
    let begun = house.collector.command(&[
        "maintenance",
        "start",
        "--node",
        "app-01",
        "--for",
        "3h",
        "--reason",
        "correctifs",
    ]);
    assert!(begun.status.success(), "{begun:?}");
    portal.stop().await;
    let alert = house.alert("portail").await;
    assert!(!alert["muted"].is_null(), "{alert}");
    assert_eq!(house.gateway.asked().len(), 0);
    drop(walk);

    // Time stands still: whatever is told now is told at once.
    let list = house.collector.command(&["maintenance", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("it prints JSON");
    let mute = list["running"][0]["mute"].to_string();
    let ended = house.collector.command(&["maintenance", "end", &mute]);
    assert!(ended.status.success(), "{ended:?}");
    let page = house.gateway.sends(AM, "dossier-patient").await;
    assert!(page.text.contains("en panne depuis"), "{page:?}");

    let report = house.collector.command(&["report", "would-have-told"]);
    assert!(report.status.success(), "{report:?}");
    for part in ["correctifs", "portail", "astreinte"] {
        assert!(out(&report).contains(part), "{part}: {report:?}");
    }
    drop(agent);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_silent_under_maintenance_is_told_when_its_time_is_over() {
    let house = House::open().await;
    let node = house.node("app-01").await;
    let begun = house.collector.command(&[
        "maintenance",
        "start",
        "--group",
        "app-strasbourg",
        "--for",
        "3h",
        "--reason",
        "travaux",
    ]);
    assert!(begun.status.success(), "{begun:?}");
    // It is switched off, and silence lasts for more than two hours before anybody could be told.
    house.passes(179 * MINUTE, &[]).await;
    let alert = house.collector.shows("app-01", "node.silent").await;
    assert!(!alert["muted"].is_null(), "{alert}");
    assert_eq!(
        house.gateway.asked().len(),
        0,
        "{:?}",
        house.gateway.asked()
    );
    house.passes(MINUTE, &[]).await;
    let page = house.gateway.sends(AM, "[vigie").await;
    assert!(
        !page.text.contains("app-01"),
        "it leaves the house: {page:?}"
    );

    // Back again: the end is told too.
    node.hands_in(&[]).await;
    house.passes(MINUTE, &[&node]).await;
    eventually("its end is told", async || {
        match house.gateway.count_for(AM) {
            2.. => Ok(()),
            _ => Err(format!("{:?}", house.gateway.asked())),
        }
    })
    .await;
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_starts_quietly_and_the_report_says_what_would_have_been() {
    let house = House::open().await;
    let until = house.monday();
    let window = format!(
        r#"
        [maintenance.mise-en-service]
        nodes = ["app-02"]
        window = "{}..{until} 08:00 Europe/Paris"
        mutes = "everything"
        reason = "mise en service"
        "#,
        house.evening()
    );
    house.reloads(&(house.settings() + &window)).await;
    let mut node = house.node("app-02").await;
    let down = node.finds("portail", None, Status::Critical);
    node.hands_in(&[down]).await;
    let alert = house.alert("portail").await;
    assert_eq!(alert["muted"], json!({ "window": "mise-en-service" }));
    house.passes(120 * MINUTE, &[&node]).await;
    assert_eq!(
        house.gateway.asked().len(),
        0,
        "{:?}",
        house.gateway.asked()
    );
    let report = house
        .collector
        .command(&["report", "would-have-told", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(
        report["alerts"][0]["would_tell"],
        json!(["astreinte"]),
        "{report}"
    );
    assert_eq!(
        report["alerts"][0]["would_hold"],
        json!(["equipe-sis"]),
        "{report}"
    );
    house.closes().await;
}

fn watches(portal: &Nginx) -> String {
    format!(
        r#"
        [defaults]
        every = "30s"
        timeout = "25s"
        failures = 2
        recoveries = 2
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{}"
        "#,
        portal.url()
    )
}
