//! What does one decision cost: the next edge of a calendar, an alert that begins, an edge that comes, an explanation?
//!
//! These are calls of core in this very program, so they say something only where it is built as the collector is
//! (`--release`, as `make bench` does).

use std::{
    collections::BTreeSet,
    hint::black_box,
    time::{Duration, Instant},
};

use vigie_collector::{settings, zones};
use vigie_core::{
    id::SenderName,
    status::{Family, Need, Status},
    time::{Elapsed, Now, Wall},
};
use vigie_decide::{
    calendar::{
        Calendar,
        holidays::{HolidaySet, Territory},
    },
    explain::{Asked, explain},
    fleet::{self, ClockEvent, Delta, Event, HandInEvent, State, event::SenderAlert},
    routing::Policy,
};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::Collector;

use crate::figures;

/// How many instants each calendar is asked for, spread over [`SPREAD_DAYS`].
const INSTANTS: usize = 1_000;

/// Over so many days, from today.
const SPREAD_DAYS: i64 = 800;

/// How often each instant is asked for, so that a call is long against the clock that times it.
const REPEATS: u32 = 64;

/// How many alerts are open in the end, from senders of [`OF_SENDER`] each.
const ALERTS: usize = 10_000;

/// As many as one sender may have.
const OF_SENDER: usize = 5_000;

/// Alerts that the engine writes down in one commit.
const IN_COMMIT: usize = 200;

const MS_PER_DAY: i64 = 86_400_000;

/// A house as in the handbook: a calendar, a rota, steps, a team that holds, a last route.
const HOUSE: &str = r#"
[service.dossier-patient]
criticality = "critical"
needs = { D = 4, I = 4, C = 4, T = 3 }
[service.intranet]
criticality = "standard"
needs = { D = 2, I = 2, C = 2, T = 2 }
[group.app]
nodes = ["app-01", "app-02"]
services = ["dossier-patient", "intranet"]
[calendar.bureau]
time_zone = "Europe/Paris"
open = ["Mon-Fri 08:30-18:00"]
holidays = { country = "fr", alsace_moselle = true, good_friday = true }
closed = ["2026-12-24 12:30-24:00", "2027-05-07", "2027-08-02..2027-08-06"]
opened = ["2027-05-17"]
[channel.sms]
http = { url = "http://127.0.0.1:9/send", body = '{"to":"{to}","text":"{text}"}', accepted = { status = [200] } }
detail = "minimal"
[rota.astreinte]
people = ["am", "jb"]
handoff = "Mon 08:30 Europe/Paris"
first = "2026-11-02"
[receiver.astreinte]
steps = [
    { rota = "astreinte", via = ["sms"], repeat = "5m" },
    { after = "15m", people = ["chef"], via = ["sms"], repeat = "10m" },
]
[receiver.equipe-sis]
calendar = "bureau"
webhook = { url = "http://127.0.0.1:9/equipe" }
[receiver.tableau]
webhook = { url = "http://127.0.0.1:9/tableau" }
[[route]]
match = { criticality = "critical", status = ["critical", "unknown"], environment = "production" }
outside = "bureau"
notify = ["astreinte", "tableau"]
digest = ["equipe-sis"]
[[route]]
notify = ["equipe-sis"]
hold = true
"#;

const PEOPLE: &str = r#"
[person.am]
contacts = [{ channel = "sms", to = "+33600000001" }]
[person.jb]
contacts = [{ channel = "sms", to = "+33600000002" }]
[person.chef]
contacts = [{ channel = "sms", to = "+33600000003" }]
"#;

pub fn measure() {
    println!("decisions of core, one call each");
    if cfg!(debug_assertions) {
        println!("  built without optimisation: these figures mean nothing");
    }
    let policy = house();
    edges(&policy);
    explanations(&policy);
    alerts(&policy);
}

/// A house as in the handbook.
pub(crate) fn house() -> Policy {
    let collector = Collector::with(HOUSE).prepare();
    collector.write_people(PEOPLE);
    let none = std::iter::empty::<(&str, &str)>();
    let settings = settings::load(&collector.config(), none);
    settings.expect("the house has good settings").policy()
}

