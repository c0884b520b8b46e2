//! What writers, readers and the keeper share: the folder, its streams, who still needs what of
//! them, and the bound in bytes. Requests do not come here, but for a new segment.
//!
//! ```text
//! <data_dir>/spool/lock                    taken while a process opens the folder
//! <data_dir>/spool/cursors/<exporter>.cursor
//! <data_dir>/spool/<run>/lock              held by the process of that run
//! <data_dir>/spool/<run>/<worker>-<ordinal>-<salt>.seg
//! ```

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::complaints::Complaints;
use super::cursor::{self, Cursor};
use super::files::FileSystem;
use super::folder::{self, Claim, Found, Opened};
use super::segment::{Key, Name, Spare, Stream};
use super::{Error, Status};
use crate::config;
use crate::export::lock;
use crate::export::status::Reason;

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

/// An exporter that needs what is before its cursor no more.
#[derive(Debug)]
struct Holder {
    /// Of the reader that moves it.
    epoch: u64,
    /// Where it is, as last heard.
    saved: Cursor,
    /// As a power cut leaves it.
    synced: Cursor,
}

impl Holder {
    fn at(cursor: Cursor) -> Self {
        Self {
            epoch: 0,
            saved: cursor.clone(),
            synced: cursor,
        }
    }
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
        let holders = holders(cursors);
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
        let mut found = holders(cursors);
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

    /// Where an exporter is to go on: at its cursor, or at the tail where it is new. What it saves
    /// is taken only with this epoch.
    pub(super) fn register(&self, exporter: &str) -> (u64, Cursor) {
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let mut holders = lock(&self.holders);
        if let Some(holder) = holders.get_mut(exporter) {
            holder.epoch = epoch;
            return (epoch, holder.saved.clone());
        }
        let mut cursor = Cursor::at(self.generation);
        for stream in self.streams() {
            if stream.key.generation == self.generation {
                cursor.set(stream.key, stream.next());
            }
        }
        if let Err(error) = self.write_cursor(exporter, &cursor, true) {
            self.fail("cannot save", &self.cursor_path(exporter), &error);
        }
        let holder = Holder {
            epoch,
            saved: cursor.clone(),
            synced: cursor.clone(),
        };
        holders.insert(exporter.to_owned(), holder);
        (epoch, cursor)
    }

    /// Forgets about all exporters but these: they hold nothing back.
    pub(in crate::export) fn retain(&self, exporters: Vec<String>) {
        // Looked at under the lock, for the end of the wait takes what has come until then.
        let mut retained = lock(&self.retained);
        if self.waits() {
            *retained = Some(exporters);
            return;
        }
        drop(retained);
        let mut holders = lock(&self.holders);
        holders.retain(|exporter, holder| {
            let stays = exporters.contains(exporter);
            if !stays {
                self.say_forgotten(exporter, &holder.saved);
                self.remove_cursor(exporter);
            }
            stays
        });
        drop(holders);
        self.release();
    }

    /// Forgets about one exporter, unless another reader has taken over.
    pub(super) fn forget(&self, exporter: &str, epoch: u64) {
        let mut holders = lock(&self.holders);
        if holders
            .get(exporter)
            .is_some_and(|holder| holder.epoch == epoch)
        {
            let holder = holders.remove(exporter);
            drop(holders);
            if let Some(holder) = holder {
                self.say_forgotten(exporter, &holder.saved);
            }
            self.remove_cursor(exporter);
            self.release();
        }
    }

    /// Says what an exporter that is no longer configured leaves undelivered: how many traces of this
    /// run, and whether there are some of earlier ones, whose number is not known.
    fn say_forgotten(&self, exporter: &str, cursor: &Cursor) {
        let (mut traces, mut earlier) = (0, false);
        for stream in self.streams() {
            let position = cursor.position(stream.key);
            if stream.key.generation == self.generation {
                traces += stream.next().saturating_sub(position);
            } else {
                earlier |= stream.appended(position).is_some();
            }
        }
        let message = "no longer configured: its place in the spool is forgotten";
        if traces > 0 || earlier {
            tracing::error!(
                exporter,
                undelivered = traces,
                of_earlier_runs = earlier,
                message
            );
        } else {
            tracing::info!(exporter, message);
        }
    }

    fn remove_cursor(&self, exporter: &str) {
        let path = self.cursor_path(exporter);
        if let Err(error) = self.files.remove(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.fail("cannot remove", &path, &error);
        }
    }

