//! One try to tell somebody by mail: a batch with its headers, the conversation, and what its answers mean.
//!
//! ```text
//!   connect, encrypt, log in ── MAIL ── RCPT … ── DATA ── message ── 250: accepted
//!        │ no way, no trust: no answer     │         5xx: refused; 4xx: busy
//!        └ 4xx, 5xx: busy                  └ of several recipients: those accepted get it now,
//!                                            4xx: asked again alone, 5xx: said and counted
//! ```
//! - Accepted means that the mail server has it; whether somebody reads it, nobody knows.
//! - A mail goes by the name of the first message in it, and so does a repeated one. Whoever is known to have a message is
//!   not sent it again while others still lack it; after a restart they may be, once.
//! - What is said of one alert stands in one thread, its end too (`In-Reply-To`, `References`).
//! - No answer's text decides anything, and neither it nor the password is logged above `debug`.
//!
//! Dropped half way, nobody knows whether the server has the message; it goes again under the same id.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use lettre::{
    Address,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        client::AsyncSmtpConnection,
        commands::{Data, Mail as MailFrom, Rcpt, Rset},
    },
};
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tracing::{debug, warn};
use vigie_core::{digest::Digest, time::Wall};
use vigie_decide::{alert::Message, destination::Destination};
use vigie_wording::MailIds;

use super::{
    attempt::{Occasion, Outcome, TargetError},
    http::{secret, trust},
    queue::Answer,
    smtp::{Encryption, SmtpError, connect},
};
use crate::config::{self, Detail, MailAddress, SmtpTls};

/// How long a server may take for its goodbye; by then the answer is known.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many messages may have reached some of their recipients and not others; as many as a queue holds. Of one more it
/// is not remembered, and those who have it get it again.
const PARTLY_TOLD_MAX: usize = super::queue::PACED_LEN_MAX + super::queue::UNLOGGED_LEN_MAX;

/// How many recipients may be among those who have one that others have not; more than one destination has.
const NAMES_MAX: usize = u64::BITS as usize;

/// What the mail is from, beside its address.
const FROM_NAME: &str = "vigie";

/// RFC 3834 §5: nobody on holiday answers this.
const AUTO_SUBMITTED: &str = "Auto-Submitted";

/// The mail of one destination.
pub(super) struct Email {
    settings: config::Email,
    encryption: Option<Encryption>,
    /// Recipients that have a message which others have not.
    partly_told: Arc<Mutex<PartlyTold>>,
}

/// Who has what, as long as others have not.
#[derive(Default)]
struct PartlyTold {
    /// Recipients, by their bit.
    names: Vec<String>,
    /// By message, those of its recipients who have it.
    by_message: HashMap<Digest, u64>,
}

impl PartlyTold {
    fn has(&self, name: &str, message: &Message) -> bool {
        let bit = self.names.iter().position(|known| known == name);
        let told = self.by_message.get(&message.key);
        bit.zip(told)
            .is_some_and(|(bit, told)| told >> bit & 1 == 1)
    }

    fn remember(&mut self, name: &str, batch: &[Message]) {
        let known = self.names.iter().position(|known| known == name);
        let bit = known.unwrap_or(self.names.len());
        if bit >= NAMES_MAX {
            return;
        }
        if known.is_none() {
            self.names.push(name.to_owned());
        }
        for Message { key, .. } in batch {
            if self.by_message.len() < PARTLY_TOLD_MAX || self.by_message.contains_key(key) {
                *self.by_message.entry(*key).or_default() |= 1 << bit;
            }
        }
    }

    fn forget(&mut self, batch: &[Message]) {
        for message in batch {
            self.by_message.remove(&message.key);
        }
        if self.by_message.is_empty() {
            *self = Self::default();
        }
    }
}

/// Those recipients who get the same mail, and what of a batch it tells them.
struct Share<'b> {
    to: Vec<Address>,
    batch: Cow<'b, [Message]>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").finish_non_exhaustive()
    }
}

