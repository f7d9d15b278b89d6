//! The collector's log: its lines and the root that commits to all of them.
//!
//! Line n (0, 1, 2 …, no holes) is canonical JSON `{"at","elapsed_ms","event":{…},"n","v"}`. The root is the Merkle
//! tree hash of RFC 6962 §2.1, kept incrementally: a leaf is SHA-256(0x00 ‖ line), a node SHA-256(0x01 ‖ left ‖ right).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{canonical, digest::Digest, time::Now};

/// The version of the line's format.
pub const VERSION: u64 = 1;

/// What an answer to an agent says of the log: an agent that later sees a smaller size knows of a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of lines.
    pub size: u64,
    /// Merkle tree hash of all of them.
    pub root: Digest,
}

/// The right edge of the tree: the roots of its perfect subtrees, largest first. All that appending needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

/// Writes line `n`.
#[must_use]
pub fn write_line(n: u64, now: Now, event: &Value) -> String {
    canonical::write(&json!({
        "at": now.wall.to_string(),
        "elapsed_ms": now.elapsed.0,
        "event": event,
        "n": n,
        "v": VERSION,
    }))
}

/// The leaf hash of a line (RFC 6962 §2.1).
#[must_use]
pub fn leaf(line: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], line])
}

fn inner(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], &left.0, &right.0])
}

impl Frontier {
    /// Number of lines so far, which is also the next line's number.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Takes in the next line.
    pub fn push(&mut self, line: &[u8]) {
        let mut hash = leaf(line);
        // One subtree of each size stands for each set bit of `size`: adding a leaf carries like adding one.
        for _ in 0..self.size.trailing_ones() {
            let left = self
                .peaks
                .pop()
                .expect("a peak stands for each set bit of size");
            hash = inner(&left, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The Merkle tree hash of all lines; SHA-256 of nothing for an empty log.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Digest::of(b""),
            Some(last) => peaks.fold(*last, |right, left| inner(left, &right)),
        }
    }

    /// Size and root.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            size: self.size,
            root: self.root(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962 §2.1, word for word.
    fn tree_hash(lines: &[Vec<u8>]) -> Digest {
        match lines {
            [] => Digest::of(b""),
            [line] => leaf(line),
            lines => {
                let split = lines.len().next_power_of_two() / 2;
                inner(&tree_hash(&lines[..split]), &tree_hash(&lines[split..]))
            }
        }
    }

    #[test]
    fn the_incremental_root_is_the_defined_one_at_every_size() {
        let mut frontier = Frontier::default();
        let mut lines = Vec::new();
        for n in 0..300_u32 {
            assert_eq!(frontier.root(), tree_hash(&lines), "{n} lines");
            let line = n.to_be_bytes().to_vec();
            frontier.push(&line);
            lines.push(line);
        }
        assert_eq!(frontier.size(), 300);
    }

    #[test]
    fn a_line_is_canonical() {
        let line = write_line(3, Now::default(), &json!({"kind": "deadline"}));
        assert_eq!(
            line,
            r#"{"at":"1970-01-01T00:00:00.000Z","elapsed_ms":0,"event":{"kind":"deadline"},"n":3,"v":1}"#
        );
    }
}
