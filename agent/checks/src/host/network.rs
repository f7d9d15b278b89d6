//! `network`: has each interface its link, and do its packets come through whole?
//!
//! **What is judged.** With `interfaces` (or `interface`) exactly those, and one that is absent or has no link is
//! critical. Else every interface that a machine has of its own: one with a device behind it, and bonds. Where none has a
//! device (a container), all but loopback. What containers, virtual machines and tunnels bring, and radio links, which come
//! and go ([`VIRTUAL`]), are left out everywhere. Of those it is not known whether a cable belongs in them, so one is judged
//! from the first time on that it was seen with a link in this agent's life: without a link or gone after that, it is
//! critical. An interface whose name is no configured name cannot be named outside the node; those are counted.
//!
//! **What is measured.** The kernel's counters (/proc/net/dev, one read for all interfaces), the state
//! (/sys/class/net/X/operstate, and `carrier` where a driver leaves the state unknown) and the speed. Damaged and dropped
//! packets are judged as shares of those since the run before, and not below [`PACKETS_MIN`] of them; so a first run
//! judges only the link. Drops have no limit of their own: a kernel also counts packets that nobody listens for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use vigie_core::{
    observation::{MetricId, NotAnObject, Object, Observation},
    reason::host::{
        NETWORK_DOWN, NETWORK_DROPS, NETWORK_ERRORS, NETWORK_MISSING, NETWORK_OK, NETWORK_WATCHED,
    },
    status::{Family, Status},
};
use vigie_machine::Context;
use vigie_platform::settings_file::{Percent, Section};

use super::{
    limits::{self, Limits, Share, Verdict, limit_permille},
    numbers::as_metric,
    source,
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const UP: MetricId = MetricId("vigie_network_up");
const SPEED: MetricId = MetricId("vigie_network_speed_bytes_per_second");

/// The kernel's counters in the order of [`Counters`].
const COUNTERS: [(MetricId, &str); 8] = [
    (
        MetricId("vigie_network_receive_bytes_total"),
        "Bytes received.",
    ),
    (
        MetricId("vigie_network_receive_packets_total"),
        "Packets received.",
    ),
    (
        MetricId("vigie_network_receive_errors_total"),
        "Packets that arrived damaged.",
    ),
    (
        MetricId("vigie_network_receive_drops_total"),
        "Packets that arrived and were thrown away.",
    ),
    (
        MetricId("vigie_network_transmit_bytes_total"),
        "Bytes sent.",
    ),
    (
        MetricId("vigie_network_transmit_packets_total"),
        "Packets sent.",
    ),
    (
        MetricId("vigie_network_transmit_errors_total"),
        "Packets that could not be sent.",
    ),
    (
        MetricId("vigie_network_transmit_drops_total"),
        "Packets thrown away instead of sent.",
    ),
];

const fn counter(position: usize) -> MetricSpec {
    let (id, help) = COUNTERS[position];
    MetricSpec {
        id,
        metric_type: MetricType::Counter,
        help,
        label: "",
    }
}

/// The kind `network`.
pub static KIND: Kind = Kind {
    name: "network",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: UP,
            metric_type: MetricType::Gauge,
            help: "1 where the interface has its link, else 0.",
            label: "",
        },
        MetricSpec {
            id: SPEED,
            metric_type: MetricType::Gauge,
            help: "Speed of the link, where the driver tells it.",
            label: "",
        },
        counter(0),
        counter(1),
        counter(2),
        counter(3),
        counter(4),
        counter(5),
        counter(6),
        counter(7),
    ],
    target_key: "interface",
    example: r#"[check.reseau]
kind = "network"
interfaces = ["eth0", "eth1"]        # or one: interface = "eth0"; without: all that are not virtual
warning = { errors = "1%", drops = "10%" }   # of the packets since the last run
critical = { errors = "5%" }
"#,
    build,
};

const DEV: &str = "/proc/net/dev";
const CLASS: &str = "/sys/class/net";

