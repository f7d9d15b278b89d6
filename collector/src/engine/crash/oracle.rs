//! What must have come of a night, reckoned from what nodes were answered and from what providers have: it knows nothing
//! of how the collector decides.

use std::collections::{BTreeMap, BTreeSet};

use vigie_core::{digest::Digest, status::Status, time::Wall};
use vigie_decide::{
    alert::{AlertKey, Body, Message, Notice},
    destination::Destination,
    fleet::{Answered, Delta, Event, State, step},
    held::DigestNotice,
    routing::Policy,
};

use super::{Accepted, Heard, Run, Witness};
use crate::{
    replay::{Replay, Written},
    store::LogReader,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// 08:00 and 18:00 in Paris, in winter.
const OPENS_MS: i64 = 7 * HOUR_MS;
const CLOSES_MS: i64 = 17 * HOUR_MS;

/// What was judged, and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    pub(super) crashes: u64,
    /// Tellings that had to be.
    pub(super) owed: u64,
    pub(super) accepted: u64,
    pub(super) repeats: u64,
    pub(super) ends: u64,
    pub(super) digests: u64,
    pub(super) late: u64,
    /// Pages that went out before the log knew of them, and whose reason and process ended before it could.
    pub(super) unlogged: u64,
    pub(super) faults: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.crashes += other.crashes;
        self.owed += other.owed;
        self.accepted += other.accepted;
        self.repeats += other.repeats;
        self.ends += other.ends;
        self.digests += other.digests;
        self.late += other.late;
        self.unlogged += other.unlogged;
        self.faults.extend(other.faults);
    }

    fn require(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }
}

/// Working hours of the one team: the runs are on weekdays.
fn is_open(at: Wall) -> bool {
    (OPENS_MS..CLOSES_MS).contains(&at.0.rem_euclid(DAY_MS))
}

/// The next morning of work.
pub(super) fn opening_after(at: Wall) -> Wall {
    let today = at.0.div_euclid(DAY_MS) * DAY_MS + OPENS_MS;
    Wall(if at.0 < today { today } else { today + DAY_MS })
}

pub(super) async fn judge(run: &Run) -> Tally {
    let accepted = run.providers.accepted.lock().unwrap().clone();
    let (log, told_in_log) = replayed(run).await;
    let witness = std::mem::take(&mut *run.witness.lock().unwrap());
    let mut tally = Tally {
        runs: 1,
        crashes: witness.crashes,
        accepted: accepted.len() as u64,
        ..Tally::default()
    };
    if std::env::var_os("VIGIE_CRASH_SEED").is_some() {
        tell(run, &accepted, &witness).await;
    }
    tally.require(log.is_none(), || {
        format!("the log is decided otherwise now: {log:?}")
    });
    count(&mut tally, &accepted, witness.crashes);
    owed(&mut tally, &accepted, &witness);
    let refusing: BTreeSet<Destination> = run.refusing().cloned().collect();
    ends(&mut tally, &accepted, &told_in_log, &refusing);
    digests(&mut tally, &accepted);
    quiet_after_acknowledgement(&mut tally, &accepted, &witness);
    tally
}

/// The whole story of one seed.
async fn tell(run: &Run, accepted: &[Accepted], witness: &Witness) {
    for (_, line) in run.disk.log().await.0 {
        println!("{line}");
    }
    for accepted in accepted {
        println!("{accepted:?}");
    }
    println!("{witness:#?}\n{:#?}", run.script);
}

