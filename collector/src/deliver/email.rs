//! One try to tell a receiver by mail: the message with its headers, the conversation, and what its answers mean.
//!
//! ```text
//!   connect, encrypt, log in ── MAIL ── RCPT … ── DATA ── message ── 250: accepted
//!        │ no way, no trust: no answer     │         5xx: refused; 4xx: busy
//!        └ 4xx, 5xx: busy                  └ of several recipients: those accepted get it now,
//!                                            4xx: asked again alone, 5xx: said and counted
//! ```
//! - Accepted means that the mail server has it; whether somebody reads it, nobody knows.
//! - A repeated message has the same `Message-ID`. Whoever we know to have it is not sent it again by this program; after a
//!   restart they may be, once.
//! - No answer's text decides anything, and neither it nor the password is logged above `debug`.
//!
//! Dropped half way, nobody knows whether the server has the message; it goes again under the same id.

use std::{
    collections::{BTreeSet, HashMap},
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
        commands::{Data, Mail as MailFrom, Rcpt},
    },
};
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tracing::{debug, warn};
use vigie_core::{
    alert::Message,
    digest::Digest,
    id::ReceiverName,
    mail::{self, MailIds},
    reason::message::Language,
    time::Wall,
};

use super::{
    queue::Answer,
    smtp::{Encryption, SmtpError, connect},
    target::{Outcome, TargetError, trust},
};
use crate::settings::{self, MailAddress, SmtpTls};

/// How long a server may take for its goodbye; by then the answer is known.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many messages may have reached some of their recipients and not others; as many as a queue holds. Of one more it
/// is not remembered, and those who have it get it again.
const PARTLY_TOLD_MAX: usize = super::queue::QUEUE_LEN_MAX;

/// What the mail is from, beside its address.
const FROM_NAME: &str = "vigie";

/// RFC 3834 §5: nobody on holiday answers this.
const AUTO_SUBMITTED: &str = "Auto-Submitted";

/// A receiver's mail.
pub(super) struct Email {
    settings: settings::Email,
    encryption: Option<Encryption>,
    /// Recipients that have a message which others have not.
    partly_told: Arc<Mutex<PartlyTold>>,
}

/// By message, those of its recipients who have it.
type PartlyTold = HashMap<Digest, BTreeSet<String>>;

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
    #[error("the mail server took nobody of the recipients (the last answer was {code})")]
    Nobody { code: u16 },
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
            Self::Nobody { code } if is_for_good(*code) => Answer::Refused { http_status: *code },
            Self::Nobody { code } => busy(*code),
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

/// Where a conversation stands before the message.
enum Prepared {
    /// The server waits for it.
    Open(AsyncSmtpConnection, Recipients),
    /// Some have it from a try before, and nobody else will ever take it.
    Told(Recipients),
}

