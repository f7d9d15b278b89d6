//! Where one destination is told: by what, address, secret, whom to trust, language; and one try to tell it something.
//!
//! Everything a try needs is read when the settings are, so that a missing file is found by the person who changes it. A
//! target prints neither its address nor its header: both may be the secret.
//!
//! What people read is *paced*: what waits goes as one transmission. Programs get one request for each message, since
//! each is about one alert there, and none is woken by them.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use vigie_core::{reason::message::Language, time::Wall};
use vigie_decide::{
    alert::{Message, Notice},
    destination::Destination,
};
use vigie_wording::Voice;

use super::{
    alertmanager,
    alertmanager_api::AlertmanagerApi,
    attempt::{Occasion, Outcome, REQUEST_TIMEOUT, TargetError, newest},
    chat::Mattermost,
    email::Email,
    http::{self, Endpoint, Request},
    http_template::HttpGateway,
    ntfy::Ntfy,
    pagerduty::Pagerduty,
    queue::Answer,
    webhook,
};
use crate::config::{self, Address, By, ContactChannel, Detail, TargetConfig, WebhookFormat};

/// A message that is tried again within so many milliseconds has the same link, and so is the same byte for byte; one that
/// waited for longer has a link that is good for as long as any other. Half of the shortest time that links can last.
const LINK_STEP_MS: i64 = 5 * 60_000;

/// Makes the link by which whoever reads a transmission says that they are on it: for what these of its messages to this
/// destination say is on, as of now.
pub type Links = Arc<dyn Fn(&Destination, &[&Message], Wall) -> String + Send + Sync>;

/// A destination that can be told.
#[derive(Clone)]
pub struct Target {
    destination: Destination,
    way: Channel,
    detail: Detail,
    language: Language,
    zone: Option<TimeZone>,
    links: Option<Links>,
    request_timeout: Duration,
}

#[derive(Clone)]
enum Channel {
    Webhook(Webhook),
    Email(Arc<Email>),
    Http(Arc<HttpGateway>),
    Ntfy(Arc<Ntfy>),
    Mattermost(Arc<Mattermost>),
    Pagerduty(Arc<Pagerduty>),
    Alertmanager(Arc<AlertmanagerApi>),
    #[cfg(any(test, feature = "stand-in"))]
    StandIn(Arc<dyn StandIn>, bool),
}

/// A provider in the same process: for tests of what lies above one try.
#[cfg(any(test, feature = "stand-in"))]
pub trait StandIn: Send + Sync {
    /// One try.
    fn offer<'a>(
        &'a self,
        to: &'a Destination,
        batch: &'a [Message],
    ) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
}

