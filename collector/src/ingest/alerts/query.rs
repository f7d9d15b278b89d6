//! What a sender has open, in the form of Alertmanager's `gettableAlerts`, and the conditions that it may ask by.
//!
//! A snapshot of the engine says what is open, muted and folded; the sender's own words, as far as they are remembered,
//! say how fresh that is. Pure but for that memory.

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};
use vigie_core::{
    id::SenderName,
    time::{Elapsed, Now, Wall},
};
use vigie_decide::{alert::Source, sender_alert::GOOD_FOR_DEFAULT_MS};

use super::desk::Desk;

/// Longest query, in bytes: a dozen matchers.
const QUERY_LEN_MAX: usize = 4 * 1024;

/// How much a compiled pattern may take, in bytes: some hundred characters of any kind.
const PATTERN_SIZE_MAX: usize = 64 * 1024;

/// Facts of a sender's alert that are not labels of it.
const ADDED: [&str; 2] = ["name", "sender"];

/// Which alerts are asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    active: bool,
    silenced: bool,
    inhibited: bool,
    receiver: Option<Regex>,
    matchers: Vec<Matcher>,
}

/// One condition on a label; one that is absent counts as empty.
#[derive(Debug)]
struct Matcher {
    name: String,
    is_negative: bool,
    value: Wish,
}

#[derive(Debug)]
enum Wish {
    Equal(String),
    Like(Regex),
}

impl Wanted {
    /// Reads the query of a URL, without its `?`. Unknown parameters are for another version and ask for nothing.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        if query.len() > QUERY_LEN_MAX {
            return Err(format!("the query is longer than {QUERY_LEN_MAX} bytes"));
        }
        let mut wanted = Self {
            active: true,
            silenced: true,
            inhibited: true,
            receiver: None,
            matchers: Vec::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescaped(value).ok_or_else(|| format!("{key} is not URL-encoded text"))?;
            let flag = || match value.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(format!("{key} is true or false")),
            };
            match key {
                "active" => wanted.active = flag()?,
                "silenced" => wanted.silenced = flag()?,
                "inhibited" => wanted.inhibited = flag()?,
                "receiver" => wanted.receiver = Some(pattern(&value)?),
                "filter" => wanted.matchers.push(Matcher::parse(&value)?),
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn covers(&self, labels: &Map<String, Value>, receivers: &[&str], quiet: &Quiet) -> bool {
        let is_suppressed = quiet.silenced_by.is_some() || quiet.inhibited_by.is_some();
        (self.active || is_suppressed)
            && (self.silenced || quiet.silenced_by.is_none())
            && (self.inhibited || quiet.inhibited_by.is_none())
            && self
                .receiver
                .as_ref()
                .is_none_or(|pattern| receivers.iter().any(|receiver| pattern.is_match(receiver)))
            && self.matchers.iter().all(|matcher| matcher.covers(labels))
    }
}

impl Matcher {
    /// Reads `name="value"`, with `=`, `!=`, `=~` or `!~`, the quotes being optional.
    fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is no matcher; write name=\"value\"");
        let at = text.find(['=', '!']).ok_or_else(malformed)?;
        let (name, rest) = text.split_at(at);
        let name = name.trim();
        // As there: the longer sign first.
        let (is_negative, is_pattern, value) = [
            ("=~", (false, true)),
            ("!~", (true, true)),
            ("!=", (true, false)),
            ("=", (false, false)),
        ]
        .into_iter()
        .find_map(|(sign, (is_negative, is_pattern))| {
            let value = rest.strip_prefix(sign)?;
            Some((is_negative, is_pattern, value.trim()))
        })
        .ok_or_else(malformed)?;
        let value = if value.starts_with('"') {
            unquoted(value).ok_or_else(malformed)?
        } else {
            value.to_owned()
        };
        if name.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            name: name.to_owned(),
            is_negative,
            value: if is_pattern {
                Wish::Like(pattern(&value)?)
            } else {
                Wish::Equal(value)
            },
        })
    }

    fn covers(&self, labels: &Map<String, Value>) -> bool {
        let value = labels.get(&self.name).and_then(Value::as_str);
        let value = value.unwrap_or_default();
        let is_met = match &self.value {
            Wish::Equal(wanted) => value == wanted,
            Wish::Like(pattern) => pattern.is_match(value),
        };
        is_met != self.is_negative
    }
}

