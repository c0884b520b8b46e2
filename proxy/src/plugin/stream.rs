//! 5, 7 — Bodies that go through plugins piece by piece.
//!
//! [`Pipes`] are the plugins in a body's way: fed with a piece, they give what goes on instead. A
//! piece is fed only when all before it has gone on, so that what is held is what one call of each
//! plugin gave. Who reads the body, and where to, is the affair of `exchange/stream.rs`.
//!
//! A request's pieces are read while the exchange goes on, and a guest that is interrupted keeps what
//! was lent to it. So a side that streams has a state of its own, a [`Flow`], whose notes the
//! exchange takes over at its end.

mod flow;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;

use super::callout::{Calls, NoCalls};
use super::chain::warn;
use super::instances::Instances;
use super::own::Seat;
use super::{Action, Call, Failure, Hook, Plugin};
use crate::config::{Limits, OnError};
use crate::exchange::content;
use crate::trace::SpanIndex;
use flow::Loan;

pub use flow::Flow;

/// Most bytes of a piece.
const PIECE: usize = 64 << 10;

/// A part of a body.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub data: Bytes,
    /// Nothing comes behind it but its trailers.
    pub last: bool,
    pub trailers: HeaderMap,
}

/// Why a body does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("a plugin failed")]
    Failed,
    #[error("a plugin broke it off")]
    Aborted,
    #[error("a plugin answered the request")]
    Answered,
}

impl Stop {
    /// Stable, for `error.type`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Failed => "plugin_failed",
            Self::Aborted => "plugin_aborted",
            Self::Answered => "plugin_answered",
        }
    }
}

/// A plugin in the way of one body, with the instance that saw its head.
pub struct Pipe {
    plugin: Arc<Plugin>,
    /// Of the head. Failures count with it.
    head: Hook,
    /// Of the pieces.
    hook: Hook,
    instances: Rc<Instances>,
    worker: usize,
    /// Of the head's hook.
    span: SpanIndex,
    /// Of the instance; `None` where the rest passes by.
    seat: Option<Rc<Seat>>,
    /// The guest has seen a piece.
    started: bool,
    /// It has not seen the body's end, and never will.
    broken: bool,
    /// It has put others in the place of some.
    replaced: bool,
}

impl Pipe {
    pub(super) fn new(
        plugin: &Arc<Plugin>,
        (head, hook): (Hook, Hook),
        span: SpanIndex,
        (instances, worker): (&Rc<Instances>, usize),
        seat: Rc<Seat>,
    ) -> Self {
        Self {
            plugin: Arc::clone(plugin),
            head,
            hook,
            instances: Rc::clone(instances),
            worker,
            span,
            seat: Some(seat),
            started: false,
            broken: false,
            replaced: false,
        }
    }

    /// The same for pieces of the answer that the guest gave to one of its body's.
    fn answering(&mut self, last: bool) -> Self {
        Self {
            plugin: Arc::clone(&self.plugin),
            head: self.head,
            hook: Hook::AnswerBody,
            instances: Rc::clone(&self.instances),
            worker: self.worker,
            span: self.span,
            seat: self.seat.take(),
            started: true,
            broken: !last,
            replaced: false,
        }
    }

    /// The instance is free again.
    pub(super) fn release(&mut self) {
        if let Some(seat) = self.seat.take() {
            let free = seat.take().filter(|_| !self.broken);
            let now = Instant::now();
            self.instances.succeeded(&self.plugin, self.head, free, now);
        }
    }

    /// What goes on where the guest is not asked, or has failed.
    fn pass(&self, mut piece: Piece) -> VecDeque<Piece> {
        if self.replaced {
            content::strip_digests(&mut piece.trailers, &[]);
        }
        [piece].into()
    }

