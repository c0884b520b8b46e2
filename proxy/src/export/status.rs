//! What an exporter has done and how it fares: counters for metrics, a state for `/readyz`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::prepared::{ORIGINS, Origin};
use super::statistics::{Client, Statistics};
use crate::health::State;
use crate::lock::lock;

/// How long an exporter's thread may be busy with one thing.
const STALL: Duration = Duration::from_secs(30);

/// One exporter at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub exporter: String,
    pub state: State,
    /// What was wrong last, also when all is well again.
    pub last_error: Option<LastError>,
    /// What the client of the destination says of itself, once it has.
    pub client: Option<Arc<Statistics>>,
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
    /// Messages that were given to another client, as the one before could not deliver them, and
    /// requests that were sent again.
    pub retried: u64,
    /// Spans that the destination refused of requests that it took.
    pub rejected_spans: u64,
    /// Traces refused for good of which all was kept elsewhere, by reason.
    pub dead_letters: [(Reason, u64); Reason::OF_REFUSAL.len()],
    /// Traces lost, by reason, each reason once.
    pub dropped: [(Reason, u64); Reason::ALL.len()],
}

/// What became of a receiver's messages that came by one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fates {
    /// Acknowledged by the destination.
    pub delivered: u64,
    /// Refused for good, and kept elsewhere; by reason, each once.
    pub dead_letters: [(Reason, u64); Reason::ALL.len()],
    /// Lost.
    pub dropped: [(Reason, u64); Reason::ALL.len()],
}

impl Status {
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].1
    }

    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.iter().map(|(_, count)| count).sum()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub message: String,
    pub at: SystemTime,
}

/// Why a trace never reached its destination (`reason` of `weir_export_dropped_total`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Why a destination refuses a trace for good.
    pub const OF_REFUSAL: [Self; 2] = [Self::TooLarge, Self::Refused];

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
    retried: AtomicU64,
    rejected_spans: AtomicU64,
    dead_letters: [AtomicU64; Reason::ALL.len()],
    dropped: [AtomicU64; Reason::ALL.len()],
    by_origin: [ByOrigin; ORIGINS],
    client: Mutex<Client>,
}

/// What became of a receiver's messages that came by one way.
#[derive(Debug, Default)]
pub(super) struct ByOrigin {
    delivered: AtomicU64,
    dead_letters: [AtomicU64; Reason::ALL.len()],
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl ByOrigin {
    pub(super) fn delivered(&self) {
        self.delivered.fetch_add(1, Relaxed);
    }

    pub(super) fn dead_letter(&self, reason: Reason) {
        self.dead_letters[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn lose(&self, reason: Reason) {
        self.dropped[reason as usize].fetch_add(1, Relaxed);
    }

    fn fates(&self) -> Fates {
        let counts = |of: &[AtomicU64; Reason::ALL.len()]| {
            Reason::ALL.map(|reason| (reason, of[reason as usize].load(Relaxed)))
        };
        Fates {
            delivered: self.delivered.load(Relaxed),
            dead_letters: counts(&self.dead_letters),
            dropped: counts(&self.dropped),
        }
    }
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

    pub(super) fn retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    pub(super) fn rejected(&self, spans: u64) {
        self.rejected_spans.fetch_add(spans, Relaxed);
    }

    pub(super) fn dead_letter(&self, reason: Reason) {
        self.dead_letters[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn by_origin(&self, origin: Origin) -> &ByOrigin {
        self.by_origin
            .get(usize::from(origin))
            .unwrap_or(&self.by_origin[0])
    }

    /// By the number of the origin.
    pub(super) fn fates(&self) -> [Fates; ORIGINS] {
        self.by_origin.each_ref().map(ByOrigin::fates)
    }

    pub(super) fn client(&self) -> MutexGuard<'_, Client> {
        lock(&self.client)
    }

    pub(super) fn status(&self, exporter: &str, health: &Health) -> Status {
        Status {
            exporter: exporter.to_owned(),
            state: health.get(),
            last_error: health.last_error(),
            client: self.client().statistics(),
            queue_bytes: self.queue.get() + self.in_flight.get(),
            oldest: Duration::ZERO,
            taken: self.taken.load(Relaxed),
            sampled_out: self.sampled_out.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            retried: self.retried.load(Relaxed),
            rejected_spans: self.rejected_spans.load(Relaxed),
            dead_letters: Reason::OF_REFUSAL
                .map(|reason| (reason, self.dead_letters[reason as usize].load(Relaxed))),
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
pub(super) struct Health {
    held: Mutex<Held>,
    /// When its thread was last seen to move, in milliseconds since [`START`], from 1; 0 where it
    /// need not.
    beat: AtomicU64,
}

#[derive(Debug)]
struct Held {
    state: State,
    last_error: Option<LastError>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            held: Mutex::new(Held {
                state: State::Starting,
                last_error: None,
            }),
            beat: AtomicU64::new(0),
        }
    }
}

impl Health {
    pub(super) fn get(&self) -> State {
        self.at(millis())
    }

    fn at(&self, now: u64) -> State {
        let still = self.still(now);
        if still > STALL {
            let message = format!("its thread has not moved for {} s", still.as_secs());
            return State::Degraded(message);
        }
        self.held().state.clone()
    }

    pub(super) fn last_error(&self) -> Option<LastError> {
        self.held().last_error.clone()
    }

    /// Says whether the state is another one than before.
    pub(super) fn set(&self, state: State) -> bool {
        let mut held = self.held();
        let changed = held.state != state;
        if let State::Degraded(message) = &state
            && changed
        {
            held.last_error = Some(LastError {
                message: message.clone(),
                at: SystemTime::now(),
            });
        }
        held.state = state;
        changed
    }

    /// The exporter's thread moves.
    pub(super) fn beat(&self) {
        self.beat.store(millis(), Relaxed);
    }

    /// The exporter's thread need not move any more.
    pub(super) fn rest(&self) {
        self.beat.store(0, Relaxed);
    }

    /// For how long the thread has not moved.
    fn still(&self, now: u64) -> Duration {
        match self.beat.load(Relaxed) {
            0 => Duration::ZERO,
            beat => Duration::from_millis(now.saturating_sub(beat)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

/// Since a moment near the start of the process.
fn millis() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).map_or(u64::MAX, |millis| millis + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_move_is_seen() {
        let health = Health::default();
        health.set(State::Ok);
        assert_eq!(health.get(), State::Ok);
        health.beat.store(1, Relaxed);
        assert_eq!(health.at(30_001), State::Ok);
        let said = "its thread has not moved for 31 s".to_owned();
        assert_eq!(health.at(31_001), State::Degraded(said));
        health.beat();
        assert_eq!(health.get(), State::Ok);
        health.rest();
        assert_eq!(health.at(u64::MAX), State::Ok);
    }

    #[test]
    fn the_last_error_stays_when_all_is_well_again() {
        let health = Health::default();
        assert_eq!(health.last_error(), None);
        health.set(State::Degraded("away".to_owned()));
        health.set(State::Ok);
        assert_eq!(health.last_error().unwrap().message, "away");
    }
}
