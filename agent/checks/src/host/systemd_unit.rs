//! `systemd_unit`: does each unit run that should, asked of systemd over the system bus (org.freedesktop.systemd1(5)).
//!
//! | systemd says | status |
//! |---|---|
//! | `active` | ok |
//! | `reloading`, `refreshing`, `activating`, `deactivating` | ok, and warning after [`CHANGING_MAX_MS`]; a unit of `Type=oneshot` may take its time |
//! | `activating` and waits for its next automatic restart | critical |
//! | `active`, restarted or failed `restarts` times within `restarts_within` | critical |
//! | `failed` | critical |
//! | `inactive`, `Type=oneshot`, and its last run ended well or there was none | ok |
//! | `inactive` else, `maintenance` | critical: what is named here should run |
//! | not found | critical |
//! | no bus, no systemd, no answer | unknown, for every unit |
//!
//! One call asks for the states of all units at each run; systemd loads those that are not. What else is told of a unit is
//! asked anew only when a signal or another state says that it changed. The signals are also what counts a unit that failed
//! and was started again by hand between two runs; automatic restarts are counted by systemd itself, so that nothing is
//! lost while there was no connection. Where signals cannot be had everything is asked at each run.
//!
//! The task that listens ends with the connection, and is aborted with the check. Templates are named by their instances.

mod manager;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    str::FromStr,
    time::Duration,
};

use vigie_core::{
    observation::{MetricId, NotAnObject, Object, Observation},
    reason::host::{
        UNIT_ACTIVE, UNIT_CHANGING, UNIT_DONE, UNIT_FAILED, UNIT_INACTIVE, UNIT_MISSING,
        UNIT_NO_BUS, UNIT_RESTARTING,
    },
    status::{Family, Status},
    time::{Elapsed, Now, Wall},
};
use vigie_machine::Context;
use vigie_platform::{clock::whole_ms, settings_file::Section};

use self::{
    manager::{Details, Manager, State},
    watch::Watch,
};
use super::{numbers::as_metric, source};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const STATE: MetricId = MetricId("vigie_systemd_unit_state");
const RESTARTS: MetricId = MetricId("vigie_systemd_unit_restarts_total");
const FAILURES: MetricId = MetricId("vigie_systemd_unit_failures_total");
const SINCE: MetricId = MetricId("vigie_systemd_unit_state_change_timestamp_seconds");

/// The kind `systemd_unit`.
pub static KIND: Kind = Kind {
    name: "systemd_unit",
    family: Family::Host,
    metrics: &[
        MetricSpec {
            id: STATE,
            metric_type: MetricType::Gauge,
            help: "1 for the state that the unit is in, 0 for the others.",
            label: "state",
        },
        MetricSpec {
            id: RESTARTS,
            metric_type: MetricType::Counter,
            help: "Automatic restarts of a service since it was last started by somebody.",
            label: "",
        },
        MetricSpec {
            id: FAILURES,
            metric_type: MetricType::Counter,
            help: "How often the unit was seen to fail since the check began.",
            label: "",
        },
        MetricSpec {
            id: SINCE,
            metric_type: MetricType::Gauge,
            help: "When the unit came into its state.",
            label: "",
        },
    ],
    target_key: "unit",
    example: r#"[check.unites]
kind = "systemd_unit"
units = ["nginx.service", "postgresql@15-main.service"]   # or one: unit = "nginx.service"
restarts = 3                         # this many within that time is a loop
restarts_within = "10m"
"#,
    build,
};

/// The most units of one check: each takes one of the 512 rules that a connection may give the bus.
const UNITS_MAX: usize = 64;

/// The default of `restarts`.
const RESTARTS_DEFAULT: u64 = 3;

/// The default of `restarts_within`.
const RESTARTS_WITHIN_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// Restarts that are remembered one by one; more of them are a loop by any setting.
const RESTARTS_MAX: u64 = 1_000;

/// How long a unit may be on its way: longer than systemd's own patience (90 s) several times over.
const CHANGING_MAX_MS: u64 = 5 * 60 * 1_000;

/// The name of what does not say what it should.
const SOURCE: &str = "systemd";

struct Units {
    units: Vec<Object>,
    restarts: u64,
    restarts_within_ms: u64,
    known: BTreeMap<Object, Known>,
    watch: Option<Watch>,
    /// The objects that the watch listens to.
    paths: BTreeSet<String>,
}

/// What was learned of one unit.
#[derive(Debug, Default)]
struct Known {
    state: Option<State>,
    /// Whether there was a time without signals since its details were asked for.
    is_stale: bool,
    details: Details,
    /// Failures that signals told of, at the last run.
    failures: u64,
    /// When it was restarted or failed, and how often at once.
    events: VecDeque<(Elapsed, u64)>,
}

/// The name of one unit, as systemd writes it.
struct UnitName(Object);