fn edges(policy: &Policy) {
    let shipped = policy.rules.calendars.values().next();
    let shipped = shipped.expect("the house has a calendar").clone();
    let alsace = HolidaySet {
        territory: Territory::Metropole,
        alsace_moselle: true,
        good_friday: true,
    };
    let day = |number: i64| {
        let date = jiff::civil::date(2027, 1, 1);
        date.saturating_add(jiff::Span::new().days(number))
            .to_string()
    };
    let dated = |text: String| text.parse().expect("a good date");
    let open = |windows: &[&str]| {
        let windows = windows.iter().map(|window| window.parse());
        windows
            .map(|window| window.expect("a good window"))
            .collect()
    };
    let bare = Calendar {
        time_zone: "Europe/Paris".to_owned(),
        open: Vec::new(),
        holidays: None,
        closed: Vec::new(),
        opened: Vec::new(),
    };
    let calendars = [
        ("the handbook's, with Alsace-Moselle", shipped.clone()),
        (
            "three windows a day, 200 dated lines",
            Calendar {
                open: open(&[
                    "Mon-Fri 07:30-12:00",
                    "Mon-Fri 13:00-18:30",
                    "Mon-Sun 22:00-02:30",
                ]),
                closed: (0..100).map(|n| dated(day(n * 4))).collect(),
                opened: (0..100)
                    .map(|n| dated(format!("{} 10:00-11:00", day(n * 4 + 1))))
                    .collect(),
                ..shipped
            },
        ),
        (
            "round the clock, and public holidays",
            Calendar {
                open: open(&["Mon-Sun 00:00-24:00"]),
                holidays: Some(alsace),
                ..bare.clone()
            },
        ),
        (
            "closed but for one evening a year away",
            Calendar {
                opened: vec![dated(format!("{} 20:00-23:00", day(700)))],
                ..bare.clone()
            },
        ),
        (
            "Mondays alone, closed for six months",
            Calendar {
                open: open(&["Mon 08:00-12:00"]),
                holidays: Some(alsace),
                closed: vec![dated(format!("{}..{}", day(100), day(280)))],
                ..bare.clone()
            },
        ),
        ("always closed", bare),
    ];
    let zone = zones::find("Europe/Paris").expect("every machine knows Paris");
    for (name, calendar) in calendars {
        let in_zone = calendar.in_zone(&zone);
        let cost = over_instants(|at| {
            black_box(in_zone.next_edge(black_box(at)));
        });
        cost.show(&format!("next_edge, {name}"), 10.0);
    }
    let cost = over_instants(|at| {
        black_box(policy.next_edge(black_box(at)));
    });
    cost.show("next edge of the whole house", 10.0);
}

/// Microseconds a call.
struct PerCall {
    median: f64,
    worst: f64,
}

impl PerCall {
    fn show(&self, what: &str, at_most: f64) {
        let missed = if self.worst > at_most { ", MISSED" } else { "" };
        println!(
            "  {what}: median {:.2} us, worst instant {:.2} us  (at most {at_most}{missed})",
            self.median, self.worst
        );
    }
}

fn over_instants(mut call: impl FnMut(Wall)) -> PerCall {
    let from = SystemClock.wall().0;
    let instants = figures::times(INSTANTS);
    let step = SPREAD_DAYS * MS_PER_DAY / i64::try_from(instants).expect("few");
    let mut each: Vec<f64> = (0..)
        .take(instants)
        .map(|n| {
            let at = Wall(from + step * n);
            // The best of three: the others were disturbed.
            let timed = (0..3).map(|_| {
                let began = Instant::now();
                for _ in 0..REPEATS {
                    call(at);
                }
                began.elapsed()
            });
            let best = timed.min().unwrap_or(Duration::ZERO);
            best.as_secs_f64() * 1e6 / f64::from(REPEATS)
        })
        .collect();
    each.sort_by(f64::total_cmp);
    PerCall {
        median: each[each.len() / 2],
        worst: each.last().copied().unwrap_or(f64::NAN),
    }
}

