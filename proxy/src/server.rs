//! 3 — An accepted connection: HTTP/1.1, one exchange after the other, until it ends or drains.

pub mod respond;

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::config;
use crate::exchange::{self, Client};
use crate::listener::drain::Watch;

/// Longest wait for the head of the one request on a connection that was accepted in a drain.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// What a listener's connections are served by.
pub struct Settings {
    head_timeout: Duration,
    max_head_bytes: usize,
}

impl Settings {
    pub fn new(config: &config::Listener) -> Self {
        Self {
            head_timeout: config.timeouts.head,
            max_head_bytes: config.max_head_bytes,
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
    if let Err(error) = ended {
        tracing::debug!(%error, "client connection ended");
    }
}
