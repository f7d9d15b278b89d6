//! What outlives a crash: time, the disk, the providers. None of it is told of a crash; it only sees that nobody comes.

use std::{
    collections::{BTreeMap, HashSet},
    future::pending,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::{spawn_blocking, yield_now},
    time::{Instant, sleep},
};
use vigie_core::{
    digest::Digest,
    time::{Elapsed, Wall},
};
use vigie_decide::{
    alert::Message,
    destination::Destination,
    fleet::{Delta, State},
    rules::Rules,
};
use vigie_deliver::{queue::Answer, target::StandIn};
use vigie_platform::clock::Clock;

use crate::store::{CommitError, LineKey, LoadError, LogReader, ReadError, SqliteStore, Store};

/// Numbers that a seed gives: SplitMix64 of Steele, Lea and Flood (OOPSLA 2014).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `from` to below `below`.
    pub(super) fn between(&mut self, from: u64, below: u64) -> u64 {
        from + self.next() % (below - from)
    }

    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.between(0, times) == 0
    }

    pub(super) fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.between(0, of.len() as u64)).unwrap()]
    }
}

/// The moments at which the power may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    BeforeCommit,
    /// Its future is dropped half way; on a disk in memory the same as before it.
    InCommit,
    AfterCommit,
    BeforeSend,
    /// The provider has it, and its answer is on the way.
    AfterSend,
    BeforeReceipt,
    /// The receipt waits for the engine.
    AfterReceipt,
}

pub(super) const MOMENTS: [Moment; 7] = [
    Moment::BeforeCommit,
    Moment::InCommit,
    Moment::AfterCommit,
    Moment::BeforeSend,
    Moment::AfterSend,
    Moment::BeforeReceipt,
    Moment::AfterReceipt,
];

/// From one start of the collector to its end.
pub(super) struct Life {
    point: Option<(Moment, u64)>,
    passed: AtomicU64,
    is_armed: AtomicBool,
    dead: watch::Sender<bool>,
}

impl Life {
    /// Ends at the nth such moment after it was armed.
    pub(super) fn until(point: Option<(Moment, u64)>) -> Self {
        Self {
            point,
            passed: AtomicU64::new(0),
            is_armed: AtomicBool::new(false),
            dead: watch::Sender::new(false),
        }
    }

    pub(super) fn arm(&self) {
        self.is_armed.store(true, Relaxed);
    }

    fn is_now(&self, moment: Moment) -> bool {
        self.is_armed.load(Relaxed)
            && self.point.is_some_and(|(at, nth)| {
                at == moment && self.passed.fetch_add(1, Relaxed) + 1 == nth
            })
    }

    /// Ends here what is dead, or dies here.
    pub(super) async fn pass(&self, moment: Moment) {
        if self.is_now(moment) {
            self.dead.send_replace(true);
        }
        self.end_if_dead().await;
    }

    async fn end_if_dead(&self) {
        if *self.dead.borrow() {
            pending::<()>().await;
        }
    }

    pub(super) async fn died(&self) {
        let mut dead = self.dead.subscribe();
        let _never_closed = dead.wait_for(|dead| *dead).await;
    }
}

/// The time of the world. It runs as the paused clock of the runtime does, and jumps while the collector's machine is off.
pub(super) struct Time {
    begun: Instant,
    at_begin: Wall,
    skipped_ms: AtomicU64,
}

impl Time {
    pub(super) fn from(at_begin: Wall) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            at_begin,
            skipped_ms: AtomicU64::new(0),
        })
    }

    fn passed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap() + self.skipped_ms.load(Relaxed)
    }

    pub(super) fn now(&self) -> Wall {
        self.at_begin
            .plus_ms(i64::try_from(self.passed_ms()).unwrap())
    }

    pub(super) fn skip(&self, ms: u64) {
        self.skipped_ms.fetch_add(ms, Relaxed);
    }

    /// The clocks of a boot that was `age_ms` ago.
    pub(super) fn clock(self: &Arc<Self>, age_ms: u64) -> Arc<BootClock> {
        Arc::new(BootClock {
            booted_ms: self.passed_ms(),
            age_ms,
            time: Arc::clone(self),
        })
    }
}

pub(super) struct BootClock {
    time: Arc<Time>,
    booted_ms: u64,
    age_ms: u64,
}

impl Clock for BootClock {
    fn wall(&self) -> Wall {
        self.time.now()
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed(self.time.passed_ms() - self.booted_ms + self.age_ms)
    }

    fn poll_every(&self) -> Duration {
        // The runtime's clock is this clock.
        Duration::from_secs(86_400)
    }
}

/// Something that goes wrong from one moment to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble<T> {
    pub(super) from: Wall,
    pub(super) until: Wall,
    pub(super) what: T,
}

