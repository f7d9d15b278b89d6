//! The words for how things stand: a status, how much a service matters, which need a check serves.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word used in settings, entries and labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    format!("one of {}", words.join(", "))
                })
            }
        }
    };
}

words! {
    /// What a check found, in the order of the Monitoring Plugins development guidelines (exit codes 0 to 3).
    Status {
        /// Measured and good.
        Ok = "ok",
        /// Measured and worth a look in working hours.
        Warning = "warning",
        /// Measured and bad.
        Critical = "critical",
        /// Could not measure. Never shown as ok.
        Unknown = "unknown",
    }
}

impl Status {
    /// How loud a status is: ok 0, warning 1, unknown 2, critical 3. Not the exit code: not knowing is worse than a
    /// warning and better than knowing that it is down.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Critical => 3,
        }
    }

    /// The Monitoring Plugins exit code, also the value of `vigie_check_status`.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

words! {
    /// How much a service matters; decides who may be woken.
    Criticality {
        /// No one is harmed if it waits.
        Standard = "standard",
        /// Missed in working hours.
        Important = "important",
        /// Care stops without it.
        Critical = "critical",
    }
}

words! {
    /// What a kind of check looks at.
    Family {
        /// The machine itself.
        Host = "host",
        /// Whether a service answers.
        Availability = "availability",
        /// Whether what travels is protected.
        Tls = "tls",
        /// Whether what is lost can be had back.
        Backup = "backup",
        /// Whether files are what they were.
        Integrity = "integrity",
        /// vigie's own troubles.
        Vigie = "vigie",
    }
}

words! {
    /// Where a node serves; only production wakes by default rules.
    Environment {
        /// Serves patients.
        Production = "production",
        /// Like production, serves nobody.
        Staging = "staging",
        /// Tests.
        Test = "test",
        /// Developers.
        Development = "development",
    }
}

/// The four needs of a service (DICT), each 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Disponibilité: availability.
    #[serde(rename = "D")]
    pub availability: u8,
    /// Intégrité: integrity.
    #[serde(rename = "I")]
    pub integrity: u8,
    /// Confidentialité: confidentiality.
    #[serde(rename = "C")]
    pub confidentiality: u8,
    /// Traçabilité: traceability.
    #[serde(rename = "T")]
    pub traceability: u8,
}

impl Needs {
    /// The most demanding needs: what a node without a declared service is held to.
    pub const HIGHEST: Self = Self {
        availability: 4,
        integrity: 4,
        confidentiality: 4,
        traceability: 4,
    };

    /// The level of one of them.
    #[must_use]
    pub const fn level(self, need: Need) -> u8 {
        match need {
            Need::Availability => self.availability,
            Need::Integrity => self.integrity,
            Need::Confidentiality => self.confidentiality,
            Need::Traceability => self.traceability,
        }
    }
}

words! {
    /// One of the four needs, by its letter in the DICT grid.
    Need {
        /// Disponibilité.
        Availability = "D",
        /// Intégrité.
        Integrity = "I",
        /// Confidentialité.
        Confidentiality = "C",
        /// Traçabilité.
        Traceability = "T",
    }
}

/// Kinds of the host family without which nobody can say afterwards what happened when.
const TRACEABILITY_KINDS: [&str; 2] = ["clock", "log_forwarding"];

impl Need {
    /// The need that a check serves: its family's, but for clocks and logs. `kind` is the planned one, where
    /// the plan is known.
    #[must_use]
    pub fn served_by(family: Family, kind: Option<&str>) -> Self {
        match family {
            Family::Host if kind.is_some_and(|kind| TRACEABILITY_KINDS.contains(&kind)) => {
                Self::Traceability
            }
            Family::Host | Family::Availability => Self::Availability,
            Family::Integrity | Family::Backup => Self::Integrity,
            Family::Tls => Self::Confidentiality,
            Family::Vigie => Self::Traceability,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_louder_than_warning_and_quieter_than_critical() {
        let mut by_rank = Status::ALL.to_vec();
        by_rank.sort_by_key(|status| status.rank());
        assert_eq!(
            by_rank,
            [
                Status::Ok,
                Status::Warning,
                Status::Unknown,
                Status::Critical
            ]
        );
    }

    #[test]
    fn clocks_and_logs_serve_traceability_and_other_host_checks_availability() {
        let need = |family, kind| Need::served_by(family, kind);
        assert_eq!(need(Family::Host, Some("clock")), Need::Traceability);
        assert_eq!(
            need(Family::Host, Some("log_forwarding")),
            Need::Traceability
        );
        assert_eq!(need(Family::Host, Some("memory")), Need::Availability);
        assert_eq!(need(Family::Host, None), Need::Availability);
        assert_eq!(need(Family::Tls, Some("clock")), Need::Confidentiality);
    }

    #[test]
    fn words_read_back() {
        for family in Family::ALL {
            assert_eq!(family.as_str().parse(), Ok(*family));
        }
        assert_eq!(
            "criticl".parse::<Criticality>(),
            Err("one of standard, important, critical".to_owned())
        );
    }
}
