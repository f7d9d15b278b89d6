//! A collector in this process that keeps a node's chain as a real one does, and answers as a test tells it to.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
    SubjectPublicKeyInfo, date_time_ymd,
};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::AbortHandle};
use tokio_rustls::TlsAcceptor;
use vigie_core::{
    contact::{Contact, Signed, signed_bytes},
    digest::Digest,
    entry::{Entry, Head},
    remote_write::{Decoder, Limits, Version, WRITE_PATH},
    wire::{RENEW_PATH, RenewRequest},
};
use vigie_platform::tls::provider;

use crate::join::identity::Identity;

/// The id that the identity is pinned to.
const COLLECTOR_ID: &str = "collector-1";

/// Requests kept for a test to look at: more than any test makes.
const SEEN_MAX: usize = 1_024;

/// What a request is answered, instead of being taken in and confirmed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// A status, and the seconds of its `Retry-After`.
    Status(u16, Option<u64>),
    /// It is taken in, and the answer is lost on its way back.
    Lost,
    /// It is taken in except that its first line is refused.
    RefuseFirst,
}

/// One request as it came.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) contact: Contact,
    pub(crate) lines: Vec<Entry>,
}

/// One remote write request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    /// When its samples were taken, in ms: one time for all.
    pub(crate) at_ms: i64,
    /// Labels and values, stale ones included, in order.
    pub(crate) series: Vec<(Vec<(String, String)>, f64)>,
    pub(crate) metadata: usize,
}

/// What a remote write request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteAnswer {
    /// 204, and it counts as taken.
    Taken,
    /// A status, and the seconds of its `Retry-After`.
    Status(u16, Option<u64>),
    /// None.
    Hang,
}

type JudgeWrites = Box<dyn FnMut(&Write) -> WriteAnswer + Send>;

/// What the collector keeps.
#[derive(Default)]
struct Kept {
    head: Option<Head>,
    lines: Vec<Entry>,
    refused: u64,
    forks: u64,
    script: VecDeque<Answer>,
    log_size: u64,
    connections: usize,
    judge_writes: Option<JudgeWrites>,
    /// Times of the requests that were taken, in order.
    taken: Vec<i64>,
}

/// The state of a collector and the way to it, through as many addresses as are served.
#[derive(Clone)]
pub(crate) struct Collector {
    kept: Arc<Mutex<Kept>>,
    seen: mpsc::Sender<Seen>,
    writes: mpsc::Sender<Write>,
    unread_writes: Arc<Mutex<Option<mpsc::Receiver<Write>>>>,
    tls: Arc<ServerConfig>,
    server_ca_pem: String,
    agent_ca: Arc<CertifiedIssuer<'static, KeyPair>>,
    signing_key: Vec<u8>,
}

