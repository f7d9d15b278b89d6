#![expect(clippy::unwrap_used, reason = "tests")]

use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream as ClientStream};

use super::*;
use crate::tls::client_config;

const HOST: &str = "vigie.example";

/// Short, for tests in which the far side waits for it; nothing is asserted about how long it took.
const SOON: Duration = Duration::from_millis(100);

const BOUNDS: Bounds = Bounds {
    connections_max: 64,
    excess: Excess::Refused,
    handshakes_max: 64,
    handshake_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(75),
    body_timeout: Duration::from_secs(30),
    age_max: Duration::from_secs(3600),
    finish_timeout: Duration::from_secs(30),
    close_timeout: Duration::from_secs(5),
    drain_timeout: Duration::from_secs(10),
    requests: Requests::Many,
    buffer_len_max: 16 * 1024,
    headers_max: 32,
    accept_pause: Duration::from_millis(100),
};

/// More than the buffers of a connection hold.
const LARGE_LEN: usize = 32 << 20;

/// A listener that is being served.
struct House {
    tls: Arc<rustls::ClientConfig>,
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    slow: Slow,
}

/// What holds requests to `/slow`.
#[derive(Clone, Default)]
struct Slow {
    /// Told when a request has come.
    entered: Arc<Notify>,
    /// Lets it go.
    release: Arc<Notify>,
}

impl House {
    async fn open(bounds: Bounds) -> Self {
        Self::open_to(bounds, Ok(())).await
    }

    /// Admits everybody or nobody.
    async fn open_to(bounds: Bounds, verdict: Result<(), Refused>) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let tls = Arc::new(tls);
        let listener = Listener::bind("tests", ([127, 0, 0, 1], 0).into(), bounds);
        let listener = listener.await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let slow = Slow::default();
        let its_slow = slow.clone();
        Self {
            tls: Arc::new(client_config(&[certificate], "test", None).unwrap()),
            address: listener.local_address(),
            counters: listener.counters(),
            stop: Some(stop),
            served: tokio::spawn(async move {
                let stopped = async { stopped.await.unwrap_or_default() };
                let open = |_| {
                    let (slow, verdict) = (its_slow.clone(), verdict.clone());
                    Terms::new(Some(Arc::clone(&tls)), move |_| {
                        verdict?;
                        Ok(Admitted::to(move |request| answer(request, slow.clone())))
                    })
                };
                listener.serve(stopped, open).await;
            }),
            slow,
        }
    }

    async fn connect(&self) -> ClientStream<TcpStream> {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> io::Result<ClientStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        // Else the first request waits for the acknowledgement of the handshake, which the kernel may delay.
        stream.set_nodelay(true)?;
        self.shake_hands(stream).await
    }

    async fn shake_hands(&self, stream: TcpStream) -> io::Result<ClientStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(ServerName::try_from(HOST).unwrap(), stream)
            .await
    }

    fn count(&self, counter: impl FnOnce(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Relaxed)
    }
}

/// `who` to a request without a body; to one with a body its length.
async fn answer(request: Request<RequestBody>, slow: Slow) -> Response<Full<Bytes>> {
    if request.uri().path() == "/slow" {
        slow.entered.notify_one();
        slow.release.notified().await;
        return Response::new(Full::from("done"));
    }
    if request.uri().path() == "/large" {
        return Response::new(Full::from(vec![b'x'; LARGE_LEN]));
    }
    match request.into_body().collect().await {
        Ok(body) => match body.to_bytes().len() {
            0 => Response::new(Full::from("app-01")),
            len => Response::new(Full::from(format!("{len} bytes"))),
        },
        Err(error) => {
            assert!(error.is::<BodyTimeout>());
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            response
        }
    }
}

