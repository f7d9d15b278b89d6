//! French public holidays: computed, never downloaded.
//!
//! The eleven days of Code du travail L3133-1, the two of Alsace and Moselle (L3134-13), and the day on which each
//! overseas territory remembers the abolition of slavery (Code du travail L3422-2; loi 83-550; décret 83-1003).
//! Good Friday is a setting of its own: it is a holiday only in communes with a Protestant or a mixed church, so it can
//! be read from no map. Whether an organisation closes on any of these days is its own to say; `opened` in a calendar
//! takes one back.

use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};

/// Days counted from Easter Sunday.
const GOOD_FRIDAY: i32 = -2;
const EASTER_MONDAY: i32 = 1;
const ASCENSION: i32 = 39;
const WHIT_MONDAY: i32 = 50;

/// Which days are public holidays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HolidaySet {
    /// Where.
    pub territory: Territory,
    /// 26 December, in Bas-Rhin, Haut-Rhin and Moselle.
    pub alsace_moselle: bool,
    /// Good Friday.
    pub good_friday: bool,
}

/// The part of France, as far as its holidays differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Territory {
    /// European France, and what has the same days: Nouvelle-Calédonie, Wallis-et-Futuna, Polynésie française and
    /// Saint-Pierre-et-Miquelon add days of local law, which a calendar names as `closed`.
    Metropole,
    /// Guadeloupe: 27 May.
    Guadeloupe,
    /// Guyane: 10 June.
    Guyane,
    /// Martinique: 22 May.
    Martinique,
    /// Mayotte: 27 April.
    Mayotte,
    /// La Réunion: 20 December.
    LaReunion,
    /// Saint-Barthélemy: 9 October.
    SaintBarthelemy,
    /// Saint-Martin: 28 May since 2018, 27 May before.
    SaintMartin,
}

/// One public holiday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holiday {
    /// 1 January.
    NewYear,
    /// Two days before Easter.
    GoodFriday,
    /// The day after Easter.
    EasterMonday,
    /// 1 May.
    LabourDay,
    /// 8 May.
    Victory,
    /// 39 days after Easter.
    Ascension,
    /// 50 days after Easter.
    WhitMonday,
    /// 14 July.
    NationalDay,
    /// 15 August.
    Assumption,
    /// 1 November.
    AllSaints,
    /// 11 November.
    Armistice,
    /// 25 December.
    Christmas,
    /// 26 December.
    SecondChristmasDay,
    /// The territory's own day.
    AbolitionOfSlavery,
}

impl Holiday {
    /// The word used in JSON and as the key of its message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewYear => "new_year",
            Self::GoodFriday => "good_friday",
            Self::EasterMonday => "easter_monday",
            Self::LabourDay => "labour_day",
            Self::Victory => "victory",
            Self::Ascension => "ascension",
            Self::WhitMonday => "whit_monday",
            Self::NationalDay => "national_day",
            Self::Assumption => "assumption",
            Self::AllSaints => "all_saints",
            Self::Armistice => "armistice",
            Self::Christmas => "christmas",
            Self::SecondChristmasDay => "second_christmas_day",
            Self::AbolitionOfSlavery => "abolition_of_slavery",
        }
    }
}

impl HolidaySet {
    /// The holiday on this day, if it is one. Where two fall on one day (Ascension on 1 May 2008), the movable one.
    #[must_use]
    pub fn on(&self, day: Date) -> Option<Holiday> {
        self.movable(day).or_else(|| self.fixed(day))
    }

    /// The first holiday from this day on; `None` only at the end of all years.
    #[must_use]
    pub fn next(&self, from: Date) -> Option<Date> {
        let mut day = from;
        while self.on(day).is_none() {
            day = day.tomorrow().ok()?;
        }
        Some(day)
    }

    fn movable(&self, day: Date) -> Option<Holiday> {
        // Easter is on 22 March at the earliest, and 50 days after its latest is 14 June.
        if !(3..=6).contains(&day.month()) {
            return None;
        }
        match day.day_of_year() as i32 - easter(day.year()).day_of_year() as i32 {
            GOOD_FRIDAY if self.good_friday => Some(Holiday::GoodFriday),
            EASTER_MONDAY => Some(Holiday::EasterMonday),
            ASCENSION => Some(Holiday::Ascension),
            WHIT_MONDAY => Some(Holiday::WhitMonday),
            _ => None,
        }
    }

    fn fixed(&self, day: Date) -> Option<Holiday> {
        match (day.month(), day.day()) {
            (1, 1) => Some(Holiday::NewYear),
            (5, 1) => Some(Holiday::LabourDay),
            (5, 8) => Some(Holiday::Victory),
            (7, 14) => Some(Holiday::NationalDay),
            (8, 15) => Some(Holiday::Assumption),
            (11, 1) => Some(Holiday::AllSaints),
            (11, 11) => Some(Holiday::Armistice),
            (12, 25) => Some(Holiday::Christmas),
            (12, 26) if self.alsace_moselle => Some(Holiday::SecondChristmasDay),
            month_day if self.territory.abolition(day.year()) == Some(month_day) => {
                Some(Holiday::AbolitionOfSlavery)
            }
            _ => None,
        }
    }
}

impl Territory {
    /// Every territory.
    pub const ALL: [Self; 8] = [
        Self::Metropole,
        Self::Guadeloupe,
        Self::Guyane,
        Self::Martinique,
        Self::Mayotte,
        Self::LaReunion,
        Self::SaintBarthelemy,
        Self::SaintMartin,
    ];

    /// The word used in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metropole => "metropole",
            Self::Guadeloupe => "guadeloupe",
            Self::Guyane => "guyane",
            Self::Martinique => "martinique",
            Self::Mayotte => "mayotte",
            Self::LaReunion => "la-reunion",
            Self::SaintBarthelemy => "saint-barthelemy",
            Self::SaintMartin => "saint-martin",
        }
    }

    const fn abolition(self, year: i16) -> Option<(i8, i8)> {
        match self {
            Self::Metropole => None,
            Self::Guadeloupe => Some((5, 27)),
            Self::Guyane => Some((6, 10)),
            Self::Martinique => Some((5, 22)),
            Self::Mayotte => Some((4, 27)),
            Self::LaReunion => Some((12, 20)),
            Self::SaintBarthelemy => Some((10, 9)),
            Self::SaintMartin if year >= 2018 => Some((5, 28)),
            Self::SaintMartin => Some((5, 27)),
        }
    }
}

/// Easter Sunday of a year in the Gregorian calendar: the anonymous algorithm (Meeus, *Astronomical Algorithms*, ch. 8).
#[must_use]
pub fn easter(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e) = (b / 4, b % 4);
    let f = (b + 8) / 25;
    let g = (b - f + 1) / 3;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let (month, day) = ((h + l - 7 * m + 114) / 31, (h + l - 7 * m + 114) % 31 + 1);
    // Always 22 March to 25 April.
    date(year, month as i8, day as i8)
}