impl Collector {
    /// A collector, what it sees, and the identity of node `app-01` in a folder of its own.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Seen>, TempDir) {
        let dir = TempDir::new().unwrap();
        let server_ca = ca("server CA");
        let agent_ca = ca("agent CA");
        let signing_key = write_identity(dir.path(), &server_ca, &agent_ca);
        let (seen, requests) = mpsc::channel(SEEN_MAX);
        let (writes, unread_writes) = mpsc::channel(SEEN_MAX);
        let collector = Self {
            kept: Arc::default(),
            seen,
            writes,
            unread_writes: Arc::new(Mutex::new(Some(unread_writes))),
            tls: Arc::new(server_config(&server_ca, &agent_ca)),
            server_ca_pem: server_ca.pem(),
            agent_ca: Arc::new(agent_ca),
            signing_key,
        };
        (collector, requests, dir)
    }

    /// Serves on an address of its own until the handle is used.
    pub(crate) async fn serve(&self) -> (SocketAddr, AbortHandle) {
        self.serve_with(Some(TlsAcceptor::from(Arc::clone(&self.tls))))
            .await
    }

    /// Serves without TLS, as a receiver on the same machine may.
    pub(crate) async fn serve_plain(&self) -> (SocketAddr, AbortHandle) {
        self.serve_with(None).await
    }

    async fn serve_with(&self, tls: Option<TlsAcceptor>) -> (SocketAddr, AbortHandle) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = self.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                collector.kept().connections += 1;
                let (tls, collector) = (tls.clone(), collector.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let collector = collector.clone();
                        async move { collector.answer(request).await }
                    });
                    // A connection that a test cuts ends with an error.
                    let _ = match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else {
                                return;
                            };
                            let stream = TokioIo::new(stream);
                            http1::Builder::new()
                                .serve_connection(stream, service)
                                .await
                        }
                        None => {
                            let stream = TokioIo::new(stream);
                            http1::Builder::new()
                                .serve_connection(stream, service)
                                .await
                        }
                    };
                });
            }
        });
        (address, serving.abort_handle())
    }

    /// The next requests are answered so, one each.
    pub(crate) fn will_say(&self, answers: impl IntoIterator<Item = Answer>) {
        self.kept().script.extend(answers);
    }

    /// It already has a chain of this node, which ends there.
    pub(crate) fn stands_at(&self, head: Head) {
        self.kept().head = Some(head);
    }

    /// Sets how many lines its log has.
    pub(crate) fn has_log_of(&self, size: u64) {
        self.kept().log_size = size;
    }

    /// Every line in order, each once.
    pub(crate) fn lines(&self) -> Vec<Entry> {
        self.kept().lines.clone()
    }

    /// How often a number came with other bytes.
    pub(crate) fn forks(&self) -> u64 {
        self.kept().forks
    }

    /// Answers remote write requests from now on.
    pub(crate) fn judges_writes(&self, judge: impl FnMut(&Write) -> WriteAnswer + Send + 'static) {
        self.kept().judge_writes = Some(Box::new(judge));
    }

    /// The remote write requests it sees.
    pub(crate) fn writes(&self) -> mpsc::Receiver<Write> {
        self.unread_writes.lock().unwrap().take().unwrap()
    }

    /// Times of the remote write requests that were taken, in order.
    pub(crate) fn taken(&self) -> Vec<i64> {
        self.kept().taken.clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.kept().connections
    }

    async fn write(
        &self,
        request: http::request::Parts,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, LostOnPurpose> {
        let write = read_write(request, body);
        let answer = match &mut self.kept().judge_writes {
            Some(judge) => judge(&write),
            None => WriteAnswer::Taken,
        };
        if answer == WriteAnswer::Taken {
            self.kept().taken.push(write.at_ms);
        }
        let _ = self.writes.try_send(write);
        match answer {
            WriteAnswer::Taken => Ok(empty(204)),
            WriteAnswer::Status(status, retry_after) => Ok(refusal(status, retry_after)),
            WriteAnswer::Hang => std::future::pending().await,
        }
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, LostOnPurpose> {
        let is_renewal = request.uri().path() == RENEW_PATH;
        let (head, body) = request.into_parts();
        // A client that gives up ends the body.
        let Ok(body) = body.collect().await else {
            return Err(LostOnPurpose);
        };
        let body = body.to_bytes();
        if head.uri.path().ends_with(WRITE_PATH) {
            return self.write(head, &body).await;
        }
        if is_renewal {
            return Ok(self.renew(&body));
        }
        let mut parts = body.split(|byte| *byte == b'\n');
        let contact = self.verify(parts.next().unwrap());
        let lines: Vec<Entry> = parts
            .filter(|line| !line.is_empty())
            .map(|line| Entry::read(line).unwrap())
            .collect();
        let answer = self.kept().script.pop_front();
        let response = match answer {
            Some(Answer::Status(status, retry_after)) => Ok(refusal(status, retry_after)),
            Some(Answer::Lost) => {
                self.take_in(&lines, false);
                Err(LostOnPurpose)
            }
            Some(Answer::RefuseFirst) => Ok(self.take_in(&lines, true)),
            None => Ok(self.take_in(&lines, false)),
        };
        // A test that has seen enough does not listen any more.
        let _ = self.seen.try_send(Seen { contact, lines });
        response
    }

    fn renew(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let request: RenewRequest = serde_json::from_slice(body).unwrap();
        let key = SubjectPublicKeyInfo::from_der(request.tls_key_spki.as_bytes()).unwrap();
        let certificate = node_certificate().signed_by(&key, &*self.agent_ca).unwrap();
        let answer = json!({
            "certificate_pem": certificate.pem(),
            "server_ca_pem": self.server_ca_pem,
        });
        Response::new(Full::from(answer.to_string()))
    }

    fn verify(&self, line: &[u8]) -> Contact {
        let signed = Signed::read(line).unwrap();
        let node = "app-01".parse().unwrap();
        let contact = vigie_core::canonical::write(&signed.contact);
        UnparsedPublicKey::new(&ED25519, &self.signing_key)
            .verify(
                &signed_bytes(COLLECTOR_ID, &node, contact.as_bytes()),
                &signed.signature,
            )
            .unwrap();
        signed.contact
    }

    fn take_in(&self, lines: &[Entry], refuse_first: bool) -> Response<Full<Bytes>> {
        let mut kept = self.kept();
        let mut refused = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let head = kept.head.unwrap_or(Head::EMPTY);
            if line.follows(head) {
                kept.head = Some(line.head());
                kept.log_size += 1;
                if refuse_first && index == 0 {
                    kept.refused += 1;
                    refused.push(json!({ "seq": line.seq, "sha256": line.sha256 }));
                } else {
                    kept.lines.push(line.clone());
                }
            } else if !kept.lines.iter().any(|known| known.head() == line.head()) {
                kept.forks += 1;
            }
        }
        let size = kept.log_size;
        let answer = json!({
            "durable": kept.head.unwrap_or(Head::EMPTY),
            "refused": refused,
            "log": { "size": size, "root": Digest::of(&size.to_be_bytes()) },
            "statements": [{ "kind": "of a later version" }],
            "a newer collector says more": true,
        });
        Response::new(Full::from(answer.to_string()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes hyper cut the connection instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
pub(crate) struct LostOnPurpose;

impl From<Infallible> for LostOnPurpose {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn empty(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// A remote write 1.0 request, as any receiver decodes one.
fn read_write(head: http::request::Parts, body: &[u8]) -> Write {
    let body = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut decoder = Decoder::default();
    let batch = decoder
        .decode(Version::V1, &body, &Limits::default())
        .unwrap();
    let mut at_ms = None;
    let mut series = Vec::new();
    for one in batch.series() {
        let labels = one.labels().map(|label| {
            let (name, value) = label.unwrap();
            (name.to_owned(), value.to_owned())
        });
        let [sample] = one.samples() else {
            panic!("one sample each");
        };
        assert_eq!(
            *at_ms.get_or_insert(sample.timestamp_ms),
            sample.timestamp_ms
        );
        series.push((labels.collect(), sample.value));
    }
    Write {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        at_ms: at_ms.unwrap(),
        series,
        metadata: batch.metadata().count(),
    }
}

fn refusal(status: u16, retry_after: Option<u64>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(r#"{"error":"test.says_no","mend":"wait"}"#));
    *response.status_mut() = status.try_into().unwrap();
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn ca(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn write_identity(
    state_dir: &Path,
    server_ca: &CertifiedIssuer<'static, KeyPair>,
    agent_ca: &CertifiedIssuer<'static, KeyPair>,
) -> Vec<u8> {
    let tls = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let signing = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let dir = state_dir.join("identity");
    fs::create_dir(&dir).unwrap();
    for (name, text) in [
        ("tls.key", tls.serialize_pem()),
        (
            "tls.pem",
            node_certificate().signed_by(&tls, agent_ca).unwrap().pem(),
        ),
        ("signing.key", signing.serialize_pem()),
        ("server-ca.pem", server_ca.pem()),
        ("collector-id", COLLECTOR_ID.to_owned()),
        ("node", "app-01".to_owned()),
    ] {
        let mut file = fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(dir.join(name))
            .unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
    Identity::load(state_dir).unwrap().signing_key().0.to_vec()
}

/// Valid whenever this runs.
fn node_certificate() -> CertificateParams {
    let mut params = CertificateParams::default();
    let uri = "spiffe://vigie.example/node/app-01";
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 31);
    params
}

fn server_config(
    server_ca: &CertifiedIssuer<'static, KeyPair>,
    agent_ca: &CertifiedIssuer<'static, KeyPair>,
) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, server_ca).unwrap();
    let mut agents = RootCertStore::empty();
    agents.add(agent_ca.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(agents), provider())
        .build()
        .unwrap();
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap()
}
