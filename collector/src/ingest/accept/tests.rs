#![expect(clippy::unwrap_used, reason = "tests")]

use std::{io, sync::LazyLock};

use axum::{
    Extension,
    routing::{get, post},
};
use http_body_util::BodyExt as _;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream as ClientStream};
use vigie_core::{time::Wall, token::Role};
use vigie_platform::tls::{HotCredential, SecretKey, client_config, parse_certificates, provider};

use super::*;
use crate::{
    identity::{
        Pki, Renewal,
        authority::{Authority, ServerNames},
        certificate::{Subject, issue},
    },
    ingest::authenticate::{AgentVerifier, server_config},
};

const HOST: &str = "vigie.example";
const DAY_MS: i64 = 86_400_000;

/// Short, for tests in which the far side waits for it; nothing is asserted about how long it took.
const SOON: Duration = Duration::from_millis(100);

/// Certificates are verified by clients against the machine's clock, so the tests' certificates begin now.
static NOW: LazyLock<Wall> = LazyLock::new(|| {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Wall(i64::try_from(since.as_millis()).unwrap())
});

/// A door that is being served.
struct House {
    _dir: TempDir,
    pki: Pki,
    address: SocketAddr,
    counters: Arc<Counters>,
    _stop: watch::Sender<bool>,
}

impl House {
    async fn open(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = ServerNames::parse([HOST]).unwrap();
        let pki = Pki::create(dir.path(), names, HOST, *NOW).unwrap();
        let verifier = AgentVerifier::new(pki.agent_ca().trusted(), HOST).unwrap();
        let tls = server_config(pki.own(), verifier).unwrap();
        let door = Door::bind(([127, 0, 0, 1], 0).into(), Arc::new(tls), HOST, limits)
            .await
            .unwrap();
        let router = Router::new()
            .route("/who", get(who))
            .route(JOIN_PATH, post(length).get(who))
            .route("/v1/entries", post(length));
        let (stop, stopping) = watch::channel(false);
        let (address, counters) = (door.local_address(), door.counters());
        tokio::spawn(door.serve(router, stopping));
        Self {
            _dir: dir,
            pki,
            address,
            counters,
            _stop: stop,
        }
    }

    /// A credential issued by the house's agent CA at `at`.
    fn credential(&self, role: Role, name: &str, at: Wall) -> Arc<HotCredential> {
        credential(self.pki.agent_ca(), role, name, at)
    }

    fn node(&self) -> Arc<HotCredential> {
        self.credential(Role::Node, "app-01", *NOW)
    }

    async fn connect(&self, identity: Option<Arc<HotCredential>>) -> ClientStream<TcpStream> {
        let config = client_config(self.pki.server_ca().trusted(), "test", identity).unwrap();
        self.connect_with(config).await.unwrap()
    }

    async fn connect_with(&self, config: ClientConfig) -> io::Result<ClientStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        // Else the first request waits for the acknowledgement of the handshake, which the kernel may delay.
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(HOST).unwrap(), stream)
            .await
    }

    fn count(&self, counter: impl FnOnce(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Relaxed)
    }
}

fn credential(ca: &Authority, role: Role, name: &str, at: Wall) -> Arc<HotCredential> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let subject = Subject::new(role, name).unwrap();
    let spki = key.subject_public_key_info();
    let issued = issue(ca, HOST, &subject, &spki, at).unwrap();
    let chain = parse_certificates(issued.pem.as_bytes(), "issued").unwrap();
    let key = SecretKey::parse(key.serialize_pem().as_bytes(), "key").unwrap();
    Arc::new(HotCredential::new(chain, &key).unwrap())
}

async fn who(Extension(peer): Extension<Arc<Peer>>) -> String {
    let name = match &*peer {
        Peer::None => "nobody".to_owned(),
        Peer::Node { name, .. } => format!("node {name}"),
        Peer::Sender { name, .. } => format!("sender {name}"),
    };
    format!("{name} {:?}", peer.standing(*NOW))
}

async fn length(body: Body) -> Result<String, StatusCode> {
    let body = body
        .collect()
        .await
        .map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
    Ok(format!("{} bytes", body.to_bytes().len()))
}

