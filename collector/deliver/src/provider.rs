//! A provider on loopback, for the tests of channels: it answers each request by a script and shows what it was asked.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, VecDeque},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::sleep,
};
use vigie_core::{
    digest::Digest,
    reason::message::Language,
    status::{Criticality, Environment, Family, Status},
    time::Wall,
};
use vigie_decide::{
    alert::{Body, Message},
    held::{Deferred, DigestLine, DigestNotice, MuteLine},
};
use vigie_platform::settings_file::SecretFile;

use super::{
    attempt::Outcome,
    queue::Answer,
    target::{Links, Target},
};
use crate::config::{By, Contact, ContactChannel, Detail, TargetConfig};

/// When everything here is told: 2026-11-22T19:04:33Z.
pub(super) const NOW: Wall = Wall(1_795_374_273_000);

/// For how long a try waits. Only what hangs waits for it to pass.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// More requests than any test makes.
const ASKED_MAX: usize = 64;

/// What a provider does with a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Writes this and closes.
    Text(String),
    /// The same, but so long after the request.
    Late(Duration, String),
    /// Never ends its body.
    Flood(&'static str),
    /// Closes.
    Nothing,
}

/// A whole answer.
pub(super) fn reply(status: &str, headers: &[&str], body: &str) -> Reply {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let len = body.len();
    Reply::Text(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {len}\r\nconnection: close\r\n\r\n{body}"
    ))
}

/// A request as the provider saw it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Method and path.
    pub(super) line: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(super) struct Provider {
    /// Without a path.
    pub(super) url: String,
    asked: mpsc::Receiver<Asked>,
}

impl Provider {
    pub(super) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::channel(ASKED_MAX);
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), sender.clone()));
            }
        });
        Self { url, asked }
    }

    /// What it was asked next.
    pub(super) async fn asked(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<VecDeque<Reply>>>,
    seen: mpsc::Sender<Asked>,
) {
    let Some(asked) = read(&mut stream).await else {
        return;
    };
    let reply = script.lock().unwrap().pop_front().unwrap_or(Reply::Nothing);
    let _test_over = seen.send(asked).await;
    let text = match reply {
        Reply::Nothing => return,
        Reply::Text(text) => text,
        Reply::Late(delay, text) => {
            sleep(delay).await;
            text
        }
        Reply::Flood(head) => {
            let _gone = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            return;
        }
    };
    let _gone = stream.write_all(text.as_bytes()).await;
    let _gone = stream.shutdown().await;
    // Until the other side has it all.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|len| len > 0) {}
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
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
    let headers: BTreeMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let len: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < head_len + len {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.lines().next().unwrap();
    Some(Asked {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: String::from_utf8(bytes[head_len..head_len + len].to_vec()).unwrap(),
    })
}

/// A file that only we can read.
pub(super) fn secret(dir: &Path, name: &str, text: &str) -> SecretFile {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    SecretFile::at(path)
}

/// Whoever is told by `by`, in French.
pub(super) fn settings(mut by: By, detail: Detail) -> TargetConfig {
    match &mut by {
        By::Webhook(webhook) => webhook.detail = detail,
        By::Contact(contact) => contact.detail = detail,
    }
    TargetConfig {
        destination: "am/sms".parse().unwrap(),
        by,
        language: Language::French,
        zone: None,
    }
}

/// A channel.
pub(super) fn contact(way: ContactChannel) -> By {
    By::Contact(Contact {
        channel: "sms".parse().unwrap(),
        way,
        detail: Detail::Full,
    })
}

/// What is set, ready, with links.
pub(super) fn open(settings: &TargetConfig) -> Target {
    let links: Links = Arc::new(|to, messages, at| {
        let orders = messages.iter().map(|message| message.order);
        let order = orders.max().unwrap_or_default();
        format!("https://vigie.example/a/{to}.{order}.{}_x_", at.0)
    });
    Target::open(settings, Some(links)).unwrap()
}

/// Whoever is told by `way`, ready.
pub(super) fn target(way: ContactChannel, detail: Detail) -> Target {
    open(&settings(contact(way), detail))
}

/// One try, for its answer.
pub(super) async fn tell(target: &Target, batch: &[Message]) -> Answer {
    let Outcome { answer, .. } = target.send(batch, NOW).await;
    answer
}

/// The answer of one that will take it later.
pub(super) const fn busy(http_status: u16) -> Answer {
    Answer::Busy {
        http_status,
        retry_after_ms: None,
    }
}

/// The same message, but about an object of this name.
pub(super) fn about(mut message: Message, object: &str) -> Message {
    if let Body::Alert(telling) = &mut message.body {
        let (node, check) = (telling.alert.node(), telling.alert.check());
        telling.alert = vigie_decide::alert::AlertKey::from_parts(&node, check, object)
            .expect("its node is one");
    }
    message
}

/// What waited for a morning.
pub(super) fn digest() -> Message {
    let held = Deferred {
        number: 1840,
        held_since: Wall(1_795_300_000_000),
        since: Wall(1_795_300_000_000),
        times: 3,
        worst: Status::Critical,
        status: Status::Warning,
        family: Family::Host,
        services: ["messagerie".parse().unwrap()].into(),
        criticality: Criticality::Important,
        environment: Environment::Production,
        reason: "http.status".to_owned(),
        facts: serde_json::Map::new(),
        ended: None,
        paged: BTreeMap::new(),
        acknowledged: false,
    };
    let line = DigestLine {
        alert: vigie_decide::alert::AlertKey::from_parts("db-01", "disques", "/var\u{202e}")
            .unwrap(),
        held,
    };
    Message {
        key: Digest::of(b"a digest"),
        order: 9,
        to: "am/sms".parse().unwrap(),
        receiver: "equipe-sis".parse().unwrap(),
        at: NOW,
        body: Body::Digest(Box::new(DigestNotice {
            due: Wall(1_795_374_000_000),
            still_on: vec![line],
            mutes: vec![MuteLine {
                name: "3".to_owned(),
                is_maintenance: false,
                reason: "travaux".to_owned(),
                until: Some(NOW),
            }],
            silent: vec!["app-02".parse().unwrap()],
            ..DigestNotice::default()
        })),
    }
}
