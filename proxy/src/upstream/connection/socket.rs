//! The bytes of a connection: taken in turns, and so many at most until a response's head has come. Of
//! HTTP/2, where other responses pass meanwhile, heads alone are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heads::Heads;
use crate::transport::Stream;
use crate::upstream::places::Place;

/// Most bytes that one connection takes at a time, so that an upstream which sends without end holds
/// nobody up.
pub(super) const TURN: usize = 64 << 10;

/// A connection's bytes, with its place: that is free once the socket is closed, also where a tunnel
/// has it by then.
pub(in crate::upstream) struct Socket {
    stream: Stream,
    /// Bytes that came since others had their turn.
    taken: usize,
    /// Bytes that may come; without a limit where no head is waited for.
    pub(super) left: Arc<AtomicUsize>,
    /// Of HTTP/2: what alone takes from that.
    pub(super) heads: Option<Heads>,
    _place: Place,
}

impl Socket {
    pub(in crate::upstream) fn new(stream: Stream, place: Place) -> Self {
        Self {
            stream,
            taken: 0,
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            heads: None,
            _place: place,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken >= TURN {
            this.taken = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        this.taken = match polled {
            Poll::Ready(_) => this.taken + came.len(),
            Poll::Pending => 0,
        };
        let left = this.left.load(Relaxed);
        if left != usize::MAX {
            let cost = match &mut this.heads {
                Some(heads) => heads.cost(came),
                None => came.len(),
            };
            let Some(left) = left.checked_sub(cost) else {
                let error = io::Error::other("too many bytes before a response's head");
                return Poll::Ready(Err(error));
            };
            this.left.store(left, Relaxed);
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
