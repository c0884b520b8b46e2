//! What lies between a client's connection and the HTTP code: finds out which version a client
//! begins with, counts HTTP/2's frames, and sees whether the client takes what it is sent.
//!
//! HTTP/1.1 pays for it with a branch a read and a write: nothing is copied, and no read is more.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Flood;
use crate::exchange::patience::Patience;
use crate::transport::Stream;

/// What HTTP/2 begins with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module's documentation.
pub(super) struct Io {
    stream: Stream,
    inbound: Inbound,
    sending: Rc<Sending>,
}

enum Inbound {
    /// Passed on as it comes.
    Plain,
    /// So many bytes came, and all were the preface's; they are kept back.
    Undecided(usize),
    /// The preface came, with these bytes behind it: the end for HTTP/1.1.
    Preface(Vec<u8>),
    /// HTTP/2, which first reads what was kept back.
    Frames {
        kept: Vec<u8>,
        read: usize,
        flood: Box<Flood>,
    },
}

/// How the client takes what it is sent, for who watches over the connection.
#[derive(Default)]
pub(super) struct Sending {
    blocked: Cell<bool>,
    /// Writes so far.
    count: Cell<u64>,
    flooded: Cell<bool>,
}

impl Sending {
    /// Ready when the client has taken nothing for too long; to be asked after the connection was polled,
    /// and is pending. It costs nothing while nothing waits to be written.
    pub(super) fn poll_stall(&self, patience: &mut Patience, cx: &mut Context<'_>) -> Poll<()> {
        if self.blocked.get() {
            patience.poll(self.count.get(), cx)
        } else {
            Poll::Pending
        }
    }

    /// Whether the connection was ended for what [`Flood`] looks for.
    pub(super) fn flooded(&self) -> bool {
        self.flooded.get()
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending() {
            self.blocked.set(true);
        } else {
            self.blocked.set(false);
            self.count.set(self.count.get().wrapping_add(1));
        }
        polled
    }
}

impl Io {
    /// For HTTP/1.1; `watching` for HTTP/2's preface too.
    pub(super) fn new(stream: Stream, watching: bool, sending: Rc<Sending>) -> Self {
        Self {
            stream,
            inbound: if watching {
                Inbound::Undecided(0)
            } else {
                Inbound::Plain
            },
            sending,
        }
    }

    /// For HTTP/2 from the first byte.
    pub(super) fn http2(stream: Stream, sending: Rc<Sending>) -> Self {
        Self {
            stream,
            inbound: Inbound::Frames {
                kept: Vec::new(),
                read: 0,
                flood: Box::new(Flood::new()),
            },
            sending,
        }
    }

    /// Goes on as HTTP/2 where the preface came; gives it back where it did not.
    pub(super) fn into_http2(self) -> Result<Self, Self> {
        match self.inbound {
            Inbound::Preface(behind) => Ok(Self {
                stream: self.stream,
                inbound: Inbound::Frames {
                    kept: [PREFACE, &behind].concat(),
                    read: 0,
                    flood: Box::new(Flood::new()),
                },
                sending: self.sending,
            }),
            inbound => Err(Self { inbound, ..self }),
        }
    }

    /// Whether bytes are kept back that begin a request.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.inbound, Inbound::Undecided(1..))
    }

    fn poll_undecided(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let Inbound::Undecided(held) = self.inbound else {
                return Pin::new(&mut self.stream).poll_read(cx, buf);
            };
            let before = buf.filled().len();
            if held > 0 {
                // Room is needed for what is held back too, and little more can come.
                let mut small = [0; 64];
                let room = buf.remaining().saturating_sub(held).min(small.len());
                let mut piece = ReadBuf::new(&mut small[..room]);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
                buf.put_slice(&PREFACE[..held]);
                buf.put_slice(piece.filled());
                if piece.filled().is_empty() {
                    self.inbound = Inbound::Plain;
                    return Poll::Ready(Ok(()));
                }
            } else {
                ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            }
            let come = &buf.filled()[before..];
            let len = come.len().min(PREFACE.len());
            if come.is_empty() || come[..len] != PREFACE[..len] {
                self.inbound = Inbound::Plain;
                return Poll::Ready(Ok(()));
            }
            let behind = come[len..].to_vec();
            buf.set_filled(before);
            if len == PREFACE.len() {
                self.inbound = Inbound::Preface(behind);
                return Poll::Ready(Err(io::Error::other("HTTP/2 begins")));
            }
            self.inbound = Inbound::Undecided(len);
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.inbound {
            Inbound::Plain => Pin::new(&mut this.stream).poll_read(cx, buf),
            Inbound::Undecided(_) => this.poll_undecided(cx, buf),
            Inbound::Preface(_) => Poll::Ready(Err(io::Error::other("HTTP/2 begins"))),
            Inbound::Frames { kept, read, flood } => {
                let before = buf.filled().len();
                if *read < kept.len() {
                    let rest = &kept[*read..];
                    let len = rest.len().min(buf.remaining());
                    buf.put_slice(&rest[..len]);
                    *read += len;
                    if *read == kept.len() {
                        *kept = Vec::new();
                        *read = 0;
                    }
                } else {
                    ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                }
                let taken = flood.received(&buf.filled()[before..]);
                Poll::Ready(taken.map_err(|flooded| {
                    this.sending.flooded.set(true);
                    io::Error::other(flooded)
                }))
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let (Inbound::Frames { flood, .. }, Poll::Ready(Ok(len))) = (&mut this.inbound, &written)
        {
            flood.sent(&buf[..*len]);
        }
        this.sending.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        if let (Inbound::Frames { flood, .. }, Poll::Ready(Ok(len))) = (&mut this.inbound, &written)
        {
            let mut left = *len;
            for buf in bufs {
                let len = left.min(buf.len());
                flood.sent(&buf[..len]);
                left -= len;
            }
        }
        this.sending.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Pending => this.sending.note(Poll::Pending),
            flushed @ Poll::Ready(_) => flushed,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Inbound::Preface(_) = this.inbound {
            // HTTP/1.1 ends here, and the connection goes on.
            return Poll::Ready(Ok(()));
        }
        let ended = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.sending.note(ended)
    }
}
