//! One try against servers that do what a script says. Encryption is shown by the scenarios, against a real one.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use vigie_core::reason::message::Language;
use vigie_decide::alert::{Body, Notice};
use vigie_wording::Voice;

use super::{super::tests::message, *};
use crate::config::Smtp;

/// Long enough for loopback, and nothing waits for it to pass but what hangs.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection: what is answered to each line or message that comes, the greeting first. An empty answer hangs, the
/// end of the script closes.
type Script = Vec<&'static str>;

const HELLO: [&str; 2] = ["220 mx", "250-mx\r\n250 8BITMIME"];

/// A conversation that begins well.
fn script(rest: &[&'static str]) -> Script {
    [&HELLO, rest].concat()
}

/// A server on loopback, one connection after the other. What each was told is what its task returns.
async fn server(scripts: Vec<Script>) -> (u16, JoinHandle<Vec<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut heard = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            heard.push(converse(stream, script.into()).await);
        }
        heard
    });
    (port, task)
}

async fn converse(stream: TcpStream, mut script: VecDeque<&'static str>) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut heard = Vec::new();
    let mut is_data = false;
    while let Some(answer) = script.pop_front() {
        if answer.is_empty() {
            // Hangs until the other side has gone.
            let mut rest = String::new();
            while stream.read_line(&mut rest).await.is_ok_and(|len| len > 0) {}
            break;
        }
        let answer = format!("{answer}\r\n");
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            break;
        }
        is_data |= answer.starts_with("354");
        let mut told = String::new();
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(0) | Err(_) => return heard,
                Ok(_) => {}
            }
            let is_end = !is_data || line == ".\r\n";
            told.push_str(&line);
            if is_end {
                is_data = false;
                break;
            }
        }
        heard.push(told);
    }
    heard
}

fn email(port: u16, to: &[&str]) -> Email {
    let settings = config::Email {
        to: to.iter().map(|to| to.parse().unwrap()).collect(),
        smtp: Smtp {
            host: "127.0.0.1".to_owned(),
            port,
            tls: SmtpTls::None,
            login: None,
            from: "vigie@example.org".parse().unwrap(),
            ca_file: None,
        },
    };
    Email::open(&settings, &chefs()).unwrap()
}

fn chefs() -> Destination {
    "chefs".parse().unwrap()
}

async fn send(email: &Email, message: &Message, limit: Duration) -> Outcome {
    send_all(email, std::slice::from_ref(message), limit).await
}

async fn send_all(email: &Email, batch: &[Message], limit: Duration) -> Outcome {
    let told = Occasion {
        destination: &chefs(),
        detail: Detail::Full,
        voice: Voice {
            language: Language::French,
            zone: None,
            link: None,
            now: None,
        },
        now: Wall(1_795_374_273_000),
        limit,
    };
    email.send(&told, batch).await
}

const BUSY: fn(u16) -> Outcome = |http_status| {
    Outcome::of(Answer::Busy {
        http_status,
        retry_after_ms: None,
    })
};

const REFUSED: fn(u16) -> Outcome = |http_status| Outcome::of(Answer::Refused { http_status });

