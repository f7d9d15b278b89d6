//! The bytes of protobuf messages, as far as remote write needs them.
//!
//! ```text
//! message   field*
//! field     tag value             tag: varint of (field number << 3 | wire type)
//! value     wire type 0           varint: 7 bits a byte, lowest first, top bit set on all but the last; at most 10
//!                     1, 5        8 or 4 bytes, little endian
//!                     2           varint of a length, then as many bytes: texts, messages, packed numbers
//!                     3, 4        groups: refused
//! ```
//!
//! Fields come in any order and any number of times. Of a single value the last counts; a number may be written with
//! more bytes than it needs. A field that nobody knows is skipped.
//!
//! Nothing here allocates or recurses: a message inside a message is a [`Reader`] of its own over the same bytes, whose
//! positions are therefore those of the whole request.

use std::ops::Range;

use super::Malformed;

/// Wire types that are read.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LEN: u32 = 2;
const GROUP_START: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED32: u32 = 5;

/// The tag of a field that holds a number.
pub(super) const fn varint_tag(field: u32) -> u32 {
    field << 3 | VARINT
}

/// The tag of a field that holds 8 bytes.
pub(super) const fn fixed64_tag(field: u32) -> u32 {
    field << 3 | FIXED64
}

/// The tag of a field that holds a text, a message or packed numbers.
pub(super) const fn len_tag(field: u32) -> u32 {
    field << 3 | LEN
}

/// What is known of a message before it is read.
#[derive(Debug)]
pub(super) struct Message {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// Numbers of the fields that are read.
    pub(super) fields: &'static [u32],
}

/// Walks the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    /// Everything up to the end of the message.
    bytes: &'a [u8],
    /// `<= bytes.len()` always.
    pos: usize,
    message: &'static Message,
}

impl<'a> Reader<'a> {
    /// All of `bytes` as one message.
    pub(super) const fn new(bytes: &'a [u8], message: &'static Message) -> Self {
        Self {
            bytes,
            pos: 0,
            message,
        }
    }

    /// Where the next field begins.
    pub(super) const fn pos(&self) -> usize {
        self.pos
    }

