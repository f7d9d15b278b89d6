//! Any bytes as a compressed request, as they come from the network: the length is looked at before room is made for it.

#![no_main]

#[path = "../read_all.rs"]
mod read_all;

use libfuzzer_sys::fuzz_target;
use vigie_core::remote_write::Version;

/// Small, so that most of the time goes into reading and not into clearing memory.
const BODY_LEN_MAX: usize = 1024 * 1024;

fuzz_target!(|compressed: &[u8]| {
    let len = snap::raw::decompress_len(compressed);
    if len.is_ok_and(|len| len <= BODY_LEN_MAX)
        && let Ok(body) = snap::raw::Decoder::new().decompress_vec(compressed)
    {
        read_all::read_all(Version::V1, &body);
    }
});