#[tokio::test]
async fn an_accepted_mail_has_all_its_headers_and_both_bodies() {
    let script = script(&[
        "250 ok",
        "250 ok",
        "250 ok",
        "354 go",
        "250 taken",
        "221 bye",
    ]);
    let (port, server) = server(vec![script]).await;
    let email = email(port, &["chef@example.org", "adjoint@example.org"]);
    let mut close = message(2, 1841, Notice::Close);
    if let Body::Alert(telling) = &mut close.body {
        telling.thread = Some(message(1, 1841, Notice::Open).key);
    }
    let outcome = send(&email, &close, TRY_TIMEOUT).await;
    assert_eq!(outcome, Outcome::of(Answer::Accepted));
    let heard = server.await.unwrap().remove(0);
    assert_eq!(
        heard[..5],
        [
            "EHLO [127.0.0.1]\r\n",
            "MAIL FROM:<vigie@example.org>\r\n",
            "RCPT TO:<chef@example.org>\r\n",
            "RCPT TO:<adjoint@example.org>\r\n",
            "DATA\r\n",
        ]
    );
    let (head, body) = heard[5].split_once("\r\n\r\n").unwrap();
    let ids = MailIds::of(std::slice::from_ref(&close));
    let opening = MailIds::of(&[message(1, 1841, Notice::Open)]).own;
    assert_eq!(ids.thread, std::slice::from_ref(&opening));
    for line in [
        "From: vigie <vigie@example.org>".to_owned(),
        "To: chef@example.org, adjoint@example.org".to_owned(),
        "Date: Sun, 22 Nov 2026 19:04:33 +0000".to_owned(),
        format!("Message-ID: <{}@example.org>", ids.own),
        format!("In-Reply-To: <{opening}@example.org>"),
        format!("References: <{opening}@example.org>"),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
    ] {
        let unfolded = head.replace("\r\n ", " ");
        assert!(
            unfolded.lines().any(|known| known == line),
            "{line}\n{head}"
        );
    }
    assert!(head.is_ascii() && body.is_ascii());
    assert!(body.contains("text/plain") && body.contains("text/html"));
}

#[tokio::test]
async fn each_answer_means_what_the_standard_says() {
    let scripts = [
        (vec!["421 busy"], BUSY(421)),
        (vec!["554 go away"], BUSY(554)),
        (vec!["hello"], Outcome::of(Answer::None)),
        (script(&["451 later"]), BUSY(451)),
        (script(&["550 not you"]), REFUSED(550)),
        (script(&["250 ok", "450 later"]), BUSY(450)),
        (script(&["250 ok", "550 nobody"]), REFUSED(550)),
        (script(&["250 ok", "250 ok", "451 later"]), BUSY(451)),
        (
            script(&["250 ok", "250 ok", "354 go", "452 full"]),
            BUSY(452),
        ),
        (
            script(&["250 ok", "250 ok", "354 go", "554 spam"]),
            REFUSED(554),
        ),
        // Closes after the message: nobody knows.
        (
            script(&["250 ok", "250 ok", "354 go"]),
            Outcome::of(Answer::None),
        ),
    ];
    for (script, expected) in scripts {
        let name = format!("{script:?}");
        let (port, _server) = server(vec![script]).await;
        let email = email(port, &["chef@example.org"]);
        let outcome = send(&email, &message(1, 1841, Notice::Open), TRY_TIMEOUT).await;
        assert_eq!(outcome, expected, "{name}");
    }
    let nobody_listens = email(1, &["chef@example.org"]);
    let outcome = send(&nobody_listens, &message(1, 1, Notice::Open), TRY_TIMEOUT).await;
    assert_eq!(outcome, Outcome::of(Answer::None));
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_every_stage() {
    let limit = Duration::from_millis(200);
    for script in [
        vec![""],
        script(&[""]),
        script(&["250 ok", "250 ok", ""]),
        script(&["250 ok", "250 ok", "354 go", ""]),
    ] {
        let (port, _server) = server(vec![script]).await;
        let email = email(port, &["chef@example.org"]);
        let outcome = send(&email, &message(1, 1841, Notice::Open), limit).await;
        assert_eq!(outcome, Outcome::of(Answer::None));
    }
}

#[tokio::test]
async fn of_several_recipients_each_is_told_once_and_the_refused_are_counted() {
    // The first takes it, the second not yet, the third never.
    let first = script(&[
        "250 ok",
        "250 ok",
        "450 later",
        "550 never",
        "354 go",
        "250 taken",
        "221 bye",
    ]);
    // The second still not; then it takes it.
    let second = script(&["250 ok", "450 later", "550 never"]);
    let third = script(&[
        "250 ok",
        "250 ok",
        "550 never",
        "354 go",
        "250 taken",
        "221 bye",
    ]);
    let (port, server) = server(vec![first, second, third]).await;
    let before = email(port, &["a@example.org", "b@example.org", "c@example.org"]);
    let open = message(1, 1841, Notice::Open);
    assert_eq!(send(&before, &open, TRY_TIMEOUT).await, BUSY(450));
    assert_eq!(send(&before, &open, TRY_TIMEOUT).await, BUSY(450));
    // A reload between the tries changes nothing.
    let mut after = email(port, &["a@example.org", "b@example.org", "c@example.org"]);
    after.carry_on(&before);
    let outcome = send(&after, &open, TRY_TIMEOUT).await;
    assert_eq!(outcome.answer, Answer::Accepted);
    assert_eq!(outcome.recipients_refused, 1);
    assert!(
        after.lock().by_message.is_empty(),
        "what is over is forgotten"
    );
    let asked: Vec<usize> = server
        .await
        .unwrap()
        .iter()
        .map(|heard| heard.iter().filter(|line| line.contains("<a@")).count())
        .collect();
    assert_eq!(asked, [1, 0, 0]);
}

#[tokio::test]
async fn when_only_refused_recipients_are_left_the_message_is_done() {
    let first = script(&[
        "250 ok",
        "250 ok",
        "450 later",
        "354 go",
        "250 taken",
        "221 bye",
    ]);
    let second = script(&["250 ok", "550 never"]);
    let (port, _server) = server(vec![first, second]).await;
    let email = email(port, &["a@example.org", "b@example.org"]);
    let open = message(1, 1841, Notice::Open);
    assert_eq!(send(&email, &open, TRY_TIMEOUT).await, BUSY(450));
    let outcome = send(&email, &open, TRY_TIMEOUT).await;
    assert_eq!(outcome.answer, Answer::Accepted);
    assert_eq!(outcome.recipients_refused, 1);
}

#[tokio::test]
async fn a_server_that_never_stops_talking_costs_little() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'2'; 4096]).await.is_ok() {}
    });
    let email = email(port, &["a@example.org"]);
    let outcome = send(&email, &message(1, 1, Notice::Open), TRY_TIMEOUT).await;
    assert_eq!(outcome, Outcome::of(Answer::None));
}

