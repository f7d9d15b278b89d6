//! Byte strings and the small number that stands for each: one arena, one span for each string, one hash index.
//!
//! Ids are dense and are used again after a removal, so that what belongs to an id lives in a plain vector beside this.
//! Bytes of removed strings stay in the arena until more than half of it is dead; then it is copied together. Nothing
//! is sought by hash alone: equal means equal bytes.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// No id.
pub(super) const NONE: u32 = u32::MAX;

/// The arena is left alone while it is smaller than this: copying it together would win nothing.
const COMPACTION_LEN_MIN: usize = 4096;

/// Where a string stands in the arena. A removed one has a length that no string has, so that it equals none.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    len: u32,
}

const REMOVED: Span = Span {
    at: 0,
    len: u32::MAX,
};

pub(super) struct Keys {
    arena: Vec<u8>,
    spans: Vec<Span>,
    index: HashTable<u32>,
    /// Ids that were removed, to be used again.
    free: Vec<u32>,
    /// Bytes of the arena that belong to removed strings.
    dead: usize,
    random: RandomState,
}

impl Keys {
    pub(super) fn new(random: RandomState) -> Self {
        Self {
            arena: Vec::new(),
            spans: Vec::new(),
            index: HashTable::new(),
            free: Vec::new(),
            dead: 0,
            random,
        }
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// One more than the highest id there ever was.
    pub(super) fn ids(&self) -> u32 {
        // `insert` hands out no id above `u32::MAX`.
        self.spans.len() as u32
    }

    /// The string of an id; `None` for one that was removed or never handed out.
    #[inline]
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let span = self.spans.get(id as usize)?;
        let at = span.at as usize;
        self.arena.get(at..at.checked_add(span.len as usize)?)
    }

    /// Whether `id` stands for `key`: the guess that saves the hash.
    #[inline]
    pub(super) fn is(&self, id: u32, key: &[u8]) -> bool {
        self.spans.get(id as usize).is_some_and(|span| {
            span.len as usize == key.len()
                && self
                    .arena
                    .get(span.at as usize..span.at as usize + key.len())
                    == Some(key)
        })
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.random.hash_one(key);
        self.index.find(hash, |id| self.is(*id, key)).copied()
    }

    /// Adds a string that is not there. `None` when the arena would pass what 32 bits can address.
    pub(super) fn insert(&mut self, key: &[u8]) -> Option<u32> {
        let at = u32::try_from(self.arena.len()).ok()?;
        let len = u32::try_from(key.len()).ok()?;
        // `NONE` and `REMOVED.len` stay out of reach.
        at.checked_add(len).filter(|end| *end < u32::MAX)?;
        let span = Span { at, len };
        let id = match self.free.pop() {
            Some(id) => {
                self.spans[id as usize] = span;
                id
            }
            None => {
                let id = u32::try_from(self.spans.len()).ok()?;
                if id == NONE {
                    return None;
                }
                grow_by_an_eighth(&mut self.spans, 1);
                self.spans.push(span);
                id
            }
        };
        grow_by_an_eighth(&mut self.arena, key.len());
        self.arena.extend_from_slice(key);
        let (arena, spans, random) = (&self.arena, &self.spans, &self.random);
        self.index.insert_unique(random.hash_one(key), id, |other| {
            let span = spans[*other as usize];
            random.hash_one(&arena[span.at as usize..(span.at + span.len) as usize])
        });
        Some(id)
    }

    /// Takes a string out; its id may be handed out again.
    pub(super) fn remove(&mut self, id: u32) {
        let Some(key) = self.bytes(id) else { return };
        let (hash, len) = (self.random.hash_one(key), key.len());
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.spans[id as usize] = REMOVED;
        self.free.push(id);
        self.dead += len;
        if self.dead > COMPACTION_LEN_MIN && self.dead > self.arena.len() / 2 {
            self.compact();
        }
    }

    /// Copies the living strings together. Ids stay what they are.
    fn compact(&mut self) {
        let living = self.arena.len() - self.dead;
        let mut arena = Vec::with_capacity(living + living / 8);
        for span in &mut self.spans {
            if span.len != REMOVED.len {
                let old = span.at as usize..(span.at + span.len) as usize;
                // Below the old arena's length, which 32 bits addressed.
                span.at = arena.len() as u32;
                arena.extend_from_slice(&self.arena[old]);
            }
        }
        self.arena = arena;
        self.dead = 0;
    }

    /// Bytes of the strings that are there.
    pub(super) fn living_len(&self) -> usize {
        self.arena.len() - self.dead
    }

    /// Bytes that this takes from the allocator.
    pub(super) fn allocated_len(&self) -> usize {
        self.arena.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.free.capacity() * size_of::<u32>()
            + self.index.allocation_size()
    }
}

/// Makes room as `Vec` does, by a share of what is there, but by a smaller share: these vectors grow seldom, stand for
/// long, and doubling them would leave a third of their memory unused.
pub(super) fn grow_by_an_eighth<T>(vec: &mut Vec<T>, additional: usize) {
    const ROOM_MIN: usize = 16;
    if vec.capacity() - vec.len() < additional {
        vec.reserve_exact(additional.max(vec.len() / 8).max(ROOM_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_string_is_gone_and_its_id_stands_for_the_next_one() {
        let mut keys = Keys::new(RandomState::default());
        let one = keys.insert(b"one");
        let empty = keys.insert(b"");
        assert_eq!((keys.find(b"one"), keys.find(b"")), (one, empty));
        assert_eq!(keys.find(b"two"), None);
        keys.remove(0);
        assert_eq!((keys.find(b"one"), keys.bytes(0)), (None, None));
        assert!(!keys.is(0, b"") && !keys.is(0, b"one") && keys.is(1, b""));
        assert_eq!(keys.insert(b"two"), Some(0));
        assert!(keys.is(0, b"two"));
        assert_eq!((keys.len(), keys.ids()), (2, 2));
    }

    #[test]
    fn an_arena_that_is_mostly_dead_is_copied_together() {
        let mut keys = Keys::new(RandomState::default());
        let name = |n: u32| format!("{n:0100}").into_bytes();
        for n in 0..1000 {
            assert_eq!(keys.insert(&name(n)), Some(n));
        }
        let full = keys.allocated_len();
        for n in 0..900 {
            keys.remove(n);
        }
        assert!(keys.allocated_len() < full / 2, "{}", keys.allocated_len());
        assert_eq!(keys.living_len(), 100 * 100);
        for n in 900..1000 {
            assert_eq!(keys.bytes(n), Some(&*name(n)));
            assert_eq!(keys.find(&name(n)), Some(n));
        }
    }
}
