//! `[[route]]`: which alerts go to whom, in order, and what must hold between the routes: each alert finds one, each route
//! finds an alert, and every receiver is named.

use std::collections::{BTreeMap, BTreeSet};

use vigie_core::{
    id::{CalendarName, GroupName, ReceiverName, ServiceName, SiteName},
    status::{Criticality, Environment, Family, Status},
};
use vigie_decide::rules::{Match, Route, When};
use vigie_platform::settings_file::{Complaint, LoadedSettings, Mistake, Place, Section};

use super::{LEVELS, coverage, each_once, receivers, words};

/// What routes may name. Holds what has mistakes too, so that naming it is not another one.
pub(super) struct Declared<'d> {
    pub(super) services: &'d BTreeSet<ServiceName>,
    pub(super) groups: &'d BTreeSet<GroupName>,
    pub(super) sites: &'d BTreeSet<SiteName>,
    pub(super) calendars: &'d BTreeSet<CalendarName>,
    pub(super) receivers: &'d BTreeMap<ReceiverName, receivers::Declared>,
}

/// What `[[route]]` said.
pub(super) struct Routes {
    pub(super) read: Option<Vec<Route>>,
    /// What is allowed, but hardly meant.
    pub(super) warnings: Vec<Mistake>,
}

pub(super) fn read(loaded: &LoadedSettings, root: &Section<'_>, declared: &Declared<'_>) -> Routes {
    let read: Vec<ReadRoute> = root
        .array_of_tables("route")
        .into_iter()
        .map(|section| read_route(loaded, section, declared))
        .collect();
    let mut warnings = Vec::new();
    if !loaded.is_partial() {
        judge_order(loaded, &read, declared, &mut warnings);
        judge_receivers(loaded, &read, declared);
    }
    Routes {
        read: read.into_iter().map(|route| route.route).collect(),
        warnings,
    }
}

/// One `[[route]]` with what is needed to judge it beside the others.
struct ReadRoute {
    place: Place,
    /// Who is named in it; `None`: with a mistake.
    named: Option<Vec<ReceiverName>>,
    route: Option<Route>,
}

fn read_route(loaded: &LoadedSettings, section: Section<'_>, declared: &Declared<'_>) -> ReadRoute {
    let matches = match section.sub("match") {
        Some(conditions) => {
            let is_empty = conditions.is_empty();
            // With nothing but unknown keys it is not known what it should take.
            read_match(conditions, declared).filter(|matches| is_empty || !matches.is_for_all())
        }
        None if section.has("match") => None,
        None => Some(Match::default()),
    };
    let when = read_when(&section, declared.calendars);
    let has_digest = section.has("digest");
    let receivers: BTreeSet<ReceiverName> = declared.receivers.keys().cloned().collect();
    let notify = section
        .references("notify", "receiver", &receivers)
        .try_map(|receivers| some_receivers(receivers, has_digest));
    let digest = section
        .references("digest", "receiver", &receivers)
        .try_map(|receivers| some_receivers(receivers, false));
    let notify = if has_digest {
        let is_written = section.has("notify");
        match notify.optional() {
            None if is_written => None,
            notify => Some(notify.unwrap_or_default()),
        }
    } else {
        notify.required()
    };
    let digest = match digest.optional() {
        None if has_digest => None,
        digest => Some(digest.unwrap_or_default()),
    };
    let hold = section.boolean("hold").or(false);
    if let Some(notify) = notify.as_ref().filter(|_| hold) {
        for receiver in notify {
            if let Some((what, mend)) = cannot_wait(receiver, declared, "hold") {
                section.mistake("hold", what, mend);
            }
        }
    }
    for (index, receiver) in digest.iter().flatten().enumerate() {
        let complaint = if notify.as_ref().is_some_and(|told| told.contains(receiver)) {
            let what = format!("`digest`: \"{receiver}\" is in `notify` too");
            let mend =
                "name it in one of the two; with `hold = true` what is in `notify` waits too";
            Some((what, mend.to_owned()))
        } else {
            cannot_wait(receiver, declared, "digest")
        };
        if let Some((what, mend)) = complaint {
            loaded.mistake(&section.place_of_item("digest", index), what, mend);
        }
    }
    let place = section.place().clone();
    section.finish();
    let named = notify
        .as_ref()
        .zip(digest.as_ref())
        .map(|(notify, digest)| notify.iter().chain(digest).cloned().collect());
    let route = (|| {
        Some(Route {
            matches: matches?,
            when: when?,
            notify: notify?,
            digest: digest?,
            hold,
        })
    })();
    ReadRoute {
        place,
        named,
        route,
    }
}

