//! A request's body on its way to an upstream, under the listener's deadline.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::mirror;
use crate::exchange::patience::Patience;
use crate::exchange::stream::{Broke, Through};
use crate::exchange::trailers;
use crate::plugin::stream::Stop;

/// Why a client's body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("came too slowly, or not at all")]
    Timeout,
    #[error("broke off or was malformed")]
    Broken,
    #[error("ended with the client's connection")]
    Gone,
    #[error("is larger than its route or listener takes")]
    TooLarge,
    #[error("is not encoded as it says")]
    Encoding,
    #[error("takes more memory to decode than there is room for")]
    Full,
    #[error("{0}")]
    Plugin(Stop),
}

impl From<Broke> for Fault {
    fn from(broke: Broke) -> Self {
        match broke {
            Broke::Source => Self::Broken,
            Broke::Gone => Self::Gone,
            Broke::TooLarge => Self::TooLarge,
            Broke::Encoding => Self::Encoding,
            Broke::Full => Self::Full,
            Broke::Stopped(stop) => Self::Plugin(stop),
        }
    }
}

/// What is known of an upload outside of the body that hyper owns.
#[derive(Clone)]
pub struct Upload(Rc<Progress>);

struct Progress {
    last: Cell<Instant>,
    /// The next piece was asked of the client, or of a plugin, and has not come.
    awaits_client: Cell<bool>,
    /// The body is there: it has not all gone out, and nobody has dropped it.
    is_open: Cell<bool>,
    fault: Cell<Option<Fault>>,
}

impl Upload {
    pub fn new(now: Instant) -> Self {
        Self(Rc::new(Progress {
            last: Cell::new(now),
            awaits_client: Cell::new(false),
            is_open: Cell::new(false),
            fault: Cell::new(None),
        }))
    }

    /// A piece has gone out, or all but the body begins to.
    pub fn progressed(&self, now: Instant) {
        self.0.last.set(now);
    }

    /// Since when it is the upstream that keeps the exchange waiting: now, while it is the client.
    pub fn upstream_owes_since(&self) -> Instant {
        if self.0.awaits_client.get() {
            Instant::now()
        } else {
            self.0.last.get()
        }
    }

    /// Whether the client's body has not come to its end.
    pub fn is_open(&self) -> bool {
        self.0.is_open.get()
    }

    pub fn fault(&self) -> Option<Fault> {
        self.0.fault.get()
    }

    /// It does not come to its end.
    pub fn fail(&self, fault: Fault) {
        self.0.fault.set(Some(fault));
    }
}

/// The client's body, or none; small, since the HTTP code moves it with its request.
pub struct RequestBody(Option<Box<Sending>>);

struct Sending {
    body: Through<Incoming>,
    upload: Upload,
    patience: Patience,
    /// What another upstream is to get, where one is.
    copy: Option<Box<mirror::Copy>>,
}

impl RequestBody {
    pub fn empty() -> Self {
        Self(None)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn new(body: Through<Incoming>, upload: Upload, patience: Patience) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        upload.0.is_open.set(true);
        Self(Some(Box::new(Sending {
            body,
            upload,
            patience,
            copy: None,
        })))
    }

    /// `None` where there is none.
    pub fn upload(&self) -> Option<Upload> {
        self.0.as_ref().map(|sending| sending.upload.clone())
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
}

impl Sending {
    /// A piece goes out.
    fn copied(&mut self, piece: &Bytes) {
        let Some(copy) = &mut self.copy else { return };
        if !copy.add(piece) {
            self.copy = None;
        } else if self.body.is_end_stream() {
            self.ended();
        }
    }

    /// All of it has gone out.
    fn ended(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.send();
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.upload.0.is_open.set(false);
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
        let polled = Pin::new(&mut sending.body).poll_frame(cx);
        sending.upload.0.awaits_client.set(polled.is_pending());
        let fault = match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::strip(trailers);
                    sending.ended();
                }
                let now = Instant::now();
                sending.patience.renew(|| now);
                sending.upload.progressed(now);
                if let Some(data) = frame.data_ref() {
                    sending.copied(data);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                sending.upload.progressed(Instant::now());
                sending.ended();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(broke))) => broke.into(),
            Poll::Pending if sending.body.waits_for_guest() => {
                sending.patience.renew(Instant::now);
                return Poll::Pending;
            }
            Poll::Pending => match sending.patience.poll(sending.body.seen(), cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => Fault::Timeout,
            },
        };
        sending.upload.fail(fault);
        Poll::Ready(Some(Err(fault)))
    }

    fn is_end_stream(&self) -> bool {
        let sending = self.0.as_ref();
        sending.is_none_or(|sending| sending.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(sending) => sending.body.size_hint(),
        }
    }
}
