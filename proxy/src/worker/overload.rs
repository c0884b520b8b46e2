//! Whether a worker is behind with its work, so that new requests are refused before they wait.
//!
//! A tick that is due comes late by as long as whatever is ready waits for its turn: for any request,
//! at each of its steps. Work that comes in a burst makes ticks late for a while; only where there is
//! more of it than the worker can do are all of them late, for longer than a burst takes. So what
//! counts is the least lateness over an interval (as in `CoDel`, RFC 8289). Once that is above the
//! target, requests are refused whenever the last tick was later than it; so much gets through as
//! keeps the worker busy, and late by about the target.
//!
//! A refusal that waits behind the work of others would come as late as that. So while a worker is late,
//! requests queue for their turn once they are admitted, and again before their response hooks; turns
//! are given one by one, and sockets are looked at in between. By then a request that waits for longer
//! than the target is what makes the worker late.
//!
//! Ticks come only while there are requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::Worker;
use crate::plugin;

/// From one tick to the next.
const TICK: Duration = Duration::from_millis(5);

/// For how long all ticks must be late, or none, for the verdict to change.
const INTERVAL: Duration = Duration::from_millis(500);

/// So many ticks without a request, and there are no more of them.
const IDLE: u32 = 200;

/// Rounds that are shorter than this have one more look at sockets than is needed.
const ROUND: Duration = Duration::from_micros(500);

/// Most turns of such a round.
const MOST: usize = 32;

/// Most turns of a round after a longer one.
const FEW: usize = 4;

/// What of a request has to wait for its turn.
#[derive(Clone, Copy)]
pub enum Work {
    Request,
    /// Goes first: who is served first leaves first.
    Response,
}

struct Waiting {
    since: Instant,
    go_on: oneshot::Sender<()>,
}

/// What requests ask.
#[derive(Default)]
pub struct Overload {
    refuses: Cell<bool>,
    /// Whether requests wait for their turn.
    queues: Cell<bool>,
    /// By [`Work`], each in the order in which they came.
    waiting: [RefCell<VecDeque<Waiting>>; 2],
    waits: Notify,
    /// Whether a request came since the last tick.
    asked: Cell<bool>,
    wanted: Notify,
}

impl Overload {
    /// Whether a request that has just come is to be refused.
    pub fn refuses(&self) -> bool {
        if !self.asked.replace(true) {
            self.wanted.notify_one();
        }
        self.refuses.get()
    }

    /// Waits for a request's turn while the worker is late. Whether it had to.
    pub async fn turn(&self, work: Work) -> bool {
        if !self.queues.get() {
            return false;
        }
        let (go_on, turn) = oneshot::channel();
        let since = Instant::now();
        self.waiting[work as usize]
            .borrow_mut()
            .push_back(Waiting { since, go_on });
        self.waits.notify_one();
        // It is told for as long as the worker lives.
        let _ = turn.await;
        true
    }

    /// Gives turns for as long as the worker lives.
    pub(super) async fn give_turns(&self) {
        loop {
            self.waits.notified().await;
            let mut turns = 1;
            while self.give(turns) {
                let begun = Instant::now();
                // Goes on when what is ready has had its turn, and sockets were looked at.
                tokio::task::yield_now().await;
                turns = after_round(turns, begun.elapsed());
            }
        }
    }

    /// Gives so many turns. False where nobody waits.
    fn give(&self, turns: usize) -> bool {
        (0..turns).take_while(|_| self.give_one()).count() > 0
    }

    fn give_one(&self) -> bool {
        let next = || {
            let mut queues = self.waiting.iter().rev();
            queues.find_map(|queue| queue.borrow_mut().pop_front())
        };
        // Whoever has left is passed over.
        std::iter::from_fn(next).any(|waiting| waiting.go_on.send(()).is_ok())
    }

