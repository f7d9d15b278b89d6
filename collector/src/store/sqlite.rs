//! [`Store`] on SQLite: one file in the data folder, one connection that writes, one that reads.
//!
//! Owns `vigie.db` (with SQLite's `-wal` and `-shm` beside it) and `reserve`. In WAL mode with `synchronous = FULL` a
//! commit is one fsync of the write-ahead log, and is durable when it returns.
//!
//! After any failed or cancelled commit the writing connection is thrown away and opened anew, so that no doubt about an
//! open transaction outlives it; the reading one stays open meanwhile, which keeps SQLite from replaying a write-ahead
//! log whose fsync failed.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;
use vigie_core::{digest::Digest, id::NodeName};
use vigie_decide::{
    fleet::{Delta, State, state::Meta},
    rules::Rules,
};
use vigie_platform::disk::RealDisk;

use super::{
    CommitError, DatabaseError, LineKey, LoadError, ReadError, Store,
    migrations::{self, MigrateError},
    reader::LogReader,
    reserve::Reserve,
    rows::{Key, ROWS_MAX, ROWS_PREPARED, Rows, placeholders, signed},
};

/// The database's name in the data folder.
pub const FILE_NAME: &str = "vigie.db";

/// The reserve's name in the data folder.
pub const RESERVE_NAME: &str = "reserve";

/// How long SQLite waits for another process (a backup, an operator's `sqlite3`) to let go. Less than the 5 s after which
/// a commit counts as failed.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many pages of the database each connection keeps, in KiB; the state itself is in our own memory.
pub(super) const CACHE_KIB: &str = "-2000";

/// The write-ahead log is cut back to this after a burst, in bytes.
const WAL_LEN_KEPT: &str = "16777216";

/// How far back a refused line is looked for among its node's lines. Such a line has no number of its own, and only the
/// last request can come twice; eight requests are looked through.
const REFUSED_LOOKED_THROUGH: i64 = 8 * vigie_core::hand_in::LINES_MAX as i64;

/// SQLite's primary result code for "database or disk is full".
const SQLITE_FULL: i64 = 13;

/// SQLite's primary result code for input and output errors, which a full disk also shows itself as.
const SQLITE_IOERR: i64 = 10;

