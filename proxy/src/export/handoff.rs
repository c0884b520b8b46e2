//! Where a worker leaves its finished traces.
//!
//! Records are appended to the worker's own chunk: no lock, no system call. A chunk is published to
//! all exporters when it is full, a moment after its first record, and when the worker ends. This is
//! the one place that traces pass on their way out, and the place of the spool: there the chunk
//! becomes a mapped segment.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::queue::{Chunk, Sender};

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
    first: Notify,
}

/// The chunk under way.
struct Open {
    bytes: Vec<u8>,
    records: u32,
}

impl Handoff {
    pub(super) fn new(exporters: Set) -> Self {
        Self {
            exporters,
            open: RefCell::new(Open {
                bytes: Vec::with_capacity(CAPACITY),
                records: 0,
            }),
            first: Notify::new(),
        }
    }

    /// Whether anyone wants traces.
    pub fn is_enabled(&self) -> bool {
        !self.exporters.load().is_empty()
    }

    /// Adds the one record that `write` appends to what it is given; `write` says whether it did.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        if !self.is_enabled() {
            return;
        }
        let mut open = self.open.borrow_mut();
        let at = open.bytes.len();
        open.bytes.extend_from_slice(&[0; 4]);
        let written = write(&mut open.bytes);
        let len = u32::try_from(open.bytes.len() - at - 4);
        let (true, Ok(len)) = (written, len) else {
            open.bytes.truncate(at);
            return;
        };
        open.bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
        open.records += 1;
        if open.bytes.len() >= CHUNK_BYTES {
            self.publish(&mut open);
        } else if open.records == 1 {
            self.first.notify_one();
        }
    }

    /// Publishes what has been appended.
    pub fn flush(&self) {
        self.publish(&mut self.open.borrow_mut());
    }

    /// Publishes each chunk a moment after its first record, for ever: a task of the worker's own,
    /// so that no request sets a timer.
    pub async fn flush_loop(&self) {
        loop {
            self.first.notified().await;
            tokio::time::sleep(DELAY).await;
            self.flush();
        }
    }

    fn publish(&self, open: &mut Open) {
        if open.records == 0 {
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
        let chunk = Arc::new(Chunk::new(bytes, std::mem::take(&mut open.records)));
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
