//! The agent's settings: what `agent.toml`, its `conf.d` and `VIGIE__…` variables say, judged once and typed from then on.
//!
//! Owns which keys there are, their defaults and their bounds. All mistakes of all files are told in one run; there is no
//! half of a plan. Only what is built is accepted: every other key is refused, so that nobody relies on a check that does
//! not run. Building the checks may read certificates and header files, so a reload calls [`load`] from a blocking task;
//! it writes nothing and can be dropped at any point.
//!
//! It must never guess: a value that is wrong is a mistake, not the default.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use vigie_checks::{Check, KINDS, Kind};
use vigie_core::{
    id::{CheckName, ServiceName},
    plan::{CHECKS_MAX, Plan},
    settle::Damping,
    status::Family,
};
use vigie_platform::{
    clock::whole_ms,
    scrape_guard::ScrapeGuard,
    settings_file::{self, Complaint, LoadedSettings, Mistakes, SecretFile, Section, Url},
    telemetry::Level,
};

use crate::{
    fallback::Webhook,
    metrics_lane::{Limits, RemoteWrite},
    runner::PlannedCheck,
};

mod remote_write;

/// Where the settings are, unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/vigie/agent.toml";

/// The port of the agent's own metrics; beside the collector's, so that one host can run both.
const METRICS_PORT: u16 = 9478;

/// Addresses of one collector: two sites with two addresses each, and as many again during a move.
const COLLECTORS_MAX: usize = 8;

/// Every cycle of the metrics lane is 15 s; below a second a check would only heat the machine.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// A check that runs more rarely is a report, and its silence would go unnoticed for three days.
const EVERY_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Below this a busy machine's own scheduling decides the outcome.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Listing the snapshots of a large repository takes minutes; nothing that a check asks takes longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);

/// A status that needs more agreeing runs than this never settles.
const RUNS_MAX: u32 = 100;

/// Everything that the agent was told.
pub struct Settings {
    /// Where spools and the identity live.
    pub state_dir: PathBuf,
    /// Addresses of one collector, `https` and without a path; at least one.
    pub collectors: Vec<Url>,
    /// The HTTP proxy that is asked to CONNECT to the collector.
    pub proxy: Option<Url>,
    /// Where the agent's own metrics are shown; `None`: nowhere. On this machine only, unless `scrape` demands enough.
    pub listen: Option<SocketAddr>,
    /// What those must show who read them.
    pub scrape: ScrapeGuard,
    /// What is logged, unless the environment says otherwise.
    pub log_level: Option<Level>,
    /// Who is told when the collector cannot be reached.
    pub fallback: Option<Fallback>,
    /// Who is sent all samples besides the collector.
    pub remote_write: Vec<RemoteWrite>,
    /// How much of them may wait, for each receiver.
    pub metrics_spool: Limits,
    /// The checks in order of name.
    pub checks: Vec<PlannedCheck>,
}

/// Who is told, by the agent itself, when the collector cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// What is asked with POST.
    pub webhook: Webhook,
}

/// Reads and judges `file`, the `conf.d/*.toml` beside it and those of `variables` that begin with `VIGIE__`.
///
/// # Errors
/// All mistakes of all files, each with its place and what to write instead.
pub fn load<K, V>(
    file: &Path,
    variables: impl IntoIterator<Item = (K, V)>,
) -> Result<Settings, Mistakes>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let loaded = settings_file::load(file, variables);
    let settings = read(&loaded);
    loaded.finish(settings)
}

/// The check that `probe KIND TARGET` runs: `kind` with its target and the defaults of all its other settings.
///
/// # Errors
/// What is wrong with the target, told at `TARGET`.
pub fn probe_settings(
    kind: &'static Kind,
    target: Option<&str>,
) -> Result<Box<dyn Check>, Mistakes> {
    let takes_target = !kind.target_key.is_empty();
    let words = target.filter(|_| takes_target);
    let loaded = settings_file::from_words("TARGET", words.map(|word| (kind.target_key, word)));
    let mut section = loaded.root();
    if target.is_some() && !takes_target {
        let what = format!("the kind `{}` looks at the whole machine", kind.name);
        loaded.mistake(section.place(), what, "leave the target out");
    }
    let check = (kind.build)(&mut section);
    section.finish();
    loaded.finish(check)
}

