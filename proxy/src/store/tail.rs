//! Those who follow traces as they come. Each has a filter, and a queue of its own; what a slow one
//! does not take is counted, and told with the next.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::{Filter, Summary};
use crate::lock::lock;
use crate::trace::record;

/// Most followers at once.
const MOST: usize = 32;

/// Most summaries that wait for one: what the store takes at once by its defaults.
pub(super) const QUEUE: usize = 512;

/// One follower's end; it stops following when dropped.
pub struct Tail {
    pub summaries: mpsc::Receiver<Summary>,
    missed: Arc<AtomicUsize>,
}

impl Tail {
    /// How many did not fit since it was last asked.
    pub fn missed(&self) -> usize {
        self.missed.swap(0, Relaxed)
    }
}

#[derive(Default)]
pub(super) struct Tails(Mutex<Vec<Follower>>);

struct Follower {
    filter: Filter,
    queue: mpsc::Sender<Summary>,
    missed: Arc<AtomicUsize>,
}

impl Tails {
    pub(super) fn add(&self, filter: Filter) -> Option<Tail> {
        let mut followers = lock(&self.0);
        followers.retain(|follower| !follower.queue.is_closed());
        if followers.len() >= MOST {
            return None;
        }
        let (queue, summaries) = mpsc::channel(QUEUE);
        let missed: Arc<AtomicUsize> = Arc::default();
        followers.push(Follower {
            filter,
            queue,
            missed: missed.clone(),
        });
        Some(Tail { summaries, missed })
    }

    pub(super) fn are_any(&self) -> bool {
        let mut followers = lock(&self.0);
        followers.retain(|follower| !follower.queue.is_closed());
        !followers.is_empty()
    }

    pub(super) fn tell(&self, summary: &Summary, record: &[u8]) {
        for follower in &*lock(&self.0) {
            let whole = || {
                let trace = record::read(record);
                trace.is_ok_and(|trace| follower.filter.matches_trace(&trace))
            };
            let wanted =
                follower.filter.matches(summary) && (!follower.filter.wants_trace() || whole());
            if wanted && follower.queue.try_send(summary.clone()).is_err() {
                follower.missed.fetch_add(1, Relaxed);
            }
        }
    }
}
