//! When guests go on that were interrupted: one in each round of their worker, and that first that
//! has waited for longest. What else is ready waits for that one, however many guests burn, and
//! however many begin to: those of a plugin that has some waiting begin by turns too.
//!
//! A round is what a runtime does from one look at its sockets to the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

thread_local! {
    /// A worker's, which is a thread.
    static TURNS: Turns = Turns::default();
}

#[derive(Default)]
struct Turns {
    round: Cell<u64>,
    /// Whether a guest has gone on in it, which runs for about a tick of the engine's clock.
    taken: Cell<bool>,
    /// Those that wait, by the numbers that they drew.
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    next: Cell<u64>,
}

struct Waiting {
    since: Instant,
    plugin: u32,
}

/// Whether guests of this plugin wait, so that another call of it is not to begin before its turn.
pub(in crate::plugin) fn has_waiting(plugin: u32) -> bool {
    TURNS.with(|turns| turns.has_waiting(plugin))
}

/// Ends when a guest of this plugin that was interrupted, or is to begin, has its turn. Cancel safe.
pub(in crate::plugin) async fn pause(plugin: u32) {
    let place = Place::new(plugin);
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
        first.map_or(Duration::ZERO, |(_, waiting)| {
            now.saturating_duration_since(waiting.since)
        })
    })
}

impl Turns {
    fn has_waiting(&self, plugin: u32) -> bool {
        let waiting = self.waiting.borrow();
        waiting.values().any(|waiting| waiting.plugin == plugin)
    }

    /// Whether this one goes on, in a round behind the one that it has seen.
    fn take(&self, place: u64, seen: &mut u64) -> bool {
        // Who comes first begins the round.
        if self.round.get() <= *seen {
            self.round.set(*seen + 1);
            self.taken.set(false);
        }
        *seen = self.round.get();
        let waiting = self.waiting.borrow();
        let is_first = waiting.keys().next() == Some(&place);
        is_first && !self.taken.replace(true)
    }
}

/// A guest's place among those that wait.
struct Place(u64);

impl Place {
    fn new(plugin: u32) -> Self {
        let since = Instant::now();
        TURNS.with(|turns| {
            let number = turns.next.get();
            turns.next.set(number + 1);
            let waiting = Waiting { since, plugin };
            turns.waiting.borrow_mut().insert(number, waiting);
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
    fn one_guest_goes_on_between_two_turns_of_others_and_each_as_often() {
        const ALL: usize = 20;
        const SLICES: usize = 10;
        run(async {
            let order: Rc<RefCell<Vec<usize>>> = Rc::default();
            let guests: Vec<_> = (0..ALL)
                .map(|guest| {
                    let order = Rc::clone(&order);
                    tokio::task::spawn_local(async move {
                        for _ in 0..SLICES {
                            pause(0).await;
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
            assert_eq!(most, 1);
            let order = order.borrow();
            assert_eq!(order.len(), ALL * SLICES);
            for turn in order.chunks(ALL) {
                let each: std::collections::BTreeSet<_> = turn.iter().collect();
                assert_eq!(each.len(), ALL, "{turn:?}");
            }
        });
    }

    #[test]
    fn guests_of_a_plugin_that_burns_begin_by_turns_and_those_of_others_at_once() {
        const BURNS: u32 = 1;
        run(async {
            let slices = Rc::new(Cell::new(0));
            let come = |slices: &Rc<Cell<usize>>| {
                let slices = Rc::clone(slices);
                tokio::task::spawn_local(async move {
                    if has_waiting(BURNS) {
                        pause(BURNS).await;
                    }
                    slices.set(slices.get() + 1);
                    pause(BURNS).await;
                    slices.set(slices.get() + 1);
                })
            };
            let mut guests = Vec::new();
            for _ in 0..20 {
                guests.extend((0..10).map(|_| come(&slices)));
                let before = slices.get();
                tokio::task::yield_now().await;
                // One that no other waited for yet, and one whose turn it was.
                let gone_on = slices.get() - before;
                assert!(gone_on <= 2, "{gone_on}");
                assert!(!has_waiting(BURNS + 1));
            }
            for guest in guests {
                guest.await.unwrap();
            }
        });
    }

    #[test]
    fn a_guest_that_is_given_up_holds_up_no_other() {
        run(async {
            let given_up: Vec<_> = (0..6).map(|_| tokio::task::spawn_local(pause(0))).collect();
            let other = tokio::task::spawn_local(pause(0));
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
