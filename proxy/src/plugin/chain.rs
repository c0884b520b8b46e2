//! Runs the hooks of several plugins in order and records a span for each.
//!
//! Request-side hooks run in the order of the configuration until one answers or fails; response
//! hooks run in reverse, for every plugin whose place the request side had reached.

mod notes;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Begun;
use super::callout::Calls;
use super::instances::Instances;
use super::own::{self, Own};
use super::stream::Pipe;
use super::{Action, Call, Called, Hook, Plugin, Side};
use crate::coding::Decoder;
use crate::config::{OnError, OnLargeBody};
use crate::exchange::content::{self, Undecoded, View};
use crate::exchange::state::{Answer, State};
use crate::server::respond::{self, Refusal};
use crate::trace::{Kind, SpanIndex};
use notes::{nanos, note, refuse};

pub(super) use notes::warn;

/// Plugins in the order of their request hooks.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Vec<Arc<Plugin>>,
    wants: [bool; 3],
}

/// Where an exchange stands between hooks.
pub struct Progress {
    /// Span that the next hook's span hangs on.
    pub parent: SpanIndex,
    /// How many plugins of the chain each request-side phase has reached, by [`Hook`]: one that has
    /// no pre-request hook is passed over by that phase, not reached.
    pub reached: [usize; 2],
    /// When the last thing ended; the next hook's span begins here.
    pub now: Instant,
    /// Instances that no other exchange has.
    own: Own,
}

impl Progress {
    /// Of an exchange of which no hook has run.
    pub fn new(now: Instant) -> Self {
        Self {
            parent: SpanIndex::ROOT,
            reached: [0; 2],
            now,
            own: Own::default(),
        }
    }
}

/// What came of a run of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Proceed,
    /// A hook answered: [`State::answer`] is set.
    Answered,
    /// A hook failed that may not be passed over.
    Failed,
}

/// What a chain needs of the worker it runs on.
#[derive(Clone, Copy)]
pub struct Runner<'w> {
    pub instances: &'w Rc<Instances>,
    pub worker: usize,
    /// Makes the calls of hooks to upstreams.
    pub calls: &'w dyn Calls,
}

/// Whether a body is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is held in the [`State`].
    Whole,
    TooLarge,
}

/// The body of the side that hooks run on, as they ask for it.
#[allow(async_fn_in_trait, reason = "nothing of a worker's is Send")]
pub trait Bodies {
    /// Reads the body into the state, if it has at most so many bytes. An error is what is answered
    /// instead.
    async fn hold(&mut self, most: usize, state: &mut State) -> Result<Fit, Answer>;

    /// Whether there is a body.
    fn comes(&self, state: &State) -> bool;

    /// Lets a plugin see the pieces of the body on its way, decoded from there on where it is to be;
    /// `false` where there are none.
    fn attach(&mut self, pipe: Pipe, decoder: Option<Decoder>, state: &mut State) -> bool;

    /// The hook has put another body in the place of the one that was held.
    fn replaced(&mut self, state: &State) {
        let _ = state;
    }

    /// The answer of the hook that has just run has a body that comes piece by piece.
    fn answers(&mut self, begun: Box<Begun>);

    /// What is answered where the body is too large.
    fn refusal(&self) -> Answer;

    /// What is answered where it is not encoded as it says.
    fn malformed(&self) -> Answer;

    /// Answers instead of what there was.
    fn replace(&mut self, answer: Answer, state: &mut State) {
        state.answer = Some(answer);
    }

    /// A response hook answered, or failed.
    fn stopped(&mut self, outcome: Outcome, state: &mut State) {
        let _ = (outcome, state);
    }
}

impl Chain {
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Self {
        let wants = Hook::ALL.map(|hook| plugins.iter().any(|plugin| plugin.wants(hook)));
        Self { plugins, wants }
    }

    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// Whether any plugin has this hook.
    pub fn wants(&self, hook: Hook) -> bool {
        self.wants[hook as usize]
    }

    /// Whether a response hook reads fields of the request.
    pub fn wants_request_head(&self) -> bool {
        self.plugins
            .iter()
            .any(|plugin| plugin.interests.request_head)
    }

