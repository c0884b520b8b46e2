//! 6 — A call to a chosen endpoint of an upstream.
//!
//! [`balance`] chooses the endpoint, [`retry`] says what may be tried with another. Connections belong
//! to the worker ([`pool`]); one that the upstream closed while it was idle is replaced without the
//! request noticing.

pub mod balance;
pub mod body;
pub mod connect;
pub mod driver;
pub mod eject;
pub mod health;
pub mod places;
pub mod pool;
pub mod proxy_protocol;
pub mod resolve;
pub mod retry;
pub mod srv;
mod switch;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::config::{self, UpstreamTimeouts};
use crate::exchange::stream::Through;
use crate::listener::proxy_protocol::Addresses;
use crate::metrics::UpstreamCells;
use body::{RequestBody, Upload};
use connect::Unanswered;
use driver::Received;
use pool::{Lease, Pools, Wanted};

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

/// Where connections go.
pub struct Endpoint {
    pub config: config::Endpoint,
    /// What is connected to, the first that accepts; where none is known, the host is resolved.
    addresses: Vec<SocketAddr>,
    /// In metrics and logs: as in the configuration, with the address where the host has several.
    pub label: String,
    /// Of the label, by which a consistent hash chooses.
    pub hash: u64,
    pub state: eject::State,
    /// Connections to it, and who waits for one.
    places: Arc<places::Total>,
    /// What the last active check found wrong; `None` before the first.
    last_check: Mutex<Option<Result<(), String>>>,
    /// When the certificate that it showed last expires, in seconds since 1970; 0 before the first.
    certificate_expires: AtomicI64,
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
        if matches!(error, Error::Overload | Error::Upload(_)) {
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

/// How often a request is sent again to an endpoint that refuses it over a connection which it keeps open:
/// one that has said meanwhile how many streams it takes refuses no more for that (RFC 9113, section 8.7).
const AGAIN: u32 = 1;

/// Where a request goes, and how.
struct Way<'w> {
    endpoint: &'w Arc<Endpoint>,
    timeouts: &'w UpstreamTimeouts,
    limits: &'w places::Limits,
    pools: &'w Pools,
    /// Whose connection it must be, where the endpoint is told.
    client: Option<Addresses>,
}

async fn send(
    way: &Way<'_>,
    mut request: Outgoing,
    upload: &Upload,
    cells: &UpstreamCells,
    mut now: Instant,
) -> Called {
    let Way {
        endpoint,
        timeouts,
        limits,
        pools,
        client,
    } = *way;
    let reply = |response: Response<Incoming>, lease: Lease| {
        Box::new(Reply {
            response: response.map(|body| Through::new(Received::new(body, lease.driver()))),
            lease,
            body_timeout: timeouts.body,
            switched: None,
            tunnel_timeout: timeouts.tunnel,
            busy: None,
        })
    };
    // HTTP/1.1 switches a whole connection; HTTP/2 alone, where it is all that is spoken, a stream.
    let asked = request.headers().get(UPGRADE).cloned();
    let alone = asked.is_some() && endpoint.config.protocol != config::Protocol::Http2;
    let wanted = Wanted { alone, client };
    let mut refused = 0;
    loop {
        let (mut lease, is_last) = match pools.take(endpoint, timeouts.idle, wanted, now) {
            Some(lease) => (lease, false),
            None => {
                // Boxed because it is rare, and large.
                let connected = pools.connect(endpoint, timeouts.connect, wanted, limits);
                match Box::pin(connected).await {
                    Ok((lease, made)) => {
                        now = Instant::now();
                        cells.connects.add(made.into());
                        // One that was found after all may have ended meanwhile.
                        (lease, made)
                    }
                    Err(error) => {
                        return Err(Failure {
                            error,
                            unsent: Some(request),
                        });
                    }
                }
            }
        };
        upload.progressed(now);
        match round_trip(&mut lease, request, asked.as_ref(), upload, timeouts).await {
            Ok(response) => return Ok(reply(response, lease)),
            Err(Failed::Unsent(unsent)) if is_last => {
                let closed = std::io::Error::other("closed as soon as it was made");
                return Err(Failure {
                    error: Error::Connect(closed),
                    unsent: Some(unsent),
                });
            }
            Err(Failed::Unsent(unsent)) => request = unsent,
            Err(Failed::Refused(unsent, error)) => {
                if refused == AGAIN {
                    return Err(Failure {
                        error,
                        unsent: Some(unsent),
                    });
                }
                refused += 1;
                request = unsent;
            }
            Err(Failed::Final(error)) => {
                return Err(Failure {
                    error,
                    unsent: None,
                });
            }
        }
        now = Instant::now();
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

enum Failed {
    /// Not one byte left: may go over another connection.
    Unsent(Outgoing),
    /// The same, but the connection stays.
    Refused(Outgoing, Error),
    Final(Error),
}

/// One request over one connection, until the response's head; `asked` is what it asks to switch to.
async fn round_trip(
    lease: &mut Lease,
    request: Outgoing,
    asked: Option<&HeaderValue>,
    upload: &Upload,
    timeouts: &UpstreamTimeouts,
) -> Result<Response<Incoming>, Failed> {
    let mut alarm = lease.take_alarm();
    let sent = {
        let mut sending = pin!(lease.send(request, asked.is_some()));
        poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(sent));
            }
            // The time for the answer begins anew with each piece of the request that was sent. While
            // the client owes the next piece, the body's own deadline runs instead, and this one is
            // looked at again later.
            let deadline = upload.upstream_owes_since() + timeouts.response;
            alarm.poll(cx, deadline.into()).map(|()| None)
        })
        .await
    };
    lease.keep_alarm(alarm);
    let Some(sent) = sent else {
        return Err(Failed::Final(Error::ResponseTimeout(timeouts.response)));
    };
    let response = sent.map_err(|error| match error {
        Unanswered::Unsent(request) => Failed::Unsent(request),
        Unanswered::Refused(request, error) => Failed::Refused(request, Error::Protocol(error)),
        Unanswered::CannotSwitch => Failed::Final(Error::CannotSwitch),
        Unanswered::Failed(error) => Failed::Final(match upload.fault() {
            Some(fault) => Error::Upload(fault),
            None => Error::Protocol(error),
        }),
    })?;
    if is_doubtful(&response) {
        return Err(Failed::Final(Error::Framing));
    }
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched && !asked.is_some_and(|asked| is_switched_to(asked, response.headers())) {
        return Err(Failed::Final(Error::Switched));
    }
    Ok(response)
}

