//! A client's connection, which ends where the client takes nothing of what it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exchange::patience::Patience;

/// See the module's documentation.
pub(super) struct Patient<S> {
    stream: S,
    /// With a client that takes nothing of what waits for it.
    patience: Patience,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, longest: Duration) -> Self {
        Self {
            stream,
            patience: Patience::new(longest),
        }
    }

    /// Notes whether the client took something: of what TLS keeps to itself, a flush tells.
    fn note<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.patience.renew(Instant::now);
            return polled;
        }
        ready!(self.patience.poll(0, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.note(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.note(ended, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_ends() {
        let (stream, _client) = duplex(16);
        let mut stream = Patient::new(stream, Duration::from_millis(10));
        let ended = stream.write_all(&[0; 100]).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    /// As TLS does with what fits into its own buffer.
    #[tokio::test]
    async fn what_is_written_and_not_taken_ends_at_its_flush() {
        let (stream, _client) = duplex(16);
        let stream = tokio::io::BufWriter::new(stream);
        let mut stream = Patient::new(stream, Duration::from_millis(10));
        stream.write_all(&[0; 100]).await.unwrap();
        let ended = stream.flush().await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let ended = stream.shutdown().await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_something_has_as_long_again() {
        let (stream, mut client) = duplex(16);
        let mut stream = Patient::new(stream, Duration::from_hours(1));
        stream.write_all(&[0; 16]).await.unwrap();
        let waits = poll_fn(|cx| {
            let written = Pin::new(&mut stream).poll_write(cx, &[0; 16]);
            Poll::Ready(written.is_pending())
        });
        assert!(waits.await);
        assert!(stream.patience.waits());
        client.read_exact(&mut [0; 16]).await.unwrap();
        stream.write_all(&[0; 16]).await.unwrap();
        assert!(!stream.patience.waits());
    }
}
