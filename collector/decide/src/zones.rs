//! Time zones as values: loaded once by name outside of core, handed in wherever civil time counts.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

/// The zones that the rules name ([`crate::rules::Rules::zone_names`]), by IANA name. What is not in here cannot be
/// reckoned with: a calendar in such a zone is in doubt, like one under a clock that nobody trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zones(BTreeMap<String, TimeZone>);

impl Zones {
    /// The rules of a zone.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&TimeZone> {
        self.0.get(name)
    }

    /// The name and rules of the zone that times in messages are told in, when no other is nearer: the first by name.
    #[must_use]
    pub fn first(&self) -> Option<(&str, &TimeZone)> {
        self.0
            .iter()
            .next()
            .map(|(name, zone)| (name.as_str(), zone))
    }
}

impl FromIterator<(String, TimeZone)> for Zones {
    fn from_iter<I: IntoIterator<Item = (String, TimeZone)>>(zones: I) -> Self {
        Self(zones.into_iter().collect())
    }
}