/// Beginnings of names of interfaces that other software makes and removes as it likes.
const VIRTUAL: [&str; 26] = [
    "br-", "cali", "cilium", "cni", "docker", "dummy", "flannel", "fwbr", "fwln", "fwpr", "ifb",
    "kube", "lxc", "lxd", "podman", "ppp", "sit", "tap", "tun", "veth", "vif", "virbr", "vnet",
    "wg", "wl", "ww",
];

/// Interfaces judged by one check; a machine with more of its own is a switch.
const INTERFACES_MAX: usize = 256;

/// Bad packets below which no share is judged: one of three packets is no sign.
const PACKETS_MIN: u64 = 10;

/// The longest of the one-word files.
const WORD_LEN_MAX: usize = 64;

/// Limits of `errors` where none are written.
const ERRORS_DEFAULT: Limits<Percent> = Limits::new(Percent::whole(1), Percent::whole(5));

/// What the kernel counted: bytes, packets, errors and drops, received and then sent.
type Counters = [u64; 8];

struct Network {
    /// Empty when every interface of the machine's own is judged.
    named: Vec<Object>,
    errors: Limits<Percent>,
    drops: Limits<Percent>,
    /// What was counted at the run before, of each interface.
    earlier: BTreeMap<Object, Counters>,
    /// Those seen with a link.
    were_up: BTreeSet<Object>,
    /// Whether there is a device behind each interface, by name.
    have_device: BTreeMap<String, bool>,
}

/// The name of an interface that may leave the node.
struct InterfaceName(Object);

impl std::str::FromStr for InterfaceName {
    type Err = NotAnObject;

    fn from_str(text: &str) -> Result<Self, NotAnObject> {
        // No folder: the name becomes part of a path.
        Object::configured(text).map(Self)
    }
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    const MEND: &str = "write the name of an interface, such as \"eth0\"";
    let [errors, drops] = limits::read(section, ["errors", "drops"], |table, key| {
        table.percent(key)
    });
    let one = section
        .parsed::<InterfaceName>("interface", MEND)
        .optional();
    let named = section
        .parsed_list::<InterfaceName>("interfaces", MEND)
        .or(Vec::new());
    let named: BTreeSet<Object> = named.into_iter().chain(one).map(|name| name.0).collect();
    if named.len() > INTERFACES_MAX {
        section.mistake(
            "interfaces",
            format!("more than {INTERFACES_MAX} interfaces in one check"),
            "divide them among several checks",
        );
    }
    Some(Box::new(Network {
        named: named.into_iter().collect(),
        errors: errors.or(ERRORS_DEFAULT),
        drops,
        earlier: BTreeMap::new(),
        were_up: BTreeSet::new(),
        have_device: BTreeMap::new(),
    }))
}

impl Check for Network {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            self.look(context)
                .await
                .unwrap_or_else(|unknown| self.all_unknown(&unknown))
        })
    }
}

impl Network {
    /// Nothing could be read: that is said of whatever is judged.
    fn all_unknown(&self, unknown: &Observation) -> Vec<Observation> {
        let objects: Vec<&Object> = if self.named.is_empty() {
            self.were_up.iter().collect()
        } else {
            self.named.iter().collect()
        };
        if objects.is_empty() {
            return vec![unknown.clone()];
        }
        let of = |object: &Object| unknown.clone().of(object.clone());
        objects.into_iter().map(of).collect()
    }

