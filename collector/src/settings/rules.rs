//! Services, groups and routes: the tables that decide, and what must hold between them.
//!
//! Whoever is named must be declared, since a misspelt name is a page that nobody gets. The last route takes what no other
//! took, so that no alert is left without a receiver.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vigie_core::{
    id::{GroupName, NodeName, ReceiverName, ServiceName, SiteName},
    rules::{Group, Match, Route, Rules, Service},
    status::{Criticality, Environment, Family, Needs, Status},
};
use vigie_platform::settings_file::{Complaint, LoadedSettings, Place, Section};

/// The levels of a need in the policies that vigie serves.
const LEVELS: std::ops::RangeInclusive<u8> = 1..=4;

pub(super) fn read(
    loaded: &LoadedSettings,
    root: &Section<'_>,
    receivers: &BTreeMap<ReceiverName, Place>,
    silent_after: Duration,
) -> Option<Rules> {
    let services = read_services(loaded, root);
    let groups = read_groups(root, &services.names);
    let mut own = services.names;
    own.insert(ServiceName::vigie());
    let declared = Declared {
        services: own,
        groups: groups.names,
        sites: groups.sites,
        receivers: receivers.keys().cloned().collect(),
    };
    let routes = read_routes(root, &declared);
    if !loaded.is_partial() {
        judge_order(loaded, &routes);
        judge_receivers(loaded, &routes, receivers);
    }
    let routes: Option<Vec<Route>> = routes
        .into_iter()
        .map(|route| {
            Some(Route {
                matches: route.matches?,
                notify: route.notify?,
            })
        })
        .collect();
    Some(Rules {
        silent_after_ms: u64::try_from(silent_after.as_millis()).unwrap_or(u64::MAX),
        services: services.read?,
        groups: groups.read?,
        receivers: declared.receivers,
        routes: routes?,
    })
}

/// What may be named. Holds what has mistakes too, so that naming it is not another one.
struct Declared {
    services: BTreeSet<ServiceName>,
    groups: BTreeSet<GroupName>,
    sites: BTreeSet<SiteName>,
    receivers: BTreeSet<ReceiverName>,
}

struct Services {
    names: BTreeSet<ServiceName>,
    read: Option<BTreeMap<ServiceName, Service>>,
}

fn read_services(loaded: &LoadedSettings, root: &Section<'_>) -> Services {
    let mut names = BTreeSet::new();
    let read: Vec<_> = root
        .tables("service")
        .into_iter()
        .map(|section| {
            let name = section.parsed_own_name::<ServiceName>();
            if name == Some(ServiceName::vigie()) {
                loaded.mistake(
                    section.place(),
                    "the service `vigie` is built in: critical, with every need at 4",
                    "remove this table, or give your service another name",
                );
            } else {
                names.extend(name.clone());
            }
            let service = read_service(&section);
            section.finish();
            Some((name?, service?))
        })
        .collect();
    Services {
        names,
        read: read.into_iter().collect(),
    }
}

fn read_service(section: &Section<'_>) -> Option<Service> {
    let criticality = section
        .one_of("criticality", &words(Criticality::ALL, Criticality::as_str))
        .required();
    let runbook = section.url("runbook", &["https", "http"]).optional();
    let needs = match section.sub("needs") {
        Some(needs) => {
            let [d, i, c, t] =
                ["D", "I", "C", "T"].map(|letter| needs.integer(letter, LEVELS).required());
            needs.finish();
            match (d, i, c, t) {
                (
                    Some(availability),
                    Some(integrity),
                    Some(confidentiality),
                    Some(traceability),
                ) => Some(Needs {
                    availability,
                    integrity,
                    confidentiality,
                    traceability,
                }),
                _ => None,
            }
        }
        None => {
            if !section.has("needs") {
                section.mistake(
                    "needs",
                    format!("`needs` is missing in `service.{}`", section.own_name()),
                    "write `needs = { D = 4, I = 4, C = 4, T = 4 }`, each from 1 to 4",
                );
            }
            None
        }
    };
    Some(Service {
        criticality: criticality?,
        needs: needs?,
        runbook: runbook.map(|url| url.as_str().to_owned()),
    })
}

struct Groups {
    names: BTreeSet<GroupName>,
    sites: BTreeSet<SiteName>,
    read: Option<BTreeMap<GroupName, Group>>,
}

