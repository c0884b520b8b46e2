//! The JSON of one trace: its keys, spans, parents and attributes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::load::slow_upstream;
use weir_tests::trace::{Trace, lasted};
use weir_tests::upstream::Upstream;

use crate::{
    SPAN_KEYS, TRACE_KEYS, annotated, assert_id, assert_time, first, keys, start, trace_of,
    two_plugins,
};

#[test]
fn every_key_is_there() {
    let trace = trace_of(two_plugins(&Upstream::hello()), &[]).0;
    assert_eq!(keys(&trace), TRACE_KEYS);
    // The client gave none.
    assert_ne!(trace["RequestID"], "");
    assert!(trace["RequestID"].is_string());
    assert_id(&trace["TraceID"], 32);
    assert_time(&trace["StartTime"]);
    assert_time(&trace["EndTime"]);
    assert_eq!(trace["ParentID"], "");
    assert_eq!(trace["Attributes"]["service.name"], "weir");
    assert_eq!(trace["RequestHeaders"], Value::Null);
    assert_eq!(trace["PluginLogs"], Value::Null);
    for span in trace["Spans"].as_array().expect("spans") {
        assert_eq!(keys(span)[..10], SPAN_KEYS);
        assert_eq!(keys(span)[10..], ["Events"]);
        assert_id(&span["SpanID"], 16);
        assert_eq!(span["TraceID"], trace["TraceID"]);
        assert_eq!(span["Events"], json!([]));
        assert_time(&span["StartTime"]);
        assert_time(&span["EndTime"]);
        assert!(span["StartTime"].as_str() <= span["EndTime"].as_str());
    }
}

#[test]
fn the_root_comes_first_and_stands_twice() {
    let trace = trace_of(two_plugins(&Upstream::hello()), &[]);
    assert_eq!(trace.spans()[0], *trace.root());
    assert_eq!(trace.0["StartTime"], trace.root()["StartTime"]);
    assert_eq!(trace.0["EndTime"], trace.root()["EndTime"]);
    let starts: Vec<_> = trace
        .spans()
        .iter()
        .map(|span| span["StartTime"].as_str())
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
}

#[test]
fn hooks_and_call_form_one_chain() {
    let trace = trace_of(two_plugins(&Upstream::hello()), &[]);
    let parents: Vec<(&str, &str)> = trace
        .names()
        .into_iter()
        .map(|name| (name, trace.parent(name)))
        .collect();
    assert_eq!(
        parents,
        [
            ("GET all", ""),
            ("plugin.first.prehook", "GET all"),
            ("plugin.second.prehook", "plugin.first.prehook"),
            ("GET", "plugin.second.prehook"),
            ("plugin.second.posthook", "plugin.second.prehook"),
            ("plugin.first.posthook", "plugin.second.posthook"),
        ]
    );
}

#[test]
fn spans_have_their_kind_and_status() {
    let trace = trace_of(two_plugins(&Upstream::hello()), &[]);
    let spans: Vec<_> = trace
        .spans()
        .iter()
        .map(|span| (span["Kind"].as_str(), span["Status"].as_str()))
        .collect();
    let (plugin, call) = (
        (Some("plugin"), Some("ok")),
        (Some("http.client"), Some("ok")),
    );
    let root = (Some("http.request"), Some("unset"));
    assert_eq!(spans, [root, plugin, plugin, call, plugin, plugin]);
}

#[test]
fn attributes_follow_the_semantic_conventions() {
    let upstream = Upstream::hello();
    let mut config = two_plugins(&upstream);
    config["routes"][0]["match"] = json!({ "path": "/orders/{id}" });
    let (weir, topic) = start(config);
    weir.get("/orders/7?q=1", &["user-agent: test/1"]);
    let trace = first(&topic);
    let root = &trace.root()["Attributes"];
    assert_eq!(root["http.request.method"], "GET");
    assert_eq!(root["url.scheme"], "http");
    assert_eq!(root["url.path"], "/orders/7");
    assert_eq!(root["http.route"], "/orders/{id}");
    assert_eq!(root["http.response.status_code"], 200);
    assert_eq!(root["network.protocol.version"], "1.1");
    assert_eq!(root["client.address"], "127.0.0.1");
    assert_eq!(root["server.address"], "test");
    assert_eq!(root["user_agent.original"], "test/1");
    assert!(root["weir.upstream.duration_ms"].is_number());
    assert!(root["weir.overhead.duration_ms"].is_number());
    let call = &trace.span("GET")["Attributes"];
    assert_eq!(call["http.request.method"], "GET");
    assert_eq!(call["server.address"], "127.0.0.1");
    assert_eq!(call["server.port"], upstream.address().port());
    assert_eq!(call["http.response.status_code"], 200);
    let hook = &trace.span("plugin.first.prehook")["Attributes"];
    assert_eq!(hook["weir.hook.decision"], "continue");
    assert_eq!(hook["weir.hook.headers_changed"], json!(["x-bench"]));
    assert_eq!(hook["weir.hook.generation"], 1);
    assert!(hook["weir.hook.cpu_ns"].is_u64());
    assert!(hook["weir.hook.memory_bytes"].as_u64() > Some(0));
}

