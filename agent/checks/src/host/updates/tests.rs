#![expect(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, process::Command as Program, sync::Arc};

use vigie_core::time::Elapsed;

use super::*;
use crate::host::fixture::{
    Machine, machine_at, measured, script, settings, write_below, written_at,
};

const DAY_MS: i64 = 86_400_000;

/// 2026-11-22T20:00:00Z.
const NOW: Wall = Wall(1_795_377_600_000);

fn check(root: &Path) -> Updates {
    Updates {
        security_age: SECURITY_AGE_DEFAULT,
        reboot: REBOOT_DEFAULT,
        lists_max_age: LISTS_MAX_AGE_DEFAULT,
        end_of_life_notice: END_OF_LIFE_NOTICE_DEFAULT,
        root: root.to_owned(),
        dnf: root.join("dnf"),
        debian: None,
        rhel: None,
        behind: Behind::new(),
        is_recalled: false,
    }
}

fn object<'o>(seen: &'o [Observation], word: &str) -> &'o Observation {
    seen.iter()
        .find(|seen| seen.object.as_ref().unwrap().as_str() == word)
        .unwrap()
}

const LIST: &str = "var/lib/apt/lists/mirror.example_debian-security_dists_bookworm-security_";

fn stanza(name: &str, architecture: &str, version: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\nDescription: text\n Package: not a key\n\n"
    )
}

/// A Debian 12 with two packages behind its security suite, whose list is of the day before.
fn debian(root: &Path) {
    write_below(root, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    write_below(root, "proc/sys/kernel/osrelease", "6.1.0-25-amd64\n");
    write_below(root, "boot/vmlinuz-6.1.0-25-amd64", "");
    let installed = [
        stanza("openssl", "amd64", "3.0.15-1~deb12u1"),
        stanza("bash", "amd64", "5.2.15-2+b8"),
        stanza("tzdata", "all", "2024a-0+deb12u1"),
        stanza("curl", "amd64", "7.88.1-10+deb12u9"),
        "Package: vim\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
            .to_owned(),
    ];
    write_below(root, "var/lib/dpkg/status", installed.concat());
    release(
        root,
        "Sat, 21 Nov 2026 20:00:00 UTC",
        "Sat, 28 Nov 2026 20:00:00 UTC",
    );
    let offered = [
        stanza("openssl", "amd64", "3.0.15-1~deb12u2"),
        stanza("openssl", "i386", "9"),
        stanza("curl", "amd64", "7.88.1-10+deb12u9"),
        stanza("tzdata", "all", "2025b-0+deb12u1"),
        stanza("vim", "amd64", "2"),
        stanza("nginx", "amd64", "1.22.1-9+deb12u1"),
    ];
    write_below(
        root,
        &format!("{LIST}main_binary-amd64_Packages"),
        offered.concat(),
    );
    write_below(
        root,
        "var/lib/apt/lists/mirror.example_debian_dists_bookworm_InRelease",
        "Label: Debian\nSuite: oldstable\nSHA256:\n",
    );
    write_below(
        root,
        "var/lib/apt/lists/mirror.example_debian_dists_bookworm_main_binary-amd64_Packages",
        stanza("bash", "amd64", "9"),
    );
    written_at(root, "var/lib/apt/lists", Wall(NOW.0 - DAY_MS / 2));
}

fn release(root: &Path, date: &str, until: &str) {
    let text = format!(
        "Label: Debian-Security\nSuite: oldstable-security\nDate: {date}\nValid-Until: {until}\nSHA256:\n"
    );
    write_below(root, &format!("{LIST}InRelease"), text);
}

#[tokio::test]
async fn packages_behind_the_security_suite_are_counted_and_age() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    debian(root);
    let (context, clock) = machine_at(NOW);
    let mut check = check(root);
    let seen = check.run(&context).await;
    let security = object(&seen, "security");
    assert_eq!(
        (security.status, security.reason),
        (Status::Ok, UPDATES_OK),
        "{security:?}"
    );
    assert_eq!(security.facts["pending"], Fact::Integer(2));
    assert_eq!(
        security.facts["age_ms"],
        Fact::Integer(DAY_MS),
        "since the list was made"
    );
    assert!((measured(security, LISTS) - 43_200.0).abs() < f64::EPSILON);
    assert_eq!(object(&seen, "reboot").reason, UPDATES_REBOOT_NONE);
    assert_eq!(object(&seen, "release").reason, UPDATES_SUPPORTED);

    // A week on, with new lists that carry a newer fix still: it has been behind all the time.
    let later = Wall(NOW.0 + 7 * DAY_MS);
    clock.set_wall(later);
    release(
        root,
        "Sun, 29 Nov 2026 10:00:00 UTC",
        "Sun, 06 Dec 2026 10:00:00 UTC",
    );
    let offered = stanza("openssl", "amd64", "3.0.15-1~deb12u3");
    write_below(root, &format!("{LIST}main_binary-amd64_Packages"), offered);
    written_at(root, "var/lib/apt/lists", later);
    let seen = check.run(&context).await;
    let security = object(&seen, "security");
    assert_eq!(
        (security.status, security.reason),
        (Status::Warning, UPDATES_PENDING)
    );
    assert_eq!(security.facts["pending"], Fact::Integer(1));
    assert_eq!(security.facts["age_ms"], Fact::Integer(8 * DAY_MS));

    // Nobody looks any more: what is known goes on ageing, and the lists are told once that is done.
    clock.set_wall(Wall(NOW.0 + 40 * DAY_MS));
    assert_eq!(
        object(&check.run(&context).await, "security").status,
        Status::Critical
    );
    write_below(
        root,
        "var/lib/dpkg/status",
        stanza("openssl", "amd64", "3.0.15-1~deb12u3"),
    );
    let seen = check.run(&context).await;
    let security = object(&seen, "security");
    assert_eq!(
        (security.status, security.reason),
        (Status::Warning, UPDATES_LISTS_OLD)
    );
    assert_eq!(security.facts["pending"], Fact::Integer(0));
}

