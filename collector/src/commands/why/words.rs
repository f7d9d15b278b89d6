//! The words of a story: what stands in the log, said in English. Reasons are told by core in the language of the
//! settings.

use serde_json::{Map, Value};
use vigie_core::{
    canonical,
    digest::Digest,
    id::MaintenanceName,
    reason::message::{self, Language},
    time::Wall,
};
use vigie_decide::{
    alert::AlertKey,
    calendar::Why,
    mute::Scope,
    routing::{Ground, Standing},
    rules::{Match, Route, Rules, When},
};

use crate::replay::Written;

/// Said where calendars were not to be trusted.
pub(super) const CLOCK_IN_DOUBT: &str = "the collector's clock was not trusted then: calendars counted as closed for what wakes somebody, and as open for what would have waited";

/// An instant as people at the collector say it: in the first zone of the rules, else UTC.
pub(in crate::commands) fn time(at: Wall, ground: &Ground) -> String {
    let zone = ground.zones.first().map(|(_, zone)| zone.clone());
    let instant = jiff::Timestamp::from_millisecond(at.0);
    instant.map_or_else(
        |_| at.to_string(),
        |instant| {
            let zoned = instant.to_zoned(zone.unwrap_or(jiff::tz::TimeZone::UTC));
            zoned.strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string()
        },
    )
}

