//! Time zones by name: from the system's data, or those of the binary where it was built with them.
//!
//! Loaded once for each set of rules and handed to core as values, so that a decision reads no file. A newer `tzdata` of
//! the system counts from the next start or reload; the log says which version was in force.

use jiff::tz::{self, TimeZone};
use vigie_decide::zones::Zones;
use vigie_platform::settings_file::nearest;

/// Names that are in the folder of zones, and that no setting should depend on: they mean another zone on each machine,
/// or none at all.
const NO_ZONES: [&str; 4] = ["posixrules", "localtime", "Factory", "Etc/Unknown"];

/// The name is not that of a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no time zone is called {name:?}")]
pub struct UnknownZone {
    /// As it was written.
    pub name: String,
    /// The one that was probably meant.
    pub nearest: Option<String>,
}

impl UnknownZone {
    /// What to write instead, as an order to the reader.
    #[must_use]
    pub fn mend(&self) -> String {
        match &self.nearest {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None if has_none() => {
                "install the system's time zone data (the package `tzdata`)".to_owned()
            }
            None => "write an IANA name such as \"Europe/Paris\" or \"Indian/Reunion\"".to_owned(),
        }
    }
}

/// Every zone of `names`, under its name.
///
/// # Errors
/// The first name that is none.
pub fn load<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Zones, UnknownZone> {
    names
        .into_iter()
        .map(|name| Ok((name.to_owned(), find(name)?)))
        .collect()
}

/// The zone of that very name; in another case it is another name, since the rules are compared as text.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<TimeZone, UnknownZone> {
    let zone = tz::db().get(name).ok().filter(|zone| {
        let is_written_so = zone.iana_name() == Some(name);
        is_written_so && !NO_ZONES.contains(&name)
    });
    zone.ok_or_else(|| UnknownZone {
        name: name.to_owned(),
        nearest: meant_by(name),
    })
}

/// The zone that was probably meant; towns are often written without their continent.
fn meant_by(name: &str) -> Option<String> {
    let known: Vec<String> = tz::db()
        .available()
        .map(|zone| zone.as_str().to_owned())
        .filter(|zone| !NO_ZONES.contains(&zone.as_str()))
        .collect();
    let by_town = || {
        known.iter().map(String::as_str).find(|zone| {
            let town = zone.rsplit('/').next().unwrap_or(zone);
            town.eq_ignore_ascii_case(name)
        })
    };
    nearest(name, known.iter().map(String::as_str))
        .or_else(by_town)
        .map(str::to_owned)
}

/// Whether there is no zone at all, which is a machine without `tzdata`.
fn has_none() -> bool {
    tz::db().available().next().is_none()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn zones_are_found_by_their_very_name() {
        let zones = load(["Europe/Paris", "Indian/Reunion", "UTC"]).unwrap();
        assert_eq!(
            zones.find("Europe/Paris").unwrap().iana_name(),
            Some("Europe/Paris")
        );
        assert!(zones.find("Indian/Reunion").is_some() && zones.find("UTC").is_some());
        assert!(zones.find("America/Cayenne").is_none());
        assert_eq!(load([]), Ok(Zones::default()));
    }

    #[test]
    fn an_unknown_zone_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("Europe/Pari", Some("Europe/Paris")),
            ("europe/paris", Some("Europe/Paris")),
            ("Paris", Some("Europe/Paris")),
            ("Europe/Strasbourg", None),
            ("CET-1CEST", None),
            ("localtime", None),
            ("../../etc/passwd", None),
            ("", None),
        ] {
            let error = load([name]).unwrap_err();
            assert_eq!(error.nearest.as_deref(), meant, "{name}");
            assert_eq!(
                error.to_string(),
                format!("no time zone is called {name:?}")
            );
        }
        assert_eq!(
            find("Paris").unwrap_err().mend(),
            "did you mean \"Europe/Paris\"?"
        );
        assert_eq!(
            find("Mars/Olympus").unwrap_err().mend(),
            "write an IANA name such as \"Europe/Paris\" or \"Indian/Reunion\""
        );
    }
}
