//! A worker's connections to endpoints.
//!
//! Belongs to one worker: no lock. Of HTTP/1.1, a connection is leased for one exchange and given
//! back once the response's body has ended; it is used again while it is open and young enough. Of
//! HTTP/2, exchanges share it. Where there are as many as there may be, requests wait for one, and what
//! a worker can do without is closed for those on others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::connect::connect;
use super::connection::{Connection, Http1, Http2, Unanswered};
use super::driver::Driver;
use super::places::{Limits, Place, Places, Usable};
use super::{Endpoint, Error, Outgoing};
use crate::alarm::Alarm;
use crate::listener::proxy_protocol::Addresses;

/// Most idle connections a worker keeps to one endpoint.
const IDLE: usize = 256;

/// See the module's documentation.
pub struct Pools {
    all: RefCell<Vec<Pool>>,
    /// Rung where a request on some worker waits for a connection that others may have to spare.
    bell: Arc<Notify>,
}

struct Pool {
    endpoint: Weak<Endpoint>,
    /// How long a connection may be idle, as its last request had it.
    longest: Duration,
    /// The last given back is taken first.
    idle: Vec<Idle>,
    shared: Vec<Rc<Http2>>,
    dialling: Rc<Dialling>,
    places: Rc<Places>,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

/// What a request can be sent over.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// It must be of HTTP/1.1.
    pub alone: bool,
    /// It must be this client's own; `None` where it is nobody's.
    pub client: Option<Addresses>,
}

/// So that requests which come while a connection is made that they can share do not each make one.
#[derive(Default)]
struct Dialling {
    one: tokio::sync::Mutex<()>,
    /// The last connection was of HTTP/1.1, which is not shared.
    alone: Cell<bool>,
}

/// A connection for one exchange. Dropped instead of given back, one of HTTP/1.1 is cut, and one of
/// HTTP/2 resets the exchange's stream.
pub struct Lease {
    /// Taken where it is given back.
    connection: Option<Connection>,
    endpoint: Arc<Endpoint>,
}

impl Lease {
    fn new(connection: Connection, endpoint: &Arc<Endpoint>) -> Self {
        if let Connection::Http2(connection) = &connection {
            connection.begin();
        }
        Self {
            connection: Some(connection),
            endpoint: Arc::clone(endpoint),
        }
    }

    /// What is to be kept while a tunnel lasts: of HTTP/2, where it is one stream among others.
    pub fn once_switched(self) -> Option<Self> {
        matches!(&self.connection, Some(Connection::Http2(_))).then_some(self)
    }

    /// What its response's body is received by.
    pub(super) fn driver(&self) -> Option<Rc<Driver>> {
        self.connection.as_ref().and_then(Connection::driver)
    }

    /// For the wait for an answer; to be given back by [`Lease::keep_alarm`].
    pub(super) fn take_alarm(&mut self) -> Alarm {
        match &mut self.connection {
            Some(Connection::Http1(connection)) => std::mem::take(&mut connection.alarm),
            _ => Alarm::default(),
        }
    }

    pub(super) fn keep_alarm(&mut self, alarm: Alarm) {
        if let Some(Connection::Http1(connection)) = &mut self.connection {
            connection.alarm = alarm;
        }
    }

    /// Sends a request over it, which may have `asked` to switch, and waits for the response's head.
    pub async fn send(
        &mut self,
        request: Outgoing,
        asked: bool,
    ) -> Result<Response<Incoming>, Unanswered> {
        match &mut self.connection {
            Some(connection) => connection.send(request, asked).await,
            None => Err(Unanswered::Unsent(request)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Connection::Http2(connection)) = &self.connection {
            connection.end();
        }
    }
}

impl Pool {
    fn take(
        &mut self,
        endpoint: &Arc<Endpoint>,
        longest: Duration,
        Wanted { alone, client }: Wanted,
        now: Instant,
    ) -> Option<Lease> {
        if !alone && !self.shared.is_empty() {
            let fresh = |shared: &Rc<Http2>| !shared.is_closed() && shared.idle() < longest;
            self.shared.retain(fresh);
            let mut fit = self.shared.iter().filter(|one| one.client == client);
            if let Some(shared) = fit.find(|shared| shared.has_room()) {
                return Some(Lease::new(Connection::Http2(Rc::clone(shared)), endpoint));
            }
        }
        let mut at = self.idle.len();
        while at > 0 {
            at -= 1;
            let idle = &self.idle[at];
            let connection = &idle.connection;
            let fits = connection.client == client;
            let is_old = now.saturating_duration_since(idle.since) >= longest;
            if fits && !is_old && connection.is_ready() {
                let connection = self.idle.remove(at).connection;
                return Some(Lease::new(Connection::Http1(connection), endpoint));
            }
            if connection.is_closed() || is_old {
                self.idle.remove(at);
            }
            // Else its task has not run since the last response ended: soon ready, left for later.
        }
        None
    }

    /// However long it was idle.
    fn take_any(&mut self, endpoint: &Arc<Endpoint>, wanted: Wanted) -> Option<Lease> {
        self.take(endpoint, Duration::MAX, wanted, Instant::now())
    }

    fn share(&mut self, connection: Rc<Http2>) {
        // Clients that have a connection each come and go.
        if self.shared.len() >= IDLE
            && let Some(unused) = self.shared.iter().position(|one| one.is_unused())
        {
            self.shared.remove(unused);
        }
        self.shared.push(connection);
    }

