#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::*;
use crate::{
    alert::AlertKey,
    calendar::{
        Calendar, Why,
        holidays::{Holiday, HolidaySet, Territory},
    },
    escalation::reach,
    fleet::{
        ClockEvent, Decision, Delta, Event, HandInEvent, NodeKeys, State, next_deadline,
        state::{Node, NodePlan},
        step, subject,
    },
    mute::Scope,
    rota::{Handoff, Override, Rota},
    rules::{EscalationStep, Group, Maintenance, Match, Person, Receiver, Route, Rules, Service},
    zones::Zones,
};
use vigie_core::{
    digest::Digest,
    entry::{Draft, Head, Kind},
    observation::{Fact, Object},
    plan::{Plan, PlannedCheck},
    reason::availability,
    status::{Criticality, Environment, Need, Needs},
};

const MINUTE: u64 = 60_000;
const HOUR: i64 = 3_600_000;

#[expect(clippy::disallowed_methods, reason = "tests hand zones in")]
fn paris() -> Zones {
    let zone = TimeZone::get("Europe/Paris").unwrap();
    [("Europe/Paris".to_owned(), zone)].into_iter().collect()
}

/// An instant by the clock of Paris.
pub(crate) fn at(text: &str) -> Wall {
    let civil: DateTime = text.replace(' ', "T").parse().unwrap();
    let zones = paris();
    let zone = zones.find("Europe/Paris").unwrap();
    Wall(zone.to_zoned(civil).unwrap().timestamp().as_millisecond())
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn is_one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        let at = self.below(list.len() as u64);
        list[usize::try_from(at).unwrap()].clone()
    }

    /// Up to `most` of a list, perhaps none, in its order.
    fn some_of<T: Clone>(&mut self, list: &[T], most: usize) -> Vec<T> {
        let mut left = most;
        let mut some = Vec::new();
        for item in list {
            if left > 0 && self.is_one_in(2) {
                some.push(item.clone());
                left -= 1;
            }
        }
        some
    }
}

fn names<T: std::str::FromStr<Err: std::fmt::Debug>>(names: &[&str]) -> Vec<T> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn service(criticality: Criticality, levels: [u8; 4]) -> Service {
    Service {
        criticality,
        needs: Needs {
            availability: levels[0],
            integrity: levels[1],
            confidentiality: levels[2],
            traceability: levels[3],
        },
        runbook: None,
        depends_on: BTreeSet::new(),
    }
}

fn group(nodes: &[&str], services: &[&str], site: &str, environment: Environment) -> Group {
    Group {
        nodes: names(nodes).into_iter().collect(),
        services: names(services).into_iter().collect(),
        site: site.parse().unwrap(),
        environment,
    }
}

fn calendar(open: &[&str], closed: &[&str]) -> Calendar {
    Calendar {
        time_zone: "Europe/Paris".to_owned(),
        open: open.iter().map(|window| window.parse().unwrap()).collect(),
        holidays: Some(HolidaySet {
            territory: Territory::Metropole,
            alsace_moselle: true,
            good_friday: true,
        }),
        closed: closed.iter().map(|line| line.parse().unwrap()).collect(),
        opened: Vec::new(),
    }
}

