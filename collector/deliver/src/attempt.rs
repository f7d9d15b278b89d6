//! One try to tell one destination something: what a channel is given for it, how it ended, and why there could be none.
//!
//! What channels and [`crate::target`] have in common. A try ends within a bounded time; one that is dropped half way leaves
//! it open whether the destination has it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use vigie_core::time::Wall;
use vigie_decide::{
    alert::{Message, Notification},
    destination::Destination,
};
use vigie_platform::{settings_file::ReadSecretError, tls::TlsError};
use vigie_wording::{Chat, Voice};

use crate::{config::Detail, queue::Answer};

/// How long one try may take, from connecting to the answer's head.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// For all messages of the transmission.
    pub answer: Answer,
    /// How many of its recipients will never get it, though others did.
    pub recipients_refused: u64,
}

impl Outcome {
    pub(super) const fn of(answer: Answer) -> Self {
        Self {
            answer,
            recipients_refused: 0,
        }
    }
}

/// What a channel needs to know of whom it tells.
pub(super) struct Occasion<'t> {
    pub(super) destination: &'t Destination,
    pub(super) detail: Detail,
    pub(super) voice: Voice<'t>,
    pub(super) now: Wall,
    /// For one try.
    pub(super) limit: Duration,
}

impl Occasion<'_> {
    /// A batch in the words of a chat.
    pub(super) fn chat(&self, batch: &[Message]) -> Chat {
        match self.detail {
            Detail::Full => vigie_wording::chat(self.voice, batch),
            Detail::Minimal => vigie_wording::minimal_chat(self.voice, batch),
        }
    }
}

/// Why a destination cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A file with a secret cannot be read.
    #[error("cannot tell {to}")]
    Secret {
        /// Who.
        to: String,
        /// Why. Names the file.
        #[source]
        source: ReadSecretError,
    },
    /// The address is none that a message can be posted to. Does not say which: it may be a secret.
    #[error("cannot tell {to}: the address is not a URL that starts with https:// or http://")]
    Url {
        /// Who.
        to: String,
    },
    /// The header file does not hold a header.
    #[error("cannot tell {to}: {path} does not hold one header line `Name: value`")]
    Header {
        /// Who.
        to: String,
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold a token or key.
    #[error("cannot tell {to}: {path} does not hold one line of printable ASCII")]
    Token {
        /// Who.
        to: String,
        /// The file.
        path: PathBuf,
    },
    /// The certificate authorities cannot be used.
    #[error("cannot tell {to}")]
    Trust {
        /// Who.
        to: String,
        /// Why. Names the file.
        #[source]
        source: TlsError,
    },
    /// The mail server's name is none that a certificate can show.
    #[error("cannot tell {to}: {host} is neither a DNS name nor an IP address")]
    Host {
        /// Who.
        to: String,
        /// The mail server.
        host: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client to tell {to}")]
    Client {
        /// Who.
        to: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// What a batch says of each alert in the end.
pub(super) fn newest(batch: &[Message]) -> impl Iterator<Item = &Notification> {
    let mut newest: BTreeMap<u64, (u64, &Notification)> = BTreeMap::new();
    for message in batch {
        let Some(telling) = message.telling() else {
            continue;
        };
        let known = newest.entry(telling.number).or_insert((0, telling));
        if message.order >= known.0 {
            *known = (message.order, telling);
        }
    }
    newest.into_values().map(|(_, telling)| telling)
}
