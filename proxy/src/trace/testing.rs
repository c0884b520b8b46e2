//! Traces for tests: fixed ones, made through a recorder as workers make them, and arbitrary ones.

pub(super) mod golden;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;

use super::context::Context;
use super::recorder::{Recorder, Template};
use super::{Kind, Level, SpanId, SpanIndex, Status, TraceId, Value, record};

/// 2026-11-22T05:30:00.123456789Z
pub const ANCHOR: u64 = 1_795_325_400_123_456_789;

/// A recorder with ids and times that never change: span `n` has the id `n + 1`, and times are in
/// microseconds after the root's start.
pub struct Fixture {
    pub recorder: Recorder,
    start: Instant,
}

impl Fixture {
    pub fn new(context: Option<&Context>) -> Self {
        let start = Instant::now();
        let mut recorder = Recorder::default();
        recorder.begin(context, start);
        recorder.anchor = ANCHOR;
        if context.is_none() {
            recorder.trace_id =
                TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        }
        Self { recorder, start }
    }

    pub fn at(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    pub fn span(&mut self, name: &str, kind: Kind, parent: SpanIndex, micros: u64) -> SpanIndex {
        let start = self.at(micros);
        self.recorder.span(name, kind, parent, start)
    }

    pub fn end(&mut self, span: SpanIndex, status: Status, message: &str, micros: u64) {
        let end = self.at(micros);
        self.recorder.end(span, status, message, end);
    }

    /// A hook with the attributes that every hook's span has.
    pub fn hook(&mut self, name: &str, parent: SpanIndex, micros: u64) -> SpanIndex {
        let span = self.span(name, Kind::Plugin, parent, micros);
        let template = Template::new([
            (
                "weir.hook.module_digest",
                Value::Text("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
            ),
            ("weir.hook.generation", Value::Integer(1)),
        ]);
        self.recorder.template(span, &template, |_| {});
        self.recorder
            .attribute(span, "weir.hook.decision", "continue");
        self.recorder
            .list(span, "weir.hook.headers_changed", &["x-request-id"]);
        self.recorder.attribute(span, "weir.hook.cpu_ns", 412_i64);
        self.recorder.attribute(span, "weir.hook.wait_ns", 0_i64);
        self.recorder
            .attribute(span, "weir.hook.memory_bytes", 1_114_112_i64);
        self.end(span, Status::Ok, "", micros + 1);
        span
    }

    pub fn request(&mut self, status: i64) {
        self.recorder.set_request_id("req-1");
        self.recorder.rename(SpanIndex::ROOT, "GET /orders/{id}");
        for (key, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/orders/7"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("client.address", "192.0.2.7"),
            ("network.protocol.version", "1.1"),
            ("http.route", "/orders/{id}"),
        ] {
            self.recorder.attribute(SpanIndex::ROOT, key, value);
        }
        self.recorder
            .attribute(SpanIndex::ROOT, "http.response.status_code", status);
    }

    /// The trace's record.
    pub fn finish(mut self) -> Vec<u8> {
        self.finish_by_ref()
    }

    pub fn finish_by_ref(&mut self) -> Vec<u8> {
        for (span, id) in self.recorder.spans.iter_mut().zip(1_u64..) {
            span.id = SpanId(id.to_be_bytes());
        }
        let mut record = Vec::new();
        record::write(&self.recorder, &mut record);
        record
    }
}

/// A request through two hooks on each side, answered 200 by the upstream.
pub fn plain() -> Vec<u8> {
    let mut trace = Fixture::new(None);
    trace.request(200);
    let first = trace.hook("plugin.request-id.prehook", SpanIndex::ROOT, 10);
    let second = trace.hook("plugin.key-auth.prehook", first, 12);
    let call = trace.span("GET", Kind::HttpClient, second, 20);
    trace
        .recorder
        .attribute(call, "server.address", "orders.internal");
    trace.recorder.attribute(call, "server.port", 8080_i64);
    trace
        .recorder
        .attribute(call, "http.response.status_code", 200_i64);
    trace.end(call, Status::Ok, "", 1320);
    let third = trace.hook("plugin.key-auth.posthook", second, 1330);
    trace.hook("plugin.request-id.posthook", third, 1332);
    trace
        .recorder
        .attribute(SpanIndex::ROOT, "weir.upstream.duration_ms", 1.3);
    trace
        .recorder
        .attribute(SpanIndex::ROOT, "weir.overhead.duration_ms", 0.04);
    trace.end(SpanIndex::ROOT, Status::Unset, "", 1340);
    trace.finish()
}

/// A hook answers instead of the upstream; the caller sent a context.
pub fn short_circuit() -> Vec<u8> {
    let context = Context {
        trace_id: TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()),
        parent: SpanId(0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()),
        flags: 1,
        state: "vendor=a:1,other=b".to_owned(),
    };
    let mut trace = Fixture::new(Some(&context));
    trace.request(401);
    let hook = trace.hook("plugin.key-auth.prerequesthook", SpanIndex::ROOT, 10);
    trace
        .recorder
        .attribute(hook, "weir.hook.decision", "respond");
    trace.recorder.attribute(hook, "short_circuit", true);
    trace.end(hook, Status::Ok, "short-circuit", 11);
    trace.end(SpanIndex::ROOT, Status::Unset, "", 15);
    trace.finish()
}

/// A plugin traps, and the request with it.
pub fn error() -> Vec<u8> {
    let mut trace = Fixture::new(None);
    trace.request(500);
    let hook = trace.span("plugin.hostile.prehook", Kind::Plugin, SpanIndex::ROOT, 10);
    trace
        .recorder
        .attribute(hook, "weir.hook.decision", "error");
    trace.recorder.attribute(hook, "error.type", "trap");
    trace.end(
        hook,
        Status::Error,
        "panicked at src/lib.rs:7:5:\n\"no\" is not an answer",
        900,
    );
    trace
        .recorder
        .attribute(SpanIndex::ROOT, "error.type", "500");
    trace.end(SpanIndex::ROOT, Status::Error, "", 950);
    trace.finish()
}

/// An LLM call, retried, with request headers, log lines, events and each sort of value.
pub fn full() -> Vec<u8> {
    let mut trace = Fixture::new(None);
    trace.request(200);
    trace
        .recorder
        .request_header("accept", &["text/html", "*/*"]);
    trace
        .recorder
        .request_header("authorization", &["Bearer canary-secret"]);
    trace
        .recorder
        .request_header("x-tenant-id", &["acme \u{1}\u{fc}"]);
    let hook = trace.hook("plugin.genai.prehook", SpanIndex::ROOT, 10);
    let at = trace.at(11);
    trace
        .recorder
        .plugin_log(hook, "genai", Level::Info, "saw \"chat\"", at);
    let at = trace.at(12);
    trace
        .recorder
        .plugin_log(hook, "genai", Level::Warn, "no price for this model", at);
    trace.recorder.event(
        hook,
        "recognised",
        &[
            ("gen_ai.operation.name", Value::Text("chat")),
            ("gen_ai.input.messages", Value::Text("canary-message")),
            ("certain", Value::Boolean(true)),
        ],
        at,
    );
    let call = trace.span("chat gpt-4o", Kind::LlmCall, hook, 20);
    trace
        .recorder
        .attribute(call, "gen_ai.request.model", "gpt-4o");
    trace
        .recorder
        .attribute(call, "gen_ai.request.temperature", 0.7);
    trace
        .recorder
        .attribute(call, "gen_ai.usage.input_tokens", 11_i64);
    trace
        .recorder
        .attribute(call, "gen_ai.output.messages", "canary-message");
    trace
        .recorder
        .list(call, "gen_ai.response.finish_reasons", &["stop", "length"]);
    trace
        .recorder
        .attribute(call, "gen_ai.usage.cost", f64::NAN);
    trace
        .recorder
        .attribute(call, "gen_ai.response.stream", false);
    let retry = trace.span("POST", Kind::Retry, call, 700);
    let at = trace.at(701);
    trace.recorder.event(retry, "connected", &[], at);
    trace.end(retry, Status::Ok, "", 1900);
    trace.end(call, Status::Ok, "", 1901);
    trace.end(SpanIndex::ROOT, Status::Unset, "", 2_000_000);
    trace.recorder.dropped = 3;
    trace.finish()
}

/// A value that owns itself.
#[derive(Clone, Debug)]
pub enum Owned {
    Text(String),
    Boolean(bool),
    Integer(i64),
    Float(f64),
    List(Vec<String>),
}

impl Owned {
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Float(value) => Value::Float(*value),
            Self::List(texts) => Value::List(texts.iter().map(String::as_str).collect()),
        }
    }
}

