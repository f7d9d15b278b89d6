//! Turns a reason and its facts into one short sentence, in French or English.
//!
//! Only the collector does this: agents send codes and typed facts, so a hostile node chooses values but never words.
//! What it chooses is checked against the reason's declared types, stripped of control, escape and direction-changing
//! characters, and bounded, before it stands in a sentence.
//!
//! **The messages** are Fluent resources beside each family's codes. A message's id is the code with `.` and `_`
//! written `-` (`http.body_missing` is `http-body-missing`). Its arguments are the facts under their own keys:
//!
//! | fact | argument |
//! |---|---|
//! | integer ending in `_ms` | text: `850 ms`, `1,5 s`, `2 min 5 s`, `3 j 4 h` |
//! | integer ending in `_permille` | text: `95,3 %`, `95.3%` |
//! | integer ending in `_milli` | text: `3,75`, `3.75` |
//! | integer ending in `_bytes` | text: `1,2 Go`, `1.2 GB` (powers of 1,000) |
//! | any other integer | number, so that a message can select on its plural |
//! | time | text: `22/11/2026 19:04 UTC`, `2026-11-22 19:04 UTC`; in the reader's zone without its name |
//! | digest | its first 12 digits |
//! | list | the first [`LIST_LEN_MAX`], then how many more |
//! | missing, or of the wrong type | `?` |
//!
//! For each declared fact `x` there is also `with_x`, `yes` or `no`, for facts that a reason may lack; an empty list
//! counts as lacking. The sentences use plain spaces and apostrophes: they also travel in text messages, whose
//! alphabet (GSM 03.38) has no others and where one foreign character halves the room.

use std::{borrow::Cow, fmt::Write as _, sync::OnceLock};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unic_langid::LanguageIdentifier;

use super::{FactType, Reason};
use crate::{
    status::{Family, Status},
    time::Wall,
};

/// How many items of a list stand in a sentence: more would not be read at 03:00, and the page has them all.
pub const LIST_LEN_MAX: usize = 20;

/// How many characters of one name stand in a sentence; the longest object (255 bytes) fits.
pub const TEXT_LEN_MAX: usize = 255;

/// How many characters of a code that this version does not know are repeated.
const CODE_LEN_MAX: usize = 64;

/// How many digits of a digest stand in a sentence: enough to tell two apart, and to search for.
const DIGEST_LEN_SHOWN: usize = 12;

/// What stands where a fact is missing.
const MISSING: &str = "?";

const SOURCES: [(Language, &[&str]); 2] = [
    (
        Language::French,
        &[
            include_str!("availability.fr.ftl"),
            include_str!("host.fr.ftl"),
            include_str!("vigie.fr.ftl"),
        ],
    ),
    (
        Language::English,
        &[
            include_str!("availability.en.ftl"),
            include_str!("host.en.ftl"),
            include_str!("vigie.en.ftl"),
        ],
    ),
];

/// The languages that vigie speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Language {
    /// French.
    #[default]
    #[serde(rename = "fr")]
    French,
    /// English.
    #[serde(rename = "en")]
    English,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::French, Self::English];

    /// The code used in settings (ISO 639-1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::French => "fr",
            Self::English => "en",
        }
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no language that vigie speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("one of fr, en")]
pub struct NotALanguage;

impl std::str::FromStr for Language {
    type Err = NotALanguage;

    fn from_str(text: &str) -> Result<Self, NotALanguage> {
        Self::ALL
            .into_iter()
            .find(|language| language.as_str() == text)
            .ok_or(NotALanguage)
    }
}

/// Says `reason` and its `facts` in words, without a capital or a full stop, as one line of plain text.
///
/// Never fails: a missing fact or one of the wrong type is shown as `?`, and a code that this version does not know
/// (a newer agent's) gives a sentence that names it.
#[must_use]
pub fn render(language: Language, reason: &str, facts: &Map<String, Value>) -> String {
    render_in(language, None, reason, facts)
}

/// As [`render`], with times told in `zone`, which the text around it names; `None`: in UTC, which is said.
#[must_use]
pub fn render_in(
    language: Language,
    zone: Option<&TimeZone>,
    reason: &str,
    facts: &Map<String, Value>,
) -> String {
    let known = Reason::find(reason);
    known
        .and_then(|known| render_known(language, zone, known, facts))
        .unwrap_or_else(|| unknown(language, reason))
}

