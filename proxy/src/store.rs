//! Recent traces for the console: a bounded store, beside the exporters and no part of them.
//!
//! A thread takes records from `export::local`, decodes each to its [`Summary`], and writes what
//! came in a moment in one transaction. What is too much or too old goes, oldest first. Whoever
//! follows traces live is told after each. Nothing waits for it: workers drop what it cannot take.
//!
//! It is a cache. A file that is broken or of another version is begun anew, and where the disk
//! refuses, traces are kept in memory.

mod database;
mod filter;
mod search;
mod summary;
mod tail;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::config;
use crate::export::local::{self, Counts, Intake, Outlet, Records};
use crate::lock::lock;
use crate::trace::record;
use database::Database;

pub use filter::{Filter, Invalid};
pub use summary::Summary;
pub use tail::Tail;

/// The file's name in `data_dir`.
const FILE: &str = "store.db";

/// Longest wait for records before looking at what is too old.
const IDLE: Duration = Duration::from_secs(1);

/// Between a record's arrival and the transaction that writes it with all that came by then. A
/// transaction, and a thread that wakes with cold caches, cost more than a trace.
const PACE: Duration = Duration::from_millis(200);

/// Between looks at what is too old; what is too much goes at once.
const PRUNE: Duration = Duration::from_secs(10);

/// How often records that cannot be read are told of again.
const UNREADABLE: Duration = Duration::from_secs(1);

/// Recent traces.
pub struct Store {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    database: Mutex<Database>,
    /// What the database holds, for who must not wait for it.
    traces: AtomicU64,
    bytes: AtomicU64,
    is_durable: bool,
    limits: Mutex<Limits>,
    /// Between looks at what is too old.
    looks: Duration,
    counts: Arc<Counts>,
    tails: tail::Tails,
    problem: Mutex<Option<String>>,
    /// When a record that cannot be read was last told of.
    told: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy)]
struct Limits {
    bytes: u64,
    age: Duration,
}

/// How the store fares.
#[derive(Clone, Debug)]
pub struct Status {
    pub traces: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Traces that were not kept, because there were too many at once, or they cannot be read.
    pub skipped: u64,
    /// Whether they survive a restart.
    pub durable: bool,
    /// What is wrong, where something is.
    pub problem: Option<String>,
}

/// What a search gave.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Page {
    pub traces: Vec<Summary>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<i64>,
    /// How many were looked at.
    pub scanned: u64,
}

/// Traces of a span of time.
#[derive(Clone, Debug, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Bucket {
    /// Microseconds since the Unix epoch.
    pub start_us: i64,
    pub count: u64,
    pub failed: u64,
}

impl Store {
    /// Opens the store in `data_dir`, or one in memory, and starts its thread. Workers leave traces
    /// in what is given back.
    ///
    /// # Panics
    ///
    /// When there is no memory for a database.
    pub(crate) fn start(
        config: &config::Store,
        data_dir: Option<&Path>,
        workers: usize,
    ) -> (Self, Intake) {
        Self::start_looking(config, data_dir, workers, PRUNE)
    }

    /// The same, with so long between looks at what is too old.
    fn start_looking(
        config: &config::Store,
        data_dir: Option<&Path>,
        workers: usize,
        looks: Duration,
    ) -> (Self, Intake) {
        let mut problem = None;
        let file = data_dir.map(|folder| folder.join(FILE));
        let database = Database::open(file.as_deref()).or_else(|error| {
            tracing::error!(%error, "the store of recent traces is kept in memory");
            problem = Some(format!("kept in memory: {error}"));
            Database::open(None)
        });
        let database = database.expect("SQLite opens a database in memory");
        let counts: Arc<Counts> = Arc::default();
        let shared = Arc::new(Shared {
            traces: AtomicU64::new(database.count()),
            bytes: AtomicU64::new(database.bytes()),
            is_durable: database.is_durable(),
            database: Mutex::new(database),
            limits: Mutex::new(Limits::of(config)),
            looks,
            counts: counts.clone(),
            tails: tail::Tails::default(),
            problem: Mutex::new(problem),
            told: Mutex::default(),
        });
        let (intake, outlet) = channel(config, workers, &counts);
        let store = Self {
            shared,
            thread: Mutex::default(),
        };
        store.follow(outlet);
        (store, intake)
    }

    /// Takes over limits that a reload changed. Workers are to use the new way from now on.
    pub(crate) fn adjust(&self, config: &config::Store, workers: usize) -> Intake {
        *lock(&self.shared.limits) = Limits::of(config);
        let (intake, outlet) = channel(config, workers, &self.shared.counts);
        self.follow(outlet);
        intake
    }

