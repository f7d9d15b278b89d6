//! `test-routes`: expectation files, for the users' own CI: at a time, if something happens, who hears of it.
//!
//! ```toml
//! [[expect]]
//! at = "2026-12-25 03:00"              # or an instant, "2026-12-25T02:00:00Z"
//! if = { service = "dossier-patient", status = "critical" }
//! told = ["astreinte"]                 # all who are told at once, and nobody else; [] is nobody
//! held = ["equipe-sis"]                # for whose digest it waits
//! ```
//! `if` takes `family` (availability if absent) and either `environment` (production if absent) and `group`, or `node`.
//! Besides `told` and `held` an expectation may name `steps` (whom the first step reaches that reaches anybody, as
//! `person/channel`), `held_until`, `route` (from 0), `calendar_open` and `muted` (the window of maintenance that keeps it
//! quiet, "" for none). Parsed as strictly as settings; all mistakes, and all that is not met, are told in one run.

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};
use vigie_core::{
    id::{GroupName, MaintenanceName, NodeName, ReceiverName, ServiceName},
    reason::message::Language,
    status::{Environment, Family, Need, Status},
    time::Wall,
};
use vigie_decide::{
    explain::{Asked, Explanation, explain},
    routing::Policy,
    rules::{Rules, Subject},
};
use vigie_platform::{
    process::Exit,
    settings_file::{self, Complaint, LoadedSettings, Mistakes, Place, Section},
};

use super::explain::{
    instant::{self, zone_of},
    words::Teller,
};
use crate::settings;

/// `test-routes …`
#[derive(Debug, Args)]
pub struct TestRoutes {
    /// Files of expectations
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One `[[expect]]`. What is absent is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expectation {
    place: Place,
    asked: Asked,
    told: Option<(Place, BTreeSet<ReceiverName>)>,
    held: Option<(Place, BTreeSet<ReceiverName>)>,
    held_until: Option<(Place, Wall)>,
    steps: Option<(Place, BTreeSet<String>)>,
    route: Option<(Place, usize)>,
    calendar_open: Option<(Place, bool)>,
    muted: Option<(Place, String)>,
}

/// What is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mismatch {
    place: Place,
    what: &'static str,
    expected: Value,
    got: Value,
    /// What was asked, and why it comes so.
    because: String,
}

pub(super) fn run(
    config: &Path,
    variables: Vec<(OsString, OsString)>,
    command: &TestRoutes,
) -> Exit {
    let settings = match settings::load(config, variables) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let policy = settings.policy();
    let (mut count, mut mismatches, mut has_mistakes) = (0, Vec::new(), false);
    for file in &command.files {
        match read(file, &policy) {
            Ok(expectations) => {
                count += expectations.len();
                mismatches.extend(expectations.iter().flat_map(|one| check(one, &policy)));
            }
            Err(mistakes) => {
                eprintln!("{mistakes}");
                has_mistakes = true;
            }
        }
    }
    if has_mistakes {
        return Exit::Usage;
    }
    if command.json {
        println!("{:#}", to_json(count, &mismatches));
    } else {
        for mismatch in &mismatches {
            println!("{mismatch}");
        }
        println!(
            "{count} expectations, {}",
            match mismatches.len() {
                0 => "all met".to_owned(),
                1 => "1 thing is not as expected".to_owned(),
                more => format!("{more} things are not as expected"),
            }
        );
    }
    if mismatches.is_empty() {
        Exit::Ok
    } else {
        Exit::Finding
    }
}

/// Reads one file of expectations.
fn read(file: &Path, policy: &Policy) -> Result<Vec<Expectation>, Mistakes> {
    let loaded = settings_file::load_alone(file);
    let root = loaded.root();
    let sections = root.array_of_tables("expect");
    if sections.is_empty() && !loaded.is_partial() {
        loaded.mistake(
            root.place(),
            "no expectation stands here",
            "write `[[expect]]` with `at`, `if` and what is expected",
        );
    }
    let expectations: Vec<Option<Expectation>> = sections
        .into_iter()
        .map(|section| expectation(&loaded, section, policy))
        .collect();
    root.finish();
    loaded.finish(expectations.into_iter().collect())
}

