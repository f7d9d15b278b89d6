//! vigie-wording: everything vigie says to people about alerts and digests: mail, chat, one text message. Pure text; the channel adds
//! addresses, dates and whatever its protocol wants escaped.
//!
//! ```text
//! [vigie #1841] dossier-patient : portail en panne depuis 20:04
//! ```
//! All of them take a *batch*: 1 to n messages to one destination that travel as one. It is folded to one item for
//! each alert, most urgent first, and told by what the channel can carry:
//!
//! ```text
//! batch ─► items ─┬─► one alert      ─► title, all that is known     ┐
//!                 ├─► several alerts ─► title, list (critical first) ├─► document ─► text, HTML │ chat │ brief (SMS)
//!                 └─► digest         ─► title, sections              ┘
//! ```
//! Two amounts of detail: *full*, and *minimal* for what leaves the perimeter of health data: number, service, state,
//! since and link, and never a node, check, object or finding.
//!
//! Everything said is a configured name, a value of a closed list, or what [`vigie_core::reason::message`] made of a reason and
//! its typed facts; text that nodes, senders or operators chose is sanitised. Nothing can end a line or a header, and in
//! HTML nothing is anything but text. Nothing here fails, and the work grows with the batch and no faster.
//!
//! *Critical* is the word for a service that people cannot work without. How a check stands has other words
//! ([`words::standing`]), so that nobody takes a full disk of a test machine for a critical service.

mod about;
mod brief;
mod chat;
mod clock;
mod document;
mod gsm;
mod ids;
mod items;
mod mail;
mod morning;
mod several;
mod single;
mod title;
pub mod words;

use jiff::tz::TimeZone;

use self::clock::Clock;
use vigie_core::{reason::message::Language, time::Wall};
use vigie_decide::alert::Message;

pub use ids::MailIds;

/// How many characters a title may have. More is cut by every reader of mail, and the body has it all.
pub const TITLE_LEN_MAX: usize = 160;

/// How many bytes the text of a chat message may have: ntfy turns more than 4,096 into an attachment, and no other chat
/// takes less.
pub const CHAT_LEN_MAX: usize = 3_900;

/// How many septets (3GPP TS 23.038 §6.1.2.1) one text message has.
pub const BRIEF_LEN_MAX: usize = 160;

/// In whose words, and with which link.
#[derive(Debug, Clone, Copy)]
pub struct Voice<'a> {
    /// The language.
    pub language: Language,
    /// The zone in which times are told; `None`: UTC.
    pub zone: Option<&'a TimeZone>,
    /// Where to say that somebody is on it: acknowledges everything in the batch.
    pub link: Option<&'a str>,
    /// When it is sent: a time of that day is said without its day. `None`: the day on which the newest was decided. What is
    /// sent again on the same day reads the same.
    pub now: Option<Wall>,
}

impl<'a> Voice<'a> {
    /// Its clock, for what was decided then.
    fn clock(self, decided: Wall) -> Clock<'a> {
        Clock {
            language: self.language,
            zone: self.zone,
            today: self.now.unwrap_or(decided),
        }
    }
}

/// A mail without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line without control characters, at most [`TITLE_LEN_MAX`] characters.
    pub subject: String,
    /// The body as plain text, lines ended by LF.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// A message to a chat or a pager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// One line without control characters, at most [`TITLE_LEN_MAX`] characters.
    pub title: String,
    /// Plain text, lines ended by LF, at most [`CHAT_LEN_MAX`] bytes. What a chat takes for markup or for a mention is
    /// not escaped: that differs from chat to chat.
    pub text: String,
}

/// How much may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// All that is known.
    Full,
    /// Number, service, state, since.
    Minimal,
}

/// Writes the mail that tells a batch.
#[must_use]
pub fn mail(voice: Voice<'_>, batch: &[Message]) -> Mail {
    mail::compose(voice, batch, Detail::Full)
}

/// As [`mail`], with number, service, state, since and link only.
#[must_use]
pub fn minimal_mail(voice: Voice<'_>, batch: &[Message]) -> Mail {
    mail::compose(voice, batch, Detail::Minimal)
}

/// Writes the chat message that tells a batch.
#[must_use]
pub fn chat(voice: Voice<'_>, batch: &[Message]) -> Chat {
    chat::compose(voice, batch, Detail::Full)
}

/// As [`chat`], with number, service, state, since and link only.
#[must_use]
pub fn minimal_chat(voice: Voice<'_>, batch: &[Message]) -> Chat {
    chat::compose(voice, batch, Detail::Minimal)
}

/// Writes the one text message that tells a batch: at most [`BRIEF_LEN_MAX`] septets of the GSM 7 bit default alphabet,
/// minimal detail. The link is whole or left out.
#[must_use]
pub fn brief(voice: Voice<'_>, batch: &[Message]) -> String {
    brief::compose(voice, batch)
}

#[cfg(test)]
mod tests;