    async fn look(&mut self, context: &Context) -> Result<Vec<Observation>, Observation> {
        let text = source::read_text(context, DEV).await?;
        let found = parse(&text).ok_or_else(|| source::unintelligible(DEV))?;
        let mut seen = Vec::new();
        let mut skipped = 0_u64;
        let judged: Vec<Object> = if self.named.is_empty() {
            let mut judged = self.were_up.clone();
            for name in self.own(context, &found).await {
                match Object::configured(name) {
                    Ok(object) if judged.len() < INTERFACES_MAX => {
                        judged.insert(object);
                    }
                    Ok(_) | Err(_) => skipped += 1,
                }
            }
            judged.into_iter().collect()
        } else {
            self.named.clone()
        };
        for object in &judged {
            let Some(counters) = found.get(object.as_str()) else {
                self.earlier.remove(object);
                seen.push(
                    Observation::new(Status::Critical, NETWORK_MISSING)
                        .of(object.clone())
                        .measure(UP, 0.0),
                );
                continue;
            };
            let is_up = is_up(context, object.as_str()).await;
            let observation = match &is_up {
                Ok(true) => {
                    self.were_up.insert(object.clone());
                    self.judge(object, counters)
                }
                Ok(false) if self.named.is_empty() && !self.were_up.contains(object) => {
                    // No cable was ever seen in it.
                    Observation::new(Status::Ok, NETWORK_DOWN)
                }
                Ok(false) => Observation::new(Status::Critical, NETWORK_DOWN),
                Err(error) => source::unreadable(CLASS, error),
            };
            let mut observation = observation.of(object.clone());
            if let Ok(is_up) = is_up {
                observation = observation.measure(UP, f64::from(u8::from(is_up)));
            }
            if let Some(speed) = speed(context, object.as_str()).await {
                observation = observation.measure(SPEED, speed);
            }
            for ((metric, _), count) in COUNTERS.iter().zip(counters) {
                observation = observation.measure(*metric, as_metric(*count));
            }
            self.earlier.insert(object.clone(), *counters);
            seen.push(observation);
        }
        if self.named.is_empty() {
            let mut watched = Observation::new(Status::Ok, NETWORK_WATCHED)
                .fact("interfaces", judged.len() as u64);
            if skipped > 0 {
                watched = watched.fact("skipped", skipped);
            }
            if judged.is_empty() {
                watched.status = Status::Unknown;
            }
            seen.push(watched);
        }
        Ok(seen)
    }

    /// The interfaces that the machine has of its own, as far as sysfs and their names tell.
    async fn own<'t>(
        &mut self,
        context: &Context,
        found: &BTreeMap<&'t str, Counters>,
    ) -> Vec<&'t str> {
        let (mut own, mut with_device) = (Vec::new(), Vec::new());
        for name in found.keys().copied().filter(|name| !is_virtual(name)) {
            own.push(name);
            let has_device = match self.have_device.get(name) {
                Some(has_device) => *has_device,
                None => {
                    let has_device = has_device(context, name).await;
                    self.have_device.insert(name.to_owned(), has_device);
                    has_device
                }
            };
            if has_device {
                with_device.push(name);
            }
        }
        self.have_device
            .retain(|name, _| found.contains_key(name.as_str()));
        if with_device.is_empty() {
            own
        } else {
            with_device
        }
    }

    fn judge(&self, object: &Object, now: &Counters) -> Observation {
        let since = self
            .earlier
            .get(object)
            .and_then(|earlier| since(earlier, now));
        let Some(
            [
                _,
                received,
                receive_errors,
                receive_drops,
                _,
                sent,
                send_errors,
                send_drops,
            ],
        ) = since
        else {
            return Observation::new(Status::Ok, NETWORK_OK);
        };
        let whole = received.saturating_add(sent);
        let errors = receive_errors.saturating_add(send_errors);
        let drops = receive_drops.saturating_add(send_drops);
        // Damaged packets are not among those that the kernel counts as received.
        let share = |bad: u64| Share::of(bad, whole.saturating_add(bad));
        let verdict = |bad: u64, limits: Limits<Percent>| match share(bad) {
            Some(share) if bad >= PACKETS_MIN => share.judge(limits),
            _ => Verdict::Within,
        };
        let permille = |bad: u64| share(bad).map_or(0, Share::permille);
        let (of_errors, of_drops) = (verdict(errors, self.errors), verdict(drops, self.drops));
        let drops_are_worse = of_drops.status().rank() > of_errors.status().rank();
        match (of_errors.limit(), of_drops.limit()) {
            (errors_limit, Some(limit)) if errors_limit.is_none() || drops_are_worse => {
                Observation::new(of_drops.status(), NETWORK_DROPS)
                    .fact("drops", drops)
                    .fact("drops_permille", permille(drops))
                    .fact("limit_permille", limit_permille(limit))
            }
            (Some(limit), _) => Observation::new(of_errors.status(), NETWORK_ERRORS)
                .fact("errors", errors)
                .fact("errors_permille", permille(errors))
                .fact("limit_permille", limit_permille(limit)),
            (None, _) => Observation::new(Status::Ok, NETWORK_OK)
                .fact("errors_permille", permille(errors))
                .fact("drops_permille", permille(drops)),
        }
    }
}

