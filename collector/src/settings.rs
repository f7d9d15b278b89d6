//! The collector's settings: what `collector.toml`, its `conf.d` and `VIGIE__…` variables say, judged once and typed from
//! then on.
//!
//! Owns which keys there are, their defaults and bounds, and what must hold between tables: who is named must be declared,
//! and no alert may be left without a receiver. All mistakes of all files are told in one run. Only what is built is
//! accepted; every other key is refused, so that nobody relies on a calendar or a channel that does nothing.
//!
//! Each part of the collector owns the type of its own settings, and is built from it; this one fills them all, and no part
//! knows it. What decides goes into [`Rules`], which are plain data and are kept beside the log; addresses and secrets stay
//! here, and so do the time zones, which the rules only name ([`Settings::policy`], [`Settings::destinations`]).
//! Secrets are files, looked at once to see that they can be read, and never kept. Reading is synchronous: a reload calls
//! [`load`] from a blocking task. It writes nothing and can be dropped at any point.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use vigie_core::{
    id::{PersonName, ReceiverName},
    reason::message::Language,
};
use vigie_decide::{routing::Policy, rules::Rules, zones::Zones};
use vigie_platform::{
    scrape_guard::ScrapeGuard,
    settings_file::{
        self, Complaint, Field, LoadedSettings, Mistake, Mistakes, SecretFile, Section,
    },
    telemetry::Level,
    tls::load_certificates,
};

use crate::{identity::authority::ServerNames, outside_watch, probes::ProbeTarget, zones};

mod acknowledge;
mod calendars;
mod channels;
mod coverage;
mod destinations;
mod ingest;
mod maintenance;
mod people;
mod receivers;
mod routes;
mod rules;
mod summary;

pub use ingest::Ingest;
pub use people::Person;
pub use receivers::{Receiver, ReceiverKind};
pub use summary::Summary;

/// Where the settings are, unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/vigie/collector.toml";

/// The port that agents are answered at; the shipped agent's settings and firewall examples name it.
const AGENTS_PORT: u16 = 9443;

/// The port of the collector's own metrics; the shipped Prometheus example scrapes it.
const METRICS_PORT: u16 = 9477;

/// The trust domain when no DNS name gives one.
const DOMAIN: &str = "vigie";

/// Names of one server: an inside and an outside name, addresses of two families, and those of a move.
const HOSTS_MAX: usize = 32;

/// A handful of places decides whether the collector itself is cut off; more would only be traffic.
const PROBES_MAX: usize = 16;

/// Agents make contact every 20 s; less than half of that is no silence.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// Nobody should learn after more than an hour that a node is gone.
const SILENCE_MAX: Duration = Duration::from_secs(3_600);

/// The levels of a need in the policies that vigie serves.
const LEVELS: std::ops::RangeInclusive<u8> = 1..=4;

const SILENCE_DEFAULT: Duration = Duration::from_secs(120);

const WATCH_EVERY_MIN: Duration = Duration::from_secs(10);

/// Outside watches call somebody after a few missing pings; an hour each would be a night.
const WATCH_EVERY_MAX: Duration = Duration::from_secs(3_600);

const WATCH_EVERY_DEFAULT: Duration = Duration::from_secs(60);

/// Everything that the collector was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the log, the state, the outbox and the authorities live.
    pub data_dir: PathBuf,
    /// Where agents are answered.
    pub listen: SocketAddr,
    /// Names and addresses that agents reach the collector by; empty: those given to `init`.
    pub host: Vec<String>,
    /// Where metrics are shown: on this machine only, unless `scrape` demands enough.
    pub metrics_listen: SocketAddr,
    /// What those must show who read them.
    pub scrape: ScrapeGuard,
    /// The trust domain of the SPIFFE ids.
    pub domain: String,
    /// What is logged, unless the environment says otherwise.
    pub log_level: Option<Level>,
    /// Language of messages.
    pub language: Language,
    /// How long a node may be unheard; also in [`Settings::rules`].
    pub silent_after: Duration,
    /// Who is pinged while the collector decides and delivers.
    pub outside_watch: Option<outside_watch::Config>,
    /// What the collector itself tries to reach before it calls a site cut off.
    pub probes: Vec<ProbeTarget>,
    /// How much samples may cost.
    pub ingest: Ingest,
    /// What decides.
    pub rules: Rules,
    /// The time zones that the rules name.
    pub zones: Zones,
    /// Where the receivers of the rules are told; the same names as `rules.receivers`.
    pub receivers: BTreeMap<ReceiverName, Receiver>,
    /// How the people of the rules are reached; the same names as `rules.people`.
    pub people: BTreeMap<PersonName, Person>,
    /// Where links in messages are answered; `None`: there are no links.
    pub acknowledge: Option<crate::acknowledge::config::Config>,
    /// What is allowed, but hardly meant.
    pub warnings: Vec<Mistake>,
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

