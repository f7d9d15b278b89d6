//! The power goes, at thousands of moments that seeds choose, while disks and providers fail: nobody who had to be told
//! is not told, and nobody is told twice but for a crash.
//!
//! One process and no real time: the engine, core, the delivery with its queues and pacing are those of the product, and
//! the runtime's paused clock is the world's. The store is SQLite in part of the seeds, else one in memory; the provider
//! stands where one try begins. A crash drops everything at once; the next life begins from the disk. Nodes hand in again
//! what was not answered.
//!
//! `VIGIE_CRASH_SEED=n` runs one seed (add `VIGIE_CRASH_DISK=1` for a real disk), `VIGIE_CRASH_SEEDS=20000` that many. What
//! the runtime polls first when several things are ready it draws by itself, so that a seed nearly always, but not always,
//! gives the same run.

#![expect(clippy::unwrap_used, reason = "tests")]

mod oracle;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::AtomicU64,
};
use vigie_core::contact::Contact;
use vigie_core::status::Status;
use vigie_core::time::Wall;
use vigie_decide::alert::AlertKey;

use serde_json::json;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep},
};
use vigie_core::{
    contact::NotOk,
    entry::{Draft, Head, Kind, Line},
    observation::Facts,
    reason::availability,
    token::Holder,
};
use vigie_decide::{
    alert::{Actor, Notice},
    fleet::NodeKeys,
    fleet::{MuteEvent, OperatorEvent},
    mute::SilenceMatch,
    rules::Rules,
};
use vigie_deliver::{Report, Target};

use self::world::{
    Accepted, CutStore, Dice, Disk, DiskTrouble, Life, MOMENTS, Moment, ProviderTrouble, Providers,
    Time, Trouble, Wire,
};
use super::*;
use crate::zones;

/// Seeds with a disk in memory, and with a real one: each crashes at two points on average, and once more before the
/// morning.
const SEEDS: u64 = 900;
const SEEDS_ON_DISK: u64 = 100;

/// How many tests they are split into.
const PARTS: u64 = 8;
const PARTS_ON_DISK: u64 = 2;

/// How long things happen.
const NIGHT_MS: u64 = 300_000;

/// With so many faults there is enough to read.
const FAULTS_TOLD_MAX: usize = 50;

/// What is never told in this time is lost.
const QUIET_AFTER_MAX: Duration = Duration::from_secs(1_800);

const TZDATA: &str = "2026b";

/// What somebody does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Finds {
        agent: usize,
        check: &'static str,
        status: Status,
    },
    Acknowledges,
    Silences {
        check: &'static str,
    },
}

/// A line of a node that was answered.
#[derive(Debug, Clone)]
struct Heard {
    key: AlertKey,
    seq: u64,
    status: Status,
    /// The last request that held it was sent, and answered.
    sent: Wall,
    answered: Wall,
    /// It was the last word of its node about this check then.
    is_current: bool,
}

/// An operator's request that was answered.
#[derive(Debug, Clone)]
struct Asked {
    at: Wall,
    answered: Wall,
    result: Result<Option<Answered>, Refusal>,
}

