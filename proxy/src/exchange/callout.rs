//! Calls that hooks make to upstreams, over the worker's own connections.
//!
//! As a request's call is made (see [`super::call`]): endpoints chosen alike, ejected alike, further
//! tries from the same budget. But the reply is read whole, and its span is the affair of
//! [`crate::plugin`].

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request};

use super::buffer::{Read, Room, Stopped};
use super::patience::Patience;
use super::state::Answer;
use super::stream::Through;
use crate::plugin::callout::{Callout, Calls, Error, Made, Refused, Reply};
use crate::upstream::balance::{Busy, Tried};
use crate::upstream::body::{Fault, RequestBody, Upload};
use crate::upstream::retry::{self, Spare};
use crate::upstream::{self, Caller, Upstream};
use crate::worker::{Current, Worker};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION")));

/// What the calls of an exchange's hooks go through.
#[derive(Clone)]
pub(super) struct Outward {
    pub(super) worker: Rc<Worker>,
    pub(super) generation: Rc<Current>,
}

impl Calls for Outward {
    fn call(&self, call: Callout) -> Pin<Box<dyn Future<Output = Made> + '_>> {
        Box::pin(self.make(call))
    }

    fn lasting(&self) -> Rc<dyn Calls> {
        Rc::new(self.clone())
    }
}

/// Where a call goes, which is known before what comes of it.
#[derive(Default)]
struct Way {
    endpoint: Option<(String, u16)>,
    tries: u16,
}

impl Outward {
    async fn make(&self, call: Callout) -> Made {
        let Some(upstream) = self.generation.upstreams.get(&call.upstream) else {
            return Made::unknown(&call.upstream);
        };
        let mut way = Way::default();
        let exchange = self.exchange(upstream, call.request, call.most, &mut way);
        let result = match call.timeout {
            None => exchange.await,
            Some(limit) => {
                let limited = tokio::time::timeout(limit, exchange).await;
                limited.unwrap_or_else(|_| Err(timed_out(limit)))
            }
        };
        Made {
            result,
            endpoint: way.endpoint,
            resent: way.tries.saturating_sub(1),
            end: Instant::now(),
        }
    }

    /// The request with its further tries, and the whole reply.
    async fn exchange(
        &self,
        upstream: &std::sync::Arc<Upstream>,
        request: Request<Bytes>,
        most: usize,
        way: &mut Way,
    ) -> Result<Reply, Refused> {
        let worker = &*self.worker;
        // Not of the generation of now: the answer that this is for may have begun before it.
        let local = self.generation.local(upstream);
        local.budget.deposit();
        let mut now = Instant::now();
        let upload = Upload::new(now);
        let (head, body) = request.into_parts();
        let body = Through::whole(body, None);
        let body = RequestBody::new(body, upload.clone(), Patience::new(Duration::MAX));
        let mut request = Box::new(Request::from_parts(head, body));
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(AGENT);
        let names_host = headers.contains_key(HOST);
        // By which a consistent hash goes: a hook's call is of no client.
        let key = upstream.key(headers, None);
        let spare = Spare::of(upstream, &request);
        let mut tried = Tried::new();
        let mut index = upstream
            .choose(&local, key, &tried, now)
            .unwrap_or_default();
        let timeouts = &upstream.config.timeouts;
        let caller = Caller {
            pools: &worker.pools,
            worker: worker.index,
            client: None,
        };
        let mut reply = loop {
            let endpoint = &upstream.endpoints[index];
            way.endpoint = Some((endpoint.config.host.clone(), endpoint.config.port));
            way.tries += 1;
            if !names_host {
                endpoint.name_in(request.headers_mut());
            }
            let busy = (upstream.endpoints.len() > 1).then(|| Busy::new(&local, index));
            let (called, ended) = upstream
                .call(endpoint, request, &upload, timeouts, &caller, now)
                .await;
            now = ended;
            super::call::learn(upstream, index, &called, now);
            tried.push(index);
            let spare = spare.as_ref();
            let next = retry::next(upstream, &local, worker.index, key, &tried, &called, spare);
            let ended = match next {
                None => called,
                Some(next) => match retry::again(called, spare) {
                    Ok(again) => {
                        (request, index) = (again, next);
                        continue;
                    }
                    Err(called) => called,
                },
            };
            match ended {
                Ok(mut reply) => {
                    reply.busy = busy;
                    break reply;
                }
                Err(failure) => return Err(refused(&failure.error)),
            }
        };

        let mut read = Read::default();
        let wait = reply.body_timeout;
        let mut patience = Patience::new(wait);
        let body = reply.response.body_mut();
        let filled = read.fill(body, most, &mut patience).await;
        let refused = |error, reason, message| Refused {
            error,
            reason,
            message,
        };
        match filled {
            Ok(()) if read.has_ended() => {}
            Ok(()) => {
                let message = format!("the reply's body has more than {most} bytes");
                return Err(refused(Error::TooLarge, "body_too_large", message));
            }
            Err(Stopped::Full) => {
                let message = "too many bodies are held".to_owned();
                return Err(refused(Error::Overload, "overload", message));
            }
            Err(Stopped::Fault(Fault::Timeout)) => {
                let message = format!("no further piece of the reply's body within {wait:?}");
                return Err(refused(Error::Timeout, "upstream_body_timeout", message));
            }
            Err(Stopped::Fault(_) | Stopped::Plugin) => {
                let message = "the reply's body did not reach its end".to_owned();
                return Err(refused(Error::Broken, "upstream_body", message));
            }
        }
        let (head, _) = reply.response.into_parts();
        worker.pools.give(reply.lease, Instant::now());
        let (body, room): (Bytes, Room) = read.into_whole();
        Ok(Reply {
            answer: Answer {
                status: head.status,
                headers: head.headers,
                body,
            },
            room,
        })
    }
}

fn timed_out(limit: Duration) -> Refused {
    Refused {
        error: Error::Timeout,
        reason: "timeout",
        message: format!("no whole reply within the plugin's {limit:?}"),
    }
}

fn refused(error: &upstream::Error) -> Refused {
    use upstream::Error as Of;
    Refused {
        error: match error {
            Of::Connect(_) | Of::CannotSwitch | Of::ConnectTimeout(_) | Of::Tls(_) => {
                Error::Connect
            }
            Of::ResponseTimeout(_) => Error::Timeout,
            Of::Overload => Error::Overload,
            Of::Protocol(_) | Of::Switched | Of::Framing | Of::Upload(_) => Error::Broken,
        },
        reason: error.reason(),
        message: error.to_string(),
    }
}
