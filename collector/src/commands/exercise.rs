//! `test-receiver`: starts an exercise, and follows it through the log to acceptance or acknowledgement.
//!
//! The exercise takes the way of every alert: routed, stored, told step by step. What is printed is what the log says of
//! it, so that it proves the way and not this command. Ending the command ends nothing: the exercise goes on until
//! somebody acknowledges it, somebody ends it, or half an hour is over.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use vigie_core::id::ReceiverName;
use vigie_decide::alert::Actor;
use vigie_platform::process::Exit;

use super::{
    ack::duration,
    operate::{Asked, ask_at, ask_running_with_settings},
};
use crate::{operator::Question, status::actor, store::LOG_LINES_MAX};

/// How often the log is looked at. Somebody watches.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// `test-receiver …`
#[derive(Debug, Args)]
pub struct TestReceiver {
    /// The receiver
    receiver: ReceiverName,
    /// How long to follow it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    wait: Duration,
    /// Follow it until somebody acknowledges it, not only until it is accepted everywhere
    #[arg(long)]
    until_acknowledged: bool,
    /// Print each step as a line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn test_receiver(asked: Asked<'_>, test: TestReceiver) -> Exit {
    let deadline = Instant::now() + test.wait;
    let question = Question::Exercise {
        receiver: test.receiver.clone(),
    };
    let (answer, settings) = match ask_running_with_settings(asked, question).await {
        Ok(answered) => answered,
        Err(exit) => return exit,
    };
    let (Some(number), Some(from)) = (answer["number"].as_u64(), answer["from"].as_u64()) else {
        eprintln!("the collector answered something else than this program understands");
        return Exit::Unreachable;
    };
    if test.json {
        println!("{}", json!({ "what": "started", "number": number }));
    } else {
        println!(
            "Exercise #{number} runs; `vigie-collector end {number} --reason \"exercise over\"` ends it."
        );
    }
    let goal = if test.until_acknowledged {
        Goal::Acknowledged
    } else {
        Goal::Accepted
    };
    let mut trail = Trail::default();
    let followed = follow(
        &settings.data_dir,
        number,
        from,
        goal,
        &mut trail,
        test.json,
    );
    let exit = match timeout_at(deadline, followed).await {
        Ok(exit) => exit,
        Err(_) => Exit::Finding,
    };
    if !test.json && exit != Exit::Unreachable {
        println!("{}", trail.summary(goal));
    }
    exit
}

/// Reads on until the goal is reached or out of reach.
async fn follow(
    data_dir: &Path,
    number: u64,
    mut from: u64,
    goal: Goal,
    trail: &mut Trail,
    json: bool,
) -> Exit {
    loop {
        let question = Question::Story { number, from };
        let story = match ask_at(data_dir, &question).await {
            Ok(story) => story,
            Err(exit) => return exit,
        };
        for line in story["lines"].as_array().into_iter().flatten() {
            let Some(step) = trail.take(line) else {
                continue;
            };
            if json {
                println!("{}", json!(step));
            } else {
                println!("{step}");
            }
        }
        from = story["next"].as_u64().unwrap_or(from);
        // A full answer: there may be more to read before anything is judged.
        if story["read"].as_u64() >= Some(u64::from(LOG_LINES_MAX)) {
            continue;
        }
        if let Some(exit) = trail.verdict(goal) {
            return exit;
        }
        sleep(POLL_EVERY).await;
    }
}

/// What the exercise is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// That providers take it.
    Accepted,
    /// That somebody reacts.
    Acknowledged,
}

/// What is known of the exercise.
#[derive(Debug, Default)]
struct Trail {
    /// Messages by their keys: where each went, and what became of it.
    messages: BTreeMap<String, (String, Fate)>,
    is_acknowledged: bool,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Accepted,
    Refused,
}

/// One thing that happened.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    /// When, as the log has it.
    at: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum What {
    /// A message was written.
    Told {
        to: String,
        /// From 1, as people count.
        step: u64,
    },
    /// A provider took it.
    Accepted { to: String },
    /// A provider refused it for good.
    Refused { to: String, http_status: u64 },
    /// A provider does not take it, and is tried again; 0: it does not answer.
    Failing { to: String, http_status: u64 },
    /// The settings have no way there any more.
    Undeliverable { to: String },
    /// Somebody cannot be told.
    Skipped { person: Option<String>, step: u64 },
    /// Somebody is on it.
    Acknowledged { by: String },
    /// It ended.
    Over,
}

