//! `filesystem`: room and inodes left on each mounted file system, and whether what should be mounted is.
//!
//! **What is judged.** With `mounts` (or `mount`) exactly the named mount points; else every mounted file system that
//! holds data: kernel and image types ([`NO_DATA`]), containers' layers, a user's private mounts, what an automounter
//! brought, and `exclude`d places with all below them are left out. A file system mounted at several points is judged
//! once. A trap of an automounter is never touched.
//!
//! **What is named.** A mount point may name a person (`/media/marie/…`), so only those of fstab, of the settings and of
//! [`USUAL`] are objects. All others share one observation without an object, which tells the worst of them without its
//! path; a path too long for an object or with control characters goes there too, so that nothing is ever left out in
//! silence. `df` on the node shows which it is.
//!
//! **What is bad.** Space is counted as df(1) does, used / (used + available to all): 100 % means that only root can
//! still write. No answer is `filesystem.stuck`; each mount is asked in a thread of its own, so that a dead one hangs only
//! itself. A file system that fstab wants writable, or that was writable earlier in this agent's life, and is read-only
//! now is `filesystem.read_only` (ext4's `errors=remount-ro`); so is, whatever fstab says, one that the kernel itself
//! stopped after an error (`emergency_ro`, `shutdown`, since Linux 6.15; 6.12 to 6.14 show nothing of it). One that is read-only on purpose has no limits. What
//! `mounts` names and is not mounted is `filesystem.missing`, critical; so is a line of fstab, warning with `nofail`.
//! fstab's mount points are compared as they are written: one that is a symbolic link has to be excluded.
//!
//! Where the agent's own sandbox hides a file system behind an empty one (`ProtectHome=tmpfs`), the size of the empty one
//! is not told as the other's: that is `unknown`.

mod mounts;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;
use vigie_core::{
    observation::{MetricId, NotAnObject, Object, Observation},
    reason::host::{
        FILESYSTEM_FULL, FILESYSTEM_INODES, FILESYSTEM_MISSING, FILESYSTEM_OK,
        FILESYSTEM_READ_ONLY, FILESYSTEM_STUCK,
    },
    status::{Family, Status},
    time::Elapsed,
};
use vigie_machine::{
    Context,
    files::{Files, Statvfs, Usage},
};
use vigie_platform::{
    clock::Clock,
    settings_file::{Percent, Section},
};

use self::mounts::{
    AUTOFS, Mount, Presence, Wanted, parse_fstab, parse_mountinfo, without_end_slash,
};
use super::{
    limits::{self, Limits, Share, limit_permille},
    numbers::as_metric,
    source,
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const SIZE: MetricId = MetricId("vigie_host_filesystem_size_bytes");
const FREE: MetricId = MetricId("vigie_host_filesystem_free_bytes");
const AVAILABLE: MetricId = MetricId("vigie_host_filesystem_available_bytes");
const USED: MetricId = MetricId("vigie_host_filesystem_used_ratio");
const INODES: MetricId = MetricId("vigie_host_filesystem_inodes");
const INODES_FREE: MetricId = MetricId("vigie_host_filesystem_inodes_free");
const READ_ONLY: MetricId = MetricId("vigie_host_filesystem_read_only");

/// The kind `filesystem`.
pub static KIND: Kind = Kind {
    name: "filesystem",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: SIZE,
            metric_type: MetricType::Gauge,
            help: "Size of the file system.",
            label: "",
        },
        MetricSpec {
            id: FREE,
            metric_type: MetricType::Gauge,
            help: "Free space, with what is reserved for root.",
            label: "",
        },
        MetricSpec {
            id: AVAILABLE,
            metric_type: MetricType::Gauge,
            help: "Free space for everybody.",
            label: "",
        },
        MetricSpec {
            id: USED,
            metric_type: MetricType::Gauge,
            help: "Used space as a share of what is used or available to everybody, as df counts.",
            label: "",
        },
        MetricSpec {
            id: INODES,
            metric_type: MetricType::Gauge,
            help: "Inodes, where their number is fixed.",
            label: "",
        },
        MetricSpec {
            id: INODES_FREE,
            metric_type: MetricType::Gauge,
            help: "Inodes not used.",
            label: "",
        },
        MetricSpec {
            id: READ_ONLY,
            metric_type: MetricType::Gauge,
            help: "Whether the file system is read-only (1) or not (0).",
            label: "",
        },
    ],
    target_key: "mount",
    example: r#"[check.disques]
