#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::UdpSocket, os::unix::fs::PermissionsExt as _, path::Path, process::Command as Program,
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};
use vigie_platform::clock::Clock as _;

use super::*;
use crate::host::fixture::{
    Machine as Fixture, machine_at, measured, script, settings, write_below, written_at,
};

const NOW: Wall = Wall(1_795_380_000_000);

fn check(machine: Machine) -> Clock {
    Clock {
        offset: OFFSET_DEFAULT,
        is_offset_written: false,
        unsynchronised_for: UNSYNCHRONISED_FOR_DEFAULT,
        unsynchronised_since: None,
        machine,
    }
}

/// A machine of files below `dir` with two programs that answer as the test says.
fn machine(dir: &Path, chronyc: &str, timedatectl: &str) -> Machine {
    let machine = Machine {
        root: dir.to_owned(),
        chronyc: dir.join("chronyc"),
        chronyc_arguments: Vec::new(),
        timedatectl: dir.join("timedatectl"),
    };
    if !chronyc.is_empty() {
        script(&machine.chronyc, chronyc);
    }
    if !timedatectl.is_empty() {
        script(&machine.timedatectl, timedatectl);
    }
    machine
}

fn tracking(offset: &str, leap: &str) -> String {
    format!(
        "case \"$3\" in tracking) echo C0A80A01,192.168.10.1,3,1795379990.5,{offset},0,0,0,0,0,0.012,0.0005,64,{leap};; \
         sources) echo '^,*,192.168.10.1,2,6,377,9,0,0,0';; esac"
    )
}

fn reading(is_synchronised: bool, offset_seconds: f64) -> Reading {
    Reading {
        offset_seconds: Some(offset_seconds),
        sources: Some(2),
        last_sync: Some(Wall(NOW.0 - 60_000)),
        ..Reading::of("chrony", is_synchronised)
    }
}

#[test]
fn an_offset_is_judged_in_both_directions_and_without_rounding() {
    let mut check = check(Machine::this());
    let now = Now {
        wall: NOW,
        elapsed: Elapsed(0),
    };
    let table = [
        (0.0, Status::Ok, "clock.ok"),
        (0.099_999, Status::Ok, "clock.ok"),
        (0.1, Status::Warning, "clock.offset"),
        (-0.1, Status::Warning, "clock.offset"),
        (-0.999, Status::Warning, "clock.offset"),
        (1.0, Status::Critical, "clock.offset"),
        (-3_600.0, Status::Critical, "clock.offset"),
    ];
    for (offset, status, reason) in table {
        let seen = check.judge(&reading(true, offset), now);
        assert_eq!(
            (seen.status, seen.reason.code()),
            (status, reason),
            "{offset}"
        );
        assert_eq!(seen.facts["offset_us"], Fact::Integer(scaled(offset, 1e6)));
        assert!((measured(&seen, OFFSET) - offset).abs() < f64::EPSILON);
    }
}

#[test]
fn being_unsynchronised_is_a_warning_first_and_critical_after_an_hour() {
    let hour_ms = 3_600_000;
    let mut check = check(Machine::this());
    let mut never = Reading::of("chrony", false);
    let at = |elapsed| Now {
        wall: NOW,
        elapsed: Elapsed(elapsed),
    };
    for (elapsed, status) in [
        (5, Status::Warning),
        (hour_ms + 4, Status::Warning),
        (hour_ms + 5, Status::Critical),
    ] {
        let seen = check.judge(&never, at(elapsed));
        assert_eq!((seen.status, seen.reason), (status, CLOCK_UNSYNCHRONISED));
    }
    // Once right, the count begins anew; what the daemon says of its last measurement counts from the first run.
    assert_eq!(
        check.judge(&reading(true, 0.0), at(hour_ms + 6)).status,
        Status::Ok
    );
    assert_eq!(check.judge(&never, at(hour_ms + 7)).status, Status::Warning);
    never.last_sync = Some(Wall(NOW.0 - 3_600_000));
    let seen = check.judge(&never, at(hour_ms + 8));
    assert_eq!(seen.status, Status::Critical);
    assert_eq!(seen.facts["since"], Fact::Time(Wall(NOW.0 - 3_600_000)));
}

#[test]
fn a_clock_that_counts_as_right_without_a_source_is_a_warning() {
    let mut check = check(Machine::this());
    let now = Now {
        wall: NOW,
        elapsed: Elapsed(0),
    };
    let mut unheard = reading(true, 0.001);
    unheard.sources = Some(0);
    let seen = check.judge(&unheard, now);
    assert_eq!(
        (seen.status, seen.reason),
        (Status::Warning, CLOCK_NO_SOURCE)
    );
    let mut old = reading(true, 0.001);
    old.last_sync = Some(Wall(NOW.0 - 3_600_000));
    assert_eq!(check.judge(&old, now).reason, CLOCK_NO_SOURCE);
    unheard.offset_seconds = Some(2.0);
    assert_eq!(check.judge(&unheard, now).status, Status::Critical);
}

