//! A body before it is text or HTML: the same blocks make both.
//!
//! HTML is one plain page: a language, a title, tables whose headers say what they are headers of, nothing fetched from
//! anywhere, no style that a reader in the dark or a screen reader would have to undo.

use std::fmt::Write as _;

use super::words;
use vigie_core::reason::message::{Language, TEXT_LEN_MAX, sanitised};

/// How many bytes one line of a list takes, about: what is reserved ahead for long lists.
const LINE_LEN: usize = 120;

/// A body.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) language: Language,
    pub(super) blocks: Vec<Block>,
    /// Who says it, to whom; empty: unsaid.
    pub(super) signature: String,
}

/// A part of a body. Texts are sanitised and not escaped.
#[derive(Debug)]
pub(super) enum Block {
    /// Sentences.
    Paragraph(String),
    /// Sentences that must not be missed.
    Strong(String),
    /// What stands above a list.
    Heading(String),
    /// What is known, line by line.
    Fields(Vec<Field>),
    /// Alerts.
    Alerts(Vec<Line>),
    /// Short lines.
    List(Vec<String>),
    /// An address to follow, and what it is for.
    Link { sentence: String, url: String },
}

/// Something known.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// The value is an address to follow.
    pub(super) is_link: bool,
}

/// One alert of several.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    /// Whom it concerns.
    pub(super) who: String,
    /// What happened.
    pub(super) said: String,
    /// What else is known; may be empty.
    pub(super) detail: String,
}

impl Line {
    /// `#1841 dossier-patient : portail en panne depuis 20:04 ; réponse HTTP 503`.
    pub(super) fn write(&self, language: Language, text: &mut String) {
        let colon = words::colon(language);
        let _infallible = write!(text, "#{} {}{colon}{}", self.number, self.who, self.said);
        if !self.detail.is_empty() {
            text.push_str(words::semicolon(language));
            text.push_str(&self.detail);
        }
    }
}

impl Document {
    /// A body without anything in it.
    pub(super) const fn new(language: Language) -> Self {
        Self {
            language,
            blocks: Vec::new(),
            signature: String::new(),
        }
    }

    pub(super) fn push(&mut self, block: Block) {
        self.blocks.push(block);
    }

