//! HTTP/1.1: one exchange after the other.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::io::{Io, Sending};
use super::linger::linger;
use super::timer::Timer;
use super::{BadHead, Cut, LAST_HEAD, Settings};
use crate::exchange::patience::Patience;
use crate::exchange::tunnel::Tunnel;
use crate::exchange::{self, Client};
use crate::listener::drain::{Stage, Watch};

/// Serves a connection to its end; gives it back where the client begins with HTTP/2's preface.
pub(super) async fn serve(
    io: Io,
    sending: &Sending,
    client: Client,
    settings: &Settings,
    drain: &mut Watch,
) -> Option<Io> {
    let mut told = client.worker.drain.is_draining();
    let timeouts = &settings.timeouts;
    let head_timeout = if told {
        timeouts.head.min(LAST_HEAD)
    } else {
        timeouts.head
    };
    let (worker, peer) = (Rc::clone(&client.worker), client.peer);
    let client = Rc::new(client);
    let last: Rc<Last> = Rc::default();
    let noted = Rc::clone(&last);
    let left = Cell::new(settings.max_requests);
    let service = service_fn(move |request: Request<Incoming>| {
        let (client, noted) = (Rc::clone(&client), Rc::clone(&noted));
        noted.had_body.set(!request.body().is_end_stream());
        noted.is_served.set(true);
        left.set(left.get().saturating_sub(1));
        let last = left.get() == 0;
        async move {
            let whose = Rc::clone(&client);
            let mut response = exchange::serve(client, request).await;
            noted.is_served.set(false);
            let last = last || whose.is_leaving();
            if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            if let Some(tunnel) = response.body_mut().take_tunnel() {
                noted.tunnel.set(Some(tunnel));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(Timer::default())
        .header_read_timeout(head_timeout)
        .keep_alive(!told)
        .max_header_size(settings.max_head_bytes)
        // Alone, this lets a head be longer by what was read with its last piece.
        .max_buf_size(settings.max_head_bytes.max(8192))
        .serve_connection(TokioIo::new(io), service);
    let mut stall = Patience::new(timeouts.send);
    let mut was_idle = false;
    let ended = std::future::poll_fn(|cx| {
        let mut ended = Pin::new(&mut connection).poll(cx);
        // What has come was read before: hyper closes a connection at once that seems idle.
        if !told && ended.is_pending() && drain.poll(cx, Stage::Closing) {
            told = true;
            let is_served = last.is_served.get();
            Pin::new(&mut connection).graceful_shutdown();
            ended = Pin::new(&mut connection).poll(cx);
            // It ends at once where nothing was under way: the last request was read to its end then.
            was_idle = ended.is_ready() && !is_served;
        }
        match ended {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => sending.poll_stall(&mut stall, cx).map(|()| None),
        }
    })
    .await;
    let cells = &settings.cells[worker.index];
    let error = match ended {
        // An error before the first byte of a head ends a connection well: so does the preface.
        Some(Ok(())) => {
            let parts = connection.into_parts();
            let io = parts.io.into_inner();
            if let Some(tunnel) = last.tunnel.take() {
                Box::pin(tunnel.run(io, parts.read_buf)).await;
                return None;
            }
            let io = match io.into_http2() {
                Ok(http2) => return Some(http2),
                Err(io) => io,
            };
            // Of a body, or of further requests.
            let unread = last.had_body.get() && !was_idle || !parts.read_buf.is_empty();
            drop(parts.read_buf);
            if unread {
                Box::pin(linger(io)).await;
            }
            return None;
        }
        Some(Err(error)) => error,
        None => {
            cells.cuts[Cut::Stalled as usize].inc();
            tracing::debug!(%peer, "client takes nothing; cutting its connection");
            return None;
        }
    };
    let parts = connection.into_parts();
    let io = match parts.io.into_inner().into_http2() {
        Ok(http2) => return Some(http2),
        Err(io) => io,
    };
    let begun = !parts.read_buf.is_empty() || io.has_begun();
    drop(parts.read_buf);
    if let Some(bad) = bad_head(&error, begun) {
        cells.bad_heads[bad as usize].inc();
        tracing::debug!(%peer, %error, "request could not be read");
        if matches!(bad, BadHead::Malformed | BadHead::TooLarge) {
            Box::pin(linger(io)).await;
        }
    } else {
        tracing::debug!(%peer, %error, "client connection ended");
    }
    None
}

/// What a connection's last exchange leaves.
#[derive(Default)]
struct Last {
    tunnel: Cell<Option<Box<Tunnel>>>,
    /// Which may not have come to its end.
    had_body: Cell<bool>,
    /// It has no response yet.
    is_served: Cell<bool>,
}

/// What ended a connection, if it was a head; `begun` where bytes of one were there.
fn bad_head(error: &hyper::Error, begun: bool) -> Option<BadHead> {
    if error.is_parse_too_large() {
        Some(BadHead::TooLarge)
    } else if error.is_parse() {
        Some(BadHead::Malformed)
    } else if begun && error.is_incomplete_message() {
        Some(BadHead::Incomplete)
    } else if begun && error.is_timeout() {
        Some(BadHead::Timeout)
    } else {
        None
    }
}
