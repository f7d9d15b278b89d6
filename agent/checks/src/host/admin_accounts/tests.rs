#![expect(clippy::unwrap_used, reason = "tests")]

use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

use vigie_core::{id::CheckName, time::Elapsed};
use vigie_machine::state::accept;
use vigie_platform::disk::RealDisk;

use super::*;
use crate::host::fixture::{Machine, measured, settings, write_below};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n\
    bob:x:1001:1001::/home/bob:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\nbroken\n";

/// A machine in a folder, watched by an agent with a state folder.
struct Stage {
    root: tempfile::TempDir,
    state: tempfile::TempDir,
    check: AdminAccounts,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write_below(root.path(), "etc/passwd", PASSWD);
        write_below(root.path(), "etc/group", "root:x:0:\nsudo:x:27:alice\n");
        write_below(
            root.path(),
            "etc/sudoers",
            "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
        );
        write_below(root.path(), "etc/sudoers.d/README.md", "nobody ALL=ALL\n");
        write_below(
            root.path(),
            "root/.ssh/authorized_keys",
            "ssh-ed25519 AAAA root@x\n# x\n",
        );
        let check = AdminAccounts {
            root: root.path().to_owned(),
        };
        Self {
            root,
            state: tempfile::tempdir().unwrap(),
            check,
        }
    }

    fn write(&self, path: &str, content: &str) {
        write_below(self.root.path(), path, content);
    }

    fn name() -> CheckName {
        "comptes".parse().unwrap()
    }

    async fn observations(&mut self) -> Vec<Observation> {
        let context = Machine::real()
            .with_state(Arc::new(RealDisk), self.state.path())
            .of_run(&Self::name(), Elapsed(u64::MAX));
        self.check.run(&context).await
    }

    /// Object, status, reason and the number that the reason is about.
    async fn look(&mut self) -> Vec<(String, Status, &'static str)> {
        let seen = self.observations().await;
        seen.iter()
            .map(|seen| {
                let object = seen.object.as_ref().unwrap().to_string();
                (object, seen.status, seen.reason.code())
            })
            .collect()
    }

    fn accept(&self) {
        accept(self.state.path(), &Self::name()).unwrap().unwrap();
    }
}

