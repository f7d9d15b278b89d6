//! What vigie itself watches, beside the checks that administrators write: one table of how each is stored and what ends it.

use std::borrow::Cow;

use vigie_core::id::{CheckName, ReceiverName, ServiceName};

use super::key::Source;
use crate::destination::Destination;

/// Something that vigie itself watches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    /// A node has not been heard for too long (`node.silent`).
    NodeSilent,
    /// A node sends more than it may (`node.flooding`).
    NodeFlooding,
    /// A node's body claimed to be another node (`node.impostor`).
    NodeImpostor,
    /// A node's clock is far from the collector's (`node.clock`).
    NodeClock,
    /// A node uses an expired certificate of a known key (`node.expired`).
    NodeExpired,
    /// A node says that it has lines, and does not hand them in (`entries.withheld`).
    EntriesWithheld,
    /// No group names a node (`node.ungrouped`).
    NodeUngrouped,
    /// A node or sender has as many alerts as it may; what comes beyond is this one (`objects.too_many`).
    TooManyAlerts,
    /// Two lines of a node have one number (`chain.fork`).
    ChainFork,
    /// A line does not follow the one before it (`chain.broken`).
    ChainBroken,
    /// A line was refused, and its digest stands for it (`entry.malformed`).
    LineRefused,
    /// A line breaks the grammar of lines (`entry.malformed`).
    LineMalformed,
    /// A contact's signature is wrong (`contact.forged`).
    ContactForged,
    /// A node's contact names another plan than its lines (`plan.mismatch`), or it has sent none (`plan.missing`).
    PlanDiffers,
    /// The lines of a plan do not add up to what closes it (`plan.mismatch`).
    PlanLines,
    /// A check was removed, weakened or changed (`check.removed`, `check.weakened`, `check.changed`).
    PlanCheck(CheckName),
    /// A node speaks for a service that its groups do not carry (`service.undeclared`).
    ServiceUndeclared(ServiceName),
    /// What an agent says about itself.
    Agent(AgentTrouble),
    /// Most of a site fell silent together (`site.cut`, `site.blind`).
    SiteSilent,
    /// The log cannot be written (`commit.failed`).
    CommitFailing,
    /// The collector's wall clock stepped (`clock.step`).
    ClockStep,
    /// A destination takes no messages (`delivery.failing`).
    DeliveryFailing(Destination),
    /// A receiver reaches nobody (`receiver.unreachable`).
    ReceiverUnreachable(ReceiverName),
    /// An operator wants to see whether a receiver can be told (`vigie.exercise`).
    Exercise(ReceiverName),
    /// Of another version of vigie: kept as it is stored.
    Other {
        /// As stored; starts with `@`.
        check: Box<str>,
        /// As stored.
        object: Box<str>,
    },
}

/// What an agent says about itself; the reason is the line's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentTrouble {
    /// It lost its memory (`agent.amnesia`).
    Amnesia,
    /// It lost lines (`entries.lost`).
    EntriesLost,
    /// The collector refused lines (`entries.refused`).
    EntriesRefused,
    /// The collector's log is shorter than it was (`collector.rollback`).
    CollectorRollback,
    /// It cannot read its settings (`agent.settings_refused`).
    SettingsRefused,
    /// It cannot write its spool (`spool.degraded`).
    SpoolDegraded,
    /// Its clock stepped far (`clock.step`).
    ClockStep,
    /// What a newer agent reports and this version does not know.
    Newer,
}

/// What ends an alert of vigie's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Its cause is seen to be gone.
    WithItsCause,
    /// Only an operator's word: its cause leaves no good state behind that could be seen.
    ByConfirmation,
}

/// Those without a name of somebody's in them.
const FIXED: [BuiltIn; 26] = [
    BuiltIn::NodeSilent,
    BuiltIn::NodeFlooding,
    BuiltIn::NodeImpostor,
    BuiltIn::NodeClock,
    BuiltIn::NodeExpired,
    BuiltIn::EntriesWithheld,
    BuiltIn::NodeUngrouped,
    BuiltIn::TooManyAlerts,
    BuiltIn::ChainFork,
    BuiltIn::ChainBroken,
    BuiltIn::LineRefused,
    BuiltIn::LineMalformed,
    BuiltIn::ContactForged,
    BuiltIn::PlanDiffers,
    BuiltIn::PlanLines,
    BuiltIn::Agent(AgentTrouble::Amnesia),
    BuiltIn::Agent(AgentTrouble::EntriesLost),
    BuiltIn::Agent(AgentTrouble::EntriesRefused),
    BuiltIn::Agent(AgentTrouble::CollectorRollback),
    BuiltIn::Agent(AgentTrouble::SettingsRefused),
    BuiltIn::Agent(AgentTrouble::SpoolDegraded),
    BuiltIn::Agent(AgentTrouble::ClockStep),
    BuiltIn::Agent(AgentTrouble::Newer),
    BuiltIn::SiteSilent,
    BuiltIn::CommitFailing,
    BuiltIn::ClockStep,
];

