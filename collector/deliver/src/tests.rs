//! Delivery against receivers that lie, hang, refuse and come back.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use vigie_core::{
    reason::message::Language,
    status::{Criticality, Environment, Family, Need, Status},
    time::{Now, Wall},
};
use vigie_decide::alert::{AlertKey, Body, Ended, Notice, Notification};
use vigie_platform::{clock::ManualClock, settings_file::SecretFile};
use vigie_wording::Voice;

use super::{
    queue::{PAGE_SPACING_MS, SPACING_MS},
    *,
};
use crate::config::{
    AcceptedWhen, Address, By, Contact, ContactChannel, Detail, Encoding, HttpContact, HttpGateway,
    HttpMethod, TargetConfig, Template, Webhook, WebhookFormat,
};

/// What whoever watches the pulse calls recent.
const RECENT_MS: u64 = 30_000;

pub(super) fn message(order: u64, number: u64, notice: Notice) -> Message {
    let facts = json!({"expected": [200], "got": 503});
    let telling = Notification {
        notice,
        number,
        opening: number,
        alert: AlertKey::from_parts("app-01", "portail", "192.0.2.7").unwrap(),
        services: ["dossier-patient".parse().unwrap()].into(),
        criticality: Criticality::Critical,
        environment: Environment::Production,
        family: Family::Availability,
        need: (Need::Availability, 4),
        status: Status::Critical,
        reason: "http.status".to_owned(),
        facts: facts.as_object().unwrap().clone(),
        since: Wall(1_795_374_271_207),
        ended: (notice == Notice::Close).then_some(Ended::Recovered),
        runbook: Some("https://wiki.example/dossier-patient".to_owned()),
        step: 0,
        others_told: BTreeSet::new(),
        acknowledged_by: None,
        explains: 0,
        thread: None,
    };
    Message {
        key: Digest::of(&order.to_be_bytes()),
        order,
        to: night(),
        receiver: "night".parse().unwrap(),
        at: Wall(1_795_374_272_000),
        body: Body::Alert(Box::new(telling)),
    }
}

