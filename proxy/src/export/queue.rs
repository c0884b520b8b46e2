//! The way from the workers to one exporter: chunks of records, bounded in bytes.
//!
//! Sending never waits. A chunk that has no room is dropped for this exporter alone, and its
//! records are counted.

use std::ops::Range;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::status::{Meter, Reason};
use super::tickets::Ticket;
use crate::lock::lock;

/// Records of one worker, in order.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    /// Of who waits for it, until it is taken.
    ticket: Mutex<Option<Ticket>>,
}

impl Chunk {
    /// `records` lie within `bytes`.
    pub(super) fn new(bytes: Vec<u8>, records: Vec<Range<usize>>) -> Self {
        Self {
            bytes,
            records,
            ticket: Mutex::new(None),
        }
    }

    pub(super) fn with_ticket(self, ticket: Ticket) -> Self {
        Self {
            ticket: Mutex::new(Some(ticket)),
            ..self
        }
    }

    pub(super) fn take_ticket(&self) -> Option<Ticket> {
        lock(&self.ticket).take()
    }

    /// Memory that the chunk holds.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<Range<usize>>()
    }

    pub(super) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records
            .iter()
            .filter_map(|record| self.bytes.get(record.clone()))
    }
}

/// A queue that holds at most `limit` bytes, as `meter` counts them.
pub(super) fn bounded(limit: usize, meter: Arc<Meter>) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel();
    let sender = Sender {
        chunks: sender,
        meter: meter.clone(),
        limit,
    };
    let receiver = Receiver {
        chunks: receiver,
        meter,
    };
    (sender, receiver)
}

#[derive(Clone, Debug)]
pub(super) struct Sender {
    chunks: mpsc::Sender<Arc<Chunk>>,
    meter: Arc<Meter>,
    limit: usize,
}

impl Sender {
    pub(super) fn send(&self, chunk: &Arc<Chunk>) {
        if let Err(reason) = self.offer(chunk) {
            self.meter.lose(reason, chunk.len());
        }
    }

    /// As [`Sender::send`]; the error is why it was not taken.
    pub(super) fn offer(&self, chunk: &Arc<Chunk>) -> Result<(), Reason> {
        if !self.meter.queue.try_add(chunk.size(), self.limit) {
            return Err(Reason::BufferFull);
        }
        self.chunks.send(chunk.clone()).map_err(|_| {
            self.meter.queue.subtract(chunk.size());
            Reason::Shutdown
        })
    }
}

#[derive(Debug)]
pub(super) struct Receiver {
    chunks: mpsc::Receiver<Arc<Chunk>>,
    meter: Arc<Meter>,
}

impl Receiver {
    /// Waits for a chunk; `Disconnected` once the exporter has been taken from the set and all
    /// that was sent before has been received.
    pub(super) fn recv(&self, timeout: Duration) -> Result<Arc<Chunk>, RecvTimeoutError> {
        self.chunks
            .recv_timeout(timeout)
            .inspect(|chunk| self.meter.queue.subtract(chunk.size()))
    }

    pub(super) fn try_recv(&self) -> Result<Arc<Chunk>, TryRecvError> {
        self.chunks
            .try_recv()
            .inspect(|chunk| self.meter.queue.subtract(chunk.size()))
    }
}
