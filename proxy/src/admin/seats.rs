//! Who is connected to the admin address: at most so many, and whoever comes is among them.
//!
//! Where all seats are taken the oldest gives its own up, because who only sits there must not keep
//! probes, metrics and operators out. One that is being answered, or follows traces, is the last to go.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

/// Most connections at a time: who reaches this address takes no more of the process's descriptors,
/// which the listeners' clients need.
const MOST: usize = 256;

/// Those that are taken, the oldest first.
#[derive(Default)]
pub(super) struct Seats(Vec<Weak<Seat>>);

/// A connection's; free again when it is dropped.
#[derive(Default)]
pub(super) struct Seat {
    busy: AtomicBool,
    wanted: Notify,
}

/// While it is held, others go before its seat's connection.
pub(super) struct Busy(Arc<Seat>);

impl Seats {
    /// Takes a seat: another's where none is free.
    pub(super) fn take(&mut self) -> Arc<Seat> {
        self.0.retain(|seat| seat.strong_count() > 0);
        if self.0.len() >= MOST {
            let idle = |seat: &Weak<Seat>| seat.upgrade().is_none_or(|seat| !seat.is_busy());
            let oldest = self.0.iter().position(idle).unwrap_or(0);
            if let Some(seat) = self.0.remove(oldest).upgrade() {
                tracing::debug!("an admin connection ends for the next");
                seat.wanted.notify_one();
            }
        }
        let seat = Arc::default();
        self.0.push(Arc::downgrade(&seat));
        seat
    }
}

impl Seat {
    /// For a request of somebody who may come in.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Relaxed);
        Busy(Arc::clone(self))
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Returns when another needs it.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_wanted(seat: &Seat) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(seat.wanted()).poll(&mut cx).is_ready()
    }

    #[test]
    fn the_oldest_goes_and_who_is_busy_last() {
        let mut seats = Seats::default();
        let mut taken: Vec<_> = (0..MOST).map(|_| seats.take()).collect();
        assert!(!taken.iter().any(|seat| is_wanted(seat)));
        let first = taken[0].busy();
        taken.push(seats.take());
        let wanted: Vec<_> = taken.iter().map(|seat| is_wanted(seat)).collect();
        assert!(wanted[1]);
        assert_eq!(wanted.iter().filter(|wanted| **wanted).count(), 1);
        // Then it is as any other.
        drop(first);
        taken.push(seats.take());
        assert!(is_wanted(&taken[0]));
        assert_eq!(seats.0.len(), MOST);
    }

    #[test]
    fn where_all_are_busy_who_comes_has_a_seat_too() {
        let mut seats = Seats::default();
        let taken: Vec<_> = (0..MOST).map(|_| seats.take()).collect();
        let _busy: Vec<_> = taken.iter().map(Seat::busy).collect();
        let _last = seats.take();
        assert!(is_wanted(&taken[0]));
    }

    #[test]
    fn a_seat_that_is_given_up_is_taken_before_anothers() {
        let mut seats = Seats::default();
        let mut taken: Vec<_> = (0..MOST).map(|_| seats.take()).collect();
        taken.pop();
        taken.push(seats.take());
        assert!(!taken.iter().any(|seat| is_wanted(seat)));
    }
}
