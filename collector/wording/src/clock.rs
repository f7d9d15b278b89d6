//! Civil times as a reader says them: in their zone, with the day when it is not today's.

use jiff::{Zoned, tz::TimeZone};

use vigie_core::{
    reason::message::{self, Language},
    time::Wall,
};

/// What stands where no calendar has the instant.
const NEVER: &str = "?";

/// French months, as they are written within a sentence.
const FRENCH_MONTHS: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];

/// Tells times to one reader at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock<'a> {
    /// Words and order of day and month.
    pub(super) language: Language,
    /// The reader's zone; `None`: UTC, which is then said with every time.
    pub(super) zone: Option<&'a TimeZone>,
    /// What counts as today: when the message is read, as far as that is known.
    pub(super) today: Wall,
}

impl<'a> Clock<'a> {
    /// `depuis 20:04`, `depuis le 22/11 à 20:04`.
    pub(super) fn since(self, instant: Wall) -> String {
        let (day, time) = self.parts(instant);
        match (self.language, day) {
            (Language::French, None) => format!("depuis {time}"),
            (Language::French, Some(day)) => format!("depuis le {day} à {time}"),
            (Language::English, None) => format!("since {time}"),
            (Language::English, Some(day)) => format!("since {day} {time}"),
        }
    }

    /// `à 20:04`, `le 22/11 à 20:04`.
    pub(super) fn at(self, instant: Wall) -> String {
        let (day, time) = self.parts(instant);
        match (self.language, day) {
            (Language::French, None) => format!("à {time}"),
            (Language::French, Some(day)) => format!("le {day} à {time}"),
            (Language::English, None) => format!("at {time}"),
            (Language::English, Some(day)) => format!("on {day} at {time}"),
        }
    }

    /// `jusqu'à 20:04`, `jusqu'au 22/11 à 20:04`.
    pub(super) fn until(self, instant: Wall) -> String {
        let (day, time) = self.parts(instant);
        match (self.language, day) {
            (Language::French, None) => format!("jusqu'à {time}"),
            (Language::French, Some(day)) => format!("jusqu'au {day} à {time}"),
            (Language::English, None) => format!("until {time}"),
            (Language::English, Some(day)) => format!("until {day} {time}"),
        }
    }

    /// `de 20:04 à 20:05`, `du 21/11 à 23:50 au 22/11 à 00:10`: days are said when either is not today.
    pub(super) fn span(self, from: Wall, to: Wall) -> String {
        let of_today = [from, to].map(|instant| self.parts(instant));
        if let [(None, from), (None, to)] = &of_today {
            return match self.language {
                Language::French => format!("de {from} à {to}"),
                Language::English => format!("from {from} to {to}"),
            };
        }
        let [from, to] = [from, to].map(|instant| {
            let (day, time) = self.day_and_time(instant);
            match self.language {
                Language::French => format!("{day} à {time}"),
                Language::English => format!("{day} {time}"),
            }
        });
        match self.language {
            Language::French => format!("du {from} au {to}"),
            Language::English => format!("from {from} to {to}"),
        }
    }

    /// Day and time in full, as a table has them.
    pub(super) fn full(self, instant: Wall) -> String {
        message::time(self.language, self.zone, instant).unwrap_or_else(|| NEVER.to_owned())
    }

    /// `23 novembre`, `1er décembre`, `23 November`.
    pub(super) fn date(self, instant: Wall) -> String {
        let Some(zoned) = self.zoned(instant) else {
            return NEVER.to_owned();
        };
        match self.language {
            Language::English => zoned.strftime("%-d %B").to_string(),
            Language::French => {
                let month = usize::try_from(zoned.month() - 1)
                    .ok()
                    .and_then(|index| FRENCH_MONTHS.get(index))
                    .unwrap_or(&NEVER);
                let first = if zoned.day() == 1 { "er" } else { "" };
                format!("{}{first} {month}", zoned.day())
            }
        }
    }

    /// Whether the reader's day has not reached noon.
    pub(super) fn is_morning(self, instant: Wall) -> bool {
        self.zoned(instant).is_some_and(|zoned| zoned.hour() < 12)
    }

    /// In which zone times are told, to be said once in a body; `None` where each says so itself.
    pub(super) fn zone_line(self) -> Option<String> {
        let name = self.zone?.iana_name();
        let offset = message::offset(self.zoned(self.today)?.offset());
        let zone = match name {
            Some(name) => format!("{name} ({offset})"),
            None => offset,
        };
        Some(match self.language {
            Language::French => format!("Heures : {zone}."),
            Language::English => format!("Times: {zone}."),
        })
    }

    fn zoned(self, instant: Wall) -> Option<Zoned> {
        let zone = self.zone.cloned().unwrap_or(TimeZone::UTC);
        let instant = jiff::Timestamp::from_millisecond(instant.0).ok()?;
        Some(instant.to_zoned(zone))
    }

    /// The day where it is not today, and the time.
    fn parts(self, instant: Wall) -> (Option<String>, String) {
        let (day, time) = self.day_and_time(instant);
        let (instant, today) = (self.zoned(instant), self.zoned(self.today));
        let is_today = match (instant, today) {
            (Some(instant), Some(today)) => instant.date() == today.date(),
            (None, _) => true,
            (Some(_), None) => false,
        };
        ((!is_today).then_some(day), time)
    }

    fn day_and_time(self, instant: Wall) -> (String, String) {
        let Some(zoned) = self.zoned(instant) else {
            return (NEVER.to_owned(), NEVER.to_owned());
        };
        let is_this_year = self
            .zoned(self.today)
            .is_some_and(|today| today.year() == zoned.year());
        let format = match (self.language, is_this_year) {
            (Language::French, true) => "%d/%m",
            (Language::French, false) => "%d/%m/%Y",
            (Language::English, true) => "%-d %b",
            (Language::English, false) => "%-d %b %Y",
        };
        let mut time = zoned.strftime("%H:%M").to_string();
        if self.zone.is_none() {
            time.push_str(" UTC");
        } else if message::is_shown_twice(&zoned) {
            time.push_str(&format!(" ({})", message::offset(zoned.offset())));
        }
        (zoned.strftime(format).to_string(), time)
    }
}

#[cfg(test)]
mod tests;