    /// Everything up to the end of the message, what stands before it included.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What is left of the message.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.pos..]
    }

    /// Whether nothing is left.
    pub(super) const fn is_at_end(&self) -> bool {
        self.pos == self.bytes.len()
    }

    /// The tag of the next field, `None` at the end. Whether it makes sense is only asked of those that are not
    /// expected ([`Self::skip_unknown`], [`Self::skip`]).
    #[inline(always)]
    pub(super) fn tag(&mut self) -> Result<Option<u32>, Malformed> {
        let Some(&first) = self.bytes.get(self.pos) else {
            return Ok(None);
        };
        if first < 0x80 {
            self.pos += 1;
            return Ok(Some(u32::from(first)));
        }
        self.long_tag().map(Some)
    }

    #[cold]
    fn long_tag(&mut self) -> Result<u32, Malformed> {
        let offset = self.pos;
        let tag = self.varint()?;
        u32::try_from(tag).map_err(|_| Malformed::Tag {
            message: self.message.name,
            offset,
            tag,
        })
    }

    /// A number.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let rest = &self.bytes[self.pos..];
        if let Some(&first) = rest.first()
            && first < 0x80
        {
            self.pos += 1;
            return Ok(u64::from(first));
        }
        let mut value = 0;
        for (index, &byte) in rest.iter().take(VARINT_LEN_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // The tenth byte brings the 64th bit and no other.
                if index == VARINT_LEN_MAX - 1 && byte > 1 {
                    break;
                }
                self.pos += index + 1;
                return Ok(value);
            }
        }
        Err(self.bad_varint())
    }

    #[cold]
    fn bad_varint(&self) -> Malformed {
        let message = self.message.name;
        let offset = self.pos;
        if self.bytes.len() - self.pos < VARINT_LEN_MAX {
            Malformed::VarintCutOff { message, offset }
        } else {
            Malformed::VarintTooLong { message, offset }
        }
    }

    /// A number of type `uint32`: protobuf cuts what is longer.
    #[inline(always)]
    pub(super) fn uint32(&mut self) -> Result<u32, Malformed> {
        self.varint().map(|value| value as u32)
    }

    /// Where packed numbers stand. Of them only that the last is whole is checked here: were it not, joining such fields
    /// would make one number of two.
    #[inline(always)]
    pub(super) fn packed(&mut self) -> Result<Range<usize>, Malformed> {
        let packed = self.content()?;
        if self.bytes[packed.clone()]
            .last()
            .is_some_and(|&last| last >= 0x80)
        {
            return Err(Malformed::VarintCutOff {
                message: self.message.name,
                offset: packed.start,
            });
        }
        Ok(packed)
    }

    /// A number of type `double`.
    #[inline(always)]
    pub(super) fn double(&mut self) -> Result<f64, Malformed> {
        let Some(&bytes) = self.bytes[self.pos..].first_chunk() else {
            return Err(self.past_end(8));
        };
        self.pos += bytes.len();
        Ok(f64::from_le_bytes(bytes))
    }

    /// Where the value of a length-delimited field stands.
    #[inline(always)]
    pub(super) fn content(&mut self) -> Result<Range<usize>, Malformed> {
        let len = self.varint()?;
        self.advance(len)
    }

    /// The value of a length-delimited field, as a message.
    #[inline(always)]
    pub(super) fn nested(&mut self, message: &'static Message) -> Result<Self, Malformed> {
        let content = self.content()?;
        Ok(Self {
            bytes: &self.bytes[..content.end],
            pos: content.start,
            message,
        })
    }

    /// The value of a length-delimited field, as a text.
    #[inline(always)]
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let content = self.content()?;
        let offset = content.start;
        std::str::from_utf8(&self.bytes[content]).map_err(|_| Malformed::Utf8 {
            message: self.message.name,
            offset,
        })
    }

    /// Passes the fields in front of all others that have this `tag` and fewer than 128 bytes: what nearly all labels
    /// look like. Returns how many they were. Where it meets anything else, a mistake included, it leaves it to the
    /// calls that say what is wrong.
    #[inline(always)]
    pub(super) fn skip_short(&mut self, tag: u8) -> usize {
        let mut pos = self.pos;
        let mut fields = 0;
        while let Some(&[found, len]) = self.bytes.get(pos..).and_then(|rest| rest.first_chunk())
            && found == tag
            && len < 0x80
        {
            pos += 2 + usize::from(len);
            fields += 1;
        }
        if pos > self.bytes.len() {
            return 0;
        }
        self.pos = pos;
        fields
    }

    /// Passes the value of a field that is not read, whatever it is. The field may have a known number only if it has
    /// another wire type, which is refused, as Prometheus does.
    #[cold]
    pub(super) fn skip_unknown(&mut self, tag: u32, tag_offset: usize) -> Result<(), Malformed> {
        let field = tag >> 3;
        if self.message.fields.contains(&field) {
            return Err(Malformed::WireType {
                message: self.message.name,
                offset: tag_offset,
                field,
                wire_type: (tag & 7) as u8,
            });
        }
        self.skip(tag, tag_offset).map(|_| ())
    }

    /// Passes the value of any field, and says where it stands (without its length).
    pub(super) fn skip(&mut self, tag: u32, tag_offset: usize) -> Result<Range<usize>, Malformed> {
        let message = self.message.name;
        let field = tag >> 3;
        if field == 0 {
            return Err(Malformed::Tag {
                message,
                offset: tag_offset,
                tag: u64::from(tag),
            });
        }
        match tag & 7 {
            VARINT => {
                let start = self.pos;
                self.varint()?;
                Ok(start..self.pos)
            }
            FIXED64 => self.advance(8),
            LEN => self.content(),
            FIXED32 => self.advance(4),
            GROUP_START | GROUP_END => Err(Malformed::Group {
                message,
                offset: tag_offset,
                field,
            }),
            wire_type => Err(Malformed::WireType {
                message,
                offset: tag_offset,
                field,
                wire_type: wire_type as u8,
            }),
        }
    }

    #[inline(always)]
    fn advance(&mut self, len: u64) -> Result<Range<usize>, Malformed> {
        let start = self.pos;
        // A length that does not fit `usize` does not fit the bytes either.
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| start.checked_add(len))
            .filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.past_end(len));
        };
        self.pos = end;
        Ok(start..end)
    }

    #[cold]
    fn past_end(&self, len: u64) -> Malformed {
        Malformed::PastEnd {
            message: self.message.name,
            offset: self.pos,
            len,
            left: self.bytes.len() - self.pos,
        }
    }
}

/// Bytes of the longest number: 64 bits, 7 a byte.
const VARINT_LEN_MAX: usize = 10;

/// Appends a number.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] appends for `value`.
pub(super) const fn varint_len(value: u64) -> usize {
    // 0 takes a byte, too.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends a field that holds bytes.
pub(super) fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(len_tag(field)), out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Bytes that [`put_bytes`] appends for a value of `len` bytes in a field whose number is below 16.
pub(super) const fn bytes_field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}
