//! Which release this machine runs (os-release(5)), and until when it gets security updates.
//!
//! The release's own word (`SUPPORT_END`) counts first; few say it. Else the dates below, as published in November 2026.
//! They are for what every machine gets: Debian with its LTS years, which come through the same security suite, and without
//! ELTS; Ubuntu without its paid years; the RHEL family to the end of maintenance. A release that is not among them is
//! `unknown`.

use vigie_core::time::Wall;

/// Releases by `ID` and `VERSION_ID` (its major number alone for the RHEL family), and the last day of their support.
///
/// Sources: distro-info-data (`debian.csv` column eol-lts, `ubuntu.csv` column eol), and the life cycle pages of the
/// others: access.redhat.com/support/policy/updates/errata, wiki.rockylinux.org/rocky/version,
/// wiki.almalinux.org/release-notes, centos.org/stream9 and stream10.
const LAST_DAYS: [(&str, &str, &str); 19] = [
    ("debian", "10", "2024-06-30"),
    ("debian", "11", "2026-08-31"),
    ("debian", "12", "2028-06-30"),
    ("debian", "13", "2030-06-30"),
    ("ubuntu", "20.04", "2025-05-29"),
    ("ubuntu", "22.04", "2027-06-01"),
    ("ubuntu", "24.04", "2029-05-31"),
    ("rhel", "8", "2029-05-31"),
    ("rhel", "9", "2032-05-31"),
    ("rhel", "10", "2035-05-31"),
    ("rocky", "8", "2029-05-31"),
    ("rocky", "9", "2032-05-31"),
    ("rocky", "10", "2035-05-31"),
    ("almalinux", "8", "2029-05-31"),
    ("almalinux", "9", "2032-05-31"),
    ("almalinux", "10", "2035-05-31"),
    ("centos", "8", "2024-05-31"),
    ("centos", "9", "2027-05-31"),
    ("centos", "10", "2030-05-31"),
];

/// What os-release says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Release {
    id: String,
    id_like: String,
    version_id: String,
    support_end: String,
}

impl Release {
    pub(super) fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else {
                continue;
            };
            let value = unquoted(value);
            match key {
                "ID" => release.id = value,
                "ID_LIKE" => release.id_like = value,
                "VERSION_ID" => release.version_id = value,
                "SUPPORT_END" => release.support_end = value,
                _ => {}
            }
        }
        release
    }

    /// Whether its packages are RPMs kept by dnf.
    pub(super) fn is_rhel_family(&self) -> bool {
        std::iter::once(self.id.as_str())
            .chain(self.id_like.split_ascii_whitespace())
            .any(|id| matches!(id, "rhel" | "fedora" | "centos"))
    }

    /// The first moment without support: the last day is still a day with it, everywhere on Earth but for hours.
    pub(super) fn end(&self) -> Option<Wall> {
        let major = self.version_id.split('.').next().unwrap_or_default();
        let listed = LAST_DAYS
            .iter()
            .find(|(id, version, _)| {
                *id == self.id
                    && (*version == self.version_id || (self.is_rhel_family() && *version == major))
            })
            .map(|(_, _, day)| *day);
        let stated: Option<jiff::civil::Date> = self.support_end.parse().ok();
        let last: jiff::civil::Date = stated.or_else(|| listed?.parse().ok())?;
        let next = last
            .tomorrow()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?;
        Some(Wall(next.timestamp().as_millisecond()))
    }
}

/// A value without the shell's quotes; what needs more unquoting than that is no identifier.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<String> {
        Release::parse(text)
            .end()
            .map(|end| end.to_string()[..10].to_owned())
    }

    #[test]
    fn the_end_is_the_releases_own_word_or_the_tables() {
        let table = [
            ("ID=debian\nVERSION_ID=\"12\"\n", Some("2028-07-01")),
            (
                "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n",
                Some("2027-06-02"),
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
                Some("2032-06-01"),
            ),
            (
                "ID='almalinux'\nID_LIKE='rhel'\nVERSION_ID='8.10'\n",
                Some("2029-06-01"),
            ),
            (
                "ID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"9\"\n",
                Some("2027-06-01"),
            ),
            (
                "ID=fedora\nVERSION_ID=42\nSUPPORT_END=2026-05-13\n",
                Some("2026-05-14"),
            ),
            (
                "ID=debian\nVERSION_ID=\"12\"\nSUPPORT_END=2031-01-31\n",
                Some("2031-02-01"),
            ),
            (
                "ID=debian\nVERSION_ID=\"12\"\nSUPPORT_END=never\n",
                Some("2028-07-01"),
            ),
            ("ID=debian\n", None),
            ("ID=ubuntu\nVERSION_ID=\"22.10\"\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(end(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_date_of_the_table_is_one() {
        for (id, version, day) in LAST_DAYS {
            assert!(day.parse::<jiff::civil::Date>().is_ok(), "{id} {version}");
        }
    }
}