/// A status in words, without a family that would tell which; never in the words of criticality.
#[must_use]
pub const fn status(language: Language, status: Status) -> &'static str {
    match (language, status) {
        (Language::French, Status::Ok) => "bon",
        (Language::French, Status::Warning) => "attention",
        (Language::French, Status::Critical) => "en défaut",
        (Language::French, Status::Unknown) => "inconnu",
        (Language::English, Status::Ok) => "ok",
        (Language::English, Status::Warning) => "warning",
        (Language::English, Status::Critical) => "failing",
        (Language::English, Status::Unknown) => "unknown",
    }
}

/// A family in words.
#[must_use]
pub const fn family(language: Language, family: Family) -> &'static str {
    match (language, family) {
        (Language::French, Family::Host) => "machine",
        (Language::French, Family::Availability) => "disponibilité",
        (Language::French, Family::Tls) => "TLS",
        (Language::French, Family::Backup) => "sauvegarde",
        (Language::French, Family::Integrity) => "intégrité",
        (Language::English, Family::Host) => "host",
        (Language::English, Family::Availability) => "availability",
        (Language::English, Family::Tls) => "TLS",
        (Language::English, Family::Backup) => "backup",
        (Language::English, Family::Integrity) => "integrity",
        (Language::French | Language::English, Family::Vigie) => "vigie",
    }
}

/// `text` without anything that could act on a terminal, a mail or a reader's eye: control characters, whole ANSI
/// escape sequences, invisible and direction-changing characters (CVE-2021-42574). At most `len_max` characters, the
/// last of them `…` when some were cut.
#[must_use]
pub fn sanitised(text: &str, len_max: usize) -> String {
    let mut kept = String::new();
    let mut kept_len = 0;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            _ if character.is_control() || is_invisible(character) => {}
            _ if kept_len == len_max => {
                kept.pop();
                kept.push('…');
                break;
            }
            _ => {
                kept.push(character);
                kept_len += 1;
            }
        }
    }
    kept
}

/// A length of time in its two greatest units.
fn duration(language: Language, duration_ms: i64) -> String {
    const SECOND_MS: u64 = 1_000;
    const MINUTE_MS: u64 = 60 * SECOND_MS;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    const DAY_MS: u64 = 24 * HOUR_MS;

    let day = match language {
        Language::French => "j",
        Language::English => "d",
    };
    let two = |all: u64, (great_ms, great): (u64, &str), (small_ms, small): (u64, &str)| {
        let small_count = all % great_ms / small_ms;
        let mut text = format!("{} {great}", all / great_ms);
        if small_count > 0 {
            let _infallible = write!(text, " {small_count} {small}");
        }
        text
    };
    let all = duration_ms.unsigned_abs();
    let text = match all {
        0..SECOND_MS => format!("{all} ms"),
        SECOND_MS..10_000 => format!("{} s", decimal(language, all / 100, 1)),
        10_000..MINUTE_MS => format!("{} s", all / SECOND_MS),
        MINUTE_MS..HOUR_MS => two(all, (MINUTE_MS, "min"), (SECOND_MS, "s")),
        HOUR_MS..DAY_MS => two(all, (HOUR_MS, "h"), (MINUTE_MS, "min")),
        DAY_MS.. => two(all, (DAY_MS, day), (HOUR_MS, "h")),
    };
    signed(duration_ms, text)
}

/// A share of a whole.
fn permille(language: Language, permille: i64) -> String {
    let number = decimal(language, permille.unsigned_abs(), 1);
    let text = match language {
        Language::French => format!("{number} %"),
        Language::English => format!("{number}%"),
    };
    signed(permille, text)
}

/// A number counted in thousandths, with at most two decimals, as load averages are shown everywhere.
fn milli(language: Language, milli: i64) -> String {
    signed(milli, decimal(language, (milli.unsigned_abs() + 5) / 10, 2))
}

/// A size in powers of 1,000, which is what the SI prefixes mean.
fn bytes(language: Language, bytes: i64) -> String {
    let (plain, units) = match language {
        Language::French => ("octets", ["ko", "Mo", "Go", "To", "Po"]),
        Language::English => ("bytes", ["kB", "MB", "GB", "TB", "PB"]),
    };
    let all = bytes.unsigned_abs();
    if all < 1_000 {
        let plain = if all < 2 {
            plain.trim_end_matches('s')
        } else {
            plain
        };
        return signed(bytes, format!("{all} {plain}"));
    }
    let mut unit_bytes = 1_000;
    let mut unit = units[0];
    for larger in &units[1..] {
        if all / unit_bytes < 1_000 {
            break;
        }
        unit_bytes *= 1_000;
        unit = larger;
    }
    // Cut, not rounded: room left is never shown as more than there is.
    let number = if all / unit_bytes < 100 {
        decimal(language, all / (unit_bytes / 10), 1)
    } else {
        (all / unit_bytes).to_string()
    };
    signed(bytes, format!("{number} {unit}"))
}

