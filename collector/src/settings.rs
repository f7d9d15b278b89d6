//! The collector's settings: what `collector.toml`, its `conf.d` and `VIGIE__…` variables say, judged once and typed from
//! then on.
//!
//! Owns which keys there are, their defaults and bounds, and what must hold between tables: who is named must be declared,
//! and no alert may be left without a receiver. All mistakes of all files are told in one run. Only what is built is
//! accepted; every other key is refused, so that nobody relies on a calendar or a channel that does nothing.
//!
//! What decides goes into [`Rules`], which are plain data and are kept beside the log; addresses and secrets stay here.
//! Secrets are files, looked at once to see that they can be read, and never kept. Reading is synchronous: a reload calls
//! [`load`] from a blocking task. It writes nothing and can be dropped at any point.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::Serialize;
use vigie_core::{
    digest::Digest,
    id::{GroupName, ReceiverName, ServiceName},
    reason::message::Language,
    rules::Rules,
};
use vigie_platform::{
    scrape_guard::ScrapeGuard,
    settings_file::{
        self, Complaint, Field, LoadedSettings, Mistakes, Place, SecretFile, Section, Url,
    },
    telemetry::Level,
    tls::load_certificates,
};

use self::channels::Channels;
use crate::identity::authority::ServerNames;

mod channels;
mod ingest;
mod rules;

pub use channels::{Email, Login, MailAddress, Smtp, SmtpTls};
pub use ingest::Ingest;

/// Where the settings are, unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/vigie/collector.toml";

/// The port that agents are answered at (DESIGN §6).
const AGENTS_PORT: u16 = 9443;

/// The port of the collector's own metrics (DESIGN §6).
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
    pub outside_watch: Option<OutsideWatch>,
    /// What the collector itself tries to reach before it calls a site cut off.
    pub probes: Vec<ProbeTarget>,
    /// How much samples may cost.
    pub ingest: Ingest,
    /// What decides.
    pub rules: Rules,
    /// Where the receivers of the rules are told; the same names as `rules.receivers`.
    pub receivers: BTreeMap<ReceiverName, Receiver>,
}

/// `[outside_watch]`: a service elsewhere that calls somebody when the collector's pings stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideWatch {
    /// Holds the address, which is itself the secret.
    pub url_file: SecretFile,
    /// From one ping to the next.
    pub every: Duration,
}

/// `[receiver.N]`: where one receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// By what.
    pub way: Way,
    /// Its own language; `None`: that of the collector.
    pub language: Option<Language>,
}

/// How one receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A POST to its address.
    Webhook(Webhook),
    /// A mail.
    Email(Email),
}

/// `webhook = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where messages are posted.
    pub address: WebhookAddress,
    /// What a message looks like.
    pub format: WebhookFormat,
    /// Holds one header line, `Name: value`, that goes with every message.
    pub header_file: Option<SecretFile>,
    /// Certificate authorities trusted instead of those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// The address of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAddress {
    /// Written in the settings; holds no secret.
    Url(Url),
    /// The whole address is a secret and stands in this file.
    SecretUrl(SecretFile),
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// vigie's own message.
    Vigie,
    /// What receivers of Alertmanager's webhook understand (version 4).
    Alertmanager,
}

/// One `host:port` that the collector itself tries to reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeTarget {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// From 1 on.
    pub port: u16,
}

/// The text is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a probe is a DNS name or an IP address, `:` and a port")]
pub struct NotAProbeTarget;

impl FromStr for ProbeTarget {
    type Err = NotAProbeTarget;

    fn from_str(text: &str) -> Result<Self, NotAProbeTarget> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAProbeTarget)?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port > 0 && is_number);
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_valid = match bare {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            // Without brackets nobody knows where an IPv6 address ends.
            None => !host.contains(':') && ServerNames::parse([host]).is_ok(),
        };
        match port {
            Some(port) if is_valid => Ok(Self {
                host: bare.unwrap_or(host).to_owned(),
                port,
            }),
            _ => Err(NotAProbeTarget),
        }
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
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
    /// What `check-config` shows.
    #[must_use]
    pub fn summary(&self) -> Summary<'_> {
        Summary {
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            metrics_scheme: self.scrape.scheme(),
            data_dir: &self.data_dir,
            rules_sha256: self.rules.digest(),
            has_outside_watch: self.outside_watch.is_some(),
            nodes: self
                .rules
                .groups
                .values()
                .flat_map(|group| &group.nodes)
                .collect::<BTreeSet<_>>()
                .len(),
            services: self.rules.services.keys().collect(),
            groups: self.rules.groups.keys().collect(),
            receivers: self.receivers.keys().collect(),
            routes: self.rules.routes.len(),
        }
    }
}

