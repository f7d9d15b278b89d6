//! `report would-have-told`: what silences and maintenance kept quiet, and who would have been told of it. With a window
//! that mutes everything, new nodes are watched for a while before anybody is woken by them; this says what they would
//! have done. Read from the log; needs no running collector.

use std::borrow::Cow;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    path::Path,
};

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde::Serialize;
use serde_json::{Value, json};
use vigie_core::{digest::Digest, id::ReceiverName, status::Status, time::Wall};
use vigie_decide::{
    alert::AlertKey,
    mute::MutedBy,
    routing::Policy,
    view::{
        Version,
        mute::Kind,
        story::{Begun, Decided, Decision, Happened, Said},
    },
    zones::Zones,
};
use vigie_platform::{error_chain::chain, process::Exit};

use super::why::{open, words};
use crate::{
    replay::{ReplayError, Written},
    settings,
    store::{LOG_LINES_MAX, LogReader},
    zones,
};

#[cfg(test)]
mod tests;

/// What of the log is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Span {
    since: Option<Wall>,
    /// Not included.
    until: Option<Wall>,
}

/// One alert that one mute kept quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Quiet {
    number: u64,
    alert: Option<AlertKey>,
    /// The loudest it was while it was kept quiet.
    status: Option<Status>,
    /// When that first mattered.
    at: Wall,
    by: MutedBy,
    would_tell: BTreeSet<ReceiverName>,
    would_hold: BTreeSet<ReceiverName>,
}

/// What was kept quiet.
#[derive(Debug, Default)]
struct Report {
    quiet: Vec<Quiet>,
    /// Where in it an alert stands, for each mute.
    places: BTreeMap<(u64, MutedBy), usize>,
    /// Mutes in words.
    mutes: BTreeMap<MutedBy, String>,
    /// The last rules and zones, which times are told by.
    policy: Policy,
}

/// How many alerts a receiver would have been told of at once, and how many would have waited for its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Count {
    told: u64,
    held: u64,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    v: Version,
    since: Option<Wall>,
    until: Option<Wall>,
    mutes: Vec<MuteForm<'a>>,
    receivers: Vec<ReceiverForm<'a>>,
    alerts: Vec<AlertForm<'a>>,
}

#[derive(Serialize)]
struct MuteForm<'a> {
    by: &'a MutedBy,
    says: String,
    #[serde(flatten)]
    count: Count,
}

#[derive(Serialize)]
struct ReceiverForm<'a> {
    receiver: &'a ReceiverName,
    #[serde(flatten)]
    count: Count,
}

/// `None` where the log does not say which alert it is.
#[derive(Serialize)]
struct AlertForm<'a> {
    number: u64,
    node: Option<Cow<'a, str>>,
    check: Option<&'a str>,
    object: Option<Cow<'a, str>>,
    status: Option<Status>,
    at: Wall,
    by: &'a MutedBy,
    would_tell: &'a BTreeSet<ReceiverName>,
    would_hold: &'a BTreeSet<ReceiverName>,
}

pub(super) async fn would_have_told(
    config: &Path,
    variables: Vec<(OsString, OsString)>,
    since: Option<&str>,
    until: Option<&str>,
    json: bool,
) -> Exit {
    let settings = match settings::load(config, variables) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let known = zones::load(settings.rules.zone_names()).unwrap_or_default();
    let zone = known
        .first()
        .map_or(TimeZone::UTC, |(_, zone)| zone.clone());
    let read = |text: Option<&str>| text.map(|text| instant(text, &zone)).transpose();
    let span = match (read(since), read(until)) {
        (Ok(since), Ok(until)) => Span { since, until },
        (Err(mistake), _) | (_, Err(mistake)) => {
            eprintln!("{mistake}");
            return Exit::Usage;
        }
    };
    let log = match open(&settings.data_dir).await {
        Ok(log) => log,
        Err(exit) => return exit,
    };
    match collect(&log, span).await {
        Ok(report) if json => println!("{:#}", report.to_json(span)),
        Ok(report) => print!("{}", report.to_text()),
        Err(cause) => {
            eprintln!("{}", chain(&cause));
            return Exit::Finding;
        }
    }
    Exit::Ok
}

/// The text is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time; write \"2026-11-22\", \"2026-11-22 20:00\" or \"2026-11-22T20:00:00Z\"")]
struct NotAnInstant(String);

