//! `smtp = { … }`: the mail server that takes our mail, and who gets it.

use vigie_deliver::config::{Login, MailAddress, Smtp, SmtpTls};
use vigie_platform::settings_file::{Complaint, SecretFile, Section};

use super::super::{ServerName, is_this_machine, readable, trusted};

/// The longest name or password of a login; what is longer is not one.
const USER_LEN_MAX: usize = 255;

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
