//! Over real sockets, with real TLS: what a scraper gets, and who gets nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response as Answer};
use vigie_platform::{scrape_guard::CHALLENGE, settings_file};

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TLS: &str = "certificate_file = \"DIR/cert.pem\"\nkey_file = \"DIR/key.pem\"\n";
const CLIENTS: &str = "client_ca_file = \"DIR/clients.pem\"\n";
const BEARER: &str = "bearer_file = \"DIR/token\"\n";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(ca: &Ca, usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A server of metrics under a guard, and everything that a scraper may have.
struct Stage {
    folder: tempfile::TempDir,
    address: SocketAddr,
    guard: watch::Sender<Arc<ScrapeGuard>>,
    server_ca: Ca,
    clients_ca: Ca,
}

impl Stage {
    async fn new(section: &[&str]) -> Self {
        let (server_ca, clients_ca) = (ca(), ca());
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = leaf(&server_ca, ExtendedKeyUsagePurpose::ServerAuth);
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let stage = Self {
            folder,
            address: listener.local_address(),
            guard: watch::Sender::new(Arc::new(ScrapeGuard::open())),
            server_ca,
            clients_ca,
        };
        stage.file("cert.pem", &certificate);
        stage.file("key.pem", &key);
        stage.file("clients.pem", &stage.clients_ca.pem());
        stage.file("token", TOKEN);
        stage.guard.send_replace(Arc::new(stage.read(section)));
        let node = "app-01".parse().unwrap();
        let metrics = Arc::new(Metrics::new(Some(&node), &[]).unwrap());
        tokio::spawn(serve(listener, metrics, stage.guard.subscribe()));
        stage
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, section: &[&str]) -> ScrapeGuard {
        let dir = self.folder.path().display().to_string();
        let text = format!("[scrape]\n{}", section.concat()).replace("DIR", &dir);
        self.file("settings.toml", &text);
        let none: [(&str, &str); 0] = [];
        let loaded = settings_file::load(&self.folder.path().join("settings.toml"), none);
        let guard = ScrapeGuard::read(&loaded.root());
        match loaded.finish(guard) {
            Ok(guard) => guard,
            Err(mistakes) => panic!("{mistakes}"),
        }
    }

    /// A scraper that trusts the server and shows a certificate of this CA.
    fn scraper(&self, shows: Option<&Ca>) -> Client {
        // As `main` does; whoever is first wins, and all choose the same.
        let _ = vigie_platform::tls::provider()
            .as_ref()
            .clone()
            .install_default();
        let trusted = Certificate::from_pem(self.server_ca.pem().as_bytes()).unwrap();
        let mut client = Client::builder()
            .no_proxy()
            // A connection kept for the next request may be ending just then, with the guard it was made under.
            .pool_max_idle_per_host(0)
            .tls_certs_only([trusted]);
        if let Some(ca) = shows {
            let (certificate, key) = leaf(ca, ExtendedKeyUsagePurpose::ClientAuth);
            let identity = Identity::from_pem(format!("{certificate}{key}").as_bytes());
            client = client.identity(identity.unwrap());
        }
        client.build().unwrap()
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/metrics", self.address)
    }
}

async fn shown(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

async fn refused(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], CHALLENGE);
    assert_eq!(answer.headers()[header::CONNECTION], "close");
    let text = answer.text().await.unwrap();
    assert!(!text.contains("vigie_"), "{text}");
}

#[tokio::test]
async fn on_loopback_everybody_may_read() {
    let stage = Stage::new(&[]).await;
    let scraper = stage.scraper(None);
    let answer = shown(scraper.get(stage.url("http"))).await;
    assert_eq!(
        answer.headers()[header::CONTENT_TYPE],
        "text/plain; version=0.0.4"
    );
    let text = answer.text().await.unwrap();
    assert!(text.contains("vigie_build_info{"), "{text}");

    let elsewhere = format!("http://{}/", stage.address);
    let answer = scraper.get(elsewhere).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = scraper.post(stage.url("http")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()[header::ALLOW], "GET, HEAD");
}

#[tokio::test]
async fn a_client_ca_shows_metrics_to_those_it_vouches_for() {
    let stage = Stage::new(&[TLS, CLIENTS]).await;
    let right = stage.scraper(Some(&stage.clients_ca));
    let text = shown(right.get(stage.url("https"))).await.text().await;
    assert!(text.unwrap().contains("vigie_build_info{"));

    for wrong in [
        stage.scraper(None),
        stage.scraper(Some(&ca())),
        stage.scraper(Some(&stage.server_ca)),
    ] {
        wrong.get(stage.url("https")).send().await.unwrap_err();
        wrong.get(stage.url("http")).send().await.unwrap_err();
    }
}

#[tokio::test]
async fn a_token_shows_metrics_to_those_who_have_it() {
    for (section, scheme) in [(vec![TLS, BEARER], "https"), (vec![BEARER], "http")] {
        let stage = Stage::new(&section).await;
        let scraper = stage.scraper(None);
        let get = || scraper.get(stage.url(scheme));
        shown(get().bearer_auth(TOKEN)).await;
        refused(get()).await;
        refused(get().bearer_auth("another")).await;
        refused(get().basic_auth("vigie", Some(TOKEN))).await;
        // What is there to be found is not told either.
        refused(scraper.get(format!("{scheme}://{}/", stage.address))).await;
        refused(scraper.post(stage.url(scheme))).await;
        shown(get().bearer_auth(TOKEN)).await;
    }
}

#[tokio::test]
async fn with_both_configured_both_are_demanded() {
    let stage = Stage::new(&[TLS, CLIENTS, BEARER]).await;
    let with_certificate = stage.scraper(Some(&stage.clients_ca));
    let url = stage.url("https");
    shown(with_certificate.get(&url).bearer_auth(TOKEN)).await;
    refused(with_certificate.get(&url)).await;
    let without = stage.scraper(None);
    without
        .get(&url)
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_new_token_counts_from_the_next_request_on() {
    let stage = Stage::new(&[BEARER]).await;
    let scraper = stage.scraper(None);
    let get = || scraper.get(stage.url("http"));
    shown(get().bearer_auth(TOKEN)).await;

    let new = "fedcba9876543210fedcba9876543210";
    stage.file("token", new);
    stage.guard.send_replace(Arc::new(stage.read(&[BEARER])));
    refused(get().bearer_auth(TOKEN)).await;
    shown(get().bearer_auth(new)).await;
}

#[tokio::test]
async fn connections_end_with_the_guard_they_were_made_under() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let Stage {
        folder: _folder,
        address,
        guard,
        ..
    } = Stage::new(&[]).await;
    let connected = async || {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"HEAD /metrics HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
        stream
    };
    let mut stream = connected().await;
    guard.send_replace(Arc::new(ScrapeGuard::open()));
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    // A server that is shown elsewhere from now on drops its guard.
    let mut stream = connected().await;
    drop(guard);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}
