//! Reads the kernel's small text files; what cannot be read becomes the observation that says so.

use std::{io, path::Path};

use vigie_core::{observation::Observation, reason::host::HOST_UNREADABLE, status::Status};
use vigie_machine::Context;

/// The longest of these files that is read: /proc/stat of a machine with thousands of processors and interrupts.
pub(super) const SOURCE_LEN_MAX: usize = 4 * 1024 * 1024;

/// The content of `source`, an absolute path written in our code.
///
/// # Errors
/// The `unknown` observation to return when it cannot be read.
pub(super) async fn read(context: &Context, source: &'static str) -> Result<Vec<u8>, Observation> {
    context
        .files
        .read(Path::new(source), SOURCE_LEN_MAX)
        .await
        .map_err(|error| unreadable(source, &error))
}

/// As [`read`], as text; bytes that are no UTF-8 cannot be in a number and are replaced.
///
/// # Errors
/// The `unknown` observation to return when it cannot be read.
pub(super) async fn read_text(
    context: &Context,
    source: &'static str,
) -> Result<String, Observation> {
    let content = read(context, source).await?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Says that `source` refused to be read, with the system's error number where there is one.
pub(super) fn unreadable(source: &'static str, error: &io::Error) -> Observation {
    let observation = unintelligible(source);
    match error.raw_os_error() {
        Some(errno) => observation.fact("errno", i64::from(errno)),
        None => observation,
    }
}

/// Says that `source` was read and does not hold what it should.
pub(super) fn unintelligible(source: &'static str) -> Observation {
    Observation::new(Status::Unknown, HOST_UNREADABLE).fact("source", source)
}