kind = "filesystem"
warning = { used = "85%", inodes = "85%" }
critical = { used = "95%", inodes = "95%" }
exclude = ["/mnt/archives"]
"#,
    build,
};

const MOUNTINFO: &str = "/proc/self/mountinfo";
const FSTAB: &str = "/etc/fstab";

/// Limits where none are written.
const DEFAULT: Limits<Percent> = Limits::new(Percent::whole(85), Percent::whole(95));

/// Mounts asked at a time: far below the threads that may hang at all, so that a few dead mounts leave room for others.
const ASKED_AT_ONCE: usize = 16;

/// Another check may be asking the same mount at this moment, which is no sign of a dead one. Below this age of the
/// call, the answer is waited for.
const STUCK_AFTER_MS: u64 = 2_000;

/// How long to wait before asking again, and how often at most (a clock that stands still must not make it endless).
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const ASK_AGAIN_MAX: u32 = 20;

/// Types that hold nothing an administrator could free: the kernel's own, and images, which are always full.
const NO_DATA: [&str; 32] = [
    AUTOFS,
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cramfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "udf",
];

/// A container's view of its image: as full as the file system below it, which is judged anyway. As `/` it is judged.
const LAYERED: [&str; 2] = ["overlay", "aufs"];

/// Below these, systemd mounts small file systems for one user or one unit.
const PRIVATE: [&str; 2] = ["/run/user", "/run/credentials"];

/// Where a unit's `ProtectHome=` puts an empty file system. Over one of fstab's, that is told ([`Stand::Hidden`]); else
/// there is no file system of its own to judge.
const SANDBOXED: [&str; 2] = ["/home", "/root"];

/// Mount points of the Filesystem Hierarchy Standard that name nobody, mounted on many machines without fstab.
const USUAL: [&str; 17] = [
    "/",
    "/boot",
    "/boot/efi",
    "/dev/shm",
    "/efi",
    "/home",
    "/opt",
    "/run",
    "/run/lock",
    "/srv",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

struct Filesystem {
    used: Limits<Percent>,
    inodes: Limits<Percent>,
    /// Empty when every file system is judged.
    named: Vec<MountPoint>,
    exclude: Vec<PathBuf>,
    /// Devices seen writable that are still mounted.
    seen_writable: HashSet<String>,
    /// Whether the observation without an object was ever made: it stays, so that a stick taken out is no object gone.
    has_others: bool,
}

/// A mount point written in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MountPoint(Object);

impl FromStr for MountPoint {
    type Err = NotAnObject;

    fn from_str(text: &str) -> Result<Self, NotAnObject> {
        let trimmed = text.trim_end_matches('/');
        let is_root = trimmed.is_empty() && !text.is_empty();
        Object::mount(if is_root { "/" } else { trimmed }).map(Self)
    }
}

impl MountPoint {
    fn path(&self) -> &Path {
        Path::new(self.0.as_str())
    }
}

const MOUNT_MEND: &str =
    "write the absolute path of a mount point, such as \"/var/lib/postgresql\"";

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let [used, inodes] = limits::read(section, ["used", "inodes"], |table, key| table.percent(key));
    let one = section.parsed::<MountPoint>("mount", MOUNT_MEND).optional();
    let mut named = section
        .parsed_list::<MountPoint>("mounts", MOUNT_MEND)
        .or(Vec::new());
    named.extend(one);
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.dedup();
    let exclude: Vec<PathBuf> = section
        .path_list("exclude")
        .or(Vec::new())
        .iter()
        .map(|path| {
            PathBuf::from(std::ffi::OsStr::from_bytes(without_end_slash(
                path.as_os_str().as_bytes(),
            )))
        })
        .collect();
    let check = Filesystem {
        used: used.or(DEFAULT),
        inodes: inodes.or(DEFAULT),
        named,
        exclude,
        seen_writable: HashSet::new(),
        has_others: false,
    };
    if let Some(both) = check
        .named
        .iter()
        .find(|point| check.is_excluded(point.path()))
    {
        section.mistake(
            "exclude",
            format!("{} is both named and excluded", both.0),
            "remove it from `mounts` or from `exclude`",
        );
    }
    Some(Box::new(check))
}

impl Check for Filesystem {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            self.look(context)
                .await
                .unwrap_or_else(|unknown| vec![unknown])
        })
    }
}

/// One thing to say something about.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    object: Option<Object>,
    stand: Stand,
}

/// What is known of it before it is asked.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    /// To be asked how full it is.
    Mounted { point: PathBuf, writing: Writing },
    /// Not mounted.
    Missing(Status),
    /// An automounter's trap, with nothing mounted on it.
    OnDemand,
    /// Something else is mounted over it for the agent alone.
    Hidden,
}

