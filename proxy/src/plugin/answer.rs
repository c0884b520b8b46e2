//! 5, 7 — Answers whose body a plugin gives piece by piece.
//!
//! A hook that answers so leaves a [`Begun`]: its instance, which is asked for the pieces. Whoever sends
//! the answer makes [`Pieces`] of it; they ask for no piece before the one before has been taken, and
//! break off an answer that has more bytes, or lasts longer, than its plugin's limits allow. Where they go,
//! and through which plugins, is the affair of `exchange/stream.rs`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::callout::Calls;
use super::stream::{Flow, Piece, Pipe, Stop};
use super::{Action, Failure};

/// How long a guest is left alone that had nothing to send.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer of which nothing was sent yet. Boxed, since hardly an exchange has one.
pub struct Begun {
    pipe: Pipe,
    calls: Rc<dyn Calls>,
    /// Bytes that it may still have.
    left: u64,
    /// When it has to have ended.
    until: Instant,
}

/// What a guest gave.
enum Next {
    Written(Vec<Bytes>),
    /// Nothing more but trailers.
    Ended(HeaderMap),
}

impl Begun {
    pub(super) fn new(pipe: Pipe, calls: Rc<dyn Calls>) -> Self {
        let limits = pipe.limits();
        Self {
            pipe,
            calls,
            left: limits.answer,
            until: Instant::now() + limits.answer_time,
        }
    }

    async fn next(&mut self, flow: &Flow, place: usize) -> Result<Next, Stop> {
        let end = Piece {
            last: true,
            ..Piece::default()
        };
        let told = self.pipe.ask(flow, place, end, &*self.calls).await;
        let told = told.ok_or(Stop::Failed)?;
        match told.action {
            Action::Replace => {
                let written = told.written.iter().map(|piece| piece.len() as u64);
                let Some(left) = self.left.checked_sub(written.sum()) else {
                    let most = self.pipe.limits().answer;
                    self.pipe.cut(flow, place, Failure::AnswerSize(most));
                    return Err(Stop::Failed);
                };
                self.left = left;
                Ok(Next::Written(told.written))
            }
            Action::Proceed => {
                self.pipe.release();
                Ok(Next::Ended(told.piece.trailers))
            }
            // It has answered already: the host took no other.
            Action::Respond | Action::Abort => Err(Stop::Aborted),
        }
    }

    /// Asks until there is something to send, or the answer's time is over.
    async fn ask(
        mut self: Box<Self>,
        flow: Rc<Flow>,
        place: usize,
    ) -> (Box<Self>, Result<Next, Stop>) {
        let until = self.until;
        let asking = async {
            // Also where a guest has each piece at once.
            while Instant::now() < until {
                // Between pieces others have their turn, also where the client takes each at once.
                tokio::task::coop::consume_budget().await;
                match self.next(&flow, place).await {
                    Ok(Next::Written(pieces)) if pieces.iter().all(Bytes::is_empty) => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    next => return Some(next),
                }
            }
            None
        };
        let asked = tokio::time::timeout_at(until.into(), asking).await;
        let next = asked.ok().flatten().unwrap_or_else(|| {
            let longest = self.pipe.limits().answer_time;
            self.pipe.cut(&flow, place, Failure::AnswerTime(longest));
            Err(Stop::Failed)
        });
        (self, next)
    }
}

type Asking = Pin<Box<dyn Future<Output = (Box<Begun>, Result<Next, Stop>)>>>;

/// The body of an answer.
pub struct Pieces {
    flow: Rc<Flow>,
    /// Of the flow's sums.
    place: usize,
    /// What was written and is not taken yet.
    out: VecDeque<Bytes>,
    rest: Rest,
}

/// What comes behind that.
enum Rest {
    /// It is asked once somebody takes it.
    Asking(Asking),
    /// It has ended, with the trailers that are not taken yet, or broke off.
    Ended(Result<Option<HeaderMap>, Stop>),
}

impl Pieces {
    /// `flow` is what the plugins of the response note in.
    pub fn new(begun: Box<Begun>, flow: &Rc<Flow>) -> Self {
        let place = flow.join(&begun.pipe);
        Self {
            flow: Rc::clone(flow),
            place,
            out: VecDeque::new(),
            rest: Rest::Asking(Box::pin(begun.ask(Rc::clone(flow), place))),
        }
    }

    /// The next piece, or the trailers. One that broke off never ends.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stop>>> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let asking = match &mut self.rest {
                Rest::Asking(asking) => asking,
                Rest::Ended(Ok(trailers)) => {
                    let trailers = trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Rest::Ended(Err(stop)) => return Poll::Ready(Some(Err(*stop))),
            };
            let (begun, next) = ready!(asking.as_mut().poll(cx));
            self.rest = match next {
                Ok(Next::Written(pieces)) => {
                    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
                    self.out.extend(pieces);
                    Rest::Asking(Box::pin(begun.ask(Rc::clone(&self.flow), self.place)))
                }
                Ok(Next::Ended(trailers)) => {
                    Rest::Ended(Ok((!trailers.is_empty()).then_some(trailers)))
                }
                Err(stop) => Rest::Ended(Err(stop)),
            };
        }
    }

    /// Whether nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.out.is_empty() && matches!(self.rest, Rest::Ended(Ok(None)))
    }
}
