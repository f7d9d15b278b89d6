#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use vigie_core::time::{Now, Wall};
use vigie_platform::clock::ManualClock;

use super::*;

const START: Elapsed = Elapsed(5_000);

#[test]
fn health_names_what_was_not_done_lately() {
    let health = Health::default();
    assert_eq!(health.trouble(START), Some(Trouble::NotStepping));
    health.stepped(START);
    assert_eq!(health.trouble(START), Some(Trouble::NotCommitting));
    health.committed(START);
    assert_eq!(health.trouble(START), Some(Trouble::NotDelivering));
    health.delivering().beat(START);
    assert_eq!(health.trouble(START.plus_ms(RECENT_MS)), None);
    let late = START.plus_ms(RECENT_MS + 1);
    health.stepped(late);
    health.delivering().beat(late);
    assert_eq!(health.trouble(late), Some(Trouble::NotCommitting));
}

fn secret(dir: &tempfile::TempDir, text: &str) -> SecretFile {
    let path = dir.path().join("url");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    SecretFile::at(path)
}

#[tokio::test]
async fn pings_go_out_while_the_collector_works_and_stop_when_it_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/s3cret", listener.local_addr().unwrap());
    let health = Arc::new(Health::default());
    let counters = Arc::new(Counters::default());
    let clock = Arc::new(ManualClock::at(Now {
        wall: Wall(0),
        elapsed: START,
    }));
    let works = |clock: &ManualClock| {
        health.stepped(clock.elapsed());
        health.committed(clock.elapsed());
        health.delivering().beat(clock.elapsed());
    };
    let watch = OutsideWatch::open(
        &Config {
            url_file: secret(&dir, &url),
            every: Duration::from_secs(60),
        },
        Arc::clone(&health),
        Arc::clone(&clock) as _,
        Arc::clone(&counters),
    )
    .unwrap();
    let task = tokio::spawn(watch.run());
    tokio::task::yield_now().await;
    for status in ["204 No Content", "500 Oh"] {
        clock.advance(Duration::from_secs(60));
        works(&clock);
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        assert!(request.starts_with(b"GET /s3cret HTTP/1.1\r\n"));
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    while counters.failed.load(Relaxed) < 1 {
        tokio::task::yield_now().await;
    }
    // Nothing is committed any more.
    clock.advance(Duration::from_secs(60));
    health.stepped(clock.elapsed());
    health.delivering().beat(clock.elapsed());
    while counters.withheld.load(Relaxed) < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counters.sent.load(Relaxed), 1);
    assert!(!task.is_finished());
    task.abort();
}

#[test]
fn an_address_that_is_none_is_refused_without_being_shown() {
    let dir = tempfile::tempdir().unwrap();
    let open = |text: &str| {
        let clock = Arc::new(ManualClock::at(Now::default()));
        let config = Config {
            url_file: secret(&dir, text),
            every: Duration::from_secs(60),
        };
        OutsideWatch::open(&config, Arc::default(), clock, Arc::default())
    };
    let error = open("s3cret").err().unwrap();
    assert!(matches!(error, OpenError::Url { .. }));
    assert!(!error.to_string().contains("s3cret"));
}
