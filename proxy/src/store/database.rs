//! The store's tables. Summaries and records stand apart, so that a search reads no record.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::Summary;
use crate::trace::record;

/// Of the tables; another one's are thrown away.
const VERSION: i32 = 1;

/// What a trace takes beside its record, about.
const OVERHEAD: i64 = 600;

const TABLES: &str = "
CREATE TABLE traces (
    id INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL, request_id TEXT NOT NULL,
    start_us INTEGER NOT NULL, duration_ns INTEGER NOT NULL, upstream_ns INTEGER NOT NULL,
    method TEXT NOT NULL, path TEXT NOT NULL, route TEXT NOT NULL, status INTEGER,
    failed INTEGER NOT NULL, error TEXT NOT NULL, short_circuit TEXT NOT NULL,
    plugins TEXT NOT NULL, model TEXT NOT NULL, spans INTEGER NOT NULL, bytes INTEGER NOT NULL
);
CREATE INDEX traces_trace_id ON traces (trace_id);
CREATE TABLE records (id INTEGER PRIMARY KEY, record BLOB NOT NULL);
";

const COLUMNS: &str = "id, trace_id, request_id, start_us, duration_ns, upstream_ns, method, path, \
     route, status, failed, error, short_circuit, plugins, model, spans, bytes";

pub(super) struct Database {
    connection: Connection,
    is_durable: bool,
    held: Held,
}

/// What the tables hold.
#[derive(Clone, Copy)]
struct Held {
    /// `PRAGMA data_version`: another one after what another process wrote, as both do in a hand-over.
    version: i64,
    count: i64,
    bytes: i64,
    /// Id of the next trace.
    next: i64,
}

impl Held {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let version = Self::version(connection)?;
        connection.query_row(
            "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(id), 0) FROM traces",
            [],
            |row| {
                let (count, bytes, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Self {
                    version,
                    count,
                    bytes: bytes + count * OVERHEAD,
                    next: last + 1,
                })
            },
        )
    }

    fn version(connection: &Connection) -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, "data_version", |row| row.get(0))
    }
}

impl Database {
    /// Opens `file`, or a database in memory. A file that is of no use is put aside.
    pub(super) fn open(file: Option<&Path>) -> rusqlite::Result<Self> {
        let Some(file) = file else {
            return Self::prepare(Connection::open_in_memory()?, false);
        };
        if let Some(folder) = file.parent() {
            // Where it cannot be made, opening the file says why.
            let _ = std::fs::create_dir_all(folder);
        }
        Self::open_file(file).or_else(|error| {
            if !is_broken(&error) {
                return Err(error);
            }
            tracing::warn!(%error, file = %file.display(), "the store of recent traces is begun anew");
            put_aside(file);
            Self::open_file(file)
        })
    }

    fn open_file(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        private(file);
        // One that is killed loses nothing by it; a power cut may cost the file, which is a cache.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
        Self::prepare(connection, true)
    }

    fn prepare(connection: Connection, is_durable: bool) -> rusqlite::Result<Self> {
        let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != VERSION {
            connection
                .execute_batch("DROP TABLE IF EXISTS traces; DROP TABLE IF EXISTS records;")?;
            connection.execute_batch(TABLES)?;
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        connection.set_prepared_statement_cache_capacity(16);
        let held = Held::of(&connection)?;
        Ok(Self {
            connection,
            is_durable,
            held,
        })
    }

    /// Begins to write: nobody else does until it has ended. What is held is true within.
    fn begin(&mut self) -> rusqlite::Result<(Transaction<'_>, &mut Held)> {
        let behaviour = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behaviour)?;
        if Held::version(&transaction)? != self.held.version {
            // An id is not given twice while somebody has the page that it ends.
            let next = self.held.next;
            self.held = Held::of(&transaction)?;
            self.held.next = self.held.next.max(next);
        }
        Ok((transaction, &mut self.held))
    }

    pub(super) fn is_durable(&self) -> bool {
        self.is_durable
    }

    pub(super) fn count(&self) -> u64 {
        self.held.count.unsigned_abs()
    }

    /// What the traces take, about.
    pub(super) fn bytes(&self) -> u64 {
        self.held.bytes.unsigned_abs()
    }