fn request(method: &str, path: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Sends text and reads all there is until the server closes.
async fn exchange(stream: &mut ClientStream<TcpStream>, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn a_node_is_known_by_its_certificate() {
    let house = House::open(Limits::default()).await;
    let mut stream = house.connect(Some(house.node())).await;
    let answer = exchange(&mut stream, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().ends_with("node app-01 Some(Valid)"));

    let sender = house.credential(Role::Sender, "prom", *NOW);
    let mut stream = house.connect(Some(sender)).await;
    let answer = exchange(&mut stream, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().ends_with("sender prom Some(Valid)"));
}

#[tokio::test]
async fn tls_1_2_proves_the_key_too() {
    let house = House::open(Limits::default()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(house.pki.server_ca().certificate().clone())
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(house.node());
    let mut stream = house.connect_with(config).await.unwrap();
    let answer = exchange(&mut stream, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().ends_with("node app-01 Some(Valid)"));
}

#[tokio::test]
async fn without_certificate_only_a_join_is_let_through() {
    let house = House::open(Limits::default()).await;
    let mut stream = house.connect(None).await;
    let answer = exchange(&mut stream, &request("POST", JOIN_PATH, "hello")).await;
    assert!(answer.unwrap().ends_with("5 bytes"));

    let elsewhere = [
        ("GET", "/who"),
        ("GET", JOIN_PATH),
        ("POST", "/v1/join/"),
        ("POST", "//v1/join"),
        ("POST", "/v1/%6aoin"),
        ("POST", "/v1/renew"),
        ("POST", "/v1/entries"),
        ("GET", "/nowhere"),
    ];
    for (method, path) in elsewhere {
        let mut stream = house.connect(None).await;
        let answer = exchange(&mut stream, &request(method, path, "")).await;
        let answer = answer.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 403 "),
            "{method} {path}: {answer}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: ErrorBody = serde_json::from_str(body).unwrap();
        assert_eq!(body.error, "certificate.required");
    }
    let refused = house.count(|counters| &counters.certificate_required);
    assert_eq!(refused, elsewhere.len() as u64);
}

#[tokio::test]
async fn certificates_of_another_ca_or_purpose_end_the_handshake() {
    let house = House::open(Limits::default()).await;
    let foreign = Authority::create_agent(*NOW).unwrap();
    let strangers = [
        credential(&foreign, Role::Node, "app-01", *NOW),
        // The collector's own certificate, shown by a client: from its own CA, for another purpose.
        house.pki.own(),
    ];
    for stranger in strangers {
        // With TLS 1.3 the client learns of the refusal when it reads.
        let mut stream = house.connect(Some(stranger)).await;
        let refused = exchange(&mut stream, &request("GET", "/who", "")).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(
        house.count(|counters| &counters.connections.handshake_failed),
        2
    );
}

#[tokio::test]
async fn a_clients_certificate_is_no_server() {
    let house = House::open(Limits::default()).await;
    let verifier = AgentVerifier::new(house.pki.agent_ca().trusted(), HOST).unwrap();
    let impostor = server_config(house.node(), verifier).unwrap();
    let door = Door::bind(
        ([127, 0, 0, 1], 0).into(),
        Arc::new(impostor),
        HOST,
        Limits::default(),
    )
    .await
    .unwrap();
    let address = door.local_address();
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(door.serve(Router::new(), stopping));
    let config = client_config(house.pki.server_ca().trusted(), "test", None).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let refused = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(HOST).unwrap(), stream)
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn dates_out_of_range_are_recorded_and_do_not_fail_the_handshake() {
    let house = House::open(Limits::default()).await;
    for (at, standing) in [
        (NOW.plus_ms(-40 * DAY_MS), "Expired"),
        (NOW.plus_ms(2 * DAY_MS), "NotYetValid"),
    ] {
        let identity = house.credential(Role::Node, "app-01", at);
        let mut stream = house.connect(Some(identity)).await;
        let answer = exchange(&mut stream, &request("GET", "/who", "")).await;
        let answer = answer.unwrap();
        assert!(answer.contains("node app-01"), "{answer}");
        assert!(answer.contains(standing), "{answer}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_of_the_collector_is_shown_to_the_next_connection() {
    let house = House::open(Limits::default()).await;
    let shown = |stream: &ClientStream<TcpStream>| -> CertificateDer<'static> {
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        // A joining node knows the CA by its digest only, so the CA comes along.
        assert_eq!(chain[1], *house.pki.server_ca().certificate());
        chain[0].clone()
    };
    let first = shown(&house.connect(None).await);
    assert_eq!(shown(&house.connect(None).await), first);
    // Three days ago the present certificate had not begun, so it is due; the new one is still good now.
    let before = NOW.plus_ms(-3 * DAY_MS);
    assert_eq!(house.pki.renew_if_due(before).unwrap(), Renewal::Renewed);
    assert_ne!(shown(&house.connect(None).await), first);
}

#[tokio::test]
async fn half_requests_without_certificate_are_closed_by_the_shorter_limit() {
    let house = House::open(Limits {
        bounds: Bounds {
            // Long enough for a handshake, short enough for a test.
            handshake_timeout: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(600),
            close_timeout: SOON,
            ..BOUNDS
        },
        ..Limits::default()
    })
    .await;
    let mut stream = house.connect(None).await;
    let answer = exchange(&mut stream, "POST /v1/join HTTP/1.1\r\n").await;
    assert!(!answer.unwrap_or_default().contains(" 200 "));
}

#[tokio::test]
async fn strangers_take_no_place_from_nodes() {
    let house = House::open(Limits {
        anonymous_max: 1,
        ..Limits::default()
    })
    .await;
    let mut first = house.connect(None).await;
    // A byte that the house has read proves that the first stranger holds the only place.
    first
        .write_all(b"POST /v1/join HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut second = house.connect(None).await;
    let join = request("POST", JOIN_PATH, "");
    let mut answers = vec![exchange(&mut second, &join).await];
    let mut node = house.connect(Some(house.node())).await;
    let answer = exchange(&mut node, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().contains("node app-01"));
    let rest = "host: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    answers.push(exchange(&mut first, rest).await);
    let served = answers
        .into_iter()
        .filter(|answer| answer.as_ref().is_ok_and(|text| text.contains(" 200 ")))
        .count();
    assert_eq!(served, 1);
    assert_eq!(house.count(|counters| &counters.connections.refused), 1);
}
