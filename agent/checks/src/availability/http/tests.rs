//! The whole check against servers on loopback, one for each way to answer or to fail.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, sync::Mutex, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;
use vigie_core::{
    observation::Fact,
    time::{Now, Wall},
};
use vigie_platform::{
    clock::{Clock, ManualClock},
    tls::provider,
};

use super::*;
use crate::availability::fixture::{
    built, closed_port, context, context_with, head, reset, run, run_one, server, told,
};

const UP: &str = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"UP\"}";

/// A server that answers every request with the same bytes and closes.
async fn answering(answer: &'static str) -> u16 {
    server(move |mut stream| async move {
        head(&mut stream).await;
        finish(&mut stream, answer).await;
    })
    .await
}

/// Whatever comes first: the probe's request or its TLS hello, both of which take one segment.
async fn first_bytes(stream: &mut TcpStream) {
    assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
}

async fn finish(stream: &mut (impl AsyncWrite + Unpin), answer: &str) {
    // The probe may have hung up: it reads no more than it needs.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn asked(port: u16, keys: &str) -> Observation {
    let keys = format!("url = \"http://127.0.0.1:{port}/health?ins=1840\"\n{keys}");
    run_one(&KIND, &context(), &keys).await
}

fn measured(observation: &Observation, metric: MetricId) -> Vec<f64> {
    let of_metric = observation
        .measurements
        .iter()
        .filter(|m| m.metric == metric);
    of_metric.map(|m| m.value).collect()
}

fn labels(observation: &Observation) -> Vec<&'static str> {
    let of_metric = observation
        .measurements
        .iter()
        .filter(|m| m.metric == PHASE_DURATION);
    of_metric.map(|m| m.label).collect()
}

#[tokio::test]
async fn an_answer_as_expected_is_well_and_measured() {
    let port = answering(UP).await;
    let observation = asked(port, "expect = { body = '\"status\":\"UP\"' }").await;
    assert_eq!(
        told(&observation, "got"),
        (Status::Ok, "http.ok", "200".to_owned())
    );
    assert_eq!(observation.object.as_ref().unwrap().as_str(), "127.0.0.1");
    assert_eq!(
        labels(&observation),
        ["connect", "first_byte", "body", "total"]
    );
    assert_eq!(measured(&observation, STATUS_CODE), [200.0]);
    assert!(measured(&observation, NOT_AFTER).is_empty());
}

#[tokio::test]
async fn a_name_and_its_addresses_are_judged_apart() {
    let port = answering(UP).await;
    let found = run(
        &KIND,
        &context(),
        &format!("url = \"http://app.here:{port}/\""),
    )
    .await;
    let objects: Vec<_> = found
        .iter()
        .map(|o| (o.object.as_ref().unwrap().as_str(), o.reason.code()))
        .collect();
    assert_eq!(
        objects,
        [("app.here", "net.resolved"), ("127.0.0.1", "http.ok")]
    );
    assert_eq!(
        labels(&found[1]),
        ["resolve", "connect", "first_byte", "body", "total"]
    );

    let first = format!("url = \"http://app.here:{port}/\"\naddresses = \"first\"");
    let first = run_one(&KIND, &context(), &first).await;
    assert_eq!(first.object.as_ref().unwrap().as_str(), "app.here");
    assert_eq!(first.status, Status::Ok);

    let absent = run_one(&KIND, &context(), "url = \"http://app.invalid/\"").await;
    assert_eq!(told(&absent, "").1, "net.no_address");
    let unsaid = run_one(&KIND, &context(), "url = \"http://app.example/\"").await;
    assert_eq!(
        (unsaid.status, unsaid.reason.code()),
        (Status::Unknown, "net.resolver")
    );
}