fn trouble<T: Copy>(troubles: &[Trouble<T>], now: Wall) -> Option<T> {
    let mut running = troubles.iter().filter(|t| t.from <= now && now < t.until);
    running.next().map(|trouble| trouble.what)
}

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskTrouble {
    Full,
    /// It takes so many milliseconds.
    Slow(u64),
    /// It writes, and hangs.
    WritesAndHangs,
    /// It hangs.
    Hangs,
    /// It writes, and says that it could not.
    WritesAndFails,
}

/// What is wrong with the providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderTrouble {
    Down,
    Broken,
    TooMany(Option<u64>),
    Hangs,
    /// It takes the message, and its answer is lost.
    AcceptsAndCuts,
    Refuses,
}

#[derive(Default)]
pub(super) struct InMemory {
    state: State,
    lines: HashSet<LineKey>,
    log: Vec<(u64, String)>,
    rules: BTreeMap<Digest, Rules>,
}

pub(super) enum Disk {
    InMemory(Box<Mutex<InMemory>>),
    Real(TempDir),
}

impl Disk {
    pub(super) fn in_memory() -> Self {
        Self::InMemory(Box::default())
    }

    pub(super) fn real() -> Self {
        Self::Real(tempfile::tempdir().unwrap())
    }

    /// Everything that was ever logged, and the rules beside it.
    pub(super) async fn log(&self) -> (Vec<(u64, String)>, BTreeMap<Digest, Rules>) {
        match self {
            Self::InMemory(disk) => {
                let disk = disk.lock().unwrap();
                (disk.log.clone(), disk.rules.clone())
            }
            Self::Real(dir) => {
                let reader = LogReader::open(dir.path()).await.unwrap();
                let mut log = Vec::new();
                loop {
                    let lines = reader.lines(log.len() as u64, 1_000).await.unwrap();
                    if lines.is_empty() {
                        return (log, BTreeMap::new());
                    }
                    log.extend(lines);
                }
            }
        }
    }

    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::InMemory(_) => None,
            Self::Real(dir) => Some(dir.path()),
        }
    }
}

/// The store of one life.
#[derive(Clone)]
pub(super) struct CutStore {
    life: Arc<Life>,
    disk: Arc<Disk>,
    real: Option<Arc<SqliteStore>>,
    time: Arc<Time>,
    troubles: Arc<Vec<Trouble<DiskTrouble>>>,
}

/// Keeps the runtime's clock from running ahead of a real disk.
async fn held<T>(work: impl Future<Output = T>) -> T {
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let hold = spawn_blocking(move || wait.recv());
    let result = work.await;
    drop(done);
    let _ended = hold.await;
    result
}

