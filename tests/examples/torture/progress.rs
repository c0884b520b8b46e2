//! How far a scenario is, for who waits.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(15);

/// See the module's documentation.
pub(crate) struct Progress {
    of: &'static str,
    begun: Instant,
    said: Instant,
}

impl Progress {
    pub(crate) fn new(of: &'static str) -> Self {
        let now = Instant::now();
        Self {
            of,
            begun: now,
            said: now,
        }
    }

    /// Says so much of so many, where nothing was said for a while.
    pub(crate) fn at(&mut self, done: impl Display, all: impl Display, what: &str) {
        if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            let (of, seconds) = (self.of, self.begun.elapsed().as_secs());
            eprintln!("{of}: {done} of {all} {what} after {seconds} s");
        }
    }
}
