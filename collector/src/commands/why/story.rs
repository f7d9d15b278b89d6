//! One alert's story: the events and decisions that concern it, picked from the log as it goes by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::{Map, Value, json};
use vigie_core::{
    id::{CalendarName, ReceiverName},
    reason::message::{self, Language},
    time::Wall,
};
use vigie_decide::{
    alert::AlertKey,
    fleet::State,
    routing::{Ground, Standing},
    rules::When,
};

use super::words;
use crate::replay::{Turn, Written};

/// What happened to an alert.
#[derive(Debug, Clone)]
pub(super) struct Story {
    /// Its number.
    pub(super) number: u64,
    /// Which; `None`: no alert has the number.
    pub(super) alert: Option<AlertKey>,
    /// In the log's order.
    pub(super) parts: Vec<Part>,
    /// The greatest number of any alert.
    pub(super) last_number: u64,
}

/// One line of the log that concerns it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    n: u64,
    at: Wall,
    /// As a reader says it.
    local: String,
    /// The event or decision, as it is written.
    event: Value,
    says: String,
    details: Vec<String>,
    /// The route that decided, by position.
    route: Option<u64>,
    /// The calendars that it depended on, as they stood then.
    calendars: Vec<Standing>,
}

/// Listens to the log for one alert.
#[derive(Debug)]
pub(super) struct Teller {
    language: Language,
    story: Story,
    /// Messages about it: for whom, where they went and when.
    messages: BTreeMap<String, Sent>,
    /// Receivers for whose digest it waits.
    held_for: BTreeSet<String>,
    /// Silences and maintenance that commands began, in words, by number.
    mutes: BTreeMap<u64, String>,
    muted_by: Option<Value>,
    is_open: bool,
}

#[derive(Debug, Clone)]
struct Sent {
    what: &'static str,
    receiver: String,
    to: String,
    at: Wall,
    is_waiting: bool,
}

/// What a turn was decided on.
struct Scene<'a> {
    turn: &'a Turn,
    ground: &'a Ground,
    state: &'a State,
}

impl Teller {
    pub(super) fn new(number: u64, language: Language) -> Self {
        Self {
            language,
            story: Story {
                number,
                alert: None,
                parts: Vec::new(),
                last_number: 0,
            },
            messages: BTreeMap::new(),
            held_for: BTreeSet::new(),
            mutes: BTreeMap::new(),
            muted_by: None,
            is_open: false,
        }
    }

    /// Takes in the next turn, and what it was decided on.
    pub(super) fn hear(&mut self, turn: &Turn, ground: &Ground, state: &State) {
        let scene = Scene {
            turn,
            ground,
            state,
        };
        self.note_mutes(&scene);
        let mut decided: Vec<Part> = Vec::new();
        for line in &turn.decisions {
            if let Some(part) = self.decision(line, &scene) {
                let repeats = decided.last().is_some_and(|last| {
                    last.route == part.route && last.calendars == part.calendars
                });
                decided.push(if repeats { part.brief() } else { part });
            }
        }
        let cause = if decided.is_empty() {
            self.concerning(&turn.event, &scene)
        } else {
            Some(self.event(&turn.event, &scene))
        };
        self.story.parts.extend(cause);
        self.story.parts.extend(decided);
    }

    pub(super) fn finish(self) -> Story {
        self.story
    }

    fn part(line: &Written, scene: &Scene<'_>, says: String) -> Part {
        Part {
            n: line.n,
            at: line.now.wall,
            local: words::time(line.now.wall, scene.ground),
            event: line.event.clone(),
            says,
            details: Vec::new(),
            route: None,
            calendars: Vec::new(),
        }
    }

    /// An event that a decision about the alert followed from.
    fn event(&self, line: &Written, scene: &Scene<'_>) -> Part {
        let said = self
            .message_event(line, scene)
            .unwrap_or_else(|| words::event(line, self.story.alert.as_ref(), scene.ground));
        let mut part = Self::part(line, scene, said);
        if line.kind() == "entry" {
            part.details = words::evidence(&line.event, self.language);
        }
        part
    }

