//! `[receiver.N]`: who is told. A team by one way of its own, or people step by step until somebody says that they are on
//! it.
//!
//! A step that names somebody whom its channels do not reach is refused: on the night it counts, that step would be
//! silence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vigie_core::{
    id::{CalendarName, ChannelName, PersonName, ReceiverName},
    reason::message::Language,
};
use vigie_decide::rules::{self, EscalationStep};
use vigie_deliver::config::{Address, Contact, Webhook, WebhookFormat};
use vigie_platform::settings_file::{Complaint, LoadedSettings, Place, Section, Url};

use super::{
    channels::{self, Channels},
    each_once, is_this_machine, language, milliseconds,
    people::{People, Rotas},
    readable, trusted,
};

/// Whoever has not answered to ten steps is not there.
const STEPS_MAX: usize = 10;

/// Telling one person more often than each minute would only be noise: what waits for a person goes out once a minute.
const REPEAT_MIN: Duration = Duration::from_secs(60);

/// A page that comes back once a day is none.
const REPEAT_MAX: Duration = Duration::from_secs(86_400);

/// Often enough to wake somebody who slept through the first one, seldom enough to let them work.
const REPEAT_DEFAULT: Duration = Duration::from_secs(600);

/// `[receiver.N]`: where one receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// By what.
    pub way: ReceiverKind,
    /// Its own language; `None`: that of the collector.
    pub language: Option<Language>,
}

/// How one receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverKind {
    /// A POST to its address.
    Webhook(Webhook),
    /// A channel: `email = { … }` or `contact = { … }`.
    Contact(Contact),
    /// People, step by step: [`rules::Receiver::steps`].
    Steps,
}

/// What routes must know of a receiver, whatever mistakes are in its table.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) place: Place,
    pub(super) has_calendar: bool,
    pub(super) has_steps: bool,
}

/// What `[receiver.N]` tables said.
pub(super) struct Receivers {
    /// All that are declared, those with mistakes included, so that naming them is not another mistake.
    pub(super) declared: BTreeMap<ReceiverName, Declared>,
    /// What decides.
    pub(super) rules: Option<BTreeMap<ReceiverName, rules::Receiver>>,
    /// What tells.
    pub(super) read: Option<BTreeMap<ReceiverName, Receiver>>,
}

/// What receivers may name.
pub(super) struct Known<'k> {
    pub(super) channels: &'k Channels,
    pub(super) calendars: &'k BTreeSet<CalendarName>,
    pub(super) people: &'k People,
    pub(super) rotas: &'k Rotas,
}

pub(super) fn read(loaded: &LoadedSettings, root: &Section<'_>, known: &Known<'_>) -> Receivers {
    let mut declared = BTreeMap::new();
    let read: Vec<_> = root
        .tables("receiver")
        .into_iter()
        .map(|section| {
            let name = section.parsed_own_name::<ReceiverName>();
            let facts = Declared {
                place: section.place().clone(),
                has_calendar: section.has("calendar"),
                has_steps: section.has("steps"),
            };
            declared.extend(name.clone().map(|name| (name, facts)));
            let receiver = read_receiver(loaded, &section, known);
            section.finish();
            let (decides, tells) = receiver?;
            let name = name?;
            Some(((name.clone(), decides), (name, tells)))
        })
        .collect();
    let (rules, read) = match read.into_iter().collect::<Option<Vec<_>>>() {
        Some(all) => {
            let (rules, read) = all.into_iter().unzip();
            (Some(rules), Some(read))
        }
        None => (None, None),
    };
    Receivers {
        declared,
        rules,
        read,
    }
}

fn read_receiver(
    loaded: &LoadedSettings,
    section: &Section<'_>,
    known: &Known<'_>,
) -> Option<(rules::Receiver, Receiver)> {
    let ways = read_way(loaded, section, known);
    let language = language(section).optional();
    let calendar = read_calendar(section, known.calendars);
    let digest_always = section
        .one_of("digest", &[("always", true), ("when_needed", false)])
        .try_map(|digest| {
            let (what, mend) = if section.has("steps") {
                (
                    "steps wake people, they get no digest",
                    "remove it, and name another receiver in the `digest` of a route",
                )
            } else if section.has("calendar") {
                return Ok(digest);
            } else {
                (
                    "without a `calendar` nobody knows when a digest is due",
                    "write `calendar = \"…\"`, or remove it",
                )
            };
            Err(Complaint::new(what, mend))
        })
        .or(false);
    let (way, steps) = ways?;
    Some((
        rules::Receiver {
            calendar: calendar?,
            digest_always,
            steps,
        },
        Receiver { way, language },
    ))
}

