//! The settings of an `http` check, read and judged once: at run time nothing is parsed any more.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use regex_lite::Regex;
use vigie_machine::tls::TlsClient;
use vigie_platform::{
    error_chain::chain,
    settings_file::{Complaint, SecretFile, Section},
    tls::load_certificates,
};

use super::{
    endpoint::{Endpoint, Scheme},
    verdict::{Expected, Pattern},
};
use crate::availability::target::Addresses;

/// Redirects that may be followed. Browsers stop at 20; a health page has no use for more than a few.
const REDIRECTS_MAX: u8 = 10;

/// The longest expression to look for, in bytes.
const PATTERN_LEN_MAX: usize = 4096;

/// Headers that the check itself sets, or whose meaning it would not honour.
const OURS: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// Parts of a header's name that say that its value is a secret.
const SECRET_WORDS: [&str; 6] = ["auth", "cookie", "token", "secret", "password", "key"];

/// What an `http` check was told. No `Debug`: headers may hold secrets.
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) addresses: Addresses,
    pub(super) method: Method,
    /// What the server of the settings is sent.
    pub(super) headers: HeaderMap,
    /// What others, where a redirect led, are sent.
    pub(super) headers_elsewhere: HeaderMap,
    pub(super) expected: Arc<Expected>,
    pub(super) redirects: Redirects,
    /// Built whenever the address or a redirect may need it; `None` also if the system trusts nobody.
    pub(super) tls: Option<TlsClient>,
}

/// How far redirects are followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redirects {
    pub(super) max: u8,
    pub(super) hosts: RedirectHosts,
}

/// Where redirects may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedirectHosts {
    Same,
    Any,
}

impl Settings {
    /// Reads the kind's own keys; mistakes go to the section.
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let endpoint = section
            .url("url", &["https", "http"])
            .try_map(|url| {
                Endpoint::parse(url.as_str()).ok_or_else(|| {
                    Complaint::new(
                        "the address has no valid host",
                        "write a DNS name or an IP address",
                    )
                })
            })
            .required();
        let method = section
            .one_of(
                "method",
                &[
                    ("GET", Method::GET),
                    ("HEAD", Method::HEAD),
                    ("OPTIONS", Method::OPTIONS),
                    ("POST", Method::POST),
                ],
            )
            .or(Method::GET);
        let addresses = section
            .one_of(
                "addresses",
                &[("all", Addresses::All), ("first", Addresses::First)],
            )
            .or(Addresses::All);
        let headers_elsewhere = plain_headers();
        let headers = own_headers(section, &headers_elsewhere);
        let redirects = read_redirects(section);
        let expected = read_expected(section, &method);
        let may_need_tls = redirects.max > 0
            || endpoint
                .as_ref()
                .is_none_or(|endpoint| endpoint.scheme == Scheme::Https);
        let tls = read_trust(section, may_need_tls);
        Some(Self {
            endpoint: endpoint?,
            addresses,
            method,
            headers: headers?,
            headers_elsewhere,
            expected: Arc::new(expected?),
            redirects,
            tls: tls?,
        })
    }
}

fn plain_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (
            header::USER_AGENT,
            HeaderValue::from_static(concat!("vigie-agent/", env!("CARGO_PKG_VERSION"))),
        ),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
        // One question per connection; the server need not wait for more.
        (header::CONNECTION, HeaderValue::from_static("close")),
    ])
}

/// The headers of the settings and of the secret file. A name written there replaces ours.
fn own_headers(section: &Section<'_>, plain: &HeaderMap) -> Option<HeaderMap> {
    let mut headers = plain.clone();
    let mend = "write \"Name: value\"";
    let written = section
        .string_list("headers")
        .try_map(|lines| {
            let read = lines.iter().map(|line| match parse_header(line) {
                Some((name, _)) if holds_secret(&name) => Err(Complaint::new(
                    format!("the header {name} holds a secret"),
                    "put the line into a file of mode 0600 and write `header_file` with its path",
                )),
                Some((name, _)) if OURS.contains(&name) => Err(Complaint::new(
                    format!("the header {name} is set by the check itself"),
                    "remove it",
                )),
                Some(header) => Ok(header),
                None => Err(Complaint::new("a line is not a header", mend)),
            });
            read.collect::<Result<Vec<_>, _>>()
        })
        .or(Vec::new());
    let file = section.has("header_file");
    let secret = section
        .secret_file("header_file")
        .try_map(read_header_file)
        .optional();
    if file && secret.is_none() {
        return None;
    }
    for (name, value) in written.into_iter().chain(secret.into_iter().flatten()) {
        headers.insert(name, value);
    }
    Some(headers)
}

