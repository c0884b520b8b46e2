//! 6 — The call to an upstream, with its span, and further tries, each with a span of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use super::life::Life;
use super::state::State;
use super::{Content, extended, head, method, mirror, tunnel};
use crate::app::generation::{Route, Target};
use crate::plugin::chain::Progress;
use crate::server::respond::{self, Refusal};
use crate::trace::context::b3;
use crate::trace::context::{self, TRACEPARENT};
use crate::trace::{Kind, SpanIndex, Status, Value};
use crate::upstream::balance::{Busy, Tried};
use crate::upstream::body::{RequestBody, Upload};
use crate::upstream::retry::{self, Spare};
use crate::upstream::{Called, Caller, Endpoint, Error, Failure, Upstream};
use crate::worker::{Current, Worker};

/// What a call needs of its exchange.
pub(super) struct Call<'c> {
    pub(super) worker: &'c Rc<Worker>,
    pub(super) route: &'c Route,
    /// That the exchange began with.
    pub(super) generation: &'c Current,
    /// Whether response hooks read the request's fields.
    pub(super) keep_head: bool,
}

impl Call<'_> {
    /// Step 6, to a response's head or to what is answered instead.
    pub(super) async fn run(
        &self,
        targets: &[Target],
        life: &mut Life,
        progress: &mut Progress,
        body: RequestBody,
        upload: &Upload,
    ) -> Content {
        let worker = self.worker;
        let state = life.state();
        let Some(target) = Target::choose(targets, state.upstream.as_deref()) else {
            return Content::Answer(respond::refusal(&Refusal::BadGateway));
        };
        let upstream = &*target.upstream;
        let local = self.generation.local(&target.upstream);
        local.budget.deposit();
        let key = upstream.key(&state.request.headers, state.request.client);
        let mut tried = Tried::new();
        let chosen = upstream.choose(&local, key, &tried, progress.now);
        // Without a try before there is always one.
        let mut index = chosen.unwrap_or_default();

        let span = begin(state, upstream, index, progress);
        let parent = traceparent(state, span);
        let rewrite = &self.route.rewrite;
        let mut request = head::send(&mut state.request, parent, body, rewrite, self.keep_head);
        let asked = tunnel::ask(state, &mut request, &upstream.config.upgrades);
        if state.asks_by_connect() {
            if !asked {
                let now = Instant::now();
                state
                    .recorder
                    .end(span, Status::Error, "protocol is not allowed", now);
                return Content::Answer(respond::refusal(&Refusal::Protocol));
            }
            extended::ask(&mut state.request, request.headers_mut());
        }
        self.add_b3(state, span, request.headers_mut());
        if let Some(mirror) = &self.route.mirror {
            mirror::begin(
                worker,
                self.generation,
                mirror,
                &state.request,
                &mut request,
            );
        }
        // HTTP/1.0 needs no host; what is sent on does.
        let names_host =
            !state.request.authority.is_empty() || request.headers().contains_key(HOST);
        let spare = Spare::of(upstream, &request);
        let caller = Caller {
            pools: &worker.pools,
            worker: worker.index,
            client: life.state().request.addresses(),
        };
        let mut now = progress.now;
        let outcome = loop {
            let busy = (upstream.endpoints.len() > 1).then(|| Busy::new(&local, index));
            let endpoint = &upstream.endpoints[index];
            if !names_host {
                endpoint.name_in(request.headers_mut());
            }
            let (called, ended) = upstream
                .call(endpoint, request, upload, &target.timeouts, &caller, now)
                .await;
            now = ended;
            learn(upstream, index, &called, now);
            tried.push(index);
            let spare = spare.as_ref();
            let next = retry::next(upstream, &local, worker.index, key, &tried, &called, spare);
            let Some(next) = next else {
                break called.map(|mut reply| {
                    reply.busy = busy;
                    reply
                });
            };
            let state = life.state();
            note_failed(state, span, upstream, index, &called, now);
            match retry::again(called, spare) {
                Ok(again) => request = again,
                Err(called) => break called,
            }
            index = next;
            let count = u16::try_from(tried.len()).unwrap_or(u16::MAX);
            let retry = further(state, span, upstream, index, count, now);
            let parent = traceparent(state, retry);
            request.headers_mut().insert(TRACEPARENT, parent);
            self.add_b3(state, retry, request.headers_mut());
        };
        let state = life.called(progress.now, now);
        progress.now = now;
        if worker.generation().access_log.is_some() {
            let tries = u32::try_from(tried.len()).unwrap_or(u32::MAX);
            state.called = Some((Arc::clone(&target.upstream), index, tries));
        }
        finish(state, span, outcome, now)
    }

    fn add_b3(&self, state: &State, span: SpanIndex, headers: &mut HeaderMap) {
        if let Some(form) = self.generation.config.b3 {
            let recorder = &state.recorder;
            let (trace, span) = (recorder.trace_id(), recorder.span_id(span));
            b3::write(form, trace, span, recorder.flags(), headers);
        }
    }
}

