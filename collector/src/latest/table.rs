//! The series of one origin and the newest sample of each.
//!
//! A request is taken in twice over its series. First each is recognised by its key: by guess (the one that followed
//! last time), by hash, or through what its symbol table meant before ([`shape`](super::shape)). If any is left of a
//! node's request, its labels are looked at for another node's name, so that an impostor's request is refused before
//! anything of it is applied. Then samples are written, and what was not recognised is read, judged, and given a slot.
//!
//! Slots that no request wrote to for an hour are freed, a few with each request.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use vigie_core::{
    remote_write::{Batch, Sample, Series, v1},
    time::{Elapsed, Now, Wall},
};

use super::{
    Applied, LIVE_FOR_MS, Limits, Origin, Refusal,
    families::{self, Families, Texts},
    keys::{Keys, NONE, grow_by_an_eighth},
    labels::{self, Expansion, NAME},
    shape::{BEGINNING, Selected, Shapes, Target},
};

/// How long a slot outlives the last request that had a sample for it. An ended series stays that long, so that an
/// older sample, from a backlog, does not bring it back.
const UNSEEN_MAX_S: u32 = 3600;

/// Slots looked at with each request, or as many as it has series: all of a table within a few cycles.
const SWEPT_MIN: usize = 64;

/// Label bytes for each series that an origin may have, on average: eight times what is usual. Without it, the limits of
/// one label would let each series take eighty times that.
const LABELS_LEN_MEAN_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in use.
    Free,
    /// It has a newest sample.
    Kept,
    /// It ended at the timestamp.
    Ended,
}

#[derive(Clone, Copy)]
struct Slot {
    value: f64,
    timestamp_ms: i64,
    /// The last request that wrote a sample of it, be it an older one, in seconds of elapsed time.
    seen_s: u32,
    /// The series that followed in the last request.
    next: u32,
    /// How often the slot was freed: what was remembered of an earlier one is not of this one.
    generation: u32,
    state: State,
}

/// Working memory of one request.
#[derive(Default)]
pub(super) struct Scratch {
    recognised: Vec<Recognised>,
    canonical: Vec<u8>,
}

/// What the key of a series said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recognised {
    Slot(u32),
    Refused(Refusal),
    /// Its labels have to be read.
    No,
}

/// When a sample may have been taken.
#[derive(Clone, Copy)]
struct Window {
    oldest_ms: i64,
    newest_ms: i64,
}

impl Window {
    fn new(limits: &Limits, now: Wall) -> Self {
        let back = i64::try_from(limits.past_ms).unwrap_or(i64::MAX);
        let ahead = i64::try_from(limits.future_ms).unwrap_or(i64::MAX);
        Self {
            oldest_ms: now.0.saturating_sub(back),
            newest_ms: now.0.saturating_add(ahead),
        }
    }

    const fn refusal(&self, sample: &Sample) -> Option<Refusal> {
        if sample.timestamp_ms > self.newest_ms {
            Some(Refusal::TooNew)
        } else if sample.timestamp_ms < self.oldest_ms {
            Some(Refusal::TooOld)
        } else {
            None
        }
    }

    /// The later of two timestamps. What was kept and would be refused today as too far ahead is from a clock that was
    /// set back since: it would stand against everything newer until the clock is there again.
    const fn newer(&self, kept_ms: i64, timestamp_ms: i64) -> i64 {
        if kept_ms > self.newest_ms || timestamp_ms >= kept_ms {
            timestamp_ms
        } else {
            kept_ms
        }
    }

    fn holds_none(&self, samples: &[Sample]) -> bool {
        samples.iter().all(|sample| self.refusal(sample).is_some())
    }
}

/// The parts of one request that all of its series share.
struct Request<'r> {
    origin: &'r Origin,
    limits: &'r Limits,
    texts: &'r Texts,
    window: Window,
    now_s: u32,
    selected: Selected,
}

