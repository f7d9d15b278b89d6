#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::Router;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tower_service::Service as _;
use vigie_core::{
    digest::Digest,
    entry::Head,
    time::{Elapsed, Wall},
};
use vigie_decide::{
    fleet::{
        Delta, State as Fleet,
        state::{Key, Node, Sender},
    },
    rules::Rules,
    sender_alert::ALERTS_PATH,
};
use vigie_platform::clock::ManualClock;

use super::{
    desk::{KNOWN_MAX, REQUESTS_MAX},
    *,
};
use crate::{
    directory::Directory,
    engine::{
        Engine, Parts,
        fixture::{Silent, bare_ground},
    },
    identity::{Pki, authority::ServerNames},
    ingest::{authenticate::Credential, entries, metrics, router},
    latest::Latest,
    store::{CommitError, LineKey, LoadError, ReadError, Store},
};

/// 2026-11-22T19:00:00Z.
const NOW: Wall = Wall(1_795_374_000_000);
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// A store in memory whose disk can break.
#[derive(Default)]
struct Memory {
    state: Mutex<Fleet>,
    log: Mutex<Vec<String>>,
    is_broken: AtomicBool,
    commits: Mutex<usize>,
}

impl Store for Arc<Memory> {
    async fn load(&self) -> Result<Fleet, LoadError> {
        Ok(self.state.lock().unwrap().clone())
    }

    async fn commit(&self, delta: &Delta) -> Result<(), CommitError> {
        if self.is_broken.load(Relaxed) {
            return Err(CommitError::Full {
                path: "memory".into(),
                source: crate::store::DatabaseError::new(std::fmt::Error),
            });
        }
        *self.commits.lock().unwrap() += 1;
        let lines = delta.log.iter().map(|(_, line)| line.clone());
        self.log.lock().unwrap().extend(lines);
        self.state.lock().unwrap().merge(delta.clone());
        Ok(())
    }

    async fn stored_lines(&self, _: &[LineKey]) -> Result<HashSet<LineKey>, ReadError> {
        Ok(HashSet::new())
    }

    async fn log_lines(&self, _: u64, _: u32) -> Result<Vec<(u64, String)>, ReadError> {
        Ok(Vec::new())
    }

    async fn rules(&self, _: Digest) -> Result<Option<Rules>, ReadError> {
        Ok(None)
    }
}

