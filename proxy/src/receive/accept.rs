//! A worker's sockets for OTLP, and the connections that come by them.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::reply::Reply;
use super::{Door, Local};
use crate::config::otlp::Otlp;
use crate::listener::drain::{Stage, Watch};
use crate::listener::{BACK_OFF, accept_waiting, descriptors};
use crate::tls::Alpn;
use crate::transport::Stream;

/// Longest wait for a request's head, or for the next request: longer than the minute after which SDKs
/// send metrics again, so that none finds its connection just closed.
const HEAD: Duration = Duration::from_secs(90);

/// How long a client that has asked for nothing may take to go once it was told to.
const LAST: Duration = Duration::from_secs(5);

/// Most bytes of a head.
const MAX_HEAD: u32 = 64 << 10;

/// Streams and bytes under way on one HTTP/2 connection.
const STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How often a silent HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Longest time between two looks at a beginning that stays half.
const LOOK: Duration = Duration::from_millis(250);

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts until `stop` comes or its sender is gone, then what waits to be accepted; each connection
/// is a task.
pub async fn accept(
    local: Rc<Local>,
    door: Door,
    listener: std::net::TcpListener,
    mut stop: oneshot::Receiver<()>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen for OTLP");
            return;
        }
    };
    let begin = |stream: TcpStream, peer| {
        // Fails only on a connection that is gone already.
        let _ = stream.set_nodelay(true);
        if let Some(place) = Place::take(&local, door) {
            let watch = local.drain.watch();
            tokio::task::spawn_local(serve(place, stream, peer, watch));
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = accept_one(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => begin(stream, peer),
            Err(error) => {
                tracing::debug!(%error, "cannot accept for OTLP");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    let waiting = match listener.into_std() {
        Ok(listener) => accept_waiting(&listener, begin).await,
        Err(error) => Err(error),
    };
    if let Err(error) = waiting {
        tracing::debug!(%error, "cannot accept what waits for OTLP");
    }
}

async fn accept_one(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    descriptors::room().await;
    listener.accept().await
}

/// A connection's place among those that its door may have on one worker.
struct Place {
    local: Rc<Local>,
    door: Door,
}

impl Place {
    /// `None` where there is no more.
    fn take(local: &Rc<Local>, door: Door) -> Option<Self> {
        let connections = &local.cells().connections[door as usize];
        let workers = local.shared.cells().len() as u64;
        let most = local.shared.current().max_connections(door);
        if most.is_some_and(|most| connections.open.get() >= most.div_ceil(workers)) {
            connections.refused.inc();
            return None;
        }
        connections.open.inc();
        Some(Self {
            local: Rc::clone(local),
            door,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.local.cells().connections[self.door as usize]
            .open
            .dec();
    }
}

async fn serve(place: Place, stream: TcpStream, peer: SocketAddr, drain: Watch) {
    let (local, door) = (Rc::clone(&place.local), place.door);
    let current = local.shared.current();
    let (stream, is_http2) = match current.tls(door) {
        Some(tls) => match tls.accept(stream, HANDSHAKE).await {
            Ok(None) => return,
            Ok(Some(stream)) => {
                let protocol = stream.get_ref().1.alpn_protocol();
                let is_http2 = door == Door::Grpc || protocol == Some(Alpn::Http2.id());
                (Stream::Tls(Box::new(stream.into())), is_http2)
            }
            Err(failure) => {
                local.cells().handshake_failures[failure.index()].inc();
                tracing::debug!(%peer, error = %failure, "no TLS handshake for OTLP");
                return;
            }
        },
        None => {
            let is_http2 = door == Door::Grpc || begins_with_preface(&stream).await;
            (Stream::Plain(stream), is_http2)
        }
    };
    drop(current);
    let asked = Rc::new(Cell::new(false));
    let first = Rc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        let local = Rc::clone(&local);
        first.set(true);
        async move { Ok::<_, Infallible>(local.answer(door, request).await) }
    });
    let stream = TokioIo::new(stream);
    let ended = if is_http2 {
        let connection = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(KEEP_ALIVE)
            .serve_connection(stream, service);
        until_drained(
            pin!(connection),
            (drain, &asked, HEAD),
            http2::Connection::graceful_shutdown,
        )
        .await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_header_size(MAX_HEAD as usize)
            .serve_connection(stream, service);
        until_drained(
            pin!(connection),
            (drain, &asked, HEAD),
            http1::Connection::graceful_shutdown,
        )
        .await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "OTLP connection ended");
    }
    drop(place);
}

/// Lets a connection end after what is under way, once the worker drains; or where its client has not
/// asked for anything in the longest time that it may take, which over HTTP/2 nobody else looks at.
async fn until_drained<C>(
    mut connection: Pin<&mut C>,
    (mut drain, asked, longest): (Watch, &Cell<bool>, Duration),
    shut_down: impl Fn(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut told = false;
    let mut silent = pin!(tokio::time::sleep(longest));
    std::future::poll_fn(|cx| {
        let ended = connection.as_mut().poll(cx);
        if ended.is_ready() {
            return ended;
        }
        let is_late = !asked.get() && silent.as_mut().poll(cx).is_ready();
        if told {
            // HTTP/2 whose preface has not come takes no notice of being told.
            return if is_late { Poll::Ready(Ok(())) } else { ended };
        }
        if !is_late && !drain.poll(cx, Stage::Leaving) {
            return ended;
        }
        told = true;
        shut_down(connection.as_mut());
        silent.as_mut().reset(Instant::now() + LAST.min(longest));
        if !asked.get() {
            // So that it is polled then.
            let _ = silent.as_mut().poll(cx);
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// Whether a client speaks HTTP/2 without being asked.
async fn begins_with_preface(stream: &TcpStream) -> bool {
    let mut start = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(1);
    let seen = async {
        loop {
            match stream.peek(&mut start).await {
                Ok(len) if len == PREFACE.len() => return start == PREFACE,
                Ok(len) if len > 0 && start[..len] == PREFACE[..len] => {
                    // The rest is on its way; being readable already, the socket does not tell. Many that
                    // stay half must not keep the worker busy.
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(LOOK);
                }
                _ => return false,
            }
        }
    };
    tokio::time::timeout(HEAD, seen).await.unwrap_or(false)
}

impl Local {
    async fn answer(&self, door: Door, request: Request<Incoming>) -> Response<Reply> {
        let current = self.shared.current();
        let Otlp { grpc, http, .. } = &current.config;
        match (door, grpc, http) {
            (Door::Grpc, Some(config), _) => self.grpc(&current, config, request).await,
            (Door::Http, _, Some(config)) => self.http(&current, config, request).await,
            // A door that is off has no socket.
            _ => Response::new(Reply::default()),
        }
    }
}

/// Runs what HTTP/2 needs beside a connection on the worker's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;
    use crate::listener::drain::Drain;

    /// Stays until it is told to go, or does not listen.
    struct Silent {
        listens: bool,
        told: bool,
    }

    impl Future for Silent {
        type Output = hyper::Result<()>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            if self.listens && self.told {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }
    }

    #[tokio::test]
    async fn who_asks_for_nothing_is_told_to_go_and_who_has_asked_may_stay() {
        for (asked, listens) in [(false, true), (false, false), (true, true)] {
            let asked = Cell::new(asked);
            let told = false;
            let connection = pin!(Silent { listens, told });
            let tell = |mut connection: Pin<&mut Silent>| connection.told = true;
            let client = (Drain::default().watch(), &asked, Duration::ZERO);
            let ends = until_drained(connection, client, tell);
            let ended = tokio::time::timeout(Duration::from_millis(50), ends).await;
            assert_eq!(ended.is_ok(), !asked.get());
        }
    }
}