#[tokio::test]
async fn chrony_comes_first_then_timesyncd_then_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (context, _clock) = machine_at(NOW);
    let timedatectl = "case \"$1\" in show) echo NTPSynchronized=yes;; *) echo 'Packet count: 3'; echo 'Offset: +250ms';; esac";

    let both = machine(root, &tracking("-0.000250000", "Normal"), timedatectl);
    let seen = check(both.clone()).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Ok, CLOCK_OK));
    assert_eq!(seen.facts["source"], Fact::Word("chrony"));
    assert_eq!(seen.facts["offset_us"], Fact::Integer(250));
    assert_eq!(seen.facts["sources"], Fact::Integer(1));

    // chronyc is there, chronyd is not.
    script(&both.chronyc, "echo '506 Cannot talk to daemon'; exit 1");
    let unit = "sys/fs/cgroup/system.slice/systemd-timesyncd.service/cgroup.procs";
    write_below(root, unit, "88\n");
    write_below(root, "run/systemd/timesync/synchronized", "");
    written_at(
        root,
        "run/systemd/timesync/synchronized",
        Wall(NOW.0 - 5_000),
    );
    let seen = check(both.clone()).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Warning, CLOCK_OFFSET));
    assert_eq!(seen.facts["source"], Fact::Word("timesyncd"));
    assert_eq!(seen.facts["offset_ms"], Fact::Integer(-250));

    // Only the kernel: no offset, which is enough without a written limit.
    write_below(root, unit, "");
    let seen = check(both.clone()).run(&context).await.remove(0);
    assert_eq!(
        (seen.status, &seen.facts["source"]),
        (Status::Ok, &Fact::Word("kernel"))
    );
    let mut written = check(both.clone());
    written.is_offset_written = true;
    let seen = written.run(&context).await.remove(0);
    assert_eq!(
        (seen.status, seen.reason),
        (Status::Unknown, CLOCK_OFFSET_UNTOLD)
    );

    script(
        &both.timedatectl,
        "echo 'Failed to connect to bus' >&2; exit 1",
    );
    let seen = check(both).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Unknown, CLOCK_UNTOLD));
    let nothing = machine(&root.join("none"), "", "");
    let seen = check(nothing).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Unknown, CLOCK_UNTOLD));
}

#[tokio::test]
async fn a_synchronisation_just_made_needs_no_word_of_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (context, _clock) = machine_at(NOW);
    // Each `show` starts a service of systemd's, which logs three lines.
    let status =
        "case \"$1\" in show) exit 9;; *) echo 'Packet count: 3'; echo 'Offset: +2ms';; esac";
    let machine = machine(root, "", status);
    let unit = "sys/fs/cgroup/system.slice/systemd-timesyncd.service/cgroup.procs";
    write_below(root, unit, "88\n");
    let file = "run/systemd/timesync/synchronized";
    write_below(root, file, "");
    written_at(root, file, Wall(NOW.0 - 2_048_000));
    let seen = check(machine.clone()).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Ok, CLOCK_OK));
    written_at(root, file, Wall(NOW.0 - 2 * 3_600_000));
    let seen = check(machine).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Unknown, CLOCK_SILENT));
}

#[tokio::test]
async fn a_daemon_that_runs_and_does_not_tell_is_unknown_and_nobody_answers_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (context, clock) = machine_at(NOW);
    let context = context.until(clock.elapsed().plus_ms(5_000));
    let refused = machine(
        dir.path(),
        "echo '501 Not authorised'; exit 1",
        "echo NTPSynchronized=yes",
    );
    let unit = "sys/fs/cgroup/system.slice/chronyd.service/cgroup.procs";
    write_below(dir.path(), unit, "5\n");
    let seen = check(refused.clone()).run(&context).await.remove(0);
    assert_eq!((seen.status, seen.reason), (Status::Unknown, CLOCK_SILENT));
    script(&refused.chronyc, "echo garbage");
    let seen = check(refused).run(&context).await.remove(0);
    assert_eq!(seen.status, Status::Unknown);
}

#[test]
fn settings_are_read_and_their_mistakes_told() {
    assert!(settings(&KIND, "").is_ok());
    assert!(
        settings(
            &KIND,
            "warning = { offset = \"50ms\" }\nunsynchronised_for = \"4h\""
        )
        .is_ok()
    );
    for wrong in [
        "warning = { offset = 5 }",
        "warning = { offset = \"2s\" }\ncritical = { offset = \"1s\" }",
        "warning = { offsett = \"2s\" }",
    ] {
        assert!(settings(&KIND, wrong).is_err(), "{wrong}");
    }
}

/// How often a test gives way while a daemon opens its socket: seconds, where one turn is enough.
const TURNS_MAX: u32 = 5_000_000;

