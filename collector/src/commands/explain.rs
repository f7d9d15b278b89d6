//! `explain`: what would happen to an alert at a moment, by the settings as they are written now. Decides with the engine's
//! own code ([`vigie_decide::explain`]), tells nobody and writes nothing. For a service it needs settings only; for a check
//! the stored plans, which it reads beside a running collector or without one.

pub(super) mod instant;
#[cfg(test)]
mod tests;
pub(super) mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    path::Path,
    str::FromStr,
};

use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use vigie_core::{
    id::{CheckName, NodeName, ServiceName},
    plan::PlannedCheck,
    status::{Environment, Family, Need, Status},
};
use vigie_decide::{
    calendar::Why,
    explain::{Asked, Explanation, First, Planned, explain},
    fleet::state::NodePlan,
    routing::{CalendarStatus, Policy, UNKNOWN_COUNTS_AFTER_MS, date_of},
    rules::Rules,
};
use vigie_platform::{error_chain::chain, process::Exit};

use self::{
    instant::{Instant, zone_of},
    words::{Teller, duration, why_code},
};
use super::why::open;
use crate::settings::{self, Settings};

/// `explain …`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["check", "service"])))]
pub struct Explain {
    /// When it would begin: "2026-12-25 03:00" in the zone of the settings, or an instant such as 2026-12-25T02:00:00Z
    #[arg(long, value_name = "TIME")]
    at: String,
    /// A check that nodes planned, and how it would stand
    #[arg(long = "if", value_name = "CHECK=STATUS", conflicts_with_all = ["status", "family", "environment"])]
    check: Option<Supposed>,
    /// The node on which it runs; needed where nodes that run it are treated differently
    #[arg(long, value_name = "NODE", requires = "check")]
    node: Option<NodeName>,
    /// A service
    #[arg(long, value_name = "SERVICE", requires = "status")]
    service: Option<ServiceName>,
    /// How it would stand: critical, unknown or warning
    #[arg(long, value_name = "STATUS", value_parser = alarm)]
    status: Option<Status>,
    /// What kind of check would say so; availability if absent
    #[arg(long, value_name = "FAMILY")]
    family: Option<Family>,
    /// Where it would be; production if absent
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Option<Environment>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `portail=critical`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Supposed {
    check: CheckName,
    status: Status,
}

impl FromStr for Supposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (check, status) = text
            .split_once('=')
            .ok_or_else(|| "write a check and a status, such as portail=critical".to_owned())?;
        Ok(Self {
            check: check.parse().map_err(|error| format!("{error}"))?,
            status: alarm(status)?,
        })
    }
}

fn alarm(text: &str) -> Result<Status, String> {
    match text.parse() {
        Ok(Status::Ok) | Err(_) => Err("one of critical, unknown, warning".to_owned()),
        Ok(status) => Ok(status),
    }
}

/// What is asked, and what was assumed to ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Supposition {
    pub(super) asked: Asked,
    /// The check and its kind, if it is about one.
    planned: Option<(CheckName, String)>,
    /// Other nodes on which the same would happen.
    same_on: Vec<NodeName>,
}

/// Why nothing can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refused {
    /// The command line or the settings do not allow it.
    Usage(String),
    /// There is no stored plan for it.
    NoPlan(String),
}

pub(super) async fn run(
    config: &Path,
    variables: Vec<(OsString, OsString)>,
    command: Explain,
) -> Exit {
    let settings = match settings::load(config, variables) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let policy = settings.policy();
    let instant = match instant::read(&command.at, zone_of(&policy)) {
        Ok(instant) => instant,
        Err(mistake) => {
            eprintln!("--at: {mistake}");
            return Exit::Usage;
        }
    };
    let supposed = match (&command.check, &command.service) {
        (Some(supposed), _) => {
            let plans = match plans(&settings).await {
                Ok(plans) => plans,
                Err(exit) => return exit,
            };
            of_check(&policy, &plans, supposed, command.node.as_ref(), &instant)
        }
        (None, Some(service)) => {
            let status = command.status.unwrap_or(Status::Critical);
            let family = command.family.unwrap_or(Family::Availability);
            let environment = command.environment.unwrap_or(Environment::Production);
            of_service(
                &policy.rules,
                service,
                family,
                environment,
                status,
                &instant,
            )
        }
        // The command line demands one of them.
        (None, None) => return Exit::Usage,
    };
    let supposition = match supposed {
        Ok(supposition) => supposition,
        Err(Refused::Usage(mistake)) => {
            eprintln!("{mistake}");
            return Exit::Usage;
        }
        Err(Refused::NoPlan(mistake)) => {
            eprintln!("{mistake}");
            return Exit::Unreachable;
        }
    };
    let explanation = explain(&policy, &supposition.asked);
    let teller = Teller {
        language: settings.language,
        zone: zone_of(&policy),
        rules: &policy.rules,
    };
    if command.json {
        println!(
            "{:#}",
            to_json(&teller, &supposition, &instant, &explanation)
        );
    } else {
        print!("{}", to_text(&teller, &supposition, &instant, &explanation));
    }
    Exit::Ok
}

