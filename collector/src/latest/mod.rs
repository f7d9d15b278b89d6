//! The newest value of every series that anyone sends, and its text.
//!
//! Each origin, a node or a sender of metrics, has a [`table`] of its own behind a lock of its own, found through a
//! sharded map: whoever floods its table delays nobody else, as long as threads that others need do not wait for it
//! ([`Latest::try_apply`]). A request's structure was walked before it comes here
//! ([`vigie_core::remote_write`]); this part decides which of its series may stand ([`labels`]), recognises those it
//! has seen by the bytes that name them ([`keys`], [`shape`]), keeps what metrics are about ([`families`]) and writes
//! pages for Prometheus ([`text`]).
//!
//! It lives in memory alone: after a restart the next request of each origin fills it again. It must never keep more
//! than its [`Limits`] say, never do work for a request beyond them, and never count as written what is not kept (or
//! superseded by something newer that is). It cannot be cancelled half way: [`Latest::apply`] is synchronous.
//!
//! What "newest" means: the sample with the highest timestamp. An older one changes nothing and counts as written; of
//! two with the same timestamp the later received stands, so that whatever was answered as written can be read back,
//! except that an end (a stale marker) is final for its timestamp. A sample is live while it is less than
//! [`LIVE_FOR_MS`] older than the newest of its origin (a slow clock or a backlog is not the end of a series), and
//! while its origin itself was heard within that time, which passes however clocks are set (the dead must not look
//! alive). Should the collector's clock be set back, what it would refuse now as too far ahead gives way to anything.

mod families;
mod keys;
mod labels;
mod shape;
mod table;
mod text;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;
use vigie_core::{
    id::NodeName,
    remote_write::{Batch, Sample},
    time::Now,
};

use families::Texts;
use table::{Scratch, Table};

/// How much older than the newest of its origin a live sample may be: Prometheus' own look-back.
pub const LIVE_FOR_MS: i64 = 300_000;

/// Shards of the map of origins: enough that a new origin seldom waits for another one's look-up.
const SHARDS: usize = 16;

/// Working memory kept for the next request; more requests than this at once make their own.
const SCRATCHES_MAX: usize = 8;

/// Who sent a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A node, from its certificate.
    Node(NodeName),
    /// Another sender of metrics, from its certificate.
    Sender(Box<str>),
}

impl Origin {
    /// Its name without what it is.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) => name.as_str(),
            Self::Sender(name) => name,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Sender(name) => write!(f, "sender {name}"),
        }
    }
}

/// How much one origin may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series of a node.
    pub series_per_node: usize,
    /// Series of a sender.
    pub series_per_sender: usize,
    /// Labels of a series, its name counted.
    pub labels_per_series: usize,
    /// Bytes of a label's name.
    pub label_name_len: usize,
    /// Bytes of a label's value.
    pub label_value_len: usize,
    /// Bytes of labels read through symbols in one request (remote write 2.0), those of known series left out.
    pub expanded_len: usize,
    /// Distinct label names of one origin.
    pub label_names: usize,
    /// How far a sample's timestamp may be ahead of the collector's clock, in milliseconds.
    pub future_ms: u64,
    /// How far it may be behind, in milliseconds.
    pub past_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_node: 10_000,
            series_per_sender: 500_000,
            labels_per_series: 64,
            label_name_len: 256,
            label_value_len: 1024,
            expanded_len: 32 << 20,
            label_names: 500,
            future_ms: 600_000,
            past_ms: 48 * 3_600_000,
        }
    }
}

/// Why something of a request is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The labels are no valid set of labels, or too many or too long.
    Labels,
    /// The origin has as many series as it may.
    SeriesMax,
    /// The origin has as many distinct label names as it may.
    LabelNamesMax,
    /// The timestamp is too far behind the collector's clock.
    TooOld,
    /// The timestamp is too far ahead of the collector's clock.
    TooNew,
    /// The name is one that the collector or its nodes give.
    Reserved,
    /// Native histograms are not kept.
    Histogram,
    /// Exemplars are not kept.
    Exemplar,
    /// The request's labels are longer than one request's may be, once their symbols are put in.
    Expanded,
}

impl Refusal {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All, in the order of [`Applied::refused`].
    pub const ALL: [Self; 9] = [
        Self::Labels,
        Self::SeriesMax,
        Self::LabelNamesMax,
        Self::TooOld,
        Self::TooNew,
        Self::Reserved,
        Self::Histogram,
        Self::Exemplar,
        Self::Expanded,
    ];

    /// The word for it, as a label of a metric has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::SeriesMax => "series_max",
            Self::LabelNamesMax => "label_names_max",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::Reserved => "reserved",
            Self::Histogram => "histogram",
            Self::Exemplar => "exemplar",
            Self::Expanded => "expanded",
        }
    }

    /// What a sender's operator is told.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Labels => "the labels are not valid",
            Self::SeriesMax => "there are as many series as this sender may have",
            Self::LabelNamesMax => "there are as many distinct label names as this sender may have",
            Self::TooOld => "the timestamp is too old",
            Self::TooNew => "the timestamp is too far in the future",
            Self::Reserved => "the name is reserved",
            Self::Histogram => "native histograms are not kept; send classic ones",
            Self::Exemplar => "exemplars are not kept",
            Self::Expanded => "the labels of this request are too long once its symbols are put in",
        }
    }
}

/// What became of a request. `written` and `refused` together are all of its samples, histograms and exemplars, unless
/// it was an impostor's: then they are all zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Samples that are kept or were superseded by a newer one.
    pub written: u64,
    /// What is not kept, by [`Refusal::ALL`].
    pub refused: [u64; Refusal::COUNT],
    /// The first refusal, in words.
    pub example: Option<String>,
    /// The name of another node that this node's series carry. Nothing of the request was applied.
    pub impostor: Option<Box<str>>,
}

