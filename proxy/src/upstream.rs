//! 6 — A call to a chosen endpoint of an upstream.
//!
//! Endpoints are taken in turn. Connections belong to the worker ([`pool`]); one that the upstream
//! closed while it was idle is replaced without the request noticing, nothing else is tried twice.

pub mod body;
pub mod connect;
pub mod pool;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::UPGRADE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpStream;

use crate::config::{self, UpstreamTimeouts};
use crate::metrics::UpstreamCells;
use body::{RequestBody, Upload};
use connect::Unanswered;
use pool::{Lease, Pools};

/// One entry of `upstreams`.
pub struct Upstream {
    pub name: String,
    pub config: config::Upstream,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Most requests under way from one worker.
    pub share: u64,
    pub cells: Arc<[UpstreamCells]>,
}

/// Where connections go.
pub struct Endpoint {
    pub config: config::Endpoint,
    /// Spares a resolution where the host is an address.
    address: Option<std::net::SocketAddr>,
}

/// Why a call gave no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
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

    fn index(&self) -> usize {
        match self {
            Self::Connect(_) => 0,
            Self::ConnectTimeout(_) => 1,
            Self::ResponseTimeout(_) => 2,
            Self::Protocol(_) | Self::Switched => 3,
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

/// A response's head, with its body still to come over the leased connection.
pub struct Reply {
    pub response: Response<Incoming>,
    pub lease: Lease,
    /// Longest wait for the next piece of the body.
    pub body_timeout: Duration,
    /// The protocol that the upstream switched to, where it did.
    pub switched: Option<HeaderValue>,
    /// How long nothing may pass once both sides have switched.
    pub tunnel_timeout: Duration,
}

impl Upstream {
    /// Keeps endpoints of `before`, and so their idle connections, where they are the same.
    pub fn new(
        name: &str,
        config: &config::Upstream,
        before: Option<&Self>,
        workers: usize,
        cells: Arc<[UpstreamCells]>,
    ) -> Self {
        let old = before.map_or(&[][..], |before| &before.endpoints);
        let endpoint = |config: &config::Endpoint| {
            old.iter()
                .find(|old| old.config == *config)
                .cloned()
                .unwrap_or_else(|| Arc::new(Endpoint::new(config)))
        };
        Self {
            name: name.to_owned(),
            endpoints: config.endpoints.iter().map(endpoint).collect(),
            share: config.max_requests.div_ceil(workers as u64),
            config: config.clone(),
            cells,
        }
    }

    /// Sends a request, whose target is in origin form, and waits for the response's head.
    pub async fn call(
        &self,
        endpoint: &Arc<Endpoint>,
        request: Request<RequestBody>,
        upload: &Upload,
        pools: &Pools,
        worker: usize,
    ) -> Result<Reply, Error> {
        let cells = &self.cells[worker];
        let start = Instant::now();
        let result = if cells.active.get() >= self.share {
            Err(Error::Overload)
        } else {
            let _active = Active::new(&self.cells, worker);
            self.send(endpoint, request, upload, pools, cells).await
        };
        match &result {
            Ok(_) => cells.duration.record(start.elapsed()),
            Err(error) => cells.failures[error.index()].inc(),
        }
        result
    }

    async fn send(
        &self,
        endpoint: &Arc<Endpoint>,
        mut request: Request<RequestBody>,
        upload: &Upload,
        pools: &Pools,
        cells: &UpstreamCells,
    ) -> Result<Reply, Error> {
        let timeouts = &self.config.timeouts;
        let reply = |response, lease| Reply {
            response,
            lease,
            body_timeout: timeouts.body,
            switched: None,
            tunnel_timeout: timeouts.tunnel,
        };
        let alone = request.headers().contains_key(UPGRADE);
        while let Some(mut lease) = pools.take(endpoint, timeouts.idle, alone) {
            match round_trip(&mut lease, request, upload, timeouts).await {
                Ok(response) => return Ok(reply(response, lease)),
                Err(Failed::Unsent(unsent)) => request = *unsent,
                Err(Failed::Final(error)) => return Err(error),
            }
        }
        let (mut lease, made) = pools.connect(endpoint, timeouts.connect, alone).await?;
        cells.connects.add(made.into());
        match round_trip(&mut lease, request, upload, timeouts).await {
            Ok(response) => Ok(reply(response, lease)),
            Err(Failed::Final(error)) => Err(error),
            Err(Failed::Unsent(_)) => Err(Error::Connect(std::io::Error::other(
                "closed as soon as it was made",
            ))),
        }
    }
}

/// Counts a request for as long as it waits for its response's head.
struct Active<'a>(&'a UpstreamCells);

impl<'a> Active<'a> {
    fn new(cells: &'a [UpstreamCells], worker: usize) -> Self {
        cells[worker].active.inc();
        Self(&cells[worker])
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.dec();
    }
}

enum Failed {
    /// Not one byte left: may go over another connection.
    Unsent(Box<Request<RequestBody>>),
    Final(Error),
}

/// One request over one connection, until the response's head.
async fn round_trip(
    lease: &mut Lease,
    request: Request<RequestBody>,
    upload: &Upload,
    timeouts: &UpstreamTimeouts,
) -> Result<Response<Incoming>, Failed> {
    let asked = request.headers().contains_key(UPGRADE);
    let mut sending = pin!(lease.send(request));
    let mut timer = pin!(None::<tokio::time::Sleep>);
    upload.progressed();
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = sending.as_mut().poll(cx) {
            if let Ok(response) = &result
                && response.status() == StatusCode::SWITCHING_PROTOCOLS
                && !(asked && response.headers().contains_key(UPGRADE))
            {
                return Poll::Ready(Err(Failed::Final(Error::Switched)));
            }
            return Poll::Ready(result.map_err(|error| match error {
                Unanswered::Unsent(request) => Failed::Unsent(request),
                Unanswered::Failed(error) => Failed::Final(match upload.fault() {
                    Some(fault) => Error::Upload(fault),
                    None => Error::Protocol(error),
                }),
            }));
        }
        // The time for the answer begins anew with each piece of the request that was sent. While
        // the client owes the next piece, the body's own deadline runs instead, and this one is
        // looked at again later.
        loop {
            let deadline =
                tokio::time::Instant::from_std(upload.upstream_owes_since() + timeouts.response);
            match timer.as_mut().as_pin_mut() {
                None => timer.set(Some(tokio::time::sleep_until(deadline))),
                Some(sleep) => match sleep.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) if tokio::time::Instant::now() >= deadline => {
                        return Poll::Ready(Err(Failed::Final(Error::ResponseTimeout(
                            timeouts.response,
                        ))));
                    }
                    Poll::Ready(()) => timer.set(None),
                },
            }
        }
    })
    .await
}

impl Endpoint {
    fn new(config: &config::Endpoint) -> Self {
        let host = config.host.trim_start_matches('[').trim_end_matches(']');
        let address = host
            .parse()
            .ok()
            .map(|ip| std::net::SocketAddr::new(ip, config.port));
        Self {
            config: config.clone(),
            address,
        }
    }

    /// A connection, for as long as it takes.
    async fn open(&self) -> std::io::Result<TcpStream> {
        match self.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((self.config.host.as_str(), self.config.port)).await,
        }
    }
}

/// Takes endpoints in turn; one a worker and upstream.
#[derive(Clone, Default)]
pub struct Turn(Rc<Cell<usize>>);

impl Turn {
    pub fn next<'u>(&self, upstream: &'u Upstream) -> &'u Arc<Endpoint> {
        let turn = self.0.get();
        self.0.set(turn.wrapping_add(1));
        &upstream.endpoints[turn % upstream.endpoints.len()]
    }
}
