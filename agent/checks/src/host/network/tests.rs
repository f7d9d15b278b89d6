#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use super::*;
use crate::host::fixture::{Machine, measured, settings};

const HEADING: &str = "Inter-|   Receive                                                |  Transmit\n \
    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

/// One line of /proc/net/dev: packets received, damaged and dropped.
fn line(name: &str, packets: u64, errors: u64, drops: u64) -> String {
    format!("{name:>6}: 1000 {packets} {errors} {drops} 0 0 0 0 2000 0 0 0 0 0 0 0\n")
}

fn set(machine: &Machine, lines: &[String]) {
    machine.file(DEV, format!("{HEADING}{}", lines.concat()));
}

fn link(machine: &Machine, name: &str, state: &str) {
    machine.file(&format!("{CLASS}/{name}/operstate"), format!("{state}\n"));
}

/// Object, status and reason of each observation.
async fn look(
    check: &mut Box<dyn Check>,
    machine: &Machine,
) -> Vec<(String, Status, &'static str)> {
    let seen = check.run(&machine.context()).await;
    seen.iter()
        .map(|seen| {
            let object = seen.object.as_ref().map_or("-", Object::as_str);
            (object.to_owned(), seen.status, seen.reason.code())
        })
        .collect()
}

fn told(name: &str, status: Status, reason: &'static str) -> (String, Status, &'static str) {
    (name.to_owned(), status, reason)
}

#[test]
fn the_kernels_table_is_read_as_a_whole_or_not_at_all() {
    let text = format!(
        "{HEADING}{}{}",
        "  eth0:300474901   15995    1    2    0     0          0         0  1173486    9985    3    4    0     0       0          0\n",
        line("lo", 5, 0, 0)
    );
    let found = parse(&text).unwrap();
    assert_eq!(
        found["eth0"],
        [300_474_901, 15_995, 1, 2, 1_173_486, 9_985, 3, 4]
    );
    assert_eq!(found.len(), 2);
    for broken in ["", "x\n", "a\nb\n", &format!("{HEADING}eth0: 1 2 3\n")] {
        assert_eq!(parse(broken), None, "{broken:?}");
    }
}

#[tokio::test]
async fn a_named_interface_must_be_there_and_up() {
    let machine = Machine::default();
    let mut check = settings(&KIND, "interfaces = [\"eth0\", \"eth1\"]").unwrap();
    set(&machine, &[line("eth0", 5, 0, 0), line("eth9", 5, 0, 0)]);
    link(&machine, "eth0", "up");
    assert_eq!(
        look(&mut check, &machine).await,
        [
            told("eth0", Status::Ok, "network.ok"),
            told("eth1", Status::Critical, "network.missing"),
        ]
    );
    link(&machine, "eth0", "lowerlayerdown");
    assert_eq!(
        look(&mut check, &machine).await[0],
        told("eth0", Status::Critical, "network.down")
    );
    link(&machine, "eth0", "unknown");
    assert_eq!(look(&mut check, &machine).await[0].1, Status::Critical);
    machine.file(&format!("{CLASS}/eth0/carrier"), "1\n");
    machine.file(&format!("{CLASS}/eth0/speed"), "1000\n");
    let seen = check.run(&machine.context()).await.remove(0);
    assert_eq!((seen.status, measured(&seen, UP)), (Status::Ok, 1.0));
    assert!((measured(&seen, SPEED) - 125e6).abs() < 1.0);
}

#[tokio::test]
async fn without_names_an_interface_counts_from_when_it_was_up() {
    let machine = Machine::default();
    let mut check = settings(&KIND, "").unwrap();
    let others = [
        line("lo", 1, 0, 0),
        line("veth12", 1, 0, 0),
        line("Weird:1", 1, 0, 0),
    ];
    set(
        &machine,
        &[&others[..], &[line("eth0", 1, 0, 0), line("eth1", 1, 0, 0)]].concat(),
    );
    link(&machine, "eth0", "up");
    link(&machine, "eth1", "down");
    assert_eq!(
        look(&mut check, &machine).await,
        [
            told("eth0", Status::Ok, "network.ok"),
            told("eth1", Status::Ok, "network.down"),
            told("-", Status::Ok, "network.watched"),
        ]
    );
    link(&machine, "eth0", "down");
    assert_eq!(look(&mut check, &machine).await[0].1, Status::Critical);
    set(&machine, &others);
    assert_eq!(
        look(&mut check, &machine).await,
        [
            told("eth0", Status::Critical, "network.missing"),
            told("-", Status::Ok, "network.watched"),
        ]
    );
    machine.file(DEV, "nonsense");
    assert_eq!(
        look(&mut check, &machine).await,
        [told("eth0", Status::Unknown, "host.unreadable")]
    );
}

#[tokio::test]
async fn without_names_only_what_has_a_device_or_bundles_some_is_judged_where_devices_are() {
    let machine = Machine::default();
    let mut check = settings(&KIND, "").unwrap();
    let own = [line("bond0", 1, 0, 0), line("ens3", 1, 0, 0)];
    let guests = [line("fwbr101i0", 1, 0, 0), line("wlp2s0", 1, 0, 0)];
    set(&machine, &[&own[..], &guests[..]].concat());
    for name in ["bond0", "ens3", "fwbr101i0", "wlp2s0"] {
        link(&machine, name, "up");
    }
    machine.file(
        &format!("{CLASS}/ens3/device/uevent"),
        "DRIVER=virtio_net\n",
    );
    machine.file(&format!("{CLASS}/bond0/bonding/mode"), "802.3ad 4\n");
    let expected = [
        told("bond0", Status::Ok, "network.ok"),
        told("ens3", Status::Ok, "network.ok"),
        told("-", Status::Ok, "network.watched"),
    ];
    assert_eq!(look(&mut check, &machine).await, expected);
    // A guest was stopped.
    set(&machine, &own);
    assert_eq!(look(&mut check, &machine).await, expected);
}

