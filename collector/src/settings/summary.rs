//! What `check-config` shows: what the settings come to, without addresses and secrets.

use std::{collections::BTreeSet, fmt, net::SocketAddr, path::Path};

use serde::Serialize;
use vigie_core::{
    digest::Digest,
    id::{CalendarName, GroupName, ReceiverName, RotaName, ServiceName},
};

use super::Settings;

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
            calendars: self.rules.calendars.keys().collect(),
            people: self.rules.people.len(),
            rotas: self.rules.rotas.keys().collect(),
            maintenance: self.rules.maintenance.len(),
            acknowledge: self.acknowledge.as_ref().map(|links| links.url.as_str()),
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
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
    /// When teams are at work.
    pub calendars: Vec<&'s CalendarName>,
    /// How many people can be on call.
    pub people: usize,
    /// Who is on call.
    pub rotas: Vec<&'s RotaName>,
    /// How many windows of maintenance there are.
    pub maintenance: usize,
    /// How the links begin by which people say that they are on it.
    pub acknowledge: Option<&'s str>,
    /// What is allowed, but hardly meant.
    pub warnings: Vec<String>,
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
        writeln!(f, "calendars  {}", listed(&self.calendars))?;
        writeln!(f, "rotas      {}", listed(&self.rotas))?;
        writeln!(f, "people     {}", self.people)?;
        writeln!(f, "windows    {}", self.maintenance)?;
        writeln!(f, "links      {}", self.acknowledge.unwrap_or("none"))?;
        match self.routes {
            0 => write!(f, "routes     none: nobody is told of any alert")?,
            routes => write!(f, "routes     {routes}")?,
        }
        for warning in &self.warnings {
            write!(f, "\nwarning    {warning}")?;
        }
        Ok(())
    }
}
