//! Waiting for a condition, and failing with its name when it does not come.

use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for what must come, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `done` gives something.
///
/// # Panics
///
/// When it does not within two minutes.
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
