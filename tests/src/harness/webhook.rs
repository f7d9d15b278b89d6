//! A receiver of alerts, in this process, that can fail in every way a receiver fails.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use serde_json::Value;

use super::{
    eventually, own_address,
    server::{Lost, Server},
};

/// How it behaves towards a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it and says so.
    Accepts,
    /// Answers with this status and forgets it.
    Answers(u16),
    /// Reads it and never answers.
    Hangs,
    /// Takes it, but the connection breaks before the answer is out.
    LosesAnswer,
}

/// One message as it came.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its `Idempotency-Key`.
    pub key: String,
    /// What it says.
    pub body: Value,
    /// How it was treated.
    pub manner: Manner,
}

impl Told {
    /// A member of the body that is text; empty if it is something else.
    #[must_use]
    pub fn word(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    /// `open app-01 portail critical`, with the object after the check where there is one.
    #[must_use]
    pub fn line(&self) -> String {
        let object = self.word("object");
        let check = match object {
            "" => self.word("check").to_owned(),
            object => format!("{}/{object}", self.word("check")),
        };
        format!(
            "{} {} {check} {}",
            self.word("notice"),
            self.word("node"),
            self.word("status")
        )
    }

    /// Whether it is about a check that an administrator wrote, and not one of vigie's own.
    #[must_use]
    pub fn is_about_a_check(&self) -> bool {
        !self.word("check").starts_with('@')
    }
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    told: Mutex<Vec<Told>>,
}

/// The receiver. Away when dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<Server>,
}

impl Webhook {
    /// A receiver that is there and accepts.
    pub async fn start() -> Self {
        let mut webhook = Self::away();
        webhook.come_back().await;
        webhook
    }

    /// A receiver whose port is closed.
    #[must_use]
    pub fn away() -> Self {
        Self {
            address: (own_address(), 8081).into(),
            shared: Arc::new(Shared {
                manner: Mutex::new(Manner::Accepts),
                told: Mutex::default(),
            }),
            server: None,
        }
    }

    /// Where it listens when it is there.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/vigie", self.address)
    }

    /// The settings that make it the receiver `night` of everything.
    #[must_use]
    pub fn as_only_receiver(&self) -> String {
        format!(
            "[receiver.night]\nwebhook = {{ url = \"{}\" }}\n[[route]]\nnotify = [\"night\"]\n",
            self.url()
        )
    }

    /// From now on it behaves like this.
    ///
    /// # Panics
    /// Never: no holder of the lock panics.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().expect("no holder panics") = manner;
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

    /// Everything it was told so far, in order, also what it did not accept.
    ///
    /// # Panics
    /// Never: no holder of the lock panics.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.shared.told.lock().expect("no holder panics").clone()
    }

    /// What it accepted about checks (not vigie's own troubles), as [`Told::line`]s in order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let told = self.told();
        let about_checks = told
            .iter()
            .filter(|told| told.manner == Manner::Accepts && told.is_about_a_check());
        about_checks.map(Told::line).collect()
    }

    /// Waits until it is told something that `wanted` recognises, and returns that.
    pub async fn hears(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Told {
        eventually(&format!("the webhook is told: {what}"), async || {
            let told = self.told();
            match told
                .iter()
                .find(|told| told.manner == Manner::Accepts && wanted(told))
            {
                Some(told) => Ok(told.clone()),
                None => Err(format!(
                    "{:?}",
                    told.iter().map(Told::line).collect::<Vec<_>>()
                )),
            }
        })
        .await
    }

    /// Waits until it has accepted a [`Told::line`] with this beginning.
    pub async fn hears_line(&self, beginning: &str) -> Told {
        self.hears(beginning, |told| told.line().starts_with(beginning))
            .await
    }

    /// Waits until it was told of an alarm of vigie's own with this reason about `node`.
    pub async fn hears_reason(&self, node: &str, reason: &str) -> Told {
        self.hears(&format!("{reason} of {node}"), |told| {
            told.word("notice") != "close"
                && told.word("node") == node
                && told.word("reason") == reason
        })
        .await
    }

    /// Expects that no message was accepted twice: a key comes again only if its answer was lost or was a refusal.
    ///
    /// # Panics
    /// When one was.
    pub fn expect_each_once(&self) {
        let mut accepted = std::collections::HashSet::new();
        for told in self.told() {
            assert!(
                !accepted.contains(&told.key),
                "told again after it accepted: {told:?}"
            );
            assert_eq!(told.key, told.word("key"), "header and body agree");
            if told.manner == Manner::Accepts {
                accepted.insert(told.key);
            }
        }
    }
}

async fn receive(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let key = request
        .headers()
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(|_| Lost)?
        .to_bytes();
    let manner = *shared.manner.lock().expect("no holder panics");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    shared
        .told
        .lock()
        .expect("no holder panics")
        .push(Told { key, body, manner });
    let mut response = Response::new(Full::default());
    match manner {
        Manner::Accepts => Ok(response),
        Manner::Answers(status) => {
            *response.status_mut() = status.try_into().expect("scenarios name real statuses");
            Ok(response)
        }
        Manner::Hangs => match std::future::pending::<Infallible>().await {},
        Manner::LosesAnswer => Err(Lost),
    }
}
