//! An exporter's side: reads all streams from the exporter's cursor on, in chunks, and moves the
//! cursor as what was read is settled.
//!
//! Earlier runs come before later ones, so that order holds over a restart; the streams of one run
//! take turns. What is far behind is read from the disk, a chunk at a time: a backlog takes no
//! memory.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::ledger::Ledger;
use super::segment::Key;
use super::store::Store;
use super::walk::Walk;
use crate::export::queue::Chunk;
use crate::export::status::{Meter, Reason};

/// Least time between two savings of the cursor, and between two that a power cut leaves.
const SAVE: Duration = Duration::from_millis(50);
const SYNC: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::export) struct Reader {
    store: Arc<Store>,
    exporter: String,
    meter: Arc<Meter>,
    /// Disconnected once nothing more is appended for this exporter.
    wake: Receiver<()>,
    /// Set where nothing more is to be taken.
    leave: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// Of the exporter in the store; another one took over where it is not the store's.
    epoch: u64,
    /// Whether it has its place in the store: not while a process before this one delivers.
    has_begun: bool,
    cursor: Cursor,
    walks: Vec<Walk>,
    /// Streams of the store, as they were last looked at.
    version: u64,
    /// Whose turn it is.
    turn: usize,
    /// Where each stream ended when nothing more was to be appended.
    ends: Option<Vec<(Key, u64)>>,
    /// Whether the cursor is another one than the file's, and than the disk's.
    unsaved: bool,
    unsynced: bool,
    saved: Instant,
    synced: Instant,
}

