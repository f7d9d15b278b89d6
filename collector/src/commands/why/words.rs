//! The words of a story: what stands in the log, said in English. Reasons are told by core in the language of the
//! settings.

use serde_json::{Map, Value};
use vigie_core::{
    canonical,
    digest::Digest,
    id::{MaintenanceName, PersonName, ReceiverName},
    reason::message::{self, Language},
    time::Wall,
};
use vigie_decide::{
    alert::{Actor, AlertKey, Notice},
    calendar::Why,
    destination::Destination,
    mute::Scope,
    routing::{CalendarStatus, Policy},
    rules::{Match, Route, Rules, When},
    view::{
        mute::Kind,
        story::{Begun, Contact, Entry, Happened},
    },
};

use crate::replay::Written;

/// Said where calendars were not to be trusted.
pub(super) const CLOCK_IN_DOUBT: &str = "the collector's clock was not trusted then: calendars counted as closed for what wakes somebody, and as open for what would have waited";

/// An instant as people at the collector say it: in the first zone of the rules, else UTC.
pub(in crate::commands) fn time(at: Wall, policy: &Policy) -> String {
    let zone = policy.zones.first().map(|(_, zone)| zone.clone());
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

/// What happened, in a sentence: `line` as it is read in `happened`. `alert` is the one that the story is about.
pub(super) fn event(
    line: &Written,
    happened: &Happened,
    alert: Option<&AlertKey>,
    policy: &Policy,
) -> String {
    match happened {
        Happened::Entry(said) => entry(said),
        Happened::Contact {
            node,
            contact: said,
        } => contact(node, said, alert),
        Happened::Started => "the collector starts".to_owned(),
        Happened::RulesLoaded { .. } => "settings are loaded".to_owned(),
        Happened::Deadline => "time has passed".to_owned(),
        Happened::NodeSilent { node, last_contact } => format!(
            "{node} is silent; last heard {}",
            time(*last_contact, policy)
        ),
        Happened::NodeHeard { node } => format!("{node} is heard again"),
        Happened::SiteSilent { site } => format!("site {site} is silent"),
        Happened::SiteHeard { site } => format!("site {site} is heard again"),
        Happened::Confirmed { node, uid } => format!("uid {uid} confirms {node}"),
        Happened::NodeRetired { node, uid } => format!("uid {uid} retires {node}"),
        Happened::CommitFailed { count } => {
            format!("{count} commits failed before this one; what was urgent was told without them")
        }
        Happened::Acknowledged { by } => format!("acknowledgement by {}", actor(by)),
        Happened::Unacknowledged { uid } => format!("uid {uid} takes the acknowledgement back"),
        Happened::AlertEnded { reason, uid } => format!("uid {uid} ends it: {reason:?}"),
        Happened::SilenceStarted(begun) => format!("uid {} begins a silence", begun.uid),
        Happened::MaintenanceStarted(begun) => format!("uid {} begins maintenance", begun.uid),
        Happened::MuteEnded { mute, uid } => format!("uid {uid} ends mute {mute}"),
        Happened::ExerciseStarted { receiver, uid } => {
            format!("uid {uid} begins an exercise for {receiver}")
        }
        Happened::SenderAlert { sender, alert } => {
            format!("{sender} says that {} is {}", alert.name, alert.status)
        }
        Happened::DeliveryFailing {
            receiver,
            waiting,
            http_status,
        } => format!(
            "{receiver} does not accept messages: {waiting} wait, last answer {}",
            match http_status {
                0 => "none".to_owned(),
                status => status.to_string(),
            }
        ),
        Happened::DeliveryWorks { receiver } => format!("{receiver} accepts messages again"),
        Happened::ClockTrusted => "the collector's clock is trusted again".to_owned(),
        Happened::Delivered { .. }
        | Happened::Refused { .. }
        | Happened::Undeliverable { .. }
        | Happened::Other => format!("{}: {}", line.kind(), members(&line.event)),
    }
}

fn entry(entry: &Entry) -> String {
    let line = entry.measured();
    let seq = line.seq.map_or("null".to_owned(), |seq| seq.to_string());
    let mut said = format!("{}'s line {seq}", entry.node);
    if let Some(check) = line.check {
        said.push_str(&format!(": {check}"));
        if let Some(object) = line.object {
            said.push_str(&format!(" ({object})"));
        }
        if let Some(status) = line.status {
            said.push_str(&format!(" is {status}"));
        }
    }
    if entry.history {
        said.push_str("; history, it says nothing of now");
    }
    if entry.doubt {
        said.push_str("; its certificate has expired, so it ends nothing");
    }
    said
}

/// The reason and facts of a node's line in words, and the line itself.
pub(super) fn evidence(entry: &Entry, language: Language) -> Vec<String> {
    let line = entry.measured();
    let written = canonical::write(&entry.line);
    let mut said = Vec::new();
    if let Some(reason) = line.reason {
        said.push(format!(
            "{reason}: {}",
            message::render(language, &reason, &line.facts)
        ));
    }
    said.push(format!("evidence: {}", escaped(&written)));
    said.push(format!("SHA-256: {}", Digest::of(written.as_bytes())));
    said
}

fn contact(node: &str, contact: &Contact, alert: Option<&AlertKey>) -> String {
    let found = contact.not_ok.iter().find(|listed| {
        alert.is_some_and(|alert| listed.check == alert.check() && listed.object == alert.object())
    });
    match found {
        Some(listed) => format!(
            "{node} makes contact and lists it as {} (its line {})",
            listed.status, listed.seq
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
pub(super) fn destination(receiver: &ReceiverName, to: &Destination) -> String {
    match to {
        Destination::Receiver(to) if to == receiver => receiver.to_string(),
        _ => format!("{receiver} ({to})"),
    }
}

/// What a message says, for a reader who knows the alert.
pub(super) const fn notice(notice: Notice) -> &'static str {
    match notice {
        Notice::Open => "it begins",
        Notice::Worse => "it is worse",
        Notice::Still => "it is still on",
        Notice::Again => "it is still on, again",
        Notice::HandOver => "it is handed over",
        Notice::Close => "it ends",
    }
}

/// Which step, for receivers that have several.
pub(super) fn step(step: Option<u64>, receiver: &ReceiverName, rules: &Rules) -> String {
    let receiver = rules.receivers.get(receiver);
    let steps = receiver.map_or(0, |receiver| receiver.steps.len());
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

pub(super) fn skipped(receiver: &ReceiverName, step: u64, person: Option<&PersonName>) -> String {
    let step = step + 1;
    match person {
        Some(person) => format!("skipped: {person}, step {step} of {receiver}, cannot be reached"),
        None => format!("skipped: step {step} of {receiver} has nobody who can be reached"),
    }
}

/// Who did something.
pub(super) fn actor(by: &Actor) -> String {
    match by {
        Actor::Uid(uid) => format!("uid {uid}"),
        Actor::Link(to) => format!("whoever reads {to}, by the link in a message"),
    }
}

/// Names, one after the other.
pub(super) fn names(receivers: &[ReceiverName]) -> String {
    let names: Vec<&str> = receivers.iter().map(ReceiverName::as_str).collect();
    names.join(", ")
}

/// A silence or maintenance that a command began, at `at`.
pub(in crate::commands) fn mute(
    number: u64,
    (kind, begun): (Kind, &Begun),
    at: Wall,
    policy: &Policy,
) -> String {
    let for_ms = i64::try_from(begun.for_ms).unwrap_or(i64::MAX);
    format!(
        "{} {number} ({}; until {}; uid {})",
        kind.as_str(),
        printable(&begun.reason),
        time(at.plus_ms(for_ms), policy),
        begun.uid
    )
}

/// A window of the settings.
pub(in crate::commands) fn window(name: &MaintenanceName, rules: &Rules) -> String {
    match rules.maintenance.get(name) {
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
pub(super) fn standing(standing: &CalendarStatus, policy: &Policy) -> String {
    let state = if standing.is_open { "open" } else { "closed" };
    let why = standing
        .why
        .map_or_else(|| "its zone is not known here".to_owned(), why);
    let edge = standing.next_edge.map_or_else(String::new, |edge| {
        format!(", until {}", time(edge, policy))
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