/// The example of the design page, as far as it decides.
pub(crate) fn example() -> Policy {
    let matches = |criticality: Option<Criticality>,
                   need: Option<u8>,
                   family: &[Family],
                   status: &[Status]| Match {
        criticality: criticality.into_iter().collect(),
        need: need.into_iter().collect(),
        family: family.iter().copied().collect(),
        status: status.iter().copied().collect(),
        environment: [Environment::Production].into(),
        ..Match::default()
    };
    let night = |matches| Route {
        matches,
        when: Some(When::Outside("bureau".parse().unwrap())),
        notify: names(&["astreinte"]),
        digest: names(&["equipe-sis"]),
        hold: false,
    };
    let rules = Rules {
        silent_after_ms: 120_000,
        services: [
            (
                "dossier-patient".parse().unwrap(),
                service(Criticality::Critical, [4, 4, 4, 3]),
            ),
            (
                "messagerie".parse().unwrap(),
                service(Criticality::Important, [3, 4, 4, 4]),
            ),
        ]
        .into(),
        groups: [(
            "app-strasbourg".parse().unwrap(),
            group(
                &["app-01", "app-02", "db-01"],
                &["dossier-patient", "messagerie"],
                "strasbourg",
                Environment::Production,
            ),
        )]
        .into(),
        calendars: [(
            "bureau".parse().unwrap(),
            calendar(
                &["Mon-Fri 08:30-18:00"],
                &["2026-12-24 12:30-24:00", "2027-05-07"],
            ),
        )]
        .into(),
        people: ["am", "jb", "lk", "sd"]
            .into_iter()
            .map(|name| (name, ["sms"].as_slice()))
            .chain([("chef", ["sms", "mail"].as_slice())])
            .map(|(name, channels)| {
                let channels = names(channels);
                (name.parse().unwrap(), Person { channels })
            })
            .collect(),
        rotas: [(
            "astreinte".parse().unwrap(),
            Rota {
                people: names(&["am", "jb", "lk", "sd"]),
                handoff: "Mon 08:30 Europe/Paris".to_owned().try_into().unwrap(),
                first: Date::constant(2026, 11, 23),
                overrides: Vec::new(),
            },
        )]
        .into(),
        receivers: [
            (
                "astreinte".parse().unwrap(),
                Receiver {
                    steps: vec![
                        EscalationStep {
                            rota: Some("astreinte".parse().unwrap()),
                            via: names(&["sms"]),
                            repeat_ms: Some(5 * MINUTE),
                            ..EscalationStep::default()
                        },
                        EscalationStep {
                            after_ms: 15 * MINUTE,
                            people: names(&["chef"]),
                            via: names(&["sms", "mail"]),
                            repeat_ms: Some(10 * MINUTE),
                            ..EscalationStep::default()
                        },
                    ],
                    ..Receiver::default()
                },
            ),
            (
                "equipe-sis".parse().unwrap(),
                Receiver {
                    calendar: Some("bureau".parse().unwrap()),
                    digest_always: true,
                    steps: Vec::new(),
                },
            ),
        ]
        .into(),
        maintenance: [(
            "correctifs".parse().unwrap(),
            Maintenance {
                place: Nodes {
                    groups: names(&["app-strasbourg"]).into_iter().collect(),
                    ..Nodes::default()
                },
                window: "2nd Tue 22:00-02:00 Europe/Paris"
                    .to_owned()
                    .try_into()
                    .unwrap(),
                scope: Scope::Reachability,
                reason: "monthly updates".to_owned(),
            },
        )]
        .into(),
        routes: vec![
            night(matches(
                Some(Criticality::Critical),
                None,
                &[],
                &[Status::Critical, Status::Unknown],
            )),
            night(matches(
                None,
                Some(4),
                &[Family::Integrity, Family::Backup, Family::Tls],
                &[Status::Critical],
            )),
            Route {
                notify: names(&["equipe-sis"]),
                hold: true,
                ..Route::default()
            },
        ],
    };
    Policy {
        rules: Arc::new(rules),
        zones: paris(),
    }
}