fn told(
    uid0: (Status, &'static str),
    sudoers: (Status, &'static str),
    keys: (Status, &'static str),
) -> Vec<(String, Status, &'static str)> {
    [
        ("uid0", uid0),
        ("sudoers", sudoers),
        ("authorized_keys", keys),
    ]
    .into_iter()
    .map(|(object, (status, reason))| (object.to_owned(), status, reason))
    .collect()
}

const LEARNED: (Status, &str) = (Status::Ok, "admin.learned");
const OK: (Status, &str) = (Status::Ok, "admin.ok");
const ADDED: (Status, &str) = (Status::Warning, "admin.added");
const UNREADABLE_NOW: (Status, &str) = (Status::Unknown, "admin.unreadable");

#[tokio::test]
async fn the_first_look_is_accepted_and_what_comes_later_alerts_until_somebody_accepts_it() {
    let mut stage = Stage::new();
    assert_eq!(stage.look().await, told(LEARNED, LEARNED, LEARNED));
    assert_eq!(stage.look().await, told(OK, OK, OK));

    stage.write("etc/sudoers.d/bob", "bob ALL=(ALL) NOPASSWD: ALL\n");
    stage.write("home/alice/.ssh/authorized_keys2", "ssh-rsa BBBB\n");
    stage.write(
        "etc/passwd",
        &format!("{PASSWD}toor:x:0:0::/root:/bin/sh\n"),
    );
    let critical = (Status::Critical, "admin.added");
    for _ in 0..2 {
        assert_eq!(stage.look().await, told(critical, ADDED, ADDED));
    }
    // Another life of the agent knows no better.
    let (root, state) = (stage.root, stage.state);
    let check = AdminAccounts {
        root: root.path().to_owned(),
    };
    let mut stage = Stage { root, state, check };
    assert_eq!(stage.look().await, told(critical, ADDED, ADDED));

    stage.accept();
    // What came after the look that was accepted is not accepted with it.
    stage.write("etc/group", "sudo:x:27:alice,bob\n");
    assert_eq!(stage.look().await, told(OK, ADDED, OK));
    stage.accept();
    assert_eq!(stage.look().await, told(OK, OK, OK));
}

#[tokio::test]
async fn what_is_gone_is_told_and_no_alert_and_coming_back_is_none_either() {
    let mut stage = Stage::new();
    stage.look().await;
    stage.write("etc/group", "sudo:x:27:\n");
    let removed = (Status::Ok, "admin.removed");
    assert_eq!(stage.look().await, told(OK, removed, OK));
    stage.write("etc/group", "sudo:x:27:alice\n");
    assert_eq!(stage.look().await, told(OK, OK, OK));
    stage.write("etc/group", "sudo:x:27:bob\n");
    let seen = stage.observations().await;
    assert_eq!(
        (seen[1].status, seen[1].reason),
        (Status::Warning, ADMIN_ADDED)
    );
    assert_eq!(seen[1].facts.get("added"), Some(&Fact::Integer(1)));
    assert_eq!(seen[1].facts.get("removed"), Some(&Fact::Integer(1)));
}

#[tokio::test]
async fn sets_are_counted_and_nothing_in_clear_leaves_or_is_kept() {
    let mut stage = Stage::new();
    stage.write("etc/sudoers.d/ops", "%ops ALL=(ALL) ALL\n");
    let seen = stage.observations().await;
    let counts: Vec<f64> = seen.iter().map(|seen| measured(seen, COUNT)).collect();
    // root; alice, root's rule and the one of ops; root's key.
    assert_eq!(counts, [1.0, 3.0, 1.0]);
    let kept = std::fs::read_to_string(stage.state.path().join("checks/comptes.json")).unwrap();
    let all = format!("{kept}{seen:?}");
    for secret in ["alice", "root", "ops", "AAAA"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_unknown_and_not_learned() {
    let mut stage = Stage::new();
    // A folder in the file's place cannot be read by anybody, root included.
    std::fs::remove_file(stage.root.path().join("etc/sudoers")).unwrap();
    stage.write("etc/sudoers/x", "");
    stage.write("home/bob/.ssh/authorized_keys/x", "");
    let expected = told(LEARNED, UNREADABLE_NOW, UNREADABLE_NOW);
    assert_eq!(stage.look().await, expected);
    let seen = stage.observations().await;
    assert_eq!(seen[2].facts.get("unreadable"), Some(&Fact::Integer(1)));
    // Accepting takes no part for the whole.
    stage.accept();
    assert_eq!(stage.look().await, told(OK, UNREADABLE_NOW, UNREADABLE_NOW));
    std::fs::remove_dir_all(stage.root.path().join("home/bob/.ssh/authorized_keys")).unwrap();
    assert_eq!(stage.look().await, told(OK, UNREADABLE_NOW, LEARNED));
    // Known to be new counts more than not knowing all.
    stage.write("home/bob/.ssh/authorized_keys/x", "");
    stage.write("home/alice/.ssh/authorized_keys", "ssh-ed25519 CCCC\n");
    let seen = stage.observations().await;
    assert_eq!(
        (seen[2].status, seen[2].reason),
        (Status::Warning, ADMIN_ADDED)
    );
    assert_eq!(seen[2].facts.get("unreadable"), Some(&Fact::Integer(1)));
    assert_eq!(seen[2].facts.get("removed"), None);
}

#[tokio::test]
async fn keys_are_looked_for_where_sshd_takes_them_from() {
    let mut stage = Stage::new();
    stage.write(
        "etc/ssh/sshd_config",
        "Include /etc/ssh/sshd_config.d/*.conf\n#AuthorizedKeysFile none\n",
    );
    stage.write(
        "etc/ssh/sshd_config.d/keys.conf",
        "AuthorizedKeysFile /etc/ssh/keys/%u # here\n",
    );
    stage.write("etc/ssh/keys/bob", "ssh-ed25519 A\nssh-ed25519 B\n");
    let seen = stage.observations().await;
    assert_eq!(measured(&seen[2], COUNT), 2.0);
    stage.write(
        "etc/ssh/sshd_config.d/keys.conf",
        "AuthorizedKeysFile /etc/ssh/keys/%k\n",
    );
    let seen = stage.observations().await;
    assert_eq!(
        (seen[2].status, seen[2].reason),
        (Status::Unknown, ADMIN_UNREADABLE)
    );
}

#[tokio::test]
async fn homes_that_the_sandbox_hides_are_not_empty_ones() {
    let mut stage = Stage::new();
    stage.write(
        "proc/self/mountinfo",
        "100 90 0:50 / /home ro,nosuid shared:1 - tmpfs tmpfs ro,mode=755\n",
    );
    assert_eq!(stage.look().await, told(LEARNED, LEARNED, UNREADABLE_NOW));
}

#[tokio::test]
async fn a_state_that_cannot_be_read_or_kept_is_unknown_but_still_no_file_is_lost() {
    let mut stage = Stage::new();
    let no_baseline = (Status::Unknown, "admin.no_baseline");
    stage.look().await;
    let file = stage.state.path().join("checks/comptes.json");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(
        stage.look().await,
        told(no_baseline, no_baseline, no_baseline)
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"{}");

    let mut stage = Stage::new();
    std::fs::write(stage.state.path().join("checks"), b"no folder").unwrap();
    assert_eq!(
        stage.look().await,
        told(no_baseline, no_baseline, no_baseline)
    );
}

#[tokio::test]
async fn without_accounts_nothing_is_known() {
    let mut stage = Stage::new();
    std::fs::remove_file(stage.root.path().join("etc/passwd")).unwrap();
    let unknown = (Status::Unknown, "host.unreadable");
    assert_eq!(stage.look().await, told(unknown, unknown, unknown));
}

#[tokio::test]
async fn this_machine_is_counted_without_a_state_folder() {
    let mut check = settings(&KIND, "").unwrap();
    let seen = check.run(&Machine::real()).await;
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let roots = passwd
        .lines()
        .filter(|line| line.split(':').nth(2) == Some("0"))
        .count();
    assert_eq!(measured(&seen[0], COUNT), as_metric(roots as u64));
    assert_eq!(seen.len(), 3);
    let is_private = std::fs::metadata("/etc/passwd")
        .unwrap()
        .permissions()
        .mode()
        & 0o004
        == 0;
    assert!(!is_private);
}