    /// An event that nothing was decided on, if it concerns the alert all the same.
    fn concerning(&mut self, line: &Written, scene: &Scene<'_>) -> Option<Part> {
        if self.is_open && self.is_about_it(line) {
            // Nothing was decided on it, and it is evidence all the same: often the very line that a contact announced.
            return Some(self.event(line, scene));
        }
        let key = line.event["key"].as_str().unwrap_or_default();
        let said = self.message_event(line, scene)?;
        if matches!(line.kind(), "delivered" | "undeliverable")
            && let Some(sent) = self.messages.get_mut(key)
        {
            sent.is_waiting = false;
        }
        Some(Self::part(line, scene, said))
    }

    /// Whether it is a line of the alert's node about the very object.
    fn is_about_it(&self, line: &Written) -> bool {
        let said = &line.event["line"];
        self.story.alert.as_ref().is_some_and(|alert| {
            line.kind() == "entry"
                && line.event["node"] == *alert.node()
                && said["check"] == alert.check()
                && said["object"].as_str().unwrap_or_default() == alert.object()
        })
    }

    /// What became of a message about the alert.
    fn message_event(&self, line: &Written, scene: &Scene<'_>) -> Option<String> {
        let event = &line.event;
        if matches!(line.kind(), "delivery.failing" | "delivery.works") {
            let to = event["receiver"].as_str()?;
            let waits = |sent: &&Sent| sent.is_waiting && sent.to == to;
            self.messages.values().find(waits)?;
            return Some(words::event(line, None, scene.ground));
        }
        let key = event["key"].as_str()?;
        let sent = self.messages.get(key)?;
        let Sent {
            what, receiver, to, ..
        } = sent;
        let took = words::duration(line.now.wall.0 - sent.at.0);
        match line.kind() {
            "delivered" => {
                let others = event["carried_by"].as_str().is_some_and(|lead| lead != key);
                let with = if others { ", together with others" } else { "" };
                Some(format!(
                    "accepted: {what} to {}, {took} after it was decided{with}",
                    words::destination(receiver, to)
                ))
            }
            "refused" => Some(format!(
                "refused for good: {what} to {}, with HTTP or SMTP status {}",
                words::destination(receiver, to),
                event["http_status"]
            )),
            "undeliverable" => Some(format!(
                "given up: {what} to {}, which is not in the settings any more",
                words::destination(receiver, to)
            )),
            _ => None,
        }
    }

    fn note_mutes(&mut self, scene: &Scene<'_>) {
        let event = &scene.turn.event;
        if !matches!(event.kind(), "silence.started" | "maintenance.started") {
            return;
        }
        let began = scene
            .turn
            .decisions
            .iter()
            .find(|line| line.event["decided"] == "mute.began");
        if let Some(number) = began.and_then(|line| line.event["mute"].as_u64()) {
            let said = words::mute(number, event, scene.ground);
            self.mutes.insert(number, said);
        }
    }

