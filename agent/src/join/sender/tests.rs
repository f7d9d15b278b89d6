#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use vigie_core::token::JoinToken;
use vigie_platform::tls::{HotCredential, SecretKey};

use super::*;
use crate::join::{Existing, Join, JoinError, join, request::RequestError, tests::Collector};

/// A folder for a sender beside which nothing is.
fn place() -> (TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("vigie");
    (around, dir)
}

async fn join_as(
    name: &str,
    dir: &Path,
    token: &JoinToken,
    existing: Existing,
) -> Result<Identity<Sender>, JoinError> {
    let joined = join(&Join {
        token,
        name: &name.parse().unwrap(),
        dir,
        proxy: None,
        existing,
    })
    .await?;
    Ok(joined.identity)
}

async fn joined(collector: &Collector, dir: &Path) -> Identity<Sender> {
    join_as("prom-01", dir, &collector.token(), Existing::Keep)
        .await
        .unwrap()
}

/// Renews as if the time for it had come.
async fn renew_when_due(dir: &Path) -> Result<Renewal, RenewError> {
    let due_at = {
        let folder = Sender::open(dir, Asked::Renewal).unwrap();
        folder.load().unwrap().renewal_due_at()
    };
    renew(dir, due_at).await
}

/// The key that the files below `current` are for, as a program that is not ours reads them.
fn read_as_prometheus_does(dir: &Path) -> Digest {
    let certificate = fs::read(dir.join(CERTIFICATE_FILE)).unwrap();
    let key = fs::read(dir.join(KEY_FILE)).unwrap();
    let chain = vigie_platform::tls::parse_certificates(&certificate, "test").unwrap();
    let key = SecretKey::parse(&key, "test").unwrap();
    HotCredential::new(chain.clone(), &key).unwrap();
    vigie_platform::tls::key_sha256(&chain[0]).unwrap()
}

