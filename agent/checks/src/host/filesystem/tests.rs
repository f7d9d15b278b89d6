#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::host::fixture::{Machine, Mounted, measured, settings};

const GB: u64 = 1_000_000_000;

/// A file system of 100 GB, 5 of them kept for root, with this much used.
fn used(used_gb: u64) -> Usage {
    Usage {
        total_bytes: 100 * GB,
        free_bytes: (100 - used_gb) * GB,
        available_bytes: (95_u64.saturating_sub(used_gb)) * GB,
        total_inodes: 1_000,
        free_inodes: 900,
        is_read_only: false,
    }
}

fn machine(mountinfo: &[&str], fstab: &str) -> Machine {
    let machine = Machine::default();
    machine.file(FSTAB, fstab);
    machine.file(MOUNTINFO, mountinfo.join("\n"));
    for mount in parse_mountinfo(mountinfo.join("\n").as_bytes()) {
        machine.mount(mount.point, Mounted::Is(used(10)));
    }
    machine
}

/// What a run says, as `object status reason`.
async fn run(check: &mut Box<dyn Check>, machine: &Machine) -> Vec<String> {
    let seen = check.run(&machine.context()).await;
    seen.iter()
        .map(|seen| {
            let object = seen.object.as_ref().map_or("-", Object::as_str);
            format!("{object} {} {}", seen.status, seen.reason)
        })
        .collect()
}

const ROOT: &str = "28 1 254:0 / / rw shared:1 - ext4 /dev/sda1 rw";
const ROOT_READ_ONLY: &str = "28 1 254:0 / / rw shared:1 - ext4 /dev/sda1 ro";

#[tokio::test]
async fn space_and_inodes_are_judged_as_df_counts() {
    let unlimited = |usage: Usage| Usage {
        total_inodes: 0,
        free_inodes: 0,
        ..usage
    };
    let inodes = |usage: Usage, free| Usage {
        free_inodes: free,
        ..usage
    };
    // 85 % of 95 GB are 80.75 GB, 95 % are 90.25 GB.
    let table = [
        (used(80), Status::Ok, "filesystem.ok"),
        (used(81), Status::Warning, "filesystem.full"),
        (used(90), Status::Warning, "filesystem.full"),
        (used(91), Status::Critical, "filesystem.full"),
        (used(98), Status::Critical, "filesystem.full"),
        (unlimited(used(10)), Status::Ok, "filesystem.ok"),
        (inodes(used(10), 151), Status::Ok, "filesystem.ok"),
        (inodes(used(10), 150), Status::Warning, "filesystem.inodes"),
        (inodes(used(81), 50), Status::Critical, "filesystem.inodes"),
        (inodes(used(81), 100), Status::Warning, "filesystem.full"),
        (inodes(used(91), 50), Status::Critical, "filesystem.full"),
    ];
    let machine = machine(&[ROOT], "");
    let mut check = settings(&KIND, "").unwrap();
    for (usage, status, reason) in table {
        machine.mount("/", Mounted::Is(usage));
        assert_eq!(
            run(&mut check, &machine).await,
            [format!("/ {status} {reason}")],
            "{usage:?}"
        );
    }
    let seen = check.run(&machine.context()).await.remove(0);
    assert_eq!(seen.facts["used_permille"], 957_u64.into());
    assert_eq!(seen.facts["available_bytes"], (4 * GB).into());
}

