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

use crate::exchange::trailers;

/// Why a client's body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("nothing came for too long")]
    Timeout,
    #[error("broke off or was malformed")]
    Broken,
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
    longest_wait: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl RequestBody {
    pub fn empty() -> Self {
        Self(None)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn new(body: Incoming, upload: Upload, longest_wait: Duration) -> Self {
        Self((!body.is_end_stream()).then_some(Sending {
            begun: Bytes::new(),
            body: Some(body),
            trailers: None,
            upload,
            longest_wait,
            timer: None,
        }))
    }

    /// A body behind what of it was read already.
    pub fn begun(begun: Bytes, body: Incoming, upload: Upload, longest_wait: Duration) -> Self {
        if begun.is_empty() {
            return Self::new(body, upload, longest_wait);
        }
        Self(Some(Sending {
            begun,
            body: Some(body),
            trailers: None,
            upload,
            longest_wait,
            timer: None,
        }))
    }

    /// A body that was read to its end.
    pub fn whole(bytes: Bytes, trailers: Option<HeaderMap>, upload: Upload) -> Self {
        Self(
            (!bytes.is_empty() || trailers.is_some()).then_some(Sending {
                begun: bytes,
                body: None,
                trailers,
                upload,
                longest_wait: Duration::MAX,
                timer: None,
            }),
        )
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
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        let Some(body) = &mut sending.body else {
            sending.upload.progressed();
            let trailers = sending.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let polled = Pin::new(body).poll_frame(cx);
        sending.upload.0.awaits_client.set(polled.is_pending());
        let fault = match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::strip(trailers);
                }
                sending.timer = None;
                sending.upload.progressed();
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                sending.upload.progressed();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => Fault::Broken,
            Poll::Pending => {
                let longest_wait = sending.longest_wait;
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
        self.0.as_ref().is_none_or(|sending| {
            sending.begun.is_empty()
                && sending.trailers.is_none()
                && sending.body.as_ref().is_none_or(Body::is_end_stream)
        })
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
