//! A connection that both sides have switched to another protocol, as WebSocket: bytes pass both
//! ways until both directions have ended, or nothing has passed for too long.
//!
//! The exchange lives as long. Its trace is handed off before the client sees the end of what the
//! upstream sends.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::life::{End, Life};
use super::state::State;
use crate::trace::SpanIndex;
use crate::upstream::Reply;
use crate::upstream::pool::Lease;

/// Longest wait for the connection to the upstream, once its 101 is there.
const SWITCH: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub struct Tunnel {
    life: Life,
    upstream: OnUpgrade,
    /// Its connection, which must not be cut before it is switched.
    lease: Lease,
    idle: Duration,
}

/// The protocol that a request of HTTP/1.1 asks to switch to.
pub(super) fn asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(UPGRADE)?;
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    named.then(|| upgrade.clone())
}

/// Asks the upstream for what the client asked, where that may be; says whether it did.
pub(super) fn ask<B>(state: &State, request: &mut Request<B>, allowed: &[String]) -> bool {
    let Some(protocol) = &state.request.upgrade else {
        return false;
    };
    let text = protocol.as_bytes();
    if !allowed
        .iter()
        .any(|allowed| text.eq_ignore_ascii_case(allowed.as_bytes()))
    {
        return false;
    }
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
    true
}

impl Tunnel {
    /// `None` where the response is none that switches: `headers` then stay as they are.
    pub(super) fn open(
        reply: &mut Reply,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Option<OnUpgrade> {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let protocol = reply.switched.take()?;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        Some(hyper::upgrade::on(&mut reply.response))
    }

    pub(super) fn new(life: Life, upstream: OnUpgrade, lease: Lease, idle: Duration) -> Self {
        Self {
            life,
            upstream,
            lease,
            idle,
        }
    }

    /// Passes bytes until the end; `early` came behind the request's head.
    pub async fn run(self, client: impl AsyncRead + AsyncWrite + Unpin, early: Bytes) {
        let Self {
            mut life,
            upstream,
            lease,
            idle,
        } = self;
        let switched = tokio::time::timeout(SWITCH, upstream).await;
        let _lease = lease.once_switched();
        let Ok(Ok(upstream)) = switched else {
            life.finish(End::UpstreamBody("upgrade"), Instant::now().into_std());
            return;
        };
        let progress = Progress {
            last: Cell::new(Instant::now()),
            received: Cell::new(0),
            sent: Cell::new(0),
            clients_fault: Cell::new(false),
        };
        let life = RefCell::new(life);
        let mut client = Client {
            io: client,
            early,
            progress: &progress,
            life: &life,
            hold: None,
        };
        let mut upstream = TokioIo::new(upstream);
        let ended = {
            let mut copying = pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
            let mut timer = pin!(sleep_until(progress.last.get() + idle));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(copied) = copying.as_mut().poll(cx) {
                    return Poll::Ready(match copied {
                        Ok(_) => End::Complete,
                        Err(_) if progress.clients_fault.get() => End::ClientGone,
                        Err(_) => End::UpstreamBody("tunnel"),
                    });
                }
                while timer.as_mut().poll(cx).is_ready() {
                    let deadline = progress.last.get() + idle;
                    if deadline <= Instant::now() {
                        return Poll::Ready(End::UpstreamBody("tunnel_idle"));
                    }
                    timer.as_mut().reset(deadline);
                }
                Poll::Pending
            })
            .await
        };
        finish(&mut life.borrow_mut(), &progress, ended);
    }
}

/// What has passed, for the idle deadline and the trace.
struct Progress {
    last: Cell<Instant>,
    /// Bytes from the client, and to it.
    received: Cell<u64>,
    sent: Cell<u64>,
    clients_fault: Cell<bool>,
}

impl Progress {
    fn passed(&self, bytes: &Cell<u64>, len: usize) {
        bytes.set(bytes.get() + len as u64);
        self.last.set(Instant::now());
    }
}

fn finish(life: &mut Life, progress: &Progress, end: End) {
    if life.has_ended() {
        return;
    }
    let recorder = &mut life.state().recorder;
    let count = |bytes: &Cell<u64>| i64::try_from(bytes.get()).unwrap_or(i64::MAX);
    recorder.attribute(
        SpanIndex::ROOT,
        "weir.tunnel.received_bytes",
        count(&progress.received),
    );
    recorder.attribute(
        SpanIndex::ROOT,
        "weir.tunnel.sent_bytes",
        count(&progress.sent),
    );
    life.finish(end, Instant::now().into_std());
}

/// The client's side: counts, and ends the exchange before the client sees an end.
struct Client<'t, S> {
    io: S,
    early: Bytes,
    progress: &'t Progress,
    life: &'t RefCell<Life>,
    hold: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<S> Client<'_, S> {
    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = polled {
            self.progress.clients_fault.set(true);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Client<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.early.is_empty() {
            let read = Pin::new(&mut this.io).poll_read(cx, buf);
            ready!(this.noted(read))?;
        } else {
            let len = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..len]);
            this.early.advance(len);
        }
        let len = buf.filled().len() - before;
        this.progress.passed(&this.progress.received, len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Client<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        let len = ready!(this.noted(written))?;
        this.progress.passed(&this.progress.sent, len);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.noted(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        {
            let mut life = this.life.borrow_mut();
            finish(&mut life, this.progress, End::Complete);
            if let Some(hold) = life.take_hold() {
                this.hold = Some(Box::pin(hold.wait()));
            }
        }
        if let Some(hold) = &mut this.hold {
            ready!(hold.as_mut().poll(cx));
            this.hold = None;
        }
        let ended = Pin::new(&mut this.io).poll_shutdown(cx);
        this.noted(ended)
    }
}
