//! HTTP/2: exchanges side by side, each in a task of its own.
//!
//! What the HTTP code does not bound is bounded here: how long a connection may be idle or take
//! nothing, and how long a stream's window may stay shut while there is something to send.

mod outgoing;

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::io::{Io, Sending};
use super::{BadHead, Cut, Settings};
use crate::alarm::Alarm;
use crate::exchange::patience::Patience;
use crate::exchange::{self, Client};
use crate::listener::drain::{Stage, Watch};
use outgoing::{Behind, Pieces, Stream};

/// What clients may send before it is read: on a stream, and on all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Most bytes of a response that wait for a stream's window.
const SEND_BUFFER: usize = 64 << 10;

/// When a client that says nothing is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);

/// How long a client may take to go once it was told to, with no stream open.
const LAST: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(super) async fn serve(
    io: Io,
    sending: &Sending,
    client: Client,
    settings: &Settings,
    mut drain: Watch,
) {
    let timeouts = &settings.timeouts;
    let (worker, peer) = (Rc::clone(&client.worker), client.peer);
    let listener = Rc::clone(&client.listener);
    let client = Rc::new(client);
    let now = Instant::now();
    let streams = Rc::new(Streams {
        send_timeout: timeouts.send,
        stalled: Cell::new(0),
        open: Cell::new(0),
        changed: Cell::new(now),
        moved: Cell::new(now),
        behind: Behind::default(),
        next: Cell::new(None),
        left: Cell::new(settings.max_requests),
    });
    let counted = Rc::clone(&streams);
    let service = service_fn(move |request| {
        let (client, stream) = (Rc::clone(&client), Stream::new(Rc::clone(&counted)));
        counted.next.set(Some(Rc::clone(&stream)));
        counted.left.set(counted.left.get().saturating_sub(1));
        async move { Ok::<_, Infallible>(exchange(client, request, stream).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(Tasks(Rc::clone(&streams)))
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(settings.http2.max_streams)
        .max_header_list_size(u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut stall = Patience::new(timeouts.send);
    let mut idle = pin!(tokio::time::sleep(timeouts.head));
    let (mut told, mut closing) = (false, false);
    let ended = std::future::poll_fn(|cx| {
        let mut ended = connection.as_mut().poll(cx);
        if !told && ended.is_pending() && (drain.poll(cx, Stage::Leaving) || listener.has_left()) {
            told = true;
            connection.as_mut().graceful_shutdown();
            ended = connection.as_mut().poll(cx);
            idle.as_mut()
                .reset(tokio::time::Instant::now() + LAST.min(timeouts.head));
        }
        if !closing && ended.is_pending() && streams.left.get() == 0 {
            closing = true;
            connection.as_mut().graceful_shutdown();
            ended = connection.as_mut().poll(cx);
        }
        if let Poll::Ready(ended) = ended {
            return Poll::Ready(Some(ended));
        }
        while idle.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let since = streams.changed.get();
            let limit = if told {
                LAST.min(timeouts.head)
            } else {
                timeouts.head
            };
            if streams.open.get() > 0 {
                if streams.behind.is_stuck(now) {
                    streams.count_stall();
                    return Poll::Ready(None);
                }
                let next = now + limit.min(timeouts.send);
                idle.as_mut().reset(next.into());
            } else if since + limit > now {
                idle.as_mut().reset((since + limit).into());
            } else if closing || told {
                // It was told to go and had as long again.
                return Poll::Ready(None);
            } else {
                closing = true;
                connection.as_mut().graceful_shutdown();
                idle.as_mut().reset((now + limit).into());
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Some(ended));
                }
            }
        }
        if sending.poll_stall(&mut stall, cx).is_ready() {
            streams.count_stall();
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;
    let cells = &settings.cells[worker.index];
    cells.cuts[Cut::Stalled as usize].add(streams.stalled.get());
    if let Some(Err(error)) = ended {
        if sending.flooded() || is_flood(&error) {
            cells.cuts[Cut::Flood as usize].inc();
        } else if error.is_parse() {
            cells.bad_heads[BadHead::Malformed as usize].inc();
        }
        tracing::debug!(%peer, %error, "client connection ended");
    }
}

/// Whether the HTTP code met a flood by itself, as of streams that are reset before they are looked at.
fn is_flood(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        cause = error.source();
    }
    false
}

/// Serves one request. Where the response opens a tunnel, a task of its own passes what follows on the
/// stream, which is open for as long.
async fn exchange(
    client: Rc<Client>,
    mut request: Request<Incoming>,
    stream: Rc<Stream>,
) -> Response<Pieces> {
    let connects = request.method() == Method::CONNECT;
    let switching = connects.then(|| hyper::upgrade::on(&mut request));
    let mut response = exchange::serve(client, request).await;
    if let (Some(switching), Some(tunnel)) = (switching, response.body_mut().take_tunnel()) {
        let open = Rc::clone(&stream);
        tokio::task::spawn_local(async move {
            // Without it the client has left, and the tunnel ends with that.
            if let Ok(stream) = switching.await {
                tunnel.run(TokioIo::new(stream), Bytes::new()).await;
            }
            drop(open);
        });
    }
    response.map(|body| Pieces::new(body, stream))
}

/// What a connection knows of its streams.
struct Streams {
    send_timeout: Duration,
    /// Streams that were cut because their windows stayed shut.
    stalled: Cell<u64>,
    open: Cell<usize>,
    /// When the last stream began or ended.
    changed: Cell<Instant>,
    /// When bytes of a response last left.
    moved: Cell<Instant>,
    behind: Behind,
    /// What a request's future is about to be run for: the HTTP code makes it and has it run at once.
    next: Cell<Option<Rc<Stream>>>,
    /// Requests that it may still make.
    left: Cell<u64>,
}

impl Streams {
    fn count_stall(&self) {
        self.stalled.set(self.stalled.get() + 1);
    }
}

/// Runs streams on the worker's thread.
#[derive(Clone)]
struct Tasks(Rc<Streams>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        // Of a tunnel, this is the half that sends, which waits for windows by itself.
        let stream = self.0.next.take();
        let stream = stream.unwrap_or_else(|| Stream::new(Rc::clone(&self.0)));
        tokio::task::spawn_local(run(future, stream));
    }
}

/// One stream, to its end, or until nothing of its response has left for too long: then it is reset by
/// its future being dropped.
async fn run(future: impl Future<Output = ()>, stream: Rc<Stream>) {
    {
        let mut future = pin!(future);
        let mut alarm = Alarm::default();
        std::future::poll_fn(|cx| {
            if future.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(deadline) = stream.deadline() else {
                return Poll::Pending;
            };
            ready!(alarm.poll(cx, deadline.into()));
            stream.streams().count_stall();
            Poll::Ready(())
        })
        .await;
    }
    stream.streams().behind.add(&stream);
}
