//! Lines that wait in memory because the disk does not take them, and which of them were lost to its bound.

use std::collections::VecDeque;

use vigie_core::entry::Line;

use super::Limits;

/// Ranges of lost lines remembered apart; further ones widen the last. The caller takes them at every append.
const LOST_RANGES_MAX: usize = 16;

/// Lines that are gone unsent, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// Lines that are not on disk, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) lines: VecDeque<Line>,
    pub(super) bytes: usize,
}

impl Ring {
    pub(super) fn push(&mut self, line: Line) {
        self.bytes += line.bytes.len();
        self.lines.push_back(line);
    }

    fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.bytes.len();
        Some(line)
    }

    /// Drops the oldest lines of an overfull ring and remembers them.
    pub(super) fn bound(&mut self, limits: &Limits, lost: &mut VecDeque<Lost>) {
        while self.lines.len() > limits.ring_lines_max || self.bytes > limits.ring_bytes_max {
            let Some(line) = self.pop() else { return };
            let (from, to) = (line.seq, line.seq);
            note_lost(lost, Lost { from, to });
        }
    }

    pub(super) fn drop_up_to(&mut self, seq: u64) {
        while self.lines.front().is_some_and(|line| line.seq <= seq) {
            self.pop();
        }
    }
}

pub(super) fn note_lost(known: &mut VecDeque<Lost>, lost: Lost) {
    let is_full = known.len() >= LOST_RANGES_MAX;
    match known.back_mut() {
        Some(last) if is_full || last.to.saturating_add(1) == lost.from => last.to = lost.to,
        _ => known.push_back(lost),
    }
}