#[tokio::test]
async fn what_waits_goes_on_ageing_through_a_restart_of_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    debian(root);
    let (context, clock) = machine_at(NOW);
    let state_dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(vigie_platform::disk::RealDisk);
    let context = context
        .with_state(disk, state_dir.path())
        .of_run(&"mises-a-jour".parse().unwrap(), Elapsed(u64::MAX));
    let _first = check(root).run(&context).await;
    clock.set_wall(Wall(NOW.0 + 6 * DAY_MS));
    release(
        root,
        "Sat, 28 Nov 2026 20:00:00 UTC",
        "Sat, 05 Dec 2026 20:00:00 UTC",
    );
    let seen = check(root).run(&context).await;
    let age = &object(&seen, "security").facts["age_ms"];
    assert_eq!(*age, Fact::Integer(7 * DAY_MS));
}

#[test]
fn a_damaged_state_is_left_out() {
    let mut behind = Behind::new();
    behind.insert(("libc6".into(), "amd64".into()), ("2.36-9".into(), NOW));
    assert_eq!(recall(&keep(&behind)), behind);
    assert_eq!(
        recall(b"libc6 amd64\n\xff\nlibc6 amd64 1 soon\na b c 1 d\n"),
        Behind::new()
    );
}

#[tokio::test]
async fn a_release_file_past_its_validity_is_an_old_list_however_fresh_the_file() {
    let dir = tempfile::tempdir().unwrap();
    debian(dir.path());
    release(
        dir.path(),
        "Sat, 14 Nov 2026 20:00:00 UTC",
        "Sat, 21 Nov 2026 20:00:00 UTC",
    );
    written_at(dir.path(), "var/lib/apt/lists", NOW);
    let (context, _clock) = machine_at(NOW);
    let mut check = check(dir.path());
    check.security_age = Limits::new(days(20), days(30));
    let seen = check.run(&context).await;
    let security = object(&seen, "security");
    assert_eq!(security.reason, UPDATES_LISTS_OLD);
    let until = Wall(NOW.0 - DAY_MS);
    assert_eq!(security.facts["expired"], Fact::Time(until));
}

#[tokio::test]
async fn an_old_suite_beside_a_new_one_makes_nothing_older() {
    let dir = tempfile::tempdir().unwrap();
    debian(dir.path());
    // Kept in the settings since the release before, and never made anew.
    write_below(
        dir.path(),
        "var/lib/apt/lists/archive.example_debian-security_dists_buster_updates_InRelease",
        "Label: Debian-Security\nCodename: buster/updates\nDate: Sat, 22 Jun 2024 20:00:00 UTC\nSHA256:\n",
    );
    let (context, _clock) = machine_at(NOW);
    let seen = check(dir.path()).run(&context).await;
    let security = object(&seen, "security");
    assert_eq!(security.facts["age_ms"], Fact::Integer(DAY_MS));
    assert_eq!(security.status, Status::Ok);
}