#[tokio::test]
async fn file_systems_are_judged_once_and_the_kernels_own_not_at_all() {
    let machine = machine(
        &[
            "22 28 0:21 / /proc rw - proc proc rw",
            "23 28 0:22 / /sys rw - sysfs sysfs rw",
            ROOT,
            "30 28 254:0 /srv/www /home rw - ext4 /dev/sda1 rw",
            "31 28 0:45 / /var/lib/docker/overlay2/9f2c/merged rw - overlay overlay rw",
            "32 28 0:46 / /run/user/1000 rw - tmpfs tmpfs rw",
            "33 28 0:47 / /snap/core/1 ro - squashfs /dev/loop0 ro",
            "34 28 0:48 / /net rw - autofs systemd-1 rw",
            "35 34 0:49 / /net/nas/marie rw - nfs4 nas:/marie rw",
            "36 28 0:50 / /home rw - tmpfs tmpfs ro",
            "37 28 8:17 / /var/lib/postgresql rw - xfs /dev/sdb1 rw",
        ],
        "UUID=1 / ext4 defaults\nUUID=2 /var/lib/postgresql xfs defaults\n",
    );
    let mut check = settings(&KIND, "").unwrap();
    assert_eq!(
        run(&mut check, &machine).await,
        ["/ ok filesystem.ok", "/var/lib/postgresql ok filesystem.ok"]
    );
    assert_eq!(
        machine.asked(),
        [Path::new("/"), Path::new("/var/lib/postgresql")]
    );
}

#[tokio::test]
async fn a_mount_point_that_could_name_a_person_is_counted_without_its_name_and_never_forgotten() {
    let stick = "40 28 8:33 / /media/marie/CLE\\040USB rw - vfat /dev/sdc1 rw";
    let control = "41 28 8:34 / /srv/a\\011b rw - ext4 /dev/sdd1 rw";
    let fuse = "42 28 0:60 / /media/jean/secret rw - fuse.encfs encfs rw";
    let machine = machine(
        &[ROOT, stick, control, fuse],
        "UUID=1 / ext4\nUUID=2 /srv/a\\011b ext4\n",
    );
    machine.mount("/media/jean/secret", Mounted::Fails(13));
    let mut check = settings(&KIND, "").unwrap();
    let all_well = ["/ ok filesystem.ok", "- ok filesystem.ok"];
    assert_eq!(run(&mut check, &machine).await, all_well);

    machine.mount("/media/marie/CLE USB", Mounted::Is(used(91)));
    assert_eq!(
        run(&mut check, &machine).await[1],
        "- critical filesystem.full"
    );
    machine.mount("/media/marie/CLE USB", Mounted::Is(used(10)));
    machine.mount("/srv/a\tb", Mounted::Is(used(82)));
    let seen = check.run(&machine.context()).await.remove(1);
    assert_eq!((seen.status, seen.measurements.len()), (Status::Warning, 0));

    machine.file(MOUNTINFO, ROOT);
    machine.file(FSTAB, "");
    assert_eq!(
        run(&mut check, &machine).await,
        all_well,
        "the observation stays when its cause is gone"
    );
}

#[tokio::test]
async fn what_should_be_mounted_and_is_not_is_told() {
    let fstab = "UUID=1 / ext4\nUUID=2 /data xfs defaults\nUUID=3 /extra xfs nofail\n\
        UUID=4 /media/k auto noauto\nnas:/b /backup nfs _netdev,x-systemd.automount\nUUID=5 /gone ext4\n";
    let automount = "34 28 0:48 / /backup rw - autofs systemd-1 rw";
    let machine = machine(&[ROOT, automount], fstab);
    let mut check = settings(&KIND, "exclude = [\"/gone/\"]").unwrap();
    assert_eq!(
        run(&mut check, &machine).await,
        [
            "/ ok filesystem.ok",
            "/data critical filesystem.missing",
            "/extra warning filesystem.missing"
        ]
    );

    let mut named = settings(&KIND, "mounts = [\"/srv/\", \"/backup\", \"/\"]").unwrap();
    assert_eq!(
        run(&mut named, &machine).await,
        [
            "/ ok filesystem.ok",
            "/backup unknown host.unreadable",
            "/srv critical filesystem.missing"
        ]
    );
    assert!(
        !machine.asked().contains(&PathBuf::from("/backup")),
        "the trap is not sprung"
    );

    let mut one = settings(&KIND, "mount = \"/\"").unwrap();
    assert_eq!(run(&mut one, &machine).await, ["/ ok filesystem.ok"]);
}