#[tokio::test]
async fn a_machine_without_an_interface_to_look_at_is_not_ok() {
    let machine = Machine::default();
    set(&machine, &[line("lo", 1, 0, 0)]);
    let mut check = settings(&KIND, "").unwrap();
    assert_eq!(
        look(&mut check, &machine).await,
        [told("-", Status::Unknown, "network.watched")]
    );
}

#[tokio::test]
async fn damaged_and_dropped_packets_are_judged_against_those_since_the_last_run() {
    let text = "interface = \"eth0\"\nwarning = { errors = \"1%\", drops = \"10%\" }\ncritical = { errors = \"5%\" }";
    // After 1,000 packets with 500 errors, which a first run does not judge: what came since.
    let table = [
        ((1_000, 0, 0), Status::Ok, "network.ok"),
        ((3, 3, 0), Status::Ok, "network.ok"),
        ((990, 9, 0), Status::Ok, "network.ok"),
        ((990, 10, 0), Status::Warning, "network.errors"),
        ((950, 50, 0), Status::Critical, "network.errors"),
        ((900, 0, 100), Status::Warning, "network.drops"),
        ((900, 50, 200), Status::Critical, "network.errors"),
        ((0, 20, 0), Status::Critical, "network.errors"),
    ];
    for ((packets, errors, drops), status, reason) in table {
        let machine = Machine::default();
        let mut check = settings(&KIND, text).unwrap();
        link(&machine, "eth0", "up");
        set(&machine, &[line("eth0", 1_000, 500, 0)]);
        assert_eq!(look(&mut check, &machine).await[0].1, Status::Ok);
        set(
            &machine,
            &[line("eth0", 1_000 + packets, 500 + errors, drops)],
        );
        assert_eq!(
            look(&mut check, &machine).await,
            [told("eth0", status, reason)],
            "{packets} {errors} {drops}"
        );
        // A driver that was loaded anew counts from zero.
        set(&machine, &[line("eth0", 10, 9, 0)]);
        assert_eq!(look(&mut check, &machine).await[0].2, "network.ok");
    }
}

#[test]
fn settings_are_told_what_is_wrong() {
    for (text, told) in [
        ("interface = \"../eth0\"", "write the name of an interface"),
        (
            "warning = { errors = \"9%\" }\ncritical = { errors = \"5%\" }",
            "above the critical",
        ),
    ] {
        let mistakes = settings(&KIND, text).err().unwrap().to_string();
        assert!(mistakes.contains(told), "{text}: {mistakes}");
    }
}

#[tokio::test]
async fn the_interfaces_of_this_machine_count_as_the_kernel_says() {
    let mut check = settings(&KIND, "interface = \"lo\"").unwrap();
    let read = |file: &str| -> f64 {
        let path = format!("/sys/class/net/lo/statistics/{file}");
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    let before = read("rx_bytes");
    let seen = check.run(&Machine::real()).await.remove(0);
    let after = read("rx_bytes");
    let told = measured(&seen, COUNTERS[0].0);
    assert!(before <= told && told <= after, "{before} {told} {after}");
    assert_eq!(seen.status, Status::Ok, "{seen:?}");
}

/// Runs itself alone in a network namespace, where root may make interfaces.
#[test]
fn a_link_that_is_taken_down_is_noticed_in_a_namespace_of_its_own() {
    const INSIDE: &str = "VIGIE_TEST_IN_NAMESPACE";
    const NAME: &str = "a_link_that_is_taken_down_is_noticed_in_a_namespace_of_its_own";
    if std::env::var_os(INSIDE).is_some() {
        taken_down();
        return;
    }
    // /sys shows the interfaces of the namespace that it was mounted in.
    let script = "mount -t sysfs sysfs /sys 2>/dev/null || exit 77\n\
        ip link add vg0 type veth peer name vg1 || exit 77\n\
        exec \"$0\" --exact --nocapture \"$1\"";
    let name = format!("{}::{NAME}", module_path!().split_once("::").unwrap().1);
    let ended = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "1")
        .output();
    let is_root = rustix::process::geteuid().is_root();
    match ended {
        // Without root, or without the tools, the fixtures above have to do.
        Err(_) if !is_root => {}
        Ok(output)
            if !is_root
                && matches!(output.status.code(), Some(1 | 77))
                && output.stdout.is_empty() => {}
        Err(error) => panic!("{error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{output:?}"
            );
        }
    }
}

fn taken_down() {
    let ip = |arguments: &[&str]| {
        assert!(
            Command::new("ip")
                .args(arguments)
                .status()
                .unwrap()
                .success()
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut check = settings(&KIND, "interfaces = [\"vg0\", \"vg9\"]").unwrap();
    let mut look = || runtime.block_on(check.run(&Machine::real()));
    // The kernel tells a link's state a moment after it changed (linkwatch).
    let mut becomes = |reason| {
        let seen = (0..100_000)
            .map(|_| look())
            .find(|seen| seen[0].reason == reason);
        seen.expect("the kernel tells it in the end")
    };
    ip(&["link", "set", "vg0", "up"]);
    ip(&["link", "set", "vg1", "up"]);
    let seen = becomes(NETWORK_OK);
    assert_eq!(seen[0].status, Status::Ok, "{seen:?}");
    assert_eq!(seen[1].reason, NETWORK_MISSING);
    ip(&["link", "set", "vg1", "down"]);
    assert_eq!(becomes(NETWORK_DOWN)[0].status, Status::Critical);
    ip(&["link", "delete", "vg0"]);
    assert_eq!(becomes(NETWORK_MISSING)[0].status, Status::Critical);
}