/// A chronyd of the test's own, which never touches the clock (`-x`).
struct Chronyd {
    pid: Pid,
    socket: PathBuf,
}

impl Chronyd {
    /// Returns once it can be asked, which is a moment after it has put itself into the background.
    fn start(dir: &Path, name: &str, lines: &str) -> Self {
        let (settings, socket) = (
            dir.join(format!("{name}.conf")),
            dir.join(format!("{name}.sock")),
        );
        let pid_file = dir.join(format!("{name}.pid"));
        let text = format!(
            "cmdport 0\nbindcmdaddress {}\npidfile {}\n{lines}\n",
            socket.display(),
            pid_file.display()
        );
        std::fs::write(&settings, text).unwrap();
        let user = Program::new("id").arg("-un").output().unwrap().stdout;
        let started = Program::new("/usr/sbin/chronyd")
            .args([
                "-x",
                "-U",
                "-u",
                std::str::from_utf8(&user).unwrap().trim(),
                "-f",
            ])
            .arg(&settings)
            .status()
            .expect("chronyd is one of the test packages");
        assert!(started.success());
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let started = Self { pid, socket };
        for _ in 0..TURNS_MAX {
            if started.socket.exists() {
                break;
            }
            std::thread::yield_now();
        }
        assert!(started.socket.exists(), "{name} opened no socket");
        started
    }

    fn machine(&self, root: &Path) -> Machine {
        Machine {
            root: root.to_owned(),
            chronyc_arguments: vec!["-h".to_owned(), self.socket.display().to_string()],
            timedatectl: "/no/such/program".into(),
            ..Machine::this()
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

#[tokio::test]
async fn a_real_chronyd_tells_the_same_as_to_chronyc_and_one_that_hangs_is_unknown() {
    // chronyd opens no socket in a folder that others may enter.
    let dir = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = Chronyd::start(
        dir.path(),
        "server",
        &format!("port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 3"),
    );
    let client = Chronyd::start(
        dir.path(),
        "client",
        &format!("port 0\nserver 127.0.0.1 port {port} iburst minpoll -4 maxpoll -4"),
    );
    let is_synchronised = Program::new("/usr/bin/chronyc")
        .arg("-h")
        .arg(&client.socket)
        .args(["waitsync", "300", "0", "0", "0.1"])
        .status()
        .unwrap();
    assert!(is_synchronised.success());

    let context = Fixture::real();
    let seen = check(client.machine(dir.path()))
        .run(&context)
        .await
        .remove(0);
    assert_eq!(
        (seen.status, seen.reason),
        (Status::Ok, CLOCK_OK),
        "{seen:?}"
    );
    assert_eq!(seen.facts["source"], Fact::Word("chrony"));
    assert_eq!(seen.facts["sources"], Fact::Integer(1));
    assert_eq!(seen.facts["stratum"], Fact::Integer(4));
    assert!(measured(&seen, OFFSET).abs() < 0.01);
    let age_seconds = context.clock.wall().0 as f64 / 1e3 - measured(&seen, LAST_SYNC);
    assert!((-1.0..60.0).contains(&age_seconds), "{age_seconds}");

    // A client that never heard anybody is not synchronised.
    let alone = Chronyd::start(dir.path(), "alone", "port 0");
    let seen = check(alone.machine(dir.path()))
        .run(&context)
        .await
        .remove(0);
    assert_eq!(
        (seen.status, seen.reason),
        (Status::Warning, CLOCK_UNSYNCHRONISED)
    );

    client.send(Signal::STOP);
    let (context, clock) = machine_at(NOW);
    let context = context.until(clock.elapsed().plus_ms(5_000));
    let mut hung = check(client.machine(dir.path()));
    let (seen, ()) = tokio::join!(hung.run(&context), async {
        let clock = Arc::clone(&clock);
        clock.advance(Duration::from_millis(4_000));
    });
    assert_eq!(
        (seen[0].status, seen[0].reason),
        (Status::Unknown, CLOCK_SILENT)
    );
    client.send(Signal::CONT);
    drop(server);
}

/// Whatever this machine says, it is what timedatectl says where systemd runs, and never `ok` where nothing tells.
#[tokio::test]
async fn this_machine_is_told_as_its_own_programs_tell_it() {
    let seen = settings(&KIND, "")
        .unwrap()
        .run(&Fixture::real())
        .await
        .remove(0);
    let told = Program::new("/usr/bin/timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    let told = told.map(|output| String::from_utf8(output.stdout).unwrap());
    match told.as_deref().map(str::trim) {
        Ok("yes") => assert_ne!(seen.reason, CLOCK_UNSYNCHRONISED),
        Ok("no") => assert_ne!(seen.status, Status::Ok),
        _ => assert!(seen.status != Status::Ok || seen.facts["source"] == Fact::Word("chrony")),
    }
}
