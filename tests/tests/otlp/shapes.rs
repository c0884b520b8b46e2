//! What comes in is what is found in the topic, in each format.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use weir_tests::config::exporter;
use weir_tests::upstream::Upstream;

use crate::{EXAMPLE, JSON, Otlp, PROTOBUF, post, request, shared};

fn payload(format: &str, body: &[u8], kind: &str) -> (Vec<u8>, Option<String>) {
    let otlp = Otlp::new(format);
    let weir = otlp.start();
    let response = post(weir.otlp("http"), "/v1/traces", kind, &[], body);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some(kind));
    let message = otlp.traces(1).remove(0);
    assert!(message.key.is_empty());
    let content_type = message.header("content-type").map(str::to_owned);
    (message.payload, content_type)
}

#[test]
fn the_example_of_the_documentation_arrives_as_otlp_json() {
    let (payload, content_type) = payload("otlp_json", EXAMPLE.as_bytes(), JSON);
    let arrived: Value = serde_json::from_slice(&payload).expect("JSON");
    let sent: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    assert_eq!(arrived, sent);
    assert_eq!(content_type.as_deref(), Some("application/json"));
}

#[test]
fn protobuf_arrives_to_the_byte() {
    // With what no encoder would write again: a length in more bytes than it needs, and a field that nobody
    // knows.
    let mut body = vec![0x0a, 0x80, 0x80, 0x00];
    body.extend(request(20, 3, 50).encode_to_vec());
    body.extend([0x98, 0x4b, 0x07]);
    let (payload, content_type) = payload("otlp_protobuf", &body, PROTOBUF);
    assert_eq!(payload, body);
    assert_eq!(content_type.as_deref(), Some(PROTOBUF));
}

#[test]
fn json_in_may_be_protobuf_out() {
    let (payload, _) = payload("otlp_protobuf", EXAMPLE.as_bytes(), JSON);
    let arrived = ExportTraceServiceRequest::decode(&payload[..]).expect("protobuf");
    let span = &arrived.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_id[..2], [0x5b, 0x8e]);
    assert_eq!(span.name, "test-operation");
    assert_eq!(span.end_time_unix_nano, 1_609_459_200_500_000_000);
}

#[test]
fn snake_case_has_defaults_base64_and_names_of_enums() {
    let (payload, _) = payload("otlp_json_snake_case", EXAMPLE.as_bytes(), JSON);
    let arrived: Value = serde_json::from_slice(&payload).expect("JSON");
    let span = &arrived["resource_spans"][0]["scope_spans"][0]["spans"][0];
    assert_eq!(
        *span,
        json!({
            "trace_id": "W47/95gDgQPSabYzgT/GDA==", "span_id": "7uGbfsPBsXQ=",
            "trace_state": "", "parent_span_id": "", "name": "test-operation",
            "kind": "SPAN_KIND_INTERNAL", "start_time_unix_nano": "1609459200000000000",
            "end_time_unix_nano": "1609459200500000000", "attributes": [],
            "dropped_attributes_count": 0, "events": [], "dropped_events_count": 0, "links": [],
            "dropped_links_count": 0,
        })
    );
}

#[test]
fn metrics_and_logs_have_topics_of_their_own() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let metrics = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{
        "name": "m", "gauge": { "dataPoints": [{ "asDouble": "NaN" }, { "asInt": "0" }] },
    }] }] }] });
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
        "severityNumber": 9, "body": { "kvlistValue": { "values": [
            { "key": "n", "value": { "arrayValue": { "values": [{ "intValue": "-1" }, {}] } } },
        ] } },
    }] }] }] });
    for (index, path, body) in [(1, "/v1/metrics", metrics), (2, "/v1/logs", logs)] {
        let response = post(
            weir.otlp("http"),
            path,
            "Application/JSON; charset=utf-8",
            &[],
            body.to_string().as_bytes(),
        );
        assert_eq!(response.status, 200, "{}", response.text());
        let arrived = shared().read(&otlp.topics[index], 1).remove(0);
        let arrived: Value = serde_json::from_slice(&arrived.payload).expect("JSON");
        assert_eq!(arrived, body);
    }
}

