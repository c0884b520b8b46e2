//! How long the running call has run: told by the host, read by the epoch's callback on the same
//! thread.
//!
//! CPU time is the thread's own clock, so that what preempts the worker does not count. Reading it
//! is a system call: it is read only in a call that outlasts a tick of the engine's clock, or waits. The
//! time up to that first reading is taken as running, and one tick of it is held against the limit.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::config::Limits;
use crate::plugin::engine::{CALM_TICK, TICK};

/// All in nanoseconds.
#[derive(Default)]
pub(super) struct Meter {
    /// When the call began.
    start: AtomicU64,
    /// CPU time of the call up to `read`.
    used: AtomicU64,
    /// What of that others may have used: of the time before the first reading, all but a tick.
    doubtful: AtomicU64,
    /// `used` when the guest last went on.
    slice: AtomicU64,
    /// The thread's CPU clock when it was last read in this call; 0 while it was not.
    read: AtomicU64,
    cpu_limit: AtomicU64,
    deadline: AtomicU64,
}

/// Why the epoch's callback stopped a guest.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("CPU time is used up")]
    Cpu,
    #[error("wall time is used up")]
    Wall,
}

impl Meter {
    pub(super) fn begin(&self, start: Instant, limits: &Limits) {
        let start = nanos(start);
        self.start.store(start, Relaxed);
        self.used.store(0, Relaxed);
        self.doubtful.store(0, Relaxed);
        self.slice.store(0, Relaxed);
        self.read.store(0, Relaxed);
        self.cpu_limit.store(whole(limits.cpu_time), Relaxed);
        self.deadline
            .store(start.saturating_add(whole(limits.wall_time)), Relaxed);
    }

    /// At a tick while the guest runs. Whether it has run for about as long as one, and others are to have
    /// their turn; most hooks that one meets have not, and go on.
    pub(super) fn check(&self, now: Instant) -> wasmtime::Result<bool> {
        let cpu_limit = self.cpu_limit.load(Relaxed);
        let is_late = nanos(now) > self.deadline.load(Relaxed);
        let is_young =
            self.read.load(Relaxed) == 0 && self.passed(now) < whole(TICK).min(cpu_limit);
        if is_young && !is_late {
            return Ok(false);
        }
        let all = self.advance(now);
        let used = all - self.doubtful.load(Relaxed);
        let slice = all - self.slice.load(Relaxed);
        if used > cpu_limit {
            Err(wasmtime::Error::new(Stop::Cpu))
        } else if is_late {
            Err(wasmtime::Error::new(Stop::Wall))
        } else {
            // Ticks come not quite evenly.
            Ok(slice >= whole(TICK / 2))
        }
    }

    /// The guest waits at `now`; `ran` by the wall clock. The CPU time of the call so far.
    pub(super) fn suspend(&self, ran: Duration, now: Instant) -> Duration {
        ran.min(Duration::from_nanos(self.advance(now)))
    }

    /// The guest goes on: what ran on the thread meanwhile was not of the call.
    pub(super) fn resume(&self) {
        self.slice.store(self.used.load(Relaxed), Relaxed);
        self.read.store(thread_cpu(), Relaxed);
    }

    fn passed(&self, now: Instant) -> u64 {
        nanos(now).saturating_sub(self.start.load(Relaxed))
    }

    fn advance(&self, now: Instant) -> u64 {
        let cpu = thread_cpu();
        let more = match self.read.swap(cpu, Relaxed) {
            0 => {
                // It was let go on at one tick, and the next was a calm one.
                let first = self.passed(now).min(whole(TICK + CALM_TICK));
                self.doubtful
                    .store(first.saturating_sub(whole(TICK)), Relaxed);
                first
            }
            read => cpu.saturating_sub(read),
        };
        let used = self.used.load(Relaxed) + more;
        self.used.store(used, Relaxed);
        used
    }
}

fn whole(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// After an arbitrary origin.
pub(in crate::plugin) fn nanos(time: Instant) -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(time.saturating_duration_since(*ORIGIN).as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread in nanoseconds.
fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cpu_time: Duration, wall_time: Duration) -> Limits {
        Limits {
            memory: None,
            cpu_time,
            wall_time,
            body: 0,
            answer: 0,
            answer_time: Duration::ZERO,
            kv: 0,
            calls: 0,
        }
    }

    /// At a call's first tick, so long after it began under this limit of CPU time.
    fn first_tick(
        passed: Duration,
        cpu_time: Duration,
        wall_time: Duration,
    ) -> Result<bool, String> {
        // Times count from the first that was asked for.
        nanos(Instant::now());
        let (meter, start) = (Meter::default(), Instant::now());
        meter.begin(start, &limits(cpu_time, wall_time));
        let checked = meter.check(start + passed);
        checked.map_err(|error| error.to_string())
    }

    const LONG: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_that_has_run_for_less_than_a_tick_goes_on() {
        let first = |passed| first_tick(passed, LONG, LONG);
        assert_eq!(first(Duration::ZERO), Ok(false));
        assert_eq!(first(TICK / 2), Ok(false));
        assert_eq!(first(TICK), Ok(true));
    }

    #[test]
    fn a_limit_shorter_than_a_tick_holds_at_the_first() {
        let limit = TICK / 4;
        let stopped = || Err(Stop::Cpu.to_string());
        assert_eq!(first_tick(TICK / 2, limit, LONG), stopped());
        let stopped = || Err(Stop::Wall.to_string());
        assert_eq!(first_tick(TICK / 2, LONG, limit), stopped());
    }

    #[test]
    fn a_call_that_has_just_gone_on_after_a_wait_goes_on_at_a_tick() {
        nanos(Instant::now());
        let goes_on = || {
            let (meter, start) = (Meter::default(), Instant::now());
            meter.begin(start, &limits(LONG, LONG));
            let ran = TICK * 3;
            assert_eq!(meter.suspend(ran, start + ran), ran);
            meter.resume();
            !meter.check(start + ran).unwrap()
        };
        // Unless this thread has worked for as long as one since, on a busy machine.
        assert!((0..100).any(|_| goes_on()));
    }

    #[test]
    fn one_tick_before_the_first_reading_is_held_against_the_limit() {
        // Something else may have had the core since.
        assert_eq!(first_tick(TICK * 20, TICK, LONG), Ok(true));
    }
}
