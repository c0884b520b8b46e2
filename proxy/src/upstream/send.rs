//! A request sent to an endpoint: over a connection that is there or is made, again where one was closed
//! before it, and no further than the head of the response.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;

use super::body::Upload;
use super::connection::Unanswered;
use super::driver::Received;
use super::pool::{Lease, Pools, Wanted};
use super::{Called, Endpoint, Error, Failure, Outgoing, Reply, places};
use crate::config::{self, UpstreamTimeouts};
use crate::exchange::http1::is_length;
use crate::exchange::stream::Through;
use crate::listener::proxy_protocol::Addresses;
use crate::metrics::UpstreamCells;

/// How often a request is sent again to an endpoint that refuses it over a connection which it keeps open:
/// one that has said meanwhile how many streams it takes refuses no more for that (RFC 9113, section 8.7).
const AGAIN: u32 = 1;

/// Where a request goes, and how.
pub(super) struct Way<'w> {
    pub(super) endpoint: &'w Arc<Endpoint>,
    pub(super) timeouts: &'w UpstreamTimeouts,
    pub(super) limits: &'w places::Limits,
    pub(super) pools: &'w Pools,
    /// Whose connection it must be, where the endpoint is told.
    pub(super) client: Option<Addresses>,
}

/// Sends a request, over one connection after another where it has to, and waits for the response's head.
pub(super) async fn send(
    way: &Way<'_>,
    mut request: Outgoing,
    upload: &Upload,
    cells: &UpstreamCells,
    mut now: Instant,
) -> Called {
    let Way {
        endpoint,
        timeouts,
        limits,
        pools,
        client,
    } = *way;
    let reply = |response: Response<Incoming>, lease: Lease| {
        let version = response.version();
        Box::new(Reply {
            response: response
                .map(|body| Through::new(Received::new(body, lease.driver())).over(version)),
            lease,
            body_timeout: timeouts.body,
            switched: None,
            tunnel_timeout: timeouts.tunnel,
            busy: None,
        })
    };
    // HTTP/1.1 switches a whole connection; HTTP/2 alone, where it is all that is spoken, a stream.
    let asked = request.headers().get(UPGRADE).cloned();
    let alone = asked.is_some() && endpoint.config.protocol != config::Protocol::Http2;
    let wanted = Wanted { alone, client };
    let mut refused = 0;
    loop {
        let (mut lease, is_last) = match pools.take(endpoint, timeouts.idle, wanted, now) {
            Some(lease) => (lease, false),
            None => {
                // Boxed because it is rare, and large.
                let connected = pools.connect(endpoint, timeouts.connect, wanted, limits);
                match Box::pin(connected).await {
                    Ok((lease, made)) => {
                        now = Instant::now();
                        cells.connects.add(made.into());
                        // One that was found after all may have ended meanwhile.
                        (lease, made)
                    }
                    Err(error) => {
                        return Err(Failure {
                            error,
                            unsent: Some(request),
                        });
                    }
                }
            }
        };
        upload.progressed(now);
        match round_trip(&mut lease, request, asked.as_ref(), upload, timeouts).await {
            Ok(response) => return Ok(reply(response, lease)),
            Err(Failed::Unsent(unsent)) if is_last => {
                let closed = std::io::Error::other("closed as soon as it was made");
                return Err(Failure {
                    error: Error::Connect(closed),
                    unsent: Some(unsent),
                });
            }
            Err(Failed::Unsent(unsent)) => request = unsent,
            Err(Failed::Refused(unsent, error)) => {
                if refused == AGAIN {
                    return Err(Failure {
                        error,
                        unsent: Some(unsent),
                    });
                }
                refused += 1;
                request = unsent;
            }
            Err(Failed::Final(error)) => {
                return Err(Failure {
                    error,
                    unsent: None,
                });
            }
        }
        now = Instant::now();
    }
}

enum Failed {
    /// Not one byte left: may go over another connection.
    Unsent(Outgoing),
    /// The same, but the connection stays.
    Refused(Outgoing, Error),
    Final(Error),
}

/// One request over one connection, until the response's head; `asked` is what it asks to switch to.
async fn round_trip(
    lease: &mut Lease,
    request: Outgoing,
    asked: Option<&HeaderValue>,
    upload: &Upload,
    timeouts: &UpstreamTimeouts,
) -> Result<Response<Incoming>, Failed> {
    let mut alarm = lease.take_alarm();
    let sent = {
        let mut sending = pin!(lease.send(request, asked.is_some()));
        poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(sent));
            }
            // The time for the answer begins anew with each piece of the request that was sent. While
            // the client owes the next piece, the body's own deadline runs instead, and this one is
            // looked at again later.
            let deadline = upload.upstream_owes_since() + timeouts.response;
            alarm.poll(cx, deadline.into()).map(|()| None)
        })
        .await
    };
    lease.keep_alarm(alarm);
    let Some(sent) = sent else {
        return Err(Failed::Final(Error::ResponseTimeout(timeouts.response)));
    };
    let response = sent.map_err(|error| match error {
        Unanswered::Unsent(request) => Failed::Unsent(request),
        Unanswered::Refused(request, error) => Failed::Refused(request, Error::Protocol(error)),
        Unanswered::CannotSwitch => Failed::Final(Error::CannotSwitch),
        Unanswered::Failed(error) => Failed::Final(match upload.fault() {
            Some(fault) => Error::Upload(fault),
            None => Error::Protocol(error),
        }),
    })?;
    if is_doubtful(&response) {
        return Err(Failed::Final(Error::Framing));
    }
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched && !asked.is_some_and(|asked| is_switched_to(asked, response.headers())) {
        return Err(Failed::Final(Error::Switched));
    }
    Ok(response)
}

/// Whether the one protocol that a 101 names is that which was asked for.
fn is_switched_to(asked: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(UPGRADE).iter();
    let first = named.next();
    first.is_some_and(|first| first.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
        && named.next().is_none()
}

/// Whether others could find the end of a response's body elsewhere. The HTTP code does not look where a
/// response to HEAD has none, and makes one of equal lengths.
fn is_doubtful(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if length.is_some_and(|length| lengths.next().is_some() || !is_length(length)) {
        return true;
    }
    // HTTP/2 has no such field.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| {
        codings.next().is_some()
            || length.is_some()
            || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
    })
}
