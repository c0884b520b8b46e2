//! What tests of several parts share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::{Event, Metadata, Subscriber, span};

/// Calls this while each event that is logged on this thread by one of the targets, or below it,
/// panics; gives what came of it and how many events there were.
pub(crate) fn with_a_log_that_breaks<T>(
    targets: &'static [&'static str],
    call: impl FnOnce() -> T,
) -> (T, u64) {
    let events = Arc::default();
    let log = Breaks {
        targets,
        events: Arc::clone(&events),
    };
    let done = tracing::subscriber::with_default(log, call);
    (done, events.load(Relaxed))
}

struct Breaks {
    targets: &'static [&'static str],
    events: Arc<AtomicU64>,
}

impl Subscriber for Breaks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| metadata.target().starts_with(target))
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.events.fetch_add(1, Relaxed);
        panic!("the log breaks");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