pub(super) struct Table {
    keys: Keys,
    /// By the id of the key.
    slots: Vec<Slot>,
    shapes: Shapes,
    families: Families,
    /// How many series have a label of that name.
    label_names: HashMap<Box<str>, u32, RandomState>,
    /// The series that began the last request of remote write 1.0.
    first: u32,
    swept: u32,
    /// The newest timestamp of all samples.
    newest_ms: i64,
    /// When a request was last written from; no clock that is set moves it.
    heard: Option<Elapsed>,
    /// The limits in force when refusals were remembered.
    limits: Option<Limits>,
}

/// What is live of an origin, copied out.
#[derive(Default)]
pub(super) struct Live {
    labels: Vec<u8>,
    series: Vec<(u32, Sample)>,
    pub(super) families: Families,
}

impl Live {
    /// The canonical labels and the newest sample of each series.
    pub(super) fn series(&self) -> impl Iterator<Item = (&[u8], Sample)> {
        let mut start = 0;
        self.series.iter().map(move |(len, sample)| {
            let end = start + *len as usize;
            let labels = &self.labels[start..end];
            start = end;
            (labels, *sample)
        })
    }
}

impl Table {
    pub(super) fn new(random: RandomState) -> Self {
        Self {
            keys: Keys::new(random.clone()),
            slots: Vec::new(),
            shapes: Shapes::new(random.clone()),
            families: Families::default(),
            label_names: HashMap::with_hasher(random),
            first: NONE,
            swept: 0,
            newest_ms: i64::MIN,
            heard: None,
            limits: None,
        }
    }

    /// Takes a request in. Also says how many series were not recognised by their keys.
    pub(super) fn apply(
        &mut self,
        origin: &Origin,
        batch: &Batch<'_>,
        limits: &Limits,
        now: Now,
        texts: &Texts,
        scratch: &mut Scratch,
    ) -> (Applied, u64) {
        if self.limits != Some(*limits) {
            self.shapes.clear();
            self.limits = Some(*limits);
        }
        // 136 years of elapsed time fit.
        let now_s = u32::try_from(now.elapsed.0 / 1000).unwrap_or(u32::MAX);
        let symbols = batch.symbol_bytes();
        let request = Request {
            origin,
            limits,
            texts,
            window: Window::new(limits, now.wall),
            now_s,
            selected: self.shapes.select(batch.version(), symbols, now_s),
        };
        let misses = self.recognise(batch, &request, &mut scratch.recognised);
        let mut applied = Applied::default();
        if misses > 0
            && let Origin::Node(own) = origin
        {
            let mut expansion = Expansion::new(symbols.len(), limits);
            let unknown = batch
                .series()
                .zip(&scratch.recognised)
                .filter(|(_, recognised)| **recognised == Recognised::No);
            for (series, _) in unknown {
                let other = labels::other_node(&series, own.as_str(), limits, &mut expansion);
                if let Some(other) = other {
                    applied.impostor = Some(other.into());
                    return (applied, misses);
                }
            }
        }
        self.write(batch, &request, scratch, &mut applied);
        for metadata in batch.metadata() {
            self.families.describe(metadata.family, &metadata, texts);
        }
        self.families.settle();
        if applied.written > 0 {
            self.heard = Some(now.elapsed);
        }
        self.shapes.keep_budgets();
        self.sweep(now_s, scratch.recognised.len().max(SWEPT_MIN));
        (applied, misses)
    }

    /// The first time over a request: which series each key means. Changes nothing but guesses. Counts those it did not
    /// recognise.
    fn recognise(
        &mut self,
        batch: &Batch<'_>,
        request: &Request<'_>,
        recognised: &mut Vec<Recognised>,
    ) -> u64 {
        recognised.clear();
        let mut misses = 0;
        let mut slot = None;
        let mut at = BEGINNING;
        for series in batch.series() {
            let key = series.key();
            let mut found = Recognised::No;
            if request.selected == Selected::Raw {
                let guess = slot.map_or(self.first, |slot: u32| self.slots[slot as usize].next);
                let known = if self.keys.is(guess, key) {
                    Some(guess)
                } else {
                    self.keys.find(key)
                };
                if let Some(known) = known {
                    slot = Some(known);
                    found = Recognised::Slot(known);
                }
            }
            if found == Recognised::No
                && let Some(shape) = self.shapes.shape(request.selected)
                && let Some(target) = shape.find(&mut at, key)
            {
                found = self.follow(target, request);
                if let Recognised::Slot(known) = found {
                    slot = Some(known);
                }
            }
            misses += u64::from(found == Recognised::No);
            recognised.push(found);
        }
        misses
    }

