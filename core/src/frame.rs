//! The bytes of one durable record, so that any damage on disk costs only the records it hit.
//!
//! ```text
//! offset  size  field
//!      0     4  magic         F5 56 47 01; 0xF5 occurs in no UTF-8 text, so JSON payloads never contain it
//!      4     4  len           payload bytes, little endian
//!      8     8  seq           given by the writer, little endian
//!     16     1  encoding      how the payload is encoded; travels with each record, because a setting that changed
//!                             between writing and reading must not make old records undecodable
//!     17     4  payload_crc   CRC-32C of the payload
//!     21     4  header_crc    CRC-32C of bytes 0..21
//!     25   len  payload
//! ```
//!
//! The header has a checksum of its own so that its length can be trusted before the payload is looked at: a garbage
//! length is never allocated, a payload with a flipped bit is skipped exactly and its `seq` is still known, and a
//! record that runs past the end is told apart from noise. Where no valid header stands, decoding searches for the
//! next one. Every byte is visited a constant number of times, so decoding ends on any input.
//!
//! This module must never read or write a file, and never decide what to do about damage: it only reports it.

/// First bytes of every record.
pub const MAGIC: [u8; 4] = [0xF5, 0x56, 0x47, 0x01];

/// Bytes in front of each payload.
pub const HEADER_LEN: usize = 25;

/// How a payload is encoded. Values this build does not know are carried, not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding(pub u8);

impl Encoding {
    /// The payload as it is.
    pub const PLAIN: Self = Self(0);
    /// Snappy block format.
    pub const SNAPPY: Self = Self(1);
}

/// What [`encode`] could not frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record of {len} bytes is longer than the {max} bytes a frame holds")]
pub struct TooLong {
    /// Bytes of the payload that was refused.
    pub len: usize,
    /// The longest payload a frame can hold.
    pub max: usize,
}

/// Appends one record to `out`.
///
/// # Errors
/// When the payload's length does not fit the length field.
pub fn encode(
    seq: u64,
    encoding: Encoding,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let len = u32::try_from(payload.len()).map_err(|_| TooLong {
        len: payload.len(),
        max: u32::MAX as usize,
    })?;
    let mut header = [0; HEADER_LEN];
    header[0..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&len.to_le_bytes());
    header[8..16].copy_from_slice(&seq.to_le_bytes());
    header[16] = encoding.0;
    header[17..21].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let header_crc = crc32c::crc32c(&header[..21]);
    header[21..25].copy_from_slice(&header_crc.to_le_bytes());
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    Ok(())
}

/// One intact record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where its header begins in the decoded slice.
    pub offset: usize,
    /// The writer's number.
    pub seq: u64,
    /// How `payload` is encoded.
    pub encoding: Encoding,
    /// The payload, its checksum verified.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Where the next record begins in the decoded slice.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.offset + HEADER_LEN + self.payload.len()
    }
}

/// What decoding found at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// An intact record.
    Record(Record<'a>),
    /// Bytes that are no record; an intact header follows, or the record's own header told its length.
    Damage {
        /// Where the damage begins in the decoded slice.
        offset: usize,
        /// How many bytes were skipped.
        skipped_bytes: usize,
        /// The record's number, when its header is intact and only its payload is not.
        seq: Option<u64>,
    },
    /// Bytes after the last record, not all zero, that end without another header, or a record that runs past the
    /// end. Always the last item.
    TornTail {
        /// Where the tail begins in the decoded slice.
        offset: usize,
        /// How many bytes it has, trailing zeros included.
        skipped_bytes: usize,
    },
}

/// Decodes `bytes` from their beginning. Payloads longer than `payload_len_max` are not believed.
///
/// A rest of only zeros is preallocated space: decoding ends there without an item.
#[must_use]
pub const fn decode(bytes: &[u8], payload_len_max: usize) -> Decode<'_> {
    Decode {
        bytes,
        offset: 0,
        payload_len_max,
    }
}