#[test]
fn overhead_is_what_the_upstream_did_not_take() {
    let upstream = slow_upstream(Duration::from_millis(50));
    let trace = trace_of(two_plugins(&upstream), &[]);
    let of = |name: &str| trace.root()["Attributes"][name].as_f64();
    let upstream = of("weir.upstream.duration_ms").expect("a number");
    let overhead = of("weir.overhead.duration_ms").expect("a number");
    assert!(upstream >= 50.0 && overhead > 0.0, "{upstream} {overhead}");
    let rest = lasted(trace.root()) - upstream - overhead;
    assert!(rest.abs() < 0.001, "{rest} ms are neither");
}

#[test]
fn a_message_has_its_key_and_headers() {
    let (weir, topic) = start(config(&Upstream::hello()));
    weir.get("/", &[]);
    let message = shared().read(&topic, 1).remove(0);
    let trace = Trace::new(&message.payload);
    let id = trace.0["TraceID"].as_str().expect("an id");
    assert_eq!(message.key, id.as_bytes());
    assert_eq!(message.header("content-type"), Some("application/json"));
    assert_eq!(
        message.header("weir-version"),
        Some(env!("CARGO_PKG_VERSION"))
    );
    let root = trace.root()["SpanID"].as_str().expect("an id");
    let traceparent = message.header("traceparent").expect("a header");
    assert!(
        traceparent.starts_with(&format!("00-{id}-{root}-")),
        "{traceparent}"
    );
}

#[test]
fn every_request_of_a_connection_has_its_own_trace() {
    let (weir, topic) = start(two_plugins(&Upstream::hello()));
    let mut connection = Connection::open(weir.proxy());
    for id in 0..50 {
        connection.send(format!(
            "GET / HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n"
        ));
        assert_eq!(connection.receive().expect("an answer").status, 200);
    }
    let traces = shared().traces(&topic, 50);
    let ids: BTreeSet<_> = traces
        .iter()
        .map(|trace| trace.0["TraceID"].to_string())
        .collect();
    assert_eq!(ids.len(), 50);
    for (index, trace) in traces.iter().enumerate() {
        assert_eq!(trace.0["RequestID"], index.to_string());
        assert_eq!(trace.spans().len(), 6);
    }
}

#[test]
fn what_plugins_say_is_in_the_trace() {
    let what = json!({ "attributes": { "answer": "forty-two" }, "log": "a line" });
    let trace = trace_of(annotated(&Upstream::hello(), what), &[]);
    let hook = trace.span("plugin.note.prehook");
    assert_eq!(hook["Attributes"]["answer"], "forty-two");
    assert_eq!(
        keys(&hook["Events"][0]),
        ["Name", "Timestamp", "Attributes"]
    );
    assert_eq!(hook["Events"][0]["Name"], "annotated");
    assert_eq!(
        hook["Events"][0]["Attributes"],
        json!({ "answer": "forty-two" })
    );
    assert_time(&hook["Events"][0]["Timestamp"]);
    assert_eq!(trace.attribute("GET", "answer"), "forty-two");
    let line = &trace.0["PluginLogs"][0];
    assert_eq!(keys(line), ["plugin_name", "level", "message", "timestamp"]);
    assert_eq!(line["plugin_name"], "note");
    assert_eq!(line["level"], "info");
    assert_eq!(line["message"], "a line");
    assert!(line["timestamp"].is_u64());
}
