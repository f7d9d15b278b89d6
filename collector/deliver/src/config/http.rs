//! Channels over HTTP: `http`, `ntfy`, `mattermost`, `pagerduty` and `alertmanager`.
//!
//! Each says where to, by an address without a secret or a file that holds the address because it is one.

use std::{fmt, path::PathBuf};

use vigie_platform::settings_file::SecretFile;

use super::{Address, Template};

/// The longest token or key, in bytes; what is longer is something else.
const TOKEN_LEN_MAX: usize = 1_024;

/// `http = { … }`: a gateway for text messages or calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGateway {
    /// Where to.
    pub address: Address,
    /// By which method.
    pub method: HttpMethod,
    /// Holds one header line, `Name: value`.
    pub header_file: Option<SecretFile>,
    /// What the body is.
    pub content_type: String,
    /// The body.
    pub body: Template,
    /// What counts as accepted.
    pub accepted: AcceptedWhen,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// How a gateway takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// POST
    Post,
    /// PUT
    Put,
}

/// Which answers of the kind 2xx mean that the gateway has the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcceptedWhen {
    /// These statuses. Empty: any.
    pub status: Vec<u16>,
    /// The answer's body has this in it.
    pub body_contains: Option<String>,
}

/// Who is told by an HTTP gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpContact {
    /// The gateway.
    pub gateway: HttpGateway,
    /// What it knows them by.
    pub to: To,
}

/// `ntfy = { … }`: a server of ntfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ntfy {
    /// Its root. Holds no secret.
    pub url: String,
    /// Holds an access token.
    pub token_file: Option<SecretFile>,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// Who is told by ntfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NtfyContact {
    /// The server.
    pub server: Ntfy,
    /// What they subscribed to.
    pub topic: To,
}

/// `mattermost = { … }`: an incoming webhook of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mattermost {
    /// Holds the address, which is the secret.
    pub url_file: SecretFile,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// Who is told by a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MattermostContact {
    /// The webhook.
    pub hook: Mattermost,
    /// Another channel of the chat than the webhook's own.
    pub channel: Option<String>,
}

/// `pagerduty = { … }`: a service that takes events of PagerDuty's Events API v2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pagerduty {
    /// Where to. Holds no secret.
    pub url: String,
    /// Holds the integration key.
    pub routing_key_file: SecretFile,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// `alertmanager = { … }`: an Alertmanager that is sent alerts as Prometheus sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertmanagerApi {
    /// Where it is, without `/api/v2/alerts`. Holds no secret.
    pub url: String,
    /// Holds one header line, `Name: value`.
    pub header_file: Option<SecretFile>,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// What a provider knows somebody by: a number, a topic. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct To(String);

impl To {
    /// As the provider wants it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for To {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("To(..)")
    }
}

/// Whether these bytes are one token.
pub fn is_token_text(bytes: &[u8]) -> bool {
    (1..=TOKEN_LEN_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}