impl Email {
    /// Reads everything that mail needs. Blocks on files.
    pub(super) fn open(
        settings: &settings::Email,
        receiver: &ReceiverName,
    ) -> Result<Self, TargetError> {
        let smtp = &settings.smtp;
        if let Some(login) = &smtp.login {
            // Read again at each connection; here so that the person who changes it learns of a mistake.
            let read = login.password_file.read();
            read.map_err(|source| TargetError::Secret {
                receiver: receiver.to_string(),
                source,
            })?;
        }
        let encryption = match smtp.tls {
            SmtpTls::None => None,
            SmtpTls::Starttls | SmtpTls::Tls => {
                let config = trust("smtp", smtp.ca_file.as_deref()).map_err(|source| {
                    TargetError::Trust {
                        receiver: receiver.to_string(),
                        source,
                    }
                })?;
                let name =
                    ServerName::try_from(smtp.host.clone()).map_err(|_| TargetError::Host {
                        receiver: receiver.to_string(),
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

    /// Knows what the same receiver's mail knew under settings that are not in force any more.
    pub(super) fn carry_on(&mut self, before: &Self) {
        self.partly_told = Arc::clone(&before.partly_told);
    }

    /// Tries once. Everything up to the message takes at most `try_timeout`, the message and its answer as much again: a
    /// server may look at it for a while, and whoever gives up then makes it come twice.
    pub(super) async fn send(
        &self,
        receiver: &ReceiverName,
        language: Language,
        message: &Message,
        now: Wall,
        try_timeout: Duration,
    ) -> Outcome {
        let Some(written) = self.write(language, message, now) else {
            // Cannot happen with settings that were judged; somebody has to look if it does.
            warn!(%receiver, number = message.number, "cannot write the mail");
            return Outcome::of(Answer::None);
        };
        let prepared = timeout(try_timeout, self.prepare(message.key)).await;
        let (mut connection, recipients) = match prepared {
            Ok(Ok(Prepared::Open(connection, recipients))) => (connection, recipients),
            Ok(Ok(Prepared::Told(recipients))) => return self.done(receiver, message, &recipients),
            Ok(Err(error)) => {
                debug!(%receiver, cause = &error as &dyn std::error::Error, "not accepted");
                return Outcome::of(error.answer());
            }
            Err(_) => {
                debug!(%receiver, "no answer in time");
                return Outcome::of(Answer::None);
            }
        };
        let answer = match timeout(try_timeout, connection.message(&written)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => {
                let what = "the message";
                let error = TryError::Said { what, source };
                debug!(%receiver, cause = &error as &dyn std::error::Error, "not accepted");
                Err(error.answer())
            }
            Err(_) => {
                debug!(%receiver, "no answer to the message in time");
                return Outcome::of(Answer::None);
            }
        };
        let outcome = match (answer, recipients.later) {
            (Err(answer), _) => Outcome::of(answer),
            (Ok(()), None) => self.done(receiver, message, &recipients),
            (Ok(()), Some(http_status)) => {
                self.remember(message.key, &recipients.accepted);
                Outcome::of(Answer::Busy {
                    http_status,
                    retry_after_ms: None,
                })
            }
        };
        let _goodbye = timeout(QUIT_TIMEOUT, connection.quit()).await;
        outcome
    }

    /// Everything before the message itself.
    async fn prepare(&self, key: Digest) -> Result<Prepared, TryError> {
        let mut connection = connect(&self.settings.smtp, self.encryption.as_ref())
            .await
            .map_err(TryError::Connect)?;
        let said = |what| move |source| TryError::Said { what, source };
        let from = self.settings.smtp.from.address().clone();
        connection
            .command(MailFrom::new(Some(from), Vec::new()))
            .await
            .map_err(said("the sender"))?;
        let told = self.lock().get(&key).cloned().unwrap_or_default();
        let mut recipients = Recipients::default();
        for to in self.settings.to.iter().map(MailAddress::address) {
            if told.contains(AsRef::<str>::as_ref(to)) {
                continue;
            }
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
        if recipients.accepted.is_empty() {
            let last = recipients.refused.last().map(|(_, code)| *code);
            return match (recipients.later, last) {
                (Some(code), _) => Err(TryError::Nobody { code }),
                (None, Some(code)) if told.is_empty() => Err(TryError::Nobody { code }),
                (None, _) => Ok(Prepared::Told(recipients)),
            };
        }
        connection
            .command(Data)
            .await
            .map_err(said("the wish to send"))?;
        Ok(Prepared::Open(connection, recipients))
    }

    /// The message is where it can be: those who were refused for good are said and counted.
    fn done(&self, receiver: &ReceiverName, message: &Message, recipients: &Recipients) -> Outcome {
        self.lock().remove(&message.key);
        for (address, code) in &recipients.refused {
            warn!(%receiver, number = message.number, %address, code, "the mail server refuses a recipient; the others have the message");
        }
        Outcome {
            answer: Answer::Accepted,
            recipients_refused: recipients.refused.len() as u64,
        }
    }

    fn remember(&self, key: Digest, accepted: &[Address]) {
        let mut partly_told = self.lock();
        if partly_told.len() >= PARTLY_TOLD_MAX && !partly_told.contains_key(&key) {
            return;
        }
        let names = accepted.iter().map(ToString::to_string);
        partly_told.entry(key).or_default().extend(names);
    }

    fn lock(&self) -> MutexGuard<'_, PartlyTold> {
        // Nothing that holds it panics.
        self.partly_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole message, headers and body, ready for `DATA`.
    fn write(&self, language: Language, message: &Message, now: Wall) -> Option<Vec<u8>> {
        let mail::Mail {
            subject,
            text,
            html,
        } = mail::compose(language, message);
        let from = self.settings.smtp.from.address();
        let id = |left: &str| format!("<{left}@{}>", from.domain());
        let ids = MailIds::of(message);
        let mut builder = lettre::Message::builder()
            .from(Mailbox::new(Some(FROM_NAME.to_owned()), from.clone()))
            .date(date(now))
            .message_id(Some(id(&ids.own)))
            .subject(subject)
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str(AUTO_SUBMITTED),
                "auto-generated".to_owned(),
            ));
        if let Some(opening) = &ids.opening {
            builder = builder.in_reply_to(id(opening)).references(id(opening));
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
            .boundary(format!("vigie-{}", message.key))
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
