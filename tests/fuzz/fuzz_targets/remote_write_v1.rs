//! Any bytes as a request of remote write 1.0: read or refused, never a panic.

#![no_main]

#[path = "../read_all.rs"]
mod read_all;

use libfuzzer_sys::fuzz_target;
use vigie_core::remote_write::Version;

fuzz_target!(|body: &[u8]| read_all::read_all(Version::V1, body));
