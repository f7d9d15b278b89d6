#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::PathBuf};

use bytes::Bytes;
use http_body_util::Full;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::settings_file::{self, Mistakes};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key under `ca`.
fn leaf(ca: &Ca, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["app-01.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    (params.signed_by(&key, ca).unwrap(), key)
}

/// A folder with all files that the section may name.
struct Folder {
    folder: tempfile::TempDir,
    server_ca: Ca,
    clients_ca: Ca,
}

impl Folder {
    fn new() -> Self {
        let (server_ca, clients_ca) = (ca("server"), ca("clients"));
        let folder = Self {
            folder: tempfile::tempdir().unwrap(),
            server_ca,
            clients_ca,
        };
        let (certificate, key) = leaf(&folder.server_ca, ExtendedKeyUsagePurpose::ServerAuth);
        folder.file("cert.pem", &certificate.pem());
        folder.file("key.pem", &key.serialize_pem());
        folder.file("clients.pem", &folder.clients_ca.pem());
        folder.file("token", &format!("{TOKEN}\n"));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The guard of these settings at this address, where DIR stands for the folder.
    fn read(&self, settings: &str, address: &str) -> Result<ScrapeGuard, Mistakes> {
        let settings = settings.replace("DIR", &self.folder.path().display().to_string());
        self.file(
            "settings.toml",
            &format!("listen = \"{address}\"\n{settings}"),
        );
        let none: [(&str, &str); 0] = [];
        let loaded = settings_file::load(&self.path("settings.toml"), none);
        let root = loaded.root();
        root.has("listen");
        let guard = ScrapeGuard::read(&root);
        if let Some(guard) = &guard {
            guard.judge_address(&root, "listen", address.parse().unwrap());
        }
        root.finish();
        loaded.finish(guard)
    }

    fn guard(&self, settings: &str) -> ScrapeGuard {
        match self.read(settings, "127.0.0.1:9478") {
            Ok(guard) => guard,
            Err(mistakes) => panic!("{mistakes}"),
        }
    }

    fn mistakes(&self, settings: &str, address: &str) -> String {
        let mistakes = self.read(settings, address).unwrap_err().to_string();
        mistakes.replace(&self.folder.path().display().to_string(), "DIR")
    }

    /// A client that trusts the server and shows a certificate of this CA.
    fn client(&self, shows: Option<&Ca>) -> TlsConnector {
        let identity = shows.map(|ca| {
            let (certificate, key) = leaf(ca, ExtendedKeyUsagePurpose::ClientAuth);
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let credential =
                HotCredential::new(vec![certificate.der().clone()], &SecretKey::new(key));
            Arc::new(credential.unwrap())
        });
        let config = tls::client_config(&[self.server_ca.der().clone()], "the CA", identity);
        TlsConnector::from(Arc::new(config.unwrap()))
    }
}

const TLS: &str = "certificate_file = \"DIR/cert.pem\"\nkey_file = \"DIR/key.pem\"\n";
const CLIENTS: &str = "client_ca_file = \"DIR/clients.pem\"\n";
const BEARER: &str = "bearer_file = \"DIR/token\"\n";

fn scrape(parts: &[&str]) -> String {
    format!("[scrape]\n{}", parts.concat())
}

#[test]
fn other_machines_are_admitted_only_with_tls_and_a_proof() {
    let folder = Folder::new();
    let loopback = ["127.0.0.1:9478", "[::1]:9478", "127.8.8.8:1"];
    let open = [
        "0.0.0.0:9478",
        "[::]:9478",
        "192.0.2.7:9478",
        "[::ffff:127.0.0.1]:9478",
    ];
    let enough = [
        scrape(&[TLS, CLIENTS]),
        scrape(&[TLS, BEARER]),
        scrape(&[TLS, CLIENTS, BEARER]),
    ];
    let too_little = [
        String::new(),
        scrape(&[]),
        scrape(&[BEARER]),
        scrape(&[TLS]),
    ];
    for settings in enough.iter().chain(&too_little) {
        for address in loopback {
            assert!(folder.read(settings, address).is_ok(), "{settings}");
        }
    }
    for address in open {
        for settings in &enough {
            assert!(folder.read(settings, address).is_ok(), "{settings}");
        }
        for settings in &too_little {
            let told = folder.mistakes(settings, address);
            assert!(
                told.contains("1:10: `listen`: metrics would be open to"),
                "{told}"
            );
        }
    }
    let told = folder.mistakes("", "0.0.0.0:9478");
    assert!(told.contains("`certificate_file`, `key_file`"), "{told}");
    let told = folder.mistakes(&scrape(&[TLS]), "0.0.0.0:9478");
    assert!(
        told.contains("write `client_ca_file` or `bearer_file` into `[scrape]` too"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_with_a_file_is_told_at_its_key() {
    let folder = Folder::new();
    let (_, other_key) = leaf(&folder.server_ca, ExtendedKeyUsagePurpose::ServerAuth);
    folder.file("other-key.pem", &other_key.serialize_pem());
    folder.file("short", "s3cret");
    folder.file("spaced", "a token that is long enough");
    folder.file("long", &"a".repeat(TOKEN_LEN_MAX + 1));
    folder.file("empty.pem", "nothing");
    let certificate = "certificate_file = \"DIR/cert.pem\"\n";
    for (parts, told) in [
        (vec![certificate], "`key_file` is missing in `scrape`"),
        (
            vec!["key_file = \"DIR/key.pem\""],
            "`certificate_file` is missing in `scrape`",
        ),
        (vec![CLIENTS], "`certificate_file` is missing in `scrape`"),
        (
            vec![certificate, "key_file = \"DIR/other-key.pem\""],
            "`key_file`: the private key does not fit the certificate",
        ),
        (
            vec![TLS, "client_ca_file = \"DIR/empty.pem\""],
            "`client_ca_file`: DIR/empty.pem holds no certificate",
        ),
        (
            vec![TLS, "client_ca_file = \"DIR/absent.pem\""],
            "`client_ca_file`: cannot read DIR/absent.pem: No such file",
        ),
        (
            vec!["bearer_file = \"DIR/short\""],
            "`bearer_file`: too short a token in DIR/short; put a long random word there",
        ),
        (
            vec!["bearer_file = \"DIR/long\""],
            "`bearer_file`: too long a token",
        ),
        (
            vec!["bearer_file = \"DIR/spaced\""],
            "`bearer_file`: characters that no token has",
        ),
        (
            vec!["bearer = \"s3cret\""],
            "`bearer` must not be in the settings",
        ),
        (vec!["user = \"x\""], "unknown key `user`"),
    ] {
        let mistakes = folder.mistakes(&scrape(&parts), "127.0.0.1:9478");
        assert!(mistakes.contains(told), "{mistakes}");
        assert!(!mistakes.contains("s3cret"), "{mistakes}");
        assert_eq!(
            mistakes.lines().count(),
            if parts == [CLIENTS] { 2 } else { 1 },
            "{mistakes}"
        );
    }
    for secret in ["key.pem", "token"] {
        folder.mode(secret, 0o644);
        let told = folder.mistakes(&scrape(&[TLS, BEARER]), "127.0.0.1:9478");
        assert!(told.contains("its mode 0644 lets others in"), "{told}");
        folder.mode(secret, 0o600);
    }
}

#[test]
fn guards_are_equal_as_long_as_their_files_are() {
    let folder = Folder::new();
    let all = scrape(&[TLS, CLIENTS, BEARER]);
    assert_eq!(folder.guard(&all), folder.guard(&all));
    assert_eq!(folder.guard(""), ScrapeGuard::open());
    assert_eq!(folder.guard(&scrape(&[])), ScrapeGuard::open());
    assert_eq!(folder.guard(&all).scheme(), "https");
    assert_eq!(folder.guard(&scrape(&[BEARER])).scheme(), "http");

    let before = folder.guard(&all);
    assert_ne!(before, folder.guard(&scrape(&[TLS, CLIENTS])));
    assert_ne!(before, folder.guard(&scrape(&[TLS, BEARER])));
    folder.file("clients.pem", &ca("others").pem());
    let with_other_clients = folder.guard(&all);
    assert_ne!(before, with_other_clients);
    folder.file("token", "another-token-that-is-long-enough");
    assert_ne!(with_other_clients, folder.guard(&all));
}

#[test]
fn only_the_token_itself_is_the_token() {
    let folder = Folder::new();
    let guard = folder.guard(&scrape(&[BEARER]));
    for right in [
        format!("Bearer {TOKEN}"),
        format!("bearer {TOKEN}"),
        format!("BEARER   {TOKEN} "),
    ] {
        assert_eq!(guard.authorise(Some(right.as_bytes())), Ok(()), "{right}");
    }
    let mut wrong = vec![
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        format!("Bearer{TOKEN}"),
        format!("Bearer {TOKEN}0"),
        format!("Bearer {}", &TOKEN[1..]),
        format!("Bearer {TOKEN} {TOKEN}"),
        format!("Bearer {}", TOKEN.to_uppercase()),
    ];
    for position in 0..TOKEN.len() {
        let mut other = TOKEN.to_owned().into_bytes();
        other[position] ^= 1;
        wrong.push(format!("Bearer {}", String::from_utf8(other).unwrap()));
    }
    for wrong in wrong {
        let verdict = guard.authorise(Some(wrong.as_bytes()));
        assert_eq!(verdict, Err(Unauthorised), "{wrong}");
    }
    assert_eq!(guard.authorise(None), Err(Unauthorised));
    assert_eq!(guard.authorise(Some(b"Bearer \xff\xfe")), Err(Unauthorised));
    assert_eq!(ScrapeGuard::open().authorise(None), Ok(()));
    let shown = format!("{guard:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
}

/// A port that answers `hello` to whoever may speak.
async fn greeter(guard: ScrapeGuard) -> (SocketAddr, watch::Sender<Arc<ScrapeGuard>>) {
    let guard = watch::Sender::new(Arc::new(guard));
    let bounds = bounds(8, Duration::from_secs(600));
    let listener = Listener::bind("tests", ([127, 0, 0, 1], 0).into(), bounds);
    let listener = listener.await.unwrap();
    let address = listener.local_address();
    let hello = |_| async { Response::new(Full::<Bytes>::from("hello")) };
    tokio::spawn(serve(listener, guard.subscribe(), hello));
    (address, guard)
}

/// What a request is answered, at its end.
async fn greeted(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<[u8; 5]> {
    let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await?;
    Ok(greeting)
}

async fn greeted_over_tls(address: SocketAddr, client: &TlsConnector) -> io::Result<[u8; 5]> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("app-01.example").unwrap();
    // In TLS 1.3 the client's handshake ends before the server has looked at its certificate: reading tells.
    greeted(&mut client.connect(name, stream).await?).await
}

#[tokio::test]
async fn without_demands_a_connection_is_plain() {
    let (address, _guard) = greeter(ScrapeGuard::open()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(greeted(&mut stream).await.unwrap(), *b"hello");
}

#[tokio::test]
async fn a_client_certificate_of_the_right_ca_opens_and_no_other() {
    let folder = Folder::new();
    let guard = folder.guard(&scrape(&[TLS, CLIENTS]));
    let (address, _guard) = greeter(guard).await;
    let right = folder.client(Some(&folder.clients_ca));
    for refused in [
        folder.client(None),
        folder.client(Some(&folder.server_ca)),
        folder.client(Some(&ca("clients"))),
    ] {
        greeted_over_tls(address, &refused).await.unwrap_err();
    }
    let mut plain = TcpStream::connect(address).await.unwrap();
    // What it gets is TLS's word for "I do not understand".
    assert_ne!(greeted(&mut plain).await.ok(), Some(*b"hello"));
    let greeting = greeted_over_tls(address, &right).await.unwrap();
    assert_eq!(greeting, *b"hello");
}

#[tokio::test]
async fn a_client_that_never_speaks_keeps_nobody_out() {
    let folder = Folder::new();
    let (address, _guard) = greeter(folder.guard(&scrape(&[TLS, CLIENTS]))).await;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX - 1 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let right = folder.client(Some(&folder.clients_ca));
    assert_eq!(greeted_over_tls(address, &right).await.unwrap(), *b"hello");
}

#[tokio::test]
async fn a_new_guard_ends_old_connections_and_judges_new_ones() {
    let folder = Folder::new();
    let settings = scrape(&[TLS, CLIENTS]);
    let (address, guard) = greeter(folder.guard(&settings)).await;
    let first = folder.client(Some(&folder.clients_ca));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("app-01.example").unwrap();
    let mut old = first.connect(name, stream).await.unwrap();
    let mut greeting = greeted(&mut old).await.unwrap();

    let others = ca("others");
    folder.file("clients.pem", &others.pem());
    guard.send_replace(Arc::new(folder.guard(&settings)));
    assert_eq!(old.read(&mut greeting).await.unwrap(), 0, "ended in order");
    greeted_over_tls(address, &first).await.unwrap_err();
    let second = folder.client(Some(&others));
    assert_eq!(greeted_over_tls(address, &second).await.unwrap(), *b"hello");
}