#[test]
fn weirs_own_traces_may_go_to_the_topic_of_what_it_receives() {
    for (format, kind) in [("otlp_json", JSON), ("otlp_protobuf", PROTOBUF)] {
        let mut otlp = Otlp::new(format);
        otlp.config["upstreams"]["up"]["endpoints"] = json!([Upstream::hello().url()]);
        otlp.config["exporters"]["own"] = exporter(shared(), &otlp.topics[0]);
        otlp.config["exporters"]["own"]["kafka"]["format"] = json!(format);
        let weir = otlp.start();
        assert_eq!(weir.get("/", &[]).text(), "hello");
        let own = otlp.traces(1).remove(0);
        let response = post(
            weir.otlp("http"),
            "/v1/traces",
            JSON,
            &[],
            EXAMPLE.as_bytes(),
        );
        assert_eq!(response.status, 200);
        let received = otlp.traces(2).remove(1);
        for (message, name) in [(own, "GET all"), (received, "test-operation")] {
            assert_eq!(message.header("content-type"), Some(kind));
            let request = match kind {
                JSON => serde_json::from_slice(&message.payload).expect("OTLP/JSON"),
                _ => ExportTraceServiceRequest::decode(&message.payload[..]).expect("protobuf"),
            };
            assert_eq!(crate::spans(&request).next().expect("a span").name, name);
        }
    }
}

#[test]
fn a_trace_is_a_message_of_its_own_where_it_is_the_key() {
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.kafka()["partition_traces_by_id"] = json!(true);
    let weir = otlp.start();
    let body = request(60, 3, 10).encode_to_vec();
    assert_eq!(
        post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body).status,
        200
    );
    let mut keys = Vec::new();
    for message in otlp.traces(3) {
        let decoded = ExportTraceServiceRequest::decode(&message.payload[..]).expect("protobuf");
        assert_eq!(crate::spans(&decoded).count(), 20);
        for span in crate::spans(&decoded) {
            let id: String = span.trace_id.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(message.key, id.as_bytes());
        }
        keys.push(message.key);
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[test]
fn metrics_and_logs_are_keyed_by_their_resources() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.kafka()["partition_metrics_by_resource_attributes"] = json!(true);
    otlp.kafka()["partition_logs_by_resource_attributes"] = json!(true);
    otlp.kafka()["producer"] = json!({ "partitioner": "fnv1a" });
    let partitions = 7;
    let topics = ["metrics", "logs"].map(|signal| format!("{}-{signal}", otlp.topics[2]));
    for (signal, topic) in ["metrics", "logs"].iter().zip(&topics) {
        shared().create_partitions(topic, partitions, &[]);
        otlp.kafka()[format!("{signal}_topic")] = json!(topic);
    }
    let weir = otlp.start();
    let resource = |name: &str| json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": name } }] });
    let names = ["a", "b", "c", "a"];
    let metrics = names.map(|name| {
        let metric = json!({ "name": name, "gauge": { "dataPoints": [{ "asInt": "1" }] } });
        json!({ "resource": resource(name), "scopeMetrics": [{ "metrics": [metric] }] })
    });
    let logs = names.map(|name| {
        let record = json!({ "severityText": name });
        json!({ "resource": resource(name), "scopeLogs": [{ "logRecords": [record] }] })
    });
    let bodies = [
        ("/v1/metrics", json!({ "resourceMetrics": metrics })),
        ("/v1/logs", json!({ "resourceLogs": logs })),
    ];
    for ((path, body), topic) in bodies.iter().zip(&topics) {
        let body = body.to_string();
        let response = post(weir.otlp("http"), path, JSON, &[], body.as_bytes());
        assert_eq!(response.status, 200, "{}", response.text());
        let messages = shared().read(topic, 3);
        let keys: Vec<String> = messages
            .iter()
            .map(|message| String::from_utf8(message.key.clone()).expect("a key"))
            .collect();
        assert!(keys.iter().all(|key| key.len() == 32), "{path} {keys:?}");
        // The key decides as it does for Kafka's own Java client.
        let count = usize::try_from(partitions).expect("few");
        let expected = weir_tests::kafka::partitions_by_java(&keys, count);
        let actual: Vec<i32> = messages.iter().map(|message| message.partition).collect();
        assert_eq!(actual, expected, "{path}");
    }
}
