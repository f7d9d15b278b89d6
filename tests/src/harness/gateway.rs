//! A gateway for text messages, in this process: it takes what a channel `http` posts, and misbehaves as gateways do.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, header};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{
    eventually, own_address,
    server::{Lost, Server},
};

/// What a text message may be long (3GPP TS 23.038): 160 characters of its alphabet.
const TEXT_LEN_MAX: usize = 160;

/// How it behaves towards a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayManner {
    /// Takes it and says so.
    Accepts,
    /// Refuses it for good.
    Refuses(u16),
    /// Has no time, and asks to be left alone for so many seconds.
    IsBusy(u16),
    /// Says 200 and that it has not been sent.
    Lies,
    /// Reads it, and answers only when it behaves otherwise: then like that.
    Hangs,
}

/// One message as it came.
#[derive(Debug, Clone)]
pub struct Text {
    /// The number that it is for.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// What proves who asks.
    secret: String,
    /// Whether it was accepted.
    pub is_accepted: bool,
}

impl Text {
    /// The link in it.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn link(&self) -> &str {
        let link = self
            .text
            .split_whitespace()
            .find(|word| word.contains("://"));
        link.unwrap_or_else(|| panic!("no link in {:?}", self.text))
    }
}

#[derive(Debug)]
struct Shared {
    manner: watch::Sender<GatewayManner>,
    texts: Mutex<Vec<Text>>,
}

/// The gateway. Away when dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<Server>,
    /// Holds the secret that it wants to see.
    dir: TempDir,
}

const SECRET: &str = "Authorization: Bearer s3cret-of-the-gateway";

impl Gateway {
    /// One that is there and accepts.
    ///
    /// # Panics
    /// When its secret cannot be written.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let secret = dir.path().join("header");
        std::fs::write(&secret, SECRET).expect("a secret can be written");
        std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600))
            .expect("our own file");
        let mut gateway = Self {
            address: (own_address(), 8082).into(),
            shared: Arc::new(Shared {
                manner: watch::Sender::new(GatewayManner::Accepts),
                texts: Mutex::default(),
            }),
            server: None,
            dir,
        };
        gateway.come_back().await;
        gateway
    }

    /// The table that makes it the channel `sms`, for what may leave the house only.
    #[must_use]
    pub fn as_channel(&self) -> String {
        let (address, header) = (self.address, self.dir.path().join("header"));
        let header = header.display();
        format!(
            "[channel.sms]\n\
             http = {{ url = \"http://{address}/send\", header_file = \"{header}\", \
             body = '{{\"to\":\"{{to}}\",\"text\":\"{{text}}\"}}', \
             accepted = {{ status = [200], body_contains = \"queued\" }} }}\n\
             detail = \"minimal\"\n"
        )
    }

    /// From now on it behaves like this, also towards what it hangs on.
    pub fn behave(&self, manner: GatewayManner) {
        self.shared.manner.send_replace(manner);
    }

    /// Opens its port again.
    pub async fn come_back(&mut self) {
        let shared = Arc::clone(&self.shared);
        let receive = move |request| receive(request, Arc::clone(&shared));
        self.server = Some(Server::open(self.address, receive).await);
    }

    /// Closes its port and every connection.
    pub async fn leave(&mut self) {
        if let Some(server) = self.server.take() {
            server.close().await;
        }
    }

    /// Everything it was asked to send so far, in order, also what it did not accept.
    ///
    /// # Panics
    /// When one of them was too long, or came without the secret.
    #[must_use]
    pub fn asked(&self) -> Vec<Text> {
        let asked = self.shared.texts.lock().expect("no holder panics").clone();
        for text in &asked {
            assert!(
                text.text.chars().count() <= TEXT_LEN_MAX,
                "too long: {text:?}"
            );
            let is_known = SECRET.strip_prefix("Authorization: ") == Some(&*text.secret);
            assert!(is_known, "it came without the secret: {text:?}");
        }
        asked
    }

    /// What it accepted, in order.
    #[must_use]
    pub fn texts(&self) -> Vec<Text> {
        let mut asked = self.asked();
        asked.retain(|text| text.is_accepted);
        asked
    }

    /// How many texts it accepted for this number.
    #[must_use]
    pub fn count_for(&self, to: &str) -> usize {
        self.texts().iter().filter(|text| text.to == to).count()
    }

    /// Waits until it has accepted a text for this number that says `part`, and returns the last such.
    pub async fn sends(&self, to: &str, part: &str) -> Text {
        self.finds(&format!("{to} is sent {part:?}"), |text| {
            text.is_accepted && text.to == to && text.text.contains(part)
        })
        .await
    }

    /// Waits until it has been asked to send something to this number, whatever became of it.
    pub async fn is_asked(&self, to: &str) -> Text {
        self.finds(&format!("a text to {to} is asked for"), |text| {
            text.to == to
        })
        .await
    }

    /// Waits until it has accepted so many texts for this number, and returns the last.
    pub async fn has_sent(&self, to: &str, count: usize) -> Text {
        eventually(&format!("{to} has been sent {count} texts"), async || {
            let mut texts = self.texts();
            texts.retain(|text| text.to == to);
            match texts.last() {
                Some(last) if texts.len() >= count => Ok(last.clone()),
                _ => Err(format!("{:?}", self.asked())),
            }
        })
        .await
    }

    async fn finds(&self, what: &str, wanted: impl Fn(&Text) -> bool) -> Text {
        eventually(what, async || {
            let asked = self.asked();
            let found = asked.iter().rev().find(|text| wanted(text));
            found.cloned().ok_or_else(|| format!("{asked:?}"))
        })
        .await
    }
}

async fn receive(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let word = |name: &str| -> String {
        let value = request.headers().get(name);
        let value = value.and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (key, secret) = (word("idempotency-key"), word("authorization"));
    let body = request.into_body().collect().await.map_err(|_| Lost)?;
    let body: Value = serde_json::from_slice(&body.to_bytes()).expect("the body is JSON");
    let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (to, text) = (member("to"), member("text"));
    let place = {
        let mut texts = shared.texts.lock().expect("no holder panics");
        texts.push(Text {
            to,
            text,
            key,
            secret,
            is_accepted: false,
        });
        texts.len() - 1
    };
    let mut manners = shared.manner.subscribe();
    let manner = *manners
        .wait_for(|manner| *manner != GatewayManner::Hangs)
        .await
        .map_err(|_| Lost)?;
    let (status, says) = match manner {
        GatewayManner::Accepts => (200, r#"{"state":"queued"}"#),
        GatewayManner::Refuses(status) => (status, r#"{"error":"not a number"}"#),
        GatewayManner::IsBusy(_) => (429, r#"{"error":"slow down"}"#),
        // The last cannot be: it was waited for.
        GatewayManner::Lies | GatewayManner::Hangs => (200, r#"{"error":"no credit"}"#),
    };
    if manner == GatewayManner::Accepts {
        shared.texts.lock().expect("no holder panics")[place].is_accepted = true;
    }
    let mut response = Response::new(Full::from(says));
    *response.status_mut() = status.try_into().expect("scenarios name real statuses");
    if let GatewayManner::IsBusy(seconds) = manner {
        let seconds = header::HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    Ok(response)
}