impl Settings {
    /// The checks as the collector is told of them.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let planned = |check: &PlannedCheck| (check.name.clone(), check.planned());
        self.checks.iter().map(planned).collect()
    }

    /// What `check-config` shows.
    #[must_use]
    pub fn summary(&self) -> Summary<'_> {
        Summary {
            collectors: self.collectors.iter().map(Url::as_str).collect(),
            proxy: self.proxy.as_ref().map(Url::as_str),
            state_dir: &self.state_dir,
            listen: self.listen,
            listen_scheme: self.scrape.scheme(),
            has_fallback: self.fallback.is_some(),
            checks: self.checks.iter().map(summary_of).collect(),
        }
    }
}

/// What `check-config` shows of settings without mistakes: JSON through `serde`, one line a check through `Display`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary<'s> {
    /// Addresses of the collector.
    pub collectors: Vec<&'s str>,
    /// The proxy.
    pub proxy: Option<&'s str>,
    /// Where spools and the identity live.
    pub state_dir: &'s Path,
    /// Where the agent's own metrics are shown.
    pub listen: Option<SocketAddr>,
    /// Whether they are shown over `http` or `https`.
    pub listen_scheme: &'static str,
    /// Whether somebody is told when the collector cannot be reached.
    pub has_fallback: bool,
    /// The checks in order of name.
    pub checks: Vec<SummaryCheck<'s>>,
}

/// One check of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SummaryCheck<'s> {
    /// Its name.
    pub name: &'s CheckName,
    /// Its kind.
    pub kind: &'static str,
    /// Its kind's family.
    pub family: Family,
    /// The service it counts for.
    pub service: Option<&'s ServiceName>,
    /// Interval between runs, in milliseconds.
    pub every_ms: u64,
    /// Deadline of a run, in milliseconds.
    pub timeout_ms: u64,
    /// Bad runs in a row before the status changes.
    pub failures: u32,
    /// Good runs in a row before it changes back.
    pub recoveries: u32,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "collector  {}", self.collectors.join(", "))?;
        if let Some(proxy) = self.proxy {
            writeln!(f, "proxy      {proxy}")?;
        }
        writeln!(f, "state      {}", self.state_dir.display())?;
        match self.listen {
            Some(address) => writeln!(f, "metrics    {}://{address}/metrics", self.listen_scheme)?,
            None => writeln!(f, "metrics    off")?,
        }
        let fallback = if self.has_fallback { "webhook" } else { "none" };
        writeln!(f, "fallback   {fallback}")?;
        write!(f, "checks     {}", self.checks.len())?;
        for check in &self.checks {
            let service = check.service.map_or("all services", ServiceName::as_str);
            let (every, timeout) = (shown_ms(check.every_ms), shown_ms(check.timeout_ms));
            write!(
                f,
                "\n  {:<24} {:<12} every {every}, timeout {timeout}, for {service}",
                check.name.as_str(),
                check.kind,
            )?;
        }
        Ok(())
    }
}

/// What is shown of a check.
fn summary_of(check: &PlannedCheck) -> SummaryCheck<'_> {
    SummaryCheck {
        name: &check.name,
        kind: check.kind.name,
        family: check.kind.family,
        service: check.service.as_ref(),
        every_ms: whole_ms(check.every),
        timeout_ms: whole_ms(check.timeout),
        failures: check.patience.failures,
        recoveries: check.patience.recoveries,
    }
}