    /// Writes records in one transaction. Each is told to `written`, which must wait for the end before it
    /// believes it. What does not decode is left out: gives why, of each.
    pub(super) fn insert<'r>(
        &mut self,
        records: impl Iterator<Item = &'r [u8]>,
        mut written: impl FnMut(&Summary, &'r [u8]),
    ) -> rusqlite::Result<Vec<record::Error>> {
        let mut unreadable = Vec::new();
        let (transaction, held) = self.begin()?;
        let mut now = *held;
        {
            let mut traces = transaction.prepare_cached(
                "INSERT INTO traces VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)",
            )?;
            let mut blobs = transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2)")?;
            for record in records {
                let trace = match record::read(record) {
                    Ok(trace) => trace,
                    Err(error) => {
                        unreadable.push(error);
                        continue;
                    }
                };
                let mut summary = Summary::of(&trace, record.len());
                summary.id = now.next;
                traces.execute(params![
                    summary.id,
                    summary.trace_id,
                    summary.request_id,
                    summary.start_us,
                    summary.duration_ns,
                    summary.upstream_ns,
                    summary.method,
                    summary.path,
                    summary.route,
                    summary.status,
                    summary.failed,
                    summary.error,
                    summary.short_circuit,
                    summary.plugins.join("\n"),
                    summary.model,
                    summary.spans,
                    summary.bytes,
                ])?;
                blobs.execute(params![summary.id, record])?;
                now.count += 1;
                now.bytes += summary.bytes + OVERHEAD;
                now.next += 1;
                written(&summary, record);
            }
        }
        transaction.commit()?;
        *held = now;
        Ok(unreadable)
    }

    /// Deletes what ended before `oldest`, and the oldest of what is more than `max_bytes`.
    pub(super) fn prune(&mut self, max_bytes: u64, oldest: i64) -> rusqlite::Result<()> {
        // Ids grow with the time at which traces ended, so what is old stands before the first that
        // is not, and nothing behind that need be read. When they began says nothing: a stream may
        // have lasted longer than traces are kept.
        let old: Option<i64> = self.connection.query_row(
            "SELECT max(id) FROM traces WHERE id < \
             coalesce((SELECT id FROM traces WHERE start_us + duration_ns / 1000 >= ?1 \
             ORDER BY id LIMIT 1), ?2)",
            [oldest, self.held.next],
            |row| row.get(0),
        )?;
        if let Some(last) = old {
            self.delete_to(last)?;
        }
        while self.bytes() > max_bytes && self.held.count > 0 {
            let some = (self.held.count / 20).max(1);
            let last = self.connection.query_row(
                "SELECT id FROM traces ORDER BY id LIMIT 1 OFFSET ?1",
                [some - 1],
                |row| row.get(0),
            );
            let Some(last) = last.optional()? else {
                // Another process has deleted them.
                break;
            };
            self.delete_to(last)?;
        }
        Ok(())
    }

    fn delete_to(&mut self, last: i64) -> rusqlite::Result<()> {
        let (transaction, held) = self.begin()?;
        let (count, bytes): (i64, i64) = transaction.query_row(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM traces WHERE id <= ?1",
            [last],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        transaction.execute("DELETE FROM traces WHERE id <= ?1", [last])?;
        transaction.execute("DELETE FROM records WHERE id <= ?1", [last])?;
        transaction.commit()?;
        held.count -= count;
        held.bytes -= bytes + count * OVERHEAD;
        Ok(())
    }

    /// The newest `limit` before `before`, newest first.
    pub(super) fn summaries(&self, before: i64, limit: usize) -> rusqlite::Result<Vec<Summary>> {
        let sql = format!("SELECT {COLUMNS} FROM traces WHERE id < ?1 ORDER BY id DESC LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement.query_map([before, limit], summary)?.collect()
    }

    /// The newest with this trace id, and that of them with this `id` where one is given; with the
    /// record of that one, else of the newest.
    pub(super) fn trace(
        &self,
        trace_id: &str,
        id: Option<i64>,
    ) -> rusqlite::Result<Option<(Vec<Summary>, Vec<u8>)>> {
        let sql =
            format!("SELECT {COLUMNS} FROM traces WHERE trace_id = ?1 ORDER BY id DESC LIMIT 100");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map([trace_id], summary)?;
        let mut found: Vec<Summary> = found.collect::<Result<_, _>>()?;
        if let Some(id) = id
            && !found.iter().any(|summary| summary.id == id)
        {
            let sql = format!("SELECT {COLUMNS} FROM traces WHERE id = ?1 AND trace_id = ?2");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let older = statement.query_row(params![id, trace_id], summary);
            found.extend(older.optional()?);
        }
        let wanted = |summary: &&Summary| id.is_none_or(|id| summary.id == id);
        let Some(chosen) = found.iter().find(wanted) else {
            return Ok(None);
        };
        let record = self.record(chosen.id)?;
        Ok(record.map(|record| (found, record)))
    }

    /// `None` where it has gone.
    pub(super) fn record(&self, id: i64) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT record FROM records WHERE id = ?1")?;
        statement.query_row([id], |row| row.get(0)).optional()
    }
}

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let plugins: String = row.get(13)?;
    Ok(Summary {
        id: row.get(0)?,
        trace_id: row.get(1)?,
        request_id: row.get(2)?,
        start_us: row.get(3)?,
        duration_ns: row.get(4)?,
        upstream_ns: row.get(5)?,
        method: row.get(6)?,
        path: row.get(7)?,
        route: row.get(8)?,
        status: row.get(9)?,
        failed: row.get(10)?,
        error: row.get(11)?,
        short_circuit: row.get(12)?,
        plugins: plugins
            .split('\n')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        model: row.get(14)?,
        spans: row.get(15)?,
        bytes: row.get(16)?,
    })
}

/// Whether the file is what is wrong, and not the disk.
fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(error, rusqlite::Error::SqliteFailure(of, _)
        if matches!(of.code, Code::NotADatabase | Code::DatabaseCorrupt | Code::Unknown))
}

/// Out of the way, with what is kept beside it.
fn put_aside(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let from = with_suffix(file, suffix);
        // What is not there need not go.
        let _ = std::fs::rename(&from, with_suffix(file, &format!("{suffix}.broken")));
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// For its owner's eyes only, as the spool is.
fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let only_owner = std::fs::Permissions::from_mode(0o600);
    if let Err(error) = std::fs::set_permissions(file, only_owner) {
        tracing::warn!(%error, file = %file.display(), "others may read the store of recent traces");
    }
}