/// What happened outside of the collector.
#[derive(Debug, Default)]
struct Witness {
    heard: Vec<Heard>,
    acknowledged: Vec<Asked>,
    /// Checks and when somebody began to silence them.
    silenced: Vec<(&'static str, Wall)>,
    crashes: u64,
    /// When machines were off or had crashed.
    starts: Vec<Wall>,
}

/// A node: it keeps what was not answered.
struct Agent {
    name: NodeName,
    service: &'static str,
    head: Head,
    not_ok: Vec<NotOk>,
    unanswered: Vec<(Line, AlertKey, Status)>,
    durable: u64,
    changed: Arc<Notify>,
}

const NODES: [(&str, &str); 3] = [
    ("app-01", "dossier"),
    ("app-02", "dossier"),
    ("web-01", "intranet"),
];

const CHECKS: [&str; 2] = ["portail", "annuaire"];

fn rules() -> Rules {
    let service = |criticality: &str| json!({"criticality": criticality, "needs": {"D": 4, "I": 4, "C": 4, "T": 4}});
    let group = |nodes: &[&str], service: &str| json!({"nodes": nodes, "services": [service], "site": "sxb", "environment": "production"});
    let critical = json!({"criticality": ["critical"], "status": ["critical", "unknown"]});
    let rules = json!({
        "silent_after_ms": 864_000_000,
        "services": {"dossier": service("critical"), "intranet": service("standard")},
        "groups": {"app": group(&["app-01", "app-02"], "dossier"), "web": group(&["web-01"], "intranet")},
        "calendars": {"bureau": {"time_zone": "Europe/Paris", "open": ["Mon-Fri 08:00-18:00"]}},
        "people": {"am": {"channels": ["sms"]}, "chef": {"channels": ["mail"]}},
        "receivers": {
            "astreinte": {"steps": [
                {"after_ms": 0, "people": ["am"], "via": ["sms"], "repeat_ms": 120_000},
                {"after_ms": 240_000, "people": ["chef"], "via": ["mail"], "repeat_ms": 180_000},
            ]},
            "equipe": {"calendar": "bureau"},
            "machine": {},
        },
        "routes": [
            {"matches": critical, "when": {"outside": "bureau"}, "notify": ["astreinte", "machine"], "digest": ["equipe"]},
            {"matches": critical, "when": {"inside": "bureau"}, "notify": ["equipe", "machine"]},
            {"matches": {}, "notify": ["equipe"], "hold": true},
        ],
    });
    serde_json::from_value(rules).unwrap()
}

fn destinations() -> [Destination; 4] {
    ["am/sms", "chef/mail", "equipe", "machine"].map(|to| to.parse().unwrap())
}

/// What a seed draws.
#[derive(Debug)]
struct Script {
    begin: Wall,
    acts: Vec<(u64, Act)>,
    disk: Vec<Trouble<DiskTrouble>>,
    providers: BTreeMap<Destination, Vec<Trouble<ProviderTrouble>>>,
    points: Vec<Option<(Moment, u64)>>,
    /// How long each crash lasts, and whether the machine boots anew.
    off: Vec<(u64, bool)>,
    /// How long after the next opening the machine comes up that was off then.
    late_ms: u64,
}

impl Script {
    fn draw(seed: u64) -> Self {
        use ProviderTrouble::*;
        let mut dice = Dice::of(seed);
        // A Tuesday in Paris: shortly before the opening, before the closing, at night, at work.
        let begin = dice.any(&["06:56:30", "16:56:30", "01:00:00", "10:00:00"]);
        let begin = Wall::parse(&format!("2026-11-24T{begin}Z")).unwrap();
        let mut acts = Vec::new();
        for _ in 0..dice.between(3, 12) {
            let at = dice.between(5_000, NIGHT_MS);
            // Some fall together, and some just before or after the edge.
            let at = match dice.between(0, 6) {
                0 => at / 60_000 * 60_000,
                1 => 210_000 - 1,
                2 => 210_000 + dice.between(0, 700),
                _ => at,
            };
            let act = match dice.between(0, 14) {
                0 | 1 => Act::Acknowledges,
                2 => Act::Silences {
                    check: dice.any(&CHECKS),
                },
                _ => Act::Finds {
                    agent: usize::try_from(dice.between(0, 3)).unwrap(),
                    check: dice.any(&CHECKS),
                    status: dice.any(&[
                        Status::Critical,
                        Status::Critical,
                        Status::Critical,
                        Status::Warning,
                        Status::Ok,
                        Status::Ok,
                        Status::Unknown,
                    ]),
                },
            };
            acts.push((at, act));
        }
        acts.sort_by_key(|(at, _)| *at);
        let span = |dice: &mut Dice, longest_ms: u64| {
            let from = dice.between(4_000, NIGHT_MS);
            let until = (from + dice.between(100, longest_ms)).min(NIGHT_MS);
            let at = |ms: u64| begin.plus_ms(i64::try_from(ms).unwrap());
            (at(from), at(until))
        };
        let mut disk = Vec::new();
        for _ in 0..dice.between(0, 4) {
            let what = match dice.between(0, 8) {
                0..3 => DiskTrouble::Full,
                3 => DiskTrouble::WritesAndFails,
                4 => DiskTrouble::WritesAndHangs,
                5 => DiskTrouble::Hangs,
                _ => DiskTrouble::Slow(dice.between(1, 900)),
            };
            let (from, until) = span(&mut dice, 60_000);
            disk.push(Trouble { from, until, what });
        }
        let mut providers = BTreeMap::new();
        for to in destinations() {
            let mut troubles = Vec::new();
            for _ in 0..dice.between(0, 3) {
                let what = match dice.between(0, 8) {
                    0 => Down,
                    1 => Broken,
                    2 => TooMany(None),
                    3 => TooMany(Some(dice.between(1_000, 90_000))),
                    4 => Hangs,
                    5 => Refuses,
                    _ => AcceptsAndCuts,
                };
                let (from, until) = span(&mut dice, 120_000);
                troubles.push(Trouble { from, until, what });
            }
            providers.insert(to, troubles);
        }
        let mut points = Vec::new();
        let mut off = Vec::new();
        for _ in 0..dice.any(&[1, 2, 2, 2, 3]) {
            let moment = dice.any(&MOMENTS);
            let nth = match moment {
                Moment::BeforeCommit | Moment::InCommit | Moment::AfterCommit => {
                    dice.between(1, 12)
                }
                _ => dice.between(1, 6),
            };
            points.push(Some((moment, nth)));
            let lasts_ms = match dice.between(0, 6) {
                0 => dice.between(20_000, 240_000),
                _ => dice.between(0, 5_000),
            };
            off.push((lasts_ms, dice.one_in(3)));
        }
        points.push(None);
        Self {
            begin,
            acts,
            disk,
            providers,
            points,
            off,
            late_ms: dice.between(0, 600_000),
        }
    }
}

/// Everything of one run.
struct Run {
    script: Script,
    time: Arc<Time>,
    disk: Arc<Disk>,
    troubles: Arc<Vec<Trouble<DiskTrouble>>>,
    providers: Arc<Providers>,
    agents: Vec<Arc<Mutex<Agent>>>,
    witness: Arc<Mutex<Witness>>,
    policy: Policy,
}

/// A collector that runs.
struct Living {
    life: Arc<Life>,
    store: CutStore,
    handle: Handle,
    tasks: Vec<JoinHandle<()>>,
}

impl Living {
    /// Everything it had in memory is gone.
    async fn dies(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            if let Err(error) = task.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
    }
}

impl Run {
    fn new(seed: u64, disk: Disk) -> Self {
        let script = Script::draw(seed);
        let time = Time::from(script.begin);
        let rules = rules();
        let agents = NODES.map(|(name, service)| {
            Arc::new(Mutex::new(Agent {
                name: name.parse().unwrap(),
                service,
                head: Head::EMPTY,
                not_ok: Vec::new(),
                unanswered: Vec::new(),
                durable: 0,
                changed: Arc::default(),
            }))
        });
        Self {
            disk: Arc::new(disk),
            troubles: Arc::new(script.disk.clone()),
            providers: Arc::new(Providers {
                accepted: Mutex::default(),
                transmissions: AtomicU64::new(0),
                time: Arc::clone(&time),
                troubles: script.providers.clone(),
            }),
            agents: agents.into(),
            witness: Arc::default(),
            policy: Policy {
                zones: zones::load(rules.zone_names()).unwrap(),
                rules: rules.into(),
            },
            time,
            script,
        }
    }