/// A pattern that has to cover all of a text, as all of Prometheus' do.
fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(PATTERN_SIZE_MAX)
        .build()
        .map_err(|why| format!("{text:?} is no pattern: {why}"))
}

/// The text in quotes, with `\"`, `\\` and `\n` as in Go.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => match characters.next()? {
                'n' => plain.push('\n'),
                escaped @ ('"' | '\\') => plain.push(escaped),
                // What patterns are full of: `\.` is written as it is.
                other => plain.extend(['\\', other]),
            },
            other => plain.push(other),
        }
    }
    Some(plain)
}

/// `%41` and `+` of a query, as browsers and Go's clients write them.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// What keeps an alert quiet, if anything does.
struct Quiet {
    silenced_by: Option<String>,
    inhibited_by: Option<String>,
}

/// The alerts of `sender` that are open and wanted.
pub(super) fn alerts(
    snapshot: &Value,
    sender: &SenderName,
    desk: &Desk,
    wanted: &Wanted,
    now: Now,
) -> Vec<Value> {
    let node = Source::Sender(sender.clone()).as_node().into_owned();
    let open = snapshot["alerts"].as_array().map(Vec::as_slice);
    open.unwrap_or_default()
        .iter()
        .filter(|alert| alert["node"] == node.as_str())
        .filter_map(|alert| gettable(alert, desk, wanted, now))
        .collect()
}

fn gettable(alert: &Value, desk: &Desk, wanted: &Wanted, now: Now) -> Option<Value> {
    let word = |key: &str| alert[key].as_str();
    let labels = labels(&alert["facts"]);
    let told = alert["told"].as_array().map(Vec::as_slice);
    let receivers: Vec<&str> = told
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let number = |value: &Value| value.as_u64().map(|number| number.to_string());
    let window = || alert["muted"]["window"].as_str().map(str::to_owned);
    let quiet = Quiet {
        silenced_by: number(&alert["muted"]["mute"]).or_else(window),
        inhibited_by: number(&alert["folded_into"]),
    };
    if !wanted.covers(&labels, &receivers, &quiet) {
        return None;
    }
    let is_suppressed = quiet.silenced_by.is_some() || quiet.inhibited_by.is_some();
    let fingerprint = word("object").unwrap_or_default();
    let since = word("since").unwrap_or_default();
    // Both must be there. Without a word since the last start: as if it had been said when it began.
    let (updated_at, ends_at) = match desk.freshness(fingerprint) {
        Some(fresh) => (
            on_the_wall(fresh.heard, now).to_string(),
            on_the_wall(fresh.good_until, now),
        ),
        None => (since.to_owned(), now.wall.plus_ms(default_ms())),
    };
    Some(json!({
        "labels": labels,
        "annotations": {},
        "fingerprint": fingerprint,
        "startsAt": since,
        "updatedAt": updated_at,
        "endsAt": ends_at,
        "receivers": receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "status": {
            "state": if is_suppressed { "suppressed" } else { "active" },
            "silencedBy": quiet.silenced_by.into_iter().collect::<Vec<_>>(),
            "inhibitedBy": quiet.inhibited_by.into_iter().collect::<Vec<_>>(),
        },
    }))
}

/// The labels that are kept: the facts of such an alert, but for what vigie adds to them. A label of the same name as one
/// of these is not there.
fn labels(facts: &Value) -> Map<String, Value> {
    let mut labels = facts.as_object().cloned().unwrap_or_default();
    labels.retain(|name, value| !ADDED.contains(&name.as_str()) && value.is_string());
    labels
}

fn default_ms() -> i64 {
    i64::try_from(GOOD_FOR_DEFAULT_MS).unwrap_or(i64::MAX)
}

/// What the wall clock shows, or showed, at an elapsed instant, if nothing steps.
fn on_the_wall(at: Elapsed, now: Now) -> Wall {
    let (at, elapsed) = (i128::from(at.0), i128::from(now.elapsed.0));
    let away_ms = i64::try_from(at - elapsed).unwrap_or(0);
    now.wall.plus_ms(away_ms)
}

#[cfg(test)]
mod tests;