    /// Saves a cursor, and removes what nobody needs any more. Before a segment goes, the cursor is
    /// on the disk; otherwise it is only where `sync` asks for it. Says whether it is.
    pub(super) fn save(
        &self,
        exporter: &str,
        epoch: u64,
        cursor: &mut Cursor,
        sync: bool,
    ) -> io::Result<bool> {
        let streams = self.streams();
        let earliest = streams.iter().map(|stream| stream.key.generation).min();
        cursor.prune(earliest.unwrap_or(self.generation).min(self.generation));
        let frees = {
            let mut holders = lock(&self.holders);
            let Some(holder) = holders.get_mut(exporter).filter(|one| one.epoch == epoch) else {
                // Another reader took over, or the exporter is gone.
                return Ok(true);
            };
            holder.saved = cursor.clone();
            streams.iter().any(|stream| {
                let below = below(&holders, stream.key, |holder| &holder.saved);
                stream.would_release(self.bounded(stream, below))
            })
        };
        let sync = sync || frees;
        self.write_cursor(exporter, cursor, sync)?;
        if sync {
            if let Some(holder) = lock(&self.holders).get_mut(exporter) {
                holder.synced = cursor.clone();
            }
            self.release();
        }
        Ok(sync)
    }

    /// Removes what all exporters have delivered.
    fn release(&self) {
        let mut released = Vec::new();
        {
            let holders = lock(&self.holders);
            for stream in self.streams() {
                let below = below(&holders, stream.key, |holder| &holder.synced);
                let below = self.bounded(&stream, below);
                released.extend(std::iter::from_fn(|| stream.release(below)));
            }
        }
        for segment in released {
            self.remove_segment(&segment.path, segment.size);
        }
        self.remove_runs();
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

    /// Of this run nothing goes that was not appended yet.
    fn bounded(&self, stream: &Stream, below: u64) -> u64 {
        if stream.key.generation == self.generation {
            below.min(stream.next())
        } else {
            below
        }
    }

    pub(super) fn cursor_path(&self, exporter: &str) -> PathBuf {
        folder::cursors(&self.folder).join(cursor::file_name(exporter))
    }

    fn write_cursor(&self, exporter: &str, cursor: &Cursor, sync: bool) -> io::Result<()> {
        let path = self.cursor_path(exporter);
        let new = path.with_extension("new");
        let file = self.files.create(&new, 0)?;
        let bytes = cursor.encode().into_bytes();
        file.write_all_at(&bytes, 0)?;
        if sync {
            file.sync(0..bytes.len() as u64)?;
        }
        self.files.rename(&new, &path)?;
        if sync {
            self.files.sync_folder(&folder::cursors(&self.folder))?;
        }
        Ok(())
    }

    /// Notes that the disk does not do what it should.
    pub(super) fn fail(&self, what: &str, path: &Path, error: &io::Error) {
        let message = format!("spool: {what} {}: {error}", path.display());
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

    /// How far an exporter has come, as last heard.
    pub(super) fn cursor(&self, exporter: &str) -> Option<Cursor> {
        let holders = lock(&self.holders);
        holders.get(exporter).map(|holder| holder.saved.clone())
    }

    /// About how old the oldest record is that an exporter has not delivered.
    pub(in crate::export) fn oldest(&self, exporter: &str) -> Duration {
        let Some(cursor) = self.cursor(exporter) else {
            return Duration::ZERO;
        };
        let oldest = self
            .streams()
            .iter()
            .filter_map(|stream| stream.appended(cursor.position(stream.key)))
            .min();
        let age = oldest.map(|oldest| SystemTime::now().duration_since(oldest));
        age.and_then(Result::ok).unwrap_or_default()
    }
}

fn holders(cursors: BTreeMap<String, Cursor>) -> BTreeMap<String, Holder> {
    let cursors = cursors.into_iter();
    cursors
        .map(|(exporter, cursor)| (exporter, Holder::at(cursor)))
        .collect()
}

/// The sequence below which no exporter needs a stream's records.
fn below(holders: &BTreeMap<String, Holder>, key: Key, of: fn(&Holder) -> &Cursor) -> u64 {
    let positions = holders.values().map(|holder| of(holder).position(key));
    positions.min().unwrap_or(u64::MAX)
}