fn versions(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_join_leaves_a_complete_private_identity_that_another_program_can_use() {
    let (collector, (_around, dir)) = (Collector::issuing().await, place());
    let sender = joined(&collector, &dir).await;
    assert_eq!(sender.name().as_str(), "prom-01");
    assert_eq!(
        (sender.url(), sender.collector_id()),
        (collector.url().as_str(), "collector-1")
    );
    assert_eq!(read_as_prometheus_does(&dir), sender.key_sha256());
    assert!(dir.join(CA_FILE).exists());
    let heard = collector.heard();
    assert!(heard.contains(r#""sender":"prom-01""#), "{heard}");
    assert!(!heard.contains("signing_key"), "{heard}");

    let version = dir.join(CURRENT).canonicalize().unwrap();
    for folder in [&dir, &version] {
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    }
    for file in fs::read_dir(&version).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
    assert_eq!(versions(&dir).len(), 2, "the link and what it points to");
    assert!(!format!("{sender:?}").contains("SecretKey"));
}

#[tokio::test]
async fn an_identity_is_replaced_only_if_that_is_said_and_at_once() {
    let (collector, (_around, dir)) = (Collector::issuing().await, place());
    let first = joined(&collector, &dir).await;
    let again = join_as("prom-01", &dir, &collector.token(), Existing::Keep).await;
    assert!(matches!(again, Err(JoinError::AlreadyJoined { .. })));
    let refusing = Collector::saying(403, "{}").await;
    let refused = join_as("prom-01", &dir, &refusing.token(), Existing::Replace).await;
    assert!(matches!(refused, Err(JoinError::Request { .. })));
    assert_eq!(read_as_prometheus_does(&dir), first.key_sha256());

    let token = collector.token();
    let second = join_as("prom-02", &dir, &token, Existing::Replace).await;
    let second = second.unwrap();
    assert_eq!(second.name().as_str(), "prom-02");
    assert_ne!(second.key_sha256(), first.key_sha256());
    assert_eq!(read_as_prometheus_does(&dir), second.key_sha256());
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_asks_again_with_the_same_key() {
    let (_around, dir) = place();
    let deaf = Collector::saying(503, "{}").await;
    for _ in 0..2 {
        let lost = join_as("prom-01", &dir, &deaf.token(), Existing::Keep).await;
        assert!(matches!(lost, Err(JoinError::Request { .. })));
    }
    let heard = deaf.heard();
    let keys: Vec<&str> = heard.split("tls_key_spki").skip(1).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0][..180], keys[1][..180]);
    assert!(!dir.join(CURRENT).exists());
}

#[tokio::test]
async fn a_stranger_hears_nothing() {
    let (genuine, (_around, dir)) = (Collector::issuing().await, place());
    let stranger = Collector::issuing().await;
    let token = JoinToken::new(
        "k3",
        genuine.token().secret().clone(),
        genuine.token().ca_sha256(),
        &stranger.url(),
    )
    .unwrap();
    let error = join_as("prom-01", &dir, &token, Existing::Keep).await;
    assert!(matches!(
        error,
        Err(JoinError::Request {
            source: RequestError::Untrusted { .. }
        })
    ));
    assert_eq!(stranger.heard(), "");
}

#[tokio::test]
async fn nothing_is_renewed_before_its_time() {
    let (collector, (_around, dir)) = (Collector::issuing().await, place());
    let sender = joined(&collector, &dir).await;
    let before = sender.renewal_due_at().plus_ms(-1);
    let renewal = renew(&dir, before).await.unwrap();
    assert!(matches!(renewal, Renewal::NotDue(_)));
    assert!(!collector.heard().contains("/v1/renew"));
    assert_eq!(read_as_prometheus_does(&dir), sender.key_sha256());
}

#[tokio::test]
async fn renewals_put_a_new_pair_in_use_and_leave_no_heap_of_old_ones() {
    let (collector, (_around, dir)) = (Collector::issuing().await, place());
    let mut last = joined(&collector, &dir).await.key_sha256();
    for _ in 0..3 {
        let Renewal::Renewed(sender) = renew_when_due(&dir).await.unwrap() else {
            panic!("it was due");
        };
        assert_ne!(sender.key_sha256(), last);
        last = sender.key_sha256();
        assert_eq!(read_as_prometheus_does(&dir), last);
        assert_eq!(sender.name().as_str(), "prom-01");
        assert_eq!(versions(&dir).len(), 3, "this version and the one before");
    }
    assert!(collector.heard().contains("POST /v1/renew HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_renewal_that_fails_or_is_cut_leaves_the_old_pair_and_the_next_one_succeeds() {
    let (collector, (_around, dir)) = (Collector::issuing().await, place());
    let first = joined(&collector, &dir).await;
    // Somebody else at the collector's address.
    let stranger = Collector::issuing().await;
    let address = dir.join("current/collector");
    let genuine = fs::read(&address).unwrap();
    fs::write(&address, stranger.url()).unwrap();
    let failed = renew_when_due(&dir).await;
    assert!(matches!(
        failed,
        Err(RenewError::Request {
            source: RequestError::Untrusted { .. }
        })
    ));
    assert_eq!(read_as_prometheus_does(&dir), first.key_sha256());
    fs::write(&address, genuine).unwrap();

    // What a crash leaves: a version half made, one whole and never in use, a link on its way.
    fs::write(dir.join("coming/certificate.pem"), "half").unwrap();
    let orphan = dir.join("0123456789abcdef");
    fs::create_dir(&orphan).unwrap();
    symlink("0123456789abcdef", dir.join(CURRENT_NEW)).unwrap();
    assert_eq!(read_as_prometheus_does(&dir), first.key_sha256());
    let renewal = renew_when_due(&dir).await.unwrap();
    assert!(matches!(renewal, Renewal::Renewed(_)));
    assert!(!orphan.exists() && !dir.join(COMING).exists());
    assert!(!dir.join(CURRENT_NEW).exists());
    assert_ne!(read_as_prometheus_does(&dir), first.key_sha256());
}

#[tokio::test]
async fn a_folder_that_cannot_be_worked_on_says_why() {
    let (collector, (around, dir)) = (Collector::issuing().await, place());
    let error = renew(&dir, Wall(0)).await.unwrap_err();
    assert!(matches!(error, RenewError::Folder { .. }), "{error}");
    fs::create_dir(&dir).unwrap();
    let error = renew(&dir, Wall(0)).await.unwrap_err();
    assert!(matches!(error, RenewError::NotJoined { .. }), "{error}");
    let file = around.path().join("file");
    fs::write(&file, "").unwrap();
    let error = join_as("prom-01", &file, &collector.token(), Existing::Keep).await;
    assert!(matches!(error, Err(JoinError::Folder { .. })));

    let held = Sender::open(&dir, Asked::Renewal).unwrap();
    let error = join_as("prom-01", &dir, &collector.token(), Existing::Keep).await;
    assert!(matches!(
        error,
        Err(JoinError::Folder {
            source: FolderError::Busy { .. }
        })
    ));
    drop(held);

    // Whoever may write in it could put a key of their own there, to be certified.
    for mode in [0o770, 0o707, 0o777] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let error = join_as("prom-01", &dir, &collector.token(), Existing::Keep).await;
        assert!(
            matches!(
                error,
                Err(JoinError::Folder {
                    source: FolderError::Writable { .. }
                })
            ),
            "{mode:o}: {error:?}"
        );
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();

    joined(&collector, &dir).await;
    let key = dir.join(KEY_FILE);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = renew(&dir, Wall(0)).await.unwrap_err();
    assert!(matches!(
        error,
        RenewError::Load {
            source: LoadError::Mode { .. },
            ..
        }
    ));
}
