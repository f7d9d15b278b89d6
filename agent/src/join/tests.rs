#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData as _, SanType, SubjectPublicKeyInfo,
    date_time_ymd,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use vigie_core::{
    digest::Digest,
    token::TokenSecret,
    wire::{JOIN_ANSWER_LEN_MAX, JoinAnswer},
};
use vigie_platform::tls::{SecretKey, provider};

use super::{
    files::{generate, write},
    node::{KeyFile, Node, next_key, pair_in_use, renew},
    *,
};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// What a collector answers to the JSON it was sent: a status and a body.
type Answer = dyn Fn(&str) -> (u16, String) + Send + Sync;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A collector as far as an agent can tell: TLS on loopback, one answer per connection.
pub(super) struct Collector {
    address: SocketAddr,
    server_ca: Ca,
    agent_ca: Arc<Ca>,
    /// Every byte that came out of TLS.
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// A collector that issues what it is asked for.
    pub(super) async fn issuing() -> Self {
        Self::issuing_and_sending(&[]).await
    }

    /// One that sends these certificates along after its own.
    async fn issuing_and_sending(along: &[CertificateDer<'static>]) -> Self {
        Self::start(along, |agent_ca, server_ca_pem| {
            // It does not look at certificates: who joined last is who renews.
            let last = Mutex::new(node("app-01"));
            Box::new(move |body| {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let certificate_pem = match serde_json::from_str::<JoinRequest>(body) {
                    Ok(join) => {
                        *last = join.holder;
                        certificate(&agent_ca, &last, &join.tls_key_spki)
                    }
                    Err(_) => {
                        let renew: RenewRequest = serde_json::from_str(body).unwrap();
                        certificate(&agent_ca, &last, &renew.tls_key_spki)
                    }
                };
                (200, join_answer(certificate_pem, server_ca_pem.clone()))
            })
        })
        .await
    }

    /// A collector that says the same to everyone.
    pub(super) async fn saying(status: u16, body: &'static str) -> Self {
        Self::start(&[], move |_, _| {
            Box::new(move |_| (status, body.to_owned()))
        })
        .await
    }

    async fn start(
        along: &[CertificateDer<'static>],
        answer: impl FnOnce(Arc<Ca>, String) -> Box<Answer>,
    ) -> Self {
        let (server_ca, agent_ca) = (ca("server CA"), Arc::new(ca("agent CA")));
        let answer = answer(Arc::clone(&agent_ca), server_ca.pem());

        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &server_ca).unwrap();
        let mut chain = vec![leaf.der().clone(), server_ca.der().clone()];
        chain.extend_from_slice(along);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(agent_ca.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(
            listener,
            Arc::new(config),
            answer,
            Arc::clone(&heard),
        ));
        Self {
            address,
            server_ca,
            agent_ca,
            heard,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn token(&self) -> JoinToken {
        self.token_pinning(Digest::of(self.server_ca.der()))
    }

    fn token_pinning(&self, ca_sha256: Digest) -> JoinToken {
        let secret = TokenSecret::from_random([0xab; 32]);
        JoinToken::new("k3", secret, ca_sha256, &self.url()).unwrap()
    }

    pub(super) fn heard(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }
}

async fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    answer: Box<Answer>,
    heard: Arc<Mutex<Vec<u8>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = TlsAcceptor::from(Arc::clone(&config)).accept(stream).await else {
            continue;
        };
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        let body = loop {
            let Ok(len @ 1..) = stream.read(&mut chunk).await else {
                break None;
            };
            request.extend_from_slice(&chunk[..len]);
            heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&chunk[..len]);
            if let Some(body) = whole_body(&request) {
                break Some(body);
            }
        };
        if let Some(body) = body {
            let (status, body) = answer(&body);
            let len = body.len();
            let text = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// The body of a request, once all of it is there.
fn whole_body(request: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let len: usize = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    })?;
    (body.len() == len).then(|| body.to_owned())
}

fn node(name: &str) -> Holder {
    Holder::Node(name.parse().unwrap())
}

/// What the collector issues, valid whenever this runs.
fn certificate(agent_ca: &Ca, holder: &Holder, spki: &PublicKeyDer) -> String {
    let mut params = CertificateParams::default();
    let uri = format!("spiffe://vigie.example/{}/{}", holder.role(), holder.name());
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 31);
    let key = SubjectPublicKeyInfo::from_der(spki.as_bytes()).unwrap();
    params.signed_by(&key, agent_ca).unwrap().pem()
}