/// Every message as often as it may be, and no two that say the same.
fn count(tally: &mut Tally, accepted: &[Accepted], crashes: u64) {
    let mut times: BTreeMap<Digest, (u64, u64)> = BTreeMap::new();
    let mut says: BTreeMap<(Destination, AlertKey, u64, Notice), BTreeMap<Digest, Wall>> =
        BTreeMap::new();
    for Accepted {
        at,
        is_answer_lost,
        message,
        ..
    } in accepted
    {
        tally.require(*at >= message.at, || {
            format!("sent before it was decided: {message:?}")
        });
        let (times, lost) = times.entry(message.key).or_default();
        *times += 1;
        *lost += u64::from(*is_answer_lost);
        if let Some(telling) = message.telling() {
            let said = (
                message.to.clone(),
                telling.alert.clone(),
                telling.opening,
                telling.notice,
            );
            says.entry(said)
                .or_default()
                .insert(message.key, message.at);
        }
    }
    for (key, (times, lost)) in times {
        tally.repeats += times - 1;
        tally.require(times <= 1 + crashes + lost, || {
            let message = accepted.iter().find(|a| a.message.key == key);
            format!(
                "accepted {times} times over {crashes} crashes and {lost} lost answers: {message:?}"
            )
        });
    }
    for ((to, alert, opening, notice), keys) in says {
        let most = match notice {
            Notice::Open | Notice::Close => 1,
            // Each edge, each silence that ends, and each step that begins.
            Notice::Still | Notice::HandOver | Notice::Worse | Notice::Again => usize::MAX,
        };
        tally.require(keys.len() <= most, || {
            format!(
                "{to} was told {notice:?} of {alert:?} {opening} under {} keys",
                keys.len()
            )
        });
        if notice == Notice::Again {
            let mut at: Vec<Wall> = keys.into_values().collect();
            at.sort_unstable();
            let close: Vec<_> = at
                .windows(2)
                .filter(|two| two[1].0 - two[0].0 < 20_000)
                .collect();
            tally.require(close.is_empty(), || {
                format!("{to} was told again and again of {alert:?} {opening}: {close:?}")
            });
        }
    }
}

fn is_critical_service(key: &AlertKey) -> bool {
    key.node().starts_with("app-")
}

/// Whom something concerns at some moment; the team alone also by its next digest.
fn whom(heard: &Heard, at: Wall) -> BTreeSet<&'static str> {
    match (is_critical_service(&heard.key), heard.status, is_open(at)) {
        (true, Status::Critical, false) => ["am/sms", "machine"].into(),
        (true, Status::Critical, true) => ["equipe", "machine"].into(),
        // Not knowing counts after five minutes; nobody is owed anything here.
        (true, Status::Unknown, _) | (_, Status::Ok, _) => BTreeSet::new(),
        _ => ["equipe"].into(),
    }
}

/// Whatever a node was answered somebody was told.
fn owed(tally: &mut Tally, accepted: &[Accepted], witness: &Witness) {
    let mut last_ok: BTreeMap<&AlertKey, (u64, Wall)> = BTreeMap::new();
    for heard in &witness.heard {
        if heard.status == Status::Ok {
            if !heard.is_current {
                // It failed again before anybody heard of it: one failure.
                continue;
            }
            last_ok.insert(&heard.key, (heard.seq, heard.sent));
            continue;
        }
        let since = last_ok.get(&heard.key).copied().unwrap_or((0, Wall(0)));
        let is_silenced = witness.silenced.iter().any(|(check, from)| {
            *check == heard.key.check() && *from <= heard.answered && heard.sent.0 < from.0 + 90_000
        });
        if !heard.is_current || is_silenced || is_open(heard.sent) != is_open(heard.answered) {
            continue;
        }
        let told = |to: &str| {
            accepted
                .iter()
                .any(|accepted| says(&accepted.message, to, heard, since))
        };
        for to in whom(heard, heard.answered) {
            tally.owed += 1;
            tally.require(told(to), || format!("{to} was never told of {heard:?}"));
        }
    }
}