/// A collector without its door, that knows the node `app-01` and the senders `prom`, `other` and `denied`.
struct House {
    _dir: TempDir,
    stop: watch::Sender<bool>,
    engine: Option<Engine<Arc<Memory>>>,
    store: Arc<Memory>,
    clock: Arc<ManualClock>,
    ingest: Arc<Ingest>,
    router: Router,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The text of an answer in the form of Alertmanager's errors.
    fn said(&self) -> String {
        self.json().as_str().unwrap().to_owned()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

fn key(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn credential(name: &str) -> Credential {
    Credential {
        key_sha256: key(name),
        serial: "01".to_owned(),
        not_before: NOW.plus_ms(-DAY_MS),
        not_after: NOW.plus_ms(29 * DAY_MS),
    }
}

fn node(name: &str) -> Peer {
    Peer::Node {
        name: name.parse().unwrap(),
        credential: credential(name),
    }
}

fn sender(name: &str) -> Peer {
    Peer::Sender {
        name: name.into(),
        credential: credential(name),
    }
}

fn expired(name: &str) -> Peer {
    let mut credential = credential(name);
    credential.not_after = NOW.plus_ms(-DAY_MS / 2);
    Peer::Sender {
        name: name.into(),
        credential,
    }
}

fn fleet() -> Fleet {
    let keys = |name: &str| {
        vec![Key {
            tls_key_sha256: key(name),
            not_after: NOW.plus_ms(29 * DAY_MS),
        }]
    };
    let mut fleet = Fleet::default();
    let row = Node {
        joined_at: NOW,
        head: Head::EMPTY,
        keys: keys("app-01"),
        signing_key: String::new(),
        settled: Default::default(),
        listed: Default::default(),
        dismissed: Default::default(),
        unheard: false,
        denied: false,
        rejoined: false,
    };
    fleet.nodes.insert("app-01".parse().unwrap(), row);
    for name in ["prom", "other", "denied"] {
        let row = Sender {
            joined_at: NOW,
            keys: keys(name),
            denied: name == "denied",
        };
        fleet.senders.insert(name.parse().unwrap(), row);
    }
    fleet
}

impl House {
    async fn open() -> Self {
        let mut house = Self::asleep();
        house.wake();
        house
    }

    /// Its engine does not run yet.
    fn asleep() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = ServerNames::parse(["vigie.example"]).unwrap();
        let pki = Pki::create(dir.path(), names, "vigie.example", NOW).unwrap();
        let clock = Arc::new(ManualClock::at(Now {
            wall: NOW,
            elapsed: Elapsed(1_000_000),
        }));
        let directory = Arc::new(Directory::default());
        let store = Arc::new(Memory::default());
        *store.state.lock().unwrap() = fleet();
        let (_, probes) = watch::channel(None);
        let (engine, handle, _) = Engine::new(Parts {
            store: Arc::clone(&store),
            state: fleet(),
            policy: bare_ground(),
            tzdata: String::new(),
            collector: "c".to_owned(),
            clock: Arc::clone(&clock) as _,
            notifier: Arc::new(Silent),
            directory: Arc::clone(&directory),
            health: Arc::default(),
            probes,
        });
        let ingest = Arc::new(Ingest {
            engine: handle,
            directory,
            pki: Arc::new(pki),
            collector_id: "c".to_owned(),
            clock: Arc::clone(&clock) as _,
            counters: Arc::default(),
            peer_limits: entries::PeerLimits::default(),
            latest: Arc::new(Latest::new(crate::latest::Limits::default())),
            samples: Arc::default(),
            intake: Arc::new(metrics::Intake::new(metrics::Limits::default())),
            alerts: Arc::new(AlertsBySender::new(NOW)),
        });
        Self {
            _dir: dir,
            stop: watch::channel(false).0,
            engine: Some(engine),
            store,
            clock,
            router: router(Arc::clone(&ingest)),
            ingest,
        }
    }

    fn wake(&mut self) {
        let engine = self.engine.take().unwrap();
        tokio::spawn(engine.run(self.stop.subscribe()));
    }

    async fn call(&self, peer: &Peer, method: Method, path: &str, body: Body) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Arc::new(peer.clone()));
        answer(self.router.clone().call(request).await.unwrap()).await
    }

    async fn get(&self, peer: &Peer, path: &str) -> Answer {
        self.call(peer, Method::GET, path, Body::empty()).await
    }

    async fn post(&self, peer: &Peer, alerts: &Value) -> Answer {
        let body = Body::from(alerts.to_string());
        self.call(peer, Method::POST, ALERTS_PATH, body).await
    }

    /// What the log holds of senders' alerts: `prom diskfull critical`.
    fn written(&self) -> Vec<String> {
        self.events()
            .iter()
            .map(|event| {
                let word = |value: &Value| value.as_str().unwrap().to_owned();
                let alert = &event["alert"];
                let words = [&event["sender"], &alert["name"], &alert["status"]];
                words.map(word).join(" ")
            })
            .collect()
    }

    fn events(&self) -> Vec<Value> {
        let log = self.store.log.lock().unwrap();
        log.iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
            .filter(|event| event["kind"] == "sender.alert")
            .collect()
    }

    fn counted(&self, sender: &str) -> [u64; 3] {
        let desk = self.ingest.alerts.of(&sender.parse().unwrap());
        desk.counters().results().map(|(_, count)| count)
    }

