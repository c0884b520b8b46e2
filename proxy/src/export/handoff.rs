//! Where a worker leaves its finished traces: the one place that all of them pass on their way out.
//!
//! Without a spool, records are appended to the worker's own chunk: no lock, no system call. A chunk
//! is published to all exporters when it is full, a moment after its first record, and when the
//! worker ends. With a spool, records are appended to the worker's own segment, and exporters are
//! woken a moment after.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::local::{Local, Priority};
use super::queue::Chunk;
use super::source::Sender;
use super::spool::{Hold, Writer};

/// A chunk of this size is published at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Room for the record that fills a chunk.
const CAPACITY: usize = CHUNK_BYTES + 16 * 1024;

/// Longest time from a chunk's first record until it is published.
const DELAY: Duration = Duration::from_millis(10);

/// The exporters that there are now; workers read it, a reload replaces it.
pub(super) type Set = Arc<ArcSwap<Vec<Sender>>>;

/// One worker's way out for finished traces.
pub struct Handoff {
    exporters: Set,
    open: RefCell<Open>,
    spool: Option<RefCell<Writer>>,
    local: Local,
    first: Notify,
}

/// What is not published yet.
struct Open {
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    /// Whether the spool has more than exporters know of.
    spooled: bool,
}

impl Handoff {
    pub(super) fn new(exporters: Set, spool: Option<Writer>, local: Local) -> Self {
        let capacity = if spool.is_some() { 0 } else { CAPACITY };
        Self {
            exporters,
            open: RefCell::new(Open {
                bytes: Vec::with_capacity(capacity),
                records: Vec::new(),
                spooled: false,
            }),
            spool: spool.map(RefCell::new),
            local,
            first: Notify::new(),
        }
    }

    /// Whether anyone wants traces.
    pub fn is_enabled(&self) -> bool {
        !self.exporters.load().is_empty()
    }

    /// Adds the one record that `write` appends to what it is given; `write` says whether it did.
    /// The end of the response waits for what is given back.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Hold> {
        if !self.is_enabled() {
            return None;
        }
        if let Some(spool) = &self.spool {
            return self.spool(&mut spool.borrow_mut(), write);
        }
        let open = &mut *self.open.borrow_mut();
        let start = open.bytes.len();
        if !write(&mut open.bytes) {
            open.bytes.truncate(start);
            return None;
        }
        open.records.push(start..open.bytes.len());
        if open.bytes.len() >= CHUNK_BYTES {
            self.publish(open);
        } else if open.records.len() == 1 {
            self.first.notify_one();
        }
        None
    }

    fn spool(&self, spool: &mut Writer, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Hold> {
        match spool.append(write) {
            Ok(hold) => {
                let open = &mut *self.open.borrow_mut();
                if !std::mem::replace(&mut open.spooled, true) {
                    self.first.notify_one();
                }
                hold
            }
            Err(reason) => {
                for exporter in self.exporters.load().iter() {
                    exporter.lose(reason);
                }
                None
            }
        }
    }

    /// Hands a trace that ended now to the local store, where there is one that has room for it;
    /// `write` appends its record, and says whether it did.
    pub(crate) fn keep(
        &self,
        priority: Priority,
        now: Instant,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        if self.local.keep(priority, now, write) {
            self.first.notify_one();
        }
    }

    /// Publishes what has been appended.
    pub fn flush(&self) {
        self.local.publish();
        self.publish(&mut self.open.borrow_mut());
    }

    /// Publishes what is appended a moment after the first of it, for ever: a task of the worker's
    /// own, so that no request sets a timer.
    pub async fn flush_loop(&self) {
        loop {
            self.first.notified().await;
            tokio::time::sleep(DELAY).await;
            self.flush();
        }
    }

    fn publish(&self, open: &mut Open) {
        if std::mem::take(&mut open.spooled) {
            self.exporters.load().iter().for_each(Sender::wake);
        }
        if open.records.is_empty() {
            return;
        }
        // What is queued takes no more memory than it needs.
        let bytes = if open.bytes.len() >= CHUNK_BYTES {
            std::mem::replace(&mut open.bytes, Vec::with_capacity(CAPACITY))
        } else {
            let bytes = open.bytes.clone();
            open.bytes.clear();
            bytes
        };
        let records = open.records.clone();
        open.records.clear();
        let chunk = Arc::new(Chunk::new(bytes, records));
        for exporter in self.exporters.load().iter() {
            exporter.send(&chunk);
        }
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
