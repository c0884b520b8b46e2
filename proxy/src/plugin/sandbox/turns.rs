//! When guests go on that were interrupted: a few in each round of their worker, those first that
//! have waited for longest. What else is ready waits for those few, however many guests burn.
//!
//! A round is what a runtime does from one look at its sockets to the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most guests that go on in a round; each runs for about a tick of the engine's clock.
const GUESTS: usize = 3;

thread_local! {
    /// A worker's, which is a thread.
    static TURNS: Turns = Turns::default();
}

#[derive(Default)]
struct Turns {
    round: Cell<u64>,
    /// How many guests may still go on in it.
    left: Cell<usize>,
    /// Those that wait, by the numbers that they drew, and since when.
    waiting: RefCell<BTreeMap<u64, Instant>>,
    next: Cell<u64>,
}

/// Ends when a guest that was interrupted may go on. Cancel safe.
pub(super) async fn pause() {
    let place = Place::new();
    let mut seen = TURNS.with(|turns| turns.round.get());
    loop {
        // Goes on when what is ready has had its turn, and sockets were looked at.
        tokio::task::yield_now().await;
        if TURNS.with(|turns| turns.take(place.0, &mut seen)) {
            return;
        }
    }
}

/// How long the guest of this worker has waited that waits for the longest time.
pub fn longest_wait(now: Instant) -> Duration {
    TURNS.with(|turns| {
        let waiting = turns.waiting.borrow();
        let first = waiting.first_key_value();
        first.map_or(Duration::ZERO, |(_, since)| {
            now.saturating_duration_since(*since)
        })
    })
}

impl Turns {
    /// Whether this one goes on, in a round behind the one that it has seen.
    fn take(&self, place: u64, seen: &mut u64) -> bool {
        // Who comes first begins the round.
        if self.round.get() <= *seen {
            self.round.set(*seen + 1);
            self.left.set(GUESTS);
        }
        *seen = self.round.get();
        let left = self.left.get();
        let waiting = self.waiting.borrow();
        let earlier = waiting.range(..place).take(left).count();
        if earlier >= left {
            return false;
        }
        self.left.set(left - 1);
        true
    }
}

/// A guest's place among those that wait.
struct Place(u64);

impl Place {
    fn new() -> Self {
        TURNS.with(|turns| {
            let number = turns.next.get();
            turns.next.set(number + 1);
            turns.waiting.borrow_mut().insert(number, Instant::now());
            Self(number)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At the end of a thread there may be nobody left to wait with.
        let _ = TURNS.try_with(|turns| turns.waiting.borrow_mut().remove(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::runtime::LocalOptions;

    use super::*;

    /// As workers have it.
    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build_local(LocalOptions::default())
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn a_few_guests_go_on_between_two_turns_of_others_and_each_as_often() {
        const ALL: usize = 7 * GUESTS;
        const SLICES: usize = 10;
        run(async {
            let order: Rc<RefCell<Vec<usize>>> = Rc::default();
            let guests: Vec<_> = (0..ALL)
                .map(|guest| {
                    let order = Rc::clone(&order);
                    tokio::task::spawn_local(async move {
                        for _ in 0..SLICES {
                            pause().await;
                            order.borrow_mut().push(guest);
                        }
                    })
                })
                .collect();
            let mut most = 0;
            while guests.iter().any(|guest| !guest.is_finished()) {
                let before = order.borrow().len();
                tokio::task::yield_now().await;
                most = most.max(order.borrow().len() - before);
            }
            assert_eq!(most, GUESTS);
            let order = order.borrow();
            assert_eq!(order.len(), ALL * SLICES);
            for turn in order.chunks(ALL) {
                let each: std::collections::BTreeSet<_> = turn.iter().collect();
                assert_eq!(each.len(), ALL, "{turn:?}");
            }
        });
    }

    #[test]
    fn a_guest_that_is_given_up_holds_up_no_other() {
        run(async {
            let given_up: Vec<_> = (0..2 * GUESTS)
                .map(|_| tokio::task::spawn_local(pause()))
                .collect();
            let other = tokio::task::spawn_local(pause());
            // All wait now.
            while TURNS.with(|turns| turns.waiting.borrow().len()) < given_up.len() + 1 {
                tokio::task::yield_now().await;
            }
            given_up.iter().for_each(tokio::task::JoinHandle::abort);
            other.await.unwrap();
        });
        assert!(TURNS.with(|turns| turns.waiting.borrow().is_empty()));
    }
}
