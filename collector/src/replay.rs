//! The log, decided once more: its events are fed to core again, under the rules kept beside it, and what core decides
//! has to be what is written, byte for byte.
//!
//! It reads and never writes, needs no running collector and disturbs none, and holds one piece of the log at a time
//! besides the state that follows from it. Dropped at any point, it leaves nothing behind. At the first line that is
//! decided otherwise it stops deciding, because nothing after it would compare any more; the rest of the log can still be
//! read through it, turn by turn.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use vigie_core::{
    digest::Digest,
    time::{Elapsed, Now, Wall},
};
use vigie_decide::{
    fleet::{Delta, Event, State, step},
    routing::Policy,
    zones::Zones,
};

use crate::{
    store::{LOG_LINES_MAX, LogReader, ReadError},
    zones,
};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// What a decision's line says it is; every other kind is an event.
const DECISION: &str = "decision";

/// The kind that puts rules in force.
const RULES_LOADED: &str = "rules.loaded";

/// The kind with which a collector starts. It is decided under the rules that its next line names.
const STARTED: &str = "collector.started";

/// Why a log cannot be read through.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The database refused.
    #[error("cannot replay the log")]
    Read(#[source] ReadError),
    /// A line is not what a collector writes.
    #[error("line {n} of the log is damaged: {what}")]
    Damaged {
        /// Its number.
        n: u64,
        /// What is wrong.
        what: String,
    },
    /// A line is not there.
    #[error("line {n} of the log is missing")]
    Missing {
        /// Its number.
        n: u64,
    },
    /// The rules that a line puts in force are not beside the log.
    #[error("line {n} of the log puts rules in force that are not kept beside it: {sha256}")]
    NoRules {
        /// Its number.
        n: u64,
        /// Their digest.
        sha256: String,
    },
}

/// A log on its way through core.
#[derive(Debug)]
pub struct Replay<'l> {
    log: &'l LogReader,
    /// The version of this machine's time zone data.
    tzdata: String,
    /// How many lines there were at the beginning; a running collector adds more.
    line_count: u64,
    /// The number of the next line to fetch.
    fetched: u64,
    ahead: VecDeque<Written>,
    state: State,
    policy: Policy,
    verdict: Verdict,
}

/// A line as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub n: u64,
    /// When it was written.
    pub now: Now,
    /// The event or decision.
    pub event: Value,
    /// The line itself.
    pub text: String,
}

/// One event and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The event.
    pub event: Written,
    /// The decisions, in order.
    pub decisions: Vec<Written>,
}

/// What came of deciding once more, so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Lines read.
    pub lines: u64,
    /// Decisions that came out the same.
    pub decisions: u64,
    /// The first line that did not.
    pub difference: Option<Difference>,
    /// Versions of the time zone data that decisions were made under and that this machine does not have.
    pub other_tzdata: BTreeSet<String>,
    /// Zones of the rules that this machine does not know at all.
    pub unknown_zones: BTreeSet<String>,
}

/// A line that is decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its number.
    pub n: u64,
    /// What is written there; `None`: nothing, although more is decided now.
    pub written: Option<String>,
    /// What is decided now; `None`: nothing.
    pub decided: Option<String>,
    /// Why nothing can be decided: this version does not understand the event.
    pub not_understood: Option<String>,
}