/// A request as the receiver saw it.
#[derive(Debug, Clone)]
struct Seen {
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Seen {
    fn key(&self) -> &str {
        &self.headers["idempotency-key"]
    }
}

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Text(&'static str),
    Hang,
}

const OK: Reply = Reply::Text("HTTP/1.1 204 No Content\r\n\r\n");
const BROKEN: Reply =
    Reply::Text("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
const SLOWER: Reply =
    Reply::Text("HTTP/1.1 429 Too Many Requests\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n");
const REFUSED: Reply = Reply::Text("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
const ELSEWHERE: Reply = Reply::Text(
    "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n",
);
/// Says that more comes than does.
const SHORT: Reply = Reply::Text("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\nhi");

/// More requests than any test makes.
const SEEN_MAX: usize = 64;

/// A receiver on loopback that answers by a script, and with 204 when that is used up.
struct Server {
    url: String,
    seen: mpsc::Receiver<Seen>,
    count: u64,
}

impl Server {
    async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel(SEEN_MAX);
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), sender.clone()));
            }
        });
        Self {
            url,
            seen,
            count: 0,
        }
    }

    async fn next(&mut self) -> Seen {
        let seen = self.seen.recv().await.unwrap();
        self.count += 1;
        seen
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<VecDeque<Reply>>>,
    seen: mpsc::Sender<Seen>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let reply = script.lock().unwrap().pop_front().unwrap_or(OK);
        let _test_over = seen.send(request).await;
        match reply {
            Reply::Text(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).unwrap();
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    let headers: BTreeMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let len: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < head_len + len {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let body = serde_json::from_slice(&bytes[head_len..head_len + len]).unwrap();
    Some(Seen { headers, body })
}

/// A machine.
fn settings(to: &str, url: &str) -> TargetConfig {
    TargetConfig {
        destination: to.parse().unwrap(),
        by: By::Webhook(Webhook {
            address: Address::Url(url.to_owned()),
            format: WebhookFormat::Vigie,
            detail: Detail::Full,
            header_file: None,
            ca_file: None,
        }),
        language: Language::French,
        zone: None,
    }
}

/// Somebody who is told through a gateway.
fn person(to: &str, url: &str) -> TargetConfig {
    let kind = "application/json";
    let gateway = HttpGateway {
        address: Address::Url(url.to_owned()),
        method: HttpMethod::Post,
        header_file: None,
        content_type: kind.to_owned(),
        body: Template::parse(r#"{"text":"{text}"}"#, Encoding::of(kind)).unwrap(),
        accepted: AcceptedWhen {
            status: vec![204],
            body_contains: None,
        },
        ca_file: None,
    };
    TargetConfig {
        by: By::Contact(Contact {
            channel: "sms".parse().unwrap(),
            way: ContactChannel::Http(Box::new(HttpContact {
                gateway,
                to: "+33600000000".to_owned().into(),
            })),
            detail: Detail::Full,
        }),
        ..settings(to, url)
    }
}

/// The webhook of a receiver made by [`settings`].
fn webhook(settings: &mut TargetConfig) -> &mut Webhook {
    match &mut settings.by {
        By::Webhook(webhook) => webhook,
        By::Contact(contact) => panic!("{contact:?}"),
    }
}

fn open(settings: &TargetConfig) -> Target {
    Target::open(settings, None).unwrap()
}

/// Delivery at work, with a clock of its own and the longest delays.
struct Bench {
    dispatcher: Dispatcher,
    reports: mpsc::Receiver<Report>,
    clock: Arc<ManualClock>,
    pulse: Arc<Pulse>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn start(settings: &[TargetConfig]) -> Self {
        Self::of(settings.iter().map(open).collect())
    }

    fn of(targets: Vec<Target>) -> Self {
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(0),
            elapsed: Elapsed(1_000_000),
        }));
        let pulse = Arc::new(Pulse::default());
        let (dispatcher, delivery, reports) = build(Parts {
            targets,
            clock: Arc::clone(&clock) as _,
            pulse: Arc::clone(&pulse),
            jitter: || u64::MAX,
        });
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(delivery.run(stopping));
        Self {
            dispatcher,
            reports,
            clock,
            pulse,
            stop,
            task,
        }
    }

    async fn report(&mut self) -> Report {
        self.reports.recv().await.unwrap()
    }

    async fn event(&mut self) -> Event {
        match self.report().await {
            Report::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    /// The keys that are reported next, whatever is said of receivers meanwhile.
    async fn delivered(&mut self, count: usize) -> Vec<Digest> {
        let mut keys = Vec::new();
        while keys.len() < count {
            match self.event().await {
                Event::Delivery(DeliveryEvent::Delivered { key, .. }) => keys.push(key),
                Event::Delivery(DeliveryEvent::DeliveryWorks { .. })
                | Event::Delivery(DeliveryEvent::DeliveryFailing { .. })
                | Event::Delivery(DeliveryEvent::Refused { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        keys
    }

    /// How many tries have ended.
    fn tried(&self) -> u64 {
        let counts = |(_, counters): (Destination, Arc<counters::ReceiverCounters>)| {
            counters.results()[..4]
                .iter()
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        self.dispatcher
            .counters()
            .all()
            .into_iter()
            .map(counts)
            .sum()
    }

    /// Lets time pass until a request comes, but not while one is under way.
    async fn wait_for(&self, server: &mut Server) -> Seen {
        while self.tried() < server.count {
            tokio::task::yield_now().await;
        }
        loop {
            self.clock.advance(std::time::Duration::from_secs(10));
            // Longer than a poll of the driven clock, so that whoever waits for it sees each step.
            let step = std::time::Duration::from_millis(12);
            if let Ok(seen) = timeout(step, server.next()).await {
                return seen;
            }
        }
    }
}

fn night() -> Destination {
    "night".parse().unwrap()
}

fn am() -> Destination {
    "am/sms".parse().unwrap()
}

/// A message by itself.
const fn delivered(key: Digest) -> Event {
    Event::Delivery(DeliveryEvent::Delivered {
        key,
        carried_by: None,
    })
}

/// A message to a person.
fn page(order: u64, number: u64, notice: Notice) -> Message {
    Message {
        to: am(),
        ..message(order, number, notice)
    }
}

#[tokio::test]
async fn what_is_accepted_is_reported_and_the_request_says_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let header = dir.path().join("header");
    std::fs::write(&header, "Authorization: Bearer s3cret\n").unwrap();
    std::fs::set_permissions(&header, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut server = Server::start(vec![]).await;
    let mut target = settings("night", &server.url);
    webhook(&mut target).header_file = Some(SecretFile::at(&header));
    let mut bench = Bench::start(&[target]);
    bench.dispatcher.take(vec![message(1, 1841, Notice::Open)]);
    let seen = server.next().await;
    assert_eq!(seen.key(), message(1, 0, Notice::Open).key.to_string());
    assert_eq!(seen.headers["authorization"], "Bearer s3cret");
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.body["number"], 1841);
    assert_eq!(bench.delivered(1).await, [message(1, 0, Notice::Open).key]);
    let counters = bench.dispatcher.counters().of(&night());
    assert_eq!(counters.results()[0], ("accepted", 1));
}

#[tokio::test]
async fn a_broken_receiver_is_tried_until_it_works_and_both_are_said_once() {
    let mut server = Server::start(vec![BROKEN; 3]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
    let first = server.next().await;
    for _ in 0..2 {
        let again = bench.wait_for(&mut server).await;
        assert_eq!(again.key(), first.key(), "the same message, the same key");
    }
    assert_eq!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryFailing {
            receiver: night(),
            waiting: 1,
            http_status: 500
        })
    );
    bench.wait_for(&mut server).await;
    let key = message(1, 0, Notice::Open).key;
    assert_eq!(bench.event().await, delivered(key));
    assert_eq!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryWorks { receiver: night() })
    );
}

#[tokio::test]
async fn a_receiver_that_asks_for_patience_gets_it() {
    let mut server = Server::start(vec![SLOWER]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
    server.next().await;
    let before = bench.clock.elapsed();
    bench.wait_for(&mut server).await;
    assert!(bench.clock.elapsed().since_ms(before) >= 120_000);
    // Half a minute without success is worth a word, whoever asked for it.
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryFailing {
            http_status: 429,
            ..
        })
    ));
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::Delivered { .. })
    ));
}