    fn passes(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(60 * minutes));
    }

    /// An alert that lasts since a minute before the beginning, as Prometheus would say it now.
    fn firing(&self, name: &str) -> Value {
        self.alert(name, 4 * MINUTE_MS)
    }

    /// One that ended just now.
    fn ended(&self, name: &str) -> Value {
        self.alert(name, 0)
    }

    fn alert(&self, name: &str, ends_in_ms: i64) -> Value {
        let now = self.ingest.clock.now().wall;
        json!({
            "labels": {"alertname": name, "severity": "critical", "job": "a"},
            "annotations": {"summary": "Mme Martin"},
            "startsAt": NOW.plus_ms(-MINUTE_MS),
            "endsAt": now.plus_ms(ends_in_ms),
            "generatorURL": "http://prom:9090",
        })
    }
}

async fn answer(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(text.into()).unwrap(),
    }
}

#[tokio::test]
async fn what_a_sender_posts_is_in_the_log_before_it_is_answered() {
    let house = House::open().await;
    let answer = house
        .post(&sender("prom"), &json!([house.firing("DiskFull")]))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.text, "");
    let events = house.events();
    let alert = &events[0]["alert"];
    assert_eq!(events[0]["sender"], "prom");
    assert_eq!(alert["name"], "diskfull");
    assert_eq!(alert["status"], "critical");
    assert_eq!(alert["good_for_ms"], 240_000);
    assert_eq!(alert["since"], NOW.plus_ms(-MINUTE_MS).to_string());
    let labels = json!({"alertname": "DiskFull", "job": "a", "severity": "critical"});
    assert_eq!(alert["labels"], labels);
    let log = house.store.log.lock().unwrap().join("\n");
    assert!(!log.contains("Martin"), "annotations are not kept");
    assert_eq!(house.counted("prom"), [1, 0, 0]);
}

#[tokio::test]
async fn only_a_sender_of_the_fleet_reaches_any_of_it() {
    let house = House::open().await;
    let strangers = [
        (node("app-01"), "peer.not_a_sender"),
        (Peer::None, "peer.not_a_sender"),
        (sender("app-01"), "sender.unknown"),
        (sender("nobody"), "sender.unknown"),
        (sender("denied"), "sender.denied"),
    ];
    for (peer, error) in &strangers {
        let answer = house.post(peer, &json!([house.firing("a")])).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.error(), *error);
        for path in [
            ALERTS_PATH,
            "/api/v2/status",
            "/api/v2/silences",
            "/api/v2/silence/1",
            "/-/healthy",
            "/-/ready",
        ] {
            let answer = house.get(peer, path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert_eq!(answer.error(), *error, "{path}");
        }
    }
    assert!(house.written().is_empty());
}

#[tokio::test]
async fn a_repeat_writes_no_line_and_news_do() {
    let house = House::open().await;
    let prom = sender("prom");
    for (minute, lines) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)] {
        assert_eq!(
            house.ingest.clock.now().wall,
            NOW.plus_ms(minute * MINUTE_MS)
        );
        let answer = house.post(&prom, &json!([house.firing("a")])).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(house.written().len(), lines, "minute {minute}");
        house.passes(1);
    }
    let over = json!([house.ended("a")]);
    for _ in 0..3 {
        house.post(&prom, &over).await;
        house.passes(1);
    }
    let written = ["prom a critical", "prom a critical", "prom a ok"];
    assert_eq!(house.written(), written);
    assert_eq!(house.counted("prom"), [3, 5, 0]);
    // It is on again.
    house.post(&prom, &json!([house.firing("a")])).await;
    assert_eq!(house.written().last().unwrap(), "prom a critical");
    assert_eq!(house.counted("prom"), [4, 5, 0]);
}