/// `None`: with a mistake; absent is none.
fn read_calendar(
    section: &Section<'_>,
    calendars: &BTreeSet<CalendarName>,
) -> Option<Option<CalendarName>> {
    if !section.has("calendar") {
        return Some(None);
    }
    let named = section.reference("calendar", "calendar", calendars);
    named.required().map(Some)
}

/// The way and its steps, which only [`ReceiverKind::Steps`] has. `None`: with a mistake.
fn read_way(
    loaded: &LoadedSettings,
    section: &Section<'_>,
    known: &Known<'_>,
) -> Option<(ReceiverKind, Vec<EscalationStep>)> {
    const WAYS: [&str; 4] = ["webhook", "email", "contact", "steps"];
    let webhook = section.sub("webhook").map(read_webhook);
    let email = section.sub("email").map(|sub| known.channels.email(sub));
    let contact = section
        .sub("contact")
        .map(|sub| known.channels.contact(sub));
    let steps = section
        .has("steps")
        .then(|| read_steps(loaded, section, known));
    let written: Vec<&str> = WAYS.into_iter().filter(|way| section.has(way)).collect();
    match written[..] {
        [] => {
            section.mistake(
                "webhook",
                format!("`receiver.{}` has no way to be told", section.own_name()),
                "write one of `email = { to = [\"…\"] }`, `webhook = { url = \"https://…\" }`, \
                 `contact = { channel = \"…\" }` and `steps = [ … ]`",
            );
            None
        }
        [_] => {
            let one = webhook.map(|webhook| webhook.map(ReceiverKind::Webhook));
            let one = one.or(email
                .or(contact)
                .map(|contact| contact.map(ReceiverKind::Contact)));
            match steps {
                Some(steps) => Some((ReceiverKind::Steps, steps?)),
                None => Some((one.flatten()?, Vec::new())),
            }
        }
        [first, second, ..] => {
            let what = format!(
                "`receiver.{}` has both `{first}` and `{second}`",
                section.own_name()
            );
            let mend = "keep one of the two, and declare another receiver for the other";
            section.mistake(second, what, mend);
            None
        }
    }
}

/// `None`: with a mistake.
fn read_steps(
    loaded: &LoadedSettings,
    receiver: &Section<'_>,
    known: &Known<'_>,
) -> Option<Vec<EscalationStep>> {
    let sections = receiver.array_of_tables("steps");
    if sections.is_empty() || sections.len() > STEPS_MAX {
        let what = format!(
            "`steps`: {} are {}",
            sections.len(),
            match sections.len() {
                0 => "too few",
                _ => "too many",
            }
        );
        receiver.mistake("steps", what, format!("write 1 to {STEPS_MAX}"));
    }
    let read: Vec<_> = sections
        .into_iter()
        .enumerate()
        .map(|(index, section)| {
            let step = read_step(loaded, &section, index == 0, known);
            section.finish();
            step
        })
        .collect();
    read.into_iter().collect()
}

fn read_step(
    loaded: &LoadedSettings,
    section: &Section<'_>,
    is_first: bool,
    known: &Known<'_>,
) -> Option<EscalationStep> {
    let (has_rota, has_people) = (section.has("rota"), section.has("people"));
    let rota = section.reference("rota", "rota", &known.rotas.names);
    let people = section
        .references("people", "person", &known.people.names)
        .try_map(each_once);
    let who = match (has_rota, has_people) {
        (true, false) => rota.required().map(|rota| (Some(rota), Vec::new())),
        (false, true) => people.required().map(|people| (None, people)),
        (is_both, _) => {
            drop((rota.optional(), people.optional()));
            let what = if is_both {
                "this step has both `rota` and `people`"
            } else {
                "this step tells nobody"
            };
            let mend = "write `rota = \"…\"` or `people = [\"…\"]`, one of the two";
            loaded.mistake(section.place(), what, mend);
            None
        }
    };
    if let Some((None, people)) = &who
        && people.is_empty()
    {
        let what = "`people`: this step tells nobody";
        section.mistake("people", what, "name at least one person");
    }
    let has_via = section.has("via");
    let via = section
        .references("via", "channel", &known.channels.names())
        .try_map(each_once)
        .try_map(|via| {
            if via.is_empty() {
                let what = "an empty list could mean all or none";
                let mend = "name at least one channel, or remove the key for each person's own";
                return Err(Complaint::new(what, mend));
            }
            Ok(via)
        })
        .optional();
    let via = match via {
        None if has_via => None,
        via => Some(via.unwrap_or_default()),
    };
    let after = read_after(section, is_first);
    let repeat = section
        .duration("repeat")
        .within(REPEAT_MIN..=REPEAT_MAX)
        .or(REPEAT_DEFAULT);
    let ((rota, people), via) = (who?, via?);
    if !loaded.is_partial() {
        let (key, told) = match &rota {
            // A rota with mistakes is told of there.
            Some(rota) => (
                "rota",
                known.rotas.known.get(rota).map_or_else(Vec::new, everybody),
            ),
            None => ("people", people.iter().collect()),
        };
        judge_reach(section, key, &told, &via, known.people);
    }
    Some(EscalationStep {
        after_ms: milliseconds(after?),
        rota,
        people,
        via,
        repeat_ms: Some(milliseconds(repeat)),
    })
}

