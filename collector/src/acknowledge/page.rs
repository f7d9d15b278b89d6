//! The one page behind a link, in French or English: what it is about, and what became of it.
//!
//! Whoever holds the link may be anywhere, so the page says what a text message says: number, services, state, who is on
//! it. No node, no finding. It works without scripts, without cookies and without any other request.

use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use vigie_core::{
    reason::message::{self, Language, sanitised},
    status::Status,
};
use vigie_decide::{alert::Actor, destination::Destination};

/// Alerts named on one page; what comes beyond is counted. Nobody reads more on a telephone.
const ROWS_MAX: usize = 50;

/// Services named of one alert.
const SERVICES_MAX: usize = 5;

/// How long a client that came in vain should wait.
const RETRY_AFTER_S: &str = "5";

/// All of its looks: readable on a telephone at night, with a button that a thumb finds.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:40rem;padding:1rem}\
h1{font-size:1.4rem}button{font:inherit;font-weight:bold;min-height:4rem;padding:.5rem 1rem;width:100%}li{margin:.5rem 0}";

/// The page may load nothing, run nothing, stand in no frame, and send its form only to where it came from.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("words and base64 are visible ASCII")
});

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Nobody is on some of these alerts.
    Asked,
    /// Somebody is on every one.
    Taken,
    /// Whoever pressed the button is on them now.
    Now,
    /// Somebody was on all of them already when the button was pressed.
    Before,
    /// None of them is on any more.
    Over,
    /// The link was good once.
    Expired,
    /// It is no link of this collector, or it went to somebody who is not told any more.
    Void,
    /// It cannot be written down now, so it does not count.
    Unavailable,
}

/// An alert as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number.
    pub(super) number: u64,
    /// Services concerned.
    pub(super) services: Vec<String>,
    /// How it stands.
    pub(super) status: Status,
    /// Nothing is really wrong.
    pub(super) is_exercise: bool,
    /// Who is on it.
    pub(super) by: Option<Actor>,
}

/// A page to answer with.
#[derive(Debug)]
pub(super) struct Page {
    /// In which language.
    pub(super) language: Language,
    /// What it says.
    pub(super) said: Said,
    /// About which alerts, most urgent first.
    pub(super) rows: Vec<Row>,
    /// How long an acknowledgement counts; `None`: until the alert ends.
    pub(super) for_ms: Option<u64>,
}

#[derive(Template)]
#[template(path = "acknowledge.html")]
struct Sheet<'a> {
    language: Language,
    title: &'a str,
    lines: Vec<String>,
    rows: Vec<ShownRow>,
    more: Option<String>,
    exercise: &'a str,
    /// French has a space before it.
    colon: &'a str,
    button: Option<&'a str>,
}

struct ShownRow {
    number: u64,
    services: String,
    status: &'static str,
    is_exercise: bool,
    by: Option<String>,
}

impl Page {
    /// A page about no alert.
    pub(super) const fn bare(language: Language, said: Said) -> Self {
        Self {
            language,
            said,
            rows: Vec::new(),
            for_ms: None,
        }
    }