#[tokio::test]
async fn kernels_that_cannot_be_seen_are_not_kernels_that_run() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    debian(root);
    std::fs::remove_file(root.join("boot/vmlinuz-6.1.0-25-amd64")).unwrap();
    let (context, _clock) = machine_at(NOW);
    // A container has no kernel of its own.
    let seen = check(root).run(&context).await;
    assert_eq!(object(&seen, "reboot").reason, UPDATES_REBOOT_NONE);
    // A machine whose /boot is not mounted has one.
    write_below(root, "lib/modules/6.1.0-25-amd64/modules.dep", "");
    let seen = check(root).run(&context).await;
    assert_eq!(object(&seen, "reboot").status, Status::Unknown);
}

#[tokio::test]
async fn unchanged_files_are_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    debian(root);
    let (context, _clock) = machine_at(NOW);
    let mut check = check(root);
    let first = check.run(&context).await;
    // The same length, time and name: only reading would show the difference.
    let path = format!("{LIST}main_binary-amd64_Packages");
    let known = check.debian.clone().unwrap();
    let text = std::fs::read_to_string(root.join(&path)).unwrap();
    check.debian = Some((known.0, debian::Offer::default()));
    assert_eq!(text.matches("Package: openssl").count(), 2);
    let second = check.run(&context).await;
    assert_ne!(
        object(&first, "security").facts["pending"],
        Fact::Integer(0)
    );
    assert_eq!(
        object(&second, "security").facts["pending"],
        Fact::Integer(0)
    );
}

#[tokio::test]
async fn what_cannot_be_told_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (context, _clock) = machine_at(NOW);
    let untold = async |word: &str| {
        let seen = check(root).run(&context).await;
        let seen = object(&seen, word);
        assert_eq!(
            (seen.status, seen.reason),
            (Status::Unknown, UPDATES_UNTOLD)
        );
        seen.facts["source"].clone()
    };
    assert_eq!(untold("security").await, Fact::Word("distribution"));
    assert_eq!(untold("release").await, Fact::Word("os_release"));
    assert_eq!(untold("reboot").await, Fact::Word("kernel"));
    debian(root);
    std::fs::rename(
        root.join(format!("{LIST}main_binary-amd64_Packages")),
        root.join(format!("{LIST}main_binary-amd64_Packages.xz")),
    )
    .unwrap();
    assert_eq!(untold("security").await, Fact::Word("list_format"));
    std::fs::remove_file(root.join(format!("{LIST}InRelease"))).unwrap();
    assert_eq!(untold("security").await, Fact::Word("no_security_suite"));
    write_below(root, "proc/sys/kernel/osrelease", "6.1.0-mine\n");
    assert_eq!(untold("reboot").await, Fact::Word("kernel"));
}

#[tokio::test]
async fn a_reboot_is_needed_when_the_packages_say_so_or_a_newer_kernel_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    debian(root);
    // ctime is the real time of the file's making.
    let (context, _clock) = machine_at(NOW);
    write_below(root, "boot/vmlinuz-6.1.0-99-cloud-amd64", "");
    write_below(root, "boot/vmlinuz-6.1.0-9-amd64", "");
    assert_eq!(
        reboot::look(&context, root).await,
        Ok(None),
        "another flavour, an older one"
    );
    write_below(root, "boot/vmlinuz-6.1.0-26-amd64", "");
    assert!(reboot::look(&context, root).await.unwrap().is_some());
    write_below(root, "run/reboot-required", "");
    write_below(
        root,
        "run/reboot-required.pkgs",
        "libc6\nlinux-image\nlibc6\n",
    );
    written_at(root, "run/reboot-required", Wall(NOW.0 - 7 * DAY_MS));
    let seen = check(root).run(&context).await;
    let reboot = object(&seen, "reboot");
    assert_eq!(
        (reboot.status, reboot.reason),
        (Status::Warning, UPDATES_REBOOT)
    );
    assert_eq!(reboot.facts["packages"], Fact::Integer(2));
    written_at(root, "run/reboot-required", Wall(NOW.0 - DAY_MS));
    let seen = check(root).run(&context).await;
    assert_eq!(object(&seen, "reboot").status, Status::Ok);
}