impl BuiltIn {
    /// The table: check and object as stored and told, and what ends it. A site's object is its name, which its source has.
    fn row(&self) -> (&str, Cow<'_, str>, Ends) {
        use Ends::{ByConfirmation, WithItsCause};
        let (check, object, ends): (&str, &str, Ends) = match self {
            Self::NodeSilent => ("@node", "silent", WithItsCause),
            Self::NodeFlooding => ("@node", "flooding", WithItsCause),
            Self::NodeImpostor => ("@node", "impostor", ByConfirmation),
            Self::NodeClock => ("@node", "clock", WithItsCause),
            Self::NodeExpired => ("@node", "expired", WithItsCause),
            Self::EntriesWithheld => ("@node", "withheld", WithItsCause),
            Self::NodeUngrouped => ("@node", "ungrouped", WithItsCause),
            Self::TooManyAlerts => ("@node", "alerts", ByConfirmation),
            Self::ChainFork => ("@chain", "fork", ByConfirmation),
            Self::ChainBroken => ("@chain", "broken", ByConfirmation),
            Self::LineRefused => ("@chain", "refused", ByConfirmation),
            Self::LineMalformed => ("@chain", "malformed", ByConfirmation),
            Self::ContactForged => ("@chain", "contact", ByConfirmation),
            Self::PlanDiffers => ("@plan", "", WithItsCause),
            Self::PlanLines => ("@plan", "@lines", WithItsCause),
            Self::PlanCheck(check) => ("@plan", check.as_str(), ByConfirmation),
            Self::ServiceUndeclared(service) => ("@service", service.as_str(), ByConfirmation),
            Self::Agent(trouble) => {
                let (object, ends) = trouble.row();
                ("@agent", object, ends)
            }
            Self::SiteSilent => ("@site", "", WithItsCause),
            Self::CommitFailing => ("@commit", "", WithItsCause),
            Self::ClockStep => ("@clock", "", WithItsCause),
            Self::DeliveryFailing(to) => {
                return ("@delivery", to.to_string().into(), WithItsCause);
            }
            Self::ReceiverUnreachable(receiver) => ("@receiver", receiver.as_str(), WithItsCause),
            Self::Exercise(receiver) => ("@exercise", receiver.as_str(), WithItsCause),
            Self::Other { check, object } => (check, object, ByConfirmation),
        };
        (check, object.into(), ends)
    }

    /// As stored and told; starts with `@`.
    #[must_use]
    pub fn check(&self) -> &str {
        self.row().0
    }

    /// As stored and told; a site's name is its source's.
    #[must_use]
    pub fn object(&self) -> Cow<'_, str> {
        self.row().1
    }

    /// What ends it.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.row().2
    }

    /// Whether it puts the word of its node in question: while it is open, nothing is taken as over because the node no
    /// longer lists it.
    #[must_use]
    pub fn is_chain_fault(&self) -> bool {
        self.check() == Self::ChainFork.check()
    }

    /// Reads what is stored of one. `None`: it is an administrator's check, or an alert of a sender, whose names are text
    /// of its own choosing and mean nothing here.
    pub(super) fn read(source: &Source, check: &str, object: &str) -> Option<Self> {
        if let Source::Sender(_) = source {
            let is_too_many = Self::TooManyAlerts.row();
            return ((check, object) == (is_too_many.0, &*is_too_many.1))
                .then_some(Self::TooManyAlerts);
        }
        if !check.starts_with('@') {
            return None;
        }
        if let Source::Site(_) = source {
            return Some(Self::SiteSilent);
        }
        let fixed = FIXED.into_iter().find(|what| {
            let (of_check, of_object, _) = what.row();
            of_check == check && of_object == object
        });
        let named = || match check {
            "@plan" => object.parse().ok().map(Self::PlanCheck),
            "@service" => object.parse().ok().map(Self::ServiceUndeclared),
            "@delivery" => object.parse().ok().map(Self::DeliveryFailing),
            "@receiver" => object.parse().ok().map(Self::ReceiverUnreachable),
            "@exercise" => object.parse().ok().map(Self::Exercise),
            _ => None,
        };
        let other = || Self::Other {
            check: check.into(),
            object: object.into(),
        };
        Some(fixed.or_else(named).unwrap_or_else(other))
    }
}

impl AgentTrouble {
    fn row(self) -> (&'static str, Ends) {
        use Ends::{ByConfirmation, WithItsCause};
        match self {
            Self::Amnesia => ("amnesia", ByConfirmation),
            Self::EntriesLost => ("lost", ByConfirmation),
            Self::EntriesRefused => ("refused", ByConfirmation),
            Self::CollectorRollback => ("rollback", ByConfirmation),
            Self::SettingsRefused => ("settings", WithItsCause),
            Self::SpoolDegraded => ("spool", WithItsCause),
            Self::ClockStep => ("clock", ByConfirmation),
            Self::Newer => ("newer", ByConfirmation),
        }
    }
}
