#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_core::status::Status;
use vigie_decide::{
    alert::Actor,
    fleet::{Event, MuteEvent, OperatorEvent},
    mute::SilenceMatch,
};

use super::*;
use crate::replay::fixture::Past;

/// The text of one alert's story, and its JSON.
async fn why(past: &Past, number: u64) -> (String, Value) {
    let log = past.reader().await;
    let told = tell(&log, number, Language::English, &mut Progress::default()).await;
    let (story, verdict) = told.unwrap();
    (to_text(&story, &verdict), to_json(&story, &verdict))
}

/// In this order, whatever stands between.
fn assert_says(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part);
        rest = &rest[at.unwrap_or_else(|| panic!("{part:?} is missing in its place in\n{text}"))..];
    }
}

#[tokio::test]
async fn a_page_in_the_night_is_told_step_by_step() {
    let mut past = Past::begin().await;
    let mut app = past.joins("app-01").await;
    past.finds(&mut app, "portail", None, Status::Critical)
        .await;
    let number = past.number("portail");
    past.passes(1_193);
    past.delivers().await;
    past.wakes("2026-11-21T21:16:00Z").await;
    let acknowledged = Event::Operator(OperatorEvent::Acknowledged {
        numbers: vec![number],
        by: Actor::Link("chef/mail".parse().unwrap()),
        for_ms: None,
    });
    past.happens(vec![acknowledged]).await;
    past.finds(&mut app, "portail", None, Status::Ok).await;
    let (text, json) = why(&past, number).await;
    assert_says(
        &text,
        &[
            &format!("Alert #{number}: portail of app-01\n"),
            "2026-11-21 22:00:00.",
            " CET",
            "app-01 makes contact and lists it as critical (its line 1)",
            &format!("#{number} begins: critical: "),
            "held for equipe-sis's digest until 2026-11-23 08:30:00.000 CET",
            "by route 1 (criticality critical; status critical or unknown; outside bureau)",
            "calendar bureau was closed (outside its weekly hours), until 2026-11-23 08:30:00.000 CET",
            "told (it begins): astreinte (am/sms), step 1 of 2\n",
            "by route 1 (criticality critical; status critical or unknown; outside bureau)",
            "app-01's line 1: portail is critical",
            "http.status: ",
            "503",
            "evidence: {\"at\":",
            "SHA-256: ",
            "accepted: it begins to astreinte (am/sms), 1.2 s after it was decided",
            "told (it is still on, again): astreinte (am/sms), step 1 of 2",
            "acknowledgement by whoever reads chef/mail, by the link in a message",
            "acknowledged by whoever reads chef/mail",
            "app-01's line 2: portail is ok",
            &format!("#{number} ends: measured and good again"),
            "told (it ends): astreinte (am/sms)\n",
            "told (it ends): astreinte (chef/mail)\n",
            "all the same when decided again.",
        ],
    );
    assert_says(&text, &["astreinte (chef/mail), step 2 of 2"]);

    assert_eq!(json["number"], number);
    assert_eq!(json["alert"]["node"], "app-01");
    assert_eq!(json["replay"]["same"], true);
    assert_eq!(json["replay"]["difference"], Value::Null);
    let lines = json["lines"].as_array().unwrap();
    let told = lines.iter().find(|line| line["event"]["decided"] == "told");
    let told = told.unwrap();
    assert_eq!(told["route"], 0);
    assert_eq!(told["event"]["receiver"], "astreinte");
    assert_eq!(
        told["calendars"][0],
        json!({
            "name": "bureau", "open": false, "why": "outside its weekly hours",
            "next_edge": "2026-11-23T07:30:00.000Z",
        })
    );
    let numbers: Vec<u64> = lines
        .iter()
        .map(|line| line["n"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test]
async fn what_waited_for_the_morning_says_for_which_and_when_it_went() {
    let mut past = Past::begin().await;
    let mut web = past.joins("web-01").await;
    past.finds(&mut web, "site", Some("192.0.2.7"), Status::Critical)
        .await;
    let number = past.number("site");
    past.wakes("2026-11-23T07:30:00Z").await;
    past.delivers().await;
    let (text, _) = why(&past, number).await;
    assert_says(
        &text,
        &[
            "site of web-01 (192.0.2.7)",
            "held for equipe-sis's digest until 2026-11-23 08:30:00.000 CET",
            "by route 2 (everything), holds",
            "calendar bureau was closed (outside its weekly hours)",
            "goes out in equipe-sis's digest, due 2026-11-23 08:30:00.000 CET\n",
            "accepted: digest to equipe-sis",
        ],
    );
    assert!(!text.contains("told ("), "{text}");
}

#[tokio::test]
async fn what_a_silence_kept_quiet_names_it_and_who_would_have_been_told() {
    let mut past = Past::begin().await;
    let mut app = past.joins("app-01").await;
    let silence = Event::Mute(MuteEvent::SilenceStarted {
        matches: SilenceMatch {
            check: Some("portail".to_owned()),
            ..SilenceMatch::default()
        },
        reason: "migration \u{1b}[2Jdu portail".to_owned(),
        for_ms: 3_600_000,
        uid: 1000,
    });
    past.happens(vec![silence]).await;
    past.finds(&mut app, "portail", None, Status::Critical)
        .await;
    let number = past.number("portail");
    past.wakes("2026-11-21T22:01:00Z").await;
    let (text, _) = why(&past, number).await;
    assert_says(
        &text,
        &[
            "kept quiet by silence 1 (migration du portail; until 2026-11-21 23:00:00.",
            "uid 1000)",
            "would have told astreinte",
            "would have been held for equipe-sis",
            "over: silence 1",
            "told (it is still on): astreinte (am/sms)",
        ],
    );
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test]
async fn what_the_settings_keep_quiet_names_the_window() {
    let mut past = Past::begin().await;
    let mut new = past.joins("new-01").await;
    past.finds(&mut new, "portail", None, Status::Critical)
        .await;
    let (text, _) = why(&past, past.number("portail")).await;
    assert_says(
        &text,
        &[
            "kept quiet by maintenance window arrival (new node; mutes everything)",
            "would have told astreinte",
            "all the same when decided again.",
        ],
    );
}

#[tokio::test]
async fn a_log_that_somebody_changed_is_told_as_it_is_written_with_the_line_that_differs() {
    let mut past = Past::begin().await;
    let mut app = past.joins("app-01").await;
    past.finds(&mut app, "portail", None, Status::Critical)
        .await;
    let number = past.number("portail");
    past.falsify("\"decided\":\"told\"", "am/sms", "jb/sms")
        .await;
    let (text, json) = why(&past, number).await;
    assert_says(
        &text,
        &[
            "told (it begins): astreinte (jb/sms)",
            "is decided otherwise now",
            "  written: {",
            "jb/sms",
            "  decided: {",
            "am/sms",
        ],
    );
    assert_eq!(json["replay"]["same"], false);
    assert!(json["replay"]["difference"]["n"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_number_that_no_alert_has_is_said_with_the_last_one() {
    let mut past = Past::begin().await;
    let log = past.reader().await;
    let last = async |number| {
        let told = tell(&log, number, Language::French, &mut Progress::default()).await;
        let (story, _) = told.unwrap();
        assert!(story.alert.is_none());
        unknown(number, story.last_number)
    };
    assert_eq!(
        last(7).await,
        "no alert has the number 7; the log holds none at all"
    );
    let mut app = past.joins("app-01").await;
    past.finds(&mut app, "portail", None, Status::Critical)
        .await;
    let number = past.number("portail");
    assert_eq!(
        last(4711).await,
        format!("no alert has the number 4711; the last one is {number}")
    );
}

#[tokio::test]
async fn a_folder_without_a_log_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).await.unwrap_err(), Exit::Unreachable);
    assert_eq!(
        open(&dir.path().join("nowhere")).await.unwrap_err(),
        Exit::Unreachable
    );
}

#[test]
fn lines_for_a_terminal_keep_their_value_and_move_nothing() {
    let line = json!({"é": "\u{202e}\u{9b}31m\u{1f600}", "n": 7}).to_string();
    let escaped = words::escaped(&line);
    assert_eq!(escaped, r#"{"n":7,"é":"\u202e\u009b31m\ud83d\ude00"}"#);
    let read: Value = serde_json::from_str(&escaped).unwrap();
    assert_eq!(read, serde_json::from_str::<Value>(&line).unwrap());
}

#[test]
fn waiting_times_are_told_in_what_fits_them() {
    for (ms, told) in [
        (-5, "0 ms"),
        (85, "85 ms"),
        (4_230, "4.2 s"),
        (725_000, "12 min 5 s"),
        (7_260_000, "2 h 1 min"),
    ] {
        assert_eq!(words::duration(ms), told);
    }
}