/// Reads an instant, or a civil time of `zone`.
fn instant(text: &str, zone: &TimeZone) -> Result<Wall, NotAnInstant> {
    if let Ok(instant) = Wall::parse(text) {
        return Ok(instant);
    }
    let civil: Option<DateTime> = match text.parse::<Date>() {
        // A date and time also reads as a date.
        Ok(date) if text.len() <= "2026-11-22".len() => {
            Some(date.to_datetime(jiff::civil::Time::MIN))
        }
        _ => text.parse().ok(),
    };
    let zoned = civil.and_then(|civil| zone.to_ambiguous_timestamp(civil).compatible().ok());
    zoned
        .map(|instant| Wall(instant.as_millisecond()))
        .ok_or_else(|| NotAnInstant(text.to_owned()))
}

/// Reads the whole log: what an alert is was said when it began, perhaps long before the span.
async fn collect(log: &LogReader, span: Span) -> Result<Report, ReplayError> {
    let mut report = Report::default();
    let mut open = BTreeMap::new();
    let mut begun = None;
    let mut from = 0;
    loop {
        let lines = log.lines(from, LOG_LINES_MAX).await;
        let lines = lines.map_err(ReplayError::Read)?;
        let Some((last, _)) = lines.last() else {
            return Ok(report);
        };
        from = last + 1;
        for (n, text) in lines {
            if !may_matter(&text) {
                continue;
            }
            let line = Written::read(n, text)?;
            let at = line.now.wall;
            match Said::read(&line.event) {
                Said::Event(Happened::RulesLoaded { sha256 }) => {
                    report.load_rules(log, sha256).await?;
                }
                Said::Event(happened) => {
                    if let Some((kind, said)) = happened.begun() {
                        begun = Some((kind, said.clone(), at));
                    }
                }
                Said::Decision(decision) => {
                    report.hear(&decision, at, span, &mut open, begun.as_ref());
                }
            }
        }
    }
}

/// Most lines are passed over unread.
fn may_matter(line: &str) -> bool {
    [
        r#""decided":"alert."#,
        r#""decided":"mut"#,
        r#""kind":"rules.loaded""#,
        r#""kind":"silence.started""#,
        r#""kind":"maintenance.started""#,
    ]
    .iter()
    .any(|wanted| line.contains(wanted))
}

/// A silence or maintenance that began, and when.
type LastBegun = (Kind, Begun, Wall);

/// Alerts that are open at a point of the log: which, and how they stand.
type OpenAlerts = BTreeMap<u64, (Option<AlertKey>, Option<Status>)>;

impl Report {
    async fn load_rules(&mut self, log: &LogReader, sha256: Digest) -> Result<(), ReplayError> {
        let rules = log.rules(sha256).await.map_err(ReplayError::Read)?;
        // Names do without rules: only reasons of windows are missing then.
        if let Some(rules) = rules {
            let zones = rules.zone_names().into_iter();
            let zones = zones.filter_map(|name| Some((name.to_owned(), zones::find(name).ok()?)));
            self.policy = Policy {
                zones: Zones::from_iter(zones.collect::<Vec<_>>()),
                rules: rules.into(),
            };
        }
        Ok(())
    }

