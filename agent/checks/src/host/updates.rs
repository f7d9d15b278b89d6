//! `updates`: security updates that wait, a reboot that is needed, the end of the release. Three things judged apart.
//!
//! **Local state only.** Nothing is downloaded, locked or changed: dpkg's and apt's files on the Debian family, dnf's
//! cache on the RHEL family. So it matters when somebody last looked: lists older than `lists_max_age` are a warning of
//! their own, since "nothing waits" says nothing then. Unchanged files are not read again; a run then costs some stat(2).
//!
//! **How old an update is.** On the RHEL family, since the advisory was last revised. Debian's lists carry no date for a
//! package; it counts from when this agent first saw the package behind, or from when the list that showed it was made if
//! that is earlier. That is the least its age can be, never more. What was seen is kept in this check's state, which a
//! restart does not end; where it cannot be kept or was damaged, ages begin again at the list's date. A newer fix on top
//! of one that waits does not make it young again.
//!
//! Names of packages stay here: what leaves are counts, ages and words. The objects `security`, `reboot` and `release` are
//! this check's own words.

mod debian;
mod reboot;
mod release;
mod rhel;
#[cfg(test)]
mod tests;
mod version;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use vigie_core::{
    observation::{Fact, MetricId, Object, Observation},
    reason::host::{
        UPDATES_END_SOON, UPDATES_ENDED, UPDATES_LISTS_OLD, UPDATES_OK, UPDATES_PENDING,
        UPDATES_REBOOT, UPDATES_REBOOT_NONE, UPDATES_SUPPORTED, UPDATES_UNTOLD,
    },
    status::{Family, Status},
    time::Wall,
};
use vigie_machine::{Context, state::STATE_LEN_MAX};
use vigie_platform::{clock::whole_ms, settings_file::Section};

use self::{debian::Package, release::Release};
use super::{
    limits::{self, Limits},
    numbers::{as_metric, since_ms},
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const PENDING: MetricId = MetricId("vigie_updates_security_pending");
const OLDEST: MetricId = MetricId("vigie_updates_security_oldest_age_seconds");
const LISTS: MetricId = MetricId("vigie_updates_lists_age_seconds");
const REBOOT: MetricId = MetricId("vigie_updates_reboot_needed");
const END: MetricId = MetricId("vigie_updates_end_of_life_timestamp_seconds");

/// The kind `updates`.
pub static KIND: Kind = Kind {
    name: "updates",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: PENDING,
            metric_type: MetricType::Gauge,
            help: "Security updates that wait: packages of the Debian family, advisories of the RHEL family.",
            label: "",
        },
        MetricSpec {
            id: OLDEST,
            metric_type: MetricType::Gauge,
            help: "How long the oldest of them has waited at least.",
            label: "",
        },
        MetricSpec {
            id: LISTS,
            metric_type: MetricType::Gauge,
            help: "How long ago somebody last looked for updates.",
            label: "",
        },
        MetricSpec {
            id: REBOOT,
            metric_type: MetricType::Gauge,
            help: "Whether a reboot is needed (1) or not (0).",
            label: "",
        },
        MetricSpec {
            id: END,
            metric_type: MetricType::Gauge,
            help: "When the release stops getting security updates.",
            label: "",
        },
    ],
    target_key: "",
    example: r#"[check.mises-a-jour]
kind = "updates"
every = "1h"
timeout = "1m"
warning = { security_age = "7d", reboot = "7d" }
critical = { security_age = "30d" }
lists_max_age = "3d"
end_of_life_notice = "180d"
"#,
    build,
};

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// Limits where none are written.
const SECURITY_AGE_DEFAULT: Limits<Duration> = Limits::new(days(7), days(30));
const REBOOT_DEFAULT: Limits<Duration> = Limits::new(days(7), days(30));

/// Security suites are made anew at least every few days; daily looks that failed over a weekend are told on Monday.
const LISTS_MAX_AGE_DEFAULT: Duration = days(3);

/// Moving a hospital's servers to another release takes months.
const END_OF_LIFE_NOTICE_DEFAULT: Duration = days(180);

/// The one of os-release(5) that is the vendor's, and its small size.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
const OS_RELEASE_LEN_MAX: usize = 64 * 1024;

struct Updates {
    security_age: Limits<Duration>,
    reboot: Limits<Duration>,
    lists_max_age: Duration,
    end_of_life_notice: Duration,
    /// Where the files stand; tests have their own.
    root: PathBuf,
    dnf: PathBuf,
    debian: Option<(debian::Sources, debian::Offer)>,
    rhel: Option<(rhel::Sources, rhel::Advisories)>,
    /// Packages seen behind, with the version that was installed then, and since when that was public at least.
    behind: Behind,
    /// Whether `behind` was looked up in what an earlier life of the agent kept.
    is_recalled: bool,
}

/// Packages that wait, each with the version that is installed, and since when it is known to be behind.
type Behind = BTreeMap<Package, (Box<str>, Wall)>;

