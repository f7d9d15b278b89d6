//! `silence`: keeps alerts quiet for a while, and shows beforehand which.

use std::{fmt::Write as _, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use vigie_core::{
    id::{GroupName, NodeName, ServiceName, SiteName},
    reason::message::Language,
    status::{Criticality, Environment, Family, Status},
};
use vigie_decide::{
    mute::SilenceMatch,
    rules::Match,
    view::{
        Version,
        alert::Alert,
        fleet::Fleet,
        mute::{Kind, Mute, Window},
    },
};
use vigie_platform::{clock::whole_ms, process::Exit};

use super::{
    ack::{duration, number, say},
    operate::{Asked, ask_running, ask_running_with_settings},
};
use crate::{
    operator::{
        Question,
        reply::{Begun, Ended, Preview},
    },
    status::{alert_table, mute_table},
};

/// `silence …`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Silence {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: Start,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The silences that run
    #[command(after_help = "Example: vigie-collector silence list")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a silence before its time; what still fails is told at once
    #[command(after_help = "Example: vigie-collector silence end 12")]
    End {
        /// Its number
        id: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to silence. All conditions must hold; of a repeated one, any.
#[derive(Debug, Args)]
struct Start {
    /// Why, for the next shift
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// For how long, at most 8h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<Duration>,
    /// Only show which open alerts it would be for
    #[arg(long)]
    preview: bool,
    /// One alert
    #[arg(long, value_name = "N", value_parser = number)]
    number: Option<u64>,
    /// A check, on whatever node
    #[arg(long, value_name = "CHECK")]
    check: Option<String>,
    /// An object of checks, such as a mount point or an address
    #[arg(long, value_name = "OBJECT")]
    object: Option<String>,
    /// A node
    #[arg(long, value_name = "NODE")]
    node: Vec<NodeName>,
    /// A service
    #[arg(long, value_name = "SERVICE")]
    service: Vec<ServiceName>,
    /// A group of nodes
    #[arg(long, value_name = "GROUP")]
    group: Vec<GroupName>,
    /// A site
    #[arg(long, value_name = "SITE")]
    site: Vec<SiteName>,
    /// host, availability, tls, backup, integrity or vigie
    #[arg(long, value_name = "FAMILY")]
    family: Vec<Family>,
    /// warning, critical or unknown
    #[arg(long, value_name = "STATUS")]
    status: Vec<Status>,
    /// standard, important or critical
    #[arg(long, value_name = "CRITICALITY")]
    criticality: Vec<Criticality>,
    /// production, staging, test or development
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Vec<Environment>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Start {
    fn matches(&self) -> SilenceMatch {
        SilenceMatch {
            number: self.number,
            check: self.check.clone(),
            object: self.object.clone(),
            matches: Match {
                criticality: self.criticality.iter().copied().collect(),
                service: self.service.iter().cloned().collect(),
                family: self.family.iter().copied().collect(),
                status: self.status.iter().copied().collect(),
                node: self.node.iter().cloned().collect(),
                group: self.group.iter().cloned().collect(),
                site: self.site.iter().cloned().collect(),
                environment: self.environment.iter().copied().collect(),
                ..Match::default()
            },
        }
    }

    fn question(&self) -> Result<Question, &'static str> {
        let matches = self.matches();
        if self.preview {
            return Ok(Question::PreviewSilence { matches });
        }
        let lasts = self
            .lasts
            .ok_or("no length is given; write --for with at most 8h, such as --for 2h")?;
        Ok(Question::Silence {
            matches,
            // An empty one is refused with the others.
            reason: self.reason.clone().unwrap_or_default(),
            for_ms: whole_ms(lasts),
        })
    }
}

pub(super) async fn silence(asked: Asked<'_>, silence: Silence) -> Exit {
    match silence.command {
        Some(Command::List { json }) => {
            let answer = ask_running(asked, Question::Status).await;
            list(answer, json, Kind::Silence)
        }
        Some(Command::End { id, json }) => end(asked, id, Kind::Silence, json).await,
        None => start(asked, &silence.start).await,
    }
}

async fn start(asked: Asked<'_>, start: &Start) -> Exit {
    let question = match start.question() {
        Ok(question) => question,
        Err(wrong) => {
            eprintln!("{wrong}");
            return Exit::Usage;
        }
    };
    let (json, said) = if start.preview {
        match ask_running_with_settings::<Preview>(asked, question).await {
            Ok((answer, settings)) => {
                let said = kept_quiet("would be", &answer.hits, settings.language);
                (json!(answer), said)
            }
            Err(exit) => return exit,
        }
    } else {
        match ask_running_with_settings::<Begun>(asked, question).await {
            Ok((answer, settings)) => {
                let said = begun(&answer, settings.language);
                (json!(answer), said)
            }
            Err(exit) => return exit,
        }
    };
    if start.json {
        println!("{json:#}");
    } else {
        print!("{said}");
    }
    Exit::Ok
}

/// A silence or maintenance that has begun, and what it keeps quiet of what is open.
pub(super) fn begun(answer: &Begun, language: Language) -> String {
    let until = answer
        .until
        .map_or_else(|| "its end".to_owned(), |until| until.to_string());
    format!(
        "{} runs until {until}; what still fails then is told.\n{}",
        answer.mute,
        kept_quiet("are", &answer.hits, language)
    )
}

fn kept_quiet(verb: &str, hits: &[Alert], language: Language) -> String {
    let mut out = String::new();
    if hits.is_empty() {
        let _infallible = writeln!(out, "None of the open alerts {verb} kept quiet by it.");
    } else {
        let _infallible = writeln!(
            out,
            "{} of the open alerts {verb} kept quiet by it:",
            hits.len()
        );
        out.push_str(&alert_table(hits, language));
    }
    out
}

/// What `maintenance list --json` prints.
#[derive(Serialize)]
struct MaintenanceList<'a> {
    v: Version,
    running: Vec<&'a Mute>,
    windows: &'a [Window],
}

/// Prints the silences or the maintenance of a fleet.
pub(super) fn list(answer: Result<Fleet, Exit>, json: bool, kind: Kind) -> Exit {
    let fleet = match answer {
        Ok(fleet) => fleet,
        Err(exit) => return exit,
    };
    if json {
        let mutes = fleet.mutes.iter();
        let running: Vec<&Mute> = mutes.filter(|mute| mute.what.kind() == kind).collect();
        let listed = match kind {
            Kind::Silence => json!(running),
            Kind::Maintenance => json!(MaintenanceList {
                v: Version,
                running,
                windows: &fleet.windows,
            }),
        };
        println!("{listed:#}");
        return Exit::Ok;
    }
    let mut out = mute_table(&fleet.mutes, Some(kind));
    if out.is_empty() {
        out = format!("No {} runs.\n", kind.as_str());
    }
    print!("{out}");
    Exit::Ok
}

/// Ends a silence or maintenance.
pub(super) async fn end(asked: Asked<'_>, mute: u64, kind: Kind, json: bool) -> Exit {
    let question = Question::EndMute { mute, kind };
    let answer = ask_running::<Ended>(asked, question).await;
    say(answer, json, |_| {
        let word = kind.as_str();
        format!("The {word} {mute} has ended; what still fails is told now.")
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        silence: Silence,
    }

    fn parse(line: &str) -> Result<Silence, clap::Error> {
        let words = std::iter::once("silence").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.silence)
    }

    fn refusal(line: &str) -> String {
        match parse(line).unwrap().start.question() {
            Ok(question) => question.judge().unwrap_err().to_string(),
            Err(wrong) => wrong.to_owned(),
        }
    }

    #[test]
    fn every_condition_reaches_the_match() {
        let line = "--reason x --for 2h --number #12 --check portail --object / --node a --node b --service s \
                    --group g --site z --family tls --status warning --criticality important --environment test";
        let Ok(Question::Silence {
            matches,
            reason,
            for_ms,
        }) = parse(line).unwrap().start.question()
        else {
            panic!("a silence");
        };
        assert_eq!((reason.as_str(), for_ms), ("x", 7_200_000));
        let text = serde_json::to_value(&matches).unwrap();
        assert_eq!(
            text,
            json!({
                "number": 12, "check": "portail", "object": "/",
                "matches": {
                    "node": ["a", "b"], "service": ["s"], "group": ["g"], "site": ["z"], "family": ["tls"],
                    "status": ["warning"], "criticality": ["important"], "environment": ["test"], "need": [],
                },
            })
        );
    }

    #[test]
    fn what_no_silence_may_be_is_refused_with_a_mend() {
        let everything = refusal("--reason x --for 2h");
        assert!(everything.contains("--node"), "{everything}");
        assert!(refusal("--preview").contains("--node"));
        let reason = refusal("--for 2h --node a");
        assert!(reason.contains("--reason"), "{reason}");
        let length = refusal("--reason x --node a");
        assert!(length.contains("--for 2h"), "{length}");
        let long = refusal("--reason x --node a --for 9h");
        assert!(
            long.contains("8h") && long.contains("maintenance"),
            "{long}"
        );
        assert!(refusal("--reason x --node a --for 0s").contains("8h"));
        assert!(
            refusal(&format!("--reason {} --node a --for 1h", "x".repeat(201))).contains("200")
        );
        let fine = parse("--reason x --node a --for 8h").unwrap();
        assert_eq!(fine.start.question().unwrap().judge(), Ok(()));
    }

    #[test]
    fn a_preview_needs_neither_reason_nor_length() {
        let preview = parse("--preview --family tls").unwrap();
        let question = preview.start.question().unwrap();
        assert!(matches!(question, Question::PreviewSilence { .. }));
        assert_eq!(question.judge(), Ok(()));
        assert!(matches!(
            parse("end 12").unwrap().command,
            Some(Command::End {
                id: 12,
                json: false
            })
        ));
        assert!(parse("end 12 --node a").is_err());
    }
}
