//! The one kind of source that exporters take traces from, whether these wait in memory or in the
//! spool.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::prepared::Origin;
use super::queue::{self, Chunk};
use super::spool::{Ledger, Reader, Store};
use super::status::{Meter, Reason};
use super::tickets::Tickets;

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
    Memory(queue::Receiver, Arc<Meter>, Option<Arc<Tickets>>),
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
        Place {
            chunk: self.number,
            record: record.try_into().unwrap_or(u32::MAX),
            part: 0,
            origin: 0,
        }
    }
}

/// The place of a message among all that an exporter sends. Places grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    chunk: u64,
    record: u32,
    part: u32,
    /// Of the record, so that it tells no two places apart.
    origin: Origin,
}

impl Place {
    /// Of a record that came by this way.
    pub(super) fn of(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    pub(super) fn origin(self) -> Origin {
        self.origin
    }

    /// Of another message of the same record.
    pub(super) fn part(self, index: usize) -> Self {
        Self {
            part: index.try_into().unwrap_or(u32::MAX),
            ..self
        }
    }

    /// Of the record's first message: what all messages of one trace have in common.
    pub(super) fn trace(self) -> Self {
        self.part(0)
    }

    #[cfg(test)]
    pub(super) fn of_record(record: u32) -> Self {
        Self {
            chunk: 0,
            record,
            part: 0,
            origin: 0,
        }
    }
}

/// Hears what became of messages.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    /// Nobody else cares.
    Nobody,
    Spool(Arc<Ledger>),
    Tickets(Arc<Tickets>),
}

impl Settled {
    /// A message of this place was sent.
    pub(super) fn sent(&self, place: Place) {
        match self {
            Self::Nobody => {}
            Self::Spool(ledger) => ledger.sent(place.chunk),
            Self::Tickets(tickets) => tickets.sent(place.chunk),
        }
    }

    /// A message of this place is safe where it was to go, or kept elsewhere; or a chunk was
    /// exported whole.
    pub(super) fn settled(&self, place: Place) {
        self.settle(place, false);
    }

    /// A message of this place is lost.
    pub(super) fn lost(&self, place: Place) {
        self.settle(place, true);
    }

    fn settle(&self, place: Place, lost: bool) {
        match self {
            Self::Nobody => {}
            Self::Spool(ledger) => ledger.settled(place.chunk),
            Self::Tickets(tickets) => tickets.settled(place.chunk, lost),
        }
    }
}

/// A bounded queue in memory; with `tickets`, whose chunks may have one.
pub(super) fn memory(limit: usize, meter: &Arc<Meter>, tickets: bool) -> (Sender, Source) {
    let (sender, receiver) = queue::bounded(limit, meter.clone());
    let tickets = tickets.then(Arc::default);
    let kind = Kind::Memory(receiver, meter.clone(), tickets);
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
        match &self.kind {
            Kind::Spool(reader) => reader.begin(),
            Kind::Memory(_, _, tickets) => tickets.iter().for_each(|tickets| tickets.clear()),
        }
    }

    /// Waits for a chunk; `Disconnected` once there will be none.
    pub(super) fn recv(&self, timeout: Duration) -> Result<Taken, RecvTimeoutError> {
        match &self.kind {
            Kind::Memory(queue, ..) => queue.recv(timeout).map(|chunk| self.count(chunk)),
            Kind::Spool(reader) => reader
                .recv(timeout)
                .map(|(chunk, number)| Taken { chunk, number }),
        }
    }

    /// A chunk, if there is one now.
    pub(super) fn try_recv(&self) -> Option<Taken> {
        match &self.kind {
            Kind::Memory(queue, ..) => queue.try_recv().ok().map(|chunk| self.count(chunk)),
            Kind::Spool(reader) => reader
                .try_recv()
                .map(|(chunk, number)| Taken { chunk, number }),
        }
    }

    fn count(&self, chunk: Arc<Chunk>) -> Taken {
        let number = self.taken.get();
        self.taken.set(number + 1);
        if let Kind::Memory(_, _, Some(tickets)) = &self.kind
            && let Some(ticket) = chunk.take_ticket()
        {
            tickets.begin(number, ticket);
        }
        Taken { chunk, number }
    }

    pub(super) fn settled(&self) -> Settled {
        match &self.kind {
            Kind::Memory(_, _, None) => Settled::Nobody,
            Kind::Memory(_, _, Some(tickets)) => Settled::Tickets(tickets.clone()),
            Kind::Spool(reader) => Settled::Spool(reader.ledger().clone()),
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
            Kind::Memory(_, meter, _) => meter.queue.get() == 0,
            Kind::Spool(_) => true,
        }
    }

    /// Counts what still waits as lost, where it is.
    pub(super) fn abandon(&self) {
        if let Kind::Memory(queue, meter, _) = &self.kind {
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
