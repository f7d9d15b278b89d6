//! The course of the program and of time: starts, new rules, steps of the collector's own clock.

use std::sync::Arc;

use super::{ClockEvent, Transition};
use crate::alert::{AlertKey, BuiltIn, Ended};
use vigie_core::{digest::Digest, id::NodeName, reason::vigie, status::Status};

/// A step of the collector's own clock beyond this puts calendars in doubt: what is held might wait for a morning that
/// never comes.
pub const CLOCK_DOUBT_MS: i64 = 600_000;

impl Transition<'_> {
    pub(super) fn clock(&mut self, event: ClockEvent) {
        match event {
            ClockEvent::Started { .. } => self.started(&event),
            ClockEvent::RulesLoaded { sha256, .. } => {
                self.record(&event);
                self.rules_loaded(sha256);
            }
            ClockEvent::ClockStep { by_ms } => {
                self.record(&event);
                self.clock_step(by_ms);
            }
            ClockEvent::ClockTrusted { .. } => {
                self.record(&event);
                self.meta().clock_in_doubt = false;
                let alarm = AlertKey::of_collector(BuiltIn::ClockStep);
                self.close(&alarm, Ended::Recovered);
                self.policy_changed();
            }
            ClockEvent::Deadline => self.time_passed(&event),
        }
    }

    fn started(&mut self, event: &ClockEvent) {
        self.meta();
        let before = self.state.meta.last_now;
        self.record(event);
        self.anchor_deadlines(before);
    }

    fn rules_loaded(&mut self, sha256: Digest) {
        self.meta().rules_sha256 = Some(sha256);
        self.delta.rules.push((sha256, Arc::clone(self.rules)));
        let nodes: Vec<NodeName> = self.state.nodes.keys().cloned().collect();
        for node in &nodes {
            self.judge_grouping(node);
        }
        self.end_what_rules_dropped();
        self.refit_steps();
        // An alert that new rules send elsewhere must not stay with those the old rules knew.
        self.policy_changed();
    }

    fn clock_step(&mut self, by_ms: i64) {
        if by_ms.saturating_abs() > CLOCK_DOUBT_MS {
            if !self.civil().is_in_doubt {
                self.meta().clock_in_doubt = true;
                // What waits for a morning cannot know when that is. Said once: later steps of the clock change nothing.
                self.flush_digests();
            }
            let what = BuiltIn::ClockStep;
            let facts = [("by_ms", by_ms.into())];
            let finding = self.finding(&what, Status::Critical, vigie::CLOCK_STEP, facts);
            self.raise(&AlertKey::of_collector(what), finding);
        }
        self.policy_changed();
    }
}