/// What `check-config` shows of settings without mistakes: JSON through `serde`, lines through `Display`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary<'s> {
    /// Where agents are answered.
    pub listen: SocketAddr,
    /// Where the collector's own metrics are shown.
    pub metrics_listen: SocketAddr,
    /// Whether they are shown over `http` or `https`.
    pub metrics_scheme: &'static str,
    /// Where the log and the state live.
    pub data_dir: &'s Path,
    /// The digest under which the log will name these rules.
    pub rules_sha256: Digest,
    /// Whether somebody outside notices when the collector stops.
    pub has_outside_watch: bool,
    /// How many nodes are in a group.
    pub nodes: usize,
    /// The declared services.
    pub services: Vec<&'s ServiceName>,
    /// The groups.
    pub groups: Vec<&'s GroupName>,
    /// Who can be told.
    pub receivers: Vec<&'s ReceiverName>,
    /// How many routes there are.
    pub routes: usize,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn listed<T: fmt::Display>(names: &[T]) -> String {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                return "none".to_owned();
            }
            names.join(", ")
        }
        let watch = if self.has_outside_watch { "yes" } else { "no" };
        writeln!(f, "agents     {}", self.listen)?;
        writeln!(
            f,
            "metrics    {}://{}/metrics",
            self.metrics_scheme, self.metrics_listen
        )?;
        writeln!(f, "data       {}", self.data_dir.display())?;
        writeln!(f, "watched    {watch}")?;
        writeln!(f, "services   {}", listed(&self.services))?;
        writeln!(f, "groups     {}", listed(&self.groups))?;
        writeln!(f, "nodes      {}", self.nodes)?;
        writeln!(f, "receivers  {}", listed(&self.receivers))?;
        match self.routes {
            0 => write!(f, "routes     none: nobody is told of any alert"),
            routes => write!(f, "routes     {routes}"),
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
    let receivers = read_receivers(&root);
    let rules = rules::read(loaded, &root, &receivers.places, silent_after);
    root.finish();
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
        rules: rules?,
        receivers: receivers.read?,
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

fn at_most<T>(items: Vec<T>, max: usize) -> Result<Vec<T>, Complaint> {
    if items.len() <= max {
        return Ok(items);
    }
    Err(Complaint::new(
        format!("{} are too many", items.len()),
        format!("keep at most {max}"),
    ))
}

fn read_outside_watch(section: Section<'_>) -> Option<OutsideWatch> {
    let url_file = section.secret_file("url_file").try_map(readable).required();
    let every = section
        .duration("every")
        .within(WATCH_EVERY_MIN..=WATCH_EVERY_MAX)
        .or(WATCH_EVERY_DEFAULT);
    section.finish();
    Some(OutsideWatch {
        url_file: url_file?,
        every,
    })
}

struct Receivers {
    /// All that are declared, those with mistakes included, so that naming them is not another mistake.
    places: BTreeMap<ReceiverName, Place>,
    read: Option<BTreeMap<ReceiverName, Receiver>>,
}

fn read_receivers(root: &Section<'_>) -> Receivers {
    let mut places = BTreeMap::new();
    let channels = channels::read_channels(root);
    let read: Vec<_> = root
        .tables("receiver")
        .into_iter()
        .map(|section| {
            let name = section.parsed_own_name::<ReceiverName>();
            places.extend(name.clone().map(|name| (name, section.place().clone())));
            let way = read_way(&section, &channels);
            let language = language(&section).optional();
            section.finish();
            Some((
                name?,
                Receiver {
                    way: way?,
                    language,
                },
            ))
        })
        .collect();
    Receivers {
        places,
        read: read
            .into_iter()
            .collect::<Option<_>>()
            .filter(|_| channels.is_whole),
    }
}

fn read_way(receiver: &Section<'_>, channels: &Channels) -> Option<Way> {
    let (has_webhook, has_email) = (receiver.has("webhook"), receiver.has("email"));
    let webhook = receiver.sub("webhook").map(read_webhook);
    let email = receiver
        .sub("email")
        .map(|section| channels::read_email(section, channels));
    if has_webhook && has_email {
        let what = format!(
            "`receiver.{}` has both `webhook` and `email`",
            receiver.own_name()
        );
        let mend = "keep one of the two, and declare another receiver for the other";
        receiver.mistake("email", what, mend);
        return None;
    }
    if !has_webhook && !has_email {
        receiver.mistake(
            "webhook",
            format!("`receiver.{}` has no way to be told", receiver.own_name()),
            "write `webhook = { url = \"https://…\" }` or `email = { to = [\"…\"] }`",
        );
    }
    match (webhook, email) {
        (Some(webhook), _) => webhook.map(Way::Webhook),
        (None, Some(email)) => email.map(Way::Email),
        (None, None) => None,
    }
}

fn read_webhook(section: Section<'_>) -> Option<Webhook> {
    let header_file = section
        .secret_file("header_file")
        .try_map(readable)
        .optional();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    let format = section
        .one_of(
            "format",
            &[
                ("vigie", WebhookFormat::Vigie),
                ("alertmanager", WebhookFormat::Alertmanager),
            ],
        )
        .or(WebhookFormat::Vigie);
    let address = read_webhook_address(&section);
    if let Some(WebhookAddress::Url(url)) = &address
        && url.scheme() == "http"
    {
        let tells_a_secret = section.has("header_file") && !is_this_machine(url.host());
        if tells_a_secret {
            let what = "`header_file`: the secret would travel without encryption";
            section.mistake("header_file", what, "write a `url` with https://");
        }
        if section.has("ca_file") {
            let what = "`ca_file`: this webhook never speaks TLS";
            section.mistake("ca_file", what, "remove it, or write a `url` with https://");
        }
    }
    section.finish();
    Some(Webhook {
        address: address?,
        format,
        header_file,
        ca_file,
    })
}

fn read_webhook_address(section: &Section<'_>) -> Option<WebhookAddress> {
    if section.has("url_file") {
        if section.has("url") {
            let what = "`url` and `url_file` are both written";
            section.mistake("url", what, "keep one of the two");
        }
        let file = section.secret_file("url_file").try_map(readable);
        return file.required().map(WebhookAddress::SecretUrl);
    }
    let url = section.url("url", &["https", "http"]);
    url.required().map(WebhookAddress::Url)
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