#[tokio::test]
async fn a_refusal_is_said_at_once_and_the_page_is_not_given_up() {
    for refusal in [REFUSED, ELSEWHERE] {
        let mut server = Server::start(vec![refusal]).await;
        let mut bench = Bench::start(&[settings("night", &server.url)]);
        bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
        server.next().await;
        let refused = bench.event().await;
        assert!(
            matches!(refused, Event::Delivery(DeliveryEvent::Refused { key, http_status: 400 | 307 })
                if key == message(1, 0, Notice::Open).key),
            "{refused:?}"
        );
        assert!(matches!(
            bench.event().await,
            Event::Delivery(DeliveryEvent::DeliveryFailing {
                waiting: 1,
                http_status: 400 | 307,
                ..
            })
        ));
        bench.wait_for(&mut server).await;
        assert!(matches!(
            bench.event().await,
            Event::Delivery(DeliveryEvent::Delivered { .. })
        ));
        assert!(matches!(
            bench.event().await,
            Event::Delivery(DeliveryEvent::DeliveryWorks { .. })
        ));
    }
}

#[tokio::test]
async fn a_body_that_lies_about_its_length_changes_nothing() {
    let mut server = Server::start(vec![SHORT, OK]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
    server.next().await;
    bench.delivered(1).await;
    // The connection is of no more use, and the next message finds another.
    bench.dispatcher.take(vec![message(2, 7, Notice::Close)]);
    server.next().await;
    bench.delivered(1).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_only_itself() {
    let mut hanging = Server::start(vec![Reply::Hang]).await;
    let mut good = Server::start(vec![]).await;
    let slow = open(&settings("day", &hanging.url));
    let slow = slow.hurried(std::time::Duration::from_millis(50));
    let mut bench = Bench::of(vec![slow, open(&settings("night", &good.url))]);
    let mut to_day = message(1, 7, Notice::Open);
    to_day.to = "day".parse().unwrap();
    bench
        .dispatcher
        .take(vec![to_day.clone(), message(2, 7, Notice::Open)]);
    hanging.next().await;
    good.next().await;
    assert_eq!(bench.delivered(1).await, [message(2, 0, Notice::Open).key]);
    let again = bench.wait_for(&mut hanging).await;
    assert_eq!(again.key(), to_day.key.to_string());
    loop {
        // How long the hanging one was waited for decides whether it was said to fail.
        if bench.event().await == delivered(to_day.key) {
            break;
        }
    }
}

#[tokio::test]
async fn the_end_of_an_alert_never_overtakes_its_beginning() {
    let mut server = Server::start(vec![BROKEN]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench.dispatcher.take(vec![
        message(1, 7, Notice::Open),
        message(2, 7, Notice::Close),
    ]);
    assert_eq!(server.next().await.body["notice"], "open");
    assert_eq!(bench.wait_for(&mut server).await.body["notice"], "open");
    assert_eq!(bench.wait_for(&mut server).await.body["notice"], "close");
    let keys = [1, 2].map(|order| message(order, 0, Notice::Open).key);
    assert_eq!(bench.delivered(2).await, keys);
}

#[tokio::test]
async fn after_a_restart_the_same_messages_go_under_the_same_keys() {
    let mut server = Server::start(vec![Reply::Hang]).await;
    let outbox = vec![message(1, 7, Notice::Open), message(2, 8, Notice::Open)];
    let first = Bench::start(&[settings("night", &server.url)]);
    first.dispatcher.take(outbox.clone());
    let mut before = [server.next().await, server.next().await].map(|seen| seen.key().to_owned());
    // Killed: nobody knows what the receiver made of the first.
    first.task.abort();
    let mut second = Bench::start(&[settings("night", &server.url)]);
    second.dispatcher.take(outbox);
    let mut after = [server.next().await, server.next().await].map(|seen| seen.key().to_owned());
    before.sort();
    after.sort();
    assert_eq!(before, after);
    second.delivered(2).await;
}

#[tokio::test]
async fn stopping_waits_for_what_is_under_way() {
    let mut server = Server::start(vec![]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
    server.next().await;
    bench.stop.send_replace(true);
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::Delivered { .. })
    ));
    bench.task.await.unwrap();
    assert!(bench.reports.recv().await.is_none());
}

#[tokio::test]
async fn a_receiver_that_left_the_settings_is_reported() {
    let mut server = Server::start(vec![REFUSED]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
    server.next().await;
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::Refused { .. })
    ));
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryFailing { .. })
    ));
    bench.dispatcher.replace_targets(Vec::new());
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryWorks { .. })
    ));
    let undeliverable = |order| Report::Undeliverable {
        key: message(order, 0, Notice::Open).key,
        to: night(),
    };
    assert_eq!(bench.report().await, undeliverable(1));
    bench.dispatcher.take(vec![message(2, 7, Notice::Close)]);
    assert_eq!(bench.report().await, undeliverable(2));
    let counters = bench.dispatcher.counters().of(&night());
    assert_eq!(counters.results()[4], ("undeliverable", 2));
}

