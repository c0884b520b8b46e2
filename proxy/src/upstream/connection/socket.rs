//! The bytes of a connection: taken in turns, and so many at most until a response's head has come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    _place: Place,
}

impl Socket {
    pub(in crate::upstream) fn new(stream: Stream, place: Place) -> Self {
        Self {
            stream,
            taken: 0,
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            _place: place,
        }
    }
}

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
