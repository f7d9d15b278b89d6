//! Which alerts the routes take, which none does, and which routes can never be reached. Pure.
//!
//! Exact, by cases: an alert differs for routes in its status, criticality, environment, family and need, in which
//! calendars are open, and in its service, group, site and node, of which only those count that a `match` names, and one
//! that none names. An alert of several services, groups or sites meets more conditions than one of a single one, so what
//! no route takes and what reaches a route is found among the single ones. A freshly unknown alert goes where a warning would
//! ([`vigie_decide::routing::UNKNOWN_COUNTS_AFTER_MS`]), and is no case of its own.
//!
//! The cases are walked one property after the other, with the routes that are still possible; where the same routes were
//! possible before, nothing new can come, and where one takes all that is left, nothing is left to ask. So the walk is
//! short for settings that people write. It is bounded for those that they do not.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Display,
};

use vigie_core::status::{Criticality, Environment, Family, Status};
use vigie_decide::rules::{Match, Route, When};

/// How many cases are looked at. More than this only come from settings that no person could check either; then a last
/// route without conditions is demanded instead.
const CASES_MAX: usize = 1 << 18;

/// Worst first, so that the example that is told is the worst one.
const STATUSES: [Status; 3] = [Status::Critical, Status::Unknown, Status::Warning];

const CRITICALITIES: [Criticality; 3] = [
    Criticality::Critical,
    Criticality::Important,
    Criticality::Standard,
];

const FAMILIES: [Family; 6] = [
    Family::Availability,
    Family::Backup,
    Family::Integrity,
    Family::Tls,
    Family::Host,
    Family::Vigie,
];

/// What becomes of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coverage {
    /// An alert that no route takes, in words: the worst of them.
    pub(super) left_out: Option<String>,
    /// The routes that some alert reaches, by their position.
    pub(super) reached: BTreeSet<usize>,
    /// Those that some warning reaches.
    pub(super) reached_by_warnings: BTreeSet<usize>,
}

/// Looks at every case; `None` if there are too many.
pub(super) fn judge(routes: &[Route]) -> Option<Coverage> {
    let properties = properties(routes);
    let mut coverage = Coverage {
        left_out: None,
        reached: BTreeSet::new(),
        reached_by_warnings: BTreeSet::new(),
    };
    let mut left = CASES_MAX;
    for status in STATUSES {
        let possible = Routes::of(routes, |route| {
            let wanted = &route.matches.status;
            wanted.is_empty() || wanted.contains(&status)
        });
        let mut walk = Walk {
            properties: &properties,
            seen: HashSet::new(),
            words: vec![format!("status \"{status}\"")],
            left,
            left_out: None,
            reached: BTreeSet::new(),
        };
        walk.visit(0, possible)?;
        left = walk.left;
        coverage.left_out = coverage.left_out.or(walk.left_out);
        if status == Status::Warning {
            coverage.reached_by_warnings.clone_from(&walk.reached);
        }
        coverage.reached.append(&mut walk.reached);
    }
    Some(coverage)
}

/// A set of routes, by their positions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Routes(Box<[u64]>);

