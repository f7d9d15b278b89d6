//! Channels over HTTP: `http`, `ntfy`, `mattermost`, `pagerduty` and `alertmanager`.
//!
//! Each says where to, by an address without a secret or a file that holds the address because it is one. What goes with
//! it as a secret goes over TLS, or to this machine.

use vigie_deliver::{
    config::{
        AcceptedWhen, Address, AlertmanagerApi, Encoding, HttpGateway, HttpMethod, Mattermost,
        Ntfy, Pagerduty, Template, is_token_text,
    },
    http::parse_url,
};
use vigie_platform::settings_file::{Complaint, SecretFile, Section};

use super::super::{is_this_machine, readable, trusted};

/// Where PagerDuty takes events of its Events API v2.
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// The longest text that an answer is looked through for, in bytes.
const BODY_CONTAINS_LEN_MAX: usize = 256;

/// `None`: with a mistake, which is noted. So do all readers here.
pub(super) fn read_gateway(section: Section<'_>) -> Option<HttpGateway> {
    let header_file = section
        .secret_file("header_file")
        .try_map(readable)
        .optional();
    let method = section
        .one_of(
            "method",
            &[("POST", HttpMethod::Post), ("PUT", HttpMethod::Put)],
        )
        .or(HttpMethod::Post);
    let content_type = section
        .str("content_type")
        .try_map(media_type)
        .or("application/json".to_owned());
    let encoding = Encoding::of(&content_type);
    let body = section
        .str("body")
        .try_map(|text| Template::parse(&text, encoding))
        .required();
    let accepted = section.sub("accepted").map(read_accepted);
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    let address = read_address(&section);
    if let Some(Address::Url(url)) = &address {
        judge_plain(&section, url, "header_file");
    }
    section.finish();
    Some(HttpGateway {
        address: address?,
        method,
        header_file,
        content_type,
        body: body?,
        accepted: match accepted {
            Some(read) => read?,
            None => AcceptedWhen::default(),
        },
        ca_file,
    })
}

fn read_accepted(section: Section<'_>) -> Option<AcceptedWhen> {
    let is_status_written = section.has("status");
    let status = section.some_integers("status", 200..=299_u16).optional();
    let is_text_written = section.has("body_contains");
    let body_contains = section
        .str("body_contains")
        .try_map(|text| {
            if (1..=BODY_CONTAINS_LEN_MAX).contains(&text.len()) {
                return Ok(text);
            }
            let mend = format!("write 1 to {BODY_CONTAINS_LEN_MAX} bytes");
            Err(Complaint::new("this is not what an answer says", mend))
        })
        .optional();
    section.finish();
    if is_status_written != status.is_some() || is_text_written != body_contains.is_some() {
        return None;
    }
    Some(AcceptedWhen {
        status: status.unwrap_or_default(),
        body_contains,
    })
}

pub(super) fn read_ntfy(section: Section<'_>) -> Option<Ntfy> {
    let url = section
        .url("url", &["https", "http"])
        .try_map(|url| {
            if matches!(url.path_and_query(), "" | "/") {
                return Ok(url.as_str().to_owned());
            }
            Err(Complaint::new(
                "messages are published at the root of the server",
                "write the address without a path; the topic is the `to` of each contact",
            ))
        })
        .required();
    let token_file = section
        .secret_file("token_file")
        .try_map(readable)
        .try_map(token)
        .optional();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    if let Some(url) = &url {
        judge_plain(&section, url.as_str(), "token_file");
    }
    section.finish();
    Some(Ntfy {
        url: url?,
        token_file,
        ca_file,
    })
}

pub(super) fn read_mattermost(section: Section<'_>) -> Option<Mattermost> {
    let url_file = section
        .secret_file("url_file")
        .try_map(readable)
        .try_map(url_secret)
        .required();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    section.finish();
    Some(Mattermost {
        url_file: url_file?,
        ca_file,
    })
}

pub(super) fn read_pagerduty(section: Section<'_>) -> Option<Pagerduty> {
    let routing_key_file = section
        .secret_file("routing_key_file")
        .try_map(readable)
        .try_map(token)
        .required();
    let is_written = section.has("url");
    let url = section.url("url", &["https", "http"]).optional();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    if let Some(url) = &url {
        judge_plain(&section, url.as_str(), "routing_key_file");
    }
    section.finish();
    let url = match url {
        Some(url) => url.as_str().to_owned(),
        None if is_written => return None,
        None => PAGERDUTY_URL.to_owned(),
    };
    Some(Pagerduty {
        url,
        routing_key_file: routing_key_file?,
        ca_file,
    })
}

