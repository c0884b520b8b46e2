//! When guests go on that were interrupted: one after the other, that first that has waited for longest,
//! and in between the worker has its turn. What else is ready waits for that one, however many guests
//! burn, and however many begin to: while some of a plugin wait that were interrupted, its further calls
//! wait behind them. Those that are short go on together.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long guests may begin to go on, one behind the other, before sockets are looked at: one that burns
/// uses that up alone, which runs for about a tick of the engine's clock.
const TURN: Duration = Duration::from_micros(500);

thread_local! {
    /// A worker's, which is a thread.
    static TURNS: Turns = Turns::default();
}

#[derive(Default)]
struct Turns {
    /// Those that wait, by the numbers that they drew.
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    next: Cell<u64>,
    /// Plugins of those that were interrupted, and how many of each wait.
    interrupted: RefCell<Vec<(u32, usize)>>,
    /// When the turn began in which guests go on.
    began: Cell<Option<Instant>>,
}

struct Waiting {
    since: Instant,
    /// Woken when it is the first.
    waker: Option<Waker>,
}

/// Whether guests of this plugin wait that were interrupted, so that another call of it is to wait too.
pub(in crate::plugin) fn has_waiting(plugin: u32) -> bool {
    TURNS.with(|turns| {
        let interrupted = turns.interrupted.borrow();
        interrupted.iter().any(|(other, _)| *other == plugin)
    })
}

/// Ends when a guest of this plugin that was interrupted may go on. Cancel safe.
pub(super) async fn pause(plugin: u32) {
    turn(Place::new(Some(plugin))).await;
}

/// Ends when a call that waits behind guests that were interrupted may begin. Cancel safe.
pub(in crate::plugin) async fn begin() {
    turn(Place::new(None)).await;
}

async fn turn(place: Place) {
    poll_fn(|cx| {
        TURNS.with(|turns| {
            let mut waiting = turns.waiting.borrow_mut();
            if waiting.keys().next() == Some(&place.number) {
                return Poll::Ready(());
            }
            if let Some(own) = waiting.get_mut(&place.number) {
                own.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    })
    .await;
    let is_over = |began: Instant| began.elapsed() >= TURN;
    if TURNS.with(|turns| turns.began.get().is_none_or(is_over)) {
        // Goes on when what is ready has had its turn, and sockets were looked at.
        tokio::task::yield_now().await;
        TURNS.with(|turns| turns.began.set(Some(Instant::now())));
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

/// A guest's place among those that wait.
struct Place {
    number: u64,
    /// The plugin, of one that was interrupted.
    interrupted: Option<u32>,
}

impl Place {
    fn new(interrupted: Option<u32>) -> Self {
        let since = Instant::now();
        TURNS.with(|turns| {
            let number = turns.next.get();
            turns.next.set(number + 1);
            let waiting = Waiting { since, waker: None };
            turns.waiting.borrow_mut().insert(number, waiting);
            if let Some(plugin) = interrupted {
                let mut all = turns.interrupted.borrow_mut();
                match all.iter_mut().find(|(other, _)| *other == plugin) {
                    Some((_, count)) => *count += 1,
                    None => all.push((plugin, 1)),
                }
            }
            Self {
                number,
                interrupted,
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At the end of a thread there may be nobody left to wait with.
        let next = TURNS.try_with(|turns| {
            if let Some(plugin) = self.interrupted {
                let mut all = turns.interrupted.borrow_mut();
                all.retain_mut(|(other, count)| {
                    *count -= usize::from(*other == plugin);
                    *count > 0
                });
            }
            let mut waiting = turns.waiting.borrow_mut();
            waiting.remove(&self.number);
            let mut first = waiting.first_entry()?;
            first.get_mut().waker.take()
        });
        if let Ok(Some(waker)) = next {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::runtime::LocalOptions;

    use super::*;

    const BURNS: u32 = 1;

    /// As workers have it.
    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build_local(LocalOptions::default())
            .unwrap()
            .block_on(future)
    }

    /// Runs for as long as a turn takes.
    fn burn() {
        TURNS.with(|turns| turns.began.set(None));
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
                            pause(BURNS).await;
                            order.borrow_mut().push(guest);
                            burn();
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
        run(async {
            let slices = Rc::new(Cell::new(0));
            let come = |slices: &Rc<Cell<usize>>| {
                let slices = Rc::clone(slices);
                tokio::task::spawn_local(async move {
                    if has_waiting(BURNS) {
                        begin().await;
                    }
                    slices.set(slices.get() + 1);
                    burn();
                    pause(BURNS).await;
                    slices.set(slices.get() + 1);
                    burn();
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
            assert!(!has_waiting(BURNS));
        });
    }

    #[test]
    fn calls_that_are_short_begin_together_once_who_was_interrupted_went_on() {
        const CALLS: usize = 200;
        run(async {
            let burner = tokio::task::spawn_local(pause(BURNS));
            tokio::task::yield_now().await;
            assert!(has_waiting(BURNS));
            let calls: Vec<_> = (0..CALLS)
                .map(|_| tokio::task::spawn_local(begin()))
                .collect();
            let mut turns = 0;
            while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
                tokio::task::yield_now().await;
                turns += 1;
            }
            assert!(turns < CALLS / 2, "{turns}");
            assert!(burner.is_finished());
        });
        assert!(!has_waiting(BURNS));
    }

    #[test]
    fn a_guest_that_is_given_up_holds_up_no_other() {
        run(async {
            let given_up: Vec<_> = (0..6)
                .map(|_| tokio::task::spawn_local(pause(BURNS)))
                .collect();
            let other = tokio::task::spawn_local(pause(BURNS));
            // All wait now.
            while TURNS.with(|turns| turns.waiting.borrow().len()) < given_up.len() + 1 {
                tokio::task::yield_now().await;
            }
            given_up.iter().for_each(tokio::task::JoinHandle::abort);
            other.await.unwrap();
        });
        assert!(TURNS.with(|turns| turns.waiting.borrow().is_empty()));
        assert!(!has_waiting(BURNS));
    }
}
