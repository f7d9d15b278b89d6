#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http_body_util::BodyExt as _;
use rcgen::{KeyPair, PublicKeyData as _};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::sync::watch;
use vigie_core::{
    digest::Digest,
    id::SenderName,
    time::{Elapsed, Now, Wall},
    token::TokenSecret,
    wire::{ErrorBody, PublicKeyDer, SigningKey},
};
use vigie_decide::fleet::State as Fleet;
use vigie_platform::{
    clock::{Clock as _, ManualClock},
    tls::parse_certificates,
};

use super::*;
use crate::{
    directory::Directory,
    engine::{
        Engine, Parts,
        fixture::{Silent, bare_ground},
    },
    identity::{Pki, authority::ServerNames},
    ingest::metrics,
    latest::{self, Latest},
    store::SqliteStore,
};

const NOW: Wall = Wall(1_795_374_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const DOMAIN: &str = "vigie.example";

/// A collector without its door, whose engine runs.
struct House {
    _dir: TempDir,
    _stop: watch::Sender<bool>,
    clock: Arc<ManualClock>,
    ingest: Arc<Ingest>,
}

/// What a handler answered: an answer of this kind, or a status and a code.
type Answered<T> = Result<T, (u16, String)>;

async fn read<T: DeserializeOwned>(response: Response) -> Answered<T> {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    let refusal: ErrorBody = serde_json::from_slice(&body).unwrap();
    assert!(!refusal.mend.is_empty());
    Err((status.as_u16(), refusal.error))
}

fn new_key() -> PublicKeyDer {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    PublicKeyDer::new(key.subject_public_key_info()).unwrap()
}

fn prom() -> Holder {
    Holder::Sender("prom".parse().unwrap())
}

/// Who holds this certificate.
fn peer(certificate_pem: &str) -> Arc<Peer> {
    let chain = parse_certificates(certificate_pem.as_bytes(), "the answer").unwrap();
    Arc::new(Peer::from_verified(Some(&chain), DOMAIN).unwrap())
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = ServerNames::parse([DOMAIN]).unwrap();
        let pki = Pki::create(dir.path(), names, DOMAIN, NOW).unwrap();
        let clock = Arc::new(ManualClock::at(Now {
            wall: NOW,
            elapsed: Elapsed(1_000_000),
        }));
        let directory = Arc::new(Directory::default());
        let (_, probes) = watch::channel(None);
        let (engine, handle, _) = Engine::new(Parts {
            store: SqliteStore::open(dir.path()).await.unwrap(),
            state: Fleet::default(),
            policy: bare_ground(),
            tzdata: String::new(),
            collector: "c".to_owned(),
            clock: Arc::clone(&clock) as _,
            notifier: Arc::new(Silent),
            directory: Arc::clone(&directory),
            health: Arc::default(),
            probes,
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(engine.run(stopped));
        let ingest = Arc::new(Ingest {
            engine: handle,
            directory,
            pki: Arc::new(pki),
            collector_id: "c".to_owned(),
            clock: Arc::clone(&clock) as _,
            counters: Arc::default(),
            peer_limits: entries::PeerLimits::default(),
            latest: Arc::new(Latest::new(latest::Limits::default())),
            samples: Arc::default(),
            intake: Arc::new(metrics::Intake::new(metrics::Limits::default())),
            alerts: Arc::new(crate::ingest::alerts::AlertsBySender::new(NOW)),
        });
        Self {
            _dir: dir,
            _stop: stop,
            clock,
            ingest,
        }
    }

    async fn issue_token(&self, holder: Holder, replace: bool) {
        let event = Event::Membership(MembershipEvent::TokenIssued {
            id: "t".to_owned(),
            secret_sha256: TokenSecret::from_random([7; 32]).sha256(),
            holder,
            replace,
            valid_ms: 3_600_000,
            uid: 0,
        });
        self.ingest.engine.perform(event).await.unwrap();
    }

    async fn joins_as(&self, holder: Holder, key: &PublicKeyDer) -> Answered<JoinAnswer> {
        let signing_key = match &holder {
            Holder::Node(_) => Some(SigningKey([9; 32])),
            Holder::Sender(_) => None,
        };
        let request = JoinRequest {
            token_id: "t".to_owned(),
            secret: TokenSecret::from_random([7; 32]),
            holder,
            tls_key_spki: key.clone(),
            signing_key,
        };
        let body = serde_json::to_vec(&request).unwrap().into();
        read(join(State(Arc::clone(&self.ingest)), body).await).await
    }

    /// The sender `prom`, joined.
    async fn joined_sender(&self) -> Arc<Peer> {
        self.issue_token(prom(), false).await;
        let answer = self.joins_as(prom(), &new_key()).await.unwrap();
        peer(&answer.certificate_pem)
    }

    async fn renews(&self, who: &Arc<Peer>) -> Answered<Arc<Peer>> {
        let request = RenewRequest {
            tls_key_spki: new_key(),
        };
        let body = serde_json::to_vec(&request).unwrap().into();
        let ingest = State(Arc::clone(&self.ingest));
        let response = renew(ingest, Extension(Arc::clone(who)), body).await;
        let answer: RenewAnswer = read(response).await?;
        assert!(answer.server_ca_pem.contains("BEGIN CERTIFICATE"));
        Ok(peer(&answer.certificate_pem))
    }

    /// What a request other than a renewal learns; afterwards everything it noted is in the log.
    async fn recognises(&self, who: &Peer) -> Answered<SenderName> {
        let recognised = senders::recognise(&self.ingest, who, self.clock.wall());
        self.denies("prom", false).await;
        match recognised {
            Ok(sender) => Ok(sender),
            Err(response) => Err(read::<()>(*response).await.unwrap_err()),
        }
    }

    async fn denies(&self, sender: &str, denied: bool) {
        let event = Event::Membership(MembershipEvent::SenderDenied {
            sender: sender.parse().unwrap(),
            denied,
            uid: 0,
        });
        self.ingest.engine.perform(event).await.unwrap();
    }

    fn keys(&self) -> Vec<Digest> {
        self.ingest.directory.find_sender("prom").unwrap().keys
    }
}

fn key_of(who: &Peer) -> Digest {
    who.credential().unwrap().key_sha256
}

fn refused(error: &str) -> Option<(u16, String)> {
    Some((403, error.to_owned()))
}

#[tokio::test]
async fn a_sender_joins_with_its_token_and_gets_a_senders_certificate() {
    let house = House::open().await;
    house.issue_token(prom(), false).await;
    let key = new_key();
    let answer = house.joins_as(prom(), &key).await.unwrap();
    assert_eq!(answer.head, None);
    assert_eq!(answer.collector_id, "c");
    let who = peer(&answer.certificate_pem);
    assert!(matches!(&*who, Peer::Sender { name, .. } if &**name == "prom"));
    assert_eq!(house.keys(), [Digest::of(key.as_bytes())]);
    assert_eq!(house.ingest.directory.senders(), ["prom".parse().unwrap()]);
    let node = "prom".parse().unwrap();
    assert_eq!(house.ingest.directory.find(&node), None);

    // Its answer may have been lost; nobody else's key is taken.
    assert!(house.joins_as(prom(), &key).await.is_ok());
    let thief = house.joins_as(prom(), &new_key()).await;
    let (status, error) = thief.err().unwrap();
    assert_eq!(status, 403);
    assert!(error.contains("used already"), "{error}");
}

#[tokio::test]
async fn a_token_is_for_one_role_only() {
    let house = House::open().await;
    let node = || Holder::Node("prom".parse().unwrap());
    for (token_for, comes_as, expected) in [
        (prom(), node(), "the token is for a sender"),
        (node(), prom(), "the token is for a node"),
        (
            Holder::Sender("other".parse().unwrap()),
            prom(),
            "the token is for another sender",
        ),
    ] {
        house.issue_token(token_for, true).await;
        let joined = house.joins_as(comes_as, &new_key()).await;
        assert_eq!(
            joined.err(),
            refused(&format!("join.refused: {expected}")),
            "{expected}"
        );
    }
    assert!(house.ingest.directory.senders().is_empty());

    let nodes_need_a_signing_key = JoinRequest {
        token_id: "t".to_owned(),
        secret: TokenSecret::from_random([7; 32]),
        holder: node(),
        tls_key_spki: new_key(),
        signing_key: None,
    };
    let body = serde_json::to_vec(&nodes_need_a_signing_key).unwrap();
    let response = join(State(Arc::clone(&house.ingest)), body.into()).await;
    let (status, error) = read::<JoinAnswer>(response).await.err().unwrap();
    assert_eq!((status, error.as_str()), (400, "join.malformed"));
}

#[tokio::test]
async fn a_senders_old_key_outlives_the_connections_made_with_it_and_no_longer() {
    let house = House::open().await;
    let old = house.joined_sender().await;
    let new = house.renews(&old).await.unwrap();
    assert_eq!(house.keys(), [key_of(&old), key_of(&new)]);
    // Both are good while connections of the old one may be open, whichever spoke last.
    for who in [&new, &old, &new] {
        assert!(house.recognises(who).await.is_ok());
    }
    assert_eq!(house.keys().len(), 2);
    house.clock.advance(2 * HOUR);
    assert!(house.recognises(&old).await.is_ok(), "nobody went over yet");
    assert!(house.recognises(&new).await.is_ok());
    assert_eq!(house.keys(), [key_of(&new)]);
    let late = house.recognises(&old).await;
    assert_eq!(late.err(), refused("key.unknown"));
}

#[tokio::test]
async fn renewing_with_the_new_key_is_using_it() {
    let house = House::open().await;
    let first = house.joined_sender().await;
    let second = house.renews(&first).await.unwrap();
    // The answer is lost: the sender goes on with what it has, and must not be shut out.
    let lost = house.renews(&second).await.unwrap();
    assert_eq!(house.keys(), [key_of(&second), key_of(&lost)]);
    let third = house.renews(&second).await.unwrap();
    assert_eq!(house.keys(), [key_of(&second), key_of(&third)]);
    let out = house.renews(&first).await;
    assert_eq!(out.err(), refused("key.unknown"));
}

#[tokio::test]
async fn a_sender_that_is_denied_retired_or_expired_for_too_long_is_refused_from_its_next_request()
{
    let house = House::open().await;
    let who = house.joined_sender().await;
    house.denies("prom", true).await;
    assert_eq!(house.renews(&who).await.err(), refused("sender.denied"));
    house.denies("prom", false).await;
    let who = house.renews(&who).await.unwrap();

    house.clock.advance((30 + 89) * 24 * HOUR);
    let who = house.renews(&who).await.expect("it ended 89 days ago");
    house.clock.advance((30 + 91) * 24 * HOUR);
    assert_eq!(
        house.renews(&who).await.err(),
        refused("certificate.expired")
    );

    // A node's route is not a sender's, and the other way round.
    let entries = entries::recognise(&house.ingest, &who, house.clock.wall());
    assert!(entries.is_err());
    let stranger = senders::recognise(&house.ingest, &Peer::None, house.clock.wall());
    assert!(stranger.is_err());

    let retired = Event::Membership(MembershipEvent::SenderRetired {
        sender: "prom".parse().unwrap(),
        uid: 0,
    });
    house.ingest.engine.perform(retired).await.unwrap();
    assert_eq!(house.renews(&who).await.err(), refused("sender.unknown"));
}
