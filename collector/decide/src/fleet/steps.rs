//! The steps of a receiver: whom each reaches, when it is told again, when the next one is added.
//!
//! ```text
//!   told ──► step 0 ──(again, every `repeat`)──► … until somebody acknowledges, or it ends
//!              └─(`after`, or refused for good, or nobody reachable)──► step 1 ──► … the last one is told again for ever
//! ```
//! Steps stand still while the alert is muted, acknowledged or explained by another. While it is only a warning and no
//! route says otherwise nobody is woken again, but the clock of the steps goes on.

use super::{Decision, Transition};
use crate::{
    alert::{Alert, AlertKey, Begun, BuiltIn, Message, Notice, Notified, Progress},
    escalation::{reach, repeat_ms},
    rules::EscalationStep,
};
use vigie_core::{
    id::ReceiverName,
    reason::vigie,
    status::Status,
    time::{Deadline, Now, Wall},
};

/// How often it is looked whether the next step should wake somebody, while the alert is one for which nobody is woken.
const LOOKED_AT_MS: u64 = 60_000;

impl Notified {
    pub(super) fn of(status: Status) -> Self {
        Self {
            status,
            to: Default::default(),
            progress: Progress::default(),
        }
    }
}

impl Transition<'_> {
    fn steps_of(&self, receiver: &ReceiverName) -> Vec<EscalationStep> {
        let receiver = self.rules.receivers.get(receiver);
        receiver
            .map(|receiver| receiver.steps.clone())
            .unwrap_or_default()
    }

    fn edit_progress(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        edit: impl FnOnce(&mut Progress),
    ) {
        self.edit_alert(key, |alert| {
            let status = alert.status;
            let told = alert
                .told
                .entry(receiver.clone())
                .or_insert_with(|| Notified::of(status));
            edit(&mut told.progress);
        });
    }

    /// Begins with the first step, whatever had begun before.
    pub(super) fn begin_steps(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        notice: Notice,
        route: Option<u64>,
    ) {
        self.edit_progress(key, receiver, |progress| *progress = Progress::default());
        self.edit_alert(key, |alert| {
            let status = alert.status;
            if let Some(told) = alert.told.get_mut(receiver)
                && status.rank() > told.status.rank()
            {
                told.status = status;
            }
        });
        if !self.begin_next_step(key, receiver, notice, route) {
            self.nobody_reachable(key, receiver);
        }
    }

    /// Begins steps until one reaches somebody. False when none of those that are left does.
    fn begin_next_step(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        notice: Notice,
        route: Option<u64>,
    ) -> bool {
        let steps = self.steps_of(receiver);
        loop {
            let begun = self.alert(key).and_then(|alert| alert.told.get(receiver));
            let index = begun.map_or(0, |told| told.progress.begun.len());
            if index >= steps.len() {
                self.edit_progress(key, receiver, |progress| progress.next = None);
                return false;
            }
            let again = repeat_ms(&steps, index).map(|ms| Deadline::after(self.now, ms));
            let next = steps.get(index + 1);
            let next = next.map(|step| Deadline::after(self.now, step.after_ms));
            self.edit_progress(key, receiver, |progress| {
                progress.begun.push(Begun { rounds: 1, again });
                progress.next = next;
            });
            if self.tell_step(key, receiver, index, 0, notice, route) {
                return true;
            }
        }
    }

    /// Tells everybody of one step. False when that is nobody.
    fn tell_step(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        index: usize,
        round: u32,
        notice: Notice,
        route: Option<u64>,
    ) -> bool {
        let steps = self.steps_of(receiver);
        let Some((step, number)) = steps
            .get(index)
            .zip(self.alert(key).map(|alert| alert.number))
        else {
            return false;
        };
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        let (reached, unreachable) = reach(self.policy, step, round, self.now.wall);
        if round == 0 {
            let nobody_at_all = (reached.is_empty() && unreachable.is_empty()).then_some(None);
            for person in unreachable.into_iter().map(Some).chain(nobody_at_all) {
                self.decide(Decision::Skipped {
                    number,
                    receiver: receiver.clone(),
                    step: position,
                    person,
                });
            }
        }
        let is_anybody = !reached.is_empty();
        for to in reached {
            self.tell(key, receiver, to, position, notice, route);
        }
        is_anybody
    }

    /// A receiver that reaches nobody is a fault of its own, and somebody else must hear of it.
    fn nobody_reachable(&mut self, key: &AlertKey, receiver: &ReceiverName) {
        let what = BuiltIn::ReceiverUnreachable(receiver.clone());
        let own = AlertKey::of_collector(what.clone());
        if *key == own || key.is_exercise() || self.alert(&own).is_some() {
            return;
        }
        let facts = [("receiver", receiver.as_str().into())];
        let reason = vigie::RECEIVER_UNREACHABLE;
        let finding = self.finding(&what, Status::Critical, reason, facts);
        self.raise(&own, finding);
    }

    /// Nobody of this receiver is told again.
    pub(super) fn stop_steps(&mut self, key: &AlertKey, receiver: &ReceiverName) {
        self.edit_alert(key, |alert| {
            if let Some(told) = alert.told.get_mut(receiver) {
                told.progress.stop();
            }
        });
    }

    /// What kept an alert quiet does so no more: whoever had been told by steps is told again.
    pub(super) fn resume_steps(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        route: Option<u64>,
    ) {
        let has_stopped = self
            .alert(key)
            .and_then(|alert| alert.told.get(receiver))
            .is_some_and(|told| !told.progress.is_empty() && !told.progress.is_running());
        if has_stopped {
            self.begin_steps(key, receiver, Notice::Again, route);
        }
    }

    /// A page went out before it could be written down: its step has begun.
    pub(super) fn adopt_steps(
        &mut self,
        key: &AlertKey,
        receiver: &ReceiverName,
        (step, notice): (u32, Notice),
        told_at: Wall,
    ) {
        let steps = self.steps_of(receiver);
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        if index >= steps.len() {
            return;
        }
        let now = self.now;
        let ago_ms = u64::try_from(now.wall.0.saturating_sub(told_at.0)).unwrap_or(0);
        // From when they were told, not from now: else the same is told at every try to write it down, or never again.
        let after = |ms: u64| Deadline::after(now, ms.saturating_sub(ago_ms));
        self.edit_progress(key, receiver, |progress| {
            if let Some(begun) = progress.begun.get_mut(index) {
                if notice == Notice::Again {
                    begun.again = repeat_ms(&steps, index).map(after);
                    begun.rounds += 1;
                }
                return;
            }
            while progress.begun.len() <= index {
                let again = repeat_ms(&steps, progress.begun.len()).map(after);
                progress.begun.push(Begun { rounds: 1, again });
            }
            let next = steps.get(progress.begun.len());
            progress.next = next.map(|step| after(step.after_ms));
        });
        if self.alert(key).is_some_and(|alert| !alert.steps_may_run()) {
            self.stop_steps(key, receiver);
        }
    }

    /// The provider will never take a message: whoever comes after its addressee need not wait.
    pub(super) fn refused(&mut self, message: &Message) {
        let Some(telling) = message.telling() else {
            return;
        };
        let is_current = self
            .alert(&telling.alert)
            .is_some_and(|alert| alert.number == telling.number && alert.steps_may_run());
        let is_waiting = self
            .alert(&telling.alert)
            .and_then(|alert| alert.told.get(&message.receiver))
            .is_some_and(|told| {
                told.progress.next.is_some()
                    && u32::try_from(told.progress.begun.len()) == Ok(telling.step + 1)
            });
        if is_current && is_waiting {
            self.begin_next_step(&telling.alert, &message.receiver, Notice::Still, None);
        }
    }

    /// Steps of an alert whose time has come.
    pub(super) fn steps_due(&mut self, key: &AlertKey) {
        let Some(alert) = self.alert(key).cloned() else {
            return;
        };
        for (receiver, told) in &alert.told {
            let is_due = |deadline: Option<Deadline>| {
                deadline.is_some_and(|deadline| deadline.is_past(self.now))
            };
            let due: Vec<usize> = (0..)
                .zip(&told.progress.begun)
                .filter(|(_, begun)| is_due(begun.again))
                .map(|(index, _)| index)
                .collect();
            let is_next_due = is_due(told.progress.next);
            if due.is_empty() && !is_next_due {
                continue;
            }
            let wakes = self.still_wakes(key, &alert, receiver);
            for index in due {
                self.tell_again(key, receiver, index, wakes);
            }
            if is_next_due && wakes {
                self.begin_next_step(key, receiver, Notice::Still, None);
            } else if is_next_due {
                let steps = self.steps_of(receiver);
                let now = self.now;
                self.edit_progress(key, receiver, |progress| {
                    let next = steps.get(progress.begun.len());
                    progress.next =
                        next.map(|step| Deadline::after(now, step.after_ms.max(LOOKED_AT_MS)));
                });
            }
        }
    }

    /// The people of a step are told once more. When the last step reaches nobody any more, as after a hand-off to
    /// somebody whom it cannot reach, the ones before it are: the last *reachable* one is told for ever.
    fn tell_again(&mut self, key: &AlertKey, receiver: &ReceiverName, index: usize, wakes: bool) {
        let steps = self.steps_of(receiver);
        let again = repeat_ms(&steps, index).map(|ms| Deadline::after(self.now, ms));
        let mut rounds = 0;
        let mut is_last = false;
        self.edit_progress(key, receiver, |progress| {
            is_last = progress.next.is_none() && index + 1 == progress.begun.len();
            if let Some(begun) = progress.begun.get_mut(index) {
                rounds = begun.rounds;
                begun.again = again;
                begun.rounds += u32::from(wakes);
            }
        });
        if !wakes || self.tell_step(key, receiver, index, rounds, Notice::Again, None) {
            return;
        }
        let is_anybody = if is_last {
            (0..index)
                .rev()
                .any(|before| self.tell_step(key, receiver, before, rounds, Notice::Again, None))
        } else {
            // Somebody comes after it, or is told besides: they need not wait.
            let told = self.alert(key).and_then(|alert| alert.told.get(receiver));
            told.is_none_or(|told| told.progress.next.is_none())
                || self.begin_next_step(key, receiver, Notice::Still, None)
        };
        if !is_anybody {
            self.nobody_reachable(key, receiver);
        }
    }

    /// Other rules may have given receivers other steps. Whoever was being told goes on being told: the steps that have
    /// begun count as begun, the last one is repeated, and where there are more now the next one will come.
    pub(super) fn refit_steps(&mut self) {
        let runs = |alert: &Alert| {
            let mut told = alert.told.values();
            told.any(|told| told.progress.is_running())
        };
        let running: Vec<AlertKey> = self
            .alerts()
            .filter(|(_, alert)| runs(alert))
            .map(|(key, _)| key.clone())
            .collect();
        for key in running {
            let Some(alert) = self.alert(&key).cloned() else {
                continue;
            };
            for (receiver, told) in alert.told {
                if told.progress.is_running() {
                    let steps = self.steps_of(&receiver);
                    let now = self.now;
                    self.edit_progress(&key, &receiver, |progress| progress.refit(&steps, now));
                }
            }
        }
    }

    /// Whether an alert is still one to wake somebody for: it is not measured or not well, or its route says so.
    fn still_wakes(&self, key: &AlertKey, alert: &Alert, receiver: &ReceiverName) -> bool {
        if matches!(alert.status, Status::Critical | Status::Unknown) {
            return true;
        }
        let subject = self.subject_of(key, alert);
        self.placement(key, alert, &subject).tell.contains(receiver)
    }
}

