//! 5, 7 — Bodies that go through plugins piece by piece.
//!
//! [`Pipes`] are the plugins in a body's way: fed with a piece, they give what goes on instead. A
//! piece is fed only when all before it has gone on, so that what is held is what one call of each
//! plugin gave. Who reads the body, and where to, is the affair of `exchange/stream.rs`.
//!
//! A request's pieces are read while the exchange goes on, and a guest that is interrupted keeps what
//! was lent to it. So a side that streams has a [`State`] of its own, a [`Flow`], whose notes the
//! exchange takes over at its end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use super::callout::{Calls, NoCalls};
use super::chain::warn;
use super::instances::{Instances, Kept};
use super::{Action, Call, Failure, Hook, Plugin};
use crate::config::OnError;
use crate::exchange::state::{Answer, State};
use crate::trace::{SpanIndex, Status};

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

/// What one side's pipes and its exchange share.
pub struct Flow {
    /// `None` while a guest has it.
    state: RefCell<Option<Box<State>>>,
    sums: RefCell<Vec<Sum>>,
    stop: Cell<Option<Stop>>,
}

/// The calls of one plugin for the pieces of one body.
#[derive(Clone, Debug)]
struct Sum {
    plugin: u32,
    hook: Hook,
    span: SpanIndex,
    calls: u32,
    errors: u32,
    total: Duration,
    last: Instant,
    failure: Option<Failure>,
}

impl Flow {
    /// Begins where the exchange stands; `side` is a state to work on.
    pub fn new(exchange: &State, mut side: Box<State>) -> Rc<Self> {
        side.fork(exchange);
        Rc::new(Self {
            state: RefCell::new(Some(side)),
            sums: RefCell::default(),
            stop: Cell::new(None),
        })
    }

    /// A plugin is going to be called for the pieces of a body: the place of its sum.
    pub(super) fn join(&self, pipe: &Pipe) -> usize {
        let mut sums = self.sums.borrow_mut();
        sums.push(Sum {
            plugin: pipe.plugin.id,
            hook: pipe.hook,
            span: pipe.span,
            calls: 0,
            errors: 0,
            total: Duration::ZERO,
            last: Instant::now(),
            failure: None,
        });
        sums.len() - 1
    }

    /// A further hook on the head has run, of a plugin that is going to stream the body too.
    pub fn catch_up(&self, exchange: &State) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.recorder.catch_up(&exchange.recorder);
            state.take_held(exchange, |id| !self.has(id));
        }
    }

    /// What a plugin answered instead of sending the request on.
    pub fn answer(&self) -> Option<Answer> {
        let answered = self.stop.get() == Some(Stop::Answered);
        let mut state = self.state.borrow_mut();
        state
            .as_mut()
            .filter(|_| answered)
            .and_then(|state| state.answer.take())
    }

    /// What plugins left for their later hooks.
    pub fn settle(&self, exchange: &mut State) {
        if let Some(state) = &*self.state.borrow() {
            exchange.take_held(state, |id| self.has(id));
        }
    }

    /// Whether the plugin streams this side's body.
    fn has(&self, plugin: u32) -> bool {
        self.sums.borrow().iter().any(|sum| sum.plugin == plugin)
    }

    /// Takes over what was noted, at the end of the exchange; gives the state back for another.
    pub fn finish(&self, exchange: &mut State) -> Option<Box<State>> {
        let side = self.state.borrow_mut().take();
        if let Some(side) = &side {
            exchange.absorb(side);
        }
        let recorder = &mut exchange.recorder;
        let sums = self.sums.borrow();
        for sum in sums.iter().filter(|sum| sum.calls > 0) {
            let milliseconds = sum.total.as_secs_f64() * 1e3;
            let (calls, errors) = (i64::from(sum.calls), i64::from(sum.errors));
            let what = match sum.hook {
                Hook::AnswerBody => "weir.hook.answer",
                _ => "weir.hook.body",
            };
            recorder.attributes(sum.span, |attributes| {
                attributes.add(what, "streamed");
                attributes.add("plugin.invocation_count", calls);
                attributes.add("plugin.total_duration_ms", milliseconds);
                let average = milliseconds / f64::from(sum.calls.max(1));
                attributes.add("plugin.avg_duration_ms", average);
                attributes.add("plugin.error_count", errors);
            });
            match &sum.failure {
                Some(failure) => {
                    recorder.attribute(sum.span, "error.type", failure.reason());
                    recorder.mark_error(sum.span, &failure.to_string());
                    recorder.end(sum.span, Status::Error, "", sum.last);
                }
                None => recorder.end(sum.span, Status::Ok, "", sum.last),
            }
        }
        side
    }
}