/// Why nothing can wait for a receiver, and what to write instead.
fn cannot_wait(
    receiver: &ReceiverName,
    declared: &Declared<'_>,
    key: &str,
) -> Option<(String, String)> {
    let facts = declared.receivers.get(receiver)?;
    if facts.has_steps {
        let what = format!(
            "`{key}`: `receiver.{receiver}` has steps, which wake people and wait for nobody"
        );
        return Some((what, "name it in a `notify` without `hold` only".to_owned()));
    }
    if facts.has_calendar {
        return None;
    }
    let what = format!(
        "`{key}`: `receiver.{receiver}` has no `calendar`, so nothing can wait for its opening"
    );
    let mend =
        format!("write `calendar = \"…\"` into `[receiver.{receiver}]`, or leave it out here");
    Some((what, mend))
}

/// `None`: with a mistake; absent is at all times.
fn read_when(section: &Section<'_>, calendars: &BTreeSet<CalendarName>) -> Option<Option<When>> {
    let side = |key| section.reference(key, "calendar", calendars).optional();
    let (inside, outside) = (side("inside"), side("outside"));
    match (section.has("inside"), section.has("outside")) {
        (false, false) => Some(None),
        (true, false) => inside.map(|calendar| Some(When::Inside(calendar))),
        (false, true) => outside.map(|calendar| Some(When::Outside(calendar))),
        (true, true) => {
            let what = "this route has both `inside` and `outside`";
            section.mistake("outside", what, "keep one of the two");
            None
        }
    }
}

/// `None` when a condition is wrong, so that a route is never wider than what was meant.
fn read_match(section: Section<'_>, declared: &Declared<'_>) -> Option<Match> {
    let alarms: Vec<Status> = Status::ALL
        .iter()
        .copied()
        .filter(|status| *status != Status::Ok)
        .collect();
    macro_rules! condition {
        ($key:literal, $field:expr) => {{
            let is_written = section.has($key);
            let read = $field.try_map(non_empty).optional();
            match read {
                Some(values) => Some(values.into_iter().collect()),
                None if is_written => None,
                None => Some(BTreeSet::new()),
            }
        }};
    }
    let criticality = condition!(
        "criticality",
        section.some_of("criticality", &words(Criticality::ALL, Criticality::as_str))
    );
    let service = condition!(
        "service",
        section.references("service", "service", declared.services)
    );
    let family = condition!(
        "family",
        section.some_of("family", &words(Family::ALL, Family::as_str))
    );
    let status = condition!(
        "status",
        section.some_of("status", &words(&alarms, Status::as_str))
    );
    let node = condition!("node", section.some_names("node"));
    let group = condition!(
        "group",
        section.references("group", "group", declared.groups)
    );
    let site = condition!("site", section.references("site", "site", declared.sites));
    let environment = condition!(
        "environment",
        section.some_of("environment", &words(Environment::ALL, Environment::as_str))
    );
    let need = condition!("need", section.some_integers("need", LEVELS));
    section.finish();
    Some(Match {
        criticality: criticality?,
        service: service?,
        family: family?,
        status: status?,
        node: node?,
        group: group?,
        site: site?,
        environment: environment?,
        need: need?,
    })
}

