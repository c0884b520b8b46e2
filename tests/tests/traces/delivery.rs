//! Formats, and traces that wait: for a broker, for a topic, for the end.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use prost::Message as _;
use serde_json::{Value, json};
use weir_tests::config::{config, exporter};
use weir_tests::kafka::{Kafka, shared, unique};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{annotated, first, start_several, two_plugins};

#[test]
fn all_formats_hold_the_same_spans() {
    let formats = ["json", "otlp_json", "otlp_protobuf"].map(|format| json!({ "format": format }));
    let (weir, [json, otlp_json, otlp_protobuf]) =
        start_several(two_plugins(&Upstream::hello()), formats);
    weir.get(
        "/",
        &["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let expected: Vec<_> = first(&json)
        .spans()
        .iter()
        .map(|span| ["TraceID", "SpanID", "ParentID", "Name"].map(|key| text(&span[key])))
        .collect();

    let message = shared().read(&otlp_json, 1).remove(0);
    assert_eq!(message.header("content-type"), Some("application/json"));
    let request = serde_json::from_slice(&message.payload).expect("OTLP as JSON");
    assert_eq!(otlp_spans(&request), expected);
    let message = shared().read(&otlp_protobuf, 1).remove(0);
    assert_eq!(
        message.header("content-type"),
        Some("application/x-protobuf")
    );
    let request =
        ExportTraceServiceRequest::decode(&message.payload[..]).expect("OTLP as protobuf");
    assert_eq!(otlp_spans(&request), expected);
}

#[test]
fn all_formats_hold_the_same_attributes_whatever_is_filtered() {
    let settings = ["json", "otlp_json", "otlp_protobuf"].map(|format| {
        json!({
            "format": format,
            "request_headers": ["*"],
            "disable_content_logging": true,
            "excluded_attributes": ["client.address", "http.request.header.x-no"],
        })
    });
    let said = json!({ "attributes": { "gen_ai.prompt": "canary", "kept": "yes" }, "log": "line" });
    let config = annotated(&Upstream::hello(), said);
    let (weir, [json, otlp_json, otlp_protobuf]) = start_several(config, settings);
    // Two names that would be content if they were attributes of a plugin's.
    let headers = ["x-prompt: short", "content-type: text/plain", "x-no: no"];
    weir.get("/", &headers);

    let json = first(&json);
    let headers = json.0["RequestHeaders"].as_object().expect("headers");
    assert_eq!(headers["x-prompt"], "short");
    assert_eq!(headers.get("x-no"), None);
    let of_json = shared().read(&otlp_json, 1).remove(0).payload;
    let of_json: ExportTraceServiceRequest = serde_json::from_slice(&of_json).expect("JSON");
    let of_protobuf = shared().read(&otlp_protobuf, 1).remove(0).payload;
    let of_protobuf = ExportTraceServiceRequest::decode(&of_protobuf[..]).expect("protobuf");
    assert_eq!(keys_of(&of_json), keys_of(&of_protobuf));
    let root = &of_json.resource_spans[0].scope_spans[0].spans[0];
    let said: BTreeMap<&str, &str> = root
        .attributes
        .iter()
        .filter_map(|of| {
            let name = of.key.strip_prefix("http.request.header.")?;
            let Some(AnyValue::ArrayValue(values)) = of.value.as_ref()?.value.as_ref() else {
                return None;
            };
            match values.values.first()?.value.as_ref()? {
                AnyValue::StringValue(text) => Some((name, text.as_str())),
                _ => None,
            }
        })
        .collect();
    let expected: BTreeMap<&str, &str> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    assert_eq!(said, expected);
}

/// Of each span the name, and the keys of its attributes and of its events'.
fn keys_of(request: &ExportTraceServiceRequest) -> Vec<(&str, Vec<&str>, Vec<&str>)> {
    let spans = request.resource_spans[0].scope_spans[0].spans.iter();
    spans
        .map(|span| {
            let of_span = span.attributes.iter().map(|of| of.key.as_str());
            let of_events = span.events.iter().flat_map(|event| &event.attributes);
            let of_events = of_events.map(|of| of.key.as_str());
            (span.name.as_str(), of_span.collect(), of_events.collect())
        })
        .collect()
}

/// Trace, span and parent by id, and name, of each span.
fn otlp_spans(request: &ExportTraceServiceRequest) -> Vec<[String; 4]> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let spans = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans);
    spans
        .flat_map(|scope| &scope.spans)
        .map(|span| {
            [
                hex(&span.trace_id),
                hex(&span.span_id),
                hex(&span.parent_span_id),
                span.name.clone(),
            ]
        })
        .collect()
}

#[test]
fn a_broker_that_comes_up_late_gets_what_was_answered_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(&folder, &[]);
    let (address, topic) = (kafka.address().to_owned(), kafka.topic());
    let mut config = config(&Upstream::hello());
    config["exporters"]["traces"] = exporter(&kafka, &topic);
    kafka.stop();

    let weir = Weir::start(&config.to_string());
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    let words = format!(
        "kafka plugin: failed to connect/authenticate with broker: {address}: connection refused"
    );
    eventually("it is said", || {
        (weir.ready()["exporters"][0]["message"] == words).then_some(())
    });
    assert_eq!(weir.ready()["exporters"][0]["state"], "degraded");
    eventually("it is logged", || weir.logged(&words).then_some(()));

    let port = address.rsplit_once(':').expect("a port").1;
    let kafka = Kafka::start(&folder, &[format!("--port={port}")]);
    assert_eq!(kafka.traces(&topic, 20).len(), 20);
    eventually("it is well", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
}

#[test]
fn a_topic_that_is_made_late_gets_what_was_queued() {
    let topic = unique("missing");
    let mut config = config(&Upstream::hello());
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    let words = format!("kafka plugin: topic \"{topic}\" does not exist");
    eventually("it is said", || {
        (weir.ready()["exporters"][0]["message"] == words).then_some(())
    });
    eventually("it is logged", || {
        let said = |line: &Value| {
            line.as_object()
                .is_some_and(|line| line.values().any(|v| *v == words))
        };
        weir.log().iter().any(said).then_some(())
    });
    shared().create_topic(&topic, &[]);
    assert_eq!(shared().traces(&topic, 20).len(), 20);
    eventually("it is well", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
}

#[test]
fn sigterm_delivers_what_is_queued() {
    let topic = shared().topic();
    let mut config = config(&Upstream::hello());
    config["exporters"]["traces"] = exporter(shared(), &topic);
    // Longer than the test may last: only the end sends them.
    config["exporters"]["traces"]["kafka"]["flush_interval_ms"] = json!(900_000);
    config["exporters"]["traces"]["kafka"]["batch_size"] = json!(1000);
    let mut weir = Weir::start(&config.to_string());
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(0));
    assert_eq!(shared().traces(&topic, 20).len(), 20);
}