impl Applied {
    /// How much was refused for this reason.
    #[must_use]
    pub const fn refused_for(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// How much was refused.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes and senders that have sent something.
    pub origins: u64,
    /// Series of nodes, ended ones that are still remembered among them.
    pub node_series: u64,
    /// Series of senders, likewise.
    pub sender_series: u64,
    /// Bytes all of it takes.
    pub bytes: u64,
    /// How often labels had to be read because the bytes that name a series were not known, since the start.
    pub shape_misses: u64,
}

type Shard = RwLock<HashMap<Origin, Arc<Mutex<Table>>, RandomState>>;

/// The newest value of every series of every origin.
pub struct Latest {
    shards: [Shard; SHARDS],
    limits: RwLock<Limits>,
    /// What metrics are about, which is the same text on every node.
    texts: Texts,
    scratches: Mutex<Vec<Scratch>>,
    shape_misses: AtomicU64,
    random: RandomState,
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

impl Latest {
    /// Nothing kept yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // Seeded once for each process: nobody outside can choose names that collide.
        let random = RandomState::default();
        Self {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::with_hasher(random.clone()))),
            limits: RwLock::new(limits),
            texts: Texts::default(),
            scratches: Mutex::new(Vec::with_capacity(SCRATCHES_MAX)),
            shape_misses: AtomicU64::new(0),
            random,
        }
    }

    /// Puts other limits in force. What is kept already stays.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Takes in what `origin` sent. Allocates nothing for a request all of whose series are known and accepted.
    ///
    /// Waits while another request of the same origin is taken in or its page is copied: not for a thread that others
    /// need.
    pub fn apply(&self, origin: &Origin, batch: &Batch<'_>, now: Now) -> Applied {
        let table = self.find_or_add(origin);
        let table = lock(&table);
        self.apply_to(table, origin, batch, now)
    }

    /// The same, unless it had to wait: then `None`, and nothing was taken in.
    pub fn try_apply(&self, origin: &Origin, batch: &Batch<'_>, now: Now) -> Option<Applied> {
        let table = self.find_or_add(origin);
        let table = match table.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(table)) => table.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.apply_to(table, origin, batch, now))
    }

    fn apply_to(
        &self,
        mut table: MutexGuard<'_, Table>,
        origin: &Origin,
        batch: &Batch<'_>,
        now: Now,
    ) -> Applied {
        let limits = *self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = lock(&self.scratches).pop().unwrap_or_default();
        let (applied, misses) = table.apply(origin, batch, &limits, now, &self.texts, &mut scratch);
        drop(table);
        let mut scratches = lock(&self.scratches);
        if scratches.len() < SCRATCHES_MAX {
            scratches.push(scratch);
        }
        drop(scratches);
        self.shape_misses.fetch_add(misses, Relaxed);
        applied
    }

    /// All that have sent anything, in order.
    #[must_use]
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self
            .shards
            .iter()
            .flat_map(|shard| {
                let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
                shard.keys().cloned().collect::<Vec<_>>()
            })
            .collect();
        origins.sort_unstable();
        origins
    }

    /// Appends what is live of `origin` in the text format 0.0.4.
    pub fn text(&self, origin: &Origin, now: Now, out: &mut Vec<u8>) {
        if let Some(table) = self.find(origin) {
            // Copied under the lock, written without it: a page of a large sender takes long.
            let live = lock(&table).live(now);
            text::write(origin, &live, out);
        }
    }

    /// The newest sample of the series with exactly these labels (`__name__` is one, in any order), as they were
    /// received; `None` if there is none or it ended. It may be too old to be live.
    #[must_use]
    pub fn value(&self, origin: &Origin, labels: &[(&str, &str)]) -> Option<Sample> {
        let table = self.find(origin)?;
        let key = labels::canonical(labels);
        lock(&table).value(&key)
    }

    /// Drops everything of `origin`.
    pub fn forget(&self, origin: &Origin) {
        self.shard(origin)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(origin);
    }

    /// How much is kept, counted now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            bytes: self.texts.allocated_len() as u64,
            shape_misses: self.shape_misses.load(Relaxed),
            ..Totals::default()
        };
        for shard in &self.shards {
            let tables: Vec<_> = shard
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .map(|(origin, table)| (matches!(origin, Origin::Node(_)), Arc::clone(table)))
                .collect();
            for (is_node, table) in tables {
                let table = lock(&table);
                totals.origins += 1;
                totals.bytes += table.allocated_len() as u64;
                let series = if is_node {
                    &mut totals.node_series
                } else {
                    &mut totals.sender_series
                };
                *series += table.series() as u64;
            }
        }
        totals
    }

    /// Does something while nothing of `origin` can be taken in.
    #[cfg(test)]
    pub(crate) fn while_held<T>(&self, origin: &Origin, what: impl FnOnce() -> T) -> T {
        let table = self.find_or_add(origin);
        let _held = lock(&table);
        what()
    }

    fn shard(&self, origin: &Origin) -> &Shard {
        // The map inside takes the lowest and highest bits of the same hash.
        let hash = self.random.hash_one(origin) >> 24;
        &self.shards[hash as usize % SHARDS]
    }

    fn find(&self, origin: &Origin) -> Option<Arc<Mutex<Table>>> {
        self.shard(origin)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(origin)
            .cloned()
    }

    fn find_or_add(&self, origin: &Origin) -> Arc<Mutex<Table>> {
        if let Some(table) = self.find(origin) {
            return table;
        }
        let mut shard = self
            .shard(origin)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let table = shard
            .entry(origin.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Table::new(self.random.clone()))));
        Arc::clone(table)
    }
}

/// A panic while a table was locked leaves it usable: at worst one series of one request is missing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
