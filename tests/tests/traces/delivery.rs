//! Formats, and traces that wait: for a broker, for a topic, for the end.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use weir_tests::config::{config, exporter};
use weir_tests::kafka::{Kafka, shared, unique};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{first, start_several, two_plugins};

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
