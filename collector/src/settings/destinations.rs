//! Who can be told at all, and in which language and zone: what the deliverer is given of all that settings say.

use jiff::tz::TimeZone;
use vigie_core::id::{CalendarName, PersonName, ReceiverName, RotaName};
use vigie_decide::destination::Destination;
use vigie_deliver::config::{By, TargetConfig};

use super::{ReceiverKind, Settings};

impl Settings {
    /// Every destination that messages can have: receivers with one way of their own, and each contact of each person.
    pub fn destinations(&self) -> impl Iterator<Item = TargetConfig> {
        let receivers = self.receivers.iter().filter_map(|(name, receiver)| {
            let by = match &receiver.way {
                ReceiverKind::Webhook(webhook) => By::Webhook(webhook.clone()),
                ReceiverKind::Contact(contact) => By::Contact(contact.clone()),
                ReceiverKind::Steps => return None,
            };
            Some(TargetConfig {
                destination: Destination::Receiver(name.clone()),
                by,
                language: receiver.language.unwrap_or(self.language),
                zone: self.zone_of(name).cloned(),
            })
        });
        let people = self.people.iter().flat_map(|(name, person)| {
            let callers: Vec<&ReceiverName> = self.callers_of(name).collect();
            let of_callers = callers
                .iter()
                .find_map(|receiver| self.receivers.get(*receiver)?.language);
            let language = person.language.or(of_callers).unwrap_or(self.language);
            let zone = match callers.first() {
                Some(receiver) => self.zone_of(receiver),
                None => self.usual_zone(),
            };
            person.contacts.iter().map(move |contact| TargetConfig {
                destination: Destination::Person {
                    person: name.clone(),
                    channel: contact.channel.clone(),
                },
                by: By::Contact(contact.clone()),
                language,
                zone: zone.cloned(),
            })
        });
        receivers.chain(people)
    }

    /// The zone in which a receiver is told times: of its calendar, else of the first rota that its steps ask, else the
    /// one that is usual in these settings. `None`: UTC.
    #[must_use]
    pub fn zone_of(&self, receiver: &ReceiverName) -> Option<&TimeZone> {
        let receiver = self.rules.receivers.get(receiver);
        let calendar = receiver.and_then(|receiver| receiver.calendar.as_ref());
        let steps = receiver.into_iter().flat_map(|receiver| &receiver.steps);
        let rota = steps.filter_map(|step| step.rota.as_ref()).next();
        calendar
            .and_then(|calendar| self.zone_of_calendar(calendar))
            .or_else(|| self.zone_of_rota(rota?))
            .or_else(|| self.usual_zone())
    }

    /// The zone of the first calendar by name, else of the first rota, else whichever the rules name at all.
    fn usual_zone(&self) -> Option<&TimeZone> {
        let calendar = self.rules.calendars.keys().next();
        let rota = self.rules.rotas.keys().next();
        calendar
            .and_then(|calendar| self.zone_of_calendar(calendar))
            .or_else(|| self.zone_of_rota(rota?))
            .or_else(|| self.zones.first().map(|(_, zone)| zone))
    }

    fn zone_of_calendar(&self, calendar: &CalendarName) -> Option<&TimeZone> {
        self.zones
            .find(&self.rules.calendars.get(calendar)?.time_zone)
    }

    fn zone_of_rota(&self, rota: &RotaName) -> Option<&TimeZone> {
        self.zones
            .find(&self.rules.rotas.get(rota)?.handoff.time_zone)
    }

    /// The receivers whose steps can tell a person, by name.
    fn callers_of<'s>(&'s self, person: &'s PersonName) -> impl Iterator<Item = &'s ReceiverName> {
        let is_on = |rota: &RotaName| {
            self.rules.rotas.get(rota).is_some_and(|rota| {
                rota.people.contains(person)
                    || rota.overrides.iter().any(|one| one.person == *person)
            })
        };
        self.rules
            .receivers
            .iter()
            .filter_map(move |(name, receiver)| {
                let tells = receiver.steps.iter().any(|step| {
                    step.people.contains(person) || step.rota.as_ref().is_some_and(is_on)
                });
                tells.then_some(name)
            })
    }
}
