//! 8 — The state of an exchange from its head to its end, and the trace that is made at the end.
//!
//! Whatever happens, a life ends once: when the response's last piece is ready ([`Life::finish`]),
//! or, dropped before that, as an exchange whose client left or that a shutdown cut. The trace is
//! handed off before the last piece goes out.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::{StatusCode, Version};

use super::method;
use super::state::{Answer, State, UNFINISHED};
use crate::access_log::{self, AccessLog, Entry};
use crate::app::generation::Route;
use crate::export::local::Priority;
use crate::export::spool::Hold;
use crate::metrics::RouteCells;
use crate::plugin::Side;
use crate::plugin::answer::Begun;
use crate::plugin::callout::Calls;
use crate::plugin::stream::Flow;
use crate::trace::attributes::milliseconds;
use crate::trace::context::Context;
use crate::trace::{SpanIndex, Status};
use crate::upstream::body::{Fault, Upload};
use crate::worker::Worker;

/// See the module's documentation.
pub struct Life {
    worker: Rc<Worker>,
    /// `None` while a hook has it, and after the end.
    state: Option<Box<State>>,
    cells: Arc<[RouteCells]>,
    route: Option<Arc<str>>,
    status: StatusCode,
    /// Time spent waiting for the upstream.
    upstream: Duration,
    /// Time in which nobody worked for it, beside that.
    idle: Duration,
    /// Since when a body goes out that no upstream sends, and how long guests had run for it by then.
    streaming: Option<(Instant, Duration)>,
    ended: bool,
    /// What the end of the response waits for.
    hold: Option<Hold>,
    /// Whether it is its connection's first.
    first: bool,
    /// Bytes of the response's body so far.
    sent: u64,
    /// The request's body, from when it may be read.
    upload: Option<Upload>,
    /// What bodies that stream through plugins are noted in, by [`Side`].
    flows: [Option<Rc<Flow>>; 2],
}