/// The store in a data folder.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    epoch: u64,
    writer: Mutex<Option<SqliteConnection>>,
    reader: LogReader,
    reserve: Arc<Reserve>,
    #[cfg(test)]
    page_count_max: std::sync::atomic::AtomicU32,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no database.
    #[error("cannot find database {path}")]
    Absent {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database's file cannot be made.
    #[error("cannot make database {path}")]
    Make {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open database {path}")]
    Open {
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Its schema is not ours and cannot be made so.
    #[error("cannot use database {path}")]
    Schema {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: MigrateError,
    },
    /// The next epoch cannot be taken.
    #[error("cannot take over database {path}")]
    Epoch {
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
}

impl SqliteStore {
    /// Opens the store in `data_dir`, making it if need be, and takes the next epoch: whoever had it open before can
    /// commit no more.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE_NAME);
        make_private(&path).map_err(|source| OpenError::Make {
            path: path.clone(),
            source,
        })?;
        let mut store = Self {
            epoch: 0,
            writer: Mutex::new(None),
            reader: LogReader::at(path.clone()),
            reserve: Arc::new(Reserve::new(
                Arc::new(RealDisk),
                data_dir.join(RESERVE_NAME),
            )),
            #[cfg(test)]
            page_count_max: u32::MAX.into(),
            path,
        };
        let path = || store.path.clone();
        let open = |source| OpenError::Open {
            path: path(),
            source,
        };
        let mut writer = store.connect().await.map_err(open)?;
        migrations::migrate(&mut writer)
            .await
            .map_err(|source| OpenError::Schema {
                path: path(),
                source,
            })?;
        // Open from the start, so that a write-ahead log is never left without anybody who has it open.
        store.reader.reopen().await.map_err(open)?;
        let epoch = next_epoch(&mut writer)
            .await
            .map_err(|source| OpenError::Epoch {
                path: path(),
                source,
            })?;
        store.epoch = epoch;
        store.writer = Mutex::new(Some(writer));
        store.take_reserve().await;
        Ok(store)
    }

    /// The epoch that opening took.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether room is kept for a commit on a full disk. If not, the disk is or was full.
    #[must_use]
    pub fn is_reserve_held(&self) -> bool {
        self.reserve.is_held()
    }

    /// Closes both connections in order, which folds the write-ahead log into the database. Dropping the store instead
    /// loses nothing.
    ///
    /// # Errors
    /// What the database said.
    pub async fn close(&self) -> Result<(), sqlx::Error> {
        self.reader.close().await?;
        match self.writer.lock().await.take() {
            Some(writer) => writer.close().await,
            None => Ok(()),
        }
    }

    /// Lets the database grow no more, as on a full disk.
    #[cfg(test)]
    pub(super) async fn limit_pages(&self, page_count_max: u32) {
        self.page_count_max
            .store(page_count_max, std::sync::atomic::Ordering::Relaxed);
        *self.writer.lock().await = None;
    }

    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", CACHE_KIB)
            .pragma("trusted_schema", "OFF")
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", WAL_LEN_KEPT)
            .disable_statement_logging();
        #[cfg(test)]
        let options = {
            let pages = self
                .page_count_max
                .load(std::sync::atomic::Ordering::Relaxed);
            options.pragma("max_page_count", pages.to_string())
        };
        options.connect().await
    }

    async fn take_reserve(&self) {
        if self.reserve.is_due() {
            let reserve = Arc::clone(&self.reserve);
            let _cancelled_at_shutdown = tokio::task::spawn_blocking(move || reserve.take()).await;
        }
    }

    /// `true` if there is room now that was not there before.
    async fn release_reserve(&self) -> bool {
        let reserve = Arc::clone(&self.reserve);
        tokio::task::spawn_blocking(move || reserve.release())
            .await
            .unwrap_or(false)
    }

    async fn try_commit(&self, rows: &Rows<'_>) -> Result<(), CommitError> {
        let mut slot = self.writer.lock().await;
        let connected = match slot.take() {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        };
        let mut connection =
            connected.map_err(|source| self.write_error("open it anew", source))?;
        let written = self.write(&mut connection, rows).await;
        if written.is_ok() {
            *slot = Some(connection);
        } else {
            // Waits until the transaction is rolled back; that it failed is known already.
            let _already_failed = connection.close().await;
        }
        written
    }

    async fn write(
        &self,
        connection: &mut SqliteConnection,
        rows: &Rows<'_>,
    ) -> Result<(), CommitError> {
        let failed = |attempted| move |source| self.write_error(attempted, source);
        // The lock is taken first: what is read below holds until the end.
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed("begin"))?;
        let (current, stored): (i64, i64) = sqlx::query_as(
            "SELECT CAST(value AS INTEGER), (SELECT coalesce(max(n) + 1, 0) FROM log)
             FROM meta WHERE key = 'epoch'",
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed("read epoch and length of the log"))?;
        let (current, stored) = (unsigned(current), unsigned(stored));
        if current != self.epoch {
            return Err(CommitError::Superseded {
                path: self.path.clone(),
                epoch: self.epoch,
                current,
            });
        }
        if let Some(given) = rows.begins_at.filter(|given| *given != stored) {
            return Err(CommitError::OutOfStep {
                path: self.path.clone(),
                stored,
                given,
            });
        }
        for statement in &rows.statements {
            statement
                .execute(&mut transaction)
                .await
                .map_err(failed(statement.attempted))?;
        }
        transaction.commit().await.map_err(failed("finish"))
    }

    fn write_error(&self, attempted: &'static str, source: sqlx::Error) -> CommitError {
        let path = self.path.clone();
        match primary_code(&source) {
            Some(SQLITE_FULL) => CommitError::Full {
                path,
                source: DatabaseError::new(source),
            },
            _ => CommitError::Write {
                attempted,
                path,
                source: DatabaseError::new(source),
            },
        }
    }

    async fn find_numbered(&self, wanted: &[(&LineKey, i64)]) -> Result<Vec<LineKey>, sqlx::Error> {
        let sql = format!(
            "WITH wanted (place, node, seq, sha256) AS (VALUES {})
             SELECT wanted.place FROM wanted CROSS JOIN lines
             ON lines.node = wanted.node AND lines.seq = wanted.seq AND lines.sha256 = wanted.sha256",
            placeholders(wanted.len(), 4),
        );
        // The text holds nothing but placeholders.
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(wanted.len() <= ROWS_PREPARED);
        for (place, (line, seq)) in (0_i64..).zip(wanted) {
            query = query
                .bind(place)
                .bind(line.node.as_str())
                .bind(*seq)
                .bind(line.sha256.0.as_slice());
        }
        let mut found = Vec::new();
        for row in self.reader.read(query).await? {
            let place = usize::try_from(row.try_get::<i64, _>(0)?).ok();
            found.extend(
                place
                    .and_then(|place| wanted.get(place))
                    .map(|(line, _)| (*line).clone()),
            );
        }
        Ok(found)
    }

    async fn find_refused(
        &self,
        node: &NodeName,
        wanted: &HashSet<&[u8]>,
    ) -> Result<Vec<LineKey>, sqlx::Error> {
        let query =
            sqlx::query("SELECT sha256 FROM lines WHERE node = ?1 ORDER BY seq DESC LIMIT ?2")
                .bind(node.as_str())
                .bind(REFUSED_LOOKED_THROUGH);
        let mut found = Vec::new();
        for row in self.reader.read(query).await? {
            let sha256: Vec<u8> = row.try_get(0)?;
            if wanted.contains(sha256.as_slice())
                && let Ok(sha256) = sha256.try_into()
            {
                found.push(LineKey::of(node, None, Digest(sha256)));
            }
        }
        Ok(found)
    }

    fn lines_unread(&self, source: sqlx::Error) -> ReadError {
        ReadError::Read {
            what: "lines of nodes",
            path: self.path.clone(),
            source: DatabaseError::new(source),
        }
    }

    fn unread(&self, table: &'static str) -> impl Fn(sqlx::Error) -> LoadError {
        move |source| LoadError::Read {
            table,
            path: self.path.clone(),
            source: DatabaseError::new(source),
        }
    }

    /// Reads the whole state. `snapshot` is one read transaction, because a commit that was given up may still land.
    async fn load_from(&self, snapshot: &mut SqliteConnection) -> Result<State, LoadError> {
        let mut metas: BTreeMap<String, Meta> = self
            .load_table(
                snapshot,
                "meta",
                "SELECT key, value FROM meta WHERE key = 'state'",
            )
            .await?;
        let state = State {
            meta: metas.remove("state").unwrap_or_default(),
            nodes: self
                .load_table(snapshot, "nodes", "SELECT key, value FROM nodes")
                .await?,
            plans: self
                .load_table(snapshot, "plans", "SELECT key, value FROM plans")
                .await?,
            alerts: self
                .load_table(snapshot, "alerts", "SELECT key, value FROM alerts")
                .await?,
            outbox: self
                .load_table(snapshot, "outbox", "SELECT key, value FROM outbox")
                .await?,
            tokens: self
                .load_table(snapshot, "tokens", "SELECT key, value FROM tokens")
                .await?,
            senders: self
                .load_table(snapshot, "senders", "SELECT key, value FROM senders")
                .await?,
            held: self
                .load_table(snapshot, "held", "SELECT key, value FROM held")
                .await?,
            digests: self
                .load_table(snapshot, "digests", "SELECT key, value FROM digests")
                .await?,
            mutes: self
                .load_table(snapshot, "mutes", "SELECT key, value FROM mutes")
                .await?,
        };
        // Lines are only ever added, without holes, so the first and the last number say how many there are.
        let lines = sqlx::query_scalar("SELECT coalesce(max(n) - min(n) + 1, 0) FROM log")
            .fetch_one(snapshot)
            .await
            .map(unsigned)
            .map_err(self.unread("log"))?;
        let expected = state.meta.frontier.size();
        if lines != expected {
            return Err(LoadError::Log {
                path: self.path.clone(),
                lines,
                expected,
            });
        }
        Ok(state)
    }

    async fn load_table<K: Key + Ord, V: DeserializeOwned>(
        &self,
        snapshot: &mut SqliteConnection,
        table: &'static str,
        sql: &'static str,
    ) -> Result<BTreeMap<K, V>, LoadError> {
        let unread = self.unread(table);
        let rows: Vec<(String, String)> = sqlx::query_as(sql)
            .fetch_all(snapshot)
            .await
            .map_err(&unread)?;
        let mut loaded = BTreeMap::new();
        for (key, value) in rows {
            let not_ours = |source| LoadError::Row {
                table,
                key: key.clone(),
                path: self.path.clone(),
                source,
            };
            let value = serde_json::from_str(&value).map_err(not_ours)?;
            loaded.insert(K::from_text(&key).map_err(not_ours)?, value);
        }
        Ok(loaded)
    }
}