impl Alert {
    /// Whether nothing keeps its steps from going on.
    fn steps_may_run(&self) -> bool {
        self.acknowledged.is_none() && self.muted.is_none() && self.folded_into.is_none()
    }

    /// Nobody is told again of it, and no step is added.
    pub(super) fn stop_steps(&mut self) {
        for told in self.told.values_mut() {
            told.progress.stop();
        }
    }
}

impl Progress {
    /// Nobody is told again, and no step is added.
    pub(super) fn stop(&mut self) {
        self.next = None;
        for begun in &mut self.begun {
            begun.again = None;
        }
    }

    fn is_running(&self) -> bool {
        self.next.is_some() || self.begun.iter().any(|begun| begun.again.is_some())
    }

    /// Goes on by other steps than it began with.
    fn refit(&mut self, steps: &[EscalationStep], now: Now) {
        self.begun.truncate(steps.len());
        let begun = self.begun.len();
        match steps.get(begun) {
            Some(next) if self.next.is_none() => {
                self.next = Some(Deadline::after(now, next.after_ms));
            }
            Some(_) => {}
            None => self.next = None,
        }
        if let Some(last) = self.begun.last_mut()
            && last.again.is_none()
        {
            let again = repeat_ms(steps, begun - 1);
            last.again = again.map(|ms| Deadline::after(now, ms));
        }
    }
}
