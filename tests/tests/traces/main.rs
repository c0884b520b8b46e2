//! Traces as consumers get them: what stands in the topic after a request.

mod clock;
mod delivery;
mod filters;
mod life;
mod secrets;
mod shape;

use serde_json::{Value, json};
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

const TRACE_KEYS: [&str; 10] = [
    "RequestID",
    "TraceID",
    "ParentID",
    "RootSpan",
    "Spans",
    "StartTime",
    "EndTime",
    "Attributes",
    "RequestHeaders",
    "PluginLogs",
];
const SPAN_KEYS: [&str; 10] = [
    "SpanID",
    "ParentID",
    "TraceID",
    "Name",
    "Kind",
    "StartTime",
    "EndTime",
    "Status",
    "StatusMsg",
    "Attributes",
];

/// The usual configuration with two plugins, `first` and `second`, that have both hooks.
fn two_plugins(upstream: &Upstream) -> Value {
    let mut config = config(upstream);
    for name in ["first", "second"] {
        config["plugins"][name] = json!({ "module": guest("bench-header") });
    }
    config["routes"][0]["plugins"] = json!(["first", "second"]);
    config
}

/// The usual configuration with a plugin `note` that says these things.
fn annotated(upstream: &Upstream, what: Value) -> Value {
    let mut config = config(upstream);
    config["plugins"]["note"] = json!({ "module": guest("annotate"), "config": what });
    config["routes"][0]["plugins"] = json!(["note"]);
    config
}

/// Starts Weir with an exporter to a fresh topic.
fn start(mut config: Value) -> (Weir, String) {
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    (Weir::start(&config.to_string()), topic)
}

/// Starts Weir with an exporter for each of these settings, each to a topic of its own.
fn start_several<const N: usize>(mut config: Value, settings: [Value; N]) -> (Weir, [String; N]) {
    let topics = std::array::from_fn(|_| shared().topic());
    for (index, (settings, topic)) in settings.into_iter().zip(&topics).enumerate() {
        let mut exporter = exporter(shared(), topic);
        for (key, value) in settings.as_object().expect("settings") {
            exporter["kafka"][key] = value.clone();
        }
        config["exporters"][format!("exporter-{index}")] = exporter;
    }
    (Weir::start(&config.to_string()), topics)
}

fn first(topic: &str) -> Trace {
    shared().traces(topic, 1).remove(0)
}

/// The trace of one request to `/` through `config`.
fn trace_of(config: Value, headers: &[&str]) -> Trace {
    let (weir, topic) = start(config);
    weir.get("/", headers);
    first(&topic)
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn assert_id(value: &Value, digits: usize) {
    let id = value.as_str().unwrap_or_default();
    let hex = id
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    assert!(id.len() == digits && hex, "{value}");
}

fn assert_time(value: &Value) {
    let time = value.as_str().unwrap_or_default();
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000000Z");
}
