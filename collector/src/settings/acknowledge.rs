//! `[acknowledge]`: the links in messages by which somebody says that they are on it, and how long that counts.
//!
//! The port serves nothing else. Other machines reach it through TLS only: whoever can read a link can stop a page.

use std::{net::SocketAddr, time::Duration};

use vigie_platform::{
    settings_file::{Section, Url},
    tls::load_certificates,
};

use super::{Complaint, address, readable, with_cause};
use crate::acknowledge::config::{Config, TlsFiles};

/// Shorter than this, a link would be dead before somebody has found their glasses.
const LASTS_MIN: Duration = Duration::from_secs(10 * 60);

/// A link is a key; one that lies in a mailbox for longer than a week opens nothing that still matters.
const LASTS_MAX: Duration = Duration::from_secs(7 * 86_400);

const LASTS_DEFAULT: Duration = Duration::from_secs(86_400);

const EXPIRES_MIN: Duration = Duration::from_secs(10 * 60);

/// Whoever is on it for longer hands it over.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 86_400);

/// `Some(None)`: nobody wrote it; `None`: with a mistake.
pub(super) fn read(root: &Section<'_>, others: &[SocketAddr]) -> Option<Option<Config>> {
    let Some(section) = root.sub("acknowledge") else {
        return (!root.has("acknowledge")).then_some(None);
    };
    let listen = address(&section, "listen").required();
    let url = section.url("url", &["https", "http"]).required();
    let has_tls = section.has("tls");
    let tls = section.sub("tls").map(read_tls);
    if let Some(listen) = listen {
        if !has_tls && !listen.ip().is_loopback() {
            section.mistake(
                "listen",
                "`listen`: links would travel without encryption",
                "write `tls = { certificate_file = \"…\", key_file = \"…\" }`, or an address of this machine alone, such as 127.0.0.1",
            );
        }
        let is_taken = others.iter().any(|other| {
            other.port() == listen.port()
                && listen.port() != 0
                && (other.ip() == listen.ip()
                    || other.ip().is_unspecified()
                    || listen.ip().is_unspecified())
        });
        if is_taken {
            let what = format!("`listen`: port {} is taken already", listen.port());
            section.mistake("listen", what, "write another port");
        }
    }
    if let Some(url) = &url {
        if url.path_and_query().contains('?') {
            let what = "`url`: the address has a query";
            section.mistake(
                "url",
                what,
                "remove it; links are made by adding to the path",
            );
        } else if url.scheme() == "http" && !super::is_this_machine(url.host()) {
            let what = "`url`: links would travel without encryption";
            section.mistake("url", what, "write an address with https://");
        }
    }
    let lasts = section
        .duration("lasts")
        .within(LASTS_MIN..=LASTS_MAX)
        .or(LASTS_DEFAULT);
    let expires = section
        .duration("expires")
        .within(EXPIRES_MIN..=EXPIRES_MAX)
        .optional();
    section.finish();
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    Some(Some(Config {
        listen: listen?,
        url: base(&url?),
        tls,
        lasts,
        expires,
    }))
}

fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn read_tls(section: Section<'_>) -> Option<TlsFiles> {
    let certificate_file = section
        .path("certificate_file")
        .try_map(|path| match load_certificates(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(Complaint::new(
                with_cause(&error),
                "put the certificate there as PEM",
            )),
        })
        .required();
    let key_file = section.secret_file("key_file").try_map(readable).required();
    section.finish();
    Some(TlsFiles {
        certificate_file: certificate_file?,
        key_file: key_file?,
    })
}
