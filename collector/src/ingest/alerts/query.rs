//! What a sender has open, in the form of Alertmanager's `gettableAlerts`, and the conditions that it may ask by.
//!
//! A view of the fleet says what is open, muted and folded; the sender's own words, as far as they are remembered, say how
//! fresh that is. Pure but for that memory.

use regex_lite::{Regex, RegexBuilder};
use serde::Serialize;
use serde_json::{Map, Value};
use vigie_core::{
    id::ReceiverName,
    time::{Elapsed, Now, Wall},
};
use vigie_decide::{
    sender_alert::GOOD_FOR_DEFAULT_MS,
    view::alert::{Alert, Quiet},
};

use super::desk::SenderAlerts;

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

    fn covers(
        &self,
        labels: &Map<String, Value>,
        receivers: &[ReceiverName],
        quiet: &Suppressed,
    ) -> bool {
        (self.active || quiet.is_any())
            && (self.silenced || quiet.silenced_by.is_none())
            && (self.inhibited || quiet.inhibited_by.is_none())
            && self.receiver.as_ref().is_none_or(|pattern| {
                let mut receivers = receivers.iter();
                receivers.any(|receiver| pattern.is_match(receiver.as_str()))
            })
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

/// What keeps an alert quiet, as Alertmanager has it.
struct Suppressed {
    silenced_by: Option<String>,
    inhibited_by: Option<String>,
}

impl Suppressed {
    fn of(alert: &Alert) -> Self {
        let mut suppressed = Self {
            silenced_by: None,
            inhibited_by: None,
        };
        for quiet in alert.quiet() {
            match quiet {
                Quiet::MutedBy(number) => suppressed.silenced_by = Some(number.to_string()),
                Quiet::InWindow(window) => suppressed.silenced_by = Some(window.to_string()),
                Quiet::PartOf(number) => suppressed.inhibited_by = Some(number.to_string()),
                // It has no word for these.
                Quiet::Acknowledged(_) | Quiet::HeldFor(_) => {}
            }
        }
        suppressed
    }

    const fn is_any(&self) -> bool {
        self.silenced_by.is_some() || self.inhibited_by.is_some()
    }
}

/// One alert, in the form's own names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gettable {
    annotations: Map<String, Value>,
    ends_at: Wall,
    fingerprint: String,
    labels: Map<String, Value>,
    receivers: Vec<Named>,
    starts_at: Wall,
    status: Standing,
    updated_at: Wall,
}

#[derive(Debug, Serialize)]
struct Named {
    name: ReceiverName,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    inhibited_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// Those of a sender's open alerts that are wanted.
pub(super) fn alerts(
    open: Vec<Alert>,
    desk: &SenderAlerts,
    wanted: &Wanted,
    now: Now,
) -> Vec<Gettable> {
    open.into_iter()
        .filter_map(|alert| gettable(alert, desk, wanted, now))
        .collect()
}

fn gettable(alert: Alert, desk: &SenderAlerts, wanted: &Wanted, now: Now) -> Option<Gettable> {
    let suppressed = Suppressed::of(&alert);
    let labels = labels(alert.facts);
    if !wanted.covers(&labels, &alert.told, &suppressed) {
        return None;
    }
    let fingerprint = alert.key.object().into_owned();
    // Both must be there. Without a word since the last start: as if it had been said when it began.
    let (updated_at, ends_at) = match desk.freshness(&fingerprint) {
        Some(fresh) => (
            on_the_wall(fresh.heard, now),
            on_the_wall(fresh.good_until, now),
        ),
        None => (alert.since, now.wall.plus_ms(default_ms())),
    };
    let receivers = alert.told.into_iter();
    Some(Gettable {
        labels,
        annotations: Map::new(),
        fingerprint,
        starts_at: alert.since,
        updated_at,
        ends_at,
        receivers: receivers.map(|name| Named { name }).collect(),
        status: Standing {
            state: if suppressed.is_any() {
                "suppressed"
            } else {
                "active"
            },
            silenced_by: suppressed.silenced_by.into_iter().collect(),
            inhibited_by: suppressed.inhibited_by.into_iter().collect(),
        },
    })
}

/// The labels that are kept: the facts of such an alert, but for what vigie adds to them. A label of the same name as one
/// of these is not there.
fn labels(mut labels: Map<String, Value>) -> Map<String, Value> {
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
