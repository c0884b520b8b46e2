//! Whether Redis can be reached: what all workers' links know together, logged once per change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;

use crate::health::State;
use crate::lock::lock;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Health {
    address: String,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Some link has reached it.
    reached: bool,
    /// Why links do not reach it.
    problems: HashMap<ThreadId, String>,
}

/// Says how one link fares.
pub(super) struct Seat {
    health: Arc<Health>,
    link: ThreadId,
}

impl Health {
    pub(super) fn new(address: String) -> Arc<Self> {
        Arc::new(Self {
            address,
            seen: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> State {
        let seen = self.seen();
        match seen.problems.values().next() {
            Some(problem) => State::Degraded(format!("{}: {problem}", self.address)),
            None if seen.reached => State::Ok,
            None => State::Starting,
        }
    }

    pub(super) fn seat(self: &Arc<Self>, link: ThreadId) -> Seat {
        Seat {
            health: Arc::clone(self),
            link,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

impl Seat {
    pub(super) fn up(&self) {
        let mut seen = self.health.seen();
        seen.reached = true;
        if seen.problems.remove(&self.link).is_some() && seen.problems.is_empty() {
            let address = &self.health.address;
            tracing::info!(address, "plugins' values in redis are available again");
        }
    }

    pub(super) fn down(&self, problem: String) {
        let mut seen = self.health.seen();
        if seen.problems.is_empty() {
            let address = &self.health.address;
            tracing::warn!(
                address,
                error = problem,
                "plugins' values in redis are not available"
            );
        }
        seen.problems.insert(self.link, problem);
    }
}

/// A link that has ended knows nothing.
impl Drop for Seat {
    fn drop(&mut self) {
        self.health.seen().problems.remove(&self.link);
    }
}