/// Rules as nobody would write them, but might.
pub(crate) fn random(dice: &mut Dice) -> Policy {
    let mut rules = (*example().rules).clone();
    rules.services = [
        ("dossier", Criticality::Critical),
        ("mail", Criticality::Standard),
    ]
    .into_iter()
    .map(|(name, criticality)| {
        let level = 1 + dice.below(4) as u8;
        (
            name.parse().unwrap(),
            service(criticality, [level, 4, 2, 3]),
        )
    })
    .collect();
    rules.groups = [
        (
            "app".parse().unwrap(),
            group(
                &["app-01", "app-02"],
                &["dossier", "mail"],
                "sxb",
                Environment::Production,
            ),
        ),
        (
            "mx".parse().unwrap(),
            group(
                &["mx-01"],
                &["mail"],
                "nancy",
                dice.one_of(Environment::ALL),
            ),
        ),
    ]
    .into();
    let windows = [
        "Mon-Fri 08:30-18:00",
        "Mon-Sun 00:00-02:30",
        "Sat 22:00-06:00",
        "Tue,Thu 13:00-13:20",
        "Mon-Sun 07:00-19:00",
    ];
    rules.calendars = ["bureau", "soir"]
        .into_iter()
        .map(|name| {
            let open = [dice.one_of(&windows), dice.one_of(&windows)];
            let closed = dice.some_of(&["2026-12-24 12:30-24:00", "2027-03-20..2027-03-26"], 2);
            (name.parse().unwrap(), calendar(&open, &closed))
        })
        .collect();
    rules.people = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| {
            let channels = names(&dice.some_of(&["sms", "mail"], 2));
            (name.parse().unwrap(), Person { channels })
        })
        .collect();
    let overrides = dice.some_of(
        &[Override {
            from: "2026-12-24T18:00".parse().unwrap(),
            to: "2026-12-26T08:30".parse().unwrap(),
            person: "d".parse().unwrap(),
        }],
        1,
    );
    rules.rotas = [(
        "tour".parse().unwrap(),
        Rota {
            people: names(&dice.one_of(&[vec!["a", "b"], vec!["c"], vec!["b", "d", "a"]])),
            handoff: Handoff {
                day: None,
                minute: dice.one_of(&[150, 510, 780]),
                time_zone: "Europe/Paris".to_owned(),
            },
            first: Date::constant(2026, 11, 23),
            overrides,
        },
    )]
    .into();
    let steps = |dice: &mut Dice| -> Vec<EscalationStep> {
        (0..1 + dice.below(3))
            .map(|index| EscalationStep {
                after_ms: if index == 0 {
                    0
                } else {
                    (5 + 5 * dice.below(4)) * MINUTE
                },
                rota: dice.is_one_in(2).then(|| "tour".parse().unwrap()),
                people: names(&dice.some_of(&["a", "b", "c"], 1)),
                via: names(&dice.some_of(&["sms", "mail"], 2)),
                repeat_ms: dice.one_of(&[None, Some(5 * MINUTE), Some(10 * MINUTE)]),
            })
            .collect()
    };
    let mut receiver = |name: &str, calendar: Option<&str>, has_steps: bool| {
        let receiver = Receiver {
            calendar: calendar.map(|calendar| calendar.parse().unwrap()),
            digest_always: calendar.is_some() && dice.is_one_in(4),
            steps: if has_steps { steps(dice) } else { Vec::new() },
        };
        (name.parse().unwrap(), receiver)
    };
    rules.receivers = [
        receiver("team", Some("bureau"), false),
        receiver("evening", Some("soir"), false),
        receiver("call", None, true),
        receiver("second", Some("soir"), true),
        receiver("hook", None, false),
    ]
    .into();
    rules.maintenance = if dice.is_one_in(2) {
        let window = dice.one_of(&[
            "2nd Tue 22:00-02:00",
            "Wed-Fri 12:00-12:40",
            "2026-12-24 06:00..2026-12-25 20:00",
        ]);
        [(
            "works".parse().unwrap(),
            Maintenance {
                place: Nodes {
                    groups: names(&["app"]).into_iter().collect(),
                    ..Nodes::default()
                },
                window: format!("{window} Europe/Paris").try_into().unwrap(),
                scope: dice.one_of(&[Scope::Reachability, Scope::Everything]),
                reason: "works".to_owned(),
            },
        )]
        .into()
    } else {
        BTreeMap::new()
    };
    let last = Route {
        notify: names(&[dice.one_of(&["team", "evening", "hook", "call"])]),
        hold: dice.is_one_in(2),
        ..Route::default()
    };
    rules.routes = (0..1 + dice.below(4)).map(|_| route(dice)).collect();
    if !dice.is_one_in(8) {
        rules.routes.push(last);
    }
    Policy {
        rules: Arc::new(rules),
        zones: paris(),
    }
}

fn route(dice: &mut Dice) -> Route {
    let mut matches = Match::default();
    if dice.is_one_in(2) {
        matches.criticality = [dice.one_of(&[Criticality::Critical, Criticality::Standard])].into();
    }
    if dice.is_one_in(2) {
        matches.status = dice
            .some_of(&[Status::Critical, Status::Unknown, Status::Warning], 2)
            .into_iter()
            .collect();
    }
    match dice.below(8) {
        0 => matches.family = [dice.one_of(&[Family::Availability, Family::Tls])].into(),
        1 => matches.need = [4].into(),
        2 => matches.node = names(&["app-01"]).into_iter().collect(),
        3 => matches.group = names(&["app"]).into_iter().collect(),
        4 => matches.site = names(&["nancy"]).into_iter().collect(),
        5 => matches.environment = [Environment::Production].into(),
        _ => {}
    }
    let calendar = dice.one_of(&["bureau", "soir"]).parse().unwrap();
    let when = match dice.below(3) {
        0 => None,
        1 => Some(When::Inside(calendar)),
        _ => Some(When::Outside(calendar)),
    };
    let first = dice.one_of(&["team", "evening", "call", "second", "hook"]);
    let second = dice.one_of(&["team", "evening", "call", "second", "hook"]);
    let mut notify = vec![first];
    if second != first && dice.is_one_in(3) {
        notify.push(second);
    }
    Route {
        matches,
        when,
        notify: names(&notify),
        digest: names(&dice.some_of(&["team", "evening"], 1)),
        hold: dice.is_one_in(3),
    }
}