impl Trail {
    /// Takes in a line of the log. `None` for one about something else.
    fn take(&mut self, line: &Value) -> Option<Step> {
        let event = &line["event"];
        let word = |key: &str| event[key].as_str().map(str::to_owned);
        let step = || event["step"].as_u64().unwrap_or_default() + 1;
        let what = match event["kind"].as_str()? {
            "decision" => match event["decided"].as_str()? {
                // Its end is told too, and is no part of the proof.
                "told" if event["notice"] == "close" => return None,
                "told" => {
                    let to = word("to")?;
                    self.messages
                        .insert(word("key")?, (to.clone(), Fate::Waits));
                    What::Told { to, step: step() }
                }
                "skipped" => What::Skipped {
                    person: word("person"),
                    step: step(),
                },
                "alert.acknowledged" => {
                    self.is_acknowledged = true;
                    let by = serde_json::from_value::<Actor>(event["by"].clone()).ok()?;
                    What::Acknowledged { by: actor(&by) }
                }
                "alert.closed" => {
                    self.is_over = true;
                    What::Over
                }
                _ => return None,
            },
            // About a destination, not about one message.
            "delivery.failing" => {
                let to = word("receiver")?;
                let waits = |(ours, fate): &(String, Fate)| *ours == to && *fate == Fate::Waits;
                if !self.messages.values().any(waits) {
                    return None;
                }
                let http_status = event["http_status"].as_u64().unwrap_or_default();
                What::Failing { to, http_status }
            }
            kind => {
                let (to, fate) = self.messages.get_mut(event["key"].as_str()?)?;
                let to = to.clone();
                match kind {
                    "delivered" => {
                        *fate = Fate::Accepted;
                        What::Accepted { to }
                    }
                    "refused" => {
                        *fate = Fate::Refused;
                        let http_status = event["http_status"].as_u64().unwrap_or_default();
                        What::Refused { to, http_status }
                    }
                    "undeliverable" => {
                        *fate = Fate::Refused;
                        What::Undeliverable { to }
                    }
                    _ => return None,
                }
            }
        };
        Some(Step {
            at: line["at"].as_str().unwrap_or_default().to_owned(),
            what,
        })
    }

    fn is_accepted(&self) -> bool {
        let mut fates = self.messages.values().map(|(_, fate)| *fate);
        !self.messages.is_empty() && fates.all(|fate| fate == Fate::Accepted)
    }

    /// How it ended, once it has.
    fn verdict(&self, goal: Goal) -> Option<Exit> {
        let is_reached = match goal {
            // Whoever acknowledged was told, whatever the provider still has to say.
            Goal::Accepted => self.is_accepted() || self.is_acknowledged,
            Goal::Acknowledged => self.is_acknowledged,
        };
        if is_reached {
            return Some(Exit::Ok);
        }
        self.is_over.then_some(Exit::Finding)
    }

