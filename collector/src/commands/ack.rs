//! `ack` and `end`: what operators say of alerts.

use std::time::Duration;

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use vigie_platform::{clock::whole_ms, process::Exit, settings_file::parse_duration};

use super::operate::{Asked, ask_at, ask_running};
use crate::{
    operator::{
        Question,
        reply::{AboutAlert, Acknowledged},
    },
    status::actor,
};

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
        let answer = ask_running::<AboutAlert>(asked, question).await;
        return say(answer, ack.json, |_| done);
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
    let answer: Acknowledged = match ask_at(&settings.data_dir, &question).await {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    if ack.json {
        println!("{:#}", json!(answer));
    } else {
        print!("{}", outcome(&answer));
    }
    if answer.missing.is_empty() {
        Exit::Ok
    } else {
        Exit::Finding
    }
}

pub(super) async fn end(asked: Asked<'_>, end: End) -> Exit {
    let (number, reason) = (end.number, end.reason);
    let question = Question::EndAlert { number, reason };
    let answer = ask_running::<AboutAlert>(asked, question).await;
    say(answer, end.json, |_| {
        format!("#{number} has ended; whoever was told of it is told so.")
    })
}

/// Prints an answer, as JSON or in words.
pub(super) fn say<T: Serialize + DeserializeOwned>(
    answer: Result<T, Exit>,
    json: bool,
    words: impl FnOnce(&T) -> String,
) -> Exit {
    match answer {
        Ok(answer) => {
            if json {
                println!("{:#}", json!(answer));
            } else {
                println!("{}", words(&answer));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

fn outcome(answer: &Acknowledged) -> String {
    let mut out = String::new();
    if !answer.acknowledged.is_empty() {
        let now = answer.acknowledged.iter();
        let now: Vec<String> = now.map(|number| format!("#{number}")).collect();
        out.push_str(&format!(
            "You are on {}; nobody else is woken by it.\n",
            now.join(", ")
        ));
    }
    for before in &answer.before {
        out.push_str(&format!(
            "#{} was acknowledged before by {}.\n",
            before.number,
            actor(&before.by)
        ));
    }
    for missing in &answer.missing {
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
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_came_of_it_is_said_for_each_number() {
        let answer = serde_json::from_value(json!({
            "v": 1,
            "acknowledged": [1841, 1843],
            "before": [
                { "number": 1840, "by": { "uid": 1000 } },
                { "number": 1839, "by": { "link": "am/sms" } },
            ],
            "missing": [7],
        }));
        assert_eq!(
            outcome(&answer.unwrap()),
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
