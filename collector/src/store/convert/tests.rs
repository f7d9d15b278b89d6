#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use vigie_core::{
    digest::Digest,
    id::ReceiverName,
    log,
    status::{Need, Status},
    time::Wall,
};
use vigie_decide::{
    alert::{AlertKey, Notice, Reached},
    destination::Destination,
    rules::Receiver,
};

use crate::store::{
    SqliteStore, Store as _,
    migrations::STEPS,
    sqlite::{FILE_NAME, OpenError},
    tests::{by_hand, night, opened},
};

/// What version 2 wrote: two alerts, one of which was told to two receivers; a message waits for one of these.
const OF_VERSION_2: &str = r#"
    CREATE TABLE migrations (version INTEGER PRIMARY KEY) STRICT;
    INSERT INTO migrations (version) VALUES (1), (2);
    INSERT INTO meta (key, value) VALUES ('state',
        '{"frontier":{"size":0,"peaks":[]},"last_alert":12,"last_message":41,
          "rules_sha256":"2222222222222222222222222222222222222222222222222222222222222222",
          "last_now":{"wall_ms":6,"elapsed_ms":7},"clock_in_doubt":false}');
    INSERT INTO rules (sha256, text) VALUES ('2222222222222222222222222222222222222222222222222222222222222222',
        '{"groups":{},"receivers":["night","team"],
          "routes":[{"matches":{"criticality":["critical"],"environment":[],"family":[],"group":[],"need":[],
                                "node":[],"service":[],"site":[],"status":[]},"notify":["night"]}],
          "services":{"portail":{"criticality":"critical","needs":{"C":1,"D":3,"I":2,"T":1}}},"silent_after_ms":120000}');
    INSERT INTO alerts (key, value) VALUES
        ('["app-01","http","é\"\u0000"]',
         '{"number":11,"family":"availability","claimed":["portail"],"status":"critical","reason":"http.status",
           "facts":{"text":"\u0000é"},"since":"1970-01-01T00:00:00.005Z","opening":0,
           "told":{"night":"critical","team":"unknown"},"tellings":3,"until_confirmed":false}'),
        ('["@collector","disk",""]',
         '{"number":12,"family":"vigie","claimed":[],"status":"warning","reason":"vigie.disk","facts":{},
           "since":"1970-01-01T00:00:00.005Z","opening":3,"told":{},"tellings":0,"until_confirmed":true}');
    INSERT INTO outbox (key, value) VALUES ('4444444444444444444444444444444444444444444444444444444444444444',
        '{"key":"4444444444444444444444444444444444444444444444444444444444444444","order":41,"receiver":"night",
          "notice":"worse","number":11,"opening":0,
          "alert":{"node":"app-01","check":"http","object":"é\"\u0000"},"services":["portail"],
          "criticality":"critical","environment":"production","family":"availability","status":"critical",
          "reason":"http.status","facts":{"text":"\u0000é"},"since":"1970-01-01T00:00:00.005Z",
          "at":"1970-01-01T00:00:00.006Z","runbook":"https://wiki.example/portail"}');
"#;

/// Its log: the alert's opening, and the first time that one receiver was told of it.
const LINES_OF_VERSION_2: [&str; 3] = [
    r#"{"at":"1970-01-01T00:00:00.005Z","elapsed_ms":5,"event":{"alert":{"check":"http","node":"app-01","object":"é"},"decided":"alert.opened","kind":"decision","number":11,"reason":"http.status","status":"warning"},"n":0,"v":1}"#,
    r#"{"at":"1970-01-01T00:00:00.005Z","elapsed_ms":5,"event":{"decided":"told","key":"3333333333333333333333333333333333333333333333333333333333333333","kind":"decision","notice":"open","number":11,"receiver":"night","route":0},"n":1,"v":1}"#,
    r#"{"at":"1970-01-01T00:00:00.006Z","elapsed_ms":6,"event":{"decided":"told","key":"4444444444444444444444444444444444444444444444444444444444444444","kind":"decision","notice":"worse","number":11,"receiver":"night","route":0},"n":2,"v":1}"#,
];