fn join_answer(certificate_pem: String, server_ca_pem: String) -> String {
    serde_json::to_string(&JoinAnswer {
        certificate_pem,
        server_ca_pem,
        collector_id: "collector-1".to_owned(),
        head: Some(Head {
            seq: 7,
            sha256: Digest::of(b"line"),
        }),
    })
    .unwrap()
}

/// Joins as `app-01`.
async fn join_as(
    state_dir: &TempDir,
    token: &JoinToken,
    existing: Existing,
) -> Result<Joined<Node>, JoinError> {
    join(&Join {
        token,
        name: &"app-01".parse().unwrap(),
        dir: state_dir.path(),
        proxy: None,
        existing,
    })
    .await
}

fn key_file_in_use(dir: &Path) -> Result<KeyFile, LoadError> {
    pair_in_use(dir).map(|(.., file)| file)
}

fn state_dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_join_leaves_a_complete_private_identity() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let joined = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap();
    assert_eq!(joined.head.map(|head| head.seq), Some(7));
    assert_eq!(joined.identity.node().as_str(), "app-01");
    assert_eq!(joined.identity.collector_id(), "collector-1");

    let folder = dir.path().join("identity");
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
            file.file_name().into_string().unwrap()
        })
        .collect();
    files.sort();
    let expected = "collector-id node server-ca.pem signing.key tls.key tls.pem";
    assert_eq!(files.join(" "), expected);
    assert!(!dir.path().join("identity.joining").exists());

    let loaded = Identity::load(dir.path()).unwrap();
    assert_eq!(loaded.key_sha256(), joined.identity.key_sha256());
    assert_eq!(loaded.signing_key(), joined.identity.signing_key());
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ED25519,
        loaded.signing_key().0,
    );
    key.verify(b"head", &loaded.sign(b"head")).unwrap();
    assert!(!format!("{loaded:?}").contains("SecretKey"));
}

