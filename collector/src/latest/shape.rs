//! What the keys of a request's series stand for, remembered from earlier requests.
//!
//! The key of a series ([`Series::key`](vigie_core::remote_write::Series::key)) means something only together with the
//! request's symbol table. In remote write 2.0 the same sender repeats the same table, so for the last few tables it is
//! remembered which key was which series; a table is remembered once it was seen twice, since many senders never
//! repeat one. Remote write 1.0 has no symbols, and its keys are mostly the very bytes by which a series is kept; here
//! are those that are not: sorted or encoded in another way, or refused.
//!
//! All of it may be forgotten at any time, and is: when it grows over its budget, and an hour after it was learnt, so
//! that metadata, which is read only when a series is new, is not believed for ever.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use vigie_core::remote_write::Version;

use super::{
    Refusal,
    keys::{Keys, NONE, grow_by_an_eighth},
};

/// Symbol tables remembered of one origin: a sender with a few targets repeats a few.
const TABLES_MAX: usize = 4;

/// The longest symbol table remembered: four times that of 2,000 series, which is what Prometheus sends at once.
const SYMBOLS_LEN_MAX: usize = 256 << 10;

/// Bytes that remembered tables of one origin may take.
const TABLES_LEN_MAX: usize = 1 << 20;

/// Bytes that remembered keys of remote write 1.0 may take.
const RAW_LEN_MAX: usize = 256 << 10;

/// The longest key remembered. Ordinary ones have hundreds of bytes; one may be as long as a request.
const KEY_LEN_MAX: usize = 4 << 10;

/// How long anything is remembered.
const REMEMBERED_S: u32 = 3600;

/// Hashes of tables that were seen once.
const SEEN_ONCE_MAX: usize = 8;

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A slot, as long as it has this generation.
    Slot { slot: u32, generation: u32 },
    /// A series that is refused.
    Refused(Refusal),
}

#[derive(Clone, Copy)]
struct Entry {
    target: Target,
    /// The key that followed in the last request.
    next: u32,
}

/// The keys of one symbol table.
pub(super) struct Shape {
    symbols: Box<[u8]>,
    keys: Keys,
    /// By the id of the key.
    entries: Vec<Entry>,
    born_s: u32,
    /// The last time it was asked for, in requests.
    used: u64,
}

impl Shape {
    fn new(symbols: &[u8], random: RandomState, now_s: u32) -> Self {
        Self {
            symbols: symbols.into(),
            keys: Keys::new(random),
            entries: Vec::new(),
            born_s: now_s,
            used: 0,
        }
    }

    /// What `key` stands for. `previous` is where the last found key of the request is, `NONE` at first.
    #[inline]
    pub(super) fn find(&mut self, previous: &mut u32, key: &[u8]) -> Option<Target> {
        let before = self.entries.get(*previous as usize);
        let guess = before.map_or(0, |before| before.next);
        let id = if self.keys.is(guess, key) {
            guess
        } else {
            let id = self.keys.find(key)?;
            if let Some(before) = self.entries.get_mut(*previous as usize) {
                before.next = id;
            }
            id
        };
        *previous = id;
        self.entries.get(id as usize).map(|entry| entry.target)
    }

    /// Remembers what `key` stands for, in place of what it stood for.
    pub(super) fn remember(&mut self, key: &[u8], target: Target) {
        if let Some(id) = self.keys.find(key) {
            self.entries[id as usize].target = target;
        } else if let Some(id) = self.keys.insert(key) {
            // Nothing is ever removed, so ids are dense; the next key to be learnt is the likeliest to follow.
            grow_by_an_eighth(&mut self.entries, 1);
            self.entries.push(Entry {
                target,
                next: id + 1,
            });
        }
    }

    fn is_old(&self, now_s: u32) -> bool {
        now_s.saturating_sub(self.born_s) >= REMEMBERED_S
    }

    fn allocated_len(&self) -> usize {
        self.symbols.len()
            + self.keys.allocated_len()
            + self.entries.capacity() * size_of::<Entry>()
    }
}

