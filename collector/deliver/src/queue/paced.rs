//! What a person is told next: everything that waits, in one transmission, with time to read it before the next one.
//!
//! - **Pacing.** The first transmission after a quiet time goes at once. After an accepted one the next waits
//!   [`SPACING_MS`], or [`PAGE_SPACING_MS`] while something waits that somebody is to be woken for ([`is_page`]). An
//!   alert of which the beginning and the end wait untried wakes nobody any more. One transmission is under way at a
//!   time.
//! - **Folding.** All that waits goes together, in its order; how it reads is the target's business.
//! - **A try in vain** (busy, no answer) is repeated by [`RETRY`] with whatever has come since. The spacing does not hold
//!   it back: nothing was received.
//! - **A poison message** must not keep the others from arriving. A refused transmission is tried again in *parts*: the
//!   first half of its alerts, of that the first half, until a part is accepted or is one alert. That one is then
//!   *apart*: it is tried by itself every few minutes, and later messages about it pass it. Each refusal makes the part
//!   smaller or the line shorter, so this ends. What is only ever answered with "busy" (some gateways say so to a
//!   message that they choke on) is treated alike, but slower, because most often it is an outage and then all should go
//!   together when it ends: every [`PART_EVERY`]th try is a part. A single alert counts as apart then if others were
//!   accepted since its first try, and it failed [`FAILING_TRIES`] times since.
//! - What comes while others are sorted out so is *fresh*: it does not wait for them, and has its own first try at once.
//!   The fresh, the line and what is apart take turns, so that none of them starves.
//! - What is apart and is accepted after all says that the receiver reads again what it did not: nothing is apart then.
//!
//! Parts are made of alerts, not of messages, and apart is the alert as far as it waited: the order of one alert's
//! messages changes only where something is apart.

use std::collections::{HashMap, HashSet};

use vigie_core::{
    digest::Digest,
    status::{Criticality, Status},
    time::Elapsed,
};
use vigie_decide::alert::{Body, Message, Notice};

use super::{
    Answer, FAILING_TRIES, Kind, Line, Place, RETRY, RETRY_REFUSED, Transmission, Waiting, asked_ms,
};

/// From an accepted transmission to the next: one a minute is what a person can read and sort out.
pub const SPACING_MS: u64 = 60_000;

/// The same while a page waits. Whoever is woken wants to know within half a minute that something else is broken too, and
/// this leaves 5 s of it for the transmission itself.
pub const PAGE_SPACING_MS: u64 = 25_000;

/// After so many failures in a row (not refusals) one try is a part instead of the whole. Rarely enough that the end of
/// an outage most often finds the whole, whose rest would else wait for the spacing.
pub const PART_EVERY: u32 = 4;

/// What the order of messages is kept within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// An alert, by its number.
    Alert(u64),
    /// One digest, by its key.
    Digest(Digest),
}

impl Subject {
    pub(super) fn of(message: &Message) -> Self {
        match &message.body {
            Body::Alert(telling) => Self::Alert(telling.number),
            Body::Digest(_) => Self::Digest(message.key),
        }
    }
}

/// Whether somebody is to be woken by it: a critical service is down or not measured, and it has not ended.
#[must_use]
pub fn is_page(message: &Message) -> bool {
    message.telling().is_some_and(|telling| {
        let is_on = match telling.notice {
            Notice::Open | Notice::Worse | Notice::Still | Notice::Again | Notice::HandOver => true,
            Notice::Close => false,
        };
        let is_loud = match telling.status {
            Status::Critical | Status::Unknown => true,
            Status::Ok | Status::Warning => false,
        };
        is_on && is_loud && telling.criticality == Criticality::Critical
    })
}

fn is_end(message: &Message) -> bool {
    message
        .telling()
        .is_some_and(|telling| telling.notice == Notice::Close)
}

/// What of one subject waits and is not apart.
#[derive(Debug, Clone, Copy)]
struct Subjects {
    first: Place,
    is_urgent: bool,
    was_tried: bool,
    probed: u32,
}

/// Who takes turns, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Fresh,
    Line,
    Apart,
}