impl Settings {
    /// What decisions stand on.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            rules: Arc::new(self.rules.clone()),
            zones: self.zones.clone(),
        }
    }
}

fn read(loaded: &LoadedSettings) -> Option<Settings> {
    let root = loaded.root();
    let data_dir = root.path("data_dir").or("/var/lib/vigie-collector".into());
    let listen =
        address(&root, "listen").or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, AGENTS_PORT)));
    let metrics_listen =
        address(&root, "metrics_listen").or(SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT)));
    let scrape = ScrapeGuard::read(&root);
    // As long as it is not known what is demanded, there is nothing to say about where.
    if let Some(guard) = &scrape {
        guard.judge_address(&root, "metrics_listen", metrics_listen);
    }
    let covers = listen.ip() == metrics_listen.ip() || listen.ip().is_unspecified();
    if covers && listen.port() == metrics_listen.port() && listen.port() != 0 {
        let key = if root.has("metrics_listen") {
            "metrics_listen"
        } else {
            "listen"
        };
        let what = format!(
            "`{key}`: agents and metrics would share port {}",
            listen.port()
        );
        root.mistake(key, what, "write another port");
    }
    let host = read_host(&root);
    let domain = root
        .str("domain")
        .try_map(trust_domain)
        .or(domain_of(&host));
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
    let language = language(&root).or(Language::default());
    let silent_after = root
        .duration("silent_after")
        .within(SILENCE_MIN..=SILENCE_MAX)
        .or(SILENCE_DEFAULT);
    let outside_watch = root.sub("outside_watch").map(read_outside_watch);
    let probes = read_probes(&root);
    let ingest = ingest::read(root.sub_or_empty("ingest"));
    let acknowledge = acknowledge::read(&root, &[listen, metrics_listen]);
    let channels = channels::read(&root, &host);
    let calendars = calendars::read(loaded, &root);
    let people = people::read(loaded, &root, &channels);
    let rotas = people::read_rotas(loaded, &root, &people.names);
    let receivers = receivers::read(
        loaded,
        &root,
        &receivers::Known {
            channels: &channels,
            calendars: &calendars.names,
            people: &people,
            rotas: &rotas,
        },
    );
    let (rules, mut warnings) = rules::read(
        loaded,
        &root,
        &rules::Parts {
            silent_after,
            calendars: &calendars,
            people: &people,
            rotas: &rotas,
            receivers: &receivers,
        },
    );
    root.finish();
    warnings.extend(channels.warnings());
    let rules = rules.filter(|_| channels.is_whole())?;
    // Each was looked for where it is named.
    let zones = zones::load(rules.zone_names()).ok()?;
    Some(Settings {
        data_dir,
        listen,
        host,
        metrics_listen,
        scrape: scrape?,
        domain,
        log_level,
        language,
        silent_after,
        outside_watch: match outside_watch {
            Some(read) => Some(read?),
            None => None,
        },
        probes,
        ingest,
        rules,
        zones,
        receivers: receivers.read?,
        people: people.known,
        acknowledge: acknowledge?,
        warnings,
    })
}

fn address<'f>(section: &'f Section<'_>, key: &'f str) -> Field<'f, SocketAddr> {
    section.str(key).try_map(|text| {
        text.parse().map_err(|_| {
            Complaint::new(
                format!("{text:?} is not an IP address and a port"),
                format!(
                    "write an address such as \"0.0.0.0:{AGENTS_PORT}\" or \"[::]:{AGENTS_PORT}\""
                ),
            )
        })
    })
}

fn language<'f>(section: &'f Section<'_>) -> Field<'f, Language> {
    let words = Language::ALL.map(|language| (language.as_str(), language));
    section.one_of("language", &words)
}