    /// What a remembered target means today.
    fn follow(&self, target: Target, request: &Request<'_>) -> Recognised {
        match target {
            Target::Slot { slot, generation } => {
                let is_same = self
                    .slots
                    .get(slot as usize)
                    .is_some_and(|slot| slot.generation == generation);
                if is_same {
                    Recognised::Slot(slot)
                } else {
                    Recognised::No
                }
            }
            // There may be room now.
            Target::Refused(Refusal::SeriesMax) if self.has_room(request) => Recognised::No,
            Target::Refused(Refusal::LabelNamesMax)
                if self.label_names.len() < request.limits.label_names =>
            {
                Recognised::No
            }
            Target::Refused(refusal) => Recognised::Refused(refusal),
        }
    }

    /// The second time: writes samples, and takes in what was not recognised.
    fn write(
        &mut self,
        batch: &Batch<'_>,
        request: &Request<'_>,
        scratch: &mut Scratch,
        applied: &mut Applied,
    ) {
        let mut expansion = Expansion::new(batch.symbol_bytes().len(), request.limits);
        // Grows only when a series is new.
        let mut labels = Vec::new();
        let mut previous = None;
        for (series, recognised) in batch.series().zip(&scratch.recognised) {
            let histograms = u64::from(series.histograms());
            let exemplars = u64::from(series.exemplars());
            if histograms > 0 {
                refuse(applied, Refusal::Histogram, histograms, &series);
            }
            if exemplars > 0 {
                refuse(applied, Refusal::Exemplar, exemplars, &series);
            }
            let slot = match *recognised {
                Recognised::Slot(slot) => Some(slot),
                // Not one sample to keep: what the series is called does not matter.
                _ if request.window.holds_none(series.samples()) => {
                    for sample in series.samples() {
                        if let Some(refusal) = request.window.refusal(sample) {
                            refuse(applied, refusal, 1, &series);
                        }
                    }
                    None
                }
                Recognised::Refused(refusal) => {
                    let samples = series.samples().len() as u64;
                    refuse(applied, refusal, samples, &series);
                    None
                }
                Recognised::No => self.admit(
                    &series,
                    request,
                    &mut expansion,
                    &mut labels,
                    &mut scratch.canonical,
                    applied,
                ),
            };
            let Some(slot) = slot else { continue };
            match previous {
                None if request.selected == Selected::Raw => self.first = slot,
                Some(previous) => {
                    let previous: &mut Slot = &mut self.slots[previous as usize];
                    if previous.next != slot {
                        previous.next = slot;
                    }
                }
                None => {}
            }
            previous = Some(slot);
            for sample in series.samples() {
                match request.window.refusal(sample) {
                    None => {
                        applied.written += 1;
                        self.newest_ms = request.window.newer(self.newest_ms, sample.timestamp_ms);
                        self.slots[slot as usize].keep(*sample, request);
                    }
                    Some(refusal) => refuse(applied, refusal, 1, &series),
                }
            }
        }
    }