    /// Destinations at which some message is refused or poison.
    fn refusing(&self) -> impl Iterator<Item = &Destination> {
        let passes = |trouble: &Trouble<ProviderTrouble>| {
            matches!(
                trouble.what,
                ProviderTrouble::Refuses | ProviderTrouble::AcceptsAndCuts
            )
        };
        let troubled = self.script.providers.iter();
        troubled
            .filter(move |(_, troubles)| troubles.iter().any(passes))
            .map(|(to, _)| to)
    }

    async fn start(&self, point: Option<(Moment, u64)>, age_ms: u64) -> Living {
        let life = Arc::new(Life::until(point));
        let clock = self.time.clock(age_ms);
        let store = CutStore::open(&life, &self.disk, &self.time, &self.troubles).await;
        let state = store.load().await.unwrap();
        // Whatever was answered is there.
        for agent in &self.agents {
            let agent = agent.lock().unwrap();
            let head = state.nodes.get(&agent.name).map_or(0, |node| node.head.seq);
            assert!(
                head >= agent.durable,
                "{} was answered {}, and {head} is stored",
                agent.name,
                agent.durable
            );
        }
        let targets = destinations().map(|to| {
            let wire = Wire {
                life: Arc::clone(&life),
                providers: Arc::clone(&self.providers),
            };
            let is_paced = to.to_string() != "machine";
            Target::stand_in(to, Arc::new(wire), is_paced)
        });
        let health = Arc::new(Health::default());
        let (dispatcher, delivery, mut reports) = vigie_deliver::build(vigie_deliver::Parts {
            targets: targets.into(),
            clock: Arc::clone(&clock) as _,
            pulse: health.delivering(),
            jitter: || 0x9e37_79b9_7f4a_7c15,
        });
        let (_, probes) = watch::channel(None);
        let (engine, handle, _) = Engine::new(Parts {
            store: store.clone(),
            state,
            policy: self.policy.clone(),
            tzdata: TZDATA.to_owned(),
            collector: "c".to_owned(),
            clock: Arc::clone(&clock) as _,
            notifier: Arc::new(dispatcher),
            directory: Arc::default(),
            health,
            probes,
        });
        let (stop, stopped) = watch::channel(false);
        let stopping = stopped.clone();
        let mut tasks = vec![
            tokio::spawn(async move {
                engine.run(stopped).await;
                drop(stop);
            }),
            tokio::spawn(delivery.run(stopping)),
        ];
        let (to, witness) = (handle.clone(), Arc::clone(&life));
        tasks.push(tokio::spawn(async move {
            while let Some(report) = reports.recv().await {
                witness.pass(Moment::BeforeReceipt).await;
                match report {
                    Report::Event(event) => to.note(event).await,
                    Report::Refill {
                        to: whom,
                        after_order,
                    } => to.refill(whom, after_order).await,
                    Report::Undeliverable { key, .. } => {
                        to.note(Event::Delivery(DeliveryEvent::Undeliverable { key }))
                            .await;
                    }
                    Report::ToldUnlogged { key, .. } => to.accepted(key).await,
                }
                witness.pass(Moment::AfterReceipt).await;
            }
        }));
        for (index, (name, _)) in NODES.into_iter().enumerate() {
            if point_is_first(&self.witness) {
                join(&handle, name).await;
            }
            let agent = Arc::clone(&self.agents[index]);
            let hand_ins = hand_in(
                agent,
                handle.clone(),
                Arc::clone(&self.witness),
                clock.clone(),
            );
            tasks.push(tokio::spawn(hand_ins));
        }
        self.witness.lock().unwrap().starts.push(self.time.now());
        life.arm();
        Living {
            life,
            store,
            handle,
            tasks,
        }
    }

