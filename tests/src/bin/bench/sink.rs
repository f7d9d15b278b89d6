//! Where alerts arrive, and when: a receiver in this process that can be away, and takes whatever is posted to it.
//!
//! It reads nothing while it receives, so that it costs what is measured as little as it can.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use vigie_tests::harness::own_address;

/// One request as it came.
#[derive(Debug, Clone)]
struct Heard {
    /// When all of it was here.
    at: Instant,
    /// Its `Idempotency-Key`; empty if it had none.
    key: String,
    body: Bytes,
}

/// All that came about one alert's beginning.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// When, in order.
    pub at: Vec<Instant>,
    /// Under which keys, in the same order.
    pub keys: Vec<String>,
}

/// The receiver. Away when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    /// How long it thinks before it answers.
    slow: Duration,
    heard: Arc<Mutex<Vec<Heard>>>,
    count: watch::Sender<usize>,
    open: Option<JoinHandle<()>>,
}

impl Sink {
    /// One whose port is closed.
    pub fn away(slow: Duration) -> Self {
        Self {
            address: (own_address(), 8083).into(),
            slow,
            heard: Arc::default(),
            count: watch::Sender::new(0),
            open: None,
        }
    }

    /// One that is there and answers at once.
    pub async fn start() -> Self {
        let mut sink = Self::away(Duration::ZERO);
        sink.come_back().await;
        sink
    }

    /// Opens its port.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.expect("its address is its own");
        let (heard, count, slow) = (Arc::clone(&self.heard), self.count.clone(), self.slow);
        self.open = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, count) = (Arc::clone(&heard), count.clone());
                let take = service_fn(move |request| {
                    take(request, Arc::clone(&heard), count.clone(), slow)
                });
                connections.spawn(async move {
                    // Whoever was killed leaves a broken connection.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), take)
                        .await;
                });
                while connections.try_join_next().is_some() {}
            }
        }));
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/vigie", self.address)
    }

    /// The settings that make it the receiver `tableau`.
    pub fn as_receiver(&self) -> String {
        format!(
            "[receiver.tableau]\nwebhook = {{ url = \"{}\" }}\n",
            self.url()
        )
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits for one request more than `seen`, for at most this long.
    pub async fn hears_more_than(&self, seen: usize, at_most: Duration) -> bool {
        let mut count = self.count.subscribe();
        let more = count.wait_for(|count| *count > seen);
        tokio::time::timeout(at_most, more).await.is_ok()
    }

    /// When the request came before which there were so many.
    pub fn arrived(&self, before: usize) -> Instant {
        self.heard.lock().expect("no holder panics")[before].at
    }

    /// Waits until so many alerts began here, for at most this long.
    pub async fn hears_of(&self, alerts: usize, at_most: Duration) {
        let began = Instant::now();
        while began.elapsed() < at_most {
            // A request tells at least of one, so few requests need no reading.
            if self.count() >= alerts && self.told().len() >= alerts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything that was told of beginnings, by the alert's name. Without what a program says of itself.
    pub fn told(&self) -> BTreeMap<String, Told> {
        let heard = self.heard.lock().expect("no holder panics").clone();
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
        for heard in heard {
            let body: Value = serde_json::from_slice(&heard.body).expect("what is told is JSON");
            for name in names(&body) {
                let of_alert = told.entry(name).or_default();
                of_alert.at.push(heard.at);
                of_alert.keys.push(heard.key.clone());
            }
        }
        told
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
        }
    }
}

/// The names of the alerts that a request says have begun, in small letters.
fn names(body: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    if let Some(alerts) = body["alerts"].as_array() {
        return alerts
            .iter()
            .filter(|alert| alert["status"] == "firing")
            .map(|alert| word(&alert["labels"]["alertname"]))
            .collect();
    }
    let check = word(&body["check"]);
    let is_sender = word(&body["node"]).starts_with("@sender/");
    if body["notice"] != "open" || check.starts_with('@') {
        Vec::new()
    } else if is_sender {
        vec![check]
    } else {
        vec![word(&body["object"])]
    }
}

async fn take(
    request: Request<Incoming>,
    heard: Arc<Mutex<Vec<Heard>>>,
    count: watch::Sender<usize>,
    slow: Duration,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let key = request.headers().get("idempotency-key");
    let key = key.and_then(|key| key.to_str().ok()).unwrap_or_default();
    let key = key.to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let at = Instant::now();
    {
        let mut all = heard.lock().expect("no holder panics");
        all.push(Heard { at, key, body });
        count.send_replace(all.len());
    }
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    Ok(Response::new(Full::default()))
}
