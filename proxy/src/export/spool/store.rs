//! What writers, readers and the keeper share: the folder, its streams, who still needs what of
//! them ([`holders`]), and the bound in bytes. Requests do not come here, but for a new segment.
//!
//! ```text
//! <data_dir>/spool/lock                    taken while a process opens the folder
//! <data_dir>/spool/cursors/<exporter>.cursor
//! <data_dir>/spool/<run>/lock              held by the process of that run
//! <data_dir>/spool/<run>/<worker>-<ordinal>-<salt>.seg
//! ```

mod holders;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::complaints::Complaints;
use super::cursor::Cursor;
use super::files::FileSystem;
use super::folder::{self, Claim, Found, Opened};
use super::segment::{Key, Name, Spare, Stream};
use super::{Error, Status};
use crate::config;
use crate::export::status::Reason;
use crate::lock::lock;
use holders::Holder;

/// How long a part of a segment that cannot be read holds up the rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::export) struct Store {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) options: config::Spool,
    pub(super) generation: u64,
    pub(super) patience: Duration,
    folder: PathBuf,
    streams: Mutex<Vec<Arc<Stream>>>,
    /// Raised with each change of `streams`.
    version: AtomicU64,
    workers: AtomicU32,
    /// Bytes of all segments and spares.
    bytes: AtomicU64,
    /// Records that could not be synced.
    unsynced: AtomicU64,
    holders: Mutex<BTreeMap<String, Holder>>,
    epochs: AtomicU64,
    /// Whether a process that this one takes over from still delivers: exporters wait for its end.
    waits: AtomicBool,
    /// Of what the predecessor had when this one began.
    predecessors_bytes: u64,
    /// Who is configured, as told while it waits.
    retained: Mutex<Option<Vec<String>>>,
    nudge: SyncSender<()>,
    complaints: Complaints,
    _lock: Box<dyn Any + Send + Sync>,
}

impl Store {
    /// Takes the folder over. The receiver is the keeper's.
    pub(super) fn open(
        files: Arc<dyn FileSystem>,
        data_dir: &Path,
        options: config::Spool,
        claim: Claim,
    ) -> Result<(Arc<Self>, Receiver<()>), Error> {
        let folder = data_dir.join("spool");
        let Opened {
            generation,
            lock,
            streams,
            cursors,
            bytes,
            predecessor,
        } = folder::open(&*files, &folder, claim)?;
        let (nudge, nudged) = mpsc::sync_channel(1);
        let holders = holders::of(cursors);
        let store = Self {
            files,
            options,
            generation,
            patience: PATIENCE,
            folder,
            streams: Mutex::new(streams.into_iter().map(Arc::new).collect()),
            version: AtomicU64::new(1),
            workers: AtomicU32::new(0),
            bytes: AtomicU64::new(bytes),
            unsynced: AtomicU64::new(0),
            holders: Mutex::new(holders),
            epochs: AtomicU64::new(0),
            waits: AtomicBool::new(predecessor),
            predecessors_bytes: if predecessor { bytes } else { 0 },
            retained: Mutex::default(),
            nudge,
            complaints: Complaints::default(),
            _lock: lock,
        };
        Ok((Arc::new(store), nudged))
    }

    /// Whether exporters have to wait for the end of the process that this one takes over from: until
    /// then the cursors are its own.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Takes over what the predecessor left, once it has ended. To be called now and then.
    pub(super) fn take_over(&self) {
        if !self.waits() {
            return;
        }
        let Found {
            streams,
            cursors,
            bytes,
        } = match folder::take_over(&*self.files, &self.folder, self.generation) {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(error) => {
                self.complaints.note(format!("spool: {error}"));
                return;
            }
        };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes
            .fetch_sub(self.predecessors_bytes, Ordering::Relaxed);
        let streams = streams.into_iter().map(Arc::new);
        lock(&self.streams).splice(0..0, streams);
        self.version.fetch_add(1, Ordering::Release);
        let retained = lock(&self.retained).take();
        let mut found = holders::of(cursors);
        for exporter in retained.iter().flatten() {
            // Those that are new hold what this process has from its beginning on.
            if !found.contains_key(exporter) {
                let cursor = Cursor::at(self.generation);
                if let Err(error) = self.write_cursor(exporter, &cursor, true) {
                    self.fail("cannot save", &self.cursor_path(exporter), &error);
                }
                found.insert(exporter.clone(), Holder::at(cursor));
            }
        }
        *lock(&self.holders) = found;
        // A reload may have come in between.
        let newer = {
            let mut newer = lock(&self.retained);
            self.waits.store(false, Ordering::Release);
            newer.take()
        };
        tracing::info!("the process before has ended; delivering what it left");
        if let Some(retained) = newer.or(retained) {
            self.retain(retained);
        }
    }

