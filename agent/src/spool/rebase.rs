//! Writing the chain anew after another head: a log beside the old one, then the head file, which decides.

use std::sync::Arc;

use vigie_core::{
    entry::{Head, Line},
    frame::Encoding,
};
use vigie_platform::{append_log::AppendLog, error_chain::chain};

use super::{Appended, FLUSH_LINES, Spool, Store, head_file::State, ring::Ring};

/// Lines read at a time when the chain is written anew: bounds memory, whatever the backlog.
const REBASE_LINES: usize = 256;

/// And their bytes.
const REBASE_BYTES: usize = 256 * 1024;

/// A line given to `rewrite` of [`Spool::rebase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite<'a> {
    /// Before the first line: the place to say why the chain is written anew.
    Start,
    /// An unacknowledged line of the old chain.
    Line(&'a Line),
}

impl Spool {
    /// Continues the chain after `head`, which is the collector's: every unacknowledged line is given to `rewrite`
    /// with the head it has to follow, and what it returns takes its place. [`Rewrite::Start`] comes first.
    ///
    /// After a crash the spool holds the old chain or the new one. If the new one cannot be written to disk it is kept
    /// in memory until the next start and [`Appended::InMemory`] is returned; `rewrite` is then called from the start
    /// again, so it must not keep count. A line it returns that does not follow is left out.
    pub fn rebase(
        &mut self,
        head: Head,
        rewrite: &mut dyn FnMut(Head, Rewrite<'_>) -> Option<Line>,
    ) -> Appended {
        match self.rebase_on_disk(head, rewrite) {
            Ok(()) => {
                self.degraded = None;
                Appended::Durable
            }
            Err(reason) => {
                let mut ring = Ring::default();
                // Bounded line by line: the backlog on disk is many times what the ring may take of memory.
                let limits = self.limits;
                let mut lost = std::mem::take(&mut self.lost);
                // If even reading fails, the rest of the lines stays in the old chain on disk for the next start.
                let new_head = self
                    .rewrite_lines(head, rewrite, &mut |line| {
                        ring.push(line);
                        ring.bound(&limits, &mut lost);
                        Ok(())
                    })
                    .unwrap_or_else(|_| ring.lines.back().map_or(head, Line::head));
                self.store = None;
                self.head = new_head;
                self.acknowledged = head;
                self.ring = ring;
                self.lost = lost;
                self.degraded = Some(reason);
                Appended::InMemory
            }
        }
    }

    /// Feeds `rewrite` and hands each resulting line to `keep`; returns the new chain's head.
    fn rewrite_lines(
        &self,
        head: Head,
        rewrite: &mut dyn FnMut(Head, Rewrite<'_>) -> Option<Line>,
        keep: &mut dyn FnMut(Line) -> Result<(), String>,
    ) -> Result<Head, String> {
        let mut new_head = head;
        let mut put = |rewritten: Option<Line>, new_head: &mut Head| match rewritten {
            Some(line) if line.seq > new_head.seq => {
                *new_head = line.head();
                keep(line)
            }
            _ => Ok(()),
        };
        put(rewrite(new_head, Rewrite::Start), &mut new_head)?;
        let mut after = self.acknowledged.seq;
        loop {
            let lines = self
                .lines_after(after, REBASE_LINES, REBASE_BYTES)
                .map_err(|error| chain(&error))?;
            let Some(last) = lines.last() else {
                return Ok(new_head);
            };
            after = last.seq;
            for line in &lines {
                put(rewrite(new_head, Rewrite::Line(line)), &mut new_head)?;
            }
        }
    }

    fn rebase_on_disk(
        &mut self,
        head: Head,
        rewrite: &mut dyn FnMut(Head, Rewrite<'_>) -> Option<Line>,
    ) -> Result<(), String> {
        let Some(mut old) = self.store.as_ref().map(|store| store.generation) else {
            return Err(self
                .degraded
                .clone()
                .unwrap_or_else(|| "the spool is in memory only".to_owned()));
        };
        // Leftovers of an earlier attempt hold numbers of another chain.
        old = old.max(self.generations().into_iter().max().unwrap_or(0));
        let generation = old + 1;
        let dir = self.generation_dir(generation);
        let open = || AppendLog::open(Arc::clone(&self.disk), &dir, self.limits.log);
        let mut opened = open();
        while opened.is_err()
            && self
                .store
                .as_mut()
                .is_some_and(|store| store.log.release_spare())
        {
            opened = open();
        }
        let (mut log, _) = opened.map_err(|error| chain(&error))?;
        if let Some(store) = &mut self.store {
            // A full disk has no room for a second log beside the first, except for the room kept for such days; its
            // first bytes came from a spare given up above.
            log.take_reserve_of(&mut store.log);
        }
        log.acknowledge(head.seq);
        let mut unsynced = 0;
        let written = self
            .rewrite_lines(head, rewrite, &mut |line| {
                log.append(line.seq, Encoding::PLAIN, &line.bytes)
                    .map_err(|error| chain(&error))?;
                unsynced += 1;
                if unsynced % FLUSH_LINES == 0 {
                    log.sync().map_err(|error| chain(&error))?;
                }
                Ok(())
            })
            .and_then(|new_head| log.sync().map(|()| new_head).map_err(|error| chain(&error)))
            .and_then(|new_head| {
                log.persist_cursor()
                    .map(|()| new_head)
                    .map_err(|error| chain(&error))
            })
            .and_then(|new_head| {
                self.disk
                    .sync_dir(&self.dir)
                    .map(|()| new_head)
                    .map_err(|error| format!("cannot sync {}: {error}", self.dir.display()))
            });
        let new_head = match written {
            Ok(new_head) => new_head,
            Err(reason) => {
                log.destroy();
                return Err(reason);
            }
        };
        let Some(mut store) = self.store.take() else {
            return Err("the spool is in memory only".to_owned());
        };
        let state = State {
            generation,
            head: new_head,
            acknowledged: head,
        };
        if let Err(error) = store.state.write(&state.encode()) {
            // It may be durable all the same: both logs stay, and the head file decides at the next start.
            self.store = Some(store);
            return Err(chain(&error));
        }
        self.head = new_head;
        self.acknowledged = head;
        self.ring = Ring::default();
        self.store = Some(Store {
            state: store.state,
            generation,
            log,
        });
        store.log.destroy();
        Ok(())
    }
}