impl<'l> Replay<'l> {
    /// A replay of all that is in the log now. `tzdata` is the version of this machine's time zone data.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn begin(log: &'l LogReader, tzdata: String) -> Result<Self, ReplayError> {
        Ok(Self {
            log,
            tzdata,
            line_count: log.line_count().await.map_err(ReplayError::Read)?,
            fetched: 0,
            ahead: VecDeque::new(),
            state: State::default(),
            policy: Policy::default(),
            verdict: Verdict::default(),
        })
    }

    /// The next event, decided once more; `None` at the end.
    ///
    /// # Errors
    /// See [`ReplayError`]. That something is decided otherwise is no error: see [`Replay::verdict`].
    pub async fn next(&mut self) -> Result<Option<Turn>, ReplayError> {
        let Some(event) = self.take().await? else {
            return Ok(None);
        };
        if event.is_decision() {
            return Err(event.damaged("a decision without an event"));
        }
        let mut turn = Turn {
            event,
            decisions: Vec::new(),
        };
        while self.peek().await?.is_some_and(Written::is_decision) {
            turn.decisions.extend(self.take().await?);
        }
        self.stand_on_rules_of(&turn.event).await?;
        self.verdict.lines += 1 + turn.decisions.len() as u64;
        if self.verdict.difference.is_none() {
            self.decide(&turn);
        }
        Ok(Some(turn))
    }

    /// The rules and zones under which the last turn was decided.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is known after the last turn; after a difference, what was known before it.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What came of it so far.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// How many lines there are in all.
    #[must_use]
    pub const fn line_count(&self) -> u64 {
        self.line_count
    }

    async fn peek(&mut self) -> Result<Option<&Written>, ReplayError> {
        if self.ahead.is_empty() && self.fetched < self.line_count {
            let lines = self.log.lines(self.fetched, LOG_LINES_MAX).await;
            for (n, text) in lines.map_err(ReplayError::Read)? {
                if n != self.fetched {
                    break;
                }
                if n < self.line_count {
                    self.ahead.push_back(Written::read(n, text)?);
                    self.fetched += 1;
                }
            }
            if self.ahead.is_empty() {
                return Err(ReplayError::Missing { n: self.fetched });
            }
        }
        Ok(self.ahead.front())
    }

    async fn take(&mut self) -> Result<Option<Written>, ReplayError> {
        self.peek().await?;
        Ok(self.ahead.pop_front())
    }

    /// Brings the rules in force that `event` is decided under.
    async fn stand_on_rules_of(&mut self, event: &Written) -> Result<(), ReplayError> {
        let loaded = match event.kind() {
            RULES_LOADED => Some(event.clone()),
            STARTED => {
                let next = self.peek().await?;
                next.filter(|next| next.kind() == RULES_LOADED).cloned()
            }
            _ => None,
        };
        let Some(loaded) = loaded else {
            return Ok(());
        };
        let no_rules = || ReplayError::NoRules {
            n: loaded.n,
            sha256: loaded.event["sha256"].to_string(),
        };
        let sha256 = loaded.event["sha256"].as_str();
        let sha256: Digest = sha256
            .and_then(|sha256| sha256.parse().ok())
            .ok_or_else(no_rules)?;
        let rules = self.log.rules(sha256).await.map_err(ReplayError::Read)?;
        let rules = Arc::new(rules.ok_or_else(no_rules)?);
        let mut known = Vec::new();
        for name in rules.zone_names() {
            match zones::find(name) {
                Ok(zone) => known.push((name.to_owned(), zone)),
                Err(_) => drop(self.verdict.unknown_zones.insert(name.to_owned())),
            }
        }
        let depends_on_zones = !rules.zone_names().is_empty();
        let logged = loaded.event["tzdata"].as_str().unwrap_or_default();
        if depends_on_zones && logged != self.tzdata {
            self.verdict.other_tzdata.insert(logged.to_owned());
        }
        self.policy = Policy {
            zones: Zones::from_iter(known),
            rules,
        };
        Ok(())
    }

    fn decide(&mut self, turn: &Turn) {
        let event: Event = match serde_json::from_value(turn.event.event.clone()) {
            Ok(event) => event,
            Err(cause) => {
                self.verdict.difference = Some(Difference {
                    n: turn.event.n,
                    written: Some(turn.event.text.clone()),
                    decided: None,
                    not_understood: Some(cause.to_string()),
                });
                return;
            }
        };
        let mut delta = Delta::default();
        step(&self.state, &mut delta, &self.policy, event, turn.event.now);
        let difference = difference(turn, &delta);
        if difference.is_none() {
            self.verdict.decisions += turn.decisions.len() as u64;
            self.state.merge(delta);
        }
        self.verdict.difference = difference;
    }
}

/// The first line of a turn that is decided otherwise.
fn difference(turn: &Turn, delta: &Delta) -> Option<Difference> {
    let mut written = std::iter::once(&turn.event).chain(&turn.decisions);
    let mut decided = delta.log.iter().map(|(_, line)| line);
    let mut n = turn.event.n;
    loop {
        let (written, decided) = (written.next().map(|line| &line.text), decided.next());
        if written != decided {
            return Some(Difference {
                n,
                written: written.cloned(),
                decided: decided.cloned(),
                not_understood: None,
            });
        }
        written?;
        n += 1;
    }
}

impl Written {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is not one of the log's.
    pub fn read(n: u64, text: String) -> Result<Self, ReplayError> {
        let damaged = |what: &str| ReplayError::Damaged {
            n,
            what: what.to_owned(),
        };
        let mut line: Value = serde_json::from_str(&text).map_err(|_| damaged("it is no JSON"))?;
        let wall = line["at"].as_str().and_then(|at| Wall::parse(at).ok());
        let elapsed = line["elapsed_ms"].as_u64().map(Elapsed);
        let (Some(wall), Some(elapsed)) = (wall, elapsed) else {
            return Err(damaged("it does not say when it was written"));
        };
        if line["n"].as_u64() != Some(n) {
            return Err(damaged("it has another number"));
        }
        Ok(Self {
            n,
            now: Now { wall, elapsed },
            event: line["event"].take(),
            text,
        })
    }

    /// What kind of event it is; [`Written::is_decision`] for what was decided.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.event["kind"].as_str().unwrap_or_default()
    }

    /// Whether it is a decision, and no event.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        self.kind() == DECISION
    }

    fn damaged(&self, what: &str) -> ReplayError {
        ReplayError::Damaged {
            n: self.n,
            what: what.to_owned(),
        }
    }
}

impl Verdict {
    /// Whether everything came out as it is written.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        self.difference.is_none()
    }
}