/// Whether one can write to a file system, and should be able to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Possible,
    /// Read-only on purpose.
    Unwanted,
    /// Read-only against what is wanted.
    Lost,
}

impl Filesystem {
    async fn look(&mut self, context: &Context) -> Result<Vec<Observation>, Observation> {
        let mounts = parse_mountinfo(&source::read(context, MOUNTINFO).await?);
        let mut observations = Vec::new();
        let wanted = match context
            .files
            .read(Path::new(FSTAB), source::SOURCE_LEN_MAX)
            .await
        {
            Ok(fstab) => parse_fstab(&fstab),
            // Images without a package for it have none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.has_others = true;
                observations.push(source::unreadable(FSTAB, &error));
                Vec::new()
            }
        };
        let candidates = self.candidates(&mounts, &wanted);
        self.remember_writable(&mounts);

        let asked: Vec<Option<PathBuf>> = candidates
            .iter()
            .map(|candidate| match &candidate.stand {
                Stand::Mounted { point, .. } => Some(point.clone()),
                Stand::Missing(_) | Stand::OnDemand | Stand::Hidden => None,
            })
            .collect();
        let mut answers: Vec<Option<Statvfs>> = asked.iter().map(|_| None).collect();
        // Mounts that were not asked in time stay without an answer, and the others still count.
        let _in_time = context
            .within(context.own_deadline(), ask(context, &asked, &mut answers))
            .await;

