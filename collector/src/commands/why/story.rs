//! One alert's story: the events and decisions that concern it, picked from the log as it goes by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;
use serde_json::{Map, Value};
use vigie_core::{
    digest::Digest,
    id::{CalendarName, ReceiverName},
    reason::message::{self, Language},
    time::Wall,
};
use vigie_decide::{
    alert::{AlertKey, Notice},
    destination::Destination,
    fleet::State,
    mute::MutedBy,
    routing::{CalendarStatus, Policy},
    rules::When,
    view::{
        Version,
        story::{Decided, Decision, Happened, Said, Told},
    },
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
    calendars: Vec<CalendarStatus>,
}

/// A story as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct StoryForm<'a> {
    v: Version,
    number: u64,
    alert: Option<&'a AlertKey>,
    lines: Vec<LineForm<'a>>,
}

#[derive(Debug, Serialize)]
struct LineForm<'a> {
    n: u64,
    at: Wall,
    event: &'a Value,
    says: &'a str,
    details: &'a [String],
    route: Option<u64>,
    calendars: Vec<CalendarForm<'a>>,
}

#[derive(Debug, Serialize)]
struct CalendarForm<'a> {
    name: &'a CalendarName,
    open: bool,
    why: Option<String>,
    next_edge: Option<Wall>,
}

/// Listens to the log for one alert.
#[derive(Debug)]
pub(super) struct Teller {
    language: Language,
    story: Story,
    /// Messages about it: for whom, where they went and when.
    messages: BTreeMap<Digest, Sent>,
    /// Receivers for whose digest it waits.
    held_for: BTreeSet<ReceiverName>,
    /// Silences and maintenance that commands began, in words, by number.
    mutes: BTreeMap<u64, String>,
    muted_by: Option<MutedBy>,
    is_open: bool,
}

#[derive(Debug, Clone)]
struct Sent {
    what: &'static str,
    receiver: ReceiverName,
    to: Destination,
    at: Wall,
    is_waiting: bool,
}