fn read(loaded: &LoadedSettings) -> Option<Settings> {
    let root = loaded.root();
    let state_dir = root.path("state_dir").or("/var/lib/vigie-agent".into());
    let collectors = read_collectors(&root);
    let proxy = root
        .url("proxy", &["http"])
        .try_map(|url| without_path(url, "http://proxy.example:3128"))
        .optional();
    let listen = root
        .str("listen")
        .try_map(|text| read_listen(&text))
        .or(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT))));
    let scrape = ScrapeGuard::read(&root);
    // As long as it is not known what is demanded, there is nothing to say about where.
    if let (Some(guard), Some(address)) = (&scrape, listen) {
        guard.judge_address(&root, "listen", address);
    }
    let log_level = root
        .str("log_level")
        .try_map(|text| {
            text.parse::<Level>().map_err(|_| {
                Complaint::new(
                    format!("{text:?} is not a log level"),
                    "write \"error\", \"warn\", \"info\" or \"debug\"",
                )
            })
        })
        .optional();
    let fallback = root.sub("fallback").map(read_fallback);
    let remote_write = remote_write::read_remote_write(loaded, &root);
    let metrics_spool = remote_write::read_limits(root.sub_or_empty("metrics_spool"));
    let pace = read_defaults(root.sub_or_empty("defaults"));
    let sections = root.tables("check");
    if let Some(one_too_many) = sections.get(CHECKS_MAX) {
        loaded.mistake(
            one_too_many.place(),
            format!("{} checks are too many for one node", sections.len()),
            format!("keep at most {CHECKS_MAX}"),
        );
    }
    let checks: Vec<_> = sections
        .into_iter()
        .map(|section| read_check(section, &pace))
        .collect();
    root.finish();
    Some(Settings {
        state_dir,
        collectors: collectors?,
        proxy,
        listen,
        scrape: scrape?,
        log_level,
        fallback: match fallback {
            Some(read) => Some(read?),
            None => None,
        },
        remote_write: remote_write?,
        metrics_spool,
        checks: checks.into_iter().collect::<Option<_>>()?,
    })
}

fn read_collectors(root: &Section<'_>) -> Option<Vec<Url>> {
    const EXAMPLE: &str = "https://vigie.example:9443";
    root.url_list("collectors", &["https"])
        .try_map(|urls| {
            if urls.is_empty() {
                return Err(Complaint::new(
                    "no collector is named",
                    format!("write `collectors = [\"{EXAMPLE}\"]`"),
                ));
            }
            if urls.len() > COLLECTORS_MAX {
                return Err(Complaint::new(
                    format!("{} addresses of one collector are too many", urls.len()),
                    format!("keep at most {COLLECTORS_MAX}"),
                ));
            }
            let mut seen = BTreeSet::new();
            for url in &urls {
                without_path(url.clone(), EXAMPLE)?;
                if !seen.insert(url.authority().to_owned()) {
                    return Err(Complaint::new(
                        format!("{} is named twice", url.authority()),
                        "keep one of the two",
                    ));
                }
            }
            Ok(urls)
        })
        .required()
}

/// A path there would be silently replaced by the protocol's own.
fn without_path(url: Url, example: &str) -> Result<Url, Complaint> {
    match url.path_and_query() {
        "" | "/" => Ok(url),
        _ => Err(Complaint::new(
            "the address has a path",
            format!("write scheme, host and port alone, such as \"{example}\""),
        )),
    }
}

fn read_listen(text: &str) -> Result<Option<SocketAddr>, Complaint> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Complaint::new(
            format!("{text:?} is not an IP address and a port"),
            format!("write \"127.0.0.1:{METRICS_PORT}\", \"[::1]:{METRICS_PORT}\" or \"off\""),
        )
    })
}

fn read_fallback(section: Section<'_>) -> Option<Fallback> {
    let webhook = match section.sub("webhook") {
        Some(webhook) => read_webhook(webhook),
        None => {
            if !section.has("webhook") {
                let what = "`webhook` is missing in `fallback`";
                let mend = "write `webhook = { url_file = \"/etc/vigie/secrets/…\" }`";
                section.mistake("webhook", what, mend);
            }
            None
        }
    };
    section.finish();
    Some(Fallback { webhook: webhook? })
}

