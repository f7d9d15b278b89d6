//! The collector's log: its lines and the root that commits to all of them.
//!
//! Line n (0, 1, 2 …, no holes) is canonical JSON `{"at","elapsed_ms","event":{…},"n","v"}`. The root is the Merkle
//! tree hash of RFC 6962 §2.1, kept incrementally: a leaf is SHA-256(0x00 ‖ line), a node SHA-256(0x01 ‖ left ‖ right).

use serde::{Deserialize, Serialize};

use crate::{canonical, digest::Digest, entry::EntryLine, id::NodeName, time::Now};

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
pub fn write_line<T: Serialize>(n: u64, now: Now, event: &T) -> String {
    nest(n, now, &canonical::write(event))
}

/// Writes line `n` about a line that a node handed in, which is nested as it is: it is its own canonical form.
#[must_use]
pub fn write_entry(
    n: u64,
    now: Now,
    node: &NodeName,
    doubt: bool,
    history: bool,
    line: &EntryLine,
) -> String {
    // No name needs an escape.
    let line = line.text();
    nest(
        n,
        now,
        &format!(
            r#"{{"doubt":{doubt},"history":{history},"kind":"entry","line":{line},"node":"{node}"}}"#
        ),
    )
}

/// Puts what belongs to every line around an event in canonical form.
fn nest(n: u64, now: Now, event: &str) -> String {
    let (at, elapsed_ms) = (now.wall, now.elapsed.0);
    format!(r#"{{"at":"{at}","elapsed_ms":{elapsed_ms},"event":{event},"n":{n},"v":{VERSION}}}"#)
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
    use serde_json::json;

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

    /// Whatever is nested: a log line is its own canonical form, down to the byte.
    #[test]
    fn an_entry_is_nested_as_it_came() {
        let line = r#"{"at":"2026-11-22T19:04:31.207Z","facts":{"a":"é\n\u0001\"/"},"kind":"x","node":"app-01","prev":"0000000000000000000000000000000000000000000000000000000000000000","seq":7,"v":9}"#;
        let read = EntryLine::read(line.as_bytes()).expect("an entry");
        let node = "app-01".parse().expect("a name");
        let written = write_entry(3, Now::default(), &node, true, false, &read);
        let value = canonical::read(written.as_bytes()).expect("its own canonical form");
        assert_eq!(value["event"]["line"].to_string(), line);
        let event =
            json!({"doubt": true, "history": false, "kind": "entry", "line": read, "node": node});
        assert_eq!(written, write_line(3, Now::default(), &event));
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