    fn summary(&self, goal: Goal) -> String {
        if self.is_acknowledged {
            return "Acknowledged: the exercise is over.".to_owned();
        }
        if goal == Goal::Accepted && self.is_accepted() {
            return "Accepted everywhere. That somebody reads it, only an acknowledgement says."
                .to_owned();
        }
        let of = |wanted: Fate| {
            let to = self.messages.values().filter(|(_, fate)| *fate == wanted);
            let to: Vec<&str> = to.map(|(to, _)| to.as_str()).collect();
            to.join(", ")
        };
        let mut summary = match goal {
            Goal::Accepted => "Not accepted everywhere in time.",
            Goal::Acknowledged => "Not acknowledged in time.",
        }
        .to_owned();
        for (fate, words) in [
            (Fate::Accepted, "accepted"),
            (Fate::Refused, "refused"),
            (Fate::Waits, "no answer yet"),
        ] {
            let to = of(fate);
            if !to.is_empty() {
                summary.push_str(&format!(" {words}: {to}."));
            }
        }
        if self.messages.is_empty() {
            summary.push_str(" Nobody was told.");
        }
        summary
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  ", self.at)?;
        match &self.what {
            What::Told { to, step } => write!(f, "step {step}: told {to}"),
            What::Accepted { to } => write!(f, "accepted by the provider for {to}"),
            What::Refused { to, http_status } => {
                write!(f, "refused for good for {to} ({http_status})")
            }
            What::Failing { to, http_status: 0 } => {
                write!(f, "no answer for {to} so far; it is tried again")
            }
            What::Failing { to, http_status } => {
                write!(
                    f,
                    "not accepted for {to} so far ({http_status}); it is tried again"
                )
            }
            What::Undeliverable { to } => write!(f, "no way to {to} in the settings any more"),
            What::Skipped {
                person: Some(person),
                step,
            } => write!(f, "step {step}: {person} cannot be reached"),
            What::Skipped { person: None, step } => {
                write!(f, "step {step}: there is nobody to tell")
            }
            What::Acknowledged { by } => write!(f, "acknowledged by {by}"),
            What::Over => f.write_str("the exercise is over"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use vigie_core::digest::Digest;
    use vigie_decide::{
        alert::{Ended, Notice},
        destination::Destination,
        fleet::{Decision, DeliveryEvent, Event},
    };

    use super::*;

    fn key(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// A line of the log with a decision, as core writes it.
    fn decided(decision: &Decision) -> Value {
        let mut event = serde_json::to_value(decision).unwrap();
        event["kind"] = "decision".into();
        json!({ "at": "2026-11-22T19:04:31.207Z", "event": event })
    }

    fn happened(event: &Event) -> Value {
        json!({ "at": "2026-11-22T19:04:32.000Z", "event": event })
    }

    fn told(to: &str, step: u32, notice: Notice) -> Value {
        decided(&Decision::Told {
            number: 7,
            receiver: "astreinte".parse().unwrap(),
            to: to.parse::<Destination>().unwrap(),
            step,
            notice,
            key: key(&format!("{to} {step}")),
            route: None,
        })
    }

    fn delivered(to: &str, step: u32) -> Value {
        happened(&Event::Delivery(DeliveryEvent::Delivered {
            key: key(&format!("{to} {step}")),
            carried_by: None,
        }))
    }

    fn trail(lines: &[Value]) -> (Trail, Vec<String>) {
        let mut trail = Trail::default();
        let steps = lines.iter().filter_map(|line| trail.take(line));
        let steps = steps
            .map(|step| step.to_string().split_once("  ").unwrap().1.to_owned())
            .collect();
        (trail, steps)
    }

    #[test]
    fn accepted_everywhere_is_a_proof_and_told_alone_is_none() {
        let mut lines = vec![
            told("am/sms", 0, Notice::Open),
            told("am/mail", 0, Notice::Open),
        ];
        assert_eq!(trail(&lines).0.verdict(Goal::Accepted), None);
        lines.push(delivered("am/sms", 0));
        lines.push(delivered("somebody/else", 0));
        assert_eq!(trail(&lines).0.verdict(Goal::Accepted), None);
        lines.push(delivered("am/mail", 0));
        let (trail, steps) = trail(&lines);
        assert_eq!(trail.verdict(Goal::Accepted), Some(Exit::Ok));
        assert_eq!(trail.verdict(Goal::Acknowledged), None);
        assert_eq!(
            steps,
            [
                "step 1: told am/sms",
                "step 1: told am/mail",
                "accepted by the provider for am/sms",
                "accepted by the provider for am/mail",
            ]
        );
    }

    #[test]
    fn a_refusal_and_an_unreachable_person_are_told_and_the_next_step_goes_on() {
        let lines = [
            told("am/mail", 0, Notice::Open),
            happened(&Event::Delivery(DeliveryEvent::Refused {
                key: key("am/mail 0"),
                http_status: 550,
            })),
            happened(&Event::Delivery(DeliveryEvent::DeliveryFailing {
                receiver: "chef/sms".parse().unwrap(),
                waiting: 1,
                http_status: 0,
            })),
            decided(&Decision::Skipped {
                number: 7,
                receiver: "astreinte".parse().unwrap(),
                step: 1,
                person: Some("jb".parse().unwrap()),
            }),
            told("chef/sms", 2, Notice::Open),
            happened(&Event::Delivery(DeliveryEvent::DeliveryFailing {
                receiver: "chef/sms".parse().unwrap(),
                waiting: 1,
                http_status: 0,
            })),
            delivered("chef/sms", 2),
        ];
        let (trail, steps) = trail(&lines);
        assert_eq!(steps[1], "refused for good for am/mail (550)");
        assert_eq!(steps[2], "step 2: jb cannot be reached");
        assert_eq!(steps[4], "no answer for chef/sms so far; it is tried again");
        assert_eq!(trail.verdict(Goal::Accepted), None);
        assert_eq!(
            trail.summary(Goal::Accepted),
            "Not accepted everywhere in time. accepted: chef/sms. refused: am/mail."
        );
    }

    #[test]
    fn an_acknowledgement_reaches_either_goal_and_an_end_without_one_reaches_none() {
        let acknowledged = decided(&Decision::AlertAcknowledged {
            number: 7,
            by: Actor::Link("am/sms".parse().unwrap()),
        });
        let closed = decided(&Decision::Closed {
            number: 7,
            ended: Ended::Exercised,
        });
        let lines = [
            told("am/sms", 0, Notice::Open),
            acknowledged,
            closed.clone(),
            told("am/sms", 0, Notice::Close),
        ];
        let (reached, steps) = trail(&lines);
        assert_eq!(
            steps[1..],
            ["acknowledged by am/sms", "the exercise is over"]
        );
        for goal in [Goal::Accepted, Goal::Acknowledged] {
            assert_eq!(reached.verdict(goal), Some(Exit::Ok));
        }
        let (ended, _) = trail(&[told("am/sms", 0, Notice::Open), closed]);
        for goal in [Goal::Accepted, Goal::Acknowledged] {
            assert_eq!(ended.verdict(goal), Some(Exit::Finding));
        }
        let nobody = Trail::default().summary(Goal::Acknowledged);
        assert_eq!(nobody, "Not acknowledged in time. Nobody was told.");
    }

    #[test]
    fn steps_are_lines_of_json_for_programs() {
        let (mut trail, _) = trail(&[]);
        let step = trail.take(&told("am/sms", 0, Notice::Open)).unwrap();
        assert_eq!(
            json!(step),
            json!({ "at": "2026-11-22T19:04:31.207Z", "what": "told", "to": "am/sms", "step": 1 })
        );
    }
}