#[tokio::test]
async fn the_end_of_a_release_is_announced_and_then_critical() {
    let dir = tempfile::tempdir().unwrap();
    let check = check(dir.path());
    let release = Release::parse("ID=debian\nVERSION_ID=\"12\"\n");
    let end = release.end().unwrap();
    for (now, status) in [
        (end.0 - 181 * DAY_MS, Status::Ok),
        (end.0 - 180 * DAY_MS, Status::Warning),
        (end.0 - 1, Status::Warning),
        (end.0, Status::Critical),
    ] {
        let seen = check.judge_release(&release, Wall(now)).unwrap();
        assert_eq!(seen.status, status, "{now}");
    }
}

#[tokio::test]
async fn dnf_is_asked_for_advisories_and_only_where_there_can_be_some() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (context, _clock) = machine_at(NOW);
    write_below(
        root,
        "etc/os-release",
        "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
    );
    let mut check = check(root);
    let mut security = async || {
        let seen = check.run(&context).await;
        object(&seen, "security").clone()
    };
    assert_eq!(security().await.facts["source"], Fact::Word("rpm_database"));
    write_below(root, "var/lib/rpm/rpmdb.sqlite", "");
    assert_eq!(security().await.facts["source"], Fact::Word("dnf_cache"));
    let repository = "var/cache/dnf/baseos-2d95c80a1fa0a67d/repodata";
    write_below(root, &format!("{repository}/repomd.xml"), "");
    written_at(
        root,
        &format!("{repository}/repomd.xml"),
        Wall(NOW.0 - DAY_MS),
    );
    assert_eq!(
        security().await.facts["source"],
        Fact::Word("no_advisories")
    );
    write_below(root, &format!("{repository}/1f-updateinfo.xml.gz"), "");
    assert_eq!(security().await.facts["source"], Fact::Word("dnf"));
    script(
        &root.join("dnf"),
        "test \"$*\" = '-C -q updateinfo info --security' && printf '  Update ID: RLSA-2026:1\\n    Updated: 2026-11-12 20:00:00\\n'",
    );
    let seen = security().await;
    assert_eq!(
        (seen.status, seen.reason),
        (Status::Warning, UPDATES_PENDING)
    );
    assert_eq!(seen.facts["age_ms"], Fact::Integer(10 * DAY_MS));
    // Unchanged, dnf is not asked again; changed, it is.
    script(&root.join("dnf"), "exit 1");
    assert_eq!(security().await.reason, UPDATES_PENDING);
    write_below(root, "var/lib/rpm/rpmdb.sqlite", "changed");
    assert_eq!(security().await.facts["source"], Fact::Word("dnf"));
}

#[test]
fn settings_are_read_and_their_mistakes_told() {
    assert!(settings(&KIND, "").is_ok());
    assert!(
        settings(
            &KIND,
            "warning = { security_age = \"30d\" }\ncritical = { security_age = \"7d\" }"
        )
        .is_err()
    );
    assert!(settings(&KIND, "lists_max_age = 3").is_err());
}

/// Every security update that apt itself would install is among ours, and ours are all behind for dpkg.
#[tokio::test]
async fn this_machine_is_told_as_apt_tells_it() {
    let apt = Program::new("/usr/bin/apt-get")
        .args([
            "-s",
            "-o",
            "Debug::NoLocking=true",
            "upgrade",
            "--with-new-pkgs",
        ])
        .env("LC_ALL", "C")
        .output();
    let Ok(apt) = apt.map(|output| String::from_utf8(output.stdout).unwrap()) else {
        return;
    };
    // "Inst libssl3 [3.0.1] (3.0.2 Debian-Security:12/oldstable-security [amd64])"
    let by_apt: Vec<&str> = apt
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter(|line| line.contains(" [") && line.contains("-security"))
        .filter_map(|line| line.split(' ').next())
        .map(|name| name.split(':').next().unwrap_or(name))
        .collect();
    let context = Machine::real();
    let root = Path::new("/");
    if !debian::is_here(&context, root).await {
        return;
    }
    let sources = debian::sources(&context, root).await.unwrap();
    match debian::read(&context, root, &sources).await {
        Ok(offer) => {
            for name in by_apt {
                assert!(
                    offer.waiting.keys().any(|(package, _)| **package == *name),
                    "apt would install {name}"
                );
            }
        }
        Err(untold) => assert_eq!((untold.source, by_apt.len()), ("no_security_suite", 0)),
    }
    let seen = settings(&KIND, "").unwrap().run(&context).await;
    assert_eq!(seen.len(), 3);
}