        let now = context.clock.elapsed();
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            let judged = self.judge(&candidate, answer, now);
            observations.extend(judged.map(|judged| match candidate.object {
                Some(object) => judged.of(object),
                None => judged,
            }));
        }
        Ok(self.with_others_as_one(observations))
    }

    /// What this run says something about. Pure.
    fn candidates(&self, mounts: &[Mount], wanted: &[Wanted]) -> Vec<Candidate> {
        let wanted_at: BTreeMap<&Path, &Wanted> = wanted
            .iter()
            .map(|wanted| (wanted.point.as_path(), wanted))
            .collect();
        let mounted_at: HashMap<&Path, &Mount> = mounts
            .iter()
            .map(|mount| (mount.point.as_path(), mount))
            .collect();
        let stand =
            |mount: &Mount| self.stand(mount, wanted_at.get(mount.point.as_path()).copied());

        if !self.named.is_empty() {
            let candidate = |point: &MountPoint| Candidate {
                object: Some(point.0.clone()),
                stand: mounted_at
                    .get(point.path())
                    .map_or(Stand::Missing(Status::Critical), |mount| stand(mount)),
            };
            return self.named.iter().map(candidate).collect();
        }

        let is_listed = |point: &Path| {
            wanted_at.contains_key(point) || USUAL.iter().any(|usual| point == Path::new(usual))
        };
        let object = |point: &Path| {
            let text = point.to_str().filter(|_| is_listed(point))?;
            Object::mount(text).ok()
        };
        // One mount of each file system: rather one that can be named, the whole one, the highest one.
        let mut by_device: BTreeMap<&str, &Mount> = BTreeMap::new();
        let rank = |mount: &Mount| {
            let point = mount.point.as_os_str();
            (
                !is_listed(&mount.point),
                mount.root != Path::new("/"),
                point.len(),
                mount.point.clone(),
            )
        };
        let mut hidden = Vec::new();
        for mount in mounts {
            if is_hidden(mount, wanted_at.get(mount.point.as_path()).copied()) {
                if !self.is_excluded(&mount.point) {
                    hidden.push(Candidate {
                        object: object(&mount.point),
                        stand: Stand::Hidden,
                    });
                }
                continue;
            }
            if !self.is_judged(mount) {
                continue;
            }
            let best = by_device.entry(&mount.device).or_insert(mount);
            if rank(mount) < rank(best) {
                *best = mount;
            }
        }
        let mounted = by_device.into_values().map(|mount| Candidate {
            object: object(&mount.point),
            stand: stand(mount),
        });
        let missing = wanted_at.values().filter_map(|wanted| {
            let status = match wanted.presence {
                Presence::Required => Status::Critical,
                Presence::Wanted => Status::Warning,
                Presence::OnRequest => return None,
            };
            let is_missing = !mounted_at.contains_key(wanted.point.as_path())
                && !self.is_excluded(&wanted.point);
            is_missing.then(|| Candidate {
                object: object(&wanted.point),
                stand: Stand::Missing(status),
            })
        });
        mounted.chain(hidden).chain(missing).collect()
    }

    fn stand(&self, mount: &Mount, wanted: Option<&Wanted>) -> Stand {
        if mount.fs_type == AUTOFS {
            return Stand::OnDemand;
        }
        if is_hidden(mount, wanted) {
            return Stand::Hidden;
        }
        let is_writable_wanted = match wanted {
            Some(wanted) => !wanted.is_read_only,
            None => self.seen_writable.contains(&mount.device),
        };
        let is_lost = mount.is_emergency || is_writable_wanted;
        let writing = match (mount.is_read_only, is_lost) {
            (false, _) => Writing::Possible,
            (true, false) => Writing::Unwanted,
            (true, true) => Writing::Lost,
        };
        Stand::Mounted {
            point: mount.point.clone(),
            writing,
        }
    }

    fn is_judged(&self, mount: &Mount) -> bool {
        let is_layered = LAYERED.contains(&mount.fs_type.as_str()) && mount.point != Path::new("/");
        let is_private = PRIVATE
            .iter()
            .any(|private| mount.point.starts_with(private));
        let is_sandbox = mount.fs_type == "tmpfs"
            && SANDBOXED
                .iter()
                .any(|point| mount.point == Path::new(point));
        !(NO_DATA.contains(&mount.fs_type.as_str())
            || is_layered
            || is_private
            || is_sandbox
            || mount.is_on_demand
            || self.is_excluded(&mount.point))
    }

    /// An excluded place takes all below it along, except `/`, which would leave nothing.
    fn is_excluded(&self, point: &Path) -> bool {
        self.exclude.iter().any(|excluded| {
            point == excluded || (excluded != Path::new("/") && point.starts_with(excluded))
        })
    }

    fn remember_writable(&mut self, mounts: &[Mount]) {
        let mounted: HashSet<&str> = mounts.iter().map(|mount| mount.device.as_str()).collect();
        self.seen_writable
            .retain(|device| mounted.contains(device.as_str()));
        for mount in mounts.iter().filter(|mount| !mount.is_read_only) {
            self.seen_writable.insert(mount.device.clone());
        }
    }

    /// `None` where there is nothing to say: a nameless file system without a size or closed to the agent.
    fn judge(
        &self,
        candidate: &Candidate,
        answer: Option<Statvfs>,
        now: Elapsed,
    ) -> Option<Observation> {
        let writing = match &candidate.stand {
            Stand::Missing(status) => return Some(Observation::new(*status, FILESYSTEM_MISSING)),
            Stand::OnDemand => return Some(source::unintelligible(AUTOFS)),
            Stand::Hidden => return Some(source::unintelligible("sandbox")),
            Stand::Mounted { writing, .. } => *writing,
        };
        let is_nameless = candidate.object.is_none();
        match answer {
            Some(Statvfs::Measured(usage)) => match self.judge_usage(&usage, writing) {
                None if is_nameless => None,
                None => Some(source::unintelligible("statvfs")),
                judged => judged,
            },
            Some(Statvfs::Stuck { since }) => Some(
                Observation::new(Status::Critical, FILESYSTEM_STUCK)
                    .fact("since_ms", now.since_ms(since)),
            ),
            // A user's own mount, which even root may not look into, or one that went away meanwhile.
            Some(Statvfs::Failed(error))
                if is_nameless
                    && matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
                    ) =>
            {
                None
            }
            // What is known without an answer is told first.
            Some(Statvfs::Failed(_)) | None if writing == Writing::Lost => {
                Some(Observation::new(Status::Critical, FILESYSTEM_READ_ONLY))
            }
            Some(Statvfs::Failed(error)) => Some(source::unreadable("statvfs", &error)),
            None => Some(source::unintelligible("statvfs")),
        }
    }

    /// `None` for a file system without a size.
    fn judge_usage(&self, usage: &Usage, writing: Writing) -> Option<Observation> {
        let used_bytes = usage.total_bytes.saturating_sub(usage.free_bytes);
        let used = Share::of(used_bytes, used_bytes.saturating_add(usage.available_bytes))?;
        let inodes_used = Share::of(
            usage.total_inodes.saturating_sub(usage.free_inodes),
            usage.total_inodes,
        );
        let space = used.judge(self.used);
        let inodes = inodes_used.map(|share| (share, share.judge(self.inodes)));

        let full = |limit| {
            Observation::new(space.status(), FILESYSTEM_FULL)
                .fact("used_permille", used.permille())
                .fact("limit_permille", limit_permille(limit))
                .fact("available_bytes", usage.available_bytes)
        };
        let without_inodes = |share: Share, limit, status| {
            Observation::new(status, FILESYSTEM_INODES)
                .fact("inodes_used_permille", share.permille())
                .fact("limit_permille", limit_permille(limit))
        };
        let good = || {
            let good =
                Observation::new(Status::Ok, FILESYSTEM_OK).fact("used_permille", used.permille());
            match inodes_used {
                Some(share) => good.fact("inodes_used_permille", share.permille()),
                None => good,
            }
        };
        let judged = match (writing, space.limit(), inodes) {
            (Writing::Lost, _, _) => Observation::new(Status::Critical, FILESYSTEM_READ_ONLY),
            (Writing::Unwanted, _, _) => good(),
            (Writing::Possible, space_limit, Some((share, verdict)))
                if verdict.status().rank() > space.status().rank() =>
            {
                match verdict.limit().or(space_limit) {
                    Some(limit) => without_inodes(share, limit, verdict.status()),
                    None => good(),
                }
            }
            (Writing::Possible, Some(limit), _) => full(limit),
            (Writing::Possible, None, _) => good(),
        };
        let mut judged = judged
            .measure(SIZE, as_metric(usage.total_bytes))
            .measure(FREE, as_metric(usage.free_bytes))
            .measure(AVAILABLE, as_metric(usage.available_bytes))
            .measure(USED, used.ratio());
        if inodes_used.is_some() {
            judged = judged
                .measure(INODES, as_metric(usage.total_inodes))
                .measure(INODES_FREE, as_metric(usage.free_inodes));
        }
        let is_read_only = if writing == Writing::Possible {
            0.0
        } else {
            1.0
        };
        Some(judged.measure(READ_ONLY, is_read_only))
    }

    /// The named observations by object, and one, the worst, for all the nameless ones together.
    fn with_others_as_one(&mut self, observations: Vec<Observation>) -> Vec<Observation> {
        let (mut named, others): (Vec<_>, Vec<_>) = observations
            .into_iter()
            .partition(|observation| observation.object.is_some());
        named.sort_by(|a, b| a.object.cmp(&b.object));
        let fill = |observation: &Observation| {
            let used = observation.measurements.iter().find(|m| m.metric == USED);
            used.map_or(0.0, |measurement| measurement.value)
        };
        let worst = others.into_iter().max_by(|a, b| {
            let by_rank = a.status.rank().cmp(&b.status.rank());
            by_rank.then_with(|| fill(a).total_cmp(&fill(b)))
        });
        self.has_others |= worst.is_some();
        if self.has_others {
            let mut one = worst.unwrap_or_else(|| Observation::new(Status::Ok, FILESYSTEM_OK));
            // Numbers of now this, now that file system would make no graph.
            one.measurements.clear();
            named.push(one);
        }
        named
    }
}