fn explanations(policy: &Policy) {
    let node = "app-01".parse().expect("a good name");
    let claimed = BTreeSet::from(["dossier-patient".parse().expect("a good name")]);
    let subject = policy.rules.subject(&node, &claimed, Need::Availability);
    for status in [Status::Critical, Status::Warning] {
        let cost = over_instants(|at| {
            let asked = Asked {
                subject: subject.clone(),
                node: "app-01".to_owned(),
                family: Family::Availability,
                status,
                at,
            };
            black_box(explain(policy, black_box(&asked)));
        });
        println!(
            "  explain, {}: median {:.1} us, worst instant {:.1} us",
            status.as_str(),
            cost.median,
            cost.worst
        );
    }
}

/// Alerts of senders begin one after the other, as the engine has them begin.
fn alerts(policy: &Policy) {
    let mut state = State::default();
    let mut now = Now {
        wall: SystemClock.wall(),
        elapsed: Elapsed(1_000_000),
    };
    let mut delta = Delta::default();
    let loaded = Event::Clock(ClockEvent::RulesLoaded {
        sha256: policy.rules.digest(),
        tzdata: String::new(),
    });
    fleet::step(&state, &mut delta, policy, loaded, now);
    state.merge(delta);
    let mut taken = Vec::new();
    for commit in 0..ALERTS / IN_COMMIT {
        let mut delta = Delta::default();
        let events: Vec<Event> = (commit * IN_COMMIT..(commit + 1) * IN_COMMIT)
            .map(|n| begins(n, now.wall))
            .collect();
        let began = Instant::now();
        for event in events {
            fleet::step(&state, &mut delta, policy, event, now);
        }
        taken.push(began.elapsed().as_secs_f64() * 1e6 / IN_COMMIT as f64);
        state.merge(delta);
        now = later(now, 1_000);
    }
    let average = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let of_sender = OF_SENDER / IN_COMMIT;
    println!(
        "  fleet::step, an alert of a sender begins: {:.1} us while few are open, {:.1} us at {OF_SENDER} of one sender, {:.1} us on average over {ALERTS}",
        average(&taken[..2]),
        average(&taken[of_sender - 2..of_sender]),
        average(&taken),
    );
    println!(
        "    {} alerts open, {} messages in the outbox, {} held",
        state.alerts.len(),
        state.outbox.len(),
        state.held.len()
    );
    let began = Instant::now();
    for _ in 0..REPEATS {
        black_box(fleet::next_deadline(&state, black_box(now)));
    }
    println!(
        "  next_deadline, asked at every turn, with these open: {:.1} us",
        began.elapsed().as_secs_f64() * 1e6 / f64::from(REPEATS)
    );
    let Some(edge) = policy.next_edge(now.wall) else {
        return;
    };
    let now = later(now, edge.0.abs_diff(now.wall.0));
    let mut delta = Delta::default();
    let began = Instant::now();
    fleet::step(
        &state,
        &mut delta,
        policy,
        Event::Clock(ClockEvent::Deadline),
        now,
    );
    figures::show(
        "fleet::step, an edge of the calendar with these open",
        began.elapsed().as_secs_f64() * 1e3,
        "ms",
        1_000.0,
    );
}

fn later(now: Now, ms: u64) -> Now {
    Now {
        wall: now.wall.plus_ms(i64::try_from(ms).expect("no millennia")),
        elapsed: now.elapsed.plus_ms(ms),
    }
}

/// The `n`th alert of a sender begins.
pub(crate) fn begins(n: usize, since: Wall) -> Event {
    let sender: SenderName = format!("prom-{}", n / OF_SENDER)
        .parse()
        .expect("a good name");
    let is_critical = n.is_multiple_of(20);
    let service = if is_critical {
        "dossier-patient"
    } else {
        "intranet"
    };
    let name = format!("alerte-{n:05}");
    let labels = [
        ("alertname", name.as_str()),
        ("severity", "critical"),
        ("service", service),
        ("instance", "portail.chu.example:9100"),
        ("job", "portail"),
    ];
    Event::HandedIn(HandInEvent::SenderAlert {
        sender,
        alert: Box::new(SenderAlert {
            fingerprint: format!("{n:016x}"),
            status: Status::Critical,
            service: service.parse().ok(),
            labels: labels
                .map(|(label, value)| (label.to_owned(), value.to_owned()))
                .into(),
            name,
            since,
            // Beyond any edge that is waited for here.
            good_for_ms: 30 * 24 * 3_600_000,
        }),
    })
}