#[tokio::test]
async fn only_public_halves_and_the_secret_leave() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap();
    let heard = collector.heard();
    assert!(heard.starts_with("POST /v1/join HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains(&"ab".repeat(32)));
    for key in ["tls.key", "signing.key"] {
        let key = SecretKey::load(&dir.path().join("identity").join(key)).unwrap();
        let hex = vigie_core::digest::to_hex(key.der().secret_der());
        // The secret scalar follows the DER header in both encodings.
        assert!(!heard.contains(&hex[hex.len() / 4..hex.len() / 2]));
    }
}

#[tokio::test]
async fn a_man_in_the_middle_hears_nothing() {
    let (genuine, dir) = (Collector::issuing().await, state_dir());
    let pin = Digest::of(genuine.server_ca.der());
    // Everything about it is right except its CA, and it sends the genuine one's public certificate along.
    let genuine_ca = genuine.server_ca.der().clone();
    let middle = Collector::issuing_and_sending(&[genuine_ca]).await;
    let error = join_as(&dir, &middle.token_pinning(pin), Existing::Keep)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            JoinError::Request {
                source: RequestError::Untrusted { .. }
            }
        ),
        "{error:?}"
    );
    assert_eq!(middle.heard(), "");
    assert!(matches!(
        Identity::load(dir.path()),
        Err(LoadError::NotJoined { .. })
    ));
    // The keys made for that attempt serve the next one.
    join_as(&dir, &genuine.token(), Existing::Keep)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_proxy_sees_an_address_and_nothing_else() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let target = collector.address;
    let passed = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.unwrap());
        }
        let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        String::from_utf8(head).unwrap()
    });
    join(&Join::<Node> {
        token: &collector.token(),
        name: &"app-01".parse().unwrap(),
        dir: dir.path(),
        proxy: Some(&proxy),
        existing: Existing::Keep,
    })
    .await
    .unwrap();
    let head = passed.await.unwrap();
    assert!(head.starts_with(&format!("CONNECT {target} ")), "{head}");
    assert!(!head.contains("abab"));
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_the_same_keys_are_sent_again() {
    let said = "{\"error\":\"token.spent\",\"mend\":\"make a new\\u001b[31m token\"}";
    let (collector, dir) = (Collector::saying(403, said).await, state_dir());
    for _ in 0..2 {
        let error = join_as(&dir, &collector.token(), Existing::Keep)
            .await
            .unwrap_err();
        let JoinError::Request { source } = error else {
            panic!("{error:?}");
        };
        assert!(!source.is_retryable());
        let RequestError::Refused {
            status,
            error,
            mend,
        } = source
        else {
            panic!("{source:?}");
        };
        assert_eq!((status, error.as_str()), (403, "token.spent"));
        assert_eq!(mend, "make a new[31m token");
    }
    let heard = collector.heard();
    let keys: Vec<_> = heard.split("tls_key_spki").skip(1).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0][..200], keys[1][..200]);
}

#[tokio::test]
async fn answers_that_do_not_fit_are_refused() {
    type Make = fn(Arc<Ca>, String) -> Box<Answer>;
    let cases: [(&str, Make); 4] = [
        ("not over the key", |ca, pem| {
            Box::new(move |_| {
                let key = KeyPair::generate().unwrap().subject_public_key_info();
                let key = PublicKeyDer::new(key).unwrap();
                (
                    200,
                    join_answer(certificate(&ca, &node("app-01"), &key), pem.clone()),
                )
            })
        }),
        ("does not name node app-01", |ca, pem| {
            Box::new(move |body| {
                let join: JoinRequest = serde_json::from_str(body).unwrap();
                let other = certificate(&ca, &node("app-02"), &join.tls_key_spki);
                (200, join_answer(other, pem.clone()))
            })
        }),
        ("do not include", |ca, _| {
            Box::new(move |body| {
                let join: JoinRequest = serde_json::from_str(body).unwrap();
                let good = certificate(&ca, &node("app-01"), &join.tls_key_spki);
                (200, join_answer(good, ca.pem()))
            })
        }),
        ("cannot be read", |_, pem| {
            Box::new(move |_| (200, join_answer("no PEM".to_owned(), pem.clone())))
        }),
    ];
    for (expected, make) in cases {
        let (collector, dir) = (Collector::start(&[], make).await, state_dir());
        let error = join_as(&dir, &collector.token(), Existing::Keep)
            .await
            .unwrap_err();
        let JoinError::Answer { source } = error else {
            panic!("{error:?}");
        };
        assert!(source.to_string().contains(expected), "{source}");
        assert!(!dir.path().join("identity").exists());
    }
}

