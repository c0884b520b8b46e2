//! Whether a worker is behind with its work, so that new requests are refused before they wait.
//!
//! A tick that is due comes late by as long as whatever is ready waits for its turn: for any request,
//! at each of its steps. Work that comes in a burst makes ticks late for a while; only where there is
//! more of it than the worker can do are all of them late, for longer than a burst takes. So what
//! counts is the least lateness over an interval (as in `CoDel`, RFC 8289). Once that is above the
//! target, requests are refused whenever the last tick was later than it; so much gets through as
//! keeps the worker busy, and late by about the target.
//!
//! Ticks come only while there are requests.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Worker;

/// From one tick to the next.
const TICK: Duration = Duration::from_millis(5);

/// For how long all ticks must be late, or none, for the verdict to change.
const INTERVAL: Duration = Duration::from_millis(500);

/// So many ticks without a request, and there are no more of them.
const IDLE: u32 = 200;

/// What requests ask.
#[derive(Default)]
pub struct Overload {
    refuses: Cell<bool>,
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
}

/// Ticks for as long as the worker lives.
pub(super) async fn watch(worker: &Worker) {
    let Overload {
        refuses,
        asked,
        wanted,
    } = &worker.overload;
    loop {
        wanted.notified().await;
        let mut verdict = Verdict::at(Instant::now());
        let mut idle = 0;
        while idle < IDLE {
            let due = Instant::now() + TICK;
            tokio::time::sleep_until(due.into()).await;
            let now = Instant::now();
            let lateness = now.saturating_duration_since(due);
            worker.cells().lateness.record(lateness);
            let target = worker.generation().config.overload;
            refuses.set(target.is_some_and(|target| verdict.tick(now, lateness > target)));
            idle = if asked.take() { 0 } else { idle + 1 };
        }
        refuses.set(false);
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
}