fn request(method: &str, path: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn keeping(request: &str) -> String {
    request.replace("connection: close\r\n", "")
}

/// Sends text and reads all there is until the server closes.
async fn exchange(stream: &mut ClientStream<TcpStream>, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn a_connection_serves_many_requests_of_one_peer() {
    let house = House::open(BOUNDS).await;
    let mut stream = house.connect().await;
    let keep = keeping(&request("POST", "/v1/entries", "abc"));
    let answer = exchange(&mut stream, &(keep.repeat(2) + &request("GET", "/who", ""))).await;
    let answer = answer.unwrap();
    assert_eq!(answer.matches("3 bytes").count(), 2);
    assert!(answer.contains("app-01"));
    assert_eq!(house.count(|counters| &counters.accepted), 1);
}

#[tokio::test]
async fn where_a_connection_carries_one_request_it_is_closed_behind_it() {
    let house = House::open(Bounds {
        requests: Requests::One,
        ..BOUNDS
    })
    .await;
    let mut stream = house.connect().await;
    let keep = keeping(&request("GET", "/who", ""));
    let answer = exchange(&mut stream, &keep.repeat(2)).await.unwrap();
    assert_eq!(answer.matches("app-01").count(), 1);
}

#[tokio::test]
async fn who_is_not_admitted_is_not_heard_and_counted() {
    for (refused, counts) in [(Refused::Full, (1, 0)), (Refused::Unproven, (0, 1))] {
        let house = House::open_to(BOUNDS, Err(refused)).await;
        let mut stream = house.connect().await;
        let answer = exchange(&mut stream, &request("GET", "/who", "")).await;
        assert!(answer.unwrap_or_default().is_empty());
        let refused = house.count(|counters| &counters.refused);
        let failed = house.count(|counters| &counters.handshake_failed);
        assert_eq!((refused, failed), counts);
    }
}

#[tokio::test]
async fn handshakes_that_stall_are_cut_and_counted() {
    let house = House::open(Bounds {
        handshake_timeout: SOON,
        ..BOUNDS
    })
    .await;
    for start in [
        &[][..],
        &[0x16, 0x03, 0x01][..],
        &[0x16, 0x03, 0x01, 0x3f, 0xff, 0x01],
    ] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        // Closed by the house, with or without a reset: the far side never sent another byte.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
    assert_eq!(house.count(|counters| &counters.handshake_timeout), 3);
}

#[tokio::test]
async fn what_is_not_tls_is_refused_and_others_are_served() {
    let house = House::open(BOUNDS).await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream
        .write_all(request("POST", "/v1/join", "secret").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(house.count(|counters| &counters.handshake_failed), 1);

    let mut stream = house.connect().await;
    let garbage = exchange(&mut stream, "\0\r\n\r\n").await;
    assert!(!garbage.unwrap_or_default().starts_with("HTTP/1.1 200"));
    let mut stream = house.connect().await;
    let answer = exchange(&mut stream, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().contains("app-01"));
}

#[tokio::test]
async fn half_requests_and_idle_connections_are_closed() {
    let house = House::open(Bounds {
        handshake_timeout: Duration::from_secs(600),
        idle_timeout: SOON,
        close_timeout: SOON,
        ..BOUNDS
    })
    .await;
    for half in [
        "",
        "POST /v1/entr",
        "POST /v1/entries HTTP/1.1\r\nhost: a\r\n",
    ] {
        let mut stream = house.connect().await;
        let answer = exchange(&mut stream, half).await;
        assert!(!answer.unwrap_or_default().contains(" 200 "), "{half}");
    }
}

#[tokio::test]
async fn a_connection_that_falls_idle_after_a_request_is_closed_properly() {
    let house = House::open(Bounds {
        // Long enough for a handshake, short enough for a test.
        idle_timeout: Duration::from_millis(500),
        ..BOUNDS
    })
    .await;
    let mut stream = house.connect().await;
    let answer = exchange(&mut stream, &keeping(&request("GET", "/who", ""))).await;
    assert!(answer.unwrap().contains("app-01"));
}

#[tokio::test]
async fn an_answer_that_is_still_being_read_is_not_taken_for_idleness() {
    let house = House::open(Bounds {
        // Long enough for a handshake, short enough for a test.
        idle_timeout: Duration::from_millis(500),
        close_timeout: Duration::from_secs(600),
        ..BOUNDS
    })
    .await;
    let mut slow = house.connect().await;
    let large = request("GET", "/large", "");
    slow.write_all(large.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    slow.read_exact(&mut head).await.unwrap();
    // Closed for being idle, and it came later.
    let mut idle = house.connect().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > LARGE_LEN);
}

#[tokio::test]
async fn a_body_that_stalls_ends_in_an_error_for_its_handler() {
    let house = House::open(Bounds {
        body_timeout: SOON,
        ..BOUNDS
    })
    .await;
    let mut stream = house.connect().await;
    let stalled = request("POST", "/v1/entries", "0123456789").replace("456789", "");
    let answer = exchange(&mut stream, &stalled).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(house.count(|counters| &counters.body_timeout), 1);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let house = House::open(Bounds {
        connections_max: 1,
        ..BOUNDS
    })
    .await;
    let mut first = house.connect().await;
    assert!(house.try_connect().await.is_err());
    assert_eq!(house.count(|counters| &counters.refused), 1);
    assert_eq!(house.count(|counters| &counters.open), 1);
    let answer = exchange(&mut first, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().contains("app-01"));
}

#[tokio::test]
async fn one_connection_too_many_waits_for_a_place_where_it_may() {
    let house = House::open(Bounds {
        connections_max: 1,
        excess: Excess::Waits,
        ..BOUNDS
    })
    .await;
    let mut first = house.connect().await;
    // The kernel takes it.
    let second = TcpStream::connect(house.address).await.unwrap();
    let keep = keeping(&request("GET", "/who", ""));
    first.write_all(keep.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    first.read_exact(&mut head).await.unwrap();
    assert_eq!(house.count(|counters| &counters.accepted), 1);
    drop(first);
    let mut second = house.shake_hands(second).await.unwrap();
    let answer = exchange(&mut second, &request("GET", "/who", "")).await;
    assert!(answer.unwrap().contains("app-01"));
    assert_eq!(house.count(|counters| &counters.refused), 0);
}

#[tokio::test]
async fn an_old_connection_is_closed_so_that_the_key_is_proved_anew() {
    let house = House::open(Bounds {
        // Long enough for a handshake, short enough for a test.
        age_max: Duration::from_millis(500),
        ..BOUNDS
    })
    .await;
    let mut stream = house.connect().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_request_under_way_at_shutdown_is_answered() {
    let mut house = House::open(BOUNDS).await;
    let mut stream = house.connect().await;
    let mut idle = house.connect().await;
    let keep = keeping(&request("GET", "/slow", ""));
    stream.write_all(keep.as_bytes()).await.unwrap();
    house.slow.entered.notified().await;

    house.stop.take().unwrap().send(()).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    house.slow.release.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    house.served.await.unwrap();
    assert_eq!(house.counters.open.load(Relaxed), 0);
    assert_eq!(house.counters.cut_at_shutdown.load(Relaxed), 0);
    assert!(TcpStream::connect(house.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_shutdown_and_counted() {
    let mut house = House::open(Bounds {
        drain_timeout: SOON,
        ..BOUNDS
    })
    .await;
    let mut stream = house.connect().await;
    stream
        .write_all(request("GET", "/slow", "").as_bytes())
        .await
        .unwrap();
    house.slow.entered.notified().await;
    house.stop.take().unwrap().send(()).unwrap();
    house.served.await.unwrap();
    assert_eq!(house.counters.cut_at_shutdown.load(Relaxed), 1);
    assert_eq!(house.counters.open.load(Relaxed), 0);
}

#[tokio::test]
async fn a_request_under_way_when_the_listener_is_dropped_is_answered() {
    let house = House::open(BOUNDS).await;
    let mut stream = house.connect().await;
    let keep = keeping(&request("GET", "/slow", ""));
    stream.write_all(keep.as_bytes()).await.unwrap();
    house.slow.entered.notified().await;
    house.served.abort();
    assert!(house.served.await.unwrap_err().is_cancelled());
    assert!(TcpStream::connect(house.address).await.is_err());
    house.slow.release.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let house = House::open(BOUNDS).await;
    let error = Listener::bind("tests", house.address, BOUNDS).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains(&house.address.to_string()));
}
