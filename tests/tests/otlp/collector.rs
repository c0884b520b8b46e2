//! OpenTelemetry's collector in front of Weir, by each compression that its exporters have.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::json;
use tempfile::TempDir;
use weir_tests::service::{self, Running, free_port};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Otlp, PROTOBUF, post, request, spans};

/// Spans of a request, more than a Kafka message takes.
const SPANS: usize = 5000;

/// A collector with these exporters, by protocol and compression: each sends to Weir what comes to its own
/// port.
fn collector(weir: &Weir, exporters: &[(&str, &str)]) -> (Running, Vec<SocketAddr>) {
    let mut config = json!({ "service": { "telemetry": { "metrics": { "level": "none" } } } });
    let mut ports = Vec::new();
    for (protocol, compression) in exporters {
        let port = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let receiver = format!("otlp/{protocol}-{compression}");
        let exporter = format!("otlp_{protocol}/{compression}");
        config["receivers"][&receiver] = json!({ "protocols": { "http": { "endpoint": port } } });
        config["exporters"][&exporter] = json!({
            "endpoint": format!("http://{}", weir.otlp(protocol)),
            "tls": { "insecure": true },
            "compression": compression,
            // On a machine that has much else to do nothing is to be sent twice.
            "timeout": "2m",
        });
        config["service"]["pipelines"][format!("traces/{protocol}-{compression}")] =
            json!({ "receivers": [receiver], "exporters": [exporter] });
        ports.push(port);
    }
    (service::collector(&config, &ports), ports)
}

/// A request whose spans are no other's, and of which no compression makes next to nothing.
fn numbered(number: u8) -> ExportTraceServiceRequest {
    let mut request = request(SPANS, 7, 200);
    let scopes = request.resource_spans.iter_mut();
    let spans = scopes
        .flat_map(|resource| &mut resource.scope_spans)
        .flat_map(|scope| &mut scope.spans);
    for (index, span) in (1_u64..).zip(spans) {
        span.trace_id[0] = number;
        // An odd factor, so that no two are the same.
        let id = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        span.span_id = id.to_be_bytes().to_vec();
    }
    request
}

fn ids(request: &ExportTraceServiceRequest) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    spans(request).map(|span| (span.trace_id.clone(), span.span_id.clone()))
}

fn send(port: SocketAddr, request: &ExportTraceServiceRequest) {
    let body = request.encode_to_vec();
    let response = post(port, "/v1/traces", PROTOBUF, &[], &body);
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn every_span_of_the_collector_arrives_once_by_each_compression() {
    const GRPC: [(&str, &str); 3] = [("grpc", "none"), ("grpc", "gzip"), ("grpc", "zstd")];
    const HTTP: [(&str, &str); 4] = [
        ("http", "none"),
        ("http", "gzip"),
        ("http", "zstd"),
        ("http", "deflate"),
    ];
    let mut otlp = Otlp::new("otlp_protobuf");
    let folder = TempDir::new().expect("a folder");
    otlp.config["data_dir"] = json!(folder.path());
    let weir = otlp.start();
    let (collector, ports) = collector(&weir, &[&GRPC[..], &HTTP].concat());
    let mut sent = Vec::new();
    for (number, port) in (1..).zip(ports) {
        let request = numbered(number);
        send(port, &request);
        sent.extend(ids(&request));
    }

    let count = |name: &str, protocol: &str| {
        let labels = format!(r#"{{signal="traces",protocol="{protocol}"}}"#);
        weir.count(&format!("weir_otlp_{name}_total{labels}"))
    };
    let mut messages = 0;
    for (protocol, exporters) in [("grpc", GRPC.len()), ("http/protobuf", HTTP.len())] {
        let expected = (exporters * SPANS) as u64;
        eventually(&format!("{expected} spans by {protocol} are taken"), || {
            let log = collector.log();
            assert!(!log.contains("Exporting failed"), "{log}");
            let came = count("received_items", protocol) == expected;
            (came && count("received", protocol) == count("acknowledged", protocol)).then_some(())
        });
        messages += count("messages", protocol);
    }
    let mut arrived = Vec::new();
    for message in otlp.traces(usize::try_from(messages).expect("few")) {
        let request = ExportTraceServiceRequest::decode(&*message.payload).expect("OTLP");
        arrived.extend(ids(&request));
    }
    sent.sort_unstable();
    arrived.sort_unstable();
    let (arrived_len, sent_len) = (arrived.len(), sent.len());
    assert!(arrived == sent, "{arrived_len} spans arrived of {sent_len}");
}

#[test]
fn a_collector_that_compresses_otherwise_is_told_what_is_taken() {
    let exporters = [
        ("grpc", "snappy"),
        ("http", "snappy"),
        ("http", "x-snappy-framed"),
        ("http", "zlib"),
        ("http", "lz4"),
    ];
    let otlp = Otlp::new("otlp_protobuf");
    let weir = otlp.start();
    let (collector, ports) = collector(&weir, &exporters);
    for port in ports {
        send(port, &request(1, 1, 100));
    }
    for (protocol, compression) in exporters {
        let exporter = format!("\"otlp_{protocol}/{compression}\"");
        let said = eventually(&format!("{exporter} gives up"), || {
            let log = collector.log();
            let mut lines = log.lines();
            let line =
                lines.find(|line| line.contains(&exporter) && line.contains("Exporting failed"));
            line.map(str::to_owned)
        });
        let expected = match protocol {
            "grpc" => "code = Unimplemented desc = grpc-encoding must be gzip, zstd or deflate,",
            _ => "Status Code 415, Message=content-encoding must be gzip, zstd or deflate,",
        };
        // It is not sent again.
        assert!(said.contains("Dropping data"), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    for (protocol, refused) in [("grpc", 1), ("http/protobuf", 4)] {
        let labels = format!(r#"{{signal="traces",protocol="{protocol}""#);
        let reason = format!(r#"weir_otlp_refused_total{labels},reason="encoding"}}"#);
        assert_eq!(weir.count(&reason), refused);
        assert_eq!(
            weir.count(&format!("weir_otlp_messages_total{labels}}}")),
            0
        );
    }
}
