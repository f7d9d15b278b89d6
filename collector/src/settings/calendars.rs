//! `[calendar.N]`: when a team is at work. Every line is judged where it stands; a calendar that could never be open, or
//! that says two things of one moment, is refused.

use std::collections::{BTreeMap, BTreeSet};

use vigie_core::id::CalendarName;
use vigie_decide::calendar::{
    Calendar,
    holidays::{HolidaySet, Territory},
    rule::{Dated, Window},
};
use vigie_platform::settings_file::{Complaint, LoadedSettings, Section};

use super::{as_complaint, at_most, time_zone};

/// A window for each day, and several on some; more is a mistake, and each costs time at every decision.
const WINDOWS_MAX: usize = 50;

/// Dated lines of some years; each costs time at every decision.
const DATED_MAX: usize = 500;

/// What `[calendar.N]` tables said.
pub(super) struct Calendars {
    /// All that are declared, those with mistakes included.
    pub(super) names: BTreeSet<CalendarName>,
    pub(super) read: Option<BTreeMap<CalendarName, Calendar>>,
}

pub(super) fn read(loaded: &LoadedSettings, root: &Section<'_>) -> Calendars {
    let mut names = BTreeSet::new();
    let read: Vec<_> = root
        .tables("calendar")
        .into_iter()
        .map(|section| {
            let name = section.parsed_own_name::<CalendarName>();
            names.extend(name.clone());
            let calendar = read_calendar(loaded, &section);
            section.finish();
            Some((name?, calendar?))
        })
        .collect();
    Calendars {
        names,
        read: read.into_iter().collect(),
    }
}

fn read_calendar(loaded: &LoadedSettings, section: &Section<'_>) -> Option<Calendar> {
    let time_zone = section.str("time_zone").try_map(time_zone).required();
    let open = section
        .judged_list("open", |text| text.parse::<Window>().map_err(as_complaint))
        .try_map(|windows| at_most(windows, WINDOWS_MAX))
        .required();
    let closed = dated(section, "closed");
    let opened = dated(section, "opened");
    let holidays = match section.sub("holidays") {
        Some(holidays) => read_holidays(holidays).map(Some),
        None if section.has("holidays") => None,
        None => Some(None),
    };
    if let (Some(closed), Some(opened)) = (&closed, &opened) {
        judge_conflicts(loaded, section, closed, opened);
    }
    if let (Some(open), Some(opened)) = (&open, &opened)
        && open.is_empty()
        && opened.iter().all(|line| line.hours().is_none())
    {
        let what = format!("`calendar.{}` is never open", section.own_name());
        section.mistake("open", what, "write `open = [\"Mon-Fri 08:30-18:00\"]`");
    }
    Some(Calendar {
        time_zone: time_zone?,
        open: open?,
        holidays: holidays?,
        closed: closed?,
        opened: opened?,
    })
}

/// `None`: with a mistake; absent is empty.
fn dated(section: &Section<'_>, key: &str) -> Option<Vec<Dated>> {
    let is_written = section.has(key);
    let lines = section
        .judged_list(key, |text| text.parse::<Dated>().map_err(as_complaint))
        .try_map(|lines| at_most(lines, DATED_MAX))
        .optional();
    match lines {
        None if is_written => None,
        lines => Some(lines.unwrap_or_default()),
    }
}

fn judge_conflicts(
    loaded: &LoadedSettings,
    section: &Section<'_>,
    closed: &[Dated],
    opened: &[Dated],
) {
    for (index, opening) in opened.iter().enumerate() {
        if let Some(closing) = closed.iter().find(|line| line.conflicts_with(*opening)) {
            loaded.mistake(
                &section.place_of_item("opened", index),
                format!("`opened`: \"{opening}\" is closed by \"{closing}\" in `closed`"),
                "keep one of the two, or give the hours of the one that is the exception",
            );
        }
    }
}

fn read_holidays(section: Section<'_>) -> Option<HolidaySet> {
    let country = section.one_of("country", &[("fr", ())]).required();
    let words = Territory::ALL.map(|territory| (territory.as_str(), territory));
    let territory = section.one_of("territory", &words).or(Territory::Metropole);
    let alsace_moselle = section
        .boolean("alsace_moselle")
        .try_map(|alsace_moselle| {
            if alsace_moselle && territory != Territory::Metropole {
                let what = format!("{} is not in Alsace or Moselle", territory.as_str());
                return Err(Complaint::new(what, "remove it, or `territory`"));
            }
            Ok(alsace_moselle)
        })
        .or(false);
    let good_friday = section.boolean("good_friday").or(false);
    section.finish();
    country.map(|()| HolidaySet {
        territory,
        alsace_moselle,
        good_friday,
    })
}
