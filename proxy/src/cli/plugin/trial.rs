//! Exchanges in process, without a socket: the very plugins, chains and limits of a server, with a
//! request and an upstream's response that are given.
//!
//! What [`crate::exchange`] does between sockets, in the same order; the upstream's place takes the
//! response that is given.

mod given;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::Error;
use crate::config;
use crate::exchange::method;
use crate::exchange::state::{Answer, Held, ResponseHead, State};
use crate::filter::{Capture, Filters};
use crate::metrics::Metrics;
use crate::plugin::callout::Calls;
use crate::plugin::chain::{Bodies as _, Chain, Outcome, Progress, Runner};
use crate::plugin::engine::Engine;
use crate::plugin::instances::Instances;
use crate::plugin::registry::{self, Registry};
use crate::plugin::variants::Plugins;
use crate::plugin::{Hook, Plugin};
use crate::server::respond::{self, Refusal};
use crate::tls;
use crate::trace::{Kind, SpanIndex, Status, json, record};
use given::Given;

/// The client of every request: of a net that documents may use (RFC 5737), as in the SDK.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000);

/// A place for exchanges: an engine, and a worker's warm instances.
pub(super) struct Trial {
    runtime: Runtime,
    registry: Registry,
    metrics: Arc<Metrics>,
    instances: Rc<Instances>,
}

/// What came of an exchange.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// The request as it went to the upstream, or would have.
    pub(super) request: (String, HeaderMap),
    pub(super) request_body: Bytes,
    /// The upstream that a pre-request hook named.
    pub(super) upstream: Option<String>,
    pub(super) response: Response<Bytes>,
    /// The id of the span of the call to the upstream; empty where there was none.
    pub(super) call: String,
    /// The trace, as in `format: json`.
    pub(super) trace: Value,
}

/// Which hooks run: what is before the router, and what after it.
pub(super) trait Way {
    fn before(&self) -> &Chain;

    /// What the request is routed to: the chain, with the name of the route and of its upstream.
    fn route(&self, state: &State) -> Result<(&Chain, &str, &str), Box<Answer>>;
}

/// One plugin that meets every request, as if in a listener's chain.
pub(super) struct Alone(pub(super) Chain);

impl Way for Alone {
    fn before(&self) -> &Chain {
        &self.0
    }

    fn route(&self, _: &State) -> Result<(&Chain, &str, &str), Box<Answer>> {
        Ok((&self.0, "/*", "upstream"))
    }
}

impl Trial {
    /// Keeps what it compiles in a folder below `data_dir`, where there is one.
    pub(super) fn keeping(data_dir: Option<&Path>) -> Result<Self, Error> {
        let engine = Engine::new()
            .map_err(|error| Error::new(format!("cannot start the plugin engine: {error:#}")))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(format!("cannot start a runtime: {error}")))?;
        Ok(Self {
            runtime,
            registry: Registry::new(engine).with_cache(data_dir),
            metrics: Metrics::new(1),
            instances: Rc::default(),
        })
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Loads a configuration's plugins as a server does, but for their values, which are in memory.
    pub(super) fn load_all(
        &self,
        config: &config::Config,
    ) -> Result<Plugins, Vec<registry::Error>> {
        let none = Plugins::new();
        let loading = self.registry.load(config, None, &none, 1, &self.metrics);
        self.runtime.block_on(loading)
    }

    /// Loads plugins as a server does, each for itself: the same module is compiled once.
    pub(super) fn load(
        &self,
        configured: &[(String, config::Plugin)],
    ) -> Vec<Result<Arc<Plugin>, registry::Error>> {
        let each = configured.iter().map(|(name, plugin)| (&**name, plugin));
        let loaded = self.registry.load_each(each, &self.metrics);
        self.runtime.block_on(loaded)
    }

    /// A fresh instance of a plugin, which is dropped again; says how long that took.
    pub(super) fn instantiate(&self, plugin: &Plugin) -> Result<Duration, Error> {
        let start = Instant::now();
        let instances = Instances::default();
        let made = self
            .runtime
            .block_on(instances.take(plugin, &mut None, start));
        let took = start.elapsed();
        made.map(|_| took)
            .map_err(|failure| Error::new(failure.to_string()))
    }

    /// One exchange, to its end.
    pub(super) fn run(
        &self,
        way: &impl Way,
        request: &Request<Vec<u8>>,
        upstream: &Response<Vec<u8>>,
        calls: &dyn Calls,
    ) -> Done {
        let run = self.exchange(way, request, upstream, calls);
        self.runtime.block_on(run)
    }