/// Whether the one protocol that a 101 names is that which was asked for.
fn is_switched_to(asked: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(UPGRADE).iter();
    let first = named.next();
    first.is_some_and(|first| first.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
        && named.next().is_none()
}

/// Whether others could find the end of a response's body elsewhere. The HTTP code does not look where a
/// response to HEAD has none, and makes one of equal lengths.
fn is_doubtful(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if length.is_some_and(|length| lengths.next().is_some() || !is_length(length)) {
        return true;
    }
    // HTTP/2 has no such field.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| {
        codings.next().is_some()
            || length.is_some()
            || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
    })
}

/// Whether it is one number, and nothing else.
fn is_length(value: &HeaderValue) -> bool {
    let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
    digits && value.to_str().is_ok_and(|text| text.parse::<u64>().is_ok())
}

impl Endpoint {
    fn new(config: &config::Endpoint, addresses: Vec<SocketAddr>, several: bool) -> Self {
        let authority = config.authority();
        let label = match addresses.first() {
            Some(address) if several => format!("{authority} ({})", address.ip()),
            _ => authority,
        };
        Self {
            config: config.clone(),
            addresses,
            hash: balance::hash(label.as_bytes()),
            label,
            state: eject::State::default(),
            places: Arc::default(),
            last_check: Mutex::default(),
            certificate_expires: AtomicI64::new(0),
        }
    }

    #[cfg(test)]
    fn for_test(port: u16) -> Self {
        Self::new(&config::Endpoint::new("127.0.0.1", port), Vec::new(), false)
    }

    /// A connection for this client or for none, for as long as it takes.
    async fn open(&self, client: Option<Addresses>) -> std::io::Result<TcpStream> {
        if self.config.port == 0 {
            return Err(std::io::Error::other("no SRV records are known"));
        }
        let mut stream = if self.addresses.is_empty() {
            TcpStream::connect((self.config.host.as_str(), self.config.port)).await?
        } else {
            TcpStream::connect(self.addresses.as_slice()).await?
        };
        stream.set_nodelay(true)?;
        if let Some(version) = self.config.proxy_protocol {
            let header = proxy_protocol::header(version, client);
            stream.write_all(&header).await?;
        }
        Ok(stream)
    }

    /// Names it as the host of a request that names none.
    pub fn name_in(&self, headers: &mut HeaderMap) {
        // A host that was configured is a field's value.
        if let Ok(host) = HeaderValue::try_from(self.config.authority()) {
            headers.insert(HOST, host);
        }
    }

    /// Whether an active check was made.
    fn checked(&self) -> bool {
        self.last_check().is_some()
    }

    /// What the last active check found wrong, if there was one.
    pub fn last_check(&self) -> Option<Result<(), String>> {
        let last = self.last_check.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the certificate that it showed last expires, in seconds since 1970.
    pub fn certificate_expires(&self) -> Option<i64> {
        Some(self.certificate_expires.load(Relaxed)).filter(|seconds| *seconds != 0)
    }

    fn note_certificate(&self, expires: i64) {
        self.certificate_expires.store(expires, Relaxed);
    }

    fn note_check(&self, problem: Option<String>) {
        let last = self.last_check.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = Some(problem.map_or(Ok(()), Err));
    }
}