/// `85 ms`, `4.2 s`, `12 min 5 s`.
pub(super) fn duration(ms: i64) -> String {
    match ms.max(0) {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms @ 60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        ms => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Text for a terminal: nothing in it moves the cursor or turns the reading direction.
pub(in crate::commands) fn printable(text: &str) -> String {
    message::sanitised(text, usize::MAX)
}

/// A line of JSON for a terminal: the same value, with whatever could do something there written as an escape.
pub(super) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii_graphic() || character == ' ' || character.is_alphanumeric() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// `http of app-01 (192.0.2.7)`.
pub(in crate::commands) fn alert(alert: &AlertKey) -> String {
    let (node, check, object) = (alert.node(), alert.check(), alert.object());
    let object = if object.is_empty() {
        String::new()
    } else {
        format!(" ({object})")
    };
    printable(&format!("{check} of {node}{object}"))
}

/// What happened, in a sentence. `alert` is the one that the story is about.
pub(super) fn event(line: &Written, alert: Option<&AlertKey>, ground: &Ground) -> String {
    let event = &line.event;
    let text = |member: &str| event[member].as_str().unwrap_or("?").to_owned();
    let instant = |member: &str| {
        let at = event[member].as_str().and_then(|at| Wall::parse(at).ok());
        at.map_or_else(|| "?".to_owned(), |at| time(at, ground))
    };
    match line.kind() {
        "entry" => entry(event),
        "contact" => contact(event, alert),
        "collector.started" => "the collector starts".to_owned(),
        "rules.loaded" => "settings are loaded".to_owned(),
        "deadline" => "time has passed".to_owned(),
        "node.silent" => format!(
            "{} is silent; last heard {}",
            text("node"),
            instant("last_contact")
        ),
        "node.heard" => format!("{} is heard again", text("node")),
        "site.silent" => format!("site {} is silent", text("site")),
        "site.heard" => format!("site {} is heard again", text("site")),
        "plan.confirmed" => format!("uid {} confirms {}", event["uid"], text("node")),
        "node.retired" => format!("uid {} retires {}", event["uid"], text("node")),
        "commit.failed" => format!(
            "{} commits failed before this one; what was urgent was told without them",
            event["count"]
        ),
        "acknowledged" => format!("acknowledgement by {}", actor(&event["by"])),
        "unacknowledged" => format!("uid {} takes the acknowledgement back", event["uid"]),
        "alert.ended" => format!("uid {} ends it: {:?}", event["uid"], text("reason")),
        "silence.started" => format!("uid {} begins a silence", event["uid"]),
        "maintenance.started" => format!("uid {} begins maintenance", event["uid"]),
        "mute.ended" => format!("uid {} ends mute {}", event["uid"], event["mute"]),
        "exercise.started" => format!(
            "uid {} begins an exercise for {}",
            event["uid"],
            text("receiver")
        ),
        "sender.alert" => format!(
            "{} says that {} is {}",
            text("sender"),
            event["alert"]["name"].as_str().unwrap_or("?"),
            event["alert"]["status"].as_str().unwrap_or("?")
        ),
        "delivery.failing" => format!(
            "{} does not accept messages: {} wait, last answer {}",
            text("receiver"),
            event["waiting"],
            match event["http_status"].as_u64() {
                None | Some(0) => "none".to_owned(),
                Some(status) => status.to_string(),
            }
        ),
        "delivery.works" => format!("{} accepts messages again", text("receiver")),
        "clock.trusted" => "the collector's clock is trusted again".to_owned(),
        kind => format!("{kind}: {}", members(event)),
    }
}

fn entry(event: &Value) -> String {
    let line = &event["line"];
    let text = |member: &str| line[member].as_str();
    let mut said = format!(
        "{}'s line {}",
        event["node"].as_str().unwrap_or("?"),
        line["seq"]
    );
    if let Some(check) = text("check") {
        said.push_str(&format!(": {check}"));
        if let Some(object) = text("object") {
            said.push_str(&format!(" ({object})"));
        }
        if let Some(status) = text("status") {
            said.push_str(&format!(" is {status}"));
        }
    }
    if event["history"] == true {
        said.push_str("; history, it says nothing of now");
    }
    if event["doubt"] == true {
        said.push_str("; its certificate has expired, so it ends nothing");
    }
    said
}

/// The reason and facts of a node's line in words, and the line itself.
pub(super) fn evidence(event: &Value, language: Language) -> Vec<String> {
    let line = &event["line"];
    let none = Map::new();
    let facts = line["facts"].as_object().unwrap_or(&none);
    let written = canonical::write(line);
    let mut said = Vec::new();
    if let Some(reason) = line["reason"].as_str() {
        said.push(format!(
            "{reason}: {}",
            message::render(language, reason, facts)
        ));
    }
    said.push(format!("evidence: {}", escaped(&written)));
    said.push(format!("SHA-256: {}", Digest::of(written.as_bytes())));
    said
}

fn contact(event: &Value, alert: Option<&AlertKey>) -> String {
    let node = event["node"].as_str().unwrap_or("?");
    let listed = event["contact"]["not_ok"].as_array();
    let found = listed.into_iter().flatten().find(|object| {
        alert.is_some_and(|alert| {
            object["check"] == alert.check()
                && object["object"].as_str().unwrap_or_default() == alert.object()
        })
    });
    match found {
        Some(object) => format!(
            "{node} makes contact and lists it as {} (its line {})",
            object["status"].as_str().unwrap_or("?"),
            object["seq"]
        ),
        None => format!("{node} makes contact"),
    }
}

/// Members of an event that has no words of its own.
pub(super) fn members(event: &Value) -> String {
    let members = event.as_object().into_iter().flatten();
    let rest: Map<String, Value> = members
        .filter(|(member, _)| !matches!(member.as_str(), "kind" | "decided"))
        .map(|(member, value)| (member.clone(), value.clone()))
        .collect();
    escaped(&Value::Object(rest).to_string())
}

/// `equipe-sis`, or `astreinte (am/sms)` where a person is told.
pub(super) fn destination(receiver: &str, to: &str) -> String {
    if receiver == to {
        receiver.to_owned()
    } else {
        format!("{receiver} ({to})")
    }
}

/// What a message says, for a reader who knows the alert.
pub(super) fn notice(word: &str) -> &'static str {
    match word {
        "open" => "it begins",
        "worse" => "it is worse",
        "still" => "it is still on",
        "again" => "it is still on, again",
        "handover" => "it is handed over",
        "close" => "it ends",
        _ => "a message",
    }
}

/// Which step, for receivers that have several.
pub(super) fn step(step: Option<u64>, receiver: &str, rules: &Rules) -> String {
    let steps = rules
        .receivers
        .iter()
        .find(|(name, _)| name.as_str() == receiver)
        .map_or(0, |(_, receiver)| receiver.steps.len());
    match step {
        Some(step) if steps > 1 => format!(", step {} of {steps}", step + 1),
        _ => String::new(),
    }
}

pub(super) fn ended(word: &str) -> String {
    match word {
        "recovered" => "measured and good again".to_owned(),
        "confirmed" => "an operator confirmed it".to_owned(),
        "retired" => "its node was retired".to_owned(),
        "replaced" => "another alert stands for it now".to_owned(),
        "exercised" => "it was an exercise".to_owned(),
        word => word.to_owned(),
    }
}

pub(super) fn unacknowledged(word: &str) -> &'static str {
    match word {
        "expired" => "nobody is on it any more: the acknowledgement's time is over",
        "worse" => "nobody is on it any more: it is louder than what was acknowledged",
        _ => "nobody is on it any more: an operator said so",
    }
}

