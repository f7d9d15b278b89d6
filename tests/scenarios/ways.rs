//! Which ways are there between the parties, besides the straight one: another address, a proxy, another format?

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite,
        AsyncWriteExt as _, BufReader, copy_bidirectional,
    },
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use vigie_core::{hand_in::ENTRIES_PATH, status::Status, time::Wall, wire::JOIN_PATH};
use vigie_tests::harness::{Agent, Collector, Manner, Told, Webhook, eventually, own_address};

use crate::fleet::{fleet, hand_agent, watches};

/// The longest head of a CONNECT that the proxy reads, in bytes: ours has two short lines.
const CONNECT_LEN_MAX: u64 = 4 * 1024;

/// A name that no resolver knows (RFC 6761 §6.4): whoever reaches it was led there.
const HIDDEN_NAME: &str = "vigie.invalid";

/// TLS content types (RFC 8446 §5.1): from change_cipher_spec to application_data.
const TLS_CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=APPLICATION_DATA;

/// The content type under which everything travels once keys are agreed on.
const APPLICATION_DATA: u8 = 23;

/// The bytes before each TLS record: content type, version, length.
const TLS_HEADER_LEN: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_finds_the_address_that_leads_to_its_collector_and_follows_when_that_moves() {
    let service = Webhook::start().await;
    let webhook = Webhook::start().await;
    let (mut first, mut second) = (Door::closed(), Door::closed());
    let collector = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver())
        // The token carries the one that is open when the agent joins.
        .hosts([second.host(), first.host()])
        .start()
        .await;
    second.open(collector.agents_address()).await;
    let agent = Agent::with(watches(&service.url()))
        .collectors([first.url(), second.url()])
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;
    hands_in_at(&agent, &second).await;

    second.close().await;
    first.open(collector.agents_address()).await;
    service.behave(Manner::Answers(503));
    webhook.hears_line("open app-01 portail").await;
    hands_in_at(&agent, &first).await;

    first.close().await;
    second.open(collector.agents_address()).await;
    service.behave(Manner::Accepts);
    webhook.hears_line("close app-01 portail").await;
    hands_in_at(&agent, &second).await;
    collector.is_fine("app-01").await;
    webhook.expect_each_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_all_an_agent_needs_to_join_and_to_run_and_learns_nothing_of_either() {
    let service = Webhook::start().await;
    let collector = Collector::with(fleet(&["app-01"]))
        .hosts([HIDDEN_NAME.to_owned()])
        .start()
        .await;
    let proxy = Proxy::to(collector.agents_address()).await;
    let asked = format!("{HIDDEN_NAME}:{}", collector.agents_address().port());
    let settings = format!("proxy = {:?}\n{}", proxy.url(), watches(&service.url()));
    let mut agent = Agent::with(settings)
        .collectors([format!("https://{asked}")])
        .prepare(&collector, "app-01");

    let token = collector.token("app-01").await;
    let output = agent.join(&token);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(proxy.tunnels().len(), 1, "one request joins");

    agent.restart().await;
    collector.is_fine("app-01").await;
    service.behave(Manner::Answers(503));
    collector.shows("app-01", "http.status").await;
    agent.stop().await;

    let tunnels = proxy.tunnels();
    let token = token.reveal();
    let words = [
        "app-01",
        "portail",
        "dossier-patient",
        "http.status",
        "not_ok",
        ENTRIES_PATH,
        JOIN_PATH,
        // Its parts are the prefix, the id, the secret, the CA's digest and the address.
        token.split('_').nth(2).expect("a token has a secret"),
    ];
    let mut with_answer = 0;
    for tunnel in &tunnels {
        assert_eq!(tunnel.asked, format!("CONNECT {asked} HTTP/1.1"));
        let encrypted = [&tunnel.there, &tunnel.back].map(|bytes| {
            for word in words {
                assert!(!contains(bytes, word), "{word} is told in clear");
            }
            tls_application_data_len(bytes)
                .unwrap_or_else(|position| panic!("no TLS from byte {position}: {bytes:?}"))
        });
        if encrypted.iter().all(|len| *len > 0) {
            with_answer += 1;
            // What it was asked for it may see again: the name in the handshake (RFC 6066 §3).
            assert!(contains(&tunnel.there, HIDDEN_NAME));
        }
    }
    assert!(with_answer > 1, "what runs goes through it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn software_made_for_alertmanager_is_told_of_a_beginning_and_its_end_as_one_alert() {
    let webhook = Webhook::start().await;
    let receiver = format!(
        r#"
        [receiver.night]
        webhook = {{ url = "{}", format = "alertmanager" }}
        [[route]]
        notify = ["night"]
        "#,
        webhook.url()
    );
    let collector = Collector::with(fleet(&["app-01"]) + &receiver)
        .start()
        .await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let told = async |status: &str| {
        let is_it = |told: &Told| {
            told.body["status"] == status && told.body["groupLabels"]["alertname"] == "portail"
        };
        webhook.hears(&format!("portail is {status}"), is_it).await
    };

    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    let firing = told("firing").await;
    let up = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[up]).await;
    let resolved = told("resolved").await;

    for message in [&firing, &resolved] {
        assert_eq!(message.body["version"], "4");
        assert_eq!(message.body["receiver"], "night");
        let alerts = message.body["alerts"].as_array().expect("a list");
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert_eq!(alerts[0]["status"], message.body["status"]);
        for (label, value) in [
            ("alertname", "portail"),
            ("node", "app-01"),
            ("check", "portail"),
            ("service", "dossier-patient"),
            ("severity", "critical"),
        ] {
            assert_eq!(alerts[0]["labels"][label], value, "{label}");
        }
        assert!(!message.key.is_empty(), "it has an Idempotency-Key");
    }
    assert_ne!(firing.key, resolved.key, "they are two messages");
    assert_eq!(firing.body["groupKey"], resolved.body["groupKey"]);

    let (first, last) = (&firing.body["alerts"][0], &resolved.body["alerts"][0]);
    let fingerprint = first["fingerprint"].as_str().expect("text");
    assert!(!fingerprint.is_empty());
    assert_eq!(last["fingerprint"], fingerprint);
    assert_eq!(first["labels"], last["labels"], "else they are two alerts");
    let instant = |alert: &serde_json::Value, member: &str| {
        let text = alert[member].as_str().expect("text");
        Wall::parse(text).unwrap_or_else(|cause| panic!("{member} {text:?}: {cause}"))
    };
    assert_eq!(instant(first, "startsAt"), instant(last, "startsAt"));
    assert!(instant(last, "startsAt") <= instant(last, "endsAt"));
    // Go's zero time, which there means that it has not ended.
    assert_eq!(first["endsAt"], "0001-01-01T00:00:00Z");
    assert!(instant(first, "endsAt") < instant(first, "startsAt"));
}

