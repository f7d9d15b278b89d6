//! A second copy of what the engine knows, for whoever shows it: readers take theirs from here and never ask the writer.
//!
//! ```text
//!   engine ── rows of each commit ──► queue ──► copy ──► views (status, pages, metrics), built off the runtime
//!                                      ▲          ▲
//!                        lock for a push or a take │ lock for as long as a view is built; the engine only ever tries it
//! ```
//! The engine leaves every change that is on disk in a queue, whose lock is held for a push or a take and no longer. Then it
//! tries the copy: if no reader has it, the copy takes the changes in at once; else the next reader does so before it
//! builds. So the engine never waits for a reader, and a change costs it a copy of the changed rows, whatever else is
//! known. Who was answered by the engine sees what was answered: the rows are in the queue before the answer goes out.
//!
//! Three others were weighed. Maps that are shared until they are written (`Arc::make_mut`) copy ten thousand alerts in
//! every turn during which somebody reads. Persistent maps share instead, but every look-up of every decision would pay for
//! that. Building views in the engine's turn, as it was, holds up everybody who hands in. What this one costs is memory, a
//! second copy of the rows, and that readers wait for each other; the figures are in `make bench`, part `view`.
//!
//! The queue holds what is committed while one view is built, since each reader empties it first: no reader may keep the
//! copy while it waits for anything. Nothing here touches the disk. A reader that is dropped half-way finishes for nobody.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use vigie_core::{id::NodeName, time::Wall};
use vigie_decide::{
    fleet::{Delta, State},
    presence::LastHeard,
    routing::Ground,
    view::Basis,
};

/// The copy, and what it has not taken in yet.
#[derive(Debug, Default)]
pub struct Mirror {
    queue: Mutex<Vec<Change>>,
    copy: Mutex<Copy>,
}

#[derive(Debug, Default)]
struct Copy {
    state: State,
    ground: Ground,
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
    Ruled(Ground),
    /// When nodes were heard; `None`: it left.
    Heard(Vec<(NodeName, Option<LastHeard>)>),
}

impl Mirror {
    /// A copy of what the engine starts with.
    #[must_use]
    pub fn new(state: State, ground: Ground) -> Self {
        Self {
            queue: Mutex::default(),
            copy: Mutex::new(Copy {
                state,
                ground,
                heard: BTreeMap::new(),
            }),
        }
    }

    /// Takes in a change. Never waits for a reader.
    pub fn follow(&self, change: Change) {
        lock(&self.queue).push(change);
        if let Ok(mut copy) = self.copy.try_lock() {
            self.catch_up(&mut copy);
        }
    }

    /// Reads what is known now, as of `at`. Other readers wait meanwhile, so `read` must compute and nothing else; for a
    /// large fleet that takes tens of milliseconds, which belong on a thread that may block.
    pub fn read<T>(&self, at: Wall, read: impl FnOnce(&Basis<'_>) -> T) -> T {
        let mut copy = lock(&self.copy);
        self.catch_up(&mut copy);
        read(&Basis {
            state: &copy.state,
            ground: &copy.ground,
            heard: &copy.heard,
            at,
        })
    }

    /// Only whoever has the copy empties the queue, so changes are taken in in their order.
    fn catch_up(&self, copy: &mut Copy) {
        let changes = std::mem::take(&mut *lock(&self.queue));
        for change in changes {
            copy.take_in(change);
        }
    }
}

impl Copy {
    fn take_in(&mut self, change: Change) {
        match change {
            Change::Committed(rows) => self.state.merge(*rows),
            Change::Loaded(state) => self.state = *state,
            Change::Ruled(ground) => self.ground = ground,
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
