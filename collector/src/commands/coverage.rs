//! `prove-coverage`: every instant to come at which a critical service could fail and nobody would be told. `check-config`
//! warns of the same. Needs settings only.

#[cfg(test)]
mod tests;

use std::{ffi::OsString, fmt::Write as _, path::Path};

use clap::Args;
use serde_json::{Value, json};
use vigie_core::{reason::message::Language, time::Wall};
use vigie_decide::{
    coverage::{DAYS, GAPS_MAX, Gap, gaps},
    routing::Policy,
};
use vigie_platform::{
    clock::{Clock as _, SystemClock},
    process::Exit,
};

use super::explain::{
    instant::{self, zone_of},
    words::Teller,
};
use crate::settings::{self, Settings};

/// How many gaps `check-config` names: they have one cause, or `prove-coverage` lists them.
const WARNINGS_MAX: usize = 5;

/// Ten years: what is further away is not planned by anybody.
const DAYS_MAX: i64 = 3_660;

/// `prove-coverage …`
#[derive(Debug, Args)]
pub struct ProveCoverage {
    /// How far to look ahead
    #[arg(long, value_name = "DAYS", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
    /// From when on; now if absent
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    config: &Path,
    variables: Vec<(OsString, OsString)>,
    command: &ProveCoverage,
) -> Exit {
    let settings = match settings::load(config, variables) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let policy = settings.policy();
    let from = match &command.from {
        None => SystemClock.wall(),
        Some(text) => match instant::read(text, zone_of(&policy)) {
            Ok(instant) => instant.at,
            Err(mistake) => {
                eprintln!("--from: {mistake}");
                return Exit::Usage;
            }
        },
    };
    let found = gaps(&policy, from, command.days);
    let teller = teller(&settings, &policy);
    if command.json {
        println!("{:#}", to_json(&teller, &found, from, command.days));
    } else {
        print!("{}", to_text(&teller, &found, from, command.days));
    }
    if found.is_empty() {
        Exit::Ok
    } else {
        Exit::Finding
    }
}

/// What `check-config` warns of. Settings without any route tell nobody of anything, which it says by itself.
pub(super) fn warnings(settings: &Settings, now: Wall) -> Vec<String> {
    if settings.rules.routes.is_empty() {
        return Vec::new();
    }
    let policy = settings.policy();
    let found = gaps(&policy, now, DAYS);
    let teller = teller(settings, &policy);
    let mut warnings: Vec<String> = found
        .iter()
        .take(WARNINGS_MAX)
        .map(|gap| sentence(&teller, gap))
        .collect();
    if found.len() > WARNINGS_MAX {
        let more = found.len() - WARNINGS_MAX;
        warnings.push(match teller.language {
            Language::French => format!("et {more} autres ; voir vigie-collector prove-coverage"),
            Language::English => format!("and {more} more; see vigie-collector prove-coverage"),
        });
    }
    warnings
}

fn teller<'g>(settings: &Settings, policy: &'g Policy) -> Teller<'g> {
    Teller {
        language: settings.language,
        zone: zone_of(policy),
        rules: &policy.rules,
    }
}

/// One gap in words.
fn sentence(teller: &Teller<'_>, gap: &Gap) -> String {
    let place = gap.place.as_ref().map_or_else(String::new, |place| {
        format!(" ({} {place})", teller.say("sur", "on"))
    });
    format!(
        "{}{}{place}{}{}{}{}{}{}",
        teller.say(
            "personne ne serait prévenu tout de suite pour ",
            "nobody would be told at once of "
        ),
        gap.service,
        teller.say(" du ", " from "),
        teller.time(gap.from),
        teller.say(" au ", " to "),
        teller.time(gap.to),
        teller.say(" : ", ": "),
        teller.why_nobody(&gap.instead),
    )
}

fn to_text(teller: &Teller<'_>, found: &[Gap], from: Wall, days: u32) -> String {
    let mut out = String::new();
    for gap in found {
        let _infallible = writeln!(out, "{}", sentence(teller, gap));
    }
    let since = format!("{} ({})", teller.time(from), teller.zone_name());
    let _infallible = match found.len() {
        0 => writeln!(
            out,
            "{}{days}{}{since}{}",
            teller.say("À chaque instant des ", "At every instant of the "),
            teller.say(" jours à partir du ", " days from "),
            teller.say(
                ", quelqu'un serait prévenu d'un service critique en panne.",
                ", somebody would be told of a critical service that is down."
            ),
        ),
        GAPS_MAX.. => writeln!(
            out,
            "{}",
            teller.say(
                "Il y en a trop pour les dire tous.",
                "There are too many to tell them all."
            )
        ),
        _ => Ok(()),
    };
    out
}

fn to_json(teller: &Teller<'_>, found: &[Gap], from: Wall, days: u32) -> Value {
    let gaps: Vec<Value> = found
        .iter()
        .map(|gap| {
            json!({
                "service": gap.service,
                "place": gap.place,
                "from": gap.from,
                "to": gap.to,
                "why": teller.why_nobody(&gap.instead),
                "route": gap.instead.route,
            })
        })
        .collect();
    json!({
        "from": from,
        "days": days,
        "zone": teller.zone_name(),
        "complete": found.len() < GAPS_MAX,
        "gaps": gaps,
    })
}
