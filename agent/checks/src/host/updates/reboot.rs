//! Whether a reboot is needed: what the packages themselves say (`/run/reboot-required`), and whether the newest installed
//! kernel of the running one's flavour runs.
//!
//! A library that was replaced under a running program asks for a restart of that program, not of the machine, and is not
//! looked for. A machine without any kernel of its own (a container) has only the packages' word.

use std::path::Path;

use vigie_core::time::Wall;
use vigie_machine::Context;

use super::{Untold, version};
use crate::host::daemon::is_missing;

const REQUIRED: &str = "run/reboot-required";
const REQUIRED_PACKAGES: &str = "run/reboot-required.pkgs";
const RELEASE: &str = "proc/sys/kernel/osrelease";
const BOOT: &str = "boot";
const MODULES: &str = "lib/modules";

/// A kernel's name, or the names of the packages that ask for a reboot.
const SMALL_LEN_MAX: usize = 256 * 1024;

/// Files in /boot: a machine that never removed a kernel in ten years has some hundreds.
const BOOT_MAX: usize = 4_096;

/// A reboot that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needed {
    /// Since when.
    pub(super) since: Wall,
    /// How many packages ask for it, where they say so.
    pub(super) packages: Option<u64>,
}

/// Looks whether one is needed.
pub(super) async fn look(context: &Context, root: &Path) -> Result<Option<Needed>, Untold> {
    let required = context.files.stamp(&root.join(REQUIRED)).await;
    if let Ok(stamp) = required {
        let packages = context
            .files
            .read(&root.join(REQUIRED_PACKAGES), SMALL_LEN_MAX)
            .await
            .ok()
            .map(|content| count_lines(&content));
        return Ok(Some(Needed {
            since: stamp.modified,
            packages,
        }));
    }
    if let (Err(error), false) = (&required, is_missing(&required)) {
        return Err(Untold::error("reboot_required", error));
    }

    let release = context
        .files
        .read(&root.join(RELEASE), SMALL_LEN_MAX)
        .await
        .map_err(|error| Untold::error("kernel", &error))?;
    let release = String::from_utf8_lossy(&release);
    let running = Kernel::parse(release.trim());
    let boot = context.files.list(&root.join(BOOT), BOOT_MAX).await;
    let boot = match boot {
        Err(_) if is_missing(&boot) => Vec::new(),
        boot => boot.map_err(|error| Untold::error("boot", &error))?,
    };
    let names: Vec<(&str, Wall)> = boot
        .iter()
        .filter_map(|listed| {
            let name = listed.name.to_str()?.strip_prefix("vmlinuz-")?;
            // When it was put there: its mtime is the day on which it was built.
            Some((name, listed.stamp.changed))
        })
        .collect();
    if names.is_empty() {
        // A container has no kernel. A machine whose /boot is not mounted has the modules of the one that runs.
        let modules = root.join(MODULES).join(release.trim());
        let modules = context.files.stamp(&modules).await;
        return if is_missing(&modules) {
            Ok(None)
        } else {
            Err(Untold::word("boot"))
        };
    }
    let installed: Vec<(Kernel<'_>, Wall)> = names
        .iter()
        .map(|(name, at)| (Kernel::parse(name), *at))
        .filter(|(kernel, _)| kernel.flavour == running.flavour)
        .collect();
    if installed.is_empty() {
        return Err(Untold::word("kernel"));
    }
    // The first that is newer made the reboot necessary.
    let since = installed
        .iter()
        .filter(|(kernel, _)| version::compare(kernel.version, running.version).is_gt())
        .map(|(_, at)| *at)
        .min();
    Ok(since.map(|since| Needed {
        since,
        packages: None,
    }))
}

/// Each package once: every run of a package's script adds a line.
fn count_lines(content: &[u8]) -> u64 {
    let lines: std::collections::BTreeSet<&[u8]> = content
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .collect();
    u64::try_from(lines.len()).unwrap_or(u64::MAX)
}

/// A kernel by the name that uname(2) gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kernel<'t> {
    version: &'t str,
    /// What is compared only with its own kind: `amd64`, `cloud-amd64`, `generic`, `x86_64+rt`.
    flavour: &'t str,
}

impl<'t> Kernel<'t> {
    fn parse(release: &'t str) -> Self {
        // The RHEL family: 5.14.0-427.13.1.el9_4.x86_64+rt.
        if release.contains(".el")
            && let Some((version, flavour)) = release.rsplit_once('.')
        {
            return Self { version, flavour };
        }
        // Debian and Ubuntu: 6.1.0-25-cloud-amd64, 6.12.41+deb13-amd64, 5.15.0-119-generic. The flavour begins at the first
        // part that does not begin with a digit.
        let flavour = release
            .match_indices('-')
            .map(|(at, _)| release.split_at(at))
            .find(|(_, rest)| !rest[1..].starts_with(|c: char| c.is_ascii_digit()));
        match flavour {
            Some((version, rest)) => Self {
                version,
                flavour: &rest[1..],
            },
            None => Self {
                version: release,
                flavour: "",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_split_into_version_and_flavour() {
        let table = [
            ("6.1.0-25-amd64", "6.1.0-25", "amd64"),
            ("6.1.0-25-cloud-amd64", "6.1.0-25", "cloud-amd64"),
            ("6.12.41+deb13-amd64", "6.12.41+deb13", "amd64"),
            ("6.1.0-0.deb11.7-amd64", "6.1.0-0.deb11.7", "amd64"),
            ("5.15.0-119-generic", "5.15.0-119", "generic"),
            (
                "5.14.0-427.13.1.el9_4.x86_64",
                "5.14.0-427.13.1.el9_4",
                "x86_64",
            ),
            (
                "4.18.0-553.rt7.342.el8_10.x86_64+rt",
                "4.18.0-553.rt7.342.el8_10",
                "x86_64+rt",
            ),
            ("6.18.44", "6.18.44", ""),
            ("", "", ""),
        ];
        for (release, version, flavour) in table {
            assert_eq!(
                Kernel::parse(release),
                Kernel { version, flavour },
                "{release}"
            );
        }
        assert_eq!(count_lines(b"linux-base\nlibc6\nlibc6\n\n"), 2);
    }
}
