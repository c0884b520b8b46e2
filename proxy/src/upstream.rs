//! 6 — A call to a chosen endpoint of an upstream.
//!
//! [`balance`] chooses the endpoint, [`retry`] says what may be tried with another. Connections belong
//! to the worker ([`pool`]); one that the upstream closed while it was idle is replaced without the
//! request noticing.

pub mod balance;
pub mod body;
mod connect;
pub mod connection;
pub mod driver;
pub mod eject;
mod endpoint;
pub mod health;
pub mod places;
pub mod pool;
pub mod proxy_protocol;
pub mod resolve;
pub mod retry;
mod send;
pub mod srv;
mod switch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, StatusCode};

use crate::config::{self, UpstreamTimeouts};
use crate::exchange::stream::Through;
use crate::listener::proxy_protocol::Addresses;
use crate::metrics::UpstreamCells;
use body::{RequestBody, Upload};
use driver::Received;
pub use endpoint::Endpoint;
use pool::{Lease, Pools};
use send::{Way, send};

/// One entry of `upstreams`.
pub struct Upstream {
    pub name: String,
    pub config: config::Upstream,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Each endpoint's part of the sum of all weights, which is not zero.
    weights: Vec<u32>,
    /// Each endpoint's: the lowest are used, as long as one of them can be.
    priorities: Vec<u16>,
    /// Most requests under way from one worker, where there is no limit over all of them.
    share: u64,
    /// Requests under way over all workers, counted where there is a limit of them.
    under_way: Arc<AtomicU64>,
    /// For each endpoint.
    pub limits: places::Limits,
    pub cells: Arc<[UpstreamCells]>,
    turnstile: eject::Turnstile,
}

/// Why a call gave no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("cannot connect: the upstream takes no extended CONNECT")]
    CannotSwitch,
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("no response head within {0:?}")]
    ResponseTimeout(Duration),
    #[error("no TLS with the upstream: {0}")]
    Tls(#[source] std::io::Error),
    #[error("connection failed before a response: {0}")]
    Protocol(#[source] hyper::Error),
    #[error("upstream switched to a protocol that nobody asked for")]
    Switched,
    #[error("upstream's response says in two ways how long it is")]
    Framing,
    #[error("too many requests under way")]
    Overload,
    #[error("client's body: {0}")]
    Upload(body::Fault),
}

impl Error {
    pub const REASONS: [&'static str; 7] = [
        "connect",
        "connect_timeout",
        "response_timeout",
        "protocol",
        "overload",
        "upload",
        "tls",
    ];

    /// Whether the endpoint had no part in it.
    pub fn spares_endpoint(&self) -> bool {
        match self {
            Self::Overload | Self::Upload(_) => true,
            Self::Protocol(error) => connection::is_requests_fault(error),
            _ => false,
        }
    }

    fn index(&self) -> usize {
        match self {
            Self::Connect(_) | Self::CannotSwitch => 0,
            Self::ConnectTimeout(_) => 1,
            Self::ResponseTimeout(_) => 2,
            Self::Protocol(_) | Self::Switched | Self::Framing => 3,
            Self::Overload => 4,
            Self::Upload(_) => 5,
            Self::Tls(_) => 6,
        }
    }

    /// Stable, for `error.type` and metrics.
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }
}

/// A request on its way to an upstream: boxed, since it is handed from one to the next and may come
/// back.
pub type Outgoing = Box<Request<RequestBody>>;

/// What became of a call.
pub type Called = Result<Box<Reply>, Failure>;

/// Who makes a call.
pub struct Caller<'c> {
    pub pools: &'c Pools,
    pub worker: usize,
    /// Whom it is made for; `None` where Weir or a plugin makes it for itself.
    pub client: Option<Addresses>,
}

/// A call that gave no response.
pub struct Failure {
    pub error: Error,
    /// The request, where not a byte of it was written.
    pub unsent: Option<Outgoing>,
}

/// A response's head, with its body still to come over the leased connection.
pub struct Reply {
    pub response: Response<Through<Received>>,
    pub lease: Lease,
    /// Longest wait for the next piece of the body.
    pub body_timeout: Duration,
    /// The protocol that the upstream switched to, where it did.
    pub switched: Option<HeaderValue>,
    /// How long nothing may pass once both sides have switched.
    pub tunnel_timeout: Duration,
    /// Held until the body has ended, where there are several endpoints.
    pub busy: Option<balance::Busy>,
}