    /// A line of a node.
    fn finds(&self, index: usize, check: &str, status: Status) {
        let mut agent = self.agents[index].lock().unwrap();
        let draft = Draft {
            kind: Kind::CheckStatus,
            check: Some(check.parse().unwrap()),
            object: None,
            service: Some(agent.service.parse().unwrap()),
            status: Some(status),
            reason: availability::NET_REFUSED,
            facts: Facts::new(),
        };
        let line = draft.chain(agent.head, &agent.name, "b", self.time.now());
        agent.head = line.head();
        agent.not_ok.retain(|item| item.check.as_str() != check);
        if status != Status::Ok {
            agent.not_ok.push(NotOk {
                check: check.parse().unwrap(),
                object: None,
                status,
                seq: line.seq,
            });
        }
        let key = AlertKey::from_parts(&agent.name.to_string(), check, "").unwrap();
        agent.unanswered.push((line, key, status));
        agent.changed.notify_one();
    }

    /// Somebody reads the last message about something that is on, and says that they are on it.
    fn acknowledges(&self, living: &Living) {
        let accepted = self.providers.accepted.lock().unwrap();
        let last = accepted.iter().rev().find_map(|accepted| {
            let telling = accepted.message.telling()?;
            let link = Actor::Link(accepted.message.to.clone());
            (telling.notice != Notice::Close).then_some((telling.number, link))
        });
        let Some((number, by)) = last else {
            return;
        };
        let event = Event::Operator(OperatorEvent::Acknowledged {
            numbers: vec![number],
            by,
            for_ms: None,
        });
        let (handle, time) = (living.handle.clone(), Arc::clone(&self.time));
        let witness = Arc::clone(&self.witness);
        drop(tokio::spawn(async move {
            let at = time.now();
            let result = handle.perform(event).await;
            let answered = time.now();
            let asked = Asked {
                at,
                answered,
                result,
            };
            witness.lock().unwrap().acknowledged.push(asked);
        }));
    }