impl Store for SqliteStore {
    async fn load(&self) -> Result<State, LoadError> {
        let unread = self.unread("meta");
        let (mut slot, mut connection) = self.reader.taken().await.map_err(&unread)?;
        let mut snapshot = connection.begin().await.map_err(&unread)?;
        let state = self.load_from(&mut snapshot).await?;
        snapshot.rollback().await.map_err(&unread)?;
        *slot = Some(connection);
        Ok(state)
    }

    async fn commit(&self, delta: &Delta) -> Result<(), CommitError> {
        let rows = Rows::of(delta);
        let committed = match self.try_commit(&rows).await {
            Err(error) if error.may_want_room() && self.release_reserve().await => {
                self.try_commit(&rows).await
            }
            other => other,
        };
        if committed.is_ok() {
            self.take_reserve().await;
        }
        committed
    }

    async fn stored_lines(&self, lines: &[LineKey]) -> Result<HashSet<LineKey>, ReadError> {
        let mut stored = HashSet::new();
        let mut numbered = Vec::new();
        let mut refused: BTreeMap<&NodeName, HashSet<&[u8]>> = BTreeMap::new();
        for line in lines {
            match line.seq {
                Some(seq) => numbered.push((line, signed(seq))),
                None => drop(
                    refused
                        .entry(&line.node)
                        .or_default()
                        .insert(&line.sha256.0),
                ),
            }
        }
        for chunk in numbered.chunks(ROWS_MAX) {
            let found = self.find_numbered(chunk).await;
            stored.extend(found.map_err(|source| self.lines_unread(source))?);
        }
        for (node, wanted) in refused {
            let found = self.find_refused(node, &wanted).await;
            stored.extend(found.map_err(|source| self.lines_unread(source))?);
        }
        Ok(stored)
    }

    async fn log_lines(&self, from: u64, limit: u32) -> Result<Vec<(u64, String)>, ReadError> {
        self.reader.lines(from, limit).await
    }

    async fn rules(&self, sha256: Digest) -> Result<Option<Rules>, ReadError> {
        self.reader.rules(sha256).await
    }
}

impl CommitError {
    /// Whether releasing the reserve may help. A full disk shows itself as an input or output error where SQLite
    /// lengthens its shared memory file.
    fn may_want_room(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Write { source, .. } => {
                let said = source.0.downcast_ref();
                said.and_then(primary_code) == Some(SQLITE_IOERR)
            }
            Self::Superseded { .. } | Self::OutOfStep { .. } => false,
        }
    }
}

async fn next_epoch(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = 'epoch'
         RETURNING CAST(value AS INTEGER)",
    )
    .fetch_one(connection)
    .await
    .map(unsigned)
}

/// SQLite would make the file readable to whom the umask allows; its `-wal` and `-shm` get the same mode as the file.
fn make_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code: i64 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
