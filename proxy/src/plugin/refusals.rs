//! What the host refuses a plugin, or drops of what it is flooded with: counted for `/metrics`.
//!
//! The guest is told, or the trace says it; but a trace is of one request, and may be sampled out. The
//! counts are of the process, as those of what plugins count themselves ([`super::measures`]). They are
//! written where something is refused, and nowhere on the way of a hook that keeps within its bounds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was asked for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refused {
    /// A change of a head's field or of a trailer.
    Header = 0,
    /// An answer, or a status.
    Answer = 1,
    Reroute = 2,
    /// A body, or a piece of one.
    Body = 3,
    /// A call to an upstream.
    Call = 4,
    /// An attribute or an event of a span, its error, or what a call is named.
    Note = 5,
    /// A line of the log.
    Log = 6,
    RequestId = 7,
    /// A value for the key-value store that is too large.
    Value = 8,
    /// A value that had still to live, and made room for others in the key-value store.
    Evicted = 9,
    /// The definition of a metric.
    Metric = 10,
}

impl Refused {
    /// As in the metric's `what`, by number.
    pub const NAMES: [&'static str; 11] = [
        "header",
        "answer",
        "reroute",
        "body",
        "call",
        "note",
        "log",
        "request_id",
        "value",
        "value_evicted",
        "metric",
    ];
}

/// How often, of one plugin.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Refused::NAMES.len()]);

impl Refusals {
    pub(super) fn count(&self, what: Refused, count: u64) {
        self.0[what as usize].fetch_add(count, Relaxed);
    }

    /// What was refused, with how often.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        Refused::NAMES
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }
}