/// One call of a recorder.
#[derive(Clone, Debug)]
pub enum Call {
    Span(String, Kind, Index, u64),
    Rename(Index, String),
    End(Index, Status, String, u64),
    Attribute(Index, String, Owned),
    Template(Index, Vec<(String, Owned)>),
    Event(Index, String, Vec<(String, Owned)>, u64),
    Header(String, Vec<String>),
    Log(Index, String, Level, String, u64),
}

/// Texts with what JSON must escape, of many lengths.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,20}", "[\\x00-\\x7f]{0,12}", "\\PC{0,9}"]
}

/// Keys that come again, that filters know, and any.
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]", "gen_ai\\.(prompt|request\\.model)", "\\PC{1,12}"]
}

/// Floats that every JSON reader gives back bit for bit.
fn value() -> impl Strategy<Value = Owned> {
    prop_oneof![
        text().prop_map(Owned::Text),
        any::<bool>().prop_map(Owned::Boolean),
        any::<i64>().prop_map(Owned::Integer),
        any::<i32>().prop_map(|value| Owned::Float(f64::from(value) / 8.0)),
        proptest::collection::vec(text(), 0..4).prop_map(Owned::List),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<(String, Owned)>> {
    proptest::collection::vec((key(), value()), 0..4)
}

fn call() -> impl Strategy<Value = Call> {
    let index = any::<Index>;
    let time = || 0..10_000_000_u64;
    let name = prop_oneof![
        "plugin\\.[abc]\\.(prerequesthook|prehook|posthook)",
        text().prop_filter("a span has a name", |name| !name.is_empty()),
    ];
    let kind = prop_oneof![
        5 => Just(Kind::Plugin),
        1 => Just(Kind::HttpClient),
        1 => Just(Kind::LlmCall),
        1 => Just(Kind::Retry),
    ];
    let status = prop_oneof![Just(Status::Unset), Just(Status::Ok), Just(Status::Error)];
    let level = prop_oneof![Just(Level::Trace), Just(Level::Info), Just(Level::Error)];
    let name = name.boxed();
    prop_oneof![
        4 => (name.clone(), kind, index(), time()).prop_map(|(a, b, c, d)| Call::Span(a, b, c, d)),
        1 => (index(), name.clone()).prop_map(|(a, b)| Call::Rename(a, b)),
        2 => (index(), status, text(), time()).prop_map(|(a, b, c, d)| Call::End(a, b, c, d)),
        4 => (index(), key(), value()).prop_map(|(a, b, c)| Call::Attribute(a, b, c)),
        1 => (index(), pairs()).prop_map(|(a, b)| Call::Template(a, b)),
        1 => (index(), name, pairs(), time()).prop_map(|(a, b, c, d)| Call::Event(a, b, c, d)),
        1 => ("[a-z-]{1,9}", proptest::collection::vec(text(), 1..3))
            .prop_map(|(a, b)| Call::Header(a, b)),
        1 => (index(), "[abc]", level, text(), time())
            .prop_map(|(a, b, c, d, e)| Call::Log(a, b, c, d, e)),
    ]
}

/// What a recorder may be told in the course of a request.
pub fn calls() -> impl Strategy<Value = Vec<Call>> {
    proptest::collection::vec(call(), 0..40)
}

/// A recorder told all that.
pub fn recorded(calls: &[Call]) -> Fixture {
    let mut fixture = Fixture::new(None);
    fixture.recorder.rename(SpanIndex::ROOT, "GET /");
    let mut spans = 1;
    for call in calls {
        let pick = |index: &Index| SpanIndex::from_usize(index.index(spans));
        match call {
            Call::Span(name, kind, parent, time) => {
                fixture.span(name, *kind, pick(parent), *time);
                spans += 1;
            }
            Call::Rename(span, name) => fixture.recorder.rename(pick(span), name),
            Call::End(span, status, message, time) => {
                fixture.end(pick(span), *status, message, *time);
            }
            Call::Attribute(span, key, value) => {
                fixture
                    .recorder
                    .attribute(pick(span), key, value.as_value());
            }
            Call::Template(span, pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_value()));
                let template = Template::new(pairs);
                fixture.recorder.template(pick(span), &template, |_| {});
            }
            Call::Event(span, name, pairs, time) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_value()))
                    .collect();
                let at = fixture.at(*time);
                fixture.recorder.event(pick(span), name, &pairs, at);
            }
            Call::Header(name, values) => fixture.recorder.request_header(name, values),
            Call::Log(span, plugin, level, message, time) => {
                let at = fixture.at(*time);
                fixture
                    .recorder
                    .plugin_log(pick(span), plugin, *level, message, at);
            }
        }
    }
    fixture
}

/// A record of anything.
pub fn records() -> impl Strategy<Value = Vec<u8>> {
    calls().prop_map(|calls| recorded(&calls).finish())
}
