//! Where a request goes: one parsed address, and where a redirect leads from it (RFC 3986 §5.2, RFC 9110 §10.2.2).
//!
//! Its `Debug` and errors never show path or query: they may hold what must not leave the node.

use std::fmt;

use http::{HeaderValue, Uri, uri::PathAndQuery};
use rustls_pki_types::ServerName;

use crate::availability::target::Host;

/// The longest redirect target read, in bytes; RFC 9110 §4.1 asks for 8,000 at least.
const LOCATION_LEN_MAX: usize = 8_192;

/// One parsed address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) scheme: Scheme,
    /// What the server is asked to prove it is called, and what SNI says where it is a name.
    pub(super) server_name: ServerName<'static>,
    /// The `Host` header.
    pub(super) authority: HeaderValue,
    /// The request target, as origin-form.
    pub(super) target: Uri,
}

/// In the clear or over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// What a redirect keeps of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Scheme, host and port; or the same host, from clear to TLS. Whoever may read the headers reads them again.
    SameOrigin,
    /// The host, at another port.
    SameHost,
    /// Nothing.
    Elsewhere,
    /// From TLS to clear.
    Downgrade,
}

impl Endpoint {
    /// Reads an absolute `http` or `https` address without user and password.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LOCATION_LEN_MAX {
            return None;
        }
        let without_fragment = text.split('#').next().unwrap_or_default();
        let uri: Uri = without_fragment.parse().ok()?;
        let (scheme, default_port) = match uri.scheme_str()? {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let bare = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let host = Host::parse(bare)?;
        // `Authority::port` would pass over a port that is none.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => default_port,
            port => port
                .strip_prefix(':')?
                .parse()
                .ok()
                .filter(|port| *port != 0)?,
        };
        let server_name = match &host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok()?,
        };
        let target = uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .parse()
            .ok()?;
        Some(Self {
            host,
            port,
            scheme,
            server_name,
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
            target,
        })
    }

    /// Where `location`, found in an answer of this endpoint, leads.
    pub(super) fn redirected(&self, location: &HeaderValue) -> Option<Self> {
        let location = location.to_str().ok()?;
        let location = location.split('#').next().unwrap_or_default();
        if location.len() > LOCATION_LEN_MAX {
            return None;
        }
        if has_scheme(location) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = match self.scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let base = self.target.path();
        let reference = if location.is_empty() {
            self.target.to_string()
        } else if location.starts_with('?') {
            format!("{base}{location}")
        } else {
            let (path, query) = match location.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (location, None),
            };
            let merged = if path.starts_with('/') {
                path.to_owned()
            } else {
                let folder_len = base.rfind('/').map_or(0, |slash| slash + 1);
                format!("{}{path}", &base[..folder_len])
            };
            let path = without_dots(&merged);
            query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
        };
        Some(Self {
            target: reference.parse().ok()?,
            ..self.clone()
        })
    }

    /// What a redirect from here to `next` keeps.
    pub(super) fn step_to(&self, next: &Self) -> Step {
        match (self.scheme, next.scheme) {
            (Scheme::Https, Scheme::Http) => Step::Downgrade,
            _ if self.host != next.host => Step::Elsewhere,
            (Scheme::Http, Scheme::Https) => Step::SameOrigin,
            _ if self.port == next.port => Step::SameOrigin,
            _ => Step::SameHost,
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Endpoint({:?}, {:?}, {})",
            self.scheme, self.host, self.port
        )
    }
}

/// RFC 3986 §3.1: a letter, then letters, digits, `+`, `-`, `.`, up to a colon.
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Removes `.` and `..` from an absolute path (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let ends_in_folder = path.ends_with("/.") || path.ends_with("/..");
    let slash = if ends_in_folder && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_read_or_refused() {
        let portal = endpoint("https://Portail.Example/health?a=1#top");
        assert_eq!(portal.port, 443);
        assert_eq!(portal.target, "/health?a=1");
        assert_eq!(portal.host, Host::parse("portail.example").unwrap());
        let literal = endpoint("http://[2001:db8::1]:8080");
        assert_eq!(literal.host, Host::Address("2001:db8::1".parse().unwrap()));
        assert_eq!(literal.authority, "[2001:db8::1]:8080");
        assert_eq!(
            (literal.port, literal.target),
            (8080, Uri::from_static("/"))
        );
        for wrong in [
            "ftp://a.example/",
            "/only/a/path",
            "http://u:p@a.example/",
            "http://a.example:0/",
            "http://a.example:99999/",
            "http://a..example/",
            "http://1.2.3/",
            "http://*.example/",
            "",
        ] {
            assert!(Endpoint::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_an_endpoint_shows_of_itself_has_neither_path_nor_query() {
        let shown = format!("{:?}", endpoint("https://a.example/marie?ins=42"));
        assert!(!shown.contains("marie") && !shown.contains("42"), "{shown}");
    }

    #[test]
    fn references_resolve_as_rfc_3986_shows() {
        let base = endpoint("http://a/b/c/d;p?q");
        for (reference, expected) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("g#s", "/b/c/g"),
            (";x", "/b/c/;x"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../../g", "/g"),
            ("g;x=1/../y", "/b/c/y"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("//g", "/"),
            ("https://g/x", "/x"),
        ] {
            let next = base.redirected(&HeaderValue::from_str(reference).unwrap());
            assert_eq!(next.unwrap().target, expected, "{reference}");
        }
        for refused in ["javascript:alert(1)", "http:g", "https://u@g/"] {
            let location = HeaderValue::from_static(refused);
            assert!(base.redirected(&location).is_none(), "{refused}");
        }
    }

    #[test]
    fn a_step_is_judged_by_what_it_keeps() {
        let step = |from: &str, to: &str| endpoint(from).step_to(&endpoint(to));
        assert_eq!(step("http://a/x", "http://a:80/y"), Step::SameOrigin);
        assert_eq!(step("http://a/", "https://a/"), Step::SameOrigin);
        assert_eq!(step("https://a/", "https://a:8443/"), Step::SameHost);
        assert_eq!(step("https://a/", "https://b/"), Step::Elsewhere);
        assert_eq!(step("https://a/", "http://a/"), Step::Downgrade);
        assert_eq!(step("https://a/", "http://b/"), Step::Downgrade);
    }
}
