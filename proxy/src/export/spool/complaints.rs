//! What the disk does not do: said now and then, and shown while it is fresh.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// Least time between two lines of the log.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a failure is shown.
const FRESH: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    latest: Option<(Instant, String)>,
}

impl Complaints {
    pub(super) fn note(&self, message: String) {
        let now = Instant::now();
        let mut state = lock(&self.0);
        let logged = state.logged;
        if logged.is_none_or(|logged| now.duration_since(logged) >= PAUSE) {
            state.logged = Some(now);
            tracing::error!("{message}");
        }
        state.latest = Some((now, message));
    }

    /// The last failure, if it was not long ago.
    pub(super) fn latest(&self) -> Option<String> {
        let state = lock(&self.0);
        let (since, message) = state.latest.as_ref()?;
        (since.elapsed() < FRESH).then(|| message.clone())
    }
}