impl Upstream {
    /// Keeps endpoints of `before`, and so their idle connections and state, where they are the same.
    pub fn new(
        name: &str,
        config: &config::Upstream,
        before: Option<&Self>,
        names: &resolve::Names,
        workers: usize,
        cells: Arc<[UpstreamCells]>,
    ) -> Self {
        let old = before.map_or(&[][..], |before| &before.endpoints);
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        let (mut weights, mut priorities) = (Vec::new(), Vec::new());
        for place in config.endpoints.iter().flat_map(|one| names.places(one)) {
            let same = |old: &&Arc<Endpoint>| {
                old.config == place.endpoint && old.addresses == place.addresses
            };
            let kept = old.iter().find(same).cloned();
            weights.push(place.weight);
            priorities.push(place.priority);
            endpoints.push(kept.unwrap_or_else(|| {
                let (config, addresses) = (&place.endpoint, place.addresses.clone());
                Arc::new(Endpoint::new(config, addresses, place.several))
            }));
        }
        Self {
            name: name.to_owned(),
            endpoints,
            weights,
            priorities,
            share: config::MAX_REQUESTS.div_ceil(workers as u64),
            under_way: before.map_or_else(Arc::default, |before| Arc::clone(&before.under_way)),
            limits: places::Limits::new(&config.limits),
            config: config.clone(),
            cells,
            turnstile: eject::Turnstile::default(),
        }
    }

    /// An endpoint gave a response with this status, or none. Where there is one alone, nothing is to
    /// be learned from it.
    pub fn learn(&self, index: usize, status: Option<StatusCode>, now: Instant) {
        if self.endpoints.len() < 2 {
            return;
        }
        let ejection = &self.config.ejection;
        if status.is_some_and(|status| !ejection.statuses.contains(&status)) {
            self.endpoints[index].state.succeeded(now);
            return;
        }
        let ejected = self.turnstile.failed(&self.endpoints, index, ejection, now);
        if let Some(time) = ejected {
            let (upstream, endpoint) = (&self.name, &self.endpoints[index].label);
            let seconds = time.as_secs_f64();
            tracing::warn!(
                upstream,
                endpoint,
                seconds,
                "endpoint keeps failing: left out"
            );
        }
    }

    /// Sends a request, whose target is in origin form, and waits for the response's head. It begins at
    /// `start`, which is now; the time at its end comes with what became of it.
    pub async fn call(
        &self,
        endpoint: &Arc<Endpoint>,
        request: Outgoing,
        upload: &Upload,
        timeouts: &UpstreamTimeouts,
        caller: &Caller<'_>,
        start: Instant,
    ) -> (Called, Instant) {
        let cells = &self.cells[caller.worker];
        let result = if let Some(_active) = Active::new(self, cells) {
            let told = endpoint.config.proxy_protocol.is_some();
            let way = Way {
                endpoint,
                timeouts,
                limits: &self.limits,
                pools: caller.pools,
                client: caller.client.filter(|_| told),
            };
            send(&way, request, upload, cells, start).await
        } else {
            Err(Failure {
                error: Error::Overload,
                unsent: None,
            })
        };
        let now = Instant::now();
        match &result {
            Ok(_) => cells.duration.record(now.saturating_duration_since(start)),
            Err(failure) => {
                cells.failures[failure.error.index()].inc();
                self.tell(endpoint, &failure.error, now);
            }
        }
        (result, now)
    }

    /// Tells the log of a call that gave no response, where that is the upstream's affair: one alone is
    /// never left out, and clients are not told why.
    fn tell(&self, endpoint: &Endpoint, error: &Error, now: Instant) {
        if error.spares_endpoint() {
            return;
        }
        if let Some(count) = endpoint.state.tell(now) {
            let (upstream, endpoint) = (&self.name, &endpoint.label);
            tracing::warn!(
                upstream,
                endpoint,
                %error,
                count,
                "endpoint gives no response"
            );
        }
    }
}

/// Counts a request for as long as it waits for its response's head.
struct Active<'a> {
    cells: &'a UpstreamCells,
    /// Where all workers' are counted.
    under_way: Option<&'a AtomicU64>,
}

impl<'a> Active<'a> {
    /// `None` where there are as many as there may be.
    fn new(upstream: &'a Upstream, cells: &'a UpstreamCells) -> Option<Self> {
        let under_way = match upstream.config.max_requests {
            Some(most) => {
                let more = |count| (count < most).then_some(count + 1);
                let count = &upstream.under_way;
                count.fetch_update(Relaxed, Relaxed, more).ok()?;
                Some(&**count)
            }
            None if cells.active.get() >= upstream.share => return None,
            None => None,
        };
        cells.active.inc();
        Some(Self { cells, under_way })
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.cells.active.dec();
        if let Some(count) = self.under_way {
            count.fetch_sub(1, Relaxed);
        }
    }
}