    /// Calls the guest with a piece; gives what goes on instead.
    async fn call(
        &mut self,
        flow: &Flow,
        place: usize,
        piece: Piece,
    ) -> Result<VecDeque<Piece>, Stop> {
        if self.seat.is_none() {
            return Ok(self.pass(piece));
        }
        // A body outlives the exchange that could make any.
        let told = self.ask(flow, place, piece.clone(), &NoCalls).await;
        let Some(told) = told else {
            return match self.plugin.config.on_error {
                OnError::Continue => Ok(self.pass(piece)),
                OnError::Reject => Err(Stop::Failed),
            };
        };
        let (data, last) = (piece.data, piece.last);
        let mut on: VecDeque<Piece> = match told.action {
            Action::Replace => told.written.into_iter().map(Piece::of).collect(),
            Action::Abort => return Err(Stop::Aborted),
            Action::Respond => {
                if told.streams_answer {
                    *flow.answering.borrow_mut() = Some(self.answering(last));
                }
                return Err(Stop::Answered);
            }
            Action::Proceed => [Piece::of(data)].into(),
        };
        if last {
            self.release();
            if on.is_empty() {
                on.push_back(Piece::default());
            }
            if let Some(end) = on.back_mut() {
                end.last = true;
                end.trailers = told.piece.trailers;
            }
        }
        Ok(on)
    }

    /// The guest's answer is past its bound, or its instance did not get free in time: nobody asks it for
    /// more. Its breaker learns nothing: by taking an answer slowly, clients could open it.
    pub(super) fn cut(&mut self, flow: &Flow, place: usize, failure: Failure) {
        self.seat = None;
        self.plugin.cells(self.hook)[self.worker].fail(&failure);
        self.note_failed(flow, place, failure, Instant::now());
    }

    fn note_failed(&self, flow: &Flow, place: usize, failure: Failure, now: Instant) {
        warn(&self.plugin, self.hook, &failure);
        let sum = &mut flow.sums.borrow_mut()[place];
        sum.errors += 1;
        sum.last = now;
        sum.failure = Some(failure);
    }

    /// What bounds the guest.
    pub(super) fn limits(&self) -> Limits {
        self.plugin.config.limits
    }

    /// Calls the guest with a piece; `None` where it failed, or another hook of the exchange did with the
    /// same instance.
    pub(super) async fn ask(
        &mut self,
        flow: &Flow,
        place: usize,
        piece: Piece,
        calls: &dyn Calls,
    ) -> Option<Told> {
        let seat = self.seat.take()?;
        let mut own = match seat.lock(&self.plugin).await {
            Ok(own) => own,
            Err(failure) => {
                self.cut(flow, place, failure);
                return None;
            }
        };
        let mut kept = own.take()?;
        let mut loan = Loan::new(flow);
        let state = loan.state.as_mut()?;
        self.started = true;
        state.piece = piece;
        state.written.clear();
        let start = Instant::now();
        let call = Call {
            hook: self.hook,
            span: self.span,
            start,
            limits: self.plugin.config.limits,
            restores: false,
            calls,
        };
        let called = kept.instance.call(call, &mut loan.state).await;
        let took = called.end.saturating_duration_since(start);
        let failure = called.result.as_ref().err();
        self.plugin.cells(self.hook)[self.worker].record(took, failure);
        flow.sums.borrow_mut()[place].add(took, &called);
        match called.result {
            Ok(action) => {
                kept.has(called.memory);
                *own = Some(kept);
                drop(own);
                self.seat = Some(seat);
                let state = loan.state.as_mut()?;
                let mut piece = std::mem::take(&mut state.piece);
                self.replaced |= action == Action::Replace;
                if self.replaced {
                    content::strip_digests(&mut piece.trailers, &state.changed);
                }
                Some(Told {
                    action,
                    piece,
                    written: std::mem::take(&mut state.written),
                    streams_answer: state.streams_answer,
                })
            }
            Err(failure) => {
                self.instances
                    .failed(&self.plugin, self.head, &failure, called.end);
                self.note_failed(flow, place, failure, called.end);
                None
            }
        }
    }
}

/// What a guest made of a piece.
pub(super) struct Told {
    pub(super) action: Action,
    /// As it left it: its trailers may have changed.
    pub(super) piece: Piece,
    pub(super) written: Vec<Bytes>,
    /// Its answer has a body that comes piece by piece.
    streams_answer: bool,
}

/// What a guest keeps of a body must not meet another exchange, so one that saw part of it is
/// dropped.
impl Drop for Pipe {
    fn drop(&mut self) {
        if !self.started {
            self.release();
        }
    }
}