    fn status(&self) -> StatusCode {
        match self.said {
            Said::Asked | Said::Taken | Said::Now | Said::Before | Said::Over => StatusCode::OK,
            Said::Expired => StatusCode::GONE,
            Said::Void => StatusCode::NOT_FOUND,
            Said::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn text(&self) -> Result<String, askama::Error> {
        let words = Words::of(self.language, self.said);
        let mut lines = vec![words.line.to_owned()];
        if let Some(for_ms) = self.for_ms
            && matches!(self.said, Said::Asked | Said::Now)
        {
            lines.push(counts_for(self.language, for_ms));
        }
        let shown = self.rows.iter().take(ROWS_MAX);
        let left_out = self.rows.len().saturating_sub(ROWS_MAX);
        let more = (left_out > 0).then(|| match self.language {
            Language::French => format!("et {left_out} de plus"),
            Language::English => format!("and {left_out} more"),
        });
        let sheet = Sheet {
            language: self.language,
            title: words.title,
            lines,
            rows: shown.map(|row| row.shown(self.language)).collect(),
            more,
            exercise: match self.language {
                Language::French => "[EXERCICE]",
                Language::English => "[EXERCISE]",
            },
            colon: match self.language {
                Language::French => " :",
                Language::English => ":",
            },
            button: words.button,
        };
        sheet.render()
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let status = self.status();
        // Rendering into memory cannot fail; if it does, a blank page must not look like success.
        let (status, text) = match self.text() {
            Ok(text) => (status, text),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        };
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "text/html; charset=utf-8");
        set(header::CACHE_CONTROL, "no-store");
        set(header::REFERRER_POLICY, "no-referrer");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::VARY, "accept-language");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            set(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
        response
    }
}

impl Row {
    fn shown(&self, language: Language) -> ShownRow {
        let named: Vec<&str> = self
            .services
            .iter()
            .take(SERVICES_MAX)
            .map(String::as_str)
            .collect();
        let left_out = self.services.len().saturating_sub(SERVICES_MAX);
        let mut services = sanitised(&named.join(", "), 400);
        if services.is_empty() {
            services.push('-');
        }
        if left_out > 0 {
            services.push_str(&format!(" +{left_out}"));
        }
        ShownRow {
            number: self.number,
            services,
            status: message::status(language, self.status),
            is_exercise: self.is_exercise,
            by: self.by.as_ref().map(|actor| match language {
                Language::French => format!("pris en charge par {}", who(language, actor)),
                Language::English => format!("{} is on it", who(language, actor)),
            }),
        }
    }
}

/// Who acknowledged, as the person's or the team's name: by which channel they read is nobody's business here.
fn who(language: Language, actor: &Actor) -> String {
    match (actor, language) {
        (Actor::Link(Destination::Person { person, .. }), _) => person.to_string(),
        (Actor::Link(Destination::Receiver(receiver)), _) => receiver.to_string(),
        (Actor::Uid(uid), Language::French) => format!("un exploitant (uid {uid})"),
        (Actor::Uid(uid), Language::English) => format!("an operator (uid {uid})"),
    }
}

fn counts_for(language: Language, for_ms: u64) -> String {
    let minutes = for_ms.div_ceil(60_000);
    let time = if minutes.is_multiple_of(60) {
        format!("{} h", minutes / 60)
    } else {
        format!("{minutes} min")
    };
    match language {
        Language::French => {
            format!("Compte pendant {time} ; ce qui dure encore est alors de nouveau signalé.")
        }
        Language::English => {
            format!("This counts for {time}; what is still on then is told again.")
        }
    }
}

struct Words {
    title: &'static str,
    line: &'static str,
    button: Option<&'static str>,
}

impl Words {
    fn of(language: Language, said: Said) -> Self {
        let plain = |title, line| Self {
            title,
            line,
            button: None,
        };
        match (language, said) {
            (Language::French, Said::Asked) => Self {
                title: "Prendre en charge ?",
                line: "Le bouton dit que vous vous en occupez : personne d'autre n'est plus réveillé.",
                button: Some("Je m'en occupe"),
            },
            (Language::English, Said::Asked) => Self {
                title: "Are you on it?",
                line: "The button says that you are taking care of this: nobody else is woken any more.",
                button: Some("I am on it"),
            },
            (Language::French, Said::Taken) => plain(
                "Déjà pris en charge",
                "Quelqu'un s'occupe de tout ce que ce lien concerne.",
            ),
            (Language::English, Said::Taken) => plain(
                "Somebody is on it",
                "Somebody is on everything that this link is about.",
            ),
            (Language::French, Said::Now) => plain(
                "C'est noté",
                "Vous vous en occupez ; les relances s'arrêtent.",
            ),
            (Language::English, Said::Now) => {
                plain("Noted", "You are on it; nobody else is woken any more.")
            }
            (Language::French, Said::Before) => plain(
                "Déjà pris en charge",
                "C'était déjà pris en charge ; rien n'a changé.",
            ),
            (Language::English, Said::Before) => plain(
                "Somebody was on it already",
                "It had been acknowledged before; nothing has changed.",
            ),
            (Language::French, Said::Over) => plain(
                "Terminé",
                "Tout ce que ce lien concernait est terminé entre-temps ; il n'y a plus rien à faire ici.",
            ),
            (Language::English, Said::Over) => plain(
                "Over",
                "Everything that this link was about is over meanwhile; there is nothing left to do here.",
            ),
            (Language::French, Said::Expired) => plain(
                "Lien expiré",
                "Ce lien n'est plus valable et rien n'a été noté. Utilisez celui d'un message plus récent, ou appelez.",
            ),
            (Language::English, Said::Expired) => plain(
                "This link has expired",
                "Nothing was noted. Use the link of a newer message, or call.",
            ),
            (Language::French, Said::Void) => plain(
                "Lien non valable",
                "Rien n'a été noté. Vérifiez que le lien est entier, ou appelez.",
            ),
            (Language::English, Said::Void) => plain(
                "This link is not valid",
                "Nothing was noted. See that the link is whole, or call.",
            ),
            (Language::French, Said::Unavailable) => plain(
                "Pas noté",
                "vigie ne peut pas l'écrire en ce moment : rien n'est pris en charge. Réessayez, ou appelez.",
            ),
            (Language::English, Said::Unavailable) => plain(
                "Not noted",
                "vigie cannot write it down now: nobody counts as being on it. Try again, or call.",
            ),
        }
    }
}

/// The language that a reader asks for: the one of ours they like best (RFC 9110 section 12.5.4), French where they do
/// not say.
pub(super) fn language(headers: &HeaderMap) -> Language {
    let (mut best, mut best_quality) = (Language::default(), 0.0);
    let values = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    for range in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let primary = tag.split('-').next().unwrap_or_default();
        let Ok(found) = primary.to_ascii_lowercase().parse::<Language>() else {
            continue;
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(Ok(1.0), str::parse::<f32>)
            .unwrap_or(0.0);
        if quality > best_quality {
            (best, best_quality) = (found, quality);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SAID: [Said; 8] = [
        Said::Asked,
        Said::Taken,
        Said::Now,
        Said::Before,
        Said::Over,
        Said::Expired,
        Said::Void,
        Said::Unavailable,
    ];

    fn row() -> Row {
        Row {
            number: 1_841,
            services: vec!["dossier-patient".to_owned()],
            status: Status::Critical,
            is_exercise: false,
            by: None,
        }
    }

    #[test]
    fn the_language_is_the_reader_s_best_liked_of_ours() {
        let asked = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_LANGUAGE, value.parse().unwrap());
            }
            language(&headers)
        };
        for french in [
            &[][..],
            &[""],
            &["*"],
            &["de"],
            &["fr-FR,fr;q=0.9,en;q=0.8"],
            &["en;q=0.2, fr;q=0.3"],
            &["en;q=0"],
            &["en;q=x"],
        ] {
            assert_eq!(asked(french), Language::French, "{french:?}");
        }
        for english in [
            &["en"][..],
            &["EN-gb"],
            &["de, en;q=0.7"],
            &["fr;q=0.1", "en"],
        ] {
            assert_eq!(asked(english), Language::English, "{english:?}");
        }
    }

