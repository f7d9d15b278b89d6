//! One alert of another program, as it is posted to Alertmanager's API v2, read and turned into ours.
//!
//! Format (`postableAlert` of Alertmanager's openapi.yaml): `{"labels": {name: text, …}, "startsAt": time?, "endsAt":
//! time?, "annotations": …, "generatorURL": …}`, times in RFC 3339, Go's zero time (year 1) for none. Whoever sends
//! repeats what is firing, each time with a later `endsAt`; one that is over has an `endsAt` that has come.
//!
//! What is read is as little as decides: annotations are prose about people's systems, are not needed and are not kept.
//! Doubt raises: an alert that names no severity, or one that we do not know, is critical; labels too many or too long
//! are cut and refuse nothing; and one whose end keeps moving while it is said to be over is not over, its sender's
//! clock is slow ([`Posted::judged`]).
//!
//! What was written down of an alert is [`Written`], so that a repeat that says nothing new writes no line.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};

use crate::fleet::event::SenderAlert;
use vigie_core::{
    digest::{Digest, to_hex},
    id::{NAME_LEN_MAX, ServiceName, is_configured_name},
    reason::message::{TEXT_LEN_MAX, sanitised},
    status::Status,
    time::{Elapsed, Wall},
};

/// Where alerts are posted and read: where every Alertmanager has it.
pub const ALERTS_PATH: &str = "/api/v2/alerts";

/// How many labels of an alert are kept. Real ones have about ten.
pub const LABELS_MAX: usize = 64;

/// How much of all names and values is kept, in bytes: it goes into the log, into messages and onto phones.
pub const LABELS_LEN_MAX: usize = 4 * 1024;

/// Without `endsAt` an alert is good for this long, in milliseconds: Alertmanager's default `resolve_timeout`.
pub const GOOD_FOR_DEFAULT_MS: u64 = 5 * 60_000;

/// An alert is good for no less than this, in milliseconds: repeats come every minute.
pub const GOOD_FOR_MIN_MS: u64 = 60_000;

/// And for no more than this: what nobody repeats for a day is no longer known.
pub const GOOD_FOR_MAX_MS: u64 = 24 * 3_600_000;

/// A repeat is written down after this long even if it says nothing new, in milliseconds. Since then an operator may have
/// ended the alert, or its sender have left and come back.
pub const WRITTEN_AGAIN_AFTER_MS: u64 = 10 * 60_000;

/// How many bytes of the digest of its labels an alert is known by (there a hash of 64 bits).
const FINGERPRINT_LEN: usize = 8;

/// What ends a name or a value where labels are hashed: no byte of UTF-8 text.
const END: &[u8] = &[0xff];

/// Kept before all others, should there be too many.
const LABELS_FIRST: [&str; 3] = ["alertname", "severity", "service"];

/// The name of an alert that has none.
const NAMELESS: &str = "alert";

/// Severities that wake nobody by themselves. Every other one is critical, also one that nobody has heard of.
const QUIET_SEVERITIES: [&str; 12] = [
    "warning",
    "warn",
    "minor",
    "info",
    "information",
    "informational",
    "notice",
    "low",
    "debug",
    "ok",
    "none",
    "p5",
];

/// When an alert began and when it ends, as its sender says; `None` where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// `startsAt`.
    pub starts_at: Option<Wall>,
    /// `endsAt`.
    pub ends_at: Option<Wall>,
}

/// One posted alert, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Its labels, but for empty ones, which are as good as absent there. At least one.
    pub labels: BTreeMap<String, String>,
    /// From when until when.
    pub span: Span,
}

/// Why something posted is no alert.
#[derive(Debug, thiserror::Error)]
pub enum NotAnAlert {
    /// It has another form. The source says where.
    #[error(
        "not an alert such as {{\"labels\": {{\"alertname\": \"…\"}}}}, with texts as labels and times in RFC 3339"
    )]
    Form {
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Nothing tells it from another.
    #[error("labels: none has a value; give it at least an alertname")]
    NoLabels,
    /// It ends before it begins.
    #[error("endsAt {ends_at} is before startsAt {starts_at}; leave endsAt out while it lasts")]
    EndsBeforeItStarts {
        /// `startsAt`.
        starts_at: Wall,
        /// `endsAt`.
        ends_at: Wall,
    },
}

