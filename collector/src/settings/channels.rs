//! `[channel.N]`: the ways by which several receivers are told, and `email = { … }`: a receiver who is told by one.
//!
//! Only mail is built; a webhook needs no channel. Whatever could go wrong on the night it is needed is found here:
//! addresses that no server takes, passwords that cannot be read or would travel without encryption.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    str::FromStr,
};

use lettre::Address;
use vigie_core::id::ChannelName;
use vigie_platform::settings_file::{Complaint, SecretFile, Section};

use super::{ServerName, is_this_machine, readable, trusted};

/// A mail to more people than this is for a list of the mail server; some refuse it as spam.
const TO_MAX: usize = 50;

/// The longest address (RFC 5321 §4.5.3.1.3, without the brackets).
const ADDRESS_LEN_MAX: usize = 254;

/// The longest name or password of a login; what is longer is not one.
const USER_LEN_MAX: usize = 255;

/// `smtp = { … }`: the mail server that takes our mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// A DNS name or an IP address, which its certificate must show.
    pub host: String,
    /// From 1 on.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Who we are there; `None`: the server takes mail of this machine without.
    pub login: Option<Login>,
    /// Who the mail is from; answers and reports of failed delivery go there.
    pub from: MailAddress,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// It begins without, and nothing is said before it is encrypted (RFC 3207).
    Starttls,
    /// From the first byte on (RFC 8314 §3.3).
    Tls,
    /// Not at all: a server on this machine.
    None,
}

impl SmtpTls {
    /// The port where servers are when nobody wrote another.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// Who we are for a mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// Holds the password. Read at each connection.
    pub password_file: SecretFile,
}

/// `email = { … }`: who is told by mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// To whom, at least one.
    pub to: Vec<MailAddress>,
    /// By which server.
    pub smtp: Smtp,
}

/// An address that every mail server understands: ASCII only, without comments, quotes or a display name.
#[derive(Clone, PartialEq, Eq)]
pub struct MailAddress(Address);

impl MailAddress {
    /// As the mail library has it.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.0
    }
}

impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_ref())
    }
}

/// The text is no address that every mail server understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not a mail address")]
pub struct NotAMailAddress;

impl FromStr for MailAddress {
    type Err = NotAMailAddress;

    fn from_str(text: &str) -> Result<Self, NotAMailAddress> {
        // A subset of RFC 5321's Mailbox: a dot-string without what has a meaning in headers, and a DNS name.
        let is_local = |local: &str| {
            local.split('.').all(|atom| {
                let is_atom_byte = |byte: u8| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
                };
                !atom.is_empty() && atom.bytes().all(is_atom_byte)
            })
        };
        let (local, domain) = text.rsplit_once('@').ok_or(NotAMailAddress)?;
        let is_domain = domain.parse::<std::net::IpAddr>().is_err()
            && !domain.ends_with('.')
            && domain.parse::<ServerName>().is_ok();
        if text.len() > ADDRESS_LEN_MAX || local.len() > 64 || !is_local(local) || !is_domain {
            return Err(NotAMailAddress);
        }
        Address::new(local, domain)
            .map(Self)
            .map_err(|_| NotAMailAddress)
    }
}

/// What `[channel.N]` tables said.
pub(super) struct Channels {
    /// All that are declared; `None` for those with mistakes, so that naming them is not another mistake.
    declared: BTreeMap<ChannelName, Option<Smtp>>,
    /// No table had a mistake.
    pub(super) is_whole: bool,
}

pub(super) fn read_channels(root: &Section<'_>) -> Channels {
    let mut channels = Channels {
        declared: BTreeMap::new(),
        is_whole: true,
    };
    for section in root.tables("channel") {
        let name = section.parsed_own_name::<ChannelName>();
        let smtp = read_channel(&section);
        section.finish();
        channels.is_whole &= name.is_some() && smtp.is_some();
        channels.declared.extend(name.map(|name| (name, smtp)));
    }
    channels
}

fn read_channel(channel: &Section<'_>) -> Option<Smtp> {
    let Some(section) = channel.sub("smtp") else {
        if !channel.has("smtp") {
            channel.mistake(
                "smtp",
                format!("`channel.{}` has no way to tell", channel.own_name()),
                "write `smtp = { host = \"…\", from = \"…\" }`",
            );
        }
        return None;
    };
    let host = section
        .parsed::<ServerName>(
            "host",
            "write a DNS name or an IP address, without scheme and port",
        )
        .required()
        .map(|ServerName(host)| host);
    let tls = section
        .one_of(
            "tls",
            &[
                ("starttls", SmtpTls::Starttls),
                ("tls", SmtpTls::Tls),
                ("none", SmtpTls::None),
            ],
        )
        .or(SmtpTls::Starttls);
    let port = section.integer("port", 1..=u16::MAX).or(tls.port());
    let login = read_login(&section);
    let from = section
        .parsed::<MailAddress>("from", ADDRESS_MEND)
        .required();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    if tls == SmtpTls::None {
        if host.as_deref().is_some_and(|host| !is_this_machine(host)) {
            let what = "`tls`: mail to another machine would travel without encryption";
            section.mistake("tls", what, "write \"starttls\" or \"tls\"");
        }
        if section.has("ca_file") {
            let what = "`ca_file`: this channel never speaks TLS";
            section.mistake("ca_file", what, "remove it, or write `tls = \"starttls\"`");
        }
    }
    section.finish();
    Some(Smtp {
        host: host?,
        port,
        tls,
        login: login?,
        from: from?,
        ca_file,
    })
}