/// What a turn was decided on.
struct Scene<'a> {
    turn: &'a Turn,
    happened: Happened,
    policy: &'a Policy,
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
    pub(super) fn hear(&mut self, turn: &Turn, policy: &Policy, state: &State) {
        let happened = match Said::read(&turn.event.event) {
            Said::Event(happened) => happened,
            // A turn begins with an event.
            Said::Decision(_) => Happened::Other,
        };
        let scene = Scene {
            turn,
            happened,
            policy,
            state,
        };
        let mut decided: Vec<Part> = Vec::new();
        for line in &turn.decisions {
            let Said::Decision(decision) = Said::read(&line.event) else {
                continue;
            };
            if let Some(part) = self.decision(line, &decision, &scene) {
                let repeats = decided.last().is_some_and(|last| {
                    last.route == part.route && last.calendars == part.calendars
                });
                decided.push(if repeats { part.brief() } else { part });
            }
        }
        let cause = if decided.is_empty() {
            self.concerning(&scene)
        } else {
            Some(self.event(&scene))
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
            local: words::time(line.now.wall, scene.policy),
            event: line.event.clone(),
            says,
            details: Vec::new(),
            route: None,
            calendars: Vec::new(),
        }
    }

    /// The event, from which a decision about the alert followed.
    fn event(&self, scene: &Scene<'_>) -> Part {
        let line = &scene.turn.event;
        let said = self.message_event(scene).unwrap_or_else(|| {
            let alert = self.story.alert.as_ref();
            words::event(line, &scene.happened, alert, scene.policy)
        });
        let mut part = Self::part(line, scene, said);
        if let Happened::Entry(entry) = &scene.happened {
            part.details = words::evidence(entry, self.language);
        }
        part
    }

    /// The event, if nothing was decided on it and it concerns the alert all the same.
    fn concerning(&mut self, scene: &Scene<'_>) -> Option<Part> {
        if self.is_open && self.is_about_it(&scene.happened) {
            // Nothing was decided on it, and it is evidence all the same: often the very line that a contact announced.
            return Some(self.event(scene));
        }
        let said = self.message_event(scene)?;
        if let Happened::Delivered { key, .. } | Happened::Undeliverable { key } = &scene.happened
            && let Some(sent) = self.messages.get_mut(key)
        {
            sent.is_waiting = false;
        }
        Some(Self::part(&scene.turn.event, scene, said))
    }

    /// Whether it is a line of the alert's node about the very object.
    fn is_about_it(&self, happened: &Happened) -> bool {
        let (Happened::Entry(entry), Some(alert)) = (happened, &self.story.alert) else {
            return false;
        };
        if entry.node != alert.node() {
            return false;
        }
        let said = entry.measured();
        said.check.as_deref() == Some(alert.check())
            && said.object.unwrap_or_default() == alert.object()
    }

    /// What became of a message about the alert.
    fn message_event(&self, scene: &Scene<'_>) -> Option<String> {
        let line = &scene.turn.event;
        let of = |key: &Digest| {
            let sent = self.messages.get(key)?;
            let to = words::destination(&sent.receiver, &sent.to);
            Some((sent, format!("{} to {to}", sent.what)))
        };
        match &scene.happened {
            Happened::DeliveryFailing { receiver: to, .. }
            | Happened::DeliveryWorks { receiver: to } => {
                let waits = |sent: &&Sent| sent.is_waiting && sent.to == *to;
                self.messages.values().find(waits)?;
                let happened = &scene.happened;
                Some(words::event(line, happened, None, scene.policy))
            }
            Happened::Delivered { key, carried_by } => {
                let (sent, what) = of(key)?;
                let took = words::duration(line.now.wall.0 - sent.at.0);
                let others = carried_by.is_some_and(|lead| lead != *key);
                let with = if others { ", together with others" } else { "" };
                Some(format!(
                    "accepted: {what}, {took} after it was decided{with}"
                ))
            }
            Happened::Refused { key, http_status } => {
                let (_, what) = of(key)?;
                Some(format!(
                    "refused for good: {what}, with HTTP or SMTP status {http_status}"
                ))
            }
            Happened::Undeliverable { key } => {
                let (_, what) = of(key)?;
                Some(format!(
                    "given up: {what}, which is not in the settings any more"
                ))
            }
            _ => None,
        }
    }

    fn decision(&mut self, line: &Written, decision: &Decision, scene: &Scene<'_>) -> Option<Part> {
        let about = decision.number;
        self.story.last_number = self.story.last_number.max(about.unwrap_or(0));
        let number = self.story.number;
        match &decision.what {
            Decided::MuteBegan { mute } => {
                if let Some(begun) = scene.happened.begun() {
                    let at = scene.turn.event.now.wall;
                    let said = words::mute(*mute, begun, at, scene.policy);
                    self.mutes.insert(*mute, said);
                }
                return None;
            }
            Decided::Digest {
                receiver,
                due,
                is_late,
                key,
            } => {
                let digest = (receiver, *due, *is_late, *key);
                return self.digest(line, digest, scene);
            }
            Decided::MuteOver { mute } => {
                let by = self.muted_by.take_if(|by| *by == MutedBy::Mute(*mute))?;
                let by = self.mute_words(&by, scene.policy);
                return Some(Self::part(line, scene, format!("over: {by}")));
            }
            Decided::Folded { into } if *into == number => {
                let other = about.unwrap_or(0);
                let said = format!("explains #{other}, which nobody is told of besides");
                return Some(Self::part(line, scene, said));
            }
            _ => {}
        }
        if about != Some(number) {
            return None;
        }
        let said = match &decision.what {
            Decided::Opened {
                alert,
                status,
                reason,
            } => {
                self.is_open = true;
                self.story.alert = Some(alert.clone());
                let reason = self.reason(reason, scene);
                format!("#{number} begins: {status}: {reason}")
            }
            Decided::Changed { from, to, reason } => {
                let reason = self.reason(reason, scene);
                format!("#{number} goes from {from} to {to}: {reason}")
            }
            Decided::Closed { ended } => {
                self.is_open = false;
                format!("#{number} ends: {}", words::ended(ended))
            }
            Decided::Told(told) => return Some(self.told(line, told, scene)),
            Decided::Deferred {
                receiver,
                until,
                route,
            } => return Some(self.held(line, receiver, (*until, *route), scene)),
            Decided::Muted {
                by,
                would_tell,
                would_hold,
            } => {
                let said = self.mute_words(by, scene.policy);
                self.muted_by = Some(by.clone());
                let mut part = Self::part(line, scene, format!("kept quiet by {said}"));
                let would = [
                    ("would have told", would_tell),
                    ("would have been held for", would_hold),
                ];
                let would = would.into_iter().filter(|(_, names)| !names.is_empty());
                part.details = would
                    .map(|(verb, names)| format!("{verb} {}", words::names(names)))
                    .collect();
                return Some(part);
            }
            Decided::Folded { into } => format!(
                "#{into} explains it, and everybody concerned knows of that: nobody is told besides"
            ),
            Decided::Acknowledged { by } => format!("acknowledged by {}", words::actor(by)),
            Decided::Unacknowledged { why } => words::unacknowledged(why).to_owned(),
            Decided::Skipped {
                receiver,
                step,
                person,
            } => words::skipped(receiver, *step, person.as_ref()),
            Decided::Kept { why } => format!("does not end: {}", words::kept(why)),
            Decided::Digest { .. }
            | Decided::MuteBegan { .. }
            | Decided::MuteOver { .. }
            | Decided::Other => {
                format!("{}: {}", decision.word, words::members(&line.event))
            }
        };
        Some(Self::part(line, scene, said))
    }

    fn told(&mut self, line: &Written, told: &Told, scene: &Scene<'_>) -> Part {
        let (receiver, to) = (&told.receiver, told.destination());
        let notice = words::notice(told.notice);
        // The end goes wherever anything went, whatever the step.
        let step = told.step.filter(|_| told.notice != Notice::Close);
        let step = words::step(step, receiver, &scene.policy.rules);
        let said = format!(
            "told ({notice}): {}{step}",
            words::destination(receiver, &to)
        );
        let sent = Sent {
            what: notice,
            receiver: receiver.clone(),
            to,
            at: line.now.wall,
            is_waiting: true,
        };
        self.messages.insert(told.key, sent);
        let mut part = Self::part(line, scene, said);
        part.stand_on(told.route, None, scene);
        part
    }

    fn held(
        &mut self,
        line: &Written,
        receiver: &ReceiverName,
        (until, route): (Option<Wall>, Option<u64>),
        scene: &Scene<'_>,
    ) -> Part {
        self.held_for.insert(receiver.clone());
        let until = until.map_or_else(
            || "; no opening is known".to_owned(),
            |at| format!(" until {}", words::time(at, scene.policy)),
        );
        let mut part = Self::part(line, scene, format!("held for {receiver}'s digest{until}"));
        part.stand_on(route, Some(receiver), scene);
        part
    }

    fn digest(
        &mut self,
        line: &Written,
        (receiver, due, is_late, key): (&ReceiverName, Wall, bool, Digest),
        scene: &Scene<'_>,
    ) -> Option<Part> {
        if !self.held_for.remove(receiver) {
            return None;
        }
        let sent = Sent {
            what: "digest",
            receiver: receiver.clone(),
            to: Destination::Receiver(receiver.clone()),
            at: line.now.wall,
            is_waiting: true,
        };
        self.messages.insert(key, sent);
        let due = words::time(due, scene.policy);
        let late = if is_late { ", late" } else { "" };
        Some(Self::part(
            line,
            scene,
            format!("goes out in {receiver}'s digest, due {due}{late}"),
        ))
    }

    fn mute_words(&self, by: &MutedBy, policy: &Policy) -> String {
        match by {
            MutedBy::Mute(number) => {
                let known = self.mutes.get(number).cloned();
                known.unwrap_or_else(|| format!("silence or maintenance {number}"))
            }
            MutedBy::Window(name) => words::window(name, &policy.rules),
        }
    }

    /// A decision's reason in words, with the facts of the line that caused it, or of the alert as it is known.
    fn reason(&self, code: &str, scene: &Scene<'_>) -> String {
        let of_line = match &scene.happened {
            Happened::Entry(entry) => Some(entry.measured()),
            _ => None,
        };
        let of_line = of_line.filter(|line| line.reason.as_deref() == Some(code));
        let alert = self.story.alert.as_ref();
        let of_alert = alert.and_then(|alert| Some(&scene.state.alerts.get(alert)?.facts));
        let none = Map::new();
        let of_line = of_line.as_ref().map(|line| &line.facts);
        let facts = of_line.or(of_alert).unwrap_or(&none);
        message::render(self.language, code, facts)
    }
}

