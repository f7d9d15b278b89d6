//! `report would-have-told`: what silences and maintenance kept quiet, and who would have been told of it. With a window
//! that mutes everything, new nodes are watched for a while before anybody is woken by them; this says what they would
//! have done. Read from the log; needs no running collector.

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
use serde_json::{Value, json};
use vigie_core::{digest::Digest, status::Status, time::Wall};
use vigie_decide::{alert::AlertKey, routing::Ground, zones::Zones};
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
    by: Value,
    would_tell: BTreeSet<String>,
    would_hold: BTreeSet<String>,
}

/// What was kept quiet.
#[derive(Debug, Default)]
struct Report {
    quiet: Vec<Quiet>,
    /// Where in it an alert stands, for each mute.
    places: BTreeMap<(u64, String), usize>,
    /// Mutes in words, by what the log calls them.
    mutes: BTreeMap<String, String>,
    /// The last rules and zones, which times are told by.
    ground: Ground,
}

/// How many alerts a receiver would have been told of at once, and how many would have waited for its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    told: u64,
    held: u64,
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
            match line.kind() {
                "rules.loaded" => report.load_rules(log, &line).await?,
                "silence.started" | "maintenance.started" => begun = Some(line),
                "decision" => report.hear(&line, span, &mut open, begun.as_ref()),
                _ => {}
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

/// Alerts that are open at a point of the log: which, and how they stand.
type OpenAlerts = BTreeMap<u64, (Option<AlertKey>, Option<Status>)>;

impl Report {
    async fn load_rules(&mut self, log: &LogReader, line: &Written) -> Result<(), ReplayError> {
        let sha256 = line.event["sha256"].as_str();
        let sha256: Option<Digest> = sha256.and_then(|sha256| sha256.parse().ok());
        let rules = match sha256 {
            Some(sha256) => log.rules(sha256).await.map_err(ReplayError::Read)?,
            None => None,
        };
        // Names do without rules: only reasons of windows are missing then.
        if let Some(rules) = rules {
            let zones = rules.zone_names().into_iter();
            let zones = zones.filter_map(|name| Some((name.to_owned(), zones::find(name).ok()?)));
            self.ground = Ground {
                zones: Zones::from_iter(zones.collect::<Vec<_>>()),
                rules: rules.into(),
            };
        }
        Ok(())
    }

    fn hear(&mut self, line: &Written, span: Span, open: &mut OpenAlerts, begun: Option<&Written>) {
        let event = &line.event;
        let number = event["number"].as_u64().unwrap_or(0);
        let status = |member: &str| event[member].as_str().and_then(|word| word.parse().ok());
        match event["decided"].as_str().unwrap_or_default() {
            "alert.opened" => {
                let alert = serde_json::from_value(event["alert"].clone()).ok();
                open.insert(number, (alert, status("status")));
            }
            "alert.changed" => {
                if let Some((_, stands)) = open.get_mut(&number) {
                    *stands = status("to");
                }
            }
            "alert.closed" => drop(open.remove(&number)),
            "mute.began" => {
                if let (Some(mute), Some(begun)) = (event["mute"].as_u64(), begun) {
                    let by = json!({"mute": mute});
                    let said = words::mute(mute, begun, &self.ground);
                    self.mutes.insert(by.to_string(), said);
                }
            }
            "muted" => {
                let is_before = span.since.is_some_and(|since| line.now.wall < since);
                let is_after = span.until.is_some_and(|until| line.now.wall >= until);
                if !is_before && !is_after {
                    self.keep(line, number, open.get(&number));
                }
            }
            _ => {}
        }
    }

    fn keep(
        &mut self,
        line: &Written,
        number: u64,
        open: Option<&(Option<AlertKey>, Option<Status>)>,
    ) {
        let by = &line.event["by"];
        if by["window"].is_string() {
            let said = words::window(by, &self.ground.rules);
            self.mutes.insert(by.to_string(), said);
        }
        let names = |member: &str| -> BTreeSet<String> {
            let names = line.event[member].as_array().into_iter().flatten();
            names
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect()
        };
        let (would_tell, would_hold) = (names("would_tell"), names("would_hold"));
        if would_tell.is_empty() && would_hold.is_empty() {
            // Everybody concerned knew of it before it was kept quiet.
            return;
        }
        let (alert, status) = open.cloned().unwrap_or_default();
        let place = (number, by.to_string());
        let known = self
            .places
            .get(&place)
            .and_then(|at| self.quiet.get_mut(*at));
        match known {
            Some(known) => {
                known.would_tell.extend(would_tell);
                known.would_hold.extend(would_hold);
                known.status = louder(known.status, status);
            }
            None => {
                self.places.insert(place, self.quiet.len());
                self.quiet.push(Quiet {
                    number,
                    alert,
                    status,
                    at: line.now.wall,
                    by: by.clone(),
                    would_tell,
                    would_hold,
                });
            }
        }
    }

    /// A mute in words.
    fn mute(&self, by: &Value) -> String {
        let known = self.mutes.get(&by.to_string()).cloned();
        known.unwrap_or_else(|| words::printable(&by.to_string()))
    }

    fn by_mute(&self) -> BTreeMap<String, Count> {
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for quiet in &self.quiet {
            counts
                .entry(quiet.by.to_string())
                .or_default()
                .add(quiet.is_told());
        }
        counts
    }

    fn by_receiver(&self) -> BTreeMap<&str, Count> {
        let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
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
        let mutes: Vec<Value> = self
            .by_mute()
            .into_iter()
            .map(|(by, count)| {
                let by: Value = serde_json::from_str(&by).unwrap_or_default();
                json!({"by": by, "says": self.mute(&by), "told": count.told, "held": count.held})
            })
            .collect();
        let receivers: Vec<Value> = self
            .by_receiver()
            .into_iter()
            .map(|(receiver, count)| {
                json!({"receiver": receiver, "told": count.told, "held": count.held})
            })
            .collect();
        let alerts: Vec<Value> = self
            .quiet
            .iter()
            .map(|quiet| {
                json!({
                    "number": quiet.number,
                    "node": quiet.alert.as_ref().map(|alert| alert.node()),
                    "check": quiet.alert.as_ref().map(|alert| alert.check()),
                    "object": quiet.alert.as_ref().map(|alert| alert.object()),
                    "status": quiet.status,
                    "at": quiet.at,
                    "by": quiet.by,
                    "would_tell": quiet.would_tell,
                    "would_hold": quiet.would_hold,
                })
            })
            .collect();
        json!({
            "since": span.since,
            "until": span.until,
            "mutes": mutes,
            "receivers": receivers,
            "alerts": alerts,
        })
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        if self.quiet.is_empty() {
            out.push_str("Nothing was kept quiet that somebody would have been told of.\n");
            return out;
        }
        out.push_str("Kept quiet, by what kept it quiet:\n");
        for (by, count) in self.by_mute() {
            let by: Value = serde_json::from_str(&by).unwrap_or_default();
            let _infallible = writeln!(out, "  {}: {count}", self.mute(&by));
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
                words::time(quiet.at, &self.ground),
                self.mute(&quiet.by)
            );
            for (would, names) in [
                ("at once", &quiet.would_tell),
                ("in a digest", &quiet.would_hold),
            ] {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
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