/// The state of a flow, while a guest has it.
struct Loan<'f> {
    flow: &'f Flow,
    state: Option<Box<State>>,
}

impl<'f> Loan<'f> {
    fn new(flow: &'f Flow) -> Self {
        let state = flow.state.borrow_mut().take();
        Self { flow, state }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.flow.state.borrow_mut() = self.state.take();
    }
}

/// A plugin in the way of one body, with the instance that saw its head.
pub struct Pipe {
    plugin: Arc<Plugin>,
    hook: Hook,
    instances: Rc<Instances>,
    worker: usize,
    /// Of the head's hook.
    span: SpanIndex,
    /// `None` where the rest passes by.
    instance: Option<Kept>,
    /// Linear memory after its last call, in bytes.
    memory: usize,
    /// The guest has seen a piece.
    started: bool,
}

impl Pipe {
    /// `hook` is that of the pieces.
    pub(super) fn new(
        plugin: &Arc<Plugin>,
        hook: Hook,
        span: SpanIndex,
        (instances, worker): (&Rc<Instances>, usize),
        (instance, memory): (Kept, usize),
    ) -> Self {
        Self {
            plugin: Arc::clone(plugin),
            hook,
            instances: Rc::clone(instances),
            worker,
            span,
            instance: Some(instance),
            memory,
            started: false,
        }
    }

    /// The instance is free again.
    pub(super) fn release(&mut self) {
        if let Some(kept) = self.instance.take() {
            let memory = self.memory;
            self.instances
                .give(&self.plugin, kept, memory, Instant::now());
        }
    }

    /// Calls the guest with a piece; gives what goes on instead.
    async fn call(
        &mut self,
        flow: &Flow,
        place: usize,
        piece: Piece,
    ) -> Result<VecDeque<Piece>, Stop> {
        if self.instance.is_none() {
            return Ok([piece].into());
        }
        // A body outlives the exchange that could make any.
        let told = self.ask(flow, place, piece.clone(), &NoCalls).await;
        let Some(told) = told else {
            return match self.plugin.config.on_error {
                OnError::Continue => Ok([piece].into()),
                OnError::Reject => Err(Stop::Failed),
            };
        };
        let (data, last) = (piece.data, piece.last);
        let mut on: VecDeque<Piece> = match told.action {
            Action::Replace => told.written.into_iter().map(Piece::of).collect(),
            Action::Abort => return Err(Stop::Aborted),
            Action::Respond => return Err(Stop::Answered),
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

    /// Calls the guest with a piece; `None` where it failed.
    pub(super) async fn ask(
        &mut self,
        flow: &Flow,
        place: usize,
        piece: Piece,
        calls: &dyn Calls,
    ) -> Option<Told> {
        let mut kept = self.instance.take()?;
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
        let sum = &mut flow.sums.borrow_mut()[place];
        sum.calls = sum.calls.saturating_add(1);
        sum.total += took;
        sum.last = called.end;
        match called.result {
            Ok(action) => {
                self.instance = Some(kept);
                self.memory = called.memory;
                let state = loan.state.as_mut()?;
                Some(Told {
                    action,
                    piece: std::mem::take(&mut state.piece),
                    written: std::mem::take(&mut state.written),
                })
            }
            Err(failure) => {
                self.instances.failed(&self.plugin, &failure, called.end);
                warn(&self.plugin, self.hook, &failure);
                sum.errors += 1;
                sum.failure = Some(failure);
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