    /// Runs a request-side hook of each plugin, in order. `slot` holds the state before and after.
    pub async fn run_request(
        &self,
        hook: Hook,
        runner: Runner<'_>,
        slot: &mut Option<Box<State>>,
        progress: &mut Progress,
        body: &mut impl Bodies,
    ) -> Outcome {
        if !self.wants(hook) {
            progress.reached[hook as usize] = self.plugins.len();
            return Outcome::Proceed;
        }
        for (index, plugin) in self.plugins.iter().enumerate() {
            progress.reached[hook as usize] = index + 1;
            if !plugin.wants(hook) {
                continue;
            }
            let Some(state) = slot else {
                return Outcome::Failed;
            };
            let view = match ready(plugin, hook, state, progress, body).await {
                Ready::Seen(view) => view,
                Ready::Passed => continue,
                Ready::Refused(answer) | Ready::Replaced(answer) => {
                    state.answer = Some(answer);
                    return Outcome::Answered;
                }
            };
            let outcome = run(plugin, hook, runner, slot, progress, body, view).await;
            if outcome != Outcome::Proceed {
                return outcome;
            }
        }
        Outcome::Proceed
    }

    /// Runs the response hooks, in reverse, of the plugins that were reached. After each answer or
    /// failure `body` puts the new head in place, and the rest run on it.
    pub async fn run_response(
        &self,
        runner: Runner<'_>,
        slot: &mut Option<Box<State>>,
        progress: &mut Progress,
        body: &mut impl Bodies,
    ) {
        if !self.wants(Hook::Response) {
            return;
        }
        let [before, routed] = progress.reached;
        for (index, plugin) in self.plugins.iter().enumerate().rev() {
            let reached = index < routed || (index < before && plugin.wants(Hook::PreRequest));
            if !reached || !plugin.wants(Hook::Response) {
                continue;
            }
            let Some(state) = slot else { return };
            let view = match ready(plugin, Hook::Response, state, progress, body).await {
                Ready::Seen(view) => view,
                Ready::Passed => continue,
                Ready::Refused(answer) => {
                    body.replace(answer, state);
                    continue;
                }
                Ready::Replaced(answer) => {
                    body.replace(answer, state);
                    None
                }
            };
            let outcome = run(plugin, Hook::Response, runner, slot, progress, body, view).await;
            if outcome != Outcome::Proceed
                && let Some(state) = slot
            {
                body.stopped(outcome, state);
            }
        }
    }
}

/// What a hook meets of its side's body.
enum Ready {
    /// It may be called.
    Seen(Option<Box<View>>),
    /// It is passed over.
    Passed,
    /// This is answered, and it is not called.
    Refused(Answer),
    /// This is answered; a response hook is called on it.
    Replaced(Answer),
}

/// Has the body at hand that a plugin wants to see, as it wants to see it.
async fn ready(
    plugin: &Plugin,
    hook: Hook,
    state: &mut State,
    progress: &mut Progress,
    body: &mut impl Bodies,
) -> Ready {
    let (side, decoded) = (hook.side(), plugin.interests.decoded);
    let Some(most) = plugin.holds(side) else {
        let is_decoded = decoded && plugin.streams(side) && body.comes(state);
        return Ready::Seen(is_decoded.then(|| View::streamed(state, side)).flatten());
    };
    let held = body.hold(most, state).await;
    progress.now = Instant::now();
    let mut fits = match held {
        Ok(fit) => fit == Fit::Whole,
        Err(answer) => return Ready::Replaced(answer),
    };
    if decoded && fits {
        let view = View::held(state, side, most).await;
        progress.now = Instant::now();
        match view {
            Ok(view) => return Ready::Seen(view),
            Err(Undecoded::TooLarge) => fits = false,
            Err(Undecoded::Full) => {
                return Ready::Replaced(respond::refusal(&Refusal::Overload));
            }
            Err(Undecoded::Malformed(message)) => {
                refuse(plugin, hook, content::MALFORMED, &message, state, progress);
                return match plugin.config.on_error {
                    OnError::Continue => Ready::Passed,
                    OnError::Reject => Ready::Refused(body.malformed()),
                };
            }
        }
    }
    if fits {
        return Ready::Seen(None);
    }
    match (plugin.config.on_large_body, side) {
        (OnLargeBody::Reject, Side::Request) => {
            let message = format!("the request's body has more than {most} bytes");
            refuse(plugin, hook, "body_too_large", &message, state, progress);
            Ready::Refused(body.refusal())
        }
        (OnLargeBody::Reject, Side::Response) => Ready::Replaced(body.refusal()),
        (OnLargeBody::Bypass, _) => Ready::Seen(View::bypassed(state, side)),
    }
}

