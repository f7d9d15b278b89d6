#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_core::status::Status;
use vigie_decide::{
    fleet::{Event, MuteEvent},
    mute::{Nodes, SilenceMatch},
};

use super::*;
use crate::replay::fixture::Past;

/// Two alerts of two nodes, kept quiet by a silence and by maintenance; one of them twice.
async fn quiet_evening() -> Past {
    let mut past = Past::begin().await;
    let mut app = past.joins("app-01").await;
    let mut web = past.joins("web-01").await;
    let silence = Event::Mute(MuteEvent::SilenceStarted {
        matches: SilenceMatch {
            check: Some("portail".to_owned()),
            ..SilenceMatch::default()
        },
        reason: "migration".to_owned(),
        for_ms: 3_600_000,
        uid: 1000,
    });
    let maintenance = Event::Mute(MuteEvent::MaintenanceStarted {
        place: Nodes {
            nodes: ["web-01".parse().unwrap()].into(),
            groups: Default::default(),
        },
        reason: "disques".to_owned(),
        for_ms: 3_600_000,
        uid: 0,
    });
    past.happens(vec![silence]).await;
    past.happens(vec![maintenance]).await;
    past.finds(&mut app, "portail", None, Status::Warning).await;
    past.wakes("2026-11-21T21:30:00Z").await;
    past.finds(&mut app, "portail", None, Status::Critical)
        .await;
    past.finds(&mut web, "site", None, Status::Critical).await;
    // Told: it is nobody's maintenance.
    past.finds(&mut app, "api", None, Status::Critical).await;
    past
}

async fn report(past: &Past, span: Span) -> (String, Value) {
    let report = collect(&past.reader().await, span).await.unwrap();
    (report.to_text(), report.to_json(span))
}

#[tokio::test]
async fn what_was_kept_quiet_is_counted_by_mute_and_by_receiver() {
    let past = quiet_evening().await;
    let (portail, site) = (past.number("portail"), past.number("site"));
    let (text, json) = report(&past, Span::default()).await;
    for part in [
        "  silence 1 (migration; until 2026-11-21 23:00:00.",
        "  maintenance 2 (disques; until ",
        "  astreinte: 1 at once, 0 in a digest\n",
        "  equipe-sis: 0 at once, 2 in a digest\n",
        &format!("#{portail} 2026-11-21 22:00:00."),
        " CET portail of app-01 critical, kept quiet by silence 1 (",
        &format!("#{site} 2026-11-21 22:30:00."),
        "    at once: astreinte\n    in a digest: equipe-sis\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("api"), "{text}");
    assert_eq!(
        json["receivers"],
        json!([
            {"receiver": "astreinte", "told": 1, "held": 0},
            {"receiver": "equipe-sis", "told": 0, "held": 2},
        ])
    );
    assert_eq!(json["mutes"][0]["by"], json!({"mute": 1}));
    let alerts = json["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["number"], portail);
    assert_eq!(alerts[0]["status"], "critical");
    assert_eq!(alerts[0]["would_tell"], json!(["astreinte"]));
    assert_eq!(alerts[1]["node"], "web-01");
    assert_eq!(alerts[1]["would_tell"], json!([]));
    assert_eq!(alerts[1]["would_hold"], json!(["equipe-sis"]));
}

#[tokio::test]
async fn only_the_span_asked_for_counts_and_alerts_from_before_keep_their_names() {
    let past = quiet_evening().await;
    let half_past = Wall::parse("2026-11-21T21:30:00Z").unwrap();
    let (_, late) = report(
        &past,
        Span {
            since: Some(half_past),
            until: None,
        },
    )
    .await;
    let alerts = late["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["check"], "portail");
    assert_eq!(alerts[0]["would_tell"], json!(["astreinte"]));
    let (_, early) = report(
        &past,
        Span {
            since: None,
            until: Some(half_past),
        },
    )
    .await;
    let alerts = early["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["would_hold"], json!(["equipe-sis"]));
    assert_eq!(alerts[0]["status"], "warning");
}

#[tokio::test]
async fn a_log_without_mutes_says_that_nothing_was_kept_quiet() {
    let past = Past::begin().await;
    let (text, json) = report(&past, Span::default()).await;
    assert_eq!(
        text,
        "Nothing was kept quiet that somebody would have been told of.\n"
    );
    assert_eq!(json["alerts"], json!([]));
}

#[tokio::test]
async fn what_a_new_node_would_have_told_is_known_before_it_tells() {
    let mut past = Past::begin().await;
    let mut new = past.joins("new-01").await;
    past.finds(&mut new, "portail", None, Status::Critical)
        .await;
    let (text, json) = report(&past, Span::default()).await;
    let window =
        "  maintenance window arrival (new node; mutes everything): 1 at once, 0 in a digest\n";
    assert!(text.contains(window), "{text}");
    assert_eq!(json["mutes"][0]["by"], json!({"window": "arrival"}));
    assert_eq!(json["alerts"][0]["node"], "new-01");
    assert_eq!(json["alerts"][0]["would_tell"], json!(["astreinte"]));
    assert_eq!(json["alerts"][0]["would_hold"], json!(["equipe-sis"]));
}

#[test]
fn times_are_read_as_instants_or_in_the_zone_of_the_settings() {
    let paris = zones::find("Europe/Paris").unwrap();
    for (text, utc) in [
        ("2026-11-22T20:00:00Z", "2026-11-22T20:00:00Z"),
        ("2026-11-22T20:00:00+01:00", "2026-11-22T19:00:00Z"),
        ("2026-11-22 20:00", "2026-11-22T19:00:00Z"),
        ("2026-11-22T20:00:30", "2026-11-22T19:00:30Z"),
        ("2026-07-14", "2026-07-13T22:00:00Z"),
    ] {
        assert_eq!(
            instant(text, &paris),
            Ok(Wall::parse(utc).unwrap()),
            "{text}"
        );
    }
    for text in ["", "yesterday", "2026-11", "2026-11-31", "20:00"] {
        assert!(instant(text, &paris).is_err(), "{text}");
    }
}
