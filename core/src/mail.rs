//! What a mail about an alert says: its subject, its body as text and as HTML, and what ties the mails of one alert
//! together. Pure: the channel adds addresses and the date.
//!
//! ```text
//! [vigie #1841] dossier-patient : portail en panne depuis 19:04 UTC
//! ```
//! Everything in it is a configured name, a value of a closed list, or what [`crate::reason::message`] made of a reason
//! and its typed facts; text that a node chose (objects) is sanitised. Nothing here can end a line or a header, and in
//! HTML nothing is anything but text.
//!
//! *Critical* is the word for a service that people cannot work without. How a check stands has other words
//! ([`standing`]), so that nobody takes a full disk of a test machine for a critical service.

use std::fmt::Write as _;

use crate::{
    alert::{Ended, Message, Notice},
    digest::{Digest, to_hex},
    reason::message::{self, Language, TEXT_LEN_MAX, sanitised},
    status::{Criticality, Environment, Family, Status},
    time::Wall,
};

/// How many characters a subject may have. More is cut by every reader of mail, and the body has it all.
pub const SUBJECT_LEN_MAX: usize = 160;

/// How many services a subject names; the body names them all.
const SUBJECT_SERVICES_MAX: usize = 3;

/// How many bytes of a digest name a thread; two threads of one receiver never share them.
const THREAD_LEN: usize = 16;

/// A mail without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line, at most [`SUBJECT_LEN_MAX`] characters.
    pub subject: String,
    /// The body as plain text, lines ended by LF.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// The left sides of what a mail is known by (RFC 5322 §3.6.4). The channel adds `@` and its domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailIds {
    /// Its own. The same message always has the same, so that whoever gets it twice can tell.
    pub own: String,
    /// That of the mail which opened the alert for this receiver; `None`: this is it.
    pub opening: Option<String>,
}

impl MailIds {
    /// The ids of the mail that `message` becomes. There is one opening message for each receiver and opening, so it is
    /// named by these; all others are named by their key.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let alert = &message.alert;
        let thread = Digest::of(
            format!(
                "vigie mail thread v1\n{}\n{}\n{}\n{}\n{}",
                alert.node, alert.check, alert.object, message.opening, message.receiver
            )
            .as_bytes(),
        );
        let opening = format!("vigie.opening.{}", to_hex(&thread.0[..THREAD_LEN]));
        match message.notice {
            Notice::Open => Self {
                own: opening,
                opening: None,
            },
            Notice::Worse | Notice::Close => Self {
                own: format!("vigie.message.{}", message.key),
                opening: Some(opening),
            },
        }
    }
}

/// Writes the mail that tells `message`.
#[must_use]
pub fn compose(language: Language, message: &Message) -> Mail {
    let lead = lead(language, message);
    let rows = rows(language, message);
    let closing = closing(language, message);
    Mail {
        subject: subject(language, message),
        text: text(language, &lead, &rows, &closing),
        html: html(language, &lead, &rows, &closing),
    }
}

/// How a check stands, in words that are not those of criticality.
#[must_use]
pub const fn standing(language: Language, family: Family, status: Status) -> &'static str {
    match (language, status, family) {
        (Language::French, Status::Ok, _) => "en ordre",
        (Language::French, Status::Warning, _) => "à surveiller",
        (Language::French, Status::Critical, Family::Availability) => "en panne",
        (Language::French, Status::Critical, _) => "en défaut",
        (Language::French, Status::Unknown, _) => "sans mesure",
        (Language::English, Status::Ok, _) => "in order",
        (Language::English, Status::Warning, _) => "needs attention",
        (Language::English, Status::Critical, Family::Availability) => "down",
        (Language::English, Status::Critical, _) => "failing",
        (Language::English, Status::Unknown, _) => "not measured",
    }
}

/// One line that says it all.
#[must_use]
pub fn subject(language: Language, message: &Message) -> String {
    let colon = colon(language);
    let worse = match language {
        Language::French => "aggravé, ",
        Language::English => "worse, ",
    };
    let what = what(language, message);
    let ended = || {
        format!(
            "{}{}",
            ended(language, message.ended),
            at(language, message)
        )
    };
    // A reason is a sentence of its own and says the times that count.
    let said = match (message.notice, message.alert.is_built_in()) {
        (Notice::Open, true) => what,
        (Notice::Open, false) => format!("{what} {}", stands_since(language, message)),
        (Notice::Worse, true) => format!("{worse}{what}"),
        (Notice::Worse, false) => format!("{worse}{what} {}", stands_since(language, message)),
        (Notice::Close, true) => format!("{}{colon}{what}", ended()),
        (Notice::Close, false) => format!("{what} {}", ended()),
    };
    let subject = format!("[vigie #{}] {}{colon}{said}", message.number, who(message));
    sanitised(&subject, SUBJECT_LEN_MAX)
}