/// A mail that asks to be encrypted, to a server that plays the plain part by a script.
async fn asks_for_encryption(script: Script) -> (SmtpError, Vec<String>) {
    let (port, server) = server(vec![script]).await;
    let mut settings = email(port, &["a@example.org"]).settings.smtp;
    settings.tls = SmtpTls::Starttls;
    let encryption = Encryption {
        config: Arc::new(trust("http", None).unwrap()),
        name: ServerName::try_from("127.0.0.1").unwrap(),
    };
    let error = connect(&settings, Some(&encryption)).await.err().unwrap();
    (error, server.await.unwrap().remove(0))
}

#[tokio::test]
async fn nothing_is_told_to_a_server_that_does_not_encrypt() {
    let (error, heard) = asks_for_encryption(script(&[])).await;
    assert!(matches!(error, SmtpError::NoStarttls { .. }), "{error}");
    assert_eq!(heard.len(), 1, "{heard:?}");

    let offer = "250-mx\r\n250 STARTTLS";
    let (error, _) = asks_for_encryption(vec!["220 mx", offer, "454 not now"]).await;
    assert_eq!(error.code(), Some(454), "{error}");
    assert!(!is_for_good(454));
}

#[tokio::test]
async fn an_answer_that_comes_before_encryption_is_never_taken_for_one_behind_it() {
    let injected = "220 go\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken";
    let offer = "250-mx\r\n250 STARTTLS";
    let (error, _) = asks_for_encryption(vec!["220 mx", offer, injected]).await;
    assert!(matches!(error, SmtpError::Injected { .. }), "{error}");
}

/// What was told after `DATA`, its lines joined again (RFC 2045 §6.7).
fn mail_of(heard: &[String]) -> String {
    let mail = heard.iter().find(|told| told.contains("Subject: "));
    mail.unwrap().replace("=\r\n", "")
}