/// What a case looks like to both.
struct Question {
    node: &'static str,
    check: &'static str,
    status: Status,
    at: Wall,
}

const CHECKS: [(&str, &str, Family, Option<&str>); 5] = [
    ("portail", "http", Family::Availability, Some("mail")),
    ("horloge", "clock", Family::Host, None),
    ("disques", "filesystem", Family::Host, None),
    ("tls", "tls", Family::Tls, Some("mail")),
    ("sauvegarde", "restic", Family::Backup, None),
];

fn question(dice: &mut Dice) -> Question {
    // Half of them at a change of the clock, a holiday or an edge.
    let day = dice.one_of(&[
        "2026-10-25 00:00",
        "2026-12-24 00:00",
        "2027-03-26 00:00",
        "2027-03-28 00:00",
        "2027-05-06 00:00",
        "2026-12-08 00:00",
    ]);
    let mut instant = at(day).plus_ms(i64::try_from(dice.below(3 * 86_400)).unwrap() * 1_000);
    if dice.is_one_in(4) {
        // Just before or at a half hour, where edges are.
        instant =
            Wall(instant.0 - instant.0.rem_euclid(1_800_000) - 1_000 * dice.one_of(&[0, 1, 240]));
    }
    Question {
        node: dice.one_of(&["app-01", "app-02", "mx-01"]),
        check: dice.one_of(&CHECKS.map(|(check, ..)| check)),
        status: dice.one_of(&[
            Status::Critical,
            Status::Critical,
            Status::Unknown,
            Status::Warning,
        ]),
        at: instant,
    }
}

/// Nodes that have joined and planned their checks.
fn fleet() -> State {
    let now = Now::default();
    let mut state = State::default();
    let plan: Plan = CHECKS
        .into_iter()
        .map(|(check, kind, family, service)| {
            let planned = PlannedCheck {
                kind: kind.to_owned(),
                family,
                service: service.map(|service| service.parse().unwrap()),
                every_ms: 30_000,
                timeout_ms: 5_000,
                failures: 2,
                recoveries: 2,
                settings_sha256: Digest::ZERO,
            };
            (check.parse().unwrap(), planned)
        })
        .collect();
    let plan = Arc::new(plan);
    for node in ["app-01", "app-02", "mx-01"] {
        let keys = NodeKeys {
            tls_key_sha256: Digest::ZERO,
            signing_key: String::new(),
            not_after: Wall(0),
        };
        state
            .nodes
            .insert(node.parse().unwrap(), Node::joined(keys, now));
        let plan = NodePlan {
            complete: Some((Digest::ZERO, Arc::clone(&plan))),
            agreed: Some(Arc::clone(&plan)),
            coming: Arc::default(),
        };
        state.plans.insert(node.parse().unwrap(), plan);
    }
    state
}

/// The engine, without disk and network, which acts at exactly the instants that it is due.
struct Engine<'g> {
    policy: &'g Policy,
    state: State,
    now: Now,
    /// What it told of the alert in question, and when.
    told: Vec<(Wall, ReceiverName, u32, Destination, Notice)>,
}

impl<'g> Engine<'g> {
    fn begins(policy: &'g Policy, fleet: &State, at: Wall) -> Self {
        let now = Now {
            wall: at.plus_ms(-60_000),
            elapsed: Elapsed(50_000),
        };
        let state = fleet.clone();
        let mut engine = Self {
            policy,
            state,
            now,
            told: Vec::new(),
        };
        engine.does(Event::Clock(ClockEvent::RulesLoaded {
            sha256: Digest::ZERO,
            tzdata: "2026b".to_owned(),
        }));
        engine.runs_until(at.plus_ms(-1));
        engine
    }

    fn does(&mut self, event: Event) {
        let mut delta = Delta::default();
        let outcome = step(&self.state, &mut delta, self.policy, event, self.now);
        self.state.merge(delta);
        for decision in outcome.decisions {
            if let Decision::Told {
                number: 1,
                receiver,
                to,
                step,
                notice,
                ..
            } = decision
            {
                self.told.push((self.now.wall, receiver, step, to, notice));
            }
        }
    }

