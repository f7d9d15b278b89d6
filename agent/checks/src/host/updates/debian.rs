//! What dpkg and apt keep on disk: which packages are installed, and what the security suites offer.
//!
//! Nothing is locked, started or downloaded. Only the lists of security suites are walked, line by line; a package waits
//! when a security suite has a newer version than is installed. That is asked of the versions alone: a pin that keeps apt
//! from installing it, or a hold, does not make the hole go away. A newer version from another suite does.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use vigie_core::time::Wall;
use vigie_machine::{
    Context,
    files::{Encoding, Listed, Stamp, Walk},
};

use super::{Untold, version};
use crate::host::daemon::is_missing;

const STATUS: &str = "var/lib/dpkg/status";
const LISTS: &str = "var/lib/apt/lists";

/// Touched by apt's daily job and by the package update-notifier-common after each update that went well.
const SUCCESS_STAMPS: [&str; 2] = [
    "var/lib/apt/periodic/update-success-stamp",
    "var/lib/apt/periodic/update-stamp",
];

/// Files of lists: five for each line of sources.list and language.
const LISTS_MAX: usize = 4_096;

/// The head of a Release file, before its list of digests.
const RELEASE_HEAD_LEN: usize = 16 * 1024;

/// All that is installed on a large machine is some 10 MB, a security suite of Ubuntu some 60 MB.
const WALK_LEN_MAX: u64 = 256 * 1024 * 1024;

/// Names, architectures and versions are far shorter; of longer lines nothing is wanted.
const LINE_LEN_MAX: usize = 512;

/// A package by name and architecture.
pub(super) type Package = (Box<str>, Box<str>);

/// What the security suites offer that is not installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// Packages that wait, each with the version that is installed.
    pub(super) waiting: BTreeMap<Package, Box<str>>,
    /// When the newest of the security suites' Release files was made: whatever stands in one of the lists was public by
    /// then. A suite that was left in the settings and is not made any more must not make the others' packages old.
    pub(super) made: Option<Wall>,
    /// When somebody last looked for updates, as far as anything tells.
    pub(super) looked: Option<Wall>,
    /// When the first of those Release files stops counting.
    pub(super) valid_until: Option<Wall>,
}

/// What an answer was made of: unchanged files give the same answer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    status: Stamp,
    lists: Vec<Listed>,
    looked: Option<Wall>,
}

/// Whether this machine's packages are dpkg's.
pub(super) async fn is_here(context: &Context, root: &Path) -> bool {
    !is_missing(&context.files.stamp(&root.join(STATUS)).await)
}

/// What the answer would be made of: a few system calls.
pub(super) async fn sources(context: &Context, root: &Path) -> Result<Sources, Untold> {
    let files = &context.files;
    let status = files
        .stamp(&root.join(STATUS))
        .await
        .map_err(|error| Untold::error("dpkg_status", &error))?;
    let folder = root.join(LISTS);
    let mut lists = files
        .list(&folder, LISTS_MAX)
        .await
        .map_err(|error| Untold::error("apt_lists", &error))?;
    lists.retain(|listed| listed.stamp.is_file);
    lists.sort_by(|a, b| a.name.cmp(&b.name));
    // A new list is moved into the folder, which changes the folder; a list that was found unchanged leaves a stamp.
    let mut looked = files.stamp(&folder).await.ok().map(|stamp| stamp.modified);
    for stamp in SUCCESS_STAMPS {
        let stamp = files.stamp(&root.join(stamp)).await.ok();
        looked = looked.max(stamp.map(|stamp| stamp.modified));
    }
    Ok(Sources {
        status,
        lists,
        looked,
    })
}

