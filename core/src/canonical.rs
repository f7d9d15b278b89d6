//! Canonical JSON: the one byte form that is hashed (RFC 8785, JSON Canonicalization Scheme).
//!
//! vigie's lines use a profile of it: numbers are integers within ±(2^53 - 1), so that the rules for floating point
//! never come into play, and keys are ASCII, so that sorting by UTF-8 bytes equals RFC 8785's sorting by UTF-16 units.
//! serde_json then already writes the canonical form: sorted keys, no white space, minimal escapes.

use serde::Serialize;
use serde_json::Value;

/// The largest integer that every JSON reader keeps exact (RFC 8785 §3.2.2.3, I-JSON).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// How deep a line may nest before it is refused: far above what the schema needs, far below the stack.
const DEPTH_MAX: usize = 16;

/// How many levels the collector's log puts around a node's line.
const NESTING: usize = 4;

/// Why bytes are not a canonical line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// Not JSON at all, or not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// JSON, but another spelling of it is the canonical one.
    #[error("not in canonical form (RFC 8785)")]
    OtherForm,
    /// A number that is no integer within ±(2^53 - 1).
    #[error("a number is not an integer within ±(2^53 - 1)")]
    Number,
    /// A key that is not printable ASCII.
    #[error("a key is not printable ASCII")]
    Key,
    /// Nested too deeply.
    #[error("nested too deeply")]
    Depth,
}

/// Writes `value` in canonical form.
///
/// # Panics
/// When `value` breaks the profile: that is a programming error, since only our own types are written.
#[must_use]
pub fn write<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("our own types serialise to JSON");
    // A line of a node is nested in a line of the log, some levels further down.
    debug_assert_eq!(check(&value, DEPTH_MAX + NESTING), Ok(()), "{value}");
    value.to_string()
}

/// Reads bytes that must already be in canonical form.
///
/// # Errors
/// When the bytes are anything else, down to a single space.
pub fn read(bytes: &[u8]) -> Result<Value, NotCanonical> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| NotCanonical::NotAnObject)?;
    if !value.is_object() {
        return Err(NotCanonical::NotAnObject);
    }
    check(&value, DEPTH_MAX)?;
    // A duplicate key, an odd escape or a space is lost in reading, so the rewritten form differs.
    if value.to_string().as_bytes() == bytes {
        Ok(value)
    } else {
        Err(NotCanonical::OtherForm)
    }
}

fn check(value: &Value, depth_left: usize) -> Result<(), NotCanonical> {
    if depth_left == 0 {
        return Err(NotCanonical::Depth);
    }
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if (-INTEGER_MAX..=INTEGER_MAX).contains(&integer) => Ok(()),
            _ => Err(NotCanonical::Number),
        },
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check(item, depth_left - 1)),
        Value::Object(members) => members.iter().try_for_each(|(key, member)| {
            if !key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
                return Err(NotCanonical::Key);
            }
            check(member, depth_left - 1)
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_and_escapes_minimal() {
        let line = write(&json!({"b": 1, "a": "é\n\u{1}\"/", "A": [true, null]}));
        assert_eq!(
            line,
            "{\"A\":[true,null],\"a\":\"é\\n\\u0001\\\"/\",\"b\":1}"
        );
        assert!(read(line.as_bytes()).is_ok());
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for (bytes, why) in [
            (r#"{"a":1 }"#, NotCanonical::OtherForm),
            (r#"{"b":1,"a":2}"#, NotCanonical::OtherForm),
            (r#"{"a":1,"a":1}"#, NotCanonical::OtherForm),
            (r#"{"a":"\/"}"#, NotCanonical::OtherForm),
            ("{\"a\":\"\\u0041\"}", NotCanonical::OtherForm),
            (r#"{"a":1.0}"#, NotCanonical::Number),
            (r#"{"a":1e3}"#, NotCanonical::Number),
            (r#"{"a":9007199254740992}"#, NotCanonical::Number),
            (r#"{"a":-0}"#, NotCanonical::Number),
            (r#"{"é":1}"#, NotCanonical::Key),
            ("[]", NotCanonical::NotAnObject),
            ("{", NotCanonical::NotAnObject),
            ("", NotCanonical::NotAnObject),
        ] {
            assert_eq!(read(bytes.as_bytes()), Err(why), "{bytes}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
        assert_eq!(read(deep.as_bytes()), Err(NotCanonical::Depth));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            pairs in prop::collection::btree_map("[ -~]{0,8}", ".{0,20}", 0..6),
            number in -INTEGER_MAX..=INTEGER_MAX,
        ) {
            let value = json!({"n": number, "o": pairs});
            let line = write(&value);
            prop_assert_eq!(read(line.as_bytes()), Ok(value));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