#[derive(Clone)]
struct Webhook {
    endpoint: Endpoint,
    format: WebhookFormat,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Reads everything that telling this destination needs. Blocks on files. `links` makes the links in what people
    /// read; `None`: there are none.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn open(config: &TargetConfig, links: Option<Links>) -> Result<Self, TargetError> {
        let to = &config.destination;
        let way = match &config.by {
            By::Webhook(webhook) => Channel::Webhook(Webhook::open(webhook, to)?),
            By::Contact(contact) => match &contact.way {
                ContactChannel::Email(email) => Channel::Email(Arc::new(Email::open(email, to)?)),
                ContactChannel::Http(http) => Channel::Http(Arc::new(HttpGateway::open(http, to)?)),
                ContactChannel::Ntfy(ntfy) => Channel::Ntfy(Arc::new(Ntfy::open(ntfy, to)?)),
                ContactChannel::Mattermost(chat) => {
                    Channel::Mattermost(Arc::new(Mattermost::open(chat, to)?))
                }
                ContactChannel::Pagerduty(pagerduty) => {
                    Channel::Pagerduty(Arc::new(Pagerduty::open(pagerduty, to)?))
                }
                ContactChannel::Alertmanager(api) => {
                    Channel::Alertmanager(Arc::new(AlertmanagerApi::open(api, to)?))
                }
            },
        };
        Ok(Self {
            destination: to.clone(),
            way,
            detail: config.by.detail(),
            language: config.language,
            zone: config.zone.clone(),
            links,
            request_timeout: REQUEST_TIMEOUT,
        })
    }

    /// The same, for which a try may take no longer than `limit`.
    #[cfg(test)]
    pub(super) fn hurried(self, limit: Duration) -> Self {
        Self {
            request_timeout: limit,
            ..self
        }
    }

    #[cfg(any(test, feature = "stand-in"))]
    /// Told by a provider in the same process.
    #[must_use]
    pub fn stand_in(destination: Destination, provider: Arc<dyn StandIn>, is_paced: bool) -> Self {
        Self {
            destination,
            way: Channel::StandIn(provider, is_paced),
            detail: Detail::Full,
            language: Language::French,
            zone: None,
            links: None,
            request_timeout: REQUEST_TIMEOUT,
        }
    }

    /// Who is told.
    #[must_use]
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether what waits goes as one transmission, and not too often.
    #[must_use]
    pub const fn is_paced(&self) -> bool {
        match self.way {
            Channel::Email(_) | Channel::Http(_) | Channel::Ntfy(_) | Channel::Mattermost(_) => {
                true
            }
            Channel::Webhook(_) | Channel::Pagerduty(_) | Channel::Alertmanager(_) => false,
            #[cfg(any(test, feature = "stand-in"))]
            Channel::StandIn(_, is_paced) => is_paced,
        }
    }

    /// Takes over what was known of messages under way when `before` was in force.
    pub(super) fn carry_on(&mut self, before: &Self) {
        if let (Channel::Email(email), Channel::Email(before)) = (&mut self.way, &before.way)
            // Nothing else holds a target that is not in force yet.
            && let Some(email) = Arc::get_mut(email)
        {
            email.carry_on(before);
        }
    }

    /// Tries once to hand over `batch`, at `now`: in one transmission named after its first message; one message alone
    /// where nothing is paced. Ends within twice [`REQUEST_TIMEOUT`] and a little for a goodbye. Dropped
    /// half way, nobody knows whether the destination has it; it goes again under the same key.
    pub async fn send(&self, batch: &[Message], now: Wall) -> Outcome {
        let Some(lead) = batch.first() else {
            return Outcome::of(Answer::Accepted);
        };
        debug_assert!(
            self.is_paced() || batch.len() == 1,
            "programs get one message at a time"
        );
        let link = self.link(batch, now);
        let told = Occasion {
            destination: &self.destination,
            detail: self.detail,
            voice: Voice {
                language: self.language,
                zone: self.zone.as_ref(),
                link: link.as_deref(),
                now: Some(now),
            },
            now,
            limit: self.request_timeout,
        };
        match &self.way {
            Channel::Webhook(webhook) => Outcome::of(webhook.post(&told, lead).await),
            Channel::Email(email) => email.send(&told, batch).await,
            Channel::Http(gateway) => Outcome::of(gateway.send(&told, batch).await),
            Channel::Ntfy(ntfy) => Outcome::of(ntfy.send(&told, batch).await),
            Channel::Mattermost(chat) => Outcome::of(chat.send(&told, batch).await),
            Channel::Pagerduty(pagerduty) => Outcome::of(pagerduty.send(&told, lead).await),
            Channel::Alertmanager(api) => Outcome::of(api.send(&told, lead).await),
            #[cfg(any(test, feature = "stand-in"))]
            Channel::StandIn(provider, _) => {
                Outcome::of(provider.offer(&self.destination, batch).await)
            }
        }
    }

    /// The link of a transmission that people read and that says of something that it is on. There is nothing to be on
    /// for what has ended, and a digest is about what nobody was woken for.
    fn link(&self, batch: &[Message], now: Wall) -> Option<String> {
        let links = self.links.as_ref().filter(|_| self.is_paced())?;
        let is_on: BTreeSet<u64> = newest(batch)
            .filter(|telling| telling.notice != Notice::Close)
            .map(|telling| telling.number)
            .collect();
        let asks = |message: &Message| {
            let number = message.telling().map(|telling| telling.number);
            number.is_some_and(|number| is_on.contains(&number))
        };
        let asking: Vec<&Message> = batch.iter().filter(|message| asks(message)).collect();
        let now = written_at(batch, now);
        (!asking.is_empty()).then(|| links(&self.destination, &asking, now))
    }
}

/// As of when a link is written: when the newest message was decided, or whole steps of [`LINK_STEP_MS`] later.
fn written_at(batch: &[Message], now: Wall) -> Wall {
    let decided = batch.iter().map(|message| message.at).max().unwrap_or(now);
    let late_ms = now.0.saturating_sub(decided.0).max(0);
    decided.plus_ms(late_ms - late_ms % LINK_STEP_MS)
}

impl Webhook {
    fn open(settings: &config::Webhook, to: &Destination) -> Result<Self, TargetError> {
        let url = match &settings.address {
            Address::Url(url) => http::url(Some(url), to)?,
            Address::File(file) => http::url(http::secret(file, to)?.expose_str(), to)?,
        };
        let headers = http::header_of(settings.header_file.as_ref(), to)?;
        Ok(Self {
            endpoint: Endpoint::open(url, headers, settings.ca_file.as_deref(), to)?,
            format: settings.format,
        })
    }

    async fn post(&self, told: &Occasion<'_>, message: &Message) -> Answer {
        let body = match self.format {
            WebhookFormat::Vigie => webhook::body(message, told.voice, told.detail),
            WebhookFormat::Alertmanager => alertmanager::body(message, told.voice, told.detail),
        };
        let request = Request::json(body, message.key);
        self.endpoint
            .send(request, None, told.destination, told.now, told.limit)
            .await
    }
}

#[cfg(test)]
mod tests;
