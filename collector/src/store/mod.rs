//! Where the collector's memory is kept: the log, the state that follows from it, and the outbox.
//!
//! [`Store`] is the whole of what the engine asks of a database: load everything once, commit one [`Delta`] at a time,
//! and look into what was committed. A commit is one transaction, so that log, state and outbox never differ. The store
//! decides nothing and repairs nothing: what does not fit together is an error that names the place.
//!
//! - **Fencing.** Opening a store takes the next *epoch*; a commit under an older one is [`CommitError::Superseded`]. The
//!   loser has to end: somebody else decides now.
//! - **Cancelled** (the future of a commit is dropped), the transaction is rolled back, unless its last step was under
//!   way: then nobody knows. The next commit finds out, because its lines must continue the stored log, and is
//!   [`CommitError::OutOfStep`] if they do not; loading anew settles it.
//! - **Disk full**: see [`CommitError::Full`] and [`reserve`].

use std::{collections::HashSet, future::Future, path::PathBuf};

use vigie_core::{digest::Digest, id::NodeName};
use vigie_decide::{
    fleet::{Delta, State},
    rules::Rules,
};

mod convert;
mod migrations;
pub mod reader;
pub mod reserve;
mod rows;
pub mod sqlite;
#[cfg(test)]
mod tests;

pub use self::{reader::LogReader, sqlite::SqliteStore};

/// Most lines that one [`Store::log_lines`] returns, so that reading a long log never holds more than some megabytes.
pub const LOG_LINES_MAX: u32 = 1_000;

/// What the engine asks of a database.
pub trait Store: Send + Sync {
    /// Reads everything that decisions depend on. Once, at the start; checks that log and state belong together.
    ///
    /// # Errors
    /// When the database cannot be read, holds a row this version does not understand, or contradicts itself.
    fn load(&self) -> impl Future<Output = Result<State, LoadError>> + Send;

    /// Makes `delta` durable, all of it or nothing.
    ///
    /// # Errors
    /// See [`CommitError`]. A further try is useless after [`CommitError::Superseded`], and after
    /// [`CommitError::OutOfStep`] until the state was loaded anew.
    fn commit(&self, delta: &Delta) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Which of `lines` are stored already, byte for byte. Sees everything whose commit has returned.
    ///
    /// # Errors
    /// When the database cannot be read. The caller must not take that for "not stored".
    fn stored_lines(
        &self,
        lines: &[LineKey],
    ) -> impl Future<Output = Result<HashSet<LineKey>, ReadError>> + Send;

    /// Lines of the log from number `from` on, at most `limit` and at most [`LOG_LINES_MAX`].
    ///
    /// # Errors
    /// When the database cannot be read.
    fn log_lines(
        &self,
        from: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(u64, String)>, ReadError>> + Send;

    /// The rules kept under this digest.
    ///
    /// # Errors
    /// When the database cannot be read, or they are not rules that this version understands.
    fn rules(
        &self,
        sha256: Digest,
    ) -> impl Future<Output = Result<Option<Rules>, ReadError>> + Send;
}

/// What a node's line is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineKey {
    /// The node.
    pub node: NodeName,
    /// Its number there; `None` for bytes that are no line and so have none of their own.
    pub seq: Option<u64>,
    /// The digest of its bytes.
    pub sha256: Digest,
}

impl LineKey {
    /// Puts a key together.
    #[must_use]
    pub fn of(node: &NodeName, seq: Option<u64>, sha256: Digest) -> Self {
        Self {
            node: node.clone(),
            seq,
            sha256,
        }
    }
}

/// What a database said, whichever it is: the engine hands it on and asks nothing of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DatabaseError(Box<dyn std::error::Error + Send + Sync>);

impl DatabaseError {
    /// Takes in what a store's own database said.
    #[must_use]
    pub fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// Why the state could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A table cannot be read.
    #[error("cannot read table {table} of {path}")]
    Read {
        /// The table.
        table: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: DatabaseError,
    },
    /// A row is not what this version writes.
    #[error("cannot understand row {key} of table {table} in {path}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The log is shorter or longer than the state says: one of them was changed by somebody else.
    #[error("the log in {path} holds {lines} lines where the state beside it says {expected}")]
    Log {
        /// The database.
        path: PathBuf,
        /// How many lines there are.
        lines: u64,
        /// How many there should be.
        expected: u64,
    },
}

/// Why a delta was not committed. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another process has opened the store since. This one must stop.
    #[error(
        "refused to commit to {path} in epoch {epoch}: another process took it over in epoch {current}"
    )]
    Superseded {
        /// The database.
        path: PathBuf,
        /// The caller's epoch.
        epoch: u64,
        /// The one in force.
        current: u64,
    },
    /// The delta does not continue the stored log: an earlier commit whose outcome was unknown did happen after all, or
    /// somebody else wrote. Memory has to be loaded anew.
    #[error("refused to commit line {given} to {path}: the stored log continues with {stored}")]
    OutOfStep {
        /// The database.
        path: PathBuf,
        /// The next line's number as stored.
        stored: u64,
        /// The next line's number in the delta.
        given: u64,
    },
    /// No room, even after the reserve was released.
    #[error("cannot commit to {path}: the disk is full")]
    Full {
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: DatabaseError,
    },
    /// The database refused, for another reason.
    #[error("cannot commit to {path}: {attempted}")]
    Write {
        /// What was attempted.
        attempted: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: DatabaseError,
    },
}

/// Why committed data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database refused.
    #[error("cannot read {what} from {path}")]
    Read {
        /// What was wanted.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: DatabaseError,
    },
    /// What is stored is not what this version writes.
    #[error("cannot understand {what} in {path}")]
    Row {
        /// What was wanted.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}
