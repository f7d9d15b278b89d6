//! What the tests of this route share: a collector without its door, and requests written by hand.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::Router;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tower_service::Service as _;
use vigie_core::{
    digest::Digest,
    entry::Head,
    id::NodeName,
    remote_write::{Sample, WRITE_PATH, v1},
    time::{Elapsed, Wall},
};
use vigie_decide::fleet::{
    State as Fleet,
    state::{Key, Node, Sender},
};
use vigie_platform::clock::ManualClock;

use super::*;
use crate::{
    directory::Directory,
    engine::{
        Engine, Parts,
        fixture::{Silent, bare_ground},
    },
    identity::{Pki, authority::ServerNames},
    ingest::{authenticate::Credential, router},
    store::SqliteStore,
};

/// The moment at which all tests begin.
pub(super) const NOW: Wall = Wall(1_795_374_000_000);
const DAY_MS: i64 = 86_400_000;

/// A collector that knows the nodes `app-01` and `app-02`, the sender `prom`, and one of each that is denied.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) ingest: Arc<Ingest>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) engine: Option<Engine<SqliteStore>>,
    router: Router,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// What the headers say was written: samples, histograms, exemplars. `None` without any of them.
    pub(super) fn written(&self) -> Option<[u64; 3]> {
        let all = [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN];
        let present = all.iter().filter(|name| self.headers.contains_key(*name));
        if present.count() == 0 {
            return None;
        }
        Some(all.map(|name| self.headers[name].to_str().unwrap().parse().unwrap()))
    }

    /// The code of a refusal that is an `ErrorBody`.
    pub(super) fn error(&self) -> String {
        let body: vigie_core::wire::ErrorBody = serde_json::from_str(&self.text).unwrap();
        body.error
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

/// A node whose key is the one the fleet knows.
pub(super) fn node(name: &str) -> Peer {
    Peer::Node {
        name: name.parse().unwrap(),
        credential: credential(name),
    }
}

/// A sender whose key is the one the fleet knows.
pub(super) fn sender(name: &str) -> Peer {
    Peer::Sender {
        name: name.into(),
        credential: credential(name),
    }
}

/// The same with other dates or another key.
pub(super) fn with(mut peer: Peer, change: impl FnOnce(&mut Credential)) -> Peer {
    match &mut peer {
        Peer::Node { credential, .. } | Peer::Sender { credential, .. } => change(credential),
        Peer::None => {}
    }
    peer
}

pub(super) fn origin(peer: &Peer) -> Origin {
    match peer {
        Peer::Node { name, .. } => Origin::Node(name.clone()),
        Peer::Sender { name, .. } => Origin::Sender(name.clone()),
        Peer::None => panic!("nobody"),
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
    for (name, denied) in [("app-01", false), ("app-02", false), ("denied-01", true)] {
        let row = Node {
            joined_at: NOW,
            head: Head::EMPTY,
            keys: keys(name),
            signing_key: String::new(),
            settled: Default::default(),
            listed: Default::default(),
            dismissed: Default::default(),
            denied,
            rejoined: false,
            unheard: false,
        };
        fleet.nodes.insert(name.parse::<NodeName>().unwrap(), row);
    }
    for (name, denied) in [("prom", false), ("denied-prom", true)] {
        let row = Sender {
            joined_at: NOW,
            keys: keys(name),
            denied,
        };
        fleet.senders.insert(name.parse().unwrap(), row);
    }
    fleet
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(super) async fn with_limits(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = ServerNames::parse(["vigie.example"]).unwrap();
        let pki = Pki::create(dir.path(), names, "vigie.example", NOW).unwrap();
        let clock = Arc::new(ManualClock::at(Now {
            wall: NOW,
            elapsed: Elapsed(1_000_000),
        }));
        let directory = Arc::new(Directory::default());
        let (_, probes) = watch::channel(None);
        let (engine, handle, _) = Engine::new(Parts {
            store: SqliteStore::open(dir.path()).await.unwrap(),
            state: Fleet::default(),
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
            latest: Arc::new(crate::latest::Latest::new(crate::latest::Limits::default())),
            samples: Arc::default(),
            intake: Arc::new(Intake::new(limits)),
            alerts: Arc::new(crate::ingest::alerts::AlertsBySender::new(NOW)),
        });
        let bench = Self {
            dir,
            router: router(Arc::clone(&ingest)),
            ingest,
            clock,
            engine: Some(engine),
        };
        bench.know_the_fleet();
        bench
    }

    /// Tells the directory who is in the fleet, as the engine does after its first commit.
    pub(super) fn know_the_fleet(&self) {
        self.ingest.directory.replace_all(&fleet());
    }

    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends a request as `peer`.
    pub(super) async fn call(&self, peer: &Peer, mut request: Request) -> Answer {
        request.extensions_mut().insert(Arc::new(peer.clone()));
        let response = self.router.clone().call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
        }
    }

    /// Packs a message and sends it with a right head.
    pub(super) async fn write(&self, peer: &Peer, version: Version, message: &[u8]) -> Answer {
        self.call(peer, request(version, packed(message))).await
    }

    /// The newest sample of a series of `peer`.
    pub(super) fn value(&self, peer: &Peer, labels: &[(&str, &str)]) -> Option<Sample> {
        self.ingest.latest.value(&origin(peer), labels)
    }

    /// A sample of now.
    pub(super) fn sample(&self, value: f64) -> Sample {
        Sample {
            value,
            timestamp_ms: self.ingest.clock.wall().0,
        }
    }

    /// How many requests ended so.
    pub(super) fn requests(&self, result: &str) -> u64 {
        count(self.ingest.samples.requests(), result)
    }

    /// How many samples were refused for this.
    pub(super) fn refused(&self, reason: &str) -> u64 {
        count(self.ingest.samples.refused(), reason)
    }

    /// Whether all the room for bodies is free again.
    pub(super) fn is_idle(&self) -> bool {
        let intake = &self.ingest.intake;
        intake.free_len() == intake.limits().in_flight_len_max
    }
}

fn count<'c>(mut counters: impl Iterator<Item = (&'static str, &'c AtomicU64)>, name: &str) -> u64 {
    let (_, counter) = counters.find(|(word, _)| *word == name).unwrap();
    counter.load(Relaxed)
}