/// Whether a message tells `to` of what was heard, or told it before the node said so once more.
fn says(message: &Message, to: &str, heard: &Heard, (last_ok, since): (u64, Wall)) -> bool {
    message.to.to_string() == to
        && match &message.body {
            Body::Alert(telling) => {
                telling.alert == heard.key
                    && telling.opening > last_ok
                    && telling.notice != Notice::Close
                    && telling.status.rank() >= heard.status.rank()
            }
            Body::Digest(digest) => {
                let mut lines = digest.still_on.iter().chain(&digest.ended);
                message.at >= since
                    && lines.any(|line| {
                        line.alert == heard.key && line.held.worst.rank() >= heard.status.rank()
                    })
            }
        }
}

fn lines(digest: &DigestNotice) -> impl Iterator<Item = (&AlertKey, u64)> {
    let lines = digest.still_on.iter().chain(&digest.ended);
    lines.map(|line| (&line.alert, line.held.number))
}

/// Whoever was told of a beginning was told the end, not before it.
///
/// Where something was refused, or its answer was lost again and again, what comes after it does not wait for it.
fn ends(
    tally: &mut Tally,
    accepted: &[Accepted],
    told_in_log: &BTreeSet<Digest>,
    refusing: &BTreeSet<Destination>,
) {
    // By what end it must be told: an alert of an opening where it was told by itself, of a number in a digest.
    let mut begun: BTreeMap<(Destination, AlertKey, u64), (u64, bool)> = BTreeMap::new();
    let mut listed: BTreeMap<(Destination, AlertKey, u64), u64> = BTreeMap::new();
    for accepted in accepted {
        let to = accepted.message.to.clone();
        match &accepted.message.body {
            Body::Alert(telling) if telling.notice != Notice::Close => {
                let alert = (to, telling.alert.clone(), telling.opening);
                let is_logged = told_in_log.contains(&accepted.message.key);
                let begun = begun
                    .entry(alert)
                    .or_insert((accepted.transmission, is_logged));
                begun.1 |= is_logged;
            }
            Body::Alert(_) => {}
            Body::Digest(digest) => {
                for line in &digest.still_on {
                    let alert = (to.clone(), line.alert.clone(), line.held.number);
                    listed.entry(alert).or_insert(accepted.transmission);
                }
            }
        }
    }
    let end = |to: &Destination, of: &dyn Fn(&vigie_decide::alert::Notification) -> bool| {
        accepted
            .iter()
            .filter(|accepted| accepted.message.to == *to)
            .find(|accepted| {
                accepted
                    .message
                    .telling()
                    .is_some_and(|telling| telling.notice == Notice::Close && of(telling))
            })
            .map(|accepted| accepted.transmission)
    };
    // What the collector finds of itself may still be on.
    let is_of_node = |alert: &AlertKey| !alert.is_built_in();
    for ((to, alert, opening), (transmission, is_logged)) in begun {
        let end = end(&to, &|telling| {
            telling.alert == alert && telling.opening == opening
        });
        if end.is_none() && !is_logged {
            tally.unlogged += 1;
            continue;
        }
        tally.ends += u64::from(end.is_some());
        tally.require(!is_of_node(&alert) || end.is_some(), || {
            format!("{to} was never told the end of {alert:?} {opening}")
        });
        let is_in_order = refusing.contains(&to) || end.is_none_or(|end| end >= transmission);
        tally.require(is_in_order, || {
            format!("{to} was told the end of {alert:?} {opening} before the beginning")
        });
    }
    for ((to, alert, number), transmission) in listed {
        let end = end(&to, &|telling| {
            telling.alert == alert && telling.number == number
        });
        tally.require(
            !is_of_node(&alert)
                || end.is_some_and(|end| refusing.contains(&to) || end >= transmission),
            || format!("{to} read of {alert:?} #{number} in a digest, and never of its end"),
        );
    }
}