fn holds_secret(name: &HeaderName) -> bool {
    SECRET_WORDS.iter().any(|word| name.as_str().contains(word))
}

/// Nothing of the file's text gets into a complaint.
fn read_header_file(file: SecretFile) -> Result<Vec<(HeaderName, HeaderValue)>, Complaint> {
    let shown = file.path().display();
    let secret = file.read().map_err(|error| {
        Complaint::new(
            chain(&error),
            "write headers into it, one `Name: value` a line, and give it mode 0600",
        )
    })?;
    let lines = secret.expose_str().unwrap_or_default().lines();
    lines
        .filter(|line| !line.trim().is_empty())
        .enumerate()
        .map(|(index, line)| match parse_header(line) {
            Some((name, mut value)) if !OURS.contains(&name) => {
                value.set_sensitive(true);
                Ok((name, value))
            }
            _ => Err(Complaint::new(
                format!("header {} of {shown} cannot be sent", index + 1),
                "write `Name: value`, and none that the check itself sets, such as Host",
            )),
        })
        .collect()
}

fn parse_header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((
        name.trim().parse().ok()?,
        HeaderValue::from_str(value.trim()).ok()?,
    ))
}

fn read_redirects(section: &Section<'_>) -> Redirects {
    let redirects = Redirects {
        max: section.integer("redirects", 0..=REDIRECTS_MAX).or(0),
        hosts: section
            .one_of(
                "redirect_hosts",
                &[("same", RedirectHosts::Same), ("any", RedirectHosts::Any)],
            )
            .or(RedirectHosts::Same),
    };
    if redirects.max == 0 && section.has("redirect_hosts") {
        section.mistake(
            "redirect_hosts",
            "no redirect is followed",
            "write `redirects = 3` too, or remove this",
        );
    }
    redirects
}

fn read_expected(section: &Section<'_>, method: &Method) -> Option<Expected> {
    let section = section.sub_or_empty("expect");
    let not_empty = |text: String| {
        if text.is_empty() || text.len() > PATTERN_LEN_MAX {
            return Err(Complaint::new(
                "the text to look for is empty or longer than 4096 bytes",
                "write a short text that is only there when all is well",
            ));
        }
        Ok(Pattern::Text(text.into_bytes().into()))
    };
    let status = section
        .integer_list("status", 100..=599_u16)
        .try_map(|codes| {
            if codes.is_empty() {
                return Err(Complaint::new(
                    "no status is well",
                    "write `status = [200]`",
                ));
            }
            Ok(codes)
        })
        .or(vec![200]);
    let text = section.str("body").try_map(not_empty).optional();
    let regex = section
        .str("body_regex")
        .try_map(|text| {
            let wrong = |what: String| Complaint::new(what, "write a regular expression");
            if text.len() > PATTERN_LEN_MAX {
                return Err(wrong("the expression is longer than 4096 bytes".to_owned()));
            }
            Regex::new(&text)
                .map(Pattern::Regex)
                .map_err(|error| wrong(error.to_string()))
        })
        .optional();
    let body_not = section.str("body_not").try_map(not_empty).optional();
    let asks_for_body = ["body", "body_regex", "body_not"]
        .into_iter()
        .find(|key| section.has(key));
    if let Some(key) = asks_for_body
        && *method == Method::HEAD
    {
        section.mistake(
            key,
            "an answer to HEAD has no body",
            "write `method = \"GET\"`",
        );
    }
    Some(Expected {
        status,
        body: text.into_iter().chain(regex).collect(),
        body_not: body_not.into_iter().collect(),
    })
}

/// The roots of trust: the system's and those of `ca_file`. The outer `None` is a mistake. A system that trusts nobody is
/// none: its administrator may mend that while the agent does all else, and until then the check says `unknown`.
fn read_trust(section: &Section<'_>, may_need_tls: bool) -> Option<Option<TlsClient>> {
    const ALPN: &[&[u8]] = &[b"http/1.1"];
    if section.has("ca_file") && !may_need_tls {
        section.mistake(
            "ca_file",
            "this check never speaks TLS",
            "remove it, or write an address with https://",
        );
        return None;
    }
    if !may_need_tls {
        return Some(None);
    }
    if !section.has("ca_file") {
        return Some(TlsClient::trusting(&[], ALPN).ok());
    }
    let mend = "write the path of a PEM file of certificate authorities";
    let client = section.path("ca_file").try_map(|path| {
        let also = load_certificates(&path).map_err(|error| Complaint::new(chain(&error), mend))?;
        TlsClient::trusting(&also, ALPN).map_err(|error| Complaint::new(chain(&error), mend))
    });
    client.optional().map(Some)
}