    fn goes_to(&mut self, elapsed: Elapsed) {
        let ms = elapsed.since_ms(self.now.elapsed);
        self.now.elapsed = elapsed;
        self.now.wall = self.now.wall.plus_ms(i64::try_from(ms).unwrap());
    }

    /// Acts on all that is due until then, that instant included.
    fn runs_until(&mut self, wall: Wall) {
        let ms = u64::try_from(wall.0 - self.now.wall.0).unwrap();
        let until = self.now.elapsed.plus_ms(ms);
        while let Some(due) = next_deadline(&self.state, self.now).filter(|due| *due <= until) {
            self.goes_to(due);
            self.does(Event::Clock(ClockEvent::Deadline));
        }
        self.goes_to(until);
    }

    fn fails(&mut self, question: &Question) -> AlertKey {
        // An edge at this very instant comes first.
        self.runs_until(question.at);
        let node = question.node.parse().unwrap();
        let draft = Draft {
            kind: Kind::CheckStatus,
            check: Some(question.check.parse().unwrap()),
            object: Some(Object::configured("web").unwrap()),
            service: None,
            status: Some(question.status),
            reason: availability::HTTP_STATUS,
            facts: [("got", Fact::Integer(503))].into(),
        };
        let line = draft.chain(Head::EMPTY, &node, "boot", question.at);
        self.does(Event::HandedIn(HandInEvent::Entry {
            node,
            doubt: false,
            history: false,
            line: serde_json::from_slice(&line.bytes).unwrap(),
        }));
        let (key, _) = self
            .state
            .alerts
            .iter()
            .find(|(_, alert)| alert.number == 1)
            .unwrap();
        key.clone()
    }
}

/// What was seen in all cases together, so that none is compared in vain.
#[derive(Debug, Default)]
struct Seen {
    told: u32,
    nobody: u32,
    steps: u32,
    again: u32,
    held: u32,
    later: u32,
    muted: u32,
    quiet: u32,
    waits: u32,
    unreachable: u32,
}

