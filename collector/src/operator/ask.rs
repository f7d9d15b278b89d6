//! Asks a running collector, as its commands do. Bounded in time and length; dropping the future leaves nothing behind.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::protocol::{ANSWER_TIMEOUT, Answer, Question, socket_path};

/// The longest answer a client reads, in bytes: 3,000 nodes and 10,000 alerts.
const ANSWER_LEN_MAX: u64 = 32 * 1024 * 1024;

/// Why a running collector could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "cannot reach a running collector at {path}; is it running, and may this user open the socket?"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It went away in the middle.
    #[error("the collector at {path} gave no answer")]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It speaks another version.
    #[error("the collector at {path} answered something else than this program understands")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Asks the collector that runs on `data_dir`.
///
/// # Errors
/// When none answers, or with another form than `T`.
pub async fn ask<T: DeserializeOwned>(
    data_dir: &Path,
    question: &Question,
) -> Result<Answer<T>, AskError> {
    let path = socket_path(data_dir);
    let connect_error = |source| AskError::Connect {
        path: path.clone(),
        source,
    };
    let no_answer = |source| AskError::NoAnswer {
        path: path.clone(),
        source,
    };
    let mut stream = UnixStream::connect(&path).await.map_err(connect_error)?;
    let text = serde_json::to_string(question).unwrap_or_default() + "\n";
    stream.write_all(text.as_bytes()).await.map_err(no_answer)?;
    let mut answer = String::new();
    timeout(
        ANSWER_TIMEOUT,
        stream.take(ANSWER_LEN_MAX).read_to_string(&mut answer),
    )
    .await
    .map_err(|_| no_answer(io::ErrorKind::TimedOut.into()))?
    .map_err(no_answer)?;
    serde_json::from_str(&answer).map_err(|source| AskError::Answer {
        path: path.clone(),
        source,
    })
}