/// In snappy's block format.
pub(super) fn packed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

/// A request with a right head.
pub(super) fn request(version: Version, body: Vec<u8>) -> Request {
    let len = body.len();
    let mut request = streamed(version, Body::from(body));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    request
}

/// A request that does not say how long its body is.
pub(super) fn streamed(version: Version, body: Body) -> Request {
    http::Request::builder()
        .method(Method::POST)
        .uri(WRITE_PATH)
        .header(header::CONTENT_TYPE, version.content_type())
        .header(header::CONTENT_ENCODING, "snappy")
        .header("x-prometheus-remote-write-version", version.header())
        .body(body)
        .unwrap()
}

/// A body that says what a test feeds it, when the test does.
pub(super) struct Fed(mpsc::Receiver<Result<Bytes, axum::Error>>);

impl Fed {
    pub(super) fn open() -> (mpsc::Sender<Result<Bytes, axum::Error>>, Body) {
        let (feed, fed) = mpsc::channel(64);
        (feed, Body::new(Self(fed)))
    }
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// One series of a request, with everything that a message can say of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Series<'t> {
    pub(super) labels: Vec<(&'t str, &'t str)>,
    pub(super) samples: Vec<Sample>,
    /// How many of an integer histogram with one bucket.
    pub(super) histograms: usize,
    /// Labels of each exemplar.
    pub(super) exemplars: Vec<Vec<(&'t str, &'t str)>>,
    /// Type, help, unit (2.0).
    pub(super) metadata: Option<(u8, &'t str, &'t str)>,
    /// Where the release candidates before 2025-11 had it.
    pub(super) created_ms: Option<i64>,
}

impl<'t> Series<'t> {
    pub(super) fn new(labels: &[(&'t str, &'t str)], sample: Sample) -> Self {
        Self {
            labels: labels.to_vec(),
            samples: vec![sample],
            ..Self::default()
        }
    }
}