#[tokio::test]
async fn a_page_that_is_in_no_log_is_told_and_is_no_event() {
    let mut server = Server::start(vec![BROKEN]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    bench
        .dispatcher
        .take_unlogged(vec![message(1, 7, Notice::Open)]);
    server.next().await;
    bench.wait_for(&mut server).await;
    let told = Report::ToldUnlogged {
        key: message(1, 0, Notice::Open).key,
        to: night(),
    };
    assert_eq!(bench.report().await, told);
}

#[tokio::test]
async fn people_get_all_that_waits_in_one_and_time_to_read_it() {
    let mut server = Server::start(vec![]).await;
    let mut bench = Bench::start(&[person("am/sms", &server.url)]);
    bench.dispatcher.take(vec![page(1, 1, Notice::Open)]);
    server.next().await;
    assert_eq!(bench.delivered(1).await, [page(1, 1, Notice::Open).key]);
    let before = bench.clock.elapsed();
    bench.dispatcher.take(vec![
        page(2, 2, Notice::Open),
        page(3, 3, Notice::Open),
        page(4, 2, Notice::Close),
    ]);
    bench.wait_for(&mut server).await;
    assert!(bench.clock.elapsed().since_ms(before) >= PAGE_SPACING_MS);
    let lead = page(2, 2, Notice::Open).key;
    let carried = |order: u64| {
        Event::Delivery(DeliveryEvent::Delivered {
            key: page(order, 0, Notice::Open).key,
            carried_by: (order != 2).then_some(lead),
        })
    };
    let mut events = Vec::new();
    while events.len() < 3 {
        match bench.event().await {
            Event::Delivery(DeliveryEvent::DeliveryWorks { receiver }) => {
                assert_eq!(receiver, am())
            }
            event => events.push(event),
        }
    }
    assert_eq!(events, [2, 3, 4].map(carried));
    // An end alone wakes nobody.
    let before = bench.clock.elapsed();
    bench.dispatcher.take(vec![page(5, 3, Notice::Close)]);
    bench.wait_for(&mut server).await;
    assert!(bench.clock.elapsed().since_ms(before) >= SPACING_MS);
    bench.delivered(1).await;
    assert_eq!(server.count, 3);
    let counters = bench.dispatcher.counters().of(&am());
    assert_eq!(counters.results()[0], ("accepted", 3));
}

#[tokio::test]
async fn a_storm_is_few_transmissions_and_every_message_is_reported() {
    const ALERTS: u64 = 10_000;
    let mut server = Server::start(vec![]).await;
    let mut bench = Bench::start(&[person("am/sms", &server.url)]);
    let pages = |from, to| (from..to).map(|order| page(order, order, Notice::Open));
    let mut keys = Vec::new();
    for (from, to) in [(0, 1), (1, ALERTS / 2), (ALERTS / 2, ALERTS)] {
        bench.dispatcher.take(pages(from, to).collect());
        if from == 0 {
            server.next().await;
        } else {
            bench.wait_for(&mut server).await;
        }
        let count = usize::try_from(to - from).unwrap();
        keys.extend(bench.delivered(count).await);
    }
    let all: Vec<Digest> = pages(0, ALERTS).map(|page| page.key).collect();
    assert_eq!(keys, all);
    assert_eq!(server.count, 3);
    assert_eq!(bench.dispatcher.counters().of(&am()).waiting(), 0);
}

#[tokio::test]
async fn a_page_in_no_log_travels_with_the_others() {
    let mut server = Server::start(vec![BROKEN]).await;
    let mut bench = Bench::start(&[person("am/sms", &server.url)]);
    bench.dispatcher.take(vec![page(1, 1, Notice::Open)]);
    server.next().await;
    bench
        .dispatcher
        .take_unlogged(vec![page(2, 2, Notice::Open)]);
    bench.wait_for(&mut server).await;
    assert_eq!(bench.event().await, delivered(page(1, 1, Notice::Open).key));
    let told = Report::ToldUnlogged {
        key: page(2, 2, Notice::Open).key,
        to: am(),
    };
    assert_eq!(bench.report().await, told);
}

#[tokio::test]
async fn delivering_counts_as_healthy_only_while_nobody_fails() {
    let mut server = Server::start(vec![REFUSED]).await;
    let mut bench = Bench::start(&[settings("night", &server.url)]);
    let pulse = Arc::clone(&bench.pulse);
    let is_healthy = |bench: &Bench| pulse.is_recent(bench.clock.elapsed(), RECENT_MS);
    bench.dispatcher.take(vec![message(1, 7, Notice::Open)]);
    server.next().await;
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::Refused { .. })
    ));
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryFailing { .. })
    ));
    bench
        .clock
        .advance(std::time::Duration::from_millis(RECENT_MS + 1));
    assert!(!is_healthy(&bench));
    bench.wait_for(&mut server).await;
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::Delivered { .. })
    ));
    assert!(matches!(
        bench.event().await,
        Event::Delivery(DeliveryEvent::DeliveryWorks { .. })
    ));
    assert!(is_healthy(&bench));
}