/// The stored plans.
async fn plans(settings: &Settings) -> Result<BTreeMap<NodeName, NodePlan>, Exit> {
    let reader = open(&settings.data_dir).await?;
    reader.plans().await.map_err(|cause| {
        eprintln!("{}", chain(&cause));
        Exit::Unreachable
    })
}

/// An alert about a service, wherever it is carried.
fn of_service(
    rules: &Rules,
    service: &ServiceName,
    family: Family,
    environment: Environment,
    status: Status,
    instant: &Instant,
) -> Result<Supposition, Refused> {
    let subject = rules.service_subject(service, Need::served_by(family, None), environment);
    let Some(subject) = subject else {
        let known: Vec<&str> = rules.services.keys().map(ServiceName::as_str).collect();
        return Err(Refused::Usage(format!(
            "no service is called {service:?} here; there are vigie{}{}",
            if known.is_empty() { "" } else { ", " },
            known.join(", "),
            service = service.as_str(),
        )));
    };
    Ok(Supposition {
        asked: Asked {
            subject,
            node: String::new(),
            family,
            status,
            at: instant.at,
        },
        planned: None,
        same_on: Vec::new(),
    })
}

/// An alert of a planned check, as the engine would see it.
fn of_check(
    policy: &Policy,
    plans: &BTreeMap<NodeName, NodePlan>,
    supposed: &Supposed,
    node: Option<&NodeName>,
    instant: &Instant,
) -> Result<Supposition, Refused> {
    let planned: Vec<(&NodeName, &PlannedCheck)> = plans
        .iter()
        .filter(|(name, _)| node.is_none_or(|node| node == *name))
        .filter_map(|(name, plan)| Some((name, plan.find(&supposed.check)?)))
        .collect();
    let of_node = |(node, planned): &(&NodeName, &PlannedCheck)| {
        let claimed: BTreeSet<ServiceName> = planned.service.iter().cloned().collect();
        let need = Need::served_by(planned.family, Some(&planned.kind));
        Supposition {
            asked: Asked {
                subject: policy.rules.subject(node, &claimed, need),
                node: node.to_string(),
                family: planned.family,
                status: supposed.status,
                at: instant.at,
            },
            planned: Some((supposed.check.clone(), planned.kind.clone())),
            same_on: Vec::new(),
        }
    };
    let Some((first, others)) = planned.split_first() else {
        let whose = node.map_or_else(
            || "no node has planned".to_owned(),
            |node| format!("node {node} has not planned"),
        );
        return Err(Refused::NoPlan(format!(
            "{whose} a check {:?}; `vigie-collector status` lists what reports, and --service needs no plan",
            supposed.check.as_str()
        )));
    };
    let mut supposition = of_node(first);
    let told = explain(policy, &supposition.asked);
    // One answer for all that only their names tell apart: thousands of nodes run the same check.
    let unless_named = |asked: Asked| Asked {
        node: Some(asked.node)
            .filter(|node| policy.rules.names_node(node))
            .unwrap_or_default(),
        ..asked
    };
    let mut alike = vec![unless_named(supposition.asked.clone())];
    for other in others {
        let asked = unless_named(of_node(other).asked);
        if !alike.contains(&asked) {
            if explain(policy, &asked) != told {
                let nodes: Vec<&str> = planned.iter().map(|(node, _)| node.as_str()).collect();
                return Err(Refused::Usage(format!(
                    "several nodes run {}, and not all would be told alike: {}; add --node",
                    supposed.check,
                    nodes.join(", ")
                )));
            }
            alike.push(asked);
        }
        supposition.same_on.push(other.0.clone());
    }
    Ok(supposition)
}

