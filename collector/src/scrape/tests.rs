#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tower_service::Service as _;
use vigie_core::{
    entry::Head,
    remote_write::{Decoder, Limits as RequestLimits, Sample, Version, v1},
    time::Now,
};
use vigie_decide::fleet::{
    State as FleetState,
    state::{Node, Sender},
};
use vigie_platform::clock::ManualClock;

use super::*;
use crate::{
    engine::{
        Engine, Parts,
        fixture::{Silent, bare_ground},
    },
    latest::Limits,
    store::SqliteStore,
};

const NOW: Now = Now {
    wall: vigie_core::time::Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(&name, value.parse().unwrap());
    }
    headers
}

fn fleet() -> Fleet {
    let nodes = [("app-02", false), ("app-01", true)].into_iter();
    Fleet {
        nodes: nodes
            .map(|(name, is_up)| (name.to_owned(), is_up))
            .collect(),
        senders: vec!["prometheus".to_owned()],
    }
}

fn take_in(latest: &Latest, origin: &Origin, said: &[(&str, &str)], value: f64) {
    let mut labels = Vec::new();
    v1::write_labels(said.iter().copied(), &mut labels);
    let mut body = Vec::new();
    let sample = Sample {
        value,
        timestamp_ms: NOW.wall.0,
    };
    v1::write_series(&labels, sample, &mut body);
    let mut decoder = Decoder::default();
    let batch = decoder
        .decode(Version::V1, &body, &RequestLimits::default())
        .unwrap();
    assert_eq!(latest.apply(origin, &batch, NOW).written, 1);
}

#[test]
fn gzip_is_used_where_it_is_taken_no_less_gladly_than_plain_text() {
    let takes = |values: &[&str]| takes_gzip(&headers(header::ACCEPT_ENCODING, values));
    for yes in [
        &["gzip"][..],
        &["GZIP"],
        &["x-gzip;q=0.5"],
        &["deflate, gzip;q=1.0, *;q=0.5"],
        &["br", "gzip; q=0.2"],
        &["*"],
        &["identity;q=0.5, gzip"],
    ] {
        assert!(takes(yes), "{yes:?}");
    }
    for no in [
        &[][..],
        &[""],
        &["identity"],
        &["gzip;q=0"],
        &["gzip;q=0.000"],
        &["gzip;q=x"],
        &["*;q=0"],
        &["*, gzip;q=0"],
        &["gzip;q=0.1, identity;q=0.9"],
        &["br"],
    ] {
        assert!(!takes(no), "{no:?}");
    }
}

#[test]
fn what_is_compressed_reads_back() {
    let page = "vigie_node_up 1\n".repeat(1000);
    let packed = gzip(page.as_bytes()).unwrap();
    assert!(packed.len() < page.len() / 10);
    let mut back = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut back)
        .unwrap();
    assert_eq!(back, page);
}

#[test]
fn targets_are_where_the_client_asked() {
    let listen = "127.0.0.1:9477".parse().unwrap();
    let asked = |hosts: &[&str]| asked_address(&headers(header::HOST, hosts), listen);
    assert_eq!(asked(&["collector.example:9477"]), "collector.example:9477");
    assert_eq!(asked(&["[::1]:9477"]), "[::1]:9477");
    for strange in [&[][..], &[""], &["a/b"], &["user@host"]] {
        assert_eq!(asked(strange), "127.0.0.1:9477", "{strange:?}");
    }
    let list = target_list(&fleet(), "c:9477");
    assert_eq!(
        list,
        json!([
            { "targets": ["c:9477"],
              "labels": { "__metrics_path__": "/metrics", "__meta_vigie_collector": "true" } },
            { "targets": ["c:9477"],
              "labels": { "__metrics_path__": "/nodes/app-01/metrics", "instance": "app-01",
                          "__meta_vigie_node": "app-01" } },
            { "targets": ["c:9477"],
              "labels": { "__metrics_path__": "/nodes/app-02/metrics", "instance": "app-02",
                          "__meta_vigie_node": "app-02" } },
            { "targets": ["c:9477"],
              "labels": { "__metrics_path__": "/senders/prometheus/metrics",
                          "instance": "sender/prometheus", "__meta_vigie_sender": "prometheus" } },
        ])
    );
}