/// Civil time to the minute: in UTC, the one zone that everybody on the same incident shares, or in `zone`, which the text
/// around it names. In the hour that a zone has twice the offset is said. `None` for an instant that no calendar has.
#[must_use]
pub fn time(language: Language, zone: Option<&TimeZone>, instant: Wall) -> Option<String> {
    let format = match language {
        Language::French => "%d/%m/%Y %H:%M",
        Language::English => "%Y-%m-%d %H:%M",
    };
    let instant = jiff::Timestamp::from_millisecond(instant.0).ok()?;
    let Some(zone) = zone else {
        return Some(format!("{} UTC", instant.strftime(format)));
    };
    let zoned = instant.to_zoned(zone.clone());
    let mut text = zoned.strftime(format).to_string();
    if is_shown_twice(&zoned) {
        let _infallible = write!(text, " ({})", offset(zoned.offset()));
    }
    Some(text)
}

/// Whether the clocks of its zone show its civil time twice, at the end of summer.
#[must_use]
pub fn is_shown_twice(zoned: &jiff::Zoned) -> bool {
    // An instant's own civil time is never in a gap, so what is ambiguous is a fold.
    zoned
        .time_zone()
        .to_ambiguous_timestamp(zoned.datetime())
        .is_ambiguous()
}

/// `UTC`, `UTC+1`, `UTC-3:30`.
#[must_use]
pub fn offset(offset: jiff::tz::Offset) -> String {
    let seconds = offset.seconds();
    let minutes = seconds.unsigned_abs() / 60;
    let sign = if seconds < 0 { '-' } else { '+' };
    match (minutes / 60, minutes % 60) {
        (0, 0) => "UTC".to_owned(),
        (hours, 0) => format!("UTC{sign}{hours}"),
        (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
    }
}

/// `scaled` / 10^`places`, without a useless zero behind the separator.
fn decimal(language: Language, scaled: u64, places: u32) -> String {
    let scale = 10_u64.pow(places);
    let (whole, fraction) = (scaled / scale, scaled % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let separator = match language {
        Language::French => ',',
        Language::English => '.',
    };
    let digits = format!("{fraction:0width$}", width = places as usize);
    format!("{whole}{separator}{}", digits.trim_end_matches('0'))
}

fn signed(number: i64, text: String) -> String {
    if number < 0 { format!("-{text}") } else { text }
}

/// After ESC: a control sequence, a string up to its terminator, or one more character (ECMA-48 §5.3 to §5.6).
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => skip_control_sequence(rest),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            // A string without an end swallows what follows: nothing of it was meant to be read.
            let mut last = ' ';
            for character in rest.by_ref() {
                if matches!(character, '\u{7}' | '\u{9c}') || (last, character) == ('\u{1b}', '\\')
                {
                    break;
                }
                last = character;
            }
        }
        _ => {}
    }
}

/// After CSI: parameters up to the final byte (ECMA-48 §5.4).
fn skip_control_sequence(rest: &mut std::str::Chars<'_>) {
    let _final_byte = rest.find(|character| matches!(character, '\u{40}'..='\u{7e}'));
}

/// Characters of the Unicode category Cf and the line separators: they show nothing and change what is around them.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

fn unknown(language: Language, code: &str) -> String {
    let code = sanitised(code, CODE_LEN_MAX);
    match language {
        Language::French => format!("motif « {code} », inconnu de cette version de vigie"),
        Language::English => format!("reason \"{code}\", unknown to this version of vigie"),
    }
}

/// `None` when the message itself is missing, which a test excludes.
fn render_known(
    language: Language,
    zone: Option<&TimeZone>,
    reason: Reason,
    facts: &Map<String, Value>,
) -> Option<String> {
    let bundle = bundle(language);
    let message = bundle.get_message(&message_id(reason))?;
    let arguments = arguments(language, zone, reason, facts);
    let mut errors = Vec::new();
    let text = bundle.format_pattern(message.value()?, Some(&arguments), &mut errors);
    debug_assert!(errors.is_empty(), "{language} {reason}: {errors:?}");
    Some(text.into_owned())
}

