//! What was acknowledged is found in the topic, whatever is away or stopped.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir_tests::service::nobody;
use weir_tests::wait::eventually;

use crate::{Otlp, PROTOBUF, own_kafka, post, request, shared, spans};

/// Names of the spans that arrive, until all that are wanted have.
fn wait_for(broker: &str, topic: &str, wanted: &HashSet<String>) -> HashSet<String> {
    let consumer = Consumer::new(broker, topic).expect("the topic can be read");
    let mut names = HashSet::new();
    eventually("everything arrives", || {
        while let Ok(Some(message)) = consumer.recv(std::time::Duration::from_millis(100)) {
            let decoded =
                ExportTraceServiceRequest::decode(&message.payload[..]).expect("protobuf");
            names.extend(spans(&decoded).map(|span| span.name.clone()));
        }
        wanted.is_subset(&names).then_some(())
    });
    names
}

/// A request whose spans nobody else sends.
fn named(prefix: &str) -> (Vec<u8>, Vec<String>) {
    let mut request = request(5, 1, 100);
    let spans = &mut request.resource_spans[0].scope_spans[0].spans;
    for span in spans.iter_mut() {
        span.name = format!("{prefix} {}", span.name);
    }
    let names = spans.iter().map(|span| span.name.clone()).collect();
    (request.encode_to_vec(), names)
}

#[test]
fn with_a_spool_a_dead_broker_delays_and_loses_nothing() {
    let folder = TempDir::new().expect("a folder");
    let kafka_folder = TempDir::new().expect("a folder");
    let (kafka, topics) = own_kafka(&kafka_folder);
    let address = kafka.address().to_owned();
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    kafka.stop();
    let mut otlp = Otlp::to(&address, topics, "otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
    let mut weir = otlp.start();
    let mut acknowledged = HashSet::new();
    for number in 0..20 {
        let (body, names) = named(&number.to_string());
        let response = post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body);
        assert_eq!(response.status, 200);
        acknowledged.extend(names);
    }
    eventually("it says that it cannot deliver", || {
        let ready = weir.ready();
        let traces = &ready["receivers"][0];
        assert_eq!(traces["signal"], "traces");
        assert_eq!(ready["status"], "ready");
        (traces["state"] == "degraded").then_some(())
    });
    // A stop in good order, with nothing delivered.
    weir.signal("TERM");
    assert!(weir.wait().success());
    let kafka = weir_tests::kafka::Kafka::start(&kafka_folder, &[format!("--port={port}")]);
    let weir = otlp.start();
    wait_for(kafka.address(), &otlp.topics[0], &acknowledged);
    eventually("it delivers again", || {
        (weir.ready()["receivers"][0]["state"] == "ok").then_some(())
    });
}

#[test]
fn without_a_spool_nothing_is_acknowledged_that_kafka_has_not() {
    let mut otlp = Otlp::to(
        &nobody().to_string(),
        ["traces", "metrics", "logs"].map(str::to_owned),
        "otlp_protobuf",
    );
    otlp.otlp()["queue_size"] = json!(1);
    let weir = otlp.start();
    let http = weir.otlp("http");
    let waiting = thread::spawn(move || {
        let (body, _) = named("waits");
        post(http, "/v1/traces", PROTOBUF, &[], &body)
    });
    let requests = r#"weir_otlp_queue_requests{signal="traces"}"#;
    eventually("one waits", || (weir.count(requests) == 1).then_some(()));
    let (body, _) = named("refused");
    let refused = post(http, "/v1/traces", PROTOBUF, &[], &body);
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    let grpc = weir_tests::grpc::call(
        weir.otlp("grpc"),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        &[("content-type", "application/grpc")],
        weir_tests::grpc::frame(false, &body),
    );
    assert_eq!(grpc.status(), 14);
    let response = waiting.join().expect("no panic");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    let refused =
        r#"weir_otlp_refused_total{signal="traces",protocol="http/protobuf",reason="queue_full"}"#;
    assert_eq!(weir.count(refused), 1);
}

#[test]
fn without_a_spool_what_is_acknowledged_is_in_the_topic_already() {
    let otlp = Otlp::new("otlp_protobuf");
    let mut weir = otlp.start();
    let (body, names) = named("acknowledged");
    let response = post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body);
    assert_eq!(response.status, 200);
    weir.signal("KILL");
    weir.wait();
    wait_for(
        shared().address(),
        &otlp.topics[0],
        &names.into_iter().collect(),
    );
}