    /// As plain text.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.size());
        self.write_blocks(&mut text);
        if !self.signature.is_empty() {
            // "-- " begins a signature; readers of mail show it faint and leave it out of answers.
            let _infallible = write!(text, "\n-- \n{}\n", self.signature);
        }
        text
    }

    /// As plain text without the signature.
    pub(super) fn unsigned_text(&self) -> String {
        let mut text = String::with_capacity(self.size());
        self.write_blocks(&mut text);
        text
    }

    fn write_blocks(&self, text: &mut String) {
        let mut is_after_heading = true;
        for block in &self.blocks {
            if !is_after_heading {
                text.push('\n');
            }
            is_after_heading = matches!(block, Block::Heading(_));
            self.write_block(text, block);
        }
    }

    fn write_block(&self, text: &mut String, block: &Block) {
        let colon = words::colon(self.language);
        match block {
            Block::Paragraph(sentence) | Block::Strong(sentence) => {
                text.push_str(sentence);
                text.push('\n');
            }
            Block::Heading(heading) => {
                text.push_str(heading);
                text.push_str(colon.trim_end());
                text.push('\n');
            }
            Block::Fields(fields) => {
                let width = fields
                    .iter()
                    .map(|field| field.label.chars().count())
                    .max()
                    .unwrap_or_default();
                for Field { label, value, .. } in fields {
                    let _infallible = writeln!(text, "{label:width$}{colon}{value}");
                }
            }
            Block::Alerts(lines) => {
                for line in lines {
                    text.push_str("- ");
                    line.write(self.language, text);
                    text.push('\n');
                }
            }
            Block::List(lines) => {
                for line in lines {
                    let _infallible = writeln!(text, "- {line}");
                }
            }
            Block::Link { sentence, url } => {
                let _infallible = writeln!(text, "{sentence}{colon}{url}");
            }
        }
    }

    /// As HTML.
    pub(super) fn html(&self, title: &str) -> String {
        let mut html = String::with_capacity(self.size() * 2);
        let language = self.language;
        let _infallible = write!(
            html,
            "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head><meta charset=\"utf-8\"><title>"
        );
        escape(&mut html, title);
        html.push_str("</title></head>\n<body>\n");
        for block in &self.blocks {
            self.html_block(&mut html, block);
        }
        if !self.signature.is_empty() {
            element(&mut html, "p", |html| {
                element(html, "small", |html| escape(html, &self.signature));
            });
            html.push('\n');
        }
        html.push_str("</body>\n</html>\n");
        html
    }

    fn html_block(&self, html: &mut String, block: &Block) {
        match block {
            Block::Paragraph(sentence) => element(html, "p", |html| escape(html, sentence)),
            Block::Strong(sentence) => element(html, "p", |html| {
                element(html, "strong", |html| escape(html, sentence));
            }),
            Block::Heading(heading) => element(html, "h2", |html| escape(html, heading)),
            Block::Fields(fields) => {
                html.push_str("<table>\n");
                for field in fields {
                    html.push_str("<tr><th scope=\"row\" align=\"left\">");
                    escape(html, field.label);
                    html.push_str("</th><td>");
                    if field.is_link {
                        anchor(html, &field.value);
                    } else {
                        escape(html, &field.value);
                    }
                    html.push_str("</td></tr>\n");
                }
                html.push_str("</table>");
            }
            Block::Alerts(lines) => self.html_alerts(html, lines),
            Block::List(lines) => {
                html.push_str("<ul>\n");
                for line in lines {
                    element(html, "li", |html| escape(html, line));
                    html.push('\n');
                }
                html.push_str("</ul>");
            }
            Block::Link { sentence, url } => element(html, "p", |html| {
                escape(html, sentence);
                html.push_str(words::colon(self.language));
                if is_followable(url) {
                    anchor(html, url);
                } else {
                    escape(html, url);
                }
            }),
        }
        html.push('\n');
    }

    fn html_alerts(&self, html: &mut String, lines: &[Line]) {
        let has_details = lines.iter().any(|line| !line.detail.is_empty());
        let heads = [
            words::either(self.language, "Numéro", "Number"),
            words::either(self.language, "Service", "Service"),
            words::either(self.language, "État", "State"),
            words::either(self.language, "Constat", "Finding"),
        ];
        let columns = if has_details { 4 } else { 3 };
        html.push_str("<table>\n<thead><tr>");
        for head in heads.iter().take(columns) {
            html.push_str("<th scope=\"col\" align=\"left\">");
            escape(html, head);
            html.push_str("</th>");
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for line in lines {
            let _infallible = write!(
                html,
                "<tr><th scope=\"row\" align=\"left\">#{}</th>",
                line.number
            );
            for cell in [&line.who, &line.said, &line.detail]
                .into_iter()
                .take(columns - 1)
            {
                element(html, "td", |html| escape(html, cell));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n</table>");
    }

    /// About how long the text is.
    fn size(&self) -> usize {
        let lines: usize = self
            .blocks
            .iter()
            .map(|block| match block {
                Block::Alerts(lines) => lines.len(),
                Block::List(lines) => lines.len(),
                Block::Fields(fields) => fields.len(),
                Block::Paragraph(_) | Block::Strong(_) | Block::Heading(_) | Block::Link { .. } => {
                    2
                }
            })
            .sum();
        (lines + 4) * LINE_LEN
    }
}

impl Field {
    /// Something known that is no address.
    pub(super) const fn new(label: &'static str, value: String) -> Self {
        Self {
            label,
            value,
            is_link: false,
        }
    }

    /// An address that somebody wrote into settings; followed only if it is one.
    pub(super) fn address(label: &'static str, url: &str) -> Self {
        let value = sanitised(url, TEXT_LEN_MAX);
        Self {
            label,
            is_link: is_followable(&value),
            value,
        }
    }
}

fn is_followable(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn element(html: &mut String, name: &str, inside: impl FnOnce(&mut String)) {
    let _infallible = write!(html, "<{name}>");
    inside(html);
    let _infallible = write!(html, "</{name}>");
}

fn anchor(html: &mut String, url: &str) {
    html.push_str("<a href=\"");
    escape(html, url);
    html.push_str("\">");
    escape(html, url);
    html.push_str("</a>");
}

/// Text that is nothing but text in HTML, in an attribute too.
fn escape(html: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
}