    fn decision(&mut self, line: &Written, scene: &Scene<'_>) -> Option<Part> {
        let event = &line.event;
        let decided = event["decided"].as_str()?;
        let about = event["number"].as_u64();
        self.story.last_number = self.story.last_number.max(about.unwrap_or(0));
        let number = self.story.number;
        match decided {
            "digest" => return self.digest(line, scene),
            "mute.over" => {
                let was = self.muted_by.as_ref().and_then(|by| by["mute"].as_u64())?;
                return (event["mute"].as_u64() == Some(was)).then(|| {
                    let by = self.mute_words(&json!({"mute": was}), scene.ground);
                    self.muted_by = None;
                    Self::part(line, scene, format!("over: {by}"))
                });
            }
            "folded" if event["into"].as_u64() == Some(number) => {
                let other = about.unwrap_or(0);
                let said = format!("explains #{other}, which nobody is told of besides");
                return Some(Self::part(line, scene, said));
            }
            _ => {}
        }
        if about != Some(number) {
            return None;
        }
        let text = |member: &str| event[member].as_str().unwrap_or("?").to_owned();
        let said = match decided {
            "alert.opened" => {
                self.is_open = true;
                self.story.alert = serde_json::from_value(event["alert"].clone()).ok();
                let reason = self.reason(event, scene);
                format!("#{number} begins: {}: {reason}", text("status"))
            }
            "alert.changed" => {
                let reason = self.reason(event, scene);
                format!(
                    "#{number} goes from {} to {}: {reason}",
                    text("from"),
                    text("to")
                )
            }
            "alert.closed" => {
                self.is_open = false;
                format!("#{number} ends: {}", words::ended(&text("ended")))
            }
            "told" => return Some(self.told(line, scene)),
            "held" => return Some(self.held(line, scene)),
            "muted" => {
                self.muted_by = Some(event["by"].clone());
                let by = self.mute_words(&event["by"], scene.ground);
                let would = |verb: &str, member: &str| {
                    let names = words::names(&event[member]);
                    (!names.is_empty()).then(|| format!("{verb} {names}"))
                };
                let would: Vec<String> = [
                    would("would have told", "would_tell"),
                    would("would have been held for", "would_hold"),
                ]
                .into_iter()
                .flatten()
                .collect();
                let mut part = Self::part(line, scene, format!("kept quiet by {by}"));
                part.details = would;
                return Some(part);
            }
            "folded" => format!(
                "#{} explains it, and everybody concerned knows of that: nobody is told besides",
                event["into"]
            ),
            "alert.acknowledged" => format!("acknowledged by {}", words::actor(&event["by"])),
            "alert.unacknowledged" => words::unacknowledged(&text("why")).to_owned(),
            "skipped" => words::skipped(event),
            "kept" => format!("does not end: {}", words::kept(&text("why"))),
            _ => format!("{decided}: {}", words::members(event)),
        };
        Some(Self::part(line, scene, said))
    }

    fn told(&mut self, line: &Written, scene: &Scene<'_>) -> Part {
        let event = &line.event;
        let text = |member: &str| event[member].as_str().unwrap_or("?").to_owned();
        let receiver = text("receiver");
        // Until there were steps, a message went to its receiver.
        let to = event["to"].as_str().unwrap_or(&receiver).to_owned();
        let notice = words::notice(&text("notice"));
        // The end goes wherever anything went, whatever the step.
        let step = event["step"].as_u64().filter(|_| text("notice") != "close");
        let step = words::step(step, &receiver, &scene.ground.rules);
        let told = format!(
            "told ({notice}): {}{step}",
            words::destination(&receiver, &to)
        );
        let sent = Sent {
            what: notice,
            receiver,
            to,
            at: line.now.wall,
            is_waiting: true,
        };
        self.messages.insert(text("key"), sent);
        let mut part = Self::part(line, scene, told);
        part.stand_on(event["route"].as_u64(), None, scene);
        part
    }

    fn held(&mut self, line: &Written, scene: &Scene<'_>) -> Part {
        let event = &line.event;
        let receiver = event["receiver"].as_str().unwrap_or("?");
        self.held_for.insert(receiver.to_owned());
        let until = event["until"].as_str().and_then(|at| Wall::parse(at).ok());
        let until = until.map_or_else(
            || "; no opening is known".to_owned(),
            |at| format!(" until {}", words::time(at, scene.ground)),
        );
        let mut part = Self::part(line, scene, format!("held for {receiver}'s digest{until}"));
        part.stand_on(event["route"].as_u64(), Some(receiver), scene);
        part
    }

    fn digest(&mut self, line: &Written, scene: &Scene<'_>) -> Option<Part> {
        let event = &line.event;
        let receiver = event["receiver"].as_str()?;
        if !self.held_for.remove(receiver) {
            return None;
        }
        let sent = Sent {
            what: "digest",
            receiver: receiver.to_owned(),
            to: receiver.to_owned(),
            at: line.now.wall,
            is_waiting: true,
        };
        let key = event["key"].as_str().unwrap_or_default();
        self.messages.insert(key.to_owned(), sent);
        let due = event["due"].as_str().and_then(|at| Wall::parse(at).ok());
        let due = due.map_or_else(String::new, |at| {
            format!(", due {}", words::time(at, scene.ground))
        });
        let late = if event["is_late"] == true {
            ", late"
        } else {
            ""
        };
        Some(Self::part(
            line,
            scene,
            format!("goes out in {receiver}'s digest{due}{late}"),
        ))
    }

