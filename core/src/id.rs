//! Names that administrators give: nodes, checks, services, groups, receivers, sites.
//!
//! All share one grammar, the *configured name*: `[a-z0-9][a-z0-9._-]{0,62}`. It is small enough to be a label, a file
//! name and a URL segment without escaping, and leaves no room for look-alike letters.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest configured name, in bytes (a DNS label's limit, so that host names fit).
pub const NAME_LEN_MAX: usize = 63;

/// Whether `text` follows the grammar of configured names.
#[must_use]
pub fn is_configured_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let starts_well = bytes
        .first()
        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    starts_well
        && bytes.len() <= NAME_LEN_MAX
        && bytes.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        })
}

/// The text does not follow the grammar of configured names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 of a-z, 0-9, '.', '_', '-', and starts with a letter or digit")]
pub struct NotAName;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                is_configured_name(text)
                    .then(|| Self(text.into()))
                    .ok_or(NotAName)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    )*};
}

names! {
    /// A host with an agent. Taken from its certificate, never from what it says.
    NodeName;
    /// Another program that sends metrics. Taken from its certificate; not a node's name, even where both read the same.
    SenderName;
    /// One configured test on a node.
    CheckName;
    /// What users care about, such as `dossier-patient`.
    ServiceName;
    /// Nodes that belong together and the services they may speak for.
    GroupName;
    /// Who is told.
    ReceiverName;
    /// A way by which several receivers are told, such as a mail server.
    ChannelName;
    /// Somebody who can be on call. A short code; addresses stand elsewhere.
    PersonName;
    /// When a team is at work.
    CalendarName;
    /// Who is on call, week after week.
    RotaName;
    /// A window of maintenance that stands in the settings.
    MaintenanceName;
    /// A place whose nodes share a fate (`default` where a group names none).
    SiteName;
}

impl ServiceName {
    /// The built-in critical service of vigie's own troubles.
    #[must_use]
    pub fn vigie() -> Self {
        Self("vigie".into())
    }
}

impl SiteName {
    /// Where a group that names no site stands.
    #[must_use]
    pub fn default_site() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_accepts_what_administrators_write_and_nothing_else() {
        for good in ["a", "0", "app-01", "db_1.strasbourg", &"x".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "A",
            "é",
            "a b",
            "a/b",
            "а",
            "a\n",
            &"x".repeat(64),
        ] {
            assert_eq!(bad.parse::<NodeName>(), Err(NotAName), "{bad:?}");
        }
    }
}