async fn run(
    plugin: &Arc<Plugin>,
    hook: Hook,
    runner: Runner<'_>,
    slot: &mut Option<Box<State>>,
    progress: &mut Progress,
    body: &mut impl Bodies,
    mut view: Option<Box<View>>,
) -> Outcome {
    let start = progress.now;
    let face = plugin.face(hook);
    let Some(state) = slot else {
        return Outcome::Failed;
    };
    // Nor has it changed anything where there is no instance to call.
    state.changed.clear();
    state.body_replaced = false;
    let span = state
        .recorder
        .span(&face.span_name, Kind::Plugin, progress.parent, start);
    progress.parent = span;

    // What it took to make a fresh instance.
    let mut made = None;
    let seat = progress.own.seat(plugin, hook);
    let called = match own::take(seat.as_deref(), runner.instances, plugin, hook, start).await {
        Ok((mut kept, place, start)) => {
            // A fresh instance took its time, and one's own may have been waited for: not the hook's.
            let start = if kept.is_fresh() {
                let now = Instant::now();
                made = Some(now.saturating_duration_since(start));
                now
            } else {
                start
            };
            let restores = plugin.config.on_error == OnError::Continue;
            let call = Call {
                hook,
                span,
                start,
                limits: plugin.config.limits,
                restores,
                calls: runner.calls,
            };
            let called = kept.instance.call(call, slot).await;
            let pieces = match (&called.result, slot.as_deref()) {
                (Ok(Action::Proceed), Some(state))
                    if plugin.streams_after(hook) && !state.skips_body =>
                {
                    Some(hook.side().pieces())
                }
                (Ok(Action::Respond), Some(state)) if state.streams_answer => {
                    Some(Hook::AnswerBody)
                }
                _ => None,
            };
            if called.result.is_ok() {
                kept.has(called.memory);
            }
            match (pieces, slot.as_deref_mut()) {
                (Some(pieces), Some(state)) => {
                    let seat = own::leave(kept, place, seat.as_ref());
                    let free = (runner.instances, runner.worker);
                    let pipe = Pipe::new(plugin, (hook, pieces), span, free, seat);
                    if pieces == Hook::AnswerBody {
                        body.answers(Box::new(Begun::new(pipe, runner.calls.lasting())));
                    } else {
                        let decoder = view.as_deref_mut().and_then(View::take_decoder);
                        let decodes = decoder.is_some();
                        if body.attach(pipe, decoder, state) && decodes {
                            content::changed(state, hook.side());
                            view = None;
                        }
                    }
                }
                _ if called.result.is_ok() => {
                    let free = match place {
                        Some(mut place) => {
                            *place = Some(kept);
                            None
                        }
                        None => Some(kept),
                    };
                    runner.instances.succeeded(plugin, hook, free, called.end);
                }
                _ => {}
            }
            called
        }
        Err(failure) => Called {
            result: Err(failure),
            end: Instant::now(),
            cpu: Duration::ZERO,
            memory: 0,
        },
    };
    progress.now = called.end;
    let failure = called.result.as_ref().err();
    let took = called.end.saturating_duration_since(start);
    face.cells[runner.worker].record(took, failure);
    if let Some(failure) = failure {
        runner.instances.failed(plugin, hook, failure, called.end);
        warn(plugin, hook, failure);
    }
    let Some(state) = slot else {
        return Outcome::Failed;
    };
    note(plugin, hook, span, took, &called, state);
    if let Some(made) = made {
        let recorder = &mut state.recorder;
        recorder.attribute(span, "weir.hook.made_ns", nanos(made));
    }
    if state.body_replaced {
        content::changed(state, hook.side());
        body.replaced(state);
    } else if let Some(view) = view {
        view.restore(state);
    }
    match called.result {
        Ok(Action::Respond) => Outcome::Answered,
        Ok(_) => Outcome::Proceed,
        Err(_) if plugin.config.on_error == OnError::Continue => Outcome::Proceed,
        Err(_) => Outcome::Failed,
    }
}
