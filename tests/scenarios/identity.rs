//! Who may speak, for how long, and what does a stranger reach?

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;
use vigie_agent::join::{JoinError, node::renew, request::RequestError};
use vigie_core::{
    status::Status,
    token::{JoinToken, TokenSecret},
};
use vigie_platform::tls::provider;
use vigie_tests::harness::{Agent, Collector, DrivenClock, HandAgent, Webhook, own_address};

use crate::fleet::{fleet, hand_agent};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// How a join was refused.
fn refusal(joined: Result<HandAgent, JoinError>) -> (u16, String) {
    match joined {
        Err(JoinError::Request {
            source: RequestError::Refused { status, error, .. },
        }) => (status, error),
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_and_renews_and_each_key_is_good_until_the_next_is_used() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let first = agent.identity().key_sha256();

    let mut before = agent.clone_machine();
    let renewed = renew(agent.identity(), &collector.url(), None)
        .await
        .expect("a good certificate is renewed");
    assert_ne!(renewed.key_sha256(), first);
    assert_eq!(
        renewed.signing_key(),
        agent.identity().signing_key(),
        "contacts stay signed with the same key"
    );
    assert_eq!(
        before.hand_in(&[]).await.status,
        200,
        "the new key was not used yet"
    );

    agent.take_identity(renewed);
    let line = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[line]).await;
    before.head = agent.head;
    let answer = before.hand_in(&[]).await;
    assert_eq!((answer.status, answer.error()), (403, "key.unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_one_door_once() {
    let collector = Collector::with(fleet(&["app-01", "app-02"])).start().await;
    let token = collector.token("app-01").await;
    let (status, error) = refusal(HandAgent::join_with(&collector, "app-02", &token).await);
    assert_eq!(status, 403);
    assert!(error.contains("another node"), "{error}");

    let agent = HandAgent::join_with(&collector, "app-01", &token)
        .await
        .expect("its own token");
    let (status, error) = refusal(HandAgent::join_with(&collector, "app-01", &token).await);
    assert_eq!(status, 403);
    assert!(error.contains("used already"), "{error}");

    let made_up = JoinToken::new(
        "k3x9",
        TokenSecret::from_random([7; 32]),
        token.ca_sha256(),
        token.url(),
    )
    .expect("it looks like a token");
    assert_eq!(
        refusal(HandAgent::join_with(&collector, "app-02", &made_up).await).0,
        403
    );

    // A name in use is not taken over without `--replace`, and with it the first holder is out.
    let again = collector.token("app-01").await;
    let (_, error) = refusal(HandAgent::join_with(&collector, "app-01", &again).await);
    assert!(error.contains("joined already"), "{error}");
    let replacement = collector.replacement_token("app-01").await;
    let successor = HandAgent::join_with(&collector, "app-01", &replacement)
        .await
        .expect("the operator said so");
    assert_eq!(successor.hand_in(&[]).await.status, 200);
    let answer = agent.hand_in(&[]).await;
    assert_eq!((answer.status, answer.error()), (403, "key.unknown"));
    assert!(
        collector
            .metric("vigie_requests_total{result=\"foreign\"}")
            .await
            >= 4.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_both_programs_join_a_node_and_shut_it_out() {
    let webhook = Webhook::start().await;
    let collector = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver())
        .start()
        .await;
    let output = collector.command(&["token", "--node", "app-01"]);
    let token: JoinToken = String::from_utf8_lossy(&output.stdout)
        .parse()
        .expect("the command prints a token and no more");
    let agent = Agent::with("[check.charge]\nkind = \"load\"\n").prepare(&collector, "app-01");
    assert_eq!(agent.join(&token).status.code(), Some(0));
    assert_eq!(agent.join(&token).status.code(), Some(2), "it has joined");
    let mut agent = agent;
    agent.restart().await;
    collector.is_fine("app-01").await;
    assert_eq!(collector.command(&["status"]).status.code(), Some(0));

    assert!(
        collector
            .command(&["node", "deny", "app-01"])
            .status
            .success()
    );
    assert_eq!(collector.node("app-01").await["denied"], true);
    let list = collector.command(&["node", "list"]);
    assert!(
        String::from_utf8_lossy(&list.stdout).contains("denied"),
        "{list:?}"
    );
    assert!(
        collector
            .command(&["node", "allow", "app-01"])
            .status
            .success()
    );
    collector.is_fine("app-01").await;
    assert!(
        collector
            .command(&["node", "retire", "app-01"])
            .status
            .success()
    );
    assert!(collector.node("app-01").await.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_node_is_out_at_its_next_request_and_in_again_when_allowed() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let node = || agent.node().clone();
    collector
        .ask(vigie_collector::operator::Question::Deny {
            node: node(),
            denied: true,
        })
        .await;
    let answer = agent.hand_in(&[]).await;
    assert_eq!((answer.status, answer.error()), (403, "node.denied"));
    collector
        .ask(vigie_collector::operator::Question::Deny {
            node: node(),
            denied: false,
        })
        .await;
    assert_eq!(agent.hand_in(&[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_of_a_known_key_can_open_and_not_end_and_after_ninety_days_nothing()
{
    comes_back_with_an_expired_certificate(Absence::Whenever).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_opens_alerts_also_once_its_node_was_judged_silent() {
    comes_back_with_an_expired_certificate(Absence::JudgedBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_opens_alerts_also_before_its_node_is_judged_silent() {
    comes_back_with_an_expired_certificate(Absence::JudgedAfter).await;
}

/// What the collector makes of a node's absence before it hands in again.
#[derive(Clone, Copy, PartialEq)]
enum Absence {
    JudgedBefore,
    JudgedAfter,
    /// As it happens: the collector looks once a second, and the node hands in at once.
    Whenever,
}

async fn comes_back_with_an_expired_certificate(absence: Absence) {
    let clock = Arc::new(DrivenClock::new());
    let webhook = Webhook::start().await;
    let settings = "silent_after = \"1h\"\n".to_owned() + &fleet(&["app-01"]);
    let collector = Collector::with(settings + &webhook.as_only_receiver())
        .clock(&clock)
        .start()
        .await;
    let mut agent = hand_agent(&collector, "app-01", &["portail", "base"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;

    // By the collector's clock; the agent's connection stays open, for its own clock has not moved.
    match absence {
        Absence::Whenever => clock.jump(31 * DAY),
        Absence::JudgedBefore => {
            clock.jump(31 * DAY);
            webhook.hears_line("open app-01 @node/silent").await;
        }
        Absence::JudgedAfter => {
            // Heard once more while its certificate is good, and again before the hour of silence is over.
            clock.jump(30 * DAY - HOUR / 2);
            webhook.hears_line("open app-01 @node/silent").await;
            agent.hands_in(&[]).await;
            clock.jump(Duration::from_secs(2));
            webhook.hears_line("close app-01 @node/silent").await;
            clock.jump(HOUR * 3 / 4);
        }
    }
    let lines = [
        agent.finds("portail", None, Status::Ok),
        agent.finds("base", None, Status::Critical),
    ];
    agent.hands_in(&lines).await;
    webhook.hears_line("open app-01 base critical").await;
    webhook.hears_reason("app-01", "node.expired").await;
    let alerts = collector.alerts().await;
    assert!(
        alerts.contains(&"app-01 portail critical http.status".to_owned()),
        "doubt ends nothing: {alerts:?}"
    );
    if absence == Absence::JudgedAfter {
        let is_silence = |alert: &String| alert.starts_with("app-01 @node/silent");
        assert!(!alerts.iter().any(is_silence), "{alerts:?}");
        clock.jump(2 * HOUR);
        collector.shows("app-01", "node.silent").await;
    }

    clock.jump(91 * DAY);
    let answer = agent.hand_in(&[]).await;
    assert_eq!(
        (answer.status, answer.error()),
        (403, "certificate.expired")
    );
    assert_eq!(
        collector
            .metric("vigie_requests_total{result=\"expired\"}")
            .await,
        1.0
    );
}

/// A server with a certificate of its own making. Counts what it is told after the handshake.
async fn man_in_the_middle() -> (SocketAddr, Arc<AtomicUsize>) {
    let address = SocketAddr::from((own_address(), 9443));
    let key = KeyPair::generate().expect("a key can be made");
    let names = vec![address.ip().to_string()];
    let certificate = CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate can be made");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("key and certificate fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address)
        .await
        .expect("its address is its own");
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut bytes = Vec::new();
                // However it ends: what counts is what came.
                let _ = stream.read_to_end(&mut bytes).await;
                counter.fetch_add(bytes.len(), SeqCst);
            }
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_of_a_join_learns_nothing() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let token = collector.token("app-01").await;
    let (middle, heard) = man_in_the_middle().await;
    let diverted = JoinToken::new(
        token.id(),
        token.secret().clone(),
        token.ca_sha256(),
        &format!("https://{middle}"),
    )
    .expect("an address is an address");
    let agent = Agent::with("").prepare(&collector, "app-01");
    let output = agent.join(&diverted);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing was sent"), "{said}");
    assert_eq!(heard.load(SeqCst), 0);

    // The token is still good where it was made for.
    assert!(agent.join(&token).status.success());
}
