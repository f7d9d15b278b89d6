//! Chats with incoming webhooks in the manner of Slack: Mattermost, Slack itself, Rocket.Chat. `{"text":"…"}`, posted to an
//! address that is the secret.
//!
//! What is in a message is text and nothing else there: nobody is mentioned by the name of an object, and no node makes a
//! link that reads like another ([`escaped`]). The link to take an alert on is the one that stands as it is.
//!
//! Accepted is `ok`, or JSON that says so (`{"ok":true}`, `{"success":true}`); a login page says 200 too.

use std::fmt::Write as _;

use http::HeaderMap;
use serde_json::{Value, json};
use vigie_decide::{alert::Message, destination::Destination};

use super::{
    attempt::{Occasion, TargetError},
    http::{self as outside, Endpoint, Reply, Request},
    queue::Answer,
};
use crate::config;

/// One webhook, or another channel by it.
pub(super) struct Mattermost {
    endpoint: Endpoint,
    channel: Option<String>,
}

impl Mattermost {
    /// Reads everything that telling it needs. Blocks on files.
    pub(super) fn open(
        settings: &config::MattermostContact,
        to: &Destination,
    ) -> Result<Self, TargetError> {
        let hook = &settings.hook;
        let url = outside::url(outside::secret(&hook.url_file, to)?.expose_str(), to)?;
        Ok(Self {
            endpoint: Endpoint::open(url, HeaderMap::new(), hook.ca_file.as_deref(), to)?,
            channel: settings.channel.clone(),
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, told: &Occasion<'_>, batch: &[Message]) -> Answer {
        let Some(lead) = batch.first() else {
            return Answer::Accepted;
        };
        let said = told.chat(batch);
        let title = escaped(&said.title, None);
        let text = escaped(&said.text, told.voice.link);
        let mut body = json!({"text": format!("{title}\n\n{text}"), "username": "vigie"});
        if let Some(channel) = &self.channel {
            body["channel"] = channel.as_str().into();
        }
        let request = Request::json(body.to_string().into_bytes(), lead.key);
        self.endpoint
            .send(
                request,
                Some(&is_accepted),
                told.destination,
                told.now,
                told.limit,
            )
            .await
    }
}

fn is_accepted(reply: &Reply<'_>) -> bool {
    if reply.body.trim_ascii().eq_ignore_ascii_case(b"ok") {
        return true;
    }
    serde_json::from_slice::<Value>(reply.body)
        .is_ok_and(|body| body["ok"] == true || body["success"] == true)
}

/// Text that is only text there, with `link` as a link wherever it stands.
fn escaped(text: &str, link: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let parts: Vec<&str> = match link {
        Some(link) if !link.is_empty() => text.split(link).collect(),
        _ => vec![text],
    };
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            // An address in angle brackets is a link in both dialects.
            let _infallible = write!(out, "<{}>", link.unwrap_or_default());
        }
        escape(part, &mut out);
    }
    out
}

/// `&`, `<` and `>` as both dialects want them, which leaves no `<!channel>` and no link that reads like another. Markup of
/// Mattermost's Markdown gets a backslash where it would be markup, which is rare enough that Slack, where it shows, can
/// bear it: not `_` inside a word, not `]` before anything but `(`, `[` or `:`. Nobody is mentioned: an invisible space
/// stands after `@`.
fn escape(text: &str, out: &mut String) {
    let mut before = ' ';
    let mut is_line_start = true;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("@\u{200b}"),
            '_' if before.is_alphanumeric() && next.is_alphanumeric() => out.push('_'),
            ']' if !matches!(next, '(' | '[' | ':') => out.push(']'),
            '!' if next != '[' => out.push('!'),
            '#' | '=' | '+' if !is_line_start => out.push(character),
            '\\' | '`' | '*' | '_' | '~' | '|' | ']' | '!' | '#' | '=' | '+' => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
        is_line_start = match character {
            '\n' => true,
            ' ' | '\t' => is_line_start,
            _ => false,
        };
        before = character;
    }
}

#[cfg(test)]
mod tests;