/// Whether an empty file system of the agent's own sandbox stands where fstab mounts another.
fn is_hidden(mount: &Mount, wanted: Option<&Wanted>) -> bool {
    mount.fs_type == "tmpfs"
        && wanted
            .is_some_and(|wanted| !["tmpfs", "auto", "none"].contains(&wanted.fs_type.as_str()))
}

/// Asks every mount of `asked`, a few at a time, and puts what they say into `answers` as it comes.
async fn ask(context: &Context, asked: &[Option<PathBuf>], answers: &mut [Option<Statvfs>]) {
    let mut waiting = asked
        .iter()
        .enumerate()
        .filter_map(|(position, point)| Some((position, point.clone()?)));
    // Dropped with this future; threads that hang stay counted by `Files`.
    let mut running = JoinSet::new();
    loop {
        while running.len() < ASKED_AT_ONCE
            && let Some((position, point)) = waiting.next()
        {
            let (files, clock) = (Arc::clone(&context.files), Arc::clone(&context.clock));
            running.spawn(async move { (position, ask_one(&*files, &*clock, &point).await) });
        }
        match running.join_next().await {
            Some(Ok((position, answer))) => answers[position] = Some(answer),
            // A panic in there is a fault of ours; the mount stays without an answer, which is unknown.
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn ask_one(files: &dyn Files, clock: &dyn Clock, point: &Path) -> Statvfs {
    for _ in 0..ASK_AGAIN_MAX {
        match files.statvfs(point).await {
            Statvfs::Stuck { since } if clock.elapsed().since_ms(since) < STUCK_AFTER_MS => {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            answer => return answer,
        }
    }
    files.statvfs(point).await
}