    /// A worker's stream.
    pub(super) fn new_stream(&self) -> Arc<Stream> {
        let key = Key {
            generation: self.generation,
            worker: self.workers.fetch_add(1, Ordering::Relaxed),
        };
        let folder = folder::of_run(&self.folder, self.generation);
        let stream = Arc::new(Stream::new(key, folder));
        lock(&self.streams).push(stream.clone());
        self.version.fetch_add(1, Ordering::Release);
        self.nudge();
        stream
    }

    /// All streams, in order.
    pub(super) fn streams(&self) -> Vec<Arc<Stream>> {
        lock(&self.streams).clone()
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A file for more of a stream's records, if the bound allows one.
    pub(super) fn create_segment(&self, stream: &Stream) -> Result<Spare, Reason> {
        let size = self.options.segment_bytes;
        let add = |bytes: u64| Some(bytes + size).filter(|sum| *sum <= self.options.max_bytes);
        if self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_err()
        {
            return Err(Reason::SpoolFull);
        }
        let mut salt = [0; 4];
        // Without chance the checksums are plain ones.
        let _ = getrandom::fill(&mut salt);
        let name = Name {
            worker: stream.key.worker,
            ordinal: stream.next_ordinal(),
            salt: u32::from_le_bytes(salt),
        };
        let path = stream.folder.join(name.to_string());
        match self.files.create(&path, size) {
            Ok(file) => Ok(Spare {
                path,
                name,
                size,
                file,
            }),
            Err(error) => {
                self.bytes.fetch_sub(size, Ordering::Relaxed);
                self.fail("cannot create", &path, &error);
                Err(Reason::SpoolFailed)
            }
        }
    }

    /// Removes a segment's file.
    pub(super) fn remove_segment(&self, path: &Path, size: u64) {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // The next start tries again; until then its bytes count.
                self.fail("cannot remove", path, &error);
            }
            _ => _ = self.bytes.fetch_sub(size, Ordering::Relaxed),
        }
    }

    /// Wakes the keeper.
    pub(super) fn nudge(&self) {
        // Where it is full, the keeper is about to wake already.
        let _ = self.nudge.try_send(());
    }

    /// Removes folders of earlier runs of which nothing is left.
    fn remove_runs(&self) {
        let mut streams = lock(&self.streams);
        let before = streams.len();
        let is_over =
            |stream: &Stream| stream.key.generation != self.generation && stream.is_empty();
        let mut over: Vec<Key> = Vec::new();
        streams.retain(|stream| {
            if is_over(stream) {
                over.push(stream.key);
            }
            !is_over(stream)
        });
        if streams.len() == before {
            return;
        }
        over.dedup_by_key(|key| key.generation);
        over.retain(|key| {
            !streams
                .iter()
                .any(|left| left.key.generation == key.generation)
        });
        drop(streams);
        self.version.fetch_add(1, Ordering::Release);
        for key in over {
            folder::remove_run(&*self.files, &folder::of_run(&self.folder, key.generation));
        }
    }

    /// Notes that the disk does not do what it should.
    pub(super) fn fail(&self, what: &str, path: &Path, error: &io::Error) {
        let way_out = if is_full(error) {
            ": make room there, or lower `spool.max_bytes`"
        } else {
            ""
        };
        let message = format!("spool: {what} {}: {error}{way_out}", path.display());
        self.complaints.note(message);
    }

    /// Counts records that are in the page cache alone.
    pub(super) fn count_unsynced(&self, records: u64) {
        self.unsynced.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> Status {
        Status {
            bytes: self.bytes.load(Ordering::Relaxed),
            max_bytes: self.options.max_bytes,
            segment_bytes: self.options.segment_bytes,
            unsynced: self.unsynced.load(Ordering::Relaxed),
            problem: self.complaints.latest(),
        }
    }
}

/// Whether the disk, or what of it one may have, is used up.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