/// Whom it concerns: the services, or the node where it speaks for none.
fn who(message: &Message) -> String {
    if message.services.is_empty() {
        return place(message);
    }
    let names: Vec<&str> = message
        .services
        .iter()
        .take(SUBJECT_SERVICES_MAX)
        .map(|service| service.as_str())
        .collect();
    let more = message.services.len() - names.len();
    let names = names.join(", ");
    if more == 0 {
        names
    } else {
        format!("{names} +{more}")
    }
}

/// The node, or vigie's own name for what is about the collector.
fn place(message: &Message) -> String {
    if message.alert.is_of_collector() {
        return "vigie".to_owned();
    }
    sanitised(&message.alert.node, TEXT_LEN_MAX)
}

/// The check with its object. The names of built-in checks say nothing to a reader, so there it is the reason.
fn what(language: Language, message: &Message) -> String {
    if !message.alert.is_built_in() {
        return check(message);
    }
    let reason = message::render(language, &message.reason, &message.facts);
    if message.alert.is_of_collector() || message.services.is_empty() {
        reason
    } else {
        format!("{}{}{reason}", place(message), colon(language))
    }
}

fn check(message: &Message) -> String {
    let mut name = sanitised(&message.alert.check, TEXT_LEN_MAX);
    if !message.alert.object.is_empty() {
        name.push(' ');
        name.push_str(&sanitised(&message.alert.object, TEXT_LEN_MAX));
    }
    name
}

const fn colon(language: Language) -> &'static str {
    match language {
        Language::French => " : ",
        Language::English => ": ",
    }
}

/// `en panne depuis 19:04 UTC`; with the day when it was not today.
fn stands_since(language: Language, message: &Message) -> String {
    let standing = standing(language, message.family, message.status);
    let time = short_time(language, message.since, message.at);
    match language {
        Language::French => format!("{standing} depuis {time}"),
        Language::English => format!("{standing} since {time}"),
    }
}

fn at(language: Language, message: &Message) -> String {
    let time = short_time(language, message.at, message.at);
    match language {
        Language::French => format!(" à {time}"),
        Language::English => format!(" at {time}"),
    }
}

fn short_time(language: Language, instant: Wall, today: Wall) -> String {
    let whole = message::time(language, instant);
    let (whole, today) = match (whole, message::time(language, today)) {
        (Some(whole), Some(today)) => (whole, today),
        (whole, _) => return whole.unwrap_or_else(|| "?".to_owned()),
    };
    let day = |text: &str| text.split(' ').next().map(str::to_owned);
    match whole.split_once(' ') {
        Some((_, time)) if day(&whole) == day(&today) => time.to_owned(),
        _ => whole,
    }
}

const fn ended(language: Language, ended: Option<Ended>) -> &'static str {
    match (language, ended) {
        (Language::French, Some(Ended::Recovered)) => "rétabli",
        (Language::French, Some(Ended::Confirmed)) => "clos par un opérateur",
        (Language::French, Some(Ended::Retired)) => "clos, le nœud est retiré",
        (Language::French, Some(Ended::Replaced)) => "repris par une autre alerte",
        (Language::French, None) => "terminé",
        (Language::English, Some(Ended::Recovered)) => "recovered",
        (Language::English, Some(Ended::Confirmed)) => "closed by an operator",
        (Language::English, Some(Ended::Retired)) => "closed, the node is retired",
        (Language::English, Some(Ended::Replaced)) => "taken over by another alert",
        (Language::English, None) => "ended",
    }
}

const fn criticality(language: Language, criticality: Criticality) -> &'static str {
    match (language, criticality) {
        (Language::French, Criticality::Standard) => "service standard",
        (Language::French, Criticality::Important) => "service important",
        (Language::French, Criticality::Critical) => "service critique",
        (Language::English, Criticality::Standard) => "standard service",
        (Language::English, Criticality::Important) => "important service",
        (Language::English, Criticality::Critical) => "critical service",
    }
}

const fn environment(language: Language, environment: Environment) -> &'static str {
    match (language, environment) {
        (Language::French | Language::English, Environment::Production) => "production",
        (Language::French, Environment::Staging) => "préproduction",
        (Language::French, Environment::Test) => "test",
        (Language::French, Environment::Development) => "développement",
        (Language::English, Environment::Staging) => "staging",
        (Language::English, Environment::Test) => "test",
        (Language::English, Environment::Development) => "development",
    }
}

