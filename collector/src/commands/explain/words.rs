//! What would happen, in French or English, for somebody at three in the morning.

use jiff::{Zoned, civil::Weekday, tz::TimeZone};
use vigie_core::{
    reason::message::{self, Language},
    status::{Family, Status},
    time::Wall,
};
use vigie_decide::{
    calendar::{Why, holidays::Holiday},
    destination::Destination,
    explain::{Explanation, Planned},
    routing::CalendarStatus,
    rules::{Match, Route, Rules, When},
};
use vigie_wording::words;

use super::instant::Zone;

const DAYS: [[&str; 2]; 7] = [
    ["lundi", "Monday"],
    ["mardi", "Tuesday"],
    ["mercredi", "Wednesday"],
    ["jeudi", "Thursday"],
    ["vendredi", "Friday"],
    ["samedi", "Saturday"],
    ["dimanche", "Sunday"],
];

const MONTHS: [[&str; 2]; 12] = [
    ["janvier", "January"],
    ["février", "February"],
    ["mars", "March"],
    ["avril", "April"],
    ["mai", "May"],
    ["juin", "June"],
    ["juillet", "July"],
    ["août", "August"],
    ["septembre", "September"],
    ["octobre", "October"],
    ["novembre", "November"],
    ["décembre", "December"],
];

/// Tells what would happen.
#[derive(Debug, Clone, Copy)]
pub(in crate::commands) struct Teller<'g> {
    pub(in crate::commands) language: Language,
    pub(in crate::commands) zone: Zone<'g>,
    pub(in crate::commands) rules: &'g Rules,
}

