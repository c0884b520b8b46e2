//! How many connections an endpoint may have over all workers, and who waits for one.
//!
//! What workers share is written when a connection is made and when it has closed; a request that
//! finds a connection writes none of it. Where there are as many as there may be, requests wait.
//! What is closed then is for the request that came first, of whichever worker. So that it comes to
//! that, a worker closes what it does not use while others wait, and where it has more than its part,
//! what it would use again itself.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Endpoint, Error};
use crate::config::UpstreamLimits;

/// How long a request that waits goes without a look: at first, and at the most.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(64);

/// The limits of an upstream, for each endpoint, over all workers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    connections: Option<u64>,
    pending: u64,
}

impl Limits {
    pub fn new(limits: &UpstreamLimits) -> Self {
        Self {
            connections: limits.connections,
            pending: limits.pending,
        }
    }
}

/// Of one endpoint, over all workers.
#[derive(Debug, Default)]
pub struct Total {
    /// Connections, from before they are made until they have closed.
    open: AtomicU64,
    /// Those of them that can be used for requests, now or later.
    usable: AtomicU64,
    /// Requests that wait.
    waiting: AtomicU64,
    /// Workers that have something usable, or requests that wait.
    users: AtomicU64,
    freed: Notify,
}

impl Total {
    fn free_one(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

/// A connection's place: it goes with the socket, and is free again when dropped.
#[derive(Debug)]
pub struct Place(Arc<Total>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.free_one();
    }
}

/// Of one endpoint and worker.
#[derive(Debug)]
pub struct Places {
    total: Arc<Total>,
    /// A connection is one client's: what the next request cannot use has to go for it, of this worker
    /// too.
    of_clients: bool,
    /// Rung for all workers where one wants others to look for what they do not use.
    bell: Arc<Notify>,
    usable: Cell<u64>,
    waiting: Cell<u64>,
    freed: Notify,
}

/// A connection that this worker can use for requests, until it is dropped.
#[derive(Debug)]
pub struct Usable(Rc<Places>);

impl Usable {
    fn new(places: &Rc<Places>) -> Self {
        places.count(|places| places.usable.set(places.usable.get() + 1));
        places.total.usable.fetch_add(1, SeqCst);
        Self(Rc::clone(places))
    }

    /// A request on the connection has ended, and another may share it.
    pub fn free_stream(&self) {
        self.0.free_one();
        if self.0.wanted_by_others() > 0 {
            self.0.bell.notify_waiters();
        }
    }
}

impl Drop for Usable {
    fn drop(&mut self) {
        self.0.total.usable.fetch_sub(1, SeqCst);
        let places = &self.0;
        places.count(|places| places.usable.set(places.usable.get() - 1));
    }
}

/// A request that waits.
struct Waiting<'p>(&'p Places, &'p Limits);

impl<'p> Waiting<'p> {
    /// `None` where as many wait as may.
    fn new(places: &'p Places, limits: &'p Limits) -> Option<Self> {
        let more = |waiting| (waiting < limits.pending).then_some(waiting + 1);
        let counted = places.total.waiting.fetch_update(SeqCst, SeqCst, more);
        counted.ok()?;
        places.count(|places| places.waiting.set(places.waiting.get() + 1));
        Some(Self(places, limits))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(places, limits) = self;
        places.total.waiting.fetch_sub(1, SeqCst);
        places.count(|places| places.waiting.set(places.waiting.get() - 1));
        // It may have been told of a place, and have found a connection meanwhile.
        if places.total.open.load(SeqCst) < limits.connections.unwrap_or(u64::MAX) {
            places.total.free_one();
        }
    }
}

impl Places {
    pub fn new(endpoint: &Endpoint, bell: &Arc<Notify>) -> Self {
        Self {
            total: Arc::clone(&endpoint.places),
            of_clients: endpoint.config.proxy_protocol.is_some(),
            bell: Arc::clone(bell),
            usable: Cell::default(),
            waiting: Cell::default(),
            freed: Notify::default(),
        }
    }

    /// Changes what this worker has, and with it whether it is one of the endpoint's users.
    fn count(&self, change: impl FnOnce(&Self)) {
        let uses = || self.usable.get() + self.waiting.get() > 0;
        let before = uses();
        change(self);
        match (before, uses()) {
            (false, true) => _ = self.total.users.fetch_add(1, SeqCst),
            (true, false) => _ = self.total.users.fetch_sub(1, SeqCst),
            _ => {}
        }
    }

    /// A place for another connection; `None` where there are as many as there may be, or others wait
    /// for one.
    pub fn take_unless_awaited(self: &Rc<Self>, limits: &Limits) -> Option<(Place, Usable)> {
        let free = limits.connections.is_none() || self.total.waiting.load(SeqCst) == 0;
        free.then(|| self.take(limits))?
    }

    /// As [`Places::take_unless_awaited`], of a request that has waited.
    pub fn take(self: &Rc<Self>, limits: &Limits) -> Option<(Place, Usable)> {
        let most = limits.connections.unwrap_or(u64::MAX);
        let more = |open| (open < most).then_some(open + 1);
        let taken = self.total.open.fetch_update(SeqCst, SeqCst, more);
        taken.ok().map(|_| {
            let place = Place(Arc::clone(&self.total));
            (place, Usable::new(self))
        })
    }

    /// Whether requests of this worker wait that came earlier.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// How many requests wait that cannot use what this worker has: those of other workers.
    pub fn wanted_by_others(&self) -> u64 {
        let own = if self.of_clients {
            0
        } else {
            self.waiting.get()
        };
        self.total.waiting.load(SeqCst).saturating_sub(own)
    }

    /// Whether a connection that no request uses now is to be closed for one that waits elsewhere.
    pub fn is_owed_to_others(&self) -> bool {
        self.wanted_by_others() > 0 && (!self.is_waited_for() || self.is_owed_in_use())
    }

    /// Whether what this worker goes on using is owed to those that wait elsewhere: it has more of all
    /// that is usable than its part among the workers that want some.
    pub fn is_owed_in_use(&self) -> bool {
        let (users, all) = (&self.total.users, &self.total.usable);
        self.of_clients || self.usable.get() * users.load(SeqCst) > all.load(SeqCst)
    }

    /// A connection, or a part of one, can be used again by this worker.
    pub fn free_one(&self) {
        if self.is_waited_for() {
            self.freed.notify_one();
        }
    }

    /// There is a connection that requests of this worker can share.
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
        let _waiting = Waiting::new(self, limits).ok_or(Error::Overload)?;
        self.bell.notify_waiters();
        // Kept over looks: who was here first is told first.
        let mut here = pin!(self.freed.notified());
        let mut anywhere = pin!(self.total.freed.notified());
        let mut soon = SOON;
        loop {
            tokio::select! {
                biased;
                () = here.as_mut() => here.set(self.freed.notified()),
                () = anywhere.as_mut() => anywhere.set(self.total.freed.notified()),
                () = tokio::time::sleep(soon) => {}
            }
            if let Some(found) = found() {
                return Ok(found);
            }
            if self.usable.get() == 0 {
                self.bell.notify_waiters();
            }
            soon = (2 * soon).min(LATER);
        }
    }
}

#[cfg(test)]
mod tests;
