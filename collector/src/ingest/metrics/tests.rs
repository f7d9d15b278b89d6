#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tokio::sync::watch;
use vigie_core::{digest::Digest, id::NodeName, remote_write::Sample};
use vigie_platform::http_listener::BodyTimeout;

use super::{
    fixture::{
        Answer, Bench, Fed, NOW, Series, message, node, packed, request, sender, streamed, with,
    },
    *,
};
use crate::{
    engine::fixture::one_turn,
    store::{SqliteStore, Store as _},
};

const UP: [(&str, &str); 2] = [("__name__", "up"), ("job", "a")];

fn up(sample: Sample) -> Vec<u8> {
    message(Version::V1, &[Series::new(&UP, sample)])
}

fn small() -> Limits {
    Limits {
        body_len_max: 64 * 1024,
        decoded_len_max: 1024 * 1024,
        in_flight_len_max: 4 * 64 * 1024,
        ..Limits::default()
    }
}

/// `count` samples of different series, in a message of about 50 bytes each.
fn many(bench: &Bench, count: usize) -> Vec<u8> {
    let numbers: Vec<String> = (0..count).map(|number| format!("{number:08}")).collect();
    let series: Vec<Series<'_>> = numbers
        .iter()
        .map(|number| {
            Series::new(
                &[("__name__", "many"), ("number", number)],
                bench.sample(7.0),
            )
        })
        .collect();
    message(Version::V1, &series)
}