#[tokio::test]
async fn an_endless_or_foreign_answer_is_cut_off() {
    let long: &'static str = "x".repeat(JOIN_ANSWER_LEN_MAX + 1).leak();
    for (body, is_too_long) in [(long, true), ("<html>", false)] {
        let (collector, dir) = (Collector::saying(200, body).await, state_dir());
        let error = join_as(&dir, &collector.token(), Existing::Keep)
            .await
            .unwrap_err();
        let JoinError::Request { source } = error else {
            panic!("{error:?}");
        };
        match source {
            RequestError::TooLong { .. } => assert!(is_too_long),
            RequestError::NotAnAnswer { .. } => assert!(!is_too_long),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_second_join_needs_to_be_said_and_replaces_everything_at_once() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let first = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
        .identity;
    assert!(matches!(
        join_as(&dir, &collector.token(), Existing::Keep).await,
        Err(JoinError::AlreadyJoined { .. })
    ));
    let second = join_as(&dir, &collector.token(), Existing::Replace)
        .await
        .unwrap()
        .identity;
    assert_ne!(first.key_sha256(), second.key_sha256());
    assert_ne!(first.signing_key(), second.signing_key());
    assert!(!dir.path().join("identity.joining").exists());

    // A join that fails leaves the identity as it is.
    let refusing = Collector::saying(403, "{}").await;
    assert!(
        join_as(&dir, &refusing.token(), Existing::Replace)
            .await
            .is_err()
    );
    let still = Identity::load(dir.path()).unwrap();
    assert_eq!(still.key_sha256(), second.key_sha256());
}

#[tokio::test]
async fn a_renewal_changes_the_tls_key_and_nothing_else() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let first = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
        .identity;
    let second = renew(&first, &collector.url(), None).await.unwrap();
    assert_ne!(first.key_sha256(), second.key_sha256());
    assert_eq!(first.signing_key(), second.signing_key());
    assert_eq!(first.collector_id(), second.collector_id());
    assert!(!dir.path().join("identity/tls.next.key").exists());
    assert!(collector.heard().contains("POST /v1/renew HTTP/1.1\r\n"));
    // And the new pair makes the next renewal.
    renew(&second, &collector.url(), None).await.unwrap();
}

#[tokio::test]
async fn a_failed_renewal_leaves_the_old_pair_working() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let first = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
        .identity;
    // Someone else at that address: its CA is not ours.
    let stranger = Collector::issuing().await;
    let error = renew(&first, &stranger.url(), None).await.unwrap_err();
    assert!(matches!(
        error,
        RenewError::Request {
            source: RequestError::Untrusted { .. }
        }
    ));
    assert_eq!(stranger.heard(), "");
    assert!(dir.path().join("identity/tls.next.key").exists());
    let still = Identity::load(dir.path()).unwrap();
    assert_eq!(still.key_sha256(), first.key_sha256());
    renew(&still, &collector.url(), None).await.unwrap();
}

#[tokio::test]
async fn a_renewal_cut_between_its_two_renames_loads_and_renews() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let first = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
        .identity;
    let folder = dir.path().join("identity");
    let spki = next_key(&folder).unwrap();

    // Cut before the certificate: the old pair holds.
    let at_first = Identity::load(dir.path()).unwrap();
    assert_eq!(at_first.key_sha256(), first.key_sha256());

    // Cut after the certificate, before the key has its name.
    let pem = certificate(&collector.agent_ca, &node("app-01"), &spki);
    write(&folder.join("tls.pem"), &pem).unwrap();
    let then = Identity::load(dir.path()).unwrap();
    assert_eq!(then.key_sha256(), Digest::of(spki.as_bytes()));
    assert_eq!(key_file_in_use(&folder).unwrap(), KeyFile::Next);
    then.client_config().unwrap();

    let renewed = renew(&then, &collector.url(), None).await.unwrap();
    assert_eq!(key_file_in_use(&folder).unwrap(), KeyFile::Current);
    assert_ne!(renewed.key_sha256(), then.key_sha256());
}