/// What to write instead of a bad address.
const ADDRESS_MEND: &str = "write \"name@host.example\", in ASCII and without a display name";

/// `Some(None)`: without; `None`: with a mistake.
fn read_login(section: &Section<'_>) -> Option<Option<Login>> {
    let user = section.str("user").try_map(|user| {
        let is_name = (1..=USER_LEN_MAX).contains(&user.len()) && !user.contains(char::is_control);
        is_name.then_some(user).ok_or_else(|| {
            let mend = format!("write 1 to {USER_LEN_MAX} bytes, without control characters");
            Complaint::new("this is not a name", mend)
        })
    });
    let password_file = section
        .secret_file("password_file")
        .try_map(readable)
        .try_map(text_secret);
    match (section.has("user"), section.has("password_file")) {
        (false, false) => Some(None),
        (true, true) => {
            let (user, password_file) = (user.required(), password_file.required());
            Some(Some(Login {
                user: user?,
                password_file: password_file?,
            }))
        }
        (has_user, _) => {
            drop((user.optional(), password_file.optional()));
            let (here, other) = if has_user {
                ("user", "password_file")
            } else {
                ("password_file", "user")
            };
            let what = format!("`{here}` is written without `{other}`");
            section.mistake(here, what, "write both, or none");
            None
        }
    }
}

/// Mail servers take passwords as text.
fn text_secret(file: SecretFile) -> Result<SecretFile, Complaint> {
    let is_text = file.read().is_ok_and(|secret| {
        secret
            .expose_str()
            .is_some_and(|text| !text.contains(['\0', '\r', '\n']))
    });
    if is_text {
        return Ok(file);
    }
    let what = format!("{} does not hold a password", file.path().display());
    Err(Complaint::new(
        what,
        "write the password as one line of UTF-8",
    ))
}

pub(super) fn read_email(section: Section<'_>, channels: &Channels) -> Option<Email> {
    let to = section
        .parsed_list::<MailAddress>("to", ADDRESS_MEND)
        .try_map(recipients)
        .required();
    let names: BTreeSet<ChannelName> = channels.declared.keys().cloned().collect();
    let via = if section.has("via") {
        let one = section
            .references("via", "channel", &names)
            .try_map(|mut named| match (named.pop(), named.is_empty()) {
                (Some(name), true) => Ok(name),
                _ => Err(Complaint::new("a mail goes one way", "name one channel")),
            });
        one.required()
    } else {
        only_channel(&section, &names)
    };
    section.finish();
    let smtp = channels.declared.get(&via?)?.clone();
    Some(Email {
        to: to?,
        smtp: smtp?,
    })
}

fn only_channel(section: &Section<'_>, names: &BTreeSet<ChannelName>) -> Option<ChannelName> {
    let mut all = names.iter();
    let mend = match (all.next(), all.next()) {
        (Some(only), None) => return Some(only.clone()),
        (Some(first), Some(_)) => format!("write `via = \"{first}\"`, or another channel"),
        (None, _) => {
            "declare one: `[channel.mail]` with `smtp = { host = \"…\", from = \"…\" }`".to_owned()
        }
    };
    let what = if names.is_empty() {
        "`email`: there is no channel for mail"
    } else {
        "`email`: there are several channels for mail"
    };
    section.mistake("via", what, mend);
    None
}

fn recipients(to: Vec<MailAddress>) -> Result<Vec<MailAddress>, Complaint> {
    if to.is_empty() {
        let what = "this mail would reach nobody";
        return Err(Complaint::new(what, "write at least one address"));
    }
    if to.len() > TO_MAX {
        let what = format!("{} are too many", to.len());
        let mend = format!("keep at most {TO_MAX}, or write to a list of the mail server");
        return Err(Complaint::new(what, mend));
    }
    let mut seen = BTreeSet::new();
    for address in &to {
        if !seen.insert(address.to_string().to_ascii_lowercase()) {
            let what = format!("\"{address}\" is named twice");
            return Err(Complaint::new(what, "name each address once"));
        }
    }
    Ok(to)
}