#[test]
fn a_topic_that_is_not_there_holds_up_no_other_signal() {
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.kafka()["logs_topic"] = json!("not-there");
    let weir = otlp.start();
    eventually("it says so", || {
        let ready = weir.ready();
        let logs = &ready["receivers"][2];
        let said = "kafka plugin: topic \"not-there\" does not exist";
        (logs["state"] == "degraded" && logs["message"] == said).then_some(())
    });
    let (body, _) = named("others");
    let response = post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body);
    assert_eq!(response.status, 200);
}

/// Names of the spans in a message of any format.
fn names(payload: &[u8]) -> Vec<String> {
    if payload.first() == Some(&b'{') {
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        let of = |value: &Value, names: [&str; 2]| {
            let [camel, snake] = names.map(|name| value[name].as_array());
            camel.or(snake).cloned().unwrap_or_default()
        };
        let resources = of(&value, ["resourceSpans", "resource_spans"]);
        let scopes = resources
            .iter()
            .flat_map(|it| of(it, ["scopeSpans", "scope_spans"]));
        let spans: Vec<Value> = scopes.flat_map(|scope| of(&scope, ["spans"; 2])).collect();
        let name = |span: &Value| span["name"].as_str().expect("a name").to_owned();
        return spans.iter().map(name).collect();
    }
    let decoded = ExportTraceServiceRequest::decode(payload).expect("protobuf");
    spans(&decoded).map(|span| span.name.clone()).collect()
}

#[test]
fn what_was_acknowledged_is_parted_where_its_topic_takes_less() {
    for format in ["otlp_protobuf", "otlp_json", "otlp_json_snake_case"] {
        let folder = TempDir::new().expect("a folder");
        let mut otlp = Otlp::new(format);
        let topic = format!("{}-small", otlp.topics[0]);
        shared().create_topic(&topic, &[("max.message.bytes", "20000")]);
        otlp.kafka()["traces_topic"] = json!(topic);
        otlp.config["data_dir"] = json!(folder.path());
        let weir = otlp.start();
        let body = request(100, 3, 1000);
        let sent: HashSet<String> = spans(&body).map(|span| span.name.clone()).collect();
        let response = post(
            weir.otlp("http"),
            "/v1/traces",
            PROTOBUF,
            &[],
            &body.encode_to_vec(),
        );
        assert_eq!(response.status, 200);
        let consumer = Consumer::new(shared().address(), &topic).expect("the topic can be read");
        let mut arrived = HashSet::new();
        eventually("all spans arrive", || {
            let message = consumer.recv(std::time::Duration::from_millis(100));
            if let Some(message) = message.expect("the topic can be read") {
                arrived.extend(names(&message.payload));
            }
            (arrived == sent).then_some(())
        });
        let metrics = weir.metrics();
        assert!(!metrics.contains("weir_otlp_dropped_total{"), "{metrics}");
    }
}

#[test]
fn a_stop_in_good_order_loses_nothing_and_answers_what_has_come() {
    for has_spool in [true, false] {
        let folder = TempDir::new().expect("a folder");
        let mut otlp = Otlp::new("otlp_protobuf");
        if has_spool {
            otlp.config["data_dir"] = json!(folder.path());
            otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
        }
        otlp.config["workers"] = json!(2);
        let mut weir = otlp.start();
        let (http, grpc) = (weir.otlp("http"), weir.otlp("grpc"));
        let count = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut seen = Vec::new();
                    for number in 0.. {
                        let (body, names) = named(&format!("{has_spool} {client} {number}"));
                        // Once it listens no more, a connection is refused.
                        let answered = std::panic::catch_unwind(|| {
                            if client % 2 == 0 {
                                post(http, "/v1/traces", PROTOBUF, &[], &body).status == 200
                            } else {
                                let path =
                                    "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                                let headers = [("content-type", "application/grpc")];
                                let stream = weir_tests::grpc::frame(false, &body);
                                weir_tests::grpc::call(grpc, path, &headers, stream).status() == 0
                            }
                        });
                        let Ok(acknowledged) = answered else { break };
                        assert!(acknowledged);
                        seen.extend(names);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        eventually("the load is under way", || {
            (count.load(Ordering::Relaxed) > 200).then_some(())
        });
        weir.signal("TERM");
        assert!(weir.wait().success());
        let acknowledged = clients
            .into_iter()
            .flat_map(|client| client.join().expect("no panic"))
            .collect();
        // Nothing is left for another run.
        wait_for(shared().address(), &otlp.topics[0], &acknowledged);
    }
}