/// Why a life ended, beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The client left, or the connection broke.
    ClientGone,
    /// The worker ended before it.
    Shutdown,
    /// The upstream's body broke off or stalled.
    UpstreamBody(&'static str),
    /// A plugin failed or broke the body off in mid-stream.
    Stopped(&'static str),
}

/// Reasons of ends, in traces and in the access log.
const CLIENT_GONE: &str = "client_disconnected";
const SHUTDOWN: &str = "shutdown";

impl End {
    /// Whether the response's status is worth telling: the client may not have had a head.
    fn has_status(self) -> bool {
        !matches!(self, Self::ClientGone | Self::Shutdown)
    }
}

impl Life {
    /// `takers` says whether there is anybody who takes its trace, `first` whether it is its
    /// connection's first.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        context: Option<&Context>,
        takers: bool,
        first: bool,
        now: Instant,
    ) -> Self {
        let mut state = worker.take_state();
        state.recorder.begin(context, now);
        if !takers {
            state.recorder.silence();
        }
        let cells = Arc::clone(&worker.no_route);
        cells[worker.index].active.inc();
        Self {
            worker: Rc::clone(worker),
            state: Some(state),
            cells,
            route: None,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            upstream: Duration::ZERO,
            idle: Duration::ZERO,
            streaming: None,
            ended: false,
            hold: None,
            first,
            sent: 0,
            upload: None,
            flows: [None, None],
        }
    }

    /// Takes over at the end what plugins note while a body streams.
    pub(super) fn follow(&mut self, side: Side, flow: Option<Rc<Flow>>) {
        self.flows[side as usize] = flow;
    }

    /// What a plugin answered while the request's body streamed.
    pub(super) fn answered_in_stream(&mut self) -> Option<Answer> {
        let flow = Rc::clone(self.flows[Side::Request as usize].as_ref()?);
        flow.settle(self.state());
        flow.answer()
    }

    /// What that answer's body comes of, where it comes piece by piece.
    pub(super) fn begun_in_stream(&self, calls: &dyn Calls) -> Option<Box<Begun>> {
        self.flows[Side::Request as usize].as_ref()?.begun(calls)
    }

    /// Is told at the end what became of the request's body.
    pub(super) fn watch(&mut self, upload: Upload) {
        self.upload = Some(upload);
    }

    /// The state, which a call of a hook takes and gives back.
    pub(super) fn slot(&mut self) -> &mut Option<Box<State>> {
        &mut self.state
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.state.get_or_insert_with(|| self.worker.take_state())
    }

    pub(super) fn routed(&mut self, route: &Route) {
        self.cells[self.worker.index].active.dec();
        self.cells = Arc::clone(&route.cells);
        let start = self.state().recorder.anchor();
        self.cells[self.worker.index].take(start);
        self.route = Some(Arc::clone(&route.name));
        let pattern = route.pattern.as_str();
        self.state()
            .recorder
            .attribute(SpanIndex::ROOT, "http.route", pattern);
    }

    /// The call to the upstream gave a head, or failed.
    pub(super) fn called(&mut self, start: Instant, now: Instant) -> &mut State {
        self.upstream += now.saturating_duration_since(start);
        self.state()
    }

    /// Time that the response's body made the client wait.
    pub(super) fn waited(&mut self, time: Duration) {
        self.upstream += time;
    }

    /// Time in which a plugin's answer had nobody work for it.
    pub(super) fn idled(&mut self, time: Duration) {
        self.idle += time;
    }

    /// A body goes out that no upstream sends: what guests do not run for it, it waits for them or for the
    /// client.
    pub(super) fn streams(&mut self) {
        self.streaming = Some((Instant::now(), self.worked()));
    }

    /// How long guests ran for pieces of the response.
    fn worked(&self) -> Duration {
        let flow = self.flows[Side::Response as usize].as_ref();
        flow.map_or(Duration::ZERO, |flow| flow.worked())
    }

    /// A piece of the response's body is to go out.
    pub(super) fn sends(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        // By it the body knows whether it may be one.
        self.state().response.status = status;
    }

    /// Moves the life into the response's body.
    pub(super) fn take(&mut self) -> Self {
        let taken = Self {
            worker: Rc::clone(&self.worker),
            state: self.state.take(),
            cells: Arc::clone(&self.cells),
            route: self.route.take(),
            status: self.status,
            upstream: self.upstream,
            idle: self.idle,
            streaming: self.streaming,
            ended: false,
            hold: None,
            first: self.first,
            sent: self.sent,
            upload: self.upload.take(),
            flows: std::mem::take(&mut self.flows),
        };
        self.ended = true;
        taken
    }

    /// What the end of the response is to wait for, once the exchange has ended.
    pub(super) fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Ends the exchange: its trace is handed off when this returns.
    pub(super) fn finish(&mut self, mut end: End, now: Instant) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let fault = self.upload.as_ref().and_then(Upload::fault);
        let by_upload = match end {
            // What is answered to an upload that broke off; an upstream may have answered before that.
            End::Complete => self.status == StatusCode::BAD_REQUEST,
            End::UpstreamBody(_) => true,
            End::ClientGone | End::Shutdown | End::Stopped(_) => false,
        };
        if by_upload && fault == Some(Fault::Gone) {
            end = End::ClientGone;
        }
        let cells = &self.cells[self.worker.index];
        cells.active.dec();
        let Some(mut state) = self.state.take() else {
            return;
        };
        cells
            .duration
            .record(now.saturating_duration_since(state.recorder.start()));
        if end == End::Complete {
            let class = usize::from(self.status.as_u16() / 100).clamp(1, 5);
            cells.responses[class - 1].inc();
        } else {
            cells.aborted.inc();
        }
        if let Some((since, before)) = self.streaming {
            let worked = self.worked().saturating_sub(before);
            self.idle += now.saturating_duration_since(since).saturating_sub(worked);
        }
        for flow in std::mem::take(&mut self.flows).into_iter().flatten() {
            if let Some(side) = flow.finish(&mut state) {
                self.worker.give_state(side);
            }
        }
        self.end_spans(&mut state, end, now);
        state.recorder.put_in_order();
        let generation = self.worker.generation();
        // A reload may have brought the first who takes traces.
        let is_noted = !state.recorder.is_silent();
        if is_noted {
            let write = |out: &mut _| generation.capture.write(&state.recorder, out);
            self.hold = self.worker.handoff.append(write);
        }
        if is_noted && generation.capture.keeps_local() {
            let priority = Priority::of(state.recorder.outcome().failed, self.first);
            self.worker.handoff.keep(priority, now, |out| {
                generation.capture.write_local(&state.recorder, out)
            });
        }
        if let Some(log) = &generation.access_log {
            self.log(log, &state, end, now);
        }
        self.worker.give_state(state);
    }

    fn log(&self, log: &AccessLog, state: &State, end: End, now: Instant) {
        let (recorder, request) = (&state.recorder, &state.request);
        let called = state.called.as_ref();
        let agent = request.headers.get(USER_AGENT);
        let line = access_log::write(
            &Entry {
                time: recorder.anchor(),
                client: request.client.map(|client| client.ip()),
                method: request.method.as_str(),
                host: &request.authority,
                path: request.uri.path(),
                version: match state.version {
                    Version::HTTP_10 => "1.0",
                    Version::HTTP_2 => "2",
                    _ => "1.1",
                },
                status: end.has_status().then_some(self.status.as_u16()),
                bytes: self.sent,
                duration: now.saturating_duration_since(recorder.start()),
                upstream_duration: self.upstream,
                route: self.route.as_deref().unwrap_or_default(),
                upstream: called.map_or("", |(upstream, ..)| &upstream.name),
                endpoint: called
                    .map_or("", |(upstream, index, _)| &upstream.endpoints[*index].label),
                tries: called.map_or(0, |(.., tries)| *tries),
                end: match end {
                    End::Complete => "complete",
                    End::ClientGone => CLIENT_GONE,
                    End::Shutdown => SHUTDOWN,
                    End::UpstreamBody(reason) | End::Stopped(reason) => reason,
                },
                trace_id: &recorder.trace_id().to_string(),
                request_id: recorder.request_id(),
                user_agent: agent
                    .and_then(|agent| agent.to_str().ok())
                    .unwrap_or_default(),
            },
            log.config.format,
        );
        log.add(line);
    }

    fn end_spans(&self, state: &mut State, end: End, now: Instant) {
        state.describe_call();
        let broke = match end {
            End::UpstreamBody(reason) => Some(reason),
            End::Complete | End::ClientGone | End::Shutdown | End::Stopped(_) => None,
        };
        state.end_call(broke, now);
        let recorder = &mut state.recorder;
        let overhead = now
            .saturating_duration_since(recorder.start())
            .saturating_sub(self.upstream)
            .saturating_sub(self.idle);
        recorder.attributes(SpanIndex::ROOT, |attributes| {
            if end.has_status() {
                attributes.add("http.response.status_code", self.status.as_u16());
            }
            attributes.add("weir.upstream.duration_ms", milliseconds(self.upstream));
            attributes.add("weir.overhead.duration_ms", milliseconds(overhead));
        });
        let method = method::name(&state.request.method);
        match &self.route {
            Some(route) => recorder.rename_parts(SpanIndex::ROOT, &[method, " ", route]),
            None => recorder.rename(SpanIndex::ROOT, method),
        }
        let (status, reason, message) = match end {
            End::ClientGone => (Status::Error, Some(CLIENT_GONE), "client disconnected"),
            End::Shutdown => (Status::Error, Some(SHUTDOWN), "cut by the shutdown"),
            End::UpstreamBody(reason) | End::Stopped(reason) => {
                (Status::Error, Some(reason), UNFINISHED)
            }
            End::Complete if self.status.is_server_error() => {
                (Status::Error, Some(self.status.as_str()), "")
            }
            End::Complete => (Status::Unset, None, ""),
        };
        if let Some(reason) = reason {
            recorder.attribute(SpanIndex::ROOT, "error.type", reason);
        }
        recorder.end(SpanIndex::ROOT, status, message, now);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if !self.ended {
            let end = if self.worker.drain.is_over() {
                End::Shutdown
            } else {
                End::ClientGone
            };
            self.finish(end, Instant::now());
        }
    }
}
