//! A second copy of what the engine knows, for whoever shows it: readers take theirs from here and never ask the writer.
//!
//! ```text
//!   engine ── rows of each commit ──► queue ──► copy ──► views (status, pages, metrics), built off the runtime
//!                                      ▲          ▲
//!                        lock for a push or a take │ lock for as long as a view is built; the engine only ever tries it
//! ```
//! The engine leaves every change that is on disk in a queue, whose lock is held for a push or a take and no longer. Then it
//! tries the copy: if no reader has it, the copy takes the change in, and one of those that a reader made wait; else the
//! next reader takes all in before it builds. So the engine never waits for a reader nor works off what one left, and a
//! change costs it a copy of the changed rows, whatever else is known. Who was answered by the engine sees what was
//! answered: the rows are in the queue before the answer goes out.
//!
//! Three others were weighed. Maps that are shared until they are written (`Arc::make_mut`) copy ten thousand alerts in
//! every turn during which somebody reads. Persistent maps share instead, but every look-up of every decision would pay for
//! that. Building views in the engine's turn, as it was, holds up everybody who hands in. What this one costs is memory, a
//! second copy of the rows, and that readers wait for each other; the figures are in `make bench`, part `view`.
//!
//! The queue holds what is committed while one view is built: each reader empties it first, and while nobody reads it gets
//! shorter with every change. So no reader may keep the copy while it waits for anything. Nothing here touches the disk. A reader that is dropped half-way finishes for nobody.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use vigie_core::{id::NodeName, time::Wall};
use vigie_decide::{
    fleet::{Delta, State},
    presence::LastHeard,
    routing::Policy,
    view::Basis,
};

/// How many changes the engine has the copy take in at a time: its own, and one that waited.
const TAKEN_IN_MAX: usize = 2;

/// The copy, and what it has not taken in yet, in its order.
#[derive(Debug, Default)]
pub struct Mirror {
    queue: Mutex<VecDeque<Change>>,
    copy: Mutex<Copy>,
}

#[derive(Debug, Default)]
struct Copy {
    state: State,
    policy: Policy,
    heard: BTreeMap<NodeName, LastHeard>,
}

/// What the engine says.
#[derive(Debug)]
pub enum Change {
    /// Rows that are on disk now.
    Committed(Box<Delta>),
    /// All that is on disk, after nobody knew whether the last commit had reached it.
    Loaded(Box<State>),
    /// Other rules are in force, or other zones.
    Ruled(Policy),
    /// When nodes were heard; `None`: it left.
    Heard(Vec<(NodeName, Option<LastHeard>)>),
}

impl Mirror {
    /// A copy of what the engine starts with.
    #[must_use]
    pub fn new(state: State, policy: Policy) -> Self {
        Self {
            queue: Mutex::default(),
            copy: Mutex::new(Copy {
                state,
                policy,
                heard: BTreeMap::new(),
            }),
        }
    }

    /// Takes in a change. Never waits for a reader.
    pub fn follow(&self, change: Change) {
        lock(&self.queue).push_back(change);
        // Only whoever has the copy takes from the queue, so changes are taken in in their order.
        if let Ok(mut copy) = self.copy.try_lock() {
            for _ in 0..TAKEN_IN_MAX {
                let Some(oldest) = lock(&self.queue).pop_front() else {
                    return;
                };
                copy.take_in(oldest);
            }
        }
    }

    /// Reads what is known now, as of `at`. Other readers wait meanwhile, so `read` must compute and nothing else; for a
    /// large fleet that takes tens of milliseconds, which belong on a thread that may block.
    pub fn read<T>(&self, at: Wall, read: impl FnOnce(&Basis<'_>) -> T) -> T {
        let mut copy = lock(&self.copy);
        let waiting = std::mem::take(&mut *lock(&self.queue));
        for change in waiting {
            copy.take_in(change);
        }
        read(&Basis {
            state: &copy.state,
            policy: &copy.policy,
            heard: &copy.heard,
            at,
        })
    }
}

impl Copy {
    fn take_in(&mut self, change: Change) {
        match change {
            Change::Committed(rows) => self.state.merge(*rows),
            Change::Loaded(state) => self.state = *state,
            Change::Ruled(policy) => self.policy = policy,
            Change::Heard(nodes) => {
                for (node, heard) in nodes {
                    match heard {
                        Some(heard) => self.heard.insert(node, heard),
                        None => self.heard.remove(&node),
                    };
                }
            }
        }
    }
}

/// A reader that panicked has changed nothing; release builds abort before anybody sees this.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
