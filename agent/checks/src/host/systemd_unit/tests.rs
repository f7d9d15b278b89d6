//! Judged by a table, and against a real systemd: `systemd --user` in a mount and control group namespace of its own, on a
//! private bus. That needs root and systemd; where they are not, only the tests without it can say something.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use vigie_machine::bus::Bus;

use super::*;
use crate::host::fixture::{Machine, measured, settings};

fn state(active: &str, sub: &str) -> State {
    State {
        load: "loaded".to_owned(),
        active: active.to_owned(),
        sub: sub.to_owned(),
        path: zbus::ObjectPath::try_from("/a").unwrap().into(),
    }
}

#[test]
fn every_state_of_systemd_has_its_status() {
    use Status::{Critical, Ok, Unknown, Warning};
    let now = Now {
        wall: Wall(1_000_000_000),
        elapsed: Elapsed(0),
    };
    let just = now.wall.0 - 1_000;
    let long = now.wall.0 - 3_600_000;
    let table = [
        (
            "active",
            "running",
            "simple",
            "success",
            just,
            0,
            Ok,
            "unit.active",
        ),
        (
            "active",
            "running",
            "simple",
            "success",
            just,
            2,
            Ok,
            "unit.active",
        ),
        (
            "active",
            "running",
            "simple",
            "success",
            just,
            3,
            Critical,
            "unit.restarting",
        ),
        (
            "active",
            "exited",
            "oneshot",
            "success",
            just,
            0,
            Ok,
            "unit.active",
        ),
        (
            "reloading",
            "reload",
            "simple",
            "success",
            just,
            0,
            Ok,
            "unit.changing",
        ),
        (
            "activating",
            "start",
            "notify",
            "success",
            just,
            0,
            Ok,
            "unit.changing",
        ),
        (
            "activating",
            "start",
            "notify",
            "success",
            long,
            0,
            Warning,
            "unit.changing",
        ),
        (
            "activating",
            "start",
            "notify",
            "success",
            just,
            9,
            Critical,
            "unit.restarting",
        ),
        (
            "activating",
            "start",
            "oneshot",
            "success",
            long,
            0,
            Ok,
            "unit.changing",
        ),
        (
            "activating",
            "auto-restart",
            "simple",
            "exit-code",
            just,
            0,
            Critical,
            "unit.restarting",
        ),
        (
            "activating",
            "auto-restart-queued",
            "simple",
            "exit-code",
            just,
            1,
            Critical,
            "unit.restarting",
        ),
        (
            "deactivating",
            "stop-sigterm",
            "simple",
            "success",
            long,
            0,
            Warning,
            "unit.changing",
        ),
        (
            "failed",
            "failed",
            "simple",
            "exit-code",
            just,
            0,
            Critical,
            "unit.failed",
        ),
        (
            "failed",
            "failed",
            "oneshot",
            "signal",
            just,
            0,
            Critical,
            "unit.failed",
        ),
        (
            "inactive",
            "dead",
            "simple",
            "success",
            just,
            0,
            Critical,
            "unit.inactive",
        ),
        (
            "inactive",
            "dead",
            "oneshot",
            "success",
            just,
            0,
            Ok,
            "unit.done",
        ),
        (
            "inactive",
            "dead",
            "oneshot",
            "exit-code",
            just,
            0,
            Critical,
            "unit.inactive",
        ),
        (
            "inactive",
            "dead",
            "",
            "",
            just,
            0,
            Critical,
            "unit.inactive",
        ),
        (
            "maintenance",
            "cleaning",
            "simple",
            "success",
            just,
            0,
            Critical,
            "unit.inactive",
        ),
        (
            "quantum",
            "both",
            "simple",
            "success",
            just,
            0,
            Unknown,
            "host.unreadable",
        ),
    ];
    for (active, sub, service_type, result, since, recent, status, reason) in table {
        let known = Known {
            details: Details {
                since: Some(Wall(since)),
                active_since: Some(Wall(since)),
                restarts: Some(recent),
                result: result.to_owned(),
                service_type: service_type.to_owned(),
            },
            events: [(now.elapsed, recent)].into(),
            ..Known::default()
        };
        let seen = judge(&state(active, sub), &known, 3, 600_000, now);
        assert_eq!(
            (seen.status, seen.reason.code()),
            (status, reason),
            "{active} {sub} {service_type} {result} {recent}"
        );
    }
}

