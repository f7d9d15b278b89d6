#![expect(clippy::unwrap_used, reason = "tests")]

use std::{os::unix::fs::PermissionsExt as _, sync::Mutex as StdMutex};

use rcgen::{Certificate, CertificateParams, KeyPair};
use reqwest::{Client, ClientBuilder, Method, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use vigie_core::{
    digest::Digest,
    time::{Now, Wall},
};
use vigie_decide::{
    alert::{AlertKey, Message},
    destination::Destination,
    fleet::State as FleetState,
    routing::Policy,
};
use vigie_platform::{clock::ManualClock, settings_file::SecretFile, tls::client_config};

use super::*;
use crate::status::tests::shown;

const NOW: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

const LASTS: Duration = Duration::from_secs(3_600);

/// A desk with two alerts that `am/sms` was told of: the second one later.
#[derive(Default)]
struct FakeBackend {
    /// What was asked of it, and who is on what.
    events: StdMutex<Vec<Event>>,
    on_it: StdMutex<Vec<(u64, Actor)>>,
    is_over: StdMutex<bool>,
    is_broken: StdMutex<bool>,
}

const ALERTS: [(u64, u64); 2] = [(1_841, 7), (1_842, 9)];

impl AckBackend for Arc<FakeBackend> {
    async fn view(&self) -> Option<Fleet> {
        let on_it = self.on_it.lock().unwrap();
        let alerts = ALERTS.iter().map(|(number, first)| {
            let by = on_it.iter().find(|(on, _)| on == number);
            serde_json::from_value(json!({
                "number": number,
                "node": "app-01",
                "check": "portail",
                "object": "",
                "status": "critical",
                "criticality": "critical",
                "services": ["dossier-patient"],
                "environment": "production",
                "sites": [],
                "groups": [],
                "serves": "D",
                "need": 4,
                "family": "availability",
                "reason": "http.status",
                "facts": {},
                "opening": number,
                "since": NOW.wall,
                "told": [],
                "to": { "am/sms": { "first": first, "last": first } },
                "notified": [],
                "next": [],
                "acknowledged": by.map(|(_, by)| json!({ "by": by, "at": NOW.wall })),
                "held_for": [],
                "exercise": false,
                "until_confirmed": false,
            }))
        });
        let alerts = if *self.is_over.lock().unwrap() {
            Vec::new()
        } else {
            alerts.collect::<Result<_, _>>().unwrap()
        };
        Some(Fleet {
            alerts,
            destinations: vec!["am/sms".parse().unwrap(), "jb/sms".parse().unwrap()],
            last_message: 20,
            ..shown(&FleetState::default(), &Policy::default())
        })
    }

    async fn perform(&self, event: Event) -> Result<Option<Answered>, Refusal> {
        if *self.is_broken.lock().unwrap() {
            return Err(Refusal::Unavailable);
        }
        self.events.lock().unwrap().push(event.clone());
        let Event::Operator(OperatorEvent::Acknowledged {
            numbers: meant, by, ..
        }) = event
        else {
            panic!("not an acknowledgement");
        };
        let mut on_it = self.on_it.lock().unwrap();
        let before = on_it.clone();
        let is_new = |number: &u64| !before.iter().any(|(on, _)| on == number);
        let numbers: Vec<u64> = ALERTS
            .iter()
            .map(|(number, _)| *number)
            .filter(|number| meant.contains(number))
            .filter(is_new)
            .collect();
        on_it.extend(numbers.iter().map(|number| (*number, by.clone())));
        Ok(Some(Answered::Acknowledged { numbers, before }))
    }
}

/// A message about the alert that was told in this order, or about one that is over.
fn message(to: &Destination, order: u64) -> Message {
    let told = ALERTS.iter().find(|(_, first)| *first == order);
    let number = told.map_or(order, |(number, _)| *number);
    let alert = AlertKey::from_parts("app-01", "portail", "").unwrap();
    serde_json::from_value(json!({
        "key": Digest::of(b""),
        "order": order,
        "to": to,
        "receiver": "astreinte",
        "at": NOW.wall,
        "body": { "alert": {
            "notice": "open",
            "number": number,
            "opening": number,
            "alert": alert,
            "services": ["dossier-patient"],
            "criticality": "critical",
            "environment": "production",
            "family": "availability",
            "need": ["D", 4],
            "status": "critical",
            "reason": "http.status",
            "facts": {},
            "since": NOW.wall,
        } },
    }))
    .unwrap()
}

struct Fixture {
    backend: Arc<FakeBackend>,
    clock: Arc<ManualClock>,
    links: Arc<Links>,
    base: String,
    client: Client,
    _dir: tempfile::TempDir,
}

fn settings(url: &str, tls: Option<TlsFiles>) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        url: url.to_owned(),
        tls,
        lasts: LASTS,
        expires: Some(Duration::from_secs(7_200)),
    }
}

/// A certificate of its own for this machine.
fn own() -> (KeyPair, Certificate) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (key, certificate)
}

