//! A connection of HTTP/1.1, which the exchange that has it reads and writes itself.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};

use http::header::{HOST, TE};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::socket::{Socket, TURN};
use super::{HEADS, Unanswered};
use crate::alarm::Alarm;
use crate::listener::proxy_protocol::Addresses;
use crate::upstream::body::{RequestBody, Upload};
use crate::upstream::driver::Driver;
use crate::upstream::places::Usable;
use crate::upstream::{Error, Outgoing};

/// For one request at a time. It is cut when dropped: by itself it would first send what an upstream
/// does not take, and hold the request's body, and with it the client's connection, for as long.
pub struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// Whose requests alone it is for, where the upstream was told.
    pub client: Option<Addresses>,
    pub(super) driver: Rc<Driver>,
    /// As of [`Socket`].
    left: Arc<AtomicUsize>,
    /// Of the last request, where it had a body.
    upload: Option<Upload>,
    /// Of the wait for an answer.
    pub(in crate::upstream) alarm: Alarm,
    _usable: Usable,
}

impl Http1 {
    /// Begins on a socket that is open.
    pub(in crate::upstream) async fn handshake(
        socket: Socket,
        client: Option<Addresses>,
        usable: Usable,
    ) -> Result<Self, Error> {
        let left = Arc::clone(&socket.left);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(TURN)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(Error::Protocol)?;
        Ok(Self {
            sender,
            client,
            driver: Driver::new(connection.with_upgrades()),
            left,
            upload: None,
            alarm: Alarm::default(),
            _usable: usable,
        })
    }

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

    pub(super) async fn send(
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

/// HTTP/1.1 names the host in a field. One that is there is of this try; the target's may be of one before.
pub(super) fn for_http1(request: &mut Request<RequestBody>) {
    if let Some(authority) = request.uri().authority().cloned() {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        request.headers_mut().remove(TE);
    }
}