#[tokio::test]
async fn failing_renewals_never_take_away_the_key_the_certificate_on_disk_is_over() {
    #[derive(Debug, PartialEq)]
    enum Cut {
        /// The agent was started anew after the certificate and before the renaming of its key.
        Restarted,
        /// It runs on: the certificate was replaced, but reported as not written.
        RunsOn,
    }
    for cut in [Cut::Restarted, Cut::RunsOn] {
        let (collector, dir) = (Collector::issuing().await, state_dir());
        let first = join_as(&dir, &collector.token(), Existing::Keep)
            .await
            .unwrap()
            .identity;
        let folder = dir.path().join("identity");
        let spki = next_key(&folder).unwrap();
        let pem = certificate(&collector.agent_ca, &node("app-01"), &spki);
        write(&folder.join("tls.pem"), &pem).unwrap();
        let in_memory = match cut {
            Cut::Restarted => Identity::load(dir.path()).unwrap(),
            Cut::RunsOn => first,
        };
        // Someone else is at the collector's address for a while.
        let away = Collector::issuing().await;
        for _ in 0..3 {
            renew(&in_memory, &away.url(), None).await.unwrap_err();
            let on_disk = Identity::load(dir.path()).unwrap();
            assert_eq!(on_disk.key_sha256(), Digest::of(spki.as_bytes()), "{cut:?}");
        }
        let renewed = renew(&in_memory, &collector.url(), None).await.unwrap();
        let on_disk = Identity::load(dir.path()).unwrap();
        assert_eq!(on_disk.key_sha256(), renewed.key_sha256());
    }
}

#[tokio::test]
async fn a_key_pair_spoilt_on_disk_is_mended_by_the_renewal() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let first = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
        .identity;
    fs::remove_file(dir.path().join("identity/tls.key")).unwrap();
    let renewed = renew(&first, &collector.url(), None).await.unwrap();
    let on_disk = Identity::load(dir.path()).unwrap();
    assert_eq!(on_disk.key_sha256(), renewed.key_sha256());
}

#[tokio::test]
async fn a_damaged_or_exposed_identity_says_which_file() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap();
    let folder = dir.path().join("identity");
    let key = folder.join("tls.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Identity::load(dir.path()).unwrap_err();
    assert!(matches!(error, LoadError::Mode { mode: 0o644, .. }));
    assert!(error.to_string().contains("tls.key"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let other = generate(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let good = fs::read(&key).unwrap();
    write(&key, &other.serialize_pem()).unwrap();
    assert!(matches!(
        Identity::load(dir.path()),
        Err(LoadError::NoPair { .. })
    ));
    fs::write(&key, good).unwrap();

    for file in ["node", "collector-id", "server-ca.pem", "signing.key"] {
        let path = folder.join(file);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        write(&path, std::str::from_utf8(&good).unwrap()).unwrap();
    }
    Identity::load(dir.path()).unwrap();
}

#[tokio::test]
async fn renewal_is_due_after_a_third_of_the_life_and_always_at_the_same_instant() {
    let (collector, dir) = (Collector::issuing().await, state_dir());
    let identity = join_as(&dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
        .identity;
    let life_ms = identity.not_after.0 - identity.not_before.0;
    let due_at = identity.renewal_due_at();
    let earliest = identity.not_before.plus_ms(life_ms / 3);
    assert!(due_at >= earliest && due_at < earliest.plus_ms(life_ms / 30));
    assert_eq!(Identity::load(dir.path()).unwrap().renewal_due_at(), due_at);
}

#[test]
fn a_token_is_read_from_its_file_and_never_repeated() {
    let dir = state_dir();
    let path = dir.path().join("token");
    assert!(matches!(
        read_token(&path),
        Err(TokenFileError::Read { .. })
    ));
    let secret = TokenSecret::from_random([0xab; 32]);
    let token = JoinToken::new("k3", secret, Digest::of(b"ca"), "https://a").unwrap();
    fs::write(&path, token.reveal() + "\n").unwrap();
    assert_eq!(read_token(&path).unwrap().id(), "k3");

    fs::write(&path, token.reveal().replace("k3", "K3")).unwrap();
    let error = read_token(&path).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("abab"));
    fs::write(&path, "x".repeat(TOKEN_FILE_LEN_MAX + 1)).unwrap();
    assert!(matches!(
        read_token(&path),
        Err(TokenFileError::Read { .. })
    ));
}
