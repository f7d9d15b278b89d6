#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;
use vigie_core::{
    digest::Digest,
    status::{Criticality, Environment, Family, Need, Status},
    time::Wall,
};
use vigie_decide::{
    alert::{AlertKey, Body, Ended, Notice, Notification},
    destination::Destination,
};

mod bodies;
mod briefs;
mod hostile;
mod lists;
mod mornings;
mod titles;

/// 22 November 2026, 19:04:31 UTC; 20:04 in Paris.
const SINCE: Wall = Wall(1_795_374_271_207);
const MINUTE_MS: i64 = 60_000;
const LINK: &str = "https://vigie.gradest.example/a/7F3kq-9_x";

const NOTICES: [Notice; 6] = [
    Notice::Open,
    Notice::Worse,
    Notice::Still,
    Notice::Again,
    Notice::HandOver,
    Notice::Close,
];

/// Zones are values in core; a test takes them from the machine like the programs do.
#[expect(clippy::disallowed_methods, reason = "the test plays the program")]
pub(super) fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").unwrap()
}

fn voice(language: Language, zone: &TimeZone) -> Voice<'_> {
    Voice {
        language,
        zone: Some(zone),
        link: None,
        now: None,
    }
}

fn facts(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The key that is stored and told as these.
fn key(node: &str, check: &str, object: &str) -> AlertKey {
    AlertKey::from_parts(node, check, object).unwrap()
}

/// The same on another node.
fn at(node: &str, alert: &AlertKey) -> AlertKey {
    key(node, alert.check(), &alert.object())
}

fn telling() -> Notification {
    Notification {
        notice: Notice::Open,
        number: 1841,
        opening: 7,
        alert: key("app-01", "portail", ""),
        services: ["dossier-patient".parse().unwrap()].into(),
        criticality: Criticality::Critical,
        environment: Environment::Production,
        family: Family::Availability,
        need: (Need::Availability, 4),
        status: Status::Critical,
        reason: "http.status".to_owned(),
        facts: facts(json!({"expected": [200], "got": 503})),
        since: SINCE,
        ended: None,
        runbook: Some("https://wiki.example/dossier?a=1&b=2".to_owned()),
        step: 0,
        others_told: BTreeSet::new(),
        acknowledged_by: None,
        explains: 0,
        thread: None,
    }
}

/// The same with another notice.
fn noticed(notice: Notice) -> Notification {
    Notification {
        notice,
        ended: (notice == Notice::Close).then_some(Ended::Recovered),
        ..telling()
    }
}

/// A check of a node in another group, at another level.
fn lesser(number: u64) -> Notification {
    Notification {
        number,
        services: ["messagerie".parse().unwrap()].into(),
        criticality: Criticality::Important,
        family: Family::Host,
        status: Status::Warning,
        alert: key("mail-01", "disques", "/var"),
        reason: "filesystem.full".to_owned(),
        facts: facts(
            json!({"used_permille": 870, "limit_permille": 850, "available_bytes": 1_234_567_890_i64}),
        ),
        runbook: None,
        ..telling()
    }
}

fn exercise() -> Notification {
    Notification {
        number: 12,
        alert: AlertKey::exercise(&"astreinte".parse().unwrap()),
        services: ["vigie".parse().unwrap()].into(),
        family: Family::Vigie,
        reason: "vigie.exercise".to_owned(),
        facts: facts(json!({"receiver": "astreinte"})),
        runbook: None,
        ..telling()
    }
}

/// A message so many minutes after the alert began.
fn message_at(minutes: i64, telling: Notification) -> Message {
    let order = telling
        .number
        .saturating_mul(10_000)
        .saturating_add(minutes.unsigned_abs());
    Message {
        key: Digest::of(format!("{order} {}", telling.notice.as_str()).as_bytes()),
        order,
        to: Destination::Receiver("chefs".parse().unwrap()),
        receiver: "chefs".parse().unwrap(),
        at: SINCE.plus_ms(minutes * MINUTE_MS),
        body: Body::Alert(Box::new(telling)),
    }
}

fn message(telling: Notification) -> Message {
    let minutes = match telling.notice {
        Notice::Close => 14,
        Notice::Open | Notice::Worse | Notice::Still | Notice::Again | Notice::HandOver => 0,
    };
    message_at(minutes, telling)
}

/// Everything that a batch becomes but the one text message, at full detail.
fn everything(voice: Voice<'_>, batch: &[Message]) -> Vec<String> {
    let mail = mail(voice, batch);
    let chat = chat(voice, batch);
    vec![mail.subject, mail.text, mail.html, chat.title, chat.text]
}

/// Everything that a batch becomes at minimal detail.
fn everything_minimal(voice: Voice<'_>, batch: &[Message]) -> Vec<String> {
    let mail = minimal_mail(voice, batch);
    let chat = minimal_chat(voice, batch);
    vec![
        mail.subject,
        mail.text,
        mail.html,
        chat.title,
        chat.text,
        brief(voice, batch),
    ]
}