fn to_json(
    teller: &Teller<'_>,
    supposition: &Supposition,
    instant: &Instant,
    explanation: &Explanation,
) -> Value {
    let mut told = json!({
        "at": instant.at,
        "at_text": teller.time(instant.at),
        "at_note": instant.note.as_ref().map(|note| note.words(teller.language)),
        "zone": teller.zone_name(),
        "assumed": assumed(supposition, explanation),
        "route": explanation.route,
        "route_text": teller.route(explanation.route),
        "calendar": explanation.calendar.as_ref().map(|standing| calendar(teller, standing)),
        "counts_after": (explanation.counts_after_ms > 0).then(|| duration(explanation.counts_after_ms)),
        "quiet_from": explanation.quiet_from.as_ref().map(|(window, at)| json!({"window": window, "at": at})),
        "reason": {"code": code(explanation), "text": teller.reason(explanation)},
    });
    let outcome = outcome(explanation);
    match &explanation.muted {
        // Nobody is told as long as it lasts, whatever would be without it.
        Some((window, until)) => {
            told["muted"] = json!({"window": window, "until": until, "without_it": outcome});
            merge(&mut told, silence());
        }
        None => {
            told["muted"] = Value::Null;
            merge(&mut told, outcome);
        }
    }
    told
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// What somebody hears of it.
fn outcome(explanation: &Explanation) -> Value {
    let later: Vec<Value> = explanation
        .later
        .iter()
        .map(|later| {
            let mut said = first(&later.told);
            said["steps"] = later.steps.iter().map(step).collect();
            said
        })
        .collect();
    let held: Vec<Value> = explanation
        .held
        .iter()
        .map(|(receiver, until)| json!({"receiver": receiver, "until": until}))
        .collect();
    json!({
        "told_now": explanation.told_now.iter().map(|first| &first.receiver).collect::<Vec<_>>(),
        "told": explanation.told_now.iter().map(first).collect::<Vec<_>>(),
        "reaches_somebody": explanation.reaches_somebody(),
        "steps": explanation.steps.iter().map(step).collect::<Vec<_>>(),
        "held_until": explanation.held_until(),
        "held": held,
        "later": later,
    })
}

/// The same for an alert of which nobody hears.
fn silence() -> Value {
    json!({
        "told_now": [],
        "told": [],
        "reaches_somebody": false,
        "steps": [],
        "held_until": null,
        "held": [],
        "later": [],
    })
}

fn first(first: &First) -> Value {
    json!({"receiver": first.receiver, "at": first.at, "route": first.route})
}

fn step(step: &Planned) -> Value {
    json!({
        "receiver": step.receiver,
        "step": step.step,
        "at": step.at,
        "after": duration(step.after_ms),
        "to": step.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unreachable": step.unreachable,
        "repeat": step.repeat_ms.map(duration),
    })
}

fn calendar(teller: &Teller<'_>, standing: &CalendarStatus) -> Value {
    let holiday = match standing.why {
        Some(Why::Holiday(_, holiday)) => Some(holiday.as_str()),
        _ => None,
    };
    json!({
        "name": standing.calendar,
        "open": standing.is_open,
        "why": why_code(standing.why),
        "date": standing.why.and_then(date_of).map(|date| date.to_string()),
        "holiday": holiday,
        "next_edge": standing.next_edge,
        "text": teller.standing(standing),
    })
}

fn assumed(supposition: &Supposition, explanation: &Explanation) -> Value {
    let Supposition {
        asked,
        planned,
        same_on,
    } = supposition;
    let subject = &asked.subject;
    let mut notes = vec!["nobody acknowledges it, and it stays as it is".to_owned()];
    if asked.status == Status::Unknown {
        notes.push(format!(
            "unknown lasts {} minutes",
            UNKNOWN_COUNTS_AFTER_MS / 60_000
        ));
    }
    if explanation.muted.is_none() {
        notes.push("no silence and no maintenance that a command began covers it".to_owned());
    }
    json!({
        "service": subject.services.first().filter(|_| subject.services.len() == 1),
        "services": subject.services,
        "criticality": subject.criticality,
        "need": {"letter": subject.serves, "level": subject.need},
        "family": asked.family,
        "environment": subject.environment,
        "node": (!asked.node.is_empty()).then_some(&asked.node),
        "same_on": same_on,
        "groups": subject.groups,
        "sites": subject.sites,
        "check": planned.as_ref().map(|(check, _)| check),
        "kind": planned.as_ref().map(|(_, kind)| kind),
        "status": asked.status,
        "notes": notes,
    })
}

/// What becomes of it, for programs.
fn code(explanation: &Explanation) -> &'static str {
    let is_told = !explanation.told_now.is_empty();
    match (is_told, explanation.held.is_empty()) {
        _ if explanation.muted.is_some() => "muted",
        _ if explanation.route.is_none() => "no_route",
        _ if is_told && !explanation.reaches_somebody() => "nobody_reachable",
        (true, true) => "told",
        (true, false) => "told_and_held",
        (false, false) => "held",
        (false, true) => "nobody",
    }
}