    /// How long the request has waited that waits for the longest time.
    fn longest_wait(&self, now: Instant) -> Duration {
        let queues = self.waiting.iter();
        let first = queues.filter_map(|queue| queue.borrow().front().map(|first| first.since));
        first
            .min()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// How many turns the next round has, where the last one had so many and took so long: one, or as many
/// as it missed where others kept the worker busy, up to a few; more where there is little to do in each.
fn after_round(turns: usize, took: Duration) -> usize {
    if took < ROUND {
        return (turns * 2).min(MOST);
    }
    // What was given last took its part of that: to give as much again would let go all at once.
    usize::try_from(took.as_millis()).map_or(1, |missed| missed.clamp(1, FEW))
}

/// Ticks for as long as the worker lives.
pub(super) async fn watch(worker: &Worker) {
    let Overload {
        refuses,
        queues,
        asked,
        wanted,
        ..
    } = &worker.overload;
    loop {
        wanted.notified().await;
        let mut verdict = Verdict::at(Instant::now());
        let mut idle = 0;
        while idle < IDLE {
            let due = Instant::now() + TICK;
            tokio::time::sleep_until(due.into()).await;
            let now = Instant::now();
            let tick = now.saturating_duration_since(due);
            // What is put off so that sockets are looked at is work that waits too.
            let put_off = worker
                .overload
                .longest_wait(now)
                .max(plugin::longest_wait(now));
            let lateness = tick.max(put_off);
            worker.cells().lateness.record(lateness);
            let target = worker.generation().config.overload;
            let late = target.is_some_and(|target| lateness > target);
            refuses.set(verdict.tick(now, late));
            queues.set(late || verdict.overloaded);
            idle = if asked.take() { 0 } else { idle + 1 };
        }
        refuses.set(false);
        queues.set(false);
    }
}

struct Verdict {
    /// Whether the last tick was later than the target, and since when all were as it.
    late: bool,
    since: Instant,
    overloaded: bool,
}

impl Verdict {
    fn at(now: Instant) -> Self {
        Self {
            late: false,
            since: now,
            overloaded: false,
        }
    }

    /// A tick has come. Whether requests are to be refused until the next one.
    fn tick(&mut self, now: Instant, late: bool) -> bool {
        if late != self.late {
            (self.late, self.since) = (late, now);
        }
        if now.saturating_duration_since(self.since) >= INTERVAL {
            self.overloaded = late;
        }
        self.overloaded && late
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// What comes of ticks with these latenesses in milliseconds, where the target is 20.
    fn ticks(latenesses: impl IntoIterator<Item = u64>) -> Vec<bool> {
        let mut now = Instant::now();
        let mut verdict = Verdict::at(now);
        let one = |millis| {
            let lateness = Duration::from_millis(millis);
            now += TICK + lateness;
            verdict.tick(now, lateness > Duration::from_millis(20))
        };
        latenesses.into_iter().map(one).collect()
    }

    fn any(ticks: &[bool]) -> bool {
        ticks.contains(&true)
    }

    #[test]
    fn a_worker_that_is_in_time_refuses_nothing() {
        assert!(!any(&ticks([0; 1000])));
        assert!(!any(&ticks([20; 1000])));
    }

    /// Ticks from the first late one to a verdict, where each is 30 ms after the one before.
    const LATE: usize = 17;

    #[test]
    fn one_that_is_late_all_the_time_refuses_after_an_interval() {
        let refused = ticks([25; LATE + 10]);
        assert_eq!(refused[..LATE], [false; LATE]);
        assert_eq!(refused[LATE..], [true; 10]);
    }

    #[test]
    fn a_burst_refuses_nothing_however_long_the_one_stall() {
        let stalls = (0..100).flat_map(|_| [5000, 0]);
        assert!(!any(&ticks(stalls)));
        // Nearly all of half a second is late, again and again.
        let burst = || std::iter::repeat_n(25, LATE).chain([0]);
        assert!(!any(&ticks((0..100).flat_map(|_| burst()))));
    }

    #[test]
    fn an_overloaded_one_refuses_only_while_it_is_late() {
        let overloaded = [25; LATE + 1].into_iter();
        let refused = ticks(overloaded.chain([10, 25, 10, 25, 25]));
        assert_eq!(refused[LATE..], [true, false, true, false, true, true]);
    }

    #[test]
    fn after_an_interval_in_time_it_is_a_burst_again() {
        let overloaded = [25; LATE + 1].into_iter();
        let calm = std::iter::repeat_n(0, 101);
        let refused = ticks(overloaded.chain(calm).chain([25; LATE + 1]));
        assert!(refused[LATE]);
        let after = &refused[LATE + 1..];
        assert!(!any(&after[..after.len() - 1]));
        assert!(after[after.len() - 1]);
    }

    #[tokio::test]
    async fn who_waits_gets_a_turn_and_responses_first() {
        let overload = Overload::default();
        overload.queues.set(true);
        let mut waiting = [Work::Request, Work::Request, Work::Response]
            .map(|work| Box::pin(overload.turn(work)));
        let mut cx = Context::from_waker(Waker::noop());
        for turn in &mut waiting {
            assert!(turn.as_mut().poll(&mut cx).is_pending());
        }
        for next in [2, 0, 1] {
            assert!(overload.give(1));
            assert!(waiting[next].as_mut().poll(&mut cx).is_ready(), "{next}");
        }
        assert!(!overload.give(1));
        assert_eq!(overload.longest_wait(Instant::now()), Duration::ZERO);
    }

    #[tokio::test]
    async fn turns_are_given_until_nobody_waits() {
        let overload = Overload::default();
        overload.queues.set(true);
        let all = async {
            tokio::join!(
                overload.turn(Work::Request),
                overload.turn(Work::Request),
                overload.turn(Work::Response),
            )
        };
        tokio::select! {
            all = all => assert_eq!(all, (true, true, true)),
            () = overload.give_turns() => {}
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_who_has_left() {
        let overload = Overload::default();
        overload.queues.set(true);
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = overload.turn(Work::Request) => panic!("nobody gives turns"),
                () = std::future::ready(()) => {}
            }
        }
        let later = Instant::now() + Duration::from_secs(1);
        assert!(overload.longest_wait(later) >= Duration::from_secs(1));
        assert!(!overload.give(1));
        assert_eq!(overload.longest_wait(later), Duration::ZERO);
    }

    #[tokio::test]
    async fn in_time_nothing_waits() {
        assert!(!Overload::default().turn(Work::Request).await);
    }

    #[test]
    fn rounds_are_of_about_a_millisecond() {
        let after = |turns, micros| after_round(turns, Duration::from_micros(micros));
        assert_eq!(after(1, 20), 2);
        assert_eq!(after(MOST, 20), MOST);
        assert_eq!(after(16, 700), 1);
        // Others looped meanwhile.
        assert_eq!(after(1, 3_000), 3);
        assert_eq!(after(1, 61_000), FEW);
    }

    #[test]
    fn turns_that_take_long_do_not_become_more_and_more() {
        let took = |turns: usize| Duration::from_micros(2500) * u32::try_from(turns).unwrap();
        let round = |turns, _| after_round(turns, took(turns));
        assert!((0..100).fold(1, round) <= FEW);
    }
}