fn expectation(
    loaded: &LoadedSettings,
    section: Section<'_>,
    policy: &Policy,
) -> Option<Expectation> {
    let zone = zone_of(policy);
    let time = |text: String| {
        instant::read(&text, zone)
            .map(|instant| instant.at)
            .map_err(|_| {
                Complaint::new(
                    format!("{text:?} is no time"),
                    "write \"2026-12-25 03:00\" or \"2026-12-25T02:00:00Z\"",
                )
            })
    };
    let at = section.str("at").try_map(time).required();
    let condition = section.sub("if");
    if condition.is_none() && !section.has("if") {
        loaded.mistake(
            section.place(),
            "`if` is missing",
            "write `if = { service = \"…\", status = \"critical\" }`",
        );
    }
    let asked = condition.and_then(|condition| asked(loaded, condition, &policy.rules));
    let receivers: BTreeSet<ReceiverName> = policy.rules.receivers.keys().cloned().collect();
    let windows: Vec<&str> = policy
        .rules
        .maintenance
        .keys()
        .map(MaintenanceName::as_str)
        .collect();
    let names = |key: &'static str| {
        let names = section.references(key, "receiver", &receivers).optional()?;
        Some((section.place_of(key), names.into_iter().collect()))
    };
    let (told, held) = (names("told"), names("held"));
    let steps = section.string_list("steps").optional();
    let steps = steps.map(|steps| (section.place_of("steps"), steps.into_iter().collect()));
    let held_until = section.str("held_until").try_map(time).optional();
    let held_until = held_until.map(|until| (section.place_of("held_until"), until));
    let last = policy.rules.routes.len().saturating_sub(1);
    let route = section.integer("route", 0..=last).optional();
    let route = route.map(|route| (section.place_of("route"), route));
    let calendar_open = section.boolean("calendar_open").optional();
    let calendar_open = calendar_open.map(|open| (section.place_of("calendar_open"), open));
    let known = |name: String| {
        if name.is_empty() || windows.contains(&name.as_str()) {
            return Ok(name);
        }
        Err(Complaint::new(
            format!("no maintenance is called {name:?}"),
            "write the name of a [maintenance.NAME], or \"\" for none",
        ))
    };
    let muted = section.str("muted").try_map(known).optional();
    let muted = muted.map(|muted| (section.place_of("muted"), muted));
    let expects_nothing = ![
        "told",
        "held",
        "steps",
        "held_until",
        "route",
        "calendar_open",
        "muted",
    ]
    .iter()
    .any(|key| section.has(key));
    if expects_nothing {
        loaded.mistake(
            section.place(),
            "nothing is expected",
            "write `told`, `held`, `held_until`, `steps`, `route`, `calendar_open` or `muted`",
        );
    }
    let place = section.place().clone();
    section.finish();
    Some(Expectation {
        place,
        asked: Asked { at: at?, ..asked? },
        told,
        held,
        held_until,
        steps,
        route,
        calendar_open,
        muted,
    })
}

/// What happens, at no time yet.
fn asked(loaded: &LoadedSettings, section: Section<'_>, rules: &Rules) -> Option<Asked> {
    let vigie = ServiceName::vigie();
    let services: BTreeSet<ServiceName> = rules.services.keys().cloned().chain([vigie]).collect();
    let groups: BTreeSet<GroupName> = rules.groups.keys().cloned().collect();
    let service = section
        .reference("service", "service", &services)
        .required();
    let words = |all: &[Status]| -> Vec<(&'static str, Status)> {
        all.iter()
            .map(|status| (status.as_str(), *status))
            .collect()
    };
    let status = section
        .one_of(
            "status",
            &words(&[Status::Critical, Status::Unknown, Status::Warning]),
        )
        .required();
    let families: Vec<_> = Family::ALL.iter().map(|one| (one.as_str(), *one)).collect();
    let family = section.one_of("family", &families).or(Family::Availability);
    let places: Vec<_> = Environment::ALL
        .iter()
        .map(|one| (one.as_str(), *one))
        .collect();
    let environment = section.one_of("environment", &places).optional();
    let node: Option<NodeName> = section.name("node").optional();
    let group = section.reference("group", "group", &groups).optional();
    for key in ["group", "environment"] {
        if section.has("node") && section.has(key) {
            loaded.mistake(
                &section.place_of(key),
                format!("`{key}` follows from the groups of `node`"),
                "remove one of the two",
            );
        }
    }
    section.finish();
    let (service, status) = (service?, status?);
    let need = Need::served_by(family, None);
    let subject = match &node {
        Some(node) => rules.subject(node, &[service].into(), need),
        None => {
            let of_group = group.as_ref().and_then(|group| rules.groups.get(group));
            let environment = environment
                .or(of_group.map(|group| group.environment))
                .unwrap_or(Environment::Production);
            let subject = rules.service_subject(&service, need, environment)?;
            match (group, of_group) {
                (Some(name), Some(of_group)) => Subject {
                    sites: [of_group.site.clone()].into(),
                    groups: [name].into(),
                    ..subject
                },
                _ => subject,
            }
        }
    };
    Some(Asked {
        subject,
        node: node.map_or_else(String::new, |node| node.to_string()),
        family,
        status,
        at: Wall(0),
    })
}

