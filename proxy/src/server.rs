//! 3 — An accepted connection: HTTP/1.1, one exchange after the other, until it ends or drains.

pub mod respond;

use std::convert::Infallible;
use std::pin::pin;
use std::task::Poll;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::config;
use crate::exchange::{self, Client};

/// Serves a connection to its end.
pub async fn serve(stream: TcpStream, client: Client, config: &config::Listener) {
    let worker = client.worker.clone();
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(exchange::serve(client, request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.head)
        .max_buf_size(config.max_head_bytes.max(8192));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut drain = worker.drain.watch();
    let mut told = false;
    let ended = std::future::poll_fn(|cx| {
        if !told && drain.poll(cx) {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "client connection ended");
    }
}