    fn silences(&self, living: &Living, check: &'static str) {
        let event = Event::Mute(MuteEvent::SilenceStarted {
            matches: SilenceMatch {
                check: Some(check.to_owned()),
                ..SilenceMatch::default()
            },
            reason: "travaux".to_owned(),
            for_ms: 60_000,
            uid: 1_000,
        });
        let silenced = (check, self.time.now());
        self.witness.lock().unwrap().silenced.push(silenced);
        let handle = living.handle.clone();
        drop(tokio::spawn(async move {
            let _answered = handle.perform(event).await;
        }));
    }

    /// The night with its crashes, the morning, and the end of everything.
    async fn goes(&self) {
        let begun = Instant::now();
        let mut acts = self.script.acts.iter().copied().peekable();
        let mut life = 0;
        let mut age_ms = 1_000_000;
        let mut living = self.start(self.script.points[0], age_ms).await;
        loop {
            let next = acts.peek().map_or(NIGHT_MS, |(at, _)| *at);
            let next = begun + Duration::from_millis(next);
            tokio::select! {
                () = living.life.died() => {
                    living.dies().await;
                    let (lasts_ms, is_boot) = self.script.off[life];
                    life += 1;
                    let died = Instant::now();
                    // What is found meanwhile the nodes keep.
                    while let Some((at, act)) = acts.peek()
                        && begun + Duration::from_millis(*at) <= died + Duration::from_millis(lasts_ms)
                    {
                        tokio::time::sleep_until(begun + Duration::from_millis(*at)).await;
                        if let Act::Finds { agent, check, status } = *act {
                            self.finds(agent, check, status);
                        }
                        acts.next();
                    }
                    tokio::time::sleep_until(died + Duration::from_millis(lasts_ms)).await;
                    self.witness.lock().unwrap().crashes += 1;
                    age_ms = if is_boot { 20_000 } else { age_ms + 3_600_000 };
                    living = self.start(self.script.points[life], age_ms).await;
                }
                () = tokio::time::sleep_until(next) => match acts.next() {
                    Some((_, Act::Finds { agent, check, status })) => self.finds(agent, check, status),
                    Some((_, Act::Acknowledges)) => self.acknowledges(&living),
                    Some((_, Act::Silences { check })) => self.silences(&living, check),
                    None => break,
                }
            }
        }
        // A point that never came: the power goes now.
        if self.script.points[life].is_some() {
            self.witness.lock().unwrap().crashes += 1;
            living.dies().await;
            living = self.start(None, 20_000).await;
        }
        self.quiet(&living, |state| state.outbox.is_empty()).await;
        // Off until some time after the next opening.
        living.dies().await;
        self.witness.lock().unwrap().crashes += 1;
        let opening = oracle::opening_after(self.time.now());
        let away = u64::try_from(opening.0 - self.time.now().0).unwrap();
        self.time.skip(away + self.script.late_ms);
        let living = self.start(None, 20_000).await;
        self.quiet(&living, |state| {
            state.outbox.is_empty() && state.held.is_empty()
        })
        .await;
        for (agent, _) in NODES.iter().enumerate() {
            for check in CHECKS {
                self.finds(agent, check, Status::Ok);
            }
        }
        self.quiet(&living, |state| {
            let is_of_node = |key: &AlertKey| !key.is_built_in();
            state.outbox.is_empty() && !state.alerts.keys().any(is_of_node)
        })
        .await;
        living.dies().await;
    }

