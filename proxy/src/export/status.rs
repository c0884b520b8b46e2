//! What an exporter has done and how it fares: counters for metrics, a state for `/readyz`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One exporter at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub exporter: String,
    pub state: State,
    /// Bytes of traces kept in memory: waiting, or sent and not acknowledged.
    pub queue_bytes: u64,
    /// About how long the oldest trace in the spool has waited; zero without a spool.
    pub oldest: Duration,
    /// Traces looked at.
    pub taken: u64,
    /// Traces that sampling left out.
    pub sampled_out: u64,
    /// Traces that the destination acknowledged.
    pub delivered: u64,
    /// Traces lost, by reason, each reason once.
    pub dropped: [(Reason, u64); Reason::ALL.len()],
}

impl Status {
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].1
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected yet, and nothing wrong yet.
    Starting,
    Ok,
    /// Traces wait; what is wrong, as logged.
    Degraded(String),
}

/// Why a trace never reached its destination (`reason` of `weir_export_dropped_total`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The buffer had no room when the trace was finished.
    BufferFull,
    /// The spool had reached its bound.
    SpoolFull,
    /// The disk took nothing.
    SpoolFailed,
    /// Broken or missing in the spool.
    Corrupt,
    /// Larger than the destination takes.
    TooLarge,
    /// Refused for good.
    Refused,
    /// A record that does not decode.
    Invalid,
    /// Not delivered when the exporter had to stop.
    Shutdown,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::BufferFull,
        Self::SpoolFull,
        Self::SpoolFailed,
        Self::Corrupt,
        Self::TooLarge,
        Self::Refused,
        Self::Invalid,
        Self::Shutdown,
    ];

    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::SpoolFull => "spool_full",
            Self::SpoolFailed => "spool_failed",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Counters of the exporters that had one name, across reloads.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Of chunks not taken yet.
    pub(super) queue: Bytes,
    /// Of messages sent and not acknowledged.
    pub(super) in_flight: Bytes,
    taken: AtomicU64,
    sampled_out: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl Meter {
    pub(super) fn lose(&self, reason: Reason, records: u64) {
        self.dropped[reason as usize].fetch_add(records, Relaxed);
    }

    pub(super) fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }

    pub(super) fn taken(&self, records: u64) {
        self.taken.fetch_add(records, Relaxed);
    }

    pub(super) fn sampled_out(&self) {
        self.sampled_out.fetch_add(1, Relaxed);
    }

    pub(super) fn delivered(&self) {
        self.delivered.fetch_add(1, Relaxed);
    }

    pub(super) fn status(&self, exporter: &str, state: State) -> Status {
        Status {
            exporter: exporter.to_owned(),
            state,
            queue_bytes: self.queue.get() + self.in_flight.get(),
            oldest: Duration::ZERO,
            taken: self.taken.load(Relaxed),
            sampled_out: self.sampled_out.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            dropped: Reason::ALL.map(|reason| (reason, self.dropped(reason))),
        }
    }
}

/// Bytes held now.
#[derive(Debug, Default)]
pub(super) struct Bytes(AtomicUsize);

impl Bytes {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed) as u64
    }

    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    /// Adds where the sum stays within `limit`.
    pub(super) fn try_add(&self, bytes: usize, limit: usize) -> bool {
        self.0
            .fetch_update(Relaxed, Relaxed, |held| {
                held.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }
}

/// The state of one running exporter.
#[derive(Debug)]
pub(super) struct Health(Mutex<State>);

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(State::Starting))
    }
}

impl Health {
    pub(super) fn get(&self) -> State {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says whether the state is another one than before.
    pub(super) fn set(&self, state: State) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *held != state;
        *held = state;
        changed
    }
}
