//! `admin_accounts`: who may act as administrator of this machine, counted and compared with what was accepted.
//!
//! | object | what gives the rights |
//! |---|---|
//! | `uid0` | accounts of /etc/passwd with user number 0 |
//! | `sudoers` | members of the groups `sudo`, `wheel` and `admin` (/etc/group, and accounts whose own group it is); every line of /etc/sudoers and what it includes, but those that begin with `Defaults` are not counted |
//! | `authorized_keys` | every line of the files that sshd_config(5) names, of every account of /etc/passwd |
//!
//! **What leaves.** Counts, and a keyed digest of each set: no account, key or rule. **What is kept** on the node are keyed
//! digests of the members (`checks/<check>.json` in the state folder): those accepted and those seen last.
//!
//! **A new one is a change.** The first look that read everything is the accepted state. What is there later and was not
//! accepted is `admin.added`, a warning, and critical for `uid0`; it stays until somebody runs `vigie-agent accept CHECK` on
//! the node, or it is gone. What is gone is told and is no alert, and stays accepted. The state that cannot be read or kept
//! is `admin.no_baseline`, and what may not be read is `admin.unreadable`: both unknown, never ok. The agent's own account
//! reads neither /etc/sudoers nor the homes of others on most machines; the manual says how to let it.
//!
//! **Not looked at**: accounts and groups that come over the network (NSS: LDAP, SSSD), `AuthorizedKeysCommand`, certificate
//! authorities of ssh and polkit rules; `getent passwd` shows what /etc/passwd does not.

mod sshd;
mod sudoers;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use vigie_core::{
    digest::Digest,
    observation::{Fact, MetricId, Object, Observation},
    reason::host::{
        ADMIN_ADDED, ADMIN_LEARNED, ADMIN_NO_BASELINE, ADMIN_OK, ADMIN_REMOVED, ADMIN_UNREADABLE,
    },
    status::{Family, Status},
};
use vigie_machine::{Context, files::Listed, state::StateError};
use vigie_platform::settings_file::Section;

use super::{numbers::as_metric, source};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const COUNT: MetricId = MetricId("vigie_admin_rights");
const UNREADABLE: MetricId = MetricId("vigie_admin_rights_unreadable");

/// The kind `admin_accounts`.
pub static KIND: Kind = Kind {
    name: "admin_accounts",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: COUNT,
            metric_type: MetricType::Gauge,
            help: "How many give administrators' rights, of one sort.",
            label: "",
        },
        MetricSpec {
            id: UNREADABLE,
            metric_type: MetricType::Gauge,
            help: "Places of that sort that could not be read.",
            label: "",
        },
    ],
    target_key: "",
    example: r#"[check.comptes]
kind = "admin_accounts"
every = "10m"
"#,
    build,
};

/// The longest of the files read, in bytes: tens of thousands of accounts.
const FILE_LEN_MAX: usize = 4 * 1024 * 1024;

/// The longest authorized_keys file, in bytes: sshd reads any, a thousand keys are 600 kB.
const KEYS_LEN_MAX: usize = 1024 * 1024;

/// The most members of one set. With more of them nobody could say which are right.
const MEMBERS_MAX: usize = 10_000;

/// The groups whose members are administrators where sudo is set up as distributions do.
const GROUPS: [&str; 3] = ["sudo", "wheel", "admin"];

/// The version of the state's form.
const STATE_VERSION: u32 = 1;

struct AdminAccounts {
    /// `/`, and a folder of their own for tests.
    root: PathBuf,
}

/// What gives rights, of one sort.
#[derive(Debug, Default)]
struct Found {
    /// What is compared, in clear: stays in memory, and only for the time of a run.
    members: BTreeSet<Vec<u8>>,
    /// How many of them count as rights.
    count: u64,
    /// Places that could not be read.
    unreadable: u64,
}

/// The sorts, by their objects' names.
type Sets = BTreeMap<String, BTreeSet<String>>;

/// What is kept between runs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    accepted: Sets,
    seen: Sets,
}

/// One account of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

fn build(_: &mut Section<'_>) -> Option<Box<dyn Check>> {
    Some(Box::new(AdminAccounts {
        root: PathBuf::from("/"),
    }))
}

impl Check for AdminAccounts {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move { self.look(context).await })
    }
}