/// Every interface of /proc/net/dev (two lines of heading); `None` if it is no such file.
fn parse(text: &str) -> Option<BTreeMap<&str, Counters>> {
    let mut lines = text.lines();
    let heading = lines.nth(1)?;
    if !heading.contains("bytes") {
        return None;
    }
    let mut found = BTreeMap::new();
    for line in lines {
        let (name, columns) = line.rsplit_once(':')?;
        let mut numbers = [0_u64; 16];
        let mut columns = columns.split_ascii_whitespace();
        for number in &mut numbers {
            *number = columns.next()?.parse().ok()?;
        }
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_drops,
            _,
            _,
            _,
            _,
            tx @ ..,
        ] = numbers;
        let counters = [
            rx_bytes, rx_packets, rx_errors, rx_drops, tx[0], tx[1], tx[2], tx[3],
        ];
        found.insert(name.trim(), counters);
    }
    Some(found)
}

/// What was counted in between; `None` if a counter began anew.
fn since(earlier: &Counters, now: &Counters) -> Option<Counters> {
    let mut since = [0; 8];
    for ((since, earlier), now) in since.iter_mut().zip(earlier).zip(now) {
        *since = now.checked_sub(*earlier)?;
    }
    Some(since)
}

fn is_virtual(name: &str) -> bool {
    name == "lo" || VIRTUAL.iter().any(|begin| name.starts_with(begin))
}

/// Whether the interface is a device's, or a bond, which stands for several. Names that are no configured ones count: that
/// they are left out is told.
async fn has_device(context: &Context, name: &str) -> bool {
    for file in ["device/uevent", "bonding/mode"] {
        let path: PathBuf = [CLASS, name, file].iter().collect();
        if context.files.read_start(&path, 1).await.is_ok() {
            return true;
        }
    }
    false
}

/// Whether the interface has its link (RFC 2863 §3.1.13, as the kernel tells it).
async fn is_up(context: &Context, name: &str) -> std::io::Result<bool> {
    let state = word(context, name, "operstate").await?;
    Ok(match &*state {
        "up" => true,
        // Drivers that never say. The kernel refuses `carrier` of an interface that is switched off.
        "unknown" => word(context, name, "carrier")
            .await
            .is_ok_and(|carrier| carrier == "1"),
        _ => false,
    })
}

/// In bytes a second. -1, or no answer, where a driver does not know.
async fn speed(context: &Context, name: &str) -> Option<f64> {
    let megabits: u32 = word(context, name, "speed").await.ok()?.parse().ok()?;
    (megabits > 0 && megabits < u32::MAX).then(|| f64::from(megabits) * 125_000.0)
}

async fn word(context: &Context, name: &str, file: &str) -> std::io::Result<String> {
    let path: PathBuf = [CLASS, name, file].iter().collect();
    let content = context.files.read(&path, WORD_LEN_MAX).await?;
    Ok(String::from_utf8_lossy(&content).trim().to_owned())
}

#[cfg(test)]
mod tests;
