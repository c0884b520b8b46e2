//! The way from the workers to the local store: like an exporter's queue, but it never holds a
//! trace back, and has a bound in traces a second too.
//!
//! Whoever looks at recent traces does not look at thousands a second. So each worker has an
//! allowance, which grows with time: a trace beyond it is counted, and costs no more than that.
//! Parts of it are left to traces that somebody may look for: see [`Priority`].

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::queue::{self, Chunk};
use super::status::{Meter, Reason};

/// A chunk of this size is published at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Most bytes of chunks that wait for the store: large traces come for as long as it rests.
const QUEUE_BYTES: usize = 32 << 20;

/// Seconds' worth of traces that may come at once.
const BURST: f64 = 5.0;

/// Traces that may come at once however low the rate: so there is room for each [`Priority`].
const LEAST: f64 = 5.0;

/// Which traces go first where there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    Ordinary,
    /// Of the first request on its connection. What loads a proxy keeps its connections; who tries
    /// something by hand opens one, and then looks for the trace.
    First,
    Failed,
}

impl Priority {
    pub(crate) fn of(failed: bool, first: bool) -> Self {
        match (failed, first) {
            (true, _) => Self::Failed,
            (false, true) => Self::First,
            (false, false) => Self::Ordinary,
        }
    }

    /// What part of a full allowance it leaves to those that go before it.
    fn reserve(self) -> f64 {
        match self {
            Self::Ordinary => 0.4,
            Self::First => 0.2,
            Self::Failed => 0.0,
        }
    }
}

/// The store that there is now; workers read it, a reload replaces it.
pub(super) type Link = Arc<ArcSwapOption<Intake>>;

/// The workers' side of a store.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: queue::Sender,
    counts: Arc<Counts>,
    /// Traces a second that one worker may leave here.
    rate: f64,
}

/// The store's side.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: queue::Receiver,
}

/// What did not reach the store.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    meter: Arc<Meter>,
    skipped: AtomicU64,
}

impl Counts {
    /// Traces that came and cannot be read.
    pub(crate) fn lose(&self, traces: u64) {
        self.meter.lose(Reason::Invalid, traces);
    }

    /// Traces past the rate, those that came while the store was behind, and those that cannot be read.
    pub(crate) fn skipped(&self) -> u64 {
        let lost: u64 = Reason::ALL
            .iter()
            .map(|reason| self.meter.dropped(*reason))
            .sum();
        self.skipped.load(Relaxed) + lost
    }
}

/// A way for so many traces a second from each worker, which counts in `counts`.
pub(crate) fn channel(rate: f64, counts: &Arc<Counts>) -> (Intake, Outlet) {
    let (sender, receiver) = queue::bounded(QUEUE_BYTES, counts.meter.clone());
    let intake = Intake {
        queue: sender,
        counts: counts.clone(),
        rate,
    };
    (intake, Outlet { queue: receiver })
}

#[cfg(test)]
impl Intake {
    /// Leaves these records, as a worker does.
    pub(crate) fn leave(&self, records: &[&[u8]]) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for record in records {
            let start = bytes.len();
            bytes.extend_from_slice(record);
            places.push(start..bytes.len());
        }
        send(self, &mut bytes, &mut places);
    }
}

impl Outlet {
    /// The next records; `None` when none came in time, an error once none will come.
    pub(crate) fn recv(&self, timeout: Duration) -> Result<Option<Records>, Closed> {
        match self.queue.recv(timeout) {
            Ok(chunk) => Ok(Some(Records(chunk))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// More records, if there are any now.
    pub(crate) fn try_recv(&self) -> Option<Records> {
        self.queue.try_recv().ok().map(Records)
    }
}

/// No more traces will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Records of one worker, in order.
#[derive(Debug)]
pub(crate) struct Records(Arc<Chunk>);

impl Records {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.records()
    }
}

/// One worker's part.
#[derive(Default)]
pub(super) struct Local {
    link: Link,
    open: RefCell<(Vec<u8>, Vec<Range<usize>>)>,
    allowance: Cell<f64>,
    /// Not counted for all to see yet.
    skipped: Cell<u64>,
    /// When the allowance was last looked at; `None` before the first trace.
    refilled: Cell<Option<Instant>>,
}

impl Local {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            ..Self::default()
        }
    }

    /// Says whether it is the first that waits to be published.
    pub(super) fn keep(
        &self,
        priority: Priority,
        now: Instant,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let link = self.link.load();
        let Some(intake) = &*link else {
            return false;
        };
        if !self.spend(intake.rate, priority, now) {
            self.skipped.set(self.skipped.get() + 1);
            return false;
        }
        self.count(intake);
        let (bytes, records) = &mut *self.open.borrow_mut();
        let start = bytes.len();
        if !write(bytes) {
            bytes.truncate(start);
            return false;
        }
        records.push(start..bytes.len());
        if bytes.len() >= CHUNK_BYTES {
            send(intake, bytes, records);
            return false;
        }
        records.len() == 1
    }