/// What is not as expected.
fn check(expected: &Expectation, policy: &Policy) -> Vec<Mismatch> {
    let explanation = explain(policy, &expected.asked);
    let is_muted = explanation.muted.is_some();
    let told: BTreeSet<ReceiverName> = explanation
        .told_now
        .iter()
        .filter(|_| !is_muted)
        .map(|first| first.receiver.clone())
        .collect();
    let held: BTreeSet<ReceiverName> = explanation
        .held
        .iter()
        .filter(|_| !is_muted)
        .map(|(receiver, _)| receiver.clone())
        .collect();
    let steps = if is_muted {
        BTreeSet::new()
    } else {
        first_steps(&explanation)
    };
    let until = explanation.held_until().filter(|_| !is_muted);
    let calendar_open = explanation
        .calendar
        .as_ref()
        .map(|standing| standing.is_open);
    let muted = explanation.muted.as_ref();
    let muted = muted.map_or("", |(window, _)| window.as_str());
    let compared = [
        compared("told", &expected.told, &told),
        compared("held", &expected.held, &held),
        compared("steps", &expected.steps, &steps),
        compared("held_until", &widened(&expected.held_until), &until),
        compared("route", &widened(&expected.route), &explanation.route),
        compared(
            "calendar_open",
            &widened(&expected.calendar_open),
            &calendar_open,
        ),
        compared("muted", &expected.muted, &muted.to_owned()),
    ];
    let teller = Teller {
        language: Language::English,
        zone: zone_of(policy),
        rules: &policy.rules,
    };
    let asked = &expected.asked;
    let services: Vec<&str> = asked
        .subject
        .services
        .iter()
        .map(ServiceName::as_str)
        .collect();
    let because = format!(
        "{} {} {} at {} ({}): {}",
        services.join(", "),
        asked.family,
        asked.status,
        teller.time(asked.at),
        teller.zone_name(),
        teller.reason(&explanation)
    );
    compared
        .into_iter()
        .flatten()
        .map(|(place, what, expected, got)| Mismatch {
            place,
            what,
            expected,
            got,
            because: because.clone(),
        })
        .collect()
}

type Difference = (Place, &'static str, Value, Value);

fn compared<T: PartialEq + serde::Serialize>(
    what: &'static str,
    expected: &Option<(Place, T)>,
    got: &T,
) -> Option<Difference> {
    let (place, expected) = expected.as_ref()?;
    (expected != got).then(|| (place.clone(), what, json!(expected), json!(got)))
}

/// An expected value, where there may be none.
fn widened<T: Clone>(expected: &Option<(Place, T)>) -> Option<(Place, Option<T>)> {
    expected
        .as_ref()
        .map(|(place, value)| (place.clone(), Some(value.clone())))
}

/// Whom the first step reaches that reaches anybody, of every receiver that is told.
fn first_steps(explanation: &Explanation) -> BTreeSet<String> {
    let reached = explanation.told_now.iter().filter_map(|first| {
        explanation
            .steps
            .iter()
            .find(|step| step.receiver == first.receiver && !step.to.is_empty())
    });
    reached
        .flat_map(|step| step.to.iter().map(ToString::to_string))
        .collect()
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            place,
            what,
            expected,
            got,
            because,
        } = self;
        write!(
            f,
            "{place}: {what}: expected {expected}, got {got}; {because}"
        )
    }
}

fn to_json(count: usize, mismatches: &[Mismatch]) -> Value {
    let mismatches: Vec<Value> = mismatches
        .iter()
        .map(|mismatch| {
            json!({
                "file": mismatch.place.path().map(|path| path.display().to_string()),
                "line": mismatch.place.line(),
                "column": mismatch.place.column(),
                "what": mismatch.what,
                "expected": mismatch.expected,
                "got": mismatch.got,
                "because": mismatch.because,
            })
        })
        .collect();
    json!({"expectations": count, "mismatches": mismatches})
}
