#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::Notify};
use vigie_core::time::Now;
use vigie_platform::clock::{Clock, ManualClock};

use super::*;
use crate::availability::fixture::{
    built, closed_port, context, context_with, reset, run, run_one, server, told,
};

async fn greeting(mut stream: TcpStream) {
    stream.write_all(b"220 mail ").await.unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"EHLO vigie\r\n");
    stream.write_all(b"\r\n250 OK\r\n").await.unwrap();
    // Left open: what was expected is enough.
    let _ = stream.read(&mut [0]).await;
}

async fn asked(port: u16, keys: &str) -> Observation {
    let keys = format!("target = \"127.0.0.1:{port}\"\n{keys}");
    run_one(&KIND, &context(), &keys).await
}

const DIALOGUE: &str = "send = 'EHLO vigie\\r\\n'\nexpect = '250 '";

#[tokio::test]
async fn an_open_port_is_well() {
    let port = server(|stream| async move { drop(stream) }).await;
    let observation = asked(port, "").await;
    assert_eq!(
        (observation.status, observation.reason),
        (Status::Ok, TCP_OK)
    );
    let phases: Vec<_> = observation.measurements.iter().map(|m| m.label).collect();
    assert_eq!(phases, ["connect", "total"]);
}

#[tokio::test]
async fn the_expected_bytes_may_come_in_pieces() {
    let port = server(greeting).await;
    let observation = asked(port, DIALOGUE).await;
    assert_eq!(
        (observation.status, observation.reason),
        (Status::Ok, TCP_OK)
    );
    let named = run(
        &KIND,
        &context(),
        &format!("target = \"smtp.here:{port}\"\n{DIALOGUE}"),
    )
    .await;
    let objects: Vec<_> = named
        .iter()
        .map(|o| o.object.as_ref().unwrap().as_str())
        .collect();
    assert_eq!(objects, ["smtp.here", "127.0.0.1"]);
    assert!(
        named
            .iter()
            .all(|observation| observation.status == Status::Ok)
    );
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let (_socket, closed) = closed_port().await;
    assert_eq!(told(&asked(closed, "").await, "").1, "net.refused");

    let closes = server(|mut stream| async move {
        stream.write_all(b"421").await.unwrap();
    })
    .await;
    let observation = asked(closes, "expect = '220'").await;
    let expected = (Status::Critical, "tcp.closed", "3".to_owned());
    assert_eq!(told(&observation, "read_bytes"), expected);

    let resets = server(|mut stream| async move {
        stream.read_exact(&mut [0; 4]).await.unwrap();
        reset(stream);
    })
    .await;
    let observation = asked(resets, "send = 'PING'\nexpect = 'PONG'").await;
    let expected = (Status::Critical, "net.reset", "first_byte".to_owned());
    assert_eq!(told(&observation, "phase"), expected);

    let talks =
        server(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} })
            .await;
    let observation = asked(talks, "expect = '220'").await;
    assert_eq!(told(&observation, "").1, "tcp.expect");

    let nowhere = run_one(&KIND, &context(), "target = \"smtp.invalid:25\"").await;
    assert_eq!(told(&nowhere, "").1, "net.no_address");
    assert_eq!(nowhere.object.unwrap().as_str(), "smtp.invalid");
    // Connecting TCP to the broadcast address is refused by the kernel for want of a route.
    let unreachable = run_one(&KIND, &context(), "target = \"255.255.255.255:25\"").await;
    assert_eq!(told(&unreachable, "").1, "net.unreachable");
}

/// Runs a check against a server that says `greeting` and then nothing; the deadline passes when that was said.
async fn silence_after(greeting: &'static [u8]) -> Observation {
    let clock = Arc::new(ManualClock::at(Now::default()));
    let context = context_with(Arc::clone(&clock) as Arc<dyn Clock>, 5_000);
    let accepted = Arc::new(Notify::new());
    let told = Arc::clone(&accepted);
    let port = server(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            stream.read_exact(&mut [0; 4]).await.unwrap();
            stream.write_all(greeting).await.unwrap();
            told.notify_one();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let keys = format!("target = \"127.0.0.1:{port}\"\nsend = 'PING'\nexpect = 'PONG'");
    let (observation, ()) = tokio::join!(run_one(&KIND, &context, &keys), async {
        accepted.notified().await;
        clock.advance(Duration::from_secs(5));
    });
    observation
}

#[tokio::test]
async fn silence_is_a_timeout_that_names_its_phase() {
    let observation = silence_after(b"").await;
    let expected = (Status::Critical, "net.timeout", "first_byte".to_owned());
    assert_eq!(told(&observation, "phase"), expected);
}

#[tokio::test]
async fn having_heard_something_else_is_not_a_timeout() {
    let observation = silence_after(b"WAIT").await;
    let expected = (Status::Critical, "tcp.expect", "4".to_owned());
    assert_eq!(told(&observation, "read_bytes"), expected);
}

#[test]
fn the_example_is_a_complete_check() {
    assert!(built(&KIND, KIND.example).is_ok_and(|_| true));
}

#[test]
fn every_mistake_is_told() {
    let settings = "[check.c]\nkind = \"tcp\"\ntarget = \"smtp\"\nsend = '\\q'\nexpect = ''\n\
                    addresses = \"both\"\n";
    let mistakes = built(&KIND, settings).err().unwrap();
    assert_eq!(mistakes.iter().count(), 4, "{mistakes}");
}

#[test]
fn escapes_stand_for_bytes() {
    assert_eq!(
        unescaped(r"A\x0b\0\r\n\t\\é").unwrap(),
        b"A\x0b\0\r\n\t\\\xc3\xa9"
    );
    for wrong in ["", r"\", r"\x", r"\x1", r"\xzz", r"\q"] {
        assert_eq!(unescaped(wrong), None, "{wrong}");
    }
}

#[test]
fn targets_are_host_and_port() {
    let target = |text: &str| {
        text.parse::<HostPort>()
            .map(|target| (target.host, target.port))
    };
    assert_eq!(
        target("[::1]:25").unwrap(),
        (Host::parse("::1").unwrap(), 25)
    );
    assert_eq!(target("a.example:25").unwrap().1, 25);
    for wrong in [
        "a.example",
        "a.example:0",
        "a.example:x",
        "::1:25",
        ":25",
        "[a",
    ] {
        assert!(target(wrong).is_err(), "{wrong}");
    }
}