/// The message that says this.
pub(super) fn message(version: Version, series: &[Series<'_>]) -> Vec<u8> {
    match version {
        Version::V1 => message_v1(series),
        Version::V2 => message_v2(series),
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn bytes(field: u64, content: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

pub(super) fn number(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn double(field: u64, value: f64, out: &mut Vec<u8>) {
    varint(field << 3 | 1, out);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn point(value: f64, timestamp_ms: i64, [at_value, at_time]: [u64; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    double(at_value, value, &mut out);
    number(at_time, timestamp_ms.cast_unsigned(), &mut out);
    out
}

/// The fields that both versions number alike: a count, a sum, a zero count, when.
fn histogram() -> Vec<u8> {
    let mut out = Vec::new();
    number(1, 3, &mut out);
    double(3, 4.5, &mut out);
    number(6, 3, &mut out);
    number(15, NOW.0.cast_unsigned(), &mut out);
    out
}

fn message_v1(series: &[Series<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for series in series {
        let is_plain = series.samples.len() == 1
            && series.histograms + series.exemplars.len() == 0
            && series.labels.iter().all(|(_, value)| !value.is_empty());
        if is_plain {
            // As the agent writes it.
            let mut labels = Vec::new();
            v1::write_labels(series.labels.iter().copied(), &mut labels);
            v1::write_series(&labels, series.samples[0], &mut out);
            continue;
        }
        let label = |(name, value): (&str, &str)| {
            let mut label = Vec::new();
            bytes(1, name.as_bytes(), &mut label);
            bytes(2, value.as_bytes(), &mut label);
            label
        };
        let mut one = Vec::new();
        for pair in &series.labels {
            bytes(1, &label(*pair), &mut one);
        }
        for sample in &series.samples {
            bytes(
                2,
                &point(sample.value, sample.timestamp_ms, [1, 2]),
                &mut one,
            );
        }
        for exemplar in &series.exemplars {
            let mut text = Vec::new();
            for pair in exemplar {
                bytes(1, &label(*pair), &mut text);
            }
            text.extend(point(1.0, NOW.0, [2, 3]));
            bytes(3, &text, &mut one);
        }
        for _ in 0..series.histograms {
            bytes(4, &histogram(), &mut one);
        }
        bytes(1, &one, &mut out);
    }
    out
}

/// A table of symbols as a sender of 2.0 builds it.
struct Symbols<'t>(Vec<&'t str>);

impl<'t> Symbols<'t> {
    fn reference(&mut self, text: &'t str) -> u64 {
        let found = self.0.iter().position(|symbol| *symbol == text);
        found.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        }) as u64
    }

    fn references(&mut self, labels: &[(&'t str, &'t str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in labels {
            varint(self.reference(name), &mut out);
            varint(self.reference(value), &mut out);
        }
        out
    }
}

fn message_v2(series: &[Series<'_>]) -> Vec<u8> {
    let mut symbols = Symbols(vec![""]);
    let mut all = Vec::new();
    for series in series {
        let mut one = Vec::new();
        bytes(1, &symbols.references(&series.labels), &mut one);
        for sample in &series.samples {
            bytes(
                2,
                &point(sample.value, sample.timestamp_ms, [1, 2]),
                &mut one,
            );
        }
        for _ in 0..series.histograms {
            bytes(3, &histogram(), &mut one);
        }
        for exemplar in &series.exemplars {
            let mut text = Vec::new();
            bytes(1, &symbols.references(exemplar), &mut text);
            text.extend(point(1.0, NOW.0, [2, 3]));
            bytes(4, &text, &mut one);
        }
        if let Some((kind, help, unit)) = series.metadata {
            let mut text = Vec::new();
            number(1, u64::from(kind), &mut text);
            number(3, symbols.reference(help), &mut text);
            number(4, symbols.reference(unit), &mut text);
            bytes(5, &text, &mut one);
        }
        if let Some(created) = series.created_ms {
            number(6, created.cast_unsigned(), &mut one);
        }
        bytes(5, &one, &mut all);
    }
    let mut out = Vec::new();
    for symbol in symbols.0 {
        bytes(4, symbol.as_bytes(), &mut out);
    }
    out.extend(all);
    out
}
