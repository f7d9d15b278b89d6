//! Where one message goes: the way of a receiver, or one person by one channel.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use vigie_core::id::{ChannelName, NotAName, PersonName, ReceiverName};

/// Where one message goes. As text `equipe-sis`, or `am/sms` for a person: no name has a slash, so the two never meet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// The one way of a receiver without steps.
    Receiver(ReceiverName),
    /// A person, by one of their channels.
    Person {
        /// Who.
        person: PersonName,
        /// By what.
        channel: ChannelName,
    },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver(receiver) => receiver.fmt(f),
            Self::Person { person, channel } => write!(f, "{person}/{channel}"),
        }
    }
}

impl FromStr for Destination {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        match text.split_once('/') {
            None => text.parse().map(Self::Receiver),
            Some((person, channel)) => Ok(Self::Person {
                person: person.parse()?,
                channel: channel.parse()?,
            }),
        }
    }
}

impl From<ReceiverName> for Destination {
    fn from(receiver: ReceiverName) -> Self {
        Self::Receiver(receiver)
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn text_reads_back_and_persons_are_no_receivers() {
        for text in ["equipe-sis", "am/sms"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        for bad in ["", "am/", "/sms", "a/b/c", "Am/sms"] {
            assert!(bad.parse::<Destination>().is_err(), "{bad:?}");
        }
    }
}