    fn mute_words(&self, by: &Value, ground: &Ground) -> String {
        let begun = by["mute"].as_u64().map(|number| {
            let known = self.mutes.get(&number).cloned();
            known.unwrap_or_else(|| format!("silence or maintenance {number}"))
        });
        begun.unwrap_or_else(|| words::window(by, &ground.rules))
    }

    /// A decision's reason in words, with the facts of the line that caused it, or of the alert as it is known.
    fn reason(&self, decided: &Value, scene: &Scene<'_>) -> String {
        let code = decided["reason"].as_str().unwrap_or_default();
        let line = &scene.turn.event.event["line"];
        let of_line = line["facts"].as_object().filter(|_| line["reason"] == code);
        let alert = self.story.alert.as_ref();
        let of_alert = alert.and_then(|alert| Some(&scene.state.alerts.get(alert)?.facts));
        let none = Map::new();
        let facts = of_line.or(of_alert).unwrap_or(&none);
        message::render(self.language, code, facts)
    }
}

impl Part {
    /// Notes which route decided, and how the calendars stood that it depended on: those that it and the routes before
    /// it name, and the receiver's own where it waits for that.
    fn stand_on(&mut self, route: Option<u64>, waits_for: Option<&str>, scene: &Scene<'_>) {
        let Some(position) = route else {
            return;
        };
        self.route = Some(position);
        let rules = &scene.ground.rules;
        let index = usize::try_from(position).unwrap_or(usize::MAX);
        let Some(decided) = rules.routes.get(index) else {
            return;
        };
        self.details.push(words::route(position, decided));
        let mut names: Vec<&CalendarName> = Vec::new();
        for route in &rules.routes[..=index] {
            if let Some(When::Inside(name) | When::Outside(name)) = &route.when {
                names.push(name);
            }
        }
        let receiver = waits_for.and_then(|name| name.parse::<ReceiverName>().ok());
        let receivers = decided
            .hold
            .then_some(&decided.notify)
            .into_iter()
            .flatten();
        for receiver in receivers.chain(&receiver) {
            let receiver = rules.receivers.get(receiver);
            names.extend(receiver.and_then(|receiver| receiver.calendar.as_ref()));
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some(standing) = scene.ground.standing(name, self.at) else {
                continue;
            };
            self.details.push(words::standing(&standing, scene.ground));
            self.calendars.push(standing);
        }
        if scene.state.meta.clock_in_doubt && !self.calendars.is_empty() {
            self.details.push(words::CLOCK_IN_DOUBT.to_owned());
        }
    }

    /// The same without the calendars, which the part before it tells already.
    fn brief(mut self) -> Self {
        if self.route.is_some() {
            self.details.truncate(1);
        }
        self
    }

    fn to_json(&self) -> Value {
        let calendars: Vec<Value> = self
            .calendars
            .iter()
            .map(|standing| {
                json!({
                    "name": standing.calendar,
                    "open": standing.is_open,
                    "why": standing.why.map(words::why),
                    "next_edge": standing.next_edge,
                })
            })
            .collect();
        json!({
            "n": self.n,
            "at": self.at,
            "event": self.event,
            "says": self.says,
            "details": self.details,
            "route": self.route,
            "calendars": calendars,
        })
    }
}

impl Story {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "number": self.number,
            "alert": self.alert,
            "lines": self.parts.iter().map(Part::to_json).collect::<Vec<_>>(),
        })
    }

    pub(super) fn write(&self, out: &mut String) {
        if let Some(alert) = &self.alert {
            let title = words::alert(alert);
            let _infallible = writeln!(out, "Alert #{}: {title}\n", self.number);
        }
        let time_len = self.parts.iter().map(|part| part.local.chars().count());
        let time_len = time_len.max().unwrap_or(0);
        for part in &self.parts {
            let _infallible = writeln!(
                out,
                "{:time_len$}  line {:<7} {}",
                part.local,
                part.n,
                words::printable(&part.says)
            );
            for detail in &part.details {
                let _infallible = writeln!(out, "{:time_len$}    {}", "", words::printable(detail));
            }
        }
    }
}