/// The iterator of [`decode`].
#[derive(Debug, Clone)]
pub struct Decode<'a> {
    bytes: &'a [u8],
    offset: usize,
    payload_len_max: usize,
}

struct Header {
    len: usize,
    seq: u64,
    encoding: Encoding,
    payload_crc: u32,
}

impl<'a> Iterator for Decode<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let Some(header) = parse_header(rest, self.payload_len_max) else {
            return self.skip_to_next_header(rest);
        };
        let Some(payload) = rest.get(HEADER_LEN..HEADER_LEN + header.len) else {
            self.offset = self.bytes.len();
            return Some(Item::TornTail {
                offset,
                skipped_bytes: rest.len(),
            });
        };
        self.offset = offset + HEADER_LEN + header.len;
        if crc32c::crc32c(payload) != header.payload_crc {
            return Some(Item::Damage {
                offset,
                skipped_bytes: HEADER_LEN + header.len,
                seq: Some(header.seq),
            });
        }
        Some(Item::Record(Record {
            offset,
            seq: header.seq,
            encoding: header.encoding,
            payload,
        }))
    }
}

impl<'a> Decode<'a> {
    fn skip_to_next_header(&mut self, rest: &[u8]) -> Option<Item<'a>> {
        let offset = self.offset;
        let next = (1..rest.len())
            .filter(|&at| rest[at] == MAGIC[0])
            .find(|&at| parse_header(&rest[at..], self.payload_len_max).is_some());
        if let Some(skipped_bytes) = next {
            self.offset = offset + skipped_bytes;
            return Some(Item::Damage {
                offset,
                skipped_bytes,
                seq: None,
            });
        }
        self.offset = self.bytes.len();
        rest.iter().any(|&b| b != 0).then_some(Item::TornTail {
            offset,
            skipped_bytes: rest.len(),
        })
    }
}