fn compare(policy: &Policy, fleet: &State, question: &Question, seen: &mut Seen) {
    let mut engine = Engine::begins(policy, fleet, question.at);
    let key = engine.fails(question);
    let alert = &engine.state.alerts[&key];
    let plan = engine.state.plans.values().next();
    let asked = Asked {
        subject: subject(&policy.rules, plan, &key, alert),
        node: key.node().into_owned(),
        family: alert.family,
        status: alert.status,
        at: question.at,
    };
    let explanation = explain(policy, &asked);
    let end = question.at.plus_ms(HOUR);
    let counts_at = question
        .at
        .plus_ms(explanation.counts_after_ms.cast_signed());
    let context = || format!("{asked:#?}\n{explanation:#?}\n{:#?}", policy.rules);
    if explanation.muted.is_some() {
        seen.muted += 1;
        engine.runs_until(end);
        for (at, ..) in &engine.told {
            assert!(
                asked.window_at(policy, *at).is_none(),
                "told while muted: {}",
                context()
            );
        }
        return;
    }
    let quiet_at = explanation
        .quiet_from
        .as_ref()
        .map_or(Wall(i64::MAX), |(_, at)| *at);
    engine.runs_until(counts_at);
    if counts_at < quiet_at {
        let mut held: Vec<_> = engine
            .state
            .held
            .keys()
            .filter(|row| row.alert == key)
            .map(|row| {
                (
                    row.receiver.clone(),
                    engine.state.digests[&row.receiver].due.unwrap(),
                )
            })
            .collect();
        let mut said = explanation.held.clone();
        held.sort();
        said.sort();
        assert_eq!(held, said, "{}", context());
        seen.held += u32::from(!held.is_empty());
    }
    engine.runs_until(end);
    let is_in = |at: Wall| at <= end && at < quiet_at;
    let (mut expected, mut expected_again) = (Vec::new(), Vec::new());
    // A warning wakes only where a route says so.
    let wakes = |receiver: &ReceiverName, at: Wall| {
        matches!(asked.status, Status::Critical | Status::Unknown)
            || asked.place(policy, at).tell.contains(receiver)
    };
    let later = explanation.later.iter();
    let firsts = explanation
        .told_now
        .iter()
        .chain(later.clone().map(|later| &later.told));
    for first in firsts.filter(|first| is_in(first.at)) {
        if policy.rules.receivers[&first.receiver].steps.is_empty() {
            let to = Destination::Receiver(first.receiver.clone());
            expected.push((first.at, first.receiver.clone(), 0, to));
        }
    }
    let steps = explanation
        .steps
        .iter()
        .chain(later.flat_map(|later| &later.steps));
    // Where a step reaches nobody, others are told again in its place.
    let mut unsteady = BTreeSet::new();
    for planned in steps.filter(|planned| is_in(planned.at)) {
        if planned.to.is_empty() {
            unsteady.insert(planned.receiver.clone());
        }
        let position = u32::try_from(planned.step).unwrap();
        seen.unreachable += u32::from(planned.to.is_empty());
        for to in &planned.to {
            expected.push((planned.at, planned.receiver.clone(), position, to.clone()));
        }
        seen.steps += u32::from(planned.step > 0);
        let mut again = planned.at;
        let mut round = 1;
        while let Some(repeat_ms) = planned.repeat_ms {
            again = again.plus_ms(repeat_ms.cast_signed());
            if !is_in(again) {
                break;
            }
            if wakes(&planned.receiver, again) {
                let rule = &policy.rules.receivers[&planned.receiver].steps[planned.step];
                let reached = reach(policy, rule, round, again).0;
                if reached.is_empty() {
                    unsteady.insert(planned.receiver.clone());
                }
                for to in reached {
                    expected_again.push((again, planned.receiver.clone(), position, to));
                }
                round += 1;
            }
        }
    }
    let (again, told): (Vec<_>, Vec<_>) = engine
        .told
        .into_iter()
        .filter(|(at, ..)| is_in(*at))
        .partition(|(.., notice)| *notice == Notice::Again);
    let sorted = |list: Vec<(Wall, ReceiverName, u32, Destination, Notice)>| {
        let mut list: Vec<_> = list
            .into_iter()
            .map(|(at, who, step, to, _)| (at, who, step, to))
            .collect();
        list.sort();
        list
    };
    expected.sort();
    expected_again.sort();
    let (mut again, told) = (sorted(again), sorted(told));
    again.retain(|(_, receiver, ..)| !unsteady.contains(receiver));
    expected_again.retain(|(_, receiver, ..)| !unsteady.contains(receiver));
    assert_eq!(told, expected, "{}", context());
    assert_eq!(again, expected_again, "{}", context());
    seen.told += u32::from(!told.is_empty());
    seen.nobody += u32::from(told.is_empty());
    seen.again += u32::from(!again.is_empty());
    seen.later += u32::from(explanation.later.iter().any(|later| is_in(later.told.at)));
    seen.quiet += u32::from(quiet_at <= end);
    seen.waits += u32::from(explanation.counts_after_ms > 0);
}

/// Ten thousand cases in four parts, which may run at the same time.
fn explained_is_done(part: u64) {
    let mut dice = Dice(part);
    let mut seen = Seen::default();
    let fleet = fleet();
    for _ in 0..250 {
        let policy = random(&mut dice);
        for _ in 0..10 {
            compare(&policy, &fleet, &question(&mut dice), &mut seen);
        }
    }
    let Seen {
        told,
        nobody,
        steps,
        again,
        held,
        later,
        muted,
        quiet,
        waits,
        unreachable,
    } = seen;
    let all = [
        told,
        nobody,
        steps,
        again,
        held,
        later,
        muted,
        quiet,
        waits,
        unreachable,
    ];
    assert!(all.iter().all(|count| *count >= 3), "{all:?}");
}

#[test]
fn what_is_explained_is_what_the_engine_then_does() {
    explained_is_done(1);
}

#[test]
fn what_is_explained_is_what_the_engine_then_does_2() {
    explained_is_done(2);
}

#[test]
fn what_is_explained_is_what_the_engine_then_does_3() {
    explained_is_done(3);
}

#[test]
fn what_is_explained_is_what_the_engine_then_does_4() {
    explained_is_done(4);
}

/// Old routes and new ones in one instant: what is unknown counts in the very moment at which a team comes or goes.
#[test]
fn what_counts_at_an_edge_is_explained_as_it_is_done() {
    let mut dice = Dice(5);
    let (mut seen, fleet) = (Seen::default(), fleet());
    for _ in 0..100 {
        let policy = random(&mut dice);
        let mut edge = at("2026-12-23 12:00");
        for _ in 0..8 {
            edge = policy.next_edge(edge).unwrap();
            let question = Question {
                status: Status::Unknown,
                at: edge.plus_ms(-UNKNOWN_COUNTS_AFTER_MS.cast_signed()),
                ..question(&mut dice)
            };
            compare(&policy, &fleet, &question, &mut seen);
        }
    }
    assert!(seen.told > 100 && seen.waits > 100, "{seen:?}");
}

