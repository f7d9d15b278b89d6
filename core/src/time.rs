//! The three clocks as values: civil ([`Wall`]), elapsed ([`Elapsed`]), and both read at one moment ([`Now`]).
//! The third, *order*, is the line number of the log and needs no type of its own. Never mixed: deadlines count
//! elapsed time, calendars read wall time, nothing subtracts one from the other except the clock-step detector.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Civil time as the machine believes it: milliseconds since 1970-01-01T00:00:00Z. May step either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub i64);

/// Milliseconds of CLOCK_BOOTTIME: counts through suspend, never steps back within one boot.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Elapsed(pub u64);

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Civil time.
    pub wall: Wall,
    /// Elapsed time.
    pub elapsed: Elapsed,
}

/// [`Now`] as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoredNow {
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// Milliseconds of CLOCK_BOOTTIME.
    pub elapsed_ms: u64,
}

/// An instant to come, on both clocks: within one boot the elapsed one counts, across boots the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// On the wall, if nothing steps.
    pub wall_ms: i64,
    /// Elapsed, within this boot.
    pub elapsed_ms: u64,
}

impl Elapsed {
    /// This instant plus `duration_ms`, saturating.
    #[must_use]
    pub const fn plus_ms(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }

    /// Milliseconds since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Wall {
    /// This instant plus `duration_ms`, saturating.
    #[must_use]
    pub const fn plus_ms(self, duration_ms: i64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }

    /// Reads RFC 3339 with any precision; sub-millisecond digits are cut.
    ///
    /// # Errors
    /// When the text is not an RFC 3339 instant.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self(instant.as_millisecond()))
    }
}

/// RFC 3339 in UTC with exactly three fractional digits, as every line of evidence writes it.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock so wrong that it leaves jiff's range (years -9999 to 9999) is shown at that range's end.
        let clamped = self.0.clamp(
            jiff::Timestamp::MIN.as_second() * 1000,
            jiff::Timestamp::MAX.as_second() * 1000 - 1,
        );
        let instant = jiff::Timestamp::from_millisecond(clamped).unwrap_or_default();
        write!(f, "{instant:.3}")
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl Deadline {
    /// `after_ms` from now.
    #[must_use]
    pub fn after(now: Now, after_ms: u64) -> Self {
        Self {
            wall_ms: now.wall.0.saturating_add_unsigned(after_ms),
            elapsed_ms: now.elapsed.0.saturating_add(after_ms),
        }
    }

    /// Whether it has come.
    #[must_use]
    pub const fn is_past(self, now: Now) -> bool {
        now.elapsed.0 >= self.elapsed_ms
    }

    /// The same deadline after a restart: what remained, or the wall's instant, whichever comes first.
    #[must_use]
    pub fn anchored(self, before: StoredNow, now: Now) -> Self {
        let remained = self.elapsed_ms.saturating_sub(before.elapsed_ms);
        let by_wall = u64::try_from(self.wall_ms.saturating_sub(now.wall.0)).unwrap_or(0);
        Self::after(now, remained.min(by_wall))
    }
}

impl From<Now> for StoredNow {
    fn from(now: Now) -> Self {
        Self {
            wall_ms: now.wall.0,
            elapsed_ms: now.elapsed.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_written_with_milliseconds_and_read_back() {
        let wall = Wall(1_795_374_271_207);
        assert_eq!(wall.to_string(), "2026-11-22T19:04:31.207Z");
        assert_eq!(Wall::parse("2026-11-22T19:04:31.207Z").ok(), Some(wall));
        assert_eq!(Wall(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_absurd_clock_is_clamped_and_does_not_panic() {
        assert_eq!(&Wall(i64::MAX).to_string()[..5], "9999-");
        assert_eq!(&Wall(i64::MIN).to_string()[..8], "-009999-");
    }
}