/// The header at the beginning of `bytes`, if it is whole, intact and within bounds.
fn parse_header(bytes: &[u8], payload_len_max: usize) -> Option<Header> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    if header[0..4] != MAGIC {
        return None;
    }
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if crc32c::crc32c(&header[..21]) != word(21) {
        return None;
    }
    let len = usize::try_from(word(4)).ok()?;
    (len <= payload_len_max).then(|| Header {
        len,
        seq: u64::from(word(8)) | u64::from(word(12)) << 32,
        encoding: Encoding(header[16]),
        payload_crc: word(17),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const PAYLOAD_LEN_MAX: usize = 64;

    fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (seq, payload) in (1..).zip(payloads) {
            encode(seq, Encoding::PLAIN, payload, &mut bytes).unwrap();
        }
        bytes
    }

    fn records(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        decode(bytes, PAYLOAD_LEN_MAX)
            .filter_map(|item| match item {
                Item::Record(record) => Some((record.seq, record.payload.to_vec())),
                Item::Damage { .. } | Item::TornTail { .. } => None,
            })
            .collect()
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..=PAYLOAD_LEN_MAX),
            0..12,
        )
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut bytes = Vec::new();
        encode(0x0102_0304_0506_0708, Encoding::SNAPPY, b"ab", &mut bytes).unwrap();
        let mut expected = vec![
            0xF5, 0x56, 0x47, 0x01, 2, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 1,
        ];
        expected.extend(crc32c::crc32c(b"ab").to_le_bytes());
        expected.extend(crc32c::crc32c(&expected).to_le_bytes());
        expected.extend(b"ab");
        assert_eq!(bytes, expected);
        let item = decode(&bytes, 2).next();
        assert_eq!(
            item,
            Some(Item::Record(Record {
                offset: 0,
                seq: 0x0102_0304_0506_0708,
                encoding: Encoding::SNAPPY,
                payload: b"ab"
            }))
        );
    }

    #[test]
    fn preallocated_zeros_are_the_end_and_no_damage() {
        let mut bytes = framed(&[b"a".to_vec()]);
        bytes.resize(4096, 0);
        assert_eq!(decode(&bytes, PAYLOAD_LEN_MAX).count(), 1);
        assert_eq!(decode(&[0; 4096], PAYLOAD_LEN_MAX).count(), 0);
        assert_eq!(decode(&[], PAYLOAD_LEN_MAX).count(), 0);
    }

    #[test]
    fn a_flipped_payload_bit_names_the_record_it_cost() {
        let mut bytes = framed(&[b"one".to_vec(), b"two".to_vec(), b"six".to_vec()]);
        bytes[HEADER_LEN + 3 + HEADER_LEN] ^= 1;
        let items: Vec<_> = decode(&bytes, PAYLOAD_LEN_MAX).collect();
        assert_eq!(
            items[1],
            Item::Damage {
                offset: HEADER_LEN + 3,
                skipped_bytes: HEADER_LEN + 3,
                seq: Some(2)
            }
        );
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn a_valid_header_that_claims_more_than_the_bound_is_not_believed() {
        let mut bytes = Vec::new();
        encode(1, Encoding::PLAIN, &[7; PAYLOAD_LEN_MAX + 1], &mut bytes).unwrap();
        let first_len = bytes.len();
        encode(2, Encoding::PLAIN, b"x", &mut bytes).unwrap();
        let items: Vec<_> = decode(&bytes, PAYLOAD_LEN_MAX).collect();
        assert_eq!(
            items[0],
            Item::Damage {
                offset: 0,
                skipped_bytes: first_len,
                seq: None
            }
        );
        assert!(matches!(items[1], Item::Record(Record { seq: 2, .. })));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(payloads in payloads(), zeros in 0_usize..100) {
            let mut bytes = framed(&payloads);
            bytes.resize(bytes.len() + zeros, 0);
            let expected: Vec<_> = (1..).zip(payloads).collect();
            prop_assert_eq!(records(&bytes), expected);
        }

        #[test]
        fn items_cover_the_bytes_in_order_whatever_they_are(bytes in prop::collection::vec(
            prop_oneof![Just(0_u8), Just(MAGIC[0]), Just(MAGIC[1]), any::<u8>()], 0..400)) {
            let mut at = 0;
            for item in decode(&bytes, PAYLOAD_LEN_MAX) {
                let (offset, len) = match item {
                    Item::Record(record) => (record.offset, record.end() - record.offset),
                    Item::Damage { offset, skipped_bytes, .. } | Item::TornTail { offset, skipped_bytes } =>
                        (offset, skipped_bytes),
                };
                prop_assert_eq!(offset, at);
                prop_assert!(len > 0);
                at += len;
            }
            prop_assert!(bytes[at..].iter().all(|&b| b == 0));
        }

        #[test]
        fn one_flipped_bit_costs_at_most_the_record_it_hit(payloads in payloads(), place in any::<prop::sample::Index>()) {
            prop_assume!(!payloads.is_empty());
            let mut bytes = framed(&payloads);
            let bit = place.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut end = 0;
            let mut expected: Vec<(u64, Vec<u8>)> = (1..).zip(payloads).collect();
            expected.retain(|(_, payload)| {
                let start = end;
                end += HEADER_LEN + payload.len();
                !(start..end).contains(&(bit / 8))
            });
            prop_assert_eq!(records(&bytes), expected);
        }

        #[test]
        fn a_cut_costs_only_what_was_cut(payloads in payloads(), place in any::<prop::sample::Index>()) {
            let bytes = framed(&payloads);
            let cut = place.index(bytes.len() + 1);
            let mut end = 0;
            let expected: Vec<_> = (1..).zip(payloads).filter(|(_, payload)| {
                end += HEADER_LEN + payload.len();
                end <= cut
            }).collect();
            prop_assert_eq!(records(&bytes[..cut]), expected);
        }
    }
}