pub(super) fn read_alertmanager(section: Section<'_>) -> Option<AlertmanagerApi> {
    let url = section
        .url("url", &["https", "http"])
        .try_map(|url| {
            let path = url.path_and_query();
            if path.contains('?') || path.contains("/api/") {
                return Err(Complaint::new(
                    "this is not where an Alertmanager is, but something of it",
                    "write its address without `/api/v2/alerts`, such as \"https://alertmanager.example:9093\"",
                ));
            }
            Ok(url.as_str().to_owned())
        })
        .required();
    let header_file = section
        .secret_file("header_file")
        .try_map(readable)
        .optional();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    if let Some(url) = &url {
        judge_plain(&section, url.as_str(), "header_file");
    }
    section.finish();
    Some(AlertmanagerApi {
        url: url?,
        header_file,
        ca_file,
    })
}

fn read_address(section: &Section<'_>) -> Option<Address> {
    if section.has("url_file") {
        if section.has("url") {
            let what = "`url` and `url_file` are both written";
            section.mistake("url", what, "keep one of the two");
        }
        let file = section.secret_file("url_file").try_map(readable);
        return file.try_map(url_secret).required().map(Address::File);
    }
    let url = section.url("url", &["https", "http"]);
    url.required()
        .map(|url| Address::Url(url.as_str().to_owned()))
}

/// What must not be written where the address is without TLS. `secret`: the key of what would travel with it.
fn judge_plain(section: &Section<'_>, url: &str, secret: &str) {
    let Some(host) = plain_host(url) else { return };
    if section.has(secret) && !is_this_machine(&host) {
        let what = format!("`{secret}`: the secret would travel without encryption");
        section.mistake(secret, what, "write a `url` with https://");
    }
    if section.has("ca_file") {
        let what = "`ca_file`: this channel never speaks TLS";
        section.mistake("ca_file", what, "remove it, or write a `url` with https://");
    }
}

/// The host of an address without TLS.
fn plain_host(url: &str) -> Option<String> {
    let url = parse_url(url).filter(|url| url.scheme() == "http")?;
    let host = url.host_str()?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

fn media_type(text: String) -> Result<String, Complaint> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let is_media_type = essence
        .split_once('/')
        .is_some_and(|(kind, form)| is_token(kind) && is_token(form))
        && text.len() <= 128
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_media_type.then_some(text).ok_or_else(|| {
        Complaint::new(
            "this is not a media type",
            "write one such as \"application/json\" or \"application/x-www-form-urlencoded\"",
        )
    })
}

/// A token or key that goes into a header or JSON as it is.
fn token(file: SecretFile) -> Result<SecretFile, Complaint> {
    let is_token = file
        .read()
        .is_ok_and(|secret| is_token_text(secret.expose()));
    if is_token {
        return Ok(file);
    }
    let what = format!("{} does not hold a token or key", file.path().display());
    Err(Complaint::new(
        what,
        "write it as one line of ASCII without blanks",
    ))
}

/// An address that is a secret goes over TLS, or to this machine.
pub(in super::super) fn url_secret(file: SecretFile) -> Result<SecretFile, Complaint> {
    let read = file.read().ok();
    let text = read.as_ref().and_then(|secret| secret.expose_str());
    let url = text.and_then(parse_url);
    let Some(url) = url else {
        let what = format!("{} does not hold an address", file.path().display());
        return Err(Complaint::new(
            what,
            "write one line that starts with https://",
        ));
    };
    if !url.username().is_empty() || url.password().is_some() {
        let what = format!(
            "the address in {} holds a user or a password",
            file.path().display()
        );
        let mend = "remove it; a login goes into `header_file` where there is one";
        return Err(Complaint::new(what, mend));
    }
    if plain_host(url.as_str()).is_some_and(|host| !is_this_machine(&host)) {
        let what = format!(
            "the address in {} is without encryption, and is a secret",
            file.path().display()
        );
        return Err(Complaint::new(what, "write one that starts with https://"));
    }
    Ok(file)
}
