//! A receiver of remote write, in this process, that can be away and writes down every sample it was ever sent.

use std::{
    collections::HashSet,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use vigie_core::remote_write::{Decoder, Limits, Version};

use super::{
    own_address,
    server::{Lost, Server},
};

/// One sample as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pushed {
    /// The labels of its series, name included: `{__name__="up",node="app-01"}`.
    pub series: Arc<str>,
    /// Its time, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The bits of its value: no two of them are mistaken for one another.
    pub value_bits: u64,
}

#[derive(Debug, Default)]
struct Record {
    series: HashSet<Arc<str>>,
    requests: Vec<Vec<Pushed>>,
    wrong: Option<String>,
}

/// The receiver. Away when dropped.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    server: Option<Server>,
}

impl Recorder {
    /// A receiver that is there.
    pub async fn start() -> Self {
        let mut recorder = Self {
            address: (own_address(), 8480).into(),
            record: Arc::default(),
            server: None,
        };
        recorder.come_back().await;
        recorder
    }

    /// Where it takes remote write.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Opens its port again.
    pub async fn come_back(&mut self) {
        let record = Arc::clone(&self.record);
        let take = move |request| take(request, Arc::clone(&record));
        self.server = Some(Server::open(self.address, take).await);
    }

    /// Closes its port and every connection.
    pub async fn leave(&mut self) {
        if let Some(server) = self.server.take() {
            server.close().await;
        }
    }

    /// The samples of every request so far, in the order in which they came.
    ///
    /// # Panics
    /// When one of them was not as remote write 1.0 wants it.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<Pushed>> {
        let record = self.record.lock().expect("no holder panics");
        assert_eq!(record.wrong, None, "a request that is none came");
        record.requests.clone()
    }

    /// How many requests came so far.
    ///
    /// # Panics
    /// Never: no holder of the lock panics.
    #[must_use]
    pub fn count(&self) -> usize {
        self.record.lock().expect("no holder panics").requests.len()
    }
}

async fn take(
    request: Request<Incoming>,
    record: Arc<Mutex<Record>>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let mut record = record.lock().expect("no holder panics");
    let status = match read(&head.headers, &body, &mut record.series) {
        Ok(samples) => {
            record.requests.push(samples);
            StatusCode::NO_CONTENT
        }
        Err(why) => {
            record.wrong = Some(why);
            StatusCode::BAD_REQUEST
        }
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

fn read(
    headers: &HeaderMap,
    body: &[u8],
    known: &mut HashSet<Arc<str>>,
) -> Result<Vec<Pushed>, String> {
    for (name, value) in [
        ("content-encoding", "snappy"),
        ("content-type", Version::V1.content_type()),
        ("x-prometheus-remote-write-version", Version::V1.header()),
    ] {
        if headers.get(name).is_none_or(|found| found != value) {
            return Err(format!("{name} is {:?}", headers.get(name)));
        }
    }
    let request = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|cause| cause.to_string())?;
    let mut decoder = Decoder::default();
    let batch = decoder
        .decode(Version::V1, &request, &Limits::default())
        .map_err(|cause| cause.to_string())?;
    let mut pushed = Vec::new();
    for series in batch.series() {
        let mut text = String::new();
        for label in series.labels() {
            let (name, value) = label.map_err(|cause| cause.to_string())?;
            let separator = if text.is_empty() { '{' } else { ',' };
            // Writing to a text cannot fail.
            let _ = write!(text, "{separator}{name}={value:?}");
        }
        text.push('}');
        let name = match known.get(text.as_str()) {
            Some(name) => Arc::clone(name),
            None => {
                let name = Arc::from(text);
                known.insert(Arc::clone(&name));
                name
            }
        };
        pushed.extend(series.samples().iter().map(|sample| Pushed {
            series: Arc::clone(&name),
            timestamp_ms: sample.timestamp_ms,
            value_bits: sample.value.to_bits(),
        }));
    }
    Ok(pushed)
}
