//! `ack` and `end`: what operators say of alerts.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use vigie_decide::alert::Actor;
use vigie_platform::{clock::whole_ms, process::Exit, settings_file::parse_duration};

use super::operate::{Asked, ask_at, ask_running};
use crate::{operator::Question, status::actor};

/// `ack …`
#[derive(Debug, Args)]
pub struct Ack {
    /// Numbers of alerts
    #[arg(value_name = "N", value_parser = number, required_unless_present = "undo")]
    numbers: Vec<u64>,
    /// How long it counts, such as 2h; what is still on then is told again [default: until the alert ends, or what
    /// `acknowledge.expires` says]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    counts_for: Option<Duration>,
    /// Nobody is on this one after all: its steps begin again
    #[arg(long, value_name = "N", value_parser = number, conflicts_with_all = ["numbers", "counts_for"])]
    undo: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `end …`
#[derive(Debug, Args)]
pub struct End {
    /// The alert's number
    #[arg(value_name = "N", value_parser = number)]
    number: u64,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn ack(asked: Asked<'_>, ack: Ack) -> Exit {
    if let Some(number) = ack.undo {
        let question = Question::Unacknowledge { number };
        let done = format!("Nobody is on #{number} any more; it is told as if it had just begun.");
        return say(ask_running(asked, question).await, ack.json, |_| {
            done.clone()
        });
    }
    let settings = match asked.settings() {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let by_settings = settings.acknowledge.and_then(|links| links.expires);
    let question = Question::Acknowledge {
        numbers: ack.numbers,
        for_ms: ack.counts_for.or(by_settings).map(whole_ms),
    };
    let answer = match ask_at(&settings.data_dir, &question).await {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    if ack.json {
        println!("{answer:#}");
    } else {
        print!("{}", outcome(&answer));
    }
    let missing = answer["missing"].as_array().is_some_and(|m| !m.is_empty());
    if missing { Exit::Finding } else { Exit::Ok }
}

pub(super) async fn end(asked: Asked<'_>, end: End) -> Exit {
    let (number, reason) = (end.number, end.reason);
    let question = Question::EndAlert { number, reason };
    let answer = ask_running(asked, question).await;
    say(answer, end.json, |_| {
        format!("#{number} has ended; whoever was told of it is told so.")
    })
}

/// Prints an answer, as JSON or in words.
pub(super) fn say(
    answer: Result<Value, Exit>,
    json: bool,
    words: impl FnOnce(&Value) -> String,
) -> Exit {
    match answer {
        Ok(answer) => {
            if json {
                println!("{answer:#}");
            } else {
                println!("{}", words(&answer));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

fn outcome(answer: &Value) -> String {
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let mut out = String::new();
    let now = list("acknowledged");
    if !now.is_empty() {
        let now: Vec<String> = now.iter().map(|number| format!("#{number}")).collect();
        out.push_str(&format!(
            "You are on {}; nobody else is woken by it.\n",
            now.join(", ")
        ));
    }
    for before in list("before") {
        let by = serde_json::from_value::<Actor>(before["by"].clone());
        let by = by.map_or_else(|_| "somebody".to_owned(), |by| actor(&by));
        out.push_str(&format!(
            "#{} was acknowledged before by {by}.\n",
            before["number"]
        ));
    }
    for missing in list("missing") {
        out.push_str(&format!(
            "No open alert has the number {missing}; see `vigie-collector status`.\n"
        ));
    }
    out
}

/// An alert's number, with or without the `#` that messages write before it.
pub(super) fn number(text: &str) -> Result<u64, String> {
    text.trim_start_matches('#')
        .parse()
        .map_err(|_| "write the number of an alert, such as 1841".to_owned())
}

/// A duration as settings write it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .map_err(|_| "write a whole number and a unit, such as 30m, 2h or 3d".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_came_of_it_is_said_for_each_number() {
        let answer = json!({
            "acknowledged": [1841, 1843],
            "before": [
                { "number": 1840, "by": { "uid": 1000 } },
                { "number": 1839, "by": { "link": "am/sms" } },
            ],
            "missing": [7],
        });
        assert_eq!(
            outcome(&answer),
            "You are on #1841, #1843; nobody else is woken by it.\n\
             #1840 was acknowledged before by uid 1000.\n\
             #1839 was acknowledged before by am/sms.\n\
             No open alert has the number 7; see `vigie-collector status`.\n"
        );
    }

    #[test]
    fn numbers_and_durations_are_read_as_messages_and_settings_write_them() {
        assert_eq!(number("#1841"), Ok(1_841));
        assert_eq!(number("1841"), Ok(1_841));
        assert!(number("all").is_err());
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert!(duration("2").is_err());
        assert!(duration("-2h").is_err());
    }
}
