//! Samples made to hurt: does the collector say what they are, stay as small as it was, and serve everybody else?
//!
//! A body that arrives a byte at a time is not here: the door waits half a minute for it, which is what
//! `half_requests_slow_bodies_and_noise_hold_up_nobody_else_and_are_counted` waits for, and what becomes of its room is
//! shown with a clock of its own beside the route. That a NaN keeps all its bits can only be seen inside the collector,
//! and is shown there too.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::task::JoinHandle;
use vigie_core::{
    remote_write::{STALE_NAN_BITS, Sample, Version, v1},
    status::Status,
    time::Wall,
};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{Collector, HandAgent, Written, value_in};

use crate::fleet::{fleet, hand_agent};

/// Times that each bomb is thrown.
const THROWS: usize = 12;

/// How much more the collector may hold after all of it, in KiB. A single bomb that went off would take more.
const GROWTH_MAX_KIB: u64 = 24 * 1_024;

/// New series of one node, and how many a request brings: a million, which an hour would see at 280 a second, as fast as
/// they are taken.
const FLOOD: usize = 1_000_000;
const FLOOD_AT_ONCE: usize = 10_000;

/// Series that a node may have.
const NODE_SERIES: usize = 10_000;

/// Distinct label names that a node may have, and more than that.
const LABEL_NAMES: usize = 500;
const TOO_MANY_NAMES: usize = 2_000;

const MIB: usize = 1024 * 1024;

fn now() -> Wall {
    SystemClock.wall()
}

/// One series of remote write 1.0, appended to a request, with a sample of now.
fn add(request: &mut Vec<u8>, labels: &[(&str, &str)], value: f64) {
    add_at(now(), request, labels, value);
}

fn add_at(at: Wall, request: &mut Vec<u8>, labels: &[(&str, &str)], value: f64) {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    let mut encoded = Vec::new();
    v1::write_labels(sorted, &mut encoded);
    let sample = Sample {
        value,
        timestamp_ms: at.0,
    };
    v1::write_series(&encoded, sample, request);
}

/// Protobuf's variable-length integer.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A length-delimited field.
fn field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A request of remote write 2.0 with these symbols, and series with these references to them and one sample each.
fn v2(symbols: &[&str], series: &[Vec<u64>]) -> Vec<u8> {
    let mut request = Vec::new();
    for symbol in symbols {
        field(4, symbol.as_bytes(), &mut request);
    }
    let mut sample = vec![0x09];
    sample.extend_from_slice(&1_f64.to_le_bytes());
    sample.push(0x10);
    varint(u64::try_from(now().0).expect("after 1970"), &mut sample);
    for references in series {
        let mut packed = Vec::new();
        for reference in references {
            varint(*reference, &mut packed);
        }
        let mut one = Vec::new();
        field(1, &packed, &mut one);
        field(2, &sample, &mut one);
        field(5, &one, &mut request);
    }
    request
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(body)
        .expect("bodies of scenarios are short")
}

/// A body that is to hurt, and what it is to be answered.
struct Bomb {
    what: &'static str,
    version: Version,
    body: Vec<u8>,
    status: u16,
}

fn bombs() -> Vec<Bomb> {
    let long = "x".repeat(MIB);
    let mut lying = Vec::new();
    varint(u64::from(u32::MAX), &mut lying);
    lying.extend_from_slice(b"\x04tiny");
    let mut boasting = Vec::new();
    varint(32 * MIB as u64, &mut boasting);
    boasting.extend_from_slice(b"\x04tiny");
    // Each reference stands for a mebibyte: all of them for a tebibyte.
    let million = vec![vec![1; MIB]];
    // The same in series that have no more labels than they may.
    let mut thousands = vec![vec![0; 120]; 8_000];
    for (n, references) in thousands.iter_mut().enumerate() {
        for (place, reference) in references.iter_mut().enumerate() {
            *reference = if place == 0 { 2 } else { 1 + (n % 2) as u64 };
        }
    }
    // References to symbols that are not there.
    let astray = vec![vec![2, 7, u64::from(u32::MAX), 9]; 1_000];
    let one = |what, version, body, status| Bomb {
        what,
        version,
        body,
        status,
    };
    vec![
        one("four gigabytes, it says", Version::V1, lying, 413),
        one("more than its bytes can hold", Version::V1, boasting, 400),
        one(
            "32 MiB of nothing",
            Version::V1,
            snappy(&vec![0; 32 * MIB]),
            400,
        ),
        one("longer than any body", Version::V1, vec![0; 5 * MIB], 413),
        one(
            "not packed at all",
            Version::V1,
            b"{\"streams\":[]}".to_vec(),
            400,
        ),
        one("packed noise", Version::V1, snappy(&[0xff; 4_096]), 400),
        one(
            "a million references to a mebibyte",
            Version::V2,
            snappy(&v2(&["", &long, "__name__"], &million)),
            413,
        ),
        one(
            "thousands of series of long labels",
            Version::V2,
            snappy(&v2(&["", &long, "__name__"], &thousands)),
            400,
        ),
        one(
            "references to nothing",
            Version::V2,
            snappy(&v2(&["", &long, "__name__"], &astray)),
            400,
        ),
    ]
}