#[tokio::test]
async fn answers_that_are_not_as_expected_say_how() {
    let port = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let observation = asked(port, "expect = { status = [200, 204] }").await;
    assert_eq!(
        told(&observation, "got"),
        (Status::Critical, "http.status", "503".to_owned())
    );
    assert_eq!(
        observation.facts["expected"].to_json().to_string(),
        "[200,204]"
    );
    assert_eq!(measured(&observation, STATUS_CODE), [503.0]);

    let port = answering(UP).await;
    let cases = [
        ("expect = { body = 'DOWN' }", "http.body_missing"),
        (
            "expect = { body_regex = 'status\"\\s*:\\s*\"DOWN' }",
            "http.body_missing",
        ),
        (
            "expect = { body_regex = 'status\"\\s*:\\s*\"UP' }",
            "http.ok",
        ),
        ("expect = { body_not = 'status' }", "http.body_forbidden"),
        (
            "method = \"POST\"\nexpect = { status = [201] }",
            "http.status",
        ),
    ];
    for (keys, reason) in cases {
        assert_eq!(asked(port, keys).await.reason.code(), reason, "{keys}");
    }
}

#[tokio::test]
async fn a_body_longer_than_is_read_decides_only_what_it_can() {
    let port = server(|mut stream| async move {
        head(&mut stream).await;
        let beginning = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nUP ";
        let _ = stream.write_all(beginning.as_bytes()).await;
        while stream.write_all(&[b'.'; 65_536]).await.is_ok() {}
    })
    .await;
    for (keys, status, reason) in [
        ("", Status::Ok, "http.ok"),
        ("expect = { body = 'UP' }", Status::Ok, "http.ok"),
        (
            "expect = { body = 'DOWN' }",
            Status::Unknown,
            "http.body_too_long",
        ),
        (
            "expect = { body_not = 'UP' }",
            Status::Critical,
            "http.body_forbidden",
        ),
    ] {
        let observation = asked(port, keys).await;
        assert_eq!(
            (observation.status, observation.reason.code()),
            (status, reason),
            "{keys}"
        );
    }
}

#[tokio::test]
async fn each_broken_conversation_has_its_reason_and_phase() {
    let (_socket, closed) = closed_port().await;
    assert_eq!(told(&asked(closed, "").await, "").1, "net.refused");

    let resets = server(|mut stream| async move {
        head(&mut stream).await;
        reset(stream);
    })
    .await;
    let expected = (Status::Critical, "net.reset", "first_byte".to_owned());
    assert_eq!(told(&asked(resets, "").await, "phase"), expected);

    let resets_late = server(|mut stream| async move {
        head(&mut stream).await;
        let beginning = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nU";
        stream.write_all(beginning).await.unwrap();
        // Gone only when the probe has read that much and says so by its own end.
        let _ = stream.shutdown().await;
    })
    .await;
    let expected = (Status::Critical, "http.protocol", "body".to_owned());
    assert_eq!(told(&asked(resets_late, "").await, "phase"), expected);

    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "", "HTTP/1.1 abc\r\n\r\n"] {
        let port = answering(garbage).await;
        let expected = (Status::Critical, "http.protocol", "first_byte".to_owned());
        assert_eq!(
            told(&asked(port, "").await, "phase"),
            expected,
            "{garbage:?}"
        );
    }
    let nowhere = run_one(&KIND, &context(), "url = \"http://255.255.255.255/\"").await;
    assert_eq!(told(&nowhere, "").1, "net.unreachable");
}

