//! What the benchmarks measure: a request as it is under load.

use std::time::{Duration, Instant};

use weir::trace::recorder::{Recorder, Template};
use weir::trace::{Kind, SpanIndex, Status, Value};

/// Records a request through five plugins: twelve spans, with some ten attributes each.
pub fn record_request(recorder: &mut Recorder, template: &Template) {
    let start = Instant::now();
    let at = |micros| start + Duration::from_micros(micros);
    recorder.begin(None, start);
    recorder.set_request_id("4f0c2ab19e2d4c6fa3c1b7d9e5f60718");
    recorder.attributes(SpanIndex::ROOT, |attributes| {
        for (key, value) in [
            ("client.address", "192.0.2.7"),
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("url.path", "/orders/7/lines"),
            ("network.protocol.version", "1.1"),
            ("server.address", "shop.example:8080"),
            ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("http.route", "/orders/{id}/lines"),
        ] {
            attributes.add(key, value);
        }
    });
    let names = [
        "key-auth",
        "request-id",
        "header-rewrite",
        "cors",
        "rate-limit",
    ];
    let mut last = SpanIndex::ROOT;
    for (name, micros) in names.into_iter().zip([1, 3, 5, 7, 9]) {
        last = hook(recorder, template, name, "prehook", last, at(micros));
    }
    let call = recorder.span("GET", Kind::HttpClient, last, at(12));
    recorder.attributes(call, |attributes| {
        attributes.add("http.request.method", "GET");
        attributes.add("server.address", "orders.internal");
        attributes.add("server.port", 8080_i64);
        attributes.add("weir.upstream.name", "orders");
        attributes.add("http.response.status_code", 200_i64);
    });
    recorder.end(call, Status::Ok, "", at(900));
    for (name, micros) in names.into_iter().rev().zip([901, 903, 905, 907, 909]) {
        last = hook(recorder, template, name, "posthook", last, at(micros));
    }
    recorder.rename_parts(SpanIndex::ROOT, &["GET", " ", "/orders/{id}/lines"]);
    recorder.attributes(SpanIndex::ROOT, |attributes| {
        attributes.add("http.response.status_code", 200_i64);
        attributes.add("weir.upstream.duration_ms", 0.888_123);
        attributes.add("weir.overhead.duration_ms", 0.023_456);
    });
    recorder.end(SpanIndex::ROOT, Status::Unset, "", at(911));
}

fn hook(
    recorder: &mut Recorder,
    template: &Template,
    plugin: &str,
    hook: &str,
    parent: SpanIndex,
    start: Instant,
) -> SpanIndex {
    let name = format!("plugin.{plugin}.{hook}");
    let span = recorder.span(&name, Kind::Plugin, parent, start);
    recorder.template(span, template, |attributes| {
        attributes.add("weir.hook.cpu_ns", 612_i64);
        attributes.add("weir.hook.wait_ns", 0_i64);
        attributes.add("weir.hook.memory_bytes", 1_114_112_i64);
        attributes.add("weir.hook.decision", "continue");
        attributes.add("auth.consumer", "partner-7");
        attributes.add("auth.scheme", "key");
        attributes.add("cache.hit", false);
    });
    recorder.list(span, "weir.hook.headers_changed", &["x-request-id"]);
    recorder.end(span, Status::Ok, "", start + Duration::from_nanos(700));
    span
}

/// What all spans of a hook say.
pub fn template() -> Template {
    Template::new([
        (
            "weir.hook.module_digest",
            Value::Text("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ),
        ("weir.hook.generation", Value::Integer(1)),
    ])
}