/// The machine does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Untold {
    source: &'static str,
    errno: Option<i32>,
}

impl Untold {
    const fn word(source: &'static str) -> Self {
        Self {
            source,
            errno: None,
        }
    }

    fn error(source: &'static str, error: &io::Error) -> Self {
        Self {
            source,
            errno: error.raw_os_error(),
        }
    }

    fn observation(&self) -> Observation {
        let seen = Observation::new(Status::Unknown, UPDATES_UNTOLD).fact("source", self.source);
        match self.errno {
            Some(errno) => seen.fact("errno", i64::from(errno)),
            None => seen,
        }
    }
}

/// What is known of the updates that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    count: u64,
    /// Since when the oldest waits at least.
    oldest: Option<Wall>,
    looked: Option<Wall>,
    /// When the lists stop counting.
    valid_until: Option<Wall>,
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    let [security_age, reboot] = limits::read(section, ["security_age", "reboot"], |table, key| {
        table.duration(key)
    });
    Some(Box::new(Updates {
        security_age: security_age.or(SECURITY_AGE_DEFAULT),
        reboot: reboot.or(REBOOT_DEFAULT),
        lists_max_age: section.duration("lists_max_age").or(LISTS_MAX_AGE_DEFAULT),
        end_of_life_notice: section
            .duration("end_of_life_notice")
            .or(END_OF_LIFE_NOTICE_DEFAULT),
        root: "/".into(),
        dnf: "/usr/bin/dnf".into(),
        debian: None,
        rhel: None,
        behind: Behind::new(),
        is_recalled: false,
    }))
}

impl Check for Updates {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            let now = context.clock.wall();
            let release = self.release(context).await;
            let security = self.waiting(context, release.as_ref().ok(), now).await;
            let reboot = reboot::look(context, &self.root).await;
            let told = [
                (
                    "security",
                    security.map(|waiting| self.judge_waiting(&waiting, now)),
                ),
                (
                    "reboot",
                    reboot.map(|needed| self.judge_reboot(needed, now)),
                ),
                (
                    "release",
                    release.and_then(|release| self.judge_release(&release, now)),
                ),
            ];
            told.into_iter()
                .map(|(word, seen)| {
                    let seen = seen.unwrap_or_else(|untold| untold.observation());
                    let object = Object::configured(word).expect("three words of this file");
                    seen.of(object)
                })
                .collect()
        })
    }
}

impl Updates {
    async fn release(&self, context: &Context) -> Result<Release, Untold> {
        let mut error = io::ErrorKind::NotFound.into();
        for path in OS_RELEASE {
            match context
                .files
                .read(&self.root.join(path), OS_RELEASE_LEN_MAX)
                .await
            {
                Ok(content) => return Ok(Release::parse(&String::from_utf8_lossy(&content))),
                Err(refused) => error = refused,
            }
        }
        Err(Untold::error("os_release", &error))
    }

    async fn waiting(
        &mut self,
        context: &Context,
        release: Option<&Release>,
        now: Wall,
    ) -> Result<Waiting, Untold> {
        // First the RHEL family, where dpkg may be installed too.
        if release.is_some_and(Release::is_rhel_family) {
            return self.waiting_of_rhel(context).await;
        }
        if debian::is_here(context, &self.root).await {
            return self.waiting_of_debian(context, now).await;
        }
        Err(Untold::word("distribution"))
    }

    async fn waiting_of_debian(&mut self, context: &Context, now: Wall) -> Result<Waiting, Untold> {
        let sources = debian::sources(context, &self.root).await?;
        let offer = match self.debian.take() {
            Some((known, offer)) if known == sources => offer,
            _ => debian::read(context, &self.root, &sources).await?,
        };
        if !self.is_recalled {
            // A state that cannot be read is as good as none: ages are a least.
            let kept = context.state.read().await.ok().and_then(|kept| kept.own);
            self.behind = kept.as_deref().map(recall).unwrap_or_default();
            self.is_recalled = true;
        }
        // A list that was made in the future is this clock's mistake or the mirror's.
        let first_seen = offer.made.map_or(now, |made| made.min(now));
        let mut behind = Behind::new();
        for (package, installed) in &offer.waiting {
            let since = match self.behind.get(package) {
                Some((then, since)) if then == installed => *since,
                _ => first_seen,
            };
            behind.insert(package.clone(), (installed.clone(), since));
        }
        if behind != self.behind {
            self.behind = behind;
            // Not kept, it still counts for this life of the agent; the next change tries again.
            let _not_kept = context.state.write(keep(&self.behind), true).await;
        }
        let waiting = Waiting {
            count: u64::try_from(offer.waiting.len()).unwrap_or(u64::MAX),
            oldest: self.behind.values().map(|(_, since)| *since).min(),
            looked: offer.looked,
            valid_until: offer.valid_until,
        };
        self.debian = Some((sources, offer));
        Ok(waiting)
    }