fn to_text(
    teller: &Teller<'_>,
    supposition: &Supposition,
    instant: &Instant,
    explanation: &Explanation,
) -> String {
    let asked = &supposition.asked;
    let mut out = String::new();
    let mut line = |text: String| {
        let _infallible = writeln!(out, "{text}");
    };
    line(format!(
        "{} ({}){}{} {}",
        teller.time(instant.at),
        teller.zone_name(),
        teller.say(" : ", ": "),
        what(supposition),
        teller.standing_of(asked.family, asked.status)
    ));
    if let Some(note) = &instant.note {
        line(format!("  {}", note.words(teller.language)));
    }
    line(format!(
        "{}{}",
        teller.say("Supposé : ", "Assumed: "),
        assumed_text(teller, supposition)
    ));
    line(capitalised(&teller.route(explanation.route)));
    if let Some(standing) = &explanation.calendar {
        line(format!(
            "{}{}",
            teller.say("Calendrier ", "Calendar "),
            teller.standing(standing)
        ));
    }
    if let Some((window, until)) = &explanation.muted {
        line(capitalised(&teller.muted(window.as_str(), *until)));
        line(
            teller
                .say(
                    "Personne n'est prévenu avant ; sans elle, ce serait :",
                    "Nobody is told before that; without it this would be:",
                )
                .to_owned(),
        );
    }
    if explanation.counts_after_ms > 0 {
        line(format!(
            "{} {}",
            teller.say(
                "Une absence de mesure compte quand elle dure depuis",
                "Not knowing counts once it has lasted"
            ),
            duration(explanation.counts_after_ms)
        ));
    }
    let names: Vec<String> = explanation
        .told_now
        .iter()
        .map(|first| {
            if first.at == instant.at {
                first.receiver.to_string()
            } else {
                format!("{} ({})", first.receiver, teller.time(first.at))
            }
        })
        .collect();
    line(format!(
        "{}{}",
        teller.say("Prévenus tout de suite : ", "Told now: "),
        if names.is_empty() {
            teller.say("personne", "nobody").to_owned()
        } else {
            names.join(", ")
        }
    ));
    for step in &explanation.steps {
        line(format!("  {}", teller.step(step, instant.at)));
    }
    for (receiver, until) in &explanation.held {
        let until = teller.time(*until);
        line(format!(
            "{}{receiver}{}{until}",
            teller.say("Dans le bilan de ", "In the digest of "),
            teller.say(" : ", ": "),
        ));
    }
    for later in &explanation.later {
        line(format!(
            "{}{}{}",
            teller.time(later.told.at),
            teller.say(
                ", si elle dure encore et que personne ne s'en est chargé : ",
                ", if it is still on and nobody has taken it: "
            ),
            later.told.receiver
        ));
        for step in &later.steps {
            line(format!("  {}", teller.step(step, later.told.at)));
        }
    }
    if let Some((window, at)) = &explanation.quiet_from {
        line(format!(
            "{}{}{}",
            teller.time(*at),
            teller.say(" : ", ": "),
            teller.muted(window.as_str(), None)
        ));
    }
    out
}

/// What it is about: `dossier-patient`, `app-01/portail`.
fn what(supposition: &Supposition) -> String {
    let asked = &supposition.asked;
    match &supposition.planned {
        Some((check, _)) => format!("{}/{check}", asked.node),
        None => {
            let services: Vec<&str> = asked
                .subject
                .services
                .iter()
                .map(ServiceName::as_str)
                .collect();
            services.join(", ")
        }
    }
}

fn assumed_text(teller: &Teller<'_>, supposition: &Supposition) -> String {
    let Supposition {
        asked,
        planned,
        same_on,
    } = supposition;
    let subject = &asked.subject;
    let list = |names: Vec<String>| names.join(", ");
    let mut said = vec![
        format!(
            "{} {}",
            teller.say("service", "service"),
            list(subject.services.iter().map(ToString::to_string).collect())
        ),
        format!(
            "{} {}",
            teller.say("criticité", "criticality"),
            subject.criticality
        ),
        format!(
            "{} {}{}",
            teller.say("besoin", "need"),
            subject.serves,
            subject.need
        ),
        format!("{} {}", teller.say("famille", "family"), asked.family),
        subject.environment.to_string(),
    ];
    if !subject.groups.is_empty() {
        said.push(format!(
            "{} {}",
            teller.say("groupe", "group"),
            list(subject.groups.iter().map(ToString::to_string).collect())
        ));
    }
    if asked.node.is_empty() {
        said.push(
            teller
                .say(
                    "un nœud qu'aucune route ne nomme",
                    "a node that no route names",
                )
                .to_owned(),
        );
    } else {
        said.push(format!("{} {}", teller.say("nœud", "node"), asked.node));
    }
    if let Some((check, kind)) = planned {
        said.push(format!("{check} ({kind})"));
    }
    if !same_on.is_empty() {
        said.push(format!(
            "{} {}",
            teller.say("de même sur", "the same on"),
            list(same_on.iter().map(ToString::to_string).collect())
        ));
    }
    if asked.status == Status::Unknown {
        said.push(
            teller
                .say(
                    "sans mesure pendant 5 minutes au moins",
                    "unknown lasts 5 minutes",
                )
                .to_owned(),
        );
    }
    said.join(", ")
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}
