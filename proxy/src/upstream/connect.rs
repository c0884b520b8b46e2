//! A connection to an endpoint: TCP, TLS where it is told so, and the version of HTTP.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::{RequestBody, Upload};
use super::driver::Driver;
use super::places::{Place, Usable};
use super::pool::Wanted;
use super::switch::Asked;
use super::{Endpoint, Error, Outgoing};
use crate::alarm::Alarm;
use crate::config::Protocol;
use crate::listener::proxy_protocol::Addresses;
use crate::tls::{Alpn, certificate};
use crate::transport::Stream;

/// What an upstream may send before it is taken: on a stream, and on all of a connection. One slow
/// client shall not hold the others' responses back.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// Most bytes of a request that wait for a stream's window.
const SEND_BUFFER: usize = 64 << 10;

/// Most bytes that the fields of a response may have.
const MAX_FIELDS: u32 = 64 << 10;

/// Most bytes that may come over HTTP/1.1 until a response's head has: of it, of interim responses before
/// it, and of what is read with it.
const HEADS: usize = 512 << 10;

/// When an upstream that says nothing is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);

/// How long an upstream may take to say what it takes.
const SETTINGS: Duration = Duration::from_secs(1);

/// How often it is looked whether they have come.
const LOOK: Duration = Duration::from_millis(5);

/// Most requests on one connection, whatever the upstream allows.
const MAX_STREAMS: usize = 100;

/// An open connection.
pub enum Connection {
    Http1(Http1),
    Http2(Rc<Http2>),
}

/// For one request at a time. It is cut when dropped: by itself it would first send what an upstream
/// does not take, and hold the request's body, and with it the client's connection, for as long.
pub struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// Whose requests alone it is for, where the upstream was told.
    pub client: Option<Addresses>,
    driver: Rc<Driver>,
    /// Bytes that may come; without a limit where no head is waited for.
    left: Arc<AtomicUsize>,
    /// Of the last request, where it had a body.
    upload: Option<Upload>,
    /// Of the wait for an answer.
    pub(super) alarm: Alarm,
    _usable: Usable,
}

impl Http1 {
    /// Looks at what has come of the upstream while nobody had it, as its end.
    pub fn look(&self) {
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Whether a request can be sent now. It is looked at only where it has to be: one that has ended
    /// meanwhile gives the request back.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready() || {
            self.look();
            self.sender.is_ready()
        }
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it still sends a request, though its response may have ended.
    pub fn is_sending(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::is_open)
    }

    async fn send(
        &mut self,
        mut request: Outgoing,
        asked: bool,
    ) -> Result<Response<Incoming>, Unanswered> {
        for_http1(&mut request);
        self.upload = request.body().upload();
        let driver = &self.driver;
        if asked || !request.body().is_end_stream() {
            driver.go_apart();
        }
        self.left.store(HEADS, Relaxed);
        let sending = driver.silently(|| self.sender.try_send_request(*request));
        let mut sending = pin!(sending);
        let sent = poll_fn(|cx| driver.drive(cx, |cx| sending.as_mut().poll(cx))).await;
        self.left.store(usize::MAX, Relaxed);
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Failed(error.into_error()),
        })
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.driver.cut();
    }
}

/// For many requests. It ends by itself when the last that knows it is gone.
pub struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// As of [`Http1`].
    pub client: Option<Addresses>,
    scheme: Scheme,
    /// Under way.
    streams: Cell<usize>,
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
    async fn send(&self, mut request: Outgoing) -> Result<Response<Incoming>, Unanswered> {
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
    }

    pub fn end(&self) {
        self.streams.set(self.streams.get() - 1);
        self.used.set(Instant::now());
        if let Some(usable) = &*self.usable.borrow() {
            usable.free_stream();
        }
    }

    /// Requests under way are the last: it closes behind them.
    pub fn retire(&self) {
        self.usable.take();
    }
}

/// Why a request got no response.
pub enum Unanswered {
    /// Not a byte of it was looked at: it may go over another connection.
    Unsent(Outgoing),
    /// Nor here, but the connection stays open, and may refuse it again.
    Refused(Outgoing, hyper::Error),
    Failed(hyper::Error),
    /// The upstream cannot be asked to switch to another protocol.
    CannotSwitch,
}

impl Connection {
    /// What its responses' bodies are received by.
    pub fn driver(&self) -> Option<Rc<Driver>> {
        match self {
            Self::Http1(connection) => Some(Rc::clone(&connection.driver)),
            Self::Http2(_) => None,
        }
    }

