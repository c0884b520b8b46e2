//! The one kind of source that exporters take traces from, whether these wait in memory or in the
//! spool.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::queue::{self, Chunk};
use super::spool::{Ledger, Reader, Store};
use super::status::{Meter, Reason};

/// Bits for the records of a chunk and for the messages of a record; those past their number, far
/// more than there are, share a place.
const RECORDS: u32 = 14;
const PARTS: u32 = 10;

/// The workers' side of one exporter.
#[derive(Clone, Debug)]
pub(super) enum Sender {
    Memory(queue::Sender),
    Spool(Waker),
}

/// Tells an exporter that there is something in the spool.
#[derive(Clone, Debug)]
pub(super) struct Waker {
    wake: SyncSender<()>,
    meter: Arc<Meter>,
}

impl Sender {
    /// A chunk is there: this one, where it waits in memory.
    pub(super) fn send(&self, chunk: &Arc<Chunk>) {
        if let Self::Memory(queue) = self {
            queue.send(chunk);
        }
    }

    /// Something was appended to the spool.
    pub(super) fn wake(&self) {
        if let Self::Spool(waker) = self {
            // Where it is full, the exporter is about to look already.
            let _ = waker.wake.try_send(());
        }
    }

    /// A trace could not be appended to the spool.
    pub(super) fn lose(&self, reason: Reason) {
        if let Self::Spool(waker) = self {
            waker.meter.lose(reason, 1);
        }
    }
}

/// The exporter's side.
#[derive(Debug)]
pub(super) struct Source {
    kind: Kind,
    /// Chunks taken from memory.
    taken: Cell<u64>,
}

#[derive(Debug)]
enum Kind {
    Memory(queue::Receiver, Arc<Meter>),
    Spool(Box<Reader>),
}

/// A chunk to export. Its messages are settled one by one, the chunk when it was exported whole.
pub(super) struct Taken {
    pub(super) chunk: Arc<Chunk>,
    number: u64,
}

impl Taken {
    /// The place of a record's first message.
    pub(super) fn place(&self, record: usize) -> Place {
        let record = (record as u64).min((1 << RECORDS) - 1);
        Place((self.number << RECORDS | record) << PARTS)
    }
}

/// The place of a message among all that an exporter sends. Places grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    /// Of another message of the same record.
    pub(super) fn part(self, index: usize) -> Self {
        Self(self.trace().0 | (index as u64).min((1 << PARTS) - 1))
    }

    /// Of the record's first message: what all messages of one trace have in common.
    pub(super) fn trace(self) -> Self {
        Self(self.0 >> PARTS << PARTS)
    }

    fn chunk(self) -> u64 {
        self.0 >> (RECORDS + PARTS)
    }

    #[cfg(test)]
    pub(super) fn of_record(record: u64) -> Self {
        Self(record << PARTS)
    }
}

/// Hears what became of messages.
#[derive(Clone, Debug)]
pub(super) struct Settled(Option<Arc<Ledger>>);

impl Settled {
    /// A message of this place was sent.
    pub(super) fn sent(&self, place: Place) {
        if let Some(ledger) = &self.0 {
            ledger.sent(place.chunk());
        }
    }

    /// A message of this place was acknowledged, or will never be; or a chunk was exported whole.
    pub(super) fn settled(&self, place: Place) {
        if let Some(ledger) = &self.0 {
            ledger.settled(place.chunk());
        }
    }
}

/// A bounded queue in memory.
pub(super) fn memory(limit: usize, meter: &Arc<Meter>) -> (Sender, Source) {
    let (sender, receiver) = queue::bounded(limit, meter.clone());
    let kind = Kind::Memory(receiver, meter.clone());
    (Sender::Memory(sender), Source::new(kind))
}

/// An exporter's way through the spool. Once `leave` is set, it takes no more.
pub(super) fn spool(
    store: &Arc<Store>,
    exporter: &str,
    meter: &Arc<Meter>,
    leave: &Arc<AtomicBool>,
) -> (Sender, Source) {
    let (wake, woken) = mpsc::sync_channel(1);
    let reader = Reader::new(store.clone(), exporter, meter.clone(), woken, leave.clone());
    let waker = Waker {
        wake,
        meter: meter.clone(),
    };
    (
        Sender::Spool(waker),
        Source::new(Kind::Spool(Box::new(reader))),
    )
}

impl Source {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            taken: Cell::new(0),
        }
    }

    /// To be called before anything is taken, and again after an exporter that broke down.
    pub(super) fn begin(&self) {
        if let Kind::Spool(reader) = &self.kind {
            reader.begin();
        }
    }

    /// Waits for a chunk; `Disconnected` once there will be none.
    pub(super) fn recv(&self, timeout: Duration) -> Result<Taken, RecvTimeoutError> {
        match &self.kind {
            Kind::Memory(queue, _) => queue.recv(timeout).map(|chunk| self.count(chunk)),
            Kind::Spool(reader) => reader
                .recv(timeout)
                .map(|(chunk, number)| Taken { chunk, number }),
        }
    }

    /// A chunk, if there is one now.
    pub(super) fn try_recv(&self) -> Option<Taken> {
        match &self.kind {
            Kind::Memory(queue, _) => queue.try_recv().ok().map(|chunk| self.count(chunk)),
            Kind::Spool(reader) => reader
                .try_recv()
                .map(|(chunk, number)| Taken { chunk, number }),
        }
    }

    fn count(&self, chunk: Arc<Chunk>) -> Taken {
        let number = self.taken.get();
        self.taken.set(number + 1);
        Taken { chunk, number }
    }

    pub(super) fn settled(&self) -> Settled {
        match &self.kind {
            Kind::Memory(..) => Settled(None),
            Kind::Spool(reader) => Settled(Some(reader.ledger().clone())),
        }
    }

    /// Remembers what is settled; at once where that is asked for.
    pub(super) fn save(&self, now: bool) {
        if let Kind::Spool(reader) = &self.kind {
            reader.save(now);
        }
    }

    /// Whether what is not delivered will be, by another run of Weir.
    pub(super) fn is_durable(&self) -> bool {
        matches!(self.kind, Kind::Spool(_))
    }

    /// Whether nothing waits in memory.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Memory(_, meter) => meter.queue.get() == 0,
            Kind::Spool(_) => true,
        }
    }

    /// Counts what still waits as lost, where it is.
    pub(super) fn abandon(&self) {
        if let Kind::Memory(queue, meter) = &self.kind {
            while let Ok(chunk) = queue.try_recv() {
                meter.lose(Reason::Shutdown, chunk.len());
            }
        }
        self.save(true);
    }

    /// Holds nothing back any more, unless a successor goes on.
    pub(super) fn forget(&self) {
        if let Kind::Spool(reader) = &self.kind {
            reader.forget();
        }
    }
}

/// Tells a reader to leave what it has not taken to its successor.
pub(super) fn leave(leave: &AtomicBool) {
    leave.store(true, Ordering::Relaxed);
}
