//! Services and groups, and the [`Rules`] that all tables together make.
//!
//! Whoever is named must be declared, since a misspelt name is a page that nobody gets; services that wait for each other
//! would explain each other's failures for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vigie_core::{
    id::{GroupName, NodeName, ServiceName, SiteName},
    status::{Criticality, Environment, Needs},
};
use vigie_decide::rules::{self, Group, Rules, Service};
use vigie_platform::settings_file::{LoadedSettings, Mistake, Place, Section};

use super::{
    LEVELS,
    calendars::Calendars,
    maintenance, milliseconds,
    people::{People, Rotas},
    receivers::Receivers,
    routes, words,
};

/// What other tables said that rules are made of.
pub(super) struct Parts<'p> {
    pub(super) silent_after: Duration,
    pub(super) calendars: &'p Calendars,
    pub(super) people: &'p People,
    pub(super) rotas: &'p Rotas,
    pub(super) receivers: &'p Receivers,
}

/// Reads services, groups, routes and maintenance, and puts everything together.
pub(super) fn read(
    loaded: &LoadedSettings,
    root: &Section<'_>,
    parts: &Parts<'_>,
) -> (Option<Rules>, Vec<Mistake>) {
    let services = read_services(loaded, root);
    let groups = read_groups(root, &services.names);
    let maintenance = maintenance::read(root, &groups.names);
    let mut own = services.names;
    own.insert(ServiceName::vigie());
    let routes = routes::read(
        loaded,
        root,
        &routes::Declared {
            services: &own,
            groups: &groups.names,
            sites: &groups.sites,
            calendars: &parts.calendars.names,
            receivers: &parts.receivers.declared,
        },
    );
    let rules = (|| {
        Some(Rules {
            silent_after_ms: milliseconds(parts.silent_after),
            services: services.read?,
            groups: groups.read?,
            calendars: parts.calendars.read.clone()?,
            people: parts.people.is_whole.then(|| people(parts.people))?,
            rotas: parts.rotas.is_whole.then(|| parts.rotas.known.clone())?,
            receivers: parts.receivers.rules.clone()?,
            maintenance: maintenance?,
            routes: routes.read?,
        })
    })();
    (rules, routes.warnings)
}

/// Only by what people are reached: addresses are not what decides.
fn people(people: &People) -> BTreeMap<vigie_core::id::PersonName, rules::Person> {
    let all = people.known.iter().map(|(name, person)| {
        let channels = person.contacts.iter();
        let channels = channels.map(|contact| contact.channel.clone()).collect();
        (name.clone(), rules::Person { channels })
    });
    all.collect()
}

struct Services {
    names: BTreeSet<ServiceName>,
    read: Option<BTreeMap<ServiceName, Service>>,
}

fn read_services(loaded: &LoadedSettings, root: &Section<'_>) -> Services {
    let sections: Vec<(Option<ServiceName>, Section<'_>)> = root
        .tables("service")
        .into_iter()
        .map(|section| (section.parsed_own_name::<ServiceName>(), section))
        .collect();
    let is_built_in = |name: &ServiceName| *name == ServiceName::vigie();
    let names: BTreeSet<ServiceName> = sections
        .iter()
        .filter_map(|(name, _)| name.clone())
        .filter(|name| !is_built_in(name))
        .collect();
    let mut waits = Waits::new();
    let read: Vec<_> = sections
        .into_iter()
        .map(|(name, section)| {
            if name.as_ref().is_some_and(is_built_in) {
                loaded.mistake(
                    section.place(),
                    "the service `vigie` is built in: critical, with every need at 4",
                    "remove this table, or give your service another name",
                );
            }
            let service = read_service(&section, &names);
            if let (Some(name), Some(service)) = (&name, &service) {
                let place = section.place_of("depends_on");
                waits.insert(name.clone(), (place, service.depends_on.clone()));
            }
            section.finish();
            Some((name?, service?))
        })
        .collect();
    judge_waits(loaded, &waits);
    Services {
        names,
        read: read.into_iter().collect(),
    }
}

/// For what each service waits, and where that is written.
type Waits = BTreeMap<ServiceName, (Place, BTreeSet<ServiceName>)>;

/// Each circle is told once, at the first of its services by name.
fn judge_waits(loaded: &LoadedSettings, waits: &Waits) {
    let mut told = BTreeSet::new();
    for (service, (place, _)) in waits {
        let Some(circle) = circle(waits, service) else {
            continue;
        };
        if circle.iter().any(|one| told.contains(*one)) {
            continue;
        }
        let mut names: Vec<&str> = circle.iter().map(|one| one.as_str()).collect();
        names.push(service.as_str());
        loaded.mistake(
            place,
            format!(
                "`depends_on`: these services wait for each other: {}",
                names.join(" → ")
            ),
            "keep the direction in which a failure spreads",
        );
        told.extend(circle);
    }
}

/// The shortest way from a service back to itself, which it begins with.
fn circle<'w>(waits: &'w Waits, service: &'w ServiceName) -> Option<Vec<&'w ServiceName>> {
    let mut before: BTreeMap<&ServiceName, &ServiceName> = BTreeMap::new();
    let mut next = std::collections::VecDeque::from([service]);
    while let Some(at) = next.pop_front() {
        for wanted in waits.get(at).into_iter().flat_map(|(_, wanted)| wanted) {
            if wanted == service {
                let back = std::iter::successors(Some(at), |one| before.get(*one).copied());
                let mut way: Vec<&ServiceName> = back.collect();
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(wanted) {
                before.insert(wanted, at);
                next.push_back(wanted);
            }
        }
    }
    None
}

fn read_service(section: &Section<'_>, names: &BTreeSet<ServiceName>) -> Option<Service> {
    let criticality = section
        .one_of("criticality", &words(Criticality::ALL, Criticality::as_str))
        .required();
    let runbook = section.url("runbook", &["https", "http"]).optional();
    let waits = section.has("depends_on");
    let depends_on = section
        .references("depends_on", "service", names)
        .optional();
    let depends_on = match depends_on {
        None if waits => None,
        services => Some(services.unwrap_or_default().into_iter().collect()),
    };
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
        depends_on: depends_on?,
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
