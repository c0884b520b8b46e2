//! A connection of HTTP/2, which many exchanges share; a task of its own reads and writes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::heads::Heads;
use super::socket::Socket;
use super::{HEADS, Unanswered};
use crate::listener::proxy_protocol::Addresses;
use crate::upstream::body::RequestBody;
use crate::upstream::places::Usable;
use crate::upstream::switch::Asked;
use crate::upstream::{Error, Outgoing};

/// What an upstream may send before it is taken: on a stream, and on all of a connection. One slow
/// client shall not hold the others' responses back.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// Most bytes of a request that wait for a stream's window.
const SEND_BUFFER: usize = 64 << 10;

/// Most bytes that the fields of a response may have.
const MAX_FIELDS: u32 = 64 << 10;

/// When an upstream that says nothing is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);

/// How long an upstream may take to say what it takes.
const SETTINGS: Duration = Duration::from_secs(1);

/// How often it is looked whether they have come.
const LOOK: Duration = Duration::from_millis(5);

/// Most requests on one connection, whatever the upstream allows.
const MAX_STREAMS: usize = 100;

/// For many requests. It ends by itself when the last that knows it is gone.
pub struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// As of [`Http1`](super::Http1).
    pub client: Option<Addresses>,
    scheme: Scheme,
    /// Under way.
    streams: Cell<usize>,
    /// As of [`Socket`]: each request gives to it.
    left: Arc<AtomicUsize>,
    /// What the upstream allows.
    allowed: Rc<Cell<usize>>,
    made: Instant,
    /// When the last request ended.
    used: Cell<Instant>,
    /// `None` once no more requests are to use it.
    usable: RefCell<Option<Usable>>,
    /// Whether the upstream has said with its settings that it takes extended CONNECT.
    takes_connect: Box<dyn Fn() -> bool>,
}