/// Runs a check against a server that reads something, says `beginning` and then nothing; then the deadline passes.
async fn silence_after(scheme: &str, beginning: &'static str) -> Observation {
    let clock = Arc::new(ManualClock::at(Now::default()));
    let context = context_with(Arc::clone(&clock) as Arc<dyn Clock>, 5_000);
    let asked = Arc::new(Notify::new());
    let server_asked = Arc::clone(&asked);
    let port = server(move |mut stream| {
        let asked = Arc::clone(&server_asked);
        async move {
            first_bytes(&mut stream).await;
            stream.write_all(beginning.as_bytes()).await.unwrap();
            asked.notify_one();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let authority = Authority::new();
    let trust = if scheme == "https" {
        authority.ca_file()
    } else {
        String::new()
    };
    let keys = format!("url = \"{scheme}://127.0.0.1:{port}/\"\n{trust}");
    let (observation, ()) = tokio::join!(run_one(&KIND, &context, &keys), async {
        asked.notified().await;
        clock.advance(Duration::from_secs(5));
    });
    observation
}

#[tokio::test]
async fn a_timeout_says_what_was_waited_for() {
    for (scheme, beginning, phase) in [
        ("http", "", "first_byte"),
        (
            "http",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nU",
            "body",
        ),
        ("https", "", "tls"),
    ] {
        let observation = silence_after(scheme, beginning).await;
        let expected = (Status::Critical, "net.timeout", phase.to_owned());
        assert_eq!(told(&observation, "phase"), expected);
    }
}

/// Answers with a redirect to where the request's path says (`/to/URL`), and `UP` to `/up`.
async fn redirecting() -> (u16, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let port = server(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let head = head(&mut stream).await;
            let path = head.split(' ').nth(1).unwrap().to_owned();
            seen.lock().unwrap().push(head.to_lowercase());
            let answer = match path.strip_prefix("/to/") {
                Some(location) => {
                    format!(
                        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                    )
                }
                None => UP.to_owned(),
            };
            finish(&mut stream, &answer).await;
        }
    })
    .await;
    (port, heads)
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_the_settings_say() {
    let (port, _) = redirecting().await;
    for (path, keys, expected) in [
        ("/to//up", "", "http.status"),
        ("/to//up", "redirects = 1", "http.ok"),
        (
            "/to//up",
            "redirects = 1\nexpect = { status = [302] }",
            "http.ok",
        ),
        ("/to//to//up", "redirects = 1", "http.redirects"),
        ("/to//to//up", "redirects = 2", "http.ok"),
        // Leads to itself for ever.
        ("/to/?", "redirects = 10", "http.redirects"),
        (
            "/to/ftp://a.here/",
            "redirects = 1",
            "http.redirect_refused",
        ),
        (
            "/to/http://b.here/",
            "redirects = 1",
            "http.redirect_refused",
        ),
    ] {
        let keys = format!("url = \"http://127.0.0.1:{port}{path}\"\n{keys}");
        let observation = run_one(&KIND, &context(), &keys).await;
        assert_eq!(observation.reason.code(), expected, "{keys}");
    }
}

#[tokio::test]
async fn secret_headers_reach_the_server_of_the_settings_and_no_other() {
    let (port, heads) = redirecting().await;
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret
        .write_all(b"Authorization: Bearer s3cret\nX-Site: nord\n")
        .unwrap();
    secret
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    let keys = format!(
        "url = \"http://a.here:{port}/to/http://b.here:{port}/up\"\naddresses = \"first\"\n\
         headers = [\"Accept: application/json\"]\nheader_file = \"{}\"\n\
         redirects = 1\nredirect_hosts = \"any\"",
        secret.path().display()
    );
    let observation = run_one(&KIND, &context(), &keys).await;
    assert_eq!(observation.reason.code(), "http.ok");
    let heads = heads.lock().unwrap();
    assert!(heads[0].contains("authorization: bearer s3cret\r\n"));
    assert!(heads[0].contains("accept: application/json\r\n"));
    assert!(heads[0].contains(&format!("host: a.here:{port}\r\n")));
    assert!(heads[0].contains("user-agent: vigie-agent/"));
    assert!(!heads[1].contains("s3cret") && !heads[1].contains("x-site"));
    assert!(heads[1].contains(&format!("host: b.here:{port}\r\n")));
    assert!(!format!("{observation:?}").contains("b.here"));
}

#[tokio::test]
async fn an_observation_holds_nothing_of_path_query_or_body() {
    let port =
        answering("HTTP/1.1 500 Marie\r\nX-Name: Dupont\r\nContent-Length: 6\r\n\r\nDupont").await;
    let shown = format!("{:?}", asked(port, "").await);
    for private in ["health", "ins", "1840", "Marie", "Dupont"] {
        assert!(!shown.contains(private), "{private} in {shown}");
    }
}

/// A certificate authority of the test's own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

/// Valid from 2020 to 2030, in whose middle the tests' clock stands.
const NOT_BEFORE: i32 = 2020;
const NOT_AFTER_YEAR: i32 = 2030;

fn at(text: &str) -> Wall {
    Wall::parse(text).unwrap()
}

impl Authority {
    fn new() -> Self {
        Self::called("Autorité de confiance")
    }

    fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    fn ca_file(&self) -> String {
        format!("ca_file = \"{}\"", self.file.path().display())
    }

    /// A server's side of TLS with a certificate for `name`.
    fn server_config(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(NOT_BEFORE, 1, 1);
        params.not_after = rcgen::date_time_ymd(NOT_AFTER_YEAR, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// A server that answers `UP` over TLS.
async fn secured(config: ServerConfig) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                head(&mut stream).await;
                finish(&mut stream, UP).await;
            }
        }
    })
    .await
}

