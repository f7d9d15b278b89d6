//! Why a request cannot be read.

/// Why a request cannot be read. `message` is the protobuf message in which the mistake stands, `offset` the byte of the
/// uncompressed body (of the key, in a [`BadLabel`](super::BadLabel)) at which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than positions can be counted here.
    #[error("the request has {len} bytes, and at most {max} can be read")]
    BodyTooLong {
        /// Bytes of the body.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// A value that would end after the message it stands in.
    #[error(
        "{message}, byte {offset}: the field should have {len} bytes, but only {left} are left"
    )]
    PastEnd {
        /// The message.
        message: &'static str,
        /// Where the value begins.
        offset: usize,
        /// Bytes it should have.
        len: u64,
        /// Bytes there are.
        left: usize,
    },
    /// A number whose last byte is missing.
    #[error("{message}, byte {offset}: the message ends within a number")]
    VarintCutOff {
        /// The message.
        message: &'static str,
        /// Where the number begins.
        offset: usize,
    },
    /// A number that does not fit 64 bits.
    #[error("{message}, byte {offset}: a number has more than 64 bits")]
    VarintTooLong {
        /// The message.
        message: &'static str,
        /// Where the number begins.
        offset: usize,
    },
    /// A tag with the field number 0, or of more than 32 bits.
    #[error("{message}, byte {offset}: no field has the tag {tag}")]
    Tag {
        /// The message.
        message: &'static str,
        /// Where the tag begins.
        offset: usize,
        /// The tag.
        tag: u64,
    },
    /// A group. None of the messages ever had one, and skipping them needs a stack that the sender controls.
    #[error("{message}, byte {offset}: field {field} is a group, and groups are not taken")]
    Group {
        /// The message.
        message: &'static str,
        /// Where the tag begins.
        offset: usize,
        /// The field's number.
        field: u32,
    },
    /// A known field encoded as another kind of value, or a field encoded in a way that protobuf does not have.
    #[error("{message}, byte {offset}: field {field} cannot have the wire type {wire_type}")]
    WireType {
        /// The message.
        message: &'static str,
        /// Where the tag begins.
        offset: usize,
        /// The field's number.
        field: u32,
        /// The wire type it has.
        wire_type: u8,
    },
    /// A text that is not UTF-8.
    #[error("{message}, byte {offset}: the text is not UTF-8")]
    Utf8 {
        /// The message.
        message: &'static str,
        /// Where the text begins.
        offset: usize,
    },
    /// A table of symbols that does not begin with the empty text, which reference 0 stands for.
    #[error("symbols, byte {offset}: the first symbol must be empty")]
    FirstSymbol {
        /// Where the symbol begins.
        offset: usize,
    },
    /// More than [`Limits`](super::Limits) allow.
    #[error("the request has more than {max} {what}")]
    TooMany {
        /// What there is too much of, in plural.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
}
