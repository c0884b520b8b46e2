//! A receiver's way to its exporter: what is taken here is safe, or the receiver is told why not.
//!
//! With a spool it is safe once it was appended. Without one, it is once Kafka has acknowledged it,
//! so that a request's records are a chunk of their own, with a ticket.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::Exporters;
use super::queue::Chunk;
use super::source::Sender;
use super::spool::{Hold, Writer};
use super::status::Reason;
use super::tickets::Ticket;

/// Longest time from an append to the spool until the exporter is told.
const DELAY: Duration = Duration::from_millis(10);

/// One worker's way to one exporter, which is the only one of its set.
pub struct Outlet {
    exporters: Arc<Exporters>,
    /// Made with the first record, as it takes room on the disk.
    writer: RefCell<Option<Writer>>,
    spooled: Cell<bool>,
    first: Notify,
}

impl Outlet {
    pub fn new(exporters: Arc<Exporters>) -> Self {
        Self {
            exporters,
            writer: RefCell::default(),
            spooled: Cell::new(false),
            first: Notify::new(),
        }
    }

    /// Whether there is a spool to append to.
    pub fn is_durable(&self) -> bool {
        self.exporters.threads.spool.is_some()
    }

    /// Appends the record that `write` adds to what it is given. It is safe when what is given back
    /// has been waited for.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Result<Option<Hold>, Reason> {
        let Some(spool) = &self.exporters.threads.spool else {
            return Err(Reason::SpoolFailed);
        };
        let mut writer = self.writer.borrow_mut();
        let writer = writer.get_or_insert_with(|| spool.writer());
        let hold = writer.append(|out| {
            write(out);
            true
        })?;
        if !self.spooled.replace(true) {
            self.first.notify_one();
        }
        Ok(hold)
    }

    /// Queues records in memory; tells whether Kafka has acknowledged them all. `keep` is dropped
    /// when that is known, whether or not anybody still asks.
    pub fn send(
        &self,
        bytes: Vec<u8>,
        records: Vec<Range<usize>>,
        keep: Box<dyn Any + Send>,
    ) -> Result<oneshot::Receiver<bool>, Reason> {
        let (ticket, told) = Ticket::new(keep);
        let chunk = Arc::new(Chunk::new(bytes, records).with_ticket(ticket));
        match self.exporters.set.load().first() {
            Some(Sender::Memory(queue)) => queue.offer(&chunk)?,
            _ => return Err(Reason::Shutdown),
        }
        Ok(told)
    }

    /// Tells the exporter of what was appended a moment after the first of it, for ever.
    pub async fn wake_loop(&self) {
        loop {
            self.first.notified().await;
            tokio::time::sleep(DELAY).await;
            self.spooled.set(false);
            self.exporters.set.load().iter().for_each(Sender::wake);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.exporters.set.load().iter().for_each(Sender::wake);
    }
}