impl Part {
    /// Notes which route decided, and how the calendars stood that it depended on: those that it and the routes before
    /// it name, and the receiver's own where it waits for that.
    fn stand_on(
        &mut self,
        route: Option<u64>,
        waits_for: Option<&ReceiverName>,
        scene: &Scene<'_>,
    ) {
        let Some(position) = route else {
            return;
        };
        self.route = Some(position);
        let rules = &scene.policy.rules;
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
        let receivers = decided
            .hold
            .then_some(&decided.notify)
            .into_iter()
            .flatten();
        for receiver in receivers.chain(waits_for) {
            let receiver = rules.receivers.get(receiver);
            names.extend(receiver.and_then(|receiver| receiver.calendar.as_ref()));
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some(standing) = scene.policy.standing(name, self.at) else {
                continue;
            };
            self.details.push(words::standing(&standing, scene.policy));
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

    fn form(&self) -> LineForm<'_> {
        let calendars = self.calendars.iter();
        LineForm {
            n: self.n,
            at: self.at,
            event: &self.event,
            says: &self.says,
            details: &self.details,
            route: self.route,
            calendars: calendars
                .map(|standing| CalendarForm {
                    name: &standing.calendar,
                    open: standing.is_open,
                    why: standing.why.map(words::why),
                    next_edge: standing.next_edge,
                })
                .collect(),
        }
    }
}

impl Story {
    /// As `--json` prints it.
    pub(super) fn form(&self) -> StoryForm<'_> {
        StoryForm {
            v: Version,
            number: self.number,
            alert: self.alert.as_ref(),
            lines: self.parts.iter().map(Part::form).collect(),
        }
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