#[test]
fn a_silent_node_keeps_only_that_it_is_not_up() {
    let latest = Latest::new(Limits::default());
    let name: NodeName = "app-01".parse().unwrap();
    let said = [("__name__", "vigie_check_status"), ("check", "a")];
    take_in(&latest, &Origin::Node(name.clone()), &said, 2.0);
    let page = |is_up| {
        let page = node_page(&latest, name.clone(), is_up, NOW);
        let page = String::from_utf8(page).unwrap();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        page(true),
        [
            r#"vigie_node_up{node="app-01"} 1"#,
            r#"vigie_check_status{node="app-01",check="a"} 2"#
        ]
    );
    assert_eq!(page(false), [r#"vigie_node_up{node="app-01"} 0"#]);
}

/// What `promtool check metrics` says about a page.
pub(crate) fn promtool_on(page: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by packaging/install-test-packages.sh");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(said).unwrap()
}

#[test]
fn promtool_finds_nothing_in_the_metrics_of_the_lane() {
    let samples = ingest::metrics::Counters::default();
    let page = metrics::lane_text(&samples, &Latest::new(Limits::default())).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert_eq!(promtool_on(&page), "", "{page}");
    assert!(page.contains("vigie_samples_refused_total{reason=\"too_old\"} 0\n"));
    assert!(page.contains("vigie_series{origin=\"node\"} 0\n"));
}

/// A port with an engine behind it that knows the node `app-01`, never heard, and the sender `prometheus`.
struct Port {
    _dir: tempfile::TempDir,
    _stop: watch::Sender<bool>,
    latest: Arc<Latest>,
    router: Router,
}

impl Port {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut state = FleetState::default();
        state.nodes.insert(
            "app-01".parse().unwrap(),
            Node {
                joined_at: NOW.wall,
                head: Head::EMPTY,
                keys: Vec::new(),
                signing_key: String::new(),
                settled: Default::default(),
                listed: Default::default(),
                dismissed: Default::default(),
                unheard: false,
                denied: false,
                rejoined: false,
            },
        );
        state.senders.insert(
            "prometheus".parse().unwrap(),
            Sender {
                joined_at: NOW.wall,
                keys: Vec::new(),
                denied: false,
            },
        );
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
        let (_, probes) = watch::channel(None);
        let (engine, handle, engine_counters) = Engine::new(Parts {
            store: SqliteStore::open(dir.path()).await.unwrap(),
            state,
            policy: bare_ground(),
            tzdata: String::new(),
            collector: "c".to_owned(),
            clock: Arc::clone(&clock),
            notifier: Arc::new(Silent),
            directory: Arc::default(),
            health: Arc::default(),
            probes,
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(engine.run(stopped));
        let sources = Arc::new(Sources {
            engine: handle,
            engine_counters,
            requests: Arc::default(),
            door: Arc::default(),
            reloads_failed: Arc::default(),
            deliveries: Arc::default(),
            alerts: Arc::new(ingest::alerts::AlertsBySender::new(vigie_core::time::Wall(
                0,
            ))),
            outside_watch: Arc::default(),
        });
        let latest = Arc::new(Latest::new(Limits::default()));
        let listen = "127.0.0.1:9477".parse().unwrap();
        let pages = Pages::new(sources, Arc::clone(&latest), Arc::default(), clock, listen);
        Self {
            _dir: dir,
            _stop: stop,
            latest,
            router: router(Arc::new(pages)),
        }
    }

    async fn read(&mut self, path: &str, encoding: &str) -> (http::response::Parts, Vec<u8>) {
        let request = Request::get(path)
            .header(header::HOST, "collector.example:9477")
            .header(header::ACCEPT_ENCODING, encoding)
            .body(Body::empty())
            .unwrap();
        let response = self.router.call(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head, body.collect().await.unwrap().to_bytes().to_vec())
    }
}

#[tokio::test]
async fn pages_are_served_to_those_who_are_known() {
    let mut port = Port::open().await;
    let node = Origin::Node("app-01".parse().unwrap());
    let sender = Origin::Sender("prometheus".into());
    take_in(&port.latest, &node, &[("__name__", "up")], 1.0);
    take_in(&port.latest, &sender, &[("__name__", "up")], 1.0);

    let (head, page) = port.read("/nodes/app-01/metrics", "identity").await;
    let page = String::from_utf8(page).unwrap();
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.headers[header::CONTENT_TYPE], TEXT);
    assert_eq!(head.headers[header::VARY], "accept-encoding");
    assert_eq!(
        page.lines().last(),
        Some(r#"vigie_node_up{node="app-01"} 0"#),
        "never heard since the start"
    );
    assert_eq!(promtool_on(&page), "");

    let (_, page) = port.read("/senders/prometheus/metrics", "").await;
    let page = String::from_utf8(page).unwrap();
    assert_eq!(page.lines().last(), Some(r#"up{sender="prometheus"} 1"#));

    for strange in [
        "/nodes/app-02/metrics",
        "/nodes/prometheus/metrics",
        "/nodes/%00/metrics",
        "/senders/app-01/metrics",
        "/",
    ] {
        let (head, _) = port.read(strange, "").await;
        assert_eq!(head.status, StatusCode::NOT_FOUND, "{strange}");
    }
    let (head, list) = port.read("/sd", "").await;
    assert_eq!(head.headers[header::CONTENT_TYPE], "application/json");
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(list[0]["targets"][0], "collector.example:9477");
}

#[tokio::test]
async fn promtool_finds_nothing_in_the_collectors_own_metrics() {
    let mut port = Port::open().await;
    let (head, packed) = port.read("/metrics", "gzip").await;
    assert_eq!(head.headers[header::CONTENT_ENCODING], "gzip");
    let mut page = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut page)
        .unwrap();
    assert_eq!(promtool_on(&page), "", "{page}");
    assert!(page.contains("vigie_node_up{node=\"app-01\"} 0\n"));
    assert!(page.contains("vigie_samples_written_total 0\n"));
}