fn traceparent(state: &State, span: SpanIndex) -> HeaderValue {
    let recorder = &state.recorder;
    context::traceparent(
        recorder.trace_id(),
        recorder.span_id(span),
        recorder.flags(),
    )
}

/// Begins the call's span.
fn begin(state: &mut State, upstream: &Upstream, index: usize, progress: &Progress) -> SpanIndex {
    let endpoint = &upstream.endpoints[index].config;
    let span = state.recorder.span(
        method::name(&state.request.method),
        Kind::HttpClient,
        progress.parent,
        progress.now,
    );
    state.call = Some(span);
    state.recorder.attributes(span, |attributes| {
        let method = method::attribute(&state.request.method);
        attributes.add("http.request.method", method);
        attributes.add("server.address", endpoint.host.as_str());
        attributes.add("server.port", endpoint.port);
        attributes.add("weir.upstream.name", upstream.name.as_str());
    });
    state.note_for_upstream(span);
    span
}

/// What the endpoint's state learns of a try.
pub(super) fn learn(upstream: &Upstream, index: usize, called: &Called, now: Instant) {
    match called {
        Ok(reply) => upstream.learn(index, Some(reply.response.status()), now),
        Err(failure) => match &failure.error {
            error if error.spares_endpoint() => {}
            // It answers, and one resource that is framed wrongly is no reason to leave the others out.
            Error::CannotSwitch | Error::Framing => {}
            _ => upstream.learn(index, None, now),
        },
    }
}

/// Notes a try after which there is another: its own span ends, or, where it was the first, the call
/// says what became of it.
fn note_failed(
    state: &mut State,
    call: SpanIndex,
    upstream: &Upstream,
    index: usize,
    called: &Called,
    now: Instant,
) {
    let status = called.as_ref().map(|reply| reply.response.status());
    let (reason, message) = match (&status, called) {
        (Ok(status), _) => (status.as_str(), String::new()),
        (_, Err(failure)) => (failure.error.reason(), failure.error.to_string()),
        _ => return,
    };
    let recorder = &mut state.recorder;
    if let Some(retry) = state.retry.take() {
        if let Ok(status) = status {
            recorder.attribute(retry, "http.response.status_code", status.as_u16());
        }
        recorder.attribute(retry, "error.type", reason);
        recorder.end(retry, Status::Error, &message, now);
    } else {
        let Endpoint { config, .. } = &*upstream.endpoints[index];
        let attributes = [
            ("error.type", Value::from(reason)),
            ("server.address", Value::from(config.host.as_str())),
            ("server.port", Value::from(config.port)),
        ];
        recorder.event(call, "retry", &attributes, now);
    }
}

/// Begins the span of a further try.
fn further(
    state: &mut State,
    call: SpanIndex,
    upstream: &Upstream,
    index: usize,
    count: u16,
    now: Instant,
) -> SpanIndex {
    let endpoint = &upstream.endpoints[index].config;
    let method = &state.request.method;
    let name = method::name(method);
    let span = state.recorder.span(name, Kind::Retry, call, now);
    state.retry = Some(span);
    state.recorder.attributes(span, |attributes| {
        attributes.add("http.request.method", method::attribute(method));
        attributes.add("http.request.resend_count", count);
        attributes.add("server.address", endpoint.host.as_str());
        attributes.add("server.port", endpoint.port);
        attributes.add("weir.upstream.name", upstream.name.as_str());
    });
    span
}

/// Notes how the call ended, on its span and on that of its last try.
fn finish(state: &mut State, call: SpanIndex, outcome: Called, now: Instant) -> Content {
    let spans = [state.retry, Some(call)].into_iter().flatten();
    let recorder = &mut state.recorder;
    match outcome {
        Ok(reply) => {
            let status = reply.response.status();
            for span in spans {
                recorder.attribute(span, "http.response.status_code", status.as_u16());
                if status.is_client_error() || status.is_server_error() {
                    recorder.attribute(span, "error.type", status.as_str());
                    recorder.mark_error(span, "");
                }
            }
            Content::Upstream(reply)
        }
        Err(Failure { error, .. }) => {
            for span in spans {
                recorder.attribute(span, "error.type", error.reason());
                recorder.end(span, Status::Error, &error.to_string(), now);
            }
            Content::Answer(respond::refusal(&match error {
                Error::Connect(_)
                | Error::CannotSwitch
                | Error::Tls(_)
                | Error::Protocol(_)
                | Error::Switched
                | Error::Framing => Refusal::BadGateway,
                Error::ConnectTimeout(_) | Error::ResponseTimeout(_) => Refusal::GatewayTimeout,
                Error::Overload => Refusal::Overload,
                Error::Upload(fault) => Refusal::Upload(fault),
            }))
        }
    }
}
