//! Where an alert belongs at a moment: which route takes it, who is told at once, for whom it is held. Pure, and the only
//! place that decides it: the engine acts on it, `explain` prints it.

use std::sync::Arc;

use jiff::civil::Date;

use crate::{
    calendar::Why,
    mute::Nodes,
    rules::{Route, Rules, Subject, When},
    zones::Zones,
};
use vigie_core::{
    id::{CalendarName, MaintenanceName, ReceiverName},
    status::{Family, Status},
    time::Wall,
};

/// How long an alert is `unknown` before routes that name this status count it: a restarted agent or a busy network is no
/// reason to wake somebody, what stays unmeasured is. Until then it goes where a warning would.
pub const UNKNOWN_COUNTS_AFTER_MS: u64 = 5 * 60_000;

/// What decisions stand on: the rules, and the zones that they name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// Rules of the zones.
    pub zones: Zones,
}

/// What routes go by, besides the rules.
#[derive(Debug, Clone, Copy)]
pub struct RouteInput<'a> {
    /// What the alert concerns.
    pub subject: &'a Subject,
    /// Its node.
    pub node: &'a str,
    /// Family of the check.
    pub family: Family,
    /// How it stands.
    pub status: Status,
    /// It is `unknown`, and has not been so for [`UNKNOWN_COUNTS_AFTER_MS`].
    pub is_newly_unknown: bool,
}

/// The civil time that calendars go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallTime {
    /// The clock on the wall.
    pub at: Wall,
    /// Nobody trusts it: calendars count as closed for what is critical, and as open for what would be held.
    pub is_in_doubt: bool,
}

/// Where an alert belongs at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    /// The route that took it, by its position; `None`: none did, and every receiver is told.
    pub route: Option<usize>,
    /// Told at once.
    pub tell: Vec<ReceiverName>,
    /// In the next digest, and told no earlier unless that changes.
    pub hold: Vec<ReceiverName>,
}

/// How a calendar stands at a moment, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarStatus {
    /// Which.
    pub calendar: CalendarName,
    /// Whether it counts as open.
    pub is_open: bool,
    /// Why; `None`: its zone is not known, or the clock is in doubt.
    pub why: Option<Why>,
    /// When that changes.
    pub next_edge: Option<Wall>,
}

impl Policy {
    /// Where an alert belongs. The first route whose `match` and hours fit decides.
    ///
    /// Getting worse never makes it quieter: where nobody would be told at once, whoever would be if it were less bad is.
    /// Among those whom routes do tell it is for the settings to say whom each status is for.
    #[must_use]
    pub fn place(&self, case: RouteInput<'_>, civil: WallTime) -> Routing {
        let mut placement = self.first_match(case, civil);
        let quieter = [Status::Unknown, Status::Warning].into_iter();
        let mut quieter = quieter.filter(|status| status.rank() < case.status.rank());
        while placement.tell.is_empty()
            && let Some(status) = quieter.next()
        {
            placement.tell = self.first_match(RouteInput { status, ..case }, civil).tell;
        }
        let tell = &placement.tell;
        placement.hold.retain(|receiver| !tell.contains(receiver));
        placement
    }

    fn first_match(&self, case: RouteInput<'_>, civil: WallTime) -> Routing {
        let found = self
            .rules
            .routes
            .iter()
            .enumerate()
            .find(|(_, route)| self.takes(route, case, civil));
        let Some((index, route)) = found else {
            // Settings that could cause this are refused; if one slips through, too many being told beats nobody.
            return Routing {
                route: None,
                tell: self.rules.receivers.keys().cloned().collect(),
                hold: Vec::new(),
            };
        };
        let mut placement = Routing {
            route: Some(index),
            ..Routing::default()
        };
        for receiver in &route.notify {
            // What would be held for a morning that never comes is told now.
            if route.hold
                && !self.is_at_work(receiver, civil)
                && self.next_opening(receiver, civil.at).is_some()
            {
                placement.hold.push(receiver.clone());
            } else {
                placement.tell.push(receiver.clone());
            }
        }
        let also = route
            .digest
            .iter()
            .filter(|receiver| !route.notify.contains(receiver));
        placement.hold.extend(also.cloned());
        placement
    }

    fn takes(&self, route: &Route, case: RouteInput<'_>, civil: WallTime) -> bool {
        // Not quieter than the warning it may have been, and no louder.
        let counts_as = match case.status {
            Status::Unknown if case.is_newly_unknown => Status::Warning,
            status => status,
        };
        route
            .matches
            .covers(case.subject, case.node, case.family, counts_as)
            && match &route.when {
                None => true,
                Some(When::Inside(calendar)) => self.is_inside(calendar, civil),
                Some(When::Outside(calendar)) => !self.is_inside(calendar, civil),
            }
    }