impl Posted {
    /// Reads one element of the array that is posted.
    ///
    /// # Errors
    /// When it is no alert.
    pub fn read(json: &str) -> Result<Self, NotAnAlert> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            labels: Labels,
            #[serde(default)]
            starts_at: Time,
            #[serde(default)]
            ends_at: Time,
        }
        let form: Form =
            serde_json::from_str(json).map_err(|source| NotAnAlert::Form { source })?;
        let Labels(labels) = form.labels;
        if labels.is_empty() {
            return Err(NotAnAlert::NoLabels);
        }
        let (Time(starts_at), Time(ends_at)) = (form.starts_at, form.ends_at);
        if let (Some(starts_at), Some(ends_at)) = (starts_at, ends_at)
            && ends_at < starts_at
        {
            return Err(NotAnAlert::EndsBeforeItStarts { starts_at, ends_at });
        }
        Ok(Self {
            labels,
            span: Span { starts_at, ends_at },
        })
    }

    /// What tells it from all others of its sender, in 16 hexadecimal digits: a digest of all its labels, in any order.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut parts = Vec::with_capacity(self.labels.len() * 4);
        for (name, value) in &self.labels {
            parts.extend([name.as_bytes(), END, value.as_bytes(), END]);
        }
        to_hex(&Digest::of_parts(&parts).0[..FINGERPRINT_LEN])
    }

    /// What its sender says by it, now. `before` is what it posted of the same alert the last time, where that is
    /// remembered.
    ///
    /// One that is over keeps its end, however often that is repeated. One that lasts gets a later end each time, and a
    /// sender whose clock is minutes slow would have all of these in our past: then it has been said to be over twice,
    /// from the same start and with different ends, and is taken as lasting.
    #[must_use]
    pub fn judged(&self, now: Wall, before: Option<Span>) -> SenderAlert {
        let good_for_ms = match self.span.ends_at {
            None => Some(GOOD_FOR_DEFAULT_MS),
            Some(ends_at) if ends_at > now => Some(
                ends_at
                    .0
                    .abs_diff(now.0)
                    .clamp(GOOD_FOR_MIN_MS, GOOD_FOR_MAX_MS),
            ),
            Some(_) if before.is_some_and(|before| self.span.moved_on_from(before)) => {
                Some(GOOD_FOR_DEFAULT_MS)
            }
            Some(_) => None,
        };
        let label = |name: &str| self.labels.get(name).map(String::as_str);
        SenderAlert {
            fingerprint: self.fingerprint(),
            name: name(label("alertname").unwrap_or_default()),
            status: match good_for_ms {
                Some(_) => status(label("severity")),
                None => Status::Ok,
            },
            service: label("service").and_then(|service| service.parse::<ServiceName>().ok()),
            labels: self.labels_kept(),
            since: self.span.starts_at.map_or(now, |at| at.min(now)),
            good_for_ms: good_for_ms.unwrap_or(0),
        }
    }

    /// Labels that may be shown: named as Prometheus has always allowed it, not internal ones (`__…`), and free of what
    /// acts on a terminal.
    fn labels_kept(&self) -> BTreeMap<String, String> {
        let first = LABELS_FIRST
            .iter()
            .filter_map(|name| self.labels.get_key_value(*name));
        let others = self
            .labels
            .iter()
            .filter(|(name, _)| !LABELS_FIRST.contains(&name.as_str()));
        let mut kept = BTreeMap::new();
        let mut len = 0;
        for (name, value) in first.chain(others) {
            if !is_label_name(name) || kept.len() == LABELS_MAX {
                continue;
            }
            let value = sanitised(value, TEXT_LEN_MAX);
            if !value.is_empty() && len + name.len() + value.len() <= LABELS_LEN_MAX {
                len += name.len() + value.len();
                kept.insert(name.clone(), value);
            }
        }
        kept
    }
}