impl Piece {
    /// Of its data, in bytes.
    pub fn size(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap_or(u32::MAX)
    }

    fn of(data: Bytes) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }
}

/// What [`Pipes::poll`] tells.
pub enum Progress {
    /// Goes on.
    Piece(Piece),
    /// All that was fed has gone on.
    Hungry,
    Stopped(Stop),
}

type Done = (Pipe, Result<VecDeque<Piece>, Stop>);
type Calling = Pin<Box<dyn Future<Output = Done>>>;

/// The plugins in a body's way, first to last.
pub struct Pipes {
    flow: Rc<Flow>,
    stages: Vec<Stage>,
    /// What comes out of the last one.
    out: VecDeque<Piece>,
    /// The stage whose guest runs.
    busy: Option<(usize, Calling)>,
    started: bool,
}

struct Stage {
    /// `None` while its guest runs.
    pipe: Option<Pipe>,
    /// Of the flow's sums.
    place: usize,
    waiting: VecDeque<Piece>,
}

impl Pipes {
    pub fn new(flow: &Rc<Flow>) -> Self {
        Self {
            flow: Rc::clone(flow),
            stages: Vec::new(),
            out: VecDeque::new(),
            busy: None,
            started: false,
        }
    }

    /// Puts a plugin behind the last one.
    pub fn push(&mut self, pipe: Pipe) {
        self.stages.push(Stage {
            place: self.flow.join(&pipe),
            pipe: Some(pipe),
            waiting: VecDeque::new(),
        });
    }

    /// Whether it has seen any of its body.
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// Whether a guest runs or waits.
    pub fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// What comes cannot be decoded: told on the span of the first, who wanted it so.
    pub fn undecodable(&self, error: &io::Error) {
        let Some(first) = self.stages.first() else {
            return;
        };
        let span = self.flow.sums.borrow()[first.place].span;
        if let Some(state) = &mut *self.flow.state.borrow_mut() {
            let recorder = &mut state.recorder;
            recorder.attribute(span, "error.type", content::MALFORMED);
            recorder.mark_error(span, &content::malformed(error));
        }
    }

    /// Takes the next part of the body, of any size.
    pub fn feed(&mut self, piece: Piece) {
        self.started = true;
        self.give(0, piece);
    }

    /// Works on what was fed, the part that has come furthest first.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        loop {
            if let Some((index, call)) = &mut self.busy {
                let index = *index;
                let Poll::Ready((pipe, result)) = call.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                self.busy = None;
                self.stages[index].pipe = Some(pipe);
                match result {
                    Ok(pieces) => pieces
                        .into_iter()
                        .for_each(|piece| self.give(index + 1, piece)),
                    Err(stop) => {
                        self.flow.stop.set(Some(stop));
                        return Poll::Ready(Progress::Stopped(stop));
                    }
                }
            }
            if let Some(piece) = self.out.pop_front() {
                return Poll::Ready(Progress::Piece(piece));
            }
            let ready = (self.stages.iter_mut().enumerate().rev())
                .find(|(_, stage)| !stage.waiting.is_empty());
            let Some((index, stage)) = ready else {
                return Poll::Ready(Progress::Hungry);
            };
            let (Some(piece), Some(mut pipe)) = (stage.waiting.pop_front(), stage.pipe.take())
            else {
                return Poll::Ready(Progress::Hungry);
            };
            let (flow, place) = (Rc::clone(&self.flow), stage.place);
            let call = async move {
                let result = pipe.call(&flow, place, piece).await;
                (pipe, result)
            };
            self.busy = Some((index, Box::pin(call)));
        }
    }

    /// Lets a piece wait for a stage, or for who polls.
    fn give(&mut self, stage: usize, mut piece: Piece) {
        let waiting = match self.stages.get_mut(stage) {
            Some(stage) => &mut stage.waiting,
            None => &mut self.out,
        };
        while piece.data.len() > PIECE {
            waiting.push_back(Piece::of(piece.data.split_to(PIECE)));
        }
        if !piece.data.is_empty() || piece.last {
            waiting.push_back(piece);
        }
    }
}