/// Walks what `sources` names.
pub(super) async fn read(
    context: &Context,
    root: &Path,
    sources: &Sources,
) -> Result<Offer, Untold> {
    let folder = root.join(LISTS);
    let mut suites = Vec::new();
    for listed in &sources.lists {
        let Some(name) = listed.name.to_str() else {
            continue;
        };
        let Some(prefix) = name
            .strip_suffix("InRelease")
            .or_else(|| name.strip_suffix("Release"))
        else {
            continue;
        };
        let head = context
            .files
            .read_start(&folder.join(name), RELEASE_HEAD_LEN)
            .await
            .map_err(|error| Untold::error("apt_lists", &error))?;
        let release = Release::parse(&String::from_utf8_lossy(&head));
        if release.is_security() {
            suites.push((prefix.to_owned(), release));
        }
    }
    if suites.is_empty() {
        return Err(Untold::word("no_security_suite"));
    }
    let mut packages = Vec::new();
    for (prefix, _) in &suites {
        packages.extend(packages_of(&sources.lists, prefix)?);
    }
    if packages.is_empty() {
        return Err(Untold::word("no_security_suite"));
    }

    let installed = walk(
        context,
        &root.join(STATUS),
        Encoding::Plain,
        Installed::default(),
    )
    .await
    .map_err(|error| Untold::error("dpkg_status", &error))?;
    let mut compared = Compared {
        installed: installed.packages,
        waiting: BTreeMap::new(),
    };
    for (name, encoding) in packages {
        compared = walk(context, &folder.join(name), encoding, compared)
            .await
            .map_err(|error| Untold::error("apt_lists", &error))?;
    }
    let dates = || suites.iter().filter_map(|(_, release)| release.date);
    Ok(Offer {
        waiting: compared.waiting,
        made: dates().max(),
        looked: sources.looked.max(dates().max()),
        valid_until: suites
            .iter()
            .filter_map(|(_, release)| release.valid_until)
            .min(),
    })
}

/// The lists of packages that belong to the Release file with this prefix.
fn packages_of(lists: &[Listed], prefix: &str) -> Result<Vec<(PathBuf, Encoding)>, Untold> {
    let mut found = Vec::new();
    for listed in lists {
        let Some(name) = listed.name.to_str().filter(|name| name.starts_with(prefix)) else {
            continue;
        };
        let Some((_, ending)) = name.rsplit_once("_Packages") else {
            continue;
        };
        let encoding = match ending {
            "" => Encoding::Plain,
            ".gz" => Encoding::Gzip,
            ".lz4" => Encoding::Lz4,
            ".xz" | ".bz2" | ".zst" | ".lzma" => return Err(Untold::word("list_format")),
            // Index differences and what else apt keeps beside.
            _ => continue,
        };
        found.push((PathBuf::from(name), encoding));
    }
    Ok(found)
}

/// The head of a Release file (DebianRepository/Format, "Release files").
#[derive(Debug, Default, PartialEq, Eq)]
struct Release {
    label: String,
    suite: String,
    codename: String,
    date: Option<Wall>,
    valid_until: Option<Wall>,
}

impl Release {
    fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key {
                "Label" => value.clone_into(&mut release.label),
                "Suite" => value.clone_into(&mut release.suite),
                "Codename" => value.clone_into(&mut release.codename),
                "Date" => release.date = parse_date(value),
                "Valid-Until" => release.valid_until = parse_date(value),
                // The digests follow, to the end.
                "MD5Sum" | "SHA1" | "SHA256" | "SHA512" => break,
                _ => {}
            }
        }
        release
    }

    /// Debian labels its own; Ubuntu, its extended support and others name the suite so.
    fn is_security(&self) -> bool {
        self.label == "Debian-Security"
            || [&self.suite, &self.codename]
                .iter()
                .any(|name| name.ends_with("-security") || name.ends_with("/updates"))
    }
}

/// `Sat, 21 Nov 2026 00:53:02 UTC`.
fn parse_date(text: &str) -> Option<Wall> {
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let zoned = jiff::fmt::rfc2822::parse(&format!("{text} +0000"))
        .or_else(|_| jiff::fmt::rfc2822::parse(text))
        .ok()?;
    Some(Wall(zoned.timestamp().as_millisecond()))
}

/// What a walk gathers.
trait Gather: Send + 'static {
    fn stanza(&mut self, stanza: &Stanza);
}

/// One package of a list (deb822(5)); continuation lines begin with a space and are never a key.
#[derive(Debug, Default)]
struct Stanza {
    package: String,
    version: String,
    architecture: String,
    status: String,
}

impl Stanza {
    fn line(&mut self, line: &[u8]) {
        let fields = [
            (&b"Package:"[..], &mut self.package),
            (b"Version:", &mut self.version),
            (b"Architecture:", &mut self.architecture),
            (b"Status:", &mut self.status),
        ];
        for (key, field) in fields {
            if let Some(value) = line.strip_prefix(key) {
                field.clear();
                field.push_str(String::from_utf8_lossy(value).trim());
                return;
            }
        }
    }

