//! What OTLP/gRPC answers to what.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde_json::json;
use weir::otlp::Signal;
use weir::otlp::read::read;
use weir_tests::grpc::{Answer, call, frame};
use weir_tests::service::nobody;
use weir_tests::weir::Weir;

use crate::ways::PROTOCOLS;
use crate::{JSON, Otlp, PROTOBUF, post, request, shared};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn export(weir: &Weir, headers: &[(&str, &str)], stream: Vec<u8>) -> Answer {
    let headers = [
        &[("content-type", "application/grpc"), ("te", "trailers")],
        headers,
    ]
    .concat();
    call(weir.otlp("grpc"), TRACES, &headers, stream)
}

#[test]
fn an_export_is_acknowledged_and_arrives() {
    let otlp = Otlp::new("otlp_protobuf");
    let weir = otlp.start();
    let body = request(10, 2, 20).encode_to_vec();
    let answer = export(&weir, &[], frame(false, &body));
    assert_eq!(answer.http, 200);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.status(), 0);
    assert_eq!(answer.data, frame(false, b""));
    assert_eq!(otlp.traces(1)[0].payload, body);
}

#[test]
fn messages_may_be_compressed() {
    let otlp = Otlp::new("otlp_protobuf");
    let weir = otlp.start();
    let body = request(10, 2, 20).encode_to_vec();
    let gzip = {
        use std::io::Write as _;
        let mut child = std::process::Command::new("gzip")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("gzip runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(&body).expect("written");
        drop(stdin);
        child.wait_with_output().expect("it ends").stdout
    };
    let encoding = [("grpc-encoding", "gzip")];
    assert_eq!(export(&weir, &encoding, frame(true, &gzip)).status(), 0);
    assert_eq!(export(&weir, &encoding, frame(false, &body)).status(), 0);
    for message in otlp.traces(2) {
        assert_eq!(message.payload, body);
    }
    assert_eq!(export(&weir, &[], frame(true, &gzip)).status(), 13);
    let unknown = export(&weir, &[("grpc-encoding", "snappy")], frame(true, &gzip));
    assert_eq!(unknown.status(), 12);
    assert_eq!(
        unknown.trailer("grpc-accept-encoding"),
        "identity,gzip,zstd,deflate"
    );
    assert_eq!(
        unknown.trailer("grpc-message"),
        "grpc-encoding must be gzip, zstd or deflate, or not there"
    );
}

#[test]
fn what_is_refused_has_a_status_with_details() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["grpc"]["max_body_bytes"] = json!("10KiB");
    otlp.otlp()["token"] = json!("right");
    let weir = otlp.start();
    let token = [("authorization", "Bearer right")];

    let answer = export(&weir, &[], frame(false, b""));
    assert_eq!(answer.status(), 16);

    let answer = export(&weir, &token, frame(false, b"\x0a\x7fshort"));
    assert_eq!(answer.status(), 3);
    assert!(answer.trailer("grpc-message").contains("longer than"));
    assert!(!answer.trailer("grpc-status-details-bin").is_empty());

    let large = request(10, 1, 2000).encode_to_vec();
    let answer = export(&weir, &token, frame(false, &large));
    assert_eq!(answer.status(), 8);

    let broken = frame(false, &request(1, 1, 100).encode_to_vec())[..20].to_vec();
    assert_eq!(export(&weir, &token, broken).status(), 13);

    let headers = [("content-type", "application/grpc")];
    let unknown = call(
        weir.otlp("grpc"),
        "/some.Service/Call",
        &headers,
        frame(false, b""),
    );
    assert_eq!(unknown.status(), 12);

    assert_eq!(export(&weir, &token, frame(false, b"")).status(), 0);
}

#[test]
fn a_calls_own_deadline_ends_the_wait_for_kafka() {
    let topics = ["traces", "metrics", "logs"].map(str::to_owned);
    let otlp = Otlp::to(&nobody().to_string(), topics, "otlp_protobuf");
    let weir = otlp.start();
    let body = request(1, 1, 10).encode_to_vec();
    let answer = export(&weir, &[("grpc-timeout", "10m")], frame(false, &body));
    assert_eq!(answer.status(), 4);
    let key = r#"weir_otlp_refused_total{signal="traces",protocol="grpc",reason="deadline"}"#;
    assert_eq!(weir.count(key), 1);
}

#[test]
fn what_is_no_grpc_is_another_media_type() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let headers = [("content-type", "application/json")];
    let answer = call(weir.otlp("grpc"), TRACES, &headers, b"{}".to_vec());
    assert_eq!(answer.http, 415);
    assert!(!answer.trailers.contains_key("grpc-status"));
}

#[test]
fn an_item_too_large_is_told_for_each_signal_by_each_protocol_and_the_others_arrive() {
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.kafka()["producer"] = json!({ "max_message_bytes": 5000 });
    let weir = otlp.start();
    let (large, small) = ("x".repeat(6000), "small");
    let attributes = |text| json!([{ "key": "k", "value": { "stringValue": text } }]);
    let items = [json!(large), json!(small)].map(|text| json!({ "attributes": attributes(text) }));
    let gauge = json!({ "name": "m", "gauge": { "dataPoints": items } });
    for (signal, service, key, body) in [
        (
            Signal::Traces,
            "trace.v1.TraceService",
            "rejectedSpans",
            json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": items }] }] }),
        ),
        (
            Signal::Metrics,
            "metrics.v1.MetricsService",
            "rejectedDataPoints",
            json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [gauge] }] }] }),
        ),
        (
            Signal::Logs,
            "logs.v1.LogsService",
            "rejectedLogRecords",
            json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": items }] }] }),
        ),
    ] {
        let body = body.to_string();
        let protobuf = read(signal.request(), body.as_bytes()).expect("OTLP/JSON");
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let rejected = || {
            PROTOCOLS.map(|protocol| {
                let signal = signal.as_str();
                weir.count(&format!(
                    r#"weir_otlp_rejected_items_total{{signal="{signal}",protocol="{protocol}"}}"#
                ))
            })
        };
        assert_eq!(rejected(), [0; 3], "{path}");
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let answer = call(weir.otlp("grpc"), &path, &headers, frame(false, &protobuf));
        assert_eq!(answer.status(), 0, "{path}");
        assert_eq!(rejected(), [1, 0, 0], "{path}");
        let path = format!("/v1/{}", signal.as_str());
        let http = weir.otlp("http");
        let response = post(http, &path, PROTOBUF, &[], &protobuf);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(rejected(), [1, 1, 0], "{path}");
        for response in [&answer.data[5..], &response.body[..]] {
            // The three responses differ in the names of their fields alone.
            let response = ExportTraceServiceResponse::decode(response).expect("a response");
            let partial = response.partial_success.expect("partial success");
            assert_eq!(partial.rejected_spans, 1, "{path}");
            assert!(partial.error_message.contains("max_message_bytes"));
        }
        let response = post(http, &path, JSON, &[], body.as_bytes());
        assert_eq!(response.json()["partialSuccess"][key], "1", "{path}");
        assert_eq!(rejected(), [1; 3], "{path}");
        for message in shared().read(&otlp.topics[signal as usize], 3) {
            let text = String::from_utf8_lossy(&message.payload);
            assert!(text.contains(small) && !text.contains(&large), "{path}");
        }
    }
}