fn judge_order(
    loaded: &LoadedSettings,
    routes: &[ReadRoute],
    declared: &Declared<'_>,
    warnings: &mut Vec<Mistake>,
) {
    // Routes of a second file are a mistake of their own; they have no order among these.
    let file = routes.first().map(|route| route.place.path());
    let ordered: Vec<&ReadRoute> = routes
        .iter()
        .filter(|route| Some(route.place.path()) == file)
        .collect();
    let read: Option<Vec<Route>> = ordered.iter().map(|route| route.route.clone()).collect();
    let (Some(read), Some(last)) = (read, ordered.last()) else {
        // Whoever takes what is not known, or there are no routes at all, which `check-config` says.
        return;
    };
    let Some(coverage) = coverage::judge(&read) else {
        let takes_all = |route: &Route| route.matches.is_for_all() && route.when.is_none();
        if !read.last().is_some_and(takes_all) {
            loaded.mistake(
                &last.place,
                "the routes are too many and too various to see whether each alert finds one",
                "add a last [[route]] with `notify` alone",
            );
        }
        return;
    };
    if let Some(example) = coverage.left_out {
        loaded.mistake(
            &last.place,
            format!("no [[route]] takes an alert with {example}"),
            "add a [[route]] for it, or a last one with `notify` alone",
        );
    }
    for (position, route) in ordered.iter().enumerate() {
        if !coverage.reached.contains(&position) {
            loaded.mistake(
                &route.place,
                "no alert reaches this [[route]]: those above it take them all",
                "move it up, or remove it",
            );
        } else if coverage.reached_by_warnings.contains(&position) {
            warnings.extend(woken_by_warnings(route, &read[position], declared));
        }
    }
}

/// Allowed, since who is woken by what is theirs to say; but a team that is woken by warnings soon sleeps through alarms.
fn woken_by_warnings(read: &ReadRoute, route: &Route, declared: &Declared<'_>) -> Option<Mistake> {
    let wakes = |receiver: &&ReceiverName| {
        let facts = declared.receivers.get(*receiver);
        facts.is_some_and(|facts| facts.has_steps)
    };
    let woken = route.notify.iter().find(wakes)?;
    if matches!(route.when, Some(When::Inside(_))) {
        return None;
    }
    Some(Mistake {
        place: read.place.clone(),
        what: format!("this [[route]] wakes `receiver.{woken}` for warnings too"),
        mend: "write `status = [\"critical\", \"unknown\"]` into its `match`".to_owned(),
    })
}

fn judge_receivers(loaded: &LoadedSettings, routes: &[ReadRoute], declared: &Declared<'_>) {
    let Some(named) = routes
        .iter()
        .map(|route| route.named.as_ref())
        .collect::<Option<Vec<_>>>()
    else {
        // Who is meant there is not known.
        return;
    };
    let named: BTreeSet<&ReceiverName> = named.into_iter().flatten().collect();
    for (receiver, facts) in declared
        .receivers
        .iter()
        .filter(|(name, _)| !named.contains(name))
    {
        loaded.mistake(
            &facts.place,
            format!("no [[route]] names `receiver.{receiver}`"),
            "name it in the `notify` or `digest` of a `[[route]]`, or remove it",
        );
    }
}

fn non_empty<T>(values: Vec<T>) -> Result<Vec<T>, Complaint> {
    if values.is_empty() {
        return Err(Complaint::new(
            "an empty list could mean all or none",
            "write at least one value, or remove the key for all",
        ));
    }
    Ok(values)
}

fn some_receivers(
    receivers: Vec<ReceiverName>,
    may_be_none: bool,
) -> Result<Vec<ReceiverName>, Complaint> {
    if receivers.is_empty() && !may_be_none {
        return Err(Complaint::new(
            "this route would tell nobody",
            "name at least one receiver",
        ));
    }
    each_once(receivers)
}