    fn clear(&mut self) {
        for field in [
            &mut self.package,
            &mut self.version,
            &mut self.architecture,
            &mut self.status,
        ] {
            field.clear();
        }
    }
}

/// What is installed of one package: architectures, each with a version.
type Versions = Vec<(Box<str>, Box<str>)>;

/// Installed packages by name.
#[derive(Debug, Default)]
struct Installed {
    packages: HashMap<Box<str>, Versions>,
}

impl Gather for Installed {
    fn stanza(&mut self, stanza: &Stanza) {
        // "want flag state"; unpacked and half-configured packages are on the disk too.
        let is_installed = matches!(
            stanza.status.split_ascii_whitespace().nth(2),
            Some(
                "installed"
                    | "unpacked"
                    | "half-configured"
                    | "triggers-awaited"
                    | "triggers-pending"
            )
        );
        if is_installed && !stanza.version.is_empty() {
            let package = self.packages.entry(stanza.package.as_str().into());
            package.or_default().push((
                stanza.architecture.as_str().into(),
                stanza.version.as_str().into(),
            ));
        }
    }
}

/// Installed packages, and those of which something newer was offered so far.
struct Compared {
    installed: HashMap<Box<str>, Versions>,
    waiting: BTreeMap<Package, Box<str>>,
}

impl Gather for Compared {
    fn stanza(&mut self, stanza: &Stanza) {
        let Some(installed) = self.installed.get(stanza.package.as_str()) else {
            return;
        };
        for (architecture, version) in installed {
            // A package may turn from one architecture to "all" and back.
            let is_same = **architecture == *stanza.architecture
                || **architecture == *"all"
                || stanza.architecture == "all";
            if is_same && version::compare(&stanza.version, version).is_gt() {
                let package = (stanza.package.as_str().into(), architecture.clone());
                self.waiting.insert(package, version.clone());
            }
        }
    }
}

async fn walk<T: Gather>(
    context: &Context,
    path: &Path,
    encoding: Encoding,
    gathered: T,
) -> io::Result<T> {
    let walk = Walk {
        encoding,
        len_max: WALK_LEN_MAX,
        line_len_max: LINE_LEN_MAX,
    };
    let state = Arc::new(Mutex::new(Some((gathered, Stanza::default()))));
    let shared = Arc::clone(&state);
    let each = Box::new(move |line: &[u8]| {
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((gathered, stanza)) = state.as_mut() else {
            return ControlFlow::Break(());
        };
        if line.is_empty() {
            gathered.stanza(stanza);
            stanza.clear();
        } else {
            stanza.line(line);
        }
        ControlFlow::Continue(())
    });
    context.files.walk_lines(path, walk, each).await?;
    let state = state.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (mut gathered, stanza) = state.ok_or(io::ErrorKind::Interrupted)?;
    // The last one needs no empty line behind it.
    gathered.stanza(&stanza);
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_suites_are_known_by_their_release_file() {
        let head = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n\
            Suite: oldstable-security\nCodename: bookworm-security\nDate: Sat, 21 Nov 2026 00:53:02 UTC\n\
            Valid-Until: Sat, 28 Nov 2026 00:53:02 UTC\nSHA256:\n e3b0 0 Label: x\nLabel: other\n";
        let release = Release::parse(head);
        assert!(release.is_security());
        assert_eq!(release.date, Wall::parse("2026-11-21T00:53:02Z").ok());
        assert_eq!(
            release.valid_until,
            Wall::parse("2026-11-28T00:53:02Z").ok()
        );
        let table = [
            ("Label: Ubuntu\nSuite: jammy-security\n", true),
            ("Label: UbuntuESM\nSuite: focal-infra-security\n", true),
            ("Label: Debian-Security\nCodename: buster/updates\n", true),
            ("Label: Debian\nSuite: stable-updates\n", false),
            ("Label: Ubuntu\nSuite: jammy-updates\n", false),
            ("", false),
        ];
        for (text, is_security) in table {
            assert_eq!(Release::parse(text).is_security(), is_security, "{text}");
        }
        assert_eq!(parse_date("yesterday"), None);
    }
}
