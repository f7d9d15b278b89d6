//! The head file: which log counts, where the chain ends, and what is confirmed of it. A slot file, written with each line.

use vigie_core::{digest::Digest, entry::Head};

/// What the head file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) generation: u64,
    pub(super) head: Head,
    pub(super) acknowledged: Head,
}

impl State {
    const LEN: usize = 88;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(self.generation.to_le_bytes());
        for head in [self.head, self.acknowledged] {
            bytes.extend(head.seq.to_le_bytes());
            bytes.extend(head.sha256.0);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let head = |at: usize| {
            Some(Head {
                seq: number(at)?,
                sha256: Digest(*bytes.get(at + 8..)?.first_chunk()?),
            })
        };
        Some(Self {
            generation: number(0)?,
            head: head(8)?,
            acknowledged: head(48)?,
        })
    }
}
