//! `smtp = { … }`: the mail server that takes our mail, and who gets it.

use std::{fmt, path::PathBuf, str::FromStr};

use lettre::Address;
use rustls_pki_types::ServerName;
use vigie_platform::settings_file::SecretFile;

/// The longest address (RFC 5321 §4.5.3.1.3, without the brackets).
const ADDRESS_LEN_MAX: usize = 254;

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
            && matches!(ServerName::try_from(domain), Ok(ServerName::DnsName(_)));
        if text.len() > ADDRESS_LEN_MAX || local.len() > 64 || !is_local(local) || !is_domain {
            return Err(NotAMailAddress);
        }
        Address::new(local, domain)
            .map(Self)
            .map_err(|_| NotAMailAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_every_server_takes_are_taken() {
        for good in ["a@b.example", "a.b+c@x-y.example.org", "o'neil@b"] {
            assert!(good.parse::<MailAddress>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b.example",
            "a@",
            "a@b@c.example",
            "a b@c.example",
            "é@b.example",
            "a@é.example",
            "a..b@c.example",
            ".a@c.example",
            "a.@c.example",
            "<a@b.example>",
            "a@b.example\r\nRCPT TO:<c@d.example>",
            "a@b.example ",
            "\"a\"@b.example",
            "a,c@b.example",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            "a@b.example.",
            "a(x)@b.example",
            "a@b example",
        ] {
            assert!(bad.parse::<MailAddress>().is_err(), "{bad:?}");
        }
    }
}