fn message_id(reason: Reason) -> String {
    reason.code().replace(['.', '_'], "-")
}

fn bundle(language: Language) -> &'static FluentBundle<FluentResource> {
    static FRENCH: OnceLock<FluentBundle<FluentResource>> = OnceLock::new();
    static ENGLISH: OnceLock<FluentBundle<FluentResource>> = OnceLock::new();

    let once = match language {
        Language::French => &FRENCH,
        Language::English => &ENGLISH,
    };
    once.get_or_init(|| {
        let locale: LanguageIdentifier = language.as_str().parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![locale]);
        // The isolation marks are characters that we strip from facts; in a text message they show as boxes.
        bundle.set_use_isolating(false);
        for text in SOURCES
            .iter()
            .filter(|(of, _)| *of == language)
            .flat_map(|(_, texts)| *texts)
        {
            // What is wrong in a resource is a fault of this build, shown by a test; the rest of it still serves.
            let resource =
                FluentResource::try_new((*text).to_owned()).unwrap_or_else(|(partial, _)| partial);
            bundle.add_resource_overriding(resource);
        }
        bundle
    })
}

fn arguments(
    language: Language,
    zone: Option<&TimeZone>,
    reason: Reason,
    facts: &Map<String, Value>,
) -> FluentArgs<'static> {
    let mut arguments = FluentArgs::new();
    for (key, fact_type) in reason.spec().facts {
        let value = facts
            .get(*key)
            .and_then(|value| argument(language, zone, key, *fact_type, value));
        let with = if value.is_some() { "yes" } else { "no" };
        arguments.set(*key, value.unwrap_or_else(|| MISSING.into()));
        arguments.set(format!("with_{key}"), with);
    }
    arguments
}

/// The argument for a fact, or `None` when the value is not of the declared type.
fn argument(
    language: Language,
    zone: Option<&TimeZone>,
    key: &str,
    fact_type: FactType,
    value: &Value,
) -> Option<FluentValue<'static>> {
    let text: Cow<'static, str> = match fact_type {
        FactType::Integer => return integer(language, key, value.as_i64()?),
        FactType::Integers => {
            list(value, |item| item.as_i64().map(|number| number.to_string()))?.into()
        }
        FactType::Word => word(value.as_str()?)?.into(),
        FactType::Time => time(language, zone, Wall::parse(value.as_str()?).ok()?)?.into(),
        FactType::CodePoint => code_point(value.as_str()?)?.into(),
        FactType::Digest => digest(value.as_str()?)?.into(),
        FactType::Name => name(value)?.into(),
        FactType::Names => list(value, name)?.into(),
    };
    Some(FluentValue::String(text))
}

fn integer(language: Language, key: &str, number: i64) -> Option<FluentValue<'static>> {
    let text = match key.rsplit_once('_').map(|(_, unit)| unit) {
        Some("ms") => duration(language, number),
        Some("permille") => permille(language, number),
        Some("milli") => milli(language, number),
        Some("bytes") => bytes(language, number),
        _ => return Some(number.into()),
    };
    Some(text.into())
}

fn list(value: &Value, item: impl Fn(&Value) -> Option<String>) -> Option<String> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    let mut shown: Vec<_> = items
        .iter()
        .take(LIST_LEN_MAX)
        .map(|value| item(value).unwrap_or_else(|| MISSING.to_owned()))
        .collect();
    let more = items.len().saturating_sub(LIST_LEN_MAX);
    if more > 0 {
        shown.push(format!("+{more}"));
    }
    Some(shown.join(", "))
}

/// A word of our closed lists, or of a newer agent's: never more than one word.
fn word(text: &str) -> Option<String> {
    let is_word = (1..=CODE_LEN_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    is_word.then(|| text.to_owned())
}

fn code_point(text: &str) -> Option<String> {
    let digits = text.strip_prefix("U+")?;
    let is_hexadecimal =
        (4..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal.then(|| text.to_owned())
}

fn digest(text: &str) -> Option<String> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| format!("{}…", &text[..DIGEST_LEN_SHOWN]))
}

fn name(value: &Value) -> Option<String> {
    let name = sanitised(value.as_str()?, TEXT_LEN_MAX);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