/// Everybody whose turn it can be.
fn everybody(rota: &vigie_decide::rota::Rota) -> Vec<&PersonName> {
    let stand_ins = rota.overrides.iter().map(|one| &one.person);
    let mut all = Vec::new();
    for person in rota.people.iter().chain(stand_ins) {
        if !all.contains(&person) {
            all.push(person);
        }
    }
    all
}

/// How long after the step before; `None` with a mistake.
fn read_after(section: &Section<'_>, is_first: bool) -> Option<Duration> {
    let is_written = section.has("after");
    let after = section
        .duration("after")
        .within(REPEAT_MIN..=REPEAT_MAX)
        .try_map(|after| {
            if is_first {
                let what = "the first step begins at once";
                return Err(Complaint::new(what, "remove it"));
            }
            Ok(after)
        });
    if is_first && !is_written {
        return Some(Duration::ZERO);
    }
    if is_written {
        return after.optional();
    }
    let _ = after.optional();
    let what = "only the first step has no `after`";
    section.mistake(
        "after",
        what,
        "write how long after the step before this one is added, such as `after = \"15m\"`",
    );
    None
}

/// Whoever a step tells must have a contact that its channels reach.
fn judge_reach(
    section: &Section<'_>,
    key: &str,
    told: &[&PersonName],
    via: &[ChannelName],
    people: &People,
) {
    for name in told {
        // Somebody with mistakes is told of there.
        let Some(person) = people.known.get(*name) else {
            continue;
        };
        let mut contacts = person.contacts.iter();
        if contacts.any(|contact| via.is_empty() || via.contains(&contact.channel)) {
            continue;
        }
        let channels: Vec<String> = via.iter().map(|channel| format!("\"{channel}\"")).collect();
        let (what, channel) = match via.first() {
            None => (format!("`{key}`: \"{name}\" has no contact"), "…"),
            Some(first) => (
                format!(
                    "`{key}`: \"{name}\" cannot be reached by {}",
                    channels.join(" or ")
                ),
                first.as_str(),
            ),
        };
        let mend = format!(
            "add `{{ channel = \"{channel}\", to = \"…\" }}` to `contacts` in `[person.{name}]`"
        );
        section.mistake(key, what, mend);
    }
}

fn read_webhook(section: Section<'_>) -> Option<Webhook> {
    let header_file = section
        .secret_file("header_file")
        .try_map(readable)
        .optional();
    let ca_file = section.path("ca_file").try_map(trusted).optional();
    let format = section
        .one_of(
            "format",
            &[
                ("vigie", WebhookFormat::Vigie),
                ("alertmanager", WebhookFormat::Alertmanager),
            ],
        )
        .or(WebhookFormat::Vigie);
    let detail = channels::read_detail(&section);
    let address = read_webhook_address(&section);
    if let Some((_, Some(url))) = &address
        && url.scheme() == "http"
    {
        let tells_a_secret = section.has("header_file") && !is_this_machine(url.host());
        if tells_a_secret {
            let what = "`header_file`: the secret would travel without encryption";
            section.mistake("header_file", what, "write a `url` with https://");
        }
        if section.has("ca_file") {
            let what = "`ca_file`: this webhook never speaks TLS";
            section.mistake("ca_file", what, "remove it, or write a `url` with https://");
        }
    }
    section.finish();
    let (address, _) = address?;
    Some(Webhook {
        address,
        format,
        detail,
        header_file,
        ca_file,
    })
}

/// With what it is made of where it is no secret.
fn read_webhook_address(section: &Section<'_>) -> Option<(Address, Option<Url>)> {
    if section.has("url_file") {
        if section.has("url") {
            let what = "`url` and `url_file` are both written";
            section.mistake("url", what, "keep one of the two");
        }
        let mut file = section.secret_file("url_file").try_map(readable);
        if !section.has("url") {
            // What would keep the program from starting is found here.
            file = file.try_map(channels::url_secret);
        }
        let file = file.required()?;
        return Some((Address::File(file), None));
    }
    let url = section.url("url", &["https", "http"]).required()?;
    Some((Address::Url(url.as_str().to_owned()), Some(url)))
}
