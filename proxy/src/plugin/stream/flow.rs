//! What is noted while a body goes through plugins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Pipe, Stop};
use crate::exchange::state::{Answer, Left, State};
use crate::plugin::answer::Begun;
use crate::plugin::callout::Calls;
use crate::plugin::{Called, Failure, Hook};
use crate::trace::attributes::milliseconds;
use crate::trace::{SpanIndex, Status};

/// What one side's pipes and its exchange share.
pub struct Flow {
    /// `None` while a guest has it.
    pub(super) state: RefCell<Option<Box<State>>>,
    pub(super) sums: RefCell<Vec<Sum>>,
    pub(super) stop: Cell<Option<Stop>>,
    /// Of the plugin that stopped it by an answer in pieces.
    pub(super) answering: RefCell<Option<Pipe>>,
    /// What plugins had left when a guest was lent the state, where a hook of a response may ask for it
    /// meanwhile.
    left: RefCell<Left>,
    keeps_left: Cell<bool>,
}

/// The calls of one plugin for the pieces of one body.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    plugin: u32,
    hook: Hook,
    pub(super) span: SpanIndex,
    pub(super) calls: u32,
    pub(super) errors: u32,
    pub(super) total: Duration,
    /// Time in which the guest ran.
    pub(super) cpu: Duration,
    pub(super) last: Instant,
    pub(super) failure: Option<Failure>,
}

impl Sum {
    pub(super) fn add(&mut self, took: Duration, called: &Called) {
        self.calls = self.calls.saturating_add(1);
        self.total += took;
        self.cpu += called.cpu;
        self.last = called.end;
    }
}

impl Flow {
    /// Begins where the exchange stands; `side` is a state to work on.
    pub fn new(exchange: &State, mut side: Box<State>) -> Rc<Self> {
        side.fork(exchange);
        Rc::new(Self {
            state: RefCell::new(Some(side)),
            sums: RefCell::default(),
            stop: Cell::new(None),
            answering: RefCell::default(),
            left: RefCell::default(),
            keeps_left: Cell::new(false),
        })
    }

    /// A plugin is going to be called for the pieces of a body: the place of its sum.
    pub(in crate::plugin) fn join(&self, pipe: &Pipe) -> usize {
        if pipe.hook == Hook::RequestBody && pipe.plugin.wants(Hook::Response) {
            self.keeps_left.set(true);
        }
        let mut sums = self.sums.borrow_mut();
        sums.push(Sum {
            plugin: pipe.plugin.id,
            hook: pipe.hook,
            span: pipe.span,
            calls: 0,
            errors: 0,
            total: Duration::ZERO,
            cpu: Duration::ZERO,
            last: Instant::now(),
            failure: None,
        });
        sums.len() - 1
    }

    /// A further hook on the head has run, of a plugin that is going to stream the body too.
    pub fn catch_up(&self, exchange: &State) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.recorder.catch_up(&exchange.recorder);
            state.take_held(&exchange.held, |id| !self.has(id));
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

    /// What the body of that answer comes of, where it comes piece by piece. Once.
    pub fn begun(&self, calls: &dyn Calls) -> Option<Box<Begun>> {
        let pipe = self.answering.take()?;
        Some(Box::new(Begun::new(pipe, calls.lasting())))
    }

    /// What plugins left for their later hooks; while one works on a piece, what they had left before it.
    pub fn settle(&self, exchange: &mut State) {
        let whose = |id| self.has(id);
        match &*self.state.borrow() {
            Some(state) => exchange.take_held(&state.held, whose),
            None if self.keeps_left.get() => exchange.take_held(&self.left.borrow(), whose),
            None => {}
        }
    }

    /// How long guests ran for pieces so far.
    pub fn worked(&self) -> Duration {
        self.sums.borrow().iter().map(|sum| sum.cpu).sum()
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
        for sum in sums.iter().filter(|sum| sum.calls > 0 || sum.errors > 0) {
            let (calls, errors) = (i64::from(sum.calls), i64::from(sum.errors));
            let what = match sum.hook {
                Hook::AnswerBody => "weir.hook.answer",
                _ => "weir.hook.body",
            };
            recorder.attributes(sum.span, |attributes| {
                attributes.add(what, "streamed");
                attributes.add("plugin.invocation_count", calls);
                attributes.add("plugin.total_duration_ms", milliseconds(sum.total));
                let average = sum.total / sum.calls.max(1);
                attributes.add("plugin.avg_duration_ms", milliseconds(average));
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
pub(super) struct Loan<'f> {
    flow: &'f Flow,
    pub(super) state: Option<Box<State>>,
}

impl<'f> Loan<'f> {
    pub(super) fn new(flow: &'f Flow) -> Self {
        let state = flow.state.borrow_mut().take();
        if let Some(state) = &state
            && flow.keeps_left.get()
        {
            flow.left.borrow_mut().clone_from(&state.held);
        }
        Self { flow, state }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.flow.state.borrow_mut() = self.state.take();
    }
}
