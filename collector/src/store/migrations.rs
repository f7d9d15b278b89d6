//! The schema, as the steps that lead to it.
//!
//! Steps are numbered from 1 and never edited once released: a database knows which it has been through. One that has
//! been through more than this version knows is refused, because writing to it could spoil what a newer version relies
//! on.
//!
//! `lines.n` points into `log` without being a foreign key: both are written in one transaction, only ever added to,
//! and the check would cost a search per line.

use sqlx::{Connection as _, SqliteConnection};

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
];

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
    let version = |source| MigrateError::Version { source };
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY) STRICT")
        .execute(&mut *connection)
        .await
        .map_err(version)?;
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(version)?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    for (version, step) in (1_i64..).zip(STEPS) {
        if version > found {
            apply(connection, version, step)
                .await
                .map_err(|source| MigrateError::Step { version, source })?;
        }
    }
    Ok(())
}

async fn apply(
    connection: &mut SqliteConnection,
    version: i64,
    step: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(step).execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO migrations (version) VALUES (?1)")
        .bind(version)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
