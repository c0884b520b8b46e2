//! What of responses is on its way to a client, and for how long nothing of it has left.
//!
//! The HTTP code takes a piece whole as soon as a byte of it fits the stream's window, and with the last
//! one it has done with the stream, whether or not that ever leaves. So pieces are small, each says when
//! it moves and when it is gone, sent or dropped, and a response that is not small ends only once all of
//! it has left: until then its stream alone can be reset.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::Streams;
use crate::exchange::body::{Body, Broken};

/// Most bytes of a piece: what a frame has.
const PIECE: usize = 16 << 10;

/// A response of no more bytes ends with its last piece: to wait would cost it a frame more.
const SMALL: usize = PIECE;

/// How many times as long a stream may wait while others of its connection get their turns.
const TURNS: u32 = 10;

/// A stream; open while anybody has it, and so while a piece of it is on its way.
pub(super) struct Stream {
    streams: Rc<Streams>,
    /// On their way.
    pieces: Cell<usize>,
    /// When bytes last left, or came where there were none.
    moved: Cell<Instant>,
    /// Who waits until none is on its way.
    waker: Cell<Option<Waker>>,
}

impl Stream {
    pub(super) fn new(streams: Rc<Streams>) -> Rc<Self> {
        let now = Instant::now();
        streams.open.set(streams.open.get() + 1);
        streams.changed.set(now);
        Rc::new(Self {
            streams,
            moved: Cell::new(now),
            pieces: Cell::default(),
            waker: Cell::default(),
        })
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    fn has_left(&self) -> bool {
        self.pieces.get() == 0
    }

    fn moves(&self) {
        let now = Instant::now();
        self.moved.set(now);
        self.streams().moved.set(now);
    }

    /// Until when something of it must leave; `None` while there is nothing that could.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.has_left() {
            return None;
        }
        let (own, limit) = (self.moved.get(), self.streams.send_timeout);
        let last = own.max(self.streams.moved.get());
        Some((last + limit).min(own + limit * TURNS))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get() - 1);
        self.streams.changed.set(Instant::now());
    }
}

/// Streams that the HTTP code has done with, and of which something may be on its way. It cannot be had
/// back: where nothing of it leaves, the connection is to be cut.
#[derive(Default)]
pub(super) struct Behind(RefCell<Vec<Weak<Stream>>>);

impl Behind {
    pub(super) fn add(&self, stream: &Rc<Stream>) {
        if stream.has_left() {
            return;
        }
        let mut all = self.0.borrow_mut();
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
        }
        all.push(Rc::downgrade(stream));
    }

    /// Whether nothing of one of them has left for too long.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let all = self.0.borrow();
        let mut deadlines = all.iter().filter_map(|stream| stream.upgrade()?.deadline());
        deadlines.any(|deadline| deadline <= now)
    }
}

/// A piece of a response's body.
pub(super) struct Piece {
    bytes: Bytes,
    stream: Rc<Stream>,
}

impl Piece {
    fn new(bytes: Bytes, stream: &Rc<Stream>) -> Self {
        if stream.has_left() {
            stream.moved.set(Instant::now());
        }
        stream.pieces.set(stream.pieces.get() + 1);
        Self {
            bytes,
            stream: Rc::clone(stream),
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.stream.moves();
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let left = self.stream.pieces.get() - 1;
        self.stream.pieces.set(left);
        if left == 0
            && let Some(waker) = self.stream.waker.take()
        {
            waker.wake();
        }
    }
}

/// A response's body, in pieces.
pub(super) struct Pieces {
    body: Body,
    /// Of what it gave last.
    rest: Bytes,
    /// How many bytes it had so far.
    total: usize,
    /// What comes behind the last piece.
    trailers: Option<HeaderMap>,
    ended: bool,
    stream: Rc<Stream>,
}

impl Pieces {
    pub(super) fn new(body: Body, stream: Rc<Stream>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            total: 0,
            trailers: None,
            ended: false,
            stream,
        }
    }

    /// Whether its end is to wait.
    fn is_held(&self) -> bool {
        self.total > SMALL && !self.stream.has_left()
    }
}

impl http_body::Body for Pieces {
    type Data = Piece;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Broken>>> {
        let this = self.get_mut();
        loop {
            if !this.rest.is_empty() {
                let bytes = this.rest.split_to(this.rest.len().min(PIECE));
                this.total = this.total.saturating_add(bytes.len());
                let piece = Piece::new(bytes, &this.stream);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.ended || this.trailers.is_some() {
                if this.is_held() {
                    this.stream.waker.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                let trailers = this.trailers.take();
                return Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => this.ended = true,
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.rest = bytes,
                    Err(frame) => this.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && self.trailers.is_none()
            && (self.ended || self.body.is_end_stream())
            && !self.is_held()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