/// Posts a packed body as `version`.
async fn post(agent: &HandAgent, version: Version, body: Vec<u8>) -> Option<Written> {
    let headers = [
        ("content-encoding", "snappy"),
        ("content-type", version.content_type()),
        ("x-prometheus-remote-write-version", version.header()),
    ];
    agent.post_samples(&headers, body).await.ok()
}

/// A node that writes and hands in, one after the other, until it is told to stop. Returns it, and how often.
fn keeps_on(mut agent: HandAgent, stop: &Arc<AtomicBool>) -> JoinHandle<(HandAgent, u32)> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut turns = 0;
        while !stop.load(SeqCst) {
            turns += 1;
            let mut request = Vec::new();
            add(&mut request, &[("__name__", "turns")], f64::from(turns));
            let answer = agent
                .write_samples(Version::V1, &request)
                .await
                .expect("the others are answered");
            assert_eq!(answer.status, 204, "{answer:?}");
            let line = agent.finds("portail", None, Status::Ok);
            let answer = agent.hand_in(&[line]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        (agent, turns)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bomb_is_told_what_it_is_and_costs_neither_memory_nor_anybody_elses_time() {
    let collector = Collector::with(fleet(&["app-01", "app-02"])).start().await;
    let bad = hand_agent(&collector, "app-01", &["portail"]).await;
    let good = hand_agent(&collector, "app-02", &["portail"]).await;
    let mut request = Vec::new();
    add(&mut request, &[("__name__", "first")], 1.0);
    let answer = bad.write_samples(Version::V1, &request).await;
    assert_eq!(answer.expect("it is answered").status, 204);
    let before = collector.program().memory();

    let stop = Arc::new(AtomicBool::new(false));
    let others = keeps_on(good, &stop);
    let bombs = bombs();
    for _ in 0..THROWS {
        for bomb in &bombs {
            let what = bomb.what;
            let mut answer = post(&bad, bomb.version, bomb.body.clone()).await;
            if answer.is_none() && bomb.status != 413 {
                // The body before it was cut off, and the connection with it: whoever sends tries again on a new one.
                answer = post(&bad, bomb.version, bomb.body.clone()).await;
            }
            // One that is too long for anybody may be cut off before its answer can be read.
            let Some(answer) = answer else {
                assert_eq!(bomb.status, 413, "{what} is not answered");
                continue;
            };
            assert_eq!(answer.status, bomb.status, "{what}: {}", answer.text);
            assert!(!answer.text.is_empty(), "{what}: it says why");
            if bomb.version == Version::V2 {
                assert_eq!(answer.count("samples"), Some(0), "{what}");
            }
        }
    }
    for (encoding, content_type) in [
        ("gzip", "application/x-protobuf"),
        ("identity", "application/x-protobuf"),
        ("snappy", "application/json"),
        (
            "snappy",
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
        ),
    ] {
        let headers = [
            ("content-encoding", encoding),
            ("content-type", content_type),
        ];
        let answer = bad.post_samples(&headers, snappy(&request)).await;
        let answer = answer.expect("it is answered");
        assert_eq!(
            answer.status, 415,
            "{encoding} {content_type}: {}",
            answer.text
        );
    }
    stop.store(true, SeqCst);
    let (good, turns) = others.await.expect("the others are served");
    let after = collector.program().memory();
    println!("memory before {before:?}, after {after:?}; others had {turns} turns");
    assert!(
        after.rss_anon_kib <= before.rss_anon_kib + GROWTH_MAX_KIB,
        "before {before:?}, after {after:?}"
    );
    assert!(turns > 10, "{turns}");

    assert_eq!(good.hand_in(&[]).await.status, 200);
    let page = collector
        .page("/nodes/app-02/metrics")
        .await
        .expect("the collector answers");
    let shown = value_in(&page, "turns{node=\"app-02\"}");
    assert_eq!(shown, Some(f64::from(turns)), "{page}");
    let page = collector
        .page("/nodes/app-01/metrics")
        .await
        .expect("the collector answers");
    let series: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        series,
        [
            "vigie_node_up{node=\"app-01\"} 1",
            "first{node=\"app-01\"} 1"
        ],
        "nothing of a bomb is kept"
    );
    for (result, least) in [("too_large", 2), ("malformed", 4), ("unsupported", 4)] {
        let series = format!("vigie_samples_requests_total{{result=\"{result}\"}}");
        let count = collector.metric(&series).await;
        assert!(count >= f64::from(least), "{result}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_new_series_and_label_names_ends_at_its_senders_own_limit() {
    let collector = Collector::with(fleet(&["app-01", "app-02", "app-03"]))
        .start()
        .await;
    let bad = hand_agent(&collector, "app-01", &["portail"]).await;
    let naming = hand_agent(&collector, "app-03", &["portail"]).await;
    let good = hand_agent(&collector, "app-02", &["portail"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let others = keeps_on(good, &stop);

    let numbered = |first: usize, value: f64| {
        let mut request = Vec::new();
        for n in first..first + FLOOD_AT_ONCE {
            let n = n.to_string();
            add(&mut request, &[("__name__", "flood"), ("n", &n)], value);
        }
        request
    };
    let mut at_limit = None;
    for first in (0..FLOOD).step_by(FLOOD_AT_ONCE) {
        let answer = bad
            .write_samples(Version::V1, &numbered(first, 1.0))
            .await
            .expect("it is answered");
        if first < NODE_SERIES {
            assert_eq!(answer.status, 204, "{}", answer.text);
            continue;
        }
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains("series_max"), "{}", answer.text);
        let memory = collector.program().memory();
        at_limit.get_or_insert(memory);
    }
    let at_limit = at_limit.expect("the flood is higher than the limit");
    let after = collector.program().memory();
    println!("memory at the limit {at_limit:?}, after {after:?}");
    assert!(
        after.rss_anon_kib <= at_limit.rss_anon_kib + GROWTH_MAX_KIB,
        "at the limit {at_limit:?}, after {after:?}"
    );
    let refused = |reason: &str| {
        let series = format!("vigie_samples_refused_total{{reason=\"{reason}\"}}");
        let collector = &collector;
        async move { collector.metric(&series).await }
    };
    #[expect(clippy::cast_precision_loss, reason = "they are thousands")]
    let too_many = (FLOOD - NODE_SERIES) as f64;
    assert_eq!(refused("series_max").await, too_many);

    // Those that it has go on.
    let answer = bad.write_samples(Version::V1, &numbered(0, 2.0)).await;
    assert_eq!(answer.expect("it is answered").status, 204);
    assert_eq!(bad.hand_in(&[]).await.status, 200);
    let page = collector.page("/nodes/app-01/metrics").await;
    let page = page.expect("the collector answers");
    let shown = page.lines().filter(|line| line.starts_with("flood{"));
    assert_eq!(shown.count(), NODE_SERIES);
    assert!(page.contains("flood{node=\"app-01\",n=\"0\"} 2\n"));

    // Another one invents names of labels.
    let mut request = Vec::new();
    for n in 0..TOO_MANY_NAMES {
        let name = format!("name_{n}");
        add(&mut request, &[("__name__", "named"), (&name, "x")], 1.0);
    }
    let answer = naming.write_samples(Version::V1, &request).await;
    let answer = answer.expect("it is answered");
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("label_names_max"), "{}", answer.text);
    let new_names = refused("label_names_max").await;
    #[expect(clippy::cast_precision_loss, reason = "they are hundreds")]
    let least = (TOO_MANY_NAMES - LABEL_NAMES) as f64;
    assert!(new_names >= least, "{new_names}");

    stop.store(true, SeqCst);
    let (good, turns) = others.await.expect("the others are served");
    assert!(turns > 10, "{turns}");
    assert_eq!(good.hand_in(&[]).await.status, 200);
    let page = collector.page("/nodes/app-02/metrics").await;
    let page = page.expect("the collector answers");
    let shown = value_in(&page, "turns{node=\"app-02\"}");
    assert_eq!(shown, Some(f64::from(turns)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nan_ends_a_series_and_all_others_are_values() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let agent = hand_agent(&collector, "app-01", &["portail"]).await;
    // Quiet and signalling, of either sign, with and without a payload; one bit beside the one that means an end.
    let values = [
        0x7ff8_0000_0000_0000,
        0xfff8_0000_0000_0000,
        0x7ff8_dead_beef_0001,
        0x7ff0_0000_0000_0001,
        0x7ff0_0000_0000_0003,
        0xfff0_0000_0000_0002,
    ];
    let began = now();
    // Each at a time of its own: an end is final for its millisecond.
    let writes = async |second: i64, bits: &[u64]| {
        let mut request = Vec::new();
        for (n, bits) in bits.iter().enumerate() {
            let n = n.to_string();
            let labels = [("__name__", "odd"), ("n", &*n)];
            let at = Wall(began.0 + 1_000 * second);
            add_at(at, &mut request, &labels, f64::from_bits(*bits));
        }
        let answer = agent.write_samples(Version::V1, &request).await;
        assert_eq!(answer.expect("it is answered").status, 204);
        let page = collector.page("/nodes/app-01/metrics").await;
        let page = page.expect("the collector answers");
        let lines = page.lines().filter(|line| line.starts_with("odd{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = writes(0, &values).await;
    assert_eq!(shown.len(), values.len(), "{shown:?}");
    assert!(shown.iter().all(|line| line.ends_with(" NaN")), "{shown:?}");
    let gone = writes(1, &[STALE_NAN_BITS; 6]).await;
    assert_eq!(gone.len(), 0, "{gone:?}");
    let back = writes(2, &values).await;
    assert_eq!(back.len(), values.len(), "{back:?}");
}