impl Turn {
    /// This one's successors, and then itself.
    const fn after(self) -> [Self; 3] {
        match self {
            Self::Fresh => [Self::Line, Self::Apart, Self::Fresh],
            Self::Line => [Self::Apart, Self::Fresh, Self::Line],
            Self::Apart => [Self::Fresh, Self::Line, Self::Apart],
        }
    }
}

#[derive(Debug)]
pub(super) struct Paced {
    accepted_at: Option<Elapsed>,
    /// Busy or no answer, since the last other answer.
    failures_in_row: u32,
    /// Anything but accepted, since the last acceptance; tries of what is apart do not count.
    vain_in_row: u32,
    /// No try at all before this: the receiver is given a pause.
    resume: Elapsed,
    /// No try of what was refused before this, unless it is apart.
    line_due: Elapsed,
    /// No try of what is fresh before this, while the line is not due.
    fresh_due: Elapsed,
    /// No try of what is apart before this.
    apart_due: Elapsed,
    /// The last try of the line was refused: the next is a part.
    is_sorting: bool,
    /// How many alerts a part has at most.
    share: usize,
    /// What was tried last: the others come first now.
    last: Turn,
    /// What is not apart.
    line: HashMap<Subject, Subjects>,
    /// How many of these were never tried.
    fresh: usize,
    /// How many of these are urgent.
    urgent: usize,
    /// How many messages are apart.
    apart: usize,
    is_apart_urgent: bool,
}

impl Default for Paced {
    fn default() -> Self {
        Self {
            accepted_at: None,
            failures_in_row: 0,
            vain_in_row: 0,
            resume: Elapsed(0),
            line_due: Elapsed(0),
            fresh_due: Elapsed(0),
            apart_due: Elapsed(0),
            is_sorting: false,
            share: usize::MAX,
            last: Turn::Apart,
            line: HashMap::new(),
            fresh: 0,
            urgent: 0,
            apart: 0,
            is_apart_urgent: false,
        }
    }
}

impl Paced {
    /// A message has come. Those of one alert come in their order.
    pub(super) fn held(&mut self, place: Place, waiting: &Waiting) {
        let message = &waiting.message;
        if waiting.is_apart {
            self.apart += 1;
            self.is_apart_urgent |= is_page(message);
            return;
        }
        let subject = self.line.entry(Subject::of(message)).or_insert_with(|| {
            self.fresh += 1;
            Subjects {
                first: place,
                is_urgent: false,
                was_tried: false,
                probed: 0,
            }
        });
        subject.first = subject.first.min(place);
        subject.probed = subject.probed.max(waiting.probed);
        if !subject.was_tried && (waiting.first_try.is_some() || waiting.is_passed) {
            subject.was_tried = true;
            self.fresh -= 1;
        }
        let was_urgent = subject.is_urgent;
        if is_page(message) {
            subject.is_urgent = true;
        } else if is_end(message) && !subject.was_tried {
            subject.is_urgent = false;
        }
        self.urgent += usize::from(subject.is_urgent);
        self.urgent -= usize::from(was_urgent);
    }

    /// Looks at everything again, because more changed than that a message came.
    pub(super) fn recount(&mut self, line: &Line) {
        self.line.clear();
        self.fresh = 0;
        self.urgent = 0;
        self.apart = 0;
        self.is_apart_urgent = false;
        for (place, waiting) in line {
            self.held(*place, waiting);
        }
    }

    /// When the spacing ends.
    fn spaced_at(&self, is_urgent: bool) -> Elapsed {
        let spacing_ms = if is_urgent {
            PAGE_SPACING_MS
        } else {
            SPACING_MS
        };
        self.accepted_at
            .map_or(Elapsed(0), |accepted| accepted.plus_ms(spacing_ms))
            .max(self.resume)
    }

    fn line_at(&self) -> Option<Elapsed> {
        let at = self.spaced_at(self.urgent > 0).max(self.line_due);
        (!self.line.is_empty()).then_some(at)
    }

    fn fresh_at(&self) -> Option<Elapsed> {
        let at = self.spaced_at(self.urgent > 0).max(self.fresh_due);
        (self.fresh > 0).then_some(at)
    }

