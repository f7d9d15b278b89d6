//! The closed vocabulary: each value that a message may show, in both languages.

use vigie_core::{
    reason::message::Language,
    status::{Criticality, Environment, Family, Need, Status},
};
use vigie_decide::alert::{Actor, Ended, Notice};

/// How a check stands, in words that are not those of criticality.
#[must_use]
pub const fn standing(language: Language, family: Family, status: Status) -> &'static str {
    match (language, status, family) {
        (Language::French, Status::Ok, _) => "en ordre",
        (Language::French, Status::Warning, _) => "à surveiller",
        (Language::French, Status::Critical, Family::Availability) => "en panne",
        (Language::French, Status::Critical, _) => "en défaut",
        (Language::French, Status::Unknown, _) => "sans mesure",
        (Language::English, Status::Ok, _) => "in order",
        (Language::English, Status::Warning, _) => "needs attention",
        (Language::English, Status::Critical, Family::Availability) => "down",
        (Language::English, Status::Critical, _) => "failing",
        (Language::English, Status::Unknown, _) => "not measured",
    }
}

/// As [`standing`], for what has been so for a while.
pub(super) const fn still_standing(
    language: Language,
    family: Family,
    status: Status,
) -> &'static str {
    match (language, status, family) {
        (Language::French, Status::Ok, _) => "toujours en ordre",
        (Language::French, Status::Warning, _) => "toujours à surveiller",
        (Language::French, Status::Critical, Family::Availability) => "toujours en panne",
        (Language::French, Status::Critical, _) => "toujours en défaut",
        (Language::French, Status::Unknown, _) => "toujours sans mesure",
        (Language::English, Status::Ok, _) => "still in order",
        (Language::English, Status::Warning, _) => "still needs attention",
        (Language::English, Status::Critical, Family::Availability) => "still down",
        (Language::English, Status::Critical, _) => "still failing",
        (Language::English, Status::Unknown, _) => "still not measured",
    }
}

/// What stands before the state of an alert, where the notice adds something to it.
pub(super) const fn mark(language: Language, notice: Notice) -> &'static str {
    match (language, notice) {
        (_, Notice::Open | Notice::Still | Notice::Close) => "",
        (Language::French, Notice::Worse) => "aggravé, ",
        (Language::French, Notice::Again) => "rappel : ",
        (Language::French, Notice::HandOver) => "à reprendre : ",
        (Language::English, Notice::Worse) => "worse, ",
        (Language::English, Notice::Again) => "reminder: ",
        (Language::English, Notice::HandOver) => "handed over to you: ",
    }
}

/// What the first sentence of a body begins with.
pub(super) const fn lead(language: Language, notice: Notice) -> &'static str {
    match (language, notice) {
        (Language::French, Notice::Open) => "Constat",
        (Language::French, Notice::Worse) => "Aggravé",
        (Language::French, Notice::Still) => "Toujours en cours",
        (Language::French, Notice::Again) => "Rappel, personne ne s'en est dit chargé",
        (Language::French, Notice::HandOver) => "À reprendre, qui s'en occupait a passé la main",
        (Language::French, Notice::Close) => "Terminé ; le dernier constat était",
        (Language::English, Notice::Open) => "Found",
        (Language::English, Notice::Worse) => "Worse",
        (Language::English, Notice::Still) => "Still on",
        (Language::English, Notice::Again) => "Reminder, nobody has said that they are on it",
        (Language::English, Notice::HandOver) => "Handed over to you by whoever was on it",
        (Language::English, Notice::Close) => "Over; the last finding was",
    }
}

/// How an alert ended.
#[must_use]
pub const fn ended(language: Language, ended: Option<Ended>) -> &'static str {
    match (language, ended) {
        (Language::French, Some(Ended::Recovered)) => "rétabli",
        (Language::French, Some(Ended::Confirmed)) => "clos par un opérateur",
        (Language::French, Some(Ended::Retired)) => "clos, le nœud est retiré",
        (Language::French, Some(Ended::Replaced)) => "repris par une autre alerte",
        (Language::French, Some(Ended::Exercised)) => "exercice terminé",
        (Language::French, None) => "terminé",
        (Language::English, Some(Ended::Recovered)) => "recovered",
        (Language::English, Some(Ended::Confirmed)) => "closed by an operator",
        (Language::English, Some(Ended::Retired)) => "closed, the node is retired",
        (Language::English, Some(Ended::Replaced)) => "taken over by another alert",
        (Language::English, Some(Ended::Exercised)) => "exercise over",
        (Language::English, None) => "ended",
    }
}

/// How much the services concerned matter.
#[must_use]
pub const fn criticality(language: Language, criticality: Criticality) -> &'static str {
    match (language, criticality) {
        (Language::French, Criticality::Standard) => "service standard",
        (Language::French, Criticality::Important) => "service important",
        (Language::French, Criticality::Critical) => "service critique",
        (Language::English, Criticality::Standard) => "standard service",
        (Language::English, Criticality::Important) => "important service",
        (Language::English, Criticality::Critical) => "critical service",
    }
}