/// The first sentence: what was found, in words.
fn lead(language: Language, message: &Message) -> String {
    let reason = message::render(language, &message.reason, &message.facts);
    let word = match (message.notice, language) {
        (Notice::Open, Language::French) => "Constat",
        (Notice::Open, Language::English) => "Found",
        (Notice::Worse, Language::French) => "Aggravé",
        (Notice::Worse, Language::English) => "Worse",
        (Notice::Close, Language::French) => "Terminé ; le dernier constat était",
        (Notice::Close, Language::English) => "Over; the last finding was",
    };
    format!("{word}{}{reason}.", colon(language))
}

/// One line of the table.
struct Row {
    label: &'static str,
    value: String,
    /// The value is an address to follow.
    is_link: bool,
}

fn rows(language: Language, message: &Message) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |french, english, value: String| {
        let label = match language {
            Language::French => french,
            Language::English => english,
        };
        rows.push(Row {
            label,
            value,
            is_link: false,
        });
    };
    let time = |instant| message::time(language, instant).unwrap_or_else(|| "?".to_owned());
    let services: Vec<&str> = message.services.iter().map(|name| name.as_str()).collect();
    if !services.is_empty() {
        row("Services", "Services", services.join(", "));
    }
    let importance = criticality(language, message.criticality).to_owned();
    row("Criticité", "Criticality", importance);
    row("Nœud", "Node", place(message));
    row(
        "Contrôle",
        "Check",
        sanitised(&message.alert.check, TEXT_LEN_MAX),
    );
    if !message.alert.object.is_empty() {
        row(
            "Objet",
            "Object",
            sanitised(&message.alert.object, TEXT_LEN_MAX),
        );
    }
    let standing = standing(language, message.family, message.status).to_owned();
    match message.notice {
        Notice::Open | Notice::Worse => row("État", "State", standing),
        Notice::Close => row("État avant", "State before", standing),
    }
    row(
        "Famille",
        "Family",
        message::family(language, message.family).to_owned(),
    );
    let of_nodes = environment(language, message.environment).to_owned();
    row("Environnement", "Environment", of_nodes);
    row("Depuis", "Since", time(message.since));
    if message.notice == Notice::Close {
        let how = ended(language, message.ended);
        row("Fin", "End", format!("{} ({how})", time(message.at)));
    }
    let closer = match language {
        Language::French => "vigie-collector status, sur le collecteur",
        Language::English => "vigie-collector status, on the collector",
    };
    row("Voir de près", "Look closer", closer.to_owned());
    if let Some(runbook) = &message.runbook {
        row("Que faire", "What to do", sanitised(runbook, TEXT_LEN_MAX));
        if let Some(row) = rows.last_mut() {
            row.is_link = row.value.starts_with("https://") || row.value.starts_with("http://");
        }
    }
    rows
}

fn closing(language: Language, message: &Message) -> String {
    let (number, receiver) = (message.number, &message.receiver);
    match language {
        Language::French => format!("Alerte {number}, dite par vigie au destinataire {receiver}."),
        Language::English => format!("Alert {number}, told by vigie to the receiver {receiver}."),
    }
}

fn text(language: Language, lead: &str, rows: &[Row], closing: &str) -> String {
    let colon = colon(language);
    let width = rows
        .iter()
        .map(|row| row.label.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = format!("{lead}\n\n");
    for Row { label, value, .. } in rows {
        let _infallible = writeln!(text, "{label:width$}{colon}{value}");
    }
    // "-- " begins a signature; readers of mail show it faint and leave it out of answers.
    let _infallible = write!(text, "\n-- \n{closing}\n");
    text
}

fn html(language: Language, lead: &str, rows: &[Row], closing: &str) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head><meta charset=\"utf-8\"></head>\n<body>\n<p><strong>{}</strong></p>\n<table>\n",
        escaped(lead)
    );
    for Row {
        label,
        value,
        is_link,
    } in rows
    {
        let (label, value) = (escaped(label), escaped(value));
        let value = if *is_link {
            format!("<a href=\"{value}\">{value}</a>")
        } else {
            value
        };
        let _infallible = writeln!(
            html,
            "<tr><th scope=\"row\" align=\"left\">{label}</th><td>{value}</td></tr>"
        );
    }
    let _infallible = write!(
        html,
        "</table>\n<p><small>{}</small></p>\n</body>\n</html>\n",
        escaped(closing)
    );
    html
}

/// Text that is nothing but text in HTML, in an attribute too.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
