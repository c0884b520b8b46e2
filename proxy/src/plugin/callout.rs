//! Calls that guests make to upstreams: how one gets from a guest to who makes it.
//!
//! What a guest waits for must be `Send`, and nothing of a worker's is. So an import leaves its call
//! at the [`Desk`] of its store and waits; [`super::sandbox`] finds it there when the guest waits,
//! has the exchange's [`Calls`] make it beside the guest, and puts what came of it back. A hook that is
//! stopped or dropped takes its call with it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;

use crate::exchange::buffer::Room;
use crate::exchange::state::Answer;
use crate::lock::lock;

pub use super::contract::weir::plugin::http_client::Error;

/// A call to make.
#[derive(Debug)]
pub struct Callout {
    pub upstream: String,
    /// Its target is in origin form.
    pub request: Request<Bytes>,
    /// Most bytes of the reply's body.
    pub most: usize,
    /// How long the whole may last, where the guest said so.
    pub timeout: Option<Duration>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Made {
    pub result: Result<Reply, Refused>,
    /// Host and port of the last endpoint.
    pub endpoint: Option<(String, u16)>,
    /// Further tries.
    pub resent: u16,
    pub end: Instant,
}

/// A reply that was read to its end.
#[derive(Debug)]
pub struct Reply {
    pub answer: Answer,
    /// What the body takes of the room there is for all.
    pub room: Room,
}

/// A call without a reply.
#[derive(Debug)]
pub struct Refused {
    /// For the guest.
    pub error: Error,
    /// For the span: stable, and for people.
    pub reason: &'static str,
    pub message: String,
}

/// Who makes the calls of an exchange's hooks.
pub trait Calls {
    /// Makes a call. Dropped, it is cut.
    fn call(&self, call: Callout) -> Pin<Box<dyn Future<Output = Made> + '_>>;

    /// For an answer's body, which outlives the exchange.
    fn lasting(&self) -> Rc<dyn Calls>;
}

/// Makes none: every upstream is unknown.
#[derive(Clone, Copy, Debug)]
pub struct NoCalls;

impl Calls for NoCalls {
    fn call(&self, call: Callout) -> Pin<Box<dyn Future<Output = Made> + '_>> {
        Box::pin(std::future::ready(Made::unknown(&call.upstream)))
    }

    fn lasting(&self) -> Rc<dyn Calls> {
        Rc::new(Self)
    }
}

impl Made {
    /// There is no upstream of this name.
    pub fn unknown(upstream: &str) -> Self {
        Self {
            result: Err(Refused {
                error: Error::NotAllowed,
                reason: "not_allowed",
                message: format!("there is no upstream `{upstream}`"),
            }),
            endpoint: None,
            resent: 0,
            end: Instant::now(),
        }
    }
}

/// See the module's documentation. There is one call at a time.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Paper>);

#[derive(Debug, Default)]
enum Paper {
    #[default]
    Nothing,
    Asked(Box<Callout>),
    Made(Box<Made>),
}

impl Desk {
    pub(super) fn ask(&self, call: Callout) {
        *self.paper() = Paper::Asked(Box::new(call));
    }

    /// What came of the call. Who puts it there polls the guest again: nobody is woken.
    pub(super) async fn made(&self) -> Made {
        std::future::poll_fn(|_| {
            let mut paper = self.paper();
            match std::mem::take(&mut *paper) {
                Paper::Made(made) => Poll::Ready(*made),
                other => {
                    *paper = other;
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(super) fn take(&self) -> Option<Callout> {
        let mut paper = self.paper();
        match std::mem::take(&mut *paper) {
            Paper::Asked(call) => Some(*call),
            other => {
                *paper = other;
                None
            }
        }
    }

    pub(super) fn put(&self, made: Made) {
        *self.paper() = Paper::Made(Box::new(made));
    }

    fn paper(&self) -> MutexGuard<'_, Paper> {
        lock(&self.0)
    }
}