#[tokio::test]
async fn a_full_mailbox_brings_nobody_else_the_same_mail_twice() {
    let taken = ["354 go", "250 taken"];
    let first = script(&[&["250 ok", "250 ok", "452 full"], &taken[..], &["221 bye"]].concat());
    // The one who has the first is told the second, the other is still full; then nothing is left but the other.
    let second = [
        &["250 ok", "250 ok"],
        &taken[..],
        &["250 ok", "452 full", "221 bye"],
    ]
    .concat();
    let third = script(&["250 ok", "452 full", "221 bye"]);
    let fourth = script(&[&["250 ok", "250 ok"], &taken[..], &["221 bye"]].concat());
    let (port, server) = server(vec![first, script(&second), third, fourth]).await;
    let email = email(port, &["a@example.org", "b@example.org"]);
    let first = message(1, 1841, Notice::Open);
    let batch = [first.clone(), message(2, 1842, Notice::Open)];
    assert_eq!(send(&email, &first, TRY_TIMEOUT).await, BUSY(452));
    assert_eq!(send_all(&email, &batch, TRY_TIMEOUT).await, BUSY(452));
    assert_eq!(send_all(&email, &batch, TRY_TIMEOUT).await, BUSY(452));
    let outcome = send_all(&email, &batch, TRY_TIMEOUT).await;
    assert_eq!(outcome, Outcome::of(Answer::Accepted));
    assert!(
        email.lock().by_message.is_empty(),
        "what is over is forgotten"
    );
    let heard = server.await.unwrap();
    let rest = mail_of(&heard[1]);
    assert!(rest.contains("1842") && !rest.contains("1841"), "{rest}");
    let own = format!("Message-ID: <{}@example.org>", MailIds::of(&batch[1..]).own);
    assert!(rest.contains(&own), "{rest}");
    assert!(!heard[2].iter().any(|line| line.contains("<a@")));
    let all = mail_of(&heard[3]);
    assert!(all.contains("1842") && all.contains("1841"), "{all}");
    assert!(!heard[3].iter().any(|line| line.contains("RCPT TO:<a@")));
}

#[tokio::test]
async fn what_some_have_is_known_even_where_the_conversation_breaks_later() {
    let first = script(&[
        "250 ok",
        "250 ok",
        "450 later",
        "354 go",
        "250 taken",
        "221 bye",
    ]);
    // The first of two takes the rest, and then the server is gone.
    let second = script(&["250 ok", "250 ok", "354 go", "250 taken"]);
    let third = script(&["250 ok", "250 ok", "354 go", "250 taken", "221 bye"]);
    let (port, server) = server(vec![first, second, third]).await;
    let email = email(port, &["a@example.org", "b@example.org"]);
    let first = message(1, 1841, Notice::Open);
    let batch = [first.clone(), message(2, 1842, Notice::Open)];
    assert_eq!(send(&email, &first, TRY_TIMEOUT).await, BUSY(450));
    let outcome = send_all(&email, &batch, TRY_TIMEOUT).await;
    assert_eq!(outcome, Outcome::of(Answer::None));
    let outcome = send_all(&email, &batch, TRY_TIMEOUT).await;
    assert_eq!(outcome, Outcome::of(Answer::Accepted));
    let heard = server.await.unwrap();
    assert!(!heard[2].iter().any(|line| line.contains("RCPT TO:<a@")));
}

#[tokio::test]
async fn a_minimal_mail_names_no_node_and_no_finding() {
    let (port, server) = server(vec![script(&[
        "250 ok",
        "250 ok",
        "354 go",
        "250 taken",
        "221 bye",
    ])])
    .await;
    let email = email(port, &["a@example.org"]);
    let told = Occasion {
        destination: &chefs(),
        detail: Detail::Minimal,
        voice: Voice {
            language: Language::English,
            zone: None,
            link: Some("https://vigie.example/a/1"),
            now: None,
        },
        now: Wall(1_795_374_273_000),
        limit: TRY_TIMEOUT,
    };
    let batch = [message(1, 1841, Notice::Open)];
    assert_eq!(email.send(&told, &batch).await.answer, Answer::Accepted);
    let heard = server.await.unwrap().remove(0);
    let mail = mail_of(&heard);
    assert!(mail.contains("1841") && mail.contains("https://vigie.example/a/1"));
    for finding in ["app-01", "portail", "192.0.2.7", "503"] {
        assert!(!mail.contains(finding), "{mail}");
    }
}
