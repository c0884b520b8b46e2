//! 3 — An accepted connection: HTTP/1.1, one exchange after the other, until it ends or drains.

pub mod admission;
pub mod respond;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::config;
use crate::exchange::{self, Client};
use crate::listener::drain::Watch;
use crate::metrics::ListenerCells;

/// Longest wait for the head of the one request on a connection that was accepted in a drain.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// What a listener's connections are served by.
pub struct Settings {
    head_timeout: Duration,
    max_head_bytes: usize,
    /// Most connections of one worker.
    share: Option<u64>,
    proxy_protocol: bool,
    cells: Arc<[ListenerCells]>,
}

impl Settings {
    pub fn new(config: &config::Listener, workers: usize, cells: Arc<[ListenerCells]>) -> Self {
        let share = config.max_connections;
        Self {
            share: share.map(|most| most.div_ceil(workers as u64)),
            proxy_protocol: config.proxy_protocol,
            head_timeout: config.timeouts.head,
            max_head_bytes: config.max_head_bytes,
            cells,
        }
    }
}

/// Why a request's head could not be read. No exchange begins with it, so there is no trace; the
/// parser answers by itself, or closes.
#[derive(Clone, Copy, Debug)]
pub enum BadHead {
    Malformed,
    TooLarge,
    /// The client left in the middle of it.
    Incomplete,
    /// It began, and did not come to its end in time.
    Timeout,
}

impl BadHead {
    pub const REASONS: [&'static str; 4] = ["malformed", "too_large", "incomplete", "timeout"];

    /// What ended a connection, if it was a head; `begun` where bytes of one were there.
    fn of(error: &hyper::Error, begun: bool) -> Option<Self> {
        if error.is_parse_too_large() {
            Some(Self::TooLarge)
        } else if error.is_parse() {
            Some(Self::Malformed)
        } else if begun && error.is_incomplete_message() {
            Some(Self::Incomplete)
        } else if begun && error.is_timeout() {
            Some(Self::Timeout)
        } else {
            None
        }
    }
}

/// Serves a connection to its end.
pub async fn serve(stream: TcpStream, client: Client, settings: &Settings, mut drain: Watch) {
    let mut told = client.worker.drain.is_draining();
    let head_timeout = if told {
        settings.head_timeout.min(LAST_HEAD)
    } else {
        settings.head_timeout
    };
    let (worker, peer) = (client.worker.index, client.peer);
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(exchange::serve(client, request).await) }
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .keep_alive(!told)
        .max_header_size(settings.max_head_bytes)
        // Alone, this lets a head be longer by what was read with its last piece.
        .max_buf_size(settings.max_head_bytes.max(8192))
        .serve_connection(TokioIo::new(stream), service);
    let ended = std::future::poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        // What has come was read before: hyper closes a connection at once that seems idle.
        if told || ended.is_ready() || !drain.poll(cx) {
            return ended;
        }
        told = true;
        Pin::new(&mut connection).graceful_shutdown();
        Pin::new(&mut connection).poll(cx)
    })
    .await;
    let Err(error) = ended else {
        return;
    };
    let begun = !connection.into_parts().read_buf.is_empty();
    if let Some(bad) = BadHead::of(&error, begun) {
        settings.cells[worker].bad_heads[bad as usize].inc();
        tracing::debug!(%peer, %error, "request could not be read");
    } else {
        tracing::debug!(%peer, %error, "client connection ended");
    }
}