    /// How long each hook that is called takes on a warm instance, its span included, in
    /// nanoseconds: so many exchanges, after as many again to warm up.
    pub(super) fn measure(
        &self,
        way: &impl Way,
        request: &Request<Vec<u8>>,
        upstream: &Response<Vec<u8>>,
        calls: &dyn Calls,
        count: usize,
    ) -> Vec<(Hook, Vec<u64>)> {
        let mut costs = Hook::ALL.map(|hook| (hook, Vec::with_capacity(count)));
        self.runtime.block_on(async {
            for turn in 0..2 * count {
                let taken = self.hooks(way, request, upstream, calls).await;
                for ((_, costs), taken) in costs.iter_mut().zip(taken) {
                    if turn >= count {
                        costs.extend(taken);
                    }
                }
            }
        });
        let called = costs.into_iter().filter(|(_, costs)| !costs.is_empty());
        called.collect()
    }

    /// One exchange of which only the hooks matter: what each took, where it was called.
    async fn hooks(
        &self,
        way: &impl Way,
        request: &Request<Vec<u8>>,
        upstream: &Response<Vec<u8>>,
        calls: &dyn Calls,
    ) -> [Option<u64>; 3] {
        let now = Instant::now();
        let mut slot = Some(Box::new(begin(request, now)));
        let mut progress = Progress::new(now);
        let runner = Runner {
            instances: &self.instances,
            worker: 0,
            calls,
        };
        let mut taken = [None; 3];
        let chain = way.before();
        let mut outcome = Outcome::Proceed;
        for hook in [Hook::PreRequest, Hook::Request] {
            if outcome != Outcome::Proceed {
                break;
            }
            let start = Instant::now();
            progress.now = start;
            let mut body = Given::request(request);
            outcome = chain
                .run_request(hook, runner, &mut slot, &mut progress, &mut body)
                .await;
            taken[hook as usize] = chain.wants(hook).then(|| nanos(start));
        }
        state(&mut slot).response = ResponseHead {
            status: upstream.status(),
            headers: upstream.headers().clone(),
        };
        let start = Instant::now();
        progress.now = start;
        let mut body = Given::response(upstream.body(), None);
        chain
            .run_response(runner, &mut slot, &mut progress, &mut body)
            .await;
        taken[Hook::Response as usize] = chain.wants(Hook::Response).then(|| nanos(start));
        taken
    }