#[tokio::test]
async fn read_only_is_bad_where_it_was_not_wanted() {
    let fstab = "UUID=1 / ext4 errors=remount-ro\nUUID=2 /usr ext4 ro\n";
    let usr = "29 28 254:1 / /usr ro - ext4 /dev/sda2 ro";
    let var = |options: &str| format!("30 28 254:2 / /var rw - ext4 /dev/sda3 {options}");
    let machine = machine(&[ROOT, usr, &var("rw")], fstab);
    machine.mount("/usr", Mounted::Is(used(91)));
    let mut check = settings(&KIND, "").unwrap();
    let well = [
        "/ ok filesystem.ok",
        "/usr ok filesystem.ok",
        "/var ok filesystem.ok",
    ];
    assert_eq!(
        run(&mut check, &machine).await,
        well,
        "what is read-only on purpose has no limits"
    );

    machine.file(MOUNTINFO, [ROOT_READ_ONLY, usr, &var("ro")].join("\n"));
    for _ in 0..2 {
        assert_eq!(
            run(&mut check, &machine).await,
            [
                "/ critical filesystem.read_only",
                "/usr ok filesystem.ok",
                "/var critical filesystem.read_only"
            ]
        );
    }
    machine.mount("/", Mounted::Fails(5));
    let seen = check.run(&machine.context()).await;
    assert_eq!(seen[0].reason, FILESYSTEM_READ_ONLY);
    assert_eq!(measured(&seen[2], READ_ONLY), 1.0);

    machine.file(MOUNTINFO, [ROOT, usr, &var("rw")].join("\n"));
    machine.mount("/", Mounted::Is(used(10)));
    assert_eq!(run(&mut check, &machine).await, well);
}