#[tokio::test]
async fn one_that_cannot_be_read_keeps_none_of_the_others_out() {
    let house = House::open().await;
    let alerts =
        json!([house.firing("a"), {"labels": {}}, {"labels": {"n": 5}}, house.firing("b")]);
    let answer = house.post(&sender("prom"), &alerts).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let said = answer.said();
    assert!(
        said.starts_with("2 refused, all others taken: [1]: "),
        "{said}"
    );
    assert!(
        said.contains("[2]: ") && said.contains("labels.n is not a text"),
        "{said}"
    );
    let mut written = house.written();
    written.sort();
    assert_eq!(written, ["prom a critical", "prom b critical"]);
    assert_eq!(house.counted("prom"), [2, 0, 2]);

    let many = vec![json!({}); 15];
    let said = house.post(&sender("prom"), &many.into()).await.said();
    assert!(
        said.starts_with("15 refused") && said.ends_with("; and 5 more"),
        "{said}"
    );
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_as_a_whole() {
    let house = House::open().await;
    let prom = sender("prom");
    let post = async |body: Body| house.call(&prom, Method::POST, ALERTS_PATH, body).await;
    let too_many = vec![house.firing("a"); ALERTS_MAX + 1];
    let too_long = format!("[{}]", " ".repeat(BODY_LEN_MAX));
    for (body, status, said) in [
        ("", 400, "no JSON array"),
        ("{}", 400, "no JSON array"),
        ("[{}", 400, "no JSON array"),
        (
            &json!(too_many).to_string(),
            400,
            "1001 alerts in one request",
        ),
        (&too_long, 413, "longer than 1048576 bytes"),
    ] {
        let answer = post(Body::from(body.to_owned())).await;
        assert_eq!(answer.status.as_u16(), status, "{said}");
        assert!(answer.said().contains(said), "{}", answer.text);
    }
    assert_eq!(post(Body::from(vec![b'[', b'"', 0xff])).await.status, 400);
    for (error, status) in [
        (axum::Error::new(BodyTimeout), 408),
        (axum::Error::new("cut"), 400),
    ] {
        let answer = post(Body::new(Broken(Some(error)))).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
    let request = Request::post(ALERTS_PATH).header("content-encoding", "gzip");
    let mut request = request.body(Body::from("[]")).unwrap();
    request.extensions_mut().insert(Arc::new(prom.clone()));
    let response = house.router.clone().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(house.written().is_empty());
    assert_eq!(post(Body::from("[]")).await.status, StatusCode::OK);
}

/// A body that ends in an error.
struct Broken(Option<axum::Error>);

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        std::task::Poll::Ready(self.0.take().map(Err))
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_not_answered_as_taken_and_comes_again() {
    let house = House::open().await;
    let prom = sender("prom");
    house.post(&prom, &json!([house.firing("before")])).await;
    house.store.is_broken.store(true, Relaxed);
    let alerts = json!([house.firing("before"), house.firing("a")]);
    for _ in 0..2 {
        let answer = house.post(&prom, &alerts).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    house.store.is_broken.store(false, Relaxed);
    let answer = house.post(&prom, &alerts).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(house.written(), ["prom before critical", "prom a critical"]);
    assert_eq!(house.counted("prom"), [2, 3, 0]);
}

#[tokio::test]
async fn a_thousand_alerts_of_one_request_take_few_commits() {
    let house = House::open().await;
    let alerts: Vec<Value> = (0..ALERTS_MAX)
        .map(|number| house.firing(&format!("a{number}")))
        .collect();
    let answer = house.post(&sender("prom"), &alerts.into()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(house.written().len(), ALERTS_MAX);
    let commits = *house.store.commits.lock().unwrap();
    assert!(commits <= 20, "{commits}");
}

#[tokio::test]
async fn the_same_alert_twice_in_one_request_stands_as_it_was_said_last() {
    let house = House::open().await;
    let alerts = json!([house.firing("a"), house.firing("b"), house.ended("a")]);
    let answer = house.post(&sender("prom"), &alerts).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut written = house.written();
    written.retain(|line| line.starts_with("prom a "));
    assert_eq!(written, ["prom a critical", "prom a ok"]);
    assert_eq!(house.counted("prom"), [3, 0, 0]);
    // Ended is what is remembered.
    house
        .post(&sender("prom"), &json!([house.ended("a")]))
        .await;
    assert_eq!(house.counted("prom"), [3, 1, 0]);
}

#[tokio::test]
async fn an_expired_certificate_opens_alerts_and_ends_none() {
    let house = House::open().await;
    house
        .post(&sender("prom"), &json!([house.firing("a")]))
        .await;
    let alerts = json!([house.ended("a"), house.firing("b")]);
    let answer = house.post(&expired("prom"), &alerts).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer
            .said()
            .contains("[0]: the sender's certificate has ended"),
        "{}",
        answer.text
    );
    assert_eq!(house.written(), ["prom a critical", "prom b critical"]);
    // Renewed, it says so once more, and is heard.
    house
        .post(&sender("prom"), &json!([house.ended("a")]))
        .await;
    assert_eq!(house.counted("prom"), [3, 0, 1]);

    house.ingest.directory.set_clock_in_doubt(true);
    let answer = house
        .post(&expired("prom"), &json!([house.ended("b")]))
        .await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "our own clock may be the wrong one"
    );
}

#[tokio::test]
async fn senders_see_and_end_only_what_they_opened() {
    let house = House::open().await;
    let (prom, other) = (sender("prom"), sender("other"));
    house
        .post(&prom, &json!([house.firing("a"), house.firing("b")]))
        .await;
    house.post(&other, &json!([house.firing("a")])).await;
    let names = async |peer: &Peer, query: &str| -> Vec<String> {
        let answer = house.get(peer, &format!("{ALERTS_PATH}{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let alerts = answer.json();
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = alerts.as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&prom, "").await, ["a", "b"]);
    assert_eq!(names(&prom, "?filter=alertname%3D%22b%22").await, ["b"]);
    assert_eq!(names(&other, "").await, ["a"]);

    house
        .post(&other, &json!([house.ended("a"), house.ended("b")]))
        .await;
    assert_eq!(names(&other, "").await, [""; 0]);
    assert_eq!(names(&prom, "").await, ["a", "b"]);
    house.post(&prom, &json!([house.ended("a")])).await;
    assert_eq!(names(&prom, "").await, ["b"]);

    let alert = &house.get(&prom, ALERTS_PATH).await.json()[0];
    assert_eq!(alert["startsAt"], NOW.plus_ms(-MINUTE_MS).to_string());
    assert_eq!(alert["endsAt"], NOW.plus_ms(4 * MINUTE_MS).to_string());
    assert_eq!(alert["updatedAt"], NOW.to_string());
    assert_eq!(alert["fingerprint"].as_str().unwrap().len(), 16);
    let refused = house.get(&prom, &format!("{ALERTS_PATH}?filter=a")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_amtool_asks_besides_is_answered() {
    let house = House::open().await;
    let prom = sender("prom");
    let status = house.get(&prom, "/api/v2/status").await;
    assert_eq!(status.status, StatusCode::OK);
    assert_eq!(
        status.json()["versionInfo"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(status.json()["uptime"], NOW.to_string());
    for (method, path) in [
        (Method::GET, "/api/v2/silences"),
        (Method::POST, "/api/v2/silences"),
        (Method::DELETE, "/api/v2/silence/5"),
    ] {
        let answer = house.call(&prom, method, path, Body::from("{}")).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED);
        assert!(
            answer.said().contains("vigie-collector silence"),
            "{}",
            answer.text
        );
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(house.get(&prom, path).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_sender_has_so_many_requests_under_way_and_no_more() {
    let house = House::open().await;
    let prom = sender("prom");
    let desk = house.ingest.alerts.of(&"prom".parse().unwrap());
    let turn = desk.turn().await;
    let mut waiting = JoinSet::new();
    for number in 0..REQUESTS_MAX {
        let alerts = json!([house.firing(&format!("a{number}"))]);
        let mut request = Request::post(ALERTS_PATH)
            .body(Body::from(alerts.to_string()))
            .unwrap();
        request.extensions_mut().insert(Arc::new(prom.clone()));
        let mut router = house.router.clone();
        waiting.spawn(async move { answer(router.call(request).await.unwrap()).await });
    }
    while desk.place().is_some() {
        tokio::task::yield_now().await;
    }
    let refused = house.post(&prom, &json!([house.firing("late")])).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["retry-after"], "2");
    // Another one's are another matter.
    let answer = house
        .post(&sender("other"), &json!([house.firing("a")]))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    drop(turn);
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap().status, StatusCode::OK);
    }
    assert_eq!(house.counted("prom"), [REQUESTS_MAX as u64, 0, 0]);
}

#[tokio::test]
async fn a_request_that_was_given_up_counts_as_not_written() {
    let mut house = House::asleep();
    let prom = sender("prom");
    let over = json!([house.ended("a")]);
    {
        let alerts = json!([house.firing("a")]);
        let mut call = std::pin::pin!(house.post(&prom, &alerts));
        // Until it waits for the engine, which does not run: then its sender hangs up.
        for _ in 0..10 {
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            assert!(call.as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert!(
        house
            .ingest
            .alerts
            .of(&"prom".parse().unwrap())
            .place()
            .is_some()
    );
    house.wake();
    house.post(&prom, &over).await;
    house.post(&prom, &over).await;
    assert_eq!(house.counted("prom"), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_answered_before_it_gives_up_even_if_nothing_can_be_written() {
    let house = House::asleep();
    let (prom, began) = (sender("prom"), tokio::time::Instant::now());
    let alerts: Vec<Value> = (0..ALERTS_MAX)
        .map(|number| house.firing(&format!("a{number}")))
        .collect();
    let alerts = json!(alerts);
    let answers = tokio::join!(house.post(&prom, &alerts), house.post(&prom, &alerts));
    for answer in [answers.0, answers.1] {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn after_a_start_everything_is_written_once_more() {
    let house = House::open().await;
    let prom = sender("prom");
    let alerts = json!([house.firing("a")]);
    house.post(&prom, &alerts).await;
    house.post(&prom, &alerts).await;
    assert_eq!(house.written().len(), 1);
    // As after a start, and when a sender left and came back.
    house.ingest.alerts.keep(|_| false);
    house.post(&prom, &alerts).await;
    assert_eq!(house.written().len(), 2);
}

#[test]
fn a_desk_has_room_for_what_lasts_and_forgets_what_is_over() {
    let desk = AlertsBySender::new(NOW).of(&"prom".parse().unwrap());
    let hear = |number: usize, ends_in_ms: i64, elapsed: Elapsed| {
        let json = json!({
            "labels": {"alertname": number.to_string()},
            "startsAt": NOW.plus_ms(-MINUTE_MS),
            "endsAt": NOW.plus_ms(ends_in_ms),
        });
        let posted = Posted::read(&json.to_string()).unwrap();
        let alert = posted.judged(NOW, None);
        let fingerprint = posted.fingerprint();
        let heard = desk.hears(&fingerprint, &alert, posted.span, elapsed);
        if heard == Heard::News {
            desk.written(fingerprint, &alert, posted.span, elapsed);
        }
        heard
    };
    let start = Elapsed(1_000_000);
    for number in 0..KNOWN_MAX {
        let is_over = number >= KNOWN_MAX - 10;
        let ends_in_ms = if is_over { 0 } else { 60 * MINUTE_MS };
        assert_eq!(hear(number, ends_in_ms, start), Heard::News);
    }
    assert_eq!(hear(0, 60 * MINUTE_MS, start), Heard::Known);
    assert_eq!(hear(KNOWN_MAX, 60 * MINUTE_MS, start), Heard::Full);
    desk.make_room(1, start);
    for number in 0..10 {
        assert_eq!(hear(KNOWN_MAX + number, 60 * MINUTE_MS, start), Heard::News);
    }
    assert_eq!(hear(KNOWN_MAX + 10, 60 * MINUTE_MS, start), Heard::Full);
    // Long after: nobody repeats any of them.
    desk.make_room(1, start.plus_ms(2 * 3_600_000));
    assert_eq!(hear(0, 60 * MINUTE_MS, start), Heard::News);
}