    async fn exchange(
        &self,
        way: &impl Way,
        request: &Request<Vec<u8>>,
        upstream: &Response<Vec<u8>>,
        calls: &dyn Calls,
    ) -> Done {
        let now = Instant::now();
        let mut slot = Some(Box::new(begin(request, now)));
        let mut progress = Progress::new(now);
        let runner = Runner {
            instances: &self.instances,
            worker: 0,
            calls,
        };

        let mut given = Given::request(request);
        let mut chain = way.before();
        let mut outcome = chain
            .run_request(
                Hook::PreRequest,
                runner,
                &mut slot,
                &mut progress,
                &mut given,
            )
            .await;
        let mut answer = None;
        let mut route = "";
        if outcome == Outcome::Proceed {
            match way.route(state(&mut slot)) {
                Ok((routed, pattern, upstream)) => {
                    (chain, route) = (routed, pattern);
                    let recorder = &mut state(&mut slot).recorder;
                    recorder.attribute(SpanIndex::ROOT, "http.route", pattern);
                    outcome = chain
                        .run_request(Hook::Request, runner, &mut slot, &mut progress, &mut given)
                        .await;
                    if outcome == Outcome::Proceed {
                        call(state(&mut slot), &progress, upstream);
                        answer = given.flow(state(&mut slot)).await.err();
                    }
                }
                Err(refusal) => answer = Some(*refusal),
            }
        }
        let request = sent(state(&mut slot));
        let request_body = given.sent(state(&mut slot));
        let rerouted = state(&mut slot).upstream.clone();

        let mut body = Bytes::copy_from_slice(upstream.body());
        if outcome != Outcome::Proceed {
            answer = Some(stopped(outcome, state(&mut slot)));
        }
        let pieces = upstream.extensions().get().filter(|_| answer.is_none());
        let head = match answer {
            Some(answer) => take(answer, &mut body),
            None => ResponseHead {
                status: upstream.status(),
                headers: upstream.headers().clone(),
            },
        };
        state(&mut slot).response = head;
        let begun = given.begun(calls);
        let mut given = Given::response(&body, pieces);
        if let Some(begun) = begun {
            given.begin(begun, state(&mut slot));
        }
        chain
            .run_response(runner, &mut slot, &mut progress, &mut given)
            .await;

        let state = state(&mut slot);
        if let Err(answer) = given.flow(state).await {
            given.replace(answer, state);
        }
        if let Held::Whole(held) = std::mem::take(&mut state.response_body) {
            body = held;
        }
        let head = std::mem::take(&mut state.response);
        end(state, route, head.status, &progress);
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Done {
            outcome,
            request,
            request_body,
            upstream: rerouted,
            response,
            call: state
                .call
                .map_or_else(String::new, |call| state.recorder.span_id(call).to_string()),
            trace: trace(state),
        }
    }
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Between calls the state is there: a call gives back what it takes.
fn state(slot: &mut Option<Box<State>>) -> &mut State {
    slot.get_or_insert_default()
}

fn begin(request: &Request<Vec<u8>>, now: Instant) -> State {
    let mut state = State::default();
    let recorder = &mut state.recorder;
    recorder.begin(None, now);
    let id = request.headers().get("x-request-id");
    let id = id.and_then(|id| id.to_str().ok());
    recorder.set_request_id(id.unwrap_or("made-by-weir"));
    let uri = request.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    recorder.attributes(SpanIndex::ROOT, |attributes| {
        attributes.add("http.request.method", method::attribute(request.method()));
        attributes.add("url.path", uri.path());
        attributes.add("server.address", authority);
    });
    let head = &mut state.request;
    head.method = request.method().clone();
    head.scheme = match uri.scheme_str() {
        Some("https") => "https",
        _ => "http",
    };
    authority.clone_into(&mut head.authority);
    let path = uri.path_and_query().cloned();
    head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    head.headers = request.headers().clone();
    head.client = Some(CLIENT);
    head.certificate = request.extensions().get().map(certificate);
    state
}

/// What a case says that the client's certificate says.
fn certificate(shown: &weir_sdk::Certificate) -> Arc<tls::Certificate> {
    let names = &shown.alternative_names;
    Arc::new(tls::Certificate {
        subject: shown.subject.clone(),
        issuer: shown.issuer.clone(),
        sha256: shown.sha256.clone(),
        alternative_names: tls::AlternativeNames {
            dns: names.dns.clone(),
            uri: names.uri.clone(),
            email: names.email.clone(),
            ip: names.ip.clone(),
        },
    })
}

/// The span of a call that is not made.
fn call(state: &mut State, progress: &Progress, upstream: &str) {
    let method = state.request.method.clone();
    let recorder = &mut state.recorder;
    let span = recorder.span(
        method::name(&method),
        Kind::HttpClient,
        progress.parent,
        progress.now,
    );
    recorder.attribute(span, "http.request.method", method::attribute(&method));
    recorder.attribute(span, "weir.upstream.name", upstream);
    state.note_for_upstream(span);
    state.recorder.end(span, Status::Ok, "", progress.now);
    state.call = Some(span);
}

/// The request as it goes to the upstream: its whole URL, and its headers.
fn sent(state: &State) -> (String, HeaderMap) {
    let head = &state.request;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    (
        format!("{}://{}{path}", head.scheme, head.authority),
        head.headers.clone(),
    )
}

/// As in an exchange.
fn stopped(outcome: Outcome, state: &mut State) -> Answer {
    match (outcome, state.answer.take()) {
        (Outcome::Answered, Some(answer)) => answer,
        _ => respond::refusal(&Refusal::PluginFailed),
    }
}

fn take(answer: Answer, body: &mut Bytes) -> ResponseHead {
    *body = answer.body;
    ResponseHead {
        status: answer.status,
        headers: answer.headers,
    }
}

fn end(state: &mut State, route: &str, status: StatusCode, progress: &Progress) {
    state.describe_call();
    let recorder = &mut state.recorder;
    recorder.attribute(
        SpanIndex::ROOT,
        "http.response.status_code",
        status.as_u16(),
    );
    let method = state.request.method.as_str();
    if route.is_empty() {
        recorder.rename(SpanIndex::ROOT, method);
    } else {
        recorder.rename_parts(SpanIndex::ROOT, &[method, " ", route]);
    }
    let failed = status.is_server_error();
    let outcome = if failed { Status::Error } else { Status::Unset };
    recorder.end(SpanIndex::ROOT, outcome, "", progress.now);
}

/// The trace as an exporter without filters would send it.
fn trace(state: &State) -> Value {
    let filters = config::Filters::default();
    let mut record = Vec::new();
    Capture::new([&filters]).write(&state.recorder, &mut record);
    let filters = Filters::new(&filters);
    let mut text = Vec::new();
    if let Ok(trace) = record::read(&record)
        && let Some(selection) = filters.select(&trace)
    {
        json::encode(&trace, &selection, &mut text);
    }
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The spans of a trace's hooks: plugin, hook (as in the span's name) and the span.
pub(super) fn hooks(trace: &Value) -> impl Iterator<Item = (&str, &str, &Map<String, Value>)> {
    let spans = trace["Spans"].as_array().into_iter().flatten();
    spans.filter_map(|span| {
        let name = span["Name"].as_str()?.strip_prefix("plugin.")?;
        let (plugin, hook) = name.rsplit_once('.')?;
        Some((plugin, hook, span.as_object()?))
    })
}