/// What a check of `https://app.here:port/` finds at `now`; the observation of its address.
async fn asked_securely(port: u16, trust: &str, now: &str) -> Observation {
    let clock = ManualClock::at(Now {
        wall: at(now),
        ..Now::default()
    });
    let context = context_with(Arc::new(clock), 3_600_000);
    let keys = format!("url = \"https://app.here:{port}/\"\n{trust}");
    run(&KIND, &context, &keys).await.pop().unwrap()
}

const IN_BETWEEN: &str = "2025-01-01T00:00:00Z";

#[tokio::test]
async fn a_trusted_certificate_is_well_and_its_end_is_measured() {
    let authority = Authority::new();
    let port = secured(authority.server_config("app.here")).await;
    let observation = asked_securely(port, &authority.ca_file(), IN_BETWEEN).await;
    assert_eq!(observation.reason.code(), "http.ok");
    let end = at("2030-01-01T00:00:00Z").0 / 1000;
    assert_eq!(measured(&observation, NOT_AFTER), [end as f64]);
    assert_eq!(
        labels(&observation),
        ["resolve", "connect", "tls", "first_byte", "body", "total"]
    );
}

#[tokio::test]
async fn a_refused_certificate_says_why_and_its_end_is_still_measured() {
    let authority = Authority::new();
    let trusted = authority.ca_file();
    let stranger = Authority::called("Autre autorité");
    let good = secured(authority.server_config("app.here")).await;
    let misnamed = secured(authority.server_config("other.here")).await;
    for (port, trust, now, why) in [
        (good, &trusted, "2031-01-01T00:00:00Z", "expired"),
        (good, &trusted, "2019-01-01T00:00:00Z", "not_yet_valid"),
        (good, &stranger.ca_file(), IN_BETWEEN, "unknown_issuer"),
        (misnamed, &trusted, IN_BETWEEN, "wrong_name"),
    ] {
        let observation = asked_securely(port, trust, now).await;
        let expected = (Status::Critical, "tls.certificate", why.to_owned());
        assert_eq!(told(&observation, "why"), expected);
        let end = at("2030-01-01T00:00:00Z");
        assert_eq!(observation.facts["not_after"], Fact::Time(end), "{why}");
        assert_eq!(
            measured(&observation, NOT_AFTER),
            [(end.0 / 1000) as f64],
            "{why}"
        );
        assert_eq!(labels(&observation), ["resolve", "connect", "tls", "total"]);
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_not_trusted() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["app.here".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(NOT_BEFORE, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let port = secured(config).await;
    for (now, why) in [
        (IN_BETWEEN, "expired"),
        ("2020-06-01T00:00:00Z", "unknown_issuer"),
    ] {
        let observation = asked_securely(port, &authority.ca_file(), now).await;
        let expected = (Status::Critical, "tls.certificate", why.to_owned());
        assert_eq!(told(&observation, "why"), expected);
    }
}

#[tokio::test]
async fn an_authority_is_no_server() {
    let authority = Authority::new();
    let key = PrivateKeyDer::try_from(authority.issuer.key().serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![authority.issuer.der().clone()], key)
        .unwrap();
    let port = secured(config).await;
    let observation = asked_securely(port, &authority.ca_file(), IN_BETWEEN).await;
    let expected = (
        Status::Critical,
        "tls.certificate",
        "ca_as_server".to_owned(),
    );
    assert_eq!(told(&observation, "why"), expected);
}

#[tokio::test]
async fn a_failed_handshake_says_what_the_peer_said() {
    let authority = Authority::new();
    let mut other_protocol = authority.server_config("app.here");
    other_protocol.alpn_protocols = vec![b"h2".to_vec()];
    let h2_only = secured(other_protocol).await;
    let plain = server(|mut stream| async move {
        first_bytes(&mut stream).await;
        finish(&mut stream, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let closes = server(|mut stream| async move {
        first_bytes(&mut stream).await;
        drop(stream);
    })
    .await;
    for (port, why) in [
        (h2_only, "alert_no_application_protocol"),
        (plain, "not_tls"),
        (closes, "closed"),
    ] {
        let observation = asked_securely(port, &authority.ca_file(), IN_BETWEEN).await;
        let expected = (Status::Critical, "tls.handshake", why.to_owned());
        assert_eq!(told(&observation, "why"), expected);
    }
}

#[tokio::test]
async fn one_check_probes_again_and_again() {
    let authority = Authority::new();
    let port = secured(authority.server_config("127.0.0.1")).await;
    let settings = format!(
        "[check.c]\nkind = \"http\"\nurl = \"https://127.0.0.1:{port}/\"\n{}",
        authority.ca_file()
    );
    let mut check = built(&KIND, &settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    for _ in 0..3 {
        let clock = ManualClock::at(Now {
            wall: at(IN_BETWEEN),
            ..Now::default()
        });
        let found = check.run(&context_with(Arc::new(clock), 1_000)).await;
        assert_eq!(
            found[0].reason.code(),
            "http.ok",
            "an address may be named by a certificate"
        );
        assert_eq!(
            measured(&found[0], NOT_AFTER).len(),
            1,
            "no session is resumed"
        );
    }
}

#[test]
fn the_example_is_a_complete_check() {
    let built = built(&KIND, KIND.example);
    assert!(built.is_ok(), "{}", built.err().unwrap());
}

#[test]
fn every_mistake_is_told_without_the_secret_in_it() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret").unwrap();
    for (keys, count) in [
        ("", 1),
        ("url = \"https://marie:s3cret@a.example/\"", 1),
        ("url = \"https://a.example/?token=s3cret\"", 1),
        ("url = \"https://1.2.3/\"", 1),
        (
            "url = \"http://a.example/\"\nca_file = \"/etc/ssl/ca.pem\"",
            1,
        ),
        (
            "url = \"https://a.example/\"\nca_file = \"/no/such/file\"",
            1,
        ),
        (
            "url = \"http://a.example/\"\nheaders = [\"Cookie: s3cret\"]",
            1,
        ),
        (
            "url = \"http://a.example/\"\nheaders = [\"X-Api-Key: s3cret\"]",
            1,
        ),
        ("url = \"http://a.example/\"\nheaders = [\"Host: b\"]", 1),
        ("url = \"http://a.example/\"\nheaders = [\"s3cret\"]", 1),
        ("url = \"http://a.example/\"\nredirect_hosts = \"any\"", 1),
        (
            "url = \"http://a.example/\"\nredirects = 11\naddresses = \"some\"",
            2,
        ),
        (
            "url = \"http://a.example/\"\nmethod = \"HEAD\"\nexpect = { body = \"UP\" }",
            1,
        ),
        (
            "url = \"http://a.example/\"\nexpect = { status = [99], body = \"\", body_regex = \"(\" }",
            3,
        ),
        ("url = \"http://a.example/\"\nexpect = { bodi = \"UP\" }", 1),
        (
            &format!(
                "url = \"http://a.example/\"\nheader_file = \"{}\"",
                secret.path().display()
            ),
            1,
        ),
    ] {
        let settings = format!("[check.c]\nkind = \"http\"\n{keys}\n");
        let mistakes = built(&KIND, &settings).err().unwrap();
        assert_eq!(mistakes.iter().count(), count, "{keys}: {mistakes}");
        assert!(!mistakes.to_string().contains("s3cret"), "{mistakes}");
    }
}
