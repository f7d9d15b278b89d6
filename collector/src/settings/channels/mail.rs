//! `smtp = { … }`: the mail server that takes our mail, and who gets it.

use std::{fmt, path::PathBuf, str::FromStr};

use lettre::Address;
use vigie_platform::settings_file::{Complaint, SecretFile, Section};

use super::super::{ServerName, is_this_machine, readable, trusted};

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
    /// Who the mail is from; answers and reports of failed delivery go there. Without one in the settings `vigie` at the
    /// domain of the mail server.
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

/// `None`: with a mistake, which is noted.
pub(super) fn read_smtp(section: Section<'_>, own: &[String]) -> Option<Smtp> {
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
    let from = section.parsed::<MailAddress>("from", ADDRESS_MEND);
    let from = match host.as_deref().and_then(|host| usual_from(host, own)) {
        Some(usual) if !section.has("from") => {
            drop(from.optional());
            Some(usual)
        }
        Some(_) | None => from.required(),
    };
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

/// Who mail is from where nobody wrote it: `vigie` at the domain of the mail server, which takes mail of its own domain if
/// it takes any; where that is known by an address only or is this machine, at the collector's first name. `None`: neither
/// has a name.
pub(super) fn usual_from(host: &str, own: &[String]) -> Option<MailAddress> {
    let is_name = |name: &&str| name.parse::<std::net::IpAddr>().is_err() && name.contains('.');
    let domain = match Some(host).filter(is_name) {
        Some(host) => match host.split_once('.') {
            // `smtp.example.org` serves `example.org`; `example.org` itself.
            Some((_, domain)) if domain.contains('.') => domain,
            _ => host,
        },
        None => own.iter().map(String::as_str).find(is_name)?,
    };
    format!("vigie@{domain}").parse().ok()
}

/// What to write instead of a bad address.
pub(super) const ADDRESS_MEND: &str =
    "write \"name@host.example\", in ASCII and without a display name";

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