impl Http2 {
    /// Begins on a socket that is open.
    pub(in crate::upstream) async fn handshake(
        mut socket: Socket,
        scheme: Scheme,
        client: Option<Addresses>,
        usable: Usable,
    ) -> Result<Self, Error> {
        socket.heads = Some(Heads::default());
        let left = Arc::clone(&socket.left);
        left.store(HEADS, Relaxed);
        let (sender, connection) = http2::Builder::new(Tasks)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_FIELDS)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(Error::Protocol)?;
        let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
        let told = Rc::clone(&allowed);
        let connection = Rc::new(RefCell::new(connection));
        let looked_at = Rc::downgrade(&connection);
        let takes_connect = Box::new(move || {
            (looked_at.upgrade()).is_some_and(|connection| {
                connection.borrow().is_extended_connect_protocol_enabled()
            })
        });
        tokio::task::spawn_local(async move {
            let ended = poll_fn(|cx| {
                let mut connection = connection.borrow_mut();
                let polled = Pin::new(&mut *connection).poll(cx);
                told.set(connection.current_max_send_streams());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let made = Instant::now();
        Ok(Self {
            sender,
            client,
            scheme,
            streams: Cell::new(0),
            left,
            allowed,
            made,
            used: Cell::new(made),
            usable: RefCell::new(Some(usable)),
            takes_connect,
        })
    }

    pub(super) async fn send(
        &self,
        mut request: Outgoing,
    ) -> Result<Response<Incoming>, Unanswered> {
        for_http2(&mut request, &self.scheme);
        let asked = Asked::take(&mut request);
        if asked.is_some() && !self.takes_connect().await {
            return Err(Unanswered::CannotSwitch);
        }
        let spare = spare(&request);
        let is_safe = is_safe(request.method());
        let sending = self.sender.clone().try_send_request(*request);
        let mut error = match sending.await {
            Ok(mut response) => {
                if let Some(asked) = asked {
                    asked.answered(&mut response);
                }
                return Ok(response);
            }
            Err(error) => error,
        };
        if let Some(mut request) = error.take_message() {
            if let Some(asked) = asked {
                asked.restore(&mut request);
            }
            return Err(Unanswered::Unsent(Box::new(request)));
        }
        let error = error.into_error();
        Err(match (spare, untouched(&error)) {
            (Some(spare), Some(Untouched::Leaving)) if is_safe => {
                Unanswered::Unsent(Box::new(spare))
            }
            (Some(mut spare), Some(Untouched::Refused)) => {
                if let Some(asked) = asked {
                    asked.restore(&mut spare);
                }
                Unanswered::Refused(Box::new(spare), error)
            }
            _ => Unanswered::Failed(error),
        })
    }

    /// Whether the upstream takes extended CONNECT. A new connection's settings are waited for a
    /// little: they come to a task of the HTTP code's own, which wakes nobody. One that has ended is
    /// not waited for, and gives the request back.
    async fn takes_connect(&self) -> bool {
        while !(self.takes_connect)() && !self.is_closed() {
            if self.made.elapsed() >= SETTINGS {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether another request may be sent now.
    pub fn has_room(&self) -> bool {
        !self.is_closed() && self.streams.get() < self.allowed.get().clamp(1, MAX_STREAMS)
    }

    /// For how long no request was under way; nothing while one is.
    pub fn idle(&self) -> Duration {
        if self.streams.get() > 0 {
            Duration::ZERO
        } else {
            self.used.get().elapsed()
        }
    }

    pub fn is_unused(&self) -> bool {
        self.streams.get() == 0
    }

    pub fn begin(&self) {
        self.streams.set(self.streams.get() + 1);
        self.allow(HEADS);
    }

    pub fn end(&self) {
        self.streams.set(self.streams.get() - 1);
        self.used.set(Instant::now());
        self.allow(0);
        if let Some(usable) = &*self.usable.borrow() {
            usable.free_stream();
        }
    }

    /// Lets heads cost so much more, up to what those under way may, and one whose heads still come though
    /// nobody waits for it any more.
    fn allow(&self, more: usize) {
        let most = HEADS * (self.streams.get() + 1);
        let left = self.left.load(Relaxed) + more;
        self.left.store(left.min(most), Relaxed);
    }

    /// Requests under way are the last: it closes behind them.
    pub fn retire(&self) {
        self.usable.take();
    }
}

/// The same request again, where it has no body: HTTP/2 gives no request back.
fn spare(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    request.body().is_end_stream().then(|| {
        let mut spare = Request::new(RequestBody::empty());
        *spare.method_mut() = request.method().clone();
        *spare.uri_mut() = request.uri().clone();
        *spare.headers_mut() = request.headers().clone();
        spare
    })
}

/// Whether nothing can happen twice.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Why an upstream did nothing with a request.
enum Untouched {
    /// It goes away, and the connection with it; it may have begun with the request all the same.
    Leaving,
    /// It refused the request's stream: nothing was done, whatever the method (RFC 9113, section 8.7).
    Refused,
}

/// Whether the upstream says that it did nothing with a request.
fn untouched(error: &hyper::Error) -> Option<Untouched> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            if !error.is_remote() {
                return None;
            }
            if error.is_go_away() {
                return Some(Untouched::Leaving);
            }
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return refused.then_some(Untouched::Refused);
        }
        cause = error.source();
    }
    None
}

/// HTTP/2 names it in the target, and has no framing in fields. Trailers are always taken.
pub(super) fn for_http2(request: &mut Request<RequestBody>, scheme: &Scheme) {
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if let Some(authority) = authority {
        let mut target = request.uri().clone().into_parts();
        target.scheme = Some(scheme.clone());
        target.authority = Some(authority);
        target
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        if let Ok(uri) = Uri::from_parts(target) {
            *request.uri_mut() = uri;
        }
    }
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    *request.version_mut() = http::Version::HTTP_2;
}

/// Runs a connection's streams on the worker's thread.
#[derive(Clone)]
struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