impl CutStore {
    pub(super) async fn open(
        life: &Arc<Life>,
        disk: &Arc<Disk>,
        time: &Arc<Time>,
        troubles: &Arc<Vec<Trouble<DiskTrouble>>>,
    ) -> Self {
        let real = match &**disk {
            Disk::InMemory(_) => None,
            Disk::Real(dir) => Some(Arc::new(held(SqliteStore::open(dir.path())).await.unwrap())),
        };
        Self {
            life: Arc::clone(life),
            disk: Arc::clone(disk),
            real,
            time: Arc::clone(time),
            troubles: Arc::clone(troubles),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, InMemory> {
        match &*self.disk {
            Disk::InMemory(disk) => disk.lock().unwrap(),
            Disk::Real(_) => panic!("the disk is a real one"),
        }
    }

    async fn write(&self, delta: &Delta) -> Result<(), CommitError> {
        if let Some(real) = &self.real {
            return held(real.commit(delta)).await;
        }
        let mut disk = self.memory();
        let stored = disk.log.len() as u64;
        if let Some((given, _)) = delta.log.first()
            && *given != stored
        {
            return Err(CommitError::OutOfStep {
                path: "memory".into(),
                stored,
                given: *given,
            });
        }
        for line in &delta.lines {
            let named = LineKey::of(&line.node, Some(line.seq), line.sha256);
            let nameless = LineKey::of(&line.node, None, line.sha256);
            disk.lines.extend([named, nameless]);
        }
        disk.log.extend(delta.log.iter().cloned());
        let rules = delta
            .rules
            .iter()
            .map(|(key, rules)| (*key, (**rules).clone()));
        disk.rules.extend(rules);
        disk.state.merge(delta.clone());
        Ok(())
    }

    fn fails() -> CommitError {
        CommitError::Full {
            path: "disk".into(),
            source: crate::store::DatabaseError::new(std::fmt::Error),
        }
    }
}

/// Longer than the engine waits.
const HANG: Duration = Duration::from_secs(6);

impl Store for CutStore {
    async fn load(&self) -> Result<State, LoadError> {
        match &self.real {
            Some(real) => held(real.load()).await,
            None => Ok(self.memory().state.clone()),
        }
    }

    async fn commit(&self, delta: &Delta) -> Result<(), CommitError> {
        self.life.pass(Moment::BeforeCommit).await;
        if self.life.is_now(Moment::InCommit) {
            tokio::select! {
                biased;
                () = async {
                    for _ in 0..self.time.passed_ms() % 50 {
                        yield_now().await;
                    }
                } => {}
                _ = async {
                    if self.real.is_some() {
                        let _cut = self.write(delta).await;
                    }
                    pending::<()>().await;
                } => {}
            }
            self.life.dead.send_replace(true);
        }
        self.life.end_if_dead().await;
        let result = match trouble(&self.troubles, self.time.now()) {
            None => self.write(delta).await,
            Some(DiskTrouble::Full) => Err(Self::fails()),
            Some(DiskTrouble::Slow(ms)) => {
                sleep(Duration::from_millis(ms)).await;
                self.write(delta).await
            }
            Some(DiskTrouble::Hangs) => {
                sleep(HANG).await;
                Err(Self::fails())
            }
            Some(DiskTrouble::WritesAndHangs) => {
                let written = self.write(delta).await;
                sleep(HANG).await;
                written
            }
            Some(DiskTrouble::WritesAndFails) => self.write(delta).await.and(Err(Self::fails())),
        };
        self.life.pass(Moment::AfterCommit).await;
        result
    }

    async fn stored_lines(&self, lines: &[LineKey]) -> Result<HashSet<LineKey>, ReadError> {
        if let Some(real) = &self.real {
            return held(real.stored_lines(lines)).await;
        }
        let disk = self.memory();
        let stored = lines.iter().filter(|line| disk.lines.contains(line));
        Ok(stored.cloned().collect())
    }

    async fn log_lines(&self, _: u64, _: u32) -> Result<Vec<(u64, String)>, ReadError> {
        Ok(Vec::new())
    }

    async fn rules(&self, _: Digest) -> Result<Option<Rules>, ReadError> {
        Ok(None)
    }
}

/// A message that a provider has, whether or not it could say so.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) at: Wall,
    /// Counts transmissions.
    pub(super) transmission: u64,
    pub(super) is_answer_lost: bool,
    pub(super) message: Message,
}

/// All providers.
pub(super) struct Providers {
    pub(super) accepted: Mutex<Vec<Accepted>>,
    pub(super) transmissions: AtomicU64,
    pub(super) time: Arc<Time>,
    pub(super) troubles: BTreeMap<Destination, Vec<Trouble<ProviderTrouble>>>,
}

/// The way from one life to the providers.
pub(super) struct Wire {
    pub(super) life: Arc<Life>,
    pub(super) providers: Arc<Providers>,
}

impl Wire {
    async fn try_once(&self, to: &Destination, batch: &[Message]) -> Answer {
        self.life.pass(Moment::BeforeSend).await;
        let now = self.providers.time.now();
        // A request takes a moment each way.
        sleep(Duration::from_millis(3)).await;
        let troubles = self.providers.troubles.get(to);
        let trouble = troubles.and_then(|troubles| trouble(troubles, now));
        let busy = |http_status, retry_after_ms| Answer::Busy {
            http_status,
            retry_after_ms,
        };
        match trouble {
            None | Some(ProviderTrouble::AcceptsAndCuts) => {}
            Some(ProviderTrouble::Down) => return Answer::None,
            Some(ProviderTrouble::Broken) => return busy(500, None),
            Some(ProviderTrouble::TooMany(after_ms)) => return busy(429, after_ms),
            Some(ProviderTrouble::Refuses) => return Answer::Refused { http_status: 400 },
            Some(ProviderTrouble::Hangs) => {
                sleep(vigie_deliver::attempt::REQUEST_TIMEOUT).await;
                return Answer::None;
            }
        }
        let is_answer_lost = trouble.is_some();
        let transmission = self.providers.transmissions.fetch_add(1, Relaxed);
        let accepted = batch.iter().map(|message| Accepted {
            at: now,
            transmission,
            is_answer_lost,
            message: message.clone(),
        });
        self.providers.accepted.lock().unwrap().extend(accepted);
        self.life.pass(Moment::AfterSend).await;
        sleep(Duration::from_millis(3)).await;
        if is_answer_lost {
            Answer::None
        } else {
            Answer::Accepted
        }
    }
}

impl StandIn for Wire {
    fn offer<'a>(
        &'a self,
        to: &'a Destination,
        batch: &'a [Message],
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(self.try_once(to, batch))
    }
}