#[test]
fn restarts_count_for_as_long_as_they_are_recent() {
    let mut known = Known::default();
    let at = |elapsed| Now {
        wall: Wall(0),
        elapsed: Elapsed(elapsed),
    };
    let news = |failures| watch::News {
        is_changed: true,
        failures,
    };
    known.count(1, Some(&news(1)), at(0));
    known.count(0, Some(&news(2)), at(1_000));
    known.count(0, None, at(1_500));
    assert_eq!((known.recent(), known.failures), (3, 3));
    known.forget_before(Elapsed(10_500), 10_000);
    assert_eq!(known.recent(), 2);
    known.forget_before(Elapsed(12_000), 10_000);
    assert_eq!(known.recent(), 0);
}

#[test]
fn settings_are_told_what_is_wrong() {
    for (text, told) in [
        ("", "`unit` is missing"),
        ("unit = \"nginx\"", "whole name of a unit"),
        ("units = [\"postgresql@.service\"]", "whole name of a unit"),
        ("unit = \"a.service\"\nrestarts = 0", "restarts"),
        (
            "unit = \"a.service\"\nrestarts_within = \"1s\"",
            "out of bounds",
        ),
    ] {
        let mistakes = settings(&KIND, text).err().unwrap().to_string();
        assert!(mistakes.contains(told), "{text}: {mistakes}");
    }
}

/// A bus of the test's own; `None` without dbus-daemon(1).
struct PrivateBus {
    daemon: Child,
    dir: tempfile::TempDir,
}

impl PrivateBus {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let daemon = Self::daemon(dir.path())?;
        Some(Self { daemon, dir })
    }

    /// Writes the daemon's settings.
    fn configure(dir: &Path) {
        let config = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
             </policy></busconfig>",
            dir.join("bus").display()
        );
        std::fs::write(dir.join("bus.conf"), config).unwrap();
    }

    fn daemon(dir: &Path) -> Option<Child> {
        Self::configure(dir);
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", dir.join("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It says its address once it listens.
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        assert!(address.starts_with("unix:"), "{address}");
        Some(daemon)
    }

    fn address(&self) -> String {
        address(self.dir.path())
    }

    /// Ends the bus and starts it anew at the same address.
    fn restart(&mut self) {
        self.stop();
        self.daemon = Self::daemon(self.dir.path()).unwrap();
    }

    fn stop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_file(self.dir.path().join("bus"));
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
    }
}

fn address(dir: &Path) -> String {
    format!("unix:path={}", dir.join("bus").display())
}

/// This machine with the bus at `address`. A test that waits for an answer that never comes fails.
fn context(address: &str) -> Context {
    let machine = Machine::real();
    let context = Context {
        bus: Bus::at(address),
        ..machine
    };
    context.until(context.clock.elapsed().plus_ms(60_000))
}

/// A systemd of the test's own, with a bus that is one of its units: only then does it answer there.
struct PrivateSystemd {
    dir: tempfile::TempDir,
    systemd: Child,
    cgroup: PathBuf,
}

/// Everything systemd would change is its own: /run, its control groups, its units.
const SCRIPT: &str = r#"
echo $$ > "$CGROUP/cgroup.procs" || exit 77
exec unshare --mount --cgroup sh -c '
mount -t tmpfs run /run && mkdir -p /run/systemd/system || exit 77
mount -t tmpfs cgroup /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 77
exec /lib/systemd/systemd --user --log-target=null'
"#;