fn read_host(root: &Section<'_>) -> Vec<String> {
    root.parsed_list::<ServerName>(
        "host",
        "write DNS names or IP addresses, without scheme and port",
    )
    .try_map(|names| at_most(names, HOSTS_MAX))
    .or(Vec::new())
    .into_iter()
    .map(|ServerName(name)| name)
    .collect()
}

/// One name that a certificate can carry.
struct ServerName(String);

impl FromStr for ServerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match ServerNames::parse([text]).map(|names| names.to_strings()) {
            Ok(mut names) if names.len() == 1 => Ok(Self(names.swap_remove(0))),
            _ => Err("it is neither a DNS name nor an IP address"),
        }
    }
}

/// The trust domain when none is written, also what `init` writes down: the first DNS name among the hosts, in lower case.
pub(crate) fn domain_of(host: &[String]) -> String {
    host.iter()
        .find(|name| name.parse::<std::net::IpAddr>().is_err())
        .map_or(DOMAIN, |name| name.trim_end_matches('.'))
        .to_ascii_lowercase()
}

/// The grammar of a SPIFFE trust domain (SPIFFE-ID §2.1).
fn trust_domain(text: String) -> Result<String, Complaint> {
    let is_good = (1..=253).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        });
    if is_good {
        return Ok(text);
    }
    Err(Complaint::new(
        format!("{text:?} is not a trust domain"),
        "write up to 253 lower-case letters, digits, `.`, `_`, `-`",
    ))
}

fn read_probes(root: &Section<'_>) -> Vec<ProbeTarget> {
    root.parsed_list(
        "probes",
        "write \"host.example:443\", \"192.0.2.1:53\" or \"[2001:db8::1]:53\"",
    )
    .try_map(|probes| at_most(probes, PROBES_MAX))
    .or(Vec::new())
}

/// The zone's name, if it is one.
fn time_zone(name: String) -> Result<String, Complaint> {
    match zones::find(&name) {
        Ok(_) => Ok(name),
        Err(unknown) => Err(Complaint::new(unknown.to_string(), unknown.mend())),
    }
}

/// What a reader of core says is wrong with a text: `what; what to write instead`.
fn as_complaint(error: impl fmt::Display) -> Complaint {
    let told = error.to_string();
    match told.rsplit_once("; ") {
        Some((what, mend)) => Complaint::new(what, mend),
        None => Complaint::new(
            told,
            "write it as the example in the shipped settings shows",
        ),
    }
}

/// Settings have no duration that would not fit.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Words with their values, as [`Section::one_of`] takes them.
fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Vec<(&'static str, T)> {
    all.iter().map(|word| (as_str(*word), *word)).collect()
}

fn each_once<T: Ord + fmt::Display>(names: Vec<T>) -> Result<Vec<T>, Complaint> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(Complaint::new(
            format!("\"{twice}\" is named twice"),
            "name each once",
        )),
        None => Ok(names),
    }
}

fn at_most<T>(items: Vec<T>, max: usize) -> Result<Vec<T>, Complaint> {
    if items.len() <= max {
        return Ok(items);
    }
    Err(Complaint::new(
        format!("{} are too many", items.len()),
        format!("keep at most {max}"),
    ))
}

fn read_outside_watch(section: Section<'_>) -> Option<outside_watch::Config> {
    let url_file = section.secret_file("url_file").try_map(readable).required();
    let every = section
        .duration("every")
        .within(WATCH_EVERY_MIN..=WATCH_EVERY_MAX)
        .or(WATCH_EVERY_DEFAULT);
    section.finish();
    Some(outside_watch::Config {
        url_file: url_file?,
        every,
    })
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A secret that cannot be read is found now, not on the night it is needed.
fn readable(file: SecretFile) -> Result<SecretFile, Complaint> {
    match file.read() {
        Ok(_) => Ok(file),
        Err(error) => Err(Complaint::new(
            with_cause(&error),
            "put the secret there, in a file of mode 0600 that the collector's account owns",
        )),
    }
}

/// Certificate authorities that cannot be read are found now, not on the night they are needed.
fn trusted(path: PathBuf) -> Result<PathBuf, Complaint> {
    match load_certificates(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Complaint::new(
            with_cause(&error),
            "write the path of a PEM file of certificate authorities",
        )),
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let cause = error
        .source()
        .map_or_else(String::new, |source| format!(": {source}"));
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests;