#[test]
fn a_target_says_what_is_wrong_and_never_where_it_points() {
    let mut bad = settings("night", "ftp://token@secret.example");
    let error = Target::open(&bad, None).unwrap_err();
    assert!(error.to_string().contains("night") && !error.to_string().contains("secret"));
    assert!(!format!("{bad:?}").contains("secret"));
    webhook(&mut bad).address = Address::Url("http://127.0.0.1:1/secret".to_owned());
    assert!(!format!("{:?}", Target::open(&bad, None).unwrap()).contains("secret"));
    let dir = tempfile::tempdir().unwrap();
    let header = dir.path().join("header");
    std::fs::write(&header, "no header").unwrap();
    std::fs::set_permissions(&header, std::fs::Permissions::from_mode(0o600)).unwrap();
    webhook(&mut bad).header_file = Some(SecretFile::at(&header));
    assert!(matches!(
        Target::open(&bad, None).unwrap_err(),
        TargetError::Header { path, .. } if path == header
    ));
    webhook(&mut bad).header_file = Some(SecretFile::at(dir.path().join("absent")));
    assert!(matches!(
        Target::open(&bad, None).unwrap_err(),
        TargetError::Secret { .. }
    ));
}

#[test]
fn alertmanagers_form_names_an_alert_the_same_from_beginning_to_end() {
    let read = |message: &Message| -> Value {
        let voice = Voice {
            language: Language::English,
            zone: None,
            link: None,
            now: None,
        };
        serde_json::from_slice(&alertmanager::body(message, voice, Detail::Full)).unwrap()
    };
    let open = read(&message(1, 7, Notice::Open));
    let mut closing = message(2, 7, Notice::Close);
    // A node whose clock is ahead.
    let later = closing.at.plus_ms(60_000);
    if let Body::Alert(telling) = &mut closing.body {
        telling.since = later;
    }
    let close = read(&closing);
    assert_eq!(
        (&open["version"], &open["status"]),
        (&json!("4"), &json!("firing"))
    );
    assert_eq!(close["status"], "resolved");
    assert_eq!(open["groupKey"], close["groupKey"]);
    let (first, last) = (&open["alerts"][0], &close["alerts"][0]);
    assert_eq!(first["fingerprint"], last["fingerprint"]);
    assert_eq!(first["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(first["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(last["endsAt"], last["startsAt"]);
    assert_eq!(
        first["labels"],
        json!({
            "alertname": "portail",
            "check": "portail",
            "node": "app-01",
            "object": "192.0.2.7",
            "service": "dossier-patient",
            "severity": "critical",
            "criticality": "critical",
            "family": "availability",
            "environment": "production",
        })
    );
    assert_eq!(open["commonLabels"], first["labels"]);
    assert_eq!(
        first["annotations"]["runbook_url"],
        "https://wiki.example/dossier-patient"
    );
}