fn read_webhook(section: Section<'_>) -> Option<Webhook> {
    let webhook = if section.has("url_file") {
        if section.has("url") {
            let what = "`url` and `url_file` are both written";
            section.mistake("url", what, "keep one of the two");
        }
        let file = section.secret_file("url_file").try_map(readable);
        file.required().map(Webhook::SecretUrl)
    } else {
        let url = section.url("url", &["https", "http"]);
        url.required().map(Webhook::Url)
    };
    section.finish();
    webhook
}

/// A secret that cannot be read is found now, not on the night it is needed.
fn readable(file: SecretFile) -> Result<SecretFile, Complaint> {
    match file.read() {
        Ok(_) => Ok(file),
        Err(error) => {
            let cause = std::error::Error::source(&error)
                .map_or_else(String::new, |source| format!(": {source}"));
            Err(Complaint::new(
                format!("{error}{cause}"),
                "put the secret there, in a file of mode 0600 that the agent's account owns",
            ))
        }
    }
}

/// How often and how patiently, unless a check says otherwise.
struct Pace {
    every: Duration,
    timeout: Duration,
    patience: Damping,
}

const PACE: Pace = Pace {
    every: Duration::from_secs(30),
    timeout: Duration::from_secs(5),
    patience: Damping {
        failures: 2,
        recoveries: 2,
    },
};

fn read_defaults(section: Section<'_>) -> Pace {
    let pace = read_pace(&section, &PACE);
    if pace.timeout >= pace.every {
        too_slow(&section);
    }
    section.finish();
    pace
}

fn read_pace(section: &Section<'_>, default: &Pace) -> Pace {
    Pace {
        every: section
            .duration("every")
            .within(EVERY_MIN..=EVERY_MAX)
            .or(default.every),
        timeout: section
            .duration("timeout")
            .within(TIMEOUT_MIN..=TIMEOUT_MAX)
            .or(default.timeout),
        patience: Damping {
            failures: section
                .integer("failures", 1..=RUNS_MAX)
                .or(default.patience.failures),
            recoveries: section
                .integer("recoveries", 1..=RUNS_MAX)
                .or(default.patience.recoveries),
        },
    }
}

/// Notes a timeout that is not shorter than the interval, where it was written last.
fn too_slow(section: &Section<'_>) {
    // What is written nowhere here was told at `[defaults]`.
    if section.has("timeout") {
        let what = "`timeout`: a run could last until the next one is due";
        section.mistake("timeout", what, "write a `timeout` shorter than `every`");
    } else if section.has("every") {
        let what = "`every`: the next run would be due before the timeout of this one";
        section.mistake("every", what, "write a shorter `timeout` beside it");
    }
}

fn read_check(mut section: Section<'_>, defaults: &Pace) -> Option<PlannedCheck> {
    let name = section.parsed_own_name::<CheckName>();
    let service = section
        .name::<ServiceName>("service")
        .try_map(|service| {
            if service == ServiceName::vigie() {
                return Err(Complaint::new(
                    "\"vigie\" is what vigie calls its own troubles",
                    "write the name of a service that the collector's settings declare",
                ));
            }
            Ok(service)
        })
        .optional();
    let pace = read_pace(&section, defaults);
    if pace.timeout >= pace.every {
        too_slow(&section);
    }
    let known: Vec<(&str, &'static Kind)> = KINDS.iter().map(|kind| (kind.name, *kind)).collect();
    let Some(kind) = section.one_of("kind", &known).required() else {
        section.abandon();
        return None;
    };
    let settings_sha256 = section.digest();
    let check = (kind.build)(&mut section);
    section.finish();
    Some(PlannedCheck {
        name: name?,
        kind,
        service,
        every: pace.every,
        timeout: pace.timeout,
        patience: pace.patience,
        settings_sha256,
        check: check?,
    })
}

/// The largest unit that holds it whole, as the settings write it.
fn shown_ms(ms: u64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests;
