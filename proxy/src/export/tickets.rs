//! Who waits for the messages of a chunk in memory: a ticket says what became of all of them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::lock::lock;

/// Somebody who waits. Dropped, it says that nobody knows.
pub(super) struct Ticket {
    done: oneshot::Sender<bool>,
    /// Kept until then.
    _keep: Box<dyn Any + Send>,
}

impl Ticket {
    /// The receiver gets true once all is acknowledged, false once something is lost.
    pub(super) fn new(keep: Box<dyn Any + Send>) -> (Self, oneshot::Receiver<bool>) {
        let (done, told) = oneshot::channel();
        (Self { done, _keep: keep }, told)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

/// The tickets of chunks that an exporter has taken.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<BTreeMap<u64, Open>>);

#[derive(Debug)]
struct Open {
    ticket: Ticket,
    /// Messages that are not settled, and one more until the chunk has been exported whole.
    open: u32,
    lost: bool,
}

impl Tickets {
    pub(super) fn begin(&self, chunk: u64, ticket: Ticket) {
        let open = Open {
            ticket,
            open: 1,
            lost: false,
        };
        lock(&self.0).insert(chunk, open);
    }

    pub(super) fn sent(&self, chunk: u64) {
        if let Some(open) = lock(&self.0).get_mut(&chunk) {
            open.open += 1;
        }
    }

    pub(super) fn settled(&self, chunk: u64, lost: bool) {
        let mut tickets = lock(&self.0);
        let Some(open) = tickets.get_mut(&chunk) else {
            return;
        };
        open.open -= 1;
        open.lost |= lost;
        if open.open == 0
            && let Some(Open { ticket, lost, .. }) = tickets.remove(&chunk)
        {
            drop(tickets);
            // Whoever asked may have left.
            let _ = ticket.done.send(!lost);
        }
    }

    /// Forgets all: what was sent is not heard of any more.
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_told_once_all_messages_are_acknowledged() {
        let tickets = Tickets::default();
        let (ticket, mut told) = Ticket::new(Box::new(()));
        tickets.begin(7, ticket);
        tickets.sent(7);
        tickets.sent(7);
        tickets.settled(7, false);
        tickets.settled(7, false);
        assert!(told.try_recv().is_err());
        tickets.settled(7, false);
        assert_eq!(told.try_recv(), Ok(true));
    }

    #[test]
    fn a_ticket_is_told_of_a_loss() {
        let tickets = Tickets::default();
        let (ticket, mut told) = Ticket::new(Box::new(()));
        tickets.begin(1, ticket);
        tickets.sent(1);
        tickets.settled(1, true);
        tickets.settled(1, false);
        assert_eq!(told.try_recv(), Ok(false));
    }

    #[test]
    fn what_is_forgotten_is_told_too() {
        let tickets = Tickets::default();
        let (ticket, told) = Ticket::new(Box::new(()));
        tickets.begin(1, ticket);
        tickets.clear();
        assert!(told.blocking_recv().is_err());
    }
}