impl AdminAccounts {
    async fn look(&self, context: &Context) -> Vec<Observation> {
        let place = Place {
            context,
            root: &self.root,
        };
        let passwd = match place.text("/etc/passwd", FILE_LEN_MAX).await {
            Ok(Some(text)) => text,
            Ok(None) | Err(_) => return all(&source::unintelligible("/etc/passwd")),
        };
        let group = place.text("/etc/group", FILE_LEN_MAX).await;
        let accounts: Vec<Account> = passwd.lines().filter_map(account).collect();
        if accounts.is_empty() {
            return all(&source::unintelligible("/etc/passwd"));
        }
        let found = [
            ("uid0", uid0(&accounts)),
            ("sudoers", sudoers::found(&place, &accounts, group).await),
            ("authorized_keys", sshd::found(&place, &accounts).await),
        ];
        let mut sets = Vec::with_capacity(found.len());
        for (name, found) in found {
            if found.members.len() > MEMBERS_MAX {
                sets.push((name, found, None));
                continue;
            }
            let members = found.members.iter().map(|member| {
                let mut named = format!("{name}\n").into_bytes();
                named.extend_from_slice(member);
                named
            });
            let digests = context.state.digests(members.collect()).await;
            sets.push((name, found, digests.ok().map(BTreeSet::from_iter)));
        }
        self.compare(context, sets).await
    }

    async fn compare(
        &self,
        context: &Context,
        sets: Vec<(&'static str, Found, Option<BTreeSet<String>>)>,
    ) -> Vec<Observation> {
        let kept = take_up(context).await;
        let (mut kept, mut is_changed, is_settled) = match kept {
            Ok(Some((kept, is_settled))) => (Some(kept), is_settled, is_settled),
            Ok(None) => (Some(Kept::default()), true, false),
            Err(error) => {
                tracing::debug!(%error, "no accepted state");
                (None, false, false)
            }
        };
        let mut judged = Vec::with_capacity(sets.len());
        for (name, found, digests) in sets {
            let (Some(kept), Some(digests)) = (kept.as_mut(), digests) else {
                judged.push((name, found, None));
                continue;
            };
            let is_first = !kept.accepted.contains_key(name);
            let is_whole = found.unreadable == 0;
            if is_first && is_whole {
                kept.accepted.insert(name.to_owned(), digests.clone());
                is_changed = true;
            }
            // With a part unseen, what was seen before stands for it: accepting must not forget it.
            let mut seen = digests.clone();
            if !is_whole && let Some(before) = kept.seen.get(name) {
                seen.extend(before.iter().cloned());
            }
            if kept.seen.get(name) != Some(&seen) {
                kept.seen.insert(name.to_owned(), seen);
                is_changed = true;
            }
            let accepted = kept.accepted.get(name);
            let count = |set: Option<&BTreeSet<String>>, other: &BTreeSet<String>| {
                set.map_or(0, |set| set.difference(other).count() as u64)
            };
            let change = Change {
                is_first,
                added: accepted.map_or(0, |accepted| digests.difference(accepted).count() as u64),
                removed: if is_whole {
                    count(accepted, &digests)
                } else {
                    0
                },
                digest: digest_of(&digests),
            };
            judged.push((name, found, Some(change)));
        }
        let is_kept = match &kept {
            Some(kept) if is_changed && context.state.is_kept() => {
                keep(context, kept, is_settled).await
            }
            Some(_) => true,
            None => false,
        };
        judged
            .into_iter()
            .map(|(name, found, change)| judge(name, &found, change.as_ref(), is_kept))
            .collect()
    }
}

/// How a set stands to the accepted one.
struct Change {
    is_first: bool,
    added: u64,
    removed: u64,
    digest: Digest,
}

fn judge(name: &'static str, found: &Found, change: Option<&Change>, is_kept: bool) -> Observation {
    let count = found.count;
    let unknown = |reason| Observation::new(Status::Unknown, reason).fact("count", count);
    let observation = match change {
        Some(change) if change.added > 0 => {
            let status = if name == "uid0" {
                Status::Critical
            } else {
                Status::Warning
            };
            let mut observation = Observation::new(status, ADMIN_ADDED)
                .fact("count", count)
                .fact("added", change.added)
                .fact("digest", Fact::Digest(change.digest));
            for (key, number) in [
                ("removed", change.removed),
                ("unreadable", found.unreadable),
            ] {
                if number > 0 {
                    observation = observation.fact(key, number);
                }
            }
            observation
        }
        _ if found.unreadable > 0 => unknown(ADMIN_UNREADABLE).fact("unreadable", found.unreadable),
        Some(change) if is_kept => {
            let ok = |reason| {
                Observation::new(Status::Ok, reason)
                    .fact("count", count)
                    .fact("digest", Fact::Digest(change.digest))
            };
            if change.is_first {
                ok(ADMIN_LEARNED)
            } else if change.removed > 0 {
                ok(ADMIN_REMOVED).fact("removed", change.removed)
            } else {
                ok(ADMIN_OK)
            }
        }
        Some(_) | None => unknown(ADMIN_NO_BASELINE),
    };
    let observation = observation
        .measure(COUNT, as_metric(count))
        .measure(UNREADABLE, as_metric(found.unreadable));
    match Object::configured(name) {
        Ok(object) => observation.of(object),
        Err(_) => observation,
    }
}

/// What was kept, with what an administrator accepted since in its place, and whether that is so. `None` at first.
async fn take_up(context: &Context) -> Result<Option<(Kept, bool)>, NotKept> {
    let files = context.state.read().await.map_err(NotKept::State)?;
    let parse = |bytes: &[u8]| -> Result<Kept, NotKept> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(NotKept::Form)?;
        if kept.version == STATE_VERSION {
            Ok(kept)
        } else {
            Err(NotKept::Version(kept.version))
        }
    };
    let Some(own) = files.own else {
        // An acceptance without a state of ours: somebody removed that one, and what they accepted is still known.
        return match files.accepted {
            Some(accepted) => Ok(Some((accepted_of(parse(&accepted)?), true))),
            None => Ok(None),
        };
    };
    match files.accepted {
        Some(accepted) => {
            let mut kept = accepted_of(parse(&accepted)?);
            kept.seen = parse(&own)?.seen;
            Ok(Some((kept, true)))
        }
        None => Ok(Some((parse(&own)?, false))),
    }
}