fn client(trusted: &Certificate) -> ClientBuilder {
    let tls = client_config(&[trusted.der().clone()], "tests", None).unwrap();
    Client::builder().no_proxy().tls_backend_preconfigured(tls)
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let backend = Arc::new(FakeBackend::default());
    let clock = Arc::new(ManualClock::at(NOW));
    let links = Arc::new(Links::open(dir.path(), "https://vigie.example", LASTS).unwrap());
    let port = Acknowledge::bind(
        &settings("https://vigie.example", None),
        Arc::clone(&links),
        Arc::clone(&backend),
        Arc::clone(&clock) as _,
    )
    .await
    .unwrap();
    let base = format!("http://{}", port.local_address());
    tokio::spawn(port.serve());
    let client = client(&own().1).build().unwrap();
    Fixture {
        backend,
        clock,
        links,
        base,
        client,
        _dir: dir,
    }
}

impl Fixture {
    /// The path of the link in a transmission about the alerts that were told in these orders.
    fn path(&self, to: &str, orders: &[u64]) -> String {
        let to: Destination = to.parse().unwrap();
        let messages: Vec<Message> = orders.iter().map(|order| message(&to, *order)).collect();
        let messages: Vec<&Message> = messages.iter().collect();
        let link = self.links.link(&to, &messages, NOW.wall);
        link.strip_prefix("https://vigie.example")
            .unwrap()
            .to_owned()
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        let request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header(header::ACCEPT_LANGUAGE, "en");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    fn acknowledged(&self) -> usize {
        self.backend.events.lock().unwrap().len()
    }
}

#[tokio::test]
async fn looking_changes_nothing_and_pressing_the_button_acknowledges() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let (status, _) = port.ask(method, &path).await;
        assert_eq!((status, port.acknowledged()), (200, 0));
    }
    let (_, page) = port.ask(Method::GET, &path).await;
    assert!(page.contains("<button") && page.contains("#1841") && page.contains("#1842"));
    assert!(page.contains("dossier-patient: failing"), "{page}");

    let (status, page) = port.ask(Method::POST, &path).await;
    assert_eq!((status, port.acknowledged()), (200, 1));
    assert!(
        page.contains("<h1>Noted</h1>") && !page.contains("<button"),
        "{page}"
    );
    let events = port.backend.events.lock().unwrap().clone();
    assert_eq!(
        events,
        [Event::Operator(OperatorEvent::Acknowledged {
            numbers: vec![1_841, 1_842],
            by: Actor::Link("am/sms".parse().unwrap()),
            for_ms: Some(7_200_000),
        })]
    );
}

#[tokio::test]
async fn a_link_is_about_what_its_own_transmission_said_and_nothing_else() {
    let port = fixture().await;
    for (order, ours, other) in [(7, 1_841, "#1842"), (9, 1_842, "#1841")] {
        let path = port.path("am/sms", &[order]);
        let (_, page) = port.ask(Method::GET, &path).await;
        assert!(
            page.contains(&format!("#{ours}")) && !page.contains(other),
            "{page}"
        );
        let (_, page) = port.ask(Method::POST, &path).await;
        assert!(
            page.contains("<h1>Noted</h1>") && !page.contains(other),
            "{page}"
        );
        let on_it = port.backend.on_it.lock().unwrap().clone();
        assert!(on_it.iter().any(|(number, _)| *number == ours));
        port.backend.on_it.lock().unwrap().clear();
    }
    let (_, page) = port.ask(Method::GET, &port.path("jb/sms", &[7])).await;
    assert!(page.contains("<h1>Over</h1>"), "{page}");
    // More than a link can name: all that was told within its span.
    let (_, page) = port
        .ask(Method::GET, &port.path("am/sms", &[8, 9, 10]))
        .await;
    assert!(page.contains("#1842") && !page.contains("#1841"), "{page}");
}

#[tokio::test]
async fn the_second_to_press_is_told_who_came_first() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    port.backend
        .on_it
        .lock()
        .unwrap()
        .push((1_841, Actor::Link("jb/sms".parse().unwrap())));
    let (_, page) = port.ask(Method::POST, &path).await;
    assert!(page.contains("<h1>Noted</h1>"), "{page}");
    assert!(page.contains("failing (jb is on it)"), "{page}");
    assert!(page.contains("failing (am is on it)"), "{page}");

    let (status, page) = port.ask(Method::POST, &path).await;
    assert_eq!(status, 200);
    assert!(page.contains("Somebody was on it already"), "{page}");
    // The page that changes nothing sees it too, although it keeps what it saw for a moment.
    let (_, page) = port.ask(Method::GET, &path).await;
    assert!(
        page.contains("Somebody is on it") && !page.contains("<button"),
        "{page}"
    );
}

