//! A response's body on its way to the client.
//!
//! It streams: a piece is asked of the upstream when the client can take one. With the last piece
//! in hand, before it is given out, the exchange ends: whoever has seen the end of a response has
//! its trace handed off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;

use super::life::{End, Life};
use super::patience::Patience;
use super::stream::{Broke, Through};
use super::trailers;
use super::tunnel::Tunnel;
use crate::plugin::stream::Stop;
use crate::upstream::Reply;
use crate::upstream::balance::Busy;
use crate::upstream::driver::Received;
use crate::upstream::pool::Lease;

/// Most bytes of a piece: once the last is given out, a body that was held counts as held no more.
const PIECE: usize = 64 << 10;

/// See the module's documentation.
pub struct Body {
    content: Content,
    life: Life,
}

enum Content {
    Empty,
    /// There is none: the connection is switched.
    Tunnel(Option<Box<Tunnel>>),
    Whole(Bytes, Option<Box<HeaderMap>>),
    /// Boxed, as all that is large here: the HTTP code moves a body with its response.
    Upstream(Box<Streaming>),
    /// The end, until the trace is on the disk.
    Held(Option<Box<Frame<Bytes>>>, Pin<Box<dyn Future<Output = ()>>>),
}

struct Streaming {
    body: Through<Received>,
    lease: Option<Lease>,
    patience: Patience,
    /// Since when the upstream keeps the client waiting.
    waiting: Option<Instant>,
    /// Why it broke off, until what came before has gone out.
    broken: Option<Broken>,
    _busy: Option<Busy>,
}

/// The body broke off: the client's connection is cut, never ended as if it were whole.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Broken {
    #[error("upstream's body did not reach its end: {0}")]
    Upstream(&'static str),
    #[error(transparent)]
    Stopped(Stop),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Upstream(reason) => Self::UpstreamBody(reason),
            Broken::Stopped(stop) => Self::Stopped(stop.reason()),
        }
    }
}

impl Body {
    /// A body that is at hand. The exchange ends at once where there is none.
    pub(super) fn whole(bytes: Bytes, trailers: Option<HeaderMap>, mut life: Life) -> Self {
        let is_empty = bytes.is_empty() && trailers.is_none();
        if is_empty || !life.state().may_have_body() {
            life.finish(End::Complete, Instant::now());
            return Self {
                content: Content::Empty,
                life,
            };
        }
        Self {
            content: Content::Whole(bytes, trailers.map(Box::new)),
            life,
        }
    }

    /// Returns when a response without a body may go out.
    pub(super) async fn may_begin(&mut self) {
        if let Some(hold) = self.life.take_hold() {
            hold.wait().await;
        }
    }

