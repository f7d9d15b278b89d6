//! What the runner is told: a check that was built, and how often and how patiently it is to run.
//!
//! Judged before it comes here: the deadline is shorter than the interval, and both are within their bounds.

use std::time::Duration;

use vigie_checks::{Check, Kind};
use vigie_core::{
    digest::Digest,
    id::{CheckName, ServiceName},
    plan,
    settle::Damping,
};
use vigie_platform::clock::whole_ms;

/// One configured check, built and ready to run.
pub struct PlannedCheck {
    /// The name in `[check.N]`.
    pub name: CheckName,
    /// Its kind.
    pub kind: &'static Kind,
    /// The service it counts for; `None`: all services of this node.
    pub service: Option<ServiceName>,
    /// From the start of one run to the start of the next.
    pub every: Duration,
    /// The deadline of one run; shorter than `every`.
    pub timeout: Duration,
    /// How many runs must agree before the status changes.
    pub patience: Damping,
    /// Digest of all that is written in `[check.N]`, defaults not included: those are told apart in the plan.
    pub settings_sha256: Digest,
    /// What runs.
    pub check: Box<dyn Check>,
}

impl PlannedCheck {
    /// The check as the collector is told of it.
    #[must_use]
    pub fn planned(&self) -> plan::PlannedCheck {
        plan::PlannedCheck {
            kind: self.kind.name.to_owned(),
            family: self.kind.family,
            service: self.service.clone(),
            every_ms: whole_ms(self.every),
            timeout_ms: whole_ms(self.timeout),
            failures: self.patience.failures.into(),
            recoveries: self.patience.recoveries.into(),
            settings_sha256: self.settings_sha256,
        }
    }
}
