//! `why N`: what happened to one alert and why, from the log, which is decided once more on the way. Needs no running
//! collector.

mod story;
#[cfg(test)]
mod tests;
pub(super) mod words;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    path::Path,
};

use serde::Serialize;
use serde_json::{Value, json};
use vigie_core::reason::message::Language;
use vigie_platform::{error_chain::chain, process::Exit};

use self::story::{Story, StoryForm, Teller};
use crate::{
    app::tzdata,
    replay::{Replay, ReplayError, Verdict},
    settings,
    store::{LogReader, sqlite::OpenError},
};

/// A replay of fewer lines than this is over before its progress could be read.
const PROGRESS_LINES_MIN: u64 = 20_000;

pub(super) async fn why(
    config: &Path,
    variables: Vec<(OsString, OsString)>,
    number: u64,
    json: bool,
) -> Exit {
    let settings = match settings::load(config, variables) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let log = match open(&settings.data_dir).await {
        Ok(log) => log,
        Err(exit) => return exit,
    };
    let told = tell(&log, number, settings.language, &mut Progress::on_stderr()).await;
    let (story, verdict) = match told {
        Ok(told) => told,
        Err(cause) => {
            eprintln!("{}", chain(&cause));
            return Exit::Finding;
        }
    };
    if story.alert.is_none() {
        eprintln!("{}", unknown(number, story.last_number));
        return Exit::Finding;
    }
    if json {
        println!("{:#}", to_json(&story, &verdict));
    } else {
        print!("{}", to_text(&story, &verdict));
    }
    if verdict.is_same() {
        Exit::Ok
    } else {
        Exit::Finding
    }
}

/// Opens the log of a data folder for reading, or says why not.
pub(super) async fn open(data_dir: &Path) -> Result<LogReader, Exit> {
    LogReader::open(data_dir).await.map_err(|cause| {
        match &cause {
            OpenError::Absent { .. } => eprintln!(
                "there is no log in {}; run this where the collector's data folder is, or name its settings with --config",
                data_dir.display()
            ),
            OpenError::Make { .. }
            | OpenError::Open { .. }
            | OpenError::Schema { .. }
            | OpenError::Epoch { .. } => eprintln!("{}", chain(&cause)),
        }
        Exit::Unreachable
    })
}

/// Replays the log and listens for what concerns one alert.
async fn tell(
    log: &LogReader,
    number: u64,
    language: Language,
    progress: &mut Progress,
) -> Result<(Story, Verdict), ReplayError> {
    let mut replay = Replay::begin(log, tzdata()).await?;
    let mut teller = Teller::new(number, language);
    while let Some(turn) = replay.next().await? {
        teller.hear(&turn, replay.policy(), replay.state());
        progress.show(replay.verdict().lines, replay.line_count());
    }
    progress.clear();
    Ok((teller.finish(), replay.verdict().clone()))
}

fn unknown(number: u64, last: u64) -> String {
    match last {
        0 => format!("no alert has the number {number}; the log holds none at all"),
        last => format!("no alert has the number {number}; the last one is {last}"),
    }
}

/// How far a long replay is, for whoever waits at a terminal.
#[derive(Debug, Default)]
struct Progress {
    is_shown: bool,
    percent: Option<u64>,
}

impl Progress {
    fn on_stderr() -> Self {
        Self {
            is_shown: std::io::stderr().is_terminal(),
            percent: None,
        }
    }

    fn show(&mut self, done: u64, of: u64) {
        let percent = done.saturating_mul(100).checked_div(of);
        if self.is_shown && of >= PROGRESS_LINES_MIN && percent > self.percent {
            self.percent = percent;
            eprint!("\rdeciding once more: {:3} %", percent.unwrap_or(100));
            let _nobody_is_told = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.percent.is_some() {
            eprint!("\r{:40}\r", "");
        }
    }
}

fn to_text(story: &Story, verdict: &Verdict) -> String {
    let mut out = String::new();
    story.write(&mut out);
    out.push('\n');
    for note in notes(verdict) {
        let _infallible = writeln!(out, "{note}");
    }
    match &verdict.difference {
        None => {
            let _infallible = writeln!(
                out,
                "{} decisions in {} lines, all the same when decided again.",
                verdict.decisions, verdict.lines
            );
        }
        Some(difference) => {
            let _infallible = writeln!(
                out,
                "Line {} is decided otherwise now ({} decisions before it are the same):",
                difference.n, verdict.decisions
            );
            if let Some(cause) = &difference.not_understood {
                let _infallible = writeln!(out, "  this version does not understand it: {cause}");
            }
            let nothing = || "nothing".to_owned();
            let escaped = |line: &String| words::escaped(line);
            let written = difference.written.as_ref().map_or_else(nothing, escaped);
            let _infallible = writeln!(out, "  written: {written}");
            if difference.not_understood.is_none() {
                let decided = difference.decided.as_ref().map_or_else(nothing, escaped);
                let _infallible = writeln!(out, "  decided: {decided}");
            }
        }
    }
    out
}

/// What has to be known of the zones with which everything was decided again.
fn notes(verdict: &Verdict) -> Vec<String> {
    let list = |names: &BTreeSet<String>| {
        names
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut notes = Vec::new();
    if !verdict.other_tzdata.is_empty() {
        notes.push(format!(
            "Decided under time zone data {}; decided again under this machine's ({}).",
            list(&verdict.other_tzdata),
            tzdata()
        ));
    }
    if !verdict.unknown_zones.is_empty() {
        notes.push(format!(
            "Zones that this machine does not know: {}; install the package `tzdata`.",
            list(&verdict.unknown_zones)
        ));
    }
    notes
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    story: StoryForm<'a>,
    replay: ReplayForm<'a>,
}

/// What came of deciding once more.
#[derive(Serialize)]
struct ReplayForm<'a> {
    lines: u64,
    decisions: u64,
    same: bool,
    difference: Option<DifferenceForm<'a>>,
    tzdata: String,
    other_tzdata: &'a BTreeSet<String>,
    unknown_zones: &'a BTreeSet<String>,
}

/// The first line that came out otherwise.
#[derive(Serialize)]
struct DifferenceForm<'a> {
    n: u64,
    written: Option<&'a str>,
    decided: Option<&'a str>,
    not_understood: Option<&'a str>,
}

fn to_json(story: &Story, verdict: &Verdict) -> Value {
    let difference = verdict.difference.as_ref();
    json!(Printed {
        story: story.form(),
        replay: ReplayForm {
            lines: verdict.lines,
            decisions: verdict.decisions,
            same: verdict.is_same(),
            difference: difference.map(|difference| DifferenceForm {
                n: difference.n,
                written: difference.written.as_deref(),
                decided: difference.decided.as_deref(),
                not_understood: difference.not_understood.as_deref(),
            }),
            tzdata: tzdata(),
            other_tzdata: &verdict.other_tzdata,
            unknown_zones: &verdict.unknown_zones,
        },
    })
}