impl Span {
    /// Whether it is the same outbreak as `before`, and ends later.
    fn moved_on_from(self, before: Self) -> bool {
        self.starts_at.is_some()
            && self.starts_at == before.starts_at
            && before.ends_at.is_some()
            && self.ends_at > before.ends_at
    }
}

/// How an alert of a sender stands that lasts, by its label `severity`.
fn status(severity: Option<&str>) -> Status {
    let severity = severity.unwrap_or_default().trim().to_ascii_lowercase();
    if QUIET_SEVERITIES.contains(&severity.as_str()) {
        Status::Warning
    } else {
        Status::Critical
    }
}

/// The configured name that is nearest to `text`: small letters, and `-` for whatever it may not have.
fn name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|character| character.to_ascii_lowercase())
        .map(|character| match character {
            'a'..='z' | '0'..='9' | '.' | '_' | '-' => character,
            _ => '-',
        })
        .skip_while(|character| !character.is_ascii_alphanumeric())
        .take(NAME_LEN_MAX)
        .collect();
    if is_configured_name(&name) {
        name
    } else {
        NAMELESS.to_owned()
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, as in Prometheus before there were quoted names, of at most 63 bytes, without `__` in front.
fn is_label_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.len() <= NAME_LEN_MAX
        && !name.starts_with("__")
        && name.bytes().next().is_some_and(is_letter)
        && name
            .bytes()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// What is in the log of one alert of a sender, as far as repeats are measured against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    status: Status,
    service: Option<ServiceName>,
    starts_at: Option<Wall>,
    at: Elapsed,
    good_until: Elapsed,
}

impl Written {
    /// `said` was written down at `now`, from what was posted with this span.
    #[must_use]
    pub fn new(said: &SenderAlert, span: Span, now: Elapsed) -> Self {
        Self {
            status: said.status,
            service: said.service.clone(),
            starts_at: span.starts_at,
            at: now,
            good_until: now.plus_ms(said.good_for_ms),
        }
    }

    /// Whether `said` says nothing that is not in the log: it stands the same, for about as long as was written. A repeat
    /// is written down once less than half of what it promises is left of what the last one promised, so that one or two
    /// lost repeats do no harm.
    #[must_use]
    pub fn covers(&self, said: &SenderAlert, span: Span, now: Elapsed) -> bool {
        let left_ms = self.good_until.since_ms(now);
        self.status == said.status
            && self.service == said.service
            && self.starts_at == span.starts_at
            && now.since_ms(self.at) < WRITTEN_AGAIN_AFTER_MS
            && left_ms >= said.good_for_ms / 2
            && left_ms <= said.good_for_ms.saturating_mul(2)
    }

    /// Whether it was about an alert that lasts.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.status != Status::Ok
    }

    /// Until when it is good.
    #[must_use]
    pub const fn good_until(&self) -> Elapsed {
        self.good_until
    }
}

/// Labels as they are posted, without empty ones.
struct Labels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels: an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    match map.next_value::<Text>()? {
                        Text::Is(value) if value.is_empty() => {}
                        Text::Is(value) => {
                            labels.insert(name, value);
                        }
                        Text::IsNot(_) => {
                            let name = sanitised(&name, NAME_LEN_MAX);
                            return Err(de::Error::custom(format_args!(
                                "labels.{name} is not a text"
                            )));
                        }
                    }
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Is(String),
    IsNot(IgnoredAny),
}

/// An instant that may be absent: not there, null, or Go's zero time. No alert began or ended before 1970 either.
#[derive(Default)]
struct Time(Option<Wall>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self(None));
        };
        let at = Wall::parse(&text).map_err(|_| {
            let text = sanitised(&text, NAME_LEN_MAX);
            de::Error::custom(format_args!("{text:?} is not a time"))
        })?;
        Ok(Self((at > Wall(0)).then_some(at)))
    }
}

#[cfg(test)]
mod tests;
