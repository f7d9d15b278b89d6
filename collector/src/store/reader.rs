//! Reads what is committed, and nothing else: for the engine's own questions, and for whoever explains decisions while a
//! collector runs, or after it is gone. Takes no epoch, writes nothing, holds no transaction between two calls.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tokio::sync::{Mutex, MutexGuard};
use vigie_core::{digest::Digest, id::NodeName};
use vigie_decide::{fleet::state::NodePlan, rules::Rules};

use super::{
    DatabaseError, LOG_LINES_MAX, ReadError, convert, migrations,
    rows::signed,
    sqlite::{BUSY_TIMEOUT, CACHE_KIB, FILE_NAME, OpenError, unsigned},
};

#[cfg(test)]
mod tests;

/// A connection that only reads. It is opened when it is first needed, and anew after a failure.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    connection: Mutex<Option<SqliteConnection>>,
}

impl LogReader {
    /// Opens the log in `data_dir`. A collector may run there, or none. A database that only a newer version understands
    /// is refused.
    ///
    /// # Errors
    /// See [`OpenError`]; [`OpenError::Absent`] when there is no database.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let reader = Self::at(data_dir.join(FILE_NAME));
        let path = || reader.path.clone();
        if let Err(source) = std::fs::metadata(&reader.path) {
            return Err(OpenError::Absent {
                path: path(),
                source,
            });
        }
        let opened = reader.connected().await;
        let mut connection = opened.map_err(|source| OpenError::Open {
            path: path(),
            source,
        })?;
        let checked = migrations::check(&mut connection).await;
        checked.map_err(|source| OpenError::Schema {
            path: path(),
            source,
        })?;
        *reader.connection.lock().await = Some(connection);
        Ok(reader)
    }

    /// A reader of the database at `path`, which is not opened yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            path,
            connection: Mutex::new(None),
        }
    }

    /// Opens the connection now.
    pub(super) async fn reopen(&self) -> Result<(), sqlx::Error> {
        *self.connection.lock().await = Some(self.connected().await?);
        Ok(())
    }

    /// How many lines the log has.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn line_count(&self) -> Result<u64, ReadError> {
        let query = sqlx::query("SELECT coalesce(max(n) + 1, 0) FROM log");
        let count = async {
            match self.read(query).await?.first() {
                Some(row) => row.try_get(0),
                None => Ok(0),
            }
        };
        count
            .await
            .map(unsigned)
            .map_err(|source| self.unread_log(source))
    }

    /// Lines of the log from number `from` on, at most `limit` and at most [`LOG_LINES_MAX`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lines(&self, from: u64, limit: u32) -> Result<Vec<(u64, String)>, ReadError> {
        let query = sqlx::query("SELECT n, line FROM log WHERE n >= ?1 ORDER BY n LIMIT ?2")
            .bind(signed(from))
            .bind(limit.min(LOG_LINES_MAX));
        self.read(query)
            .await
            .map_err(|source| self.unread_log(source))?
            .iter()
            .map(|row| Ok((unsigned(row.try_get(0)?), row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(|source| self.unread_log(source))
    }

    /// The rules kept under this digest, also those that an earlier version wrote.
    ///
    /// # Errors
    /// When the database cannot be read, or they are not rules that this version understands.
    pub async fn rules(&self, sha256: Digest) -> Result<Option<Rules>, ReadError> {
        let what = "rules";
        let failed = |source| ReadError::Read {
            what,
            path: self.path.clone(),
            source: DatabaseError::new(source),
        };
        let query =
            sqlx::query("SELECT text FROM rules WHERE sha256 = ?1").bind(sha256.to_string());
        let rows = self.read(query).await.map_err(failed)?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let text: String = row.try_get(0).map_err(failed)?;
        serde_json::from_str(&text)
            .and_then(|rules| serde_json::from_value(convert::rules(rules)))
            .map(Some)
            .map_err(|source| ReadError::Row {
                what,
                path: self.path.clone(),
                source,
            })
    }

    /// What nodes plan to check, as far as it is committed.
    ///
    /// # Errors
    /// When the database cannot be read, or a row is not what this version understands.
    pub async fn plans(&self) -> Result<BTreeMap<NodeName, NodePlan>, ReadError> {
        let what = "plans of nodes";
        let failed = |source| ReadError::Read {
            what,
            path: self.path.clone(),
            source: DatabaseError::new(source),
        };
        let not_ours = |source| ReadError::Row {
            what,
            path: self.path.clone(),
            source,
        };
        let rows = self.read(sqlx::query("SELECT key, value FROM plans")).await;
        let mut plans = BTreeMap::new();
        for row in rows.map_err(failed)? {
            let key: String = row.try_get(0).map_err(failed)?;
            let plan: String = row.try_get(1).map_err(failed)?;
            let node = serde_json::from_value(key.into()).map_err(not_ours)?;
            plans.insert(node, serde_json::from_str(&plan).map_err(not_ours)?);
        }
        Ok(plans)
    }

    /// Reads all rows of one query. The connection is put back only if that went well.
    pub(super) async fn read(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let (mut slot, mut connection) = self.taken().await?;
        let rows = query.fetch_all(&mut connection).await?;
        *slot = Some(connection);
        Ok(rows)
    }

    /// The connection, and where it has to be put back to if all goes well.
    pub(super) async fn taken(
        &self,
    ) -> Result<(MutexGuard<'_, Option<SqliteConnection>>, SqliteConnection), sqlx::Error> {
        let mut slot = self.connection.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.connected().await?,
        };
        Ok((slot, connection))
    }

    /// Closes the connection in order. Dropping the reader instead loses nothing.
    ///
    /// # Errors
    /// What the database said.
    pub async fn close(&self) -> Result<(), sqlx::Error> {
        match self.connection.lock().await.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }

    async fn connected(&self) -> Result<SqliteConnection, sqlx::Error> {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", CACHE_KIB)
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging()
            .connect()
            .await
    }

    fn unread_log(&self, source: sqlx::Error) -> ReadError {
        ReadError::Read {
            what: "the log",
            path: self.path.clone(),
            source: DatabaseError::new(source),
        }
    }
}
