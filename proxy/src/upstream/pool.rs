//! A worker's idle connections to endpoints.
//!
//! Belongs to one worker: no lock. A connection is leased for one exchange and given back once the
//! response's body has ended; it is used again while it is open and young enough.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use super::Endpoint;
use super::body::RequestBody;

/// Most idle connections a worker keeps to one endpoint.
const IDLE: usize = 256;

/// See the module's documentation.
#[derive(Default)]
pub struct Pools(RefCell<Vec<Pool>>);

struct Pool {
    endpoint: Weak<Endpoint>,
    /// The last given back is taken first.
    idle: Vec<Idle>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection, cut when dropped: by itself it would first send what an upstream does not
/// take, and hold the request's body, and with it the client's connection, for as long.
pub struct Connection {
    pub sender: SendRequest<RequestBody>,
    /// Of the task that reads and writes.
    pub task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection for one exchange. Dropped instead of given back, it is cut.
pub struct Lease {
    pub connection: Connection,
    pub endpoint: Arc<Endpoint>,
}

impl Pools {
    /// An idle connection that can be written to now.
    pub fn take(&self, endpoint: &Arc<Endpoint>, longest: Duration) -> Option<Lease> {
        let mut pools = self.0.borrow_mut();
        let pool = pools
            .iter_mut()
            .find(|pool| pool.endpoint.as_ptr() == Arc::as_ptr(endpoint))?;
        let mut at = pool.idle.len();
        while at > 0 {
            at -= 1;
            let idle = &pool.idle[at];
            let sender = &idle.connection.sender;
            if sender.is_ready() && idle.since.elapsed() < longest {
                let connection = pool.idle.remove(at).connection;
                return Some(Lease {
                    connection,
                    endpoint: Arc::clone(endpoint),
                });
            }
            if sender.is_closed() || idle.since.elapsed() >= longest {
                pool.idle.remove(at);
            }
            // Else its task has not run since the last response ended: soon ready, left for later.
        }
        None
    }

    /// Gives a connection back whose response has ended.
    pub fn give(&self, lease: Lease) {
        if lease.connection.sender.is_closed() {
            return;
        }
        let mut pools = self.0.borrow_mut();
        let endpoint = Arc::as_ptr(&lease.endpoint);
        let index = pools
            .iter()
            .position(|pool| pool.endpoint.as_ptr() == endpoint)
            .unwrap_or_else(|| {
                pools.push(Pool {
                    endpoint: Arc::downgrade(&lease.endpoint),
                    idle: Vec::new(),
                });
                pools.len() - 1
            });
        let idle = &mut pools[index].idle;
        if idle.len() < IDLE {
            idle.push(Idle {
                connection: lease.connection,
                since: Instant::now(),
            });
        }
    }

    /// Drops what is closed, too old for `longest`, or goes to an endpoint that a reload removed.
    pub fn sweep(&self, longest: Duration) {
        let mut pools = self.0.borrow_mut();
        pools.retain_mut(|pool| {
            pool.idle.retain(|idle| {
                !idle.connection.sender.is_closed() && idle.since.elapsed() < longest
            });
            pool.endpoint.strong_count() > 0
        });
    }
}
