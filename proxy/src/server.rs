//! 3 — An accepted connection, until it ends or drains: the TLS handshake, then HTTP/1.1
//! ([`http1`]) or HTTP/2 ([`http2`]).

pub mod admission;
mod flood;
mod http1;
mod http2;
mod io;
mod linger;
pub mod respond;
mod timer;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::config;
use crate::exchange::Client;
use crate::listener::drain::Watch;
use crate::metrics::ListenerCells;
use crate::tls;
use crate::transport::Stream;
use io::{Io, Sending};

/// Longest wait for the head of the one request on a connection that was accepted in a drain.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// What a listener's connections are served by.
pub struct Settings {
    tls: Option<Arc<tls::Server>>,
    http2: config::Http2,
    timeouts: config::ListenerTimeouts,
    max_head_bytes: usize,
    max_requests: u64,
    /// Over all workers.
    max_connections: Option<u64>,
    balance: config::ListenerBalance,
    proxy_protocol: bool,
    cells: Arc<[ListenerCells]>,
}

impl Settings {
    /// Keeps the TLS of `before` where it is the same, and so what clients resume sessions with.
    pub fn new(
        config: &config::Listener,
        before: Option<&Self>,
        cells: Arc<[ListenerCells]>,
    ) -> Self {
        let before = before.and_then(|before| before.tls.as_ref());
        let same = before.filter(|before| config.tls.as_ref() == Some(before));
        Self {
            tls: same.or(config.tls.as_ref()).cloned(),
            http2: config.http2,
            timeouts: config.timeouts,
            max_connections: config.max_connections,
            balance: config.balance,
            proxy_protocol: config.proxy_protocol,
            max_head_bytes: config.max_head_bytes,
            max_requests: config.max_requests_per_connection.unwrap_or(u64::MAX),
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
}

/// Why Weir ended a connection that a client misused or left hanging.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// It took nothing of a response for too long.
    Stalled,
    /// HTTP/2 frames that carry nothing, or streams that are reset at once.
    Flood,
}

impl Cut {
    pub const REASONS: [&'static str; 2] = ["stalled", "flood"];
}

/// Serves a connection to its end.
pub async fn serve(stream: TcpStream, client: Client, settings: &Settings, drain: Watch) {
    if settings.tls.is_some() {
        // The rest is large, and who comes without TLS shall not hold memory for it.
        return Box::pin(serve_tls(stream, client, settings, drain)).await;
    }
    let sending = Rc::new(Sending::default());
    let io = Io::new(
        Stream::Plain(stream),
        settings.http2.enabled,
        Rc::clone(&sending),
    );
    either_version(io, &sending, client, settings, drain).await;
}

/// HTTP/1.1, unless the client begins with HTTP/2's preface.
async fn either_version(
    io: Io,
    sending: &Rc<Sending>,
    client: Client,
    settings: &Settings,
    mut drain: Watch,
) {
    let again = client.clone();
    if let Some(io) = http1::serve(io, sending, client, settings, &mut drain).await {
        Box::pin(http2::serve(io, sending, again, settings, drain)).await;
    }
}

async fn serve_tls(stream: TcpStream, mut client: Client, settings: &Settings, drain: Watch) {
    let Some(tls) = &settings.tls else {
        return;
    };
    let cells = &settings.cells[client.worker.index];
    let limit = if client.worker.drain.is_draining() {
        settings.timeouts.handshake.min(LAST_HEAD)
    } else {
        settings.timeouts.handshake
    };
    let stream = match tls.accept(stream, limit).await {
        Ok(Some(stream)) => stream,
        Ok(None) => return,
        Err(failure) => {
            cells.handshake_failures[failure.index()].inc();
            tracing::debug!(peer = %client.peer, error = %failure, "no TLS handshake");
            return;
        }
    };
    cells.handshakes.inc();
    let session = stream.get_ref().1;
    client.tls = Some(Rc::new(tls::Peer::of(session)));
    let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
    let stream = Stream::Tls(Box::new(stream.into()));
    let sending = Rc::new(Sending::default());
    if protocol.as_deref() == Some(tls::Alpn::Http2.id()) {
        let io = Io::http2(stream, Rc::clone(&sending));
        http2::serve(io, &sending, client, settings, drain).await;
    } else {
        let watching = protocol.is_none() && settings.http2.enabled;
        let io = Io::new(stream, watching, Rc::clone(&sending));
        either_version(io, &sending, client, settings, drain).await;
    }
}