impl FromStr for UnitName {
    type Err = NotAnObject;

    fn from_str(text: &str) -> Result<Self, NotAnObject> {
        let is_template = text.contains("@.");
        Object::unit(if is_template { "" } else { text }).map(Self)
    }
}

fn build(section: &mut Section<'_>) -> Option<Box<dyn Check>> {
    const MEND: &str = "write the whole name of a unit, such as \"nginx.service\"";
    let is_named = section.has("unit") || section.has("units");
    let one = section.parsed::<UnitName>("unit", MEND);
    let one = if is_named {
        one.optional()
    } else {
        one.required()
    };
    let named = section
        .parsed_list::<UnitName>("units", MEND)
        .or(Vec::new());
    let mut units: Vec<Object> = named.into_iter().chain(one).map(|name| name.0).collect();
    units.sort();
    units.dedup();
    if units.len() > UNITS_MAX {
        section.mistake(
            "units",
            format!("more than {UNITS_MAX} units in one check"),
            "divide them among several checks",
        );
    }
    let restarts = section
        .integer("restarts", 1..=RESTARTS_MAX)
        .or(RESTARTS_DEFAULT);
    let restarts_within = section
        .duration("restarts_within")
        .within(Duration::from_secs(10)..=Duration::from_secs(24 * 3_600))
        .or(RESTARTS_WITHIN_DEFAULT);
    Some(Box::new(Units {
        units,
        restarts,
        restarts_within_ms: whole_ms(restarts_within),
        known: BTreeMap::new(),
        watch: None,
        paths: BTreeSet::new(),
    }))
}

impl Check for Units {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        Box::pin(async move {
            match self.look(context).await {
                Some(seen) => seen,
                None => {
                    let unknown = |unit: &Object| {
                        Observation::new(Status::Unknown, UNIT_NO_BUS).of(unit.clone())
                    };
                    self.units.iter().map(unknown).collect()
                }
            }
        })
    }
}

impl Units {
    /// `None` when systemd does not answer.
    async fn look(&mut self, context: &Context) -> Option<Vec<Observation>> {
        let deadline = context.own_deadline();
        let connection = match context.within(deadline, context.bus.connection()).await? {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "no system bus");
                return None;
            }
        };
        let manager = Manager::new(connection.clone());
        match context.within(deadline, self.ask(context, &manager)).await {
            Some(Ok(seen)) => Some(seen),
            Some(Err(error)) => {
                tracing::debug!(%error, "systemd cannot be asked");
                context.bus.forget(&connection).await;
                None
            }
            None => {
                context.bus.forget(&connection).await;
                None
            }
        }
    }

    async fn ask(
        &mut self,
        context: &Context,
        manager: &Manager,
    ) -> Result<Vec<Observation>, zbus::Error> {
        let names: Vec<&str> = self.units.iter().map(Object::as_str).collect();
        let mut states = manager.states(&names).await?;
        let paths: BTreeSet<String> = states
            .values()
            .map(|state| state.path.as_str().to_owned())
            .collect();
        let is_watched = self.watch.as_ref().is_some_and(|w| w.is_alive(manager));
        if !is_watched || self.paths != paths {
            self.watch = Watch::start(manager, &paths).await;
            self.paths = paths;
            // What was known is asked anew, and the states too, so that no change falls between.
            for known in self.known.values_mut() {
                known.is_stale = true;
            }
            states = manager.states(&names).await?;
        }
        // Taken before anything is asked: what changes meanwhile is asked about again.
        let news: Option<BTreeMap<String, watch::News>> = self.watch.as_ref().map(|watch| {
            let of = |path: &String| (path.clone(), watch.take(path));
            self.paths.iter().map(of).collect()
        });
        let now = context.clock.now();
        let mut seen = Vec::with_capacity(self.units.len());
        for unit in self.units.clone() {
            let Some(state) = states.get(unit.as_str()) else {
                seen.push(Observation::new(Status::Critical, UNIT_MISSING).of(unit));
                continue;
            };
            if state.is_missing() {
                self.known.remove(&unit);
                seen.push(Observation::new(Status::Critical, UNIT_MISSING).of(unit));
                continue;
            }
            let news = news
                .as_ref()
                .map(|news| news.get(state.path.as_str()).copied().unwrap_or_default());
            let known = self.known.entry(unit.clone()).or_default();
            let is_first = known.state.is_none();
            let is_fresh = known.state.as_ref() == Some(state)
                && !known.is_stale
                && news.as_ref().is_some_and(|news| !news.is_changed);
            if !is_fresh {
                let details = manager.details(&state.path, unit.as_str()).await?;
                let restarts = match (known.details.restarts, details.restarts) {
                    (Some(before), Some(after)) if after >= before => after - before,
                    // Somebody started it anew, and it was restarted since.
                    (Some(_), Some(after)) => after,
                    _ => 0,
                };
                known.details = details;
                known.is_stale = false;
                known.count(if is_first { 0 } else { restarts }, news.as_ref(), now);
            }
            known.state = Some(state.clone());
            known.forget_before(now.elapsed, self.restarts_within_ms);
            let observation = judge(state, known, self.restarts, self.restarts_within_ms, now);
            seen.push(measured(observation, state, known).of(unit));
        }
        Ok(seen)
    }
}