    /// The end of the exchange, with the last piece if there is one, and what it came over.
    fn end(
        &mut self,
        piece: Option<Frame<Bytes>>,
        lease: Option<Lease>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        complete(&mut self.life, lease);
        self.content = Content::Empty;
        match self.life.take_hold() {
            None => Poll::Ready(piece.map(Ok)),
            Some(hold) => {
                self.content = Content::Held(piece.map(Box::new), Box::pin(hold.wait()));
                self.poll_piece(cx)
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self;
        match &mut this.content {
            Content::Empty | Content::Tunnel(_) => Poll::Ready(None),
            Content::Whole(rest, trailers) => {
                let piece = rest.split_to(rest.len().min(PIECE));
                this.life.sends(piece.len());
                let is_last = rest.is_empty();
                match trailers.take() {
                    None if is_last => this.end(Some(Frame::data(piece)), None, cx),
                    Some(trailers) if piece.is_empty() => {
                        this.end(Some(Frame::trailers(*trailers)), None, cx)
                    }
                    behind => {
                        *trailers = behind;
                        Poll::Ready(Some(Ok(Frame::data(piece))))
                    }
                }
            }
            Content::Held(piece, hold) => {
                ready!(hold.as_mut().poll(cx));
                let piece = piece.take();
                this.content = Content::Empty;
                Poll::Ready(piece.map(|piece| Ok(*piece)))
            }
            Content::Upstream(streaming) => {
                let mut piece = ready!(streaming.poll_piece(cx, &mut this.life));
                if let Some(Ok(frame)) = &mut piece {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers::strip(trailers);
                        trailers::note_status(this.life.state(), trailers);
                    } else if let Some(data) = frame.data_ref() {
                        this.life.sends(data.len());
                    }
                }
                match piece {
                    Some(Ok(_)) if !streaming.has_ended() => Poll::Ready(piece),
                    Some(Err(broken)) => {
                        this.life.finish(broken.into(), Instant::now());
                        this.content = Content::Empty;
                        Poll::Ready(piece)
                    }
                    Some(Ok(_)) | None => {
                        let lease = streaming.lease.take();
                        this.end(piece.and_then(Result::ok), lease, cx)
                    }
                }
            }
        }
    }

    /// None; the exchange goes on in a tunnel.
    pub(super) fn tunnel(reply: Box<Reply>, upstream: OnUpgrade, mut life: Life) -> Self {
        let tunnel = Tunnel::new(life.take(), upstream, reply.lease, reply.tunnel_timeout);
        Self {
            content: Content::Tunnel(Some(Box::new(tunnel))),
            life,
        }
    }

    /// The tunnel that the connection is to become once this response has gone out.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.content {
            Content::Tunnel(tunnel) => tunnel.take(),
            _ => None,
        }
    }

    /// A body that streams from the upstream.
    pub(super) fn upstream(reply: Box<Reply>, life: Life) -> Self {
        let Reply {
            response,
            lease,
            body_timeout,
            busy,
            ..
        } = *reply;
        let body = response.into_body();
        Self::streaming(body, Some(lease), body_timeout, busy, life)
    }

    /// A body that is at hand, on its way through plugins.
    pub(super) fn streamed(body: Through<Received>, life: Life) -> Self {
        Self::streaming(body, None, Duration::MAX, None, life)
    }

    fn streaming(
        body: Through<Received>,
        lease: Option<Lease>,
        longest_wait: Duration,
        busy: Option<Busy>,
        mut life: Life,
    ) -> Self {
        let has_ended = body.is_end_stream();
        if has_ended || !life.state().may_have_body() {
            // What an upstream sends where there can be no body is nobody's, and ends what it came over.
            complete(&mut life, lease.filter(|_| has_ended));
            return Self {
                content: Content::Empty,
                life,
            };
        }
        let streaming = Box::new(Streaming {
            body,
            lease,
            patience: Patience::new(longest_wait),
            waiting: None,
            broken: None,
            _busy: busy,
        });
        Self {
            content: Content::Upstream(streaming),
            life,
        }
    }
}

/// Ends an exchange that went well, behind what its response came over.
fn complete(life: &mut Life, lease: Option<Lease>) {
    let now = Instant::now();
    if let Some(lease) = lease {
        life.worker().pools.give(lease, now);
    }
    life.finish(End::Complete, now);
}

impl Streaming {
    /// Whether it has come to its end; one that broke off never does.
    fn has_ended(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    /// The next piece; `Err` where the upstream broke off or stalled.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        life: &mut Life,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(piece) => {
                self.patience.renew(Instant::now);
                if let Some(since) = self.waiting.take() {
                    life.waited(since.elapsed());
                }
                let broke = match piece {
                    None => return Poll::Ready(None),
                    Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Some(Err(broke)) => broke,
                };
                // The connection is cut at once; what it waits to send goes out while this waits.
                self.broken = Some(match broke {
                    Broke::Source | Broke::Gone | Broke::TooLarge => {
                        Broken::Upstream("upstream_body")
                    }
                    Broke::Encoding => Broken::Upstream("upstream_encoding"),
                    Broke::Full => Broken::Upstream("overload"),
                    Broke::Stopped(stop) => Broken::Stopped(stop),
                });
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending if self.body.waits_for_guest() => Poll::Pending,
            Poll::Pending => {
                self.waiting.get_or_insert_with(Instant::now);
                ready!(self.patience.poll(self.body.seen(), cx));
                Poll::Ready(Some(Err(Broken::Upstream("upstream_body_timeout"))))
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.get_mut().poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty | Content::Tunnel(_) => true,
            Content::Whole(..) | Content::Held(..) => false,
            Content::Upstream(streaming) => streaming.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty | Content::Tunnel(_) => SizeHint::with_exact(0),
            Content::Whole(bytes, None) => SizeHint::with_exact(bytes.len() as u64),
            Content::Upstream(streaming) => streaming.body.size_hint(),
            Content::Whole(..) | Content::Held(..) => SizeHint::default(),
        }
    }
}