    fn apart_at(&self) -> Option<Elapsed> {
        let is_urgent = self.urgent > 0 || self.is_apart_urgent;
        let at = self.spaced_at(is_urgent).max(self.apart_due);
        (self.apart > 0).then_some(at)
    }

    /// When there is something to send, if nothing is under way.
    pub(super) fn wake_at(&self) -> Option<Elapsed> {
        [self.line_at(), self.fresh_at(), self.apart_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What to send now; nothing else is under way.
    pub(super) fn next(&mut self, line: &Line, now: Elapsed) -> Option<(Vec<Place>, Kind)> {
        let is_due = |at: Option<Elapsed>| at.is_some_and(|at| at <= now);
        let is_line_due = is_due(self.line_at());
        let turn = self.last.after().into_iter().find(|turn| match turn {
            // The whole line has the fresh in it.
            Turn::Fresh => is_due(self.fresh_at()) && (self.is_sorting || !is_line_due),
            Turn::Line => is_line_due,
            Turn::Apart => is_due(self.apart_at()),
        })?;
        self.last = turn;
        let is_part = self.is_sorting
            || (self.failures_in_row > 0 && self.failures_in_row.is_multiple_of(PART_EVERY));
        let (kind, chosen) = match turn {
            Turn::Apart => return Some((next_apart(line), Kind::Apart)),
            Turn::Fresh => (Kind::Fresh, Some(self.untried())),
            Turn::Line if is_part && self.line.len() > 1 => (Kind::Part, Some(self.part())),
            Turn::Line => (Kind::Whole, None),
        };
        let is_chosen = |waiting: &Waiting| {
            let subject = Subject::of(&waiting.message);
            let has_subject = |chosen: &HashSet<Subject>| chosen.contains(&subject);
            !waiting.is_apart && chosen.as_ref().is_none_or(has_subject)
        };
        let places = line
            .iter()
            .filter(|(_, waiting)| is_chosen(waiting))
            .map(|(place, _)| *place)
            .collect();
        Some((places, kind))
    }

    fn untried(&self) -> HashSet<Subject> {
        self.line
            .iter()
            .filter(|(_, one)| !one.was_tried)
            .map(|(subject, _)| *subject)
            .collect()
    }

    /// The alerts of a part: never all; those first that were not yet tried by themselves, pages before the rest.
    fn part(&self) -> HashSet<Subject> {
        let len = self.share.min(self.line.len() / 2).max(1);
        let mut all: Vec<(&Subject, &Subjects)> = self.line.iter().collect();
        all.sort_unstable_by_key(|(_, one)| (one.probed, !one.is_urgent, one.first));
        all.into_iter()
            .take(len)
            .map(|(subject, _)| *subject)
            .collect()
    }

    /// A transmission was accepted, and is not in the line any more.
    pub(super) fn accepted(&mut self, line: &mut Line, kind: Kind, now: Elapsed) {
        self.accepted_at = Some(now);
        self.failures_in_row = 0;
        match kind {
            // That the fresh is read says nothing of what was refused.
            Kind::Fresh => {}
            Kind::Whole | Kind::Part | Kind::Apart => self.restart_line(),
        }
        for waiting in line.values_mut() {
            // Whatever it would not read before, it reads now.
            waiting.is_apart &= kind != Kind::Apart;
            if !waiting.is_apart {
                // What it failed until now was not its own fault, and now it waits for the spacing.
                waiting.tries = 0;
                waiting.first_try = None;
                waiting.probed = 0;
            }
        }
    }

    /// The line goes as a whole again, at once as far as its own tries are concerned.
    const fn restart_line(&mut self) {
        self.vain_in_row = 0;
        self.line_due = Elapsed(0);
        self.fresh_due = Elapsed(0);
        self.is_sorting = false;
        self.share = usize::MAX;
    }

    /// A transmission was not accepted; its messages are in the line.
    pub(super) fn failed(
        &mut self,
        line: &mut Line,
        transmission: &Transmission,
        answer: Answer,
        jitter: u64,
        now: Elapsed,
    ) {
        let asked = asked_ms(answer);
        let is_refused = matches!(answer, Answer::Refused { .. });
        let members = || {
            let places = transmission.places.iter();
            places.filter_map(|place| line.get(place))
        };
        let subjects = members()
            .map(|one| Subject::of(&one.message))
            .collect::<HashSet<_>>()
            .len();
        // What the receiver asks for is asked for everything that it gets.
        self.resume = self.resume.max(now.plus_ms(asked.unwrap_or(0)));
        // Unless the settings have changed since it was sent.
        if transmission.kind == Kind::Apart && members().all(|one| one.is_apart) {
            let tries = members().map(|one| one.tries).max().unwrap_or(1);
            self.apart_due = now.plus_ms(RETRY_REFUSED.delay_ms(tries, jitter, None));
            return;
        }
        let is_its_own_fault = subjects == 1
            && (is_refused
                || members().all(|one| one.is_passed) && members().any(has_failed_often))
            && !has_earlier(line, transmission);
        self.vain_in_row = self.vain_in_row.saturating_add(1);
        let vain_in_row = self.vain_in_row;
        if is_refused || is_its_own_fault {
            // It is there and reads what it is sent.
            self.failures_in_row = 0;
            self.fresh_due = now.plus_ms(RETRY.first_ms);
            if transmission.kind != Kind::Fresh || self.line_due <= now {
                self.line_due = now.plus_ms(RETRY.delay_ms(vain_in_row, jitter, None));
            }
        } else {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            let delay_ms = RETRY.delay_ms(self.failures_in_row, jitter, asked);
            self.resume = self.resume.max(now.plus_ms(delay_ms));
        }
        if is_its_own_fault {
            for place in &transmission.places {
                if let Some(waiting) = line.get_mut(place) {
                    waiting.is_apart = true;
                }
            }
            if self.apart == 0 {
                self.apart_due = now.plus_ms(RETRY_REFUSED.delay_ms(1, jitter, None));
            }
            if transmission.kind != Kind::Fresh {
                // The rest is perhaps good as a whole.
                self.is_sorting = false;
                self.share = usize::MAX;
            }
        } else if is_refused {
            self.is_sorting = true;
            let half = (subjects / 2).max(1);
            self.share = match transmission.kind {
                Kind::Fresh => self.share.min(half),
                Kind::Whole | Kind::Part | Kind::Apart => half,
            };
        } else if transmission.kind == Kind::Part {
            self.share = (subjects / 2).max(1);
            if subjects == 1 {
                for place in &transmission.places {
                    if let Some(waiting) = line.get_mut(place) {
                        waiting.probed = waiting.probed.saturating_add(1);
                    }
                }
            }
        }
    }

    /// The settings have changed: perhaps everything is read now, and as a whole. The spacing is about the person, and
    /// stays.
    pub(super) fn retry_now(&mut self, line: &mut Line) {
        self.failures_in_row = 0;
        self.resume = Elapsed(0);
        self.restart_line();
        for waiting in line.values_mut() {
            if waiting.is_apart {
                waiting.is_apart = false;
                waiting.tries = 0;
            }
            waiting.probed = 0;
        }
    }
}

/// Whether something about the first alert of a transmission waits that was before it and is not apart any more, since
/// the settings changed meanwhile. Apart, the later one would go first.
fn has_earlier(line: &Line, transmission: &Transmission) -> bool {
    let first = transmission.places.first();
    let Some((first, waiting)) = first.and_then(|place| line.get_key_value(place)) else {
        return false;
    };
    let subject = Subject::of(&waiting.message);
    line.range(..first)
        .any(|(_, before)| !before.is_apart && Subject::of(&before.message) == subject)
}

const fn has_failed_often(waiting: &Waiting) -> bool {
    waiting.tries >= FAILING_TRIES
}

/// All that is apart of the alert whose turn it is: the one tried least, the oldest of these.
fn next_apart(line: &Line) -> Vec<Place> {
    let apart = || line.iter().filter(|(_, waiting)| waiting.is_apart);
    let Some((_, first)) = apart().min_by_key(|(place, waiting)| (waiting.tries, **place)) else {
        return Vec::new();
    };
    let subject = Subject::of(&first.message);
    apart()
        .filter(|(_, waiting)| Subject::of(&waiting.message) == subject)
        .map(|(place, _)| *place)
        .collect()
}

#[cfg(test)]
mod tests;