impl Reader {
    pub(in crate::export) fn new(
        store: Arc<Store>,
        exporter: &str,
        meter: Arc<Meter>,
        wake: Receiver<()>,
        leave: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            store,
            exporter: exporter.to_owned(),
            meter,
            wake,
            leave,
            ledger: Arc::default(),
            state: RefCell::new(State {
                epoch: 0,
                has_begun: false,
                cursor: Cursor::default(),
                walks: Vec::new(),
                version: 0,
                turn: 0,
                ends: None,
                unsaved: false,
                unsynced: false,
                saved: now,
                synced: now,
            }),
        }
    }

    pub(in crate::export) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Begins at the cursor, also after a start that went wrong.
    pub(in crate::export) fn begin(&self) {
        self.save(true);
        self.ledger.reset();
        let mut state = self.state.borrow_mut();
        state.has_begun = false;
        self.has_begun(&mut state);
    }

    fn has_begun(&self, state: &mut State) -> bool {
        if !state.has_begun && !self.store.waits() {
            (state.epoch, state.cursor) = self.store.register(&self.exporter);
            state.walks.clear();
            state.version = 0;
            (state.unsaved, state.unsynced) = (false, false);
            state.has_begun = true;
        }
        state.has_begun
    }

    /// Waits for records; gives them with the number by which they are settled. `Disconnected`
    /// where there will be none.
    pub(in crate::export) fn recv(
        &self,
        timeout: Duration,
    ) -> Result<(Arc<Chunk>, u64), RecvTimeoutError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(taken) = self.try_recv() {
                return Ok(taken);
            }
            if self.leave.load(Ordering::Relaxed) || self.state.borrow().ends.is_some() {
                return Err(RecvTimeoutError::Disconnected);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.wake.recv_timeout(left) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Err(RecvTimeoutError::Timeout),
                Err(RecvTimeoutError::Disconnected) => {
                    let streams = self.store.streams();
                    let ends = streams.iter().map(|stream| (stream.key, stream.next()));
                    self.state.borrow_mut().ends = Some(ends.collect());
                }
            }
        }
    }

    /// The next records, where there are any now.
    pub(in crate::export) fn try_recv(&self) -> Option<(Arc<Chunk>, u64)> {
        if self.leave.load(Ordering::Relaxed) {
            return None;
        }
        let state = &mut *self.state.borrow_mut();
        if !self.has_begun(state) {
            return None;
        }
        self.look(state);
        let mut start = 0;
        while start < state.walks.len() {
            // The walks of one run; a later run is begun once all of this one was read.
            let generation = state.walks[start].stream.key.generation;
            let run = &state.walks[start..];
            let len = run.partition_point(|walk| walk.stream.key.generation == generation);
            state.turn = state.turn.wrapping_add(1);
            for turn in 0..len {
                let index = start + state.turn.wrapping_add(turn) % len;
                if let Some(taken) = self.read(state, index) {
                    return Some(taken);
                }
            }
            let run = &state.walks[start..start + len];
            if !run.iter().all(Walk::is_done) {
                break;
            }
            start += len;
        }
        None
    }

    fn read(&self, state: &mut State, index: usize) -> Option<(Arc<Chunk>, u64)> {
        let walk = &mut state.walks[index];
        let key = walk.stream.key;
        let end = state
            .ends
            .as_ref()
            .map(|ends| ends.iter().find(|end| end.0 == key).map_or(0, |end| end.1));
        if end.is_some_and(|end| walk.next() >= end) {
            return None;
        }
        let was_done = walk.is_done();
        match walk.read(&*self.store.files) {
            Ok(Some(batch)) => {
                if batch.skipped > 0 {
                    self.meter.lose(Reason::Corrupt, batch.skipped);
                    tracing::error!(
                        exporter = self.exporter,
                        traces = batch.skipped,
                        generation = key.generation,
                        worker = key.worker,
                        "traces in the spool are broken or missing"
                    );
                }
                let number = self.ledger.begin(key, batch.end);
                let chunk = Chunk::new(batch.bytes, batch.records);
                Some((Arc::new(chunk), number))
            }
            Ok(None) => {
                // Now that its end is known, it may be that nobody needs it.
                state.unsaved |= walk.is_done() && !was_done;
                None
            }
            Err(error) => {
                self.store.fail("cannot read", &walk.stream.folder, &error);
                None
            }
        }
    }

    /// Adds streams that came up, and forgets those that are gone.
    fn look(&self, state: &mut State) {
        let version = self.store.version();
        if state.version == version {
            return;
        }
        state.version = version;
        let streams = self.store.streams();
        state
            .walks
            .retain(|walk| streams.iter().any(|stream| stream.key == walk.stream.key));
        for stream in streams {
            let key = stream.key;
            let position = state.cursor.position(key);
            if position == u64::MAX {
                continue;
            }
            if let Err(at) = state
                .walks
                .binary_search_by_key(&key, |walk| walk.stream.key)
            {
                let walk = Walk::new(stream, position, self.store.patience);
                state.walks.insert(at, walk);
            }
        }
    }

    /// Holds nothing back any more, unless another reader took over or is to.
    pub(in crate::export) fn forget(&self) {
        if !self.leave.load(Ordering::Relaxed) {
            self.store.forget(&self.exporter, self.state.borrow().epoch);
        }
    }

    /// Saves the cursor where it has moved: now if asked to, else a moment after the last time.
    pub(in crate::export) fn save(&self, now: bool) {
        let state = &mut *self.state.borrow_mut();
        for (key, position) in self.ledger.take_advanced() {
            state.cursor.set(key, position);
            state.unsaved = true;
        }
        let time = Instant::now();
        let sync = now || time.duration_since(state.synced) >= SYNC;
        let save = now || time.duration_since(state.saved) >= SAVE;
        if !(state.unsaved && save || state.unsynced && sync) {
            return;
        }
        state.saved = time;
        let saved = self
            .store
            .save(&self.exporter, state.epoch, &mut state.cursor, sync);
        match saved {
            Ok(synced) => {
                state.unsaved = false;
                state.unsynced = !synced;
                if synced {
                    state.synced = time;
                }
            }
            Err(error) => {
                let path = self.store.cursor_path(&self.exporter);
                self.store.fail("cannot save", &path, &error);
            }
        }
    }
}