/// Where a node serves.
#[must_use]
pub const fn environment(language: Language, environment: Environment) -> &'static str {
    match (language, environment) {
        (Language::French | Language::English, Environment::Production) => "production",
        (Language::French, Environment::Staging) => "préproduction",
        (Language::French, Environment::Test) => "test",
        (Language::French, Environment::Development) => "développement",
        (Language::English, Environment::Staging) => "staging",
        (Language::English, Environment::Test) => "test",
        (Language::English, Environment::Development) => "development",
    }
}

/// A letter of the DICT grid, spelled out.
#[must_use]
pub const fn need(language: Language, need: Need) -> &'static str {
    match (language, need) {
        (Language::French, Need::Availability) => "disponibilité",
        (Language::French, Need::Integrity) => "intégrité",
        (Language::French, Need::Confidentiality) => "confidentialité",
        (Language::French, Need::Traceability) => "traçabilité",
        (Language::English, Need::Availability) => "availability",
        (Language::English, Need::Integrity) => "integrity",
        (Language::English, Need::Confidentiality) => "confidentiality",
        (Language::English, Need::Traceability) => "traceability",
    }
}

/// Who did something, as far as vigie knows.
#[must_use]
pub fn actor(language: Language, actor: &Actor) -> String {
    match (language, actor) {
        (Language::French, Actor::Uid(uid)) => format!("l'utilisateur {uid} du collecteur"),
        (Language::French, Actor::Link(to)) => format!("{to}, par le lien d'un message"),
        (Language::English, Actor::Uid(uid)) => format!("user {uid} of the collector"),
        (Language::English, Actor::Link(to)) => format!("{to}, by the link in a message"),
    }
}

/// A word that is counted: French and English, one and several.
pub(super) struct Counted([[&'static str; 2]; 2]);

pub(super) const ALERTS: Counted = Counted([["alerte", "alertes"], ["alert", "alerts"]]);
pub(super) const OTHER_ALERTS: Counted = Counted([
    ["autre alerte", "autres alertes"],
    ["other alert", "other alerts"],
]);
pub(super) const OTHERS: Counted = Counted([["autre", "autres"], ["other", "others"]]);
pub(super) const URGENT: Counted = Counted([["urgente", "urgentes"], ["urgent", "urgent"]]);
pub(super) const STILL_ON: Counted = Counted([["en cours", "en cours"], ["still on", "still on"]]);
pub(super) const OVER: Counted = Counted([["terminée", "terminées"], ["ended", "ended"]]);
pub(super) const TO_WATCH: Counted = Counted([
    [
        "sauvegarde ou certificat à voir",
        "sauvegardes ou certificats à voir",
    ],
    [
        "backup or certificate to look at",
        "backups or certificates to look at",
    ],
]);
pub(super) const SILENT_NODES: Counted = Counted([
    ["nœud muet", "nœuds muets"],
    ["silent node", "silent nodes"],
]);
pub(super) const MISSING_NODES: Counted = Counted([
    ["nœud jamais vu", "nœuds jamais vus"],
    ["node never seen", "nodes never seen"],
]);
pub(super) const TIMES: Counted = Counted([["fois", "fois"], ["time", "times"]]);
pub(super) const EXERCISES: Counted =
    Counted([["exercice", "exercices"], ["exercise", "exercises"]]);

impl Counted {
    /// `1 alerte`, `9 400 alertes`.
    pub(super) fn count(&self, language: Language, count: usize) -> String {
        format!("{} {}", number(language, count), self.word(language, count))
    }

    /// The word alone.
    pub(super) const fn word(&self, language: Language, count: usize) -> &'static str {
        let Self([[french_one, french_several], [english_one, english_several]]) = self;
        match (language, count) {
            // French counts zero as one.
            (Language::French, 0 | 1) => french_one,
            (Language::French, _) => french_several,
            (Language::English, 1) => english_one,
            (Language::English, _) => english_several,
        }
    }
}

/// A whole number with its thousands apart.
pub(super) fn number(language: Language, number: usize) -> String {
    let separator = match language {
        Language::French => ' ',
        Language::English => ',',
    };
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// What stands between a name and what is said of it.
pub(super) const fn colon(language: Language) -> &'static str {
    match language {
        Language::French => " : ",
        Language::English => ": ",
    }
}

/// What stands between two sentences of one line.
pub(super) const fn semicolon(language: Language) -> &'static str {
    match language {
        Language::French => " ; ",
        Language::English => "; ",
    }
}

/// One of two texts.
pub(super) const fn either(
    language: Language,
    french: &'static str,
    english: &'static str,
) -> &'static str {
    match language {
        Language::French => french,
        Language::English => english,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_follows_the_language() {
        use Language::{English, French};
        let table = [
            (French, 0, "0 alerte"),
            (French, 1, "1 alerte"),
            (French, 2, "2 alertes"),
            (French, 9_400, "9 400 alertes"),
            (English, 0, "0 alerts"),
            (English, 1, "1 alert"),
            (English, 1_234_567, "1,234,567 alerts"),
        ];
        for (language, count, text) in table {
            assert_eq!(ALERTS.count(language, count), text);
        }
    }
}