#[tokio::test]
async fn what_a_node_sends_is_kept_and_answered_without_a_body() {
    let bench = Bench::new().await;
    let app = node("app-01");
    for (version, written) in [(Version::V1, None), (Version::V2, Some([1, 0, 0]))] {
        bench.clock.advance(Duration::from_secs(15));
        let sample = bench.sample(3.5);
        let body = message(version, &[Series::new(&UP, sample)]);
        let answer = bench.write(&app, version, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(answer.text, "");
        assert_eq!(answer.written(), written);
        assert_eq!(bench.value(&app, &UP), Some(sample));
    }
    assert_eq!(bench.value(&node("app-02"), &UP), None);
    assert_eq!(bench.requests("accepted"), 2);
    assert_eq!(bench.ingest.samples.written.load(Relaxed), 2);
    assert!(bench.ingest.samples.body_bytes.load(Relaxed) > 60);
    assert!(bench.is_idle());
}

#[tokio::test]
async fn who_is_not_in_the_fleet_writes_nothing() {
    let bench = Bench::new().await;
    let other_key = |peer| with(peer, |credential| credential.key_sha256 = Digest::of(b"x"));
    let strangers = [
        (Peer::None, "peer.not_a_node"),
        (node("app-03"), "node.unknown"),
        (node("denied-01"), "node.denied"),
        (other_key(node("app-01")), "key.unknown"),
        (sender("other"), "sender.unknown"),
        (sender("denied-prom"), "sender.denied"),
        (other_key(sender("prom")), "key.unknown"),
        // A sender's name is not a node's, even where they read the same.
        (sender("app-01"), "sender.unknown"),
        (node("prom"), "node.unknown"),
    ];
    for (peer, error) in &strangers {
        let answer = bench.write(peer, Version::V2, &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{error}");
        assert_eq!(answer.error(), *error);
        assert_eq!(answer.written(), Some([0, 0, 0]), "{error}");
    }
    assert_eq!(bench.requests("foreign"), strangers.len() as u64);
    assert!(bench.ingest.latest.origins().is_empty());
}

#[tokio::test]
async fn an_expired_certificate_writes_nothing_unless_our_own_clock_is_in_doubt() {
    let bench = Bench::new().await;
    for peer in [node("app-01"), sender("prom")] {
        let expired = with(peer.clone(), |credential| {
            credential.not_after = NOW.plus_ms(-1)
        });
        let body = up(bench.sample(1.0));
        let answer = bench.write(&expired, Version::V1, &body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.error(), "certificate.expired");
        assert_eq!(bench.value(&peer, &UP), None);

        bench.ingest.directory.set_clock_in_doubt(true);
        let answer = bench.write(&expired, Version::V1, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        bench.ingest.directory.set_clock_in_doubt(false);

        // Whose clock is wrong cannot be known here, and the key is one that we know.
        let early = with(peer, |credential| {
            credential.not_before = NOW.plus_ms(60_000)
        });
        let answer = bench.write(&early, Version::V1, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(bench.requests("expired"), 2);
}

#[tokio::test]
async fn the_head_of_a_request_decides_what_it_is() {
    let bench = Bench::new().await;
    let prom = sender("prom");
    let body = packed(&up(bench.sample(1.0)));
    let with_head = |name: HeaderName, value: Option<&str>| {
        let mut request = request(Version::V1, body.clone());
        request.headers_mut().remove(&name);
        if let Some(value) = value {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(name, value);
        }
        request
    };
    for (value, is_known) in [
        (None, false),
        (Some(""), false),
        (Some("identity"), false),
        (Some("gzip"), false),
        (Some("zstd"), false),
        (Some("snappy, gzip"), false),
        (Some("snappy"), true),
        (Some(" Snappy "), true),
    ] {
        let answer = bench
            .call(&prom, with_head(header::CONTENT_ENCODING, value))
            .await;
        expect_known(&answer, is_known, "snappy");
    }
    for (value, is_known) in [
        (None, false),
        (Some("application/json"), false),
        (Some("application/x-protobuf;proto=prometheus.Other"), false),
        (Some("application/x-protobuf"), true),
        (
            Some("application/x-protobuf;proto=prometheus.WriteRequest"),
            true,
        ),
    ] {
        let answer = bench
            .call(&prom, with_head(header::CONTENT_TYPE, value))
            .await;
        expect_known(&answer, is_known, "io.prometheus.write.v2.Request");
    }
    // The content type counts; this header only repeats it.
    let name = HeaderName::from_static("x-prometheus-remote-write-version");
    for value in [None, Some("2.0.0"), Some("9")] {
        let answer = bench.call(&prom, with_head(name.clone(), value)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(bench.requests("unsupported"), 9);
    assert_eq!(bench.ingest.samples.written.load(Relaxed), 7);
}

fn expect_known(answer: &Answer, is_known: bool, mend: &str) {
    if is_known {
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    } else {
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(answer.text.contains(mend), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_get_is_no_write() {
    let bench = Bench::new().await;
    let mut request = request(Version::V1, Vec::new());
    *request.method_mut() = http::Method::GET;
    let answer = bench.call(&sender("prom"), request).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_not_taken() {
    let bench = Bench::new().await;
    let too_long = |len: usize| {
        let (feed, body) = Fed::open();
        let mut request = streamed(Version::V2, body);
        let len = HeaderValue::from(len);
        request.headers_mut().insert(header::CONTENT_LENGTH, len);
        (feed, request)
    };
    // Far too long: whoever waits for this body waits for ever.
    let (_feed, request) = too_long(4 * 1024 * 1024 + 1);
    let answer = bench.call(&sender("prom"), request).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let text = "the body is longer than 4194304 bytes: send fewer samples a request\n";
    assert_eq!(answer.text, text);
    // Not far: read and forgotten, so that the connection lives on and the answer arrives.
    bench.ingest.intake.set_limits(small());
    let (feed, request) = too_long(64 * 1024 + 1);
    feed.try_send(Ok(Bytes::from_static(&[0; 1024]))).unwrap();
    drop(feed);
    let answer = bench.call(&sender("prom"), request).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bench.ingest.samples.body_bytes.load(Relaxed), 0);
    assert_eq!(bench.requests("too_large"), 2);
}

#[tokio::test]
async fn a_body_that_grows_too_long_is_read_no_further() {
    let bench = Bench::with_limits(small()).await;
    let (feed, body) = Fed::open();
    for _ in 0..5 {
        feed.try_send(Ok(Bytes::from_static(&[0; 16 * 1024])))
            .unwrap();
    }
    // Never ends: only the limit does.
    let answer = bench
        .call(&sender("prom"), streamed(Version::V1, body))
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    drop(feed);
    assert!(bench.is_idle());
}

#[tokio::test]
async fn a_body_in_many_pieces_is_one_body() {
    let bench = Bench::new().await;
    let app = node("app-01");
    let body = packed(&up(bench.sample(4.0)));
    for says_length in [false, true] {
        let (feed, fed) = Fed::open();
        for byte in body.chunks(7) {
            feed.try_send(Ok(Bytes::copy_from_slice(byte))).unwrap();
            feed.try_send(Ok(Bytes::new())).unwrap();
        }
        drop(feed);
        let mut request = streamed(Version::V1, fed);
        if says_length {
            let len = HeaderValue::from(body.len());
            request.headers_mut().insert(header::CONTENT_LENGTH, len);
        }
        let answer = bench.call(&app, request).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    }
    assert_eq!(bench.value(&app, &UP), Some(bench.sample(4.0)));
}

#[tokio::test]
async fn claims_of_snappy_are_judged_before_there_is_room_for_them() {
    let bench = Bench::new().await;
    let prom = sender("prom");
    let claim = |claimed: u32| {
        let mut body = Vec::new();
        let mut left = claimed;
        while left >= 0x80 {
            body.push((left as u8) | 0x80);
            left >>= 7;
        }
        body.push(left as u8);
        body.extend_from_slice(&[0; 16]);
        body
    };
    for (claimed, status, result) in [
        (u32::MAX, StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        (
            32 * 1024 * 1024 + 1,
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
        ),
        (32 * 1024 * 1024, StatusCode::BAD_REQUEST, "malformed"),
        (1_000, StatusCode::BAD_REQUEST, "malformed"),
        (16, StatusCode::BAD_REQUEST, "malformed"),
    ] {
        let before = bench.requests(result);
        let answer = bench
            .call(&prom, request(Version::V2, claim(claimed)))
            .await;
        assert_eq!(answer.status, status, "{claimed}: {}", answer.text);
        assert_eq!(answer.written(), Some([0, 0, 0]));
        assert!(answer.text.ends_with('\n') && answer.text.len() > 20);
        assert_eq!(bench.requests(result), before + 1);
    }
    assert!(bench.ingest.intake.kept().iter().all(|kept| *kept < 1024));
    // No length at all.
    let answer = bench
        .call(&prom, request(Version::V1, vec![0xff; 16]))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = bench.call(&prom, request(Version::V1, Vec::new())).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn snappys_densest_block_is_no_lie() {
    let bench = Bench::new().await;
    // Unknown fields of nothing but zeros, which pack 21 to 1.
    let mut body = vec![0x7a, 0x80, 0x80, 0x40];
    body.extend(vec![0; 1024 * 1024]);
    let answer = bench.write(&sender("prom"), Version::V1, &body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_400_that_says_where() {
    let bench = Bench::new().await;
    let answer = bench
        .write(&node("app-01"), Version::V1, &[0x0a, 0x7f])
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.text.starts_with("nothing written: "),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("byte 2"), "{}", answer.text);
    assert_eq!(answer.written(), None);
    assert_eq!(bench.requests("malformed"), 1);
    assert!(bench.is_idle());
}

#[tokio::test]
async fn a_request_that_says_too_much_is_a_413() {
    let limits = Limits {
        request: vigie_core::remote_write::Limits {
            series_max: 10,
            ..Default::default()
        },
        ..Limits::default()
    };
    let bench = Bench::with_limits(limits).await;
    let prom = sender("prom");
    let answer = bench.write(&prom, Version::V1, &many(&bench, 10)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = bench.write(&prom, Version::V1, &many(&bench, 11)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        answer.text,
        "the request has more than 10 series: send fewer samples a request\n"
    );
}

#[tokio::test]
async fn a_partial_write_says_what_is_missing_and_why() {
    let bench = Bench::new().await;
    let prom = sender("prom");
    let reserved = [("__name__", "vigie_node_up"), ("node", "db-01")];
    let nameless = [("patient", "Mme Dupont")];
    let mut later = bench.sample(1.0);
    later.timestamp_ms += 3_600_000;
    let series = [
        Series::new(&UP, bench.sample(1.0)),
        Series::new(&reserved, bench.sample(1.0)),
        Series::new(&nameless, bench.sample(1.0)),
        Series::new(&[("__name__", "ahead")], later),
        Series::new(&[("__name__", "ahead"), ("x", "y")], later),
    ];
    let answer = bench
        .write(&prom, Version::V2, &message(Version::V2, &series))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let start = "1 written, 4 refused: 1 labels, 2 too_new, 1 reserved; first: ";
    assert!(answer.text.starts_with(start), "{}", answer.text);
    assert!(answer.text.contains("vigie_node_up"), "{}", answer.text);
    assert_eq!(answer.written(), Some([1, 0, 0]));
    assert_eq!(bench.value(&prom, &UP), Some(bench.sample(1.0)));
    assert_eq!(bench.value(&prom, &reserved), None);
    assert_eq!(bench.requests("partial"), 1);
    assert_eq!(bench.refused("reserved"), 1);
    assert_eq!(bench.refused("labels"), 1);
    assert_eq!(bench.refused("too_new"), 2);
    assert_eq!(bench.ingest.samples.written.load(Relaxed), 1);
}

#[tokio::test]
async fn a_node_that_names_another_writes_nothing_and_is_noted_once_an_hour() {
    let mut bench = Bench::new().await;
    let app = node("app-01");
    let own = [("__name__", "up"), ("node", "app-01")];
    let foreign = [("__name__", "up"), ("node", "db-01")];
    let engine = bench.engine.take().unwrap();
    let (stop, stopped) = watch::channel(false);
    let engine = tokio::spawn(engine.run(stopped));
    // The engine begins with an empty log and says so to the directory.
    one_turn(&bench.ingest.engine).await.unwrap();
    bench.know_the_fleet();
    for hour in 0..2 {
        bench.clock.advance(Duration::from_secs(3_600 * hour));
        let series = [
            Series::new(&own, bench.sample(1.0)),
            Series::new(&foreign, bench.sample(1.0)),
        ];
        for _ in 0..3 {
            let answer = bench
                .write(&app, Version::V1, &message(Version::V1, &series))
                .await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            assert_eq!(answer.error(), "node.impostor");
        }
    }
    assert_eq!(bench.value(&app, &own), None);
    assert_eq!(bench.value(&app, &foreign), None);
    assert_eq!(bench.requests("impostor"), 6);
    assert_eq!(bench.ingest.samples.written.load(Relaxed), 0);
    // Whatever was noted before this answer is in the log.
    one_turn(&bench.ingest.engine).await.unwrap();
    stop.send_replace(true);
    engine.await.unwrap();
    let store = SqliteStore::open(bench.dir.path()).await.unwrap();
    let lines = store.log_lines(0, 100).await.unwrap();
    let noted: Vec<_> = lines
        .iter()
        .filter(|(_, line)| line.contains("impostor") && line.contains("db-01"))
        .collect();
    assert!(!noted.is_empty(), "{lines:#?}");
    let events = noted
        .iter()
        .filter(|(_, line)| line.contains("\"claimed\":\"db-01\""));
    assert_eq!(events.count(), 2, "{noted:#?}");
}

/// A request that is inside until its body is fed or dropped.
struct Inside {
    feed: tokio::sync::mpsc::Sender<Result<Bytes, axum::Error>>,
    answer: tokio::task::JoinHandle<Response>,
}

impl Inside {
    async fn enter(bench: &Bench, peer: &Peer, len: Option<usize>) -> Self {
        let (feed, body) = Fed::open();
        let mut request = streamed(Version::V1, body);
        if let Some(len) = len {
            let len = HeaderValue::from(len);
            request.headers_mut().insert(header::CONTENT_LENGTH, len);
        }
        request.extensions_mut().insert(Arc::new(peer.clone()));
        let mut router = bench.router();
        let answer = tokio::spawn(async move {
            use tower_service::Service as _;
            router.call(request).await.unwrap()
        });
        // One turn of the (only) worker takes it as far as it can go without its body.
        tokio::task::yield_now().await;
        Self { feed, answer }
    }

    /// The answer of one that was not let in. Its body ends, as the door sees to.
    async fn refused(self) -> StatusCode {
        drop(self.feed);
        self.answer.await.unwrap().status()
    }

    async fn finish(self, body: &[u8]) -> StatusCode {
        self.feed
            .send(Ok(Bytes::copy_from_slice(body)))
            .await
            .unwrap();
        drop(self.feed);
        self.answer.await.unwrap().status()
    }
}

#[tokio::test(start_paused = true)]
async fn one_origin_has_so_many_requests_under_way_and_the_others_theirs() {
    let bench = Bench::new().await;
    let body = packed(&up(bench.sample(1.0)));
    for (peer, max) in [(node("app-01"), 2), (sender("prom"), 8)] {
        let mut inside = Vec::new();
        for _ in 0..max {
            inside.push(Inside::enter(&bench, &peer, Some(body.len())).await);
        }
        let answer = bench.call(&peer, request(Version::V2, body.clone())).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.written(), Some([0, 0, 0]));
        let after: u64 = answer.headers[header::RETRY_AFTER]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((2..=10).contains(&after), "{after}");
        let other = bench
            .call(&node("app-02"), request(Version::V1, body.clone()))
            .await;
        assert_eq!(other.status, StatusCode::NO_CONTENT);

        let first = inside.swap_remove(0);
        assert_eq!(first.finish(&body).await, StatusCode::NO_CONTENT);
        let answer = bench.call(&peer, request(Version::V1, body.clone())).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        // Peers that hang up leave nothing behind.
        for request in inside {
            request.answer.abort();
            assert!(request.answer.await.unwrap_err().is_cancelled());
        }
        assert!(bench.is_idle());
    }
    assert_eq!(bench.requests("flooding"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_a_moment_for_its_turn() {
    let bench = Bench::new().await;
    let peer = node("app-01");
    let body = packed(&up(bench.sample(1.0)));
    let first = Inside::enter(&bench, &peer, Some(body.len())).await;
    let _second = Inside::enter(&bench, &peer, Some(body.len())).await;
    let third = Inside::enter(&bench, &peer, Some(body.len())).await;
    tokio::time::advance(ADMIT_WAIT_MAX / 2).await;
    assert_eq!(first.finish(&body).await, StatusCode::NO_CONTENT);
    assert_eq!(third.finish(&body).await, StatusCode::NO_CONTENT);
    assert_eq!(bench.requests("flooding"), 0);
}

#[tokio::test(start_paused = true)]
async fn bodies_are_counted_before_they_are_read_and_nobody_holds_more_than_a_quarter() {
    let bench = Bench::with_limits(small()).await;
    let body = packed(&up(bench.sample(1.0)));
    // Without a length it counts as the longest, which is the quarter.
    let unsaid = Inside::enter(&bench, &sender("prom"), None).await;
    assert_eq!(bench.ingest.intake.free_len(), 3 * 64 * 1024);
    let answer = bench
        .call(&sender("prom"), request(Version::V1, body.clone()))
        .await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(unsaid.finish(&body).await, StatusCode::NO_CONTENT);
    assert!(bench.is_idle());

    let long = Inside::enter(&bench, &node("app-01"), Some(60 * 1024)).await;
    assert_eq!(bench.ingest.intake.free_len(), (4 * 64 - 60) * 1024);
    let short = bench
        .call(&node("app-01"), request(Version::V1, body.clone()))
        .await;
    assert_eq!(short.status, StatusCode::NO_CONTENT);
    let again = Inside::enter(&bench, &node("app-01"), Some(5 * 1024)).await;
    assert_eq!(again.refused().await, StatusCode::TOO_MANY_REQUESTS);
    // A body that ends early is one that cannot be unpacked.
    assert_eq!(long.refused().await, StatusCode::BAD_REQUEST);
    assert!(bench.is_idle());
}

#[tokio::test(start_paused = true)]
async fn when_all_room_is_taken_others_wait_and_are_turned_away() {
    let limits = Limits {
        // One body fits: less than settings allow.
        in_flight_len_max: 64 * 1024,
        ..small()
    };
    let bench = Bench::with_limits(limits).await;
    let body = packed(&up(bench.sample(1.0)));
    let first = Inside::enter(&bench, &node("app-01"), None).await;
    let second = Inside::enter(&bench, &node("app-02"), Some(body.len())).await;
    assert_eq!(second.refused().await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(first.finish(&body).await, StatusCode::NO_CONTENT);
    let answer = bench
        .call(&node("app-02"), request(Version::V1, body))
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_cut_and_its_room_is_free() {
    let bench = Bench::new().await;
    let slow = Inside::enter(&bench, &sender("prom"), Some(4_000)).await;
    assert!(!bench.is_idle());
    for _ in 0..30 {
        slow.feed.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
    }
    // What the door says at its deadline.
    slow.feed
        .send(Err(axum::Error::new(BodyTimeout)))
        .await
        .unwrap();
    let answer = slow.answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(bench.is_idle());
    assert_eq!(bench.requests("timed_out"), 1);

    let broken = Inside::enter(&bench, &sender("prom"), Some(4_000)).await;
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    broken
        .feed
        .send(Err(axum::Error::new(reset)))
        .await
        .unwrap();
    assert_eq!(
        broken.answer.await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    assert!(bench.is_idle());
    assert_eq!(bench.requests("broken"), 1);
}

#[tokio::test]
async fn a_large_body_is_read_elsewhere_and_leaves_no_large_buffer() {
    let bench = Bench::new().await;
    let prom = sender("prom");
    // 500 kB unpacked are what Prometheus sends, 1.5 MB are odd.
    for (count, kept_max) in [(10_000, KEPT_LEN_MAX), (30_000, KEPT_LEN_MAX)] {
        let body = many(&bench, count);
        assert!(body.len() > INLINE_LEN_MAX);
        let answer = bench.write(&prom, Version::V1, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
        let last = format!("{:08}", count - 1);
        let labels = [("__name__", "many"), ("number", last.as_str())];
        assert_eq!(bench.value(&prom, &labels), Some(bench.sample(7.0)));
        let kept = bench.ingest.intake.kept();
        assert!(kept.iter().all(|kept| *kept <= kept_max), "{kept:?}");
        assert_eq!(kept.len(), usize::from(count == 10_000));
    }
    assert!(bench.is_idle());
}

#[tokio::test]
async fn buffers_are_lent_again() {
    let bench = Bench::new().await;
    let body = up(bench.sample(1.0));
    for _ in 0..20 {
        let answer = bench.write(&node("app-01"), Version::V1, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(bench.ingest.intake.kept().len(), 1);
}

#[tokio::test]
async fn a_longer_body_before_leaves_nothing_in_a_shorter_one_after() {
    let bench = Bench::new().await;
    let prom = sender("prom");
    let answer = bench.write(&prom, Version::V1, &many(&bench, 100)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = bench
        .write(&node("app-01"), Version::V1, &up(bench.sample(1.0)))
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.ingest.samples.written.load(Relaxed), 101);
    assert_eq!(bench.ingest.latest.totals().node_series, 1);
}

#[tokio::test(start_paused = true)]
async fn other_limits_hold_for_requests_to_come() {
    let bench = Bench::new().await;
    let app = node("app-01");
    let body = packed(&up(bench.sample(1.0)));
    let before = Inside::enter(&bench, &app, Some(body.len())).await;
    bench.ingest.intake.set_limits(Limits {
        node_requests_max: 1,
        ..small()
    });
    assert_eq!(bench.ingest.intake.limits().body_len_max, 64 * 1024);
    let one = Inside::enter(&bench, &app, Some(body.len())).await;
    let two = Inside::enter(&bench, &app, Some(body.len())).await;
    assert_eq!(two.refused().await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(before.finish(&body).await, StatusCode::NO_CONTENT);
    assert_eq!(one.finish(&body).await, StatusCode::NO_CONTENT);
    assert!(bench.is_idle());
}

#[tokio::test]
async fn every_result_and_reason_has_its_counter() {
    let bench = Bench::new().await;
    let results: Vec<_> = bench
        .ingest
        .samples
        .requests()
        .map(|(word, _)| word)
        .collect();
    for (index, ending) in Ending::ALL.iter().enumerate() {
        assert_eq!(*ending as usize, index);
        assert_eq!(results[index], ending.as_str());
    }
    let reasons = bench.ingest.samples.refused().map(|(word, _)| word);
    assert!(reasons.eq(Refusal::ALL.iter().map(|why| why.as_str())));
    let name: NodeName = "app-01".parse().unwrap();
    assert!(bench.ingest.directory.find(&name).is_some());
}

#[tokio::test]
async fn a_node_whose_table_is_busy_keeps_nobody_else_waiting() {
    let bench = Bench::new().await;
    let (busy, other) = (node("app-01"), node("app-02"));
    let (held, is_held) = std::sync::mpsc::sync_channel(1);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let (ingest, origin) = (Arc::clone(&bench.ingest), fixture::origin(&busy));
    let holder = std::thread::spawn(move || {
        ingest.latest.while_held(&origin, || {
            held.send(()).unwrap();
            // Let go too if the test fails.
            let _ = released.recv();
        });
    });
    is_held.recv().unwrap();
    let body = up(bench.sample(1.0));
    // Both on one thread, the one that has to wait first.
    let (waited, answer) = tokio::join!(bench.write(&busy, Version::V1, &body), async {
        let answer = bench.write(&other, Version::V1, &body).await;
        release.send(()).unwrap();
        answer
    });
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(waited.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.ingest.samples.written.load(Relaxed), 2);
    assert!(bench.is_idle());
    holder.join().unwrap();
}

#[tokio::test]
async fn who_is_idle_is_forgotten_and_who_is_inside_is_not() {
    let intake = Intake::new(small());
    let origin = |n: usize| Origin::Sender(format!("sender-{n}").into());
    let inside = intake.admit(&origin(0), Some(64 * 1024)).await.unwrap();
    for n in 1..5_000 {
        assert!(intake.admit(&origin(n), Some(1)).await.is_some());
    }
    assert!(intake.origins_len() <= 1024, "{}", intake.origins_len());
    tokio::time::pause();
    let again = intake.admit(&origin(0), Some(1)).await;
    assert!(again.is_none(), "its share is still taken");
    drop(inside);
    assert!(intake.admit(&origin(0), Some(1)).await.is_some());
}
