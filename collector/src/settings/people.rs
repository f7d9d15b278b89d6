//! `[person.N]` and `[rota.N]`: who can be on call, how they are reached, and whose turn it is.
//!
//! What names people and their numbers is nobody else's business on the machine: a file that holds a person and that
//! others can read is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
};

use jiff::civil::{Date, DateTime};
use vigie_core::{
    id::{PersonName, RotaName},
    reason::message::Language,
};
use vigie_decide::rota::{Handoff, Override, Rota};
use vigie_deliver::config::Contact;
use vigie_platform::settings_file::{Complaint, LoadedSettings, Section};

use super::{as_complaint, at_most, channels::Channels, language, time_zone};

/// People of one rota: more is a list of the whole house.
const TURNS_MAX: usize = 100;

/// Replacements of some years.
const OVERRIDES_MAX: usize = 500;

/// `[person.N]`: somebody who can be on call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// By what they are reached, the first to try first; no channel twice. Empty: not at all.
    pub contacts: Vec<Contact>,
    /// Their own language; `None`: that of the receiver that names them, else of the collector.
    pub language: Option<Language>,
}

/// What `[person.N]` tables said.
pub(super) struct People {
    /// All that are declared, those with mistakes included.
    pub(super) names: BTreeSet<PersonName>,
    /// Those without mistakes.
    pub(super) known: BTreeMap<PersonName, Person>,
    /// No table had a mistake.
    pub(super) is_whole: bool,
}

pub(super) fn read(loaded: &LoadedSettings, root: &Section<'_>, channels: &Channels) -> People {
    let mut people = People {
        names: BTreeSet::new(),
        known: BTreeMap::new(),
        is_whole: true,
    };
    let sections = root.tables("person");
    refuse_readers(loaded, &sections);
    for section in sections {
        let name = section.parsed_own_name::<PersonName>();
        people.names.extend(name.clone());
        let contacts = channels.contacts(&section);
        let language = language(&section).optional();
        section.finish();
        people.is_whole &= name.is_some() && contacts.is_some();
        let person = contacts.map(|contacts| Person { contacts, language });
        people.known.extend(name.zip(person));
    }
    people
}

/// Each file once, at the first person that stands in it.
fn refuse_readers(loaded: &LoadedSettings, people: &[Section<'_>]) {
    let mut seen = BTreeSet::new();
    for place in people.iter().map(Section::place) {
        let Some(path) = place.path().filter(|path| seen.insert(path.to_owned())) else {
            continue;
        };
        // A file that is gone since it was read is nobody's to read.
        let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode() & 0o7777);
        if mode & 0o007 != 0 {
            loaded.mistake(
                place,
                format!(
                    "people and how to reach them stand in a file that everybody can read (mode {mode:04o})"
                ),
                format!("run `chmod 0640 {}`", path.display()),
            );
        }
    }
}

/// What `[rota.N]` tables said.
pub(super) struct Rotas {
    /// All that are declared, those with mistakes included.
    pub(super) names: BTreeSet<RotaName>,
    /// Those without mistakes.
    pub(super) known: BTreeMap<RotaName, Rota>,
    /// No table had a mistake.
    pub(super) is_whole: bool,
}

pub(super) fn read_rotas(
    loaded: &LoadedSettings,
    root: &Section<'_>,
    people: &BTreeSet<PersonName>,
) -> Rotas {
    let mut rotas = Rotas {
        names: BTreeSet::new(),
        known: BTreeMap::new(),
        is_whole: true,
    };
    for section in root.tables("rota") {
        let name = section.parsed_own_name::<RotaName>();
        rotas.names.extend(name.clone());
        let rota = read_rota(loaded, &section, people);
        section.finish();
        rotas.is_whole &= name.is_some() && rota.is_some();
        rotas.known.extend(name.zip(rota));
    }
    rotas
}

fn read_rota(
    loaded: &LoadedSettings,
    section: &Section<'_>,
    people: &BTreeSet<PersonName>,
) -> Option<Rota> {
    let turns = section
        .references("people", "person", people)
        .try_map(|turns| at_most(turns, TURNS_MAX))
        .try_map(|turns| {
            if turns.is_empty() {
                let what = "nobody would ever be on call";
                return Err(Complaint::new(what, "name at least one person"));
            }
            Ok(turns)
        })
        .required();
    let handoff = section
        .str("handoff")
        .try_map(|text| {
            let handoff = Handoff::try_from(text).map_err(as_complaint)?;
            time_zone(handoff.time_zone.clone())?;
            Ok(handoff)
        })
        .required();
    let first = section
        .str("first")
        .try_map(|text| date(&text))
        .try_map(
            |first| match handoff.as_ref().and_then(|handoff| handoff.day) {
                Some(day) if day != first.weekday() => Err(Complaint::new(
                    format!(
                        "{first} is a {:?}, and shifts begin on a {day:?}",
                        first.weekday()
                    ),
                    "write the date of the first person's first hand-off",
                )),
                _ => Ok(first),
            },
        )
        .required();
    let overrides = read_overrides(loaded, section, people);
    Some(Rota {
        people: turns?,
        handoff: handoff?,
        first: first?,
        overrides: overrides?,
    })
}

/// `None`: with a mistake; absent is empty.
fn read_overrides(
    loaded: &LoadedSettings,
    rota: &Section<'_>,
    people: &BTreeSet<PersonName>,
) -> Option<Vec<Override>> {
    let sections = rota.array_of_tables("overrides");
    if sections.len() > OVERRIDES_MAX {
        let what = format!("`overrides`: {} are too many", sections.len());
        rota.mistake("overrides", what, format!("keep at most {OVERRIDES_MAX}"));
        return None;
    }
    let read: Vec<Option<Override>> = sections
        .into_iter()
        .map(|section| {
            let from = section.str("from").try_map(|text| moment(&text)).required();
            let to = section.str("to").try_map(|text| moment(&text)).required();
            let person = section.reference("person", "person", people).required();
            let place = section.place_of("to");
            section.finish();
            let (from, to) = (from?, to?);
            if to <= from {
                let what = "`to`: this ends before it begins";
                loaded.mistake(&place, what, "write the later time as `to`");
                return None;
            }
            Some(Override {
                from,
                to,
                person: person?,
            })
        })
        .collect();
    read.into_iter().collect()
}

fn date(text: &str) -> Result<Date, Complaint> {
    // jiff reads more forms than a settings file should have.
    let is_plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let read = is_plain.then(|| text.parse().ok()).flatten();
    read.ok_or_else(|| Complaint::new(format!("{text:?} is no date"), "write \"2026-11-23\""))
}

fn moment(text: &str) -> Result<DateTime, Complaint> {
    let wrong = || {
        let what = format!("{text:?} is no date and time of day");
        Complaint::new(what, "write \"2026-12-24 18:00\"")
    };
    let is_plain = text.len() == 16
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b' ',
            13 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let read = is_plain.then(|| DateTime::strptime("%Y-%m-%d %H:%M", text).ok());
    read.flatten().ok_or_else(wrong)
}