    /// Waits until everything is told.
    async fn quiet(&self, living: &Living, is_over: impl Fn(&State) -> bool) {
        let begun = Instant::now();
        loop {
            sleep(Duration::from_millis(4_321)).await;
            let all_answered = self
                .agents
                .iter()
                .all(|agent| agent.lock().unwrap().unanswered.is_empty());
            let state = living.store.load().await.unwrap();
            if all_answered && is_over(&state) {
                return;
            }
            let open: Vec<_> = state.alerts.keys().collect();
            let waiting: Vec<_> = state.outbox.values().map(|m| (&m.to, m.order)).collect();
            assert!(
                begun.elapsed() < QUIET_AFTER_MAX,
                "it is never quiet: open {open:?}, held {:?}, waiting {waiting:?}, all answered {all_answered}",
                state.held.keys()
            );
        }
    }
}

fn point_is_first(witness: &Mutex<Witness>) -> bool {
    witness.lock().unwrap().starts.is_empty()
}

async fn join(handle: &Handle, name: &str) {
    let node: NodeName = name.parse().unwrap();
    let token = Event::Membership(MembershipEvent::TokenIssued {
        id: name.to_owned(),
        secret_sha256: Digest::ZERO,
        holder: Holder::Node(node.clone()),
        replace: false,
        valid_ms: 1_000,
        uid: 0,
    });
    handle.perform(token).await.unwrap();
    let join = Event::Membership(MembershipEvent::Join {
        token: name.to_owned(),
        secret_sha256: Digest::ZERO,
        node,
        keys: NodeKeys {
            tls_key_sha256: Digest::of(name.as_bytes()),
            signing_key: String::new(),
            not_after: Wall(i64::MAX),
        },
    });
    handle.perform(join).await.unwrap();
}

/// Hands in what a node has, until it is answered; again a while after it was not.
async fn hand_in(
    agent: Arc<Mutex<Agent>>,
    handle: Handle,
    witness: Arc<Mutex<Witness>>,
    clock: Arc<world::BootClock>,
) {
    loop {
        let changed = Arc::clone(&agent.lock().unwrap().changed);
        if agent.lock().unwrap().unanswered.is_empty() {
            changed.notified().await;
            continue;
        }
        let (reply, answer) = oneshot::channel();
        let sent = clock.now();
        let request = {
            let agent = agent.lock().unwrap();
            let lines = agent
                .unanswered
                .iter()
                .map(|(line, ..)| ReceivedLine::read(&line.bytes));
            HandIn {
                node: agent.name.clone(),
                key_sha256: Digest::of(agent.name.as_str().as_bytes()),
                expired: None,
                contact: Contact {
                    at: sent.wall,
                    head: agent.head,
                    plan: None,
                    not_ok: agent.not_ok.clone(),
                },
                lines: lines.collect(),
                received: sent,
                reply,
            }
        };
        assert!(handle.hand_in(request));
        let Ok(Ok(answer)) = answer.await else {
            sleep(Duration::from_secs(3)).await;
            continue;
        };
        let mut agent = agent.lock().unwrap();
        let answered = clock.wall();
        agent.durable = agent.durable.max(answer.durable.seq);
        let durable = agent.durable;
        let (done, left): (Vec<_>, Vec<_>) = std::mem::take(&mut agent.unanswered)
            .into_iter()
            .partition(|(line, ..)| line.seq <= durable);
        for (index, (line, key, status)) in done.iter().enumerate() {
            let is_current = !done[index + 1..].iter().any(|(_, other, _)| other == key);
            witness.lock().unwrap().heard.push(Heard {
                key: key.clone(),
                seq: line.seq,
                status: *status,
                sent: sent.wall,
                answered,
                is_current,
            });
        }
        agent.unanswered = left;
    }
}

/// One seed, from a fresh disk to the verdict.
fn run(seed: u64, is_on_disk: bool) -> oracle::Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let verdict = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let disk = if is_on_disk {
                Disk::real()
            } else {
                Disk::in_memory()
            };
            let run = Run::new(seed, disk);
            run.goes().await;
            oracle::judge(&run).await
        })
    }));
    verdict.unwrap_or_else(|panic| {
        println!("VIGIE_CRASH_SEED={seed} on disk: {is_on_disk}");
        resume_unwind(panic)
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn part(part: u64, parts: u64, all: u64, is_on_disk: bool) {
    let only = number("VIGIE_CRASH_SEED");
    let all = number("VIGIE_CRASH_SEEDS").unwrap_or(all);
    let mut sum = oracle::Tally::default();
    let begun = std::time::Instant::now();
    for seed in (0..all).filter(|seed| seed % parts == part) {
        if only.is_none_or(|only| only == seed) {
            let mut tally = run(seed, is_on_disk);
            for fault in &mut tally.faults {
                *fault = format!("VIGIE_CRASH_SEED={seed}: {fault}");
            }
            sum.add(tally);
            if sum.faults.len() >= FAULTS_TOLD_MAX {
                break;
            }
        }
    }
    let faults = std::mem::take(&mut sum.faults);
    println!("{sum:?} in {:?}", begun.elapsed());
    assert!(
        faults.is_empty(),
        "on disk: {is_on_disk}\n{}",
        faults.join("\n")
    );
    if only.is_none() {
        assert!(sum.crashes >= all / parts * 2, "too few crashes");
        assert!(sum.owed > 0 && sum.digests > 0 && sum.ends > 0);
    }
}

macro_rules! parts {
    ($($name:ident: $part:expr, $parts:expr, $all:expr, $on_disk:expr;)*) => {
        $(#[test]
        fn $name() {
            part($part, $parts, $all, $on_disk);
        })*
    };
}

parts! {
    nobody_is_forgotten_over_crashes_1: 0, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_2: 1, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_3: 2, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_4: 3, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_5: 4, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_6: 5, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_7: 6, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_8: 7, PARTS, SEEDS, false;
    nobody_is_forgotten_over_crashes_on_a_real_disk_1: 0, PARTS_ON_DISK, SEEDS_ON_DISK, true;
    nobody_is_forgotten_over_crashes_on_a_real_disk_2: 1, PARTS_ON_DISK, SEEDS_ON_DISK, true;
}
