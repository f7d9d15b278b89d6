//! The schema, as the steps that lead to it.
//!
//! Steps are numbered from 1 and never edited once released: a database knows which it has been through. One that has
//! been through more than this version knows is refused, because writing to it could spoil what a newer version relies
//! on.
//!
//! `lines.n` points into `log` without being a foreign key: both are written in one transaction, only ever added to,
//! and the check would cost a search per line.

use sqlx::{Connection as _, SqliteConnection};

use super::convert::{self, ConvertError};

/// Step n is at position n - 1.
pub(super) const STEPS: &[&str] = &[
    // 1: everything vigie starts with. The rows of what decisions depend on are JSON under their key.
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE log (n INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT;
     CREATE TABLE lines (
         node TEXT NOT NULL, seq INTEGER NOT NULL, sha256 BLOB NOT NULL, n INTEGER NOT NULL,
         PRIMARY KEY (node, seq, sha256)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE nodes (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE plans (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE alerts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE outbox (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE tokens (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE rules (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
     INSERT INTO meta (key, value) VALUES ('epoch', '0');",
    // 2: senders of metrics.
    "CREATE TABLE senders (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
    // 3: what waits for digests, and mutes. Rows of alerts and messages are converted besides.
    "CREATE TABLE held (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE digests (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE mutes (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
];

/// The step at which messages began to go to destinations ([`convert::to_destinations`]).
const DESTINATIONS: i64 = 3;

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database has been through steps that this version does not know.
    #[error(
        "its schema is version {found} and this program knows {known}; use the program that wrote it, or a newer one"
    )]
    Newer {
        /// The database's version.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// A step failed; the database is as it was before it.
    #[error("cannot bring its schema to version {version}")]
    Step {
        /// Which.
        version: i64,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Rows cannot be brought into the form of a step; the database is as it was before it.
    #[error("cannot bring its rows to version {version}")]
    Rows {
        /// Which.
        version: i64,
        /// Why.
        #[source]
        source: ConvertError,
    },
    /// It cannot be found out which steps the database has been through.
    #[error("cannot read the version of its schema")]
    Version {
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
}

/// Takes the database through the steps that it has not been through, each in a transaction of its own.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY) STRICT")
        .execute(&mut *connection)
        .await
        .map_err(|source| MigrateError::Version { source })?;
    let found = check(connection).await?;
    for (version, step) in (1_i64..).zip(STEPS) {
        if version > found {
            apply(connection, version, step).await?;
        }
    }
    Ok(())
}

/// Which step the database has been through last. One that is newer than this program is refused. Writes nothing.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<i64, MigrateError> {
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM migrations")
        .fetch_one(connection)
        .await
        .map_err(|source| MigrateError::Version { source })?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    Ok(found)
}

async fn apply(
    connection: &mut SqliteConnection,
    version: i64,
    step: &'static str,
) -> Result<(), MigrateError> {
    let failed = |source| MigrateError::Step { version, source };
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    sqlx::raw_sql(step)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    if version == DESTINATIONS {
        convert::to_destinations(&mut transaction)
            .await
            .map_err(|source| MigrateError::Rows { version, source })?;
    }
    sqlx::query("INSERT INTO migrations (version) VALUES (?1)")
        .bind(version)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}
