//! What dnf keeps on disk: the security advisories of its last look (`dnf -C updateinfo info --security`).
//!
//! `-C` runs from the system's cache, without network and whatever the cache's age; root rights are not needed. Only
//! advisories that apply to what is installed and are not installed are listed. Repositories without advisories (CentOS
//! Stream, many private mirrors) would list nothing for ever: that is told apart and never counts as nothing to do.

use std::{io, path::Path};

use vigie_core::time::Wall;
use vigie_machine::{
    Context,
    commands::{Command, CommandError},
    files::Stamp,
};

use super::Untold;

/// Where dnf 4 and 5 keep what they know of each repository.
const CACHES: [&str; 2] = ["var/cache/dnf", "var/cache/libdnf5"];

/// The database of what is installed: today's, and the ones before.
const DATABASES: [&str; 3] = [
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages",
];

/// Repositories, and files of one of them.
const ENTRIES_MAX: usize = 4_096;

/// An advisory with its description is some 2 kB; a machine may lag behind by a thousand.
const OUTPUT_LEN_MAX: usize = 8 * 1024 * 1024;

/// What dnf knows waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Advisories {
    /// How many.
    pub(super) count: u64,
    /// When the oldest of them was last revised.
    pub(super) oldest: Option<Wall>,
}

/// What an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    database: Stamp,
    /// The description of each repository, in order.
    repositories: Vec<Stamp>,
    /// When somebody last looked for updates.
    pub(super) looked: Option<Wall>,
}

impl Sources {
    /// Whether dnf would answer the same: looking without finding anything new changes no answer.
    pub(super) fn tell_the_same(&self, other: &Self) -> bool {
        self.database == other.database && self.repositories == other.repositories
    }
}

/// What the answer would be made of.
pub(super) async fn sources(context: &Context, root: &Path) -> Result<Sources, Untold> {
    let mut database = Err(io::ErrorKind::NotFound.into());
    for path in DATABASES {
        database = context.files.stamp(&root.join(path)).await;
        if database.is_ok() {
            break;
        }
    }
    let database = database.map_err(|error| Untold::error("rpm_database", &error))?;
    let (mut repositories, mut looked) = (Vec::new(), None);
    let mut has_advisories = false;
    for cache in CACHES {
        let cache = root.join(cache);
        let Ok(mut entries) = context.files.list(&cache, ENTRIES_MAX).await else {
            continue;
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            has_advisories |= entry.name.to_string_lossy().contains("updateinfo");
            if !entry.stamp.is_dir {
                continue;
            }
            let folder = cache.join(&entry.name).join("repodata");
            if let Ok(stamp) = context.files.stamp(&folder.join("repomd.xml")).await {
                repositories.push(stamp);
                looked = looked.max(Some(stamp.modified));
            }
            let files = context.files.list(&folder, ENTRIES_MAX).await;
            for file in files.unwrap_or_default() {
                has_advisories |= file.name.to_string_lossy().contains("updateinfo");
                // A repository that dnf found unchanged leaves the time of the look at another of its files.
                looked = looked.max(Some(file.stamp.modified));
            }
        }
    }
    if repositories.is_empty() {
        return Err(Untold::word("dnf_cache"));
    }
    if !has_advisories {
        return Err(Untold::word("no_advisories"));
    }
    Ok(Sources {
        database,
        looked,
        repositories,
    })
}

/// Asks dnf, which takes seconds.
pub(super) async fn read(context: &Context, dnf: &Path) -> Result<Advisories, Untold> {
    let command = Command {
        program: dnf.to_owned(),
        arguments: ["-C", "-q", "updateinfo", "info", "--security"]
            .map(Into::into)
            .to_vec(),
        output_len_max: OUTPUT_LEN_MAX,
    };
    let output = context
        .commands
        .run(&command, context.own_deadline())
        .await
        .map_err(|error| match error {
            CommandError::Start { source, .. } => Untold::error("dnf", &source),
            _ => Untold::word("dnf"),
        })?;
    if !output.status.success() {
        return Err(Untold::word("dnf"));
    }
    parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| Untold::word("dnf"))
}

/// dnf 4 writes `  Update ID: RLSA-2024:1` and `    Updated: 2024-05-01 10:11:12`, dnf 5 `Name        : …` and
/// `Issued      : …`. `None` for a text that is neither empty nor of this form.
fn parse(text: &str) -> Option<Advisories> {
    let mut advisories = Advisories::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        match key.trim() {
            "Update ID" | "Name" => advisories.count += 1,
            "Updated" | "Issued" => {
                let date = parse_date(value.trim())?;
                advisories.oldest = Some(advisories.oldest.map_or(date, |oldest| oldest.min(date)));
            }
            _ => {}
        }
    }
    (advisories.count > 0 || text.trim().is_empty()).then_some(advisories)
}

fn parse_date(text: &str) -> Option<Wall> {
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let instant = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Wall(instant.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DNF4: &str = "===============================================================================\n  Important: openssl security update\n===============================================================================\n  Update ID: RLSA-2023:3722\n       Type: security\n    Updated: 2023-06-22 12:00:00\n       Bugs: 2181082 - CVE-2023-0464 openssl: Denial of service\n       CVEs: CVE-2023-0464\nDescription: OpenSSL is a toolkit\n           : that implements TLS.\n   Severity: Important\n\n===============================================================================\n  Moderate: curl security update\n===============================================================================\n  Update ID: RLSA-2023:4523\n       Type: security\n    Updated: 2023-08-08 09:10:11\n   Severity: Moderate\n";

    #[test]
    fn advisories_are_counted_and_the_oldest_found() {
        let oldest = Wall::parse("2023-06-22T12:00:00Z").ok();
        assert_eq!(parse(DNF4), Some(Advisories { count: 2, oldest }));
        let dnf5 = "Name        : FEDORA-2024-1\nTitle       : curl\nSeverity    : Moderate\nType        : security\nIssued      : 2024-05-01 01:02:03\n";
        let oldest = Wall::parse("2024-05-01T01:02:03Z").ok();
        assert_eq!(parse(dnf5), Some(Advisories { count: 1, oldest }));
        assert_eq!(parse(""), Some(Advisories::default()));
        assert_eq!(parse("Error: something"), None);
        assert_eq!(parse("  Update ID: X\n  Updated: soon\n"), None);
    }
}