    /// Starts a thread for `outlet`; the one before ends with its own.
    fn follow(&self, outlet: Outlet) {
        let shared = self.shared.clone();
        let before = lock(&self.thread).take();
        let spawned = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                if let Some(before) = before {
                    // A panic of its was logged.
                    let _ = before.join();
                }
                shared.run(&outlet);
            });
        match spawned {
            Ok(thread) => *lock(&self.thread) = Some(thread),
            Err(error) => {
                tracing::error!(%error, "no thread for the store of recent traces");
                *lock(&self.shared.problem) = Some(error.to_string());
            }
        }
    }

    /// Does not wait for the disk, nor for a search.
    pub fn status(&self) -> Status {
        Status {
            traces: self.shared.traces.load(Relaxed),
            bytes: self.shared.bytes.load(Relaxed),
            max_bytes: lock(&self.shared.limits).bytes,
            skipped: self.shared.counts.skipped(),
            durable: self.shared.is_durable,
            problem: lock(&self.shared.problem).clone(),
        }
    }

    /// Traces that `filter` lets through, newest first: `limit` of those before `before`.
    pub fn search(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> rusqlite::Result<Page> {
        search::page(&self.shared.database, filter, before, limit)
    }

    /// How many there are in each of `buckets` equal parts of the time from `from` to `to`
    /// (microseconds since the Unix epoch).
    pub fn histogram(
        &self,
        filter: &Filter,
        from: i64,
        to: i64,
        buckets: usize,
    ) -> rusqlite::Result<Vec<Bucket>> {
        search::histogram(&self.shared.database, filter, from, to, buckets)
    }

    /// Summaries of all requests with this trace id, newest first, and the record of the one
    /// asked for, else of the newest.
    pub fn trace(
        &self,
        trace_id: &str,
        id: Option<i64>,
    ) -> rusqlite::Result<Option<(Vec<Summary>, Vec<u8>)>> {
        lock(&self.shared.database).trace(trace_id, id)
    }

    /// The traces to come that `filter` lets through; `None` where too many follow already.
    pub fn tail(&self, filter: Filter) -> Option<Tail> {
        self.shared.tails.add(filter)
    }

    /// Waits until what workers left has been written. They must have ended before.
    pub fn close(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            // More will not come.
            thread.thread().unpark();
            // A panic of its was logged.
            let _ = thread.join();
        }
    }
}

impl Limits {
    fn of(config: &config::Store) -> Self {
        Self {
            bytes: config.max_bytes,
            age: config.max_age,
        }
    }
}

impl Shared {
    fn run(&self, outlet: &Outlet) {
        let mut pruned: Option<Instant> = None;
        loop {
            match outlet.recv(IDLE) {
                Ok(Some(first)) => {
                    thread::park_timeout(PACE);
                    let more = std::iter::from_fn(|| outlet.try_recv());
                    self.write(&std::iter::once(first).chain(more).collect::<Vec<_>>());
                }
                Ok(None) => {}
                Err(local::Closed) => return,
            }
            let limits = *lock(&self.limits);
            let full = self.bytes.load(Relaxed) > limits.bytes;
            if full || pruned.is_none_or(|pruned| pruned.elapsed() >= self.looks) {
                pruned = Some(Instant::now());
                let oldest = SystemTime::now()
                    .checked_sub(limits.age)
                    .map_or(0, microseconds);
                let mut database = lock(&self.database);
                let result = database.prune(limits.bytes, oldest);
                self.note(&database);
                drop(database);
                self.heed(result);
            }
        }
    }

    fn write(&self, batch: &[Records]) {
        let records = batch.iter().flat_map(Records::iter);
        let following = self.tails.are_any();
        let mut fresh = Vec::new();
        let mut database = lock(&self.database);
        let result = database.insert(records, |summary, record| {
            if following {
                fresh.push((summary.clone(), record));
            }
        });
        self.note(&database);
        drop(database);
        let written = result.is_ok();
        self.heed(result.map(|unreadable| self.lose(&unreadable)));
        if written {
            for (summary, record) in fresh {
                self.tails.tell(&summary, record);
            }
        }
    }

    /// Counts records that cannot be read, and tells of them, but not all the time.
    fn lose(&self, unreadable: &[record::Error]) {
        let Some(error) = unreadable.last() else {
            return;
        };
        self.counts.lose(unreadable.len() as u64);
        let mut told = lock(&self.told);
        if told.is_none_or(|told| told.elapsed() >= UNREADABLE) {
            *told = Some(Instant::now());
            tracing::error!(%error, "a record does not decode");
        }
    }

    /// Tells what the database holds now.
    fn note(&self, database: &Database) {
        self.traces.store(database.count(), Relaxed);
        self.bytes.store(database.bytes(), Relaxed);
    }

    /// Remembers whether the disk does what it should; says so once.
    fn heed(&self, result: rusqlite::Result<()>) {
        let mut problem = lock(&self.problem);
        match result {
            Ok(()) => {
                if problem
                    .as_deref()
                    .is_some_and(|text| !text.starts_with("kept in memory"))
                {
                    tracing::info!("the store of recent traces takes traces again");
                    *problem = None;
                }
            }
            Err(error) => {
                let text = error.to_string();
                if problem.as_ref() != Some(&text) {
                    tracing::error!(%error, "the store of recent traces takes none");
                    *problem = Some(text);
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "neither is large")]
fn channel(config: &config::Store, workers: usize, counts: &Arc<Counts>) -> (Intake, Outlet) {
    let rate = f64::from(config.max_traces_per_second) / workers.max(1) as f64;
    local::channel(rate, counts)
}

fn microseconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
