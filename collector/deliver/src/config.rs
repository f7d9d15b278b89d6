//! What whoever reads settings says of destinations: by what channel each is told, and where. Plain data.
//!
//! Nothing here reads a file or judges one key by another; that is for whoever fills these types in. What can be judged
//! by itself is valid by construction: [`MailAddress`], [`Template`]. Secrets are files, and `Debug` shows neither them nor
//! where a message goes.

use std::{fmt, path::PathBuf};

use jiff::tz::TimeZone;
use vigie_core::{id::ChannelName, reason::message::Language};
use vigie_decide::destination::Destination;
use vigie_platform::settings_file::SecretFile;

pub use self::{
    http::{
        AcceptedWhen, AlertmanagerApi, HttpContact, HttpGateway, HttpMethod, Mattermost,
        MattermostContact, Ntfy, NtfyContact, Pagerduty, To, is_token_text,
    },
    mail::{Email, Login, MailAddress, NotAMailAddress, Smtp, SmtpTls},
    template::{Encoding, Placeholder, Template},
};

mod http;
mod mail;
mod template;

/// One destination of messages, with what telling it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// Which.
    pub destination: Destination,
    /// By what.
    pub by: By,
    /// Language of all that is in words.
    pub language: Language,
    /// The zone in which times are told; `None`: UTC.
    pub zone: Option<TimeZone>,
}

/// By what a destination is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A webhook of the receiver's own.
    Webhook(Webhook),
    /// A channel.
    Contact(Contact),
}

impl By {
    /// How much it is told.
    #[must_use]
    pub const fn detail(&self) -> Detail {
        match self {
            Self::Webhook(webhook) => webhook.detail,
            Self::Contact(contact) => contact.detail,
        }
    }
}

/// `webhook = { … }`: a POST for each message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where messages are posted.
    pub address: Address,
    /// What a message looks like.
    pub format: WebhookFormat,
    /// How much is told.
    pub detail: Detail,
    /// Holds one header line, `Name: value`, that goes with every message.
    pub header_file: Option<SecretFile>,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// vigie's own message: [`crate::webhook`].
    Vigie,
    /// What receivers of Alertmanager's webhook understand (version 4): [`crate::alertmanager`].
    Alertmanager,
}

/// Where the address of a webhook or gateway stands.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// In the settings. Holds no secret, but is not printed either.
    Url(String),
    /// In a file of its own, because it is the secret.
    File(SecretFile),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

/// How much a channel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Everything that is known.
    #[default]
    Full,
    /// Number, service, state, since and link: for what leaves the perimeter of health data.
    Minimal,
}

/// One destination's part of a channel: by what it is told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Which channel.
    pub channel: ChannelName,
    /// All that telling needs.
    pub way: ContactChannel,
    /// How much is told.
    pub detail: Detail,
}

/// By what a destination is told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactChannel {
    /// A mail.
    Email(Email),
    /// A gateway for text messages or calls.
    Http(Box<HttpContact>),
    /// A topic of ntfy.
    Ntfy(NtfyContact),
    /// A chat with incoming webhooks in the manner of Slack and Mattermost.
    Mattermost(MattermostContact),
    /// A service of PagerDuty, or of whoever understands its Events API v2.
    Pagerduty(Pagerduty),
    /// An Alertmanager.
    Alertmanager(AlertmanagerApi),
}

impl ContactChannel {
    /// Whether it has a place for a digest. For the others one becomes an alert that is only for information.
    #[must_use]
    pub const fn is_for_people(&self) -> bool {
        match self {
            Self::Email(_) | Self::Http(_) | Self::Ntfy(_) | Self::Mattermost(_) => true,
            Self::Pagerduty(_) | Self::Alertmanager(_) => false,
        }
    }
}