/// Waits until the agent says that it was answered at this door.
async fn hands_in_at(agent: &Agent, door: &Door) {
    let url = door.url();
    eventually(&format!("it hands in at {url}"), async || {
        let push = agent.status()?["push"].clone();
        let address = push["collector"].as_str().unwrap_or_default();
        if address.trim_end_matches('/') == url && push["result"] == "ok" {
            Ok(())
        } else {
            Err(push.to_string())
        }
    })
    .await;
}

/// How many bytes of a stream are encrypted content. A last record may be incomplete.
///
/// # Errors
/// With the position from where on this is not TLS.
fn tls_application_data_len(bytes: &[u8]) -> Result<usize, usize> {
    let (mut position, mut encrypted) = (0, 0);
    while let Some(&[content_type, major, _, high, low]) =
        bytes.get(position..position + TLS_HEADER_LEN)
    {
        if !TLS_CONTENT_TYPES.contains(&content_type) || major != 3 {
            return Err(position);
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        if content_type == APPLICATION_DATA {
            encrypted += len;
        }
        position += TLS_HEADER_LEN + len;
    }
    Ok(encrypted)
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

/// An address that leads to a party while it is open, as one of several network ways does.
struct Door {
    address: SocketAddr,
    server: JoinSet<()>,
}

impl Door {
    /// A door behind which the port is closed.
    fn closed() -> Self {
        Self {
            address: (own_address(), 9443).into(),
            server: JoinSet::new(),
        }
    }

    fn host(&self) -> String {
        self.address.ip().to_string()
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on it leads to `party`.
    async fn open(&mut self, party: SocketAddr) {
        let listener = listen(self.address).await;
        self.server
            .spawn(accept(listener, move |mut stream| async move {
                let mut onward = TcpStream::connect(party).await?;
                copy_bidirectional(&mut stream, &mut onward).await?;
                Ok(())
            }));
    }

    /// Closes its port and every connection.
    async fn close(&mut self) {
        self.server.shutdown().await;
    }
}

/// One CONNECT and everything that went through it.
#[derive(Debug, Clone, Default)]
struct Tunnel {
    asked: String,
    there: Vec<u8>,
    back: Vec<u8>,
}

/// A CONNECT proxy (RFC 9110 §9.3.6) that leads to one party whatever name it is asked for, and remembers everything.
/// What it remembers has no bound but the scenario's own length.
struct Proxy {
    address: SocketAddr,
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
    /// Ends when dropped.
    _server: JoinSet<()>,
}

impl Proxy {
    async fn to(party: SocketAddr) -> Self {
        let address = (own_address(), 3128).into();
        let listener = listen(address).await;
        let tunnels = Arc::<Mutex<Vec<Tunnel>>>::default();
        let mut server = JoinSet::new();
        let remembered = Arc::clone(&tunnels);
        server.spawn(accept(listener, move |stream| {
            tunnel(stream, party, Arc::clone(&remembered))
        }));
        Self {
            address,
            tunnels,
            _server: server,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn tunnels(&self) -> Vec<Tunnel> {
        self.tunnels.lock().expect("no holder panics").clone()
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address)
        .await
        .expect("its address is its own")
}

/// Serves every connection until it is aborted, and they with it.
async fn accept<Serving>(listener: TcpListener, serve: impl Fn(TcpStream) -> Serving)
where
    Serving: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream));
            }
            // That a connection broke is between the two ends; this keeps the set small.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn tunnel(
    stream: TcpStream,
    party: SocketAddr,
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
) -> io::Result<()> {
    let (from_agent, mut to_agent) = stream.into_split();
    let mut from_agent = BufReader::new(from_agent);
    let asked = read_head(&mut from_agent).await?;
    let number = {
        let mut tunnels = tunnels.lock().expect("no holder panics");
        tunnels.push(Tunnel {
            asked,
            ..Tunnel::default()
        });
        tunnels.len() - 1
    };
    let (from_party, to_party) = TcpStream::connect(party).await?.into_split();
    to_agent.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let remember = |side: fn(&mut Tunnel) -> &mut Vec<u8>| {
        let tunnels = &tunnels;
        move |bytes: &[u8]| {
            let mut tunnels = tunnels.lock().expect("no holder panics");
            side(&mut tunnels[number]).extend_from_slice(bytes);
        }
    };
    tokio::try_join!(
        pass(from_agent, to_party, remember(|tunnel| &mut tunnel.there)),
        pass(from_party, to_agent, remember(|tunnel| &mut tunnel.back)),
    )?;
    Ok(())
}

/// The first line of a request without a body, read up to its end and not a byte further.
async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut head = String::new();
    let mut limited = stream.take(CONNECT_LEN_MAX);
    while !head.ends_with("\r\n\r\n") {
        if limited.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head.lines().next().unwrap_or_default().to_owned())
}

/// Copies until the end, and shows what it copies before it goes on.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    saw: impl Fn(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        saw(&buffer[..len]);
        to.write_all(&buffer[..len]).await?;
    }
}
