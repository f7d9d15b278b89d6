//! Times as operators write them: an instant, or a civil time in the zone of the settings. What the clock skips or shows
//! twice is decided here, and said.

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use vigie_core::{
    reason::message::{self, Language},
    time::Wall,
};
use vigie_decide::routing::Policy;

/// The zone that civil times are of, by name. `None`: the settings name none.
pub(in crate::commands) type Zone<'g> = Option<(&'g str, &'g TimeZone)>;

/// An instant that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Instant {
    pub(in crate::commands) at: Wall,
    pub(in crate::commands) note: Option<Note>,
}

/// Why a civil time is not simply an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Note {
    /// No clock shows it; the end of the gap is meant, at which it shows this.
    Skipped { shown: DateTime },
    /// The clock shows it twice; the first is meant, and the other has this offset.
    Twice { first: Offset, second: Offset },
}

/// The text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time; write \"2026-12-25 03:00\" or \"2026-12-25T02:00:00Z\"")]
pub(in crate::commands) struct NotATime(String);

/// The zone of the first calendar by name, else of the first rota, else whichever the settings name at all.
pub(in crate::commands) fn zone_of(policy: &Policy) -> Zone<'_> {
    let rules = &policy.rules;
    let calendars = rules.calendars.values().map(|calendar| &calendar.time_zone);
    let rotas = rules.rotas.values().map(|rota| &rota.handoff.time_zone);
    let mut named = calendars.chain(rotas);
    let found = named.find_map(|name| Some((name.as_str(), policy.zones.find(name)?)));
    found.or_else(|| policy.zones.first())
}

/// Reads RFC 3339, or a civil time of `zone`, of UTC without one.
pub(in crate::commands) fn read(text: &str, zone: Zone<'_>) -> Result<Instant, NotATime> {
    let text = text.trim();
    if let Ok(at) = Wall::parse(text) {
        return Ok(Instant { at, note: None });
    }
    // A date alone would read as midnight, which is hardly what is meant of a night.
    let is_civil = text.len() >= "2026-12-25 03:00".len()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-: T".contains(&byte));
    let civil: Option<DateTime> = is_civil.then(|| text.parse().ok()).flatten();
    let wrong = || NotATime(text.to_owned());
    let civil = civil.ok_or_else(wrong)?;
    let zone = zone.map_or(TimeZone::UTC, |(_, zone)| zone.clone());
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let first = ambiguous.compatible().map_err(|_| wrong())?;
    let (at, note) = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => (first, None),
        AmbiguousOffset::Fold { before, after } => {
            let note = Note::Twice {
                first: before,
                second: after,
            };
            (first, Some(note))
        }
        AmbiguousOffset::Gap { .. } => {
            let earlier = ambiguous.earlier().map_err(|_| wrong())?;
            let change = zone.following(earlier).next();
            let at = change.map_or(first, |change| change.timestamp());
            let shown = zone.to_datetime(at);
            (at, Some(Note::Skipped { shown }))
        }
    };
    Ok(Instant {
        at: Wall(at.as_millisecond()),
        note,
    })
}

impl Note {
    /// The note in words.
    pub(in crate::commands) fn words(&self, language: Language) -> String {
        match (self, language) {
            (Self::Skipped { shown }, Language::French) => format!(
                "aucune horloge ne montre cette heure ; comptée comme {}, fin du saut",
                shown.strftime("%H:%M")
            ),
            (Self::Skipped { shown }, Language::English) => format!(
                "no clock shows this time; counted as {}, the end of the gap",
                shown.strftime("%H:%M")
            ),
            (Self::Twice { first, second }, Language::French) => format!(
                "cette heure passe deux fois ; comptée comme la première ({}), la seconde s'écrit avec {second}",
                message::offset(*first)
            ),
            (Self::Twice { first, second }, Language::English) => format!(
                "this time comes twice; counted as the first ({}), the second is written with {second}",
                message::offset(*first)
            ),
        }
    }
}
