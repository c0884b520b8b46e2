//! The thread that does for workers what would make them wait: it lays out segments before they are
//! needed, prepares the places that are written to next, and syncs what was written.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::segment::{Stream, Unsynced};
use super::store::Store;
use crate::config::Fsync;
use crate::lock::lock;

/// How often it looks at the streams where nothing else makes it.
const LOOK: Duration = Duration::from_secs(1);

/// So many bytes are prepared of a segment that nobody writes to yet.
const FIRST: u64 = 1 << 20;

/// So many times what was appended since the last time is prepared, within bounds: a worker is not to
/// come to the end of it while something is synced, and the disk gets what is prepared and not used as
/// zeros.
const AHEAD: u64 = 4;
const LEAST: u64 = 64 * 1024;
const MOST: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<Store>,
    ended: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(super) fn start(store: Arc<Store>, nudged: Receiver<()>) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let (of_thread, end) = (store.clone(), ended.clone());
        let thread = thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || run(&of_thread, &nudged, &end))?;
        Ok(Self {
            store,
            ended,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Syncs a last time.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.store.nudge();
        if let Some(thread) = lock(&self.thread).take() {
            // Its panics are caught and logged where they happen.
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(store: &Store, nudged: &Receiver<()>, ended: &AtomicBool) {
    let every = match store.options.fsync {
        Fsync::Interval(interval) => interval.min(LOOK),
        Fsync::Never | Fsync::Always => LOOK,
    };
    let mut due = Instant::now() + every;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        let woken = nudged.recv_timeout(wait);
        let is_last = ended.load(Ordering::Relaxed);
        let is_due = due <= Instant::now();
        if is_due {
            due = Instant::now() + every;
        }
        let work = AssertUnwindSafe(|| {
            if is_due {
                store.take_over();
            }
            prepare(store);
            if store.options.fsync == Fsync::Always || is_due || is_last {
                sync(store);
            }
            if is_due {
                let now = SystemTime::now();
                store.streams().iter().for_each(|stream| stream.sample(now));
            }
        });
        if panic::catch_unwind(work).is_err() {
            tracing::error!("the spool's keeper panicked; going on");
        }
        if is_last || woken == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    for stream in store.streams() {
        discard_spare(store, &stream);
    }
}

/// Sees that each worker has a segment in reserve, and that what it writes to next is prepared.
pub(super) fn prepare(store: &Store) {
    for stream in store.streams() {
        if stream.has_ended() {
            discard_spare(store, &stream);
            continue;
        }
        prepare_open(store, &stream);
        if stream.spare().is_none()
            && let Ok(spare) = store.create_segment(&stream)
        {
            match spare.file.prepare(0..FIRST.min(spare.size)) {
                Ok(()) => *stream.spare() = Some(spare),
                Err(error) => {
                    store.fail("cannot write to", &spare.path, &error);
                    store.remove_segment(&spare.path, spare.size);
                }
            }
        }
    }
}

fn prepare_open(store: &Store, stream: &Stream) {
    // A worker that changes segments does not wait for this.
    let unsynced = stream.unsynced().clone();
    for Unsynced { segment, file, .. } in unsynced {
        let grown = segment.grown();
        if grown == 0 || segment.last().is_some() || segment.is_condemned() {
            continue;
        }
        let end = segment.end();
        let ahead = end + (AHEAD * grown).clamp(LEAST, MOST);
        if let Err(error) = file.prepare(end..ahead.min(segment.size)) {
            store.fail("cannot write to", &segment.path, &error);
            segment.condemn();
        }
    }
}

fn discard_spare(store: &Store, stream: &Stream) {
    let spare = stream.spare().take();
    if let Some(spare) = spare {
        store.remove_segment(&spare.path, spare.size);
    }
}

/// Syncs what has been appended, unless that is left to the kernel. A segment that cannot be synced
/// is never tried again, and never appended to again: what the kernel then says of it is not to be
/// trusted.
pub(super) fn sync(store: &Store) {
    for stream in store.streams() {
        if store.options.fsync == Fsync::Never {
            stream.unsynced().retain(|one| one.segment.last().is_none());
            continue;
        }
        let (before, next) = (*stream.synced.borrow(), stream.next());
        let unsynced = std::mem::take(&mut *stream.unsynced());
        let mut left = Vec::with_capacity(unsynced.len());
        for mut one in unsynced {
            let closed = one.segment.last().is_some();
            let end = one.segment.end();
            if end > one.synced {
                let is_new = one.synced == 0;
                let synced = one.file.sync(one.synced..end).and_then(|()| {
                    if is_new {
                        store.files.sync_folder(&stream.folder)
                    } else {
                        Ok(())
                    }
                });
                if let Err(error) = synced {
                    store.fail("cannot sync", &one.segment.path, &error);
                    one.segment.condemn();
                    let last = one.segment.last().unwrap_or_else(|| stream.next());
                    store.count_unsynced(last.saturating_sub(one.segment.first.max(before)));
                    continue;
                }
                one.synced = end;
            }
            if !closed {
                left.push(one);
            }
        }
        // Whoever attached a segment meanwhile pushed it: it comes behind.
        stream.unsynced().splice(0..0, left);
        // Nobody waits for a disk that is broken: answers go on.
        stream.synced.send_if_modified(|synced| {
            let moved = *synced < next && next != u64::MAX;
            if moved {
                *synced = next;
            }
            moved
        });
    }
}
