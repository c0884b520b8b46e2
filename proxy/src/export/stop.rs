//! When an exporter's thread must have ended.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Longest sleep before looking again whether to stop.
const STEP: Duration = Duration::from_millis(50);

/// The deadline that all exporters share, once there is one.
#[derive(Debug, Default)]
pub(super) struct Shutdown(OnceLock<Instant>);

impl Shutdown {
    pub(super) fn by(&self, deadline: Instant) {
        self.0.get_or_init(|| deadline);
    }
}

/// The deadline of one exporter.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    own: Arc<OnceLock<Instant>>,
    all: Arc<Shutdown>,
}

impl Stop {
    pub(super) fn new(all: Arc<Shutdown>) -> Self {
        Self {
            own: Arc::default(),
            all,
        }
    }

    pub(super) fn by(&self, deadline: Instant) {
        self.own.get_or_init(|| deadline);
    }

    /// `None` while nothing asks the exporter to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.own.get(), self.all.0.get()]
            .into_iter()
            .flatten()
            .min()
            .copied()
    }

    /// Whether this exporter alone is to end.
    pub(super) fn is_own(&self) -> bool {
        self.own.get().is_some() && self.all.0.get().is_none()
    }

    pub(super) fn is_due(&self) -> bool {
        self.deadline()
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Sleeps; ends early, with true, once the deadline has passed.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_due() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(STEP));
        }
        true
    }
}