impl Teller<'_> {
    pub(in crate::commands) fn say<'t>(&self, french: &'t str, english: &'t str) -> &'t str {
        match self.language {
            Language::French => french,
            Language::English => english,
        }
    }

    fn zoned(&self, at: Wall) -> Option<Zoned> {
        let zone = self.zone.map_or(TimeZone::UTC, |(_, zone)| zone.clone());
        let instant = jiff::Timestamp::from_millisecond(at.0).ok()?;
        Some(instant.to_zoned(zone))
    }

    /// `vendredi 25 décembre 2026 à 03:00`.
    pub(in crate::commands) fn time(&self, at: Wall) -> String {
        let Some(zoned) = self.zoned(at) else {
            return at.to_string();
        };
        format!(
            "{} {} {}",
            self.date(zoned.date()),
            self.say("à", "at"),
            clock(&zoned)
        )
    }

    /// `03:15`, or in full if that is another day.
    fn time_after(&self, at: Wall, since: Wall) -> String {
        match (self.zoned(at), self.zoned(since)) {
            (Some(zoned), Some(since)) if zoned.date() == since.date() => clock(&zoned),
            _ => self.time(at),
        }
    }

    fn date(&self, date: jiff::civil::Date) -> String {
        let index = |number: i8| usize::try_from(number).unwrap_or(0);
        let of = |pair: Option<&[&'static str; 2]>| {
            pair.map_or("?", |[french, english]| self.say(french, english))
        };
        let day: Weekday = date.weekday();
        let day = of(DAYS.get(index(day.to_monday_zero_offset())));
        let month = of(MONTHS.get(index(date.month() - 1)));
        let first = if date.day() == 1 {
            self.say("er", "")
        } else {
            ""
        };
        format!("{day} {}{first} {month} {}", date.day(), date.year())
    }

    /// `Europe/Paris`.
    pub(in crate::commands) fn zone_name(&self) -> &str {
        self.zone.map_or("UTC", |(name, _)| name)
    }

    /// `en panne`.
    pub(in crate::commands) fn standing_of(&self, family: Family, status: Status) -> &'static str {
        words::standing(self.language, family, status)
    }

    /// A calendar, whether it is open, why, and when that changes.
    pub(in crate::commands) fn standing(&self, standing: &CalendarStatus) -> String {
        let name = &standing.calendar;
        let state = if standing.is_open {
            self.say("ouvert", "open")
        } else {
            self.say("fermé", "closed")
        };
        let why = standing.why.map_or_else(
            || {
                self.say("son fuseau est inconnu ici", "its zone is not known here")
                    .to_owned()
            },
            |why| self.why(why),
        );
        let next = match (standing.next_edge, standing.is_open) {
            (None, _) => self
                .say("cela ne change plus", "that never changes again")
                .to_owned(),
            (Some(edge), true) => {
                format!("{} {}", self.say("ferme", "closes"), self.time(edge))
            }
            (Some(edge), false) => {
                format!("{} {}", self.say("ouvre", "opens"), self.time(edge))
            }
        };
        match self.language {
            Language::French => format!("« {name} » {state} : {why} ; {next}"),
            Language::English => format!("\"{name}\" {state}: {why}; {next}"),
        }
    }

    /// Why a calendar is open or closed.
    pub(in crate::commands) fn why(&self, why: Why) -> String {
        match why {
            Why::Window(date) => format!(
                "{} {}",
                self.say("horaires du", "hours of"),
                self.date(date)
            ),
            Why::OpenedHours(date) => format!(
                "{} {}",
                self.say("heures ouvertes le", "hours opened on"),
                self.date(date)
            ),
            Why::ClosedHours(date) => format!(
                "{} {}",
                self.say("heures fermées le", "hours closed on"),
                self.date(date)
            ),
            Why::ClosedDate(date) => format!(
                "{} {}",
                self.date(date),
                self.say("est une date fermée", "is a closed date")
            ),
            Why::Holiday(date, holiday) => format!(
                "{}, {}, {}",
                self.say("jour férié", "public holiday"),
                self.holiday(holiday),
                self.date(date)
            ),
            Why::OutsideHours => self
                .say("hors de ses horaires", "outside its weekly hours")
                .to_owned(),
        }
    }

    fn holiday(&self, holiday: Holiday) -> &'static str {
        let [french, english] = match holiday {
            Holiday::NewYear => ["jour de l'An", "New Year's Day"],
            Holiday::GoodFriday => ["Vendredi saint", "Good Friday"],
            Holiday::EasterMonday => ["lundi de Pâques", "Easter Monday"],
            Holiday::LabourDay => ["fête du Travail", "Labour Day"],
            Holiday::Victory => ["Victoire 1945", "Victory in Europe Day"],
            Holiday::Ascension => ["Ascension", "Ascension Day"],
            Holiday::WhitMonday => ["lundi de Pentecôte", "Whit Monday"],
            Holiday::NationalDay => ["fête nationale", "the national day"],
            Holiday::Assumption => ["Assomption", "Assumption"],
            Holiday::AllSaints => ["Toussaint", "All Saints' Day"],
            Holiday::Armistice => ["Armistice 1918", "Armistice Day"],
            Holiday::Christmas => ["Noël", "Christmas"],
            Holiday::SecondChristmasDay => ["Saint-Étienne", "the second day of Christmas"],
            Holiday::AbolitionOfSlavery => ["abolition de l'esclavage", "the abolition of slavery"],
        };
        self.say(french, english)
    }

    /// A route by its number, conditions and hours.
    pub(in crate::commands) fn route(&self, position: Option<usize>) -> String {
        let found = position.and_then(|at| Some((at, self.rules.routes.get(at)?)));
        let Some((position, route)) = found else {
            return self
                .say(
                    "aucune route ne la prend : tous sont prévenus",
                    "no route takes it: everybody is told",
                )
                .to_owned();
        };
        format!(
            "route {}/{}{}{}",
            position + 1,
            self.rules.routes.len(),
            self.say(" : ", ": "),
            self.conditions(route)
        )
    }

    fn conditions(&self, route: &Route) -> String {
        let or = self.say(" ou ", " or ");
        let Match {
            criticality,
            service,
            family,
            status,
            node,
            group,
            site,
            environment,
            need,
        } = &route.matches;
        let all: [(&str, &str, Vec<String>); 9] = [
            ("criticité", "criticality", texts(criticality)),
            ("service", "service", texts(service)),
            ("famille", "family", texts(family)),
            ("état", "status", texts(status)),
            ("nœud", "node", texts(node)),
            ("groupe", "group", texts(group)),
            ("site", "site", texts(site)),
            ("environnement", "environment", texts(environment)),
            ("besoin", "need", texts(need)),
        ];
        let mut said: Vec<String> = all
            .into_iter()
            .filter(|(.., values)| !values.is_empty())
            .map(|(french, english, values)| {
                format!("{} {}", self.say(french, english), values.join(or))
            })
            .collect();
        match &route.when {
            Some(When::Inside(name)) => {
                said.push(format!(
                    "{} {name}",
                    self.say("pendant les heures de", "inside")
                ));
            }
            Some(When::Outside(name)) => {
                said.push(format!(
                    "{} {name}",
                    self.say("hors des heures de", "outside")
                ));
            }
            None => {}
        }
        if said.is_empty() {
            said.push(self.say("tout le reste", "everything else").to_owned());
        }
        if route.hold {
            said.push(
                self.say(
                    "retient hors des heures du destinataire",
                    "holds outside the receiver's hours",
                )
                .to_owned(),
            );
        }
        said.join(", ")
    }

    /// One step: when, whom it reaches, how often again, and who cannot be reached.
    pub(in crate::commands) fn step(&self, step: &Planned, since: Wall) -> String {
        let reached = if step.to.is_empty() {
            self.say("personne", "nobody").to_owned()
        } else {
            let to: Vec<String> = step.to.iter().map(|to| self.destination(to)).collect();
            to.join(", ")
        };
        let mut said = format!(
            "{}  {} {} {}{}{reached}",
            self.time_after(step.at, since),
            step.receiver,
            self.say("étape", "step"),
            step.step + 1,
            self.say(" : ", ": "),
        );
        if step.after_ms > 0 {
            said.push_str(&format!(
                ", {} {} {}",
                duration(step.after_ms),
                self.say("après", "after"),
                self.say("la précédente", "the one before")
            ));
        }
        if let Some(repeat_ms) = step.repeat_ms.filter(|_| !step.to.is_empty()) {
            let every = self.say("rappel toutes les", "again every");
            said.push_str(&format!(", {every} {}", duration(repeat_ms)));
        }
        for person in &step.unreachable {
            said.push_str(&match self.language {
                Language::French => format!(" ({person} : aucun moyen de contact utilisable ici)"),
                Language::English => format!(" ({person}: no contact that this step can use)"),
            });
        }
        said
    }

    fn destination(&self, to: &Destination) -> String {
        match to {
            Destination::Receiver(receiver) => receiver.to_string(),
            Destination::Person { person, channel } => {
                format!("{person} {} {channel}", self.say("par", "by"))
            }
        }
    }

    /// Why it comes as it does, in a sentence.
    pub(in crate::commands) fn reason(&self, explanation: &Explanation) -> String {
        let because = explanation
            .calendar
            .as_ref()
            .map(|standing| self.standing(standing));
        let mut said = self.route(explanation.route);
        if let Some(because) = because {
            said.push_str(self.say(" ; calendrier ", "; calendar "));
            said.push_str(&because);
        }
        if let Some((window, until)) = &explanation.muted {
            said.push_str(self.say(" ; ", "; "));
            said.push_str(&self.muted(window.as_str(), *until));
        }
        said
    }

    /// A window of maintenance keeps it quiet.
    pub(in crate::commands) fn muted(&self, window: &str, until: Option<Wall>) -> String {
        let until = until.map_or_else(String::new, |until| {
            format!("{}{}", self.say(" jusqu'au ", " until "), self.time(until))
        });
        let why = self.rules.maintenance.iter();
        let why = why
            .filter(|(name, _)| name.as_str() == window)
            .map(|(_, window)| message::sanitised(&window.reason, usize::MAX))
            .find(|reason| !reason.is_empty());
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        match self.language {
            Language::French => format!("la maintenance {window}{why} la tait{until}"),
            Language::English => format!("maintenance {window}{why} keeps it quiet{until}"),
        }
    }

    /// Why nobody would be told at once.
    pub(in crate::commands) fn why_nobody(&self, explanation: &Explanation) -> String {
        let mut causes = Vec::new();
        let mut people: Vec<&str> = explanation
            .steps
            .iter()
            .flat_map(|step| step.unreachable.iter().map(|person| person.as_str()))
            .collect();
        people.sort_unstable();
        people.dedup();
        if !people.is_empty() {
            causes.push(format!(
                "{} {}",
                people.join(", "),
                self.say(
                    "sans contact que l'étape puisse utiliser",
                    "without a contact that the step can use"
                )
            ));
        } else if !explanation.told_now.is_empty() {
            causes.push(
                self.say("ses étapes ne nomment personne", "its steps name nobody")
                    .to_owned(),
            );
        }
        for (receiver, until) in &explanation.held {
            let until = self.time(*until);
            causes.push(format!(
                "{} {receiver} {} {until}",
                self.say("retenue pour", "held for"),
                self.say("jusqu'au", "until"),
            ));
        }
        if causes.is_empty() {
            causes.push(
                self.say("personne n'est nommé", "nobody is named")
                    .to_owned(),
            );
        }
        format!(
            "{} ({})",
            causes.join(self.say(" ; ", "; ")),
            self.reason(explanation)
        )
    }
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

fn clock(zoned: &Zoned) -> String {
    let format = if zoned.second() == 0 {
        "%H:%M"
    } else {
        "%H:%M:%S"
    };
    let mut text = zoned.strftime(format).to_string();
    if message::is_shown_twice(zoned) {
        text.push_str(&format!(" ({})", message::offset(zoned.offset())));
    }
    text
}

/// A duration as settings write it: `15m`.
pub(in crate::commands) fn duration(ms: u64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// The word for why a calendar is open or closed, for programs.
pub(in crate::commands) const fn why_code(why: Option<Why>) -> &'static str {
    match why {
        Some(Why::Window(_)) => "window",
        Some(Why::OpenedHours(_)) => "opened_hours",
        Some(Why::ClosedHours(_)) => "closed_hours",
        Some(Why::ClosedDate(_)) => "closed_date",
        Some(Why::Holiday(..)) => "holiday",
        Some(Why::OutsideHours) => "outside_hours",
        None => "zone_unknown",
    }
}