#[tokio::test]
async fn read_only_after_an_error_is_bad_whatever_fstab_says() {
    let fstab = "UUID=1 / ext4 errors=remount-ro\nUUID=2 /usr ext4 ro\n";
    let root = "28 1 254:0 / / rw shared:1 - ext4 /dev/sda1 rw,errors=remount-ro,emergency_ro";
    let usr = "29 28 254:1 / /usr ro - ext4 /dev/sda2 ro,emergency_ro";
    let var = "30 28 254:2 / /var rw - ext4 /dev/sda3 rw,shutdown";
    let machine = machine(&[root, usr, var], fstab);
    let mut check = settings(&KIND, "").unwrap();
    for _ in 0..2 {
        assert_eq!(
            run(&mut check, &machine).await,
            [
                "/ critical filesystem.read_only",
                "/usr critical filesystem.read_only",
                "/var critical filesystem.read_only"
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_mount_is_critical_alone() {
    let nfs = "30 28 0:50 / /srv rw - nfs4 nas:/srv rw";
    let opt = "31 28 0:51 / /opt rw - nfs4 nas:/opt rw";
    let machine = machine(&[ROOT, nfs, opt], "");
    machine.mount("/srv", Mounted::HangsSince(Elapsed(0)));
    machine.mount("/opt", Mounted::Fails(116));
    let mut check = settings(&KIND, "").unwrap();
    let seen = check.run(&machine.context()).await;
    let statuses: Vec<_> = seen
        .iter()
        .map(|seen| (seen.status, seen.reason.code()))
        .collect();
    assert_eq!(
        statuses,
        [
            (Status::Ok, "filesystem.ok"),
            (Status::Unknown, "host.unreadable"),
            (Status::Critical, "filesystem.stuck"),
        ]
    );
    assert_eq!(seen[1].facts["errno"], 116_i64.into());
    assert!(seen[2].facts.contains_key("since_ms"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_another_check_made_just_now_is_waited_for() {
    let machine = machine(&[ROOT], "");
    machine.mount("/", Mounted::HangsSince(Machine::real().clock.elapsed()));
    let mut check = settings(&KIND, "").unwrap();
    let context = machine.context();
    let answered = async {
        tokio::time::sleep(ASK_AGAIN_AFTER / 2).await;
        machine.mount("/", Mounted::Is(used(10)));
    };
    let (seen, ()) = tokio::join!(check.run(&context), answered);
    assert_eq!(seen[0].reason, FILESYSTEM_OK);
}

#[tokio::test]
async fn many_mounts_are_all_asked() {
    let lines: Vec<String> = (0..100)
        .map(|n| format!("{n} 1 9:{n} / /srv/{n} rw - xfs /dev/x rw"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let fstab: String = (0..100)
        .map(|n| format!("UUID={n} /srv/{n} xfs\n"))
        .collect();
    let machine = machine(&lines, &fstab);
    let mut check = settings(&KIND, "").unwrap();
    assert_eq!(check.run(&machine.context()).await.len(), 100);
    assert_eq!(machine.asked().len(), 100);
}

#[tokio::test]
async fn the_size_of_the_sandbox_is_not_told_as_the_homes() {
    let home = "30 28 254:3 / /home rw - ext4 /dev/sda4 rw";
    let run_tmpfs = "31 28 0:30 / /run rw - tmpfs tmpfs rw";
    let over_home = "32 30 0:30 /systemd/inaccessible/dir /home ro - tmpfs tmpfs rw";
    let machine = machine(
        &[ROOT, home, run_tmpfs, over_home],
        "UUID=1 / ext4\nUUID=2 /home ext4\n",
    );
    let mut check = settings(&KIND, "").unwrap();
    assert_eq!(
        run(&mut check, &machine).await,
        [
            "/ ok filesystem.ok",
            "/home unknown host.unreadable",
            "/run ok filesystem.ok"
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown() {
    let machine = Machine::default();
    let mut check = settings(&KIND, "").unwrap();
    assert_eq!(
        run(&mut check, &machine).await,
        ["- unknown host.unreadable"]
    );
    let sizeless = Usage {
        total_bytes: 0,
        free_bytes: 0,
        available_bytes: 0,
        ..used(0)
    };
    machine.file(MOUNTINFO, "28 1 254:0 / / rw shared:1 - ext4 /dev/sda1 rw");
    machine.mount("/", Mounted::Is(sizeless));
    assert_eq!(
        run(&mut check, &machine).await,
        ["/ unknown host.unreadable"]
    );
}

#[test]
fn settings_say_what_is_wrong() {
    let table = [
        ("mounts = [\"srv\"]", "mount point"),
        (
            "mounts = [\"/srv\"]\nexclude = [\"/srv\"]",
            "both named and excluded",
        ),
        (
            "warning = { used = \"95%\" }\ncritical = { used = \"85%\" }",
            "above the critical one",
        ),
        ("warning = { free = \"5%\" }", "`free`"),
        ("warning = { used = 85 }", "quotes"),
    ];
    for (text, expected) in table {
        let mistakes = settings(&KIND, text)
            .err()
            .map(|mistakes| mistakes.to_string());
        assert!(
            mistakes.as_ref().is_some_and(|m| m.contains(expected)),
            "{text}: {mistakes:?}"
        );
    }
}

#[test]
fn the_examples_of_this_family_are_accepted() {
    use crate::host::{cpu, load, memory};

    for kind in [&cpu::KIND, &load::KIND, &memory::KIND, &KIND] {
        let own_keys: String = kind
            .example
            .lines()
            .filter(|line| !line.starts_with('[') && !line.starts_with("kind"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(settings(kind, &own_keys).is_ok(), "{}", kind.example);
    }
}

#[tokio::test]
async fn the_root_of_this_machine_is_measured_as_statvfs_says() {
    let mut check = settings(&KIND, "mount = \"/\"").unwrap();
    let seen = check.run(&Machine::real()).await.remove(0);
    let truth = rustix::fs::statvfs("/").unwrap();
    let used_blocks = truth.f_blocks - truth.f_bfree;
    #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
    let as_df = used_blocks as f64 / (used_blocks + truth.f_bavail) as f64;
    assert_eq!(
        measured(&seen, SIZE),
        as_metric(truth.f_blocks * truth.f_frsize)
    );
    assert!(
        (measured(&seen, USED) - as_df).abs() < 0.02,
        "{seen:?}, df {as_df}"
    );
}
