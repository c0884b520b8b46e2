//! 5, 7 — Answers whose body a plugin gives piece by piece.
//!
//! A hook that answers so leaves a [`Begun`]: its instance, which is asked for the pieces. Whoever sends
//! the answer makes [`Pieces`] of it; they ask for no piece before the one before has been taken. Where
//! they go, and through which plugins, is the affair of `exchange/stream.rs`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::Action;
use super::callout::Calls;
use super::stream::{Flow, Piece, Pipe, Stop};

/// How long a guest is left alone that had nothing to send.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer of which nothing was sent yet. Boxed, since hardly an exchange has one.
pub struct Begun {
    pipe: Pipe,
    calls: Rc<dyn Calls>,
}

/// What a guest gave.
enum Next {
    Written(Vec<Bytes>),
    /// Nothing more but trailers.
    Ended(HeaderMap),
}

impl Begun {
    pub(super) fn new(pipe: Pipe, calls: Rc<dyn Calls>) -> Box<Self> {
        Box::new(Self { pipe, calls })
    }

    async fn next(&mut self, flow: &Flow, place: usize) -> Result<Next, Stop> {
        let end = Piece {
            last: true,
            ..Piece::default()
        };
        let told = self.pipe.ask(flow, place, end, &*self.calls).await;
        let told = told.ok_or(Stop::Failed)?;
        match told.action {
            Action::Replace => Ok(Next::Written(told.written)),
            Action::Proceed => {
                self.pipe.release();
                Ok(Next::Ended(told.piece.trailers))
            }
            // It has answered already: the host took no other.
            Action::Respond | Action::Abort => Err(Stop::Aborted),
        }
    }

    /// Asks until there is something to send.
    async fn ask(
        mut self: Box<Self>,
        flow: Rc<Flow>,
        place: usize,
    ) -> (Box<Self>, Result<Next, Stop>) {
        loop {
            // Between pieces others have their turn, also where the client takes each at once.
            tokio::task::coop::consume_budget().await;
            match self.next(&flow, place).await {
                Ok(Next::Written(pieces)) if pieces.iter().all(Bytes::is_empty) => {
                    tokio::time::sleep(PAUSE).await;
                }
                next => return (self, next),
            }
        }
    }
}

type Asking = Pin<Box<dyn Future<Output = (Box<Begun>, Result<Next, Stop>)>>>;

/// The body of an answer.
pub struct Pieces {
    flow: Rc<Flow>,
    /// Of the flow's sums.
    place: usize,
    /// `None` while its guest is asked, and after the end.
    begun: Option<Box<Begun>>,
    asking: Option<Asking>,
    /// What was written and is not taken yet.
    out: VecDeque<Bytes>,
    /// How it ended: with the trailers that are not taken yet.
    end: Option<Result<Option<HeaderMap>, Stop>>,
}

impl Pieces {
    /// `flow` is what the plugins of the response note in.
    pub fn new(begun: Box<Begun>, flow: &Rc<Flow>) -> Self {
        Self {
            flow: Rc::clone(flow),
            place: flow.join(&begun.pipe),
            begun: Some(begun),
            asking: None,
            out: VecDeque::new(),
            end: None,
        }
    }

    /// The next piece, or the trailers. One that broke off never ends.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stop>>> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match &mut self.end {
                None => {}
                Some(Ok(trailers)) => {
                    let trailers = trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Some(Err(stop)) => return Poll::Ready(Some(Err(*stop))),
            }
            if let Some(begun) = self.begun.take() {
                let flow = Rc::clone(&self.flow);
                self.asking = Some(Box::pin(begun.ask(flow, self.place)));
            }
            let Some(asking) = &mut self.asking else {
                return Poll::Ready(Some(Err(Stop::Failed)));
            };
            let (begun, next) = ready!(asking.as_mut().poll(cx));
            self.asking = None;
            match next {
                Ok(Next::Written(pieces)) => {
                    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
                    self.out.extend(pieces);
                    self.begun = Some(begun);
                }
                Ok(Next::Ended(trailers)) => {
                    self.end = Some(Ok((!trailers.is_empty()).then_some(trailers)));
                }
                Err(stop) => self.end = Some(Err(stop)),
            }
        }
    }

    /// Whether nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.out.is_empty() && matches!(self.end, Some(Ok(None)))
    }
}