/// Why a try ended without the server having the message.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("no connection")]
    Connect(#[source] SmtpError),
    #[error("the mail server did not take {what}")]
    Said {
        what: &'static str,
        #[source]
        source: smtp::Error,
    },
    #[error("the mail server does not take all recipients (the last answer was {code})")]
    Recipients { code: u16 },
    #[error("no answer in time")]
    Late,
    #[error("cannot write the mail")]
    Unwritten,
}

impl TryError {
    fn answer(&self) -> Answer {
        let busy = |http_status| Answer::Busy {
            http_status,
            retry_after_ms: None,
        };
        match self {
            // Also a 5yz is not about this message there: all others would hear the same.
            Self::Connect(error) => error.code().map_or(Answer::None, busy),
            Self::Said { source, .. } => source.status().map_or(Answer::None, |code| {
                let code = u16::from(code);
                if is_for_good(code) {
                    Answer::Refused { http_status: code }
                } else {
                    busy(code)
                }
            }),
            Self::Recipients { code } if is_for_good(*code) => {
                Answer::Refused { http_status: *code }
            }
            Self::Recipients { code } => busy(*code),
            Self::Late | Self::Unwritten => Answer::None,
        }
    }
}

/// 5yz: "the same command will not be accepted later either" (RFC 5321 §4.2.1).
const fn is_for_good(code: u16) -> bool {
    code >= 500
}

/// What became of the recipients.
#[derive(Default)]
struct Recipients {
    accepted: Vec<Address>,
    /// Not now.
    later: Option<u16>,
    /// Never.
    refused: Vec<(Address, u16)>,
}

impl Email {
    /// Reads everything that mail needs. Blocks on files.
    pub(super) fn open(settings: &config::Email, to: &Destination) -> Result<Self, TargetError> {
        let smtp = &settings.smtp;
        if let Some(login) = &smtp.login {
            // Read again at each connection; here so that the person who changes it learns of a mistake.
            secret(&login.password_file, to)?;
        }
        let encryption = match smtp.tls {
            SmtpTls::None => None,
            SmtpTls::Starttls | SmtpTls::Tls => {
                let config = trust("smtp", smtp.ca_file.as_deref()).map_err(|source| {
                    TargetError::Trust {
                        to: to.to_string(),
                        source,
                    }
                })?;
                let name =
                    ServerName::try_from(smtp.host.clone()).map_err(|_| TargetError::Host {
                        to: to.to_string(),
                        host: smtp.host.clone(),
                    })?;
                Some(Encryption {
                    config: Arc::new(config),
                    name,
                })
            }
        };
        Ok(Self {
            settings: settings.clone(),
            encryption,
            partly_told: Arc::default(),
        })
    }

    /// Knows what the same destination's mail knew under settings that are not in force any more.
    pub(super) fn carry_on(&mut self, before: &Self) {
        self.partly_told = Arc::clone(&before.partly_told);
    }

    /// Tries once. Everything up to a message takes at most the limit of a try, and all of it twice as much: a server may
    /// look at a message for a while, and whoever gives up then makes it come twice.
    pub(super) async fn send(&self, told: &Occasion<'_>, batch: &[Message]) -> Outcome {
        let to = told.destination;
        let mut connection = None;
        let mut refused = Vec::new();
        let tried = self.send_shares(told, batch, &mut connection, &mut refused);
        let tried = timeout(told.limit * 2, tried)
            .await
            .unwrap_or(Err(TryError::Late));
        let outcome = match &tried {
            Ok(()) => self.done(to, batch, &refused),
            Err(error) => {
                if matches!(error, TryError::Unwritten) {
                    // Cannot happen with settings that were judged; somebody has to look if it does.
                    warn!(%to, "cannot write the mail");
                }
                debug!(%to, cause = error as &dyn std::error::Error, "not accepted");
                Outcome::of(error.answer())
            }
        };
        if let (Ok(()) | Err(TryError::Recipients { .. }), Some(mut connection)) =
            (tried, connection)
        {
            let _goodbye = timeout(QUIT_TIMEOUT, connection.quit()).await;
        }
        outcome
    }