pub(super) fn kept(word: &str) -> String {
    match word {
        "doubt" => "the line's certificate has expired".to_owned(),
        "still_listed" => "the line is history, and the node lists it as not ok".to_owned(),
        "chain_fault" => "the line does not stand in the node's chain".to_owned(),
        "until_confirmed" => "only an operator ends it".to_owned(),
        "from_before" => "the line is from before the failure".to_owned(),
        word => word.to_owned(),
    }
}

pub(super) fn skipped(event: &Value) -> String {
    let receiver = event["receiver"].as_str().unwrap_or("?");
    let step = event["step"].as_u64().unwrap_or(0) + 1;
    match event["person"].as_str() {
        Some(person) => format!("skipped: {person}, step {step} of {receiver}, cannot be reached"),
        None => format!("skipped: step {step} of {receiver} has nobody who can be reached"),
    }
}

/// Who did something.
pub(super) fn actor(by: &Value) -> String {
    match (by["uid"].as_u64(), by["link"].as_str()) {
        (Some(uid), _) => format!("uid {uid}"),
        (_, Some(to)) => format!("whoever reads {to}, by the link in a message"),
        _ => "?".to_owned(),
    }
}

/// Names of a list, one after the other.
pub(in crate::commands) fn names(list: &Value) -> String {
    let names = list.as_array().into_iter().flatten();
    names
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A silence or maintenance that a command began.
pub(in crate::commands) fn mute(number: u64, event: &Written, ground: &Ground) -> String {
    let what = match event.kind() {
        "silence.started" => "silence",
        _ => "maintenance",
    };
    let for_ms = event.event["for_ms"].as_i64().unwrap_or(0);
    format!(
        "{what} {number} ({}; until {}; uid {})",
        printable(event.event["reason"].as_str().unwrap_or("?")),
        time(event.now.wall.plus_ms(for_ms), ground),
        event.event["uid"]
    )
}

/// A window of the settings.
pub(in crate::commands) fn window(by: &Value, rules: &Rules) -> String {
    let Some(name) = by["window"].as_str() else {
        return printable(&by.to_string());
    };
    let known = name.parse::<MaintenanceName>().ok();
    match known.and_then(|name| rules.maintenance.get(&name)) {
        Some(window) => format!(
            "maintenance window {name} ({}; mutes {})",
            printable(&window.reason),
            match window.scope {
                Scope::Reachability => "reachability",
                Scope::Everything => "everything",
            }
        ),
        None => format!("maintenance window {name}"),
    }
}

/// `by route 1: criticality critical; status critical or unknown; outside bureau`. Routes count from 1, as people do.
pub(super) fn route(position: u64, route: &Route) -> String {
    let mut conditions = conditions(&route.matches);
    match &route.when {
        Some(When::Inside(calendar)) => conditions.push(format!("inside {calendar}")),
        Some(When::Outside(calendar)) => conditions.push(format!("outside {calendar}")),
        None => {}
    }
    if conditions.is_empty() {
        conditions.push("everything".to_owned());
    }
    let hold = if route.hold { ", holds" } else { "" };
    format!(
        "by route {} ({}){hold}",
        position + 1,
        conditions.join("; ")
    )
}

fn conditions(matches: &Match) -> Vec<String> {
    fn any<T: ToString>(what: &str, values: impl IntoIterator<Item = T>) -> Option<String> {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        (!values.is_empty()).then(|| format!("{what} {}", values.join(" or ")))
    }
    let Match {
        criticality,
        service,
        family,
        status,
        node,
        group,
        site,
        environment,
        need,
    } = matches;
    [
        any("criticality", criticality),
        any("service", service),
        any("family", family),
        any("status", status),
        any("node", node),
        any("group", group),
        any("site", site),
        any("environment", environment),
        any("need", need),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How a calendar stood.
pub(super) fn standing(standing: &Standing, ground: &Ground) -> String {
    let state = if standing.is_open { "open" } else { "closed" };
    let why = standing
        .why
        .map_or_else(|| "its zone is not known here".to_owned(), why);
    let edge = standing.next_edge.map_or_else(String::new, |edge| {
        format!(", until {}", time(edge, ground))
    });
    format!("calendar {} was {state} ({why}){edge}", standing.calendar)
}

/// Why a calendar is open or closed.
pub(super) fn why(why: Why) -> String {
    match why {
        Why::Window(date) => format!("hours of {}", date.strftime("%a %Y-%m-%d")),
        Why::OpenedHours(date) => format!("hours opened on {date}"),
        Why::ClosedHours(date) => format!("hours closed on {date}"),
        Why::ClosedDate(date) => format!("{date} is closed"),
        Why::Holiday(date, holiday) => format!("{date} is a holiday: {}", holiday.as_str()),
        Why::OutsideHours => "outside its weekly hours".to_owned(),
    }
}