/// What was seen is accepted; what was accepted and never seen whole stays.
fn accepted_of(mut kept: Kept) -> Kept {
    let seen = kept.seen.clone();
    // A set that was never accepted was never seen whole: accepting it would take a part for all of it.
    for (name, set) in seen {
        if let Some(accepted) = kept.accepted.get_mut(&name) {
            *accepted = set;
        }
    }
    kept
}

async fn keep(context: &Context, kept: &Kept, is_settled: bool) -> bool {
    let with_version = Kept {
        version: STATE_VERSION,
        accepted: kept.accepted.clone(),
        seen: kept.seen.clone(),
    };
    let Ok(bytes) = serde_json::to_vec(&with_version) else {
        return false;
    };
    match context.state.write(bytes, is_settled).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "the accepted state is not kept");
            false
        }
    }
}

/// Why there is no accepted state.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error("the state cannot be read")]
    State(#[source] StateError),
    #[error("the state is not understood")]
    Form(#[source] serde_json::Error),
    #[error("the state is of version {0}")]
    Version(u32),
}

/// The digest of a set of keyed digests, and so keyed itself.
fn digest_of(digests: &BTreeSet<String>) -> Digest {
    let parts: Vec<&[u8]> = digests.iter().map(|digest| digest.as_bytes()).collect();
    Digest::of_parts(&parts)
}

/// Says the same of every set.
fn all(observation: &Observation) -> Vec<Observation> {
    ["uid0", "sudoers", "authorized_keys"]
        .into_iter()
        .filter_map(|name| Some(observation.clone().of(Object::configured(name).ok()?)))
        .collect()
}

fn uid0(accounts: &[Account]) -> Found {
    let members: BTreeSet<Vec<u8>> = accounts
        .iter()
        .filter(|account| account.uid == 0)
        .map(|account| account.name.clone().into_bytes())
        .collect();
    Found {
        count: members.len() as u64,
        members,
        unreadable: 0,
    }
}

/// One line of /etc/passwd (passwd(5)).
fn account(line: &str) -> Option<Account> {
    let columns: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = *columns.as_slice() else {
        return None;
    };
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.into(),
    })
}

/// Where files are read.
struct Place<'a> {
    context: &'a Context,
    root: &'a Path,
}

/// A file is there, and may not be read or is too long.
struct Unreadable;

impl Place<'_> {
    fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The content of a file; `None` if there is none.
    async fn text(
        &self,
        path: impl AsRef<Path>,
        len_max: usize,
    ) -> Result<Option<String>, Unreadable> {
        let path = self.path(path.as_ref());
        // A fifo in a home would be waited for without end.
        match self.context.files.stamp(&path).await {
            Ok(stamp) if stamp.is_file => {}
            Ok(_) => return Err(Unreadable),
            Err(error) => return absent(&error),
        }
        match self.context.files.read(&path, len_max).await {
            Ok(content) => Ok(Some(String::from_utf8_lossy(&content).into_owned())),
            Err(error) => absent(&error),
        }
    }

    /// The names in a folder, in order; none if there is no folder.
    async fn names(&self, path: &Path, max: usize) -> Result<Vec<String>, Unreadable> {
        match self.context.files.list(&self.path(path), max).await {
            Ok(listed) => {
                let name = |entry: Listed| entry.name.into_string().map_err(|_| Unreadable);
                let mut names = listed
                    .into_iter()
                    .map(name)
                    .collect::<Result<Vec<_>, _>>()?;
                names.sort();
                Ok(names)
            }
            Err(error) => absent(&error).map(|_: Option<String>| Vec::new()),
        }
    }
}

fn absent<T>(error: &std::io::Error) -> Result<Option<T>, Unreadable> {
    use std::io::ErrorKind;
    // A home that is `/dev/null` or below a file has no files either.
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
        _ => Err(Unreadable),
    }
}
