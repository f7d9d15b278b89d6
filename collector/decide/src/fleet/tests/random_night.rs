//! Long random nights: whatever happens, decisions replay, nothing told is left unclosed, nobody who should be woken is
//! forgotten, and nobody is told twice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{night::*, *};
use crate::{
    alert::{Actor, Body},
    destination::Destination,
    mute::{Nodes, SilenceMatch},
};

#[derive(Debug, Clone)]
enum Act {
    Settles(bool, u8, Status),
    Passes(u64),
    Acknowledges(u8, Option<u64>),
    Withdraws(u8),
    Silences(u8, u64),
    Works(u64),
    EndsMute(u64),
    IsOff(u64),
    Delivers(u8),
    Refuses(u8),
    Steps(i64),
    Trusts,
    Exercises(bool),
    Loads(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let status = prop_oneof![
        3 => Just(Status::Ok),
        2 => Just(Status::Warning),
        4 => Just(Status::Critical),
        2 => Just(Status::Unknown),
    ];
    let duration = prop_oneof![0..90_u64, 60..1_200_u64, 1_000..30_000_u64].prop_map(|s| s * 1_000);
    prop_oneof![
        12 => (any::<bool>(), 0..4_u8, status).prop_map(|(a, c, s)| Act::Settles(a, c, s)),
        8 => duration.clone().prop_map(Act::Passes),
        2 => (0..8_u8, prop::option::of(60_000..7_200_000_u64)).prop_map(|(n, f)| Act::Acknowledges(n, f)),
        1 => (0..8_u8).prop_map(Act::Withdraws),
        1 => (0..4_u8, duration.clone()).prop_map(|(c, d)| Act::Silences(c, d)),
        1 => duration.clone().prop_map(Act::Works),
        1 => (1..4_u64).prop_map(Act::EndsMute),
        1 => duration.clone().prop_map(Act::IsOff),
        4 => any::<u8>().prop_map(Act::Delivers),
        1 => any::<u8>().prop_map(Act::Refuses),
        1 => prop_oneof![Just(8_000_i64), Just(-8_000), Just(700_000), Just(-4_000_000)].prop_map(Act::Steps),
        1 => Just(Act::Trusts),
        1 => any::<bool>().prop_map(Act::Exercises),
        1 => any::<bool>().prop_map(Act::Loads),
    ]
}

/// What every destination believes of every alert by its number: the loudest it heard, and whether it heard the end.
#[derive(Default)]
struct Heard {
    open: BTreeMap<(Destination, u64), Status>,
    keys: BTreeSet<Digest>,
}

impl Heard {
    /// Reads what was written since. No message repeats, no end comes without a beginning, and nobody is told something
    /// for the first time twice.
    fn reads(&mut self, collector: &Collector) {
        let mut messages: Vec<_> = collector.state.outbox.values().collect();
        messages.sort_by_key(|message| message.order);
        for message in messages {
            if !self.keys.insert(message.key) {
                continue;
            }
            match &message.body {
                Body::Digest(digest) => {
                    for line in &digest.still_on {
                        self.open
                            .entry((message.to.clone(), line.held.number))
                            .or_insert(line.held.status);
                    }
                }
                Body::Alert(telling) => {
                    let row = (message.to.clone(), telling.number);
                    match telling.notice {
                        Notice::Close => {
                            let had = self.open.remove(&row);
                            assert!(had.is_some(), "an end of what was never told: {telling:?}");
                        }
                        Notice::Open | Notice::HandOver => {
                            let had = self.open.insert(row, telling.status);
                            assert!(had.is_none(), "told for the first time twice: {telling:?}");
                        }
                        Notice::Worse | Notice::Still | Notice::Again => {
                            self.open.insert(row, telling.status);
                        }
                    }
                }
            }
        }
    }
}

/// What must be true after everything that was due was done.
fn is_sound(collector: &Collector, heard: &Heard) {
    let open: BTreeMap<u64, _> = collector
        .state
        .alerts
        .iter()
        .map(|(key, alert)| (alert.number, (key, alert)))
        .collect();
    for (to, number) in heard.open.keys() {
        let (_, alert) = open
            .get(number)
            .unwrap_or_else(|| panic!("{to} never hears that #{number} ended"));
        assert!(
            alert.told.values().any(|told| told.to.contains_key(to)),
            "#{number} does not know that {to} was told"
        );
    }
    let doubt = collector.state.meta.clock_in_doubt;
    for (key, alert) in open.values() {
        if alert.muted.is_some() || alert.acknowledged.is_some() || alert.folded_into.is_some() {
            continue;
        }
        let reached = alert.told.values().any(|told| !told.to.is_empty());
        let held = collector.state.held.keys().any(|row| row.alert == **key);
        assert!(
            reached || held,
            "nobody knows or will know of {key:?} {alert:?}"
        );
        let wakes = key.node() == "app-01"
            && (alert.status == Status::Critical
                || alert.status == Status::Unknown && alert.unknown_counts.is_none());
        let civil = crate::routing::WallTime {
            at: collector.now.wall,
            is_in_doubt: doubt,
        };
        let is_night = doubt
            || !collector
                .policy
                .is_at_work(&"equipe".parse().unwrap(), civil);
        if wakes && is_night && collector.policy.rules.routes.len() == 2 {
            let told = alert.told.get("astreinte");
            assert!(
                told.is_some_and(|told| told.progress.next.is_some()
                    || told
                        .progress
                        .begun
                        .iter()
                        .any(|begun| begun.again.is_some())),
                "somebody should be on the way to {key:?} {alert:?}"
            );
        }
    }
    for row in collector.state.held.keys() {
        let due = collector.state.digests.get(&row.receiver);
        assert!(
            due.is_some_and(|due| due.due.is_some()),
            "{row:?} waits for a digest that never comes"
        );
    }
}

fn plays(acts: Vec<Act>) {
    let (mut collector, mut agents) = night("2026-11-27 17:40", policy());
    let mut heard = Heard::default();
    for act in acts {
        let numbers: Vec<u64> = collector.state.alerts.values().map(|a| a.number).collect();
        let pick = |at: u8| numbers.get(usize::from(at) % numbers.len().max(1)).copied();
        match act {
            Act::Settles(is_app, check, status) => {
                collector.settles(
                    &mut agents[usize::from(!is_app)],
                    &format!("c{check}"),
                    status,
                );
            }
            Act::Passes(ms) => collector.passes(ms),
            Act::Acknowledges(at, for_ms) => {
                if let Some(number) = pick(at) {
                    collector.does(Event::Operator(OperatorEvent::Acknowledged {
                        numbers: vec![number],
                        by: Actor::Uid(0),
                        for_ms,
                    }));
                }
            }
            Act::Withdraws(at) => {
                if let Some(number) = pick(at) {
                    collector.does(Event::Operator(OperatorEvent::Unacknowledged {
                        number,
                        uid: 0,
                    }));
                }
            }
            Act::Silences(check, for_ms) => {
                collector.does(Event::Mute(MuteEvent::SilenceStarted {
                    matches: SilenceMatch {
                        check: Some(format!("c{check}")),
                        ..SilenceMatch::default()
                    },
                    reason: "r".to_owned(),
                    for_ms: for_ms.max(1),
                    uid: 0,
                }));
            }
            Act::Works(for_ms) => {
                collector.does(Event::Mute(MuteEvent::MaintenanceStarted {
                    place: Nodes {
                        nodes: ["app-01".parse().unwrap()].into(),
                        ..Nodes::default()
                    },
                    reason: "r".to_owned(),
                    for_ms: for_ms.max(1),
                    uid: 0,
                }));
            }
            Act::EndsMute(mute) => {
                collector.does(Event::Mute(MuteEvent::MuteEnded { mute, uid: 0 }));
            }
            Act::IsOff(ms) => {
                collector.now.wall = collector.now.wall.plus_ms(i64::try_from(ms).unwrap());
                collector.now.elapsed = Elapsed(1_000);
                collector.starts();
            }
            Act::Delivers(at) | Act::Refuses(at) => {
                let keys: Vec<Digest> = collector.state.outbox.keys().copied().collect();
                let Some(key) = keys.get(usize::from(at) % keys.len().max(1)).copied() else {
                    continue;
                };
                collector.does(if matches!(act, Act::Delivers(_)) {
                    Event::Delivery(DeliveryEvent::Delivered {
                        key,
                        carried_by: keys.first().copied().filter(|lead| *lead != key),
                    })
                } else {
                    Event::Delivery(DeliveryEvent::Refused {
                        key,
                        http_status: 400,
                    })
                });
            }
            Act::Steps(by_ms) => {
                collector.now.wall = collector.now.wall.plus_ms(by_ms);
                collector.does(Event::Clock(ClockEvent::ClockStep { by_ms }));
            }
            Act::Trusts => {
                collector.does(Event::Clock(ClockEvent::ClockTrusted { uid: Some(0) }));
            }
            Act::Exercises(is_astreinte) => {
                let receiver = if is_astreinte { "astreinte" } else { "equipe" };
                collector.does(Event::Operator(OperatorEvent::ExerciseStarted {
                    receiver: receiver.parse().unwrap(),
                    uid: 0,
                }));
            }
            Act::Loads(is_closed) => {
                let mut rules = (*collector.policy.rules).clone();
                let bureau = rules.calendars.get_mut("bureau").unwrap();
                bureau.closed = is_closed
                    .then(|| "2026-11-30..2026-12-02".parse().unwrap())
                    .into_iter()
                    .collect();
                collector.policy.rules = Arc::new(rules);
                collector.loads();
            }
        }
        heard.reads(&collector);
        // What is due at this very moment is done before anybody looks.
        collector.passes(1);
        heard.reads(&collector);
        is_sound(&collector, &heard);
    }
    // In the end all is well, everybody hears of it, and every row that waits is said.
    for agent in &mut agents {
        for check in 0..4 {
            collector.settles(agent, &format!("c{check}"), Status::Ok);
            heard.reads(&collector);
        }
    }
    collector.does(Event::Clock(ClockEvent::ClockTrusted { uid: Some(0) }));
    collector.passes(6 * 24 * HOUR);
    heard.reads(&collector);
    is_sound(&collector, &heard);
    assert!(collector.state.held.is_empty());
    collector.replays();
}

/// 48 of the usual 256: each is a long night. `PROPTEST_CASES` asks for more, as of any other property.
fn cases() -> u32 {
    ProptestConfig::default().cases * 3 / 16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn whatever_the_night_brings(acts in prop::collection::vec(act(), 1..60)) {
        plays(acts);
    }
}