    /// Reads and judges the labels of a series that its key did not say, and finds or makes its slot. Counts its samples
    /// if it is refused.
    fn admit<'a>(
        &mut self,
        series: &Series<'a>,
        request: &Request<'_>,
        expansion: &mut Expansion,
        labels: &mut Vec<(&'a str, &'a str)>,
        canonical: &mut Vec<u8>,
        applied: &mut Applied,
    ) -> Option<u32> {
        let samples = series.samples().len() as u64;
        let (origin, limits) = (request.origin, request.limits);
        if let Err(wrong) = labels::read(series, origin, limits, expansion, labels) {
            let refusal = wrong.refusal();
            if applied.example.is_none() {
                applied.example = Some(format!("{}: {wrong}", labels::name_for_people(series)));
            }
            refuse(applied, refusal, samples, series);
            if refusal != Refusal::Expanded {
                self.remember(series, request, Target::Refused(refusal));
            }
            return None;
        }
        canonical.clear();
        v1::write_labels(labels.iter().copied(), canonical);
        let slot = match self.keys.find(canonical) {
            Some(slot) => slot,
            None => match self.add(labels, canonical, request) {
                Ok(slot) => slot,
                Err(refusal) => {
                    refuse(applied, refusal, samples, series);
                    self.remember(series, request, Target::Refused(refusal));
                    return None;
                }
            },
        };
        if request.selected != Selected::Raw || series.key() != &**canonical {
            let generation = self.slots[slot as usize].generation;
            self.remember(series, request, Target::Slot { slot, generation });
        }
        self.describe(series, labels, request, expansion);
        Some(slot)
    }

    fn remember(&mut self, series: &Series<'_>, request: &Request<'_>, target: Target) {
        self.shapes
            .remember(request.selected, series.key(), target, request.now_s);
    }

    /// Takes in what a new series of remote write 2.0 says about its family.
    fn describe(
        &mut self,
        series: &Series<'_>,
        labels: &[(&str, &str)],
        request: &Request<'_>,
        expansion: &mut Expansion,
    ) {
        if expansion.is_spent() {
            return;
        }
        match series.metadata() {
            None => {}
            Some(Err(_)) => {
                expansion.spend_unreadable();
            }
            Some(Ok(metadata)) => {
                expansion.spend(metadata.help.len() + metadata.unit.len());
                if let Some((_, name)) = labels.iter().find(|(name, _)| *name == NAME) {
                    let family = families::described_by(name, metadata.metric_type);
                    self.families.describe(family, &metadata, request.texts);
                }
            }
        }
    }

    /// Makes a slot for a series that has none, if there is room.
    fn add(
        &mut self,
        labels: &[(&str, &str)],
        canonical: &[u8],
        request: &Request<'_>,
    ) -> Result<u32, Refusal> {
        if !self.has_room(request) {
            return Err(Refusal::SeriesMax);
        }
        let is_new = |name: &str| !self.label_names.contains_key(name);
        let new_names = labels.iter().filter(|(name, _)| is_new(name)).count();
        if self.label_names.len() + new_names > request.limits.label_names {
            return Err(Refusal::LabelNamesMax);
        }
        let id = self.keys.insert(canonical).ok_or(Refusal::SeriesMax)?;
        for (name, _) in labels {
            match self.label_names.get_mut(*name) {
                Some(series) => *series += 1,
                None => {
                    self.label_names.insert((*name).into(), 1);
                }
            }
        }
        let generation = self
            .slots
            .get(id as usize)
            .map_or(0, |slot| slot.generation);
        let slot = Slot {
            value: 0.0,
            // Older than any sample: the first one is kept.
            timestamp_ms: i64::MIN,
            seen_s: request.now_s,
            next: NONE,
            generation,
            state: State::Kept,
        };
        match self.slots.get_mut(id as usize) {
            Some(free) => *free = slot,
            None => {
                grow_by_an_eighth(&mut self.slots, 1);
                self.slots.push(slot);
            }
        }
        Ok(id)
    }

    fn has_room(&self, request: &Request<'_>) -> bool {
        let series_max = match request.origin {
            Origin::Node(_) => request.limits.series_per_node,
            Origin::Sender(_) => request.limits.series_per_sender,
        };
        let labels_len_max = series_max.saturating_mul(LABELS_LEN_MEAN_MAX);
        self.keys.len() < series_max && self.keys.living_len() < labels_len_max
    }

    /// Frees slots that no request wrote to for long, looking at `count` of them.
    fn sweep(&mut self, now_s: u32, count: usize) {
        for _ in 0..count.min(self.slots.len()) {
            let at = self.swept;
            self.swept = if at + 1 < self.keys.ids() { at + 1 } else { 0 };
            let slot = &self.slots[at as usize];
            if slot.state != State::Free && now_s.saturating_sub(slot.seen_s) > UNSEEN_MAX_S {
                self.free(at);
            }
        }
    }

    fn free(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        let names = v1::labels(self.keys.bytes(id).unwrap_or_default());
        // What was kept was read before.
        for (name, _) in names.map_while(Result::ok) {
            if let Some(series) = self.label_names.get_mut(name) {
                *series -= 1;
                if *series == 0 {
                    self.label_names.remove(name);
                }
            }
        }
        self.keys.remove(id);
    }

    /// Copies out what is live.
    pub(super) fn live(&self, now: Now) -> Live {
        let mut live = Live::default();
        let (Some(heard), Some(limits)) = (self.heard, &self.limits) else {
            return live;
        };
        if now.elapsed.since_ms(heard) > LIVE_FOR_MS.unsigned_abs() {
            return live;
        }
        let newest_ms = Window::new(limits, now.wall).newest_ms;
        let oldest_ms = self.newest_ms.min(now.wall.0).saturating_sub(LIVE_FOR_MS);
        let is_live = |slot: &Slot| {
            slot.state == State::Kept && (oldest_ms..=newest_ms).contains(&slot.timestamp_ms)
        };
        live.labels.reserve_exact(self.keys.living_len());
        live.series.reserve_exact(self.keys.len());
        for (id, slot) in (0..self.keys.ids()).zip(&self.slots) {
            if is_live(slot)
                && let Some(labels) = self.keys.bytes(id)
            {
                live.labels.extend_from_slice(labels);
                // A key's length fits 32 bits.
                live.series.push((labels.len() as u32, slot.sample()));
            }
        }
        live.families = self.families.clone();
        live
    }

    /// The newest sample of the series with these canonical labels, unless it ended.
    pub(super) fn value(&self, canonical: &[u8]) -> Option<Sample> {
        let slot = self.slots.get(self.keys.find(canonical)? as usize)?;
        (slot.state == State::Kept).then(|| slot.sample())
    }

    /// Series that have a slot.
    pub(super) fn series(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn allocated_len(&self) -> usize {
        /// A name of a label with its counts and its place in the map, roughly.
        const LABEL_NAME_LEN: usize = 48;
        size_of::<Arc<Self>>()
            + size_of::<Self>()
            + self.keys.allocated_len()
            + self.slots.capacity() * size_of::<Slot>()
            + self.shapes.allocated_len()
            + self.families.allocated_len()
            + self.label_names.len() * LABEL_NAME_LEN
    }
}

impl Slot {
    const fn sample(&self) -> Sample {
        Sample {
            value: self.value,
            timestamp_ms: self.timestamp_ms,
        }
    }

    /// Keeps `sample` if it is the newest: see "newest" in the module above.
    fn keep(&mut self, sample: Sample, request: &Request<'_>) {
        self.seen_s = request.now_s;
        let is_final = self.state == State::Ended && sample.timestamp_ms == self.timestamp_ms;
        let newer_ms = request.window.newer(self.timestamp_ms, sample.timestamp_ms);
        if newer_ms != sample.timestamp_ms || is_final {
            return;
        }
        self.timestamp_ms = sample.timestamp_ms;
        self.value = sample.value;
        self.state = if sample.is_stale() {
            State::Ended
        } else {
            State::Kept
        };
    }
}

/// Counts what is refused, and says the first of it in words.
#[cold]
fn refuse(applied: &mut Applied, refusal: Refusal, count: u64, series: &Series<'_>) {
    applied.refused[refusal as usize] += count;
    if count > 0 && applied.example.is_none() {
        let name = labels::name_for_people(series);
        applied.example = Some(format!("{name}: {}", refusal.sentence()));
    }
}
