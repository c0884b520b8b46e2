//! How long the running call has run: told by the host, read by the epoch's callback on the same
//! thread.
//!
//! CPU time is the thread's own clock, so that what preempts the worker does not count. Reading it
//! is a system call: it is read only in a call that outlasts a tick of the engine's clock, and the
//! time up to that first reading is taken as running, at most one tick of it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::plugin::engine::TICK;

/// All in nanoseconds.
#[derive(Default)]
pub(super) struct Meter {
    /// When the call began.
    start: AtomicU64,
    /// CPU time of the call up to `read`.
    used: AtomicU64,
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
        let whole = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let start = nanos(start);
        self.start.store(start, Relaxed);
        self.used.store(0, Relaxed);
        self.read.store(0, Relaxed);
        self.cpu_limit.store(whole(limits.cpu_time), Relaxed);
        self.deadline
            .store(start.saturating_add(whole(limits.wall_time)), Relaxed);
    }

    /// At a tick while the guest runs.
    pub(super) fn check(&self) -> wasmtime::Result<()> {
        if self.advance() > self.cpu_limit.load(Relaxed) {
            Err(wasmtime::Error::new(Stop::Cpu))
        } else if nanos(Instant::now()) > self.deadline.load(Relaxed) {
            Err(wasmtime::Error::new(Stop::Wall))
        } else {
            Ok(())
        }
    }

    /// The guest waits; `ran` by the wall clock. The CPU time of the call so far.
    pub(super) fn suspend(&self, ran: Duration) -> Duration {
        ran.min(Duration::from_nanos(self.advance()))
    }

    /// The guest goes on: what ran on the thread meanwhile was not of the call.
    pub(super) fn resume(&self) {
        self.read.store(thread_cpu(), Relaxed);
    }

    fn advance(&self) -> u64 {
        let now = thread_cpu();
        let more = match self.read.swap(now, Relaxed) {
            0 => {
                let passed = nanos(Instant::now()).saturating_sub(self.start.load(Relaxed));
                passed.min(u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX))
            }
            read => now.saturating_sub(read),
        };
        let used = self.used.load(Relaxed) + more;
        self.used.store(used, Relaxed);
        used
    }
}

/// After an arbitrary origin.
pub(in crate::plugin) fn nanos(time: Instant) -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(time.saturating_duration_since(*ORIGIN).as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread, by `CLOCK_THREAD_CPUTIME_ID`.
#[allow(
    unsafe_code,
    reason = "the system call has no safe form among what we depend on"
)]
fn thread_cpu() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec that lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}