    /// Tells each recipient what they have not been told yet; who lacks least comes first, since who lacks more could not
    /// be told the last time either.
    async fn send_shares(
        &self,
        told: &Occasion<'_>,
        batch: &[Message],
        connection: &mut Option<AsyncSmtpConnection>,
        refused: &mut Vec<(Address, u16)>,
    ) -> Result<(), TryError> {
        let shares = self.shares(batch);
        let asked: usize = shares.iter().map(|share| share.to.len()).sum();
        let mut is_told = asked < self.settings.to.len();
        let mut is_abandoned = false;
        let mut later = None;
        for share in &shares {
            let written = self.write(told, &share.batch).ok_or(TryError::Unwritten)?;
            let opened = async {
                let connection = self.connected(connection).await?;
                let recipients = self.envelope(connection, &share.to, is_abandoned).await?;
                Ok((connection, recipients))
            };
            let opened = timeout(told.limit, opened).await;
            let (connection, recipients) = opened.unwrap_or(Err(TryError::Late))?;
            refused.extend(recipients.refused);
            later = recipients.later.or(later);
            is_abandoned = recipients.accepted.is_empty();
            if is_abandoned {
                continue;
            }
            let what = "the message";
            let sent = connection.message(&written).await;
            sent.map_err(|source| TryError::Said { what, source })?;
            is_told = true;
            let mut partly_told = self.lock();
            for to in &recipients.accepted {
                partly_told.remember(to.as_ref(), &share.batch);
            }
        }
        let last = refused.last().map(|(_, code)| *code);
        match later.or(last.filter(|_| !is_told)) {
            Some(code) => Err(TryError::Recipients { code }),
            None => Ok(()),
        }
    }

