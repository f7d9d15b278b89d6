#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_core::status::Status;

use super::{
    fixture::{Past, TZDATA},
    *,
};

/// A night and a morning: a page that is repeated and acknowledged by nobody, something held, a digest, both ends.
async fn weekend() -> Past {
    let mut past = Past::begin().await;
    let mut app = past.joins("app-01").await;
    let mut web = past.joins("web-01").await;
    past.finds(&mut app, "portail", None, Status::Critical)
        .await;
    past.finds(&mut web, "site", Some("192.0.2.7"), Status::Critical)
        .await;
    past.delivers().await;
    past.wakes("2026-11-21T21:06:00Z").await;
    past.wakes("2026-11-21T21:16:00Z").await;
    past.delivers().await;
    past.wakes("2026-11-23T07:30:00Z").await;
    past.delivers().await;
    past.finds(&mut web, "site", Some("192.0.2.7"), Status::Ok)
        .await;
    past.finds(&mut app, "portail", None, Status::Ok).await;
    past
}

async fn read_through(replay: &mut Replay<'_>) -> Vec<Turn> {
    let mut turns = Vec::new();
    while let Some(turn) = replay.next().await.unwrap() {
        turns.push(turn);
    }
    turns
}

#[tokio::test]
async fn a_log_decided_again_gives_the_same_lines_and_the_same_state() {
    let past = weekend().await;
    let log = past.reader().await;
    let mut replay = Replay::begin(&log, TZDATA.to_owned()).await.unwrap();
    let turns = read_through(&mut replay).await;
    let verdict = replay.verdict();
    assert_eq!(verdict.difference, None);
    let decisions: usize = turns.iter().map(|turn| turn.decisions.len()).sum();
    assert_eq!(verdict.decisions, decisions as u64);
    assert!(decisions > 10, "{decisions}");
    assert_eq!(verdict.lines, log.line_count().await.unwrap());
    assert_eq!(verdict.lines, replay.line_count());
    assert_eq!(*replay.state(), past.state);
    assert_eq!(replay.policy().rules, past.policy.rules);
    assert!(verdict.other_tzdata.is_empty() && verdict.unknown_zones.is_empty());
}

#[tokio::test]
async fn the_first_line_that_differs_is_named_and_the_rest_is_still_read() {
    let past = weekend().await;
    past.falsify("\"decided\":\"held\"", "equipe-sis", "equipe-six")
        .await;
    let log = past.reader().await;
    let mut replay = Replay::begin(&log, TZDATA.to_owned()).await.unwrap();
    let turns = read_through(&mut replay).await;
    let difference = replay.verdict().difference.clone().unwrap();
    assert!(difference.written.unwrap().contains("equipe-six"));
    let decided = difference.decided.unwrap();
    assert!(decided.contains("equipe-sis"));
    assert!(decided.contains(&format!("\"n\":{},", difference.n)));
    assert_eq!(replay.verdict().lines, replay.line_count());
    let last = turns.last().unwrap();
    let n = last.decisions.last().map_or(last.event.n, |line| line.n);
    assert_eq!(n + 1, replay.line_count());
}

#[tokio::test]
async fn a_decision_that_is_missing_or_too_much_is_a_difference() {
    let past = weekend().await;
    // An event that would have been no line at all, because it changes nothing.
    past.falsify(
        "\"kind\":\"deadline\"",
        "\"deadline\"",
        "\"node.calm\",\"node\":\"app-01\"",
    )
    .await;
    let log = past.reader().await;
    let mut replay = Replay::begin(&log, TZDATA.to_owned()).await.unwrap();
    read_through(&mut replay).await;
    let difference = replay.verdict().difference.clone().unwrap();
    assert!(difference.written.is_some() && difference.decided.is_none());
    assert_eq!(difference.not_understood, None);
}

#[tokio::test]
async fn an_event_of_another_version_is_named_and_ends_nothing() {
    let past = weekend().await;
    past.falsify("\"kind\":\"deadline\"", "deadline", "moon.full")
        .await;
    let log = past.reader().await;
    let mut replay = Replay::begin(&log, TZDATA.to_owned()).await.unwrap();
    read_through(&mut replay).await;
    let difference = replay.verdict().difference.clone().unwrap();
    assert!(difference.not_understood.unwrap().contains("moon.full"));
    assert_eq!(replay.verdict().lines, replay.line_count());
}

#[tokio::test]
async fn other_time_zone_data_is_said() {
    let past = weekend().await;
    let log = past.reader().await;
    let mut replay = Replay::begin(&log, "2031z".to_owned()).await.unwrap();
    read_through(&mut replay).await;
    assert_eq!(replay.verdict().other_tzdata, [TZDATA.to_owned()].into());
}

#[tokio::test]
async fn a_damaged_log_is_an_error_with_the_number_of_its_line() {
    let past = weekend().await;
    past.falsify("\"kind\":\"deadline\"", "{\"at\"", "{\"when\"")
        .await;
    let log = past.reader().await;
    let mut replay = Replay::begin(&log, TZDATA.to_owned()).await.unwrap();
    let damaged = loop {
        match replay.next().await {
            Ok(turn) => assert!(turn.is_some(), "the damage was not seen"),
            Err(damaged) => break damaged,
        }
    };
    assert!(
        matches!(damaged, ReplayError::Damaged { n, .. } if n > 0),
        "{damaged}"
    );
}
