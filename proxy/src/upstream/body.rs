//! A request's body on its way to an upstream, under the listener's deadline.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::mirror;
use crate::exchange::trailers;

/// Why a client's body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("nothing came for too long")]
    Timeout,
    #[error("broke off or was malformed")]
    Broken,
    #[error("is larger than its route or listener takes")]
    TooLarge,
}

/// What is known of an upload outside of the body that hyper owns.
#[derive(Clone)]
pub struct Upload(Rc<Progress>);

struct Progress {
    last: Cell<Instant>,
    /// The next piece was asked of the client and has not come.
    awaits_client: Cell<bool>,
    fault: Cell<Option<Fault>>,
}

impl Upload {
    pub fn new(now: Instant) -> Self {
        Self(Rc::new(Progress {
            last: Cell::new(now),
            awaits_client: Cell::new(false),
            fault: Cell::new(None),
        }))
    }

    pub fn progressed(&self) {
        self.0.last.set(Instant::now());
    }

    /// Since when it is the upstream that keeps the exchange waiting: now, while it is the client.
    pub fn upstream_owes_since(&self) -> Instant {
        if self.0.awaits_client.get() {
            Instant::now()
        } else {
            self.0.last.get()
        }
    }

    pub fn fault(&self) -> Option<Fault> {
        self.0.fault.get()
    }
}

/// The client's body, or none.
pub struct RequestBody(Option<Sending>);

struct Sending {
    /// What of it was read already.
    begun: Bytes,
    /// What comes of the client still; `None` where all was read.
    body: Option<Incoming>,
    trailers: Option<HeaderMap>,
    upload: Upload,
    limits: Limits,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// What another upstream is to get, where one is.
    copy: Option<Box<mirror::Copy>>,
}

/// How long and how large a client's body may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for the next piece.
    pub wait: Duration,
    /// Most bytes that may still come.
    pub bytes: u64,
}

impl RequestBody {
    pub fn empty() -> Self {
        Self(None)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn new(body: Incoming, upload: Upload, limits: Limits) -> Self {
        Self((!body.is_end_stream()).then_some(Sending {
            begun: Bytes::new(),
            body: Some(body),
            trailers: None,
            upload,
            limits,
            timer: None,
            copy: None,
        }))
    }

    /// A body behind what of it was read already.
    pub fn begun(begun: Bytes, body: Incoming, upload: Upload, limits: Limits) -> Self {
        if begun.is_empty() {
            return Self::new(body, upload, limits);
        }
        Self(Some(Sending {
            begun,
            body: Some(body),
            trailers: None,
            upload,
            limits,
            timer: None,
            copy: None,
        }))
    }

    /// Bytes that it has at the least.
    pub fn least_bytes(&self) -> u64 {
        self.size_hint().lower()
    }

    /// Has `copy` see what is sent.
    pub fn mirror(&mut self, copy: mirror::Copy) {
        match &mut self.0 {
            Some(sending) => sending.copy = Some(Box::new(copy)),
            None => copy.send(),
        }
    }

    /// A body that was read to its end.
    pub fn whole(bytes: Bytes, trailers: Option<HeaderMap>, upload: Upload) -> Self {
        Self(
            (!bytes.is_empty() || trailers.is_some()).then_some(Sending {
                begun: bytes,
                body: None,
                trailers,
                upload,
                limits: Limits {
                    wait: Duration::MAX,
                    bytes: u64::MAX,
                },
                timer: None,
                copy: None,
            }),
        )
    }
}

impl Sending {
    /// A piece goes out.
    fn copied(&mut self, piece: &Bytes) {
        let Some(copy) = &mut self.copy else { return };
        if !copy.add(piece) {
            self.copy = None;
        } else if self.is_end_stream() {
            self.ended();
        }
    }

    /// All of it has gone out.
    fn ended(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.send();
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_empty()
            && self.trailers.is_none()
            && self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(sending) = &mut self.get_mut().0 else {
            return Poll::Ready(None);
        };
        if !sending.begun.is_empty() {
            sending.upload.progressed();
            let begun = std::mem::take(&mut sending.begun);
            sending.copied(&begun);
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        let Some(body) = &mut sending.body else {
            sending.upload.progressed();
            let trailers = sending.trailers.take();
            sending.ended();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let polled = Pin::new(body).poll_frame(cx);
        sending.upload.0.awaits_client.set(polled.is_pending());
        let fault = match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::strip(trailers);
                    sending.ended();
                }
                sending.timer = None;
                sending.upload.progressed();
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                match sending.limits.bytes.checked_sub(len) {
                    Some(left) => {
                        sending.limits.bytes = left;
                        if let Some(data) = frame.data_ref() {
                            sending.copied(data);
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    None => Fault::TooLarge,
                }
            }
            Poll::Ready(None) => {
                sending.upload.progressed();
                sending.ended();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => Fault::Broken,
            Poll::Pending => {
                let longest_wait = sending.limits.wait;
                let timer = sending
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(longest_wait)));
                match timer.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => Fault::Timeout,
                }
            }
        };
        sending.upload.0.fault.set(Some(fault));
        Poll::Ready(Some(Err(fault)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Sending::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(sending) = &self.0 else {
            return SizeHint::with_exact(0);
        };
        let begun = sending.begun.len() as u64;
        match &sending.body {
            None if sending.trailers.is_none() => SizeHint::with_exact(begun),
            None => SizeHint::new(),
            Some(body) => {
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + begun);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + begun);
                }
                hint
            }
        }
    }
}