impl Routes {
    fn of(routes: &[Route], is_in: impl Fn(&Route) -> bool) -> Self {
        let mut words = vec![0; routes.len().div_ceil(64)];
        for (position, _) in routes.iter().enumerate().filter(|(_, route)| is_in(route)) {
            words[position / 64] |= 1 << (position % 64);
        }
        Self(words.into())
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn first(&self) -> Option<usize> {
        let found = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(found.0 * 64 + found.1.trailing_zeros() as usize)
    }

    /// Without those that stand below `last`.
    fn up_to(mut self, last: usize) -> Self {
        for (index, word) in self.0.iter_mut().enumerate() {
            let kept = (last + 1).saturating_sub(index * 64).min(64);
            if kept < 64 {
                *word &= (1 << kept) - 1;
            }
        }
        self
    }
}

/// One thing in which alerts differ.
struct Property {
    /// Each value that routes tell apart, in words, and the routes that take it.
    values: Vec<(String, Routes)>,
    /// The routes that have no condition on this property, nor on any after it.
    free: Routes,
}

fn properties(routes: &[Route]) -> Vec<Property> {
    let mut all = vec![
        property(routes, &CRITICALITIES, |value, m| {
            one(&m.criticality, value)
        })
        .said(|value| format!("criticality \"{value}\"")),
        property(routes, Environment::ALL, |value, m| {
            one(&m.environment, value)
        })
        .said(|value| format!("environment \"{value}\"")),
        property(routes, &FAMILIES, |value, m| one(&m.family, value))
            .said(|value| format!("family \"{value}\"")),
        property(routes, &[4, 3, 2, 1], |value, m| one(&m.need, value))
            .said(|value| format!("need {value}")),
    ];
    all.extend(hours(routes));
    all.push(named(routes, "service", |m| &m.service));
    all.push(named(routes, "group", |m| &m.group));
    all.push(named(routes, "site", |m| &m.site));
    all.push(named(routes, "node", |m| &m.node));
    let mut free = Routes::of(routes, |_| true);
    for property in all.iter_mut().rev() {
        for (_, takes) in &property.values {
            free = free.and(takes);
        }
        property.free = free.clone();
    }
    all
}

fn one<T: Ord>(wanted: &BTreeSet<T>, value: &T) -> bool {
    wanted.is_empty() || wanted.contains(value)
}

/// Values with the routes that take them; what routes do not tell apart is one.
struct Values<T>(Vec<(T, Routes)>);

fn property<T: Clone>(
    routes: &[Route],
    values: &[T],
    takes: impl Fn(&T, &Match) -> bool,
) -> Values<T> {
    let mut told_apart: Vec<(T, Routes)> = Vec::new();
    for value in values {
        let taken_by = Routes::of(routes, |route| takes(value, &route.matches));
        if !told_apart.iter().any(|(_, other)| *other == taken_by) {
            told_apart.push((value.clone(), taken_by));
        }
    }
    Values(told_apart)
}

impl<T> Values<T> {
    fn said(self, words: impl Fn(&T) -> String) -> Property {
        Property {
            values: self
                .0
                .into_iter()
                .map(|(value, takes)| (words(&value), takes))
                .collect(),
            free: Routes(Box::default()),
        }
    }
}

/// A property of which settings name values: those, and one that they do not name.
fn named<T: Ord + Clone + Display>(
    routes: &[Route],
    noun: &str,
    condition: impl Fn(&Match) -> &BTreeSet<T>,
) -> Property {
    let names: BTreeSet<T> = routes
        .iter()
        .flat_map(|route| condition(&route.matches).iter().cloned())
        .collect();
    let values: Vec<Option<T>> = std::iter::once(None)
        .chain(names.into_iter().map(Some))
        .collect();
    property(routes, &values, |value, m| {
        let wanted = condition(m);
        match value {
            Some(value) => one(wanted, value),
            None => wanted.is_empty(),
        }
    })
    .said(|value| match value {
        Some(value) => format!("{noun} \"{value}\""),
        None => format!("a {noun} that no `match` names"),
    })
}

/// One property for each calendar that routes go by: closed, which is also how it counts in doubt, or open.
fn hours(routes: &[Route]) -> Vec<Property> {
    let calendars: BTreeSet<_> = routes
        .iter()
        .filter_map(|route| match route.when.as_ref()? {
            When::Inside(calendar) | When::Outside(calendar) => Some(calendar),
        })
        .collect();
    let of_calendar = |calendar| {
        let values = [false, true].map(|is_open| {
            let takes = Routes::of(routes, |route| match &route.when {
                Some(When::Inside(one)) if one == calendar => is_open,
                Some(When::Outside(one)) if one == calendar => !is_open,
                _ => true,
            });
            let side = if is_open { "inside" } else { "outside" };
            (format!("{side} \"{calendar}\""), takes)
        });
        Property {
            values: values.into(),
            free: Routes(Box::default()),
        }
    };
    calendars.into_iter().map(of_calendar).collect()
}

struct Walk<'p> {
    properties: &'p [Property],
    /// Where the same routes were possible at the same property.
    seen: HashSet<(usize, Routes)>,
    /// What was chosen on the way here, as far as it made a difference.
    words: Vec<String>,
    /// Cases that may still be looked at.
    left: usize,
    left_out: Option<String>,
    reached: BTreeSet<usize>,
}

impl Walk<'_> {
    /// All cases from property `at` on for which only `possible` routes are left. `None`: too many.
    fn visit(&mut self, at: usize, possible: Routes) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let Some(first) = possible.first() else {
            if self.left_out.is_none() {
                self.left_out = Some(self.words.join(", "));
            }
            return Some(());
        };
        let Some(property) = self.properties.get(at) else {
            self.reached.insert(first);
            return Some(());
        };
        // The first that takes whatever comes hides all below it.
        let possible = match possible.and(&property.free).first() {
            Some(taker) if taker == first => {
                self.reached.insert(first);
                return Some(());
            }
            Some(taker) => possible.up_to(taker),
            None => possible,
        };
        if !self.seen.insert((at, possible.clone())) {
            return Some(());
        }
        let mut next: Vec<(&str, Routes)> = Vec::new();
        for (words, takes) in &property.values {
            let taken = possible.and(takes);
            if !next.iter().any(|(_, other)| *other == taken) {
                next.push((words, taken));
            }
        }
        let makes_a_difference = next.len() > 1;
        for (words, possible) in next {
            if makes_a_difference {
                self.words.push(words.to_owned());
            }
            self.visit(at + 1, possible)?;
            if makes_a_difference {
                self.words.pop();
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