    /// Closes a connection that requests on other workers need more; says whether there was one.
    fn give_one_up(&mut self) -> bool {
        if !self.places.is_owed_to_others() {
            return false;
        }
        if !self.idle.is_empty() {
            self.idle.remove(0);
            return true;
        }
        let unused = self.shared.iter().position(|shared| shared.is_unused());
        let busy = || {
            let last = self.shared.len().checked_sub(1);
            last.filter(|_| self.places.is_owed_in_use())
        };
        let Some(index) = unused.or_else(busy) else {
            return false;
        };
        self.shared.remove(index).retire();
        true
    }
}

/// What a request waited for.
enum Found {
    Lease(Lease),
    /// For a connection of its own.
    Place(Place, Usable),
}

impl Pools {
    pub fn new(bell: Arc<Notify>) -> Self {
        Self {
            all: RefCell::default(),
            bell,
        }
    }

    /// Closes what requests on other workers need more, each time that one says so.
    pub async fn give_up(&self) {
        loop {
            let rung = self.bell.notified();
            for pool in self.all.borrow_mut().iter_mut() {
                let mut wanted = pool.places.wanted_by_others();
                while wanted > 0 && pool.give_one_up() {
                    wanted -= 1;
                }
            }
            rung.await;
        }
    }

    /// A connection that can be written to `now`.
    pub fn take(
        &self,
        endpoint: &Arc<Endpoint>,
        longest: Duration,
        wanted: Wanted,
        now: Instant,
    ) -> Option<Lease> {
        let mut pool = self.pool(endpoint);
        pool.longest = longest;
        // Who waits was here first.
        if pool.places.is_waited_for() {
            return None;
        }
        pool.take(endpoint, longest, wanted, now)
    }

    /// Makes a connection within `limit`, or shares one that is made meanwhile; says whether it was
    /// made. Where there are as many as there may be, it waits for one, as long.
    pub async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        limit: Duration,
        wanted: Wanted,
        limits: &Limits,
    ) -> Result<(Lease, bool), Error> {
        let places = Rc::clone(&self.pool(endpoint).places);
        let place = match places.take_unless_awaited(limits) {
            Some(place) => place,
            None => {
                let found = || {
                    let used = self.pool(endpoint).take_any(endpoint, wanted);
                    let new = || places.take(limits);
                    let new = || new().map(|(place, usable)| Found::Place(place, usable));
                    used.map(Found::Lease).or_else(new)
                };
                let waiting = tokio::time::timeout(limit, places.wait(limits, found));
                match waiting.await.unwrap_or(Err(Error::Overload))? {
                    Found::Place(place, usable) => (place, usable),
                    Found::Lease(lease) => return Ok((lease, false)),
                }
            }
        };
        let dialling = Rc::clone(&self.pool(endpoint).dialling);
        let connecting = async {
            // Of a client's own, each request may make one: nobody else waits for that.
            let common = !wanted.alone && wanted.client.is_none();
            let may_share = common && endpoint.config.may_speak_http2() && !dialling.alone.get();
            let one = if may_share {
                Some(dialling.one.lock().await)
            } else {
                None
            };
            if one.is_some()
                && let Some(lease) = self.pool(endpoint).take_any(endpoint, wanted)
            {
                return Ok((lease, false));
            }
            let connection = connect(endpoint, wanted, place).await?;
            if common {
                let http1 = matches!(connection, Connection::Http1(_));
                dialling.alone.set(http1);
            }
            let lease = Lease::new(connection, endpoint);
            if let Some(Connection::Http2(shared)) = &lease.connection {
                self.pool(endpoint).share(Rc::clone(shared));
                places.free_all();
            }
            Ok((lease, true))
        };
        tokio::time::timeout(limit, connecting)
            .await
            .map_err(|_| Error::ConnectTimeout(limit))?
    }

    /// Gives a connection back whose response has ended `now`.
    pub fn give(&self, mut lease: Lease, now: Instant) {
        // One of HTTP/2 is in the pool already.
        if !matches!(&lease.connection, Some(Connection::Http1(_))) {
            return;
        }
        let Some(Connection::Http1(connection)) = lease.connection.take() else {
            return;
        };
        // What nobody waits for any more would hold the client's connection for as long as the upstream
        // does not take it.
        if connection.is_closed() || connection.is_sending() {
            return;
        }
        let mut pool = self.pool(&lease.endpoint);
        if pool.places.is_owed_to_others() {
            return;
        }
        if pool.idle.len() == IDLE {
            pool.idle.remove(0);
        }
        pool.idle.push(Idle {
            connection,
            since: now,
        });
        pool.places.free_one();
    }

    fn pool(&self, endpoint: &Arc<Endpoint>) -> std::cell::RefMut<'_, Pool> {
        std::cell::RefMut::map(self.all.borrow_mut(), |pools| {
            let index = pools
                .iter()
                .position(|pool| pool.endpoint.as_ptr() == Arc::as_ptr(endpoint))
                .unwrap_or_else(|| {
                    pools.push(Pool {
                        endpoint: Arc::downgrade(endpoint),
                        longest: Duration::MAX,
                        idle: Vec::new(),
                        shared: Vec::new(),
                        dialling: Rc::default(),
                        places: Rc::new(Places::new(endpoint, &self.bell)),
                    });
                    pools.len() - 1
                });
            &mut pools[index]
        })
    }

    /// Drops what is closed, was idle for longer than it may be, or goes to an endpoint that a reload
    /// removed.
    pub(crate) fn sweep(&self) {
        let mut pools = self.all.borrow_mut();
        pools.retain_mut(|pool| {
            let longest = pool.longest;
            pool.idle.retain(|Idle { connection, since }| {
                connection.look();
                !connection.is_closed() && since.elapsed() < longest
            });
            pool.shared
                .retain(|shared| !shared.is_closed() && shared.idle() < longest);
            pool.endpoint.strong_count() > 0
        });
    }
}