impl Known {
    /// Remembers what happened since the last run. An automatic restart is also seen as a failure by newer versions of
    /// systemd and not by older ones, so the greater number of the two is what happened.
    fn count(&mut self, restarts: u64, news: Option<&watch::News>, now: Now) {
        let failures = news.map_or(0, |news| news.failures);
        self.failures = self.failures.saturating_add(failures);
        let happened = restarts.max(failures).min(RESTARTS_MAX);
        if happened > 0 {
            self.events.push_back((now.elapsed, happened));
        }
    }

    fn forget_before(&mut self, now: Elapsed, within_ms: u64) {
        while let Some((at, _)) = self.events.front()
            && now.since_ms(*at) > within_ms
        {
            self.events.pop_front();
        }
    }

    fn recent(&self) -> u64 {
        self.events.iter().map(|(_, count)| count).sum()
    }
}

fn judge(state: &State, known: &Known, restarts: u64, within_ms: u64, now: Now) -> Observation {
    let recent = known.recent();
    let details = &known.details;
    let restarting = || {
        let observation = Observation::new(Status::Critical, UNIT_RESTARTING);
        if recent == 0 {
            return observation;
        }
        observation
            .fact("restarts", recent)
            .fact("within_ms", within_ms)
    };
    let since = |observation: Observation, since: Option<Wall>| match since {
        Some(since) => observation.fact("since", vigie_core::observation::Fact::Time(since)),
        None => observation,
    };
    let is_oneshot = details.service_type == "oneshot";
    match &*state.active {
        "active" if recent >= restarts => restarting(),
        "active" => {
            let mut observation = Observation::new(Status::Ok, UNIT_ACTIVE);
            if recent > 0 {
                observation = observation.fact("restarts", recent);
            }
            since(observation, details.active_since)
        }
        "activating" if state.sub.starts_with("auto-restart") => restarting(),
        "activating" | "deactivating" | "reloading" | "refreshing" => {
            let age_ms = details
                .since
                .map_or(0, |since| now.wall.0.saturating_sub(since.0));
            let is_stuck =
                !is_oneshot && age_ms > i64::try_from(CHANGING_MAX_MS).unwrap_or(i64::MAX);
            if recent >= restarts {
                return restarting();
            }
            let status = if is_stuck {
                Status::Warning
            } else {
                Status::Ok
            };
            let word = match &*state.active {
                "activating" => "activating",
                "deactivating" => "deactivating",
                _ => "reloading",
            };
            since(
                Observation::new(status, UNIT_CHANGING).fact("state", word),
                details.since,
            )
        }
        "failed" => since(
            Observation::new(Status::Critical, UNIT_FAILED).fact("result", result(&details.result)),
            details.since,
        ),
        "inactive" if is_oneshot && details.result == "success" => {
            since(Observation::new(Status::Ok, UNIT_DONE), details.since)
        }
        "inactive" | "maintenance" => since(
            Observation::new(Status::Critical, UNIT_INACTIVE),
            details.since,
        ),
        _ => source::unintelligible(SOURCE),
    }
}

/// The states that the gauge tells.
const STATES: [&str; 6] = [
    "active",
    "reloading",
    "inactive",
    "failed",
    "activating",
    "deactivating",
];

fn measured(mut observation: Observation, state: &State, known: &Known) -> Observation {
    for word in STATES {
        let is_it = f64::from(u8::from(*state.active == *word));
        observation = observation.measure_labelled(STATE, word, is_it);
    }
    if let Some(restarts) = known.details.restarts {
        observation = observation.measure(RESTARTS, as_metric(restarts));
    }
    observation = observation.measure(FAILURES, as_metric(known.failures));
    if let Some(Ok(since_ms)) = known.details.since.map(|since| u64::try_from(since.0)) {
        observation = observation.measure(SINCE, as_metric(since_ms) / 1_000.0);
    }
    observation
}

/// The results that systemd.service(5) has, as words of ours.
fn result(result: &str) -> &'static str {
    const RESULTS: [&str; 10] = [
        "exit-code",
        "signal",
        "core-dump",
        "timeout",
        "watchdog",
        "start-limit-hit",
        "oom-kill",
        "resources",
        "protocol",
        "exec-condition",
    ];
    let known = RESULTS.into_iter().find(|known| *known == result);
    known.unwrap_or("other")
}