/// One for each opening, each held alert in one of them, and late when it is late.
fn digests(tally: &mut Tally, accepted: &[Accepted]) {
    let mut made: BTreeMap<Digest, (&Message, &DigestNotice)> = BTreeMap::new();
    for accepted in accepted {
        if let Body::Digest(digest) = &accepted.message.body {
            made.insert(accepted.message.key, (&accepted.message, digest));
        }
    }
    let mut dues = BTreeSet::new();
    let mut held = BTreeSet::new();
    for (message, digest) in made.values() {
        tally.digests += 1;
        tally.late += u64::from(digest.is_late);
        tally.require(dues.insert(digest.due), || {
            format!("two digests of {}", digest.due)
        });
        tally.require(digest.due.0.rem_euclid(DAY_MS) == OPENS_MS, || {
            format!("a digest at {}, when nothing opens", digest.due)
        });
        let is_late = message.at.0 - digest.due.0 > 300_000;
        tally.require(
            digest.is_late == is_late && message.at >= digest.due,
            || {
                format!(
                    "made at {}, due at {}, late {}",
                    message.at, digest.due, digest.is_late
                )
            },
        );
        for (alert, number) in lines(digest) {
            tally.require(held.insert((alert.clone(), number)), || {
                format!("{alert:?} #{number} stands in two digests")
            });
        }
    }
}

/// What somebody was answered to be on wakes nobody again, unless it gets worse, hours end or a mute begins or ends.
fn quiet_after_acknowledgement(tally: &mut Tally, accepted: &[Accepted], witness: &Witness) {
    for asked in &witness.acknowledged {
        let Ok(Some(Answered::Acknowledged { numbers, .. })) = &asked.result else {
            continue;
        };
        for number in numbers {
            let again = accepted.iter().find(|accepted| {
                accepted.message.at > asked.answered
                    && accepted.message.telling().is_some_and(|telling| {
                        telling.number == *number && telling.notice == Notice::Again
                    })
            });
            let alert = again.and_then(|again| Some(&again.message.telling()?.alert));
            let is_worse = witness.heard.iter().any(|heard| {
                Some(&heard.key) == alert
                    && heard.status == Status::Critical
                    && heard.answered >= asked.at
            });
            tally.require(again.is_none() || is_worse, || {
                format!(
                    "#{number} was acknowledged at {}, and then {again:?}",
                    asked.answered
                )
            });
        }
    }
}

/// The first line that is decided otherwise now, if any, and the keys of all messages that the log tells of.
async fn replayed(run: &Run) -> (Option<String>, BTreeSet<Digest>) {
    let (log, rules) = run.disk.log().await;
    let lines: Vec<Written> = log
        .into_iter()
        .map(|(n, line)| Written::read(n, line).unwrap())
        .collect();
    let told = lines.iter().filter(|line| line.is_decision());
    let keys = told.filter_map(|line| line.event["key"].as_str()?.parse().ok());
    let keys = keys.collect();
    if let Some(folder) = run.disk.folder() {
        let reader = LogReader::open(folder).await.unwrap();
        let mut replay = Replay::begin(&reader, super::TZDATA.to_owned())
            .await
            .unwrap();
        while replay.next().await.unwrap().is_some() {}
        let difference = replay.verdict().difference.as_ref();
        return (difference.map(|difference| format!("{difference:?}")), keys);
    }
    let policy = Policy {
        zones: run.policy.zones.clone(),
        rules: rules.into_values().next().unwrap().into(),
    };
    let mut state = State::default();
    let mut written = lines.into_iter().peekable();
    while let Some(line) = written.next() {
        let event: Event = serde_json::from_value(line.event.clone()).unwrap();
        let mut delta = Delta::default();
        step(&state, &mut delta, &policy, event, line.now);
        let mut decided = delta.log.iter().map(|(_, line)| line);
        let mut expected = Some(line);
        while let Some(line) = expected {
            let now = decided.next();
            if now != Some(&line.text) {
                let difference = format!("{} where {now:?} is decided", line.text);
                return (Some(difference), keys);
            }
            expected = written.next_if(Written::is_decision);
        }
        if let Some(more) = decided.next() {
            return (Some(more.clone()), keys);
        }
        state.merge(delta);
    }
    (None, keys)
}