    async fn waiting_of_rhel(&mut self, context: &Context) -> Result<Waiting, Untold> {
        let sources = rhel::sources(context, &self.root).await?;
        let advisories = match self.rhel.take() {
            Some((known, advisories)) if known.tell_the_same(&sources) => advisories,
            _ => rhel::read(context, &self.dnf).await?,
        };
        let waiting = Waiting {
            count: advisories.count,
            oldest: advisories.oldest,
            looked: sources.looked,
            valid_until: None,
        };
        self.rhel = Some((sources, advisories));
        Ok(waiting)
    }

    fn judge_waiting(&self, waiting: &Waiting, now: Wall) -> Observation {
        let age_ms = waiting.oldest.map(|oldest| since_ms(oldest, now));
        let verdict = self
            .security_age
            .judge(|limit| age_ms.is_some_and(|age_ms| age_ms >= whole_ms(limit)));
        // Lists that never existed are as old as can be.
        let lists_age_ms = since_ms(waiting.looked.unwrap_or_default(), now);
        let expired = waiting.valid_until.filter(|until| *until < now);
        let are_lists_old = lists_age_ms >= whole_ms(self.lists_max_age) || expired.is_some();
        let seen = match verdict.limit() {
            Some(limit) => Observation::new(verdict.status(), UPDATES_PENDING)
                .fact("limit_ms", whole_ms(limit))
                .fact("since", Fact::Time(waiting.oldest.unwrap_or(now))),
            None if are_lists_old => Observation::new(Status::Warning, UPDATES_LISTS_OLD)
                .fact("lists_age_ms", lists_age_ms)
                .fact("limit_ms", whole_ms(self.lists_max_age)),
            None => Observation::new(Status::Ok, UPDATES_OK),
        };
        let seen = match age_ms {
            Some(age_ms) if seen.reason != UPDATES_LISTS_OLD => seen.fact("age_ms", age_ms),
            _ => seen,
        };
        let seen = match expired {
            // Nobody looked, or somebody did and found an old list: what to do about it differs.
            Some(at)
                if seen.reason == UPDATES_LISTS_OLD
                    && lists_age_ms < whole_ms(self.lists_max_age) =>
            {
                seen.fact("expired", Fact::Time(at))
            }
            _ => seen,
        };
        seen.fact("pending", waiting.count)
            .measure(PENDING, as_metric(waiting.count))
            .measure(OLDEST, as_metric(age_ms.unwrap_or(0)) / 1e3)
            .measure(LISTS, as_metric(lists_age_ms) / 1e3)
    }

    fn judge_reboot(&self, needed: Option<reboot::Needed>, now: Wall) -> Observation {
        let Some(needed) = needed else {
            return Observation::new(Status::Ok, UPDATES_REBOOT_NONE).measure(REBOOT, 0.0);
        };
        let age_ms = since_ms(needed.since, now);
        let verdict = self.reboot.judge(|limit| age_ms >= whole_ms(limit));
        let mut seen = Observation::new(verdict.status(), UPDATES_REBOOT).fact("age_ms", age_ms);
        if let Some(limit) = verdict.limit() {
            seen = seen.fact("limit_ms", whole_ms(limit));
        }
        if let Some(packages) = needed.packages {
            seen = seen.fact("packages", packages);
        }
        seen.measure(REBOOT, 1.0)
    }

    fn judge_release(&self, release: &Release, now: Wall) -> Result<Observation, Untold> {
        let end = release.end().ok_or(Untold::word("release"))?;
        let left_ms = since_ms(now, end);
        let seen = if now >= end {
            Observation::new(Status::Critical, UPDATES_ENDED)
        } else if left_ms <= whole_ms(self.end_of_life_notice) {
            Observation::new(Status::Warning, UPDATES_END_SOON).fact("left_ms", left_ms)
        } else {
            Observation::new(Status::Ok, UPDATES_SUPPORTED).fact("left_ms", left_ms)
        };
        let end_ms = u64::try_from(end.0).unwrap_or(0);
        Ok(seen
            .fact("until", Fact::Time(end))
            .measure(END, as_metric(end_ms) / 1e3))
    }
}

/// A line for each package: name, architecture, installed version, and since when in milliseconds since 1970. None of
/// them holds a space (deb-control(5)).
fn keep(behind: &Behind) -> Vec<u8> {
    let mut text = String::new();
    for ((name, architecture), (version, since)) in behind {
        let line = format!("{name} {architecture} {version} {}\n", since.0);
        if text.len() + line.len() > STATE_LEN_MAX {
            break;
        }
        text.push_str(&line);
    }
    text.into_bytes()
}

/// What [`keep`] wrote; lines of another form are left out.
fn recall(kept: &[u8]) -> Behind {
    let line = |line: &str| {
        let mut columns = line.split(' ');
        let package = (columns.next()?.into(), columns.next()?.into());
        let version = columns.next()?.into();
        let since = columns.next()?.parse().ok()?;
        columns
            .next()
            .is_none()
            .then_some((package, (version, Wall(since))))
    };
    String::from_utf8_lossy(kept)
        .lines()
        .filter_map(line)
        .collect()
}
