//! Does nonsense, from machines or people, hurt anybody but its sender?

use std::{sync::Arc, time::Duration};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use vigie_core::status::Status;
use vigie_platform::tls::provider;
use vigie_tests::harness::{Collector, DrivenClock, HandAgent, Webhook, eventually};

use crate::fleet::{fleet, hand_agent};

/// Nodes that behave while one floods.
const GOOD_NODES: usize = 200;

/// Requests that a flooding node has under way at a time.
const FLOOD: usize = 24;

const YEAR_MS: i64 = 365 * 86_400_000;

/// Connects to the collector as `config` does.
async fn connect(
    collector: &Collector,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let address = collector.agents_address();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::from(address.ip()), stream)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_slow_bodies_and_noise_hold_up_nobody_else_and_are_counted() {
    let collector = Collector::with(fleet(&["app-01", "app-02"])).start().await;
    let bad = hand_agent(&collector, "app-01", &["portail"]).await;
    let mut good = hand_agent(&collector, "app-02", &["portail"]).await;
    let before = collector.program().memory();

    let config = || {
        bad.identity()
            .client_config()
            .expect("its identity is good")
    };
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut half = connect(&collector, config())
            .await
            .expect("a known node is let in");
        half.write_all(b"POST /v1/entries HTTP/1.1\r\nhost: v\r\ncontent-le")
            .await
            .expect("it is read");
        let mut slow = connect(&collector, config())
            .await
            .expect("a known node is let in");
        slow.write_all(b"POST /v1/entries HTTP/1.1\r\nhost: v\r\ncontent-length: 1000\r\n\r\n{")
            .await
            .expect("it is read");
        let mut noise = TcpStream::connect(collector.agents_address())
            .await
            .expect("the port is open");
        noise
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .await
            .expect("it is read");
        // A handshake that announces 8 KiB and stops.
        let mut stuck = TcpStream::connect(collector.agents_address())
            .await
            .expect("the port is open");
        stuck
            .write_all(b"\x16\x03\x01\x20\x00\x01")
            .await
            .expect("it is read");
        held.push((half, slow, noise, stuck));
    }
    for _ in 0..20 {
        let line = good.finds("portail", None, Status::Ok);
        assert_eq!(
            good.hand_in(&[line]).await.status,
            200,
            "the others are served"
        );
    }
    for body in [
        b"".as_slice(),
        b"{}\n",
        b"\xff\xfe\n",
        b"{\"contact\":{},\"signature\":\"00\"}\n",
        &[b'['; 100_000],
    ] {
        let answer = bad
            .post(body.to_vec())
            .await
            .expect("the collector answers");
        assert_eq!((answer.status, answer.error()), (400, "contact.malformed"));
    }
    let answer = bad.post(vec![b' '; 5 * 1024 * 1024]).await;
    assert!(
        answer.map_or(true, |answer| answer.status == 413),
        "too long for anybody"
    );

    eventually("slow bodies are cut", async || {
        let count = collector
            .metric("vigie_connections_total{result=\"body_timeout\"}")
            .await;
        if count >= 16.0 {
            Ok(())
        } else {
            Err(count.to_string())
        }
    })
    .await;
    assert!(
        collector
            .metric("vigie_connections_total{result=\"handshake_failed\"}")
            .await
            >= 16.0
    );
    assert!(
        collector
            .metric("vigie_connections_total{result=\"handshake_timeout\"}")
            .await
            >= 16.0
    );
    assert!(
        collector
            .metric("vigie_requests_total{result=\"malformed\"}")
            .await
            >= 5.0
    );
    assert_eq!(good.hand_in(&[]).await.status, 200);
    let after = collector.program().memory();
    println!("collector's memory before {before:?}, after {after:?}");
    assert!(
        after.rss_anon_kib < before.rss_anon_kib + 32 * 1024,
        "before {before:?}, after {after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_that_floods_among_two_hundred_is_refused_alone() {
    let webhook = Webhook::start().await;
    let names: Vec<String> = (0..GOOD_NODES).map(|n| format!("good-{n:03}")).collect();
    let mut nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    nodes.push("flood");
    let collector = Arc::new(
        Collector::with(fleet(&nodes) + &webhook.as_only_receiver())
            .start()
            .await,
    );
    let flood = Arc::new(hand_agent(&collector, "flood", &["portail"]).await);
    let mut joining = JoinSet::new();
    for name in names {
        let token = collector.token(&name).await;
        let collector = Arc::clone(&collector);
        joining.spawn(async move {
            let mut agent = HandAgent::join_with(&collector, &name, &token)
                .await
                .expect("a good token");
            let plan = agent.plans(&["portail"], Some("dossier-patient"));
            assert_eq!(agent.hand_in(&plan).await.status, 200);
            agent
        });
    }
    let good = joining.join_all().await;

    let mut flooding = JoinSet::new();
    for _ in 0..FLOOD {
        let flood = Arc::clone(&flood);
        flooding.spawn(async move {
            loop {
                // Refused or not, at once the next one.
                let _ = flood.hand_in(&[]).await;
            }
        });
    }
    webhook.hears_reason("flood", "node.flooding").await;
    let mut work = JoinSet::new();
    for mut agent in good {
        work.spawn(async move {
            let line = agent.finds("portail", None, Status::Critical);
            assert_eq!(
                agent.hand_in(&[line]).await.status,
                200,
                "the others are served at once"
            );
        });
    }
    work.join_all().await;
    assert!(
        collector
            .metric("vigie_requests_total{result=\"flooding\"}")
            .await
            >= 10.0
    );
    flooding.abort_all();
    eventually("all others' alerts are told", async || {
        let told = webhook
            .lines()
            .iter()
            .filter(|line| line.starts_with("open good-"))
            .count();
        if told == GOOD_NODES {
            Ok(())
        } else {
            Err(told.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_and_none_at_all_reach_nothing() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names are good names");
    params.subject_alt_names.push(rcgen::SanType::URI(
        "spiffe://vigie/node/app-01"
            .try_into()
            .expect("it is ASCII"),
    ));
    let certificate = params.self_signed(&key).expect("a certificate can be made");
    let trusting = || {
        // The collector itself is the real one; only the client is not.
        let pem = std::fs::read(agent.state_dir().join("identity/server-ca.pem"))
            .expect("the identity has it");
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            vigie_platform::tls::parse_certificates(&pem, "the CA").expect("good CAs"),
        );
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
    };
    let stranger = trusting()
        .with_client_auth_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("key and certificate fit");
    let answered = match connect(&collector, stranger).await {
        // With TLS 1.3 the client learns of its refusal when it reads.
        Ok(mut stream) => {
            let _ = stream
                .write_all(b"POST /v1/entries HTTP/1.1\r\nhost: v\r\ncontent-length: 0\r\n\r\n")
                .await;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.is_ok() && !answer.is_empty()
        }
        Err(_) => false,
    };
    assert!(!answered, "nobody answers a stranger");
    eventually("it is counted", async || {
        let count = collector
            .metric("vigie_connections_total{result=\"handshake_failed\"}")
            .await;
        if count >= 1.0 {
            Ok(())
        } else {
            Err(count.to_string())
        }
    })
    .await;

    let mut nobody = connect(&collector, trusting().with_no_client_auth())
        .await
        .expect("joining needs no certificate");
    nobody
        .write_all(b"POST /v1/entries HTTP/1.1\r\nhost: v\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await
        .expect("it is read");
    let mut answer = Vec::new();
    // The collector may close without TLS's goodbye; what it said before counts.
    let _ = nobody.read_to_end(&mut answer).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 403"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(
        collector
            .metric("vigie_connections_total{result=\"certificate_required\"}")
            .await,
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_a_year_off_are_said_and_stop_nobody() {
    let clock = Arc::new(DrivenClock::new());
    let webhook = Webhook::start().await;
    let nodes = ["app-01", "app-02", "app-03", "app-04"];
    let collector = Collector::with(fleet(&nodes) + &webhook.as_only_receiver())
        .clock(&clock)
        .start()
        .await;
    let mut agents = Vec::new();
    for node in nodes {
        agents.push(hand_agent(&collector, node, &["portail"]).await);
    }
    agents[0].clock_off_ms = YEAR_MS;
    agents[1].clock_off_ms = -YEAR_MS;
    for agent in &mut agents[..2] {
        let line = agent.finds("portail", None, Status::Critical);
        assert_eq!(agent.hand_in(&[line]).await.status, 200);
    }
    clock.fly(Duration::from_secs(3)).await;
    for node in &nodes[..2] {
        webhook
            .hears_line(&format!("open {node} portail critical"))
            .await;
        webhook.hears_reason(node, "node.clock").await;
    }

    // Now the collector's own, a year behind: it says so, and goes on deciding.
    clock.step_wall(-YEAR_MS);
    clock.fly(Duration::from_secs(3)).await;
    webhook.hears_reason("@collector", "clock.step").await;
    assert_eq!(collector.status().await["clock_in_doubt"], true);
    let line = agents[2].finds("portail", None, Status::Critical);
    assert_eq!(agents[2].hand_in(&[line]).await.status, 200);
    webhook.hears_line("open app-03 portail critical").await;

    // A year ahead all certificates look long expired. A clock in doubt does not shut its nodes out: what they say can
    // open alerts, and ends none.
    clock.step_wall(2 * YEAR_MS);
    clock.fly(Duration::from_secs(3)).await;
    assert_eq!(collector.status().await["clock_in_doubt"], true);
    let line = agents[1].finds("portail", None, Status::Critical);
    assert_eq!(agents[1].hand_in(&[line]).await.status, 200);
    webhook.hears_line("open app-02 portail critical").await;
    let line = agents[1].finds("portail", None, Status::Ok);
    assert_eq!(agents[1].hand_in(&[line]).await.status, 200);
    assert!(
        collector
            .alerts()
            .await
            .iter()
            .any(|alert| alert.contains("app-02") && alert.contains("portail"))
    );

    // Three nodes agree with it again.
    clock.step_wall(-YEAR_MS);
    agents[0].clock_off_ms = 0;
    agents[1].clock_off_ms = 0;
    for agent in &agents {
        assert_eq!(agent.hand_in(&[]).await.status, 200);
    }
    clock.fly(Duration::from_secs(3)).await;
    eventually("the clock is trusted again", async || {
        clock.fly(Duration::from_secs(1)).await;
        for agent in &agents {
            agent.hand_in(&[]).await;
        }
        let status = collector.try_status().await?;
        if status["clock_in_doubt"] == false {
            Ok(())
        } else {
            Err("in doubt".to_owned())
        }
    })
    .await;
}