    async fn connected<'c>(
        &self,
        connection: &'c mut Option<AsyncSmtpConnection>,
    ) -> Result<&'c mut AsyncSmtpConnection, TryError> {
        if let Some(open) = connection {
            return Ok(open);
        }
        let opened = connect(&self.settings.smtp, self.encryption.as_ref()).await;
        Ok(connection.insert(opened.map_err(TryError::Connect)?))
    }

    /// Says who the mail is from and to, and, if it takes anybody, that the message comes. `is_abandoned`: the one before
    /// had no message.
    async fn envelope(
        &self,
        connection: &mut AsyncSmtpConnection,
        all: &[Address],
        is_abandoned: bool,
    ) -> Result<Recipients, TryError> {
        let said = |what| move |source| TryError::Said { what, source };
        if is_abandoned {
            let reset = connection.command(Rset).await;
            reset.map_err(said("that it begins anew"))?;
        }
        let from = self.settings.smtp.from.address().clone();
        connection
            .command(MailFrom::new(Some(from), Vec::new()))
            .await
            .map_err(said("the sender"))?;
        let mut recipients = Recipients::default();
        for to in all {
            match connection.command(Rcpt::new(to.clone(), Vec::new())).await {
                Ok(_) => recipients.accepted.push(to.clone()),
                Err(source) => match source.status().map(u16::from) {
                    // 421: the server closes the connection.
                    None | Some(421) => return Err(said("a recipient")(source)),
                    Some(code) if is_for_good(code) => recipients.refused.push((to.clone(), code)),
                    Some(code) => recipients.later = Some(code),
                },
            }
        }
        if !recipients.accepted.is_empty() {
            connection
                .command(Data)
                .await
                .map_err(said("the wish to send"))?;
        }
        Ok(recipients)
    }

    /// What each recipient has not been told yet. The batch may have grown since some were told, and they are told the
    /// rest only: else one full mailbox would bring everybody else the same mail every minute.
    fn shares<'b>(&self, batch: &'b [Message]) -> Vec<Share<'b>> {
        let mut shares: Vec<(Vec<usize>, Vec<Address>)> = Vec::new();
        let partly_told = self.lock();
        for to in self.settings.to.iter().map(MailAddress::address) {
            let lacks = |message| !partly_told.has(to.as_ref(), message);
            let lacking = (0..).zip(batch).filter(|(_, message)| lacks(message));
            let lacking: Vec<usize> = lacking.map(|(index, _)| index).collect();
            if lacking.is_empty() {
                continue;
            }
            match shares.iter_mut().find(|(same, _)| *same == lacking) {
                Some((_, all)) => all.push(to.clone()),
                None => shares.push((lacking, vec![to.clone()])),
            }
        }
        drop(partly_told);
        shares.sort_by_key(|(lacking, _)| lacking.len());
        let share = |(lacking, to): (Vec<usize>, Vec<Address>)| Share {
            batch: if lacking.len() == batch.len() {
                Cow::Borrowed(batch)
            } else {
                let lacking = lacking.iter().filter_map(|index| batch.get(*index));
                Cow::Owned(lacking.cloned().collect())
            },
            to,
        };
        shares.into_iter().map(share).collect()
    }

    /// The message is where it can be: those who were refused for good are said and counted.
    fn done(&self, to: &Destination, batch: &[Message], refused: &[(Address, u16)]) -> Outcome {
        self.lock().forget(batch);
        for (address, code) in refused {
            warn!(%to, %address, code, "the mail server refuses a recipient; the others have the message");
        }
        Outcome {
            answer: Answer::Accepted,
            recipients_refused: refused.len() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, PartlyTold> {
        // Nothing that holds it panics.
        self.partly_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole message, headers and body, ready for `DATA`.
    fn write(&self, told: &Occasion<'_>, batch: &[Message]) -> Option<Vec<u8>> {
        let vigie_wording::Mail {
            subject,
            text,
            html,
        } = match told.detail {
            Detail::Full => vigie_wording::mail(told.voice, batch),
            Detail::Minimal => vigie_wording::minimal_mail(told.voice, batch),
        };
        let lead = batch.first()?;
        let from = self.settings.smtp.from.address();
        let id = |left: &str| format!("<{left}@{}>", from.domain());
        let ids = MailIds::of(batch);
        let mut builder = lettre::Message::builder()
            .from(Mailbox::new(Some(FROM_NAME.to_owned()), from.clone()))
            .date(date(told.now))
            .message_id(Some(id(&ids.own)))
            .subject(subject)
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str(AUTO_SUBMITTED),
                "auto-generated".to_owned(),
            ));
        if !ids.thread.is_empty() {
            let threads: Vec<String> = ids.thread.iter().map(|left| id(left)).collect();
            let threads = threads.join(" ");
            builder = builder.in_reply_to(threads.clone()).references(threads);
        }
        for to in &self.settings.to {
            builder = builder.to(Mailbox::new(None, to.address().clone()));
        }
        let part = |kind: ContentType, body: String| {
            SinglePart::builder()
                .header(kind)
                .header(ContentTransferEncoding::QuotedPrintable)
                .body(body)
        };
        // A boundary of its own, so that a message sent again is the same byte for byte but for its date.
        let body = MultiPart::alternative()
            .boundary(format!("vigie-{}", lead.key))
            .singlepart(part(ContentType::TEXT_PLAIN, text))
            .singlepart(part(ContentType::TEXT_HTML, html));
        builder
            .multipart(body)
            .map(|message| message.formatted())
            .ok()
    }
}

fn date(now: Wall) -> SystemTime {
    let since_epoch = Duration::from_millis(u64::try_from(now.0).unwrap_or_default());
    SystemTime::UNIX_EPOCH + since_epoch
}

#[cfg(test)]
mod tests;
