//! OTLP in, Kafka out: real clients, a real broker, and what may go wrong between them.

mod attacks;
mod bounds;
mod clients;
mod collector;
mod delivery;
mod differential;
mod documentation;
mod drains;
mod grpc;
mod http;
mod kills;
mod load;
mod lost;
mod pushback;
mod sdks;
mod shapes;
mod tls;
mod ways;

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde_json::{Value, json};
use weir::demo::consumer::Message;
use weir_tests::client::{self, Response};
use weir_tests::config::config;
use weir_tests::kafka::{Kafka, shared};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// What the documentation has people send with curl.
const EXAMPLE: &str = r#"{
  "resourceSpans": [{
    "resource": {
      "attributes": [{
        "key": "service.name",
        "value": {"stringValue": "my-test-service"}
      }]
    },
    "scopeSpans": [{
      "spans": [{
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "test-operation",
        "kind": 1,
        "startTimeUnixNano": "1609459200000000000",
        "endTimeUnixNano": "1609459200500000000"
      }]
    }]
  }]
}"#;

/// A receiver with topics of its own.
struct Otlp {
    config: Value,
    topics: [String; 3],
}

impl Otlp {
    /// To topics of the broker that all tests share.
    fn new(format: &str) -> Self {
        let topics = [(); 3].map(|()| shared().topic());
        Self::to(shared().address(), topics, format)
    }

    fn to(broker: &str, topics: [String; 3], format: &str) -> Self {
        let upstream = Upstream::new(|_, _| {});
        let mut config = config(&upstream);
        config["receivers"]["otlp"] = json!({
            "grpc": { "address": "127.0.0.1:0" },
            "http": { "address": "127.0.0.1:0" },
            "exporter": { "kafka": {
                "brokers": [broker],
                "traces_topic": topics[0],
                "metrics_topic": topics[1],
                "logs_topic": topics[2],
                "format": format,
            } },
        });
        Self { config, topics }
    }

    fn otlp(&mut self) -> &mut Value {
        &mut self.config["receivers"]["otlp"]
    }

    fn kafka(&mut self) -> &mut Value {
        &mut self.otlp()["exporter"]["kafka"]
    }

    fn start(&self) -> Weir {
        Weir::start(&self.config.to_string())
    }

    /// The first messages of the traces' topic.
    fn traces(&self, count: usize) -> Vec<Message> {
        shared().read(&self.topics[0], count)
    }
}

/// Posts a body, with these header lines too.
fn post(address: SocketAddr, path: &str, kind: &str, headers: &[&str], body: &[u8]) -> Response {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for header in headers {
        request += header;
        request += "\r\n";
    }
    request += "\r\n";
    client::send(address, [request.as_bytes(), body].concat())
}

/// A request of so many spans of so many traces in turn, each span of about so many bytes.
fn request(spans: usize, traces: usize, bytes: usize) -> ExportTraceServiceRequest {
    let spans = (0..spans).map(|number| Span {
        trace_id: [&[7; 15][..], &[u8::try_from(number % traces).expect("few")]].concat(),
        span_id: (number as u64 + 1).to_be_bytes().to_vec(),
        name: format!("span {number}"),
        attributes: vec![KeyValue {
            key: "filling".to_owned(),
            value: Some(AnyValue {
                value: Some(Any::StringValue("x".repeat(bytes))),
            }),
            ..KeyValue::default()
        }],
        ..Span::default()
    });
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

/// The spans of a request.
fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

/// A Kafka of a test's own.
fn own_kafka(folder: &tempfile::TempDir) -> (Kafka, [String; 3]) {
    let kafka = Kafka::start(folder, &[]);
    let topics = [(); 3].map(|()| kafka.topic());
    (kafka, topics)
}