/// All that is remembered of one origin.
pub(super) struct Shapes {
    raw: Option<Box<Shape>>,
    tables: Vec<Shape>,
    seen_once: [u64; SEEN_ONCE_MAX],
    seen: usize,
    requests: u64,
    random: RandomState,
}

/// Which of an origin's shapes a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selected {
    /// Remote write 1.0.
    Raw,
    /// Remote write 2.0 with a remembered table.
    Table(usize),
    /// Remote write 2.0 with a table that is not remembered.
    Strange,
}

impl Shapes {
    pub(super) fn new(random: RandomState) -> Self {
        Self {
            raw: None,
            tables: Vec::new(),
            seen_once: [0; SEEN_ONCE_MAX],
            seen: 0,
            requests: 0,
            random,
        }
    }

    /// Finds the shape of a request, or begins one.
    pub(super) fn select(&mut self, version: Version, symbols: &[u8], now_s: u32) -> Selected {
        if version == Version::V1 {
            if self.raw.as_ref().is_some_and(|raw| raw.is_old(now_s)) {
                self.raw = None;
            }
            return Selected::Raw;
        }
        self.requests += 1;
        self.tables.retain(|table| !table.is_old(now_s));
        let known = self
            .tables
            .iter()
            .position(|table| *table.symbols == *symbols);
        if let Some(known) = known {
            self.tables[known].used = self.requests;
            return Selected::Table(known);
        }
        if symbols.len() > SYMBOLS_LEN_MAX {
            return Selected::Strange;
        }
        let hash = self.random.hash_one(symbols);
        if !self.seen_once.contains(&hash) {
            self.seen_once[self.seen % SEEN_ONCE_MAX] = hash;
            self.seen += 1;
            return Selected::Strange;
        }
        let mut shape = Shape::new(symbols, self.random.clone(), now_s);
        shape.used = self.requests;
        let oldest = self
            .tables
            .iter()
            .enumerate()
            .min_by_key(|(_, table)| table.used);
        match oldest.map(|(oldest, _)| oldest) {
            Some(oldest) if self.tables.len() == TABLES_MAX => {
                self.tables[oldest] = shape;
                Selected::Table(oldest)
            }
            _ => {
                self.tables.push(shape);
                Selected::Table(self.tables.len() - 1)
            }
        }
    }

    /// The shape, if there is anything in it.
    #[inline]
    pub(super) fn shape(&mut self, selected: Selected) -> Option<&mut Shape> {
        match selected {
            Selected::Raw => self.raw.as_deref_mut(),
            Selected::Table(table) => self.tables.get_mut(table),
            Selected::Strange => None,
        }
    }

    /// Remembers what a key of that shape stands for, unless one request already fills the budget.
    pub(super) fn remember(&mut self, selected: Selected, key: &[u8], target: Target, now_s: u32) {
        if key.len() > KEY_LEN_MAX {
            return;
        }
        if selected == Selected::Raw && self.raw.is_none() {
            self.raw = Some(Box::new(Shape::new(&[], self.random.clone(), now_s)));
        }
        if let Some(shape) = self.shape(selected)
            && shape.allocated_len() <= TABLES_LEN_MAX
        {
            shape.remember(key, target);
        }
    }

    /// Forgets what is over its budget.
    pub(super) fn keep_budgets(&mut self) {
        let is_over = |raw: &Shape| raw.allocated_len() > RAW_LEN_MAX;
        if self.raw.as_deref().is_some_and(is_over) {
            self.raw = None;
        }
        if self.tables.iter().map(Shape::allocated_len).sum::<usize>() > TABLES_LEN_MAX {
            self.tables = Vec::new();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.raw = None;
        self.tables = Vec::new();
        self.seen_once = [0; SEEN_ONCE_MAX];
    }

    pub(super) fn allocated_len(&self) -> usize {
        let shapes = self.raw.as_deref().into_iter().chain(&self.tables);
        shapes
            .map(|shape| size_of::<Shape>() + shape.allocated_len())
            .sum()
    }
}

/// Where the search for a request's first key begins.
pub(super) const BEGINNING: u32 = NONE;
