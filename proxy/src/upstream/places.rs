//! How many connections an endpoint may have from one worker, and who waits for one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Error;
use crate::config::UpstreamLimits;

/// How long a request that waits goes without a look: at first, and at the most.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(64);

/// A worker's share of the limits of an upstream, for each endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    connections: Option<u64>,
    pending: u64,
}

impl Limits {
    pub fn share(limits: &UpstreamLimits, workers: usize) -> Self {
        let share = |all: u64| all.div_ceil(workers as u64);
        Self {
            connections: limits.connections.map(share),
            pending: share(limits.pending),
        }
    }
}

/// Of one endpoint.
#[derive(Debug, Default)]
pub struct Places {
    open: Cell<u64>,
    waiting: Cell<u64>,
    freed: Notify,
}

/// An open connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place(Rc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.free_one();
    }
}

impl Place {
    /// A request on the connection has ended, and another may share it.
    pub fn free_stream(&self) {
        self.0.free_one();
    }
}

/// A request that waits.
struct Waiting<'p>(&'p Cell<u64>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Places {
    /// A place for another connection; `None` where there are as many as there may be.
    pub fn take(self: &Rc<Self>, limits: &Limits) -> Option<Place> {
        let open = self.open.get();
        let free = limits.connections.is_none_or(|most| open < most);
        free.then(|| {
            self.open.set(open + 1);
            Place(Rc::clone(self))
        })
    }

    /// Whether requests wait that came earlier.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// A connection, or a part of one, can be used again.
    pub fn free_one(&self) {
        if self.is_waited_for() {
            self.freed.notify_one();
        }
    }

    /// There is a connection that requests can share.
    pub fn free_all(&self) {
        self.freed.notify_waiters();
    }

    /// Waits for `found`, which is asked anew each time that something was freed; and now and then,
    /// because a connection that was given back is ready only once its task has run.
    pub async fn wait<T>(
        &self,
        limits: &Limits,
        mut found: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        if self.waiting.get() >= limits.pending {
            return Err(Error::Overload);
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(&self.waiting);
        let mut soon = SOON;
        loop {
            let _ = tokio::time::timeout(soon, self.freed.notified()).await;
            if let Some(found) = found() {
                return Ok(found);
            }
            soon = (2 * soon).min(LATER);
        }
    }
}