impl PrivateSystemd {
    /// `None` without root, systemd, a bus or the second version of control groups.
    fn start(units: &[(&str, &str)]) -> Option<Self> {
        // Whoever is root has the test packages (packaging/install-test-packages.sh), and is not told that all is well.
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let cgroup2 = mounts.lines().find_map(|line| {
            let (fields, source) = line.split_once(" - ")?;
            source
                .starts_with("cgroup2 ")
                .then(|| fields.split(' ').nth(4))?
        })?;
        let own_dir = tempfile::tempdir().unwrap();
        let dir = own_dir.path();
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
        PrivateBus::configure(dir);
        let name = format!("vigie-test-{}", dir.file_name().unwrap().to_str().unwrap());
        let cgroup = Path::new(cgroup2).join(name);
        std::fs::create_dir(&cgroup).ok()?;
        let folder = dir.join("units");
        std::fs::create_dir(&folder).unwrap();
        for target in ["default", "basic", "shutdown", "sysinit"] {
            let file = folder.join(format!("{target}.target"));
            std::fs::write(file, "[Unit]\nDescription=test\n").unwrap();
        }
        let bus = [
            ("dbus.socket", "[Socket]\nListenStream=%t/bus\n".to_owned()),
            (
                "dbus.service",
                format!(
                    "[Unit]\nRequires=dbus.socket\n[Service]\nExecStart=/usr/bin/dbus-daemon --config-file={} \
                     --address=systemd: --nofork --nopidfile\n",
                    dir.join("bus.conf").display()
                ),
            ),
        ];
        let bus = bus.iter().map(|(unit, text)| (*unit, text.as_str()));
        for (unit, text) in units.iter().copied().chain(bus) {
            std::fs::write(folder.join(unit), text).unwrap();
        }
        let ready = UnixDatagram::bind(dir.join("notify")).unwrap();
        let systemd = Command::new("sh")
            .args(["-c", SCRIPT])
            .env("CGROUP", &cgroup)
            .env("DBUS_SESSION_BUS_ADDRESS", address(dir))
            .env("XDG_RUNTIME_DIR", dir)
            .env("HOME", dir)
            .env("SYSTEMD_UNIT_PATH", &folder)
            .env("NOTIFY_SOCKET", dir.join("notify"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut started = Self {
            dir: own_dir,
            systemd,
            cgroup,
        };
        let answers = started.is_ready(&ready) && started.answers_on_its_bus();
        assert!(answers, "systemd does not start in namespaces of its own");
        Some(started)
    }

    /// Waits until it says so, as it would to the systemd above it.
    fn is_ready(&mut self, notify: &UnixDatagram) -> bool {
        let patience = Duration::from_millis(100);
        notify.set_read_timeout(Some(patience)).unwrap();
        let mut message = [0; 4096];
        for _ in 0..300 {
            match notify.recv(&mut message) {
                Ok(len) if message[..len].windows(7).any(|part| part == b"READY=1") => return true,
                Ok(_) => {}
                // What must be there for the namespaces is not.
                Err(_) if self.systemd.try_wait().unwrap().is_some() => return false,
                Err(_) => {}
            }
        }
        panic!("systemd does not become ready");
    }

    /// Starts the bus, and waits until systemd is on it.
    fn answers_on_its_bus(&self) -> bool {
        self.systemctl(&["start", "dbus.service"]);
        (0..2_000).any(|_| {
            let ended = Command::new("busctl")
                .args(["--user", "--quiet", "status", "org.freedesktop.systemd1"])
                .env("DBUS_SESSION_BUS_ADDRESS", address(self.dir.path()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            ended.is_ok_and(|status| status.success())
        })
    }

    /// What systemctl(1) says.
    fn systemctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("systemctl")
            .arg("--user")
            .args(arguments)
            .env("DBUS_SESSION_BUS_ADDRESS", address(self.dir.path()))
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Asks again and again until the property has this value.
    fn wait(&self, unit: &str, property: &str, value: &str) {
        for _ in 0..2_000 {
            if self.systemctl(&["show", unit, "--value", "-p", property]) == value {
                return;
            }
        }
        panic!("{unit} does not come to {property}={value}");
    }

    fn context(&self) -> Context {
        context(&address(self.dir.path()))
    }
}

impl Drop for PrivateSystemd {
    fn drop(&mut self) {
        let _ = std::fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.systemd.kill();
        let _ = self.systemd.wait();
        // A group goes once the kernel has let go of the last process in it.
        for _ in 0..10_000 {
            if remove_groups(&self.cgroup).is_ok() {
                break;
            }
            std::thread::yield_now();
        }
    }
}

fn remove_groups(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    std::fs::remove_dir(dir)
}

/// Unit, status and reason of each observation.
fn told(seen: &[Observation]) -> Vec<(&str, Status, &'static str)> {
    seen.iter()
        .map(|seen| {
            let unit = seen.object.as_ref().unwrap().as_str();
            (unit, seen.status, seen.reason.code())
        })
        .collect()
}

const LASTING: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

#[tokio::test]
async fn units_of_a_real_systemd_are_judged_as_systemctl_shows_them() {
    let Some(systemd) = PrivateSystemd::start(&[
        (
            "bad.service",
            "[Service]\nExecStart=/bin/false\nType=oneshot\n",
        ),
        (
            "once.service",
            "[Service]\nExecStart=/bin/true\nType=oneshot\n",
        ),
        ("runs.service", LASTING),
        ("stopped.service", LASTING),
        (
            "waits.service",
            "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=1h\n",
        ),
        (
            "ticks.timer",
            "[Timer]\nOnActiveSec=1h\nUnit=once.service\n",
        ),
    ]) else {
        return;
    };
    for unit in [
        "runs.service",
        "bad.service",
        "once.service",
        "waits.service",
        "ticks.timer",
    ] {
        systemd.systemctl(&["start", unit]);
    }
    systemd.wait("waits.service", "SubState", "auto-restart");
    let mut check = settings(
        &KIND,
        "units = [\"bad.service\", \"none.service\", \"once.service\", \"runs.service\", \
         \"stopped.service\", \"ticks.timer\", \"waits.service\"]",
    )
    .unwrap();
    let context = systemd.context();
    let expected = [
        ("bad.service", Status::Critical, "unit.failed"),
        ("none.service", Status::Critical, "unit.missing"),
        ("once.service", Status::Ok, "unit.done"),
        ("runs.service", Status::Ok, "unit.active"),
        ("stopped.service", Status::Critical, "unit.inactive"),
        ("ticks.timer", Status::Ok, "unit.active"),
        ("waits.service", Status::Critical, "unit.restarting"),
    ];
    // The second time from what was kept.
    for _ in 0..2 {
        assert_eq!(told(&check.run(&context).await), expected);
    }
    let seen = check.run(&context).await;
    let shown = systemd.systemctl(&[
        "show",
        "runs.service",
        "--value",
        "-p",
        "StateChangeTimestamp",
        "--timestamp=unix",
    ]);
    let shown: f64 = shown.trim_start_matches('@').parse().unwrap();
    let since = measured(&seen[3], SINCE);
    assert!((shown..shown + 1.0).contains(&since), "{shown} {since}");

    systemd.systemctl(&["stop", "runs.service"]);
    systemd.systemctl(&["start", "stopped.service"]);
    let seen = check.run(&context).await;
    assert_eq!(
        told(&seen)[3],
        ("runs.service", Status::Critical, "unit.inactive")
    );
    assert_eq!(
        told(&seen)[4],
        ("stopped.service", Status::Ok, "unit.active")
    );
}

#[tokio::test]
async fn a_real_unit_that_keeps_coming_back_is_in_a_loop_though_it_runs() {
    let restarting =
        format!("{LASTING}Restart=always\nRestartSec=0\n[Unit]\nStartLimitIntervalSec=0\n");
    let Some(systemd) =
        PrivateSystemd::start(&[("loop.service", &restarting), ("flap.service", LASTING)])
    else {
        return;
    };
    systemd.systemctl(&["start", "loop.service", "flap.service"]);
    let mut check = settings(&KIND, "units = [\"flap.service\", \"loop.service\"]").unwrap();
    let context = systemd.context();
    let ok = [
        ("flap.service", Status::Ok, "unit.active"),
        ("loop.service", Status::Ok, "unit.active"),
    ];
    assert_eq!(told(&check.run(&context).await), ok);

    for restarts in ["1", "2", "3"] {
        systemd.systemctl(&["kill", "--signal=KILL", "loop.service"]);
        systemd.wait("loop.service", "NRestarts", restarts);
        systemd.wait("loop.service", "SubState", "running");
    }
    // Nobody restarts this one but a person, between two runs.
    systemd.systemctl(&["kill", "--signal=KILL", "flap.service"]);
    systemd.wait("flap.service", "ActiveState", "failed");
    systemd.systemctl(&["start", "flap.service"]);
    let mut seen = check.run(&context).await;
    assert_eq!(
        told(&seen)[1],
        ("loop.service", Status::Critical, "unit.restarting")
    );
    assert_eq!(measured(&seen[1], RESTARTS), 3.0);
    // The signal came before the answer; the task that hears it may have its turn after it.
    for _ in 0..100 {
        if measured(&seen[0], FAILURES) > 0.0 {
            break;
        }
        tokio::task::yield_now().await;
        seen = check.run(&context).await;
    }
    assert_eq!(told(&seen)[0], ("flap.service", Status::Ok, "unit.active"));
    assert_eq!(measured(&seen[0], FAILURES), 1.0);
    assert_eq!(seen[0].facts.get("restarts"), Some(&1_u64.into()));
}

#[tokio::test]
async fn without_a_bus_or_a_systemd_on_it_every_unit_is_unknown_and_a_bus_that_comes_back_is_used()
{
    let mut check = settings(&KIND, "units = [\"a.service\", \"b.service\"]").unwrap();
    let unknown = [
        ("a.service", Status::Unknown, "unit.no_bus"),
        ("b.service", Status::Unknown, "unit.no_bus"),
    ];
    let nowhere = context("unix:path=/nonexistent/bus");
    assert_eq!(told(&check.run(&nowhere).await), unknown);

    let Some(mut bus) = PrivateBus::start() else {
        return;
    };
    let context = context(&bus.address());
    assert_eq!(told(&check.run(&context).await), unknown);
    let first = context.bus.connection().await.unwrap();
    bus.stop();
    first.closed().await;
    assert_eq!(told(&check.run(&context).await), unknown);
    context.bus.connection().await.unwrap_err();
    bus.restart();
    drop(context.bus.connection().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_does_not_answer_costs_no_more_than_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let context = context(&format!("unix:path={}", path.display()));
    let context = context.until(context.clock.elapsed().plus_ms(200));
    let mut check = settings(&KIND, "unit = \"a.service\"").unwrap();
    let seen = check.run(&context).await;
    assert_eq!(told(&seen), [("a.service", Status::Unknown, "unit.no_bus")]);
}

#[tokio::test]
async fn a_unit_under_another_of_its_names_is_the_same_unit() {
    let restarting =
        format!("{LASTING}Restart=always\nRestartSec=0\n[Unit]\nStartLimitIntervalSec=0\n");
    let Some(systemd) = PrivateSystemd::start(&[("mariadb.service", &restarting)]) else {
        return;
    };
    let alias = systemd.dir.path().join("units/mysql.service");
    std::os::unix::fs::symlink("mariadb.service", alias).unwrap();
    systemd.systemctl(&["daemon-reload"]);
    systemd.systemctl(&["start", "mariadb.service"]);
    let mut check = settings(&KIND, "unit = \"mysql.service\"").unwrap();
    let context = systemd.context();
    let seen = check.run(&context).await;
    assert_eq!(
        told(&seen),
        [("mysql.service", Status::Ok, "unit.active")],
        "{seen:?}"
    );
    // Its signals come from the unit that it is.
    for restarts in ["1", "2", "3"] {
        systemd.systemctl(&["kill", "--signal=KILL", "mariadb.service"]);
        systemd.wait("mariadb.service", "NRestarts", restarts);
        systemd.wait("mariadb.service", "SubState", "running");
    }
    let mut seen = check.run(&context).await;
    for _ in 0..100 {
        if seen[0].status != Status::Ok {
            break;
        }
        tokio::task::yield_now().await;
        seen = check.run(&context).await;
    }
    assert_eq!(
        told(&seen),
        [("mysql.service", Status::Critical, "unit.restarting")]
    );
}