    /// Whether a route's calendar is open. In doubt it is not: then those who are on call at night are told.
    fn is_inside(&self, calendar: &CalendarName, civil: WallTime) -> bool {
        !civil.is_in_doubt && self.why(calendar, civil.at).is_some_and(Why::is_open)
    }

    /// Whether a receiver is told at once of what is held otherwise. In doubt it is: better in the night than never.
    #[must_use]
    pub fn is_at_work(&self, receiver: &ReceiverName, civil: WallTime) -> bool {
        let calendar = self
            .rules
            .receivers
            .get(receiver)
            .and_then(|receiver| receiver.calendar.as_ref());
        let why = calendar.and_then(|calendar| self.why(calendar, civil.at));
        civil.is_in_doubt || why.is_none_or(Why::is_open)
    }

    /// The window of maintenance that keeps alerts of a family quiet now. `is_there`: whether it is about their node.
    /// In doubt about the clock none does: doubt never keeps an alarm away.
    #[must_use]
    pub fn window_over(
        &self,
        family: Family,
        is_silence: bool,
        civil: WallTime,
        is_there: impl Fn(&Nodes) -> bool,
    ) -> Option<&MaintenanceName> {
        if civil.is_in_doubt {
            return None;
        }
        let on = self.rules.maintenance.iter().find(|(_, window)| {
            window.scope.covers(family, is_silence)
                && is_there(&window.place)
                && self
                    .zones
                    .find(window.window.time_zone())
                    .is_some_and(|zone| window.window.is_on(zone, civil.at))
        });
        on.map(|(name, _)| name)
    }

    /// Why a calendar is open or closed. `None` when it or its zone is not known.
    #[must_use]
    pub fn why(&self, calendar: &CalendarName, at: Wall) -> Option<Why> {
        let calendar = self.rules.calendars.get(calendar)?;
        let zone = self.zones.find(&calendar.time_zone)?;
        Some(calendar.in_zone(zone).why(at))
    }

    /// How a calendar stands.
    #[must_use]
    pub fn standing(&self, calendar: &CalendarName, at: Wall) -> Option<CalendarStatus> {
        let rules = self.rules.calendars.get(calendar)?;
        let zone = self.zones.find(&rules.time_zone);
        let in_zone = zone.map(|zone| rules.in_zone(zone));
        let why = in_zone.map(|calendar| calendar.why(at));
        Some(CalendarStatus {
            calendar: calendar.clone(),
            is_open: why.is_some_and(Why::is_open),
            why,
            next_edge: in_zone.and_then(|calendar| calendar.next_edge(at)),
        })
    }

    /// The next opening of a receiver's calendar strictly after `at`; `None` without one, or if it never opens again.
    #[must_use]
    pub fn next_opening(&self, receiver: &ReceiverName, at: Wall) -> Option<Wall> {
        let calendar = self.rules.receivers.get(receiver)?.calendar.as_ref()?;
        let calendar = self.rules.calendars.get(calendar)?;
        let in_zone = calendar.in_zone(self.zones.find(&calendar.time_zone)?);
        let edge = in_zone.next_edge(at)?;
        if in_zone.is_open(edge) {
            Some(edge)
        } else {
            in_zone.next_edge(edge)
        }
    }

    /// The next instant at which anything changes by the clock on the wall: a calendar, a window of maintenance.
    #[must_use]
    pub fn next_edge(&self, at: Wall) -> Option<Wall> {
        let calendars = self.rules.calendars.values().filter_map(|calendar| {
            calendar
                .in_zone(self.zones.find(&calendar.time_zone)?)
                .next_edge(at)
        });
        let windows = self.rules.maintenance.values().filter_map(|maintenance| {
            let window = &maintenance.window;
            window.next_edge(self.zones.find(window.time_zone())?, at)
        });
        calendars.chain(windows).min()
    }
}

/// The date that a calendar's answer is about.
#[must_use]
pub const fn date_of(why: Why) -> Option<Date> {
    match why {
        Why::Window(date)
        | Why::OpenedHours(date)
        | Why::ClosedHours(date)
        | Why::ClosedDate(date)
        | Why::Holiday(date, _) => Some(date),
        Why::OutsideHours => None,
    }
}

#[cfg(test)]
mod tests;
