//! `test-receiver`: starts an exercise, and follows it through the log to acceptance or acknowledgement.
//!
//! The exercise takes the way of every alert: routed, stored, told step by step. What is printed is what the log says of
//! it, so that it proves the way and not this command. Ending the command ends nothing: the exercise goes on until
//! somebody acknowledges it, somebody ends it, or half an hour is over.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};
use vigie_core::{
    digest::Digest,
    id::{PersonName, ReceiverName},
    time::Wall,
};
use vigie_decide::{
    alert::Notice,
    destination::Destination,
    view::{
        Version,
        story::{Decided, Happened, Line, Said},
    },
};
use vigie_platform::process::Exit;

use super::{
    ack::duration,
    operate::{Asked, ask_at, ask_running_with_settings},
};
use crate::{
    operator::{
        Question,
        reply::{Exercise, Story},
    },
    status::actor,
    store::LOG_LINES_MAX,
};

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
    let answered = ask_running_with_settings::<Exercise>(asked, question).await;
    let (Exercise { number, from, .. }, settings) = match answered {
        Ok(answered) => answered,
        Err(exit) => return exit,
    };
    if test.json {
        println!(
            "{}",
            json!(Started {
                v: Version,
                what: "started",
                number
            })
        );
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
        let story: Story<Line> = match ask_at(data_dir, &question).await {
            Ok(story) => story,
            Err(exit) => return exit,
        };
        for line in story.lines {
            let Some(step) = trail.take(line) else {
                continue;
            };
            if json {
                println!("{}", json!(Printed { v: Version, step }));
            } else {
                println!("{step}");
            }
        }
        from = story.next;
        // A full answer: there may be more to read before anything is judged.
        if u32::try_from(story.read).is_ok_and(|read| read >= LOG_LINES_MAX) {
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
    messages: BTreeMap<Digest, (Destination, Fate)>,
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
    at: Wall,
    #[serde(flatten)]
    what: What,
}

/// The first line of JSON.
#[derive(Debug, Serialize)]
struct Started {
    v: Version,
    what: &'static str,
    number: u64,
}

/// Every other one.
#[derive(Debug, Serialize)]
struct Printed {
    v: Version,
    #[serde(flatten)]
    step: Step,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum What {
    /// A message was written.
    Told {
        to: Destination,
        /// From 1, as people count.
        step: u64,
    },
    /// A provider took it.
    Accepted { to: Destination },
    /// A provider refused it for good.
    Refused { to: Destination, http_status: u64 },
    /// A provider does not take it, and is tried again; 0: it does not answer.
    Failing { to: Destination, http_status: u64 },
    /// The settings have no way there any more.
    Undeliverable { to: Destination },
    /// Somebody cannot be told.
    Skipped {
        person: Option<PersonName>,
        step: u64,
    },
    /// Somebody is on it.
    Acknowledged { by: String },
    /// It ended.
    Over,
}

impl Trail {
    /// Takes in a line of the log. `None` for one about something else.
    fn take(&mut self, line: Line) -> Option<Step> {
        let what = match line.event {
            Said::Decision(decision) => self.decided(decision.what),
            Said::Event(happened) => self.happened(happened),
        };
        what.map(|what| Step { at: line.at, what })
    }

    fn decided(&mut self, decided: Decided) -> Option<What> {
        match decided {
            // Its end is told too, and is no part of the proof.
            Decided::Told(told) if told.notice == Notice::Close => None,
            Decided::Told(told) => {
                let to = told.destination();
                self.messages.insert(told.key, (to.clone(), Fate::Waits));
                let step = told.step.unwrap_or_default() + 1;
                Some(What::Told { to, step })
            }
            Decided::Skipped { person, step, .. } => Some(What::Skipped {
                person,
                step: step + 1,
            }),
            Decided::Acknowledged { by } => {
                self.is_acknowledged = true;
                Some(What::Acknowledged { by: actor(&by) })
            }
            Decided::Closed { .. } => {
                self.is_over = true;
                Some(What::Over)
            }
            _ => None,
        }
    }

    fn happened(&mut self, happened: Happened) -> Option<What> {
        match happened {
            // About a destination, not about one message.
            Happened::DeliveryFailing {
                receiver: to,
                http_status,
                ..
            } => {
                let waits =
                    |(ours, fate): &(Destination, Fate)| *ours == to && *fate == Fate::Waits;
                let concerns_us = self.messages.values().any(waits);
                concerns_us.then_some(What::Failing { to, http_status })
            }
            Happened::Delivered { key, .. } => {
                let to = self.meets(key, Fate::Accepted)?;
                Some(What::Accepted { to })
            }
            Happened::Refused { key, http_status } => {
                let to = self.meets(key, Fate::Refused)?;
                Some(What::Refused { to, http_status })
            }
            Happened::Undeliverable { key } => {
                let to = self.meets(key, Fate::Refused)?;
                Some(What::Undeliverable { to })
            }
            _ => None,
        }
    }

    /// Notes what became of a message, and says where it went. `None`: it is not one of ours.
    fn meets(&mut self, key: Digest, met: Fate) -> Option<Destination> {
        let (to, fate) = self.messages.get_mut(&key)?;
        *fate = met;
        Some(to.clone())
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
            let to: Vec<String> = to.map(|(to, _)| to.to_string()).collect();
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

    use vigie_decide::{
        alert::{Actor, Ended},
        fleet::{Decision, DeliveryEvent, Event},
    };

    use super::*;

    fn key(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// A line of the log with a decision, as core writes it.
    fn decided(decision: &Decision) -> Line {
        let mut event = serde_json::to_value(decision).unwrap();
        event["kind"] = "decision".into();
        read(json!({ "at": "2026-11-22T19:04:31.207Z", "event": event }))
    }

    fn happened(event: &Event) -> Line {
        read(json!({ "at": "2026-11-22T19:04:32.000Z", "event": event }))
    }

    fn read(line: serde_json::Value) -> Line {
        serde_json::from_value(line).unwrap()
    }

    fn told(to: &str, step: u32, notice: Notice) -> Line {
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

    fn delivered(to: &str, step: u32) -> Line {
        happened(&Event::Delivery(DeliveryEvent::Delivered {
            key: key(&format!("{to} {step}")),
            carried_by: None,
        }))
    }

    fn trail(lines: &[Line]) -> (Trail, Vec<String>) {
        let mut trail = Trail::default();
        let steps = lines.iter().filter_map(|line| trail.take(line.clone()));
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
        let step = trail.take(told("am/sms", 0, Notice::Open)).unwrap();
        assert_eq!(
            json!(step),
            json!({ "at": "2026-11-22T19:04:31.207Z", "what": "told", "to": "am/sms", "step": 1 })
        );
    }
}
