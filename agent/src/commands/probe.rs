//! `probe`: one check, once, its result on standard output.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use vigie_checks::{Check, KINDS};
use vigie_core::{
    observation::{Object, Observation},
    reason::{host, vigie},
    status::Status,
};
use vigie_machine::Context;
use vigie_platform::{
    clock::{Clock, SystemClock, whole_ms},
    process::Exit,
    settings_file::parse_duration,
};

use super::{complain, runtime, show};
use crate::settings::probe_settings;

/// Between the two looks of a kind that measures a difference.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of check.
    #[arg(value_parser = kinds())]
    kind: String,
    /// What to look at; left out for kinds that look at the whole machine.
    target: Option<String>,
    /// Print the observations as JSON.
    #[arg(long)]
    json: bool,
    /// How long the check may take.
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

fn kinds() -> clap::builder::PossibleValuesParser {
    KINDS
        .iter()
        .map(|kind| kind.name)
        .collect::<Vec<_>>()
        .into()
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|_| "write a number and a unit, such as \"5s\"".to_owned())
}

pub(super) fn probe(arguments: &Arguments) -> Exit {
    let Some(kind) = vigie_checks::find(&arguments.kind) else {
        complain("there is no such kind");
        return Exit::Usage;
    };
    let check = match probe_settings(kind, arguments.target.as_deref()) {
        Ok(check) => check,
        Err(mistakes) => {
            complain(&mistakes.to_string());
            return Exit::Usage;
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Internal;
        }
    };
    let observations = runtime.block_on(look(check, arguments.timeout));
    runtime.shutdown_background();
    if arguments.json {
        let rendered: Vec<Value> = observations.iter().map(as_json).collect();
        let text = json!({ "kind": kind.name, "observations": rendered });
        show(&text.to_string());
    } else {
        let lines: Vec<String> = observations.iter().map(as_text).collect();
        show(&lines.join("\n"));
    }
    let is_ok = observations
        .iter()
        .all(|observation| observation.status == Status::Ok);
    if is_ok && !observations.is_empty() {
        Exit::Ok
    } else {
        Exit::Finding
    }
}

async fn look(mut check: Box<dyn Check>, timeout: Duration) -> Vec<Observation> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let machine = Context::of_this_machine(Arc::clone(&clock));
    let first = look_once(&mut *check, &machine, timeout).await;
    let needs_another = first
        .iter()
        .any(|observation| observation.reason == host::CPU_FIRST);
    if !needs_another {
        return first;
    }
    tokio::time::sleep(SECOND_LOOK_AFTER).await;
    look_once(&mut *check, &machine, timeout).await
}

async fn look_once(
    check: &mut dyn Check,
    machine: &Context,
    timeout: Duration,
) -> Vec<Observation> {
    let timeout_ms = whole_ms(timeout);
    let context = machine.until(machine.clock.elapsed().plus_ms(timeout_ms));
    let run = check.run(&context);
    context
        .within(context.deadline, run)
        .await
        .unwrap_or_else(|| {
            vec![
                Observation::new(Status::Unknown, vigie::CHECK_TIMEOUT)
                    .fact("after_ms", timeout_ms),
            ]
        })
}

fn as_json(observation: &Observation) -> Value {
    let facts: Map<String, Value> = observation
        .facts
        .iter()
        .map(|(key, fact)| ((*key).to_owned(), fact.to_json()))
        .collect();
    let measurements: Vec<Value> = observation
        .measurements
        .iter()
        .map(|measured| {
            json!({ "metric": measured.metric.0, "label": measured.label, "value": measured.value })
        })
        .collect();
    json!({
        "object": observation.object.as_ref().map(Object::as_str),
        "status": observation.status,
        "reason": observation.reason.code(),
        "facts": facts,
        "measurements": measurements,
    })
}

fn as_text(observation: &Observation) -> String {
    let object = observation.object.as_ref().map_or("-", Object::as_str);
    let mut text = format!(
        "{:<8} {object}  {}",
        observation.status.as_str(),
        observation.reason
    );
    for (key, fact) in &observation.facts {
        let value = match fact.to_json() {
            Value::String(text) => text,
            other => other.to_string(),
        };
        text.push_str(&format!("  {key}={value}"));
    }
    for measured in &observation.measurements {
        let label = match measured.label {
            "" => String::new(),
            label => format!("{{{label}}}"),
        };
        text.push_str(&format!(
            "\n         {}{label} {}",
            measured.metric.0, measured.value
        ));
    }
    text
}