fn asked(policy: &Policy, service: &str, family: Family, status: Status, text: &str) -> Asked {
    let need = Need::served_by(family, None);
    let service = service.parse().unwrap();
    let subject = policy
        .rules
        .service_subject(&service, need, Environment::Production);
    Asked {
        subject: subject.unwrap(),
        node: String::new(),
        family,
        status,
        at: at(text),
    }
}

fn told(explanation: &Explanation) -> Vec<&str> {
    explanation
        .told_now
        .iter()
        .map(|first| first.receiver.as_str())
        .collect()
}

#[test]
fn the_night_of_christmas_is_explained() {
    let policy = example();
    let asked = asked(
        &policy,
        "dossier-patient",
        Family::Availability,
        Status::Critical,
        "2026-12-25 03:00",
    );
    let explanation = explain(&policy, &asked);
    assert_eq!(explanation.route, Some(0));
    assert_eq!(told(&explanation), ["astreinte"]);
    let calendar = explanation.calendar.as_ref().unwrap();
    assert_eq!(calendar.calendar.as_str(), "bureau");
    assert_eq!(
        calendar.why,
        Some(Why::Holiday(
            Date::constant(2026, 12, 25),
            Holiday::Christmas
        ))
    );
    // The Friday is a holiday, the Saturday too in Alsace, then it is Sunday.
    let opening = at("2026-12-28 08:30");
    assert_eq!(calendar.next_edge, Some(opening));
    assert_eq!(explanation.held, [("equipe-sis".parse().unwrap(), opening)]);
    let steps: Vec<_> = explanation
        .steps
        .iter()
        .map(|step| {
            (
                step.at,
                step.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
                step.repeat_ms,
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            (
                at("2026-12-25 03:00"),
                vec!["am/sms".to_owned()],
                Some(5 * MINUTE)
            ),
            (
                at("2026-12-25 03:15"),
                vec!["chef/sms".to_owned(), "chef/mail".to_owned()],
                Some(10 * MINUTE)
            ),
        ]
    );
    assert_eq!(explanation.later, []);
}

#[test]
fn what_begins_before_a_team_goes_home_is_told_to_who_is_on_call_then() {
    let policy = example();
    let asked = asked(
        &policy,
        "dossier-patient",
        Family::Availability,
        Status::Critical,
        "2026-11-25 17:50",
    );
    let explanation = explain(&policy, &asked);
    assert_eq!(
        (explanation.route, told(&explanation)),
        (Some(2), vec!["equipe-sis"])
    );
    let later: Vec<_> = explanation
        .later
        .iter()
        .map(|later| (later.told.receiver.as_str(), later.told.at))
        .collect();
    assert_eq!(later, [("astreinte", at("2026-11-25 18:00"))]);
}

#[test]
fn an_unknown_that_lasts_wakes_after_five_minutes() {
    let policy = example();
    let asked = asked(
        &policy,
        "dossier-patient",
        Family::Availability,
        Status::Unknown,
        "2026-11-25 23:00",
    );
    let explanation = explain(&policy, &asked);
    assert_eq!(explanation.counts_after_ms, UNKNOWN_COUNTS_AFTER_MS);
    assert_eq!(
        (explanation.route, told(&explanation)),
        (Some(0), vec!["astreinte"])
    );
    assert_eq!(explanation.told_now[0].at, at("2026-11-25 23:05"));
}

#[test]
fn a_window_of_maintenance_is_said_and_so_is_one_that_begins_meanwhile() {
    let policy = example();
    let on = |text, family| {
        explain(
            &policy,
            &asked(&policy, "dossier-patient", family, Status::Critical, text),
        )
    };
    let ends = at("2026-12-09 02:00");
    let muted = on("2026-12-08 23:00", Family::Availability);
    assert_eq!(
        muted.muted,
        Some(("correctifs".parse().unwrap(), Some(ends)))
    );
    assert_eq!(on("2026-12-08 23:00", Family::Backup).muted, None);
    let before = on("2026-12-08 21:00", Family::Availability);
    assert_eq!(before.muted, None);
    assert_eq!(
        before.quiet_from,
        Some(("correctifs".parse().unwrap(), at("2026-12-08 22:00")))
    );
}

#[test]
fn steps_that_reach_nobody_are_said_once_until_they_reach_somebody() {
    let mut policy = example();
    let mut rules = (*policy.rules).clone();
    let nobody = Person {
        channels: Vec::new(),
    };
    // On call until Monday at 08:30.
    rules.people.insert("jb".parse().unwrap(), nobody);
    let receiver: ReceiverName = "astreinte".parse().unwrap();
    rules
        .receivers
        .get_mut(&receiver)
        .unwrap()
        .steps
        .truncate(1);
    let early = calendar(&["Mon 05:00-06:00"], &[]);
    rules.calendars.insert("early".parse().unwrap(), early);
    rules.routes = vec![Route {
        notify: vec![receiver],
        ..Route::default()
    }];
    policy.rules = Arc::new(rules);
    let on = |text| {
        let (family, status) = (Family::Availability, Status::Critical);
        let explanation = explain(
            &policy,
            &asked(&policy, "dossier-patient", family, status, text),
        );
        assert_eq!(told(&explanation), ["astreinte"]);
        assert_eq!(explanation.told_now[0].route, Some(0));
        let steps = explanation.steps.iter();
        let said = steps.map(|step| (step.at, step.unreachable.len(), step.to.len()));
        said.collect::<Vec<_>>()
    };
    let (night, handoff) = (at("2026-12-07 03:00"), at("2026-12-07 08:30"));
    assert_eq!(on("2026-12-07 03:00"), [(night, 1, 0), (handoff, 0, 1)]);
    // Nobody for more than a day.
    assert_eq!(on("2026-12-05 03:00"), [(at("2026-12-05 03:00"), 1, 0)]);
}

#[test]
fn a_route_that_names_a_node_takes_what_is_asked_of_that_node_alone() {
    let mut policy = example();
    let mut rules = (*policy.rules).clone();
    let mut named = rules.routes[2].clone();
    named.matches.node = names(&["db-01"]).into_iter().collect();
    rules.routes.insert(0, named);
    policy.rules = Arc::new(rules);
    let (family, status) = (Family::Availability, Status::Critical);
    let mut asked = asked(
        &policy,
        "dossier-patient",
        family,
        status,
        "2026-11-25 23:00",
    );
    for (node, route, receivers) in [
        ("", 1, vec!["astreinte"]),
        ("app-01", 1, vec!["astreinte"]),
        ("no name of a node", 1, vec!["astreinte"]),
        ("db-01", 0, vec![]),
    ] {
        asked.node = node.to_owned();
        let explanation = explain(&policy, &asked);
        assert_eq!(explanation.route, Some(route), "{node}");
        assert_eq!(told(&explanation), receivers, "{node}");
        assert_eq!(explanation.held.len(), 1, "{node}");
    }
}

/// Worse, or as bad.
fn is_as_bad(one: &Asked, other: &Asked) -> bool {
    one.status.rank() >= other.status.rank()
        && one.subject.criticality >= other.subject.criticality
        && one.subject.need >= other.subject.need
}

#[test]
fn worse_is_never_quieter_by_the_rules_of_the_example() {
    let policy = example();
    let instants = [
        "2026-11-25 10:00",
        "2026-11-25 03:00",
        "2026-12-24 12:29",
        "2026-12-24 12:30",
        "2026-12-25 10:00",
        "2027-03-26 10:00",
        "2027-03-28 03:00",
    ];
    for instant in instants {
        for family in Family::ALL {
            let mut cases = Vec::new();
            for status in [Status::Warning, Status::Unknown, Status::Critical] {
                for criticality in Criticality::ALL {
                    for need in 1..=4 {
                        let mut case = asked(&policy, "dossier-patient", *family, status, instant);
                        case.subject.criticality = *criticality;
                        case.subject.need = need;
                        cases.push(case);
                    }
                }
            }
            let told: Vec<_> = cases.iter().map(|case| explain(&policy, case)).collect();
            for (case, loud) in cases.iter().zip(&told) {
                let later = loud.later.iter().map(|later| &later.told);
                let loud: Vec<_> = loud.told_now.iter().chain(later).collect();
                let quieter = cases.iter().zip(&told);
                for (quieter, quiet) in quieter.filter(|(other, _)| is_as_bad(case, other)) {
                    for first in &quiet.told_now {
                        let is_told_by_then = |other: &&First| {
                            other.receiver == first.receiver && other.at <= first.at
                        };
                        assert!(
                            loud.iter().any(is_told_by_then),
                            "{case:?} tells fewer than {quieter:?}"
                        );
                    }
                }
            }
        }
    }
}
