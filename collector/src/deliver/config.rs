//! What whoever reads settings says of destinations: by what channel each is told, and where. Plain data.
//!
//! Nothing here reads a file or judges one key by another; that is for whoever fills these types in. What can be judged
//! by itself is valid by construction: [`MailAddress`], [`Template`]. Secrets are files, and `Debug` shows neither them nor
//! where a message goes.

use vigie_core::id::ChannelName;

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
    pub way: ContactWay,
    /// How much is told.
    pub detail: Detail,
}

/// By what a destination is told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactWay {
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

impl ContactWay {
    /// Whether it has a place for a digest. For the others one becomes an alert that is only for information.
    #[must_use]
    pub const fn is_for_people(&self) -> bool {
        match self {
            Self::Email(_) | Self::Http(_) | Self::Ntfy(_) | Self::Mattermost(_) => true,
            Self::Pagerduty(_) | Self::Alertmanager(_) => false,
        }
    }
}