#[tokio::test]
async fn what_is_over_meanwhile_is_said_and_nothing_is_noted() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    *port.backend.is_over.lock().unwrap() = true;
    let (status, page) = port.ask(Method::POST, &path).await;
    assert_eq!((status, port.acknowledged()), (200, 0));
    assert!(page.contains("<h1>Over</h1>"), "{page}");
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_look_like_success() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    *port.backend.is_broken.lock().unwrap() = true;
    let (status, page) = port.ask(Method::POST, &path).await;
    assert_eq!(status, 503);
    assert!(
        page.contains("<h1>Not noted</h1>") && !page.contains("#1841"),
        "{page}"
    );
    // Nor is a message that is not in the log yet taken for one that is over.
    for order in [0, 21] {
        let (status, page) = port.ask(Method::GET, &port.path("am/sms", &[order])).await;
        assert_eq!(status, 503);
        assert!(!page.contains("Over"), "{page}");
    }
}

#[tokio::test]
async fn expired_forged_and_retired_links_are_refused_each_in_its_way() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    let mut forged = path.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    let retired = port.path("gone/sms", &[7]);
    port.clock.advance(LASTS + Duration::from_secs(1));
    for method in [Method::GET, Method::POST] {
        let (status, page) = port.ask(method.clone(), &path).await;
        assert_eq!(status, 410);
        assert!(
            page.contains("expired") && !page.contains("#1841"),
            "{page}"
        );
        let (status, page) = port.ask(method.clone(), &forged).await;
        assert_eq!(status, 404);
        assert!(page.contains("not valid"), "{page}");
    }
    port.clock.set_wall(NOW.wall);
    let (status, _) = port.ask(Method::POST, &retired).await;
    assert_eq!((status, port.acknowledged()), (404, 0));
}

#[tokio::test]
async fn nothing_else_is_served() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/a"),
        (Method::GET, "/a/"),
        (Method::GET, "/metrics"),
        (Method::GET, "/robots.txt"),
        (Method::POST, "/"),
        (Method::PUT, &path),
        (Method::DELETE, &path),
        (Method::OPTIONS, &path),
        (Method::POST, &format!("{path}/more")),
    ] {
        let (status, _) = port.ask(method.clone(), path).await;
        assert_eq!(status, 404, "{method} {path}");
    }
    assert_eq!(port.acknowledged(), 0);
}

#[tokio::test]
async fn pages_are_kept_by_nobody_and_may_load_nothing() {
    let port = fixture().await;
    for path in [port.path("am/sms", &[7, 9]), "/a/x".to_owned()] {
        let response = port
            .client
            .get(format!("{}{path}", port.base))
            .send()
            .await
            .unwrap();
        let headers = response.headers();
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && policy.contains("form-action 'self'")
        );
        assert!(!headers.contains_key(header::SET_COOKIE));
        assert!(response.text().await.unwrap().contains("lang=\"fr\""));
    }
}

#[tokio::test]
async fn a_body_is_not_read_and_a_long_head_is_refused() {
    let port = fixture().await;
    let path = port.path("am/sms", &[7, 9]);
    let address = port.base.strip_prefix("http://").unwrap();
    // It says that a gigabyte will come, and sends nothing of it: the answer does not wait for that.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "x".repeat(2 * HEAD_LEN_MAX)
    );
    // It may be refused before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
}

impl Fixture {
    /// What comes back for these bytes on one connection, until it is closed.
    async fn says(&self, bytes: &str) -> String {
        let address = self.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closed with something unread it may be a reset, after what was said.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test]
async fn one_connection_carries_one_request_and_a_path_has_one_spelling() {
    let port = fixture().await;
    let (first, second) = (port.path("am/sms", &[7]), port.path("am/sms", &[9]));
    let piped = format!(
        "POST {first} HTTP/1.1\r\nhost: x\r\n\r\nPOST {second} HTTP/1.1\r\nhost: x\r\n\r\n"
    );
    let answer = port.says(&piped).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(port.acknowledged(), 1);

    let token = second.strip_prefix("/a/").unwrap();
    let escaped = format!("/a/%{:02x}{}", token.as_bytes()[0], &token[1..]);
    for path in [&escaped, "/a/%ff", "/a/../a/x", "/a//x", "/A/x", "//a/x"] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = port.says(&request).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    for method in ["GET", "POST"] {
        let answer = port
            .says(&format!("{method} {second} HTTP/2.0\r\n\r\n"))
            .await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(port.acknowledged(), 1);
}

#[tokio::test]
async fn over_tls_the_page_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = own();
    let (certificate_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let links = Arc::new(Links::open(dir.path(), "https://localhost", LASTS).unwrap());
    let tls = TlsFiles {
        certificate_file,
        key_file: SecretFile::at(key_file),
    };
    let port = Acknowledge::bind(
        &settings("https://localhost", Some(tls)),
        Arc::clone(&links),
        Arc::new(FakeBackend::default()),
        Arc::new(ManualClock::at(NOW)) as _,
    )
    .await
    .unwrap();
    let address = port.local_address();
    tokio::spawn(port.serve());
    let client = client(&certificate)
        .resolve("localhost", address)
        .build()
        .unwrap();
    let to = "am/sms".parse().unwrap();
    let link = links.link(&to, &[&message(&to, 9)], NOW.wall);
    let token = link.rsplit('/').next().unwrap();
    let url = format!("https://localhost:{}/a/{token}", address.port());
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().contains("<button"));
}