fn read_groups(root: &Section<'_>, services: &BTreeSet<ServiceName>) -> Groups {
    let mut names = BTreeSet::new();
    // The site of nodes without a group.
    let mut sites = BTreeSet::from([SiteName::default_site()]);
    let read: Vec<_> = root
        .tables("group")
        .into_iter()
        .map(|section| {
            let name = section.parsed_own_name::<GroupName>();
            names.extend(name.clone());
            let nodes = section.names::<NodeName>("nodes").required();
            let carried = section
                .references("services", "service", services)
                .required();
            let site = section.name("site").or(SiteName::default_site());
            sites.insert(site.clone());
            let environment = section
                .one_of("environment", &words(Environment::ALL, Environment::as_str))
                .or(Environment::Production);
            section.finish();
            Some((
                name?,
                Group {
                    nodes: nodes?.into_iter().collect(),
                    services: carried?.into_iter().collect(),
                    site,
                    environment,
                },
            ))
        })
        .collect();
    Groups {
        names,
        sites,
        read: read.into_iter().collect(),
    }
}

/// One `[[route]]` with what is needed to judge it beside the others.
struct ReadRoute {
    place: Place,
    match_place: Place,
    takes_all: bool,
    notify: Option<Vec<ReceiverName>>,
    matches: Option<Match>,
}

fn read_routes(root: &Section<'_>, declared: &Declared) -> Vec<ReadRoute> {
    let sections = root.array_of_tables("route");
    sections
        .into_iter()
        .map(|section| {
            let (takes_all, matches) = match section.sub("match") {
                Some(conditions) => (conditions.is_empty(), read_match(conditions, declared)),
                None if section.has("match") => (false, None),
                None => (true, Some(Match::default())),
            };
            let notify = section
                .references("notify", "receiver", &declared.receivers)
                .try_map(some_receivers)
                .required();
            let (place, match_place) = (section.place().clone(), section.place_of("match"));
            section.finish();
            ReadRoute {
                place,
                match_place,
                takes_all,
                notify,
                matches,
            }
        })
        .collect()
}

/// `None` when a condition is wrong, so that a route is never wider than what was meant.
fn read_match(section: Section<'_>, declared: &Declared) -> Option<Match> {
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
        section.references("service", "service", &declared.services)
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
        section.references("group", "group", &declared.groups)
    );
    let site = condition!("site", section.references("site", "site", &declared.sites));
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

fn judge_order(loaded: &LoadedSettings, routes: &[ReadRoute]) {
    // Routes of a second file are a mistake of their own; they have no order among these.
    let Some(file) = routes.first().map(|route| route.place.path()) else {
        return;
    };
    let mut ordered = routes.iter().filter(|route| route.place.path() == file);
    let Some(last) = ordered.next_back() else {
        return;
    };
    if !last.takes_all {
        loaded.mistake(
            &last.match_place,
            "the last [[route]] has a `match`, so that some alerts would reach nobody",
            "add a last `[[route]]` with `notify` alone",
        );
    }
    for route in ordered.filter(|route| route.takes_all) {
        loaded.mistake(
            &route.place,
            "this [[route]] takes every alert, so that those below it are never reached",
            "give it a `match`, or move it to the end",
        );
    }
}

fn judge_receivers(
    loaded: &LoadedSettings,
    routes: &[ReadRoute],
    receivers: &BTreeMap<ReceiverName, Place>,
) {
    let Some(named) = routes
        .iter()
        .map(|route| route.notify.as_ref())
        .collect::<Option<Vec<_>>>()
    else {
        // Who is meant there is not known.
        return;
    };
    let named: BTreeSet<&ReceiverName> = named.into_iter().flatten().collect();
    for (receiver, place) in receivers.iter().filter(|(name, _)| !named.contains(name)) {
        loaded.mistake(
            place,
            format!("no [[route]] notifies `receiver.{receiver}`"),
            "name it in the `notify` of a `[[route]]`, or remove it",
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

fn some_receivers(receivers: Vec<ReceiverName>) -> Result<Vec<ReceiverName>, Complaint> {
    if receivers.is_empty() {
        return Err(Complaint::new(
            "this route would tell nobody",
            "name at least one receiver",
        ));
    }
    let mut seen = BTreeSet::new();
    match receivers.iter().find(|receiver| !seen.insert(*receiver)) {
        Some(twice) => Err(Complaint::new(
            format!("\"{twice}\" is named twice"),
            "name each receiver once",
        )),
        None => Ok(receivers),
    }
}

/// Words with their values, as [`Section::one_of`] takes them.
fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Vec<(&'static str, T)> {
    all.iter().map(|word| (as_str(*word), *word)).collect()
}