    fn hear(
        &mut self,
        decision: &Decision,
        at: Wall,
        span: Span,
        open: &mut OpenAlerts,
        begun: Option<&LastBegun>,
    ) {
        let number = decision.number.unwrap_or(0);
        match &decision.what {
            Decided::Opened { alert, status, .. } => {
                open.insert(number, (Some(alert.clone()), Some(*status)));
            }
            Decided::Changed { to, .. } => {
                if let Some((_, stands)) = open.get_mut(&number) {
                    *stands = Some(*to);
                }
            }
            Decided::Closed { .. } => drop(open.remove(&number)),
            Decided::MuteBegan { mute } => {
                if let Some((kind, begun, began)) = begun {
                    let said = words::mute(*mute, (*kind, begun), *began, &self.policy);
                    self.mutes.insert(MutedBy::Mute(*mute), said);
                }
            }
            Decided::Muted {
                by,
                would_tell,
                would_hold,
            } => {
                let is_before = span.since.is_some_and(|since| at < since);
                let is_after = span.until.is_some_and(|until| at >= until);
                if !is_before && !is_after {
                    let (alert, status) = open.get(&number).cloned().unwrap_or_default();
                    self.keep(Quiet {
                        number,
                        alert,
                        status,
                        at,
                        by: by.clone(),
                        would_tell: would_tell.iter().cloned().collect(),
                        would_hold: would_hold.iter().cloned().collect(),
                    });
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, quiet: Quiet) {
        if let MutedBy::Window(name) = &quiet.by {
            let said = words::window(name, &self.policy.rules);
            self.mutes.insert(quiet.by.clone(), said);
        }
        if quiet.would_tell.is_empty() && quiet.would_hold.is_empty() {
            // Everybody concerned knew of it before it was kept quiet.
            return;
        }
        let place = (quiet.number, quiet.by.clone());
        let known = self
            .places
            .get(&place)
            .and_then(|at| self.quiet.get_mut(*at));
        match known {
            Some(known) => {
                known.would_tell.extend(quiet.would_tell);
                known.would_hold.extend(quiet.would_hold);
                known.status = louder(known.status, quiet.status);
            }
            None => {
                self.places.insert(place, self.quiet.len());
                self.quiet.push(quiet);
            }
        }
    }

    /// A mute in words.
    fn mute(&self, by: &MutedBy) -> String {
        let known = self.mutes.get(by).cloned();
        known.unwrap_or_else(|| words::printable(&json!(by).to_string()))
    }

    /// By the text of what the log calls each, which is the order that reports have always had.
    fn by_mute(&self) -> BTreeMap<String, (&MutedBy, Count)> {
        let mut counts: BTreeMap<String, (&MutedBy, Count)> = BTreeMap::new();
        for quiet in &self.quiet {
            let count = counts.entry(json!(quiet.by).to_string());
            let (_, count) = count.or_insert((&quiet.by, Count::default()));
            count.add(quiet.is_told());
        }
        counts
    }

    fn by_receiver(&self) -> BTreeMap<&ReceiverName, Count> {
        let mut counts: BTreeMap<&ReceiverName, Count> = BTreeMap::new();
        for quiet in &self.quiet {
            for receiver in &quiet.would_tell {
                counts.entry(receiver).or_default().add(true);
            }
            for receiver in quiet.would_hold.difference(&quiet.would_tell) {
                counts.entry(receiver).or_default().add(false);
            }
        }
        counts
    }

    fn to_json(&self, span: Span) -> Value {
        let mutes = self.by_mute().into_values();
        let receivers = self.by_receiver().into_iter();
        let alerts = self.quiet.iter();
        json!(Printed {
            v: Version,
            since: span.since,
            until: span.until,
            mutes: mutes
                .map(|(by, count)| MuteForm {
                    by,
                    says: self.mute(by),
                    count,
                })
                .collect(),
            receivers: receivers
                .map(|(receiver, count)| ReceiverForm { receiver, count })
                .collect(),
            alerts: alerts
                .map(|quiet| AlertForm {
                    number: quiet.number,
                    node: quiet.alert.as_ref().map(|alert| alert.node()),
                    check: quiet.alert.as_ref().map(|alert| alert.check()),
                    object: quiet.alert.as_ref().map(|alert| alert.object()),
                    status: quiet.status,
                    at: quiet.at,
                    by: &quiet.by,
                    would_tell: &quiet.would_tell,
                    would_hold: &quiet.would_hold,
                })
                .collect(),
        })
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        if self.quiet.is_empty() {
            out.push_str("Nothing was kept quiet that somebody would have been told of.\n");
            return out;
        }
        out.push_str("Kept quiet, by what kept it quiet:\n");
        for (by, count) in self.by_mute().into_values() {
            let _infallible = writeln!(out, "  {}: {count}", self.mute(by));
        }
        out.push_str("\nBy who would have been told:\n");
        for (receiver, count) in self.by_receiver() {
            let _infallible = writeln!(out, "  {receiver}: {count}");
        }
        out.push('\n');
        for quiet in &self.quiet {
            let alert = quiet.alert.as_ref();
            let alert = alert.map_or_else(|| "?".to_owned(), words::alert);
            let status = quiet.status.map_or("?", Status::as_str);
            let _infallible = writeln!(
                out,
                "#{} {} {alert} {status}, kept quiet by {}",
                quiet.number,
                words::time(quiet.at, &self.policy),
                self.mute(&quiet.by)
            );
            for (would, names) in [
                ("at once", &quiet.would_tell),
                ("in a digest", &quiet.would_hold),
            ] {
                let names: Vec<&str> = names.iter().map(ReceiverName::as_str).collect();
                if !names.is_empty() {
                    let _infallible = writeln!(out, "    {would}: {}", names.join(", "));
                }
            }
        }
        out
    }
}

impl Quiet {
    fn is_told(&self) -> bool {
        !self.would_tell.is_empty()
    }
}

impl Count {
    fn add(&mut self, is_told: bool) {
        if is_told {
            self.told += 1;
        } else {
            self.held += 1;
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at once, {} in a digest", self.told, self.held)
    }
}

/// The louder of two statuses.
fn louder(one: Option<Status>, other: Option<Status>) -> Option<Status> {
    one.into_iter()
        .chain(other)
        .max_by_key(|status| status.rank())
}