pub(in crate::store) async fn of_version_2(dir: &TempDir) {
    std::fs::write(dir.path().join(FILE_NAME), []).unwrap();
    by_hand(dir.path(), STEPS[0]).await;
    by_hand(dir.path(), STEPS[1]).await;
    by_hand(dir.path(), OF_VERSION_2).await;
    let mut connection = SqliteConnectOptions::new()
        .filename(dir.path().join(FILE_NAME))
        .connect()
        .await
        .unwrap();
    let mut frontier = log::Frontier::default();
    for line in LINES_OF_VERSION_2 {
        sqlx::query("INSERT INTO log (n, line) VALUES (?1, ?2)")
            .bind(i64::try_from(frontier.size()).unwrap())
            .bind(line)
            .execute(&mut connection)
            .await
            .unwrap();
        frontier.push(line.as_bytes());
    }
    sqlx::query(
        "UPDATE meta SET value = json_set(value, '$.frontier', json(?1)) WHERE key = 'state'",
    )
    .bind(json!(frontier).to_string())
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_page_that_waited_under_version_2_still_goes_out() {
    let dir = tempfile::tempdir().unwrap();
    of_version_2(&dir).await;
    let store = opened(&dir).await;
    let state = store.load().await.unwrap();
    let waits = Digest([0x44; 32]);
    let object = "é\"\u{0}".to_owned();
    let message = &state.outbox[&waits];
    assert_eq!(
        (message.key, message.order, message.at),
        (waits, 41, Wall(6))
    );
    assert_eq!(message.to, Destination::Receiver(night()));
    assert_eq!(message.receiver, night());
    let telling = message.telling().unwrap();
    assert_eq!((telling.notice, telling.number), (Notice::Worse, 11));
    assert_eq!(telling.alert.object(), object);
    assert_eq!(telling.need, (Need::Availability, 3));
    assert_eq!(telling.facts["text"], "\u{0}é");
    assert_eq!(
        telling.runbook.as_deref(),
        Some("https://wiki.example/portail")
    );
    assert_eq!((telling.step, telling.thread), (0, None));

    let key = AlertKey::from_parts("app-01", "http", &object).unwrap();
    let told = &state.alerts[&key].told;
    let reached = |receiver: &str| {
        let receiver: ReceiverName = receiver.parse().unwrap();
        told[&receiver].to[&Destination::Receiver(receiver.clone())]
    };
    assert_eq!(told[&night()].status, Status::Critical);
    assert_eq!(
        reached("night"),
        Reached {
            first: 41,
            last: 41,
            thread: Digest([0x33; 32]),
            newest: Digest::default(),
        }
    );
    // What the log does not tell: a thread of its own, and nothing that waits.
    let team = reached("team");
    assert_eq!((team.first, team.last), (0, 0));
    assert!(team.thread != Digest::ZERO && team.thread != reached("night").thread);
    let own = &state.alerts[&AlertKey::from_parts("@collector", "disk", "").unwrap()];
    assert!(own.told.is_empty() && own.until_confirmed);
    assert!(state.held.is_empty() && state.digests.is_empty() && state.mutes.is_empty());
    // Once: what is of today is left alone.
    drop(store);
    assert_eq!(opened(&dir).await.load().await.unwrap(), state);
}

#[tokio::test]
async fn rules_of_version_2_are_read_as_they_were_meant_and_stay_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    of_version_2(&dir).await;
    let store = opened(&dir).await;
    let rules = store.rules(Digest([0x22; 32])).await.unwrap().unwrap();
    let names: Vec<&str> = rules.receivers.keys().map(ReceiverName::as_str).collect();
    assert_eq!(names, ["night", "team"]);
    assert_eq!(rules.receivers[&night()], Receiver::default());
    assert_eq!(rules.routes[0].notify, [night()]);
    assert!(!rules.routes[0].hold && rules.routes[0].when.is_none());
}

#[tokio::test]
async fn an_old_row_that_cannot_be_understood_leaves_the_database_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    of_version_2(&dir).await;
    by_hand(
        dir.path(),
        "UPDATE alerts SET value = '{' WHERE key LIKE '%disk%'",
    )
    .await;
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    let OpenError::Schema { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        source.to_string(),
        "cannot bring its rows to version 3",
        "{source:?}"
    );
    // Version 3's tables are not there, so the step can be taken once the row is mended.
    by_hand(
        dir.path(),
        "DELETE FROM alerts WHERE value = '{'; CREATE TABLE held (n INTEGER); DROP TABLE held;",
    )
    .await;
    assert_eq!(opened(&dir).await.load().await.unwrap().alerts.len(), 1);
}