    #[test]
    fn only_the_question_has_a_button_and_no_page_has_a_script() {
        for language in Language::ALL {
            for said in SAID {
                let page = Page {
                    language,
                    said,
                    rows: vec![row()],
                    for_ms: None,
                };
                let text = page.text().unwrap();
                let asks = said == Said::Asked;
                assert_eq!(text.contains("<button"), asks, "{said:?}");
                assert_eq!(text.contains("<form method=\"post\">"), asks);
                assert!(
                    !text.contains("<script") && !text.contains("http"),
                    "{text}"
                );
                assert!(text.contains(&format!("<html lang=\"{language}\">")));
                assert!(text.contains("#1841") && text.contains("dossier-patient"));
            }
        }
    }

    #[test]
    fn names_cannot_become_markup_and_rows_are_bounded() {
        let mut hostile = row();
        hostile.services = vec!["<script>alert(1)</script>\u{1b}[2J".to_owned(); 7];
        let page = Page {
            language: Language::English,
            said: Said::Asked,
            rows: vec![hostile; ROWS_MAX + 3],
            for_ms: None,
        };
        let text = page.text().unwrap();
        assert!(!text.contains("<script") && !text.contains('\u{1b}'));
        assert!(text.contains("+2") && text.contains("and 3 more"), "{text}");
        assert_eq!(text.matches("<li>").count(), ROWS_MAX);
    }

    #[test]
    fn who_is_on_it_and_for_how_long_is_said() {
        let mut page = Page {
            language: Language::French,
            said: Said::Now,
            rows: vec![Row {
                by: Some(Actor::Link("am/sms".parse().unwrap())),
                is_exercise: true,
                ..row()
            }],
            for_ms: Some(2 * 3_600_000),
        };
        let text = page.text().unwrap();
        assert!(text.contains("(pris en charge par am)"), "{text}");
        assert!(text.contains("[EXERCICE] <strong>#1841</strong>"), "{text}");
        assert!(text.contains("pendant 2 h"), "{text}");
        page.language = Language::English;
        page.for_ms = Some(90 * 60_000);
        page.rows[0].by = Some(Actor::Uid(1_000));
        let text = page.text().unwrap();
        assert!(text.contains("an operator (uid 1000) is on it"), "{text}");
        assert!(text.contains("90 min"), "{text}");
    }

    #[test]
    fn the_policy_allows_this_style_and_nothing_else() {
        let response = Page::bare(Language::French, Said::Void).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(policy.contains("form-action 'self'; frame-ancestors 'none'"));
    }
}