    /// Sends a request whose target is in origin form, which may have `asked` to switch, and waits for
    /// the response's head.
    pub async fn send(
        &mut self,
        request: Outgoing,
        asked: bool,
    ) -> Result<Response<Incoming>, Unanswered> {
        match self {
            Self::Http1(connection) => connection.send(request, asked).await,
            // Boxed because it is large, and HTTP/1.1 shall not pay for it.
            Self::Http2(connection) => Box::pin(connection.send(request)).await,
        }
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

/// Whether a request was never sent because of what it says itself: nothing that the upstream did.
pub fn is_requests_fault(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    cause
        .and_then(|error| error.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.reason().is_none() && !error.is_io())
}

/// HTTP/1.1 names the host in a field. One that is there is of this try; the target's may be of one before.
fn for_http1(request: &mut Request<RequestBody>) {
    if let Some(authority) = request.uri().authority().cloned() {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        request.headers_mut().remove(TE);
    }
}

/// HTTP/2 names it in the target, and has no framing in fields. Trailers are always taken.
fn for_http2(request: &mut Request<RequestBody>, scheme: &Scheme) {
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

/// Makes one, for as long as it takes.
pub(super) async fn connect(
    endpoint: &Endpoint,
    Wanted { alone, client }: Wanted,
    (place, usable): (Place, Usable),
) -> Result<Connection, Error> {
    let stream = endpoint.open(client).await.map_err(Error::Connect)?;
    let config = &endpoint.config;
    let (stream, speaks) = match &config.tls {
        None => (Stream::Plain(stream), None),
        Some(tls) => encrypted(tls, endpoint, stream, alone).await?,
    };
    let http2 = match config.protocol {
        Protocol::Http1 => false,
        _ if alone => false,
        Protocol::Auto => speaks == Some(Alpn::Http2),
        Protocol::Http2 if config.tls.is_some() && speaks != Some(Alpn::Http2) => {
            let error = io::Error::other("the upstream does not speak HTTP/2");
            return Err(Error::Tls(error));
        }
        Protocol::Http2 => true,
    };
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let io = TokioIo::new(Socket {
        stream,
        taken: 0,
        left: Arc::clone(&left),
        _place: place,
    });
    if http2 {
        let scheme = if config.tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        return connect_http2(io, scheme, client, usable).await;
    }
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(TURN)
        .handshake(io)
        .await
        .map_err(Error::Protocol)?;
    Ok(Connection::Http1(Http1 {
        sender,
        client,
        driver: Driver::new(connection.with_upgrades()),
        left,
        upload: None,
        alarm: Alarm::default(),
        _usable: usable,
    }))
}

async fn encrypted(
    tls: &crate::tls::client::Client,
    endpoint: &Endpoint,
    stream: TcpStream,
    alone: bool,
) -> Result<(Stream, Option<Alpn>), Error> {
    let host = &endpoint.config.host;
    let stream = tls.connect(host, stream, alone).await.map_err(Error::Tls)?;
    let shown = stream.get_ref().1.peer_certificates();
    if let Some(expires) = shown.and_then(certificate::expires) {
        endpoint.note_certificate(expires);
    }
    let chosen = stream.get_ref().1.alpn_protocol();
    let chosen = [Alpn::Http1, Alpn::Http2]
        .into_iter()
        .find(|alpn| chosen == Some(alpn.id()));
    Ok((Stream::Tls(Box::new(stream.into())), chosen))
}

async fn connect_http2(
    io: TokioIo<Socket>,
    scheme: Scheme,
    client: Option<Addresses>,
    usable: Usable,
) -> Result<Connection, Error> {
    let (sender, connection) = http2::Builder::new(Tasks)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_FIELDS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .handshake(io)
        .await
        .map_err(Error::Protocol)?;
    let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
    let told = Rc::clone(&allowed);
    let connection = Rc::new(RefCell::new(connection));
    let looked_at = Rc::downgrade(&connection);
    let takes_connect = Box::new(move || {
        (looked_at.upgrade())
            .is_some_and(|connection| connection.borrow().is_extended_connect_protocol_enabled())
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
    Ok(Connection::Http2(Rc::new(Http2 {
        sender,
        client,
        scheme,
        streams: Cell::new(0),
        allowed,
        made,
        used: Cell::new(made),
        usable: RefCell::new(Some(usable)),
        takes_connect,
    })))
}

/// A connection's bytes, with its place: that is free once the socket is closed, also where a tunnel
/// has it by then.
struct Socket {
    stream: Stream,
    /// Bytes that came since others had their turn.
    taken: usize,
    /// As of [`Http1`].
    left: Arc<AtomicUsize>,
    _place: Place,
}

/// Most bytes that one connection takes at a time, so that an upstream which sends without end holds
/// nobody up.
const TURN: usize = 64 << 10;

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.taken >= TURN {
            self.taken = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        self.taken = match polled {
            Poll::Ready(_) => self.taken + came,
            Poll::Pending => 0,
        };
        let left = self.left.load(Relaxed);
        if left != usize::MAX {
            let Some(left) = left.checked_sub(came) else {
                let error = io::Error::other("too many bytes before a response's head");
                return Poll::Ready(Err(error));
            };
            self.left.store(left, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request<RequestBody> {
        Request::get("/a?b=c")
            .header("host", "shop.example:81")
            .header("transfer-encoding", "chunked")
            .header("x", "y")
            .body(RequestBody::empty())
            .unwrap()
    }

    #[test]
    fn http2_has_the_host_in_its_target_and_no_framing_in_fields() {
        let mut request = request();
        for_http2(&mut request, &Scheme::HTTPS);
        assert_eq!(request.uri(), "https://shop.example:81/a?b=c");
        let mut names: Vec<_> = request
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["te", "x"]);
    }

    #[test]
    fn a_request_that_was_for_http2_is_one_of_http1_again() {
        let mut request = request();
        for_http2(&mut request, &Scheme::HTTP);
        for_http1(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "shop.example:81");
        assert_eq!(request.headers().get("te"), None);
    }

    #[test]
    fn a_further_try_has_the_host_that_it_was_given() {
        let mut request = request();
        for_http2(&mut request, &Scheme::HTTP);
        let other = HeaderValue::from_static("other.example");
        request.headers_mut().insert(HOST, other);
        for_http1(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "other.example");
    }
}