    /// Takes one trace from the allowance, if there is one.
    fn spend(&self, rate: f64, priority: Priority, now: Instant) -> bool {
        let most = (rate * BURST).max(LEAST);
        let had = match self.refilled.replace(Some(now)) {
            Some(then) => {
                let passed = now.saturating_duration_since(then).as_secs_f64();
                (self.allowance.get() + rate * passed).min(most)
            }
            None => most,
        };
        let may = had - most * priority.reserve() >= 1.0;
        self.allowance.set(if may { had - 1.0 } else { had });
        may
    }

    fn count(&self, intake: &Intake) {
        let skipped = self.skipped.take();
        if skipped > 0 {
            intake.counts.skipped.fetch_add(skipped, Relaxed);
        }
    }

    /// Publishes what was kept since the last time.
    pub(super) fn publish(&self) {
        let (bytes, records) = &mut *self.open.borrow_mut();
        if records.is_empty() {
            return;
        }
        match &*self.link.load() {
            Some(intake) => {
                self.count(intake);
                send(intake, bytes, records);
            }
            None => {
                bytes.clear();
                records.clear();
            }
        }
    }
}

fn send(intake: &Intake, bytes: &mut Vec<u8>, records: &mut Vec<Range<usize>>) {
    let chunk = Chunk::new(bytes.clone(), records.clone());
    bytes.clear();
    records.clear();
    intake.queue.send(&Arc::new(chunk));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(rate: f64) -> (Local, Outlet, Arc<Counts>) {
        let counts = Arc::default();
        let (intake, outlet) = channel(rate, &counts);
        let local = Local::default();
        local.link.store(Some(Arc::new(intake)));
        (local, outlet, counts)
    }

    fn keep(local: &Local, priority: Priority, now: Instant) {
        local.keep(priority, now, |out| {
            out.push(priority as u8);
            true
        });
    }

    fn kept(outlet: &Outlet) -> Vec<u8> {
        std::iter::from_fn(|| outlet.try_recv())
            .flat_map(|records| records.iter().map(|record| record[0]).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn past_the_rate_traces_are_counted_and_those_somebody_may_look_for_come_first() {
        let (local, outlet, counts) = local(2.0);
        let now = Instant::now();
        for (count, priority) in [
            (20, Priority::Ordinary),
            (5, Priority::First),
            (5, Priority::Failed),
        ] {
            for _ in 0..count {
                keep(&local, priority, now);
            }
        }
        local.publish();
        // Ten at once, of which four are for others than the ordinary, and two for failed ones.
        assert_eq!(kept(&outlet), [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(counts.skipped(), 20);
    }

    #[test]
    fn at_the_lowest_rate_on_many_workers_there_is_room_for_each() {
        let (local, outlet, counts) = local(1.0 / 64.0);
        let now = Instant::now();
        for priority in [Priority::Ordinary, Priority::First, Priority::Failed] {
            for _ in 0..10 {
                keep(&local, priority, now);
            }
        }
        local.publish();
        assert_eq!(kept(&outlet), [0, 0, 0, 1, 2]);
        assert_eq!(counts.skipped(), 25);
    }

    #[test]
    fn a_trace_is_as_urgent_as_the_best_reason_to_look_for_it() {
        assert_eq!(Priority::of(false, false), Priority::Ordinary);
        assert_eq!(Priority::of(false, true), Priority::First);
        assert_eq!(Priority::of(true, true), Priority::Failed);
        assert_eq!(Priority::of(true, false), Priority::Failed);
    }

    #[test]
    fn time_gives_room_again() {
        let (local, outlet, _) = local(2.0);
        let now = Instant::now();
        for _ in 0..20 {
            keep(&local, Priority::Ordinary, now);
        }
        keep(&local, Priority::Ordinary, now + Duration::from_secs(1));
        local.publish();
        assert_eq!(kept(&outlet).len(), 7);
    }

    #[test]
    fn without_a_store_nothing_is_kept() {
        let local = Local::default();
        let now = Instant::now();
        assert!(!local.keep(Priority::Failed, now, |_| unreachable!("nobody wants it")));
        local.publish();
    }

    #[test]
    fn a_store_that_is_behind_loses_traces_and_counts_them() {
        let (local, outlet, counts) = local(10_000.0);
        let now = Instant::now();
        let record = vec![7; 1 << 20];
        for _ in 0..40 {
            local.keep(Priority::Ordinary, now, |out| {
                out.extend_from_slice(&record);
                true
            });
        }
        let taken = kept(&outlet).len() as u64;
        assert!((30..40).contains(&taken), "{taken}");
        assert_eq!(counts.skipped(), 40 - taken);
    }
}
